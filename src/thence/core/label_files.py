"""The field's files of step labels, read to and written from ``Labelled``.

* ``thence``: a record of ours.
* ``prm800k`` (Lightman et al. 2023, arXiv:2305.20050): ratings -1, 0, +1 of several texts a step; they are the numbers
  0, .5, 1 of STEP_CORRECT.
* ``math-shepherd`` (Wang et al. 2023, arXiv:2312.08935): ``ки`` after each step, with ``+`` or ``-`` in its place; 1 or
  0 of VALUE.
* ``math-aps`` (OmegaPRM, Luo et al. 2024, arXiv:2406.06592, as OpenR publishes it): prefixes with their VALUE.
* ``math-aps-tree``: the same as a tree, where a node's text is its own step.
* ``trl``: ``{prompt, completions, labels}``, true or false; 1 or 0 of STEP_CORRECT.

A format is recognised by its fields or given by name, never guessed from a file's name. Whatever a row says beyond its
labels is kept in ``extra`` (under the format's name), so that what was read is written back equal, and a changed label
changes that label only. The question is ``extra["question"]``; ``problem`` is the question's hash. Null stays null.

Where a format lists steps without what stands between them, they are joined by line breaks. A row of prefixes or a
tree becomes one record for each path; a label that many paths share has the weight 1 / paths in each of them, so that
it counts once.

Not covered: labels of the question alone (MATH-APS has one) are kept and are no step label; Math-Shepherd's question
ends where ``Step 1:`` begins, and a row without it has its question in its first step.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from .errors import DataError, UsageError
from .label_rows import (
    TAG,
    Row,
    binary,
    question,
    rating,
    read_prm800k,
    read_shepherd,
    read_trl,
    text_of,
    write_prm800k,
    write_shepherd,
    write_trl,
)
from .label_trees import read_prefixes, read_tree, write_prefixes, write_tree
from .labels import Labelled

# --- files ------------------------------------------------------------------------------------------------------------


def read_labels(path: Path | str, name: str | None = None, *, bad: list[str] | None = None) -> list[Labelled]:
    """All records of a file: one JSON object per line, or one JSON array; ``.gz`` files are unpacked.

    ``name`` is the format, by default recognised row by row. DataError names file and line of the first bad row; with
    a list ``bad`` the error texts are collected there instead, and the other rows are read.
    """
    path, made = Path(path), list[Labelled]()
    if name is not None:
        _format(name)
    for number, line in _lines(path):
        try:
            made += from_row(line() if callable(line) else line, name)
        except DataError as error:
            text = f"{path}, line {number}: {error}"
            if bad is None:
                raise DataError(text) from error
            bad.append(text)
    return made


def write_labels(path: Path | str, records: Sequence[Labelled], name: str = "thence") -> None:
    """One JSON object per line in the format ``name``, packed if the path ends in ``.gz``; whole or not at all."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in to_rows(records, name))
    with _opened(part, "w", packed=path.suffix == ".gz") as file:
        file.writelines(lines)
    part.replace(path)


def _opened(path: Path, mode: str, *, packed: bool) -> TextIO:
    opener: Any = gzip.open if packed else open
    return cast(TextIO, opener(path, mode + "t", encoding="utf-8", newline=""))


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line (of an array: entry) numbers from 1 with a function that parses the line, or the parsed entry."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with _opened(path, "r", packed=packed) as file:
            start = next((line for line in file if line.strip()), "")
            file.seek(0)
            if start.lstrip().startswith("["):
                yield from enumerate(_parsed(file.read()), 1)
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, lambda line=line: _parsed(line)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"this is no JSON ({error}): {text.strip()[:80]!r}") from error


# --- rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Format:
    """How rows of one format are recognised, read and written. ``several``: a row may hold several records."""

    fields: Mapping[str, type | tuple[type, ...]]
    read: Callable[[Row], list[Labelled]]
    write: Callable[[Sequence[Labelled]], dict[str, Any]]
    several: bool = False

    def fits(self, row: Row) -> bool:
        """Whether the row has this format's fields."""
        return all(isinstance(row.get(field), kind) for field, kind in self.fields.items())


def from_row(row: Any, name: str | None = None) -> list[Labelled]:
    """The records of one row (a parsed JSON object). DataError says what is wrong."""
    if not isinstance(row, dict):
        raise DataError(f"a row is a JSON object, and this is {json.dumps(row)[:60]}")
    if name is None:
        name = recognise(row)
    elif not _format(name).fits(row):
        raise DataError(f"this row lacks the fields of {name} ({_wanted(_format(name))}); it has {sorted(row)}")
    try:
        return _format(name).read(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"this is no row of {name} ({type(error).__name__}: {error})") from error


def recognise(row: Row) -> str:
    """The name of the format with this row's fields."""
    for name, known in FORMATS.items():
        if known.fits(row):
            return name
    wanted = "; ".join(f"{name}: {_wanted(known)}" for name, known in FORMATS.items())
    raise DataError(f"no format of labels has the fields {sorted(row)}; known are {wanted}")


def to_rows(records: Iterable[Labelled], name: str = "thence") -> Iterator[dict[str, Any]]:
    """Rows of the format ``name``, in order; records that came from one row become one row again."""
    known, group = _format(name), list[Labelled]()
    for record in records:
        if group and not (known.several and _same_row(group[-1], record, name)):
            yield known.write(group)
            group = []
        group.append(record)
    if group:
        yield known.write(group)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise UsageError(f"there is no label format {name!r}; known are {', '.join(FORMATS)}")
    return FORMATS[name]


def _wanted(known: Format) -> str:
    return ", ".join(known.fields)


def _same_row(one: Labelled, other: Labelled, name: str) -> bool:
    ours, theirs = one.extra.get(name), other.extra.get(name)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return bool(ours.get("id") == theirs.get("id"))
    return ours is None and theirs is None and one.problem == other.problem


# --- ours -------------------------------------------------------------------------------------------------------------


def _read_own(row: Row) -> list[Labelled]:
    text_of(row, "problem"), text_of(row, "text")
    if row.get("correct") not in (True, False, None):
        raise DataError(f"correct is {json.dumps(row['correct'])[:40]}; it must be true, false or null")
    return [Labelled.read(row)]


def _write_own(records: Sequence[Labelled]) -> dict[str, Any]:
    return records[0].record()


FORMATS: Mapping[str, Format] = {
    "thence": Format({"problem": str, "text": str, "ends": list, "labels": list}, _read_own, _write_own),
    "prm800k": Format({"question": dict, "label": dict}, read_prm800k, write_prm800k),
    "math-shepherd": Format({"input": str, "label": str}, read_shepherd, write_shepherd),
    "math-aps": Format({"question": str, "reasoning_steps": list}, read_prefixes, write_prefixes, several=True),
    "math-aps-tree": Format({"question": str, "reasoning_steps": dict}, read_tree, write_tree, several=True),
    "trl": Format({"prompt": str, "completions": list, "labels": list}, read_trl, write_trl),
}

__all__ = [
    "FORMATS",
    "TAG",
    "Format",
    "binary",
    "from_row",
    "question",
    "rating",
    "read_labels",
    "recognise",
    "to_rows",
    "write_labels",
]
