"""Step labels by rollouts, against the chain world, where every value is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from label_worlds import HOT, rollouts, sample

from thence.annotate.label import Annotator, LabelReport, label
from thence.annotate.math_shepherd import MathShepherd, hard
from thence.annotate.omegaprm import OmegaPRM, first_dead
from thence.annotate.why import Why
from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Meaning
from thence.prompts.styles import Bare
from thence.stores.sqlite import RunFile
from thence.worlds import Chain, WorldGenerator
from thence.worlds.chain import State


async def test_soft_labels_are_unbiased_and_hard_ones_measure_whether_it_can_be_solved() -> None:
    world, n = Chain(size=150), 8
    soft: list[tuple[float, float]] = []
    any_right: list[tuple[float, float]] = []
    for problem in world.problems():
        text, right = await sample(world, problem, seed=7)
        got = rollouts(world, problem)
        record = await MathShepherd(n).label(got, text, right)
        assert len(record.labels) == world.steps
        assert got.drawn == n * (world.steps - 1)
        assert record.labels[-1][0] == Label(Meaning.VALUE, float(right), Source.EXACT)
        assert "".join(record.steps) == text
        for end, number, whether in zip(
            record.ends[:-1], record.numbers(Meaning.VALUE), hard(record).numbers(Meaning.VALUE), strict=False
        ):
            assert number is not None
            assert whether is not None
            value = world.value(problem, text[:end])
            soft.append((number, value))
            any_right.append((whether, 1 - (1 - value) ** n))
    for pairs, variance in ((soft, lambda v: v * (1 - v) / n), (any_right, lambda v: v * (1 - v))):
        bias = sum(got - expected for got, expected in pairs)
        error = math.sqrt(sum(variance(expected) for _, expected in pairs))
        assert abs(bias) <= 4 * error
    lost = [w for (w, p) in any_right if abs(p - (1 - 0.95**n)) < 1e-9]  # V = guess = .05: a third gets label 1
    assert abs(sum(lost) / len(lost) - 0.3366) <= 4 * math.sqrt(0.3366 * 0.6634 / len(lost))


async def test_equal_prefixes_are_completed_once_and_the_same_way() -> None:
    world = Chain(size=1)
    [problem] = world.problems()
    text, right = await sample(world, problem)
    got = rollouts(world, problem)
    first = await MathShepherd(4).label(got, text, right)
    drawn = got.drawn
    again = await MathShepherd(4).label(got, text, right)
    assert got.drawn == drawn
    assert again == first
    fresh = rollouts(world, problem)
    await fresh.estimate([text[: first.ends[3]]], 4)  # another order of asking
    assert await MathShepherd(4).label(fresh, text, right) == first


async def test_binary_search_finds_the_fatal_step() -> None:
    """Alive steps have value v, dead ones 0: the found step is exact unless a living prefix looks dead, (1 - v)^k."""
    world, k = Chain(steps=12, slip=0.0, fatal=0.08, guess=0.0, size=60), 8
    found, probes, certain = [], [], []
    for problem in world.problems():
        got = rollouts(world, problem)
        records = await OmegaPRM(k=k, searches=1).annotate(got)
        for record, dead in zip(records, first_dead(records), strict=True):
            truth = next(i for i, e in enumerate(record.ends) if world.value(problem, record.text[:e]) == 0)
            assert dead <= truth  # never later: a dead prefix has no right rollout
            found.append(dead == truth)
            probes.append(sum(bool(row) for row in record.labels) - 1)
            certain.append(
                math.prod(
                    1 - (1 - world.value(problem, record.text[:e])) ** k
                    for e, row in zip(record.ends[:truth], record.labels, strict=False)
                    if row
                )
            )
    assert len(found) > 30
    assert max(probes) <= math.ceil(math.log2(12)) + 1
    expected = sum(certain)
    error = math.sqrt(sum(c * (1 - c) for c in certain)) + 1e-9
    assert abs(sum(found) - expected) <= 4 * error + 1


async def test_with_recovery_the_found_step_is_not_before_the_first_invalid_one() -> None:
    """It finds where a solution died; a slip that could still be made good is earlier."""
    world = Chain(steps=8, guess=0.0, size=40)
    shifts = []
    for problem in world.problems():
        got = rollouts(world, problem)
        for record in await OmegaPRM(k=32, searches=2).annotate(got):
            judged = world.judge(world.number(problem), tuple(s.split("\n")[0] for s in record.steps))
            shifts.append(int(record.extra["first_dead"]) - judged.index(False))
    assert sum(shifts) > 0
    assert sum(s < 0 for s in shifts) <= len(shifts) // 10  # a living prefix that looked dead


async def test_more_first_errors_per_rollout_than_brute_force() -> None:
    world, k = Chain(steps=12, slip=0.0, fatal=0.08, guess=0.0, size=30), 8
    spent = located = 0
    for problem in world.problems():
        got = rollouts(world, problem)
        records = await OmegaPRM(k=k, searches=5).annotate(got)
        spent, located = spent + got.drawn, located + len(records)
    brute = k * (12 - 1)  # rollouts for one located error
    assert located / spent >= 2 / brute


async def test_a_pool_entry_is_searched_once_and_right_rollouts_never() -> None:
    world = Chain(steps=5, size=10)
    for problem in world.problems():
        got = rollouts(world, problem)
        records = await OmegaPRM(k=6, searches=12).annotate(got)
        assert len(records) <= 12
        for record in records:
            assert record.correct is False
            assert not world.task().grade(problem, record.text, record.text.rpartition(" ")[2].strip()).correct
    sure = Chain(slip=0.0, fatal=0.0, size=1)
    assert await OmegaPRM(k=4).annotate(rollouts(sure, sure.problems()[0])) == []


async def test_a_budget_leaves_steps_unlabelled() -> None:
    world = Chain(size=1)
    [problem] = world.problems()
    text, right = await sample(world, problem)
    got = rollouts(world, problem, budget=120)
    record = await MathShepherd(4).label(got, text, right)
    numbers = record.numbers(Meaning.VALUE)
    assert numbers[0] is not None
    assert None in numbers
    assert got.search.stopped == "budget"
    assert (got.search.ledger.total_charged.total or 0) <= 120


async def test_rollouts_that_the_budget_cut_are_no_wrong_answers() -> None:
    world = Chain(steps=6, slip=0.0, fatal=0.0, size=1)  # every whole rollout is right
    [problem] = world.problems()
    for budget in range(40, 120, 7):
        got = rollouts(world, problem, budget=budget)
        for estimate in await got.estimate(["", world.line(State.ON_TRACK)], 6):
            assert estimate.successes == estimate.rollouts
            assert estimate.wrong == ()


async def test_more_rollouts_of_a_prefix_are_added_and_are_the_same_as_all_at_once() -> None:
    world = Chain(size=1)
    [problem] = world.problems()
    prefix = world.line(State.ON_TRACK)
    got, whole = rollouts(world, problem), rollouts(world, problem)
    await got.more([prefix, ""], [3, 2])
    await got.more([prefix], [5])
    await whole.estimate([prefix], 8)
    assert got.drawn == 10
    estimate, other = whole.known(prefix), got.known(prefix)
    assert estimate is not None
    assert other is not None
    assert (other.successes, other.rollouts) == (estimate.successes, estimate.rollouts) != (0, 0)
    assert [n.text for n in other.wrong] == [n.text for n in estimate.wrong]
    low, high = estimate.interval
    assert 0 <= low < estimate.value < high <= 1
    assert got.known("unseen") is None


async def test_a_labelling_run_counts_what_it_could_not_label_and_keeps_questions(tmp_path: Path) -> None:
    """Solutions that are too long for the completer fail and are told; problems without a wrong answer are counted."""
    world = Chain(steps=6, size=6)
    short = type("Short", (WorldGenerator,), {"max_context": 12})(world, pace=0)

    names = (tmp_path / f"{i}.db" for i in range(9))

    async def run(method: Annotator, world: Chain, completer: WorldGenerator | None) -> tuple[LabelReport, int]:
        with RunFile.open(next(names), {"kind": "label"}) as store:
            task, generator = world.task(), world.generator(pace=0)
            report, records = await label(
                task, generator, method, Bare(), HOT, task.problems(), store, completer=completer
            )
            again = await label(task, generator, method, Bare(), HOT, task.problems(), store, completer=completer)
            assert again[1] == records
        assert all(r.extra["question"] == world.problem(int(r.problem[-4:])).text for r in records)
        return report, len(records)

    failed, count = await run(MathShepherd(2, 1), world, short)
    assert len(failed.failures) == 6
    assert "and the context 12" in failed.failures["chain-0000"]
    assert count == 0
    sure, count = await run(Why(solutions=2), Chain(slip=0.0, fatal=0.0, size=3), None)
    assert (sure.problems, sure.empty, sure.solutions, count) == (3, 3, 0, 0)
    fine, count = await run(MathShepherd(2, 1), world, world.generator(pace=0))
    assert fine.steps == fine.labelled == 6 * count
    assert fine.rollouts == 2 * 5 * 6


def test_records_survive_json() -> None:
    label = Label(Meaning.VALUE, 0.25, Source.ROLLOUTS, 2, 8, "m", 0.5)
    record = Labelled("p", "a\nb\n", (2, 4), ((label,), ()), False, {"note": 1})
    assert Labelled.read(record.record()) == record
    assert record.first_error(Meaning.VALUE) == 0
    assert record.numbers(Meaning.STEP_CORRECT) == (None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ends": [2]}, "2 lists of labels for 1 steps"),
        ({"ends": [2, 2]}, "do not rise"),
        ({"ends": [2, 9]}, "ends at 9 of 4"),
        ({"labels": [[{"meaning": "value", "number": 2, "source": "human"}], []]}, "must be in"),
        ({"labels": [[{"meaning": "mood", "number": 1, "source": "human"}], []]}, "no label record"),
        ({"labels": None}, "no label record"),
    ],
)
def test_records_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    from thence.core.errors import DataError

    good = Labelled("p", "a\nb\n", (2, 4), ((), ())).record()
    with pytest.raises(DataError, match=message):
        Labelled.read({**good, **change})
