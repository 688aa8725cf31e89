"""``thence label``: step labels, by completing, by comparing, by what a task knows, or by hand; and critiques."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from thence import api, methods
from thence.annotate.active import Active, LabelsOne, Unlabelled
from thence.annotate.by_hand import Session, agreement
from thence.annotate.consensus import Consensus
from thence.annotate.critiques import CRITIC, Critiques
from thence.annotate.label import Annotator, LabelReport
from thence.annotate.label import label as run_labelling
from thence.annotate.recorded import is_run, labels_in, solutions_in
from thence.core.background import run_sync
from thence.core.completion import Think
from thence.core.errors import UsageError
from thence.core.label_files import FORMATS, read_labels, write_labels
from thence.core.labels import Labelled
from thence.core.protocols import Generator, Task
from thence.core.segmenter import Segmenter
from thence.evals.evaluate import Arm, chosen_problems, eval_header
from thence.stores.header import default_path
from thence.stores.sqlite import RunFile, RunView

from .options import ModelFlags, SamplingFlags, TaskFlags
from .outputs import spared
from .present import err, out, percent, plain, print_json, table
from .running import checked_task, run_path, with_signals


@Parameter(name="*", group="Critiques")
@dataclass(frozen=True, slots=True)
class CritiqueFlags:
    """What thence train minos learns first."""

    critiques: int | None = None
    """Also have each solution criticised, by the model itself or by --role critic=MODEL, up to so many times: until the
    critique agrees with what is known of the solution. Others are dropped and counted."""
    critiques_per: Literal["solution", "step"] = "solution"
    """A review of the whole, or one line for each step."""
    blind: Annotated[bool, Parameter(negative="")] = False
    """Do not tell the critic what is known."""

    def check(self, models: ModelFlags, *, elsewhere: bool) -> None:
        """UsageError for parts that nobody plays, and where the solutions are not sampled and labelled here."""
        if elsewhere and self.critiques is not None:
            raise UsageError("--critiques is for solutions that are labelled now; leave --by-hand and --from out")
        parts = [text.partition("=")[0] for text in models.role]
        if parts and (self.critiques is None or set(parts) != {CRITIC}):
            raise UsageError(f"--role {parts[0]}: labelling has one other part, a critic, and it needs --critiques N")

    def around(self, annotator: Annotator, name: str) -> tuple[Annotator, str]:
        """A method that also has critiques written, and what it is called."""
        if self.critiques is None:
            return annotator, name
        made = Critiques(annotator, self.critiques, self.critiques_per, not self.blind)
        return made, f"{name} critiques={self.critiques} per={self.critiques_per}{' blind' if self.blind else ''}"


def label(
    task: str | None = None,
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    method: str = "math-shepherd(n=8)",
    completer: str | None = None,
    active: str | None = None,
    pool: int = 16,
    consensus: str | None = None,
    by_hand: Annotated[bool, Parameter(negative="")] = False,
    labeler: str = "",
    source: Annotated[Path | None, Parameter(name="--from")] = None,
    format: str = "thence",
    agree: Annotated[tuple[Path, Path] | None, Parameter(name="--agreement")] = None,
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
    more: CritiqueFlags = CritiqueFlags(),
) -> int:
    """Label reasoning steps by completing them and grading the answers, or by hand. The same command resumes.

    Parameters
    ----------
    task
        A task with references: wordproblems(level=3), gsm8k(file=PATH), or your own file.
    output
        Where to write the labels, one JSON object per solution.
    method
        "math-shepherd(n=8, solutions=4)", "omegaprm(k=8, searches=10)", "exact", ...; see thence methods.
    completer
        Another model that completes the begun solutions: hf:NAME, openai:NAME@URL, ...
    active
        Label convincing wrong answers first: those that this verifier likes most (agreement, data-flow, ...).
    pool
        With --active: how many solutions per problem to choose from.
    consensus
        Keep only labels that this verifier's step scores agree with.
    by_hand
        Rate steps yourself, key by key; the file is PRM800K's format.
    labeler
        With --by-hand: who rates.
    source
        A file of labels in any format, or a run file: rate its solutions by hand, or (without --by-hand) write them in
        another format. The questions of a run are those of the task it was made with, or of TASK where you name one.
    format
        Format of the output: thence, prm800k, math-shepherd, math-aps, math-aps-tree or trl.
    agree
        Two files rated by two people: print how they agree (raw, Cohen's kappa), and nothing else.
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
    if agree is not None:
        show_agreement(*agree, json=json)
        return 0
    if output is None:
        raise UsageError("say where the labels go: -o FILE")
    spared(output, None if by_hand else source)
    if format not in FORMATS:
        raise UsageError(f"--format is {format!r}; it must be one of {', '.join(FORMATS)}")
    more.check(models, elsewhere=by_hand or source is not None)
    cut = Segmenter.from_spec(segmenter)
    if source is not None:
        applied = None if task is None else columns.applied(task)
        records = recorded(source, applied, limit, cut) if is_run(source) else read_labels(source)
        if not by_hand:
            write_labels(output, records, format)
            out.print(plain(f"{len(records)} solutions of {source} written to {output} as {format}"))
            return 0
        return rate(records, output, labeler)
    if task is None:
        raise UsageError("say what to label: a task, or --from FILE")
    chosen = checked_task(columns.applied(task), bad_references=columns.bad_references)
    if not chosen.has_references:
        raise UsageError(f"{chosen.spec} has no references; solutions are graded first, which needs the right answers")
    annotator: Annotator = Unlabelled() if by_hand else methods.annotator(method)
    name = "by-hand" if by_hand else methods.canonical(method)
    if active is not None:
        if not isinstance(annotator, LabelsOne):
            raise UsageError(f"--active chooses solutions, and {name} finds its own; use math-shepherd, mips or exact")
        annotator, name = Active(annotator, methods.verifier(active), pool), f"{name} active={active} pool={pool}"
    if consensus is not None:
        annotator, name = Consensus(annotator, methods.verifier(consensus)), f"{name} consensus={consensus}"
    annotator, name = more.around(annotator, name)
    report, records, path = _labelled(
        chosen,
        annotator,
        name,
        completer=completer,
        prompt=prompt,
        limit=limit,
        budget=budget,
        seed=seed,
        cut=cut,
        run=run,
        quiet=quiet,
        models=models,
        sampling=sampling,
    )
    if by_hand:
        return rate(records, output, labeler)
    write_labels(output, records, format)
    facts = counted(report, critiques=more.critiques is not None)
    if json:
        print_json({k.replace(" ", "_"): v for k, v in facts.items()} | {"labels": str(output), "run": str(path)})
    else:
        out.print(
            table(f"{chosen.spec}  {models.model}", [name, ""], [[k, f"{v:,}"] for k, v in facts.items()], right=[1])
        )
        out.print(plain(f"labels {output}   run {path}"))
        for problem, why in list(report.failures.items())[:3]:
            err.print(plain(f"failed {problem}: {why}", "yellow"))
    return 1 if report.failures else 0


def counted(report: LabelReport, *, critiques: bool) -> dict[str, int]:
    """What was made, for people; a warning where critiques were asked for and none could be kept."""
    facts = {
        "problems": report.problems,
        "solutions": report.solutions,
        "steps": report.steps,
        "labelled steps": report.labelled,
        "of them above 0": report.positive,
        "problems without solutions": report.empty,
    }
    if critiques:
        facts |= {"with a critique": report.criticised, "critiques dropped": report.dropped}
        if not report.criticised:
            said = (
                f"none of {report.dropped} critiques agrees with what is known of its solution: thence train minos has "
            )
            said += "nothing to learn from them; let another model write them: --role critic=MODEL"
            err.print(plain(said, "yellow"))
    return facts | {
        "rollouts": report.rollouts,
        "generated tokens": report.generated,
        "failed problems": len(report.failures),
    }


def _labelled(
    chosen: Task,
    annotator: Annotator,
    name: str,
    *,
    completer: str | None,
    prompt: str | None,
    limit: int | None,
    budget: str | None,
    seed: int,
    cut: Segmenter,
    run: Path | None,
    quiet: bool,
    models: ModelFlags,
    sampling: SamplingFlags,
) -> tuple[LabelReport, list[Labelled], Path]:
    """Run a labelling method over a task's problems; what is known of them is read from the run file."""
    tokens = api.tokens(budget)
    ready = api.setup(
        models.model,
        "repeated-sampling(n=1)",
        prompt,
        fallback_prompt=chosen.default_prompt,
        options=models.options(seed),
        sampling=sampling.given(),
    )
    if ready.sampling.think is Think.AUTO:
        raise UsageError("--think auto decides per question, which labelling does not; use on or off")
    ready = run_sync(api.checked(ready))
    other = api.load(completer, models.options(seed)) if completer is not None else None
    if other is not None:
        run_sync(api.connect(other, ready.strategy.needs))
    parts = models.roles(seed)
    for part in parts.values():
        run_sync(api.connect(part, frozenset()))
    arm = Arm(name, ready.strategy, ready.style, ready.prompt_text, ready.sampling)
    roles: dict[str, Generator] | None = parts | ({} if other is None else {"completer": other}) or None
    header = eval_header(chosen, ready.generator, arm, seed=seed, limit=limit, budget=tokens, roles=roles)
    header |= {"kind": "label", "segmenter": cut.to_spec()}
    path = run_path(run, default_path(chosen.name, models.model, name, header))
    problems = chosen_problems(chosen, limit)
    with RunFile.open(path, header) as store:
        for warning in store.warnings:
            err.print(plain(warning, "yellow"))

        def told(done: int, of: int) -> None:
            if not quiet and err.is_terminal:
                err.print(f"labelled {done}/{of} problems", end="\r")

        report, records = with_signals(
            lambda stopper: run_labelling(
                chosen,
                ready.generator,
                annotator,
                ready.style,
                ready.sampling or api.sampled(ready.generator),
                problems,
                store,
                completer=other,
                roles=parts,
                seed=seed,
                budget=tokens,
                segmenter=cut,
                stopper=stopper,
                told=told,
            )
        )
    return report, records, path


def recorded(path: Path, task: str | None, limit: int | None, cut: Segmenter) -> list[Labelled]:
    """The solutions in a run file, with their questions: of the task that is named in it, unless another one is given.

    UsageError where the run says of no task, StoreError for a database that is no run.
    """
    with RunView(path) as run:
        if run.header.get("kind") == "label":
            return labels_in(run)
        spec = task or run.header.get("task")
        if not isinstance(spec, str):
            raise UsageError(f"{path} does not say which task it solved; name it: thence label TASK --from {path}")
        chosen = checked_task(spec, bad_references=True)  # the run is made already
        return solutions_in(run, chosen, chosen_problems(chosen, limit), cut)


def rate(records: Sequence[Labelled], output: Path, labeler: str, read: Callable[[], str] | None = None) -> int:
    """A session at the keyboard; ``read`` stands in for it."""
    if not any(record.ends for record in records):
        raise UsageError("there is no solution to rate; sample some, or give a file of them: --from FILE")
    session = Session(records, output, read or read_key, lambda text: out.print(plain(text)), labeler)
    count = session.run()
    out.print(plain(f"{count} solutions rated in {output}; the same command goes on"))
    return 0


def read_key() -> str:
    """One key of the terminal, or of what is piped in (line breaks are skipped); empty at its end. Ctrl-C and Ctrl-D
    quit."""
    if not sys.stdin.isatty():
        while (char := sys.stdin.read(1)).isspace():
            pass
        return char
    import termios
    import tty

    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    try:
        tty.setcbreak(file)
        char = sys.stdin.read(1)
    except KeyboardInterrupt:
        return "q"
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
    return "q" if char == "\x04" else char


def show_agreement(one: Path, other: Path, *, json: bool) -> None:
    """How two people's ratings agree."""
    found = agreement(read_labels(one, "prm800k"), read_labels(other, "prm800k"))
    if json:
        print_json(asdict(found))
        return
    rows: list[list[Any]] = [
        ["solutions in both", str(found.solutions)],
        ["steps rated in both", str(found.steps)],
        ["equal ratings", percent(found.raw)],
        ["Cohen's kappa", "-" if found.kappa is None else f"{found.kappa:.3f}"],
        ["same first wrong step", percent(found.first_error)],
    ]
    out.print(table("", ["agreement", ""], rows, right=[1]))
