"""Labels for process reward models: what Math-Shepherd and OmegaPRM give for the same number of rollouts.

Two parts. On worlds of known values: labels per rollout, and how far labels are from the truth (mean |label - V|, and
how often "dead" and "alive" are confused). With the embedded model on its word problems: both methods get the same
rollouts, on training problems; a reward model is trained from each with the same settings, and measured on the same
held-out solutions with exact labels (AUROC of right steps above first wrong ones), and as the weight of a vote. The
control is a reward model trained from Math-Shepherd's labels dealt to other solutions' steps.

    python benchmarks/label_methods.py --problems 1500 --seeds 0,1,2 --out out/labels
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from thence.annotate.label import open_rollouts
from thence.annotate.math_shepherd import MathShepherd
from thence.annotate.omegaprm import OmegaPRM
from thence.core.completion import Sampling
from thence.core.label_files import read_labels, write_labels
from thence.core.labels import Labelled
from thence.core.protocols import Task
from thence.core.scores import Meaning
from thence.prompts.styles import Bare
from thence.worlds import Chain, WorldGenerator

METHODS = {"math-shepherd": "math-shepherd(n=8, solutions={})", "omegaprm": "omegaprm(k=8, searches={})"}
CONTROL = "math-shepherd, labels dealt anew"
HELD_OUT = "wordproblems(split=dev, data_seed=5)"


def thence(*arguments: str) -> dict[str, Any]:
    """One command's JSON."""
    command = [sys.executable, "-m", "thence", *arguments, "--json", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def in_a_world(steps: int, problems: int) -> list[str]:
    """Rows of the first table: a chain of ``steps`` steps whose every value is known."""
    world = Chain(steps=steps, slip=0.0, fatal=0.08, guess=0.0, size=problems)
    rows = []
    for name, method in (("math-shepherd", MathShepherd(n=8, solutions=4)), ("omegaprm", OmegaPRM(k=8, searches=8))):
        errors, confused, located, drawn = [], [], 0, 0
        for problem in world.problems():
            rollouts = open_rollouts(
                cast(Task, world.task()), WorldGenerator(world), Bare(), Sampling(1.0), problem, seed=1
            )
            for record in await method.annotate(rollouts):
                located += not record.correct
                for end, number in zip(record.ends, record.numbers(Meaning.VALUE), strict=True):
                    if number is not None:
                        truth = world.value(problem, record.text[:end])
                        errors.append(abs(number - truth))
                        confused.append((number > 0) != (truth > 0))
            drawn += rollouts.drawn
        counts = f"{drawn:,} | {len(errors):,} | {len(errors) / drawn:.3f} | {1000 * located / drawn:.1f}"
        rows.append(
            f"| {steps} | {name} | {counts} | {statistics.fmean(errors):.3f} | {statistics.fmean(confused):.1%} |"
        )
    return rows


def dealt(records: Sequence[Labelled], seed: int) -> list[Labelled]:
    """The same records with the lists of labels dealt to other solutions of as many steps."""
    rng, made = random.Random(seed), list(records)
    for length in {len(r.ends) for r in records}:
        at = [i for i, r in enumerate(records) if len(r.ends) == length]
        for i, j in zip(at, rng.sample(at, len(at)), strict=True):
            made[i] = replace(made[i], labels=records[j].labels, correct=records[j].correct)
    return made


def equal_rollouts(problems: int, out: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Label files of both methods, each for as many problems as give the same number of rollouts."""
    files: dict[str, tuple[Path, dict[str, Any]]] = {}
    target = 0.0
    for name, spec in (
        ("math-shepherd", METHODS["math-shepherd"].format(2)),
        ("omegaprm", METHODS["omegaprm"].format(4)),
    ):
        limit = problems
        if target:  # how many problems cost as much, from a tenth of them
            tried = thence("label", "wordproblems(split=train, data_seed=3, size=20000)", "--method", spec,
                           "--limit", str(problems // 10), "-o", str(out / "trial.jsonl"),
                           "--run", str(out / "trial.db"))  # fmt: skip
            limit = round(problems // 10 * target / tried["rollouts"])
        path = out / f"{name}.jsonl"
        facts = thence("label", "wordproblems(split=train, data_seed=3, size=20000)", "--method", spec,
                       "--limit", str(limit), "-o", str(path), "--run", str(out / f"{name}.db"))  # fmt: skip
        target = target or facts["rollouts"]
        files[name] = (path, facts)
    path, facts = files["math-shepherd"]
    mixed = out / "dealt.jsonl"
    write_labels(mixed, dealt(read_labels(path), 0))
    files[CONTROL] = (mixed, facts)
    return files


def trained(files: dict[str, tuple[Path, dict[str, Any]]], seeds: Sequence[int], out: Path) -> list[str]:
    """Rows of the second table."""
    held = out / "held-out.jsonl"
    thence("label", HELD_OUT, "--method", "exact(solutions=4)", "--limit", "400", "-o", str(held), "--run",
           str(out / "held-out.db"))  # fmt: skip
    rows = []
    for name, (path, facts) in files.items():
        steps = []
        for seed in seeds:
            where = out / f"{name.split(',')[0]}-{path.stem}-{seed}"
            thence("train", "prm", "--data", str(path), "--seed", str(seed), "-o", str(where))
            found = thence("eval", f"labels(file={held})", "--verifier", f"prm:{where}", "--run", f"{where}.db")
            steps.append(found["step_auroc"])
        spread = f" (sd {statistics.stdev(steps):.3f})" if len(steps) > 1 else ""
        rate = facts["labelled_steps"] / facts["rollouts"]
        rows.append(
            f"| {name} | {facts['problems']:,} | {facts['rollouts']:,} | {facts['generated_tokens']:,} | "
            f"{facts['labelled_steps']:,} | {rate:.3f} | {statistics.fmean(steps):.3f}{spread} |"
        )
        print(rows[-1], flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print both tables and write them to ``OUT/labels.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=1500)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path("out/labels"))
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    columns = "steps | method | rollouts | labels | labels per rollout | first errors per 1,000 rollouts"
    lines = [f"| {columns} | mean error | dead and alive confused |", "|---" * 8 + "|"]
    for steps in (4, 8, 16):
        lines += asyncio.run(in_a_world(steps, 200))
    print("\n".join(lines), flush=True)
    files = equal_rollouts(given.problems, given.out)
    heading = ["| labels from | problems | rollouts | generated tokens | labels | per rollout | AUROC of steps |"]
    lines += ["", *heading, "|---" * 7 + "|", *trained(files, [int(x) for x in given.seeds.split(",")], given.out)]
    (given.out / "labels.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
