"""A simulated arena: battles drawn from known strengths, to measure every estimate against the truth.

Strengths, the law of pairs, a position effect, style effects (whose features may go along with ability), ties and
voters who toss a coin are all given; ``Arena.draw`` fights ``n`` battles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from thence.core.errors import UsageError

from .battles import Array, Battles, Ints
from .bradley_terry import Ties, probabilities


@dataclass(frozen=True, slots=True)
class Arena:
    """``strengths`` [models] in log-odds; ``tie`` is log nu (davidson) or delta (rao-kupper), None: no ties.

    ``position`` is what being shown first is worth. ``style`` is, by feature, what a difference (a - b) / (a + b) of 1
    is worth; ``verbosity`` [models] is the log of each model's typical feature, the texts' own spread is ``noise``.
    ``pairs`` [models, models] are weights of the pairs (default: all alike). ``voters`` vote in turn, those in
    ``careless`` at random.
    """

    strengths: Array
    tie: float | None = None
    ties: Ties = "davidson"
    position: float = 0.0
    style: Mapping[str, float] = field(default_factory=dict)
    verbosity: Array | None = None
    noise: float = 0.4
    pairs: Array | None = None
    voters: int = 0
    careless: frozenset[int] = frozenset()

    @property
    def models(self) -> tuple[str, ...]:
        """Names in the order of ``strengths``."""
        return tuple(f"m{i:02d}" for i in range(len(self.strengths)))

    def law(self) -> tuple[Ints, Ints, Array]:
        """(a, b, probability) of every ordered pair that may meet; both orders alike."""
        m = len(self.strengths)
        weights = np.ones((m, m)) if self.pairs is None else np.asarray(self.pairs, dtype=float)
        weights = weights + weights.T
        a, b = np.nonzero((weights > 0) & ~np.eye(m, dtype=bool))
        chosen = weights[a, b]
        if not len(chosen):
            raise UsageError("no two models may meet; give some pair a weight above 0")
        return a, b, chosen / chosen.sum()

    def draw(self, n: int, seed: int) -> Battles:
        """``n`` independent battles, seeded."""
        chance = np.random.default_rng(seed)
        a, b, weights = self.law()
        met = chance.choice(len(a), size=n, p=weights)
        return self.fight(a[met], b[met], chance)

    def fight(self, a: Ints, b: Ints, chance: np.random.Generator) -> Battles:
        """One battle for each of the given pairs, a shown first."""
        n = len(a)
        eta = self.strengths[a] - self.strengths[b] + self.position
        features = {}
        typical = np.zeros(len(self.strengths)) if self.verbosity is None else self.verbosity
        for name, worth in self.style.items():
            sizes = np.exp(typical[np.stack([a, b], axis=1)] + self.noise * chance.standard_normal((n, 2)))
            features[name] = sizes
            eta = eta + worth * (sizes[:, 0] - sizes[:, 1]) / sizes.sum(axis=1)
        outcome = self._outcomes(eta, chance)
        judges = None
        if self.voters:
            judges = tuple(f"v{i % self.voters:03d}" for i in range(n))
            lazy = np.array([i % self.voters in self.careless for i in range(n)])
            outcome = np.where(lazy, chance.integers(0, 2, n).astype(float), outcome)
        return Battles(self.models, a, b, outcome, np.ones(n), features, judges)

    def _outcomes(self, eta: Array, chance: np.random.Generator) -> Array:
        win, _, tie = probabilities(eta, self.tie, "half" if self.tie is None else self.ties)
        u = chance.random(len(eta))
        return np.where(u < win, 1.0, np.where(u < win + tie, 0.5, 0.0))
