"""What a trained verifier is worth on the dev set, read with the weights that were just trained."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from thence.core.card import VerifierKind as Kind
from thence.core.labels import Labelled
from thence.core.ranks import auroc
from thence.core.scores import Meaning, aggregate

from . import examples as ex
from .config import PAIRS, STEPS, VERDICT, VerifierConfig
from .examples import Example, Writer
from .learner import Learner, sequence_logprobs
from .measures import auroc_within, best_threshold, calibration_error, first_error_scores
from .packing import micro_batches

THRESHOLD_FROM = 500  # training solutions from which the first-error threshold is chosen


@dataclass(frozen=True, slots=True)
class DevSet:
    """Measures of a trained learner, whose examples ``writer`` writes."""

    config: VerifierConfig
    learner: Learner
    writer: Writer

    def measure(self, train: list[Labelled], dev: list[Labelled]) -> dict[str, float | None]:
        """AUROC, calibration and first-error figures on the dev set; masks that training used are off."""
        kind = self.config.kind
        if kind in STEPS:
            return self._measure_steps(train, dev)
        items = self._scored(dev)
        scores, right = [s for _, s in items], [bool(e.right) for e, _ in items]
        found = {
            "solution auroc": auroc(scores, right),
            "solution auroc within problems": auroc_within(scores, right, [e.problem for e, _ in items]),
        }
        if kind in PAIRS:
            found["pair accuracy"] = _pair_accuracy(items)
        else:
            found["calibration error"] = calibration_error(scores, [float(r) for r in right])
        if self.config.step_weight:
            steps = ex.step_aware_examples(dev, self.writer, self.config.step_meaning)
            asked = [example.of_steps() for example in steps if example.steps]
            flat = [x for each in self._numbers(asked, steps=True) for x in each]
            found["step auroc"] = auroc(flat, [e.targets[t] > 0 for e in asked for t in e.reads])
        return found

    def _scored(self, records: list[Labelled]) -> list[tuple[Example, float]]:
        """Every graded solution with its score."""
        kind, config = self.config.kind, self.config
        if kind in VERDICT:
            items = [_last_only(e) for e in ex.outcome_examples(records, self.writer)]
            return [(e, n[0]) for e, n in zip(items, self._numbers(items), strict=True)]
        if kind is Kind.GENRM:
            items = ex.verdict_examples(records, self.writer, balanced=False)
            return list(zip(items, self._yes(items), strict=True))
        items = ex.solution_examples(records, self.writer)
        own, length = self._logprobs(items)
        if kind is Kind.SIMPO:
            return [(e, x / n) for e, x, n in zip(items, own, length, strict=True)]
        with self.learner.plain():
            trunk, _ = self._logprobs(items)
        return [(e, (config.beta or 0.1) * (a - b)) for e, a, b in zip(items, own, trunk, strict=True)]

    def _measure_steps(self, train: list[Labelled], dev: list[Labelled]) -> dict[str, float | None]:
        meaning = self.config.meaning or Meaning.VALUE
        items = ex.step_examples(dev, self.writer, meaning)
        numbers = self._numbers(items)
        flat = [x for each in numbers for x in each]
        soft = [e.targets[t] for e in items for t in e.reads]
        wanted = soft if self.config.labels == "soft" else [float(y > 0) for y in soft]
        labelled = [(e, each) for e, each in zip(items, numbers, strict=True) if e.right is not None and each]
        scores = [aggregate(each, meaning) for _, each in labelled]
        right = [bool(e.right) for e, _ in labelled]
        chosen = random.Random(self.config.fit.seed).sample(train, min(len(train), THRESHOLD_FROM))
        seen = ex.step_examples(chosen, self.writer, meaning)
        threshold = best_threshold(self._numbers(seen), [_first_error(e) for e in seen])
        errors = first_error_scores(numbers, [_first_error(e) for e in items], threshold)
        return {
            "step auroc": auroc(flat, [y > 0 for y in soft]),
            "solution auroc": auroc(scores, right),
            "solution auroc within problems": auroc_within(scores, right, [e.problem for e, _ in labelled]),
            "calibration error": None if self.config.loss == "pqm" else calibration_error(flat, wanted),
            "first error found": errors["wrong"],
            "clean left alone": errors["clean"],
            "first error F1": errors["f1"],
            "first error threshold": threshold,
        }

    @torch.no_grad()
    def _numbers(self, items: Sequence[Example], *, steps: bool = False) -> list[tuple[float, ...]]:
        """The trained verifier's numbers in [0, 1] where they are asked for; ``steps``: by the head for steps."""
        self.learner.eval()
        made: dict[int, tuple[float, ...]] = {}
        for part in self._parts(items):
            logits = self.learner.numbers([items[i] for i in part], steps=steps)
            values = logits.softmax(-1)[:, 1] if logits.shape[1] == 2 else logits[:, 0].sigmoid()
            for i, piece in zip(part, torch.split(values, [len(items[i].reads) for i in part]), strict=True):
                made[i] = tuple(piece.tolist())
        return [made[i] for i in range(len(items))]

    @torch.no_grad()
    def _logprobs(self, items: Sequence[Example]) -> tuple[list[float], list[float]]:
        self.learner.eval()
        made: dict[int, tuple[float, float]] = {}
        for part in self._parts(items):
            sums, counts = sequence_logprobs(self.learner, [items[i] for i in part])
            made |= {i: (a, b) for i, a, b in zip(part, sums.tolist(), counts.tolist(), strict=True)}
        return [made[i][0] for i in range(len(items))], [made[i][1] for i in range(len(items))]

    @torch.no_grad()
    def _yes(self, items: Sequence[Example]) -> list[float]:
        """p(Yes) / (p(Yes) + p(No)) at the verdict."""
        self.learner.eval()
        yes, no = self.writer.fmt.candidates(self.writer.tokenizer, self.config.base)
        made: dict[int, float] = {}
        for part in self._parts(items):
            flat, starts = self.learner.states([items[i].ids for i in part])
            at = torch.tensor([s + len(items[i].ids) - 2 for i, s in zip(part, starts, strict=True)])
            logits: Tensor = self.learner.causal.get_output_embeddings()(flat[at.to(flat.device)]).float()
            made |= dict(zip(part, (logits[:, yes] - logits[:, no]).sigmoid().tolist(), strict=True))
        return [made[i] for i in range(len(items))]

    def _parts(self, items: Sequence[Example]) -> list[list[int]]:
        lengths = [len(e.ids) for e in items]
        return list(micro_batches(range(len(items)), lengths, self.config.fit.micro_tokens))


def _last_only(example: Example) -> Example:
    """Only the number at the last token is read."""
    weights = (*(0.0,) * (len(example.ids) - 1), 1.0)
    return replace(example, weights=weights)


def _first_error(example: Example) -> int | None:
    """Index among the labelled steps of the first whose label is 0."""
    return next((i for i, t in enumerate(example.reads) if example.targets[t] <= 0), None)


def _pair_accuracy(items: Sequence[tuple[Example, float]]) -> float | None:
    """Over all pairs of a right and a wrong solution of one problem, the share in which the right one scores higher."""
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for example, score in items:
        groups.setdefault(example.problem, ([], []))[not example.right].append(score)
    wins = [(a > b) + 0.5 * (a == b) for good, bad in groups.values() for a in good for b in bad]
    return math.fsum(wins) / len(wins) if wins else None
