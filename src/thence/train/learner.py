"""The model that is trained: a trunk, perhaps with low-rank adapters, perhaps with a head; and what is asked of it.

Covered: decoders whose logits are their output matrix times the final states (the families of the local engine).
Reductions and heads are float32 whatever the trunk's number format is.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thence.core.errors import ModelError, UsageError
from thence.nets.checkpoint import resolve
from thence.nets.heads import make_head

from . import losses
from .examples import Example, Pair
from .packing import micro_batches, rows

Update = Literal["lora", "full", "head"]  # what is trained: adapters, everything, or only a head on frozen states
T = TypeVar("T", contravariant=True)


@dataclass(frozen=True, slots=True)
class Cached:
    """An example with the frozen trunk's states where a number is read, [reads, width]."""

    example: Example
    states: Tensor


Item = Example | Cached


class Contrast(nn.Module):
    """The head of formats that compare two of the model's own tokens: logit(good) - logit(bad)."""

    def __init__(self, output: nn.Module, good: int, bad: int) -> None:
        super().__init__()
        self._output = [output]  # in a list: its weights belong to the trunk
        self.good, self.bad = good, bad

    def forward(self, states: Tensor) -> Tensor:
        weight: Any = self._output[0].weight
        made: Tensor = states @ (weight[self.good] - weight[self.bad]).float()[:, None]
        return made


class Learner(nn.Module):
    """``causal`` is a transformers causal language model; ``head`` maps states [n, width] to [n, classes].

    ``step_head`` does the same for single steps, where a verdict is learnt beside them.
    """

    def __init__(
        self,
        causal: Any,
        head: nn.Module | None = None,
        *,
        step_head: nn.Module | None = None,
        adapted: Any = None,
        low: bool = False,
        width: int = 0,
    ) -> None:
        super().__init__()
        self.causal, self.head, self.step_head = causal, head, step_head
        self._adapted = [adapted]  # peft's wrapper of the same modules
        self.low, self.width = low, width
        if adapted is None and not any(p.requires_grad for p in causal.parameters()):
            causal.eval()

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.causal.parameters()).device
        return device

    @property
    def adapted(self) -> Any:
        """peft's wrapper, or None."""
        return self._adapted[0]

    def plain(self) -> AbstractContextManager[Any]:
        """Inside, the trunk is as it was before training: its adapters are off."""
        return self.adapted.disable_adapter() if self.adapted is not None else nullcontext()

    @contextmanager
    def _precision(self) -> Iterator[None]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low):
            yield

    def states(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, tuple[int, ...]]:
        """Final states, flattened [tokens, width], and the index of each sequence's first token."""
        batch = rows(sequences, self.device, self.width)
        with self._precision():
            output = self.causal.base_model(
                input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask, use_cache=False
            )
        hidden: Tensor = output.last_hidden_state
        return hidden.flatten(0, 1), batch.starts

    def numbers(self, items: Sequence[Item], *, steps: bool = False) -> Tensor:
        """The head's output (or that of the head for steps) [reads of all items, classes] in float32."""
        head = self.step_head if steps else self.head
        if head is None:
            raise ModelError("this model has no head to read numbers with")
        if isinstance(items[0], Cached):
            found = torch.cat([item.states for item in items if isinstance(item, Cached)]).to(self.device)
        else:
            found = self.read(self.states([_example(item).ids for item in items]), items)
        made: Tensor = head(found.float())
        return made

    @staticmethod
    def read(states: tuple[Tensor, tuple[int, ...]], items: Sequence[Item]) -> Tensor:
        """The states at which the items' numbers are read."""
        flat, starts = states
        at = [start + t for item, start in zip(items, starts, strict=True) for t in _example(item).reads]
        return flat[torch.tensor(at, device=flat.device)]

    def logprobs(self, states: tuple[Tensor, tuple[int, ...]], items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """log p of every token that has a weight in ``words``, and these weights; both [tokens], items in order."""
        flat, starts = states
        asked = [
            (start + t - 1, _example(item).ids[t], w)
            for item, start in zip(items, starts, strict=True)
            for t, w in enumerate(_example(item).words)
            if w > 0
        ]
        at, ids, weights = zip(*asked, strict=True)
        with self._precision():
            logits = self.causal.get_output_embeddings()(flat[torch.tensor(at, device=flat.device)])
        chosen = torch.tensor(ids, device=flat.device)
        return -F.cross_entropy(logits.float(), chosen, reduction="none"), torch.tensor(weights, device=flat.device)


def _example(item: Item) -> Example:
    return item.example if isinstance(item, Cached) else item


# ---------------------------------------------------------------------------------------------------------- objectives


class Objective(Protocol[T]):
    """What is minimised: the sum over parts of (sum over the batch) / (total over the batch).

    Totals are counted before any forward pass, so a batch cut into micro-batches has the same loss and gradient.
    """

    def cost(self, item: T) -> int:
        """Tokens of an item."""
        ...

    def totals(self, items: Sequence[T]) -> tuple[float, ...]:
        """What each part's sum is divided by; 0 if nothing of that part is in the batch."""
        ...

    def sums(self, items: Sequence[T]) -> tuple[Tensor, ...]:
        """Each part's sum over the items, with its coefficient."""
        ...


NumberLoss = Literal["bce", "mse", "ce", "pqm"]


@dataclass(frozen=True)
class TokenObjective:
    """Numbers read from states, by ``loss``, plus ``words_weight`` times the log-loss of the tokens in ``words``.

    bce, mse and ce are means over the numbers (by weight), pqm a mean over solutions. ``step_weight`` (alpha) adds the
    steps, by the same loss from a head of their own: for solutions i of weight w_i that are read at T_i tokens each,

        sum_i w_i [mean_t loss(p_it, y_i) + alpha sum_k loss(q_ik, s_ik)] / sum_i w_i,

    so that steps are summed within a solution, as in DiVeRSe (Li et al. 2022, arXiv:2206.02336), and not averaged.
    """

    learner: Learner
    loss: NumberLoss = "bce"
    margin: float = 2.0
    words_weight: float = 0.0
    step_weight: float = 0.0

    def cost(self, item: Item) -> int:
        """Tokens; for cached states their number."""
        return len(item.states) if isinstance(item, Cached) else len(item.ids)

    def totals(self, items: Sequence[Item]) -> tuple[float, ...]:
        """(weight of all numbers, or solutions for pqm; weight of all words)."""
        examples = [_example(item) for item in items]
        if self.loss == "pqm":
            numbers = float(sum(bool(e.reads) for e in examples))
        else:
            numbers = math.fsum(w for e in examples for w in e.weights)
        return numbers, math.fsum(w for e in examples for w in e.words) if self.words_weight else 0.0

    def sums(self, items: Sequence[Item]) -> tuple[Tensor, ...]:
        """Both sums from one forward pass."""
        learner = self.learner
        zero = torch.zeros((), device=learner.device)
        if isinstance(items[0], Cached):
            return self._numbers(items, learner.numbers(items)), zero
        states = learner.states([_example(item).ids for item in items])
        numbers, words = zero, zero
        if learner.head is not None and any(_example(item).reads for item in items):
            numbers = self._numbers(items, learner.head(learner.read(states, items).float()))
        if self.step_weight and learner.step_head is not None and any(_example(item).steps for item in items):
            asked = [_example(item).of_steps() for item in items]
            steps = self._numbers(asked, learner.step_head(learner.read(states, asked).float()))
            numbers = numbers + self.step_weight * steps
        if self.words_weight and any(w > 0 for item in items for w in _example(item).words):
            logp, weights = learner.logprobs(states, items)
            words = -self.words_weight * (logp * weights).sum()
        return numbers, words

    def _numbers(self, items: Sequence[Item], logits: Tensor) -> Tensor:
        wanted = [[(_example(i).targets[t], _example(i).weights[t]) for t in _example(i).reads] for i in items]
        flat = torch.tensor([pair for each in wanted for pair in each], device=logits.device)
        targets, weights = flat[:, 0], flat[:, 1]
        match self.loss:
            case "ce":
                return (losses.ce(logits, targets) * weights).sum()
            case "bce":
                return (losses.bce(logits[:, 0], targets) * weights).sum()
            case "mse":
                return (losses.mse(logits[:, 0], targets) * weights).sum()
            case "pqm":
                sizes = [len(each) for each in wanted]
                parts = zip(torch.split(logits[:, 0], sizes), torch.split(targets, sizes), strict=True)
                return torch.stack([losses.pqm(q, y, self.margin) for q, y in parts if len(q)]).sum()


PairLoss = Literal["bt", "dpo", "ipo", "simpo", "sigmoid-norm", "orpo"]


@dataclass(frozen=True)
class PairObjective:
    """Losses of pairs, a mean over them. ``bt`` compares the head's numbers at the last token, the others log-probs.

    ``words_weight`` adds the log-loss of the chosen solution, per token (SimPO's and DPO's optional SFT term).
    """

    learner: Learner
    loss: PairLoss = "dpo"
    beta: float = 0.1
    gamma: float = 0.0
    smoothing: float = 0.0
    words_weight: float = 0.0

    def cost(self, item: Pair) -> int:
        """Tokens of the longer one, twice."""
        return 2 * max(len(item.chosen.ids), len(item.rejected.ids))

    def totals(self, items: Sequence[Pair]) -> tuple[float, ...]:
        """The number of pairs."""
        return (float(len(items)),)

    def sums(self, items: Sequence[Pair]) -> tuple[Tensor, ...]:
        """The sum of the pairs' losses."""
        if self.loss == "bt":
            return (losses.bt(*self._last(items)).sum(),)
        sums, counts = sequence_logprobs(self.learner, [e for p in items for e in (p.chosen, p.rejected)])
        w, x, nw, nx = sums[::2], sums[1::2], counts[::2], counts[1::2]
        reference = torch.tensor([p.reference for p in items], device=sums.device)
        rw, rx = reference[:, 0], reference[:, 1]
        match self.loss:
            case "dpo":
                each = losses.dpo((w - rw) - (x - rx), self.beta, self.smoothing)
            case "sigmoid-norm":
                each = losses.dpo((w - rw) / nw - (x - rx) / nx, self.beta, self.smoothing)
            case "ipo":
                each = losses.ipo((w - rw) / nw - (x - rx) / nx, self.beta)
            case "simpo":
                each = losses.simpo(w / nw, x / nx, self.beta, self.gamma, self.smoothing)
            case "orpo":
                each = losses.orpo(w / nw, x / nx, self.beta)
        return ((each - self.words_weight * w / nw).sum(),)

    def _last(self, items: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        learner = self.learner
        if learner.head is None:
            raise UsageError("bt compares numbers of a head, and this model has none; use dpo or simpo")
        both = [e for p in items for e in (p.chosen, p.rejected)]
        flat, starts = learner.states([e.ids for e in both])
        ends = [start + len(e.ids) - 1 for start, e in zip(starts, both, strict=True)]
        scores = learner.head(flat[torch.tensor(ends, device=flat.device)].float())[:, 0]
        return scores[::2], scores[1::2]


def sequence_logprobs(learner: Learner, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """(sum of log p over each example's own tokens, their number), both [examples]. UsageError for one without any."""
    if not all(any(e.words) for e in examples):
        raise UsageError("a solution of a pair has no tokens of its own, so it has no log-probability")
    logp, weights = learner.logprobs(learner.states([e.ids for e in examples]), examples)
    sizes = [sum(w > 0 for w in e.words) for e in examples]
    sums = torch.stack([part.sum() for part in torch.split(logp * weights, sizes)])
    return sums, torch.tensor(sizes, device=sums.device, dtype=torch.float32)


@torch.no_grad()
def with_reference(learner: Learner, pairs: Sequence[Pair], budget: int) -> list[Pair]:
    """The pairs with the log-probs of the trunk as it is without its adapters; computed once, without gradient."""
    examples = list({id(e): e for p in pairs for e in (p.chosen, p.rejected)}.values())
    found: dict[int, float] = {}
    with learner.plain():
        for part in micro_batches(range(len(examples)), [len(e.ids) for e in examples], budget):
            sums, _ = sequence_logprobs(learner, [examples[i] for i in part])
            found |= {id(examples[i]): value for i, value in zip(part, sums.tolist(), strict=True)}
    return [Pair(p.chosen, p.rejected, (found[id(p.chosen)], found[id(p.rejected)])) for p in pairs]


@torch.no_grad()
def cached(learner: Learner, examples: Sequence[Example], budget: int) -> list[Cached]:
    """The examples with the trunk's states, which do not change while only a head is trained."""
    made: list[Cached | None] = [None] * len(examples)
    for part in micro_batches(range(len(examples)), [len(e.ids) for e in examples], budget):
        chosen = [examples[i] for i in part]
        states = learner.read(learner.states([e.ids for e in chosen]), chosen).float().cpu()
        pieces = torch.split(states, [len(e.reads) for e in chosen])
        for i, piece in zip(part, pieces, strict=True):
            made[i] = Cached(examples[i], piece.clone())
    return [item for item in made if item is not None]


# -------------------------------------------------------------------------------------------------------------- loading


@dataclass(frozen=True, slots=True)
class Setup:
    """What is trained of a checkpoint. ``update`` "lora" puts adapters of ``rank`` on all linear layers but the output,
    "head" freezes the trunk. ``classes`` 0 is no head, ``hidden`` the width of its
    inner layer (0: it is linear). ``low``: bfloat16 products, and frozen weights in bfloat16.
    ``width`` packs examples into rows of so many tokens (0: one per row). ``steps`` adds a second head like the first.
    """

    update: Update = "lora"
    rank: int = 16
    classes: int = 1
    hidden: int = 0
    device: str = "cpu"
    low: bool = False
    width: int = 0
    seed: int = 0
    steps: bool = False


def load_learner(path: str, setup: Setup) -> tuple[Learner, Any]:
    """(learner, tokenizer) of a model directory or hub name. ModelError if it cannot be loaded."""
    import transformers
    from transformers.utils import logging as transformers_logging

    bars: Any = transformers_logging
    torch.manual_seed(setup.seed)
    frozen = setup.update != "full"
    resolve(path)  # refuses early, with one clear line, what is no model
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        causal: Any = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.bfloat16 if setup.low and frozen else torch.float32, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(f"cannot load {path} for training: {str(error).strip().splitlines()[0][:300]}") from error
    finally:
        if shown:
            bars.enable_progress_bar()
    causal.config.use_cache = False
    causal.to(setup.device)
    adapted = None
    if frozen:
        causal.requires_grad_(False)
    if setup.update == "lora":
        adapted = _adapters(causal, setup.rank)

    def fresh() -> nn.Module:
        return make_head(int(causal.config.hidden_size), setup.classes, setup.hidden).to(setup.device)

    head = fresh() if setup.classes else None
    step_head = fresh() if setup.classes and setup.steps else None
    return Learner(causal, head, step_head=step_head, adapted=adapted, low=setup.low, width=setup.width), tokenizer


def _adapters(causal: Any, rank: int) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ModelError(f'adapters need peft ({error}): pip install "thence[train]"; or use --full') from error
    if rank < 1:
        raise UsageError(f"lora: the rank is {rank}; it must be at least 1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers; nobody here can act on them
        return get_peft_model(causal, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", bias="none"))
