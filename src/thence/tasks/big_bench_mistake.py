"""BIG-Bench Mistake: step-by-step solutions of PaLM 2 with the first logical mistake marked by people.

Tyen et al. 2023 (arXiv:2311.08516): five tasks of BIG-Bench, 2,186 solutions, also right answers reached by a wrong
step. The published index counts from 0, null where there is no mistake.

Differs from the file: the questions of ``dyck_languages`` and ``word_sorting`` are bare symbols and words, so what is
asked for is written before them.
"""

from __future__ import annotations

from pathlib import Path

from thence.core.errors import UsageError
from thence.core.problem import Problem

from .files import need_column, read_rows
from .first_error import FirstErrorTask, Given, read_index, read_steps, read_text

ASKED = {
    "dyck_languages": "Which brackets close all those that are still open, in order? ",
    "word_sorting": "Sort these words alphabetically: ",
}


class BigBenchMistake(FirstErrorTask):
    """``file`` is one of the published .jsonl files (gzipped or not) or the folder that holds them.

    ``subset`` takes one file of the folder (``word_sorting``). Ids are the subset and the row: ``word_sorting-0001``.
    """

    name = "big-bench-mistake"

    def __init__(self, file: str | None = None, subset: str | None = None) -> None:
        if not file:
            raise UsageError(f"{self.name} needs file=PATH: a .jsonl file of BIG-Bench Mistake, or their folder")
        items = []
        for path in _files(Path(file).expanduser(), subset):
            part = path.name.split(".")[0]
            rows = read_rows(path, self.name)
            for column in ("input", "steps", "mistake_index"):
                need_column(rows, column, column, f"{self.name}: {path}")
            for number, row in enumerate(rows, 1):
                where = f"{self.name}: {path}, {row.where}"
                steps = read_steps(row, "steps", where)
                error = read_index(row.fields.get("mistake_index"), steps, where, base=0)
                question = ASKED.get(part, "") + read_text(row, "input", where)
                items.append((Problem(f"{part}-{number:04d}", question, part), Given(steps, error)))
        super().__init__({"file": file, "subset": subset}, items)


def _files(path: Path, subset: str | None) -> list[Path]:
    """The files to read; UsageError where ``subset`` names none of them."""
    name = BigBenchMistake.name
    found = [path]
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.name.removesuffix(".gz").endswith(".jsonl"))
        if not found:
            raise UsageError(f"{name}: the folder {path} holds no .jsonl file; give the path of one with file=")
    kept = [p for p in found if subset in (None, p.name.split(".")[0])]
    if not kept:
        names = ", ".join(p.name.split(".")[0] for p in found)
        raise UsageError(f"{name}: there is no subset {subset!r} in {path}; there is {names}")
    return kept


__all__ = ["BigBenchMistake"]
