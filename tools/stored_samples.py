"""Statistics reproduced from other people's stored samples: ``python tools/stored_samples.py FOLDER``.

FOLDER holds ``game24/`` (GPT-4's 100 samples for each of 100 Games of 24: Yao et al. 2023, arXiv:2305.10601) and
``cruxeval/`` (CodeLlama-7B, 10 samples for each of 800 functions: Gu et al. 2024, arXiv:2401.03065), both as their
authors published them. Printed are pass@k with 95 % intervals beside what the authors state. Exit code 1 when a stated
number is missed by more than half of its last digit.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thence.core.errors import DataError
from thence.evals.statistics.coverage import coverage

Counts = dict[str, tuple[int, int]]
GAME = {
    "cot": ("gpt4_cot_100samples_900_1000.json.gz", {1: 4.03, 10: 21.5, 100: 49.0}),
    "io": ("gpt4_io_100samples_900_1000.json.gz", {1: 7.3, 100: 33.0}),
}
CRUX = {"input": {1: 35.95, 5: 44.99}, "output": {1: 34.21, 5: 40.29}}
ROUNDED = {7.3: 0.05, 21.5: 0.05, 33.0: 0.5, 49.0: 0.5}  # half of the last digit that is stated, else .005


def read(path: Path) -> Any:
    """A gzipped JSON file; DataError where it is not there or not JSON."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); give the folder that holds game24/ and cruxeval/") from error


def game24(rows: Sequence[Mapping[str, Any]]) -> Counts:
    """(samples, right ones) of each game; the verdicts are the authors' own."""
    counts = {}
    for row in rows:
        verdicts = row["accs"] if "accs" in row else [info["r"] for info in row["infos"]]
        right = [int(v["r"] if isinstance(v, dict) else v) for v in verdicts]
        counts[str(row["idx"])] = (len(right), sum(right))
    return counts


def cruxeval(scored: Mapping[str, Any]) -> Counts:
    """(samples, right ones) of each function."""
    return {name: (len(v), sum(v)) for name, v in scored["raw_scored_generations"].items()}


def table(name: str, counts: Counts, stated: Mapping[int, float], ks: Sequence[int]) -> bool:
    """Print one line per k; whether every stated number is met."""
    met = True
    for k, found in coverage(counts, ks).items():
        value, (low, high) = 100 * found.mean, found.interval
        said = ""
        if k in stated:
            same = abs(value - stated[k]) <= ROUNDED.get(stated[k], 0.005) + 1e-9
            met, said = met and same, f"   stated {stated[k]:g}{'' if same else '   MISSED'}"
        shown = f"{value:6.2f} % [{100 * low:.1f}, {100 * high:.1f}]{said}"
        print(f"{name:16} {len(counts):4d} problems  pass@{k:<3d} {shown}")
    return met


def main() -> int:
    """Print all tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    met = True
    for name, (file, stated) in GAME.items():
        met &= table(f"game24 {name}", game24(read(folder / "game24" / file)), stated, (1, 10, 100))
    for kind, said in CRUX.items():
        scored = read(folder / "cruxeval" / f"codellama7b_t0.2_{kind}_scored.json.gz")
        met &= table(f"cruxeval {kind}", cruxeval(scored), said, (1, 5, 10))
    return 0 if met else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DataError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
