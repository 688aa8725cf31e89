"""Tasks of given solutions: indexes count from 0, wrong files are refused, references never stand in a problem."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.core.protocols import Task
from thence.tasks.big_bench_mistake import BigBenchMistake
from thence.tasks.first_error import Given
from thence.tasks.mr_gsm8k import MrGsm8k

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")

SUM: dict[str, Any] = {
    "input": "2 + 3 + 4 =",
    "steps": ["2 + 3 = 6.", "6 + 4 = 10.", "So the answer is 10"],
    "target": "9",
    "answer": "10",
    "mistake_index": 0,
}
RIGHT = SUM | {"input": "1 + 1 =", "steps": ["1 + 1 = 2."], "target": "2", "answer": "2", "mistake_index": None}
ROBE: dict[str, Any] = {
    "uuid": "a-1",
    "question": "Two robes of 3 bolts each. How many bolts?",
    "model_output_steps": ["Step 1: There are two robes.", "Step 2: 2 + 3 = 5.", "Step 3: #### 5"],
    "model_output_solution_correctness": "wrong",
    "model_output_solution_first_error_step": 2,
    "question_type": "original",
}


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return str(path)


def test_big_bench_counts_from_0_and_null_is_no_mistake(tmp_path: Path) -> None:
    task: Task = BigBenchMistake(written(tmp_path / "sums.jsonl", [SUM, RIGHT]))
    first, second = task.problems()
    assert isinstance(task, BigBenchMistake)
    assert (first.id, first.text, first.family) == ("sums-0001", "2 + 3 + 4 =", "sums")
    assert task.given(first) == Given(("2 + 3 = 6.", "6 + 4 = 10.", "So the answer is 10"), 0)
    assert task.given(second) == Given(("1 + 1 = 2.",), None)
    assert [task.given(p).answer for p in task.problems()] == ["0", "none"]
    assert task.check_references() == []


def test_mr_gsm8k_counts_from_1_in_its_file(tmp_path: Path) -> None:
    fine = ROBE | {
        "uuid": "a-2",
        "model_output_solution_correctness": "correct",
        "model_output_solution_first_error_step": "N/A",
    }
    task = MrGsm8k(written(tmp_path / "robes.jsonl", [ROBE, fine]))
    assert [task.given(p).first_error for p in task.problems()] == [1, None]
    assert [p.id for p in task.problems()] == ["a-1", "a-2"]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [("0", "correct"), (" 0 ", "correct"), ("1", "incorrect"), ("none", "incorrect"), (None, "no_answer")],
)
def test_an_answer_is_an_index_or_none(tmp_path: Path, answer: str | None, verdict: str) -> None:
    task = BigBenchMistake(written(tmp_path / "sums.jsonl", [SUM, RIGHT]))
    assert task.grade(task.problems()[0], "", answer).verdict == verdict
    assert task.grade(task.problems()[1], "", "none").verdict is Verdict.CORRECT


def test_a_folder_is_all_its_files_and_a_subset_is_one(tmp_path: Path) -> None:
    written(tmp_path / "sums.jsonl.gz", [SUM, RIGHT])
    written(tmp_path / "word_sorting.jsonl", [RIGHT | {"input": "pear fig"}])
    (tmp_path / "LICENSE").write_text("x")
    every = BigBenchMistake(str(tmp_path))
    assert [p.id for p in every.problems()] == ["sums-0001", "sums-0002", "word_sorting-0001"]
    assert every.problems()[2].text == "Sort these words alphabetically: pear fig"
    one = BigBenchMistake(str(tmp_path), subset="sums")
    assert [p.id for p in one.problems()] == ["sums-0001", "sums-0002"]
    assert one.spec == f"big-bench-mistake(file={tmp_path}, subset=sums)"
    assert one.data_hash == BigBenchMistake(str(tmp_path / "sums.jsonl.gz")).data_hash != every.data_hash
    with pytest.raises(UsageError, match=r"no subset 'sort' in .*; there is sums, word_sorting"):
        BigBenchMistake(str(tmp_path), subset="sort")
    with pytest.raises(UsageError, match="needs file=PATH"):
        BigBenchMistake()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no \.jsonl file"):
        BigBenchMistake(str(tmp_path / "empty"))


def test_the_references_are_part_of_the_data(tmp_path: Path) -> None:
    one = BigBenchMistake(written(tmp_path / "sums.jsonl", [SUM]))
    other = BigBenchMistake(written(tmp_path / "sums.jsonl", [SUM | {"mistake_index": 1}]))
    assert one.problems() == other.problems()  # a problem knows nothing of its mistake
    assert one.data_hash != other.data_hash


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mistake_index": 3}, "line 2: the first wrong step is 3, and the solution has 3 steps counted from 0"),
        ({"mistake_index": -1}, "the first wrong step is -1"),
        ({"mistake_index": True}, "the first wrong step is True"),
        ({"mistake_index": "1"}, "the first wrong step is '1'"),
        ({"steps": []}, "line 2: column 'steps' must be a list of steps"),
        ({"steps": "['a']"}, "column 'steps' must be a list of steps"),
        ({"steps": ["a", 1]}, "column 'steps' must be a list of steps"),
        ({"input": " "}, "line 2: column 'input' must be a text"),
    ],
)
def test_wrong_big_bench_rows_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said.replace("[", r"\[")):
        BigBenchMistake(written(tmp_path / "sums.jsonl", [RIGHT, SUM | change]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_output_solution_first_error_step": 0}, "is 0, and the solution has 3 steps counted from 1"),
        ({"model_output_solution_first_error_step": 4}, "is 4, and the solution has 3 steps counted from 1"),
        ({"model_output_solution_first_error_step": None}, "is marked wrong, and .* is null"),
        ({"model_output_solution_correctness": "unsure"}, "is 'unsure'; it must be correct or wrong"),
    ],
)
def test_wrong_mr_gsm8k_rows_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        MrGsm8k(written(tmp_path / "robes.jsonl", [ROBE | change]))


def test_another_file_is_refused_with_its_columns(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no column 'steps'.*the columns are question"):
        BigBenchMistake(written(tmp_path / "x.jsonl", [{"question": "1", "input": "2"}]))
    with pytest.raises(UsageError, match="no column 'uuid'"):
        MrGsm8k(written(tmp_path / "x.jsonl", [{"question": "1"}]))


def test_blank_lines_end_no_step_and_blank_steps_stay(tmp_path: Path) -> None:
    task = BigBenchMistake(written(tmp_path / "sums.jsonl", [SUM | {"steps": ["a\n \n\nb\n", " ", "c"]}]))
    assert task.given(task.problems()[0]).steps == ("a\nb", "...", "c")


@needs_data
def test_the_published_files() -> None:
    task = BigBenchMistake(str(DATA / "big_bench_mistake"))
    given = [task.given(p) for p in task.problems()]
    assert len(given) == 2186
    assert sum(g.first_error is None for g in given) == 478
    wrong = MrGsm8k(str(DATA / "mr_gsm8k" / "mr_gsm8k_wrong_590.jsonl.gz"))
    errors = [wrong.given(p).first_error for p in wrong.problems()]
    assert len(errors) == 590
    assert errors.count(0) == 47  # the file says 1 of these
    assert None not in errors
