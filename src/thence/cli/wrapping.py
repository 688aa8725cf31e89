"""Paragraphs broken into lines by their width in a terminal, Chinese ones too.

rich breaks at blanks only, and Chinese has none. Here a line may also end beside a wide character, but never before
punctuation that closes something, nor after one that opens.
"""

from __future__ import annotations

import re

from rich.cells import cell_len

CLOSING, OPENING = "，。；：、！？）”’》」,.;:!?)]%", "（“‘《「(["
_PIECES = re.compile(r" +|[^ \u2e80-\u9fff\uff00-\uffef“”‘’]+|.")


def wrapped(text: str, width: int) -> list[str]:
    """The lines of ``text``, none wider than ``width`` cells unless one unbreakable piece is."""
    kept = text.replace(" %", "\xa0%")  # a number stays with its unit
    return [line for paragraph in kept.split("\n") for line in _lines(paragraph, width)]


def _lines(paragraph: str, width: int) -> list[str]:
    lines, line = [], ""
    for piece in _joined(_PIECES.findall(paragraph)):
        if line and cell_len(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = piece.lstrip()
        else:
            line += piece
    return [*lines, line.rstrip()]


def _joined(pieces: list[str]) -> list[str]:
    """Pieces between which a line may be broken: what closes stays with what is before it, what opens with the next."""
    made: list[str] = []
    for piece in pieces:
        if made and not piece.isspace() and (piece[0] in CLOSING or made[-1][-1] in OPENING):
            made[-1] += piece
        else:
            made.append(piece)
    return made


__all__ = ["wrapped"]
