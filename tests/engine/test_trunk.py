"""The engine's own forward pass gives the log-probabilities of transformers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from thence.core.budget import Spent
from thence.core.completion import Completion, Context, Origin, Request, Sampling, Segment
from thence.core.problem import Message
from thence.generators.local import LocalGenerator, load_local
from tiny_models import save_tiny

QUESTION = "Tom has 3 apples . Ann has 2 more apples than Tom . how many apples have they in total ?"
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, untied": ("llama", {"tied": False}),
    "llama, llama3 rope": ("llama", {"rope_parameters": LLAMA3}),
    "llama, linear rope": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    ),
    "mistral": ("mistral", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "qwen3, one query per key": ("qwen3", {"kv_heads": 4}),
    "qwen3, shape of the embedded model": (
        "qwen3",
        {"width": 128, "layers": 3, "heads": 4, "kv_heads": 4, "head_dim": 32, "hidden": 384},
    ),
    "qwen2, wide heads": ("qwen2", {"width": 96, "heads": 6, "kv_heads": 1, "head_dim": 64, "hidden": 200}),
}


def context(*reply: Segment) -> Context:
    return Context((Message("user", QUESTION),), reply)


async def draw(generator: LocalGenerator, requests: list[Request]) -> list[Completion]:
    out: dict[int, Completion] = {}
    async for index, completion in generator.run(requests, Spent()):
        assert isinstance(completion, Completion), completion
        out[index] = completion
    return [out[i] for i in range(len(requests))]


def reference(path: str, ids: list[int]) -> torch.Tensor:
    """transformers' log-probabilities of the token after each prefix, [len(ids), vocab]."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.inference_mode():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0].float(), -1)


@pytest.mark.parametrize("case", CASES)
def test_log_probabilities_equal_transformers(case: str, tmp_path: Path) -> None:
    family, options = CASES[case]
    path = save_tiny(tmp_path, family, **options)
    generator = load_local(path, dtype="float32")

    async def work() -> None:
        sampling = Sampling(temperature=1.0, max_tokens=70, top2=True)
        prompt = list(generator.tokens(context()))
        for completion in await draw(generator, [Request(context(), sampling, seed) for seed in range(5)]):
            assert completion.ids
            assert completion.logprobs
            assert completion.top2
            table = reference(path, prompt + list(completion.ids))[len(prompt) - 1 : -1]
            expected = table.gather(1, torch.tensor(completion.ids)[:, None])[:, 0]
            assert torch.allclose(expected, torch.tensor(completion.logprobs), atol=1e-4)
            assert torch.allclose(table.topk(2).values, torch.tensor(completion.top2), atol=1e-4)
        # A continued reply, forced text included, and given text.
        forced = context(Segment(" Tom has 3", None, Origin.FORCED))
        [after] = await draw(generator, [Request(forced, Sampling(temperature=0.0, max_tokens=5), 0)])
        prompt = list(generator.tokens(forced))
        assert after.ids
        assert after.logprobs
        table = reference(path, prompt + list(after.ids))[len(prompt) - 1 : -1]
        expected = table.gather(1, torch.tensor(after.ids)[:, None])[:, 0]
        assert torch.allclose(expected, torch.tensor(after.logprobs), atol=1e-4)
        [scored] = await generator.logprobs([forced], [" apples and Ann has 5"], Spent())
        table = reference(path, prompt + list(scored.ids))[len(prompt) - 1 : -1]
        expected = table.gather(1, torch.tensor(scored.ids)[:, None])[:, 0]
        assert torch.allclose(expected, torch.tensor(scored.logprobs), atol=1e-4)
        await generator.close()

    asyncio.run(work())


def test_a_greedy_reply_is_transformers_greedy_reply(tmp_path: Path) -> None:
    path = save_tiny(tmp_path, "llama")
    generator = load_local(path, dtype="float32")

    async def work() -> tuple[int, ...]:
        [greedy] = await draw(generator, [Request(context(), Sampling(temperature=0.0, max_tokens=30), 0)])
        await generator.close()
        assert greedy.ids is not None
        return greedy.ids

    ids = asyncio.run(work())
    prompt = list(generator.tokens(context()))
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.inference_mode():
        out = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=30)[0, len(prompt) :]
    assert list(ids) == out.tolist()


def test_a_long_prompt_is_prefilled_in_pieces(tmp_path: Path) -> None:
    path = save_tiny(tmp_path, "qwen3", context=2048)
    generator = load_local(path, dtype="float32")
    long = Context((Message("user", " ".join([QUESTION] * 40)),))

    async def work() -> None:
        prompt = list(generator.tokens(long))
        assert len(prompt) > 600
        [one] = await draw(generator, [Request(long, Sampling(temperature=1.0, max_tokens=4), 0)])
        assert one.ids
        assert one.logprobs
        table = reference(path, prompt + list(one.ids))[len(prompt) - 1 : -1]
        expected = table.gather(1, torch.tensor(one.ids)[:, None])[:, 0]
        assert torch.allclose(expected, torch.tensor(one.logprobs), atol=1e-4)
        await generator.close()

    asyncio.run(work())
