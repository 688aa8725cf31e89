"""Label files as tasks of given solutions: which step is the first wrong one, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from thence.core.errors import DataError, UsageError
from thence.core.label_files import write_labels
from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Meaning
from thence.evals.first_error import evaluate_first_error
from thence.methods import task as make_task
from thence.tasks.labelled import LabelledSteps
from thence.verifiers.data_flow import DataFlow

TEXT = " Ann: 2 more than Tom <<3+2=5>>\nSam: twice Ann <<5*2=11>>\n#### 11"


def record(numbers: Sequence[float | None], meaning: Meaning = Meaning.PREFIX_VALID, **extra: str) -> Labelled:
    ends = (TEXT.index("\n") + 1, TEXT.index("####"))
    labels = tuple((Label(meaning, n, Source.EXACT),) for n in numbers)
    question = {"question": "Tom has 3 pears. Ann has 2 more than Tom. Sam has twice as many. How many has Sam?"}
    return Labelled("p", TEXT, ends, labels, False, question | extra)


def test_the_first_number_below_one_half_is_the_first_wrong_step(tmp_path: Path) -> None:
    rows = [record([1.0, 0.0]), record([0.0, None]), record([1.0, 1.0]), record([0.5, 0.5]), record([None, 0.0])]
    write_labels(tmp_path / "labels.jsonl", rows)
    task = LabelledSteps(str(tmp_path / "labels.jsonl"))
    assert [task.given(p).first_error for p in task.problems()] == [1, 0, None, None]
    assert task.left_out == 1  # its first step has no label
    first = task.problems()[0]
    assert first.id == "p-1"
    assert first.text.startswith("Tom has 3 pears.")
    assert task.given(first).steps == (" Ann: 2 more than Tom <<3+2=5>>", "Sam: twice Ann <<5*2=11>>\n#### 11")
    assert task.spec == f"labels(file={tmp_path / 'labels.jsonl'})"


def test_a_meaning_may_be_chosen(tmp_path: Path) -> None:
    both = record([1.0, 0.0])
    values = tuple((*row, Label(Meaning.VALUE, 0.25, Source.ROLLOUTS, 1, 4)) for row in both.labels)
    path = tmp_path / "labels.jsonl"
    write_labels(path, [Labelled("p", TEXT, both.ends, values, False, both.extra)])
    assert [LabelledSteps(str(path), m).given(p).first_error
            for m in (None, "value") for p in LabelledSteps(str(path)).problems()] == [1, 0]  # fmt: skip
    with pytest.raises(DataError, match="no step labels of step_correct"):
        LabelledSteps(str(path), "step_correct")
    with pytest.raises(UsageError, match="prefix_valid, step_correct, value"):
        LabelledSteps(str(path), "nonsense")


def test_what_cannot_be_judged_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs file=PATH"):
        make_task("labels")
    with pytest.raises(DataError, match="there is no file"):
        make_task(f"labels(file={tmp_path / 'none.jsonl'})")
    path = tmp_path / "labels.jsonl"
    write_labels(path, [record([None, None])])
    with pytest.raises(DataError, match="no solution's first wrong step is known"):
        LabelledSteps(str(path))
    row = record([1.0, 0.0])
    write_labels(path, [Labelled("p", TEXT, row.ends, row.labels)])
    with pytest.raises(DataError, match="record 1 has no question"):
        LabelledSteps(str(path))


async def test_a_closing_answer_line_belongs_to_the_last_step(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    other = record(
        [1.0, 1.0], question="Tom has 3 pears. Ann has 2 more than Tom. Sam has twice as many. How many now?"
    )
    write_labels(path, [record([1.0, 0.0]), record([1.0, 1.0]), other, record([1.0, 0.0], question="Sums?")])
    report = await evaluate_first_error(LabelledSteps(str(path)), DataFlow())
    assert report.failed == 0
    assert report.n + report.calibrated_on == 4
