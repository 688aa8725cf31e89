"""What a command writes never destroys a run, labels, or the file that it reads, and bad references stop a run."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from thence.cli import run
from thence.cli.outputs import needs_matplotlib, spared, write_text
from thence.cli.running import checked_task
from thence.core.errors import DataError, StoreError, UsageError

TASK = {"train": [{"input": [[1, 2]], "output": [[1]]}], "test": [{"input": [[1]], "output": [[1]]}]}
TWO = '{"g": "5", "t": "5"}\n{"g": "5", "t": "6"}\n'


def database(path: Path) -> Path:
    with sqlite3.connect(path) as made:
        made.execute("create table t (a)")
    return path


def test_a_run_file_is_never_written_over_and_other_files_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.db is a run file"):
        spared(database(tmp_path / "a.db"))
    other = tmp_path / "old.html"
    other.write_text("old")
    spared(other, tmp_path / "absent.db", None)
    spared(None, other)
    spared(tmp_path / "absent.html", other)


def test_an_input_is_not_written_over_by_any_name(tmp_path: Path) -> None:
    read = tmp_path / "in.jsonl"
    read.write_text("{}")
    (tmp_path / "link.jsonl").symlink_to(read)
    (tmp_path / "sub").mkdir()
    for name in (read, tmp_path / "link.jsonl", tmp_path / "sub" / ".." / "in.jsonl"):
        with pytest.raises(UsageError, match="write the result to another file"):
            spared(name, "no such file", str(read))


@pytest.mark.parametrize(
    "arguments",
    [
        ["grade", "in.jsonl", "--gold", "g", "--text", "t", "--output", "in.jsonl"],
        ["grade", "in.jsonl", "--gold", "g", "--text", "t", "--audit-sample", "100", "--output", "in.jsonl"],
        ["grade", "in.jsonl", "--gold", "g", "--text", "t", "--output", "run.db"],
        ["report", "run.db", "-o", "run.db"],
        ["report", "other.db", "-o", "run.db"],
        ["arc", "tasks.json", "--draw", "x", "-o", "tasks.json"],
        ["arc", "tasks.json", "--draw", "x", "-o", "run.db"],
        ["arc", "run.db", "--write", "run.db"],
        ["arena", "run.db", "other.db", "-o", "other.db"],
        ["export", "run.db", "-o", "run.db"],
        ["show", "run.db", "--problem", "p", "--html", "run.db"],
        ["solve", "in.jsonl", "-o", "in.jsonl"],
        ["label", "--from", "in.jsonl", "-o", "in.jsonl"],
        ["yardstick", "-o", "run.db"],
    ],
)
def test_every_command_refuses_before_it_does_anything(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text(TWO)
    Path("tasks.json").write_text(json.dumps({"x": TASK}))
    database(Path("run.db"))
    database(Path("other.db"))
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "another file" in said.err
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_a_sample_with_labels_is_not_drawn_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text(TWO)
    draw = ["grade", "in.jsonl", "--gold", "g", "--text", "t", "--audit-sample", "2", "--output", "sample.jsonl"]
    assert (run(draw), run(draw)) == (0, 0)  # nothing is lost yet
    sample = Path("sample.jsonl")
    labelled = sample.read_text().replace('"right": null', '"right": false', 1)
    sample.write_text(labelled)
    capsys.readouterr()
    assert run(draw) == 2
    assert "holds 1 labels, which would be lost" in capsys.readouterr().err
    assert sample.read_text() == labelled


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "ä")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"\xc3\xa4"
    with pytest.raises(StoreError, match=r"cannot be written .*choose another place"):
        write_text(tmp_path / "new" / "a.txt" / "b.txt", "x")


def test_a_plot_without_matplotlib_names_the_extra() -> None:
    with pytest.raises(UsageError, match=r"thence\[plot\]"), needs_matplotlib():
        raise ImportError("no matplotlib")


def test_references_that_fail_stop_a_run_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"question": "a", "answer": ""}, {"question": "b", "answer": "7"}]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["eval", "jsonl(file=q.jsonl)", "--strategy", "greedy", "--run", "r.db"]
    assert run(command) == 1
    said = capsys.readouterr().err
    assert "do not grade themselves as correct: 1 (" in said
    assert "0001: the reference is empty" in said
    assert "--bad-references" in said
    assert not Path("r.db").exists()
    with pytest.raises(DataError):
        checked_task("jsonl(file=q.jsonl)")
    assert len(checked_task("jsonl(file=q.jsonl)", bad_references=True).problems()) == 2
    assert "0001: the reference is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["arena", "b.jsonl", "--seed=-1"], "seed is -1"),
        (["arena", "b.jsonl", "--alpha", "2"], "alpha is 2"),
        (["curves", "run.db", "--space", "0"], "space is 0"),
        (["report", "run.db", "--trees=-1"], "trees is -1"),
        (["grade", "run.db", "--gold", "x"], "a run, which has no columns"),
    ],
)
def test_numbers_out_of_range_and_flags_that_do_nothing_are_refused(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    battle = {"model_a": "a", "model_b": "b"}
    rows = [{**battle, "winner": "model_a"}, {**battle, "winner": "model_b"}]
    Path("b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    database(Path("run.db"))
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
