"""The strategy of the README."""

from dataclasses import dataclass, replace

from thence import Ability, Result, Search


@dataclass(frozen=True, slots=True)
class TwoTries:
    """Greedy first; then three warm samples; the largest class of answers wins."""

    needs: frozenset[Ability] = frozenset()

    async def solve(self, search: Search) -> Result:
        """One cold and three warm samples, and a vote of the four."""
        first = await search.expand(sampling=search.sampling.greedy())
        warm = await search.expand(n=3, sampling=replace(search.sampling, temperature=1.0))
        classes = await search.classes([*first, *warm])
        return search.result(classes[0].nodes[0] if classes else None)
