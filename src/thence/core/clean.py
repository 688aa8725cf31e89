"""Model text made inert for printing.

What a model wrote is data. Printed as it is, it could recolour or clear a terminal, write its clipboard, show a link
that leads elsewhere (OSC 8), reverse the order of letters (bidirectional overrides) or hide text (zero-width and tag
characters). Here every such character becomes a visible name, so that nothing is lost and nothing acts: ESC is
printed as ``␛``, a right-to-left override as ``<U+202E>``. Line breaks and tabs stay.

HTML is not escaped here; that is the page's own business.
"""

from __future__ import annotations

import re
import unicodedata

_KEPT_FORMATS = frozenset("\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u08e2")  # joiners, Arabic signs
_SUSPECT = re.compile(r"[^\n\t\x20-\x7e\xa1-\xac\xae-\u02ff]")
_RICH_TAG = re.compile(r"(?<!\\)(\\*+)(\[[a-z#/@][^\[]*?\])")


def printable(text: str, limit: int | None = None) -> str:
    """``text`` with control, escape, bidirectional and invisible characters replaced by visible names.

    ``limit`` is the number of characters of ``text`` to show; the rest is counted. The result can always be encoded
    as UTF-8 (lone surrogates are named, too). It is plain text: use ``markup_safe`` where rich markup is read.
    """
    cut = len(text) - limit if limit is not None and len(text) > limit else 0
    shown = text[:limit] if cut else text
    shown = _SUSPECT.sub(_visible, shown.replace("\r\n", "\n"))
    return f"{shown}… ({cut:,} more characters)" if cut else shown


def one_line(text: str, limit: int | None = None) -> str:
    """``printable`` on one line: line breaks become ``⏎``, tabs a blank."""
    return printable(text, limit).replace("\n", "⏎").replace("\t", " ")


def markup_safe(text: str, limit: int | None = None) -> str:
    """``printable`` with rich's markup (``[bold]``, ``[link=…]``) escaped, for text that goes through rich.

    rich also replaces ``:names:`` by emoji; print with ``emoji=False``.
    """
    safe = _RICH_TAG.sub(r"\1\1\\\2", printable(text, limit))
    tail = len(safe) - len(safe.rstrip("\\"))
    return safe + "\\" if tail % 2 else safe


def _visible(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    category = unicodedata.category(char)
    if char == "\xa0" or category not in ("Cc", "Cf", "Cs", "Zl", "Zp") or char in _KEPT_FORMATS:
        return char
    return f"<U+{code:04X}>"
