"""Self-refinement: its chat, its stop, its edges. Its closed forms: tests/worlds/test_revising_in_worlds.py."""

from __future__ import annotations

import pytest
from drawing import Cue, said, solved

from thence.conformance import check
from thence.core.errors import UsageError
from thence.core.review import AGAIN, IMPROVE, REVIEW
from thence.core.tree import Kind
from thence.generators.scripted import ScriptedGenerator
from thence.prompts.styles import ZeroShotCoT
from thence.strategies.self_refine import SelfRefine


def scripted(first: str, review: str, second: str) -> ScriptedGenerator:
    """One answer to the question, one to the request for a review, one to that for an improvement."""

    def write(cue: Cue) -> str:
        return review if cue.question == REVIEW else second if cue.question in (IMPROVE, AGAIN) else first

    return ScriptedGenerator(write, pace=0)


async def test_the_chat_is_the_papers() -> None:
    generator = scripted("<think>hm</think>\nIt is\n#### 14", "7 + 8 is not 14.", "#### 15")
    result = await solved(SelfRefine(1), generator)
    asked = [[(m.role, m.content) for m in r.context.messages] for r in generator.requests]
    question = ("user", "What is 7 + 8?")
    reviewed = [question, ("assistant", "It is\n#### 14"), ("user", REVIEW)]
    improved = [*reviewed, ("assistant", "7 + 8 is not 14."), ("user", IMPROVE)]
    assert asked == [[question], reviewed, improved]
    assert [n.kind for n in result.tree][1:] == [Kind.FINISH, Kind.CRITIQUE, Kind.REVISION]
    assert [n.about for n in result.tree][1:] == [(), (1,), (1,)]
    assert (result.answer, result.trace, result.reply) == ("15", "#### 15", "#### 15")


@pytest.mark.parametrize("review", ["No problems found.", "I have found no mistake.", "", "No error was found here."])
async def test_a_review_that_finds_nothing_ends_it(review: str) -> None:
    result = await solved(SelfRefine(3), scripted("#### 15", review, "#### 14"))
    assert result.answer == "15"
    assert len(result.tree) == 3


@pytest.mark.parametrize("review", ["There is no problem with the sum, but 14 is wrong.", "Wrong."])
async def test_a_review_that_finds_something_does_not(review: str) -> None:
    assert (await solved(SelfRefine(1), scripted("#### 14", review, "#### 15"))).answer == "15"


async def test_an_improvement_without_an_answer_does_not_replace_one() -> None:
    kept = await solved(SelfRefine(2, stop="never"), scripted("#### 15", "Wrong.", "I give up"))
    assert kept.answer == "15"
    found = await solved(SelfRefine(1), scripted("no idea", "Wrong.", "#### 15"))
    assert found.answer == "15"
    none = await solved(SelfRefine(1), scripted("no idea", "Wrong.", "still none"))
    assert none.answer is None
    assert none.node is not None


async def test_no_round_is_one_sample() -> None:
    generator = said("#### 15")
    result = await solved(SelfRefine(0), generator)
    assert (result.answer, len(generator.requests)) == ("15", 1)


async def test_an_answer_that_is_asked_for_is_asked_for_in_its_own_chat() -> None:
    """Zero-shot CoT reads a revision's answer by a second turn: after the revision, not after the first attempt."""

    def write(cue: Cue) -> str:
        if cue.reply.endswith("is"):
            return " 15" if cue.question == IMPROVE else " 14"
        return "Look at the carry." if cue.question == REVIEW else " so it goes."

    generator = ScriptedGenerator(write, pace=0)
    result = await solved(SelfRefine(1), generator, style=ZeroShotCoT())
    assert result.answer == "15"
    first_turn = generator.requests[2].context.messages[1].content
    assert first_turn == " Let's think step by step. so it goes."


@pytest.mark.parametrize("budget", [*range(1, 40, 3), 60, 90, 140])
async def test_a_budget_is_never_exceeded_and_an_answer_is_kept(budget: int) -> None:
    result = await solved(SelfRefine(3, stop="never"), scripted("#### 15", "Wrong.", "#### 14"), budget=budget)
    total = result.ledger.total_charged.total
    assert total is not None
    assert total <= budget
    assert result.answer is not None or result.stopped == "budget"


def test_what_makes_no_loop_is_refused() -> None:
    with pytest.raises(UsageError, match="rounds is -1"):
        SelfRefine(-1)
    with pytest.raises(UsageError, match="critique_tokens is 0"):
        SelfRefine(critique_tokens=0)


@pytest.mark.parametrize("strategy", [SelfRefine(2), SelfRefine(2, stop="never"), SelfRefine(2, critic="off")])
def test_it_keeps_all_laws(strategy: SelfRefine) -> None:
    check(lambda: strategy)
