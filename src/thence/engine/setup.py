"""From a path and a few wishes to a running engine: dtype, device, batch size, memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from thence.core.errors import UsageError, check_counts
from thence.nets.checkpoint import Checkpoint, Shape, load_checkpoint, pick_dtype

from .engine import Engine
from .text import Text
from .trunk import Trunk

VERSION = 2  # part of a sample's identity: raise it when the same seed gives other tokens
MAX_SLOTS = 256


def default_dtype(device: torch.device, width: int) -> torch.dtype:
    """The dtype a model of this hidden width runs fastest in, decided by facts and not by a timing at start-up.

    CUDA: bfloat16. Apple's mps: float32. CPU: bfloat16 if the processor multiplies bfloat16 natively (AVX-512 BF16 or
    AMX) and the width is at least 512, else float32. Measured on AVX-512 BF16, bfloat16 / float32 tokens per second at
    batch 1, 16, 64: width 896: 1.7, 1.7, 1.8; width 512: 1.3, 1.5, 1.6; width 256: 1.1, 1.1, 1.3; width 128, the
    embedded model's real load: 0.9. With AVX2 only, bfloat16 is half as fast as float32.
    """
    if device.type == "cuda":
        return torch.bfloat16
    if device.type == "cpu" and width >= 512 and _native_bfloat16():
        return torch.bfloat16
    return torch.float32


def _native_bfloat16() -> bool:
    """Whether the processor has bfloat16 dot products."""
    flags: Any = torch.cpu
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(flags, check, lambda: False)() for check in checks)


def default_threads(device: torch.device, width: int) -> int | None:
    """Processor threads for a model of this hidden width; None leaves torch's own number.

    One for narrow models on a CPU: their products are too small to be worth waking a second thread. Measured at width
    128 on two cores, one thread against two, fixed length at batch 1, 8, 64, 256: 4.2, 3.2, 1.7 and 1.3 times the
    tokens per second. Tokens and log-probabilities are the same with either.
    """
    return 1 if device.type == "cpu" and width < 512 else None


def default_slots(shape: Shape, dtype: torch.dtype, memory: int) -> int:
    """Rows whose caches fit the memory at full context (at most 2,048 tokens a row are assumed), 256 at most."""
    token = 2 * shape.layers * shape.kv_heads * shape.head_dim * dtype.itemsize
    return max(1, min(MAX_SLOTS, memory // (token * min(shape.context, 2048))))


def default_memory(device: torch.device) -> int:
    """A quarter of the machine's (or the accelerator's) memory, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory // 4)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4


def verifier_memory_mb(device: torch.device) -> int:
    """Half of that, in MiB: a verifier stands beside a policy, perhaps beside other verifiers."""
    return default_memory(device) // 2**21


def build(
    path_or_name: str,
    *,
    dtype: str | None,
    device: str | None,
    exact: bool | None,
    trust_remote_code: bool,
    allow_pickle: bool,
    slots: int | None,
    memory_mb: int | None,
    threads: int | None,
) -> tuple[Checkpoint, Engine, dict[str, object]]:
    """A checkpoint, its engine, and the facts that a run file's header records."""
    where = pick_device(device)
    checkpoint = load_checkpoint(
        path_or_name,
        dtype=dtype_for(dtype, where),
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    engine, facts = start(checkpoint, where, exact=exact, slots=slots, memory_mb=memory_mb, threads=threads)
    return checkpoint, engine, facts


def dtype_for(name: str | None, device: torch.device) -> Callable[[Shape], torch.dtype]:
    """The dtype called ``name``, or by default the one that suits the device and the model's width."""
    wanted = pick_dtype(name) if name is not None else None
    return lambda shape: wanted or default_dtype(device, shape.width)


def start(
    checkpoint: Checkpoint,
    where: torch.device,
    *,
    exact: bool | None = None,
    slots: int | None = None,
    memory_mb: int | None = None,
    threads: int | None = None,
) -> tuple[Engine, dict[str, object]]:
    """An engine for ``checkpoint``, whose weights it takes over, and the facts that a run file's header records."""
    if slots is not None:
        check_counts("local model", slots=slots)
    if memory_mb is not None:
        check_counts("local model", memory_mb=memory_mb)
    kind = checkpoint.dtype
    threads = threads or default_threads(where, checkpoint.shape.width)
    if threads is not None:
        torch.set_num_threads(threads)  # the check of the short products must see the engine's number
    memory = memory_mb * 2**20 if memory_mb is not None else default_memory(where)
    with torch.inference_mode():
        trunk = Trunk(checkpoint, where, kind)
    text = Text(checkpoint.tokenizer, checkpoint.shape.vocab)
    rows = slots if slots is not None else default_slots(checkpoint.shape, kind, memory)
    ends = end_tokens(checkpoint)
    engine = Engine(trunk, text, ends, slots=rows, memory=memory // 2, threads=threads, exact=exact is not False)
    facts: dict[str, object] = {
        "weights": checkpoint.digest,
        "family": checkpoint.shape.family,
        "dtype": str(kind).removeprefix("torch."),
        "device": where.type,
        "engine": VERSION,
        "exact": exact is not False,
        "slots": rows,
        "torch": str(torch.__version__),
    }
    checkpoint.weights.clear()
    return engine, facts


def end_tokens(checkpoint: Checkpoint) -> frozenset[int]:
    """End-of-text ids: the generation config's, else the tokenizer's."""
    ids = checkpoint.generation.get("eos_token_id")
    if ids is None:
        ids = getattr(checkpoint.tokenizer, "eos_token_id", None)
    if ids is None:
        return frozenset()
    return frozenset(ids) if isinstance(ids, (list, tuple)) else frozenset({int(ids)})


def pick_device(name: str | None) -> torch.device:
    """The torch device called ``name``, the processor by default; UsageError when it is not there."""
    try:
        device = torch.device(name or "cpu")
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is unknown; use cpu, cuda or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda: torch sees no CUDA device here; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device mps: torch sees no Apple GPU here; use --device cpu")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device {name!r} is not supported; use cpu, cuda or mps")
    return device
