"""What a forward pass reads and writes: index tensors, made by `memory`, used by `trunk`."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from .buffers import Pages

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Tiles:
    """Rows of one group side by side; a (row, kv head) pair is one line.

    ``rows`` picks lines into tiles [tiles, kv_heads, width], ``back`` is the way back. Lines that pad a tile repeat
    line 0 and are never read back. ``groups`` None means that tile i is prefix place i.
    """

    count: int
    width: int
    rows: Tensor
    back: Tensor
    groups: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Bags:
    """The same without tiles: the rows of the prefix, seen as a table, that each query head adds up.

    Pairs of indices and starts, as `linear.bags` takes them.
    """

    keys: tuple[Tensor, Tensor]
    values: tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Span:
    """One page of the rows from ``low`` to ``high``: keys [lines, head_dim, PAGE], values [lines, PAGE, head_dim]."""

    low: int
    high: int
    keys: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class View:
    """What a plan reads in one layer: keys and values of the prefixes as its reach wants them, and the pages."""

    keys: Tensor
    values: Tensor
    spans: list[Span]


@dataclass(slots=True)
class DecodePlan:
    """Where the rows of one decode step read and write.

    ``spans`` has the range of rows that have reached each page, ``mask`` [rows * kv_heads, 1, prefix + pages * PAGE] is
    added to the scores, ``newest`` are its entries for the tokens of this step, ``write`` the lines of `Pages.flat` for
    their keys and values; these hold for ``steady`` more steps but for adding one. ``places`` None means that row i
    is suffix place i; otherwise the place of each row (replay). ``views`` are kept per layer as long as they hold, that
    is for these spans of ``suffix``.
    """

    rows: int
    prefix: int
    reach: Tiles | Bags
    spans: list[tuple[int, int]]
    mask: Tensor
    write: Tensor
    newest: Tensor
    steady: int = 0
    places: Tensor | None = None
    suffix: Pages | None = None
    views: list[View] = field(default_factory=list)


@dataclass(slots=True)
class PrefillPlan:
    """Prompts to prefill together: ``count`` groups with ``rows`` new tokens each, ``prefix`` keys wide.

    ``places`` is the place of every token, ``groups`` that of every group.
    """

    count: int
    rows: int
    prefix: int
    mask: Tensor
    places: Tensor
    groups: Tensor
