"""Certified voting: bets by hand, the supermartingale law, where it stops, and how rarely it errs."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from typing import Any, ClassVar

import pytest
from drawing import answering, drawing, solved
from scipy.integrate import quad

from thence.core.errors import UsageError
from thence.core.protocols import Generator
from thence.generators.scripted import ScriptedGenerator
from thence.strategies.certified import Certificate, Certified, doubt, needed


def test_the_evidence_is_the_integral_over_all_bets() -> None:
    for won, lost in itertools.product(range(12), range(8)):
        owned = quad(lambda x, s=won, f=lost: (1 + x) ** s * (1 - x) ** f, 0, 1)[0]
        assert 1 / doubt(won, lost) == pytest.approx(owned, rel=1e-9)
    assert doubt(7, 0) == 8 / 255
    assert doubt(3000, 0) == 0.0  # too small for a number, and no error


def test_needed_is_the_smallest_count_that_reaches_one_over_alpha() -> None:
    assert [needed(0.05, lost) for lost in range(6)] == [7, 10, 12, 14, 16, 18]
    for alpha in (0.01, 0.05, 0.3):
        for lost in range(20):
            won = needed(alpha, lost)
            assert doubt(won, lost) <= alpha < doubt(won - 1, lost)
    assert needed(0.07, 300) > 300  # asked for at once: nothing has to be known of smaller counts


def law_of_wealth(shares: dict[str, Fraction], mode: str, n: int) -> Fraction:
    """The exact mean of E for ``mode`` after ``n`` draws."""
    total = Fraction(0)
    for draws in itertools.product(shares, repeat=n):
        certificate = Certificate(0.05)
        chance = Fraction(1)
        for answer in draws:
            certificate.see(answer)
            chance *= shares[answer]
        known = mode if mode in certificate.counts else None
        total += chance / Fraction(doubt(*certificate.bets(known)))
    return total


@pytest.mark.parametrize(
    "shares",
    [
        {"a": Fraction(1, 2), "b": Fraction(1, 2)},
        {"a": Fraction(2, 5), "b": Fraction(3, 10), "c": Fraction(3, 10)},
        {"a": Fraction(1, 3), "b": Fraction(1, 3), "c": Fraction(1, 3)},
    ],
)
def test_nobody_gets_rich_by_betting_against_a_mode_and_somebody_does_against_another_answer(
    shares: dict[str, Fraction],
) -> None:
    n = 11 if len(shares) == 2 else 7
    means = [float(law_of_wealth(shares, "a", k)) for k in range(1, n + 1)]
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise([1.0, *means]))
    if shares["a"] > shares["b"]:
        assert float(law_of_wealth(shares, "b", n)) > float(law_of_wealth(shares, "a", n))
        assert means[-1] < 1
    else:
        assert means[-1] == pytest.approx(1.0)  # all bets on ties are fair


def test_bets_are_on_who_led_before_the_draw() -> None:
    certificate = Certificate(0.05)
    for answer in "abbbab":  # leaders before each draw: none, a, a (tied, was first), b, b, b
        certificate.see(answer)
    assert certificate.leader == "b"
    assert certificate.bets("a") == (2, 1)  # b drawn twice while b led, a once
    assert certificate.bets("b") == (0, 2)  # twice drawn while a led; its own hits are no bet against it
    assert certificate.bets() == (2, 0)


@pytest.mark.parametrize(("alpha", "first"), [(0.05, 8), (0.2, 5), (0.01, 10)])
async def test_so_many_that_agree_are_the_fewest_that_certify(alpha: float, first: int) -> None:
    result = await solved(Certified(alpha, 40, ahead=0), answering(*[15] * 40))
    assert result.notes[0] == f"{first} of at most 40 samples drawn"
    assert result.notes[1].startswith(f"certified: the most likely answer, with error at most {alpha:g} (p = ")
    assert (result.answer, result.confidence) == ("15", 1.0)
    assert needed(alpha, 0) == first - 1


async def test_one_that_disagrees_costs_four_more_samples() -> None:
    result = await solved(Certified(ahead=0), answering(15, 14, *[15] * 38))
    assert result.notes[0] == "12 of at most 40 samples drawn"
    assert [v.count for v in result.votes] == [11, 1]


async def test_without_a_certificate_the_majority_answers_and_says_so() -> None:
    result = await solved(Certified(n=12), answering(*[15, 14, 15, 16, 15, 14] * 2))
    assert result.answer == "15"
    assert result.notes[0] == "12 of at most 12 samples drawn"
    assert result.notes[1].startswith("not certified at 0.05 (p = ")
    assert "majority" in result.notes[1]


async def test_silence_is_no_vote_and_a_run_of_silence_no_answer() -> None:
    result = await solved(Certified(ahead=0), answering(*[None, 15] * 20))
    assert result.notes[0] == "16 of at most 40 samples drawn"
    assert result.confidence == 0.5
    result = await solved(Certified(n=8), answering(*[None] * 8))
    assert (result.answer, result.confidence) == (None, 0.0)
    assert result.notes[1].startswith("not certified at 0.05 (p = 1)")


async def test_what_runs_ahead_changes_no_charge_and_a_budget_ends_it_uncertified() -> None:
    charged = {
        (await solved(Certified(ahead=ahead), ScriptedGenerator(lambda cue: "#### 15"))).ledger.total_charged.total
        for ahead in (0, 3, 39)
    }
    assert len(charged) == 1
    short = await solved(Certified(), answering(*[15] * 40), budget=20)
    assert short.stopped == "budget"
    assert short.answer == "15"
    assert short.notes[1].startswith("not certified")


async def test_samples_that_a_budget_may_cut_vote_and_are_no_evidence() -> None:
    """A sample may have 200 tokens and has three; those before which 200 are left certify, later ones do not."""
    enough = await solved(Certified(), answering(*[15] * 40), budget=240)
    assert enough.notes[1].startswith("certified")
    assert enough.notes[0] == "8 of at most 40 samples drawn"
    tight = await solved(Certified(), answering(*[15] * 40), budget=210)
    assert tight.notes[0] == "40 of at most 40 samples drawn"
    assert tight.notes[1].startswith("not certified")
    assert tight.answer == "15"


async def test_a_pool_of_models_has_no_one_law() -> None:
    class Pool(ScriptedGenerator):
        members: ClassVar[dict[str, Generator]] = {}

        def deal(self, ordinal: int) -> tuple[str, int]:
            raise AssertionError

        def weights(self, problem: str) -> dict[str, float]:
            raise AssertionError

    with pytest.raises(UsageError, match="not draws of one law"):
        await solved(Certified(), Pool(lambda cue: "#### 15"))


async def test_a_clear_law_is_certified_and_a_tie_seldom() -> None:
    clear = [await solved(Certified(), drawing({"15": 0.9, "14": 0.1}), seed=s) for s in range(20)]
    assert sum(r.notes[1].startswith("certified") and r.answer == "15" for r in clear) >= 19
    tie = [await solved(Certified(), drawing({"15": 0.5, "14": 0.5}), seed=s) for s in range(20)]
    assert sum(r.notes[1].startswith("certified") for r in tie) <= 4


@pytest.mark.parametrize(
    "law",
    [
        (0.501, 0.499),
        (0.35, 0.35, 0.3),
        (0.34, 0.33, 0.33),
        (0.26, 0.26, 0.24, 0.24),
        (0.26, 0.24),
        (0.11, *[0.0989] * 9),
    ],
)
def test_an_answer_that_is_no_mode_is_certified_in_at_most_alpha_of_runs(law: tuple[float, ...]) -> None:
    """The whole table: tools/certified_errors.py. Looked at after each of 400 samples."""
    rng, alpha, runs = random.Random(str(law)), 0.2, 150
    names = [*map(str, range(len(law))), None]
    wrong = 0
    for _ in range(runs):
        certificate = Certificate(alpha)
        for name in rng.choices(names, (*law, max(0.0, 1 - sum(law))), k=400):
            if name is not None and certificate.see(name):
                assert certificate.leader is not None
                wrong += law[int(certificate.leader)] < max(law)
                break
    assert wrong / runs <= alpha


def test_a_certificate_stays_and_names_one_answer() -> None:
    certificate = Certificate(0.2)
    for _ in range(6):
        certificate.see("a")
    assert certificate.certified
    assert certificate.p <= 0.2
    assert certificate.see("b")


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"alpha": 0.0}, {"alpha": 1.0}, {"ahead": -1}, {"n": 7}, {"alpha": 0.001, "n": 12}]
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="certified: "):
        Certified(**wrong)
    with pytest.raises(UsageError, match="give n of at least 8"):
        Certified(n=5)
