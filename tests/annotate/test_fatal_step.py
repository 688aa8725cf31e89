"""The fatal step of a wrong answer, against chains whose values are known."""

from __future__ import annotations

import math

import pytest
from label_worlds import rollouts

from thence.annotate.rollouts import Rollouts
from thence.annotate.why import ChangePoint, Explained, Why, log_likelihoods, log_sum
from thence.core.errors import CallFailed, DataError, UsageError
from thence.core.labels import Source
from thence.core.problem import Problem
from thence.core.scores import Meaning
from thence.worlds import Chain


def truth(world: Chain, problem: Problem, text: str, ends: tuple[int, ...], delta: float) -> int | None:
    """The step after the last prefix whose exact value is above ``delta``."""
    alive = [t for t, end in enumerate((0, *ends[:-1])) if world.value(problem, text[:end]) > delta]
    return alive[-1] if alive else None


def test_likelihoods_are_averages_over_their_priors() -> None:
    for s, n, delta in ((0, 3, 0.1), (2, 5, 0.05), (4, 4, 0.3)):
        alive, dead = log_likelihoods(s, n, delta)
        fine = 4000
        below = math.fsum((v := delta * (i + 0.5) / fine) ** s * (1 - v) ** (n - s) for i in range(fine)) / fine
        above = math.fsum((v := delta ** (1 - (i + 0.5) / fine)) ** s * (1 - v) ** (n - s) for i in range(fine)) / fine
        assert math.exp(dead) == pytest.approx(below, rel=1e-3)
        assert math.exp(alive) == pytest.approx(above, rel=1e-3)
    assert log_likelihoods(0, 0, 0.1) == (pytest.approx(0), pytest.approx(0))
    deep = log_likelihoods(900, 1000, 0.05)
    assert all(map(math.isfinite, deep))
    assert deep[0] > deep[1]


def test_the_posterior_is_bayes_rule_and_sums_to_one() -> None:
    point = ChangePoint(3, 0.1, [(3, 4), (0, 4), (0, 2)])
    law = point.law()
    assert sum(law) == pytest.approx(1)
    each = [tuple(map(math.exp, log_likelihoods(s, n, 0.1))) for s, n in point.counts]
    (a0, d0), (a1, d1), (a2, d2) = each
    mixed = [0.98 * a + 0.02 * d for a, d in each]
    weights = [d0 * d1 * d2, a0 * d1 * d2, mixed[0] * a1 * d2, mixed[0] * mixed[1] * a2]
    assert law == pytest.approx([w / sum(weights) for w in weights])
    assert point.lives() == pytest.approx([1 - law[0], law[2] + law[3], law[3]])
    assert ChangePoint(4, 0.1).law() == pytest.approx([0.2] * 5)
    assert log_sum([math.log(0.25), math.log(0.5)]) == pytest.approx(math.log(0.75))


def test_information_is_what_one_rollout_changes_on_average() -> None:
    """Mutual information by its other formula: the expected fall of the entropy of c, where c decides all values."""
    point = ChangePoint(4, 0.1, [(2, 3), (0, 1), (0, 0), (0, 2)])
    law, gains = point.law(), point.information()
    for t, (s, n) in enumerate(point.counts):
        alive = point.lives()[t]
        now, then = log_likelihoods(s, n, 0.1), log_likelihoods(s + 1, n + 1, 0.1)
        chance = [math.exp(b - a) for a, b in zip(now, then, strict=True)]
        joint = {True: alive, False: 1 - alive}
        mutual = 0.0
        for lives, p in joint.items():
            for right in (True, False):
                q = chance[not lives] if right else 1 - chance[not lives]
                mean = sum(pp * (chance[not other] if right else 1 - chance[not other]) for other, pp in joint.items())
                mutual += p * q * math.log(q / mean)
        assert gains[t] == pytest.approx(mutual)
        assert gains[t] >= 0
    assert sum(law) == pytest.approx(1)
    shares = point.allocate(10, lambda t: t)
    assert sum(shares) == 10
    assert shares.index(max(shares)) == gains.index(max(gains))


def explained(counts: list[tuple[int, int]], delta: float = 0.1) -> int:
    """The most probable fatal step, -1 for none."""
    law = ChangePoint(len(counts), delta, counts).law()
    return law.index(max(law)) - 1


def test_the_last_living_prefix_decides_even_after_one_that_looked_dead() -> None:
    assert explained([(9, 9), (8, 9), (0, 30), (0, 30)]) == 1
    assert explained([(9, 9), (0, 9), (8, 9), (0, 30)]) == 2
    assert explained([(0, 60), (0, 60), (0, 60), (0, 60)]) == -1
    assert explained([(5, 9), (5, 9), (5, 9), (6, 9)]) == 3


async def cases(world: Chain, why: Why) -> list[tuple[Problem, Explained, int]]:
    """One wrong answer of each problem that has one, explained, and the rollouts that took."""
    made = []
    for problem in world.problems():
        got = rollouts(world, problem)
        if texts := await why.wrong(got, why.solutions):
            before = got.drawn
            found = await why.explain(got, texts[0])
            made.append((problem, found, got.drawn - before))
    return made


@pytest.mark.parametrize(
    "world",
    [Chain(steps=8, size=16), Chain(steps=12, size=8), Chain(steps=16, slip=0.05, size=9)],
    ids=lambda world: f"{world.steps} steps",
)
async def test_a_third_of_brute_forces_rollouts_at_equal_error(world: Chain) -> None:
    """Brute force gets three times the rollouts, spread evenly, and errs at least as often, however it is read: by the
    same posterior, by its last share above delta, or by its first share that is not."""
    why = Why(guess=world.guess, most=1000)
    explained_ones = await cases(world, why)
    spent = sum(n for _, _, n in explained_ones)
    brute = math.ceil(3 * spent / (len(explained_ones) * world.steps))
    wrong: dict[str, int] = dict.fromkeys(("why", "posterior", "last alive", "first dead"), 0)
    labels, drawn = dict(wrong), 0
    for problem, found, _ in explained_ones:
        text, ends = found.record.text, found.record.ends
        uniform = rollouts(world, problem, seed=11)
        values = await uniform.estimate(["", *(text[:e] for e in ends[:-1])], brute)
        drawn += uniform.drawn
        alive = [t for t, v in enumerate(values) if v.value > why.threshold]
        dead = [t for t, v in enumerate(values) if v.value <= why.threshold]
        said = {
            "why": found.fatal,
            "posterior": explained([(v.successes, v.rollouts) for v in values], why.threshold),
            "last alive": alive[-1] if alive else None,
            "first dead": dead[0] - 1 if dead else world.steps - 1,
        }
        exact = _place(truth(world, problem, text, ends, why.threshold))
        for name, step in said.items():
            wrong[name] += _place(step) != exact
            labels[name] += abs(_place(step) - exact)  # steps that would be labelled wrong
    assert len(explained_ones) >= 8
    assert drawn >= 3 * spent
    for rival in ("posterior", "last alive", "first dead"):
        assert wrong["why"] <= wrong[rival]
        assert labels["why"] <= labels[rival]
    assert wrong["posterior"] + wrong["last alive"] + wrong["first dead"] > 0, "the comparison decides nothing"
    assert wrong["why"] <= 0.1 * len(explained_ones) + 4 * math.sqrt(0.09 * len(explained_ones))  # confidence .9


def _place(step: int | None) -> int:
    return -1 if step is None else step


async def one(world: Chain, why: Why, *, budget: int | None = None, seed: int = 0) -> tuple[Rollouts, Explained]:
    for problem in world.problems():
        got = rollouts(world, problem, seed=seed, budget=budget)
        if texts := await why.wrong(got, why.solutions):
            return got, await why.explain(got, texts[0])
    raise AssertionError("no wrong answer in this world")


async def test_the_record_feeds_a_verifier() -> None:
    world = Chain(size=5)
    why = Why(guess=world.guess)
    got, found = await one(world, why)
    record = found.record
    assert record.correct is False
    assert found.decided
    assert found.certainty >= 0.9
    fatal = found.fatal
    assert fatal is not None
    assert record.extra["fatal"]["step"] == fatal
    assert found.interval[0] <= fatal <= found.interval[1]
    assert record.first_error(Meaning.PREFIX_VALID) == fatal
    alive = record.numbers(Meaning.PREFIX_VALID)
    assert alive[-1] == 0
    assert list(alive) == sorted((x for x in alive if x is not None), reverse=True)
    for estimate, row in zip(found.estimates[1:], record.labels, strict=False):
        by_rollouts = [x for x in row if x.meaning is Meaning.VALUE and x.source is Source.ROLLOUTS]
        assert [(x.successes, x.rollouts) for x in by_rollouts] == (
            [] if estimate is None else [(estimate.successes, estimate.rollouts)]
        )
    assert sum(e.rollouts for e in found.estimates if e is not None) == got.drawn
    again = (await one(world, why))[1]
    assert again.record == record, "the same seed finds the same"


async def test_a_question_that_is_never_solved_blames_no_step() -> None:
    world = Chain(steps=5, slip=0.0, fatal=1.0, guess=0.02, size=3)
    _, found = await one(world, Why(guess=0.02, delta=0.2))
    assert found.fatal is None
    assert found.decided
    assert found.interval[0] == -1


async def test_limits_are_kept_and_said() -> None:
    world = Chain(size=3)
    got, found = await one(world, Why(guess=0.05, most=20, batch=8, solutions=4, confidence=0.999))
    assert not found.decided
    assert got.drawn <= 24
    assert found.fatal is None or 0 <= found.fatal < world.steps
    _, tight = await one(world, Why(guess=0.05, confidence=0.999), budget=400)
    assert not tight.decided


async def test_as_a_labelling_method_it_explains_the_wrong_ones() -> None:
    world = Chain(size=4)
    for problem in world.problems():
        records = await Why(guess=0.05).annotate(rollouts(world, problem))
        assert all(r.correct is False and len(r.labels) == world.steps for r in records)
        assert len({r.text for r in records}) == len(records)
    sure = Chain(slip=0.0, fatal=0.0, size=1)
    assert await Why().annotate(rollouts(sure, sure.problems()[0])) == []


async def test_what_cannot_be_explained_is_refused() -> None:
    world = Chain(size=1)
    [problem] = world.problems()
    with pytest.raises(DataError, match="has no steps"):
        await Why().explain(rollouts(world, problem), "\n \n")
    with pytest.raises(DataError, match="has no steps"):
        await Why().explain(rollouts(world, problem), "#### 12")
    with pytest.raises(UsageError, match=r"delta is 1.05; it must be above 0 and below 1"):
        Why(guess=1.0)
    with pytest.raises(UsageError, match="most is 0"):
        Why(most=0)


async def test_a_solution_longer_than_the_context_is_refused_before_it_is_completed() -> None:
    world = Chain(steps=8, size=1)
    [problem] = world.problems()
    got = rollouts(world, problem, context=12)
    text = "".join(["state a\n"] * 8) + "#### 10"
    with pytest.raises(CallFailed, match=r"has \d+ tokens with its prompt, and the context 12"):
        await got.more([text], [1])
