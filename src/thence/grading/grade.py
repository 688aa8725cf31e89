"""Verdicts: an answer against its reference, as numbers, as mathematics, or as normalised text.

The kind of comparison follows the reference: one that is a number (a unit may follow: ``18 dollars``; or a whole
solution that ends in ``#### 18``) is compared as a number, one with LaTeX commands by ``mathematics``, an array of rows
of colours (``[[0, 1], [2, 3]]``) as a grid by ``grids``, any other as text. Numbers have no tolerance and no factor of
100: 0.33 is not 1/3, and 5 is not 5 %-of-something.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from thence.core.answers import Answer, Grade, Reading, Verdict
from thence.core.clean import one_line
from thence.core.completion import split_thought
from thence.core.errors import UsageError

from .extract import DEFAULT_MARKERS, NumericReading, TextReading, canonical, text_after_marker
from .grids import Grid, GridReading, from_value, grade_grid, read_array
from .numbers import Number, find_numbers, parse_number, unwrap

_LATEX = re.compile(r"\\[A-Za-z]{2,}")
_UNIT = re.compile(r"\s?[^\W\d_]{1,20}(?:[ /-][^\W\d_]{1,20}){0,3}(?:\^?[23²³])?\.?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference answer, read: exactly one of ``number`` and ``text`` is set, or ``reason`` says what is wrong."""

    number: Fraction | None = None
    text: str | None = None
    reason: str = ""


def read_reference(gold: str) -> Reference:
    """What a reference means; see the module for the rule."""
    marked = text_after_marker(gold, DEFAULT_MARKERS) if "####" in gold or "\\boxed{" in gold else None
    value = gold if marked is None else marked
    if not value.strip():
        return Reference(reason="the reference is empty")
    number = parse_number(value) or _with_unit(value)
    if number is None:
        return Reference(text=canonical(value)) if canonical(value) else Reference(reason="the reference is empty")
    if number.value is None:
        return Reference(reason=f"the reference is a number that cannot be read: {number.reason}")
    return Reference(number=number.value)


def grade_answer(gold: str, answer: Answer | str | None) -> Grade:
    """The verdict on an extracted answer.

    Against a numeric reference an answer counts as its number, or as the only number in it (``18 eggs``).
    """
    value = answer.value if isinstance(answer, Answer) else answer
    reference = read_reference(gold)
    if reference.reason:
        return Grade(Verdict.UNGRADABLE, value, reference.reason)
    if value is None or not value.strip():
        return Grade(Verdict.NO_ANSWER, None, "no answer was found")
    if reference.number is None:
        same = canonical(value) == reference.text
        return _verdict(same, value, one_line(gold, 80), one_line(value, 80))
    number = _only_number(value)
    expected = str(reference.number)
    if number is None:
        return Grade(
            Verdict.INCORRECT, value, f"expected {expected}, found no single number in {one_line(value, 80)!r}"
        )
    if number.value is None:
        return Grade(Verdict.INCORRECT, value, f"expected {expected}, found a number that is not read: {number.reason}")
    return _verdict(number.value == reference.number, value, expected, one_line(number.plain, 80))


def grade(gold: str, text: str, kind: Literal["completion", "answer"] = "completion") -> Grade:
    """Grade a model's text against a reference.

    ``completion``: the answer is extracted first, from the reply only (a thought in ``<think>`` tags does not count).
    ``answer``: the text is the answer itself.
    """
    if kind not in ("completion", "answer"):
        raise UsageError(f"grade: kind is {kind!r}; it must be 'completion' or 'answer'")
    reply = text if kind == "answer" else text[split_thought(text)[1] :]
    if is_mathematical(gold):
        from .mathematics import grade_math, grade_solution, reference_answer

        return grade_solution(gold, reply) if kind == "completion" else grade_math(reference_answer(gold), text)
    if (truth := read_array(gold)) is not None:
        return _grade_as_grid(truth, reply, kind)
    if kind == "answer":
        return grade_answer(gold, text)
    reading: Reading = TextReading() if read_reference(gold).text is not None else NumericReading()
    return grade_answer(gold, reading.extract(reply))


def _grade_as_grid(truth: Grid, reply: str, kind: Literal["completion", "answer"]) -> Grade:
    if kind == "answer" and from_value(reply) is not None:
        return grade_grid(truth, reply)
    found = GridReading().extract(reply)
    return grade_grid(truth, None if found is None else found.value)


def is_mathematical(gold: str) -> bool:
    """Whether a reference holds LaTeX commands and is no plain number: ``\\sqrt{2}``, ``x \\le 3``."""
    return _LATEX.search(gold) is not None and read_reference(gold).text is not None


def is_numeric(gold: str) -> bool:
    """Whether a reference is compared as a number."""
    return read_reference(gold).number is not None


def _verdict(same: bool, value: str, expected: str, found: str) -> Grade:
    if same:
        return Grade(Verdict.CORRECT, value, f"{found} equals {expected}")
    return Grade(Verdict.INCORRECT, value, f"expected {expected}, found {found}")


def _only_number(value: str) -> Number | None:
    whole = parse_number(value)
    if whole is not None:
        return whole
    found = list(find_numbers(value[-20_000:]))
    return found[0] if len(found) == 1 else None


def _with_unit(value: str) -> Number | None:
    """The number in ``18 dollars`` or ``$5.50 per hour``; None for any other text."""
    inner = unwrap(value)
    if len(inner) > 1000:
        return None
    found = list(find_numbers(inner))
    if len(found) == 1 and found[0].start == 0 and _UNIT.fullmatch(inner, found[0].end):
        return found[0]
    return None
