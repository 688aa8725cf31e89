"""The loop: exact resume, accumulation, schedules, the best state, errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from labelled import digit_problems
from torch import Tensor, nn

from thence.core.errors import DataError, ModelError, UsageError
from thence.core.scores import Meaning
from thence.train import examples as ex
from thence.train.fit import STATE, FitConfig, Fitted, Told, evaluate, fit, rate
from thence.train.learner import Learner, Setup, TokenObjective, cached, load_learner
from thence.verifiers.formats import FORMATS
from tiny_models import save_tiny, word_tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(tmp_path_factory.mktemp("base"), width=32, hidden=48, attention_dropout=0.1)


def data() -> tuple[list[ex.Example], list[ex.Example]]:
    w = ex.Writer(FORMATS["plain"], word_tokenizer())
    made = ex.step_examples(digit_problems(20), w, Meaning.VALUE)
    return made[:32], made[32:]


CONFIG = FitConfig(epochs=3, batch_size=8, lr=1e-2, evaluate_every=3, save_every=1, patience=0, seed=5)


class Killed(Exception):
    """The run is stopped from outside."""


def run(
    base: str,
    update: str = "lora",
    config: FitConfig = CONFIG,
    *,
    folder: Path | None = None,
    kill_at: int = 0,
    resume: bool = False,
) -> tuple[Learner, Fitted]:
    learner, _ = load_learner(base, Setup(update=update, rank=4, seed=1))  # type: ignore[arg-type]
    train, dev = data()

    def told(progress: Told) -> None:
        if progress.step == kill_at:
            raise Killed

    done = fit(learner, TokenObjective(learner), train, dev, config, folder=folder, resume=resume, told=told)
    return learner, done


def state(learner: Learner) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in learner.state_dict().items()}


@pytest.mark.parametrize(("update", "kill_at"), [("lora", 4), ("lora", 7), ("full", 2), ("full", 11)])
def test_a_killed_and_resumed_run_ends_with_the_same_bits(base: str, update: str, kill_at: int, tmp_path: Path) -> None:
    """Killed within an epoch and at its end, between evaluations; dropout is on."""
    whole, done = run(base, update)
    with pytest.raises(Killed):
        run(base, update, folder=tmp_path, kill_at=kill_at)
    resumed, again = run(base, update, folder=tmp_path, resume=True)
    assert done.steps == again.steps == 12
    assert done.curve == again.curve
    assert (done.best_step, done.best_loss, done.tokens) == (again.best_step, again.best_loss, again.tokens)
    for name, tensor in state(whole).items():
        assert torch.equal(tensor, state(resumed)[name]), name


def test_a_state_between_saves_is_lost_but_nothing_else(base: str, tmp_path: Path) -> None:
    config = replace(CONFIG, save_every=5)
    whole, _ = run(base, config=config)
    with pytest.raises(Killed):
        run(base, config=config, folder=tmp_path, kill_at=8)
    resumed, _ = run(base, config=config, folder=tmp_path, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(state(whole).values(), state(resumed).values(), strict=True))


def test_a_finished_run_resumes_to_itself(base: str, tmp_path: Path) -> None:
    first, done = run(base, folder=tmp_path)
    second, again = run(base, folder=tmp_path, resume=True)
    assert (again.steps, again.curve) == (done.steps, done.curve)
    assert all(torch.equal(a, b) for a, b in zip(state(first).values(), state(second).values(), strict=True))


def test_a_state_of_other_settings_or_no_state_at_all_is_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(base, folder=tmp_path, kill_at=2)
    with pytest.raises(DataError, match="other data or settings"):
        run(base, config=replace(CONFIG, lr=1e-3), folder=tmp_path, resume=True)
    (tmp_path / STATE).write_bytes(b"nonsense")
    with pytest.raises(DataError, match="no state of a training run"):
        run(base, folder=tmp_path, resume=True)


def test_cutting_a_batch_into_micro_batches_changes_nothing(tmp_path: Path) -> None:
    path = save_tiny(tmp_path, width=32, hidden=48)
    train, _ = data()
    slopes = []
    for tokens in (8192, 120, 1):
        learner, _ = load_learner(path, Setup(update="full", seed=1))
        nn.init.constant_(learner.head.weight, 0.05)  # type: ignore[union-attr, arg-type]
        before = torch.cat([p.detach().flatten() for p in learner.parameters()])
        config = replace(CONFIG, epochs=1, batch_size=32, micro_tokens=tokens, weight_decay=0, warm_up=0)
        fit(learner, TokenObjective(learner), train, train, config)
        slopes.append(torch.cat([p.detach().flatten() for p in learner.parameters()]) - before)
    for other in slopes[1:]:
        assert torch.nn.functional.cosine_similarity(slopes[0], other, dim=0) > 0.9999


@dataclass(frozen=True)
class Quadratic:
    """(w - x)^2 over the items; the dev loss rises after the training targets are passed."""

    model: nn.Linear

    def cost(self, item: float) -> int:
        return 1

    def totals(self, items: Sequence[float]) -> tuple[float, ...]:
        return (float(len(items)),)

    def sums(self, items: Sequence[float]) -> tuple[Tensor, ...]:
        return ((self.model.weight[0, 0] - torch.tensor(list(items))).square().sum(),)


def line(start: float = 0.0) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, start)
    return model


def test_the_state_with_the_lowest_dev_loss_is_kept_and_training_stops_in_time() -> None:
    model = line()
    config = FitConfig(epochs=400, batch_size=4, lr=0.05, decay="none", weight_decay=0, warm_up=0, patience=3)
    done = fit(model, Quadratic(model), [2.0] * 4, [1.0] * 4, config)  # on its way to 2 it passes the dev set's 1
    assert done.stopped_early
    assert done.steps == done.best_step + 3
    assert model.weight.item() == pytest.approx(1.0, abs=0.06)
    assert evaluate(model, Quadratic(model), [1.0] * 4, 8) == pytest.approx(done.best_loss)


def test_it_learns_what_can_be_learnt(base: str) -> None:
    config = replace(CONFIG, epochs=12, lr=1e-2, patience=0, evaluate_every=4)
    _, done = run(base, config=config)
    assert done.curve[0][1] > 0.3
    assert done.curve[-1][1] < 0.7 * done.curve[0][1]


def test_the_learning_rate_rises_and_falls() -> None:
    config = FitConfig(warm_up=0.1, decay="cosine")
    factors = [rate(s, 100, config) for s in range(100)]
    assert factors[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert all(a >= b for a, b in pairwise(factors[10:]))
    assert 0 < factors[-1] < 0.01
    linear = [rate(s, 100, replace(config, decay="linear")) for s in range(100)]
    assert linear[55] == pytest.approx(0.5)
    assert rate(99, 100, replace(config, decay="none")) == 1.0
    assert rate(0, 1, config) == 1.0


def test_a_frozen_trunks_states_are_computed_once_and_give_the_same_numbers(base: str) -> None:
    learner, _ = load_learner(base, Setup(update="head", seed=1))
    nn.init.normal_(learner.head.weight)  # type: ignore[union-attr, arg-type]
    train, _ = data()
    before = {k: v.clone() for k, v in learner.causal.state_dict().items()}
    kept = cached(learner, train, 300)
    objective = TokenObjective(learner)
    assert objective.totals(kept) == objective.totals(train)
    assert objective.sums(kept)[0].item() == pytest.approx(objective.sums(train)[0].item(), rel=1e-5)
    fit(learner, objective, kept[:24], kept[24:], replace(CONFIG, lr=0.1))
    assert all(torch.equal(v, before[k]) for k, v in learner.causal.state_dict().items())


def test_adapters_start_as_the_trunk_and_the_trunk_stays(base: str) -> None:
    adapted, _ = load_learner(base, Setup(update="lora", rank=4, seed=1))
    frozen, _ = load_learner(base, Setup(update="head", seed=1))
    ids = [[4, 7, 9, 11], [5, 6]]
    assert torch.allclose(adapted.states(ids)[0], frozen.states(ids)[0], atol=1e-6)
    train, dev = data()
    adapted.head = None
    w = ex.Writer(FORMATS["plain"], word_tokenizer())
    texts = [replace(e, words=e.words) for e in ex.outcome_examples(digit_problems(8), w) if e.right]
    fit(adapted, TokenObjective(adapted, words_weight=1.0), texts[:6], texts[6:], replace(CONFIG, lr=0.1, epochs=4))
    assert not torch.allclose(adapted.states(ids)[0], frozen.states(ids)[0], atol=1e-3)
    with adapted.plain():
        assert torch.allclose(adapted.states(ids)[0], frozen.states(ids)[0], atol=1e-6)
    assert len(train) + len(dev) == 40


def test_bfloat16_products_are_near_and_what_is_trained_stays_float32(base: str) -> None:
    exact, _ = load_learner(base, Setup(update="lora", rank=4, seed=1))
    low, _ = load_learner(base, Setup(update="lora", rank=4, seed=1, low=True))
    assert {p.dtype for p in low.parameters() if p.requires_grad} == {torch.float32}
    train, dev = data()
    for learner in (exact, low):
        nn.init.constant_(learner.head.weight, 0.05)  # type: ignore[union-attr, arg-type]
    a, b = (TokenObjective(x).sums(train)[0] for x in (exact, low))
    assert b.dtype is torch.float32
    assert a.item() != b.item()
    assert a.item() == pytest.approx(b.item(), rel=0.05)
    done = fit(low, TokenObjective(low), train, dev, replace(CONFIG, epochs=1))
    assert math.isfinite(done.best_loss)


def test_bad_settings_and_broken_losses_are_clear_errors(base: str) -> None:
    for settings in ({"epochs": 0}, {"lr": 0.0}, {"lr": math.nan}, {"warm_up": 1.0}, {"batch_size": -1}):
        with pytest.raises(UsageError, match=next(iter(settings))):
            FitConfig(**settings)  # type: ignore[arg-type]
    model = line(math.inf)
    with pytest.raises(ModelError, match="the loss is"):
        fit(model, Quadratic(model), [1.0], [1.0], FitConfig())
    with pytest.raises(DataError, match="both sides"):
        fit(line(), Quadratic(line()), [], [1.0], FitConfig())
    frozen = line()
    frozen.weight.requires_grad_(False)
    with pytest.raises(UsageError, match="nothing is left to train"):
        fit(frozen, Quadratic(frozen), [1.0], [1.0], FitConfig())
    with pytest.raises(UsageError, match="rank is 0"):
        load_learner(base, Setup(update="lora", rank=0))
