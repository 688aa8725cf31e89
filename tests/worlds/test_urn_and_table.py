"""Urns have the answer laws that their strata say; tables are models that can be enumerated."""

from __future__ import annotations

from collections import Counter

import pytest
from world_runs import draws, near, near_mean

from thence.core.errors import UsageError
from thence.worlds import Beta, Stratum, Table, Urn
from thence.worlds.laws import beta_coverage, coverage

HALVES = Urn((Stratum("up", (0.6, 0.4), 1.0), Stratum("down", (0.35, 0.4, 0.25), 3.0)), size=200)


def test_strata_have_their_shares_exactly_and_in_a_fixed_mixed_order() -> None:
    names = [HALVES.stratum(p).name for p in HALVES.problems()]
    assert Counter(names) == {"up": 50, "down": 150}
    assert 5 < names[:50].count("up") < 25
    assert names == [Urn(HALVES.strata, size=200).stratum(p).name for p in HALVES.problems()]
    for size in range(1, 80):  # every problem has a stratum, and none is more than one off its share
        uneven = Urn(tuple(Stratum(str(k), (1.0,), k / 7) for k in range(1, 8)), size=size)
        counts = Counter(uneven.stratum(p).name for p in uneven.problems())
        assert sum(counts.values()) == size
        assert all(abs(counts[str(k)] - size * k / 28) <= 1 for k in range(1, 8))
    assert sorted(Counter(Urn(size=102).stratum(p).name for p in Urn(size=102).problems()).values()) == [25, 25, 26, 26]


def test_the_law_of_answers_is_the_stratums_right_answer_first() -> None:
    for i, problem in enumerate(HALVES.problems()[:10]):
        law, shares = HALVES.answers(problem), HALVES.shares(problem)
        assert law[HALVES.right(i)] == HALVES.value(problem) == shares[0]
        assert sorted(law.values()) == sorted(shares)
    trap = next(p for p in Urn().problems() if Urn().stratum(p).name == "trap")
    assert max(Urn().answers(trap).values()) == 0.6 > Urn().value(trap)


def test_coverage_of_beta_distributed_problems_is_the_closed_form() -> None:
    """The mean over many problems, each with its own share of right answers."""
    world = Urn((Stratum("tail", Beta(0.5, 2.0)),), size=4000)
    for n in (1, 4, 32):
        near_mean([coverage(world.value(p), n) for p in world.problems()], beta_coverage(0.5, 2.0, n))


async def test_a_sample_without_an_answer_is_empty() -> None:
    world = Urn((Stratum("silent", (0.5, 0.2)),), size=1)
    samples = await draws(world, world.problem(0), 2000)
    near(sum(c.text == "" for c in samples), 2000, 0.3)


@pytest.mark.parametrize("wrong", [(), (0.7, 0.4), (-0.1, 0.5)])
def test_laws_that_are_none_are_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="is none"):
        Stratum("x", wrong)
    with pytest.raises(UsageError, match="no law"):
        Beta(0.0, 1.0)
    with pytest.raises(UsageError, match="no strata"):
        Urn(())


def test_the_default_table_is_greedily_wrong() -> None:
    world = Table()
    problem = world.problem(0)
    law = world.answers(problem)
    assert law["1"] == pytest.approx(0.4 * 0.9 + 0.35 * 0.1 + 0.25 * 0.5 * 0.2)  # a1, bc1 and bd1, cd1
    best = max(world.solutions(problem), key=lambda s: s[1])
    assert (best[0], best[1]) == ("say a\n#### 1", pytest.approx(0.36))
    assert (world.greedy(problem), world.mode(problem)) == ("1", "2")
    squares = world.squares(problem)
    assert max(squares, key=lambda a: squares[a]) == "1"
    assert sum(squares.values()) == pytest.approx(1.0)


def test_a_drawn_table_is_small_and_its_own() -> None:
    for seed in range(5):
        world = Table.drawn(seed)
        lengths = [len(world.read(text).steps) + 1 for text, _ in world.solutions(world.problem(0))]
        assert max(lengths) <= 6
        assert set(world.step_pieces) <= {"say a", "say b", "say c", "say d"}
    assert Table.drawn(0) == Table.drawn(0) != Table.drawn(1)
    assert any(w.greedy(w.problem(0)) != w.mode(w.problem(0)) for w in map(Table.drawn, range(30)))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"": {"1": 0.5}}, "sum to 1"),
        ({"": {"a": 1.0}}, "has no row a"),
        ({"a": {"1": 1.0}}, "how a solution begins"),
        ({"": {"1": 1.5, "2": -0.5}}, "sum to 1"),
    ],
)
def test_tables_that_are_no_models_are_refused(rows: dict[str, dict[str, float]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Table.of(rows, "1")
