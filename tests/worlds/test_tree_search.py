"""Tree search in worlds where every value is known: visits follow values and priors, and noise is averaged away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import pytest
from world_runs import HOT, is_right, number_right, results

from thence.core.completion import Ability
from thence.core.problem import Problem
from thence.core.scores import Meaning, Score
from thence.core.search import Result, Search
from thence.core.solve import solve
from thence.core.tree import Node
from thence.prompts.styles import Bare
from thence.strategies.mcts import Mcts, State
from thence.worlds import Branches

EXACT = Meaning.VALUE
Mode = Literal["rollouts", "moves"]
MODES: tuple[Mode, ...] = ("rollouts", "moves")


@dataclass(frozen=True, slots=True)
class BestValue:
    """V*: 1 where a right leaf can still be reached."""

    world: Branches
    name: str = "best-value"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        return [Score(self.world.best(search.problem, search.tree.solution(n))) for n in nodes]


@dataclass(slots=True)
class Constant:
    """One number for all; notes how many nodes each call had."""

    value: float = 0.5
    calls: list[int] = field(default_factory=list)
    name: str = "constant"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        self.calls.append(len(nodes))
        return [Score(self.value) for _ in nodes]


@dataclass(frozen=True, slots=True)
class Grow:
    """Only grows the tree, and keeps it."""

    mcts: Mcts
    trees: list[State] = field(default_factory=list)
    needs: frozenset[Ability] = frozenset({Ability.CONTINUE})

    async def solve(self, search: Search) -> Result:
        root = State(search.root)
        await self.mcts.simulate(search, root)
        self.trees.append(root)
        return search.result(None)


async def grown(world: Branches, mcts: Mcts, problems: Sequence[Problem] | None = None) -> list[State]:
    """One tree per problem."""
    grow = Grow(mcts)
    await results(world, grow, problems)
    return grow.trees


def inner(root: State) -> list[State]:
    return [state for state in root.walk() if state.children]


@pytest.mark.parametrize("wave", [1, 4, 7])
async def test_every_simulation_is_one_visit_on_every_level(wave: int) -> None:
    """The root's children share all simulations; below, the first visit of a state is the one that expanded it."""
    world = Branches(depth=3, branching=3, size=10)
    for root in await grown(world, Mcts(world.verifier(EXACT), simulations=30, wave=wave)):
        assert root.visits == 30 == sum(child.visits for child in root.children)
        for state in root.walk():
            assert state.returned == state.visits
            if state.children and state is not root:
                assert state.visits == 1 + sum(child.visits for child in state.children)
        for state in inner(root):
            passed = sum(c.total for c in state.children)
            own = state.value * (state.visits - sum(c.visits for c in state.children))
            assert state.total == pytest.approx(passed + own)  # a mean over all simulations through it, no sign change


@pytest.mark.parametrize("values", ["V*", "V^pi"])
async def test_the_best_action_gets_nearly_all_visits(values: str) -> None:
    """Where one first action alone leads to a right leaf its share of visits tends to 1, with exact values of the best
    play and with those of the policy (whose mean over visits turns into that of the best play)."""
    world = Branches(depth=3, branching=3, right_share=0.06, skew=0.0, size=120)
    verifier = BestValue(world) if values == "V*" else world.verifier(EXACT)
    alone = [p for p in world.problems() if sum(world.best(p, f"take {a}.\n") for a in range(3)) == 1.0]
    assert len(alone) >= 20

    async def shares(simulations: int) -> list[float]:
        out = []
        for problem, root in zip(
            alone, await grown(world, Mcts(verifier, simulations, actions=12), alone), strict=True
        ):
            good = [c for c in root.children if world.best(problem, c.node.text) == 1.0]
            out.append(sum(c.visits for c in good) / root.visits)
        return out

    few, many = await shares(8), await shares(400)
    assert sum(many) / len(many) > 0.9
    assert min(many) > 0.8
    assert sum(many) > sum(few) + 0.05 * len(alone)


async def test_without_exploration_it_is_greedy_in_value() -> None:
    """c = 0: where V* is 1 for one child and 0 for another, the other is never visited; with c = 5 it is."""
    world = Branches(depth=3, branching=3, right_share=0.2, skew=0.0, size=40)

    async def wasted(c: float) -> int:
        count = 0
        for root in await grown(world, Mcts(BestValue(world), 40, c=c)):
            for state in inner(root):
                if {child.value for child in state.children} == {0.0, 1.0}:
                    count += sum(child.visits for child in state.children if child.value == 0.0)
        return count

    assert await wasted(0.0) == 0
    assert await wasted(5.0) > 100


@pytest.mark.parametrize("wave", [1, 4])
async def test_equal_priors_and_values_give_equal_visits(wave: int) -> None:
    world = Branches(depth=3, branching=4, skew=1.0, size=20)
    for root in await grown(world, Mcts(Constant(), 50, actions=8, prior="uniform", wave=wave)):
        for state in inner(root):
            counts = [child.visits for child in state.children]
            assert max(counts) - min(counts) <= 1
            assert all(child.prior == 1 / len(state.children) for child in state.children)


async def test_with_one_value_for_all_visits_follow_the_prior() -> None:
    """argmax P / (1 + N) is d'Hondt's method: no share of visits falls below its quota, rounded down."""
    world = Branches(depth=3, branching=4, skew=1.0, size=20)
    unequal = 0
    for root in await grown(world, Mcts(Constant(), 60, actions=12)):
        for child in root.children:
            assert child.visits >= int(60 * child.prior + 1e-9)
            assert child.visits <= 60 * child.prior + len(root.children) - 1
        unequal += len({child.visits for child in root.children}) > 1
    assert unequal > 10


async def test_equal_draws_are_one_child_whose_prior_is_its_share() -> None:
    world = Branches(depth=3, branching=2, skew=1.0, size=20)
    for root in await grown(world, Mcts(Constant(), 12, actions=10)):
        for state in inner(root):
            texts = [child.node.text for child in state.children]
            assert len(set(texts)) == len(texts) <= 2
            assert sum(child.node.multiplicity for child in state.children) == 10
            assert [Fraction(child.prior).limit_denominator(10) for child in state.children] == [
                Fraction(child.node.multiplicity, 10) for child in state.children
            ]


async def test_a_wave_is_scored_in_one_call_and_no_node_twice() -> None:
    world = Branches(depth=4, branching=8, skew=0.0, size=1)
    one, wide = Constant(), Constant()
    [by_one] = await grown(world, Mcts(one, 16, actions=8))
    [by_wave] = await grown(world, Mcts(wide, 16, actions=8, wave=8))
    assert len(one.calls) == 17  # the root and one leaf per simulation
    assert 3 <= len(wide.calls) <= 6  # the root and at least two waves
    assert wide.calls[1] > 8  # more than one leaf has children
    for calls, root in ((one.calls, by_one), (wide.calls, by_wave)):
        assert sum(calls) == sum(1 for _ in root.walk()) - 1


async def test_an_ended_path_keeps_its_value_however_often_it_is_visited() -> None:
    world = Branches(depth=1, branching=2, right_share=0.5, size=10)
    revisited = 0
    for root in await grown(world, Mcts(world.verifier(EXACT, noise=0.2), 60)):
        for state in root.walk():
            if state.ended and state.visits:
                assert state.q == pytest.approx(state.value)
                revisited += state.visits > 1
    assert revisited >= 10


async def test_search_averages_noise_that_a_greedy_walk_believes() -> None:
    """One step at a time by the same noisy values is right less often, though it sees nearly every action."""
    world = Branches(depth=4, branching=4, right_share=0.08, skew=0.0, size=100)
    loud = world.verifier(EXACT, noise=0.3)
    greedy = Mcts(loud, simulations=1, actions=10, mode="moves", c=0.0)  # goes where the largest of four values is
    walked = await number_right(world, greedy)
    moved = await number_right(world, Mcts(loud, simulations=24, mode="moves"))
    searched = await number_right(world, Mcts(loud, simulations=24, select="max"))
    print(f"noise .3, of 100: greedy {walked}, moves {moved}, rollouts {searched}")
    assert moved > walked + 8
    assert searched > walked + 10


async def test_waves_are_deterministic_and_lose_little() -> None:
    """Waves of 1, 4 and 16: one tree per seed, however draws arrive; what they lose is printed."""
    world = Branches(depth=4, branching=4, right_share=0.08, skew=0.0, size=60)
    loud = world.verifier(EXACT, noise=1.0, logit=True)
    right, trees = {}, {}
    for wave in (1, 4, 16):
        mcts = Mcts(loud, simulations=24, wave=wave)
        got = await results(world, mcts)
        trees[wave] = [r.tree.record() for r in got[:6]]
        slowly = [await _solved(world, mcts, problem, pace=3) for problem in list(world.problems())[:6]]
        assert [r.tree.record() for r in slowly] == trees[wave]
        assert [r.ledger.total_charged for r in slowly] == [r.ledger.total_charged for r in got[:6]]
        tokens = sum(r.ledger.total_charged.total or 0 for r in got) / len(got)
        right[wave] = sum(is_right(world, r) for r in got)
        print(f"wave {wave}: {right[wave]} of 60 right, {tokens:.0f} tokens each")
    assert trees[1] != trees[4] != trees[16]
    assert right[4] > right[1] - 8
    assert right[16] > right[1] - 12


async def _solved(world: Branches, mcts: Mcts, problem: Problem, *, pace: int = 0, budget: int | None = None) -> Result:
    return await solve(
        problem,
        generator=world.generator(pace=pace),
        strategy=mcts,
        style=Bare(),
        reading=world.task().reading,
        sampling=HOT,
        budget=budget,
    )


@pytest.mark.parametrize("budget", [1, 15, 40, 90, 200])
@pytest.mark.parametrize("mode", MODES)
async def test_a_budget_is_never_exceeded_and_an_end_that_was_found_is_given(budget: int, mode: Mode) -> None:
    world = Branches(size=5)
    for problem in world.problems():
        for wave in (1, 4):
            mcts = Mcts(world.verifier(EXACT), 8, wave=wave, mode=mode)
            result = await _solved(world, mcts, problem, budget=budget)
            total = result.ledger.total_charged.total
            assert total is not None
            assert total <= budget
            if result.answer is None:
                assert result.stopped == "budget"
                assert all(n.found is None for n in result.tree)


async def test_a_search_too_short_to_end_follows_its_most_visited_path() -> None:
    """Four simulations do not reach depth 6: the answer is that of one path, begun in the tree."""
    world = Branches(depth=6, branching=3, right_share=0.3, size=20)
    for result in await results(world, Mcts(world.verifier(EXACT), 4)):
        assert result.answer is not None
        assert result.node is not None
        assert sum(n.found is not None for n in result.tree) == 1
        assert result.node.text.startswith("####")
    short = await results(world, Mcts(world.verifier(EXACT), 4, depth=5))
    assert all(result.node is None and result.answer is None for result in short)


async def test_no_path_is_longer_than_the_depth() -> None:
    world = Branches(depth=6, branching=3, size=10)
    for mode in MODES:
        for result in await results(world, Mcts(world.verifier(EXACT), 40, depth=3, mode=mode)):
            assert max(len(result.tree.path(node)) for node in result.tree) == 3
            assert result.node is None


async def test_every_ended_draw_votes_with_its_value_and_visits_do_not_count() -> None:
    world = Branches(depth=2, branching=3, right_share=0.3, size=20)
    verifier = world.verifier(EXACT, noise=1.0, logit=True)
    for result in await results(world, Mcts(verifier, 30)):
        ended = [n for n in result.tree if n.found is not None]
        assert sum(vote.count for vote in result.votes) == sum(n.multiplicity for n in ended)
        weight = sum(n.multiplicity * n.scores[verifier.name].value for n in ended)
        assert sum(vote.weight for vote in result.votes) == pytest.approx(weight)


async def test_moves_end_in_one_path_and_keep_what_they_know() -> None:
    world = Branches(depth=4, branching=3, right_share=0.1, skew=0.0, size=20)
    mcts = Mcts(BestValue(world), simulations=6, actions=9, mode="moves")
    got = await results(world, mcts)
    assert [float(is_right(world, r)) for r in got] == [world.best(p) for p in world.problems()]
    for result in got:
        assert result.node is not None
        widths = [n.multiplicity for n in result.tree.path(result.node)]
        children = [sum(m.multiplicity for m in result.tree if m.parent == n.index) for n in result.tree]
        assert max(children) == 9  # a kept subtree is not drawn again
        assert all(w <= 9 for w in widths)
