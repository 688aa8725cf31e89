"""Running real strategies and generators in worlds, and comparing counts with chances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from thence.core.budget import Spent
from thence.core.completion import Completion, Context, Failure, Request, Sampling, Segment
from thence.core.problem import Problem
from thence.core.search import Result, Strategy
from thence.recipes.law_rows import HOT, Bench
from thence.worlds import World, WorldGenerator

COLD = Sampling(temperature=0.0)


def near(right: float, n: int, p: float, errors: float = 4.0) -> None:
    """``right`` of ``n`` independent outcomes is what a chance of ``p`` gives, within standard errors."""
    assert abs(right / n - p) <= errors * (p * (1 - p) / n) ** 0.5 + 1e-9, (right / n, p, n)


def near_mean(values: Sequence[float], mean: float, errors: float = 4.0) -> None:
    """The mean of independent ``values`` is ``mean``, within their own standard errors."""
    n = len(values)
    got = sum(values) / n
    deviation = (sum((v - got) ** 2 for v in values) / (n - 1)) ** 0.5
    assert abs(got - mean) <= errors * deviation / n**0.5 + 1e-9, (got, mean, n)


async def results(
    world: World,
    strategy: Strategy,
    problems: Iterable[Problem] | None = None,
    *,
    seed: int = 0,
    sampling: Sampling = HOT,
) -> list[Result]:
    """One result per problem, by the strategy itself."""
    return await Bench(seed=seed).results(world, strategy, problems, sampling=sampling)


def is_right(world: World, result: Result) -> bool:
    """The task's verdict."""
    return world.task().grade(result.problem, result.reply, result.answer).correct


async def number_right(world: World, strategy: Strategy, problems: Iterable[Problem] | None = None) -> int:
    """How many problems the strategy solves."""
    return sum(is_right(world, result) for result in await results(world, strategy, problems))


def request(
    problem: Problem,
    sampling: Sampling = HOT,
    seed: int = 0,
    *begun: Segment | str,
) -> Request:
    """A draw that continues ``begun``."""
    segments = tuple(Segment(b) if isinstance(b, str) else b for b in begun if b)
    return Request(Context(problem.messages, segments), sampling, seed)


async def ask(
    generator: WorldGenerator, requests: Sequence[Request], book: Spent | None = None
) -> list[Completion | Failure]:
    """All outcomes in the order of the requests."""
    outcomes: dict[int, Completion | Failure] = {}
    async for i, outcome in generator.run(requests, book if book is not None else Spent()):
        outcomes[i] = outcome
    return [outcomes[i] for i in range(len(requests))]


async def draws(world: World, problem: Problem, n: int, begun: str = "", sampling: Sampling = HOT) -> list[Completion]:
    """``n`` independent continuations."""
    outcomes = await ask(world.generator(pace=0), [request(problem, sampling, s, begun) for s in range(n)])
    assert all(isinstance(o, Completion) for o in outcomes)
    return [o for o in outcomes if isinstance(o, Completion)]
