"""Early-stopping self-consistency (Li et al. 2024, arXiv:2401.10480): stop when a whole window agrees.

Samples come in windows of ``window``; if all answers of one window are equal, sampling stops, otherwise at ``n``. The
answer is the majority of everything drawn. For an answer law p, with q = sum_a p_a^w and K = floor(n / w), the expected
number of samples is w (1 - (1-q)^K) / q.

A window in which a sample has no answer does not agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import Result, Search
from thence.core.tree import Node
from thence.core.votes import elect


@dataclass(frozen=True, slots=True)
class EarlyStoppingConsistency:
    """A vote of at most ``n`` samples, stopped after the first unanimous window of ``window`` samples."""

    n: int = 40
    window: int = 5

    def __post_init__(self) -> None:
        check_counts("esc", n=self.n)
        if not 1 <= self.window <= self.n:
            raise UsageError(f"esc: window is {self.window}; it must be between 1 and n = {self.n}")

    @property
    def width(self) -> int:
        """Samples per problem that run at once."""
        return self.window

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond continuing a text."""
        return frozenset()

    async def solve(self, search: Search) -> Result:
        """Draw window after window."""
        nodes: list[Node] = []
        while len(nodes) < self.n:
            window = await search.expand(n=min(self.window, self.n - len(nodes)))
            nodes += window
            if search.stopped or await self._unanimous(search, window):
                break
        note = f"{len(nodes)} of at most {self.n} samples drawn"
        return elect(search, await search.classes(nodes), len(nodes), notes=[note])

    async def _unanimous(self, search: Search, window: list[Node]) -> bool:
        found = [await search.answer(node) for node in window]
        keys = {None if f is None else search.reading.key(f.value) for f in found}
        return len(window) == self.window and len(keys) == 1 and None not in keys
