"""Losses as pure functions of float32 tensors: what is trained, one equation each.

Shapes: P pairs, N numbers, B rows of T tokens, V words, S steps. Log-probs of a text are sums over its own tokens
(``token_logprobs``, then ``reduce`` or a masked sum); means are these over the number of tokens. Nothing here knows of
tokenizers or models.

| loss | paper |
|---|---|
| bt | Bradley & Terry 1952, as in reward models since Stiennon et al. 2020, arXiv:2009.01325 |
| dpo, with label smoothing (cDPO) | Rafailov et al. 2023, arXiv:2305.18290 |
| ipo | Azar et al. 2023, arXiv:2310.12036 |
| simpo | Meng et al. 2024, arXiv:2405.14734 |
| orpo | Hong et al. 2024, arXiv:2403.07691 |
| kto | Ethayarajh et al. 2024, arXiv:2402.01306 |
| pqm | Li & Li 2024, arXiv:2410.11287 |
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor

from thence.core.errors import UsageError


class Reduce(StrEnum):
    """How losses of tokens become one number; rows without any counted token are left out of means over rows."""

    TOKEN_MEAN = "token_mean"  # over all counted tokens of the batch
    SEQ_MEAN_TOKEN_MEAN = "seq_mean_token_mean"  # mean over rows of each row's mean
    SEQ_MEAN_TOKEN_SUM = "seq_mean_token_sum"  # mean over rows of each row's sum
    CONST = "const"  # sum / (rows * constant)


def reduce(x: Tensor, mask: Tensor, how: Reduce, constant: float | None = None) -> Tensor:
    """One number from ``x`` [B, T] where ``mask`` [B, T] says what counts (0, 1, or a weight). 0 if nothing does."""
    x, mask = x.float(), mask.float()
    total, each = (x * mask).sum(), mask.sum(1)
    match how:
        case Reduce.TOKEN_MEAN:
            return total / each.sum() if each.sum() > 0 else total
        case Reduce.SEQ_MEAN_TOKEN_MEAN:
            rows = (x * mask).sum(1)[each > 0] / each[each > 0]
            return rows.mean() if len(rows) else total
        case Reduce.SEQ_MEAN_TOKEN_SUM:
            rows = (x * mask).sum(1)[each > 0]
            return rows.mean() if len(rows) else total
        case Reduce.CONST:
            if constant is None or constant <= 0:
                raise UsageError(f"reduce: const divides by a constant above 0, and it is {constant}")
            return total / (len(x) * constant)


def token_logprobs(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """log p(ids[b, t] | ids[b, :t]) in float32 [B, T] from ``logits`` [B, T, V]; 0 for the first token."""
    logp = (logits[:, :-1].float() / temperature).log_softmax(-1)
    return F.pad(logp.gather(-1, ids[:, 1:, None]).squeeze(-1), (1, 0))


# ---------------------------------------------------------------------------------------- numbers read from a state


def bce(logits: Tensor, targets: Tensor) -> Tensor:
    """-(y log s + (1 - y) log(1 - s)) with s = sigmoid(logit), per number [N]; targets may be soft."""
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="none")


def mse(logits: Tensor, targets: Tensor) -> Tensor:
    """(sigmoid(logit) - y)^2 per number [N].

    Differs from Cobbe et al. 2021 and OVM, which regress the bare output: so a score is in [0, 1] whatever it was
    trained with.
    """
    return (logits.float().sigmoid() - targets.float()).square()


def ce(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy per number [N] of two classes, ``logits`` [N, 2] with class 1 for right; targets may be soft."""
    logp, y = logits.float().log_softmax(-1), targets.float()
    return -(y * logp[:, 1] + (1 - y) * logp[:, 0])


def pqm(values: Tensor, right: Tensor, margin: float = 2.0) -> Tensor:
    """Ranking of the steps of one solution: ``values`` [S] are Q, ``right`` [S] their hard labels; one number.

    With Q_0 = 0 for the question itself, C the right steps in order and W the wrong ones: the mean over t of
    -log( e^Q_t / (e^Q_0 + sum over c in C up to t of e^Q_c + sum over w in W of e^(Q_w + margin)) ), t in C, and
    t = 0 if anything is wrong. So right steps rise, wrong ones stay ``margin`` below them and below the question.
    """
    q, good = values.float(), right.bool()
    start = q.new_zeros(1)
    wrong = q[~good] + margin
    chain = torch.cat([start, q[good]])
    n = len(chain)
    later = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
    below = torch.cat([chain.expand(n, n).masked_fill(later, -math.inf), wrong.expand(n, -1)], 1)
    terms = below.logsumexp(1) - chain
    return terms.mean() if len(wrong) else terms[1:].mean()


# ------------------------------------------------------------------------------------------------------------- pairs


def bt(chosen: Tensor, rejected: Tensor, margin: float = 0.0) -> Tensor:
    """-log sigmoid(r+ - r- - margin) per pair [P] of two scores."""
    return -F.logsigmoid(chosen.float() - rejected.float() - margin)


def dpo(margin: Tensor, beta: float, smoothing: float = 0.0) -> Tensor:
    """-log sigmoid(beta h) per pair [P], h = (log p - log p_ref)(chosen) - the same of the rejected, sums over tokens.

    ``smoothing`` is the chance that a pair is the wrong way round (conservative DPO). On means over tokens instead of
    sums this is the length-normalised "sigmoid-norm" loss.
    """
    h = beta * margin.float()
    return -(1 - smoothing) * F.logsigmoid(h) - smoothing * F.logsigmoid(-h)


def ipo(margin: Tensor, beta: float) -> Tensor:
    """(h - 1 / (2 beta))^2 per pair [P]; the paper's h is of sums, TRL's of means over tokens."""
    return (margin.float() - 1 / (2 * beta)).square()


def simpo(chosen: Tensor, rejected: Tensor, beta: float, gamma: float, smoothing: float = 0.0) -> Tensor:
    """-log sigmoid(beta (m+ - m-) - gamma) per pair [P] of mean log-probs; no reference model."""
    h = beta * (chosen.float() - rejected.float()) - gamma
    return -(1 - smoothing) * F.logsigmoid(h) - smoothing * F.logsigmoid(-h)


def orpo(chosen: Tensor, rejected: Tensor, weight: float) -> Tensor:
    """-m+ - weight * log sigmoid(log odds+ - log odds-) per pair [P] of mean log-probs, odds = p / (1 - p)."""
    m, n = chosen.float(), rejected.float()
    odds = (m - n) - (log1mexp(m) - log1mexp(n))
    return -m - weight * F.logsigmoid(odds)


def kto(
    ratios: Tensor, desirable: Tensor, beta: float, baseline: Tensor, weights: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Per text [N]: w_d (1 - sigmoid(beta (r - z))) if desirable, else w_u (1 - sigmoid(beta (z - r))).

    ``ratios`` are log p - log p_ref, z the mean of the same on mismatched pairs, at least 0 and without gradient.
    """
    z = baseline.detach().float().clamp(min=0)
    gap = beta * (ratios.float() - z)
    good = desirable.bool()
    return torch.where(good, weights[0] * (1 - gap.sigmoid()), weights[1] * (1 - (-gap).sigmoid()))


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x < 0, accurate near 0 and far from it; x = 0 is taken as a hair below."""
    x = x.clamp(max=-torch.finfo(x.dtype).tiny)
    near = x > -math.log(2)
    # Each branch gets a harmless input where it is not used: its infinite slope times zero would be NaN.
    return torch.where(near, (-torch.expm1(x.where(near, -1.0))).log(), torch.log1p(-x.where(~near, -1.0).exp()))
