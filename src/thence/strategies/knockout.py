"""Knockout: several answers, compared two at a time by a judge, until one is left. For questions without a reference.

``n`` samples make n - 1 comparisons, each asked in ``orders`` orders (2 takes the mean effect of the position out). The
judge is the role ``judge``: another model where one is given (``--role judge=MODEL``), else the policy itself, which is
then a judge of its own wording. Equal texts are one entrant. What the judge costs is charged.

The comparison is that of Zheng et al. 2023 (arXiv:2306.05685), the tournament the pairwise selection of their and many
others' best-of-n; whoever uses it should first know what the judge prefers where truth is known: ``thence prefer``.
"""

from __future__ import annotations

from dataclasses import dataclass

from thence.core.completion import Ability
from thence.core.contests import Contest
from thence.core.errors import check_counts
from thence.core.preferences import CRITERIA
from thence.core.search import Result, Search
from thence.core.tournaments import knockout


@dataclass(frozen=True, slots=True)
class Knockout:
    """``n`` samples in single elimination by ``criteria``."""

    n: int = 8
    orders: int = 2
    criteria: str = CRITERIA
    max_tokens: int = 512

    def __post_init__(self) -> None:
        check_counts("knockout", n=self.n, orders=self.orders, max_tokens=self.max_tokens)

    @property
    def width(self) -> int:
        """Samples per problem."""
        return self.n

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond answering in a chat."""
        return frozenset()

    async def solve(self, search: Search) -> Result:
        """Sample, then compare until one is left."""
        contest = await Contest.drawn(search, self.n, self.orders, self.criteria, self.max_tokens)
        if len(contest.entrants) < 2:
            return contest.alone()
        return contest.won(await knockout(len(contest.entrants), contest.judge, contest.seed))


__all__ = ["Knockout"]
