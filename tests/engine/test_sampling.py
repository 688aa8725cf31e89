"""Drawing tokens from logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thence.engine.sampling import Choice, logprobs_of, mixed, pick, ranked, top_two, uniforms


def noise(count: int, seed: int = 3) -> torch.Tensor:
    return torch.from_numpy(uniforms(mixed(np.full(count, seed, np.uint64)), np.arange(count).astype(np.uint64)))


def choose(rows: int, temperature: float, top_k: int | None = None, top_p: float | None = None) -> Choice:
    return Choice.of(
        torch.full((rows,), temperature),
        torch.full((rows,), top_k or 0),
        torch.full((rows,), 1.0 if top_p is None else top_p),
    )


def frequencies(logits: list[float], choice: Choice, rows: int) -> list[float]:
    tokens, _ = pick(torch.tensor([logits]).repeat(rows, 1), noise(rows), choice)
    return (torch.bincount(tokens, minlength=len(logits)) / rows).tolist()


def test_noise_is_uniform_and_belongs_to_seed_and_position() -> None:
    many = noise(200_000)
    assert many.min() >= 0
    assert many.max() < 1
    assert abs(many.mean() - 0.5) < 0.003
    assert abs(many.var() - 1 / 12) < 0.002
    seeds, positions = np.array([5, 6, 5], np.uint64), np.array([0, 0, 9], np.uint64)
    together = uniforms(mixed(seeds), positions)
    for i in range(3):
        assert uniforms(mixed(seeds[i : i + 1]), positions[i : i + 1])[0] == together[i]
    assert len(set(together.tolist())) == 3
    # Streams of neighbouring seeds are not shifted copies of each other.
    streams = [set(noise(1000, seed).tolist()) for seed in range(5)]
    assert max(len(a & b) for a in streams for b in streams if a is not b) < 5


def test_frequencies_follow_the_tempered_distribution() -> None:
    logits = [0.0, 1.0, 2.0, -1.0]
    for temperature in (0.5, 1.0, 2.0):
        expected = torch.softmax(torch.tensor(logits) / temperature, -1).tolist()
        assert frequencies(logits, choose(50_000, temperature), 50_000) == pytest.approx(expected, abs=0.01)


def test_top_k_and_top_p_keep_the_likeliest_and_the_token_that_crosses() -> None:
    logits = torch.log(torch.tensor([0.1, 0.5, 0.15, 0.25])).tolist()
    assert frequencies(logits, choose(20_000, 1.0, top_k=2), 20_000) == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.02)
    kept = frequencies(logits, choose(20_000, 1.0, top_p=0.6), 20_000)
    assert kept == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.02)
    assert frequencies(logits, choose(5_000, 1.0, top_p=0.4), 5_000) == [0, 1, 0, 0]
    both = frequencies(logits, choose(20_000, 1.0, top_k=3, top_p=0.8), 20_000)  # of the three: .556 .278 .167
    assert both == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.02)


def test_greedy_takes_the_lowest_id_on_ties_also_beside_sampled_rows() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0, 2.0]] * 3)
    assert pick(logits, noise(3), choose(3, 0.0))[0].tolist() == [1, 1, 1]
    beside = Choice.of(torch.tensor([0.0, 1e-3, 0.0]), torch.zeros(3, dtype=torch.int64), torch.ones(3))
    tokens, _ = pick(logits, noise(3), beside)
    assert tokens[0] == tokens[2] == 1
    assert ranked(logits[0], 0) == 1
    assert ranked(logits[0], 1) == 2
    assert ranked(logits[0], 3) == 0


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.full((3, 5), float("-inf"))
    logits[:, 2] = 0.0
    extremes = torch.tensor([0.0, 0.5, 1 - 2.0**-24])
    assert pick(logits, extremes, choose(3, 1.0))[0].tolist() == [2, 2, 2]


def test_logprobs_are_untempered_and_top_two_are_sorted() -> None:
    logits = torch.randn(6, 9)
    tokens, logprobs = pick(logits, noise(6), choose(6, 0.3))
    table = torch.log_softmax(logits, -1)
    assert torch.allclose(logprobs, table.gather(1, tokens[:, None])[:, 0], atol=1e-6)
    assert torch.equal(logprobs, logprobs_of(logits, tokens))
    assert torch.allclose(top_two(logits), table.topk(2).values, atol=1e-6)


def test_a_wide_vocabulary_is_drawn_from_its_tail_too() -> None:
    rows, vocab = 400, 60_000
    tokens, _ = pick(torch.zeros(1, vocab).expand(rows, -1), noise(rows), choose(rows, 1.0))
    assert tokens.max() > 0.99 * vocab
    assert abs(tokens.double().mean() / vocab - 0.5) < 0.05
