"""Competition mathematics: MATH, its MATH-500 subset, and AIME.

* MATH (Hendrycks et al. 2021, arXiv:2103.03874): 12,500 problems in seven subjects and five levels. The reference is
  the last ``\\boxed{}`` of the solution, together with boxes that directly precede it ("x = -2 and x = 1"). The hub's
  copy stands in seven configurations.
* MATH-500 (Lightman et al. 2023, arXiv:2305.20050): 500 test problems of MATH, held out for PRM800K.
* AIME: 30 problems a year, answers are whole numbers from 0 to 999 and compare exactly.

Answers of MATH are read and compared by ``grading.mathematics``: typed values, exact, no ``eval`` and no computer
algebra on strings.

Differs from the usual script, which takes the last box alone: in 10 of the 5,000 test solutions the answer is listed in
several boxes; 7 of these are different values, of which the last alone would be half an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, get_args

from thence.core.answers import Grade, Reading
from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.grading import MathReading, grade_math
from thence.grading.numbers import parse_number

from .answered import AnsweredTask, text_of
from .files import Row, as_text
from .hub import Hub, Rows, published

Subject = Literal[
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
]
SUBJECTS: tuple[str, ...] = get_args(Subject)
AIME_LARGEST = 999


class _MathTask(AnsweredTask):
    """Questions whose references are mathematical expressions."""

    @property
    def reading(self) -> Reading:
        """The last box, else what follows the last marker; see ``grading.mathematics``."""
        return MathReading()

    def compare(self, problem: Problem, answer: str | None) -> Grade:
        """Equality of typed mathematical values."""
        return grade_math(self.reference(problem), answer)


class Math(_MathTask):
    """``file`` is a table with ``problem`` and ``solution`` (and ``answer``, if there is one: the last box if not);
    without it the hub's ``split`` is read. ``subject`` and ``level`` (1 to 5) choose among the problems."""

    name = "math"

    def __init__(
        self,
        file: str | None = None,
        split: Literal["test", "train"] | None = None,
        subject: Subject | None = None,
        level: int | None = None,
    ) -> None:
        if file and split:
            raise UsageError("math: give file= or split=, not both; a file is read whole")
        if split not in (None, "test", "train"):
            raise UsageError(f"math: split is {split!r}; it must be test or train")
        if subject is not None and subject not in SUBJECTS:
            raise UsageError(f"math: subject is {subject!r}; it must be one of {', '.join(SUBJECTS)}")
        if level is not None and not 1 <= level <= 5:
            raise UsageError(f"math: level is {level}; it must be from 1 to 5")
        chosen = [s for s in SUBJECTS if subject in (None, s)]
        hubs = [Hub("EleutherAI/hendrycks_math", split or "test", s) for s in chosen]
        rows = published(self.name, file, *hubs)
        items = _items(rows, self.name, subject, level)
        super().__init__({"file": file, "split": split, "subject": subject, "level": level}, items)


class Math500(_MathTask):
    """``file`` is the published .jsonl with ``problem``, ``answer`` and ``unique_id``; without it the hub is read."""

    name = "math500"

    def __init__(self, file: str | None = None, subject: Subject | None = None, level: int | None = None) -> None:
        rows = published(self.name, file, Hub("HuggingFaceH4/MATH-500", "test"))
        rows.need("answer", "unique_id")
        super().__init__({"file": file, "subject": subject, "level": level}, _items(rows, self.name, subject, level))


class Aime(AnsweredTask):
    """``file`` is a table with ``problem`` and ``answer``; without it the hub's problems of ``year`` are read."""

    name = "aime"

    def __init__(self, file: str | None = None, year: int | None = None) -> None:
        if file and year:
            raise UsageError("aime: give file= or year=, not both; a file is read whole")
        if year is not None and not 2024 <= year <= 2099:
            raise UsageError(f"aime: year is {year}; the hub has single years from 2024 on, write aime(file=PATH)")
        chosen = year or 2025
        hub = Hub("HuggingFaceH4/aime_2024" if chosen == 2024 else f"MathArena/aime_{chosen}", "train")
        rows = published(self.name, file, hub)
        asked, said = rows.column("problem", "Problem", "question"), rows.column("answer", "Answer")
        prefix = "aime" if file else f"aime-{chosen}"
        items = []
        for number, row in enumerate(rows.rows, 1):
            gold = parse_number(text_of(rows, row, said))
            if gold is None or gold.value is None or gold.value not in map(Fraction, range(AIME_LARGEST + 1)):
                raise DataError(f"{rows.at(row)}: the answer must be a whole number from 0 to {AIME_LARGEST}")
            items.append((Problem(f"{prefix}-{number:03d}", text_of(rows, row, asked), "mathematics"), str(gold.value)))
        super().__init__({"file": file, "year": year}, items)


def _items(rows: Rows, name: str, subject: str | None, level: int | None) -> Sequence[tuple[Problem, str]]:
    rows.need("problem")
    there = rows.rows[0].fields
    if "answer" not in there:
        rows.need("solution")
    if subject is not None:
        rows.column("subject", "type")
    if level is not None:
        rows.need("level")
    items = []
    for number, row in enumerate(rows.rows, 1):
        if subject is not None and _subject(row) != subject:
            continue
        if level is not None and as_text(row.fields.get("level")).removeprefix("Level").strip() != str(level):
            continue
        id = as_text(row.fields.get("unique_id")).strip() or f"{name}-{number:05d}"
        gold = text_of(rows, row, "answer") if "answer" in there else _boxed(rows, row)
        items.append((Problem(id, text_of(rows, row, "problem"), "mathematics"), gold))
    if not items:
        raise UsageError(f"{rows.where}: no problem has subject={subject}, level={level}")
    return items


def _subject(row: Row) -> str:
    """The subject as its configuration is named: ``Counting & Probability`` is counting_and_probability."""
    named: Any = row.fields.get("subject") or row.fields.get("type") or ""
    return as_text(named).strip().lower().replace("&", "and").replace(" ", "_")


def _boxed(rows: Rows, row: Row) -> str:
    """What the solution boxes; DataError where there is no box."""
    solution = text_of(rows, row, "solution")
    box = MathReading().extract(solution) if "\\boxed" in solution or "\\fbox" in solution else None
    if box is None:
        raise DataError(f"{rows.at(row)}: the solution has no \\boxed{{…}}; check the row")
    return box.value


__all__ = ["SUBJECTS", "Aime", "Math", "Math500"]
