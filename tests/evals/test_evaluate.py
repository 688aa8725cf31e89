"""Evaluation: the table is right, nothing is paid twice, and what failed is not counted as wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sums import Sums, noisy, solver

from thence.core.answers import Verdict
from thence.core.completion import Failure, Sampling
from thence.core.errors import DataError, Interrupted, StoreError, UsageError
from thence.core.problem import Problem
from thence.core.run import Stopper
from thence.core.tree import Tree
from thence.evals.evaluate import UNKNOWN, Arm, Report, again, eval_header, evaluate
from thence.evals.records import shuffled
from thence.evals.statistics.metrics import RunningAccuracy, wilson
from thence.prompts.styles import Bare, ZeroShotCoT
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.strategies.greedy import Greedy
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.strategies.self_consistency import SelfConsistency

GREEDY = Arm("greedy", Greedy(), Bare())
VOTE = Arm("self-consistency(n=6)", SelfConsistency(n=6), Bare())
HEADER = {"kind": "eval"}


def comparable(report: Report) -> dict[str, object]:
    """Everything of a report that must not depend on timing, kills or caches."""
    document = report.document()
    for name in ("seconds", "seconds_per_problem", "run", "spent"):
        document.pop(name)
    return document


async def test_every_number_of_a_report_by_hand() -> None:
    task = Sums(10, {"s1": "", "s2": "slow"})  # s1 has no readable reference, the grader of s2 is too slow

    def answer(i: int, cue: object) -> str:
        if i == 3:
            return "no number here"
        if i == 4:
            return "one two three four five six seven eight nine #### 9"  # cut at five tokens
        return f"#### {2 * i + 1}" if i < 8 else "#### 0"

    arm = replace(GREEDY, sampling=Sampling(max_tokens=5))
    report = await evaluate(task, solver(answer), arm, model="m")
    assert (report.n, report.unparsed, report.truncated, report.timeouts, report.failed) == (9, 1, 1, 1, 0)
    assert report.accuracy == pytest.approx(4 / 9)  # s0, s5, s6, s7
    assert report.interval == wilson(4, 9)
    assert report.ungradable == [("s1", "the reference is empty")]
    assert report.pass_at == {1: pytest.approx(4 / 9)} == report.maj_at
    # a question is 5 pieces between the roles' and a blank; "#### x" and its end are 3 tokens
    assert report.charged.prompt == 10 * (1 + 5 + 1 + 1)
    assert report.charged.generated == 8 * 3 + 4 + 5  # s3 writes 3 words and its end, s4 is cut at 5
    assert report.tokens_per_problem == pytest.approx((report.charged.total or 0) / 10)
    assert report.finishes == {"eos": 9, "length": 1}
    assert report.exact is True
    document = json.loads(json.dumps(report.document()))
    expected = (
        "task model strategy n accuracy interval pass_at maj_at charged spent seconds unparsed truncated failed run"
    )
    assert set(expected.split()) <= set(document)
    assert document["pass_at"] == {"1": pytest.approx(4 / 9)}
    assert document["ungradable"] == [{"problem": "s1", "reason": "the reference is empty"}]


async def test_pass_and_maj_at_k_are_those_of_the_trees(tmp_path: Path) -> None:
    task, n = Sums(8), 6
    with RunFile.open(tmp_path / "run.db", HEADER) as store:
        report = await evaluate(task, noisy(), VOTE, store=store)
        trees = {p.id: Tree.from_record(store.tree(Cell(), p.id)) for p in task.problems()}
    passes, votes = {1: 0.0, 2: 0.0, 4: 0.0, 6: 0.0}, {1: 0.0, 2: 0.0, 4: 0.0, 6: 0.0}
    for problem, k in itertools.product(task.problems(), passes):
        answers = [node.found.value for node in trees[problem.id] if node.found for _ in node.draws]
        assert len(answers) == n
        subsets = list(itertools.combinations(answers, k))
        for subset in subsets:
            counts = Counter(subset)
            top = [a for a in counts if counts[a] == max(counts.values())]
            passes[k] += (task.gold(problem) in subset) / len(subsets) / 8
            votes[k] += (task.gold(problem) in top) / len(top) / len(subsets) / 8
    assert report.pass_at == pytest.approx(passes)
    assert report.maj_at == pytest.approx(votes)
    assert report.maj_at_by == "enumeration"


async def test_repeated_sampling_reports_coverage_with_the_first_sample_as_its_accuracy() -> None:
    arm = Arm("repeated-sampling(n=8)", RepeatedSampling(8), Bare())
    report = await evaluate(Sums(40), noisy(), arm)
    assert report.pass_at[1] < report.pass_at[2] < report.pass_at[8]
    assert list(report.pass_at) == [1, 2, 4, 8]


class StopAfter:
    """Presses Ctrl-C when ``n`` problems are done; counts them."""

    def __init__(self, n: int) -> None:
        self.n, self.seen, self.stopper, self.finished = n, 0, Stopper(), False

    def on_start(self, total: int, label: str) -> None:
        self.total = total

    def on_result(self, index: int, verdict: Verdict | None, tokens: int | None, *, fresh: bool) -> None:
        self.seen += fresh
        if self.seen == self.n:
            self.stopper.stop()

    def on_finish(self) -> None:
        self.finished = True


@pytest.mark.parametrize("stop_after", [1, 7, 15])
async def test_a_run_stopped_anywhere_ends_in_the_table_of_an_uninterrupted_one(
    tmp_path: Path, stop_after: int
) -> None:
    task, path, progress = Sums(30), tmp_path / "run.db", StopAfter(stop_after)
    with RunFile.open(path, HEADER) as store:
        run = evaluate(task, noisy(capacity=12), VOTE, store=store, progress=progress, stopper=progress.stopper)
        with pytest.raises(Interrupted):
            await run
    assert progress.total == 30
    assert progress.finished
    assert progress.seen >= stop_after  # what was in flight finishes
    generator = noisy()
    with RunFile.open(path, HEADER) as store:
        before = set(store.results(Cell()))
        assert len(before) == progress.seen
        report = await evaluate(task, generator, VOTE, store=store)
    assert comparable(report) == comparable(await evaluate(task, noisy(), VOTE))
    asked = {request.problem for request in generator.requests}
    assert asked == {f"s{i}" for i in range(30)} - before


KILLED = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from sums import Sums, noisy
from thence.evals.evaluate import Arm, evaluate
from thence.prompts.styles import Bare
from thence.stores.sqlite import RunFile
from thence.strategies.self_consistency import SelfConsistency
with RunFile.open(sys.argv[1], {"kind": "eval"}) as store:
    print("begun", flush=True)
    arm = Arm("self-consistency(n=6)", SelfConsistency(n=6), Bare())
    asyncio.run(evaluate(Sums(90), noisy(capacity=20, seconds=0.05), arm, store=store))
"""


def test_kill_9_at_random_moments_changes_no_number_of_the_final_table(tmp_path: Path) -> None:
    path, rng, found = tmp_path / "run.db", random.Random(5), [0]
    for _ in range(3):
        command = [sys.executable, "-c", KILLED, str(path), str(Path(__file__).parent)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        target, deadline = found[-1] + rng.randint(5, 40), time.monotonic() + 60
        with RunView(path) as view:
            while view.sample_count() < target and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            process.kill()
            process.communicate()
            found.append(view.sample_count())
    assert found == sorted(found)
    assert found[-1] > found[0]
    with RunFile.open(path, HEADER) as store:
        unfinished = 90 - len(store.results(Cell()))
        report = asyncio.run(evaluate(Sums(90), noisy(), VOTE, store=store))
    assert unfinished > 0, "the run was never interrupted; the test would prove nothing"
    assert comparable(report) == comparable(asyncio.run(evaluate(Sums(90), noisy(), VOTE)))


async def test_stored_samples_of_an_unfinished_problem_are_not_paid_again(tmp_path: Path) -> None:
    path, calls = tmp_path / "run.db", 0

    def fail(cue: object) -> Failure | None:
        nonlocal calls
        calls += 1
        return Failure("timeout", "no reply") if calls == 4 else None

    task = Sums(1)
    with RunFile.open(path, HEADER) as store:
        first = await evaluate(task, noisy(fail=fail), VOTE, store=store)
        assert first.failed == 1
        assert first.incomplete
        assert first.n == 0
        assert first.accuracy is None
        assert "no reply" in first.failures[0][1]
        assert "no reply" in store.failures(Cell())["s0"].message
    generator = noisy()
    with RunFile.open(path, HEADER) as store:
        second = await evaluate(task, generator, VOTE, store=store)
        assert store.failures(Cell()) == {}
    assert len(generator.requests) == 1  # five of six samples were there
    assert second.charged == (await evaluate(task, noisy(), VOTE)).charged
    assert (second.failed, second.incomplete, second.n) == (0, False, 1)


async def test_failed_problems_stay_out_of_the_accuracy() -> None:
    def fail(cue: object) -> Failure | None:
        return Failure("http 500", "broken") if "What is 3 " in cue.question else None  # type: ignore[attr-defined]

    report = await evaluate(Sums(10), solver(lambda i, cue: f"#### {2 * i + 1}", fail=fail), GREEDY)
    assert (report.n, report.failed, report.accuracy, report.incomplete) == (9, 1, 1.0, True)


async def test_a_larger_limit_extends_and_all_seeds_share_problems(tmp_path: Path) -> None:
    task = Sums(12)
    order = [p.id for p in shuffled(list(task.problems()))]
    assert order != [p.id for p in task.problems()]
    generator = noisy()
    with RunFile.open(tmp_path / "run.db", HEADER) as store:
        for limit in (3, 5):
            report = await evaluate(task, generator, GREEDY, limit=limit, store=store)
            assert [r["problem"] for r in report.records] == order[:limit]
        assert [request.problem for request in generator.requests] == order[:5]
    other = await evaluate(task, noisy(), GREEDY, limit=5, seed=7)
    assert [r["problem"] for r in other.records] == order[:5]


async def test_progress_tells_the_place_in_the_shuffle_so_that_the_prefix_is_unbiased(tmp_path: Path) -> None:
    told: list[tuple[int, Verdict | None, bool]] = []

    class Listener:
        def on_start(self, total: int, label: str) -> None:
            told.clear()

        def on_result(self, index: int, verdict: Verdict | None, tokens: int | None, *, fresh: bool) -> None:
            assert tokens is not None
            told.append((index, verdict, fresh))

        def on_finish(self) -> None: ...

    with RunFile.open(tmp_path / "run.db", HEADER) as store:
        await evaluate(Sums(9), noisy(), GREEDY, limit=4, store=store, progress=Listener())
        report = await evaluate(Sums(9), noisy(), GREEDY, store=store, progress=Listener())
    assert sorted(told)[0][0] == 0
    assert len(told) == 9
    assert [fresh for _, _, fresh in told] == [False] * 4 + [True] * 5
    running = RunningAccuracy()
    for index, verdict, _ in told:
        running.add(index, None if verdict is None else verdict is Verdict.CORRECT)
    assert running.n == 9
    assert running.accuracy == report.accuracy


async def test_without_references_the_accuracy_is_said_to_be_unknown() -> None:
    task = Sums(10, references=False)
    report = await evaluate(task, noisy(), VOTE)
    assert task.graded == 0
    assert report.accuracy is None
    assert report.interval is None
    assert report.pass_at == {} == report.maj_at
    assert report.statement == UNKNOWN
    assert report.n == 10
    assert report.agreement is not None
    assert 0.3 < report.agreement < 1
    assert report.median_confidence is not None


async def test_references_change_verdicts_and_nothing_else(tmp_path: Path) -> None:
    permuted = {f"s{i}": str(2 * ((i + 3) % 8) + 1) for i in range(8)}
    kept = []
    for name, task in (("a", Sums(8)), ("b", Sums(8, permuted))):
        with RunFile.open(tmp_path / f"{name}.db", HEADER) as store:
            report = await evaluate(task, noisy(), VOTE, store=store)
            samples = dict(store._samples.rows)
            trees = [store.tree(Cell(), r["problem"]) for r in report.records]
        blind = ("verdict", "reason", "seconds", "elapsed", "draws")
        kept.append(([{k: v for k, v in r.items() if k not in blind} for r in report.records], trees, samples))
        kept[-1][0].append({"draws": [[d[:2] for d in r["draws"]] for r in report.records]})
    assert kept[0] == kept[1]


async def test_a_budget_cut_sample_is_no_draw_of_the_model() -> None:
    report = await evaluate(Sums(5), noisy(), VOTE, budget=26)
    assert all((r["charged"]["prompt"] + r["charged"]["generated"]) <= 26 for r in report.records)
    assert {r["stopped"] for r in report.records} == {"budget"}
    assert max(report.pass_at) < 6


async def test_a_full_disk_ends_the_run_in_one_line_and_keeps_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    store = RunFile.open(path, HEADER)
    await evaluate(Sums(40), noisy(), VOTE, limit=3, store=store)
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count={pages + 1}")
    with pytest.raises(StoreError, match="the disk is full"):
        await evaluate(Sums(500), noisy(), VOTE, store=store)
    with pytest.raises(StoreError, match="the disk is full"):
        store.close()
    with RunView(path) as view:
        assert len(view.results(Cell())) >= 3


async def test_bad_tasks_and_limits_are_refused_before_any_call() -> None:
    class Twice(Sums):
        def problems(self) -> list[Problem]:
            return [Problem("a", "What is 1 + 2?"), Problem("a", "What is 2 + 3?")]

    generator = noisy()
    with pytest.raises(DataError, match="used twice"):
        await evaluate(Twice(), generator, GREEDY)
    with pytest.raises(DataError, match="no problems"):
        await evaluate(Sums(0), generator, GREEDY)
    with pytest.raises(UsageError, match="limit is 0"):
        await evaluate(Sums(3), generator, GREEDY, limit=0)
    assert generator.requests == []


def refused(path: Path, header: dict[str, object]) -> str:
    with pytest.raises(StoreError) as said:
        RunFile.open(path, header)
    return str(said.value)


def test_every_difference_that_matters_refuses_by_name(tmp_path: Path) -> None:
    path, task, generator = tmp_path / "run.db", Sums(4), noisy()
    base = eval_header(task, generator, VOTE, limit=2, arguments={"task": "sums", "seed": 0})
    RunFile.open(path, base).close()
    RunFile.open(path, eval_header(task, generator, VOTE, limit=4)).close()
    for header, name in [
        (eval_header(Sums(5), generator, VOTE), "data"),
        (eval_header(task, noisy(name="other"), VOTE), "model.identity"),
        (eval_header(task, generator, GREEDY), "strategy"),
        (eval_header(task, generator, replace(VOTE, style=ZeroShotCoT())), "prompt.name"),
        (eval_header(task, generator, replace(VOTE, sampling=Sampling(top_p=0.9))), "sampling.top_p"),
        (eval_header(task, generator, VOTE, budget=100), "budget"),
        (eval_header(task, generator, VOTE, seed=1), "seed"),
        (eval_header(task, generator, VOTE, roles={"critic": generator}), "roles.critic.identity"),
    ]:
        text = refused(path, header)
        assert f"{name} is " in text
        assert "in the file" in text
        others = {"data", "model.identity", "strategy", "sampling.top_p", "budget", "seed"} - {name}
        assert not any(f" {other} is " in text for other in others)


def test_a_prompt_file_that_changed_is_another_prompt(tmp_path: Path) -> None:
    class Edited(Bare):
        def context(self, problem: Problem) -> object:  # type: ignore[override]
            return super().context(Problem(problem.id, f"{problem.text} Be brief."))

    path = tmp_path / "run.db"
    RunFile.open(path, eval_header(Sums(4), noisy(), replace(VOTE, prompt="my.txt"))).close()
    text = refused(path, eval_header(Sums(4), noisy(), replace(VOTE, prompt="my.txt", style=Edited())))
    assert "prompt.hash is " in text
    assert "prompt.name" not in text


def test_again_gives_the_arguments_back(tmp_path: Path) -> None:
    arguments = {"task": "sums", "model": "scripted", "seed": 3}
    path = tmp_path / "run.db"
    RunFile.open(path, eval_header(Sums(4), noisy(), VOTE, arguments=arguments)).close()
    with RunView(path) as view:
        assert again(view.header) == arguments
        with pytest.raises(StoreError, match="comes from `thence eval`"):
            again(view.header, "compare")
    with pytest.raises(StoreError, match="does not say how"):
        again({"kind": "eval"})


def test_an_unreadable_store_is_not_evaluated_into(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    assert "no thence run" in refused(path, HEADER)
