"""The leaderboard as a picture: every model's score with its interval, the best one on top."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from thence.core.clean import one_line
from thence.evals.pages.plot import COLOURS, DPI, save

from .board import Board

WIDTH, ROW, MARGIN = 9.0, 0.34, 1.5  # inches: the picture, one model, title and axis
LABEL, LETTER = 36, 0.085  # characters of a name, inches of one
MOST = 60  # models in the picture


def draw(board: Board, out: Path) -> Path:
    """Write the picture as PNG; StoreError where it cannot be written."""
    return save(picture(board), out)


def picture(board: Board) -> bytes:
    """The PNG's bytes; at most the ``MOST`` best models are drawn, and the title says so."""
    shown = board.entries[:MOST]
    height = MARGIN + ROW * len(shown)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    canvas: Any = FigureCanvasAgg(figure)
    labels = [f"{_cut(e.model)}  {_rank(e.rank, e.worst)}" for e in shown]
    left = (0.4 + LETTER * max(map(len, labels))) / WIDTH
    figure.subplots_adjust(left=left, right=0.97, bottom=0.75 / height, top=1 - 0.5 / height)
    axes = figure.add_subplot()
    rows = range(len(shown))
    scores = [e.score for e in shown]
    errors = [
        [max(0.0, e.score - e.interval[0]) for e in shown],
        [max(0.0, e.interval[1] - e.score) for e in shown],
    ]
    if any(e.plain is not None for e in shown):
        controls = ", ".join(_cut(e.name) for e in board.effects)
        plain = [e.score if e.plain is None else e.plain for e in shown]
        axes.scatter(plain, rows, s=26, facecolors="white", edgecolors=COLOURS[1], zorder=2, label="uncontrolled")
        label = f"controlled for {controls}"
    else:
        label = "Bradley-Terry score"
    axes.errorbar(scores, rows, xerr=errors, fmt="o", color=COLOURS[0], ms=5, capsize=3, lw=1.4, zorder=3, label=label)
    axes.set_yticks(list(rows), labels)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)  # a name is no formula
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(axis="x", color="#dddddd", lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("score with its 95 % interval; 400 points are odds of 10 to 1")
    cut = f"; the best {MOST} of {len(board.entries)} models" if len(board.entries) > MOST else ""
    title = f"{board.battles:,} battles, {board.ties:,} ties{cut}; beside each name the ranks it may have"
    figure.text(0.02, 1 - 0.3 / height, title, fontsize=11, va="center")
    if board.effects:
        legend = axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=9)
        for text in legend.get_texts():
            text.set_parse_math(False)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks is drawn as boxes
        canvas.print_png(buffer)
    return buffer.getvalue()


def _cut(name: str) -> str:
    name = one_line(name)
    return name if len(name) <= LABEL else name[: LABEL - 1] + "…"


def _rank(best: int, worst: int) -> str:
    return f"{best}" if best == worst else f"{best}–{worst}"
