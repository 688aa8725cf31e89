"""Grids: whatever a model writes, the last grid is found, and what is none says why."""

from __future__ import annotations

import json
import random
from typing import get_args

import pytest

from thence.grading.grids import Cells, Grid, GridReading, as_grid, fault, from_value, to_value, write_grid

READING = GridReading()


def found(reply: str) -> str | None:
    answer = READING.extract(reply)
    return None if answer is None else answer.value


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("0 1 2\n3 4 5", "012/345"),
        ("Output:\n\n```\n0 1 2\n3 4 5\n```\n", "012/345"),
        ("012\n345\n", "012/345"),
        ("0,1,2\r\n3,4,5\r\n", "012/345"),
        ("| 0 | 1 | 2 |\n| 3 | 4 | 5 |", "012/345"),
        ("0  1\t2 ;\n3  4\t5 ;", "012/345"),
        ("The grid is [[0, 1, 2], [3, 4, 5]].", "012/345"),
        (json.dumps([[0, 1, 2], [3, 4, 5]], indent=2), "012/345"),
        ("[[0 1 2]\n [3 4 5]]", "012/345"),
        ("[0, 1, 2],\n[3, 4, 5]", "012/345"),
        ("> 0 1\n> 2 3", "01/23"),
        ("7", "7"),
        ("[1, 2]", "12"),
        ("Answer:\n7", "7"),
        ("[[0, 1]]\n\nor rather\n\n2 3\n4 5", "23/45"),
        ("2 3\n4 5\n\nor rather [[0, 1]]", "01"),
        ("1 1\n1 1\n\n2 2\n2 2", "22/22"),
        ("0 1\n2 3\n\nThat is 2 rows of 2 cells.", "01/23"),
        ("[[[0, 1], [2, 3]]]", "01/23"),
        ("first [[1]] then [[2]]", "2"),
        ("shape [3, 3], rows [[0, 1], [2, 3]]", "01/23"),
    ],
)
def test_the_last_grid_of_a_reply_is_its_answer(reply: str, value: str) -> None:
    assert found(reply) == value
    answer = READING.extract(reply)
    assert answer is not None
    assert answer.value[0] in reply[answer.start : answer.end]


@pytest.mark.parametrize(
    "reply", ["", "I cannot tell.", "3 rows of 4", "١ ٢\n٣ ٤", "[[]]", '[["0", "1"]]', "__import__('os')", "[[a]]"]
)
def test_a_reply_without_a_grid_has_no_answer(reply: str) -> None:
    assert found(reply) is None


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("0 1 2\n3 4", "ragged: row 2 has 2 cells, row 1 has 3"),
        ("[[0, 1], [2]]", "ragged"),
        ("[[], [2]]", "no cells"),
        ("0 1\n2 12", "'12'; colours"),
        ("[[0, -1]]", "'-1'; colours"),
        ("\n".join(["0 1"] * 31), "31 x 2 cells"),
        ("1" * 31, "1 x 31 cells"),
    ],
)
def test_what_only_looks_like_a_grid_is_an_answer_that_says_why_it_is_none(reply: str, why: str) -> None:
    value = found(reply)
    assert value is not None
    assert why in fault(from_value(value))


def test_what_is_written_is_read_back_in_every_form() -> None:
    noise = random.Random(0)
    for _ in range(60):
        h, w = noise.randint(1, 30), noise.randint(1, 30)
        grid: Grid = tuple(tuple(noise.randrange(10) for _ in range(w)) for _ in range(h))
        assert from_value(to_value(grid)) == [list(row) for row in grid]
        for cells in get_args(Cells):
            assert found(f"So it is this:\n\n{write_grid(grid, cells)}\n") == to_value(grid), cells


def test_values_are_the_same_exactly_if_the_rows_are() -> None:
    noise = random.Random(1)
    seen: dict[str, list[list[int]]] = {}
    for _ in range(3000):
        rows = [
            [noise.choice((0, 1, 2, 10, 12, -1)) for _ in range(noise.randint(1, 2))]
            for _ in range(noise.randint(1, 2))
        ]
        value = to_value(rows)
        assert seen.setdefault(value, rows) == rows
        assert from_value(value) == rows


@pytest.mark.parametrize(
    "rows",
    [None, 5, "01/23", [], [[]], [0, 1], [[0, "1"]], [[True]], [[1.0]], [[None]], [[10]], [[0], [1, 2]], {"a": 1}],
)
def test_only_whole_numbers_0_to_9_in_equal_rows_are_a_grid(rows: object) -> None:
    assert fault(rows)
    assert as_grid(rows) is None


def test_lists_and_tuples_are_the_same_grid() -> None:
    assert as_grid([[1, 2], [3, 4]]) == as_grid(((1, 2), (3, 4))) == ((1, 2), (3, 4))
    assert as_grid([[0] * 30] * 30) is not None


@pytest.mark.parametrize(
    "text", ["1 " * 9999 + "x", "[" * 20_000, "[[" * 9000 + "1" + "]]" * 9000, "[[1]" * 5000, "9" * 20_000]
)
def test_hostile_replies_end_without_a_grid(text: str) -> None:
    value = found(text)
    assert value is None or from_value(value) is None or fault(from_value(value)) or len(value) < 9


def test_a_long_reply_is_read_at_its_end_and_the_place_is_right() -> None:
    reply = "9 9\n" + "word " * 10_000 + "\n1 2\n3 4\nend"
    answer = READING.extract(reply)
    assert answer is not None
    assert (answer.value, reply[answer.start : answer.end]) == ("12/34", "1 2\n3 4")
