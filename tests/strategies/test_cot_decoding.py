"""Branches on the first token: Delta in closed form, equal texts once, no answer no path."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from drawing import QUESTION, Cue, gapped, solved

from thence.core.completion import Completion, Failure
from thence.core.errors import CallFailed, UsageError
from thence.generators.scripted import Line, ScriptedGenerator
from thence.prompts.styles import ZeroShotCoT
from thence.strategies.cot_decoding import CoTDecoding, delta


def branching(*lines: Line | str) -> ScriptedGenerator:
    """The branch of rank r is lines[r]; there are no more first tokens than lines."""

    def write(cue: Cue) -> Line | str | Failure:
        assert cue.rank is not None
        if cue.rank >= len(lines):
            return Failure("first-token", f"there are {len(lines)} first tokens")
        return lines[cue.rank]

    return ScriptedGenerator(write, pace=0)


def top2_of(logits: list[float]) -> tuple[float, float]:
    norm = math.log(sum(math.exp(x) for x in logits))
    best, second = sorted(logits, reverse=True)[:2]
    return best - norm, second - norm


@pytest.mark.parametrize("shift", [0.0, 30.0, -30.0])
async def test_delta_is_the_mean_gap_over_the_answers_tokens_alone(shift: float) -> None:
    """Logits by hand; the answer 15 is the token 2 of "so #### 15", whose end is token 3."""
    logits = [[1.0, 0.0, 0.0], [3.0, 1.0, -1.0], [2.0, 1.0, 0.5], [5.0, 0.0, 0.0]]
    pairs = tuple(top2_of([x + shift for x in row]) for row in logits)
    line = Line("so #### 15", tuple(a for a, _ in pairs), pairs)
    result = await solved(CoTDecoding(k=1), branching(line))
    weights = [math.exp(x) for x in logits[2]]
    assert result.confidence == pytest.approx((weights[0] - weights[1]) / sum(weights))


async def test_an_answer_of_several_tokens_has_the_mean_of_their_gaps() -> None:
    result = await solved(CoTDecoding(k=1), branching(gapped("it is 1 1/2", [0.9, 0.9, 0.2, 0.6, 0.9])))
    assert result.answer == "1 1/2"
    assert result.confidence == pytest.approx(0.4)


async def test_delta_lies_between_zero_and_one() -> None:
    for gap in (0.0, 1.0):
        result = await solved(CoTDecoding(k=1), branching(gapped("#### 15", [0.5, gap, 0.5])))
        assert result.confidence == pytest.approx(gap)


async def test_max_takes_the_surest_path_and_aggregate_the_surest_answer() -> None:
    lines = [
        gapped("#### 14", [0.5, 0.8, 0.5]),
        gapped("hm #### 15", [0.5, 0.5, 0.5, 0.5]),
        gapped("so #### 15.0", [0.5, 0.5, 0.6, 0.5]),
    ]
    result = await solved(CoTDecoding(k=3, select="max"), branching(*lines))
    assert (result.answer, result.confidence) == ("14", pytest.approx(0.8))
    result = await solved(CoTDecoding(k=3, select="aggregate"), branching(*lines))
    assert (result.answer, result.confidence) == ("15", pytest.approx(1.1 / 1.9))
    assert [(v.answer, v.weight) for v in result.votes] == [("15", pytest.approx(1.1)), ("14", pytest.approx(0.8))]


async def test_equal_texts_are_one_path_even_from_other_tokens() -> None:
    """Two first tokens can spell the same text; counted twice, 15 would win the sum."""
    lines = [gapped("#### 14", [0.5, 0.8, 0.5]), *[gapped("hm #### 15", [0.5, 0.5, 0.5, 0.5])] * 2]
    generator = branching(*lines)
    split = generator._clip  # the second spelling of rank 2 gets other ids

    def other_ids(line: Line, *rest: object) -> Completion:
        made: Completion = split(line, *rest)  # type: ignore[arg-type]
        spellings.append(made.text)
        return replace(made, ids=tuple(i + len(spellings) for i in made.ids or ()))

    spellings: list[str] = []
    generator._clip = other_ids  # type: ignore[assignment, method-assign]
    result = await solved(CoTDecoding(k=3, select="aggregate"), generator)
    assert len(result.tree) == 4
    assert result.answer == "14"
    assert [v.count for v in result.votes] == [1, 1]
    assert [note.split(":")[0] for note in result.notes] == ["branch 0", "branch 1"]


async def test_a_path_without_an_answer_is_dropped_and_keeps_its_rank_in_the_notes() -> None:
    lines = ["no idea", gapped("#### 15", [0.5, 0.1, 0.5])]
    result = await solved(CoTDecoding(k=2), branching(*lines))
    assert (result.answer, result.confidence) == ("15", pytest.approx(0.1))
    assert result.notes == (
        "branch 0: first token 'no', delta -, answer no answer",
        "branch 1: first token '####', delta 0.100, answer 15",
    )
    nothing = await solved(CoTDecoding(k=2, select="aggregate"), branching("no idea", "none"))
    assert (nothing.answer, nothing.confidence) == (None, None)


async def test_a_vocabulary_smaller_than_k_has_fewer_paths() -> None:
    result = await solved(CoTDecoding(k=10), branching(gapped("#### 14", [0.5, 0.2, 0.5]), "#### 15"))
    assert len(result.notes) == 2
    assert result.answer == "15"
    with pytest.raises(CallFailed, match="first-token"):
        await solved(CoTDecoding(k=3), branching())
    gone = ScriptedGenerator(lambda cue: Failure("gone", "the server") if cue.rank == 2 else "#### 15", pace=0)
    with pytest.raises(CallFailed, match="gone"):
        await solved(CoTDecoding(k=3), gone)


async def test_k_of_one_is_greedy_and_branches_continue_greedily() -> None:
    texts = [("A 14\n#### 14", 0.5), ("B 15\n#### 15", 0.2), ("B 16\n#### 16", 0.3)]
    for seed in range(5):
        generator = ScriptedGenerator(texts={QUESTION: texts}, pace=0)
        assert (await solved(CoTDecoding(k=1), generator, seed=seed)).answer == "14"
        result = await solved(CoTDecoding(k=2), generator, seed=seed)
        assert [n.text for n in result.tree.nodes[1:]] == ["A 14\n#### 14", "B 16\n#### 16"]


async def test_reasoning_paths_are_found_where_greedy_guesses() -> None:
    """Nine in ten texts guess at once and are unsure of what; the chain of thought is sure of its answer."""
    texts = [("It's 14", 0.5), ("It's 13", 0.4), ("7 and 8 make 15", 0.1)]
    generator = ScriptedGenerator(texts={QUESTION: texts}, pace=0)
    assert (await solved(CoTDecoding(k=1), generator)).answer == "14"
    result = await solved(CoTDecoding(k=2), generator)
    assert (result.answer, result.confidence) == ("15", pytest.approx(1.0))


async def test_the_answers_tokens_may_stand_in_a_second_turn() -> None:
    answers = {QUESTION: [("15", 0.5), ("14", 0.3)]}
    generator = ScriptedGenerator(answers=answers, template="{answer} or so", pace=0)
    result = await solved(CoTDecoding(k=2), generator, style=ZeroShotCoT(trigger=""))
    assert result.confidence == pytest.approx(1.0)


async def test_an_answer_without_tokens_has_no_delta() -> None:
    result = await solved(CoTDecoding(k=1), branching("#### 15"))
    assert delta(result.tree, None) is None
    found = result.tree.nodes[1].found
    assert found is not None
    assert delta(result.tree, replace(found, tokens=None)) is None
    assert delta(result.tree, replace(found, tokens=(1, 1))) is None


def test_k_is_positive() -> None:
    with pytest.raises(UsageError, match="k is 0"):
        CoTDecoding(k=0)
