"""What step scores mean decides how they become one number."""

from __future__ import annotations

import math

import pytest

from thence.core.errors import UsageError
from thence.core.scores import Aggregate, Meaning, aggregate

STEPS = (0.9, 0.5, 0.8)


@pytest.mark.parametrize(
    ("how", "value"),
    [("prod", 0.36), ("min", 0.5), ("last", 0.8), ("mean", 2.2 / 3), ("max", 0.9), ("sum-logit", math.log(9 * 4))],
)
def test_each_aggregation(how: str, value: float) -> None:
    assert aggregate(STEPS, Meaning.VALUE, Aggregate(how)) == pytest.approx(value)


def test_the_meaning_decides_when_nothing_is_named() -> None:
    assert aggregate(STEPS, Meaning.STEP_CORRECT) == pytest.approx(0.36)
    assert aggregate(STEPS, Meaning.PREFIX_VALID) == aggregate(STEPS, Meaning.VALUE) == 0.8
    with pytest.raises(UsageError, match="no exact aggregation"):
        aggregate(STEPS, Meaning.OUTCOME)


def test_what_cannot_be_aggregated_is_said() -> None:
    with pytest.raises(UsageError, match="outside"):
        aggregate((0.5, 1.2), Meaning.VALUE)
    with pytest.raises(UsageError, match="outside"):
        aggregate((0.5, math.nan), Meaning.VALUE)
    with pytest.raises(UsageError, match="no step scores"):
        aggregate((), Meaning.VALUE)
    assert aggregate((), Meaning.STEP_CORRECT) == 1.0
    assert math.isfinite(aggregate((0.0, 1.0), Meaning.VALUE, Aggregate.SUM_LOGIT))
