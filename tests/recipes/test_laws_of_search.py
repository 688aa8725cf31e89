"""The rows of searches in ``thence laws``: their textbook by hand; a wrong rule or a wrong number is flagged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from thence.core.problem import Problem
from thence.core.scores import Meaning, Score
from thence.recipes import laws_of_search as rows
from thence.recipes.law_rows import Bench, Law, Rows, mean
from thence.strategies.dvts import DiverseTreeSearch
from thence.strategies.mcts import Mcts
from thence.strategies.particle_filtering import ParticleFiltering
from thence.worlds import Branches, Oracle


async def made(group: Callable[[Bench], Rows], scale: float) -> dict[str, Law]:
    return {row.law: row async for row in group(Bench(scale))}


class Fixed(Oracle):
    """Numbers by hand."""

    def judge(self, problem: Problem, text: str) -> Score:
        return Score({"take 0.\n": 0.6, "take 1.\n": 0.5}.get(text, 0.1))


def test_the_textbook_by_hand() -> None:
    """Two actions worth .6 and .5, and .1 below: rate = c sqrt(N) / 2 / (1 + n), c(s) = 1.25 to four digits.

    1: no visits yet, no bonus: the better one. 2: .6 + .3125 against .5 + .625: the other. 3: Q .6 and .5, bonuses
    equal: the first again, where below it .1 comes back. 4: Q .35 + .361 against .5 + .541: the second."""
    world = Branches(depth=2, branching=2, skew=0.0, size=1)
    judge = Fixed(world, Meaning.VALUE)
    for simulations, visits in ((1, (1, 0)), (2, (1, 1)), (3, (2, 1)), (4, (2, 2))):
        got = rows.textbook(world, world.problem(0), judge, simulations=simulations, c=1.25)
        assert (got["take 0.\n"], got["take 1.\n"]) == visits
        assert got[""] == simulations


def test_the_one_way_and_its_chance() -> None:
    world = Branches(depth=2, branching=2, right_share=0.25, skew=0.5, size=30)
    lone = 0
    for problem in world.problems():
        number = world.number(problem)
        every = [(a, b) for a in world.step_pieces for b in world.step_pieces if world.is_right(number, (a, b))]
        way = rows.only_right(world, problem)
        assert way == (every[0] if len(every) == 1 else ())
        if way:
            p = [world.prior(number, way[:k])[way[k]] for k in range(2)]
            assert rows.found_by(world, problem, way, 2) == pytest.approx(math.prod(1 - (1 - q) ** 2 for q in p))
            lone += 1
    assert lone > 5


def test_a_mean_of_each_is_compared_one_by_one() -> None:
    """The spread of known means is no error: numbers near their own means make a small one."""
    row = mean("each", "", "", [0.1, 1.0, 1.9, 3.1] * 20, [0.0, 1.0, 2.0, 3.0] * 20)
    assert row.holds
    assert row.error < 0.02
    assert not mean("each", "", "", [0.1, 1.2, 2.1, 3.2] * 20, [0.0, 1.0, 2.0, 3.0] * 20).holds


# --- controls: each of these must fail -------------------------------------------------------------------------------


def changed(make: Callable[..., Any], **changes: Any) -> Callable[..., Any]:
    return lambda *a, **k: replace(make(*a, **k), **changes)


async def test_another_exploration_has_other_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    law = "visits by PUCT: the textbook's"
    monkeypatch.setattr(rows, "Mcts", changed(Mcts, c=3.0))
    broken = (await made(rows.trees, 0.1))[law]
    assert not broken.holds
    assert broken.measured < 0.9


async def test_weights_that_do_not_telescope_are_biased(monkeypatch: pytest.MonkeyPatch) -> None:
    """``score`` multiplies doubts once a round: the evidence is far too small."""
    monkeypatch.setattr(rows, "ParticleFiltering", changed(ParticleFiltering, weight="score"))
    got = await made(rows.particles, 0.4)
    assert not got["mean evidence: V, values exact"].holds
    assert not got["mean evidence: V, values blurred on the way"].holds
    assert got["copies of a particle: n w / sum w, systematic"].holds  # resampling is not what was broken


async def test_fewer_trees_cover_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the candidates where four trees are stated: the row of one tree holds, that of four does not."""

    def halved(verifier: Any, n: int, width: int) -> DiverseTreeSearch:
        return DiverseTreeSearch(verifier, max(2, n // 4), width)

    monkeypatch.setattr(rows, "DiverseTreeSearch", halved)
    got = await made(rows.beams, 0.5)
    assert got["DVTS, one tree: best of 2 a step"].holds
    assert not got["DVTS, 4 trees: 1-(1-G)^4"].holds


async def test_a_wrong_prediction_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same runs beside the closed form of another width."""
    right = Branches.held
    monkeypatch.setattr(Branches, "held", lambda self, problem, width: right(self, problem, width=9 * width))
    got = await made(rows.trees, 0.5)
    assert not got["exhausted tree of 2 draws, MCTS"].holds
    assert got["MCTS by V*, moves: prod 1-(1-pi)^3"].holds
