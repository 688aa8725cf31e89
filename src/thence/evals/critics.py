"""How well critics judge policies: the critic x policy matrix, and critique accuracy by certainty.

``thence critics TASK --policy MODEL … --critic VERIFIER …``. Each policy draws ``n`` solutions per problem, each critic
scores them, and a score above the threshold says "right", below it "wrong" (at the threshold it is a coin's half). What
is reported per pair, after Luo et al. 2023 (arXiv:2310.04815):

- accuracy: the share of verdicts that are true, all draws counted, with Wilson's interval for clustered data (the draws
  of one problem are alike);
- balanced accuracy, (TPR + TNR) / 2: what is left of it when right and wrong solutions weigh the same, with an interval
  from those of both rates (MOVER, Zou & Donner 2008, doi:10.1002/sim.3095);
- how often a right solution of a problem is scored above a wrong one (ties one half): what best-of-N lives on, which
  needs no threshold;
- accuracy by the policy's certainty, the share of its most frequent answer on the problem.

Three controls cost nothing and stand beside every critic: a coin (its expectation), one that always says "right", and
the majority, which says so of the most frequent answer. Who does not beat the last one tells no more than a vote.

Solutions without an answer need no critic and are left out, problems whose reference cannot be graded, too. All numbers
are made of the trees in a run file, so any run whose solutions have scores can be read.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from thence.core.answers import Verdict
from thence.core.completion import Ability, Sampling
from thence.core.errors import CallFailed, ModelError, UsageError, check_counts
from thence.core.protocols import Generator, PromptStyle, Task
from thence.core.run import Stopper
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Kind, Tree
from thence.core.votes import elect
from thence.evals.statistics.metrics import Interval, wilson
from thence.stores.sqlite import Cell, RunFile
from thence.verifiers.asking import answered

from .evaluate import Arm, Progress, evaluate
from .records import Record
from .report import Report

BINS = 5
THRESHOLD = 0.5


# --- drawing and scoring ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Panel:
    """``n`` solutions, scored by each of the ``critics``; the vote answers. A strategy for run files, not for users."""

    critics: tuple[Verifier, ...]
    n: int = 4

    def __post_init__(self) -> None:
        check_counts("critics", samples=self.n)
        names = [critic.name for critic in self.critics]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise UsageError(f"critics: {twice[0]} is given twice; name every critic once")

    @property
    def needs(self) -> frozenset[Ability]:
        """What the critics need of the policy."""
        return frozenset().union(*(critic.needs for critic in self.critics))

    async def solve(self, search: Search) -> Result:
        """Sample, score what has an answer, vote."""
        nodes = await search.expand(n=self.n)
        classes = await search.classes(nodes)
        judged = [node for node in nodes if node.found is not None]
        for critic in self.critics if judged else ():
            try:
                scores = await search.score(judged, critic)
            except ModelError as error:  # such as a solution that is longer than the critic's context
                raise CallFailed(f"{critic.name}: {error}", "model") from error
            if bad := [s.value for s in scores if not math.isfinite(s.value)]:
                raise CallFailed(f"{critic.name} gave {bad[0]}, which is no number", "score")
        return elect(search, classes, len(nodes))


async def criticise(
    task: Task,
    generator: Generator,
    style: PromptStyle,
    panel: Panel,
    store: RunFile,
    *,
    sampling: Sampling | None = None,
    model: str = "",
    seed: int = 0,
    limit: int | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> tuple[Report, list[Solution]]:
    """One policy's solutions with all scores; what ``store`` has is not drawn again. ModelError if none was judged."""
    if not task.has_references:
        raise UsageError(f"{task.spec} has no references; who is right has to be known to judge a critic")
    arm = Arm(f"critics(n={panel.n})", panel, style, sampling=sampling)
    report = await evaluate(
        task, generator, arm, model=model, seed=seed, limit=limit, store=store, progress=progress, stopper=stopper
    )
    if report.failures and not report.records:
        raise ModelError(f"no solution of {model or generator.identity} was judged: {report.failures[0][1]}")
    return report, solutions(task, store, Cell("", seed), {r["problem"] for r in report.records})


# --- what a run file holds --------------------------------------------------------------------------------------------


class Results(Protocol):
    """A run file, open for writing or only for reading."""

    def results(self, cell: Cell) -> dict[str, Record]: ...
    def tree(self, cell: Cell, problem: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Solution:
    """One solution with an answer: is it right, how often was it drawn, what do the critics say.

    ``certainty`` is the share of the most frequent answer among the policy's samples of this problem; ``modal`` is 1 if
    this is that answer, one half if others are as frequent, else 0. ``answered`` says of a critic that asks a model how
    far it gave a verdict.
    """

    problem: str
    right: bool
    draws: int
    certainty: float
    modal: float
    scores: Mapping[str, float]
    answered: Mapping[str, float] = field(default_factory=dict)


def solutions(task: Task, run: Results, cell: Cell, wanted: Iterable[str] | None = None) -> list[Solution]:
    """Every scored solution of ``cell`` with an answer, in the order of the task's problems."""
    records = run.results(cell)
    kept = records.keys() if wanted is None else set(wanted)
    found: list[Solution] = []
    for problem in task.problems():
        if problem.id not in kept or problem.id not in records:
            continue
        counts = {key: count for key, count, _ in records[problem.id]["draws"]}
        total, top = sum(counts.values()), max((c for k, c in counts.items() if k is not None), default=0)
        tied = sum(c == top for k, c in counts.items() if k is not None)
        tree = Tree.from_record(run.tree(cell, problem.id) or [])
        for node in tree:
            if node.kind not in (Kind.FINISH, Kind.REVISION) or node.found is None or not node.scores:
                continue
            grade = task.grade(problem, tree.solution(node)[tree.reply_at(node) :], node.found.value)
            if grade.verdict is Verdict.UNGRADABLE:
                break
            modal = counts.get(task.reading.key(node.found.value)) == top
            values = {name: score.value for name, score in node.scores.items()}
            told = {name: values[answered(name)] for name in values if answered(name) in values}
            certainty = top / total if total else 0.0
            share = 0.0 if not modal else 1.0 if tied == 1 else 0.5
            found.append(Solution(problem.id, grade.correct, node.multiplicity, certainty, share, values, told))
    return found


# --- measuring --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval; None where there was nothing to count. ``n`` problems gave it."""

    value: float | None
    interval: Interval | None
    n: int


@dataclass(frozen=True, slots=True)
class Bin:
    """The accuracy on problems whose certainty is in (low, high]."""

    low: float
    high: float
    accuracy: Rate


@dataclass(frozen=True, slots=True)
class Judged:
    """One critic on one policy. ``tpr`` is the share of right solutions called right, ``tnr`` of wrong ones called
    wrong; ``answered`` the mean share of verdicts that a model gave when asked (None: it is no critic that asks)."""

    policy: str
    critic: str
    solutions: int
    right: int
    accuracy: Rate
    balanced: Rate
    tpr: Rate
    tnr: Rate
    ahead: Rate
    answered: float | None
    bins: tuple[Bin, ...]
    control: bool = False


Verdicts = Callable[[Solution], float]
COIN, YES, VOTE = "coin", "always yes", "majority"
CONTROLS: Mapping[str, Verdicts] = {COIN: lambda s: 0.5, YES: lambda s: 1.0, VOTE: lambda s: s.modal}


def matrix(
    policies: Mapping[str, Sequence[Solution]],
    critics: Sequence[str] | None = None,
    *,
    threshold: float = THRESHOLD,
    bins: int = BINS,
) -> list[Judged]:
    """Every pair of critic (score name; default: all there are) and policy, and the controls on every policy.

    UsageError for a critic that a solution has no score of.
    """
    check_counts("critics", bins=bins)
    if not math.isfinite(threshold):
        raise UsageError(f"critics: the threshold is {threshold}; it must be a number")
    rows: list[Judged] = []
    for policy, drawn in policies.items():
        names = critics if critics is not None else _names(drawn)
        for name in names:
            lacking = [s.problem for s in drawn if name not in s.scores]
            if lacking:
                raise UsageError(f"{name} has no score of a solution of {lacking[0]} by {policy}; run thence critics")
            rows.append(_judge(policy, name, drawn, lambda s, of=name: s.scores[of], threshold, bins))  # type: ignore[misc]
        rows += [_judge(policy, n, drawn, c, 0.5, bins, control=True) for n, c in CONTROLS.items()]
    return rows


def _names(drawn: Sequence[Solution]) -> list[str]:
    every = dict.fromkeys(name for s in drawn for name in s.scores)
    return [name for name in every if not any(name == answered(other) for other in every)]


def _judge(
    policy: str,
    critic: str,
    drawn: Sequence[Solution],
    score: Verdicts,
    threshold: float,
    bins: int,
    *,
    control: bool = False,
) -> Judged:
    def says_right(s: Solution) -> float:
        value = score(s)
        return 0.5 if value == threshold else float(value > threshold)

    def is_true(s: Solution) -> float:
        return says_right(s) if s.right else 1.0 - says_right(s)

    good, bad = [s for s in drawn if s.right], [s for s in drawn if not s.right]
    tpr, tnr = rate(good, is_true), rate(bad, is_true)
    asked = [s.answered[critic] for s in drawn if critic in s.answered for _ in range(s.draws)]
    found = []
    for k in range(bins):
        inside = [s for s in drawn if min(bins - 1, max(0, math.ceil(s.certainty * bins - 1e-9) - 1)) == k]
        if inside:
            found.append(Bin(k / bins, (k + 1) / bins, rate(inside, is_true)))
    return Judged(
        policy,
        critic,
        sum(s.draws for s in drawn),
        sum(s.draws for s in good),
        rate(drawn, is_true),
        _mean(tpr, tnr),
        tpr,
        tnr,
        _ahead(drawn, score),
        sum(asked) / len(asked) if asked else None,
        tuple(found),
        control,
    )


def rate(drawn: Sequence[Solution], credit: Verdicts) -> Rate:
    """The mean credit over all draws; those of one problem are not independent, and its interval knows."""
    outcomes: defaultdict[str, list[float]] = defaultdict(list)
    for s in drawn:
        outcomes[s.problem] += [credit(s)] * s.draws
    return clustered(list(outcomes.values()))


def clustered(groups: Sequence[Sequence[float]]) -> Rate:
    """The mean r over all values, and Wilson's interval for the effective sample size r (1 - r) / V, where V is the
    variance of a ratio of sums over groups, sum_g (sum_g - r n_g)^2 / n^2; the number of groups where that is 0."""
    n = sum(map(len, groups))
    if not n:
        return Rate(None, None, 0)
    r = math.fsum(v for group in groups for v in group) / n
    variance = math.fsum((math.fsum(group) - r * len(group)) ** 2 for group in groups) / n**2
    effective = min(r * (1 - r) / variance, n) if variance > 1e-15 else len(groups)
    return Rate(r, wilson(r * effective, effective), len(groups))


def _mean(a: Rate, b: Rate) -> Rate:
    """The mean of two rates; its interval moves each one as far as its own interval goes."""
    if a.value is None or b.value is None or a.interval is None or b.interval is None:
        return Rate(None, None, 0)
    middle = (a.value + b.value) / 2
    down = math.hypot(a.value - a.interval[0], b.value - b.interval[0]) / 2
    up = math.hypot(a.interval[1] - a.value, b.interval[1] - b.value) / 2
    return Rate(middle, (max(0.0, middle - down), min(1.0, middle + up)), max(a.n, b.n))


def _ahead(drawn: Sequence[Solution], score: Verdicts) -> Rate:
    """P(a right solution is scored above a wrong one of the same problem), over problems that have both."""
    groups: defaultdict[str, list[Solution]] = defaultdict(list)
    for s in drawn:
        groups[s.problem].append(s)
    shares: list[list[float]] = []
    for group in groups.values():
        pairs = [(score(a) - score(b), a.draws * b.draws) for a in group for b in group if a.right and not b.right]
        if pairs:
            won = sum(n * (1.0 if gap > 0 else 0.5 if gap == 0 else 0.0) for gap, n in pairs)
            shares.append([won / sum(n for _, n in pairs)])
    return clustered(shares)


def document(rows: Sequence[Judged]) -> list[dict[str, Any]]:
    """The matrix as plain JSON data."""
    return [asdict(row) for row in rows]


__all__ = [
    "CONTROLS",
    "Bin",
    "Judged",
    "Panel",
    "Rate",
    "Solution",
    "clustered",
    "criticise",
    "document",
    "matrix",
    "rate",
    "solutions",
]
