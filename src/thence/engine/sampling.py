"""From logits to tokens. A sample's noise depends on its seed and the token's position, on nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Tensor = torch.Tensor
Longs = npt.NDArray[np.uint64]

_STEP, _MIX1, _MIX2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S40, _ONE = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(40), np.uint64(1)
WIDE = 8192  # beyond this many tokens the cumulative sum runs in float64: its tail would round away in float32


def _mix(z: Longs) -> Longs:
    """Finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


def mixed(seeds: Longs) -> Longs:
    """Seeds as `uniforms` takes them: mixed, so that neighbouring seeds do not share shifted streams."""
    return _mix(seeds)


def uniforms(mixed_seeds: Longs, positions: Longs) -> npt.NDArray[np.float32]:
    """One number in [0, 1) per (seed, position): a counter-based hash, 24 bits. Sums and products wrap around."""
    bits = _mix(mixed_seeds + (positions + _ONE) * _STEP) >> _S40
    return bits.astype(np.float32) * np.float32(2.0**-24)


@dataclass(frozen=True, slots=True)
class Choice:
    """How rows choose: temperatures [rows, 1] (None: all are greedy), which rows are greedy (None: none is), and top-k
    (0 off) and top-p (1 off) [rows], None when all are off."""

    heat: Tensor | None
    greedy: Tensor | None = None
    top_k: Tensor | None = None
    top_p: Tensor | None = None

    @staticmethod
    def of(temperature: Tensor, top_k: Tensor, top_p: Tensor) -> Choice:
        """From one number per row; temperature 0 asks for the most likely token."""
        greedy = temperature == 0
        filtered = bool((top_k > 0).any()) or bool((top_p < 1).any())
        return Choice(
            None if greedy.all() else torch.where(greedy, 1.0, temperature).unsqueeze(-1),
            greedy if greedy.any() else None,
            top_k if filtered else None,
            top_p if filtered else None,
        )


def pick(logits: Tensor, noise: Tensor, choice: Choice) -> tuple[Tensor, Tensor]:
    """Next tokens [rows] and their log-probabilities under the untempered model.

    ``logits`` [rows, vocab] float32; ``noise`` [rows] in [0, 1). Greedy rows take the lowest id on ties; for the others
    the token is where the cumulative distribution, in id order, passes the noise.
    """
    if choice.heat is None:
        tokens = logits.argmax(-1)
    else:
        p = torch.softmax(logits / choice.heat, -1)
        if choice.top_k is not None and choice.top_p is not None:
            p = _truncate(p, choice.top_k, choice.top_p)
        cdf = p.cumsum(-1, dtype=torch.float64 if logits.shape[-1] > WIDE else torch.float32)
        # The factor keeps the product below the total even when it rounds up.
        target = cdf[:, -1:] * (noise.unsqueeze(-1) * (1 - 2.0**-23))
        tokens = torch.searchsorted(cdf, target, right=True).squeeze(-1)
        if choice.greedy is not None:
            tokens = torch.where(choice.greedy, logits.argmax(-1), tokens)
    return tokens, logprobs_of(logits, tokens)


def logprobs_of(logits: Tensor, tokens: Tensor) -> Tensor:
    """Natural log-probabilities of ``tokens`` [rows]."""
    return torch.log_softmax(logits, -1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def top_two(logits: Tensor) -> Tensor:
    """The two largest log-probabilities [rows, 2]."""
    return torch.log_softmax(logits, -1).topk(2, -1).values


def ranked(logits: Tensor, rank: int) -> int:
    """The id with the ``rank``-th largest of the logits [vocab] (0 is the best; ties by id)."""
    return int(torch.sort(logits, descending=True, stable=True).indices[rank])


def _truncate(p: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Zero what top-k, then top-p (of what top-k left) exclude; the token that crosses top-p stays."""
    ordered, ids = torch.sort(p, dim=-1, descending=True, stable=True)
    rank = torch.arange(p.shape[-1], device=p.device)
    ordered = torch.where((top_k.unsqueeze(-1) > 0) & (rank >= top_k.unsqueeze(-1)), 0.0, ordered)
    before = ordered.cumsum(-1) - ordered
    ordered = torch.where(before < top_p.unsqueeze(-1) * ordered.sum(-1, keepdim=True), ordered, 0.0)
    return torch.zeros_like(p).scatter_(-1, ids, ordered)
