"""``thence critics TASK``: how well each critic judges each policy, beside controls that cost nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thence import api, methods
from thence.core.background import run_sync
from thence.core.errors import UsageError
from thence.core.protocols import Task
from thence.core.run import Stopper
from thence.core.search import Verifier
from thence.core.solve import check_needs
from thence.evals.critics import THRESHOLD, Judged, Panel, Rate, Solution, criticise, document, matrix
from thence.evals.evaluate import Arm, eval_header
from thence.evals.report import Report
from thence.stores.header import default_path
from thence.stores.sqlite import RunFile
from thence.tasks.first_error import FirstErrorTask

from .options import ModelFlags, SamplingFlags, TaskFlags
from .present import err, number, out, plain, print_json, table
from .progress import make
from .running import checked_task, run_path, with_signals


def critics(
    task: str,
    /,
    *,
    critic: Annotated[tuple[str, ...], Parameter(alias="-c", negative="")] = (),
    policy: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    prompt: Annotated[str | None, Parameter(alias="-p")] = None,
    limit: int | None = None,
    samples: int = 4,
    threshold: float = THRESHOLD,
    seed: int = 0,
    run: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    models: ModelFlags = ModelFlags(),
    columns: TaskFlags = TaskFlags(),
    sampling: SamplingFlags = SamplingFlags(),
) -> int:
    """Judge the judges: the accuracy of every critic on every policy's solutions, and by the policy's certainty.

    Parameters
    ----------
    task
        wordproblems(level=3), gsm8k(file=PATH), or your own file; it needs references.
    critic
        Who judges: p-true, critique, judge:NAME@URL, data-flow or any other verifier; may be repeated.
    policy
        Whose solutions: a model; may be repeated. Default: --model.
    prompt
        A prompt style or file for the policies; default: the task's.
    limit
        Only the first so many problems of a fixed shuffle.
    samples
        Solutions per problem and policy.
    threshold
        Scores above it say "right", below it "wrong".
    seed
        Seed of the sampling.
    run
        Run file, with a single policy; default runs/<task>-<model>-critics-<hash>.db.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    if not critic:
        raise UsageError("who judges? e.g. thence critics wordproblems --critic data-flow --critic p-true")
    named = policy or (models.model,)
    if len(set(named)) < len(named):
        raise UsageError(f"a policy is given twice in {', '.join(named)}; name every one once")
    if run is not None and len(named) > 1:
        raise UsageError("--run is one policy's file, and there are several; leave it out")
    task = columns.applied(task)
    chosen = checked_task(task, bad_references=columns.bad_references)
    if isinstance(chosen, FirstErrorTask):
        raise UsageError(f"{chosen.name}: its solutions are given; use thence eval {chosen.name} --verifier SPEC")
    if not chosen.has_references:
        raise UsageError(f"{chosen.spec} has no references; who is right has to be known to judge a critic")
    judges = [methods.verifier(text) for text in critic]
    panel = Panel(tuple(judges), samples)
    ready = [
        api.setup(
            name,
            panel,
            prompt,
            fallback_prompt=chosen.default_prompt,
            options=models.options(seed),
            sampling=sampling.given(),
        )
        for name in named
    ]
    for each in ready:
        run_sync(api.connect(each.generator, panel.needs | each.style.needs))
        check_all(each, critic, judges)
    arguments = {
        "task": task,
        "critics": list(critic),
        "prompt": prompt,
        "limit": limit,
        "samples": samples,
        "seed": seed,
        "models": models.public(),
        "sampling": asdict(sampling),
    }
    with contextlib.ExitStack() as stack:
        stores = []
        for each in ready:
            arm = Arm(f"critics(n={samples})", panel, each.style, each.prompt_text, each.sampling)
            header = eval_header(chosen, each.generator, arm, seed=seed, limit=limit, arguments=arguments)
            header |= {"kind": "critics", "critics": [judge.name for judge in judges]}
            path = run_path(run, default_path(chosen.name, each.model, "critics", header))
            store = stack.enter_context(RunFile.open(path, header))
            for warning in store.warnings:
                err.print(plain(warning, "yellow"))
            stores.append(store)

        async def judged(stopper: Stopper) -> list[tuple[Report, list[Solution]]]:
            return [
                await criticise(
                    chosen,
                    each.generator,
                    each.style,
                    panel,
                    store,
                    sampling=each.sampling,
                    model=each.model,
                    seed=seed,
                    limit=limit,
                    progress=make(quiet),
                    stopper=stopper,
                )
                for each, store in zip(ready, stores, strict=True)
            ]

        made = with_signals(judged)
    drawn = {name: found for name, (_, found) in zip(named, made, strict=True)}
    rows = matrix(drawn, [judge.name for judge in judges], threshold=threshold)
    reports = [report for report, _ in made]
    if json:
        print_json(
            {
                "task": chosen.spec,
                "seed": seed,
                "samples": samples,
                "threshold": threshold,
                "matrix": document(rows),
                "policies": [report.document() for report in reports],
            }
        )
    else:
        show(chosen, rows, reports, threshold)
    return 1 if any(report.incomplete for report in reports) else 0


def check_all(ready: api.Setup, texts: Sequence[str], judges: Sequence[Verifier]) -> None:
    """Refuse a critic or a prompt that a policy cannot serve, before anything is drawn."""
    kind = ready.model.partition(":")[0]
    check_needs(f"prompt {ready.style.name}", ready.style.needs, ready.generator, kind)
    for text, judge in zip(texts, judges, strict=True):
        check_needs(text, judge.needs, ready.generator, kind)


def show(task: Task, rows: Sequence[Judged], reports: Sequence[Report], threshold: float) -> None:
    """The matrix, then accuracy by certainty; controls stand below the critics of their policy."""
    out.print(plain(f"{task.spec}  critics  threshold {threshold:g}", "bold"))
    cells = [
        [
            row.policy,
            _name(row),
            _rate(row.accuracy),
            _rate(row.balanced),
            _rate(row.ahead),
            "-" if row.answered is None else f"{100 * row.answered:.0f} %",
        ]
        for row in rows
    ]
    columns = ["policy", "critic", "accuracy, %", "balanced, %", "right above wrong, %", "yes or no said"]
    out.print(table("95 % intervals; controls in brackets", columns, cells, right=(2, 3, 4, 5)))
    edges = sorted({(b.low, b.high) for row in rows for b in row.bins})
    if edges:
        cells = [[row.policy, _name(row), *_by_certainty(row, edges)] for row in rows]
        problems = {(row.policy, (b.low, b.high)): b.accuracy.n for row in rows for b in row.bins}
        for policy in dict.fromkeys(row.policy for row in rows):
            cells.append([policy, "problems", *(str(problems.get((policy, e), 0)) for e in edges)])
        heads = [f"{100 * low:.0f} to {100 * high:.0f} %" for low, high in edges]
        title = "accuracy by the policy's certainty (share of its most frequent answer)"
        out.print(table(title, ["policy", "critic", *heads], cells, right=range(2, 2 + len(edges))))
    for row in {row.policy: row for row in rows}.values():
        lacking = "right" if not row.right else "wrong" if row.right == row.solutions else ""
        if not row.solutions:
            out.print(plain(f"{row.policy}: no solution has an answer, so there is nothing to judge", "yellow"))
        elif lacking:
            out.print(plain(f"{row.policy}: no solution is {lacking}, so there is no balanced accuracy", "yellow"))
    for report in reports:
        told = f"{report.model}: {number(report.n)} problems, accuracy of the vote "
        told += "unknown" if report.accuracy is None else f"{100 * report.accuracy:.1f} %"
        out.print(plain(f"{told}, {number(report.charged.verifier)} verifier tokens; run {report.run}", "dim"))
        for problem, why in report.failures[:3]:
            out.print(plain(f"failed {problem}: {why}", "red"))
        if report.incomplete:
            out.print(plain(f"incomplete: {report.failed} problems failed; the same command tries them again", "red"))


def _name(row: Judged) -> str:
    return f"({row.critic})" if row.control else row.critic


def _rate(rate: Rate, digits: int = 1) -> str:
    if rate.value is None or rate.interval is None:
        return "-"
    low, high = rate.interval
    return f"{100 * rate.value:.{digits}f} [{100 * low:.{digits}f}, {100 * high:.{digits}f}]"


def _by_certainty(row: Judged, edges: Sequence[tuple[float, float]]) -> list[str]:
    known = {(b.low, b.high): b.accuracy for b in row.bins}
    return [_rate(known[e], 0) if e in known else "-" for e in edges]
