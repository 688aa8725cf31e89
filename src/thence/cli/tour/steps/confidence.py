"""Step 6: agreement of samples as confidence (Wang et al. 2022, arXiv:2203.11171): answer, or ask."""

from __future__ import annotations

from thence.evals.statistics.confidence import confidence_report, forecasts

from ..bench import SURE, TASK, Bench, records_of, row_of, share, sided
from ..step import Finding

NEAR = 0.95
OUTCOMES = ("ranks", "misleads", "unclear", "one_kind", "near_certain", "not_certain", "none_sure")


def measure(bench: Bench) -> Finding:
    """How often the vote is right among questions on which so many of the samples agree."""
    made = bench.compare((bench.vote,))
    records = list(records_of(row_of(made, bench.vote)).values())
    report = confidence_report(forecasts(records))
    ranked = report.auroc_interval
    side = None if ranked is None else sided(ranked, 0.5)
    sure = next(a for a in report.above if a.threshold == SURE)
    certain = sure.accuracy is not None and sure.interval[0] >= NEAR
    rows = [
        [f"≥ {a.threshold:g}", str(a.n), f"{100 * a.share:.1f} %", share(a.accuracy, a.interval)] for a in report.above
    ]
    rows.insert(0, ["≥ 0", str(report.n), "100.0 %", share(report.accuracy, report.interval)])

    def draw() -> bytes:
        from thence.evals.statistics.confidence_plot import picture

        return picture(report, f"{TASK}  {bench.vote}  seed {bench.seed}")

    auroc = "-" if report.auroc is None or ranked is None else f"{report.auroc:.2f} [{ranked[0]:.2f}, {ranked[1]:.2f}]"
    return Finding(
        holds=side,
        says=(
            "one_kind" if ranked is None else {None: "unclear", True: "ranks", False: "misleads"}[side],
            "none_sure" if sure.accuracy is None else "near_certain" if certain else "not_certain",
        ),
        values={
            "n": str(report.n),
            "samples": str(report.samples[0]),
            "auroc": auroc,
            "threshold": f"{SURE:g}",
            "answered": f"{100 * sure.share:.0f} %",
            "asked": f"{100 * (1 - sure.share):.0f} %",
            "sure": share(sure.accuracy, sure.interval),
            "all": share(report.accuracy, report.interval),
        },
        columns=("agreement", "questions", "answered", "right_among"),
        rows=rows,
        right=(1, 2, 3),
        commands=(bench.comparing((bench.vote,)), bench.reading("confidence", "confidence.png")),
        draw=draw,
    )
