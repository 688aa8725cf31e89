"""The curves of a stored run: the report's own numbers, best-of-k by enumeration, cost in proportion."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from sums import Sums, noisy

from thence.core.errors import DataError
from thence.core.scores import Meaning, Score
from thence.core.search import Node, Search
from thence.core.tree import Tree
from thence.evals.evaluate import Arm, eval_header, evaluate
from thence.evals.statistics.run_curves import run_curves
from thence.prompts.styles import Bare
from thence.stores.sqlite import Cell, RunFile
from thence.strategies.best_of_n import BestOfN
from thence.strategies.self_consistency import SelfConsistency


class Smallest:
    """A verifier that likes small answers, with ties."""

    name = "smallest"
    needs: frozenset[Any] = frozenset()

    async def score(self, search: Search, nodes: list[Node]) -> list[Score]:
        values = [int(n.text.rpartition(" ")[2]) for n in nodes]
        return [Score(-float(v // 2 * 2), (), Meaning.OUTCOME, 3) for v in values]


async def stored(tmp_path: Path, strategy: Any) -> tuple[Any, list[Any], dict[str, Any]]:
    task, generator = Sums(24), noisy()
    arm = Arm("arm", strategy, Bare())
    with RunFile.open(tmp_path / "run.db", eval_header(task, generator, arm)) as store:
        report = await evaluate(task, generator, arm, store=store)
        trees = {r["problem"]: store.tree(Cell(), r["problem"]) for r in report.records}
    return report, report.records, trees


async def test_coverage_and_votes_are_the_reports_and_cost_is_in_proportion(tmp_path: Path) -> None:
    report, records, trees = await stored(tmp_path, SelfConsistency(n=8))
    made = run_curves("sc", records, trees, Sums(24))
    assert [p.k for p in made.points] == [1, 2, 4, 8]
    for point in made.points:
        assert point.coverage.mean == pytest.approx(report.pass_at[point.k])
        assert point.majority == pytest.approx(report.maj_at[point.k])
        assert point.guess is not None
        assert point.guess < 0.2  # other sums' answers are other numbers
        assert point.best == {}
    generated = report.charged.generated / 24
    assert made.points[-1].charged.generated == round(generated)
    assert made.points[1].charged.generated == round(generated / 4)
    assert made.points[0].charged.prompt == made.points[-1].charged.prompt == round(report.charged.prompt / 24)
    assert (made.sorting, [len(s.problems) for s in made.strata]) == (4, [5, 5, 5, 5, 4])


async def test_best_of_k_is_the_mean_over_all_subsets_of_what_the_verifier_takes(tmp_path: Path) -> None:
    report, records, trees = await stored(tmp_path, BestOfN(Smallest(), n=6))  # type: ignore[arg-type]
    task = Sums(24)
    gold = {p.id: int(task.gold(p)) for p in task.problems()}
    made = run_curves("bon", records, trees, task)
    best = {p.k: p.best["smallest"] for p in made.points}
    expected = dict.fromkeys(best, 0.0)
    for problem, rows in trees.items():
        answers = [
            int(n.text.rpartition(" ")[2]) for n in Tree.from_record(rows).nodes[1:] for _ in range(n.multiplicity)
        ]
        assert len(answers) == 6
        for k in best:
            subsets = list(itertools.combinations(answers, k))
            for subset in subsets:
                least = min(a // 2 for a in subset)
                tied = [a for a in subset if a // 2 == least]
                expected[k] += sum(a == gold[problem] for a in tied) / len(tied) / len(subsets) / 24
    assert best == pytest.approx(expected)
    assert best[6] >= (report.accuracy or 0) - 0.2


async def test_a_run_whose_task_is_gone_still_has_its_curves(tmp_path: Path) -> None:
    report, records, trees = await stored(tmp_path, SelfConsistency(n=4))
    made = run_curves("sc", records, trees, None)
    assert made.points[-1].coverage.mean == pytest.approx(report.pass_at[4])
    assert [p.guess for p in made.points] == [None] * 3
    assert "task is not at hand" in made.notes[0]
    assert run_curves("sc", records, trees, Sums(3)).notes == made.notes


async def test_what_has_no_samples_or_no_references_is_refused(tmp_path: Path) -> None:
    _, records, trees = await stored(tmp_path, SelfConsistency(n=4))
    with pytest.raises(DataError, match="0 graded problems"):
        run_curves("sc", [r | {"verdict": None} for r in records], trees, None)
    with pytest.raises(DataError, match="'s3' has no whole-solution sample"):
        run_curves("sc", [r | ({"draws": []} if r["problem"] == "s3" else {}) for r in records], trees, None)
