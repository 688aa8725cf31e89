"""Search by steps in worlds where every value is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from world_runs import HOT, is_right, near, results

from thence.core.completion import Ability
from thence.core.problem import Problem
from thence.core.scores import Meaning, Score
from thence.core.search import Result, Search
from thence.core.tree import Kind, Node
from thence.strategies.beam import Beam
from thence.strategies.best_of_n import BestOfN
from thence.strategies.dvts import DiverseTreeSearch
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.worlds import Branches, Chain

EXACT = Meaning.VALUE


def covered(world: Branches, result: Result) -> bool:
    """Whether any ended path has the right answer."""
    right = world.right(world.number(result.problem))
    return any(node.found is not None and node.found.value == right for node in result.tree)


async def coverage(world: Branches, strategy: Beam | DiverseTreeSearch | BestOfN) -> float:
    got = await results(world, strategy)
    return sum(covered(world, r) for r in got) / len(got)


@dataclass(frozen=True, slots=True)
class BestValue:
    """V*: 1 where a right leaf can still be reached."""

    world: Branches
    name: str = "best-value"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        return [Score(self.world.best(search.problem, search.tree.solution(n))) for n in nodes]


async def test_steps_make_the_texts_that_whole_samples_make() -> None:
    """A beam of one path is a sample: same law of answers, one node per line, the prompt charged once."""
    world = Chain(size=400)
    verifier = world.verifier(EXACT)
    whole = await results(world, RepeatedSampling(1))
    by_steps = await results(world, Beam(verifier, n=1, width=1, select="max"))
    expected = sum(world.value(p) for p in world.problems()) / 400
    near(sum(is_right(world, r) for r in whole), 400, expected)
    near(sum(is_right(world, r) for r in by_steps), 400, expected)
    for a, b in zip(whole[:20], by_steps[:20], strict=True):
        assert b.trace.count("\n") == a.trace.count("\n")
        path = b.tree.path(b.node) if b.node is not None else []
        assert [n.kind for n in path] == [Kind.STEP] * world.steps + [Kind.FINISH]
        assert all(n.text.endswith("\n") for n in path[:-1])
        assert b.ledger.total_charged == a.ledger.total_charged  # equally long: no prefix is paid for twice


async def test_with_the_best_values_a_beam_of_one_path_finds_what_can_be_found() -> None:
    world = Branches(depth=4, branching=3, right_share=0.03, skew=0.0, size=60)
    got = await results(world, Beam(BestValue(world), n=40, width=40))  # 40 draws of 3 actions miss none
    possible = [world.best(p) for p in world.problems()]
    assert 0.3 < sum(possible) / 60 < 0.99
    assert [float(is_right(world, r)) for r in got] == possible


async def test_with_exact_values_search_covers_at_least_what_best_of_n_covers() -> None:
    """Coverage of best-of-N is 1 - (1 - V)^N; with exact values and independent draws a search never has less, and
    what it loses with noise is the verifier's error: with much of it best-of-N wins."""
    world = Branches(depth=4, branching=4, right_share=0.047, skew=0.0, size=200)
    exact, loud = world.verifier(EXACT), world.verifier(EXACT, noise=1.0)
    best_of_n = sum(1 - (1 - world.value(p)) ** 8 for p in world.problems()) / 200
    near(round(200 * await coverage(world, BestOfN(exact, 8))), 200, best_of_n)
    for strategy in (Beam, DiverseTreeSearch):
        assert await coverage(world, strategy(exact, 8, 4)) > best_of_n + 0.3
        assert await coverage(world, strategy(loud, 8, 4, select="max")) < best_of_n - 0.05


async def test_trees_stay_apart_where_a_beam_draws_together() -> None:
    world = Branches(depth=4, branching=8, right_share=0.05, skew=0.0, size=40)
    verifier = world.verifier(EXACT, noise=0.3)

    def roots(result: Result) -> int:
        ended = [n for n in result.tree if n.kind is Kind.FINISH]
        return len({result.tree.path(n)[0].index for n in ended})

    beam = [roots(r) for r in await results(world, Beam(verifier, 16, 4, select="max"))]
    trees = [roots(r) for r in await results(world, DiverseTreeSearch(verifier, 16, 4, select="max"))]
    assert max(beam) <= 4
    assert sum(trees) > sum(beam) + 20


async def test_one_tree_is_a_beam_that_keeps_one() -> None:
    world = Branches(depth=3, branching=5, right_share=0.1, size=30)
    verifier = world.verifier(EXACT, noise=0.2)
    one = await results(world, DiverseTreeSearch(verifier, 4, 4, select="max"))
    kept = await results(world, Beam(verifier, 4, 4, keep="1", select="max"))
    assert [r.answer for r in one] == [r.answer for r in kept]
    assert [r.ledger.total_charged for r in one] == [r.ledger.total_charged for r in kept]


@pytest.mark.parametrize("budget", [1, 15, 40, 90, 200])
async def test_a_budget_is_never_exceeded(budget: int) -> None:
    from thence.core.solve import solve
    from thence.prompts.styles import Bare

    world = Branches(size=5)
    for problem in world.problems():
        for strategy in (Beam(world.verifier(EXACT), 8, 4), DiverseTreeSearch(world.verifier(EXACT), 8, 4)):
            result = await solve(
                problem,
                generator=world.generator(pace=0),
                strategy=strategy,
                style=Bare(),
                reading=world.task().reading,
                sampling=HOT,
                budget=budget,
            )
            assert result.ledger.total_charged.total is not None
            assert result.ledger.total_charged.total <= budget
            if result.answer is None:
                assert result.stopped == "budget"


async def test_equal_steps_are_scored_once_and_keep_their_weight() -> None:
    world = Branches(depth=3, branching=2, right_share=0.5, skew=0.0, size=10)
    scored: list[int] = []

    @dataclass(frozen=True, slots=True)
    class Counting:
        name: str = "counting"
        needs: frozenset[Ability] = frozenset()

        async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
            scored.append(len(nodes))
            return [Score(0.5) for _ in nodes]

    problems: list[Problem] = list(world.problems())
    [result] = await results(world, Beam(Counting(), 16, 4), problems[:1])
    first = [n for n in result.tree if n.parent == 0]
    assert len(first) == 2
    assert sum(n.multiplicity for n in first) == 16
    assert scored[0] == 2
