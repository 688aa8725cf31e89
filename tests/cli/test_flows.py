"""The commands as a user runs them, in processes of their own: resume, interruption, files, exports, variables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
TOOLS = Path(__file__).parents[2] / "tools"
APPLES = "I have 3 apples, my dad has 2 more than me. How many do we have in total?"


def thence(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thence", *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
    )


def test_eval_show_export_and_again(tmp_path: Path) -> None:
    first = thence("eval", "wordproblems", "-s", "self-consistency(n=4)", "--limit", "12", "--json", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    contract = "task model strategy n accuracy interval pass_at maj_at charged spent seconds"
    assert {*contract.split(), "unparsed", "truncated", "failed", "run"} <= set(report)
    assert report["n"] == 12
    assert list(report["pass_at"]) == ["1", "2", "4"]
    assert set(report["charged"]) == {"prompt", "generated", "verifier"}
    assert set(report["spent"]) >= {"prefilled", "reused", "generated", "wasted", "verifier"}
    resumed = json.loads(
        thence("eval", "wordproblems", "-s", "self-consistency(n=4)", "--limit", "12", "--json", cwd=tmp_path).stdout
    )
    assert resumed == report, "a finished run is only read"

    again = json.loads(thence("eval", "--again", report["run"], "--json", cwd=tmp_path).stdout)
    measured = ("run", "seconds", "seconds_per_problem", "spent")
    assert {k: v for k, v in again.items() if k not in measured} == {
        k: v for k, v in report.items() if k not in measured
    }

    shown = json.loads(thence("show", report["run"], "--json", cwd=tmp_path).stdout)
    (problem, *_) = shown["cells"][0]["results"]
    tree = thence("show", report["run"], "--problem", problem, cwd=tmp_path).stdout
    assert "chosen" in tree
    assert "####" in tree
    assert thence("export", report["run"], "-o", "out.jsonl", "--samples", cwd=tmp_path).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(rows) > 12

    other = thence("eval", "wordproblems", "-s", "greedy", "--limit", "12", "--run", report["run"], cwd=tmp_path)
    assert other.returncode == 1
    assert "strategy" in other.stderr
    assert "greedy" in other.stderr


def test_interrupt_finishes_saves_and_resumes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "thence", "eval", "wordproblems", "--limit", "1000", "--run", "k.db"]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "k.db").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "resumes" in errors
    more = thence("eval", "wordproblems", "--limit", "1000", "--run", "k.db", "--dry-run", cwd=tmp_path)
    assert more.returncode == 0
    assert "nothing was run" in more.stdout


def test_three_kills_and_resumes_change_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(TOOLS / "kill_resume.py"), "--kills", "3", "--limit", "24", "--exact"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["same"] is True


def test_questions_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": APPLES}) + "\n")
    done = thence("solve", "q.jsonl", "-o", "out.jsonl", "-s", "self-consistency(n=4)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy is unknown" in done.stderr
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert row["answer"] == "8"


def test_flags_as_variables_and_json_on_stdout(tmp_path: Path) -> None:
    done = thence("solve", APPLES, "--json", cwd=tmp_path, THENCE_STRATEGY="cot-decoding(k=5)", THENCE_SEED="7")
    result = json.loads(done.stdout)
    assert result["strategy"] == "cot-decoding(k=5)"
    assert result["seed"] == 7
    assert result["answer"] == "8"


def test_comparison_extends_in_one_file(tmp_path: Path) -> None:
    base = ("compare", "wordproblems", "greedy @ direct", "self-consistency(n={2,4}) @ cot", "--run", "c.db", "--json")
    small = json.loads(thence(*base, "--limit", "8", cwd=tmp_path).stdout)
    assert [a["n"] for a in small["arms"]] == [8, 8, 8]
    assert (tmp_path / "c.png").exists()
    assert (tmp_path / "c.html").exists()
    more = json.loads(thence(*base, "--limit", "10", "--seeds", "0,1", cwd=tmp_path).stdout)
    assert [a["n"] for a in more["arms"]] == [10, 10, 10]
    refused = thence(*base, "--limit", "10", "--temperature", "0.3", cwd=tmp_path)
    assert refused.returncode == 1
    assert "temperature" in refused.stderr


def test_users_strategy_from_a_file(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "examples" / "two_tries.py"
    done = thence("eval", "wordproblems", "-s", f"{path}:TwoTries", "--limit", "5", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 5


def test_labels_resume_after_a_kill_and_are_the_same(tmp_path: Path) -> None:
    command = ["label", "wordproblems", "--limit", "12", "--method", "omegaprm(k=4, searches=3)"]
    whole = thence(*command, "-o", "whole.jsonl", "--run", "whole.db", "--json", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    facts = json.loads(whole.stdout)
    rows = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text().splitlines()]
    assert facts["problems"] == 12
    assert facts["solutions"] == len(rows) > 0
    assert all(row["correct"] is False and len(row["labels"]) == len(row["ends"]) for row in rows)
    assert any(label["source"] == "rollouts" for row in rows for step in row["labels"] for label in step)

    broken = [sys.executable, "-m", "thence", *command, "-o", "broken.jsonl", "--run", "broken.db", "-q"]
    process = subprocess.Popen(broken, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    file, deadline = tmp_path / "broken.db", time.monotonic() + 60
    while not file.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.kill()
    process.wait()
    again = thence(*command, "-o", "broken.jsonl", "--run", "broken.db", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    measured = ("labels", "run")
    assert {k: v for k, v in json.loads(again.stdout).items() if k not in measured} == {
        k: v for k, v in facts.items() if k not in measured
    }
    assert (tmp_path / "broken.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_labels_need_references_and_a_known_method(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"question": "What is 7 + 8?"}\n')
    without = thence("label", "mine.jsonl", "-o", "x.jsonl", cwd=tmp_path)
    assert without.returncode == 2
    assert "no references" in without.stderr
    unknown = thence("label", "wordproblems", "-o", "x.jsonl", "--method", "omegaprn", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "did you mean omegaprm" in unknown.stderr
    assert not (tmp_path / "x.jsonl").exists()


def test_a_search_by_steps_reports_how_its_texts_divide(tmp_path: Path) -> None:
    """The segmenter is detected from whole solutions, not from the steps that a search keeps apart."""
    beam = "beam(n=4, width=2, verifier=data-flow)"
    report = json.loads(thence("eval", "wordproblems", "-s", beam, "--limit", "8", "--json", cwd=tmp_path).stdout)
    whole = json.loads(thence("eval", "wordproblems", "-s", "greedy", "--limit", "8", "--json", cwd=tmp_path).stdout)
    assert report["segmenter"] == whole["segmenter"] == "line"
    assert report["charged"]["prompt"] == whole["charged"]["prompt"], "a step pays for no prefix again"
    assert report["spent"]["generated"] == report["charged"]["generated"]
