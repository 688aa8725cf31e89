"""Tasks whose solutions are given: where is the first wrong step?

A problem is the question alone, as everywhere; the solution that stands to be judged, in steps, and the index of its
first wrong step (counted from 0, None where every step is right) stay with the task. ``evals.first_error`` puts the
steps to a verifier and says how often it finds the right one.

An answer is written as the index, or ``none``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from thence.core.answers import Grade, Reading, Verdict
from thence.core.errors import DataError
from thence.core.problem import Problem
from thence.core.seeds import digest
from thence.grading.extract import TextReading

from .files import Row
from .spec import write_spec

NONE = "none"
_BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Given:
    """A solution to be judged: its steps, none blank and no blank lines inside, and the index of the first wrong one,
    from 0."""

    steps: tuple[str, ...]
    first_error: int | None

    @property
    def answer(self) -> str:
        """The reference as an answer."""
        return said(self.first_error)


def said(first_error: int | None) -> str:
    """An index as an answer: ``3``, or ``none``."""
    return NONE if first_error is None else str(first_error)


class FirstErrorTask:
    """Questions with a given solution each. A subclass reads its file and hands the solutions to ``__init__``."""

    name: str
    default_prompt: ClassVar[str] = "bare"
    has_references: ClassVar[bool] = True

    def __init__(self, arguments: Mapping[str, object], items: Sequence[tuple[Problem, Given]]) -> None:
        self._arguments = dict(arguments)
        self._problems = tuple(problem for problem, _ in items)
        self._given = {problem.id: given for problem, given in items}

    @property
    def spec(self) -> str:
        """The task as it is written on the command line."""
        return write_spec(self.name, self._arguments)

    @property
    def reading(self) -> Reading:
        """How an answer (an index or ``none``) is read from a text: what follows its marker."""
        return TextReading()

    @property
    def data_hash(self) -> str:
        """Hash of all questions, solutions and indexes: other data is another run."""
        return digest([(p.id, p.hash, self._given[p.id].steps, self._given[p.id].first_error) for p in self._problems])

    def problems(self) -> Sequence[Problem]:
        """The questions in the file's order."""
        return self._problems

    def given(self, problem: Problem) -> Given:
        """The solution of ``problem`` that is to be judged, and its first wrong step: the reference."""
        return self._given[problem.id]

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """Right if ``answer`` is the index of the first wrong step, or ``none`` where there is none."""
        gold = self._given[problem.id].answer
        if answer is None:
            return Grade(Verdict.NO_ANSWER)
        right = answer.strip().lower() == gold
        return Grade(Verdict.CORRECT if right else Verdict.INCORRECT, answer, "" if right else f"it is {gold}")

    def check_references(self) -> list[tuple[str, str]]:
        """Nothing: an index outside its solution is refused when the file is read."""
        return []


def read_steps(row: Row, column: str, where: str) -> tuple[str, ...]:
    """The steps in ``column``; DataError unless they are a list of texts. A blank one is written ``...``, so that it
    stays a step."""
    value = row.fields.get(column)
    if not isinstance(value, list) or not value or not all(isinstance(step, str) for step in value):
        raise DataError(f"{where}: column {column!r} must be a list of steps (texts); check the row")
    return tuple(_BLANK_LINES.sub("\n", step).strip("\n") if step.strip() else "..." for step in value)


def read_index(value: Any, steps: Sequence[str], where: str, *, base: int) -> int | None:
    """The index of the first wrong step, counted from 0, of one that is counted from ``base``; null is None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value - base < len(steps):
        raise DataError(
            f"{where}: the first wrong step is {value!r}, and the solution has {len(steps)} steps counted from {base}"
        )
    return value - base


def read_text(row: Row, column: str, where: str) -> str:
    """The text in ``column``; DataError where there is none."""
    value = row.fields.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: column {column!r} must be a text; check the row")
    return value


__all__ = ["NONE", "FirstErrorTask", "Given", "read_index", "read_steps", "read_text", "said"]
