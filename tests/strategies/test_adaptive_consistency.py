"""The Beta rule stops where its closed form says, in seed order, and wastes only what ran ahead."""

from __future__ import annotations

import random

import pytest
from drawing import answering, drawing, solved
from scipy.stats import beta

from thence.core.errors import UsageError
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.strategies.adaptive_consistency import AdaptiveConsistency, lead_probability


def test_the_probability_is_that_of_the_beta_law() -> None:
    for first in range(12):
        for second in range(first + 1):
            exact = beta.sf(0.5, first + 1, second + 1)
            assert lead_probability(first, second) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(
    ("pair", "value"),
    [((4, 0), 0.96875), ((6, 1), 0.9648), ((8, 2), 0.9673), ((9, 3), 0.9539), ((11, 4), 0.9616), ((3, 0), 0.9375)],
)
def test_known_values(pair: tuple[int, int], value: float) -> None:
    assert lead_probability(*pair) == pytest.approx(value, abs=5e-5)


@pytest.mark.parametrize("pair", [(4, 0), (6, 1), (8, 2), (9, 3), (11, 4)])
async def test_it_stops_at_these_pairs_and_not_before(pair: tuple[int, int]) -> None:
    first, second = pair
    draws = ["14", "15"] * second + ["15"] * (first + 9)  # the other one early, so that no earlier pair stops
    result = await solved(AdaptiveConsistency(n=len(draws), ahead=0), answering(*draws))
    assert result.answer == "15"
    assert [v.count for v in result.votes] == [n for n in pair if n]


async def test_three_that_agree_are_not_enough() -> None:
    result = await solved(AdaptiveConsistency(n=3, ahead=0), answering(15, 15, 15, 15))
    assert result.notes == ("3 of at most 3 samples drawn",)
    result = await solved(AdaptiveConsistency(n=9, ahead=0), answering(*[15] * 9))
    assert result.notes == ("4 of at most 9 samples drawn",)


async def test_silence_casts_no_vote() -> None:
    result = await solved(AdaptiveConsistency(n=9, ahead=0), answering(None, 15, None, 15, 15, 15, 15, 15, 15))
    assert result.notes == ("6 of at most 9 samples drawn",)
    assert result.confidence == 4 / 6


async def test_what_ran_ahead_changes_no_charge_and_is_booked_as_waste() -> None:
    charged, wasted = [], []
    for ahead in (0, 3, 39):  # (6, 1) stops at the seventh of them
        generator = ScriptedGenerator(lambda cue: "#### 14" if cue.draw == 0 else "#### 15")
        result = await solved(AdaptiveConsistency(n=40, ahead=ahead), generator)
        charged.append(result.ledger.total_charged)
        spent = result.ledger.total_spent
        wasted.append(spent.wasted)
        assert spent.generated == generator.spent.generated == 7 * 3 + (spent.wasted or 0)
    assert charged[0] == charged[1] == charged[2]
    assert wasted[0] == 0
    assert (wasted[2] or 0) > (wasted[1] or 0) > 0


async def test_stopping_in_order_of_arrival_favours_short_answers_and_in_seed_order_does_not() -> None:
    """Two answers equally likely, the wrong one shorter: in seed order each wins half of the runs."""

    def write(cue: Cue) -> str:
        return f"{'x ' * 8}#### 15" if random.Random(cue.seed).random() < 0.5 else "#### 14"

    share = {}
    for order in ("seed", "arrival"):
        made = AdaptiveConsistency(n=16, ahead=15, order=order)  # type: ignore[arg-type]
        won = [(await solved(made, ScriptedGenerator(write), seed=s)).answer == "15" for s in range(200)]
        share[order] = sum(won) / 200
    assert abs(share["seed"] - 0.5) < 4 * (0.25 / 200) ** 0.5
    assert share["arrival"] < 0.25


async def test_it_rarely_differs_from_the_whole_vote_and_is_much_cheaper() -> None:
    law = {"15": 0.7, "14": 0.2, "16": 0.1}
    drawn, right = [], 0
    for seed in range(200):
        result = await solved(AdaptiveConsistency(n=40, ahead=0), drawing(law), seed=seed)
        drawn.append(int(result.notes[0].split()[0]))
        right += result.answer == "15"
    assert sum(drawn) / 200 < 12
    assert right / 200 > 0.9


@pytest.mark.parametrize("wrong", [{"n": 0}, {"confidence": 0.5}, {"confidence": 1.0}, {"ahead": -1}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="adaptive-consistency"):
        AdaptiveConsistency(**wrong)  # type: ignore[arg-type]
