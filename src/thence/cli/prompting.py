"""``thence prompting TASK``: whether prompts move probability, or add what was not there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thence import api, methods
from thence.core.background import run_sync
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.core.solve import check_needs
from thence.evals.compare import EXTENDABLE, compare_header
from thence.evals.mass import MARGIN, K, Mass, Paths, Plan
from thence.evals.mass import prompting as measured
from thence.evals.statistics.metrics import Paired
from thence.stores.header import default_path
from thence.stores.sqlite import RunFile
from thence.tasks.wordproblems import render_solution
from thence.tasks.wordproblems_task import WordProblemsTask

from .options import ModelFlags, SamplingFlags, TaskFlags
from .present import err, out, percent, plain, print_json, table
from .progress import make
from .running import checked_task, run_path, with_signals

PROMPTS = ("bare", "cot", "few-shot-cot")


def prompting(
    task: str = "wordproblems",
    /,
    *,
    prompt: Annotated[tuple[str, ...], Parameter(alias="-p", negative="")] = PROMPTS,
    samples: int = 16,
    k: int = K,
    margin: float = MARGIN,
    limit: int | None = None,
    seed: int = 0,
    run: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    models: ModelFlags = ModelFlags(),
    columns: TaskFlags = TaskFlags(),
    sampling: SamplingFlags = SamplingFlags(),
) -> int:
    """Compare prompts with the first one: probability of a right path, rank of its first token, greedy, coverage.

    Parameters
    ----------
    task
        wordproblems(level=3), or your own file; it needs references, and the model must be a local one.
    prompt
        A prompt style or file; may be repeated, the first is the baseline.
    samples
        Samples per problem and prompt, for coverage.
    k
        First tokens that are branched on.
    margin
        Coverage is called unchanged if its whole interval lies within this share of the baseline's.
    limit
        Only the first so many problems of a fixed shuffle.
    seed
        Seed of the sampling.
    run
        Run file; default runs/<task>-<model>-prompting-<hash>.db.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    if not 0 < margin < 1:
        raise UsageError(f"--margin is {margin}; it must be between 0 and 1")
    task = columns.applied(task)
    chosen = checked_task(task, bad_references=columns.bad_references)
    generator = api.load(models.model, models.options(seed))
    plan = Plan(
        tuple((name, methods.prompt(name)) for name in prompt),
        methods.strategy("greedy"),
        methods.strategy(f"repeated-sampling(n={samples})"),
        methods.strategy(f"cot-decoding(k={k})"),
        samples,
        k,
        api.sampled(generator, **sampling.given()),
    )
    kind = models.model.partition(":")[0]
    needed = plan.branched.needs
    for _, style in plan.styles:
        run_sync(api.connect(generator, style.needs | needed))
        check_needs(f"prompt {style.name}", style.needs, generator, kind)
    check_needs("prompting", needed, generator, kind)
    arguments = {"task": task, "prompts": list(prompt), "samples": samples, "k": k, "models": models.public()}
    arguments |= {"sampling": asdict(sampling), "seed": seed, "limit": limit}
    grid = plan.grid_for(seed)
    header = compare_header(chosen, generator, grid, limit=limit, arguments=arguments)
    path = run_path(run, default_path(chosen.name, models.model, "prompting", header, EXTENDABLE))
    with RunFile.open(path, header, extendable=EXTENDABLE) as store:
        for warning in store.warnings:
            err.print(plain(warning, "yellow"))
        found = with_signals(
            lambda stopper: measured(
                chosen,
                generator,
                plan,
                store,
                paths=reference_paths(chosen),
                model=models.model,
                seed=seed,
                limit=limit,
                margin=margin,
                progress=make(quiet),
                stopper=stopper,
            )
        )
    if json:
        print_json({"task": chosen.spec, "model": models.model, "run": str(path)} | found.document())
    else:
        out.print(plain(f"{chosen.spec}  {models.model}  {found.problems} problems, paths: {found.source}", "bold"))
        show(found)
        out.print(plain(f"run {path}", "dim"))
    return 1 if found.failed else 0


def reference_paths(task: Task) -> Paths | None:
    """The built-in word problems' own solutions; None for tasks whose references are no texts of the model's kind."""
    if not isinstance(task, WordProblemsTask):
        return None

    def path(problem: Problem) -> str:
        return render_solution(task.items[problem.id], "cot")

    return path


def show(found: Mass) -> None:
    """Every prompt, then each against the first, then what that says in words."""
    cells = [
        [
            p.prompt,
            "-" if p.begins is None else f"{p.begins:.4f}",
            "-" if p.median_rank is None else f"{p.median_rank:g}" + ("+" if p.median_rank >= found.k else ""),
            "-" if p.logprob is None else f"{p.logprob:.2f}",
            percent(p.greedy),
            percent(p.coverage),
            percent(p.branches),
            "-" if p.tokens is None else f"{p.tokens:.0f}",
        ]
        for p in found.prompts
    ]
    heads = ["P(first token)", "rank", "log10 P(path)", "greedy", f"coverage@{found.samples}"]
    heads += [f"of {found.k} branches", "tokens"]
    out.print(table("means; rank is the median", ["prompt", *heads], cells, right=range(1, 8)))
    base = found.prompts[0].prompt
    cells = []
    for s in found.shifts:
        path = "-"
        if s.logprob is not None and s.interval is not None:
            path = f"{s.logprob:+.2f} [{s.interval[0]:+.2f}, {s.interval[1]:+.2f}]"
        cells.append([s.prompt, path, *(_points(p) for p in (s.greedy, s.coverage, s.branches))])
    title = f"minus {base}, paired by problem, 95 % intervals"
    columns = ["prompt", "log10 P(path)", "greedy, points", "coverage, points", "branches, points"]
    out.print(table(title, columns, cells, right=range(1, 5)))
    for s in found.shifts:
        told = [
            f"{s.prompt}: mass {'moved' if s.moved else 'not shown to move'} to the path and to greedy",
            f"coverage {_word(s.unchanged(s.coverage), s.coverage, s.margin)}",
            f"branches {_word(s.unchanged(s.branches), s.branches, s.margin)}",
        ]
        out.print(plain("; ".join(told)))


def _points(found: Paired) -> str:
    low, high = found.interval
    return f"{100 * found.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _word(unchanged: bool, found: Paired, margin: float) -> str:
    if unchanged:
        return f"unchanged (within {100 * margin:g} points)"
    if found.interval[0] > 0:
        return "HIGHER: this prompt reaches problems that the first did not reach with as many draws"
    return "lower" if found.interval[1] < 0 else "not shown to be unchanged"
