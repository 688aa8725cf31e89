"""Multiple choice: questions with lettered options, from a file or the hub.

Rows come in the shapes that published sets have, found by their columns:

| options | example |
|---|---|
| a list in ``choices`` or ``options`` | MMLU, CommonsenseQA-like tables |
| an object ``{"text": […], "label": […]}`` in it | ARC of AI2, OpenBookQA, CommonsenseQA |
| columns ``A``, ``B``, ``C``, … | tables |

The answer (``answer``, ``answerKey``, ``label`` or ``target``) is the letter or label of an option, its index from 0,
or its text. Policy: a letter goes before a label, a label before an index, an index before a text; an answer that names
no option is an error of its row.

Options are shown as ``A. …`` in the file's order, or shuffled per question by ``shuffle=SEED``: the same seed gives the
same order in every run, and a model that likes A is seen. A reply's answer is the letter after the last marker, else
the last letter that stands alone in brackets, before a full stop or a colon, or on a line of its own; an option's whole
text counts as its letter.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from thence.core.answers import Answer, Grade, Reading, Verdict
from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.grading.extract import DEFAULT_MARKERS, TextReading, canonical

from .answered import AnsweredTask, text_of
from .files import Row, as_text
from .hub import Hub, Rows, published

LETTERS = string.ascii_uppercase
MARKERS = (*DEFAULT_MARKERS, "Answer:", "The correct answer is", "The correct option is")
_ALONE = re.compile(
    r"\(\s*([A-Z])\s*\)|(?:^|\n)[ \t*]*([A-Z])[ \t*]*[.):]?[ \t*]*(?=\n|$)|\b(?:option|choice) ([A-Z])\b"
)
_FIRST = re.compile(r"\W*(?i:option |choice )?\(?(?:([A-Z])(?:[).:,*\s]|$)|([a-z])(?:[).:]|\W*$))")


@dataclass(frozen=True, slots=True)
class ChoiceReading:
    """The letter of the chosen option; see the module."""

    markers: tuple[str, ...] = MARKERS

    def extract(self, reply: str) -> Answer | None:
        """The letter with its place in ``reply``, or the text after the last marker where it is no letter."""
        said = TextReading(self.markers, "none").extract(reply)
        if said is not None:
            letter = _FIRST.match(said.value)
            if letter is None:
                return said
            start = said.start + letter.start(letter.lastindex or 1)
            return Answer(letter[letter.lastindex or 1].upper(), start, start + 1)
        alone = list(_ALONE.finditer(reply[-20_000:]))
        if not alone:
            return None
        group = alone[-1].lastindex or 1
        cut = max(0, len(reply) - 20_000)
        return Answer(alone[-1][group], alone[-1].start(group) + cut, alone[-1].end(group) + cut)

    def key(self, value: str) -> str:
        """Equal letters, or equal texts up to case and blanks."""
        return canonical(value)


class Choice(AnsweredTask):
    """``file`` or ``hub`` (with ``config`` and ``split``) names the rows; ``question``, ``choices`` and ``answer`` name
    columns where they are not the usual ones. ``shuffle`` is a seed: options in random order, per question."""

    name = "choice"

    def __init__(
        self,
        file: str | None = None,
        hub: str | None = None,
        config: str | None = None,
        split: str = "test",
        question: str = "question",
        choices: str | None = None,
        answer: str | None = None,
        shuffle: int | None = None,
    ) -> None:
        if (file is None) == (hub is None):
            raise UsageError("choice needs file=PATH or hub=NAME, one of them; e.g. choice(file=questions.jsonl)")
        rows = published(self.name, file, Hub(hub or "", split, config))
        asked = rows.column(question)
        listed = _options_column(rows, choices)
        key = rows.column(answer) if answer else rows.column("answer", "answerKey", "label", "target")
        items, self._options = [], dict[str, tuple[str, ...]]()
        for number, row in enumerate(rows.rows, 1):
            options, labels = _options(rows, row, listed)
            right = _index(row.fields.get(key), options, labels, f"{rows.at(row)}: column {key!r}")
            order = list(range(len(options)))
            text = text_of(rows, row, asked)
            if shuffle is not None:
                Random(f"choice-{shuffle}-{text}").shuffle(order)
            shown = "\n".join(f"{letter}. {options[i]}" for letter, i in zip(LETTERS, order, strict=False))
            name = f"choice-{number:05d}"
            items.append((Problem(name, f"{text}\n{shown}\nWrite the letter after ####."), LETTERS[order.index(right)]))
            self._options[name] = tuple(canonical(options[i]) for i in order)
        arguments: dict[str, object] = {"file": file, "hub": hub, "config": config}
        arguments |= {"split": split if hub and split != "test" else None, "shuffle": shuffle}
        arguments |= {"question": question if question != "question" else None, "choices": choices, "answer": answer}
        super().__init__(arguments, items)

    @property
    def reading(self) -> Reading:
        """The letter of an option."""
        return ChoiceReading()

    def compare(self, problem: Problem, answer: str | None) -> Grade:
        """Right if the answer is the letter of the right option, or all its text."""
        if answer is None or not answer.strip():
            return Grade(Verdict.NO_ANSWER, None, "no option was named")
        gold, options = self.reference(problem), self._options[problem.id]
        said = answer.strip().upper()
        if len(said) != 1:
            same = [LETTERS[i] for i, text in enumerate(options) if text == canonical(answer)]
            if len(same) != 1:
                return Grade(Verdict.INCORRECT, answer, "it is neither a letter nor the text of one option")
            said = same[0]
        if said not in LETTERS[: len(options)]:
            return Grade(Verdict.INCORRECT, answer, f"there is no option {said}; there are {len(options)}")
        return Grade(Verdict.CORRECT if said == gold else Verdict.INCORRECT, said, f"the right option is {gold}")


def _options_column(rows: Rows, named: str | None) -> str | None:
    """The column with all options; None where they stand in columns A, B, …"""
    if named is not None:
        return rows.column(named)
    there = rows.rows[0].fields
    found = next((name for name in ("choices", "options") if name in there), None)
    if found is None and not {"A", "B"} <= set(there):
        raise UsageError(f"{rows.where}: there is no column choices or options, and no columns A, B, …; use choices=")
    return found


def _options(rows: Rows, row: Row, column: str | None) -> tuple[list[str], list[str]]:
    """The options' texts and their labels; DataError unless there are 2 to 26 different ones."""
    labels: list[str] = []
    value: Any
    if column is None:
        value = [row.fields[letter] for letter in LETTERS if row.fields.get(letter) not in (None, "")]
    else:
        value = row.fields.get(column)
    if isinstance(value, dict):
        labels = [as_text(label) for label in value.get("label") or ()]
        value = value.get("text")
    options = [as_text(option).strip() for option in value] if isinstance(value, list | tuple) else []
    where = f"{rows.at(row)}: the options"
    if not 2 <= len(options) <= len(LETTERS) or not all(options) or (labels and len(labels) != len(options)):
        raise DataError(f"{where} must be a list of 2 to {len(LETTERS)} texts, none empty; check the row")
    if len(set(options)) < len(options):
        raise DataError(f"{where} hold the same text twice; an answer could not be told from another")
    return options, labels


def _index(value: object, options: Sequence[str], labels: Sequence[str], where: str) -> int:
    """Which option ``value`` names: by letter, label, index from 0, or text; DataError if none."""
    said = as_text(value).strip() if isinstance(value, str | int | float) else ""
    if len(said) == 1 and said.upper() in LETTERS[: len(options)]:
        return LETTERS.index(said.upper())
    if said in labels:
        return labels.index(said)
    if said.isdecimal() and int(said) < len(options):
        return int(said)
    if said in options:
        return options.index(said)
    raise DataError(f"{where} is {said[:40]!r}, which names none of the {len(options)} options")


__all__ = ["Choice", "ChoiceReading"]
