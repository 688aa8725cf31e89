"""Heads: what reads numbers from hidden states.

A head is one linear layer, or several with ReLU between them, from the trunk's final (normed) states [n, width] to
[n, classes]. One class is a logit (sigmoid) or a plain number, several are a softmax. Parameter names are those of the
published models: ``score.*`` (Hugging Face token classification; two layers: Qwen2.5-Math-PRM), ``classifier.*`` and
``v_head.summary.*`` (Skywork-o1-PRM), so that their files are read without running their code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

PREFIXES = ("score.", "v_head.summary.", "classifier.")
Tensor = torch.Tensor


def make_head(width: int, classes: int = 1, hidden: int = 0) -> nn.Module:
    """A fresh head to train: linear and zero (every score is even at the start), or with one hidden layer."""
    last = nn.Linear(hidden or width, classes)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), last) if hidden else last


def head_tensors(head: nn.Module) -> dict[str, Tensor]:
    """The weights of a trained head under the names they are saved by."""
    return {f"score.{name}": weight.detach().float().cpu().contiguous() for name, weight in head.state_dict().items()}


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Layers of (weight [out, in], bias [out] or None), ReLU between them."""

    layers: tuple[tuple[Tensor, Tensor | None], ...]

    @property
    def classes(self) -> int:
        """How many numbers it gives per state."""
        return self.layers[-1][0].shape[0]

    @property
    def width(self) -> int:
        """The width of the states it reads."""
        return self.layers[0][0].shape[1]

    def __call__(self, states: Tensor) -> Tensor:
        """[n, classes] in float32 of states [n, width].

        A row's result does not depend on how many rows there are: each number is a sum over one row.
        """
        x = states.float()
        for i, (weight, bias) in enumerate(self.layers):
            x = (x.relu() if i else x).unsqueeze(1).mul(weight).sum(-1)
            if bias is not None:
                x = x + bias
        return x

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Head | None:
        """The head among ``tensors``, found by the published names; None if there is none."""
        for prefix in PREFIXES:
            found = {k.removeprefix(prefix): v.float() for k, v in tensors.items() if k.startswith(prefix)}
            if "weight" in found:
                return Head(((found["weight"], found.get("bias")),))
            if found:
                order = sorted({int(k.split(".")[0]) for k in found})
                return Head(tuple((found[f"{i}.weight"], found.get(f"{i}.bias")) for i in order))
        return None

    @staticmethod
    def tokens(output: Tensor, ids: tuple[int, ...]) -> Head:
        """The language model's own logits of a few tokens: rows of its output matrix [vocab, width]."""
        return Head(((output[list(ids)].float(), None),))
