"""Two pictures in one: the reliability diagram, and risk against coverage."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from thence.core.clean import one_line
from thence.evals.pages.plot import COLOURS, save

from .confidence import ConfidenceReport

INCHES, DPI = (11.0, 5.0), 160


def draw_confidence(report: ConfidenceReport, out: Path, title: str) -> Path:
    """Write the picture as PNG; StoreError where it cannot be written. Returns its path."""
    return save(picture(report, title), out)


def picture(report: ConfidenceReport, title: str) -> bytes:
    """The plot as PNG bytes."""
    figure = Figure(figsize=INCHES, dpi=DPI)
    canvas: Any = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(5, 1), hspace=0.08, wspace=0.22)
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.11, top=0.86)
    left = figure.add_subplot(grid[0, 0])
    below = figure.add_subplot(grid[1, 0], sharex=left)
    _reliability(left, report)
    _masses(below, report)
    _risk(figure.add_subplot(grid[:, 1]), report)
    figure.suptitle(one_line(title, 110), x=0.07, ha="left", fontsize=12, parse_math=False)
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn instead
        canvas.print_png(out)
    return out.getvalue()


def _reliability(axes: Any, report: ConfidenceReport) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--", label="calibrated")
    x, y = [b.confidence for b in report.bins], [b.accuracy for b in report.bins]
    bars = [[b.accuracy - b.interval[0] for b in report.bins], [b.interval[1] - b.accuracy for b in report.bins]]
    label = f"{report.kind}, ECE {report.ece:.3f} (floor {report.ece_floor:.3f})"
    axes.errorbar(x, y, bars, color=COLOURS[0], marker="o", markersize=5, linewidth=1.2, capsize=3, label=label)
    for i, m in enumerate(report.maps, 1):
        said = f"{m.name}, other half: {m.ece_before:.3f} to {m.ece_after:.3f}"
        points = [b.confidence for b in m.bins], [b.accuracy for b in m.bins]
        axes.plot(*points, color=COLOURS[i], marker="sD"[i % 2], markersize=4, linewidth=0.9, label=said)
    axes.set_ylabel("accuracy (95 % interval)")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlim(-0.03, 1.03)
    axes.tick_params(labelbottom=False)
    axes.set_title("reliability, bins of equal mass", fontsize=10, loc="left")
    axes.legend(fontsize=8, framealpha=0.85, edgecolor="none", loc="lower right")
    _plain(axes)


def _masses(axes: Any, report: ConfidenceReport) -> None:
    """How many problems stand behind each point."""
    axes.bar([b.confidence for b in report.bins], [b.n for b in report.bins], width=0.02, color=COLOURS[0])
    axes.set_xlabel(f"confidence ({report.kind})")
    axes.set_ylabel("problems", fontsize=8)
    _plain(axes)


def _risk(axes: Any, report: ConfidenceReport) -> None:
    curve = report.curve
    n, wrong = report.n, round((1 - report.accuracy) * report.n)
    best = [max(0, j - (n - wrong)) / j for j in range(1, n + 1)]
    axes.plot(
        curve.coverage, curve.risk, color=COLOURS[0], linewidth=1.4, label=f"{report.kind}, AURC {curve.aurc:.3f}"
    )
    axes.plot(curve.coverage, best, color="#999999", linestyle="--", linewidth=1, label=f"best, {curve.best:.3f}")
    axes.axhline(1 - report.accuracy, color="#cccccc", linewidth=1, label="no order")
    sure = next((a for a in report.above if a.threshold == 0.8), None)
    if sure is not None and sure.accuracy is not None:
        said = f"{report.kind} ≥ 0.8: {100 * sure.accuracy:.1f} % right"
        axes.plot([sure.share], [1 - sure.accuracy], "o", color=COLOURS[1], label=said)
    axes.set_xlabel("coverage: share of problems answered, the most confident first")
    axes.set_ylabel("risk: error among them")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.3g} %"))
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.01, 1.35 * max(0.02, *curve.risk))
    axes.set_title("risk against coverage", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.grid(True, color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
