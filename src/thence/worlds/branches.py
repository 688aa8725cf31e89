"""Branches: a random tree per problem, with priors over actions and right leaves, solved by dynamic programming.

At each of ``depth`` levels the policy takes one of ``branching`` actions with prior pi(a) proportional to
exp(skew * z_a), z_a standard normal and fixed per node. Each leaf is right with chance ``right_share``; a wrong one
gives one of ``wrong`` wrong answers. All of it is a hash of (data_seed, problem, path), so a tree is never stored.

    V^pi(s)     = sum_a pi(a|s) V^pi(s a)                       what a sample is worth; ``value``
    V^max,w(s)  = E max over w sampled actions of V^max,w(s a)  what a planner that looks at w actions gets
    V*(s)       = max_a V*(s a)                                 ``best``: 1 where a right leaf can be reached

V^pi = V^max,1 <= V^max,w <= V*, increasing in w (Feng et al. 2023, arXiv:2309.17179, learn the first; value iteration
learns the last). A step is right when a right leaf can still be reached after it; a problem whose tree has none has no
right step. Verifiers with noise, and wrong leaves scored above all, come from ``verifier(noise=…, logit=…,
fooled=…)``.

What a search that knows V^pi finds has closed forms, too: ``walked`` (one path, the best of w draws at every level,
with or without lookahead) and ``held`` (whatever w draws in every state can find).

``value`` and ``best`` visit the tree once per problem: branching ** depth leaves.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import ClassVar, Literal, cast

from thence.core.errors import UsageError, check_counts, check_shares
from thence.core.problem import Problem
from thence.core.seeds import derive

from .world import At, Moves, Place, World

Draws = Literal["samples", "subset"]
NORMAL = NormalDist()


@dataclass(frozen=True)
class Branches(World):
    """Random trees; ``skew`` 0 makes all actions equally likely."""

    depth: int = 4
    branching: int = 4
    right_share: float = 0.05
    skew: float = 1.0
    wrong: int = 4
    size: int = 20
    data_seed: int = 0

    name: ClassVar[str] = "branches"

    def __post_init__(self) -> None:
        check_counts(self.name, 1, depth=self.depth, branching=self.branching, wrong=self.wrong, size=self.size)
        check_shares(self.name, right_share=self.right_share)
        if self.wrong > 89 or self.branching**self.depth > 1_000_000:
            raise UsageError(
                f"branches: {self.wrong} wrong answers or {self.branching}^{self.depth} leaves are too many; "
                "at most 89 and a million"
            )

    @property
    def step_pieces(self) -> Sequence[str]:
        """One piece per action."""
        return [f"take {a}." for a in range(self.branching)]

    def moves(self, number: int, steps: tuple[str, ...]) -> Moves:
        """The prior over actions, or at a leaf its answer."""
        if len(steps) < self.depth:
            return Moves(steps=self.prior(number, steps))
        right, *others = self.choices(number, 1 + self.wrong)
        if self.is_right(number, steps):
            return Moves(answers={right: 1.0})
        return Moves(answers={others[self._hash("answer", number, steps) % self.wrong]: 1.0})

    def judge(self, number: int, steps: tuple[str, ...]) -> tuple[bool, ...]:
        """A step is right when a right leaf can still be reached after it."""
        return tuple(self._planned(number, steps[: k + 1], self.branching, "subset") > 0 for k in range(len(steps)))

    def prior(self, number: int, steps: tuple[str, ...]) -> dict[str, float]:
        """pi(a | steps) for every action, as step pieces."""
        weights = {
            piece: math.exp(self.skew * NORMAL.inv_cdf((self._hash("prior", number, (*steps, piece)) + 0.5) / 2**63))
            for piece in self.step_pieces
        }
        total = sum(weights.values())
        return {piece: weight / total for piece, weight in weights.items()}

    def is_right(self, number: int, steps: tuple[str, ...]) -> bool:
        """Whether the leaf at ``steps`` is right."""
        return self._hash("leaf", number, steps) < self.right_share * 2**63

    def _hash(self, *what: object) -> int:
        return derive("branches", self.data_seed, *what)

    # --- closed forms (V^pi is ``value``) ---------------------------------------------------------------------------

    def best(self, problem: Problem, begun: str = "") -> float:
        """V*: 1 if a right leaf can still be reached after ``begun``, else 0."""
        return self.planned(problem, begun, width=self.branching, draws="subset")

    def planned(self, problem: Problem, begun: str = "", *, width: int, draws: Draws = "samples") -> float:
        """V^max,w with w = ``width``: at every level the better of ``width`` actions is taken.

        They are independent ``samples`` of the prior (with repetition), or a uniformly random ``subset`` of different
        actions. Width 1 of samples is V^pi, the whole subset V*.
        """
        if not 1 <= width <= (self.branching if draws == "subset" else 1_000_000):
            raise UsageError(f"branches: width is {width}; it must be between 1 and {self.branching}")
        place = self.read(begun)
        if place.at is At.DONE:
            return float(place.answer == self.right(self.number(problem)))
        return self._planned(self.number(problem), place.steps, width, draws)

    def walked(self, problem: Problem, *, width: int, ahead: int = 0) -> float:
        """The chance of a right answer when at every level ``width`` actions are sampled and the one with the largest
        V^pi is taken, equals by lot; with ``ahead`` its V^pi is that after so many more greedy steps."""
        return self._walked(self.number(problem), (), width, ahead)

    def held(self, problem: Problem, *, width: int) -> float:
        """The chance that a right leaf is in a tree in which every state has ``width`` draws, equal ones merged."""
        return self._held(self.number(problem), (), width)

    def _walked(self, number: int, steps: tuple[str, ...], width: int, ahead: int) -> float:
        if len(steps) == self.depth:
            return float(self.is_right(number, steps))
        judged = {a: self.value_at(number, self._greedily(number, (*steps, a), ahead)) for a in self.step_pieces}
        below = {a: self._walked(number, (*steps, a), width, ahead) for a in self.step_pieces}
        chance = 0.0
        for seen, p in _seen(self.prior(number, steps), width):
            best = max(judged[a] for a in seen)
            tied = [below[a] for a in seen if judged[a] == best]
            chance += p * sum(tied) / len(tied)
        return chance

    def _greedily(self, number: int, steps: tuple[str, ...], more: int) -> Place:
        for _ in range(min(more, self.depth - len(steps))):
            steps = (*steps, self.ranked(self.prior(number, steps))[0])
        return Place(steps)

    def _held(self, number: int, steps: tuple[str, ...], width: int) -> float:
        if len(steps) == self.depth:
            return float(self.is_right(number, steps))
        below = {a: self._held(number, (*steps, a), width) for a in self.step_pieces}
        drawn = _seen(self.prior(number, steps), width)
        return math.fsum(p * (1.0 - math.prod(1.0 - below[a] for a in seen)) for seen, p in drawn)

    def _planned(self, number: int, steps: tuple[str, ...], width: int, draws: Draws) -> float:
        if len(steps) >= self.depth:
            return float(self.is_right(number, steps))
        key: Hashable = ("planned", number, steps, width, draws)
        if key not in self._known:
            prior = self.prior(number, steps)
            below = [(self._planned(number, (*steps, a), width, draws), p) for a, p in prior.items()]
            self._known[key] = _max_of_samples(below, width) if draws == "samples" else _max_of_subset(below, width)
        return cast(float, self._known[key])


def _seen(prior: Mapping[str, float], width: int) -> list[tuple[tuple[str, ...], float]]:
    """Every set of actions that ``width`` independent draws can come to, with its chance (by inclusion-exclusion)."""
    law = []
    for size in range(1, min(width, len(prior)) + 1):
        for seen in combinations(prior, size):
            parts = [
                (-1) ** (size - k) * math.fsum(prior[a] for a in some) ** width
                for k in range(1, size + 1)
                for some in combinations(seen, k)
            ]
            law.append((seen, max(0.0, math.fsum(parts))))
    return law


def _max_of_samples(below: Sequence[tuple[float, float]], width: int) -> float:
    """E max of ``width`` independent draws of values with the given chances."""
    mean, mass = 0.0, 0.0
    for value, p in sorted(below):
        mean += value * ((mass + p) ** width - mass**width)
        mass += p
    return mean


def _max_of_subset(below: Sequence[tuple[float, float]], width: int) -> float:
    """E max of a uniformly random subset of ``width`` values."""
    values = sorted(value for value, _ in below)
    return sum(v * math.comb(k, width - 1) for k, v in enumerate(values)) / math.comb(len(values), width)


__all__ = ["Branches", "Draws"]
