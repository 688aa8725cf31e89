"""Rows of label files that list the steps of one solution: PRM800K, Math-Shepherd, TRL. See ``label_files``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import DataError
from .labels import Alternative, Label, Labelled, Source
from .problem import Problem
from .scores import Meaning

TAG = "ки"
Row = Mapping[str, Any]


def question(record: Labelled) -> str:
    """The question that a record belongs to. DataError where the record does not say."""
    said = record.extra.get("question")
    if not isinstance(said, str):
        raise DataError(f"problem {record.problem}: the record does not say its question, which this format writes")
    return said


def binary(label: Label | None) -> bool | None:
    """A label as yes or no, None where nobody knows: a value by rollouts is yes if any was right, others from .5 on."""
    if label is None or label.number is None:
        return None
    return label.number > 0 if by_rollouts(label) else label.number >= 0.5


def by_rollouts(label: Label) -> bool:
    """Whether a label is the share of right ones among completions."""
    return label.meaning is Meaning.VALUE and label.source is Source.ROLLOUTS


def text_of(row: Row, key: str, what: str = "") -> str:
    """The text in a field, which the error calls ``what``."""
    value = row[key]
    if not isinstance(value, str):
        raise DataError(f"{what or key} is {json.dumps(value)[:40]}; it must be a text")
    return value


def share(value: Any, what: str) -> float | None:
    """A value in [0, 1] or null."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{what} is {json.dumps(value)[:40]}; it must be a number or null")
    return float(value)


def without(row: Row, *keys: str) -> dict[str, Any]:
    """All other fields."""
    return {k: v for k, v in row.items() if k not in keys}


def question_hash(asked: str) -> str:
    """The ``problem`` of a record that has only its question; an empty question has none."""
    return Problem("", asked).hash if asked.strip() else ""


def joined(steps: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    """Steps as one text with a line break between them, and where they end."""
    ends, at = list[int](), 0
    for i, step in enumerate(steps):
        if not step.strip():
            raise DataError(f"step {i + 1} is empty; leave it out, with its label")
        at += len(step) + (i < len(steps) - 1)
        ends.append(at)
    return "\n".join(steps), tuple(ends)


def unjoined(steps: Sequence[str]) -> list[str]:
    """Steps without the line break between them: the reverse of ``joined``."""
    return [*(step.removesuffix("\n") for step in steps[:-1]), *steps[-1:]]


def closed_steps(record: Labelled) -> list[str]:
    """The steps of a record; text after the last one belongs to it."""
    steps = list(record.steps)
    if steps:
        steps[-1] += record.text[record.ends[-1] :]
    return steps


def first_known(row: Sequence[Label]) -> Label | None:
    """The label that a format with one label a step writes: the first that knows, else the first."""
    return next((x for x in row if x.number is not None), next(iter(row), None))


# --- PRM800K ----------------------------------------------------------------------------------------------------------

_RATINGS = {-1: 0.0, 0: 0.5, 1: 1.0}


def read_prm800k(row: Row) -> list[Labelled]:
    """The path is the chosen text of each step; where none was chosen the human's, else the first. Others that were
    rated are alternatives. A step without any text (the labeler gave up) is only kept."""
    asked, said = row["question"], row["label"]
    texts, labels, others, notes = list[str](), list[tuple[Label, ...]](), list[tuple[Alternative, ...]](), []
    for number, step in enumerate(said["steps"], 1):
        rated = step["completions"]
        found = [_rated(c, f"step {number}, completion {i}") for i, c in enumerate(rated or [], 1)]
        human, chosen = step["human_completion"], step["chosen_completion"]
        if chosen is not None and not (isinstance(chosen, int) and 0 <= chosen < len(found)):
            raise DataError(f"step {number}: chosen_completion is {chosen!r}, of {len(found)} completions")
        at = chosen if chosen is not None else None if human is not None or not found else 0
        note = without(step, "completions") | {
            "at": at,
            "fields": [without(c, "text", "rating") for c in rated or []],
        }
        note |= {"listed": rated is not None}
        if at is not None:
            path = found.pop(at)
        elif human is not None:
            path, note["human_completion"] = _rated(human, f"step {number}, human_completion"), without(human, "text")
        else:
            notes.append(note | {"absent": True})
            continue
        notes.append(note)
        texts.append(path.text)
        labels.append(path.labels)
        others.append(tuple(found))
    text, ends = joined(texts)
    problem = text_of(asked, "problem", "question.problem")
    kept = {
        "row": without(row, "question", "label"),
        "question": without(asked, "problem"),
        "label": without(said, "steps"),
        "steps": notes,
    }
    extra = {"question": problem, "prm800k": kept}
    return [
        Labelled(question_hash(problem), text, ends, tuple(labels), None, extra, tuple(others) if any(others) else ())
    ]


def _rated(completion: Row, what: str) -> Alternative:
    rating = completion["rating"]
    if rating is not None and (isinstance(rating, bool) or rating not in _RATINGS):
        raise DataError(f"{what}: the rating is {json.dumps(rating)[:40]}; it must be -1, 0, 1 or null")
    text = text_of(completion, "text", f"{what}: the text")
    if not text.strip():
        raise DataError(f"{what} is empty; leave it out")
    number = None if rating is None else _RATINGS[rating]
    return Alternative(text, (Label(Meaning.STEP_CORRECT, number, Source.HUMAN),))


def rating(labels: Sequence[Label]) -> int | None:
    """PRM800K's rating of a step: -1 below .5, 0 at .5, 1 above, None where nobody knows."""
    label = first_known(labels)
    if label is None or label.number is None:
        return None
    if by_rollouts(label):
        return 1 if binary(label) else -1
    return (label.number > 0.5) - (label.number < 0.5)


def write_prm800k(records: Sequence[Labelled]) -> dict[str, Any]:
    """The ratings of a record; one of another origin gets one text a step, which is chosen."""
    [record] = records
    kept = record.extra.get("prm800k") or {}
    paths = zip(
        unjoined(closed_steps(record)), record.labels, record.alternatives or [()] * len(record.ends), strict=True
    )
    notes = kept.get("steps") or [{} for _ in record.ends]
    if sum(not note.get("absent") for note in notes) != len(record.ends):
        raise DataError(f"problem {record.problem}: {len(record.ends)} steps, and the kept row has {len(notes)}")
    steps = [_step_row(note, None if note.get("absent") else next(paths)) for note in notes]
    return {
        **kept.get("row", {}),
        "question": {"problem": question(record), **kept.get("question", {})},
        "label": {"steps": steps, **kept.get("label", {})},
    }


def _step_row(note: Row, path: tuple[str, tuple[Label, ...], Sequence[Alternative]] | None) -> dict[str, Any]:
    """A step of PRM800K; ``note`` is what was kept of it, and empty for a record of another origin."""
    at, human = note.get("at", 0), note.get("human_completion")
    found = [(a.text, a.labels) for a in path[2]] if path is not None else []
    if path is not None and at is not None:
        found.insert(at, (path[0], path[1]))
    elif path is not None and human is not None:
        human = {"text": path[0], **human, "rating": rating(path[1])}
    fields = note.get("fields") or [{"flagged": False}] * len(found)
    completions = [
        {"text": text, "rating": rating(labels), **more} for (text, labels), more in zip(found, fields, strict=True)
    ]
    return {
        "completions": completions if note.get("listed", True) else None,
        "human_completion": human,
        "chosen_completion": note.get("chosen_completion", None if note else 0),
        **without(note, "at", "fields", "listed", "absent", "human_completion", "chosen_completion"),
    }


# --- Math-Shepherd ----------------------------------------------------------------------------------------------------


def read_shepherd(row: Row) -> list[Labelled]:
    """The text without its marks; a mark that stands in the label as it is, is no label."""
    whole, labelled = text_of(row, "input"), text_of(row, "label")
    *parts, tail = whole.split(TAG)
    signs, at = list[str](), 0
    for i, part in enumerate(parts, 1):
        sign = labelled[at + len(part) :][:1] if labelled.startswith(part, at) else ""
        if sign == TAG[0]:
            sign = TAG
        if sign not in ("+", "-", TAG):
            raise DataError(f"the label of step {i} is {sign!r}, not + or -, or its text is not that of the input")
        signs.append(sign)
        at += len(part) + len(sign)
    if labelled[at:] != tail:
        raise DataError(f"the label ends with {labelled[at:][:40]!r} and the input with {tail[:40]!r}")
    start = max(parts[0].find("Step 1:"), 0) if parts else 0
    asked, steps = whole[:start], [p[start:] if i == 0 else p for i, p in enumerate(parts)]
    ends, end = list[int](), 0
    for i, step in enumerate(steps, 1):
        if not step.strip():
            raise DataError(f"step {i} is empty; leave it out, with its label")
        end += len(step)
        ends.append(end)
    numbers = {"+": 1.0, "-": 0.0, TAG: None}
    labels = tuple((Label(Meaning.VALUE, numbers[sign], Source.ROLLOUTS),) for sign in signs)
    extra = {"question": asked, "math-shepherd": without(row, "input", "label")}
    return [Labelled(question_hash(asked), "".join(steps) + tail, tuple(ends), labels, None, extra)]


def write_shepherd(records: Sequence[Labelled]) -> dict[str, Any]:
    """A record of another origin gets the published form: a blank before the mark, a line break after it."""
    [record] = records
    kept = record.extra.get("math-shepherd")
    signs = [{True: "+", False: "-", None: TAG}[binary(first_known(row))] for row in record.labels]
    steps, asked = list(record.steps), question(record)
    tail = record.text[record.ends[-1] :] if record.ends else record.text
    if kept is None:
        steps = [("\n" if i else "") + s.strip() + " " for i, s in enumerate(closed_steps(record))]
        asked, tail, kept = asked.rstrip() + " ", "", {}
    if any(TAG in text for text in (*steps, asked, tail)):
        raise DataError(f"problem {record.problem}: the text holds {TAG!r}, which marks the steps of this format")
    made = {
        name: asked + "".join(s + mark for s, mark in zip(steps, marks, strict=True)) + tail
        for name, marks in (("input", [TAG] * len(steps)), ("label", signs))
    }
    return {**made, **kept}


# --- TRL --------------------------------------------------------------------------------------------------------------


def read_trl(row: Row) -> list[Labelled]:
    """TRL says nothing of the source and the meaning of its labels."""
    steps, marks = row["completions"], row["labels"]
    if len(steps) != len(marks):
        raise DataError(f"{len(marks)} labels for {len(steps)} completions")
    for i, (step, mark) in enumerate(zip(steps, marks, strict=True), 1):
        if not isinstance(step, str):
            raise DataError(f"completion {i} is {json.dumps(step)[:40]}; it must be a text")
        if not isinstance(mark, bool | None):
            raise DataError(f"label {i} is {json.dumps(mark)[:40]}; it must be true, false or null")
    text, ends = joined(steps)
    labels = tuple(
        (Label(Meaning.STEP_CORRECT, None if mark is None else float(mark), Source.GIVEN),) for mark in marks
    )
    asked = row["prompt"]
    extra = {"question": asked, "trl": without(row, "prompt", "completions", "labels")}
    return [Labelled(question_hash(asked), text, ends, labels, None, extra)]


def write_trl(records: Sequence[Labelled]) -> dict[str, Any]:
    """Steps without the line breaks between them: TRL puts its own separator there."""
    [record] = records
    return {
        "prompt": question(record),
        "completions": unjoined(closed_steps(record)),
        "labels": [binary(first_known(row)) for row in record.labels],
        **(record.extra.get("trl") or {}),
    }
