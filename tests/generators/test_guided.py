"""Guided decoding on a server: found out by one call, asked of every solution, and tags where there is none."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
from stub import Call, Reply, Stub, chat, error

from thence import api
from thence.core.completion import Ability, Sampling
from thence.core.forms import Form
from thence.core.problem import Problem
from thence.core.solve import solve
from thence.evals.evaluate import Arm, prompt_document
from thence.generators.openai import OpenAIGenerator
from thence.generators.server import Patience
from thence.grading.extract import NumericReading
from thence.prompts.structured import Steps
from thence.strategies.self_consistency import SelfConsistency
from thence.strategies.universal import UniversalSelfConsistency

QUICK = Patience(timeout=5.0, retries=1, first_wait=0.001, longest_wait=0.05, total=10.0)
PROBLEM = Problem("p", "What is 5 + 3?")
IN_JSON = json.dumps({"steps": ["5+3=8"], "answer": "8"})
IN_TAGS = "<step>5+3=8</step><answer>8</answer>"


def said(call: Call, guided: str) -> Reply:
    """In the format that was asked for: ``guided`` where there is a schema, tags where the question names them."""
    text = guided if "response_format" in call.body else "One, two, three."
    if "<answer>" in call.body["messages"][-1]["content"]:
        text = IN_TAGS
    return chat(*[text] * call.body.get("n", 1))


async def heeds(call: Call) -> Reply:
    return said(call, IN_JSON)


async def ignores(call: Call) -> Reply:
    return said(call, "One, two, three.")


async def refuses(call: Call) -> Reply:
    if "response_format" in call.body:
        return error(400, "response_format is not supported")
    return said(call, "")


async def has_only_json_mode(call: Call) -> Reply:
    return said(call, '{"count": ["one", "two", "three"]}')


def generator(stub: Stub) -> OpenAIGenerator:
    return OpenAIGenerator("m", stub.url, patience=QUICK)


@pytest.mark.parametrize(
    ("server", "by", "why"),
    [
        (heeds, "json", ""),
        (ignores, "tags", "takes a JSON schema and does not keep to it"),
        (has_only_json_mode, "tags", "takes a JSON schema and does not keep to it"),
        (refuses, "tags", "refuses a JSON schema (400: response_format is not supported)"),
    ],
)
async def test_one_call_decides_how_steps_are_asked_for(
    server: Callable[[Call], Awaitable[Reply]], by: str, why: str
) -> None:
    async with Stub(server) as stub:
        model = generator(stub)
        style = await api.decided(Steps(), model)
        assert isinstance(style, Steps)
        assert (style.by, model.schema_said) == (by, why)
        assert (Ability.JSON_SCHEMA in model.abilities) is (by == "json")
        assert await api.decided(Steps(), model) == style
        assert len(stub.calls) == 1
        result = await solve(
            PROBLEM,
            generator=model,
            strategy=SelfConsistency(n=3),
            style=style,
            reading=NumericReading(),
            sampling=Sampling(max_tokens=50),
        )
        assert (result.answer, result.confidence, result.reply) == ("8", 1.0, "5+3=8\n#### 8")
        assert not any("format" in note for note in result.notes)
        probe, draw = stub.calls
        schema = probe.body["response_format"]["json_schema"]
        assert (schema["strict"], schema["schema"]) == (True, json.loads(Form.JSON.schema or ""))
        assert draw.body.get("response_format") == (probe.body["response_format"] if by == "json" else None)
        await model.close()


async def test_a_prompt_that_asks_for_no_format_costs_no_call_and_sends_no_schema() -> None:
    async with Stub(heeds) as stub:
        model = generator(stub)
        ready = await api.checked(api.setup(model, "greedy", "cot"))
        await solve(PROBLEM, generator=model, strategy=ready.strategy, style=ready.style, reading=NumericReading())
        assert len(stub.calls) == 1
        assert "response_format" not in stub.calls[0].body
        await model.close()


async def test_only_solutions_are_guided_and_not_what_a_judge_says() -> None:
    async def server(call: Call) -> Reply:
        if "responses to it" in call.body["messages"][-1]["content"]:
            return chat("The most consistent response is Response 2.")
        texts = [json.dumps({"steps": ["so"], "answer": str(i)}) for i in range(call.body.get("n", 1))]
        return chat(*texts)

    async with Stub(server) as stub:
        model = generator(stub)
        result = await solve(
            PROBLEM,
            generator=model,
            strategy=UniversalSelfConsistency(n=3),
            style=Steps(by="json"),
            reading=NumericReading(),
        )
        assert result.answer == "1"
        draws, judged = stub.calls
        assert "response_format" in draws.body
        assert "response_format" not in judged.body
        assert "Response 2:\nso\n#### 1" in judged.body["messages"][-1]["content"]
        await model.close()


async def test_a_run_by_json_and_a_run_by_tags_have_different_headers() -> None:
    task = api.task("wordproblems(size=2)")
    documents = []
    for server in (heeds, refuses):
        async with Stub(server) as stub:
            model = generator(stub)
            ready = await api.checked(api.setup(model, "greedy", format="steps"))
            assert ready.prompt_text == "steps(style=cot)"
            documents.append(prompt_document(task, Arm("greedy", ready.strategy, ready.style, ready.prompt_text)))
            await model.close()
    assert [d["format"] for d in documents] == ["json", "tags"]
    assert documents[0]["name"] == documents[1]["name"]
    assert documents[0]["hash"] != documents[1]["hash"]


async def test_arms_of_a_comparison_are_decided_by_their_own_models() -> None:
    async with Stub(heeds) as one, Stub(refuses) as other:
        task = api.task("wordproblems(size=2)")
        texts = [f"greedy on openai:m@{stub.url}" for stub in (one, other)]
        arms, first, name = api.make_arms(texts, None, task, "acorn", None, {}, format="steps")
        made = await api.checked_arms(arms, first, name)
        assert [arm.style.by for arm in made if isinstance(arm.style, Steps)] == ["json", "tags"]
        await api.close_loaded()
