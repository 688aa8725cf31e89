"""Reading ARC-AGI tasks: one file, a folder, or the two files of the Kaggle competitions.

* a file ``{id: {"train": […], "test": […]}}``, or one task ``{"train": …, "test": …}`` whose id is the file's name;
* a folder with one such file per task, as in the published repositories (``data``, with ``split``, or
  ``data/training``);
* ``…challenges.json``, whose test inputs have no outputs, with ``…solutions.json`` (``{id: [grid, …]}``) beside it.

Every file may be gzipped. Whatever is no grid, or no task, is one error that names file, task and grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thence.core.clean import one_line
from thence.core.errors import DataError, UsageError
from thence.grading.grids import Grid, as_grid, fault
from thence.tasks.files import parse_json, read_text

SUFFIXES = (".json", ".json.gz")


@dataclass(frozen=True, slots=True)
class ArcTask:
    """One task: example pairs, test inputs, and the outputs of these, or None where they are not published."""

    id: str
    train: tuple[tuple[Grid, Grid], ...]
    inputs: tuple[Grid, ...]
    outputs: tuple[Grid, ...] | None


def read_tasks(path: str | Path, split: str | None = None) -> list[ArcTask]:
    """All tasks of a file or folder, in the order of the file or of the file names. At least one."""
    place = Path(path).expanduser()
    if place.is_dir():
        return _read_folder(place, split)
    if split is not None:
        raise UsageError(f"arc: {place} is one file, which has no split; leave split={split} out")
    return _read_file(place)


def _read_folder(folder: Path, split: str | None) -> list[ArcTask]:
    names = [p for p in sorted(folder.iterdir()) if p.name.endswith(SUFFIXES)]
    if split is not None:
        if (folder / split).is_dir():
            return _read_folder(folder / split, None)
        fitting = [p for p in names if split in p.name and "challenges" in p.name]
        if len(fitting) != 1:
            there = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
            raise UsageError(
                f"arc: {folder} has neither a folder {split} nor one file …{split}…challenges.json; it has {there}"
            )
        return _read_file(fitting[0])
    if not names:
        folders = sorted(p.name for p in folder.iterdir() if p.is_dir())
        hint = f"; it has the folders {', '.join(folders[:8])}: choose one with split=NAME" if folders else ""
        raise DataError(f"arc: {folder} has no .json files{hint}")
    if any("challenges" in p.name for p in names):
        raise UsageError(f"arc: {folder} has files of challenges; choose one with split=NAME or give its path")
    return [task for name in names for task in _read_file(name)]


def _read_file(file: Path) -> list[ArcTask]:
    what = f"arc: {file}"
    found = parse_json(read_text(file, "arc"), what, unique=True)
    if not isinstance(found, dict) or not found:
        raise DataError(f"{what}: the file must hold an object of tasks, {{id: {{train, test}}}}, with at least one")
    if "train" in found and "test" in found:
        found = {_stem(file): found}
    solutions = _solutions(file)
    tasks = [_task(name, value, what, solutions) for name, value in found.items()]
    without = [task.id for task in tasks if task.outputs is None]
    if without and len(without) < len(tasks):
        raise DataError(
            f"{what}: {len(without)} of {len(tasks)} tasks have no test outputs, the first is {without[0]}; "
            "all must have them, or none"
        )
    return tasks


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").removesuffix(".json")


def _solutions(file: Path) -> dict[str, Any] | None:
    """The solutions beside a file of challenges."""
    beside = file.with_name(file.name.replace("challenges", "solutions"))
    if beside == file or not beside.is_file():
        return None
    found = parse_json(read_text(beside, "arc"), f"arc: {beside}", unique=True)
    if not isinstance(found, dict):
        raise DataError(f"arc: {beside}: the file must hold an object {{id: [grid, …]}}")
    return found


def _task(name: str, value: Any, what: str, solutions: dict[str, Any] | None) -> ArcTask:
    what = f"{what}, task {one_line(name, 40)}"
    if not isinstance(value, dict):
        raise DataError(f"{what}: it must be an object with train and test")
    train = []
    for number, pair in enumerate(_pairs(value, "train", what), 1):
        where = f"{what}, example {number}"
        train.append((_grid(pair, "input", where), _grid(pair, "output", where)))
    tests = list(enumerate(_pairs(value, "test", what), 1))
    inputs = tuple(_grid(pair, "input", f"{what}, test {number}") for number, pair in tests)
    if any("output" in pair for _, pair in tests):
        return ArcTask(name, tuple(train), inputs, tuple(_grid(p, "output", f"{what}, test {n}") for n, p in tests))
    if solutions is None:
        return ArcTask(name, tuple(train), inputs, None)
    given = solutions.get(name)
    if not isinstance(given, list) or len(given) != len(inputs):
        have = len(given) if isinstance(given, list) else "no list of"
        raise DataError(f"{what}: it has {len(inputs)} test inputs and {have} solutions; one of each is needed")
    outputs = [_grid({"output": g}, "output", f"{what}, solution {n}") for n, g in enumerate(given, 1)]
    return ArcTask(name, tuple(train), inputs, tuple(outputs))


def _pairs(task: dict[str, Any], part: str, what: str) -> Iterator[dict[str, Any]]:
    pairs = task.get(part)
    if not isinstance(pairs, list) or not pairs or not all(isinstance(pair, dict) for pair in pairs):
        raise DataError(f"{what}: {part} must be a list of pairs with at least one; the task cannot be scored")
    yield from pairs


def _grid(pair: dict[str, Any], side: str, where: str) -> Grid:
    grid = as_grid(pair.get(side))
    if grid is None:
        why = fault(pair[side]) if side in pair else "it is not there"
        raise DataError(f"{where}, {side}: this is no grid: {why}")
    return grid


__all__ = ["ArcTask", "read_tasks"]
