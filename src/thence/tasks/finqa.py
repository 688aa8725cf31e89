"""FinQA: questions on a page of a financial report, answered by a short calculation.

Chen et al. 2021 (arXiv:2109.00122); the published rows have the text before and after a table, the table, a question,
a program such as ``subtract(5829, 5735), divide(#0, 5735)``, its result rounded to five places (``exe_ans``) and the
answer as written. The program is computed here in exact fractions, which gives the exact value; where it cannot be
(a fractional power, a row of the table with a blank cell) ``exe_ans`` stands. See ``table_arithmetic`` for percent,
scale and sign: a reference is in percent where the written answer has the sign, or, without a written answer, where the
question asks for a percentage.

Differs from the paper: the whole page is shown (no retriever), and answers are graded, not programs. A written answer
that is not the program's value is listed before a run (the set is known to be noisy) and does not count as right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.grading.numbers import find_numbers, parse_number

from .files import Row, as_text
from .hub import Rows, published
from .rounding import shown, written_places
from .table_arithmetic import IN_PERCENT, PLAIN, Figure, TableArithmetic, as_rounded, cells, page, texts

RESULT_PLACES = 5
MAX_STEPS = 20
_STEP = re.compile(r"\s*(\w+)\(\s*([^()]*(?:\([^()]*\)[^()]*)*?)\s*,\s*([^,()]*?)\s*\)\s*,?")


class FinQA(TableArithmetic):
    """``file`` is one of the published .json files (train, dev, test)."""

    name = "finqa"

    def __init__(self, file: str | None = None) -> None:
        if not file:
            raise UsageError("finqa needs file=PATH: train.json, dev.json or test.json of the FinQA repository")
        rows = published(self.name, file)
        rows.need("id", "pre_text", "table", "post_text", "qa")
        items, doubtful = [], []
        for row in rows.rows:
            problem, figure, doubt = _item(rows, row)
            items.append((problem, figure))
            if doubt:
                doubtful.append((problem.id, doubt))
        super().__init__({"file": file}, items, doubtful)


def _item(rows: Rows, row: Row) -> tuple[Problem, Figure, str]:
    where = rows.at(row)
    asked = row.fields.get("qa")
    name = row.fields.get("id")
    if not isinstance(asked, dict) or not isinstance(name, str) or not isinstance(asked.get("question"), str):
        raise DataError(
            f"{where}: qa must be an object with a question, and id a text (private_test.json has no answers)"
        )
    table = cells(row.fields.get("table"), f"{where}: column 'table'")
    figure, percent, doubt = _figure(asked, table, where)
    text = page(
        texts(row.fields.get("pre_text"), f"{where}: column 'pre_text'"),
        table,
        texts(row.fields.get("post_text"), f"{where}: column 'post_text'"),
        asked["question"],
        "Answer yes or no." if figure.value is None else IN_PERCENT if percent else PLAIN,
    )
    return Problem(name, text, "finance"), figure, doubt


def _figure(asked: Mapping[str, Any], table: Sequence[Sequence[str]], where: str) -> tuple[Figure, bool, str]:
    """The reference, whether it is in percent, and what is doubtful about it."""
    result, written = as_text(asked.get("exe_ans")).strip().lower(), as_text(asked.get("answer")).strip()
    if result in ("yes", "no"):
        return Figure(result), False, ""
    number = parse_number(result)
    if number is None or number.value is None:
        raise DataError(f"{where}: qa.exe_ans is {result[:40]!r}; it must be a number, yes or no")
    exact = run_program(as_text(asked.get("program")), table)
    doubt = ""
    if exact is not None and not as_rounded(number.value, RESULT_PLACES, exact):
        doubt, exact = f"its program gives {shown(exact)[:20]}, and exe_ans is {result}", None
    value = number.value if exact is None else exact
    said = next(find_numbers(written), None)
    places = written_places(said.plain) if said is not None else 0
    percent = "%" in written if written else "percent" in str(asked["question"]).lower()
    if said is None or said.value is None:
        factor = 100 if percent else 1
        return Figure(shown(number.value * factor), None if exact is None else exact * factor), percent, doubt
    factor = next((f for f in ((100, 1) if percent else (1,)) if as_rounded(said.value, places, value * f)), 0)
    if factor:
        return Figure(said.plain, value * factor if exact is not None else None), percent, doubt
    factor = 100 if percent else 1
    doubt = doubt or f"the written answer {written[:20]} is not the program's value {shown(value * factor)[:20]}"
    return Figure(shown(number.value * factor), None if exact is None else exact * factor), percent, doubt


def run_program(program: str, table: Sequence[Sequence[str]]) -> Fraction | None:
    """The exact value of a FinQA program; None where it has none here (see the module)."""
    results: list[Fraction] = []
    at = 0
    for step in _STEP.finditer(program):
        if step.start() != at or len(results) >= MAX_STEPS:
            return None
        at = step.end()
        name, left, right = step.groups()
        made = _table_step(name, left, table) if name.startswith("table_") else _step(name, left, right, results)
        if made is None:
            return None
        results.append(made)
    return results[-1] if results and not program[at:].strip() else None


def _step(name: str, left: str, right: str, results: Sequence[Fraction]) -> Fraction | None:
    a, b = (_argument(text, results) for text in (left, right))
    if a is None or b is None:
        return None
    if name == "divide":
        return a / b if b else None
    if name == "exp":
        return a ** int(b) if b.denominator == 1 and abs(b) <= 50 and (a or b > 0) else None
    return {"add": a + b, "subtract": a - b, "multiply": a * b}.get(name)


def _argument(text: str, results: Sequence[Fraction]) -> Fraction | None:
    """``#0`` is an earlier result, ``const_100`` and ``const_m1`` constants, ``8.1%`` the hundredth part."""
    if text.startswith("#"):
        index = text[1:]
        return results[int(index)] if index.isdecimal() and int(index) < len(results) else None
    plain = text.removeprefix("const_")
    plain = f"-{plain[1:]}" if plain.startswith("m") and plain != text else plain
    number = parse_number(plain)
    if number is None or number.value is None:
        return None
    return number.value / 100 if text.endswith("%") else number.value


def _table_step(name: str, row: str, table: Sequence[Sequence[str]]) -> Fraction | None:
    """``table_sum(row name, none)`` and its kin over the numbers of a row, what stands in brackets after one aside."""
    found = next((cells for cells in table if cells[0].strip() == row.strip()), None)
    numbers = [_argument(cell.replace("$", "").split("(")[0].strip(), ()) for cell in found[1:]] if found else []
    values = [value for value in numbers if value is not None]
    if not values or len(values) < len(numbers):
        return None
    made = {"table_sum": sum(values, Fraction(0)), "table_max": max(values), "table_min": min(values)}
    return sum(values, Fraction(0)) / len(values) if name == "table_average" else made.get(name)


__all__ = ["FinQA", "run_program"]
