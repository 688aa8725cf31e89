"""From label files to a verifier directory: ``train_verifier`` is the whole road, one kind of verifier each.

| kind | learns | reads |
|---|---|---|
| prm | step labels (Lightman et al. 2023, arXiv:2305.20050; Math-Shepherd, arXiv:2312.08935) | each step's end |
| value | the same by regression, the verdict at the end (OVM, arXiv:2311.09724) | each step's end |
| orm | the verdict, at every token (Cobbe et al. 2021, arXiv:2110.14168) | the last token |
| orm with a step weight | step labels beside it (DiVeRSe, Li et al. 2022, arXiv:2206.02336) | the last token |
| head | values from the frozen trunk's own states | where the generator draws a step's last token |
| dpo | pairs, against the trunk (arXiv:2305.18290; as a verifier V-STaR, arXiv:2402.06457) | log p of the text |
| simpo | pairs by mean log p (arXiv:2405.14734; as a verifier Math-Rev, arXiv:2410.05318) | mean log p |
| genrm | the token Yes or No after a question (arXiv:2408.15240) | p(Yes) |
| minos | critiques, then the verdict by a head (arXiv:2406.14024) | the last token |
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from thence.core.card import CARD, HEAD, HERE, VerifierCard
from thence.core.errors import DataError, UsageError
from thence.core.labels import Labelled
from thence.core.scores import EXACT, Meaning
from thence.core.seeds import digest
from thence.nets.checkpoint import weights_hash
from thence.nets.heads import head_tensors
from thence.verifiers.formats import Read, row

from . import examples as ex
from .config import PAIRS, STEPS, VERDICT, Kind, VerifierConfig
from .dev import DevSet
from .examples import Example, Writer
from .fit import Fitted, Told, fit
from .learner import (
    Contrast,
    Learner,
    PairObjective,
    Setup,
    TokenObjective,
    cached,
    load_learner,
    with_reference,
)


@dataclass(slots=True)
class Report:
    """What ``train_verifier`` made. ``measures`` are of the dev set; ``counts`` say what was used and left out."""

    path: Path
    card: VerifierCard
    fitted: Fitted
    counts: dict[str, int]
    measures: dict[str, float | None]


def train_verifier(
    config: VerifierConfig,
    records: Sequence[Labelled],
    *,
    question_of: ex.QuestionOf | None = None,
    source: str = "",
    resume: bool = False,
    told: Callable[[str, Told], None] | None = None,
) -> Report:
    """Train a verifier on label records and write its directory.

    ``source`` says in words where the labels came from. ``told(stage, progress)`` is called after each update. A
    stopped run goes on with ``resume``. Errors: `DataError` for records that cannot teach this kind, `UsageError` for
    settings that do not go together, `ModelError` for a base that cannot be loaded.
    """
    config = config.resolved()
    _check_out(config)
    identity = _identity(config, records, question_of)
    if resume and (config.out / CARD).is_file():
        return _finished(config, identity)
    fmt, steps = row(config.format), config.kind in STEPS
    headed = steps or config.kind in VERDICT
    classes = 0 if not headed or fmt.read is not Read.HEAD else 2 if config.loss == "ce" else 1
    setup = Setup(
        config.update or "lora",
        config.rank,
        classes,
        config.hidden or 0,
        config.device,
        config.bf16,
        config.pack,
        config.fit.seed,
        steps=config.step_weight > 0,
    )
    learner, tokenizer = load_learner(config.base, setup)
    fmt.check_tag(tokenizer, config.base)
    if headed and fmt.read is Read.TOKENS:
        good, bad = fmt.candidates(tokenizer, config.base)
        learner.head = Contrast(learner.causal.get_output_embeddings(), good, bad)
    context = int(getattr(learner.causal.config, "max_position_embeddings", 1 << 30))
    writer = Writer(fmt, tokenizer, config.instruction, context, question_of)
    if steps:
        records = [each for record in records for each in ex.with_alternatives(record)]
    unique = ex.distinct(records, writer)
    train, dev = ex.split(unique, writer, config.dev, config.fit.seed)
    if not train or not dev:
        raise DataError(
            f"{len(unique)} solutions of too few questions: {len(train)} are left for training and {len(dev)} for the "
            "dev set; label more problems"
        )
    run = _Run(config, learner, writer, resume, told, identity)
    fitted, counts = run.train(train, dev)
    counts |= {"training solutions": len(train), "dev solutions": len(dev)}
    counts |= {f"left out: {name}": n for name, n in sorted(writer.counts.items()) if n}
    measures = DevSet(config, learner, writer).measure(train, dev) | {"loss": fitted.best_loss}
    report = Report(config.out, _card(config, source, identity), fitted, counts, measures)
    report.card = _write(config, learner, tokenizer, report)
    return report


def _identity(config: VerifierConfig, records: Sequence[Labelled], question_of: ex.QuestionOf | None) -> str:
    """What a resumed run must have in common with the one that was stopped; where it lies is not part of it."""
    h = hashlib.blake2b(digest_size=16)
    for record in records:
        asked = None if question_of is None else question_of(record.problem)
        h.update(repr((record.record(), asked)).encode())
    apart = {"out", "base", "device"} | (set() if config.step_weight else {"step_weight", "step_meaning"})
    plain = {k: v for k, v in asdict(config).items() if k not in apart}  # without it a run is what it always was
    return digest(plain, h.hexdigest(), weights_hash(config.base))


def _check_out(config: VerifierConfig) -> None:
    """UsageError if writing there would destroy a model that is no verifier of ours, or the trunk itself."""
    out = config.out
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; --out is a directory")
    if Path(config.base).is_dir() and out.resolve() == Path(config.base).resolve():
        raise UsageError(f"{out} is the trunk itself; give another --out")
    if not (out / CARD).is_file() and list(out.glob("*.safetensors")):
        raise UsageError(f"{out} holds weights and no {CARD}: they are of something else; give another --out")


def _finished(config: VerifierConfig, identity: str) -> Report:
    """The report of a run that was already at its end."""
    card = VerifierCard.read(config.out)
    made = card.trained
    if made.get("run") != identity:
        raise DataError(f"{config.out} was made by a run with other data or settings; give another --out")
    fitted = Fitted(
        made["updates"], made["best update"], made["dev"]["loss"], seconds=made["seconds"], tokens=made["tokens"]
    )
    return Report(config.out, card, fitted, dict(made["counts"]), dict(made["dev"]))


@dataclass(slots=True)
class _Run:
    """One training: what the kinds have in common."""

    config: VerifierConfig
    learner: Learner
    writer: Writer
    resume: bool
    told: Callable[[str, Told], None] | None
    identity: str

    def train(self, train: list[Labelled], dev: list[Labelled]) -> tuple[Fitted, dict[str, int]]:
        """All stages; returns the last one's result and the numbers of examples."""
        kind, config = self.config.kind, self.config
        if kind in PAIRS:
            return self._pairs(train, dev)
        if kind is Kind.GENRM:
            first = ex.verdict_examples(train, self.writer, generation=config.words_weight)
            other = ex.verdict_examples(dev, self.writer)
            ex.check_classes({float(bool(e.right)) for e in first})
            objective = TokenObjective(self.learner, words_weight=1.0)
            return self._fit("verdicts", objective, first, other), {"examples": len(first)}
        critiques = 0
        if kind is Kind.MINOS:
            texts = [ex.critique_examples(part, self.writer) for part in (train, dev)]
            objective = TokenObjective(self.learner, words_weight=1.0)
            self._fit("critiques", objective, *texts)
            critiques = len(texts[0])
        build = self._step_examples if kind in STEPS else self._outcome_examples
        first, other = build(train, self.writer), build(dev, self.writer)
        ex.check_classes({e.targets[t] for e in first for t in e.reads})
        objective = TokenObjective(
            self.learner, config.loss or "bce", words_weight=config.words_weight, step_weight=config.step_weight
        )
        numbers = sum(len(e.reads) for e in first)
        if config.update == "head":
            self.learner.eval()
            states = [cached(self.learner, part, config.fit.micro_tokens) for part in (first, other)]
            fitted = self._fit("head", objective, *states)
        else:
            fitted = self._fit("labels", objective, first, other)
        counts = {"examples": len(first), "labels": numbers} | ({"critiques": critiques} if critiques else {})
        if config.step_weight:
            counts["step labels"] = sum(len(e.steps) for e in first)
        return fitted, counts

    def _outcome_examples(self, records: Sequence[Labelled], writer: Writer) -> list[Example]:
        if self.config.step_weight:
            return ex.step_aware_examples(records, writer, self.config.step_meaning)
        return ex.outcome_examples(records, writer)

    def _step_examples(self, records: Sequence[Labelled], writer: Writer) -> list[Example]:
        config = self.config
        return ex.step_examples(
            records,
            writer,
            config.meaning or Meaning.VALUE,
            hard=config.labels == "hard",
            mask_after_error=config.mask_after_error,
        )

    def _pairs(self, train: list[Labelled], dev: list[Labelled]) -> tuple[Fitted, dict[str, int]]:
        config = self.config
        both = [ex.pair_examples(p, self.writer, cap=config.pairs, seed=config.fit.seed) for p in (train, dev)]
        if config.kind is Kind.DPO:
            both = [with_reference(self.learner, pairs, config.fit.micro_tokens) for pairs in both]
        beta = config.beta or 0.1
        more = {"beta": beta, "words_weight": config.words_weight}
        if config.kind is Kind.DPO:
            objective = PairObjective(self.learner, "dpo", **more)
        else:
            objective = PairObjective(self.learner, "simpo", gamma=config.gamma * beta, **more)
        return self._fit("pairs", objective, *both), {"pairs": len(both[0]), "dev pairs": len(both[1])}

    def _fit(self, stage: str, objective: Any, train: Sequence[Any], dev: Sequence[Any]) -> Fitted:
        told = self.told
        return fit(
            self.learner,
            objective,
            train,
            dev,
            self.config.fit,
            folder=self.config.out / "state" / stage,
            identity=f"{self.identity} {stage}",
            resume=self.resume,
            told=None if told is None else lambda progress: told(stage, progress),
        )


def _card(config: VerifierConfig, source: str, identity: str) -> VerifierCard:
    """The card before anything is measured."""
    meaning, here = config.meaning or Meaning.OUTCOME, config.update == "full"
    apart = ("kind", "base", "out", "trunk", "format", "instruction", "meaning", "fit", "device")
    settings = {k: v for k, v in asdict(config).items() if k not in apart} | asdict(config.fit)
    return VerifierCard(
        config.kind,
        meaning,
        config.format,
        HERE if here else config.trunk,
        "" if here else weights_hash(config.base),
        EXACT.get(meaning),
        config.instruction,
        config.beta or 1.0,
        source,
        {"base": config.trunk, "run": identity, "settings": settings, "torch": torch.__version__},
    )


def _write(config: VerifierConfig, learner: Learner, tokenizer: Any, report: Report) -> VerifierCard:
    """Adapter, whole model or neither; a head if there is one; last the card, without which the rest is no verifier.

    What an earlier run left there goes first, and the state of this one at the end.
    """
    out, fitted = config.out, report.fitted
    out.mkdir(parents=True, exist_ok=True)
    (out / CARD).unlink(missing_ok=True)
    for old in (*out.glob("*.safetensors"), *out.glob("*.json")):
        old.unlink()
    if config.update == "lora":
        learner.adapted.peft_config["default"].base_model_name_or_path = config.trunk
        learner.adapted.save_pretrained(out, save_embedding_layers=False)
        (out / "README.md").unlink(missing_ok=True)  # peft's own, with nothing but empty fields
    elif config.update == "full":
        learner.causal.save_pretrained(out)
        tokenizer.save_pretrained(out)
    if learner.head is not None and not isinstance(learner.head, Contrast):
        save_file(head_tensors(learner.head), out / HEAD)
    for file in out.glob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes files that only their owner can read
    found = {
        "counts": report.counts,
        "updates": fitted.steps,
        "best update": fitted.best_step,
        "tokens": fitted.tokens,
        "seconds": round(fitted.seconds, 1),
        "dev": {name: None if x is None else round(x, 4) for name, x in report.measures.items()},
    }
    card = report.card
    hashed = weights_hash(out) if config.update == "full" else card.trunk_hash
    card = replace(card, trunk_hash=hashed, trained={**card.trained, **found})
    card.write(out)
    shutil.rmtree(out / "state", ignore_errors=True)
    return card
