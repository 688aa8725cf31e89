"""Two programs in the place of a language model: what is reached without one.

They read an ARC question as a model does, from its text, and reply in text, so that every strategy and every command
works on them, and their numbers stand beside a model's in the same tables. They read every form of grids and reply
without blanks; with ``arc(cells=none, …)`` the prompts are short, too.

* ``arc-dsl``: the enumerative search of ``search``.
* ``arc-memoriser``: recall. It knows the pairs of a file of tasks (``file``) and those of the question; its guesses
  are the outputs of the known inputs that share most cells with the test input. Where it scores, the test was known.

Each has up to three different guesses. A reply is one of them, drawn with odds 4 : 2 : 1 by rank (greedy decoding is
the first), so that samples are exchangeable and votes give the ranking back: ``self-consistency(n=32)`` shows the
third guess of three with probability .99.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from thence.core.completion import Ability, Failure
from thence.core.errors import CallFailed, UsageError, check_counts
from thence.core.seeds import digest
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.grids import Grid, write_grid

from .files import read_tasks
from .prompt import read_question
from .search import search
from .transforms import Array

GUESSES = 3
Guess = tuple[Grid, str]  # a grid, and how it was found, in words
Pair = tuple[Grid, Grid]
ABILITIES = frozenset({Ability.SEEDED, Ability.TOKEN_IDS})


def dsl(depth: int = 3, nodes: int = 1000, seconds: float = 60.0) -> ScriptedGenerator:
    """``arc-dsl``: programs of at most ``depth`` steps, at most ``nodes`` of them run per question; a question that
    takes longer than ``seconds`` fails."""
    check_counts("arc-dsl", depth=depth, nodes=nodes)
    if not seconds > 0:
        raise UsageError(f"arc-dsl: seconds is {seconds}; it must be above 0")

    def guesses(train: Sequence[Pair], test: Grid) -> list[Guess]:
        found = search(train, test, depth=depth, nodes=nodes, most=GUESSES, seconds=seconds)
        return [(c.grid, f"Program: {'; then '.join(c.program)}.") for c in found.candidates]

    return _generator(f"arc-dsl(depth={depth}, nodes={nodes})", guesses)


def memoriser(file: str = "", split: str | None = None) -> ScriptedGenerator:
    """``arc-memoriser``: knows all pairs of the tasks in ``file``, test outputs included, and the question's own."""
    known: list[Pair] = []
    for task in read_tasks(file, split) if file else ():
        known += task.train
        known += zip(task.inputs, task.outputs or (), strict=False)
    shelves: dict[tuple[int, int], tuple[list[Grid], Array]] = {}
    for shape in {_shape(before) for before, _ in known}:
        fitting = [pair for pair in known if _shape(pair[0]) == shape]
        shelves[shape] = [after for _, after in fitting], np.array([before for before, _ in fitting], np.int8)

    def guesses(train: Sequence[Pair], test: Grid) -> list[Guess]:
        best: dict[Grid, float] = {}
        own = [([after], np.array([before], np.int8)) for before, after in train]
        for outputs, inputs in (*shelves.values(), *own):
            for after, share in zip(outputs, alike(inputs, np.array(test, np.int8)), strict=True):
                best[after] = max(best.get(after, 0.0), float(share))
        ranked = sorted(best, key=lambda grid: (-best[grid], grid))[:GUESSES]
        return [(grid, f"A known input shares {best[grid]:.0%} of its cells with this one.") for grid in ranked]

    return _generator(f"arc-memoriser({len(known)} pairs, {digest(known)[:12]})", guesses)


def alike(grids: Array, test: Array) -> npt.NDArray[np.float64]:
    """For each of ``grids`` (all of one shape), the share of cells that equal those of ``test`` at the same place, of
    the cells of the rectangle that holds both; 1 only for equal grids."""
    _, height, width = grids.shape
    h, w = min(height, test.shape[0]), min(width, test.shape[1])
    equal = (grids[:, :h, :w] == test[:h, :w]).sum(axis=(1, 2))
    shares: npt.NDArray[np.float64] = equal / (max(height, test.shape[0]) * max(width, test.shape[1]))
    return shares


def _shape(grid: Grid) -> tuple[int, int]:
    return len(grid), len(grid[0])


def _generator(name: str, guesses: Callable[[Sequence[Pair], Grid], list[Guess]]) -> ScriptedGenerator:
    remembered = lru_cache(maxsize=4096)(guesses)

    def write(cue: Cue) -> str | Failure:
        read = read_question(cue.question)
        if read is None:
            return Failure("unknown-question", f"{name} answers only questions of the task arc")
        try:
            found = remembered(*read)
        except CallFailed as error:
            return Failure(error.kind, f"{name}: {error}")
        if not found:
            return "No program fits all examples."
        odds = [4, 2, 1][: len(found)]
        rank = 0 if cue.sampling.temperature == 0 else random.Random(cue.seed).choices(range(len(found)), odds)[0]
        grid, how = found[rank]
        return f"{how}\nThis is guess {rank + 1} of {len(found)}.\n\n{write_grid(grid, 'none')}"

    return ScriptedGenerator(write, name=name, abilities=ABILITIES, pace=0)


__all__ = ["dsl", "memoriser"]
