"""tools/certified_errors.py, smaller: the table holds, and a rule that errs too often fails it."""

from __future__ import annotations

import json
from types import ModuleType

import pytest

from tool_modules import load_tool


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_tool("certified_errors")
    monkeypatch.setattr(module, "HORIZONS", (40,))
    few = (".52 .48", ".501 .499", ".35 .35 .30", ".34 .33 .33", ".11, nine of .0989")
    monkeypatch.setattr(module, "LAWS", {name: module.LAWS[name] for name in few})
    return module


def test_no_cell_of_the_table_errs_more_often_than_alpha_and_the_controls_do(
    tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main(["--runs", "60", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["failing"] == 0
    cells = {(c["rule"], c["law"], c["n"]): c for c in told["cells"]}
    assert len([c for c in cells if c[0] == "certified(0.05)"]) == len(tool.LAWS)
    assert cells["Beta rule at .95", ".52 .48", 40]["wrong"] == pytest.approx(0.1632, abs=5e-5)
    assert cells["binomial test, peeking", ".501 .499", 400]["wrong"] > 0.1
    exact = cells["certified(0.2)", ".501 .499", 40]
    assert exact["error"] == 0.0
    seen = tool.simulated("again", ".501 .499", 40, 300, tool.certified(0.2), 0.0, 0.2)
    assert abs(seen.wrong - exact["wrong"]) <= 4 * seen.error
    assert abs(seen.right - exact["right"]) <= 4 * seen.error


def test_a_rule_that_errs_too_often_fails_the_table(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "ALPHAS", (0.05,))
    monkeypatch.setattr(tool, "certified", lambda alpha: tool.by_counts(tool.beta_is_sure))
    assert tool.main(["--runs", "40"]) == 1
    shown = capsys.readouterr().out
    assert shown.count("FAILS") >= 1
    assert "0 of them not as asked" not in shown
