"""Critics on policies: numbers by hand, closed forms in a world, certainty, controls, bad input, the command."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from thence.cli import run
from thence.core.answers import Grade
from thence.core.completion import Ability, Sampling
from thence.core.errors import ModelError, UsageError
from thence.core.problem import Problem
from thence.core.protocols import Generator, Task
from thence.core.review import REVIEW
from thence.core.scores import Score
from thence.core.search import Search, Verifier
from thence.core.seeds import derive
from thence.core.tree import Node
from thence.evals.critics import (
    COIN,
    VOTE,
    YES,
    Judged,
    Panel,
    Rate,
    Solution,
    criticise,
    document,
    matrix,
    rate,
    solutions,
)
from thence.evals.evaluate import Arm, eval_header
from thence.evals.report import Report
from thence.evals.statistics.metrics import clustered_accuracy
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.grading.grade import grade_answer
from thence.prompts.styles import Bare
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.verifiers.asking import Critique, PTrue
from thence.verifiers.basic import Agreement
from thence.worlds.laws import critics_majority
from thence.worlds.revision import Revision

HOT = Sampling(temperature=1.0, max_tokens=40)


async def judged(
    path: Path, task: Task, policy: Generator, critics: Sequence[Verifier], *, n: int = 2, name: str = "policy"
) -> tuple[Report, list[Solution]]:
    panel = Panel(tuple(critics), n)
    arm = Arm(f"critics(n={n})", panel, Bare(), sampling=HOT)
    header = eval_header(task, policy, arm) | {"kind": "critics"}
    with RunFile.open(path, header) as store:
        return await criticise(task, policy, Bare(), panel, store, sampling=HOT, model=name)


def row(rows: Sequence[Judged], critic: str, policy: str = "policy") -> Judged:
    return next(r for r in rows if (r.policy, r.critic) == (policy, critic))


def value(rate: Rate) -> float:
    assert rate.value is not None
    return rate.value


# --- by hand ----------------------------------------------------------------------------------------------------------


def solution(
    problem: str, right: bool, score: float, draws: int = 1, certainty: float = 1.0, modal: float = 1.0
) -> Solution:
    return Solution(problem, right, draws, certainty, modal, {"c": score})


BY_HAND = [
    solution("a", True, 0.9, draws=3, certainty=0.75),
    solution("a", False, 0.7, certainty=0.75, modal=0.0),
    solution("b", False, 0.2, draws=2, certainty=0.5, modal=0.5),
    solution("b", True, 0.5, draws=2, certainty=0.5, modal=0.5),
    solution("c", False, 0.1, draws=4, certainty=1.0),
]


def test_all_numbers_by_hand() -> None:
    found = row(matrix({"policy": BY_HAND}), "c")
    assert (found.solutions, found.right) == (12, 5)
    assert value(found.tpr) == pytest.approx((3 + 2 * 0.5) / 5)
    assert value(found.tnr) == pytest.approx((0 + 2 + 4) / 7)
    assert value(found.accuracy) == pytest.approx((3 + 1 + 6) / 12)
    assert value(found.balanced) == pytest.approx((4 / 5 + 6 / 7) / 2)
    assert value(found.ahead) == 1.0  # both problems with right and wrong ones
    assert (found.accuracy.n, found.ahead.n, found.answered) == (3, 2, None)
    bins = {(b.low, b.high): value(b.accuracy) for b in found.bins}
    assert bins == {(0.4, 0.6): pytest.approx(3 / 4), (0.6, 0.8): pytest.approx(3 / 4), (0.8, 1.0): 1.0}
    for each in (found.accuracy, found.balanced, found.tpr, found.tnr, found.ahead):
        assert each.interval is not None
        assert 0 <= each.interval[0] <= value(each) <= each.interval[1] <= 1


def test_the_controls_are_what_they_are_called() -> None:
    rows = matrix({"policy": BY_HAND})
    assert [r.critic for r in rows] == ["c", COIN, YES, VOTE]
    assert [r.control for r in rows] == [False, True, True, True]
    assert value(row(rows, COIN).accuracy) == value(row(rows, COIN).balanced) == value(row(rows, COIN).ahead) == 0.5
    assert value(row(rows, YES).accuracy) == pytest.approx(5 / 12)  # the share of right ones
    assert value(row(rows, YES).balanced) == 0.5
    # right: a's three and its wrong one; half of b's four; none of c's
    assert value(row(rows, VOTE).accuracy) == pytest.approx((3 + 1 + 2 + 0) / 12)


def test_the_threshold_moves_verdicts_and_not_the_ranking() -> None:
    at = {t: row(matrix({"policy": BY_HAND}, threshold=t), "c") for t in (0.15, 0.5, 0.95)}
    assert [value(r.tpr) for r in at.values()] == pytest.approx([1.0, 0.8, 0.0])
    assert [value(r.tnr) for r in at.values()] == pytest.approx([4 / 7, 6 / 7, 1.0])
    assert {value(r.ahead) for r in at.values()} == {1.0}


def test_with_equal_draws_the_interval_is_that_of_clustered_accuracy() -> None:
    outcomes = {f"p{i}": [float(i % 3 > 0), float(i % 2)] for i in range(30)}
    drawn = [solution(p, True, v) for p, values in outcomes.items() for v in values]
    expected, interval = clustered_accuracy(outcomes)
    got = rate(drawn, lambda s: s.scores["c"])
    assert (got.value, got.n) == (pytest.approx(expected), 30)
    assert got.interval == pytest.approx(interval)


def test_intervals_hold_what_they_should() -> None:
    """A critic that is right with .7, four alike solutions a problem: the interval has the truth about 95 times in 100,
    one that took all draws for independent would not."""
    inside = 0
    for study in range(200):
        drawn = []
        for i in range(40):
            luck = derive("study", study, i) / 2**63
            drawn.append(solution(f"p{i}", True, 0.9 if luck < 0.7 else 0.1, draws=4))
        low, high = row(matrix({"policy": drawn}), "c").accuracy.interval or (0, 0)
        inside += low <= 0.7 <= high
    assert 180 <= inside <= 200


def test_a_policy_that_is_always_right_has_no_balanced_accuracy() -> None:
    drawn = [solution("a", True, 0.9), solution("b", True, 0.2)]
    found = row(matrix({"policy": drawn}), "c")
    assert (value(found.accuracy), value(found.tpr)) == (0.5, 0.5)
    assert found.balanced == found.tnr == found.ahead == Rate(None, None, 0)
    empty = matrix({"policy": []}, ["c"])
    assert [r.accuracy for r in empty] == [Rate(None, None, 0)] * 4
    assert json.loads(json.dumps(document(empty)))[0]["solutions"] == 0


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UsageError, match="other has no score of a solution of a by policy"):
        matrix({"policy": BY_HAND}, ["other"])
    with pytest.raises(UsageError, match="threshold is nan"):
        matrix({"policy": BY_HAND}, threshold=math.nan)
    with pytest.raises(UsageError, match="bins is 0"):
        matrix({"policy": BY_HAND}, bins=0)
    with pytest.raises(UsageError, match="samples is 0"):
        Panel((Agreement(),), 0)
    with pytest.raises(UsageError, match="agreement is given twice"):
        Panel((Agreement(), Agreement()))


# --- closed forms -----------------------------------------------------------------------------------------------------

SIZE = 150


@pytest.mark.parametrize("chance", [0.3, 0.8])
async def test_a_matrix_of_known_rates(tmp_path: Path, chance: float) -> None:
    """Two critics on a policy: TPR and TNR are those of a majority of their critiques, accuracy is mixed by the
    policy's own chance, and what is ahead follows from one critique's two rates."""
    policy = Revision(chance=chance, flag_wrong=0.5, flag_right=0.5, size=SIZE)
    sharp = replace(policy, flag_wrong=0.8, flag_right=0.2).generator(pace=0)
    one, three = Critique(sharp, "sharp", k=1), Critique(sharp, "sharp", k=3)
    report, drawn = await judged(
        tmp_path / "r.db", policy.task(), policy.generator(pace=0), [one, three, Critique(k=1)]
    )
    assert report.n == SIZE
    rows = matrix({"policy": drawn})

    def near(got: Rate, expected: float, n: int) -> None:
        assert abs(value(got) - expected) <= 4 * (expected * (1 - expected) / n) ** 0.5

    for name, each in ((one.name, 0.8), (three.name, critics_majority(0.8, 3)), ("critique(k=1)", 0.5)):
        found = row(rows, name)
        # equal texts of a problem are one solution, judged once: at least half of the draws are judged independently
        near(found.tpr, each, max(1, found.right // 2))
        near(found.tnr, each, (found.solutions - found.right) // 2)
        near(found.accuracy, each, SIZE)
        assert found.answered == 1.0
        assert found.balanced.interval is not None
    assert value(row(rows, three.name).accuracy) > value(row(rows, "critique(k=1)").accuracy) + 0.2
    near(row(rows, YES).accuracy, chance, 2 * SIZE)
    assert value(row(rows, COIN).accuracy) == 0.5


class Sheet:
    """Problems ``easy i`` and ``hard i``; 15 is right."""

    name = spec = "sheet"
    default_prompt = "bare"
    reading = NumericReading()

    def __init__(self, easy: int, hard: int, has_references: bool = True) -> None:
        self.has_references = has_references
        self._all = [
            Problem(f"{k}-{i}", f"{k} {i}: 7 + 8?") for k, n in (("easy", easy), ("hard", hard)) for i in range(n)
        ]

    def problems(self) -> Sequence[Problem]:
        return self._all

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        return grade_answer("15", answer)

    def check_references(self) -> list[tuple[str, str]]:
        return []


def sheet_model(right: float, hard_right: float, hard_wrong: float) -> ScriptedGenerator:
    """Easy ones are always right; of four samples of a hard one, one is. A review approves at the given rates."""

    def write(cue: Cue) -> str:
        easy = "easy" in cue.messages[0].content
        if cue.question == REVIEW:
            good = "#### 15" in cue.messages[1].content
            share = right if easy else hard_right if good else hard_wrong
            return "No problems found." if derive("luck", cue.seed) / 2**63 < share else "It is wrong."
        return "#### 15" if easy else f"#### {15 - (cue.draw or 0)}"

    return ScriptedGenerator(
        write, pace=0, abilities=frozenset(Ability) - {Ability.SCORE_TEXT, Ability.VALUES, Ability.THOUGHT_LIMIT}
    )


async def test_accuracy_by_certainty_is_each_kinds_own(tmp_path: Path) -> None:
    task: Task = Sheet(120, 60)
    report, drawn = await judged(tmp_path / "r.db", task, sheet_model(0.9, 0.6, 0.5), [Critique(k=1)], n=4)
    assert report.accuracy is not None
    found = row(matrix({"policy": drawn}), "critique(k=1)")
    by = {(b.low, b.high): b.accuracy for b in found.bins}
    assert set(by) == {(0.2, 0.4), (0.8, 1.0)}
    unsure, sure = by[0.2, 0.4], by[0.8, 1.0]
    assert (unsure.n, sure.n) == (60, 120)
    expected = 0.25 * 0.6 + 0.75 * 0.5
    assert abs(value(unsure) - expected) <= 4 * (0.25 / 240) ** 0.5
    assert abs(value(sure) - 0.9) <= 4 * (0.09 / 120) ** 0.5
    vote = {(b.low, b.high): value(b.accuracy) for b in row(matrix({"policy": drawn}), VOTE).bins}
    assert vote == {(0.2, 0.4): 0.5, (0.8, 1.0): 1.0}


# --- run files --------------------------------------------------------------------------------------------------------


async def test_a_run_file_is_resumed_and_read(tmp_path: Path) -> None:
    task: Task = Sheet(3, 5)
    model = sheet_model(1.0, 1.0, 0.0)
    _, drawn = await judged(tmp_path / "r.db", task, model, [Critique(k=2), Agreement()])
    spent = model.spent.generated
    _, again = await judged(tmp_path / "r.db", task, model, [Critique(k=2), Agreement()])
    assert again == drawn
    assert model.spent.generated == spent
    with RunView(tmp_path / "r.db") as view:
        assert solutions(task, view, Cell("", 0)) == drawn
    rows = matrix({"policy": drawn})
    assert [r.critic for r in rows if not r.control] == ["critique(k=2)", "agreement"]
    assert value(row(rows, "critique(k=2)").balanced) == 1.0


async def test_a_model_that_says_neither_is_counted(tmp_path: Path) -> None:
    def write(cue: Cue) -> str:
        return "Who knows." if "Yes/No" in cue.question else f"#### {14 + (cue.draw or 0)}"

    policy = ScriptedGenerator(write, pace=0)
    _, drawn = await judged(tmp_path / "r.db", Sheet(2, 0), policy, [PTrue(n=3, exact="no")])
    found = row(matrix({"policy": drawn}), "p-true(n=3)")
    assert (found.answered, value(found.accuracy), value(found.ahead)) == (0.0, 0.5, 0.5)


async def test_solutions_without_an_answer_are_left_out(tmp_path: Path) -> None:
    policy = ScriptedGenerator(lambda cue: "no idea", pace=0)
    report, drawn = await judged(tmp_path / "r.db", Sheet(2, 0), policy, [PTrue()])
    assert (drawn, report.n, report.charged.verifier) == ([], 2, 0)


@dataclass(frozen=True, slots=True)
class Broken:
    """A critic that gives no number, or cannot read."""

    error: bool
    name = "broken"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        if self.error:
            raise ModelError("too long")
        return [Score(math.nan) for _ in nodes]


@pytest.mark.parametrize(("error", "said"), [(True, "broken: too long"), (False, "broken gave nan")])
async def test_a_broken_critic_fails_by_name(tmp_path: Path, error: bool, said: str) -> None:
    policy = ScriptedGenerator(lambda cue: "#### 15", pace=0)
    with pytest.raises(ModelError, match=said):
        await judged(tmp_path / "r.db", Sheet(2, 0), policy, [Broken(error)])


async def test_a_task_without_references_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no references"):
        await judged(tmp_path / "r.db", Sheet(1, 0, False), ScriptedGenerator(lambda cue: "#### 15"), [Agreement()])


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["critics", "wordproblems(level=3)", "--critic", "data-flow", "-c", "agreement", "--limit", "6", "-q"]
    assert run(small) == 0
    shown = capsys.readouterr().out
    for word in ("data-flow", "agreement", "(coin)", "(always yes)", "(majority)", "balanced", "certainty", "critics-"):
        assert word in shown
    assert run([*small, "--json"]) == 0  # the run file has everything
    told = json.loads(capsys.readouterr().out)
    assert [r["critic"] for r in told["matrix"]] == ["data-flow", "agreement", COIN, YES, VOTE]
    assert told["policies"][0]["n"] == 6
    assert len(list((tmp_path / "runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wordproblems"], "who judges?"),
        (["wordproblems", "-c", "nobody"], "unknown verifier"),
        (["wordproblems", "-c", "data-flow", "--policy", "acorn", "--policy", "acorn"], "a policy is given twice"),
        (["wordproblems", "-c", "data-flow", "-c", "data-flow"], "data-flow is given twice"),
        (["wordproblems", "-c", "data-flow", "--samples", "0"], "samples is 0"),
        (["wordproblems", "-c", "data-flow", "--policy", "acorn", "--policy", "hf:x", "--run", "r.db"], "--run is one"),
    ],
)
def test_a_wrong_command_says_what_to_do(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["critics", *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
