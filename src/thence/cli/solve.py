"""``thence solve``: one question, or every question of a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from thence import api
from thence.cli.options import ModelFlags, SamplingFlags
from thence.cli.present import print_json, show_result
from thence.cli.running import tell_format, tell_retrieval, tell_verifiers
from thence.cli.texts import Language
from thence.core.background import run_sync
from thence.core.errors import UsageError

FILES = (".jsonl", ".json", ".csv", ".jsonl.gz", ".json.gz", ".csv.gz")


def solve(
    question: str,
    /,
    *,
    strategy: Annotated[str, Parameter(alias="-s")] = "self-consistency(n=16)",
    prompt: Annotated[str | None, Parameter(alias="-p")] = None,
    retrieve: str | None = None,
    format: Literal["steps"] | None = None,
    budget: str | None = None,
    seed: int = 0,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    column: str = "question",
    json: Annotated[bool, Parameter(negative="")] = False,
    tree: Annotated[bool, Parameter(negative="")] = False,
    lang: Language = "en",
    models: ModelFlags = ModelFlags(),
    sampling: SamplingFlags = SamplingFlags(),
) -> int:
    """Answer a question and say how the answer was chosen and what it cost.

    Parameters
    ----------
    question
        The question, or a .jsonl, .json or .csv file of questions (then -o OUT.jsonl).
    strategy
        How to spend the tokens, e.g. "self-consistency(n=16)"; see thence methods.
    prompt
        A prompt style or a prompt file; see thence prompts.
    retrieve
        Put what is found there before each question: a file or folder of solved problems or passages, or
        module:function. Quote FILE(k=2, control=random) for more.
    format
        steps: ask for steps and answer apart, by JSON schema where the server guides decoding, else by tags.
    budget
        Most charged tokens per question: 800, 1k, 2.5k.
    seed
        Seed of the sampling.
    output
        For a file of questions: where the answers go, one JSON object per line.
    column
        For a file of questions: the column or field that holds the question.
    json
        Print one JSON object.
    tree
        Print everything that was generated.
    lang
        Language of this help: en or zh.
    """
    if question.endswith(FILES):
        from thence.cli.many import solve_file

        return solve_file(
            Path(question),
            output,
            column,
            strategy=strategy,
            prompt=prompt,
            retrieve=retrieve,
            format=format,
            budget=api.tokens(budget),
            seed=seed,
            models=models,
            sampling=sampling,
            json=json,
        )
    if output is not None:
        raise UsageError("-o is for a file of questions; for one question use --json and redirect")
    api.as_problem(question)
    limit = api.tokens(budget)
    ready = api.setup(
        models.model,
        strategy,
        prompt,
        options=models.options(seed),
        sampling=sampling.given(),
        retrieve=retrieve,
        format=format,
    )
    tell_retrieval([ready.style], [api.as_problem(question)])
    try:
        ready = run_sync(api.checked(ready))
        tell_format([(ready.style, ready.generator)])
        tell_verifiers([ready.strategy])
        started = time.perf_counter()
        result = run_sync(
            api.solve_ready(
                ready,
                api.as_problem(question),
                budget=limit,
                seed=seed,
                reading=api.reading_for_questions(),
                roles=models.roles(seed),
            )
        )
    finally:
        api.unload()
    seconds = time.perf_counter() - started
    if json:
        print_json(
            {
                "question": question,
                "model": ready.model,
                "strategy": ready.strategy_text,
                "prompt": ready.prompt_text,
                "seed": seed,
                "budget": limit,
                "seconds": round(seconds, 4),
                "trace": result.trace,
                **result.record(),
            }
        )
        return 0
    show_result(
        result,
        model=ready.model,
        strategy=ready.strategy_text,
        prompt=ready.prompt_text,
        seconds=seconds,
        trace=not tree,
    )
    if tree:
        from thence.cli.present import out, tree_lines

        for line in tree_lines(result.tree, result.node.index if result.node is not None else None):
            out.print(line)
    return 0
