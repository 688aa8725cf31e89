"""What each of a pool's models did, under a table of results."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from thence.evals.compare import Comparison
from thence.evals.report import ModelShare, Report

from .present import number, percent, plain, table
from .present import out as terminal


def show_pools(result: Comparison) -> None:
    """The same for every arm of a comparison; arms that vote over the same samples of the same models share a table."""
    before: list[ModelShare] = []
    for row in result.rows:
        for report in row.reports:
            same = report.models == before
            if not same:
                show_models(report, f"models of {row.arm}")
            before = report.models


def show_models(report: Report, label: str = "") -> None:
    """One row per model of a pool, and a line for every one that is lost; nothing for a single model."""
    if not report.models:
        return
    terminal.print(model_table(report.models, label))
    for share in report.models:
        if share.lost:
            terminal.print(plain(lost_line(share, report), "red"))


def model_table(models: Sequence[ModelShare], label: str = "") -> Table:
    """Samples, how many are right, and both books."""
    rows = [
        [
            m.name,
            number(m.draws),
            percent(m.right / m.draws if m.draws and m.right is not None else None),
            " / ".join(number(n) for n in (m.charged.prompt, m.charged.generated)),
            number(m.spent.generated),
            number(m.lost),
        ]
        for m in models
    ]
    columns = [label or "model", "samples", "right", "charged: prompt / generated", "spent: generated", "lost"]
    return table("", columns, rows, right=(1, 2, 3, 4, 5))


def lost_line(share: ModelShare, report: Report) -> str:
    """Which model is gone, and how much of the result was made without it."""
    problems = sum(r.get("models", {}).get(share.name, {}).get("lost", 0) > 0 for r in report.records)
    return (
        f"{share.name} was lost: {number(share.lost)} of its draws are missing, on {number(problems)} of "
        f"{number(len(report.records))} problems; their votes were cast without it"
    )
