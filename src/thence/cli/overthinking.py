"""``thence overthinking RUN``: whether longer answers are better, and what second thoughts did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from thence import api
from thence.core.errors import UsageError
from thence.evals.critics import Rate
from thence.evals.overthinking.lengths import Lengths, View
from thence.evals.overthinking.measure import READERS, Overthinking, Revised, Wasted, read
from thence.evals.overthinking.measure import overthinking as measured
from thence.evals.statistics.metrics import Paired
from thence.stores.sqlite import RunView

from .outputs import needs_matplotlib
from .present import number, out, percent, plain, print_json, table
from .runs import last_run


def overthinking(
    run: Path | None = None,
    /,
    *,
    task: str | None = None,
    arm: str | None = None,
    groups: int = 5,
    reader: Literal["phrases", "grammar"] = "phrases",
    plot: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Measure overthinking in a stored run: length ranks, revisions, tokens after the first right answer.

    Parameters
    ----------
    run
        A run file whose task has references; default: the last one. Several samples per problem for the length part.
    task
        The run's task, where its file has moved; default: as the run says.
    arm
        In a comparison: which strategy.
    groups
        How many groups of length, from the shortest to the longest samples of each question.
    reader
        How texts are cut and tagged: phrases (any text, a heuristic), grammar (scripted traces, exact).
    plot
        Also draw the groups, within questions and across them, as a PNG.
    json
        Print one JSON object.
    """
    path = run if run is not None else last_run()
    with RunView(path) as view:
        cells = [c for c in view.cells() if arm is None or c.arm == arm or c.arm.startswith(f"{arm} @ ")]
        arms = sorted({(c.arm, c.budget) for c in cells}, key=str)
        if not arms:
            known = ", ".join(sorted({c.arm for c in view.cells()})) or "none"
            raise UsageError(f"{path} has no results of the arm {arm!r}; it has: {known}")
        if len(arms) > 1:
            raise UsageError(f"{path} holds {len(arms)} arms; choose one with --arm: {', '.join(a for a, _ in arms)}")
        spec = task or view.header.get("task")
        if not isinstance(spec, str):
            raise UsageError(f"{path} does not say which task it ran; name it with --task")
        chosen = api.task(spec)
        if not chosen.has_references:
            raise UsageError(f"{chosen.spec} has no references; whether an answer is right has to be known")
        samples, lines, unit = read(chosen, view, cells, READERS[reader])
    found = measured(samples, lines, unit, groups)
    if plot is not None:
        with needs_matplotlib():
            from thence.evals.overthinking.lengths_plot import draw
        plot = draw(found, chosen.spec, plot)
    if json:
        print_json({"run": str(path), "task": chosen.spec, "reader": reader} | found.document())
        return
    out.print(plain(f"{path}  {chosen.spec}", "bold"))
    show(found)
    if plot is not None:
        out.print(plain(f"plot {plot}", "dim"))


def show(found: Overthinking) -> None:
    """All parts that have something to say."""
    out.print(plain(f"{found.problems} problems, {found.trajectories} trajectories, lengths in {found.unit}", "dim"))
    if found.lengths is None:
        out.print(plain("one sample per question: nothing to rank by length (draw several, e.g. n=8)", "yellow"))
    else:
        show_lengths(found.lengths, found.unit)
    if found.uncut is not None:
        told = f"without samples that a cap cut: right longer than wrong {_rate(found.uncut.within.right_longer)}"
        out.print(plain(f"{told}, longest minus shortest group {_difference(found.uncut.within.gap)}"))
    show_revisions(found.revised)
    show_waste(found.wasted, found.unit)
    if found.tags:
        cells = [[str(t.tag), *("-" if v is None else f"{v:.2f}" for v in (t.right, t.wrong))] for t in found.tags]
        out.print(table("segments per trajectory", ["kind", "ends right", "ends wrong"], cells, right=(1, 2)))


def show_lengths(found: Lengths, unit: str) -> None:
    """Both views side by side, what they come to, and the votes."""
    title = f"accuracy by length, {found.samples} samples of {found.questions} questions, 95 % intervals"
    columns = ["group", f"mean {unit}", "within questions, %", f"mean {unit}", "across questions, % (confounded)"]
    out.print(table(title, columns, _group_rows(found.within, found.across), right=(1, 2, 3, 4)))
    cells = [
        ["right one longer than wrong one (50 %: length says nothing)", _rate(found.within.right_longer)],
        ["the same across questions (confounded by difficulty)", _rate(found.across.right_longer)],
        ["longest minus shortest group, within", _difference(found.within.gap)],
        ["length when right / length when wrong", _ratio(found)],
        ["majority vote", percent(found.majority)],
        ["shortest majority vote, same samples", percent(found.shortest)],
        ["shortest majority minus majority", _difference(found.votes)],
    ]
    out.print(table("", ["", "95 %"], cells, right=(1,)))


def _group_rows(within: View, across: View) -> list[list[str]]:
    names = {0: "shortest", max(g.number for g in within.groups): "longest"}
    known = {g.number: g for g in across.groups}
    rows = []
    for g in within.groups:
        other = known.get(g.number)
        told = ["-", "-"] if other is None else [number(other.length), _rate(other.accuracy)]
        rows.append([names.get(g.number, str(g.number + 1)), number(g.length), _rate(g.accuracy), *told])
    return rows


def show_revisions(found: Revised) -> None:
    """What second thoughts did."""
    if not found.revisions:
        out.print(plain("no revision: no trajectory states an answer, looks again, and states one again", "dim"))
        return
    cells = [
        ["revisions", f"{found.revisions} ({found.per_trajectory:.2f} per trajectory)"],
        *([name, str(count)] for name, count in sorted(found.outcomes.items())),
        ["u, wrong answers repaired per revision", _rate(found.repaired)],
        ["d, right answers broken per revision", _rate(found.broken)],
        ["u / (u + d), where thinking on leads", percent(found.limit)],
        ["first answers right", _rate(found.first)],
        ["last answers right", _rate(found.last)],
    ]
    out.print(table("revisions", ["", "95 %"], cells, right=(1,)))


def show_waste(found: Wasted, unit: str) -> None:
    """What came after the first right answer."""
    if not found.trajectories:
        out.print(plain("no trajectory ever states a right answer", "dim"))
        return
    out.print(
        plain(
            f"after the first right answer: {number(found.mean)} {unit} on average, {_rate(found.share)} of a "
            f"trajectory that had one ({found.trajectories}); {percent(found.of_all)} of all {unit}; "
            f"right answers lost again {_rate(found.lost)}"
        )
    )


def _rate(rate: Rate) -> str:
    if rate.value is None or rate.interval is None:
        return "-"
    return f"{100 * rate.value:.1f} [{100 * rate.interval[0]:.1f}, {100 * rate.interval[1]:.1f}]"


def _difference(found: Paired | None) -> str:
    if found is None or not found.n:
        return "-"
    low, high = found.interval
    return f"{100 * found.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], p {found.p:.3g}"


def _ratio(found: Lengths) -> str:
    if found.ratio.value is None:
        return "-"
    if found.ratio.interval is None:
        return f"{found.ratio.value:.3f}"
    return f"{found.ratio.value:.3f} [{found.ratio.interval[0]:.3f}, {found.ratio.interval[1]:.3f}]"
