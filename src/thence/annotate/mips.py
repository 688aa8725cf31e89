"""MiPS (Wang et al. 2024, arXiv:2402.02658): Monte-Carlo values of steps, by any completer, read by any aggregate.

The labels are Math-Shepherd's soft ones (arXiv:2312.08935): the share of right ones among n completions of each begun
solution. What the paper adds is about reading them. A completer makes mistakes of its own, so a label says less than
the step deserves: after t right steps of a chain it is V(t) < 1, growing to 1 at the end. And the smallest of several
noisy labels is lower still:

    E[min_t S_t / n] = 1/n sum_{k=1..n} prod_t P(S_t >= k)  <  min_t V_t,    S_t ~ Bin(n, V_t)

So aggregates that trust high scores (max, mean, sum of logits) lose less by few rollouts than min and product do. With
exact values none of this holds: the last one is the chance of a right answer, and no aggregate beats it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.errors import DataError, check_counts
from thence.core.labels import Labelled
from thence.core.scores import Aggregate, Meaning, aggregate

from .math_shepherd import MathShepherd
from .rollouts import Rollouts


@dataclass(frozen=True, slots=True)
class Mips:
    """``n`` completions per step of each of ``solutions`` solutions; another model may complete (``--completer``)."""

    n: int = 16
    solutions: int = 4

    def __post_init__(self) -> None:
        check_counts("mips", n=self.n, solutions=self.solutions)

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]:
        """Sample by the policy, complete by the completer."""
        return await MathShepherd(self.n, self.solutions).annotate(rollouts)

    async def label(self, rollouts: Rollouts, text: str, correct: bool) -> Labelled:
        """Labels for one solution, whose final answer is ``correct`` or not."""
        return await MathShepherd(self.n, self.solutions).label(rollouts, text, correct)


def score(record: Labelled, how: Aggregate) -> float:
    """One number for a labelled solution, by the aggregate asked for; its last label, the verdict, is left out.

    DataError where a step has no value or the solution has only one step.
    """
    numbers = record.numbers(Meaning.VALUE)[:-1]
    known = [x for x in numbers if x is not None]
    if not known or len(known) < len(numbers):
        raise DataError(f"problem {record.problem}: {len(known)} of {len(numbers)} steps have a value; label all first")
    return aggregate(known, Meaning.VALUE, how)


def expected_min(values: Sequence[float], n: int) -> float:
    """E[min of the soft labels] for steps of these values with ``n`` independent completions each."""
    check_counts("expected_min", n=n)

    def at_least(k: int, v: float) -> float:
        return math.fsum(math.comb(n, s) * v**s * (1 - v) ** (n - s) for s in range(k, n + 1))

    return math.fsum(math.prod(at_least(k, v) for v in values) for k in range(1, n + 1)) / n


__all__ = ["Mips", "expected_min", "score"]
