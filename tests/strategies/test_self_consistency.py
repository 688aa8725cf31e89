"""The vote: its exact law, what its weights estimate, and where greedy decoding is wrong."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from drawing import QUESTION, answering, drawing, said, solved, weighed

from thence.core.errors import UsageError
from thence.generators.scripted import ScriptedGenerator
from thence.prompts.styles import ZeroShotCoT
from thence.strategies.greedy import Greedy
from thence.strategies.self_consistency import SelfConsistency


def counts(n: int, classes: int) -> Iterator[tuple[int, ...]]:
    """All ways to spread n draws over classes."""
    for bars in itertools.combinations(range(n + classes - 1), classes - 1):
        edges = (-1, *bars, n + classes - 1)
        yield tuple(b - a - 1 for a, b in itertools.pairwise(edges))


SEEDS = 400


async def share_won(spread: Sequence[int]) -> float:
    """How often answer 0 wins when answer i was given spread[i] times; ties need many seeds, a lead needs one."""
    top = max(spread)
    tied = [i for i, c in enumerate(spread) if c == top]
    draws = [i for i, c in enumerate(spread) for _ in range(c)][::-1]
    tries = SEEDS if len(tied) > 1 and 0 in tied else 1
    won = [(await solved(SelfConsistency(len(draws)), answering(*draws), seed=s)).answer == "0" for s in range(tries)]
    return sum(won) / tries


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        ((0.4, 0.3, 0.3), {1: 0.400, 2: 0.400, 3: 0.424, 5: 0.447, 9: 0.489}),
        ((0.35, 0.40, 0.25), {1: 0.350, 3: 0.352, 5: 0.355, 9: 0.356}),
    ],
)
async def test_the_chance_that_the_majority_is_right_is_the_multinomials(
    law: tuple[float, ...], expected: dict[int, float]
) -> None:
    """Every way the draws can fall is voted on by the strategy itself, and weighed by its exact probability."""
    for n, value in expected.items():
        total = variance = 0.0
        for spread in counts(n, len(law)):
            ways = math.factorial(n)
            for c in spread:
                ways //= math.factorial(c)
            chance = ways * math.prod(p**c for p, c in zip(law, spread, strict=True))
            share = await share_won(spread)
            total += chance * share
            variance += chance**2 * share * (1 - share) / SEEDS
        assert abs(total - value) < 4 * variance**0.5 + 0.0006


async def test_two_samples_are_not_the_first_sample() -> None:
    """A tie broken by order would make the vote of two the first of them."""
    answers = [(await solved(SelfConsistency(n=2), answering(14, 15), seed=s)).answer for s in range(400)]
    assert abs(answers.count("14") - 200) < 4 * 10


async def test_more_samples_help_where_the_right_answer_is_the_likeliest_and_hurt_where_it_is_not() -> None:
    async def accuracy(law: dict[str, float], n: int, runs: int = 500) -> float:
        results = [await solved(SelfConsistency(n=n), drawing(law), seed=s) for s in range(runs)]
        return sum(r.answer == "15" for r in results) / runs

    easy, trap = {"15": 0.6, "14": 0.4}, {"15": 0.2, "14": 0.6, "16": 0.2}
    assert await accuracy(easy, 17) > await accuracy(easy, 1) + 0.1  # .801 against .6
    assert await accuracy(trap, 17) < await accuracy(trap, 1) - 0.1


async def test_samples_without_an_answer_do_not_vote_but_count_in_the_confidence() -> None:
    result = await solved(SelfConsistency(n=6), answering(None, 14, None, 15, 15, None))
    assert (result.answer, result.confidence) == ("15", 2 / 6)


async def test_answers_vote_as_values_not_as_texts() -> None:
    result = await solved(SelfConsistency(n=5), answering("1/2", 3, "0.5", 3, ".50"))
    assert (result.answer, result.confidence) == ("1/2", 0.6)


async def test_weights_by_hand() -> None:
    """Two votes for 14 of probability .1 each, one for 15 of .3; per token the root, over the answer .1 against .6."""
    two = weighed(14, math.log(1.0), math.log(0.1))
    one = weighed(15, math.log(0.5), math.log(0.6))
    expected = {
        ("count", "sum"): ("14", 2 / 3),
        ("count", "avg"): (None, 0.5),  # a tie of averages
        ("prob", "sum"): ("15", 0.3 / 0.5),
        ("prob", "avg"): ("15", 0.3 / 0.4),
        ("prob-norm", "sum"): ("14", 2 * 0.1 ** (1 / 3) / (2 * 0.1 ** (1 / 3) + 0.3 ** (1 / 3))),
        ("prob-norm", "avg"): ("15", 0.3 ** (1 / 3) / (0.1 ** (1 / 3) + 0.3 ** (1 / 3))),
        ("confidence", "sum"): ("15", 0.6 / 0.8),
        ("confidence", "avg"): ("15", 0.6 / 0.7),
    }
    for (weight, aggregate), (answer, share) in expected.items():
        made = SelfConsistency(3, weight, aggregate)  # type: ignore[arg-type]
        result = await solved(made, said(two, one, two))
        assert answer is None or result.answer == answer, (weight, aggregate)
        assert result.confidence == pytest.approx(share), (weight, aggregate)


async def test_long_texts_are_weighed_as_finely_as_short_ones() -> None:
    """Probabilities of e^-900 and less: as floats they are all 0, and in absolute terms they are all tied."""
    votes = [weighed(14, -900.0), weighed(15, -899.0), weighed(16, -902.0)]
    for seed in range(20):
        result = await solved(SelfConsistency(3, "prob"), said(*votes), seed=seed)
        assert result.answer == "15"
        assert result.confidence == pytest.approx(1 / (1 + math.exp(-1) + math.exp(-3)))
    mild = [weighed(14, -60.0), weighed(15, -59.0)]  # e^-60 is far below any absolute tolerance
    assert {(await solved(SelfConsistency(2, "prob"), said(*mild), seed=s)).answer for s in range(20)} == {"15"}


async def test_weighing_by_probability_estimates_the_sum_of_squares() -> None:
    """14 is spread over 6 texts of .1 each; 15 is one text of .4: P(14) = .6, but the sum of p squared is .06 < .16."""
    texts = [(f"way {i} is #### 14", 0.1) for i in range(6)] + [("#### 15", 0.4)]
    for weight, wanted in (("count", "14"), ("prob", "15")):
        made = SelfConsistency(200, weight)  # type: ignore[arg-type]
        results = [
            await solved(made, ScriptedGenerator(texts={QUESTION: texts}, pace=0), seed=s, temperature=1.0)
            for s in range(5)
        ]
        assert {r.answer for r in results} == {wanted}
        shares = {v.answer: v.weight for v in results[0].votes}
        target = 0.6 if weight == "count" else 0.06 / 0.22
        assert shares["14"] / sum(shares.values()) == pytest.approx(target, abs=0.12)


async def test_an_average_lets_one_lucky_rare_answer_win() -> None:
    usual, lucky = weighed(15, -0.3, -0.3), weighed(99, -0.1, -0.1)
    draws = [*[usual] * 15, lucky]
    assert (await solved(SelfConsistency(16, "prob-norm", "avg"), said(*draws))).answer == "99"
    assert (await solved(SelfConsistency(16, "prob-norm", "sum"), said(*draws))).answer == "15"


async def test_a_second_turns_own_tokens_weigh_the_answer() -> None:
    """The answer stands in the probe; its probability there is the weight, not that of the whole first text."""
    answers = {QUESTION: [("15", 0.5), ("14", 0.5)]}
    generator = ScriptedGenerator(answers=answers, template="{answer} or so", pace=0)
    result = await solved(SelfConsistency(8, "confidence"), generator, style=ZeroShotCoT(trigger=""))
    weights = {v.answer: v.weight / v.count for v in result.votes}
    assert weights == {"14": 1.0, "15": 1.0}  # the first text has probability .5, its answer's token in the probe 1


async def test_an_answer_without_tokens_has_no_weight() -> None:
    result = await solved(SelfConsistency(2, "confidence"), said(weighed(14, -0.1, -0.1), "no idea"))
    assert result.answer == "14"


TABLE = {  # next token by what stands before; "." ends the answer
    "": {"a": 0.4, "b": 0.35, "c": 0.25},
    "a": {"1": 0.9, "2": 0.1},
    "b": {"x": 0.5, "y": 0.5},
    "bx": {"2": 0.9, "1": 0.1},
    "by": {"2": 0.9, "1": 0.1},
    "c": {"z": 0.5, "2": 0.5},
    "cz": {"2": 0.8, "1": 0.2},
}


def paths(before: str = "", chance: float = 1.0) -> Iterator[tuple[str, float]]:
    """All texts of the table model with their probabilities."""
    for token, p in TABLE.get(before, {}).items():
        yield from [(before + token, chance * p)] if token.isdigit() else paths(before + token, chance * p)


async def test_greedy_finds_the_likeliest_text_and_the_vote_the_likeliest_answer() -> None:
    """An autoregressive model small enough to be enumerated, whose greedy answer is not the mode of its answers."""
    enumerated = dict(paths())
    assert sum(enumerated.values()) == pytest.approx(1.0)
    marginal: Counter[str] = Counter()
    for text, p in enumerated.items():
        marginal[text[-1]] += p
    best = max(enumerated, key=lambda text: enumerated[text])
    assert (best, marginal.most_common(1)[0][0]) == ("a1", "2")  # MAP path against marginal mode
    spaced = [(f"{' '.join(text[:-1])} #### {text[-1]}", p) for text, p in enumerated.items()]

    def model() -> ScriptedGenerator:
        return ScriptedGenerator(texts={QUESTION: spaced}, pace=0)

    assert (await solved(Greedy(), model())).answer == "1"
    votes = [await solved(SelfConsistency(n=400), model(), seed=s) for s in range(8)]
    assert {r.answer for r in votes} == {"2"}
    mean = sum((r.confidence or 0) for r in votes) / 8
    assert mean == pytest.approx(marginal["2"], abs=4 * (0.25 / 3200) ** 0.5)
    # weighing by probability asks for the mode of p squared, which is the greedy answer here
    squares: Counter[str] = Counter()
    for text, p in enumerated.items():
        squares[text[-1]] += p * p
    assert squares.most_common(1)[0][0] == "1"
    assert {(await solved(SelfConsistency(400, "prob"), model(), seed=s)).answer for s in range(4)} == {"1"}


def test_n_is_positive() -> None:
    with pytest.raises(UsageError, match="n is -1; it must be at least 1"):
        SelfConsistency(n=-1)
