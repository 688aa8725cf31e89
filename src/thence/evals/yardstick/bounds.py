r"""Bounds on the best possible policy, where a yard is too large to be solved.

States, posteriors and prices are those of ``optimum``; what is missing there is a table of all states. Here problems
are simulated instead, and both bounds hold whatever is approximated on the way.

Let s_t be the chance that the best seen answer is right after t draws, lambda the price of a draw, and V any function
of the state. M_t = sum_{u <= t} V(x_u) - E[V(x_u) | x_{u-1}] is a martingale, so for every stopping time tau

    E[s_tau - lambda tau] = E[s_tau - lambda tau - M_tau] <= E max_{1 <= t <= cap} (s_t - lambda t - M_t) = U(lambda),

an *upper bound* on what any policy can reach: the right-hand side is allowed to see all samples before it decides when
to stop, and M takes away what it wins by that (Rogers 2002; Haugh and Kogan 2004; in general Brown, Smith and Sun 2010,
"Information relaxations and duality"). With V = 0 it is the prophet's bound, with the true value function an equality.
A policy of mean cost B then has at most U(lambda) + lambda B, for every lambda.

The *lower bound* is a policy: it stops where s is at least E[V after one more draw] - lambda. Its value is that of
s_tau - lambda tau - M_tau, which has the same mean as the value itself and hardly any spread; two neighbouring prices
are mixed to a given mean cost.

V is fitted on other simulated problems, backwards in t: expectations over the next draw are exact sums over all
answers and scores, and are smoothed by cubic polynomials of the posterior (of the best two answers, the unseen ones and
the strata). Both bounds are means over ``paths`` problems, moved outwards by three of their standard errors.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from thence.core.errors import UsageError, check_counts
from thence.evals.statistics.metrics import maj_at_k_population

from .optimum import Floats, Ints, Point, called, majority_at
from .yard import Yard

PRICES = (*(round(0.4 * 0.78**k, 5) for k in range(27)), 0.0)  # .4 to .0006, and nothing
OUT = 3.0  # standard errors by which bounds are moved outwards
MOST_WAYS = 4096  # of which sorts of places have been given away
MOST_DRAWS = 128


def arrangements(law: tuple[float, ...], counts: Ints) -> Floats:
    """[state, answer]: the chance of one sequence of draws with [state, answer] ``counts`` in which that answer is the
    right one, times m^draws: a mean over all ways to share out the law's places among m answers.

    Equal places are one sort. Answer by answer a table says how many places of each sort are given away.
    """
    m = len(law)
    sorts, places = np.unique(law[1:], return_counts=True)
    if math.prod(int(c) + 1 for c in places) > MOST_WAYS:
        raise UsageError(f"yardstick: a law of {m} answers with {len(sorts)} different chances has too many orders")
    first: Floats = np.power(m * law[0], counts, dtype=np.float64)
    table: dict[tuple[int, ...], Floats] = {(0,) * len(sorts): first}
    for a in range(m):
        powers = (m * sorts) ** counts[:, a, None]
        after: dict[tuple[int, ...], Floats] = {}
        for used, ways in table.items():
            if used not in after:
                after[used] = np.zeros_like(ways)
            after[used][:, a] += ways[:, a]  # it is the right one, and takes none of these places
            for j, most in enumerate(places):
                if used[j] < most:
                    more = (*used[:j], used[j] + 1, *used[j + 1 :])
                    moved = ways * powers[:, j, None]
                    moved[:, a] = 0.0
                    after[more] = after[more] + moved if more in after else moved
        table = after
    whole = table[tuple(int(c) for c in places)]
    return np.asarray(whole * math.prod(math.factorial(int(c)) for c in places) / math.factorial(m))


@dataclass(slots=True)
class _Layer:
    """What simulated problems have seen after some draws: different states, and which one each problem is in."""

    counts: Ints  # [state, answer]
    scores: Ints  # [state, answer]; one more than the highest for an unseen one
    state: Ints  # [problem]


@dataclass(slots=True)
class _Seen:
    """What is known in some states."""

    stop: Floats  # [state]
    strata: Floats  # [state, stratum]: the chance of the stratum and that the best answer is right
    evidence: Floats  # [state], times m^draws
    terms: Floats  # [state, term]


@dataclass(slots=True)
class Bounds:
    """An interval for the best policies on ``yard``, at most ``cap`` samples for a problem; the interface is that of
    ``Optimum``, with ``Point.accuracy`` the lower bound and ``Point.above`` the upper one."""

    yard: Yard
    cap: int = 32
    paths: int = 2000
    seed: int = 0
    _fits: list[Floats] = field(init=False, default_factory=list)  # per number of draws [term, price]
    _upper: Floats = field(init=False)  # [price], moved outwards
    _costs: Floats = field(init=False)  # [price]
    _lower: Floats = field(init=False)  # [price, problem]: s - price * cost - martingale, of the policy
    _spread: Floats = field(init=False)  # [price], standard errors of the costs
    _strata: Floats = field(init=False)  # [price, stratum]
    _capped: dict[int, tuple[float, tuple[float, ...]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_counts("yardstick", cap=self.cap, paths=self.paths)
        if self.cap > MOST_DRAWS or self.paths < 100:
            raise UsageError(
                f"yardstick: bounds take at most {MOST_DRAWS} samples and at least 100 simulated problems; "
                f"the cap is {self.cap} and there are {self.paths} problems"
            )
        called()
        self._fit(self._simulated(self.seed))
        self._measure(self._simulated(self.seed + 1))

    # --- states -----------------------------------------------------------------------------------------------------

    def _simulated(self, seed: int) -> list[_Layer]:
        """Problems and all of their draws. Answers are named by their places: nothing here looks at names."""
        noise = np.random.default_rng((seed, self.cap, self.paths))
        m, prior = len(self.yard.laws[0]), np.array(self.yard.prior)
        strata = noise.choice(len(prior), size=self.paths, p=prior)
        ends = np.cumsum(np.array(self.yard.laws), axis=1)[strata]
        drawn = (noise.random((self.paths, self.cap, 1)) > ends[:, None, :]).sum(axis=2).clip(max=m - 1)
        levels = [np.searchsorted(np.cumsum(law)[:-1], noise.random((self.paths, m)), side="right") for law in self._f]
        scores = np.where(np.arange(m) == 0, levels[1], levels[0])
        counts = np.zeros((self.paths, m), dtype=np.int64)
        layers = [self._layer(counts, scores)]
        for t in range(self.cap):
            counts = counts + (drawn[:, t, None] == np.arange(m))
            layers.append(self._layer(counts, scores))
        return layers

    @property
    def _f(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The laws of scores of a wrong and of a right answer."""
        return self.yard.quality.wrong, self.yard.quality.right

    def _layer(self, counts: Ints, scores: Ints) -> _Layer:
        """Equal states once: answers sorted by count and score."""
        levels = len(self._f[0])
        codes = -np.sort(-np.where(counts > 0, 1 + counts * levels + scores, 0), axis=1)
        unique, state = np.unique(codes, axis=0, return_inverse=True)
        seen = unique > 0
        return _Layer(
            np.where(seen, (unique - 1) // levels, 0), np.where(seen, (unique - 1) % levels, levels), state.reshape(-1)
        )

    def _look(self, counts: Ints, scores: Ints) -> _Seen:
        m, prior = counts.shape[1], np.array(self.yard.prior)
        order = np.argsort(-counts, axis=1, kind="stable")
        unique, where = np.unique(np.take_along_axis(counts, order, axis=1), axis=0, return_inverse=True)
        shares = np.stack([arrangements(law, unique) for law in self.yard.laws], axis=1)[where.reshape(-1)]
        places = np.argsort(order, axis=1)
        shares = np.take_along_axis(shares, np.repeat(places[:, None, :], len(prior), axis=1), axis=2)
        wrong, right = (np.array([*law, 1.0])[scores] for law in self._f)
        looks = np.stack([np.where(np.arange(m) == r, right, wrong).prod(axis=1) for r in range(m)], axis=1)
        joint = shares * looks[:, None, :] * prior[:, None]
        evidence = np.maximum(joint.sum(axis=(1, 2)), 1e-300)  # what cannot happen is given chance 0 by its caller
        chances = joint.sum(axis=1) / evidence[:, None]
        seen = np.where(counts > 0, chances, 0.0)
        best = seen.argmax(axis=1)
        chosen = np.take_along_axis(joint, best[:, None, None], axis=2)[:, :, 0] * (seen.max(axis=1) > 0)[:, None]
        top = -np.partition(-np.concatenate([seen, np.zeros((len(seen), 1))], axis=1), 1, axis=1)[:, :2]
        odds = np.log((top[:, 0] + 1e-4) / (top[:, 1] + 1e-4)) / 9.0
        unseen = 1.0 - seen.sum(axis=1)
        strata = (joint.sum(axis=2) / evidence[:, None])[:, : len(prior) - 1]
        terms = _cubic(np.column_stack([top, odds, unseen, strata]))
        return _Seen(top[:, 0], chosen / evidence[:, None], evidence, terms)

    def _after(self, layer: _Layer, now: _Seen) -> tuple[_Seen, Floats]:
        """All states one draw later, [state * observation], and their chances [state, observation]."""
        (n, m), levels = layer.counts.shape, len(self._f[0])
        counts = np.repeat(layer.counts[:, None, :], m + levels, axis=1)
        scores = np.repeat(layer.scores[:, None, :], m + levels, axis=1)
        for a in range(m):
            counts[:, a, a] += 1
        new = np.minimum((layer.counts > 0).sum(axis=1), m - 1)  # the first unseen one: states are sorted
        for level in range(levels):
            counts[np.arange(n), m + level, new] += 1
            scores[np.arange(n), m + level, new] = level
        left = (layer.counts == 0).sum(axis=1)
        ways = np.concatenate([layer.counts > 0, np.repeat(left[:, None], levels, axis=1)], axis=1)
        impossible = ways == 0
        counts[impossible] = layer.counts.repeat(impossible.sum(axis=1), axis=0)  # whatever: its chance is 0
        scores[impossible] = layer.scores.repeat(impossible.sum(axis=1), axis=0)
        later = self._look(counts.reshape(-1, m), scores.reshape(-1, m))
        chances = ways * later.evidence.reshape(n, -1) / now.evidence[:, None] / m
        return later, chances

    def _value(self, seen: _Seen, drawn: int) -> Floats:
        """V [state, price] after ``drawn`` draws."""
        stop = seen.stop[:, None]
        return (
            stop.repeat(len(PRICES), axis=1) if drawn == self.cap else np.maximum(stop, seen.terms @ self._fits[drawn])
        )

    # --- both bounds ------------------------------------------------------------------------------------------------

    def _fit(self, layers: list[_Layer]) -> None:
        """V backwards: the mean of the next V less the price, smoothed."""
        self._fits = [np.zeros((0, 0))] * (self.cap + 1)
        for drawn in range(self.cap - 1, 0, -1):
            layer = layers[drawn]
            now = self._look(layer.counts, layer.scores)
            later, chances = self._after(layer, now)
            value = self._value(later, drawn + 1).reshape(*chances.shape, -1)
            target = np.einsum("so,sok->sk", chances, value) - np.array(PRICES)
            weight = np.sqrt(np.bincount(layer.state, minlength=len(layer.counts)))[:, None]
            ridge = 1e-3 * np.eye(now.terms.shape[1])
            rows = np.concatenate([now.terms * weight, ridge])
            goals = np.concatenate([target * weight, np.zeros((len(ridge), len(PRICES)))])
            self._fits[drawn] = np.linalg.lstsq(rows, goals, rcond=None)[0]

    def _measure(self, layers: list[_Layer]) -> None:
        """Both bounds on problems that V was not fitted on."""
        prices, n = np.array(PRICES), self.paths
        martingale, best = np.zeros((n, len(prices))), np.full((n, len(prices)), -np.inf)
        lower, cost = np.zeros((n, len(prices))), np.zeros((n, len(prices)))
        strata = np.zeros((n, len(prices), len(self.yard.prior)))
        going = np.ones((n, len(prices)), dtype=bool)
        expected = np.zeros((n, len(prices)))
        for drawn, layer in enumerate(layers):
            seen = self._look(layer.counts, layer.scores)
            at = layer.state
            if drawn:
                martingale += self._value(seen, drawn)[at] - expected
                worth = seen.stop[at, None] - prices * drawn - martingale
                best = np.maximum(best, worth)
                total = seen.strata[at].mean(axis=0)
                self._capped[drawn] = float(total.sum()), tuple(total / np.array(self.yard.prior))
            more = np.full((len(layer.counts), len(prices)), -np.inf)
            if drawn < self.cap:
                later, chances = self._after(layer, seen)
                value = self._value(later, drawn + 1).reshape(*chances.shape, -1)
                more = np.einsum("so,sok->sk", chances, value)
                expected = more[at]
            if drawn:
                stops = going & (seen.stop[:, None] >= more - prices)[at]
                lower[stops], cost[stops] = worth[stops], drawn
                strata[stops] = np.repeat(seen.strata[at][:, None, :], len(prices), axis=1)[stops]
                going &= ~stops
        self._upper = best.mean(axis=0) + OUT * best.std(axis=0) / math.sqrt(n)
        self._lower, self._costs = lower.T, cost.mean(axis=0)
        self._spread = cost.std(axis=0) / math.sqrt(n)
        self._strata = strata.mean(axis=0) / np.array(self.yard.prior)

    # --- what is asked for ------------------------------------------------------------------------------------------

    def at(self, mean: float) -> Point:
        """Bounds for the best policy that draws ``mean`` samples on average."""
        if mean < 1:
            raise UsageError(f"yardstick: a mean of {mean} samples is asked for; every problem needs at least 1")
        above = float((self._upper + np.array(PRICES) * mean).min())
        order = np.argsort(self._costs, kind="stable")
        found = []
        for i, k in itertools.pairwise(order):
            low, high = self._costs[i], self._costs[k]
            if low <= mean < high or (k == order[-1] and mean >= high):
                found.append((int(i), int(k), min(1.0, (mean - low) / (high - low)) if high > low else 1.0))
        i, k, part = found[0] if found else (int(order[0]), int(order[0]), 0.0)
        two = [(1.0 - part, i), (part, k)]
        # of J + price * cost the first has hardly any spread; what errors of the mean costs do nearly cancels
        values = sum((p * (self._lower[j] + PRICES[j] * self._costs[j]) for p, j in two), np.zeros(self.paths))
        means = [float(self._lower[j].mean() + PRICES[j] * self._costs[j]) for _, j in two]
        slope = (means[1] - means[0]) / (self._costs[k] - self._costs[i]) if self._costs[k] > self._costs[i] else 0.0
        tilt = sum((p * (PRICES[j] - slope) * self._spread[j]) ** 2 for p, j in two) if part < 1.0 else 0.0
        below = float(values.mean()) - OUT * math.sqrt(float(values.var()) / self.paths + tilt)
        if mean <= self.cap:
            below = max(below, self.majority_at(mean).accuracy)  # that is a policy, too
        strata = tuple(float(v) for v in sum((p * self._strata[j] for p, j in two), np.zeros(len(self.yard.prior))))
        return Point(below, mean, max(above, below), strata, (), PRICES[k])

    def capped(self, n: int) -> Point:
        """The best answer to ``n`` samples for every problem, a mean over the simulated ones."""
        self._check(n)
        total, strata = self._capped[n]
        return Point(total, float(n), total, strata, (float(n),) * len(strata))

    def majority(self, n: int) -> Point:
        """The plurality vote of ``n`` samples, ties shared; exact."""
        self._check(n)
        marks = [True] + [False] * (len(self.yard.laws[0]) - 1)
        strata = tuple(maj_at_k_population(law, marks, n) for law in self.yard.laws)
        total = math.fsum(p * v for p, v in zip(self.yard.prior, strata, strict=True))
        return Point(total, float(n), 1.0, strata, (float(n),) * len(strata))

    def majority_at(self, mean: float) -> Point:
        """The same for a mean that is no whole number: the two whole ones beside it, mixed."""
        return majority_at(self.majority, self.cap, mean)

    def _check(self, n: int) -> None:
        if not 1 <= n <= self.cap:
            raise UsageError(f"yardstick: {n} samples were asked for; at most {self.cap} are simulated")


def _cubic(x: Floats) -> Floats:
    """All products of up to three of the columns."""
    whole = np.column_stack([np.ones(len(x)), x])
    triples = itertools.combinations_with_replacement(range(whole.shape[1]), 3)
    return np.stack([whole[:, i] * whole[:, j] * whole[:, k] for i, j, k in triples], axis=1)


__all__ = ["PRICES", "Bounds", "arrangements"]
