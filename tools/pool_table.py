"""Whether a pool of the recorded models beats the best of them: ``python tools/pool_table.py DATA_DIR``.

Reads ``gsm8k/multi_model_solutions_8.jsonl.gz`` (one solution of each of eight models) and ``gsm8k/test.jsonl.gz``. The
questions are cut into two halves in the file's order; skill is measured on one half and used on the other, both ways
round, and the two are put together. Every line is compared with the best single model, paired by question. The control
``skill of other models`` weighs every model by the skill of the next one in the list.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from thence import api
from thence.core.answers import Verdict
from thence.core.protocols import Generator
from thence.core.skill import Skill
from thence.evals.statistics.metrics import paired
from thence.generators.pool import PoolGenerator
from thence.generators.replay import ReplayGenerator
from thence.stores.skill import read_skill

FILE, REFERENCES = "gsm8k/multi_model_solutions_8.jsonl.gz", "gsm8k/test.jsonl.gz"
GPT3 = [f"openai-gpt3-{size}_{kind}" for size in ("6b", "175b") for kind in ("finetuning", "verification")]
TORA = ["microsoft-tora-70b-v1.0", "microsoft-tora-code-34b-v1.0"]
BEST = "routellm-gpt-4-1106-preview"
SETS = {"eight": [*GPT3, *TORA, "routellm-Mixtral-8x7B-Instruct-v0.1", BEST], "best three": [*TORA, BEST]}
Outcomes = dict[str, float]  # question -> 1 right, 0 wrong


def halves(references: Path, folder: Path) -> list[str]:
    """Two tasks: the first and the second half of the questions."""
    lines = gzip.decompress(references.read_bytes()).decode().splitlines()
    middle = (len(lines) + 1) // 2
    tasks = []
    for name, part in (("first", lines[:middle]), ("second", lines[middle:])):
        (folder / f"{name}.jsonl").write_text("\n".join(part) + "\n")
        tasks.append(f"gsm8k(file={folder / name}.jsonl)")
    return tasks


def outcomes(task: str, model: Generator, strategy: str, run: Path | None = None) -> Outcomes:
    """Every question right or wrong."""
    report = api.evaluate(task, model, strategy, run=run)
    return {r["hash"]: float(r["verdict"] == Verdict.CORRECT) for r in report.records}


def moved(skill: Skill, models: list[ReplayGenerator]) -> Skill:
    """The skill of every model given to the one before it."""
    who = [m.identity for m in models]
    return Skill({a: skill.answers[b] for a, b in zip(who, [*who[1:], who[0]], strict=True)}, skill.source)


def measure(data: Path) -> dict[str, Outcomes]:
    """Outcomes on all questions, each by the skill of the other half."""
    made: dict[str, Outcomes] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tasks = halves(data / REFERENCES, folder)
        every = {name: ReplayGenerator.open(f"{data / FILE}#source={name}") for name in SETS["eight"]}
        votes = "self-consistency(n=8)"
        for i, task in enumerate(tasks):
            outcomes(task, PoolGenerator(every), votes, folder / f"{i}.db")
        for i, task in enumerate(tasks):
            for name, model in every.items():
                made.setdefault(name, {}).update(outcomes(task, model, "greedy"))
            skill = read_skill(folder / f"{1 - i}.db")
            for label, names in SETS.items():
                models = {name: every[name] for name in names}
                other = moved(skill, list(models.values()))
                for said, by, weight in (
                    ("equal votes", None, "count"),
                    ("by skill", skill, "skill"),
                    ("skill of other models", other, "skill"),
                ):
                    vote = f"self-consistency(n={len(names)}, weight={weight})"
                    got = outcomes(task, PoolGenerator(models, skill=by), vote)
                    made.setdefault(f"{label}, {said}", {}).update(got)
    return made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with gsm8k/multi_model_solutions_8.jsonl.gz")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    made = measure(given.data)
    best = made[BEST]
    rows: list[dict[str, Any]] = []
    for name, values in made.items():
        p = paired(best, values)
        accuracy = sum(values.values()) / len(values)
        rows.append({"who": name, "accuracy": accuracy, "points": p.difference, "interval": p.interval})
        rows[-1] |= {"won": p.won, "lost": p.lost, "p": p.p}
    if given.json:
        print(json.dumps(rows))
        return
    print(f"{len(best)} questions, against {BEST}")
    for row in rows:
        low, high = row["interval"]
        flips = f"+{row['won']} -{row['lost']}"
        print(
            f"{row['who']:40s} {100 * row['accuracy']:5.1f} %  {100 * row['points']:+5.1f} "
            f"[{100 * low:+.1f}, {100 * high:+.1f}]  {flips:>10s}  p {row['p']:.4f}"
        )


if __name__ == "__main__":
    main()
