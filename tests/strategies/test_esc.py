"""Windows stop when they agree, and the number of samples is the closed form's."""

from __future__ import annotations

import pytest
from drawing import answering, drawing, solved

from thence.core.errors import UsageError
from thence.core.search import Result
from thence.strategies.esc import EarlyStoppingConsistency


def drawn(result: Result) -> int:
    return int(result.notes[0].split()[0])


def expected(law: dict[str, float], window: int, n: int) -> float:
    q = sum(p**window for p in law.values())
    return window * (1 - (1 - q) ** (n // window)) / q


@pytest.mark.parametrize(
    ("law", "value"),
    [({"1": 0.6, "2": 0.3, "3": 0.1}, 30.40), ({"1": 0.9, "2": 0.1}, 8.461), ({"1": 1.0}, 5.0)],
)
async def test_the_mean_number_of_samples_is_the_closed_form(law: dict[str, float], value: float) -> None:
    assert expected(law, 5, 40) == pytest.approx(value, abs=0.005)
    runs = 400
    numbers = [drawn(await solved(EarlyStoppingConsistency(), drawing(law), seed=s)) for s in range(runs)]
    mean = sum(numbers) / runs
    deviation = (sum((x - mean) ** 2 for x in numbers) / (runs - 1)) ** 0.5
    assert abs(mean - value) <= 3.5 * deviation / runs**0.5 + 1e-9


async def test_a_whole_window_has_to_agree_and_windows_do_not_overlap() -> None:
    result = await solved(EarlyStoppingConsistency(n=9, window=3), answering(14, 15, 15, 15, 15, 14, 16, 16, 16))
    assert (drawn(result), result.answer) == (9, "15")  # a majority of all that was drawn
    result = await solved(EarlyStoppingConsistency(n=9, window=3), answering(15, 14, 14, 15, 15, 15, 1, 1, 1))
    assert (drawn(result), result.answer) == (6, "15")


async def test_a_window_with_silence_does_not_agree() -> None:
    result = await solved(EarlyStoppingConsistency(n=6, window=3), answering(None, None, None, 15, 15, None))
    assert drawn(result) == 6
    assert result.confidence == 2 / 6


async def test_the_last_window_may_be_short() -> None:
    result = await solved(EarlyStoppingConsistency(n=5, window=3), answering(14, 15, 14, 16, 16))
    assert drawn(result) == 5


async def test_a_spent_budget_ends_it() -> None:
    result = await solved(EarlyStoppingConsistency(n=9, window=3), answering(*range(9)), budget=8 + 3 * 4)
    assert (drawn(result), result.stopped) == (4, "budget")


@pytest.mark.parametrize("wrong", [{"n": 0}, {"window": 0}, {"n": 4, "window": 5}])
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="esc"):
        EarlyStoppingConsistency(**wrong)
