"""Random trees: three values by dynamic programming, against brute force and against a planner that really plans."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from world_runs import draws, is_right, near, results

from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.scores import Meaning, Score
from thence.core.search import Result, Search
from thence.core.tree import Node
from thence.worlds import Branches

TREE = Branches(depth=3, branching=3, right_share=0.25, size=6)


def leaves(world: Branches, steps: tuple[str, ...]) -> list[bool]:
    if len(steps) == world.depth:
        return [world.is_right(0, steps)]
    return [leaf for a in world.step_pieces for leaf in leaves(world, (*steps, a))]


async def test_the_value_of_a_beginning_is_what_samples_do() -> None:
    problem, n = TREE.problem(2), 3000
    for begun in ("", "take 1.\n", "take 0.\ntake 2.\n"):
        samples = await draws(TREE, problem, n, begun)
        near(sum(c.text.endswith(f"#### {TREE.right(2)}") for c in samples), n, TREE.value(problem, begun))


def brute(world: Branches, number: int, steps: tuple[str, ...], width: int, subset: bool) -> float:
    """The planner's value by going through all ways in which its actions can be drawn."""
    if len(steps) == world.depth:
        return float(world.is_right(number, steps))
    prior = world.prior(number, steps)
    below = {a: brute(world, number, (*steps, a), width, subset) for a in prior}
    if subset:
        ways = list(itertools.combinations(below, width))
        return sum(max(below[a] for a in way) for way in ways) / len(ways)
    return sum(
        math.prod(prior[a] for a in way) * max(below[a] for a in way) for way in itertools.product(below, repeat=width)
    )


@pytest.mark.parametrize(("width", "subset"), [(1, False), (2, False), (4, False), (1, True), (2, True), (3, True)])
def test_the_planners_value_is_that_of_all_ways_to_draw_its_actions(width: int, subset: bool) -> None:
    for number, problem in enumerate(TREE.problems()[:3]):
        for begun in ("", "take 2.\n"):
            steps = TREE.read(begun).steps
            got = TREE.planned(problem, begun, width=width, draws="subset" if subset else "samples")
            assert got == pytest.approx(brute(TREE, number, steps, width, subset))


def test_the_three_values_are_in_order() -> None:
    world = Branches(size=30)
    strictly = 0
    for problem in world.problems():
        widths = [world.planned(problem, width=w) for w in (1, 2, 3, 8, 64)]
        assert widths[0] == pytest.approx(world.value(problem))
        assert all(a <= b + 1e-12 for a, b in itertools.pairwise([*widths, world.best(problem)]))
        strictly += widths[0] < widths[1] < widths[2] < widths[3]
        assert world.best(problem) == (widths[0] > 0)
        if world.best(problem):
            assert world.planned(problem, width=2000) > 0.95  # so many samples find every action
    assert strictly > 20


def test_a_step_is_right_while_a_right_leaf_can_be_reached() -> None:
    for steps in itertools.product(TREE.step_pieces, repeat=3):
        expected = tuple(any(leaves(TREE, steps[: k + 1])) for k in range(3))
        assert TREE.judge(0, steps) == expected
    assert len({TREE.judge(0, s) for s in itertools.product(TREE.step_pieces, repeat=3)}) > 2


def test_trees_differ_between_problems_and_seeds_and_have_the_share_of_right_leaves() -> None:
    world = Branches(depth=4, branching=4, right_share=0.1, size=20)
    rights = [[world.is_right(i, s) for s in itertools.product(world.step_pieces, repeat=4)] for i in range(20)]
    near(sum(map(sum, rights)), 20 * 256, 0.1)
    assert len({tuple(r) for r in rights}) == 20
    assert world.prior(0, ()) == Branches(depth=4, branching=4, right_share=0.1, size=2).prior(0, ())
    assert world.prior(0, ()) != Branches(depth=4, branching=4, right_share=0.1, data_seed=1).prior(0, ())


def test_skew_makes_some_actions_likelier() -> None:
    flat, steep = Branches(skew=0.0), Branches(skew=3.0)
    assert set(flat.prior(0, ()).values()) == {0.25}
    assert sum(max(steep.prior(i, ()).values()) for i in range(20)) / 20 > 0.7


@dataclass(frozen=True, slots=True)
class PlannedValue:
    """V^max,w as a verifier."""

    world: Branches
    width: int
    name: str = "planned"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        texts = [search.tree.solution(n) for n in nodes]
        values = [self.world.planned(search.problem, t, width=self.width) for t in texts]
        return [Score(v, meaning=Meaning.VALUE) for v in values]


@dataclass(frozen=True, slots=True)
class Planner:
    """At every step ``width`` actions are sampled and the one that is worth most is taken."""

    verifier: PlannedValue
    width: int
    needs: frozenset[Ability] = frozenset()

    async def solve(self, search: Search) -> Result:
        node = search.root
        while node is search.root or not search.ended(node):
            drawn = await search.steps(node, self.width)
            scores = await search.score(drawn, self.verifier)
            node = drawn[max(range(len(drawn)), key=lambda i: scores[i].value)]
        await search.answer(node)
        return search.result(node)


@pytest.mark.parametrize("width", [1, 2, 3])
async def test_a_planner_that_goes_step_by_step_through_the_search_is_as_good_as_its_closed_form(width: int) -> None:
    """Steps, scores and continued nodes of the real search, against V^max,w."""
    world = Branches(depth=3, branching=4, right_share=0.1, size=150)
    right = [is_right(world, r) for r in await results(world, Planner(PlannedValue(world, width), width))]
    chances = [world.planned(p, width=width) for p in world.problems()]
    error = math.sqrt(sum(c * (1 - c) for c in chances))
    assert abs(sum(right) - sum(chances)) < 4 * error
    assert error < 0.1 * 150


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"right_share": -0.1}, {"depth": 9, "branching": 9}, {"wrong": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="branches"):
        Branches(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="width is 5"):
        Branches().planned(Branches().problem(0), width=5, draws="subset")


def ways(world: Branches, steps: tuple[str, ...], width: int) -> list[tuple[tuple[str, ...], float]]:
    """All ordered draws of ``width`` actions with their chances."""
    prior = world.prior(0, steps)
    return [(way, math.prod(prior[a] for a in way)) for way in itertools.product(prior, repeat=width)]


def walk(world: Branches, steps: tuple[str, ...], width: int, ahead: int) -> float:
    """One path that takes the best of its draws by V^pi, ``ahead`` greedy steps later; equals by lot."""
    if len(steps) == world.depth:
        return float(world.is_right(0, steps))

    def worth(action: str) -> float:
        place = (*steps, action)
        for _ in range(min(ahead, world.depth - len(place))):
            prior = world.prior(0, place)
            place = (*place, max(prior, key=lambda a: prior[a]))
        return world.value(world.problem(0), "".join(f"{s}\n" for s in place))

    total = 0.0
    for way, chance in ways(world, steps, width):
        best = max(map(worth, way))
        tied = [a for a in set(way) if worth(a) == best]
        total += chance * sum(walk(world, (*steps, a), width, ahead) for a in tied) / len(tied)
    return total


def hold(world: Branches, steps: tuple[str, ...], width: int) -> float:
    if len(steps) == world.depth:
        return float(world.is_right(0, steps))
    below = {a: hold(world, (*steps, a), width) for a in world.step_pieces}
    return sum(c * (1 - math.prod(1 - below[a] for a in set(way))) for way, c in ways(world, steps, width))


@pytest.mark.parametrize("width", [1, 2, 3])
def test_what_a_search_with_exact_values_finds_by_all_ways_to_draw(width: int) -> None:
    for data_seed in range(6):
        world = Branches(depth=2, branching=3, right_share=0.35, size=1, data_seed=data_seed)
        problem = world.problem(0)
        for ahead in (0, 1, 2):
            assert world.walked(problem, width=width, ahead=ahead) == pytest.approx(walk(world, (), width, ahead))
        assert world.held(problem, width=width) == pytest.approx(hold(world, (), width))
        assert world.walked(problem, width=width) <= world.held(problem, width=width) + 1e-12
        if width == 1:
            assert world.walked(problem, width=1) == pytest.approx(world.value(problem))
            assert world.held(problem, width=1) == pytest.approx(world.value(problem))
