"""Mathematical answers: how they are found in a reply, when two are the same, and when one is right.

Equality between two answers is exact: equal canonical keys (``values``), or a proof by sympy in a worker. Against a
reference a rounded decimal also counts: it must be the exact value rightly rounded, with at least three significant
digits, a tie either way. There is no factor of 100. What notation leaves open is settled in the answer's favour only
against a reference: a list for a set or a tuple, ``(1, 2)`` for the interval, ``x > 3`` for it, a column for a tuple,
digits without their base.

Reasons start with ``unparsed:``, ``limit:``, ``error:`` or ``unproven:`` where that is why an answer got no credit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from typing import Literal

from thence.core.answers import Answer, Grade, Verdict
from thence.core.clean import one_line

from .algebra_pool import Proof, prove
from .candidates import first_answer
from .extract import canonical
from .numeric import close, decimal_of, differ
from .parser import parse
from .plain import unwrapped
from .ranges import ranges_of
from .terms import Add, Call, Group, Mul, Node, Num, Pow, Rel, Sym, Unreadable, Words, symbols
from .tokens import GREEK, plain
from .units import conflict, unit_name
from .values import Percent, Value, read, value_of

SIGNIFICANT = 3
DECIMALS = 6  # significant digits of the shorter one where both are decimals
MACHINE = 15  # digits of a decimal that a computer printed
Policy = Literal["number", "hundredth", "either"]
_ATTACHED = re.compile(r"([-+]?[\d.,]*\d)\s?([A-Za-z]{1,2})(?:\^\{?[23]\}?)?")
_BEGINS = re.compile(r"(\(?[A-J][).:]|[Yy]es|[Nn]o|[Tt]rue|[Ff]alse)[\s,.]+\S")
_COMMA = re.compile(r"([-+]?\d+),(\d+)")
_MAX_PERMUTED = 5


@dataclass(frozen=True, slots=True)
class MathReading:
    """The answer of a mathematical solution: the last box, else a marker, the last formula, the last line."""

    percent: Percent = "number"

    def extract(self, reply: str) -> Answer | None:
        """The answer as written, with its place in ``reply``."""
        return first_answer(reply)

    def key(self, value: str) -> str:
        """Equal keys are equal values: ``0.5``, ``1/2`` and ``\\frac{1}{2}`` have the same one."""
        return read(value, self.percent).key


@dataclass(frozen=True, slots=True)
class _Match:
    """Whether two values are the same, as far as forms and numbers tell; ``ask`` are pairs that sympy must prove."""

    same: bool
    reason: str = ""
    ask: tuple[tuple[Node, Node], ...] = ()


_YES, _NO = _Match(True), _Match(False)


def grade_math(gold: str, answer: Answer | str | None, percent: Policy = "either") -> Grade:
    """The verdict on an extracted answer against a reference, with the tolerance rule; never raises.

    ``percent``: ``number`` reads 60% as 60, ``hundredth`` as 0.6; ``either`` accepts both where one side has the sign
    and the other has not. Without a sign 60 is never 0.6.
    """
    return _grade(gold, answer, percent, True)


def equal(gold: str, answer: str, percent: Percent = "number") -> Grade:
    """Whether two answers are the same value: exact and symmetric, without tolerance."""
    return _grade(gold, answer, percent, False)


def _grade(gold: str, answer: Answer | str | None, percent: Policy, reference: bool) -> Grade:
    value = answer.value if isinstance(answer, Answer) else answer
    if not gold.strip():
        return Grade(Verdict.UNGRADABLE, value, "the reference is empty")
    if value is None or not value.strip():
        return Grade(Verdict.NO_ANSWER, None, "no answer was found")
    try:
        return _compared(gold, value, percent, reference)
    except (RecursionError, MemoryError, ArithmeticError, ValueError) as error:
        return Grade(Verdict.INCORRECT, value, f"error: {type(error).__name__} while it was compared")


def _compared(gold: str, value: str, percent: Policy, reference: bool) -> Grade:
    simple: Percent = "hundredth" if percent == "hundredth" else "number"
    wanted, found = read(gold, simple), read(value, simple)
    if wanted.reason.startswith("limit") and "".join(gold.split()) != "".join(value.split()):
        return Grade(Verdict.UNGRADABLE, value, f"the reference is not read: {wanted.reason}")
    shown = f"expected {one_line(gold, 80)}, found {one_line(value, 80)}"
    best = _NO
    for one, other in _readings(gold, value, percent) if reference else [(wanted, found)]:
        match = _same(one, other, reference)
        if match.same and not match.ask:
            return Grade(Verdict.CORRECT, value, f"{one_line(value, 80)} equals {one_line(gold, 80)}")
        best = match if match.same or not best.same else best
    if best.same:
        return _proven(best.ask, value, shown)
    reason = best.reason or (found.reason if not found.typed or found.kind == "unread" else "")
    return Grade(Verdict.INCORRECT, value, f"{reason}; {shown}" if reason and reason != "list" else shown)


def _readings(gold: str, value: str, percent: Policy) -> Iterator[tuple[Value, Value]]:
    """Both sides as they stand; with commas between values instead of thousands, or as a decimal comma; with a percent
    sign as the hundredth part."""
    simple: Percent = "hundredth" if percent == "hundredth" else "number"
    wanted, found = read(gold, simple), read(value, simple)
    yield wanted, found
    if "," in value:
        yield wanted, read(value, simple, False)
    if wanted.kind in ("choice", "truth") and (match := _BEGINS.match(unwrapped(value))):
        yield wanted, read(match[1])
    if wanted.kind == "ratio" and found.kind == "time":
        yield wanted, value_of(parse(unwrapped(value)))
    for left, right in ((_point(gold), value), (gold, _point(value))):
        if (left, right) != (gold, value):
            yield read(left, simple), read(right, simple)
    if (
        not wanted.unit
        and (bare := _without_unit(value)) != value
        and wanted.node is not None
        and not symbols(wanted.node)
    ):
        yield wanted, read(bare, simple)
    if wanted.node is not None and found.node is not None and wanted.kind == found.kind == "expression":
        yield from _spelled_out(wanted, found, wanted.node, found.node)
    if percent == "either" and (wanted.unit == "%") != (found.unit == "%"):
        yield read(gold, "hundredth"), read(value, "hundredth")


def _spelled_out(wanted: Value, found: Value, left: Node, right: Node) -> Iterator[tuple[Value, Value]]:
    """Degrees as radians if the other side has a pi; a letter that was taken for a unit as the reference's variable."""
    for value, node, other in ((wanted, left, right), (found, right, left)):
        turned = _radians(Call("deg", (node,)) if value.unit == "°" else node)
        if turned != node and _has_pi(other) and not _has_pi(node):
            yield (value_of(turned), found) if value is wanted else (wanted, value_of(turned))
    if found.unit and found.unit in symbols(left) - symbols(right):
        yield wanted, value_of(Mul((right, Sym(found.unit))))
    if wanted.unit and wanted.unit in symbols(right) - symbols(left):
        yield value_of(Mul((left, Sym(wanted.unit)))), found


def _radians(node: Node) -> Node:
    """A sum or product of angles in degrees, in radians."""
    if isinstance(node, Call) and node.name == "deg":
        return Mul((*node.items, Sym("pi"), Num(Fraction(1, 180))))
    if isinstance(node, Add | Mul):
        return type(node)(tuple(_radians(item) for item in node.items))
    return node


def _has_pi(node: Node) -> bool:
    if isinstance(node, Add | Mul | Call):
        return any(_has_pi(item) for item in node.items)
    return _has_pi(node.base) if isinstance(node, Pow) else node == Sym("pi")


def _without_unit(text: str) -> str:
    """``5m^2`` as 5: letters right after a number are a unit where the reference has no variable."""
    match = _ATTACHED.fullmatch(plain(text).strip(" $"))
    return match[1] if match and unit_name([match[2]]) else text


def _point(text: str) -> str:
    """A decimal comma as a point: ``0,111``, ``1,22``; anything else as it is."""
    match = _COMMA.fullmatch(text.strip(" $"))
    return f"{match[1]}.{match[2]}" if match and (len(match[2]) != 3 or match[1].lstrip("+-") == "0") else text


def _proven(pairs: Sequence[tuple[Node, Node]], value: str, shown: str) -> Grade:
    for left, right in pairs:
        proof, reason = prove(left, right)
        if proof is Proof.STOPPED:
            return Grade(Verdict.TIMEOUT, value, f"limit: {reason}; {shown}")
        if proof is not Proof.EQUAL:
            return Grade(Verdict.INCORRECT, value, f"{reason}; {shown}" if reason else shown)
    return Grade(Verdict.CORRECT, value, "equal by computer algebra")


def _same(gold: Value, answer: Value, reference: bool) -> _Match:
    """Whether two values are the same. ``reference``: ``gold`` is one, see the module."""
    if reference and conflict(gold.unit, answer.unit):
        return _Match(False, f"its unit is {answer.unit}, not {gold.unit}")
    if reference and _letter(gold.name) and _letter(answer.name) and gold.name.casefold() != answer.name.casefold():
        same = _equation(gold, answer) if _symbolic(gold) and _symbolic(answer) else _NO
        return same if same.same else _Match(False, f"it is the value of {answer.name}, not of {gold.name}")
    if gold.key == answer.key:
        return _YES
    if gold.kind == answer.kind == "expression" or {gold.kind, answer.kind} == {"expression", "ratio"}:
        return _expression(gold, answer, reference)
    if gold.kind == answer.kind and gold.parts and gold.kind in ("tuple", "matrix"):
        if gold.kind == "matrix" and gold.key.count(";") != answer.key.count(";"):
            return _NO
        return _in_order(gold.parts, answer.parts, reference)
    if gold.kind == answer.kind == "set":
        return _any_order(gold.parts, answer.parts, reference)
    if gold.kind == answer.kind == "range":
        return _range(gold, answer, reference)
    if "equation" in (gold.kind, answer.kind):
        match = _equation(gold, answer)
        return _result_of(gold, answer) if reference and not match.same else match
    return _across(gold, answer) if reference else _NO


def _letter(name: str) -> bool:
    return len(name) == 1 or name in GREEK


def _expression(gold: Value, answer: Value, reference: bool) -> _Match:
    left, right = gold.node, answer.node
    if left is None or right is None or "oo" in (gold.key.lstrip("-"), answer.key.lstrip("-")):
        return _NO
    if reference and rounded(left, right):
        return _YES
    x, y = decimal_of(left), decimal_of(right)
    if x is not None and y is not None:
        if not close(x, y) or (_rational(gold) and _rational(answer)):
            return _NO  # rationals have one form
        return _Match(True, ask=((left, right),))
    found = differ(left, right)
    if found is None:
        return _NO
    return _NO if found else _Match(True, ask=((left, right),))


def _rational(value: Value) -> bool:
    return all(c in "-/0123456789abcdef" for c in value.key)


def rounded(exact: Node, written: Node) -> bool:
    """Whether ``written`` is a decimal that ``exact`` rounds to, with at least three significant digits."""
    if not isinstance(written, Num) or not written.places:
        if isinstance(exact, Num) and exact.places and not isinstance(written, Num):
            return rounded(written, exact)
        return False
    digits = len(str(abs(written.value.numerator * 10**written.places // written.value.denominator)).lstrip("0"))
    least = SIGNIFICANT
    if isinstance(exact, Num) and exact.places is not None:  # two decimals: the longer one is the value
        if exact.places < written.places:
            return rounded(written, exact)
        least = DECIMALS
    if digits < least:
        return False
    value = decimal_of(exact)
    if value is None or not value.is_finite():
        return False
    half = Decimal(1).scaleb(-written.places) / 2
    slack = Decimal(1).scaleb(-written.places - 20)
    if digits >= MACHINE:  # as a computer prints it: its last digits carry its own rounding
        slack = abs(value).scaleb(-MACHINE + 1)
    shift = value - Decimal(written.value.numerator) / Decimal(written.value.denominator)
    return abs(shift) <= half + slack


def _in_order(gold: Sequence[Value], answer: Sequence[Value], reference: bool) -> _Match:
    if len(gold) != len(answer):
        return _Match(False, f"it has {len(answer)} values, not {len(gold)}")
    ask: list[tuple[Node, Node]] = []
    for left, right in zip(gold, answer, strict=True):
        match = _same(left, right, reference)
        if not match.same:
            return match
        ask += match.ask
    return _Match(True, ask=tuple(ask))


def _any_order(gold: Sequence[Value], answer: Sequence[Value], reference: bool) -> _Match:
    """Each value of one side has its own partner on the other."""
    if len(gold) != len(answer):
        return _Match(False, f"it has {len(answer)} different values, not {len(gold)}")
    right = {value.key for value in answer}
    left = {value.key for value in gold}
    rest_gold = [value for value in gold if value.key not in right]
    rest_answer = [value for value in answer if value.key not in left]
    if len(rest_gold) > _MAX_PERMUTED:
        return _Match(False, "limit: too many values differ in form") if len(rest_gold) < 20 else _NO
    table = [[_same(g, a, reference) for a in rest_answer] for g in rest_gold]
    for order in permutations(range(len(rest_answer))):
        matches = [table[i][j] for i, j in enumerate(order)]
        if all(match.same for match in matches):
            return _Match(True, ask=tuple(pair for match in matches for pair in match.ask))
    return _NO


def _range(gold: Value, answer: Value, reference: bool) -> _Match:
    """Ranges with ends that differ in form, or, against a reference, by rounding."""
    if gold.range is None or answer.range is None or len(gold.range.pieces) != len(answer.range.pieces):
        return _NO
    for left, right in zip(gold.range.pieces, answer.range.pieces, strict=True):
        if left.closed != right.closed:
            return _NO
        for x, y in ((left.low, right.low), (left.high, right.high)):
            if x.key == y.key:
                continue
            near = reference and x.node is not None and y.node is not None and rounded(x.node, y.node)
            if not near and (x.form is None or y.form is None or x.place != y.place):
                return _NO
    return _YES


def _equation(gold: Value, answer: Value) -> _Match:
    """Equations in different form: one side may have been read as an assignment."""
    made = [_as_equation(value) for value in (gold, answer)]
    if made[0] is None or made[1] is None:
        return _NO
    if made[0].key == made[1].key:
        return _YES
    if made[0].node is None or made[1].node is None:
        return _NO
    return _proportional(made[0].node, made[1].node)


def _proportional(left: Node, right: Node) -> _Match:
    from .numeric import ratio_is_constant

    ratio = ratio_is_constant(left, right)
    if ratio is None:
        return _NO
    return _Match(True, ask=((left, Mul((Num(ratio), right))),))


def _result_of(gold: Value, answer: Value) -> _Match:
    """``m + n = 25`` for the reference 25: the answer says what it is the value of."""
    if gold.kind == "expression" and not gold.name and not _symbolic(gold) and answer.parts:
        return _same(gold, answer.parts[0], True)
    return _NO


def _symbolic(value: Value) -> bool:
    return value.node is not None and bool(symbols(value.node))


def _as_equation(value: Value) -> Value | None:
    if value.kind == "equation":
        return value
    if value.kind != "expression" or not value.name or value.node is None:
        return None
    try:
        swapped = Rel(("=",), (Add((Sym(value.name.split(",")[0]), Num(Fraction(0)))), value.node))
        return value_of(swapped)
    except Unreadable:
        return None


def _across(gold: Value, answer: Value) -> _Match:
    """Values of different kind that a reference may be written as."""
    if gold.kind == "range" and answer.kind == "tuple" and len(answer.parts) == 2 and isinstance(answer.node, Group):
        return _as_range(answer.node, gold)
    if answer.kind == "range" and gold.kind == "tuple" and len(gold.parts) == 2 and isinstance(gold.node, Group):
        return _as_range(gold.node, answer)
    for one, other in ((gold, answer), (answer, gold)):
        if one.kind == "range" and one.range is not None and other.kind in ("set", "expression"):
            points = tuple(Value("expression", p.low.key) for p in one.range.pieces if p.low == p.high)
            parts = other.parts or (other,)
            if points and len(points) == len(one.range.pieces):
                return _any_order(points, parts, True)
        if one.reason == "named" and other.kind == "set" and other.reason != "list":
            return _any_order(one.parts, other.parts, True)
        if one.kind == "tuple" and other.kind == "set" and other.reason == "list":
            return _listed(one, other)
        rows = _rows(other) if one.kind == "matrix" else None
        if rows and one.key.count(";") + 1 == len(rows) and len({len(row.parts) for row in rows}) == 1:
            return _in_order(one.parts, [cell for row in rows for cell in row.parts], True)
        if one.kind == "tuple" and other.kind == "matrix" and ("," not in other.key or ";" not in other.key):
            return _in_order(gold.parts, answer.parts, True)
        if one.kind == "set" and len(one.parts) == 1 and other.kind == "expression":
            return _same(one.parts[0], other, True) if one is gold else _same(other, one.parts[0], True)
        if one.kind in ("words", "unread") and other.kind in ("choice", "truth", "expression") and one.node is not None:
            return _Match(canonical(_words(one)) == canonical(_words(other)))
        if one.kind == "choice" and other.kind == "expression" and isinstance(other.node, Sym):
            return _Match(other.node.name.upper() == one.key.removeprefix("choice:"))
    if gold.kind == "digits" and answer.kind == "expression" and isinstance(answer.node, Num):
        return _Match(gold.key.removeprefix("digits:").partition("_")[0] == str(answer.node.value))
    return _NO


def _rows(value: Value) -> list[Value] | None:
    """The rows of a matrix written as a list of lists."""
    if not isinstance(value.node, Group) or value.node.kind not in ("bracket", "tuple"):
        return None
    rows = value.parts or tuple(value_of(item) for item in value.node.items)
    made = [value_of(Group("tuple", i.items)) if isinstance(i, Group) else None for i in value.node.items]
    return [row for row in made if row is not None] if rows and None not in made else None


def _words(value: Value) -> str:
    return value.node.text if isinstance(value.node, Words) else value.key


def _listed(ordered: Value, listed: Value) -> _Match:
    """A tuple against values listed without brackets, in their order."""
    if not isinstance(listed.node, Group):
        return _any_order(ordered.parts, listed.parts, True)
    values = [value_of(item) for item in listed.node.items]
    written = [value_of(item) for item in ordered.node.items] if isinstance(ordered.node, Group) else ordered.parts
    match = _in_order(written, values, True)
    return match if match.same else _in_order(ordered.parts, values, True)


def _as_range(node: Group, other: Value) -> _Match:
    try:
        made = ranges_of(Group("interval", node.items, (False, False)))
    except Unreadable:
        return _NO
    return _YES if other.range is not None and made.key == other.range.key else _NO


def grade_solution(gold: str, text: str, percent: Policy = "either") -> Grade:
    """The verdict on a whole reply against a reference, which may itself be a solution with its answer in a box.

    Only the best candidate counts; a reply of one short line is taken as the answer itself.
    """
    wanted = reference_answer(gold)
    if text.strip() == gold.strip() and text.strip():
        return Grade(Verdict.CORRECT, wanted, "it is the reference, word for word")
    found = first_answer(text)
    if found is None:
        return Grade(Verdict.NO_ANSWER, None, "no answer was found")
    return grade_math(wanted, found, percent)


def reference_answer(gold: str) -> str:
    """The answer that a reference states: itself, or what it has in a box or after ``####``."""
    marked = "\\boxed" in gold or "####" in gold
    if marked or not read(gold).typed:
        found = first_answer(gold)
        if found is not None and (marked or read(found.value).typed):
            return found.value
    return gold
