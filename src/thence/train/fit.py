"""One training loop for everything: AdamW, warm-up and decay, gradient accumulation, dev set, checkpoints.

A batch is cut into micro-batches of a bounded number of tokens; its loss is divided by what the whole batch holds, so
the cut changes nothing but memory. The order of examples is a function of seed and epoch, and dropout is seeded by
step, so a run that was stopped and resumed ends with the same bits as one that was not (on the same CPU and number of
threads). What is kept is the state with the lowest loss on the dev set.

Not covered: several devices.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from thence.core.errors import DataError, ModelError, UsageError, check_counts
from thence.core.seeds import derive, digest

from .learner import Objective
from .packing import batches, micro_batches

T = TypeVar("T")
STATE = "training.pt"


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How to train. ``batch_size`` counts examples (or pairs) per update.

    ``head_lr`` is the heads' own learning rate (0: the same). ``warm_up`` is a share of all updates. ``evaluate_every``
    and ``save_every`` count updates (0: once an epoch); after ``patience`` evaluations without a better dev loss
    training ends (0: never). ``micro_tokens`` bounds a forward pass.
    """

    epochs: int = 3
    batch_size: int = 32
    lr: float = 1e-3
    head_lr: float = 0.0
    weight_decay: float = 0.01
    warm_up: float = 0.05
    decay: Literal["cosine", "linear", "none"] = "cosine"
    clip: float = 1.0
    evaluate_every: int = 0
    save_every: int = 0
    patience: int = 3
    micro_tokens: int = 8192
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts("training", epochs=self.epochs, batch_size=self.batch_size, micro_tokens=self.micro_tokens)
        for name in ("lr", "clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise UsageError(f"training: {name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.warm_up < 1:
            raise UsageError(f"training: warm_up is {self.warm_up}; it is a share of all updates, below 1")


@dataclass(frozen=True, slots=True)
class Told:
    """What progress is told after an update; ``dev`` is the dev loss where it was just measured."""

    step: int
    steps: int
    loss: float
    dev: float | None = None


@dataclass(slots=True)
class Fitted:
    """What training did. ``curve`` holds (step, training loss since the last evaluation, dev loss)."""

    steps: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    stopped_early: bool = False
    seconds: float = 0.0
    tokens: int = 0
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def rate(step: int, steps: int, config: FitConfig) -> float:
    """The factor of the learning rate at update ``step`` (from 0) of ``steps``: it rises from 1/w to 1, then falls."""
    rising = math.ceil(config.warm_up * steps)
    if step < rising:
        return (step + 1) / rising
    if config.decay == "none":
        return 1.0
    left = 1 - (step - rising) / max(1, steps - rising)
    return left if config.decay == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)


def fit(
    learner: nn.Module,
    objective: Objective[T],
    train: Sequence[T],
    dev: Sequence[T],
    config: FitConfig,
    *,
    folder: Path | None = None,
    identity: str = "",
    resume: bool = False,
    told: Callable[[Told], None] | None = None,
) -> Fitted:
    """Train the parameters of ``learner`` that need gradients; they end as they were at the lowest dev loss.

    With a ``folder`` the state is saved there, and ``resume`` goes on from it; DataError if it was saved by another
    run (``identity`` and the configuration decide). ModelError when the loss is no number any more.
    """
    if not train or not dev:
        raise DataError(f"training needs examples on both sides of the split; there are {len(train)} and {len(dev)}")
    costs = [objective.cost(item) for item in train]
    per_epoch = math.ceil(len(train) / config.batch_size)
    run = _Run(learner, config, per_epoch * config.epochs)
    done, identity = run.done, digest(identity, asdict(config), costs, sorted(run.trained))
    path = folder / STATE if folder is not None else None
    if resume and path is not None and path.is_file():
        run.restore(path, identity)
    begun = time.monotonic() - done.seconds
    while not run.over():
        epoch, first = divmod(done.steps, per_epoch)
        learner.train()
        for batch in batches(costs, config.batch_size, config.seed, epoch)[first:]:
            loss = run.update(objective, [train[i] for i in batch], [costs[i] for i in batch])
            now = None
            if done.steps % (config.evaluate_every or per_epoch) == 0 or done.steps == run.steps:
                now = evaluate(learner, objective, dev, config.micro_tokens)
                run.judge(now)
            done.seconds = time.monotonic() - begun
            if path is not None and (done.steps % (config.save_every or per_epoch) == 0 or done.stopped_early):
                run.save(path, identity)
            if told is not None:
                told(Told(done.steps, run.steps, loss, now))
            if run.over():
                break
    run.put(run.best)
    learner.eval()
    return done


@torch.no_grad()
def evaluate(learner: nn.Module, objective: Objective[T], items: Sequence[T], micro_tokens: int) -> float:
    """The objective on ``items`` as one batch."""
    was, totals = learner.training, objective.totals(items)
    learner.eval()
    costs = [objective.cost(item) for item in items]
    loss = math.fsum(
        float(_combined(objective.sums([items[i] for i in part]), totals))
        for part in micro_batches(range(len(items)), costs, micro_tokens)
    )
    learner.train(was)
    return loss


def _combined(sums: Sequence[Tensor], totals: Sequence[float]) -> Tensor:
    parts = [part / total for part, total in zip(sums, totals, strict=True) if total > 0]
    return torch.stack(parts).sum() if parts else sums[0] * 0.0


class _Run:
    """Everything that changes while training: parameters, optimiser, the best state so far."""

    def __init__(self, learner: nn.Module, config: FitConfig, steps: int) -> None:
        self.config, self.steps, self.done = config, steps, Fitted()
        self.trained = {name: p for name, p in learner.named_parameters() if p.requires_grad}
        if not self.trained:
            raise UsageError("nothing is left to train: the trunk is frozen and there is no head")
        groups = []
        for name, p in self.trained.items():
            base = config.head_lr if config.head_lr and name.startswith(("head.", "step_head.")) else config.lr
            decay = config.weight_decay if p.ndim > 1 else 0.0
            groups.append({"params": [p], "lr": base, "base": base, "weight_decay": decay})
        self.adam = torch.optim.AdamW(groups, lr=config.lr)
        self.best = self.copy()
        self.loss, self.updates, self.worse = 0.0, 0, 0  # since the last evaluation; evaluations since the best

    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.done.stopped_early or self.done.steps >= self.steps

    def copy(self) -> dict[str, Tensor]:
        """The trained parameters as they are now."""
        return {name: p.detach().clone() for name, p in self.trained.items()}

    def put(self, values: dict[str, Tensor]) -> None:
        """Set the trained parameters."""
        with torch.no_grad():
            for name, p in self.trained.items():
                p.copy_(values[name])

    def update(self, objective: Objective[T], items: Sequence[T], costs: Sequence[int]) -> float:
        """One step of the optimiser on one batch; returns its loss. ModelError if that is no number."""
        config, done = self.config, self.done
        torch.manual_seed(derive(config.seed, "step", done.steps))
        factor = rate(done.steps, self.steps, config)
        for group in self.adam.param_groups:
            group["lr"] = group["base"] * factor
        totals, loss = objective.totals(items), 0.0
        for part in micro_batches(range(len(items)), costs, config.micro_tokens):
            value = _combined(objective.sums([items[i] for i in part]), totals)
            loss += value.item()
            if not math.isfinite(loss):
                raise ModelError(f"the loss is {loss} at update {done.steps + 1}; train with a lower --lr")
            if value.requires_grad:
                value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(self.trained.values()), config.clip)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        done.steps += 1
        done.tokens += sum(costs)
        self.loss, self.updates = self.loss + loss, self.updates + 1
        return loss

    def judge(self, dev_loss: float) -> None:
        """Keep the state if it is the best so far; say whether to stop."""
        done = self.done
        done.curve.append((done.steps, self.loss / self.updates, dev_loss))
        self.loss, self.updates = 0.0, 0
        if dev_loss < done.best_loss:
            done.best_loss, done.best_step, self.best, self.worse = dev_loss, done.steps, self.copy(), 0
        else:
            self.worse += 1
        done.stopped_early = 0 < self.config.patience <= self.worse and done.steps < self.steps

    def save(self, path: Path, identity: str) -> None:
        """Write the state of the run, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        state = {
            "identity": identity,
            "trained": self.copy(),
            "adam": self.adam.state_dict(),
            "done": asdict(self.done),
            "best": self.best,
            "since": [self.loss, self.updates, self.worse],
        }
        torch.save(state, part)
        os.replace(part, path)

    def restore(self, path: Path, identity: str) -> None:
        """Go on from a saved state; DataError if it is of another run."""
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            saved = state["identity"]
        except Exception as error:
            raise DataError(f"{path} is no state of a training run ({error}); remove it and start again") from error
        if saved != identity:
            raise DataError(
                f"{path} was saved by a run with other data or settings; give the same ones, or another --out"
            )
        self.put(state["trained"])
        self.adam.load_state_dict(state["adam"])
        for name, value in state["done"].items():
            setattr(self.done, name, value)
        self.best = {name: tensor.to(self.trained[name].device) for name, tensor in state["best"].items()}
        self.loss, self.updates, self.worse = state["since"]
