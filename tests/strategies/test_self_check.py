"""Self-check: whom it asks, its closed form for any rates of confirming, its controls, its edges."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from drawing import Cue, answering, solved

from thence.conformance import check
from thence.core.completion import Sampling
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.search import Result
from thence.core.seeds import derive
from thence.core.solve import solve
from thence.core.tree import Kind
from thence.evals.statistics.metrics import maj_at_k_population
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare, ZeroShotCoT
from thence.strategies.self_check import SelfCheck
from thence.strategies.self_consistency import SelfConsistency
from thence.worlds.laws import self_checked

ASKED = re.compile(r"Is the answer (\S+) correct \(Yes/No\)\?")
RIGHT = "15"


def samples(answers: Sequence[object], confirm: dict[str, str]) -> ScriptedGenerator:
    """Draw i answers answers[i]; a question about an answer is replied to by ``confirm``, else No."""

    def write(cue: Cue) -> str:
        if (asked := ASKED.fullmatch(cue.question)) is not None:
            return confirm.get(asked[1], "No")
        answer = answers[cue.draw or 0]
        return "no idea" if answer is None else f"#### {answer}"

    return ScriptedGenerator(write, pace=0)


def questions(result: Result) -> int:
    return sum(n.kind is Kind.CRITIQUE for n in result.tree)


async def test_a_sure_vote_is_not_asked_about() -> None:
    result = await solved(SelfCheck(5, c=0.6), samples([15, 15, 15, 14, 13], {}))
    assert (result.answer, result.confidence, questions(result), result.notes) == ("15", 0.6, 0, ())


async def test_the_first_confirmed_answer_is_given() -> None:
    generator = samples([15, 15, 14, 14, 14, 13], {"15": "Yes", "13": "Yes"})
    result = await solved(SelfCheck(6, c=0.6), generator)
    assert (result.answer, result.confidence) == ("15", 2 / 6)
    assert result.notes == ("2 of 3 answers asked about, one confirmed",)
    asked = [n for n in result.tree if n.kind is Kind.CRITIQUE]
    assert [result.tree.nodes[n.about[0]].found.value for n in asked] == ["14", "15"]  # type: ignore[union-attr]
    assert [(v.answer, v.count) for v in result.votes] == [("14", 3), ("15", 2), ("13", 1)]
    chat = generator.requests[-1].context.messages
    assert [m.content for m in chat] == ["What is 7 + 8?", "#### 15", "Is the answer 15 correct (Yes/No)?"]
    assert asked[0].role == "critic"


async def test_where_none_is_confirmed_the_vote_stands() -> None:
    result = await solved(SelfCheck(6), samples([15, 15, 14, 14, 14, 13], {"15": "Hm", "14": ""}))
    assert (result.answer, result.confidence) == ("14", 0.5)
    assert result.notes == ("3 of 3 answers asked about, none confirmed; 2 replies were neither yes nor no",)


async def test_equal_votes_are_asked_about_in_the_order_of_the_seed() -> None:
    """The first question is about the answer that the vote alone would give."""
    first = set()
    for seed in range(12):
        answers = [13, 14, 15]
        result = await solved(SelfCheck(3), samples(answers, {}), seed=seed)
        plain = await solved(SelfConsistency(3), answering(*answers), seed=seed)
        about = next(n.about[0] for n in result.tree if n.kind is Kind.CRITIQUE)
        found = result.tree.nodes[about].found
        assert found is not None
        assert found.value == plain.answer == result.answer
        first.add(found.value)
    assert first == {"13", "14", "15"}


@pytest.mark.parametrize(("answers", "n", "answer"), [([None, None], 2, None), ([14], 1, "14"), ([None], 1, None)])
async def test_no_answer_and_one_sample_need_no_check(answers: list[object], n: int, answer: str | None) -> None:
    result = await solved(SelfCheck(n, c=1.0), samples(answers, {"14": "No"}))
    assert (result.answer, questions(result)) == (answer, 0)


async def test_samples_without_an_answer_lower_the_certainty() -> None:
    result = await solved(SelfCheck(4, c=0.6), samples([14, 14, None, None], {"14": "yes"}))
    assert (result.answer, result.confidence, questions(result)) == ("14", 0.5, 1)


async def test_an_answer_that_a_second_turn_read_is_named() -> None:
    """Zero-shot CoT: the solution itself does not say what its answer is, the question does."""

    def write(cue: Cue) -> str:
        if ASKED.fullmatch(cue.question):
            return "Yes" if "15" in cue.question else "No"
        return f" {14 + len(cue.reply) % 2}" if cue.reply.endswith("is") else " so" * (1 + (cue.draw or 0))

    generator = ScriptedGenerator(write, pace=0)
    result = await solved(SelfCheck(2, c=1.0), generator, style=ZeroShotCoT())
    assert result.answer == "15"
    chats = [r.context.messages for r in generator.requests if len(r.context.messages) == 3]
    assert all(m[1].content.startswith(" Let's think step by step. so") for m in chats)


@pytest.mark.parametrize("budget", [*range(1, 60, 3), 80, 120])
async def test_a_budget_is_never_exceeded_and_an_answer_is_kept(budget: int) -> None:
    result = await solved(SelfCheck(4), samples([15, 14, 13, 12], {"12": "Yes"}), budget=budget)
    assert (result.ledger.total_charged.total or 0) <= budget
    assert result.answer is not None or result.stopped == "budget"
    if result.stopped is None:
        assert result.answer == "12"


# --- the closed form --------------------------------------------------------------------------------------------------


def test_the_closed_form_by_hand() -> None:
    assert self_checked((1.0,), 3, 1.0, 0.0, 0.0) == (pytest.approx(1.0), 0.0)
    # one right and one wrong (chance 1/2), a coin says who is asked about first
    accuracy, asked = self_checked((0.5, 0.5), 2, 1.0, 0.8, 0.1)
    first_right = 0.8 + 0.2 * 0.9
    first_wrong = 0.9 * 0.8
    assert accuracy == pytest.approx(0.25 + 0.25 * first_right + 0.25 * first_wrong)
    assert asked == pytest.approx(0.25 * (1 + 0.2) + 0.25 * (1 + 0.9))
    for law in ((0.4, 0.35, 0.25), (0.2, 0.6, 0.2)):  # c = 0 never asks: the vote
        assert self_checked(law, 5, 0.0, 1.0, 0.0)[0] == pytest.approx(
            maj_at_k_population(law, (True, False, False), 5)
        )


def world(law: Sequence[float], right: float, wrong: float) -> ScriptedGenerator:
    """Answers 15 (right), 14, 13, … by ``law``; the model confirms right and wrong ones with the given rates."""

    def write(cue: Cue) -> str:
        luck = derive("luck", cue.seed) / 2**63
        if (asked := ASKED.fullmatch(cue.question)) is not None:
            return "Yes" if luck < (right if asked[1] == RIGHT else wrong) else "No"
        for i, p in enumerate(law):
            luck -= p
            if luck < 0:
                return f"#### {15 - i}"
        return "#### 15"

    return ScriptedGenerator(write, pace=0)


RUNS = 500


async def measured(strategy: SelfCheck, law: Sequence[float], right: float, wrong: float) -> tuple[float, float]:
    """The share of right answers, and the questions per problem."""
    generator, good, asked = world(law, right, wrong), 0, 0
    for seed in range(RUNS):
        result = await solve(
            Problem("p", "What is 7 + 8?"),
            generator=generator,
            strategy=strategy,
            style=Bare(),
            reading=NumericReading(),
            sampling=Sampling(temperature=1.0, max_tokens=200),
            seed=seed,
        )
        good += result.answer == RIGHT
        asked += questions(result)
    return good / RUNS, asked / RUNS


LAW, TRAP = (0.4, 0.35, 0.25), (0.2, 0.6, 0.2)


@pytest.mark.parametrize(
    ("law", "right", "wrong"),
    [(LAW, 0.9, 0.2), (LAW, 0.5, 0.5), (LAW, 1.0, 0.0), (TRAP, 0.8, 0.3)],
    ids=["informed", "random critic", "oracle critic", "trap"],
)
async def test_accuracy_and_questions_are_the_closed_form(law: tuple[float, ...], right: float, wrong: float) -> None:
    accuracy, asked = self_checked(law, 5, 0.7, right, wrong)
    got, calls = await measured(SelfCheck(5, c=0.7), law, right, wrong)
    assert abs(got - accuracy) <= 4 * (accuracy * (1 - accuracy) / RUNS) ** 0.5
    assert abs(calls - asked) <= 4 * (3.0 / RUNS) ** 0.5  # at most three questions: a variance below 3


def test_against_its_controls() -> None:
    """At equal calls a critic that knows nothing loses to the vote, an informed one wins; the oracle is the ceiling."""

    def vote(calls: float) -> float:
        """Self-consistency of so many samples, between whole numbers by a line."""
        low, part = int(calls), calls - int(calls)
        at = [maj_at_k_population(LAW, (True, False, False), k) for k in (low, low + 1)]
        return at[0] + part * (at[1] - at[0])

    random, asked = self_checked(LAW, 5, 0.7, 0.5, 0.5)
    assert random < vote(5) < vote(5 + asked)
    informed, asked = self_checked(LAW, 5, 0.7, 0.9, 0.2)
    assert informed > vote(5 + asked) + 0.1
    oracle, _ = self_checked(LAW, 5, 1.0, 1.0, 0.0)
    assert oracle == pytest.approx(1 - (1 - LAW[0]) ** 5)  # the right answer was sampled
    assert informed < oracle
    assert self_checked(LAW, 5, 0.7, 0.0, 0.0)[0] == pytest.approx(vote(5))  # who confirms nothing changes nothing


@pytest.mark.parametrize(
    ("arguments", "said"), [({"n": 0}, "n is 0"), ({"c": 1.2}, "c is 1.2"), ({"verdict_tokens": 0}, "verdict_tokens")]
)
def test_what_makes_no_check_is_refused(arguments: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SelfCheck(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", [SelfCheck(5), SelfCheck(4, c=1.0, verdict_tokens=3)])
def test_it_keeps_all_laws(strategy: SelfCheck) -> None:
    check(lambda: strategy)
