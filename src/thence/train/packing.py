"""How examples become rows of a batch.

Rows are padded on the right and carry no mask: attention is causal, so nothing ever looks at the padding, and without a
mask the fast kernels run (measured on one CPU thread with the embedded model: 15 % faster than a padding mask). What
counts is said by weights alone; no token is special, so a tokenizer whose padding is its end-of-text loses nothing.
Examples of a micro-batch are of nearly equal length, since they are sorted before they are cut.

Packing, several examples in one row with block-diagonal attention, gives the same numbers. It helps where lengths
differ by much and the device is fast at long rows; on a CPU it is slower, because every row pays for its square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from thence.core.seeds import derive

POOL = 8  # batches drawn together and sorted by length before they are cut


@dataclass(frozen=True, slots=True)
class Rows:
    """``ids`` [B, T]; ``starts[i]`` is the index in the flattened [B * T] of example i's first token.

    ``positions`` [B, T] and ``mask`` [B, 1, T, T] (True: may look) are None where each row holds one example.
    """

    ids: Tensor
    starts: tuple[int, ...]
    positions: Tensor | None = None
    mask: Tensor | None = None


def rows(sequences: Sequence[Sequence[int]], device: torch.device, width: int = 0) -> Rows:
    """One sequence per row; with a ``width`` as many per row as fit into it (a longer one has a row of its own)."""
    longest = max(len(s) for s in sequences)
    if width <= 0:
        ids = torch.zeros(len(sequences), longest, dtype=torch.long)
        for i, s in enumerate(sequences):
            ids[i, : len(s)] = torch.tensor(s)
        return Rows(ids.to(device), tuple(i * longest for i in range(len(sequences))))
    width = max(width, longest)
    filled: list[int] = []
    places: list[tuple[int, int]] = []
    for s in sequences:
        row = next((r for r, used in enumerate(filled) if used + len(s) <= width), len(filled))
        if row == len(filled):
            filled.append(0)
        places.append((row, filled[row]))
        filled[row] += len(s)
    ids, positions = (torch.zeros(len(filled), width, dtype=torch.long) for _ in range(2))
    owner = torch.full((len(filled), width), -1)
    for i, (s, (row, at)) in enumerate(zip(sequences, places, strict=True)):
        ids[row, at : at + len(s)] = torch.tensor(s)
        positions[row, at : at + len(s)] = torch.arange(len(s))
        owner[row, at : at + len(s)] = i
    mask = (owner[:, :, None] == owner[:, None, :]) & torch.ones(width, width, dtype=torch.bool).tril()
    starts = tuple(row * width + at for row, at in places)
    return Rows(ids.to(device), starts, positions.to(device), mask[:, None].to(device))


def batches(costs: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """The order of one epoch: indexes in batches of ``size``, drawn at random, each of nearly equal costs.

    It depends on the arguments only, so a resumed run reads the same batches.
    """
    rng = Random(derive(seed, "order", epoch))
    order = list(range(len(costs)))
    rng.shuffle(order)
    made = []
    for first in range(0, len(order), size * POOL):
        pool = sorted(order[first : first + size * POOL], key=lambda i: costs[i])
        made += [pool[i : i + size] for i in range(0, len(pool), size)]
    rng.shuffle(made)
    return made


def micro_batches(indexes: Sequence[int], costs: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Cut a batch into parts whose number times largest cost is at most ``budget``, or that hold one example."""
    part: list[int] = []
    for i in sorted(indexes, key=lambda i: costs[i]):
        if part and (len(part) + 1) * costs[i] > budget:
            yield part
            part = []
        part.append(i)
    if part:
        yield part
