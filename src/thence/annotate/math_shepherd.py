"""Math-Shepherd (Wang et al. 2023, arXiv:2312.08935): value every step of a solution by completing it n times.

The label of a step is the share of right completions ("soft", as MiPS, arXiv:2402.02658, uses it) or whether any was
right ("hard", the paper's main runs). Records keep the counts, so hard labels need no new rollouts: ``hard``. The last
step's label is the solution's own verdict. All prefixes are completed together; cost: n times the number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from thence.core.errors import check_counts
from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Meaning
from thence.core.segmenter import Segmenter
from thence.core.tree import Node

from .rollouts import Rollouts, outcome


@dataclass(frozen=True, slots=True)
class MathShepherd:
    """``n`` rollouts per step of each of ``solutions`` sampled solutions per problem."""

    n: int = 8
    solutions: int = 4

    def __post_init__(self) -> None:
        check_counts("math-shepherd", n=self.n, solutions=self.solutions)

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]:
        """Sample solutions and label each; equal ones are labelled once, ones that were cut not at all."""
        nodes = await rollouts.search.expand(n=self.solutions)
        whole = {n.index: n for n in nodes if not n.truncated}
        made = [await self.label(rollouts, n.completion.reply, await rollouts.correct(n)) for n in whole.values()]
        return [told(record, node) for record, node in zip(made, whole.values(), strict=True)]

    async def label(self, rollouts: Rollouts, text: str, correct: bool) -> Labelled:
        """Labels for one solution, whose final answer is ``correct`` or not.

        The record ends early when the budget did: steps without rollouts have no label.
        """
        ends = step_ends(rollouts, text)
        estimates = await rollouts.estimate([text[:e] for e in ends[:-1]], self.n)
        labels: list[tuple[Label, ...]] = [(rollouts.label(e),) for e in estimates]
        labels += [()] * (len(ends) - 1 - len(labels))
        if ends:
            labels.append((outcome(correct),))
        return Labelled(rollouts.search.problem.id, text, ends, tuple(labels), correct)


def told(record: Labelled, node: Node) -> Labelled:
    """The record with what training wants to know of its sample: how often it was drawn and how it ended."""
    finish = str(node.completion.finish)
    return replace(record, extra={**record.extra, "draws": node.multiplicity, "finish": finish})


def step_ends(rollouts: Rollouts, text: str) -> tuple[int, ...]:
    """Where the steps of a solution end; a closing answer line belongs to the last one."""
    return ends_of(rollouts.search.segmenter, text)


def ends_of(segmenter: Segmenter, text: str) -> tuple[int, ...]:
    """The same for any rule that cuts texts."""
    ends = segmenter.steps(text).ends
    return (*ends[:-1], len(text)) if ends else ()


def hard(record: Labelled) -> Labelled:
    """The same record with 1 for every step that any rollout got right from, else 0."""
    return replace(record, labels=tuple(tuple(_hard(x) for x in row) for row in record.labels))


def _hard(label: Label) -> Label:
    if label.meaning is not Meaning.VALUE or label.source is not Source.ROLLOUTS or label.successes is None:
        return label
    return replace(label, number=float(label.successes > 0))
