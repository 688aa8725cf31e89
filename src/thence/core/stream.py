"""Draws in seed order while later ones run ahead: how a search starts, caps, charges and hands out what is drawn."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Literal

from .budget import SPENT_OUT, add
from .completion import Completion, Context, Failure, Finish, Request, Sampling
from .errors import CallFailed, ModelError, ServerError, StoreError, ThenceError, UsageError
from .protocols import LOST, CountsWaste, Generator
from .seeds import derive
from .tree import SOLUTION, Kind, Node

if TYPE_CHECKING:
    from .search import Search

# What a budget keeps for a verifier before a text is drawn: about its length in tokens, and its tags. What the text
# really costs is known when it is there; if even that does not fit, it stays unscored.
JUDGED_RATE, JUDGED_MORE = 1.1, 8


@dataclass(slots=True)
class Job:
    """One draw that has been asked for: which child of which node, and what it may cost."""

    node: Node
    ordinal: int
    sampling: Sampling
    context: Context
    ids: tuple[int, ...] | None
    role: str  # the stream's, or that of one of a pool's models
    cap: int | None = None
    key: str = ""
    outcome: Completion | Failure | None = None
    started: bool = False
    pooled: bool = False
    reserved: int = 0
    via: tuple[int, ...] = ()  # what stands in the draw path between the node and the ordinal
    hinted: bool = False  # the node is continued under other messages than the style's
    taken: Node | None = None  # the same draw, already in the tree

    @property
    def path(self) -> tuple[int, ...]:
        return (*self.node.draws[0], *self.via, self.ordinal)


Order = Literal["seed", "arrival"]


class Stream:
    """Draws in seed order while later ones run ahead.

    Use as ``async with search.stream(...) as samples: async for node in samples: ...``; leaving the block cancels what
    still runs and waits until it has stopped. Without a budget every draw may run ahead; under a budget none does
    unless ``ahead`` asks for it. A draw gets ``min(cap, budget - what all earlier draws cost)`` tokens, whatever the
    timing: it starts early only if its whole cap is sure to fit.
    """

    def __init__(self, search: Search, jobs: list[Job], kind: Kind, role: str, ahead: int | None, order: Order) -> None:
        self._search, self._jobs, self._kind, self._role, self._order = search, jobs, kind, role, order
        if ahead is None:
            ahead = 0 if search.ledger.budget is not None else len(jobs)
        self._ahead = max(0, ahead)
        self._next = 0  # the first job not yet handed out
        self._begun = 0  # jobs start in seed order: how many have
        self._handed: set[int] = set()
        self._arrived: list[int] = []
        self._broken: ThenceError | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._promised: set[tuple[str, Context]] = set()  # whose tokens an admitted draw of this stream will pay
        self._reads_later = kind in SOLUTION and search.style.followup is not None

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for i, job in enumerate(self._jobs):
            self._release(job)
            if i not in self._handed and not job.pooled and isinstance(job.outcome, Completion):
                book = self._search.ledger.book(job.role)
                book.wasted = add(book.wasted, job.outcome.generated)
                generator = self._search.generator(job.role)
                if isinstance(generator, CountsWaste) and job.outcome.generated is not None:
                    generator.waste(job.outcome.generated)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Node:
        """The next draw, charged; ends when all are drawn or the budget is used up."""
        search = self._search
        while True:
            if len(self._handed) == len(self._jobs):
                self._all_lost()
                raise StopAsyncIteration
            if not self._fill():
                search.stopped = SPENT_OUT
                raise StopAsyncIteration
            if self._broken is not None:
                raise self._broken
            i = self._ready()
            if i is not None:
                if (node := self._hand_out(i)) is None:
                    continue
                return node
            self._news.clear()
            await self._news.wait()

    def _ready(self) -> int | None:
        if self._order == "seed":
            return self._next if self._jobs[self._next].outcome is not None else None
        return next((i for i in self._arrived if i not in self._handed), None)

    def _all_lost(self) -> None:
        """CallFailed where every draw was one of a model that is gone: nobody is left to answer."""
        lost = [job.outcome for job in self._jobs if isinstance(job.outcome, Failure)]
        if lost and len(lost) == len(self._jobs):
            raise CallFailed(f"no model of the pool is left for this draw: {lost[0].message}", LOST)

    def _hand_out(self, i: int) -> Node | None:
        """The node of draw ``i``, charged; None for a draw of a pool's model that is gone."""
        job, search = self._jobs[i], self._search
        self._handed.add(i)
        while self._next < len(self._jobs) and self._next in self._handed:
            self._next += 1
        self._release(job)
        if job.taken is not None:
            return job.taken
        outcome = job.outcome
        if isinstance(outcome, Failure):
            if job.role != self._role and outcome.kind == LOST:
                search.lost.setdefault(job.role, []).append(outcome)
                return None
            raise CallFailed(f"{outcome.kind} after {outcome.attempts} attempt(s): {outcome.message}", outcome.kind)
        assert outcome is not None
        if outcome.finish is Finish.BUDGET:
            search.stopped = SPENT_OUT
        search.charge_prompt(job.role, job.context, job.ids, outcome.prompt_tokens)
        search.charge(job.role, generated=outcome.generated)
        search.room()  # under a budget an unknown count is an error at once
        law = "hinted" if job.hinted else job.sampling.law(search.sampling)
        kind = self._kind
        own_stop = outcome.finish is Finish.STOP and set(job.sampling.stop) <= set(search.sampling.stop)
        if kind is Kind.STEP and (outcome.finish is Finish.EOS or own_stop):
            kind = Kind.FINISH
        form = search.form if kind in SOLUTION else None
        formed = form.read(outcome) if form is not None else None
        made = formed.completion if formed is not None else outcome
        node = search.tree.add(job.node, made, job.path, kind=kind, role=job.role, law=law)
        if formed is not None:
            search.note_format(node, formed)
        search.note(job.key, node, job.context if job.hinted else None)
        if self._reads_later:
            search.set_aside(node)
        if kind in SOLUTION:
            search.set_aside_for_checker(node)
        return node

    def _release(self, job: Job) -> None:
        self._search.reserved -= job.reserved
        job.reserved = 0

    def _fill(self) -> bool:
        """Start what may start. False when the next draw does not fit into the budget at all."""
        first = self._begun
        while self._begun < len(self._jobs) and self._begun <= self._next + self._ahead:
            if not self._admit(self._jobs[self._begun], is_next=self._begun == self._next):
                break
            self._begun += 1
        if self._begun > first:
            self._start(range(first, self._begun))
        return self._begun > self._next

    def _admit(self, job: Job, *, is_next: bool) -> bool:
        """Reserve tokens for a draw: its whole cap, or what is left if all earlier ones are paid."""
        search = self._search
        cap = search.cap(job.sampling, job.ids, job.role, self._kind)
        if not job.key:
            job.key = search.sample_key(job.context, job.ids, job.sampling, job.path, job.role, self._kind, cap)
            job.taken = search.taken(job.key, cap)
        left = search.room()
        if left is None or job.taken is not None:
            return True
        if cap is None:
            raise UsageError("a budget needs a token cap per sample; set --max-tokens")
        later = search.followup_cost() if self._reads_later else 0
        shared = (job.role, job.context) in self._promised
        overhead = later + (0 if shared else search.unseen_prompt(job.role, job.context, job.ids))
        rate = 0.0
        if self._kind in SOLUTION and (checker := search.checker) is not None:
            overhead += JUDGED_MORE + (0 if shared else search.unseen_by(checker, job.node))
            rate = JUDGED_RATE * checker.times
        if left - overhead >= cap + ceil(rate * cap):
            job.cap = cap
        elif is_next and (fits := int((left - overhead) / (1 + rate))) >= 1:
            job.cap = fits
        else:
            return False
        job.reserved = overhead + job.cap + ceil(rate * job.cap)
        search.reserved += job.reserved
        self._promised.add((job.role, job.context))
        return True

    def _start(self, batch: range) -> None:
        search = self._search
        calls: dict[str, list[tuple[int, Request, int | None, int | None]]] = {}  # by role
        capped: dict[tuple[int, int | None], Sampling] = {}
        for i in batch:
            job = self._jobs[i]
            whole = search.cap(job.sampling, job.ids, job.role, self._kind)
            cap = whole if job.cap is None else job.cap
            if job.ids is None and cap != whole:  # then the cap is part of who the sample is
                job.key = search.sample_key(job.context, job.ids, job.sampling, job.path, job.role, self._kind, cap)
            known = job.taken.completion if job.taken is not None else search.from_pool(job, cap, job.role)
            if known is not None:
                job.outcome, job.pooled = self._marked(known, cap, whole), True
                self._arrived.append(i)
                self._news.set()
                continue
            seed = derive(search.seed, search.problem.hash, job.path, job.role, str(self._kind))
            sampling = capped.get((id(job.sampling), cap))
            if sampling is None:
                sampling = capped[id(job.sampling), cap] = replace(job.sampling, max_tokens=cap)
            request = Request(job.context, sampling, seed, draw=job.ordinal, problem=search.problem.id)
            calls.setdefault(job.role, []).append((i, request, cap, whole))
        for role, requests in calls.items():
            self._pumps.add(asyncio.get_running_loop().create_task(self._pump(role, requests)))

    async def _pump(self, role: str, calls: list[tuple[int, Request, int | None, int | None]]) -> None:
        """Carry outcomes from a generator to their jobs; every finished sample goes to the pool at once."""
        search = self._search
        todo = {i for i, *_ in calls}
        try:
            run = search.generator(role).run([c[1] for c in calls], search.ledger.book(role))
            async with aclosing(run) as outcomes:
                async for k, outcome in outcomes:
                    i, _, cap, whole = calls[k]
                    if isinstance(outcome, Completion):
                        search.to_pool(self._jobs[i].key, outcome)
                        outcome = self._marked(outcome, cap, whole)
                    self._jobs[i].outcome = outcome
                    todo.discard(i)
                    self._arrived.append(i)
                    self._news.set()
        except asyncio.CancelledError:  # by this stream, or by an engine that was shut down: nobody may wait for ever
            self._fail(todo, Failure("cancelled", "the generator stopped in the middle of this request"))
            raise
        except (StoreError, UsageError, ServerError, ModelError) as error:  # true of every call: the run must end
            self._broken = error
            self._news.set()
        except Exception as error:  # the boundary: a broken generator fails these calls, and says why
            self._fail(todo, Failure(type(error).__name__, str(error)))
        else:
            self._fail(todo, Failure("lost", "the generator ended without an outcome for this request"))

    def _fail(self, todo: set[int], failure: Failure) -> None:
        for i in sorted(todo):
            self._jobs[i].outcome = failure
            self._arrived.append(i)
        self._news.set()

    @staticmethod
    def _marked(outcome: Completion, cap: int | None, whole: int | None) -> Completion:
        """A sample cut below its own cap was cut by the budget."""
        if outcome.finish is Finish.LENGTH and cap is not None and (whole is None or cap < whole):
            return replace(outcome, finish=Finish.BUDGET)
        return outcome


def clip(completion: Completion, cap: int, generator: Generator) -> Completion:
    """The first ``cap`` tokens of a longer sample: the same tokens it would have had under that cap."""
    if completion.ids is None:
        raise UsageError("a sample without token ids cannot be clipped; raise --budget or --max-tokens")
    text = generator.decode(completion.ids[:cap])
    cut = Completion.of(
        text, Finish.LENGTH, opened=not completion.text.startswith("<think>") and completion.reply_at > 0
    )
    return replace(
        cut,
        ids=completion.ids[:cap],
        logprobs=None if completion.logprobs is None else completion.logprobs[:cap],
        top2=None if completion.top2 is None else completion.top2[:cap],
        values=None if completion.values is None else completion.values[:cap],
        ends=None if completion.ends is None else tuple(min(e, len(text)) for e in completion.ends[:cap]),
        generated=cap,
        prompt_tokens=completion.prompt_tokens,
    )
