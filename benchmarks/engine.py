"""The engine's speed, as ratios of one run: against transformers, against vLLM, and what exact mode costs.

    python benchmarks/engine.py [--model DIR] [--dtype float32] [--threads 1] [--rounds 3] [--vllm-python PATH]

Same model, same prompts, equal threads, loading and a first round excluded. Sides take turns, the medians of the rounds
are compared. Loads:

- *real*: 64 word problems x 16 samples until their natural end (needs the embedded model), transformers with
  `num_return_sequences=16` at its best batch size, chosen in the first round;
- *fixed*: 1, 8, 64, 256 different prompts of 48 tokens, 128 new tokens each, end-of-text ignored.

Only ratios mean anything: the machine may be shared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROMPT, NEW = 48, 128
Side = Callable[[], int]  # runs a load once, returns generated tokens


@dataclass(frozen=True, slots=True)
class Load:
    """Prompts as token ids, samples for each, and when they end."""

    name: str
    prompts: list[list[int]]
    n: int
    max_tokens: int
    ignore_eos: bool
    temperature: float


def embedded_model() -> Path | None:
    """The directory of the model that ships with the package, if it is there."""
    import thence

    path = Path(thence.__file__).parent / "acorn"
    return path if (path / "config.json").is_file() else None


def real_load(tokenizer: Any, problems: int = 64, n: int = 16) -> Load:
    """Word problems with the chain-of-thought instruction, sampled as the model's generation config says."""
    from thence.tasks.wordproblems import WordProblems

    items = WordProblems(size=max(problems, 64)).items()[:problems]
    prompts = []
    for item in items:
        turn = {"role": "user", "content": item.question + "\nThink step by step."}
        text = tokenizer.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
        prompts.append(list(tokenizer(text, add_special_tokens=False)["input_ids"]))
    return Load("real", prompts, n, 512, False, 0.8)


def fixed_load(prompts: list[list[int]], count: int) -> Load:
    """``count`` different prompts of the same length, a fixed number of new tokens."""
    flat = [i for p in prompts for i in p]
    cut = [[flat[(i * 7 + j) % len(flat)] for j in range(PROMPT)] for i in range(count)]
    return Load(f"fixed-{count}", cut, 1, NEW, True, 1.0)


class Ours:
    """The local generator."""

    def __init__(self, model: str, dtype: str, threads: int, *, exact: bool = True) -> None:
        from thence.generators.local import load_local

        self.generator = load_local(model, dtype=dtype, threads=threads, exact=exact)

    def run(self, load: Load) -> int:
        """Generated tokens of one round."""
        from thence.core.completion import Sampling
        from thence.engine.jobs import Job, Outcome

        engine = self.generator.engine
        known, engine.ends = engine.ends, frozenset() if load.ignore_eos else engine.ends

        async def work() -> int:
            loop = asyncio.get_running_loop()
            done: asyncio.Queue[Outcome] = asyncio.Queue()
            sampling = Sampling(load.temperature, max_tokens=load.max_tokens)
            jobs = [
                Job(tuple(ids), (), sampling, 1000 * i + k, load.max_tokens, loop, done.put_nowait)
                for i, ids in enumerate(load.prompts)
                for k in range(load.n)
            ]
            engine.submit(jobs)
            return sum([(await done.get()).generated for _ in jobs])

        try:
            engine.store.clear()  # every round prefills its prompts
            return asyncio.run(work())
        finally:
            engine.ends = known


class Transformers:
    """transformers' generate."""

    def __init__(self, model: str, dtype: str, threads: int) -> None:
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        self.torch = torch
        self.model = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        self.pad = self.model.generation_config.pad_token_id or 0
        self.batch: dict[str, int] = {}

    def run(self, load: Load) -> int:
        """Generated tokens of one round at the best batch size (prompts per call) known for the load."""
        return self.generate(load, self.batch.get(load.name, len(load.prompts)))

    def generate(self, load: Load, batch: int) -> int:
        """One pass over the prompts, ``batch`` at a time, left-padded."""
        torch, tokens = self.torch, 0
        for at in range(0, len(load.prompts), batch):
            part = load.prompts[at : at + batch]
            width = max(map(len, part))
            ids = torch.tensor([[self.pad] * (width - len(p)) + p for p in part])
            mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in part])
            fixed = {"min_new_tokens": load.max_tokens} if load.ignore_eos else {}
            with torch.inference_mode():
                out = self.model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    do_sample=True,
                    temperature=load.temperature,
                    top_k=0,
                    top_p=1.0,
                    num_return_sequences=load.n,
                    max_new_tokens=load.max_tokens,
                    **fixed,
                )
            new = out[:, width:]
            tokens += new.numel() if load.ignore_eos else int((new != self.pad).sum())
        return tokens

    def choose(self, load: Load, sizes: Sequence[int]) -> None:
        """Find the best batch size on a quarter of the prompts."""
        part = Load(load.name, load.prompts[: max(1, len(load.prompts) // 4)], *list(asdict(load).values())[2:])
        best = max(sizes, key=lambda size: rate(lambda: self.generate(part, size)))
        self.batch[load.name] = best


clock: Callable[[], float] = time.perf_counter
LEAST = 15.0


def rate(side: Side) -> float:
    """Tokens per second of one run."""
    start = clock()
    tokens = side()
    return tokens / (clock() - start)


def interleaved(sides: dict[str, Side], rounds: int) -> dict[str, float]:
    """Median tokens per second of each side; sides take turns, a first round warms up.

    At least ``rounds`` turns, and more of a short load, until `LEAST` seconds are over.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    start, turn = time.perf_counter(), 0
    while turn < rounds or time.perf_counter() - start < LEAST:
        turn += 1
        for name, side in sides.items():
            rates[name].append(rate(side))
    return {name: statistics.median(values) for name, values in rates.items()}


def vllm_rates(python: str, model: str, dtype: str, threads: int, loads: list[Load], rounds: int) -> dict[str, float]:
    """Tokens per second of vLLM, run by its own interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loads.json"
        path.write_text(json.dumps([asdict(load) for load in loads]))
        script = Path(__file__).with_name("vllm_side.py")
        command = [python, str(script), "--model", model, "--loads", str(path), "--dtype", dtype]
        command += ["--threads", str(threads), "--rounds", str(rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the vLLM side failed:\n{done.stderr[-2000:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["name"]: line["tokens_per_second"] for line in lines}


GOALS = {"real": 3.0, "fixed-1": 2.0, "fixed-8": 2.0, "fixed-64": 1.5, "fixed-256": 1.5}
VLLM_GOALS = {"real": 1.5, "fixed-64": 1.2, "fixed-256": 1.2}


def measure(
    model: str, *, dtype: str, threads: int, rounds: int, vllm_python: str | None = None, only: str = ""
) -> tuple[dict[str, dict[str, object]], dict[str, dict[str, float]]]:
    """Ratios by name, and the raw tokens per second behind them."""
    ours, theirs = Ours(model, dtype, threads), Transformers(model, dtype, threads)
    loose = Ours(model, dtype, threads, exact=False)
    if embedded_model() is not None and Path(model) == embedded_model():
        real = real_load(ours.generator._tokenizer)
        loads = [*(fixed_load(real.prompts, count) for count in (1, 8, 64, 256)), real]
    else:
        prompts = [random.Random(i).choices(range(ours.generator.engine.trunk.shape.vocab), k=64) for i in range(64)]
        loads = [fixed_load(prompts, count) for count in (1, 8, 64, 256)]
    loads = [load for load in loads if only in load.name]
    ratios: dict[str, dict[str, object]] = {}
    raw: dict[str, dict[str, float]] = {}
    for load in loads:
        if load.n > 1:
            theirs.choose(load, (2, 4, 8, 16))
        sides: dict[str, Side] = {
            "thence": lambda load=load: ours.run(load),  # type: ignore[misc]
            "transformers": lambda load=load: theirs.run(load),  # type: ignore[misc]
            "thence-loose": lambda load=load: loose.run(load),  # type: ignore[misc]
        }
        rates = raw[load.name] = interleaved(sides, rounds)
        ratios[f"engine-{load.name}-vs-transformers"] = {
            "ratio": rates["thence"] / rates["transformers"],
            "goal": GOALS[load.name],
            "better": "higher",
            "what": f"tokens/s, {load.name} load, thence / transformers generate ({dtype}, {threads} threads)",
        }
        ratios[f"engine-{load.name}-exact-cost"] = {
            "ratio": rates["thence-loose"] / rates["thence"],
            "goal": 1.1,
            "better": "lower",
            "what": f"tokens/s, {load.name} load, without / with exact mode",
        }
    if vllm_python:
        judged = [load for load in loads if load.name in VLLM_GOALS]
        for name, value in vllm_rates(vllm_python, model, dtype, threads, judged, rounds).items():
            raw[name]["vllm"] = value
            ratios[f"engine-{name}-vs-vllm"] = {
                "ratio": raw[name]["thence"] / value,
                "goal": VLLM_GOALS[name],
                "better": "higher",
                "what": f"tokens/s, {name} load, thence / vLLM CPU ({dtype}, {threads} threads)",
            }
    return ratios, raw


def table(ratios: dict[str, dict[str, object]], raw: dict[str, dict[str, float]]) -> str:
    """Both as plain text."""
    lines = [f"{'ratio':44} {'value':>7} {'goal':>6}"]
    for name, entry in ratios.items():
        sign = ">=" if entry["better"] == "higher" else "<="
        lines.append(f"{name:44} {entry['ratio']:7.2f} {sign}{entry['goal']:4}")
    lines.append("")
    lines.append("tokens per second")
    for name, rates in raw.items():
        lines.append(f"{name:12} " + "  ".join(f"{side} {value:8.0f}" for side, value in rates.items()))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default=None)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vllm-python", default=None)
    parser.add_argument("--only", default="", help="loads whose name contains this")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--cpu-clock", action="store_true", help="processor seconds of this process: for a machine that is busy"
    )
    args = parser.parse_args()
    if args.cpu_clock:
        global clock
        clock = time.process_time
    model = args.model or str(embedded_model() or sys.exit("no embedded model; give --model"))
    ratios, raw = measure(
        model,
        dtype=args.dtype,
        threads=args.threads,
        rounds=args.rounds,
        vllm_python=args.vllm_python,
        only=args.only,
    )
    print(json.dumps({"ratios": ratios, "raw": raw}, indent=1) if args.json else table(ratios, raw))


if __name__ == "__main__":
    main()
