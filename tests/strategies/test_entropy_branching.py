"""Entropies by hand, what is refused, and the laws. Where it branches is tested in worlds (tests/worlds)."""

from __future__ import annotations

import math

import pytest
from drawing import Cue, gapped, said, solved

from thence import conformance
from thence.core.errors import UsageError
from thence.core.tree import Kind
from thence.generators.scripted import ScriptedGenerator
from thence.strategies.entropy_branching import EntropyBranching, entropy


def test_entropy_counts_all_others_as_one() -> None:
    assert entropy(1.0, 0.0) == 0.0
    assert entropy(0.5, 0.5) == pytest.approx(math.log(2))
    assert entropy(1 / 3, 1 / 3) == pytest.approx(math.log(3))
    assert entropy(0.5, 0.25) == pytest.approx(1.5 * math.log(2))
    assert entropy(0.6, 0.4000000001) == pytest.approx(entropy(0.6, 0.4))  # rounding leaves no negative rest


@pytest.mark.parametrize("where", ["entropy", "margin"])
async def test_branches_start_before_the_step_with_the_closest_call(where: str) -> None:
    """The chain's second line has a token with a gap of .1, the others .9: all further paths begin after the first."""

    def write(cue: Cue) -> object:
        if cue.reply == "one\n":
            return gapped("two or three\n", [0.9, 0.1, 0.9, 0.9, 0.9])
        return gapped("one\n" if not cue.reply else "#### 4", [0.9] * 3)

    result = await solved(EntropyBranching(4, 1, where=where), ScriptedGenerator(write, pace=0))  # type: ignore[arg-type]
    draws = {n.text: n.multiplicity for n in result.tree if n.parent is not None}
    assert draws == {"one\n": 1, "two or three\n": 4, "#### 4": 4}
    assert result.confidence == 1.0


async def test_one_path_is_one_sample_and_short_chains_have_few_places() -> None:
    result = await solved(EntropyBranching(1, 3, where="uniform"), said("#### 1"))
    assert [n.kind for n in result.tree] == [Kind.ROOT, Kind.FINISH]
    result = await solved(EntropyBranching(4, 3, where="random"), said("#### 1", "#### 2", "#### 2", "no"))
    assert result.answer == "2"
    assert result.confidence == 0.5


async def test_a_chain_that_does_not_end_still_branches() -> None:
    generator = ScriptedGenerator(lambda cue: "and so on\n" if not cue.draw else "#### 3", pace=0)
    result = await solved(EntropyBranching(3, 2, where="uniform", depth=3), generator)
    assert result.answer == "3"
    assert max(len(result.tree.path(n)) for n in result.tree) == 3


@pytest.mark.parametrize("count", ["n", "points", "depth", "step_tokens"])
def test_counts_below_one_are_refused(count: str) -> None:
    with pytest.raises(UsageError, match=f"{count} is 0"):
        EntropyBranching(**{count: 0})


@pytest.mark.parametrize("where", ["entropy", "margin", "uniform", "random"])
def test_it_keeps_all_laws(where: str) -> None:
    conformance.check(lambda: EntropyBranching(5, 2, where=where))  # type: ignore[arg-type]
