"""Trace error: counted by hand, and on word problems whose steps are known."""

from __future__ import annotations

import pytest

from thence.annotate.exact import truth_of
from thence.evals.statistics.metrics import wilson
from thence.evals.statistics.trace_error import trace_error
from thence.tasks.wordproblems import render_solution
from thence.tasks.wordproblems_task import WordProblemsTask


def test_only_right_answers_with_steps_that_can_be_judged_count() -> None:
    kinds = [(True, True)] * 6 + [(True, False)] * 2 + [(True, None), (False, True), (False, False)]
    found = trace_error((str(i), *kind) for i, kind in enumerate(kinds))
    assert (found.right, found.flawed, found.clean, found.unknown, found.wrong, found.wrong_clean) == (9, 2, 6, 1, 2, 1)
    assert found.error == 0.25
    assert found.interval == wilson(2, 8)
    assert found.document()["error"] == 0.25


def test_without_a_judged_right_answer_there_is_no_error() -> None:
    assert trace_error([]).error is None
    assert trace_error([("a", True, None), ("b", False, False)]).error is None
    assert trace_error([]).interval == (0.0, 1.0)


def test_seeds_of_one_problem_are_no_further_problems() -> None:
    once = trace_error((str(i), True, i % 4 > 0) for i in range(40))
    thrice = trace_error((str(i), True, i % 4 > 0) for i in range(40) for _ in range(3))
    assert (once.flawed, thrice.flawed) == (10, 30)
    assert once.interval == wilson(10, 40)
    width = thrice.interval[1] - thrice.interval[0]
    assert width >= 0.98 * (once.interval[1] - once.interval[0])
    assert trace_error([("a", True, True)] * 9).interval == wilson(0, 1)


def test_a_right_answer_by_a_wrong_step_is_seen_on_a_word_problem() -> None:
    task = WordProblemsTask(level=3, size=20)
    truth = truth_of(task)
    assert truth is not None
    judged = []
    for problem in task.problems():
        text = render_solution(task.items[problem.id], "cot")
        (sound,) = truth.judged(problem, text, [len(text)])
        judged.append((problem.id, True, sound))
        first = task.items[problem.id].steps[0]
        spoilt = text.replace(first.equation, f"1+1={first.equation.rpartition('=')[2]}", 1)
        assert spoilt != text
        (sound,) = truth.judged(problem, spoilt, [len(spoilt)])
        assert sound is False
    assert trace_error(judged).error == pytest.approx(0.0)
