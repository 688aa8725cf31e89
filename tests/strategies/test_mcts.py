"""Which child PUCT takes, hand-computed, and what the search refuses. Its laws are tested in tests/worlds."""

from __future__ import annotations

import math

import pytest

from thence.conformance import check
from thence.core.completion import Completion, Finish
from thence.core.errors import UsageError
from thence.core.tree import Tree
from thence.strategies.mcts import Mcts, State, most_visited, puct
from thence.verifiers.basic import Agreement, LogProb


def state(value: float, prior: float = 1.0, visits: int = 0, luck: int = 0) -> State:
    node = Tree().add(Tree().root, Completion.of("a step\n", Finish.STEP), (0,))
    return State(node, value=value, prior=prior, visits=visits, returned=visits, total=value * visits, luck=luck)


def parent(*children: State) -> State:
    above = state(0.0)
    above.children = list(children)
    return above


@pytest.mark.parametrize(("c", "taken"), [(0.0, 0), (0.39, 0), (0.41, 1), (5.0, 1)])
def test_the_formula(c: float, taken: int) -> None:
    """Nine visits. Bonuses per c: sqrt(9) .5 / 6 = .25 for the first, sqrt(9) .5 / 4 = .375 for the second, which makes
    up for the .05 in value from c = .4 on."""
    above = parent(state(0.8, 0.5, 5), state(0.75, 0.5, 3), state(0.0, 1e-9, 1))
    assert above.children.index(puct(above, c)) == taken


def test_the_growing_rate_is_the_papers() -> None:
    """With c = 0 a rate of ln((N + 19653) / 19652) is left: it decides between equal values and nothing larger."""
    rate = math.log((9 + 19653) / 19652) * 3 * 0.5 * (1 / 2 - 1 / 9)
    assert 2e-4 < rate < 3e-4
    close = parent(state(0.5 + rate * 0.9, 0.5, 8), state(0.5, 0.5, 1))
    clear = parent(state(0.5 + rate * 1.1, 0.5, 8), state(0.5, 0.5, 1))
    assert puct(close, 0.0) is close.children[1]
    assert puct(clear, 0.0) is clear.children[0]


def test_equal_children_are_decided_by_prior_and_then_by_seed() -> None:
    by_prior = parent(state(0.5, 0.3, luck=9), state(0.5, 0.7, luck=1))
    assert puct(by_prior, 1.25) is by_prior.children[1]
    by_seed = parent(state(0.5, 0.5, luck=9), state(0.5, 0.5, luck=1))
    assert puct(by_seed, 1.25) is by_seed.children[0]
    assert most_visited([state(0.9, visits=2, luck=1), state(0.1, visits=2, luck=2)]).value == 0.1


def test_an_unvisited_child_has_the_verifiers_value() -> None:
    fresh = state(0.6)
    assert fresh.q == 0.6
    fresh.visits = 3  # under way
    assert fresh.q == 0.6
    fresh.returned, fresh.total = 2, 0.4
    assert fresh.q == 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"simulations": 0}, "simulations is 0"),
        ({"actions": 0}, "actions is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"wave": 0}, "wave is 0"),
        ({"step_tokens": 0}, "step_tokens is 0"),
        ({"c": -1.0}, "c is -1.0"),
        ({"c": math.inf}, "c is inf"),
    ],
)
def test_what_makes_no_search_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Mcts(LogProb(), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("verifier", [LogProb(), Agreement()], ids=["logprob", "agreement"])
@pytest.mark.parametrize("arguments", [{}, {"mode": "moves"}, {"wave": 4}], ids=["plain", "moves", "wave"])
def test_it_keeps_all_laws(arguments: dict[str, object], verifier: LogProb | Agreement) -> None:
    check(lambda: Mcts(verifier, simulations=6, actions=2, **arguments))  # type: ignore[arg-type]
