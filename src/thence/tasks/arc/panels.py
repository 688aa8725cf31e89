"""Functions of the search that look at panels, the parts of a grid between full lines or its halves, and at counts."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from .transforms import MARK, Array, Function, background, overlaid


def panels(grid: Array, how: str) -> list[Array] | None:
    """Parts of one shape: divided by full lines of one colour (``lines``), the two halves across or down."""
    h, w = grid.shape
    if how == "across":
        return [grid[:, : w // 2], grid[:, w // 2 :]] if w % 2 == 0 else None
    if how == "down":
        return [grid[: h // 2], grid[h // 2 :]] if h % 2 == 0 else None
    parts = [part for row in _divided(grid) for part in row]
    return parts if len(parts) > 1 and len({part.shape for part in parts}) == 1 else None


def _divided(grid: Array) -> list[list[Array]]:
    """Rows of panels between full lines of one colour; of several such colours one that makes equal panels, else the
    one with most lines. Empty if there is no full line."""
    h, w = grid.shape
    flat_rows = grid[(grid == grid[:, :1]).all(axis=1), 0]
    flat_columns = grid[0, (grid == grid[:1]).all(axis=0)]
    counts = np.bincount(np.concatenate([flat_rows, flat_columns]), minlength=MARK + 1)
    counts[background(grid)] = 0
    made: list[list[list[Array]]] = []
    for colour in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]:
        full = grid == colour
        rows = [int(i) for i in np.flatnonzero(full.all(axis=1))]
        columns = [int(j) for j in np.flatnonzero(full.all(axis=0))]
        table = [[grid[a:b, c:d] for c, d in _between(columns, w)] for a, b in _between(rows, h)]
        shapes = {part.shape for row in table for part in row}
        if len(shapes) == 1 and len(table) * len(table[0]) > 1:
            return table
        if shapes:
            made.append(table)
    return made[0] if made else []


def _between(lines: list[int], size: int) -> list[tuple[int, int]]:
    edges = [-1, *lines, size]
    return [(a + 1, b) for a, b in pairwise(edges) if b > a + 1]


def combined(grid: Array, how: str, rule: str) -> Array | None:
    """One panel out of several: laid over each other, or the cells that are full in all, in one, in none, marked."""
    parts = panels(grid, how)
    if parts is None:
        return None
    if rule in ("over", "under"):
        made = parts[0] if rule == "over" else parts[-1]
        for part in parts[1:] if rule == "over" else parts[-2::-1]:
            made = overlaid(made, part, 0)
        return made
    full = np.zeros(parts[0].shape, np.int8)
    for part in parts:
        full += part != 0
    chosen = {"all": full == len(parts), "one": full == 1, "none": full == 0}[rule]
    return np.where(chosen, MARK, 0).astype(np.int8)


def panel(grid: Array, which: str) -> Array | None:
    """The panel with the most, or fewest, full cells or colours, or the one that differs from all others."""
    parts = panels(grid, "lines")
    if parts is None:
        return None
    if which == "odd":
        texts = [part.tobytes() for part in parts]
        alone = [part for part, text in zip(parts, texts, strict=True) if texts.count(text) == 1]
        return alone[0] if len(alone) == 1 else None
    values = [len(np.unique(part)) if "colours" in which else int((part != 0).sum()) for part in parts]
    best = max(values) if "most" in which else min(values)
    return parts[values.index(best)] if values.count(best) == 1 else None


def panel_colours(grid: Array) -> Array | None:
    """One cell per panel: its most frequent colour that is no background."""
    parts = _divided(grid)
    empty = background(grid)
    return np.array([[_main(part, empty) for part in row] for row in parts], np.int8) if parts else None


def _main(grid: Array, empty: int) -> int:
    full = grid[grid != empty]
    return int(np.bincount(full).argmax()) if full.size else empty


def main_colour(grid: Array) -> Array | None:
    """One cell: the most frequent colour that is no background."""
    return np.array([[_main(grid, background(grid))]], np.int8)


def colours_by_count(grid: Array) -> Array | None:
    """The colours that are no background, the most frequent on top, as a column."""
    counts = np.bincount(grid[grid != background(grid)], minlength=1)
    present = [int(c) for c in np.argsort(-counts, kind="stable") if counts[c]]
    return np.array(present, np.int8)[:, None] if present else None


PANELS: dict[str, Function] = {
    **{
        f"panels {how}: {rule}": partial(combined, how=how, rule=rule)
        for how in ("lines", "across", "down")
        for rule in ("over", "under", "all", "one", "none")
    },
    **{
        f"panel: {which}": partial(panel, which=which)
        for which in ("most", "fewest", "most colours", "fewest colours", "odd")
    },
    "colour of each panel": panel_colours,
    "main colour": main_colour,
    "colours by count": colours_by_count,
}
