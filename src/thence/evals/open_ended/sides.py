"""The answers that are compared: those of a run, or of a file with columns; and pairs of equal truth of two runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from thence.core.errors import DataError, UsageError
from thence.core.protocols import Task
from thence.evals.regrading.saved import Columns, Saved, saved_in_rows, saved_in_run
from thence.stores.sqlite import RunView
from thence.tasks.files import read_rows

from .audit import Equals
from .win_rate import Answered

Tasks = Callable[[str], Task]


def side(path: Path, tasks: Tasks, task: str | None = None, columns: Columns = Columns()) -> list[Saved]:
    """One answer per question of a run file (``.db``) or of a table. DataError where a question has several."""
    if path.suffix == ".db":
        with RunView(path) as view:
            spec = task or view.header.get("task")
            if not isinstance(spec, str):
                raise UsageError(f"{path} does not say which task it ran; name it with --task")
            items = saved_in_run(view, tasks(spec))
    else:
        items = saved_in_rows(read_rows(path, "prefer"), columns, str(path), needs_gold=False)
        if lacking := next((item for item in items if not item.question.strip()), None):
            raise DataError(f"{path}, {lacking.where}: there is no question; name its column with --question")
    twice = _twice(items)
    if twice is not None:
        raise DataError(f"{path} has several answers to {twice!r}; keep one per question (one arm, one seed)")
    return items


def _twice(items: Sequence[Saved]) -> str | None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            return item.id
        seen.add(item.id)
    return None


def answered(name: str, items: Sequence[Saved]) -> tuple[Answered, Mapping[str, str]]:
    """A side for `win_rate`, and its questions by id; empty answers stay in: they are answers that can lose."""
    return Answered(name, {item.id: item.text for item in items}), {item.id: item.question for item in items}


def check_same_questions(first: Sequence[Saved], second: Sequence[Saved]) -> None:
    """DataError where one id names two different questions."""
    known = {item.id: item.question for item in first}
    for item in second:
        if item.id in known and known[item.id].split() != item.question.split():
            raise DataError(f"the id {item.id!r} is one question in the first file and another in the second")


def of_equal_truth(own: Sequence[Saved], others: Sequence[Saved]) -> list[Equals]:
    """The self-preference probe: answers to the same question by the judge itself and by another, both right or both
    wrong, and not the same text."""
    check_same_questions(own, others)
    known = {item.id: item for item in others}
    return [
        Equals(item.question, item.text, known[item.id].text)
        for item in own
        if item.id in known
        and item.label is not None
        and item.label == known[item.id].label
        and item.text.strip() != known[item.id].text.strip()
    ]


__all__ = ["answered", "check_same_questions", "of_equal_truth", "side"]
