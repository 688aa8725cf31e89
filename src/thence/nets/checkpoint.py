"""A checkpoint on disk or on the Hugging Face hub, read into plain tensors and a few numbers.

The engine runs its own forward pass, so all it needs of a model is the shape (`Shape`), the weights by name, the
tokenizer and the generation config. Weights come through transformers, which knows about shards, tied embeddings and
hub names; safetensors only and no remote code, each opened by an explicit flag.

Covered: the Llama family (Llama, Mistral without sliding window), Qwen2 and Qwen3, with rotary embeddings whose
frequencies are fixed (default, linear, llama3, yarn). Not covered, and refused by name: mixtures of experts, sliding
windows, frequencies that change with the length (dynamic, longrope), quantised weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from thence.core.errors import ModelError, UsageError

try:
    import torch
except ImportError as error:  # pragma: no cover - depends on the installation
    raise ModelError('the local model needs torch: pip install "thence[local]"') from error

FAMILIES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
FIXED_ROPES = frozenset({"default", "linear", "llama3", "yarn"})
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
PICKLED = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a decoder: widths, heads, norms. ``context`` is the longest prompt plus completion."""

    family: str
    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    context: int

    @property
    def group(self) -> int:
        """Query heads per key/value head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True)
class Checkpoint:
    """Everything read from a model directory. ``weights`` keep the names of the transformers state dict."""

    name: str
    shape: Shape
    dtype: torch.dtype
    weights: dict[str, torch.Tensor]
    inv_freq: torch.Tensor
    rope_scale: float
    tokenizer: Any
    generation: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """Hash of the weights and of the tokenizer: what makes a model itself, wherever it lies."""
        h = blake2b(digest_size=12)
        for key in sorted(self.weights):
            tensor = self.weights[key].detach().to("cpu").contiguous()
            h.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            h.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
        h.update(tokenizer_json(self.tokenizer).encode())
        h.update((getattr(self.tokenizer, "chat_template", None) or "").encode())
        return h.hexdigest()


def load_checkpoint(
    path_or_name: str,
    *,
    dtype: Callable[[Shape], torch.dtype],
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    extra: dict[str, torch.Tensor] | None = None,
) -> Checkpoint:
    """Read a checkpoint on the CPU, with its weights in the dtype that ``dtype`` chooses for its shape.

    ``extra`` takes the tensors of its files that are no part of the language model, such as a head.

    Raises ModelError for a path that does not exist, a directory without a tokenizer, pickled weights without
    ``allow_pickle``, and architectures the engine has no forward pass for.
    """
    try:
        import transformers
    except ImportError as error:  # pragma: no cover - depends on the installation
        raise ModelError('the local model needs transformers: pip install "thence[local]"') from error
    _check_directory(path_or_name, allow_pickle)
    config = _quietly(
        path_or_name, lambda: transformers.AutoConfig.from_pretrained(path_or_name, trust_remote_code=trust_remote_code)
    )
    _check_family(path_or_name, config)
    shape = _shape(config)
    kind = dtype(shape)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path_or_name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise ModelError(f"{path_or_name}: its tokenizer cannot be loaded ({_first_line(error)})") from error
    model = _quietly(
        path_or_name,
        lambda: transformers.AutoModelForCausalLM.from_pretrained(
            path_or_name,
            config=config,
            dtype=kind,
            use_safetensors=None if allow_pickle else True,
            trust_remote_code=trust_remote_code,
        ),
        silent=extra is not None,  # it would list the head as unexpected
    )
    rope = model.model.rotary_emb
    if getattr(rope, "rope_type", "default") not in FIXED_ROPES:
        raise ModelError(
            f"{path_or_name}: rotary embeddings of type {rope.rope_type!r} are not supported by the local engine; "
            f"supported are {', '.join(sorted(FIXED_ROPES))}; serve it with another engine and use openai:NAME@URL"
        )
    generation = model.generation_config.to_dict() if model.generation_config is not None else {}
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    if extra is not None:
        extra.update(_others(resolve(path_or_name), weights))
    return Checkpoint(
        name=path_or_name,
        shape=shape,
        dtype=kind,
        weights=weights,
        inv_freq=rope.inv_freq.detach().float().clone(),
        rope_scale=float(getattr(rope, "attention_scaling", 1.0)),
        tokenizer=tokenizer,
        generation=generation,
    )


def resolve(path_or_name: str) -> Path:
    """The directory of a model: itself, or where the hub's cache keeps it."""
    path = Path(path_or_name)
    if path.is_dir():
        return path
    from transformers.utils.hub import cached_file

    _check_directory(path_or_name, allow_pickle=False)
    found = _quietly(path_or_name, lambda: cached_file(path_or_name, "config.json"))
    return Path(found).parent


def weights_hash(path_or_name: str | Path, *names: str) -> str:
    """Hash of a model's weight files (``*.safetensors``, or only those called ``names``), wherever they lie."""
    directory = resolve(str(path_or_name))
    h = blake2b(digest_size=12)
    for name in sorted(names or (p.name for p in directory.glob("*.safetensors"))):
        h.update(name.encode())
        with (directory / name).open("rb") as file:
            while chunk := file.read(1 << 24):
                h.update(chunk)
    return h.hexdigest()


def _others(directory: Path, known: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors in the files of ``directory`` that are not among ``known`` names."""
    from safetensors import safe_open

    found: dict[str, torch.Tensor] = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - the handle is no dictionary
                if name not in known:
                    found[name] = file.get_tensor(name)
    return found


def tokenizer_json(tokenizer: Any) -> str:
    """The tokenizer's own serialisation; of slow tokenizers the vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return str(backend.to_str())
    return json.dumps(sorted(tokenizer.get_vocab().items()))


def _check_directory(path_or_name: str, allow_pickle: bool) -> None:
    """Refuse early, with one clear line, what transformers reports in many."""
    path = Path(path_or_name)
    if not path.is_dir():
        looks_local = path.is_absolute() or path_or_name.startswith((".", "~")) or path_or_name.count("/") != 1
        if path.exists():
            raise ModelError(f"{path_or_name} is a file; a model is a directory with config.json and safetensors")
        if looks_local and "/" in path_or_name:
            raise ModelError(f"model path {path_or_name} does not exist; give a directory or a Hugging Face name")
        return
    if not (path / "config.json").is_file():
        raise ModelError(f"{path_or_name} has no config.json; a model directory is what save_pretrained writes")
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{path_or_name} has no tokenizer ({', '.join(TOKENIZER_FILES)}); save one there: "
            "tokenizer.save_pretrained(...)"
        )
    if not list(path.glob("*.safetensors")):
        if any(p.suffix in PICKLED for p in path.iterdir()):
            if not allow_pickle:
                raise ModelError(
                    f"{path_or_name} holds pickled weights only, and loading a pickle runs code from the file; convert "
                    "them to safetensors, or pass --allow-pickle if you trust their author"
                )
        else:
            raise ModelError(f"{path_or_name} has no weights (*.safetensors)")


def _check_family(name: str, config: Any) -> None:
    known = ", ".join(sorted(FAMILIES.values()))
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"{name}: model type {config.model_type!r} is not supported by the local engine; supported are {known}; "
            "serve it with another engine and use openai:NAME@URL"
        )
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(f"{name}: quantised weights are not supported by the local engine; use an unquantised copy")
    # Qwen configs carry a window that is off unless use_sliding_window; Mistral's is on whenever it is set.
    window = getattr(config, "sliding_window", None)
    if window is not None and (config.model_type == "mistral" or getattr(config, "use_sliding_window", False)):
        raise ModelError(f"{name}: sliding-window attention ({window}) is not supported by the local engine")
    if getattr(config, "hidden_act", "silu") != "silu":
        raise ModelError(f"{name}: activation {config.hidden_act!r} is not supported by the local engine; only silu is")


def _shape(config: Any) -> Shape:
    heads = int(config.num_attention_heads)
    return Shape(
        family=str(config.model_type),
        vocab=int(config.vocab_size),
        width=int(config.hidden_size),
        layers=int(config.num_hidden_layers),
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        eps=float(config.rms_norm_eps),
        context=int(config.max_position_embeddings),
    )


def _quietly(name: str, load: Any, *, silent: bool = False) -> Any:
    """Run a transformers loader without progress bars (``silent``: nor warnings); its errors become one line that
    names the model."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    if silent:
        logging.set_verbosity_error()
    try:
        return load()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise ModelError(f"cannot load {name}{offline}: {_first_line(error)}") from error
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def pick_dtype(name: str) -> torch.dtype:
    """The dtype called ``name``."""
    table = {"float32": torch.float32, "fp32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16}
    table |= {"float16": torch.float16, "fp16": torch.float16}
    if name not in table:
        raise UsageError(f"dtype {name!r} is unknown; use float32, bfloat16 or float16")
    return table[name]
