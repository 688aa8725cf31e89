"""Templates of word problems: sentences with typed slots, and a program that computes the answer.

After GSM-Symbolic (Mirzadeh et al. 2024, arXiv:2410.05229), where a template is a question with slots, their domains
and conditions. Ours adds what the variants need: every sentence says which quantity it states and by which operation,
so that the answer's dependencies are known. The format is described at the top of ``word_problems.txt``.

A :class:`Template` and a :class:`Draw` (what stands in the slots) make a ``WordProblem`` with its steps. Numbers are
drawn uniformly from their ranges, relations by a fair coin, until the conditions hold: every quantity whole and from 1
to 999, with these relations, with the opposite ones, and in the ``m1`` variant. So the numbers of all variants have one
law.

Differs from the paper: an instance of a template has an original of its own, drawn from the same law as its variants.
The paper compares with the one question that the template was made of, whose numbers are smaller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from importlib.resources import files
from random import Random

from thence.core.errors import DataError
from thence.tasks.wordproblems import ITEMS, MAX_VALUE, NAMES, RELATIVES, Step, WordProblem

from .expressions import Constant, Expression, ExpressionError, Operation, evaluate, names, parse
from .expressions import Name as Variable

# A variable's type is its first letter.
RANGES: dict[str, tuple[int, int]] = {
    **dict.fromkeys("xyzw", (2, 60)),
    **dict.fromkeys("klj", (2, 40)),
    **dict.fromkeys("pq", (2, 9)),
    **dict.fromkeys("mn", (2, 6)),
}
TIMES = "mn"
# A relation: (sign, in a sentence, in a step).
DIRECTION = (("+", "more", "more"), ("-", "fewer", "fewer"))
SCALE = (("*", "twice", "twice"), ("/", "half", "half of"))
RELATIONS = {**dict.fromkeys("rst", DIRECTION), **dict.fromkeys("hg", SCALE)}

NAME = re.compile(r"[A-H]\d?")
_SLOT = re.compile(r"\{(\w+)\}")
TRIES = 20_000


@dataclass(frozen=True, slots=True)
class Clause:
    """One sentence: text with slots, the quantities it states as (name, expression), the step in short.

    ``last``: it tells what happens then, and stays behind the other statements.
    """

    text: str
    states: tuple[tuple[str, str], ...]
    short: str = ""
    last: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """Statements in the order in which they define quantities, and the question, whose quantity is the answer.

    ``order`` is the order in which the statements are written; None: as they are.
    """

    name: str
    clauses: tuple[Clause, ...]
    question: Clause
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    where: tuple[str, ...] = ()
    order: tuple[int, ...] | None = None

    @property
    def answer(self) -> str:
        """The quantity that is asked for."""
        return self.question.states[-1][0]

    @property
    def states(self) -> tuple[tuple[str, str, Clause], ...]:
        """(quantity, expression, clause) in the order of definition."""
        return tuple((q, e, c) for c in (*self.clauses, self.question) for q, e in c.states if e)

    @property
    def slots(self) -> frozenset[str]:
        """Every slot of the sentences."""
        return frozenset(s for c in (*self.clauses, self.question) for s in _SLOT.findall(f"{c.text} {c.short}"))


@dataclass(frozen=True, slots=True)
class Draw:
    """What stands in the slots. ``relations[r]`` is the place of the relation in its type's list."""

    words: Mapping[str, str]
    numbers: Mapping[str, int]
    relations: Mapping[str, int]


# --- the program -----------------------------------------------------------------------------------------------------


@cache
def _parsed(source: str, signs: tuple[tuple[str, str], ...] = ()) -> Expression:
    for slot, sign in signs:
        source = source.replace("{" + slot + "}", sign)
    return parse(source)


def program(source: str, draw: Draw | None = None) -> Expression:
    """The expression of a quantity, with the drawn relations as operators (the originals where nothing is drawn)."""
    places = draw.relations if draw is not None else {}
    signs = tuple((s, RELATIONS[s[0]][places.get(s, 0)][0]) for s in _SLOT.findall(source))
    return _parsed(source, signs)


def needed(template: Template) -> frozenset[str]:
    """The answer's dependencies: every quantity and variable that its value is computed from, itself included."""
    below = {q: names(program(source)) for q, source, _ in template.states}
    found, left = set[str](), [template.answer]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(below.get(name, ()))
    return frozenset(found)


def quantities(template: Template, draw: Draw) -> dict[str, int] | None:
    """The value of every quantity; None where one is not whole, not from 1 to 999, or a condition does not hold."""
    known: dict[str, Fraction] = {v: Fraction(n) for v, n in draw.numbers.items()}
    for quantity, source, _ in template.states:
        value = evaluate(program(source, draw), known)
        if not isinstance(value, Fraction) or value.denominator != 1 or not 1 <= value <= MAX_VALUE:
            return None
        known[quantity] = value
    if not all(evaluate(_parsed(condition), known) is True for condition in template.where):
        return None
    return {q: int(known[q]) for q, _, _ in template.states}


def operations(template: Template) -> int:
    """How many operations the answer takes."""
    used = needed(template)
    return sum(isinstance(program(source), Operation) for q, source, _ in template.states if q in used)


# --- drawing ---------------------------------------------------------------------------------------------------------


def numeric(template: Template) -> list[str]:
    """The number variables, in a fixed order."""
    used = {v for _, source, _ in template.states for v in names(program(source))}
    return sorted(v for v in used | template.slots if v[:1] in RANGES and v[1:].isdecimal() | (len(v) == 1))


def relational(template: Template) -> list[str]:
    """The relation variables, in a fixed order."""
    return sorted(s for s in template.slots if s[:1] in RELATIONS and s[1:].isdecimal() | (len(s) == 1))


def word_slots(template: Template) -> dict[str, tuple[str, ...]]:
    """Every slot of names, items and relatives with the list that it is drawn from."""
    lists: dict[str, tuple[str, ...]] = {}
    for slot in sorted(template.slots):
        if NAME.fullmatch(slot):
            lists[slot] = NAMES
        elif slot == "relative":
            lists[slot] = RELATIVES
        elif slot.rstrip("0123456789") in ("item", "other"):
            lists[slot] = ITEMS
    return lists


def draw_words(template: Template, rng: Random, keep: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Words for all slots, no word twice: those of ``keep``, the rest at random, never the slot's own of ``other``."""
    made = dict(keep)
    for slot, choices in word_slots(template).items():
        if slot not in made:
            made[slot] = rng.choice([w for w in choices if w not in made.values() and w != other.get(slot)])
    return made


def draw_numbers(template: Template, rng: Random) -> dict[str, int]:
    """Uniform numbers, before any condition."""
    drawn = {}
    for variable in numeric(template):
        low, high = template.ranges.get(variable, RANGES[variable[0]])
        drawn[variable] = rng.randint(low, high)
    return drawn


# --- rendering -------------------------------------------------------------------------------------------------------


def fill(text: str, draw: Draw, *, short: bool = False) -> str:
    """The text with its slots filled; ``short`` is the wording of steps."""

    def spoken(match: re.Match[str]) -> str:
        slot = match[1]
        if slot in draw.words:
            return draw.words[slot]
        if slot[0] in RELATIONS:
            return RELATIONS[slot[0]][draw.relations.get(slot, 0)][2 if short else 1]
        number = draw.numbers[slot]
        if slot[0] in TIMES:
            return "twice" if number == 2 else f"{number} times"
        return str(number)

    return _SLOT.sub(spoken, text)


def owner(quantity: str, draw: Draw) -> str:
    """Whose quantity it is, as a solution writes it: a name, a relative, or its own word (Total, Price)."""
    base = quantity.partition("_")[0]
    if base == "R":
        return draw.words["relative"].capitalize()
    return draw.words.get(base, base)


def render(template: Template, draw: Draw, id: str) -> WordProblem:
    """The question with its answer and steps; DataError where the draw breaks a condition of the template."""
    values = quantities(template, draw)
    if values is None:
        raise DataError(f"template {template.name}: {dict(draw.numbers)} does not satisfy its conditions")
    everything = {**draw.numbers, **values}
    used = needed(template)
    steps: list[Step] = []
    unneeded: list[Step] = []
    for quantity, source, clause in template.states:
        expression = program(source, draw)
        if not isinstance(expression, Operation):
            continue
        operands = tuple(str(_operand(e, everything)) for e in expression.operands)
        short = fill(clause.short, draw, short=True)
        step = Step(owner(quantity, draw), short, expression.sign, operands, str(values[quantity]))
        (steps if quantity in used else unneeded).append(step)
    order = template.order if template.order is not None else range(len(template.clauses))
    sentences = [fill(template.clauses[i].text, draw) for i in order]
    question = " ".join([*sentences, fill(template.question.text, draw)])
    answer = str(values[template.answer]) if template.answer in values else ""
    return WordProblem(id, "graph", len(steps), template.name, question, answer, tuple(steps), tuple(unneeded))


def _operand(expression: Expression, values: Mapping[str, int]) -> int:
    if isinstance(expression, Variable):
        return values[expression.name]
    if isinstance(expression, Constant) and isinstance(expression.value, Fraction):
        return int(expression.value)
    raise ExpressionError("an operand of a step is neither a quantity nor a number; write one operation per quantity")


# --- the file --------------------------------------------------------------------------------------------------------


def read_templates(text: str, what: str = "templates") -> tuple[Template, ...]:
    """All templates of a file in our format; DataError names the template and the line that is wrong."""
    blocks: list[tuple[str, list[str]]] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            blocks.append((line[1:-1], []))
        elif blocks:
            blocks[-1][1].append(line)
        else:
            raise DataError(f"{what}, line {number}: a template begins with its name in brackets, e.g. [more]")
    twice = {name for name, _ in blocks if sum(name == other for other, _ in blocks) > 1}
    if twice:
        raise DataError(f"{what}: two templates are called {sorted(twice)[0]}; rename one")
    return tuple(_template(name, lines, what) for name, lines in blocks)


_RANGE = re.compile(r"(\w+)\s*=\s*(\d+)\.\.(\d+)")


def _template(name: str, lines: Iterable[str], what: str) -> Template:
    clauses: list[Clause] = []
    question: Clause | None = None
    ranges: dict[str, tuple[int, int]] = {}
    where: list[str] = []
    for line in lines:
        if match := _RANGE.fullmatch(line):
            ranges[match[1]] = (int(match[2]), int(match[3]))
        elif line.startswith("where "):
            where.append(line.removeprefix("where "))
        elif line.startswith("? "):
            question = _clause(line.removeprefix("? "))
        elif "->" in line:
            clauses.append(_clause(line.removeprefix("then "), last=line.startswith("then ")))
        else:
            raise DataError(f"{what}, template {name}: {line!r} states no quantity; write TEXT -> NAME = EXPRESSION")
    if question is None or not question.states:
        raise DataError(f"{what}, template {name}: there is no question; write ? TEXT -> NAME")
    made = Template(name, tuple(clauses), question, ranges, tuple(where))
    _check(made, what)
    return made


def _clause(line: str, *, last: bool = False) -> Clause:
    text, _, stated = line.partition("->")
    formulas, _, short = stated.partition("|")
    states = []
    for part in formulas.split(","):
        quantity, _, source = part.partition("=")
        states.append((quantity.strip(), source.strip()))
    return Clause(text.strip(), tuple(states), short.strip(), last)


def _check(template: Template, what: str) -> None:
    """Every name is defined before its use, once, and every operation can be written as a step."""
    known = set(numeric(template))
    for quantity, source, clause in template.states:
        try:
            expression = program(source)
        except ExpressionError as error:
            raise DataError(f"{what}, template {template.name}: {error}") from None
        missing = sorted(names(expression) - known)
        if missing or quantity in known:
            wrong = f"{missing[0]} is used before it is defined" if missing else f"{quantity} is defined twice"
            raise DataError(f"{what}, template {template.name}: {wrong}; order the sentences by their quantities")
        if isinstance(expression, Operation) and not clause.short:
            raise DataError(f"{what}, template {template.name}: {quantity} has no step in short; add | TEXT")
        known.add(quantity)
    if template.answer not in known:
        raise DataError(f"{what}, template {template.name}: nothing states {template.answer}, which is asked for")


@cache
def built_in() -> tuple[Template, ...]:
    """The package's own templates."""
    text = (files("thence.tasks.templates") / "word_problems.txt").read_text(encoding="utf-8")
    return read_templates(text, "word_problems.txt")
