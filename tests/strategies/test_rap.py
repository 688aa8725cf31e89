"""The bound by hand, what is refused, and the laws. Rewards and visits are tested in worlds (tests/worlds)."""

from __future__ import annotations

import math

import pytest
from drawing import said, solved

from thence import conformance
from thence.core.completion import Ability, Completion, Finish
from thence.core.errors import UsageError
from thence.core.tree import Tree
from thence.generators.scripted import ScriptedGenerator
from thence.strategies.rap import Rap, State, uct
from thence.verifiers.basic import Agreement, LogProb


def state(reward: float, best: float, visits: int, luck: int = 0) -> State:
    tree = Tree()
    node = tree.add(tree.root, Completion("x", Finish.STEP), (0,))
    return State(node, (reward,), luck=luck, visits=visits, best=best)


def test_uct_weighs_the_best_mean_reward_and_rare_visits() -> None:
    """ln 4 = 1.386: with w = 1 that is .9 + .680 for three visits, .5 + 1.177 for one and .45 + 1.177 for none."""
    often, once, never = state(0.2, 0.9, 3), state(0.3, 0.5, 1), state(0.45, -math.inf, 0)
    parent = State(often.node, visits=4, children=[often, once, never])
    assert often.q == 0.9
    assert never.q == 0.45
    assert uct(parent, 1.0) is once
    assert uct(parent, 0.0) is often
    assert uct(parent, 0.5) is often


def test_equal_children_are_decided_by_seed() -> None:
    parent = State(state(0, 0, 0).node, visits=2, children=[state(0.5, 0.5, 1, 3), state(0.5, 0.5, 1, 8)])
    assert uct(parent, 1.0).luck == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"iterations": 0}, "iterations is 0"),
        ({"actions": 0}, "actions is 0"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"w": -1.0}, "w is -1.0"),
        ({"w": float("inf")}, "w is inf"),
        ({"depth": 0}, "depth is 0"),
    ],
)
def test_what_makes_no_plan_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Rap(LogProb(), **arguments)  # type: ignore[arg-type]


def test_log_probabilities_are_needed_unless_they_count_nothing() -> None:
    assert Ability.LOGPROBS in Rap(Agreement()).needs
    assert Rap(Agreement(), alpha=1.0).needs == frozenset({Ability.CONTINUE})


async def test_a_known_end_is_visited_without_drawing() -> None:
    result = await solved(Rap(LogProb(), iterations=8, actions=3), said("#### 1", "#### 2", "#### 1"))
    assert result.answer in ("1", "2")
    assert sum(n.multiplicity for n in result.tree) == 1 + 3


async def test_no_path_is_longer_than_the_depth_and_none_ends() -> None:
    generator = ScriptedGenerator(lambda cue: f"and {cue.seed % 5}\n", pace=0)
    result = await solved(Rap(LogProb(), iterations=4, actions=2, depth=3), generator)
    assert result.answer is None
    assert max(len(result.tree.path(n)) for n in result.tree) == 3


@pytest.mark.parametrize("select", ["max", "vote"])
def test_it_keeps_all_laws(select: str) -> None:
    conformance.check(lambda: Rap(LogProb(), 5, 2, select=select))  # type: ignore[arg-type]
    conformance.check(lambda: Rap(Agreement(), 5, 2, alpha=1.0, select=select))  # type: ignore[arg-type]
