"""Step 3: a vote of samples is right more often than one sample (Wang et al. 2022, arXiv:2203.11171)."""

from __future__ import annotations

from ..bench import Bench, differences_of, points, row_of, share, sided
from ..step import Finding

GREEDY = "greedy @ cot"
OUTCOMES = ("better", "worse", "unclear", "greedy_better", "greedy_worse", "greedy_unclear")


def measure(bench: Bench) -> Finding:
    """Votes of more and more samples against one sample and against greedy decoding, on the same questions."""
    some = f"self-consistency(n={max(2, bench.samples // 4)}) @ cot"
    arms = (bench.one, GREEDY, some, bench.vote)
    against_one = bench.compare(arms)
    against_greedy = bench.compare(arms, baseline=GREEDY)
    one, greedy = differences_of(against_one), differences_of(against_greedy)
    rows = []
    for arm in arms:
        row = row_of(against_one, arm)
        gains = [points(d[arm].difference, d[arm].interval) if arm in d else "" for d in (one, greedy)]
        rows.append([row.strategy, share(row.accuracy, row.interval), *gains, f"{row.tokens or 0:,.0f}"])
    spent = {arm: row_of(against_one, arm).tokens or 0.0 for arm in arms}
    best = {None: "unclear", True: "better", False: "worse"}
    over_one, over_greedy = one[bench.vote], greedy[bench.vote]

    def draw() -> bytes:
        from ..pictures import compared

        return compared(against_one)

    return Finding(
        holds=sided(over_one.interval),
        says=(best[sided(over_one.interval)], "greedy_" + best[sided(over_greedy.interval)]),
        values={
            "n": str(over_one.n),
            "samples": str(bench.samples),
            "gain": points(over_one.difference, over_one.interval),
            "greedy": points(over_greedy.difference, over_greedy.interval),
            "times": f"{spent[bench.vote] / max(1.0, spent[GREEDY]):.1f}",
        },
        columns=("strategy", "accuracy", "against_one", "against_greedy", "tokens"),
        rows=rows,
        right=(1, 2, 3, 4),
        commands=(bench.comparing(arms, "voting.png"), bench.comparing(arms, baseline=GREEDY)),
        draw=draw,
    )
