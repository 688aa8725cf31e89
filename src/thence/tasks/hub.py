"""Rows of a published data set: from a file that the user has, or from the Hugging Face hub.

The hub is read through the ``datasets`` library (extra ``hub``) and its cache, which works offline once a set has been
loaded. A file of the same columns needs neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thence.core.clean import one_line
from thence.core.errors import DataError, UsageError

from .files import MISSING, Row, field, need_column, read_rows


@dataclass(frozen=True, slots=True)
class Hub:
    """Where a set lies on the hub: its name, the name of its configuration if it has several, and the split."""

    name: str
    split: str
    config: str | None = None

    def __str__(self) -> str:
        return self.name if self.config is None else f"{self.name} ({self.config})"


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a set whose rows differ in shape, so that it cannot be read as a table."""

    name: str
    file: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with the place that errors name: ``svamp: FILE`` or ``svamp: ChilleD/SVAMP``."""

    where: str
    rows: Sequence[Row]

    def column(self, *names: str) -> str:
        """The first of ``names`` that the first row has; UsageError, naming what is there, if it has none."""
        for name in names:
            if field(self.rows[0], name) is not MISSING:
                return name
        need_column(self.rows, names[0], names[0], self.where)
        raise AssertionError(names)  # need_column raised

    def need(self, *names: str) -> None:
        """UsageError unless the first row has all columns ``names``."""
        for name in names:
            need_column(self.rows, name, name, self.where)

    def at(self, row: Row) -> str:
        """The place of a row, for errors."""
        return f"{self.where}, {row.where}"


def published(task: str, file: str | None, *hub: Hub) -> Rows:
    """The rows of ``file``, or of all the ``hub`` sets one after the other."""
    if file:
        return Rows(f"{task}: {file}", read_rows(file, task))
    rows = [row for each in hub for row in from_hub(task, each)]
    where = f"{task}: {', '.join(dict.fromkeys(each.name for each in hub))}"
    if not rows:
        raise DataError(f"{where} has no rows; write {task}(file=PATH)")
    return Rows(where, rows)


def from_hub(task: str, hub: Hub) -> list[Row]:
    """The published rows, through the ``datasets`` library and its cache."""
    instead = f"or download the file once and write {task}(file=PATH)"
    try:
        from datasets import load_dataset
    except ImportError:
        raise UsageError(f'{task}: reading the hub needs pip install "thence[hub]", {instead}') from None
    chosen: tuple[Any, ...] = (hub.name,) if hub.config is None else (hub.name, hub.config)
    try:
        data = load_dataset(*chosen, split=hub.split)
        return [Row(f"{hub.split} row {number}", dict(row)) for number, row in enumerate(data, 1)]
    except Exception as error:  # the library raises its own, the network's and the file system's errors
        raise DataError(f"{task}: {hub} {_unreachable(error)}; go online, {instead}") from None


def published_file(task: str, file: str | None, hub: HubFile) -> Rows:
    """The rows of ``file``, or of one file of a hub set."""
    if file:
        return Rows(f"{task}: {file}", read_rows(file, task))
    instead = f"or download the file once and write {task}(file=PATH)"
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise UsageError(f'{task}: reading the hub needs pip install "thence[hub]", {instead}') from None
    try:
        path = hf_hub_download(hub.name, hub.file, repo_type="dataset")
    except Exception as error:
        raise DataError(f"{task}: {hub.name} {_unreachable(error)}; go online, {instead}") from None
    return Rows(f"{task}: {hub.name} {hub.file}", read_rows(path, task))


def _unreachable(error: Exception) -> str:
    said = one_line(f"{type(error).__name__}: {error}", 200)
    return f"cannot be loaded from the Hugging Face hub ({said})"


__all__ = ["Hub", "HubFile", "Rows", "from_hub", "published", "published_file"]
