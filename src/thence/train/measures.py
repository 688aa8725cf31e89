"""How good a trained verifier is on the dev set. Ties are shared by expectation, never broken by order."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from thence.core.ranks import auroc


def auroc_within(scores: Sequence[float], right: Sequence[bool], groups: Sequence[Hashable]) -> float | None:
    """The mean over problems that have both classes: what choosing among samples of one problem feels."""
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    each = [auroc([scores[i] for i in m], [right[i] for i in m]) for m in members.values()]
    known = [x for x in each if x is not None]
    return math.fsum(known) / len(known) if known else None


def calibration_error(probabilities: Sequence[float], outcomes: Sequence[float], bins: int = 10) -> float | None:
    """Expected calibration error: mean |probability - outcome| over bins of equal width, weighted by their counts."""
    if not probabilities:
        return None
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    at = np.minimum((p * bins).astype(int), bins - 1)
    return float(sum(abs((p[at == b] - y[at == b]).sum()) for b in range(bins)) / len(p))


def first_below(numbers: Sequence[float], threshold: float) -> int | None:
    """Index of the first number below the threshold; None if there is none."""
    return next((i for i, x in enumerate(numbers) if x < threshold), None)


def first_error_scores(
    scores: Sequence[Sequence[float]], errors: Sequence[int | None], threshold: float
) -> dict[str, float | None]:
    """``errors[i]`` is the true first wrong step of solution i, or None. A step scored below ``threshold`` is wrong.

    ``wrong``: share of solutions with an error whose first one is found exactly; ``clean``: share of the others in
    which nothing is flagged; ``f1``: their harmonic mean (ProcessBench, Zheng et al. 2024, arXiv:2412.06559); None
    where a kind of solution is missing.
    """
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for numbers, truth in zip(scores, errors, strict=True):
        hits[truth is not None].append(first_below(numbers, threshold) == truth)
    wrong, clean = (sum(h) / len(h) if h else None for h in (hits[True], hits[False]))
    f1 = None
    if wrong is not None and clean is not None:
        f1 = 2 * wrong * clean / (wrong + clean) if wrong + clean else 0.0
    return {"wrong": wrong, "clean": clean, "f1": f1}


def best_threshold(scores: Sequence[Sequence[float]], errors: Sequence[int | None]) -> float:
    """The threshold with the largest F1 (accuracy where only one kind of solution is there), .5 if none is better.

    Chosen among 99 quantiles of the scores; use it on other solutions than these.
    """
    flat = [x for numbers in scores for x in numbers]
    if not flat:
        return 0.5

    def merit(threshold: float) -> float:
        found = first_error_scores(scores, errors, threshold)
        value = next(v for v in (found["f1"], found["wrong"], found["clean"]) if v is not None)
        return value

    candidates = [0.5, *(float(q) for q in np.quantile(flat, np.linspace(0.01, 0.99, 99)))]
    return max(candidates, key=lambda t: (merit(t), t == 0.5))
