"""``thence label``: step labels without people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thence import api, methods
from thence.annotate.label import label as run_labelling
from thence.annotate.label import write
from thence.core.background import run_sync
from thence.core.errors import UsageError
from thence.core.segmenter import Segmenter
from thence.evals.evaluate import Arm, chosen_problems, eval_header
from thence.stores.header import default_path
from thence.stores.sqlite import RunFile

from .options import ModelFlags, SamplingFlags, TaskFlags
from .present import err, out, plain, print_json, table
from .running import checked_task, run_path, with_signals


def label(
    task: str,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    method: str = "math-shepherd(n=8)",
    prompt: Annotated[str | None, Parameter(alias="-p")] = None,
    limit: int | None = None,
    budget: str | None = None,
    seed: int = 0,
    segmenter: str = "line",
    run: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    models: ModelFlags = ModelFlags(),
    columns: TaskFlags = TaskFlags(),
    sampling: SamplingFlags = SamplingFlags(),
) -> int:
    """Label reasoning steps by completing them and grading the answers. The same command resumes.

    Parameters
    ----------
    task
        A task with references: wordproblems(level=3), gsm8k(file=PATH), or your own file.
    output
        Where to write the labels, one JSON object per solution.
    method
        "math-shepherd(n=8, solutions=4)" or "omegaprm(k=8, searches=10)".
    prompt
        A prompt style or file; default: the task's.
    limit
        Only the first so many problems of the task's shuffle.
    budget
        Most charged tokens per problem: 800, 1k, 2.5k.
    seed
        Seed of the sampling.
    segmenter
        Where steps end: line, separator("\\n\\n"), sentence, ...
    run
        Run file; default runs/<task>-<model>-<method>-<hash>.db.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    cut = Segmenter.from_spec(segmenter)
    annotator = methods.annotator(method)
    chosen = checked_task(columns.applied(task))
    if not chosen.has_references:
        raise UsageError(f"{chosen.spec} has no references; labels by rollouts need answers to compare with")
    tokens = api.tokens(budget)
    ready = api.setup(
        models.model,
        "repeated-sampling(n=1)",
        prompt,
        fallback_prompt=chosen.default_prompt,
        options=models.options(seed),
        sampling=sampling.given(),
    )
    run_sync(api.checked(ready))
    name = methods.canonical(method)
    arm = Arm(name, ready.strategy, ready.style, ready.prompt_text, ready.sampling)
    header = eval_header(chosen, ready.generator, arm, seed=seed, limit=limit, budget=tokens)
    header |= {"kind": "label", "segmenter": cut.to_spec()}
    path = run_path(run, default_path(chosen.name, models.model, name, header))
    problems = chosen_problems(chosen, limit)
    with RunFile.open(path, header) as store:
        for warning in store.warnings:
            err.print(plain(warning, "yellow"))

        def told(done: int, of: int) -> None:
            if not quiet and err.is_terminal:
                err.print(f"labelled {done}/{of} problems", end="\r")

        report, labels = with_signals(
            lambda stopper: run_labelling(
                chosen,
                ready.generator,
                annotator,
                ready.style,
                ready.sampling or api.sampled(ready.generator),
                problems,
                store,
                seed=seed,
                budget=tokens,
                segmenter=cut,
                stopper=stopper,
                told=told,
            )
        )
    write(output, labels)
    facts = {
        "problems": report.problems,
        "solutions": report.solutions,
        "steps": report.steps,
        "labelled steps": report.labelled,
        "of them above 0": report.positive,
        "rollouts": report.rollouts,
        "generated tokens": report.generated,
        "failed problems": len(report.failures),
    }
    if json:
        print_json({k.replace(" ", "_"): v for k, v in facts.items()} | {"labels": str(output), "run": str(path)})
    else:
        out.print(
            table(f"{chosen.spec}  {models.model}", [name, ""], [[k, f"{v:,}"] for k, v in facts.items()], right=[1])
        )
        out.print(plain(f"labels {output}   run {path}"))
    return 1 if report.failures else 0
