"""AUROC against all pairs."""

from __future__ import annotations

import random

import pytest

from thence.core.ranks import auroc, placements


def by_pairs(scores: list[float], right: list[bool]) -> float:
    good = [s for s, r in zip(scores, right, strict=True) if r]
    bad = [s for s, r in zip(scores, right, strict=True) if not r]
    return sum((g > b) + 0.5 * (g == b) for g in good for b in bad) / (len(good) * len(bad))


@pytest.mark.parametrize("seed", range(20))
def test_auroc_is_the_share_of_pairs_in_the_right_order_ties_counting_half(seed: int) -> None:
    chance = random.Random(seed)
    scores = [chance.randrange(6) / 5 for _ in range(40)]
    right = [chance.random() < 0.4 for _ in range(40)]
    assert auroc(scores, right) == pytest.approx(by_pairs(scores, right), abs=1e-12)


def test_auroc_of_one_kind_is_none_and_placements_are_shares() -> None:
    assert auroc([0.1, 0.2], [True, True]) is None
    assert auroc([], []) is None
    assert placements([1.0, 2.0, 3.0], [1.0, 2.0]) == [0.25, 0.75, 1.0]
