"""Votes and picks: weights at every scale, ties by seed, no answer no vote."""

from __future__ import annotations

import pytest

from thence.core.completion import Sampling
from thence.core.problem import Problem
from thence.core.search import Search
from thence.core.tree import Node
from thence.core.votes import elect, pick, tied_best
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare


async def drawn(*answers: object, seed: int = 0) -> tuple[Search, list[Node]]:
    texts = ["no idea" if a is None else f"so #### {a}" if i % 2 else f"#### {a}" for i, a in enumerate(answers)]
    generator = ScriptedGenerator(lambda cue: texts[cue.draw or 0], pace=0)
    search = Search(Problem("p", "Well?"), {"policy": generator}, Bare(), NumericReading(), Sampling(), seed=seed)
    nodes = await search.expand(n=len(answers))
    return search, nodes


async def test_the_largest_class_wins_and_silence_stays_in_the_denominator() -> None:
    search, nodes = await drawn(1, 2, 2, None, None, None, "2.0", 3)
    result = elect(search, await search.classes(nodes), len(nodes))
    assert result.answer == "2"
    assert result.node is nodes[1]  # its first sample
    assert result.confidence == 3 / 8
    assert [(v.answer, v.count, v.weight) for v in result.votes] == [("2", 3, 3.0), ("1", 1, 1.0), ("3", 1, 1.0)]


async def test_without_answers_nobody_wins() -> None:
    search, nodes = await drawn(None, None)
    result = elect(search, await search.classes(nodes), 2)
    assert (result.answer, result.confidence, result.node) == (None, 0.0, None)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e-300, 1e30])
async def test_weights_are_compared_at_their_own_scale(scale: float) -> None:
    for seed in range(20):
        search, nodes = await drawn(1, 1, 2, seed=seed)
        weights = {"1": 1.0 * scale, "2": 1.001 * scale}
        assert tied_best(search, weights) == "2"
        result = elect(search, await search.classes(nodes), 3, lambda c, w=weights: w[c.key])
        assert result.answer == "2"
        assert result.confidence == pytest.approx(1.001 / 2.001)


async def test_ties_are_shared_by_seed_and_rounding_makes_no_winner() -> None:
    for weights in ({"1": 0.1 + 0.2, "2": 0.3}, {"1": 0.0, "2": 0.0}, {"1": -2.0, "2": -2.0}):
        winners = [tied_best((await drawn(1, seed=seed))[0], weights) for seed in range(300)]
        assert abs(winners.count("1") - 150) < 4 * 8.7


async def test_a_three_way_tie_is_fair() -> None:
    winners = []
    for seed in range(600):
        search, nodes = await drawn(5, 6, 7, seed=seed)
        winners.append(elect(search, await search.classes(nodes), 3).answer)
    for answer in ("5", "6", "7"):
        assert abs(winners.count(answer) - 200) < 4 * 11.6


async def test_the_best_value_is_picked_and_no_answer_only_if_nobody_has_one() -> None:
    search, nodes = await drawn(1, None, 2, 2)
    result = await pick(search, nodes, [0.5, 0.9, 0.6, 0.7])
    assert (result.answer, result.node) == ("2", nodes[3])
    assert [(v.answer, v.count, v.weight) for v in result.votes] == [("2", 2, 0.7), ("1", 1, 0.5)]
    search, nodes = await drawn(None, None)
    result = await pick(search, nodes, [0.1, 0.2])
    assert (result.answer, result.node) == (None, nodes[0])
    assert (await pick(search, [], [])).node is None


async def test_of_equal_values_the_answer_that_more_samples_give_is_picked_and_then_the_seed_decides() -> None:
    """So a verifier that cannot tell samples apart leaves a majority vote."""
    winners = []
    for seed in range(300):
        search, nodes = await drawn(1, 1, 1, 2, 3, 3, seed=seed)
        assert (await pick(search, nodes, [0.5] * 6)).answer == "1"
        assert (await pick(search, nodes, [0.5, 0.5, 0.4, 0.4, 0.5, 0.5 - 1e-14])).answer in ("1", "3")
        winners.append((await pick(search, nodes, [0.4, 0.4, 0.9, 0.9, 0.9, 0.1])).answer)  # 1, 2 and 3 once each
    for answer in ("1", "2", "3"):
        assert abs(winners.count(answer) - 100) < 4 * 8.2
