"""Confidence from records: what it is, what is refused, and what the report says of it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from sums import Sums, noisy

from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.evals.evaluate import Arm, evaluate
from thence.evals.statistics.confidence import confidence_report, forecasts
from thence.evals.statistics.selection import is_development
from thence.prompts.styles import Bare
from thence.strategies.self_consistency import SelfConsistency


def record(
    i: int, draws: list[list[Any]], key: str | None, verdict: str | None, confidence: float | None = None
) -> Any:
    problem = Problem(f"p{i}", f"question {i}")
    return {
        "problem": problem.id,
        "hash": problem.hash,
        "draws": draws,
        "key": key,
        "verdict": verdict,
        "confidence": confidence,
    }


def test_agreement_is_the_share_of_all_samples_that_gave_the_returned_answer() -> None:
    found = forecasts(
        [
            record(0, [["1", 3, 3], ["2", 1, 0]], "1", "correct"),
            record(1, [["1", 3, 0], ["2", 1, 1]], "2", "correct"),  # a verifier chose the rarer one
            record(2, [["1", 2, 0], [None, 2, 0]], "1", "incorrect"),  # two samples without an answer
            record(3, [[None, 4, 0]], None, "no_answer"),
            record(4, [["1", 4, 0]], "1", None),
            record(5, [["1", 4, 0]], "1", "ungradable"),
        ]
    )
    assert [(f.confidence, f.right) for f in found] == [(0.75, True), (0.25, True), (0.5, False), (0.0, False)]


async def test_agreement_of_a_vote_is_the_strategys_own_confidence() -> None:
    report = await evaluate(Sums(30), noisy(), Arm("sc", SelfConsistency(n=8), Bare()))
    mine, theirs = forecasts(report.records), forecasts(report.records, "strategy")
    assert [f.confidence for f in mine] == pytest.approx([f.confidence for f in theirs])
    assert len({f.confidence for f in mine}) > 2
    found = confidence_report(mine)
    assert found.accuracy == report.accuracy
    assert found.interval == report.interval
    assert found.samples == (8, 8)
    assert found.document()["aurc"] == found.curve.aurc


def many(n: int, seed: int) -> list[Any]:
    """Records of calibrated agreement, made too sure of itself."""
    chance = random.Random(seed)
    made = []
    for i in range(n):
        k = chance.randrange(8, 17)
        right = chance.random() < (k / 16) ** 3
        made.append(record(i, [["1", k, 0], ["2", 16 - k, 0]], "1", "correct" if right else "incorrect"))
    return made


def test_maps_are_fitted_on_one_half_and_mend_the_other() -> None:
    found = forecasts(many(800, 0))
    report = confidence_report(found)
    assert report.ece > report.ece_floor + 0.05
    assert report.ece_p < 0.01
    assert [m.name for m in report.maps] == ["isotonic", "temperature"]
    for m in report.maps:
        assert m.fitted_on == sum(is_development(f.hash) for f in found)
        assert m.fitted_on + m.n == 800
        assert m.ece_after < m.ece_before
        assert m.brier_after < m.brier_before
    isotonic, temperature = report.maps
    assert isotonic.ece_after < isotonic.ece_before / 2
    assert (temperature.temperature or 0) > 1


def test_small_halves_get_no_map_and_say_so() -> None:
    report = confidence_report(forecasts(many(12, 1)))
    assert report.maps == []
    assert "10 each are needed" in report.statement


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(DataError, match="no graded result"):
        forecasts([record(0, [["1", 2, 0]], "1", None)])
    with pytest.raises(DataError, match="no graded result"):
        forecasts([])
    with pytest.raises(DataError, match="no problem has two samples"):
        forecasts([record(0, [["1", 1, 1]], "1", "correct")])
    with pytest.raises(DataError, match="'p0' has several results"):
        forecasts([record(0, [["1", 2, 2]], "1", "correct")] * 2)
    with pytest.raises(DataError, match="the strategy gave no confidence; use --by agreement"):
        forecasts([record(0, [["1", 2, 2]], "1", "correct")], "strategy")
    with pytest.raises(UsageError, match="there are agreement, strategy"):
        forecasts([], "verbal")


def test_the_picture_is_written_and_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from thence.core.errors import StoreError
    from thence.evals.statistics.confidence_plot import draw_confidence

    all_right = confidence_report(forecasts([record(i, [["1", 16, 16]], "1", "correct") for i in range(30)]))
    assert all_right.auroc is None
    path = draw_confidence(all_right, tmp_path / "deep" / "c.png", 'nasty $x_{ "title"\x1b[2J')
    assert path.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        draw_confidence(all_right, tmp_path / "file" / "c.png", "t")
