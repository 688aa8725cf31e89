"""``thence grade --self-check TASK``: a task's references against themselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from thence import methods
from thence.core.clean import one_line
from thence.core.errors import ThenceError

from .present import out, print_json, table


def check_references(specs: Sequence[str], json: bool) -> int:
    """Grade the references of tasks against themselves; 1 when one fails."""
    rows: list[dict[str, Any]] = []
    for spec in specs:
        if spec == "all":
            with _offline():
                rows += [_checked(name, skip=True) for name in methods.named("task")]
        else:
            rows.append(_checked(spec, skip=False))
    if json:
        print_json({"tasks": rows})
    else:
        cells = [
            [str(r["task"]), str(r["references"]), str(len(r["failed"])), _short(r["skipped"] or _examples(r))]
            for r in rows
        ]
        out.print(table("", ["task", "references", "failed", "which, or why not checked"], cells, right=(1, 2)))
    return 1 if any(r["failed"] for r in rows) else 0


def _checked(spec: str, *, skip: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"task": spec, "references": 0, "failed": [], "skipped": ""}
    try:
        task = methods.task(spec)
        if not task.has_references:
            row["skipped"] = "has no references"
            return row
        row["references"] = len(task.problems())
        row["failed"] = [{"problem": problem, "reason": why} for problem, why in task.check_references()]
    except ThenceError as error:
        if not skip:
            raise
        row["skipped"] = f"not checked: {error}"
    return row


def _short(text: str, limit: int = 72) -> str:
    line = one_line(text)
    return line if len(line) <= limit else line[:limit] + "…"


def _examples(row: dict[str, Any]) -> str:
    return "; ".join(f"{f['problem']}: {f['reason']}" for f in row["failed"][:3])


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """``all`` reads what lies here; it downloads nothing."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before
