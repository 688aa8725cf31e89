"""``thence compare``: which of several strategies is better, on the same problems, at equal cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thence import api
from thence.core.background import run_sync
from thence.core.errors import UsageError
from thence.evals.compare import EXTENDABLE, Comparison, Difference, Grid, compare_header
from thence.evals.compare import compare as run_comparison
from thence.stores.header import default_path
from thence.stores.reuse import ReusePool
from thence.stores.sqlite import RunFile, RunView

from .options import ModelFlags, SamplingFlags, TaskFlags
from .present import accuracy_text, err, number, out, plain, print_json, table
from .progress import make
from .running import checked_task, run_path, tell_verifiers, with_signals


def compare(
    task: str,
    /,
    *arms: str,
    grid: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    prompt: Annotated[str | None, Parameter(alias="-p")] = None,
    seeds: str = "0",
    budget: str | None = None,
    limit: int | None = None,
    baseline: str | None = None,
    run: Path | None = None,
    plot: Path | None = None,
    reuse: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    price: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    models: ModelFlags = ModelFlags(),
    columns: TaskFlags = TaskFlags(),
    sampling: SamplingFlags = SamplingFlags(),
) -> int:
    """Compare strategies on the same problems: paired differences with intervals, exact tests, cost, flips, a plot.

    Parameters
    ----------
    task
        wordproblems(level=3), gsm8k(file=PATH), or your own file.
    arms
        Strategies; each may name its prompt and model: "greedy @ direct", "self-consistency(n={4,16}) on hf:PATH".
    grid
        The same as an option, may be repeated.
    prompt
        Prompt of every arm that names none; default: the strategy's own, else the task's.
    seeds
        Seeds of the sampling, e.g. 0,1,2.
    budget
        Most charged tokens per problem, several for several columns: 1k,4k.
    limit
        Only the first so many problems of a fixed shuffle.
    baseline
        The arm that the others are compared with; default: the first.
    run
        Run file of all arms, which is their sample pool.
    plot
        Where the plot goes (.png; an .html is written beside it); default: next to the run file.
    reuse
        Take finished samples from these run files too.
    dry_run
        Print what it would cost, and run nothing.
    price
        Money per million tokens: input,output or input,output,cached.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    task = columns.applied(task)
    chosen = checked_task(task)
    seed_list = _numbers(seeds)
    budgets = tuple(api.tokens(b) for b in budget.split(",")) if budget else (None,)
    options = models.options(seed_list[0])
    made, generator, model = api.make_arms([*arms, *grid], prompt, chosen, models.model, options, sampling.given())
    run_sync(api.checked_arms(made, generator, model))
    tell_verifiers(arm.strategy for arm in made)
    cells = Grid(tuple(made), seed_list, budgets, model)
    if dry_run:
        from .dry import show_estimate

        return show_estimate(
            chosen, generator, made, seeds=len(seed_list), limit=limit, budgets=budgets, price=price, json=json
        )
    arguments = {
        "task": task,
        "arms": [*arms, *grid],
        "prompt": prompt,
        "seeds": seeds,
        "budget": budget,
        "limit": limit,
        "baseline": baseline,
        "models": models.public(),
        "sampling": asdict(sampling),
    }
    roles = models.roles()
    header = compare_header(chosen, generator, cells, limit=limit, arguments=arguments, roles=roles or None)
    path = run_path(run, default_path(chosen.name, model, "compare", header, EXTENDABLE))
    with RunFile.open(path, header, extendable=EXTENDABLE) as store:
        for warning in store.warnings:
            err.print(plain(warning, "yellow"))
        pool = ReusePool(store, [RunView(p) for p in reuse]) if reuse else None
        result = with_signals(
            lambda stopper: run_comparison(
                chosen,
                generator,
                cells,
                model=model,
                limit=limit,
                baseline=baseline,
                store=store,
                roles=roles,
                pool=pool,
                progress=make(quiet),
                stopper=stopper,
            )
        )
    if json:
        print_json(result.document())
    else:
        show_comparison(result)
    _draw(result, plot or path.with_suffix(".png"), wanted=plot is not None)
    return 1 if result.incomplete else 0


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(s) for s in text.split(","))
    except ValueError:
        raise UsageError(f"--seeds {text!r} is no list of whole numbers; write e.g. 0,1,2") from None


def show_comparison(result: Comparison) -> None:
    """Two tables: every arm with interval and cost, and its paired difference to the baseline."""
    seeds = ", ".join(map(str, result.seeds))
    out.print(plain(f"{result.task}  {result.model}  seeds {seeds}", "bold"))
    budgeted = any(r.budget is not None for r in result.rows)
    rows = [
        [
            r.arm,
            *_budget_cell(r.budget, budgeted),
            accuracy_text({"accuracy": r.accuracy, "interval": r.interval}),
            number(r.tokens),
            f"{r.seconds:,.1f}",
            f"{r.unparsed}/{r.truncated}/{r.failed}",
        ]
        for r in result.rows
    ]
    shown = ["budget"] if budgeted else []
    columns = ["strategy", *shown, "accuracy [95 %]", "tokens/problem", "seconds", "unparsed/cut/failed"]
    out.print(table("", columns, rows, right=(1, 2, 3, 4, 5)))
    rows = [[d.arm, *_budget_cell(d.budget, budgeted), *_difference_cells(d)] for d in result.differences]
    if rows:
        columns = [f"against {result.baseline}", *shown, "points [95 %]", "flips", "McNemar p", "Holm p"]
        out.print(table("", columns, rows, right=(1, 2, 3, 4, 5)))
    if result.statement:
        out.print(plain(result.statement, "yellow"))
    if result.incomplete:
        out.print(plain(f"incomplete: {result.failed} problems failed; the same command tries them again", "red"))
    if result.run:
        out.print(plain(f"run {result.run}   flipped problems: --json", "dim"))


def _budget_cell(budget: int | None, shown: bool) -> list[str]:
    return ["none" if budget is None else f"{budget:,}"] if shown else []


def _difference_cells(d: Difference) -> list[str]:
    if d.paired is None:
        return ["unknown" if d.disagree is None else f"{100 * d.disagree:.1f} % of answers differ", "", "", ""]
    p = d.paired
    low, high = p.interval
    points = f"{100 * p.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return [points, f"+{p.won} -{p.lost}", _p_value(p.p), _p_value(p.holm)]


def _p_value(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _draw(result: Comparison, path: Path, *, wanted: bool) -> None:
    try:
        from thence.evals.plot import draw
    except ImportError:
        if wanted:
            raise UsageError('the plot needs matplotlib: pip install "thence[plot]"') from None
        return
    for written in draw(result, path):
        err.print(plain(f"plot {written}", "dim"))
