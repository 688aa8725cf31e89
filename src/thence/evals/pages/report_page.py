"""Finished runs as one offline page: tables with intervals, plots, flipped problems, and the trees behind them.

Runs over the same problems stand in one section, compared in pairs with the first arm. Pictures need matplotlib and are
left out, with a word, where it is not installed. The trees shown are those of problems on which two arms differ, and of
problems whose answer is wrong although a sample was right; at most ``trees`` of them, since a page must open.
"""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from thence.core.answers import Verdict
from thence.core.clean import one_line
from thence.core.errors import DataError, UsageError
from thence.core.tree import Tree
from thence.evals.compare import Comparison
from thence.evals.pool_controls import controls
from thence.evals.records import Record, all_draws
from thence.evals.report import ModelShare, Report
from thence.evals.statistics.confidence import ConfidenceReport, confidence_report, forecasts
from thence.evals.statistics.metrics import Paired

from .comparison_page import arms_table, cut, differences_table, flips, image_of, picture, table, table_row, whole
from .stored import Section, StoredArm
from .tree_page import TREE_STYLE, fact_list, tree_list

STYLE = """
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { color: #555; } dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
section { border-top: 3px solid #1b1b1b; margin-top: 3rem; }
.problem { border: 1px solid #ccc; border-radius: .3rem; padding: .4rem .8rem; margin: .5rem 0; }
.problem:target { outline: 3px solid #0072B2; }
"""
NO_PICTURES = 'The plots are left out: matplotlib is not installed (pip install "thence[plot]").'


@dataclass(slots=True)
class _Trees:
    """Which trees go into the page, and their anchors."""

    most: int
    wanted: dict[tuple[int, int, str], str]  # section, arm, problem -> anchor

    def link(self, section: int, arms: Sequence[int], problem: str) -> str:
        """The problem's name, linked to the trees of these arms as far as there is room."""
        name = html.escape(one_line(problem))
        if (section, arms[0], problem) not in self.wanted and len(self.wanted) + len(arms) > self.most:
            return name
        for arm in arms:
            self.wanted.setdefault((section, arm, problem), f"t{section}-{arm}-{len(self.wanted)}")
        return f'<a href="#{self.wanted[section, arms[0], problem]}">{name}</a>'


def report_page(
    sections: Sequence[Section],
    *,
    baseline: str | None = None,
    questions: Mapping[str, str] | None = None,
    trees: int = 40,
    title: str = "",
) -> str:
    """The page as HTML.

    ``baseline`` names the arm that others are compared with, where a section has it (default: its first).
    ``questions`` are texts by problem id, shown above trees; ``trees`` is the most shown.
    """
    shown = _Trees(trees, {})
    bases = [None if baseline is None else section.index(baseline) for section in sections]
    if baseline is not None and set(bases) == {None}:
        names = ", ".join(label for section in sections for label in section.labels)
        raise UsageError(f"the baseline {baseline!r} is not one arm of these runs; they are {names}")
    comparisons = [section.compare(base or 0) for section, base in zip(sections, bases, strict=True)]
    body = [
        part
        for i, (section, made) in enumerate(zip(sections, comparisons, strict=True))
        for part in _section(i, section, made, shown)
    ]
    body += _tree_parts(sections, shown, questions or {})
    if not _plots_available():
        body.insert(0, f"<p>{html.escape(NO_PICTURES)}</p>")
    tasks = ", ".join(dict.fromkeys(cut(s.task, 60) for s in sections))
    return whole(title or f"Report: {tasks}", body, STYLE + TREE_STYLE)


def _section(number: int, section: Section, made: Comparison, shown: _Trees) -> Iterator[str]:
    yield f"<section><h2>{html.escape(cut(section.task, 200))}</h2>"
    runs = dict.fromkeys(str(arm.view.path) for arm in section.arms)
    facts = {
        "model": made.model,
        "problems": ", ".join(sorted({f"{row.n:,}" for row in made.rows})),
        "seeds": ", ".join(map(str, made.seeds)),
        "run files": "\n".join(runs),
        "written by": "\n".join(dict.fromkeys(_provenance(arm) for arm in section.arms)),
    }
    yield fact_list({name: text for name, text in facts.items() if text})
    if made.statement:
        yield f"<p>{html.escape(made.statement)}</p>"
    yield _frontier(made)
    yield arms_table(made.rows)
    if made.differences:
        yield differences_table(made)
        labels = section.labels
        for d in made.differences:
            if d.flips:
                arms = [labels.index(d.arm), labels.index(d.baseline)]
                yield flips(d, partial(shown.link, number, arms))
    yield from _pools(section, made)
    yield _samples(section)
    yield from _confidence(section)
    yield _there_but_not_given(number, section, shown)
    yield "</section>"


def _provenance(arm: StoredArm) -> str:
    sessions = arm.view.sessions()
    versions = dict.fromkeys(str(s.get("thence", "")) for s in sessions if s.get("thence"))
    return ("thence " + ", ".join(versions)) if versions else ""


def _plots_available() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def _frontier(made: Comparison) -> str:
    if not _plots_available():
        return ""
    from . import plot

    drawn = plot.points(made)
    return image_of(made, plot.picture(drawn, cut(made.task, 90))) if len(drawn) > 1 else ""


def _pools(section: Section, made: Comparison) -> Iterator[str]:
    """What each of a pool's models did in every arm, and what the pool has to beat."""
    rows = [
        table_row(f"{label}, {m.name}", _model_cells(m))
        for label, arm in zip(section.labels, section.arms, strict=True)
        for m in _first(arm).models
    ]
    if not rows:
        return
    heads = ["arm, model", "samples", "right", "charged: prompt", "charged: generated", "tokens per sample", "lost"]
    yield "<h2>Models of pools</h2>" + table("Samples of every model, first seed and budget.", heads, rows)
    found = [c for c in controls(made) if c.control is not None and c.paired is not None]
    if found:
        rows = [table_row(f"{c.arm} against {c.control}", _control_cells(c.paired)) for c in found if c.paired]
        heads = ["pool against as many samples of its best model", "difference", "95 % interval", "p (exact)"]
        yield table("Paired by problem, in points.", heads, rows)
    else:
        yield "<p>The control, as many samples of the best model alone, is not in these runs.</p>"


def _model_cells(m: ModelShare) -> list[str]:
    prompt, generated = m.charged.prompt, m.charged.generated
    return [
        f"{m.draws:,}",
        f"{100 * m.right / m.draws:.1f} %" if m.draws and m.right is not None else "",
        "unknown" if prompt is None else f"{prompt:,}",
        "unknown" if generated is None else f"{generated:,}",
        "" if not m.draws or generated is None else f"{generated / m.draws:,.1f}",
        f"{m.lost:,}",
    ]


def _control_cells(p: Paired) -> list[str]:
    low, high = (100 * x for x in p.interval)
    return [f"{100 * p.difference:+.1f}", f"{low:+.1f} to {high:+.1f}", f"{p.p:.3g}"]


def _samples(section: Section) -> str:
    """Coverage and votes of the samples, for all k that every arm's table has."""
    reports = [(label, _first(arm)) for label, arm in zip(section.labels, section.arms, strict=True)]
    ks = sorted({k for _, r in reports for k in r.pass_at if max(r.pass_at) > 1})
    if not ks:
        return ""
    rows = [
        table_row(f"{label}, {name}", [f"{100 * at[k]:.1f} %" if k in at else "" for k in ks])
        for label, r in reports
        if r.pass_at and max(r.pass_at) > 1
        for name, at in (("coverage", r.pass_at), ("vote", r.maj_at))
    ]
    caption = "Of k samples: any of them right (pass@k, unbiased), and their majority (maj@k). First seed and budget."
    return "<h2>Samples</h2>" + table(caption, ["arm", *(f"k = {k}" for k in ks)], rows)


def _first(arm: StoredArm) -> Report:
    return next(iter(arm.reports.values()))


def _confidence(section: Section) -> Iterator[str]:
    """What agreement is worth, for every arm that has several samples; with a plot each."""
    found: list[tuple[str, ConfidenceReport]] = []
    for label, arm in zip(section.labels, section.arms, strict=True):
        try:
            found.append((label, confidence_report(forecasts(_first(arm).records))))
        except DataError:
            continue  # no references, or one sample per problem: there is no agreement to check
    if not found:
        return
    yield "<h2>Confidence</h2>"
    rows = [table_row(label, _confidence_cells(r)) for label, r in found]
    heads = ["arm", "accuracy", "mean agreement", "ECE (floor)", "Brier", "AUROC", "agreement ≥ .8: share, right"]
    yield table(
        "Agreement of the samples as confidence, first seed and budget; ECE over bins of equal mass.", heads, rows
    )
    if _plots_available():
        from thence.evals.statistics import confidence_plot

        for label, r in found:
            said = f"Reliability and risk-coverage of {label}: ECE {r.ece:.3f}, AURC {r.curve.aurc:.3f}"
            yield picture(confidence_plot.picture(r, label), said)


def _confidence_cells(r: ConfidenceReport) -> list[str]:
    sure = next(a for a in r.above if a.threshold == 0.8)
    right = "" if sure.accuracy is None else f", {100 * sure.accuracy:.1f} %"
    ranked = "" if r.auroc is None else f"{r.auroc:.3f}"
    return [
        f"{100 * r.accuracy:.1f} %",
        f"{100 * r.confidence:.1f} %",
        f"{r.ece:.3f} ({r.ece_floor:.3f})",
        f"{r.brier.score:.3f}",
        ranked,
        f"{100 * sure.share:.1f} %{right}",
    ]


def _there_but_not_given(number: int, section: Section, shown: _Trees) -> str:
    """Problems answered wrongly although some sample was right: what a better choice could still win."""
    parts = []
    for i, (label, arm) in enumerate(zip(section.labels, section.arms, strict=True)):
        report = _first(arm)
        missed = [r["problem"] for r in report.records if _missed(r)]
        if missed:
            links = ", ".join(shown.link(number, [i], problem) for problem in missed)
            head = html.escape(f"{one_line(label)}: {len(missed)} of {report.n} problems")
            parts.append(f"<details><summary>{head}</summary><p>{links}</p></details>")
    if not parts:
        return ""
    return "<h2>Wrong, though a sample was right</h2>" + "".join(parts)


def _missed(record: Record) -> bool:
    wrong = record["verdict"] in (Verdict.INCORRECT, Verdict.NO_ANSWER)
    return wrong and any(d.right for d in all_draws(record))


def _tree_parts(sections: Sequence[Section], shown: _Trees, questions: Mapping[str, str]) -> Iterator[str]:
    if not shown.wanted:
        return
    labels = [section.labels for section in sections]
    yield "<section><h2>Trees</h2>"
    for (number, i, problem), anchor in shown.wanted.items():
        section = sections[number]
        arm = section.arms[i]
        (where, cell), report = next(iter(arm.cells.items())), _first(arm)
        record = next((r for r in report.records if r["problem"] == problem), None)
        if record is None:
            continue
        facts = {
            "question": questions.get(problem, ""),
            "answer": f"{record['answer']} ({record['verdict'] or 'no reference'}) {record['reason']}",
            "seed": str(where[1]),
        }
        tree = Tree.from_record(arm.view.tree(cell, problem) or [])
        head = html.escape(f"{one_line(problem)}: {one_line(labels[number][i])}")
        inside = fact_list({k: v for k, v in facts.items() if v}) + tree_list(tree, record.get("node"))
        yield f'<div class="problem" id="{anchor}"><b>{head}</b>{inside}</div>'
    yield "</section>"


__all__ = ["report_page"]
