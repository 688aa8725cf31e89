r"""Intervals for means: t, exact, by cluster, by bootstrap over clusters, over seeds and problems.

Which one: a share of right answers among independent problems has Wilson's (``metrics.wilson``) or the exact interval;
a mean of scores has t; problems that come from one template, text or topic are a cluster and have the cluster intervals
(Miller 2024, arXiv:2411.00640, on why: a thousand instances of thirty templates are closer to thirty questions); a
result that is to hold for other training seeds has ``over_seeds``.

* **t**: mean +- t_{n-1} s / sqrt(n). For 0/1 outcomes near 0 or 1 it is too short; use Wilson's.
* **exact** (Clopper and Pearson 1934): never below its level, whatever n and p, hence wide.
* **cluster**: Wilson's interval with the effective sample size p(1-p) / se^2, se the cluster-robust error (never below
  the naive one), and Student's quantile for the effective number of clusters (Korn and Graubard 1998; ``_freedom``).
* **cluster bootstrap**: clusters are drawn with replacement; the studentised interval (Efron 1981; for clusters
  Cameron, Gelbach and Miller 2008) on the arcsine scale. The percentile interval is too short with 30 clusters, and the
  plainly studentised one endless where a drawn set of clusters happens to be all alike.
* **over seeds and problems**: the mean of a complete grid problems x seeds with both as random (two-way analysis of
  variance); the degrees of freedom are Satterthwaite's.
* **paired by cluster**: the difference of two arms with the cluster-robust error, one +1 and one -1 added as clusters
  of their own, as in ``metrics.paired``, which it equals when every problem is its own cluster.

With fewer than about 30 clusters every cluster-robust interval is approximate; ``Clustered.clusters`` says how many.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from thence.core.errors import DataError, UsageError, check_counts

from .metrics import Array, Interval, wilson

BOOTSTRAPS = 2000


def finite(values: Sequence[float], what: str = "value") -> Array:
    """As an array; DataError where one is no number."""
    made = np.asarray(values, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(made))
    if bad.size:
        raise DataError(f"{what} {bad[0]} is {made[bad[0]]}; remove it or say what it stands for")
    return made


def _quantile(df: float, level: float) -> float:
    return float(special.stdtrit(df, 0.5 + level / 2))


def _robust(sums: Array, sizes: Array, mean: float) -> float:
    """The cluster-robust standard error of a mean (Liang and Zeger 1986), each cluster's squared residual divided by
    1 - n_g / n (Bell and McCaffrey 2002): for equal clusters this is the factor G / (G-1), for a large one it is more.
    """
    n = float(sizes.sum())
    return math.sqrt(float(((sums - mean * sizes) ** 2 / (1 - sizes / n)).sum())) / n


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, Interval]:
    """(mean, Student's interval) of independent values; UsageError with fewer than two."""
    x = finite(values)
    if len(x) < 2:
        raise UsageError(f"{len(x)} values have no spread; a t interval needs at least 2")
    mean = float(x.mean())
    half = _quantile(len(x) - 1, level) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return mean, (mean - half, mean + half)


def exact(right: int, n: int, level: float = 0.95) -> Interval:
    """Clopper and Pearson's interval of a share: covers with at least ``level`` for every n and p."""
    if not 0 <= right <= n:
        raise UsageError(f"{right} right ones of {n} is impossible")
    tail = (1 - level) / 2
    low = 0.0 if right == 0 else float(special.betaincinv(right, n - right + 1, tail))
    high = 1.0 if right == n else float(special.betaincinv(right + 1, n - right, 1 - tail))
    return low, high


# ---------------------------------------------------------------------------------------------------- clusters


@dataclass(frozen=True, slots=True)
class Clustered:
    """A mean over ``n`` problems in ``clusters`` clusters, its cluster-robust standard error and its interval.

    ``naive`` is the standard error as if all problems were independent: what ignoring the clusters would have claimed.
    """

    mean: float
    se: float
    interval: Interval
    n: int
    clusters: int
    naive: float


def _grouped(values: Mapping[str, float], clusters: Mapping[str, Hashable]) -> tuple[Array, Array]:
    """([G] sums, [G] sizes) of the clusters. DataError for a problem without one, UsageError for a single cluster."""
    missing = [p for p in values if p not in clusters]
    if missing:
        raise DataError(f"{len(missing)} problems have no cluster, {missing[0]!r} first")
    x = finite(list(values.values()))
    number: dict[Hashable, int] = {}
    at = [number.setdefault(clusters[p], len(number)) for p in values]
    if len(number) < 2:
        raise UsageError(f"{len(values)} problems in {len(number)} cluster have no spread between clusters; take more")
    return np.asarray(np.bincount(at, x), dtype=np.float64), np.asarray(np.bincount(at), dtype=np.float64)


def _freedom(sizes: Array) -> float:
    """Degrees of freedom of the robust error, as if the problems of a cluster were all alike (Satterthwaite): with
    equal clusters G - 1, with unequal ones (sum n_g^2)^2 / sum n_g^4 - 1, the large ones being most of the error."""
    return max(1.0, float((sizes**2).sum() ** 2 / (sizes**4).sum()) - 1)


def cluster_interval(values: Mapping[str, float], clusters: Mapping[str, Hashable], level: float = 0.95) -> Clustered:
    """The mean of values in [0, 1], with an interval that holds where problems of one cluster resemble each other."""
    sums, sizes = _grouped(values, clusters)
    n, groups, p, naive = _in_unit(values, sums, sizes)
    se = _robust(sums, sizes, p)
    error = max(se, naive)  # clusters that differ less than chance would have it are luck
    size = p * (1 - p) / error**2 if error > 0 else float(groups if p in (0.0, 1.0) else n)
    size *= (_quantile(math.inf, level) / _quantile(_freedom(sizes), level)) ** 2
    return Clustered(p, se, wilson(p * size, size, level), n, groups, naive)


def _in_unit(values: Mapping[str, float], sums: Array, sizes: Array) -> tuple[int, int, float, float]:
    """(problems, clusters, mean, naive standard error); DataError where a value is not in [0, 1]."""
    x = np.fromiter(values.values(), np.float64, len(values))
    bad = np.flatnonzero((x < 0) | (x > 1))
    if bad.size:
        raise DataError(f"value {x[bad[0]]} is not in [0, 1]; give shares of right answers")
    n = len(x)
    return n, len(sizes), min(1.0, max(0.0, float(sums.sum()) / n)), float(x.std(ddof=1)) / math.sqrt(n)


def cluster_bootstrap(
    values: Mapping[str, float],
    clusters: Mapping[str, Hashable],
    level: float = 0.95,
    *,
    draws: int = BOOTSTRAPS,
    seed: int = 0,
) -> Clustered:
    """The same by drawing whole clusters with replacement, ``draws`` times (seeded); no form of the error is assumed.

    Where all clusters are alike there is nothing to draw, and the interval is ``cluster_interval``'s.
    """
    check_counts("cluster bootstrap", draws=draws)
    sums, sizes = _grouped(values, clusters)
    n, groups, mean, naive = _in_unit(values, sums, sizes)
    se = math.sqrt(float(((sums - mean * sizes) ** 2).sum())) / n
    if se < 1e-12:
        return cluster_interval(values, clusters, level)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=draws)  # [draws, G] how often each is drawn
    drawn = counts @ sizes
    means = (counts @ sums) / drawn
    squares = counts @ sums**2 - 2 * means * (counts @ (sums * sizes)) + means**2 * (counts @ sizes**2)
    errors = np.sqrt(np.maximum(squares, 0)) / drawn
    at, slope = _arcsine(np.array([mean]))
    places, slopes = _arcsine(means)
    t = (places - at) / np.maximum(errors * slopes, 1e-9)
    low, high = np.sin(np.clip(at - np.quantile(t, [(1 + level) / 2, (1 - level) / 2]) * se * slope, 0, np.pi / 2)) ** 2
    return Clustered(
        mean, _robust(sums, sizes, mean), (min(float(low), mean), max(float(high), mean)), n, groups, naive
    )


def _arcsine(p: Array) -> tuple[Array, Array]:
    """arcsin sqrt(p), on which errors depend little on p, and its slope."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.arcsin(np.sqrt(p)), 0.5 / np.sqrt(p * (1 - p))


@dataclass(frozen=True, slots=True)
class ClusteredDifference:
    """B minus A on shared problems, cluster-robust; ``p`` is the two-sided t test's on the clusters."""

    n: int
    clusters: int
    difference: float
    se: float
    interval: Interval
    p: float


def paired_by_cluster(
    a: Mapping[str, float], b: Mapping[str, float], clusters: Mapping[str, Hashable], level: float = 0.95
) -> ClusteredDifference:
    """Compare two arms, values in [0, 1], on the problems that both have.

    ``se`` is the cluster-robust error as it is; interval and test have one +1 and one -1 added, each a cluster of its
    own, so that they stay honest where few problems flip.
    """
    d = {problem: b[problem] - a[problem] for problem in a if problem in b}
    sums, sizes = _grouped(d, clusters)
    n, groups = len(d), len(sizes)
    mean = float(sums.sum()) / n
    robust = _robust(sums, sizes, mean)
    sums, sizes = np.append(sums, [1.0, -1.0]), np.append(sizes, [1.0, 1.0])
    centre = float(sums.sum()) / (n + 2)
    se = math.sqrt(float(((sums - centre * sizes) ** 2).sum())) / (n + 2)
    df = _freedom(sizes)
    half = _quantile(df, level) * se
    return ClusteredDifference(
        n,
        groups,
        mean,
        robust,
        (max(-1.0, centre - half), min(1.0, centre + half)),
        2 * float(special.stdtr(df, -abs(centre) / se)),
    )


# ---------------------------------------------------------------------------------------------------- seeds


@dataclass(frozen=True, slots=True)
class Seeds:
    """A complete grid of problems x seeds: where its variance comes from, and what the mean is worth.

    ``problems_sd`` between problems, ``seeds_sd`` between seeds (a seed that is good everywhere), ``rest_sd`` what is
    left in one cell: standard deviations, 0 where the estimate is below. ``same_problems`` is the interval for these
    problems and new seeds (t over the seeds' means: wide with few seeds), ``interval`` for new problems and new seeds.
    ``per_seed`` are the means of the seeds.
    """

    mean: float
    problems: int
    seeds: int
    problems_sd: float
    seeds_sd: float
    rest_sd: float
    interval: Interval
    same_problems: Interval
    per_seed: tuple[float, ...]

    def se(self, problems: int, seeds: int) -> float:
        """The standard error that a grid of this size would have: where more work would help."""
        return math.sqrt(
            self.problems_sd**2 / problems + self.seeds_sd**2 / seeds + self.rest_sd**2 / (problems * seeds)
        )


def over_seeds(values: Mapping[str, Sequence[float]], level: float = 0.95) -> Seeds:
    """Variance between problems and between seeds, with intervals. ``values[problem][i]`` is the outcome of seed i.

    UsageError with fewer than two problems or seeds, DataError where the grid has holes: a missing outcome is not a
    wrong one.
    """
    sizes = {len(v) for v in values.values()}
    if len(sizes) > 1:
        short = min(values, key=lambda problem: len(values[problem]))
        raise DataError(
            f"problem {short!r} has {min(sizes)} outcomes and another {max(sizes)}; run the missing seeds, or leave "
            "incomplete problems out"
        )
    y = np.array([finite(v, "outcome") for v in values.values()], dtype=np.float64)  # [problems, seeds]
    if y.ndim != 2 or min(y.shape) < 2:
        raise UsageError(f"{len(values)} problems with {max(sizes, default=0)} seeds: at least 2 of each are needed")
    p, s = y.shape
    mean = float(y.mean())
    ms_p = s * float(((y.mean(1) - mean) ** 2).sum()) / (p - 1)
    ms_s = p * float(((y.mean(0) - mean) ** 2).sum()) / (s - 1)
    per_seed = tuple(float(m) for m in y.mean(0))
    rest = y - y.mean(1, keepdims=True) - y.mean(0, keepdims=True) + mean
    ms_r = float((rest**2).sum()) / ((p - 1) * (s - 1))
    both, df = _satterthwaite([(1, ms_p, p - 1), (1, ms_s, s - 1), (-1, ms_r, (p - 1) * (s - 1))], ms_p, p - 1)
    return Seeds(
        mean,
        p,
        s,
        math.sqrt(max(0.0, (ms_p - ms_r) / s)),
        math.sqrt(max(0.0, (ms_s - ms_r) / p)),
        math.sqrt(ms_r),
        _around(mean, math.sqrt(both / (p * s)), df, level),
        t_interval(per_seed, level)[1],
        per_seed,
    )


def _satterthwaite(parts: Sequence[tuple[int, float, int]], least: float, least_df: int) -> tuple[float, float]:
    """A sum of mean squares (sign, square, df) and its approximate degrees of freedom; never below ``least``."""
    total = sum(sign * square for sign, square, _ in parts)
    if total <= least:
        return least, least_df
    return total, total**2 / sum(square**2 / df for _, square, df in parts)


def _around(mean: float, se: float, df: float, level: float) -> Interval:
    half = _quantile(df, level) * se
    return mean - half, mean + half


__all__ = [
    "Clustered",
    "ClusteredDifference",
    "Seeds",
    "cluster_bootstrap",
    "cluster_interval",
    "exact",
    "finite",
    "over_seeds",
    "paired_by_cluster",
    "t_interval",
]
