"""The picture of ``thence curves``: coverage with its interval, guesses, votes and best-of-k against k samples."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from thence.core.clean import one_line
from thence.evals.pages.plot import COLOURS, MARKERS, save

from .run_curves import RunCurves

INCHES, DPI = (8.0, 5.0), 160


def draw_curves(made: RunCurves, out: Path, title: str) -> Path:
    """Write the picture as PNG; StoreError where it cannot be written. Returns its path."""
    return save(picture(made, title), out)


def picture(made: RunCurves, title: str) -> bytes:
    """The plot as PNG bytes."""
    figure = Figure(figsize=INCHES, dpi=DPI)
    canvas: Any = FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.1, right=0.97, bottom=0.12, top=0.9)
    axes = figure.add_subplot()
    ks = [p.k for p in made.points]
    intervals = [p.coverage.interval for p in made.points]
    axes.fill_between(ks, [low for low, _ in intervals], [high for _, high in intervals], color=COLOURS[0], alpha=0.15)
    lines = {"coverage: any of k is right (95 % interval)": [p.coverage.mean for p in made.points]}
    lines["majority of k"] = [p.majority for p in made.points]
    for name in made.points[0].best:
        lines[f"best of k by {name}"] = [p.best[name] for p in made.points]
    for i, (name, values) in enumerate(lines.items()):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        axes.plot(ks, values, label=one_line(name, 60), linewidth=1.4, color=colour, marker=marker, markersize=5)
    guesses = [p.guess for p in made.points if p.guess is not None]
    if len(guesses) == len(ks):
        axes.plot(ks, guesses, color="#777777", linestyle="--", linewidth=1.2, label="coverage by guessing")
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("k samples per problem")
    axes.set_ylabel(f"share of {made.problems:,} problems")
    axes.set_title(one_line(title, 90), fontsize=11, loc="left", parse_math=False)
    axes.legend(fontsize=9, framealpha=0.85, edgecolor="none", loc="best")
    axes.grid(True, color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn instead
        canvas.print_png(out)
    return out.getvalue()


__all__ = ["draw_curves", "picture"]
