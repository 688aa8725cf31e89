"""TAT-QA: questions on a table and the paragraphs around it, from financial reports.

Zhu et al. 2021 (arXiv:2105.07624). The questions answered by a number are taken: ``arithmetic`` and ``count``; those
answered by spans of the text are left out and counted in ``left_out``. The row names the scale of its answer (thousand,
million, billion, percent). The published number is rounded, as a rule to two places; the exact value is that of the
``derivation`` column where this is an expression that agrees. See ``table_arithmetic`` for percent, scale and sign.

Differs from the paper: there a model predicts the scale, and number and scale are graded together (and by F1); here the
question says in which scale to answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.grading.equations import find_equations
from thence.grading.numbers import parse_number

from .files import Row, as_text
from .hub import HubFile, Rows, published_file
from .rounding import written_places
from .table_arithmetic import IN_PERCENT, PLAIN, Figure, TableArithmetic, as_rounded, cells, page

SCALES = ("", "thousand", "million", "billion", "percent")
TYPES = ("arithmetic", "count")
FILES = {"test": "tatqa_dataset_test_gold.json", "dev": "tatqa_dataset_dev.json", "train": "tatqa_dataset_train.json"}


class TatQA(TableArithmetic):
    """``file`` is one of the published .json files with answers; without it the hub's ``split`` is read."""

    name = "tat-qa"

    def __init__(self, file: str | None = None, split: Literal["test", "dev", "train"] | None = None) -> None:
        if file and split:
            raise UsageError("tat-qa: give file= or split=, not both; a file is one split")
        if split not in (None, *FILES):
            raise UsageError(f"tat-qa: split is {split!r}; it must be one of {', '.join(FILES)}")
        rows = published_file(self.name, file, HubFile("next-tat/TAT-QA", FILES[split or "test"]))
        rows.need("table", "paragraphs", "questions")
        items, self.left_out = [], 0
        for row in rows.rows:
            found, skipped = _questions(rows, row)
            items += found
            self.left_out += skipped
        if not items:
            raise DataError(f"{rows.where} has no question of type {' or '.join(TYPES)} with an answer")
        super().__init__({"file": file, "split": split}, items)


def _questions(rows: Rows, row: Row) -> tuple[list[tuple[Problem, Figure]], int]:
    """The questions on one table that numbers answer, and how many others there are."""
    where = rows.at(row)
    table, paragraphs, asked = (row.fields.get(name) for name in ("table", "paragraphs", "questions"))
    if not isinstance(table, dict) or not isinstance(paragraphs, list) or not isinstance(asked, list):
        raise DataError(f"{where}: table must be an object, paragraphs and questions lists; check the row")
    grid = cells(table.get("table"), f"{where}: table.table")
    ordered = sorted((p for p in paragraphs if isinstance(p, dict)), key=lambda p: p.get("order") or 0)
    around = [as_text(p.get("text")) for p in ordered]
    items = []
    for number, question in enumerate(asked, 1):
        at = f"{where}, question {number}"
        if not isinstance(question, dict) or not isinstance(question.get("question"), str):
            raise DataError(f"{at}: there is no question; check the row")
        if question.get("answer_type") not in TYPES:
            continue
        figure, scale = _figure(question, at)
        unit = IN_PERCENT if scale == "percent" else f"Give the answer in {scale}s." if scale else PLAIN
        text = page(around, grid, (), question["question"], unit)
        items.append((Problem(as_text(question.get("uid")) or f"tat-qa-{row.where}-{number}", text, "finance"), figure))
    return items, len(asked) - len(items)


def _figure(question: Mapping[str, Any], where: str) -> tuple[Figure, str]:
    """The reference with its scale."""
    scale = as_text(question.get("scale")).strip()
    if scale not in SCALES:
        raise DataError(f"{where}: scale is {scale[:20]!r}; it must be empty or one of {', '.join(SCALES[1:])}")
    said = question.get("answer")
    number = parse_number(as_text(said)) if isinstance(said, str | int | float) else None
    if number is None or number.value is None:
        raise DataError(f"{where}: the answer {as_text(said)[:40]!r} is no number; check the row")
    places = written_places(number.plain)
    exact = derived(as_text(question.get("derivation")))
    for factor in (1, 100) if scale == "percent" else (1,):
        if exact is not None and places and as_rounded(number.value, places, exact * factor):
            return Figure(number.plain, exact * factor), scale
    return Figure(number.plain), scale


def derived(derivation: str) -> Fraction | None:
    """The exact value of a derivation that is one expression, such as ``(44.1-56.7)/56.7``; else None."""
    plain = derivation.strip().replace("[", "(").replace("]", ")")
    found = find_equations(plain)
    if len(found) != 1 or len(found[0].sides) != 1 or (found[0].start, found[0].end) != (0, len(plain)):
        return None
    return found[0].sides[0].value


__all__ = ["TatQA", "derived"]
