"""Choose on one half of the problems, report on the other.

The best of many arms looks better on the problems it was chosen on than it is (the winner's curse), and so does a
calibration map or a threshold on what it was fitted to. A problem's half follows from the hash of its content: it
depends on no seed and no file order, and equal questions always fall into the same half. ``Selection.report`` is the
only way to the chosen arm's figures, and it refuses any problem that served for choosing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from thence.core.errors import DataError, UsageError

from .metrics import Interval, Paired, clustered_accuracy, paired

Values = Mapping[str, float]  # problem -> a mean over seeds in [0, 1]


def is_development(content_hash: str) -> bool:
    """Whether a problem with this hash (``Problem.hash``) serves for choosing; about half of all do."""
    return int(content_hash, 16) % 2 == 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The chosen arm on problems it was not chosen on. ``against`` compares it with the baseline, paired."""

    arm: str
    n: int
    accuracy: float
    interval: Interval
    on_development: float
    against: Paired | None


@dataclass(frozen=True, slots=True)
class Selection:
    """An arm, how it did on the problems it was chosen on (``development``), and which those were."""

    arm: str
    development: float
    used: frozenset[str]

    def report(self, test: Mapping[str, Values], baseline: str | None = None) -> Chosen:
        """The chosen arm on ``test`` (arm -> problem -> value). UsageError where a problem was used for choosing."""
        values = test.get(self.arm, {})
        again = sorted(self.used.intersection(*([values] if values else [()])))
        if again:
            raise UsageError(
                f"{len(again)} problems, {again[0]!r} first, served for choosing {self.arm!r}; "
                "a report on them would flatter it: leave them out of the test split"
            )
        if not values:
            raise DataError(f"the test split has no result of {self.arm!r}; take more problems, or another split")
        accuracy, interval = clustered_accuracy({p: [v] for p, v in values.items()})
        against = None if baseline in (None, self.arm) else paired(test.get(str(baseline), {}), values)
        return Chosen(self.arm, len(values), accuracy, interval, self.development, against)


def select(development: Mapping[str, Values]) -> Selection:
    """The arm with the highest mean over the problems that all arms have; the first of equals.

    DataError where there is no such problem or a value is no number.
    """
    if not development:
        raise UsageError("there is no arm to choose from")
    shared = set.intersection(*(set(v) for v in development.values()))
    if not shared:
        raise DataError("the development split has no problem that all arms have a result for; take more problems")
    means: dict[str, float] = {}
    for arm, values in development.items():
        if not all(math.isfinite(values[p]) for p in shared):
            raise DataError(f"{arm}: a result on the development split is no number")
        means[arm] = math.fsum(values[p] for p in shared) / len(shared)
    best = max(means, key=lambda arm: means[arm])
    used = frozenset().union(*development.values())  # a problem that one arm alone has was looked at, too
    return Selection(best, means[best], used)


def split(values: Mapping[str, Values], hashes: Mapping[str, str]) -> tuple[dict[str, Values], dict[str, Values]]:
    """The development and the test half of every arm's values, by the hashes of the problems."""

    def half(development: bool) -> dict[str, Values]:
        return {
            arm: {p: v for p, v in each.items() if is_development(hashes[p]) is development}
            for arm, each in values.items()
        }

    return half(True), half(False)


__all__ = ["Chosen", "Selection", "is_development", "select", "split"]
