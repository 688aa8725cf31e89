import json
from pathlib import Path
from typing import Any

import pytest

from thence.core.answers import Verdict
from thence.core.errors import DataError, ThenceError, UsageError
from thence.core.problem import Message, Problem
from thence.core.protocols import Task
from thence.grading import AutoReading, NumericReading, TextReading
from thence.methods import task as task_of
from thence.tasks.jsonl import Jsonl
from thence.tasks.order import by_content


@pytest.fixture
def make(tmp_path: Path) -> Any:
    def made(rows: list[dict[str, Any]], **arguments: Any) -> Jsonl:
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Jsonl(file=str(path), **arguments)

    return made


ROWS = [{"question": "1+1?", "answer": 2}, {"question": "1+2?", "answer": "3"}, {"question": "1/2?", "answer": 0.5}]


def test_questions_come_in_the_files_order_with_their_references_inside(make: Any) -> None:
    task: Task = make(ROWS)
    first, second, third = task.problems()
    assert [p.id for p in task.problems()] == ["0001", "0002", "0003"]
    assert first.text == "1+1?"
    assert task.has_references
    assert task.check_references() == []
    assert task.grade(first, "so 2", "2").correct
    assert task.grade(second, "so 4", "4").verdict is Verdict.INCORRECT
    assert task.grade(third, "#### 1/2", "1/2").correct
    assert task.grade(first, "?", None).verdict is Verdict.NO_ANSWER


def test_columns_are_named(make: Any) -> None:
    task = make([{"p": {"text": "q"}, "t": [7], "key": 12}], question="p.text", answer="t.0", id="key")
    (problem,) = task.problems()
    assert (problem.id, problem.text) == ("12", "q")
    assert task.grade(problem, "7", "7").correct


def test_without_references_nothing_is_graded(make: Any) -> None:
    for task in (make(ROWS, answer=None), make([{"question": "q"}])):
        assert not task.has_references
        assert task.check_references() == []
        assert task.grade(task.problems()[0], "1", "1").verdict is Verdict.UNGRADABLE
        assert task.reading == AutoReading()


def test_a_chat_and_a_system_message(make: Any) -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    task = make([{"question": chat}, {"question": "q"}], system="Be brief.")
    one, two = task.problems()
    assert [m.role for m in one.messages] == ["system", "user", "assistant", "user"]
    assert two.messages == (Message("system", "Be brief."), Message("user", "q"))


def test_how_replies_are_read_is_a_property_of_the_whole_file(make: Any) -> None:
    assert make([{"question": "q", "answer": "1"}, {"question": "r", "answer": "2 cm"}]).reading == NumericReading()
    assert make([{"question": "q", "answer": "a"}, {"question": "r", "answer": "b 3 c"}]).reading == TextReading()
    assert make([{"question": "q", "answer": "a"}, {"question": "r", "answer": "3"}]).reading == AutoReading()


def test_references_that_cannot_be_read_are_listed_before_any_model_runs(make: Any) -> None:
    rows = [{"question": "q", "answer": ""}, {"question": "r", "answer": None}, {"question": "s", "answer": "9" * 999}]
    task = make([*rows, {"question": "t", "answer": "long\n#### 5"}])
    assert [(i, "empty" in why or "cannot be read" in why) for i, why in task.check_references()] == [
        ("0001", True),
        ("0002", True),
        ("0003", True),
    ]
    assert task.grade(task.problems()[0], "1", "1").verdict is Verdict.UNGRADABLE


@pytest.mark.parametrize(
    ("rows", "arguments", "said"),
    [
        ([{"prompt": "q"}], {}, "no column 'question'.*the columns are prompt"),
        ([{"question": "q"}], {"answer": "target"}, "no column 'target'"),
        ([{"question": "q"}], {"id": "key"}, "no column 'key'"),
        ([{"question": "q"}, {"question": " "}], {}, "line 2: the question .* is empty"),
        ([{"question": "q"}, {"question": None}], {}, "line 2: the question .* is empty"),
        ([{"question": "q"}, {"prompt": "q"}], {}, "line 2: there is no column 'question'"),
        ([{"question": "q", "k": 1}, {"question": "r", "k": 1}], {"id": "k"}, "line 2: id '1' is also that of line 1"),
        ([{"question": "q", "k": ""}], {"id": "k"}, "line 1: column 'k' is empty"),
        ([{"question": []}], {}, "must end with a user message"),
        ([{"question": [{"role": "tool", "content": "x"}]}], {}, "list that is no chat"),
        ([{"question": ["x"]}], {}, "list that is no chat"),
        ([{"question": [{"role": "assistant", "content": "x"}]}], {}, "must end with a user message"),
        ([{"question": "\ud800"}], {}, "line 1: column 'question' has half a surrogate pair"),
        ([{"question": "q"}], {"extract": "("}, "--extract"),
        ([{"question": "q"}], {"grader": "no_such_module_here:f"}, "--grader"),
        ([{"question": "q"}], {"grader": "abc"}, "module:fn"),
    ],
)
def test_bad_input_gets_one_clear_line(make: Any, rows: list[dict[str, Any]], arguments: Any, said: str) -> None:
    with pytest.raises((DataError, UsageError), match=said) as caught:
        make(rows, **arguments)
    assert "\n" not in str(caught.value)


def test_the_file_must_be_given() -> None:
    with pytest.raises(UsageError, match="file=PATH"):
        Jsonl()


def test_a_users_regex_reads_the_replies(make: Any) -> None:
    task = make(ROWS, extract=r"result=(\S+)")
    found = task.reading.extract("1 result=2 3")
    assert found.value == "2"
    assert task.grade(task.problems()[0], "no result", None).verdict is Verdict.NO_ANSWER


def test_a_regex_that_never_ends_is_a_timeout(make: Any) -> None:
    task = make(ROWS, extract=r"(a+)+$")
    task.reading.deadline = 0.3
    reply = "a" * 40 + "b"
    assert task.reading.extract(reply) is None
    assert task.grade(task.problems()[0], reply, None).verdict is Verdict.TIMEOUT


def test_a_users_grader_decides(make: Any, tmp_path: Path) -> None:
    grader = tmp_path / "g.py"
    grader.write_text("def check(gold, answer, question):\n    return answer == gold + question\n")
    task = make([{"question": "q", "answer": "g"}, {"question": "", "answer": ""}][:1], grader=f"{grader}:check")
    (problem,) = task.problems()
    assert task.grade(problem, "…", "gq").correct
    assert not task.grade(problem, "…", "g").correct
    assert [i for i, _ in task.check_references()] == ["0001"]


def test_a_task_survives_its_spec(make: Any, tmp_path: Path) -> None:
    task = make([{"a b": "q", "t": "1"}], question="a b", answer="t", system='Say "(x, y)"', extract=r"\d+")
    again = task_of(task.spec)
    assert again.spec == task.spec
    assert list(again.problems()) == list(task.problems())
    assert task_of(make([{"question": "q", "answer": "1"}], answer=None).spec).has_references is False


def test_the_data_hash_sees_questions_and_references(make: Any) -> None:
    hashes = {make(rows).data_hash for rows in (ROWS, ROWS[:2], [{**ROWS[0], "answer": 3}, *ROWS[1:]], ROWS)}
    assert len(hashes) == 3


def test_the_order_for_a_limit_is_fixed_by_content(make: Any) -> None:
    problems = [Problem(str(i), f"question {i % 7}") for i in range(20)]
    assert by_content(problems) == by_content(problems[::-1])
    assert [p.id for p in by_content(problems)] != [p.id for p in problems]


def test_every_error_is_a_thence_error(tmp_path: Path) -> None:
    with pytest.raises(ThenceError):
        Jsonl(file=str(tmp_path / "nothing.jsonl"))


def test_mathematical_answers_are_compared_as_values(tmp_path):
    path = tmp_path / "math.jsonl"
    rows = [
        {"question": "a?", "answer": "\\frac{\\sqrt{3}}{2}"},
        {"question": "b?", "answer": "It follows that $x$ is \\boxed{(-\\infty, 2]}."},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    task = Jsonl(file=str(path))  # LaTeX in a reference says so
    first, second = task.problems()
    assert Jsonl(file=str(path), answers="math").spec.endswith("answers=math)")
    assert not Jsonl(file=str(path), answers="plain").grade(first, "", "\\sqrt{3}/2").correct
    assert task.check_references() == []
    for reply, right in (("\\boxed{\\sqrt{3}/2}", True), ("\\boxed{0.866}", True), ("\\boxed{\\sqrt{3}}", False)):
        found = task.reading.extract(reply)
        assert task.grade(first, reply, found.value).correct is right
    assert task.grade(second, "", "x \\le 2").correct
    assert not task.grade(second, "", "(-\\infty, 2)").correct
    assert task.reading.key("1/2") == task.reading.key("0.5")
    with pytest.raises(UsageError, match="not both"):
        Jsonl(file=str(path), answers="math", grader="m:f")
    with pytest.raises(UsageError, match="auto, math or plain"):
        Jsonl(file=str(path), answers="latex")
