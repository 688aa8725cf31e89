"""Tasks of questions with one reference answer each.

A subclass reads its rows and hands (problem, reference) pairs to ``__init__``; it says in ``reading`` how an answer is
found and in ``compare`` when it is right. The default is an exact number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from thence.core.answers import Grade, Reading
from thence.core.errors import DataError
from thence.core.problem import Problem
from thence.core.seeds import digest
from thence.grading.extract import NumericReading
from thence.grading.grade import grade_answer

from .files import Row, as_text
from .hub import Rows
from .spec import write_spec


class AnsweredTask:
    """Questions with a reference answer each; ids must differ."""

    name: str
    default_prompt: ClassVar[str] = "cot"
    has_references: ClassVar[bool] = True

    def __init__(self, arguments: Mapping[str, object], items: Sequence[tuple[Problem, str]]) -> None:
        self._arguments = dict(arguments)
        self._problems = tuple(problem for problem, _ in items)
        self._references: dict[str, str] = {}
        for problem, gold in items:
            if problem.id in self._references:
                raise DataError(f"{self.name}: two problems have the id {problem.id!r}; ids must differ")
            self._references[problem.id] = gold

    @property
    def spec(self) -> str:
        """The task as it is written on the command line."""
        return write_spec(self.name, self._arguments)

    @property
    def reading(self) -> Reading:
        """The number after the last marker, else the last number."""
        return NumericReading()

    @property
    def data_hash(self) -> str:
        """Hash of all questions with their references: other data is another run."""
        return digest([(p.id, p.hash, self.reference(p)) for p in self._problems])

    def problems(self) -> Sequence[Problem]:
        """The questions in the file's order."""
        return self._problems

    def reference(self, problem: Problem) -> str:
        """The reference answer."""
        return self._references[problem.id]

    def compare(self, problem: Problem, answer: str | None) -> Grade:
        """The verdict on an answer: equality as exact numbers, or as normalised text."""
        return grade_answer(self.reference(problem), answer)

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """The verdict on the answer that was read from ``reply``."""
        return self.compare(problem, answer)

    def check_references(self) -> list[tuple[str, str]]:
        """References that are not graded correct when they are given as the answer."""
        grades = ((p.id, self.compare(p, self.reference(p))) for p in self._problems)
        return [(i, g.reason or str(g.verdict)) for i, g in grades if not g.correct]


def text_of(rows: Rows, row: Row, column: str) -> str:
    """The column as text; DataError where it is not there or blank."""
    value = row.fields.get(column)
    text = as_text(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not text.strip():
        raise DataError(f"{rows.at(row)}: column {column!r} must be a text or a number; check the row")
    return text


__all__ = ["AnsweredTask", "text_of"]
