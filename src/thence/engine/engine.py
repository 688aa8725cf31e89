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
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from thence.core.completion import Finish
from thence.core.errors import ModelError

from . import sampling
from .jobs import Counters, Job, Kind, Outcome
from .rows import Group, Ints, Rows, bucket
from .store import BLOCK, Store
from .text import Text
from .trunk import GROUP_ROWS, MIN_ROWS, PAGE, Buffers, DecodePlan, Pages, PrefillPlan, Tensor, Trunk

ALIGN = 16  # widths of keys are padded to multiples of a vector register's floats
PREFILL_ROWS = 512  # prompt tokens in one forward pass
REPLAY_CELLS = 16384  # rows times keys gathered at once when replies are replayed


def padded(n: int, to: int = ALIGN) -> int:
    """``n`` rounded up to a multiple of ``to``, at least one."""
    return max(1, -(-n // to)) * to


class Engine:
    """Batches draws and scores of one model. Thread-safe: `submit`, `cancel`, `waste`, `close`; the rest is its own.

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
        self._least = MIN_ROWS if exact else 1
        self.ends = ends
        self.counters = Counters()
        self.store = Store(memory)
        self._lock = threading.Condition()
        self._arrived: deque[Job] = deque()
        self._cancelled: deque[Job] = deque()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._in_flight = 0
        self._reset()

    # ---- called from any thread ----------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Jobs waiting or at work."""
        return self._in_flight

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs; every one gets exactly one outcome."""
        with self._lock:
            if self._closing:
                raise ModelError("the local model is closed; load it again")
            self._arrived.extend(jobs)
            self._in_flight += len(jobs)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_work, args=(weakref.ref(self),), name="thence-engine", daemon=True
                )
                atexit.register(_stop_at_exit, weakref.ref(self))
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

    def close(self) -> None:
        """Stop the thread and free the memory; a second call does nothing."""
        with self._lock:
            self._closing = True
            self._lock.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # ---- the worker thread ---------------------------------------------------------------------------------------

    def _reset(self) -> None:
        """Empty rows and buffers (also after an error, which leaves them in doubt)."""
        self._waiting: deque[Job] = deque()
        self._rows = Rows(self.slots, self._bucket(self.slots))
        self._groups: list[Group | None] = []
        self._open: dict[tuple[int, ...], list[Group]] = {}
        self._outbox: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
        shape, device, dtype = self.trunk.shape, self.trunk.device, self.trunk.dtype
        places = self._bucket(1)
        self._prefix = Buffers.make(shape, places, 64, dtype, device)
        self._suffix = Pages.make(shape, places, 2, dtype, device)
        self._end_table = np.zeros(shape.vocab, dtype=np.bool_)
        self._stop_sets: dict[tuple[str, ...], int] = {(): 0}
        self._stop_table = np.zeros((1, shape.vocab), dtype=np.bool_)
        self._dirty = True
        self._ends_known: frozenset[int] | None = None
        self._plan_rows = 0
        self._columns = torch.arange(2 * self.trunk.shape.context + 4 * PAGE, device=device)
        self._zero = torch.zeros((), dtype=dtype, device=device)
        self._never = torch.full((), float("-inf"), dtype=dtype, device=device)
        self._heads = np.arange(shape.kv_heads)

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
            self._groups[group.index] = None
            peers = self._open[group.prompt]
            peers.remove(group)
            if not peers:
                del self._open[group.prompt]
            while self._groups and self._groups[-1] is None:
                self._groups.pop()

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
            self._first_tokens([job for job in jobs if job.kind is Kind.DRAW], hidden)
            for job in jobs:
                if job.kind is Kind.SCORE:
                    row = job.row
                    self._save_reply(row)
                    self._free(row)
                    self._deliver(
                        Outcome(
                            job,
                            job.forced,
                            tuple(job.logprobs),
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
            peers = self._open.get(job.prompt, [])
            group = next((g for g in peers if g.rows < GROUP_ROWS), None)
            if group is None:
                group = self._new_group(job.prompt)
                if peers:
                    copies.append((peers[0], group))
                    job.reused += len(job.prompt)
                    self.counters.reused += len(job.prompt)
                else:
                    if any(_share_a_block(g.prompt, job.prompt) for g, _ in fresh):
                        self._prefill(fresh)
                        fresh = []
                    fresh.append((group, job))
                self._open.setdefault(job.prompt, []).append(group)
            else:
                job.reused += len(job.prompt)
                self.counters.reused += len(job.prompt)
            self._rows.take(job, group)
        self._prefill(fresh)
        for source, target in copies:
            n = len(source.prompt)
            self._prefix.data[:, :, target.index, :, :n] = self._prefix.data[:, :, source.index, :, :n]
            target.hidden, target.end = source.hidden, source.end

    def _new_group(self, prompt: tuple[int, ...]) -> Group:
        index = next((i for i, g in enumerate(self._groups) if g is None), len(self._groups))
        group = Group(index, prompt)
        if index == len(self._groups):
            self._groups.append(group)
        else:
            self._groups[index] = group
        self._grow_prefix(index + 1, len(prompt))
        return group

    def _bucket(self, rows: int) -> int:
        return bucket(rows, self._least)

    def _more_places(self, places: int, have: int) -> int:
        return have if places <= have else min(self._bucket(self.slots), self._bucket(max(places, 2 * have)))

    def _grow_prefix(self, places: int, length: int) -> None:
        """Room for prompts of ``length`` in ``places`` groups."""
        old = self._prefix
        places, length = self._more_places(places, old.places), max(padded(length), old.length)
        if (places, length) != (old.places, old.length):
            self._prefix = old.resized(self.trunk.shape, places, length)

    def _grow_suffix(self, places: int, length: int) -> None:
        """Room for replies of ``length`` in ``places`` rows."""
        old, pages = self._suffix, -(-length // PAGE)
        if pages > old.pages:
            pages = max(pages, min(2 * old.pages, -(-self.trunk.shape.context // PAGE)))
        places, pages = self._more_places(places, old.places), max(pages, old.pages)
        if (places, pages) != (old.places, old.pages):
            self._suffix = old.resized(self.trunk.shape, places, pages)

    def _prefill(self, fresh: list[tuple[Group, Job]]) -> None:
        """Bring the prompts of new groups into the prefix buffer: what is cached by copy, the rest computed."""
        todo: list[tuple[Group, int]] = []
        for group, job in fresh:
            pieces, covered, end = self.store.prompt(group.prompt)
            if covered == len(group.prompt) and end is None:
                covered -= 1  # the last token's state is needed and only whole prompts keep it
            at = 0
            for piece in pieces:
                n = min(piece.shape[3], covered - at)
                self._prefix.data[:, :, group.index, :, at : at + n] = piece[:, :, :, :n]
                at += n
            job.reused += covered
            self.counters.reused += covered
            job.prefilled += len(group.prompt) - covered
            if end is not None:
                group.hidden, group.end = end.hidden, end
            else:
                todo.append((group, covered))
        todo.sort(key=lambda t: len(t[0].prompt) - t[1])
        while todo:
            rows = padded(min(len(todo[0][0].prompt) - todo[0][1], PREFILL_ROWS // 2))
            batch = [todo[0]]
            for group, covered in todo[1:]:
                need = padded(len(group.prompt) - covered)
                if need * (len(batch) + 1) > PREFILL_ROWS:
                    break
                rows = need
                batch.append((group, covered))
            del todo[: len(batch)]
            todo[:0] = self._prefill_batch(batch, rows)
        for group, _ in fresh:
            if group.end is None:
                kv = self._prefix.data[:, :, group.index, :, : len(group.prompt)]
                group.end = self.store.add_prompt(group.prompt, kv, group.hidden)
        self.counters.evicted = self.store.evicted

    def _prefill_batch(self, batch: list[tuple[Group, int]], rows: int) -> list[tuple[Group, int]]:
        """One forward pass over at most ``rows`` tokens of each prompt; returns what is left to do."""
        shape, scratch = self.trunk.shape, self._prefix.places
        count = 1 << (len(batch) - 1).bit_length()
        tokens = np.zeros((count, rows), dtype=np.int64)
        positions = np.zeros((count, rows), dtype=np.int64)
        groups = np.full(count, scratch, dtype=np.int64)
        places = np.full((count, rows), scratch, dtype=np.int64)
        for i, (group, start) in enumerate(batch):
            ids = group.prompt[start : start + rows]
            tokens[i, : len(ids)] = ids
            positions[i, : len(ids)] = np.arange(start, start + len(ids))
            groups[i] = group.index
            places[i, : len(ids)] = group.index
            self.counters.prefilled += len(ids)
        self.counters.prefills += 1
        width = padded(int(positions.max()) + 1)
        write = (places[:, :, None] * shape.kv_heads + self._heads) * self._prefix.length + positions[:, :, None]
        seen = self._columns[:width] <= self._tensor(positions).unsqueeze(-1)
        mask = torch.where(seen, self._zero, self._never).view(count, 1, rows, 1, width)
        plan = PrefillPlan(count, rows, width, mask, self._tensor(write.reshape(-1)), self._tensor(groups))
        hidden = self.trunk.prefill(
            self._tensor(tokens.reshape(-1)), self._tensor(positions.reshape(-1)), self._prefix, plan
        )
        left = []
        for i, (group, start) in enumerate(batch):
            if start + rows >= len(group.prompt):
                group.hidden = hidden[i * rows + len(group.prompt) - start - 1].clone()
            else:
                left.append((group, start + rows))
        return left

    def _restore_replies(self, jobs: list[Job]) -> dict[int, Tensor]:
        """Bring given replies into the suffix buffer; the last hidden state of each row, by row.

        What is cached is copied. The rest goes through `decode`, many tokens of one row at a time, which gives the
        same bits as drawing them one by one.
        """
        rows = self._rows
        self._grow_suffix(
            self._bucket(max(job.row for job in jobs) + 1), max(len(job.reply) + len(job.forced) for job in jobs) + 1
        )
        hidden: dict[int, Tensor] = {}
        work: list[tuple[int, int, int]] = []  # row, reply index, token
        for job in jobs:
            row, ids = job.row, job.reply + job.forced
            group = rows.groups[row]
            assert group is not None
            hidden[row] = group.hidden
            if job.kind is Kind.SCORE and not job.reply and job.forced:
                self._score(job, group.hidden.unsqueeze(0), [job.forced[0]])
            if not ids:
                continue
            covered = 0
            # The state of the token before the first new one is needed, so that token is computed in any case.
            wanted = len(job.reply) - 1 if job.kind is Kind.SCORE else len(ids) - 1
            if group.end is not None and wanted > 0:
                pieces, covered = self.store.reply(group.end, ids[:wanted])
                at = 0
                for piece in pieces:
                    self._suffix.write(row, at, piece)
                    at += piece.shape[3]
            job.reused += covered
            self.counters.reused += covered
            job.prefilled += len(ids) - covered
            rows.lengths[row] = len(ids)
            work.extend((row, i, ids[i]) for i in range(covered, len(ids)))
        longest = padded(max((i for _, i, _ in work), default=0) + 1)
        size = max(MIN_ROWS, min(128, REPLAY_CELLS // longest))
        for at in range(0, len(work), size):
            self._replay(work[at : at + size], hidden)
        return hidden

    def _replay(self, work: list[tuple[int, int, int]], hidden: dict[int, Tensor]) -> None:
        rows = self._rows
        n, m = len(work), self._bucket(len(work))
        row = np.full(m, self._suffix.places, dtype=np.int64)
        index = np.zeros(m, dtype=np.int64)
        tokens = np.zeros(m, dtype=np.int64)
        row[:n], index[:n], tokens[:n] = np.array(work, dtype=np.int64).T
        real = np.where(np.arange(m) < n, row, 0)
        group = np.where(np.arange(m) < n, rows.group[real], -1)
        used = np.unique(group[:n])
        compact = np.searchsorted(used, group)
        compact[n:] = -1
        order = _positions(compact)
        # A tile holds at most GROUP_ROWS lines, so many rows of one group need several tiles of the same prefix.
        tiles, where = np.unique(compact * m + order // GROUP_ROWS, return_inverse=True)
        tile_of = np.where(compact >= 0, where - int((tiles < 0).sum()), -1)
        groups = used[tiles[tiles >= 0] // m]
        plan = self._plan(m, tile_of, len(groups), rows.prompts[real], index + 1, row * 1)
        plan.groups, plan.places = self._tensor(groups), self._tensor(row)
        plan.spans = [(0, m)] * len(plan.spans)
        positions = np.where(np.arange(m) < n, rows.prompts[real] + index, 0)
        states = self.trunk.decode(self._tensor(tokens), self._tensor(positions), self._prefix, self._suffix, plan)
        self.counters.prefilled += n
        self.counters.prefills += 1
        last: dict[int, int] = {}
        scored: dict[int, tuple[list[int], list[int]]] = {}
        for i, (r, at, _) in enumerate(work):
            last[r] = i
            job = rows.jobs[r]
            assert job is not None
            following = at + 1 - len(job.reply)
            if job.kind is Kind.SCORE and 0 <= following < len(job.forced):
                lines, targets = scored.setdefault(r, ([], []))
                lines.append(i)
                targets.append(job.forced[following])
        for r, (lines, targets) in scored.items():
            job = rows.jobs[r]
            assert job is not None
            self._score(job, states[lines], targets)
        for r, i in last.items():
            hidden[r] = states[i]

    def _score(self, job: Job, states: Tensor, targets: list[int]) -> None:
        logits = self._logits(states)
        job.logprobs += sampling.logprobs_of(logits, self._tensor(np.array(targets))).tolist()

    def _logits(self, states: Tensor) -> Tensor:
        """Logits of any number of states, padded to a number of rows that decoding uses as well."""
        n = states.shape[0]
        if (m := self._bucket(n)) > n:
            states = torch.cat((states, states.new_zeros(m - n, states.shape[1])))
        return self.trunk.logits(states)[:n]

    def _first_tokens(self, jobs: list[Job], hidden: dict[int, Tensor]) -> None:
        """Draw the first token of newly seated jobs."""
        if not jobs:
            return
        rows = self._rows
        index = np.array([job.row for job in jobs])
        states = torch.stack([hidden[job.row] for job in jobs])
        logits = self._logits(states)
        for job in jobs:
            rows.stops[job.row] = self._stop_set(job.sampling.stop)
        tokens, logprobs = self._pick(logits, index, self._choice(index))
        for i, job in enumerate(jobs):
            rank = job.sampling.first_rank
            if rank is not None:
                tokens[i] = sampling.ranked(logits[i], min(rank, logits.shape[1] - 1))
                logprobs[i] = sampling.logprobs_of(logits[i : i + 1], tokens[i : i + 1])[0]
        rows.live[index] = True
        rows.room(1)
        self._drew(index, tokens, logprobs, logits)

    def _stop_set(self, stops: tuple[str, ...]) -> int:
        """Row of the table that says which tokens may complete one of ``stops``."""
        if stops not in self._stop_sets:
            self._stop_sets[stops] = len(self._stop_table)
            self._stop_table = np.concatenate((self._stop_table, self.text.triggers(stops)[None]))
        return self._stop_sets[stops]

    # ---- decoding ------------------------------------------------------------------------------------------------

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        """On a CPU without a copy: the array must not change before the pass is over."""
        return torch.from_numpy(array).to(self.trunk.device)

    def _plan(self, m: int, tile_of: Ints, tiles: int, prompts: Ints, lengths: Ints, places: Ints) -> DecodePlan:
        """The index tensors of a decode pass: rows ``m``, the tile of each (-1: idle), key lengths, places."""
        kv = self.trunk.shape.kv_heads
        order = _positions(tile_of)
        width = next(w for w in (1, 4, 8, 16) if w >= self._least and order.max(initial=0) < w)
        live = np.flatnonzero(tile_of >= 0)
        tile, at = tile_of[live], order[live]
        tile_rows = np.zeros((tiles, kv, width), dtype=np.int64)
        tile_rows[tile, :, at] = live[:, None] * kv + self._heads
        row_tiles = np.zeros((m, kv), dtype=np.int64)
        row_tiles[live] = (tile[:, None] * kv + self._heads) * width + at[:, None]
        prefix = padded(int(prompts[live].max()))
        if 2 * prefix > self._prefix.length:
            prefix = self._prefix.length  # whole buffers are read faster than parts of them
        prompts = np.where(tile_of >= 0, prompts, 1)
        plan = DecodePlan(
            rows=m,
            prefix=prefix,
            tiles=tiles,
            spans=[],
            tile_rows=self._tensor(tile_rows.reshape(-1)),
            row_tiles=self._tensor(row_tiles.reshape(-1)),
            mask=self._zero,
            write=self._zero,
        )
        self._advance(plan, prompts, lengths, places)
        return plan

    def _advance(self, plan: DecodePlan, prompts: Ints, lengths: Ints, places: Ints) -> None:
        """Set what changes from step to step: pages in use, mask, where to write."""
        kv, prefix = self.trunk.shape.kv_heads, plan.prefix
        pages = -(-int(lengths.max()) // PAGE)
        plan.spans = [(0, plan.rows)]
        for page in range(1, pages):
            rows = np.flatnonzero(lengths > page * PAGE)
            low, high = int(rows[0]) // 8 * 8, min(plan.rows, padded(int(rows[-1]) + 1, 8))
            plan.spans.append((low, high))
        # A key counts when it lies in the prompt or in the reply; both ends are per row, columns are shared.
        columns = self._columns[: prefix + pages * PAGE]
        ends = self._tensor(np.repeat(np.stack((prompts, lengths + prefix), -1), kv, axis=0))
        seen = columns < ends[:, 1:]
        seen[:, :prefix] = columns[:prefix] < ends[:, :1]
        plan.mask = torch.where(seen, self._zero, self._never).unsqueeze(1)
        at = lengths - 1
        lines = ((at // PAGE) * (self._suffix.places + 1) + places) * kv
        plan.write = self._tensor(((lines[:, None] + self._heads) * PAGE + (at % PAGE)[:, None]).reshape(-1))

    def _decode(self) -> None:
        """One token for every row at work."""
        rows = self._rows
        top = int(np.flatnonzero(rows.live)[-1]) + 1
        m = self._bucket(top)
        longest = int(rows.lengths.max()) + 1
        self._grow_suffix(m, longest)
        live, lengths = rows.live[:m], rows.lengths[:m] + 1
        if self._dirty or self._plan_rows != m:
            self._index = np.flatnonzero(live)
            tile_of = np.where(live, rows.group[:m], -1)
            self._now = self._plan(m, tile_of, len(self._groups), rows.prompts[:m], lengths, np.arange(m))
            self._plan_rows, self._dirty = m, False
            self._choose = self._choice(self._index)
        else:
            self._advance(self._now, np.where(live, rows.prompts[:m], 1), lengths, np.arange(m))
        positions = rows.prompts[:m] + rows.lengths[:m]
        states = self.trunk.decode(
            self._tensor(rows.tokens[:m]), self._tensor(positions), self._prefix, self._suffix, self._now
        )
        logits = self.trunk.logits(states)
        rows.lengths[self._index] += 1
        count = len(self._index)
        self.counters.steps += 1
        self.counters.rows += count
        self.counters.padded += m
        if count < m:
            logits = logits[self._tensor(self._index)] if self._index[-1] >= count else logits[:count]
        tokens, logprobs = self._pick(logits, self._index, self._choose)
        self._drew(self._index, tokens, logprobs, logits)

    def _choice(self, index: Ints) -> sampling.Choice:
        """How the rows in ``index`` choose."""
        rows = self._rows
        heat = rows.temperature[index]
        filtered = bool(rows.top_k[index].any() or (rows.top_p[index] < 1).any())
        return sampling.Choice(
            self._tensor(heat) if heat.any() else None,
            bool((heat == 0).any()),
            self._tensor(rows.top_k[index]) if filtered else None,
            self._tensor(rows.top_p[index]) if filtered else None,
        )

    def _pick(self, logits: Tensor, index: Ints, choice: sampling.Choice) -> tuple[Tensor, Tensor]:
        noise = sampling.uniforms(self._rows.seeds[index], self._rows.drawn[index].astype(np.uint64))
        return sampling.pick(logits, self._tensor(noise), choice)

    def _drew(self, index: Ints, tokens: Tensor, logprobs: Tensor, logits: Tensor) -> None:
        """Book the drawn tokens of the rows in ``index`` and end the rows that are through."""
        rows = self._rows
        drawn = rows.drawn[index]
        rows.room(int(drawn.max()) + 1)
        ids = tokens.cpu().numpy()
        rows.tokens[index] = ids
        rows.ids[index, drawn] = ids
        rows.logprobs[index, drawn] = logprobs.cpu().numpy()
        if rows.top2[index].any():
            rows.pairs[index, drawn] = sampling.top_two(logits).cpu().numpy()
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
        return self.text.stopped_at(self._rows.ids[row, : self._rows.drawn[row]].tolist(), job.sampling.stop)

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
            finish,
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
        self.store.add_reply(group.end, ids, self._suffix.read(row, n))
        self.counters.evicted = self.store.evicted

    def _shrink(self) -> None:
        """With nobody waiting, move rows and groups down so that the last samples are not paid for at full width."""
        rows = self._rows
        if self._waiting:
            return
        live = np.flatnonzero(rows.live)
        target = self._bucket(len(live))
        if self._bucket(int(live[-1]) + 1) > target:
            free = sorted(r for r in rows.free if r < target)
            for source, place in zip((int(r) for r in live[live >= target]), free, strict=False):
                n = int(rows.lengths[source])
                self._suffix.copy(source, place, n)
                rows.move(source, place)
            self._dirty = True
        groups = [g for g in self._groups if g is not None]
        if len(self._groups) >= 8 and len(groups) <= len(self._groups) // 2:
            for place, group in enumerate(groups):
                if group.index != place:
                    n = len(group.prompt)
                    self._prefix.data[:, :, place, :, :n] = self._prefix.data[:, :, group.index, :, :n].clone()
                    rows.group[rows.group == group.index] = place
                    group.index = place
            self._groups = list(groups)
            self._dirty = True


def _positions(tile_of: Ints) -> Ints:
    """Rank of each row among the rows of its tile, in row order."""
    order = np.argsort(tile_of, kind="stable")
    ordered = tile_of[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ranks = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    out = np.empty_like(ranks)
    out[order] = ranks
    return np.where(tile_of >= 0, out, 0)


def _share_a_block(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return len(a) >= BLOCK and a[:BLOCK] == b[:BLOCK]


def _deliver_all(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        outcome.job.deliver(outcome)


def _work(reference: weakref.ref[Engine]) -> None:
    """The worker thread. It holds the engine weakly while idle, so that a forgotten engine can be collected."""
    engine = reference()
    if engine is None:
        return
    if engine.threads is not None:
        torch.set_num_threads(engine.threads)
    lock = engine._lock
    with torch.inference_mode():
        while True:
            with lock:
                if engine is None or engine._closing:
                    break
                idle = engine.idle()
                if idle:
                    engine = None
                    lock.wait(1.0)
            if idle:
                engine = reference()
                if engine is None:
                    return
                continue
            assert engine is not None
            try:
                engine.step()
            except BaseException as error:
                engine.fail(error)
    if engine is not None:
        engine.fail(ModelError("the local model was closed while requests were running"))


def _stop_at_exit(reference: weakref.ref[Engine]) -> None:
    """A thread inside torch while the interpreter dies would crash it."""
    engine = reference()
    if engine is not None:
        engine.close()
