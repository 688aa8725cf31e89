"""``thence break VERIFIER``: which tricks raise a verifier's scores, and at which N selecting by it turns bad."""

from __future__ import annotations

import json as js
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thence import api, methods
from thence.core.completion import Finish
from thence.core.errors import CallFailed, DataError, UsageError
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.core.run import Runner, Stopper, wants_more
from thence.core.search import Result, Verifier
from thence.core.solve import solve
from thence.evals.evaluate import chosen_problems
from thence.evals.stress import Attacked, Pool, Selection, Solution, select_hard, stress
from thence.evals.stress.attacks import Change

from .options import ModelFlags, SamplingFlags, TaskFlags
from .present import err, out, plain, print_json, table
from .running import checked_task, with_signals

MISFIT = 0.03  # distance of the two curves above which the model is not to be trusted


def break_verifier(
    verifier: str,
    /,
    *,
    task: str = "wordproblems",
    prompt: Annotated[str | None, Parameter(alias="-p")] = None,
    limit: int = 50,
    samples: int = 16,
    pool: Path | None = None,
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    models: ModelFlags = ModelFlags(),
    columns: TaskFlags = TaskFlags(),
    sampling: SamplingFlags = SamplingFlags(),
) -> int:
    """Attack a verifier: rewrite wrong solutions until they overtake right ones, and select ever harder by its scores.

    Parameters
    ----------
    verifier
        data-flow, agreement, logprob, or any other verifier.
    task
        Where problems and references come from.
    prompt
        A prompt style or file; default: the task's.
    limit
        Only the first so many problems of the task's shuffle.
    samples
        Solutions drawn per problem; they are attacked, and they are the pool from which the best of N is taken.
    pool
        Scored samples to select from instead: JSON lines with problem, score and right.
    seed
        Seed of the sampling.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    judge = methods.verifier(verifier)
    chosen = checked_task(columns.applied(task), bad_references=columns.bad_references)
    if not chosen.has_references:
        raise UsageError(f"{chosen.spec} has no references; who is right has to be known to break a verifier")
    ready = api.setup(
        models.model,
        f"repeated-sampling(n={samples})",
        prompt,
        fallback_prompt=chosen.default_prompt,
        options=models.options(seed),
        sampling=sampling.given(),
    )

    def told(text: str) -> None:
        if not quiet and err.is_terminal:
            err.print(f"{text:<40}", end="\r")

    made = with_signals(lambda stopper: _measure(judge, chosen, ready, limit, seed, stopper, told))
    pools = made.pools if pool is None else read_pool(pool)
    selection, why = None, ""
    try:
        selection = select_hard(pools, seed=seed)
    except UsageError as error:
        why = str(error)
    if json:
        print_json(_document(verifier, made, selection, why))
    else:
        _show(verifier, chosen, made, selection, why)
    return 1 if made.failures else 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What the attacks did, the pools of scores as they are, and how many solutions there were."""

    attacks: list[Attacked]
    pools: list[Pool]
    solutions: int
    right: int
    failures: int


async def _measure(
    verifier: Verifier,
    task: Task,
    ready: api.Setup,
    limit: int,
    seed: int,
    stopper: Stopper,
    told: Callable[[str], None],
) -> Measured:
    ready = await api.checked(ready)
    problems = chosen_problems(task, limit)
    results: dict[str, Result] = {}
    failures: list[str] = []

    async def draw(problem: Problem) -> Result:
        return await solve(
            problem,
            generator=ready.generator,
            strategy=ready.strategy,
            style=ready.style,
            reading=task.reading,
            sampling=ready.sampling,
            seed=seed,
        )

    def done(problem: Problem, result: Result) -> None:
        results[problem.id] = result
        told(f"sampled {len(results)}/{len(problems)} problems")

    runner = Runner(
        draw,
        done,
        lambda problem, error: failures.append(f"{problem.id}: {error}"),
        hungry=wants_more([ready.generator]),
        survive=(CallFailed,),
        stopper=stopper,
    )
    await runner.run(problems)
    drawn = {p.id: _solutions(task, results[p.id]) for p in problems if p.id in results}
    drawn = {key: group for key, group in drawn.items() if group}
    attacks, known = await stress(
        verifier,
        drawn,
        generator=ready.generator,
        style=ready.style,
        reading=task.reading,
        seed=seed,
        told=lambda text: told(f"attacking: {text}"),
    )
    pools = []
    for key, pairs in known.items():
        number = {s.text: v for s, v in pairs}
        group = [s for s in drawn[key] if s.text in number]
        pools.append(Pool(tuple(number[s.text] for s in group), tuple(s.right for s in group)))
    every = [s for group in drawn.values() for s in group]
    for failure in failures[:3]:
        err.print(plain(failure, "yellow"))
    return Measured(attacks, pools, len(every), sum(s.right for s in every), len(failures))


def _solutions(task: Task, result: Result) -> list[Solution]:
    """Every whole sample, once per draw; one without an answer or cut by its cap is wrong, and stays out."""
    found = []
    for node in result.tree.nodes[1:]:
        if node.found is None or node.completion.finish in (Finish.LENGTH, Finish.BUDGET):
            continue
        text = node.completion.reply
        right = task.grade(result.problem, text, node.found.value).correct
        found += [Solution(result.problem, text, right)] * node.multiplicity
    return found


def read_pool(path: Path) -> list[Pool]:
    """Scored samples by problem: JSON lines with ``problem``, ``score`` and ``right``; DataError names a bad line."""
    rows: dict[str, list[tuple[float, bool]]] = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    for k, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = js.loads(line)
            score, right = float(row["score"]), row["right"]
            if not isinstance(right, bool) or not math.isfinite(score):
                raise ValueError(f"score {score} and right {right!r}")
            rows.setdefault(str(row["problem"]), []).append((score, right))
        except (ValueError, KeyError, TypeError) as error:
            said = f"{path}, line {k}: {type(error).__name__}: {error}"
            raise DataError(f'{said}; write {{"problem": "p1", "score": 0.7, "right": true}}') from error
    if not rows:
        raise DataError(f"{path} holds no samples; write one JSON object per line")
    return [Pool(tuple(s for s, _ in group), tuple(r for _, r in group)) for group in rows.values()]


def _document(name: str, made: Measured, selection: Selection | None, why: str) -> Mapping[str, object]:
    return {
        "verifier": name,
        "solutions": made.solutions,
        "right": made.right,
        "failed": made.failures,
        "weak": [a.attack for a in made.attacks if a.verdict == "weak"],
        "attacks": [asdict(a) | {"gain": a.gain} for a in made.attacks],
        "selection": None if selection is None else _selection(selection),
        "no_selection": why,
    }


def _selection(selection: Selection) -> Mapping[str, object]:
    document = asdict(selection)
    document["fit"] = {"alpha": selection.fit.alpha, "beta": selection.fit.beta, "fooled": selection.fit.fooled}
    turns, interval = selection.turns, selection.interval
    return document | {
        "turns": turns if math.isfinite(turns) else None,
        "interval": [v if math.isfinite(v) else None for v in interval],
    }


def _show(name: str, task: Task, made: Measured, selection: Selection | None, why: str) -> None:
    out.print(plain(f"{name} on {task.spec}: {made.solutions} solutions, {made.right} right", "bold"))
    rows = [
        [
            a.attack,
            _change(a.right),
            _change(a.wrong),
            f"{100 * a.before:.1f} % -> {100 * a.after:.1f} %" if a.problems else "-",
            "<.001" if a.p < 1e-3 else f"{a.p:.3f}",
            a.verdict + (f" ({a.unusable} unusable)" if a.unusable else ""),
        ]
        for a in made.attacks
    ]
    columns = ["attack", "right ones [95 %]", "wrong ones [95 %]", "wrong ahead of right", "Holm p", "verdict"]
    out.print(table("", columns, rows, right=(1, 2, 3, 4)))
    weak = [a.attack for a in made.attacks if a.verdict == "weak"]
    out.print(plain(f"weak against {', '.join(weak)}" if weak else "no weakness found", "red" if weak else "green"))
    if selection is None:
        out.print(plain(f"selection: {why}", "yellow"))
        return
    ns = sorted({n for n, _ in (*selection.curve, *selection.model)})
    replayed = dict(selection.curve)
    kept = [n for n in ns if n in replayed or n > max(replayed)]
    model = selection.fit.accuracies(kept)
    figures = [[f"{n:,}", _percent(replayed.get(n)), _percent(m)] for n, m in zip(kept, model, strict=True)]
    title = f"best of N by {name}, {selection.samples:,} samples of {selection.problems} problems"
    out.print(table(title, ["N", "replayed", "model"], figures, right=(0, 1, 2)))
    out.print(plain(turning(selection)))
    if selection.misfit > MISFIT:
        said = f"the model is up to {100 * selection.misfit:.0f} points off the replayed curve: do not trust it beyond"
        out.print(plain(said, "yellow"))


def turning(selection: Selection) -> str:
    """One sentence on where best-of-N turns down."""
    low, high = (f"{v:,.0f}" if math.isfinite(v) else "beyond 10,000" for v in selection.interval)
    if math.isinf(selection.turns):
        least = f"; it is not before N = {selection.at_least:,.0f}" if selection.at_least else ""
        return f"no turn can be seen: none of {selection.samples:,} samples is wrong and above the right ones{least}"
    share = 100 * selection.fit.fooled
    return (
        f"best-of-N turns down at N = {selection.turns:,.0f} [95 %: {low} to {high}]; "
        f"{share:.2g} % of the samples are wrong and scored above 98 % of the right ones"
    )


def _change(c: Change) -> str:
    if c.problems < 2:
        return "-"
    return f"{c.mean:+.3f} [{c.interval[0]:+.3f}, {c.interval[1]:+.3f}]"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
