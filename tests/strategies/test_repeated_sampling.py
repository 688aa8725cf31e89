"""Repeated sampling keeps all, and the first one answers."""

from __future__ import annotations

import pytest
from drawing import answering, drawing, solved

from thence.core.errors import UsageError
from thence.strategies.repeated_sampling import RepeatedSampling


async def test_the_first_sample_answers_and_all_are_read() -> None:
    result = await solved(RepeatedSampling(n=4), answering(14, 15, None, 15))
    assert result.answer == "14"
    assert [(n.found.value if n.found else None, n.multiplicity) for n in result.tree.nodes[1:]] == [
        ("14", 1),
        ("15", 2),
        (None, 1),
    ]


async def test_its_accuracy_is_that_of_one_sample() -> None:
    law = {"15": 0.4, "14": 0.6}
    answers = [(await solved(RepeatedSampling(n=3), drawing(law), seed=s)).answer for s in range(1000)]
    assert abs(answers.count("15") / 1000 - 0.4) < 4 * (0.24 / 1000) ** 0.5


def test_n_is_positive() -> None:
    with pytest.raises(UsageError, match="n is 0"):
        RepeatedSampling(n=0)
