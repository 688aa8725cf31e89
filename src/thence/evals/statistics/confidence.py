"""What the confidence of a stored run is worth: the figures of ``calibration`` from its records.

``agreement`` is the share of all samples that gave the answer which was returned (samples without an answer count in
the denominator; of a pool the samples of all its models count, each as one); ``strategy`` is the strategy's own number,
such as a verifier's score. Maps are fitted on one half of the problems and reported on the other, with the uncalibrated
figures of that same half beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.evals.records import Record, all_draws

from .calibration import (
    BINS,
    MAPS,
    Above,
    Bin,
    Brier,
    RiskCoverage,
    above,
    auroc_interval,
    brier,
    ece,
    ece_floor,
    fit,
    reliability,
    risk_coverage,
)
from .metrics import Interval, wilson
from .selection import is_development

KINDS = ("agreement", "strategy")
THRESHOLDS = (0.5, 0.8, 0.9, 1.0)
LEAST_HALF = 10  # problems per half below which no map is fitted


@dataclass(frozen=True, slots=True)
class Forecast:
    """One problem: how sure the run was of its answer, and whether that was right. ``samples`` it rests on."""

    problem: str
    hash: str
    confidence: float
    right: bool
    samples: int


def forecasts(records: Sequence[Record], kind: str = "agreement") -> list[Forecast]:
    """One per graded record. DataError where there is no reference, no confidence, or a problem is there twice."""
    if kind not in KINDS:
        raise UsageError(f"confidence {kind!r} is unknown; there are {', '.join(KINDS)}")
    graded = [r for r in records if r["verdict"] not in (None, Verdict.UNGRADABLE)]
    if not graded:
        raise DataError("this run has no graded result; confidence can only be checked where references are")
    twice = [p for p, n in Counter(r["problem"] for r in graded).items() if n > 1]
    if twice:
        raise DataError(f"problem {twice[0]!r} has several results; give those of one arm and one seed")
    made = []
    for r in graded:
        samples = sum(d.count for d in all_draws(r))
        value = _agreement(r, samples) if kind == "agreement" else r["confidence"]
        if value is None:
            raise DataError(f"problem {r['problem']!r}: the strategy gave no confidence; use --by agreement")
        made.append(Forecast(r["problem"], r["hash"], float(value), r["verdict"] == Verdict.CORRECT, samples))
    if kind == "agreement" and max(f.samples for f in made) < 2:
        raise DataError("no problem has two samples, so there is no agreement; run self-consistency(n=16), for example")
    return made


def _agreement(record: Record, samples: int) -> float:
    same = sum(d.count for d in all_draws(record) if d.key is not None and d.key == record["key"])
    return same / samples if samples else 0.0


@dataclass(frozen=True, slots=True)
class Mapped:
    """A calibration map: fitted on ``fitted_on`` problems, measured on ``n`` others before and after."""

    name: str
    fitted_on: int
    n: int
    ece_before: float
    ece_after: float
    ece_floor: float
    brier_before: float
    brier_after: float
    bins: tuple[Bin, ...]
    temperature: float | None = None


@dataclass(slots=True)
class ConfidenceReport:
    """Everything ``thence confidence`` shows of one cell; ``document()`` is its JSON."""

    kind: str
    n: int
    samples: tuple[int, int]
    accuracy: float
    interval: Interval
    confidence: float
    bins: list[Bin]
    ece: float
    ece_floor: float
    ece_p: float
    brier: Brier
    auroc: float | None
    auroc_interval: Interval | None
    curve: RiskCoverage
    above: list[Above]
    maps: list[Mapped] = field(default_factory=list)
    statement: str = ""

    def document(self) -> dict[str, Any]:
        """Plain JSON data; of the risk-coverage curve its corners only."""
        doc = asdict(self)
        curve = doc.pop("curve")
        doc |= {"aurc": curve["aurc"], "aurc_best": curve["best"], "risk_coverage": curve["thresholds"]}
        return doc


def confidence_report(found: Sequence[Forecast], kind: str = "agreement", bins: int = BINS) -> ConfidenceReport:
    """All figures of these forecasts."""
    c, y = [f.confidence for f in found], [f.right for f in found]
    made = reliability(c, y, bins)
    error, ranked = ece(made), auroc_interval(c, y)
    floor, chance = ece_floor(c, error, bins)
    report = ConfidenceReport(
        kind=kind,
        n=len(c),
        samples=(min(f.samples for f in found), max(f.samples for f in found)),
        accuracy=sum(y) / len(y),
        interval=wilson(sum(y), len(y)),
        confidence=sum(c) / len(c),
        bins=made,
        ece=error,
        ece_floor=floor,
        ece_p=chance,
        brier=brier(c, y, bins),
        auroc=None if ranked is None else ranked[0],
        auroc_interval=None if ranked is None else ranked[1],
        curve=risk_coverage(c, y),
        above=[above(c, y, t) for t in THRESHOLDS],
    )
    development = [f for f in found if is_development(f.hash)]
    test = [f for f in found if not is_development(f.hash)]
    if min(len(development), len(test)) < LEAST_HALF:
        sizes = f"{len(development)} and {len(test)} problems"
        report.statement = f"no calibration map: the halves have {sizes}, and {LEAST_HALF} each are needed"
    else:
        report.maps = [_mapped(name, development, test, bins) for name in MAPS]
    return report


def _mapped(name: str, development: Sequence[Forecast], test: Sequence[Forecast], bins: int) -> Mapped:
    made = fit(name, [f.confidence for f in development], [f.right for f in development])
    before, y = [f.confidence for f in test], [f.right for f in test]
    after = made(before)
    grouped = reliability(after, y, bins)
    error = ece(grouped)
    return Mapped(
        name=name,
        fitted_on=len(development),
        n=len(test),
        ece_before=ece(reliability(before, y, bins)),
        ece_after=error,
        ece_floor=ece_floor(after, error, bins)[0],
        brier_before=brier(before, y, bins).score,
        brier_after=brier(after, y, bins).score,
        bins=tuple(grouped),
        temperature=getattr(made, "temperature", None),
    )
