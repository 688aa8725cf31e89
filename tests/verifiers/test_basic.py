"""Log-probability and agreement by hand; the judge reads a number and nothing that was cut."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from thence.core.budget import Ledger
from thence.core.completion import Failure, Sampling
from thence.core.errors import CallFailed
from thence.core.problem import Problem
from thence.core.search import Search
from thence.core.tree import Kind, Node
from thence.generators.scripted import Cue, Line, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare
from thence.verifiers.basic import Agreement, LogProb
from thence.verifiers.judge import Judge


async def drawn(*texts: str | Line, budget: int | None = None) -> tuple[Search, list[Node]]:
    generator = ScriptedGenerator(lambda cue: texts[cue.draw or 0], pace=0)
    search = Search(
        Problem("p", "What is 7 + 8?"),
        {"policy": generator},
        Bare(),
        NumericReading(),
        Sampling(max_tokens=20),
        ledger=Ledger(budget),
    )
    return search, await search.expand(n=len(texts))


def values(scores: Sequence[object]) -> list[float]:
    return [s.value for s in scores]  # type: ignore[attr-defined]


async def test_logprob_is_the_probability_per_token() -> None:
    line = Line("#### 15", (math.log(0.5), math.log(0.4), math.log(0.9)))
    search, nodes = await drawn(line)
    assert values(await search.score(nodes, LogProb())) == [pytest.approx((0.5 * 0.4 * 0.9) ** (1 / 3))]
    assert nodes[0].scores["logprob"].tokens == 0


async def test_agreement_is_the_share_of_all_draws() -> None:
    search, nodes = await drawn("#### 15", "so #### 15.0", "#### 14", "no idea", "#### 15", "no idea")
    scores = values(await search.score(nodes, Agreement()))
    assert scores == [3 / 6, 3 / 6, 1 / 6, 0.0, 3 / 6, 0.0]


async def test_agreement_is_made_anew_when_there_are_more_samples() -> None:
    texts = ["#### 15", "#### 14", "so #### 14"]
    search = Search(
        Problem("p", "What is 7 + 8?"),
        {"policy": ScriptedGenerator(lambda cue: texts[cue.draw or 0])},
        Bare(),
        NumericReading(),
        Sampling(),
    )
    nodes = await search.expand(n=2)
    assert values(await search.score(nodes, Agreement())) == [0.5, 0.5]
    nodes += await search.expand()
    assert values(await search.score(nodes, Agreement())) == pytest.approx([1 / 3, 2 / 3, 2 / 3])


def judging(*verdicts: str | Failure) -> ScriptedGenerator:
    seen: dict[str, str | Failure] = {}

    def write(cue: Cue) -> str | Failure:
        return seen.setdefault(cue.question, verdicts[len(seen) % len(verdicts)])

    return ScriptedGenerator(write, name="judge", pace=0)


async def test_a_judge_gives_tenths_and_costs_verifier_tokens() -> None:
    search, nodes = await drawn("#### 15", "#### 14", "#### 15")
    judge = Judge(judging("It holds.\nScore: 9", "Wrong.\nScore: 2/10"), "referee")
    assert values(await search.score(nodes, judge)) == [0.9, 0.2, 0.9]
    asides = [n for n in search.tree if n.kind is Kind.CRITIQUE]
    assert [n.about for n in asides] == [(nodes[0].index,), (nodes[1].index,)]
    charged = search.ledger.total_charged
    assert charged.generated == 9
    prompts = sum(n.completion.prompt_tokens or 0 for n in asides)
    assert charged.verifier is not None
    assert sum(n.completion.generated or 0 for n in asides) < charged.verifier < prompts  # the prompts share a prefix
    assert await search.classes(nodes) != []
    assert all(not n.read for n in asides)


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("Score: 10", 1.0),
        ("score:7", 0.7),
        ("Score: **3**", 0.3),
        ("Score: 4\nNo: Score: 6", 0.6),
        ("Score: 0", 0.0),
        ("Score: 100", 0.0),  # no number from 0 to 10
        ("Score: 42", 0.0),
        ("perfect, 10 out of 10", 0.0),
        ("<think>Score: 9</think>no verdict", 0.0),
        ("", 0.0),
    ],
)
async def test_what_a_judge_may_write(reply: str, value: float) -> None:
    search, nodes = await drawn("#### 15")
    assert values(await search.score(nodes, Judge(judging(reply), "referee"))) == [value]


async def test_a_cut_verdict_is_none() -> None:
    search, nodes = await drawn("#### 15")
    cut = Judge(judging("Good. Score: 1 0"), "referee", max_tokens=3)
    assert values(await search.score(nodes, cut)) == [0.0]


async def test_a_judge_stays_within_the_budget() -> None:
    for budget in range(1, 400, 7):
        search, nodes = await drawn("#### 15", "#### 14", budget=budget)
        scores = await search.score(nodes, Judge(judging("Score: 9"), "referee"))
        assert len(scores) == len(nodes)
        assert (search.ledger.total_charged.total or 0) <= budget
    assert values(scores) == [0.9, 0.9]


async def test_a_judge_that_cannot_be_reached_is_a_failed_call() -> None:
    search, nodes = await drawn("#### 15")
    with pytest.raises(CallFailed, match="timeout"):
        await search.score(nodes, Judge(judging(Failure("timeout", "Score: 10")), "referee"))
