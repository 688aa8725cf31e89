r"""The statistics of evaluation: pass@k, maj@k, intervals, paired comparison.

Every number here has a stated uncertainty or an exact value.

* **pass@k** (Chen et al. 2021, arXiv:2107.03374): of n samples c are right; 1 - C(n-c, k) / C(n, k) is the unbiased
  estimate of the chance that one of k is right. k > n is undefined, and an error.
* **maj@k**: the chance that the plurality vote of k of the n samples, drawn without replacement, is right, ties shared
  by expectation. Exact: the number of ways to draw k samples in which a right class has m votes, t others have m too
  and the rest fewer is a coefficient of a product of small polynomials. Where that is too large, seeded resampling,
  and the caller is told.
* **Accuracy**: Wilson's interval (1927), for several seeds with the effective sample size of clustered data.
* **Running accuracy**: a confidence sequence, valid at all times at once (see ``confidence_sequence``).
* **Paired difference**: on per-problem differences, with McNemar's exact test and Holm's correction over many.

Other intervals (t, exact, by cluster, over seeds) are in ``intervals``, best-of-k and guesses in ``coverage``,
confidence in ``calibration``. Not covered: unpaired comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from thence.core.errors import UsageError

Interval = tuple[float, float]
Array = npt.NDArray[np.float64]

EXACT_UP_TO = 256  # samples per problem up to which maj@k is computed and not simulated
RESAMPLES = 4096


# ---------------------------------------------------------------------------------------------------- pass@k, maj@k


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of ``k`` samples is right, from ``c`` right ones of ``n``.

    1 - C(n-c, k) / C(n, k), as a product that neither overflows nor cancels. UsageError for k > n: extrapolating is
    not estimating.
    """
    if not 0 <= c <= n:
        raise UsageError(f"{c} right samples of {n} is impossible")
    if not 1 <= k <= n:
        raise UsageError(f"pass@{k} needs at least {k} samples per problem, and there are {n}; draw more")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def maj_at_k(counts: Sequence[int], right: Sequence[bool], ks: Sequence[int], *, silent: int = 0) -> list[float]:
    """For each k the chance that the vote of ``k`` samples drawn without replacement from the given ones is right.

    ``counts[a]`` samples gave answer a, which is right or not; ``silent`` samples gave none: they are drawn, but do not
    vote. Ties are shared equally among the tied; without any vote the result is wrong. Exact (up to rounding).
    """
    n = sum(counts) + silent
    _check_ks(n, ks)
    weights = [tuple(float(math.comb(c, i)) for i in range(c + 1)) for c in counts]
    mute = tuple(float(math.comb(silent, i)) for i in range(silent + 1))
    wins = _winning(tuple(sorted(zip(weights, right, strict=True))), mute, max(ks, default=0))
    return [min(1.0, float(wins[k] / math.comb(n, k))) for k in ks]


def maj_at_k_population(shares: Sequence[float], right: Sequence[bool], k: int) -> float:
    """The same for ``k`` independent samples when answer a has probability ``shares[a]`` (missing mass: no answer).

    For shares (.4, .3, .3) with the first right and k = 1, 3, 5, 9: .400, .424, .447, .489.
    """
    rest = 1.0 - sum(shares)
    if min(shares, default=0.0) < 0 or rest < -1e-9:
        raise UsageError(f"shares {tuple(shares)} are no probabilities")

    def poisson(p: float) -> tuple[float, ...]:
        """The law of a count with mean k p: counts of independent answers are these, given that they add up to k."""
        if p == 0:
            return (1.0, *[0.0] * k)
        return tuple(math.exp(i * math.log(k * p) - k * p - math.lgamma(i + 1)) for i in range(k + 1))

    wins = _winning(tuple(sorted(zip(map(poisson, shares), right, strict=True))), poisson(max(0.0, rest)), k)
    return float(wins[k] / poisson(1.0)[k])


def resampled_maj_at_k(
    counts: Sequence[int], right: Sequence[bool], k: int, *, silent: int = 0, seed: int = 0, draws: int = RESAMPLES
) -> float:
    """``maj_at_k`` by seeded resampling; standard error at most 1 / (2 sqrt(draws)), below .008 by default."""
    _check_ks(sum(counts) + silent, [k])
    if not counts:
        return 0.0
    rng = np.random.default_rng(seed)
    votes = rng.multivariate_hypergeometric([*counts, silent], k, size=draws)[:, :-1]
    top = votes.max(axis=1, keepdims=True)
    tied = (votes == top) & (top > 0)
    shares = (tied & np.array(right, dtype=bool)).sum(axis=1) / np.maximum(1, tied.sum(axis=1))
    return float(shares.mean())


def _check_ks(n: int, ks: Sequence[int]) -> None:
    for k in ks:
        if not 1 <= k <= n:
            raise UsageError(f"maj@{k} needs at least {k} samples per problem, and there are {n}; draw more")


Weights = tuple[float, ...]


@lru_cache(maxsize=4096)
def _winning(classes: tuple[tuple[Weights, bool], ...], mute: Weights, most: int) -> Array:
    """[most + 1] weight of all draws of k samples that a right class wins, ties shared.

    ``classes[a]`` is (weights, right); weights[i] is the weight of drawing i samples of class a (C(c, i), or p^i / i!).
    For each size m of the winning class, P_K_T[x, t] is the weight of drawing x samples from all classes with every
    class below m except t classes exactly at m; a right winner then gets 1/(number tied).
    """
    wins = np.zeros(most + 1)
    biggest = max((len(w) - 1 for w, right in classes if right), default=0)
    for m in range(1, min(biggest, most) + 1):
        tied = most // m
        for right_tied, poly in _tie_counts(classes, mute, m, most, tied):
            for t in range(max(1, right_tied), tied + 1):
                wins += poly[:, t] * (right_tied / t)
    return wins


def _tie_counts(
    classes: Sequence[tuple[Weights, bool]], mute: Weights, m: int, most: int, tied: int
) -> list[tuple[int, Array]]:
    """For each number r of right classes tied at ``m`` votes (the maximum): r and the weights [x, t]."""
    by_right = {0: np.zeros((most + 1, tied + 1))}
    by_right[0][: min(len(mute), most + 1), 0] = mute[: most + 1]
    for weights, right in classes:
        grown: dict[int, Array] = {}
        for r, old in by_right.items():
            below = _times(old, weights[:m])
            grown[r] = grown[r] + below if r in grown else below
            if len(weights) > m and r < tied:
                at = np.zeros_like(old)
                at[m:, 1:] = weights[m] * old[: most + 1 - m, :-1]
                to = r + 1 if right else r
                grown[to] = grown[to] + at if to in grown else at
        by_right = grown
    return [(r, poly) for r, poly in by_right.items() if r > 0]


def _times(poly: Array, weights: Weights) -> Array:
    """``poly`` [x, t] times the polynomial with coefficients ``weights`` in x, cut to the same size."""
    out = weights[0] * poly
    for i, w in enumerate(weights[1:], 1):
        if i < len(poly):
            out[i:] += w * poly[:-i]
    return out


def usual_ks(n: int) -> list[int]:
    """The k of pass@k and maj@k for ``n`` samples: 1, 2, 4, … and ``n`` itself; from 100 on also 10, 100, …"""
    ks = {1 << i for i in range(n.bit_length())} | {n}
    if n >= 100:
        ks |= {10**i for i in range(1, len(str(n)))}
    return sorted(k for k in ks if 1 <= k <= n)


# ---------------------------------------------------------------------------------------------------- one accuracy


def wilson(right: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion (1927): good for small n and for shares near 0 and 1.

    ``n`` may be an effective sample size. (0, 1) when there is nothing to estimate from.
    """
    if n <= 0:
        return 0.0, 1.0
    z = float(special.ndtri(0.5 + confidence / 2))
    p = right / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return (0.0 if right <= 0 else low), (1.0 if right >= n else high)


def clustered_accuracy(
    outcomes: Mapping[Hashable, Sequence[float]], confidence: float = 0.95
) -> tuple[float, Interval]:
    """Mean over problems of each problem's mean over seeds, with Wilson's interval for clustered data.

    Seeds of one problem are not independent, so the interval uses the effective sample size p(1-p) / se^2, where se is
    the standard error of the mean over problems (as in survey statistics: Korn and Graubard 1998). It lies between the
    number of problems and the number of outcomes; with one seed, or where nothing differs (all right, all wrong: how
    alike the seeds of a problem are cannot be seen then), it is the number of problems.
    """
    means = [sum(v) / len(v) for v in outcomes.values() if v]
    n, total = len(means), sum(len(v) for v in outcomes.values())
    if n == 0:
        return math.nan, (0.0, 1.0)
    p = sum(means) / n
    variance = sum((m - p) ** 2 for m in means) / n
    if variance > 0:
        effective = min(max(p * (1 - p) * n / variance, n), total)
    else:
        effective = float(total if 0 < p < 1 else n)
    return p, wilson(p * effective, effective, confidence)


def confidence_sequence(right: int, n: int, confidence: float = 0.95) -> Interval:
    r"""An interval for the accuracy after ``right`` of the first ``n`` problems that holds at all times together.

    The beta-binomial mixture of Robbins (1970), as in Howard et al. 2021 (arXiv:1810.08240): under accuracy p the
    ratio of the mixture likelihood \int q^s (1-q)^(n-s) dq = B(s+1, n-s+1) to p^s (1-p)^(n-s) is a martingale that
    starts at 1, so by Ville's inequality it ever exceeds 1/alpha with probability at most alpha. The interval is
    where it does not. It assumes problems in an order that does not depend on their outcomes.
    """
    if n == 0:
        return 0.0, 1.0
    wrong = n - right
    mixture = math.lgamma(right + 1) + math.lgamma(wrong + 1) - math.lgamma(n + 2)
    bound = mixture - math.log(1 / (1 - confidence))

    def inside(p: float) -> bool:
        """Whether log p^s (1-p)^(n-s) is at least log(alpha) + the mixture's logarithm."""
        left = right * math.log(p) if right else 0.0
        return left + (wrong * math.log1p(-p) if wrong else 0.0) >= bound

    best = right / n
    low = 0.0 if right == 0 else _edge(inside, 0.0, best)
    high = 1.0 if wrong == 0 else _edge(inside, 1.0, best)
    return low, high


def _edge(inside: Callable[[float], bool], out: float, within: float) -> float:
    """The border between a point outside and one inside, by bisection; the outer side of it."""
    for _ in range(50):
        middle = (out + within) / 2
        if inside(middle):
            within = middle
        else:
            out = middle
    return out


class RunningAccuracy:
    """Accuracy over the longest finished prefix of a fixed order of problems, with a confidence sequence.

    Whatever finishes first is then no easier than what is counted: only problems all of whose predecessors are done
    enter. A problem without a verdict (failed, ungradable) is done, but does not count.
    """

    def __init__(self) -> None:
        self._early: dict[int, bool | None] = {}
        self._at = 0
        self.right = 0
        self.n = 0

    def add(self, index: int, right: bool | None) -> None:
        """Problem ``index`` of the order is done."""
        self._early[index] = right
        while self._at in self._early:
            outcome = self._early.pop(self._at)
            self._at += 1
            if outcome is not None:
                self.n += 1
                self.right += outcome

    @property
    def accuracy(self) -> float | None:
        """Share of right ones; None before the first."""
        return self.right / self.n if self.n else None

    @property
    def interval(self) -> Interval:
        """The 95 % confidence sequence's interval."""
        return confidence_sequence(self.right, self.n)


# ---------------------------------------------------------------------------------------------------- comparison


@dataclass(frozen=True, slots=True)
class Paired:
    """Strategy B against baseline A on the same problems: B minus A.

    ``won`` and ``lost`` count problems on which B did better and worse; ``p`` is the exact two-sided test that both are
    equally likely, ``holm`` the same after correction over all comparisons made together (None: not corrected).
    """

    n: int
    difference: float
    interval: Interval
    won: int
    lost: int
    p: float
    holm: float | None = None


def paired(a: Mapping[str, float], b: Mapping[str, float], confidence: float = 0.95) -> Paired:
    """Compare two arms on the problems that both have; values in [0, 1], one per problem (a mean over seeds).

    The interval is Student's t on per-problem differences with one +1 and one -1 added (for outcomes 0 and 1 the
    adjusted interval of Bonett and Price 2012): it stays honest when few or no problems flip, where the plain one
    collapses to a point. With one seed the test is McNemar's exact test; with several it is the sign test on
    per-problem means, which McNemar's is for 0 and 1.
    """
    shared = [problem for problem in a if problem in b]
    d = [b[problem] - a[problem] for problem in shared]
    n = len(d)
    won, lost = sum(x > 1e-12 for x in d), sum(x < -1e-12 for x in d)
    if n == 0:
        return Paired(0, math.nan, (-1.0, 1.0), 0, 0, 1.0)
    size = n + 2
    centre = sum(d) / size
    variance = (sum(x * x for x in d) + 2) / size - centre * centre
    half = float(special.stdtrit(size - 1, 0.5 + confidence / 2)) * math.sqrt(variance / size)
    interval = max(-1.0, centre - half), min(1.0, centre + half)
    return Paired(n, sum(d) / n, interval, won, lost, mcnemar(won, lost))


def mcnemar(won: int, lost: int) -> float:
    """McNemar's exact two-sided p-value: under no difference each discordant problem is a fair coin."""
    n = won + lost
    return min(1.0, 2.0 * float(special.bdtr(min(won, lost), n, 0.5))) if n else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (1979), in the order given: the chance of any false claim is bounded."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def flipped(a: Mapping[str, float], b: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """(problem, value in A, value in B) of every problem on which the arms differ, in A's order."""
    return [(problem, a[problem], b[problem]) for problem in a if problem in b and abs(a[problem] - b[problem]) > 1e-12]
