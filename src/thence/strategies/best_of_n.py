"""Best-of-N (Cobbe et al. 2021, arXiv:2110.14168): sample N solutions, keep the one the verifier likes most.

``select=vote`` sums the verifier's numbers over equal answers instead and answers with the best of the winning class
(verifier-weighted voting, as in Uesato et al. 2022, arXiv:2211.14275); it needs numbers that are not negative.
``inner`` is another strategy that makes each of the samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from thence.core.completion import Ability
from thence.core.errors import check_counts
from thence.core.nested import samples
from thence.core.search import Result, Search, Strategy, Verifier
from thence.core.votes import Select, select


@dataclass(frozen=True, slots=True)
class BestOfN:
    """The best of ``n`` samples by ``verifier``."""

    verifier: Verifier
    n: int = 16
    select: Select = "max"
    inner: Strategy | None = None

    def __post_init__(self) -> None:
        check_counts("best-of-n", n=self.n)

    @property
    def width(self) -> int:
        """Samples per problem."""
        return self.n

    @property
    def needs(self) -> frozenset[Ability]:
        """What its verifier needs, and what ``inner`` does."""
        return self.verifier.needs | (self.inner.needs if self.inner is not None else frozenset())

    async def solve(self, search: Search) -> Result:
        """Sample, score, choose."""
        nodes, _ = await samples(search, self.n, self.inner)
        for node in nodes:
            await search.answer(node)
        return await select(search, nodes, self.verifier, self.select, "best-of-n")
