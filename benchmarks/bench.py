"""``make bench``: every ratio of the project in one table, also written to benchmarks/latest.json.

    python benchmarks/bench.py [--quick] [--vllm-python .venv-vllm/bin/python] [--threads N]

Ratios are taken within one run, sides interleaved; the machine may be shared, so only ratios mean anything.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    parser.add_argument(
        "--threads", type=int, default=1, help="of every side; one is the fastest for a model this small"
    )
    parser.add_argument("--dtype", default="float32")
    default = HERE.parent / ".venv-vllm" / "bin" / "python"
    parser.add_argument("--vllm-python", default=str(default) if default.exists() else None)
    parser.add_argument("--output", type=Path, default=HERE / "latest.json")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    import overhead
    import search

    import engine

    rows: dict[str, dict[str, Any]] = {}
    rounds = 1 if options.quick else 3
    model = str(engine.embedded_model())
    ratios, raw = engine.measure(
        model, dtype=options.dtype, threads=options.threads, rounds=rounds, vllm_python=options.vllm_python
    )
    rows.update(ratios)
    print(engine.table(ratios, raw))
    ours, figures = overhead.measure(rounds=rounds)
    rows.update(ours)
    searched, behind = search.measure(rounds)
    rows.update(searched)
    figures.update(behind)
    if options.vllm_python:
        served, more = overhead.through_server(options.vllm_python, rounds=rounds)
        rows.update(served)
        figures.update(more)
    else:
        print("no vLLM environment (make test-vllm sets it up): its rows are left out")
    for name, row in rows.items():
        better = row["ratio"] >= row["goal"] if row["better"] == "higher" else row["ratio"] <= row["goal"]
        mark = "ok  " if better else "MISS"
        print(f"{mark} {name:<28} {row['ratio']:8.3f}  goal {row['goal']:<5} {row['what']}")
    for name, value in figures.items():
        print(f"     {name}: {value:,.0f}")
    print(f"     {platform.machine()}, {options.threads} threads")
    options.output.write_text(json.dumps(rows, indent=1, default=float) + "\n", encoding="utf-8")
    print(f"written {options.output}")


if __name__ == "__main__":
    main()
