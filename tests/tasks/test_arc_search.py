"""The search for programs: every function keeps the rules, planted programs are found, limits hold."""

from __future__ import annotations

import random

import numpy as np
import pytest

from thence.core.errors import CallFailed
from thence.grading.grids import Grid, as_grid
from thence.tasks.arc import fits, objects, search, transforms
from thence.tasks.arc.search import FUNCTIONS
from thence.tasks.arc.transforms import MARK, Array


def grids(count: int, seed: int, most: int = 8, colours: int = 5, full: float = 0.4) -> list[Array]:
    """Random sparse grids."""
    noise = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        grid = noise.integers(0, colours, noise.integers(1, most + 1, 2)).astype(np.int8)
        grid[noise.random(grid.shape) > full] = 0
        made.append(grid)
    return made


def plain(grid: Array) -> Grid:
    found = as_grid(grid.tolist())
    assert found is not None
    return found


def at(grid: str) -> Array:
    return np.array([[int(c) for c in row] for row in grid.split("/")], np.int8)


def test_a_function_never_changes_its_argument_and_gives_a_grid_or_none() -> None:
    samples = [
        *grids(12, 0),
        at("0123456789/0123456789"),
        at("0"),
        at("3"),
        at("11/11"),
        at("0" * 30),
        np.full((30, 30), 7, np.int8),
    ]
    for name, function in FUNCTIONS.items():
        applied = 0
        for grid in samples:
            before = grid.copy()
            grid.flags.writeable = False
            made = function(grid)
            grid.flags.writeable = True
            assert (grid == before).all(), name
            if made is not None:
                assert (made.dtype, made.ndim) == (np.int8, 2), name
                assert not made.size or (made.min() >= 0 and made.max() <= MARK), name
                applied += 1
        assert applied or "panel" in name or "object" in name or "repair" in name, f"{name} never applies"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("mirror left-right", "120/345", "021/543"),
        ("turn left", "12/34", "24/13"),
        ("transpose", "12/34", "13/24"),
        ("crop to content", "000/012/000", "12"),
        ("crop to rarest colour", "1112/1111/1112", "2/1/2"),
        ("top half", "11/22/33", "11"),
        ("right half", "123", "3"),
        ("drop the edge", "111/121/111", "2"),
        ("merge equal lines", "1122/1122/3344", "12/34"),
        ("drop empty lines", "102/000/304", "12/34"),
        ("scale by 2", "12", "1122/1122"),
        ("append mirror image right", "12", "1221"),
        ("append mirror image above", "1/2", "2/1/1/2"),
        ("copy into own cells", "10/01", "1000/0100/0010/0001"),
        ("fall down", "12/00/30", "00/10/32"),
        ("fall left", "0102/0030", "1200/3000"),
        ("sort rows by count", "111/100/110", "100/110/111"),
        ("connect equal cells", "10010/00000/20030", "11110/00000/20030"),
        ("rays right", "1020/0000", "1122/0000"),
        ("rays along diagonals", "000/010/000", "101/010/101"),
        ("complete symmetry h", "100/230", "101/232"),
        ("panels lines: over", "10501/02520", "11/22"),
        ("panels lines: under", "10501/02520", "11/22"),
        ("panel: most", "10511/00522", "11/22"),
        ("panel: odd", "15152/05050", "2/0"),
        ("main colour", "0112/0100", "1"),
        ("colours by count", "0112/0221/2200", "2/1"),
        ("crop to the object largest (4)", "1100/1000/0022", "11/10"),
        ("drop the largest object", "1100/1000/0022", "0000/0000/0022"),
        ("crop to the object of a unique shape (8)", "1020330/0000300", "33/30"),
        ("drop single cells", "1000/0022", "0000/0022"),
    ],
)
def test_functions_by_hand(name: str, before: str, after: str) -> None:
    made = FUNCTIONS[name](at(before))
    assert made is not None
    assert made.tolist() == at(after).tolist()


def test_marks_stand_where_the_colour_is_not_known() -> None:
    ring = at("0000/0111/0101/0111")
    filled = FUNCTIONS["mark enclosed cells"](ring)
    assert filled is not None
    assert np.argwhere(filled == MARK).tolist() == [[2, 2]]
    both = FUNCTIONS["panels lines: all"](at("10510/11501"))
    assert both is not None
    assert both.tolist() == [[MARK, 0], [0, MARK]]
    counted = FUNCTIONS["count objects (8)"](at("101/000/011"))
    assert counted is not None
    assert counted.tolist() == [[MARK] * 3]


def test_what_is_seen_in_a_direction_equals_walking_there() -> None:
    for grid in grids(60, 1):
        empty = transforms.background(grid)
        for down, right in (*transforms.ACROSS, *transforms.DOWN, *transforms.DIAGONALS):
            seen = transforms.nearest(grid, down, right)
            for i, j in np.ndindex(*grid.shape):
                y, x, met = i + down, j + right, empty
                while met == empty and 0 <= y < grid.shape[0] and 0 <= x < grid.shape[1]:
                    met, y, x = grid[y, x], y + down, x + right
                assert seen[i, j] == met


def test_objects_cover_all_cells_that_are_no_background_once() -> None:
    for grid in grids(40, 2):
        for way in objects.WAYS:
            found = objects.things(grid, way)
            total = sum((thing.mask.astype(int) for thing in found), np.zeros(grid.shape, int))
            assert (total == (grid != transforms.background(grid))).all()
            for thing in found:
                assert (thing.box[thing.own] == grid[thing.mask]).all()
                assert way == "mixed" or thing.colours == 1
    ring, broken = objects.things(at("111/101/111"), "8"), objects.things(at("111/101/110"), "8")
    assert (ring[0].holes, broken[0].holes, ring[0].symmetric) == (1, 1, True)
    assert objects.things(at("111/100/111"), "8")[0].holes == 0


def test_the_turns_and_mirrors_are_the_group_of_the_square() -> None:
    grid = at("123/456")
    names = ["mirror left-right", "mirror top-bottom", "turn half", "transpose", "turn left", "turn right"]
    names.append("transpose the other way")
    images = {plain(grid)} | {plain(m) for n in names if (m := FUNCTIONS[n](grid)) is not None}
    again = {plain(m) for i in images for n in names if (m := FUNCTIONS[n](np.array(i, np.int8))) is not None}
    assert len(images) == 8
    assert again == images


def test_a_fit_maps_every_example_and_fits_nothing_that_contradicts_itself() -> None:
    inputs = grids(4, 4)
    swapped = [np.where(g == 1, 2, np.where(g == 2, 1, g)).astype(np.int8) for g in inputs]
    function = fits.colour_map(inputs, swapped)
    assert function is not None
    for g, out in zip(inputs, swapped, strict=True):
        assert np.array_equal(function(g), out)  # type: ignore[arg-type]
    assert fits.colour_map([at("11")], [at("12")]) is None
    assert fits.colour_map([at("11")], [at("1")]) is None
    tiled = fits.tiling([at("12"), at("34")], [at("1221/0000"), at("3443/0000")])
    assert tiled is not None
    assert np.array_equal(tiled(at("56")), at("5665/0000"))  # type: ignore[arg-type]
    grown = fits.scaling([at("12"), at("30")], [at("11112222/" * 3 + "11112222"), at("3300/3300")])
    assert grown is None or not np.array_equal(grown(at("12")), at("1122/1122"))  # type: ignore[arg-type]
    corner = fits.window([at("12/34/56/78"), at("123/456")], [at("8"), at("6")])
    assert corner is not None
    assert np.array_equal(corner(at("111/111/119")), at("9"))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(fits.FEATURES))
def test_a_table_over_a_feature_reproduces_what_made_it(name: str) -> None:
    feature = fits.FEATURES[name]
    inputs = grids(6, 5)
    outputs = [(feature(g) % 7).astype(np.int8) for g in inputs]
    function = fits.CELLS[f"colour by {name}"](inputs, outputs)
    assert function is not None
    for g, out in zip(inputs, outputs, strict=True):
        assert feature(g).shape == g.shape
        assert np.array_equal(function(g), out)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "program",
    [
        ("mirror left-right",),
        ("crop to content", "scale by 2"),
        ("transpose", "fall down"),
        ("crop to the object largest (8)", "append mirror image right"),
        ("mark enclosed cells", "colour map"),
        ("rays right", "colour map"),
    ],
)
def test_a_planted_program_is_solved(program: tuple[str, ...]) -> None:
    def run(grid: Array) -> Array | None:
        made: Array | None = grid
        for name in program:
            if made is not None and name == "colour map":
                made = np.array([0, 3, 2, 1, 5, 4, 6, 7, 8, 9, 8], np.int8)[made]
            elif made is not None:
                made = FUNCTIONS[name](made)
        return made

    samples = grids(300, 6, most=6, full=0.6)
    pairs = [(g, out) for g in samples if g.size > 8 and (out := run(g)) is not None and out.size][:4]
    *train, (test, truth) = [(plain(a), plain(b)) for a, b in pairs]
    found = search.search(train, test, depth=2, nodes=1200)
    assert truth in [c.grid for c in found.candidates]
    assert found == search.search(train, test, depth=2, nodes=1200)


def test_candidates_are_different_and_limits_hold() -> None:
    noise = random.Random(0)
    for _ in range(4):
        train = [(plain(g), plain(g[::-1])) for g in grids(2, noise.randrange(99), most=4)]
        found = search.search(train, ((1, 2), (0, 3)), nodes=300, most=2)
        assert found.nodes <= 300
        assert len({c.grid for c in found.candidates}) == len(found.candidates) <= 2
        assert found.candidates[0].program in (("mirror top-bottom",), ("leave as it is",), *_single())
    nothing = search.search([(((1, 2), (3, 4)), ((9, 1, 7, 5, 2),))], ((1,),), nodes=50)
    assert (nothing.candidates, nothing.nodes) == ((), 50)
    with pytest.raises(CallFailed, match="raise seconds or lower nodes"):
        search.search([(((1, 2),), ((2, 7),))], ((1,),), seconds=1e-9)


def _single() -> list[tuple[str, ...]]:
    return [(name,) for name in (*FUNCTIONS, *fits.SIMPLE, *fits.CELLS)]


def test_a_shorter_program_ranks_first() -> None:
    train = [(((1, 2), (3, 4)), ((2, 1), (4, 3))), (((5, 0, 0),), ((0, 0, 5),))]
    found = search.search(train, ((7, 8, 9),))
    assert (found.candidates[0].grid, found.candidates[0].program) == (((9, 8, 7),), ("mirror left-right",))
