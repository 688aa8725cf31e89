"""Intervals against scipy, hand computation, two other packages' recorded numbers, and their own laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from thence.core.errors import DataError, UsageError
from thence.evals.statistics.intervals import (
    cluster_bootstrap,
    cluster_interval,
    exact,
    over_seeds,
    paired_by_cluster,
    t_interval,
)
from thence.evals.statistics.metrics import holm, mcnemar, paired

# 120 problems in 20 clusters of 6, and what evalconfidence 0.1.1 and evalsig 0.1.2 (PyPI) say of them.
N = 120
A = {str(i): float((7 * i * i + 3 * i + i // 5) % 11 < 5) for i in range(N)}
B = {str(i): float((5 * i * i + i // 3) % 13 < 7) for i in range(N)}
OF = {str(i): (7 * i) % 20 for i in range(N)}


def each(values: dict[str, float]) -> dict[str, str]:
    """Every problem its own cluster."""
    return {p: p for p in values}


def test_cluster_robust_errors_are_evalconfidences() -> None:
    a, b = cluster_interval(A, OF), cluster_interval(B, OF)
    assert (a.mean, a.naive, a.se) == pytest.approx((0.475, 0.04577759534198053, 0.047256609426649776), abs=1e-14)
    assert (b.naive, b.se) == pytest.approx((0.04505805985803133, 0.044385011431406454), abs=1e-14)
    assert (a.n, a.clusters) == (120, 20)


def test_the_paired_difference_by_cluster_is_evalconfidences_and_its_interval_near_evalsigs_bootstrap() -> None:
    d = paired_by_cluster(A, B, OF)
    assert (d.difference, d.se) == pytest.approx((0.11666666666666667, 0.051441217232967545), abs=1e-14)
    assert d.interval == pytest.approx((0.016666666666666666, 0.21666666666666667), abs=0.012)  # 50,000 draws
    assert d.p == pytest.approx(0.02272, abs=0.02)
    assert (d.n, d.clusters) == (120, 20)


def test_mcnemar_and_holm_are_evalsigs() -> None:
    p = paired(A, B)
    assert (p.won, p.lost) == (31, 17)
    assert p.p == mcnemar(31, 17) == pytest.approx(0.05946337525377034, abs=1e-14)
    assert holm([0.01, 0.04, 0.03, 0.005, 0.6]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.6])


def test_the_t_interval_of_differences_is_that_of_both_packages() -> None:
    a = [((3 * i + 1) % 5) / 4 for i in range(40)]
    b = [min(4, ((3 * i + 1) % 5) + (i % 3 == 0)) / 4 for i in range(40)]
    mean, interval = t_interval([y - x for x, y in zip(a, b, strict=True)])
    assert mean == pytest.approx(0.06875, abs=1e-15)
    assert interval == pytest.approx((0.03259464915073033, 0.10490535084926969), abs=1e-14)


def test_by_cluster_with_every_problem_its_own_is_the_paired_interval() -> None:
    d, p = paired_by_cluster(A, B, each(A)), paired(A, B)
    assert d.interval == pytest.approx(p.interval, abs=1e-14)
    assert d.difference == p.difference


def test_t_is_scipys() -> None:
    x = [0.2, 0.9, 0.4, 0.4, 0.7]
    expected = stats.t.interval(0.9, 4, np.mean(x), stats.sem(x))
    assert t_interval(x, 0.9)[1] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("right", "n"), [(0, 1), (0, 12), (3, 12), (12, 12), (250, 1000)])
def test_the_exact_interval_is_scipys(right: int, n: int) -> None:
    found = stats.binomtest(right, n).proportion_ci(0.95, "exact")
    assert exact(right, n) == pytest.approx((found.low, found.high), abs=1e-12)


def test_copies_of_a_problem_in_one_cluster_add_nothing() -> None:
    once = {p: v for p, v in A.items() if int(p) < 40}
    copies = {f"{p}-{j}": v for p, v in once.items() for j in range(5)}
    alone = cluster_interval(once, each(once))
    many = cluster_interval(copies, {c: c.split("-")[0] for c in copies})
    assert many.interval == pytest.approx(alone.interval, abs=1e-12)
    assert many.naive < alone.naive / 2
    boot = cluster_bootstrap(copies, {c: c.split("-")[0] for c in copies}, seed=3)
    assert boot.interval == pytest.approx(cluster_bootstrap(once, each(once), seed=3).interval, abs=1e-12)


def test_the_bootstrap_repeats_itself_and_stays_within_0_and_1() -> None:
    rare = {str(i): float(i == 3) for i in range(60)}
    found = cluster_bootstrap(rare, {p: int(p) // 2 for p in rare}, seed=1)
    assert found == cluster_bootstrap(rare, {p: int(p) // 2 for p in rare}, seed=1)
    assert 0 <= found.interval[0] <= found.mean <= found.interval[1] <= 1
    equal = {str(i): 1.0 for i in range(60)}
    same = cluster_bootstrap(equal, {p: int(p) // 2 for p in equal})
    assert same.interval == cluster_interval(equal, {p: int(p) // 2 for p in equal}).interval
    assert same.interval[0] == pytest.approx(0.88, abs=0.01)  # thirty right clusters, not sixty right problems


def test_variance_components_are_those_of_the_analysis_of_variance_by_hand() -> None:
    grid = {"a": [1.0, 0.0, 1.0], "b": [0.0, 0.0, 1.0], "c": [1.0, 1.0, 1.0], "d": [0.0, 0.0, 0.0]}
    found = over_seeds(grid)
    # means: problems 2/3, 1/3, 1, 0; seeds 1/2, 1/4, 3/4; all 1/2. Squares: problems 5/3, seeds 1/2, total 3.
    ms_p, ms_s, ms_r = (5 / 3) / 3, (1 / 2) / 2, (3 - 5 / 3 - 1 / 2) / 6
    assert found.mean == 0.5
    assert found.problems_sd == pytest.approx(math.sqrt((ms_p - ms_r) / 3))
    assert found.seeds_sd == pytest.approx(math.sqrt((ms_s - ms_r) / 4))
    assert found.rest_sd == pytest.approx(math.sqrt(ms_r))
    assert found.se(4, 3) == pytest.approx(math.sqrt((ms_p + ms_s - ms_r) / 12))
    assert found.same_problems == t_interval([0.5, 0.25, 0.75])[1]
    assert found.se(1000, 3) < found.se(4, 3)


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(DataError, match="value 1 is nan"):
        t_interval([0.5, math.nan, 1.0])
    with pytest.raises(UsageError, match="at least 2"):
        t_interval([0.5])
    with pytest.raises(UsageError, match="3 right ones of 2 is impossible"):
        exact(3, 2)
    with pytest.raises(DataError, match="1 problems have no cluster, '119' first"):
        cluster_interval(A, {p: c for p, c in OF.items() if p != "119"})
    with pytest.raises(UsageError, match="1 cluster have no spread"):
        cluster_interval(A, dict.fromkeys(A, 0))
    with pytest.raises(DataError, match=r"value 1\.5 is not in \[0, 1\]"):
        cluster_interval({"a": 1.5, "b": 0.0}, {"a": 1, "b": 2})
    with pytest.raises(DataError, match="run the missing seeds"):
        over_seeds({"a": [1.0, 0.0], "b": [1.0]})
    with pytest.raises(UsageError, match="at least 2 of each"):
        over_seeds({"a": [1.0], "b": [0.0]})
    with pytest.raises(UsageError, match="at least 2 of each"):
        over_seeds({})
