"""What thence itself costs: an evaluation against the bare engine on the same load, and start-up.

All ratios are taken in one run, the sides interleaved, the median of several rounds.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from thence import api, methods
from thence.core.budget import Spent
from thence.core.completion import Completion, Request, Sampling
from thence.core.protocols import Generator
from thence.evals.evaluate import Arm, chosen_problems, eval_header, evaluate
from thence.stores.sqlite import RunFile

PROBLEMS, SAMPLES, ROUNDS = 64, 16, 5
Row = dict[str, Any]


async def raw_tokens_per_second(generator: Generator, seed: int) -> float:
    """Every sample of the load handed to the engine at once, nothing done with it."""
    task = api.task("wordproblems")
    style = methods.prompt("cot")
    sampling = generator.defaults
    problems = chosen_problems(task, PROBLEMS)
    requests = [
        Request(style.context(p), sampling, seed * 1_000_003 + 1000 * i + k)
        for i, p in enumerate(problems)
        for k in range(SAMPLES)
    ]
    tokens, started = 0, time.perf_counter()
    async with aclosing(generator.run(requests, Spent())) as outcomes:
        async for _, outcome in outcomes:
            assert isinstance(outcome, Completion)
            tokens += outcome.generated or 0
    return tokens / (time.perf_counter() - started)


async def eval_tokens_per_second(
    generator: Generator, seed: int, folder: Path, sampling: Sampling | None = None
) -> float:
    """The same load through an evaluation: votes, grades, trees, books and a run file."""
    task = api.task("wordproblems")
    arm = Arm("self-consistency(n=16)", methods.strategy("self-consistency(n=16)"), methods.prompt("cot"), "cot")
    arm = replace(arm, sampling=sampling or generator.defaults)
    header = eval_header(task, generator, arm, seed=seed, limit=PROBLEMS)
    with RunFile.open(folder / f"{seed}.db", header) as store:
        started = time.perf_counter()
        report = await evaluate(task, generator, arm, seed=seed, limit=PROBLEMS, store=store)
        seconds = time.perf_counter() - started
    assert report.charged.generated is not None
    return report.charged.generated / seconds


async def _eval_rows(rounds: int) -> tuple[dict[str, Row], dict[str, float]]:
    generator = api.load("acorn")
    chosen_problems(api.task("wordproblems"), PROBLEMS)
    raw, through = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(rounds + 1):
            a = await raw_tokens_per_second(generator, seed)
            b = await eval_tokens_per_second(generator, seed, Path(folder))
            if seed:  # the first round warms up
                raw.append(a)
                through.append(b)
    await api.close_loaded()
    ratio = statistics.median(b / a for a, b in zip(raw, through, strict=True))
    what = f"self-consistency of {SAMPLES} over {PROBLEMS} problems through an evaluation, against the bare engine"
    rows = {"eval-overhead": {"ratio": ratio, "goal": 0.9, "better": "higher", "what": what}}
    return rows, {"bare engine, tokens/s": statistics.median(raw), "evaluation, tokens/s": statistics.median(through)}


def cpu_seconds(command: list[str], rounds: int = 5) -> float:
    """Median user and system time of a command."""
    times = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(times)


async def plain_requests(url: str) -> float:
    """The load as plain HTTP requests with n=16, all at once: what the server can do for anyone. No seeds: vLLM's CPU
    build dies on them (docs/servers.md)."""
    import httpx

    task, style = api.task("wordproblems"), methods.prompt("cot")
    problems = chosen_problems(task, PROBLEMS)
    sampling = api.sampled(api.load("acorn"))
    async with httpx.AsyncClient(timeout=600, trust_env=False, limits=httpx.Limits(max_connections=None)) as client:

        async def one(i: int) -> int:
            messages = [{"role": m.role, "content": m.content} for m in style.context(problems[i]).messages]
            body = {
                "model": "acorn",
                "messages": messages,
                "n": SAMPLES,
                "temperature": sampling.temperature,
                "max_tokens": 512,
            }
            reply = await client.post(f"{url}/chat/completions", json=body)
            return int(reply.json()["usage"]["completion_tokens"])

        started = time.perf_counter()
        tokens = sum(await asyncio.gather(*(one(i) for i in range(len(problems)))))
        return tokens / (time.perf_counter() - started)


async def _server_rounds(url: str, rounds: int) -> tuple[list[float], list[float]]:
    sampling = replace(api.load("acorn").defaults, max_tokens=512)
    options = methods.ModelOptions(max_connections=PROBLEMS)
    plain, through = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(rounds + 1):
            a = await plain_requests(url)
            generator = api.load(f"openai:acorn@{url}", options)
            b = await eval_tokens_per_second(generator, 500 + seed, Path(folder), sampling)
            if seed:
                plain.append(a)
                through.append(b)
    await api.close_loaded()
    return plain, through


def through_server(vllm_python: str, rounds: int = ROUNDS) -> tuple[dict[str, Row], dict[str, float]]:
    """The same load through a vLLM server: an evaluation against plain requests with n=16."""
    from vllm_server import served

    with served(vllm_python) as url:
        plain, through = asyncio.run(_server_rounds(url, rounds))
    ratio = statistics.median(b / a for a, b in zip(plain, through, strict=True))
    what = f"self-consistency of {SAMPLES} over {PROBLEMS} problems through a vLLM server, against plain requests"
    rows = {"server-eval-overhead": {"ratio": ratio, "goal": 0.9, "better": "higher", "what": what}}
    medians = {
        "plain requests, tokens/s": statistics.median(plain),
        "through thence, tokens/s": statistics.median(through),
    }
    return rows, medians


def measure(rounds: int = ROUNDS) -> tuple[dict[str, Row], dict[str, float]]:
    """Rows of the table, and the figures behind them."""
    rows, figures = asyncio.run(_eval_rows(rounds))
    bare = cpu_seconds([sys.executable, "-c", "pass"])
    importing = cpu_seconds([sys.executable, "-c", "import thence"]) - bare
    helping = cpu_seconds([sys.executable, "-m", "thence", "--help"])
    rows["import-seconds"] = {"ratio": importing, "goal": 0.15, "better": "lower", "what": "import thence, CPU seconds"}
    rows["help-seconds"] = {"ratio": helping, "goal": 0.4, "better": "lower", "what": "thence --help, CPU seconds"}
    return rows, figures


if __name__ == "__main__":
    print(measure())
