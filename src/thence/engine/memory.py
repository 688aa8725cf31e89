"""Where keys and values lie: prompts by group, replies by row, and the index tensors of a pass over both."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .buffers import PAGE, Buffers, Pages
from .jobs import Counters, Job
from .linear import CHAIN, MIN_ROWS, Tensor
from .plans import Bags, DecodePlan, PrefillPlan, Tiles
from .rows import Group, Ints, bucket
from .store import BLOCK, Store
from .trunk import Trunk

ALIGN = 16  # widths of keys are padded to multiples of a vector register's floats
PREFILL_ROWS = 512  # prompt tokens in one forward pass
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # prompts in one: few sizes, because oneDNN prepares each shape once


def padded(n: int, to: int = ALIGN) -> int:
    """``n`` rounded up to a multiple of ``to``, at least one."""
    return max(1, -(-n // to)) * to


class Memory:
    """The buffers of the rows at work, and the groups that share a prompt.

    In ``exact`` mode products have at least `trunk.MIN_ROWS` rows, unless the trunk keeps the bits with fewer.
    """

    def __init__(self, trunk: Trunk, store: Store, counters: Counters, slots: int, *, exact: bool) -> None:
        self.trunk, self.store, self.counters, self.slots = trunk, store, counters, slots
        self.narrowest = MIN_ROWS if exact else 1
        self.least = 1 if trunk.thin else self.narrowest
        shape, device, dtype = trunk.shape, trunk.device, trunk.dtype
        self.prefix = Buffers.make(shape, self.bucket(1), ALIGN, dtype, device)
        self.suffix = Pages.make(shape, self.bucket(1), 2, dtype, device)
        self.groups: list[Group | None] = []
        self._open: dict[tuple[int, ...], list[Group]] = {}
        self._columns = torch.arange(2 * shape.context + 4 * PAGE, device=device)
        self._zero = torch.zeros((), dtype=dtype, device=device)
        self._never = torch.full((), float("-inf"), dtype=dtype, device=device)
        self._heads = np.arange(shape.kv_heads)

    def peers(self, prompt: tuple[int, ...]) -> list[Group]:
        """Groups of this prompt."""
        return self._open.get(prompt, [])

    def drop(self, group: Group) -> None:
        """Forget a group without rows; its prompt may still be in the store."""
        self.groups[group.index] = None
        peers = self._open[group.prompt]
        peers.remove(group)
        if not peers:
            del self._open[group.prompt]
        while self.groups and self.groups[-1] is None:
            self.groups.pop()

    def share(self, source: Group, target: Group) -> None:
        """Copy a prompt from one group to another."""
        n = len(source.prompt)
        self.prefix.copy(source.index, target.index, n)
        target.hidden, target.end = source.hidden, source.end

    def compact(self) -> dict[int, int]:
        """Close the gaps between groups when half of the places are empty; old index -> new index."""
        groups = [g for g in self.groups if g is not None]
        if len(self.groups) < 8 or len(groups) > len(self.groups) // 2:
            return {}
        moved = {}
        for place, group in enumerate(groups):
            if group.index != place:
                n = len(group.prompt)
                self.prefix.copy(group.index, place, n)
                moved[group.index] = place
                group.index = place
        self.groups = list(groups)
        return moved

    def new_group(self, prompt: tuple[int, ...]) -> Group:
        """A group in the first free place; its prompt is not there yet."""
        index = next((i for i, g in enumerate(self.groups) if g is None), len(self.groups))
        group = Group(index, prompt)
        if index == len(self.groups):
            self.groups.append(group)
        else:
            self.groups[index] = group
        self._open.setdefault(prompt, []).append(group)
        self.grow_prefix(index + 1, len(prompt))
        return group

    def bucket(self, rows: int) -> int:
        """Rows of a pass for ``rows`` at work."""
        return bucket(rows, self.least)

    def _more_places(self, places: int, have: int) -> int:
        return have if places <= have else min(self.bucket(self.slots), self.bucket(max(places, 2 * have)))

    def grow_prefix(self, places: int, length: int) -> None:
        """Room for prompts of ``length`` in ``places`` groups."""
        old = self.prefix
        places, length = self._more_places(places, old.places), max(padded(length), old.length)
        if (places, length) != (old.places, old.length):
            self.prefix = old.resized(self.trunk.shape, places, length)

    def grow_suffix(self, places: int, length: int) -> None:
        """Room for replies of ``length`` in ``places`` rows."""
        old, pages = self.suffix, -(-length // PAGE)
        if pages > old.pages:
            pages = max(pages, min(2 * old.pages, -(-self.trunk.shape.context // PAGE)))
        places, pages = self._more_places(places, old.places), max(pages, old.pages)
        if (places, pages) != (old.places, old.pages):
            self.suffix = old.resized(self.trunk.shape, places, pages)

    def prefill(self, fresh: list[tuple[Group, Job]]) -> None:
        """Bring the prompts of new groups into the prefix buffer: what is cached by copy, the rest computed."""
        todo: list[tuple[Group, int]] = []
        for group, job in fresh:
            pieces, covered, end = self.store.prompt(group.prompt)
            if covered == len(group.prompt) and end is None:
                covered -= 1  # the last token's state is needed and only whole prompts keep it
            at = 0
            for piece in pieces:
                n = min(piece.shape[3], covered - at)
                self.prefix.write(group.index, at, piece[:, :, :, :n])
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
            if len(batch) < len(todo):  # more will come: as many as leave nothing to pad
                del batch[max(n for n in COUNTS if n <= len(batch)) :]
                rows = min(rows, padded(len(batch[-1][0].prompt) - batch[-1][1]))
            del todo[: len(batch)]
            todo[:0] = self._prefill_batch(batch, rows)
        for group, _ in fresh:
            if group.end is None:
                read = partial(self.prefix.read, group.index)
                group.end = self.store.add_prompt(group.prompt, read, group.hidden)
        self.counters.evicted = self.store.evicted

    def _prefill_batch(self, batch: list[tuple[Group, int]], rows: int) -> list[tuple[Group, int]]:
        """One forward pass over at most ``rows`` tokens of each prompt; returns what is left to do."""
        scratch = self.prefix.places
        count = next(n for n in COUNTS if n >= len(batch))
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
        seen = self._columns[:width] <= self.tensor(positions).unsqueeze(-1)
        mask = torch.where(seen, self._zero, self._never).view(count, 1, rows, 1, width)
        plan = PrefillPlan(count, rows, width, mask, self.tensor(places.reshape(-1)), self.tensor(groups))
        hidden = self.trunk.prefill(
            self.tensor(tokens.reshape(-1)), self.tensor(positions.reshape(-1)), self.prefix, plan
        )
        left = []
        for i, (group, start) in enumerate(batch):
            if start + rows >= len(group.prompt):
                group.hidden = hidden[i * rows + len(group.prompt) - start - 1].clone()
            else:
                left.append((group, start + rows))
        return left

    def tensor(self, array: npt.NDArray[Any]) -> Tensor:
        """On a CPU without a copy: the array must not change before the pass is over."""
        return torch.from_numpy(array).to(self.trunk.device)

    def plan(
        self,
        m: int,
        tile_of: Ints,
        tiles: int,
        prompts: Ints,
        lengths: Ints,
        places: Ints,
        groups: Ints | None = None,
    ) -> DecodePlan:
        """The index tensors of a decode pass: rows ``m``, the tile of each (-1: idle), key lengths, places.

        With ``groups``, the place of each tile's prompt, rows lie at ``places``; else row and tile i lie at place i.
        """
        live = tile_of >= 0
        prefix = padded(int(prompts[live].max()))
        # Whole buffers are read faster than parts of them, and short ones faster than long ones.
        longest = padded(max(len(group.prompt) for group in self.groups if group is not None))
        if 2 * longest <= self.prefix.length:
            self.prefix = self.prefix.resized(self.trunk.shape, self.prefix.places, longest)
        if 2 * self.prefix.length <= 3 * prefix:
            prefix = self.prefix.length
        short = self.trunk.thin and prefix <= CHAIN and groups is None
        reach = self._bags(tile_of, prefix) if short else self._tiles(tile_of, tiles, groups)
        plan = DecodePlan(m, prefix, reach, [], self._zero, self._zero, self._zero)
        if groups is not None:
            plan.places = self.tensor(places)
        self.advance(plan, prompts, lengths, places)
        return plan

    def _tiles(self, tile_of: Ints, tiles: int, groups: Ints | None) -> Tiles:
        kv, order = self.trunk.shape.kv_heads, ranks(tile_of)
        width = next(w for w in (1, 4, 8, 16) if w >= self.narrowest and order.max(initial=0) < w)
        live = np.flatnonzero(tile_of >= 0)
        tile, at = tile_of[live], order[live]
        rows = np.zeros((tiles, kv, width), dtype=np.int64)
        rows[tile, :, at] = live[:, None] * kv + self._heads
        back = np.zeros((len(tile_of), kv), dtype=np.int64)
        back[live] = (tile[:, None] * kv + self._heads) * width + at[:, None]
        places = None if groups is None else self.tensor(groups)
        return Tiles(tiles, width, self.tensor(rows.reshape(-1)), self.tensor(back.reshape(-1)), places)

    def _bags(self, group_of: Ints, prefix: int) -> Bags:
        """One bag per query head; idle rows read group 0."""
        shape, length, d = self.trunk.shape, self.prefix.length, self.trunk.shape.head_dim
        line = (np.maximum(group_of, 0)[:, None] * shape.kv_heads + self._heads).repeat(shape.group)
        starts = np.arange(len(line))
        keys, values = line[:, None] * d + np.arange(d), line[:, None] * length + np.arange(prefix)
        return Bags(
            (self.tensor(keys.reshape(-1)), self.tensor(starts * d)),
            (self.tensor(values.reshape(-1)), self.tensor(starts * prefix)),
        )

    def advance(self, plan: DecodePlan, prompts: Ints, lengths: Ints, places: Ints) -> None:
        """Set what changes from step to step: pages in use, mask, where to write.

        From one step to the next each row gets one token more; as long as none of them enters a new page, one is added
        to the indices. Idle rows then move within their page, too.
        """
        if plan.steady:
            plan.steady -= 1
            plan.write.add_(1)
            plan.mask.view(-1).index_fill_(0, plan.newest.add_(1), 0.0)
            return
        kv, prefix, rows = self.trunk.shape.kv_heads, plan.prefix, plan.rows
        pages = -(-int(lengths.max()) // PAGE)
        spans = [(0, rows)]
        for page in range(1, pages):
            if plan.places is not None or rows <= 8:
                spans.append((0, rows))
                continue
            reached = np.flatnonzero(lengths > page * PAGE)
            spans.append((int(reached[0]) // 8 * 8, min(rows, padded(int(reached[-1]) + 1, 8))))
        at, width = lengths - 1, prefix + pages * PAGE
        newest = np.arange(0, rows * kv * width, width).reshape(rows, kv) + (prefix + at)[:, None]
        plan.newest = self.tensor(newest.reshape(-1))
        plan.steady = int((PAGE - 1 - at % PAGE).min())
        if plan.mask.dim() and plan.mask.shape[2] == width:
            plan.mask.view(-1).index_fill_(0, plan.newest, 0.0)
        else:
            # A key counts when it lies in the prompt or in the reply; both ends are per row, columns are shared.
            columns = self._columns[:width]
            ends = self.tensor(np.repeat(np.stack((prompts, lengths + prefix), -1), kv, axis=0))
            seen = columns < ends[:, 1:]
            seen[:, :prefix] = columns[:prefix] < ends[:, :1]
            plan.mask = torch.where(seen, self._zero, self._never).unsqueeze(1)
        if spans != plan.spans or plan.suffix is not self.suffix:
            plan.spans, plan.views, plan.suffix = spans, [], self.suffix
        lines = ((at // PAGE) * (self.suffix.places + 1) + places) * kv
        keys = (lines[:, None] + self._heads) * PAGE + (at % PAGE)[:, None]
        values = keys + self.suffix.pages * (self.suffix.places + 1) * kv * PAGE
        plan.write = self.tensor(np.concatenate((keys, values), 1).reshape(-1))


def ranks(tile_of: Ints) -> Ints:
    """Rank of each row among the rows of its tile, in row order."""
    order = np.argsort(tile_of, kind="stable")
    ordered = tile_of[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    found = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    out = np.empty_like(found)
    out[order] = found
    return np.where(tile_of >= 0, out, 0)


def share_a_block(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two prompts begin with the same whole block."""
    return len(a) >= BLOCK and a[:BLOCK] == b[:BLOCK]
