"""The local generator: rendering, completions, books, cancellation, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from thence.core.budget import Spent
from thence.core.completion import (
    Ability,
    Completion,
    Context,
    Failure,
    Finish,
    Request,
    Sampling,
    Segment,
)
from thence.core.errors import ModelError, ThenceError, UsageError
from thence.core.problem import Message
from thence.core.protocols import Generator, Scorer
from thence.generators.local import LocalGenerator, default_sampling, load_local
from tiny_models import byte_tokenizer, save_tiny, word_tokenizer

GREEDY = Sampling(0.0, max_tokens=12)


def ask(text: str = "Tom has 3 apples . how many in total ?", *reply: Segment) -> Context:
    return Context((Message("user", text),), reply)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(tmp_path_factory.mktemp("tiny"), "qwen3")


@pytest.fixture
def model(path: str) -> Iterator[LocalGenerator]:
    generator = load_local(path, dtype="float32")
    yield generator
    generator.engine.close()


async def outcomes(
    generator: LocalGenerator, requests: list[Request], book: Spent | None = None
) -> list[Completion | Failure]:
    found = {i: c async for i, c in generator.run(requests, book if book is not None else Spent())}
    return [found[i] for i in range(len(requests))]


async def one(generator: LocalGenerator, context: Context, sampling: Sampling, seed: int = 0) -> Completion:
    [completion] = await outcomes(generator, [Request(context, sampling, seed)])
    assert isinstance(completion, Completion), completion
    return completion


def test_it_is_a_generator_and_a_scorer_with_an_identity(model: LocalGenerator, path: str) -> None:
    assert isinstance(model, Generator)
    assert isinstance(model, Scorer)
    assert model.abilities == frozenset(Ability) - {Ability.THOUGHT_LIMIT, Ability.JSON_SCHEMA}
    assert model.max_context == 256
    assert model.describe()["exact"] is True
    again = load_local(path, dtype="float32", slots=2)
    other = load_local(path, dtype="bfloat16")
    loose = load_local(path, dtype="float32", exact=False)
    assert model.identity == again.identity
    assert len({model.identity, other.identity, loose.identity}) == 3
    for generator in (again, other, loose):
        generator.engine.close()


async def test_plain_rendering_and_token_ids_of_segments(model: LocalGenerator) -> None:
    context = Context(
        (
            Message("system", "so"),
            Message("user", "Tom has 3 ?"),
            Message("assistant", "3"),
            Message("user", "how many ?"),
        )
    )
    ids = model.tokens(context)
    assert model.decode(ids) == "so\nQ: Tom has 3 ?\nA: 3\n\nQ: how many ?\nA:"
    begun = context.then(Segment(" Tom has"), Segment("ignored", (7, 8)))
    assert model.tokens(begun) == (*ids, *model.tokens(ask())[:0], *model._tokenise(" Tom has"), 7, 8)


async def test_chat_template_and_an_opened_thought(tmp_path: Path) -> None:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}A:<think>{% endif %}"
    )
    generator = load_local(save_tiny(tmp_path, "llama", tokenizer=tokenizer), dtype="float32")
    assert generator.decode(generator.tokens(ask("Tom has 3 ?"))) == "Tom has 3 ?\nA:<think>"
    completion = await one(generator, ask("Tom has 3 ?"), replace(GREEDY, max_tokens=5))
    assert completion.reply == ""
    assert completion.thought == completion.text.strip()  # cut before it closed its thought
    await generator.close()


async def test_unknown_words_are_named_and_known_ones_pass(model: LocalGenerator) -> None:
    assert model.unknown_words("Tom has 3 zebras and a quark ?") == [" zebras", " quark"]
    with pytest.raises(UsageError, match=r"zebras.*quark"):
        model.tokens(ask("Tom has 3 zebras and a quark ?"))
    with pytest.raises(UsageError, match="zebras"):
        model.tokens(ask("Tom has 3 ?", Segment(" zebras")))


async def test_ids_text_ends_and_counts_agree(model: LocalGenerator) -> None:
    for seed in range(10):
        completion = await one(model, ask(), Sampling(1.0, max_tokens=60), seed)
        assert completion.ids is not None
        assert completion.ends is not None
        assert completion.logprobs is not None
        assert completion.generated == len(completion.ids) == len(completion.logprobs) == len(completion.ends)
        assert completion.prompt_tokens == len(model.tokens(ask()))
        assert completion.text == model.decode(completion.ids)
        assert completion.ends[-1] == len(completion.text)
        assert (completion.finish is Finish.EOS) == (completion.ids[-1] in model.engine.ends)
        assert completion.top2 is None
        assert max(completion.logprobs) <= 0


async def test_a_stop_string_is_cut_from_the_text_and_counted(model: LocalGenerator) -> None:
    whole = await one(model, ask(), Sampling(1.0, max_tokens=40), 3)
    stop = whole.text[10:14]
    first = whole.text.index(stop)
    stopped = await one(model, ask(), Sampling(1.0, max_tokens=40, stop=("never there", stop)), 3)
    assert stopped.finish is Finish.STOP
    assert stopped.text == whole.text[:first]
    assert stopped.ids is not None
    assert whole.ids is not None
    assert stopped.ids == whole.ids[: len(stopped.ids)]
    assert stopped.generated == len(stopped.ids)
    assert stopped.ends is not None
    assert stopped.ends[-1] == len(stopped.text)
    assert stop in model.decode(stopped.ids)
    assert stop not in model.decode(stopped.ids[:-1])


async def test_byte_level_characters_that_span_tokens(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    path = save_tiny(tmp_path, "qwen2", tokenizer=tokenizer)
    generator = load_local(path, dtype="float32")
    assert generator.unknown_words("日本語") == []
    for seed in range(4):
        completion = await one(generator, ask("日本語?"), Sampling(2.0, max_tokens=50), seed)
        assert completion.ids is not None
        assert completion.ends is not None
        kept = [i for i in completion.ids if i != tokenizer.eos_token_id]
        assert completion.text == tokenizer.decode(kept, skip_special_tokens=False)
        assert len(completion.ends) == len(completion.ids)
        assert completion.ends[-1] == len(completion.text)
    await generator.close()


async def test_first_rank_forces_the_rth_best_first_token(model: LocalGenerator) -> None:
    heads = [await one(model, ask(), replace(GREEDY, first_rank=r, top2=True)) for r in range(5)]
    firsts = [c.ids[0] for c in heads if c.ids]
    assert len(set(firsts)) == 5
    lead = [c.logprobs[0] for c in heads if c.logprobs]
    assert lead == sorted(lead, reverse=True)
    plain = await one(model, ask(), GREEDY)
    assert heads[0].ids == plain.ids
    assert heads[0].top2 is not None
    assert heads[0].top2[0] == (lead[0], lead[1])


async def test_a_cap_and_the_context_end_a_reply_with_length(path: str) -> None:
    generator = load_local(path, dtype="float32")
    generator.engine.ends = frozenset()
    capped = await one(generator, ask(), Sampling(1.0, max_tokens=7))
    assert (capped.finish, capped.generated) == (Finish.LENGTH, 7)
    full = await one(generator, ask(), Sampling(1.0, max_tokens=None))
    assert full.finish is Finish.LENGTH
    assert full.generated == 256 - len(generator.tokens(ask()))
    assert capped.ids is not None
    assert full.ids is not None
    assert full.ids[:7] == capped.ids  # a clipped sample is a prefix of the whole one
    await generator.close()


async def test_a_request_that_is_too_long_fails_alone(model: LocalGenerator) -> None:
    long = ask(" ".join(["apples"] * 300))
    bad, good = await outcomes(model, [Request(long, GREEDY, 1), Request(ask(), GREEDY, 1)])
    assert isinstance(bad, Failure)
    assert bad.kind == "context_length"
    assert "256" in bad.message
    assert isinstance(good, Completion)


async def test_a_shared_prompt_is_prefilled_once_and_a_continuation_prefills_nothing_cached(
    model: LocalGenerator,
) -> None:
    prompt, book = len(model.tokens(ask())), Spent()
    await outcomes(model, [Request(ask(), Sampling(1.0, max_tokens=20), s) for s in range(40)], book)
    assert book.prefilled == prompt
    assert book.reused == 39 * prompt
    again = Spent()
    model.engine.ends = frozenset()
    [cut] = await outcomes(model, [Request(ask(), Sampling(1.0, max_tokens=20), 99)], again)
    assert (again.prefilled, again.reused) == (0, prompt)
    assert isinstance(cut, Completion)
    continued = Spent()
    await outcomes(
        model, [Request(ask("Tom has 3 apples . how many in total ?", Segment("", cut.ids)), GREEDY, 1)], continued
    )
    # The last drawn token was never read, so it is computed; everything before it is cached.
    assert (continued.prefilled, continued.reused) == (1, prompt + 19)


async def test_books_equal_the_engines_counters_cancellations_included(path: str) -> None:
    generator = load_local(path, dtype="float32", slots=24)
    books = [Spent() for _ in range(9)]

    async def work(i: int) -> None:
        requests = [Request(ask(f"Tom has {i} ?"), Sampling(1.0, max_tokens=30 + 5 * i), s) for s in range(12)]
        async with aclosing(generator.run(requests, books[i])) as running:
            seen = 0
            async for _ in running:
                seen += 1
                if i % 3 == 1 and seen == 3:
                    break

    tasks = [asyncio.create_task(work(i)) for i in range(9)]
    await asyncio.sleep(0.05)
    tasks[2].cancel()
    tasks[5].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await generator.logprobs([ask("Tom has 9 ?")], [" 3 apples"], books[0])
    total = Spent()
    for book in books:
        total += book
    counters = generator.engine.counters
    assert total.prefilled == counters.prefilled
    assert total.reused == counters.reused
    assert total.generated == counters.generated
    assert total.wasted == counters.wasted
    assert counters.wasted > 0
    assert generator.pending == 0
    assert 0 < counters.occupancy <= 1
    await generator.close()


async def test_closing_the_iterator_frees_the_rows(path: str) -> None:
    generator = load_local(path, dtype="float32", slots=4)
    generator.engine.ends = frozenset()
    async with aclosing(
        generator.run([Request(ask(), Sampling(1.0, max_tokens=200), s) for s in range(8)], Spent())
    ) as r:
        task = asyncio.ensure_future(anext(r))
        await asyncio.sleep(0.02)
        assert generator.pending == 8
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert generator.pending == 0
    assert len((await one(generator, ask(), GREEDY)).text) > 0
    await generator.close()


async def test_an_error_in_the_engine_fails_what_is_in_flight_and_nothing_hangs(
    model: LocalGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk, calls = model.engine.trunk, 0
    decode = trunk.decode

    def broken(*args: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("out of memory")
        return decode(*args)

    monkeypatch.setattr(trunk, "decode", broken)
    book = Spent()
    found = await outcomes(model, [Request(ask(), Sampling(1.0, max_tokens=30), s) for s in range(5)], book)
    failed = [c for c in found if isinstance(c, Failure)]
    assert failed
    assert all(f.kind == "engine" and "out of memory" in f.message for f in failed)
    assert book.generated == model.engine.counters.generated
    assert isinstance(await one(model, ask(), GREEDY), Completion)  # and the engine goes on


def test_several_event_loops_one_after_another_and_closing_twice(path: str) -> None:
    generator = load_local(path, dtype="float32")
    texts = {asyncio.run(one(generator, ask(), GREEDY)).text for _ in range(3)}
    assert len(texts) == 1
    asyncio.run(generator.close())
    asyncio.run(generator.close())
    with pytest.raises(ModelError, match="closed"):
        asyncio.run(one(generator, ask(), GREEDY))


async def test_defaults_come_from_the_generation_config(tmp_path: Path) -> None:
    options = {"do_sample": True, "temperature": 0.9, "top_p": 0.95, "top_k": 7, "max_new_tokens": 33}
    generator = load_local(save_tiny(tmp_path, "llama", generation=options))
    assert generator.defaults == Sampling(0.9, 0.95, 7, 33)
    await generator.close()
    assert default_sampling({"temperature": 0.1, "do_sample": False}) == Sampling()
    assert default_sampling({"do_sample": True}) == Sampling(1.0)


def test_models_that_cannot_be_loaded_say_why(tmp_path: Path, path: str) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_local(str(tmp_path / "nowhere"))
    bare = tmp_path / "bare"
    save_tiny(bare, "llama")
    for file in bare.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="no tokenizer"):
        load_local(str(bare))
    pickled = tmp_path / "pickled"
    save_tiny(pickled, "llama")
    (weights,) = pickled.glob("*.safetensors")
    from safetensors.torch import load_file

    torch.save(load_file(weights), pickled / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ModelError, match="--allow-pickle"):
        load_local(str(pickled))
    opened = load_local(str(pickled), allow_pickle=True)
    opened.engine.close()
    gpt = tmp_path / "gpt"
    gpt.mkdir()
    import transformers

    word_tokenizer().save_pretrained(gpt)
    transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_layer=1, n_head=2, n_embd=16, vocab_size=90)
    ).save_pretrained(gpt)
    with pytest.raises(ModelError, match=r"gpt2.*LlamaForCausalLM"):
        load_local(str(gpt))
    sliding = save_tiny(tmp_path / "sliding", "mistral", sliding_window=16)
    with pytest.raises(ModelError, match="sliding"):
        load_local(sliding)
    for wrong in ({"dtype": "int3"}, {"device": "toaster"}, {"slots": 0}, {"memory_mb": 0}):
        with pytest.raises(UsageError):
            load_local(path, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ThenceError):
        load_local(str(Path(path) / "config.json"))
