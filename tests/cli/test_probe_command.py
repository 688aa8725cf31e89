"""``thence probe`` as a user runs it: tasks with equal ids, a verdict in words, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thence.cli import run

pytest.importorskip("torch")


def questions(path: Path, amounts: list[int]) -> str:
    """A small task of acorn's language: one template per row, ids shared between files."""
    rows = [
        {"id": f"t{i}-000", "question": f"Ann has {a} apples. Tom has 3 more apples than Ann. How many apples does Tom "
         "have?", "answer": str(a + 3)}
        for i, a in enumerate(amounts)
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_two_tasks_with_equal_ids_are_compared_and_the_verdict_needs_a_vow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = questions(tmp_path / "a.jsonl", [5, 9, 14, 20]), questions(tmp_path / "b.jsonl", [6, 8, 15, 21])
    assert run(["probe", first, second, "-q", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["n"] for row in found["rows"]] == [4, 4]
    assert found["rows"][1]["gap"]["templates"] == 4
    assert found["verdict"]["contaminated"] is None
    assert run(["probe", first, second, "-q", "--same-law", "--plot", "p.png"]) == 0
    shown = capsys.readouterr().out
    assert "No sign of contamination" in shown
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "runs").glob("*.db"))) == 2, "the second probe read the first one's runs"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["wordproblems"], "no variants of its own"),
        (["perturbed(variant=both, instances=1)"], "a variant already"),
        (["perturbed(instances=1)", "--variants", "names,nmubers"], "nmubers"),
        (["perturbed(instances=1)", "--variants", ","], "nothing"),
        (["perturbed(instances=1)", "perturbed(instances=1)"], "given twice"),
        (
            ["perturbed(instances=1)", "perturbed(variant=m1, instances=1)", "--variants", "names"],
            "single perturbed task",
        ),
        (["pertrubed"], "did you mean perturbed"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_any_model_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["probe", *arguments]) == 2
    assert what in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()
