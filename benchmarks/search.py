"""What search costs beside plain sampling: tokens that a separate verifier reads, and speed with a shared-trunk head.

The verifiers are random heads on the embedded model: what they say is of no use, what they cost is real. Ratios are
taken in one run, the sides in turn, the median of several rounds. Raw decoding has as many rows at work, on average, as
the search had (the size of its batch is chosen so).

    python benchmarks/search.py
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from thence.core.card import HEAD, VerifierCard, VerifierKind
from thence.core.completion import Sampling
from thence.core.problem import Problem
from thence.core.scores import Meaning
from thence.core.search import Strategy
from thence.core.solve import parts, solve
from thence.generators.local import LocalGenerator, load_local
from thence.methods import ACORN, strategy
from thence.nets.checkpoint import weights_hash
from thence.prompts.styles import ChainOfThought
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.tasks.wordproblems_task import WordProblemsTask
from thence.verifiers.learned import Learned, LocalReader

Row = dict[str, Any]
SAMPLING = Sampling(1.2, max_tokens=256)
BEAM, MCTS = "beam(n=16, width=4, verifier=head:{})", "mcts(simulations=16, wave=4, verifier=head:{})"
PROBLEMS = 64


def random_verifier(path: Path, kind: VerifierKind, fmt: str) -> Path:
    """A linear head of random weights on the embedded model."""
    path.mkdir()
    generator = torch.Generator().manual_seed(0)
    width = 128
    save_file({"score.weight": torch.randn(1, width, generator=generator), "score.bias": torch.zeros(1)}, path / HEAD)
    VerifierCard(kind, Meaning.VALUE, fmt, "acorn", weights_hash(ACORN), None, "Think step by step.").write(path)
    return path


@dataclass(frozen=True, slots=True)
class Measured:
    """Tokens a second, mean rows at work, seconds."""

    rate: float
    rows: float
    seconds: float


async def run(generator: LocalGenerator, how: Strategy, problems: Sequence[Problem], seed: int) -> Measured:
    """All problems at once."""
    counters, reading = generator.engine.counters, WordProblemsTask().reading
    before = (counters.generated, counters.rows, counters.steps)
    begun = time.perf_counter()
    await asyncio.gather(
        *(
            solve(
                p,
                generator=generator,
                strategy=how,
                style=ChainOfThought(),
                reading=reading,
                sampling=SAMPLING,
                seed=seed,
            )
            for p in problems
        )
    )
    seconds = time.perf_counter() - begun
    drawn, rows, steps = counters.generated - before[0], counters.rows - before[1], counters.steps - before[2]
    return Measured(drawn / seconds, rows / max(1, steps), seconds)


async def speed(spec: str, rounds: int) -> tuple[float, float, float]:
    """Search over raw decoding at level 4, its mean rows, and seconds at depth 8 over depth 4."""
    how = strategy(spec)
    shallow, deep = (WordProblemsTask(level=level, size=PROBLEMS).problems() for level in (4, 8))
    searching = load_local(str(ACORN))
    warm = await run(searching, how, shallow, 99)
    slots = max(1, round(warm.rows))
    for _ in range(3):  # samples end at different times, so a batch is not always full
        sampling = load_local(str(ACORN), slots=slots)
        rows = (await run(sampling, RepeatedSampling(n=16), shallow, 99)).rows
        if rows >= 0.95 * warm.rows or slots >= 256:
            break
        await sampling.close()
        slots = min(256, round(slots * warm.rows / rows) + 1)
    ratios, depths = [], []
    for seed in range(rounds):
        search = await run(searching, how, shallow, seed)
        raw = await run(sampling, RepeatedSampling(n=16), shallow, seed)
        ratios.append(search.rate / raw.rate)
        depths.append((await run(searching, how, deep, seed)).seconds / search.seconds)
    await searching.close()
    await sampling.close()
    return statistics.median(ratios), warm.rows, statistics.median(depths)


async def verifier_tokens(spec: str, level: int) -> float:
    """Tokens that a separate verifier computes, over the distinct ones it has to read; 16 problems at once."""
    generator = load_local(str(ACORN))
    how = strategy(spec)
    verifier = next(part for part in parts(how) if isinstance(part, Learned))
    assert isinstance(verifier.reader, LocalReader)
    task = WordProblemsTask(level=level, size=16)
    results = await asyncio.gather(
        *(
            solve(p, generator=generator, strategy=how, style=ChainOfThought(), reading=task.reading, sampling=SAMPLING)
            for p in task.problems()
        )
    )
    distinct = sum(r.ledger.total_charged.verifier or 0 for r in results)
    computed = verifier.reader.engine.counters.prefilled
    verifier.reader.engine.close()
    await generator.close()
    return computed / distinct


def measure(rounds: int = 3) -> tuple[dict[str, Row], dict[str, float]]:
    """Rows for the table, and figures behind them."""
    rows: dict[str, Row] = {}
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        head = random_verifier(Path(folder) / "head", VerifierKind.HEAD, "shared")
        prm = random_verifier(Path(folder) / "prm", VerifierKind.PRM, "plain")
        for name, spec in (("beam", BEAM), ("mcts", MCTS)):
            ratio, mean_rows, depth = asyncio.run(speed(spec.format(head), rounds))
            what = f"{name} with a shared head, tokens a second over raw decoding"
            rows[f"search-{name}-speed"] = {"ratio": ratio, "goal": 0.8, "better": "higher", "what": what}
            what = f"{name}: seconds at depth 8 over depth 4"
            rows[f"search-{name}-depth"] = {"ratio": depth, "goal": 2.3, "better": "lower", "what": what}
            figures[f"mean rows of {name}"] = mean_rows
        for level in (6, 8):
            ratio = asyncio.run(verifier_tokens(f"beam(n=16, width=4, verifier=prm:{prm})", level))
            what = f"tokens a separate verifier computes over distinct ones, {level} operations"
            rows[f"verifier-tokens-{level}"] = {"ratio": ratio, "goal": 1.2, "better": "lower", "what": what}
    return rows, figures


if __name__ == "__main__":
    made, behind = measure()
    for key, row in made.items():
        print(f"{key:<24} {row['ratio']:6.3f}  goal {row['goal']}  {row['what']}")
    for key, value in behind.items():
        print(f"{key}: {value:.0f}")
