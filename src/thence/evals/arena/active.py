r"""Which pair should fight next.

``votes`` is the rule of Chiang et al. 2024 (arXiv:2403.04132): a pair is drawn with probability proportional to how
much one more vote would narrow the interval of its own win rate,

    P(pair) ~ sqrt(V / n) - sqrt(V / (n + 1)),    V = p (1 - p) the variance of one vote, n the votes it has.

``scores`` narrows the scores instead, which battles of other pairs do, too: the fall of the summed variances of all
strengths by one more battle of the pair, V |C d|^2 / (1 + V d' C d), with C the covariance of the strengths and d = 1
for one model and -1 for the other. Its pairs are the best ones in turn, not drawn; ties go to the first.

Differs from the paper: V comes from the fitted strengths, not from the pair's own few votes. Pairs that never met come
first under ``votes``.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from thence.core.errors import UsageError, check_counts

from .battles import Array, Ints
from .bradley_terry import Fit

Rule = Literal["votes", "scores"]


def next_pairs(fitted: Fit, met: Array, n: int, *, rule: Rule = "scores", seed: int = 0) -> list[tuple[str, str, int]]:
    """(model, model, battles) for the next ``n`` battles, most battles first. ``met`` is [models, models] counts."""
    if rule not in get_args(Rule):
        raise UsageError(f"rule {rule!r} is not known; write one of {', '.join(get_args(Rule))}")
    check_counts("active selection", n=n)
    i, j = np.triu_indices(len(fitted.models), 1)
    variance = vote_variance(fitted)[i, j]
    chosen = _by_votes(variance, met[i, j], n, seed) if rule == "votes" else _by_scores(fitted, variance, i, j, n)
    order = sorted(np.flatnonzero(chosen), key=lambda k: -chosen[k])
    return [(fitted.models[i[k]], fitted.models[j[k]], int(chosen[k])) for k in order]


def vote_variance(fitted: Fit) -> Array:
    """[models, models] p (1 - p) of the expected result p between each two, without position and style."""
    m = len(fitted.models)
    p = np.array([[fitted.chance(a, b) for b in range(m)] for a in range(m)])
    return np.asarray(p * (1 - p))


def vote_gain(variance: Array, met: Array) -> Array:
    """[pairs] how much narrower the interval of each pair's win rate gets by one more vote; infinite for none yet."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(met > 0, np.sqrt(variance / met) - np.sqrt(variance / (met + 1)), np.inf))


def _by_votes(variance: Array, met: Array, n: int, seed: int) -> Array:
    chance = np.random.default_rng(seed)
    counts, chosen = met.astype(float).copy(), np.zeros(len(met))
    for _ in range(n):
        gain = vote_gain(variance, counts)
        unseen = np.isinf(gain)
        share = unseen / unseen.sum() if unseen.any() else gain / gain.sum()
        k = int(chance.choice(len(share), p=share))
        counts[k] += 1
        chosen[k] += 1
    return chosen


def _by_scores(fitted: Fit, variance: Array, i: Ints, j: Ints, n: int) -> Array:
    m = len(fitted.models)
    covariance = fitted.covariance[:m, :m].copy()
    chosen = np.zeros(len(i))
    for _ in range(n):
        moved = covariance[:, i] - covariance[:, j]  # [models, pairs] C d
        spread = moved[i, np.arange(len(i))] - moved[j, np.arange(len(i))]
        gain = variance * (moved**2).sum(axis=0) / (1 + variance * spread)
        k = int(gain.argmax())
        chosen[k] += 1
        covariance -= variance[k] * np.outer(moved[:, k], moved[:, k]) / (1 + variance[k] * spread[k])
    return chosen
