"""``thence yardstick``, ``thence break`` and ``thence laws`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thence.cli import run
from thence.cli.break_ import read_pool
from thence.cli.yardstick import entries_of, entry_of
from thence.core.errors import DataError, UsageError
from thence.evals.yardstick import QUALITIES, Yard, YardVerifier
from thence.recipes import laws as table
from thence.recipes.laws import Bench, Law, chances, mean
from thence.strategies.best_of_n import BestOfN
from thence.strategies.self_consistency import SelfConsistency

SMALL = ("--budgets", "2,4", "--cap", "4", "--problems", "4", "--quiet")


def test_the_yardstick_prints_its_tables_and_writes_its_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    code = run(["yardstick", "self-consistency", "best-of-n(select=vote)", "greedy", *SMALL, "-o", str(file)])
    shown = capsys.readouterr().out
    assert code == 0
    for word in ("verifier near perfect (AUROC 0.99)", "easy", "trap", "self-consistency", "not measured", "one law"):
        assert word in shown
    document = json.loads(file.read_text())
    rows = {row["name"]: row for row in document["rows"]}
    assert rows["self-consistency"]["closed"] == pytest.approx(0.0, abs=1e-6)
    assert len(rows["best-of-n(select=vote)"]["cells"]) == 2 * 4
    assert rows["greedy"]["cells"] == []
    assert document["budgets"] == [2, 4]
    run(["yardstick", "self-consistency", *SMALL, "--json"])
    assert json.loads(capsys.readouterr().out)["rows"][0]["name"] == "self-consistency"


def test_a_larger_world_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["yardstick", "best-of-n(select=vote)", *SMALL, "--answers", "6"]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    for word in ("too large to be solved", " to ", "verifier weak", "±"):
        assert word in shown
    assert run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bounded"] is True
    assert len(document["strata"][0]["law"]) == 6
    cell = document["rows"][0]["cells"][-1]
    assert cell["optimum"] <= cell["above"] < 1
    assert cell["closed_least"] <= cell["closed"]
    assert run(["yardstick", "self-consistency", *SMALL, "--answers", "99"]) == 2
    assert "between 3 and 16" in capsys.readouterr().err


def test_a_users_own_class_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "mine.py"
    own.write_text(
        "from dataclasses import dataclass\n"
        "from thence.strategies.self_consistency import SelfConsistency\n"
        "@dataclass(frozen=True)\n"
        "class Mine:\n"
        "    n: int = 3\n"
        "    needs = frozenset()\n"
        "    async def solve(self, search):\n"
        "        return await SelfConsistency(self.n).solve(search)\n"
    )
    assert run(["yardstick", f"{own}:Mine", f"{own}:Mine(n=1)", *SMALL, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [c["cost"] for c in rows[0]["cells"][:2]] == pytest.approx([2.0, 4.0])  # the budget's number of samples
    assert [c["cost"] for c in rows[1]["cells"][:2]] == pytest.approx([1.0, 1.0])  # what was asked for


def test_strategies_are_built_for_a_budget_and_a_verifier() -> None:
    yard = Yard(quality=QUALITIES[2])
    judge = YardVerifier(yard.world(4), yard.quality)
    assert entry_of("best-of-n").make(8, 32, judge) == BestOfN(judge, 8)
    assert entry_of("best-of-n(n=3)").make(8, 32, judge) == BestOfN(judge, 3)
    assert entry_of("self-consistency").make(8, 32, judge) == SelfConsistency(8)
    assert not entry_of("self-consistency").uses_verifier
    assert not entry_of("best-of-n(verifier=agreement)").uses_verifier
    every, refused = entries_of(())
    assert {"self-consistency", "best-of-n", "best-of-n(select=vote)", "esc"} <= {e.name for e in every}
    assert all(why for _, why in refused)
    with pytest.raises(UsageError, match="did you mean"):
        entries_of(("self-consistncy",))


def test_bad_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["yardstick", "self-consistency", "--budgets", "a"]) == 2
    assert run(["yardstick", "self-consistency", "--budgets", "8", "--cap", "4"]) == 2
    assert run(["yardstick", "self-consistency", "--problems", "1"]) == 2
    assert "tell nothing" in capsys.readouterr().err


# --- laws ------------------------------------------------------------------------------------------------------------


def test_laws_prints_a_table_and_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["laws", "--scale", "0.1", "--quiet", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["broken"] == 0
    assert len(document["laws"]) >= 65
    assert {"mean evidence: V, values exact", "DVTS, 4 trees: 1-(1-G)^4"} <= {row["law"] for row in document["laws"]}
    assert {row["world"] for row in document["laws"]} == {"chain", "branches", "urn", "table", "revision"}
    assert all(row["n"] >= 4 for row in document["laws"])


def test_a_broken_law_is_shown_and_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def broken(bench: Bench) -> table.Rows:
        yield Law("two is three", "none", "", 3.0, 2.0, 0.1, 10)
        yield Law("two is two", "none", "", 2.1, 2.0, 0.1, 10)

    monkeypatch.setattr(table, "GROUPS", (broken,))
    assert run(["laws", "--quiet"]) == 1
    shown = capsys.readouterr().out
    assert "1 of 2 laws hold" in shown
    assert "NO" in shown


def test_rows_hold_within_four_standard_errors() -> None:
    row = chances("a coin", "", "", [True] * 60 + [False] * 40, [0.5] * 100)
    assert (row.predicted, row.measured, row.error) == (0.5, 0.6, pytest.approx(0.05))
    assert row.holds
    assert not chances("a coin", "", "", [True] * 75 + [False] * 25, [0.5] * 100).holds
    assert not chances("a sure thing", "", "", [True] * 9 + [False], [1.0] * 10).holds
    assert mean("a mean", "", "", [0.0, 2.0] * 50, 1.3).holds
    assert not mean("a mean", "", "", [0.0, 2.0] * 50, 1.5).holds


# --- break -----------------------------------------------------------------------------------------------------------


def test_a_pool_of_scored_samples_is_read(tmp_path: Path) -> None:
    file = tmp_path / "pool.jsonl"
    file.write_text('{"problem": 1, "score": 0.5, "right": true}\n\n{"problem": 1, "score": 2, "right": false}\n')
    [pool] = read_pool(file)
    assert pool.scores == (0.5, 2.0)
    assert pool.right == (True, False)
    for bad in ('{"problem": 1, "score": 0.5}', '{"problem": 1, "score": NaN, "right": true}', "no json", "[1]"):
        file.write_text(bad + "\n")
        with pytest.raises(DataError, match="line 1"):
            read_pool(file)
    file.write_text('{"problem": 1, "score": 0.5, "right": "yes"}\n')
    with pytest.raises(DataError, match="right 'yes'"):
        read_pool(file)
    file.write_text("\n")
    with pytest.raises(DataError, match="no samples"):
        read_pool(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_pool(tmp_path / "absent")


def test_break_attacks_a_verifier_on_the_embedded_model(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["break", "data-flow", "--task", "wordproblems(level=3)", "--limit", "12", "--samples", "8", "-q"]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert "reordered steps" in shown
    assert "best of N by data-flow" in shown
    assert run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["attacks"]) == 7
    assert document["solutions"] > document["right"] > 0
    assert run(["break", "no-such-verifier"]) == 2
