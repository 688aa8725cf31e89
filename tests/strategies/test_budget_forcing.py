"""Budget forcing: maximum, minimum, both, with and without a marked thought, by thence and by the server. Its law:
tests/worlds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "generators"))

from drawing import Cue, said, solved
from stub import JSON, Call, Reply, Stub, chat, error

from thence import conformance, methods
from thence.core.completion import Origin, Sampling
from thence.core.errors import ModelError, UsageError
from thence.core.search import Result
from thence.core.solve import check_needs
from thence.core.tree import Kind
from thence.generators.openai import OpenAIGenerator
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


# --- the server's own switch
# -----------------------------------------------------------------------------------------


def written(thought: str, reply: str, usage: JSON | None = None, **choice: Any) -> Reply:
    """A choice whose thought came in a field of its own."""
    message = {"content": reply, "reasoning": thought}
    return Reply({"choices": [{"message": message, "finish_reason": "stop", **choice}], "usage": usage or {}})


async def thinker(call: Call) -> Reply:
    """A server that closes a thought of 60 tokens where it is told to; tokens are bytes."""
    thought = "hm" * 30
    limit = call.body.get("thinking_token_budget", call.body.get("thinking_budget_tokens"))
    return tokens(thought[:limit], "#### 15")


async def heedless(call: Call) -> Reply:
    """One that takes the field and ignores it."""
    return tokens("hm" * 200, "#### 15")


def tokens(thought: str, reply: str) -> Reply:
    ids = list(f"{thought}\n{reply}\n".encode())  # a byte for the closing tag, one for the end
    return written(thought, reply, {"prompt_tokens": 9, "completion_tokens": len(ids)}, token_ids=ids)


VLLM: tuple[JSON, ...] = ({"id": "m", "owned_by": "vllm", "max_model_len": 4096},)
HANDED = BudgetForcing(limit=20, server=True)


async def handed(stub: Stub, strategy: BudgetForcing = HANDED, **options: Any) -> Result:
    """Solved as a run does it: the server is asked what it can do, then used."""
    model = OpenAIGenerator("m", stub.url, **options)
    try:
        await model.connect(strategy.needs)
        check_needs("budget-forcing", strategy.needs, model, "openai")
        return await solved(strategy, model)
    finally:
        await model.close()


async def test_a_maximum_is_handed_to_a_server_that_has_a_switch() -> None:
    async with Stub(thinker, VLLM) as stub:
        result = await handed(stub)
        free = await handed(stub, BudgetForcing(limit=100, server=True))
    tried, asked = [call.body for call in stub.calls][:2]
    assert tried["thinking_token_budget"] == 1
    assert tried["max_tokens"] == 1
    assert asked["thinking_token_budget"] == 20
    assert asked["max_tokens"] == 200
    assert "</think>" not in asked.get("stop", ())
    assert (result.answer, result.trace, kinds(result)) == ("15", f"<think>{'hm' * 10}</think>#### 15", ["finish"])
    assert result.ledger.charged["policy"].generated == 20 + len("\n#### 15\n")
    assert free.trace == f"<think>{'hm' * 30}</think>#### 15"


async def test_a_vllm_server_without_a_reasoning_parser_is_refused_before_any_sample() -> None:
    async def refusing(call: Call) -> Reply:
        if "thinking_token_budget" in call.body:
            return error(400, "thinking_token_budget is set but reasoning_config is not configured.")
        return chat("#### 15")

    async with Stub(refusing, VLLM) as stub:
        with pytest.raises(UsageError, match=r"closes no thought by itself.*--reasoning-parser.*server=true"):
            await handed(stub)
        assert len(stub.calls) == 1


async def test_a_server_of_another_kind_is_not_taken_to_have_a_switch() -> None:
    """It would take the field and ignore it; one whose field is stated gets it under that name."""
    async with Stub(thinker) as stub:
        with pytest.raises(UsageError, match="closes no thought by itself"):
            await handed(stub)
        assert not stub.calls
        result = await handed(stub, thought_field="thinking_budget_tokens")
    assert result.answer == "15"
    (asked,) = [call.body for call in stub.calls]
    assert asked["thinking_budget_tokens"] == 20
    assert "thinking_token_budget" not in asked
    for field in ("max_tokens", ""):
        with pytest.raises(UsageError, match="limits no thought"):
            OpenAIGenerator("m", "http://127.0.0.1:1/v1", thought_field=field)


async def test_the_strategy_wins_over_a_limit_that_goes_with_every_call() -> None:
    async with Stub(thinker, VLLM) as stub:
        await handed(stub, extra_body={"thinking_token_budget": 50})
    assert stub.calls[-1].body["thinking_token_budget"] == 20


async def test_a_server_that_ignores_its_switch_is_found_out() -> None:
    """By its own count of the thought's tokens, by offsets of tokens, or by what cannot have been the reply's."""
    async with Stub(heedless, VLLM) as stub:
        with pytest.raises(ModelError, match=r"after 20 tokens \(thinking_token_budget\) and let one go on for 401"):
            await handed(stub)

        async def counting(call: Call) -> Reply:
            usage = {"completion_tokens": 90, "completion_tokens_details": {"reasoning_tokens": 80}}
            return written("hm", "#### 15" + " so" * 90, usage)

        stub.handler = counting
        with pytest.raises(ModelError, match="go on for 80 or more: it ignores the field"):
            await handed(stub)

        async def spelling(call: Call) -> Reply:
            rows = [{"token": t, "logprob": -0.5} for t in (*"<think>", *["hm"] * 70, *"</think>", "####", " 15")]
            return chat(f"<think>{'hm' * 70}</think>#### 15", logprobs={"content": rows})

        stub.handler = spelling
        with pytest.raises(ModelError, match="go on for 85 or more"):
            await handed(stub)


async def test_a_server_that_heeds_it_is_not_accused() -> None:
    """A long reply is no thought, and a server may end a thought with words of its own."""

    async def wordy(call: Call) -> Reply:
        return tokens("hm" * 10 + " I have to answer now.", "so " * 50 + "#### 15")

    async def thoughtless(call: Call) -> Reply:
        return chat("so " * 50 + "#### 15", usage={"completion_tokens": 160})

    async with Stub(wordy, VLLM) as stub:
        assert (await handed(stub)).answer == "15"
        stub.handler = thoughtless
        assert (await handed(stub)).answer == "15"


def test_what_a_server_cannot_do_is_refused() -> None:
    with pytest.raises(UsageError, match="limit=N"):
        BudgetForcing(server=True)
    with pytest.raises(UsageError, match=r"cannot be made to wait \(waits=2\)"):
        BudgetForcing(limit=20, waits=2, server=True)
    assert methods.strategy("budget-forcing(limit=20, server=true)") == HANDED
    with pytest.raises(UsageError, match="thought's limit is 0"):
        Sampling(thought_limit=0)


def test_samples_with_a_limit_are_samples_of_another_kind() -> None:
    keys = {Sampling(thought_limit=n).key() for n in (None, 20, 21)}
    assert len(keys) == 3


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
