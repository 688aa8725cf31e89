"""Accuracy against cost: a picture (PNG) and a page (HTML) of a comparison.

Each point is one arm under one budget, with its 95 % interval; arms of one strategy are joined in the order of their
cost. Labels stand beside their points and are moved until they overlap neither each other nor a point. The page is
``comparison_page``'s.
"""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator

from thence.core.errors import StoreError
from thence.evals.compare import Comparison

from .comparison_page import cut, document, short, title_of

# Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
MARKERS = "osD^vP*"
INCHES, DPI = (9.0, 5.4), 200  # 1800 pixels wide, shown at 900
LABEL = 44  # characters of an arm's name in the picture
GAP, APART, BESIDE = 14, 16, 4  # pixels between point and label, between points; places without a line
NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Point:
    """One arm in the picture."""

    label: str
    family: str
    tokens: float
    accuracy: float
    low: float
    high: float


def draw(comparison: Comparison, out: Path) -> list[Path]:
    """Write ``out`` as PNG and, beside it, as HTML; returns both paths.

    Without anything to draw (no references, or no token counts) there is only the page with its table.
    """
    drawn = points(comparison)
    image = picture(drawn, title_of(comparison)) if drawn else None
    png, page = out.with_suffix(".png"), out.with_suffix(".html")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if image is not None:
            png.write_bytes(image)
        page.write_text(document(comparison, image), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{error.filename or out}: cannot be written ({error.strerror})") from error
    return [page] if image is None else [png, page]


def save(png: bytes, out: Path) -> Path:
    """Write a picture as ``out``, which ends in .png from here on; returns its path, StoreError where it cannot be."""
    path = out.with_suffix(".png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error
    return path


def points(comparison: Comparison) -> list[Point]:
    """The arms that have an accuracy and a known cost. Arms of one family differ in numbers only."""
    several = len({row.budget for row in comparison.rows}) > 1
    made = []
    for row in comparison.rows:
        if row.accuracy is None or row.interval is None or row.tokens is None:
            continue
        label = cut(row.arm, LABEL) + (f" ≤{short(row.budget)}" if several and row.budget else "")
        family = f"{re.sub(NUMBER, '#', row.strategy)} {row.prompt} {row.budget}"
        made.append(Point(label, family, row.tokens, row.accuracy, *row.interval))
    return made


def picture(drawn: Sequence[Point], title: str) -> bytes:
    """The plot as PNG bytes."""
    figure = Figure(figsize=INCHES, dpi=DPI)
    canvas: Any = FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.11, top=0.92)
    axes = figure.add_subplot()
    _set_limits(axes, drawn)
    families = list(dict.fromkeys(p.family for p in drawn))
    colours = {family: COLOURS[i % len(COLOURS)] for i, family in enumerate(families)}
    moved = _apart(axes, drawn)
    for i, family in enumerate(families):
        mine = sorted((p for p in moved if p.family == family), key=lambda p: p.tokens)
        x, y = [p.tokens for p in mine], [100 * p.accuracy for p in mine]
        bars = [[100 * (p.accuracy - p.low) for p in mine], [100 * (p.high - p.accuracy) for p in mine]]
        colour, marker = colours[family], MARKERS[i % len(MARKERS)]
        axes.errorbar(x, y, bars, color=colour, marker=marker, markersize=6, linewidth=1.2, capsize=3, zorder=3)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: short(v)))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda v, _: ""))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} %"))
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("charged tokens per problem", fontsize=11)
    axes.set_ylabel("accuracy (95 % interval)", fontsize=11)
    axes.set_title(title, fontsize=12, loc="left", parse_math=False)
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn instead
        _place_labels(axes, canvas.get_renderer(), moved, colours)
        canvas.print_png(out)
    return out.getvalue()


def _set_limits(axes: Any, drawn: Sequence[Point]) -> None:
    """Room for all points, their intervals and labels; a logarithmic scale when costs differ by more than 4."""
    least, most = min(p.tokens for p in drawn), max(p.tokens for p in drawn)
    if most > 4 * least > 0:
        axes.set_xscale("log")
        room = max(1.3, (most / least) ** 0.2)
        axes.set_xlim(least / room, most * room)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        room = max(0.2 * (most - least), 0.1 * most, 1.0)
        axes.set_xlim(least - room, most + room)
    low, high = min(p.low for p in drawn), max(p.high for p in drawn)
    room = max(0.1 * (high - low), 0.02)
    axes.set_ylim(100 * max(-0.02, low - room), 100 * min(1.04, high + room))


def _apart(axes: Any, drawn: Sequence[Point]) -> list[Point]:
    """Points at nearly one place of the x axis, moved some pixels to the right so that all can be seen."""
    moved: list[Point] = []
    used: list[float] = []
    for p in sorted(drawn, key=lambda p: p.tokens):
        x = float(axes.transData.transform((p.tokens, 0))[0])
        while any(abs(x - other) < APART for other in used):
            x += 1
        used.append(x)
        moved.append(replace(p, tokens=float(axes.transData.inverted().transform((x, 0))[0])))
    return moved


Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


def _place_labels(axes: Any, renderer: Any, drawn: Sequence[Point], colours: dict[str, str]) -> None:
    """Write every label beside its point, at the free place nearest to it.

    Places are tried outwards: right, left, above and below at growing distance. Taken are the labels placed so far, all
    points, interval bars and joining lines; where nothing is free the place with the least overlap is used.
    """
    at = [tuple(map(float, axes.transData.transform((p.tokens, 100 * p.accuracy)))) for p in drawn]
    taken: list[Box] = [(x - 12, y - 12, x + 12, y + 12) for x, y in at]
    for p, (x, _) in zip(drawn, at, strict=True):
        low, high = (float(axes.transData.transform((p.tokens, 100 * v))[1]) for v in (p.low, p.high))
        taken.append((x - 8, low, x + 8, high))
    for family in colours:
        ends = [place for p, place in zip(drawn, at, strict=True) if p.family == family]
        taken += [box for a, b in itertools.pairwise(ends) for box in _along(a, b)]
    frame = axes.get_window_extent(renderer)
    inside = (float(frame.x0), float(frame.y0), float(frame.x1), float(frame.y1))
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for p, (x, y) in sorted(zip(drawn, at, strict=True), key=lambda pair: -pair[1][1]):
        text = axes.text(0, 0, p.label, fontsize=9.5, color=colours[p.family], parse_math=False, transform=None)
        text.set(path_effects=halo, zorder=5)
        extent = text.get_window_extent(renderer)
        places = list(_places(x, y, extent.width, extent.height))
        costs = [sum(_overlap(place, box) for box in taken) + _outside(place, inside) for place in places]
        best = costs.index(min(costs))
        left, bottom, right, top = places[best]
        text.set_position((left, bottom + extent.height * 0.2))
        taken.append((left, bottom, right, top))
        if best >= BESIDE:  # far from its point: a thin line says which it belongs to
            near = min(max(x, left), right), min(max(y, bottom), top)
            axes.plot([x, near[0]], [y, near[1]], color=colours[p.family], linewidth=0.6, transform=None, zorder=2)


def _along(a: tuple[float, ...], b: tuple[float, ...], pieces: int = 24) -> list[Box]:
    """A line from ``a`` to ``b`` as small boxes."""
    shares = [i / pieces for i in range(1, pieces)]
    middles = [(a[0] + s * (b[0] - a[0]), a[1] + s * (b[1] - a[1])) for s in shares]
    return [(x - 8, y - 8, x + 8, y + 8) for x, y in middles]


def _places(x: float, y: float, width: float, height: float) -> list[Box]:
    """Candidate boxes around a point, nearest first; the first ``BESIDE`` touch it."""
    places = []
    for step in (distance * height for distance in (0.0, 1.3, 2.6, 3.9, 5.2, 6.5)):
        up, down = y - height / 2 + step, y - height / 2 - step
        level = [(x + GAP, up), (x - GAP - width, up), (x - width / 2, y + GAP + step)]
        level.append((x - width / 2, y - GAP - height - step))
        places += level + ([(x + GAP, down), (x - GAP - width, down)] if step else [])
    return [(left, bottom, left + width, bottom + height) for left, bottom in places]


def _overlap(a: Box, b: Box) -> float:
    """Shared area of two boxes."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(a: Box, frame: Box) -> float:
    """Area of a box that is outside the frame, weighted: a cut label is worse than a crossed one."""
    return 3 * ((a[2] - a[0]) * (a[3] - a[1]) - _overlap(a, frame))
