"""Choosing on one half and reporting on the other: the figures, and what is refused."""

from __future__ import annotations

import math
import random

import pytest

from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.evals.first_error import calibrates
from thence.evals.statistics.metrics import paired, wilson
from thence.evals.statistics.selection import is_development, select, split

HASHES = {f"p{i}": Problem(f"p{i}", f"question {i}").hash for i in range(400)}


def arms(n: int, seed: int) -> dict[str, dict[str, float]]:
    """``n`` equally good arms."""
    chance = random.Random(seed)
    return {f"arm {a}": {p: float(chance.random() < 0.5) for p in HASHES} for a in range(n)}


def test_halves_follow_the_content_and_are_about_equal() -> None:
    development, test = split(arms(2, 0), HASHES)
    for name in development:
        assert not development[name].keys() & test[name].keys()
        assert len(development[name]) + len(test[name]) == 400
        assert 150 < len(test[name]) < 250
    assert Problem("other id", "question 7").hash == HASHES["p7"]
    assert all(is_development(p.hash) == calibrates(p) for p in (Problem("x", f"question {i}") for i in range(50)))


def test_the_winner_of_equals_looks_better_where_it_was_chosen_and_not_elsewhere() -> None:
    flattered, honest = [], []
    for seed in range(30):
        development, test = split(arms(20, seed), HASHES)
        found = select(development).report(test)
        flattered.append(found.on_development - 0.5)
        honest.append(found.accuracy - 0.5)
    assert sum(flattered) / 30 > 0.04  # the largest of 20 means of 200 coins: + 1.9 standard errors
    assert abs(sum(honest) / 30) < 0.02


def test_the_report_is_accuracy_interval_and_paired_difference_on_the_test_half() -> None:
    development, test = split({"a": dict.fromkeys(HASHES, 0.0), "b": dict.fromkeys(HASHES, 1.0)}, HASHES)
    found = select(development).report(test, "a")
    n = len(test["b"])
    assert (found.arm, found.accuracy, found.n, found.interval) == ("b", 1.0, n, wilson(n, n))
    assert found.against == paired(test["a"], test["b"])
    assert select(development).report(test, "b").against is None


def test_a_report_on_what_was_chosen_on_is_refused() -> None:
    development, test = split(arms(3, 1), HASHES)
    chosen = select(development)
    leak = next(iter(development[chosen.arm]))
    with pytest.raises(UsageError, match=r"1 problems, .* served for choosing"):
        chosen.report({arm: {**v, leak: 1.0} for arm, v in test.items()})
    with pytest.raises(UsageError, match="served for choosing"):
        chosen.report(development)


def test_a_problem_that_only_another_arm_was_measured_on_was_used_too() -> None:
    chosen = select({"a": {"x": 1.0, "y": 1.0}, "b": {"x": 0.0, "z": 0.0}})
    assert (chosen.arm, chosen.development) == ("a", 1.0)
    with pytest.raises(UsageError, match="'z' first"):
        chosen.report({"a": {"z": 1.0}})


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(DataError, match="the test split has no result of 'a'"):
        select({"a": {"x": 1.0}}).report({})
    with pytest.raises(DataError, match="the development split has no problem"):
        select({"a": {}, "b": {}})
    with pytest.raises(DataError, match="b: a result on the development split is no number"):
        select({"a": {"x": 1.0}, "b": {"x": math.nan}})
    with pytest.raises(UsageError, match="no arm"):
        select({})
