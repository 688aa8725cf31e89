"""Every interval holds the truth as often as it says: the grid of tools/interval_coverage.py, smaller and seeded."""

from __future__ import annotations

from types import ModuleType

import pytest

from thence.evals.statistics.metrics import wilson
from tool_modules import load_tool

DRAWS = 120
LOOSE = 0.065  # three and a quarter Monte Carlo errors at 120 draws and 95 %


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("interval_coverage")


def test_shares_are_covered_exactly_as_asked(tool: ModuleType) -> None:
    cases = list(tool.shares())
    assert len(cases) == 46
    assert [c.law for c in cases if not c.passes] == []
    assert min(c.coverage for c in cases if c.interval == "exact") >= 0.95


def test_a_too_short_interval_is_caught(tool: ModuleType) -> None:
    def short(right: int, n: int) -> tuple[float, float]:
        low, high = wilson(right, n)
        return low + 0.15 * (high - low), high - 0.15 * (high - low)

    assert not tool.enumerated("short", 100, 0.5, short).passes


@pytest.mark.parametrize("part", ["means", "clusters", "pairs", "seeds", "ranking", "sequences"])
def test_simulated_coverage_is_near_its_level(tool: ModuleType, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {
        "SHARES": (0.1, 0.5),
        "SIZES": (50,),
        "CLUSTERS": ((30, 0),),
        "ALIKE": (0.4,),
        "FLIPS": ((0.05, 0.05), (0.45, 0.15)),
        "GRIDS": ((50, 5),),
        "RANKED": (0.75,),
        "LOOKS": 100,
    }
    for name, value in small.items():
        monkeypatch.setattr(tool, name, value)
    cases = list(tool.PARTS[part](DRAWS))
    assert cases
    for case in cases:
        assert case.coverage >= 0.95 - LOOSE, case
        assert 0 < case.width < 1
