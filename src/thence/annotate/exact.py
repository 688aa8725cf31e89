"""Exact labels, where a task knows the truth of every written step: the built-in word problems and the worlds.

A step is labelled P(it is right | all before it are) (STEP_CORRECT), 1 or 0, up to the first wrong one; what follows
is conditional on something false and stays unlabelled (Lightman et al. 2023, arXiv:2305.20050, stop there, too). All
steps have P(all steps so far are right) (PREFIX_VALID), which stays 0 after the first wrong one. A step that cannot be
read leaves the prefixes from there on unlabelled until something is certainly wrong. The last step includes the closing
answer line: if all else is right and the answer is wrong, that step is.

Where the task knows the exact chance of a right answer (a world does, for its own generator), it is the label VALUE.
Validity and value are two things: a slip that is made good has value and no validity (docs of ``thence.worlds.chain``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.errors import UsageError, check_counts
from thence.core.labels import Label, Labelled, Source
from thence.core.problem import Problem
from thence.core.scores import Meaning
from thence.tasks.wordproblems import StepTruth, check_steps
from thence.tasks.wordproblems_task import WordProblemsTask
from thence.worlds.task import WorldTask

from .math_shepherd import step_ends
from .rollouts import Rollouts, Truth


@dataclass(frozen=True, slots=True)
class Exact:
    """The truth of every step of ``solutions`` sampled solutions per problem; no rollouts."""

    solutions: int = 4

    def __post_init__(self) -> None:
        check_counts("exact", solutions=self.solutions)

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]:
        """Sample solutions and label each; equal ones are labelled once, ones that were cut not at all."""
        nodes = await rollouts.search.expand(n=self.solutions)
        whole = {n.index: n for n in nodes if not n.truncated}
        return [exact(rollouts, n.completion.reply, await rollouts.correct(n)) for n in whole.values()]

    async def label(self, rollouts: Rollouts, text: str, correct: bool) -> Labelled:
        """Labels for one solution, whose final answer is ``correct`` or not."""
        return exact(rollouts, text, correct)


def exact(rollouts: Rollouts, text: str, correct: bool) -> Labelled:
    """The exact labels of one solution. UsageError where the task knows nothing of its steps."""
    if rollouts.truth is None:
        raise UsageError("exact: this task does not know whether a written step is true; use math-shepherd")
    problem, ends = rollouts.search.problem, step_ends(rollouts, text)
    judged = rollouts.truth.judged(problem, text, ends)
    if not correct and ends and all(judged):
        judged[-1] = False
    rows: list[tuple[Label, ...]] = []
    valid: bool | None = True
    for right in judged:
        now = None if valid is False else right
        valid = False if valid is False or right is False else None if None in (valid, right) else True
        rows.append((_label(Meaning.STEP_CORRECT, now), _label(Meaning.PREFIX_VALID, valid)))
    if rollouts.truth.valued is not None:
        values = rollouts.truth.valued(problem, text, ends)
        rows = [(*row, Label(Meaning.VALUE, min(1.0, v), Source.EXACT)) for row, v in zip(rows, values, strict=True)]
    return Labelled(problem.id, text, ends, tuple(rows), correct)


def _label(meaning: Meaning, right: bool | None) -> Label:
    return Label(meaning, None if right is None else float(right), Source.EXACT)


def truth_of(task: object) -> Truth | None:
    """What a task knows of written steps; None for most tasks."""
    if isinstance(task, WordProblemsTask):
        return Truth(lambda problem, text, ends: _word_steps(task, problem, text, ends))
    if isinstance(task, WorldTask):
        return Truth(
            lambda problem, text, ends: _world_steps(task, problem, text, ends),
            lambda problem, text, ends: [task.world.value(problem, text[:end]) for end in ends],
        )
    return None


def _word_steps(task: WordProblemsTask, problem: Problem, text: str, ends: Sequence[int]) -> list[bool | None]:
    """A step is true if everything written in it is; one with nothing to check, or unreadable, is unknown."""
    checks = check_steps(task.items[problem.id], text)
    judged: list[bool | None] = []
    start = 0
    for end in ends:
        inside = [c.truth for c in checks if start <= c.start < end]
        if any(truth not in (StepTruth.CORRECT, StepTruth.UNREADABLE) for truth in inside):
            judged.append(False)
        else:
            judged.append(None if not inside or StepTruth.UNREADABLE in inside else True)
        start = end
    return judged


def _world_steps(task: WorldTask, problem: Problem, text: str, ends: Sequence[int]) -> list[bool | None]:
    """A world's own judgement; a text line that is none of its steps is unknown."""
    world = task.world
    judged: list[bool | None] = []
    before = 0
    for end in ends:
        steps = world.read(text[:end]).steps
        now = world.judge(world.number(problem), steps)[before:]
        judged.append(all(now) if now else None)
        before = len(steps)
    return judged


__all__ = ["Exact", "exact", "truth_of"]
