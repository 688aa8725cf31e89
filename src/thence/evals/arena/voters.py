r"""Voters who do not vote like the others: a sequential test per voter that may be looked at after every vote.

Each vote is compared with all votes so far in the same pair of models, itself included: p is the share of votes whose
result is rarer than its own, plus a uniform part of those just as rare (online conformal testing, Vovk, Nouretdinov
and Gammerman 2003). If a pair's votes are exchangeable, these p are independent and uniform, whatever the models'
strengths and however rare ties are. So for each kappa the product of kappa * p^(kappa - 1) over a voter's votes is a
fair bet, and their mean over a few kappa, too; by Ville's inequality it ever reaches 1 / alpha with probability at
most alpha. A voter is flagged at (number of voters) / alpha: then an honest crowd has *any* flag with probability at
most alpha.

Differs from Chiang et al. 2024 (arXiv:2403.04132), who combine p by Fisher's method at five random looks with alpha =
.1 per voter. FastChat multiplies 1 / (2 p), whose mean under the null is infinite: it is no fair bet and flags honest
voters in the long run.

What it cannot see: a careless voter in even pairs, where any vote is as common as any other, and voters with few votes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from thence.core.errors import UsageError

from .battles import Array, Battles

KAPPAS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
FEWEST = 5  # votes of a voter that is listed


@dataclass(frozen=True, slots=True)
class Voter:
    """``evidence`` is the bet's value after the last vote, ``peak`` its largest; at ``limit`` a voter is flagged, for
    the first time with vote number ``at``."""

    name: str
    votes: int
    evidence: float
    peak: float
    limit: float
    at: int | None

    @property
    def flagged(self) -> bool:
        """Whether the bet ever reached its limit."""
        return self.at is not None


def surprises(battles: Battles, seed: int = 0) -> Array:
    """[n] the p of every vote, in the order of the battles."""
    chance = np.random.default_rng(seed)
    bags: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    found = np.empty(battles.n)
    for k, (a, b, outcome) in enumerate(zip(battles.a, battles.b, battles.outcome, strict=True)):
        pair, result = ((a, b), outcome) if a < b else ((b, a), 1 - outcome)
        bag = bags[pair]
        own = int(2 * result)
        bag[own] += 1
        rarer = sum(count for count in bag if count < bag[own])
        alike = sum(count for count in bag if count == bag[own])
        found[k] = (rarer + (1 - chance.random()) * alike) / sum(bag)  # 1 - u is never 0
    return found


def check_voters(battles: Battles, *, alpha: float = 0.05, seed: int = 0) -> list[Voter]:
    """Every voter with at least ``FEWEST`` votes, the most suspicious first. UsageError without voters."""
    if battles.judges is None:
        raise UsageError("the battles do not say who voted; add a column judge")
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha}; it must be between 0 and 1")
    p = surprises(battles, seed)
    votes: dict[str, list[int]] = defaultdict(list)
    for k, judge in enumerate(battles.judges):
        votes[judge].append(k)
    listed = {name: at for name, at in votes.items() if len(at) >= FEWEST}
    limit = len(listed) / alpha
    made = [_bet(name, p[at], limit) for name, at in listed.items()]
    return sorted(made, key=lambda voter: (-voter.peak, voter.name))


def _bet(name: str, p: Array, limit: float) -> Voter:
    """Follow one voter's bet through all votes."""
    logs = np.cumsum(np.log(KAPPAS)[None, :] + (KAPPAS - 1)[None, :] * np.log(p)[:, None], axis=0)
    value = np.logaddexp.reduce(logs, axis=1) - np.log(len(KAPPAS))
    over = np.flatnonzero(value >= np.log(limit))
    top = np.exp(np.minimum(value, 700.0))
    return Voter(name, len(p), float(top[-1]), float(top.max()), limit, int(over[0]) + 1 if len(over) else None)
