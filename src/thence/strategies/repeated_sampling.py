"""Repeated sampling (Brown et al. 2024, arXiv:2407.21787): draw n solutions and keep all of them.

The answer is the first sample's, so that the accuracy is that of one sample; what the other samples are for is
coverage: pass@k says how often any of k samples is right, which is what a perfect verifier could reach.
"""

from __future__ import annotations

from dataclasses import dataclass

from thence.core.completion import Ability
from thence.core.errors import check_counts
from thence.core.search import Result, Search


@dataclass(frozen=True, slots=True)
class RepeatedSampling:
    """``n`` independent samples; the first one answers."""

    n: int = 16

    def __post_init__(self) -> None:
        check_counts("repeated-sampling", n=self.n)

    @property
    def width(self) -> int:
        """Samples per problem."""
        return self.n

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond continuing a text."""
        return frozenset()

    async def solve(self, search: Search) -> Result:
        """Draw all, read all, answer with the first."""
        nodes = await search.expand(n=self.n)
        for node in nodes:
            await search.answer(node)
        return search.result(nodes[0] if nodes else None)
