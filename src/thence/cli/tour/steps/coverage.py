"""Step 2: more samples hold a right answer more often (Brown et al. 2024, arXiv:2407.21787)."""

from __future__ import annotations

from thence.evals.statistics.run_curves import run_curves

from ..bench import TASK, Bench, records_of, row_of, share, task_of
from ..step import Finding

FLAT = 0.02  # coverage that grows by less is called flat
OUTCOMES = ("grows", "grows_little", "flat", "beyond", "guessable")


def measure(bench: Bench) -> Finding:
    """Coverage of k samples with its interval, beside the coverage that guesses would have."""
    made = bench.compare((bench.vote,))
    records = list(records_of(row_of(made, bench.vote)).values())
    curves = run_curves(f"{TASK}  {bench.vote}", records, {}, task_of(TASK))
    first, last = curves.points[0], curves.points[-1]
    guess = last.guess or 0.0
    gain = last.coverage.mean - first.coverage.mean
    clear = last.coverage.interval[0] > first.coverage.interval[1]
    beyond = last.coverage.interval[0] > guess
    rows = [
        [
            str(p.k),
            share(p.coverage.mean, p.coverage.interval),
            f"{100 * (p.guess or 0.0):.1f} %",
            f"{p.charged.total:,}",
        ]
        for p in curves.points
    ]

    def draw() -> bytes:
        from thence.evals.statistics.curves_plot import picture

        return picture(curves, curves.name)

    return Finding(
        holds=True if clear and beyond else False if gain < FLAT or last.coverage.interval[1] < guess else None,
        says=(
            "grows" if clear else "flat" if gain < FLAT else "grows_little",
            "beyond" if beyond else "guessable",
        ),
        values={
            "n": str(curves.problems),
            "k": str(last.k),
            "one": share(first.coverage.mean, first.coverage.interval),
            "many": share(last.coverage.mean, last.coverage.interval),
            "guess": f"{100 * guess:.1f} %",
        },
        columns=("k", "coverage", "guesses", "tokens"),
        rows=rows,
        right=(0, 1, 2, 3),
        commands=(bench.comparing((bench.vote,)), bench.reading("curves", "coverage.png")),
        draw=draw,
    )
