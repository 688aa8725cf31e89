"""A comparison as a web page, and the parts that such pages are made of.

One file without scripts or outside parts; everything in it that came from a model, a file or a user is escaped.
"""

from __future__ import annotations

import base64
import html
import itertools
from collections.abc import Callable, Sequence

from thence.core.clean import one_line
from thence.evals.compare import Comparison, Difference, Row

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.45 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 960px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
img { width: 100%; max-width: 900px; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; color: #444; padding-bottom: .4rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th[scope=row], th.text { text-align: left; font-weight: 500; }
li { overflow-wrap: anywhere; }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def whole(title: str, body: Sequence[str], style: str = "") -> str:
    """A page of these parts (HTML already); empty ones are left out."""
    shown = html.escape(one_line(title, 1000))
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{shown}</title><style>{STYLE}{style}</style></head><body>",
        f"<h1>{shown}</h1>",
        *body,
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part)


def document(comparison: Comparison, image: bytes | None) -> str:
    """The comparison as one page."""
    body = [
        image_of(comparison, image) if image is not None else "",
        *tables(comparison),
        *(flips(d) for d in comparison.differences if d.flips),
        f"<p>Run file: {html.escape(one_line(comparison.run))}</p>" if comparison.run else "",
    ]
    return whole(title_of(comparison), body)


def tables(comparison: Comparison) -> list[str]:
    """What is to be said, the arms, and their differences to the baseline."""
    return [
        f"<p>{html.escape(comparison.statement)}</p>" if comparison.statement else "",
        arms_table(comparison.rows),
        differences_table(comparison) if comparison.differences else "",
    ]


def image_of(comparison: Comparison, image: bytes) -> str:
    """The plot of accuracy against cost, with its numbers as its description."""
    said = (
        f"{r.arm}: {100 * r.accuracy:.1f} % at {short(r.tokens)} tokens"
        for r in comparison.rows
        if r.accuracy is not None and r.tokens is not None
    )
    return picture(image, f"Accuracy against charged tokens. {'; '.join(said)}")


def picture(image: bytes, described: str) -> str:
    """A PNG inside the page; ``described`` is for those who do not see it."""
    encoded = base64.b64encode(image).decode()
    return f'<img src="data:image/png;base64,{encoded}" alt="{html.escape(one_line(described, 4000))}">'


def title_of(comparison: Comparison) -> str:
    """Task, model and how many problems."""
    sizes = sorted({row.n for row in comparison.rows})
    problems = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]}–{sizes[-1]}"
    return f"{cut(comparison.task, 50)}, {cut(comparison.model, 40)}: {problems} problems"


def cut(text: str, width: int) -> str:
    """One line of at most ``width`` characters."""
    text = one_line(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def short(value: float | None) -> str:
    """3 significant digits with k and M."""
    if value is None:
        return "∞"
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def arms_table(rows: Sequence[Row]) -> str:
    """Every arm with its interval and cost."""
    formats = ("not in the format",) if any(r.format is not None for r in rows) else ()
    heads = ("arm", *formats, "budget", "problems", "accuracy", "95 % interval", "tokens per problem")
    heads += ("unparsed", "truncated", "failed")
    body = []
    for r in rows:
        interval = "" if r.interval is None else f"{100 * r.interval[0]:.1f} to {100 * r.interval[1]:.1f} %"
        cells = (
            *(("" if r.format is None else f"{100 * r.format.rate:.1f} %") for _ in formats),
            "none" if r.budget is None else f"{r.budget:,}",
            f"{r.n:,}",
            "unknown" if r.accuracy is None else f"{100 * r.accuracy:.1f} %",
            interval,
            "unknown" if r.tokens is None else f"{r.tokens:,.0f}",
            str(r.unparsed),
            str(r.truncated),
            str(r.failed),
        )
        body.append(table_row(r.arm, cells))
    return table("Every arm: accuracy with its interval, and what it was charged.", heads, body)


def differences_table(comparison: Comparison) -> str:
    """Every arm against the baseline, paired."""
    heads = ("arm", "budget", "difference", "95 % interval", "won", "lost", "p (exact)", "p (Holm)")
    body = []
    for d in comparison.differences:
        budget = "none" if d.budget is None else f"{d.budget:,}"
        differing = "unknown" if d.disagree is None else f"unknown ({100 * d.disagree:.1f} % answers differ)"
        cells: tuple[str, ...] = (budget, differing, "", "", "", "", "")
        if d.paired is not None:
            low, high = d.paired.interval
            cells = (
                budget,
                f"{100 * d.paired.difference:+.1f}",
                f"{100 * low:+.1f} to {100 * high:+.1f}",
                str(d.paired.won),
                str(d.paired.lost),
                f"{d.paired.p:.3g}",
                "" if d.paired.holm is None else f"{d.paired.holm:.3g}",
            )
        body.append(table_row(d.arm, cells))
    caption = f"Paired differences to {one_line(comparison.baseline)} at the same budget, in points."
    return f"<h2>Differences</h2>{table(caption, heads, body)}"


def table(caption: str, heads: Sequence[str], rows: Sequence[str]) -> str:
    """A table of ``table_row`` rows; the first column is text, the others are numbers."""
    kinds = itertools.chain((' class="text"',), itertools.repeat(""))
    head = "".join(f'<th scope="col"{kind}>{html.escape(h)}</th>' for h, kind in zip(heads, kinds, strict=False))
    return (
        f'<div class="wide"><table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def table_row(name: str, cells: Sequence[str]) -> str:
    """One row: a name and its cells, plain text both."""
    tail = "".join(f"<td>{html.escape(c)}</td>" for c in cells)
    return f'<tr><th scope="row">{html.escape(one_line(name))}</th>{tail}</tr>'


def flips(d: Difference, link: Callable[[str], str] | None = None) -> str:
    """The problems on which an arm and the baseline differ; ``link`` makes HTML of a problem's id."""
    better = [p for p, a, b in d.flips if b > a]
    worse = [p for p, a, b in d.flips if b < a]
    shown = link or (lambda problem: html.escape(one_line(problem)))
    budget = "" if d.budget is None else f", budget {d.budget:,}"
    head = html.escape(f"Flipped problems: {one_line(d.arm)}{budget} ({len(better)} won, {len(worse)} lost)")
    lists = "".join(
        f"<li>{name}: {', '.join(map(shown, problems))}</li>"
        for name, problems in (("won", better), ("lost", worse))
        if problems
    )
    return f"<details><summary>{head}</summary><ul>{lists}</ul></details>"
