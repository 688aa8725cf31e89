"""Solutions that a run has recorded: to rate them by hand, or to write them in another format.

A run of ``thence label`` holds records, which are taken as they are. Of any other run every whole solution by its model
is taken, chosen or not: the paths that ended, by themselves or with an answer, and were not cut. Equal ones are one. A
run file knows its problems by name and hash; the questions come from the task that it was made with. The outcome is the
run's own verdict where it judged that solution, and for the others what the same task says of them; steps have no
labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thence.core.answers import Verdict
from thence.core.budget import POLICY
from thence.core.errors import DataError
from thence.core.labels import Labelled
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.core.segmenter import Segmenter
from thence.core.tree import SOLUTION, Kind, Node, Tree
from thence.stores.sqlite import Cell, RunView

from .math_shepherd import ends_of

MAGIC = b"SQLite format 3\0"


def is_run(path: Path) -> bool:
    """Whether a file is a database, by its first bytes: run files are, label files are not."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def labels_in(run: RunView) -> list[Labelled]:
    """The records of a run of ``thence label``. DataError if it has none."""
    rows = [row for cell in run.cells() for record in run.results(cell).values() for row in record.get("labels", ())]
    if not rows:
        raise DataError(f"{run.path} holds no solution: nothing was labelled yet; run its command to the end")
    return [Labelled.read(row) for row in rows]


def solutions_in(run: RunView, task: Task, problems: Sequence[Problem], segmenter: Segmenter) -> list[Labelled]:
    """The solutions of ``problems``, in their order; cells of a comparison are put together.

    DataError where the run has none, or where a problem of this name is another question there than in ``task``.
    """
    cells = [(cell, run.results(cell)) for cell in run.cells()]
    made = []
    for problem in problems:
        found: dict[str, _Found] = {}
        for cell, results in cells:
            if (record := results.get(problem.id)) is not None:
                _gather(run, cell, problem, record, task, found)
        made += [each.record(problem, text, segmenter) for text, each in found.items()]
    if not made:
        raise DataError(
            f"{run.path} holds no whole solution of the {len(problems)} problems of {task.spec}; give a run that has "
            "finished some, and the task that it was made with"
        )
    return made


@dataclass(slots=True)
class _Found:
    """One solution: its outcome, its answer, how it ended, and the draws of whole samples that gave it."""

    correct: bool | None
    answer: str | None
    finish: str
    draws: set[tuple[int, ...]] = field(default_factory=set)

    def record(self, problem: Problem, text: str, segmenter: Segmenter) -> Labelled:
        ends = ends_of(segmenter, text)
        extra: dict[str, Any] = {"question": problem.text, "finish": self.finish}
        extra |= {} if self.answer is None else {"answer": self.answer}
        extra |= {"draws": len(self.draws)} if self.draws else {}
        return Labelled(problem.id, text, ends, ((),) * len(ends), self.correct, extra)


def _gather(
    run: RunView, cell: Cell, problem: Problem, record: Mapping[str, Any], task: Task, found: dict[str, _Found]
) -> None:
    """Add what one cell has for a problem, each solution by its text."""
    if record.get("hash") != problem.hash:
        raise DataError(f"{run.path}: problem {problem.id} is another question there than in {task.spec}")
    tree = Tree.from_record(run.tree(cell, problem.id) or [])
    for node in _ended(tree, record.get("node")):
        text = tree.solution(node)[tree.reply_at(node) :]
        if not text.strip():
            continue
        if text not in found:
            read = None if node.found is not None else task.reading.extract(text)
            answer = node.found.value if node.found is not None else read.value if read is not None else None
            chosen = node.index == record.get("node") and answer == record.get("answer")
            said = record.get("verdict") if chosen else None
            found[text] = _Found(_outcome(said, problem, text, answer, task), answer, str(node.completion.finish))
        if node.kind is Kind.FINISH and node.parent == 0:
            found[text].draws |= {(cell.seed, *draw) for draw in node.draws}


def _ended(tree: Tree, chosen: int | None) -> Iterator[Node]:
    """The ends of whole solutions; a step is one if it was chosen, or an answer was read there and nothing follows."""
    followed = {node.parent for node in tree if node.kind in SOLUTION}
    for node in tree:
        if node.kind not in SOLUTION or node.role != POLICY or node.truncated:
            continue
        if node.kind is not Kind.STEP or node.index == chosen or (node.found and node.index not in followed):
            yield node


def _outcome(said: str | None, problem: Problem, text: str, answer: str | None, task: Task) -> bool | None:
    """Whether a solution is right; None where nobody can say."""
    if not task.has_references:
        return None
    verdict = Verdict(said) if said is not None else task.grade(problem, text, answer).verdict
    return None if verdict in (Verdict.UNGRADABLE, Verdict.TIMEOUT) else verdict is Verdict.CORRECT


__all__ = ["is_run", "labels_in", "solutions_in"]
