"""``thence train acorn``: make the embedded model anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from thence.core.errors import ModelError

from .present import out, plain


def train(
    what: Literal["acorn"],
    /,
    *,
    out_dir: Path = Path("out/acorn"),
    steps: int | None = None,
    device: str = "cpu",
    threads: int = 1,
    seed: int = 0,
) -> None:
    """Train the embedded model; the same command resumes after a stop.

    Parameters
    ----------
    what
        acorn.
    out_dir
        Where checkpoint, log and exported model go.
    steps
        Number of training steps; default: the recipe's own.
    device
        cpu, cuda or mps.
    threads
        Threads for the matrix products.
    seed
        Seed of initial weights and data.
    """
    try:
        from thence.recipes.acorn import AcornConfig, train_acorn
    except ImportError as error:
        raise ModelError(f'training needs torch ({error}): pip install "thence[local]"') from error
    config = AcornConfig(out=out_dir, device=device, threads=threads, seed=seed)
    path = train_acorn(config if steps is None else replace(config, steps=steps))
    out.print(plain(f"exported to {path}; try it: thence eval wordproblems --model hf:{path}"))
