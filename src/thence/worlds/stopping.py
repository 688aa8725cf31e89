"""Where votes that stop early stop, exactly: the law of the answer that a stopping rule settles on.

Dynamic programming over all that a rule remembers of the draws, for a given law of answers. Mass that the law leaves
out is that of samples without an answer: drawn, but no votes. `laws.adaptive_vote` has the accuracy and the mean number
of samples of a whole vote; here runs that a rule stops are kept apart from those that end at ``n``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from thence.strategies.adaptive_consistency import lead_probability
from thence.strategies.certified import needed

State = TypeVar("State", bound=Hashable)
Step = Callable[[State, int], tuple[State, int | None]]  # one more answer: the new state, and what it stops on


@dataclass(frozen=True, slots=True)
class Stops:
    """How often a rule stops ``on`` each answer within its samples, and the mean number of ``draws``."""

    on: tuple[float, ...]
    draws: float

    def off_mode(self, law: Sequence[float]) -> float:
        """How often it stops on an answer that is not a mode of ``law``."""
        top = max(law)
        return math.fsum(chance for chance, p in zip(self.on, law, strict=True) if p < top)


def beta_stops(law: Sequence[float], n: int = 40, confidence: float = 0.95) -> Stops:
    """The rule of Adaptive-Consistency (Aggarwal et al. 2023, arXiv:2305.11860), looked at after every sample."""

    def step(counts: tuple[int, ...], answer: int) -> tuple[tuple[int, ...], int | None]:
        counts = _more(counts, answer)
        first, second = (*sorted(counts, reverse=True), 0)[:2]
        return counts, counts.index(first) if lead_probability(first, second) >= confidence else None

    return _stops(law, n, (0,) * len(law), step)


def certified_stops(law: Sequence[float], n: int = 40, alpha: float = 0.05) -> Stops:
    """The rule of `strategies.certified`, which remembers who leads, and of every answer how often it was drawn while
    it led and while another did."""
    none = (0,) * len(law)
    Memory = tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # leader, all draws, those held, those lost

    def step(state: Memory, answer: int) -> tuple[Memory, int | None]:
        leader, counts, held, lost = state
        counts = _more(counts, answer)
        if leader < 0:
            leader = answer
        elif answer == leader:
            held = _more(held, answer)
        else:
            lost = _more(lost, answer)
            leader = answer if counts[answer] > counts[leader] else leader
        hits = sum(held)
        others = [b for b in range(len(law)) if b != leader]
        ahead = all(counts[b] < counts[leader] for b in others) and hits >= needed(alpha, 0)
        proved = ahead and all(hits - held[b] >= needed(alpha, lost[b]) for b in others)
        return (leader, counts, held, lost), leader if proved else None

    return _stops(law, n, (-1, none, none, none), step)


def _stops(law: Sequence[float], n: int, start: State, step: Step[State]) -> Stops:
    alive: dict[State, float] = {start: 1.0}
    on, drawn, silent = [0.0] * len(law), 0.0, max(0.0, 1.0 - math.fsum(law))
    for k in range(1, n + 1):
        reached: dict[State, float] = {state: chance * silent for state, chance in alive.items()} if silent else {}
        for state, chance in alive.items():
            for answer, p in enumerate(law):
                after, stops_on = step(state, answer)
                if stops_on is None:
                    reached[after] = reached.get(after, 0.0) + chance * p
                else:
                    on[stops_on] += chance * p
                    drawn += chance * p * k
        alive = reached
    return Stops(tuple(on), drawn + n * math.fsum(alive.values()))


def _more(counts: tuple[int, ...], answer: int) -> tuple[int, ...]:
    return (*counts[:answer], counts[answer] + 1, *counts[answer + 1 :])


__all__ = ["Stops", "beta_stops", "certified_stops"]
