"""``thence confidence RUN``: whether a run's confidence means what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from thence.core.errors import UsageError
from thence.evals.statistics.calibration import BINS
from thence.evals.statistics.confidence import ConfidenceReport, confidence_report, forecasts
from thence.stores.sqlite import Cell, RunView

from .outputs import needs_matplotlib
from .present import err, out, percent, plain, print_json, table
from .runs import asked_cells, last_run


def confidence(
    run: Path | None = None,
    /,
    *,
    by: str = "agreement",
    bins: int = BINS,
    arm: str | None = None,
    seed: int | None = None,
    budget: str | None = None,
    plot: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Check a stored run's confidence: reliability, calibration error, Brier, AUROC, risk against coverage.

    Parameters
    ----------
    run
        A run file with several samples per problem, e.g. of self-consistency; default: the last one.
    by
        agreement: share of the samples that gave the returned answer; strategy: the strategy's own number.
    bins
        Bins of equal mass; equal confidences always share one.
    arm
        In a comparison: which strategy.
    seed
        In a comparison: which seed.
    budget
        In a comparison: which budget.
    plot
        Write reliability diagram and risk-coverage curve to this file (.png).
    json
        Print one JSON object.
    """
    path = run if run is not None else last_run()
    with RunView(path) as view:
        cells = asked_cells(view, path, arm, seed, budget)
        if plot is not None and len(cells) > 1:
            raise UsageError(f"{path} has {len(cells)} arms and seeds; say with --arm and --seed which one to plot")
        reports = []
        for cell in cells:
            found = forecasts(list(view.results(cell).values()), by)
            reports.append((_title(view, cell), confidence_report(found, by, bins)))
    if json:
        documents: list[dict[str, Any]] = [{"of": title, **report.document()} for title, report in reports]
        print_json({"run": str(path), "cells": documents})
    else:
        for title, report in reports:
            show(title, report)
    if plot is not None:
        _draw(reports[0][1], plot, reports[0][0])


def _title(view: RunView, cell: Cell) -> str:
    header = view.header
    arm = cell.arm or str(header.get("strategy", ""))
    return f"{header.get('task', '')}  {arm}  seed {cell.seed}" + (f"  budget {cell.budget:,}" if cell.budget else "")


def show(title: str, report: ConfidenceReport) -> None:
    """The figures, the reliability table, what is right above a threshold, and the maps."""
    out.print(plain(title, "bold"))
    out.print(table("", ["figure", "value"], _figures(report), right=(1,)))
    rows = [
        [f"{b.low:.2f} to {b.high:.2f}", str(b.n), f"{b.confidence:.3f}", _share(b.accuracy, b.interval)]
        for b in report.bins
    ]
    out.print(table("reliability", [report.kind, "problems", "mean", "right [95 %]"], rows, right=(1, 2, 3)))
    rows = [[f"≥ {a.threshold:g}", str(a.n), percent(a.share), _share(a.accuracy, a.interval)] for a in report.above]
    out.print(table("the most confident", [report.kind, "problems", "of all", "right [95 %]"], rows, right=(1, 2, 3)))
    if report.maps:
        fitted, n = report.maps[0].fitted_on, report.maps[0].n
        rows = [
            [
                m.name + ("" if m.temperature is None else f" (T = {m.temperature:.2f})"),
                f"{m.ece_before:.3f} → {m.ece_after:.3f} (floor {m.ece_floor:.3f})",
                f"{m.brier_before:.3f} → {m.brier_after:.3f}",
            ]
            for m in report.maps
        ]
        title = f"calibrated on {fitted} problems, measured on {n} others"
        out.print(table(title, ["map", "ECE", "Brier"], rows, right=(1, 2)))
    if report.statement:
        out.print(plain(report.statement, "yellow"))


def _figures(r: ConfidenceReport) -> list[list[str]]:
    low, high = r.samples
    b = r.brier
    parts = f"{b.reliability:.3f} - {b.resolution:.3f} + {b.uncertainty:.3f} {b.within:+.3f}"
    ranked = "one kind only" if r.auroc is None or r.auroc_interval is None else _range(r.auroc, r.auroc_interval)
    return [
        ["problems", f"{r.n:,}"],
        ["samples per problem", str(low) if low == high else f"{low} to {high}"],
        ["accuracy [95 %]", _share(r.accuracy, r.interval)],
        [f"mean {r.kind}", percent(r.confidence)],
        ["ECE (floor; chance under calibration)", f"{r.ece:.3f} ({r.ece_floor:.3f}; {_chance(r.ece_p)})"],
        ["Brier", f"{b.score:.3f}"],
        ["  reliability - resolution + uncertainty + within", parts],
        ["AUROC [95 %]", ranked],
        ["AURC (best order; none)", f"{r.curve.aurc:.3f} ({r.curve.best:.3f}; {1 - r.accuracy:.3f})"],
    ]


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _range(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _share(value: float | None, interval: tuple[float, float]) -> str:
    return "-" if value is None else f"{100 * value:.1f} % [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _draw(report: ConfidenceReport, path: Path, title: str) -> None:
    with needs_matplotlib():
        from thence.evals.statistics.confidence_plot import draw_confidence
    err.print(plain(f"plot {draw_confidence(report, path, title)}", "dim"))
