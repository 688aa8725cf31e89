"""Two kinds of bars for the tour; its other pictures are those of ``compare``, ``curves`` and ``confidence``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from thence.core.clean import one_line
from thence.evals.compare import Comparison
from thence.evals.pages.comparison_page import title_of
from thence.evals.pages.plot import COLOURS, MARKERS, picture, points

RIGHT, WRONG = COLOURS[2], COLOURS[1]
DPI = 160
MOST = 12  # bars in one picture


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it stands for, how long it is, whether that is right, and what is written beside it."""

    label: str
    length: float
    right: bool
    note: str = ""


def compared(comparison: Comparison) -> bytes:
    """The picture that ``thence compare`` draws: accuracy against tokens."""
    return picture(points(comparison), title_of(comparison))


def bars(made: Sequence[Bar], title: str, axis: str) -> bytes:
    """Horizontal bars, right ones in another colour, as PNG bytes."""
    figure = Figure(figsize=(8.0, 1.3 + 0.36 * min(MOST, len(made))), dpi=DPI)
    axes = figure.add_subplot()
    _bars(axes, made, title, axis)
    figure.tight_layout()
    return _png(figure)


def bars_and_lines(
    made: Sequence[Bar],
    titles: tuple[str, str],
    axes_labels: tuple[str, str, str],
    lines: Mapping[str, Sequence[float]],
    ks: Sequence[int],
) -> bytes:
    """Bars on the left; on the right one line per name over ``ks``. Labels: of the bars, of the lines' x and y axis."""
    figure = Figure(figsize=(11.0, 4.6), dpi=DPI)
    left, right = figure.subplots(1, 2)
    _bars(left, made, titles[0], axes_labels[0])
    for i, (name, values) in enumerate(lines.items()):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        right.plot(ks, values, label=name, linewidth=1.4, color=colour, marker=marker, markersize=4)
    right.set_xscale("log", base=2)
    right.set_xticks(ks)
    right.set_xticklabels([str(k) for k in ks])
    right.set_ylim(-0.02, 1.02)
    right.set_xlabel(axes_labels[1])
    right.set_ylabel(axes_labels[2])
    right.set_title(titles[1], fontsize=10, loc="left")
    right.legend(fontsize=8.5, framealpha=0.85, edgecolor="none")
    right.grid(True, color="#e5e5e5", linewidth=0.6)
    right.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return _png(figure)


def _bars(axes: Any, made: Sequence[Bar], title: str, axis: str) -> None:
    shown = list(made[:MOST])
    places = range(len(shown))
    lengths = [bar.length for bar in shown]
    axes.barh(places, lengths, height=0.7, color=[RIGHT if bar.right else WRONG for bar in shown])
    room = max([*lengths, 1e-9])
    for place, bar in zip(places, shown, strict=True):
        axes.text(bar.length + 0.015 * room, place, one_line(bar.note, 60), va="center", fontsize=9, parse_math=False)
    axes.set_yticks(places)
    axes.set_yticklabels([one_line(bar.label, 24) for bar in shown], parse_math=False)
    axes.invert_yaxis()
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= 1.01 * room])
    axes.set_xlim(0, 1.35 * room)
    axes.set_xlabel(axis)
    axes.set_title(one_line(title, 90), fontsize=10, loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)


def _png(figure: Figure) -> bytes:
    canvas: Any = FigureCanvasAgg(figure)
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn instead
        canvas.print_png(out)
    return out.getvalue()


__all__ = ["Bar", "bars", "bars_and_lines", "compared"]
