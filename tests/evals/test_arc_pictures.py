"""Pictures of ARC grids: the cells have their colours, and right and wrong attempts are told apart."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thence.core.errors import StoreError
from thence.evals.arc.pictures import PALETTE, RIGHT, WRONG, draw, picture
from thence.tasks.arc.files import ArcTask

TASK = ArcTask("t", ((((2,),), ((3,),)), (((4,),), ((5,),))), (((6, 6),), ((8,),)), (((7, 1),), ((9,),)))


def colours(data: bytes) -> dict[str, int]:
    """How many pixels have each colour."""
    from matplotlib.image import imread

    pixels = (imread(io.BytesIO(data))[..., :3] * 255).round().astype(int).reshape(-1, 3)
    values, counts = np.unique(pixels, axis=0, return_counts=True)
    return {"#{:02X}{:02X}{:02X}".format(*v): int(n) for v, n in zip(values, counts, strict=True)}


def test_every_grid_of_a_task_is_there_in_its_colours() -> None:
    assert len(set(PALETTE)) == 10
    seen = colours(picture(TASK))
    whole = [seen.get(PALETTE[c], 0) for c in (2, 3, 4, 5, 6, 8, 9)]
    assert min(whole) > 5000
    assert max(whole) < 3 * min(whole)
    assert RIGHT not in seen
    assert WRONG not in seen
    only = colours(picture(ArcTask("t", TASK.train, TASK.inputs, None), inputs=[1]))
    assert (PALETTE[6] in only, PALETTE[9] in only) == (False, False)
    assert only[PALETTE[8]] > 5000


def test_right_and_wrong_attempts_have_titles_in_two_colours_and_only_wrong_cells_a_cross(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from matplotlib.axes import Axes

    crossed: list[list[tuple[int, int]]] = []
    scatter = Axes.scatter

    def spy(axes: Any, x: Any, y: Any, **how: Any) -> Any:
        crossed.append(list(zip(x, y, strict=True)))
        return scatter(axes, x, y, **how)

    monkeypatch.setattr(Axes, "scatter", spy)
    right = colours(picture(TASK, [[((7, 1),)]], inputs=[0]))
    assert (RIGHT in right, WRONG in right, crossed) == (True, False, [])
    both = colours(picture(TASK, [[((7, 0),), ((7, 1),), ((0, 0, 0),)]], inputs=[0]))
    assert (RIGHT in both, WRONG in both, crossed) == (True, True, [[(1, 0)]])


def test_a_picture_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    assert draw(tmp_path / "new" / "t", TASK) == tmp_path / "new" / "t.png"
    draw(tmp_path / "t.png", TASK)
    assert (tmp_path / "t.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(StoreError, match=r"cannot be written .*; choose another place"):
        draw(tmp_path / "t.png" / "u.png", TASK)
