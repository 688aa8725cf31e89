"""Templates in the format of GSM-Symbolic (Mirzadeh et al. 2024, arXiv:2410.05229), from files that the user has.

A file is one JSON object, or rows of them, with ``question``, ``answer``, ``question_annotated``, ``answer_annotated``:

    {name,Ann} has {x,5} apples. …
    #init:
    - name = sample(names)
    - $x = range(2, 30)
    #conditions:
    - is_int(x / 3)
    #answer: x // 3

``{x,5}`` is a slot with its value in the original question; ``$`` marks variables that are numbers. Expressions go
through our own parser (``expressions``); nothing is ever evaluated as Python. A template that is not understood is
refused by its name with the reason.

Variants: ``original`` (the question as it stands), ``both`` (every variable anew: what the paper calls Symbolic),
``names``, ``items`` (other texts) and ``numbers``. The last three keep the original's other values, so they need a
template whose slots have defaults that give the original's answer. The paper's P1 and P2 are files of their own.

Differs from the paper: fractions instead of floats (``int`` cuts nothing off by rounding), our own word lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from random import Random

from thence.core.clean import one_line
from thence.core.errors import DataError, UsageError
from thence.tasks.files import Row, read_rows

from .expressions import (
    MAX_ITEMS,
    Call,
    Expression,
    ExpressionError,
    Function,
    Value,
    Worded,
    evaluate,
    names,
    number,
    parse,
)
from .words import LISTS, in_words, number_of

PUBLISHED = ("original", "names", "numbers", "both", "items")
TRIES = 100_000
DRAWS = ("sample", "sample_sequential")

_SECTION = re.compile(r"#\s*(init|conditions?|answer)\s*[:=]")
_ASSIGNMENT = re.compile(r"(\$?\s*[^\W\d]\w*(?:\s*,\s*\$?\s*[^\W\d]\w*)*)\s*=(?!=)\s*(.+)")
_BRACES = re.compile(r"\{([^{}]*)\}")
_IDENTIFIER = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Domain:
    """One line of ``#init``: the variables it draws, and from what; ``kind`` is names, numbers or items."""

    variables: tuple[str, ...]
    source: Expression
    kind: str


@dataclass(frozen=True, slots=True)
class Annotated:
    """A published template, parsed. ``defaults`` are the values in the original question, where it gives them."""

    name: str
    question: str
    gold: str
    solution: str
    text: str
    solution_text: str
    domains: tuple[Domain, ...]
    conditions: tuple[Expression, ...]
    result: Expression
    defaults: Mapping[str, Value] = field(default_factory=dict)

    def check(self, variant: str) -> None:
        """UsageError where no published template has this variant, DataError where this one cannot."""
        if variant not in PUBLISHED:
            raise UsageError(
                f"perturbed: published templates have no variant {variant!r} (their sentences are not told apart); "
                f"they have {', '.join(PUBLISHED)}"
            )
        if variant in ("names", "numbers", "items") and not self.keeps_original:
            raise DataError(f"its default values do not give its original's answer {self.gold}: only variant=both")

    @property
    def keeps_original(self) -> bool:
        """Whether the defaults are there for every variable of the answer, and give the original's answer."""
        try:
            return _written(_result(self.result, self.defaults)) == self.gold
        except ExpressionError:
            return False

    def instance(self, variant: str, rng: Random) -> tuple[str, str, str]:
        """(question, answer, worked solution).

        DataError when no draw satisfies the conditions, or when #answer and the worked solution disagree.
        """
        if variant == "original":
            return self.question, self.gold, self.solution
        values = self._drawn(variant, rng)
        question = _filled(self.text, values)
        answer = _written(_result(self.result, values))
        try:
            solution = _filled(self.solution_text, values)
        except ExpressionError:  # a note in braces, or a function of the generator: #answer is what counts
            return question, answer, f"#### {answer}"
        said = number_of(re.sub(r"[^-\d.,/]", "", solution.rpartition("####")[2]))
        if "####" in solution and said is not None and _written(said) != answer:
            raise DataError(f"#answer gives {answer} and the worked solution {_written(said)}")
        return question, answer, solution

    def _drawn(self, variant: str, rng: Random) -> dict[str, Value]:
        """Values of all variables under the conditions; those that the variant keeps are the defaults."""
        anew = [(d, _constant(d)) for d in self.domains if variant in ("both", d.kind)]
        changed = {v for d, _ in anew for v in d.variables}
        known = {v for d in self.domains for v in d.variables}
        kept: dict[str, Value] = {
            name: x for name, x in LISTS.items() if name not in known
        }  # a variable may be called like a list
        kept |= {v: x for v, x in self.defaults.items() if v not in changed}
        waiting = [(c, used) for c in self.conditions if (used := names(c) & known) & changed]
        shown = [v for v in changed if v in self.defaults]
        for _ in range(TRIES):
            values, left = dict(kept), waiting
            for domain, choices in anew:
                values.update(_draw(domain, values, rng, choices))
                due = [c for c, used in left if used <= values.keys()]
                left = [(c, used) for c, used in left if not used <= values.keys()]
                if not all(_holds(c, values) for c in due):
                    break
            else:
                if not shown or any(_shown(values[v]) != _shown(self.defaults[v]) for v in shown):
                    return values
        raise DataError(f"no draw of {TRIES} satisfies its conditions")


# --- drawing ---------------------------------------------------------------------------------------------------------


def _holds(condition: Expression, values: Mapping[str, Value]) -> bool:
    try:
        return evaluate(condition, values, FUNCTIONS) is True
    except ExpressionError as error:
        if "division" in str(error):  # a zero drawn for a divisor: not a valid draw
            return False
        raise


def _constant(domain: Domain) -> Sequence[Value] | None:
    """What a line draws from, where that depends on no other variable."""
    return _choices(domain, LISTS) if names(domain.source) <= LISTS.keys() else None


def _choices(domain: Domain, known: Mapping[str, Value]) -> Sequence[Value]:
    source, many = domain.source, len(domain.variables)
    if isinstance(source, Call) and source.function in DRAWS:
        choices = _list(evaluate(source.arguments[0], known, FUNCTIONS)) if source.arguments else []
        asked = number(evaluate(source.arguments[1], known, FUNCTIONS)) if len(source.arguments) > 1 else 1
        if asked != many:
            raise ExpressionError(f"{asked} values are drawn for {many} variables")
    else:
        choices = _list(evaluate(source, known, FUNCTIONS))
    if len(choices) < many:
        raise ExpressionError(f"{many} values are drawn from a list of {len(choices)}")
    return [_paired(c) for c in choices]


def _draw(
    domain: Domain, values: Mapping[str, Value], rng: Random, choices: Sequence[Value] | None
) -> dict[str, Value]:
    """Values for the variables of one line: different entries of its list, or neighbours (``sample_sequential``)."""
    found, many = _choices(domain, values) if choices is None else choices, len(domain.variables)
    if isinstance(domain.source, Call) and domain.source.function == "sample_sequential":
        first = rng.randint(0, len(found) - many)
        drawn = list(found[first : first + many])
    else:
        drawn = rng.sample(found, many) if many > 1 else [rng.choice(found)]
    return dict(zip(domain.variables, drawn, strict=True))


def _paired(value: Value) -> Value:
    """``("six-sided", 6)`` is a number with its wording."""
    if isinstance(value, list | tuple) and len(value) == 2 and not isinstance(value[1], str | list | tuple):
        text, amount = value
        return Worded(_shown(text), number(amount))
    return value


def _list(value: Value) -> Sequence[Value]:
    if isinstance(value, str) or not isinstance(value, list | tuple) or not value:
        raise ExpressionError("a variable is drawn from a list, and this is none")
    return value


def _steps(arguments: Sequence[Value]) -> Value:
    """``range`` and ``np.arange`` with exact steps; the end is not in it."""
    bounds = [number(a) for a in arguments]
    if not 1 <= len(bounds) <= 3:
        raise ExpressionError("a range has one to three numbers")
    start, stop = (Fraction(0), bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
    step = bounds[2] if len(bounds) == 3 else Fraction(1)
    if step == 0 or (stop - start) / step > MAX_ITEMS:
        raise ExpressionError(f"a range from {start} to {stop} by {step} has no end or more than {MAX_ITEMS} values")
    size = max(0, -(-(stop - start) // step))
    return [start + i * step for i in range(int(size))]


def _in_words(arguments: Sequence[Value]) -> Value:
    low, high = (int(number(a)) for a in arguments)
    return [Worded(in_words(n), Fraction(n)) for n in range(low, min(high, low + MAX_ITEMS))]


def _one(arguments: Sequence[Value]) -> Fraction:
    if len(arguments) != 1:
        raise ExpressionError(f"one value is needed and {len(arguments)} are given")
    return number(arguments[0])


def _round(arguments: Sequence[Value]) -> Value:
    places = int(number(arguments[1])) if len(arguments) == 2 else 0
    return Fraction(round(_one(arguments[:1]), min(places, 20)))


def _divides(arguments: Sequence[Value]) -> Value:
    a, b = (number(x) for x in arguments)
    return b != 0 and a % b == 0


def _fraction(arguments: Sequence[Value]) -> Value:
    top, bottom = (number(x) for x in (*arguments, Fraction(1))[:2])
    if bottom == 0:
        raise ExpressionError(f"division of {top} by zero")
    return top / bottom


def _same_list(arguments: Sequence[Value]) -> Value:
    return _list(arguments[0])


def _random_integers(arguments: Sequence[Value]) -> Value:
    low, high = (number(a) for a in arguments[:2])
    return _steps([low, high])


FUNCTIONS: dict[str, Function] = {
    "range": _steps,
    "arange": _steps,
    "np.arange": _steps,
    "frange": _steps,
    "np.random.randint": _random_integers,
    "numbers_within": _in_words,
    "list": _same_list,
    "fix_floats": _same_list,
    "shuffle_list": _same_list,
    "int": lambda a: Fraction(int(_one(a))),
    "float": _one,
    "abs": lambda a: abs(_one(a)),
    "round": _round,
    "is_int": lambda a: _one(a).denominator == 1,
    "divides": _divides,
    "Fraction": _fraction,
    "format_frac": _one,
    "min": lambda a: min(map(number, a)),
    "max": lambda a: max(map(number, a)),
}


# --- rendering -------------------------------------------------------------------------------------------------------


def _result(expression: Expression, values: Mapping[str, Value]) -> Fraction:
    return number(evaluate(expression, {**LISTS, **values}, FUNCTIONS))


def _written(value: Fraction) -> str:
    """A number in digits: whole, decimal where that is exact, else a fraction."""
    if value.denominator == 1:
        return str(value.numerator)
    for places in range(1, 7):
        if (value * 10**places).denominator == 1:
            return f"{float(value):.{places}f}"
    return f"{value.numerator}/{value.denominator}"


def _shown(value: Value) -> str:
    if isinstance(value, Worded):
        return value.text
    return value if isinstance(value, str) else _written(number(value))


def _filled(text: str, values: Mapping[str, Value]) -> str:
    def value(match: re.Match[str]) -> str:
        slot = match[1].partition(",")[0].strip()
        if slot in values:
            return _shown(values[slot])
        return _shown(evaluate(parse(match[1]), {**LISTS, **values}, FUNCTIONS))

    return _BRACES.sub(value, text)


# --- reading ---------------------------------------------------------------------------------------------------------


def read_annotated(path: str, skip: Sequence[str] = ()) -> list[Annotated]:
    """All templates of a file or of a folder of .json files, but for those named in ``skip``.

    DataError names every template that is not understood, with the reason.
    """
    made: list[Annotated] = []
    refused: list[tuple[str, str]] = []
    found = _rows(path)
    unknown = sorted(set(skip) - {name for name, _ in found})
    if unknown:
        raise UsageError(f"perturbed: skip names {unknown[0]!r}, and {path} has no template of that name")
    for name, row in found:
        if name in skip:
            continue
        try:
            made.append(_annotated(name, row))
        except DataError as error:
            refused.append((name, str(error)))
    refuse(path, refused, skip)
    if not made:
        raise DataError(f"perturbed: {path} has no templates left; check file=… and skip=…")
    return made


def refuse(path: str, refused: Sequence[tuple[str, str]], skip: Sequence[str]) -> None:
    """DataError that names every refused template with its reason, unless there is none."""
    if not refused:
        return
    shown = "; ".join(f"{name} ({one_line(why, 160)})" for name, why in refused[:5])
    more = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
    leave = "+".join([*skip, *(name for name, _ in refused)])
    raise DataError(
        f"perturbed: {len(refused)} templates of {path} are refused: {shown}{more}; leave them out with skip={leave}"
    )


def _rows(path: str) -> list[tuple[str, Row]]:
    folder = Path(path).expanduser()
    if folder.is_dir():
        files = sorted(folder.glob("*.json"))
        if not files:
            raise DataError(
                f"perturbed: there are no .json files in {folder}; give the folder that holds the templates"
            )
        return [(file.stem, row) for file in files for row in _one_object(file)]
    rows = _one_object(folder) if folder.suffix == ".json" else read_rows(folder, "perturbed")
    if len(rows) == 1:
        return [(folder.stem, rows[0])]
    return [(str(row.fields.get("id_shuffled", i)).zfill(4), row) for i, row in enumerate(rows)]


def _one_object(file: Path) -> list[Row]:
    """A .json file of one object, or of an array of them."""
    from json import loads

    try:
        value = loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return read_rows(file, "perturbed")  # says what is wrong
    return [Row("entry 1", value)] if isinstance(value, dict) else read_rows(file, "perturbed")


def _annotated(name: str, row: Row) -> Annotated:
    texts = {}
    for column in ("question", "answer", "question_annotated", "answer_annotated"):
        text = row.fields.get(column)
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"there is no text in {column}")
        texts[column] = text
    text, sections = _sections(texts["question_annotated"])
    if "answer" not in sections:
        raise DataError("there is no section #answer")
    domains = tuple(_domain(line) for line in _lines(sections.get("init", "")))
    conditions = tuple(parse(line) for line in _lines(sections.get("conditions", "")))
    formula = sections["answer"].strip().replace("$", "")
    result = parse(formula[1:-1] if formula.startswith("{") and formula.endswith("}") else formula)
    made = Annotated(
        name,
        texts["question"],
        texts["answer"].rpartition("####")[2].strip().replace(",", ""),
        texts["answer"],
        text.strip(),
        texts["answer_annotated"],
        domains,
        conditions,
        result,
        _defaults(text, domains),
    )
    _check_names(made)
    return made


def _sections(annotated: str) -> tuple[str, dict[str, str]]:
    marks = list(_SECTION.finditer(annotated))
    if not marks:
        raise DataError("there are no sections #init, #conditions, #answer")
    ends = [*(mark.start() for mark in marks[1:]), len(annotated)]
    sections: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        kind = "conditions" if mark[1].startswith("condition") else mark[1]
        if kind in sections:
            raise DataError(f"there are two sections #{kind}")
        sections[kind] = annotated[mark.end() : end]
    return annotated[: marks[0].start()], sections


def _lines(section: str) -> list[str]:
    lines = (line.strip() for line in section.splitlines())
    return [re.sub(r"^-\s*", "", line) for line in lines if line and line != "-"]


def _domain(line: str) -> Domain:
    match = _ASSIGNMENT.fullmatch(line)
    if match is None:
        raise DataError(f"{one_line(line, 60)!r} is no line NAME = VALUES of #init")
    source = parse(match[2])
    people = any(name.startswith("names") for name in names(source))
    kind = "numbers" if "$" in match[1] else "names" if people else "items"
    variables = tuple(v.replace("$", "").strip() for v in match[1].split(","))
    if kind == "items" and isinstance(source, Call) and source.function == "sample":
        inner = source.arguments[0] if source.arguments else source
        kind = "numbers" if isinstance(inner, Call) and inner.function in ("list", "range") else kind
    return Domain(variables, source, kind)


def _defaults(text: str, domains: Sequence[Domain]) -> dict[str, Value]:
    """The original's value of every slot; of a number in words also its value."""
    numeric = {v for d in domains if d.kind == "numbers" for v in d.variables}
    made: dict[str, Value] = {}
    for slot in _BRACES.findall(text):
        name, comma, given = (part.strip() for part in slot.partition(","))
        if not comma or name in made or not _IDENTIFIER.fullmatch(name):
            continue
        value = number_of(given) if name in numeric else None
        plain = value is not None and re.fullmatch(r"[-\d.,]+", given)
        made[name] = given if value is None else value if plain else Worded(given, value)
    return made


def _check_names(template: Annotated) -> None:
    """Every name is a variable or a list, every function is known: said before anything is drawn."""
    drawn = {v for d in template.domains for v in d.variables}
    known = drawn | LISTS.keys()
    for expression in (*(d.source for d in template.domains), *template.conditions, template.result):
        missing = sorted(names(expression) - known)
        if missing:
            raise DataError(f"nothing is called {missing[0]!r}")
        for function in sorted(_functions(expression) - FUNCTIONS.keys() - set(DRAWS)):
            raise DataError(f"the function {function!r} is not known")
    for slot in _BRACES.findall(template.text):
        name = slot.partition(",")[0].strip()
        if _IDENTIFIER.fullmatch(name) and name not in drawn:
            raise DataError(f"the slot {name!r} is drawn nowhere")


def _functions(expression: Expression) -> set[str]:
    found: set[str] = set()
    left: list[object] = [expression]
    while left:
        e = left.pop()
        if isinstance(e, Call):
            found.add(e.function)
        for attribute in ("operands", "arguments", "items"):
            left.extend(getattr(e, attribute, ()))
        left.extend(x for x in (getattr(e, "whole", None), getattr(e, "start", None), getattr(e, "stop", None)) if x)
    return found
