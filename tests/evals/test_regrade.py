"""Saved outputs are found where they stand, graded, and compared with labels and with a second grader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.evals.regrading.graders import ByReference, ByTask, grader
from thence.evals.regrading.regrade import TwoByTwo, regrade, share
from thence.evals.regrading.saved import Columns, joined, read_label, saved_by_lm_eval, saved_in_rows, spread
from thence.tasks.files import Row
from thence.tasks.jsonl import Jsonl

SEVERAL = {
    "idx": 7,
    "gold": 18.0,
    "solutions": [
        {"source": "a", "text": "so #### 18", "correct": True},
        {"source": "b", "text": "#### 17", "correct": True},
        {"source": "b", "text": "it is 18.00", "correct": False},
    ],
}


def rows(*fields: dict[str, Any]) -> list[Row]:
    return [Row(f"line {i}", f) for i, f in enumerate(fields, 1)]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("a", [1]),
        ("b.c", [2]),
        ("b.d", [3, 4]),
        ("b.d.1", [4]),
        ("e.f", [5, 6]),
        ("e.g.h", [7, 8, 9]),
        ("x.y", [10]),
        ("a.b", None),
        ("e.i", None),
        ("nothing", None),
        ("empty", []),
    ],
)
def test_dots_lead_into_objects_and_through_lists(column: str, values: list[int] | None) -> None:
    fields = {
        "a": 1,
        "b": {"c": 2, "d": [3, 4]},
        "e": [{"f": 5, "g": [{"h": 7}, {"h": 8}]}, {"f": 6, "g": [{"h": 9}], "i": 0}],
        "x.y": 10,
        "empty": [],
    }
    assert spread(fields, column) == values


def test_several_answers_of_a_row_are_texts_of_one_problem() -> None:
    columns = Columns(text="solutions.text", label="solutions.correct", source="solutions.source")
    items = saved_in_rows(rows(SEVERAL), columns, "grade: f")
    assert [(i.id, i.gold, i.source, i.label) for i in items] == [
        ("7", "18", "a", True),
        ("7", "18", "b", True),
        ("7", "18", "b", False),
    ]
    made = regrade(items, grader("auto"))
    assert [str(g.verdict) for g in made.grades] == ["correct", "incorrect", "correct"]
    assert made.labels() == TwoByTwo(both=1, first_only=1, second_only=1)
    assert made.mislabelled() == [1, 2]
    assert made.labels("b") == TwoByTwo(first_only=1, second_only=1)
    assert made.sources() == ["a", "b"]
    assert made.accuracy("b").share == 0.5


def test_a_share_of_texts_of_one_problem_is_less_sure_than_of_as_many_problems() -> None:
    apart = share((str(i), i < 30) for i in range(100))
    together = share((str(i // 10), i < 30) for i in range(100))
    assert apart.share == pytest.approx(0.3)
    assert together.share == pytest.approx(0.3)
    assert together.interval[0] < apart.interval[0] < apart.interval[1] < together.interval[1]
    assert share([]).n == 0


@pytest.mark.parametrize(
    ("fields", "columns", "said"),
    [
        ({"question": "q", "gold": "1"}, Columns(), "which column is a text to grade.*--text.*question, gold"),
        ({"text": "1", "ref": "1"}, Columns(), "which column is a reference.*--gold"),
        (SEVERAL, Columns(text="solutions.txt"), "no column 'solutions.txt'; did you mean --text solutions.text"),
        ({"text": "1", "gold": "1"}, Columns(label="ok"), "no column 'ok'"),
    ],
)
def test_missing_columns_are_named(fields: dict[str, Any], columns: Columns, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        saved_in_rows(rows(fields), columns, "grade: f")


def test_rows_that_do_not_fit_are_named() -> None:
    columns = Columns(text="ys", label="ok")
    with pytest.raises(DataError, match="line 2: column 'ok' has 3 values for 2 texts"):
        saved_in_rows(
            rows({"gold": 1, "ys": ["1"], "ok": [1]}, {"gold": 1, "ys": ["1", "2"], "ok": [1, 0, 0]}), columns, "f"
        )
    with pytest.raises(DataError, match="line 2: there is no column 'ys'"):
        saved_in_rows(rows({"gold": 1, "ys": ["1"], "ok": 1}, {"gold": 1}), columns, "f")
    assert saved_in_rows(rows({"gold": 1, "ys": [], "ok": 1}), columns, "f") == []


@pytest.mark.parametrize(
    ("value", "label"),
    [(True, True), (0, False), (1.0, True), ("Correct", True), ("no_answer", False), ("wrong", False), (None, None)],
)
def test_labels(value: Any, label: bool | None) -> None:
    assert read_label(value, "f") is label


def test_what_is_no_label_is_refused() -> None:
    for value in (0.5, "maybe", 2, [True]):
        with pytest.raises(DataError, match="is no label"):
            read_label(value, "f, line 1")


def test_texts_are_joined_with_a_task_by_id_question_or_row(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(
        '{"id": "x", "question": "1 + 1?", "answer": "2"}\n{"id": "y", "question": "2 + 2?", "answer": "4"}'
    )
    task = Jsonl(file=str(file), id="id")
    for given in (
        [{"id": "y", "text": "4"}, {"id": "x", "text": "3"}],
        [{"q": "2 +\n2?", "text": "4"}, {"q": "1 + 1?", "text": "3"}],
        [{"idx": 1, "text": "4"}, {"idx": 0, "text": "3"}],
    ):
        columns = Columns(question="q" if "q" in given[0] else None)
        items = joined(saved_in_rows(rows(*given), columns, "f", needs_gold=False), task, "f")
        assert [i.gold for i in items] == ["4", "2"]
        assert [g.correct for g in ByTask(task).grades(items)] == [True, False]
    lost = saved_in_rows(rows({"id": "x", "text": "2"}, {"id": "z", "text": "3"}), Columns(), "f", needs_gold=False)
    with pytest.raises(UsageError, match=r"'z' \(line 2\) is no problem of"):
        joined(lost, task, "f")


@pytest.mark.parametrize(
    ("name", "kind", "gold", "text", "verdict"),
    [
        ("auto", "completion", "18", "The answer is 18.", "correct"),
        ("numeric", "completion", "Monday", "The answer is 18.", "ungradable"),
        ("numeric", "answer", "18", "18.0", "correct"),
        ("numeric", "answer", "9 * 2 = <<9*2=18>>18 a day.\nA: 18", "18", "correct"),
        ("text", "completion", "18.0", "The answer is 18", "correct"),
        ("text", "answer", "Monday", "tuesday", "incorrect"),
        ("text", "completion", "Monday", "", "no_answer"),
        ("text", "answer", " . ", "x", "ungradable"),
        ("math", "completion", "so $\\boxed{\\frac{1}{2}}$.", "Thus $x=\\boxed{0.5}$", "correct"),
        ("math", "answer", "#### 3", "3", "correct"),
        ("math", "completion", "\\frac{1}{2}", "It is \\boxed{\\frac{1}{3}}", "incorrect"),
    ],
)
def test_graders_by_name(name: str, kind: Any, gold: str, text: str, verdict: str) -> None:
    (item,) = saved_in_rows(rows({"gold": gold, "text": text}), Columns(), "f")
    (made,) = ByReference(name, kind).grades([item])
    assert made.verdict == verdict


def test_a_thought_is_not_graded() -> None:
    (item,) = saved_in_rows(
        rows({"gold": "4", "text": "<think>The answer is 4</think>The answer is 5"}), Columns(), "f"
    )
    assert [str(grader(name).grades([item])[0].verdict) for name in ("auto", "math")] == ["incorrect", "incorrect"]


def test_a_second_grader_of_ones_own_is_compared(tmp_path: Path) -> None:
    own = tmp_path / "lenient.py"
    own.write_text("def check(gold, text):\n    return {'correct': gold in text, 'reason': 'somewhere in it'}\n")
    items = saved_in_rows(rows({"gold": "4", "text": "not 4 but 5"}, {"gold": "4", "text": "4"}), Columns(), "f")
    made = regrade(items, grader("auto"), grader(f"{own}:check"))
    assert made.opinions() == TwoByTwo(both=1, second_only=1)
    assert made.disputed() == [0]
    said = made.document()["against"]
    assert said["only_second_right"] == 1
    assert said["disagreements"][0]["against"]["reason"] == "somewhere in it"
    json.dumps(made.document())


def test_math_verify_runs_in_the_worker() -> None:
    pytest.importorskip("math_verify")
    items = saved_in_rows(
        rows(
            {"gold": "#### 1,000", "text": "It is $1000$"},
            {"gold": "\\frac{1}{2}", "text": "\\boxed{0.5}"},
            {"gold": "3", "text": "I do not know"},
            {"gold": "", "text": "3"},
            {"gold": "3", "text": "4"},
        ),
        Columns(),
        "f",
    )
    verdicts = [str(g.verdict) for g in grader("math-verify").grades(items)]
    assert verdicts == ["correct", "correct", "no_answer", "ungradable", "incorrect"]
    answers = grader("math-verify", "answer").grades(
        saved_in_rows(rows({"gold": "\\pi", "text": "\\pi"}), Columns(), "f")
    )
    assert answers[0].verdict is Verdict.CORRECT


def test_an_absent_math_verify_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "thence\[math-verify\]"'):
        grader("math-verify")


def test_unknown_graders_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown grader 'exact'; it is auto, numeric"):
        grader("exact")
    with pytest.raises(UsageError, match="no_such"):
        grader("no_such_module_of_mine:check")


def test_lm_eval_metrics_are_labels_of_lines_with_one_text() -> None:
    line = {"doc_id": 0, "doc": {}, "target": "2", "filter": "strict", "metrics": ["exact_match"], "exact_match": 0.0}
    one = {**line, "resps": [["The answer is 2"]], "filtered_resps": ["[invalid]"]}
    two = {**line, "resps": [["2", "3"]], "filtered_resps": [["2", "3"]]}
    items = saved_by_lm_eval(rows(one, two), Columns(), "f")
    assert [(i.text, i.label, i.source) for i in items] == [
        ("The answer is 2", False, "strict"),
        ("2", None, "strict"),
        ("3", None, "strict"),
    ]
    (filtered, *_) = saved_by_lm_eval(rows(one), Columns(text="filtered_resps"), "f")
    assert ByReference("auto", "answer").grades([filtered])[0].verdict is Verdict.NO_ANSWER
    with pytest.raises(DataError, match=r"the metric .f1. is 0\.5; a label is 0 or 1"):
        saved_by_lm_eval(rows({**one, "metrics": ["f1"], "f1": 0.5}), Columns(label="f1"), "f")
    with pytest.raises(DataError, match="line 2: this is no line of an lm-eval samples file"):
        saved_by_lm_eval(rows(one, {"text": "2"}), Columns(), "f")
