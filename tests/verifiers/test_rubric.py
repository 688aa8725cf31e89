"""Rubrics: reading numbers, weights, what could not be read, files, AutoRace on chains of known truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thence.core.completion import Sampling
from thence.core.errors import DataError, ModelError, UsageError
from thence.core.problem import Problem
from thence.core.search import POLICY, Search
from thence.evals.open_ended.chains import Chain, judge_chains, soundness
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import default_reading
from thence.methods import verifier
from thence.prompts.styles import Bare
from thence.verifiers.asking import answered
from thence.verifiers.rubric import (
    Criterion,
    Mistake,
    Rubric,
    RubricVerifier,
    criteria_in,
    criteria_of,
)

RUBRIC = Rubric((Criterion("clarity", "Is it clear?", weight=3), Criterion("fun", "Is it fun?", low=0, high=10)))


@pytest.mark.parametrize(
    ("reply", "score", "known"),
    [
        ("clarity: 5\nfun: 0", 0.75, 1.0),
        ("Clarity = 1\n**fun**: 10", 0.25, 1.0),
        ("- clarity: 3 because of this\n- fun: 5/10", 0.5, 1.0),
        ("clarity: 3", 0.5, 0.75),
        ("clarity: 9\nfun: 5", 0.5, 0.25),  # 9 is out of range: not read, and nothing stands in for it
        ("clarity: 1\nthen again\nclarity: 5\nfun: 10", 1.0, 1.0),
        ("very clear and fun", 0.5, 0.0),
        ("", 0.5, 0.0),
        ("clarity: 2.5.1\nfun: nan", 0.5, 0.0),
    ],
)
def test_numbers_are_read_where_they_are_plain(reply: str, score: float, known: float) -> None:
    assert RUBRIC.score(reply) == (pytest.approx(score), pytest.approx(known))


def test_names_of_which_one_begins_like_another_are_not_mixed_up() -> None:
    two = Rubric((Criterion("C1", "first", low=0, high=1), Criterion("C10", "tenth", low=0, high=1)))
    assert two.shares("C10: 1\nC1: 0") == {"C1": 0.0, "C10": 1.0}
    assert two.sound("C1: 1\nC10: 1") is True
    assert two.sound("C1: 1\nC10: 0") is False
    assert two.sound("C10: 1") is None


async def test_as_a_verifier_it_scores_counts_and_charges_its_judge() -> None:
    def judge(cue: Cue) -> str:
        return "clarity: 5\nfun: 10" if "good" in cue.question.split("Answer:")[1] else "clarity: 1"

    writer = ScriptedGenerator(lambda cue: "good" if cue.draw == 0 else "bad")
    search = Search(
        Problem("p", "Tell a story."),
        {POLICY: writer, "judge": ScriptedGenerator(judge)},
        Bare(),
        default_reading(),
        Sampling(max_tokens=50),
    )
    nodes = await search.expand(n=2)
    made = RubricVerifier(RUBRIC)
    scores = await search.score(nodes, made)
    assert [s.value for s in scores] == [1.0, 0.0]
    assert [n.scores[answered(made.name)].value for n in nodes] == [1.0, 0.75]
    assert (search.ledger.total_charged.verifier or 0) > 0


def test_a_file_and_what_may_be_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"criteria": [{"name": "a", "text": "b", "weight": 2, "low": 0, "high": 1}]}))
    assert Rubric.read(path).criteria == (Criterion("a", "b", 2, 0, 1),)
    assert verifier(f"rubric(file={path})").name == "rubric"
    for text, says in (
        ("[]", "list"),
        ('{"criteria": [{"name": "a"}]}', "needs name and text"),
        ('{"criteria": [{"name": "a", "text": "b", "wait": 1}]}', "wait"),
        ('{"criteria": [{"name": "a", "text": "b", "weight": "2"}]}', "weight"),
        ("{", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=says):
            Rubric.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        Rubric.read(tmp_path / "none.json")
    for wrong in ({"weight": 0.0}, {"low": 5.0}, {"high": float("nan")}):
        with pytest.raises(UsageError):
            Criterion("a", "b", **wrong)
    with pytest.raises(UsageError, match="different names"):
        Rubric((Criterion("a", "b"), Criterion("A", "c")))
    with pytest.raises(UsageError, match="is called"):
        Criterion("a\nb", "c")


LIST = """The mistakes are these.
1. Does every equation hold?
2) Is each number taken from the question?
- Does it end with the answer?"""


async def test_criteria_are_made_from_mistakes_and_find_lucky_chains() -> None:
    assert [c.text for c in criteria_in(LIST).criteria] == [
        "Does every equation hold?",
        "Is each number taken from the question?",
        "Does it end with the answer?",
    ]
    with pytest.raises(ModelError, match="no list"):
        criteria_in("I would not know.")

    def model(cue: Cue) -> str:
        if "Find the mistakes" in cue.question:
            assert "2 + 2 = 5" in cue.question
            return LIST
        chain = cue.question.split("Answer:\n")[1]
        holds = all(eval_sum(line) for line in chain.split("\n") if "=" in line)
        return f"C1: {int(holds)}\nC2: 1\nC3: {'1' if '####' in chain else 'unsure'}"

    generator = ScriptedGenerator(model)
    search = Search(Problem("p", "criteria"), {POLICY: generator}, Bare(), default_reading(), Sampling(max_tokens=200))
    rubric = await criteria_of(search, [Mistake("2 and 2?", "4", "2 + 2 = 5\n#### 5")])
    chains = [
        Chain("1 and 1?", "1 + 1 = 2\n#### 2", right=True, sound=True),
        Chain("1 and 2?", "1 + 2 = 4\n#### 3", right=True, sound=False),  # lucky
        Chain("1 and 3?", "1 + 3 = 5\n#### 5", right=False, sound=False),
        Chain("1 and 4?", "1 + 4 = 5", right=True, sound=True),  # C3 is not read
    ]
    verdicts = await judge_chains(rubric, generator, chains)
    assert verdicts == [True, False, False, None]
    found = soundness(verdicts, chains)
    assert (found.accuracy.value, found.passed.value, found.accused.value) == (1.0, 0.0, 0.0)
    assert (found.lucky.value, found.unread.value) == (1.0, 0.25)
    blind = soundness([True] * 4, chains)
    assert (blind.passed.value, blind.lucky.value) == (1.0, 0.0)


def eval_sum(line: str) -> bool:
    """Whether ``a + b = c`` holds."""
    left, right = line.split("=")
    a, b = left.split("+")
    return int(a) + int(b) == int(right)
