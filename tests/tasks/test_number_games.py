"""Game of 24 and Countdown: exact arithmetic, every number once, and puzzles that can be solved."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import os
from fractions import Fraction
from pathlib import Path

import pytest
from fake_hub import FakeHub, written
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.tasks.number_games import Countdown, Game24
from thence.tasks.target_numbers import (
    Expression,
    ExpressionReading,
    grade_expression,
    read_expression,
    solve_target,
)

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")
NUMBERS = (10, 4, 6, 2)


@pytest.mark.parametrize(
    "right",
    [
        "(10 - 4) * (6 - 2)",
        "(10-4)(6-2)",
        "10 + 6 + 4 * 2",
        "(10 − 4) × (6 − 2)",
        "[10 - 4] * [6 - 2]",
        "-(4 - 10) * (6 - 2)",
        "$(10 - 4) \\times (6 - 2)$",
        "\\(10 + 6 + 4 * 2\\)",
        "`10 + 6 + 4 * 2`.",
    ],
)
def test_every_number_once_and_the_value_is_right(right: str) -> None:
    assert grade_expression(NUMBERS, 24, right).correct


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("6 * 4", "it uses 4 6, and 2 4 6 10 are given"),
        ("10 + 6 + 4 + 2 + 2", "it uses"),
        ("10 + 6 + 4 + 2", "its value is 22"),
        ("10 / (6 - 6)", "no value"),
        ("10 + 6 + 4^2", "only + - * /"),
        ("20% * 120", "only + - * /"),
        ("104 - 62", "it uses 62 104"),
        ("24", "no expression"),
        ("10 4 6 2", "no expression"),
        ("1 0 + 14", "no expression"),
        ("3 1/8 + 2", "side by side"),
        ("10 apples + 14", "only + - * /"),
        ("(10 - 4) * (6 - 2", "no expression"),
        ("x = 10 + 14", "no expression"),
        ("__import__('os').getcwd()", "no expression"),
        ("9" * 10_000, "more than 500 characters"),
        ("(" * 400, "no expression"),
    ],
)
def test_anything_else_is_wrong_with_the_reason(wrong: str, why: str) -> None:
    graded = grade_expression(NUMBERS, 24, wrong)
    assert graded.verdict is Verdict.INCORRECT
    assert why in graded.reason


def test_arithmetic_is_exact() -> None:
    assert read_expression("8 / (3 - 8 / 3)") == Expression(Fraction(24), (8, 3, 8, 3))
    assert grade_expression((8, 3, 8, 3), 24, "8 / (3 - 8 / 3)").correct
    assert not grade_expression((1, 3, 3), 1, "1 / 3 * 3 - 0").correct


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("10 - 4 = 6 (left: 6 6 2)\nAnswer: (10 - 4) * (6 - 2) = 24", "(10 - 4) * (6 - 2)"),
        ("So 24 = 6 * 4.\n#### 24 = 6 * 4", "6 * 4"),
        ("I get \\boxed{6 \\times 4}.", "6 \\times 4"),
        ("<think>x</think><answer>\n(1 + 2) * 8\n</answer>", "(1 + 2) * 8"),
        ("Let me see.\n(1 + 2) * 8 = 24", "(1 + 2) * 8"),
        ("Answer: None", "None"),
        ("Answer:", None),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_the_expression_is_read_where_it_stands(reply: str, value: str | None) -> None:
    found = ExpressionReading().extract(reply)
    assert (found.value if found else None) == value
    if found is not None:
        assert reply[found.start : found.end] == found.value


def test_votes_merge_expressions_of_the_same_numbers_and_value_only() -> None:
    key = ExpressionReading().key
    assert key("(10 - 4) * (6 - 2)") == key("4 * 2 + 10 + 6")
    assert key("6 * 4") != key("(10 - 4) * (6 - 2)")
    assert key("6 * 4") != key("6 + 4")
    assert key("None") == key("none")


def brute(numbers: tuple[int, ...]) -> set[Fraction]:
    """All values, by the other recursion: split every ordering into a left and a right part."""
    if len(numbers) == 1:
        return {Fraction(numbers[0])}
    made = set()
    for order in set(itertools.permutations(numbers)):
        for cut in range(1, len(order)):
            for a, b in itertools.product(brute(order[:cut]), brute(order[cut:])):
                made |= {a + b, a - b, a * b}
                if b:
                    made.add(a / b)
    return made


@settings(max_examples=12)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=3), st.integers(-20, 60))
def test_the_search_finds_a_solution_exactly_where_brute_force_does(numbers: list[int], target: int) -> None:
    found = solve_target(numbers, target)
    assert (found is not None) == (target in brute(tuple(numbers)))
    if found is not None and len(numbers) > 1:
        assert grade_expression(numbers, target, found).correct


def test_known_puzzles_without_a_solution() -> None:
    assert solve_target((1, 1, 1, 1), 24) is None
    assert solve_target((3, 3, 8, 8), 24) is not None
    with pytest.raises(UsageError, match="7 numbers are too many"):
        solve_target(range(1, 8), 24)


def test_drawn_puzzles_are_solvable_different_and_fixed_by_their_seed() -> None:
    task = Countdown(numbers=5, size=40, seed=3)
    assert task.check_references() == []
    puzzles = [task.puzzle(p) for p in task.problems()]
    assert all(grade_expression(p.numbers, p.target, p.solution).correct for p in puzzles)
    assert len({(tuple(sorted(p.numbers)), p.target) for p in puzzles}) == 40
    assert all(1 <= n <= 50 for p in puzzles for n in p.numbers)
    assert all(1 <= p.target <= 100 and p.target not in p.numbers for p in puzzles)
    assert Countdown(numbers=5, size=10, seed=3).problems() == task.problems()[:10]
    assert Countdown(numbers=5, size=10, seed=4).problems() != task.problems()[:10]
    assert task.spec == "countdown(numbers=5, seed=3, size=40)"


def test_what_cannot_be_drawn_or_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ask for a smaller size"):
        Countdown(numbers=2, largest=3, most=9, size=500)
    with pytest.raises(UsageError, match="numbers is 9; it must be from 2 to 6"):
        Countdown(numbers=9)
    file = written(tmp_path / "c.jsonl", [{"nums": [3, 5], "target": 8}])
    with pytest.raises(UsageError, match="numbers, seed belongs to drawn puzzles"):
        Countdown(file=file, numbers=3, seed=1)
    with pytest.raises(UsageError, match="not both"):
        Countdown(file=file, hub="x/y")
    for row in ({"nums": [3, "5"], "target": 8}, {"nums": [], "target": 8}, {"nums": [3], "target": True}):
        with pytest.raises(DataError, match="line 1: nums must be a list of whole numbers"):
            Countdown(file=written(tmp_path / "bad.jsonl", [row]))
    with pytest.raises(DataError, match="line 1: Puzzles must be numbers"):
        Game24(file=written(tmp_path / "bad.jsonl", [{"Puzzles": "1 2 x 4"}]))


def test_puzzles_without_a_solution_are_listed(tmp_path: Path) -> None:
    task = Countdown(file=written(tmp_path / "c.jsonl", [{"nums": [3, 5], "target": 8}, {"nums": [3, 5], "target": 9}]))
    assert task.check_references() == [("countdown-0002", "no expression makes the target")]
    assert task.solvable(task.problems()[0]) == "3 + 5"
    assert task.solvable(task.problems()[1]) is None


def test_both_come_from_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = [{"nums": [3, 5], "target": 8}]
    hub = FakeHub(monkeypatch, tmp_path, game_of_24=[{"Puzzles": "1 1 4 6"}], Countdown_Tasks_3to4=rows)
    assert Game24().puzzle(Game24().problems()[0]).numbers == (1, 1, 4, 6)
    assert len(Countdown(hub="Jiayi-Pan/Countdown-Tasks-3to4", size=9).problems()) == 1
    assert hub.asked[-1] == ("Jiayi-Pan/Countdown-Tasks-3to4", "train[:9]")


@needs_data
def test_all_20_000_recorded_labels_agree() -> None:
    """GPT-4's samples of Tree of Thoughts, with and without reasoning, against the labels that came with them."""
    task = Game24(file=str(DATA / "game24/24.csv"))
    problems, wrong, seen = task.problems(), 0, 0
    for kind in ("cot", "io"):
        path = next((DATA / "game24").glob(f"gpt4_{kind}_*.json.gz"))
        with gzip.open(path, "rt", encoding="utf-8") as file:
            samples = json.load(file)
        for row in samples:
            labels = [info["r"] for info in row["infos"]] if kind == "cot" else row["accs"]
            for text, label in zip(row["ys"], labels, strict=True):
                found = task.reading.extract(text)
                graded = task.grade(problems[row["idx"]], text, found.value if found else None)
                wrong += graded.correct != bool(label)
                seen += 1
    assert seen == 20_000
    assert wrong == 0


@needs_data
def test_the_paper_s_hundred_puzzles() -> None:
    task = Game24(file=str(DATA / "game24/24.csv"), first=901, size=100)
    with (DATA / "game24/24.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [" ".join(map(str, task.puzzle(p).numbers)) for p in task.problems()] == [
        r["Puzzles"] for r in rows[900:1000]
    ]
    assert task.problems()[0].id == "game24-0901"
    assert task.check_references() == []
