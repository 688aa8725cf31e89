"""What the stochastic beam refuses, and the laws. What a path is worth is tested in worlds (tests/worlds)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from drawing import said, solved, weighed

from thence import conformance
from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.scores import Score
from thence.core.search import Search
from thence.core.tree import Node
from thence.strategies.self_eval_beam import SelfEvalBeam
from thence.verifiers.basic import Agreement, LogProb


@dataclass(frozen=True, slots=True)
class Fixed:
    """One number for all."""

    value: float
    name: str = "fixed"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        return [Score(self.value) for _ in nodes]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 6, "width": 4}, "no multiple"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"decay": -0.5}, "decay is -0.5"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"depth": 0}, "depth is 0"),
    ],
)
def test_what_makes_no_beam_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SelfEvalBeam(LogProb(), **arguments)  # type: ignore[arg-type]


async def test_negative_scores_have_no_power() -> None:
    with pytest.raises(UsageError, match="fixed gives negative scores"):
        await solved(SelfEvalBeam(Fixed(-0.5), 2, 1), said("#### 1", "#### 2"))


async def test_with_one_evaluation_for_all_the_likelier_text_wins() -> None:
    """Three tokens: -0.6 and -0.3 give exp(-0.3) per token, -0.3 and -0.3 exp(-0.2); alpha 1/2 takes the root."""
    script = said(weighed(1, -0.6, -0.3), weighed(2, -0.3, -0.3))
    result = await solved(SelfEvalBeam(Fixed(0.25), 2, 1, temperature=0.0), script)
    assert result.answer == "2"
    assert [v.weight for v in result.votes] == pytest.approx([0.5 * 2.718281828**-0.1, 0.5 * 2.718281828**-0.15])


def test_log_probabilities_are_needed_unless_they_count_nothing() -> None:
    assert Ability.LOGPROBS in SelfEvalBeam(Agreement()).needs
    assert SelfEvalBeam(Agreement(), alpha=0.0).needs == frozenset({Ability.CONTINUE})


def test_it_keeps_all_laws() -> None:
    conformance.check(lambda: SelfEvalBeam(LogProb(), 4, 2))
    conformance.check(lambda: SelfEvalBeam(Agreement(), 4, 2, alpha=0.0, select="vote"))
    conformance.check(lambda: SelfEvalBeam(LogProb(), 4, 2, temperature=0.0))
