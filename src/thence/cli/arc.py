"""``thence arc``: the published score of an ARC run, and its grids drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from thence import methods
from thence.core.errors import DataError, UsageError
from thence.evals.arc.pictures import PALETTE
from thence.evals.arc.score import ArcScore, attempts_of_run, read_submission, score, submission
from thence.grading.grids import Grid, as_grid, fault
from thence.stores.sqlite import RunView
from thence.tasks.arc.files import ArcTask
from thence.tasks.arc.task import Arc
from thence.tasks.files import parse_json, read_text

from .outputs import needs_matplotlib, spared, write_text
from .present import number, out, plain, print_json, table

Scored = tuple[str, Mapping[str, Sequence[Sequence[object]]]]  # who, and the attempts
LIGHT = (4, 5, 8)  # colours on which a digit must be dark


def arc(
    source: str,
    /,
    *,
    submission: Path | None = None,
    attempts: int | None = None,
    write: Path | None = None,
    draw: str | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Score ARC attempts as published: whole tasks, all test inputs, 3 or 2 attempts; or draw a task's grids.

    Parameters
    ----------
    source
        A run file of `thence eval "arc(…)"` or compare; or arc(file=PATH, …), or the path of the tasks.
    submission
        Score this submission file of ARC Prize on the tasks.
    attempts
        Attempts per test input; default 3 for version 1, 2 for version 2.
    write
        Write the run's attempts as a submission file.
    draw
        Show this task (or one of its test inputs, ID#1) with the attempts on it.
    output
        With --draw: write it as a picture (PNG) instead.
    json
        Print one JSON object.
    """
    if output is not None and draw is None:
        raise UsageError("-o writes one task's picture; say which with --draw ID")
    for target in (write, output):
        spared(target, None if source.startswith("arc(") else source, submission)
    task, given = _read(source)
    if submission is not None:
        if given:
            raise UsageError("a run has attempts of its own; give the tasks with --submission, not a run")
        read = parse_json(read_text(submission, "arc"), f"arc: {submission}", unique=True)
        given = [(str(submission), read_submission(read, f"arc: {submission}"))]
    most = task.attempts if attempts is None else attempts
    if write is not None:
        _write(write, task, given, most)
    if draw is not None:
        _draw(task, given, most, draw, output)
    elif not given:
        _describe(task, json=json)
    else:
        _show([(who, score(task.tasks, tries, most)) for who, tries in given], task, json=json)


def _read(source: str) -> tuple[Arc, list[Scored]]:
    """The task, and the attempts of every cell of a run."""
    if not source.endswith(".db"):
        made = methods.task(source) if source.startswith("arc(") else Arc(source)
        assert isinstance(made, Arc)
        return made, []
    with RunView(Path(source)) as view:
        spec = str(view.header.get("task", ""))
        task = methods.task(spec) if spec.startswith("arc(") else None
        if not isinstance(task, Arc):
            raise UsageError(
                f"{source} is a run of {spec or 'no task'}, not of arc; only arc has tasks of several grids"
            )
        given: list[Scored] = []
        for cell in view.cells():
            records = view.results(cell)
            who = f"{cell.arm or view.header.get('strategy', '')}  seed {cell.seed}"
            who += f"  budget {cell.budget:,}" if cell.budget else ""
            given.append((who, attempts_of_run(task.tasks, records, task.reading)))
    if not given:
        raise DataError(f"{source} holds no result yet")
    return task, given


def _write(path: Path, task: Arc, given: Sequence[Scored], most: int) -> None:
    from json import dumps

    if len(given) != 1:
        raise UsageError(f"--write needs the attempts of one run; there are {len(given)}")
    write_text(path, dumps(submission(task.tasks, given[0][1], most)))


def _describe(task: Arc, *, json: bool) -> None:
    """What the file has."""
    cells = [len(g) * len(g[0]) for t in task.tasks for g in t.inputs]
    facts = {
        "tasks": len(task.tasks),
        "test inputs": len(task.problems()),
        "tasks with several": sum(len(t.inputs) > 1 for t in task.tasks),
        "examples": sum(len(t.train) for t in task.tasks),
        "cells of the largest test input": max(cells),
        "attempts": task.attempts,
    }
    if json:
        print_json(facts | {"task": task.spec, "references": task.has_references})
        return
    out.print(plain(task.spec, "bold"))
    rows = [[name, number(value)] for name, value in facts.items()]
    rows.append(["test outputs", "there" if task.has_references else "not there: nothing can be scored"])
    out.print(table("", ["", ""], rows, right=(1,)))
    out.print(plain(f"one of them: --draw {task.tasks[0].id}", "dim"))


def _show(scores: Sequence[tuple[str, ArcScore]], task: Arc, *, json: bool) -> None:
    if json:
        print_json({"task": task.spec, "pairs": task.pairs, "scores": [{"who": w, **s.document()} for w, s in scores]})
        return
    out.print(plain(task.spec, "bold"))
    for who, s in scores:
        rows = [
            [f"tasks solved of {s.tasks:,} (strict) [95 %]", _share(s.solved_tasks, s.strict, s.strict_interval)],
            ["mean share of test inputs [95 %]", _share(None, s.mean, s.mean_interval)],
            [f"test inputs solved of {s.inputs:,}", number(s.solved_inputs)],
            ["tasks without an attempt (count as 0)", number(len(s.missing))],
        ]
        if task.pairs == "mean":
            rows[:2] = rows[1::-1]
        title = f"{who}   at most {s.attempts} attempts" if s.attempts > 1 else f"{who}   one attempt"
        out.print(table(title, ["score", "value"], rows, right=(1,)))


def _share(count: int | None, value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    first = "" if count is None else f"{count:,} = "
    return f"{first}{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


# --- drawing


def _draw(task: Arc, given: Sequence[Scored], most: int, which: str, output: Path | None) -> None:
    name, _, test = which.rpartition("#") if "#" in which else (which, "", "")
    found = next((t for t in task.tasks if t.id == name), None)
    if found is None or (test and not (test.isdecimal() and 1 <= int(test) <= len(found.inputs))):
        raise UsageError(methods.near(which, [p.id for p in task.problems()] + [t.id for t in task.tasks], "task"))
    inputs = [int(test) - 1] if test else list(range(len(found.inputs)))
    tries: list[list[Grid]] = [[] for _ in found.inputs]
    if len(given) > 1:
        raise UsageError(f"this run has {len(given)} cells; draw from a run of one strategy and one seed")
    for _, all_tries in given:
        for k, row in enumerate(all_tries.get(found.id, ())[: len(tries)]):
            tries[k] = [grid for a in row[:most] if (grid := as_grid(a)) is not None]
            for a in row[:most]:
                if why := fault(a):
                    out.print(plain(f"{found.id}#{k + 1}: an attempt is no grid: {why}", "yellow"))
    if output is not None:
        from thence.evals.arc.pictures import draw

        with needs_matplotlib():
            picture = draw(output, found, tries, inputs)
        out.print(plain(f"picture {picture}"))
        return
    _print_task(found, tries, inputs)


def _print_task(task: ArcTask, tries: Sequence[Sequence[Grid]], inputs: Sequence[int]) -> None:
    out.print(plain(task.id, "bold"))
    for k, (before, after) in enumerate(task.train, 1):
        _print_row([(f"example {k}", before), ("becomes", after)])
    for k in inputs:
        row = [(f"test input {k + 1}", task.inputs[k])]
        if task.outputs is not None:
            row.append(("right output", task.outputs[k]))
        for n, grid in enumerate(tries[k], 1):
            said = "" if task.outputs is None else ": right" if grid == task.outputs[k] else ": wrong"
            row.append((f"attempt {n}{said}", grid))
        _print_row(row)


def _print_row(grids: Sequence[tuple[str, Grid]]) -> None:
    """Grids side by side as coloured blocks with their digits, as many as the terminal is wide."""
    waiting = list(grids)
    while waiting:
        line = [waiting.pop(0)]
        while waiting and sum(_width(*g) + 3 for g in (*line, waiting[0])) <= out.width:
            line.append(waiting.pop(0))
        out.print(Text("   ").join(Text(f"{title:<{_width(title, grid)}}", style="bold") for title, grid in line))
        for y in range(max(len(grid) for _, grid in line)):
            out.print(Text("   ").join(_cells(grid, y, _width(title, grid)) for title, grid in line), no_wrap=True)
        out.print()


def _width(title: str, grid: Grid) -> int:
    return max(len(title), 2 * len(grid[0]))


def _cells(grid: Grid, y: int, width: int) -> Text:
    text = Text()
    for colour in grid[y] if y < len(grid) else ():
        text.append(f"{colour} ", style=f"{'black' if colour in LIGHT else 'white'} on {PALETTE[colour]}")
    text.append(" " * (width - len(text)))
    return text


__all__ = ["arc"]
