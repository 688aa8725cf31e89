"""Where does a verifier see the first wrong step of solutions that are given?

``thence eval "big-bench-mistake(file=PATH)" --verifier SPEC``. The steps of each solution enter a tree one by one
(``Search.given``), the verifier scores them, nothing is generated. The predicted first error is the first step whose
score falls to the threshold or below it, ``none`` if no step's does.

The threshold is the one that does best on the questions whose content hash is even (of equals the lowest); everything
that is reported comes from the others, so no question helps to judge itself. A trace whose first error is k is right
exactly for the thresholds t with score_k <= t < min(score_0, ..., score_{k-1}), one without an error for
t < min(all scores): the best t is found by counting intervals.

Reported: the share of traces with a mistake whose first error is found exactly, the share of traces without one that
are let pass, and their harmonic mean, F1 (Zheng et al. 2024, arXiv:2412.06559; Tyen et al. 2023, arXiv:2311.08516).
A verifier that always says "right" has F1 = 0. Without both kinds of traces there is an accuracy and no F1. Beside it
stands what naming one and the same step for every trace would find, the one that is best on the even half.

The record of a problem keeps its step scores; prediction and verdict follow from all records and are written anew when
a session ends. A killed run so scores again only what was in flight, and ``thence show`` has all of it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from thence.core.answers import Verdict
from thence.core.budget import Charged, Spent
from thence.core.completion import Failure, Sampling
from thence.core.errors import CallFailed, ModelError, UsageError
from thence.core.problem import Problem
from thence.core.protocols import Generator
from thence.core.ranks import auroc
from thence.core.run import Runner, Stopper, wants_more
from thence.core.scores import Meaning, Score
from thence.core.search import Search, Verifier
from thence.core.segmenter import Kind, Segmenter
from thence.core.tree import Node
from thence.evals.statistics.metrics import Interval, wilson
from thence.evals.statistics.selection import is_development
from thence.prompts.styles import Bare
from thence.stores.header import Document
from thence.stores.sqlite import Cell, RunFile
from thence.tasks.first_error import FirstErrorTask, Given, said

from .evaluate import Progress, chosen_problems, model_document
from .records import Record

DRAWS = 20_000  # of the interval of F1
NEVER = -math.inf  # the threshold that no score falls to


@dataclass(frozen=True, slots=True)
class Scored:
    """A given solution's step scores and the index of its first wrong step (None: every step is right)."""

    steps: tuple[float, ...]
    first_error: int | None

    def thresholds(self) -> tuple[float, float]:
        """The thresholds t, low <= t < high, for which the prediction is exact; empty where high <= low."""
        if self.first_error is None:
            return NEVER, min(self.steps)
        return self.steps[self.first_error], min(self.steps[: self.first_error], default=math.inf)


def predict(steps: Sequence[float], threshold: float) -> int | None:
    """The first step whose score is at most ``threshold``; None where there is none."""
    return next((i for i, score in enumerate(steps) if score <= threshold), None)


@dataclass(frozen=True, slots=True)
class Shares:
    """Exact predictions among traces with a mistake, and among those without one."""

    found: int
    with_mistake: int
    passed: int
    without: int

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both shares; None unless there are traces of both kinds."""
        if not self.with_mistake or not self.without:
            return None
        return harmonic(self.found / self.with_mistake, self.passed / self.without)

    @property
    def f1_interval(self) -> Interval | None:
        """95 % of F1 when both shares have their posteriors under Jeffreys' prior (seeded draws); None without F1."""
        if self.f1 is None:
            return None
        rng = np.random.default_rng(0)
        a = rng.beta(self.found + 0.5, self.with_mistake - self.found + 0.5, DRAWS)
        b = rng.beta(self.passed + 0.5, self.without - self.passed + 0.5, DRAWS)
        low, high = np.quantile(2 * a * b / (a + b), (0.025, 0.975))
        return min(float(low), self.f1), max(float(high), self.f1)


def harmonic(a: float, b: float) -> float:
    """The harmonic mean of two shares; 0 if one of them is."""
    return 2 * a * b / (a + b) if a and b else 0.0


def measure(traces: Sequence[Scored], threshold: float) -> Shares:
    """How often the prediction at ``threshold`` is exact."""
    right = [predict(t.steps, threshold) == t.first_error for t in traces]
    mistaken = [t.first_error is not None for t in traces]
    found = sum(r and m for r, m in zip(right, mistaken, strict=True))
    return Shares(found, sum(mistaken), sum(right) - found, len(traces) - sum(mistaken))


def step_auroc(traces: Sequence[Scored]) -> float | None:
    """The chance that a right step scores above a first wrong one, ties counting half; None where one kind is missing.

    What follows a first wrong step is neither.
    """
    right = [score for t in traces for score in t.steps[: t.first_error]]
    wrong = [t.steps[t.first_error] for t in traces if t.first_error is not None]
    return auroc([*right, *wrong], [True] * len(right) + [False] * len(wrong))


def best_threshold(traces: Sequence[Scored]) -> float:
    """The lowest threshold with the best F1 (accuracy, where all traces are of one kind); NEVER without traces."""
    at = np.array([NEVER, *sorted({score for trace in traces for score in trace.steps})])
    shares = []
    for mistaken in (True, False):
        kind = [t.thresholds() for t in traces if (t.first_error is not None) is mistaken]
        if kind:
            lows, highs = np.array([(low, high) for low, high in kind if low < high] or np.empty((0, 2))).T
            right = np.searchsorted(np.sort(lows), at, "right") - np.searchsorted(np.sort(highs), at, "right")
            shares.append(right / len(kind))
    if not shares:
        return NEVER
    if len(shares) == 1:
        return float(at[int(np.argmax(shares[0]))])
    a, b = shares
    both = np.divide(2 * a * b, a + b, out=np.zeros(len(at)), where=a + b > 0)
    return float(at[int(np.argmax(both))])


def calibrates(problem: Problem) -> bool:
    """Whether a question serves to choose the threshold; equal questions always fall on the same side."""
    return is_development(problem.hash)


# --- one trace --------------------------------------------------------------------------------------------------------


async def score_given(search: Search, given: Given, verifier: Verifier) -> tuple[Node, Score]:
    """Put a given solution into the tree step by step and score it: its last node, and one finite number per step.

    UsageError for a verifier that has no numbers for steps, CallFailed where these steps have another number of them.
    """
    lines = Segmenter(Kind.LINE).steps("\n".join(given.steps)).steps  # a closing answer line belongs to its step
    inner = any("\n" in step for step in given.steps) and len(lines) != len(given.steps)
    search.segmenter = Segmenter(Kind.SEPARATOR, "\n\n") if inner else Segmenter(Kind.LINE)
    node = search.root
    for step in given.steps:
        node = search.given(step + ("\n\n" if inner else "\n"), node)
    (score,) = await search.score([node], verifier)
    if not score.steps or score.meaning is Meaning.OUTCOME:
        raise UsageError(
            f"{verifier.name} has one number for a whole solution and none for its steps; "
            "where the first error is only a verifier with step scores can say, such as data-flow or prm:PATH"
        )
    if len(score.steps) != len(given.steps):
        raise CallFailed(f"{verifier.name} gave {len(score.steps)} numbers for {len(given.steps)} steps", "steps")
    if not all(math.isfinite(s) for s in score.steps):
        raise CallFailed(f"{verifier.name} gave a step a number that is none: {list(score.steps)}", "score")
    for i, step_node in enumerate(search.tree.path(node)):  # for who looks at the tree
        step_node.scores[f"{verifier.name}, step"] = Score(score.steps[i], score.steps[: i + 1], score.meaning)
    return node, score


# --- all of them ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class FirstErrorReport:
    """What ``thence eval --verifier`` prints. ``n`` counts the traces reported on, ``calibrated_on`` those that chose
    the ``threshold`` (None: no step is ever called wrong). Intervals are at 95 %, Wilson's for shares.

    ``constant`` is the share of mistakes found by naming step ``constant_step`` in every trace. ``step_auroc`` is the
    chance that a right step scores above a first wrong one, over all traces. Costs are those of all traces.
    """

    task: str
    verifier: str
    seed: int
    n: int = 0
    accuracy_with_mistake: float | None = None
    interval_with_mistake: Interval | None = None
    with_mistake: int = 0
    accuracy_without_mistake: float | None = None
    interval_without_mistake: Interval | None = None
    without_mistake: int = 0
    f1: float | None = None
    f1_interval: Interval | None = None
    threshold: float | None = None
    calibrated_on: int = 0
    f1_on_calibration: float | None = None
    constant: float | None = None
    constant_step: int | None = None
    step_auroc: float | None = None
    charged: Charged = field(default_factory=Charged)
    spent: Spent = field(default_factory=Spent)
    seconds: float = 0.0
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    incomplete: bool = False
    statement: str = ""
    run: str | None = None

    def document(self) -> dict[str, Any]:
        """The report as plain JSON data."""
        doc = asdict(self)
        doc["failures"] = [{"problem": p, "reason": why} for p, why in self.failures]
        return doc


def first_error_header(
    task: FirstErrorTask,
    verifier: str,
    *,
    seed: int = 0,
    limit: int | None = None,
    model: str = "",
    generator: Generator | None = None,
    arguments: Mapping[str, object] | None = None,
) -> Document:
    """The header of the run file. The ``model`` is named only where the verifier asks it."""
    asked = {"model": model_document(generator) | {"name": model}} if generator is not None else {}
    return {
        "kind": "eval",
        "task": task.spec,
        "data": task.data_hash,
        **asked,
        "strategy": f"first error by {verifier}",
        "verifier": verifier,
        "seed": seed,
        "limit": limit,
        "arguments": dict(arguments or {}),
    }


async def evaluate_first_error(
    task: FirstErrorTask,
    verifier: Verifier,
    *,
    generator: Generator | None = None,
    seed: int = 0,
    limit: int | None = None,
    store: RunFile | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> FirstErrorReport:
    """Score the first ``limit`` given solutions that ``store`` has no scores for, and report on all of them.

    ``generator`` is the model that a verifier without one of its own asks. Raises Interrupted after a stop (what had
    finished is saved), UsageError for a verifier without step scores, and ModelError when no solution at all could be
    scored; where some could not, they are reported as failed.
    """
    cell = Cell("", seed)
    problems = chosen_problems(task, limit)
    known = store.results(cell) if store is not None else {}
    records: dict[str, Record] = {p.id: known[p.id] for p in problems if p.id in known}
    trees: dict[str, Any] = {}
    failures: dict[str, str] = {}
    models = {"policy": generator} if generator is not None else {}
    session, started = len(store.sessions()) if store is not None else 1, time.monotonic()
    if progress is not None:
        progress.on_start(len(problems), f"first error by {verifier.name}")
        for index, problem in enumerate(problems):
            if problem.id in records:
                progress.on_result(index, None, Charged(**records[problem.id]["charged"]).total, fresh=False)

    async def work(item: tuple[int, Problem]) -> tuple[Record, Any]:
        problem = item[1]
        search = Search(problem, models, Bare(), task.reading, Sampling(), seed=seed, pool=store)
        try:
            node, score = await score_given(search, task.given(problem), verifier)
        except (CallFailed, ModelError) as error:  # such as a solution that is longer than the verifier's context
            if store is not None:
                store.put_failure(cell, problem.id, Failure(getattr(error, "kind", "") or "model", str(error)))
            raise
        record = search.result(node).record()
        tree = record.pop("tree")
        return record | {"steps": list(score.steps), "meaning": str(score.meaning)}, tree

    def done(item: tuple[int, Problem], outcome: tuple[Record, Any]) -> None:
        record, tree = outcome
        record |= {"verdict": None, "session": session, "elapsed": round(time.monotonic() - started, 3)}
        records[item[1].id], trees[item[1].id] = record, tree
        if store is not None:
            store.put_result(cell, item[1].id, record, tree)
        if progress is not None:
            progress.on_result(item[0], None, Charged(**record["charged"]).total, fresh=True)

    def failed(item: tuple[int, Problem], error: Exception) -> None:
        failures[item[1].id] = str(error)
        if progress is not None:
            progress.on_result(item[0], None, None, fresh=True)

    hungry = wants_more([generator]) if generator is not None else lambda: True
    runner = Runner(work, done, failed, hungry=hungry, survive=(CallFailed, ModelError), most=64, stopper=stopper)
    try:
        await runner.run([(i, p) for i, p in enumerate(problems) if p.id not in records])
    finally:
        if progress is not None:
            progress.on_finish()
    scored = [p for p in problems if p.id in records]
    if not scored:
        raise ModelError(f"{verifier.name} could score none of {len(problems)} solutions: {failures[problems[0].id]}")
    report = FirstErrorReport(task.spec, verifier.name, seed, run=str(store.path) if store is not None else None)
    threshold = _summarise(report, task, scored, records, failures)
    if store is not None:
        _write_verdicts(store, cell, task, scored, records, trees, threshold)
    return report


def _summarise(
    report: FirstErrorReport,
    task: FirstErrorTask,
    problems: Sequence[Problem],
    records: Mapping[str, Record],
    failures: Mapping[str, str],
) -> float:
    """Fill ``report``; returns the threshold."""
    traces = {p.id: Scored(tuple(records[p.id]["steps"]), task.given(p).first_error) for p in problems}
    even = [traces[p.id] for p in problems if calibrates(p)]
    odd = [traces[p.id] for p in problems if not calibrates(p)]
    threshold = best_threshold(even)
    shares = measure(odd, threshold)
    report.n, report.calibrated_on = len(odd), len(even)
    report.threshold = None if threshold == NEVER else threshold
    report.with_mistake, report.without_mistake = shares.with_mistake, shares.without
    if shares.with_mistake:
        report.accuracy_with_mistake = shares.found / shares.with_mistake
        report.interval_with_mistake = wilson(shares.found, shares.with_mistake)
        report.constant_step, report.constant = _constant(even, odd)
    if shares.without:
        report.accuracy_without_mistake = shares.passed / shares.without
        report.interval_without_mistake = wilson(shares.passed, shares.without)
    report.f1, report.f1_interval = shares.f1, shares.f1_interval
    report.f1_on_calibration = measure(even, threshold).f1
    report.step_auroc = step_auroc([*even, *odd])
    if report.f1 is None:
        missing = "mistake" if not shares.with_mistake else "right solution"
        report.statement = f"no F1: there is no {missing} among these {len(odd)} traces"
    for record in records.values():
        report.charged += Charged(**record["charged"])
        report.spent += Spent(**record["spent"])
    last: dict[int, float] = {}
    for record in records.values():
        last[record["session"]] = max(last.get(record["session"], 0.0), record["elapsed"])
    report.seconds = round(sum(last.values()), 3)
    report.failures, report.failed, report.incomplete = list(failures.items()), len(failures), bool(failures)
    return threshold


def _constant(even: Sequence[Scored], odd: Sequence[Scored]) -> tuple[int | None, float | None]:
    """The commonest first error of the one half (of equals the earliest), and its share among the other's mistakes."""
    counts = Counter(t.first_error for t in even if t.first_error is not None)
    if not counts:
        return None, None
    step = min(counts, key=lambda i: (-counts[i], i))
    mistakes = [t.first_error for t in odd if t.first_error is not None]
    return step, mistakes.count(step) / len(mistakes)


def _write_verdicts(
    store: RunFile,
    cell: Cell,
    task: FirstErrorTask,
    problems: Sequence[Problem],
    records: Mapping[str, Record],
    trees: Mapping[str, Any],
    threshold: float,
) -> None:
    """Write prediction and verdict into the records where they are new, or changed with the threshold."""
    for problem in problems:
        record = records[problem.id]
        answer = said(predict(record["steps"], threshold))
        verdict: Verdict = task.grade(problem, "", answer).verdict
        half = "calibration" if calibrates(problem) else "report"
        if (record["answer"], record["verdict"], record.get("half")) == (answer, verdict, half):
            continue
        record |= {"answer": answer, "verdict": str(verdict), "half": half}
        tree = trees[problem.id] if problem.id in trees else store.tree(cell, problem.id)
        store.put_result(cell, problem.id, record, tree)
    store.flush()


__all__ = [
    "FirstErrorReport",
    "Scored",
    "Shares",
    "best_threshold",
    "calibrates",
    "evaluate_first_error",
    "first_error_header",
    "harmonic",
    "measure",
    "predict",
    "score_given",
]
