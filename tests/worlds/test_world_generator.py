"""A world's generator follows its law exactly, continues what was begun, and keeps its books."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import aclosing
from dataclasses import replace

import pytest
from world_runs import COLD, HOT, ask, draws, near, request

from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Context, Failure, Finish, Request, Sampling, Segment
from thence.core.errors import UsageError
from thence.core.problem import Message
from thence.core.protocols import Generator, Scorer
from thence.core.search import clip
from thence.worlds import Branches, Chain, Table, Urn, World

CHAIN = Chain(steps=3, guess=0.2)
P = CHAIN.problem(0)
WORLDS: list[World] = [CHAIN, Table(), Branches(depth=2, branching=3), Urn(size=4)]
every_world = pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.name)


async def one(world: World, asked: Request) -> Completion:
    (outcome,) = await ask(world.generator(pace=0), [asked])
    assert isinstance(outcome, Completion)
    return outcome


def test_it_is_a_generator_and_a_scorer_with_every_ability() -> None:
    generator = CHAIN.generator()
    assert isinstance(generator, Generator)
    assert isinstance(generator, Scorer)
    assert generator.abilities == frozenset(Ability) - {Ability.VALUES, Ability.THOUGHT_LIMIT}
    assert generator.describe()["exact"] is True


@every_world
async def test_texts_come_as_often_as_the_law_says_with_their_exact_log_probabilities(world: World) -> None:
    problem, n = world.problem(0), 3000
    law = dict(world.solutions(problem))
    samples = await draws(world, problem, n)
    counts = Counter(c.text for c in samples)
    assert set(counts) <= set(law)
    for text, p in law.items():
        near(counts[text], n, p, errors=4.5)
    for c in samples[:100]:
        assert c.finish is Finish.EOS
        assert sum(c.logprobs or ()) == pytest.approx(math.log(law[c.text]))
        assert len(c.logprobs or ()) == len(c.ids or ()) == len(c.ends or ()) == c.generated


@every_world
@pytest.mark.parametrize("sampling", [Sampling(temperature=0.5), Sampling(temperature=1.0, top_p=0.7, top_k=3)])
async def test_under_other_samplings_answers_follow_the_law_of_these(world: World, sampling: Sampling) -> None:
    problem, n = world.problem(1 if world.size > 1 else 0), 1500
    law = world.answers(problem, sampling=sampling)
    assert law != pytest.approx(world.answers(problem), abs=0.02) or world.name == "branches"
    counts = Counter(world.read(c.text).answer for c in await draws(world, problem, n, sampling=sampling))
    for answer, p in law.items():
        near(counts[answer], n, p, errors=4.5)


@every_world
async def test_the_tempered_draw_has_untempered_log_probabilities(world: World) -> None:
    problem = world.problem(0)
    law = dict(world.solutions(problem))
    for c in await draws(world, problem, 20, sampling=Sampling(temperature=0.3)):
        assert sum(c.logprobs or ()) == pytest.approx(math.log(law[c.text]))


async def test_greedy_takes_the_likeliest_piece_whatever_the_seed() -> None:
    texts = {(await one(CHAIN, request(P, COLD, seed))).text for seed in range(5)}
    assert texts == {f"state a\nstate a\nstate a\n#### {CHAIN.right(0)}"}


async def test_the_two_best_and_the_rank_of_the_first_token() -> None:
    c = await one(CHAIN, request(P, replace(COLD, top2=True)))
    assert c.top2 is not None
    assert c.top2[0] == pytest.approx((math.log(0.8), math.log(0.1)))
    assert c.top2[1] == (0.0, -100.0)  # a line break is certain
    ranked = [await one(CHAIN, request(P, replace(COLD, first_rank=r))) for r in range(3)]
    assert [c.text[:7] for c in ranked] == ["state a", "state b", "state c"]
    assert ranked[1].text.startswith("state b\nstate b\nstate b\n")  # it stays with .4, and .3 each way
    (failed,) = await ask(CHAIN.generator(), [request(P, replace(COLD, first_rank=3))])
    assert isinstance(failed, Failure)
    assert failed.kind == "first-token"


async def test_a_sample_depends_on_its_request_alone() -> None:
    requests = [request(P, HOT, seed) for seed in range(20)]
    together = await ask(CHAIN.generator(), requests)
    alone = [(await ask(CHAIN.generator(), [r]))[0] for r in reversed(requests)][::-1]
    assert together == alone
    assert len({c.text for c in together if isinstance(c, Completion)}) > 5


async def test_a_cap_cuts_and_the_same_seed_goes_on_as_if_nothing_had_been_cut() -> None:
    for seed in range(30):
        whole = await one(CHAIN, request(P, HOT, seed))
        assert whole.ids is not None
        for cap in range(1, len(whole.ids)):
            cut = await one(CHAIN, request(P, replace(HOT, max_tokens=cap), seed))
            assert (cut.finish, cut.generated, cut.ids) == (Finish.LENGTH, cap, whole.ids[:cap])
            assert whole.text.startswith(cut.text)
            assert clip(whole, cap, CHAIN.generator()) == cut
            rest = await one(CHAIN, request(P, HOT, seed, Segment(cut.text, cut.continuable_ids)))
            assert cut.ids + (rest.ids or ()) == whole.ids
            assert cut.text + rest.text == whole.text
        assert (await one(CHAIN, request(P, replace(HOT, max_tokens=len(whole.ids)), seed))) == whole


@pytest.mark.parametrize("begun", ["state b\n", "state b", "state a\nstate b\n", "state a\nstate c\n####", "####"])
async def test_a_begun_text_is_continued_by_the_law_of_what_may_follow(begun: str) -> None:
    n = 2000
    counts = Counter(CHAIN.read(begun + c.text).answer for c in await draws(CHAIN, P, n, begun))
    for answer, p in CHAIN.answers(P, begun).items():
        near(counts[answer], n, p)


async def test_going_step_by_step_over_stop_strings_has_the_law_of_going_at_once() -> None:
    generator, line, n = CHAIN.generator(pace=0), replace(HOT, stop=("\n",)), 1500
    counts: Counter[str | None] = Counter()
    for seed in range(n):
        text, step = "", 0
        while True:
            (c,) = await ask(generator, [request(P, line, 7919 * seed + step, text)])
            assert isinstance(c, Completion)
            text, step = text + c.text, step + 1
            if c.finish is Finish.EOS:
                break
            assert (c.finish, c.generated, c.ends) == (Finish.STOP, 2, (7, 7))
            assert c.continuable_ids is None
            text += "\n"
        counts[CHAIN.read(text).answer] += 1
    assert step == 4
    for answer, p in CHAIN.answers(P).items():
        near(counts[answer], n, p)


async def test_a_step_keeps_its_end_and_is_continued_by_its_tokens() -> None:
    line = Sampling(temperature=1.0, step_ends=("\n",))
    for seed in range(20):
        whole, first = await one(CHAIN, request(P, HOT, seed)), await one(CHAIN, request(P, line, seed))
        assert (first.text, first.finish, first.generated) == (whole.text[:8], Finish.STEP, 2)
        begun, ids = first.text, first.continuable_ids or ()
        while first.finish is Finish.STEP:
            first = await one(CHAIN, request(P, line, seed, Segment(begun, ids)))
            begun, ids = begun + first.text, ids + (first.ids or ())
        assert (begun, ids, first.finish) == (whole.text, whole.ids, Finish.EOS)


async def test_a_stop_string_may_span_tokens_and_cut_inside_one() -> None:
    c = await one(CHAIN, request(P, Sampling(temperature=0.0, stop=("a\nst",))))
    assert (c.text, c.finish, c.generated, c.ends) == ("state ", Finish.STOP, 3, (6, 6, 6))
    assert len(c.ids or ()) == 3
    after = await one(CHAIN, request(P, Sampling(temperature=0.0, stop=("state a",)), 0, "state b"))
    assert after.text.startswith("\n")  # what was there before is no reason to stop
    assert "state a" not in after.text
    for stops in (("state", "a\n"), ("a\n", "state")):
        assert (await one(CHAIN, request(P, Sampling(temperature=0.0, stop=stops)))).text == ""  # the first one met
    both = await one(CHAIN, request(P, Sampling(temperature=0.0, stop=("e a\n", "t"), step_ends=("\n",))))
    assert (both.text, both.finish) == ("s", Finish.STOP)
    late = await one(CHAIN, request(P, Sampling(temperature=0.0, stop=("\n", "a\n"))))
    assert late.text == "state "  # of two that are complete at once the one that began earlier


async def test_ids_and_text_say_the_same() -> None:
    generator = CHAIN.generator()
    for c in await draws(CHAIN, P, 50):
        assert generator.decode(c.ids or ()) == c.text
        assert generator.encode(c.text) == (c.ids or ())[:-1] == c.continuable_ids
        context = Context(P.messages)
        with_ids, without = context.then(Segment(c.text, c.continuable_ids)), context.then(Segment(c.text))
        assert generator.tokens(with_ids) == generator.tokens(without)
        assert generator.tokens(with_ids) == generator.tokens(context) + (c.continuable_ids or ())
    spelled = (1 + ord("s"), 1 + ord("t"))
    assert generator.tokens(Context(P.messages, (Segment("state a", spelled),)))[-2:] == spelled  # ids go before text
    assert generator.decode(generator.encode("π, state a\n")) == "π, state a\n"
    assert max(generator.tokens(Context((Message("system", "é"), *P.messages)))) < 260 + len(CHAIN.vocabulary)
    with pytest.raises(UsageError, match="there is no token 999999"):
        generator.decode([999999])


async def test_books_count_a_prefix_once_and_equal_the_machines() -> None:
    generator = CHAIN.generator()
    books = [Spent(), Spent()]
    outcomes = await ask(generator, [request(P, HOT, s) for s in range(4)], books[0])
    await ask(generator, [request(P, HOT, 9)], books[1])
    prompt = len(generator.tokens(Context(P.messages)))
    assert (books[0].prefilled, books[0].reused) == (prompt, 3 * prompt)
    assert (books[1].prefilled, books[1].reused) == (0, prompt)
    assert books[0].generated == sum(c.generated or 0 for c in outcomes if isinstance(c, Completion))
    first = outcomes[0]
    assert isinstance(first, Completion)
    assert first.prompt_tokens == prompt
    more = Spent()
    await ask(generator, [request(P, HOT, 1, Segment(first.text, first.continuable_ids))], more)
    assert (more.prefilled, more.reused) == (0, prompt + len(first.continuable_ids or ()))
    total = Spent()
    for book in (*books, more):
        total += book
    assert total == generator.spent


@pytest.mark.parametrize("turns", [1, 4, 9])
async def test_what_is_cancelled_ends_and_is_booked_as_waste(turns: int) -> None:
    generator, book = Chain(steps=400, slip=0.0, fatal=0.0).generator(), Spent()
    task = asyncio.ensure_future(ask(generator, [request(P, HOT, s) for s in range(3)], book))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert generator.pending == 0
    assert book.wasted == book.generated
    assert (book.generated or 0) <= 3 * turns
    assert generator.spent == book


async def test_closing_the_stream_wastes_only_what_nobody_received() -> None:
    generator, book = CHAIN.generator(), Spent()
    short = request(P, replace(HOT, max_tokens=1))
    async with aclosing(generator.run([request(P), short, request(P, HOT, 1)], book)) as stream:
        async for i, outcome in stream:
            assert i == 1  # the short one arrives first
            assert isinstance(outcome, Completion)
            break
    assert generator.pending == 0
    assert 0 < (book.wasted or 0) == (book.generated or 0) - 1


async def test_a_question_of_another_world_fails_alone() -> None:
    other = Chain(data_seed=5).problem(0)
    fine, failed = await ask(CHAIN.generator(), [request(P), request(other)])
    assert isinstance(fine, Completion)
    assert isinstance(failed, Failure)
    assert failed.kind == "unknown-question"


@every_world
async def test_scoring_a_text_gives_the_log_probabilities_it_was_sampled_with(world: World) -> None:
    generator, problem = world.generator(), world.problem(0)
    for c in await draws(world, problem, 10):
        context, book = Context(problem.messages), Spent()
        (scored,) = await generator.logprobs([context], [c.text], book)
        assert scored.ids == c.continuable_ids
        assert scored.logprobs == (c.logprobs or ())[:-1]
        assert (book.prefilled or 0) + (book.reused or 0) == len(generator.tokens(context)) + len(scored.ids)
    (impossible,) = await generator.logprobs([Context(problem.messages)], ["no"], Spent())
    assert impossible.logprobs == (-100.0, -100.0)


def test_it_works_in_one_event_loop_after_another() -> None:
    generator = CHAIN.generator()
    first, second = (asyncio.run(ask(generator, [request(P, HOT, 3)])) for _ in range(2))
    assert first == second


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="pace is -1"):
        CHAIN.generator(pace=-1)
