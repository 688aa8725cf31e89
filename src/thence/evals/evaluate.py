"""``thence eval``: one strategy on one task, many problems at once, resumable, with honest intervals.

Every problem is one coroutine (``core.solve.solve``); the runner keeps the generator full. A finished problem is
graded and put into the run file, and never solved again. A problem whose calls failed for good stays out of the
accuracy, is counted as failed, marks the run incomplete, and is tried again at the next start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from thence.core.answers import Verdict
from thence.core.budget import Charged
from thence.core.completion import Failure, Sampling
from thence.core.errors import CallFailed, DataError, StoreError, UsageError
from thence.core.problem import Problem
from thence.core.protocols import AsksFirst, Formats, Generator, PromptStyle, SamplePool, Task
from thence.core.run import Runner, Stopper, wants_more
from thence.core.search import Strategy
from thence.core.segmenter import detect
from thence.core.solve import solve
from thence.stores.header import Document, content_hash
from thence.stores.sqlite import Cell, RunFile

from .records import Record, duplicate_ids, make_record, shuffled
from .report import UNKNOWN, Report, summarise

__all__ = [
    "UNKNOWN",
    "Arm",
    "Progress",
    "Report",
    "again",
    "chosen_problems",
    "eval_header",
    "evaluate",
    "prompt_document",
    "shared_header",
]


TEXTS = 32  # problems, from the first of the shuffle, whose first texts the segmenter is detected from


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of solving problems: a strategy and how it puts them to the model.

    ``name`` is the strategy as it is written, ``prompt`` the prompt; ``sampling`` None is the generator's own. An arm
    of a comparison may bring its own ``generator``, called ``model``; None is the comparison's.
    """

    name: str
    strategy: Strategy
    style: PromptStyle
    prompt: str = ""
    sampling: Sampling | None = None
    model: str = ""
    generator: Generator | None = None

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

    texts: dict[int, str] = {}

    def done(item: tuple[int, Problem], outcome: tuple[Record, list[dict[str, Any]]]) -> None:
        index, problem = item
        record, tree = outcome
        if index < TEXTS and tree:
            texts[index] = _first_solution(tree)
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
    report.segmenter = _segmenter(texts, problems, generator, store, cell)
    report.exact = _flag(generator.describe().get("exact"))
    report.run = str(store.path) if store is not None else None
    return summarise(report, [records[p.id] for p in problems if p.id in records], failures)


def _segmenter(
    texts: dict[int, str], problems: Sequence[Problem], generator: Generator, store: RunFile | None, cell: Cell
) -> str | None:
    """How this model's texts divide into steps: detected once, then taken from the run file.

    ``texts`` are the first texts of problems solved just now, by place in the shuffle; those that an earlier session
    solved are read from the store.
    """
    fact = f"segmenter of {generator.identity}"
    known = store.remembered(fact) if store is not None else None
    if known is not None:
        return known
    for index, problem in enumerate(problems[:TEXTS]):
        if store is not None and index not in texts and (rows := store.tree(cell, problem.id)):
            texts[index] = _first_solution(rows)
    if not texts:
        return None
    spec = detect([texts[i] for i in sorted(texts)]).to_spec()
    if store is not None:
        store.remember(fact, spec)
    return spec


def _first_solution(rows: list[dict[str, Any]]) -> str:
    """The text of the first path that ended in a stored tree: one node, or the steps of a search."""
    at = next((i for i, row in enumerate(rows) if row["kind"] == "finish"), 0)
    parts: list[str] = []
    while at >= 0:
        parts.append(str(rows[at]["text"]))
        at = rows[at]["parent"] - 1  # row i is node i + 1
    return "".join(reversed(parts))


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


# ---------------------------------------------------------------------------------------------------- headers

# of ``Generator.describe()``: what samples depend on
DECIDES = ("engine", "device", "dtype", "exact", "context", "models")


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
        "model": model_document(generator),
        "arguments": dict(arguments or {}),
        "notes": {role: {k: v for k, v in told[role].items() if k not in DECIDES} for role in told},
    }
    if roles:
        header["roles"] = {role: model_document(each) for role, each in sorted(roles.items())}
    return header


def model_document(generator: Generator) -> Document:
    """What a header says of a model: its identity and everything that samples depend on."""
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
    made += [repr(style.first(firsts[family])) for family in sorted(firsts)] if isinstance(style, AsksFirst) else []
    document = {"name": arm.prompt_name, "hash": content_hash([*made, repr((style.stop, style.cap, style.followup))])}
    document |= {"collection": style.data_hash} if isinstance(style, Fingerprinted) else {}
    return document | ({"format": str(style.form)} if isinstance(style, Formats) and style.form is not None else {})


def again(header: Mapping[str, Any], kind: str = "eval") -> dict[str, Any]:
    """The arguments that repeat a run, from its header; StoreError when it holds none or is of another kind."""
    if header.get("kind") != kind:
        found = header.get("kind", "unknown")
        raise StoreError(f"this run file comes from `thence {found}`, not from `thence {kind}`; repeat it with that")
    arguments = header.get("arguments")
    if not isinstance(arguments, dict) or not arguments:
        raise StoreError("this run file does not say how it was started; give the arguments yourself")
    return dict(arguments)
