"""Weights by hand, what is refused, and the laws. Unbiasedness is tested where values are known (tests/worlds)."""

from __future__ import annotations

import pytest
from drawing import said, solved

from thence import conformance
from thence.core.errors import UsageError
from thence.strategies.particle_filtering import ParticleFiltering
from thence.verifiers.basic import Agreement, LogProb


def test_weights() -> None:
    odds, score, ratio = (ParticleFiltering(LogProb(), weight=w) for w in ("odds", "score", "ratio"))
    assert odds.weigh(0.75, None) == pytest.approx(3.0)
    assert odds.weigh(0.75, 0.1) == pytest.approx(3.0)
    assert odds.weigh(0.0, 0.1) == 0.0
    assert odds.weigh(1.0, 0.1) == pytest.approx(1e6, rel=1e-5)
    assert score.weigh(0.75, 0.5) == 0.75
    assert ratio.weigh(0.75, 0.5) == 1.5
    assert ratio.weigh(0.75, None) == 1.0
    assert ratio.weigh(0.75, 0.0) == 0.75
    assert ratio.weigh(2.0, 0.5) == 4.0  # any scale will do


@pytest.mark.parametrize("score", [-0.1, 1.5])
def test_scores_without_a_weight_are_refused(score: float) -> None:
    with pytest.raises(UsageError, match=f"a score of {score} has no odds"):
        ParticleFiltering(LogProb()).weigh(score, 1.0)


@pytest.mark.parametrize("count", ["n", "depth", "step_tokens"])
def test_counts_below_one_are_refused(count: str) -> None:
    with pytest.raises(UsageError, match=f"{count} is 0"):
        ParticleFiltering(LogProb(), **{count: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", ["odds", "score", "ratio"])
def test_it_keeps_all_laws(weight: str) -> None:
    for verifier in (LogProb(), Agreement()):
        conformance.check(lambda v=verifier: ParticleFiltering(v, 4, weight=weight))  # type: ignore[misc, arg-type]
    conformance.check(
        lambda: ParticleFiltering(LogProb(), 4, weight=weight, resample="multinomial", select="vote")  # type: ignore[arg-type]
    )


async def test_particles_that_all_end_at_once_vote_by_weight() -> None:
    """Two of four agree, and equal texts are one node that weighs twice."""
    filtering = ParticleFiltering(Agreement(), 4, weight="score", select="vote")
    result = await solved(filtering, said("#### 7", "#### 8", "#### 7", "#### 9"))
    assert result.answer == "7"
    assert (result.votes[0].answer, result.votes[0].count, result.votes[0].weight) == ("7", 2, 1.0)
    assert result.confidence == pytest.approx(1.0 / 1.5)


def test_a_chance_of_one_and_a_rounding_is_a_chance_of_one() -> None:
    strategy = ParticleFiltering(Agreement(), n=4)
    assert strategy.weigh(1.0 + 2**-52, None) == strategy.weigh(1.0, None)
    with pytest.raises(UsageError, match="has no odds"):
        strategy.weigh(1.01, None)
