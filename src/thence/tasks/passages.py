"""Solved problems and passages for retrieval, from a file, a folder, or a user's own function.

A row of a .jsonl, .json or .csv file is a solved problem if it has a column for the question and one for the solution,
and a passage if it has one for a text; columns go by the names below unless ``question=`` and ``solution=`` name them.
An answer in a column of its own that the solution does not say is added to it after ``####``. Any other file is text
and is divided at empty lines into passages of at most ``LONGEST`` characters.

In a folder what cannot be used is left out and said: hidden, binary, empty, too large or broken files. A single file
that cannot be used is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from thence.core.clean import one_line
from thence.core.errors import DataError, ThenceError, UsageError
from thence.prompts.retrieval import Asked, Passage, Retriever, Shelf

from .files import MISSING, Row, as_text, field, need_column, read_rows, read_text

QUESTION = ("question", "problem", "prompt", "input")
SOLUTION = ("solution", "reasoning", "rationale", "cot", "answer", "output")
ANSWER = ("answer", "final_answer")
TEXT = ("text", "passage", "content", "body")
TABLE = re.compile(r"\.(jsonl|json|csv)(\.gz)?$", re.IGNORECASE)
LONGEST = 1_200  # characters of a passage
MOST_BYTES = 64 * 2**20  # of one file
MOST_PASSAGES = 500_000
WHAT = "retrieval"


def read_collection(
    where: str, load: Callable[[str], Any], question: str | None = None, solution: str | None = None
) -> Retriever:
    """The collection at ``where``: a file, a folder, or ``module:function``, which ``load`` imports."""
    path = Path(where).expanduser()
    if path.is_dir():
        return _folder(path, where, question, solution)
    if not path.exists() and re.search(r":[A-Za-z_]\w*$", where):
        function = load(where)
        if not callable(function):
            raise UsageError(f"{WHAT}: {where} is no function; it takes (question, k) and returns a list")
        return Asked(where, function)
    if not path.exists():
        raise UsageError(f"{WHAT}: there is no file or folder {where}; give one of them, or module:function")
    return Shelf(where, _file(path, path.name, question, solution))


def _folder(path: Path, where: str, question: str | None, solution: str | None) -> Shelf:
    passages: list[Passage] = []
    skipped: list[str] = []
    files = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
    for file in files:
        name = str(file.relative_to(path))
        try:
            passages += _file(file, name, question, solution)
        except ThenceError as error:
            skipped.append(one_line(str(error).removeprefix(f"{WHAT}: "), 200))
        if len(passages) > MOST_PASSAGES:
            raise DataError(f"{WHAT}: {where} holds more than {MOST_PASSAGES:,} passages; give a part of it")
    if not passages:
        why = f" ({skipped[0]})" if skipped else ""
        raise DataError(
            f"{WHAT}: none of the {len(files)} files in {where} can be used{why}; give text or solved problems"
        )
    return Shelf(where, passages, tuple(skipped))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _file(path: Path, name: str, question: str | None, solution: str | None) -> list[Passage]:
    size = path.stat().st_size if path.is_file() else 0
    if size > MOST_BYTES:
        raise DataError(f"{WHAT}: {path} has {size:,} bytes, more than {MOST_BYTES:,}; divide it or give a part of it")
    if TABLE.search(path.name):
        made = list(_rows(read_rows(path, WHAT, MOST_BYTES), path, name, question, solution))
    else:
        text = read_text(path, WHAT, MOST_BYTES)
        if "\0" in text:
            raise DataError(f"{WHAT}: {path} is no text file: it holds null characters")
        made = [Passage(f"{name} line {line}", part) for line, part in pieces(text)]
    if not made:
        raise DataError(f"{WHAT}: {path} is empty; give solved problems or passages")
    return made


def _rows(rows: Sequence[Row], path: Path, name: str, question: str | None, solution: str | None) -> Iterator[Passage]:
    what = f"{WHAT}: {path}"
    for column, argument in ((question, "question"), (solution, "solution")):
        if column is not None:
            need_column(rows, column, argument, what)
    asked = question or _first(rows[0], QUESTION)
    solved = solution or _first(rows[0], SOLUTION)
    text = _first(rows[0], TEXT)
    if asked is None or solved is None:
        if (asked := question or text) is None:
            there = ", ".join(map(str, list(rows[0].fields)[:20]))
            raise UsageError(
                one_line(f"{what}: which columns? question={QUESTION[0]}, solution=…; the columns are {there}", 1000)
            )
        solved = solution
    for row in rows:
        answer = _first(row, ANSWER)
        said = _cell(row, asked).strip()
        shown = _cell(row, solved).strip() if solved is not None else ""
        final = _cell(row, answer).strip() if answer is not None and answer != solved else ""
        if shown and final and final not in shown:
            shown = f"{shown}\n#### {final}"
        if said and (shown or solved is None):
            yield Passage(f"{name} {row.where}", said, shown)


def _first(row: Row, names: Sequence[str]) -> str | None:
    return next((n for n in names if field(row, n) is not MISSING), None)


def _cell(row: Row, column: str) -> str:
    value = field(row, column)
    return "" if value is MISSING else as_text(value)


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs (line number, text), short ones joined up to ``LONGEST`` characters, a longer one cut at blanks."""
    begun, held = 0, ""
    for line, paragraph in _paragraphs(text):
        if held and len(held) + len(paragraph) + 2 > LONGEST:
            yield begun, held
            held = ""
        begun, held = (begun, f"{held}\n\n{paragraph}") if held else (line, paragraph)
        while len(held) > LONGEST:
            at = held.rfind(" ", LONGEST // 2, LONGEST)
            at = LONGEST if at < 0 else at
            yield begun, held[:at].strip()
            held = held[at:].strip()
    if held:
        yield begun, held


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    begun, held = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            begun = begun if held else number
            held.append(line.rstrip())
        elif held:
            yield begun, "\n".join(held)
            held = []
    if held:
        yield begun, "\n".join(held)
