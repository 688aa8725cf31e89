"""The doctor finds out what a server can do, whatever the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from stub import JSON, Call, Reply, Stub, chat, error

from thence.core.completion import Ability
from thence.core.errors import ServerError, UsageError
from thence.generators.answer import context_told, room_left
from thence.generators.doctor import Finding, Report, Use, probe
from thence.generators.doctor.findings import Notes
from thence.generators.doctor.load import doubling
from thence.generators.doctor.schemas import conforms
from thence.generators.server import Patience

QUICK = Patience(timeout=5.0, retries=1, first_wait=0.001, longest_wait=0.01, total=10.0)
Handler = Callable[[Call], Awaitable[Reply]]
SAID = "one two three four five"
NUMBERS: dict[str, JSON] = {
    "/pooling": {"data": [{"data": [[0.5, 0.5]]}]},
    "/score": {"data": [{"score": 0.25}]},
    "/rerank": {"results": [{"relevance_score": 0.5}]},
    "/classify": {"data": [{"probs": [0.1, 0.9]}]},
    "/v1/embeddings": {"data": [{"embedding": [0.0, 1.0, 2.0]}]},
}


def asked(call: Call) -> str:
    return str(call.body["messages"][-1]["content"])


def usage(prompt: int = 10, **more: object) -> JSON:
    return {"prompt_tokens": prompt, "completion_tokens": 4, "total_tokens": prompt + 4, **more}


async def capable(call: Call) -> Reply:
    """A server that can do everything; its model thinks unless the chat template is told not to."""
    body = call.body
    if call.path in NUMBERS:
        return Reply(NUMBERS[call.path])
    if isinstance(body.get("prompt"), list):
        top = {f"token_id:{token}": -0.5 for token in body["allowed_token_ids"]}
        return Reply({"choices": [{"text": "a", "finish_reason": "length", "logprobs": {"top_logprobs": [top]}}]})
    begun = body.get("continue_final_message") is True
    hot = body["temperature"] > 0
    texts = [f"{SAID} {body.get('seed') if hot else 0} {i if hot else 0}" for i in range(body.get("n", 1))]
    if stop := body.get("stop"):
        texts = [t.split(stop[0])[0] for t in texts]
    cached = {"prompt_tokens_details": {"cached_tokens": 0}}
    told = usage(10 - 3 * begun, **cached)
    row = {"token": texts[0], "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -2.5}]}
    if "prompt" in body:
        given = {"tokens": ["a"] * 3, "token_logprobs": [None, -1, -1]}
        return Reply({"choices": [{"text": texts[0], "finish_reason": "stop", "logprobs": given}], "usage": told})
    extra: JSON = {"stop_reason": None}
    if body.get("logprobs"):
        extra["logprobs"] = {"content": [row]}
    if body.get("return_token_ids"):
        extra["token_ids"] = [1, 2]
    if "response_format" in body or "structured_outputs" in body:
        chosen = body.get("structured_outputs", {}).get("choice")
        texts = [chosen[1] if chosen else '{"colour": "green", "size": "large"}']
    if "last line" in asked(call):
        told = usage(400, prompt_tokens_details={"cached_tokens": 384})
    if "sheep" in asked(call):
        return thinking(body, told)
    return chat(*texts, usage=told, **extra)


def thinking(body: JSON, told: JSON, ignores: bool = False) -> Reply:
    """A reply with a thought of 100 tokens, or as long as the switches say."""
    off = body.get("chat_template_kwargs", {}).get("enable_thinking") is False
    length = body.get("thinking_budget_tokens", 100)
    thought = "" if off and not ignores else "hm " * (100 if ignores else length)
    details = {"completion_tokens_details": {"reasoning_tokens": len(thought.split())}}
    reply = chat("42", usage=told | details)
    assert isinstance(reply.body, dict)
    if thought:
        reply.body["choices"][0]["message"]["reasoning_content"] = thought
    return reply


async def bare(call: Call) -> Reply:
    """A server with one endpoint that ignores all it does not know, and always says the same."""
    if call.path != "/v1/chat/completions":
        return error(404, "no such path")
    return chat("one two three")


async def strict(call: Call) -> Reply:
    """A server that refuses every field it does not know."""
    known = {"model", "messages", "temperature", "max_tokens", "top_p", "seed"}
    if call.path != "/v1/chat/completions":
        return error(404, "no such path")
    if unknown := sorted(set(call.body) - known):
        return error(400, f"unknown field {unknown[0]}")
    hot = call.body["temperature"] > 0
    return chat(f"one two {call.body.get('seed') if hot else 0}")


async def plain_only(call: Call) -> Reply:
    if call.path != "/v1/completions":
        return error(404, "no such path")
    return Reply({"choices": [{"text": " one two", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}})


async def visited(handler: Handler, model: str = "", *, quick: bool = True, metrics: str = "", **own: object) -> Report:
    async with Stub(handler, ({"id": "m", "owned_by": "us", **own},), metrics) as stub:
        report = await probe(stub.url, model, patience=QUICK, quick=quick)
        assert json.loads(json.dumps(report.record()))["url"] == stub.url
        assert report.calls == len(stub.calls)
    return report


def findings(report: Report) -> dict[str, Finding]:
    return {c.name: c.finding for c in report.checks}


def seen(report: Report, name: str) -> str:
    (check,) = [c for c in report.checks if c.name == name]
    return check.seen


async def test_a_server_that_can_do_everything() -> None:
    report = await visited(capable, max_model_len=512)
    checks = findings(report)
    no = {name for name, finding in checks.items() if finding is not Finding.YES}
    other = {
        "thinking.type",
        "reasoning.enabled",
        "enable_thinking",
        "reasoning_effort none",
        "reasoning_effort minimal",
    }
    fields = {"thinking_token_budget", "thinking.budget_tokens", "reasoning.max_tokens", "thinking_budget"}
    assert no == {f"switch {name}" for name in other} | {f"limit {name}" for name in fields}
    assert (report.model, report.server, report.max_context) == ("m", "us", 512)
    assert report.abilities == {Ability.CONTINUE, Ability.LOGPROBS, Ability.TOP2, Ability.JSON_SCHEMA}
    assert set(report.shortfalls) == {Use.BEGUN, Use.BUDGET}, "only vLLM is continued token by token and sends ids"
    assert report.latency == ()


async def test_a_server_that_ignores_what_it_does_not_know() -> None:
    report = await visited(bare)
    no = {name for name, finding in findings(report).items() if finding is Finding.NO}
    assert {"completions endpoint", "n choices in one call", "a seed repeats its text", "log-probabilities"} <= no
    assert {"token ids", "continues a begun reply", "stop strings", "counts cached tokens", "thoughts"} <= no
    assert {"JSON schema by response_format", "JSON schema by structured_outputs", "pooling endpoint"} <= no
    assert {"tells its context length", "log-probabilities of chosen tokens", "--think N"} <= no
    assert findings(report)["chat endpoint"] is Finding.YES
    assert report.abilities == frozenset()
    assert "1 of 8 choices" in seen(report, "n choices in one call")
    assert not report.shortfalls[Use.SAMPLES].fatal
    assert "the whole rest of a solution" in report.shortfalls[Use.STEPS].why
    assert seen(report, "JSON schema by response_format") == "ignored: 'one two three'"
    assert seen(report, "switch chat_template_kwargs").startswith("ignored: no thought off or on, and the same prompt")


async def test_a_server_that_refuses_what_it_does_not_know_is_quoted() -> None:
    report = await visited(strict)
    for name, field in {
        "n choices in one call": "n",
        "log-probabilities": "logprobs",
        "stop strings": "stop",
        "JSON schema by response_format": "response_format",
        "switch chat_template_kwargs": "chat_template_kwargs",
        "limit thinking_token_budget": "thinking_token_budget",
    }.items():
        assert (findings(report)[name], seen(report, name)) == (Finding.NO, f"refused: unknown field {field}")
    assert {use for use, short in report.shortfalls.items() if short.fatal} == {Use.SAMPLES, Use.STOPS, Use.STEPS}
    assert "max_n=1" in report.advice[0]


async def test_a_server_with_completions_only() -> None:
    report = await visited(plain_only)
    assert findings(report)["chat endpoint"] is Finding.NO
    assert report.endpoint == "completions"
    assert report.advice[0].startswith("--endpoint completions")
    assert report.abilities == {Ability.CONTINUE}
    assert report.shortfalls[Use.BUDGET].fatal, "it does not count what it writes"


async def test_copies_are_told_from_samples() -> None:
    async def copies(call: Call) -> Reply:
        if call.path != "/v1/chat/completions":
            return error(404, "no such path")
        return chat(*[f"one two {call.body.get('seed')}"] * call.body.get("n", 1))

    report = await visited(copies)
    assert "all choices are equal" in seen(report, "n choices in one call")
    assert report.shortfalls[Use.SAMPLES].fatal


async def test_tempered_log_probabilities_and_tokens_that_spell_nothing() -> None:
    async def tempered(call: Call) -> Reply:
        reply = await capable(call)
        if call.body.get("logprobs") is True and isinstance(reply.body, dict):
            warmth = 1.0 + call.body["temperature"]
            row = reply.body["choices"][0]["logprobs"]["content"][0]
            row["token"] = "something else"
            row["top_logprobs"] = [{"logprob": -0.1 * warmth}, {"logprob": -2.5}]
        return reply

    report = await visited(tempered)
    assert findings(report)["log-probabilities are untempered"] is Finding.NO
    assert findings(report)["tokens spell the text"] is Finding.NO
    assert Use.LOGPROBS in report.shortfalls


async def test_a_server_that_tells_no_stop_string() -> None:
    async def silent(call: Call) -> Reply:
        reply = await capable(call)
        if isinstance(reply.body, dict):
            for choice in reply.body.get("choices", ()):
                choice.pop("stop_reason", None)
        return reply

    report = await visited(silent)
    assert findings(report)["stop strings"] is Finding.YES
    assert "one more call" in report.shortfalls[Use.STEPS].why
    assert Use.STOPS not in report.shortfalls


async def test_thoughts_and_what_switches_do_to_them() -> None:
    report = await visited(capable)
    assert seen(report, "thoughts") == "in the field reasoning_content, 100 tokens or more"
    assert seen(report, "switch chat_template_kwargs") == "honoured: 0 thought tokens off, 100 on"
    assert seen(report, "switch enable_thinking") == "ignored: 100 thought tokens off, 100 on"
    assert seen(report, "limit thinking_budget_tokens").startswith("honoured: 8 thought tokens under a limit of 8")
    assert seen(report, "limit thinking_budget").startswith("ignored: 100 thought tokens under a limit of 8")
    assert seen(report, "--think on, off and auto") == "by chat_template_kwargs"
    assert seen(report, "--think N") == "by thinking_budget_tokens"
    assert any("thought_field='thinking_budget_tokens'" in line for line in report.advice)


async def test_a_thinking_model_is_told_not_to_where_a_reply_is_looked_at() -> None:
    async with Stub(capable) as stub:
        await probe(stub.url, patience=QUICK, quick=True)
        guided = [call.body for call in stub.calls if "response_format" in call.body]
    assert [body["chat_template_kwargs"]["enable_thinking"] for body in guided] == [False]


async def test_a_switch_that_is_ignored_is_found_out_by_tokens() -> None:
    async def deaf(call: Call) -> Reply:
        if call.path == "/v1/chat/completions" and "sheep" in asked(call):
            return thinking(call.body, usage(), ignores=True)
        return await bare(call)

    report = await visited(deaf)
    assert findings(report)["thoughts"] is Finding.YES
    assert seen(report, "switch chat_template_kwargs") == "ignored: 100 thought tokens off, 100 on"
    assert "ignored or refused" in seen(report, "--think on, off and auto")
    assert findings(report)["--think N"] is Finding.NO


async def test_a_thought_in_tags_and_a_template_that_is_told() -> None:
    async def tags(call: Call) -> Reply:
        if call.path != "/v1/chat/completions" or "sheep" not in asked(call):
            return await bare(call)
        on = call.body.get("chat_template_kwargs", {}).get("enable_thinking", False)
        return chat("<think>let me see</think>\n42" if on else "42", usage=usage(12 if on else 16))

    report = await visited(tags)
    assert seen(report, "thoughts").startswith("in <think> tags of the text")
    assert findings(report)["switch chat_template_kwargs"] is Finding.YES
    assert seen(report, "limit thinking_budget") == "taken; the thought is too short to tell"


async def test_a_prompt_that_changes_without_a_thought_is_unknown() -> None:
    async def template(call: Call) -> Reply:
        if call.path != "/v1/chat/completions":
            return error(404, "no such path")
        on = call.body.get("chat_template_kwargs", {}).get("enable_thinking")
        return chat("42", usage=usage(16 if on is False else 12))

    report = await visited(template)
    assert findings(report)["switch chat_template_kwargs"] is Finding.UNKNOWN
    assert "16 tokens off, 12 on" in seen(report, "switch chat_template_kwargs")


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ('{"colour": "red", "size": "small"}', True),
        (' {"size": "large", "colour": "green"}\n', True),
        ('{"colour": "blue", "size": "small"}', False),
        ('{"colour": "red"}', False),
        ('{"colour": "red", "size": "small", "more": 1}', False),
        ('["red", "small"]', False),
        ("one, two, three", False),
        ('```json\n{"colour": "red", "size": "small"}\n```', False),
    ],
)
def test_a_reply_conforms_to_the_schema_or_does_not(reply: str, right: bool) -> None:
    assert conforms(reply) is right


async def test_json_that_was_not_finished_is_unknown() -> None:
    async def slow(call: Call) -> Reply:
        if "response_format" in call.body:
            return chat('{"colour": \n\n\n', finish="length")
        return await bare(call)

    report = await visited(slow)
    assert findings(report)["JSON schema by response_format"] is Finding.UNKNOWN
    assert Ability.JSON_SCHEMA not in report.abilities


async def test_a_server_of_numbers_alone_is_no_error() -> None:
    async def pools(call: Call) -> Reply:
        return Reply(NUMBERS[call.path]) if call.path in NUMBERS else error(404, "does not generate")

    report = await visited(pools)
    assert report.endpoint is None
    assert findings(report)["pooling endpoint"] is Finding.YES
    assert seen(report, "embeddings endpoint") == "3 numbers"
    assert "n choices in one call" not in findings(report)


async def test_an_endpoint_of_another_shape_is_none() -> None:
    async def odd(call: Call) -> Reply:
        return Reply({"data": "no list"}) if call.path == "/pooling" else await bare(call)

    report = await visited(odd)
    assert (findings(report)["pooling endpoint"], seen(report, "pooling endpoint")) == (
        Finding.NO,
        "an answer of another shape",
    )


async def test_context_length_by_listing_and_by_refusal_and_never_assumed() -> None:
    async def small(call: Call) -> Reply:
        if call.body.get("max_tokens", 0) > 900:
            return error(400, "This model's maximum context length is 900 tokens. However, you requested more")
        return await capable(call)

    assert (await visited(small)).max_context == 900
    assert (await visited(small, context_length=800)).max_context == 800
    report = await visited(capable)
    assert report.max_context is None
    assert seen(report, "tells its context length") == "not in its listing, and it takes any cap"


def test_a_context_length_is_read_from_refusals() -> None:
    assert context_told("This model's maximum context length is 512 tokens and your request has 14") == 512
    assert context_told("the request exceeds the available context size (4096 tokens), try increasing it") == 4096
    assert context_told("too long") is None
    assert room_left("exceeds the available context size (4096 tokens)") is None, "llama.cpp says so of prompts"


async def test_prefix_hits_are_told_or_counted_or_unknown() -> None:
    assert (
        seen(await visited(capable), "reuses a prefix")
        == "384 of 400 prompt tokens the second time, as its answer says"
    )
    assert findings(await visited(bare))["reuses a prefix"] is Finding.UNKNOWN

    async def cold(call: Call) -> Reply:
        reply = await capable(call)
        if isinstance(reply.body, dict) and "usage" in reply.body:
            reply.body["usage"]["prompt_tokens_details"] = {"cached_tokens": 0}
        return reply

    assert findings(await visited(cold))["reuses a prefix"] is Finding.NO

    async with Stub(bare, ({"id": "m", "owned_by": "vllm"},)) as stub:

        async def counted(call: Call) -> Reply:
            if call.path == "/v1/chat/completions" and "last line" in asked(call):
                stub.metrics = 'vllm:prefix_cache_hits_total{engine="0"} 352.0\n'
            return await bare(call)

        stub.handler, stub.metrics = counted, 'vllm:prefix_cache_hits_total{engine="0"} 32.0\n'
        report = await probe(stub.url, patience=QUICK, quick=True)
    assert seen(report, "reuses a prefix") == "320 of 7 prompt tokens the second time, as its metrics say"


async def test_a_long_prefix_is_shortened_for_a_small_context() -> None:
    async def small(call: Call) -> Reply:
        if "messages" in call.body and len(asked(call)) > 600:
            return error(400, "maximum context length is 100 tokens")
        return await capable(call)

    assert findings(await visited(small))["reuses a prefix"] is Finding.YES


async def test_vllm_is_continued_token_by_token_and_counts_every_sample() -> None:
    async def vllm(call: Call) -> Reply:
        return Reply({"tokens": [1, 2, 3]}) if call.path == "/tokenize" else await capable(call)

    async with Stub(vllm, ({"id": "m", "owned_by": "vllm", "max_model_len": 512},)) as stub:
        report = await probe(stub.url, patience=QUICK, quick=True)
    assert report.shortfalls == {}
    assert seen(report, "continues a begun reply").startswith("token by token")
    assert Ability.THOUGHT_LIMIT not in report.abilities, "it takes the field and ignores it"


async def one_at_a_time(level: int) -> list[float]:
    return [0.1 * max(1, level // 4)] * level


async def test_latency_is_measured_until_it_doubles_twice() -> None:
    notes, levels = Notes(), list[int]()

    async def level(at_once: int) -> list[float]:
        levels.append(at_once)
        return await one_at_a_time(at_once)

    steps = await doubling(notes, level, (1, 2, 4, 8, 16), "latency doubles")
    assert [s.at_once for s in steps] == [1, 2, 4, 8]
    assert levels.count(8) == 3, "a level that doubles is measured again"
    assert 16 not in levels
    assert notes.checks[0].finding is Finding.MEASURED
    assert notes.checks[0].seen.startswith("at 8 at once (median by calls at once: 1: 0.10 s")


async def test_one_slow_measurement_is_no_doubling() -> None:
    notes, slow = Notes(), [True]

    async def level(at_once: int) -> list[float]:
        hiccup = at_once == 4 and bool(slow) and slow.pop()
        return [0.3 if hiccup else 0.1] * at_once

    steps = await doubling(notes, level, (1, 2, 4, 8), "latency doubles")
    assert steps[-1].at_once == 8
    assert notes.checks[0].seen.startswith("not by 8 at once")


async def test_calls_that_fail_together_are_said() -> None:
    notes = Notes()

    async def level(at_once: int) -> list[float] | None:
        return [0.1] * at_once if at_once < 4 else None

    await doubling(notes, level, (1, 2, 4, 8), "latency doubles")
    assert notes.checks[0].seen.startswith("calls fail at 4 at once")


async def test_a_server_that_serves_one_by_one_doubles_at_once() -> None:
    turn = asyncio.Lock()

    async def single(call: Call) -> Reply:
        async with turn:
            await asyncio.sleep(0.002)
        return await bare(call)

    report = await visited(single, quick=False)
    assert [step.at_once for step in report.latency][:2] == [1, 2]
    assert len(report.latency) < 7
    assert " at once (median by calls at once: 1: " in seen(report, "latency doubles")


async def test_a_server_that_limits_the_rate() -> None:
    crowd = asyncio.Event()

    async def limited(call: Call) -> Reply:
        if stub.now > 4:
            crowd.set()
            return error(429, "slow down")
        if call.body.get("temperature") == 0 and "seed" in call.body:  # of the calls at once: wait for the others
            with suppress(TimeoutError):
                await asyncio.wait_for(crowd.wait(), 0.2)
        return await bare(call)

    async with Stub(limited) as stub:
        report = await probe(stub.url, patience=replace(QUICK, retries=0))
    assert [c.finding for c in report.checks if c.name == "several calls at once"] == [Finding.NO]
    assert "--max-connections 4" in report.advice
    assert report.latency == (), "a crowded server is not crowded further"


async def test_a_model_that_is_not_served_is_said() -> None:
    async def unknown(call: Call) -> Reply:
        return error(404, "no model of that name")

    with pytest.raises(ServerError, match="check the model's name"):
        await visited(unknown, "nope")


async def test_a_server_that_is_not_there_is_said_at_once() -> None:
    async with Stub(bare) as stub:
        pass
    for name in ("", "m"):
        with pytest.raises(ServerError, match="refuses the connection"):
            await probe(stub.url, name, patience=QUICK)


async def test_a_server_without_a_list_needs_a_name() -> None:
    async with Stub(bare, ()) as stub:
        with pytest.raises(UsageError, match="lists no models; name one: openai:NAME@"):
            await probe(stub.url, patience=QUICK)
        assert (await probe(stub.url, "m", patience=QUICK, quick=True)).models == ()


async def test_a_wrong_key_is_said_once() -> None:
    async def locked(call: Call) -> Reply:
        return error(401, "who are you")

    async with Stub(locked) as stub:
        with pytest.raises(ServerError, match=r"refuses the key \(401: who are you\)"):
            await probe(stub.url, patience=QUICK)
        assert len(stub.calls) == 1


async def test_a_web_server_is_no_model_server() -> None:
    async def pages(call: Call) -> Reply:
        return Reply(b"<html>hello</html>", 200, {"Content-Type": "text/html"})

    async with Stub(pages) as stub:
        with pytest.raises(ServerError, match="web page instead of JSON; check the path of the URL"):
            await probe(stub.url, patience=QUICK)
        assert len(stub.calls) == 1


async def test_a_server_that_closes_the_connection_is_said() -> None:
    async def closes(call: Call) -> Reply:
        return Reply(b"{", claim=100)

    async with Stub(closes) as stub:
        with pytest.raises(ServerError, match="closed the connection in the middle of an answer"):
            await probe(stub.url, patience=QUICK)
        assert len(stub.calls) == 2, "once more, as the connection may have been an old one"
