"""``thence eval TASK --verifier SPEC`` on a task of given solutions: where does a verifier see the first error?"""

from __future__ import annotations

from pathlib import Path

from thence import api, methods
from thence.core.background import run_sync
from thence.core.errors import UsageError
from thence.core.protocols import Generator
from thence.core.solve import check_needs
from thence.evals.first_error import FirstErrorReport, evaluate_first_error, first_error_header
from thence.evals.statistics.metrics import Interval
from thence.stores.header import default_path
from thence.stores.sqlite import RunFile
from thence.tasks.first_error import FirstErrorTask

from .options import ModelFlags
from .present import err, number, out, plain, print_json, table
from .progress import make
from .running import run_path, with_signals


def first_error(
    task: FirstErrorTask,
    task_text: str,
    verifier: str | None,
    *,
    limit: int | None,
    seed: int,
    run: Path | None,
    json: bool,
    quiet: bool,
    models: ModelFlags,
) -> int:
    """Score all given solutions, say how often the first error is found, and return the exit code."""
    if verifier is None:
        raise UsageError(f"{task.name}: its solutions are given; say who looks for their first error: --verifier SPEC")
    judge = methods.verifier(verifier)
    name = verifier.strip()
    policy: Generator | None = None
    if judge.needs:  # the model of the command line is loaded only for a verifier that asks it
        policy = api.load(models.model, models.options(seed))
        run_sync(api.connect(policy, judge.needs))
        check_needs(name, judge.needs, policy, models.model.partition(":")[0])
    arguments = {"task": task_text, "verifier": verifier, "limit": limit, "seed": seed, "models": models.public()}
    header = first_error_header(
        task, name, seed=seed, limit=limit, model=models.model, generator=policy, arguments=arguments
    )
    path = run_path(run, default_path(task.name, "first_error", name, header))
    with RunFile.open(path, header) as store:
        for warning in store.warnings:
            err.print(plain(warning, "yellow"))
        report = with_signals(
            lambda stopper: evaluate_first_error(
                task,
                judge,
                generator=policy,
                seed=seed,
                limit=limit,
                store=store,
                progress=make(quiet),
                stopper=stopper,
            )
        )
    if json:
        print_json(report.document())
    else:
        show_first_error(report)
    return 1 if report.incomplete else 0


def show_first_error(report: FirstErrorReport) -> None:
    """The table at the end."""
    out.print(plain(f"{report.task}  first error by {report.verifier}  seed {report.seed}", "bold"))
    chosen = "none (no step is called wrong)" if report.threshold is None else f"{report.threshold:.4g}"
    rows = [
        ["threshold", chosen],
        ["  chosen on / reported on", f"{report.calibrated_on:,} / {report.n:,} traces"],
        _share("first error found", report.accuracy_with_mistake, report.interval_with_mistake, report.with_mistake),
        _share(
            "right ones let pass",
            report.accuracy_without_mistake,
            report.interval_without_mistake,
            report.without_mistake,
        ),
        _share("F1 [95 %]", report.f1, report.f1_interval),
    ]
    if report.constant is not None:
        rows.append([f"naming step {report.constant_step} always finds", f"{100 * report.constant:.1f} %"])
    if report.step_auroc is not None:
        rows.append(["right steps above first wrong ones (AUROC)", f"{report.step_auroc:.3f}"])
    rows.append(["charged tokens, verifier", number(report.charged.verifier)])
    rows.append(["seconds", f"{report.seconds:,.1f}"])
    rows.append(["failed", number(report.failed)])
    out.print(table("", ["metric", "value"], [row for row in rows if row], right=(1,)))
    if report.statement:
        out.print(plain(report.statement, "yellow"))
    for problem, why in report.failures[:3]:
        out.print(plain(f"failed {problem}: {why}", "red"))
    if report.incomplete:
        out.print(plain(f"incomplete: {report.failed} problems failed; the same command tries them again", "red"))
    if report.run:
        out.print(plain(f"run {report.run}   look: thence show {report.run}", "dim"))


def _share(what: str, share: float | None, interval: Interval | None, of: int | None = None) -> list[str]:
    if share is None or interval is None:
        return []
    low, high = interval
    count = "" if of is None else f" of {of:,}"
    return [what, f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]{count}"]
