"""ARC as a task: every published layout is read, bad data is one clear error, and grades are exact."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest

from thence import methods
from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.core.protocols import Task
from thence.grading.grade import grade
from thence.grading.grids import Cells
from thence.tasks.arc.files import read_tasks
from thence.tasks.arc.prompt import read_question, write_question
from thence.tasks.arc.task import Arc

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "arc"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")

FLIP = {
    "train": [{"input": [[1, 0]], "output": [[0, 1]]}, {"input": [[2, 3], [0, 0]], "output": [[3, 2], [0, 0]]}],
    "test": [{"input": [[5, 6]], "output": [[6, 5]]}, {"input": [[7, 7, 0]], "output": [[0, 7, 7]]}],
}
SAME = {"train": [{"input": [[1]], "output": [[1]]}], "test": [{"input": [[4]], "output": [[4]]}]}


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "tasks.json", {"flip": FLIP, "same": SAME})


def without_outputs(task: dict[str, Any]) -> dict[str, Any]:
    return {"train": task["train"], "test": [{"input": pair["input"]} for pair in task["test"]]}


def test_every_published_layout_gives_the_same_tasks(file: Path, tmp_path: Path) -> None:
    tasks = read_tasks(file)
    assert [(t.id, len(t.train), len(t.inputs)) for t in tasks] == [("flip", 2, 2), ("same", 1, 1)]
    assert tasks[0].outputs == (((6, 5),), ((0, 7, 7),))
    (tmp_path / "tasks.json.gz").write_bytes(gzip.compress(file.read_bytes()))
    assert read_tasks(tmp_path / "tasks.json.gz") == tasks
    for name, task in {"flip": FLIP, "same": SAME}.items():
        write(tmp_path / "data" / "training" / f"{name}.json", task)
    assert read_tasks(tmp_path / "data", "training") == read_tasks(tmp_path / "data" / "training") == tasks
    assert read_tasks(tmp_path / "data" / "training" / "same.json") == tasks[1:]
    challenges = {"flip": without_outputs(FLIP), "same": without_outputs(SAME)}
    kaggle = write(tmp_path / "kaggle" / "arc-agi_evaluation_challenges.json", challenges)
    assert [t.outputs for t in read_tasks(kaggle)] == [None, None]
    solutions = {"same": [[[4]]], "flip": [[[6, 5]], [[0, 7, 7]]]}
    write(tmp_path / "kaggle" / "arc-agi_evaluation_solutions.json", solutions)
    assert read_tasks(kaggle) == read_tasks(tmp_path / "kaggle", "evaluation") == tasks


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t["train"][1].update(input=[[1, 2], [3]]), "task flip, example 2, input: .* ragged: row 2 has 1"),
        (lambda t: t["train"][0].update(output=[[10]]), "example 1, output: .* '10'; colours"),
        (lambda t: t["test"][1].update(input=[[0] * 31]), "test 2, input: .* 1 x 31 cells"),
        (lambda t: t["test"][0].update(output=[[True]]), "test 1, output: .* 'True'"),
        (lambda t: t["train"][0].pop("input"), "example 1, input: .* not there"),
        (lambda t: t["test"][1].pop("output"), "test 2, output: .* not there"),
        (lambda t: t.update(test=[]), "test must be a list of pairs with at least one"),
        (lambda t: t.update(train=None), "train must be a list"),
        (lambda t: t.pop("train"), "train must be a list"),
    ],
)
def test_bad_data_is_one_error_that_names_the_grid(tmp_path: Path, change: Any, said: str) -> None:
    task = json.loads(json.dumps(FLIP))
    change(task)
    with pytest.raises(DataError, match=said):
        read_tasks(write(tmp_path / "tasks.json", {"flip": task, "same": SAME}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must hold an object of tasks"),
        ("{}", "with at least one"),
        ('{"a": 5}', "task a: it must be an object"),
        ("{", "is not JSON"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_holds_no_tasks_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "tasks.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read_tasks(tmp_path / "tasks.json")


def test_folders_and_solutions_that_do_not_fit_say_what_to_do(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave split=training out"):
        read_tasks(file, "training")
    write(tmp_path / "data" / "training" / "same.json", SAME)
    with pytest.raises(DataError, match="it has the folders training: choose one with split=NAME"):
        read_tasks(tmp_path / "data")
    with pytest.raises(UsageError, match=r"neither a folder test nor one file .* it has training"):
        read_tasks(tmp_path / "data", "test")
    write(tmp_path / "half.json", {"flip": FLIP, "same": without_outputs(SAME)})
    with pytest.raises(DataError, match="1 of 2 tasks have no test outputs, the first is same"):
        read_tasks(tmp_path / "half.json")
    kaggle = write(tmp_path / "k" / "x_challenges.json", {"flip": without_outputs(FLIP)})
    write(tmp_path / "k" / "x_solutions.json", {"flip": [[[6, 5]]]})
    with pytest.raises(DataError, match="2 test inputs and 1 solutions"):
        read_tasks(kaggle)
    with pytest.raises(UsageError, match="there is no file"):
        Arc(str(tmp_path / "absent.json"))
    write(tmp_path / "twice" / "same.json", SAME)
    (tmp_path / "twice" / "same.json.gz").write_bytes(gzip.compress(json.dumps(SAME).encode()))
    with pytest.raises(DataError, match="the task same is there twice"):
        Arc(str(tmp_path / "twice"))


def test_one_problem_per_test_input_graded_exactly(file: Path) -> None:
    task = Arc(str(file))
    protocol: Task = task
    assert [p.id for p in protocol.problems()] == ["flip#1", "flip#2", "same#1"]
    assert task.check_references() == []
    first = task.problems()[0]
    assert task.grade(first, "", "65").correct
    cases = {
        None: (Verdict.NO_ANSWER, "no grid in the reply"),
        "56": (Verdict.INCORRECT, "2 of 2 cells are wrong"),
        "65/65": (Verdict.INCORRECT, "the grid is 2 x 2, the right one 1 x 2"),
        "65/6": (Verdict.INCORRECT, "ragged"),
        "6,12,": (Verdict.INCORRECT, "colours"),
        "x": (Verdict.INCORRECT, "colours 0 to 9"),
    }
    for answer, (verdict, said) in cases.items():
        grade = task.grade(first, "", answer)
        assert (grade.verdict, said in grade.reason) == (verdict, True), answer


def test_the_question_shows_no_reference_and_is_read_back_in_every_form(file: Path) -> None:
    for cells in get_args(Cells):
        task = Arc(str(file), cells=cells)
        assert task.check_references() == []
        for problem, given in zip(task.problems(), (([5, 6],), ([7, 7, 0],), ([4],)), strict=True):
            read = read_question(problem.text + "\nThink step by step.")
            assert read is not None
            pairs, test = read
            assert test == tuple(tuple(row) for row in given)
            assert pairs == task.tasks[0 if "flip" in problem.id else 1].train
    assert "6 5" not in Arc(str(file)).problems()[0].text
    train = task.tasks[0].train
    for broken in ("", "Test input:\n1", write_question(train, ((1,),)).replace("Example 2 input", "Example 3 input")):
        assert read_question(broken) is None


def test_the_task_is_written_as_it_was_typed_and_says_what_it_is(file: Path) -> None:
    task = methods.task(f"arc(file={file}, version=2, pairs=mean, cells=none)")
    assert isinstance(task, Arc)
    assert task.spec == f"arc(file={file}, version=2, pairs=mean, cells=none)"
    assert (task.attempts, Arc(str(file)).attempts, Arc(str(file)).spec) == (2, 3, f"arc(file={file})")
    with pytest.raises(UsageError, match="version is 3; it must be 1 or 2"):
        Arc(str(file), version=3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="strict or mean"):
        Arc(str(file), pairs="all")  # type: ignore[arg-type]


def test_other_references_are_other_data_and_none_is_no_grade(tmp_path: Path) -> None:
    one = Arc(str(write(tmp_path / "one.json", {"same": SAME})))
    wrong = {"train": SAME["train"], "test": [{"input": [[4]], "output": [[5]]}]}
    other = Arc(str(write(tmp_path / "other.json", {"same": wrong})))
    assert one.data_hash != other.data_hash
    hidden = Arc(str(write(tmp_path / "hidden.json", {"same": without_outputs(SAME)})))
    assert (hidden.has_references, hidden.check_references()) == (False, [])
    with pytest.raises(UsageError, match="no test outputs"):
        hidden.grade(hidden.problems()[0], "", "4")


@needs_data
@pytest.mark.parametrize(
    ("name", "tasks", "inputs"),
    [("1_training", 400, 416), ("1_evaluation", 400, 419), ("2_evaluation", 120, 167)],
)
def test_the_published_files_have_their_published_counts(name: str, tasks: int, inputs: int) -> None:
    found = read_tasks(DATA / f"arc_agi_{name}.json.gz")
    assert (len(found), sum(len(t.inputs) for t in found)) == (tasks, inputs)


@needs_data
def test_references_of_version_2_grade_themselves_and_its_questions_are_read_back() -> None:
    task = Arc(str(DATA / "arc_agi_2_evaluation.json.gz"), version=2)
    assert task.check_references() == []
    wanted = [(t.train, test) for t in task.tasks for test in t.inputs]
    assert [read_question(p.text) for p in task.problems()[::8]] == wanted[::8]


def test_its_references_grade_themselves_by_the_task_and_by_the_graders_of_saved_outputs(file: Path) -> None:
    task = Arc(str(file))
    flip, other, same = task.problems()
    assert [task.reference(p) for p in (flip, other, same)] == ["[[6, 5]]", "[[0, 7, 7]]", "[[4]]"]
    for problem in task.problems():
        gold = task.reference(problem)
        assert gold is not None
        found = task.reading.extract(gold)
        assert found is not None
        assert task.grade(problem, gold, found.value).correct
        assert grade(gold, f"The output:\n{gold}").correct
        assert grade(gold, found.value, "answer").correct
    assert not grade("[[6, 5]]", "The output is\n5 6").correct


def test_a_file_without_test_outputs_has_no_references(tmp_path: Path) -> None:
    task = Arc(str(write(tmp_path / "open.json", {"flip": without_outputs(FLIP)})))
    assert [task.reference(p) for p in task.problems()] == [None, None]
