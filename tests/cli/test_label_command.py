"""``thence label``: critiques, and solutions that come out of run files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from thence import api
from thence.cli import run
from thence.core.label_files import read_labels
from thence.core.protocols import Generator
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.methods import ModelOptions

QUESTIONS = {f"What is {i} + 8?": str(i + 8) for i in range(4)}


def solver() -> ScriptedGenerator:
    """Every other sample is wrong."""
    said = {q: [(f"{q[8]} + 8 = {a}\n#### {a}", 1.0), (f"{q[8]} + 8 = 99\n#### 99", 1.0)] for q, a in QUESTIONS.items()}
    return ScriptedGenerator(texts=said, name="solver", pace=0)


def critic(cue: Cue) -> str:
    return "No problems found." if "nothing is wrong" in cue.question else "That sum is wrong."


def contrary(cue: Cue) -> str:
    return "That sum is wrong." if "nothing is wrong" in cue.question else "No problems found."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task file, and models by name instead of loaded ones."""

    def load(model: str = "acorn", options: ModelOptions | None = None) -> Generator:
        made = {"acorn": solver, "good": lambda: ScriptedGenerator(critic, name="good", pace=0)}
        made["bad"] = lambda: ScriptedGenerator(contrary, name="bad", pace=0)
        return made[model]()

    monkeypatch.setattr(api, "load", load)
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps({"id": f"q{i}", "question": q, "answer": a}) for i, (q, a) in enumerate(QUESTIONS.items())]
    (tmp_path / "task.jsonl").write_text("\n".join(rows))
    return tmp_path


TASK = "jsonl(file=task.jsonl, id=id)"
LABEL = ["label", TASK, "--method", "diverse(solutions=6)", "--temperature", "1", "--json", "-q"]


def test_critiques_are_written_and_counted(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*LABEL, "-o", "good.jsonl", "--critiques", "2", "--role", "critic=good"]) == 0
    shown = capfd.readouterr()
    facts = json.loads(shown.out)
    records = read_labels(folder / "good.jsonl")
    assert facts["with_a_critique"] == facts["solutions"] == len(records)
    assert facts["critiques_dropped"] == 0
    assert {(r.correct, r.extra["critique"]) for r in records} == {
        (True, "No problems found."),
        (False, "That sum is wrong."),
    }
    assert {r.extra["criticised"]["critic"] for r in records} == {"scripted:good"}
    assert "agrees with what is known" not in shown.err

    assert run([*LABEL, "-o", "plain.jsonl"]) == 0
    assert "with_a_critique" not in json.loads(capfd.readouterr().out)
    assert [r.labels for r in read_labels(folder / "plain.jsonl")] == [r.labels for r in records]


def test_a_critic_that_is_always_wrong_leaves_labels_a_count_and_a_warning(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*LABEL, "-o", "bad.jsonl", "--critiques", "3", "--role", "critic=bad"]) == 0
    shown = capfd.readouterr()
    facts = json.loads(shown.out)
    assert (facts["with_a_critique"], facts["critiques_dropped"]) == (0, 3 * facts["solutions"])
    assert f"none of {3 * facts['solutions']} critiques agrees" in " ".join(shown.err.split())
    assert not any("critique" in r.extra for r in read_labels(folder / "bad.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--critiques", "2", "--by-hand"], "leave --by-hand and --from out"),
        (["--critiques", "2", "--from", "task.jsonl"], "leave --by-hand and --from out"),
        (["--critiques", "0"], "tries"),
        (["--role", "critic=good"], "it needs --critiques N"),
        (["--critiques", "2", "--role", "judge=good"], "labelling has one other part"),
    ],
)
def test_mistakes_are_one_clear_line(
    arguments: list[str], said: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*LABEL, "-o", "x.jsonl", *arguments]) == 2
    error = " ".join(capfd.readouterr().err.split())
    assert said in error
    assert "Traceback" not in error
    assert not (folder / "x.jsonl").exists()


def test_a_runs_solutions_are_converted_and_rated(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    solve = ["eval", TASK, "-s", "self-consistency(n=6)", "--temperature", "1", "--run", "runs", "--json", "-q"]
    assert run(solve) == 0
    assert run(["label", "--from", "runs", "-o", "own.jsonl"]) == 0
    records = read_labels(folder / "own.jsonl")
    assert f"{len(records)} solutions of runs written to own.jsonl as thence" in capfd.readouterr().out
    assert {r.extra["question"] for r in records} == set(QUESTIONS)
    assert sum(r.extra["draws"] for r in records) == 24
    assert all(r.correct is (r.extra["answer"] == QUESTIONS[str(r.extra["question"])]) for r in records)
    assert {r.correct for r in records} == {True, False}

    assert run(["label", "--from", "runs", "-o", "rows.jsonl", "--format", "prm800k", "--limit", "2"]) == 0
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert len({row["question"]["problem"] for row in rows}) == 2
    assert {c["rating"] for row in rows for s in row["label"]["steps"] for c in s["completions"]} == {None}

    keys = iter("+-q")
    monkeypatch.setattr("thence.cli.label.read_key", lambda: next(keys))
    assert run(["label", "--by-hand", "--from", "runs", "-o", "rated.jsonl", "--labeler", "me"]) == 0
    assert "2 solutions rated in rated.jsonl" in capfd.readouterr().out

    assert run(["label", TASK, "--from", "runs", "-o", "named.jsonl"]) == 0  # the task may also be named
    assert read_labels(folder / "named.jsonl") == records


def test_a_labelling_runs_own_records_come_out_again(folder: Path) -> None:
    assert run([*LABEL, "-o", "first.jsonl", "--run", "l.db"]) == 0
    assert run(["label", "--from", "l.db", "-o", "second.jsonl"]) == 0
    key = str
    assert sorted(map(key, read_labels(folder / "second.jsonl"))) == sorted(
        map(key, read_labels(folder / "first.jsonl"))
    )


def test_run_files_that_cannot_be_used_are_clear_errors(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    solve = ["eval", TASK, "-s", "self-consistency(n=2)", "--temperature", "1", "--run", "r.db", "--json", "-q"]
    assert run(solve) == 0
    (folder / "other.jsonl").write_text('{"id": "a", "question": "What is 1 + 1?", "answer": "2"}\n')
    assert run(["label", "jsonl(file=other.jsonl, id=id)", "--from", "r.db", "-o", "x.jsonl"]) == 1
    assert "holds no whole solution of the 1 problems" in " ".join(capfd.readouterr().err.split())
    with sqlite3.connect(folder / "foreign.db") as database:
        database.execute("CREATE TABLE t (x)")
    assert run(["label", "--from", "foreign.db", "-o", "x.jsonl"]) == 1
    assert "no thence run" in " ".join(capfd.readouterr().err.split())
    (folder / "task.jsonl").unlink()
    assert run(["label", "--from", "r.db", "-o", "x.jsonl"]) != 0
    assert "task.jsonl" in capfd.readouterr().err
    assert not (folder / "x.jsonl").exists()
