"""Laws that every task keeps: its text makes it again, references grade themselves, hostile replies are never right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_hub import written

from thence import methods
from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.core.protocols import Task
from thence.evals.evaluate import Arm, evaluate
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.prompts.styles import Bare
from thence.strategies.greedy import Greedy

SVAMP = {"Body": "Jo has 9 figs and eats 2", "Question": "How many are left?", "Answer": 7.0, "ID": "chal-1"}
HARD = {"input": "A robe takes 7 bolts of blue and half that of white. How many?", "target": 10.5}
MATH = {
    "problem": "What is $1/2 + 1/3$?",
    "solution": "It is $\\frac{5}{6}$: $\\boxed{\\frac{5}{6}}$",
    "level": "Level 2",
}
FINQA: dict[str, Any] = {
    "id": "ABC/2010/page_1.pdf-1",
    "pre_text": ["in millions ."],
    "table": [["", "2010", "2009"], ["sales", "$ 120.5", "$ 100.4"]],
    "post_text": ["end ."],
    "qa": {
        "question": "what was the growth in sales?",
        "program": "subtract(120.5, 100.4), divide(#0, 100.4)",
        "exe_ans": 0.2002,
        "answer": "20.0%",
    },
}
TATQA: dict[str, Any] = {
    "table": {"uid": "t", "table": [["", "2019", "2018"], ["Other", "44.1", "56.7"]]},
    "paragraphs": [{"order": 2, "text": "Second."}, {"order": 1, "text": "First."}],
    "questions": [
        {
            "uid": "q-1",
            "question": "What is the percentage change in Other?",
            "answer": -22.22,
            "derivation": "(44.1-56.7)/56.7",
            "answer_type": "arithmetic",
            "scale": "percent",
        },
        {"uid": "q-2", "question": "Which?", "answer": ["Other"], "answer_type": "span", "scale": ""},
    ],
}
CHOICE: dict[str, Any] = {"question": "Which is a fruit?", "choices": ["brick", "fig", "nail"], "answer": 1}
BENCH: dict[str, Any] = {"id": "gsm8k-0", "problem": "1 + 1?", "steps": ["1 + 1 = 3", "So 3."], "label": 0}
PRM: dict[str, Any] = {
    "is_quality_control_question": False,
    "is_initial_screening_question": False,
    "question": {"problem": "1 + 1?", "pre_generated_steps": ["I add.", "1 + 1 = 3.", "So 3."]},
    "label": {
        "steps": [
            {"completions": [{"text": "I add.", "rating": 0}]},
            {"completions": [{"text": "1 + 1 = 3.", "rating": -1}, {"text": "1 + 1 = 2.", "rating": 1}]},
        ],
        "finish_reason": "found_error",
    },
}
FILES: dict[str, dict[str, Any]] = {
    "svamp": SVAMP,
    "gsm-hard": HARD,
    "math": MATH,
    "math500": MATH | {"answer": "\\frac{5}{6}", "unique_id": "test/algebra/1.json", "subject": "Algebra"},
    "aime": {"problem": "Find m + n.", "answer": "025"},
    "game24": {"Puzzles": "4 6 10 2", "Rank": "1"},
    "countdown": {"nums": [3, 5, 7], "target": 22},
    "finqa": FINQA,
    "tat-qa": TATQA,
    "choice": CHOICE,
    "processbench": BENCH,
    "prm800k": PRM,
}
DRAWN = (
    "countdown(size=5)",
    "last-letters(size=5)",
    "apples(size=5)",
    "rule-table(size=5)",
    "reasoning-gym(name=gcd, size=5)",
)
HOSTILE = (
    "",
    "nan",
    "__import__('os').system('true')",
    "#### __import__('os').getpid()",
    "9**9**9**9",
    "(" * 10_000,
    "\\boxed{" * 500,
    "\\frac{1}{0}",
    "<answer>" + "9" * 50_000 + "</answer>",
    "####\u202e31337\x1b[2J",
    "½" * 300,
    "[" * 3000,
)


def made(name: str, folder: Path) -> str:
    return f"{name}(file={written(folder / f'{name}.jsonl', [FILES[name]])})"


@pytest.fixture(params=[*FILES, *DRAWN])
def task(request: pytest.FixtureRequest, tmp_path: Path) -> Task:
    if request.param.startswith("reasoning-gym"):
        pytest.importorskip("reasoning_gym")
    return methods.task(made(request.param, tmp_path) if request.param in FILES else request.param)


def test_its_text_makes_it_again(task: Task) -> None:
    again = methods.task(task.spec)
    assert again.spec == task.spec
    assert list(again.problems()) == list(task.problems())
    assert again.data_hash == task.data_hash  # type: ignore[attr-defined]


def test_problems_have_ids_of_their_own_and_references_grade_themselves(task: Task) -> None:
    problems = task.problems()
    assert problems
    assert len({p.id for p in problems}) == len(problems)
    assert task.has_references
    assert task.check_references() == []


def test_nothing_and_hostile_replies_are_never_right(task: Task) -> None:
    problem = task.problems()[0]
    assert task.grade(problem, "", None).verdict is Verdict.NO_ANSWER
    for reply in HOSTILE:
        found = task.reading.extract(reply)
        assert found is None or 0 <= found.start <= found.end <= len(reply)
        graded = task.grade(problem, reply, found.value if found else None)
        assert graded.verdict in (Verdict.INCORRECT, Verdict.NO_ANSWER)
        task.reading.key(found.value if found else reply[:1000])
        assert not task.grade(problem, reply, reply).correct


@pytest.mark.parametrize("name", FILES)
def test_other_references_are_other_data(name: str, tmp_path: Path) -> None:
    changed = {
        "svamp": {"Answer": 8},
        "gsm-hard": {"target": 11},
        "math": {"solution": "\\boxed{1}"},
        "math500": {"answer": "1"},
        "aime": {"answer": 26},
        "game24": {"Puzzles": "4 6 10 3"},
        "countdown": {"target": 26},
        "finqa": {"qa": FINQA["qa"] | {"answer": "20.1%", "exe_ans": 0.201}},
        "tat-qa": {"questions": [TATQA["questions"][0] | {"answer": -22.3}]},
        "choice": {"answer": 2},
        "processbench": {"label": -1},
        "prm800k": {"label": {"steps": [{"completions": [{"text": "I add.", "rating": -1}]}]}},
    }[name]
    one: Any = methods.task(made(name, tmp_path))
    other: Any = methods.task(f"{name}(file={written(tmp_path / 'other.jsonl', [FILES[name] | changed])})")
    assert one.data_hash != other.data_hash


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_other_columns_and_a_row_without_one_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises((UsageError, DataError)) as caught:
        methods.task(f"{name}(file={written(tmp_path / 'other.jsonl', [{'a': 1, 'b': 2}])})")
    assert str(caught.value).startswith(f"{name}: ")
    assert "\n" not in str(caught.value)
    for column in FILES[name]:
        rows = [FILES[name], {key: value for key, value in FILES[name].items() if key != column}]
        refused(lambda rows=rows: methods.task(f"{name}(file={written(tmp_path / 'rows.jsonl', rows)})"), "line 2")
        broken = [FILES[name], FILES[name] | {column: {"x": [None]}}]
        refused(lambda rows=broken: methods.task(f"{name}(file={written(tmp_path / 'rows.jsonl', rows)})"), "line 2")


def refused(make: Callable[[], object], where: str) -> None:
    """Either the column is not needed, or the error says in one line where the row is (ids may only be there twice)."""
    try:
        make()
    except DataError as error:
        said = str(error)
        assert "\n" not in said
        assert where in said or "there twice" in said or "have the id" in said


@pytest.mark.parametrize("text", [*(n for n in FILES if n not in ("processbench", "prm800k")), *DRAWN[:3]])
async def test_a_model_that_writes_the_references_is_always_right_and_one_that_does_not_never(
    text: str, tmp_path: Path
) -> None:
    task: Any = methods.task(made(text, tmp_path) if text in FILES else text)
    known = {p.text: task.solvable(p) if hasattr(task, "solvable") else task.reference(p) for p in task.problems()}

    def write(right: bool) -> Callable[[Cue], str]:
        return lambda cue: f"I think it over.\n#### {known[cue.question] if right else 'none of these 98765'}"

    arm = Arm("greedy", Greedy(), Bare())
    for right in (True, False):
        report = await evaluate(task, ScriptedGenerator(write(right)), arm)
        assert report.n == len(known)
        assert report.accuracy == float(right)
