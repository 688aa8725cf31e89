"""Exact mode: a sample's tokens and log-probabilities depend on its seed and its context, bit for bit."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from thence.core.budget import Spent
from thence.core.completion import Completion, Context, Origin, Request, Sampling, Segment
from thence.core.problem import Message
from thence.engine.linear import CHAIN
from thence.generators.local import LocalGenerator, load_local
from tiny_models import save_tiny

NAMES = ("Tom", "Ann", "Sam", "Eve")
Bits = tuple[tuple[int, ...], tuple[float, ...]]
SHAPES = {
    "grouped": {"kv_heads": 2},  # two queries per key
    "embedded": {"width": 128, "layers": 2, "heads": 4, "kv_heads": 4, "head_dim": 32, "hidden": 384},
}


def question(i: int) -> Context:
    """Questions of different lengths, some with a long common beginning."""
    clause = f"{NAMES[i % 4]} has {i % 10} apples and {NAMES[(i + 1) % 4]} has {(i * 7) % 10} more . "
    return Context((Message("user", clause * (1 + i % 5) + "how many in total ?"),))


def requests() -> list[Request]:
    """64 draws: 12 prompts, unequal numbers of samples, mixed lengths, temperatures and filters."""
    out = []
    for i in range(64):
        sampling = Sampling(
            temperature=(1.0, 0.7, 0.0)[i % 3],
            max_tokens=(5, 40, 80, 17)[i % 4],
            top_k=3 if i % 7 == 0 else 0,
            top_p=0.8 if i % 5 == 0 else 1.0,
        )
        out.append(Request(question(i % 12 if i % 3 else 1), sampling, 1000 + i))
    return out


async def draw(generator: LocalGenerator, wanted: list[Request], concurrency: int = 64) -> list[Bits]:
    """All requests, each in its own call, at most ``concurrency`` at a time."""
    gate = asyncio.Semaphore(concurrency)

    async def one(request: Request) -> Bits:
        async with gate:
            async for _, completion in generator.run([request], Spent()):
                assert isinstance(completion, Completion), completion
                assert completion.ids is not None
                assert completion.logprobs is not None
                return completion.ids, completion.logprobs
        raise AssertionError("no completion")

    return list(await asyncio.gather(*[one(r) for r in wanted]))


@pytest.fixture(params=[(d, s) for d in ("float32", "bfloat16") for s in SHAPES], ids=lambda p: f"{p[0]}-{p[1]}")
def model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    dtype, shape = request.param
    return save_tiny(tmp_path, "qwen3", **SHAPES[shape]), dtype


def load(model: tuple[str, str], **options: int) -> LocalGenerator:
    return load_local(model[0], dtype=model[1], **options)  # type: ignore[arg-type]


def test_tokens_and_logprobs_do_not_depend_on_the_company(model: tuple[str, str]) -> None:
    async def work() -> None:
        wanted = requests()
        generator = load(model)
        together = await draw(generator, wanted)
        assert len({bits[0] for bits in together}) > 30  # the model is not degenerate
        generator.engine.store.clear()
        eight = await draw(generator, wanted, 8)
        shuffled = random.Random(5).sample(range(64), 64)
        generator.engine.store.clear()
        mixed = await draw(generator, [wanted[i] for i in shuffled], 23)
        await generator.close()
        assert eight == together
        assert [bits for _, bits in sorted(zip(shuffled, mixed, strict=True))] == together
        fresh = load(model, slots=3)
        alone = await draw(fresh, wanted, 1)
        assert alone == together
        assert await draw(fresh, wanted) == together  # three rows for 64 requests
        await fresh.close()
        one_thread = load(model, threads=1)
        assert await draw(one_thread, wanted) == together
        await one_thread.close()

    asyncio.run(work())


def test_cancelled_neighbours_leave_no_trace(model: tuple[str, str]) -> None:
    async def work() -> None:
        generator = load(model)
        wanted = requests()
        expected = await draw(generator, wanted)

        async def disturb(seed: int) -> None:
            doomed = [Request(question(j), Sampling(1.0, max_tokens=200), j + 10_000 * seed) for j in range(20)]
            async with aclosing(generator.run(doomed, Spent())) as running:
                async for _ in running:
                    break

        results = await asyncio.gather(draw(generator, wanted), *[disturb(s) for s in range(1, 4)])
        assert results[0] == expected
        await generator.close()

    asyncio.run(work())


def test_a_continuation_is_the_same_from_the_cache_after_eviction_and_in_one_go(model: tuple[str, str]) -> None:
    async def work() -> None:
        sampling = Sampling(1.0, max_tokens=90)
        wanted = [Request(question(i), sampling, 50 + i) for i in range(10)]
        roomy = load(model)
        whole = await draw(roomy, wanted)
        # Stop each sample early, and go on from what was sampled: greedy, so that noise plays no role.
        cuts = [(i * 13) % 70 + 1 for i in range(10)]
        parents = [replace(r, sampling=replace(sampling, max_tokens=c)) for r, c in zip(wanted, cuts, strict=True)]
        begun = await draw(roomy, parents)
        assert [b[0] for b in begun] == [w[0][:c] for w, c in zip(whole, cuts, strict=True)]
        goes_on = [
            Request(r.context.then(Segment("…", b[0], Origin.SAMPLED)), Sampling(0.0, max_tokens=30), 7)
            for r, b in zip(wanted, begun, strict=True)
        ]
        reused = roomy.engine.counters.reused
        from_cache = await draw(roomy, goes_on)
        assert roomy.engine.counters.reused - reused >= sum(c - 1 for c in cuts)
        assert await draw(roomy, goes_on, 1) == from_cache
        await roomy.close()
        cold = load(model)
        assert await draw(cold, goes_on) == from_cache  # replayed: nothing of it was ever drawn here
        await cold.close()
        tiny = load(model, memory_mb=1, slots=8)
        tiny.engine.store.limit = 1  # evicts whatever it can
        assert await draw(tiny, parents) == begun
        assert await draw(tiny, goes_on, 3) == from_cache
        assert tiny.engine.counters.evicted > 0
        # In two halves: the second half of a continuation continues the continuation.
        halves = [
            Request(r.context.then(Segment("…", f[0][:9], Origin.SAMPLED)), Sampling(0.0, max_tokens=21), 8)
            for r, f in zip(goes_on, from_cache, strict=True)
        ]
        for half, one_go in zip(await draw(tiny, halves), from_cache, strict=True):
            assert len(one_go[0]) <= 9 or half == (one_go[0][9:], one_go[1][9:])
        assert sum(len(f[0]) > 9 for f in from_cache) >= 5
        await tiny.close()

    asyncio.run(work())


def test_scores_equal_the_logprobs_of_the_draw(model: tuple[str, str]) -> None:
    """Given text goes through the same arithmetic as drawn text."""

    async def work() -> None:
        generator = load(model)
        [bits] = await draw(generator, [Request(question(3), Sampling(1.0, max_tokens=60), 4)])
        from thence.engine.jobs import Job, Kind, Outcome

        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        job = Job(
            generator.tokens(question(3)), (), Sampling(), 0, 0, done.get_loop(), done.set_result, Kind.SCORE, bits[0]
        )
        generator.engine.submit([job])
        assert (await done).logprobs == bits[1]
        await generator.close()

    asyncio.run(work())


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_a_long_prompt_beside_short_ones_changes_nothing(kv_heads: int, tmp_path: Path) -> None:
    """Beyond some length a pass takes another way through the prompts, for all its rows."""

    async def work() -> None:
        path = save_tiny(tmp_path, "qwen3", **{**SHAPES["embedded"], "kv_heads": kv_heads})
        short = [Request(question(i), Sampling(1.0, max_tokens=50), i) for i in range(12)]
        words = " ".join(NAMES[(i * i) % 4] for i in range(CHAIN + 8))
        long = Request(Context((Message("user", words),)), Sampling(1.0, max_tokens=40), 99)
        generator = load((path, "float32"))
        assert len(generator.tokens(long.context)) > CHAIN > max(len(generator.tokens(r.context)) for r in short)
        together = await draw(generator, [*short, long])
        assert await draw(generator, short) == together[:-1]
        assert await draw(generator, [*short, long], 1) == together
        await generator.close()

    asyncio.run(work())
