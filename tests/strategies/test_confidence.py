"""Confidence selection: each measure by hand, and what choosing the largest does."""

from __future__ import annotations

import math
import random

import pytest
from drawing import QUESTION, Cue, gapped, said, solved, weighed

from thence.core.errors import UsageError
from thence.generators.scripted import Line, ScriptedGenerator
from thence.prompts.styles import ZeroShotCoT
from thence.strategies.confidence import By, ConfidenceSelection

LOG = math.log
LONG = Line("a b #### 15", tuple(map(LOG, (0.9, 0.9, 0.9, 0.5, 0.9))), ((LOG(0.9), LOG(0.05)),) * 5)
SHORT = Line("#### 14", tuple(map(LOG, (0.7, 0.8, 0.7))), ((LOG(0.8), LOG(0.15)),) * 3)


@pytest.mark.parametrize(
    ("by", "answer", "value"),
    [
        ("mean", "15", (0.9**4 * 0.5) ** 0.2),
        ("answer", "14", 0.8),
        ("min", "14", 0.7),
        ("delta", "15", 0.85),
    ],
)
async def test_measures_by_hand(by: By, answer: str, value: float) -> None:
    result = await solved(ConfidenceSelection(2, by), said(LONG, SHORT))
    assert result.answer == answer
    assert result.confidence == pytest.approx(value)


async def test_the_mean_does_not_prefer_short_texts() -> None:
    """The sum would: five tokens of .9 have less probability than three of .85."""
    long = Line("a b #### 15", (LOG(0.9),) * 5)
    short = Line("#### 14", (LOG(0.85),) * 3)
    assert sum(long.logprobs or ()) < sum(short.logprobs or ())
    assert (await solved(ConfidenceSelection(2), said(short, long))).answer == "15"


@pytest.mark.parametrize("by", ["mean", "answer", "min", "delta"])
async def test_a_sample_without_an_answer_is_chosen_only_if_there_is_no_other(by: By) -> None:
    sure = gapped("no idea", [0.99, 0.99, 0.99])
    unsure = gapped("#### 15", [0.1, 0.1, 0.1])
    assert (await solved(ConfidenceSelection(2, by), said(sure, unsure))).answer == "15"
    result = await solved(ConfidenceSelection(2, by), said(sure, sure))
    assert result.answer is None
    assert 0 <= (result.confidence or 0) <= 1


async def test_ties_are_broken_by_seed() -> None:
    same = [weighed(14, -0.5, -0.5), weighed(15, -0.5, -0.5)]
    answers = [(await solved(ConfidenceSelection(2), said(*same), seed=s)).answer for s in range(200)]
    assert abs(answers.count("14") - 100) < 4 * 7.1


async def test_calibrated_confidence_selects_with_the_accuracy_it_states() -> None:
    """Each sample is right with the probability of its answer's token: accuracy is the mean of the largest of four."""

    def write(cue: Cue) -> Line:
        noise = random.Random(cue.seed)
        level = noise.uniform(0.01, 0.99)
        answer = 15 if noise.random() < level else 14
        return Line(f"{cue.seed} #### {answer}", (-0.1, -0.1, LOG(level), -0.1))

    runs, made = 500, ConfidenceSelection(4, "answer")
    results = [await solved(made, ScriptedGenerator(write, pace=0), seed=s) for s in range(runs)]
    accuracy = sum(r.answer == "15" for r in results) / runs
    stated = 0.01 + 0.98 * 4 / 5  # the mean of the largest of four uniform numbers
    assert sum(r.confidence or 0 for r in results) / runs == pytest.approx(stated, abs=0.03)
    assert abs(accuracy - stated) < 4 * (stated * (1 - stated) / runs) ** 0.5


async def test_a_second_turn_has_the_measure_too() -> None:
    generator = ScriptedGenerator(answers={QUESTION: [("15", 0.5), ("14", 0.3)]}, template="{answer} or so", pace=0)
    for by in ("answer", "delta"):
        result = await solved(ConfidenceSelection(3, by), generator, style=ZeroShotCoT(trigger=""))  # type: ignore[arg-type]
        assert result.confidence == pytest.approx(1.0)


def test_n_is_positive() -> None:
    with pytest.raises(UsageError, match="n is 0"):
        ConfidenceSelection(n=0)
