"""Rollouts in worlds, opened as the commands open them."""

from __future__ import annotations

from thence.annotate.label import open_rollouts
from thence.annotate.rollouts import Rollouts
from thence.core.completion import Sampling
from thence.core.problem import Problem
from thence.core.protocols import Generator
from thence.prompts.styles import Bare
from thence.worlds import World, WorldGenerator

HOT = Sampling(temperature=1.0)


def rollouts(
    world: World,
    problem: Problem,
    *,
    seed: int = 0,
    budget: int | None = None,
    context: int | None = None,
    completer: Generator | None = None,
) -> Rollouts:
    """Rollouts by the world's generator (with a context of so many tokens), graded by its task."""
    generator = world.generator(pace=0)
    if context is not None:
        generator = type("Short", (WorldGenerator,), {"max_context": context})(world, pace=0)
    return open_rollouts(world.task(), generator, Bare(), HOT, problem, completer=completer, seed=seed, budget=budget)


async def sample(world: World, problem: Problem, seed: int = 0) -> tuple[str, bool]:
    """One solution and its verdict."""
    got = rollouts(world, problem, seed=seed)
    [node] = await got.search.expand()
    return node.text, await got.correct(node)
