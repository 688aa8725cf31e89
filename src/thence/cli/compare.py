"""``thence compare``: which of several strategies is better, on the same problems, at equal cost."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from thence import api
from thence.core.background import run_sync
from thence.core.errors import UsageError
from thence.core.protocols import Task
from thence.evals.compare import EXTENDABLE, Comparison, Difference, Grid, Row, compare_header
from thence.evals.compare import compare as run_comparison
from thence.evals.estimate import Price
from thence.evals.evaluate import chosen_problems
from thence.evals.pool_controls import controls
from thence.evals.statistics.trace_error import TraceError
from thence.stores.header import default_path
from thence.stores.reuse import ReusePool
from thence.stores.sqlite import Cell, RunFile, RunView

from .compare_extras import (
    clustered_document,
    cost_document,
    flops_document,
    seeds_of,
    selected,
    show_clusters,
    show_cost,
    show_flops,
    show_seeds,
    show_selected,
    show_tokens_front,
    show_traces,
    sizes_of,
    traced,
)
from .options import ModelFlags, SamplingFlags, TaskFlags
from .pools import show_controls, show_pools
from .present import accuracy_text, err, number, out, percent, plain, print_json, table
from .progress import make
from .running import checked_task, run_path, tell_format, tell_retrieval, tell_thinking, tell_verifiers, with_signals


def compare(
    task: str,
    /,
    *arms: str,
    grid: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    prompt: Annotated[str | None, Parameter(alias="-p")] = None,
    retrieve: str | None = None,
    format: Literal["steps"] | None = None,
    seeds: str = "0",
    budget: str | None = None,
    limit: int | None = None,
    baseline: str | None = None,
    run: Path | None = None,
    plot: Path | None = None,
    reuse: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    price: str | None = None,
    flops: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    select_on: Literal["dev"] | None = None,
    cluster: str | None = None,
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
    retrieve
        Put what is found there before each question, in arms that name no prompt: a file or folder of solved problems
        or passages, or module:function. In an arm: "greedy @ retrieve(collection=FILE, k=2, control=random)".
    format
        steps: ask for steps and answer apart, in arms that name no prompt; by JSON schema where the server guides
        decoding, else by tags. In an arm: "greedy @ steps(style=cot)".
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
    flops
        Parameters: 7b or, with the verifier's, 7b,1.5b; of an arm's own model MODEL=14b. Adds FLOPs per problem, and
        sets small models with search against larger ones at equal total cost.
    select_on
        dev: choose the best arm on one half of the problems (by their hashes) and report it on the other.
    cluster
        A regular expression whose match in a problem's id names its cluster (template, text, topic): adds intervals
        and differences that hold where problems of a cluster resemble each other.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    task = columns.applied(task)
    chosen = checked_task(task, bad_references=columns.bad_references)
    seed_list = _numbers(seeds)
    budgets = tuple(api.tokens(b) for b in budget.split(",")) if budget else (None,)
    options = models.options(seed_list[0])
    made, generator, model = api.make_arms(
        [*arms, *grid], prompt, chosen, models.model, options, sampling.given(), retrieve, format
    )
    made = run_sync(api.checked_arms(made, generator, model))
    tell_format((arm.style, arm.generator or generator) for arm in made)
    tell_retrieval((arm.style for arm in made), chosen_problems(chosen, limit))
    tell_verifiers(arm.strategy for arm in made)
    prices = None if price is None else Price.parse(price)
    cells = Grid(tuple(made), seed_list, budgets, model)
    sizes = sizes_of(flops, dict(zip(cells.labels, (arm.model or model for arm in made), strict=True))) if flops else {}
    if dry_run:
        from .dry import show_estimate

        return show_estimate(
            chosen, generator, made, seeds=len(seed_list), limit=limit, budgets=budgets, price=price, json=json
        )
    arguments = {
        "task": task,
        "arms": [*arms, *grid],
        "prompt": prompt,
        "retrieve": retrieve,
        "format": format,
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
        store.flush()
        tell_thinking(record for row in result.rows for report in row.reports for record in report.records)
        traces = [(row, _traced(chosen, path, row, cells)) for row in result.rows]
    chosen_arm = selected(result) if select_on else None
    costs = flops_document(result, sizes) if sizes else None
    money = cost_document(result, lambda row, charged: prices.of(charged)) if prices else None
    by_cluster = clustered_document(result, cluster) if cluster is not None else None
    pool_controls = controls(result)
    over = [(row.arm, spread) for row in result.rows if (spread := seeds_of(row)) is not None]
    if json:
        document = result.document()
        for shown, (_, found) in zip(document["arms"], traces, strict=True):
            shown["trace_error"] = None if found is None else found.document()
        document |= {"pool_controls": [c.document() for c in pool_controls]} if pool_controls else {}
        document |= {} if costs is None else {"flops": costs}
        document |= {} if money is None else {"money": money}
        document |= {} if by_cluster is None else {"clusters": by_cluster}
        document |= {"over_seeds": [{"arm": arm, **asdict(spread)} for arm, spread in over]} if over else {}
        document |= {} if chosen_arm is None else {"selection": asdict(chosen_arm)}
        print_json(document)
    else:
        show_comparison(result)
        show_pools(result)
        show_controls(pool_controls)
        show_traces([(row.arm, found) for row, found in traces if found is not None])
        show_seeds(over)
        if by_cluster is not None:
            show_clusters(by_cluster)
        show_tokens_front(result)
        if costs is not None:
            show_flops(costs)
        if money is not None:
            show_cost(money, "money", "money per problem, at the given price of charged tokens")
        if chosen_arm is not None:
            show_selected(chosen_arm, result.baseline)
    _draw(result, plot or path.with_suffix(".png"), wanted=plot is not None)
    return 1 if result.incomplete else 0


def _traced(task: Task, path: Path, row: Row, grid: Grid) -> TraceError | None:
    key = grid.keys[grid.labels.index(row.arm)]
    cells = [Cell(key, report.seed, row.budget) for report in row.reports]
    return traced(task, path, cells, [report.records for report in row.reports])


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
    formats = ["not in the format"] if any(r.format is not None for r in result.rows) else []
    rows = [
        [
            r.arm,
            *_budget_cell(r.budget, budgeted),
            accuracy_text({"accuracy": r.accuracy, "interval": r.interval}),
            *("" if r.format is None else percent(r.format.rate) for _ in formats),
            number(r.tokens),
            f"{r.seconds:,.1f}",
            f"{r.unparsed}/{r.truncated}/{r.failed}",
        ]
        for r in result.rows
    ]
    shown = ["budget"] if budgeted else []
    columns = ["strategy", *shown, "accuracy [95 %]", *formats, "tokens/problem", "seconds", "unparsed/cut/failed"]
    out.print(table("", columns, rows, right=range(1, len(columns))))
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
        from thence.evals.pages.plot import draw
    except ImportError:
        if wanted:
            raise UsageError('the plot needs matplotlib: pip install "thence[plot]"') from None
        return
    for written in draw(result, path):
        err.print(plain(f"plot {written}", "dim"))
