"""``thence eval``: measure a strategy on a task."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from thence import api
from thence.core.background import run_sync
from thence.core.errors import UsageError
from thence.core.run import Stopper
from thence.evals.allocate import SharedVote, allocate
from thence.evals.compare import short_model
from thence.evals.evaluate import Arm, Report, again, chosen_problems, eval_header
from thence.evals.evaluate import evaluate as run_evaluation
from thence.evals.report import FormatShare
from thence.evals.statistics.trace_error import TraceError
from thence.stores.header import default_path
from thence.stores.reuse import ReusePool
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.tasks.first_error import FirstErrorTask

from .compare_extras import trace_text, traced
from .first_error import first_error
from .options import ModelFlags, SamplingFlags, TaskFlags
from .pools import control_line, show_models
from .present import accuracy_text, err, number, out, plain, print_json, table
from .progress import make
from .running import checked_task, run_path, tell_format, tell_retrieval, tell_thinking, tell_verifiers, with_signals

DEFAULT = "self-consistency(n=16)"


def evaluate(
    task: str | None = None,
    /,
    *,
    strategy: Annotated[str, Parameter(alias="-s")] = DEFAULT,
    verifier: str | None = None,
    prompt: Annotated[str | None, Parameter(alias="-p")] = None,
    retrieve: str | None = None,
    format: Literal["steps"] | None = None,
    limit: int | None = None,
    budget: str | None = None,
    total_budget: str | None = None,
    seed: int = 0,
    run: Path | None = None,
    reuse: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    again_: Annotated[Path | None, Parameter(name="--again")] = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    price: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    models: ModelFlags = ModelFlags(),
    columns: TaskFlags = TaskFlags(),
    sampling: SamplingFlags = SamplingFlags(),
) -> int:
    """Measure a strategy on a task: accuracy with its interval, coverage, cost. The same command resumes.

    Parameters
    ----------
    task
        wordproblems(level=3), gsm8k(file=PATH), or your own .jsonl, .json or .csv file.
    strategy
        What to measure, e.g. "self-consistency(n=16)".
    verifier
        On a task of given solutions (big-bench-mistake, mr-gsm8k, labels): who looks for their first error, e.g.
        data-flow.
    prompt
        A prompt style or file; default: the strategy's own, else the task's.
    retrieve
        Put what is found there before each question: a file or folder of solved problems or passages, or
        module:function. Quote FILE(k=2, control=random) for more.
    format
        steps: ask for steps and answer apart, by JSON schema where the server guides decoding, else by tags.
    limit
        Only the first so many problems of a shuffle that is the same for every seed and strategy.
    budget
        Most charged tokens per problem: 800, 1k, 2.5k.
    total_budget
        Most charged tokens for all problems together, spread to where a vote may still change: 100k, 1m.
    seed
        Seed of the sampling; problems do not depend on it.
    run
        Run file; default runs/<task>-<model>-<strategy>-<hash>.db.
    reuse
        Take finished samples from these run files too.
    again
        Repeat the run of this file from its header, into a new file.
    dry_run
        Print what it would cost, and run nothing.
    price
        Money per million tokens: input,output or input,output,cached.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    if again_ is not None:
        if task is not None:
            raise UsageError("--again takes everything from the run file; leave the task out")
        task, strategy, verifier, prompt, limit, budget, total_budget, seed, models, sampling = _from_header(again_)
        run = run or again_.with_name(f"{again_.stem}-again.db")
    if task is None:
        raise UsageError("which task? e.g. thence eval wordproblems")
    task = columns.applied(task)
    chosen = checked_task(task, bad_references=columns.bad_references)
    if isinstance(chosen, FirstErrorTask):
        asked = (prompt, retrieve, format, budget, total_budget, price)
        if strategy != DEFAULT or any(each is not None for each in asked) or reuse or dry_run:
            raise UsageError(f"{chosen.name}: its solutions are given and only judged; leave strategy and costs out")
        return first_error(
            chosen, task, verifier, limit=limit, seed=seed, run=run, json=json, quiet=quiet, models=models
        )
    if verifier is not None:
        raise UsageError(f"{chosen.name} has no given solutions; write best-of-n(verifier={verifier}) as the strategy")
    tokens, total = api.tokens(budget), api.tokens(total_budget)
    if total is not None and sampling.think is not None:
        raise UsageError("--total-budget is spread over plain votes: leave --think out")
    if total is not None and (tokens is not None or dry_run):
        raise UsageError("--total-budget stands alone: leave --budget and --dry-run out")
    ready = api.setup(
        models.model,
        strategy,
        prompt,
        fallback_prompt=chosen.default_prompt,
        options=models.options(seed),
        sampling=sampling.given(),
        retrieve=retrieve,
        format=format,
    )
    ready = run_sync(api.checked(ready))
    tell_format([(ready.style, ready.generator)])
    tell_retrieval([ready.style], chosen_problems(chosen, limit))
    tell_verifiers([ready.strategy])
    arm = Arm(ready.strategy_text, ready.strategy, ready.style, ready.prompt_text, ready.sampling)
    bidder = SharedVote.of(ready.strategy) if total is not None else None
    if dry_run:
        from .dry import show_estimate

        return show_estimate(
            chosen, ready.generator, [arm], seeds=1, limit=limit, budgets=(tokens,), price=price, json=json
        )
    arguments = {
        "task": task,
        "strategy": strategy,
        "prompt": prompt if retrieve is None and format is None else ready.prompt_text,
        "limit": limit,
        "budget": budget,
        "total_budget": total_budget,
        "seed": seed,
        "models": models.public(),
        "sampling": asdict(sampling),
    }
    roles = models.roles(seed)
    header = eval_header(
        chosen, ready.generator, arm, seed=seed, limit=limit, budget=tokens, arguments=arguments, roles=roles or None
    )
    extendable: tuple[str, ...] = ("limit",)
    if bidder is not None:  # grants depend on the whole set, so it cannot grow
        header |= {"total_budget": total, "strategy": bidder.name}
        extendable = ()
    path = run_path(run, default_path(chosen.name, models.model, ready.strategy_text, header, extendable))
    with RunFile.open(path, header, extendable=extendable) as store:
        for warning in store.warnings:
            err.print(plain(warning, "yellow"))
        pool = ReusePool(store, [RunView(p) for p in reuse]) if reuse else None

        def measured(stopper: Stopper) -> Coroutine[Any, Any, Report]:
            if bidder is None or total is None:
                return run_evaluation(
                    chosen,
                    ready.generator,
                    arm,
                    model=models.model,
                    seed=seed,
                    limit=limit,
                    budget=tokens,
                    store=store,
                    roles=roles,
                    pool=pool,
                    progress=make(quiet),
                    stopper=stopper,
                )
            return allocate(
                chosen,
                ready.generator,
                bidder,
                ready.style,
                total=total,
                sampling=ready.sampling,
                model=models.model,
                prompt=ready.prompt_text,
                seed=seed,
                limit=limit,
                store=store,
                pool=pool,
                progress=make(quiet),
                stopper=stopper,
            )

        report = with_signals(measured)
        tell_thinking(report.records)
        cell = Cell("", seed, None if bidder is not None else tokens)
        traces = traced(chosen, path, [cell], [report.records])
    show_report(report, json=json, price=price, traces=traces)
    return 1 if report.incomplete else 0


def _from_header(path: Path) -> tuple[Any, ...]:
    with RunView(path) as view:
        a = again(view.header)
    models = dict(a["models"])
    if "secret" in models:
        raise UsageError(
            f"{path} was made with --header or --extra-body, which are never stored; give the whole command"
        )
    return (
        a["task"],
        a.get("strategy", DEFAULT),
        a.get("verifier"),
        a.get("prompt"),
        a["limit"],
        a.get("budget"),
        a.get("total_budget"),
        a["seed"],
        replace(ModelFlags(), **models),
        replace(SamplingFlags(), **a.get("sampling", {})),
    )


def show_report(report: Report, *, json: bool, price: str | None = None, traces: TraceError | None = None) -> None:
    """The table at the end, or the JSON object of the contract."""
    document = report.document()
    if traces is not None:
        document["trace_error"] = traces.document()
    if price is not None:
        from thence.evals.estimate import Price

        document["money"] = Price.parse(price).of(report.charged)
    if json:
        print_json(document)
        return
    model = short_model(report.model) if report.models else report.model
    out.print(plain(f"{report.task}  {model}  {report.strategy}  prompt {report.prompt}  seed {report.seed}", "bold"))
    if report.accuracy is None:
        out.print(plain(report.statement or "no problem was graded", "yellow"))
    rows = _rows(document, report)
    if traces is not None:
        rows.insert(2, ["right answers with a wrong step [95 %]", trace_text(traces)])
    out.print(table("", ["metric", "value"], rows, right=(1,)))
    show_models(report)
    if line := control_line(report):
        out.print(plain(line, "dim"))
    for problem, why in report.ungradable[:3]:
        out.print(plain(f"ungradable reference {problem}: {why}", "yellow"))
    for problem, why in report.failures[:3]:
        out.print(plain(f"failed {problem}: {why}", "red"))
    if report.incomplete:
        out.print(plain(f"incomplete: {report.failed} problems failed; the same command tries them again", "red"))
    if report.run:
        out.print(plain(f"run {report.run}   look: thence show {report.run}", "dim"))


def _rows(document: Mapping[str, Any], report: Report) -> list[list[str]]:
    rows = [["problems", number(report.n)], ["accuracy [95 %]", accuracy_text(document)]]
    if report.format is not None:
        rows.append(["replies not in the format", _format_text(report.format)])
    rows += [[f"pass@{k}", f"{100 * v:.1f} %"] for k, v in report.pass_at.items() if k > 1]
    rows += [[f"maj@{k}", f"{100 * v:.1f} %"] for k, v in report.maj_at.items() if k > 1]
    if report.agreement is not None:
        rows.append(["agreement, mean", f"{report.agreement:.2f}"])
    if report.median_confidence is not None:
        rows.append(["confidence, median", f"{report.median_confidence:.2f}"])
    if report.segmenter is not None:
        rows.append(["steps divided by", report.segmenter])
    rows.append(["charged tokens per problem", number(report.tokens_per_problem)])
    charged, spent = report.charged, report.spent
    rows.append(["  prompt / generated / verifier", _slashed(charged.prompt, charged.generated, charged.verifier)])
    rows.append(["spent: prefilled / reused", _slashed(spent.prefilled, spent.reused)])
    rows.append(["spent: generated / of it wasted", _slashed(spent.generated, spent.wasted)])
    rows.append(["seconds", f"{report.seconds:,.1f}"])
    rows.append(["unparsed / truncated / failed", _slashed(report.unparsed, report.truncated, report.failed)])
    if "money" in document:
        rows.append(["money", number(document["money"], 4)])
    return rows


def _format_text(told: FormatShare) -> str:
    """``4.7 % of 64 (2 cut before its end, 1 no answer)``."""
    why = ", ".join(f"{count} {reason}" for reason, count in told.unparsed.items())
    return f"{100 * told.rate:.1f} % of {told.replies:,}" + (f" ({why})" if why else "")


def _slashed(*values: int | None) -> str:
    return " / ".join(number(v) for v in values)
