"""Functions of the search that look at cells and lines: geometry, parts, tiles, gravity, rays, symmetry.

A function takes a grid (an int8 array, at least 1 x 1) and returns another one, or None where it does not apply. It
never changes its argument. The background is colour 0 where that occurs, else the most frequent colour. ``MARK`` is a
colour that no task has: a function that finds cells without knowing their new colour writes it, and a colour map
fitted to the examples (``fits``) says what it becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.int8]
Function = Callable[[Array], Array | None]

MARK = 10
LARGEST = 30


def background(grid: Array) -> int:
    """Colour 0 where it occurs, else the most frequent colour."""
    counts = np.bincount(grid.ravel(), minlength=MARK + 1)
    return 0 if counts[0] else int(counts.argmax())


def fits_size(height: int, width: int) -> bool:
    """Whether a grid may be so large."""
    return height <= LARGEST and width <= LARGEST


def crop_to(grid: Array, mask: npt.NDArray[np.bool_]) -> Array | None:
    """The bounding box of the cells in ``mask``."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return grid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


# --- parts of a grid


def content(grid: Array) -> Array | None:
    """The bounding box of everything that is no background."""
    return crop_to(grid, grid != background(grid))


def rarest(grid: Array) -> Array | None:
    """The bounding box of the rarest colour."""
    counts = np.bincount(grid.ravel(), minlength=MARK + 1)
    present = np.flatnonzero(counts)
    return crop_to(grid, grid == present[counts[present].argmin()]) if present.size > 1 else None


def of_colour(grid: Array, colour: int, how: str) -> Array | None:
    """The bounding box of one colour, that colour alone, or everything without it."""
    mask = grid == colour
    if not mask.any() or (how == "crop" and mask.all()):
        return None
    if how == "crop":
        return crop_to(grid, mask)
    return np.where(mask == (how == "keep"), grid, 0).astype(np.int8)


def half(grid: Array, side: str) -> Array | None:
    """One half; a middle line belongs to neither."""
    h, w = grid.shape
    if (h if side in "tb" else w) < 2:
        return None
    parts = {"t": grid[: h // 2], "b": grid[-(h // 2) :], "l": grid[:, : w // 2], "r": grid[:, -(w // 2) :]}
    return parts[side]


def without_edge(grid: Array) -> Array | None:
    """Everything but the outermost cells."""
    return grid[1:-1, 1:-1] if min(grid.shape) > 2 else None


def deduplicated(grid: Array) -> Array | None:
    """Neighbouring equal rows and columns become one."""
    rows = np.r_[True, (grid[1:] != grid[:-1]).any(axis=1)]
    columns = np.r_[True, (grid[:, 1:] != grid[:, :-1]).any(axis=0)]
    return grid[rows][:, columns]


def without_empty_lines(grid: Array) -> Array | None:
    """Rows and columns that are all background go."""
    full = grid != background(grid)
    return grid[full.any(axis=1)][:, full.any(axis=0)] if full.any() else None


# --- larger grids


def scaled(grid: Array, k: int) -> Array | None:
    """Every cell becomes k x k cells."""
    return grid.repeat(k, axis=0).repeat(k, axis=1) if fits_size(grid.shape[0] * k, grid.shape[1] * k) else None


def mirrored(grid: Array, axis: int, first: bool) -> Array | None:
    """The grid and its mirror image side by side."""
    parts = [np.flip(grid, axis), grid] if first else [grid, np.flip(grid, axis)]
    made = np.concatenate(parts, axis=axis)
    return made if fits_size(*made.shape) else None


def fractal(grid: Array) -> Array | None:
    """A copy of the grid in place of each of its own cells that is no background."""
    h, w = grid.shape
    if not fits_size(h * h, w * w):
        return None
    empty = background(grid)
    return np.where(np.kron(grid != empty, np.ones((h, w), bool)), np.tile(grid, (h, w)), empty).astype(np.int8)


# --- moving and filling cells


def fallen(grid: Array, axis: int, back: bool) -> Array | None:
    """Every cell that is no background falls to one side."""
    full = grid != background(grid)
    order = np.argsort(~full if back else full, axis=axis, kind="stable")
    return np.take_along_axis(grid, order, axis)


def lines_sorted(grid: Array, axis: int) -> Array | None:
    """Rows or columns by how many cells are no background."""
    counts = (grid != background(grid)).sum(axis=1 - axis)
    return grid.take(np.argsort(counts, kind="stable"), axis=axis)


def shifted(grid: Array, down: int, right: int, fill: int) -> Array:
    """The grid moved, what comes in filled."""
    h, w = grid.shape
    made = np.full_like(grid, fill)
    made[max(down, 0) : h + min(down, 0), max(right, 0) : w + min(right, 0)] = grid[
        max(-down, 0) : h - max(down, 0), max(-right, 0) : w - max(right, 0)
    ]
    return made


def nearest(grid: Array, down: int, right: int) -> Array:
    """For each cell, the first colour that is no background on the way in one direction; background if there is none.
    The cell itself does not count."""
    if down == 0:
        return nearest(grid.T, right, 0).T
    if down < 0:
        return nearest(grid[::-1], 1, right)[::-1]
    empty = background(grid)
    seen = np.full_like(grid, empty)
    width = grid.shape[1]
    for i in range(len(grid) - 2, -1, -1):
        below = np.where(grid[i + 1] == empty, seen[i + 1], grid[i + 1])
        seen[i, max(-right, 0) : width - max(right, 0)] = below[max(right, 0) : width + min(right, 0)]
    return seen


def rays(grid: Array, ways: Sequence[tuple[int, int]]) -> Array | None:
    """Every cell that is no background extends along ``ways`` over background, until it meets something."""
    empty = background(grid)
    made = grid
    for down, right in ways:
        made = overlaid(made, np.where(grid == empty, nearest(grid, -down, -right), grid), empty)
    return made


def connected(grid: Array, mark: bool) -> Array | None:
    """Background between two cells of one colour in a row or column takes that colour, or is marked."""
    empty = background(grid)
    made = grid.copy()
    for a, b in (((0, 1), (0, -1)), ((1, 0), (-1, 0))):
        one, other = nearest(grid, *a), nearest(grid, *b)
        between = (grid == empty) & (one == other) & (one != empty)
        made = np.where(between & (made == empty), MARK if mark else one, made)
    return made.astype(np.int8)


def overlaid(grid: Array, other: Array, empty: int) -> Array:
    """``grid`` with ``other`` where it is background."""
    return np.where(grid == empty, other, grid).astype(np.int8)


def completed(grid: Array, how: str) -> Array | None:
    """Background takes the colour of its mirror images: over one axis, both, the diagonals, or in a quarter turn."""
    empty = background(grid)
    images = {
        "h": [grid[:, ::-1]],
        "v": [grid[::-1]],
        "hv": [grid[:, ::-1], grid[::-1], grid[::-1, ::-1]],
        "turn": [np.rot90(grid, k) for k in (1, 2, 3)],
        "all": [
            grid[:, ::-1],
            grid[::-1],
            grid[::-1, ::-1],
            grid.T,
            grid[::-1].T,
            grid[:, ::-1].T,
            np.rot90(grid, 2).T,
        ],
    }[how]
    if any(image.shape != grid.shape for image in images):
        return None
    for image in images:
        grid = overlaid(grid, image, empty)
    return grid


def repaired_mirror(grid: Array, holes: int | None = None) -> Array | None:
    """The holes (background, or one colour) take the colour of the mirror image whose axes, which need not be in the
    middle, contradict nothing; None where no axis does or holes remain."""
    hole = background(grid) if holes is None else holes
    h, w = grid.shape
    made = grid
    for axis, size in ((0, h), (1, w)):
        for offset in sorted(range(-size // 3, size // 3 + 1), key=abs):
            image = shifted(np.flip(made, axis), *((offset, 0) if axis == 0 else (0, offset)), hole)
            both = (image != hole) & (made != hole)
            if both.sum() * 2 > made.size and (image[both] == made[both]).all():
                made = overlaid(made, image, hole)
                break
    return made if not (made == hole).any() and (grid == hole).any() else None


def repaired_period(grid: Array) -> Array | None:
    """Background takes the colour that the smallest contradiction-free period gives it."""
    empty = background(grid)
    h, w = grid.shape
    periods = [(a, b) for a in range(1, h + 1) for b in range(1, w + 1) if a * b * 2 <= h * w]
    rows, columns = np.arange(h)[:, None], np.arange(w)
    seen = grid != empty
    known = grid[seen]
    for a, b in sorted(periods, key=lambda p: p[0] * p[1])[:200]:
        places = rows % a * b + columns % b
        table = np.full(a * b, -1, np.int8)
        table[places[seen]] = known
        if (table[places[seen]] == known).all() and (table >= 0).all():
            made: Array = table[places]
            return made
    return None


def edged(grid: Array) -> Array | None:
    """The outermost cells are marked."""
    made = grid.copy()
    made[[0, -1]] = made[:, [0, -1]] = MARK
    return made


ACROSS, DOWN, DIAGONALS = ((0, 1), (0, -1)), ((1, 0), (-1, 0)), ((1, 1), (1, -1), (-1, 1), (-1, -1))

TRANSFORMS: dict[str, Function] = {
    "mirror left-right": lambda g: g[:, ::-1],
    "mirror top-bottom": lambda g: g[::-1],
    "turn half": lambda g: g[::-1, ::-1],
    "transpose": lambda g: g.T,
    "turn left": lambda g: np.rot90(g),
    "turn right": lambda g: np.rot90(g, -1),
    "transpose the other way": lambda g: g[::-1, ::-1].T,
    "crop to content": content,
    "crop to rarest colour": rarest,
    **{
        f"{how} colour {c}": partial(of_colour, colour=c, how=how[:4])
        for c in range(1, 10)
        for how in ("crop to", "keep", "drop")
    },
    **{f"{name} half": partial(half, side=name[0]) for name in ("top", "bottom", "left", "right")},
    "drop the edge": without_edge,
    "merge equal lines": deduplicated,
    "drop empty lines": without_empty_lines,
    **{f"scale by {k}": partial(scaled, k=k) for k in (2, 3)},
    "append mirror image right": partial(mirrored, axis=1, first=False),
    "append mirror image left": partial(mirrored, axis=1, first=True),
    "append mirror image below": partial(mirrored, axis=0, first=False),
    "append mirror image above": partial(mirrored, axis=0, first=True),
    "copy into own cells": fractal,
    "fall down": partial(fallen, axis=0, back=False),
    "fall up": partial(fallen, axis=0, back=True),
    "fall right": partial(fallen, axis=1, back=False),
    "fall left": partial(fallen, axis=1, back=True),
    "sort rows by count": partial(lines_sorted, axis=0),
    "sort columns by count": partial(lines_sorted, axis=1),
    "connect equal cells": partial(connected, mark=False),
    "mark between equal cells": partial(connected, mark=True),
    **{
        f"rays {name}": partial(rays, ways=(way,))
        for name, way in zip(("right", "left", "down", "up"), ACROSS + DOWN, strict=True)
    },
    "rays across": partial(rays, ways=ACROSS),
    "rays up and down": partial(rays, ways=DOWN),
    "rays in four directions": partial(rays, ways=ACROSS + DOWN),
    "rays along diagonals": partial(rays, ways=DIAGONALS),
    **{f"complete symmetry {how}": partial(completed, how=how) for how in ("h", "v", "hv", "turn", "all")},
    "repair by mirror": repaired_mirror,
    "repair by period": repaired_period,
    "mark the edge": edged,
}
