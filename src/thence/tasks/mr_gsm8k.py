"""MR-GSM8K: solutions of GSM8K questions (also reversed, also as programs) with the first wrong step marked by people.

Zeng et al. 2023 (arXiv:2312.17080). The published column counts steps from 1; here they count from 0. A row whose
solution is marked right has no wrong step. The set that holds wrong solutions only gives an accuracy, never an F1.
"""

from __future__ import annotations

from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem

from .files import need_column, read_rows
from .first_error import FirstErrorTask, Given, read_index, read_steps, read_text

STEPS = "model_output_steps"
VERDICT = "model_output_solution_correctness"
FIRST = "model_output_solution_first_error_step"


class MrGsm8k(FirstErrorTask):
    """``file`` is the published .json or .jsonl file (gzipped or not); ids are its ``uuid``."""

    name = "mr-gsm8k"

    def __init__(self, file: str | None = None) -> None:
        if not file:
            raise UsageError(f"{self.name} needs file=PATH: the .json or .jsonl file of MR-GSM8K")
        rows = read_rows(file, self.name)
        for column in ("uuid", "question", STEPS, VERDICT, FIRST):
            need_column(rows, column, column, f"{self.name}: {file}")
        items = []
        for row in rows:
            where = f"{self.name}: {file}, {row.where}"
            steps = read_steps(row, STEPS, where)
            verdict = read_text(row, VERDICT, where)
            if verdict not in ("correct", "wrong"):
                raise DataError(f"{where}: {VERDICT} is {verdict!r}; it must be correct or wrong")
            error = read_index(row.fields.get(FIRST), steps, where, base=1) if verdict == "wrong" else None
            if verdict == "wrong" and error is None:
                raise DataError(
                    f"{where}: the solution is marked wrong, and {FIRST} is null; name its first wrong step"
                )
            kind = str(row.fields.get("question_type") or "")
            problem = Problem(read_text(row, "uuid", where), read_text(row, "question", where), kind)
            items.append((problem, Given(steps, error)))
        super().__init__({"file": file}, items)


__all__ = ["MrGsm8k"]
