"""DiVeRSe: which prompts are asked, the vote, and the law of what other prompts gain at equal samples."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from drawing import PROBLEM, Cue, solved

from thence.conformance import check
from thence.core.completion import Ability
from thence.core.errors import UsageError
from thence.core.problem import Message, Problem
from thence.core.scores import Score
from thence.core.search import Result, Search
from thence.core.seeds import derive
from thence.core.tree import Kind, Node
from thence.generators.scripted import ScriptedGenerator
from thence.prompts.styles import Bare, FewShotCoT, FromFile, choices
from thence.strategies.best_of_n import BestOfN
from thence.strategies.diverse import Diverse
from thence.verifiers.basic import Agreement, LogProb
from thence.worlds.laws import binomial

STYLE = FewShotCoT()
PROMPTS = STYLE.variants(PROBLEM, 5)
RIGHT = "15"


@dataclass(frozen=True, slots=True)
class Weigh:
    """1 for the right answer, ``wrong`` for the others."""

    wrong: float = 1.0
    name = "weigh"
    needs: frozenset[Ability] = frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        found = [await search.answer(node) for node in nodes]
        return [Score(1.0 if f is not None and f.value == RIGHT else self.wrong) for f in found]


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_variants_are_the_styles_own_prompt_then_other_sets_then_other_orders() -> None:
    assert PROMPTS[0] == STYLE.context(PROBLEM).messages
    every = STYLE.variants(PROBLEM, 100)
    assert len(every) == len(set(every)) == math.perm(4, 2)
    assert every[:5] == PROMPTS == STYLE.variants(PROBLEM, 5)  # a longer list begins with a shorter one
    exemplars = [frozenset(m.content for m in messages[:-1]) for messages in every]
    assert len(set(exemplars[:6])) == math.comb(4, 2)
    assert all(messages[-1] == Message("user", PROBLEM.text) for messages in every)
    with pytest.raises(UsageError, match="shots is 9"):
        FewShotCoT(9).variants(PROBLEM, 2)


def test_choices_of_nothing_and_of_everything() -> None:
    assert choices((), 0, 5) == [()]
    assert choices("ab", 2, 5) == [("a", "b"), ("b", "a")]
    assert choices("abc", 1, 2)[0] == ("a",)
    assert len(choices(range(30), 8, 40)) == 40


def test_a_prompt_file_varies_the_order_of_its_exemplars() -> None:
    style = FromFile("x.json", "{question}", "Be brief.", (("1 + 1?", "2"), ("2 + 2?", "4")))
    own, other = style.variants(PROBLEM, 5)
    assert own == style.context(PROBLEM).messages
    assert [m.content for m in other] == ["Be brief.", "2 + 2?", "4", "1 + 1?", "2", PROBLEM.text]
    assert FromFile("x.txt", "{question}!").variants(PROBLEM, 3) == [(Message("user", f"{PROBLEM.text}!"),)]


def prompts_asked(generator: ScriptedGenerator) -> list[int]:
    return [PROMPTS.index(r.context.messages) for r in generator.requests]


async def test_samples_are_spread_evenly_over_the_prompts() -> None:
    generator = ScriptedGenerator(lambda cue: "#### 15", pace=0)
    result = await solved(Diverse(Weigh(), n=7, prompts=3), generator, style=STYLE)
    assert prompts_asked(generator) == [0, 0, 0, 1, 1, 2, 2]
    assert len({r.seed for r in generator.requests}) == 7
    assert [v.count for v in result.votes] == [7]  # equal texts are one node and as many votes
    assert result.notes == ()


async def test_fewer_samples_than_prompts_take_one_each() -> None:
    generator = ScriptedGenerator(lambda cue: "#### 15", pace=0)
    result = await solved(Diverse(Weigh(), n=2, prompts=5), generator, style=STYLE)
    assert prompts_asked(generator) == [0, 1]
    assert result.notes == ()


async def test_one_prompt_is_the_weighted_vote() -> None:
    texts = [f"#### {14 + i % 3}" for i in range(8)]
    a = await solved(Diverse(LogProb(), n=8, prompts=1), ScriptedGenerator(lambda c: texts[c.draw or 0]), style=STYLE)
    b = await solved(
        BestOfN(LogProb(), n=8, select="vote"), ScriptedGenerator(lambda c: texts[c.draw or 0]), style=STYLE
    )
    assert a.record() == b.record()


async def test_a_style_with_one_prompt_says_so() -> None:
    generator = ScriptedGenerator(lambda cue: f"#### {15 + cue.seed % 2}", pace=0)
    result = await solved(Diverse(Weigh(), n=10, prompts=5), generator, style=Bare())
    assert len(generator.requests) == 10
    assert result.notes == ("1 of 5 prompts: bare has no more for this problem",)
    few = FewShotCoT(shots=4)
    assert (await solved(Diverse(Weigh(), n=30, prompts=25), generator, style=few)).notes[0].startswith("24 of 25")


async def test_no_sample_with_an_answer_gives_none() -> None:
    generator = ScriptedGenerator(lambda cue: "no idea", pace=0)
    result = await solved(Diverse(Weigh(), n=4, prompts=2), generator, style=STYLE)
    assert (result.answer, result.confidence) == (None, 0.0)


# --- the law ----------------------------------------------------------------------------------------------------------

BIASED = (0.2, 0.3, 0.4, 0.6, 0.7)


def closed(rates: Sequence[float], each: int, weight: float, *, shared: bool) -> float:
    """P(the weighted vote of ``each`` samples under every prompt is right): prompt j is right with chance rates[j],
    else it gives its own wrong answer (``shared``: all of them the same), which weighs ``weight``. By all counts."""
    laws = [binomial(each, p) for p in rates]
    accuracy = 0.0
    for counts in itertools.product(range(each + 1), repeat=len(rates)):
        wrong = [weight * (each - k) for k in counts]
        best = sum(wrong) if shared else max(wrong)
        tied = 1 if shared else sum(w == best for w in wrong)
        right = float(sum(counts))
        share = 1.0 if right > best else 1.0 / (1 + tied) if right == best else 0.0
        accuracy += share * math.prod(law[k] for law, k in zip(laws, counts, strict=True))
    return accuracy


def single(rates: Sequence[float], n: int, weight: float) -> float:
    """The same with all samples under one prompt, which may be any of them."""
    return sum(closed((p,), n, weight, shared=False) for p in rates) / len(rates)


def world(rates: Sequence[float], shift: int, *, shared: bool) -> ScriptedGenerator:
    """Prompt j is right with chance rates[j + shift]."""

    def write(cue: Cue) -> str:
        j = PROMPTS.index(cue.messages)
        right = derive("luck", cue.seed) / 2**63 < rates[(j + shift) % len(rates)]
        return "#### 15" if right else f"#### {30 if shared else 30 + j}"

    return ScriptedGenerator(write, pace=0)


RUNS = 250


async def measured(strategy: Diverse, rates: Sequence[float], *, shared: bool = False) -> float:
    """Right answers in RUNS runs, each with the next prompt as the style's own."""
    worlds = [world(rates, shift, shared=shared) for shift in range(len(rates))]
    answers = [
        (await solved(strategy, worlds[seed % len(rates)], seed=seed, style=STYLE)).answer for seed in range(RUNS)
    ]
    return sum(a == RIGHT for a in answers) / RUNS


def near(got: float, expected: float) -> None:
    assert abs(got - expected) <= 4 * (expected * (1 - expected) / RUNS) ** 0.5 + 1e-9, (got, expected)


async def test_prompts_with_biases_of_their_own_gain_by_being_mixed() -> None:
    """acc(5 x 4) - acc(1 x 20): as predicted in closed form, at equal samples."""
    mixed, alone = closed(BIASED, 4, 1.0, shared=False), single(BIASED, 20, 1.0)
    assert mixed - alone > 0.4
    near(await measured(Diverse(Weigh(), n=20, prompts=5), BIASED), mixed)
    near(await measured(Diverse(Weigh(), n=20, prompts=1), BIASED), alone)


async def test_prompts_with_one_common_bias_do_not() -> None:
    mixed, alone = closed(BIASED, 4, 1.0, shared=True), single(BIASED, 20, 1.0)
    assert mixed < alone
    near(await measured(Diverse(Weigh(), n=20, prompts=5), BIASED, shared=True), mixed)


async def test_the_verifier_weighs_the_votes() -> None:
    """With the common bias a verifier that halves wrong votes is what helps."""
    expected = closed(BIASED, 2, 0.5, shared=True)
    assert expected > closed(BIASED, 2, 1.0, shared=True) + 0.3
    near(await measured(Diverse(Weigh(0.5), n=10, prompts=5), BIASED, shared=True), expected)


# --- laws under several prompts ---------------------------------------------------------------------------------------


def record(result: Result) -> str:
    kept = result.record()
    del kept["spent"]
    return json.dumps(kept, sort_keys=True)


@pytest.mark.parametrize("budget", [None, 60, 150, 400])
async def test_timing_and_seeds_decide_as_for_any_method(budget: int | None) -> None:
    def write(cue: Cue) -> str:
        return f"{'so ' * (cue.seed % 4)}#### {13 + cue.seed % 3}"

    strategy = Diverse(Agreement(), n=9, prompts=4)
    results = [
        await solved(strategy, ScriptedGenerator(write, wait=wait), style=STYLE, budget=budget)
        for wait in (None, lambda cue: cue.seed % 29, lambda cue: 40 - 4 * (cue.draw or 0))
    ]
    assert len({record(r) for r in results}) == 1
    total = results[0].ledger.total_charged.total
    assert total is not None
    assert budget is None or total <= budget
    drawn = sum(n.multiplicity for n in results[0].tree if n.kind is Kind.FINISH)
    assert results[0].stopped == "budget" or drawn == 9


@pytest.mark.parametrize("budget", range(1, 500, 23))
async def test_a_budget_is_never_exceeded(budget: int) -> None:
    generator = ScriptedGenerator(lambda cue: f"#### {cue.seed % 3}", pace=0)
    result = await solved(Diverse(Agreement(), n=6, prompts=3), generator, style=STYLE, budget=budget)
    assert (result.ledger.total_charged.total or 0) <= budget
    assert result.answer is not None or result.stopped == "budget"


def test_what_samples_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="n is 0"):
        Diverse(Weigh(), n=0)
    with pytest.raises(UsageError, match="prompts is 0"):
        Diverse(Weigh(), prompts=0)


async def test_negative_weights_are_refused() -> None:
    generator = ScriptedGenerator(lambda cue: "#### 14", pace=0)
    with pytest.raises(UsageError, match="diverse: weigh gives negative scores"):
        await solved(Diverse(Weigh(-1.0), n=2), generator, style=STYLE)


@pytest.mark.parametrize("strategy", [Diverse(LogProb(), n=6, prompts=3), Diverse(Agreement(), n=4, select="max")])
def test_it_keeps_all_laws(strategy: Diverse) -> None:
    check(lambda: strategy)


def test_problems_of_another_family_have_their_own_exemplars() -> None:
    problem = Problem("g", "How many plums does Omar have?", "graph")
    assert len(STYLE.variants(problem, 5)) == 2  # two exemplars: two orders of one set
