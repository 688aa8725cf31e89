"""``thence confidence``, ``thence curves`` and what ``thence compare`` adds, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thence.cli import run
from thence.cli.compare_extras import (
    clustered_document,
    flops_document,
    seeds_of,
    show_clusters,
    show_flops,
    show_seeds,
    show_selected,
    show_traces,
    sizes_of,
)
from thence.core.budget import Charged
from thence.core.errors import UsageError
from thence.evals.compare import Comparison, Row
from thence.evals.report import Report
from thence.evals.statistics.curves import Parameters
from thence.evals.statistics.intervals import cluster_bootstrap, cluster_interval, paired_by_cluster
from thence.evals.statistics.metrics import paired
from thence.evals.statistics.selection import select
from thence.evals.statistics.trace_error import trace_error

pytest.importorskip("torch")
ARMS = ("greedy", "self-consistency(n=4)")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("statistics") / "compared.db"


def asked(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_compare_adds_flops_front_traces_and_a_choice_reported_elsewhere(
    compared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "wordproblems(level=2, size=60)", *ARMS, "--limit", "16", "--run", str(compared), "-q"]
    found = asked(capsys, *command, "--flops", "1.6m", "--select-on", "dev", "--price", "1,2")
    chosen = found["selection"]
    assert chosen["arm"] in ARMS
    assert 0 < chosen["n"] < 16
    for arm, row in zip(found["arms"], found["flops"]["arms"], strict=True):
        assert row["cost"] == pytest.approx(2 * 1.6e6 * arm["tokens"], rel=0.02)
        traces = arm["trace_error"]
        assert traces["right"] == round(arm["accuracy"] * 16)
        assert traces["right"] + traces["wrong"] == 16
    assert found["flops"]["against"] == []
    for arm, row in zip(found["arms"], found["money"]["arms"], strict=True):
        assert arm["tokens"] / 1e6 < row["cost"] < 2 * arm["tokens"] / 1e6
    show_flops(found["flops"])
    assert "FLOPs per problem" in capsys.readouterr().out


def arm(name: str, right: list[list[int]]) -> Row:
    """A row of a comparison: ``right[seed][problem]``."""
    made = Row(name, name, "bare", None, 4, 0.5, (0.0, 1.0), 10.0, 1.0, 0, 0, 0, None)
    for seed, outcomes in enumerate(right):
        report = Report("t", "m", name, "bare", seed, None)
        report.records = [
            {"problem": f"t{i // 2}-{i}", "hash": f"{i}", "verdict": "correct" if hit else "incorrect"}
            for i, hit in enumerate(outcomes)
        ]
        made.reports.append(report)
    return made


def test_clusters_are_named_by_a_pattern_and_seeds_are_taken_apart(capsys: pytest.CaptureFixture[str]) -> None:
    a, b = arm("a", [[1, 1, 0, 0], [1, 0, 0, 0]]), arm("b", [[1, 1, 1, 0], [1, 1, 0, 1]])
    result = Comparison("t", "m", "a", [0, 1], [a, b])
    found = clustered_document(result, r"^t\d")
    means = {"t0-0": 1.0, "t0-1": 1.0, "t1-2": 0.5, "t1-3": 0.5}
    clusters = {p: p[:2] for p in means}
    assert found["arms"][1]["interval"] == cluster_interval(means, clusters).interval
    assert found["arms"][1]["bootstrap"] == cluster_bootstrap(means, clusters).interval
    base = {"t0-0": 1.0, "t0-1": 0.5, "t1-2": 0.0, "t1-3": 0.0}
    assert found["differences"][0]["interval"] == paired_by_cluster(base, means, clusters).interval
    assert found["differences"][0]["difference"] == pytest.approx(0.375)
    show_clusters(found)
    assert "+37.5" in capsys.readouterr().out
    seeds = seeds_of(a)
    assert seeds is not None
    assert seeds.per_seed == (0.5, 0.25)
    show_seeds([("a", seeds)])
    assert "50.0 25.0" in capsys.readouterr().out
    assert seeds_of(arm("a", [[1, 0]])) is None
    assert seeds_of(arm("a", [[1, 0], [1]])) is None  # a problem without the second seed: no complete grid
    with pytest.raises(UsageError, match="no regular expression"):
        clustered_document(result, "(")
    with pytest.raises(UsageError, match="matches nothing in the id 't0-0'"):
        clustered_document(result, "x")


def test_a_small_model_with_search_is_set_against_the_large_one_in_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    small, large = arm("small", [[1, 1, 1, 0]]), arm("large", [[1, 0, 0, 0]])
    small.reports[0].charged, large.reports[0].charged = Charged(400, 1600, 2000), Charged(400, 400, 0)
    sizes = {"small": Parameters(1e9, 1e9), "large": Parameters(14e9)}
    found = flops_document(Comparison("t", "m", "small", [0], [small, large]), sizes)
    assert [a["cost"] for a in found["arms"]] == [2 * 1e9 * 1000, 2 * 14e9 * 200]
    (pair,) = found["against"]
    assert (pair["small"], pair["large"], pair["points"]) == ("small", "large", 0.5)
    assert (
        pair["interval"]
        == paired(
            {p: float(p == "t0-0") for p in ["t0-0", "t0-1", "t1-2", "t1-3"]},
            {"t0-0": 1.0, "t0-1": 1.0, "t1-2": 1.0, "t1-3": 0.0},
        ).interval
    )
    assert [a["used"] for a in pair["at"]] == [5.0] * 3
    show_flops(found)
    printed = capsys.readouterr().out
    assert "+50.0" in printed
    assert "257.75" in printed
    with pytest.raises(UsageError, match="say how large the verifier is"):
        flops_document(Comparison("t", "m", "small", [0], [small]), {"small": Parameters(1e9)})


def test_sizes_belong_to_models_and_what_was_chosen_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    models = {"greedy": "hf:big", "vote": "acorn"}
    assert sizes_of(["1m,2m", "hf:big=14m"], models) == {"greedy": Parameters(14e6), "vote": Parameters(1e6, 2e6)}
    with pytest.raises(UsageError, match="no arm runs on it; the models are"):
        sizes_of(["other=7b"], models)
    with pytest.raises(UsageError, match="add --flops acorn=7b"):
        sizes_of(["hf:big=14m"], models)
    values = {"a": {"x": 1.0, "y": 0.0}, "b": {"x": 1.0, "y": 1.0}}
    show_selected(select({"a": {"z": 0.0}, "b": {"z": 1.0}}).report(values, "a"), "a")
    printed = capsys.readouterr().out
    assert "chosen on the development half: b, 100.0 % there; 100.0 %" in printed
    assert "there against a: +50.0" in printed
    show_traces([("greedy", trace_error([("x", True, False), ("y", True, True)])), ("vote", trace_error([]))])
    printed = capsys.readouterr().out
    assert "50.0 %" in printed
    assert "no right answer has steps" in printed


def test_confidence_of_a_comparison_wants_one_arm_with_several_samples(
    compared: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["confidence", str(compared)]) == 1  # greedy has one sample a problem
    assert "no problem has two samples" in capsys.readouterr().err
    arm = f"{ARMS[1]} @ cot"
    found = asked(capsys, "confidence", str(compared), "--arm", arm)["cells"][0]
    assert (found["n"], found["samples"]) == (16, [4, 4])
    assert sum(b["n"] for b in found["bins"]) == 16
    assert run(["confidence", str(compared), "--arm", arm]) == 0
    assert "AURC" in capsys.readouterr().out
    assert run(["confidence", str(compared), "--plot", str(tmp_path / "c.png")]) == 2
    assert "say with --arm and --seed" in capsys.readouterr().err
    assert run(["confidence", str(compared), "--arm", arm, "--by", "moon"]) == 2


def test_curves_show_coverage_guesses_votes_and_cost(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arm = f"{ARMS[1]} @ cot"
    asking = ("curves", str(compared), "--arm", arm, "--flops", "1.6m", "--price", "1,2", "--bins", "2")
    found = asked(capsys, *asking)["cells"][0]
    assert [p["k"] for p in found["points"]] == [1, 2, 4]
    last = found["points"][-1]
    assert last["flops"] == pytest.approx(2 * 1.6e6 * (last["charged"]["prompt"] + last["charged"]["generated"]))
    assert last["money"] == pytest.approx((last["charged"]["prompt"] + 2 * last["charged"]["generated"]) / 1e6)
    assert last["guess"] < last["coverage"]["mean"]
    assert [s["problems"] for s in found["strata"]] == [8, 8]
    uniform = asked(capsys, *asking, "--space", "4")["cells"][0]["points"]
    assert [p["guess"] for p in uniform] == pytest.approx([0.25, 1 - 0.75**2, 1 - 0.75**4])
    printed = run(list(asking[:4])), capsys.readouterr().out
    assert printed[0] == 0
    for words in ("coverage [95 %]", "guesses", "knee", "by difficulty"):
        assert words in printed[1]
    assert run(["curves", str(compared), "--flops", "many"]) == 2
    assert run(["curves", str(compared.with_name("none.db"))]) == 1


@pytest.mark.parametrize("command", ["curves", "confidence", "show"])
def test_an_arm_that_is_not_there_is_answered_by_those_that_are(
    command: str, compared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not compared.exists():
        asked(capsys, "compare", "wordproblems(level=2, size=60)", *ARMS, "--limit", "4", "--run", str(compared), "-q")
    capsys.readouterr()
    assert run([command, str(compared), "--arm", "nope"]) == 1
    said = capsys.readouterr().err
    assert "--arm 'greedy @ cot' --seed 0" in said
    assert "Traceback" not in said
