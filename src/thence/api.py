"""What ``import thence`` offers: the commands as functions.

Loaded models are kept, by everything that decides what they are, until ``unload()``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import methods
from .core.answers import Reading
from .core.background import run_sync
from .core.completion import Ability, Sampling
from .core.errors import UsageError
from .core.problem import Message, Problem
from .core.protocols import Connects, Deals, Formats, Generator, PromptStyle, Task
from .core.search import Result, Strategy
from .core.solve import check_form, check_needs
from .core.solve import solve as _solve
from .core.think import ready as ready_to_think
from .core.think import with_think
from .methods import ModelOptions

if TYPE_CHECKING:
    from .evals.compare import Comparison
    from .evals.evaluate import Arm, Progress, Report

_loaded: dict[str, Generator] = {}
MAX_QUESTION = 100_000  # characters


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything one run needs, checked before any call: model, strategy, prompt and sampling."""

    model: str
    generator: Generator
    strategy_text: str
    strategy: Strategy
    prompt_text: str
    style: PromptStyle
    sampling: Sampling


def load(model: str = "acorn", options: ModelOptions | None = None) -> Generator:
    """The generator ``acorn``, ``hf:NAME_OR_PATH``, ``openai:NAME@URL``, ``replay:FILE`` or ``pool:M1,M2``; loaded
    once, also where it is in a pool and alone."""
    own = options or ModelOptions()
    if not methods.is_pool(model):
        own = replace(own, skill=None)
    key = repr((model, own))
    if key not in _loaded:
        _loaded[key] = methods.model(model, own, load=load)
    return _loaded[key]


def unload() -> None:
    """Forget all loaded models and close their connections and threads."""
    while _loaded:
        _, generator = _loaded.popitem()
        run_sync(generator.close())


async def close_loaded() -> None:
    """``unload`` for code that already runs in an event loop."""
    while _loaded:
        _, generator = _loaded.popitem()
        await generator.close()


def tokens(text: str | int | None) -> int | None:
    """A budget: ``800``, ``"1k"``, ``"2.5k"``, ``"1m"`` tokens; None is unlimited."""
    if text is None or isinstance(text, int):
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKmM]?)", text.strip())
    if match is None:
        raise UsageError(f"budget {text!r} is no number of tokens; write e.g. 800, 1k or 2.5k")
    value = float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2].lower()]
    if value < 1:
        raise UsageError(f"budget {text!r} is less than one token; write e.g. 800, 1k or 2.5k")
    return int(value)


def sampled(
    generator: Generator,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    max_tokens: int | None = None,
    think: str | int | bool | None = None,
) -> Sampling:
    """The generator's own sampling with the given fields replaced; ``think`` is on, off, auto or a thought's most
    tokens."""
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens, "think": think}
    return replace(generator.defaults, **with_think({k: v for k, v in given.items() if v is not None}))


def setup(
    model: str | Generator = "acorn",
    strategy: str | Strategy = "self-consistency(n=16)",
    prompt: str | PromptStyle | None = None,
    *,
    fallback_prompt: str = "cot",
    options: ModelOptions | None = None,
    sampling: dict[str, Any] | None = None,
    retrieve: str | None = None,
    format: Literal["steps"] | None = None,
) -> Setup:
    """Turn names into objects; ``checked`` then asks the model whether it can do what they need.

    A strategy may bring its own default prompt (CoT-decoding needs the bare question); ``fallback_prompt`` is the
    task's. ``retrieve`` puts what is found in that collection before whatever prompt it is, and ``format`` asks for
    steps and answer apart.
    """
    sampling = {k: v for k, v in (sampling or {}).items() if v is not None}
    Sampling(**with_think(sampling))  # a value out of range is refused before a model is loaded
    strategy_text = methods.canonical(strategy) if isinstance(strategy, str) else type(strategy).__name__
    made = methods.strategy(strategy) if isinstance(strategy, str) else strategy
    chosen = prompt if prompt is not None else getattr(made, "default_prompt", None) or fallback_prompt
    if format is not None:
        if not isinstance(chosen, str):
            raise UsageError("format= takes a prompt by its name; for your own style write Steps(style)")
        chosen = methods.formatting(chosen, format)
    if retrieve is not None:
        if not isinstance(chosen, str):
            raise UsageError(
                "retrieve= takes a prompt by its name; for your own style write Retrieve(collection, style)"
            )
        chosen = methods.retrieving(chosen, retrieve)
    style = methods.prompt(chosen) if isinstance(chosen, str) else chosen
    check_skill(options, [model], [strategy])
    generator = load(model, options) if isinstance(model, str) else model
    name = model if isinstance(model, str) else generator.identity
    return Setup(
        name,
        generator,
        strategy_text,
        made,
        chosen if isinstance(chosen, str) else style.name,
        style,
        sampled(generator, **sampling),
    )


def check_skill(
    options: ModelOptions | None, models: Sequence[str | Generator], strategies: Sequence[str | Strategy]
) -> None:
    """UsageError where a skill is given and no model is a pool, or no strategy weighs a pool's votes by it."""
    skill = options.skill if options is not None else None
    pools = [methods.is_pool(m) if isinstance(m, str) else isinstance(m, Deals) for m in models]
    if skill is not None and not any(pools):
        raise UsageError(f"--skill {skill} weighs the votes of a pool's models, and no model is a pool: pool:M1,M2")
    if skill is not None and all(isinstance(s, str) and "skill" not in s for s in strategies):
        raise UsageError(f"--skill {skill}: no strategy weighs votes by it; write self-consistency(n=…, weight=skill)")


async def checked(ready: Setup) -> Setup:
    """Refuse, before any sample is drawn, what the model cannot do; a server is asked for what it does not say. The
    result has a prompt whose format is decided."""
    ready = replace(ready, style=await decided(ready.style, ready.generator))
    await connect(ready.generator, ready.strategy.needs | ready.style.needs)
    name = methods.one(ready.strategy_text, "strategy").name
    check_model(ready.generator, ready.model, name, ready.strategy, ready.style)
    await ready_to_think(ready.generator, ready.sampling, ready.strategy.needs | ready.style.needs)
    return ready


async def checked_arms(arms: Sequence[Arm], generator: Generator, model: str) -> list[Arm]:
    """The same for the arms of a comparison."""
    made: list[Arm] = []
    for arm in arms:
        own = arm.generator or generator
        arm = replace(arm, style=await decided(arm.style, own))
        made.append(arm)
        await connect(own, arm.strategy.needs | arm.style.needs)
        check_model(own, arm.model or model, methods.one(arm.name, "strategy").name, arm.strategy, arm.style)
        if arm.sampling is not None:
            await ready_to_think(own, arm.sampling, arm.strategy.needs | arm.style.needs)
    return made


async def decided(style: PromptStyle, generator: Generator) -> PromptStyle:
    """``style`` with the format that ``generator`` can be asked for; in a pool that is one for all models: tags."""
    if not isinstance(style, Formats) or not style.wishes:
        return style
    if isinstance(generator, Deals):
        return style.decided(frozenset())
    await connect(generator, style.wishes)
    return style.decided(generator.abilities)


async def connect(generator: Generator, needs: frozenset[Ability]) -> None:
    """Let a server's generator learn what the server can do; other generators know it already."""
    if isinstance(generator, Connects):
        await generator.connect(needs)


def check_model(generator: Generator, model: str, strategy_name: str, strategy: Strategy, style: PromptStyle) -> None:
    """Refuse a strategy or a prompt that the model cannot do, naming what is missing."""
    kind = model.partition(":")[0]
    check_form(style, strategy_name, strategy.needs)
    check_needs(strategy_name, strategy.needs, generator, kind)
    check_needs(f"prompt {style.name}", style.needs, generator, kind)


def as_problem(question: str | Sequence[Message] | Problem) -> Problem:
    """A question as a problem; UsageError for an empty or an absurdly long one."""
    if isinstance(question, Problem):
        return question
    if isinstance(question, str):
        problem = Problem("question", question)
    else:
        problem = Problem("question", tuple(question))
    if len(problem.text) > MAX_QUESTION:
        raise UsageError(
            f"the question has {len(problem.text):,} characters; at most {MAX_QUESTION:,} are taken (is it a file? "
            "then give its path to --file)"
        )
    return problem


WORKING_QUESTIONS = (
    "I have 3 apples, my dad has 2 more than me. How many do we have in total?",
    "Ann has 5 apples. Tom has 3 more apples than Ann. Sam has twice as many apples as Tom. "
    "How many apples does Sam have?",
    'Take the last letters of the words in "Mary Anna" and join them.',
)
REAL_MODEL = "hf:Qwen/Qwen2.5-0.5B-Instruct"


def check_words(ready: Setup, problem: Problem) -> None:
    """The embedded model knows a closed vocabulary: name the words it does not know, and what works instead."""
    unknown_words = getattr(ready.generator, "unknown_words", None)
    unknown = [w.strip() for w in unknown_words(problem.text)] if unknown_words is not None else []
    if unknown:
        shown = ", ".join(repr(w) for w in unknown[:8]) + (" …" if len(unknown) > 8 else "")
        works = "\n".join(f"  {q}" for q in WORKING_QUESTIONS)
        raise UsageError(
            f"{ready.model} does not know {shown}: it is a toy with a closed vocabulary. "
            f"Questions that work:\n{works}\n"
            f'For any other question take a real small model: thence solve "…" --model {REAL_MODEL}'
        )


def reading_for_questions() -> Reading:
    """How answers to a bare question are read: after the marker, else the last number."""
    from .grading.extract import default_reading

    return default_reading()


async def asolve(
    question: str | Sequence[Message] | Problem,
    model: str | Generator = "acorn",
    strategy: str | Strategy = "self-consistency(n=16)",
    prompt: str | PromptStyle | None = None,
    budget: int | str | None = None,
    seed: int = 0,
    *,
    reading: Reading | None = None,
    options: ModelOptions | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    max_tokens: int | None = None,
    think: str | int | bool | None = None,
) -> Result:
    """Answer one question; the coroutine behind ``solve``."""
    problem = as_problem(question)
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens, "think": think}
    ready = await checked(setup(model, strategy, prompt, options=options, sampling=given))
    return await solve_ready(
        ready, problem, budget=tokens(budget), seed=seed, reading=reading or reading_for_questions()
    )


async def solve_ready(
    ready: Setup,
    problem: Problem,
    *,
    budget: int | None,
    seed: int,
    reading: Reading,
    roles: Mapping[str, Generator] | None = None,
) -> Result:
    """Answer one problem with what ``setup`` made."""
    check_words(ready, problem)
    return await _solve(
        problem,
        generator=ready.generator,
        strategy=ready.strategy,
        style=ready.style,
        reading=reading,
        sampling=ready.sampling,
        seed=seed,
        budget=budget,
        roles=roles,
    )


def solve(
    question: str | Sequence[Message] | Problem,
    model: str | Generator = "acorn",
    strategy: str | Strategy = "self-consistency(n=16)",
    prompt: str | PromptStyle | None = None,
    budget: int | str | None = None,
    seed: int = 0,
    **more: Any,
) -> Result:
    """Answer one question.

    ``budget`` is in charged tokens (``"1k"``). The result has ``.answer``, ``.confidence``, ``.trace``, ``.tree``,
    ``.ledger`` and ``.stopped``. Works in a notebook and from any thread. ``more`` are the keywords of ``asolve``.

    >>> thence.solve("I have 3 apples, my dad has 2 more than me. How many do we have in total?").answer
    '8'
    """
    return run_sync(asolve(question, model, strategy, prompt, budget, seed, **more))


def task(text: str) -> Task:
    """A task by its text: ``wordproblems(level=4)``, ``gsm8k(file=PATH)``, a path to a JSONL file."""
    return methods.task(text)


def evaluate(
    task_text: str | Task,
    model: str | Generator = "acorn",
    strategy: str | Strategy = "self-consistency(n=16)",
    prompt: str | PromptStyle | None = None,
    *,
    limit: int | None = None,
    budget: int | str | None = None,
    seed: int = 0,
    run: str | Path | None = None,
    options: ModelOptions | None = None,
    progress: Progress | None = None,
    **sampling: Any,
) -> Report:
    """Measure a strategy on a task, as ``thence eval`` does. ``run`` is the run file; None keeps nothing.

    ``sampling`` takes temperature, top_p, top_k, max_tokens and think (on, off, auto, or a thought's most tokens).
    """
    from .evals.evaluate import Arm, eval_header
    from .evals.evaluate import evaluate as run_evaluation
    from .stores.sqlite import RunFile

    chosen = task(task_text) if isinstance(task_text, str) else task_text
    ready = setup(model, strategy, prompt, fallback_prompt=chosen.default_prompt, options=options, sampling=sampling)
    ready = run_sync(checked(ready))
    arm = Arm(ready.strategy_text, ready.strategy, ready.style, ready.prompt_text, ready.sampling)
    cap = tokens(budget)
    header = eval_header(chosen, ready.generator, arm, seed=seed, limit=limit, budget=cap)
    store = RunFile.open(run, header) if run is not None else None
    try:
        return run_sync(
            run_evaluation(
                chosen,
                ready.generator,
                arm,
                model=ready.model,
                seed=seed,
                limit=limit,
                budget=cap,
                store=store,
                progress=progress,
            )
        )
    finally:
        if store is not None:
            store.close()


def compare(
    task_text: str | Task,
    arms: Sequence[str],
    model: str | Generator = "acorn",
    *,
    prompt: str | None = None,
    seeds: Sequence[int] = (0,),
    budgets: Sequence[int | str | None] = (None,),
    limit: int | None = None,
    baseline: str | None = None,
    run: str | Path | None = None,
    options: ModelOptions | None = None,
    progress: Progress | None = None,
    **sampling: Any,
) -> Comparison:
    """Compare strategies on the same problems, as ``thence compare`` does; an arm is ``STRATEGY @ PROMPT on MODEL``,
    the latter two where it differs from ``prompt`` and ``model``."""
    from .evals.compare import EXTENDABLE, Grid, compare_header
    from .evals.compare import compare as run_comparison
    from .stores.sqlite import RunFile

    chosen = task(task_text) if isinstance(task_text, str) else task_text
    made, generator, name = make_arms(arms, prompt, chosen, model, options, sampling)
    made = run_sync(checked_arms(made, generator, name))
    grid = Grid(tuple(made), tuple(seeds), tuple(tokens(b) for b in budgets), name)
    store = None
    if run is not None:
        store = RunFile.open(run, compare_header(chosen, generator, grid, limit=limit), extendable=EXTENDABLE)
    try:
        return run_sync(
            run_comparison(
                chosen, generator, grid, model=name, limit=limit, baseline=baseline, store=store, progress=progress
            )
        )
    finally:
        if store is not None:
            store.close()


def make_arms(
    texts: Sequence[str],
    prompt: str | None,
    chosen: Task,
    model: str | Generator,
    options: ModelOptions | None,
    sampling: dict[str, Any],
    retrieve: str | None = None,
    format: Literal["steps"] | None = None,
) -> tuple[list[Arm], Generator, str]:
    """Every arm of every grid, and the generator (with its name) of those that name no model.

    An arm is written ``STRATEGY``, ``STRATEGY @ PROMPT`` or ``STRATEGY @ PROMPT on MODEL``; without a prompt it takes
    ``prompt``, else the strategy's own default, else the task's, in the ``format`` that is asked for, and with
    ``retrieve`` what is found in that collection before it.
    """
    from .evals.evaluate import Arm

    if not texts:
        raise UsageError('which strategies? e.g. thence compare wordproblems greedy "self-consistency(n={4,16})"')
    named = [text.partition(" on ")[2].strip() for text in texts]
    check_skill(options, [model, *named], [text.partition(" on ")[0].partition(" @ ")[0].strip() for text in texts])
    made: list[Arm] = []
    styles: dict[str, PromptStyle] = {}
    for text in texts:
        rest, on, own_model = (part.strip() for part in text.partition(" on "))
        written, at, own_prompt = (part.strip() for part in rest.partition(" @ "))
        for name, strategy in methods.strategies(written):
            default = getattr(strategy, "default_prompt", None) or chosen.default_prompt
            prompt_text = own_prompt if at else prompt or default
            if format is not None and not at:
                prompt_text = methods.formatting(prompt_text, format)
            if retrieve is not None and not at:
                prompt_text = methods.retrieving(prompt_text, retrieve)
            if prompt_text not in styles:  # a collection is read and indexed once
                styles[prompt_text] = methods.prompt(prompt_text)
            style = styles[prompt_text]
            taken = own_model if on else model
            generator = load(taken, options) if isinstance(taken, str) else taken
            label = taken if isinstance(taken, str) else generator.identity
            own = (label, generator) if on else ("", None)
            made.append(Arm(name, strategy, style, prompt_text, sampled(generator, **sampling), *own))
    if all(arm.generator is not None for arm in made):
        first = made[0]
        assert first.generator is not None
        return made, first.generator, first.model
    generator = load(model, options) if isinstance(model, str) else model
    return made, generator, model if isinstance(model, str) else generator.identity
