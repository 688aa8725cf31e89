"""How often the audit of judges accuses a clean judge, and how often it finds a planted bias (docs/open-ended.md).

.venv/bin/python tools/judge_alarms.py          # 400 clean judges, 100 of each planted fault; about a minute
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import cache

from thence.evals.open_ended.audit import Equals, Truth, audit, truths
from thence.evals.open_ended.judges import PlantedJudge
from thence.evals.statistics.metrics import wilson
from thence.grading.extract import default_reading

CLEAN, FAULTY, PAIRS = 400, 100, 60
MINE, THEIRS = "I said:\n", "He says\n"  # equally long
SIZES = [{fault: size} for fault in ("position", "length", "style", "own") for size in (0.5, 1.0)]
FAULTS: list[dict[str, float]] = [{}, {"sharpness": 1.0}, *SIZES]


def main() -> None:
    """Print one line per kind of judge."""
    known = truths(PAIRS)
    own = [Equals(t.question, MINE + t.right, THEIRS + t.right) for t in known]
    for fault in FAULTS:
        clean = not fault or "sharpness" in fault
        runs = CLEAN if clean else FAULTY
        counts = asyncio.run(alarms(known, own, fault, runs))
        name = ", ".join(f"{k}={v:g}" for k, v in fault.items()) or "clean"
        low, high = wilson(counts["any"], runs)
        found = ", ".join(f"{k} {100 * n / runs:.1f}" for k, n in sorted(counts.items()) if k != "any")
        share = f"{100 * counts['any'] / runs:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"
        print(f"{name:<14} {runs} judges: any {share}; {found}", flush=True)


async def alarms(known: list[Truth], own: list[Equals], fault: dict[str, float], runs: int) -> Counter[str]:
    """How many of ``runs`` judges are accused, of what."""
    reading = default_reading()

    @cache
    def key(text: str) -> str | None:
        found = reading.extract(text)
        return None if found is None else reading.key(found.value)

    right = {t.question: key(t.right) for t in known}
    counts: Counter[str] = Counter()
    for seed in range(runs):
        judge = PlantedJudge(
            lambda q, text: float(key(text) == right[q]), mine=lambda text: text.startswith(MINE), seed=seed, **fault
        )
        faults = (await audit(judge, known, own)).faults
        counts.update(faults)
        counts["any"] += bool(faults)
    return counts


if __name__ == "__main__":
    main()
