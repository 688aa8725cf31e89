"""Analogical, step-back and self-verify: what the model reads, how often it is asked, and what that costs."""

from __future__ import annotations

import json

import pytest

from thence import methods
from thence.cli import run
from thence.core.completion import Ability, Context
from thence.core.errors import UsageError
from thence.core.problem import Message, Problem
from thence.core.protocols import AsksFirst
from thence.core.search import POLICY
from thence.core.solve import check_one_call, solve
from thence.core.tree import Kind
from thence.evals.estimate import Measured, estimate
from thence.evals.evaluate import Arm
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.recall import Analogical, SelfVerify, StepBack
from thence.strategies.greedy import Greedy
from thence.strategies.self_consistency import SelfConsistency

PROBLEM = Problem("p", "A gas is heated at constant volume from 3 to 6 bar. By which factor?")
CHAT = Problem("c", (Message("system", "Be brief."), *PROBLEM.messages))
PRINCIPLE = "Pressure is proportional to temperature."


def asked(context: Context) -> str:
    return context.messages[-1].content


@pytest.mark.parametrize("text", ["analogical", "analogical(kind=unrelated)", "step-back", "self-verify"])
def test_the_question_and_the_system_text_stay_and_nothing_special_is_needed(text: str) -> None:
    style = methods.prompt(text)
    context = style.context(CHAT)
    assert context.messages[0] == Message("system", "Be brief.")
    assert asked(context).startswith(PROBLEM.text + "\n")
    assert style.needs == frozenset()
    assert not context.reply


def test_the_control_of_analogical_differs_in_relevance_only() -> None:
    related, unrelated = (asked(Analogical(kind=k).context(PROBLEM)).split("\n") for k in ("related", "unrelated"))
    assert [a == b for a, b in zip(related, unrelated, strict=True)].count(False) == 1
    assert "3 other problems" in asked(Analogical().context(PROBLEM))
    assert "5 other problems" in asked(Analogical(k=5, kind="unrelated").context(PROBLEM))
    assert "tutorial" in asked(Analogical(tutorial=True).context(PROBLEM))
    assert "tutorial" not in asked(Analogical().context(PROBLEM))
    with pytest.raises(UsageError, match="k is 0"):
        Analogical(k=0)
    with pytest.raises(UsageError, match="kind is 'random'"):
        methods.prompt("analogical(kind=random)")


def test_the_answers_of_recalled_problems_are_not_read_as_the_answer() -> None:
    reply = "Other problems\n1. 4 + 4 is 8.\n2. 9 - 2 is 7.\nSolution\n6 / 3 = 2\n#### 2"
    found = NumericReading().extract(reply)
    assert found is not None
    assert found.value == "2"
    for style in (Analogical(), SelfVerify()):
        assert "write #### nowhere else" in asked(style.context(PROBLEM))


def two_calls(cue: Cue) -> str:
    """A model that knows the principle when asked for it, and answers by it if it is told."""
    text = cue.messages[-1].content
    if "Take a step back" in text:
        return PRINCIPLE
    return "#### 2" if PRINCIPLE in text else "#### 3"


async def test_step_back_asks_once_and_puts_what_it_was_told_before_every_sample() -> None:
    result = await solve(
        PROBLEM,
        generator=ScriptedGenerator(write=two_calls),
        strategy=SelfConsistency(n=5),
        style=StepBack(),
        reading=NumericReading(),
    )
    assert result.answer == "2"
    kinds = [n.kind for n in result.tree.nodes]
    assert kinds.count(Kind.SUBQUESTION) == 1
    aside = next(n for n in result.tree.nodes if n.kind is Kind.SUBQUESTION)
    assert aside.text == PRINCIPLE
    plain = await solve(
        PROBLEM,
        generator=ScriptedGenerator(write=two_calls),
        strategy=SelfConsistency(n=5),
        style=methods.prompt("cot"),
        reading=NumericReading(),
    )
    assert plain.answer == "3"
    mine, other = result.ledger.charged[POLICY], plain.ledger.charged[POLICY]
    assert mine.prompt is not None
    assert other.prompt is not None
    assert mine.prompt > 2 * other.prompt  # two prompts, the second longer by the principle


async def test_a_budget_that_ends_in_the_first_call_is_kept_and_the_note_says_that_nothing_was_told() -> None:
    seen: set[tuple[str | None, bool]] = set()
    for budget in (1, 40, 70, 100, 150, 400):
        result = await solve(
            PROBLEM,
            generator=ScriptedGenerator(write=two_calls),
            strategy=Greedy(),
            style=StepBack(),
            reading=NumericReading(),
            budget=budget,
        )
        total = result.ledger.total_charged.total
        assert total is not None
        assert total <= budget
        uninformed = [note for note in result.notes if "asked without it" in note]
        assert (result.answer == "2") <= (not uninformed)
        assert (result.answer == "3") <= bool(uninformed)
        seen.add((result.answer, bool(uninformed)))
    assert {("2", False), (None, True)} <= seen


def test_the_first_call_is_in_the_estimate_and_in_what_prompts_show_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, problems = ScriptedGenerator(write=two_calls), [PROBLEM]
    arms = [Arm("sc", SelfConsistency(n=5), style) for style in (methods.prompt("cot"), StepBack(tokens=9))]
    plain, told = (estimate(problems, model, arm, seeds=2, measured=Measured((1, 10), (1, 1), 1)) for arm in arms)
    assert (plain.requests, told.requests) == (10, 12)
    assert told.generated[1] - plain.generated[1] == 2 * 9
    assert told.prompt_tokens > 1.5 * plain.prompt_tokens
    assert run(["prompts", "show", "step-back", PROBLEM.text, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert "Take a step back" in shown["first"][0]["content"]
    assert "…" in shown["messages"][0]["content"]  # where the reply to the first call goes


def test_where_prompts_are_made_without_asking_a_style_of_two_calls_is_refused() -> None:
    assert isinstance(StepBack(), AsksFirst)
    with pytest.raises(UsageError, match="asks the model twice"):
        check_one_call(StepBack(), "labels")
    check_one_call(SelfVerify(), "labels")
    assert asked(StepBack().informed(PROBLEM, " \n")) == asked(StepBack().context(PROBLEM))
    assert Ability.CONTINUE not in StepBack().needs
