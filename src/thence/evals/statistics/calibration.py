r"""Whether confidence means what it says: reliability, ECE, Brier, AUROC, risk against coverage.

Confidence here is any number in [0, 1] that goes with an answer, such as agreement: the share of the samples that gave
it (Wang et al. 2022, arXiv:2203.11171, fig. 5, saw that it goes with accuracy). Agreement of n samples is an upward
biased estimate of the chance of the most probable answer, it has n + 1 values only, and a model that is always wrong
in the same way agrees with itself: calibration is measured, never assumed.

* **Reliability**: bins of equal mass; equal confidences are never divided, so nothing depends on the order of problems.
* **ECE** = sum_b n_b / n |accuracy_b - confidence_b| (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599). It is
  above 0 for a perfectly calibrated forecaster too, so the floor, its mean under y ~ Bernoulli(confidence), stands
  beside it.
* **Brier** = reliability - resolution + uncertainty + within (Murphy 1973; the last term, what bins hide, is Stephenson
  et al. 2008's), an identity.
* **AUROC** with DeLong's error (1988), the interval on the logit scale with Welch's degrees of freedom.
* **Risk-coverage** (Geifman and El-Yaniv 2017, arXiv:1705.08500): the error among the most confident; AURC is its mean
  over all coverages, equal confidences in random order, by expectation.
* **Maps**: isotonic regression (pool adjacent violators) and temperature on the logit, fitted on one half of the
  problems (``selection.is_development``) and reported on the other.

Not covered: abstention with a guarantee, per-class calibration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from scipy import special

from thence.core.errors import DataError, UsageError, check_counts
from thence.core.ranks import placements

from .metrics import Array, Interval, wilson

BINS = 10
CLIP = 0.01  # a confidence of 0 or 1 has no finite logit
FLOOR_DRAWS = 2000


def checked(confidence: Sequence[float], right: Sequence[bool]) -> tuple[Array, Array]:
    """Both as arrays of numbers; DataError where there is nothing, a length differs, or a value is not in [0, 1]."""
    c, y = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if c.shape != y.shape or c.ndim != 1:
        raise DataError(f"{c.size} confidences for {y.size} outcomes; give one of each per problem")
    if not c.size:
        raise DataError("no problem has both a confidence and a verdict; there is nothing to measure")
    bad = np.flatnonzero(~((c >= 0) & (c <= 1)))
    if bad.size:
        raise DataError(f"confidence {c[bad[0]]} of problem {bad[0]} is not in [0, 1]; give shares or probabilities")
    return c, y


# ---------------------------------------------------------------------------------------------------- reliability


@dataclass(frozen=True, slots=True)
class Bin:
    """``n`` problems with confidences from ``low`` to ``high``: mean confidence, and accuracy with its interval."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    interval: Interval


def reliability(confidence: Sequence[float], right: Sequence[bool], bins: int = BINS) -> list[Bin]:
    """At most ``bins`` bins of about equal mass, lowest first. Equal confidences share a bin, however many they are."""
    check_counts("reliability", bins=bins)
    c, y = checked(confidence, right)
    at = _bin_index(c, bins)
    made = []
    for b in np.unique(at):
        inside = at == b
        n, hits = int(inside.sum()), float(y[inside].sum())
        low, high = float(c[inside].min()), float(c[inside].max())
        made.append(Bin(low, high, n, float(c[inside].mean()), hits / n, wilson(hits, n)))
    return made


def _bin_index(c: Array, bins: int) -> Array:
    """[n] the bin of each: a group of equal ones goes where its middle falls in the ranking."""
    _, group, size = np.unique(c, return_inverse=True, return_counts=True)
    middle = np.cumsum(size) - size / 2
    return np.floor(middle / len(c) * bins)[group]


def ece(bins: Sequence[Bin]) -> float:
    """Expected calibration error over these bins."""
    return math.fsum(b.n * abs(b.accuracy - b.confidence) for b in bins) / sum(b.n for b in bins)


def ece_floor(
    confidence: Sequence[float], observed: float, bins: int = BINS, *, draws: int = FLOOR_DRAWS, seed: int = 0
) -> tuple[float, float]:
    """(mean ECE, chance of at least ``observed``) if every confidence were exactly the chance of being right.

    By ``draws`` seeded simulations of the outcomes; the chance is (1 + how often) / (1 + draws), never 0.
    """
    c, _ = checked(confidence, [False] * len(confidence))
    at = _bin_index(c, bins)
    members = (np.unique(at)[:, None] == at).astype(np.float64)  # [bins, n]
    drawn = np.random.default_rng(seed).random((draws, len(c))) < c
    errors = np.abs((drawn - c) @ members.T).sum(axis=1) / len(c)
    return float(errors.mean()), (1 + int((errors >= observed - 1e-12).sum())) / (1 + draws)


@dataclass(frozen=True, slots=True)
class Brier:
    """Mean squared error of confidence, and what it is made of: reliability - resolution + uncertainty + within."""

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier(confidence: Sequence[float], right: Sequence[bool], bins: int = BINS) -> Brier:
    """The Brier score over the bins of ``reliability``. ``within`` is 0 where each bin holds one confidence only."""
    c, y = checked(confidence, right)
    at = _bin_index(c, bins)
    _, group = np.unique(at, return_inverse=True)
    n = np.bincount(group)
    mean_c, mean_y = np.bincount(group, c) / n, np.bincount(group, y) / n
    dc, dy = c - mean_c[group], y - mean_y[group]
    base = y.mean()
    return Brier(
        score=float(((c - y) ** 2).mean()),
        reliability=float((n * (mean_c - mean_y) ** 2).sum() / len(c)),
        resolution=float((n * (mean_y - base) ** 2).sum() / len(c)),
        uncertainty=float(base * (1 - base)),
        within=float((dc**2).mean() - 2 * (dc * dy).mean()),
    )


# ---------------------------------------------------------------------------------------------------- ranking


def auroc_interval(
    confidence: Sequence[float], right: Sequence[bool], level: float = 0.95
) -> tuple[float, Interval] | None:
    """(AUROC, interval) with DeLong's standard error on the logit scale; None if all are right or all are wrong.

    The quantile is Student's with Welch's degrees of freedom: with five wrong ones the error itself is a guess. Where
    right and wrong are perfectly apart it cannot be seen; the interval is then Wilson's for as many as the rarer kind.
    """
    c, y = checked(confidence, right)
    good, bad = c[y > 0].tolist(), c[y == 0].tolist()
    if not good or not bad:
        return None
    parts = [(_mean_variance(each), len(each) - 1) for each in (placements(good, bad), placements(bad, good))]
    value = math.fsum(placements(good, bad)) / len(good)
    variance = sum(v for v, _ in parts)
    if not 0 < value < 1 or not variance:  # a perfect order, or none at all: no spread to go by
        few = min(len(good), len(bad))
        return value, wilson(value * few, few, level)
    weight = sum(v * v / df for v, df in parts if df)
    df = variance**2 / weight if weight else 1.0
    half = float(special.stdtrit(df, 0.5 + level / 2)) * math.sqrt(variance) / (value * (1 - value))
    middle = float(special.logit(value))
    return value, (float(special.expit(middle - half)), float(special.expit(middle + half)))


def _mean_variance(values: Sequence[float]) -> float:
    """The variance of their mean; 0 for a single one, whose spread cannot be seen."""
    return float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """``coverage[i]`` of the problems, the most confident, have the error ``risk[i]``; one entry per problem.

    ``aurc`` is the mean risk over all coverages, ``best`` what an order that puts all right ones first would have.
    ``thresholds`` are the confidences at which the curve has a corner: (confidence, coverage, risk).
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    aurc: float
    best: float
    thresholds: tuple[tuple[float, float, float], ...]


def risk_coverage(confidence: Sequence[float], right: Sequence[bool]) -> RiskCoverage:
    """Risk among the most confident; equal confidences are taken in random order, by expectation."""
    c, y = checked(confidence, right)
    n, seen, errors = len(c), 0, 0.0
    risks: list[float] = []
    corners = []
    pairs = sorted(zip(c.tolist(), y.tolist(), strict=True), reverse=True)
    for value, tied in groupby(pairs, key=lambda pair: pair[0]):
        outcomes = [hit for _, hit in tied]
        wrong = len(outcomes) - math.fsum(outcomes)
        risks += [(errors + wrong * j / len(outcomes)) / (seen + j) for j in range(1, len(outcomes) + 1)]
        seen, errors = seen + len(outcomes), errors + wrong
        corners.append((value, seen / n, errors / seen))
    total = int(errors)
    best = math.fsum(max(0, j - (n - total)) / j for j in range(1, n + 1)) / n
    coverage = tuple(j / n for j in range(1, n + 1))
    return RiskCoverage(coverage, tuple(risks), math.fsum(risks) / n, best, tuple(corners))


@dataclass(frozen=True, slots=True)
class Above:
    """The problems with at least this confidence: how many, their share of all, and their accuracy (None of none)."""

    threshold: float
    n: int
    share: float
    accuracy: float | None
    interval: Interval


def above(confidence: Sequence[float], right: Sequence[bool], threshold: float) -> Above:
    """Accuracy where confidence is at least ``threshold`` (up to rounding: 4 of 5 samples are .8)."""
    c, y = checked(confidence, right)
    kept = c >= threshold - 1e-9
    n, hits = int(kept.sum()), float(y[kept].sum())
    return Above(threshold, n, n / len(c), hits / n if n else None, wilson(hits, n))


# ---------------------------------------------------------------------------------------------------- maps


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A non-decreasing map with the least squared error (pool adjacent violators); linear between its points."""

    at: tuple[float, ...]
    value: tuple[float, ...]

    @staticmethod
    def fit(confidence: Sequence[float], right: Sequence[bool]) -> Isotonic:
        """The map of these; equal confidences are one point."""
        c, y = checked(confidence, right)
        values, group, counts = np.unique(c, return_inverse=True, return_counts=True)
        means = np.bincount(group, y) / counts
        blocks: list[list[float]] = []  # mean, weight, points
        for mean, weight in zip(means.tolist(), counts.tolist(), strict=True):
            blocks.append([mean, weight, 1])
            while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
                last = blocks.pop()
                mass = blocks[-1][1] + last[1]
                blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + last[0] * last[1]) / mass, mass, blocks[-1][2] + last[2]]
        fitted = [mean for mean, _, points in blocks for _ in range(int(points))]
        return Isotonic(tuple(values.tolist()), tuple(fitted))

    def __call__(self, confidence: Sequence[float]) -> list[float]:
        """The calibrated confidences; outside the fitted range the nearest end's."""
        return [float(v) for v in np.interp(np.asarray(confidence, dtype=np.float64), self.at, self.value)]


@dataclass(frozen=True, slots=True)
class Temperature:
    """p = sigmoid(logit(confidence) / T), confidence cut to [.01, .99]; T > 1 makes it less sure of itself.

    One number: it keeps the order, and .5 stays .5, so it cannot mend a confidence that is off on one side only.
    """

    temperature: float

    @staticmethod
    def fit(confidence: Sequence[float], right: Sequence[bool]) -> Temperature:
        """The T in [.05, 20] with the highest likelihood (one maximum: the loss is convex in 1 / T)."""
        from scipy.optimize import minimize_scalar

        c, y = checked(confidence, right)
        logits = special.logit(np.clip(c, CLIP, 1 - CLIP))
        signed = np.where(y > 0, logits, -logits)
        found = minimize_scalar(lambda b: -special.log_expit(b * signed).sum(), bounds=(0.05, 20), method="bounded")
        return Temperature(1 / float(found.x))

    def __call__(self, confidence: Sequence[float]) -> list[float]:
        """The calibrated confidences."""
        logits = special.logit(np.clip(np.asarray(confidence, dtype=np.float64), CLIP, 1 - CLIP))
        return [float(v) for v in special.expit(logits / self.temperature)]


Map = Isotonic | Temperature
MAPS: dict[str, type[Isotonic] | type[Temperature]] = {"isotonic": Isotonic, "temperature": Temperature}


def fit(name: str, confidence: Sequence[float], right: Sequence[bool]) -> Map:
    """The map called ``name``, fitted; UsageError for an unknown one."""
    if name not in MAPS:
        raise UsageError(f"calibration {name!r} is unknown; there are {', '.join(MAPS)}")
    return MAPS[name].fit(confidence, right)
