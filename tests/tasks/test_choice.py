"""Multiple choice: the shapes that rows come in, shuffled options, and where the letter is read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, written

from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.tasks.choice import Choice, ChoiceReading

FRUIT = {"question": "Which is a fruit?", "choices": ["brick", "fig", "nail"], "answer": 1}


@pytest.mark.parametrize(
    "row",
    [
        FRUIT,
        FRUIT | {"answer": "B"},
        FRUIT | {"answer": "b"},
        FRUIT | {"answer": "fig"},
        FRUIT | {"answer": "1"},
        {"question": "Which is a fruit?", "options": ["brick", "fig", "nail"], "target": "fig"},
        {"question": "Which is a fruit?", "A": "brick", "B": "fig", "C": "nail", "D": "", "answer": "B"},
        {
            "question": "Which is a fruit?",
            "choices": {"text": ["brick", "fig", "nail"], "label": ["1", "2", "3"]},
            "answerKey": "2",
        },
    ],
)
def test_every_shape_is_the_same_question(row: dict[str, Any], tmp_path: Path) -> None:
    task = Choice(file=written(tmp_path / "c.jsonl", [row]))
    (problem,) = task.problems()
    assert problem.text == "Which is a fruit?\nA. brick\nB. fig\nC. nail\nWrite the letter after ####."
    assert task.reference(problem) == "B"
    assert task.check_references() == []


def test_the_letter_or_the_whole_text_of_an_option_is_right(tmp_path: Path) -> None:
    task = Choice(file=written(tmp_path / "c.jsonl", [FRUIT]))
    (problem,) = task.problems()
    for right in ("B", "b", "fig", " Fig. "):
        assert task.grade(problem, "", right).correct
    for wrong in ("A", "D", "1", "fig tree", "AB"):
        assert task.grade(problem, "", wrong).verdict is Verdict.INCORRECT
    assert "there is no option D" in task.grade(problem, "", "D").reason


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("#### B", "B"),
        ("The answer is (C).", "C"),
        ("The answer is option B because it grows.", "B"),
        ("Answer: **D**", "D"),
        ("So \\boxed{A}.", "A"),
        ("A is wrong. (B) grows on trees.", "B"),
        ("I think of figs.\nB.", "B"),
        ("#### b", "B"),
        ("#### a fig", "a fig"),
        ("The answer is fig", "fig"),
        ("A plant is what we look for.", None),
        ("", None),
    ],
)
def test_the_letter_is_read_where_it_stands(reply: str, letter: str | None) -> None:
    found = ChoiceReading().extract(reply)
    assert (found.value if found else None) == letter
    if found is not None:
        assert reply[found.start : found.end].upper() == found.value.upper()


def test_shuffled_options_depend_on_seed_and_question_only(tmp_path: Path) -> None:
    rows = [FRUIT | {"question": f"Which is fruit {i}?"} for i in range(60)]
    one = Choice(file=written(tmp_path / "c.jsonl", rows), shuffle=1)
    again = Choice(file=written(tmp_path / "d.jsonl", rows[::-1]), shuffle=1)
    other = Choice(file=str(tmp_path / "c.jsonl"), shuffle=2)
    assert sorted(p.text for p in one.problems()) == sorted(p.text for p in again.problems())
    assert [p.text for p in one.problems()] != [p.text for p in other.problems()]
    golds = Counter(one.reference(p) for p in one.problems())
    assert set(golds) == {"A", "B", "C"}
    assert max(golds.values()) <= 34  # 20 expected of 60; more has a chance below 1 in 10,000
    for problem in one.problems():
        assert f"{one.reference(problem)}. fig" in problem.text
        assert one.grade(problem, "", "fig").correct
    assert one.spec == f"choice(file={tmp_path}/c.jsonl, shuffle=1)"
    assert one.data_hash != Choice(file=str(tmp_path / "c.jsonl")).data_hash


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": 3}, "'3', which names none of the 3 options"),
        ({"answer": "D"}, "'D', which names none"),
        ({"answer": None}, "which names none"),
        ({"choices": ["fig"]}, "a list of 2 to 26 texts"),
        ({"choices": ["fig", " "]}, "none empty"),
        ({"choices": ["fig", "fig"]}, "the same text twice"),
        ({"choices": "fig, nail"}, "a list of 2 to 26 texts"),
        ({"choices": [str(i) for i in range(27)]}, "a list of 2 to 26 texts"),
        ({"choices": {"text": ["a", "b"], "label": ["A"]}}, "a list of 2 to 26 texts"),
        ({"question": ""}, "column 'question' must be a text"),
    ],
)
def test_damaged_rows_are_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2") as caught:
        Choice(file=written(tmp_path / "c.jsonl", [FRUIT, FRUIT | change]))
    assert said in str(caught.value)


def test_wrong_calls_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs file=PATH or hub=NAME"):
        Choice()
    file = written(tmp_path / "c.jsonl", [{"question": "q", "answer": "A"}])
    with pytest.raises(UsageError, match="no column choices or options, and no columns A, B"):
        Choice(file=file)
    with pytest.raises(UsageError, match="no column 'opts'"):
        Choice(file=file, choices="opts")


def test_any_set_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = FakeHub(monkeypatch, tmp_path, mmlu=[FRUIT])
    task = Choice(hub="cais/mmlu", config="anatomy")
    assert hub.asked == [("cais/mmlu", "anatomy", "test")]
    assert task.spec == "choice(hub=cais/mmlu, config=anatomy)"
    assert Choice(hub="cais/mmlu", config="anatomy", split="dev").spec.endswith("split=dev)")
