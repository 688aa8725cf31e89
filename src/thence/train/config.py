"""What a verifier's training is given: its kind, its trunk, its labels, its loss; and what goes together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from thence.core.card import VerifierKind
from thence.core.errors import UsageError, check_counts, check_shares
from thence.core.scores import Meaning
from thence.verifiers.formats import Read, row

from .fit import FitConfig
from .learner import NumberLoss, Update

Kind = VerifierKind
STEPS = (Kind.PRM, Kind.VALUE, Kind.HEAD)  # a number per step
VERDICT = (Kind.ORM, Kind.MINOS)  # a number per solution
PAIRS = (Kind.DPO, Kind.SIMPO)
FORMAT = {Kind.HEAD: "shared", Kind.GENRM: "genrm", Kind.DPO: "reply", Kind.SIMPO: "reply"}  # others: plain


@dataclass(frozen=True, slots=True)
class VerifierConfig:
    """What to train and how. Empty fields have the kind's own default (``resolved``).

    ``base`` is a model directory or hub name, ``trunk`` what the card calls it. ``labels``: "hard" is 1 for every
    number above 0. ``hidden`` is the width of the head's inner layer (0: it is linear), ``words_weight`` the weight of
    the language-model loss beside the verifier's, ``dev`` the share of questions held out. An orm with a
    ``step_weight`` (DiVeRSe's alpha) also learns step labels of ``step_meaning``, by a head that is not kept.
    """

    kind: VerifierKind
    base: str
    out: Path
    trunk: str = ""
    update: Update | None = None
    rank: int = 16
    format: str = ""
    instruction: str = ""
    meaning: Meaning | None = None
    labels: Literal["soft", "hard"] = "soft"
    loss: NumberLoss | None = None
    mask_after_error: bool = False
    hidden: int | None = None
    words_weight: float = 0.0
    step_weight: float = 0.0
    step_meaning: Meaning = Meaning.PREFIX_VALID
    beta: float | None = None
    gamma: float = 0.5
    pairs: int = 8
    dev: float = 0.15
    device: str = "cpu"
    bf16: bool = False
    pack: int = 0
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        check_counts(str(self.kind), rank=self.rank, pairs=self.pairs)
        check_shares(str(self.kind), dev=self.dev)
        if not 0 < self.dev < 1:
            raise UsageError(f"{self.kind}: dev is {self.dev}; hold out a share of questions between 0 and 1")
        if (self.hidden or 0) < 0:
            raise UsageError(f"{self.kind}: the head's inner layer has a width of {self.hidden}; 0 is none")
        if not self.words_weight >= 0:
            raise UsageError(f"{self.kind}: the weight of the language-model loss is {self.words_weight}; 0 or more")
        if not 0 <= self.step_weight < math.inf:
            raise UsageError(f"{self.kind}: the weight of the step labels is {self.step_weight}; it is 0 or more")

    def resolved(self) -> VerifierConfig:
        """With every default filled in; UsageError for what does not go together."""
        kind = self.kind
        update = self.update or ("head" if kind is Kind.HEAD else "lora")
        loss = self.loss or ("mse" if kind is Kind.VALUE else "bce")
        labels = "hard" if loss == "pqm" else self.labels
        meaning = (self.meaning or Meaning.VALUE) if kind in STEPS else Meaning.OUTCOME
        made = replace(
            self,
            trunk=self.trunk or self.base,
            update=update,
            loss=loss,
            labels=labels,
            meaning=meaning,
            hidden=self.hidden if self.hidden is not None else 256 if kind is Kind.HEAD else 0,
            format=self.format or FORMAT.get(kind, "plain"),
            beta=self.beta if self.beta is not None else {Kind.SIMPO: 2.0, Kind.DPO: 0.1}.get(kind, 1.0),
        )
        made._check()
        return made

    def _check(self) -> None:
        kind, fmt = self.kind, row(self.format)
        if kind is Kind.HEAD and (self.update != "head" or not fmt.early):
            raise UsageError(
                "head: a shared head sits on the generator's own states, so its trunk stays as it is (no --lora, no "
                "--full) and its format is shared; to change the trunk train a value"
            )
        if kind in (*PAIRS, Kind.GENRM) and self.update == "head":
            raise UsageError(f"{kind} changes the model's own probabilities; it has no head to train alone")
        if kind is Kind.MINOS and self.update == "head":
            raise UsageError("minos first learns critiques as text, so its trunk must change; use --lora or --full")
        if kind is Kind.DPO and self.update == "full":
            raise UsageError("dpo compares the trained model with its trunk, so both are needed; use --lora")
        fits = {Kind.GENRM: fmt.read is Read.TOKENS and fmt.meaning is Meaning.OUTCOME}
        fits |= dict.fromkeys(PAIRS, fmt.read is Read.LOGPROBS)
        fits |= dict.fromkeys(VERDICT, fmt.read is Read.HEAD and not fmt.early)
        if not fits.get(kind, fmt.meaning is not Meaning.OUTCOME):
            raise UsageError(f"{kind} cannot read as format {fmt.name} does; use {FORMAT.get(kind, 'plain')}")
        if kind in STEPS and fmt.read is Read.TOKENS and (self.update == "head" or self.loss == "ce"):
            raise UsageError(f"format {fmt.name} reads the model's own words; train it by --lora with bce, mse or pqm")
        if self.update == "head" and self.words_weight:
            raise UsageError("a language-model loss has nothing to change in a frozen trunk; leave --lm-weight at 0")
        if self.step_weight and kind is not Kind.ORM:
            raise UsageError(f"{kind} has no verdict to which step labels are added; give a step weight to an orm")
        if self.step_weight and self.update == "head":
            raise UsageError("step labels teach an orm's trunk, which is frozen here; use --lora or --full with them")
        if self.loss == "pqm" and kind not in STEPS:
            raise UsageError(f"{kind}: pqm ranks the steps of a solution; use bce")
