"""The openai generator and the doctor against a real server: vLLM's CPU build (``make test-vllm``)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from serving import Served

from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Context, Failure, Finish, Request, Sampling, Segment
from thence.core.errors import ModelError
from thence.core.problem import Message
from thence.generators.doctor import Finding, probe
from thence.generators.openai import OpenAIGenerator

pytestmark = pytest.mark.vllm

QUESTION = "I have 3 apples, my dad has 2 more than me. How many do we have in total?"
QUESTIONS = [QUESTION.replace("3", str(a)).replace("2", str(b)) for a in range(3, 8) for b in (2, 4)]
STORIES = [  # longer answers, if the model knows how
    "Let's think step by step. " + QUESTION,
    QUESTION + " Let's think step by step.",
]
GREEDY = Sampling(temperature=0.0, max_tokens=40)
HOT = Sampling(temperature=1.0, max_tokens=40)


def request(sampling: Sampling = HOT, seed: int = 0, text: str = QUESTION, reply: str = "") -> Request:
    begun = (Segment(reply),) if reply else ()
    return Request(Context((Message("user", text),), begun), sampling, seed)


async def ask(
    model: OpenAIGenerator, requests: Sequence[Request], book: Spent | None = None
) -> list[Completion | Failure]:
    outcomes: dict[int, Completion | Failure] = {}
    try:
        async with aclosing(model.run(requests, Spent() if book is None else book)) as stream:
            async for i, outcome in stream:
                outcomes[i] = outcome
    finally:
        await model.close()
    return [outcomes[i] for i in range(len(requests))]


async def draw(model: OpenAIGenerator, requests: Sequence[Request], book: Spent | None = None) -> list[Completion]:
    outcomes = await ask(model, requests, book)
    assert all(isinstance(o, Completion) for o in outcomes), outcomes
    return [o for o in outcomes if isinstance(o, Completion)]


def generator(served: Served, **options: Any) -> OpenAIGenerator:
    return OpenAIGenerator(served.name, served.url, **options)


async def test_it_is_recognised(served: Served) -> None:
    model = generator(served)
    await model.connect()
    assert model.describe()["server"] == "vllm"
    assert model.max_context is not None
    assert model.abilities == {Ability.LOGPROBS, Ability.TOP2, Ability.CONTINUE}
    await model.close()


async def test_chat_counts_tokens_as_the_server_does(served: Served) -> None:
    before = served.metric("generation_tokens_total"), served.metric("prompt_tokens_total")
    book = Spent()
    done = await draw(generator(served), [request(seed=s, text=q) for s in (1, 2, 3) for q in QUESTIONS[:4]], book)
    after = served.metric("generation_tokens_total"), served.metric("prompt_tokens_total")
    assert all(c.generated == len(c.ids or ()) for c in done)
    assert sum(c.generated or 0 for c in done) == book.generated == after[0] - before[0]
    # Four calls of three choices: the answer counts each prompt once, the server's metric once per choice.
    assert (after[1] - before[1]) == 3 * ((book.prefilled or 0) + (book.reused or 0))
    assert sum(c.prompt_tokens or 0 for c in done[:4]) == (book.prefilled or 0) + (book.reused or 0)
    assert book.untold == 0


async def test_a_repeated_prompt_is_reused(served: Served) -> None:
    """vLLM caches whole blocks, so only a long prompt shows it."""
    long = " ".join([QUESTION] * 8)
    sampling = Sampling(max_tokens=1)
    book = Spent()
    (first,) = await ask(generator(served), [request(sampling, 1, long)])
    if isinstance(first, Failure):
        pytest.skip(f"the model's context is too short: {first.message}")
    await draw(generator(served), [request(sampling, 2, long)], book)
    assert (book.reused or 0) > 0
    assert (book.prefilled or 0) + (book.reused or 0) == first.prompt_tokens


async def test_n_is_one_call_with_exact_counts(served: Served) -> None:
    model = generator(served)
    done = await draw(model, [request(seed=s) for s in range(8)])
    assert model.calls == 1
    assert len({c.text for c in done}) > 1
    assert all(c.generated is not None and c.generated <= 40 for c in done)


async def test_more_prompts_at_once_than_one_step_takes(served: Served) -> None:
    """A prompt is then split over two steps, which kills vLLM on a CPU if its request has a seed."""
    questions = [f"{QUESTION} {i} " + QUESTION for i in range(150)]
    done = await draw(generator(served, max_connections=150), [request(text=q) for q in questions])
    assert len(done) == 150


async def test_seeds_repeat_alone(served: Served) -> None:
    model = generator(served, seeds=True)
    first, again, other = [(await draw(model, [request(seed=s)]))[0].text for s in (5, 5, 6)]
    assert first == again
    assert first != other


async def test_log_probabilities_and_top2(served: Served) -> None:
    (done,) = await draw(generator(served), [request(Sampling(temperature=0.0, max_tokens=12, top2=True))])
    assert done.logprobs is not None
    assert done.top2 is not None
    assert done.ends is not None
    assert len(done.logprobs) == len(done.top2) == len(done.ends) == done.generated
    assert all(best >= second for best, second in done.top2)
    assert all(abs(lp - best) < 1e-4 for lp, (best, _) in zip(done.logprobs, done.top2, strict=True))
    assert done.ends[-1] == len(done.text)
    assert done.tokens_of(0, len(done.text))[0] == 0


async def test_log_probabilities_are_untempered(served: Served) -> None:
    requests = [request(Sampling(temperature=t, max_tokens=1, top2=True)) for t in (0.0, 2.0)]
    cold, hot = await draw(generator(served), requests)
    assert cold.top2 is not None
    assert hot.top2 is not None
    assert hot.top2[0] == pytest.approx(cold.top2[0], abs=1e-4)


async def test_token_ids_without_log_probabilities(served: Served) -> None:
    (done,) = await draw(generator(served), [request()])
    assert done.logprobs is None
    assert done.ids is not None
    assert len(done.ids) == done.generated


async def test_completions_endpoint_with_the_models_own_rendering_says_the_same(served: Served) -> None:
    tokenizer = import_module("transformers").AutoTokenizer.from_pretrained(served.folder)

    def render(context: Context) -> str:
        turns = [{"role": m.role, "content": m.content} for m in context.messages]
        return str(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))

    requests = [request(GREEDY, text=q) for q in QUESTIONS[:3]]
    by_chat = await draw(generator(served), requests)
    by_text = await draw(generator(served, endpoint="completions", renderer=render), requests)
    assert [c.text for c in by_text] == [c.text for c in by_chat]
    assert [c.prompt_tokens for c in by_text] == [c.prompt_tokens for c in by_chat]


async def test_completions_endpoint_with_plain_rendering(served: Served) -> None:
    model = generator(served, endpoint="completions")
    begun, fresh = await draw(model, [request(GREEDY, reply="I have"), request(GREEDY)])
    assert (begun.prompt_tokens or 0) > (fresh.prompt_tokens or 0)
    assert fresh.finish in (Finish.EOS, Finish.LENGTH)


async def test_stop_strings_end_a_text_and_are_told_from_its_own_end(served: Served) -> None:
    for question in (*QUESTIONS[:2], *STORIES):
        (whole,) = await draw(generator(served), [request(GREEDY, text=question)])
        stop = whole.text.strip()[len(whole.text.strip()) // 2]
        (cut,) = await draw(generator(served), [request(replace(GREEDY, stop=(stop,)), text=question)])
        assert cut.text == whole.text.split(stop)[0]
        assert cut.finish is Finish.STOP
        (never,) = await draw(generator(served), [request(replace(GREEDY, stop=("never written",)), text=question)])
        assert (never.text, never.finish) == (whole.text, whole.finish)


async def test_a_begun_reply_is_continued_where_it_stopped(served: Served) -> None:
    """Cut after any token, the greedy text goes on as it did."""
    model = generator(served)
    for question in (*QUESTIONS[:2], *STORIES):
        (whole,) = await draw(model, [request(replace(GREEDY, top2=True), text=question)])
        assert whole.ids is not None
        assert whole.ends is not None
        for k in {1, len(whole.ids) // 2, len(whole.ids) - 1} - {0, len(whole.ids)}:
            head = Segment(whole.text[: whole.ends[k - 1]], whole.ids[:k])
            context = request(text=question).context.then(head)
            (rest,) = await draw(model, [Request(context, replace(GREEDY, max_tokens=40 - k), 0)])
            assert head.text + rest.text == whole.text
            assert rest.ids == whole.ids[k:]


async def test_the_cap_and_a_full_context(served: Served) -> None:
    (short,) = await draw(generator(served), [request(Sampling(temperature=0.0, max_tokens=2))])
    assert (short.finish, short.generated) == (Finish.LENGTH, 2)
    endless = generator(served, extra_body={"ignore_eos": True})
    (full,) = await draw(endless, [request(Sampling(temperature=0.0, max_tokens=100_000))])
    assert full.finish is Finish.LENGTH
    assert (full.prompt_tokens or 0) + (full.generated or 0) == endless.max_context


async def test_a_prompt_that_is_too_long_fails_alone(served: Served) -> None:
    long, fine = await ask(generator(served), [request(text=QUESTION * 200), request()])
    assert isinstance(long, Failure)
    assert long.kind == "context_length"
    assert isinstance(fine, Completion)


async def test_a_model_that_is_not_served(served: Served) -> None:
    with pytest.raises(ModelError, match=f"does not serve 'oak'; it serves {served.name}"):
        await ask(OpenAIGenerator("oak", served.url), [request()])


async def test_closing_ends_the_work_on_the_server(served: Served) -> None:
    model, book = generator(served, extra_body={"ignore_eos": True}), Spent()
    endless = [request(Sampling(max_tokens=None), s, q) for q in QUESTIONS for s in range(16)]
    running = asyncio.ensure_future(ask(model, endless, book))
    for _ in range(400):
        await asyncio.sleep(0.05)
        if await asyncio.to_thread(served.metric, "num_requests_running") > 0:
            break
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert model.pending == 0
    assert (book.untold or 0) > 0
    for _ in range(100):
        await asyncio.sleep(0.1)
        if served.metric("num_requests_running") + served.metric("num_requests_waiting") == 0:
            break
    else:
        pytest.fail("the server still works on requests that were closed ten seconds ago")


async def test_the_doctor_finds_it_well(served: Served) -> None:
    report = await probe(served.url)
    findings = {c.name: c.finding for c in report.checks}
    texts = {"chat endpoint", "completions endpoint", "n choices in one call", "log-probabilities", "token ids"}
    texts |= {"the two best per token", "tokens spell the text", "stop strings", "continues a begun reply"}
    texts |= {"choice by structured_outputs", "log-probabilities of chosen tokens", "reuses a prefix"}
    assert {name for name in texts if findings[name] is not Finding.YES} == set(), report.checks
    absent = {"pooling endpoint", "limit thinking_token_budget", "thoughts", "seeds are safe"}
    assert {name for name in absent if findings[name] is not Finding.NO} == set(), report.checks
    assert report.abilities >= {Ability.LOGPROBS, Ability.TOP2, Ability.CONTINUE}
    assert Ability.THOUGHT_LIMIT not in report.abilities
    assert report.shortfalls == {}
    assert report.max_context
    assert [step.at_once for step in report.latency][:2] == [1, 2]


async def test_greedy_texts_are_those_of_transformers_in_fp32(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also shows that nothing of the model's own generation config gets in."""
    torch, transformers = import_module("torch"), import_module("transformers")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(served.folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(served.folder, dtype=torch.float32)
    config = transformers.GenerationConfig(
        do_sample=False, max_new_tokens=40, eos_token_id=model.config.eos_token_id, pad_token_id=0
    )
    model.generation_config = config  # what is not set is filled from the model's own, here too
    equal = 0
    try:
        done = await draw(generator(served), [request(GREEDY, text=q) for q in QUESTIONS])
        for question, ours in zip(QUESTIONS, done, strict=True):
            turns = [{"role": "user", "content": question}]
            ids = tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            with torch.inference_mode():
                out = model.generate(**ids)[0, ids["input_ids"].shape[1] :]
            equal += tuple(out.tolist()) == ours.ids
    finally:
        torch.set_num_threads(threads)
    with capsys.disabled():
        print(f"\ngreedy texts equal to transformers': {equal} of {len(QUESTIONS)}")
    assert equal >= 0.9 * len(QUESTIONS)
