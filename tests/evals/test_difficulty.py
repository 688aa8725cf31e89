"""Difficulty from disjoint samples: no leak, no regression to the mean, the same bins every time."""

from __future__ import annotations

import random

import pytest

from thence.core.errors import DataError, UsageError
from thence.evals.statistics.difficulty import divide, strata


def test_bins_of_equal_problems_differ_where_sorted_and_not_where_measured() -> None:
    chance = random.Random(0)
    counts = {str(i): (32, sum(chance.random() < 0.5 for _ in range(32))) for i in range(600)}
    found = strata(divide(counts, 16))
    assert found[-1].sorted_rate - found[0].sorted_rate > 0.25  # luck alone
    assert abs(found[-1].rate - found[0].rate) < 0.05
    assert [len(s.problems) for s in found] == [120] * 5


def test_samples_are_divided_without_replacement_and_the_same_way_every_time() -> None:
    counts = {str(i): (20, i % 21) for i in range(60)}
    made = divide(counts, 8, seed=1)
    for problem, d in made.items():
        assert (d.sorting, d.rest) == (8, 12)
        assert d.sorting_right + d.rest_right == counts[problem][1]
        assert 0 <= d.sorting_right <= 8
        assert 0 <= d.rest_right <= 12
    assert divide(dict(reversed(counts.items())), 8, seed=1) == dict(made)
    assert divide(counts, 8, seed=2) != made
    again = strata(made, 4)
    assert again == strata(dict(reversed(made.items())), 4)
    assert sorted(p for s in again for p in s.problems) == sorted(counts)


def test_the_division_is_hypergeometric() -> None:
    hits = [divide({"p": (10, 4)}, 5, seed=s)["p"].sorting_right for s in range(3000)]
    assert sum(hits) / 3000 == pytest.approx(2, abs=0.06)
    assert hits.count(0) / 3000 == pytest.approx(6 / 252, abs=0.01)  # C(6, 5) / C(10, 5)


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="problem 'a' has 1 samples; with 1 of them for sorting none is left"):
        divide({"a": (1, 1)}, 1)
    with pytest.raises(DataError, match="3 problems are too few for 5 bins"):
        strata(divide({str(i): (4, 1) for i in range(3)}, 2))
