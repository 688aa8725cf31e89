"""Tournaments: the best wins under a true judge, closed form under a noisy one, Swiss laws, ties and silence."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.core.errors import UsageError
from thence.core.tournaments import Judge, Standing, knockout, swiss


def by(strength: Sequence[float], log: list[int] | None = None) -> Judge:
    """A judge that always prefers the stronger."""

    async def judge(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
        if log is not None:
            log.append(len(pairs))
        return [1.0 if strength[a] > strength[b] else 0.0 if strength[a] < strength[b] else 0.5 for a, b in pairs]

    return judge


def noisy(strength: Sequence[float], q: float, seed: int) -> Judge:
    """A judge that prefers the stronger with chance ``q``."""
    noise = random.Random(seed)

    async def judge(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
        return [float((strength[a] > strength[b]) == (noise.random() < q)) for a, b in pairs]

    return judge


@settings(max_examples=40)
@given(st.integers(1, 17), st.integers(0, 5))
def test_under_a_true_judge_the_best_wins_and_n_minus_one_matches_are_played(n: int, seed: int) -> None:
    strength = random.Random(seed).sample(range(n), n)
    log: list[int] = []
    found = asyncio.run(knockout(n, by(strength, log), seed))
    assert strength[found.winner] == n - 1
    assert len(found.matches) == n - 1 == sum(log)
    assert sorted(found.order) == list(range(n))
    assert len(log) <= n.bit_length()  # rounds are asked together
    if n > 1:
        assert found.order.index(found.matches[-1].first) < 2
        assert found.order.index(found.matches[-1].second) < 2


async def test_with_a_noisy_judge_the_best_of_eight_wins_with_q_cubed() -> None:
    q, runs, n = 0.8, 2000, 8
    won = 0
    for seed in range(runs):
        won += (await knockout(n, noisy(range(n), q, seed), seed)).winner == n - 1
    assert abs(won / runs - q**3) < 4 * (q**3 * (1 - q**3) / runs) ** 0.5


async def test_a_tie_and_silence_are_a_seeded_coin() -> None:
    async def silent(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
        return [None] * len(pairs)

    winners = Counter([(await knockout(4, silent, seed)).winner for seed in range(2000)])
    assert all(400 < winners[e] < 600 for e in range(4))
    assert (await knockout(4, silent, 7)) == (await knockout(4, silent, 7))
    table = await swiss(4, silent, 3)
    assert table.points == (1.5,) * 4


@settings(max_examples=40)
@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 5))
def test_swiss_plays_its_matches_without_rematches_and_hands_out_every_point(n: int, rounds: int, seed: int) -> None:
    rounds = min(rounds, n - 1)
    found = asyncio.run(swiss(n, by(range(n)), rounds, seed))
    assert len(found.matches) == rounds * (n // 2)
    assert sum(found.points) == rounds * (n // 2 + n % 2)
    for number in range(rounds):
        players = [e for m in found.matches if m.round == number for e in (m.first, m.second)]
        assert len(players) == len(set(players)) == n - n % 2
    pairs = Counter(frozenset((m.first, m.second)) for m in found.matches)
    if rounds <= n // 2:
        assert max(pairs.values()) == 1
    byes = [rounds - sum(e in (m.first, m.second) for m in found.matches) for e in range(n)]
    assert max(byes) <= 1 + rounds // n


async def test_enough_swiss_rounds_find_the_best_and_forgive_a_knockout_loss() -> None:
    for n in (4, 8, 16):
        for seed in range(10):
            assert (await swiss(n, by(range(n)), n.bit_length() - 1, seed)).winner == n - 1
    q, runs = 0.75, 1500
    won = sum([(await swiss(8, noisy(range(8), q, s), 7, s)).winner == 7 for s in range(runs)])
    assert won / runs > q**3 + 2 * (0.25 / runs) ** 0.5


@pytest.mark.parametrize("n", [0, -1])
async def test_nobody_is_no_tournament(n: int) -> None:
    with pytest.raises(UsageError, match="entrants"):
        await knockout(n, by([]))
    with pytest.raises(UsageError, match="rounds is 0"):
        await swiss(2, by([1, 2]), 0)


async def test_a_single_entrant_wins_without_a_match() -> None:
    alone: Standing = await swiss(1, by([1]), 3)
    assert (alone.winner, alone.matches) == (0, ())
    assert (await knockout(1, by([1]))).matches == ()
