"""Read a verifier from disk: its card, the weights it runs on, and its head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from thence.core.card import ACORN, ADAPTER, CARD, HEAD, HERE, VerifierCard
from thence.core.errors import ModelError

from .adapters import merge_adapter
from .checkpoint import Checkpoint, Shape, load_checkpoint, resolve, weights_hash
from .heads import Head


@dataclass(frozen=True, slots=True)
class LoadedVerifier:
    """``checkpoint`` holds the weights with the adapter added; ``head`` is None for models that are their own head;
    ``digest`` is of every file that decides its numbers."""

    card: VerifierCard
    checkpoint: Checkpoint
    head: Head | None
    digest: str


def trunk_path(card: VerifierCard, directory: Path) -> str:
    """Where the trunk of a verifier lies: a directory, or the name of a model on the hub."""
    if card.trunk == HERE:
        return str(directory)
    if card.trunk == "acorn":
        return str(ACORN)
    near = directory / card.trunk
    return str(near) if near.is_dir() else card.trunk


def check_trunk(card: VerifierCard, directory: Path, found: str) -> None:
    """ModelError unless weights with the hash ``found`` are those that the verifier in ``directory`` was made on."""
    if card.trunk_hash and card.trunk_hash != found:
        raise ModelError(
            f"{directory} was trained on other weights than {card.trunk} has now (hash {card.trunk_hash}, "
            f"not {found}); train it again on these, or point its trunk to the old ones"
        )


def load_head(directory: Path, found: str) -> tuple[VerifierCard, Head]:
    """The head of a shared-trunk verifier, for a generator whose weights have the hash ``found``."""
    card = VerifierCard.read(directory)
    if not (directory / HEAD).is_file():
        raise ModelError(f"{directory} has no {HEAD}; only a head can run on the generator's own states")
    if (directory / ADAPTER).is_file():
        raise ModelError(f"{directory} changes its trunk by an adapter; use it as a model of its own: {card.kind}:PATH")
    check_trunk(card, directory, found)
    head = Head.of(load_file(directory / HEAD))
    if head is None:
        raise ModelError(f"{directory / HEAD} holds no weights of a head (score.weight)")
    return card, head


def load_verifier(
    path_or_name: str, given: VerifierCard | None = None, *, dtype: Callable[[Shape], torch.dtype]
) -> LoadedVerifier:
    """The verifier at a path or hub name. ``given`` is its card where there is none on disk (a public model).

    Raises ModelError when the trunk is not the one it was trained on, and DataError when there is no card at all.
    """
    directory = resolve(path_or_name)
    card = VerifierCard.read(directory) if given is None or (directory / CARD).is_file() else given
    trunk = trunk_path(card, directory)
    hashed = weights_hash(trunk)
    extra: dict[str, torch.Tensor] = {}
    if card.trunk != HERE:
        check_trunk(card, directory, hashed)
    checkpoint = load_checkpoint(trunk, dtype=dtype, extra=extra)
    digest = hashed
    if (directory / ADAPTER).is_file():
        extra |= merge_adapter(checkpoint.weights, directory)
        digest += weights_hash(directory, ADAPTER)
    if (directory / HEAD).is_file():
        extra |= load_file(directory / HEAD)
        digest += weights_hash(directory, HEAD)
    head = Head.of(extra)
    if head is not None and head.width != checkpoint.shape.width:
        raise ModelError(
            f"{path_or_name}: its head reads states of width {head.width}, its trunk has {checkpoint.shape.width}"
        )
    return LoadedVerifier(card, replace(checkpoint, name=path_or_name), head, digest)
