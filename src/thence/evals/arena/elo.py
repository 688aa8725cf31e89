r"""Elo ratings, and how much they depend on the order of the battles.

    E_a = 1 / (1 + 10^((R_b - R_a) / 400)),    R_a += K (S_a - E_a),    R_b -= K (S_a - E_a)

from 1000, S = 1, 0 or 1/2 for a tie (Elo 1978). Made for players who change: late battles weigh more, so the same
battles in another order give other ratings. Models do not change; the shuffles here show what that costs. The median
over shuffles is the number to quote, if one must.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thence.core.errors import UsageError, check_counts

from .battles import Array, Battles
from .bradley_terry import INITIAL

K = 4.0


@dataclass(frozen=True, slots=True)
class Elo:
    """Ratings in the file's order, and over shuffles: [models] median, 5 % and 95 % points; ``spread`` is the largest
    distance between two shuffles' ratings of one model, ``leaders`` who comes first in how many shuffles."""

    models: tuple[str, ...]
    in_order: Array
    median: Array
    low: Array
    high: Array
    spread: float
    leaders: dict[str, int]
    shuffles: int
    k: float


def rate(battles: Battles, orders: Array, *, k: float = K) -> Array:
    """[orders, models] ratings after all battles, in each of the orders ([orders, n] indexes)."""
    if not k > 0:
        raise UsageError(f"Elo's K is {k}; it must be above 0")
    ratings = np.full((len(orders), len(battles.models)), INITIAL)
    rows = np.arange(len(orders))
    a, b, outcome = battles.a, battles.b, battles.outcome
    for column in orders.T:
        left, right = a[column], b[column]
        expected = 1 / (1 + 10 ** ((ratings[rows, right] - ratings[rows, left]) / 400))
        change = k * (outcome[column] - expected)
        ratings[rows, left] += change
        ratings[rows, right] -= change
    return ratings


def elo(battles: Battles, *, k: float = K, shuffles: int = 100, seed: int = 0) -> Elo:
    """Elo in the given order and over ``shuffles`` seeded others."""
    check_counts("elo", shuffles=shuffles)
    chance = np.random.default_rng(seed)
    orders = np.stack([np.arange(battles.n), *(chance.permutation(battles.n) for _ in range(shuffles))])
    ratings = rate(battles, orders, k=k)
    shuffled = ratings[1:]
    first, count = np.unique(shuffled.argmax(axis=1), return_counts=True)
    leaders = {battles.models[int(i)]: int(c) for i, c in sorted(zip(first, count, strict=True), key=lambda x: -x[1])}
    low, high = np.quantile(shuffled, [0.05, 0.95], axis=0)
    spread = float((shuffled.max(axis=0) - shuffled.min(axis=0)).max())
    return Elo(battles.models, ratings[0], np.median(shuffled, axis=0), low, high, spread, leaders, shuffles, k)
