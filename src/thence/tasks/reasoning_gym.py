"""The procedural tasks of reasoning-gym (Stojanovski et al. 2025, arXiv:2505.24760), version 0.1.25.

``reasoning-gym(name=spiral_matrix, size=100, seed=0)`` draws ``size`` problems with the library's default difficulty.
Accuracy counts full scores only; who judges an answer is stated per task in ``reasoning_gym_checks``.

The question is the library's; after it stands where the answer goes. The answer is what the last ``<answer>`` tag
holds, which may be several lines; without one, what follows the last marker, or a reply of one line. Two answers are
the same if they are equal, blanks around and at line ends aside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from thence.core.answers import Answer, Grade, Reading, Verdict
from thence.core.clean import one_line
from thence.core.errors import UsageError, check_counts
from thence.core.problem import Problem
from thence.core.seeds import digest
from thence.grading.extract import TextReading
from thence.grading.worker import ToGrade, grade_many

from .reasoning_gym_checks import MAX_CHARS, OWN, REFUSED, SCORER, TEXT, VERSION, How, how, judge, plain
from .spec import write_spec

NAMES = tuple(sorted((*TEXT, *OWN, *SCORER)))
ASK = "\nWrite the final answer between <answer> and </answer>."
WORKER = "thence.tasks.reasoning_gym_worker:grade"
DEADLINE = 15.0  # seconds; the first answer of a task also waits for the library's word lists and grids
_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TaggedReading:
    """The text in the last ``<answer>`` tag, else after the last marker, else a reply of one line."""

    def extract(self, reply: str) -> Answer | None:
        """The answer without blanks around it, with its place in ``reply``."""
        tags = [m for m in _TAG.finditer(reply) if m[1].strip()]
        if not tags:
            return TextReading().extract(reply)
        inside = tags[-1]
        start = inside.start(1) + len(inside[1]) - len(inside[1].lstrip())
        return Answer(inside[1].strip(), start, start + len(inside[1].strip()))

    def key(self, value: str) -> str:
        """Equal texts, blanks around and at line ends aside."""
        return plain(value)


class ReasoningGym:
    """``size`` problems of the task ``name``, fixed by ``seed``. Left out, and counted in ``left_out``: problems whose
    reference is an empty text, which no answer could give."""

    default_prompt = "cot"
    has_references = True
    name = "reasoning-gym"

    def __init__(self, name: str | None = None, size: int = 100, seed: int = 0) -> None:
        check_counts(self.name, 1, size=size)
        if name in REFUSED:
            raise UsageError(f"reasoning-gym: {name} is refused: {REFUSED[name]}")
        if name not in NAMES:
            said = f"name is {one_line(name, 60)!r}" if name else "name=… is missing"
            raise UsageError(f"reasoning-gym: {said}; it is one of {', '.join(NAMES)}")
        self.kind = how(name)
        self._drawn_by = name, size, seed
        self._entries: dict[str, Mapping[str, Any]] = {}
        problems = []
        for index, entry in enumerate(_drawn(name, size, seed)):
            if entry["answer"] is not None and not str(entry["answer"]).strip():
                continue
            id = f"{name}-{index + 1:04d}"
            problems.append(Problem(id, f"{entry['question'].rstrip()}{ASK}"))
            self._entries[id] = entry
        self.left_out = size - len(problems)
        if not problems:
            raise UsageError(f"reasoning-gym: none of the {size} problems of {name} has a reference that can be said")
        self._problems = tuple(problems)

    @property
    def spec(self) -> str:
        """The task as it is written on the command line."""
        name, size, seed = self._drawn_by
        return write_spec(self.name, {"name": name, "size": size, "seed": seed})

    @property
    def reading(self) -> Reading:
        """What the last answer tag holds."""
        return TaggedReading()

    @property
    def data_hash(self) -> str:
        """Hash of all questions with their references: another version of the library is another run."""
        return digest(VERSION, [(p.id, p.hash, str(self._entries[p.id]["answer"])) for p in self._problems])

    def problems(self) -> Sequence[Problem]:
        """The questions, in the order in which they are drawn."""
        return self._problems

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """Right at full score only; see ``reasoning_gym_checks`` for who judges."""
        return self.grade_all([(problem, reply, answer)])[0]

    def grade_all(self, items: Sequence[tuple[Problem, str, str | None]]) -> list[Grade]:
        """``grade`` for many (problem, reply, answer), much faster than one by one where the worker is asked."""
        if self.kind is not How.SCORER:
            return [self._judged(problem, answer) for problem, _, answer in items]
        from .reasoning_gym_worker import packed

        asked = [
            (at, ToGrade(packed(*self._drawn_by, self._entries[problem.id]), answer, ""))
            for at, (problem, _, answer) in enumerate(items)
            if answer is not None and answer.strip() and len(answer) <= MAX_CHARS
        ]
        grades = [self._unasked(answer) for _, _, answer in items]
        for (at, _), given in zip(asked, grade_many(WORKER, [each for _, each in asked], DEADLINE), strict=True):
            grades[at] = given
        return grades

    def _judged(self, problem: Problem, answer: str | None) -> Grade:
        if answer is None or not answer.strip():
            return self._unasked(answer)
        right, why = judge(self._drawn_by[0], answer, self._entries[problem.id])
        return Grade(Verdict.CORRECT if right else Verdict.INCORRECT, answer, why)

    @staticmethod
    def _unasked(answer: str | None) -> Grade:
        if answer is None or not answer.strip():
            return Grade(Verdict.NO_ANSWER, None, "no answer was found")
        return Grade(Verdict.INCORRECT, answer[:80], f"the answer has more than {MAX_CHARS:,} characters")

    def check_references(self) -> list[tuple[str, str]]:
        """References that are not at full score. Tasks with many right answers may have none: nothing is checked."""
        known = [p for p in self._problems if self._entries[p.id]["answer"] is not None]
        grades = self.grade_all([(p, "", str(self._entries[p.id]["answer"])) for p in known])
        return [(p.id, g.reason or str(g.verdict)) for p, g in zip(known, grades, strict=True) if not g.correct]


def _drawn(name: str, size: int, seed: int) -> list[Mapping[str, Any]]:
    """The entries; UsageError without the library, or with another version than the one whose scorers were read."""
    install = f'pip install "thence[reasoning-gym]" (reasoning-gym {VERSION})'
    try:
        there = version("reasoning-gym")
    except PackageNotFoundError:
        raise UsageError(f"reasoning-gym: the library is not installed; {install}") from None
    if there != VERSION:
        raise UsageError(f"reasoning-gym: version {there} is installed, and its scorers were not read; {install}")
    import reasoning_gym

    dataset = reasoning_gym.create_dataset(name, size=size, seed=seed)
    return [dataset[index] for index in range(size)]


__all__ = ["NAMES", "ReasoningGym", "TaggedReading"]
