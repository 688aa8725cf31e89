"""Who compares two answers: a model, a panel of judges, or a planted one whose faults are known.

A judge is anything with a name and ``compare(pairs)``: per pair the first answer's share of the verdict (1, 0, one half
for a tie), or None where it gave none. `both_orders` asks every pair twice.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Protocol

from thence.core.budget import Charged
from thence.core.errors import UsageError, check_counts
from thence.core.preferences import CRITERIA, FIRST, SECOND, TIE, Pair, in_both_orders, question, said_better
from thence.core.problem import Message, Problem
from thence.core.protocols import Generator
from thence.core.search import POLICY, Search
from thence.core.seeds import derive
from thence.core.tree import Kind
from thence.grading.extract import default_reading
from thence.prompts.styles import Bare

Shares = list[float | None]


class PairJudge(Protocol):
    """Compares two answers to a question."""

    @property
    def name(self) -> str: ...

    async def compare(self, pairs: Sequence[Pair]) -> Shares: ...


async def both_orders(judge: PairJudge, pairs: Sequence[Pair]) -> tuple[Shares, Shares]:
    """The shares of the first answer as the pairs stand, and of the *shown first* answer with the pairs swapped."""
    said = await judge.compare([*pairs, *(pair.swapped for pair in pairs)])
    return said[: len(pairs)], said[len(pairs) :]


async def fair(judge: PairJudge, pairs: Sequence[Pair]) -> Shares:
    """The first answer's share over both orders."""
    return in_both_orders(*await both_orders(judge, pairs))


@dataclass(slots=True)
class ModelJudge:
    """A language model, asked once per pair and order, greedily. ``charged`` grows with what it reads and writes."""

    generator: Generator
    label: str
    criteria: str = CRITERIA
    max_tokens: int = 512
    at_once: int = 64
    charged: Charged = field(default_factory=Charged)

    def __post_init__(self) -> None:
        check_counts("judge", max_tokens=self.max_tokens, at_once=self.at_once)

    @property
    def name(self) -> str:
        """The model that it asks."""
        return self.label

    async def compare(self, pairs: Sequence[Pair]) -> Shares:
        """Verdicts on all pairs, a limited number of them at once. A cut reply is no verdict."""
        gate = asyncio.Semaphore(self.at_once)

        async def one(pair: Pair) -> float | None:
            async with gate:
                return await self._ask(pair)

        return list(await asyncio.gather(*map(one, pairs)))

    async def _ask(self, pair: Pair) -> float | None:
        sampling = replace(self.generator.defaults.greedy(), max_tokens=self.max_tokens)
        problem = Problem("comparison", question(pair, self.criteria))
        search = Search(problem, {POLICY: self.generator}, Bare(), default_reading(), sampling)
        replies = await search.ask([[Message("user", problem.text)]], kind=Kind.CRITIQUE, sampling=sampling)
        self.charged += search.ledger.total_charged
        return None if replies[0].truncated else said_better(replies[0].completion.reply)


@dataclass(frozen=True, slots=True)
class PanelJudge:
    """Several judges, each with one vote: the mean of their shares (a verdict above one half is for the first)."""

    judges: tuple[PairJudge, ...]

    def __post_init__(self) -> None:
        names = [judge.name for judge in self.judges]
        if len(set(names)) < max(2, len(names)):
            raise UsageError(f"a panel needs at least two different judges; it has {', '.join(names) or 'none'}")

    @property
    def name(self) -> str:
        """Its members."""
        return f"panel({', '.join(judge.name for judge in self.judges)})"

    async def compare(self, pairs: Sequence[Pair]) -> Shares:
        """1 for the first, 0 for the second, one half for a split panel; members without a verdict do not vote."""
        said = await self.members(pairs)
        return [_majority([shares[i] for shares in said]) for i in range(len(pairs))]

    async def members(self, pairs: Sequence[Pair]) -> list[Shares]:
        """Every member's own shares, by member."""
        return [await judge.compare(pairs) for judge in self.judges]


def _majority(shares: Sequence[float | None]) -> float | None:
    votes = [(s > TIE) - (s < TIE) for s in shares if s is not None]
    balance = sum(votes)
    return None if not votes else FIRST if balance > 0 else SECOND if balance < 0 else TIE


def agreement(said: Sequence[Shares]) -> float | None:
    """How often two members of a panel agree, over all pairs of members and questions on which both have a verdict."""
    same = [
        a == b for one, other in combinations(said, 2) for a, b in zip(one, other, strict=True) if None not in (a, b)
    ]
    return sum(same) / len(same) if same else None


@dataclass(frozen=True, slots=True)
class PlantedJudge:
    """A judge with known faults: the ruler by which the audit itself is checked, as a world is for a strategy.

    It prefers the first answer with probability sigma(sharpness (q1 - q2) + position + length l + style s + own o):
    ``quality`` q is the truth of an answer; l, s and o are +1 where the first answer is the longer, the more marked up,
    or the judge's own one (``mine``), -1 where the second is, 0 where they are alike. All faults 0: a clean judge, as
    noisy as ``sharpness`` is small. ``mute`` is the share of replies without a verdict. The same pair in the same order
    gets the same verdict.
    """

    quality: Callable[[str, str], float]
    sharpness: float = 3.0
    position: float = 0.0
    length: float = 0.0
    style: float = 0.0
    own: float = 0.0
    mute: float = 0.0
    mine: Callable[[str], bool] = lambda text: False
    seed: int = 0
    name: str = "planted"

    async def compare(self, pairs: Sequence[Pair]) -> Shares:
        """A draw per pair."""
        return [self._say(pair) for pair in pairs]

    def _say(self, pair: Pair) -> float | None:
        noise = random.Random(derive(self.seed, pair.question, pair.first, pair.second))
        if noise.random() < self.mute:
            return None
        a, b = pair.first, pair.second
        pull = self.sharpness * (self.quality(pair.question, a) - self.quality(pair.question, b)) + self.position
        pull += self.length * _sign(len(a) - len(b)) + self.style * _sign(marks(a) - marks(b))
        pull += self.own * (self.mine(a) - self.mine(b))
        return FIRST if noise.random() < 1.0 / (1.0 + math.exp(-pull)) else SECOND


def marks(text: str) -> int:
    """How much markdown a text has: headings, bold parts and list entries. ``####`` begins an answer, no heading."""
    lines = [line.lstrip() for line in text.splitlines()]
    return (
        sum(line.startswith(("#", "- ", "* ")) and not line.startswith("####") for line in lines)
        + text.count("**") // 2
    )


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)


__all__ = ["ModelJudge", "PairJudge", "PanelJudge", "PlantedJudge", "agreement", "both_orders", "fair", "marks"]
