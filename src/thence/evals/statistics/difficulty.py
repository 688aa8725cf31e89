"""Problems by difficulty: bins from some samples, results from others.

Snell et al. 2024 (arXiv:2408.03314) sort problems into quintiles by how often samples are right, and compare methods in
each. Sorting and measuring with the same samples leaks: the hardest bin then holds problems that were unlucky, and
their accuracy is too low in sorting and rises by itself when measured again (regression to the mean). Here each
problem's samples are divided at random, without replacement and seeded: ``sorting`` of them decide the bin, the rest
are measured.

Differs from the paper: any number of bins; equal rates at a border are divided by hash, not by file order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from thence.core.errors import DataError, UsageError, check_counts
from thence.core.seeds import derive, digest

from .intervals import cluster_interval
from .metrics import Interval


@dataclass(frozen=True, slots=True)
class Stratum:
    """One bin, hardest first: its problems, their rate among the sorting samples, and among the others."""

    problems: tuple[str, ...]
    sorted_rate: float
    rate: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Divided:
    """Right ones among ``sorting`` samples and among ``rest`` others of one problem."""

    sorting: int
    sorting_right: int
    rest: int
    rest_right: int


def divide(counts: Mapping[str, tuple[int, int]], sorting: int, *, seed: int = 0) -> dict[str, Divided]:
    """Each problem's (samples, right ones) divided into ``sorting`` samples and the rest, without replacement.

    A problem's division depends on ``seed`` and its id alone. UsageError where nothing would be left to measure.
    """
    check_counts("difficulty", sorting=sorting)
    made = {}
    for problem, (n, right) in counts.items():
        if n <= sorting:
            raise UsageError(
                f"problem {problem!r} has {n} samples; with {sorting} of them for sorting none is left to measure"
            )
        rng = np.random.default_rng(derive("difficulty", seed, problem))
        hits = int(rng.hypergeometric(right, n - right, sorting))
        made[problem] = Divided(sorting, hits, n - sorting, right - hits)
    return made


def strata(divided: Mapping[str, Divided], bins: int = 5) -> list[Stratum]:
    """``bins`` bins of equal numbers of problems, hardest first, measured on the samples that did not sort them.

    DataError where a bin would have fewer than two problems.
    """
    check_counts("difficulty", bins=bins)
    if len(divided) < 2 * bins:
        raise DataError(f"{len(divided)} problems are too few for {bins} bins; take fewer bins or more problems")
    order = sorted(divided, key=lambda p: (divided[p].sorting_right / divided[p].sorting, digest(p)))
    made = []
    for part in np.array_split(np.array(order, dtype=object), bins):
        inside = [divided[p] for p in part]
        found = cluster_interval({p: divided[p].rest_right / divided[p].rest for p in part}, {p: p for p in part})
        sorted_rate = sum(d.sorting_right / d.sorting for d in inside) / len(inside)
        made.append(Stratum(tuple(part), sorted_rate, found.mean, found.interval))
    return made
