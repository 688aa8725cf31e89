"""Accuracy by length, within questions and across them, as one picture (PNG)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from thence.core.clean import one_line
from thence.core.errors import UsageError
from thence.evals.pages.plot import COLOURS, DPI, save

from .lengths import Group
from .measure import Overthinking

INCHES = (9.0, 4.2)


def draw(found: Overthinking, title: str, out: Path) -> Path:
    """Write the picture as PNG and return its path; UsageError where there are no groups of length."""
    if found.lengths is None:
        raise UsageError("there is one sample per question and so nothing to plot by length; draw several")
    figure = Figure(figsize=INCHES, dpi=DPI)
    canvas: Any = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, found.lengths.within.groups, "within questions", COLOURS[0], found.unit)
    _panel(right, found.lengths.across.groups, "across questions (confounded by difficulty)", COLOURS[1], found.unit)
    left.set_ylabel("accuracy (95 % interval)", fontsize=11)
    figure.suptitle(one_line(f"accuracy by length: {title}", 100), fontsize=12, x=0.08, ha="left", parse_math=False)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.14, top=0.84, wspace=0.06)
    data = io.BytesIO()
    canvas.print_png(data)
    return save(data.getvalue(), out)


def _panel(axes: Any, groups: Sequence[Group], name: str, colour: str, unit: str) -> None:
    x: list[float] = []
    y: list[float] = []
    bars: tuple[list[float], list[float]] = ([], [])
    for g in groups:
        if g.accuracy.value is None or g.accuracy.interval is None:
            continue
        x.append(g.length)
        y.append(100 * g.accuracy.value)
        bars[0].append(100 * (g.accuracy.value - g.accuracy.interval[0]))
        bars[1].append(100 * (g.accuracy.interval[1] - g.accuracy.value))
    axes.errorbar(x, y, bars, color=colour, marker="o", markersize=6, linewidth=1.2, capsize=3)
    axes.set_title(name, fontsize=11, loc="left")
    axes.set_xlabel(f"mean length of the group, {unit}", fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} %"))
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
