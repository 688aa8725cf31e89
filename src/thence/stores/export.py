"""A run file as JSONL or Parquet, for other tools. Trees and log-probabilities are included only when asked for.

JSONL: one object per line with its ``kind``: header, result, failure or sample. Parquet: one file for the results and,
with samples, a second one beside it (``NAME.samples.parquet``), as a table has one set of columns; the ``datasets``
library loads them as they are. A run file holds neither questions nor references: given its task, each result also has
``question``, ``reference`` and the chosen ``text``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from thence.core.errors import DataError, StoreError, UsageError
from thence.core.problem import Problem
from thence.core.protocols import NamesReferences, Task
from thence.core.tree import Tree

from .sqlite import Record, RunView


def export(
    run: RunView, out: Path, *, samples: bool = False, trees: bool = False, task: Task | None = None
) -> list[Path]:
    """Write ``run`` to ``out`` (``.jsonl`` or ``.parquet``), with the texts of ``task``; returns the files written."""
    kind = out.suffix.lower()
    if kind not in (".jsonl", ".parquet"):
        raise UsageError(f"cannot export to {str(out)!r}; the name must end in .jsonl, .parquet or .json")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".jsonl":
            with out.open("w", encoding="utf-8") as file:
                write_jsonl(run, file, samples=samples, trees=trees, task=task)
            return [out]
        return _write_parquet(run, out, samples=samples, trees=trees, task=task)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{out}: cannot be written ({error.strerror or error})") from error


def write_jsonl(
    run: RunView, file: TextIO, *, samples: bool = False, trees: bool = False, task: Task | None = None
) -> None:
    """Header, results, failures and, if asked for, samples, one JSON object per line."""
    file.writelines(json.dumps(row) + "\n" for row in _rows(run, samples=samples, trees=trees, task=task))


def _rows(run: RunView, *, samples: bool, trees: bool, task: Task | None) -> Iterator[Record]:
    yield {"kind": "header", **{"command" if name == "kind" else name: v for name, v in run.header.items()}}
    for row in _result_rows(run, trees=trees, task=task):
        yield {"kind": "result", **row}
    for cell in run.cells():
        for problem, failure in run.failures(cell).items():
            where = {"arm": cell.arm, "seed": cell.seed, "budget": cell.budget, "problem": problem}
            yield {"kind": "failure", **where, "failure": failure.kind, "message": failure.message}
    if samples:
        for row in _sample_rows(run):
            yield {"kind": "sample", **row}


def _result_rows(run: RunView, *, trees: bool, task: Task | None) -> Iterator[Record]:
    problems = {} if task is None else {problem.id: problem for problem in task.problems()}
    for cell in run.cells():
        for problem, record in run.results(cell).items():
            row: Record = {"arm": cell.arm, "seed": cell.seed, "budget": cell.budget, "problem": problem, **record}
            if trees or task is not None:
                row["tree"] = run.tree(cell, problem)
            if task is not None:
                row |= _texts(row, task, problems.get(problem), run)
            if not trees:
                row.pop("tree", None)
            yield row


def _texts(row: Record, task: Task, problem: Problem | None, run: RunView) -> Record:
    asked = asked_in(row, problem, str(run.path))
    return {"question": asked.text, "reference": reference_of(task, asked), "text": chosen_text(row)}


def asked_in(row: Mapping[str, Any], problem: Problem | None, what: str) -> Problem:
    """``problem``, if ``row`` is about it; DataError (begun with ``what``) when the task is another one by now."""
    if problem is None or problem.hash != row.get("hash", problem.hash):
        raise DataError(
            f"{what}: problem {row['problem']!r} is not in its task as it is now; name the task that the run was "
            "made on with --task"
        )
    return problem


def reference_of(task: Task, problem: Problem) -> str | None:
    """A problem's reference, where the task can show it."""
    return task.reference(problem) if isinstance(task, NamesReferences) else None


def chosen_text(record: Mapping[str, Any]) -> str:
    """The reply that a result's record chose, from its tree; empty without a tree."""
    if record.get("node") is None or not record.get("tree"):
        return ""
    tree = Tree.from_record(record["tree"])
    node = tree.nodes[record["node"]]
    return tree.solution(node)[tree.reply_at(node) :]


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


_TYPES = {  # of columns that may be empty throughout, so that the tables of several runs fit together
    "int64": ("seed", "budget", "node", "session", "generated", "prompt_tokens"),
    "float64": ("confidence", "seconds", "elapsed"),
    "string": ("arm", "answer", "stopped", "key", "verdict", "reason", "question", "reference", "text", "thought"),
    "bool": ("truncated",),
    "texts": ("notes",),
    "ints": ("ids",),
    "floats": ("logprobs",),
}
_AS_JSON = frozenset(("votes", "charged", "spent", "finishes", "draws", "tree"))


def _write_parquet(run: RunView, out: Path, *, samples: bool, trees: bool, task: Task | None) -> list[Path]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError('Parquet needs pyarrow: pip install "thence[parquet]" (JSONL needs nothing)') from error

    header = {b"thence": json.dumps(run.header).encode()}
    lists = {"texts": pyarrow.string(), "ints": pyarrow.int64(), "floats": pyarrow.float64()}
    types = {
        name: pyarrow.list_(lists[kind]) if kind in lists else pyarrow.type_for_alias(kind)
        for kind, names in _TYPES.items()
        for name in names
    }

    def write(rows: list[Record], path: Path) -> Path:
        columns = _columns(rows)
        arrays = {name: pyarrow.array(values, types.get(name)) for name, values in columns.items()}
        parquet.write_table(pyarrow.table(arrays).replace_schema_metadata(header), path)
        return path

    written = [write(list(_result_rows(run, trees=trees, task=task)), out)]
    if samples:
        rows = list(_sample_rows(run))
        written.append(write(rows, out.with_name(out.stem + ".samples.parquet")))
    return written


def _columns(rows: list[Record]) -> dict[str, list[Any]]:
    """Columns of one type each: nested objects become JSON text; text without lone surrogates, which Parquet lacks."""
    columns: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        if name in _AS_JSON or any(map(_nested, values)):
            values = [None if value is None else json.dumps(value) for value in values]
        columns[name] = [_storable(value) for value in values]
    return columns


def _storable(value: Any) -> Any:
    if isinstance(value, list):
        return [_storable(each) for each in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict | list) for v in value))
