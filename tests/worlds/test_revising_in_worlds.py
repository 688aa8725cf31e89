"""Methods that look at their own answers again, against the closed forms of the revision world."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from world_runs import HOT, is_right, near, results

from thence.core.completion import Ability
from thence.core.problem import Message
from thence.core.review import AGAIN
from thence.core.scores import Meaning
from thence.core.search import Result, Search, Strategy
from thence.core.solve import solve
from thence.core.tree import Kind
from thence.prompts.styles import Bare
from thence.strategies.budget_forcing import BudgetForcing
from thence.strategies.revisions import Revisions
from thence.strategies.self_refine import SelfRefine
from thence.worlds import Chain
from thence.worlds.revision import Revision

N = 500


async def share(world: Revision, strategy: Strategy) -> float:
    got = await results(world, strategy)
    return float(sum(is_right(world, r) for r in got))


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize(
    "world",
    [
        Revision(chance=0.4, mend=0.5, spoil=0.1, flag_wrong=0.8, flag_right=0.1, size=N),
        Revision(chance=0.9, mend=0.4, spoil=0.3, flag_wrong=0.5, flag_right=0.5, size=N),
        Revision(chance=0.4, mend=0.5, spoil=0.1, flag_wrong=0.8, flag_right=0.1, stuck=0.5, size=N),
    ],
    ids=["informed", "random review", "stuck"],
)
async def test_accuracy_is_the_closed_form(world: Revision, rounds: int) -> None:
    near(await share(world, SelfRefine(rounds)), N, world.refined(rounds))


async def test_a_review_that_knows_nothing_costs_a_strong_solver_its_answers() -> None:
    """t = f: what is won is (1 - p) t s, what is lost p f (1 - rho). The same review helps a weak solver."""
    strong = Revision(chance=0.9, mend=0.4, spoil=0.3, flag_wrong=0.5, flag_right=0.5, size=N)
    weak = replace(strong, chance=0.2)
    assert strong.refined(1) < strong.chance - 0.1
    assert weak.refined(1) > weak.chance + 0.1
    near(await share(strong, SelfRefine(1)), N, strong.refined(1))
    near(await share(weak, SelfRefine(1)), N, weak.refined(1))


@pytest.mark.parametrize("strategy", [SelfRefine(3, stop="never"), SelfRefine(3, critic="off")])
async def test_without_a_stop_it_is_a_chain(strategy: SelfRefine) -> None:
    world = Revision(chance=0.9, mend=0.3, spoil=0.3, size=N)
    near(await share(world, strategy), N, world.after(3))
    assert world.after(3) < 0.9


@dataclass(frozen=True, slots=True)
class StoppedByTheReference:
    """What must not be: a loop that revises only what a verifier that knows the truth calls wrong."""

    world: Revision
    needs: frozenset[Ability] = frozenset()

    async def solve(self, search: Search) -> Result:
        (first,) = await search.expand()
        await search.answer(first)
        (score,) = await search.score([first], self.world.verifier(Meaning.OUTCOME))
        if score.value == 1.0:
            return search.result(first)
        chat = [*search.problem.messages, Message("assistant", first.text), Message("user", AGAIN)]
        (second,) = await search.ask([chat], kind=Kind.REVISION, sampling=search.sampling)
        await search.answer(second)
        return search.result(second)


async def test_stopping_by_the_reference_fakes_a_gain() -> None:
    """The same solver, the same improvements: only the oracle arm gains, and it can never lose."""
    world = Revision(chance=0.8, mend=0.3, spoil=0.3, flag_wrong=1.0, flag_right=1.0, size=N)
    got = await results(world, StoppedByTheReference(world))
    faked = world.chance + (1 - world.chance) * world.mend
    near(sum(is_right(world, r) for r in got), N, faked)
    near(await share(world, SelfRefine(1)), N, world.refined(1))
    assert world.refined(1) < world.chance < faked


async def test_a_stronger_critic_may_be_another_model() -> None:
    world = Revision(chance=0.5, mend=0.5, spoil=0.2, flag_wrong=0.0, flag_right=0.0, size=300)
    sharp = replace(world, flag_wrong=1.0)
    right = 0
    for problem in world.problems():
        result = await solve(
            problem,
            generator=world.generator(pace=0),
            roles={"critic": sharp.generator(pace=0)},
            strategy=SelfRefine(1),
            style=Bare(),
            reading=world.task().reading,
            sampling=HOT,
        )
        right += is_right(world, result)
        assert result.ledger.charged["critic"].generated == sum(
            n.completion.generated or 0 for n in result.tree if n.role == "critic"
        )
    near(right, 300, 0.75)


# --- forced second thoughts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.2, 0.75, 0.95])
async def test_every_wait_is_one_step_of_the_chain(start: float) -> None:
    """p' = p (1 - d) + (1 - p) u: a gain below u / (u + d), overthinking above, nothing at it."""
    world = Revision(chance=start, mend=0.3, spoil=0.1, size=N)
    for waits in (0, 1, 4):
        near(await share(world, BudgetForcing(waits=waits)), N, world.after(waits))
    gain = world.after(4) - world.after(0)
    assert (gain > 0.3, abs(gain) < 1e-9, gain < -0.1) == (start == 0.2, start == 0.75, start == 0.95)


async def test_a_cut_thought_is_answered_by_the_law_of_how_it_would_end() -> None:
    world = Chain(steps=8, size=N)
    got = await results(world, BudgetForcing(limit=4, end="\n####"))
    assert all(r.answer is not None and r.tree.nodes[1].completion.generated == 4 for r in got)
    near(sum(is_right(world, r) for r in got), N, sum(world.value(p) for p in world.problems()) / N)


# --- chains of revisions --------------------------------------------------------------------------------------------

DRIFT = Revision(chance=0.3, mend=0.35, spoil=0.15, size=300)


async def test_the_last_attempt_tends_to_the_stationary_share_and_the_choice_goes_over_the_chain() -> None:
    """One chain of 9: attempt k is right as often as the chain says, the majority as often as its law says, and a
    verifier that knows the truth finds what any attempt has."""
    length = 7
    got = await results(DRIFT, Revisions(chains=1, length=length))
    for k in (0, 1, 3, 6):
        right = sum(r.tree.nodes[1 + k].text.endswith(f" {DRIFT.right(i)}") for i, r in enumerate(got))
        near(right, 300, DRIFT.after(k))
    assert abs(DRIFT.after(6) - DRIFT.stationary) < 0.01
    near(sum(is_right(DRIFT, r) for r in got), 300, DRIFT.majority(length))
    oracle = Revisions(chains=1, length=length, verifier=DRIFT.verifier(Meaning.OUTCOME), select="max")
    near(await share(DRIFT, oracle), 300, DRIFT.covered(1, length))
    assert DRIFT.covered(1, length) > DRIFT.majority(length) > DRIFT.chance


def best_split(world: Revision, budget: int) -> int:
    """Chains in the best split of ``budget`` attempts."""
    splits = [c for c in range(1, budget + 1) if budget % c == 0]
    return max(splits, key=lambda c: world.covered(c, budget // c))


async def test_alike_chains_have_a_best_split_at_a_corner_and_stuck_ones_between() -> None:
    """16 attempts in 1, 4 or 16 chains, chosen from by the truth."""
    fast = Revision(chance=0.1, mend=0.2, spoil=0.1, size=N)
    slow = replace(fast, mend=0.05)
    stuck = replace(fast, stuck=0.2)
    assert [best_split(w, 16) for w in (fast, slow, stuck)] == [1, 16, 4]
    for world in (fast, slow, stuck):
        truth = world.verifier(Meaning.OUTCOME)
        for chains in (1, 4):
            strategy = Revisions(chains, 16 // chains, verifier=truth, select="max")
            got = await results(world, strategy, world.problems()[:70])
            near(sum(is_right(world, r) for r in got), 70, world.covered(chains, 16 // chains))


async def test_chains_are_independent_and_none_repeats_its_own_noise() -> None:
    """Equal contexts in two chains, and different contexts in one, have different seeds."""
    coin = Revision(chance=0.5, mend=0.5, spoil=0.5, size=N)
    got = await results(coin, Revisions(chains=2, length=3))
    rights = [
        [n.text.endswith(f" {coin.right(i)}") for n in r.tree if n.kind is Kind.REVISION] for i, r in enumerate(got)
    ]
    for i in range(4):
        near(sum(row[i] for row in rights), N, 0.5)
        for j in range(i):
            near(sum(row[i] == row[j] for row in rights), N, 0.5)
