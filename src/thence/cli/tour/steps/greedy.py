"""Step 1: the likeliest text is not the likeliest answer (Wang et al. 2022, arXiv:2203.11171)."""

from __future__ import annotations

from thence.evals.statistics.confidence import forecasts

from ..bench import Bench, first_text, records_of, right, row_of, share, tally
from ..step import Finding

GREEDY = "greedy @ cot"
OUTCOMES = ("voted", "both_wrong", "never_wrong")


def measure(bench: Bench) -> Finding:
    """Of the questions on which greedy decoding is wrong and the vote right, the one with the most agreement."""
    arms = (GREEDY, bench.vote)
    made = bench.compare(arms)
    row = row_of(made, GREEDY)
    greedy, votes = records_of(row), records_of(row_of(made, bench.vote))
    wrong = [p for p in greedy if p in votes and not right(greedy[p])]
    saved = [p for p in wrong if right(votes[p])]
    said = "voted" if saved else "both_wrong" if wrong else "never_wrong"
    agreed = {f.problem: f.confidence for f in forecasts(list(votes.values()))}
    shown = max(saved, key=lambda p: agreed[p]) if saved else (wrong or list(greedy))[0]
    first, counted = greedy[shown], tally(votes[shown])
    total = sum(count for _, count, _ in counted)
    rows = [
        [key or "-", str(count), f"{count / total:.2f}", "✓" if hit else "", "✓" if key == first["key"] else ""]
        for key, count, hit in counted
    ]
    if first["key"] not in [key for key, _, _ in counted]:
        rows.append([first["key"] or "-", "0", "0.00", "✓" if right(first) else "", "✓"])

    def draw() -> bytes:
        from ..pictures import Bar, bars

        shapes = []
        for answer, _, part, hit, taken in rows:
            notes = [word for word, given in (("right", hit), ("greedy", taken)) if given]
            shapes.append(Bar(answer, float(part), bool(hit), ", ".join(notes)))
        return bars(shapes, f"one question, {total} samples and greedy", "share of the samples with this answer")

    text = first_text(bench.tree(GREEDY, shown)).strip()
    return Finding(
        holds=bool(saved),
        says=(said,),
        values={
            "n": str(len(greedy)),
            "accuracy": share(row.accuracy, row.interval),
            "wrong": str(len(wrong)),
            "saved": str(len(saved)),
            "lost": str(sum(right(greedy[p]) and not right(votes[p]) for p in greedy if p in votes)),
            "greedy": str(first["answer"]),
            "vote": str(votes[shown]["answer"]),
            "samples": str(total),
        },
        columns=("answer", "samples", "share", "right", "greedy"),
        rows=rows,
        right=(1, 2),
        commands=(bench.comparing(arms), bench.showing(GREEDY, shown), bench.showing(bench.vote, shown)),
        draw=draw,
        exhibit=f"{bench.questions()[shown]}\n\n{text}",
    )
