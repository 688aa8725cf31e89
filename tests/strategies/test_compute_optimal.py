"""Compute-optimal: how ease is judged, who is asked, and that probes are paid once. What it gains: tests/worlds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from drawing import answering, drawing, solved

from thence import methods
from thence.conformance import check
from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.scores import Score
from thence.core.search import Search
from thence.core.tree import Node
from thence.strategies.beam import Beam
from thence.strategies.best_of_n import BestOfN
from thence.strategies.compute_optimal import ComputeOptimal, agreement
from thence.strategies.greedy import Greedy
from thence.strategies.self_consistency import SelfConsistency
from thence.strategies.self_refine import SelfRefine
from thence.verifiers.basic import Agreement, LogProb


@dataclass(frozen=True, slots=True)
class Likes:
    """1 for one answer, ``rest`` for others."""

    answer: str
    rest: float = 0.0
    name: str = "likes"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        return [Score(1.0 if n.text.endswith(f" {self.answer}") else self.rest) for n in nodes]


@pytest.mark.parametrize(
    ("counts", "drawn", "ease"),
    [
        ([4], 4, 1.0),
        ([1, 1, 1, 1], 4, 0.0),
        ([2, 2], 4, 0.5),
        ([3, 1], 4, 1 + (0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)),
        ([2], 4, 0.25),  # two samples without an answer
        ([], 4, 0.0),
        ([], 0, 0.0),
        ([1], 1, 0.0),
    ],
)
def test_agreement_by_hand(counts: list[int], drawn: int, ease: float) -> None:
    assert agreement(counts, drawn) == pytest.approx(ease)


@pytest.mark.parametrize(
    ("answers", "kind", "answer", "drawn"),
    [
        ([15] * 4 + [14] * 4, "easy", "15", 4),
        ([15, 15, 15, 14] + [14] * 4, "medium", "14", 8),
        ([15, 14, 13, 12] + [14] * 4, "hard", "12", 8),
        ([None] * 4 + [14] * 4, "hard", "14", 8),
    ],
)
async def test_the_default_table(answers: list[object], kind: str, answer: str, drawn: int) -> None:
    result = await solved(ComputeOptimal(Likes("12", 0.01), samples=8), answering(*answers))
    assert result.notes[0].endswith(kind)
    assert result.answer == answer
    assert sum(n.multiplicity for n in result.tree) - 1 == drawn
    without = await solved(ComputeOptimal(samples=8), answering(*answers))
    assert without.answer == ("14" if kind == "hard" else answer)


async def test_other_strategies_of_the_table_start_with_the_probes() -> None:
    """They get them free: the tree and the books are those of the strategy alone."""
    answers = [15, 14, 13, 12, 15, 15]
    for inner in (SelfConsistency(6), BestOfN(LogProb(), 6)):
        table = ComputeOptimal(hard=inner, easy=Greedy(), medium=Greedy())
        alone, handed = await solved(inner, answering(*answers)), await solved(table, answering(*answers))
        assert handed.record() | {"notes": []} == alone.record()
        assert handed.notes == ("ease 0.000: hard",)
    fewer = await solved(ComputeOptimal(hard=SelfConsistency(2)), answering(*answers))
    assert sum(n.multiplicity for n in fewer.tree) - 1 == 4


async def test_an_easy_question_may_be_handed_over_too() -> None:
    result = await solved(ComputeOptimal(easy=SelfRefine(0)), answering(15, 15, 15, 15))
    assert result.answer == "15"
    assert len(result.notes) == 1


@pytest.mark.parametrize(("by", "kind"), [("verifier", "hard"), ("both", "medium"), ("agreement", "easy")])
async def test_ease_by_a_verifier(by: str, kind: str) -> None:
    strategy = ComputeOptimal(Likes("12", 0.2), by=by, samples=4)  # type: ignore[arg-type]
    result = await solved(strategy, answering(15, 15, 15, 15))
    assert result.notes[0].endswith(kind)


@pytest.mark.parametrize("budget", range(1, 60, 2))
async def test_a_budget_is_never_exceeded(budget: int) -> None:
    strategy = ComputeOptimal(LogProb(), samples=8, medium=SelfConsistency(6))
    result = await solved(strategy, drawing({"15": 0.5, "14": 0.5}), budget=budget)
    total = result.ledger.total_charged.total
    assert total is not None
    assert total <= budget
    assert result.answer is not None or result.stopped == "budget"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probes": 1}, "probes is 1"),
        ({"samples": 3}, "samples is 3"),
        ({"easy_from": 1.5}, "easy_from is 1.5"),
        ({"easy_from": 0.3}, "above easy_from"),
        ({"by": "verifier"}, "needs verifier"),
    ],
)
def test_what_makes_no_table_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ComputeOptimal(**arguments)  # type: ignore[arg-type]


def test_the_table_is_written_as_text() -> None:
    from thence.core.search import Strategy

    assert methods.convert("self-consistency(n=4)", Strategy, "medium") == SelfConsistency(4)
    built = methods.build(ComputeOptimal, methods.one('x(hard="beam(n=4,width=2,verifier=logprob)",easy=none)', "x"))
    assert built == ComputeOptimal(hard=Beam(LogProb(), n=4, width=2))
    assert Ability.CONTINUE in built.needs


@pytest.mark.parametrize(
    "strategy",
    [
        ComputeOptimal(LogProb(), probes=2, samples=6),
        ComputeOptimal(Agreement(), probes=3, samples=6, by="both"),
        ComputeOptimal(probes=2, easy=SelfConsistency(3), medium=SelfRefine(1), hard=Beam(LogProb(), n=4, width=2)),
    ],
    ids=["default", "both", "table"],
)
def test_it_keeps_all_laws(strategy: ComputeOptimal) -> None:
    check(lambda: strategy)
