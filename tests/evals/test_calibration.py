"""Calibration against hand computation, brute force and identities."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from scipy import stats

from thence.core.errors import DataError, UsageError
from thence.core.ranks import auroc
from thence.evals.statistics.calibration import (
    Isotonic,
    Temperature,
    above,
    auroc_interval,
    brier,
    ece,
    ece_floor,
    fit,
    reliability,
    risk_coverage,
)
from thence.evals.statistics.metrics import wilson


def drawn(n: int, seed: int, levels: int = 16) -> tuple[list[float], list[bool]]:
    """Calibrated forecasts with ``levels`` + 1 values."""
    chance = random.Random(seed)
    c = [chance.randrange(levels + 1) / levels for _ in range(n)]
    return c, [chance.random() < p for p in c]


def test_bins_have_equal_mass_and_never_divide_equal_confidences() -> None:
    bins = reliability([i / 100 for i in range(100)], [True] * 100, 10)
    assert [b.n for b in bins] == [10] * 10
    c, y = drawn(200, 0)
    bins = reliability(c, y, 10)
    assert sum(b.n for b in bins) == 200
    for a, b in itertools.pairwise(bins):
        assert a.high < b.low
    shuffled = random.Random(1).sample(list(zip(c, y, strict=True)), 200)
    assert reliability([p for p, _ in shuffled], [r for _, r in shuffled], 10) == pytest.approx(bins)
    assert [b.n for b in reliability([1.0] * 50, [True] * 50, 10)] == [50]


def test_ece_by_hand() -> None:
    bins = reliability([0.25] * 4 + [0.75] * 4, [True, False, False, False, True, True, False, False], 2)
    assert [(b.n, b.confidence, b.accuracy) for b in bins] == [(4, 0.25, 0.25), (4, 0.75, 0.5)]
    assert ece(bins) == pytest.approx(0.125)


def test_the_floor_is_the_ece_of_calibrated_forecasts_and_its_chance_is_uniform() -> None:
    errors, chances = [], []
    for seed in range(60):
        c, y = drawn(150, seed)
        error = ece(reliability(c, y))
        floor, p = ece_floor(c, error, draws=200, seed=seed)
        errors.append(error - floor)
        chances.append(p)
    assert abs(sum(errors) / 60) < 0.006
    assert 0.35 < sum(chances) / 60 < 0.65
    c, y = drawn(400, 9)
    sure = [min(1.0, p + 0.3) for p in c]
    assert ece_floor(sure, ece(reliability(sure, y)))[1] < 0.01


@pytest.mark.parametrize("bins", [1, 3, 10, 40])
def test_brier_is_reliability_minus_resolution_plus_uncertainty_plus_within(bins: int) -> None:
    c, y = drawn(300, 4)
    b = brier(c, y, bins)
    assert b.score == pytest.approx(b.reliability - b.resolution + b.uncertainty + b.within, abs=1e-12)
    assert b.score == pytest.approx(sum((p - r) ** 2 for p, r in zip(c, y, strict=True)) / 300)
    if bins == 40:
        assert b.within == pytest.approx(0, abs=1e-12)


def test_the_auroc_and_its_error_are_delongs_by_hand() -> None:
    c, y = [0.9, 0.8, 0.4, 0.7, 0.3, 0.2], [True, True, True, False, False, False]
    found = auroc_interval(c, y)
    assert found is not None
    assert found[0] == auroc(c, y) == pytest.approx(8 / 9)
    # placements 1, 1, 2/3 of either kind: both means have the variance v = (1/27) / 3, so df = (2 v)^2 / (2 v^2 / 2)
    se = math.sqrt(2 / 81)
    half = stats.t.ppf(0.975, 4) * se / (8 / 9 * 1 / 9)
    middle = math.log(8)
    expected = [1 / (1 + math.exp(-(middle + s * half))) for s in (-1, 1)]
    assert found[1] == pytest.approx(expected, abs=1e-9)


def test_the_interval_of_a_perfect_order_is_no_point() -> None:
    perfect = auroc_interval([0.9] * 20 + [0.1] * 20, [True] * 20 + [False] * 20)
    assert perfect is not None
    assert perfect[0] == 1.0
    assert perfect[1] == wilson(20, 20)
    ties = auroc_interval([0.5] * 8, [True] * 4 + [False] * 4)
    assert ties == (0.5, wilson(2, 4))
    assert auroc_interval([0.5, 0.6], [True, True]) is None


def test_risk_coverage_is_the_mean_over_random_orders_of_equal_ones() -> None:
    c, y = [0.9, 0.5, 0.5, 0.5, 0.1], [True, True, False, False, True]
    found = risk_coverage(c, y)
    expected = np.zeros(5)
    orders = list(itertools.permutations(range(1, 4)))
    for order in orders:
        outcomes = [y[0], *(y[i] for i in order), y[4]]
        expected += [1 - sum(outcomes[: j + 1]) / (j + 1) for j in range(5)]
    expected /= len(orders)
    assert found.risk == pytest.approx(expected.tolist())
    assert found.aurc == pytest.approx(expected.mean())
    assert found.risk[-1] == pytest.approx(0.4)
    assert found.best == pytest.approx((1 / 4 + 2 / 5) / 5)
    assert [t for t, _, _ in found.thresholds] == [0.9, 0.5, 0.1]
    best = risk_coverage([float(r) for r in y], y)
    assert best.aurc == pytest.approx(best.best)


def test_what_stands_above_a_threshold_counts_the_border() -> None:
    found = above([0.8, 4 / 5, 0.79, 1.0], [True, False, True, True], 0.8)
    assert (found.n, found.share, found.accuracy) == (3, 0.75, pytest.approx(2 / 3))
    assert above([0.1], [True], 0.8).accuracy is None


def test_isotonic_has_the_least_squares_of_all_non_decreasing_maps() -> None:
    c = [0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6]
    y = [False, True, True, False, True, False, True, True]
    found = Isotonic.fit(c, y)
    assert list(found.value) == sorted(found.value)
    best = sum((p - r) ** 2 for p, r in zip(found(c), y, strict=True))
    levels = [i / 12 for i in range(13)]
    for values in itertools.combinations_with_replacement(levels, 6):
        at = dict(zip(found.at, values, strict=True))
        assert sum((at[p] - r) ** 2 for p, r in zip(c, y, strict=True)) >= best - 1e-9
    assert found([0.0, 1.0]) == [found.value[0], found.value[-1]]


def test_temperature_finds_the_one_that_made_the_outcomes() -> None:
    chance = random.Random(2)
    logits = [chance.gauss(0, 2) for _ in range(4000)]
    y = [chance.random() < 1 / (1 + math.exp(-x / 2)) for x in logits]
    c = [1 / (1 + math.exp(-x)) for x in logits]
    found = Temperature.fit(c, y)
    assert 1.75 < found.temperature < 2.3
    assert found([0.5]) == [0.5]
    assert found([0.3, 0.6, 0.9]) == sorted(found([0.3, 0.6, 0.9]))


def test_agreement_with_a_trap_is_sure_and_wrong_as_bayes_says() -> None:
    """Three kinds of question, votes of 5: P(right | c) is exact by Bayes, and c = 1 is mostly the trap's."""
    kinds = [(0.3, 0.9), (0.3, 0.5), (0.4, 0.02)]  # share, chance that a sample is right; one wrong answer only
    joint: dict[tuple[float, bool], float] = {}
    for share, p in kinds:
        for k in range(6):
            mass = share * math.comb(5, k) * p**k * (1 - p) ** (5 - k)
            key = max(k, 5 - k) / 5, k > 2
            joint[key] = joint.get(key, 0.0) + mass
    exact = {c: joint.get((c, True), 0) / sum(joint.get((c, r), 0) for r in (True, False)) for c in (0.6, 0.8, 1.0)}
    assert exact[1.0] < exact[0.8]  # the surest are the least often right
    chance, c, y = random.Random(7), [], []
    for _ in range(6000):
        u = chance.random()
        p = kinds[0][1] if u < 0.3 else kinds[1][1] if u < 0.6 else kinds[2][1]
        k = sum(chance.random() < p for _ in range(5))
        c.append(max(k, 5 - k) / 5)
        y.append(k > 2)
    for b in reliability(c, y):
        if b.low == b.high:
            assert abs(b.accuracy - exact[b.low]) < 4 * math.sqrt(0.25 / b.n)


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(DataError, match="nan of problem 1 is not in"):
        reliability([0.5, math.nan], [True, False])
    with pytest.raises(DataError, match="nothing to measure"):
        reliability([], [])
    with pytest.raises(DataError, match="2 confidences for 1 outcomes"):
        brier([0.5, 0.5], [True])
    with pytest.raises(UsageError, match="bins is 0"):
        reliability([0.5], [True], 0)
    with pytest.raises(UsageError, match="there are isotonic, temperature"):
        fit("platt", [0.5], [True])
