"""ProcessBench and PRM800K's test split: indexes, what is left out, and rows that are refused."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, written

from thence.core.errors import DataError, UsageError
from thence.tasks.first_error import Given
from thence.tasks.prm800k import Prm800k
from thence.tasks.processbench import PARTS, ProcessBench

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")
WRONG: dict[str, Any] = {"id": "gsm8k-0", "problem": "1 + 1?", "steps": ["1 + 1 = 3", "So 3."], "label": 0}
RIGHT = WRONG | {"id": "gsm8k-1", "steps": ["1 + 1 = 2"], "label": -1}


def rated(*ratings: int | None, finish: str = "found_error", **flags: bool) -> dict[str, Any]:
    """A row of three written steps; the first ones are rated, at the last rated one with an alternative."""
    texts = ["I add.", "1 + 1 = 3.", "So 3."]
    steps: list[dict[str, Any]] = [
        {"completions": [{"text": t, "rating": r}]} for t, r in zip(texts, ratings, strict=False)
    ]
    if steps:
        steps[-1]["completions"].insert(0, {"text": "another way", "rating": 1})
    return {
        "is_quality_control_question": flags.get("control", False),
        "is_initial_screening_question": flags.get("screening", False),
        "question": {"problem": "1 + 1?", "pre_generated_steps": texts},
        "label": {"steps": steps, "finish_reason": finish},
    }


def test_processbench_counts_from_0_and_minus_one_is_no_error(tmp_path: Path) -> None:
    task = ProcessBench(file=written(tmp_path / "gsm8k.json", [WRONG, RIGHT], array=True))
    assert [task.given(p).first_error for p in task.problems()] == [0, None]
    assert [(p.id, p.family) for p in task.problems()] == [("gsm8k-0", "gsm8k"), ("gsm8k-1", "gsm8k")]


def test_processbench_reads_one_part_or_all_four_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = FakeHub(monkeypatch, tmp_path, ProcessBench=[WRONG])
    assert len(ProcessBench(part="math").problems()) == 1
    assert hub.asked == [("Qwen/ProcessBench", "math")]
    with pytest.raises(DataError, match="the id 'gsm8k-0' is there twice"):
        ProcessBench()
    assert [split for _, split in hub.asked[1:]] == list(PARTS)
    with pytest.raises(UsageError, match="part is 'algebra'"):
        ProcessBench(part="algebra")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not both"):
        ProcessBench(file="x", part="math")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": 2}, "the first wrong step is 2, and the solution has 2 steps counted from 0"),
        ({"label": -2}, "the first wrong step is -2"),
        ({"label": None}, "label is null; write -1 where every step is right"),
        ({"label": True}, "the first wrong step is True"),
        ({"steps": []}, "column 'steps' must be a list of steps"),
        ({"problem": " "}, "column 'problem' must be a text"),
    ],
)
def test_wrong_processbench_rows_are_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: ") as caught:
        ProcessBench(file=written(tmp_path / "x.jsonl", [RIGHT, WRONG | change]))
    assert said in str(caught.value)


def test_prm800k_judges_the_solution_as_it_was_written(tmp_path: Path) -> None:
    rows = [rated(0, -1), rated(1, 0, 1, finish="solution")]
    task = Prm800k(file=written(tmp_path / "p.jsonl", rows))
    steps = ("I add.", "1 + 1 = 3.", "So 3.")
    assert [task.given(p) for p in task.problems()] == [Given(steps, 1), Given(steps, None)]
    assert [p.id for p in task.problems()] == ["prm800k-0001", "prm800k-0002"]
    assert task.left_out == 0


def test_prm800k_leaves_out_what_has_no_verdict_and_what_checked_labellers(tmp_path: Path) -> None:
    rows = [
        rated(0, -1),
        rated(1, finish="give_up"),
        rated(1, None, finish="give_up"),
        rated(1, 1, finish="solution"),  # the last step is not rated
        rated(1, 1, 1, finish="bad_problem"),
        rated(finish="bad_problem"),
        rated(0, -1, control=True),
        rated(0, -1, screening=True),
    ]
    file = written(tmp_path / "p.jsonl", rows)
    task = Prm800k(file=file)
    assert [p.id for p in task.problems()] == ["prm800k-0001"]
    assert task.left_out == 7
    checks = Prm800k(file=file, checks=True)
    assert [p.id for p in checks.problems()] == ["prm800k-0001", "prm800k-0007", "prm800k-0008"]
    assert checks.spec == f"prm800k(file={file}, checks=true)"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": {"problem": "q"}, "label": {"steps": []}}, "there are no pre_generated_steps (phase 1?)"),
        ({"question": "q", "label": {}}, "column 'question' must be an object"),
        (rated(0, -1) | {"label": {"steps": None}}, "label.steps must be a list of at most 3 steps"),
        (rated(0, -1) | {"label": {"steps": [{}] * 4}}, "label.steps must be a list of at most 3 steps"),
    ],
)
def test_wrong_prm800k_rows_are_named(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: ") as caught:
        Prm800k(file=written(tmp_path / "p.jsonl", [rated(0, -1), row]))
    assert said in str(caught.value)
    with pytest.raises(DataError, match="no row has a verdict"):
        Prm800k(file=written(tmp_path / "q.jsonl", [rated(finish="give_up")]))


def test_prm800k_is_one_file_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = FakeHub(monkeypatch, tmp_path, PRM800K=[rated(0, -1)])
    assert len(Prm800k().problems()) == 1
    assert hub.asked == [("tasksource/PRM800K", "phase2_test.jsonl", "dataset")]


@needs_data
def test_a_published_row_of_phase_2(tmp_path: Path) -> None:
    with gzip.open(DATA / "prm_samples/samples_prm800k.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in map(json.loads, file) if row["generation"] is not None]
    task = Prm800k(file=written(tmp_path / "p.jsonl", rows), checks=True)
    given = [task.given(p) for p in task.problems()]
    assert [(len(g.steps), g.first_error) for g in given] == [(13, 6), (12, None)]
    assert given[0].steps[:12] == tuple(rows[0]["question"]["pre_generated_steps"][:12])
    assert given[0].steps[12] == "# Answer\n7200"  # without the blank line in it
