"""Grids of colours: reading one out of a reply, writing one, and when two are the same.

A grid is 1 x 1 to 30 x 30 cells, each a colour 0 to 9 (Chollet 2019, arXiv:1911.01547). Two grids are the same if they
have the same shape and the same colour in every cell; nothing is rounded, trimmed or resized.

The answer of a reply is its **last** grid: the last run of lines that hold nothing but cells, or the last JSON array of
arrays. Cells may be separated by blanks, commas, semicolons or bars, or stand side by side without a separator; rows
may be in brackets and the whole in a fence. Other text on a line makes it no row. Text is matched and counted, never
evaluated. What looks like a grid but is none (ragged, a colour above 9, too large) is still an answer, a wrong one, so
that the reason can be said.

An answer's value is its rows joined by ``/``: ``012/345``; where a cell is no single digit, all cells end with a comma:
``0,12,/3,4,``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thence.core.answers import Answer, Grade, Verdict

from .extract import MAX_CHARS

Grid = tuple[tuple[int, ...], ...]
Cells = Literal["space", "none", "comma", "json"]

LARGEST = 30
COLOURS = 10
_GAP = r"(?:[ \t]++(?:[,;|][ \t]*+)?|[,;|][ \t]*+)"
_ROW = re.compile(
    rf"[ \t`>]*+[\[(|]*+[ \t]*+(-?[0-9]++(?:{_GAP}-?[0-9]++)*+)[ \t]*+[\])|]*+[ \t,;`]*+\r?"  # possessive: linear time
)
_TRIED = 50  # arrays of a reply, from its end, that are looked at


def fault(rows: object) -> str:
    """Why ``rows`` (lists or tuples of whole numbers) are no grid, in words; empty if they are one."""
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple) for row in rows):
        return "it is no array of rows"
    if not rows or not rows[0]:
        return "it has no cells"
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            return f"it is ragged: row {number} has {len(row)} cells, row 1 has {len(rows[0])}"
        for cell in row:
            if not isinstance(cell, int) or isinstance(cell, bool) or not 0 <= cell < COLOURS:
                return f"row {number} has the cell {str(cell)[:20]!r}; colours are the whole numbers 0 to 9"
    if len(rows) > LARGEST or len(rows[0]) > LARGEST:
        return f"it has {len(rows)} x {len(rows[0])} cells; the largest grid is {LARGEST} x {LARGEST}"
    return ""


def as_grid(rows: object) -> Grid | None:
    """``rows`` as a grid, or None if they are none (``fault`` says why)."""
    if fault(rows):
        return None
    assert isinstance(rows, list | tuple)
    return tuple(tuple(row) for row in rows)


def write_grid(grid: Grid, cells: Cells = "space") -> str:
    """A grid as text, one line per row; ``json`` is an array of arrays on as many lines."""
    if cells == "json":
        return "[" + ",\n ".join(str(list(row)) for row in grid) + "]"
    between = {"space": " ", "none": "", "comma": ","}[cells]
    return "\n".join(between.join(map(str, row)) for row in grid)


def to_value(rows: Sequence[Sequence[int]]) -> str:
    """Rows, of a grid or not, as an answer's value."""
    plain = all(0 <= cell <= 9 for row in rows for cell in row)
    return "/".join("".join(str(cell) if plain else f"{cell}," for cell in row) for row in rows)


def from_value(value: str) -> list[list[int]] | None:
    """The rows of an answer's value; None if it is no such text. They need not be a grid."""
    if not re.fullmatch(r"[-0-9,/]{1,20000}", value):
        return None
    cells = [row.split(",")[:-1] if "," in value else list(row) for row in value.split("/")]
    if not all(re.fullmatch(r"-?[0-9]{1,20}", cell) for row in cells for cell in row):
        return None
    return [[int(cell) for cell in row] for row in cells]


def read_array(text: str) -> Grid | None:
    """A text that is nothing but a grid as an array of arrays (``[[0, 1], [2, 3]]``); None for any other."""
    if not text.lstrip().startswith("[") or len(text) > MAX_CHARS:
        return None
    try:
        return as_grid(json.loads(text))
    except (ValueError, RecursionError):
        return None


def grade_grid(truth: Grid, answer: str | None) -> Grade:
    """Exact equality of an answer's value with a grid; the reason says in what a wrong one differs."""
    if answer is None:
        return Grade(Verdict.NO_ANSWER, None, "there is no grid in the reply")
    rows = from_value(answer)
    if rows is None:
        return Grade(Verdict.INCORRECT, answer, f"cells must be colours 0 to {COLOURS - 1}")
    if why := fault(rows):
        return Grade(Verdict.INCORRECT, answer, why)
    shape, right = (len(rows), len(rows[0])), (len(truth), len(truth[0]))
    if shape != right:
        return Grade(
            Verdict.INCORRECT,
            answer,
            f"the grid is {shape[0]} x {shape[1]}, the right one {right[0]} x {right[1]}",
        )
    pairs = zip(rows, truth, strict=True)
    wrong = sum(a != b for row, other in pairs for a, b in zip(row, other, strict=True))
    if wrong:
        return Grade(Verdict.INCORRECT, answer, f"{wrong} of {right[0] * right[1]} cells are wrong")
    return Grade(Verdict.CORRECT, answer)


@dataclass(frozen=True, slots=True)
class GridReading:
    """The last grid of a reply; equal grids have equal keys."""

    def extract(self, reply: str) -> Answer | None:
        """The rows as a value (``012/345``), with their place in ``reply``."""
        offset = max(0, len(reply) - MAX_CHARS)
        text = reply[offset:]
        lines, arrays = _last_block(text), _last_array(text)
        best = lines or arrays
        if lines is not None and arrays is not None and arrays[2] >= lines[1]:
            best = arrays  # the lines of an array look like rows, too
        return None if best is None else Answer(to_value(best[0]), best[1] + offset, best[2] + offset)

    def key(self, value: str) -> str:
        """The value itself: it is written in one way only."""
        return value


Found = tuple[list[list[int]], int, int]


def _last_array(text: str) -> Found | None:
    """The last JSON array of arrays of whole numbers, and its place."""
    for start, end in reversed(_arrays(text)[-_TRIED:]):
        try:
            rows = json.loads(text[start:end])
        except (ValueError, RecursionError):
            continue
        if any(rows) and all(isinstance(row, list) and all(isinstance(cell, int) for cell in row) for row in rows):
            return rows, start, end
    return None


def _arrays(text: str) -> list[tuple[int, int]]:
    """Where brackets that hold brackets, and else only numbers, begin and end."""
    found: list[tuple[int, int]] = []
    opened: list[int] = []
    deep: list[bool] = []
    for at, char in enumerate(text):
        if char == "[":
            opened.append(at)
            deep.append(False)
        elif char == "]" and opened:
            start = opened.pop()
            if deep.pop():
                found.append((start, at + 1))
            if deep:
                deep[-1] = True
        elif char not in "-0123456789, \t\r\n":
            opened.clear()
            deep.clear()
    return found


def _last_block(text: str) -> Found | None:
    """The last run of lines that are rows, and its place."""
    rows: list[list[int]] = []
    start = end = len(text)
    for line_start, line in reversed(_lines(text)):
        match = _ROW.fullmatch(line)
        if match is not None and len(line) <= 1000:
            end = end if rows else line_start + len(line)
            rows.append(_cells(match[1]))
            start = line_start
        elif rows:
            break
    return (rows[::-1], start, end) if rows else None


def _lines(text: str) -> list[tuple[int, str]]:
    lines, at = [], 0
    for line in text.split("\n"):
        lines.append((at, line))
        at += len(line) + 1
    return lines


def _cells(row: str) -> list[int]:
    """The cells of a row: without a separator every digit is one."""
    parts = re.findall(r"-?[0-9]+", row)
    if len(parts) == 1 and not row.startswith("-"):
        return [int(digit) for digit in parts[0]]
    return [int(part[:20]) for part in parts]


__all__ = ["Cells", "Grid", "GridReading", "as_grid", "fault", "from_value", "to_value", "write_grid"]
