"""Universal self-consistency: what is shown and read, orders of the responses, context, budget, controls."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from drawing import PROBLEM, QUESTION

from thence.core.budget import Ledger
from thence.core.completion import Failure, Sampling
from thence.core.contests import JUDGE
from thence.core.errors import CallFailed, UsageError
from thence.core.search import POLICY, Result, Search
from thence.core.tree import Kind
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.methods import strategy
from thence.prompts.styles import Bare
from thence.strategies.universal import OrderEffect, UniversalSelfConsistency, arrangements, order_effect, said_response

SAY = "The most consistent response is Response {}."


def policy(*texts: str) -> ScriptedGenerator:
    return ScriptedGenerator(lambda cue: texts[cue.draw or 0], pace=0)


def numbers(*answers: object) -> ScriptedGenerator:
    return policy(*(f"I count {a}.\n#### {a}" if a is not None else f"no idea {i}" for i, a in enumerate(answers)))


def always(place: int) -> ScriptedGenerator:
    return ScriptedGenerator(lambda cue: SAY.format(place), pace=0)


def wants(text: str) -> ScriptedGenerator:
    """Names the first response that contains ``text``, in whatever place it stands."""

    def write(cue: Cue) -> str:
        parts = cue.question.split("\n\nResponse ")[1:]
        return SAY.format(next(part.split(":")[0] for part in parts if text in part))

    return ScriptedGenerator(write, pace=0)


async def solved(
    made: UniversalSelfConsistency,
    drawn: ScriptedGenerator,
    judge: ScriptedGenerator | None = None,
    *,
    budget: int | None = None,
    seed: int = 0,
) -> Result:
    generators: dict[str, Any] = {POLICY: drawn} | ({JUDGE: judge} if judge is not None else {})
    sampling = Sampling(temperature=1.0, max_tokens=80)
    search = Search(PROBLEM, generators, Bare(), NumericReading(), sampling, seed=seed, ledger=Ledger(budget))
    return await made.solve(search)


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("The most consistent response is Response 3.", 3),
        ("the most consistent response is **Response 12**, because Response 4 differs", 12),
        ("The most consistent response is: Response #2\nThe most consistent response is Response 2.", 2),
        ("The most consistent response is Response 13.", None),
        ("The most consistent response is Response 0.", None),
        ("The most consistent response is Response 1. No: the most consistent response is Response 2.", None),
        ("The most consistent response is Response 1 or 2.", None),
        ("The most consistent response is Response 1, 2 and 3.", None),
        ("The most consistent response is Response 1 and Response 2.", None),
        ("The most consistent response is Response X.", None),
        ("The most consistent response is Response 1.5", None),
        ("Response 3", None),
        ("3", None),
        ("", None),
    ],
)
def test_only_one_named_response_that_exists_is_read(reply: str, number: int | None) -> None:
    assert said_response(reply, 12) == number


def test_a_number_at_the_end_of_a_cut_reply_may_be_incomplete() -> None:
    assert said_response("The most consistent response is Response 1", 12, cut=True) is None
    assert said_response("The most consistent response is Response 1, since", 12, cut=True) == 1


def test_with_as_many_orders_as_responses_each_stands_once_in_every_place() -> None:
    for count in (2, 5, 8):
        orders = arrangements(count, count)
        assert orders[0] == list(range(count))
        assert all(sorted(order) == list(range(count)) for order in orders)
        assert all(sorted(order[i] for order in orders) == list(range(count)) for i in range(count))
    assert arrangements(8, 2) == [[0, 1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 0, 1, 2, 3]]
    assert len(arrangements(3, 9)) == 3


async def test_the_judge_sees_the_question_and_every_sample_once_per_draw() -> None:
    judge = wants("count 15")
    result = await solved(UniversalSelfConsistency(4), numbers(14, 15, 15, 16), judge)
    assert result.answer == "15"
    assert result.confidence == 0.5
    [request] = judge.requests
    shown = request.context.messages[-1].content
    assert f"Question:\n{QUESTION}" in shown
    assert shown.count("count 15") == 2  # equal texts are not one: that most agree must be visible
    assert "Response 4:\nI count 16." in shown
    assert request.sampling.temperature == 0
    assert result.notes[0] == "4 responses in 1 order, 0 replies unreadable"


async def test_the_model_may_overrule_the_majority_and_what_it_costs_is_charged() -> None:
    judge = wants("count 16")
    result = await solved(UniversalSelfConsistency(4), numbers(15, 15, 15, 16), judge)
    assert result.answer == "16"
    assert [(v.answer, v.count, v.weight) for v in result.votes] == [("16", 1, 1.0), ("15", 3, 0.0)]
    control = await solved(UniversalSelfConsistency(4, choose="random"), numbers(15, 15, 15, 16), judge)
    assert len(judge.requests) == 1
    assert (control.ledger.total_charged.total or 0) < (result.ledger.total_charged.total or 0)


async def test_free_text_needs_no_answer() -> None:
    poems = policy("a rose is red", "a rose is a rose", "the sea is wide")
    result = await solved(UniversalSelfConsistency(3, orders=3), poems, wants("sea"))
    assert result.trace == "the sea is wide"
    assert result.answer is None
    assert result.notes[1].startswith("3 of 3 readable replies name this answer; places named: 3, 2, 1")


async def test_places_are_named_so_that_order_effects_show() -> None:
    drawn = numbers(14, 15, 15, 16)
    biased = await solved(UniversalSelfConsistency(4, orders=4), drawn, always(1))
    assert biased.notes[1].startswith("2 of 4 readable replies name this answer; places named: 1, 1, 1, 1; ")
    assert order_effect(biased.notes) == OrderEffect(readable=4, agreeing=2, first=4, last=1, blind=1.5)
    assert biased.answer == "15"  # every response was named once: a plain vote is left
    fair = await solved(UniversalSelfConsistency(4, orders=4), numbers(14, 15, 15, 16), wants("16"))
    assert fair.notes[1].startswith("4 of 4 readable replies name this answer; places named: 4, 3, 2, 1; ")
    assert order_effect(fair.notes) == OrderEffect(readable=4, agreeing=4, first=1, last=1, blind=1.0)
    assert order_effect(("not asked",)) is None
    assert (await solved(UniversalSelfConsistency(4), drawn, always(1))).answer == "14"


async def test_orders_that_disagree_are_decided_by_seed() -> None:
    made = UniversalSelfConsistency(2, orders=2)
    got = Counter([(await solved(made, numbers(14, 15), always(1), seed=s)).answer for s in range(40)])
    assert set(got) == {"14", "15"}
    assert min(got.values()) >= 8


async def test_unreadable_replies_leave_a_majority_vote_and_are_counted() -> None:
    mute = ScriptedGenerator(lambda cue: "I cannot decide.", pace=0)
    result = await solved(UniversalSelfConsistency(4, orders=2), numbers(14, 15, 15, 16), mute)
    assert result.answer == "15"
    assert result.confidence == 0.5
    assert result.notes == ("4 responses in 2 orders, 2 replies unreadable", "the majority answers")
    free = await solved(UniversalSelfConsistency(2), policy("a rose", "the sea"), mute)
    assert free.trace == "a rose"
    half = ScriptedGenerator(lambda cue: SAY.format(4) if "Response 1:\nI count 14" in cue.question else "?", pace=0)
    result = await solved(UniversalSelfConsistency(4, orders=2), numbers(14, 15, 15, 16), half)
    assert result.answer == "16"
    assert "1 replies unreadable" in result.notes[0]


@pytest.mark.parametrize(
    "texts", [["#### 15"], ["#### 15"] * 3, ["so 15\n#### 15", "15\n#### 15"], ["a", "#### 3"], ["a"]]
)
async def test_with_one_candidate_nothing_is_asked(texts: list[str]) -> None:
    judge = always(1)
    result = await solved(UniversalSelfConsistency(len(texts)), policy(*texts), judge)
    assert judge.requests == []
    assert result.notes == ("nothing to choose from: not asked",)
    assert result.trace == (texts[0] if len(texts) != 2 or texts[0] != "a" else "#### 3")


async def test_no_text_at_all_gives_no_answer() -> None:
    result = await solved(UniversalSelfConsistency(2), policy(" ", " "), always(1))
    assert (result.answer, result.node) == (None, None)


LONG = "so " * 60


async def test_what_does_not_fit_alone_goes_first_then_the_last_drawn() -> None:
    texts = ["#### 14", f"{LONG}\n#### 16", "#### 15", "#### 15", "#### 17"]
    judge = ScriptedGenerator(lambda cue: SAY.format(2), pace=0)
    full = await solved(UniversalSelfConsistency(5), policy(*texts), judge)
    whole = len(judge.tokens(judge.requests[0].context))
    assert full.answer == "16"
    tight = ScriptedGenerator(lambda cue: SAY.format(2), pace=0, max_context=whole - 64 + 32 - 1)
    result = await solved(UniversalSelfConsistency(5), policy(*texts), tight)
    shown = tight.requests[0].context.messages[-1].content
    assert "so so" not in shown
    assert "#### 17" not in shown
    assert shown.count("#### 15") == 2
    assert result.answer == "15"
    assert result.notes[0] == "2 responses left out: with them the prompt is longer than the judge's context"
    none = ScriptedGenerator(lambda cue: SAY.format(2), pace=0, max_context=40)
    result = await solved(UniversalSelfConsistency(5), policy(*texts), none)
    assert none.requests == []
    assert result.answer == "15"
    assert result.notes[1:] == ("not asked: fewer than two responses fit", "the majority answers")


async def test_where_tokens_cannot_be_counted_a_prompt_that_is_too_long_is_halved() -> None:
    def fail(cue: Cue) -> Failure | None:
        many = cue.question.count("Response ") > 5  # two of them in the instruction
        return Failure("context_length", "at most 3 responses here") if many else None

    judge = ScriptedGenerator(lambda cue: SAY.format(2), pace=0, fail=fail)
    result = await solved(UniversalSelfConsistency(5), numbers(14, 16, 15, 15, 17), judge)
    assert result.answer == "16"
    assert result.notes[0].startswith("3 responses left out")
    down = ScriptedGenerator(lambda cue: "", pace=0, fail=lambda cue: Failure("refused", "the judge is down"))
    with pytest.raises(CallFailed, match="the judge is down"):
        await solved(UniversalSelfConsistency(3), numbers(14, 15, 16), down)


@pytest.mark.parametrize("budget", [30, 60, 100, 160, 240, 400])
async def test_a_budget_is_kept_and_ends_with_an_answer(budget: int) -> None:
    result = await solved(UniversalSelfConsistency(4, orders=4), numbers(14, 15, 15, 15), always(1), budget=budget)
    assert (result.ledger.total_charged.total or 0) <= budget
    assert result.answer in ("14", "15")


async def test_without_a_judge_the_policy_is_asked_beside_the_tree() -> None:
    def write(cue: Cue) -> str:
        return SAY.format(1) if "responses to it" in cue.question else f"#### {14 + (cue.draw or 0) % 2}"

    own = ScriptedGenerator(write, pace=0)
    result = await solved(UniversalSelfConsistency(4), own)
    assert result.answer == "14"
    assert [node.kind for node in result.tree].count(Kind.CRITIQUE) == 1
    assert strategy("universal-self-consistency(n=4, orders=2, choose=random)") == UniversalSelfConsistency(
        4, 2, "random"
    )


async def test_the_control_takes_every_sample_equally_often() -> None:
    made = UniversalSelfConsistency(3, choose="random")
    got = Counter([(await solved(made, numbers(14, 15, 16), seed=s)).answer for s in range(150)])
    assert set(got) == {"14", "15", "16"}
    assert min(got.values()) >= 50 - 4 * 5.8


@pytest.mark.parametrize("wrong", [{"n": 0}, {"orders": 0}, {"max_tokens": 0}])
def test_impossible_counts_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="universal-self-consistency"):
        UniversalSelfConsistency(**wrong)
