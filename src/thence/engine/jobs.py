"""What goes into the engine and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum

from thence.core.completion import Finish, Sampling
from thence.nets.heads import Head


class Kind(StrEnum):
    """What a job wants."""

    DRAW = "draw"  # continue the reply
    SCORE = "score"  # log-probabilities of ``forced`` after the reply
    READ = "read"  # what a head says at some tokens of ``forced``


@dataclass(slots=True, eq=False)
class Job:
    """One sample to draw, or one text to score or read.

    ``prompt`` and ``reply`` are token ids; ``limit`` is how many tokens may be drawn. ``deliver`` is called in ``loop``
    with the outcome, exactly once, also after a cancellation. READ takes no reply: ``reads`` are indices in ``forced``
    (-1 is the prompt's last token), rising, at whose states ``head`` is asked; what comes before the first of them is
    computed only if no cache has it. DRAW with a ``head`` (one of the engine's) gives a value per drawn token.
    """

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    sampling: Sampling
    seed: int
    limit: int
    loop: asyncio.AbstractEventLoop
    deliver: Callable[[Outcome], None]
    kind: Kind = Kind.DRAW
    forced: tuple[int, ...] = ()
    reads: tuple[int, ...] = ()
    head: Head | None = None
    cancelled: bool = False
    done: bool = False
    row: int = -1
    prefilled: int = 0
    reused: int = 0
    logprobs: list[float] = field(default_factory=list)
    numbers: list[tuple[float, ...]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: drawn tokens or an error, and what it spent.

    ``finish`` None means that the job was cancelled (its ``ids`` are empty, ``generated`` says what it had drawn) or
    failed with ``error``. ``values`` has a number of the engine's own head per drawn token, ``numbers`` what a READ
    asked for.
    """

    job: Job
    ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    top2: tuple[tuple[float, float], ...] | None = None
    values: tuple[float, ...] | None = None
    numbers: tuple[tuple[float, ...], ...] = ()
    finish: Finish | None = None
    error: BaseException | None = None
    prefilled: int = 0
    reused: int = 0
    generated: int = 0
    wasted: int = 0


@dataclass(slots=True)
class Counters:
    """What the engine did, counted where it happens and not from anybody's books.

    ``prefilled``: context tokens through a forward pass. ``reused``: context tokens copied from a cache or shared with
    a sibling. ``generated``: tokens drawn. ``wasted``: those among them that nobody consumed. ``evicted``: tokens
    dropped from the cache. ``steps`` decode passes had ``rows`` rows at work of ``padded`` computed ones.
    """

    prefilled: int = 0
    reused: int = 0
    generated: int = 0
    wasted: int = 0
    evicted: int = 0
    prefills: int = 0
    steps: int = 0
    rows: int = 0
    padded: int = 0

    @property
    def occupancy(self) -> float:
        """Mean share of computed rows that were at work."""
        return self.rows / self.padded if self.padded else 0.0

    @property
    def mean_rows(self) -> float:
        """Mean number of rows at work in a decode pass."""
        return self.rows / self.steps if self.steps else 0.0

    def as_dict(self) -> dict[str, float]:
        """All counters and the two means."""
        counts: dict[str, float] = {f.name: getattr(self, f.name) for f in fields(self)}
        return counts | {"occupancy": self.occupancy, "mean_rows": self.mean_rows}
