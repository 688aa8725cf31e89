"""The oracle's numbers mean what they say, step by step, and its errors have the law that was asked for."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest
from world_runs import draws, is_right, near, near_mean, results

from thence.core.errors import UsageError
from thence.core.scores import Meaning
from thence.core.segmenter import Segmenter
from thence.strategies.best_of_n import BestOfN
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.worlds import Branches, Chain, State, Urn
from thence.worlds.oracle import ABOVE

CHAIN = Chain()
P = CHAIN.problem(0)
RIGHT = CHAIN.right(0)
MENDED = "state a\nstate b\nstate a\nstate a\nstate a\nstate a\n"  # a slip that was made good


def v(t: int, state: State) -> float:
    return CHAIN.state_value(t, state)


def test_each_meaning_by_hand_on_a_solution_that_slips_and_recovers() -> None:
    scores = {m: CHAIN.verifier(m).judge(P, f"{MENDED}#### {RIGHT}") for m in Meaning}
    assert scores[Meaning.STEP_CORRECT].steps == (1, 0, 1, 1, 1, 1)
    assert scores[Meaning.PREFIX_VALID].steps == (1, 0, 0, 0, 0, 0)
    a, b = State.ON_TRACK, State.RECOVERABLE
    assert scores[Meaning.VALUE].steps == pytest.approx((v(1, a), v(2, b), v(3, a), v(4, a), v(5, a), 1.0))
    assert scores[Meaning.OUTCOME].steps == ()
    assert {m: s.value for m, s in scores.items()} == {
        Meaning.STEP_CORRECT: 0.0,  # the product; the last step alone would call it right
        Meaning.PREFIX_VALID: 0.0,
        Meaning.VALUE: 1.0,
        Meaning.OUTCOME: 1.0,
    }
    assert all(s.meaning is m and s.tokens == 0 for m, s in scores.items())


def test_the_answer_is_judged_with_the_last_step() -> None:
    oracle = CHAIN.verifier(Meaning.VALUE)
    lost = MENDED[:-8] + "state c\n"
    assert oracle.judge(P, lost).steps[-1] == CHAIN.guess
    assert oracle.judge(P, f"{lost}#### {RIGHT}").steps[-1] == 1.0  # lucky
    assert oracle.judge(P, f"{lost}#### {CHAIN.choices(0, 2)[1]}").steps[-1] == 0.0
    assert oracle.judge(P, f"{lost}#### {RIGHT}").steps[:-1] == oracle.judge(P, lost).steps[:-1]


def test_a_beginning_without_steps_has_the_value_of_the_question() -> None:
    assert CHAIN.verifier(Meaning.VALUE).judge(P, "").value == pytest.approx(CHAIN.correct)
    assert CHAIN.verifier(Meaning.VALUE).judge(P, "").steps == ()
    assert CHAIN.verifier(Meaning.PREFIX_VALID).judge(P, "").value == 1.0
    assert CHAIN.verifier(Meaning.STEP_CORRECT).judge(P, "").value == 1.0


@pytest.mark.parametrize("world", [CHAIN, Branches(depth=3, branching=3)], ids=lambda w: w.name)
async def test_there_is_one_number_for_each_step_that_the_segmenter_sees(world: Chain | Branches) -> None:
    problem = world.problem(0)
    for c in await draws(world, problem, 30):
        steps = Segmenter().steps(c.text).steps
        for meaning in (Meaning.STEP_CORRECT, Meaning.PREFIX_VALID, Meaning.VALUE):
            for end in range(len(steps) + 1):
                begun = "".join(steps[:end]) if end < len(steps) else c.text
                assert len(world.verifier(meaning).judge(problem, begun).steps) == end
            aggregated = world.verifier(meaning).judge(problem, c.text)
            combine = math.prod if meaning is Meaning.STEP_CORRECT else lambda numbers: numbers[-1]
            assert aggregated.value == combine(aggregated.steps)


@pytest.mark.parametrize("world", [CHAIN, Branches(depth=3, branching=4, right_share=0.2)], ids=lambda w: w.name)
async def test_values_are_calibrated(world: Chain | Branches) -> None:
    """Of all begun solutions with the same value, the share that ends in a right answer is that value."""
    task, oracle, problem = world.task(), world.verifier(Meaning.VALUE), world.problem(0)
    bins: dict[tuple[int, float], list[bool]] = defaultdict(list)
    for c in await draws(world, problem, 4000):
        found = task.reading.extract(c.text)
        right = task.grade(problem, c.text, found.value if found else None).correct
        steps = Segmenter().steps(c.text).steps
        for t in range(len(steps)):
            begun = "".join(steps[:t])
            bins[t, round(oracle.judge(problem, begun).value, 9)].append(right)
    assert len(bins) > 8
    for (_, value), outcomes in bins.items():
        near(sum(outcomes), len(outcomes), value, errors=4.5)


async def test_noise_is_normal_independent_between_prefixes_and_fixed_for_a_text() -> None:
    world = Chain(wordings=20, size=1)
    problem = world.problem(0)
    exact, noisy = world.verifier(), world.verifier(noise=0.3, seed=4)
    firsts, lasts, products = [], [], []
    for c in await draws(world, problem, 1500):
        a, b = exact.judge(problem, c.text).steps, noisy.judge(problem, c.text).steps
        assert noisy.judge(problem, c.text).steps == b
        errors = [(y - x) / 0.3 for x, y in zip(a, b, strict=True)]
        firsts.append(errors[2])
        lasts.append(errors[-1])
        products.append(errors[2] * errors[-1])
    for errors in (firsts, lasts):
        assert len(set(errors)) > 1000
        near_mean(errors, 0.0)
        near_mean([e * e for e in errors], 1.0)
        near(sum(abs(e) < 1.0 for e in errors), len(errors), 0.6827)
    near_mean(products, 0.0)
    assert world.verifier(noise=0.3, seed=5).judge(problem, MENDED) != noisy.judge(problem, MENDED)


async def test_logit_noise_keeps_numbers_between_0_and_1() -> None:
    oracle = CHAIN.verifier(Meaning.VALUE, noise=2.0, logit=True)
    errors = []
    for number, problem in enumerate(CHAIN.problems()):
        judged = oracle.judge(problem, f"{MENDED}#### {CHAIN.right(number)}")
        assert all(0 < s < 1 for s in judged.steps)
        exact = CHAIN.state_value(1, State.ON_TRACK)
        errors.append(math.log(judged.steps[0] / (1 - judged.steps[0])) - math.log(exact / (1 - exact)))
    near_mean(errors, 0.0)
    near_mean([e * e for e in errors], 4.0)


async def test_a_share_of_wrong_solutions_fools_it_and_no_right_one_does() -> None:
    world = Branches(depth=4, branching=4, right_share=0.3, size=1)
    problem, oracle = world.problem(0), world.verifier(Meaning.OUTCOME, fooled=0.2, noise=0.1)
    texts = [text for text, _ in world.solutions(problem)]
    wrong = [t for t in texts if world.read(t).answer != world.right(0)]
    fooling = [t for t in texts if oracle.fools(problem, t)]
    near(len(fooling), len(wrong), 0.2)
    assert set(fooling) < set(wrong)
    assert {oracle.judge(problem, t).value for t in fooling} == {ABOVE}
    assert max(oracle.judge(problem, t).value for t in set(texts) - set(fooling)) < ABOVE
    assert oracle.fooled_mass(problem) == pytest.approx(sum(p for t, p in world.solutions(problem) if t in fooling))
    steps = world.verifier(Meaning.VALUE, fooled=1.0).judge(problem, wrong[0]).steps
    assert len(steps) == 4
    assert steps[-1] == ABOVE > max(steps[:-1])


async def test_through_the_search_it_sees_whole_paths_and_costs_nothing() -> None:
    (result,) = await results(CHAIN, BestOfN(CHAIN.verifier(Meaning.PREFIX_VALID), 30), [P])
    assert is_right(CHAIN, result)
    assert result.node is not None
    ((name, score),) = result.node.scores.items()
    assert name == CHAIN.verifier(Meaning.PREFIX_VALID).name
    assert score.steps == (1.0,) * 6
    (plain,) = await results(CHAIN, RepeatedSampling(30), [P])
    assert result.ledger.total_charged == plain.ledger.total_charged


def test_what_is_not_defined_is_refused() -> None:
    urn = Urn()
    with pytest.raises(UsageError, match="neither right nor wrong"):
        urn.verifier(Meaning.PREFIX_VALID).judge(urn.problem(0), "#### 42")
    assert urn.verifier(Meaning.VALUE).judge(urn.problem(0), "").value == urn.shares(urn.problem(0))[0]
    for wrong in ({"noise": -1.0}, {"noise": math.inf}, {"fooled": 1.1}):
        with pytest.raises(UsageError, match="oracle"):
            CHAIN.verifier(**wrong)
    made = [CHAIN.verifier(), CHAIN.verifier(noise=0.1), CHAIN.verifier(noise=0.1, logit=True), CHAIN.verifier(seed=1)]
    assert len({o.name for o in made}) == 4
