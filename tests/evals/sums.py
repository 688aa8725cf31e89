"""A task for tests: additions of known answer, and a generator that is right as often as it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from thence.core.answers import Grade, Reading, Verdict
from thence.core.problem import Problem
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import default_reading
from thence.grading.grade import grade_answer


class Sums:
    """``n`` additions; ``golds`` replaces references by problem id, ``references`` False hides them all."""

    name = "sums"
    default_prompt = "bare"

    def __init__(self, n: int = 20, golds: dict[str, str] | None = None, *, references: bool = True) -> None:
        self._n, self._golds, self.has_references = n, golds or {}, references
        self.graded = 0

    @property
    def spec(self) -> str:
        return "sums()"

    @property
    def reading(self) -> Reading:
        return default_reading()

    def problems(self) -> Sequence[Problem]:
        return [Problem(f"s{i}", f"What is {i} + {i + 1}?") for i in range(self._n)]

    def gold(self, problem: Problem) -> str:
        return self._golds.get(problem.id, str(2 * int(problem.id[1:]) + 1))

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        self.graded += 1
        if self.gold(problem) == "slow":
            return Grade(Verdict.TIMEOUT, answer, "the grader took too long")
        return grade_answer(self.gold(problem), answer)

    def check_references(self) -> list[tuple[str, str]]:
        return []


def solver(answer: Callable[[int, Cue], str], **options: object) -> ScriptedGenerator:
    """A generator that writes ``answer(first summand, cue)``."""

    def write(cue: Cue) -> str:
        return answer(int(cue.question.split()[2]), cue)

    return ScriptedGenerator(write, **options)  # type: ignore[arg-type]


def noisy(**options: object) -> ScriptedGenerator:
    """Right with probability .7 on even, .3 on odd problems; wrong answers are spread over three values."""

    def answer(i: int, cue: Cue) -> str:
        right = cue.seed % 10 < (7 if i % 2 == 0 else 3)
        return f"so\n#### {2 * i + 1 if right else 1000 + cue.seed % 3}"

    return solver(answer, **options)
