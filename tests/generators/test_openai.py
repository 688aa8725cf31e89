"""The client of OpenAI-compatible servers: against a server that behaves, and one that misbehaves in every way."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from contextlib import aclosing

import pytest
from stub import JSON, Call, Reply, Stub, chat, error

from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Context, Failure, Finish, Request, Sampling, Segment
from thence.core.errors import ModelError, ServerError, ThenceError, UsageError
from thence.core.problem import Message
from thence.core.protocols import Generator
from thence.generators.answer import reconcile, room_left, spell, token_ends
from thence.generators.openai import OpenAIGenerator, parse_model, plain
from thence.generators.server import Patience, find_key, retry_after

QUICK = Patience(timeout=5.0, retries=4, first_wait=0.001, longest_wait=0.05, total=10.0)
SECRET = "sk-very-secret-0123456789"


def request(seed: int = 0, text: str = "Why?", reply: str = "", **sampling: object) -> Request:
    begun = (Segment(reply),) if reply else ()
    return Request(Context((Message("user", text),), begun), Sampling(**sampling), seed)  # type: ignore[arg-type]


def generator(stub: Stub, **options: object) -> OpenAIGenerator:
    return OpenAIGenerator("m", stub.url, **{"patience": QUICK, **options})  # type: ignore[arg-type]


async def ask(model: OpenAIGenerator, requests: list[Request], book: Spent | None = None) -> list[Completion | Failure]:
    outcomes: dict[int, Completion | Failure] = {}
    book = Spent() if book is None else book
    try:
        async with aclosing(model.run(requests, book)) as stream:
            async for i, outcome in stream:
                assert i not in outcomes
                outcomes[i] = outcome
    finally:
        await model.close()
    return [outcomes[i] for i in range(len(requests))]


async def one(model: OpenAIGenerator, asked: Request, book: Spent | None = None) -> Completion:
    (outcome,) = await ask(model, [asked], book)
    assert isinstance(outcome, Completion), outcome
    return outcome


async def obliging(call: Call) -> Reply:
    """As many different choices as asked for."""
    return chat(*(f"text {call.body['seed']}.{i}" for i in range(call.body.get("n", 1))))


# --- a server that behaves
# -------------------------------------------------------------------------------------------


def test_is_a_generator() -> None:
    assert isinstance(OpenAIGenerator("m", "http://127.0.0.1:1/v1"), Generator)


async def test_every_sampling_parameter_is_sent() -> None:
    async with Stub(obliging) as stub:
        await one(generator(stub), request(5, temperature=0.3, top_p=0.9, max_tokens=11, stop=("\n", "X")))
        (call,) = stub.calls
    assert call.path == "/v1/chat/completions"
    assert call.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Why?"}],
        "temperature": 0.3,
        "top_p": 0.9,
        "max_tokens": 11,
        "stop": ["\n", "X"],
        "seed": 5,
        "n": 1,
    }


async def test_top_k_only_where_it_is_set_and_extra_body_as_given() -> None:
    async with Stub(obliging) as stub:
        await one(generator(stub, extra_body={"min_p": 0.1}), request(top_k=7))
        assert stub.calls[0].body["top_k"] == 7
        assert stub.calls[0].body["min_p"] == 0.1


async def test_vllm_is_told_what_its_generation_config_could_set() -> None:
    listed = {"id": "m", "owned_by": "vllm", "max_model_len": 100}
    async with Stub(obliging, (listed,)) as stub:
        model = generator(stub)
        await one(model, request(max_tokens=2048))
        body = stub.calls[0].body
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (0, 0.0, 1.0)
    assert body["return_token_ids"] is True
    assert body["max_tokens"] == 100
    assert model.max_context == 100
    assert Ability.CONTINUE in model.abilities


CPU = 'vllm:cache_config_info{_block_size_resolved="True",block_size="128",kv_cache_memory_bytes="1073741824"} 1.0'
GPU = 'vllm:cache_config_info{_block_size_resolved="True",block_size="16",kv_cache_memory_bytes="None"} 1.0'


@pytest.mark.parametrize(("metrics", "sent"), [(CPU, False), (GPU, True), ("", True)])
async def test_no_seed_is_sent_to_vllm_on_a_cpu_which_it_could_kill(metrics: str, sent: bool) -> None:
    async with Stub(obliging_without_seed, ({"id": "m", "owned_by": "vllm"},), metrics) as stub:
        model = generator(stub)
        await one(model, request(5))
        assert ("seed" in stub.calls[0].body) is sent
        assert model.describe()["seeds"] == ("sent" if sent else "not sent")
        await one(generator(stub, seeds=True), request(5))
        assert stub.calls[-1].body["seed"] == 5


async def obliging_without_seed(call: Call) -> Reply:
    return chat("text")


async def test_equal_requests_become_one_call_with_one_seed() -> None:
    async with Stub(obliging) as stub:
        requests = [request(s) for s in (3, 4, 5)] + [request(9, text="Other?")]
        outcomes = await ask(generator(stub), requests)
    assert sorted((c.body["n"], c.body["seed"]) for c in stub.calls) == [(1, 9), (3, 3)]
    texts = [o.reply for o in outcomes if isinstance(o, Completion)]
    assert texts == ["text 3.0", "text 3.1", "text 3.2", "text 9.0"]


async def test_greedy_requests_go_alone() -> None:
    async with Stub(obliging) as stub:
        await ask(generator(stub), [request(s, temperature=0.0) for s in range(3)])
        assert [c.body["n"] for c in stub.calls] == [1, 1, 1]


async def test_max_n_bounds_a_call() -> None:
    async with Stub(obliging) as stub:
        await ask(generator(stub, max_n=2), [request(s) for s in range(5)])
        assert sorted(c.body["n"] for c in stub.calls) == [1, 2, 2]


@pytest.mark.parametrize("most", [1, 2])
async def test_n_is_emulated_where_a_server_ignores_it(most: int) -> None:
    async def stingy(call: Call) -> Reply:
        return chat(*(f"text {call.body['seed']}.{i}" for i in range(min(most, call.body["n"]))))

    async with Stub(stingy) as stub:
        model, book = generator(stub), Spent()
        outcomes = await ask(model, [request(s) for s in range(5)], book)
        assert len({o.reply for o in outcomes if isinstance(o, Completion)}) == 5
        assert book.generated == 15
        calls = len(stub.calls)
        await ask(model, [request(s) for s in range(4)])
        assert len(stub.calls) - calls == 4 // most  # it is not asked for more than it gives again


async def test_completions_endpoint_renders_plainly_and_stops_at_the_next_question() -> None:
    async def completions(call: Call) -> Reply:
        return Reply({"choices": [{"text": " 15\nQ: next", "finish_reason": "length"}], "usage": {}})

    async with Stub(completions) as stub:
        model = generator(stub, endpoint="completions")
        done = await one(model, request(max_tokens=9, reply="So"))
        body = stub.calls[0].body
    assert stub.calls[0].path == "/v1/completions"
    assert body["prompt"] == "Q: Why?\nA: So"
    assert body["stop"] == ["\nQ:"]
    assert (done.text, done.finish) == (" 15", Finish.EOS)  # the rendering's own stop string is a natural end
    assert Ability.CONTINUE in model.abilities


def test_plain_rendering() -> None:
    turns = (
        Message("system", "Be brief."),
        Message("user", "a?"),
        Message("assistant", "b"),
        Message("user", "c?"),
    )
    assert plain(Context(turns)) == "Be brief.\n\nQ: a?\nA: b\nQ: c?\nA:"


async def test_an_own_renderer_has_no_added_stop_strings() -> None:
    async with Stub(obliging) as stub:
        model = generator(stub, endpoint="completions", renderer=lambda context: "<s>")
        await ask(model, [request(max_tokens=3)])
        assert stub.calls[0].body["prompt"] == "<s>"
        assert "stop" not in stub.calls[0].body


async def test_the_concurrency_limit_holds_and_pending_counts_calls() -> None:
    async def slow(call: Call) -> Reply:
        await asyncio.sleep(0.01)
        return chat("x")

    async with Stub(slow) as stub:
        model = generator(stub, max_connections=3)
        asking = asyncio.ensure_future(ask(model, [request(text=f"q{i}") for i in range(12)]))
        await asyncio.sleep(0.005)
        assert model.pending == 12
        await asking
        assert stub.peak == 3
        assert model.pending == 0


async def test_outcomes_arrive_as_they_come() -> None:
    async def by_text(call: Call) -> Reply:
        await asyncio.sleep(0.05 if call.body["messages"][0]["content"] == "slow" else 0)
        return chat("x")

    async with Stub(by_text) as stub:
        model = generator(stub)
        order = [i async for i, _ in model.run([request(text="slow"), request(text="fast")], Spent())]
        await model.close()
    assert order == [1, 0]


async def test_works_in_one_event_loop_after_another() -> None:
    async with Stub(obliging) as stub:
        model = generator(stub)
        await one(model, request())
        elsewhere = await asyncio.to_thread(lambda: asyncio.run(one(model, request(8))))
    assert elsewhere.reply == "text 8.0"


# --- books
# -----------------------------------------------------------------------------------------------------------


async def test_usage_is_reconciled_with_the_book() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 16}}

    async def told(call: Call) -> Reply:
        return chat("a b", usage=usage)

    async with Stub(told) as stub:
        model, book = generator(stub), Spent()
        done = await one(model, request(), book)
    assert book == Spent(prefilled=4, reused=16, generated=9) == model.spent
    assert (done.generated, done.prompt_tokens) == (9, 20)


async def test_what_a_server_does_not_tell_stays_unknown() -> None:
    async def silent(call: Call) -> Reply:
        return Reply({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]})

    async with Stub(silent) as stub:
        book = Spent()
        done = await one(generator(stub), request(), book)
    assert (book.prefilled, book.reused, book.generated) == (None, None, None)
    assert (done.generated, done.prompt_tokens) == (None, None)


async def test_choices_are_counted_by_token_ids() -> None:
    async def with_ids(call: Call) -> Reply:
        reply = chat("a", "b", usage={"prompt_tokens": 5, "completion_tokens": 7})
        assert isinstance(reply.body, dict)
        for choice, ids in zip(reply.body["choices"], ([1, 2, 0], [1, 2, 3, 0]), strict=True):
            choice["token_ids"] = ids
        return reply

    async with Stub(with_ids) as stub:
        outcomes = await ask(generator(stub), [request(0), request(1)])
    assert [o.generated for o in outcomes if isinstance(o, Completion)] == [3, 4]
    assert [o.ids for o in outcomes if isinstance(o, Completion)] == [(1, 2, 0), (1, 2, 3, 0)]


async def test_choices_nobody_counted_are_unknown_but_the_book_is_not() -> None:
    async with Stub(obliging) as stub:
        book = Spent()
        outcomes = await ask(generator(stub), [request(0), request(1)], book)
        assert [o.generated for o in outcomes if isinstance(o, Completion)] == [None, None]
        assert book.generated == 6
        counted = await ask(generator(stub, max_n=1), [request(0), request(1)])
        assert [o.generated for o in counted if isinstance(o, Completion)] == [3, 3]


def test_reconciling_counts() -> None:
    stop, cap = Finish.STOP, Finish.LENGTH
    assert reconcile([4], [stop], 5) == [5]
    assert reconcile([2, 3], [stop, cap], 5) == [2, 3]
    assert reconcile([2, 3], [stop, cap], 6) == [3, 3]  # the end-of-text token is billed, not listed
    assert reconcile([2, 3], [stop, stop], 9) == [None, None]
    assert reconcile([2, None], [stop, stop], 5) == [None, None]
    assert reconcile([2, 3], [stop, stop], None) == [2, 3]


async def test_closing_closes_the_http_request_and_is_counted() -> None:
    async def one_fast(call: Call) -> Reply:
        if call.body["messages"][0]["content"] == "slow":
            await asyncio.sleep(30)
        return chat("x")

    async with Stub(one_fast) as stub:
        model, book = generator(stub), Spent()
        async with aclosing(model.run([request(text="fast"), request(text="slow")], book)) as stream:
            async for i, _ in stream:
                assert i == 0
                break
        await asyncio.sleep(0.02)
        await model.close()
    assert stub.cut == 1
    assert book.untold == 1
    assert model.pending == 0


async def test_a_choice_that_arrived_but_was_not_taken_is_wasted() -> None:
    async def counted(call: Call) -> Reply:
        return chat("a", "b", token_ids=[1, 2, 0], usage={"prompt_tokens": 5, "completion_tokens": 6})

    async with Stub(counted) as stub:
        model, book = generator(stub), Spent()
        async with aclosing(model.run([request(0), request(1)], book)) as stream:
            async for _ in stream:
                break
        await model.close()
    assert (book.generated, book.wasted, book.untold) == (6, 3, 0)


# --- what a completion holds
# -----------------------------------------------------------------------------------------


def row(token: str, logprob: float, other: float) -> JSON:
    tops = [{"token": "?", "logprob": other}, {"token": token, "logprob": logprob}]
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": tops}


async def test_log_probabilities_top2_and_offsets() -> None:
    rows = [row("é", -0.1, -2.0), row(" b", -0.7, -0.6), row("<eos>", -0.2, -3.0)]

    async def scored(call: Call) -> Reply:
        assert (call.body["logprobs"], call.body["top_logprobs"]) == (True, 3)
        return chat("é b", logprobs={"content": rows})

    async with Stub(scored) as stub:
        done = await one(generator(stub), request(top2=True))
    assert done.logprobs == (-0.1, -0.7, -0.2)
    assert done.top2 == ((-0.1, -2.0), (-0.6, -0.7), (-0.2, -3.0))
    assert done.ends == (1, 3, 3)


async def test_log_probabilities_of_the_completions_endpoint() -> None:
    given = {
        "tokens": ["a", " b"],
        "token_logprobs": [-0.1, -0.2],
        "top_logprobs": [{"a": -0.1, "c": -1}] * 2,
    }

    async def scored(call: Call) -> Reply:
        assert call.body["logprobs"] == 3
        return Reply({"choices": [{"text": "a b", "finish_reason": "stop", "logprobs": given}], "usage": {}})

    async with Stub(scored) as stub:
        done = await one(generator(stub, endpoint="completions"), request(top2=True))
    assert (done.logprobs, done.ends) == ((-0.1, -0.2), (1, 3))
    assert done.top2 == ((-0.1, -1.0), (-0.1, -1.0))


async def test_missing_log_probabilities_are_an_error_not_an_approximation() -> None:
    async with Stub(obliging) as stub:
        with pytest.raises(ModelError, match=r"gives no top-2 log-probabilities"):
            await one(generator(stub), request(top2=True))
        with pytest.raises(ModelError, match=r"gives no log-probabilities"):
            await one(generator(stub), request(logprobs=True))


def test_spelling_tokens_that_end_inside_a_character() -> None:
    half, rest = "é".encode()[:1], "é".encode()[1:]
    assert spell([b"a", half, rest, "b"]) == ["a", "", "é", "b"]
    assert token_ends([b"a", half, rest, "b"], "aéb") == (1, 1, 2, 3)


def test_special_tokens_have_no_width_and_stop_strings_end_with_the_text() -> None:
    assert token_ends(["a", "<unk>", " b", "<eos>"], "a b") == (1, 1, 3, 3)
    assert token_ends(["one", " two\nthree"], "one two") == (3, 7)
    assert token_ends(["one", "two"], "one 2") is None


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thoughts_from_a_field_of_their_own(field: str) -> None:
    async def thinking(call: Call) -> Reply:
        message = {"content": "It is 15.", field: "7 + 8"}
        return Reply({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 9}})

    async with Stub(thinking) as stub:
        done = await one(generator(stub), request())
    assert (done.thought, done.reply, done.text[done.reply_at :]) == ("7 + 8", "It is 15.", "It is 15.")
    assert done.text == "<think>7 + 8</think>It is 15."
    assert done.generated == 9


async def test_after_a_closed_thought_nothing_is_one_whatever_the_server_calls_it() -> None:
    """A reasoning parser that reads only what the model wrote takes all of it for a thought until a tag closes one."""

    async def called_thought(call: Call) -> Reply:
        message = {"content": None, "reasoning": "It is 15."}
        usage = {"completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 4}}
        return Reply({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    async with Stub(called_thought) as stub:
        abilities = frozenset({Ability.CONTINUE})
        closed = await one(generator(stub, abilities=abilities), request(reply="<think>7 + 8</think>"))
        assert (closed.thought, closed.reply, closed.thought_tokens) == ("", "It is 15.", None)
        within = await one(generator(stub, abilities=abilities), request(reply="<think>7 + 8"))
        assert (within.thought, within.text) == ("It is 15.", "It is 15.")
        plain = await one(generator(stub), request())
        assert plain.text == "<think>It is 15."


async def test_thoughts_from_tags_and_a_cut_thought_has_no_reply() -> None:
    async def tagged(call: Call) -> Reply:
        return chat("<think>7 + 8</think>\n\nIt is 15.")

    async def cut(call: Call) -> Reply:
        message = {"content": None, "reasoning_content": "7 + 8 is"}
        return Reply({"choices": [{"message": message, "finish_reason": "length"}], "usage": {}})

    async with Stub(tagged) as stub:
        done = await one(generator(stub), request())
        assert (done.thought, done.reply) == ("7 + 8", "It is 15.")
        stub.handler = cut
        done = await one(generator(stub), request())
        assert (done.thought, done.reply, done.finish) == ("7 + 8 is", "", Finish.LENGTH)


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ("one", {"stop_reason": "\n"}, ("one", Finish.STOP)),
        ("one", {"stop_reason": None}, ("one", Finish.EOS)),
        ("one", {}, ("one", Finish.STOP)),  # not told: stopped, until an empty continuation shows the end
        ("", {}, ("", Finish.EOS)),
        ("one\ntwo", {"stop_reason": None}, ("one", Finish.STOP)),  # the server ignored the stop string
    ],
)
async def test_why_a_completion_ended(text: str, fields: JSON, expected: tuple[str, Finish]) -> None:
    async def reply(call: Call) -> Reply:
        return chat(text, **fields)

    async with Stub(reply) as stub:
        done = await one(generator(stub), request(stop=("\n",)))
    assert (done.text, done.finish) == expected


async def test_an_answer_that_was_filtered_is_a_failure() -> None:
    async def filtered(call: Call) -> Reply:
        return chat("I", finish="content_filter")

    async with Stub(filtered) as stub:
        (outcome,) = await ask(generator(stub), [request()])
    assert isinstance(outcome, Failure)
    assert outcome.kind == "content_filter"


# --- continuing a begun reply
# ----------------------------------------------------------------------------------------


def continuing(honoured: bool) -> object:
    async def handler(call: Call) -> Reply:
        flagged = call.body.get("continue_final_message") is True
        size = 10 if flagged and honoured else 14
        return chat(" four" if flagged else "x", usage={"prompt_tokens": size, "completion_tokens": 1})

    return handler


async def test_continuing_is_tried_out_once_and_used() -> None:
    async with Stub(continuing(True)) as stub:  # type: ignore[arg-type]
        model = generator(stub)
        done = await one(model, request(reply="One, two, three,"))
        assert done.text == " four"
        last = stub.calls[-1].body
        assert last["messages"][-1] == {"role": "assistant", "content": "One, two, three,"}
        assert (last["continue_final_message"], last["add_generation_prompt"]) == (True, False)
        assert len(stub.calls) == 3
        await one(model, request(reply="One,"))
        assert len(stub.calls) == 4
        assert Ability.CONTINUE in model.abilities


async def test_a_server_that_would_start_anew_is_refused() -> None:
    async with Stub(continuing(False)) as stub:  # type: ignore[arg-type]
        with pytest.raises(ModelError, match="cannot continue a begun reply"):
            await one(generator(stub), request(reply="One, two, three,"))


async def test_vllm_continues_the_sampled_tokens_not_the_text() -> None:
    async def vllm(call: Call) -> Reply:
        if call.path == "/tokenize":
            return Reply({"tokens": [7, 8] if "messages" in call.body else [len(call.body["prompt"])]})
        if "prompt" in call.body:
            choice = {"text": " four", "finish_reason": "stop", "stop_reason": None, "token_ids": [4, 0]}
            return Reply({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
        reply = chat("One, two, three,", finish="length", token_ids=[1, 2, 3])
        assert isinstance(reply.body, dict)
        reply.body["prompt_token_ids"] = [7, 8, 9]
        return reply

    async with Stub(vllm, ({"id": "m", "owned_by": "vllm"},)) as stub:
        fresh = generator(stub)
        sampled = Segment("One, two, three,", (1, 2, 3))
        context = Context((Message("user", "Why?"),), (sampled, Segment("\n\n")))
        asked = Request(context, Sampling(temperature=0.0), 0)
        done = await one(fresh, asked)  # never saw the chat: has it tokenized
        assert (done.text, done.generated, done.prompt_tokens) == (" four", 2, 5)
        assert [c.path for c in stub.calls] == ["/tokenize", "/tokenize", "/v1/completions"]
        assert stub.calls[-1].body["prompt"] == [7, 8, 1, 2, 3, 2]
        assert fresh.describe()["continues"] == "tokens"
        model = generator(stub)
        await one(model, request())
        await one(model, asked)
        assert stub.calls[-1].body["prompt"] == [7, 8, 9, 1, 2, 3, 2]  # the server's own tokens of the chat
        assert stub.calls[-2].body == {"model": "m", "prompt": "\n\n", "add_special_tokens": False}


async def test_vllm_without_a_tokenizer_continues_the_text() -> None:
    async def vllm(call: Call) -> Reply:
        return error(404, "no such path") if call.path == "/tokenize" else chat(" four")

    async with Stub(vllm, ({"id": "m", "owned_by": "vllm"},)) as stub:
        done = await one(generator(stub), request(reply="One, two, three,"))
        assert done.text == " four"
        assert stub.calls[-1].body["messages"][-1]["content"] == "One, two, three,"


async def test_a_thought_that_was_begun_is_continued_as_a_thought() -> None:
    async def thinking(call: Call) -> Reply:
        return chat(" is 15</think>15")

    async with Stub(thinking) as stub:
        model = generator(stub, abilities=frozenset({Ability.CONTINUE}))
        done = await one(model, request(reply="<think>7 + 8"))
    assert (done.thought, done.reply) == ("is 15", "15")


async def test_connect_finds_out_what_is_needed() -> None:
    async with Stub(continuing(True)) as stub:  # type: ignore[arg-type]
        model = generator(stub)
        assert Ability.CONTINUE not in model.abilities
        await model.connect(frozenset({Ability.CONTINUE}))
        assert Ability.CONTINUE in model.abilities
        await model.close()


async def test_the_first_token_cannot_be_branched_on() -> None:
    async with Stub(obliging) as stub:
        with pytest.raises(ModelError, match="cannot branch on the first token; use a local model"):
            await one(generator(stub), request(first_rank=1))
        assert not stub.calls


# --- servers that misbehave
# ------------------------------------------------------------------------------------------


async def refused_url() -> str:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return f"http://127.0.0.1:{port}/v1"


def one_line(text: str, *parts: str) -> None:
    assert "\n" not in text
    for part in parts:
        assert part in text, text


async def test_a_server_that_refuses_the_connection() -> None:
    url = await refused_url()
    with pytest.raises(ServerError) as caught:
        await one(OpenAIGenerator("m", url, patience=QUICK), request())
    one_line(str(caught.value), url, "refuses the connection", "check that the server runs", "3 tries")


async def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(ServerError, match=r"has a host name that cannot be found; check the URL"):
        await one(OpenAIGenerator("m", "http://no-such-host.invalid/v1", patience=QUICK), request())


async def test_a_server_that_hangs() -> None:
    async def hang(call: Call) -> Reply:
        await asyncio.sleep(60)
        return chat("x")

    patience = Patience(timeout=0.05, retries=1, first_wait=0.001, total=5)
    async with Stub(hang) as stub:
        book = Spent()
        with pytest.raises(ServerError) as caught:
            await one(generator(stub, patience=patience), request(), book)
    one_line(str(caught.value), stub.url, "did not answer within 0.05 s", "raise --timeout", "2 tries")
    assert book.untold == 2


async def test_one_request_that_hangs_fails_alone_while_others_get_through() -> None:
    async def hang_one(call: Call) -> Reply:
        if call.body["messages"][0]["content"] == "hang":
            await asyncio.sleep(60)
        return chat("x")

    patience = Patience(timeout=0.1, retries=1, first_wait=0.001, total=5)
    async with Stub(hang_one) as stub:
        requests = [request(text="hang"), request(text="b"), request(text="c")]
        hung, *fine = await ask(generator(stub, patience=patience), requests)
    assert isinstance(hung, Failure)
    assert (hung.kind, hung.attempts) == ("timeout", 2)
    assert all(isinstance(o, Completion) for o in fine)


async def test_a_server_that_returns_html() -> None:
    async def page(call: Call) -> Reply:
        return Reply(b"<!doctype html><h1>Welcome</h1>", headers={"Content-Type": "text/html"})

    async with Stub(page, models=()) as stub:
        with pytest.raises(ServerError) as caught:
            await one(generator(stub), request())
        one_line(str(caught.value), stub.url, "a web page instead of JSON", "usually ends in /v1")
        assert len(stub.calls) == 1  # it will not be something else next time


async def test_truncated_json_is_tried_again() -> None:
    replies = [Reply(b'{"choices": [{"message": {"content": "a'), chat("whole")]

    async def first_broken(call: Call) -> Reply:
        return replies.pop(0)

    async with Stub(first_broken) as stub:
        assert (await one(generator(stub), request())).text == "whole"


async def test_a_server_that_always_truncates() -> None:
    async def broken(call: Call) -> Reply:
        return Reply(b'{"choices": [')

    async with Stub(broken) as stub:
        with pytest.raises(ServerError) as caught:
            await one(generator(stub), request())
    one_line(str(caught.value), stub.url, "broken JSON (13 bytes)", "look at the server's log", "5 tries")


async def test_a_server_that_dies_in_the_middle_of_an_answer() -> None:
    async def die(call: Call) -> Reply:
        return Reply(b'{"choices"', claim=5000)

    async with Stub(die) as stub:
        book = Spent()
        with pytest.raises(ServerError) as caught:
            await one(generator(stub), request(), book)
    one_line(str(caught.value), stub.url, "closed the connection in the middle of an answer", "server's log")
    assert book.untold == 5


async def test_a_server_that_is_restarted_loses_nothing() -> None:
    async with Stub(obliging) as first:
        model = generator(first, patience=Patience(timeout=5, retries=50, first_wait=0.01, longest_wait=0.05, total=20))
        outcomes: list[Completion | Failure] = await ask(model, [request(0)])
        port = first.port

    async def later() -> list[Completion | Failure]:
        return await ask(model, [request(1), request(2, text="Other?")])

    asking = asyncio.ensure_future(later())
    await asyncio.sleep(0.1)
    second = Stub(obliging)
    server = await asyncio.start_server(second._serve, "127.0.0.1", port)
    outcomes += await asking
    server.close()
    assert [o.text for o in outcomes if isinstance(o, Completion)] == ["text 0.0", "text 1.0", "text 2.0"]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_statuses_that_are_tried_again(status: int) -> None:
    replies = [error(status, "busy"), error(status, "busy"), chat("done")]

    async def busy(call: Call) -> Reply:
        return replies.pop(0)

    async with Stub(busy) as stub:
        assert (await one(generator(stub), request())).text == "done"


async def test_429_for_as_long_as_we_wait() -> None:
    async def busy(call: Call) -> Reply:
        return error(429, "slow down")

    async with Stub(busy) as stub:
        with pytest.raises(ServerError) as caught:
            await one(generator(stub), request())
        one_line(str(caught.value), stub.url, "too many requests (429: slow down)", "lower --max-connections")
        assert len(stub.calls) == 5


async def test_429_for_a_minute_is_waited_out_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is made up: sleeping moves it."""
    now = [1000.0]
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        await real_sleep(0)

    monkeypatch.setattr("thence.generators.server.asyncio.sleep", sleep)
    monkeypatch.setattr("thence.generators.server.time.monotonic", lambda: now[0])
    survived = 0
    for trial in range(20):
        random.seed(trial)
        start = now[0]

        async def busy(call: Call, start: float = start) -> Reply:
            return error(429, "slow down") if now[0] < start + 60 else chat("done")

        async with Stub(busy) as stub:
            survived += (await one(generator(stub, patience=Patience()), request())).text == "done"
    assert survived == 20


async def test_retry_after_is_honoured_and_capped() -> None:
    replies = [error(429, "busy", Retry_After="0.2"), chat("done")]

    async def busy(call: Call) -> Reply:
        return replies.pop(0)

    async with Stub(busy) as stub:
        patience = Patience(timeout=5, retries=2, first_wait=0.001, longest_wait=5, total=10)
        start = time.monotonic()
        await one(generator(stub, patience=patience), request())
        assert time.monotonic() - start >= 0.2
        replies = [error(429, "busy", Retry_After="3000"), chat("done")]
        patience = Patience(timeout=5, retries=2, first_wait=0.001, longest_wait=0.01, total=10)
        await asyncio.wait_for(one(generator(stub, patience=patience), request()), 5)


def test_retry_after_in_all_its_forms() -> None:
    assert retry_after({"retry-after": "7"}) == 7.0
    assert retry_after({"retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, now=20.0) == 40.0
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, now=99.0) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({}) is None


@pytest.mark.parametrize("status", [401, 403])
async def test_a_wrong_key_ends_everything_at_once(status: int) -> None:
    async def locked(call: Call) -> Reply:
        return error(status, f"bad key {SECRET}")

    async with Stub(locked) as stub:
        model = generator(stub, key=SECRET)
        with pytest.raises(ServerError) as caught:
            await one(model, request())
        one_line(str(caught.value), stub.url, f"refuses the key ({status}: bad key ***)", "THENCE_API_KEY")
        with pytest.raises(ServerError):
            await one(model, request())
        assert len(stub.calls) == 1


async def test_a_model_that_is_not_served() -> None:
    async def unknown(call: Call) -> Reply:
        return error(404, "The model `m` does not exist.")

    async with Stub(unknown, ({"id": "acorn"}, {"id": "oak"})) as stub:
        with pytest.raises(ModelError) as caught:
            await one(generator(stub), request())
        one_line(str(caught.value), stub.url, "does not serve 'm'; it serves acorn, oak")


async def test_a_path_that_is_not_there() -> None:
    async def nothing(call: Call) -> Reply:
        return Reply({"detail": "Not Found"}, 404)

    async with Stub(nothing, ()) as stub:
        with pytest.raises(ModelError, match="usually ends in /v1"):
            await one(generator(stub), request())
    async with Stub(nothing) as stub:
        with pytest.raises(ModelError, match=r"has no chat endpoint .* try --endpoint completions"):
            await one(generator(stub), request())


LONG = "This model's maximum context length is 512 tokens. However, your prompt contains at least 513 input tokens"


async def test_a_prompt_that_is_too_long_fails_alone() -> None:
    async def strict(call: Call) -> Reply:
        return error(400, LONG) if call.body["messages"][0]["content"] == "long" else chat("x")

    async with Stub(strict) as stub:
        long, fine = await ask(generator(stub), [request(text="long"), request(text="short")])
        assert isinstance(long, Failure)
        assert long.kind == "context_length"
        one_line(long.message, stub.url, "shorten the prompt")
        assert isinstance(fine, Completion)
        (alone,) = await ask(generator(stub), [request(text="long")])
        assert isinstance(alone, Failure)


async def test_a_cap_that_is_too_large_is_lowered_to_what_fits() -> None:
    said = "This model's maximum context length is 100 tokens. However, you requested 2055 tokens "
    said += "(7 in the messages, 2048 in the completion)."

    async def small(call: Call) -> Reply:
        return error(400, said) if call.body["max_tokens"] > 93 else chat("x", finish="length")

    async with Stub(small) as stub:
        done = await one(generator(stub), request())
        assert done.finish is Finish.LENGTH
        assert stub.calls[-1].body["max_tokens"] == 93


def test_reading_what_is_left_of_a_context() -> None:
    assert room_left(LONG) == -1
    assert room_left("max_tokens=2048 cannot be greater than max_model_len=512.") == 512
    assert room_left("context length is 8192 tokens and your request has 192 input tokens") == 8000
    assert room_left("too long") is None


async def test_models_that_want_another_name_for_the_cap() -> None:
    async def modern(call: Call) -> Reply:
        if "max_tokens" in call.body:
            return error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return chat("x")

    async with Stub(modern) as stub:
        model = generator(stub)
        await ask(model, [request(0), request(1, text="Other?")])
        await one(model, request(2))
        assert stub.calls[-1].body["max_completion_tokens"] == 2048


async def test_a_refused_request_names_the_reason_and_fails_alone_once_others_got_through() -> None:
    async def picky(call: Call) -> Reply:
        return error(400, "temperature must be 1") if call.body["temperature"] != 1 else chat("x")

    async with Stub(picky) as stub:
        model = generator(stub)
        with pytest.raises(ServerError, match=r"refuses the request \(400: temperature must be 1\)"):
            await one(model, request(temperature=0.5))
        await one(model, request(temperature=1.0))
        (outcome,) = await ask(model, [request(temperature=0.5)])
        assert isinstance(outcome, Failure)
        assert outcome.kind == "bad_request"


async def test_no_quota_is_not_waited_for() -> None:
    async def broke(call: Call) -> Reply:
        return Reply({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, 429)

    async with Stub(broke) as stub:
        with pytest.raises(ServerError, match="has no quota left"):
            await one(generator(stub), request())
        assert len(stub.calls) == 1


@pytest.mark.parametrize("body", [{"choices": []}, {"choices": [7]}, {"choices": "x"}, {"hello": 1}])
async def test_answers_of_another_shape_are_failures(body: JSON) -> None:
    async def odd(call: Call) -> Reply:
        return Reply(body)

    async with Stub(odd) as stub:
        (outcome,) = await ask(generator(stub), [request()])
    assert isinstance(outcome, Failure)
    assert outcome.kind == "bad_answer"


async def test_an_error_inside_a_200() -> None:
    async def hidden(call: Call) -> Reply:
        return Reply({"error": {"message": "upstream is down"}})

    async with Stub(hidden) as stub:
        with pytest.raises(ServerError, match="upstream is down"):
            await one(generator(stub), request())


async def test_control_characters_in_a_servers_words_are_inert() -> None:
    async def rude(call: Call) -> Reply:
        return error(401, "\x1b[2J\nno")

    async with Stub(rude) as stub:
        with pytest.raises(ServerError) as caught:
            await one(generator(stub), request())
    assert str(caught.value).isprintable()


# --- secrets
# ---------------------------------------------------------------------------------------------------------


async def test_secrets_appear_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[Call] = []

    async def echo(call: Call) -> Reply:
        seen.append(call)
        return error(500 if len(seen) < 3 else 400, json.dumps(call.headers) + call.path)

    async with Stub(echo) as stub:
        url = stub.url.replace("http://", "http://someuser:hunter2pass@") + "?api-key=querysecret"
        model = OpenAIGenerator("m", url, headers={"X-Token": "headersecret"}, patience=QUICK)
        with pytest.raises(ThenceError) as caught:
            await one(model, request())
    texts = [
        str(caught.value),
        repr(caught.value),
        model.identity,
        str(model.describe()),
        repr(model),
        caplog.text,
    ]
    assert seen[0].headers["authorization"].startswith("Basic ")
    assert seen[0].headers["x-token"] == "headersecret"
    assert "api-key=querysecret" in seen[0].path
    for text in texts:
        for secret in ("hunter2pass", "someuser", "querysecret", "headersecret"):
            assert secret not in text
    assert model.identity == f"openai:m@{stub.url}#chat"
    assert caught.value.__context__ is None or "secret" not in repr(caught.value.__context__)


def test_identity_tells_extra_bodies_and_endpoints_apart() -> None:
    url = "http://127.0.0.1:1/v1/"
    identities = {
        OpenAIGenerator("m", url).identity,
        OpenAIGenerator("m", url.rstrip("/") + "/chat/completions").identity,  # the same as the first
        OpenAIGenerator("m", url, endpoint="completions").identity,
        OpenAIGenerator("m", url, extra_body={"min_p": 0.1}).identity,
    }
    assert len(identities) == 3


def test_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("THENCE_API_KEY", "OPENAI_API_KEY", "OTHER"):
        monkeypatch.delenv(name, raising=False)
    local, openai = "http://127.0.0.1:1/v1", "https://api.openai.com/v1"
    assert find_key(local) is None
    monkeypatch.setenv("OPENAI_API_KEY", "for-openai")
    assert find_key(local) is None  # it is not sent to somebody else unless named
    assert find_key(openai) == "for-openai"
    assert find_key(local, "OPENAI_API_KEY") == "for-openai"
    monkeypatch.setenv("THENCE_API_KEY", "for-all")
    assert find_key(local) == find_key(openai) == "for-all"
    with pytest.raises(UsageError, match="OTHER is not set"):
        find_key(local, "OTHER")


# --- bad calls
# -------------------------------------------------------------------------------------------------------


def test_parse_model() -> None:
    assert parse_model("openai:org/name@2@https://u:p@host/v1?x=1") == (
        "org/name@2",
        "https://u:p@host/v1?x=1",
    )
    for bad in ("name", "@http://x/v1", "name@host:80/v1"):
        with pytest.raises(UsageError, match="NAME@http"):
            parse_model(bad)


def test_bad_options_are_refused() -> None:
    url = "http://127.0.0.1:1/v1"
    with pytest.raises(UsageError, match="not a URL"):
        OpenAIGenerator("m", "ftp://x")
    with pytest.raises(UsageError, match="cannot set n, temperature"):
        OpenAIGenerator("m", url, extra_body={"n": 3, "temperature": 1})
    with pytest.raises(UsageError, match="max-connections is 0"):
        OpenAIGenerator("m", url, max_connections=0)
    with pytest.raises(UsageError, match="the header X"):
        OpenAIGenerator("m", url, headers={"X": "a\nb"})
    with pytest.raises(UsageError) as caught:
        OpenAIGenerator("m", url, key="sk-\nsecret")
    assert "secret" not in str(caught.value)
