"""Arithmetic over the tables of financial reports: what FinQA and TAT-QA have in common.

Policy, the same for both, because published answers leave it open:

* **percent**: the question ends by saying whether the answer is in percent; then 22.5 and 22.5 % are the same and the
  ratio 0.225 is wrong. A factor of 100 is never forgiven.
* **scale**: a number is in the unit of the table, or in the scale the row names (thousand, million, billion), and the
  question says so; ``3.8 million`` and ``3.8`` are the same, 3,800,000 is wrong.
* **sign**: as published; a fall of 5 is -5 where the reference is -5.
* **rounding**: an answer is right if it is the exact value, the published number, or a decimal that is the exact value
  rightly rounded with at least three significant digits. Where the exact value is not known, more decimals than
  published are right if they round to the published number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from thence.core.answers import Grade, Reading, Verdict
from thence.core.errors import DataError
from thence.core.problem import Problem
from thence.core.seeds import digest
from thence.grading.extract import AutoReading
from thence.grading.grade import grade_answer
from thence.grading.numbers import parse_number

from .answered import AnsweredTask
from .rounding import grade_number, written_places

IN_PERCENT = "Give the answer in percent."
PLAIN = "Give the answer as a plain number in the unit of the table, not in percent."


@dataclass(frozen=True, slots=True)
class Figure:
    """A reference: the number as published, and its exact value where that is known; or a word (``yes``)."""

    published: str
    exact: Fraction | None = None

    @property
    def value(self) -> Fraction | None:
        """The published number; None for a word."""
        number = parse_number(self.published)
        return number.value if number is not None else None


class TableArithmetic(AnsweredTask):
    """Questions on a table with the text around it; references are figures."""

    def __init__(
        self,
        arguments: Mapping[str, object],
        items: Sequence[tuple[Problem, Figure]],
        doubtful: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(arguments, [(problem, figure.published) for problem, figure in items])
        self._figures = {problem.id: figure for problem, figure in items}
        self._doubtful = list(doubtful)

    @property
    def data_hash(self) -> str:
        """Hash of all questions with their references, exact values too: other data is another run."""
        return digest(super().data_hash, [str(self._figures[p.id].exact) for p in self.problems()])

    @property
    def reading(self) -> Reading:
        """A number after the last marker if there is one, else the text after it; without a marker the last number."""
        return AutoReading()

    def compare(self, problem: Problem, answer: str | None) -> Grade:
        """The published number, its exact value, or that rightly rounded; a word as text."""
        figure = self._figures[problem.id]
        published = figure.value
        if published is None:
            return grade_answer(figure.published, answer)
        given = grade_number(published if figure.exact is None else figure.exact, answer)
        if given.correct or given.verdict is Verdict.NO_ANSWER or answer is None:
            return given
        if grade_number(published, answer, least=10**6).correct:
            return Grade(Verdict.CORRECT, answer, f"it is {figure.published} as published")
        places = written_places(figure.published)
        number = parse_number(answer)
        if figure.exact is None and places and number is not None and number.value is not None:
            finer = written_places(number.plain) > places
            if finer and abs(number.value - published) * 2 * 10**places <= 1:
                return Grade(Verdict.CORRECT, answer, f"it rounds to {figure.published}")
        return given

    def check_references(self) -> list[tuple[str, str]]:
        """References that are not graded correct, and rows whose answer and calculation say different things."""
        return [*super().check_references(), *self._doubtful]


def as_rounded(published: Fraction, places: int, exact: Fraction) -> bool:
    """Whether ``published`` is ``exact`` rounded to its last place, or cut off there."""
    unit = Fraction(1, 10**places)
    cut = published * exact >= 0 and 0 <= abs(exact) - abs(published) < unit
    return cut or abs(published - exact) * 2 <= unit


def page(before: Sequence[str], table: Sequence[Sequence[str]], after: Sequence[str], question: str, unit: str) -> str:
    """Text, table and question as one prompt; cells stand between bars."""
    rows = "\n".join(" | ".join(" ".join(cell.split()) for cell in row) for row in table)
    parts = [" ".join(before).strip(), rows, " ".join(after).strip(), f"Question: {question.strip()} {unit}".strip()]
    return "\n\n".join(part for part in parts if part)


def texts(value: object, what: str) -> list[str]:
    """A list of texts; DataError for anything else."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{what} must be a list of texts; check the row")
    return list(value)


def cells(value: object, what: str) -> list[list[str]]:
    """A table as rows of texts, all of the same length; DataError for anything else."""
    if not isinstance(value, list) or not value:
        raise DataError(f"{what} must be a list of rows; check the row")
    rows = [texts(row, f"{what}, row {number},") for number, row in enumerate(value, 1)]
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise DataError(f"{what} is ragged: its rows have {min(widths)} to {max(widths)} cells")
    return rows


__all__ = ["IN_PERCENT", "PLAIN", "Figure", "TableArithmetic", "as_rounded", "cells", "page", "texts"]
