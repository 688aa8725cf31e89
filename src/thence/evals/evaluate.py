"""``thence eval``: one strategy on one task, many problems at once, resumable, with honest intervals.

Every problem is one coroutine (``core.search.solve``); the runner keeps the generator full. A finished problem is
graded and put into the run file, and never solved again. A problem whose calls failed for good stays out of the
accuracy, is counted as failed, marks the run incomplete, and is tried again at the next start.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any, Protocol, runtime_checkable

from thence.core.answers import Verdict
from thence.core.budget import Charged, Spent, add
from thence.core.completion import Failure, Sampling
from thence.core.errors import CallFailed, DataError, StoreError, UsageError
from thence.core.problem import Problem
from thence.core.protocols import Generator, PromptStyle, SamplePool, Strategy, Task
from thence.core.run import Runner, Stopper, wants_more
from thence.core.search import solve
from thence.stores.header import Document, content_hash
from thence.stores.sqlite import Cell, RunFile

from .records import Draws, Record, duplicate_ids, make_record, shuffled

UNKNOWN = "accuracy is unknown: these questions have no reference answers"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of solving problems: a strategy and how it puts them to the model.

    ``name`` is the strategy as it is written, ``prompt`` the prompt; ``sampling`` None is the generator's own.
    """

    name: str
    strategy: Strategy
    style: PromptStyle
    prompt: str = ""
    sampling: Sampling | None = None

    @property
    def prompt_name(self) -> str:
        """The prompt as it was written."""
        return self.prompt or self.style.name


class Progress(Protocol):
    """What an evaluation tells while it runs; every method is called from the event loop."""

    def on_start(self, total: int, label: str) -> None:
        """An evaluation of ``total`` problems begins (one per cell of a comparison)."""
        ...

    def on_result(self, index: int, verdict: Verdict | None, tokens: int | None, *, fresh: bool) -> None:
        """Problem ``index`` of the shuffle is done. ``verdict`` is None when it failed or has no reference, ``tokens``
        what it was charged; ``fresh`` is false for results that the run file already had."""
        ...

    def on_finish(self) -> None:
        """The evaluation ended, also when it was interrupted."""
        ...


@runtime_checkable
class Fingerprinted(Protocol):
    """A task that can name its data, references included, by a hash; another hash is another run."""

    @property
    def data_hash(self) -> str: ...


@dataclass(slots=True)
class Report:
    """The result of one evaluation; ``document()`` is what ``thence eval --json`` prints.

    ``n`` counts the problems that enter the accuracy. ``accuracy`` and ``interval`` (Wilson, 95 %) are None without
    references. ``pass_at`` and ``maj_at`` are means over problems for k = 1, 2, 4, … up to the smallest number of
    whole-solution samples that any problem has. ``seconds`` is wall time over all sessions, ``charged`` and ``spent``
    are sums over problems, None where a count is unknown. ``agreement`` is the mean share of the most frequent answer.
    """

    task: str
    model: str
    strategy: str
    prompt: str
    seed: int
    budget: int | None
    n: int = 0
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    pass_at: dict[int, float] = field(default_factory=dict)
    maj_at: dict[int, float] = field(default_factory=dict)
    maj_at_by: str = "enumeration"
    charged: Charged = field(default_factory=Charged)
    spent: Spent = field(default_factory=Spent)
    tokens_per_problem: float | None = None
    seconds: float = 0.0
    seconds_per_problem: float | None = None
    unparsed: int = 0
    truncated: int = 0
    timeouts: int = 0
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    ungradable: list[tuple[str, str]] = field(default_factory=list)
    finishes: dict[str, int] = field(default_factory=dict)
    agreement: float | None = None
    median_confidence: float | None = None
    exact: bool | None = None
    incomplete: bool = False
    statement: str = ""
    run: str | None = None
    records: list[Record] = field(default_factory=list, repr=False)

    def document(self) -> dict[str, Any]:
        """The report as plain JSON data, without the records; k of pass@k and maj@k become text."""
        doc: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "records":
                continue
            if isinstance(value, Charged | Spent):
                value = asdict(value)
            elif f.name in ("pass_at", "maj_at"):
                value = {str(k): v for k, v in value.items()}
            elif f.name == "interval" and value is not None:
                value = list(value)
            elif f.name in ("failures", "ungradable"):
                value = [{"problem": p, "reason": why} for p, why in value]
            doc[f.name] = value
        return doc


async def evaluate(
    task: Task,
    generator: Generator,
    arm: Arm,
    *,
    model: str = "",
    seed: int = 0,
    limit: int | None = None,
    budget: int | None = None,
    store: RunFile | None = None,
    cell: Cell | None = None,
    pool: SamplePool | None = None,
    roles: Mapping[str, Generator] | None = None,
    progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> Report:
    """Solve the first ``limit`` problems of ``task`` that ``store`` has no result for, and report on all of them.

    ``cell`` is where results stand in the store (a comparison's cell); ``pool`` defaults to the store. Raises
    Interrupted after a stop (what had finished is saved) and StoreError when the store cannot write.
    """
    cell = cell or Cell("", seed, budget)
    problems = chosen_problems(task, limit)
    known = store.results(cell) if store is not None else {}
    records: dict[str, Record] = {p.id: known[p.id] for p in problems if p.id in known}
    failures: dict[str, str] = {}
    session = len(store.sessions()) if store is not None else 1
    started = time.monotonic()
    tell = progress or _Silent()
    tell.on_start(len(problems), arm.name)
    for index, problem in enumerate(problems):
        if problem.id in records:
            _tell(tell, index, records[problem.id], fresh=False)

    grader = ThreadPoolExecutor(1, "thence-grader")  # a slow grader must not hold up the event loop

    async def work(item: tuple[int, Problem]) -> tuple[Record, list[dict[str, Any]]]:
        problem, begun = item[1], time.monotonic()
        try:
            result = await solve(
                problem,
                generator=generator,
                strategy=arm.strategy,
                style=arm.style,
                reading=task.reading,
                sampling=arm.sampling,
                seed=seed,
                budget=budget,
                pool=pool or store,
                roles=roles,
            )
        except CallFailed as error:
            if store is not None:  # when the store is what failed, this raises its own error, which ends the run
                store.put_failure(cell, problem.id, Failure("call", str(error)))
            raise
        taken = time.monotonic() - begun
        return await asyncio.get_running_loop().run_in_executor(grader, make_record, task, result, taken)

    def done(item: tuple[int, Problem], outcome: tuple[Record, list[dict[str, Any]]]) -> None:
        index, problem = item
        record, tree = outcome
        record |= {"session": session, "elapsed": round(time.monotonic() - started, 3)}
        if store is not None:
            store.put_result(cell, problem.id, record, tree)
        records[problem.id] = record
        _tell(tell, index, record, fresh=True)

    def failed(item: tuple[int, Problem], error: Exception) -> None:
        failures[item[1].id] = str(error)
        tell.on_result(item[0], None, None, fresh=True)

    models = [generator, *(roles or {}).values()]
    runner = Runner(work, done, failed, hungry=wants_more(models), survive=(CallFailed,), stopper=stopper)
    try:
        await runner.run([(i, p) for i, p in enumerate(problems) if p.id not in records])
    finally:
        grader.shutdown(wait=False, cancel_futures=True)
        tell.on_finish()
    if store is not None:
        store.flush()
    report = Report(task.spec, model or generator.identity, arm.name, arm.prompt_name, seed, budget)
    report.exact = _flag(generator.describe().get("exact"))
    report.run = str(store.path) if store is not None else None
    return summarise(report, [records[p.id] for p in problems if p.id in records], failures)


def chosen_problems(task: Task, limit: int | None) -> list[Problem]:
    """The first ``limit`` problems of the shuffle; DataError where ids are not unique or there is no problem."""
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; it must be at least 1")
    problems = list(task.problems())
    if not problems:
        raise DataError(f"{task.spec} has no problems")
    twice = duplicate_ids(problems)
    if twice:
        raise DataError(f"{task.spec}: {len(twice)} ids are used twice, the first is {twice[0]!r}; make them unique")
    return shuffled(problems, limit)


class _Silent:
    def on_start(self, total: int, label: str) -> None: ...
    def on_result(self, index: int, verdict: Verdict | None, tokens: int | None, *, fresh: bool) -> None: ...
    def on_finish(self) -> None: ...


def _tell(progress: Progress, index: int, record: Record, *, fresh: bool) -> None:
    verdict = None if record["verdict"] is None else Verdict(record["verdict"])
    progress.on_result(index, verdict, Charged(**record["charged"]).total, fresh=fresh)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


# ---------------------------------------------------------------------------------------------------- the report


def summarise(report: Report, records: Sequence[Record], failures: Mapping[str, str]) -> Report:
    """Fill ``report`` from the records of finished problems and the messages of failed ones."""
    report.records = list(records)
    counted = [r for r in records if r["verdict"] not in (None, Verdict.UNGRADABLE)]
    silent = [r for r in counted if r["verdict"] == Verdict.NO_ANSWER]
    finishes: Counter[str] = Counter()
    for r in records:
        report.charged += Charged(**r["charged"])
        report.spent += Spent(**r["spent"])
        finishes.update(r["finishes"])
    report.finishes = dict(finishes)
    report.n = len(counted)
    report.truncated = sum(bool(r["truncated"]) for r in silent)
    report.unparsed = len(silent) - report.truncated
    report.timeouts = sum(r["verdict"] == Verdict.TIMEOUT for r in counted)
    report.ungradable = [(r["problem"], r["reason"]) for r in records if r["verdict"] == Verdict.UNGRADABLE]
    report.failures, report.failed = list(failures.items()), len(failures)
    report.incomplete = bool(failures)
    report.seconds = round(_wall_seconds(records), 3)
    if records:
        report.seconds_per_problem = report.seconds / len(records)
        total = report.charged.total
        report.tokens_per_problem = None if total is None else total / len(records)
    confidences = [r["confidence"] for r in records if r["confidence"] is not None]
    report.median_confidence = median(confidences) if confidences else None
    report.agreement = agreement(records)
    if counted:
        _accuracy(report, counted)
    elif records and not report.ungradable:
        report.n, report.statement = len(records), UNKNOWN
        report.unparsed = sum(r["answer"] is None and not r["truncated"] for r in records)
        report.truncated = sum(r["answer"] is None and bool(r["truncated"]) for r in records)
    return report


def _accuracy(report: Report, counted: Sequence[Record]) -> None:
    from . import metrics  # numpy and scipy

    right = sum(r["verdict"] == Verdict.CORRECT for r in counted)
    report.accuracy = right / len(counted)
    report.interval = metrics.wilson(right, len(counted))
    all_draws = [[Draws(*d) for d in r["draws"]] for r in counted]
    sizes = [sum(d.count for d in draws) for draws in all_draws]
    ks = metrics.powers_of_two(min(sizes))
    if not ks:
        return
    passes = [
        [metrics.pass_at_k(n, sum(d.right for d in ds), k) for k in ks] for n, ds in zip(sizes, all_draws, strict=True)
    ]
    report.pass_at = dict(zip(ks, _means(passes), strict=True))
    if max(sizes) > metrics.EXACT_UP_TO:
        report.maj_at_by = f"resampling ({metrics.RESAMPLES} draws per problem, seed 0)"
    report.maj_at = dict(zip(ks, _means([_vote(ds, ks, max(sizes)) for ds in all_draws]), strict=True))


def _vote(draws: Sequence[Draws], ks: Sequence[int], largest: int) -> list[float]:
    """maj@k of one problem; an answer class is right when most of its samples are (a grader may read the text)."""
    from . import metrics

    voting = [d for d in draws if d.key is not None]
    counts, right = [d.count for d in voting], [2 * d.right > d.count for d in voting]
    silent = sum(d.count for d in draws if d.key is None)
    if largest <= metrics.EXACT_UP_TO:
        return metrics.maj_at_k(counts, right, ks, silent=silent)
    return [metrics.resampled_maj_at_k(counts, right, k, silent=silent) for k in ks]


def _means(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def agreement(records: Sequence[Record]) -> float | None:
    """Mean over problems of the share of the most frequent answer among all samples; None with one sample each."""
    shares = []
    for r in records:
        total = sum(count for _, count, _ in r["draws"])
        if total > 1:
            shares.append(max((count for key, count, _ in r["draws"] if key is not None), default=0) / total)
    return sum(shares) / len(shares) if shares else None


def _wall_seconds(records: Sequence[Record]) -> float:
    """Wall time over all sessions: in each, until its last finished problem (a killed session has no other end)."""
    last: dict[int, float] = {}
    for r in records:
        last[r["session"]] = max(last.get(r["session"], 0.0), r["elapsed"])
    return sum(last.values())


def known_total(values: Sequence[int | None]) -> int | None:
    """Their sum; None when one is unknown."""
    total: int | None = 0
    for value in values:
        total = add(total, value)
    return total


# ---------------------------------------------------------------------------------------------------- headers

DECIDES = ("engine", "device", "dtype", "exact", "context")  # of ``Generator.describe()``: what samples depend on


def eval_header(
    task: Task,
    generator: Generator,
    arm: Arm,
    *,
    seed: int = 0,
    limit: int | None = None,
    budget: int | None = None,
    roles: Mapping[str, Generator] | None = None,
    arguments: Mapping[str, object] | None = None,
) -> Document:
    """The header of an evaluation's run file. ``arguments`` repeat the run (``thence eval --again``)."""
    return {
        "kind": "eval",
        **shared_header(task, generator, arguments=arguments, roles=roles),
        "strategy": arm.name,
        "prompt": prompt_document(task, arm),
        "sampling": asdict(arm.sampling or generator.defaults),
        "seed": seed,
        "budget": budget,
        "limit": limit,
    }


def shared_header(
    task: Task,
    generator: Generator,
    *,
    arguments: Mapping[str, object] | None = None,
    roles: Mapping[str, Generator] | None = None,
) -> Document:
    """What the headers of evaluations and comparisons have in common: task, data, models, notes."""
    told = {role: dict(each.describe()) for role, each in {"policy": generator, **(roles or {})}.items()}
    header: Document = {
        "task": task.spec,
        "data": data_hash(task),
        "model": _model(generator),
        "arguments": dict(arguments or {}),
        "notes": {role: {k: v for k, v in told[role].items() if k not in DECIDES} for role in told},
    }
    if roles:
        header["roles"] = {role: _model(each) for role, each in sorted(roles.items())}
    return header


def _model(generator: Generator) -> Document:
    told = generator.describe()
    return {"identity": generator.identity, **{k: told[k] for k in DECIDES if k in told}}


def data_hash(task: Task) -> str:
    """A hash of all problems, independent of their order; of the references too where the task can name them."""
    if isinstance(task, Fingerprinted):
        return task.data_hash
    return content_hash(f"{p.hash} {p.id}" for p in shuffled(list(task.problems())))


def prompt_document(task: Task, arm: Arm) -> Document:
    """A prompt by name, and by a hash of what it makes of one problem of each family (a prompt file may change)."""
    firsts = {p.family: p for p in reversed(shuffled(list(task.problems())))}
    style = arm.style
    made = [repr(style.context(firsts[family])) for family in sorted(firsts)]
    return {"name": arm.prompt_name, "hash": content_hash([*made, repr((style.stop, style.cap, style.followup))])}


def again(header: Mapping[str, Any], kind: str = "eval") -> dict[str, Any]:
    """The arguments that repeat a run, from its header; StoreError when it holds none or is of another kind."""
    if header.get("kind") != kind:
        found = header.get("kind", "unknown")
        raise StoreError(f"this run file comes from `thence {found}`, not from `thence {kind}`; repeat it with that")
    arguments = header.get("arguments")
    if not isinstance(arguments, dict) or not arguments:
        raise StoreError("this run file does not say how it was started; give the arguments yourself")
    return dict(arguments)
