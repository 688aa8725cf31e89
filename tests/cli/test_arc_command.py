"""``thence arc`` from the command line: a run is scored task by task, and a task is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thence.cli import run

FLIP = {
    "train": [{"input": [[1, 0]], "output": [[0, 1]]}, {"input": [[2, 3, 0]], "output": [[0, 3, 2]]}],
    "test": [{"input": [[5, 6]], "output": [[6, 5]]}, {"input": [[7, 7, 0]], "output": [[0, 7, 7]]}],
}
ODD = {"train": [{"input": [[1]], "output": [[4, 7, 1, 2]]}], "test": [{"input": [[4]], "output": [[9, 9]]}]}


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "tasks.json").write_text(json.dumps({"flip": FLIP, "odd": ODD}))
    return str(tmp_path / "tasks.json")


def test_a_run_is_scored_written_and_scored_again(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, out = str(tmp_path / "run.db"), tmp_path / "submission.json"
    arguments = ["-m", "arc-dsl(depth=1)", "-s", "self-consistency(n=4)", "--run", db, "--quiet"]
    assert run(["eval", f"arc(file={file}, version=2)", *arguments]) == 0
    capsys.readouterr()
    assert run(["arc", db, "--json", "--write", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    (found,) = document["scores"]
    assert (found["tasks"], found["solved_tasks"], found["attempts"], found["missing"]) == (2, 1, 2, ["odd"])
    assert run(["arc", file, "--submission", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"][0]["by_task"] == found["by_task"] == {"flip": 1.0, "odd": 0.0}
    assert run(["arc", db]) == 0
    shown = capsys.readouterr().out
    for words in ("tasks solved of 2 (strict)", "1 = 50.0 % [9.5, 90.5]", "at most 2 attempts", "count as 0"):
        assert words in shown
    assert run(["arc", db, "--draw", "flip#2"]) == 0
    shown = capsys.readouterr().out
    assert "attempt 1: right" in shown
    assert "0 7 7" in shown
    assert "test input 1" not in shown
    assert run(["arc", db, "--draw", "flip", "-o", str(tmp_path / "flip.png")]) == 0
    assert (tmp_path / "flip.png").read_bytes()[:4] == b"\x89PNG"


def test_the_tasks_alone_are_described_and_drawn(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["arc", file]) == 0
    assert "tasks with several" in capsys.readouterr().out
    assert run(["arc", f"arc(file={file}, version=2)", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["tasks"], facts["test inputs"], facts["attempts"], facts["references"]) == (2, 3, 2, True)
    assert run(["arc", file, "--draw", "odd"]) == 0
    assert "right output" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["FILE", "--draw", "flop"], 2, "did you mean flip"),
        (["FILE", "--draw", "flip#3"], 2, "did you mean"),
        (["FILE", "-o", "x.png"], 2, "say which with --draw ID"),
        (["FILE", "--write", "x.json"], 2, "needs the attempts of one run"),
        (["FILE", "--submission", "FILE"], 1, "must be a list with one object of attempts"),
        (["absent.json"], 2, "there is no file"),
        (["absent.db"], 1, "absent.db"),
    ],
)
def test_wrong_calls_are_one_line(
    file: str, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["arc", *(file if a == "FILE" else a for a in arguments)]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_run_of_another_task_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "1 + 1?", "answer": "2"}\n')
    db = str(tmp_path / "run.db")
    task = f"jsonl(file={tmp_path / 'q.jsonl'})"
    assert run(["eval", task, "-m", "arc-dsl", "-s", "greedy", "--run", db, "--quiet"]) == 1
    capsys.readouterr()
    assert run(["arc", db]) == 2
    assert "not of arc" in capsys.readouterr().err
