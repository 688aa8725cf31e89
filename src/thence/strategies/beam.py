"""Step beam search with a verifier (Snell et al. 2024, arXiv:2408.03314; OpenR, arXiv:2410.09671).

Draw n first steps, score them, keep the best n / width, draw ``width`` next steps of each, and so on until every path
has ended; then choose among the ended paths as best-of-N does. Keeping n / 4 of n candidates is Hung-yi Lee's "top
25 %". With exact values and independent draws a beam covers the right answer at least as often as best-of-N at the same
n (a martingale argument; tests/worlds/test_search_in_worlds.py): what a beam loses to it is the verifier's error.

Differs from public implementations on purpose: candidates are ranked by the verifier's own aggregation and not always
by the last score; a path that ended is set aside and neither refilled with duplicates nor takes a place from the
others; equal steps are one node that is scored once and continued as often as it was drawn; ties go by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.beams import grow
from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import Select, best_first, select


@dataclass(frozen=True, slots=True)
class Beam:
    """A beam of ``n`` candidates per step, each kept one continued ``width`` times.

    ``keep`` says how many candidates go on: a number, a share such as ``25%``, or a threshold such as ``>=0.5`` (the
    best one goes on if none reaches it); by default n / width. At most ``depth`` steps of at most ``step_tokens``.
    """

    verifier: Verifier
    n: int = 16
    width: int = 4
    keep: str | None = None
    depth: int = 40
    step_tokens: int = 256
    select: Select = "vote"

    def __post_init__(self) -> None:
        check_counts("beam", n=self.n, width=self.width, depth=self.depth, step_tokens=self.step_tokens)
        if self.keep is None and self.n % self.width:
            raise UsageError(f"beam: n={self.n} is no multiple of width={self.width}; change one, or give keep")
        self.kept([1.0])

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text, and what its verifier needs."""
        return self.verifier.needs | {Ability.CONTINUE}

    async def solve(self, search: Search) -> Result:
        """Draw, score, keep, until nothing is left to continue."""

        async def choose(live: list[Node]) -> list[Node]:
            values = [s.value for s in await search.score(live, self.verifier)]
            order = best_first(search, live, values)
            return [live[i] for i in order[: self.kept([values[i] for i in order])]]

        ended = await grow(search, self.n, min(self.width, self.n), self.depth, self.step_tokens, choose)
        return await select(search, ended, self.verifier, self.select, "beam")

    def kept(self, values: Sequence[float]) -> int:
        """How many candidates go on; ``values`` are sorted, largest first."""
        if self.keep is None:
            return self.n // self.width
        try:
            if self.keep.startswith(">="):
                return max(1, sum(v >= float(self.keep[2:]) for v in values))
            if self.keep.endswith("%"):
                return max(1, round(len(values) * float(self.keep[:-1]) / 100))
            count = int(self.keep)
        except ValueError:
            raise UsageError(f"beam: keep is {self.keep!r}; write a number, a share like 25%, or >=0.5") from None
        if count < 1:
            raise UsageError(f"beam: keep is {count}; it must be at least 1")
        return count
