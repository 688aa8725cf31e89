"""Last steps of a program that are fitted to the examples: colour maps, tilings, and rules per cell.

A fit looks at what the program so far makes of the example inputs, and at the example outputs. It returns a function
that turns each of the former into the latter, or None. The function may say None of a grid that it has no rule for.

The rules per cell are tables: the new colour of a cell as a function of one feature of its place (``FEATURES``: the
size of its object, its neighbours, what is seen in four directions, …). A table fits if no feature value has two
colours in the examples. One that was never seen keeps its colour, as long as that is at most every twentieth cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt

from .objects import enclosed, labelled, things
from .transforms import MARK, Array, Function, background, fits_size, nearest, shifted

Codes = npt.NDArray[np.int64]
Fit = Callable[[Sequence[Array], Sequence[Array]], Function | None]
UNSEEN = 0.05


def colour_map(inputs: Sequence[Array], outputs: Sequence[Array]) -> Function | None:
    """Each colour becomes one colour; colours that no example has stay."""
    table = _table(lambda g: g.astype(np.int64), inputs, outputs)
    if table is None:
        return None
    becomes = np.arange(MARK + 1, dtype=np.int8)
    becomes[table[0]] = table[1]
    return lambda grid: becomes[grid]


def _table(
    feature: Callable[[Array], Codes], inputs: Sequence[Array], outputs: Sequence[Array]
) -> tuple[Codes, Codes] | None:
    """Feature values and the colour of each; None where shapes differ or a value has two colours."""
    if any(g.shape != out.shape for g, out in zip(inputs, outputs, strict=True)):
        return None
    pairs = np.zeros(0, np.int64)
    for g, out in zip(inputs, outputs, strict=True):  # most fail on the first pair
        pairs = np.unique(np.concatenate([pairs, (feature(g) * 16 + out).ravel()]))
        keys = pairs // 16
        if (keys[1:] == keys[:-1]).any():
            return None
    return keys, pairs % 16


SYMMETRIES: tuple[Callable[[Array], Array], ...] = (
    lambda g: g,
    lambda g: g[:, ::-1],
    lambda g: g[::-1],
    lambda g: g[::-1, ::-1],
    lambda g: g.T,
    lambda g: np.rot90(g),
    lambda g: np.rot90(g, -1),
    lambda g: g[::-1, ::-1].T,
    np.zeros_like,
)


def tiling(inputs: Sequence[Array], outputs: Sequence[Array]) -> Function | None:
    """The output is a table of copies of the input, each mirrored, turned or blank in a way its place decides."""
    height, width = outputs[0].shape[0] // inputs[0].shape[0], outputs[0].shape[1] // inputs[0].shape[1]
    if height * width < 2 or height * width > 100:
        return None
    for g, out in zip(inputs, outputs, strict=True):
        if out.shape != (g.shape[0] * height, g.shape[1] * width):
            return None
    chosen: list[int] = []
    for place in np.ndindex(height, width):
        parts = [_part(out, g.shape, place) for g, out in zip(inputs, outputs, strict=True)]
        fitting = (
            k
            for k, image in enumerate(SYMMETRIES)
            if all(np.array_equal(image(g), part) for g, part in zip(inputs, parts, strict=True))
        )
        k = next(fitting, None)
        if k is None:
            return None
        chosen.append(k)

    def apply(grid: Array) -> Array | None:
        images = [SYMMETRIES[k](grid) for k in chosen]
        if any(i.shape != grid.shape for i in images) or not fits_size(grid.shape[0] * height, grid.shape[1] * width):
            return None
        return np.block([images[r * width : (r + 1) * width] for r in range(height)]).astype(np.int8)

    return apply


def _part(grid: Array, shape: tuple[int, ...], place: tuple[int, ...]) -> Array:
    (h, w), (r, c) = shape, place
    return grid[r * h : (r + 1) * h, c * w : (c + 1) * w]


def scaling(inputs: Sequence[Array], outputs: Sequence[Array]) -> Function | None:
    """Every cell becomes a block, or every block a cell, of one size in all examples or of one cell per colour."""
    for by_colours in (False, True):
        sizes = {
            out.shape[0] / g.shape[0] / (_colours(g) if by_colours else 1)
            for g, out in zip(inputs, outputs, strict=True)
        }
        factor = sizes.pop()
        if sizes or factor == 1 or (factor > 1 and factor != int(factor)) or (factor < 1 and 1 / factor % 1):
            continue

        def apply(grid: Array, factor: float = factor, by_colours: bool = by_colours) -> Array | None:
            if factor < 1:
                step = round(1 / factor)
                return grid[::step, ::step] if not by_colours else None
            k = round(factor) * (_colours(grid) if by_colours else 1)
            if not fits_size(grid.shape[0] * k, grid.shape[1] * k):
                return None
            return grid.repeat(k, axis=0).repeat(k, axis=1)

        if _makes(apply, inputs, outputs):
            return apply
    return None


def _colours(grid: Array) -> int:
    return len(np.unique(grid[grid != background(grid)])) or 1


def window(inputs: Sequence[Array], outputs: Sequence[Array]) -> Function | None:
    """The output is the same window of every grid, measured from one of its corners."""
    h, w = outputs[0].shape
    if any(out.shape != (h, w) or g.shape[0] < h or g.shape[1] < w for g, out in zip(inputs, outputs, strict=True)):
        return None
    first = inputs[0]
    views = np.lib.stride_tricks.sliding_window_view(first, (h, w))
    for top, left in np.argwhere((views == outputs[0]).all(axis=(2, 3)))[:50]:
        for low, right in ((False, False), (False, True), (True, False), (True, True)):
            down = top - first.shape[0] if low else top
            along = left - first.shape[1] if right else left

            def apply(grid: Array, down: int = int(down), along: int = int(along)) -> Array | None:
                i, j = down % grid.shape[0] if down < 0 else down, along % grid.shape[1] if along < 0 else along
                cut = grid[i : i + h, j : j + w]
                return cut if cut.shape == (h, w) and -down <= grid.shape[0] and -along <= grid.shape[1] else None

            if _makes(apply, inputs, outputs):
                return apply
    return None


def _makes(function: Function, inputs: Sequence[Array], outputs: Sequence[Array]) -> bool:
    """Whether ``function`` turns every input into its output."""
    for g, out in zip(inputs, outputs, strict=True):
        made = function(g)
        if made is None or not np.array_equal(made, out):
            return False
    return True


# --- rules per cell


def per_cell(feature: Callable[[Array], Codes]) -> Fit:
    """A fit by the table of one feature."""

    def fit(inputs: Sequence[Array], outputs: Sequence[Array]) -> Function | None:
        table = _table(feature, inputs, outputs)
        if table is None:
            return None
        keys, colours = table

        def apply(grid: Array) -> Array | None:
            codes = feature(grid)
            at = np.minimum(np.searchsorted(keys, codes), len(keys) - 1)
            known = keys[at] == codes
            if known.mean() < 1 - UNSEEN:
                return None
            return np.where(known, colours[at], grid).astype(np.int8)

        return apply

    return fit


def _with_colour(codes: npt.NDArray[np.generic], grid: Array) -> Codes:
    return codes.astype(np.int64) * 16 + grid


def _per_object(grid: Array, way: str, value: Callable[[int, list[int]], int]) -> Codes:
    """A number for the cells of each object, made of its index and the sizes of all; 0 elsewhere."""
    found = things(grid, way)
    sizes = [thing.size for thing in found]
    codes = np.zeros(grid.shape, np.int64)
    for index, thing in enumerate(found):
        codes[thing.mask] = value(index, sizes)
    return _with_colour(codes, grid)


def _holes(grid: Array) -> Codes:
    codes = np.zeros(grid.shape, np.int64)
    for thing in things(grid, "8"):
        codes[thing.mask] = 1 + thing.holes
    return _with_colour(codes, grid)


def _rank(index: int, sizes: list[int]) -> int:
    return 1 + sum(size > sizes[index] for size in set(sizes))


def _ends(index: int, sizes: list[int]) -> int:
    return 1 + (sizes[index] == max(sizes)) + 2 * (sizes[index] == min(sizes))


def _forms(grid: Array) -> Codes:
    codes = np.zeros(grid.shape, np.int64)
    for thing in things(grid, "8"):
        codes[thing.mask] = 1 + crc32(thing.own.tobytes(), thing.own.shape[1])
    return _with_colour(codes, grid)


def _inside(grid: Array) -> Codes:
    numbers, count = labelled(enclosed(grid), corners=False)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    sizes[0] = 0
    return _with_colour(sizes[numbers], grid)


def _at_edge(grid: Array) -> Codes:
    codes = np.zeros(grid.shape, np.int64)
    for thing in things(grid, "4"):
        mask = thing.mask
        codes[mask] = 1 + (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
    return _with_colour(codes, grid)


def _around(grid: Array, ways: Sequence[tuple[int, int]], edge: int = 11) -> Codes:
    """The colours of neighbouring cells, exactly; 11 beyond the edge."""
    codes = grid.astype(np.int64)
    for down, right in ways:
        codes = codes * 12 + shifted(grid, -down, -right, edge)
    return codes


def _full_around(grid: Array, ways: Sequence[tuple[int, int]]) -> Codes:
    """How many neighbouring cells are no background."""
    empty = background(grid)
    full = np.where(grid != empty, 1, 0).astype(np.int8)
    counts = np.zeros_like(grid)
    for down, right in ways:
        counts += shifted(full, -down, -right, 0)
    return _with_colour(counts, grid)


def _seen(grid: Array, ways: Sequence[tuple[int, int]]) -> Codes:
    codes = grid.astype(np.int64)
    for down, right in ways:
        codes = codes * 12 + nearest(grid, down, right)
    return codes


def _place(grid: Array, rows: int, columns: int, turned: bool = False) -> Codes:
    i, j = np.arange(grid.shape[0])[:, None], np.arange(grid.shape[1])
    return _with_colour((i + j) % rows if turned else i % rows * 8 + j % columns, grid)


def _ring(grid: Array) -> Codes:
    i, j = np.indices(grid.shape)
    h, w = grid.shape
    return _with_colour(np.minimum(np.minimum(i, j), np.minimum(h - 1 - i, w - 1 - j)), grid)


def _in_line(grid: Array, axis: int) -> Codes:
    """How many cells of the row or column are no background."""
    counts = (grid != background(grid)).sum(axis=axis, keepdims=True)
    return _with_colour(np.broadcast_to(counts, grid.shape), grid)


def _line_rank(grid: Array, axis: int) -> Codes:
    """Whether the row or column has the most, or the fewest, such cells."""
    counts = (grid != background(grid)).sum(axis=axis, keepdims=True)
    ends = np.asarray(counts == counts.max()) + 2 * np.asarray(counts == counts.min())
    return _with_colour(np.broadcast_to(ends, grid.shape), grid)


def _images(grid: Array) -> Codes:
    codes = grid.astype(np.int64)
    for image in (grid[:, ::-1], grid[::-1], grid[::-1, ::-1]):
        codes = codes * 12 + image
    return codes


def _frequency(grid: Array) -> Codes:
    """The place of the cell's colour among all colours by how often they occur, the background aside."""
    counts = np.bincount(grid.ravel(), minlength=MARK + 1)
    counts[background(grid)] = 0
    order = np.array([0 if not c else 1 + int((counts > c).sum()) for c in counts], np.int64)
    return order[grid]


SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0))
CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))

FEATURES: dict[str, Callable[[Array], Codes]] = {
    "size of the object": lambda g: _per_object(g, "4", lambda i, sizes: sizes[i]),
    "size of the object with corners": lambda g: _per_object(g, "8", lambda i, sizes: sizes[i]),
    "largest or smallest object": lambda g: _per_object(g, "4", _ends),
    "largest or smallest object with corners": lambda g: _per_object(g, "8", _ends),
    "rank of the object by size": lambda g: _per_object(g, "8", _rank),
    "object at the edge": _at_edge,
    "holes of the object": _holes,
    "form of the object": _forms,
    "order of the object": lambda g: _per_object(g, "8", lambda i, sizes: i + 1),
    "size of the enclosed part": _inside,
    "frequency of the colour": _frequency,
    "full sides": lambda g: _full_around(g, SIDES),
    "full neighbours": lambda g: _full_around(g, SIDES + CORNERS),
    "side neighbours": lambda g: _around(g, SIDES),
    "corner neighbours": lambda g: _around(g, CORNERS),
    "seen at the sides": lambda g: _seen(g, SIDES),
    "seen along diagonals": lambda g: _seen(g, CORNERS),
    "mirror images": _images,
    "full cells in the column": lambda g: _in_line(g, 0),
    "full cells in the row": lambda g: _in_line(g, 1),
    "fullest column": lambda g: _line_rank(g, 0),
    "fullest row": lambda g: _line_rank(g, 1),
    "odd rows and columns": lambda g: _place(g, 2, 2),
    "thirds of rows and columns": lambda g: _place(g, 3, 3),
    "third diagonals": lambda g: _place(g, 3, 3, turned=True),
    "second diagonals": lambda g: _place(g, 2, 2, turned=True),
    "ring": _ring,
    "all neighbours": lambda g: _around(g, SIDES + CORNERS),
}
SIMPLE: dict[str, Fit] = {"colour map": colour_map, "tiling": tiling, "scaling": scaling, "window": window}
CELLS: dict[str, Fit] = {f"colour by {name}": per_cell(feature) for name, feature in FEATURES.items()}
