"""In which order states are expanded, on a tree drawn by hand, and what the search refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from thence.conformance import check
from thence.core.completion import Ability, Sampling
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.scores import Meaning, Score
from thence.core.search import Result, Search
from thence.core.solve import solve
from thence.core.tree import Node
from thence.prompts.styles import Bare
from thence.strategies.best_first import BestFirst
from thence.verifiers.basic import Agreement, LogProb
from thence.worlds import Branches

Order = Literal["best", "depth", "breadth"]
ORDERS: tuple[Order, ...] = ("best", "depth", "breadth")
WORLD = Branches(depth=3, branching=2, right_share=0.5, skew=0.0, size=1)


@dataclass(frozen=True, slots=True)
class Listed:
    """Values by path: ``{"01": .5}`` is the state after ``take 0.`` and ``take 1.``; others have .1."""

    values: Mapping[str, float]
    name: str = "listed"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        return [Score(self.values.get(way(search.tree.solution(n)), 0.1)) for n in nodes]


def way(text: str) -> str:
    return "".join(line[5] for line in text.splitlines() if line.startswith("take"))


async def run(strategy: BestFirst, world: Branches = WORLD, problem: Problem | None = None, **more: Any) -> Result:
    return await solve(
        problem or next(iter(world.problems())),
        generator=world.generator(pace=0),
        strategy=strategy,
        style=Bare(),
        reading=world.task().reading,
        sampling=Sampling(temperature=1.0),
        **more,
    )


def expanded(result: Result) -> list[str]:
    """The paths that have children, in the order in which they were expanded."""
    parents = dict.fromkeys(n.parent for n in result.tree if n.parent is not None)
    return [way(result.tree.solution(result.tree.nodes[p])) for p in parents]


VALUES = {"0": 0.6, "1": 0.5, "00": 0.3, "01": 0.4, "10": 0.55, "11": 0.2, "000": 0.35, "100": 0.45}


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        ({"order": "best", "expansions": 6}, ["", "0", "1", "10", "100", "01"]),
        ({"order": "depth", "expansions": 5}, ["", "0", "01", "010", "011"]),
        ({"order": "depth", "expansions": 9, "threshold": 0.35}, ["", "0", "01", "1", "10", "100"]),
        ({"order": "breadth", "expansions": 5, "keep": 2}, ["", "0", "1", "10", "01"]),
        ({"order": "breadth", "expansions": 4, "keep": 2}, ["", "0", "1", "10"]),
        ({"order": "breadth", "expansions": 4, "keep": 1}, ["", "0", "01"]),
        ({"order": "best", "expansions": 1}, [""]),
        ({"order": "best", "expansions": 9, "depth": 1}, [""]),
    ],
)
async def test_what_is_expanded(arguments: dict[str, object], order: list[str]) -> None:
    """Ten draws of two actions miss neither. Below a leaf (three steps) the answer is drawn."""
    result = await run(BestFirst(Listed(VALUES), actions=10, **arguments))  # type: ignore[arg-type]
    got = expanded(result)
    if order[-1] == "011":  # 010 and 011 are equal: which is first is the seed's
        assert got[:3] == order[:3]
        assert set(got[3:]) == {"010", "011"}
    else:
        assert got[: len(order)] == order  # what follows is the continued path, if none had ended
    draws = [sum(m.multiplicity for m in result.tree if m.parent == n.index) for n in result.tree]
    assert sum(d >= 10 for d in draws) <= int(str(arguments["expansions"]))
    if "depth" in arguments:
        assert got == order
        assert result.node is None


async def test_a_search_without_an_end_continues_its_best_state() -> None:
    result = await run(BestFirst(Listed(VALUES), actions=10, expansions=3))
    assert way(result.trace)[:2] == "10"  # the largest value of all that were not expanded
    assert result.answer is not None
    pruned = await run(BestFirst(Listed(VALUES), actions=10, order="depth", threshold=0.9))
    assert expanded(pruned)[0] == ""
    assert way(pruned.trace)[0] == "0"
    assert pruned.answer is not None


@pytest.mark.parametrize("order", ORDERS)
async def test_with_exact_values_it_finds_what_can_be_found(order: Order) -> None:
    world = Branches(depth=3, branching=3, right_share=0.05, skew=0.0, size=30)
    verifier = world.verifier(Meaning.VALUE)
    found = [await run(BestFirst(verifier, actions=14, order=order), world, p) for p in world.problems()]
    possible = [world.best(p) for p in world.problems()]
    assert 0.3 < sum(possible) / 30 < 0.99
    right = [float(r.answer == world.right(world.number(p))) for r, p in zip(found, world.problems(), strict=True)]
    assert right == possible


@pytest.mark.parametrize("budget", [1, 15, 40, 90, 200])
async def test_a_budget_is_never_exceeded(budget: int) -> None:
    for order in ORDERS:
        strategy = BestFirst(WORLD.verifier(Meaning.VALUE), expansions=8, order=order)
        result = await run(strategy, budget=budget)
        total = result.ledger.total_charged.total
        assert total is not None
        assert total <= budget
        assert result.answer is not None or result.stopped == "budget"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"expansions": 0}, "expansions is 0"),
        ({"actions": 0}, "actions is 0"),
        ({"keep": 0}, "keep is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"step_tokens": 0}, "step_tokens is 0"),
        ({"threshold": 0.5}, "threshold is for order=depth"),
    ],
)
def test_what_makes_no_search_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BestFirst(LogProb(), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("verifier", [LogProb(), Agreement()], ids=["logprob", "agreement"])
@pytest.mark.parametrize("order", ORDERS)
def test_it_keeps_all_laws(order: Order, verifier: LogProb | Agreement) -> None:
    check(lambda: BestFirst(verifier, expansions=6, actions=2, order=order))
