"""Comparison: one pool, paired problems, honest p-values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sums import Sums, noisy, solver

from thence.core.errors import StoreError, UsageError
from thence.evals.compare import EXTENDABLE, Grid, baseline_index, compare, compare_header
from thence.evals.evaluate import UNKNOWN, Arm, evaluate
from thence.evals.statistics.metrics import holm, mcnemar, wilson
from thence.prompts.styles import Bare, ChainOfThought
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.strategies.greedy import Greedy
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.strategies.self_consistency import SelfConsistency


def vote(n: int) -> Arm:
    return Arm(f"self-consistency(n={n})", SelfConsistency(n=n), Bare())


ONE = Arm("repeated-sampling(n=1)", RepeatedSampling(1), Bare())


async def test_arms_share_their_samples_and_are_charged_as_if_alone() -> None:
    task, generator = Sums(15), noisy()
    grid = Grid((ONE, vote(4), vote(16)))
    made = await compare(task, generator, grid)
    assert len(generator.requests) == 15 * 16
    for row, arm in zip(made.rows, grid.arms, strict=True):
        alone = await evaluate(task, noisy(), arm)
        (report,) = row.reports
        assert (report.accuracy, report.charged, row.interval) == (alone.accuracy, alone.charged, alone.interval)
        assert row.tokens == alone.tokens_per_problem
    assert [row.reports[0].spent.generated for row in made.rows] != [0, 0, 0]


async def test_differences_are_paired_tested_and_corrected() -> None:
    task = Sums(60)
    made = await compare(task, noisy(), Grid((ONE, vote(8), vote(32))))
    assert made.baseline == "repeated-sampling(n=1)"
    assert len(made.differences) == 2
    right = [{r["problem"]: r["verdict"] == "correct" for r in row.reports[0].records} for row in made.rows]
    for difference, arm in zip(made.differences, right[1:], strict=True):
        assert difference.paired is not None
        won = sum(arm[p] and not right[0][p] for p in arm)
        lost = sum(right[0][p] and not arm[p] for p in arm)
        assert (difference.paired.won, difference.paired.lost) == (won, lost)
        assert difference.paired.difference == pytest.approx((won - lost) / 60)
        assert difference.paired.p == mcnemar(won, lost)
        assert len(difference.flips) == won + lost
        assert all({a, b} == {0.0, 1.0} for _, a, b in difference.flips)
    ps = [d.paired.p for d in made.differences if d.paired]
    assert [d.paired.holm for d in made.differences if d.paired] == pytest.approx(holm(ps))
    document = json.loads(json.dumps(made.document()))
    assert [a["arm"] for a in document["arms"]] == [r.arm for r in made.rows]
    assert {"difference", "interval", "p", "holm", "won", "lost", "flips"} <= set(document["differences"][0])


async def test_seeds_are_averaged_within_problems_before_anything_else() -> None:
    task = Sums(30)
    made = await compare(task, noisy(), Grid((ONE, vote(8)), seeds=(0, 1, 2)))
    for row in made.rows:
        assert row.n == 30
        means: dict[str, float] = {}
        for report in row.reports:
            for r in report.records:
                means[r["problem"]] = means.get(r["problem"], 0) + (r["verdict"] == "correct") / 3
        assert row.accuracy == pytest.approx(sum(means.values()) / 30)
        assert row.interval is not None
        assert row.accuracy is not None
        narrow, wide = wilson(row.accuracy * 90, 90), wilson(row.accuracy * 30, 30)
        width = row.interval[1] - row.interval[0]
        assert narrow[1] - narrow[0] - 1e-9 <= width <= wide[1] - wide[0] + 1e-9
    paired = made.differences[0].paired
    assert paired is not None
    assert paired.n == 30
    assert paired.won + paired.lost <= 30


async def test_budgets_are_compared_with_the_baseline_at_the_same_budget() -> None:
    made = await compare(Sums(10), noisy(), Grid((ONE, vote(8)), budgets=(30, None)))
    assert [(r.arm, r.budget) for r in made.rows] == [(a, b) for b in (30, None) for a in (ONE.name, vote(8).name)]
    assert [d.budget for d in made.differences] == [30, None]
    tokens = [r.tokens for r in made.rows]
    assert tokens[1] is not None
    assert tokens[3] is not None
    assert tokens[1] <= 30 < tokens[3]


async def test_more_arms_seeds_and_budgets_extend_a_file_and_pay_only_for_themselves(tmp_path: Path) -> None:
    path, task = tmp_path / "run.db", Sums(6)

    async def run(grid: Grid, limit: int | None = None) -> int:
        generator = noisy()
        with RunFile.open(path, compare_header(task, generator, grid, limit=limit), extendable=EXTENDABLE) as store:
            await compare(task, generator, grid, limit=limit, store=store)
        return len(generator.requests)

    assert await run(Grid((vote(4),)), limit=3) == 3 * 4
    assert await run(Grid((vote(4),))) == 3 * 4
    assert await run(Grid((vote(4), vote(6)))) == 6 * 2
    assert await run(Grid((vote(4), vote(6)), seeds=(0, 1))) == 6 * 6
    assert await run(Grid((vote(4), vote(6)), seeds=(0, 1), budgets=(None, 10_000))) == 0
    with RunView(path) as view:
        assert list(view.header["arms"]) == ["self-consistency(n=4) @ bare", "self-consistency(n=6) @ bare"]
        assert view.header["seeds"] == [0, 1]
        assert view.header["budgets"] == [None, 10_000]
        assert len(view.cells()) == 8
        assert len(view.results(Cell("self-consistency(n=6) @ bare", 1, 10_000))) == 6
    with pytest.raises(StoreError, match="data is"):
        RunFile.open(path, compare_header(Sums(7), noisy(), Grid((vote(4),))), extendable=EXTENDABLE)
    other = Arm(vote(4).name, SelfConsistency(n=4), Bare(), sampling=noisy().defaults.greedy())
    with pytest.raises(StoreError, match=r"arms\[self-consistency\(n=4\) @ bare\].sampling.temperature is 0.7 in"):
        RunFile.open(path, compare_header(task, noisy(), Grid((other,))), extendable=EXTENDABLE)


async def test_a_failed_problem_leaves_only_the_pairs_it_is_in() -> None:
    calls: list[str] = []

    def fail(cue: object) -> object:
        from thence.core.completion import Failure

        calls.append(cue.problem)  # type: ignore[attr-defined]
        return Failure("timeout", "slow") if cue.problem == "s1" and calls.count("s1") > 1 else None  # type: ignore[attr-defined]

    made = await compare(Sums(10), noisy(fail=fail), Grid((ONE, vote(4))))
    assert [r.n for r in made.rows] == [10, 9]
    assert made.incomplete
    assert made.failed == 1
    assert made.differences[0].paired is not None
    assert made.differences[0].paired.n == 9


async def test_without_references_only_disagreement_is_claimed() -> None:
    made = await compare(Sums(20, references=False), noisy(), Grid((ONE, vote(8))))
    assert made.statement == UNKNOWN
    assert all(r.accuracy is None and r.n == 20 for r in made.rows)
    (difference,) = made.differences
    assert difference.paired is None
    assert difference.disagree is not None
    assert 0 < difference.disagree < 1
    same = solver(lambda i, cue: f"#### {i}")
    assert (await compare(Sums(5), same, Grid((ONE, vote(2))))).differences[0].disagree == 0


def test_arms_are_named_by_prompt_where_prompts_differ_and_baselines_by_either() -> None:
    greedy = Greedy()
    grid = Grid((Arm("greedy", greedy, Bare()), Arm("greedy", greedy, ChainOfThought())))
    assert grid.labels == ["greedy @ bare", "greedy @ cot"]
    assert Grid((Arm("greedy", greedy, Bare()),)).labels == ["greedy"]
    assert baseline_index(grid, None) == 0
    assert baseline_index(grid, "greedy @ cot") == 1
    with pytest.raises(UsageError, match="names 2 arms; the arms are: greedy @ bare, greedy @ cot"):
        baseline_index(grid, "greedy")
    with pytest.raises(UsageError, match="listed twice"):
        Grid((Arm("greedy", greedy, Bare()), Arm("greedy", greedy, Bare())))
    with pytest.raises(UsageError, match="at least one"):
        Grid(())
