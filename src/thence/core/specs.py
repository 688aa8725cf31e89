"""How texts with parts are divided: at commas outside quotes and brackets."""

from __future__ import annotations

import re

from .errors import UsageError


def split(text: str, whole: str) -> list[str]:
    """Split at commas outside quotes and brackets; ``whole`` is what errors show."""
    parts, depth, quote, start, escaped = [], 0, "", 0, False
    for i, c in enumerate(text):
        if quote:
            if c == quote and not escaped:
                quote = ""
            escaped = c == "\\" and not escaped
        elif c in "\"'":
            quote = c
        elif c in "({":
            depth += 1
        elif c in ")}":
            depth -= 1
            if depth < 0:
                raise UsageError(f"{whole!r}: a closing {c!r} too many")
        elif c == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    if quote or depth:
        raise UsageError(f"{whole!r}: a quote or bracket is not closed")
    parts.append(text[start:])
    return [p for p in parts if p.strip()]


def unquoted(value: str) -> str:
    """``value`` without the quotes around it and the backslashes that they need."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return re.sub(r"\\([\\\"'])", r"\1", value[1:-1])
    return value


__all__ = ["split", "unquoted"]
