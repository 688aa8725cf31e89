"""ARC grids as a picture (PNG): the examples of a task, its test inputs, the right outputs, and attempts on them.

Examples stand side by side, each input above its output. Below, every test input has a row of its own: the input, the
right output (where it is known), then the attempts, best first. A wrong cell of an attempt of the right size is
crossed out.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thence.core.clean import one_line
from thence.grading.grids import Grid
from thence.tasks.arc.files import ArcTask

# The ten colours in which the tasks are usually shown.
PALETTE = (
    "#000000",
    "#0074D9",
    "#FF4136",
    "#2ECC40",
    "#FFDC00",
    "#AAAAAA",
    "#F012BE",
    "#FF851B",
    "#7FDBFF",
    "#870C25",
)
RIGHT, WRONG = "#00802B", "#C00000"
INCHES, TITLE, DPI = 2.1, 0.4, 110


def picture(task: ArcTask, attempts: Sequence[Sequence[Grid]] = (), inputs: Sequence[int] | None = None) -> bytes:
    """The task as PNG data. ``attempts`` are those on each test input; ``inputs`` are the test inputs to show (from 0),
    all by default."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = list(range(len(task.inputs))) if inputs is None else list(inputs)
    tests = [_test_row(task, k, attempts[k] if k < len(attempts) else ()) for k in shown]
    columns = max(len(task.train), *(len(row) for row in tests))
    high = (2 + len(tests)) * (INCHES + TITLE) + TITLE
    figure = Figure(figsize=(columns * INCHES, high), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.suptitle(one_line(task.id, 60), fontsize=12, fontweight="bold", y=1 - 0.1 / high, va="top")
    edges = {"left": 0.02, "right": 0.98, "bottom": 0.1 / high, "top": 1 - 2 * TITLE / high}
    axes: Any = figure.subplots(2 + len(tests), columns, squeeze=False, gridspec_kw=edges | {"hspace": 0.27})
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (before, after) in enumerate(task.train):
        _draw(axes[0, number], before, f"example {number + 1}")
        _draw(axes[1, number], after, "becomes")
    for line, row in enumerate(tests, 2):
        for column, (grid, title, truth) in enumerate(row):
            _draw(axes[line, column], grid, title, truth)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def draw(
    path: Path, task: ArcTask, attempts: Sequence[Sequence[Grid]] = (), inputs: Sequence[int] | None = None
) -> Path:
    """Write ``picture`` as PNG and return its path; StoreError when that cannot be."""
    from thence.evals.pages.plot import save

    return save(picture(task, attempts, inputs), path)


Shown = tuple[Grid, str, Grid | None]  # a grid, its title, and what it should be (an attempt only)


def _test_row(task: ArcTask, k: int, attempts: Sequence[Grid]) -> list[Shown]:
    row: list[Shown] = [(task.inputs[k], f"test input {k + 1}", None)]
    truth = None if task.outputs is None else task.outputs[k]
    if truth is not None:
        row.append((truth, "right output", None))
    return [*row, *((grid, f"attempt {n}", truth) for n, grid in enumerate(attempts, 1))]


def _draw(axis: Any, grid: Grid, title: str, truth: Grid | None = None) -> None:
    from matplotlib.colors import ListedColormap

    h, w = len(grid), len(grid[0])
    axis.set_axis_on()
    axis.imshow(grid, cmap=ListedColormap(PALETTE), vmin=0, vmax=len(PALETTE) - 1, interpolation="nearest")
    axis.set_xticks([x - 0.5 for x in range(1, w)], labels=[])
    axis.set_yticks([y - 0.5 for y in range(1, h)], labels=[])
    axis.grid(color="#666666", linewidth=0.4)
    axis.tick_params(length=0)
    colour = "black"
    if truth is not None:
        title, colour = f"{title}: {'right' if grid == truth else 'wrong'}", RIGHT if grid == truth else WRONG
        if (len(truth), len(truth[0])) == (h, w):
            wrong = [(x, y) for y in range(h) for x in range(w) if grid[y][x] != truth[y][x]]
            points = 72 * INCHES / max(h, w) * 0.5
            axis.scatter(*zip(*wrong, strict=True), marker="x", c="white", s=points**2 / 3) if wrong else None
    axis.set_title(f"{title}\n{h} x {w}", fontsize=8, color=colour)


__all__ = ["PALETTE", "draw", "picture"]
