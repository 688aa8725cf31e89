"""What each of a pool's models did, under a table of results."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from thence.evals.compare import Comparison
from thence.evals.pool_controls import Control, best_model, written
from thence.evals.report import ModelShare, Report
from thence.stores.header import scrub

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


def show_controls(found: Sequence[Control]) -> None:
    """A line for every pool: against as many samples of the best of its models alone, or that there is no such arm."""
    for c in found:
        if c.control is None or c.paired is None:
            said = f"{c.arm}: the control, as many samples of its best model alone, is not in this comparison; add it"
            terminal.print(plain(said, "yellow"))
            continue
        p, (low, high) = c.paired, c.paired.interval
        points = f"{100 * p.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points, flips +{p.won} -{p.lost}"
        said = f"{c.arm}, against the control {c.control} ({percent(c.accuracy)}): {points}, p {p.p:.3g}"
        terminal.print(plain(said))


def control_line(report: Report) -> str:
    """Which arm would be the control of a pool's run, whose own models have only their shares of the samples."""
    best = best_model(report.models)
    if best is None or best.right is None:
        return ""
    said = f"best alone: {best.name}, {percent(best.right / best.draws)} of its {number(best.draws)} samples are right"
    text = written(report.model).get(best.name)
    if text is None:
        return said
    arms = " ".join(f'"{report.strategy} on {model}"' for model in (report.model, text))
    return f"{said}; control, as many samples of it: thence compare TASK {scrub(arms)}"


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
            "-" if not m.draws else number(None if m.charged.generated is None else m.charged.generated / m.draws),
            " / ".join(number(n) for n in (m.charged.prompt, m.charged.generated)),
            number(m.spent.generated),
            number(m.lost),
        ]
        for m in models
    ]
    columns = [label or "model", "samples", "right", "tokens/sample", "charged: prompt / generated"]
    columns += ["spent: generated", "lost"]
    return table("", columns, rows, right=range(1, 7))


def lost_line(share: ModelShare, report: Report) -> str:
    """Which model is gone, and how much of the result was made without it."""
    problems = sum(r.get("models", {}).get(share.name, {}).get("lost", 0) > 0 for r in report.records)
    return (
        f"{share.name} was lost: {number(share.lost)} of its draws are missing, on {number(problems)} of "
        f"{number(len(report.records))} problems; their votes were cast without it"
    )
