"""The built-in word problems: their questions, splits, renderings and the truth of written steps."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from thence.tasks.wordproblems import (
    FAMILIES,
    MAX_LEVEL,
    MAX_VALUE,
    SPLITS,
    STYLES,
    Step,
    StepTruth,
    WordProblem,
    WordProblems,
    check_steps,
    extract_answer,
    question_split,
    render_solution,
    step_spans,
)

EXAMPLE = WordProblem(
    id="example",
    family="graph",
    level=2,
    template="distracted",
    question="Ann has 5 pens. Tom has 3 more pens than Ann. Kim has 2 fewer pens than Ann. Sam has twice as many pens "
    "as Tom. How many pens does Sam have?",
    answer="16",
    steps=(
        Step("Tom", "3 more than Ann", "+", ("5", "3"), "8"),
        Step("Sam", "twice Tom", "*", ("8", "2"), "16"),
    ),
    unneeded=(Step("Kim", "2 fewer than Ann", "-", ("5", "2"), "3"),),
)


def sets(size: int = 60) -> list[WordProblem]:
    problems = [p for level in range(1, MAX_LEVEL + 1) for p in WordProblems(level, "test", 0, size).items()]
    problems += WordProblems(family="apples", size=size).items()
    return problems + [p for level in (1, 3, 5) for p in WordProblems(level, family="letters", size=size).items()]


def truths(text: str, problem: WordProblem = EXAMPLE) -> list[str]:
    return [check.truth.value for check in check_steps(problem, text)]


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_the_same_arguments_give_the_same_problems_in_another_process() -> None:
    script = "from thence.tasks.wordproblems import *; print([p.question for p in WordProblems(size=5).items()])"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert other.strip() == str([problem.question for problem in WordProblems(size=5).items()])


def test_a_larger_set_extends_a_smaller_one() -> None:
    assert WordProblems(size=40).items()[:20] == WordProblems(size=20).items()


def test_data_seeds_levels_and_families_give_other_questions() -> None:
    base = {problem.question for problem in WordProblems(size=100).items()}
    others = (WordProblems(data_seed=1, size=100), WordProblems(level=4, size=100), WordProblems(family="apples"))
    for other in others:
        assert len(base & {problem.question for problem in other.items()}) <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_splits_are_disjoint_by_the_content_of_the_question(family: str) -> None:
    seen = {
        split: {
            problem.question
            for seed in (0, 1)
            for level in (1, 2, 3)
            for problem in WordProblems(level, split, seed, 60, family).items()
        }
        for split in SPLITS
    }
    for split, questions in seen.items():
        assert {question_split(question) for question in questions} == {split}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["dev"]
    assert not seen["dev"] & seen["test"]


def test_the_shares_of_the_splits() -> None:
    splits = [question_split(f"question {index}") for index in range(5000)]
    assert 0.77 < splits.count("train") / 5000 < 0.83
    assert 0.08 < splits.count("test") / 5000 < 0.12


def test_no_question_twice() -> None:
    problems = WordProblems(family="apples", size=400).items()
    assert len({problem.question for problem in problems}) == len({problem.id for problem in problems}) == 400


def test_the_level_is_the_number_of_operations() -> None:
    for level in range(1, MAX_LEVEL + 1):
        assert {len(problem.steps) for problem in WordProblems(level, size=50).items()} == {level}


def test_shuffling_and_distraction_are_shares() -> None:
    assert {p.template for p in WordProblems(size=50, shuffled=0, distracted=0).items()} == {"chain"}
    assert {p.template for p in WordProblems(size=50, shuffled=1, distracted=1).items()} == {"shuffled+distracted"}
    distracted = WordProblems(size=50, shuffled=0, distracted=1).items()
    assert {bool(p.unneeded) for p in distracted} == {True}


def test_more_problems_than_the_family_has_is_an_error() -> None:
    with pytest.raises(ValueError, match="smaller size"):
        WordProblems(level=1, family="letters", size=100_000).items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 0}, "level 0"),
        ({"split": "valid"}, "'valid'"),
        ({"family": "x"}, "'x'"),
        ({"size": 0}, "size 0"),
        ({"shuffled": 2}, "2"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(WordProblems(), **arguments)  # type: ignore[arg-type]


def test_the_example_of_the_lecture_is_in_the_language() -> None:
    patterns = {problem.template for problem in WordProblems(family="apples", size=300).items()}
    assert "total+more" in patterns
    first = next(p for p in WordProblems(family="apples", size=300).items() if p.template == "total+more")
    assert first.question.startswith("I have ")
    assert first.question.endswith("How many do we have in total?")


# --- the references --------------------------------------------------------------------------------------------------


def evaluate(step: Step) -> str:
    if step.op == "last":
        return step.operands[0][-1]
    a, b = map(int, step.operands)
    result = {"+": a + b, "-": a - b, "*": a * b, "/": a // max(b, 1)}[step.op]
    assert step.op != "/" or a % b == 0
    return str(result)


def test_every_step_is_true_and_in_range() -> None:
    for problem in sets():
        for step in (*problem.steps, *problem.unneeded):
            assert step.result == evaluate(step)
            assert step.op == "last" or 1 <= int(step.result) <= MAX_VALUE


def test_operands_stand_in_the_question_or_in_an_earlier_step() -> None:
    for problem in sets(30):
        if problem.family != "letters":
            known = {word.strip(".,?") for word in problem.question.split()} | {"2"}  # "twice" and "half"
            for step in problem.steps:
                assert set(step.operands) <= known, problem
                known.add(step.result)


def test_every_reference_is_extracted_and_every_reference_step_is_true() -> None:
    for problem in sets():
        for style in STYLES:
            text = render_solution(problem, style)
            assert extract_answer(text) == problem.answer
            if style != "direct":
                checks = check_steps(problem, text)
                assert [check.truth for check in checks] == [StepTruth.CORRECT] * len(problem.steps), (problem, text)


def test_a_draft_shows_every_result_in_fewer_characters() -> None:
    for problem in sets(20):
        draft, cot = render_solution(problem, "draft"), render_solution(problem, "cot")
        assert all(step.result in draft for step in problem.steps)
        assert len(draft) < 0.75 * len(cot)


def test_renderings_of_the_example() -> None:
    assert render_solution(EXAMPLE, "direct") == " 16"
    assert render_solution(EXAMPLE, "cot") == " Tom: 3 more than Ann <<5+3=8>>\nSam: twice Tom <<8*2=16>>\n#### 16"
    assert render_solution(EXAMPLE, "draft") == " 5+3=8;8*2=16 #### 16"
    with pytest.raises(ValueError, match="'prose'"):
        render_solution(EXAMPLE, "prose")


# --- the truth of written steps --------------------------------------------------------------------------------------


def test_a_wrong_result_and_what_is_built_on_it() -> None:
    text = " Tom: 3 more than Ann <<5+3=9>>\nSam: twice Tom <<9*2=18>>\n#### 18"
    assert truths(text) == ["wrong_result", "wrong_operands"]


def test_wrong_operands() -> None:
    assert truths(" Tom: 2 more than Ann <<5+2=7>>\n") == ["wrong_operands"]


def test_the_order_of_operands_matters_where_it_does() -> None:
    assert truths(" Tom: 3 more than Ann <<3+5=8>>") == ["correct"]
    assert truths(" Kim: 2 fewer than Ann <<2-5=3>>") == ["wrong_operands"]


def test_a_true_step_that_the_answer_does_not_need_is_correct() -> None:
    assert truths(" Kim: 2 fewer than Ann <<5-2=3>>\nTom: 3 more than Ann <<5+3=8>>") == ["correct", "correct"]


def test_unknown_repeated_and_unreadable_steps() -> None:
    tom = "Tom: 3 more than Ann <<5+3=8>>"
    assert truths(f" Max: 3 more than Ann <<5+3=8>>\n{tom}\n{tom}\nSam: twice Tom") == [
        "unknown_quantity",
        "correct",
        "unknown_quantity",
        "unreadable",
    ]


def test_draft_steps_are_matched_by_their_equation() -> None:
    assert truths(" 5+3=8;8*2=15 #### 15") == ["correct", "wrong_result"]
    assert truths(" 4+3=7") == ["unknown_quantity"]


def test_spans_point_into_the_text() -> None:
    text = " 5+3=8;8*2=16 #### 16"
    assert [text[start:end].strip() for start, end in step_spans(text)] == ["5+3=8", "8*2=16"]
    checks = check_steps(EXAMPLE, text)
    assert [check.quantity for check in checks] == ["Tom", "Sam"]


def test_letter_steps() -> None:
    steps = (Step("Mary", "", "last", ("Mary",), "y"), Step("Anna", "", "last", ("Anna",), "a"))
    letters = dataclasses.replace(EXAMPLE, family="letters", answer="ya", steps=steps, unneeded=())
    assert truths(" Mary: y\nAnna: n\n#### yn", letters) == ["correct", "wrong_result"]
    assert truths(" Anna: a", letters) == ["wrong_operands"]
    assert truths(" y a #### ya", letters) == ["correct", "correct"]
    assert truths(" y a a #### ya", letters) == ["correct", "correct", "unknown_quantity"]


# --- reading an answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "answer"),
    [(" 16", "16"), (" 5+3=8 #### 8", "8"), (" ya", "ya"), ("#### 3\n#### 4", "4"), ("", None), (" <<5+3=8>>\n", "8")],
)
def test_extraction(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer
