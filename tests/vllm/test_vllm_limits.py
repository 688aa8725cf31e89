"""A server that was started with limits (``make test-vllm``): no log-probabilities, and an end to thinking.

A tiny random model whose template opens a thought; tokens are characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving import Served, serve, skip_without_vllm
from tiny import make

from thence import methods
from thence.core.budget import Spent
from thence.core.completion import THINK_CLOSE, THINK_OPEN, Completion, Context, Request, Sampling
from thence.core.errors import ThenceError
from thence.core.problem import Message, Problem
from thence.core.search import POLICY, Search
from thence.core.solve import check_needs, solve
from thence.core.think import UNHEEDED, ready, think_fields
from thence.generators.openai import OpenAIGenerator
from thence.generators.scripted import ScriptedGenerator
from thence.methods import verifier
from thence.prompts.styles import Bare
from thence.strategies.budget_forcing import BudgetForcing
from thence.tasks.wordproblems_task import WordProblemsTask

pytestmark = pytest.mark.vllm

QUESTION = "What is 3 + 4?"
LIMIT = 20
FREE = Sampling(temperature=1.0, max_tokens=80)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    skip_without_vllm()
    folder: Path = make(tmp_path_factory.mktemp("model"), thinks=True)
    flags = ("--max-logprobs", "0", "--reasoning-parser", "deepseek_r1")
    with serve(folder, "thinker", tmp_path_factory.mktemp("log") / "vllm.log", *flags) as served:
        yield served


async def drawn(served: Served, n: int = 16, **options: Any) -> list[Completion]:
    model = OpenAIGenerator(served.name, served.url, **options)
    asked = [Request(Context((Message("user", QUESTION),)), FREE, seed) for seed in range(n)]
    try:
        async with aclosing(model.run(asked, Spent())) as stream:
            outcomes = [outcome async for _, outcome in stream]
    finally:
        await model.close()
    assert all(isinstance(o, Completion) for o in outcomes), outcomes
    return [o for o in outcomes if isinstance(o, Completion)]


def tagless(served: Served) -> dict[str, Any]:
    """A random model must not write tags by chance: only the server and thence open and close thoughts."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(served.folder).convert_tokens_to_ids([THINK_OPEN, THINK_CLOSE])
    return {"logit_bias": {str(i): -100 for i in ids}}


def thought_lengths(served: Served, completions: list[Completion]) -> list[int]:
    """Tokens before the first one that closes a thought, or before the end."""
    from transformers import AutoTokenizer

    close = AutoTokenizer.from_pretrained(served.folder).convert_tokens_to_ids("</think>")
    lengths = []
    for done in completions:
        assert done.ids is not None
        lengths.append(done.ids.index(close) if close in done.ids else len(done.ids))
    return lengths


async def test_a_reward_model_without_log_probabilities_is_an_error(limited: Served) -> None:
    own = verifier(f"genrm:{limited.name}@{limited.url}(format=check, tokenizer={limited.folder})")
    search = Search(
        Problem("p", QUESTION), {POLICY: ScriptedGenerator(answers={})}, Bare(), WordProblemsTask().reading, FREE
    )
    with pytest.raises(ThenceError, match="logprobs"):
        await search.score([search.given("It is 7\n")], own)


async def test_the_server_closes_a_thought_after_its_budget_and_its_parser_tells_it_from_the_reply(
    limited: Served,
) -> None:
    held = await drawn(limited, extra_body={"thinking_token_budget": LIMIT, **tagless(limited)})
    free = await drawn(limited, extra_body=tagless(limited))
    lengths = thought_lengths(limited, held)
    assert max(lengths) == LIMIT
    assert max(thought_lengths(limited, free)) > 2 * LIMIT, "without the budget thoughts are longer"
    closed = [c for c, length in zip(held, lengths, strict=True) if length == LIMIT and c.reply]
    assert closed
    for done in closed:
        assert done.thought
        assert done.text == f"<think>{done.thought}</think>{done.reply}"
        assert (done.generated or 0) > LIMIT


async def test_budget_forcing_hands_its_maximum_to_the_server(limited: Served) -> None:
    """Ten samples, one after the other: the longest thoughts are closed at the limit, by the server and by thence."""
    for strategy in (BudgetForcing(limit=LIMIT, server=True), BudgetForcing(limit=LIMIT)):
        model = OpenAIGenerator(limited.name, limited.url)
        thoughts: list[Completion] = []
        try:
            await model.connect(strategy.needs)
            check_needs("budget-forcing", strategy.needs, model, "openai")
            for seed in range(10):
                result = await solve(
                    Problem("p", QUESTION),
                    generator=model,
                    strategy=strategy,
                    style=Bare(),
                    reading=WordProblemsTask().reading,
                    sampling=FREE,
                    seed=seed,
                )
                thoughts.append(result.tree.nodes[1].completion)
                if strategy.server:
                    assert len(result.tree) == 2, "one call, nothing forced"
        finally:
            await model.close()
        assert max(thought_lengths(limited, thoughts)) == LIMIT


async def test_thinking_is_limited_and_turned_off_as_told(limited: Served) -> None:
    """The model's template opens a thought whatever its flags say, so ``--think off`` has to close it instead."""
    for asked in ("off", str(LIMIT)):
        model = OpenAIGenerator(limited.name, limited.url, extra_body=tagless(limited))
        sampling = replace(FREE, **think_fields(asked))
        try:
            await ready(model, sampling)
            result = await solve(
                Problem("p", QUESTION),
                generator=model,
                strategy=methods.strategy("self-consistency(n=8)"),
                style=Bare(),
                reading=WordProblemsTask().reading,
                sampling=sampling,
            )
        finally:
            await model.close()
        told = model.describe()["thinking"]
        samples = [node.completion for node in result.tree.nodes[1:]]
        assert sum(node.multiplicity for node in result.tree.nodes[1:]) == 8
        assert not [note for note in result.notes if note.startswith(UNHEEDED)]
        if asked == "off":
            assert told["off"] == "closed thoughts"
            assert all(s.reply == s.text and s.text and not s.thought for s in samples)
        else:
            assert told["limit"] == "thinking_token_budget"
            assert max(thought_lengths(limited, samples)) == LIMIT
        assert (result.ledger.total_charged.total or 0) > 0
