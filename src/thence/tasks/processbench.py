"""ProcessBench: solutions of mathematics problems with the first wrong step marked by experts.

Zheng et al. 2024 (arXiv:2412.06559): four parts (gsm8k 400, math, olympiadbench and omnimath 1,000 each), solutions of
twelve models. The published index counts paragraphs from 0, -1 where every step is right. The paper reports, per part,
the F1 of two accuracies: on wrong and on right solutions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem

from .first_error import FirstErrorTask, Given, read_index, read_steps, read_text
from .hub import Hub, published

PARTS = ("gsm8k", "math", "olympiadbench", "omnimath")
Part = Literal["gsm8k", "math", "olympiadbench", "omnimath"]


class ProcessBench(FirstErrorTask):
    """``file`` is one of the published .json files; without it the hub's ``part`` is read (all four if left out)."""

    name = "processbench"

    def __init__(self, file: str | None = None, part: Part | None = None) -> None:
        if part is not None and part not in PARTS:
            raise UsageError(f"{self.name}: part is {part!r}; it must be one of {', '.join(PARTS)}")
        if file and part:
            raise UsageError(f"{self.name}: give file= or part=, not both; a file is one part")
        rows = published(self.name, file, *(Hub("Qwen/ProcessBench", p) for p in PARTS if part in (None, p)))
        rows.need("id", "problem", "steps", "label")
        items, seen = [], set[str]()
        for row in rows.rows:
            where = rows.at(row)
            steps = read_steps(row, "steps", where)
            label = row.fields.get("label")
            error = read_index(None if label == -1 else _known(label, where), steps, where, base=0)
            name = read_text(row, "id", where)
            if name in seen:
                raise DataError(f"{where}: the id {name!r} is there twice; ids must differ")
            seen.add(name)
            kind = name.rpartition("-")[0] or (Path(file).name.split(".")[0] if file else "")
            items.append((Problem(name, read_text(row, "problem", where), kind), Given(steps, error)))
        super().__init__({"file": file, "part": part}, items)


def _known(label: object, where: str) -> object:
    """``label``; DataError for null, which is not this format's mark of a right solution."""
    if label is None:
        raise DataError(
            f"{where}: label is null; write -1 where every step is right, else the index of the first wrong"
        )
    return label


__all__ = ["PARTS", "ProcessBench"]
