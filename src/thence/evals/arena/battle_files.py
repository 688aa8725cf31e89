"""Battles from files: .jsonl, .json or .csv, one battle a row.

    {"model_a": "x", "model_b": "y", "winner": "model_a"}

``winner`` is model_a, model_b, tie or tie (bothbad), the last also written both_bad. Optional columns: ``judge``,
``problem`` (battles of one problem are not independent), ``first`` (model_a or model_b: who was shown first; empty:
nobody knows; without the column model_a was), pairs of numbers NAME_a and NAME_b (features to control for). Files that
Chatbot Arena has published are read as they are: texts (``conversation_a``, ``response_a``), ``conv_metadata`` with its
counts, and the three columns winner_model_a, winner_model_b, winner_tie instead of ``winner``. Battles whose models
were named to the voter (``anony`` false) are left out, as in its leaderboard; so are battles of a model with itself.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thence.core.clean import one_line
from thence.core.errors import DataError, UsageError
from thence.tasks.files import MISSING, Row, field, need_column, read_rows

from .battles import Array, Battles, make_battles
from .style import OF_TEXT, POSITION, expand, measure

WINNERS = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5, "both_bad": 0.5}
BAD = ("tie (bothbad)", "both_bad")
ONE_HOT = ("winner_model_a", "winner_model_b", "winner_tie")
SIDES = {"model_a": 1.0, "a": 1.0, "model_b": -1.0, "b": -1.0}
PUBLISHED = {
    "length": ("sum_assistant_a_tokens", "sum_assistant_b_tokens"),
    "headers": ("header_count_a", "header_count_b"),
    "lists": ("list_count_a", "list_count_b"),
    "bold": ("bold_count_a", "bold_count_b"),
}
TEXTS = (("conversation_a", "conversation_b"), ("response_a", "response_b"), ("text_a", "text_b"))
WHAT = "arena"


def read_battles(path: str | Path, controls: Sequence[str] = (), *, cluster: str | None = None) -> Battles:
    """The battles of a file, with the features that ``controls`` name; ``cluster`` is a column (default ``problem``).

    UsageError for a missing file or column, DataError for a row that cannot be read: each names the line.
    """
    return battles_of(read_rows(path, WHAT), path, controls, cluster=cluster)


def battles_of(
    rows: Sequence[Row], path: str | Path, controls: Sequence[str] = (), *, cluster: str | None = None
) -> Battles:
    """The same from rows at hand; ``path`` is where errors say they are from."""
    for column in ("model_a", "model_b"):
        need_column(rows, column, "columns", f"{WHAT}: {path}")
    hot = field(rows[0], "winner") is MISSING and all(field(rows[0], c) is not MISSING for c in ONE_HOT)
    if not hot:
        need_column(rows, "winner", "columns", f"{WHAT}: {path}")
    if cluster is not None:
        need_column(rows, cluster, "--cluster", f"{WHAT}: {path}")
    kept, notes = _kept(rows, path)
    judged = next((c for c in ("judge", "judge_hash") if field(kept[0], c) is not MISSING), None)
    by = cluster or ("problem" if field(kept[0], "problem") is not MISSING else None)
    words = [_winner(row, hot, path) for row in kept]
    return make_battles(
        [(_model(row, "model_a", path), _model(row, "model_b", path)) for row in kept],
        [WINNERS[word] for word in words],
        first=[_first(row, path) for row in kept],
        judges=None if judged is None else [str(_need(row, judged, path)) for row in kept],
        clusters=None if by is None else [str(_need(row, by, path)) for row in kept],
        features={c: _feature(kept, c, path) for c in expand(controls) if c != POSITION},
        both_bad=sum(word in BAD for word in words),
        notes=notes,
    )


def _kept(rows: Sequence[Row], path: str | Path) -> tuple[list[Row], list[str]]:
    """The rows that count, and lines about those that do not."""
    kept, left = [], Counter[str]()
    for row in rows:
        if str(row.fields.get("anony", True)).lower() == "false":
            left["whose models were named to the voter"] += 1
        elif row.fields.get("model_a") == row.fields.get("model_b"):
            left["of a model with itself"] += 1
        else:
            kept.append(row)
    if not kept:
        raise DataError(f"{WHAT}: {path} holds no battle of two different models")
    return kept, [f"{n:,} battles {why} are left out" for why, n in left.items()]


def _need(row: Row, column: str, path: str | Path) -> Any:
    value = field(row, column)
    if value is MISSING or value is None or value == "":
        raise DataError(f"{WHAT}: {path}, {row.where}: {column} is missing; every battle needs one")
    return value


def _model(row: Row, column: str, path: str | Path) -> str:
    value = _need(row, column, path)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{WHAT}: {path}, {row.where}: {column} is {_shown(value)}; it must be a model's name")
    return value


def _winner(row: Row, hot: bool, path: str | Path) -> str:
    """One of ``WINNERS``."""
    if hot:
        flags = [str(field(row, c)).lower() in ("1", "1.0", "true") for c in ONE_HOT]
        if sum(flags) != 1:
            raise DataError(f"{WHAT}: {path}, {row.where}: exactly one of {', '.join(ONE_HOT)} must be 1")
        return ("model_a", "model_b", "tie")[flags.index(True)]
    value = _need(row, "winner", path)
    word = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(word, str) or word not in WINNERS:
        known = ", ".join(WINNERS)
        raise DataError(f"{WHAT}: {path}, {row.where}: winner is {_shown(value)}; it must be one of {known}")
    return word


def _first(row: Row, path: str | Path) -> float:
    value = field(row, "first")
    if value is MISSING:
        return 1.0
    if value is None or value == "":
        return 0.0
    if not isinstance(value, str) or value.strip().lower() not in SIDES:
        raise DataError(f"{WHAT}: {path}, {row.where}: first is {_shown(value)}; write model_a, model_b or nothing")
    return SIDES[value.strip().lower()]


def _feature(rows: Sequence[Row], name: str, path: str | Path) -> Array:
    """[n, 2] a feature of both sides, from its own columns, from published counts, or measured on the texts."""
    own = (f"{name}_a", f"{name}_b")
    counts = PUBLISHED.get(name, own)
    for pair in (own, counts, tuple(f"conv_metadata.{c}" for c in counts)):
        if all(field(rows[0], c) is not MISSING for c in pair):
            return np.array([[_number(row, c, path) for c in pair] for row in rows])
    for pair in TEXTS:
        if name in OF_TEXT and all(field(rows[0], c) is not MISSING for c in pair):
            return np.array([[measure(_text(_need(row, c, path)), name) for c in pair] for row in rows])
    raise UsageError(
        f"{WHAT}: {path}: nothing to control {one_line(name, 60)!r} by; add numbers {one_line(own[0], 60)} and "
        f"{one_line(own[1], 60)} to every row" + (", or texts response_a and response_b" if name in OF_TEXT else "")
    )


def _number(row: Row, column: str, path: str | Path) -> float:
    """A count; published ones may be tables of counts, which are added up."""
    value = _need(row, column, path)
    parts = list(value.values()) if isinstance(value, dict) else [value]
    try:
        total = math.fsum(float(part) for part in parts if not isinstance(part, bool))
    except (TypeError, ValueError):
        total = math.nan
    if not math.isfinite(total) or total < 0:
        raise DataError(
            f"{WHAT}: {path}, {row.where}: {one_line(column, 60)} is {_shown(value)}; it must be a number from 0 up"
        )
    return total


def _text(value: Any) -> str:
    """What a side wrote: a text, a list of texts (also as JSON), or a chat, of which the assistant's turns count."""
    if isinstance(value, str) and value[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return str(value)
    if not isinstance(value, list):
        return str(value)
    turns = [t.get("content") if isinstance(t, dict) else t for t in value if _assistant(t)]
    return "\n".join(_content(t) for t in turns)


def _assistant(turn: Any) -> bool:
    return not isinstance(turn, dict) or turn.get("role") == "assistant"


def _content(content: Any) -> str:
    if isinstance(content, list):  # newer files: a list of parts
        return "\n".join(str(part.get("text") or "") if isinstance(part, dict) else str(part) for part in content)
    return "" if content is None else str(content)


def _shown(value: Any) -> str:
    return one_line(repr(value), 60)


__all__ = ["WINNERS", "battles_of", "read_battles"]
