import csv
import gzip
import json
import math
import os
import sys
from pathlib import Path

import pytest

from thence.core.protocols import Task
from thence.grading.worker import ToGrade, grade_many
from thence.tasks.jsonl import Jsonl

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("THENCE_DATA", ROOT.parent / "shared" / "data"))
GRADER = ROOT / "examples" / "game24_grader.py"
sys.path.insert(0, str(GRADER.parent))

from game24_grader import check, evaluate  # noqa: E402


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Steps:\n…\nAnswer: (10 - 4) * (6 - 2) = 24", "correct"),
        ("answer: 4*6/(10-2-… )", "incorrect"),
        ("(10 − 4) * (6 - 2)", "incorrect"),  # not a minus sign of the rules
        ("10 + 6 + 4 * 2 = 24", "correct"),
        ("(10 + 2) * (6 - 4) = 24", "correct"),
        ("Answer: 6 * 4 = 24", "incorrect"),
        ("Answer: 10 + 6 + 4 + 2 + 2 = 24", "incorrect"),
        ("Answer: 10 / (6 - 6) = 24", "incorrect"),
        ("Answer: None", "incorrect"),
        ("Answer:", "no_answer"),
        ("", "no_answer"),
        ("Answer: " + "(" * 400, "incorrect"),
        ("Answer: " + "9" * 10_000, "incorrect"),
        ("Answer: __import__('os').getcwd()", "incorrect"),
    ],
)
def test_verdicts(text: str, verdict: str) -> None:
    assert check("2 4 6 10", text)["verdict"] == verdict


def test_arithmetic_is_exact() -> None:
    value, used = evaluate("8 / (3 - 8 / 3)")
    assert value == 24
    assert used == [8, 3, 8, 3]


@pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")
def test_all_10_000_recorded_labels_agree_and_pass_at_k_comes_out() -> None:
    """Tree of Thoughts' GPT-4 chain-of-thought samples: pass@1, 10, 100 = 4.0, 21.5, 49.0 %."""
    with gzip.open(DATA / "game24/gpt4_cot_100samples_900_1000.json.gz", "rt", encoding="utf-8") as file:
        samples = json.load(file)
    with (DATA / "game24/24.csv").open(encoding="utf-8", newline="") as file:
        puzzles = [row["Puzzles"] for row in csv.DictReader(file)]
    items = [ToGrade(None, None, text, puzzles[row["idx"]]) for row in samples for text in row["ys"]]
    grades = [g.correct for g in grade_many(f"{GRADER}:check", items)]
    assert grades == [bool(info["r"]) for row in samples for info in row["infos"]]
    right = [sum(grades[i : i + 100]) for i in range(0, len(grades), 100)]

    def pass_at(k: int) -> float:
        return sum(1 - math.comb(100 - c, k) / math.comb(100, k) for c in right) / len(right)

    assert [round(100 * pass_at(k), 1) for k in (1, 10, 100)] == [4.0, 21.5, 49.0]


@pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")
def test_the_puzzles_are_a_task_without_references_that_is_graded() -> None:
    task: Task = Jsonl(file=str(DATA / "game24/24.csv"), question="Puzzles", id="Rank", grader=f"{GRADER}:check")
    assert task.has_references
    assert task.check_references() == []
    assert task.grade(task.problems()[0], "Answer: 6 * 4 * 1 * 1 = 24", None).correct
