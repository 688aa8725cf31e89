"""What a pool has to beat: as many samples of the best of its models alone.

The control of a pool's arm is the arm of the same comparison with the same prompt and budget that runs on one of the
pool's models and draws as many samples per problem; of several the one with the highest accuracy. It is chosen by what
it is compared on, so it is a little too good: a pool that does not beat it is not shown to be useless, one that does is
not flattered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from thence.core.budget import POOL
from thence.core.errors import UsageError
from thence.generators.pool import names_of, parse_pool

from .compare import Comparison, Row, difference
from .report import ModelShare, Report
from .statistics.metrics import Paired


@dataclass(frozen=True, slots=True)
class Control:
    """A pool's arm and its control (None where the comparison has none): its accuracy, and the pool minus it."""

    arm: str
    budget: int | None
    model: str
    control: str | None = None
    accuracy: float | None = None
    paired: Paired | None = None

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def controls(made: Comparison) -> list[Control]:
    """One for every arm of a pool, in the order of the rows."""
    return [_control(row, made.rows) for row in made.rows if row.reports and row.reports[0].models]


def best_model(models: Sequence[ModelShare]) -> ModelShare | None:
    """The model with the largest share of right samples; None where nothing was graded."""
    graded = [m for m in models if m.draws and m.right is not None]
    return max(graded, key=lambda m: (m.right or 0) / m.draws, default=None)


def written(pool: str) -> Mapping[str, str]:
    """The models of a pool's text as they are written, by the names that tables show; empty for another text."""
    try:
        texts, _ = parse_pool(pool) if pool.startswith(POOL) else ([], None)
    except UsageError:
        return {}
    return dict(zip(names_of(texts), texts, strict=True))


def _control(row: Row, rows: Sequence[Row]) -> Control:
    pool = row.reports[0]
    members, wanted = set(written(pool.model).values()), _samples(pool)
    alone = [
        r
        for r in rows
        if r.reports
        and r.reports[0].model in members
        and (r.budget, r.prompt) == (row.budget, row.prompt)
        and r.accuracy is not None
        and abs(_samples(r.reports[0]) - wanted) < 0.5
    ]
    best = max(alone, key=lambda r: r.accuracy or 0.0, default=None)
    if best is None:
        return Control(row.arm, row.budget, pool.model)
    found = difference(row.arm, best.arm, row.budget, best.reports, row.reports)
    return Control(row.arm, row.budget, pool.model, best.arm, best.accuracy, found.paired)


def _samples(report: Report) -> float:
    """Samples per problem that were asked for, missing ones of lost models included."""
    records = report.records
    if report.models:
        total = sum(m.draws + m.lost for m in report.models)
    else:
        total = sum(count for r in records for _, count, _ in r["draws"])
    return total / len(records) if records else 0.0


__all__ = ["Control", "best_model", "controls", "written"]
