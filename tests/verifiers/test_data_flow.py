"""The data-flow check: every number has a source, true solutions pass, the step with a wrong number is found."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import re
from fractions import Fraction
from pathlib import Path

import pytest

from thence.core.completion import Completion, Finish, Sampling
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.scores import Meaning, Score
from thence.core.search import Result, Search
from thence.core.segmenter import Segmenter
from thence.core.solve import solve
from thence.core.tree import Kind
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare
from thence.strategies.best_of_n import BestOfN
from thence.tasks.wordproblems import WordProblem, WordProblems, render_solution
from thence.verifiers.data_flow import (
    WEIGHTS,
    DataFlow,
    Finding,
    Flow,
    Source,
    explain,
    facts,
    first_error,
    score,
)

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")

DUCKS = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. She sells the remainder daily for $2 per egg. How much in dollars does she make every day?"
)
RIGHT = "She uses 3 + 4 = 7 eggs.\nShe sells 16 - 7 = <<16-7=9>>9 eggs.\nShe makes 9 * $2 = $<<9*2=18>>18.\n#### 18"
FORGOT = "She has 16 - 3 = <<16-3=13>>13 eggs left.\nShe makes 13 * 2 = $<<13*2=26>>26.\n#### 26"
SLIPPED = "She uses 3 + 4 = 7 eggs.\nShe sells 16 - 7 = 10 eggs.\nShe makes 10 * $2 = $20.\n#### 20"


def found(question: str, solution: str) -> set[Finding]:
    return set(explain(question, solution).counts())


# --- the question ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "values"),
    [
        ("It has 16 eggs and three hens.", [16, 3]),
        ("twenty-five of two hundred and five", [25, 205]),
        ("He buys two three times", []),  # no one number
        ("half of it, twice, a dozen", [Fraction(1, 2), 2, 12]),
        ("It costs $1,200.50", [Fraction("1200.5")]),
        ("5 million people", [5_000_000]),
        ("3/4 of the class", [Fraction(3, 4)]),
        ("no numbers", []),
    ],
)
def test_facts_of_a_question(question: str, values: list[Fraction]) -> None:
    assert [f.value for f in facts(question)] == values


def test_a_percentage_may_appear_in_six_ways_and_a_noun_is_a_unit() -> None:
    (percent,) = facts("It is reduced by 20%.")
    assert percent.same == {20, Fraction(1, 5), 80, Fraction(4, 5), 120, Fraction(6, 5)}
    assert [f.unit for f in facts("He has 5 apples, $3 and 2 more pears; 4 each.")] == ["apple", "$", "pear", ""]


# --- where numbers come from -----------------------------------------------------------------------------------------


def test_every_number_of_a_right_solution_has_its_source() -> None:
    flow = explain(DUCKS, RIGHT)
    uses = [[(u.value, u.source, u.of) for u in step.uses] for step in flow.steps]
    assert uses == [
        [(3, Source.QUESTION, 1), (4, Source.QUESTION, 2)],
        [(16, Source.QUESTION, 0), (7, Source.EARLIER, 0)],
        [(9, Source.EARLIER, 1), (2, Source.QUESTION, 3)],
    ]
    assert [RIGHT[u.start : u.end] for u in flow.steps[1].uses] == ["16", "7"]
    assert (flow.answer, flow.unused, flow.findings, flow.first_error) == (18, (), (), None)
    assert "".join(RIGHT[s.start : s.end] for s in flow.steps) + "#### 18" == RIGHT


@pytest.mark.parametrize(
    ("number", "question", "source"),
    [
        ("7", "How many a week?", Source.KNOWLEDGE),
        ("7", "How many?", Source.NOWHERE),
        ("12", "How many dozen?", Source.QUESTION),
        ("12", "How many a year?", Source.KNOWLEDGE),
        ("60", "How many minutes?", Source.KNOWLEDGE),
        ("60", "How many apples?", Source.NOWHERE),
        ("100", "What percent?", Source.KNOWLEDGE),
        ("52", "How many a year?", Source.KNOWLEDGE),
        ("24", "How many hours?", Source.KNOWLEDGE),
        ("2", "He divides it.", Source.KNOWLEDGE),
        ("2", "Twice as many.", Source.QUESTION),
        (".2", "20% of them.", Source.QUESTION),
        ("1.2", "20% more.", Source.QUESTION),
        ("80", "20% less.", Source.QUESTION),
        ("3", "Three quarters of 3/4", Source.QUESTION),
        ("37", "How many a week?", Source.NOWHERE),
    ],
)
def test_sources(number: str, question: str, source: Source) -> None:
    flow = explain(f"He has 5 apples. {question}", f"5 * {number} = 0")
    assert flow.steps[0].uses[1].source is source


def test_results_also_come_rounded_in_cents_and_as_what_is_left_of_the_whole() -> None:
    flow = explain("He has 10 and 4.", "10 / 4 = 2.5\n3 * 4 = 12\n2.5 / 10 = .25\n25 * 4 = 100\n.75 * 4 = 3")
    assert Source.NOWHERE not in {u.source for s in flow.steps for u in s.uses}


def test_a_number_from_nowhere_is_reported_once() -> None:
    flow = explain("He has 5 apples.", "5 * 37 = 185\n5 + 37 = 42")
    assert [s.findings.count(Finding.NOWHERE) for s in flow.steps] == [1, 0]
    assert flow.first_error == 0


@pytest.mark.parametrize(
    ("solution", "finding"),
    [
        ("5 * 3 = 16\n#### 16", Finding.FALSE),
        ("5 - 8 = <<5-8=-3>>3\n#### 3", Finding.REWRITTEN),
        ("5 + 37 = 42\n#### 42", Finding.NOWHERE),
        ("There are 37 pears.\n5 + 3 = 8\n#### 8", Finding.MENTION),
        ("3 - 5 = -2\n#### -2", Finding.NEGATIVE),
        ("5 / 3 = 5/3\n#### 5", Finding.BROKEN),
        ("5 + 3 = 8\n5 + 3 = 8\n#### 8", Finding.REPEATED),
        ("5 * 8 = 40\n5 + 3 = 8\n#### 8", Finding.DEAD_END),
        ("5 * 8 = 40\n#### 40", Finding.UNUSED_FACT),
        ("5 / 8 = .625\n#### .625", Finding.PART),
        ("I do not know", Finding.NO_ANSWER),
        ("5 + 3 = 8\n#### 11", Finding.UNDERIVED),
        ("5 + 3 = 8\n8 * 8 = 64\n#### 8", Finding.NOT_LAST),
        ("#### 5", Finding.GIVEN),
        ("#### 5", Finding.NO_EQUATION),
        ("5 + 3 = 8\n#### 8", Finding.UNITS),
    ],
)
def test_findings(solution: str, finding: Finding) -> None:
    assert finding in found("He has 5 apples, 3 pears and 8 plums. How many?", solution)


def test_unused_facts_and_words() -> None:
    flow = explain(DUCKS, FORGOT)
    assert [flow.facts[i].value for i in flow.unused] == [4]
    assert Finding.UNUSED_WORD in flow.findings
    assert Finding.UNUSED_FACT in found("He has 5 apples and 3 pears, twice a day.", "5 + 3 = 8\n#### 8")
    assert not explain("He has 5 apples and 1 pear.", "5 * 1 = 5\n#### 5").unused


def test_a_fact_that_only_reaches_a_dead_end_is_unused() -> None:
    flow = explain("He has 5 apples, 3 pears and 7 plums.", "5 * 7 = 35\n5 + 3 = 8\n#### 8")
    assert [flow.facts[i].value for i in flow.unused] == [7]


def test_percentages_in_sums_and_missing_conversions() -> None:
    assert Finding.PERCENT in found("A shirt of $50 is 20% off.", "50 - 20 = 30\n#### 30")
    assert Finding.PERCENT not in found("A shirt of $50 is 20% off.", "50 * 20/100 = 10\n50 - 10 = 40\n#### 40")
    weekly = "He eats 3 eggs a day. How many in 2 weeks?"
    assert Finding.CONVERSION in found(weekly, "3 * 2 = 6\n#### 6")
    assert Finding.CONVERSION not in found(weekly, "3 * 7 = 21\n21 * 2 = 42\n#### 42")


def test_a_beginning_lacks_nothing_yet() -> None:
    flow = explain(DUCKS, "She uses 3 + 4 = 7 eggs.\n", complete=False)
    assert (flow.findings, flow.unused, flow.steps[0].findings) == ((), (), ())
    assert explain(DUCKS, "", complete=False).steps == ()


# --- the first error -------------------------------------------------------------------------------------------------


def test_first_error_by_hand() -> None:
    assert first_error(DUCKS, RIGHT) is None
    assert first_error(DUCKS, SLIPPED) == 1
    assert first_error(DUCKS, RIGHT.replace("16 - 7 = <<16-7=9>>9", "17 - 7 = <<17-7=10>>10")) == 1
    assert first_error(DUCKS, RIGHT.replace("#### 18", "#### 19")) == 2
    assert first_error(DUCKS, FORGOT) is None  # a fact left out is a sign, not an error
    assert first_error(DUCKS, RIGHT.replace("\n", " "), Segmenter()) is None


PROBLEMS = WordProblems(level=4, size=300, distracted=0.3).items()


@pytest.mark.parametrize("style", ["cot", "draft"])
def test_true_solutions_of_word_problems_have_no_error(style: str) -> None:
    assert [p.id for p in PROBLEMS if first_error(p.question, render_solution(p, style)) is not None] == []
    assert all(explain(p.question, render_solution(p, style)).answer == Fraction(p.answer) for p in PROBLEMS)


def corrupted(problem: WordProblem, rng: random.Random, *, consistent: bool) -> tuple[str, int]:
    """The solution with one number of one equation changed, and the step; ``consistent``: its result fits again."""
    lines = render_solution(problem, "cot").split("\n")
    at = rng.randrange(len(problem.steps))
    step = problem.steps[at]
    if not consistent:
        number = rng.choice(list(re.finditer(r"\d+", step.equation)))
        changed = str(int(number.group()) + rng.choice([1, 2, 10]))
        equation = step.equation[: number.start()] + changed + step.equation[number.end() :]
    else:
        a, b = map(int, step.operands)
        a += rng.choice([1, 2, 10]) * (b if step.op == "/" else 1)
        result = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[step.op]
        equation = f"{a}{step.op}{b}={result}"
    lines[at] = lines[at].replace(step.equation, equation)
    return "\n".join(lines), at


def test_one_wrong_number_is_found_in_its_step() -> None:
    rng = random.Random(0)
    hits = [first_error(p.question, text) == at for p in PROBLEMS for text, at in [corrupted(p, rng, consistent=False)]]
    assert sum(hits) == 300


def test_a_wrong_number_whose_equation_is_true_is_mostly_found() -> None:
    rng = random.Random(0)
    hits = [first_error(p.question, text) == at for p in PROBLEMS for text, at in [corrupted(p, rng, consistent=True)]]
    assert 0.75 < sum(hits) / 300 < 1  # the rest is a number that the question or an earlier step has by chance


# --- the verifier ----------------------------------------------------------------------------------------------------


def test_the_value_is_the_product_of_the_steps() -> None:
    for text in (RIGHT, FORGOT, SLIPPED):
        given = score(explain(DUCKS, text))
        assert given.meaning is Meaning.STEP_CORRECT
        assert given.value == pytest.approx(math.prod(given.steps))
        assert 0 < given.value <= 1
    assert score(explain(DUCKS, RIGHT)).value == 1
    assert score(explain(DUCKS, SLIPPED)).steps == pytest.approx((1, math.exp(-WEIGHTS[Finding.FALSE]), 1))
    assert score(explain(DUCKS, "")) == Score(math.exp(-_whole(explain(DUCKS, ""))))


def _whole(flow: Flow) -> float:
    return sum(WEIGHTS.get(f, 0.0) for f in flow.findings)


def test_strength_is_an_exponent() -> None:
    flow = explain(DUCKS, FORGOT)
    assert score(flow, 2).value == pytest.approx(score(flow).value ** 2)
    assert score(flow, 0).value == 1
    assert DataFlow(2).name == "data-flow(strength=2)"
    assert DataFlow().name == "data-flow"
    for wrong in (-1, math.inf, math.nan):
        with pytest.raises(UsageError, match="strength"):
            DataFlow(wrong)


async def solved(texts: list[str], strategy: BestOfN, seed: int = 0) -> Result:
    return await solve(
        Problem("p", DUCKS),
        generator=ScriptedGenerator(lambda cue: texts[cue.draw or 0], pace=0),
        strategy=strategy,
        style=Bare(),
        reading=NumericReading(),
        sampling=Sampling(max_tokens=400),
        seed=seed,
    )


async def test_best_of_n_takes_the_solution_in_order_and_pays_no_token() -> None:
    plain = await solved([FORGOT, SLIPPED, RIGHT], BestOfN(DataFlow(), 3))
    assert plain.answer == "18"
    assert plain.node is not None
    assert plain.node.scores["data-flow"].value == 1
    assert plain.ledger.total_charged.verifier == 0
    assert plain.ledger.total_spent.verifier == 0


async def test_as_the_weight_of_a_vote_strength_decides() -> None:
    texts = [SLIPPED, SLIPPED, RIGHT]
    for strength, answer in ((0, "20"), (0.5, "20"), (2, "18")):
        result = await solved(texts, BestOfN(DataFlow(strength), 3, "vote"))
        assert result.answer == answer
    weights = {v.answer: v.weight for v in (await solved(texts, BestOfN(DataFlow(), 3, "vote"))).votes}
    assert weights == {"18": 1, "20": pytest.approx(2 * math.exp(-WEIGHTS[Finding.FALSE]))}


async def test_a_thought_is_not_read_and_a_clipped_text_is_a_whole_one() -> None:
    thought = await solved([f"<think>5 + 5 = 11, no</think>{RIGHT}"], BestOfN(DataFlow(), 1))
    assert thought.node is not None
    assert thought.node.scores["data-flow"].value == 1


async def test_a_path_of_steps_is_scored_by_the_searchs_steps() -> None:
    search = Search(
        Problem("p", DUCKS), {"policy": ScriptedGenerator(lambda cue: "", pace=0)}, Bare(), NumericReading(), Sampling()
    )
    node, scores = search.root, []
    for draw, line in enumerate(SLIPPED.splitlines(keepends=True)):
        last = line.startswith("####")
        kind, finish = (Kind.FINISH, Finish.EOS) if last else (Kind.STEP, Finish.STEP)
        node = search.tree.add(node, Completion(line, finish, "", line), (draw,), kind=kind)
        (given,) = await search.score([node], DataFlow())
        scores.append(given)
    cost = math.exp(-WEIGHTS[Finding.FALSE])
    assert [s.value for s in scores] == pytest.approx([1, cost, cost, cost])
    assert [len(s.steps) for s in scores] == [1, 2, 3, 3]


def test_hostile_text_is_cut_and_read() -> None:
    for unit in ("5 + 5 = 10\n", "1 ", "half ", "9", "1 = ", "(", "one hundred and ", "20% "):
        text = unit * (60_000 // len(unit))
        assert 0 <= score(explain(text, text)).value <= 1
        assert explain(text, text) == explain(text, text[:20_000])


# --- recorded data ---------------------------------------------------------------------------------------------------


@needs_data
def test_references_of_gsm8k_rarely_alarm() -> None:
    with gzip.open(DATA / "gsm8k" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    alarms = sum(first_error(r["question"], r["answer"]) is not None for r in rows)
    assert alarms / len(rows) < 0.06


@needs_data
def test_right_solutions_score_higher_than_wrong_ones() -> None:
    """One of the three sources of the goal, by the recorded labels; tools/data_flow_goal.py has all of it."""
    with gzip.open(DATA / "gsm8k" / "multi_model_solutions_8.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    right, wrong = [], []
    for row in rows[::3]:
        sample = next(s for s in row["solutions"] if s["source"] == "openai-gpt3-6b_finetuning")
        value = score(explain(row["question"], sample["text"])).value
        (right if sample["correct"] else wrong).append(value)
    wins = sum((r > w) + (r == w) / 2 for r in right for w in wrong)
    assert wins / len(right) / len(wrong) > 0.74
