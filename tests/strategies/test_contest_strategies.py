"""Knockout and Swiss as strategies: the judge's favourite is answered, roles, orders, books, budgets, silence."""

from __future__ import annotations

from typing import Any

import pytest

from thence.core.budget import Ledger
from thence.core.completion import Sampling
from thence.core.contests import JUDGE
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.search import POLICY, Result, Search, Strategy
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.methods import strategy
from thence.prompts.styles import Bare
from thence.strategies.knockout import Knockout
from thence.strategies.swiss import Swiss

ASKED = "Write a number."


def policy() -> ScriptedGenerator:
    return ScriptedGenerator(lambda cue: f"I choose\n#### {cue.seed % 50}")


def likes_large(cue: Cue) -> str:
    """Prefers the larger number, whatever the order."""
    a, b = (int(part.split("####")[1].split()[0]) for part in cue.question.split("Answer B:"))
    return f"Better: {'A' if a > b else 'B' if b > a else 'tie'}"


async def solved(
    made: Strategy, judge: ScriptedGenerator | None = None, budget: int | None = None, seed: int = 0
) -> tuple[Result, Search]:
    generators: dict[str, Any] = {POLICY: policy()}
    if judge is not None:
        generators[JUDGE] = judge
    sampling = Sampling(temperature=1.0, max_tokens=60)
    search = Search(
        Problem("p", ASKED), generators, Bare(), NumericReading(), sampling, seed=seed, ledger=Ledger(budget)
    )
    return await made.solve(search), search


@pytest.mark.parametrize("made", [Knockout(n=9), Swiss(n=8, rounds=3), Swiss(n=5, rounds=4)])
async def test_the_judges_favourite_is_the_answer(made: Strategy) -> None:
    result, search = await solved(made, ScriptedGenerator(likes_large))
    drawn = [int(n.found.value) for n in search.tree if n.found is not None]
    assert result.answer == str(max(drawn))
    assert result.votes[0].answer == result.answer
    assert "0 of them unreadable" in result.notes[0]


async def test_the_judge_is_charged_and_asked_in_both_orders() -> None:
    judge = ScriptedGenerator(likes_large)
    result, search = await solved(Knockout(n=4), judge)
    asked = [r.context.messages[-1].content for r in judge.requests]
    matches = len({n.index for n in search.tree if n.found is not None}) - 1
    assert len(asked) == 2 * matches
    assert search.ledger.total_charged.total is not None
    one, other = await solved(Knockout(n=4, orders=1), ScriptedGenerator(likes_large))
    assert one.answer == result.answer
    assert (other.ledger.total_charged.total or 0) < search.ledger.total_charged.total


async def test_a_judge_that_always_takes_the_first_cannot_decide_in_both_orders() -> None:
    judge = ScriptedGenerator(lambda cue: "Better: A")
    answers = {(await solved(Knockout(n=6), judge, seed=s))[0].answer for s in range(4)}
    assert len(answers) > 1
    result, _ = await solved(Swiss(n=6, rounds=3), judge)
    assert {v.weight for v in result.votes} <= {1.5, 2.0}  # all matches tied; one waits where the number is odd


async def test_unreadable_verdicts_are_counted_and_a_budget_ends_it_with_an_answer() -> None:
    result, _ = await solved(Knockout(n=4), ScriptedGenerator(lambda cue: "I cannot say"))
    assert "unreadable" in result.notes[0]
    assert " 0 of them" not in result.notes[0]
    assert result.answer is not None
    short, search = await solved(Knockout(n=8), ScriptedGenerator(likes_large), budget=120)
    assert search.stopped == "budget"
    assert short.answer is not None
    assert (search.ledger.total_charged.total or 0) <= 120


async def test_without_a_judge_the_policy_judges_and_names_build_both() -> None:
    result, _ = await solved(strategy("knockout(n=3)"))
    assert result.answer is not None
    assert strategy("swiss(n=4, rounds=2, orders=1)") == Swiss(n=4, rounds=2, orders=1)
    with pytest.raises(UsageError, match="1 or 2 orders"):
        await solved(Knockout(n=2, orders=3))
    with pytest.raises(UsageError, match="n is 0"):
        Knockout(n=0)
