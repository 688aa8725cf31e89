"""What a pool's runs say of it: its models, its agreement, and as many samples of its best model alone."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from thence import api
from thence.cli import run
from thence.core.budget import Spent
from thence.core.completion import Completion, Failure, Request
from thence.core.errors import ServerError
from thence.core.problem import Problem
from thence.core.solve import solve
from thence.evals.evaluate import Arm, eval_header, evaluate
from thence.evals.pages.report_page import report_page
from thence.evals.pages.stored import open_runs, sections
from thence.evals.pool_controls import best_model, controls, written
from thence.evals.statistics.confidence import forecasts
from thence.generators.pool import PoolGenerator
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import AutoReading
from thence.grading.mathematics import MathReading
from thence.prompts.styles import Bare
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.strategies.self_consistency import SelfConsistency

N = 12


def recording(path: Path, name: str, right: int, samples: int = 4) -> str:
    """A model that is always right on the first so many questions, and says 7 on the others."""
    rows = [
        {"question": f"Question {20 + i}?", "samples": [f"#### {20 + i if i < right else 7}"] * samples}
        for i in range(N)
    ]
    (path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return f"replay:{path}/{name}.jsonl"


def questions(path: Path) -> str:
    rows = [{"question": f"Question {i}?", "answer": str(i)} for i in range(20, 20 + N)]
    (path / "task.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return f"jsonl(file={path}/task.jsonl)"


def test_the_control_is_the_best_single_model_with_as_many_samples(tmp_path: Path) -> None:
    good, poor, task = recording(tmp_path, "good", 9), recording(tmp_path, "poor", 3), questions(tmp_path)
    vote, both = "self-consistency(n=4)", f"pool:{good},{poor}"
    arms = [f"{vote} on {both}", f"{vote} on {poor}", f"{vote} on {good}", f"self-consistency(n=2) on {good}"]
    (found,) = controls(api.compare(task, arms))
    assert found.control == f"{vote} on replay:good.jsonl"
    assert found.accuracy == 0.75
    assert found.paired is not None
    assert found.paired.difference < 0  # with two models that disagree a vote of two each is a draw by lot
    assert found.document()["control"] == found.control
    (missing,) = controls(api.compare(task, [arms[0], arms[3]]))
    assert (missing.control, missing.paired) == (None, None)
    assert controls(api.compare(task, arms[1:])) == []
    assert written(both) == {"good": good, "poor": poor}
    assert written("acorn") == written("pool:") == {}
    api.unload()


def test_the_commands_print_the_control_beside_the_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, poor, task = recording(tmp_path, "good", 9), recording(tmp_path, "poor", 3), questions(tmp_path)
    vote, both = "self-consistency(n=4)", f"pool:{good},{poor}"
    compared, alone = str(tmp_path / "c.db"), str(tmp_path / "e.db")
    command = ["compare", task, f"{vote} on {both}", f"{vote} on {good}", "--run", compared, "-q"]
    assert run(command) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{vote} on pool:good,poor, against the control {vote} on replay:good.jsonl (75.0 %): -" in shown
    assert run([*command, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["pool_controls"]
    assert (found["accuracy"], found["paired"]["n"]) == (0.75, N)
    other = ["compare", task, f"{vote} on {both}", f"greedy on {good}", "--run", str(tmp_path / "d.db"), "-q"]
    assert run(other) == 0
    assert "the control, as many samples of its best model alone, is not in this comparison" in capsys.readouterr().out
    assert run(["eval", task, "-s", vote, "-m", both, "--run", alone, "-q"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "best alone: good, 75.0 % of its 24 samples are right" in shown
    assert f'thence compare TASK "{vote} on {both}" "{vote} on {good}"' in shown

    page = report_page(sections(open_runs([Path(compared)])))
    assert "Models of pools" in page
    assert "self-consistency(n=4) on pool:good,poor, good" in page
    assert "pool against as many samples of its best model" in page
    page = report_page(sections(open_runs([Path(alone)])))
    assert "is not in these runs" in page
    assert "Confidence" in page
    api.unload()


def test_agreement_is_over_the_samples_of_all_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, poor, task = recording(tmp_path, "good", 9), recording(tmp_path, "poor", 3), questions(tmp_path)
    run_file = tmp_path / "r.db"
    report = api.evaluate(task, f"pool:{good},{poor}", "self-consistency(n=4)", run=run_file)
    assert report.agreement == pytest.approx((3 * 1 + 6 * 0.5 + 3 * 1) / N)
    assert report.pass_at == {}
    found = forecasts(report.records)
    assert [f.confidence for f in found] == [r["confidence"] for r in report.records]
    assert {(f.samples, f.confidence) for f in found} == {(4, 1.0), (4, 0.5)}
    assert run(["confidence", str(run_file)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "samples per problem 4" in shown
    assert "no problem has two samples" not in shown
    api.unload()


def test_a_skill_without_a_pool_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, poor, task = recording(tmp_path, "good", 9), recording(tmp_path, "poor", 3), questions(tmp_path)
    skill = ["--skill", "early.db", "-q"]
    for command in (
        ["eval", task, "-s", "greedy", "-m", good],
        ["compare", task, f"greedy on {good}", f"greedy on {poor}"],
        ["solve", "Question 20?", "-s", "greedy", "-m", good],
    ):
        assert run([*command, *(skill if command[0] != "solve" else skill[:2])]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "--skill early.db weighs the votes of a pool's models, and no model is a pool: pool:M1,M2" in said
    pool = f"pool:{good},{poor}"
    assert run(["eval", task, "-s", "self-consistency(n=4)", "-m", pool, *skill]) == 2
    assert "--skill early.db: no strategy weighs votes by it" in " ".join(capsys.readouterr().err.split())
    arms = ["greedy", "self-consistency(n=4, weight=skill)"]
    assert run(["compare", task, *arms, "-m", pool, *skill]) == 1
    assert "no strategy weighs" not in capsys.readouterr().err, "one of the arms does; it is the file that is missing"
    api.unload()


class DiesLater(ScriptedGenerator):
    """A server that breaks for good after so many draws, in the middle of a run."""

    def __init__(self, alive: int) -> None:
        super().__init__(lambda cue: "#### 7", name="dies", pace=0)
        self.left = alive

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        async for i, outcome in super().run(requests, book):
            if self.left == 0:
                raise ServerError("the connection broke")
            self.left -= 1
            yield i, outcome


async def test_a_model_that_dies_in_the_middle_is_marked_in_notes_report_and_page(tmp_path: Path) -> None:
    task = api.task(questions(tmp_path))
    right = ScriptedGenerator(lambda cue: f"#### {cue.question.split()[1].rstrip('?')}", name="right", pace=0)
    both = PoolGenerator({"right": right, "dies": DiesLater(7)})
    arm = Arm("self-consistency(n=4)", SelfConsistency(n=4), Bare(), "bare")
    path = tmp_path / "r.db"
    with RunFile.open(path, eval_header(task, both, arm)) as store:
        report = await evaluate(task, both, arm, store=store)
    shares = {m.name: (m.draws, m.lost) for m in report.models}
    assert shares == {"right": (2 * N, 0), "dies": (7, 2 * N - 7)}
    assert (report.failed, report.incomplete) == (0, False)
    with RunView(path) as view:
        records = list(view.results(Cell("", 0, None)).values())
    noted = [r for r in records if any("dies is lost" in note for note in r["notes"])]
    assert len(noted) == sum(r["models"].get("dies", {}).get("lost", 0) > 0 for r in records) > 0
    assert len(noted) < N
    page = report_page(sections(open_runs([path])))
    assert "self-consistency(n=4), dies" in page
    assert f">{2 * N - 7}</td>" in page
    best = best_model(report.models)
    assert best is not None
    assert best.name == "right"


@pytest.mark.parametrize("reading", [AutoReading(), MathReading()])
async def test_models_with_different_answer_formats_vote_together(reading: AutoReading | MathReading) -> None:
    texts = {
        "boxed": "So we get $\\boxed{15}$.",
        "marked": "7 + 8 is 15\n#### 15",
        "said": "Therefore, the answer is 15.",
        "other": "#### 14",
    }
    models = {name: ScriptedGenerator(lambda cue, t=text: t, name=name, pace=0) for name, text in texts.items()}
    result = await solve(
        Problem("p", "What is 7 + 8?"),
        generator=PoolGenerator(models),
        strategy=SelfConsistency(n=4),
        style=Bare(),
        reading=reading,
    )
    assert [(v.answer, v.count) for v in result.votes] == [("15", 3), ("14", 1)]
