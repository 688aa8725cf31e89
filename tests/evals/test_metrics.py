"""The statistics against enumeration, hand computation and scipy."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from thence.core.errors import UsageError
from thence.evals.statistics.metrics import (
    RunningAccuracy,
    clustered_accuracy,
    confidence_sequence,
    flipped,
    holm,
    maj_at_k,
    maj_at_k_population,
    mcnemar,
    paired,
    pass_at_k,
    resampled_maj_at_k,
    usual_ks,
    wilson,
)

# ---------------------------------------------------------------------------------------------------- pass@k


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_pass_at_k_equals_the_enumeration_of_all_subsets(n: int) -> None:
    for c in range(n + 1):
        for k in range(1, n + 1):
            subsets = list(itertools.combinations(range(n), k))
            share = sum(any(i < c for i in s) for s in subsets) / len(subsets)
            assert pass_at_k(n, c, k) == pytest.approx(share, abs=1e-14)


@pytest.mark.parametrize("p", [0.0, 0.03, 0.5, 1.0])
def test_pass_at_k_is_unbiased_for_every_k(p: float) -> None:
    n = 20
    for k in (1, 3, 20):
        mean = sum(stats.binom.pmf(c, n, p) * pass_at_k(n, c, k) for c in range(n + 1))
        assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_pass_at_k_beyond_n_is_an_error_and_large_n_does_not_overflow() -> None:
    with pytest.raises(UsageError, match="pass@5 needs at least 5 samples per problem, and there are 4"):
        pass_at_k(4, 1, 5)
    assert pass_at_k(10_000, 1, 100) == pytest.approx(0.01, abs=1e-12)


# ---------------------------------------------------------------------------------------------------- maj@k


def by_enumeration(counts: list[int], right: list[bool], k: int, silent: int) -> Fraction:
    """maj@k over all subsets of labelled samples."""
    samples: list[int | None] = [a for a, c in enumerate(counts) for _ in range(c)] + [None] * silent
    total, subsets = Fraction(0), 0
    for chosen in itertools.combinations(samples, k):
        subsets += 1
        votes = Counter(a for a in chosen if a is not None)
        best = [a for a, v in votes.items() if v == max(votes.values())]
        if best:
            total += Fraction(sum(right[a] for a in best), len(best))
    return total / subsets


@pytest.mark.parametrize(
    ("counts", "right", "silent"),
    [
        ([3, 2, 1, 1], [True, False, False, False], 0),
        ([3, 2, 1, 1], [False, True, False, True], 2),  # two right classes
        ([1, 1, 1, 1, 1], [False, False, True, False, False], 1),
        ([4, 4], [False, True], 0),
        ([2], [True], 5),
        ([3, 3], [False, False], 1),
        ([], [], 3),
    ],
)
def test_maj_at_k_equals_the_enumeration_of_all_subsets(counts: list[int], right: list[bool], silent: int) -> None:
    ks = list(range(1, sum(counts) + silent + 1))
    for k, value in zip(ks, maj_at_k(counts, right, ks, silent=silent), strict=True):
        assert value == pytest.approx(float(by_enumeration(counts, right, k, silent)), abs=1e-12)


def test_the_vote_of_a_population_by_hand() -> None:
    values = [maj_at_k_population((0.4, 0.3, 0.3), (True, False, False), k) for k in (1, 3, 5, 9)]
    assert [round(v, 3) for v in values] == [0.400, 0.424, 0.447, 0.489]
    # k = 2 by hand: both right .16, one right and one of the others (tie) .48 / 2
    assert maj_at_k_population((0.4, 0.3), (True, False), 2) == pytest.approx(0.16 + 0.24 / 2 + 2 * 0.4 * 0.3)


def test_maj_at_k_is_unbiased_for_the_vote_of_the_population() -> None:
    shares, right, n = (0.4, 0.35, 0.25), [True, False, False], 7
    for k in (1, 3, 4, 7):
        mean = 0.0
        for i in range(n + 1):
            for j in range(n + 1 - i):
                counts = [i, j, n - i - j]
                mean += stats.multinomial.pmf(counts, n, shares) * maj_at_k(counts, right, [k])[0]
        assert mean == pytest.approx(maj_at_k_population(shares, right, k), abs=1e-12)


def test_resampling_agrees_with_the_exact_value_and_is_seeded() -> None:
    counts, right = [30, 25, 10, 1, 1, 1], [True, False, False, False, False, False]
    exact = maj_at_k(counts, right, [16], silent=4)[0]
    drawn = resampled_maj_at_k(counts, right, 16, silent=4, seed=1)
    assert abs(drawn - exact) < 4 * 0.5 / math.sqrt(4096)
    assert drawn == resampled_maj_at_k(counts, right, 16, silent=4, seed=1)
    assert resampled_maj_at_k([], [], 2, silent=3) == 0.0


def test_maj_at_k_of_many_samples_stays_a_probability() -> None:
    counts, right = [90, 80, 40, *([1] * 46)], [False, True, *([False] * 47)]
    values = maj_at_k(counts, right, usual_ks(256))
    assert values[0] == pytest.approx(80 / 256)
    assert all(0 <= v <= 1 for v in values)
    assert values[-1] == 0.0
    with pytest.raises(UsageError, match="maj@3 needs at least 3"):
        maj_at_k([2], [True], [3])


def test_usual_ks() -> None:
    assert [usual_ks(n) for n in (0, 1, 6, 8)] == [[], [1], [1, 2, 4, 6], [1, 2, 4, 8]]
    assert usual_ks(100) == [1, 2, 4, 8, 10, 16, 32, 64, 100]


# ---------------------------------------------------------------------------------------------------- intervals


def test_wilson_by_hand_and_against_scipy() -> None:
    # 8 of 10, z = 1.95996: centre (.8 + .19207) / 1.38415 = .71674, half 1.41599 * sqrt(.016 + .0096036) = .22657
    low, high = wilson(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    for right, n in [(0, 7), (7, 7), (3, 50), (217, 1319)]:
        expected = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert wilson(0, 0) == (0.0, 1.0)


def test_seeds_of_one_problem_are_not_taken_for_independent_problems() -> None:
    same = {i: [float(i < 30)] * 3 for i in range(100)}  # three seeds that always agree are worth one
    assert clustered_accuracy(same)[1] == pytest.approx(wilson(30, 100))
    unlike = {i: [1.0, 0.0, 0.0] for i in range(100)}  # no difference between problems at all
    p, interval = clustered_accuracy(unlike)
    assert p == pytest.approx(1 / 3)
    assert interval == pytest.approx(wilson(100, 300))
    assert clustered_accuracy({i: [0.0] * 3 for i in range(100)})[1] == wilson(0, 100)
    one = {i: [float(i < 30)] for i in range(100)}
    assert clustered_accuracy(one)[1] == pytest.approx(wilson(30, 100))


def test_clustered_intervals_cover_and_naive_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    covered = naive = 0
    runs, problems, seeds = 400, 60, 5
    for _ in range(runs):
        p = rng.beta(0.3, 0.3, size=problems)  # most problems are always right or always wrong
        x = rng.random((problems, seeds)) < p[:, None]
        _, (low, high) = clustered_accuracy({i: list(map(float, row)) for i, row in enumerate(x)})
        covered += low <= 0.5 <= high
        low, high = wilson(x.sum(), x.size)
        naive += low <= 0.5 <= high
    assert covered / runs > 0.92
    assert naive / runs < 0.85


@pytest.mark.parametrize("p", [0.05, 0.4, 0.9])
def test_the_confidence_sequence_holds_at_all_times_together_and_wilson_does_not(p: float) -> None:
    rng = np.random.default_rng(round(100 * p))
    runs, length = 400, 300
    table = {}
    missed = pointwise = 0
    for outcomes in rng.random((runs, length)) < p:
        sums = np.cumsum(outcomes)
        bad = worse = False
        for n in range(1, length + 1):
            s = int(sums[n - 1])
            if (s, n) not in table:
                table[s, n] = confidence_sequence(s, n), wilson(s, n)
            (low, high), (left, right) = table[s, n]
            bad |= not low <= p <= high
            worse |= not left <= p <= right
        missed += bad
        pointwise += worse
    assert missed / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)
    assert pointwise / runs > 0.2  # looking all the time breaks an interval made for one look


def test_the_confidence_sequence_solves_its_equation() -> None:
    low, high = confidence_sequence(30, 50)
    for p in (low, high):
        ratio = stats.beta(31, 21).pdf(p)  # posterior over uniform prior = likelihood over mixture
        assert ratio == pytest.approx(0.05, rel=1e-6)
    assert confidence_sequence(0, 0) == (0.0, 1.0)
    assert confidence_sequence(0, 9)[0] == 0.0
    assert confidence_sequence(9, 9)[1] == 1.0


def test_running_accuracy_counts_the_longest_finished_prefix() -> None:
    running = RunningAccuracy()
    seen = []
    for index, right in [(2, True), (0, False), (3, None), (1, True), (5, True), (4, True)]:
        running.add(index, right)
        seen.append((running.right, running.n))
    assert seen == [(0, 0), (0, 1), (0, 1), (2, 3), (2, 3), (4, 5)]
    assert running.accuracy == 0.8
    assert running.interval == confidence_sequence(4, 5)


# ---------------------------------------------------------------------------------------------------- comparison


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (5, 5), (10, 2), (2, 10), (40, 71)])
def test_mcnemar_against_scipy(won: int, lost: int) -> None:
    expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(expected, abs=1e-12)


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04: times 4, 3, 2, 1 = .04 .06 .06 .04, then never falling
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_paired_difference_by_hand() -> None:
    a = {str(i): float(i < 50) for i in range(100)}
    b = {str(i): float(10 <= i < 70) for i in range(100)}  # loses 10, wins 20
    result = paired(a, b)
    assert (result.n, result.won, result.lost) == (100, 20, 10)
    assert result.difference == pytest.approx(0.10)
    centre, variance = 10 / 102, 32 / 102 - (10 / 102) ** 2
    half = stats.t.ppf(0.975, 101) * math.sqrt(variance / 102)
    assert result.interval == pytest.approx((centre - half, centre + half))
    assert result.p == pytest.approx(stats.binomtest(20, 30).pvalue)
    assert [f[0] for f in flipped(a, b)] == [str(i) for i in (*range(10), *range(50, 70))]


def test_pairing_uses_shared_problems_only_and_no_flip_is_no_certainty() -> None:
    result = paired({"a": 1.0, "b": 1.0, "c": 0.0}, {"b": 1.0, "c": 0.0, "d": 1.0})
    assert result.n == 2
    assert result.difference == 0.0
    assert result.p == 1.0
    assert result.interval[0] < -0.3
    assert result.interval[1] > 0.3
    assert paired({}, {"a": 1.0}).n == 0


def test_paired_intervals_cover_the_true_difference() -> None:
    rng = np.random.default_rng(1)
    for n, won, lost in [(50, 0.02, 0.01), (200, 0.15, 0.05), (30, 0.4, 0.4)]:
        covered = 0
        for _ in range(400):
            u = rng.random(n)
            a = {str(i): float(lost > u[i]) for i in range(n)}
            b = {str(i): float(u[i] > 1 - won) for i in range(n)}
            low, high = paired(a, b).interval
            covered += low <= won - lost <= high
        assert covered / 400 > 0.92


def test_the_vote_of_many_samples_has_a_law_too() -> None:
    """Beyond 170 samples factorials do not fit into floats."""
    shares, right = (0.4, 0.3, 0.3), (True, False, False)
    values = [maj_at_k_population(shares, right, k) for k in (33, 165, 201, 401)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.629, abs=5e-4)
    assert 0.95 < values[-1] < 1
