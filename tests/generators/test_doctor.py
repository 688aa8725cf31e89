"""The doctor finds out what a server can do, whatever the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from stub import JSON, Call, Reply, Stub, chat, error

from thence.core.completion import Ability
from thence.core.errors import ServerError, UsageError
from thence.generators.doctor import Finding, probe
from thence.generators.server import Patience

QUICK = Patience(timeout=5.0, retries=1, first_wait=0.001, longest_wait=0.01, total=10.0)
NEEDS = {
    "greedy": frozenset[Ability](),
    "confidence": frozenset({Ability.TOP2}),
    "beam": frozenset({Ability.CONTINUE, Ability.LOGPROBS}),
    "cot-decoding": frozenset({Ability.FIRST_TOKEN, Ability.TOP2}),
}


async def capable(call: Call) -> Reply:
    """A server that can do everything."""
    body = call.body
    begun = body.get("continue_final_message") is True
    hot = body["temperature"] > 0
    texts = [f"one two {body.get('seed') if hot else 0} {i if hot else 0}" for i in range(body.get("n", 1))]
    if stop := body.get("stop"):
        texts = [t.split(stop[0])[0] for t in texts]
    usage: JSON = {"prompt_tokens": 10 - 3 * begun, "completion_tokens": 4, "total_tokens": 14}
    usage["prompt_tokens_details"] = {"cached_tokens": 0}
    tops = [{"logprob": -0.1}, {"logprob": -2.5}]
    row = {"token": texts[0], "logprob": -0.1, "top_logprobs": tops}
    if "prompt" in body:
        given = {"tokens": ["a"] * 3, "token_logprobs": [None, -1, -1]}
        choices: list[JSON] = [{"text": texts[0], "finish_reason": "stop", "logprobs": given}]
        return Reply({"choices": choices, "usage": usage})
    extra: JSON = {"stop_reason": None}
    if body.get("logprobs"):
        extra["logprobs"] = {"content": [row]}
    if body.get("return_token_ids"):
        extra["token_ids"] = [1, 2]
    return chat(*texts, usage=usage, **extra)


async def bare(call: Call) -> Reply:
    """A server with one endpoint that ignores all it does not know, and always says the same."""
    if "prompt" in call.body:
        return error(404, "no such path")
    return chat("one two three")


async def plain_only(call: Call) -> Reply:
    if "messages" in call.body:
        return error(404, "no such path")
    return Reply({"choices": [{"text": " one two", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}})


async def found(handler: Callable[[Call], Awaitable[Reply]], model: str = "") -> tuple[dict[str, Finding], JSON]:
    async with Stub(handler, ({"id": "m", "owned_by": "us", "max_model_len": 512},)) as stub:
        report = await probe(stub.url, model, needs=NEEDS, patience=QUICK)
    assert json.loads(json.dumps(report.record()))["url"] == stub.url
    return {c.name: c.finding for c in report.checks}, report.record()


async def test_a_server_that_can_do_everything() -> None:
    checks, report = await found(capable)
    assert set(checks.values()) == {Finding.YES}, checks
    assert (report["model"], report["server"], report["max_context"]) == ("m", "us", 512)
    assert set(report["abilities"]) == {"continue", "logprobs", "top2"}
    assert report["lacking"] == {"greedy": [], "confidence": [], "beam": [], "cot-decoding": ["first-token"]}
    assert report["advice"] == ()


async def test_a_server_that_ignores_what_it_does_not_know() -> None:
    checks, report = await found(bare)
    no = {name for name, finding in checks.items() if finding is Finding.NO}
    assert {"completions endpoint", "n choices in one call", "a seed repeats its text", "log-probabilities"} <= no
    assert {"token ids", "continues a begun reply", "stop strings", "counts cached tokens"} <= no
    assert checks["chat endpoint"] is Finding.YES
    assert report["lacking"]["greedy"] == []
    assert report["lacking"]["beam"] == ["continue", "logprobs"]


async def test_a_server_with_completions_only() -> None:
    checks, report = await found(plain_only)
    assert checks["chat endpoint"] is Finding.NO
    assert report["endpoint"] == "completions"
    assert "--endpoint completions" in report["advice"]
    assert report["abilities"] == ["continue"]


async def test_a_server_that_limits_the_rate() -> None:
    async def limited(call: Call) -> Reply:
        if stub.now > 4:
            return error(429, "slow down")
        await asyncio.sleep(0.02)
        return await bare(call)

    async with Stub(limited) as stub:
        report = await probe(stub.url, patience=Patience(timeout=5, retries=0, total=10))
    assert [c.finding for c in report.checks if c.name == "several calls at once"] == [Finding.NO]
    assert "--max-connections 4" in report.advice


async def test_a_model_that_is_not_served_is_said() -> None:
    async def unknown(call: Call) -> Reply:
        return error(404, "no model of that name")

    with pytest.raises(ServerError, match="check the model's name"):
        await found(unknown, "nope")


async def test_a_server_that_is_not_there() -> None:
    async with Stub(bare) as stub:
        pass
    with pytest.raises(ServerError, match="refuses the connection"):
        await probe(stub.url, patience=QUICK)


async def test_a_server_without_a_list_needs_a_name() -> None:
    async with Stub(bare, ()) as stub:
        with pytest.raises(UsageError, match="lists no models; name one: openai:NAME@"):
            await probe(stub.url, patience=QUICK)
        assert (await probe(stub.url, "m", patience=QUICK)).models == ()


async def test_a_wrong_key_is_said_once() -> None:
    async def locked(call: Call) -> Reply:
        return error(401, "who are you")

    async with Stub(locked) as stub:
        with pytest.raises(ServerError, match=r"refuses the key \(401: who are you\)"):
            await probe(stub.url, patience=QUICK)
        assert len(stub.calls) == 1
