"""Coverage against a guess control: the model's own answers, shuffled across problems.

``python tools/guess_control.py RUN.db``: coverage is the share of problems one of whose sampled answers is right; the
control gives every problem the sampled answers of another one (200 seeded shuffles). What is left of coverage above it
is not luck in a small space of answers.
"""

from __future__ import annotations

import json
import random
import sys

from thence.methods import task
from thence.stores.sqlite import RunView

SHUFFLES = 200


def main() -> int:
    """Print both; returns the exit code."""
    with RunView(sys.argv[1]) as view:
        records = [r for cell in view.cells()[:1] for r in view.results(cell).values()]
        problems = task(view.header["task"])
    gold = {p.id: p for p in problems.problems()}
    keys = [[key for key, _, _ in r["draws"] if key is not None] for r in records]
    covered = sum(any(right for _, _, right in r["draws"]) for r in records)
    chance, hits = random.Random(0), 0
    for _ in range(SHUFFLES):
        shift = chance.randrange(1, len(records))
        for i, record in enumerate(records):
            answers = keys[(i + shift) % len(records)]
            hits += any(problems.grade(gold[record["problem"]], "", a).correct for a in answers)
    control = hits / SHUFFLES / len(records)
    coverage = covered / len(records)
    print(json.dumps({"n": len(records), "coverage": coverage, "control": control, "above": coverage - control}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
