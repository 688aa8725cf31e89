"""Best-of-N: by agreement it is the vote, of one it is a sample, by a perfect verifier it is coverage."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from drawing import answering, drawing, said, solved, weighed

from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.scores import Score
from thence.core.search import Search
from thence.core.tree import Node
from thence.strategies.best_of_n import BestOfN
from thence.strategies.self_consistency import SelfConsistency
from thence.verifiers.basic import Agreement, LogProb


@dataclass(frozen=True, slots=True)
class By:
    """A verifier that is a function of the answer."""

    values: dict[str, float]
    name: str = "by"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        return [Score(self.values.get(n.text.rpartition(" ")[2], 0.0)) for n in nodes]


async def test_by_agreement_it_is_the_vote_ties_and_silence_included() -> None:
    noise = random.Random(5)
    tied = 0
    for seed in range(300):
        draws = [noise.choice([None, "14", "15", "16"]) for _ in range(noise.choice([1, 2, 4, 6]))]
        vote = await solved(SelfConsistency(len(draws)), answering(*draws), seed=seed)
        best = await solved(BestOfN(Agreement(), len(draws)), answering(*draws), seed=seed)
        assert best.answer == vote.answer
        if vote.answer is not None:
            assert best.node is not None
            assert vote.node is not None
            assert best.node.index == vote.node.index
        counts = sorted((v.count for v in vote.votes), reverse=True)
        tied += len(counts) > 1 and counts[0] == counts[1]
    assert tied > 50  # the claim is about ties too


async def test_of_one_it_is_one_sample() -> None:
    for seed in range(20):
        one = await solved(BestOfN(LogProb(), 1), drawing({"15": 0.5, "14": 0.5}), seed=seed)
        vote = await solved(SelfConsistency(1), drawing({"15": 0.5, "14": 0.5}), seed=seed)
        assert (one.answer, one.trace) == (vote.answer, vote.trace)


async def test_a_perfect_verifier_reaches_coverage_and_one_that_knows_nothing_one_sample() -> None:
    law, n, runs = {"15": 0.2, "14": 0.5, "16": 0.3}, 4, 600
    for verifier, value in ((By({"15": 1.0}), 1 - 0.8**4), (By({"14": 1.0, "15": 0.5}), 0.5**4 - 0.3**4)):
        right = [(await solved(BestOfN(verifier, n), drawing(law), seed=s)).answer == "15" for s in range(runs)]
        assert abs(sum(right) / runs - value) < 4 * (value * (1 - value) / runs) ** 0.5


async def test_an_adversary_makes_accuracy_fall_with_n() -> None:
    """Right with .3, adversarial (scored above all) with .1: accuracy .9^n - .6^n, which peaks and falls."""
    law, verifier = {"15": 0.3, "666": 0.1, "14": 0.6}, By({"666": 1.0, "15": 0.5})
    runs = 500
    for n in (1, 4, 16):
        value = 0.9**n - 0.6**n
        right = [(await solved(BestOfN(verifier, n), drawing(law), seed=s)).answer == "15" for s in range(runs)]
        assert abs(sum(right) / runs - value) < 4 * (value * (1 - value) / runs) ** 0.5


async def test_a_verifiers_vote_sums_over_equal_answers_and_every_draw_counts() -> None:
    verifier = By({"14": 0.4, "15": 0.9, "15.0": 0.3})
    draws = answering(14, 14, 14, 15, "15.0", None)
    assert (await solved(BestOfN(verifier, 6), draws)).answer == "15"
    ties = [await solved(BestOfN(verifier, 6, "vote"), draws, seed=s) for s in range(20)]
    assert {r.answer for r in ties} == {"14", "15"}  # 3 * .4 and .9 + .3, though the floats differ
    result = await solved(BestOfN(By({"14": 0.5, "15": 0.9, "15.0": 0.3}), 6, "vote"), draws)
    assert (result.answer, result.confidence) == ("14", pytest.approx(1.5 / 2.7))


async def test_after_the_vote_the_best_sample_of_the_class_is_the_solution() -> None:
    result = await solved(BestOfN(By({"15": 0.2, "15.0": 0.9}), 3, "vote"), answering(15, "15.0", 14))
    assert result.node is not None
    assert (result.node.text, result.answer) == ("#### 15.0", "15.0")
    assert [v.count for v in result.votes] == [2, 1]


async def test_negative_scores_cannot_weigh_votes() -> None:
    with pytest.raises(UsageError, match="negative"):
        await solved(BestOfN(By({"15": -1.0}), 2, "vote"), answering(15, 14))
    assert (await solved(BestOfN(By({"15": -1.0, "14": -2.0}), 2), answering(15, 14))).answer == "15"


async def test_by_log_probability_it_takes_the_likeliest_text_per_token() -> None:
    draws = [weighed(14, -0.5, -0.5), weighed(15, -0.1, -0.2), weighed(14, -0.5, -0.5)]
    assert (await solved(BestOfN(LogProb(), 3), said(*draws))).answer == "15"
    assert BestOfN(LogProb()).needs == {Ability.LOGPROBS}


def test_n_is_positive() -> None:
    with pytest.raises(UsageError, match="n is 0"):
        BestOfN(Agreement(), n=0)
