"""``thence solve FILE -o OUT.jsonl``: answer every question of a file. Resumable: finished answers are kept."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Literal

from thence import api
from thence.core.background import run_sync
from thence.core.errors import StoreError, UsageError
from thence.evals.evaluate import Arm, eval_header
from thence.evals.evaluate import evaluate as run_evaluation
from thence.methods import Spec
from thence.stores.header import default_path
from thence.stores.sqlite import Cell, RunFile

from .options import ModelFlags, SamplingFlags
from .outputs import spared
from .present import err, number, plain, print_json
from .progress import make
from .running import run_path, tell_format, tell_retrieval, tell_thinking, with_signals


def solve_file(
    path: Path,
    output: Path | None,
    column: str,
    *,
    strategy: str,
    prompt: str | None,
    retrieve: str | None,
    format: Literal["steps"] | None,
    budget: int | None,
    seed: int,
    models: ModelFlags,
    sampling: SamplingFlags,
    json: bool,
) -> int:
    """Answer all questions of ``path``; one JSON object per question goes to ``output``, in the file's order."""
    if output is None:
        raise UsageError(f"{path} is a file of questions; say where the answers go with -o OUT.jsonl")
    spared(output, path)
    task = api.task(str(Spec("jsonl", (("file", str(path)), ("question", column), ("answer", "none")))))
    ready = api.setup(
        models.model,
        strategy,
        prompt,
        options=models.options(seed),
        sampling=sampling.given(),
        retrieve=retrieve,
        format=format,
    )
    tell_retrieval([ready.style], task.problems())
    ready = run_sync(api.checked(ready))
    tell_format([(ready.style, ready.generator)])
    arm = Arm(ready.strategy_text, ready.strategy, ready.style, ready.prompt_text, ready.sampling)
    header = eval_header(task, ready.generator, arm, seed=seed, budget=budget)
    run = run_path(None, default_path("solve-" + path.stem, models.model, ready.strategy_text, header))
    with RunFile.open(run, header) as store:
        report = with_signals(
            lambda stopper: run_evaluation(
                task,
                ready.generator,
                arm,
                model=models.model,
                seed=seed,
                budget=budget,
                store=store,
                progress=make(json),
                stopper=stopper,
            )
        )
        records = store.results(Cell("", seed, budget))
    tell_thinking(report.records)
    lines = []
    for problem in task.problems():
        r = records.get(problem.id)
        row = {"id": problem.id, "question": problem.text, "answer": None, "confidence": None, "error": None}
        if r is None:
            row["error"] = dict(report.failures).get(problem.id, "not solved")
        else:
            row |= {k: r[k] for k in ("answer", "confidence", "votes", "stopped", "truncated", "charged")}
        lines.append(json_module.dumps(row, ensure_ascii=False))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{output} cannot be written ({error.strerror}); the answers are in {run}") from error
    if json:
        print_json({**report.document(), "output": str(output)})
    else:
        total = number(report.charged.total)
        err.print(plain(f"{len(records)} answers in {output}, {total} charged tokens; {report.statement}"))
    return 1 if report.incomplete else 0
