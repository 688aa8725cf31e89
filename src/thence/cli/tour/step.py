"""What a step of the tour is, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .bench import Bench

Draw = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one run of a step measured; its words are in the texts.

    ``holds`` is whether the step's claim held in this run, None where the run cannot tell. ``says`` are the keys of
    the sentences that are true of this run, and ``values`` what stands in their placeholders. ``columns`` are keys of
    words, or what is shown as it is; ``right`` are the columns set to the right. ``exhibit`` is text of a question or
    of the model, shown as it is. ``draw`` makes the picture (it may import matplotlib); ``commands`` make the same.
    """

    holds: bool | None
    says: tuple[str, ...]
    values: Mapping[str, str]
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    commands: tuple[str, ...]
    draw: Draw
    right: Sequence[int] = ()
    exhibit: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name in the texts, how it is measured, and every sentence (by key) that it may say."""

    name: str
    measure: Callable[[Bench], Finding]
    outcomes: tuple[str, ...] = field(default=())


__all__ = ["Finding", "Step"]
