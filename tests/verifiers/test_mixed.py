"""A verifier mixed with the policy's probability, in worlds where both are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from thence.core.completion import Ability, Sampling
from thence.core.errors import UsageError
from thence.core.scores import Meaning
from thence.core.search import Result, Search, Strategy
from thence.core.solve import solve
from thence.prompts.styles import Bare
from thence.strategies.beam import Beam
from thence.strategies.self_eval_beam import SelfEvalBeam
from thence.verifiers.basic import Agreement, LogProb
from thence.verifiers.mixed import Mixed
from thence.worlds import Branches


async def run(world: Branches, strategy: Strategy, number: int = 0) -> Result:
    return await solve(
        world.problem(number),
        generator=world.generator(pace=0),
        strategy=strategy,
        style=Bare(),
        reading=world.task().reading,
        sampling=Sampling(temperature=1.0),
    )


@dataclass(frozen=True, slots=True)
class Scored:
    """Some paths of two steps, and their scores by several verifiers."""

    verifiers: tuple[Mixed, ...]
    seen: list[tuple[str, list[float]]] = field(default_factory=list)
    needs: frozenset[Ability] = frozenset({Ability.CONTINUE, Ability.LOGPROBS})

    async def solve(self, search: Search) -> Result:
        nodes = await search.steps(await search.steps(n=8))
        made = [[s.value for s in await search.score(nodes, v)] for v in self.verifiers]
        self.seen.extend((search.tree.solution(n), [m[i] for m in made]) for i, n in enumerate(nodes))
        return search.result(None)


@pytest.mark.parametrize("how", ["prod", "mean", "last", "min"])
async def test_a_path_is_made_of_its_steps_probabilities_and_values(
    how: Literal["prod", "mean", "last", "min"],
) -> None:
    """A step is two tokens, its action and a certain line break: P is the root of the prior."""
    world = Branches(depth=3, branching=4, right_share=0.4)
    alphas = (0.0, 0.3, 1.0)
    scored = Scored(tuple(Mixed(world.verifier(Meaning.VALUE), alpha, how) for alpha in alphas))
    await run(world, scored)
    for text, got in scored.seen:
        first, second = world.read(text).steps
        p = [world.prior(0, ())[first] ** 0.5, world.prior(0, (first,))[second] ** 0.5]
        c = [world.value(world.problem(0), f"{first}\n"), world.value(world.problem(0), f"{first}\n{second}\n")]
        for alpha, value in zip(alphas, got, strict=True):
            steps = [a**alpha * b ** (1 - alpha) for a, b in zip(p, c, strict=True)]
            by_hand = {"prod": steps[0] * steps[1], "mean": sum(steps) / 2, "last": steps[1], "min": min(steps)}
            assert value == pytest.approx(by_hand[how])


async def test_a_beam_by_it_is_self_evaluation_without_chance() -> None:
    world = Branches(depth=4, branching=4, right_share=0.1, size=20)
    verifier = world.verifier(Meaning.VALUE, noise=1.0, logit=True)
    for number in range(20):
        beam = await run(world, Beam(Mixed(verifier), 8, 4, select="max"), number)
        made = await run(world, SelfEvalBeam(verifier, 8, 4, temperature=0.0), number)
        assert (beam.trace, beam.answer) == (made.trace, made.answer)
        assert [n.text for n in beam.tree] == [n.text for n in made.tree]


def test_it_says_what_it_is_and_needs() -> None:
    mixed = Mixed(Agreement(), how="mean")
    assert mixed.name == "mixed(agreement, alpha=0.5, how=mean)"
    assert mixed.relative
    assert mixed.needs == frozenset({Ability.LOGPROBS})
    assert Mixed(Agreement(), alpha=0.0).needs == frozenset()
    assert not Mixed(LogProb()).relative
    with pytest.raises(UsageError, match=r"alpha is 1\.5"):
        Mixed(LogProb(), alpha=1.5)


async def test_numbers_beyond_one_have_no_mixture() -> None:
    world = Branches(depth=2)
    with pytest.raises(UsageError, match=r"outside|negative"):
        await run(world, Beam(Mixed(world.verifier(Meaning.VALUE, noise=3.0), alpha=0.0), 8, 2))
