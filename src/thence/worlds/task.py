"""A world as a task: its problems, how their answers are read, and the references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.answers import Grade
from thence.core.problem import Problem
from thence.core.seeds import digest
from thence.grading.extract import TextReading
from thence.grading.grade import grade_answer

from .world import MARK, World


@dataclass(frozen=True, slots=True)
class WorldTask:
    """The problems of ``world``; made by ``World.task``. Asked bare, because a world does not look at instructions."""

    world: World

    default_prompt = "bare"
    has_references = True

    @property
    def name(self) -> str:
        """The world's name."""
        return self.world.name

    @property
    def spec(self) -> str:
        """The world with all its parameters."""
        return self.world.spec

    @property
    def reading(self) -> TextReading:
        """What follows the mark of the answer; a text without it has no answer."""
        return TextReading((MARK,), "none")

    @property
    def data_hash(self) -> str:
        """Hash of all questions with their references: other data is another run."""
        return digest([(p.id, p.hash, self.world.right(i)) for i, p in enumerate(self.world.problems())])

    def problems(self) -> Sequence[Problem]:
        """The questions."""
        return self.world.problems()

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """Exact equality with the right answer."""
        return grade_answer(self.world.right(self.world.number(problem)), answer)

    def check_references(self) -> list[tuple[str, str]]:
        """References that do not grade themselves (there are none)."""
        grades = ((p.id, grade_answer(self.world.right(i), self.world.right(i))) for i, p in enumerate(self.problems()))
        return [(i, g.reason) for i, g in grades if not g.correct]


__all__ = ["WorldTask"]
