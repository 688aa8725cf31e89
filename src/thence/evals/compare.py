"""``thence compare``: which of several arms is better, on the same problems, at the same budget.

A grid of arms, seeds and budgets goes into one run file, which is the sample pool of all of them: a draw that two arms
share is made once and charged to both. Arms are compared with a baseline arm at the same budget, paired by problem.
With several seeds a problem's value is its mean over seeds, so problems, not samples, are the independent units.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from thence.core.answers import Verdict
from thence.core.budget import POOL, Charged
from thence.core.completion import Completion
from thence.core.errors import UsageError
from thence.core.protocols import Generator, SamplePool, Task
from thence.core.run import Stopper
from thence.evals.statistics.metrics import Paired, clustered_accuracy, flipped, holm, paired
from thence.generators.pool import short_pool
from thence.stores.header import Document
from thence.stores.sqlite import Cell, RunFile

from .evaluate import Arm, Progress, evaluate, model_document, prompt_document, shared_header
from .report import UNKNOWN, FormatShare, Report, format_share, known_total

EXTENDABLE = ("limit", "arms", "seeds", "budgets")


@dataclass(frozen=True, slots=True)
class Grid:
    """Every arm is run with every seed and every budget (charged tokens per problem; None: no limit)."""

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...] = (0,)
    budgets: tuple[int | None, ...] = (None,)
    model: str = ""  # what arms without a model of their own run on

    def __post_init__(self) -> None:
        if not self.arms or not self.seeds or not self.budgets:
            raise UsageError("a comparison needs at least one strategy, one seed and one budget")
        names = self.labels
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise UsageError(f"the arm {sorted(twice)[0]!r} is listed twice; list it once")

    @property
    def labels(self) -> list[str]:
        """One name per arm: its strategy, and its prompt and model where several are compared."""
        prompts = len({arm.prompt_name for arm in self.arms}) > 1
        models = len({arm.model for arm in self.arms}) > 1

        def label(arm: Arm) -> str:
            own_prompt = f" @ {arm.prompt_name}" if prompts else ""
            own_model = f" on {short_model(arm.model or self.model)}" if models else ""
            return arm.name + own_prompt + own_model

        return [label(arm) for arm in self.arms]

    @property
    def keys(self) -> list[str]:
        """What the arms are called in the run file: strategy, prompt and own model, whatever else the grid holds."""
        return [f"{a.name} @ {a.prompt_name}" + (f" on {a.model}" if a.model else "") for a in self.arms]


def short_model(name: str) -> str:
    """A model's name without the folders of its file; of a pool the names of its models."""
    if name.startswith(POOL):
        return short_pool(name)
    return re.sub(r"^(replay|hf):[^#]*/", r"\1:", name)


@dataclass(slots=True)
class Row:
    """One arm under one budget, all seeds together. ``tokens`` are charged tokens per problem and seed."""

    arm: str
    strategy: str
    prompt: str
    budget: int | None
    n: int
    accuracy: float | None
    interval: tuple[float, float] | None
    tokens: float | None
    seconds: float
    unparsed: int
    truncated: int
    failed: int
    agreement: float | None
    reports: list[Report] = field(default_factory=list)

    @property
    def format(self) -> FormatShare | None:
        """Replies that are not in the format asked for, over all seeds; None where none was asked for."""
        return format_share(r.format.document() for r in self.reports if r.format is not None)


@dataclass(frozen=True, slots=True)
class Difference:
    """One arm against the baseline at one budget: the paired numbers, and the problems that flipped.

    ``flips`` are (problem id, baseline's value, arm's value), means over seeds. Without references there is no
    ``paired``, and ``disagree`` (the share of problems with different answers) is all that can be said.
    """

    arm: str
    baseline: str
    budget: int | None
    disagree: float | None
    paired: Paired | None = None
    flips: tuple[tuple[str, float, float], ...] = ()


@dataclass(slots=True)
class Comparison:
    """The table, the differences and where they come from; ``document()`` is what ``--json`` prints."""

    task: str
    model: str
    baseline: str
    seeds: list[int]
    rows: list[Row] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    failed: int = 0
    incomplete: bool = False
    statement: str = ""
    run: str | None = None

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        rows = [
            {
                **asdict(replace(r, reports=[])),
                "format": None if r.format is None else r.format.document(),
                "reports": [x.document() for x in r.reports],
            }
            for r in self.rows
        ]
        for row in rows:
            row["interval"] = None if row["interval"] is None else list(row["interval"])
        return {
            "task": self.task,
            "model": self.model,
            "baseline": self.baseline,
            "seeds": self.seeds,
            "arms": rows,
            "differences": [_difference_document(d) for d in self.differences],
            "failed": self.failed,
            "incomplete": self.incomplete,
            "statement": self.statement,
            "run": self.run,
        }


def _difference_document(d: Difference) -> dict[str, Any]:
    doc: dict[str, Any] = {"arm": d.arm, "baseline": d.baseline, "budget": d.budget, "disagree": d.disagree}
    if d.paired is not None:
        doc |= asdict(d.paired) | {"interval": list(d.paired.interval)}
        doc["flips"] = [{"problem": p, "baseline": a, "arm": b} for p, a, b in d.flips]
    return doc


async def compare(
    task: Task,
    generator: Generator,
    grid: Grid,
    *,
    model: str = "",
    limit: int | None = None,
    baseline: str | None = None,
    store: RunFile | None = None,
    pool: SamplePool | None = None,
    roles: Mapping[str, Generator] | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> Comparison:
    """Run every cell of ``grid`` that ``store`` does not hold yet, and compare all arms with ``baseline``.

    ``baseline`` is an arm's label or its strategy as written; the first arm by default. A failed problem leaves the
    arm's accuracy and the pairs it is in, and marks the comparison incomplete.
    """
    base = baseline_index(grid, baseline)
    shared = pool or store or MemoryPool()
    reports: dict[tuple[int | None, int], list[Report]] = {}
    for budget, (i, arm), seed in itertools.product(grid.budgets, enumerate(grid.arms), grid.seeds):
        report = await evaluate(
            task,
            arm.generator or generator,
            arm,
            model=arm.model or model,
            seed=seed,
            limit=limit,
            budget=budget,
            store=store,
            cell=Cell(grid.keys[i], seed, budget),
            pool=shared,
            roles=roles,
            progress=progress,
            stopper=stopper,
        )
        reports.setdefault((budget, i), []).append(report)
    named = [Named(label, arm.name, arm.prompt_name) for label, arm in zip(grid.labels, grid.arms, strict=True)]
    made = conclude(named, reports, base, seeds=grid.seeds, budgets=grid.budgets)
    models = dict.fromkeys(arm.model or model or generator.identity for arm in grid.arms)
    made.task, made.model = task.spec, ", ".join(map(short_model, models))
    made.run = str(store.path) if store is not None else None
    return made


class MemoryPool:
    """A sample pool without a file: arms share their samples as long as the process lives."""

    def __init__(self) -> None:
        self._samples: dict[str, Completion] = {}

    def get(self, key: str) -> Completion | None:
        """The sample of ``key``."""
        return self._samples.get(key)

    def put(self, key: str, problem: str, completion: Completion) -> None:
        """Keep a sample."""
        self._samples[key] = completion


def baseline_index(grid: Grid, name: str | None) -> int:
    """Which arm is the baseline; UsageError listing the arms when none or several are called so."""
    if name is None:
        return 0
    found = [i for i, arm in enumerate(grid.arms) if name in (arm.name, grid.labels[i], grid.keys[i])]
    if len(found) != 1:
        raise UsageError(f"baseline {name!r} names {len(found)} arms; the arms are: {', '.join(grid.labels)}")
    return found[0]


# ---------------------------------------------------------------------------------------------------- conclusions

Values = dict[str, dict[int, float]]  # problem -> seed -> 1 right, 0 wrong


@dataclass(frozen=True, slots=True)
class Named:
    """An arm as tables show it."""

    label: str
    strategy: str
    prompt: str


def conclude(
    arms: Sequence[Named],
    reports: Mapping[tuple[int | None, int], Sequence[Report]],
    base: int,
    *,
    seeds: Sequence[int],
    budgets: Sequence[int | None],
) -> Comparison:
    """Rows and differences from the reports of all cells, by (budget, arm index), one report per seed.

    A cell without reports has no row; an arm is compared with the baseline where both have the same budget.
    """
    made = Comparison("", "", arms[base].label, list(seeds))
    for budget in budgets:
        there = [i for i in range(len(arms)) if reports.get((budget, i))]
        made.rows += [_row(arms[i], budget, reports[budget, i]) for i in there]
        if base in there:
            made.differences += [
                difference(arms[i].label, arms[base].label, budget, reports[budget, base], reports[budget, i])
                for i in there
                if i != base
            ]
    made.differences = _corrected(made.differences)
    made.failed = sum(row.failed for row in made.rows)
    made.incomplete = made.failed > 0
    if all(row.accuracy is None for row in made.rows):
        made.statement = UNKNOWN
    return made


def _row(arm: Named, budget: int | None, reports: Sequence[Report]) -> Row:
    values = _values(reports)
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    if values:
        accuracy, interval = clustered_accuracy({p: list(v.values()) for p, v in values.items()})
    records = [r for report in reports for r in report.records]
    total = known_total([Charged(**r["charged"]).total for r in records])
    agreements = [report.agreement for report in reports if report.agreement is not None]
    return Row(
        arm.label,
        arm.strategy,
        arm.prompt,
        budget,
        len(values) or max((report.n for report in reports), default=0),
        accuracy,
        interval,
        None if total is None or not records else total / len(records),
        sum(report.seconds for report in reports),
        sum(report.unparsed for report in reports),
        sum(report.truncated for report in reports),
        sum(report.failed for report in reports),
        sum(agreements) / len(agreements) if agreements else None,
        list(reports),
    )


def _values(reports: Sequence[Report]) -> Values:
    """Outcomes of all graded problems, by problem and seed."""
    values: Values = {}
    for report in reports:
        for r in report.records:
            if r["verdict"] not in (None, Verdict.UNGRADABLE):
                values.setdefault(r["problem"], {})[report.seed] = float(r["verdict"] == Verdict.CORRECT)
    return values


def difference(
    arm: str, baseline: str, budget: int | None, base: Sequence[Report], other: Sequence[Report]
) -> Difference:
    """The arm with the reports ``other`` against the one with ``base``, paired by problem."""
    disagree = _disagreement(base, other)
    a, b = _paired_means(_values(base), _values(other))
    if not a:
        return Difference(arm, baseline, budget, disagree)
    return Difference(arm, baseline, budget, disagree, paired(a, b), tuple(flipped(a, b)))


def _paired_means(a: Values, b: Values) -> tuple[dict[str, float], dict[str, float]]:
    """Means over the seeds that both arms have, of the problems that both have."""
    left: dict[str, float] = {}
    right: dict[str, float] = {}
    for problem in a:
        seeds = [s for s in a[problem] if s in b.get(problem, {})]
        if seeds:
            left[problem] = sum(a[problem][s] for s in seeds) / len(seeds)
            right[problem] = sum(b[problem][s] for s in seeds) / len(seeds)
    return left, right


def _disagreement(base: Sequence[Report], other: Sequence[Report]) -> float | None:
    """The share of problems (and seeds) on which two arms gave different answers."""
    first = {(report.seed, r["problem"]): r["key"] for report in base for r in report.records}
    second = {(report.seed, r["problem"]): r["key"] for report in other for r in report.records}
    both = [where for where in first if where in second]
    return sum(first[w] != second[w] for w in both) / len(both) if both else None


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    """The differences with Holm's correction over all tests made together."""
    tested = [d.paired for d in differences if d.paired is not None]
    adjusted = iter(holm([p.p for p in tested]))
    return [d if d.paired is None else replace(d, paired=replace(d.paired, holm=next(adjusted))) for d in differences]


def compare_header(
    task: Task,
    generator: Generator,
    grid: Grid,
    *,
    limit: int | None = None,
    roles: Mapping[str, Generator] | None = None,
    arguments: Mapping[str, object] | None = None,
) -> Document:
    """The header of a comparison's run file; its grid and limit are extendable (``EXTENDABLE``)."""
    arms = {
        key: {
            "strategy": arm.name,
            "prompt": prompt_document(task, arm),
            "sampling": asdict(arm.sampling or (arm.generator or generator).defaults),
            **({} if arm.generator is None else {"model": model_document(arm.generator)}),
        }
        for key, arm in zip(grid.keys, grid.arms, strict=True)
    }
    return {
        "kind": "compare",
        **shared_header(task, generator, arguments=arguments, roles=roles),
        "arms": arms,
        "seeds": list(grid.seeds),
        "budgets": list(grid.budgets),
        "limit": limit,
    }
