"""``thence probe``: does a model reason, or does it remember? Originals against their perturbations."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from cyclopts import Parameter

from thence import api
from thence.core.answers import Verdict
from thence.core.background import run_sync
from thence.core.errors import DataError, UsageError
from thence.core.protocols import Task
from thence.core.run import Stopper
from thence.evals.evaluate import Arm, Report, eval_header
from thence.evals.evaluate import evaluate as run_evaluation
from thence.stores.header import default_path
from thence.stores.sqlite import RunFile
from thence.tasks.perturbed import Perturbed, template_of
from thence.tasks.templates.annotated import PUBLISHED
from thence.tasks.templates.variants import VARIANTS, Variant

from .options import ModelFlags, SamplingFlags
from .outputs import needs_matplotlib
from .present import err, out, plain, print_json, table
from .progress import make
from .running import checked_task, with_signals

if TYPE_CHECKING:
    from thence.evals.perturbation.measure import Probe


def probe(
    *tasks: str,
    variants: str | None = None,
    strategy: Annotated[str, Parameter(alias="-s")] = "greedy",
    prompt: Annotated[str | None, Parameter(alias="-p")] = None,
    seed: int = 0,
    same_law: Annotated[bool, Parameter(negative="")] = False,
    bad_references: Annotated[bool, Parameter(negative="")] = False,
    plot: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    models: ModelFlags = ModelFlags(),
    sampling: SamplingFlags = SamplingFlags(),
) -> int:
    """Say whether a model has memorised a benchmark: accuracy on originals and on their perturbations, and a verdict.

    Parameters
    ----------
    tasks
        perturbed(instances=5), whose variants are then probed; or several tasks with equal ids, the originals first.
    variants
        Of a perturbed task: names,numbers,both,items,relations,order,noop,m1,p1,p2; default: those no harder.
    strategy
        How problems are solved.
    prompt
        A prompt style or file; default: the strategy's own, else the task's.
    seed
        Seed of the sampling.
    same_law
        You vouch that the given tasks are no harder than the first: a gap then counts as memory.
    bad_references
        Run although some references do not grade themselves as right; they are listed.
    plot
        Where the picture goes (.png).
    json
        Print one JSON object.
    quiet
        No progress.
    """
    arms, lawful = _arms(tasks or ("perturbed",), variants, same_law, bad_references)
    reports = _measured(arms, strategy, prompt, seed, models, sampling, quiet)
    from thence.evals.perturbation.measure import probe as compare  # scipy

    outcomes = {name: _outcomes(name, report) for name, report in reports.items()}
    first = next(iter(reports.values()))
    found = compare(outcomes, template_of, same_law=lawful, model=first.model, strategy=first.strategy)
    incomplete = [name for name, report in reports.items() if report.incomplete]
    if json:
        print_json(found.document() | {"incomplete": incomplete, "runs": {n: r.run for n, r in reports.items()}})
    else:
        show(found)
        for name in incomplete:
            out.print(plain(f"incomplete: {reports[name].failed} problems of {name} failed; repeat the command", "red"))
    if plot is not None:
        _draw(found, plot)
    return 1 if incomplete else 0


def _arms(
    tasks: tuple[str, ...], variants: str | None, vouched: bool, bad: bool
) -> tuple[dict[str, Task], tuple[str, ...]]:
    """The arms by name, the originals first, and which of them are draws of the originals' law."""
    given = [checked_task(text, bad_references=bad) for text in tasks]
    first = given[0]
    if len(given) == 1:
        if not isinstance(first, Perturbed):
            raise UsageError(f"{first.spec} has no variants of its own; give a perturbed task, or several tasks")
        if first.variant != "original":
            raise UsageError(f"{first.spec} is a variant already; give perturbed(…) without variant=, and --variants")
        offered = PUBLISHED[1:] if first.file else VARIANTS[1:]
        chosen = _chosen(variants, first, offered)
        arms: dict[str, Task] = {"original": first}
        for variant in chosen:
            arms[variant] = first.of(cast(Variant, variant))
        return arms, tuple(v for v in chosen if v in first.same_law)
    if variants is not None:
        raise UsageError("--variants is for a single perturbed task; here every variant is a task of its own")
    arms = {task.spec: task for task in given}
    if len(arms) < len(given):
        raise UsageError("a task is given twice; list the originals and each variant once")
    original = first if isinstance(first, Perturbed) and first.variant == "original" else None
    lawful = [
        task.spec
        for task in given[1:]
        if vouched
        or (original is not None and isinstance(task, Perturbed) and task.variant in original.same_law
            and task.spec == original.of(task.variant).spec)
    ]  # fmt: skip
    return arms, tuple(lawful)


def _chosen(variants: str | None, task: Perturbed, offered: tuple[str, ...]) -> list[str]:
    if variants is None:
        return list(task.same_law or ("names", "numbers", "both"))
    chosen = list(dict.fromkeys(v.strip() for v in variants.split(",") if v.strip()))
    wrong = next((v for v in chosen if v not in offered), None)
    if wrong is not None or not chosen:
        raise UsageError(f"--variants {variants!r}: {wrong or 'nothing'} is none of {', '.join(offered)}")
    return chosen


def _measured(
    arms: dict[str, Task],
    strategy: str,
    prompt: str | None,
    seed: int,
    models: ModelFlags,
    sampling: SamplingFlags,
    quiet: bool,
) -> dict[str, Report]:
    """Every arm evaluated, each with a run file of its own: the same that ``thence eval`` writes and resumes."""
    first = next(iter(arms.values()))
    options, given = models.options(seed), sampling.given()
    ready = api.setup(
        models.model, strategy, prompt, fallback_prompt=first.default_prompt, options=options, sampling=given
    )
    ready = run_sync(api.checked(ready))
    arm = Arm(ready.strategy_text, ready.strategy, ready.style, ready.prompt_text, ready.sampling)
    roles = models.roles(seed)
    with ExitStack() as stack:
        stores: dict[str, RunFile] = {}
        for name, task in arms.items():
            arguments = {
                "task": task.spec,
                "strategy": strategy,
                "prompt": prompt,
                "limit": None,
                "seed": seed,
                "models": models.public(),
                "sampling": asdict(sampling),
            }
            header = eval_header(task, ready.generator, arm, seed=seed, arguments=arguments, roles=roles or None)
            path = default_path(task.name, models.model, ready.strategy_text, header)
            stores[name] = stack.enter_context(RunFile.open(path, header, extendable=("limit",)))
            for warning in stores[name].warnings:
                err.print(plain(warning, "yellow"))

        async def all_arms(stopper: Stopper) -> dict[str, Report]:
            reports: dict[str, Report] = {}
            for name, task in arms.items():
                if not quiet:
                    err.print(plain(f"{name}: {stores[name].path}", "dim"))
                reports[name] = await run_evaluation(
                    task,
                    ready.generator,
                    arm,
                    model=models.model,
                    seed=seed,
                    store=stores[name],
                    roles=roles,
                    progress=make(quiet),
                    stopper=stopper,
                )
            return reports

        return with_signals(all_arms)


def _outcomes(name: str, report: Report) -> dict[str, float]:
    """1 for every right problem, 0 for every other; without a usable reference a problem is left out."""
    records = [r for r in report.records if r["verdict"] not in (None, Verdict.UNGRADABLE)]
    if not records:
        raise DataError(
            f"{name}: no problem was graded, so there is nothing to compare; does the task have references?"
        )
    return {str(r["problem"]): float(r["verdict"] == Verdict.CORRECT) for r in records}


def show(found: Probe) -> None:
    """The table, what it takes to read it, and the verdict."""
    out.print(plain(f"{found.model}  {found.strategy}", "bold"))
    rows = []
    for row in found.rows:
        low, high = row.interval
        cells = [row.variant, f"{row.n:,}", f"{100 * row.accuracy:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"]
        spread = row.spread
        cells.append("-" if spread is None else f"{100 * spread.sd:.1f} / {100 * spread.null:.1f}  p {_p(spread.p)}")
        if row.gap is None:
            cells += ["", "", "", ""]
        else:
            low, high = row.gap.interval
            cells.append(f"{100 * row.gap.gap:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
            cells.append(f"{_p(row.gap.p_two)}" if row.holm is None else f"{_p(row.holm)}")
            cells.append("-" if row.effects is None else f"{_p(row.effects.p_effect)} / {_p(row.effects.p_varies)}")
            cells.append(str(sum(t.holm < 0.05 for t in row.templates)))
        rows.append(cells)
    columns = ["variant", "n", "accuracy [95 %]", "sets: SD / chance", "gap [95 %]", "p", "mixed model p", "templates"]
    out.print(table("", columns, rows, right=(1, 2, 3, 4, 5, 6, 7)))
    out.print(
        plain(
            "gap: originals minus variant, in points, paired by template. sets: standard deviation over sets of one "
            "instance per template, and what chance makes. p: sign flips of templates, for variants that are no harder "
            "one-sided with Holm's correction. mixed model: the variant matters / matters more in some templates. "
            "templates: how many differ by themselves (Fisher, Holm p < .05).",
            "dim",
        )
    )
    colour = {True: "bold red", False: "bold green", None: "yellow"}[found.verdict.contaminated]
    out.print(plain(found.verdict.text, colour))


def _p(value: float) -> str:
    return "<.0001" if value < 1e-4 else f"{value:.4f}".lstrip("0") if value < 1 else "1"


def _draw(found: Probe, path: Path) -> None:
    with needs_matplotlib():
        from thence.evals.perturbation.plot import draw
    err.print(plain(f"plot {draw(found, path)}", "dim"))
