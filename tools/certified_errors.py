"""How often ``certified`` certifies an answer that is not a mode: ``python tools/certified_errors.py [--runs N]``.

Answers are drawn from known laws, ties included, and every rule is looked at after every sample. Asked, before anything
was run: (1) in every cell of ``certified`` at most alpha of the runs certify an answer that is not a mode, within 40,
400 and 2,000 samples, no allowance for the Monte Carlo error; (2) the control must fail that: the Beta rule of
Adaptive-Consistency at .95 with at most 40 samples stops on the wrong answer in 14 to 18 % of runs at (.52, .48);
(3) so must a second control, an exact binomial test of the leader against the runner-up at .05 that is looked at after
every sample, in the cells with two close answers. How often the right answer is certified, and after how many samples,
is shown and has no threshold.

Cells with two answers and 40 samples are enumerated, everything else is simulated with fixed seeds by the strategy's
own bookkeeping. Exit code 1 when something asked does not hold; ``--json`` prints every cell.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import sqrt

from thence.strategies.adaptive_consistency import lead_probability
from thence.strategies.certified import Certificate
from thence.worlds.stopping import beta_stops, certified_stops

RUNS = 4000
HORIZONS = (40, 400, 2000)
ALPHAS = (0.05, 0.2)
CONTROL_LOW, CONTROL_HIGH = 0.14, 0.18

LAWS: dict[str, tuple[float, ...]] = {
    ".7 .2 .1": (0.7, 0.2, 0.1),
    ".2 .6 .2, the trap": (0.2, 0.6, 0.2),
    ".52 .48": (0.52, 0.48),
    ".501 .499": (0.501, 0.499),
    ".26 .24, half silent": (0.26, 0.24),
    ".5 .5": (0.5, 0.5),
    ".35 .35 .30": (0.35, 0.35, 0.30),
    ".34 .33 .33": (0.34, 0.33, 0.33),
    ".26 .26 .24 .24": (0.26, 0.26, 0.24, 0.24),
    ".11, nine of .0989": (0.11, *[0.89 / 9] * 9),
    ".021, 49 of .01998": (0.021, *[0.979 / 49] * 49),
    "1/k, k = 1 1 2 ... 199, first two close": tuple(x / 6.87 for x in (1.0, 0.98, *[1 / k for k in range(2, 200)])),
}
CLOSE = (".52 .48", ".501 .499")

Rule = Callable[[Sequence[int], int], "int | None"]  # what it stops on, from all counts, after a draw of the answer


@dataclass(frozen=True, slots=True)
class Cell:
    """One rule under one law: how often it stops on an answer that is not a mode, on one that is, and when."""

    rule: str
    law: str
    n: int
    wrong: float
    right: float
    draws: float
    error: float  # Monte Carlo standard error of ``wrong``; 0 where it is enumerated
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether ``wrong`` is within what was asked."""
        return self.low <= self.wrong <= self.high


def certified(alpha: float) -> Callable[[int], Rule]:
    """The strategy's own rule; one certificate per run."""

    def start(size: int) -> Rule:
        certificate = Certificate(alpha)
        names = [str(i) for i in range(size)]
        return lambda counts, answer: int(certificate.leader or 0) if certificate.see(names[answer]) else None

    return start


def by_counts(safe: Callable[[int, int], bool]) -> Callable[[int], Rule]:
    """A rule that looks at the two largest counts."""

    def rule(counts: Sequence[int], answer: int) -> int | None:
        first, second = sorted(counts, reverse=True)[:2]
        return counts.index(first) if first > second and safe(first, second) else None

    return lambda size: rule


@cache
def beta_is_sure(first: int, second: int) -> bool:
    """Adaptive-Consistency at .95."""
    return lead_probability(first, second) >= 0.95


@cache
def test_rejects(first: int, second: int) -> bool:
    """The one-sided binomial test of equal chances at .05, as if it were looked at once."""
    n = first + second
    term = total = 1  # C(n, j) from j = n down to first
    for j in range(n, first, -1):
        term = term * j // (n - j + 1)
        total += term
    return 20 * total <= 1 << n


def simulated(name: str, law: str, n: int, runs: int, start: Callable[[int], Rule], low: float, high: float) -> Cell:
    """``runs`` seeded runs of at most ``n`` samples."""
    shares, rng = LAWS[law], random.Random(f"{name} {law} {n}")
    top, size = max(shares), len(shares)
    silent = max(0.0, 1.0 - sum(shares))
    right = wrong = drawn = 0
    for _ in range(runs):
        rule, counts = start(size), [0] * size
        for k, answer in enumerate(rng.choices(range(size + 1), (*shares, silent), k=n), 1):  # noqa: B007
            if answer == size:
                continue
            counts[answer] += 1
            if (on := rule(counts, answer)) is not None:
                right += shares[on] == top
                wrong += shares[on] != top
                break
        drawn += k
    share = wrong / runs
    error = sqrt(max(share * (1 - share), 1 / runs) / runs)
    return Cell(name, law, n, share, right / runs, drawn / runs, error, low, high)


def cells(runs: int) -> Iterator[Cell]:
    """Everything that is asked."""
    for alpha in ALPHAS:
        name = f"certified({alpha:g})"
        for law, shares in LAWS.items():
            for n in HORIZONS:
                if len(shares) == 2 and n == 40:
                    exact = certified_stops(shares, n, alpha)
                    off = exact.off_mode(shares)
                    yield Cell(name, law, n, off, sum(exact.on) - off, exact.draws, 0.0, 0.0, alpha)
                else:
                    yield simulated(name, law, n, runs, certified(alpha), 0.0, alpha)
    for law in CLOSE:
        exact = beta_stops(LAWS[law])
        low, high = (CONTROL_LOW, CONTROL_HIGH) if law == ".52 .48" else (0.05, 1.0)
        yield Cell("Beta rule at .95", law, 40, exact.on[1], exact.on[0], exact.draws, 0.0, low, high)
        for n in (40, 400):
            yield simulated("binomial test, peeking", law, n, runs, by_counts(test_rejects), 0.05, 1.0)
    for law in (".35 .35 .30", ".34 .33 .33", ".11, nine of .0989"):
        yield simulated("Beta rule at .95", law, 40, runs, by_counts(beta_is_sure), 0.0, 1.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="simulated runs per cell")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    if given.runs < 1:
        parser.error(f"--runs is {given.runs}; give at least 1")
    made: list[Cell] = []
    if not given.json:
        print(f"{'rule':23} {'law of answers':40} {'n':>5} {'wrong':>8} {'right':>8} {'samples':>8}  asked of wrong")
    for cell in cells(given.runs):
        made.append(cell)
        if not given.json:
            asked = f"{100 * cell.low:g} to {100 * cell.high:g} %" if cell.high < 1 or cell.low else "(shown)"
            numbers = f"{100 * cell.wrong:6.2f} % {100 * cell.right:6.1f} % {cell.draws:8.1f}"
            mark = "" if cell.holds else "  FAILS"
            print(f"{cell.rule:23} {cell.law:40} {cell.n:5d} {numbers}  {asked}{mark}", flush=True)
    failing = sum(not cell.holds for cell in made)
    if given.json:
        print(json.dumps({"cells": [asdict(c) | {"holds": c.holds} for c in made], "failing": failing}))
    else:
        print(f"{len(made)} cells, {failing} of them not as asked")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
