"""Choosing the best of several by comparing two at a time: a knockout, and a Swiss tournament.

Pure procedures over a judge: ``judge(pairs)`` gets pairs of places and says, for each, the first one's share of the
verdict (1, 0, one half for a tie, None for no verdict, which counts as a tie). Matches of a round are asked together.

* `knockout`: n - 1 matches. Losers leave; a tie is a seeded coin. If the better of two wins each match with chance q,
  the best of 2^k entrants wins with q^k.
* `swiss`: ``rounds`` rounds of n // 2 matches. Equal scores meet, nobody meets the same entrant twice while that can be
  avoided, nobody is left over twice before everybody was. The order is by points, then by the points of those met
  (Buchholz), then by seed. One early loss is not the end, for the price of more matches.

The seed decides who meets whom first, so that no entrant has an advantage by being listed first.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from .errors import check_counts

Judge = Callable[[Sequence[tuple[int, int]]], Awaitable[Sequence[float | None]]]
NO_VERDICT = 0.5


@dataclass(frozen=True, slots=True)
class Match:
    """One comparison: two entrants, the first one's share (None: no verdict), and the round it was in."""

    round: int
    first: int
    second: int
    share: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a tournament found: entrants from best to worst, their points, and every match."""

    order: tuple[int, ...]
    points: tuple[float, ...]  # by entrant
    matches: tuple[Match, ...]

    @property
    def winner(self) -> int:
        """The best one."""
        return self.order[0]


async def knockout(n: int, judge: Judge, seed: int = 0) -> Standing:
    """The winner of single elimination among ``n`` entrants; with an odd number one waits for the next round."""
    check_counts("knockout", entrants=n)
    noise = random.Random(seed)
    left = noise.sample(range(n), n)
    points, gone, matches = [0.0] * n, list[int](), list[Match]()
    number = 0
    while len(left) > 1:
        pairs = list(zip(left[::2], left[1::2], strict=False))
        waits = left[-1:] if len(left) % 2 else []
        shares = await judge(pairs)
        winners, losers = [], []
        for (a, b), share in zip(pairs, shares, strict=True):
            matches.append(Match(number, a, b, share))
            value = NO_VERDICT if share is None else share
            first = value > 0.5 or (value == 0.5 and noise.random() < 0.5)
            winners.append(a if first else b)
            losers.append(b if first else a)
            points[winners[-1]] += 1.0
        gone = losers + gone
        left = waits + winners  # who waited is in the next round for sure
        number += 1
    return Standing((*left, *gone), tuple(points), tuple(matches))


async def swiss(n: int, judge: Judge, rounds: int, seed: int = 0) -> Standing:
    """``rounds`` rounds among ``n`` entrants; who is left over in a round gets its point."""
    check_counts("swiss", entrants=n, rounds=rounds)
    rank = {entrant: place for place, entrant in enumerate(random.Random(seed).sample(range(n), n))}
    points, byes, matches = [0.0] * n, [0] * n, list[Match]()
    met: set[frozenset[int]] = set()
    for number in range(rounds if n > 1 else 0):
        order = sorted(range(n), key=lambda e: (-points[e], rank[e]))
        if n % 2:
            spare = min(order, key=lambda e: (byes[e], points[e], -rank[e]))
            order.remove(spare)
            byes[spare] += 1
            points[spare] += 1.0
        pairs = _pairing(order, met)
        shares = await judge(pairs)
        for (a, b), share in zip(pairs, shares, strict=True):
            value = NO_VERDICT if share is None else share
            points[a] += value
            points[b] += 1.0 - value
            met.add(frozenset((a, b)))
            matches.append(Match(number, a, b, share))
    hardness = [
        sum(points[m.second if m.first == e else m.first] for m in matches if e in (m.first, m.second))
        for e in range(n)
    ]
    final = sorted(range(n), key=lambda e: (-points[e], -hardness[e], rank[e]))
    return Standing(tuple(final), tuple(points), tuple(matches))


def _pairing(order: Sequence[int], met: set[frozenset[int]]) -> list[tuple[int, int]]:
    """Neighbours in ``order`` as pairs, without a rematch if there is any way to; else with as it comes."""
    found = _without_rematch(list(order), met, [TRIES])
    return found if found is not None else list(zip(order[::2], order[1::2], strict=True))


TRIES = 10_000  # steps of the search for a pairing without a rematch


def _without_rematch(left: list[int], met: set[frozenset[int]], tries: list[int]) -> list[tuple[int, int]] | None:
    if not left:
        return []
    first, others = left[0], left[1:]
    for i, other in enumerate(others):
        tries[0] -= 1
        if tries[0] < 0:
            return None
        if frozenset((first, other)) in met:
            continue
        rest = _without_rematch(others[:i] + others[i + 1 :], met, tries)
        if rest is not None:
            return [(first, other), *rest]
    return None


__all__ = ["Match", "Standing", "knockout", "swiss"]
