"""The built-in word problems as a task: problems without answers outside, references inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Protocol

from thence.core.answers import Grade, Reading
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.seeds import digest
from thence.grading.extract import NumericReading, TextReading
from thence.grading.grade import grade_answer

from .wordproblems import DISTRACTED, LARGEST, SHUFFLED, WordProblem, WordProblems


class ProblemSet(Protocol):
    """Generated problems in a fixed order."""

    def items(self) -> Sequence[WordProblem]: ...


@dataclass(frozen=True)
class WordProblemsTask:
    """``size`` different problems of one family, level and split; fixed by these and ``data_seed``, never by a run.

    ``largest`` is the largest number a question gives a person; ``shuffled`` and ``distracted`` are the shares of
    problems with statements in random order, and with statements that the answer does not need. The question's hash
    decides its split, so a test problem is in no training set.
    """

    level: int = 3
    split: str = "test"
    data_seed: int = 0
    size: int = 1000
    family: str = "graph"
    largest: int = LARGEST
    shuffled: float = SHUFFLED
    distracted: float = DISTRACTED

    name = "wordproblems"
    default_prompt = "cot"
    has_references = True

    @property
    def _set(self) -> ProblemSet:
        return WordProblems(**{f.name: getattr(self, f.name) for f in fields(self)})

    def __post_init__(self) -> None:
        try:
            _ = self._set
        except ValueError as error:
            raise UsageError(str(error)) from error

    @property
    def spec(self) -> str:
        """The task as it is written on the command line, with what is not a default."""
        given = [f"{f.name}={v}" for f in fields(self) if (v := getattr(self, f.name)) != f.default]
        return f"wordproblems({', '.join(given)})" if given else "wordproblems"

    @property
    def reading(self) -> Reading:
        """Numbers; for last letters the text after the marker, else the last word."""
        return TextReading(fallback="word") if self.family == "letters" else NumericReading()

    @cached_property
    def items(self) -> dict[str, WordProblem]:
        """The generated problems by id, with their graphs."""
        try:
            return {p.id: p for p in self._set.items()}
        except ValueError as error:
            raise UsageError(str(error)) from error

    @cached_property
    def _problems(self) -> tuple[Problem, ...]:
        return tuple(Problem(p.id, p.question, p.family) for p in self.items.values())

    def problems(self) -> Sequence[Problem]:
        """The questions."""
        return self._problems

    @property
    def data_hash(self) -> str:
        """Hash of all questions with their references: other data is another run."""
        return digest([(p.id, p.question, p.answer) for p in self.items.values()])

    def reference(self, problem: Problem) -> str:
        """The graph's answer."""
        return self.items[problem.id].answer

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """Exact equality with the graph's answer."""
        return grade_answer(self.items[problem.id].answer, answer)

    def check_references(self) -> list[tuple[str, str]]:
        """References that do not grade themselves (there are none)."""
        grades = ((p.id, grade_answer(p.answer, p.answer)) for p in self.items.values())
        return [(i, g.reason) for i, g in grades if not g.correct]
