"""Variants of grade-school word problems: SVAMP and GSM-Hard.

* SVAMP (Patel et al. 2021, arXiv:2103.07191): 1,000 one-step problems made from older ones by small changes of the
  question, the structure and the distractors. Body and question are two columns; they are joined by a blank, with a
  full stop where the body has none.
* GSM-Hard (Gao et al. 2022, arXiv:2211.10435): the 1,319 test questions of GSM8K with one number replaced by a large
  one. References are what the rewritten program printed, so they are floats, may be negative or absurd, and are kept
  as published. It stands beside GSM8K row by row.

A reference that is no whole number is met by a decimal that is rightly rounded, see ``rounding``.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from thence.core.answers import Grade
from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.grading.numbers import parse_number

from .answered import AnsweredTask, text_of
from .hub import Hub, published
from .rounding import grade_number, written_places


class NumberTask(AnsweredTask):
    """Questions whose references are numbers, whole or decimal."""

    def compare(self, problem: Problem, answer: str | None) -> Grade:
        """The exact number; against one that is not whole also a rightly rounded decimal."""
        plain = self.reference(problem)
        return grade_number(_number(plain, f"{self.name}: {problem.id}"), answer, places=written_places(plain))


class Svamp(NumberTask):
    """``file`` is the published .json (or .jsonl) with Body, Question, Answer and ID, all 1,000 problems.

    Without a file the hub's copy is read, whose ``split`` is test (300) or train (700).
    """

    name = "svamp"

    def __init__(self, file: str | None = None, split: Literal["test", "train"] | None = None) -> None:
        if file and split:
            raise UsageError("svamp: give file= or split=, not both; a file is read whole")
        if split not in (None, "test", "train"):
            raise UsageError(f"svamp: split is {split!r}; it must be test or train")
        rows = published(self.name, file, Hub("ChilleD/SVAMP", split or "test"))
        rows.need("Body", "Question", "Answer", "ID")
        items = []
        for row in rows.rows:
            body, question = text_of(rows, row, "Body").strip(), text_of(rows, row, "Question").strip()
            body += "" if body.endswith((".", "!", "?")) else "."
            gold = need_number(text_of(rows, row, "Answer"), rows.at(row))
            items.append((Problem(text_of(rows, row, "ID"), f"{body} {question}", "word-problems"), gold))
        super().__init__({"file": file, "split": split}, items)


class GsmHard(NumberTask):
    """``file`` is the published .jsonl with ``input`` and ``target``; without it the hub is read."""

    name = "gsm-hard"

    def __init__(self, file: str | None = None) -> None:
        rows = published(self.name, file, Hub("reasoning-machines/gsm-hard", "train"))
        rows.need("input", "target")
        items = []
        for number, row in enumerate(rows.rows, 1):
            gold = need_number(text_of(rows, row, "target"), rows.at(row))
            items.append((Problem(f"gsm-hard-{number:04d}", text_of(rows, row, "input"), "word-problems"), gold))
        super().__init__({"file": file}, items)


def need_number(text: str, where: str) -> str:
    """``text`` as a number is typed; DataError unless it is one."""
    number = parse_number(text)
    if number is None or number.value is None:
        raise DataError(f"{where}: the reference {text[:60]!r} is no number; check the row")
    return number.plain


def _number(plain: str, where: str) -> Fraction:
    number = parse_number(plain)
    if number is None or number.value is None:
        raise DataError(f"{where}: the reference {plain[:60]!r} is no number")
    return number.value


__all__ = ["GsmHard", "NumberTask", "Svamp", "need_number"]
