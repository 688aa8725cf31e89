"""Published pass@k from published samples, by the command that prints them; skipped where the data is not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from thence.core.errors import DataError
from tool_modules import load_tool

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("stored_samples")


def test_both_forms_of_verdicts_are_counted(tool: ModuleType) -> None:
    rows = [{"idx": 900, "infos": [{"r": 1}, {"r": 0}]}, {"idx": 901, "accs": [1, 1, 0]}]
    assert tool.game24(rows) == {"900": (2, 1), "901": (3, 2)}
    assert tool.cruxeval({"raw_scored_generations": {"s": [True, False, False]}}) == {"s": (3, 1)}


def test_a_missed_number_is_said(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"a": (2, 1), "b": (2, 0)}
    assert tool.table("t", counts, {1: 25.0}, (1,))
    assert not tool.table("t", counts, {1: 25.1}, (1,))
    assert capsys.readouterr().out.count("MISSED") == 1


def test_a_missing_folder_is_an_error(tool: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give the folder"):
        tool.read(tmp_path / "none.json.gz")


@pytest.mark.skipif(not (DATA / "game24").is_dir(), reason="the stored samples are not here (set THENCE_DATA)")
def test_stated_numbers_are_reproduced(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stored_samples.py", str(DATA)])
    assert tool.main() == 0
    printed = capsys.readouterr().out
    for value in ("4.03", "21.48", "49.00", "35.95", "44.99", "34.21", "40.29"):
        assert value in printed
