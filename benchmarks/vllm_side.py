"""The vLLM side of `benchmarks/engine.py`: a stand-alone script for a Python that has vLLM and not thence.

    python benchmarks/vllm_side.py --model DIR --loads FILE.json [--dtype float32] [--threads 2]

FILE holds a list of loads ``{"name", "prompts" (lists of token ids), "n", "max_tokens", "ignore_eos", "temperature"}``.
Each runs once as a warm-up and then `--rounds` times; one JSON object per load is printed on its own line:
``{"name", "tokens", "seconds", "tokens_per_second"}`` with the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--loads", required=True)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-num-seqs", type=int, default=256)
    args = parser.parse_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

    with open(args.loads) as file:
        loads = json.load(file)
    llm = LLM(model=args.model, dtype=args.dtype, enforce_eager=True, max_num_seqs=args.max_num_seqs, seed=0)
    for load in loads:
        prompts = [{"prompt_token_ids": ids} for ids in load["prompts"]]
        params = SamplingParams(
            n=load["n"],
            max_tokens=load["max_tokens"],
            ignore_eos=load["ignore_eos"],
            temperature=load["temperature"],
            top_p=1.0,
            top_k=0,
        )
        rounds = []
        for _ in range(args.rounds + 1):
            start = time.perf_counter()
            outputs = llm.generate(prompts, params, use_tqdm=False)
            seconds = time.perf_counter() - start
            tokens = sum(len(o.token_ids) for output in outputs for o in output.outputs)
            rounds.append((tokens / seconds, tokens, seconds))
        rates = sorted(rounds[1:])
        rate, tokens, seconds = rates[(len(rates) - 1) // 2]
        print(json.dumps({"name": load["name"], "tokens": tokens, "seconds": seconds, "tokens_per_second": rate}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
