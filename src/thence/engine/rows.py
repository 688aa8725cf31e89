"""The rows at work: one numpy array per number, so that a step touches no Python object per row."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .jobs import Job
from .store import Block

Ints = npt.NDArray[np.int64]
ARRAYS = tuple(
    "live group prompts lengths tokens drawn limits stops seeds temperature top_p top_k top2 valued".split()  # noqa: SIM905
    + "ids logprobs pairs values".split()  # noqa: SIM905
)
BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256)


def bucket(rows: int, least: int = 1) -> int:
    """Rows of a decode pass for ``rows`` at work: few sizes, because oneDNN prepares each shape once."""
    for size in BUCKETS:
        if max(rows, least) <= size:
            return size
    return -(-rows // 64) * 64


@dataclass(slots=True, eq=False)
class Group:
    """Rows that share one prompt. ``end`` is the prompt's last block in the store, ``hidden`` its last state."""

    index: int
    prompt: tuple[int, ...]
    rows: int = 0
    hidden: Any = None
    end: Block | None = None


@dataclass(slots=True)
class Rows:
    """State of every row; ``lengths`` counts the reply tokens whose keys are in the row's buffer.

    Jobs get the first ``slots`` rows; the arrays have ``size`` of them, the largest batch with its padding.
    """

    slots: int
    size: int
    jobs: list[Job | None] = field(init=False)
    groups: list[Group | None] = field(init=False)
    free: list[int] = field(init=False)
    live: npt.NDArray[np.bool_] = field(init=False)
    group: Ints = field(init=False)
    prompts: Ints = field(init=False)
    lengths: Ints = field(init=False)
    tokens: Ints = field(init=False)
    drawn: Ints = field(init=False)
    limits: Ints = field(init=False)
    stops: Ints = field(init=False)
    seeds: npt.NDArray[np.uint64] = field(init=False)
    temperature: npt.NDArray[np.float32] = field(init=False)
    top_p: npt.NDArray[np.float32] = field(init=False)
    top_k: Ints = field(init=False)
    top2: npt.NDArray[np.bool_] = field(init=False)
    valued: Ints = field(init=False)  # 1 + the place of the head that gives values; 0 for none
    ids: Ints = field(init=False)
    logprobs: npt.NDArray[np.float32] = field(init=False)
    pairs: npt.NDArray[np.float32] = field(init=False)
    values: npt.NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        n = self.size
        self.jobs = [None] * n
        self.groups = [None] * n
        self.free = list(range(self.slots))
        self.live = np.zeros(n, dtype=np.bool_)
        for name in ("group", "prompts", "lengths", "tokens", "drawn", "limits", "stops", "top_k", "valued"):
            setattr(self, name, np.zeros(n, dtype=np.int64))
        self.seeds = np.zeros(n, dtype=np.uint64)
        self.temperature = np.zeros(n, dtype=np.float32)
        self.top_p = np.ones(n, dtype=np.float32)
        self.top2 = np.zeros(n, dtype=np.bool_)
        self.ids = np.zeros((n, 64), dtype=np.int64)
        self.logprobs = np.zeros((n, 64), dtype=np.float32)
        self.pairs = np.zeros((n, 64, 2), dtype=np.float32)
        self.values = np.zeros((n, 64), dtype=np.float32)

    def take(self, job: Job, group: Group) -> int:
        """Give ``job`` the lowest free row."""
        row = heapq.heappop(self.free)
        self.jobs[row], self.groups[row], job.row = job, group, row
        group.rows += 1
        s = job.sampling
        self.group[row], self.prompts[row], self.lengths[row] = group.index, len(group.prompt), 0
        self.drawn[row], self.limits[row], self.seeds[row], self.stops[row] = 0, job.limit, job.seed, 0
        self.temperature[row], self.top_p[row], self.top_k[row], self.top2[row] = (
            s.temperature,
            s.top_p,
            s.top_k,
            s.top2,
        )
        return row

    def release(self, row: int) -> Group:
        """Free a row; returns its group, one row smaller. Neutral values stay, so that idle rows cost no branch."""
        job, group = self.jobs[row], self.groups[row]
        assert job is not None
        assert group is not None
        job.row = -1
        group.rows -= 1
        self.jobs[row] = self.groups[row] = None
        self.live[row] = False
        self.temperature[row], self.top_p[row], self.top_k[row] = 0, 1, 0
        self.top2[row], self.valued[row] = False, 0
        self.lengths[row], self.prompts[row], self.stops[row], self.tokens[row] = 0, 0, 0, 0
        heapq.heappush(self.free, row)
        return group

    def move(self, source: int, target: int) -> None:
        """Carry the row ``source`` over to the free row ``target``."""
        self.free.remove(target)
        heapq.heapify(self.free)
        heapq.heappush(self.free, source)
        for name in ARRAYS:
            array = getattr(self, name)
            array[target] = array[source]
        job, group = self.jobs[source], self.groups[source]
        assert job is not None
        self.jobs[target], self.groups[target], job.row = job, group, target
        self.jobs[source] = self.groups[source] = None
        self.live[source] = False
        self.temperature[source], self.top_p[source], self.top_k[source] = 0, 1, 0
        self.top2[source], self.valued[source] = False, 0
        self.lengths[source], self.prompts[source], self.stops[source], self.tokens[source] = 0, 0, 0, 0

    def room(self, drawn: int) -> None:
        """Make the output arrays hold at least ``drawn`` tokens a row."""
        if drawn <= self.ids.shape[1]:
            return
        more = max(drawn, 2 * self.ids.shape[1]) - self.ids.shape[1]
        self.ids = np.pad(self.ids, ((0, 0), (0, more)))
        self.logprobs = np.pad(self.logprobs, ((0, 0), (0, more)))
        self.pairs = np.pad(self.pairs, ((0, 0), (0, more), (0, 0)))
        self.values = np.pad(self.values, ((0, 0), (0, more)))
