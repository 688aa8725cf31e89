"""The closed forms against published numbers and against brute force."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from scipy import stats
from world_runs import near_mean

from thence.core.errors import UsageError
from thence.evals.statistics.metrics import maj_at_k_population, pass_at_k
from thence.worlds import laws

approx = pytest.approx


def test_coverage_is_the_mean_of_its_unbiased_estimate() -> None:
    for p, k in ((0.3, 5), (0.02, 8), (1.0, 1), (0.0, 3)):
        mean = sum(chance * pass_at_k(12, c, k) for c, chance in enumerate(laws.binomial(12, p)))
        assert laws.coverage(p, k) == approx(mean, abs=1e-12)
    assert laws.coverage(1e-18, 10**9) == approx(1e-9)  # small chances are not rounded away
    assert laws.coverage(0.05, 8) == approx(0.3366, abs=5e-5)  # a hard label of eight rollouts at a 5 % guess


def test_misread_live_prefixes() -> None:
    """The chance that eight rollouts of a live prefix all fail."""
    for v, value in ((0.05, 0.663), (0.1, 0.430), (0.2, 0.168), (0.3, 0.058)):
        assert 1 - laws.coverage(v, 8) == approx(value, abs=5e-4)


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 2.0), (0.2, 0.2), (3.0, 1.0)])
def test_beta_coverage_is_the_beta_binomials(alpha: float, beta: float) -> None:
    for n in (1, 2, 10, 500):
        assert laws.beta_coverage(alpha, beta, n) == approx(1 - stats.betabinom.pmf(0, n, alpha, beta), rel=1e-9)
    tail = [(1 - laws.beta_coverage(alpha, beta, n)) * n**alpha for n in (10_000, 40_000)]
    assert tail[0] == approx(tail[1], rel=1e-3)  # 1 - C n^-alpha


def test_an_adversary_makes_best_of_n_rise_and_fall() -> None:
    values = [laws.adversarial_best_of_n(0.2, 0.005, n) for n in (1, 4, 16, 64, 256)]
    assert values == approx([0.20, 0.581, 0.897, 0.726, 0.277], abs=6e-4)
    assert laws.adversarial_best_of_n(0.3, 0.0, 7) == approx(laws.coverage(0.3, 7))
    for p, a, peak in ((0.2, 0.005, 17.0), (0.05, 0.005, 47.0)):
        assert laws.adversarial_peak(p, a) == approx(peak, abs=0.5)
        best = max(range(1, 400), key=lambda n: laws.adversarial_best_of_n(p, a, n))
        assert abs(best - laws.adversarial_peak(p, a)) <= 1
    with pytest.raises(UsageError, match="peak"):
        laws.adversarial_peak(0.2, 0.0)


def test_expected_draws_of_windows() -> None:
    for law, value in (((0.6, 0.3, 0.1), 30.40), ((0.9, 0.1), 8.461), ((1.0,), 5.0)):
        assert laws.esc_draws(law, 5, 40) == approx(value, abs=5e-3)
    with pytest.raises(UsageError, match="whole windows"):
        laws.esc_draws((1.0,), 5, 42)


def test_first_stopping_pairs() -> None:
    assert laws.first_stops(0.95, 15) == [(4, 0), (6, 1), (8, 2), (9, 3), (11, 4)]


@pytest.mark.parametrize("law", [(0.5, 0.3, 0.2), (0.6, 0.4), (0.4, 0.4)])
def test_the_adaptive_vote_is_that_of_all_sequences_of_answers(law: tuple[float, ...]) -> None:
    """Every sequence of seven draws (the last letter is silence) is stopped by hand."""
    n, full = 7, (*law, 1 - sum(law))
    safe = {(a, b): stats.beta.sf(0.5, a + 1, b + 1) >= 0.9 for a in range(n + 1) for b in range(a + 1)}
    right = drawn = 0.0
    for sequence in itertools.product(range(len(full)), repeat=n):
        chance = math.prod(full[i] for i in sequence)
        counts = [0] * len(law)
        used = 0
        for i in sequence:
            used += 1
            if i < len(law):
                counts[i] += 1
            first, second = sorted(counts, reverse=True)[:2]
            if safe[first, second]:
                break
        drawn += chance * used
        if counts[0] == max(counts) > 0:
            right += chance / counts.count(counts[0])
    exact = laws.adaptive_vote(law, n, 0.9)
    assert (exact.accuracy, exact.draws) == approx((right, drawn))


def test_an_adaptive_vote_that_never_stops_is_the_vote() -> None:
    law = (0.35, 0.4, 0.25)
    never = laws.adaptive_vote(law, 17, 1 - 1e-12)
    assert never.draws == approx(17)
    assert never.accuracy == approx(maj_at_k_population(law, (True, False, False), 17))
    usual = laws.adaptive_vote(law, 17)
    assert 15 < usual.draws < 16
    assert abs(usual.accuracy - never.accuracy) < 0.03


def test_choosing_the_largest_of_noisy_labels_is_biased() -> None:
    assert laws.max_soft_label(0.5, 8, 4) == approx(0.679, abs=5e-4)
    assert laws.max_soft_label(0.5, 8, 16) == approx(0.802, abs=5e-4)
    assert laws.max_soft_label(0.3, 5, 1) == approx(0.3)


def test_the_smallest_soft_label_is_below_the_smallest_value_less_so_with_more_rollouts() -> None:
    values, n = (0.4, 0.6, 0.8), 3
    exact = 0.0
    for counts in itertools.product(range(n + 1), repeat=3):
        chance = math.prod(laws.binomial(n, v)[c] for v, c in zip(values, counts, strict=True))
        exact += chance * min(counts) / n
    assert laws.min_soft_label(values, n) == approx(exact)
    gaps = [min(values) - laws.min_soft_label(values, n) for n in (2, 8, 32)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] > 0


def test_the_first_error_that_a_binary_search_finds() -> None:
    """Against the search itself, run with coins; with certain labels it is the step that kills the solution."""
    values, rollouts = [0.5, 0.4, 0.2, 0.3, 0.0, 0.0, 0.0], 4
    noise, counts, n = random.Random(1), {}, 20_000
    for _ in range(n):
        low, high = 0, len(values)
        while high - low > 1:
            middle = (low + high) // 2
            live = any(noise.random() < values[middle - 1] for _ in range(rollouts))
            low, high = (middle, high) if live else (low, middle)
        counts[high] = counts.get(high, 0) + 1
    law = laws.found_first_error(values, rollouts)
    assert sum(law.values()) == approx(1.0)
    assert set(counts) == set(law)
    for step, p in law.items():
        assert abs(counts[step] / n - p) < 4 * (p * (1 - p) / n) ** 0.5
    assert max(law) == 5  # never after the death point
    assert laws.found_first_error([1.0, 1.0, 1.0, 0.0, 0.0], 1) == {4: 1.0}
    live = 1 - 0.7**8  # a planted first dead step 5 of 8: probes 4 (live), 6 (dead), 5 (dead)
    assert laws.found_first_error([0.3] * 4 + [0.0] * 4, 8)[5] == approx(live)


def test_filters_critics_and_consensus() -> None:
    assert laws.filter_precision(0.6, 0.9, 0.4) == approx(0.771, abs=5e-4)
    assert laws.filter_precision(0.6, 0.5, 0.5) == approx(0.6)
    assert laws.filter_precision(0.6, 0.4, 0.9) < 0.6
    assert laws.no_survivor(0.6, 0.9, 0.4, 3) == approx((0.6 * 0.1 + 0.4 * 0.6) ** 3)
    assert laws.consensus_error(0.2, 0.1) == approx(0.02 / (0.02 + 0.72))
    assert laws.consensus_error(0.2, 0.5) == approx(0.2)  # a judge that flips coins filters nothing


def test_critics_help_only_above_one_half() -> None:
    better = [laws.critics_majority(0.55, n) for n in (1, 5, 31)]
    worse = [laws.critics_majority(0.45, n) for n in (1, 5, 31)]
    assert better == sorted(better)
    assert worse == sorted(worse, reverse=True)
    assert better[2] == approx(1 - worse[2])
    assert laws.critics_majority(0.6, 3) == approx(0.6**3 + 3 * 0.6**2 * 0.4)
    with pytest.raises(UsageError, match="odd"):
        laws.critics_majority(0.6, 4)


def test_self_correction_without_information_hurts_the_strong_and_an_oracle_never_does() -> None:
    for p, gains in ((0.2, True), (0.9, False)):
        blind = laws.self_corrected(p, flag_wrong=0.3, flag_right=0.3, fix=0.5, keep=0.5)
        assert (blind > p) is gains
        assert laws.self_corrected(p, flag_wrong=0.3, flag_right=0.0, fix=0.5, keep=0.5) > p
    noise, after = random.Random(3), []
    for _ in range(20_000):
        right = noise.random() < 0.7
        if noise.random() < (0.2 if right else 0.6):
            right = noise.random() < (0.8 if right else 0.3)
        after.append(float(right))
    near_mean(after, laws.self_corrected(0.7, flag_wrong=0.6, flag_right=0.2, fix=0.3, keep=0.8))


def test_revisions_approach_their_limit_from_both_sides() -> None:
    p = 0.2
    for n in range(8):
        assert laws.revised(0.2, n, mend=0.2, spoil=0.1) == approx(p)
        p = p * 0.9 + (1 - p) * 0.2
    assert laws.revised(0.2, 300, mend=0.2, spoil=0.1) == approx(2 / 3)
    assert laws.revised(0.9, 1, mend=0.2, spoil=0.1) < 0.9
    assert laws.revised(0.4, 5, mend=0.0, spoil=0.0) == 0.4


def test_only_stuck_chains_put_the_best_number_of_chains_inside() -> None:
    """32 attempts as 1, 2, 4, 8, 16 or 32 chains."""

    def best(first: float, stuck: float) -> int:
        splits = [1 << i for i in range(6)]
        return min(splits, key=lambda c: laws.chains_fail(first, 0.2, chains=c, length=32 // c, stuck=stuck))

    assert best(0.1, 0.0) == 1  # mending is likelier than a first hit: one long chain
    assert best(0.3, 0.0) == 32
    assert 1 < best(0.1, 0.3) < 32
    assert laws.chains_fail(0.1, 0.2, chains=2, length=3, stuck=0.5) == approx((0.9 * (0.5 + 0.5 * 0.64)) ** 2)
