"""Label a task's problems: all of them in flight together, bounded and resumable like an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from thence.core.budget import Ledger
from thence.core.completion import Failure, Sampling
from thence.core.errors import CallFailed
from thence.core.labels import Labelled
from thence.core.problem import Problem
from thence.core.protocols import Generator, PromptStyle, SamplePool, Task
from thence.core.run import Runner, Stopper, wants_more
from thence.core.search import POLICY, Search
from thence.core.segmenter import Segmenter
from thence.core.solve import check_no_form, check_one_call
from thence.core.tree import Node
from thence.stores.sqlite import Cell, RunFile

from .exact import truth_of
from .rollouts import COMPLETER, Rollouts


class Annotator(Protocol):
    """A method that labels the solutions of one problem."""

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]: ...


@dataclass(slots=True)
class LabelReport:
    """What a labelling run made.

    ``empty`` counts problems that the method found nothing in (no wrong answer, say), ``positive`` the step labels
    above 0, ``criticised`` the solutions that have a critique, and ``dropped`` the critiques that were not kept.
    """

    problems: int = 0
    empty: int = 0
    solutions: int = 0
    steps: int = 0
    labelled: int = 0
    positive: int = 0
    criticised: int = 0
    dropped: int = 0
    rollouts: int = 0
    generated: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, record: Mapping[str, Any]) -> list[Labelled]:
        """Count one problem's stored record; returns its labels."""
        made = [Labelled.read(row) for row in record["labels"]]
        self.problems += 1
        self.empty += not made
        self.solutions += len(made)
        self.rollouts += int(record["rollouts"])
        self.generated += int(record["generated"])
        for each in made:
            numbers = [next((x.number for x in row if x.number is not None), None) for row in each.labels]
            self.steps += len(numbers)
            self.labelled += sum(x is not None for x in numbers)
            self.positive += sum(x is not None and x > 0 for x in numbers)
            self.criticised += "critique" in each.extra
            self.dropped += int(each.extra.get("criticised", {}).get("dropped", 0))
        return made


def open_rollouts(
    task: Task,
    generator: Generator,
    style: PromptStyle,
    sampling: Sampling,
    problem: Problem,
    *,
    completer: Generator | None = None,
    roles: Mapping[str, Generator] | None = None,
    pool: SamplePool | None = None,
    seed: int = 0,
    budget: int | None = None,
    segmenter: Segmenter | None = None,
) -> Rollouts:
    """Rollouts for one problem of a task, graded by the task; ``completer`` completes instead of ``generator``, and
    ``roles`` play other parts (a critic)."""
    check_one_call(style, "labels")
    check_no_form(style, "labels")
    if style.stop:
        sampling = replace(sampling, stop=tuple(dict.fromkeys((*sampling.stop, *style.stop))))
    search = Search(
        problem,
        {POLICY: generator, **(roles or {})} | ({} if completer is None else {COMPLETER: completer}),
        style,
        task.reading,
        sampling,
        seed=seed,
        segmenter=segmenter or Segmenter(),
        ledger=Ledger(budget),
        pool=pool,
    )

    async def correct(node: Node) -> bool:
        found = await search.answer(node)
        return task.grade(problem, search.tree.solution(node), found.value if found else None).correct

    return Rollouts(search, correct, POLICY if completer is None else COMPLETER, truth_of(task))


async def label(
    task: Task,
    generator: Generator,
    method: Annotator,
    style: PromptStyle,
    sampling: Sampling,
    problems: Sequence[Problem],
    store: RunFile,
    *,
    completer: Generator | None = None,
    roles: Mapping[str, Generator] | None = None,
    seed: int = 0,
    budget: int | None = None,
    segmenter: Segmenter | None = None,
    stopper: Stopper | None = None,
    told: Any = None,
) -> tuple[LabelReport, list[Labelled]]:
    """Labels of ``problems`` in their order. Problems that ``store`` has labels for are not labelled again, and of one
    that was interrupted no finished rollout is drawn again. ``told(done, of)`` is called after each problem."""
    cell = Cell("", seed, budget)
    known: dict[str, Mapping[str, Any]] = dict(store.results(cell))
    report = LabelReport()

    async def work(problem: Problem) -> dict[str, Any]:
        rollouts = open_rollouts(
            task,
            generator,
            style,
            sampling,
            problem,
            completer=completer,
            roles=roles,
            pool=store,
            seed=seed,
            budget=budget,
            segmenter=segmenter,
        )
        made = await method.annotate(rollouts)
        rollouts.search.release()
        charged = rollouts.search.ledger.total_charged
        return {
            "labels": [with_question(each, problem).record() for each in made],
            "rollouts": rollouts.drawn,
            "generated": charged.generated or 0,
            "charged": asdict(charged),
            "stopped": rollouts.search.stopped,
        }

    def done(problem: Problem, record: dict[str, Any]) -> None:
        store.put_result(cell, problem.id, record)
        known[problem.id] = record
        if told is not None:
            told(len(known), len(problems))

    def failed(problem: Problem, error: Exception) -> None:
        store.put_failure(cell, problem.id, Failure("call", str(error)))
        report.failures[problem.id] = str(error)

    others = [*(roles or {}).values(), *([] if completer is None else [completer])]
    hungry = wants_more([generator, *others])
    runner = Runner(work, done, failed, hungry=hungry, survive=(CallFailed,), stopper=stopper)
    await runner.run([p for p in problems if p.id not in known])
    store.flush()
    labels = [each for p in problems if p.id in known for each in report.add(known[p.id])]
    return report, labels


def with_question(record: Labelled, problem: Problem) -> Labelled:
    """The record with its question, so that a file of labels can be read without its task."""
    return replace(record, extra={"question": problem.text, **record.extra})


__all__ = ["Annotator", "LabelReport", "label", "open_rollouts", "with_question"]
