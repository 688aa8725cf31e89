"""Losses against hand-computed cases, their laws, and TRL's own on the same batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from thence.core.errors import UsageError
from thence.train import losses
from thence.train.examples import Example, Pair
from thence.train.learner import Learner, PairObjective, sequence_logprobs, with_reference
from thence.train.losses import Reduce
from tiny_models import save_tiny

LN2 = math.log(2)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------------------- masks


def test_the_four_means_of_a_hand_made_batch() -> None:
    x = torch.tensor([[1.0, 3.0, 100.0], [5.0, 100.0, 100.0], [9.0, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert losses.reduce(x, mask, Reduce.TOKEN_MEAN) == 3.0  # (1 + 3 + 5) / 3
    assert losses.reduce(x, mask, Reduce.SEQ_MEAN_TOKEN_MEAN) == 3.5  # (2 + 5) / 2: the empty row is left out
    assert losses.reduce(x, mask, Reduce.SEQ_MEAN_TOKEN_SUM) == 4.5  # (4 + 5) / 2
    assert losses.reduce(x, mask, Reduce.CONST, 2.0) == 1.5  # 9 / (3 * 2)


@pytest.mark.parametrize("how", [Reduce.TOKEN_MEAN, Reduce.SEQ_MEAN_TOKEN_MEAN, Reduce.SEQ_MEAN_TOKEN_SUM])
def test_an_empty_mask_gives_zero_and_no_nan(how: Reduce) -> None:
    x = draw(2, 3).requires_grad_()
    loss = losses.reduce(x, torch.zeros(2, 3), how)
    loss.backward()
    assert loss == 0
    assert x.grad is not None
    assert not x.grad.any()


def test_a_constant_is_needed_where_it_divides() -> None:
    with pytest.raises(UsageError, match="const divides"):
        losses.reduce(draw(1, 2), torch.ones(1, 2), Reduce.CONST)


def test_token_logprobs_are_those_of_the_previous_position() -> None:
    logits, ids = draw(2, 4, 5), torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1]])
    found = losses.token_logprobs(logits, ids, temperature=2.0)
    assert (found[:, 0] == 0).all()
    for b in range(2):
        for t in range(1, 4):
            expected = (logits[b, t - 1] / 2).softmax(-1)[ids[b, t]].log()
            assert found[b, t].item() == pytest.approx(expected.item(), abs=1e-6)


# ----------------------------------------------------------------------------------------------------------- numbers


def test_no_opinion_costs_ln_2() -> None:
    y = torch.tensor([0.0, 0.3, 1.0])
    assert torch.allclose(losses.bce(torch.zeros(3), y), torch.full((3,), LN2))
    assert torch.allclose(losses.ce(torch.zeros(3, 2), y), torch.full((3,), LN2))
    assert torch.allclose(losses.mse(torch.zeros(3), y), (0.5 - y).square())


def test_two_classes_are_one_logit_difference() -> None:
    logits, y = draw(6, 2), torch.rand(6, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(losses.ce(logits, y), losses.bce(logits[:, 1] - logits[:, 0], y), atol=1e-6)


def test_a_soft_label_is_the_mean_of_hard_ones_and_is_minimal_at_itself() -> None:
    x = torch.tensor([0.7])
    soft = losses.bce(x, torch.tensor([0.25]))
    hard = 0.25 * losses.bce(x, torch.ones(1)) + 0.75 * losses.bce(x, torch.zeros(1))
    assert torch.allclose(soft, hard)
    for loss in (losses.bce, losses.mse):
        at = torch.logit(torch.tensor([0.25])).requires_grad_()
        loss(at, torch.tensor([0.25])).sum().backward()
        assert at.grad is not None
        assert abs(at.grad.item()) < 1e-6


# --------------------------------------------------------------------------------------------------------------- pqm


def test_pqm_of_two_right_steps_and_a_wrong_one_by_hand() -> None:
    q1, q2, w, margin = 0.3, 0.9, -0.4, 1.5
    bad = math.exp(w + margin)
    terms = [
        -math.log(1 / (1 + bad)),
        -math.log(math.exp(q1) / (1 + math.exp(q1) + bad)),
        -math.log(math.exp(q2) / (1 + math.exp(q1) + math.exp(q2) + bad)),
    ]
    found = losses.pqm(torch.tensor([q1, q2, w]), torch.tensor([1, 1, 0]), margin)
    assert found.item() == pytest.approx(sum(terms) / 3, abs=1e-6)


def test_pqm_of_right_steps_only_has_no_term_for_the_question() -> None:
    found = losses.pqm(torch.tensor([2.0]), torch.tensor([1.0]))
    assert found.item() == pytest.approx(-math.log(math.exp(2) / (1 + math.exp(2))), abs=1e-6)


def test_pqm_raises_right_steps_and_lowers_wrong_ones_the_more_the_larger_the_margin() -> None:
    for margin in (0.0, 4.0):
        q = torch.zeros(4, requires_grad=True)
        losses.pqm(q, torch.tensor([1.0, 1.0, 0.0, 0.0]), margin).backward()
        assert q.grad is not None
        assert (q.grad[2:] > 0).all()
        assert q.grad[1] < 0
    small, large = (losses.pqm(torch.zeros(2), torch.tensor([1.0, 0.0]), m) for m in (0.0, 4.0))
    assert large > small


def test_pqm_of_one_step_is_a_ranking_against_the_question() -> None:
    """All wrong: log(1 + sum of e^(Q + margin)), which is 0 only far below the question."""
    assert losses.pqm(torch.tensor([-50.0, -50.0]), torch.zeros(2)).item() == pytest.approx(0, abs=1e-6)
    assert losses.pqm(torch.zeros(1), torch.zeros(1), 0.0).item() == pytest.approx(LN2, abs=1e-6)


# ------------------------------------------------------------------------------------------------------------- pairs


def test_dpo_at_the_start_is_ln_2_with_slope_half_beta() -> None:
    w, x = draw(5, seed=1).requires_grad_(), draw(5, seed=2).requires_grad_()
    each = losses.dpo((w - w.detach()) - (x - x.detach()), beta=0.3)
    assert torch.allclose(each, torch.full((5,), LN2))
    each.sum().backward()
    assert w.grad is not None
    assert x.grad is not None
    assert torch.allclose(w.grad, torch.full((5,), -0.15))
    assert torch.allclose(x.grad, torch.full((5,), 0.15))


def test_implicit_reward_and_plain_log_prob_order_solutions_differently_and_beta_never_reorders() -> None:
    own, trunk = torch.tensor([-5.0, -9.0]), torch.tensor([-4.0, -10.0])
    reward = own - trunk
    assert own.argmax() != reward.argmax()
    for beta in (0.01, 0.1, 5.0):
        assert (beta * reward).argmax() == reward.argmax()


def test_label_smoothing_is_the_mixture_of_both_directions() -> None:
    h = draw(7)
    mixed = losses.dpo(h, 0.5, smoothing=0.2)
    assert torch.allclose(mixed, 0.8 * losses.dpo(h, 0.5) + 0.2 * losses.dpo(-h, 0.5), atol=1e-6)
    # Its minimum is where sigmoid(beta h) is 1 - smoothing, so confidence is bounded.
    at = (torch.logit(torch.tensor([0.8])) / 0.5).requires_grad_()
    losses.dpo(at, 0.5, smoothing=0.2).sum().backward()
    assert at.grad is not None
    assert abs(at.grad.item()) < 1e-6


def test_simpo_is_ln_2_where_the_margin_is_gamma_over_beta() -> None:
    beta, gamma = 2.5, 1.2
    chosen = torch.tensor([-0.4])
    assert losses.simpo(chosen, chosen - gamma / beta, beta, gamma).item() == pytest.approx(LN2, abs=1e-6)


def test_simpo_without_margin_at_equal_lengths_is_reference_free_dpo() -> None:
    n, beta = 7, 2.0
    w, x = draw(4, seed=3), draw(4, seed=4)
    assert torch.allclose(losses.simpo(w / n, x / n, beta, 0.0), losses.dpo(w - x, beta / n), atol=1e-6)


def test_ipo_is_smallest_at_one_over_two_beta() -> None:
    beta = 0.4
    at = torch.tensor([1 / (2 * beta)], requires_grad=True)
    loss = losses.ipo(at, beta)
    loss.sum().backward()
    assert loss.item() == 0
    assert at.grad is not None
    assert at.grad.item() == 0
    assert losses.ipo(at + 0.1, beta) > 0


def test_orpo_is_the_log_odds_written_out() -> None:
    m, n, weight = torch.tensor([-0.3]), torch.tensor([-1.1]), 0.25
    p, q = math.exp(-0.3), math.exp(-1.1)
    odds = (p / (1 - p)) / (q / (1 - q))
    expected = 0.3 - weight * math.log(odds / (1 + odds))
    assert losses.orpo(m, n, weight).item() == pytest.approx(expected, abs=1e-6)


def test_log1mexp_holds_near_zero_and_far_away_with_finite_slopes() -> None:
    x = torch.tensor([-1e-6, -0.1, -1.0, -30.0], requires_grad=True)
    found = losses.log1mexp(x)
    expected = [math.log(-math.expm1(v)) for v in (-1e-6, -0.1, -1.0, -30.0)]
    assert found.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-12)
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_kto_is_a_half_at_the_reference_and_its_baseline_has_no_slope() -> None:
    z = torch.tensor(0.0, requires_grad=True)
    each = losses.kto(torch.zeros(2), torch.tensor([True, False]), 0.3, z)
    assert each.tolist() == [0.5, 0.5]
    moved = losses.kto(torch.tensor([2.0, 2.0]), torch.tensor([True, False]), 0.3, z, (1.0, 2.0))
    s = 1 / (1 + math.exp(-0.6))
    assert moved.tolist() == pytest.approx([1 - s, 2 * s], abs=1e-6)
    assert losses.kto(torch.zeros(1, requires_grad=True), torch.tensor([True]), 0.3, z).sum().grad_fn is not None
    assert z.grad is None


def test_bt_with_a_margin() -> None:
    assert losses.bt(torch.tensor([1.5]), torch.tensor([0.5]), 1.0).item() == pytest.approx(LN2, abs=1e-6)


# ------------------------------------------------------------------------------------------ TRL on the same batch


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    small: dict[str, Any] = {"width": 32, "hidden": 48, "scale": 0.2}
    return save_tiny(folder / "own", seed=1, **small), save_tiny(folder / "trunk", seed=2, **small)


ROWS = {
    "prompt": ["Q: Tom has 3 apples", "Q: how many books in total ?", "Q: Ann has 2"],
    "chosen": [" Tom has 3 apples and then 4 more .", " 3 + 4 = 7", " so 2"],
    "rejected": [" Tom gives 2", " 3 + 4 = 8 and so 9 .", " we have 5 pears and 1 more"],
}


def model_of(path: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def pair(chosen: list[int], rejected: list[int], prompts: tuple[int, int]) -> Pair:
    def example(ids: list[int], prompt: int) -> Example:
        zero = (0.0,) * len(ids)
        return Example("p", tuple(ids), zero, zero, tuple(float(t >= prompt) for t in range(len(ids))))

    return Pair(example(chosen, prompts[0]), example(rejected, prompts[1]))


def options(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path),
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 3,
        "disable_tqdm": True,
        "disable_dropout": True,
        **more,
    }


@pytest.fixture(scope="module", autouse=True)
def offline() -> Any:
    """TRL reports each construction of a trainer to its makers unless told not to."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "TRL_EXPERIMENTAL_SILENCE"):
            patch.setenv(name, "1")
        yield


@pytest.mark.slow
def test_dpo_and_its_variants_equal_trl(models: tuple[str, str], tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models[0])
    cases: dict[str, dict[str, Any]] = {
        "sigmoid": {"loss": "dpo"},
        "ipo": {"loss": "ipo"},
        "sigmoid_norm": {"loss": "sigmoid-norm"},
    }
    trainer = trl.DPOTrainer(
        model_of(models[0]),
        ref_model=model_of(models[1]),
        args=trl.DPOConfig(**options(tmp_path), beta=0.3, max_length=None),
        train_dataset=Dataset.from_dict(ROWS),
        processing_class=tokenizer,
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
    ids, shown, own = (batch[k].tolist() for k in ("input_ids", "attention_mask", "completion_mask"))
    texts = [[t for t, m in zip(i, s, strict=True) if m] for i, s in zip(ids, shown, strict=True)]
    prompts = [row.index(1) for row in own]
    pairs = [pair(texts[i], texts[i + 3], (prompts[i], prompts[i + 3])) for i in range(3)]
    pairs = with_reference(Learner(model_of(models[1])), pairs, 8192)
    learner = Learner(model_of(models[0]))
    for name, ours in cases.items():
        trainer.loss_types = [name]
        theirs = trainer.compute_loss(trainer.model, dict(batch))
        [found] = PairObjective(learner, ours["loss"], beta=0.3).sums(pairs)
        assert found.item() / 3 == pytest.approx(theirs.item(), abs=1e-5), name


@pytest.mark.slow
def test_simpo_equals_trl_with_its_own_tokens(models: tuple[str, str], tmp_path: Path) -> None:
    pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(models[0])
    tokenizer.bos_token = "<pad>"  # it puts one before every prompt
    beta, ratio = 2.0, 0.4
    trainer = CPOTrainer(
        model_of(models[0]),
        args=CPOConfig(
            **options(tmp_path, loss_type="simpo", beta=beta, simpo_gamma=ratio * beta, cpo_alpha=0.0, max_length=200)
        ),
        train_dataset=Dataset.from_dict(ROWS),
        processing_class=tokenizer,
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
    theirs = trainer.compute_loss(trainer.model, batch)
    pairs = []
    for row in trainer.train_dataset:
        chosen, rejected = row["chosen_input_ids"], row["rejected_input_ids"]
        prompts = tuple(
            next(t for t, y in enumerate(row[f"{side}_labels"]) if y != -100) for side in ("chosen", "rejected")
        )
        assert chosen[-1] == tokenizer.eos_token_id  # TRL's doing; ours takes the tokens as they are
        pairs.append(pair(chosen, rejected, prompts))
    objective = PairObjective(Learner(model_of(models[0])), "simpo", beta=beta, gamma=ratio * beta)
    assert objective.sums(pairs)[0].item() / 3 == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.slow
def test_bt_equals_trl_and_right_padding_changes_nothing(models: tuple[str, str], tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models[0])
    torch.manual_seed(0)
    reward = AutoModelForSequenceClassification.from_pretrained(models[0], num_labels=1, dtype=torch.float32).eval()
    trainer = trl.RewardTrainer(
        reward,
        args=trl.RewardConfig(**options(tmp_path), max_length=None),
        train_dataset=Dataset.from_dict(ROWS),
        processing_class=tokenizer,
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
    theirs = trainer.compute_loss(reward, dict(batch))
    learner = Learner(model_of(models[0]), reward.score)
    pairs = [pair(row["chosen_ids"], row["rejected_ids"], (1, 1)) for row in trainer.train_dataset]
    [found] = PairObjective(learner, "bt").sums(pairs)
    assert found.item() / 3 == pytest.approx(theirs.item(), abs=1e-5)


# ---------------------------------------------------------------------------------------- sequences, counted once


def test_a_text_is_the_sum_over_its_own_tokens_and_its_end_counts_once(models: tuple[str, str]) -> None:
    model, ids = model_of(models[0]), [4, 7, 9, 11, 2]
    [example] = [pair(ids, ids, (2, 2)).chosen]
    with torch.no_grad():
        sums, counts = sequence_logprobs(Learner(model), [example])
        logp = losses.token_logprobs(model(torch.tensor([ids])).logits, torch.tensor([ids]))
    assert counts.tolist() == [3.0]
    assert sums.item() == pytest.approx(logp[0, 2:].sum().item(), abs=1e-5)


def test_repeating_a_token_of_equal_log_prob_leaves_a_mean_score_alone() -> None:
    once, twice = torch.tensor([[-0.7, -0.7]]), torch.tensor([[-0.7, -0.7, -0.7]])
    for x in (once, twice):
        mean = losses.reduce(x, torch.ones_like(x), Reduce.SEQ_MEAN_TOKEN_MEAN)
        assert mean.item() == pytest.approx(-0.7, abs=1e-6)


def test_a_solution_without_tokens_is_refused(models: tuple[str, str]) -> None:
    empty = Example("p", (4, 5), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    with pytest.raises(UsageError, match="no tokens of its own"):
        sequence_logprobs(Learner(model_of(models[0])), [empty])


def test_the_reference_has_no_gradient_and_dpo_starts_at_ln_2(models: tuple[str, str]) -> None:
    learner = Learner(model_of(models[0]))
    pairs = with_reference(learner, [pair([4, 7, 9], [4, 8, 8, 6], (1, 1))], 8192)
    [loss] = PairObjective(learner, "dpo", beta=0.7).sums(pairs)
    assert loss.item() == pytest.approx(LN2, abs=1e-6)
    assert loss.requires_grad
    assert F.relu(torch.tensor(pairs[0].reference)).sum() == 0  # plain numbers, log-probs below 0
