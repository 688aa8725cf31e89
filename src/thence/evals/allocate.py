r"""One token budget for a whole set of problems: more samples where they may still change something.

Every problem is a coroutine that stops before each piece of work and *bids*: so many tokens at most, so many expected,
and what it would gain. In synchronous rounds the bids with the largest gain per expected token are granted until the
round's part of the budget is reached, all others wait; what was granted then runs together. Nothing depends on who was
faster, only on the seed and the set, and every sample is in the run's pool: a killed run replays its rounds and pays
for nothing twice. Ties go by seed. The budget is never exceeded: a grant is a cap for its problem.

The bidder that is there votes (``SharedVote``). With a Dirichlet prior of weight A on the chances of the answers, two
that nobody gave yet among them, and t of n votes for the leader, the leader's expected chance is (t + 1) / (n + A).
Taking an answer's own chance for the chance that it is right (agreement as confidence), m more
samples promise

    gain(m) = E (t' + 1) / (n + m + A) - (t + 1) / (n + A),

which is above 0 only where the majority may change; t' has a Dirichlet-multinomial law and the mean is exact. The bid
is the best gain(m) / m over m = 1, 2, 4, …: one vote cannot turn a majority that several can. A near tie of ten answers
promises little, for the next leader is hardly more likely than this one. Spreading samples by difficulty is the
simplest case of compute-optimal inference (Snell et al. 2024, arXiv:2408.03314); a rule that looks at one problem
alone (Aggarwal et al. 2023, arXiv:2305.11860) cannot meet a budget.

Not covered: a problem whose most likely answer is wrong is pushed towards it, as by every vote; and a greedy choice in
rounds is no optimum: where many problems are hopeless they still take their part.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from thence.core.answers import Verdict
from thence.core.completion import Ability, Failure, Sampling
from thence.core.errors import CallFailed, UsageError, check_counts
from thence.core.problem import Problem
from thence.core.protocols import Cites, Deals, Generator, PromptStyle, SamplePool, Task
from thence.core.run import Runner, Stopper, wants_more
from thence.core.search import POLICY, Result, Search, Strategy
from thence.core.seeds import derive
from thence.core.solve import check_one_call
from thence.core.tree import Kind, Node
from thence.core.votes import elect
from thence.evals.statistics.metrics import Array
from thence.stores.sqlite import Cell, RunFile
from thence.strategies.self_consistency import SelfConsistency

from .evaluate import Progress, chosen_problems
from .records import Record, make_record
from .report import Report, summarise

UNSEEN = 2  # answers that nobody gave yet and that are thought possible
SILENCE = 0.5  # the prior's weight of samples without an answer; that of an answer is 1
AHEAD = (1, 2, 4, 8, 16, 32)  # how many more votes are looked at


@dataclass(frozen=True, slots=True)
class Bid:
    """At most ``tokens`` charged tokens, of which ``expected`` are expected to be used, for a ``gain`` in the chance
    that the answer is right."""

    tokens: int
    gain: float
    expected: float


class Bidder(Protocol):
    """A strategy that asks before it works.

    ``bids`` yields a Bid before each piece of work and is sent whether it is granted; at last, or when it is not, it
    yields its Result.
    """

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> frozenset[Ability]: ...
    def bids(self, search: Search) -> AsyncGenerator[Bid | Result, bool]: ...


# --- voting -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SharedVote:
    """Self-consistency that bids: ``first`` samples, then ``batch`` at a time, at most ``n`` per problem."""

    n: int = 64
    first: int = 4
    batch: int = 4

    def __post_init__(self) -> None:
        check_counts("shared vote", n=self.n, first=self.first, batch=self.batch)

    @staticmethod
    def of(strategy: Strategy) -> SharedVote:
        """The vote of ``self-consistency(n=…)`` with its n as the most per problem; UsageError for anything else."""
        if isinstance(strategy, SelfConsistency) and (strategy.weight, strategy.aggregate) == ("count", "sum"):
            return SharedVote(strategy.n)
        raise UsageError("a total budget is spread over votes only; write self-consistency(n=64), n being the most")

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"shared-vote(n={self.n}, first={self.first}, batch={self.batch})"

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond continuing a text."""
        return frozenset()

    async def bids(self, search: Search) -> AsyncGenerator[Bid | Result, bool]:
        """Samples, as long as they are granted; then the vote."""
        nodes: list[Node] = []
        while len(nodes) < self.n and not search.stopped:
            size = min(self.batch if nodes else self.first, self.n - len(nodes))
            counts = [len(c.nodes) for c in await search.classes(nodes)]
            rate = gain_per_vote(tuple(sorted(counts, reverse=True)), len(nodes) - sum(counts))
            most, expected = cost(search, size, nodes)
            if not (yield Bid(most, rate * size, expected)):
                break
            nodes += await search.expand(n=size)
        yield elect(search, await search.classes(nodes), len(nodes))


def cost(search: Search, n: int, drawn: Sequence[Node] = ()) -> tuple[int, float]:
    """Charged tokens of ``n`` more whole samples: the most it can be, and what those already ``drawn`` suggest."""
    context = search.context(search.root)
    generator = search.generator(POLICY)
    ids = generator.tokens(context)
    cap = search.cap(search.sampling, ids, POLICY, Kind.FINISH)
    if cap is None:
        raise UsageError("a budget needs a token cap per sample; set --max-tokens")
    prompt, reading = search.unseen_prompt(POLICY, context, ids), search.followup_cost()
    lengths = [x.completion.generated for x in drawn]
    known = [x for x in lengths if x is not None]
    usual = sum(known) / len(known) if known else cap
    return prompt + n * (cap + reading), max(1.0, prompt + n * usual)


@lru_cache(maxsize=65536)
def gain_per_vote(counts: tuple[int, ...], silent: int = 0) -> float:
    """The best gain(m) / m over ``AHEAD``, exactly; see the module's text. ``counts`` are the votes of each answer,
    ``silent`` the samples without one, which also take their share of what is drawn."""
    votes = [*counts, *[0] * UNSEEN]
    weight = sum(votes) + len(votes) + silent + SILENCE
    now = (max(votes) + 1) / weight if any(votes) else 0.0
    gains = []
    for m in AHEAD:
        law = leader_law(votes, silent, m)
        then = sum(p * (votes_of_leader + 1) / (weight + m) for votes_of_leader, p in law.items() if votes_of_leader)
        gains.append((then - now) / m)
    return max(0.0, *gains)


def leader_law(votes: Sequence[int], silent: int, m: int) -> dict[int, float]:
    """The law of the leader's number of votes after ``m`` more samples.

    Of a Dirichlet-multinomial the chance of x_a samples of each answer a is proportional to the product of
    C(x_a + votes_a, x_a), so P(leader <= t) is a coefficient of a product of polynomials, each cut at t - votes_a.
    """
    top = max(votes)
    growth = [_growth(v + 1.0, m) for v in votes]
    mute = _growth(silent + SILENCE, m)
    at_most = []
    for t in range(top, top + m + 1):
        poly = mute
        for v, g in zip(votes, growth, strict=True):
            poly = np.convolve(poly, g[: t - v + 1])[: m + 1]
        at_most.append(float(poly[m]))
    return dict(zip(range(top, top + m + 1), np.diff([0.0, *at_most]) / at_most[-1], strict=True))


def _growth(alpha: float, m: int) -> Array:
    """C(x + alpha - 1, x) for x = 0..m."""
    steps = np.arange(1, m + 1)
    return np.concatenate([[1.0], np.cumprod((steps + alpha - 1) / steps)])


# --- the market -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Place:
    """One problem: its coroutine, its books, what it last said."""

    index: int
    problem: Problem
    search: Search
    bids: AsyncGenerator[Bid | Result, bool]
    said: Bid | Result | None = None
    seconds: float = 0.0
    failed: str | None = None
    granted: bool = False  # the answer to its last bid

    @property
    def charged(self) -> int:
        total = self.search.ledger.total_charged.total
        if total is None:
            raise UsageError("a token budget needs token counts, and these samples have none; drop --total-budget")
        return total

    @property
    def bid(self) -> Bid | None:
        """What it waits for; None when it is done or has failed."""
        return self.said if isinstance(self.said, Bid) and self.failed is None else None

    async def go_on(self) -> None:
        """Send the answer, and wait for the next bid or the result."""
        begun = time.monotonic()
        if self.said is None:
            self.said = await anext(self.bids)
        else:
            if self.granted and isinstance(self.said, Bid):
                self.search.ledger.budget = self.charged + self.said.tokens
            self.said = await self.bids.asend(self.granted)
        self.seconds += time.monotonic() - begun


def granted(bids: Mapping[int, Bid], left: int, part: int, luck: Mapping[int, int]) -> list[int]:
    """Which bids of a round are granted, in the order of their keys.

    By gain per expected token, equals by ``luck``, until ``part`` tokens are expected to be used; never more than
    ``left`` can be used, and nothing without a gain.
    """
    chosen: list[int] = []
    reserved, expected = 0, 0.0
    for key in sorted(bids, key=lambda k: (-bids[k].gain / bids[k].expected, luck[k])):
        bid = bids[key]
        if expected >= part or bid.gain <= 0:
            break
        if reserved + bid.tokens <= left:
            chosen.append(key)
            reserved, expected = reserved + bid.tokens, expected + bid.expected
    return sorted(chosen)


async def allocate(
    task: Task,
    generator: Generator,
    bidder: Bidder,
    style: PromptStyle,
    *,
    total: int,
    rounds: int = 32,
    sampling: Sampling | None = None,
    model: str = "",
    prompt: str = "",
    seed: int = 0,
    limit: int | None = None,
    store: RunFile | None = None,
    pool: SamplePool | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> Report:
    """Answer the first ``limit`` problems of ``task`` with at most ``total`` charged tokens for all of them together.

    A round spends about ``total / rounds``: more rounds decide better, fewer keep the generator fuller. The report has
    the records of ``evaluate``. A problem whose calls failed keeps what it was charged; the next start tries it again.
    """
    check_counts("allocate", total=total, rounds=rounds)
    if isinstance(generator, Deals):
        raise UsageError("--total-budget plans with what one model's samples cost; with a pool use --budget")
    check_one_call(style, "--total-budget")
    check_one_call(style, "--total-budget")
    chosen = sampling or generator.defaults
    chosen = replace(chosen, stop=tuple(dict.fromkeys((*chosen.stop, *style.stop))))
    cell = Cell("", seed)
    problems = chosen_problems(task, limit)
    known = store.results(cell) if store is not None else {}
    report = Report(task.spec, model or generator.identity, bidder.name, prompt or style.name, seed, None)
    report.run = str(store.path) if store is not None else None
    if all(p.id in known for p in problems):
        return summarise(report, [known[p.id] for p in problems], {})
    places = []
    for i, problem in enumerate(problems):
        search = Search(problem, {POLICY: generator}, style, task.reading, chosen, seed=seed, pool=pool or store)
        places.append(_Place(i, problem, search, bidder.bids(search)))
    started = time.monotonic()
    if progress is not None:
        progress.on_start(len(problems), bidder.name)
    try:
        await _market(places, total, max(1, total // rounds), seed, generator, stopper)
        for place in places:
            if isinstance(place.said, Result) and isinstance(style, Cites):
                place.said.notes += style.notes(place.problem)
        return await _close(task, places, report, cell, store, progress, started)
    finally:
        for place in places:
            await place.bids.aclose()
        if progress is not None:
            progress.on_finish()


async def _market(
    places: Sequence[_Place], total: int, part: int, seed: int, generator: Generator, stopper: Stopper | None
) -> None:
    """All rounds, until nobody bids or nothing that is bid fits; the last one asks everybody for the result."""

    def failed(place: _Place, error: Exception) -> None:
        place.failed = str(error)

    async def together(some: Sequence[_Place]) -> None:
        runner = Runner(
            _Place.go_on,
            lambda place, _: None,
            failed,
            hungry=wants_more([generator]),
            survive=(CallFailed,),
            stopper=stopper,
        )
        await runner.run(some)

    await together(places)
    number = 0
    while bids := {p.index: p.bid for p in places if p.bid is not None}:
        luck = {i: derive("allocate", seed, number, places[i].problem.hash) for i in bids}
        left = total - sum(p.charged for p in places)
        chosen = granted(bids, left, part, luck)
        for place in places:
            place.granted = place.index in chosen
        await together([places[i] for i in chosen or bids])
        number += 1


async def _close(
    task: Task,
    places: Sequence[_Place],
    report: Report,
    cell: Cell,
    store: RunFile | None,
    progress: Progress | None,
    started: float,
) -> Report:
    """Grade, keep and report."""
    records: list[Record] = []
    failures: dict[str, str] = {}
    session = len(store.sessions()) if store is not None else 1
    for place in places:
        name = place.problem.id
        if place.failed is not None or not isinstance(place.said, Result):
            failures[name] = place.failed or "it ended without a result"
            if store is not None:
                store.put_failure(cell, name, Failure("call", failures[name]))
            continue
        record, tree = await asyncio.to_thread(make_record, task, place.said, place.seconds)
        record |= {"session": session, "elapsed": round(time.monotonic() - started, 3)}
        records.append(record)
        if store is not None and not any(p.failed for p in places):  # else others may get other grants next time
            store.put_result(cell, name, record, tree)
        if progress is not None:
            verdict = None if record["verdict"] is None else Verdict(record["verdict"])
            progress.on_result(place.index, verdict, place.charged, fresh=True)
    if store is not None:
        store.flush()
    return summarise(report, records, failures)


__all__ = ["Bid", "Bidder", "SharedVote", "allocate", "cost", "gain_per_vote", "granted", "leader_law"]
