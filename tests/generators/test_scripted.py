"""The test double is itself tested: its distribution, its books, its cancellation."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Context, Failure, Finish, Request, Sampling, Segment
from thence.core.errors import UsageError
from thence.core.problem import Message
from thence.core.protocols import Generator, Scorer
from thence.generators.scripted import Line, ScriptedGenerator

QUESTION = "What is 7 + 8?"
HOT = Sampling(temperature=1.0)
COLD = Sampling(temperature=0.0)


def request(sampling: Sampling = HOT, seed: int = 0, reply: str = "", question: str = QUESTION) -> Request:
    begun = (Segment(reply),) if reply else ()
    return Request(Context((Message("user", question),), begun), sampling, seed)


async def ask(
    generator: ScriptedGenerator, requests: Sequence[Request], book: Spent | None = None
) -> list[Completion | Failure]:
    outcomes: dict[int, Completion | Failure] = {}
    async for i, outcome in generator.run(requests, book if book is not None else Spent()):
        outcomes[i] = outcome
    return [outcomes[i] for i in range(len(requests))]


async def one(generator: ScriptedGenerator, asked: Request) -> Completion:
    (outcome,) = await ask(generator, [asked])
    assert isinstance(outcome, Completion)
    return outcome


def coin() -> ScriptedGenerator:
    return ScriptedGenerator(answers={QUESTION: [("15", 0.6), ("14", 0.4)]})


def test_is_a_generator_and_a_scorer() -> None:
    assert isinstance(coin(), Generator)
    assert isinstance(coin(), Scorer)


async def test_draws_follow_the_weights_and_the_seed() -> None:
    generator = coin()
    first = await ask(generator, [request(seed=s) for s in range(2000)])
    again = await ask(coin(), [request(seed=s) for s in range(2000)])
    assert first == again
    counts = Counter(c.reply.rsplit(" ", 1)[1] for c in first if isinstance(c, Completion))
    assert set(counts) == {"15", "14"}
    assert abs(counts["15"] / 2000 - 0.6) < 0.04


async def test_a_reply_ends_in_the_answer_and_greedy_takes_the_likeliest() -> None:
    completion = await one(coin(), request(COLD))
    assert completion.reply == "15, by my count.\n#### 15"
    assert completion.finish is Finish.EOS


async def test_logprobs_are_those_of_the_distribution() -> None:
    completion = await one(coin(), request(Sampling(temperature=0.0, top2=True)))
    assert completion.logprobs is not None
    assert completion.top2 is not None
    assert sum(completion.logprobs) == pytest.approx(math.log(0.6))
    assert completion.top2[0] == pytest.approx((math.log(0.6), math.log(0.4)))
    assert completion.generated == len(completion.logprobs) == len(completion.ids or ()) == 7


async def test_temperature_acts_and_logprobs_stay_untempered() -> None:
    generator = coin()
    outcomes = await ask(generator, [request(Sampling(temperature=0.5), seed=s) for s in range(2000)])
    share = sum(isinstance(c, Completion) and c.reply.endswith("15") for c in outcomes) / 2000
    assert abs(share - 0.36 / (0.36 + 0.16)) < 0.04
    assert {round(sum(c.logprobs or ()), 6) for c in outcomes if isinstance(c, Completion)} == {
        round(math.log(0.6), 6),
        round(math.log(0.4), 6),
    }


async def test_top_p_and_top_k_cut_the_tail() -> None:
    for sampling in (Sampling(temperature=1.0, top_p=0.5), Sampling(temperature=1.0, top_k=1)):
        outcomes = await ask(coin(), [request(sampling, seed=s) for s in range(50)])
        assert {c.reply[:2] for c in outcomes if isinstance(c, Completion)} == {"15"}


async def test_first_rank_picks_the_alternative_and_ends_clearly_past_the_last() -> None:
    generator = coin()
    ranks = [request(Sampling(temperature=0.0, first_rank=r)) for r in range(3)]
    best, second, third = await ask(generator, ranks)
    assert isinstance(best, Completion)
    assert isinstance(second, Completion)
    assert best.reply.startswith("15,")
    assert second.reply.startswith("14,")
    assert isinstance(third, Failure)
    assert third.kind == "first-token"


async def test_a_begun_reply_is_continued_among_the_texts_that_start_with_it() -> None:
    texts = [("a = 1\nb = 2\n#### 2", 0.5), ("a = 1\nb = 3\n#### 3", 0.25), ("c\n#### 9", 0.25)]
    generator = ScriptedGenerator(texts={QUESTION: texts})
    completion = await one(generator, request(Sampling(temperature=0.0, stop=("\n",)), reply="a = 1\n"))
    assert completion.text == "b = 2"
    assert completion.finish is Finish.STOP
    assert completion.logprobs is not None
    assert sum(completion.logprobs) == pytest.approx(math.log(0.5 / 0.75))


async def test_forced_text_after_a_whole_reply_names_that_replys_answer() -> None:
    written = "14, by my count.\n#### 14"
    followup = await one(coin(), request(HOT, reply=written + " Therefore, the answer is"))
    assert followup.text == " 14"


async def test_stop_string_is_cut_and_its_token_counted() -> None:
    generator = ScriptedGenerator(write=lambda cue: "one two\nthree four")
    completion = await one(generator, request(Sampling(stop=("\n",))))
    assert completion.text == "one two"
    assert completion.generated == 3
    assert completion.ends == (3, 7, 7)


async def test_the_cap_cuts_between_tokens() -> None:
    generator = ScriptedGenerator(write=lambda cue: "one two three")
    completion = await one(generator, request(Sampling(max_tokens=2)))
    assert (completion.text, completion.finish, completion.generated) == ("one two", Finish.LENGTH, 2)
    whole = await one(generator, request(Sampling(max_tokens=4)))
    assert (whole.finish, whole.generated) == (Finish.EOS, 4)


async def test_ids_decode_to_the_text_and_continue_it() -> None:
    generator = ScriptedGenerator(write=lambda cue: "one two\nthree")
    completion = await one(generator, request())
    assert completion.ids is not None
    assert generator.decode(completion.ids) == completion.text
    context = request().context
    continued = context.then(Segment(completion.text, completion.ids))
    assert generator.tokens(continued) == generator.tokens(context) + completion.ids
    with pytest.raises(UsageError, match="decode only its own ids"):
        generator.decode([5])


async def test_books_count_the_prefix_once_and_equal_the_machines() -> None:
    generator = coin()
    books = [Spent(), Spent()]
    outcomes = await ask(generator, [request(seed=s) for s in range(4)], books[0])
    await ask(generator, [request(seed=9)], books[1])
    prompt = len(generator.tokens(request().context))
    assert (books[0].prefilled, books[0].reused) == (prompt, 3 * prompt)
    assert (books[1].prefilled, books[1].reused) == (0, prompt)
    assert books[0].generated == sum(c.generated or 0 for c in outcomes if isinstance(c, Completion))
    total = Spent()
    for book in books:
        total += book
    assert total == generator.spent


async def test_short_answers_arrive_first() -> None:
    generator = ScriptedGenerator(write=lambda cue: "word " * (10 - cue.seed))
    order = [i async for i, _ in generator.run([request(seed=s) for s in range(5)], Spent())]
    assert order == [4, 3, 2, 1, 0]


async def test_wait_delays_by_request() -> None:
    generator = ScriptedGenerator(write=lambda cue: "word", wait=lambda cue: 50 * (cue.seed == 0))
    order = [i async for i, _ in generator.run([request(seed=s) for s in range(3)], Spent())]
    assert order == [1, 2, 0]


async def test_closing_cancels_and_counts_waste() -> None:
    generator = ScriptedGenerator(write=lambda cue: "a b" if cue.seed == 0 else "word " * 1000)
    book = Spent()
    async with aclosing(generator.run([request(seed=s) for s in range(3)], book)) as stream:
        async for i, _ in stream:
            assert i == 0
            break
    assert generator.pending == 0
    assert book.generated is not None
    assert 0 < (book.wasted or 0) == book.generated - 3 < 100
    assert generator.spent == book


async def test_a_cancelled_task_cancels_its_requests() -> None:
    generator = ScriptedGenerator(write=lambda cue: "word " * 10_000)
    book = Spent()
    task = asyncio.ensure_future(ask(generator, [request()], book))
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert generator.pending == 0
    assert 0 < (book.wasted or 0) == book.generated


async def test_failures_by_script_end_alone() -> None:
    generator = ScriptedGenerator(
        write=lambda cue: "fine", fail=lambda cue: Failure("server", "down", 3) if cue.seed == 1 else None
    )
    fine, failed, also_fine = await ask(generator, [request(seed=s) for s in range(3)])
    assert failed == Failure("server", "down", 3)
    assert isinstance(fine, Completion)
    assert isinstance(also_fine, Completion)


async def test_a_question_that_is_not_scripted_is_a_failure() -> None:
    (outcome,) = await ask(coin(), [request(question="Who?")])
    assert isinstance(outcome, Failure)
    assert "Who?" in outcome.message


async def test_the_last_question_counts_not_the_exemplars() -> None:
    generator = ScriptedGenerator(answers={"A?": [("1", 1.0)], "B?": [("2", 1.0)]})
    completion = await one(generator, request(question="Q: A?\nA: 1\n\nQ: B?\nA:"))
    assert completion.reply.endswith("#### 2")


async def test_thoughts_are_read_from_tags() -> None:
    generator = ScriptedGenerator(write=lambda cue: "<think>so 15</think>\nIt is 15")
    completion = await one(generator, request())
    assert (completion.thought, completion.reply) == ("so 15", "It is 15")


async def test_scoring_text_gives_the_exact_log_probabilities() -> None:
    scores = await coin().logprobs([request().context] * 2, ["14, by", "16, by"], Spent())
    assert scores[0].logprobs == pytest.approx((math.log(0.4), 0.0))
    assert scores[1].logprobs[0] < -50


async def test_a_line_sets_its_own_logprobs() -> None:
    generator = ScriptedGenerator(write=lambda cue: Line("a b", (-1.0, -2.0, -3.0)))
    assert (await one(generator, request())).logprobs == (-1.0, -2.0, -3.0)
    wrong = ScriptedGenerator(write=lambda cue: Line("a b", (-1.0,)))
    with pytest.raises(UsageError, match="must be equal"):
        await ask(wrong, [request()])


async def test_a_full_context_is_a_failure_of_that_request_alone() -> None:
    generator = ScriptedGenerator(write=lambda cue: "one two three", max_context=12)
    short, long = await ask(generator, [request(), request(question="word " * 20)])
    assert isinstance(short, Completion)
    assert isinstance(long, Failure)
    assert long.kind == "context_length"


def test_bad_scripts_are_refused() -> None:
    with pytest.raises(UsageError, match="exactly one"):
        ScriptedGenerator()
    with pytest.raises(UsageError, match="weight above 0"):
        ScriptedGenerator(answers={QUESTION: []})


def test_abilities_can_be_taken_away() -> None:
    generator = ScriptedGenerator(write=lambda cue: "x", abilities=frozenset({Ability.SEEDED}))
    assert generator.abilities == {Ability.SEEDED}


def test_works_in_one_event_loop_after_another() -> None:
    generator = coin()
    assert asyncio.run(one(generator, request(COLD))) == asyncio.run(one(generator, request(COLD)))
