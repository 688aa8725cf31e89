"""``thence report RUN…``: finished runs as one offline page."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thence import methods
from thence.core.errors import ThenceError, check_counts
from thence.evals.pages.report_page import report_page
from thence.evals.pages.stored import open_runs, sections

from .outputs import spared, write_text
from .present import err, out, plain
from .runs import last_run

LARGE = 20_000_000  # bytes of a page that browsers open slowly


def report(
    *run: Path,
    output: Annotated[Path, Parameter(alias="-o")] = Path("report.html"),
    baseline: str | None = None,
    title: str = "",
    trees: int = 40,
) -> None:
    """Write runs as one offline HTML page: tables with intervals, plots, flipped problems, trees.

    Parameters
    ----------
    run
        Run files of eval or compare; default: the last one. Those of the same problems are compared in pairs.
    output
        Where the page goes.
    baseline
        The arm that the others are compared with; default: the first one.
    title
        The page's title; default: the tasks.
    trees
        The most trees to show: of flipped problems, and of those answered wrongly although a sample was right.
    """
    check_counts("report", 0, trees=trees)
    paths = list(run) or [last_run()]
    target = output if output.suffix else output.with_suffix(".html")
    spared(target, *paths)
    with ExitStack() as opened:
        views = [opened.enter_context(view) for view in open_runs(paths)]
        found = sections(views)
        questions = _questions([s.task for s in found])
        page = report_page(found, baseline=baseline, questions=questions, trees=trees, title=title)
    write_text(target, page)
    out.print(plain(f"report {target} ({len(page) / 1e6:.1f} MB)"))
    if len(page) > LARGE:
        err.print(plain("the page is large; --trees 10 makes it smaller", "yellow"))


def _questions(tasks: list[str]) -> dict[str, str]:
    """The questions by problem id; none of a task whose data is not there any more."""
    texts: dict[str, str] = {}
    for spec in tasks:
        try:
            texts |= {p.id: p.text for p in methods.task(spec).problems()}
        except ThenceError as error:
            err.print(plain(f"the questions are left out: {error}", "yellow"))
    return texts
