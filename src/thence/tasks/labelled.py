"""A file of step labels as a task: where is the first wrong step of each labelled solution?

Any label file will do: exact ones (``thence label … --method exact``), people's (PRM800K), rollouts'. The first wrong
step is the first whose number is below .5; a step that people call neutral (.5 in PRM800K) is not wrong. Of the labels
one meaning counts, by default the first that the file has of: the prefix is valid, the step is correct, value. A
solution whose first wrong step is not known, because a step before it has no label, is left out (``left_out``).
"""

from __future__ import annotations

from pathlib import Path

from thence.core.errors import DataError, UsageError
from thence.core.label_files import read_labels
from thence.core.labels import Labelled
from thence.core.problem import Problem
from thence.core.scores import Meaning

from .first_error import FirstErrorTask, Given

MEANINGS = (Meaning.PREFIX_VALID, Meaning.STEP_CORRECT, Meaning.VALUE)


class LabelledSteps(FirstErrorTask):
    """``file`` is a label file in any format; ``meaning`` is prefix_valid, step_correct or value."""

    name = "labels"

    def __init__(self, file: str | None = None, meaning: str | None = None) -> None:
        if not file:
            raise UsageError(f"{self.name} needs file=PATH: step labels, as thence label writes them, or PRM800K's")
        if meaning is not None and meaning not in MEANINGS:
            raise UsageError(f"{self.name}: meaning is {meaning!r}; it is one of {', '.join(MEANINGS)}")
        if not Path(file).is_file():
            raise DataError(f"{self.name}: there is no file {file}")
        records = read_labels(file)
        known = {label.meaning for record in records for row in record.labels for label in row}
        chosen = Meaning(meaning) if meaning else next((m for m in MEANINGS if m in known), None)
        if chosen not in known:
            raise DataError(f"{self.name}: {file} has no step labels" + (f" of {meaning}" if meaning else ""))
        items, self.left_out = [], 0
        for number, record in enumerate(records, 1):
            given = _given(record, chosen)
            if given is None:
                self.left_out += 1
                continue
            question = record.extra.get("question")
            if not isinstance(question, str) or not question.strip():
                raise DataError(
                    f"{self.name}: {file}, record {number} has no question; label it again with this version"
                )
            items.append((Problem(f"{record.problem}-{number}", question), given))
        if not items:
            raise DataError(f"{self.name}: in {file} no solution's first wrong step is known; label all its steps")
        arguments = {"file": file} | ({"meaning": meaning} if meaning else {})
        super().__init__(arguments, items)


def _given(record: Labelled, meaning: Meaning) -> Given | None:
    """The solution with its first wrong step; None where that is not known."""
    first = None
    for index, number in enumerate(record.numbers(meaning)):
        if number is None:
            return None
        if number < 0.5:
            first = index
            break
    steps = list(record.steps)
    if not steps or any(not step.strip() for step in steps):
        return None
    steps[-1] += record.text[record.ends[-1] :]
    return Given(tuple(step.strip("\n") for step in steps), first)


__all__ = ["LabelledSteps"]
