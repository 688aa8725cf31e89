"""Greedy decoding: the most likely token at every step, once. The baseline of everything."""

from __future__ import annotations

from dataclasses import dataclass

from thence.core.completion import Ability
from thence.core.search import Result, Search


@dataclass(frozen=True, slots=True)
class Greedy:
    """One sample at temperature 0."""

    width = 1

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond continuing a text."""
        return frozenset()

    async def solve(self, search: Search) -> Result:
        """Draw it and read its answer."""
        nodes = await search.expand(sampling=search.sampling.greedy())
        if not nodes:
            return search.result(None)
        await search.answer(nodes[0])
        return search.result(nodes[0])
