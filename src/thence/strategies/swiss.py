"""Swiss: several answers meet others with equal points for some rounds; the one with most points is taken.

``n`` samples make rounds * n // 2 comparisons. Unlike in a knockout one wrong verdict does not end it, and the order of
all answers is known in the end. Judge, orders and costs are those of `knockout`. For questions without a reference.
"""

from __future__ import annotations

from dataclasses import dataclass

from thence.core.completion import Ability
from thence.core.contests import Contest
from thence.core.errors import check_counts
from thence.core.preferences import CRITERIA
from thence.core.search import Result, Search
from thence.core.tournaments import swiss


@dataclass(frozen=True, slots=True)
class Swiss:
    """``n`` samples in ``rounds`` rounds by ``criteria``."""

    n: int = 8
    rounds: int = 3
    orders: int = 2
    criteria: str = CRITERIA
    max_tokens: int = 512

    def __post_init__(self) -> None:
        check_counts("swiss", n=self.n, rounds=self.rounds, orders=self.orders, max_tokens=self.max_tokens)

    @property
    def width(self) -> int:
        """Samples per problem."""
        return self.n

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond answering in a chat."""
        return frozenset()

    async def solve(self, search: Search) -> Result:
        """Sample, then play all rounds."""
        contest = await Contest.drawn(search, self.n, self.orders, self.criteria, self.max_tokens)
        if len(contest.entrants) < 2:
            return contest.alone()
        return contest.won(await swiss(len(contest.entrants), contest.judge, self.rounds, contest.seed))


__all__ = ["Swiss"]
