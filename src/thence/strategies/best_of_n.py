"""Best-of-N (Cobbe et al. 2021, arXiv:2110.14168): sample N solutions, keep the one the verifier likes most.

``select=vote`` sums the verifier's numbers over equal answers instead and answers with the best of the winning class
(verifier-weighted voting, as in Uesato et al. 2022, arXiv:2211.14275); it needs numbers that are not negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.search import Result, Search, Verifier
from thence.core.votes import elect, pick


@dataclass(frozen=True, slots=True)
class BestOfN:
    """The best of ``n`` samples by ``verifier``."""

    verifier: Verifier
    n: int = 16
    select: Literal["max", "vote"] = "max"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"best-of-n: n is {self.n}; it must be at least 1")

    @property
    def width(self) -> int:
        """Samples per problem."""
        return self.n

    @property
    def needs(self) -> frozenset[Ability]:
        """What its verifier needs."""
        return self.verifier.needs

    async def solve(self, search: Search) -> Result:
        """Sample, score, choose."""
        nodes = await search.expand(n=self.n)
        for node in nodes:
            await search.answer(node)
        values = [s.value for s in await search.score(nodes, self.verifier)]
        if self.select == "max":
            return await pick(search, nodes, values)
        if any(v < 0 for v in values):
            raise UsageError(f"best-of-n: {self.verifier.name} gives negative scores, which cannot weigh votes")
        worth = {n.index: v for n, v in zip(nodes, values, strict=True)}
        classes = await search.classes(nodes)
        result = elect(search, classes, len(nodes), lambda c: sum(worth[n.index] for n in c.nodes))
        for group in classes:
            if result.node in group.nodes:
                best = max(group.nodes, key=lambda n: worth[n.index])
                result.node, result.answer = best, best.found.value if best.found is not None else result.answer
        return result
