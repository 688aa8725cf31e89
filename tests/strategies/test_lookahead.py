"""What lookahead refuses, and the laws. Its ranking is tested where values are known (tests/worlds)."""

from __future__ import annotations

import pytest
from drawing import said, solved

from thence import conformance
from thence.core.errors import UsageError
from thence.strategies.lookahead import Lookahead
from thence.verifiers.basic import Agreement, LogProb


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"width": 0}, "width is 0"),
        ({"n": 6, "width": 4}, "no multiple"),
        ({"k": -1}, "k is -1"),
        ({"depth": 0}, "depth is 0"),
        ({"step_tokens": 0}, "step_tokens is 0"),
    ],
)
def test_what_makes_no_lookahead_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Lookahead(LogProb(), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, 2])
def test_it_keeps_all_laws(k: int) -> None:
    conformance.check(lambda: Lookahead(LogProb(), 4, 2, k=k))
    conformance.check(lambda: Lookahead(Agreement(), 4, 2, k=k, select="max"))


async def test_paths_that_all_end_at_once_are_chosen_from() -> None:
    result = await solved(Lookahead(LogProb(), 4, 2, k=3), said("#### 1", "#### 1", "#### 2", "#### 1"))
    assert result.answer == "1"
    assert len(result.tree) == 3
