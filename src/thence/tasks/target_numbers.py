"""Expressions that make a target number: how they are read from a reply, judged, searched for and drawn.

Used by ``game24`` and ``countdown``. An expression is whole numbers, + - * / (also ``×``, ``÷``, ``\\times``,
``\\frac{a}{b}``) and brackets. It is parsed by ``grading.equations`` and computed in exact fractions, never evaluated.

Policy: every given number is used exactly once; a sign before a number or a bracket is allowed, powers, percent signs,
units and numbers written side by side (``4 6``) are not. What stands after an equals sign is a claim that is not
judged: ``(10-4)*(6-2) = 25`` is the expression before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from random import Random

from thence.core.answers import Answer, Grade, Verdict
from thence.core.clean import one_line
from thence.core.errors import UsageError
from thence.grading.equations import find_equations
from thence.grading.extract import DEFAULT_MARKERS, TextReading, canonical

MAX_CHARS = 500
MAX_SEARCHED = 6  # numbers; beyond that the search takes minutes
MARKERS = (*DEFAULT_MARKERS, "Answer:", "<answer>")
_SIDE_BY_SIDE = re.compile(r"\d\s+[\d½]")
_END_TAG = re.compile(r"</answer>.*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Expression:
    """The exact value of an expression and the numbers in it, in order."""

    value: Fraction
    numbers: tuple[Fraction, ...]


@lru_cache(maxsize=65_536)
def read_expression(text: str) -> Expression | str:
    """An expression, or why ``text`` is none."""
    plain = text.lstrip(" \t\n$`").rstrip(" \t\n$`.")
    for left, right in (("\\(", "\\)"), ("\\[", "\\]")):
        plain = plain.removeprefix(left).removesuffix(right).strip()
    if len(plain) > MAX_CHARS:
        return f"it has more than {MAX_CHARS} characters"
    found = [e for e in find_equations(plain) if any(side.operators for side in e.sides)]
    whole = len(found) == 1 and len(found[0].sides) == 1 and (found[0].start, found[0].end) == (0, len(plain))
    if not whole:
        return "it is no expression of numbers, + - * / and brackets"
    side = found[0].sides[0]
    if set(side.operators) - set("+-*/") or any(o.percent or o.unit for o in side.operands):
        return "only + - * / and brackets are allowed"
    if _SIDE_BY_SIDE.search(plain):
        return "two numbers stand side by side without an operation"
    if side.value is None:
        return "it has no value (a division by zero, or numbers too large)"
    return Expression(side.value, tuple(o.value for o in side.operands if o.value is not None))


@dataclass(frozen=True, slots=True)
class ExpressionReading:
    """The expression after the last marker (``####``, ``Answer:``, ``\\boxed{}``, ``<answer>``), up to its equals sign;
    without a marker the last line, if it is an expression.

    Two expressions are the same answer if they use the same numbers and have the same value: as good or as bad.
    """

    markers: tuple[str, ...] = MARKERS

    def extract(self, reply: str) -> Answer | None:
        """The expression with its place in ``reply``; what stands after a marker and is none is given as it is."""
        found = TextReading(self.markers, "none").extract(reply)
        if found is not None:
            return _expression_in(_END_TAG.sub("", found.value), found.start) or _cut(found)
        line = reply.rstrip().rpartition("\n")[2]
        return _expression_in(line, len(reply.rstrip()) - len(line)) if line.strip() else None

    def key(self, value: str) -> str:
        """Equal for expressions of the same numbers with the same value."""
        read = read_expression(value)
        if isinstance(read, str):
            return canonical(value)
        return f"{read.value} of {' '.join(map(str, sorted(read.numbers)))}"


def _cut(found: Answer) -> Answer | None:
    value = _END_TAG.sub("", found.value).strip()
    return Answer(value, found.start, found.start + len(value)) if value else None


def _expression_in(text: str, offset: int) -> Answer | None:
    """The first part between equals signs that is an expression: ``24 = 6 * 4`` and ``6 * 4 = 24`` say the same."""
    at = 0
    for part in text[: 4 * MAX_CHARS].split("="):
        value = part.strip(" \t*`$.")
        if not isinstance(read_expression(value), str):
            start = offset + at + part.index(value)
            return Answer(value, start, start + len(value))
        at += len(part) + 1
    return None


def grade_expression(numbers: Sequence[int], target: int, answer: str | None) -> Grade:
    """Right if ``answer`` makes ``target`` from ``numbers``, each used exactly once."""
    if answer is None or not answer.strip():
        return Grade(Verdict.NO_ANSWER, None, "no expression was found")
    read = read_expression(answer)
    if isinstance(read, str):
        return Grade(Verdict.INCORRECT, answer, f"{one_line(answer, 60)!r}: {read}")
    if sorted(read.numbers) != sorted(numbers):
        used, given = (" ".join(map(str, sorted(each))) for each in (read.numbers, numbers))
        return Grade(Verdict.INCORRECT, answer, f"it uses {used}, and {given} are given")
    right = read.value == target
    return Grade(
        Verdict.CORRECT if right else Verdict.INCORRECT, answer, f"its value is {one_line(str(read.value), 80)}"
    )


# --- search ----------------------------------------------------------------------------------------------------------

_Part = tuple[Fraction, str]


def solve_target(numbers: Sequence[int], target: int) -> str | None:
    """An expression that makes ``target`` of all ``numbers``, or None: there is none. Exhaustive and exact.

    Raises UsageError beyond six numbers.
    """
    if len(numbers) > MAX_SEARCHED:
        raise UsageError(f"{len(numbers)} numbers are too many to search through; at most {MAX_SEARCHED}")
    start = tuple(sorted((Fraction(n), str(n)) for n in numbers))
    return _search(start, Fraction(target), set())


def _search(parts: tuple[_Part, ...], target: Fraction, seen: set[tuple[Fraction, ...]]) -> str | None:
    if len(parts) == 1:
        return _bare(parts[0][1]) if parts[0][0] == target else None
    values = tuple(value for value, _ in parts)
    if values in seen:
        return None
    seen.add(values)
    for i, j in combinations(range(len(parts)), 2):
        rest = [part for k, part in enumerate(parts) if k not in (i, j)]
        for made in _joined(parts[i], parts[j]):
            found = _search(tuple(sorted([*rest, made])), target, seen)
            if found is not None:
                return found
    return None


def _joined(left: _Part, right: _Part) -> Iterator[_Part]:
    (a, x), (b, y) = left, right
    yield a + b, f"({x} + {y})"
    yield a * b, f"({x} * {y})"
    yield a - b, f"({x} - {y})"
    yield b - a, f"({y} - {x})"
    if b:
        yield a / b, f"({x} / {y})"
    if a:
        yield b / a, f"({y} / {x})"


def _bare(text: str) -> str:
    return text[1:-1] if text.startswith("(") else text


def draw_target(rng: Random, count: int, largest: int, most: int) -> tuple[tuple[int, ...], int, str]:
    """``count`` numbers from 1 to ``largest``, a whole target from 1 to ``most`` that they make, and the expression.

    Numbers and operations are drawn at random until the value is in range, so that every puzzle can be solved.
    """
    while True:
        numbers = tuple(rng.randint(1, largest) for _ in range(count))
        parts: list[_Part] = [(Fraction(n), str(n)) for n in numbers]
        while len(parts) > 1:
            rng.shuffle(parts)
            left, right = parts.pop(), parts.pop()
            parts.append(rng.choice(list(_joined(left, right))))
        value, text = parts[0]
        if value.denominator == 1 and 1 <= value <= most and value not in numbers:
            return numbers, int(value), _bare(text)


__all__ = ["Expression", "ExpressionReading", "draw_target", "grade_expression", "read_expression", "solve_target"]
