"""The picture and the page: everything drawn, nothing overlapping, nothing live."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sums import Sums, noisy

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from thence.core.errors import StoreError
from thence.evals.compare import Comparison, Grid, compare
from thence.evals.evaluate import Arm
from thence.evals.pages import plot
from thence.prompts.styles import Bare
from thence.strategies.greedy import Greedy
from thence.strategies.self_consistency import SelfConsistency

NASTY = '<script>alert(1)</script>"\x1b[2J$x_{'


async def made(*, references: bool = True) -> Comparison:
    arms = [Arm(f"self-consistency(n={n})", SelfConsistency(n=n), Bare()) for n in (1, 2, 4, 8, 16)]
    return await compare(Sums(30, references=references), noisy(), Grid((Arm("greedy", Greedy(), Bare()), *arms)))


class Page(HTMLParser):
    """All tags with their attributes, and the cells of all tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_cell = tag in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells.append(data)
            self._in_cell = False


async def test_the_page_stands_alone_and_escapes_everything(tmp_path: Path) -> None:
    comparison = await made()
    comparison.model = comparison.run = NASTY
    comparison.rows[1].arm = NASTY
    png, html = plot.draw(comparison, tmp_path / "deep" / "plot.png")
    assert png.read_bytes().startswith(b"\x89PNG")
    text = html.read_text()
    page = Page()
    page.feed(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "form", "a", "svg"})
    assert "alert(1)" in text
    assert "\x1b" not in text
    links = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href") and v]
    assert [v[:22] for v in links] == ["data:image/png;base64,"]
    assert not re.search(r"https?:", text)
    assert any("default-src 'none'" in (attrs.get("content") or "") for _, attrs in page.tags)
    (alt,) = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert alt is not None
    assert "greedy: " in alt
    row = comparison.rows[-1]
    assert row.accuracy is not None
    assert f"{100 * row.accuracy:.1f} %" in page.cells
    assert len([c for c in page.cells if c.startswith("self-consistency")]) == 4 * 2 + 1


async def test_labels_overlap_neither_each_other_nor_points(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = plot.points(await made())
    boxes: list[tuple[str, Any]] = []
    figures: list[Figure] = []
    original = FigureCanvasAgg.print_png

    def spy(self: Any, *args: Any, **kw: Any) -> Any:
        figures.append(self.figure)
        axes = self.figure.axes[0]
        boxes.extend((t.get_text(), t.get_window_extent(self.get_renderer())) for t in axes.texts)
        return original(self, *args, **kw)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", spy)
    plot.picture(drawn, "title")
    assert sorted(text for text, _ in boxes) == sorted(p.label for p in drawn)
    for (_, a), (_, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)
    axes = figures[0].axes[0]
    frame = axes.get_window_extent()
    for _, box in boxes:
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
    width, _ = figures[0].get_size_inches() * figures[0].dpi
    smallest = min(box.height for _, box in boxes) * 900 / width
    assert smallest >= 9  # pixels of text height when shown at 900


async def test_points_at_one_place_are_drawn_apart() -> None:
    figure = Figure()
    axes = figure.add_subplot()
    same = [plot.Point(str(i), "f", 10.0, 0.5, 0.4, 0.6) for i in range(4)]
    plot._set_limits(axes, same)
    places = [axes.transData.transform((p.tokens, 0))[0] for p in plot._apart(axes, same)]
    assert all(b - a >= plot.APART - 1e-6 for a, b in itertools.pairwise(sorted(places)))


async def test_without_anything_to_draw_the_page_still_has_its_table(tmp_path: Path) -> None:
    comparison = await made(references=False)
    (html,) = plot.draw(comparison, tmp_path / "plot.png")
    text = html.read_text()
    assert "accuracy is unknown" in text
    assert "answers differ" in text
    assert "<img" not in text


async def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        plot.draw(await made(), tmp_path / "file" / "plot.png")
