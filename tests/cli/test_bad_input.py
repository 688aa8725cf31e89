"""Bad input gets one clear line that says what to do, the right exit code, and no traceback."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from thence.cli import run

USAGE, FAILED = 2, 1


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = run(arguments)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.out == ""
    return code, captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["solve", ""], USAGE, "the question is empty"),
        (["solve", "   \n"], USAGE, "the question is empty"),
        (["solve", "x" * 100_001], USAGE, "100,001 characters"),
        (["solve", "1+1?", "--model", "hf:/does/not/exist"], FAILED, "/does/not/exist"),
        (["solve", "1+1?", "--model", "gpt"], USAGE, "unknown model 'gpt'"),
        (["solve", "1+1?", "--model", "openai:x"], USAGE, "NAME@URL"),
        (["solve", "1+1?", "--strategy", "self-consistncy(n=4)"], USAGE, "did you mean self-consistency"),
        (["solve", "1+1?", "--strategy", "self-consistency(n=-1)"], USAGE, "n is -1"),
        (["solve", "1+1?", "--strategy", "self-consistency(m=4)"], USAGE, "unknown parameter 'm'"),
        (["solve", "1+1?", "--strategy", "self-consistency(n=four)"], USAGE, "whole number"),
        (["solve", "1+1?", "--strategy", "self-consistency(n=4"], USAGE, "does not end with ')'"),
        (["solve", "1+1?", "--strategy", "self-consistency(n={4,8})"], USAGE, "grid of 2"),
        (["solve", "1+1?", "--strategy", "best-of-n(verifier=prm:PATH)"], USAGE, "has no verifier.json"),
        (["solve", "1+1?", "--prompt", "magic"], USAGE, "unknown prompt style 'magic'"),
        (["solve", "1+1?", "--budget", "many"], USAGE, "write e.g. 800, 1k"),
        (["solve", "1+1?", "--temperature", "-1"], USAGE, "temperature is -1"),
        (["solve", "1+1?", "--top-p", "0"], USAGE, "top-p is 0"),
        (["solve", "1+1?", "--max-tokens", "0"], USAGE, "max-tokens is 0"),
        (["solve", "questions.jsonl"], USAGE, "-o OUT.jsonl"),
        (["eval", "wordproblms"], USAGE, "did you mean wordproblems"),
        (["eval", "wordproblems(level=99)"], USAGE, "level 99"),
        (["eval"], USAGE, "which task?"),
        (["compare", "wordproblems"], USAGE, "which strategies?"),
        (["compare", "wordproblems", "greedy", "--seeds", "a"], USAGE, "whole numbers"),
        (["show", "no-such-run.db"], FAILED, "no such run file"),
        (["eval", "missing.jsonl"], USAGE, "missing.jsonl"),
    ],
)
def test_bad_arguments(
    arguments: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    made, text = refused(arguments, capsys)
    assert said in text, text
    assert made == code


def test_unknown_flag_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = refused(["solve", "1+1?", "--temprature", "1"], capsys)
    assert code == USAGE
    assert "temprature" in text


def test_directory_without_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    (tmp_path / "config.json").write_text("{}")
    code, text = refused(["solve", "1+1?", "--model", f"hf:{tmp_path}"], capsys)
    assert code == FAILED
    assert str(tmp_path) in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"question": "1+1?", "answer": 2}\nnot json\n', "line 2"),
        ('{"text": "1+1?", "answer": 2}\n', "question"),
        ('{"question": "", "answer": 2}\n', "empty"),
        ("", "no"),
    ],
)
def test_bad_task_file(content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(content)
    code, text = refused(["eval", str(file), "--model", "acorn"], capsys)
    assert code in (FAILED, USAGE)
    assert said in text


def test_newer_store_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 9999")
    db.execute("CREATE TABLE header (name TEXT PRIMARY KEY, value TEXT)")
    db.commit()
    db.close()
    code, text = refused(["show", str(path)], capsys)
    assert code == FAILED
    assert "upgrade" in text or "newer" in text


def test_a_text_file_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.db"
    path.write_text("hello " * 1000)
    code, text = refused(["show", str(path)], capsys)
    assert code == FAILED
    assert str(path) in text


def test_json_goes_to_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["methods", "--json"]) == 0
    captured = capsys.readouterr()
    assert {m["name"] for m in json.loads(captured.out)["methods"]} >= {"greedy", "self-consistency", "acorn"}
    assert captured.err == ""
