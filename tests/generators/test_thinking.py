"""How thinking is turned on and off and limited: servers with each kind of switch, with none, local checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from stub import JSON, Call, Reply, Stub, error

from thence import api
from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Context, Request, Sampling, Segment, Think
from thence.core.errors import ModelError, ServerError, StoreError, UsageError
from thence.core.problem import Message, Problem
from thence.core.result import Result
from thence.core.search import Search
from thence.core.solve import solve
from thence.core.think import with_think
from thence.evals.evaluate import Arm, eval_header
from thence.generators.openai import OpenAIGenerator
from thence.generators.thinking import merged, nested
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare
from thence.stores.header import merge
from thence.strategies.self_consistency import SelfConsistency

Handler = Callable[[Call], Awaitable[Reply]]
LONG = "hm " * 100  # a thought of 100 tokens: three bytes each
PROBLEM = Problem("p", "What is 7 + 8?")
VLLM: tuple[JSON, ...] = ({"id": "m", "owned_by": "vllm", "max_model_len": 4096},)


def answered(call: Call, thought: str, *, hidden: bool = False, tags: bool = False) -> Reply:
    """A choice per sample with that thought, cut by max_tokens; a token is three characters."""
    cap = 3 * call.body.get("max_tokens", call.body.get("max_completion_tokens", 10**6))
    text, cut = "#### 15", len(thought) >= cap
    thought, reply = thought[:cap], "" if cut else text[: cap - len(thought)]
    body = f"<think>{thought}{'' if cut else '</think>'}{reply}" if tags and thought else reply
    shown = {"content": body} | ({} if hidden or tags or not thought else {"reasoning_content": thought})
    count = len(thought) // 3
    choice = {"message": shown, "finish_reason": "length" if cut else "stop"}
    n = call.body.get("n", 1)
    usage: JSON = {"prompt_tokens": 9, "completion_tokens": n * (count + 3)}
    if hidden:
        usage["completion_tokens_details"] = {"reasoning_tokens": n * count}
    return Reply({"choices": [{"index": i, **choice} for i in range(n)], "usage": usage})


def reading(path: str, off: object, *, thinks: bool = True, **more: Any) -> Handler:
    """A server that reads its switch from a field of the request, and thinks by itself or not."""

    async def handler(call: Call) -> Reply:
        found: Any = call.body
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        think = thinks if found is None else found != off
        return answered(call, LONG if think else "", **more)

    return handler


async def told(
    stub: Stub, think: str | int, *, name: str = "m", n: int = 3, budget: int | None = None, **options: Any
) -> tuple[Result, OpenAIGenerator]:
    """One problem solved as a run does it."""
    model = OpenAIGenerator(name, stub.url, **options)
    sampling = Sampling(**with_think({"temperature": 1.0, "max_tokens": 400, "think": think}))
    try:
        result = await solve(
            PROBLEM,
            generator=model,
            strategy=SelfConsistency(n=n),
            style=Bare(),
            reading=NumericReading(),
            sampling=sampling,
            budget=budget,
        )
    finally:
        await model.close()
    return result, model


def off(model: OpenAIGenerator) -> object:
    return model.describe()["thinking"]


SPELLINGS = [
    ("chat_template_kwargs.enable_thinking", False, "chat_template_kwargs"),
    ("chat_template_kwargs.thinking", False, "chat_template_kwargs"),
    ("thinking.type", "disabled", "thinking.type"),
    ("reasoning.enabled", False, "reasoning.enabled"),
    ("enable_thinking", False, "enable_thinking"),
    ("reasoning_effort", "none", "reasoning_effort"),
    ("reasoning_effort", "minimal", "reasoning_effort"),
]


@pytest.mark.parametrize("hidden", [False, True], ids=["shown", "hidden"])
@pytest.mark.parametrize(("path", "word", "name"), SPELLINGS)
async def test_every_spelling_is_found_out(path: str, word: object, name: str, hidden: bool) -> None:
    """Also where the thought itself is kept back and only counted, as by a server that has efforts only."""
    async with Stub(reading(path, word, hidden=hidden)) as stub:
        result, model = await told(stub, "off")
    assert off(model) == {"off": name, "limit": ""}
    assert (result.answer, result.notes) == ("15", ())
    asked: Any = stub.calls[-1].body
    for part in path.split("."):
        asked = asked[part]
    assert asked == word
    assert stub.calls[-1].body["n"] == 3


async def test_a_model_that_thinks_by_itself_needs_no_switch_to_think() -> None:
    async with Stub(reading("nothing", None)) as stub:
        result, model = await told(stub, "on")
    assert result.trace.startswith("<think>hm")
    assert off(model) == {"off": "", "limit": ""}
    plain = {"model", "messages", "n", "seed", "temperature", "top_p", "max_tokens"}
    assert set(stub.calls[-1].body) == plain


async def test_one_that_does_not_is_turned_on() -> None:
    async with Stub(reading("reasoning.enabled", False, thinks=False)) as stub:
        result, _ = await told(stub, "on")
    assert result.trace.startswith("<think>hm")
    assert stub.calls[-1].body["reasoning"] == {"enabled": True}


async def test_a_server_that_refuses_unknown_fields_is_asked_on() -> None:
    async def strict(call: Call) -> Reply:
        if unknown := set(call.body) & {"chat_template_kwargs", "thinking", "reasoning", "enable_thinking"}:
            return error(400, f"Unrecognized request argument supplied: {min(unknown)}")
        if call.body.get("reasoning_effort") == "none":
            return error(400, "Unsupported value: 'none'")
        return answered(call, "" if call.body.get("reasoning_effort") == "minimal" else LONG, hidden=True)

    async with Stub(strict) as stub:
        result, model = await told(stub, "off")
        assert off(model) == {"off": "reasoning_effort", "limit": ""}
        assert result.answer == "15"
        with pytest.raises(UsageError, match=r"takes no limit of thoughts .*cannot be closed.*use --think on"):
            await told(stub, 64)

        async def refusing(call: Call) -> Reply:
            fields = set(call.body) - {"model", "messages", "n", "seed", "temperature", "top_p", "max_tokens"}
            return error(400, f"unknown field {min(fields)}") if fields else answered(call, LONG, hidden=True)

        stub.handler = refusing
        with pytest.raises(UsageError, match=r"thinks whatever it is told: .*and no thought can be closed for it"):
            await told(stub, "off")


async def test_a_switch_that_is_ignored_is_no_switch() -> None:
    async with Stub(reading("nothing", None)) as stub:
        with pytest.raises(UsageError, match=r"--think off: m on .* thinks whatever it is told.*use --think on"):
            await told(stub, "off")
        with pytest.raises(UsageError, match="--think auto: m on"):
            await told(stub, "auto")
        stub.handler = reading("nothing", None, thinks=False)
        for think in ("on", "off", "auto", 50):
            with pytest.raises(UsageError, match="writes no thought, and no known switch makes it"):
                await told(stub, think)


async def test_a_switch_that_is_heeded_once_and_then_ignored_is_noticed() -> None:
    calls = 0

    async def moody(call: Call) -> Reply:
        nonlocal calls
        calls += "What is 7 + 8?" in str(call.body["messages"])
        think = calls > 0 or not isinstance(call.body.get("chat_template_kwargs"), dict)
        return answered(call, LONG if think else "")

    async with Stub(moody) as stub:
        result, _ = await told(stub, "off")
    assert result.notes == ("think ignored: 3 of 3 samples have a thought, though off",)
    assert result.answer == "15", "a note, no error: the budget holds"


async def test_a_dead_server_is_no_server_without_a_switch() -> None:
    async def broken(call: Call) -> Reply:
        if "chat_template_kwargs" in call.body:
            return error(401, "the key has expired")
        return answered(call, LONG)

    async with Stub(broken) as stub:
        with pytest.raises((ServerError, ModelError), match="refuses the key"):
            await told(stub, "off")


async def test_the_users_own_fields_stay() -> None:
    async with Stub(reading("chat_template_kwargs.enable_thinking", False)) as stub:
        await told(stub, "off", extra_body={"chat_template_kwargs": {"lang": "de"}, "min_p": 0.1})
    asked = stub.calls[-1].body
    assert asked["chat_template_kwargs"] == {"lang": "de", "enable_thinking": False, "thinking": False}
    assert asked["min_p"] == 0.1
    assert merged({"a": {"b": 1}, "c": 2}, nested("a.d", 3)) == {"a": {"b": 1, "d": 3}, "c": 2}


async def test_qwen3_is_told_in_the_question() -> None:
    async def soft(call: Call) -> Reply:
        said = call.body["messages"][-1]["content"]
        return answered(call, "" if said.endswith("/no_think") else LONG, tags=True)

    async with Stub(soft, ({"id": "Qwen/Qwen3-8B"}, {"id": "m"})) as stub:
        result, model = await told(stub, "off", name="Qwen/Qwen3-8B")
        assert off(model) == {"off": "/no_think", "limit": ""}
        assert stub.calls[-1].body["messages"][-1]["content"] == "What is 7 + 8? /no_think"
        assert result.notes == ()
        with pytest.raises(UsageError, match="thinks whatever it is told"):
            await told(stub, "off", name="m")


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["thinking_budget_tokens", "thinking.budget_tokens", "thinking_budget"])
async def test_a_field_for_limits_is_found_out_by_what_it_does(path: str) -> None:
    async def limiting(call: Call) -> Reply:
        found: Any = call.body
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return answered(call, LONG[: 3 * found] if isinstance(found, int) else LONG)

    async with Stub(limiting) as stub:
        result, model = await told(stub, 40)
    assert off(model) == {"off": "", "limit": path}
    assert len(result.tree.nodes[1].completion.thought.split()) == 40
    assert nested(path, 40).items() <= stub.calls[-1].body.items()


async def test_vllms_own_limit_needs_no_trial_and_a_stated_field_neither() -> None:
    async def limiting(call: Call) -> Reply:
        limit = call.body.get("thinking_token_budget", call.body.get("mine", 10**6))
        return answered(call, LONG[: 3 * limit])

    async with Stub(limiting, VLLM) as stub:
        _, model = await told(stub, 40)
        assert off(model) == {"off": "", "limit": "thinking_token_budget"}
        assert stub.calls[-1].body["thinking_token_budget"] == 40
    async with Stub(limiting) as stub:
        _, model = await told(stub, 40, thought_field="mine")
        assert off(model) == {"off": "", "limit": "mine"}


async def test_a_limit_that_is_ignored_later_is_noticed_and_ends_nothing() -> None:
    async with Stub(reading("nothing", None)) as stub:
        result, _ = await told(stub, 10, thought_field="mine", n=1)
    (note,) = result.notes
    assert note.startswith("think ignored: a thought went on for ")
    assert note.endswith("though at most 10 are allowed")


def continuing(call: Call, *, think: bool) -> Reply:
    """A server that goes on with a begun turn; it has closed thoughts in its prompt if it was told so."""
    last = call.body["messages"][-1]
    begun = last["content"] if last["role"] == "assistant" and call.body.get("continue_final_message") else ""
    written = last["content"] if last["role"] == "assistant" else ""
    prompt = 9 + len(written) // 3 + (0 if begun or not written else 5)
    inside = begun.rfind("<think>") > begun.rfind("</think>")
    whole = LONG if (think and not begun) or inside else ""
    reply = answered(call, whole, tags=not inside)
    assert isinstance(reply.body, dict)
    reply.body["usage"]["prompt_tokens"] = prompt
    return reply


async def test_thoughts_are_closed_where_no_switch_works_and_begun_replies_go_on() -> None:
    async def handler(call: Call) -> Reply:
        return continuing(call, think=True)

    async with Stub(handler) as stub:
        result, model = await told(stub, "off")
        assert off(model) == {"off": "closed thoughts", "limit": ""}
        assert stub.calls[-1].body["messages"][-1]["content"] == "<think>\n\n</think>\n\n"
        assert (result.answer, result.notes) == ("15", ())
        assert result.trace == "#### 15", "what was forced is part of the prompt"


@pytest.mark.parametrize("budget", [None, 400])
async def test_a_thought_is_closed_by_thence_where_the_server_has_no_limit(budget: int | None) -> None:
    async def handler(call: Call) -> Reply:
        return continuing(call, think=True)

    async with Stub(handler) as stub:
        result, model = await told(stub, 20, budget=budget, max_n=1)  # so that every call counts itself
    assert off(model) == {"off": "", "limit": "forced"}
    assert result.votes[0].count == 3 if budget is None else result.votes[0].count >= 1
    node = result.tree.nodes[1]
    assert node.text == "<think>" + LONG[:60] + "\n</think>\n#### 15"
    assert node.parent == 0
    finals = [c.body for c in stub.calls if c.body.get("continue_final_message") and c.body["max_tokens"] > 256]
    assert all(b["messages"][-1]["content"].endswith("\n</think>\n") for b in finals)
    charged, spent = result.ledger.total_charged, result.ledger.total_spent
    assert charged.generated is not None
    assert spent.generated is not None
    between = (node.completion.generated or 0) - 23 - 3
    assert between >= 0, "the closing tag is counted by the prompt of the second call"
    draws = sum(n.multiplicity for n in result.tree) - 1
    assert charged.generated == spent.generated + draws * between
    if budget is not None:
        assert (charged.total or 0) <= budget


# --- headers ----------------------------------------------------------------------------------------------------------


def header(path: Path, think: str | int | None) -> JSON:
    path.write_text('{"question": "What is 7 + 8?", "answer": "15"}\n')
    task = api.task(str(path))
    sampling = Sampling(**with_think({"think": think})) if think is not None else Sampling()
    arm = Arm("greedy", SelfConsistency(n=1), Bare(), "bare", sampling)
    return eval_header(task, OpenAIGenerator("m", "http://127.0.0.1:1/v1"), arm)


def test_a_run_is_resumed_under_the_same_setting_only(tmp_path: Path) -> None:
    """One that was begun before there was such a setting goes on without it."""
    asked = {think: header(tmp_path / "q.jsonl", think) for think in (None, "on", "off", "auto", 100, 200)}
    old = asked[None] | {"sampling": dict(asked[None]["sampling"])}
    for field in ("think", "thought_limit"):
        del old["sampling"][field]
    run = tmp_path / "r.db"
    assert merge(old, asked[None], (), run)
    assert merge(asked["auto"], asked["auto"], (), run)
    for stored, now in ((old, asked["off"]), (asked["on"], asked["off"]), (asked[100], asked[200])):
        with pytest.raises(StoreError, match=r"holds another run: sampling\.(think|thought_limit) is"):
            merge(stored, now, (), run)


def test_samples_of_a_server_differ_by_it() -> None:
    def key(thinking: bool | None) -> str:
        search = Search(
            PROBLEM, {"policy": OpenAIGenerator("m", "http://127.0.0.1:1/v1")}, Bare(), NumericReading(), Sampling()
        )
        search.thinking = thinking
        return search.sample_key(search.context(search.root), None, Sampling(), (0,), "policy", search.root.kind, 9)

    assert len({key(t) for t in (None, True, False)}) == 3


# --- local checkpoints ------------------------------------------------------------------------------------------------

TURNS = "{% for m in messages %}Q:{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}A:"
TEMPLATES = {
    "switch": TURNS
    + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n{% endif %}{% endif %}",
    "opened": TURNS + "<think>\n{% endif %}",
    "closing": TURNS + "{{ '' if '</think>' in messages[-1]['content'] else '' }}{% endif %}",
    "silent": TURNS + "{% endif %}",
}


def local(path: Path, template: str) -> Any:
    pytest.importorskip("torch")
    from thence.generators.local import load_local
    from tiny_models import save_tiny, word_tokenizer

    tokenizer = word_tokenizer()
    tokenizer.chat_template = TEMPLATES[template]
    return load_local(save_tiny(path, "qwen3", tokenizer=tokenizer), dtype="float32", slots=4)


ASKED = (Message("user", "Tom has 3 apples"),)


def prompt(model: Any, thinking: bool | None) -> str:
    return str(model.decode(model.tokens(Context(ASKED, thinking=thinking))))


@pytest.mark.parametrize(
    ("template", "on", "not_on"),
    [
        ("switch", "A:", "A:<think>\n\n</think>\n"),
        ("opened", "A:<think>\n", "A:<think>\n\n</think>\n\n"),
        ("closing", "A:<think>\n", "A:<think>\n\n</think>\n\n"),
    ],
)
async def test_a_checkpoint_is_told_by_its_template_or_by_tags(
    tmp_path: Path, template: str, on: str, not_on: str
) -> None:
    model = local(tmp_path, template)
    try:
        assert await model.learn_thinking(Think.AUTO) is False
        assert await model.learn_thinking(Think.ON, 9) is True
        plain = prompt(model, None)
        assert prompt(model, True).endswith(on)
        assert prompt(model, False).endswith(not_on)
        assert plain.endswith("A:<think>\n" if template == "opened" else "A:")
        assert model.describe()["thinking"] == {
            "off": "template" if template == "switch" else "forced",
            "limit": "forced",
        }
        (opened,) = [o async for _, o in model.run([request(True)], Spent())]
        assert isinstance(opened, Completion)
        thinks = template != "switch"
        assert bool(opened.thought) is thinks
        (closed,) = [o async for _, o in model.run([request(False)], Spent())]
        assert isinstance(closed, Completion)
        assert closed.reply_at == 0 or "</think>" in closed.text
    finally:
        await model.close()


def request(thinking: bool | None, limit: int | None = None, cap: int = 12, seed: int = 1) -> Request:
    sampling = Sampling(temperature=1.0, max_tokens=cap, thought_limit=limit)
    return Request(Context(ASKED, thinking=thinking), sampling, seed)


async def test_a_checkpoint_without_thoughts_is_refused(tmp_path: Path) -> None:
    model = local(tmp_path, "silent")
    try:
        with pytest.raises(UsageError, match="has no thinking and no switch for it"):
            await model.learn_thinking(Think.OFF)
        assert prompt(model, True) == prompt(model, False) == prompt(model, None)
        assert "thinking" not in model.describe()
    finally:
        await model.close()


async def test_a_local_thought_is_closed_after_its_limit_and_every_token_counts(tmp_path: Path) -> None:
    """The tokens of both parts and of the tag are one sample, drawn again alike; and its first part is what a draw
    without a limit begins with."""
    model = local(tmp_path, "opened")
    try:
        await model.learn_thinking(Think.ON, 6)
        model._tokenise("\n</think>\n")
        requests = [request(True, 6, 40, seed) for seed in range(6)]
        book = Spent()
        drawn = {i: o async for i, o in model.run(requests, book)}
        again = {i: o async for i, o in model.run(requests, Spent())}
        free = {i: o async for i, o in model.run([request(True, None, 40, s) for s in range(6)], Spent())}
        assert drawn == again
        forced = 0
        for i, done in drawn.items():
            assert done.generated == len(done.ids) <= 40
            assert model.engine.text.decode(done.ids).startswith(done.text)
            assert done.ends is not None
            assert len(done.ends) == len(done.ids)
            assert done.ids[:6] == free[i].ids[:6]
            if done.ids[6:9] == model._tokenise("\n</think>\n") and done.logprobs is None:
                forced += 3
                assert done.reply_at > 0
        assert forced, "some thought is longer than six tokens"
        assert book.generated == sum(o.generated for o in drawn.values()) - forced
        assert book.wasted == 0
    finally:
        await model.close()


async def test_what_is_given_up_in_the_middle_is_waste(tmp_path: Path) -> None:
    model = local(tmp_path, "opened")
    try:
        await model.learn_thinking(Think.ON, 6)
        book = Spent()
        outcomes = model.run([request(True, 6, 40, seed) for seed in range(6)], book)
        async for _, first in outcomes:
            read = first.generated
            break
        await outcomes.aclose()
        counters = model.engine.counters
        assert book.wasted == counters.wasted
        assert book.generated == counters.generated
        assert book.wasted >= book.generated - read
        assert Ability.THOUGHT_LIMIT not in model.abilities
        assert model.tokens(Context(ASKED, (Segment(" Tom"),), thinking=False))[-1:] == model._tokenise(" Tom")
    finally:
        await model.close()
