"""Where the steps of the tour measure: one task, one model, one run file whose samples all of them share."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from thence import api
from thence.core.answers import Verdict
from thence.core.errors import StoreError
from thence.core.protocols import Task
from thence.core.tree import Node, Tree
from thence.evals.compare import Comparison, Row
from thence.evals.evaluate import Progress, data_hash, model_document
from thence.evals.records import Record
from thence.evals.statistics.metrics import Interval, Paired
from thence.stores.header import clean, differences
from thence.stores.sqlite import Cell, RunView

TASK, MODEL = "wordproblems", "acorn"
RUN = "tour.db"
SURE = 0.8  # agreement from which a vote is called sure (the lecture's 80 %)


@dataclass(frozen=True, slots=True)
class Bench:
    """The tour's folder and sizes: ``problems`` questions, ``samples`` samples of each, one ``seed``."""

    folder: Path = Path("runs/tour")
    seed: int = 0
    problems: int = 100
    samples: int = 16
    progress: Progress | None = None

    @property
    def run(self) -> Path:
        """The run file that all steps write to and read."""
        return self.folder / RUN

    @property
    def facts(self) -> dict[str, str]:
        """What is known of a tour before anything is measured, for the placeholders of its texts."""
        return {
            "n": str(self.problems),
            "samples": str(self.samples),
            "run": str(self.run),
            "threshold": f"{SURE:g}",
        }

    @property
    def one(self) -> str:
        """One sample, as an arm of a comparison."""
        return "self-consistency(n=1) @ cot"

    @property
    def vote(self) -> str:
        """The vote of all samples, as an arm of a comparison."""
        return f"self-consistency(n={self.samples}) @ cot"

    def compare(self, arms: Sequence[str], baseline: str | None = None) -> Comparison:
        """Run what the run file does not hold yet, and compare; the first arm is the baseline unless one is named."""
        self.check()
        seeds = (self.seed,)
        return api.compare(
            task_of(TASK),
            arms,
            MODEL,
            seeds=seeds,
            limit=self.problems,
            baseline=baseline,
            run=self.run,
            progress=self.progress,
        )

    def check(self) -> None:
        """StoreError where the run file holds samples of other weights or other questions than there are now."""
        if not self.run.exists():
            return
        with RunView(self.run) as view:
            stored = {name: view.header.get(name) for name in ("model", "data")}
        now = clean({"model": model_document(api.load(MODEL)), "data": data_hash(task_of(TASK))})
        if differences(stored, now, ()):
            raise StoreError(
                f"{self.run} holds samples of another model or of other questions; delete it, or give another --out"
            )

    def tree(self, arm: str, problem: str) -> Tree:
        """What was generated for one problem."""
        with RunView(self.run) as view:
            return Tree.from_record(view.tree(Cell(arm, self.seed), problem) or [])

    def questions(self) -> dict[str, str]:
        """The texts of all questions by problem id."""
        return {p.id: p.text for p in task_of(TASK).problems()}

    def comparing(self, arms: Sequence[str], picture: str | None = None, baseline: str | None = None) -> str:
        """The command that makes ``compare`` of the same arms, with its picture."""
        given = () if baseline is None else ("--baseline", baseline)
        common = ("--limit", str(self.problems), "--seeds", str(self.seed), "--run", str(self.run))
        drawn = () if picture is None else ("--plot", str(self.folder / picture))
        return command("compare", TASK, *arms, *given, *common, *drawn)

    def reading(self, verb: str, picture: str | None = None) -> str:
        """The command that reads the votes' samples in the run file: curves or confidence."""
        drawn = () if picture is None else ("--plot", str(self.folder / picture))
        return command(verb, str(self.run), "--arm", self.vote, "--seed", str(self.seed), *drawn)

    def showing(self, arm: str, problem: str) -> str:
        """The command that shows everything generated for one problem."""
        return command("show", str(self.run), "--problem", problem, "--arm", arm, "--seed", str(self.seed))


@cache
def task_of(text: str) -> Task:
    """A task that several steps ask; its problems are made once."""
    return api.task(text)


def command(*words: str) -> str:
    """A command line as it is typed."""
    return shlex.join(["thence", *words])


def row_of(comparison: Comparison, arm: str) -> Row:
    """The row of an arm written ``STRATEGY @ PROMPT`` (a comparison of one prompt leaves that out)."""
    strategy, _, prompt = arm.partition(" @ ")
    return next(r for r in comparison.rows if r.strategy == strategy and r.prompt == prompt)


def records_of(row: Row) -> dict[str, Record]:
    """The finished problems of a row of one seed by id, in the order of the shuffle."""
    return {r["problem"]: r for report in row.reports for r in report.records}


def first_text(tree: Tree) -> str:
    """The first whole solution of a tree."""
    finished: list[Node] = [n for n in tree.nodes if n.kind == "finish"]
    return tree.solution(finished[0]) if finished else ""


def share(value: float | None, interval: Interval | None) -> str:
    """A share in percent with its 95 % interval."""
    if value is None or interval is None:
        return "-"
    return f"{100 * value:.1f} % [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def points(value: float, interval: Interval) -> str:
    """A difference in percentage points with its 95 % interval."""
    return f"{100 * value:+.1f} [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


def differences_of(comparison: Comparison) -> dict[str, Paired]:
    """The paired difference of every arm to the baseline, by the arm's name in the run file."""
    named = {r.arm: f"{r.strategy} @ {r.prompt}" for r in comparison.rows}
    return {named[d.arm]: d.paired for d in comparison.differences if d.paired is not None}


def right(record: Record) -> bool:
    """Whether a problem's result is right."""
    return bool(record["verdict"] == Verdict.CORRECT)


def sided(interval: Interval, above: float = 0.0) -> bool | None:
    """True where the whole interval is above a value, False where it is below, None where it holds it."""
    if interval[0] > above:
        return True
    return False if interval[1] < above else None


def tally(record: Mapping[str, Any]) -> list[tuple[str | None, int, bool]]:
    """The answers of a problem's samples, the most frequent first: (answer or None, samples, whether it is right)."""
    counted = [(key, count, 2 * right > count) for key, count, right in record["draws"]]
    return sorted(counted, key=lambda d: -d[1])


__all__ = [
    "MODEL",
    "SURE",
    "TASK",
    "Bench",
    "command",
    "differences_of",
    "first_text",
    "points",
    "records_of",
    "right",
    "row_of",
    "share",
    "sided",
    "tally",
    "task_of",
]
