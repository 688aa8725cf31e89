"""The picture of a probe: accuracies of all variants with what chance explains, and their gaps to the originals."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from thence.core.clean import one_line
from thence.evals.pages.plot import save

from .measure import ALPHA, MARGIN, Probe, VariantRow

BLUE, RED, GREY = "#0072B2", "#D55E00", "#888888"


def draw(probe: Probe, out: Path) -> Path:
    """Write the picture as PNG; StoreError where it cannot be written."""
    rows = probe.rows
    figure = Figure(figsize=(11.0, 1.9 + 0.5 * len(rows)), dpi=160, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for y, row in enumerate(rows):
        _accuracy(left, y, row)
        _gap(right, y, row)
    left.set_yticks(range(len(rows)), [one_line(row.variant, 40) for row in rows], parse_math=False)
    left.invert_yaxis()
    left.set_xlabel("accuracy, %   (dots: sets, bar: where chance puts 95 % of sets)")
    right.set_xlabel("originals minus variant, points (95 % interval)")
    right.axvline(0, color=GREY, linewidth=0.8)
    for axes in (left, right):
        axes.grid(True, axis="x", color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(one_line(f"{probe.model}, {probe.strategy}", 100), fontsize=12, parse_math=False)
    data = io.BytesIO()
    canvas.print_png(data)
    return save(data.getvalue(), out)


def _accuracy(axes: Any, y: int, row: VariantRow) -> None:
    mean = 100 * row.accuracy
    if row.spread is not None:
        half = 196 * row.spread.null
        low, high = max(0.0, mean - half), min(100.0, mean + half)
        axes.barh(y, high - low, left=low, height=0.5, color="#dddddd", zorder=1)
        axes.plot(
            [100 * x for x in row.spread.sets], [y] * len(row.spread.sets), "o", color=GREY, markersize=3, zorder=2
        )
    axes.plot([100 * x for x in row.interval], [y, y], color=BLUE, linewidth=1.6, zorder=3)
    axes.plot([mean], [y], "D", color=BLUE, markersize=6, zorder=4)


def _gap(axes: Any, y: int, row: VariantRow) -> None:
    if row.gap is None:
        return
    flagged = row.holm is not None and row.holm < ALPHA and row.gap.gap >= MARGIN
    colour = RED if flagged else BLUE if row.same_law else GREY
    axes.plot([100 * x for x in row.gap.interval], [y, y], color=colour, linewidth=1.6)
    axes.plot([100 * row.gap.gap], [y], "D" if row.same_law else "o", color=colour, markersize=6)
