"""Every registered strategy keeps the laws, and each law catches the strategy that was planted to break it."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from thence import conformance, methods
from thence.conformance import LAWS, LawBroken, check
from thence.core.budget import Spent
from thence.core.completion import Ability, Context, Request
from thence.core.errors import CallFailed
from thence.core.search import Result, Search, Strategy
from thence.strategies.adaptive_consistency import AdaptiveConsistency

GRIDS = {
    "greedy": ["greedy"],
    "repeated-sampling": ["repeated-sampling(n={1,5})"],
    "self-consistency": [
        "self-consistency(n={2,8})",
        "self-consistency(n=6,weight={prob,prob-norm,confidence},aggregate={sum,avg})",
    ],
    "adaptive-consistency": ["adaptive-consistency(n=10,ahead={0,3})"],
    "esc": ["esc(n=10,window={2,3})"],
    "certified": ["certified(alpha=0.3,n=6)"],
    "universal-self-consistency": ["universal-self-consistency(n=3,orders=2)"],
    "cot-decoding": ["cot-decoding(k={1,3,10},select={max,aggregate})"],
    "confidence": ["confidence(n=5,by={mean,answer,min,delta})"],
    "beam": ["beam(n=6,width=3,verifier={logprob,agreement},select={max,vote})", "beam(n=4,keep=50%,verifier=logprob)"],
    "dvts": ["dvts(n=6,width=3,verifier=logprob,select={max,vote})"],
    "mcts": [
        "mcts(simulations=6,actions=2,verifier={logprob,agreement},mode={rollouts,moves})",
        "mcts(simulations=6,actions=2,wave=4,prior=uniform,select=max,verifier=logprob)",
    ],
    "best-first": ["best-first(expansions=6,actions=2,verifier={logprob,agreement},order={best,depth,breadth})"],
    "self-refine": ["self-refine(rounds=2,stop={critic,never})", "self-refine(critic=off)"],
    "knockout": ["knockout(n=4)"],
    "swiss": ["swiss(n=4,rounds=2,orders=1)"],
    "revisions": [
        "revisions(chains=2,length=3)",
        "revisions(chains=2,length=3,verifier=logprob,choose={hierarchical,flat})",
    ],
    "critic-guided": [
        "critic-guided(verifier={logprob,agreement},expansions=6,actions=2,threshold=0.9,critic={model,random,off})"
    ],
    "compute-optimal": [
        "compute-optimal(probes=2,samples=6,verifier=logprob)",
        'compute-optimal(probes=2,easy="self-consistency(n=3)",hard="beam(n=4,width=2,verifier=logprob)")',
    ],
    "budget-forcing": ["budget-forcing(limit=100)"],
    "convergence-exit": ["convergence-exit(every=100,patience=1)"],
    "bayes-adaptive": [
        "bayes-adaptive(n=6)",
        "bayes-adaptive(n=6,price=0.0001)",
        "bayes-adaptive(n=5,verifier={logprob,agreement})",
    ],
    "self-check": ["self-check(n={1,5})", "self-check(n=4,c=1.0,verdict_tokens=3)"],
    "diverse": ["diverse(n=6,prompts=3,verifier=logprob)", "diverse(n=4,verifier=agreement,select=max)"],
    "lookahead": ["lookahead(n=4,width=2,k={0,2},verifier={logprob,agreement})"],
    "particle-filtering": [
        "particle-filtering(n=4,weight={odds,score,ratio},select={max,vote},verifier={logprob,agreement})",
        "particle-filtering(n=4,resample=multinomial,verifier=logprob)",
    ],
    "stepwise-acceptance": ["stepwise-acceptance(verifier=logprob,threshold={0,0.6,0.99},retries=1,draws=8)"],
    "entropy-branching": ["entropy-branching(n=5,points=2,where={entropy,margin,uniform,random})"],
    "self-eval-beam": ["self-eval-beam(n=4,width=2,verifier={logprob,agreement},select={max,vote})"],
    "rap": ["rap(iterations=5,actions=2,verifier={logprob,agreement},select={max,vote})"],
    "rstar": ["rstar(rollouts=3,depth=3,thoughts=1,questions=1,votes=3,masks={0,2})"],
    "best-of-n": [
        "best-of-n(n=5,verifier={logprob,agreement},select={max,vote})",
        'best-of-n(n=3,verifier=logprob,inner="self-refine(rounds=1)")',
        'best-of-n(n=4,verifier="critique(k=2)")',
        'best-of-n(n=4,verifier="p-true(exact=no,n=2)")',
    ],
}
REGISTERED = [name for grids in GRIDS.values() for grid in grids for name, _ in methods.strategies(grid)]


def test_every_registered_strategy_is_here() -> None:
    assert set(GRIDS) == set(methods.named("strategy"))


@pytest.mark.parametrize("name", REGISTERED)
def test_registered_strategies_keep_all_laws(name: str) -> None:
    check(lambda: methods.strategy(name))


@dataclass(frozen=True, slots=True)
class Planted:
    """A defective strategy around one coroutine."""

    body: Callable[[Search], object]
    n: int = 4
    needs: frozenset[Ability] = frozenset()

    async def solve(self, search: Search) -> Result:
        return await self.body(search)  # type: ignore[misc]


async def first(search: Search, n: int = 4) -> Result:
    nodes = await search.expand(n=n)
    for node in nodes:
        await search.answer(node)
    return search.result(nodes[0] if nodes else None)


async def goes_around_the_books(search: Search) -> Result:
    """Calls the generator itself, in a book of its own."""
    generator = search.generators["policy"]
    request = Request(Context(search.problem.messages), search.sampling, 7)
    async for _ in generator.run([request], Spent()):
        pass
    return await first(search)


async def spends_without_a_charge(search: Search) -> Result:
    """Calls the generator itself, in the book that is shown but not charged."""
    generator = search.generators["policy"]
    request = Request(Context(search.problem.messages), search.sampling, 7)
    async for _ in generator.run([request], search.ledger.book("policy")):
        pass
    return await first(search)


async def hides_its_charges(search: Search) -> Result:
    """Clears the charged book when it is nearly full, and goes on."""
    nodes = []
    for _ in range(4):
        nodes += await search.expand()
        search.ledger.charged.clear()
    for node in nodes:
        await search.answer(node)
    return search.result(nodes[0] if nodes else None)


async def overdraws(search: Search) -> Result:
    """Takes the budget away for its last sample."""
    result = await first(search, 3)
    budget, search.ledger.budget = search.ledger.budget, None
    await search.expand()
    search.ledger.budget = budget
    return result


async def hides_that_it_was_stopped(search: Search) -> Result:
    result = await first(search)
    result.stopped = None
    return result


async def keeps_its_answer_back(search: Search) -> Result:
    """Gives no answer when the budget stopped it."""
    result = await first(search)
    if search.stopped:
        result.answer = None
    return result


async def reads_clipped_texts(search: Search) -> Result:
    """Answers with the last word of whatever there is."""
    result = await first(search)
    words = result.tree.nodes[-1].text.split()
    result.answer = words[-1] if words else None
    return result


async def tosses_a_coin(search: Search) -> Result:
    """Ties broken by a generator of random numbers that nobody seeded."""
    nodes = await search.expand(n=4)
    for node in nodes:
        await search.answer(node)
    return search.result(random.choice(nodes) if nodes else None)


MEMORY: list[str] = []


async def remembers(search: Search) -> Result:
    """Notes what it solved before."""
    MEMORY.append(search.problem.id)
    result = await first(search)
    return replace(result, notes=(f"{len(MEMORY)} problems so far",))


async def votes_in_order_of_arrival(search: Search) -> Result:
    return await AdaptiveConsistency(n=8, ahead=7, order="arrival").solve(search)


async def looks_at_the_cache(search: Search) -> Result:
    """Draws more when samples were free."""
    result = await first(search)
    if search.pool is not None and search.ledger.total_spent.generated == 0:
        await search.expand()
    return result


async def bypasses_the_pool(search: Search) -> Result:
    search.pool = None
    return await first(search)


ABANDONED: list[object] = []


async def abandons_work(search: Search) -> Result:
    ABANDONED.append(asyncio.ensure_future(asyncio.sleep(3600)))
    return await first(search)


async def abandons_requests(search: Search) -> Result:
    """Leaves a stream without closing it."""
    stream = search.stream(n=4)
    ABANDONED.append(stream)
    node = await anext(stream)
    await search.answer(node)
    return search.result(node)


async def takes_unknown_for_nothing(search: Search) -> Result:
    result = await first(search)
    for book in search.ledger.charged.values():
        book.prompt, book.generated = book.prompt or 0, book.generated or 0
    return result


async def walks_the_heap(search: Search) -> Result:
    """Finds the reference among all objects of the process and picks the sample that has it."""
    nodes = await search.expand(n=4)
    found = [await search.answer(node) for node in nodes]
    sheets = [o for o in gc.get_objects() if type(o).__name__ == "AnswerSheet"]
    wanted = sheets[0].references.get(search.problem.id)
    right = [n for n, f in zip(nodes, found, strict=True) if f is not None and f.value == wanted]
    return search.result((right or nodes)[0])


def peeks_at(sheet: conformance.AnswerSheet) -> Callable[[Search], object]:
    """The same with an object that it was handed."""

    async def peeks(search: Search) -> Result:
        nodes = await search.expand(n=4)
        found = [await search.answer(node) for node in nodes]
        wanted = sheet.references.get(search.problem.id)
        right = [n for n, f in zip(nodes, found, strict=True) if f is not None and f.value == wanted]
        return search.result((right or nodes)[0])

    return peeks


async def answers_with_the_error(search: Search) -> Result:
    try:
        return await first(search)
    except CallFailed as error:
        return search.result(None, answer=str(error).rpartition("#### ")[2])


async def swallows_failures(search: Search) -> Result:
    try:
        return await first(search)
    except CallFailed:
        return search.result(None)


async def writes_on(search: Search) -> Result:
    """Continues texts that had ended."""
    nodes = await search.expand(n=2)
    try:
        await search.expand(nodes)
    except CallFailed:
        pass
    return search.result(nodes[0])


async def always_draws_two(search: Search) -> Result:
    return await first(search, 2)


async def asks_for_more_than_it_says(search: Search) -> Result:
    nodes = await search.expand(n=2, sampling=replace(search.sampling, top2=True))
    await search.answer(nodes[0])
    return search.result(nodes[0])


async def uses_probabilities_unasked(search: Search) -> Result:
    nodes = await search.expand(n=4)
    for node in nodes:
        await search.answer(node)
    return search.result(max(nodes, key=lambda n: sum(n.completion.logprobs or (0.0,))))


async def reads_thoughts(search: Search) -> Result:
    nodes = await search.expand()
    read = search.reading.extract(nodes[0].text) if nodes else None
    return search.result(nodes[0], answer=read.value if read else None) if nodes else search.result(None)


async def invents_an_answer(search: Search) -> Result:
    result = await first(search)
    result.answer = "42"
    return result


async def never_ends(search: Search) -> Result:
    await asyncio.Event().wait()
    raise AssertionError


PLANTED: dict[str, list[Callable[[Search], object]]] = {
    "budget_is_never_exceeded": [goes_around_the_books, spends_without_a_charge, overdraws],
    "every_token_is_in_the_books": [goes_around_the_books, spends_without_a_charge, hides_its_charges],
    "what_the_budget_cuts_is_marked": [
        hides_that_it_was_stopped,
        keeps_its_answer_back,
        reads_clipped_texts,
        invents_an_answer,
    ],
    "same_seed_same_record": [tosses_a_coin, remembers],
    "timing_changes_nothing": [votes_in_order_of_arrival],
    "pool_changes_nothing": [looks_at_the_cache, bypasses_the_pool],
    "nothing_is_left_running": [abandons_work, abandons_requests],
    "unknown_counts_stay_unknown": [takes_unknown_for_nothing],
    "references_change_nothing": [walks_the_heap, peeks_at(conformance.SHEET)],
    "failed_calls_are_never_answers": [answers_with_the_error, swallows_failures],
    "natural_end_ends_a_path": [writes_on],
    "one_sample_is_one_sample": [always_draws_two],
    "only_declared_abilities_are_used": [asks_for_more_than_it_says, uses_probabilities_unasked],
    "answers_come_from_replies": [reads_thoughts, invents_an_answer],
}


def test_every_law_has_a_planted_defect() -> None:
    assert [law.__name__ for law in LAWS] == list(PLANTED)


@pytest.mark.parametrize("body", [pytest.param((k, b), id=f"{k}-{b.__name__}") for k, v in PLANTED.items() for b in v])
def test_planted_defects_are_caught(body: tuple[str, Callable[[Search], object]]) -> None:
    name, defect = body
    law = next(law for law in LAWS if law.__name__ == name)
    with pytest.raises(LawBroken, match=name):
        law(lambda: Planted(defect))
    ABANDONED.clear()


def test_a_plain_strategy_of_a_user_keeps_the_laws() -> None:
    async def votes(search: Search) -> Result:
        nodes = await search.expand(n=3)
        classes = await search.classes(nodes)
        return search.result(classes[0].nodes[0] if classes else None)

    @dataclass(frozen=True, slots=True)
    class Users:
        needs: frozenset[Ability] = frozenset()

        async def solve(self, search: Search) -> Result:
            return await votes(search)

    check(Users)


def test_check_names_every_broken_law() -> None:
    def make() -> Strategy:
        return Planted(invents_an_answer)

    with pytest.raises(LawBroken, match=r"(?s)what_the_budget_cuts_is_marked.*answers_come_from_replies"):
        check(make)


def test_a_strategy_that_never_ends_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "PATIENCE", 0.2)
    with pytest.raises(LawBroken, match="does not end"):
        LAWS[0](lambda: Planted(never_ends))


async def test_laws_run_inside_a_running_loop() -> None:
    LAWS[3](lambda: methods.strategy("greedy"))
