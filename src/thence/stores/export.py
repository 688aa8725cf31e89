"""A run file as JSONL or Parquet, for other tools. Trees and log-probabilities are included only when asked for.

JSONL: one object per line with its ``kind``: header, result, failure or sample. Parquet: one file for the results and,
with samples, a second one beside it (``NAME.samples.parquet``), as a table has one set of columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from thence.core.errors import StoreError, UsageError

from .sqlite import Record, RunView


def export(run: RunView, out: Path, *, samples: bool = False, trees: bool = False) -> list[Path]:
    """Write ``run`` to ``out`` (``.jsonl`` or ``.parquet``); returns the files written."""
    kind = out.suffix.lower()
    if kind not in (".jsonl", ".parquet"):
        raise UsageError(f"cannot export to {str(out)!r}; the name must end in .jsonl or .parquet")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".jsonl":
            with out.open("w", encoding="utf-8") as file:
                write_jsonl(run, file, samples=samples, trees=trees)
            return [out]
        return _write_parquet(run, out, samples=samples, trees=trees)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{out}: cannot be written ({error.strerror or error})") from error


def write_jsonl(run: RunView, file: TextIO, *, samples: bool = False, trees: bool = False) -> None:
    """Header, results, failures and, if asked for, samples, one JSON object per line."""
    file.writelines(json.dumps(row) + "\n" for row in _rows(run, samples=samples, trees=trees))


def _rows(run: RunView, *, samples: bool, trees: bool) -> Iterator[Record]:
    yield {"kind": "header", **run.header}
    for row in _result_rows(run, trees=trees):
        yield {"kind": "result", **row}
    for cell in run.cells():
        for problem, failure in run.failures(cell).items():
            where = {"arm": cell.arm, "seed": cell.seed, "budget": cell.budget, "problem": problem}
            yield {"kind": "failure", **where, "failure": failure.kind, "message": failure.message}
    if samples:
        for row in _sample_rows(run):
            yield {"kind": "sample", **row}


def _result_rows(run: RunView, *, trees: bool) -> Iterator[Record]:
    for cell in run.cells():
        for problem, record in run.results(cell).items():
            row: Record = {"arm": cell.arm, "seed": cell.seed, "budget": cell.budget, "problem": problem, **record}
            if trees:
                row["tree"] = run.tree(cell, problem)
            yield row


def _sample_rows(run: RunView) -> Iterator[Record]:
    for key, problem, c in run.samples():
        yield {
            "key": key,
            "problem": problem,
            "text": c.text,
            "thought": c.thought,
            "reply": c.reply,
            "finish": str(c.finish),
            "generated": c.generated,
            "prompt_tokens": c.prompt_tokens,
            "ids": c.ids,
            "logprobs": c.logprobs,
        }


def _write_parquet(run: RunView, out: Path, *, samples: bool, trees: bool) -> list[Path]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError('Parquet needs pyarrow: pip install "thence[parquet]" (JSONL needs nothing)') from error

    header = {b"thence": json.dumps(run.header).encode()}

    def write(rows: list[Record], path: Path) -> Path:
        table = pyarrow.Table.from_pylist([_flat(row) for row in rows])
        parquet.write_table(table.replace_schema_metadata(header), path)
        return path

    written = [write(list(_result_rows(run, trees=trees)), out)]
    if samples:
        rows = list(_sample_rows(run))
        written.append(write(rows, out.with_name(out.stem + ".samples.parquet")))
    return written


def _flat(row: Record) -> dict[str, Any]:
    """Columns of one type each: nested objects become JSON text; text without lone surrogates, which Parquet lacks."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict | list) for v in value)):
            flat[name] = json.dumps(value)
        elif isinstance(value, str):
            flat[name] = value.encode("utf-8", "replace").decode()
        else:
            flat[name] = value
    return flat
