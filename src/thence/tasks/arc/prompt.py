"""How an ARC task is put to a model, and read back from its question.

One question asks for the output of one test input: the example pairs, then the input, each grid with a heading of its
own. ``read_question`` is the inverse of ``write_question``; it is how the programs of ``models`` see a task, so that
they know exactly what a language model is told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from thence.grading.grids import Cells, Grid, GridReading, as_grid, from_value, write_grid

HEAD = {
    "space": "one row per line, cells divided by blanks",
    "none": "one row per line, one digit per cell",
    "comma": "one row per line, cells divided by commas",
    "json": "a JSON array of rows",
}
_PARTS = re.compile(
    r"^(Example [0-9]+ input|Example [0-9]+ output|Test input):\n((?:[-0-9\[\]][^\n]*(?:\n ?|\Z))+)", re.M
)


def write_question(train: Sequence[tuple[Grid, Grid]], test: Grid, cells: Cells = "space") -> str:
    """The question for one test input."""
    parts = [
        "Each example below shows an input grid and the output grid that one rule makes of it. Cells are colours, "
        f"written as digits 0 to 9 ({HEAD[cells]}). Find the rule that fits all examples and apply it to the test "
        "input. The output may have another size than the input."
    ]
    for number, (before, after) in enumerate(train, 1):
        parts.append(f"Example {number} input:\n{write_grid(before, cells)}")
        parts.append(f"Example {number} output:\n{write_grid(after, cells)}")
    parts.append(f"Test input:\n{write_grid(test, cells)}")
    parts.append("End your reply with the whole output grid of the test input, in the same form, and nothing after it.")
    return "\n\n".join(parts)


def read_question(text: str) -> tuple[tuple[tuple[Grid, Grid], ...], Grid] | None:
    """The example pairs and the test input of a question; None if the text is none. Later text does not matter."""
    grids: dict[str, Grid] = {}
    for heading, body in _PARTS.findall(text):
        found = GridReading().extract(body)
        grid = None if found is None else as_grid(from_value(found.value))
        if grid is None:
            return None
        grids[heading] = grid
    examples = len(grids) // 2
    wanted = [f"Example {i} {side}" for i in range(1, examples + 1) for side in ("input", "output")]
    if not examples or list(grids) != [*wanted, "Test input"]:
        return None
    pairs = tuple((grids[f"Example {i} input"], grids[f"Example {i} output"]) for i in range(1, examples + 1))
    return pairs, grids["Test input"]


__all__ = ["read_question", "write_question"]
