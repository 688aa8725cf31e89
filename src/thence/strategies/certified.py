r"""Certified voting: sample until the leading answer is proved to be the most likely one, whatever the stopping time.

What is tested is the mode of the law of answers, p_a = P(a sample answers a). The goal is that of the Martingale
Majority Certificate (Cordero-Encinar and Duncan 2025, arXiv:2510.17472) and of PAC mode estimation (Jain et al. 2022,
arXiv:2109.05047). The construction below is our own composition of known parts: it names no answer in advance, needs no
bound on how many different answers there are, and divides alpha by nothing.

The leader before a draw is the answer with the largest count so far (of equal ones the one that got there first). For
every answer b a bettor starts with 1 and bets, before each draw at which another answer leads, the share x of its money
on the leader and against b: a draw of the leader multiplies it by 1 + x, a draw of b by 1 - x, any other by 1. Over all
x in [0, 1] with equal weights, after s draws of leaders and f of b at such times, it owns

    E_b = \int_0^1 (1 + x)^s (1 - x)^f dx = sum_{j=0}^{s} C(s+f+1, j) / ((s+f+1) C(s+f, s)).

An answer that was never drawn has f = 0. The vote stops as soon as the leader is strictly ahead and E_b >= 1/alpha for
every other answer, drawn or not; the leader is then certified.

**P(it ever certifies an answer that is not a mode) <= alpha.** Let m be a mode. The leader l is known before the draw,
and the expected factor of a bet against m is 1 + x (p_l - p_m) <= 1 since p_l <= p_m. So E_m, which averages such
products, is a nonnegative supermartingale that starts at 1, and by Ville's inequality P(E_m ever >= 1/alpha) <= alpha.
An answer that is no mode is certified only when all others have E >= 1/alpha, m among them. With ties any of the modes
may be certified. Nothing was assumed about when one looks or stops, so impatience does no harm, and 1 over the smallest
E of the others is a p-value at all times ("the leader is no mode").

What is proved is that more samples of the same model, prompt and sampling would not change the vote. A model that is
wrong most of the time is certified to be so. Samples without an answer cast no vote and are no part of the law.

Samples must be independent draws of one law. So they are consumed in seed order, never in order of arrival; a pool of
several models is refused; and where a budget leaves a sample less than its whole cap, which favours short answers, it
still votes and is no evidence.

The price against Adaptive-Consistency, whose Beta rule is stopped by chance more often than its confidence says: at
alpha = .05 no vote of fewer than 8 certifies, and close laws need many samples. When they run out, the answer is the
majority's, and a note says that it is not certified.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.protocols import Deals
from thence.core.search import POLICY, Result, Search
from thence.core.tree import Kind, Node
from thence.core.votes import elect


@dataclass(frozen=True, slots=True)
class Certified:
    """A vote of at most ``n`` samples that stops when its winner is the mode with error at most ``alpha``.

    ``ahead`` samples run beyond the one being looked at (they are wasted if the vote stops): more is faster, fewer is
    cheaper.
    """

    alpha: float = 0.05
    n: int = 40
    ahead: int = 3

    def __post_init__(self) -> None:
        check_counts("certified", n=self.n)
        if not 0.0 < self.alpha < 1.0:
            raise UsageError(f"certified: alpha is {self.alpha}; it must be between 0 and 1")
        if self.ahead < 0:
            raise UsageError(f"certified: ahead is {self.ahead}; it must be 0 or more")
        if self.n < (least := needed(self.alpha, 0) + 1):
            raise UsageError(
                f"certified: n is {self.n}, and at alpha = {self.alpha:g} even {least - 1} samples that all agree "
                f"certify nothing; give n of at least {least}"
            )

    @property
    def width(self) -> int:
        """Samples per problem that run at once."""
        return min(self.n, self.ahead + 1)

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond continuing a text."""
        return frozenset()

    async def solve(self, search: Search) -> Result:
        """Sample one after another; stop when the leader is certified."""
        if isinstance(search.generator(POLICY), Deals):
            raise UsageError(
                "certified: the samples of a pool are not draws of one law; give one model, or another vote"
            )
        nodes: list[Node] = []
        certificate = Certificate(self.alpha)
        ahead = None if search.ledger.budget is not None else self.ahead
        whole = whole_cap_left(search)
        async with search.stream(n=self.n, ahead=ahead) as samples:
            async for node in samples:
                nodes.append(node)
                found = await search.answer(node)
                if whole and found is not None and certificate.see(search.reading.key(found.value)):
                    break
                whole = whole and whole_cap_left(search)
        notes = [f"{len(nodes)} of at most {self.n} samples drawn", certificate.note()]
        return elect(search, await search.classes(nodes), len(nodes), notes=notes)


def whole_cap_left(search: Search) -> bool:
    """Whether the budget leaves the next sample as many tokens as it may have."""
    left = search.room()
    if left is None:
        return True
    context = search.context(search.root)
    ids = search.generator(POLICY).tokens(context)
    cap = search.cap(search.sampling, ids, POLICY, Kind.FINISH)
    return cap is not None and left >= cap + search.unseen_prompt(POLICY, context, ids) + search.followup_cost()


@dataclass(slots=True)
class Certificate:
    """The bets against every answer, after the answers ``see``n so far. ``certified`` stays true once it is."""

    alpha: float
    leader: str | None = None
    hits: int = 0  # draws of whoever led
    certified: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)  # draws of an answer while it led: no bet was against it
    lost: dict[str, int] = field(default_factory=dict)  # draws of an answer while another led

    def see(self, answer: str) -> bool:
        """Settle the bets on one more answer; whether the leader is certified."""
        self.counts[answer] = self.counts.get(answer, 0) + 1
        if self.leader is None:
            self.leader = answer
        elif answer == self.leader:
            self.hits += 1
            self.held[answer] = self.held.get(answer, 0) + 1
        else:
            self.lost[answer] = self.lost.get(answer, 0) + 1
            if self.counts[answer] <= self.counts[self.leader]:
                return self.certified  # every bettor that a certificate waits for has as much as before, or less
            self.leader = answer
        self.certified = self.certified or self._now()
        return self.certified

    def bets(self, answer: str | None = None) -> tuple[int, int]:
        """How many bets against an answer were won and lost; None: an answer that was never drawn."""
        return (self.hits, 0) if answer is None else (self.hits - self.held.get(answer, 0), self.lost.get(answer, 0))

    @property
    def p(self) -> float:
        """The p-value of "the leader is no mode": valid at whatever time it is looked at."""
        return min(1.0, max(doubt(*self.bets(b)) for b in self._others()))

    def note(self) -> str:
        """What a result says of it."""
        if self.certified:
            return f"certified: the most likely answer, with error at most {self.alpha:g} (p = {self.p:.2g})"
        return f"not certified at {self.alpha:g} (p = {self.p:.2g}): the majority of what was drawn"

    def _now(self) -> bool:
        if self.hits < needed(self.alpha, 0) or self.leader is None:
            return False
        most = self.counts[self.leader]
        others = sorted(self._others(), key=lambda b: -self.counts.get(b or "", 0))
        if len(others) > 1 and self.counts[others[0] or ""] == most:
            return False
        for b in others:  # the likeliest to refuse comes first
            won, lost = self.bets(b)
            if won < needed(self.alpha, lost):
                return False
        return True

    def _others(self) -> list[str | None]:
        return [b for b in self.counts if b != self.leader] + [None]


def doubt(won: int, lost: int) -> float:
    """1 / E for a bettor against an answer who won and lost so many bets: at most lost + 1."""
    over, under = _ratio(won, lost)
    return under / over


def needed(alpha: float, lost: int) -> int:
    """How many bets must be won against an answer that won ``lost`` of them, for E of at least 1/alpha."""
    table = _table(alpha)
    numerator, denominator = alpha.as_integer_ratio()  # of the very number that is compared: no rounding anywhere
    while len(table) <= lost:
        won = table[-1] if table else 0
        while True:
            over, under = _ratio(won, len(table))
            if over * numerator >= under * denominator:
                break
            won += 1
        table.append(won)
    return table[lost]


@lru_cache(maxsize=16)
def _table(alpha: float) -> list[int]:
    """What ``needed`` has found for one alpha, by the number of lost bets."""
    return []


def _ratio(won: int, lost: int) -> tuple[int, int]:
    """E as numerator and denominator."""
    bets = won + lost
    term, total = 1, 1  # C(bets + 1, j), and their sum up to j = won
    for j in range(won):
        term = term * (bets + 1 - j) // (j + 1)
        total += term
    return total, term * (lost + 1)  # (bets + 1) C(bets, won) = (lost + 1) C(bets + 1, won)


__all__ = ["Certificate", "Certified", "doubt", "needed", "whole_cap_left"]
