"""Exports hold what the run holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from thence.core.completion import Completion, Failure, Finish
from thence.core.errors import DataError, StoreError, UsageError
from thence.stores.export import export
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.tasks.jsonl import Jsonl

RECORD = {"answer": "7", "verdict": "correct", "charged": {"prompt": 3, "generated": None, "verifier": 0}}
TEXT = "7 \ud800 is it"  # a lone surrogate, as servers send them


@pytest.fixture
def run(tmp_path: Path) -> RunView:
    with RunFile.open(tmp_path / "run.db", {"seed": 0}) as file:
        file.put("k", "h", Completion.of(TEXT, Finish.EOS, ids=(1, 2), generated=2))
        for cell in (Cell("a", 0, None), Cell("a", 1, 500)):
            file.put_result(cell, "p", RECORD, [{"text": "7"}])
        file.put_failure(Cell("a", 0, None), "q", Failure("timeout", "slow"))
    return RunView(tmp_path / "run.db")


def test_jsonl_round_trip(run: RunView, tmp_path: Path) -> None:
    assert export(run, tmp_path / "out.jsonl", samples=True, trees=True) == [tmp_path / "out.jsonl"]
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [r["kind"] for r in rows] == ["header", "result", "result", "failure", "sample"]
    assert rows[1] == {
        "kind": "result", "arm": "a", "seed": 0, "budget": None, "problem": "p", **RECORD, "tree": [{"text": "7"}]
    }  # fmt: skip
    assert rows[2]["budget"] == 500
    assert rows[3]["problem"] == "q"
    assert rows[4]["text"] == TEXT
    assert rows[4]["ids"] == [1, 2]


def test_parquet_round_trip(run: RunView, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    files = export(run, tmp_path / "out.parquet", samples=True, trees=True)
    assert [f.name for f in files] == ["out.parquet", "out.samples.parquet"]
    table = parquet.read_table(files[0])
    rows = table.to_pylist()
    assert [r["budget"] for r in rows] == [None, 500]
    assert json.loads(rows[0]["charged"]) == RECORD["charged"]
    assert json.loads(rows[0]["tree"]) == [{"text": "7"}]
    assert json.loads(table.schema.metadata[b"thence"]) == {"seed": 0}
    (sample,) = parquet.read_table(files[1]).to_pylist()
    assert sample["text"] == "7 ? is it"
    assert sample["ids"] == [1, 2]


def test_the_header_keeps_its_place_and_the_commands_name(tmp_path: Path) -> None:
    with RunFile.open(tmp_path / "eval.db", {"kind": "eval", "task": "gsm8k"}):
        pass
    export(RunView(tmp_path / "eval.db"), tmp_path / "out.jsonl")
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert row == {"kind": "header", "command": "eval", "task": "gsm8k"}


def test_texts_come_from_the_task(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": "p", "question": "3 + 4?", "answer": "7"}\n')
    task = Jsonl(file=str(tmp_path / "t.jsonl"), id="id")
    node = {"parent": 0, "kind": "finish", "origin": "sampled", "role": "policy", "draws": [[0]]}
    said = {**node, "text": "<think>3</think>It is 7.", "reply_at": 16, "finish": "eos", "tokens": 4}
    with RunFile.open(tmp_path / "run.db", {"task": task.spec}) as file:
        file.put_result(Cell(), "p", {**RECORD, "node": 1}, [said])
        file.put_result(Cell(seed=1), "gone", {**RECORD, "node": 1}, [said])
    run = RunView(tmp_path / "run.db")
    with pytest.raises(DataError, match="problem 'gone' is not in its task as it is now"):
        export(run, tmp_path / "out.jsonl", task=task)
    with RunFile.open(tmp_path / "whole.db", {"task": task.spec}) as file:
        file.put_result(Cell(), "p", {**RECORD, "node": 1}, [said])
    export(RunView(tmp_path / "whole.db"), tmp_path / "out.jsonl", task=task)
    row = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1])
    assert (row["question"], row["reference"], row["text"]) == ("3 + 4?", "7", "It is 7.")
    assert "tree" not in row


def test_parquet_columns_have_one_type_whatever_a_run_holds(tmp_path: Path) -> None:
    """A run without notes, budgets or samples, and one with: the tables can be put one below the other."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    empty = {"stopped": None, "confidence": None, "notes": [], "draws": [], "votes": []}
    full = {"stopped": "budget", "confidence": 1, "notes": ["\ud800"], "draws": [["7", 2, 1]], "votes": [["7", 2, 2.0]]}
    tables = []
    for name, records in {"empty": [empty, empty], "mixed": [empty, full]}.items():
        with RunFile.open(tmp_path / f"{name}.db", {}) as file:
            for i, record in enumerate(records):
                file.put_result(Cell("a", i, None if record is empty else 500), "p", record, [])
        (out,) = export(RunView(tmp_path / f"{name}.db"), tmp_path / f"{name}.parquet")
        tables.append(parquet.read_table(out).replace_schema_metadata(None))
    assert tables[0].schema == tables[1].schema
    rows = pyarrow.concat_tables(tables).to_pylist()
    assert [r["notes"] for r in rows] == [[], [], [], ["?"]]
    assert [json.loads(r["draws"]) for r in rows] == [[], [], [], [["7", 2, 1]]]


def test_errors_say_what_to_do(run: RunView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"must end in \.jsonl, \.parquet or \.json"):
        export(run, tmp_path / "out.csv")
    (tmp_path / "taken.jsonl").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        export(run, tmp_path / "taken.jsonl")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pip install"):
        export(run, tmp_path / "out.parquet")
