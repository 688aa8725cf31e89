"""A run as inspect_ai logs: every field that its models require, verdicts as its values, and its own reader agrees."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

import pytest

from thence.core.completion import Failure
from thence.core.errors import DataError, StoreError
from thence.stores.inspect_log import inspect_logs, write_inspect
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.tasks.jsonl import Jsonl

VERDICTS = {"a": "correct", "b": "incorrect", "c": "no_answer", "d": "ungradable", "e": "timeout"}
VALUES = {"a": "C", "b": "I", "c": "N", "e": "I"}


@pytest.fixture
def task(tmp_path: Path) -> Jsonl:
    rows = [{"id": name, "question": f"What is {name}?", "answer": name.upper()} for name in "abcdef"]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Jsonl(file=str(tmp_path / "t.jsonl"), id="id")


@pytest.fixture
def run(tmp_path: Path, task: Jsonl) -> RunView:
    header = {"task": task.spec, "model": {"identity": "replay:x"}, "strategy": "greedy", "prompt": {"name": "cot"}}
    hashes = {p.id: p.hash for p in task.problems()}
    with RunFile.open(tmp_path / "run.db", header) as file:
        for cell in (Cell("one", 0), Cell("one", 1), Cell("two", 0)):
            for name, verdict in VERDICTS.items():
                file.put_result(cell, name, record(name, hashes[name], verdict), tree(name))
        file.put_failure(Cell("two", 0), "f", Failure("timeout", "slow"))
    return RunView(tmp_path / "run.db")


def record(name: str, hashed: str, verdict: str) -> dict[str, Any]:
    return {
        "problem": name,
        "hash": hashed,
        "answer": None if verdict == "no_answer" else name,
        "node": 1,
        "truncated": name == "c",
        "verdict": verdict,
        "reason": "",
        "seconds": 0.5,
        "charged": {"prompt": 3, "generated": 4, "verifier": None},
    }


def tree(name: str) -> list[dict[str, Any]]:
    said = {"text": f"<think>hm</think>It is {name}.", "thought": "hm", "reply_at": 17, "finish": "eos", "tokens": 4}
    return [{"parent": 0, "kind": "finish", "origin": "sampled", "role": "policy", "draws": [[0]], **said}]


def test_one_log_per_arm_with_seeds_as_epochs(run: RunView, task: Jsonl) -> None:
    one, two = inspect_logs(run, task)
    assert one["eval"]["config"] == {"epochs": 2}
    assert [s["epoch"] for s in one["samples"]] == [1] * 5 + [2] * 5
    assert one["eval"]["dataset"]["samples"] == 5
    assert two["eval"]["task_args"]["strategy"] == "two"
    assert one["eval"]["eval_id"] != two["eval"]["eval_id"]
    assert two["samples"][-1]["error"]["message"] == "timeout: slow"


def test_samples_have_question_reference_text_and_verdict(run: RunView, task: Jsonl) -> None:
    first, *rest = inspect_logs(run, task)[0]["samples"][:5]
    assert first["input"] == [{"role": "user", "content": "What is a?"}]
    assert first["target"] == "A"
    assert first["output"]["completion"] == "It is a.", "the reply, not the thought"
    assert first["output"]["choices"][0]["stop_reason"] == "stop"
    assert first["model_usage"] == {"replay:x": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}
    assert rest[1]["output"]["choices"][0]["stop_reason"] == "max_tokens"
    values = {s["id"]: s["scores"]["thence"]["value"] for s in (first, *rest)}
    assert math.isnan(values.pop("d")), "what cannot be graded is unscored, not wrong"
    assert values == VALUES


def test_metrics_are_over_what_can_be_graded(run: RunView, task: Jsonl) -> None:
    _, two = inspect_logs(run, task)
    (score,) = two["results"]["scores"]
    assert (two["results"]["total_samples"], two["results"]["completed_samples"]) == (6, 5)
    assert (score["scored_samples"], score["unscored_samples"]) == (4, 1)
    assert score["metrics"]["accuracy"]["value"] == 0.25
    assert score["metrics"]["stderr"]["value"] == pytest.approx(math.sqrt(0.25 / 4))


def test_files_are_json_with_the_fields_that_inspect_requires(run: RunView, task: Jsonl, tmp_path: Path) -> None:
    files = write_inspect(run, tmp_path / "log.json", task)
    assert [f.name for f in files] == ["log.json", "log.2.json"]
    for file in files:
        log = json.loads(file.read_text())
        assert (log["version"], log["status"]) == (2, "success")
        assert {"created", "task", "dataset", "model", "config"} <= log["eval"].keys()
        assert datetime.datetime.fromisoformat(log["eval"]["created"]).tzinfo is not None
        assert all({"id", "epoch", "input", "target"} <= s.keys() for s in log["samples"])


def test_inspects_own_reader_finds_the_same(run: RunView, task: Jsonl, tmp_path: Path) -> None:
    reading = pytest.importorskip("inspect_ai.log")
    for file in write_inspect(run, tmp_path / "log.json", task):
        log = reading.read_eval_log(str(file))
        assert log.results.scores[0].metrics["accuracy"].value == 0.25
        assert next(s.scores["thence"].value for s in log.samples if s.id == "a") == "C"
        assert log.samples[0].output.completion == "It is a."


def test_a_task_that_has_changed_is_refused(run: RunView, tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"id": "a", "question": "What is A?", "answer": "a"}\n')
    with pytest.raises(DataError, match="problem 'a' is not in its task as it is now"):
        inspect_logs(run, Jsonl(file=str(tmp_path / "other.jsonl"), id="id"))


def test_an_empty_run_has_no_log(tmp_path: Path, task: Jsonl) -> None:
    with RunFile.open(tmp_path / "empty.db", {"task": task.spec}):
        pass
    with pytest.raises(StoreError, match="holds no result yet"):
        write_inspect(RunView(tmp_path / "empty.db"), tmp_path / "log.json", task)
