"""ARC-AGI-1 and -2 (Chollet 2019, arXiv:1911.01547; 2025, arXiv:2505.11831): find the rule, draw the grid.

Each **test input** is one problem (``0520fde7#1``), so that every strategy works on it as on any other question. Its
grade is exact: same shape, same colours. ``thence eval`` therefore reports the share of test inputs whose one chosen
answer is right. The published score is another one: a **task** counts, with several test inputs and up to 3 (version
1) or 2 (version 2) attempts each, and tasks without an attempt stay in the denominator. ``thence arc RUN`` computes it
from the same run, see ``evals.arc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from thence.core.answers import Grade
from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.core.seeds import digest
from thence.grading.grids import Cells, Grid, GridReading, grade_grid, write_grid
from thence.tasks.spec import write_spec

from .files import ArcTask, read_tasks
from .prompt import write_question

ATTEMPTS = {1: 3, 2: 2}


class Arc:
    """ARC-AGI from the published JSON: ``file`` is a file or a folder, ``split`` a part of a folder.

    ``version`` decides the attempts per test input (3 or 2), ``pairs`` how a task with several test inputs counts: only
    if all are right (``strict``), or by the share that is (``mean``). ``cells`` is how grids are written in the
    question.
    """

    name = "arc"
    default_prompt = "bare"

    def __init__(
        self,
        file: str,
        version: Literal[1, 2] = 1,
        split: str | None = None,
        pairs: Literal["strict", "mean"] = "strict",
        cells: Cells = "space",
    ) -> None:
        if version not in ATTEMPTS:
            raise UsageError(f"arc: version is {version}; it must be 1 or 2")
        if pairs not in ("strict", "mean"):
            raise UsageError(f"arc: pairs is {pairs!r}; it must be strict or mean")
        self.version, self.pairs, self._cells = version, pairs, cells
        self._arguments = {
            "file": file,
            "version": version if version != 1 else None,
            "split": split,
            "pairs": pairs if pairs != "strict" else None,
            "cells": cells if cells != "space" else None,
        }
        self.tasks: tuple[ArcTask, ...] = tuple(read_tasks(file, split))
        ids = [task.id for task in self.tasks]
        if len(set(ids)) < len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise DataError(f"arc: {file}: the task {twice} is there twice (x.json and x.json.gz?); keep one")
        self._places = {f"{t.id}#{k}": (t, k - 1) for t in self.tasks for k in range(1, len(t.inputs) + 1)}
        self._problems = tuple(
            Problem(name, write_question(task.train, task.inputs[k], cells), "grids")
            for name, (task, k) in self._places.items()
        )

    @property
    def spec(self) -> str:
        """The task as it is written on the command line."""
        return write_spec(self.name, self._arguments)

    @property
    def reading(self) -> GridReading:
        """The last grid of a reply."""
        return GridReading()

    @property
    def has_references(self) -> bool:
        """Whether test outputs are there (a competition's test split has none)."""
        return self.tasks[0].outputs is not None

    @property
    def attempts(self) -> int:
        """Attempts per test input: 3 for version 1, 2 for version 2."""
        return ATTEMPTS[self.version]

    @property
    def data_hash(self) -> str:
        """Hash of all questions with their references: other data is another run."""
        return digest([(p.id, p.hash, self._truth(p.id) if self.has_references else None) for p in self._problems])

    def problems(self) -> Sequence[Problem]:
        """One problem per test input, in the file's order."""
        return self._problems

    def reference(self, problem: Problem) -> str | None:
        """The test output as an array of rows, ``[[0, 1], [2, 3]]``; None where the file has none."""
        return write_grid(self._truth(problem.id), "json") if self.has_references else None

    def _truth(self, problem: str) -> Grid:
        task, k = self._places[problem]
        if task.outputs is None:
            raise UsageError("arc: this file has no test outputs, so nothing can be graded; add the solutions")
        return task.outputs[k]

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """Exact equality with the test output; the reason says in what a wrong grid differs."""
        return grade_grid(self._truth(problem.id), answer)

    def check_references(self) -> list[tuple[str, str]]:
        """Test outputs that are not graded correct when a reply writes them in the question's own form."""
        wrong = []
        for problem in self._problems if self.has_references else ():
            reply = f"The output:\n\n{write_grid(self._truth(problem.id), self._cells)}\n"
            found = self.reading.extract(reply)
            graded = self.grade(problem, reply, None if found is None else found.value)
            if not graded.correct:
                wrong.append((problem.id, graded.reason))
        return wrong


__all__ = ["ATTEMPTS", "Arc"]
