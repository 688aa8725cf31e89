"""First errors of given solutions: hand-computed thresholds and shares, a world's oracle, killed and resumed runs."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from thence.cli import run
from thence.core.completion import Ability
from thence.core.errors import ModelError, StoreError, UsageError
from thence.core.problem import Problem
from thence.core.run import Stopper
from thence.core.scores import Meaning, Score
from thence.core.search import Search
from thence.core.tree import Node, Tree
from thence.evals.first_error import (
    NEVER,
    Scored,
    Shares,
    best_threshold,
    calibrates,
    evaluate_first_error,
    first_error_header,
    harmonic,
    measure,
    predict,
    step_auroc,
)
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.tasks.big_bench_mistake import BigBenchMistake
from thence.tasks.first_error import FirstErrorTask, Given
from thence.tasks.mr_gsm8k import MrGsm8k
from thence.verifiers.basic import Agreement
from thence.verifiers.data_flow import DataFlow
from thence.worlds import Chain, State

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")


class Own(FirstErrorTask):
    """A task of our own."""

    name = "own"

    def __init__(self, items: Sequence[tuple[Problem, Given]]) -> None:
        super().__init__({}, items)


@dataclass(slots=True)
class Marked:
    """Reads its numbers from the steps (``… 0.3``), and counts what it was asked."""

    broken: str = ""
    asked: list[str] = field(default_factory=list)
    name: str = "marked"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        scores = []
        for node in nodes:
            self.asked.append(search.problem.id)
            steps = tuple(float(n.text.split()[-1]) for n in search.tree.path(node))
            if search.problem.id == self.broken:
                steps = steps[:-1]
            scores.append(Score(min(steps, default=0.0), steps, Meaning.PREFIX_VALID, tokens=2 * len(steps)))
        return scores


def given(*numbers: float, error: int | None = None) -> Given:
    return Given(tuple(f"step {n}" for n in numbers), error)


def task_of(items: Sequence[Given]) -> Own:
    return Own([(Problem(f"p{i:03d}", f"question {i}"), item) for i, item in enumerate(items)])


def sure(n: int) -> Own:
    """Every third is right; the wrong step has .2, steps before it .8, right solutions .7: any threshold in [.2, .7)
    is perfect."""
    items = [
        given(0.7, 0.9) if i % 3 == 0 else given(0.8, *[0.8] * (i % 3), 0.2, 0.1, error=1 + i % 3) for i in range(n)
    ]
    return task_of(items)


# --- thresholds and shares -----------------------------------------------------------------------------------------


def test_the_prediction_is_the_first_step_at_or_below_the_threshold() -> None:
    steps = (0.9, 0.5, 0.1, 0.5)
    assert [predict(steps, t) for t in (NEVER, 0.05, 0.1, 0.3, 0.5, 0.9)] == [None, None, 2, 2, 1, 0]


def test_the_interval_of_right_thresholds() -> None:
    assert Scored((0.9, 0.5, 0.1), 1).thresholds() == (0.5, 0.9)
    assert Scored((0.9, 0.5), None).thresholds() == (NEVER, 0.5)
    assert Scored((0.9, 0.5), 0).thresholds() == (0.9, math.inf)
    low, high = Scored((0.2, 0.5), 1).thresholds()  # an earlier step is lower: no threshold is right
    assert high <= low


def test_step_auroc_counts_pairs_of_right_and_first_wrong_steps() -> None:
    traces = [Scored((0.9, 0.2, 0.1), 1), Scored((0.3, 0.8), None), Scored((0.3,), 0)]
    # right .9 .3 .8, first wrong .2 .3; what follows a wrong step (.1) counts for nothing
    assert step_auroc(traces) == pytest.approx((2 + 1.5 + 2) / 6)
    assert step_auroc(traces[1:2]) is None
    assert step_auroc(traces[2:]) is None
    rng = random.Random(3)
    noise = [Scored(tuple(rng.random() for _ in range(4)), rng.choice((None, 0, 2))) for _ in range(2000)]
    assert step_auroc(noise) == pytest.approx(0.5, abs=0.03)


def test_the_best_threshold_is_that_of_brute_force() -> None:
    """On 200 random sets of traces, with ties: no other threshold does better, and no lower one as well."""
    rng = random.Random(5)
    for _ in range(200):
        traces = []
        for _ in range(rng.randint(1, 8)):
            steps = tuple(rng.randint(0, 4) / 4 for _ in range(rng.randint(1, 4)))
            traces.append(Scored(steps, rng.choice([None, *range(len(steps))])))

        def worth(t: float, traces: list[Scored] = traces) -> float:
            shares = measure(traces, t)
            n = shares.with_mistake + shares.without
            return (shares.found + shares.passed) / n if shares.f1 is None else shares.f1

        values = {t: worth(t) for t in (NEVER, 0.0, 0.25, 0.5, 0.75, 1.0)}
        best = max(values.values())
        assert best_threshold(traces) == min(t for t, v in values.items() if v >= best - 1e-12)


def test_f1_is_the_harmonic_mean_of_both_shares() -> None:
    shares = Shares(found=3, with_mistake=4, passed=1, without=2)
    assert shares.f1 == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert shares.f1_interval is not None
    low, high = shares.f1_interval
    assert 0.1 < low < 0.6 < high < 0.95
    assert Shares(0, 4, 2, 2).f1 == 0.0  # a judge that always says "right"
    assert Shares(3, 4, 0, 0).f1 is None
    assert Shares(0, 0, 2, 2).f1 is None
    assert harmonic(0.0, 0.0) == 0.0


def test_the_interval_of_f1_covers_it_at_95_percent() -> None:
    """Shares .6 of 60 and .5 of 40: the interval holds the true F1 in about 95 % of 200 draws."""
    rng = random.Random(2)
    truth, covered, n = harmonic(0.6, 0.5), 0, 200
    for _ in range(n):
        found, passed = sum(rng.random() < 0.6 for _ in range(60)), sum(rng.random() < 0.5 for _ in range(40))
        interval = Shares(found, 60, passed, 40).f1_interval
        assert interval is not None
        covered += interval[0] <= truth <= interval[1]
    assert abs(covered / n - 0.95) <= 4 * (0.95 * 0.05 / n) ** 0.5


# --- runs ----------------------------------------------------------------------------------------------------------


async def test_a_verifier_that_knows_has_f1_1_and_a_blind_one_0() -> None:
    task = sure(40)
    report = await evaluate_first_error(task, Marked())
    assert (report.f1, report.accuracy_with_mistake, report.accuracy_without_mistake) == (1.0, 1.0, 1.0)
    assert report.threshold == 0.2
    assert report.n + report.calibrated_on == 40
    assert min(report.n, report.calibrated_on) > 5
    assert report.charged.verifier == sum(2 * len(task.given(p).steps) for p in task.problems())
    blind = task_of([given(0.5, 0.5, error=None if i % 2 else 1) for i in range(40)])
    report = await evaluate_first_error(blind, Marked())
    assert (report.f1, report.accuracy_without_mistake, report.threshold) == (0.0, 1.0, None)
    assert report.constant == 1.0  # and naming step 1 always finds all mistakes
    assert report.constant_step == 1


async def test_only_the_odd_half_is_reported_and_only_the_even_half_chooses() -> None:
    """In one half the first error is at the first step below .6, in the other below .3: the threshold is the even
    half's, so the odd half is all wrong."""
    questions = [Problem(f"p{i}", f"question {i}") for i in range(60)]
    items = [(p, given(0.5, 0.2, error=0 if calibrates(p) else 1)) for p in questions]
    report = await evaluate_first_error(Own(items), Marked())
    assert report.threshold == 0.5
    assert report.accuracy_with_mistake == 0.0
    assert report.n == sum(not calibrates(p) for p in questions)


async def test_without_right_solutions_there_is_an_accuracy_and_no_f1() -> None:
    report = await evaluate_first_error(task_of([given(0.9, 0.1, error=1)] * 20), Marked())
    assert (report.f1, report.f1_interval, report.accuracy_with_mistake) == (None, None, 1.0)
    assert report.accuracy_without_mistake is None
    assert report.statement == f"no F1: there is no right solution among these {report.n} traces"
    assert json.loads(json.dumps(report.document()))["f1"] is None


async def test_a_verifier_without_step_scores_is_refused() -> None:
    with pytest.raises(UsageError, match="agreement has one number for a whole solution and none for its steps"):
        await evaluate_first_error(sure(10), Agreement())


async def test_wrong_counts_and_numbers_that_are_none_fail_one_problem_each() -> None:
    task = task_of([given(0.9, 0.1, error=1)] * 10 + [given(0.9, math.nan, error=1)])
    report = await evaluate_first_error(task, Marked(broken="p003"))
    assert dict(report.failures) == {
        "p003": "marked gave 1 numbers for 2 steps",
        "p010": "marked gave a step a number that is none: [0.9, nan]",
    }
    assert report.incomplete
    assert report.n + report.calibrated_on == 9


@dataclass(slots=True)
class Short:
    """Reads solutions of at most ``most`` steps, as a model with a short context."""

    most: int
    name: str = "short"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        if len(search.tree.path(nodes[0])) > self.most:
            raise ModelError(f"short reads at most {self.most} steps")
        return await Marked().score(search, nodes)


async def test_a_solution_that_is_too_long_fails_alone_unless_all_are() -> None:
    task = task_of([given(0.9, 0.1, error=1)] * 10 + [given(0.9, 0.9, 0.1, error=2)])
    report = await evaluate_first_error(task, Short(2))
    assert report.failures == [("p010", "short reads at most 2 steps")]
    with pytest.raises(ModelError, match="short could score none of 11 solutions: short reads at most 1 steps"):
        await evaluate_first_error(task, Short(1))


async def test_an_oracle_of_validity_finds_every_first_slip() -> None:
    """Solutions of a chain world: the first step that leaves the track is what its oracle calls the first error."""
    ways = list(itertools.product(State, repeat=3))
    world = Chain(steps=3, size=len(ways))
    items = []
    for number in range(len(ways)):
        steps = tuple(world.line(state).strip() for state in ways[number])
        error = next((i for i, state in enumerate(ways[number]) if state is not State.ON_TRACK), None)
        items.append((world.problem(number), Given(steps, error)))
    task = Own(items)
    for meaning in (Meaning.PREFIX_VALID, Meaning.STEP_CORRECT):
        report = await evaluate_first_error(task, world.verifier(meaning))
        assert report.accuracy_with_mistake == 1.0
        assert report.threshold == 0.0
    noisy = await evaluate_first_error(task, world.verifier(Meaning.PREFIX_VALID, noise=3.0))
    assert noisy.accuracy_with_mistake is not None
    assert noisy.accuracy_with_mistake < 0.9


async def test_data_flow_finds_a_false_sum() -> None:
    """A false equation is found wherever it stands; steps are those of the task, also with line breaks inside."""
    items = []
    for i in range(30):
        sums = [f"He has {i} + {k} = {i + k} apples" for k in range(2, 5)]
        if i % 3:
            sums[i % 3] += "\nThat is 7 * 7 = 50"
        items.append((Problem(f"p{i}", f"He has {i} apples and gets 2, 3 and 4."), Given(tuple(sums), i % 3 or None)))
    report = await evaluate_first_error(Own(items), DataFlow())
    assert (report.f1, report.failed) == (1.0, 0)


async def test_a_killed_run_scores_the_rest_and_ends_in_the_same_report(tmp_path: Path) -> None:
    task = sure(30)
    header = first_error_header(task, "marked")
    whole = await evaluate_first_error(task, Marked())
    half = Marked()

    stopper = Stopper()

    class Stops:
        def on_start(self, total: int, label: str) -> None: ...
        def on_finish(self) -> None: ...
        def on_result(self, index: int, verdict: object, tokens: object, *, fresh: bool) -> None:
            if len(half.asked) >= 10:
                stopper.stop()

    with RunFile.open(tmp_path / "run.db", header) as store, pytest.raises(RuntimeError, match="interrupted"):
        await evaluate_first_error(task, half, store=store, progress=Stops(), stopper=stopper)
    assert 10 <= len(half.asked) < 30
    rest = Marked()
    with RunFile.open(tmp_path / "run.db", header) as store:
        resumed = await evaluate_first_error(task, rest, store=store)
    assert sorted(half.asked + rest.asked) == sorted(p.id for p in task.problems())  # nothing twice
    a, b = whole.document(), resumed.document()
    for volatile in ("run", "seconds"):
        del a[volatile], b[volatile]
    assert a == b
    with RunView(tmp_path / "run.db") as view:
        records = view.results(Cell())
        assert {r["verdict"] for r in records.values()} == {"correct"}
        assert {r["half"] for r in records.values()} == {"calibration", "report"}
        wrong = next(p for p in task.problems() if task.given(p).first_error == 2)
        assert records[wrong.id]["answer"] == "2"
        tree = Tree.from_record(view.tree(Cell(), wrong.id))
    assert [n.scores["marked, step"].value for n in tree.nodes[1:]] == list(records[wrong.id]["steps"])
    assert [n.origin for n in tree.nodes[1:]] == ["given"] * len(records[wrong.id]["steps"])


async def test_a_larger_limit_chooses_anew_and_rewrites_the_verdicts(tmp_path: Path) -> None:
    task = sure(40)
    with RunFile.open(tmp_path / "run.db", first_error_header(task, "marked", limit=5)) as store:
        small = await evaluate_first_error(task, Marked(), limit=5, store=store)
    with RunFile.open(tmp_path / "run.db", first_error_header(task, "marked")) as store:
        large = await evaluate_first_error(task, Marked(), store=store)
        records = store.results(Cell())
    assert small.n + small.calibrated_on == 5
    assert large.f1 == 1.0
    assert all(r["verdict"] == "correct" for r in records.values())
    with (
        pytest.raises(StoreError, match="verifier is"),
        RunFile.open(tmp_path / "run.db", first_error_header(task, "other")),
    ):
        pass


async def test_nothing_is_generated() -> None:
    report = await evaluate_first_error(sure(12), Marked(), seed=3)
    assert (report.charged.prompt, report.charged.generated) == (0, 0)
    assert report.spent.generated == 0


# --- the command ---------------------------------------------------------------------------------------------------


def written(path: Path) -> Path:
    rows = []
    for i in range(24):
        wrong = i % 2
        steps = [f"{i} + 1 = {i + 1}.", f"{i + 1} + 1 = {i + 2 + wrong}.", f"So the answer is {i + 2 + wrong}"]
        rows.append({"input": f"{i} + 1 + 1 =", "steps": steps, "mistake_index": 1 if wrong else None})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = f"big-bench-mistake(file={written(tmp_path / 'sums.jsonl')})"
    assert run(["eval", task, "--verifier", "data-flow", "-q", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["f1"] == 1.0
    assert document["verifier"] == "data-flow"
    assert run(["eval", task, "--verifier", "data-flow", "-q"]) == 0  # resumes: nothing is left to do
    shown = capsys.readouterr()
    assert "resuming" in shown.err
    assert "100.0 %" in shown.out
    assert "chosen on / reported on" in shown.out
    path = document["run"]
    assert run(["eval", "--again", path, "-q", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["f1"], again["n"]) == (document["f1"], document["n"])
    assert again["run"] != path
    assert run(["show", path]) == 0
    assert "24 correct" in capsys.readouterr().out
    assert run(["show", path, "--problem", "sums-0002"]) == 0
    assert "data-flow, step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say who looks for their first error: --verifier SPEC"),
        (["--verifier", "agreement"], "none for its steps"),
        (["--verifier", "data-flow", "--budget", "1k"], "leave strategy and costs out"),
        (["--verifier", "nobody"], "nobody"),
    ],
)
def test_what_does_not_go_together_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    task = f"big-bench-mistake(file={written(tmp_path / 'sums.jsonl')})"
    assert run(["eval", task, *arguments, "-q"]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_a_verifier_for_a_task_without_given_solutions_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "wordproblems", "--verifier", "data-flow"]) == 2
    assert "has no given solutions" in capsys.readouterr().err


# --- the published files -------------------------------------------------------------------------------------------


@needs_data
async def test_data_flow_on_published_traces() -> None:
    """What docs and log say: sums with false equations are found, solutions without numbers are all let pass."""
    sums = await evaluate_first_error(
        BigBenchMistake(str(DATA / "big_bench_mistake"), "multistep_arithmetic"), DataFlow()
    )
    assert (sums.with_mistake, sums.without_mistake) == (122, 28)
    assert sums.f1 is not None
    assert 0.35 < sums.f1 < 0.6
    sorting = BigBenchMistake(str(DATA / "big_bench_mistake"), "word_sorting")
    words = await evaluate_first_error(sorting, DataFlow(), limit=40)
    assert (words.f1, words.threshold) == (0.0, None)
    wrong = await evaluate_first_error(MrGsm8k(str(DATA / "mr_gsm8k" / "mr_gsm8k_wrong_590.jsonl.gz")), DataFlow())
    assert wrong.f1 is None
    assert wrong.accuracy_with_mistake is not None
    assert wrong.constant is not None
    assert wrong.accuracy_with_mistake > wrong.constant
