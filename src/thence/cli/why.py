"""``thence why``: the step that loses one wrong answer."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from thence import api
from thence.annotate.label import open_rollouts, with_question
from thence.annotate.rollouts import Rollouts
from thence.annotate.why import Explained, Why
from thence.core.background import run_sync
from thence.core.clean import one_line, printable
from thence.core.completion import Finish
from thence.core.errors import DataError, UsageError
from thence.core.label_files import write_labels
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.core.segmenter import Segmenter
from thence.core.tree import SOLUTION, Kind, Node, Tree
from thence.evals.evaluate import Arm, eval_header
from thence.stores.header import default_path
from thence.stores.sqlite import RunFile, RunView

from .options import ModelFlags, SamplingFlags, TaskFlags
from .present import number, out, plain, print_json, table
from .running import checked_task, run_path, with_signals


def why(
    task: str,
    /,
    *,
    problem: str,
    answer_from: Path | None = None,
    confidence: float = 0.9,
    guess: float = 0.0,
    delta: float | None = None,
    most: int = 400,
    batch: int = 8,
    tries: int = 32,
    prompt: Annotated[str | None, Parameter(alias="-p")] = None,
    budget: str | None = None,
    seed: int = 0,
    segmenter: str = "line",
    run: Path | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    models: ModelFlags = ModelFlags(),
    columns: TaskFlags = TaskFlags(),
    sampling: SamplingFlags = SamplingFlags(),
) -> int:
    """Find the step after which one wrong answer is lost, by completing its beginnings where that decides.

    Parameters
    ----------
    task
        A task with references: wordproblems(level=3), gsm8k(file=PATH), or your own file.
    problem
        The problem's id.
    answer_from
        A run file whose wrong answer to this problem is explained; default: solutions are sampled until one is wrong.
    confidence
        How sure to be of the step before stopping.
    guess
        How often a lost solution is right by luck: 0 for free numbers, 0.25 for four choices.
    delta
        Values up to this are those of a lost solution; default guess + 0.05.
    most
        At most so many completions.
    batch
        How many of them run together.
    tries
        At most so many solutions are sampled until one is wrong.
    prompt
        A prompt style or file; default: the task's.
    budget
        Most charged tokens: 800, 1k, 2.5k.
    seed
        Seed of the sampling.
    segmenter
        Where steps end: line, separator("\\n\\n"), sentence, ...
    run
        Run file that keeps all completions, so that nothing is drawn twice; default runs/<task>-<model>-why-<hash>.db.
    output
        Also write the label record here, one JSON object, to train a verifier on.
    json
        Print one JSON object.
    """
    cut = Segmenter.from_spec(segmenter)
    method = Why(confidence, guess, delta, most, batch, tries)
    chosen = checked_task(columns.applied(task), bad_references=columns.bad_references)
    if not chosen.has_references:
        raise UsageError(f"{chosen.spec} has no references; what is wrong with an answer needs the right one")
    asked = _problem(chosen, problem)
    recorded = recorded_wrong(answer_from, chosen, asked) if answer_from is not None else None
    tokens = api.tokens(budget)
    ready = api.setup(
        models.model,
        "repeated-sampling(n=1)",
        prompt,
        fallback_prompt=chosen.default_prompt,
        options=models.options(seed),
        sampling=sampling.given(),
    )
    ready = run_sync(api.checked(ready))
    arm = Arm("why", ready.strategy, ready.style, ready.prompt_text, ready.sampling)
    header = eval_header(chosen, ready.generator, arm, seed=seed, budget=tokens)
    header |= {"kind": "why", "segmenter": cut.to_spec()}
    path = run_path(run, default_path(chosen.name, models.model, "why", header))
    with RunFile.open(path, header) as store:
        rollouts = open_rollouts(
            chosen,
            ready.generator,
            ready.style,
            ready.sampling or api.sampled(ready.generator),
            asked,
            pool=store,
            seed=seed,
            budget=tokens,
            segmenter=cut,
        )
        found = with_signals(lambda _: explain(rollouts, method, recorded))
    record = with_question(found.record, asked)
    if output is not None:
        write_labels(output, [record])
    facts = summary(rollouts, found)
    if json:
        print_json(facts | {"record": record.record(), "run": str(path)})
    else:
        show(rollouts, found)
        if output is not None:
            out.print(plain(f"labels {output}"))
    return 0


async def explain(rollouts: Rollouts, method: Why, text: str | None = None) -> Explained:
    """The fatal step of ``text``, or of the first wrong one of up to ``method.solutions`` sampled solutions."""
    if text is None:
        drawn, wrong = 0, list[str]()
        while not wrong and drawn < method.solutions and not rollouts.search.stopped:
            count = min(method.batch, method.solutions - drawn)
            wrong = await method.wrong(rollouts, count)
            drawn += count
        if not wrong:
            known = rollouts.known("")
            raise UsageError(
                f"problem {rollouts.search.problem.id}: none of {known.rollouts if known else 0} solutions is wrong "
                "(and whole); raise --tries, or name a run that has one: --answer-from RUN.db"
            )
        text = wrong[0]
    return await method.explain(rollouts, text)


def recorded_wrong(path: Path, task: Task, problem: Problem) -> str:
    """The wrong answer that a run has to this problem: the chosen one, else the first wrong one it drew."""
    with RunView(path) as view:
        found = 0
        for cell in view.cells():
            record = view.results(cell).get(problem.id)
            rows = view.tree(cell, problem.id)
            if record is None or rows is None:
                continue
            found += 1
            if record.get("hash") != problem.hash:
                raise DataError(f"{path}: problem {problem.id} is another question there than in {task.spec}")
            tree = Tree.from_record(rows)
            ended = [n for n in tree if n.kind is Kind.FINISH and n.completion.finish not in _CUT]
            for node in sorted(ended, key=lambda n: n.index != record.get("node")):
                reply = _reply(tree, node)
                answer = task.reading.extract(reply)
                if reply.strip() and not task.grade(problem, reply, answer.value if answer else None).correct:
                    return reply
    if not found:
        raise UsageError(f"{path} has no answer to problem {problem.id}; choose another run, or leave it out")
    raise UsageError(f"{path}: no whole answer to problem {problem.id} is wrong; choose another problem or run")


_CUT = (Finish.LENGTH, Finish.BUDGET)


def _reply(tree: Tree, node: Node) -> str:
    """A solution without its thought."""
    return "".join(n.completion.reply for n in tree.path(node) if n.kind in (*SOLUTION, Kind.FORCED))


def _problem(task: Task, wanted: str) -> Problem:
    known = {p.id: p for p in task.problems()}
    if wanted not in known:
        close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5) or list(known)[:3]
        raise UsageError(f"{task.spec} has no problem {wanted!r}; its ids are like {', '.join(close)}")
    return known[wanted]


def summary(rollouts: Rollouts, found: Explained) -> dict[str, Any]:
    """What was found and what it cost, as plain JSON values. Steps are counted from 0."""
    charged = rollouts.search.ledger.total_charged
    return {
        "problem": rollouts.search.problem.id,
        "fatal": found.fatal,
        "certainty": found.certainty,
        "interval": list(found.interval),
        "decided": found.decided,
        "stopped": rollouts.search.stopped,
        "values": [
            None if e is None else {"value": e.value, "interval": list(e.interval), "rollouts": e.rollouts}
            for e in found.estimates
        ],
        "rollouts": rollouts.drawn,
        "charged": {"prompt": charged.prompt, "generated": charged.generated, "total": charged.total},
    }


def show(rollouts: Rollouts, found: Explained) -> None:
    """The steps with their values, a mark at the fatal one, and the cost."""
    steps = found.record.steps
    rows = [["", "the question", *_value(found, 0), ""]]
    for i, step in enumerate(steps):
        last = i + 1 == len(steps)
        value = ("0", "", "wrong") if last else _value(found, i + 1)
        mark = "◀ fatal" if i == found.fatal else ""
        rows.append([str(i + 1), one_line(step.strip("\n"), 100), *value, mark])
    title = f"problem {rollouts.search.problem.id}: P(right) after each step"
    out.print(table(title, ["step", "", "value", "95 %", "rollouts", ""], rows, right=(0, 2, 4)))
    out.print(Text(verdict(found)))
    charged = rollouts.search.ledger.total_charged
    cost = f"{rollouts.drawn} rollouts, {number(charged.total)} charged tokens"
    stopped = f"; stopped early: the {rollouts.search.stopped} was used up" if rollouts.search.stopped else ""
    out.print(Text(printable(cost + stopped), style="dim"))


def verdict(found: Explained) -> str:
    """The finding in one sentence."""
    low, high = found.interval
    sure = f"{100 * found.certainty:.0f} % sure"
    delta = found.record.extra["fatal"]["delta"]
    if found.fatal is None:
        said = f"no step is to blame: right answers are as rare from the start (value at most {delta:g}); {sure}"
    else:
        first = "the question" if low < 0 else f"step {low + 1}"
        last = "the question" if high < 0 else f"step {high + 1}"
        span = f"; with 95 % {first} to {last}" if low < high else ""
        said = f"step {found.fatal + 1} is fatal: after it the value is at most {delta:g} and stays there; {sure}{span}"
    return said if found.decided else f"{said} (undecided: raise --most, or lower --confidence)"


def _value(found: Explained, prefix: int) -> tuple[str, str, str]:
    estimate = found.estimates[prefix]
    if estimate is None:
        return "-", "", "0"
    low, high = estimate.interval
    return f"{estimate.value:.2f}", f"{low:.2f}-{high:.2f}", str(estimate.rollouts)


__all__ = ["explain", "recorded_wrong", "show", "summary", "verdict", "why"]
