"""Real strategies, through the real search, against what they must do exactly."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

import pytest
from world_runs import HOT, ask, is_right, near, near_mean, number_right, request, results

from thence.core.completion import Completion
from thence.core.scores import Meaning
from thence.core.search import Result
from thence.core.solve import solve
from thence.evals.evaluate import Arm, evaluate
from thence.evals.statistics.metrics import maj_at_k_population
from thence.prompts.styles import Bare
from thence.strategies.adaptive_consistency import AdaptiveConsistency
from thence.strategies.best_of_n import BestOfN
from thence.strategies.confidence import ConfidenceSelection
from thence.strategies.esc import EarlyStoppingConsistency
from thence.strategies.greedy import Greedy
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.strategies.self_consistency import SelfConsistency
from thence.worlds import Beta, Branches, Chain, State, Stratum, Table, Urn, World, laws
from thence.worlds.urn import EASY, HARD, MEDIUM, TRAP


def urn(law: tuple[float, ...], size: int) -> Urn:
    return Urn((Stratum("all", law),), size=size)


def voted(law: tuple[float, ...], n: int) -> float:
    return maj_at_k_population(law, [True] + [False] * (len(law) - 1), n)


def drawn(result: Result) -> int:
    return int(result.notes[0].split()[0])


def covered(world: World, result: Result) -> bool:
    right = world.right(world.number(result.problem))
    return any(n.found is not None and n.found.value == right for n in result.tree)


# --- one sample, many samples, votes ---------------------------------------------------------------------------------


async def test_greedy_gives_the_likeliest_path_and_a_vote_the_likeliest_answer() -> None:
    world = Table(size=40)
    assert {r.answer for r in await results(world, Greedy())} == {world.greedy(world.problem(0))} == {"1"}
    votes = await results(world, SelfConsistency(101))
    p = world.value(world.problem(0))
    near(sum(is_right(world, r) for r in votes), 40, voted((p, 1 - p), 101))
    near_mean([(r.confidence or 0) if r.answer == "2" else 1 - (r.confidence or 0) for r in votes], p)


async def test_greedy_is_the_tempered_law_at_temperature_0() -> None:
    world = Branches(depth=3, branching=3, right_share=0.4, size=40)
    got = [is_right(world, r) for r in await results(world, Greedy())]
    exact = [world.value(p, sampling=HOT.greedy()) for p in world.problems()]
    assert [float(g) for g in got] == exact
    assert 0 < sum(got) < 40


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
async def test_one_sample_is_right_as_often_as_the_value_at_its_temperature_says(temperature: float) -> None:
    world = Chain(size=1200)
    sampling = replace(HOT, temperature=temperature)
    made = await results(world, RepeatedSampling(1), sampling=sampling)
    near(sum(is_right(world, r) for r in made), 1200, world.value(world.problem(0), sampling=sampling))


async def test_coverage_of_repeated_sampling() -> None:
    world = Chain(size=800)
    made = await results(world, RepeatedSampling(4))
    near(sum(covered(world, r) for r in made), 800, laws.coverage(world.correct, 4))
    near(sum(is_right(world, r) for r in made), 800, world.correct)  # the first one answers


async def test_a_guesser_covers_a_small_space_of_answers() -> None:
    world = urn((0.1,) * 10, 600)
    made = await results(world, RepeatedSampling(12))
    near(sum(covered(world, r) for r in made), 600, laws.coverage(1 / 10, 12))


@pytest.mark.parametrize("stratum", [EASY, MEDIUM, HARD, TRAP], ids=lambda s: s.name)
async def test_a_vote_is_right_as_often_as_the_multinomial_says(stratum: Stratum) -> None:
    assert isinstance(stratum.law, tuple)
    world = urn(stratum.law, 400)
    for n in (2, 9):
        near(await number_right(world, SelfConsistency(n)), 400, voted(stratum.law, n))


async def test_silent_samples_leave_the_vote_to_the_others() -> None:
    world = urn((0.3, 0.2), 800)
    near(await number_right(world, SelfConsistency(5)), 800, voted((0.3, 0.2), 5))


async def test_a_vote_over_a_mixture_of_problems_is_not_monotone_in_n() -> None:
    """Half of the problems have the right mode, half a wrong one: up to .63 and down again to .5."""
    world = Urn((Stratum("up", (0.6, 0.4)), Stratum("down", (0.35, 0.40, 0.25))), size=800)

    def exact(n: int) -> float:
        return 0.5 * voted((0.6, 0.4), n) + 0.5 * voted((0.35, 0.40, 0.25), n)

    known = {1: 0.475, 3: 0.500, 5: 0.519, 9: 0.545, 17: 0.577, 33: 0.610}
    assert {n: exact(n) for n in known} == pytest.approx(known, abs=6e-4)
    assert exact(33) < exact(65) > exact(161) > 0.5
    for n in (1, 17):
        near(await number_right(world, SelfConsistency(n)), 800, exact(n))


async def test_weighing_by_probability_elects_by_the_sum_of_squares() -> None:
    world = Table(size=30)
    made = await results(world, SelfConsistency(100, "prob"))
    assert sum(r.answer == "1" for r in made) >= 29
    squares = world.squares(world.problem(0))
    shares = [next(v.weight for v in r.votes if v.answer == "1") / sum(v.weight for v in r.votes) for r in made]
    near_mean(shares, squares["1"], errors=5)  # a ratio: unbiased only in the limit


async def test_agreement_says_how_often_a_vote_is_right_and_a_trap_betrays_it() -> None:
    """P(right | share of the winner) by Bayes over easy and trap problems."""
    strata = (replace(EASY, share=1.0), replace(TRAP, share=1.0))
    world, n = Urn(strata, size=1600), 5
    exact: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])  # votes of the winner: P(right), P(wrong)
    for law in (EASY.law, TRAP.law):
        assert isinstance(law, tuple)
        for a in range(n + 1):
            for b in range(n - a + 1):
                counts = (a, b, n - a - b)
                ways = math.factorial(n) / math.prod(math.factorial(c) for c in counts)
                chance = ways * math.prod(p**c for p, c in zip(law, counts, strict=True)) / 2
                share = (a == max(counts)) / counts.count(max(counts))
                exact[max(counts)][0] += chance * share
                exact[max(counts)][1] += chance * (1 - share)
    outcomes: dict[int, list[bool]] = defaultdict(list)
    for result in await results(world, SelfConsistency(n)):
        outcomes[round((result.confidence or 0) * n)].append(is_right(world, result))
    assert set(outcomes) == set(exact) == {2, 3, 4, 5}
    for votes, seen in outcomes.items():
        right, wrong = exact[votes]
        near(len(seen), 1600, right + wrong)
        near(sum(seen), len(seen), right / (right + wrong))
    surest = await results(urn((0.02, 0.98), 100), SelfConsistency(n))
    assert sum(r.confidence == 1.0 for r in surest) > 80  # all five agree, and are wrong
    assert sum(is_right(urn((0.02, 0.98), 100), r) for r in surest) < 10


async def test_coverage_runs_away_from_the_vote_on_a_heavy_tail() -> None:
    world = Urn((Stratum("tail", Beta(0.5, 1.5, wrong=2)),), size=350)
    gaps = []
    for n in (1, 4, 16):
        made = await results(world, SelfConsistency(n))
        covers, rights = [covered(world, r) for r in made], [is_right(world, r) for r in made]
        chances = [(laws.coverage(world.value(p), n), voted(world.shares(p), n)) for p in world.problems()]
        for seen, column in ((covers, 0), (rights, 1)):
            expected = [c[column] for c in chances]
            error = math.sqrt(sum(c * (1 - c) for c in expected))
            assert abs(sum(seen) - sum(expected)) <= 4 * error
        gaps.append((sum(covers) - sum(rights)) / 350)
    assert gaps[0] == 0 < gaps[1] < gaps[2]


# --- stopping early --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [(0.7, 0.2, 0.1), (0.4, 0.3, 0.3), (0.35, 0.45, 0.1)])
async def test_adaptive_consistency_is_its_dynamic_programme(law: tuple[float, ...]) -> None:
    world, n = urn(law, 400), 20
    exact = laws.adaptive_vote(law, n)
    made = await results(world, AdaptiveConsistency(n, ahead=0))
    near(sum(is_right(world, r) for r in made), 400, exact.accuracy)
    near_mean([drawn(r) for r in made], exact.draws)


@pytest.mark.parametrize("law", [(0.6, 0.3, 0.1), (0.9, 0.1)])
async def test_early_stopping_draws_what_its_closed_form_says(law: tuple[float, ...]) -> None:
    made = await results(urn(law, 250), EarlyStoppingConsistency(40, 5))
    near_mean([drawn(r) for r in made], laws.esc_draws(law, 5, 40))


# --- verifiers -------------------------------------------------------------------------------------------------------


async def test_an_exact_outcome_verifier_reaches_coverage() -> None:
    world = Chain(size=500)
    for n in (1, 4):
        near(
            await number_right(world, BestOfN(world.verifier(Meaning.OUTCOME), n)), 500, laws.coverage(world.correct, n)
        )


async def test_a_verifier_that_knows_nothing_is_one_sample_at_every_n() -> None:
    world = Chain(size=500, wordings=30)  # so that hardly any two samples are equal
    blind = world.verifier(Meaning.OUTCOME, noise=1e6)
    for n in (1, 5):
        near(await number_right(world, BestOfN(blind, n)), 500, world.correct)


async def test_adversarial_solutions_make_accuracy_rise_and_fall() -> None:
    """A fiftieth of the wrong texts is scored above all: every tree has its own exact numbers."""
    world = Branches(depth=4, branching=5, right_share=0.15, skew=0.3, size=30)
    fooled = world.verifier(Meaning.OUTCOME, fooled=0.02)
    chances = [(world.value(p), fooled.fooled_mass(p)) for p in world.problems()]
    accuracy = []
    for n in (1, 8, 64):
        right = await number_right(world, BestOfN(fooled, n), list(world.problems()))
        expected = [laws.adversarial_best_of_n(p, a, n) for p, a in chances]
        error = math.sqrt(sum(e * (1 - e) for e in expected))
        assert abs(right - sum(expected)) <= 4 * error
        accuracy.append(sum(expected) / 30)
    assert accuracy[0] < accuracy[1] > accuracy[2]


async def test_an_exact_outcome_verifier_keeps_the_trace_error_and_a_validity_verifier_ends_it() -> None:
    """Lucky and valid solutions are alike to who sees outcomes: 34.2 % of the right answers are lucky at every N."""
    world = Chain(size=600)

    async def judged(meaning: Meaning, n: int, problems: int = 600) -> tuple[int, int]:
        asked = world.problems()[:problems]
        made = [r for r in await results(world, BestOfN(world.verifier(meaning), n), asked) if is_right(world, r)]
        invalid = sum("state b" in r.trace or "state c" in r.trace for r in made)
        return len(made), invalid

    for n in (1, 5):
        right, invalid = await judged(Meaning.OUTCOME, n)
        near(right, 600, laws.coverage(world.correct, n))
        near(invalid, right, world.trace_error)
    for meaning in (Meaning.PREFIX_VALID, Meaning.STEP_CORRECT):
        right, invalid = await judged(meaning, 20, 120)
        assert right >= 118  # 1 - (1 - .2621)^20 = .998 have a valid sample
        assert invalid <= 2


async def test_an_exact_value_at_the_last_step_is_coverage_and_its_noise_costs() -> None:
    world = Branches(depth=3, branching=4, right_share=0.15, size=150)
    chances = [laws.coverage(world.value(p), 6) for p in world.problems()]
    exact = await number_right(world, BestOfN(world.verifier(Meaning.VALUE), 6))
    assert abs(exact - sum(chances)) <= 4 * math.sqrt(sum(c * (1 - c) for c in chances))
    blurred = await number_right(world, BestOfN(world.verifier(Meaning.VALUE, noise=1.0), 6))
    lone = sum(world.value(p) for p in world.problems())
    assert lone < blurred < exact


async def test_selecting_by_a_calibrated_confidence_is_as_accurate_as_it_states() -> None:
    """19 wrong answers make every guess of .05 calibrated: on track the answer has probability 1, else .05."""
    world, n = Chain(size=800, wrong=19, guess=0.05), 3
    good = world.occupation(world.steps)[State.ON_TRACK]
    stated = laws.coverage(good, n) + (1 - laws.coverage(good, n)) * 0.05
    made = await results(world, ConfidenceSelection(n, "answer"))
    near_mean([r.confidence or 0 for r in made], stated)
    near(sum(is_right(world, r) for r in made), 800, stated)


async def test_a_budget_holds_and_the_books_are_the_machines() -> None:
    world = Chain(size=1)
    problem = world.problem(0)
    capped = replace(HOT, max_tokens=30)
    (free,) = await results(world, SelfConsistency(6), sampling=capped)
    whole = free.ledger.total_charged.total or 0
    for budget in range(45, whole + 10, 7):
        generator = world.generator()
        result = await solve(
            problem,
            generator=generator,
            strategy=SelfConsistency(6),
            style=Bare(),
            reading=world.task().reading,
            sampling=capped,
            budget=budget,
        )
        charged, spent = result.ledger.total_charged, result.ledger.total_spent
        assert (charged.total or 0) <= budget
        assert spent.generated == generator.spent.generated
        assert (charged.generated or 0) == (spent.generated or 0) - (spent.wasted or 0)
        assert (result.stopped == "budget") == (budget < whole)


async def test_an_evaluation_of_a_world_measures_its_value() -> None:
    world = Chain(size=400)
    arm = Arm("one", RepeatedSampling(4), Bare(), sampling=HOT)
    report = await evaluate(world.task(), world.generator(pace=0), arm)
    near(report.accuracy * 400, 400, world.correct)
    near(report.pass_at[4] * 400, 400, laws.coverage(world.correct, 4))
    assert report.exact is True


# --- labels by rollouts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("t", "state"), [(6, State.LOST), (3, State.RECOVERABLE), (2, State.ON_TRACK)])
async def test_hard_and_soft_labels_of_rollouts_have_their_laws(t: int, state: State) -> None:
    """Eight rollouts per label: the soft one is unbiased, the hard one calls a third of the lost prefixes good."""
    world, rollouts, labels = Chain(), 8, 300
    generator, begun = world.generator(pace=0), world.line(state) * t
    v, hard, soft = world.state_value(t, state), 0, []
    for label in range(labels):
        problem = world.problem(label % 100)
        ending = f"#### {world.right(label % 100)}"
        outcomes = await ask(generator, [request(problem, HOT, 1000 * label + k, begun) for k in range(rollouts)])
        right = sum(isinstance(c, Completion) and c.text.endswith(ending) for c in outcomes)
        hard, soft = hard + (right > 0), [*soft, right / rollouts]
    near(hard, labels, laws.coverage(v, rollouts))
    near_mean(soft, v)
    spread = sum((s - v) ** 2 for s in soft) / labels
    assert spread == pytest.approx(v * (1 - v) / rollouts, rel=0.35)
