"""FinQA and TAT-QA: percent, scale, sign and rounding as stated; programs computed exactly; damaged rows refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, written

from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.tasks.finqa import FinQA, run_program
from thence.tasks.tat_qa import TatQA, derived

QA: dict[str, Any] = {
    "question": "what was the growth in sales?",
    "program": "subtract(120.5, 100.4), divide(#0, 100.4)",
    "exe_ans": 0.2002,
    "answer": "20.0%",
}
PAGE: dict[str, Any] = {
    "id": "ABC/2010/page_1.pdf-1",
    "pre_text": ["in millions ."],
    "table": [["", "2010", "2009"], ["sales ( net )", "$ 120.5 ( 3.1 )", "$ 100.4"], ["odd", "-", "2"]],
    "post_text": ["end ."],
    "qa": QA,
}
ASKED: dict[str, Any] = {
    "uid": "q-1",
    "question": "What is the percentage change in Other?",
    "answer": -22.22,
    "derivation": "(44.1-56.7)/56.7",
    "answer_type": "arithmetic",
    "scale": "percent",
}
TABLE: dict[str, Any] = {
    "table": {"uid": "t", "table": [["", "2019", "2018"], ["Other", "44.1", "56.7"]]},
    "paragraphs": [{"order": 2, "text": "Second."}, {"order": 1, "text": "First."}],
    "questions": [ASKED],
}


def finqa(tmp_path: Path, **changes: Any) -> FinQA:
    return FinQA(file=written(tmp_path / "f.json", [PAGE | {"qa": QA | changes}], array=True))


def tat_qa(tmp_path: Path, **changes: Any) -> TatQA:
    return TatQA(file=written(tmp_path / "t.json", [TABLE | {"questions": [ASKED | changes]}], array=True))


def verdicts(task: FinQA | TatQA, *answers: str) -> list[bool]:
    return [task.grade(task.problems()[0], "", answer).correct for answer in answers]


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("subtract(5829, 5735)", Fraction(94)),
        ("subtract(5829, 5735), divide(#0, 5735)", Fraction(94, 5735)),
        ("add(1, const_m1)", Fraction(0)),
        ("multiply(8.1%, const_1000)", Fraction(81)),
        ("exp(2, const_3)", Fraction(8)),
        ("divide(1,234, 2)", Fraction(617)),
        ("table_sum(sales ( net ), none)", Fraction("220.9")),
        ("table_average(sales ( net ), none)", Fraction("110.45")),
        ("table_max(sales ( net ), none)", Fraction("120.5")),
        ("table_min(odd, none)", None),
        ("table_sum(costs, none)", None),
        ("divide(1, 0)", None),
        ("exp(2, 0.5)", None),
        ("exp(2, 9999)", None),
        ("add(1, #0)", None),
        ("add(1, #9)", None),
        ("greater(1, 2)", None),
        ("add(1, 2); print(1)", None),
        ("__import__(1, 2)", None),
        ("", None),
    ],
)
def test_programs_are_computed_exactly_or_not_at_all(program: str, value: Fraction | None) -> None:
    assert run_program(program, PAGE["table"]) == value


def test_the_page_is_shown_and_the_unit_is_said(tmp_path: Path) -> None:
    text = finqa(tmp_path).problems()[0].text
    assert "sales ( net ) | $ 120.5 ( 3.1 ) | $ 100.4" in text
    assert text.startswith("in millions .")
    assert text.endswith("Question: what was the growth in sales? Give the answer in percent.")
    assert "20.0" not in text
    plain = finqa(tmp_path, answer="0.2").problems()[0].text
    assert plain.endswith("Give the answer as a plain number in the unit of the table, not in percent.")


def test_percent_sign_rounding_and_sign(tmp_path: Path) -> None:
    task = finqa(tmp_path)  # exactly 20.0199…
    assert verdicts(task, "20.0", "20.02", "20.0199", "20.0%", "20") == [True] * 5
    assert verdicts(task, "0.2002", "21", "-20.0", "20.1", "20.03", "2.00") == [False] * 6
    assert verdicts(finqa(tmp_path, answer="20%"), "20", "20.0", "20.02") == [True] * 3  # 20 as published
    ratio = finqa(tmp_path, answer="0.20")
    assert verdicts(ratio, "0.200", "0.2002", "0.20") == [True] * 3
    assert verdicts(ratio, "20.02", "0.21", "20.0%") == [False] * 3
    assert verdicts(finqa(tmp_path, answer="", question="what percent?"), "20.02", "0.2002") == [True, False]
    assert verdicts(finqa(tmp_path, answer=""), "20.02", "0.2002") == [False, True]


def test_a_written_answer_that_is_not_the_program_s_value_is_listed_and_does_not_count(tmp_path: Path) -> None:
    task = finqa(tmp_path, answer="35.0%")
    ((name, reason),) = task.check_references()
    assert name == PAGE["id"]
    assert "the written answer 35.0% is not the program's value" in reason
    assert verdicts(task, "35.0", "20.02") == [False, True]
    assert "its program gives" in finqa(tmp_path, exe_ans=0.5, answer="50%").check_references()[0][1]
    assert finqa(tmp_path).check_references() == []


def test_yes_and_no_are_words(tmp_path: Path) -> None:
    task = finqa(tmp_path, program="greater(2, 1)", exe_ans="yes", answer="yes")
    assert task.problems()[0].text.endswith("Answer yes or no.")
    assert verdicts(task, "Yes", "yes.", "no", "1") == [True, True, False, False]
    reply = "Sales were 120.5 in 2010.\nThe answer is yes."
    found = task.reading.extract(reply)
    assert found is not None
    assert task.grade(task.problems()[0], reply, found.value).correct


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"table": [["a", "b"], ["c"]]}, "column 'table' is ragged: its rows have 1 to 2 cells"),
        ({"table": []}, "column 'table' must be a list of rows"),
        ({"table": [["a", 1]]}, "column 'table', row 1, must be a list of texts"),
        ({"pre_text": "text"}, "column 'pre_text' must be a list of texts"),
        ({"qa": {"question": "q", "exe_ans": None}}, "qa.exe_ans is ''; it must be a number, yes or no"),
        ({"qa": {}}, "qa must be an object with a question"),
    ],
)
def test_damaged_finqa_rows_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match="entry 2: ") as caught:
        FinQA(file=written(tmp_path / "f.json", [PAGE, PAGE | {"id": "b"} | change], array=True))
    assert said in str(caught.value)
    with pytest.raises(UsageError, match="finqa needs file=PATH"):
        FinQA()


def test_tat_qa_takes_the_questions_that_numbers_answer(tmp_path: Path) -> None:
    span = {"uid": "q-2", "question": "Which?", "answer": ["Other"], "answer_type": "span", "scale": ""}
    count = {"uid": "q-3", "question": "How many?", "answer": "4", "answer_type": "count", "scale": ""}
    task = TatQA(file=written(tmp_path / "t.json", [TABLE | {"questions": [ASKED, span, count]}], array=True))
    assert [p.id for p in task.problems()] == ["q-1", "q-3"]
    assert task.left_out == 1
    assert task.problems()[0].text.startswith("First. Second.\n\n | 2019 | 2018\nOther | 44.1 | 56.7\n\nQuestion: ")
    assert task.grade(task.problems()[1], "", "4").correct
    assert task.check_references() == []


def test_the_exact_value_is_that_of_the_derivation(tmp_path: Path) -> None:
    task = tat_qa(tmp_path)  # exactly -200/9
    assert verdicts(task, "-22.2", "-22.22", "-22.2222") == [True] * 3
    assert verdicts(task, "22.22", "-22", "-22.3", "-0.2222", "-22.23") == [False] * 5
    free = tat_qa(tmp_path, derivation="Locate and analyze 2 lines")
    assert verdicts(free, "-22.22", "-22.2", "-22.222", "-22.215") == [True] * 4
    assert verdicts(free, "-22.23", "-22.2251") == [False, False]
    wrong = tat_qa(tmp_path, derivation="1 + 1")
    assert verdicts(wrong, "-22.22", "2") == [True, False]
    scaled = tat_qa(tmp_path, scale="million", answer=12.6, derivation="56.7 - 44.1")
    assert scaled.problems()[0].text.endswith("Give the answer in millions.")
    assert verdicts(scaled, "12.6", "$12.6 million", "12,600,000") == [True, True, False]


@pytest.mark.parametrize(
    ("text", "value"),
    [("[(166+178)/2]", Fraction(172)), ("44.1-56.7", Fraction("-12.6")), ("a - b", None), ("1>2", None), ("", None)],
)
def test_derivations_are_read_where_they_are_one_expression(text: str, value: Fraction | None) -> None:
    assert derived(text) == value


def test_damaged_tat_qa_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"entry 1, question 1: scale is 'dozen'"):
        tat_qa(tmp_path, scale="dozen")
    with pytest.raises(DataError, match=r"the answer '\[\"a\"\]' is no number|the answer .* is no number"):
        tat_qa(tmp_path, answer=["a"])
    with pytest.raises(DataError, match="has no question of type arithmetic or count"):
        tat_qa(tmp_path, answer_type="span")
    ragged = TABLE | {"table": {"table": [["a"], ["b", "c"]]}}
    with pytest.raises(DataError, match=r"table\.table is ragged"):
        TatQA(file=written(tmp_path / "r.json", [ragged], array=True))


def test_tat_qa_is_one_file_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = FakeHub(monkeypatch, tmp_path, TAT_QA=[TABLE])
    assert len(TatQA(split="dev").problems()) == 1
    assert TatQA().grade(TatQA().problems()[0], "", None).verdict is Verdict.NO_ANSWER
    assert hub.asked[:2] == [
        ("next-tat/TAT-QA", "tatqa_dataset_dev.json", "dataset"),
        ("next-tat/TAT-QA", "tatqa_dataset_test_gold.json", "dataset"),
    ]
