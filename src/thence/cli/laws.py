"""``thence laws``: the worlds' closed forms beside what the real strategies do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from thence.recipes.laws import ERRORS, Bench, Law, check_laws

from .present import err, out, plain, print_json, table


def laws(
    *,
    scale: float = 1.0,
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> int:
    """Check every closed form on the exact worlds; the exit code is 1 when one does not hold.

    Parameters
    ----------
    scale
        Size of the samples: 4 takes four times as long and halves the errors.
    seed
        Seed of the sampling.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    began = time.perf_counter()

    def told(row: Law) -> None:
        if not quiet and err.is_terminal:
            err.print(plain(f"{row.law:<60}", "dim"), end="\r")

    rows = asyncio.run(check_laws(Bench(scale, seed), told))
    broken = [row for row in rows if not row.holds]
    if json:
        print_json({"laws": [asdict(row) | {"holds": row.holds} for row in rows], "broken": len(broken)})
    else:
        columns = ["law", "world", "paper", "n", "predicted", "measured", "± s.e.", "holds"]
        out.print(table("", columns, [_cells(row) for row in rows], right=(3, 4, 5, 6)))
        held = f"{len(rows) - len(broken)} of {len(rows)} laws hold within {ERRORS:g} standard errors"
        out.print(plain(held, "red" if broken else "green"))
        err.print(plain(f"{time.perf_counter() - began:.0f} s", "dim"))
    return 1 if broken else 0


def _cells(row: Law) -> list[str]:
    paper = f"arXiv:{row.paper}" if row.paper else ""
    figures = [f"{row.predicted:.4f}", f"{row.measured:.4f}", f"{row.error:.4f}"]
    return [row.law, row.world, paper, str(row.n), *figures, "yes" if row.holds else "NO"]
