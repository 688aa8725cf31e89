"""tools/order_effects.py finds the pull of a place that was planted in a judge, and none in a judge without one."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from thence.core.contests import JUDGE
from thence.core.search import Result
from thence.recipes.law_rows import Bench
from thence.recipes.laws_of_choosing import judging, urn
from thence.stores.sqlite import Cell, RunFile
from thence.strategies.universal import UniversalSelfConsistency, order_effect
from tool_modules import load_tool


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("order_effects")


async def judged(first: float, n: int = 4, orders: int = 4, problems: int = 30) -> list[Result]:
    world = urn((0.5, 0.3, 0.2), problems)
    return await Bench().results(world, UniversalSelfConsistency(n, orders), roles={JUDGE: judging(world, first)})


async def test_a_planted_pull_is_found_and_a_judge_of_answers_has_none(tool: ModuleType) -> None:
    for planted in (0.0, 1.0):
        made = await judged(planted)
        effects = [e for r in made if (e := order_effect(r.notes)) is not None]
        summed = tool.summed("", effects)
        mean, (low, high) = summed.first
        if planted:
            assert 0.2 < low < mean < 0.8  # it is 1 less the share of responses with the first one's answer
            assert summed.agreement < 0.8
            assert summed.last[1][0] < 0.0
        else:
            assert low <= 0.0 <= high
            assert summed.agreement > 0.85  # ties between answers are broken anew for every order


async def test_a_run_file_is_read_and_one_without_a_judge_is_refused(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await judged(1.0, orders=2, problems=12)
    with RunFile.open(tmp_path / "usc.db", {"task": "urn"}) as run:
        for i, result in enumerate(made):
            run.put_result(Cell("asked"), str(i), result.record())
            run.put_result(Cell("not asked"), str(i), result.record() | {"notes": []})
    assert tool.main([str(tmp_path / "usc.db"), "--json"]) == 0
    [arm] = json.loads(capsys.readouterr().out)
    assert arm["arm"] == "asked"
    assert arm["replies"] == 2 * arm["problems"] > 0
    assert tool.main([str(tmp_path / "usc.db")]) == 0
    assert "pull of first place" in capsys.readouterr().out
    with RunFile.open(tmp_path / "none.db", {"task": "urn"}) as run:
        run.put_result(Cell(), "0", made[0].record() | {"notes": []})
    assert tool.main([str(tmp_path / "none.db")]) == 1
    assert tool.main([str(tmp_path / "no.db")]) == 1
    assert "no such run file" in capsys.readouterr().err
