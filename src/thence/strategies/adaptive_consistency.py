"""Adaptive-Consistency (Aggarwal et al. 2023, arXiv:2305.11860): sample until the leading answer is safe.

After each sample let v1 >= v2 be the two largest counts. With a uniform prior the chance that the leader beats the
runner-up is P(theta > 1/2) for theta ~ Beta(v1+1, v2+1), which for whole counts is
sum_{j=0}^{v1} C(v1+v2+1, j) / 2^(v1+v2+1). Sampling stops when it reaches ``confidence``, or at ``n`` samples.
Four agreeing samples are the fewest that can stop at .95.

Samples are consumed in seed order, not in order of arrival: short answers arrive first, and a vote stopped in that
order is biased towards them. ``order=arrival`` exists for comparison only.

Differs from the paper's code: the probability is exact, so no numerical failure can be mistaken for "go on".
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Literal

from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import Result, Search
from thence.core.tree import Node
from thence.core.votes import elect


@dataclass(frozen=True, slots=True)
class AdaptiveConsistency:
    """A vote of at most ``n`` samples, stopped when the leader is ahead with probability ``confidence``.

    ``ahead`` samples run beyond the one being looked at (they are wasted if the vote stops): more is faster, fewer is
    cheaper.
    """

    n: int = 40
    confidence: float = 0.95
    ahead: int = 3
    order: Literal["seed", "arrival"] = "seed"

    def __post_init__(self) -> None:
        check_counts("adaptive-consistency", n=self.n)
        if not 0.5 < self.confidence < 1.0:
            raise UsageError(f"adaptive-consistency: confidence is {self.confidence}; it must be between .5 and 1")
        if self.ahead < 0:
            raise UsageError(f"adaptive-consistency: ahead is {self.ahead}; it must be 0 or more")

    @property
    def width(self) -> int:
        """Samples per problem that run at once."""
        return min(self.n, self.ahead + 1)

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond continuing a text."""
        return frozenset()

    async def solve(self, search: Search) -> Result:
        """Sample one after another; stop when the leader is safe."""
        nodes: list[Node] = []
        counts: dict[str, int] = {}
        ahead = None if search.ledger.budget is not None else self.ahead
        async with search.stream(n=self.n, ahead=ahead, order=self.order) as samples:
            async for node in samples:
                nodes.append(node)
                found = await search.answer(node)
                if found is not None:
                    key = search.reading.key(found.value)
                    counts[key] = counts.get(key, 0) + 1
                    first, second = (*sorted(counts.values(), reverse=True), 0)[:2]
                    if lead_probability(first, second) >= self.confidence:
                        break
        note = f"{len(nodes)} of at most {self.n} samples drawn"
        return elect(search, await search.classes(nodes), len(nodes), notes=[note])


def lead_probability(first: int, second: int) -> float:
    """P(theta > 1/2) for theta ~ Beta(first + 1, second + 1), exactly."""
    n = first + second + 1
    favourable: int = sum(comb(n, j) for j in range(first + 1))
    return favourable / (1 << n)
