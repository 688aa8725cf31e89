"""Exports hold what the run holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from thence.core.completion import Completion, Failure, Finish
from thence.core.errors import StoreError, UsageError
from thence.stores.export import export
from thence.stores.sqlite import Cell, RunFile, RunView

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


def test_errors_say_what_to_do(run: RunView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"must end in \.jsonl or \.parquet"):
        export(run, tmp_path / "out.csv")
    (tmp_path / "taken.jsonl").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        export(run, tmp_path / "taken.jsonl")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pip install"):
        export(run, tmp_path / "out.parquet")
