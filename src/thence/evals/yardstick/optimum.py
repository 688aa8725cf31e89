r"""The best possible policy on a yard, by dynamic programming.

Sufficient statistics: for each answer seen, its count n_a and its score s_a; the order of the draws and the names of
the answers tell nothing, so a state is a sorted list of (n_a, s_a). Let z be the stratum, r the right answer and pi the
way the law's places are shared out among the answers. The chance of one sequence of draws that leads to state x, with r
right, is

    J_zr(x) = P(z) / m! * sum over pi with pi(r) = first of prod_a p_z,pi(a)^n_a * f1(s_r) prod_{a != r seen} f0(s_a)

and E(x) = sum_zr J_zr(x), unseen r included. A policy stops with the seen answer of largest sum_z J_zr, or pays
``price`` for one more draw. With values multiplied by E no posterior is ever normalised:

    U(x) = max( max_r sum_z J_zr(x),  -price E(x) + sum_o U(x + o) )

over the labelled observations o (the answers not yet seen are alike: one of them, times their number). Two readings of
"equal tokens": ``capped(B)`` has B samples for every problem and uses them all, since they are free; ``at(B)`` may
spend B samples *on average* and at most ``cap`` on one problem. The second is the concave hull of (mean cost,
accuracy) over prices: its corners are solved, and between two of them a policy that tosses a coin is best.

A policy must answer with something it has drawn, so a perfect verifier gives coverage and not 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from thence.core.errors import UsageError, check_counts

from .yard import Yard

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_ANSWERS = 4
MOST_STATES = 20_000_000
_calls = 0


def solvable(answers: int, cap: int, levels: int = 3) -> bool:
    """Whether all states fit into memory."""
    return answers <= MOST_ANSWERS and _about(answers, cap, levels) <= MOST_STATES


def _about(answers: int, cap: int, levels: int) -> float:
    return float(math.comb(cap + answers, answers) * levels**answers / math.factorial(answers))


def solver_calls() -> int:
    """How often an optimum has been made in this process: who makes one while a strategy runs is an oracle."""
    return _calls


def called() -> None:
    """Count one more."""
    global _calls
    _calls += 1


@dataclass(frozen=True, slots=True)
class Layer:
    """All states after some number of draws.

    ``codes`` [state, answer]: 0 for an unseen answer, else 1 + levels * (count - 1) + score, sorted, largest first.
    ``children`` [state, observation]: positions in the next layer after one more draw of each answer, and after a new
    answer with each score; ``ways`` how many labelled observations lead there (0: impossible). ``paths`` [state]: the
    number of labelled sequences of draws that lead here.
    """

    codes: Ints
    paths: Floats
    children: npt.NDArray[np.int32]
    ways: Floats


class States:
    """All states of ``answers`` answers and ``levels`` scores up to ``cap`` draws; no probabilities in it."""

    def __init__(self, answers: int, cap: int, levels: int = 3) -> None:
        check_counts("yardstick", answers=answers, cap=cap, levels=levels)
        self.answers, self.cap, self.levels = answers, cap, levels
        estimate = _about(answers, cap, levels)
        if estimate > MOST_STATES:
            raise UsageError(
                f"yardstick: {answers} answers, {cap} samples and {levels} scores make about {estimate:.0e} states; "
                "take a smaller cap"
            )
        self.layers: list[Layer] = []
        codes, paths = np.zeros((1, answers), dtype=np.int64), np.ones(1)
        for drawn in range(cap + 1):
            last = drawn == cap
            children, ways, after, reached = self._grow(codes, paths, last)
            self.layers.append(Layer(codes, paths, children, ways))
            codes, paths = after, reached

    def __len__(self) -> int:
        return sum(len(layer.codes) for layer in self.layers)

    def _grow(self, codes: Ints, paths: Floats, last: bool) -> tuple[npt.NDArray[np.int32], Floats, Ints, Floats]:
        m, levels = self.answers, self.levels
        ways = np.concatenate([codes > 0, np.repeat((codes == 0).sum(axis=1)[:, None], levels, axis=1)], axis=1)
        if last:
            return np.zeros(ways.shape, dtype=np.int32), np.zeros(ways.shape), codes, paths
        base = self.levels * self.cap + 1
        powers = base ** np.arange(m - 1, -1, -1, dtype=np.int64)
        keys = np.empty(ways.shape, dtype=np.int64)
        for o in range(m + levels):
            after = codes.copy()
            if o < m:
                after[:, o] += levels
            else:  # the last place is empty where anything is
                after[:, -1] = o - m + 1
            keys[:, o] = -np.sort(-after, axis=1) @ powers
        possible = ways > 0
        unique, inverse = np.unique(keys[possible], return_inverse=True)
        children = np.zeros(ways.shape, dtype=np.int32)
        children[possible] = inverse
        reached = np.zeros(len(unique))
        np.add.at(reached, inverse, (ways * paths[:, None])[possible])
        return children, ways.astype(float), (unique[:, None] // powers) % base, reached


@lru_cache(maxsize=4)
def states(answers: int, cap: int, levels: int = 3) -> States:
    """The states, made once: they are the same for all strata, verifiers and prices."""
    return States(answers, cap, levels)


@dataclass(frozen=True, slots=True)
class Point:
    """A policy's accuracy and mean number of samples: over the prior, and stratum by stratum.

    ``above`` bounds the accuracy of every policy at this cost from above; for a solved optimum it is the accuracy up
    to rounding.
    """

    accuracy: float
    cost: float
    above: float
    strata: tuple[float, ...] = ()
    costs: tuple[float, ...] = ()
    price: float = 0.0


@dataclass(frozen=True, slots=True)
class _Corner:
    """The best policy at one price."""

    price: float
    accuracy: float
    cost: float


@dataclass(slots=True)
class _Weights:
    """Numbers of one layer under a yard: J of the best answer per stratum, its sum over strata, and E per stratum."""

    joint: Floats  # [state, stratum, answer]; 0 for an unseen answer
    stop: Floats  # [state]
    chosen: Floats  # [state, stratum]
    evidence: Floats  # [state, stratum]


@dataclass(slots=True)
class Optimum:
    """The best policies on ``yard``, at most ``cap`` samples for a problem."""

    yard: Yard
    cap: int = 64
    _space: States = field(init=False)
    _weights: list[_Weights] = field(init=False)
    _corners: dict[float, _Corner] = field(default_factory=dict)
    _profiles: dict[float, tuple[Floats, Floats]] = field(default_factory=dict)
    _rules: dict[float, list[npt.NDArray[np.bool_]]] = field(init=False, default_factory=dict)
    _keys: list[Ints] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        called()
        if len(self.yard.laws[0]) > MOST_ANSWERS:
            raise UsageError(
                f"yardstick: {len(self.yard.laws[0])} answers are too many to solve exactly; at most {MOST_ANSWERS}"
            )
        self._space = states(len(self.yard.laws[0]), self.cap)
        self._weights = [self._weigh(layer) for layer in self._space.layers]

    def _weigh(self, layer: Layer) -> _Weights:
        levels, m = self._space.levels, self._space.answers
        counts = (layer.codes + levels - 1) // levels
        scores = np.where(layer.codes > 0, (layer.codes - 1) % levels, levels)  # the last: not seen, no score
        f0 = np.array([*self.yard.quality.wrong, 1.0])[scores]
        f1 = np.array([*self.yard.quality.right, 1.0])[scores]
        factors = np.stack([np.prod(np.where(np.arange(m) == r, f1, f0), axis=1) for r in range(m)], axis=1)
        unique, where = np.unique(counts, axis=0, return_inverse=True)
        laws = np.array(self.yard.laws)
        shares = np.zeros((len(unique), len(laws), m))
        for pi in itertools.permutations(range(m)):
            powers = laws[None, :, list(pi)] ** unique[:, None, :]  # 0 ** 0 is 1
            shares[:, :, pi.index(0)] += powers.prod(axis=2)
        shares *= (np.array(self.yard.prior) / math.factorial(m))[None, :, None]
        whole = shares[where.reshape(-1)] * factors[:, None, :]
        joint = whole * (layer.codes > 0)[:, None, :]
        best = joint.sum(axis=1).argmax(axis=1)
        chosen = np.take_along_axis(joint, best[:, None, None], axis=2)[:, :, 0]
        return _Weights(joint, chosen.sum(axis=1), chosen, whole.sum(axis=2))

    # --- a number of samples for every problem ----------------------------------------------------------------------

    def capped(self, n: int) -> Point:
        """The best answer to ``n`` samples for every problem."""
        self._check(n)
        layer, weights = self._space.layers[n], self._weights[n]
        right = layer.paths @ weights.chosen
        total = float(right.sum())
        return Point(total, float(n), total, _shares(right, self.yard), (float(n),) * len(right))

    def majority(self, n: int) -> Point:
        """The plurality vote of ``n`` samples, ties shared; exact as well."""
        self._check(n)
        layer, weights = self._space.layers[n], self._weights[n]
        counts = (layer.codes + self._space.levels - 1) // self._space.levels
        tied = (counts == counts.max(axis=1, keepdims=True)).astype(float)
        tied /= tied.sum(axis=1, keepdims=True)
        right = layer.paths @ (weights.joint * tied[:, None, :]).sum(axis=2)
        return Point(float(right.sum()), float(n), 1.0, _shares(right, self.yard), (float(n),) * len(right))

    def majority_at(self, mean: float) -> Point:
        """The same for a mean that is no whole number: the two whole ones beside it, mixed."""
        return majority_at(self.majority, self.cap, mean)

    def _check(self, n: int) -> None:
        if not 1 <= n <= self.cap:
            raise UsageError(f"yardstick: {n} samples were asked for; between 1 and {self.cap} are solved")

    # --- a mean number of samples -----------------------------------------------------------------------------------

    def at(self, mean: float) -> Point:
        """The best policy that draws ``mean`` samples on average."""
        if mean < 1:
            raise UsageError(f"yardstick: a mean of {mean} samples is asked for; every problem needs at least 1")
        left, right, slope, above = self._around(mean)
        part = self._part(left, right, mean)
        mixed = _mixed(self._point(left), self._point(right), part)
        cost = min(mean, right.cost) if slope == 0.0 else mean
        return Point(mixed.accuracy, cost, max(above, mixed.accuracy), mixed.strata, mixed.costs, slope)

    def _around(self, mean: float) -> tuple[_Corner, _Corner, float, float]:
        """The corners beside ``mean``, the slope between them, and the bound that it gives at ``mean``."""
        left, right = self._corner(2.0), self._corner(0.0)
        if mean >= right.cost:
            return right, right, 0.0, right.accuracy
        while True:  # the corner between two others that lies farthest above their chord, until there is none
            slope = (right.accuracy - left.accuracy) / max(right.cost - left.cost, 1e-12)
            middle = self._corner(slope)
            chord = left.accuracy + slope * (middle.cost - left.cost)
            if middle.accuracy <= chord + 1e-10 or middle.cost in (left.cost, right.cost):
                return left, right, slope, middle.accuracy + slope * (mean - middle.cost)
            left, right = (middle, right) if middle.cost <= mean else (left, middle)

    @staticmethod
    def _part(left: _Corner, right: _Corner, mean: float) -> float:
        return min(1.0, (mean - left.cost) / max(right.cost - left.cost, 1e-12))

    def played(self, mean: float, draws: Sequence[Sequence[tuple[str, int]]]) -> list[list[tuple[float, int]]]:
        """What the best policy of this mean does: after how many of a problem's ``draws`` (``cap`` pairs of an answer
        and its score) it stops, with which chance."""
        left, right, _, _ = self._around(mean)
        part = self._part(left, right, mean)
        made = []
        for seen in draws:
            stops = [(1.0 - part, self._stop(left.price, seen)), (part, self._stop(right.price, seen))]
            made.append([(p, k) for p, k in stops if p > 0])
        return made

    def _stop(self, price: float, draws: Sequence[tuple[str, int]]) -> int:
        if price not in self._profiles:
            self._profiles[price] = self._profile(price)
        space, seen = self._space, dict[str, int]()
        base = space.levels * space.cap + 1
        powers = base ** np.arange(space.answers - 1, -1, -1, dtype=np.int64)
        self._keys = self._keys or [layer.codes @ powers for layer in space.layers]
        for drawn, (answer, level) in enumerate(draws[: space.cap], 1):
            seen[answer] = seen[answer] + space.levels if answer in seen else 1 + level
            codes = sorted([*seen.values(), *[0] * (space.answers - len(seen))], reverse=True)
            at = int(np.searchsorted(self._keys[drawn], int(np.array(codes) @ powers)))
            if drawn == space.cap or not self._rules[price][drawn][at]:
                return drawn
        return len(draws)

    def priced(self, price: float) -> Point:
        """The policy that maximises accuracy - ``price`` * samples."""
        return self._point(self._corner(price))

    def _corner(self, price: float) -> _Corner:
        if price not in self._corners:
            right, cost = np.zeros(0), np.zeros(0)
            for drawn in range(self.cap, -1, -1):
                layer, weights = self._space.layers[drawn], self._weights[drawn]
                if drawn == self.cap:
                    right, cost = weights.stop, np.zeros(len(weights.stop))
                    continue
                more_right, more_cost = np.zeros(len(layer.codes)), weights.evidence.sum(axis=1)
                for o in range(layer.ways.shape[1]):
                    child, ways = layer.children[:, o], layer.ways[:, o]
                    more_right += ways * right[child]
                    more_cost += ways * cost[child]
                go = _goes_on(more_right - price * more_cost, weights.stop, drawn)
                right, cost = np.where(go, more_right, weights.stop), np.where(go, more_cost, 0.0)
            self._corners[price] = _Corner(price, float(right[0]), float(cost[0]))
        return self._corners[price]

    def _point(self, corner: _Corner) -> Point:
        if corner.price not in self._profiles:
            self._profiles[corner.price] = self._profile(corner.price)
        right, cost = self._profiles[corner.price]
        strata, costs = _shares(right, self.yard), _shares(cost, self.yard)
        return Point(corner.accuracy, corner.cost, corner.accuracy, strata, costs)

    def _profile(self, price: float) -> tuple[Floats, Floats]:
        """Accuracy and cost of the policy at ``price``, both per stratum and times its share."""
        right, cost = np.zeros((0, 0)), np.zeros((0, 0))
        rules = self._rules[price] = [np.zeros(0, dtype=np.bool_)] * self.cap
        for drawn in range(self.cap, -1, -1):
            layer, weights = self._space.layers[drawn], self._weights[drawn]
            if drawn == self.cap:
                right, cost = weights.chosen, np.zeros_like(weights.chosen)
                continue
            more_right, more_cost = np.zeros_like(weights.chosen), weights.evidence.copy()
            for o in range(layer.ways.shape[1]):
                child, ways = layer.children[:, o], layer.ways[:, o, None]
                more_right += ways * right[child]
                more_cost += ways * cost[child]
            rules[drawn] = _goes_on((more_right - price * more_cost).sum(axis=1), weights.stop, drawn)
            go = rules[drawn][:, None]
            right, cost = np.where(go, more_right, weights.chosen), np.where(go, more_cost, 0.0)
        return right[0], cost[0]


def _goes_on(more: Floats, stop: Floats, drawn: int) -> npt.NDArray[np.bool_]:
    """Where one more draw is worth its price. What is worth nothing but rounding is not drawn; the first always is."""
    return np.ones(len(stop), dtype=bool) if drawn == 0 else more > stop * (1.0 + 1e-12)


def _shares(mass: Floats, yard: Yard) -> tuple[float, ...]:
    return tuple(float(m / p) for m, p in zip(mass, yard.prior, strict=True))


def majority_at(majority: Callable[[int], Point], cap: int, mean: float) -> Point:
    """``majority`` for a mean of samples, at most ``cap``, that may be no whole number: the two beside it, mixed."""
    low = min(max(1, math.floor(mean)), cap)
    high = min(low + 1, cap)
    part = min(max(mean - low, 0.0), 1.0) if high > low else 0.0
    return _mixed(majority(low), majority(high), part)


def _mixed(a: Point, b: Point, part: float) -> Point:
    """``b`` with chance ``part``, else ``a``."""

    def mix(x: float, y: float) -> float:
        return x + part * (y - x)

    strata = tuple(map(mix, a.strata, b.strata))
    costs = tuple(map(mix, a.costs, b.costs))
    return Point(mix(a.accuracy, b.accuracy), mix(a.cost, b.cost), mix(a.above, b.above), strata, costs)


__all__ = ["Layer", "Optimum", "Point", "States", "called", "solvable", "solver_calls", "states"]
