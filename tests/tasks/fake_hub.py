"""A stand-in for the ``datasets`` and ``huggingface_hub`` modules: rows by the name that is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Rows = Sequence[Mapping[str, Any]]


class FakeHub:
    """What was asked for, in ``asked``; a set that is not there raises, as without a network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, **sets: Rows) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.sets, self.folder = sets, folder
        monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=self.load_dataset))
        monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=self.download))

    def load_dataset(self, name: str, *config: str, split: str) -> Rows:
        self.asked.append((name, *config, split))
        return self.rows(name)

    def download(self, name: str, file: str, *, repo_type: str) -> str:
        self.asked.append((name, file, repo_type))
        return written(self.folder / file, self.rows(name), array=file.endswith(".json"))

    def rows(self, name: str) -> Rows:
        key = name.rpartition("/")[2].replace("-", "_")
        if key not in self.sets:
            raise ConnectionError("no route\nto host")
        return self.sets[key]


def written(path: Path, rows: Rows, *, array: bool = False) -> str:
    """A file of the rows: JSON lines, or one array."""
    text = json.dumps(list(rows)) if array else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return str(path)
