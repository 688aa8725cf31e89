"""The urn: every problem has a law of answers, and a sample is a draw from it.

Strata say which laws there are and how the problems are shared among them. The defaults:

| stratum | law (the right answer first) | what it shows |
|---|---|---|
| easy | .7 .2 .1 | a vote is soon right |
| medium | .4 .3 .3 | a vote is right in the end, slowly |
| hard | .1, nine of .1 | the right answer comes, and no vote can tell it |
| trap | .2 .6 .2 | the mode is wrong: more samples make a vote worse, and surer |

A stratum may instead draw each problem's share of right answers from a Beta law: mean coverage (Brown et al. 2024,
arXiv:2407.21787) is then ``laws.beta_coverage``. Mass that a law leaves out is that of samples without an answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from thence.core.errors import UsageError, check_counts
from thence.core.problem import Problem
from thence.core.seeds import derive

from .world import Moves, World


@dataclass(frozen=True, slots=True)
class Beta:
    """Right with p ~ Beta(``alpha``, ``beta``), drawn per problem; the rest is spread evenly over ``wrong`` answers."""

    alpha: float
    beta: float
    wrong: int = 4

    def __post_init__(self) -> None:
        if not (self.alpha > 0 and self.beta > 0):
            raise UsageError(f"urn: Beta({self.alpha}, {self.beta}) is no law; both numbers must be above 0")
        check_counts("urn", 1, wrong=self.wrong)

    def draw(self, seed: int) -> tuple[float, ...]:
        """One problem's law of answers."""
        p = random.Random(seed).betavariate(self.alpha, self.beta)
        return (p, *[(1.0 - p) / self.wrong] * self.wrong)


@dataclass(frozen=True, slots=True)
class Stratum:
    """Problems of one kind: the law of their answers (the right one first), and their ``share`` of all problems."""

    name: str
    law: tuple[float, ...] | Beta
    share: float = 1.0

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise UsageError(f"urn: stratum {self.name!r} has a share of {self.share}; it must be above 0")
        if isinstance(self.law, Beta):
            return
        if not self.law or min(self.law) < 0 or sum(self.law) > 1 + 1e-9 or len(self.law) > 90:
            raise UsageError(f"urn: the law {self.law} of stratum {self.name!r} is none; it sums to at most 1")


EASY = Stratum("easy", (0.7, 0.2, 0.1))
MEDIUM = Stratum("medium", (0.4, 0.3, 0.3))
HARD = Stratum("hard", (0.1,) * 10)
TRAP = Stratum("trap", (0.2, 0.6, 0.2))


@dataclass(frozen=True)
class Urn(World):
    """Problems whose answers are draws. The strata get their shares of ``size`` exactly, up to rounding, in an order
    that is fixed by ``data_seed``."""

    strata: tuple[Stratum, ...] = (EASY, MEDIUM, HARD, TRAP)
    size: int = 100
    data_seed: int = 0

    name: ClassVar[str] = "urn"

    def __post_init__(self) -> None:
        check_counts(self.name, 1, size=self.size)
        if not self.strata:
            raise UsageError("urn: there are no strata; give at least one")

    @property
    def step_pieces(self) -> Sequence[str]:
        """None: the answer comes at once."""
        return ()

    def moves(self, number: int, steps: tuple[str, ...]) -> Moves:
        """The law of the answer."""
        law = self._laws[number]
        return Moves(answers=dict(zip(self.choices(number, len(law)), law, strict=True)))

    # --- closed forms -----------------------------------------------------------------------------------------------

    def stratum(self, problem: Problem) -> Stratum:
        """The stratum of a problem."""
        return self._order_of_strata[self.number(problem)]

    def shares(self, problem: Problem) -> tuple[float, ...]:
        """The law of a problem's answers, the right one first: what the laws of votes take."""
        return self._laws[self.number(problem)]

    @cached_property
    def _order_of_strata(self) -> list[Stratum]:
        order: list[Stratum] = []
        total, share = sum(s.share for s in self.strata), 0.0
        for stratum in self.strata:
            share += stratum.share
            order += [stratum] * (round(share / total * self.size) - len(order))
        random.Random(derive("urn", self.data_seed)).shuffle(order)
        return order

    @cached_property
    def _laws(self) -> list[tuple[float, ...]]:
        seeds = [derive("urn", "law", self.data_seed, i) for i in range(self.size)]
        laws = [stratum.law for stratum in self._order_of_strata]
        return [law.draw(seed) if isinstance(law, Beta) else law for law, seed in zip(laws, seeds, strict=True)]


__all__ = ["EASY", "HARD", "MEDIUM", "TRAP", "Beta", "Stratum", "Urn"]
