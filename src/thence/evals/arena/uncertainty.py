r"""How sure a ranking is: bootstrap intervals, simultaneous intervals, approximate ranks.

The bootstrap draws battles (clusters, if there are any) with replacement and fits anew; its interval is the percentile
one. The sandwich interval is estimate +- z * standard error.

A model's approximate rank (Chiang et al. 2024, arXiv:2403.04132) is 1 + the number of models whose interval lies
wholly above its own; the worst rank it may have counts those wholly below in the same way. For all these statements to
hold together with 95 % the intervals must be simultaneous: +- c * standard error, with c the 95 % point of the largest
of |t| over models, under the estimate's own correlations (Hothorn, Bretz and Westfall 2008), by seeded simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from thence.core.errors import DataError, check_counts

from .battles import Array, Battles, Ints
from .bradley_terry import Fit, Likelihood, Terms

FEWEST = 0.95  # share of resamples that must have a finite fit
SIMULATED = 20_000


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """``draws`` [rounds, parameters] refitted parameters; ``lost`` resamples had no finite fit."""

    draws: Array
    lost: int

    def interval(self, gauge: Array, confidence: float = 0.95) -> tuple[Array, Array]:
        """Percentile ends of every parameter, after ``gauge`` [parameters, parameters] is applied."""
        tail = (1 - confidence) / 2
        low, high = np.quantile(self.draws @ gauge.T, [tail, 1 - tail], axis=0)
        return low, high


def bootstrap(
    battles: Battles,
    terms: Terms,
    fitted: Fit,
    *,
    rounds: int = 1000,
    seed: int = 0,
    weights: Array | None = None,
) -> Bootstrap:
    """Refit ``rounds`` resamples, from the whole fit. DataError when more than 5 % of them have no finite fit.

    ``weights`` [n] multiply the battles as they did in the fit; battles that are equal must have equal ones.
    """
    check_counts("bootstrap", rounds=rounds)
    chance = np.random.default_rng(seed)
    at, unit, multiplicity = _rows(battles, terms)
    kept = battles.taken(at)
    likelihood = Likelihood(
        kept.a, kept.b, kept.outcome, terms.values[at], len(battles.models), fitted.ties, fitted.ridge
    )
    total = int(multiplicity.sum())
    shares = multiplicity / total
    draws = []
    for _ in range(rounds):
        drawn = chance.multinomial(total, shares).astype(float)[unit]
        found = likelihood.maximum(drawn if weights is None else drawn * weights[at], start=fitted.parameters())
        if found is not None:
            draws.append(found)
    if len(draws) < FEWEST * rounds:
        raise DataError(
            f"{rounds - len(draws)} of {rounds} bootstrap resamples are perfectly separated or fall apart, so there is "
            "no bootstrap interval; use --interval sandwich, add battles, or shrink with a ridge (--ridge 0.5)"
        )
    return Bootstrap(np.stack(draws), rounds - len(draws))


def _rows(battles: Battles, terms: Terms) -> tuple[Ints, Ints, Array]:
    """(indexes of the battles to keep, each one's resampling unit, how often each unit is there).

    Without clusters equal battles are one row that counts several times; with clusters every battle stays.
    """
    if battles.clusters is not None:
        _, unit = np.unique(np.asarray(battles.clusters, dtype=object).astype(str), return_inverse=True)
        return np.arange(battles.n), unit, np.ones(int(unit.max()) + 1)
    table = np.column_stack([battles.a, battles.b, battles.outcome, terms.values])
    _, at, count = np.unique(table, axis=0, return_index=True, return_counts=True)
    return at, np.arange(len(at)), count.astype(float)


def gauge(fitted: Fit, anchor: int | None = None) -> Array:
    """[parameters, parameters] that moves the strengths to mean 0, or to 0 for the model ``anchor``."""
    size, m = len(fitted.covariance), len(fitted.models)
    made = np.eye(size)
    if anchor is None:
        made[:m, :m] -= 1 / m
    else:
        made[:m, anchor] -= 1
    return made


def quantile(confidence: float = 0.95) -> float:
    """The normal one for a two-sided interval."""
    return float(special.ndtri(0.5 + confidence / 2))


def simultaneous(covariance: Array, confidence: float = 0.95, seed: int = 0) -> float:
    """The factor c with which +- c * standard error holds for all at once; at least the normal quantile."""
    errors = np.sqrt(np.clip(np.diag(covariance), 0.0, None))
    alive = errors > 1e-12
    if not alive.any():
        return quantile(confidence)
    scaled = covariance[np.ix_(alive, alive)] / np.outer(errors[alive], errors[alive])
    values, vectors = np.linalg.eigh(scaled)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    noise = np.random.default_rng(seed).standard_normal((SIMULATED, len(scaled)))
    largest = np.abs(noise @ root.T).max(axis=1)
    return max(quantile(confidence), float(np.quantile(largest, confidence)))


def ranks(low: Array, high: Array) -> list[tuple[int, int]]:
    """(approximate rank, worst rank) of each model, from its interval's ends."""
    m = len(low)
    above = (low[None, :] > high[:, None]).sum(axis=1)
    below = (high[None, :] < low[:, None]).sum(axis=1)
    return [(1 + int(x), m - int(y)) for x, y in zip(above, below, strict=True)]


def separation(fitted: Fit, a: int, b: int) -> tuple[float, float]:
    """(difference of strengths a - b, its standard error)."""
    d = np.zeros(len(fitted.covariance))
    d[a], d[b] = 1, -1
    return float(fitted.strengths[a] - fitted.strengths[b]), math.sqrt(max(0.0, float(d @ fitted.covariance @ d)))
