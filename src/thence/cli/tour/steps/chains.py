"""Step 4: steps before the answer (Wei et al. 2022, arXiv:2201.11903; drafts: Xu et al. 2025, arXiv:2502.18600)."""

from __future__ import annotations

from ..bench import Bench, differences_of, points, row_of, share, sided
from ..step import Finding

DIRECT, DRAFT, COT = "greedy @ direct", "greedy @ chain-of-draft", "greedy @ cot"
OUTCOMES = ("better", "worse", "unclear", "votes_short", "votes_enough", "votes_unclear")


def measure(bench: Bench) -> Finding:
    """Greedy decoding under three prompts, and as a control the vote of many samples that only answer."""
    control = f"self-consistency(n={bench.samples}) @ direct"
    arms = (DIRECT, control, DRAFT, COT)
    made = bench.compare(arms)
    against_control = bench.compare(arms, baseline=control)
    gains = differences_of(made)
    steps, votes = gains[COT], differences_of(against_control)[COT]
    rows = []
    for arm in arms:
        row = row_of(made, arm)
        gain = points(gains[arm].difference, gains[arm].interval) if arm in gains else ""
        rows.append([arm, share(row.accuracy, row.interval), gain, f"{row.tokens or 0:,.0f}"])

    def draw() -> bytes:
        from ..pictures import compared

        return compared(made)

    return Finding(
        holds=sided(steps.interval),
        says=(
            {None: "unclear", True: "better", False: "worse"}[sided(steps.interval)],
            {None: "votes_unclear", True: "votes_short", False: "votes_enough"}[sided(votes.interval)],
        ),
        values={
            "n": str(steps.n),
            "samples": str(bench.samples),
            "gain": points(steps.difference, steps.interval),
            "votes": points(votes.difference, votes.interval),
            "direct_tokens": f"{row_of(made, DIRECT).tokens or 0:,.0f}",
            "cot_tokens": f"{row_of(made, COT).tokens or 0:,.0f}",
            "votes_tokens": f"{row_of(made, control).tokens or 0:,.0f}",
        },
        columns=("arm", "accuracy", "against_direct", "tokens"),
        rows=rows,
        right=(1, 2, 3),
        commands=(bench.comparing(arms, "chains.png"),),
        draw=draw,
    )
