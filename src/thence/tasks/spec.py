"""Writing a task with its arguments the way it is typed: ``jsonl(file=data.jsonl, question="the question")``."""

from __future__ import annotations

from collections.abc import Mapping


def write_spec(name: str, arguments: Mapping[str, object]) -> str:
    """``name(key=value, …)``; arguments that are None are left out, values are quoted where the grammar needs it."""
    given = [f"{key}={_quoted(str(value))}" for key, value in arguments.items() if value is not None]
    return f"{name}({', '.join(given)})" if given else name


def _quoted(value: str) -> str:
    if value and not any(c in value for c in ",()={}\"' \t"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
