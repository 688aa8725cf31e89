r"""Selecting too hard: best-of-N at large N, and where it turns down (Cobbe et al. 2021, arXiv:2110.14168).

**The curve.** A pool of n scored samples per problem is replayed: the expected accuracy of the best of N of them, over
all subsets of N and with ties shared, is exact. With the scores in order, k of them at most s and j below s, the best
of N is scored s with chance [C(k, N) - C(j, N)] / C(n, N). It is an unbiased estimate of best-of-N up to N = n.

**The model** for N beyond the pool, and for the turning point: a sample of a problem is right with chance q, which
differs between problems by a Beta law, and its score is drawn from one law for right and one for wrong samples, those
of all pools together. With m_s the mass of the scores at most s under q,

    acc(N) = E_q sum_s [m_s^N - m_(s-)^N] * P(right | s, q).

Where a sample is adversarial with chance a (wrong, scored above every right one), else right with p, else wrong and
below, this is (1-a)^N - (1-p-a)^N, with its peak at N* = ln[ln(1-p-a) / ln(1-a)] / [ln(1-a) - ln(1-p-a)]. The Beta law
is fitted by the mean and the spread of the problems' shares of right ones; the interval is that of a bootstrap over
problems and samples. Where no wrong sample is above the right ones, a is not 0 but below what so many samples can show
(the rule of three), and so is the end of the curve.

Not covered: verifiers that like one wrong answer of one problem again and again. ``misfit`` says how far the model is
from the replayed curve; where that is much, only the replayed curve counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from thence.core.errors import UsageError
from thence.evals.statistics.metrics import Interval

Floats = npt.NDArray[np.float64]

MOST = 10_000
TOP = 0.98  # adversarial: wrong, and above so many of the right ones
RESAMPLES = 200
NODES = 48  # quantiles of q that stand for its law
FINEST, GROUPS = 200, 60  # scores told apart: the highest one by one, the others in groups
FALL = 0.01  # a curve that falls by less than a point has not turned
SURE = 1e6  # the largest alpha + beta: problems that do not differ have one q


@dataclass(frozen=True, slots=True)
class Pool:
    """The scored samples of one problem: scores, and whether each is right."""

    scores: tuple[float, ...]
    right: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.right) or not self.scores:
            raise UsageError(f"a pool of {len(self.scores)} scores and {len(self.right)} verdicts is none")
        if not all(math.isfinite(s) for s in self.scores):
            raise UsageError("a score that is not a number cannot be ranked; drop the sample or repair the verifier")


def best_of_n_curve(pools: Sequence[Pool], ns: Sequence[int]) -> list[float]:
    """The mean expected accuracy of best-of-N, exact over all subsets; UsageError for an N above the smallest pool."""
    return [float(np.mean([_best_of(p, n) for p in pools])) for n in ns]


def _best_of(pool: Pool, n: int) -> float:
    size = len(pool.scores)
    if not 1 <= n <= size:
        raise UsageError(f"best of {n} cannot be replayed from {size} samples of a problem; draw more")
    _, place = np.unique(np.array(pool.scores), return_inverse=True)
    counts = np.bincount(place)
    share = np.bincount(place, weights=np.array(pool.right, dtype=float)) / counts
    at_most = np.concatenate([[0], np.cumsum(counts)])
    inside = np.array([_subsets(int(k), size, n) for k in at_most])
    return float(np.diff(inside) @ share)


def _subsets(k: int, size: int, n: int) -> float:
    """C(k, n) / C(size, n)."""
    if k < n:
        return 0.0
    g = math.lgamma
    return math.exp(g(k + 1) - g(k - n + 1) - g(size + 1) + g(size - n + 1))


@dataclass(frozen=True, slots=True)
class Fit:
    """The model: the Beta law of q, and for each score, from the lowest, its chance for right and for wrong samples.

    ``fooled`` is the share of all samples that are wrong and scored above 98 % of the right ones.
    """

    alpha: float
    beta: float
    right: tuple[float, ...]
    wrong: tuple[float, ...]
    fooled: float

    def accuracies(self, ns: Sequence[int]) -> list[float]:
        """acc(N) for each N."""
        places = (np.arange(NODES) + 0.5) / NODES
        q = special.betaincinv(self.alpha, self.beta, places)[:, None]
        right, wrong = q * np.array(self.right), (1.0 - q) * np.array(self.wrong)
        mass = right + wrong
        below = np.cumsum(np.concatenate([np.zeros((NODES, 1)), mass], axis=1), axis=1).clip(0.0, 1.0)
        below[:, -1] = 1.0
        share = np.divide(right, mass, out=np.zeros_like(mass), where=mass > 0)
        logs = np.log(np.maximum(below, 1e-300))
        return [float((np.diff(np.exp(n * logs), axis=1) * share).sum(axis=1).mean()) for n in ns]

    def peak(self) -> float:
        """The N of the largest accuracy; infinite where the curve does not fall by a point up to the limit."""
        ns = grid(MOST, 12)
        curve = self.accuracies(ns)
        k = max(range(len(ns)), key=lambda i: curve[i])
        if curve[-1] > curve[k] - FALL:
            return math.inf
        around = range(ns[max(0, k - 1)], ns[min(len(ns) - 1, k + 1)] + 1)
        finer = list(around) if len(around) < 40 else [round(n) for n in np.linspace(around[0], around[-1], 40)]
        near = self.accuracies(finer)
        return float(finer[max(range(len(finer)), key=lambda i: near[i])])

    def with_fooled(self, a: float) -> Fit:
        """The same with a share ``a`` of all samples made wrong ones above everything else."""
        q = self.alpha / (self.alpha + self.beta)
        part = a / (1.0 - q)
        return Fit(self.alpha, self.beta, (*self.right, 0.0), (*(w * (1 - part) for w in self.wrong), part), a)


def fit(pools: Sequence[Pool]) -> Fit:
    """Estimate the model from pools; UsageError without any right or without any wrong sample."""
    scores = np.array([s for p in pools for s in p.scores])
    right = np.array([ok for p in pools for ok in p.right])
    if not right.any() or right.all():
        said = f"{int(right.sum())} of {len(right)} samples are right"
        raise UsageError(f"{said}; selection needs right and wrong ones: take harder or easier problems")
    levels = np.searchsorted(_edges(scores), scores, side="right")
    ups, downs = (np.bincount(levels[kind], minlength=int(levels.max()) + 1) for kind in (right, ~right))
    edge = np.quantile(scores[right], TOP, method="inverted_cdf")
    alpha, beta = _beta([sum(p.right) for p in pools], [len(p.scores) for p in pools])
    fooled = float((scores[~right] > edge).sum() / len(scores))
    return Fit(alpha, beta, tuple((ups / ups.sum()).tolist()), tuple((downs / downs.sum()).tolist()), fooled)


def _edges(scores: Floats) -> Floats:
    """Where one score is told from the next: everywhere among the ``FINEST`` highest, in groups of equal size below."""
    values = np.unique(scores)
    low, high = values[:-FINEST], values[-FINEST:]
    if len(low) > GROUPS:
        low = np.unique(np.quantile(low, np.linspace(0, 1, GROUPS), method="inverted_cdf"))
    kept = np.concatenate([low, high])
    return kept[1:] if len(kept) > 1 else kept


def _beta(correct: Sequence[int], drawn: Sequence[int]) -> tuple[float, float]:
    """The Beta law of the problems' chances by the moments of a beta-binomial; a point where they do not differ."""
    k, n = np.array(correct, dtype=float), np.array(drawn, dtype=float)
    kept = n > 0
    k, n = k[kept], n[kept]
    q = float(k.sum() / n.sum())
    together = SURE
    if len(k) > 1:
        spread = float(((k / n - q) ** 2 * n).sum())  # E of it: q (1-q) [sum (1 - n_i/N) (1 + (n_i - 1) rho)]
        weights = 1.0 - n / n.sum()
        excess = spread / (q * (1.0 - q)) - float(weights.sum())
        rho = excess / float((weights * (n - 1.0)).sum()) if (n > 1).any() else 0.0
        if rho > 1.0 / SURE:
            together = 1.0 / min(rho, 0.999) - 1.0
    return q * together, (1.0 - q) * together


@dataclass(frozen=True, slots=True)
class Selection:
    """What selecting does.

    ``curve`` are (N, accuracy) from the pools, ``model`` the same from the fit, up to ``MOST``. ``turns`` is the N at
    which best-of-N is best, infinite where no fall can be seen up to there, with its 95 % interval; ``at_least`` bounds
    it from below where no sample was adversarial. ``misfit`` is the largest distance between the two curves, up to
    half the smallest pool.
    """

    samples: int
    problems: int
    fit: Fit
    turns: float
    interval: Interval
    curve: tuple[tuple[int, float], ...]
    model: tuple[tuple[int, float], ...]
    misfit: float
    at_least: float | None = None


def select_hard(pools: Sequence[Pool], *, seed: int = 0, resamples: int = RESAMPLES) -> Selection:
    """Replay ``pools`` and say where best-of-N turns down."""
    made = fit(pools)
    noise = np.random.default_rng(seed)
    peaks = []
    for _ in range(resamples):
        try:
            peaks.append(fit(_resampled(pools, noise)).peak())
        except UsageError:  # a resample without right or without wrong samples says nothing
            continue
    low, high = _middle(peaks)
    total = sum(len(p.scores) for p in pools)
    ns, far = grid(min(len(p.scores) for p in pools), 4), grid(MOST, 3)
    bound = None
    if made.fooled == 0:  # the rule of three: with 95 % confidence a is below 3 / n
        bound = made.with_fooled(min(0.5, 3.0 / total)).peak()
        low = min(low, bound)
    curve = best_of_n_curve(pools, ns)
    inside = [n for n in ns if 2 * n <= ns[-1]] or ns[:1]  # the replay of nearly the whole pool is one draw
    misfit = max(abs(a - b) for a, b in zip(curve, made.accuracies(inside), strict=False))
    return Selection(
        total,
        len(pools),
        made,
        made.peak(),
        (low, high),
        tuple(zip(ns, curve, strict=True)),
        tuple(zip(far, made.accuracies(far), strict=True)),
        misfit,
        bound,
    )


def _resampled(pools: Sequence[Pool], noise: np.random.Generator) -> list[Pool]:
    chosen = [pools[i] for i in noise.integers(len(pools), size=len(pools))]
    made = []
    for pool in chosen:
        drawn = noise.integers(len(pool.scores), size=len(pool.scores))
        made.append(Pool(tuple(pool.scores[i] for i in drawn), tuple(pool.right[i] for i in drawn)))
    return made


def _middle(values: Sequence[float]) -> Interval:
    """The central 95 % of values, some of which may be infinite."""
    ordered = sorted(v for v in values if not math.isnan(v))
    if not ordered:
        return (math.nan, math.nan)
    last = len(ordered) - 1
    return ordered[math.floor(0.025 * last)], ordered[math.ceil(0.975 * last)]


def grid(most: int, per_decade: int = 8) -> list[int]:
    """Whole numbers from 1 to ``most``, evenly spread on a logarithmic scale, both ends included."""
    steps = max(1, math.ceil(per_decade * math.log10(max(most, 2))))
    return sorted({min(most, round(most ** (i / steps))) for i in range(steps + 1)})


__all__ = ["MOST", "Fit", "Pool", "Selection", "best_of_n_curve", "fit", "grid", "select_hard"]
