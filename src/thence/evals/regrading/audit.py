r"""The error rate of a grader, from a sample that was labelled by hand.

A grader that accepts wrong answers or rejects right ones moves every number made with it (rule-based graders of
mathematics reject 10 % and more of right answers in places: arXiv:2505.22203). What it gets wrong is rare, so the
texts to look at are drawn **stratified by verdict**: the same number from each, as far as there are so many. Who labels
them does not see the verdicts.

Let stratum h have N_h texts, n_h of them labelled and x_h of those truly right. Every labelled text stands for
N_h / n_h texts (the inverse of its chance to be drawn), so R_h = N_h x_h / n_h estimates how many are truly right, and
with A the stratum of accepted texts

    false accepts      1 - R_A / N_A                          of accepted texts: truly wrong
    false rejects      sum_{h != A} R_h / sum_{h != A} N_h    of rejected texts: truly right
    false accept rate  (N_A - R_A) / sum_h (N_h - R_h)        of truly wrong texts: accepted
    false reject rate  sum_{h != A} R_h / sum_h R_h           of truly right texts: rejected
    true accuracy      sum_h R_h / sum_h N_h

**Intervals.** What is not known are the N_h - n_h texts that nobody labelled. Under Jeffreys' prior Beta(1/2, 1/2) the
number of right ones among them is beta-binomial; the interval of each figure holds the middle of its distribution under
seeded draws of these numbers, with the end at 0 or 1 where the estimate is 0 or 1 (Brown, Cai and DasGupta 2001). A
stratum that is labelled completely has no uncertainty left. Coverage by simulation: ``tests/evals/test_audit.py``.

Texts whose reference cannot be read (``ungradable``) are in no denominator and are not sampled.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.evals.statistics.metrics import Interval

DRAWS = 20_000
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stratum:
    """The texts of one verdict: ``size`` in all, ``labelled`` by hand, ``right`` of these truly right."""

    verdict: Verdict
    size: int
    labelled: int
    right: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; ``value`` is None where its denominator is estimated to be empty."""

    value: float | None
    interval: Interval


@dataclass(frozen=True, slots=True)
class Audit:
    """What the labels say of the grader; see the module for the definitions. ``accuracy`` is the grader's own."""

    strata: tuple[Stratum, ...]
    accuracy: float
    false_accepts: Estimate
    false_rejects: Estimate
    false_accept_rate: Estimate
    false_reject_rate: Estimate
    true_accuracy: Estimate

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def draw(verdicts: Sequence[Verdict], n: int, seed: int = 0) -> list[int]:
    """Places of ``n`` texts (or all, when there are fewer) to label, in random order: as many of each verdict as of
    any other, as far as there are so many. UsageError when ``n`` is smaller than the number of verdicts."""
    places: dict[Verdict, list[int]] = {}
    for i, verdict in enumerate(verdicts):
        if verdict is not Verdict.UNGRADABLE:
            places.setdefault(verdict, []).append(i)
    if n < max(1, len(places)):
        raise UsageError(f"an audit sample of {n} texts is too small for {len(places)} verdicts; take at least 100")
    rng = random.Random(f"audit {seed}")
    taken = _equal_parts({v: len(p) for v, p in places.items()}, n)
    chosen = [i for v in Verdict if v in places for i in rng.sample(places[v], taken[v])]
    rng.shuffle(chosen)
    return chosen


def _equal_parts(sizes: Mapping[Verdict, int], n: int) -> dict[Verdict, int]:
    """``n`` dealt out one by one in turn to those that have some left."""
    taken = dict.fromkeys(sizes, 0)
    left = min(n, sum(sizes.values()))
    while left:
        for verdict in [v for v in Verdict if v in sizes and taken[v] < sizes[v]][:left]:
            taken[verdict] += 1
            left -= 1
    return taken


def strata(verdicts: Sequence[Verdict], labels: Mapping[int, bool]) -> tuple[Stratum, ...]:
    """Count texts and ``labels`` (place -> truly right) by verdict; DataError where a verdict has no label at all."""
    made = []
    for verdict in Verdict:
        size = sum(v is verdict for v in verdicts)
        if verdict is Verdict.UNGRADABLE or size == 0:
            continue
        seen = [right for i, right in labels.items() if verdicts[i] is verdict]
        if not seen:
            raise DataError(
                f"none of the {size} texts with the verdict {verdict} has a label, so nothing is known of them; "
                "label at least one of each verdict"
            )
        made.append(Stratum(verdict, size, len(seen), sum(seen)))
    if not made:
        raise DataError("there is no text that can be graded, so there is nothing to audit")
    return tuple(made)


def audit(found: Sequence[Stratum], *, confidence: float = 0.95, seed: int = 0, draws: int = DRAWS) -> Audit:
    """The error rates of the grader whose verdicts and labels ``found`` counts."""
    rng = np.random.default_rng(seed)
    sizes = np.array([s.size for s in found], dtype=np.float64)
    accepted = np.array([s.verdict is Verdict.CORRECT for s in found])
    point = np.array([[s.size * s.right / s.labelled] for s in found])
    drawn = np.stack([_right_ones(s, rng, draws) for s in found])
    values, clouds = _figures(point, sizes, accepted), _figures(drawn, sizes, accepted)
    made = {name: _estimate(float(values[name][0]), clouds[name], confidence) for name in values}
    return Audit(tuple(found), float(sizes[accepted].sum() / sizes.sum()), **made)


def _right_ones(s: Stratum, rng: np.random.Generator, draws: int) -> Array:
    """[draws] how many of a stratum are truly right: those seen, and a beta-binomial number of the others."""
    share = rng.beta(s.right + 0.5, s.labelled - s.right + 0.5, draws)
    return s.right + rng.binomial(s.size - s.labelled, share).astype(np.float64)


def _figures(right: Array, sizes: Array, accepted: npt.NDArray[np.bool_]) -> dict[str, Array]:
    """The five figures of [strata, draws] numbers of truly right texts; nan where a denominator is empty."""
    wrong = sizes[:, None] - right
    taken, refused = right[accepted].sum(0), right[~accepted].sum(0)
    slipped = wrong[accepted].sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "false_accepts": slipped / sizes[accepted].sum(),
            "false_rejects": refused / sizes[~accepted].sum(),
            "false_accept_rate": slipped / wrong.sum(0),
            "false_reject_rate": refused / (taken + refused),
            "true_accuracy": (taken + refused) / sizes.sum(),
        }


def _estimate(value: float, cloud: Array, confidence: float) -> Estimate:
    known = cloud[np.isfinite(cloud)]
    if not len(known):
        return Estimate(None, (0.0, 1.0))
    low, high = (float(v) for v in np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2]))
    if np.isnan(value):
        return Estimate(None, (0.0, 1.0))
    return Estimate(value, (0.0 if value == 0 else min(low, value), 1.0 if value == 1 else max(high, value)))
