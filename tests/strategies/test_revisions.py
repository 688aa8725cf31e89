"""Revision chains: what a revision sees, how the choice is made, and the edges. Laws of chains: tests/worlds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pytest
from drawing import Cue, solved

from thence.conformance import check
from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.review import AGAIN
from thence.core.scores import Score
from thence.core.search import Search
from thence.core.tree import Kind, Node
from thence.generators.scripted import ScriptedGenerator
from thence.strategies.revisions import Revisions
from thence.verifiers.basic import Agreement, LogProb


@dataclass(frozen=True, slots=True)
class Prices:
    """What an answer is worth."""

    worth: dict[str, float]
    name: str = "prices"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        return [Score(self.worth.get(n.text.rpartition(" ")[2], 0.0)) for n in nodes]


def chains(*answers: Sequence[object]) -> ScriptedGenerator:
    """Chain i's attempts in order: told apart by the first attempt in the chat, or by the draw."""
    lines = [
        [f"#### {a}" if a is not None else f"no idea {'abc'[i]}" for a in chain] for i, chain in enumerate(answers)
    ]

    def write(cue: Cue) -> str:
        said = [m.content for m in cue.messages if m.role == "assistant"]
        if not said:
            return lines[cue.draw or 0][0]
        chain = next(c for c in lines if c[0] == said[0])
        return chain[len(said)]

    return ScriptedGenerator(write, pace=0)


async def test_a_revision_sees_the_last_attempts_and_no_more() -> None:
    def write(cue: Cue) -> str:
        said = [m.content for m in cue.messages if m.role == "assistant"]
        return f"<think>t</think>\n#### {10 + (int(said[-1].split()[-1]) - 9 if said else 0)}"

    generator = ScriptedGenerator(write, pace=0)
    result = await solved(Revisions(chains=1, length=6, window=2), generator)
    seen = [[m.content for m in r.context.messages if m.role == "assistant"] for r in generator.requests]
    one = [f"#### {10 + k}" for k in range(6)]
    assert seen == [[], one[:1], one[:2], one[1:3], one[2:4], one[3:5]]
    assert [m.content for m in generator.requests[1].context.messages][-1] == AGAIN
    assert [n.kind for n in result.tree][1:] == [Kind.FINISH] + [Kind.REVISION] * 5
    assert [n.about for n in result.tree][1:] == [(), (1,), (2,), (3,), (4,), (5,)]


TABLE = ((1, 2, 2), (3, 1, 1), (4, 4, 2))


@pytest.mark.parametrize(
    ("choose", "select", "worth", "answer"),
    [
        ("hierarchical", "vote", None, {"1", "2", "4"}),  # 2, 1 and 4: a tie
        ("flat", "vote", None, {"1", "2"}),  # three each
        ("hierarchical", "max", {"3": 0.9, "2": 0.5}, {"3"}),
        ("hierarchical", "vote", {"3": 0.9, "1": 0.5, "2": 0.4, "4": 0.1}, {"2"}),  # 2 at .4, 1 at .5, 2 at .4
        ("flat", "vote", {"3": 0.9, "1": 0.5, "2": 0.4, "4": 0.1}, {"1"}),  # 1: 1.5, 2: 1.2
        ("flat", "max", {"3": 0.9, "2": 0.5}, {"3"}),
    ],
)
async def test_the_best_of_each_chain_then_the_best_of_those(
    choose: Literal["hierarchical", "flat"],
    select: Literal["max", "vote"],
    worth: dict[str, float] | None,
    answer: set[str],
) -> None:
    verifier = Prices(worth) if worth is not None else None
    strategy = Revisions(3, 3, verifier=verifier, select=select, choose=choose)
    found = {(await solved(strategy, chains(*TABLE), seed=s)).answer for s in range(12)}
    assert found <= answer
    assert len(found) == len(answer)


async def test_the_last_attempt_is_never_simply_taken() -> None:
    result = await solved(Revisions(1, 4, choose="flat"), chains((15, 15, 15, 16)))
    assert (result.answer, result.confidence) == ("15", 0.75)
    assert (await solved(Revisions(1, 4), chains((15, 15, 15, 16)))).answer == "15"


async def test_a_chain_of_one_is_plain_sampling() -> None:
    result = await solved(Revisions(3, 1), chains((15,), (15,), (14,)))
    assert result.answer == "15"
    assert result.confidence == pytest.approx(2 / 3)
    assert len(result.tree) == 4 - 1  # equal first attempts are one node


async def test_chains_without_an_answer_count() -> None:
    result = await solved(Revisions(3, 2), chains((None, None), (15, None), (None, None)))
    assert result.answer == "15"
    assert result.confidence == pytest.approx(1 / 3)
    nothing = await solved(Revisions(2, 2), chains((None, None), (None, None)))
    assert (nothing.answer, nothing.confidence) == (None, 0.0)


@pytest.mark.parametrize("budget", [*range(1, 60, 4), 100, 200])
async def test_a_budget_is_never_exceeded(budget: int) -> None:
    result = await solved(Revisions(3, 3, verifier=LogProb()), chains(*TABLE), budget=budget)
    total = result.ledger.total_charged.total
    assert total is not None
    assert total <= budget
    assert result.answer is not None or result.stopped == "budget"


@pytest.mark.parametrize("wrong", [{"chains": 0}, {"length": 0}, {"window": 0}])
def test_what_makes_no_chain_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(wrong))} is 0"):
        Revisions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "strategy",
    [Revisions(2, 3), Revisions(2, 3, verifier=LogProb()), Revisions(3, 2, verifier=Agreement(), choose="flat")],
    ids=["majority", "verifier", "flat"],
)
def test_it_keeps_all_laws(strategy: Revisions) -> None:
    check(lambda: strategy)
