"""What the rows of ``thence laws`` are made of: a bench that runs strategies on worlds, and rows that compare.

A row holds when prediction and measurement differ by at most four standard errors: those of the prediction where
outcomes are right or wrong with known chances, else those of the sample. With a fixed seed the table is the same each
time; over all seeds a true row fails once in 16,000.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from thence.core.completion import Ability, Sampling
from thence.core.problem import Problem
from thence.core.protocols import Generator
from thence.core.search import Result, Search, Strategy
from thence.core.solve import solve
from thence.core.tree import Kind
from thence.prompts.styles import Bare
from thence.worlds import World

ERRORS = 4.0
HOT = Sampling(temperature=1.0)


@dataclass(frozen=True, slots=True)
class Law:
    """One row: a law, where it comes from, and its two numbers. ``error`` is one standard error."""

    law: str
    world: str
    paper: str
    predicted: float
    measured: float
    error: float
    n: int

    @property
    def holds(self) -> bool:
        """Whether prediction and measurement differ by at most four standard errors."""
        return abs(self.measured - self.predicted) <= ERRORS * self.error + 1e-9


Rows = AsyncGenerator[Law, None]


@dataclass(frozen=True, slots=True)
class Watch:
    """A strategy's own part, run and looked at: ``look`` gets the search, and no answer is given."""

    look: Callable[[Search], Awaitable[None]]
    needs: frozenset[Ability] = frozenset({Ability.CONTINUE})

    async def solve(self, search: Search) -> Result:
        """Only look."""
        await self.look(search)
        return search.result(None)


@dataclass(frozen=True, slots=True)
class Bench:
    """How large the samples are (1 is the default, about 30 s in all), and the seed."""

    scale: float = 1.0
    seed: int = 0

    def size(self, n: int) -> int:
        """``n`` problems, scaled."""
        return max(8, round(n * self.scale))

    async def results(
        self,
        world: World,
        strategy: Strategy,
        problems: Iterable[Problem] | None = None,
        *,
        sampling: Sampling = HOT,
        roles: Mapping[str, Generator] | None = None,
    ) -> list[Result]:
        """One result per problem of ``world``, by the strategy itself."""
        generator, reading = world.generator(pace=0), world.task().reading
        return [
            await solve(
                problem,
                generator=generator,
                strategy=strategy,
                style=Bare(),
                reading=reading,
                sampling=sampling,
                seed=self.seed,
                roles=roles or {},
            )
            for problem in (world.problems() if problems is None else problems)
        ]


def chances(law: str, world: str, paper: str, seen: Sequence[bool], expected: Sequence[float]) -> Law:
    """A row of independent outcomes with known chances, one per outcome."""
    n = len(seen)
    error = math.sqrt(math.fsum(p * (1 - p) for p in expected)) / n
    return Law(law, world, paper, math.fsum(expected) / n, sum(seen) / n, error, n)


def mean(law: str, world: str, paper: str, values: Sequence[float], expected: float | Sequence[float]) -> Law:
    """A row of independent numbers with a known mean, or a known mean of each."""
    n = len(values)
    each = [expected] * n if isinstance(expected, int | float) else expected
    away = [v - e for v, e in zip(values, each, strict=True)]
    middle = math.fsum(away) / n
    error = math.sqrt(math.fsum((a - middle) ** 2 for a in away) / (n - 1) / n)
    return Law(law, world, paper, math.fsum(each) / n, math.fsum(values) / n, error, n)


def right(world: World, results: Sequence[Result]) -> list[bool]:
    """Which results the task calls correct."""
    return [world.task().grade(r.problem, r.reply, r.answer).correct for r in results]


def covered(world: World, result: Result) -> bool:
    """Whether any solution of the tree has the right answer."""
    wanted = world.right(world.number(result.problem))
    return any(node.found is not None and node.found.value == wanted for node in result.tree)


def draws(result: Result) -> int:
    """How many whole solutions were drawn."""
    return sum(node.multiplicity for node in result.tree if node.kind is Kind.FINISH)


__all__ = ["ERRORS", "HOT", "Bench", "Law", "Rows", "Watch", "chances", "covered", "draws", "mean", "right"]
