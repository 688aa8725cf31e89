"""Coverage, guesses and best-of-k against enumeration and closed forms."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
from scipy import special, stats

from thence.core.errors import DataError, UsageError
from thence.evals.statistics.coverage import best_of_k, coverage, guess_curve, guess_of_space, guess_shares


def by_enumeration(scores: list[float], right: list[bool], k: int) -> Fraction:
    """The best-scored of every subset, equal ones sharing."""
    subsets = list(itertools.combinations(range(len(scores)), k))
    total = Fraction(0)
    for subset in subsets:
        top = [i for i in subset if scores[i] == max(scores[j] for j in subset)]
        total += Fraction(sum(right[i] for i in top), len(top))
    return total / len(subsets)


@pytest.mark.parametrize("seed", range(12))
def test_best_of_k_equals_the_enumeration_of_all_subsets_with_ties(seed: int) -> None:
    chance = random.Random(seed)
    n = chance.randrange(1, 9)
    scores = [chance.randrange(4) / 3 for _ in range(n)]
    right = [chance.random() < 0.5 for _ in range(n)]
    found = best_of_k(scores, right, range(1, n + 1))
    assert found == pytest.approx([float(by_enumeration(scores, right, k)) for k in range(1, n + 1)], abs=1e-12)


def test_laws_of_best_of_k() -> None:
    right = [True, False, False, True, False, False]
    oracle = [float(r) for r in right]
    assert best_of_k(oracle, right, [1, 3]) == pytest.approx([2 / 6, 1 - math.comb(4, 3) / math.comb(6, 3)])
    assert best_of_k([0.5] * 6, right, [1, 2, 6]) == pytest.approx([2 / 6] * 3)  # a verifier that says nothing
    blind = best_of_k([1 - s for s in oracle], right, [1, 5, 6])
    assert blind == pytest.approx([2 / 6, 0, 0])
    assert best_of_k([-math.pi, 2.0], [False, True], [2]) == [1.0]


def test_coverage_of_beta_rates_is_the_closed_form() -> None:
    """Rates with a Beta(a, b) law: coverage(k) = 1 - B(a, b + k) / B(a, b), heavy-tailed for small a."""
    a, b, n = 0.4, 2.0, 32
    quantiles = [float(stats.beta.ppf((i + 0.5) / 400, a, b)) for i in range(400)]
    chance = random.Random(1)
    counts = {str(i): (n, sum(chance.random() < p for _ in range(n))) for i, p in enumerate(quantiles)}
    found = coverage(counts, [1, 4, 16])
    for k in (1, 4, 16):
        exact = 1 - special.beta(a, b + k) / special.beta(a, b)
        assert found[k].mean == pytest.approx(exact, abs=0.02)
        assert found[k].interval[0] < exact < found[k].interval[1]


def test_guessing_uniformly_covers_a_small_space() -> None:
    assert guess_of_space(4, 1) == pytest.approx(0.25)
    assert guess_of_space(4, 3) == pytest.approx(1 - 0.75**3)
    assert guess_of_space(1, 1) == 1.0
    assert guess_of_space(10**15, 1) == pytest.approx(1e-15)
    with pytest.raises(UsageError, match="size is 0"):
        guess_of_space(0, 1)


def test_coverage_of_shuffled_answers_is_the_guess_curve_of_the_space() -> None:
    """Answers that know nothing of their question: the curve from other problems' samples is coverage itself."""
    space, n, problems = 5, 40, 200
    chance = random.Random(3)
    gold = {str(i): chance.randrange(space) for i in range(problems)}
    drawn = {p: [chance.randrange(space) for _ in range(n)] for p in gold}
    answers = {p: {a: d.count(a) for a in set(d)} for p, d in drawn.items()}
    shares = guess_shares(answers, lambda p, a: a == gold[p])
    found = coverage({p: (n, d.count(gold[p])) for p, d in drawn.items()}, [1, 4])
    for k in (1, 4):
        assert guess_curve(shares, k) == pytest.approx(guess_of_space(space, k), abs=0.01)
        assert found[k].mean == pytest.approx(guess_of_space(space, k), abs=0.02)


def test_guess_shares_by_hand_and_of_a_few_others() -> None:
    answers = {"a": {"1": 3, None: 1}, "b": {"2": 2}, "c": {"1": 1, "2": 1}}
    gold = {"a": "1", "b": "1", "c": "2"}
    shares = guess_shares(answers, lambda p, key: key == gold[p])
    assert shares == pytest.approx({"a": 1 / 4, "b": 4 / 6, "c": 2 / 6})
    few = guess_shares(answers, lambda p, key: key == gold[p], others=1)
    assert all(few[p] in (0, 0.5, 0.75, 1) for p in few)
    assert guess_shares(answers, lambda p, key: key == gold[p], others=50) == shares


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="best-of-4 needs at least 4 samples per problem, and there are 1"):
        best_of_k([0.5], [True], [4])
    with pytest.raises(DataError, match="score 1 is nan"):
        best_of_k([0.5, math.nan], [True, False], [1])
    with pytest.raises(DataError, match="2 scores for 1 samples"):
        best_of_k([0.5, 0.1], [True], [1])
    with pytest.raises(UsageError, match="pass@4 needs at least 4 samples per problem, and there are 1"):
        coverage({"a": (4, 1), "b": (1, 1)}, [4])
    with pytest.raises(UsageError, match="no others"):
        guess_shares({"a": {"1": 1}}, lambda p, key: True)
    with pytest.raises(DataError, match="no problem to guess for"):
        guess_curve({}, 1)
