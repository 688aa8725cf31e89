"""Steps by JSON schema on a server that guides decoding (``make test-vllm``): a tiny random model has to keep to it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from serving import Served, serve, skip_without_vllm
from tiny import make

from thence import api, methods
from thence.core.completion import Finish, Sampling
from thence.core.forms import CUT, NO_ANSWER, NO_STEP, Form, begins_in_schema
from thence.core.problem import Problem
from thence.core.protocols import Formats
from thence.core.solve import solve
from thence.generators.openai import OpenAIGenerator
from thence.tasks.wordproblems_task import WordProblemsTask

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def guiding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    skip_without_vllm()
    folder = make(tmp_path_factory.mktemp("model"))
    with serve(folder, "tiny", tmp_path_factory.mktemp("log") / "vllm.log") as served:
        yield served


async def test_a_random_model_writes_steps_and_answer_where_decoding_is_guided(guiding: Served) -> None:
    model = OpenAIGenerator(guiding.name, guiding.url)
    try:
        style = await api.decided(methods.prompt("steps(style=bare)"), model)
        assert isinstance(style, Formats)
        assert style.form is Form.JSON, model.schema_said
        result = await solve(
            Problem("p", "What is 3 + 4?"),
            generator=model,
            strategy=methods.strategy("self-consistency(n=16)"),
            style=style,
            reading=WordProblemsTask().reading,
            sampling=Sampling(temperature=1.0, max_tokens=200),
        )
        plain = await solve(
            Problem("p", "What is 3 + 4?"),
            generator=model,
            strategy=methods.strategy("self-consistency(n=16)"),
            style=methods.prompt("steps(style=bare, by=tags)"),
            reading=WordProblemsTask().reading,
            sampling=Sampling(temperature=1.0, max_tokens=200),
        )
    finally:
        await model.close()
    samples = result.tree.nodes[1:]
    assert samples
    whole = [node for node in samples if node.completion.finish is not Finish.LENGTH]
    cut = [node for node in samples if node.completion.finish is Finish.LENGTH]
    assert all(begins_in_schema(node.completion.text) for node in cut)
    assert all(node.malformed == CUT for node in cut)
    assert all("####" in node.completion.text or node.malformed in (NO_STEP, NO_ANSWER) for node in whole)
    assert all(node.malformed for node in plain.tree.nodes[1:]), "by tags a random model misses the format"
    with pytest.raises(json.JSONDecodeError):
        json.loads(plain.tree.nodes[1].completion.text)
