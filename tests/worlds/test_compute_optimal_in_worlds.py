"""Where compute-optimal beats every single strategy at equal tokens, and where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from world_runs import is_right, near, results

from thence.core.completion import Ability
from thence.core.scores import Meaning, Score
from thence.core.search import Search, Strategy, Verifier
from thence.core.tree import Node
from thence.evals.statistics.metrics import maj_at_k_population
from thence.strategies.best_of_n import BestOfN
from thence.strategies.compute_optimal import ComputeOptimal
from thence.strategies.self_consistency import SelfConsistency
from thence.worlds import Stratum, Urn

EASY, MEDIUM, HARD = (0.9, 0.05, 0.05), (0.45, 0.2, 0.2, 0.15), (0.2,) * 5
MIXED = Urn((Stratum("easy", EASY, 2), Stratum("medium", MEDIUM), Stratum("hard", HARD)), size=320)


@dataclass(frozen=True, slots=True)
class Paid:
    """A verifier that costs ``tokens`` for each text it has not seen."""

    inner: Verifier
    tokens: int = 40
    name: str = "paid"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        return [replace(s, tokens=self.tokens) for s in await self.inner.score(search, nodes)]


def noisy(world: Urn) -> Paid:
    """The truth in log-odds of +-6.9, with an error of 4."""
    return Paid(world.verifier(Meaning.OUTCOME, noise=4.0, logit=True))


async def arm(world: Urn, strategy: Strategy) -> tuple[float, float]:
    """Accuracy, and charged tokens per problem."""
    got = await results(world, strategy)
    tokens = [r.ledger.total_charged.total or 0 for r in got]
    return sum(is_right(world, r) for r in got) / world.size, sum(tokens) / world.size


async def best_single(world: Urn, tokens: float) -> float:
    """The best accuracy of self-consistency and verifier-weighted best-of-N for at most so many tokens (a line is drawn
    between sizes, so that tokens are equal)."""
    verifier = noisy(world)
    votes: list[list[Strategy]] = [
        [SelfConsistency(n) for n in (1, 8, 24)],
        [BestOfN(verifier, n, select="vote") for n in (2, 4, 8, 16)],
    ]
    best = 0.0
    for family in votes:
        points = [await arm(world, strategy) for strategy in family]
        for (a0, t0), (a1, t1) in pairwise(points):
            if t0 <= tokens <= t1:
                best = max(best, a0 + (a1 - a0) * (tokens - t0) / (t1 - t0))
        best = max([best, *(a for a, t in points if t <= tokens)])
    return best


async def test_on_a_mixture_it_beats_every_single_strategy_at_equal_tokens() -> None:
    """Half of the questions are easy and need no verifier; the hard ones need it, and a vote would never find them."""
    accuracy, tokens = await arm(MIXED, ComputeOptimal(noisy(MIXED)))
    assert accuracy > await best_single(MIXED, tokens) + 0.03


async def test_where_all_questions_are_alike_it_does_not() -> None:
    """Only hard ones: whatever the probes say is wrong, and best-of-N alone is better at the same tokens."""
    world = Urn((Stratum("hard", HARD),), size=200)
    accuracy, tokens = await arm(world, ComputeOptimal(noisy(world)))
    assert accuracy < await best_single(world, tokens) - 0.01


async def test_a_trap_looks_easy() -> None:
    """Unanimous probes are judged easy as often as the law says, and are then nearly always wrong."""
    law = (0.2, 0.6, 0.2)
    world = Urn((Stratum("trap", law),), size=700)
    got = await results(world, ComputeOptimal())
    easy = [r for r in got if r.notes[0].endswith("easy")]
    unanimous = sum(p**4 for p in law)
    near(len(easy), 700, unanimous)
    near(sum(is_right(world, r) for r in easy), len(easy), law[0] ** 4 / unanimous)


async def test_the_shares_of_ease_and_the_vote_of_medium_questions_are_exact() -> None:
    """With everything medium it is a vote of ``samples``: its accuracy is the multinomial's."""
    world = Urn((Stratum("medium", MEDIUM),), size=700)
    all_medium = ComputeOptimal(easy_from=1.0, hard_below=0.0, probes=2, samples=9, easy=SelfConsistency(9))
    got = await results(world, all_medium)
    near(sum(r.notes[0].endswith("easy") for r in got), 700, sum(p**2 for p in MEDIUM))
    near(sum(is_right(world, r) for r in got), 700, maj_at_k_population(MEDIUM, [True, False, False, False], 9))
