"""Rows of a user's data file: .jsonl, .json (an array of objects) or .csv, gzipped or not.

Every error is one line that names the file and the line or entry.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from thence.core.clean import one_line
from thence.core.errors import DataError, UsageError

MISSING = object()
_SHOWN = 20  # columns named in an error


@dataclass(frozen=True, slots=True)
class Row:
    """One record and where it stands: ``line 12`` or ``entry 3``."""

    where: str
    fields: dict[str, Any]


def read_rows(path: str | Path, what: str, most: int | None = None) -> list[Row]:
    """All rows of a file of at most ``most`` bytes; ``what`` begins the text of errors (the task's name)."""
    file = Path(path).expanduser()
    if file.is_dir():
        raise UsageError(f"{what}: {file} is a directory; give the path of a .jsonl, .json or .csv file")
    text = read_text(file, what, most)
    name = file.name.lower().removesuffix(".gz")
    if name.endswith(".csv"):
        rows = list(_csv_rows(text, f"{what}: {file}"))
    elif name.endswith(".json") or (not name.endswith(".jsonl") and text.lstrip()[:1] == "["):
        rows = list(_json_rows(text, f"{what}: {file}"))
    else:
        rows = list(_jsonl_rows(text, f"{what}: {file}"))
    if not rows:
        raise DataError(f"{what}: {file} has no rows; a row is one problem")
    return rows


def read_text(path: str | Path, what: str, most: int | None = None) -> str:
    """The text of a file, gzipped or not; DataError where it is unpacked longer than ``most`` bytes."""
    file = Path(path).expanduser()
    try:
        data = file.read_bytes()
        if data[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read() if most is None else packed.read(most + 1)
        if most is not None and len(data) > most:
            raise DataError(f"{what}: {file} has more than {most:,} bytes when unpacked; give a part of it")
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{what}: there is no file {file}; check file=…{_neighbours(file)}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{what}: {file} is not UTF-8 text (byte {error.start}); convert it to UTF-8") from None
    except (EOFError, zlib.error) as error:
        raise DataError(f"{what}: {file} is a damaged gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise DataError(f"{what}: {file} cannot be read: {error.strerror or error}") from None


def _neighbours(file: Path) -> str:
    try:
        names = [p.name for p in file.parent.iterdir()]
    except OSError:
        return f" ({file.parent} does not exist either)"
    close = difflib.get_close_matches(file.name, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _jsonl_rows(text: str, what: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Row(f"line {number}", _object(parse_json(line, f"{what}, line {number}"), f"{what}, line {number}"))


def _json_rows(text: str, what: str) -> Iterator[Row]:
    entries = parse_json(text, what)
    if not isinstance(entries, list):
        raise DataError(f"{what}: the file holds {_kind(entries)}; it must be an array of objects")
    for number, entry in enumerate(entries, 1):
        yield Row(f"entry {number}", _object(entry, f"{what}, entry {number}"))


def _csv_rows(text: str, what: str) -> Iterator[Row]:
    csv.field_size_limit(10_000_000)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for fields in reader:
            if None in fields or None in fields.values():
                have = len(reader.fieldnames or ())
                raise DataError(f"{what}, line {reader.line_num}: the row does not have the {have} columns of line 1")
            line = reader.line_num
            yield Row(f"line {line}", dict(fields))
    except csv.Error as error:
        raise DataError(f"{what}, line {max(line, reader.line_num)}: {error}; check the quotes") from None


def parse_json(text: str, what: str, *, unique: bool = False) -> Any:
    """The value of a JSON text. ``unique``: a key that an object has twice is an error, else the last one counts."""
    try:
        return json.loads(text, parse_constant=_constant, object_pairs_hook=_unique if unique else None)
    except RecursionError:
        raise DataError(f"{what} is nested too deeply to be read") from None
    except ValueError as error:
        shown = one_line(text.strip(), 60)
        raise DataError(f"{what} is not JSON ({error}): {shown}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {one_line(twice, 40)!r} is there twice")
    return made


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{what}: this is {_kind(value)}; a row must be an object with named columns")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def field(row: Row, column: str) -> Any:
    """The value of a column; dots lead into nested objects and arrays (``meta.answers.0``); MISSING if not there."""
    if column in row.fields:
        return row.fields[column]
    value: Any = row.fields
    for part in column.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def as_text(value: Any) -> str:
    """A column as text: numbers as they are read, a whole float without its point, null as empty, the rest as JSON."""
    if value is None:
        return ""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def need_column(rows: Sequence[Row], column: str, argument: str, what: str) -> None:
    """Raise UsageError unless the first row has ``column``; names the columns that are there."""
    if field(rows[0], column) is not MISSING:
        return
    there = list(columns(rows[0].fields))
    close = difflib.get_close_matches(column, there, n=1, cutoff=0.5)
    hint = f"did you mean {argument}={close[0]}? " if close else ""
    listed = ", ".join(there[:_SHOWN]) + (", …" if len(there) > _SHOWN else "")
    raise UsageError(one_line(f"{what}: there is no column {column!r}; {hint}the columns are {listed}", 1000))


def columns(fields: dict[str, Any], prefix: str = "") -> Iterable[str]:
    """Names of columns, nested ones with dots."""
    for name, value in fields.items():
        yield prefix + str(name)
        if isinstance(value, dict) and prefix.count(".") < 2:
            yield from columns(value, f"{prefix}{name}.")


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object per line, gzipped where the name ends in .gz; whole or not at all. ``read_rows`` reads it."""
    file = Path(path).expanduser()
    part = file.with_name(file.name + ".part")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    data = text.encode("utf-8", "backslashreplace")  # half a surrogate pair becomes its JSON escape
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
        part.replace(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be written ({error.strerror or error})") from error
