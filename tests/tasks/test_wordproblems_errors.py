"""Planted errors: what they say of themselves is what the graph says of them."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from thence.tasks.wordproblems import FAMILIES, StepTruth, WordProblems, check_steps, render_solution
from thence.tasks.wordproblems_errors import computed, spoil


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_error_is_where_it_was_planted(family: str) -> None:
    rng, places = Random(0), Counter[int]()
    for problem in WordProblems(family=family, level=4, size=100).items():
        wrong, at = spoil(problem, rng)
        truths = [check.truth for check in check_steps(problem, render_solution(wrong, "cot"))]
        assert truths[at] is not StepTruth.CORRECT
        assert all(truth is StepTruth.CORRECT for truth in truths[:at])
        assert len(truths) == len(problem.steps)
        places[at] += 1
    assert len(places) == len(problem.steps)  # every step may be the one


def test_most_planted_errors_reach_the_answer() -> None:
    problems = WordProblems(level=3, size=200).items()
    changed = sum(spoil(problem, Random(i))[0].answer != problem.answer for i, problem in enumerate(problems))
    assert changed > 150


def test_later_steps_use_the_wrong_number() -> None:
    carried = 0
    for i, problem in enumerate(WordProblems(level=3, size=100, shuffled=0.0).items()):
        wrong, at = spoil(problem, Random(i))
        carried += any(
            w.operands != t.operands for w, t in zip(wrong.steps[at + 1 :], problem.steps[at + 1 :], strict=True)
        )
    assert carried > 40


def test_a_step_that_gives_no_whole_number_is_not_written() -> None:
    problem = WordProblems(level=2, size=1).items()[0]
    step = problem.steps[0]
    from dataclasses import replace

    assert computed(replace(step, op="/", operands=("7", "2"))) is None
    assert computed(replace(step, op="-", operands=("2", "7"))) is None
