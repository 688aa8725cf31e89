"""Low-rank adapters (Hu et al. 2021, arXiv:2106.09685) as peft saves them, added into the weights they adapt.

W + scale * B A, with scale = alpha / r (alpha / sqrt(r) where ``use_rslora`` is set). Adding them once costs no time in
the forward pass. Not covered, and refused by name: patterns of ranks, DoRA, adapters of embeddings, other kinds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from thence.core.card import ADAPTER, ADAPTER_CONFIG
from thence.core.errors import ModelError

PREFIX = "base_model.model."
UNSUPPORTED = ("rank_pattern", "alpha_pattern", "use_dora", "fan_in_fan_out", "layer_replication")


def merge_adapter(weights: dict[str, torch.Tensor], directory: Path) -> dict[str, torch.Tensor]:
    """Add the adapter in ``directory`` into ``weights``; returns what else its file holds, such as a head."""
    config = _config(directory)
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    rest: dict[str, torch.Tensor] = {}
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in load_file(directory / ADAPTER).items():
        plain = name.removeprefix(PREFIX)
        for half in ("lora_A", "lora_B"):
            if plain.endswith(f".{half}.weight"):
                halves.setdefault(plain.removesuffix(f".{half}.weight"), {})[half] = tensor
                break
        else:
            rest[plain.replace(".modules_to_save", "")] = tensor
    if not halves:
        raise ModelError(f"{directory / ADAPTER} holds no low-rank weights (…lora_A.weight, …lora_B.weight)")
    for module, pair in halves.items():
        key = next((k for k in (f"{module}.weight", f"model.{module}.weight") if k in weights), None)
        if key is None or len(pair) != 2:
            raise ModelError(f"{directory}: its adapter changes {module}, which its trunk does not have")
        weight, a, b = weights[key], pair["lora_A"].float(), pair["lora_B"].float()
        if (b.shape[0], a.shape[1]) != tuple(weight.shape):
            raise ModelError(f"{directory}: its adapter of {module} does not fit a trunk of shape {list(weight.shape)}")
        weights[key] = (weight.float() + scale * (b @ a)).to(weight.dtype)
    return rest


def _config(directory: Path) -> Mapping[str, Any]:
    try:
        config: dict[str, Any] = json.loads((directory / ADAPTER_CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory} has an adapter but no readable {ADAPTER_CONFIG} ({error})") from error
    used = [name for name in UNSUPPORTED if config.get(name)]
    if config.get("peft_type") != "LORA" or used:
        what = ", ".join(used) or f"peft_type {config.get('peft_type')!r}"
        raise ModelError(f"{directory}: adapters with {what} are not supported; merge it into its trunk and save that")
    return config
