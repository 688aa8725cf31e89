"""What of a beam goes on, and what it refuses. Its laws are tested where values are known (tests/worlds)."""

from __future__ import annotations

import pytest

from thence.core.errors import UsageError
from thence.strategies.beam import Beam
from thence.strategies.dvts import DiverseTreeSearch
from thence.verifiers.basic import LogProb

VALUES = [0.9, 0.8, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [(None, 4), ("3", 3), ("25%", 2), ("100%", 8), ("1%", 1), (">=0.5", 4), (">=0.95", 1), (">=0", 8)],
)
def test_how_many_go_on(keep: str | None, kept: int) -> None:
    assert Beam(LogProb(), n=16, width=4, keep=keep).kept(VALUES) == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"width": 0}, "width is 0"),
        ({"n": 6, "width": 4}, "no multiple"),
        ({"keep": "some"}, "write a number, a share like 25%"),
        ({"keep": "0"}, "keep is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"step_tokens": 0}, "step_tokens is 0"),
    ],
)
def test_what_makes_no_beam_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Beam(LogProb(), **arguments)  # type: ignore[arg-type]


def test_trees_need_equal_shares() -> None:
    with pytest.raises(UsageError, match="no multiple"):
        DiverseTreeSearch(LogProb(), n=10, width=4)
