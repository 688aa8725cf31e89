"""Lengths: hand counts, exact laws of the revision world, Simpson's trap, votes, intervals that cover."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thence.core.errors import UsageError
from thence.evals.overthinking.lengths import Sample, length_ratio, measure, rank_shares, shortness, vote
from thence.worlds.revision import Revision


def of(problem: str, *pairs: tuple[float, bool]) -> list[Sample]:
    return [Sample(problem, length, right, "a" if right else "b") for length, right in pairs]


def test_five_samples_in_five_groups_are_their_ranks() -> None:
    found = measure(of("p", (30, True), (10, True), (20, True), (50, False), (40, False)), groups=5)
    assert [(g.number, g.length, g.accuracy.value) for g in found.within.groups] == [
        (0, 10, 1.0),
        (1, 20, 1.0),
        (2, 30, 1.0),
        (3, 40, 0.0),
        (4, 50, 0.0),
    ]
    assert found.within.right_longer.value == 0.0
    assert found.within.gap is not None
    assert found.within.gap.difference == -1.0


def test_equal_lengths_share_their_places() -> None:
    assert rank_shares([7, 7, 7, 7], 2) == [[0.5, 0.5]] * 4
    found = measure(of("p", (7, True), (7, False), (7, False), (7, False)), groups=2)
    assert [g.accuracy.value for g in found.within.groups] == [0.25, 0.25]
    assert found.within.right_longer.value == 0.5


@given(st.lists(st.integers(1, 6), min_size=2, max_size=12), st.integers(2, 5))
def test_every_sample_is_shared_out_and_groups_are_equal(lengths: list[int], groups: int) -> None:
    shares = rank_shares(lengths, groups)
    assert all(math.isclose(sum(share), 1.0) for share in shares)
    for g in range(groups):
        assert math.isclose(sum(share[g] for share in shares), len(lengths) / groups)


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=2, max_size=12))
def test_how_often_the_right_one_is_longer_is_a_count_of_pairs(pairs: list[tuple[int, bool]]) -> None:
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, r in pairs for b, w in pairs if r and not w]
    found = measure(of("p", *pairs))
    for view in (found.within, found.across):
        assert view.right_longer.value == (pytest.approx(sum(wins) / len(wins)) if wins else None)


def chains(world: Revision, *, questions: int, samples: int, seed: int) -> list[Sample]:
    """Samples of 0 to 4 revisions: length 10 + 5 R, right by the world's own law."""
    noise = random.Random(seed)
    made = []
    for q in range(questions):
        for _ in range(samples):
            revisions, answer = noise.randrange(5), ""
            for _ in range(revisions + 1):
                odds = world.next(q % world.size, answer)
                answer = noise.choices(list(odds), list(odds.values()))[0]
            right = answer == world.right(q % world.size)
            made.append(Sample(str(q), 10 + 5 * revisions, right, answer))
    return made


@pytest.mark.parametrize(
    ("chance", "mend", "spoil", "sign"), [(0.3, 0.4, 0.1, 1), (0.8, 0.1, 0.3, -1), (0.5, 0.2, 0.2, 0)]
)
def test_length_hurts_exactly_where_the_limit_is_below_the_start(
    chance: float, mend: float, spoil: float, sign: int
) -> None:
    world = Revision(chance=chance, mend=mend, spoil=spoil, wrong=2, size=50)
    found = measure(chains(world, questions=400, samples=10, seed=1))
    interval = found.within.right_longer.interval
    assert interval is not None
    assert (interval[0] > 0.5) - (interval[1] < 0.5) == sign
    assert (world.stationary > chance) - (world.stationary < chance) == sign
    assert found.within.gap is not None
    expected = world.after(4) - world.after(0)  # the groups are sharper than single ranks only by their blending
    assert (
        found.within.gap.difference * sign >= 0.5 * abs(expected) if sign else abs(found.within.gap.difference) < 0.05
    )


def hard_and_easy(noise: random.Random, questions: int, samples: int = 6) -> list[Sample]:
    """Length means nothing within a question; hard questions take long and are answered wrongly."""
    made = []
    for q in range(questions):
        hardness = noise.random()
        for _ in range(samples):
            made.append(Sample(str(q), 20 + 80 * hardness + noise.uniform(0, 20), noise.random() > hardness, "a"))
    return made


def test_across_questions_difficulty_looks_like_overthinking_and_within_it_does_not() -> None:
    found = measure(hard_and_easy(random.Random(0), 400))
    within, across = found.within.right_longer, found.across.right_longer
    assert within.interval is not None
    assert across.interval is not None
    assert found.within.gap is not None
    assert within.interval[0] < 0.5 < within.interval[1]
    assert across.interval[1] < 0.35
    assert found.across.groups[0].accuracy.value > 0.7 > 0.3 > found.across.groups[-1].accuracy.value  # type: ignore[operator]
    assert abs(found.within.gap.difference) < 0.06


def test_intervals_of_both_views_cover_their_truth() -> None:
    noise, runs = random.Random(5), 100
    truth = measure(hard_and_easy(random.Random(6), 4000)).across.right_longer.value
    assert truth is not None
    within = across = 0
    for _ in range(runs):
        found = measure(hard_and_easy(noise, 60))
        assert found.within.right_longer.interval is not None
        assert found.across.right_longer.interval is not None
        within += found.within.right_longer.interval[0] <= 0.5 <= found.within.right_longer.interval[1]
        across += found.across.right_longer.interval[0] <= truth <= found.across.right_longer.interval[1]
    assert within >= 0.92 * runs
    assert across >= 0.90 * runs


def test_length_when_right_beside_wrong() -> None:
    several = {"p": of("p", (10, True), (20, False)), "q": of("q", (40, True), (20, False)), "r": of("r", (9, True))}
    ratio = length_ratio(several)
    assert (ratio.n, ratio.value) == (2, pytest.approx(1.0))
    assert ratio.interval is not None
    assert ratio.interval[0] < 1 < ratio.interval[1]
    assert length_ratio({"p": several["p"]}).interval is None
    assert length_ratio({"r": several["r"]}).value is None


def answers(*pairs: tuple[str | None, float]) -> list[Sample]:
    return [Sample("p", length, key == "7", key) for key, length in pairs]


def test_the_shortest_majority_vote_by_hand() -> None:
    tied = answers(("7", 20), ("7", 30), ("8", 60), ("8", 70), (None, 1))
    assert vote(tied) == 0.5
    assert vote(tied, shortness) == 1.0
    assert shortness([20, 30]) == pytest.approx(2 / math.log(25))
    outvoted = answers(("7", 20), ("8", 400), ("8", 400))  # 1 / ln 20 = .334 against 2 / ln 400 = .334
    assert 1 / math.log(20) == pytest.approx(2 / math.log(400))
    assert vote(outvoted, shortness) == 0.5
    assert shortness([1]) == shortness([3]) > 0
    assert vote(answers((None, 5)), shortness) == 0.0


@given(st.lists(st.tuples(st.sampled_from(["7", "8", "9"]), st.just(40.0)), min_size=1, max_size=9))
def test_equal_lengths_make_it_the_plain_vote(pairs: list[tuple[str, float]]) -> None:
    assert vote(answers(*pairs), shortness) == vote(answers(*pairs))


def test_one_sample_per_question_is_an_error_that_says_what_to_do() -> None:
    single: Sequence[Sample] = [*of("p", (1, True)), *of("q", (2, False))]
    with pytest.raises(UsageError, match=r"repeated-sampling\(n=8\)"):
        measure(single)
    with pytest.raises(UsageError, match="groups is 1"):
        measure(of("p", (1, True), (2, True)), groups=1)
