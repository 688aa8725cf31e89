"""``thence curves RUN``: accuracy against samples, tokens, seconds, FLOPs and money."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from thence import api
from thence.core.budget import Charged
from thence.core.errors import ThenceError, UsageError, check_counts
from thence.core.protocols import Task
from thence.evals.compare import short_model
from thence.evals.estimate import Price
from thence.evals.records import Record
from thence.evals.statistics.coverage import guess_of_space
from thence.evals.statistics.curves import Parameters, Priced, knee, pareto
from thence.evals.statistics.run_curves import RunCurves, run_curves
from thence.stores.sqlite import RunView

from .outputs import needs_matplotlib
from .present import err, number, out, percent, plain, print_json, table
from .runs import asked_cells, last_run


def curves(
    run: Path | None = None,
    /,
    *,
    flops: str | None = None,
    price: str | None = None,
    space: int | None = None,
    bins: int = 5,
    seed: int | None = None,
    arm: str | None = None,
    budget: str | None = None,
    plot: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """What k of a run's samples give and cost: coverage with its guess curve, votes, best-of-k, difficulty, the knee.

    Parameters
    ----------
    run
        A run file with several samples per problem; default: the last one.
    flops
        Parameters of the policy, and of its verifier: 7b or 7b,1.5b. Adds FLOPs: 2 per parameter and charged token.
    price
        Money per million tokens: input,output.
    space
        How many answers are possible, where that is known (4 for a choice of four): guesses are then uniform.
    bins
        Bins of difficulty, made from one half of the samples and measured on the other.
    seed
        In a comparison: which seed.
    arm
        In a comparison: which strategy.
    budget
        In a comparison: which budget.
    plot
        Write the curves of one arm and seed to this file (.png).
    json
        Print one JSON object.
    """
    if space is not None:
        check_counts("curves", space=space)
    path = run if run is not None else last_run()
    sizes = None if flops is None else Parameters.parse(flops)
    costs = None if price is None else Price.parse(price)
    made = []
    with RunView(path) as view:
        cells = asked_cells(view, path, arm, seed, budget)
        if plot is not None and len(cells) > 1:
            raise UsageError(f"{path} has {len(cells)} arms and seeds; say with --arm and --seed which one to plot")
        task = _task(view)
        for cell in cells:
            records: list[Record] = list(view.results(cell).values())
            trees = {r["problem"]: view.tree(cell, r["problem"]) for r in records}
            name = f"{cell.arm or view.header.get('strategy', '')}  seed {cell.seed}"
            made.append(run_curves(short_model(name), records, trees, task, bins=bins))
    if json:
        print_json({"run": str(path), "cells": [_document(c, sizes, costs, space) for c in made]})
    else:
        for each in made:
            _show(each, sizes, costs, space)
    if plot is not None:
        _draw(made[0], plot)


def _draw(made: RunCurves, path: Path) -> None:
    with needs_matplotlib():
        from thence.evals.statistics.curves_plot import draw_curves
    err.print(plain(f"plot {draw_curves(made, path, made.name)}", "dim"))


def _task(view: RunView) -> Task | None:
    """The run's task, to grade guesses with; None where it cannot be had (its file is gone)."""
    try:
        return api.task(str(view.header["task"]))
    except (ThenceError, KeyError, OSError):
        return None


def _guess(point: Any, space: int | None) -> float | None:
    value: float | None = point.guess if space is None else guess_of_space(space, point.k)
    return value


def _flops(charged: Charged, sizes: Parameters | None) -> float | None:
    return None if sizes is None else sizes.flops(charged)


def _money(charged: Charged, costs: Price | None) -> float | None:
    return None if costs is None else costs.of(charged)


def _document(made: RunCurves, sizes: Parameters | None, costs: Price | None, space: int | None) -> dict[str, Any]:
    doc = made.document()
    for row, point in zip(doc["points"], made.points, strict=True):
        row |= {"guess": _guess(point, space), "flops": _flops(point.charged, sizes)}
        row["money"] = _money(point.charged, costs)
    best = _knee(made)
    return doc | {"knee": None if best is None else best.name, "front": [p.name for p in pareto(_priced(made))]}


def _priced(made: RunCurves) -> list[Priced]:
    """Every way to spend the samples whose cost is known: votes, and best-of-k by each verifier."""
    rows = []
    for point in made.points:
        if (total := point.charged.total) is None:
            continue
        voting = total - (point.charged.verifier or 0)
        rows.append(Priced("one sample" if point.k == 1 else f"majority of {point.k}", voting, point.majority))
        if point.k > 1:
            rows += [Priced(f"best of {point.k} by {name}", total, value) for name, value in point.best.items()]
    return rows


def _knee(made: RunCurves) -> Priced | None:
    return knee(_priced(made))


def _show(made: RunCurves, sizes: Parameters | None, costs: Price | None, space: int | None) -> None:
    out.print(plain(f"{made.name}: {made.problems:,} problems, {made.samples} samples each", "bold"))
    verifiers = list(made.points[0].best)
    guessed = _guess(made.points[0], space) is not None
    columns = ["k", "coverage [95 %]", *(["guesses"] if guessed else []), "majority"]
    columns += [f"best by {name}" for name in verifiers] + ["tokens"]
    columns += (["FLOPs"] if sizes else []) + (["money"] if costs else [])
    rows = []
    for p in made.points:
        low, high = p.coverage.interval
        row = [str(p.k), f"{100 * p.coverage.mean:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"]
        row += [percent(_guess(p, space))] if guessed else []
        row += [percent(p.majority), *(percent(p.best[name]) for name in verifiers), number(p.charged.total)]
        row += [_power(_flops(p.charged, sizes))] if sizes else []
        row += [number(_money(p.charged, costs), 6)] if costs else []
        rows.append(row)
    out.print(table("", columns, rows, right=range(1, len(columns))))
    front, best = pareto(_priced(made)), _knee(made)
    show_front(front, best, "tokens")
    if made.strata:
        rest = made.samples - made.sorting
        names = ["hardest", *[""] * (len(made.strata) - 2), "easiest"] if len(made.strata) > 1 else ["all"]
        rows = [
            [name, str(len(s.problems)), percent(s.sorted_rate), _interval(s.rate, s.interval)]
            for name, s in zip(names, made.strata, strict=True)
        ]
        title = f"by difficulty: sorted by {made.sorting} samples, measured on the {rest} or more others"
        out.print(table(title, ["bin", "problems", "where sorted", "right [95 %]"], rows, right=(1, 2, 3)))
    for note in made.notes:
        out.print(plain(note, "yellow"))


def show_front(front: Sequence[Priced], best: Priced | None, unit: str) -> None:
    """The arms that none beats at equal cost, and the one from which more hardly pays."""
    if not front:
        return
    out.print(plain(f"Pareto front by {unit}: {', '.join(p.name for p in front)}"))
    said = "none: the dearest arm still gains a point per doubling"
    if best is not None:
        cost = f"{best.cost:,.0f}" if 100 <= best.cost < 1e6 else f"{best.cost:.3g}"
        said = f"{best.name}, {percent(best.accuracy)} for {cost} {unit}; more gains under a point per doubling"
    out.print(plain(f"knee: {said}"))


def _power(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _interval(value: float, interval: tuple[float, float]) -> str:
    return f"{100 * value:.1f} % [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
