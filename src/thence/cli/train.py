"""``thence train …``: the embedded model anew, or a verifier from label files."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from thence import methods
from thence.core.card import VerifierKind
from thence.core.errors import DataError, ModelError, UsageError
from thence.core.label_files import read_labels
from thence.core.labels import Labelled
from thence.core.scores import Meaning

from .present import err, out, plain, print_json, table

if TYPE_CHECKING:
    from thence.train.config import VerifierConfig
    from thence.train.fit import FitConfig, Told
    from thence.train.verifiers import Report

train = App(
    name="train",
    help="Train a verifier from label files (thence label makes them), or the embedded model anew.",
    help_epilogue="First steps: thence label 'wordproblems(split=train)' -o labels.jsonl --limit 400, then\n"
    "thence train prm --data labels.jsonl --task 'wordproblems(split=train)', then\n"
    "thence eval wordproblems --strategy 'best-of-n(n=8, verifier=prm:out/prm)'",
)
Flag = Annotated[bool, Parameter(negative="")]


@Parameter(name="*", group="Data")
@dataclass(frozen=True, slots=True)
class DataFlags:
    """Which labels to learn from, and how their solutions are written."""

    data: Annotated[list[Path], Parameter(consume_multiple=True, negative="")]
    """Label files: what thence label writes, PRM800K, Math-Shepherd, MATH-APS or TRL stepwise."""
    task: str | None = None
    """The task that was labelled, where the files do not hold the questions: "wordproblems(split=train)"."""
    data_format: str | None = None
    """Format of the files; default: recognised by their fields."""
    prompt: Annotated[str | None, Parameter(alias="-p")] = None
    """Prompt style whose instruction stands below each question; default: the task's, else none."""
    format: str | None = None
    """How question and steps are written and read; default: plain (head: shared)."""
    dev: float = 0.15
    """Share of the questions held out to stop in time and to measure."""


@Parameter(name="*", group="Model")
@dataclass(frozen=True, slots=True)
class BaseFlags:
    """What is trained."""

    base: Annotated[str, Parameter(alias="-m")] = "acorn"
    """The trunk: acorn, or hf:NAME_OR_PATH."""
    out: Annotated[Path | None, Parameter(alias="-o")] = None
    """Directory of the verifier; default out/KIND."""
    lora: int | None = None
    """Train low-rank adapters of this rank on all linear layers (the default, with 16)."""
    full: Flag = False
    """Train all weights; the directory then holds a whole model."""
    head_only: Flag = False
    """Train a head on the frozen trunk's states, computed once."""
    device: str = "cpu"
    """cpu, cuda or mps."""
    bf16: Flag = False
    """Products in bfloat16; sums, heads and what is trained stay in float32."""
    threads: int = 1
    """Threads for the matrix products."""


@Parameter(name="*", group="Training")
@dataclass(frozen=True, slots=True)
class LoopFlags:
    """How long and how fast."""

    epochs: int | None = None
    """Most passes over the training set; it stops earlier when the dev loss rises. Default 5 (head: 100)."""
    lr: float | None = None
    """Learning rate; default 1e-3 (head 3e-3, pairs 1e-4, all weights 2e-4)."""
    batch_size: int = 32
    """Solutions (or pairs) per update."""
    patience: int | None = None
    """Stop after so many evaluations without a better dev loss; 0 never stops. Default 2 (head: 10)."""
    save_every: int = 0
    """Updates between saved states; 0: once an epoch."""
    micro_tokens: int = 8192
    """Most tokens per forward pass; a batch beyond that is cut up, with the same result."""
    pack: int = 0
    """Pack several solutions into rows of this many tokens; 0: one per row, sorted by length."""
    seed: int = 0
    """Seed of split, order and weights."""
    resume: Flag = False
    """Go on where a stopped run of the same command was."""
    json: Flag = False
    """Print one JSON object."""
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False
    """No progress."""


@dataclass(frozen=True, slots=True)
class _Flags:
    """All flags of a verifier's command."""

    data: DataFlags
    base: BaseFlags
    loop: LoopFlags


StepLoss = Literal["bce", "mse", "ce", "pqm"]


@train.command
def acorn(
    *,
    out_dir: Path = Path("out/acorn"),
    steps: int | None = None,
    device: str = "cpu",
    threads: int = 1,
    seed: int = 0,
) -> None:
    """Train the embedded model from nothing; the same command resumes after a stop.

    Parameters
    ----------
    out_dir
        Where checkpoint, log and exported model go.
    steps
        Number of training steps; default: the recipe's own.
    device
        cpu, cuda or mps.
    threads
        Threads for the matrix products.
    seed
        Seed of initial weights and data.
    """
    try:
        from thence.recipes.acorn import AcornConfig, train_acorn
    except ImportError as error:
        raise ModelError(f'training needs torch ({error}): pip install "thence[local]"') from error
    config = AcornConfig(out=out_dir, device=device, threads=threads, seed=seed)
    path = train_acorn(config if steps is None else replace(config, steps=steps))
    out.print(plain(f"exported to {path}; try it: thence eval wordproblems --model hf:{path}"))


@train.command
def prm(
    *,
    data: DataFlags,
    base: BaseFlags = BaseFlags(),
    loop: LoopFlags = LoopFlags(),
    labels: Literal["soft", "hard"] = "soft",
    loss: StepLoss = "bce",
    meaning: Literal["value", "prefix_valid", "step_correct"] = "value",
    mask_after_error: Flag = False,
) -> None:
    """A process reward model: a number at every step's end, learnt from step labels.

    Parameters
    ----------
    labels
        soft: the labels' own numbers; hard: 1 for every number above 0.
    loss
        bce, mse, ce (two classes) or pqm (ranks the steps of a solution; hard labels).
    meaning
        Which labels: value (rollouts), prefix_valid or step_correct (PRM800K, TRL).
    mask_after_error
        Learn nothing from what follows the first step with label 0.
    """
    more = {"labels": labels, "loss": loss, "meaning": Meaning(meaning), "mask_after_error": mask_after_error}
    _verifier(VerifierKind.PRM, _Flags(data, base, loop), more)


@train.command
def value(
    *,
    data: DataFlags,
    base: BaseFlags = BaseFlags(),
    loop: LoopFlags = LoopFlags(),
    labels: Literal["soft", "hard"] = "soft",
    loss: Literal["bce", "mse", "ce"] = "mse",
) -> None:
    """A value model: P(right in the end) at every step's end, the verdict itself at the last.

    Parameters
    ----------
    labels
        soft: shares of right rollouts; hard: 1 for every share above 0.
    loss
        mse, bce or ce.
    """
    _verifier(VerifierKind.VALUE, _Flags(data, base, loop), {"labels": labels, "loss": loss})


@train.command
def head(
    *,
    data: DataFlags,
    base: BaseFlags = BaseFlags(),
    loop: LoopFlags = LoopFlags(),
    labels: Literal["soft", "hard"] = "soft",
    loss: Literal["bce", "mse"] = "bce",
    hidden: int = 256,
) -> None:
    """A value head on the generator's own states, read while it generates: scoring costs no forward pass.

    Parameters
    ----------
    labels
        soft: shares of right rollouts; hard: 1 for every share above 0.
    loss
        bce or mse.
    hidden
        Width of an inner layer; 0: the head is linear.
    """
    _verifier(VerifierKind.HEAD, _Flags(data, base, loop), {"labels": labels, "loss": loss, "hidden": hidden})


@train.command
def orm(
    *,
    data: DataFlags,
    base: BaseFlags = BaseFlags(),
    loop: LoopFlags = LoopFlags(),
    loss: Literal["bce", "mse", "ce"] = "bce",
    lm_weight: float = 0.0,
    step_weight: float = 0.0,
    step_meaning: Literal["value", "prefix_valid", "step_correct"] = "prefix_valid",
) -> None:
    """An outcome reward model: the verdict learnt at every token of the solution, read at the last.

    Parameters
    ----------
    loss
        bce, mse or ce.
    lm_weight
        Weight of the language-model loss on right solutions beside it (Cobbe et al. use 1).
    step_weight
        Weight of step labels beside the verdict: a step-aware verifier (DiVeRSe uses 0.1, with labels made by
        thence label --method diverse).
    step_meaning
        Which step labels: prefix_valid (diverse), value (rollouts) or step_correct.
    """
    more: dict[str, Any] = {"loss": loss, "words_weight": lm_weight}
    more |= {"step_weight": step_weight, "step_meaning": Meaning(step_meaning)}
    _verifier(VerifierKind.ORM, _Flags(data, base, loop), more)


@train.command
def dpo_verifier(
    *,
    data: DataFlags,
    base: BaseFlags = BaseFlags(),
    loop: LoopFlags = LoopFlags(),
    beta: float = 0.1,
    pairs: int = 8,
    sft_weight: float = 0.0,
) -> None:
    """A verifier by DPO: right against wrong solutions; scores are beta (log p - log p of the trunk).

    Parameters
    ----------
    beta
        Strength of the tie to the trunk.
    pairs
        Most pairs per problem.
    sft_weight
        Weight of the chosen solution's own log-loss per token.
    """
    more = {"beta": beta, "pairs": pairs, "words_weight": sft_weight}
    _verifier(VerifierKind.DPO, _Flags(data, base, loop), more)


@train.command
def simpo_verifier(
    *,
    data: DataFlags,
    base: BaseFlags = BaseFlags(),
    loop: LoopFlags = LoopFlags(),
    beta: float = 2.0,
    gamma_ratio: float = 0.5,
    pairs: int = 8,
    sft_weight: float = 0.0,
) -> None:
    """A verifier by SimPO: right against wrong solutions by mean log p; no reference model.

    Parameters
    ----------
    beta
        Scale of the mean log-probability.
    gamma_ratio
        Margin, as a share of beta.
    pairs
        Most pairs per problem.
    sft_weight
        Weight of the chosen solution's own log-loss per token.
    """
    more = {"beta": beta, "gamma": gamma_ratio, "pairs": pairs, "words_weight": sft_weight}
    _verifier(VerifierKind.SIMPO, _Flags(data, base, loop), more)


@train.command
def genrm(
    *,
    data: DataFlags,
    base: BaseFlags = BaseFlags(),
    loop: LoopFlags = LoopFlags(),
    lm_weight: float = 0.0,
) -> None:
    """A generative verifier: the word Yes or No after the solution and the question whether it is correct.

    Parameters
    ----------
    lm_weight
        Weight of a right solution's own text beside its verdict.
    """
    _verifier(VerifierKind.GENRM, _Flags(data, base, loop), {"words_weight": lm_weight})


@train.command
def minos(
    *,
    data: DataFlags,
    base: BaseFlags = BaseFlags(),
    loop: LoopFlags = LoopFlags(),
    loss: Literal["bce", "mse", "ce"] = "bce",
) -> None:
    """Math-Minos: critiques first (thence label --critiques writes them), then a head for the verdict; one pass at use.

    Parameters
    ----------
    loss
        bce, mse or ce.
    """
    _verifier(VerifierKind.MINOS, _Flags(data, base, loop), {"loss": loss})


def _verifier(kind: VerifierKind, flags: _Flags, more: dict[str, Any]) -> None:
    """Train one, show progress, and say at the end how good it is."""
    try:
        import torch

        from thence.train.verifiers import train_verifier
    except ImportError as error:
        raise ModelError(f'training needs torch and peft ({error}): pip install "thence[local,train]"') from error
    torch.set_num_threads(flags.base.threads)
    records = _records(flags.data)
    questions, instruction = _questions(flags.data)
    config = _config(kind, flags, instruction, more)
    progress = _Progress(quiet=flags.loop.quiet)
    report = train_verifier(
        config,
        records,
        question_of=questions.get,
        source=_source(flags.data, records),
        resume=flags.loop.resume,
        told=progress,
    )
    progress.end()
    _show(kind, report, as_json=flags.loop.json)


def _records(flags: DataFlags) -> list[Labelled]:
    if not flags.data:
        raise UsageError("--data needs label files; make one: thence label TASK -o labels.jsonl")
    records = [record for path in flags.data for record in read_labels(path, flags.data_format)]
    if not records:
        raise DataError(f"no labels in {', '.join(map(str, flags.data))}; make some with thence label")
    return records


def _questions(flags: DataFlags) -> tuple[dict[str, str], str]:
    """Questions by problem id, and the instruction below them."""
    questions, prompt = {}, flags.prompt
    if flags.task is not None:
        task = methods.task(flags.task)
        questions = {problem.id: problem.text for problem in task.problems()}
        prompt = prompt or task.default_prompt
    if prompt in (None, "bare"):
        return questions, ""
    instruction = getattr(methods.prompt(prompt), "instruction", None)
    if not isinstance(instruction, str):
        raise UsageError(f"prompt {prompt} writes more than an instruction below the question; use cot, direct or bare")
    return questions, instruction


def _config(kind: VerifierKind, flags: _Flags, instruction: str, more: dict[str, Any]) -> VerifierConfig:
    from thence.train.config import VerifierConfig

    base = flags.base
    chosen = [name for name, on in (("lora", base.lora), ("full", base.full), ("head", base.head_only)) if on]
    if len(chosen) > 1:
        raise UsageError("--lora, --full and --head-only exclude each other; give one")
    if base.lora is not None and base.lora < 1:
        raise UsageError(f"--lora is {base.lora}; a rank is at least 1")
    update: Any = chosen[0] if chosen else None
    path, trunk = _base(base.base)
    return VerifierConfig(
        kind,
        path,
        base.out or Path("out") / kind,
        trunk=trunk,
        update=update,
        rank=base.lora or 16,
        format=flags.data.format or "",
        instruction=instruction,
        dev=flags.data.dev,
        device=base.device,
        bf16=base.bf16,
        pack=flags.loop.pack,
        fit=_fit(kind, flags.loop, update),
        **more,
    )


def _base(text: str) -> tuple[str, str]:
    """(where a trunk lies, what the card calls it)."""
    if text == "acorn":
        return str(methods.ACORN), "acorn"
    scheme, colon, rest = text.partition(":")
    if scheme != "hf" or not colon or not rest:
        raise UsageError(f"--base {text!r} cannot be trained; write acorn or hf:NAME_OR_PATH")
    return rest, str(Path(rest).resolve()) if Path(rest).is_dir() else rest


def _fit(kind: VerifierKind, flags: LoopFlags, update: str | None) -> FitConfig:
    from thence.train.fit import FitConfig

    rate = flags.lr
    if rate is None:
        small = {VerifierKind.DPO: 1e-4, VerifierKind.SIMPO: 1e-4, VerifierKind.HEAD: 3e-3}
        rate = small.get(kind, 2e-4 if update == "full" else 1e-3)
    frozen = update == "head" or kind is VerifierKind.HEAD  # an epoch over cached states takes no time
    return FitConfig(
        epochs=flags.epochs if flags.epochs is not None else 100 if frozen else 5,
        batch_size=flags.batch_size,
        lr=rate,
        head_lr=max(rate, 1e-3),
        patience=flags.patience if flags.patience is not None else 10 if frozen else 2,
        save_every=flags.save_every,
        micro_tokens=flags.micro_tokens,
        seed=flags.seed,
    )


def _source(flags: DataFlags, records: Sequence[Labelled]) -> str:
    """Where the labels came from, in words."""
    sources = Counter(str(label.source) for record in records for row in record.labels for label in row)
    made = ", ".join(f"{n} by {name}" for name, n in sources.most_common())
    return f"{', '.join(path.name for path in flags.data)}{f' of {flags.task}' if flags.task else ''}: {made}"


class _Progress:
    """One line that moves on a terminal, and one that stays for looks at the dev set, at most one in some seconds."""

    EVERY = 3.0

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._begun, self._shown = quiet, time.monotonic(), -math.inf

    def __call__(self, stage: str, told: Told) -> None:
        if self._quiet:
            return
        line = f"{stage}  update {told.step}/{told.steps}  loss {told.loss:.4f}"
        now = time.monotonic()
        if told.dev is not None and now - self._shown >= self.EVERY:
            self._shown = now
            err.print(plain(f"{line}  dev {told.dev:.4f}  {now - self._begun:.0f} s   "))
        elif err.is_terminal:
            err.print(plain(line), end="\r")

    def end(self) -> None:
        """After the last update."""
        if not self._quiet and err.is_terminal:
            err.print(" " * 60, end="\r")


def _show(kind: VerifierKind, report: Report, *, as_json: bool) -> None:
    fitted = report.fitted
    if as_json:
        facts = {"verifier": str(report.path), "kind": str(kind), "counts": report.counts, "dev": report.measures}
        print_json(facts | {"updates": fitted.steps, "best_update": fitted.best_step, "seconds": fitted.seconds})
        return
    rows = [[name, f"{n:,}"] for name, n in report.counts.items()]
    rows += [["updates", f"{fitted.steps:,} (best {fitted.best_step:,})"], ["seconds", f"{fitted.seconds:.0f}"]]
    rows += [[f"dev {name}", "unknown" if x is None else f"{x:.3f}"] for name, x in report.measures.items()]
    out.print(table(f"{kind} on {report.card.trained['base']}", ["", ""], rows, right=[1]))
    out.print(plain(f"verifier {report.path}   use it: --strategy 'best-of-n(n=8, verifier={kind}:{report.path})'"))
