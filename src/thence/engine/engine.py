"""The engine: one worker thread that keeps a batch of rows full with whatever all coroutines ask for.

A step is: take in cancellations, admit waiting jobs into free rows (prefill prompts, restore or replay replies, draw
their first token), then one decode pass over all rows that draws one token each. Jobs leave when they meet an end
token, a stop string or their limit. Outcomes of a step go back in one wake-up per event loop.

Not covered: preemption. A job that has a row keeps it until it ends.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from thence.core.completion import Finish
from thence.core.errors import ModelError
from thence.nets.heads import Head

from . import sampling
from .buffers import Pages
from .jobs import Counters, Job, Kind, Outcome
from .linear import MIN_ROWS, Tensor
from .memory import Memory, padded, ranks, share_a_block
from .plans import DecodePlan
from .rows import Group, Ints, Rows
from .store import BLOCK, Store
from .text import Text
from .trunk import GROUP_ROWS, Trunk

REPLAY_CELLS = 16384  # rows times keys gathered at once when replies are replayed


class Engine:
    """Batches draws and scores of one model. Thread-safe: `submit`, `cancel`, `waste`, `release`, `close`; the rest is
    its own.

    ``slots`` is the largest batch, ``memory`` the bytes the prefix store may keep beside the rows at work.
    """

    def __init__(
        self,
        trunk: Trunk,
        text: Text,
        ends: frozenset[int],
        *,
        slots: int,
        memory: int,
        threads: int | None = None,
        exact: bool = True,
    ) -> None:
        self.trunk, self.text, self.slots, self.threads = trunk, text, slots, threads
        self._exact = exact
        self.ends = ends
        self.heads: list[Head] = []  # what gives the values of draws that ask for them
        self.counters = Counters()
        self.store = Store(memory, lambda: Pages.slot(trunk.shape, BLOCK, trunk.dtype, trunk.device))
        self._signal = _Signal()
        self._lock = self._signal.condition
        self._arrived: deque[Job] = deque()
        self._cancelled: deque[Job] = deque()
        self._over: deque[tuple[int, ...]] = deque()
        self._thread: threading.Thread | None = None
        self._in_flight = 0
        self._reset()

    # ---- called from any thread ----------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Jobs waiting or at work."""
        return self._in_flight

    @property
    def closed(self) -> bool:
        """Whether it takes no more jobs."""
        return self._signal.closing

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs; every one gets exactly one outcome."""
        with self._lock:
            if self._signal.closing:
                raise ModelError("the local model is closed; load it again")
            self._arrived.extend(jobs)
            self._in_flight += len(jobs)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_work,
                    args=(weakref.ref(self), self._signal, self.threads),
                    name="thence-engine",
                    daemon=True,
                )
                _WORKERS[self._thread] = self._signal
                weakref.finalize(self, self._signal.stop)
                self._thread.start()
            self._lock.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End jobs at the next step; those still at work get an outcome without finish."""
        with self._lock:
            self._cancelled.extend(jobs)
            self._lock.notify()

    def waste(self, tokens: int) -> None:
        """Count tokens of finished jobs that nobody consumed."""
        with self._lock:
            self.counters.wasted += tokens

    def release(self, prompt: tuple[int, ...]) -> None:
        """Nobody will go on with the replies to this prompt: what is kept of them may go first."""
        self._over.append(prompt)

    def close(self) -> None:
        """Stop the thread and free the memory; a second call does nothing."""
        self._signal.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # ---- the worker thread ---------------------------------------------------------------------------------------

    def _reset(self) -> None:
        """Empty rows and buffers (also after an error, which leaves them in doubt)."""
        self._waiting: deque[Job] = deque()
        self._memory = Memory(self.trunk, self.store, self.counters, self.slots, exact=self._exact)
        self._rows = Rows(self.slots, self._memory.bucket(self.slots))
        self._outbox: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
        vocab = self.trunk.shape.vocab
        self._end_table = np.zeros(vocab, dtype=np.bool_)
        self._ends_known: frozenset[int] | None = None
        self._stop_sets: dict[tuple[str, ...], int] = {(): 0}
        self._stop_table = np.zeros((1, vocab), dtype=np.bool_)
        self._dirty = True
        self._now: DecodePlan

    def idle(self) -> bool:
        """Nothing to do."""
        return not (self._arrived or self._cancelled or self._waiting or self._rows.live.any())

    def step(self) -> None:
        """Cancellations, admissions, one decode pass, outcomes."""
        with self._lock:
            arrived, cancelled = list(self._arrived), list(self._cancelled)
            self._arrived.clear()
            self._cancelled.clear()
        self._waiting.extend(arrived)
        for job in cancelled:
            self._cancel(job)
        while self._over:
            self.store.cool(self._over.popleft())
        if self._waiting and self._worth_admitting():
            self._admit()
        if self._rows.live.any():
            self._shrink()
            self._decode()
        self._flush()

    def fail(self, error: BaseException) -> None:
        """End every job with ``error``."""
        with self._lock:
            jobs = list(self._arrived)
            self._arrived.clear()
        jobs += [*self._waiting, *(job for job in self._rows.jobs if job is not None)]
        outcomes = self._outbox
        drawn = self._rows.drawn.copy()
        self._reset()
        self.store.clear()
        self._outbox = outcomes
        for job in jobs:
            if not job.done:
                count = int(drawn[job.row]) if job.row >= 0 else 0
                self.counters.wasted += count
                self._deliver(
                    Outcome(job, error=error, prefilled=job.prefilled, reused=job.reused, generated=count, wasted=count)
                )
        self._flush()

    def _deliver(self, outcome: Outcome) -> None:
        outcome.job.done = True
        self._outbox.setdefault(outcome.job.loop, []).append(outcome)

    def _flush(self) -> None:
        for loop, outcomes in self._outbox.items():
            with self._lock:
                self._in_flight -= len(outcomes)
            try:
                loop.call_soon_threadsafe(_deliver_all, outcomes)
            except RuntimeError:
                pass  # the loop was closed: nobody is left to tell
        self._outbox.clear()

    def _cancel(self, job: Job) -> None:
        if job.done:
            return
        job.cancelled = True
        count = 0
        if job.row >= 0:
            count = int(self._rows.drawn[job.row])
            self._free(job.row)
        else:
            self._waiting.remove(job)
        with self._lock:
            self.counters.wasted += count
        self._deliver(Outcome(job, prefilled=job.prefilled, reused=job.reused, generated=count, wasted=count))

    def _free(self, row: int) -> None:
        group = self._rows.release(row)
        self._dirty = True
        if group.rows == 0:
            self._memory.drop(group)

    # ---- admission -----------------------------------------------------------------------------------------------

    def _worth_admitting(self) -> bool:
        """Admit in handfuls: an admission is a forward pass of its own, so one per freed row would be wasteful."""
        free = len(self._rows.free)
        return free >= min(len(self._waiting), max(1, self.slots // 16))

    def _admit(self) -> None:
        rows = self._rows
        jobs = [self._waiting.popleft() for _ in range(min(len(self._waiting), len(rows.free)))]
        try:
            self._seat(jobs)
            hidden = self._restore_replies(jobs)
            self._begin([job for job in jobs if job.kind is Kind.DRAW], hidden)
            for job in jobs:
                if job.kind is not Kind.DRAW:
                    row = job.row
                    self._save_reply(row)
                    self._free(row)
                    self._deliver(
                        Outcome(
                            job,
                            job.forced,
                            tuple(job.logprobs),
                            numbers=tuple(job.numbers),
                            finish=Finish.EOS,
                            prefilled=job.prefilled,
                            reused=job.reused,
                        )
                    )
        except BaseException:
            # Jobs without a row yet would be lost to `fail`.
            self._waiting.extendleft(job for job in reversed(jobs) if job.row < 0 and not job.done)
            raise
        self._dirty = True

    def _seat(self, jobs: list[Job]) -> None:
        """Give every job a row in a group whose prompt is in the prefix buffer."""
        fresh: list[tuple[Group, Job]] = []
        copies: list[tuple[Group, Group]] = []
        for job in jobs:
            peers = list(self._memory.peers(job.prompt))
            group = next((g for g in peers if g.rows < GROUP_ROWS), None)
            if group is None:
                group = self._memory.new_group(job.prompt)
                if peers:
                    copies.append((peers[0], group))
                    job.reused += len(job.prompt)
                    self.counters.reused += len(job.prompt)
                else:
                    if any(share_a_block(g.prompt, job.prompt) for g, _ in fresh):
                        self._memory.prefill(fresh)
                        fresh = []
                    fresh.append((group, job))
            else:
                job.reused += len(job.prompt)
                self.counters.reused += len(job.prompt)
            self._rows.take(job, group)
        self._memory.prefill(fresh)
        for source, target in copies:
            self._memory.share(source, target)

    def _restore_replies(self, jobs: list[Job]) -> dict[int, Tensor]:
        """Bring given replies into the suffix buffer; the last hidden state of each row, by row.

        What is cached is copied. The rest goes through `decode`, many tokens of one row at a time, which gives the
        same bits as drawing them one by one. The last token of a reply that goes on is left to the next pass over all
        rows (`_goes_on`), as if it had just been drawn: most often it is the only one that no cache has.
        """
        rows = self._rows
        self._memory.grow_suffix(
            self._memory.bucket(max(job.row for job in jobs) + 1),
            max(len(job.reply) + len(job.forced) for job in jobs) + 1,
        )
        hidden: dict[int, Tensor] = {}
        work: list[tuple[int, int, int]] = []  # row, reply index, token
        restored: dict[tuple[Group, tuple[int, ...]], tuple[int, int]] = {}  # row, length
        for job in jobs:
            row, ids = job.row, job.reply + job.forced
            group = rows.groups[row]
            assert group is not None
            hidden[row] = group.hidden
            if job.kind is Kind.SCORE and not job.reply and job.forced:
                self._score(job, group.hidden.unsqueeze(0), [job.forced[0]])
            if job.kind is Kind.READ and -1 in job.reads:
                self._read(job, group.hidden.unsqueeze(0))
            if not ids:
                continue
            covered = 0
            wanted = _first_state(job)
            if group.end is not None and wanted > 0:
                if (known := restored.get((group, ids[:wanted]))) is not None:  # a sibling: one copy, not one a block
                    source, covered = known
                    self._memory.suffix.copy(source, row, covered)
                else:
                    pieces, covered = self.store.reply(group.end, ids[:wanted])
                    at = 0
                    for piece in pieces:
                        self._memory.suffix.write(row, at, piece)
                        at += piece.shape[3]
                    restored[group, ids[:wanted]] = row, covered
            job.reused += covered
            self.counters.reused += covered
            job.prefilled += len(ids) - covered
            left = len(ids)
            if _goes_on(job):
                left -= 1
                rows.tokens[row] = ids[left]
                self.counters.prefilled += 1
            rows.lengths[row] = left
            work.extend((row, i, ids[i]) for i in range(covered, left))
        longest = padded(max((i for _, i, _ in work), default=0) + 1)
        size = max(MIN_ROWS, min(128, REPLAY_CELLS // longest))
        for at in range(0, len(work), size):
            self._replay(work[at : at + size], hidden)
        return hidden

    def _replay(self, work: list[tuple[int, int, int]], hidden: dict[int, Tensor]) -> None:
        rows = self._rows
        n, m = len(work), self._memory.bucket(len(work))
        row = np.full(m, self._memory.suffix.places, dtype=np.int64)
        index = np.zeros(m, dtype=np.int64)
        tokens = np.zeros(m, dtype=np.int64)
        row[:n], index[:n], tokens[:n] = np.array(work, dtype=np.int64).T
        real = np.where(np.arange(m) < n, row, 0)
        group = np.where(np.arange(m) < n, rows.group[real], -1)
        used = np.unique(group[:n])
        compact = np.searchsorted(used, group)
        compact[n:] = -1
        order = ranks(compact)
        # A tile holds at most GROUP_ROWS lines, so many rows of one group need several tiles of the same prefix.
        tiles, where = np.unique(compact * m + order // GROUP_ROWS, return_inverse=True)
        tile_of = np.where(compact >= 0, where - int((tiles < 0).sum()), -1)
        groups = used[tiles[tiles >= 0] // m]
        plan = self._memory.plan(m, tile_of, len(groups), rows.prompts[real], index + 1, row, groups)
        positions = np.where(np.arange(m) < n, rows.prompts[real] + index, 0)
        states = self.trunk.decode(
            self._memory.tensor(tokens), self._memory.tensor(positions), self._memory.prefix, self._memory.suffix, plan
        )
        self.counters.prefilled += n
        self.counters.prefills += 1
        last: dict[int, int] = {}
        scored: dict[int, tuple[list[int], list[int]]] = {}
        read: dict[int, list[int]] = {}
        for i, (r, at, _) in enumerate(work):
            last[r] = i
            job = rows.jobs[r]
            assert job is not None
            following = at + 1 - len(job.reply)
            if job.kind is Kind.SCORE and 0 <= following < len(job.forced):
                lines, targets = scored.setdefault(r, ([], []))
                lines.append(i)
                targets.append(job.forced[following])
            elif job.kind is Kind.READ and at in job.reads:
                read.setdefault(r, []).append(i)
        for r, (lines, targets) in scored.items():
            job = rows.jobs[r]
            assert job is not None
            self._score(job, states[lines], targets)
        for r, lines in read.items():
            job = rows.jobs[r]
            assert job is not None
            self._read(job, states[lines])
        for r, i in last.items():
            hidden[r] = states[i]

    def _score(self, job: Job, states: Tensor, targets: list[int]) -> None:
        logits = self._logits(states)
        job.logprobs += sampling.logprobs_of(logits, self._memory.tensor(np.array(targets))).tolist()

    def _read(self, job: Job, states: Tensor) -> None:
        assert job.head is not None
        job.numbers += [tuple(row) for row in job.head(states).tolist()]

    def _logits(self, states: Tensor) -> Tensor:
        """Logits of any number of states, padded to a number of rows that decoding uses as well."""
        n = states.shape[0]
        if (m := self._memory.bucket(n)) > n:
            states = torch.cat((states, states.new_zeros(m - n, states.shape[1])))
        return self.trunk.logits(states)[:n]

    def _begin(self, jobs: list[Job], hidden: dict[int, Tensor]) -> None:
        """Put newly seated jobs to work; those whose last state is known draw their first token."""
        rows = self._rows
        for job in jobs:
            rows.stops[job.row] = self._stop_set(job.sampling.stops)
            rows.valued[job.row] = 0 if job.head is None else 1 + self.heads.index(job.head)
            rows.live[job.row] = True
        jobs = [job for job in jobs if not _goes_on(job)]
        if not jobs:
            return
        index = np.array([job.row for job in jobs])
        states = torch.stack([hidden[job.row] for job in jobs])
        logits = self._logits(states)
        noise = sampling.uniforms(sampling.mixed(rows.seeds[index]), rows.drawn[index].astype(np.uint64))
        tokens, logprobs = sampling.pick(logits, self._memory.tensor(noise), self._choice(index))
        for i, job in enumerate(jobs):
            rank = job.sampling.first_rank
            if rank is not None:
                tokens[i] = sampling.ranked(logits[i], min(rank, logits.shape[1] - 1))
                logprobs[i] = sampling.logprobs_of(logits[i : i + 1], tokens[i : i + 1])[0]
        self._drew(index, tokens, logprobs, logits, states)

    def _stop_set(self, stops: tuple[str, ...]) -> int:
        """Row of the table that says which tokens may complete one of ``stops``."""
        if stops not in self._stop_sets:
            self._stop_sets[stops] = len(self._stop_table)
            self._stop_table = np.concatenate((self._stop_table, self.text.triggers(stops)[None]))
        return self._stop_sets[stops]

    # ---- decoding ------------------------------------------------------------------------------------------------

    def _decode(self) -> None:
        """One token for every row at work."""
        rows = self._rows
        m = self._memory.bucket(int(rows.live.nonzero()[0][-1]) + 1) if self._dirty else self._now.rows
        lengths = rows.lengths[:m] + 1
        self._memory.grow_suffix(m, int(lengths.max()))
        if self._dirty:
            live, groups = rows.live[:m], len(self._memory.groups)
            self._index, self._places = np.flatnonzero(live), np.arange(m)
            self._choose, self._seeds = self._choice(self._index), sampling.mixed(rows.seeds[self._index])
            tile_of = np.where(live, rows.group[:m], -1)
            self._now = self._memory.plan(m, tile_of, groups, rows.prompts[:m], lengths, self._places)
            self._dirty = False
        else:
            self._memory.advance(self._now, rows.prompts[:m], lengths, self._places)
        positions = rows.prompts[:m] + rows.lengths[:m]
        states = self.trunk.decode(
            self._memory.tensor(rows.tokens[:m]),
            self._memory.tensor(positions),
            self._memory.prefix,
            self._memory.suffix,
            self._now,
        )
        logits = self.trunk.logits(states)
        rows.lengths[self._index] += 1
        count = len(self._index)
        self.counters.steps += 1
        self.counters.rows += count
        self.counters.padded += m
        if count < m:
            at = self._memory.tensor(self._index) if self._index[-1] >= count else slice(count)
            logits = logits[at]
            states = states[at] if self.heads else states
        noise = sampling.uniforms(self._seeds, rows.drawn[self._index].astype(np.uint64))
        tokens, logprobs = sampling.pick(logits, self._memory.tensor(noise), self._choose)
        self._drew(self._index, tokens, logprobs, logits, states)

    def _choice(self, index: Ints) -> sampling.Choice:
        """How the rows in ``index`` choose."""
        rows, tensor = self._rows, self._memory.tensor
        return sampling.Choice.of(tensor(rows.temperature[index]), tensor(rows.top_k[index]), tensor(rows.top_p[index]))

    def _drew(self, index: Ints, tokens: Tensor, logprobs: Tensor, logits: Tensor, states: Tensor) -> None:
        """Book the tokens drawn from ``states`` for the rows in ``index`` and end the rows that are through."""
        rows = self._rows
        drawn = rows.drawn[index]
        rows.room(int(drawn.max()) + 1)
        ids = tokens.cpu().numpy()
        rows.tokens[index] = ids
        rows.ids[index, drawn] = ids
        rows.logprobs[index, drawn] = logprobs.cpu().numpy()
        if rows.top2[index].any():
            rows.pairs[index, drawn] = sampling.top_two(logits).cpu().numpy()
        if self.heads:
            self._value(index, drawn, states)
        rows.drawn[index] = drawn + 1
        self.counters.generated += len(index)
        ended = self._end_of(ids)
        full = drawn + 1 >= rows.limits[index]
        maybe = self._stop_table[rows.stops[index], ids]
        for i in np.flatnonzero(ended | full | maybe):
            row = int(index[i])
            if ended[i]:
                self._finish(row, Finish.EOS)
            elif maybe[i] and self._stopped(row):
                self._finish(row, Finish.STOP)
            elif full[i]:
                self._finish(row, Finish.LENGTH)

    def _value(self, index: Ints, drawn: Ints, states: Tensor) -> None:
        """What the heads say of the states that the rows' newest tokens were drawn from."""
        rows = self._rows
        for place, head in enumerate(self.heads, 1):
            wants = np.flatnonzero(rows.valued[index] == place)
            if len(wants):
                values = head(states)[:, 0].cpu().numpy()
                rows.values[index[wants], drawn[wants]] = values[wants]

    def _end_of(self, ids: Ints) -> npt.NDArray[np.bool_]:
        if self._ends_known != self.ends:
            self._end_table[:] = False
            self._end_table[[i for i in self.ends if i < len(self._end_table)]] = True
            self._ends_known = self.ends
        found: npt.NDArray[np.bool_] = self._end_table[ids]
        return found

    def _stopped(self, row: int) -> bool:
        job = self._rows.jobs[row]
        assert job is not None
        return self.text.stopped_at(self._rows.ids[row, : self._rows.drawn[row]].tolist(), job.sampling.stops)

    def _finish(self, row: int, finish: Finish) -> None:
        rows = self._rows
        job = rows.jobs[row]
        assert job is not None
        n = int(rows.drawn[row])
        pairs = rows.pairs[row, :n].tolist() if rows.top2[row] else None
        outcome = Outcome(
            job,
            tuple(rows.ids[row, :n].tolist()),
            tuple(rows.logprobs[row, :n].tolist()),
            tuple((a, b) for a, b in pairs) if pairs is not None else None,
            tuple(rows.values[row, :n].tolist()) if rows.valued[row] else None,
            finish=finish,
            generated=n,
            prefilled=job.prefilled,
            reused=job.reused,
        )
        if finish is not Finish.EOS:
            # A text that ended is seldom continued, and if it is, a replay gives the same bits.
            self._save_reply(row)
        self._free(row)
        self._deliver(outcome)

    def _save_reply(self, row: int) -> None:
        """Keep a row's reply, all but the last drawn token, whose keys were never needed."""
        rows = self._rows
        job, group, n = rows.jobs[row], rows.groups[row], int(rows.lengths[row])
        if job is None or group is None or group.end is None or n == 0:
            return
        ids = (job.reply + job.forced + tuple(rows.ids[row, : rows.drawn[row]].tolist()))[:n]
        self.store.add_reply(group.end, ids, partial(self._memory.suffix.read, row))
        self.counters.evicted = self.store.evicted

    def _shrink(self) -> None:
        """With nobody waiting, move rows and groups down so that the last samples are not paid for at full width."""
        rows = self._rows
        if self._waiting:
            return
        live = np.flatnonzero(rows.live)
        target = self._memory.bucket(len(live))
        if self._memory.bucket(int(live[-1]) + 1) > target:
            free = sorted(r for r in rows.free if r < target)
            for source, place in zip((int(r) for r in live[live >= target]), free, strict=False):
                n = int(rows.lengths[source])
                self._memory.suffix.copy(source, place, n)
                rows.move(source, place)
            self._dirty = True
        moved = self._memory.compact()
        if moved:
            for row in np.flatnonzero(rows.live).tolist():
                rows.group[row] = moved.get(int(rows.group[row]), rows.group[row])
            self._dirty = True


def _goes_on(job: Job) -> bool:
    """Whether the last given token goes with the next decode pass. A first token of given rank is drawn apart."""
    return job.kind is Kind.DRAW and bool(job.reply) and job.sampling.first_rank is None


def _first_state(job: Job) -> int:
    """Index in reply + forced of the first token whose state is needed: what comes before may be taken from a cache."""
    if job.kind is Kind.READ:
        return next((i for i in job.reads if i >= 0), len(job.forced))
    return len(job.reply) - 1 if job.kind is Kind.SCORE else len(job.reply) + len(job.forced) - 1


def _deliver_all(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        outcome.job.deliver(outcome)


class _Signal:
    """What the worker thread and the engine share: it outlives the engine, so that the thread can be stopped."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.closing = False

    def stop(self) -> None:
        """Ask the thread to end."""
        with self.condition:
            self.closing = True
            self.condition.notify_all()


_WORKERS: dict[threading.Thread, _Signal] = {}


def _work(reference: weakref.ref[Engine], signal: _Signal, threads: int | None) -> None:
    """The worker thread. It holds the engine weakly while idle, so that a forgotten engine can be collected."""
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            while True:
                with signal.condition:
                    engine = reference()
                    if engine is None or signal.closing:
                        break
                    if engine.idle():
                        engine = None
                        signal.condition.wait()
                        continue
                try:
                    engine.step()
                except BaseException as error:
                    engine.fail(error)
                engine = None
        engine = reference()
        if engine is not None:
            engine.fail(ModelError("the local model was closed while requests were running"))
    finally:
        _WORKERS.pop(threading.current_thread(), None)


@atexit.register
def _stop_workers() -> None:
    """A thread inside torch while the interpreter dies would crash it."""
    for thread, signal in list(_WORKERS.items()):
        signal.stop()
        thread.join(timeout=10)
