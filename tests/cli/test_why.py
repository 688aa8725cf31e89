"""``thence why`` and the hand-made labels of ``thence label``, as a user runs them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from thence.annotate.label import open_rollouts
from thence.annotate.why import Why
from thence.cli import run as run_command
from thence.cli import why as why_command
from thence.cli.label import rate, show_agreement
from thence.cli.why import explain, recorded_wrong, show, summary, verdict
from thence.core.completion import Sampling
from thence.core.errors import DataError, StoreError, UsageError
from thence.core.label_files import read_labels
from thence.core.labels import Labelled
from thence.core.problem import Problem
from thence.core.search import Result
from thence.core.solve import solve
from thence.prompts.styles import Bare
from thence.stores.sqlite import Cell, RunFile
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.worlds import Chain

HOT = Sampling(temperature=1.0)
LEVEL = "wordproblems(level=6, size=20)"


async def sampled(world: Chain, problem: Problem, n: int) -> Result:
    """``n`` samples of a problem, the first one chosen."""
    return await solve(
        problem,
        generator=world.generator(pace=0),
        strategy=RepeatedSampling(n),
        style=Bare(),
        reading=world.task().reading,
        sampling=HOT,
    )


def stored(path: Path, results: Sequence[Result]) -> None:
    """The results as an evaluation stores them."""
    with RunFile.open(path, {"kind": "eval"}) as store:
        for result in results:
            store.put_result(Cell(), result.problem.id, record := result.record(), record["tree"])


async def test_the_wrong_answer_of_a_run_is_found_and_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = Chain(size=6)
    problems = world.problems()
    stored(tmp_path / "r.db", [await sampled(world, p, 6) for p in problems[:5]])
    problem, text = problems[0], recorded_wrong(tmp_path / "r.db", world.task(), problems[0])
    assert world.task().reading.extract(text) is not None
    assert not world.task().grade(problem, text, text.rpartition(" ")[2]).correct
    rollouts = open_rollouts(world.task(), world.generator(pace=0), Bare(), HOT, problem)
    found = await explain(rollouts, Why(guess=world.guess), text)
    assert found.record.text == text
    facts = summary(rollouts, found)
    assert facts["fatal"] == found.fatal
    assert facts["rollouts"] == rollouts.drawn == sum(v["rollouts"] for v in facts["values"] if v)
    assert facts["charged"]["total"] == rollouts.search.ledger.total_charged.total
    show(rollouts, found)
    lines = capsys.readouterr().out.splitlines()
    assert found.fatal is not None
    [marked] = [line for line in lines if "◀ fatal" in line]
    assert marked.split()[0] == str(found.fatal + 1)
    assert any(f"step {found.fatal + 1} is fatal" in line for line in lines)
    assert any(f"{rollouts.drawn} rollouts" in line for line in lines)
    with pytest.raises(UsageError, match=r"r\.db has no answer to problem chain-0005"):
        recorded_wrong(tmp_path / "r.db", world.task(), problems[5])
    other = Problem(problem.id, "chain 3 of set 0: another question?")
    with pytest.raises(DataError, match="is another question there"):
        recorded_wrong(tmp_path / "r.db", world.task(), other)
    with pytest.raises(StoreError, match="no such run file"):
        recorded_wrong(tmp_path / "none.db", world.task(), problem)


async def test_a_run_without_a_wrong_answer_says_so(tmp_path: Path) -> None:
    sure = Chain(slip=0.0, fatal=0.0, size=1)
    [problem] = sure.problems()
    stored(tmp_path / "r.db", [await sampled(sure, problem, 3)])
    with pytest.raises(UsageError, match="no whole answer to problem chain-0000 is wrong"):
        recorded_wrong(tmp_path / "r.db", sure.task(), problem)
    rollouts = open_rollouts(sure.task(), sure.generator(pace=0), Bare(), HOT, problem)
    with pytest.raises(UsageError, match="none of 5 solutions is wrong"):
        await explain(rollouts, Why(solutions=5, batch=2))
    assert rollouts.drawn == 5


async def test_a_question_out_of_reach_and_a_search_that_was_cut_are_named() -> None:
    lost = Chain(steps=4, slip=0.0, fatal=1.0, guess=0.0, size=1)
    [problem] = lost.problems()
    rollouts = open_rollouts(lost.task(), lost.generator(pace=0), Bare(), HOT, problem)
    found = await explain(rollouts, Why())
    assert found.fatal is None
    assert "no step is to blame" in verdict(found)
    rollouts = open_rollouts(lost.task(), lost.generator(pace=0), Bare(), HOT, problem)
    assert "undecided" in verdict(await explain(rollouts, Why(most=3, solutions=1)))


async def test_model_text_is_printed_inert(capsys: pytest.CaptureFixture[str]) -> None:
    world = Chain(steps=2, size=1)
    [problem] = world.problems()
    rollouts = open_rollouts(world.task(), world.generator(pace=0), Bare(), HOT, problem)
    found = await Why(guess=0.05, most=16).explain(rollouts, "state a\x1b[2J [bold]x\nstate c\n#### 1")
    show(rollouts, found)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "␛[2J [bold]x" in shown


def test_ratings_by_injected_keys_are_printed_inert_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = Labelled("p", "a\x1b[2J\nb", (6, 7), ((), ()), None, {"question": "why [red]?"})
    for name, pressed in (("one", "++"), ("two", "+-")):
        keys = iter(pressed)
        assert rate([record], tmp_path / f"{name}.jsonl", name, lambda keys=keys: next(keys, "q")) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "why [red]?" in shown
    show_agreement(tmp_path / "one.jsonl", tmp_path / "two.jsonl", json=True)
    assert json.loads(capsys.readouterr().out)["raw"] == 0.5
    show_agreement(tmp_path / "one.jsonl", tmp_path / "two.jsonl", json=False)
    assert "50.0 %" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no solution to rate"):
        rate([], tmp_path / "three.jsonl", "", lambda: "q")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["why", "wordproblems", "--problem", "graph-3-test-0-x"], "has no problem 'graph-3-test-0-x'; its ids are"),
        (["why", "mine.jsonl", "--problem", "0"], "has no references"),
        (["why", "wordproblems", "--problem", "x", "--guess", "1"], "delta is 1.05"),
        (["label", "wordproblems"], "say where the labels go"),
        (["label", "-o", "x.jsonl"], "say what to label"),
        (["label", "wordproblems", "-o", "x.jsonl", "--format", "prm"], "--format is 'prm'"),
        (["label", "mine.jsonl", "-o", "x.jsonl", "--by-hand"], "has no references"),
        (["label", "-o", "x.jsonl", "--from", "mine.jsonl"], "line 1: no format of labels"),
        (
            ["label", "wordproblems", "-o", "x.jsonl", "--method", "omegaprm", "--active", "agreement"],
            "omegaprm finds its own",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_model_is_loaded(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").write_text('{"question": "What is 7 + 8?", "id": "0"}\n')
    monkeypatch.setattr(why_command.api, "setup", lambda *_, **__: pytest.fail("a model was loaded"))
    assert run_command(arguments) in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x.jsonl").exists()


def thence(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that succeeds prints."""
    code = run_command(arguments)
    said = capsys.readouterr()
    assert code == 0, said.err
    return said.out


def test_why_on_the_embedded_model_resumes_and_feeds_a_verifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    for number in range(4):  # the first one that is decided, whatever weights ship
        labels, problem = f"why-{number}.jsonl", f"graph-6-test-0-{number}"
        command = ["why", LEVEL, "--problem", problem, "-o", labels, "--run", f"{number}.db", "--json"]
        facts = json.loads(thence(capsys, *command))
        if facts["decided"]:
            break
    assert facts["decided"]
    assert facts["charged"]["total"] > 0
    assert json.loads(thence(capsys, *command)) == facts
    [record] = read_labels(labels)
    assert record.record() == facts["record"]
    assert record.extra["question"]
    thence(capsys, "label", "--from", labels, "-o", "trl.jsonl", "--format", "trl")
    [row] = [json.loads(line) for line in Path("trl.jsonl").read_text().splitlines()]
    dead = [not label for label in row["labels"]]
    assert dead.index(True) == (0 if facts["fatal"] is None else facts["fatal"])


def test_rating_samples_of_the_embedded_model_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    command = [
        "label",
        LEVEL,
        "--limit",
        "2",
        "--by-hand",
        "-o",
        "mine.jsonl",
        "--run",
        "l.db",
        "--active",
        "agreement",
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO("-\n-\n"))
    thence(capsys, *command, "--labeler", "me")
    rows = [json.loads(line) for line in Path("mine.jsonl").read_text().splitlines()]
    assert [row["label"]["finish_reason"] for row in rows] == ["found_error"] * 2
    assert {row["labeler"] for row in rows} == {"me"}
    monkeypatch.setattr(sys, "stdin", io.StringIO("-"))
    thence(capsys, *command)
    assert len(Path("mine.jsonl").read_text().splitlines()) == 3
    told = json.loads(thence(capsys, "label", "--agreement", "mine.jsonl", "mine.jsonl", "--json"))
    assert told["raw"] == 1


def test_labels_that_a_judge_agrees_with_and_another_model_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    base = ["label", LEVEL, "--limit", "2", "--method", "math-shepherd(n=2, solutions=2)", "--json"]
    plain = json.loads(thence(capsys, *base, "-o", "plain.jsonl"))
    agreed = json.loads(thence(capsys, *base, "-o", "agreed.jsonl", "--consensus", "data-flow"))
    assert agreed["steps"] == plain["steps"]
    assert agreed["labelled_steps"] < plain["labelled_steps"]
    assert agreed["run"] != plain["run"]
    thence(capsys, *base, "-o", "other.jsonl", "--completer", "acorn", "--format", "math-shepherd")
    assert len(read_labels("other.jsonl", "math-shepherd")) == plain["solutions"]
