"""A floor for ARC: enumerate short programs, keep those that fit all examples.

A program is a chain of functions (``transforms``, ``panels``, ``objects``), the last of which may be fitted to the
examples (``fits``). The search is breadth first over what programs **make**: two programs with the same grids for all
example inputs and the test input are one (the hash of these grids is kept), the shorter one stays. A program that turns
every example input into its output is a solution; its grid for the test input is a candidate. Solutions are ranked by
length, then by the complexity of the fitted step, then by the order of the functions.

The idea, a search over what short programs make of the inputs, is that of the winner of the first ARC competition
(J. S. Wind, "icecuber", 2020); language, fits and ranking are our own, written while looking at training tasks of
ARC-AGI-1 only.

``nodes`` limits how many programs are run (those whose every function applies), so that a result never depends on how
fast a machine is; ``seconds`` only guards: it raises.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from thence.core.errors import CallFailed
from thence.grading.grids import Grid, as_grid

from .fits import CELLS, SIMPLE, Fit
from .objects import OBJECTS
from .panels import PANELS
from .transforms import TRANSFORMS, Array, Function, fits_size

FUNCTIONS: dict[str, Function] = TRANSFORMS | PANELS | OBJECTS
CELLS_UP_TO = 1  # steps after which rules per cell are still tried: there are many, and each looks at every cell


@dataclass(frozen=True, slots=True)
class Candidate:
    """A grid for the test input and the program that made it, step by step."""

    grid: Grid
    program: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search: candidates, best first, and how many programs were run."""

    candidates: tuple[Candidate, ...]
    nodes: int


@dataclass(frozen=True, slots=True)
class _State:
    """What a program makes of the example inputs and, last, of the test input."""

    grids: tuple[Array, ...]
    program: tuple[str, ...]


def search(
    train: Sequence[tuple[Grid, Grid]],
    test: Grid,
    *,
    depth: int = 3,
    nodes: int = 1000,
    most: int = 3,
    seconds: float = 60.0,
) -> Found:
    """At most ``most`` different grids for ``test``, each by a program of at most ``depth`` steps.

    CallFailed when it takes longer than ``seconds``.
    """
    hunt = _Hunt([np.array(b, np.int8) for _, b in train], most, time.monotonic() + seconds)
    start = _State((*(np.array(a, np.int8) for a, _ in train), np.array(test, np.int8)), ())
    level, seen, applied = [start], {_key(start.grids)}, 0
    for length in range(depth + 1):
        for state in level:
            hunt.check(state, nodes, fit=length < depth)
        if length == depth or hunt.full:
            break
        made: list[_State] = []
        for state in level:
            for name, function in FUNCTIONS.items():
                if applied == nodes:
                    break
                hunt.guard(nodes)
                grids = _apply(function, state.grids)
                if grids is None:
                    continue
                applied += 1
                if (key := _key(grids)) in seen:
                    continue
                seen.add(key)
                made.append(_State(grids, (*state.program, name)))
        level = made
    return Found(hunt.best(), applied)


class _Hunt:
    """Solutions found so far."""

    def __init__(self, outputs: Sequence[Array], most: int, end: float) -> None:
        self._outputs, self._most, self._end = outputs, most, end
        self._found: list[tuple[int, int, Candidate]] = []

    def guard(self, nodes: int) -> None:
        """CallFailed once the time is over."""
        if time.monotonic() > self._end:
            raise CallFailed(
                f"the search had not run {nodes} programs when its time was over; raise seconds or lower nodes",
                "deadline",
            )

    @property
    def full(self) -> bool:
        """Whether enough different grids are found: longer programs would rank behind."""
        return len({c.grid for _, _, c in self._found}) >= self._most

    def check(self, state: _State, nodes: int, *, fit: bool) -> None:
        """Keep what ``state`` solves as it is, or with one fitted step."""
        self.guard(nodes)
        *made, last = state.grids
        steps = len(state.program)
        if all(np.array_equal(a, b) for a, b in zip(made, self._outputs, strict=True)):
            self._keep(last, state.program or ("leave as it is",), steps, 0)
            return
        fits: Iterator[tuple[str, Fit]] = iter(())
        if fit and steps <= CELLS_UP_TO:
            fits = iter((SIMPLE | CELLS).items())
        elif fit:
            fits = iter(SIMPLE.items())
        for complexity, (name, make) in enumerate(fits, 1):
            function = make(made, self._outputs)
            result = None if function is None else function(last)
            if result is not None:
                self._keep(result, (*state.program, name), steps + 1, complexity)

    def _keep(self, made: Array, program: tuple[str, ...], steps: int, complexity: int) -> None:
        grid = as_grid(made.tolist())
        if grid is not None:  # marks that no map resolved are no colours
            self._found.append((steps, complexity, Candidate(grid, program)))

    def best(self) -> tuple[Candidate, ...]:
        """The best solution of each different grid."""
        ranked = [c for _, _, c in sorted(self._found, key=lambda f: f[:2])]
        first = {c.grid: c for c in reversed(ranked)}
        return tuple(sorted(first.values(), key=ranked.index)[: self._most])


def _apply(function: Function, grids: Sequence[Array]) -> tuple[Array, ...] | None:
    """``function`` on all grids; None where it does not apply to one, or nothing is left of it."""
    made = []
    for grid in grids:
        result = function(grid)
        if result is None or not result.size or not fits_size(*result.shape):
            return None
        made.append(result)
    return tuple(made)


def _key(grids: Sequence[Array]) -> tuple[object, ...]:
    return tuple((grid.shape, grid.tobytes()) for grid in grids)


__all__ = ["FUNCTIONS", "Candidate", "Found", "search"]
