"""The score of ARC-AGI: tasks, all their test inputs, a limited number of attempts (Chollet 2019, arXiv:1911.01547).

A test input is solved if one of its first 3 (version 1) or 2 (version 2) attempts equals its output exactly. A task
counts

* ``strict``: 1 if all its test inputs are solved, else 0;
* ``mean``: the share of its test inputs that is solved (what ARC Prize's own scorer adds up).

The score is the mean over **all** tasks: one without any attempt counts 0 and is reported as missing. (That scorer
divides by the tasks submitted and does not count attempts; a partial submission then scores too high.) The interval is
Wilson's, in the ``mean`` mode with the effective sample size of clustered test inputs.

**Attempts of a run** are the strategy's own answers, best first, each grid once: its chosen answer, then the other
answers by the weight of their votes, then those of its samples by count, equal ones in the order they appeared. What
is no grid is no attempt: that can be seen without the reference. So ``self-consistency(n=16)`` submits its two or
three most voted grids, ``greedy`` a single one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from thence.core.answers import Reading
from thence.core.errors import DataError, UsageError
from thence.evals.records import Record
from thence.grading.grids import Grid, as_grid, from_value
from thence.tasks.arc.files import ArcTask

Mode = Literal["strict", "mean"]
Attempts = Mapping[str, Sequence[Sequence[object]]]  # task -> test input -> attempts, best first


@dataclass(frozen=True, slots=True)
class ArcScore:
    """Both scores of one set of attempts, each with its 95 % interval.

    ``by_task`` has the share of solved test inputs of every task; ``missing`` names the tasks without any attempt.
    """

    tasks: int
    attempts: int
    strict: float
    strict_interval: tuple[float, float]
    mean: float
    mean_interval: tuple[float, float]
    solved_tasks: int
    inputs: int
    solved_inputs: int
    missing: tuple[str, ...]
    by_task: Mapping[str, float] = field(repr=False)

    def document(self) -> dict[str, Any]:
        """The score as plain JSON data."""
        return asdict(self) | {"by_task": dict(self.by_task)}


def solved(outputs: Sequence[Grid], tries: Sequence[Sequence[object]], most: int) -> list[bool]:
    """For each test input, whether one of the first ``most`` attempts is its output; inputs without attempts are not.

    Attempts may be lists or tuples; what is no grid (ragged, ``True`` for 1, a colour above 9) never equals.
    """
    if most < 1:
        raise UsageError(f"attempts is {most}; it must be at least 1")
    if len(tries) > len(outputs):
        raise DataError(f"there are attempts on {len(tries)} test inputs, and only {len(outputs)} test inputs")
    rows = [*tries, *[()] * (len(outputs) - len(tries))]
    return [any(as_grid(a) == out for a in row[:most]) for out, row in zip(outputs, rows, strict=True)]


def task_score(outputs: Sequence[Grid], tries: Sequence[Sequence[object]], most: int, mode: Mode) -> float:
    """One task's score in [0, 1]."""
    right = solved(outputs, tries, most)
    return float(all(right)) if mode == "strict" else sum(right) / len(right)


def score(tasks: Sequence[ArcTask], attempts: Attempts, most: int) -> ArcScore:
    """The scores of ``attempts`` over all ``tasks``. UsageError without test outputs, DataError for unknown tasks."""
    from thence.evals.statistics import metrics  # numpy and scipy

    known = {task.id for task in tasks}
    strange = [name for name in attempts if name not in known]
    if strange:
        raise DataError(f"attempts on {len(strange)} tasks that the file does not have, the first is {strange[0]!r}")
    right: dict[str, list[bool]] = {}
    for task in tasks:
        if task.outputs is None:
            raise UsageError("these tasks have no test outputs, so nothing can be scored; give the file of solutions")
        try:
            right[task.id] = solved(task.outputs, attempts.get(task.id, ()), most)
        except DataError as error:
            raise DataError(f"task {task.id}: {error}") from None
    whole = sum(all(row) for row in right.values())
    mean, interval = metrics.clustered_accuracy({name: [float(r) for r in row] for name, row in right.items()})
    return ArcScore(
        tasks=len(tasks),
        attempts=most,
        strict=whole / len(tasks),
        strict_interval=metrics.wilson(whole, len(tasks)),
        mean=mean,
        mean_interval=interval,
        solved_tasks=whole,
        inputs=sum(len(row) for row in right.values()),
        solved_inputs=sum(sum(row) for row in right.values()),
        missing=tuple(t.id for t in tasks if not any(attempts.get(t.id, ()))),
        by_task={name: sum(row) / len(row) for name, row in right.items()},
    )


def attempts_of(record: Record, reading: Reading) -> list[Grid]:
    """The different grids a strategy answered one test input with, best first (see above)."""
    values = [record["answer"], *(answer for answer, _, _ in record["votes"])]
    keys = [reading.key(value) for value in values if value is not None]
    drawn = sorted(record["draws"], key=lambda draw: -draw[1])
    keys += [key for key, _, _ in drawn if key is not None]
    grids = (as_grid(from_value(key)) for key in dict.fromkeys(keys))
    return list(dict.fromkeys(grid for grid in grids if grid is not None))


def attempts_of_run(tasks: Sequence[ArcTask], records: Mapping[str, Record], reading: Reading) -> dict[str, Any]:
    """The attempts of a run by task and test input; ``records`` are its results by problem id (``task#k``)."""
    made: dict[str, list[list[Grid]]] = {}
    for task in tasks:
        rows = [records.get(f"{task.id}#{k}") for k in range(1, len(task.inputs) + 1)]
        if any(row is not None for row in rows):
            made[task.id] = [[] if row is None else attempts_of(row, reading) for row in rows]
    return made


def read_submission(document: object, what: str) -> dict[str, list[list[object]]]:
    """Attempts of a submission file of ARC Prize: ``{id: [{"attempt_1": grid, "attempt_2": grid}, …]}``."""
    if not isinstance(document, dict):
        raise DataError(f"{what}: a submission is an object {{id: [{{attempt_1, attempt_2}}, …]}}")
    made: dict[str, list[list[object]]] = {}
    for name, rows in document.items():
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{what}, task {name[:40]!r}: it must be a list with one object of attempts per test input")
        made[name] = [_attempts(row, f"{what}, task {name[:40]!r}") for row in rows]
    return made


def _attempts(row: dict[str, object], what: str) -> list[object]:
    numbers = sorted(int(n) for key in row if key[:8] == "attempt_" and (n := key[8:]).isdecimal() and len(n) < 9)
    found = [row[f"attempt_{n}"] for n in numbers if row.get(f"attempt_{n}") is not None]
    if not all(isinstance(attempt, list) for attempt in found):
        raise DataError(f"{what}: an attempt is a grid, an array of rows, or null; this one is something else")
    return found


def submission(tasks: Sequence[ArcTask], attempts: Attempts, most: int) -> dict[str, Any]:
    """Attempts in the form of a submission file; an attempt that is not there is the grid of one black cell."""
    document: dict[str, Any] = {}
    for task in tasks:
        rows = [*attempts.get(task.id, ()), *[()] * len(task.inputs)][: len(task.inputs)]
        document[task.id] = [
            {f"attempt_{k + 1}": row[k] if k < len(row) else [[0]] for k in range(most)} for row in rows
        ]
    return document


__all__ = [
    "ArcScore",
    "attempts_of",
    "attempts_of_run",
    "read_submission",
    "score",
    "solved",
    "submission",
    "task_score",
]
