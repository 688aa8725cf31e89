"""Rows, batches, micro-batches: the numbers do not depend on how examples are laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from labelled import digit_problems

from thence.core.scores import Meaning
from thence.nets.heads import make_head
from thence.train import examples as ex
from thence.train.learner import Learner, PairObjective, TokenObjective
from thence.train.packing import batches, micro_batches, rows
from thence.verifiers.formats import FORMATS
from tiny_models import FAMILIES, save_tiny, word_tokenizer

CPU = torch.device("cpu")


def learner(path: Path, family: str, *, width: int = 0) -> Learner:
    from transformers import AutoModelForCausalLM

    save_tiny(path, family, width=32, hidden=48)
    head = make_head(32)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    return Learner(AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval(), head, width=width)


def writer() -> ex.Writer:
    return ex.Writer(FORMATS["plain"], word_tokenizer())


def grads(model: Learner) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", [0, 90, 300])
def test_loss_and_gradient_are_those_of_the_examples_one_by_one(family: str, width: int, tmp_path: Path) -> None:
    records = digit_problems(3)
    steps = ex.step_examples(records, writer(), Meaning.VALUE)
    outcomes = ex.outcome_examples(records, writer())
    items = [*steps, *outcomes]
    model = learner(tmp_path, family, width=width)
    objective = TokenObjective(model, words_weight=0.5)
    together = torch.stack(objective.sums(items)).sum()
    together.backward()  # type: ignore[no-untyped-call]
    slope = grads(model)
    model.zero_grad()
    model.width = 0
    alone = torch.stack([torch.stack(objective.sums([item])).sum() for item in items]).sum()
    alone.backward()  # type: ignore[no-untyped-call]
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)
    assert torch.allclose(slope, grads(model), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("width", [0, 120])
def test_pairs_too(width: int, tmp_path: Path) -> None:
    pairs = ex.pair_examples(digit_problems(4), writer())
    objective = PairObjective(learner(tmp_path, "qwen3", width=width), "simpo", beta=2.0, gamma=0.5)
    [together] = objective.sums(pairs)
    alone = sum(objective.sums([p])[0].item() for p in pairs)
    assert together.item() == pytest.approx(alone, rel=1e-5)


def test_packed_rows_hold_what_fits_and_nothing_sees_its_neighbour() -> None:
    packed = rows([[1] * 4, [2] * 3, [3] * 5, [4] * 9], CPU, width=7)
    assert packed.ids.tolist() == [[1, 1, 1, 1, 2, 2, 2, 0, 0], [3] * 5 + [0] * 4, [4] * 9]
    assert packed.starts == (0, 4, 9, 18)
    assert packed.positions is not None
    assert packed.mask is not None
    assert packed.positions[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 0]
    assert packed.mask[0, 0, 4].tolist() == [False] * 4 + [True] + [False] * 4
    assert packed.mask[0, 0, 6].tolist() == [False] * 4 + [True] * 3 + [False] * 2
    assert packed.mask.any(-1).all()  # no row of the attention is empty, so there is no NaN


def test_an_epoch_holds_every_example_once_in_batches_of_like_length() -> None:
    costs = [(i * 37) % 101 + 1 for i in range(500)]
    made = batches(costs, 16, seed=1, epoch=0)
    assert sorted(i for b in made for i in b) == list(range(500))
    assert made == batches(costs, 16, seed=1, epoch=0)
    assert made != batches(costs, 16, seed=1, epoch=1)
    assert made != batches(costs, 16, seed=2, epoch=0)
    padded = sum(len(b) * max(costs[i] for i in b) for b in made)
    assert padded < 1.2 * sum(costs)  # unsorted batches of these lengths pay about twice


def test_micro_batches_keep_within_their_budget() -> None:
    costs: list[int] = [5, 50, 7, 6, 200, 8]
    parts = list(micro_batches(range(6), costs, 24))
    assert sorted(i for p in parts for i in p) == list(range(6))
    assert all(len(p) == 1 or len(p) * max(costs[i] for i in p) <= 24 for p in parts)
    assert [2, 5] in [sorted(p) for p in parts] or len(parts) < 6
    everything: Any = list(micro_batches(range(6), costs, 10**6))
    assert len(everything) == 1
