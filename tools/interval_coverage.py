"""How often every interval of thence holds the truth: ``python tools/interval_coverage.py [--draws N] [--only NAME]``.

Shares of independent problems are enumerated (every count, weighted by its binomial probability), everything else is
simulated, seeded. A nominal 95 % interval passes a cell with 92 to 98 %, Clopper and Pearson's with at least 95 %, a
confidence sequence with at least 95 % of runs in which it held at every look. No allowance is made for the Monte Carlo
error, which is .5 points at 2,000 draws. Exit code 1 when a cell fails; ``--json`` prints every cell.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from math import sqrt

import numpy as np
from scipy import special, stats

from thence.evals.statistics.calibration import auroc_interval
from thence.evals.statistics.intervals import (
    cluster_bootstrap,
    cluster_interval,
    exact,
    over_seeds,
    paired_by_cluster,
    t_interval,
)
from thence.evals.statistics.metrics import Interval, clustered_accuracy, confidence_sequence, paired, pass_at_k, wilson

LOW, HIGH = 0.92, 0.98
DRAWS = 2000  # simulations per cell
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
SIZES = (50, 100, 300)
CLUSTERS = ((30, 5), (30, 0), (60, 5))  # number of clusters, their size; 0: sizes 1 to 9 in turn
ALIKE = (0.1, 0.4)  # intra-cluster correlation
FLIPS = ((0.05, 0.05), (0.2, 0.2), (0.2, 0.05), (0.45, 0.15))  # chances that B alone is right, that A alone is
GRIDS = ((50, 5), (200, 3), (200, 10))  # problems, seeds
SPREAD = (0.0, 0.05)  # standard deviation between seeds
RANKED = (0.6, 0.75, 0.9)  # AUROC
LOOKS = 400

Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class Case:
    """One cell: an interval under one law, how often it held, how wide it was, and what is asked of it."""

    interval: str
    law: str
    coverage: float
    width: float
    error: float  # Monte Carlo standard error of the coverage; 0 where it is enumerated
    low: float = LOW
    high: float = HIGH

    @property
    def passes(self) -> bool:
        """Whether the coverage is within its bounds."""
        return self.low - 1e-9 <= self.coverage <= self.high + 1e-9


def enumerated(name: str, n: int, p: float, make: Callable[[int, int], Interval], **bounds: float) -> Case:
    """The exact coverage of an interval for a share."""
    weights = stats.binom.pmf(np.arange(n + 1), n, p)
    made = [make(c, n) for c in range(n + 1)]
    held = sum(w for w, (low, high) in zip(weights, made, strict=True) if low <= p <= high)
    width = sum(w * (high - low) for w, (low, high) in zip(weights, made, strict=True))
    return Case(name, f"n={n} p={p}", float(held), float(width), 0.0, **bounds)


def simulated(name: str, law: str, truth: float, draws: int, make: Callable[[Rng], Interval], **bounds: float) -> Case:
    """The coverage over ``draws`` seeded simulations."""
    rng = np.random.default_rng([*name.encode(), *law.encode()])
    made = [make(rng) for _ in range(draws)]
    held = sum(low <= truth <= high for low, high in made) / draws
    width = sum(high - low for low, high in made) / draws
    return Case(name, law, held, width, sqrt(max(held * (1 - held), 1 / draws) / draws), **bounds)


def beta(rng: Rng, p: float, alike: float, size: int) -> np.ndarray:
    """Chances with mean ``p`` that make outcomes of one cluster correlate with ``alike``."""
    mass = (1 - alike) / alike
    return rng.beta(p * mass, (1 - p) * mass, size)


def shares() -> Iterator[Case]:
    """Wilson's and the exact interval on the grid, and the exact one beyond it."""
    for n, p in product(SIZES, SHARES):
        yield enumerated("wilson", n, p, lambda c, n: wilson(c, n))
        yield enumerated("exact", n, p, exact, low=0.95, high=1.0)
    for n, p in product((1, 5, 20, 50), (0.001, 0.02, 0.5, 0.98)):
        yield enumerated("exact", n, p, exact, low=0.95, high=1.0)


def means(draws: int) -> Iterator[Case]:
    """Student's t on continuous scores; accuracy over four seeds; a mean pass@4 of eight samples."""
    for n, p in product(SIZES, SHARES):
        scores = f"n={n} Beta scores, mean {p}"
        yield simulated("t", scores, p, draws, lambda r, n=n, p=p: t_interval(beta(r, p, 0.2, n))[1])

        def seeds(r: Rng, n: int = n, p: float = p) -> Interval:
            right = r.binomial(4, beta(r, p, 0.4, n))
            return clustered_accuracy({i: [1.0] * c + [0.0] * (4 - c) for i, c in enumerate(right)})[1]

        yield simulated("accuracy over seeds", f"n={n} p={p}, 4 seeds", p, draws, seeds)

        def coverage(r: Rng, n: int = n, p: float = p) -> Interval:
            values = {str(i): pass_at_k(8, c, 4) for i, c in enumerate(r.binomial(8, beta(r, p, 0.4, n)).tolist())}
            return cluster_interval(values, {i: i for i in values}).interval

        mass = 1.5  # (1 - .4) / .4
        truth = 1 - special.beta(p * mass, (1 - p) * mass + 4) / special.beta(p * mass, (1 - p) * mass)
        if 0.1 <= truth <= 0.9:
            yield simulated("pass@k", f"n={n} pass@4 {truth:.2f} of 8", float(truth), draws, coverage)


def clustered(draws: int) -> Iterator[Case]:
    """Right answers of problems made from templates: Wilson by cluster, and the bootstrap."""
    for (groups, size), p, alike in product(CLUSTERS, SHARES, ALIKE):
        sizes = [size or 1 + i % 9 for i in range(groups)]
        of = {f"{g}-{i}": g for g, m in enumerate(sizes) for i in range(m)}
        law = f"{groups} clusters of {size or '1-9'}, p={p}, alike {alike}"

        def draw(
            r: Rng, p: float = p, alike: float = alike, of: dict[str, int] = of, g: int = groups
        ) -> dict[str, float]:
            chance = beta(r, p, alike, max(of.values()) + 1)
            return {i: float(r.random() < chance[c]) for i, c in of.items()}

        yield simulated("by cluster", law, p, draws, lambda r, of=of, d=draw: cluster_interval(d(r), of).interval)
        boot = lambda r, of=of, d=draw: cluster_bootstrap(d(r), of, draws=1000, seed=int(r.integers(1 << 31))).interval  # noqa: E731
        yield simulated("cluster bootstrap", law, p, draws, boot)


def pairs(draws: int) -> Iterator[Case]:
    """Paired differences, of independent problems and by cluster."""
    for n, (won, lost) in product(SIZES, FLIPS):

        def draw(r: Rng, n: int = n, won: float = won, lost: float = lost) -> Interval:
            u = r.random(n)
            a = {str(i): float(won <= x < won + lost) for i, x in enumerate(u)}
            return paired(a, {str(i): float(x < won) for i, x in enumerate(u)}).interval

        yield simulated("paired", f"n={n} won {won} lost {lost}", won - lost, draws, draw)
    for (groups, size), (won, lost) in product(CLUSTERS, FLIPS):
        of = {f"{g}-{i}": g for g in range(groups) for i in range(size or 1 + g % 9)}

        def by(r: Rng, of: dict[str, int] = of, g: int = groups, won: float = won, lost: float = lost) -> Interval:
            law = r.dirichlet(np.array([won, lost, 1 - won - lost]) * 3, g)  # clusters alike: 1 / (1 + 3)
            a, b = {}, {}
            for i, c in of.items():
                u = r.random()
                b[i], a[i] = float(u < law[c, 0]), float(law[c, 0] <= u < law[c, 0] + law[c, 1])
            return paired_by_cluster(a, b, of).interval

        law = f"{groups} clusters of {size or '1-9'}, won {won} lost {lost}"
        yield simulated("paired by cluster", law, won - lost, draws, by)


def seeds(draws: int) -> Iterator[Case]:
    """A grid of problems x seeds with both effects: for new problems, and for these with new seeds."""
    for (n, s), spread in product(GRIDS, SPREAD):
        fixed = np.random.default_rng(n).normal(0, 0.3, n)

        def draw(r: Rng, problems: np.ndarray, s: int = s, spread: float = spread) -> dict[str, list[float]]:
            y = 0.5 + problems[:, None] + r.normal(0, spread, s) + r.normal(0, 0.3, (len(problems), s))
            return {str(i): row.tolist() for i, row in enumerate(y)}

        law = f"{n} problems, {s} seeds, spread {spread}"
        new = lambda r, n=n, d=draw: over_seeds(d(r, r.normal(0, 0.3, n))).interval  # noqa: E731
        yield simulated("seeds, new problems", law, 0.5, draws, new)
        same = lambda r, f=fixed, d=draw: over_seeds(d(r, f)).same_problems  # noqa: E731
        yield simulated("seeds, same problems", law, 0.5 + float(fixed.mean()), draws, same)


def ranking(draws: int) -> Iterator[Case]:
    """AUROC of confidences with 17 values, as agreement of 16 samples has."""
    for n, p, area in product((50, 200), (0.1, 0.5, 0.9), RANKED):
        shift = sqrt(2) * float(special.ndtri(area))
        cuts = np.linspace(-2, 2 + shift, 16)
        good, bad = (np.diff(special.ndtr(np.concatenate(([-np.inf], cuts - m, [np.inf])))) for m in (shift, 0.0))
        truth = float(good @ (np.cumsum(bad) - bad / 2))

        def draw(r: Rng, n: int = n, p: float = p, cuts: np.ndarray = cuts, shift: float = shift) -> Interval:
            y = r.random(n) < p
            y[:2] = True, False  # both kinds are there
            found = auroc_interval(np.searchsorted(cuts, r.normal(0, 1, n) + shift * y) / 16, y.tolist())
            return found[1] if found else (0.0, 1.0)

        yield simulated("AUROC", f"n={n} right {p} AUROC {truth:.3f}", truth, draws, draw)


def sequences(draws: int) -> Iterator[Case]:
    """Runs in which the confidence sequence held at each of the first ``LOOKS`` looks (one per problem)."""
    known: dict[tuple[int, int], Interval] = {}
    for p in SHARES:

        def draw(r: Rng, p: float = p) -> Interval:
            right, low, high = np.cumsum(r.random(LOOKS) < p), 0.0, 1.0
            for n, c in enumerate(right.tolist(), 1):
                if (c, n) not in known:
                    known[c, n] = confidence_sequence(c, n)
                low, high = max(low, known[c, n][0]), min(high, known[c, n][1])
            return low, high  # the intersection holds the truth if every one of them does

        bounds = {"low": 0.95, "high": 1.0}
        yield simulated("confidence sequence", f"{LOOKS} looks, p={p}", p, draws, draw, **bounds)


PARTS: dict[str, Callable[[int], Iterator[Case]]] = {
    "shares": lambda draws: shares(),
    "means": means,
    "clusters": clustered,
    "pairs": pairs,
    "seeds": seeds,
    "ranking": ranking,
    "sequences": sequences,
}


def main() -> int:
    """Print a line per interval (or per cell), and every cell that fails; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=DRAWS, help="simulations per cell")
    parser.add_argument("--only", choices=list(PARTS), help="one part of the grid")
    parser.add_argument("--cells", action="store_true", help="print every cell")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    cases = [case for name, part in PARTS.items() if given.only in (None, name) for case in part(given.draws)]
    failing = [case for case in cases if not case.passes]
    if given.json:
        print(json.dumps({"cells": [asdict(c) | {"passes": c.passes} for c in cases], "failing": len(failing)}))
        return 1 if failing else 0
    print(f"{'interval':22} {'cells':>5} {'least':>7} {'mean':>7} {'most':>7}  {'asked':14} failing")
    for name in dict.fromkeys(c.interval for c in cases):
        mine = [c for c in cases if c.interval == name]
        found = [100 * c.coverage for c in mine]
        asked = f"{100 * mine[0].low:.0f} to {100 * mine[0].high:.0f} %"
        numbers = f"{min(found):7.2f} {sum(found) / len(found):7.2f} {max(found):7.2f}"
        print(f"{name:22} {len(mine):5d} {numbers}  {asked:14} {sum(not c.passes for c in mine)}")
    for case in cases if given.cells else failing:
        mark = "" if case.passes else "  FAILS"
        print(f"  {case.interval}, {case.law}: {100 * case.coverage:.2f} %, width {case.width:.3f}{mark}")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
