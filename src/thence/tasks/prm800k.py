"""PRM800K's test split as a first-error task: solutions of GPT-4 on MATH, rated step by step by people.

Lightman et al. 2023 (arXiv:2305.20050), ``phase2_test.jsonl``: the solutions were written before they were rated, and
rating ends at the first error. A rating of -1 is wrong; 0 (neutral) and +1 are not.

What stands to be judged is the solution as the model wrote it, also the steps after the first error; the alternatives
that were rated at that step are left aside. Left out, and counted in ``left_out``: labels that end without a verdict
(the labeller gave up, called the problem bad, or rated no step), and questions that screened or checked labellers
unless ``checks`` is true, because many labellers rated the same solution. Phase 1 rows have no solution of their own
and are refused; read them with ``labels(file=…)``.
"""

from __future__ import annotations

from typing import Any

from thence.core.errors import DataError
from thence.core.problem import Problem

from .files import Row
from .first_error import FirstErrorTask, Given, read_steps, read_text
from .hub import HubFile, published_file

SOURCE = HubFile("tasksource/PRM800K", "phase2_test.jsonl")


class Prm800k(FirstErrorTask):
    """``file`` is phase2_test.jsonl (gzipped or not); without it the hub's copy is read. ``checks`` keeps questions
    that screened or checked labellers."""

    name = "prm800k"

    def __init__(self, file: str | None = None, checks: bool = False) -> None:
        rows = published_file(self.name, file, SOURCE)
        rows.need("question", "label")
        items, self.left_out = [], 0
        for number, row in enumerate(rows.rows, 1):
            where = rows.at(row)
            asked, label = _part(row, "question", where), _part(row, "label", where)
            screened = any(row.fields.get(f"is_{kind}_question") for kind in ("quality_control", "initial_screening"))
            if not asked.get("pre_generated_steps"):
                raise DataError(f"{where}: there are no pre_generated_steps (phase 1?); read it with labels(file=…)")
            question = Row(row.where, asked)
            steps = read_steps(question, "pre_generated_steps", where)
            error = _first_error(label, asked["pre_generated_steps"], where)
            if (screened and not checks) or error == UNKNOWN:
                self.left_out += 1
                continue
            items.append((Problem(f"prm800k-{number:04d}", read_text(question, "problem", where)), Given(steps, error)))
        if not items:
            raise DataError(f"{rows.where}: no row has a verdict; give the published phase2_test.jsonl")
        super().__init__({"file": file, "checks": "true" if checks else None}, items)


UNKNOWN = -1


def _first_error(label: dict[str, Any], written: list[str], where: str) -> int | None:
    """The first step whose own text is rated -1, None if there is none, UNKNOWN where the labelling ended early."""
    rated = label.get("steps")
    if not isinstance(rated, list) or len(rated) > len(written):
        raise DataError(f"{where}: label.steps must be a list of at most {len(written)} steps; check the row")
    for index, (step, text) in enumerate(zip(rated, written, strict=False)):
        texts = (step.get("completions") or []) if isinstance(step, dict) else []
        own = next((c for c in texts if isinstance(c, dict) and c.get("text") == text), None)
        rating = own.get("rating") if own else None
        if rating == -1:
            return index
        if rating not in (0, 1) or isinstance(rating, bool):
            return UNKNOWN
    return None if label.get("finish_reason") == "solution" and len(rated) == len(written) else UNKNOWN


def _part(row: Row, column: str, where: str) -> dict[str, Any]:
    value = row.fields.get(column)
    if not isinstance(value, dict):
        raise DataError(f"{where}: column {column!r} must be an object, as published; check the row")
    return value


__all__ = ["Prm800k"]
