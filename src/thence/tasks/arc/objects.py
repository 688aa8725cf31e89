"""Functions of the search that look at objects: connected cells, cropped, kept, dropped, filled.

Objects are found in three ways: one colour touching at sides (``4``), one colour touching also at corners (``8``), or
any colours touching at corners (``mixed``). The background is never an object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np
import numpy.typing as npt

from .transforms import MARK, Array, Function, background

Mask = npt.NDArray[np.bool_]
WAYS = ("4", "8", "mixed")
MANY = 100  # objects in a grid beyond which it is no grid of objects


@dataclass(frozen=True, eq=False)
class Thing:
    """One object: its cells in the whole grid (``mask``), its bounding box cut out (``box``), its own cells there."""

    mask: Mask
    box: Array
    own: Mask
    top: int
    left: int

    @cached_property
    def size(self) -> int:
        """How many cells it has."""
        return int(self.own.sum())

    @cached_property
    def holes(self) -> int:
        """How many parts of its box it encloses."""
        if self.own.all() or min(self.own.shape) < 3:
            return 0
        return labelled(np.pad(~self.own, 1, constant_values=True), corners=False)[1] - 1

    @property
    def shape(self) -> tuple[tuple[int, ...], bytes]:
        """Its form without colours."""
        return self.own.shape, self.own.tobytes()

    @property
    def colours(self) -> int:
        """How many colours it has."""
        return len(np.unique(self.box[self.own]))

    @property
    def symmetric(self) -> bool:
        """Whether its box is its own mirror image, left-right or top-bottom."""
        return bool((self.box == self.box[:, ::-1]).all() or (self.box == self.box[::-1]).all())


def labelled(mask: Mask, corners: bool) -> tuple[npt.NDArray[np.int32], int]:
    """Connected parts of ``mask``, numbered from 1, and their count."""
    from scipy import ndimage

    made, count = ndimage.label(mask, np.ones((3, 3), int) if corners else None)
    return made, int(count)


def things(grid: Array, way: str) -> tuple[Thing, ...]:
    """The objects of a grid, in reading order of the corners of their boxes."""
    return _things(np.ascontiguousarray(grid).tobytes(), grid.shape, way)


@lru_cache(maxsize=512)
def _things(data: bytes, shape: tuple[int, int], way: str) -> tuple[Thing, ...]:
    from scipy import ndimage

    grid = np.frombuffer(data, np.int8).reshape(shape)
    empty = background(grid)
    masks = [grid != empty] if way == "mixed" else [grid == c for c in np.unique(grid) if c != empty]
    found: list[Thing] = []
    for mask in masks:
        numbers, count = labelled(mask, way != "4")
        if len(found) + count > MANY:
            return ()
        for number, box in enumerate(ndimage.find_objects(numbers), 1):
            own = numbers[box] == number
            found.append(Thing(numbers == number, grid[box], own, box[0].start, box[1].start))
    return tuple(sorted(found, key=lambda t: (t.top, t.left)))


def extreme(found: tuple[Thing, ...], value: Callable[[Thing], float]) -> Thing | None:
    """The only object with the largest value; None if there are several, or none."""
    values = [value(thing) for thing in found]
    if not values or values.count(max(values)) > 1:
        return None
    return found[values.index(max(values))]


def _alone(of: Callable[[Thing], object], found: tuple[Thing, ...]) -> Thing | None:
    """The only object whose property no other one has, where the others share theirs."""
    counts = Counter(of(thing) for thing in found)
    alone = [thing for thing in found if counts[of(thing)] == 1]
    return alone[0] if len(alone) == 1 and len(found) > 2 else None


def _colour(thing: Thing) -> int:
    return int(thing.box[thing.own][0])


CHOICES: dict[str, Callable[[tuple[Thing, ...]], Thing | None]] = {
    "largest": lambda found: extreme(found, lambda t: t.size),
    "smallest": lambda found: extreme(found, lambda t: -t.size),
    "with most colours": lambda found: extreme(found, lambda t: t.colours),
    "of a unique shape": lambda found: _alone(lambda t: t.shape, found),
    "of a unique colour": lambda found: _alone(_colour, found),
    "only symmetric": lambda found: _alone(lambda t: t.symmetric, found),
    "topmost": lambda found: extreme(found, lambda t: -t.top),
    "bottommost": lambda found: extreme(found, lambda t: t.top),
    "leftmost": lambda found: extreme(found, lambda t: -t.left),
    "rightmost": lambda found: extreme(found, lambda t: t.left),
    "most repeated": lambda found: _commonest(found),
    "with most background in its box": lambda found: extreme(found, lambda t: float((~t.own).sum())),
}


def _commonest(found: tuple[Thing, ...]) -> Thing | None:
    counts = Counter((t.box.tobytes(), t.box.shape) for t in found).most_common(2)
    if not counts or (len(counts) > 1 and counts[0][1] == counts[1][1]):
        return None
    return next(t for t in found if (t.box.tobytes(), t.box.shape) == counts[0][0])


def cropped(grid: Array, way: str, choice: str) -> Array | None:
    """The box of the chosen object."""
    chosen = CHOICES[choice](things(grid, way))
    return None if chosen is None else chosen.box


def kept(grid: Array, way: str, choice: str, inverse: bool) -> Array | None:
    """Only the chosen object stays, or everything but it."""
    chosen = CHOICES[choice](things(grid, way))
    if chosen is None:
        return None
    return np.where(chosen.mask != inverse, grid, background(grid)).astype(np.int8)


def without_noise(grid: Array) -> Array | None:
    """Objects of a single cell become background."""
    lone = [thing for thing in things(grid, "8") if thing.size == 1]
    if not lone:
        return None
    return np.where(np.any([t.mask for t in lone], axis=0), background(grid), grid).astype(np.int8)


def enclosed(grid: Array) -> Mask:
    """Background cells from which no way along the sides of background cells leads to the edge."""
    numbers, _ = labelled(grid == background(grid), corners=False)
    rim = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    return np.asarray((numbers > 0) & ~np.isin(numbers, rim))


def filled(grid: Array) -> Array | None:
    """Enclosed background is marked."""
    inside = enclosed(grid)
    return np.where(inside, MARK, grid).astype(np.int8) if inside.any() else None


def boxes_filled(grid: Array) -> Array | None:
    """The background in the bounding box of each object is marked."""
    made, empty = grid.copy(), background(grid)
    for thing in things(grid, "8"):
        h, w = thing.own.shape
        part = made[thing.top : thing.top + h, thing.left : thing.left + w]
        part[part == empty] = MARK
    return made


def outlined(grid: Array, corners: bool) -> Array | None:
    """Background beside an object is marked."""
    from scipy import ndimage

    full = grid != background(grid)
    near = ndimage.binary_dilation(full, np.ones((3, 3), bool) if corners else None)
    return np.where(near & ~full, MARK, grid).astype(np.int8)


def counted(grid: Array, way: str) -> Array | None:
    """A row of as many marked cells as there are objects."""
    found = things(grid, way)
    return np.full((1, len(found)), MARK, np.int8) if 0 < len(found) <= 30 else None


OBJECTS: dict[str, Function] = {
    **{
        f"crop to the object {choice} ({way})": partial(cropped, way=way, choice=choice)
        for choice in CHOICES
        for way in (WAYS if choice in ("largest", "smallest", "of a unique shape") else ("8", "mixed"))
    },
    "keep the largest object": partial(kept, way="8", choice="largest", inverse=False),
    "drop the largest object": partial(kept, way="8", choice="largest", inverse=True),
    "keep the smallest object": partial(kept, way="8", choice="smallest", inverse=False),
    "drop single cells": without_noise,
    "mark enclosed cells": filled,
    "mark the boxes of objects": boxes_filled,
    "mark around objects": partial(outlined, corners=False),
    "mark around objects and corners": partial(outlined, corners=True),
    **{f"count objects ({way})": partial(counted, way=way) for way in WAYS},
}
