"""What k of a run's samples would have given: coverage, guesses, votes, best-of-k, and their cost.

Everything comes from the n whole-solution samples that a stored run has of every problem: every curve at k is the mean
over all subsets of k of them (exact, or resampled where ``metrics`` says so), not over prefixes, which would add their
own noise. Cost at k: the prompt once, k samples of mean length, and the same share of the verifier's tokens.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from thence.core.answers import Verdict
from thence.core.budget import Charged
from thence.core.completion import Finish
from thence.core.errors import DataError
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.core.tree import Node, Tree
from thence.evals.records import Draws, Record, counted_law, sample_answer, whole_solution
from thence.evals.report import column_means, vote_of

from .coverage import best_of_k, coverage, guess_curve, guess_shares
from .difficulty import Stratum, divide, strata
from .intervals import Clustered
from .metrics import usual_ks

OTHERS = 32  # problems whose answers are tried as guesses


@dataclass(frozen=True, slots=True)
class Point:
    """The curves at k samples. ``guess`` is None where the task is not at hand, ``best`` is by verifier."""

    k: int
    coverage: Clustered
    guess: float | None
    majority: float
    best: dict[str, float]
    charged: Charged


@dataclass(slots=True)
class RunCurves:
    """One cell of a run: its points, and its problems by difficulty (none where there are too few samples)."""

    name: str
    problems: int
    samples: int
    points: list[Point]
    strata: list[Stratum] = field(default_factory=list)
    sorting: int = 0
    notes: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        doc = asdict(self)
        for stratum in doc["strata"]:
            stratum["problems"] = len(stratum["problems"])
        return doc


def run_curves(
    name: str,
    records: Sequence[Record],
    trees: Mapping[str, Any],
    task: Task | None,
    *,
    bins: int = 5,
    seed: int = 0,
) -> RunCurves:
    """All curves of one cell. ``trees`` holds the stored trees by problem; without a task there is no guess curve and
    no best-of-k. DataError where nothing is graded or a problem has no sample.
    """
    graded = {r["problem"]: r for r in records if r["verdict"] not in (None, Verdict.UNGRADABLE)}
    if len(graded) < 2:
        raise DataError(f"{name}: {len(graded)} graded problems; curves need references and at least 2 problems")
    draws = {p: [Draws(*d) for d in r["draws"]] for p, r in graded.items()}
    counts = {p: (sum(d.count for d in ds), sum(d.right for d in ds)) for p, ds in draws.items()}
    n = min(size for size, _ in counts.values())
    ks = usual_ks(n)
    if not ks:
        none = next(p for p, (size, _) in counts.items() if not size)
        raise DataError(f"{name}: problem {none!r} has no whole-solution sample; curves need e.g. self-consistency")
    largest = max(size for size, _ in counts.values())
    votes = column_means([vote_of(ds, ks, largest) for ds in draws.values()])
    covered = coverage(counts, ks)
    made = RunCurves(name, len(graded), n, [])
    known = {} if task is None else {p.id: p for p in task.problems()}
    guesses: dict[int, float] = {}
    best: dict[str, list[float]] = {}
    if task is None or not graded.keys() <= known.keys():
        made.notes.append("no guess curve and no best-of-k: the run's task is not at hand")
    else:
        shares = _guesses(task, known, draws)
        guesses = {k: guess_curve(shares, k) for k in ks}
        best = _best(task, known, {p: trees.get(p) for p in graded}, ks)
    for i, k in enumerate(ks):
        chosen = {verifier: values[i] for verifier, values in best.items()}
        cost = _cost(list(graded.values()), counts, k)
        made.points.append(Point(k, covered[k], guesses.get(k), votes[i], chosen, cost))
    if n >= 4 and len(graded) >= 2 * bins:
        made.sorting = n // 2
        made.strata = strata(divide(counts, made.sorting, seed=seed), bins)
    return made


def _guesses(task: Task, problems: Mapping[str, Problem], draws: Mapping[str, list[Draws]]) -> dict[str, float]:
    answers: dict[str, dict[Hashable | None, int]] = {
        p: {key: sum(d.count for d in ds if d.key == key) for key in dict.fromkeys(d.key for d in ds)}
        for p, ds in draws.items()
    }

    def right(problem: str, key: Hashable) -> bool:
        return task.grade(problems[problem], str(key), str(key)).verdict is Verdict.CORRECT

    return guess_shares(answers, right, others=OTHERS)


def _best(
    task: Task, problems: Mapping[str, Problem], trees: Mapping[str, Any], ks: Sequence[int]
) -> dict[str, list[float]]:
    """Mean best-of-k by each verifier that scored every sample of every problem."""
    columns: dict[str, list[list[float]]] = {}
    for problem, rows in trees.items():
        nodes = _samples(rows)
        names = set.intersection(*(set(n.scores) for n in nodes)) if nodes else set()
        scored = {name: _one_best(task, problems[problem], nodes, name, ks) for name in names}
        columns = {name: [*columns.get(name, []), v] for name, v in scored.items() if name in columns or not columns}
        if not columns:
            return {}
    return {name: column_means(rows) for name, rows in sorted(columns.items()) if len(rows) == len(trees)}


def _samples(rows: Any) -> list[Node]:
    """The whole-solution samples of a stored tree that ``records.draws`` counts."""
    nodes = [node for node in Tree.from_record(rows or []).nodes if whole_solution(node)]
    law = counted_law(nodes)
    return [n for n in nodes if n.completion.finish is not Finish.BUDGET and law is not None and law in n.laws]


def _one_best(task: Task, problem: Problem, nodes: Sequence[Node], name: str, ks: Sequence[int]) -> list[float]:
    scores: list[float] = []
    right: list[bool] = []
    for node in nodes:
        value = sample_answer(task.reading, node)
        hit = value is not None and task.grade(problem, node.completion.reply, value).verdict is Verdict.CORRECT
        drawn = node.laws.count(counted_law(list(nodes)) or "")
        scores += [node.scores[name].value] * drawn
        right += [hit] * drawn
    return best_of_k(scores, right, ks)


def _cost(records: Sequence[Record], counts: Mapping[str, tuple[int, int]], k: int) -> Charged:
    """Mean charged tokens per problem for k samples, rounded; None where a count is unknown."""
    parts: dict[str, int | None] = {}
    for name in ("prompt", "generated", "verifier"):
        values = [r["charged"][name] for r in records]
        if any(v is None for v in values):
            parts[name] = None
            continue
        drawn = [counts[r["problem"]][0] for r in records]
        shares = (v if name == "prompt" else v * k / n for v, n in zip(values, drawn, strict=True))
        parts[name] = round(math.fsum(shares) / len(records))
    return Charged(**parts)


__all__ = ["Point", "RunCurves", "run_curves"]
