"""FLOPs, fronts and knees by hand; Snell et al.'s factors."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from thence.core.budget import Charged
from thence.core.errors import DataError, UsageError
from thence.evals.statistics.curves import Parameters, Priced, against, knee, matched_factor, pareto


def test_flops_are_two_per_parameter_and_charged_token_verifier_included() -> None:
    sizes = Parameters.parse("7b,1.5b")
    assert sizes == Parameters(7e9, 1.5e9)
    assert sizes.flops(Charged(100, 900, 2000)) == 2 * (7e9 * 1000 + 1.5e9 * 2000)
    assert Parameters.parse("1600000").flops(Charged(10, 20, 0)) == 2 * 1.6e6 * 30
    assert sizes.flops(Charged(None, 900, 0)) is None
    with pytest.raises(UsageError, match="2,000 verifier tokens are charged; say how large the verifier is"):
        Parameters(7e9).flops(Charged(1, 1, 2000))


@pytest.mark.parametrize("text", ["", "big", "7b,", "1,2,3", "-1", "nan", "inf", "0"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="POLICY,VERIFIER"):
        Parameters.parse(text)


@pytest.mark.parametrize(("ratio", "factor"), [(0.16, 257.75), (0.79, 63.37), (22, 15.77)])
def test_snells_factors_for_a_model_fourteen_times_as_large(ratio: float, factor: float) -> None:
    assert matched_factor(14, ratio) == pytest.approx(factor, abs=0.005)


def test_the_matched_factor_makes_both_totals_equal() -> None:
    for m, r, n, pre in itertools.product((2, 14), (0.1, 3.0), (1e6, 7e9), (1e9,)):
        inference = r * pre
        large = 6 * m * n * pre + 2 * m * n * inference
        small = 6 * n * pre + 2 * n * inference * matched_factor(m, r)
        assert small == pytest.approx(large, rel=1e-12)
    with pytest.raises(UsageError, match="R above 0"):
        matched_factor(14, 0)


def test_a_small_model_with_search_against_a_large_one() -> None:
    found = against(Charged(100, 900, 1000), Parameters(1e9, 1e9), Charged(100, 100, 0), Parameters(14e9))
    assert found is not None
    assert [a.used for a in found] == [10.0] * 3  # 1,000 tokens and as many of the verifier, for 200
    assert [a.within for a in found] == [True, True, True]
    dear = against(Charged(100, 9900, 0), Parameters(1e9), Charged(100, 100, 0), Parameters(14e9))
    assert dear is not None
    assert [a.within for a in dear] == [True, True, False]  # 50 times; 15.8 are allowed at R = 22
    assert against(Charged(None, 1, 0), Parameters(1e9), Charged(1, 1, 0), Parameters(2e9)) is None
    with pytest.raises(UsageError, match="swap the arms"):
        against(Charged(1, 1, 0), Parameters(2e9), Charged(1, 1, 0), Parameters(1e9))


@pytest.mark.parametrize("seed", range(10))
def test_the_front_is_what_no_other_arm_beats(seed: int) -> None:
    chance = random.Random(seed)
    arms = [Priced(str(i), chance.randrange(1, 9), chance.randrange(9) / 8) for i in range(12)]
    front = pareto(arms)

    def beaten(a: Priced) -> bool:
        better = (b for b in arms if b.cost <= a.cost and b.accuracy >= a.accuracy)
        return any((b.cost, b.accuracy) != (a.cost, a.accuracy) for b in better)

    assert {(a.cost, a.accuracy) for a in front} == {(a.cost, a.accuracy) for a in arms if not beaten(a)}
    assert [a.cost for a in front] == sorted({a.cost for a in front})


def test_the_knee_is_where_a_doubling_gains_less_than_a_point() -> None:
    rising = [Priced(str(k), k, v) for k, v in ((1, 0.40), (2, 0.50), (4, 0.55), (8, 0.557), (16, 0.56))]
    assert knee(rising) == rising[2]
    late = [Priced("1", 1, 0.40), Priced("2", 2, 0.401), Priced("4", 4, 0.50)]
    assert knee(late) is None  # flat first, then a rise to the dearest
    falling = [Priced("1", 1, 0.40), Priced("2", 2, 0.50), Priced("4", 4, 0.45)]
    assert knee(falling) == falling[1]
    assert knee([]) is None
    assert knee(rising[:1]) is None
    assert knee([Priced("free", 0, 0.3), Priced("paid", 5, 0.2)]) == Priced("free", 0, 0.3)


def test_costs_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="must be numbers"):
        pareto([Priced("a", math.nan, 0.5)])
    with pytest.raises(DataError, match="must be numbers"):
        knee([Priced("a", 1, math.nan)])
