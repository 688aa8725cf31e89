"""Finished runs, read back for a report: their arms, and a comparison of arms over the same problems.

Arms of several files are put side by side only where task and data are the same (their hash is in every header). A
comparison is made of records alone, so it needs neither model nor task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thence.core.errors import StoreError
from thence.evals.compare import Comparison, Named, conclude, short_model
from thence.evals.report import Report, summarise
from thence.stores.sqlite import Cell, RunView

KINDS = ("eval", "compare", "allocate")


@dataclass(slots=True)
class StoredArm:
    """One arm of one run file: its reports and the cells they come from, by (budget, seed)."""

    view: RunView
    key: str  # its name in the file
    model: str
    strategy: str
    prompt: str
    reports: dict[tuple[int | None, int], Report] = field(default_factory=dict)
    cells: dict[tuple[int | None, int], Cell] = field(default_factory=dict)


@dataclass(slots=True)
class Section:
    """Arms over the same problems."""

    task: str
    arms: list[StoredArm]

    @property
    def labels(self) -> list[str]:
        """One name per arm: its strategy, and whatever else it takes to tell them apart."""
        said = [a.strategy for a in self.arms]
        for more in (
            [f" @ {a.prompt}" for a in self.arms],
            [f" on {short_model(a.model)}" for a in self.arms],
            [f" ({a.view.path.stem})" for a in self.arms],
        ):
            if len(set(said)) == len(said):
                break
            if len(set(more)) > 1:
                said = [a + b for a, b in zip(said, more, strict=True)]
        return said if len(set(said)) == len(said) else [f"{i + 1}: {name}" for i, name in enumerate(said)]

    def index(self, name: str) -> int | None:
        """Which arm has this label, or this strategy; None where none or several have."""
        named = zip(self.labels, self.arms, strict=True)
        found = [i for i, (label, arm) in enumerate(named) if name in (label, arm.strategy, arm.key)]
        return found[0] if len(found) == 1 else None

    def compare(self, base: int = 0) -> Comparison:
        """Every arm's row, and its paired difference to the arm ``base`` at the same budget, over the seeds of both."""
        arms = [Named(label, a.strategy, a.prompt) for label, a in zip(self.labels, self.arms, strict=True)]
        cells = [where for a in self.arms for where in a.reports]
        budgets = sorted({b for b, _ in cells}, key=lambda b: (b is None, b or 0))
        reports = {
            (budget, i): [arm.reports[b, s] for b, s in sorted(arm.reports, key=lambda at: at[1]) if b == budget]
            for budget in budgets
            for i, arm in enumerate(self.arms)
        }
        made = conclude(arms, reports, base, seeds=sorted({s for _, s in cells}), budgets=budgets)
        made.task = self.task
        made.model = ", ".join(dict.fromkeys(short_model(a.model) for a in self.arms))
        return made


def sections(views: Sequence[RunView]) -> list[Section]:
    """The arms of these run files, those of equal data together, in the order they come."""
    made: dict[tuple[str, str], Section] = {}
    for view in views:
        header = view.header
        if header.get("kind") not in KINDS:
            raise StoreError(
                f"{view.path} comes from `thence {header.get('kind')}`; a report is made of runs of eval and compare"
            )
        key = str(header.get("task")), str(header.get("data"))
        made.setdefault(key, Section(key[0], [])).arms.extend(stored_arms(view))
    empty = [s.task for s in made.values() if not s.arms]
    if empty:
        raise StoreError(f"there is no finished problem of {empty[0]} yet; run it first")
    return list(made.values())


def stored_arms(view: RunView) -> list[StoredArm]:
    """The arms of one run file that have a result, in the order they were typed."""
    header = view.header
    arms: dict[str, StoredArm] = {}
    notes = header.get("notes", {}).get("policy", {})
    whole = str(notes.get("model") or (header.get("model") or {}).get("identity", ""))
    for cell in view.cells():
        told: dict[str, Any] = header.get("arms", {}).get(cell.arm) or header
        strategy, prompt = str(told.get("strategy", cell.arm)), (told.get("prompt") or {}).get("name", "")
        own = cell.arm.partition(" @ ")[2].partition(" on ")[2]
        arm = arms.setdefault(cell.arm, StoredArm(view, cell.arm, own or whole, strategy, str(prompt)))
        records = sorted(view.results(cell).values(), key=lambda r: (r["hash"], r["problem"]))  # the shuffle's order
        failed = {problem: failure.message for problem, failure in view.failures(cell).items()}
        report = Report(str(header.get("task")), arm.model, strategy, arm.prompt, cell.seed, cell.budget)
        report.run = str(view.path)
        arm.reports[cell.budget, cell.seed] = summarise(report, records, failed)
        arm.cells[cell.budget, cell.seed] = cell
    typed = list(header.get("arms", {}))
    return sorted(arms.values(), key=lambda arm: typed.index(arm.key) if arm.key in typed else len(typed))


def open_runs(paths: Sequence[Path]) -> list[RunView]:
    """The files, opened for reading; StoreError for one that is given twice."""
    twice = {p for p in paths if [q.resolve() for q in paths].count(p.resolve()) > 1}
    if twice:
        raise StoreError(f"{sorted(twice)[0]} is given twice; give each run once")
    return [RunView(p) for p in paths]


__all__ = ["Section", "StoredArm", "open_runs", "sections", "stored_arms"]
