"""Thinking per run and per question: what a model is told, what ``auto`` decides, what it costs, what is noticed."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from thence.core.completion import Ability, Completion, Context, Finish, Sampling, Think
from thence.core.errors import UsageError
from thence.core.problem import Message, Problem
from thence.core.protocols import PromptStyle
from thence.core.result import Result
from thence.core.solve import solve
from thence.core.think import AGREE, SHORT_REPLIES, SHORT_TOKENS, ready, summary, think_fields, with_think
from thence.core.tree import Kind
from thence.generators.pool import PoolGenerator
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare, ZeroShotCoT
from thence.strategies.budget_forcing import BudgetForcing
from thence.strategies.self_consistency import SelfConsistency
from thence.strategies.self_refine import SelfRefine

PROBLEM = Problem("p", "What is 7 + 8?")
VOTE = SelfConsistency(n=3)


async def solved(
    generator: ScriptedGenerator | PoolGenerator,
    think: str | int,
    *,
    strategy: SelfConsistency | BudgetForcing | SelfRefine = VOTE,
    style: PromptStyle = Bare(),
    budget: int | None = None,
    roles: dict[str, ScriptedGenerator] | None = None,
    **fields: float,
) -> Result:
    sampling = Sampling(**with_think({"temperature": 1.0, "max_tokens": 100, **fields, "think": think}))
    return await solve(
        PROBLEM,
        generator=generator,
        strategy=strategy,
        style=style,
        reading=NumericReading(),
        sampling=sampling,
        budget=budget,
        roles=roles,
    )


def thinker(*short: str, slow: str = "15") -> ScriptedGenerator:
    """Answers ``short[i]`` at once, or ``slow`` after a thought of five tokens."""

    def write(cue: Cue) -> str:
        if cue.thinking:
            return f"<think>let me think hard\n</think>\n#### {slow}"
        return f"#### {short[(cue.draw or 0) % len(short)]}"

    return ScriptedGenerator(write, pace=0, thinks=True)


def told(generator: ScriptedGenerator) -> list[bool | None]:
    return [r.context.thinking for r in generator.requests]


def test_what_can_be_asked_for() -> None:
    assert think_fields("on") == think_fields(True) == {"think": Think.ON}
    assert think_fields("off") == think_fields(False) == {"think": Think.OFF}
    assert think_fields("AUTO") == {"think": Think.AUTO}
    assert think_fields("512") == think_fields(512) == {"think": Think.ON, "thought_limit": 512}
    for wrong in ("", "0", "-3", "1.5", "maybe", "²", 0):
        with pytest.raises(UsageError, match="none of on, off, auto and a number"):
            think_fields(wrong)


def test_a_run_without_it_has_the_identity_it_always_had() -> None:
    """Nothing is compared that an older run file does not hold, and no prompt's hash has changed."""
    plain = asdict(Sampling())
    assert (plain["think"], plain["thought_limit"]) == (None, None)
    assert "thinking" not in repr(Context((Message("user", "?"),)))
    assert Sampling(think=Think.ON).key() == Sampling().key(), "the context says it, and the samples' keys with it"


@pytest.mark.parametrize(("think", "told_to"), [("on", True), ("off", False)])
async def test_on_and_off_reach_every_draw(think: str, told_to: bool) -> None:
    generator = thinker("14")
    result = await solved(generator, think)
    assert set(told(generator)) == {told_to}
    assert result.answer == ("15" if told_to else "14")
    assert result.notes == ()


async def test_auto_keeps_thinking_off_where_short_replies_agree() -> None:
    generator = thinker("15", "15", "9", "15")
    result = await solved(generator, "auto")
    assert set(told(generator)) == {False}
    assert result.notes == ("think auto: off, 3 of 4 short replies agree",)
    kinds = [n.kind for n in result.tree for _ in n.draws][1:]
    assert kinds == [Kind.PROBE] * SHORT_REPLIES + [Kind.FINISH] * 3, "they are recorded, and cast no vote"
    assert sum(v.count for v in result.votes) == 3


@pytest.mark.parametrize("short", [("15", "15", "9", "8"), ("no idea",)])
async def test_auto_thinks_where_they_do_not(short: tuple[str, ...]) -> None:
    generator = thinker(*short)
    result = await solved(generator, "auto", strategy=SelfConsistency(n=2))
    assert told(generator) == [False] * SHORT_REPLIES + [True] * 2
    most = "2 of 4 short replies agree" if len(short) > 1 else "no short reply has an answer"
    assert result.notes == (f"think auto: on, {most}",)
    assert result.trace.startswith("<think>let me")


async def test_the_short_replies_are_short_drawn_by_chance_and_on_the_books() -> None:
    generator = thinker("15", "9", "8", "7")
    result = await solved(generator, "auto", temperature=0.0, max_tokens=5000)
    short = [r.sampling for r in generator.requests[:SHORT_REPLIES]]
    assert {s.max_tokens for s in short} == {SHORT_TOKENS}
    assert all(s.temperature > 0 for s in short), "greedy replies would agree whatever the question"
    assert [r.sampling.temperature for r in generator.requests[SHORT_REPLIES:]] == [0.0] * 3
    charged, spent = result.ledger.total_charged, result.ledger.total_spent
    tokens = sum((n.completion.generated or 0) * n.multiplicity for n in result.tree)
    assert charged.generated == spent.generated == generator.spent.generated == tokens
    on, off = (len(generator.tokens(Context(PROBLEM.messages, thinking=t))) for t in (True, False))
    common = len(generator.tokens(Context(PROBLEM.messages))) - 1
    assert charged.prompt == on + off - common, "the part that both prompts share is charged once"


@pytest.mark.parametrize("budget", [*range(6, 90, 7)])
async def test_auto_keeps_within_a_budget(budget: int) -> None:
    result = await solved(thinker("15", "9"), "auto", budget=budget, max_tokens=20)
    total = result.ledger.total_charged.total
    assert total is not None
    assert total <= budget
    assert result.notes[0].startswith("think auto:")


async def test_a_reply_that_is_cut_does_not_agree() -> None:
    """All four begin with the same number and never end: no answer, so it is a question to think about."""
    generator = ScriptedGenerator(
        lambda cue: "#### 15" if cue.thinking else "15 " * 200 + "#### 15", pace=0, thinks=True
    )
    result = await solved(generator, "auto")
    assert result.notes == ("think auto: on, no short reply has an answer",)


@pytest.mark.parametrize("limit", [1, 3, 8, 30])
async def test_a_limit_closes_every_longer_thought(limit: int) -> None:
    """The closing tag counts as generated, the reply follows, and samples stay whole solutions."""

    def write(cue: Cue) -> str:
        if "</think>" in cue.reply:
            return "#### 15"
        return "<think>" + " ".join(f"w{i}" for i in range(20)) + "\n</think>\n#### 16"

    generator = ScriptedGenerator(write, pace=0, thinks=True)
    result = await solved(generator, limit, strategy=SelfConsistency(n=4))
    finished = [n for n in result.tree if n.kind is Kind.FINISH]
    assert sum(n.multiplicity for n in finished) == 4
    for node in finished:
        assert node.parent == 0
        done = node.completion
        assert done.ids is not None
        assert generator.decode(done.ids) == done.text, "every token of it is known, the forced ones included"
        assert done.ends is None or done.ends[-1] == len(done.text)
        assert len(done.thought.split()) <= limit
        if limit < 20:
            assert done.text.endswith("\n</think>\n#### 15")
            assert (done.reply, done.logprobs) == ("#### 15", None)
            closing, reply = len(generator._encode("\n</think>\n")), len(["####", "15"])
            assert done.generated == limit + closing + reply + 1
    assert result.answer == ("15" if limit < 20 else "16")
    assert set(told(generator)) == {True}


async def test_a_reply_without_a_thought_goes_on_as_it_was() -> None:
    """Cut by the limit in the middle of what is no thought: the rest follows, nothing is forced, numbers stay."""
    words = [f"w{i}" for i in range(12)]
    text = " ".join(words) + " #### 15"
    generator = ScriptedGenerator(lambda cue: text[len(cue.reply) :], pace=0, thinks=True)
    result = await solved(generator, 5, strategy=SelfConsistency(n=1))
    assert result.trace == text
    done = result.tree.nodes[1].completion
    assert done.logprobs is not None
    assert len(done.logprobs) == done.generated == len(text.split()) + 1


async def test_a_limit_keeps_within_caps_and_budgets() -> None:
    def write(cue: Cue) -> str:
        return "so " * 40 if "</think>" in cue.reply else "<think>" + "hm " * 40

    for cap in (3, 10, 14, 40):
        done = (await solved(ScriptedGenerator(write, pace=0, thinks=True), 10, max_tokens=cap)).tree.nodes[1]
        assert (done.completion.generated or 0) <= cap
        assert done.completion.finish is Finish.LENGTH
    for budget in range(8, 80, 9):
        total = (await solved(ScriptedGenerator(write, pace=0, thinks=True), 10, budget=budget)).ledger.total_charged
        assert (total.total or 0) <= budget


async def test_thoughts_although_off_are_said() -> None:
    heedless = ScriptedGenerator(lambda cue: "<think>hm\n</think>\n#### 15", pace=0, thinks=True)
    assert (await solved(heedless, "off")).notes == ("think ignored: 3 of 3 samples have a thought, though off",)
    assert (await solved(heedless, "on")).notes == ()
    auto = await solved(heedless, "auto", strategy=SelfConsistency(n=1))
    assert auto.notes[1] == "think ignored: 5 of 5 samples have a thought, though off"


def test_many_results_are_told_together_once() -> None:
    notes = [("think auto: on, x",), ("think auto: off, y", "another"), ("think ignored: 3 of 3 samples",), ()]
    assert summary(notes) == [
        "think auto: thinking was on for 1 of 2 results, off for the rest",
        "think ignored on 1 of 4 results; the first: 3 of 3 samples. What this model costs and answers is not what was "
        "asked for",
    ]
    assert summary([("a note",)]) == []


async def test_where_it_cannot_be_done_one_line_says_so() -> None:
    plain = ScriptedGenerator(lambda cue: "#### 15", pace=0)
    with pytest.raises(UsageError, match="has no thinking"):
        await solved(plain, "off")
    with pytest.raises(UsageError, match="zero-shot-cot begins the reply itself"):
        await solved(thinker("15"), "on", style=ZeroShotCoT())
    assert (await solved(thinker("15"), "off", style=ZeroShotCoT())).answer == "15"
    with pytest.raises(UsageError, match="or --think N, not both"):
        await solved(thinker("15"), 20, strategy=BudgetForcing(limit=9))
    pool = PoolGenerator({"a": thinker("1"), "b": ScriptedGenerator(lambda cue: "2", name="b", thinks=True)})
    with pytest.raises(UsageError, match="a pool's models think each in their own way"):
        await solved(pool, "on")
    assert not plain.requests


async def test_a_limit_is_refused_where_every_token_needs_a_number() -> None:
    with pytest.raises(UsageError, match="forced text has no logprobs"):
        await solved(thinker("15"), 20, strategy=SelfConsistency(n=2, weight="prob"))
    assert (await solved(thinker("15"), "on", strategy=SelfConsistency(n=2, weight="prob"))).answer == "15"
    assert Ability.LOGPROBS in SelfConsistency(n=2, weight="prob").needs


async def test_a_forced_end_is_refused_where_a_schema_guides() -> None:
    model, sampling = thinker("15"), Sampling(**think_fields(20))
    with pytest.raises(UsageError, match=r"a JSON schema would guide the thought, too; .* steps\(by=tags\)"):
        await ready(model, sampling, frozenset({Ability.JSON_SCHEMA}))
    await ready(model, sampling)
    await ready(model, Sampling(**think_fields("on")), frozenset({Ability.JSON_SCHEMA}))


async def test_another_model_in_a_role_is_left_alone() -> None:
    """The policy is told; the critic is another model, which may have no switch."""
    critic = ScriptedGenerator(lambda cue: "Fine.", pace=0, name="critic")
    policy = thinker("15")
    await solved(policy, 50, strategy=SelfRefine(), roles={"critic": critic})
    assert set(told(policy)) == {True}
    assert critic.requests
    assert set(told(critic)) == {None}
    assert {r.sampling.thought_limit for r in critic.requests} == {None}


def test_the_least_thought() -> None:
    text = "<think>a b</think>c"
    done = Completion.of(text, Finish.EOS, generated=9)
    assert done.least_thought == 9 - len("c") - 1
    assert Completion.of(text, Finish.EOS, thought_tokens=4).least_thought == 4
    assert Completion.of("c", Finish.EOS, thought_tokens=4).least_thought == 4, "a thought that is not shown"
    assert Completion.of(text, Finish.EOS, ends=(7, 8, 10, 18, 19)).least_thought == 4
    assert AGREE * SHORT_REPLIES == 3
