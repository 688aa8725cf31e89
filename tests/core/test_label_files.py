"""Label files: what is read is written back equal, and what is null stays null."""

from __future__ import annotations

import copy
import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thence.core.errors import DataError, UsageError
from thence.core.label_files import FORMATS, binary, from_row, question, rating, read_labels, recognise, to_rows
from thence.core.label_files import write_labels as write
from thence.core.labels import Alternative, Label, Labelled, Source
from thence.core.scores import Meaning

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "prm_samples"


def said(text: str, mark: int | None, **more: object) -> dict[str, Any]:
    return {"text": text, "rating": mark, "flagged": False, **more}


def step(*rated: dict[str, Any], chosen: int | None = 0, human: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"completions": list(rated), "human_completion": human, "chosen_completion": chosen}


PRM800K: dict[str, Any] = {
    "labeler": "l1",
    "generation": None,
    "question": {"problem": "What is 2 + 3 + 4?", "ground_truth_answer": "9", "source": "mine"},
    "label": {
        "steps": [
            step(said("First 2 + 3.", 1), said("First 3 - 2.", -1, seen=True), chosen=0),
            step(said("It is 6.", -1), said("Hm.", 0), chosen=None, human=said("It is 5.", None, source="human")),
            step(said("I like fives.", 0), said("Then 5 + 4 = 9.", 1), chosen=1),
            step(said("So 10.", -1), said("Not sure.", None), chosen=None),
        ],
        "total_time": 12,
        "finish_reason": "found_error",
    },
}
GAVE_UP: dict[str, Any] = {
    **PRM800K,
    "label": {
        "steps": [
            step(said("First 2 + 3.", 1)),
            {"completions": None, "human_completion": None, "chosen_completion": None, "why": "lost"},
        ],
        "total_time": 3,
        "finish_reason": "give_up",
    },
}
SHEPHERD = {
    "input": "What is 2 + 3 + 4? Step 1: 2 + 3 = 5 ки\nStep 2: 5 + 4 = 8 ки\nStep 3: The answer is: 8 ки",
    "label": "What is 2 + 3 + 4? Step 1: 2 + 3 = 5 +\nStep 2: 5 + 4 = 8 -\nStep 3: The answer is: 8 ки",
    "task": "mine",
}
ASKED = "What is 2 + 3 + 4?"
APS: dict[str, Any] = {
    "question": ASKED,
    "final_answer": "9",
    "reasoning_steps": [
        {"solution_prefix": ASKED, "mc_value": 0.5, "note": "the question"},
        {"solution_prefix": ASKED + "\n2 + 3 = 5\nSo 9", "mc_value": 1.0},
        {"solution_prefix": ASKED + "\n2 + 3 = 5", "mc_value": 0.75},
        {"solution_prefix": ASKED + "\n2 + 3 = 5\nSo 8", "mc_value": 0},
        {"solution_prefix": ASKED + "\n2 + 3 = 5", "mc_value": None, "note": "again"},
        {"solution_prefix": ASKED + "\nIt is 8", "mc_value": 0.0},
    ],
    "question_id": 4,
}
TREE: dict[str, Any] = {
    "question": ASKED,
    "final_answer": "9",
    "reasoning_steps": {
        "text": ASKED,
        "mc_value": 0.5,
        "children": [
            {
                "text": "2 + 3 = 5",
                "mc_value": 0.75,
                "visits": 3,
                "children": [
                    {"text": "So 9", "mc_value": 1, "children": []},
                    {"text": "So 8", "mc_value": None, "children": []},
                ],
            },
            {"text": "It is 8", "mc_value": 0.0},
        ],
    },
    "question_id": 4,
}
TRL = {"prompt": ASKED, "completions": ["2 + 3 = 5", "5 + 4 = 8\n", "So 8"], "labels": [True, False, None], "id": 1}
OWN = Labelled("p1", "2 + 3 = 5\nSo 9", (10, 14), ((Label(Meaning.VALUE, 0.5, Source.ROLLOUTS, 1, 2),), ()), True)
ROWS = {
    "thence": OWN.record() | {"note": 1},
    "prm800k": PRM800K,
    "math-shepherd": SHEPHERD,
    "math-aps": APS,
    "math-aps-tree": TREE,
    "trl": TRL,
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_is_recognised_by_its_fields_and_written_back_equal(name: str) -> None:
    row = copy.deepcopy(ROWS[name])
    assert recognise(row) == name
    records = from_row(row)
    assert list(to_rows(records, name)) == [ROWS[name]]
    assert from_row(row, name) == records
    through_ours = [Labelled.read(json.loads(json.dumps(r))) for r in to_rows(records)]
    assert through_ours == records
    assert list(to_rows(through_ours, name)) == [ROWS[name]]


@pytest.mark.parametrize("name", ["prm800k", "math-shepherd", "math-aps", "math-aps-tree"])
def test_the_published_samples_are_written_back_equal(name: str, tmp_path: Path) -> None:
    path = DATA / f"samples_{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    records = read_labels(path)
    assert {recognise(row) for row in rows} == {name}
    assert len(records) >= len(rows) > 0
    assert list(to_rows(records, name)) == rows
    write(tmp_path / "again.jsonl.gz", records, name)
    assert read_labels(tmp_path / "again.jsonl.gz", name) == records


def test_several_rated_texts_a_step_and_what_a_human_wrote() -> None:
    [record] = from_row(PRM800K)
    assert record.steps == ("First 2 + 3.\n", "It is 5.\n", "Then 5 + 4 = 9.\n", "So 10.")
    assert record.numbers(Meaning.STEP_CORRECT) == (1.0, None, 1.0, 0.0)
    assert [[(a.text, a.labels[0].number) for a in each] for each in record.alternatives] == [
        [("First 3 - 2.", 0.0)],
        [("It is 6.", 0.0), ("Hm.", 0.5)],
        [("I like fives.", 0.5)],
        [("Not sure.", None)],
    ]
    assert all(x.source is Source.HUMAN for row in record.labels for x in row)
    assert question(record) == PRM800K["question"]["problem"]
    [short] = from_row(GAVE_UP)
    assert short.steps == ("First 2 + 3.",)
    assert list(to_rows([short], "prm800k")) == [GAVE_UP]


def test_a_changed_label_changes_that_label_only() -> None:
    [record] = from_row(PRM800K)
    changed = replace(record, labels=((replace(record.labels[0][0], number=0.0),), *record.labels[1:]))
    expected = copy.deepcopy(PRM800K)
    expected["label"]["steps"][0]["completions"][0]["rating"] = -1
    assert list(to_rows([changed], "prm800k")) == [expected]


def test_marks_become_labels_and_the_mark_itself_is_unlabelled() -> None:
    [record] = from_row(SHEPHERD)
    assert record.numbers(Meaning.VALUE) == (1.0, 0.0, None)
    assert record.text == "Step 1: 2 + 3 = 5 \nStep 2: 5 + 4 = 8 \nStep 3: The answer is: 8 "
    assert question(record) == ASKED + " "
    [ours] = to_rows([replace(OWN, extra={"question": ASKED})], "math-shepherd")
    assert ours == {"input": ASKED + " 2 + 3 = 5 ки\nSo 9 ки", "label": ASKED + " 2 + 3 = 5 +\nSo 9 ки"}


def test_prefixes_become_paths_and_shared_labels_count_once() -> None:
    records = from_row(APS)
    assert [r.text for r in records] == ["\n2 + 3 = 5\nSo 9", "\n2 + 3 = 5\nSo 8", "\nIt is 8"]
    assert records[0].numbers(Meaning.VALUE) == (0.75, 1.0)
    assert [len(row) for row in records[0].labels] == [2, 1]
    labels = [(r.text[:e], x) for r in records for e, row in zip(r.ends, r.labels, strict=True) for x in row]
    known = [x for _, x in labels if x.number is not None]
    assert sum(x.weight for x in known) == pytest.approx(4)
    tree = from_row(TREE)
    assert [r.text for r in tree] == ["2 + 3 = 5\nSo 9", "2 + 3 = 5\nSo 8", "It is 8"]
    assert [r.numbers(Meaning.VALUE) for r in tree] == [(0.75, 1.0), (0.75, None), (0.0,)]
    assert sum(x.weight for r in tree for row in r.labels for x in row) == pytest.approx(4)
    [fresh] = to_rows([replace(r, extra={"question": ASKED}) for r in tree], "math-aps-tree")
    strip = {"mc_value", "text", "children"}
    assert fresh["reasoning_steps"]["children"][0].keys() == strip
    assert [c["mc_value"] for c in fresh["reasoning_steps"]["children"]] == [0.75, 0.0]
    assert [c["text"] for c in fresh["reasoning_steps"]["children"][0]["children"]] == ["So 9", "So 8"]


def test_a_part_of_a_row_keeps_what_the_row_says_of_its_question() -> None:
    [flat] = to_rows(from_row(APS)[1:2], "math-aps")
    assert [e["mc_value"] for e in flat["reasoning_steps"]] == [0.5, 0.75, 0, None]
    assert {k: v for k, v in flat.items() if k != "reasoning_steps"} == {
        k: v for k, v in APS.items() if k != "reasoning_steps"
    }
    [tree] = to_rows(from_row(TREE)[1:2], "math-aps-tree")
    [child] = tree["reasoning_steps"]["children"]
    assert (tree["question_id"], tree["reasoning_steps"]["mc_value"], child["visits"]) == (4, 0.5, 3)
    assert [leaf["text"] for leaf in child["children"]] == ["So 8"]
    two = [*from_row(APS), *from_row(APS | {"question_id": 5})]
    assert list(to_rows(two, "math-aps")) == [APS, APS | {"question_id": 5}]


def test_null_is_never_zero_in_any_format() -> None:
    unknown = Label(Meaning.VALUE, None, Source.ROLLOUTS)
    record = Labelled("p", "a\nb\nc", (2, 4, 5), ((), (unknown,), (replace(unknown, number=0.0),)))
    record = replace(record, extra={"question": "a, b, c?"})
    for name in FORMATS:
        [row] = to_rows([record], name)
        [again] = from_row(json.loads(json.dumps(row)), name)
        numbers = [next((x.number for x in each), None) for each in again.labels]
        assert numbers == [None, None, 0.0], name


def test_a_label_as_yes_or_no() -> None:
    soft = Label(Meaning.VALUE, 0.1, Source.ROLLOUTS, 1, 10)
    assert binary(soft) is True  # the hard label of Math-Shepherd: any of them was right
    assert binary(replace(soft, source=Source.JUDGE, successes=None, rollouts=None)) is False
    assert binary(None) is None
    human = Label(Meaning.STEP_CORRECT, 0.5, Source.HUMAN)
    assert [rating((replace(human, number=x),)) for x in (0.0, 0.5, 1.0, None)] == [-1, 0, 1, None]
    assert rating(()) is None


def test_files_arrays_and_packed_files(tmp_path: Path) -> None:
    lines, array, packed = tmp_path / "a.txt", tmp_path / "b.data", tmp_path / "c.anything"
    lines.write_text(json.dumps(TRL) + "\n\n" + json.dumps(SHEPHERD) + "\n")
    array.write_text(json.dumps([TRL, SHEPHERD]))
    packed.write_bytes(gzip.compress(lines.read_bytes()))
    assert read_labels(lines) == read_labels(array) == read_labels(packed)
    assert len(read_labels(lines)) == 2
    with pytest.raises(DataError, match=r"a\.txt, line 3: this row lacks the fields of trl"):
        read_labels(lines, "trl")
    with pytest.raises(UsageError, match="no label format 'prm'"):
        read_labels(lines, "prm")
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "none.jsonl")


def broken(row: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """The row with one value changed (dots lead into it)."""
    made = copy.deepcopy(row)
    *above, last = (int(p) if p.isdigit() else p for p in path.split("."))
    at: Any = made
    for key in above:
        at = at[key]
    at[last] = value
    return made


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (broken(TRL, "labels", [True]), "1 labels for 3 completions"),
        (broken(TRL, "labels.0", 1), "label 1 is 1; it must be true"),
        (broken(TRL, "completions.1", " \n"), "step 2 is empty"),
        (broken(TRL, "completions.1", 3), "completion 2 is 3; it must be a text"),
        (broken(SHEPHERD, "label", SHEPHERD["label"][:-3]), "label of step 3"),
        (broken(SHEPHERD, "label", SHEPHERD["label"].replace("5 +", "6 +")), "label of step 1"),
        (broken(SHEPHERD, "label", SHEPHERD["label"].replace("8 -", "8 *")), "label of step 2 is '\\*'"),
        (broken(SHEPHERD, "label", SHEPHERD["label"] + "more"), "the label ends with 'more'"),
        (broken(SHEPHERD, "input", "a ки ки"), "label of step 1"),
        (broken(PRM800K, "label.steps.0.completions.0.rating", 2), "step 1, completion 1: the rating is 2"),
        (broken(PRM800K, "label.steps.0.chosen_completion", 7), "chosen_completion is 7, of 2 completions"),
        (broken(PRM800K, "label.steps.0.completions.0.text", " "), "step 1, completion 1 is empty"),
        (broken(PRM800K, "label.steps", None), "no row of prm800k"),
        (broken(APS, "reasoning_steps.1.mc_value", "high"), 'mc_value of solution_prefix 2 is "high"'),
        (broken(APS, "reasoning_steps.1.mc_value", 1.5), "1.5; it must be in"),
        (broken(APS, "reasoning_steps.1.solution_prefix", "2 + 3"), "does not begin with the question"),
        (broken(TREE, "reasoning_steps.children.0.children.1.text", ""), "step 2 is empty"),
        (broken(TREE, "reasoning_steps.children.0.children.1.text", 3), "the text of node 0.1 is 3"),
        (broken(TREE, "reasoning_steps.children.0.children", 3), "children is 3"),
        (broken(ROWS["thence"], "labels", [[]]), "1 lists of labels for 2 steps"),
        (broken(ROWS["thence"], "text", 3), "no format of labels has the fields"),
        (broken(ROWS["thence"], "correct", "yes"), 'correct is "yes"'),
        ({"question": "?"}, "no format of labels has the fields"),
        (3, "a row is a JSON object, and this is 3"),
    ],
)
def test_what_makes_no_sense_is_named_with_file_and_line(row: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(SHEPHERD) + "\n" + json.dumps(row, ensure_ascii=False) + "\n")
    with pytest.raises(DataError, match=rf"labels\.jsonl, line 2: .*{message}"):
        read_labels(path)
    bad: list[str] = []
    assert len(read_labels(path, bad=bad)) == 1
    assert len(bad) == 1


def test_text_that_is_no_json_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(TRL) + "\n{nope\n")
    with pytest.raises(DataError, match=r"labels\.jsonl, line 2: this is no JSON"):
        read_labels(path)


def test_a_record_without_its_question_is_not_written_where_the_question_is_needed() -> None:
    for name in ("prm800k", "math-shepherd", "math-aps", "math-aps-tree", "trl"):
        with pytest.raises(DataError, match="problem p1: the record does not say its question"):
            list(to_rows([OWN], name))


def test_alternatives_belong_to_steps() -> None:
    with pytest.raises(DataError, match="1 lists of alternatives for 2 steps"):
        replace(OWN, alternatives=((Alternative("b"),),))
    with pytest.raises(DataError, match="empty"):
        Alternative(" ")
