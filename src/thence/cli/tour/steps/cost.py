"""Step 8: what accuracy costs in tokens, and where more hardly pays."""

from __future__ import annotations

from thence.evals.statistics.curves import Priced, knee, pareto

from ..bench import Bench, row_of, share
from ..step import Finding

OUTCOMES = ("dominated", "all_front", "knee", "no_knee")


def measure(bench: Bench) -> Finding:
    """Several ways to answer the same questions: accuracy, tokens, the Pareto front and the knee."""
    some, all_ = max(2, bench.samples // 4), bench.samples
    arms = (
        "greedy @ direct",
        "greedy @ chain-of-draft",
        "greedy @ cot",
        f"self-consistency(n={some}) @ cot",
        f"self-consistency(n={all_}) @ cot",
        f"adaptive-consistency(n={all_}) @ cot",
        f"self-consistency(n={all_}) @ chain-of-draft",
        "cot-decoding(k=10) @ bare",
    )
    made = bench.compare(arms)
    priced = [Priced(r.arm, r.tokens, r.accuracy) for r in made.rows if r.tokens and r.accuracy is not None]
    front, turn = [p.name for p in pareto(priced)], knee(priced)
    beaten = [p.name for p in priced if p.name not in front]
    rows = [
        [arm, share(row.accuracy, row.interval), f"{row.tokens or 0:,.0f}", "✓" if row.arm in front else ""]
        for arm in arms
        for row in (row_of(made, arm),)
    ]

    def draw() -> bytes:
        from ..pictures import compared

        return compared(made)

    return Finding(
        holds=bool(beaten),
        says=("dominated" if beaten else "all_front", "no_knee" if turn is None else "knee"),
        values={
            "n": str(max(r.n for r in made.rows)),
            "beaten": "; ".join(beaten),
            "knee": "-" if turn is None else turn.name,
            "knee_tokens": "-" if turn is None else f"{turn.cost:,.0f}",
            "knee_accuracy": "-" if turn is None else f"{100 * turn.accuracy:.1f} %",
        },
        columns=("arm", "accuracy", "tokens", "front"),
        rows=rows,
        right=(1, 2),
        commands=(bench.comparing(arms, "cost.png"),),
        draw=draw,
    )
