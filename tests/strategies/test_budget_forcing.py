"""Budget forcing: maximum, minimum, both, with and without a marked thought. Its law: tests/worlds."""

from __future__ import annotations

from typing import Any

import pytest
from drawing import Cue, said, solved

from thence import conformance
from thence.core.completion import Origin
from thence.core.errors import UsageError
from thence.core.search import Result
from thence.core.tree import Kind
from thence.generators.scripted import Choices, ScriptedGenerator
from thence.strategies.budget_forcing import BudgetForcing

LONG = " ".join(f"w{i}" for i in range(50))


def thinking(text: str, reply: str = "#### 15", answer: str = " 14") -> ScriptedGenerator:
    """Thinks ``text`` (more of it where it was begun), replies after the closing tag, answers when it is asked to."""

    def write(cue: Cue) -> str:
        if cue.reply.endswith("answer is"):
            return answer
        if cue.reply.endswith("</think>\n"):
            return reply
        if cue.reply:
            return f" {text} again</think>\n{reply}"
        return f"<think>{text}</think>\n{reply}"

    return ScriptedGenerator(write, pace=0)


def kinds(result: Result) -> list[str]:
    return [str(n.kind) for n in result.tree.path(result.node)] if result.node is not None else []


async def test_without_a_limit_or_a_wait_it_is_a_sample() -> None:
    plain = await solved(BudgetForcing(), said("It is\n#### 15"))
    assert (plain.answer, plain.trace, kinds(plain)) == ("15", "It is\n#### 15", ["finish"])
    marked = await solved(BudgetForcing(), thinking("hm hm"))
    assert (marked.answer, marked.reply) == ("15", "#### 15")
    assert marked.trace == "<think>hm hm\n</think>\n#### 15"


@pytest.mark.parametrize("limit", [1, 5, 20, 49])
async def test_a_maximum_is_kept_by_every_run(limit: int) -> None:
    """The paper's control is 100 %: no thought is longer, and every one is answered."""
    for generator, closed in ((thinking(LONG), True), (said(f"{LONG} #### 99"), False)):
        if not closed:
            generator = ScriptedGenerator(
                lambda cue: " 14" if cue.reply.endswith("answer is") else f"{LONG} #### 99", pace=0
            )
        result = await solved(BudgetForcing(limit=limit), generator)
        thought = result.tree.nodes[1]
        assert thought.completion.generated == limit
        assert result.answer == "14"
        assert kinds(result) == ["step", "forced", "finish"]
        forced = result.tree.nodes[2]
        assert forced.text == ("\n</think>\n" if closed else "") + "\nFinal Answer: The final answer is"
        assert forced.origin is Origin.FORCED
        assert forced.completion.generated is None
        charged = result.ledger.charged["policy"]
        assert charged.generated == limit + (result.node.completion.generated or 0 if result.node else 0)


async def test_a_thought_below_the_maximum_is_left_alone() -> None:
    result = await solved(BudgetForcing(limit=60), thinking("short"))
    assert (result.answer, result.trace) == ("15", "<think>short\n</think>\n#### 15")
    plain = await solved(BudgetForcing(limit=60), said("short #### 15"))
    assert plain.trace == "short #### 15"


async def test_the_end_is_dropped_as_often_as_asked() -> None:
    result = await solved(BudgetForcing(waits=2), thinking("hm"))
    assert result.trace == "<think>hm\nWait hm again\nWait hm again\n</think>\n#### 15"
    assert result.answer == "15"
    assert kinds(result) == ["step", "forced", "step", "forced", "step", "forced", "finish"]
    unmarked = await solved(
        BudgetForcing(waits=2), ScriptedGenerator(lambda cue: f"#### {14 + cue.reply.count('Wait')}", pace=0)
    )
    assert unmarked.trace == "#### 14\nWait#### 15\nWait#### 16"
    assert (unmarked.answer, kinds(unmarked)[-1]) == ("16", "finish")


async def test_the_limit_counts_all_stretches() -> None:
    """Ten tokens of thought, an end that is not a word of it, and no wait where nothing is left."""
    generator = ScriptedGenerator(
        lambda cue: " 14" if cue.reply.endswith("answer is") else " a b c d e", pace=0
    )  # five words and the end: six tokens
    result = await solved(BudgetForcing(limit=10, waits=5), generator)
    stretches = [n.completion.generated for n in result.tree if n.kind in (Kind.STEP, Kind.FINISH)][:-1]
    assert stretches == [6, 4]
    assert result.answer == "14"
    spent = await solved(BudgetForcing(limit=6, waits=5), said(" a b c d 15"))
    assert len(spent.tree) == 2
    assert spent.answer == "15"


async def test_a_model_that_loops_is_ended() -> None:
    def write(cue: Cue) -> str:
        return " 14" if cue.reply.endswith("answer is") else "Wait, " * 300

    result = await solved(BudgetForcing(limit=30, waits=3), ScriptedGenerator(write, pace=0))
    assert result.answer == "14"
    assert result.tree.nodes[1].completion.generated == 30


async def test_delimiters_in_the_answer_are_only_text() -> None:
    """A closing tag without a thought ends the stretch; it is not answered twice."""
    result = await solved(BudgetForcing(), said("see </think> #### 15"))
    assert result.trace.startswith("see ")
    assert result.answer is None or result.answer == "15"


async def test_an_answer_of_an_earlier_stretch_is_given_when_the_later_has_none() -> None:
    def write(cue: Cue) -> str:
        return " I am lost" if cue.reply else "#### 15\nand so"

    result = await solved(BudgetForcing(waits=1), ScriptedGenerator(write, pace=0))
    assert result.answer == "15"


async def test_nothing_at_all() -> None:
    result = await solved(BudgetForcing(), said(""))
    assert (result.answer, result.trace) == (None, "")


@pytest.mark.parametrize("budget", [*range(1, 80, 3), 120])
@pytest.mark.parametrize("strategy", [BudgetForcing(limit=20, waits=2), BudgetForcing(waits=2)])
async def test_a_budget_is_never_exceeded(budget: int, strategy: BudgetForcing) -> None:
    for generator in (thinking("hm hm"), said(*["#### 15"] * 4)):
        result = await solved(strategy, generator, budget=budget)
        total = result.ledger.total_charged.total
        assert total is not None
        assert total <= budget
        assert result.answer is not None or result.stopped == "budget"


def test_what_makes_no_forcing_is_refused() -> None:
    with pytest.raises(UsageError, match="limit is 0"):
        BudgetForcing(limit=0)
    with pytest.raises(UsageError, match="waits is -1"):
        BudgetForcing(waits=-1)
    with pytest.raises(UsageError, match="is empty"):
        BudgetForcing(wait="")


class Forcible(ScriptedGenerator):
    """The laws' texts, which end in an answer after any forced text."""

    def _live(self, cue: Cue) -> Any:
        live = super()._live(cue)
        if isinstance(live, list):
            return live
        (question,) = [q for q in conformance.TEXTS if any(q in m.content for m in cue.messages)]
        answers: Choices = [(f" {text.split()[-1]}\n#### {text.split()[-1]}", w) for text, w in self._texts[question]]
        return answers


@pytest.mark.parametrize(
    "strategy",
    [BudgetForcing(), BudgetForcing(limit=4), BudgetForcing(limit=25, waits=1), BudgetForcing(waits=2)],
    ids=["none", "max", "both", "min"],
)
@pytest.mark.parametrize("law", conformance.LAWS, ids=lambda law: law.__name__)
def test_it_keeps_the_laws(law: conformance.Law, strategy: BudgetForcing, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but one, which says that a text that ended is not continued: dropping the end is the method."""
    if law.__name__ == "natural_end_ends_a_path" and strategy.waits:
        pytest.skip("a dropped end")
    world = conformance._World("forcible", lambda **o: Forcible(texts=conformance.TEXTS, name="conformance", **o))
    monkeypatch.setattr(conformance, "ONE_CALL", world)
    monkeypatch.setattr(conformance._cases, "__defaults__", ((world, conformance.TWO_CALLS),))
    law(lambda: strategy)
