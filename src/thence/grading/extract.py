"""Finding the answer in a reply, and deciding when two answers are the same.

An answer is what follows the last marker (``####``, ``The answer is``, ``\\boxed{…}``); a numeric reading falls back
to the last number, else there is none. Calculator annotations ``<<3+4=7>>`` are never a source. Only the last 20,000
characters of a reply are read. Runs of a base model that begin the next question belong to the prompt style's stop
strings: a reading takes the last marker, whatever stands before it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from thence.core.answers import Answer

from .numbers import Number, concluding, find_numbers, parse_number

MAX_CHARS = 20_000
DEFAULT_MARKERS = (
    "####",
    "The answer is",
    "The final answer is",
    "Therefore, the answer (arabic numerals) is",
    "\\boxed{",
)

_ANNOTATION = re.compile(r"<<[^<>\n]*+(?:>>|\Z)")
_SENTENCE_END = re.compile(r"[.!?](?=\s)")
_LEAD = re.compile(r"[\s:*_`=]*")
_EDGES = " \t\r\f\v\u00a0*_`\"'“”‘’"


@dataclass(frozen=True, slots=True)
class NumericReading:
    """The number after the last marker, else the last number of the reply.

    After a marker it is the first number of the sentence, or, where an equation follows (``The answer is 5 + 3 = 8``),
    the first one after its last equals sign. A marker without a number gives way to the marker before it; when no
    marker has one, only numbers after the first marker count.
    """

    markers: tuple[str, ...] = DEFAULT_MARKERS

    def extract(self, reply: str) -> Answer | None:
        """The number as it would be typed (``1,234`` -> ``1234``), with its place in ``reply``."""
        text, offset = _tail(reply)
        regions = list(_regions(text, self.markers))
        for start, end in reversed(regions):
            if (number := _after_marker(text, start, end)) is not None:
                return Answer(number.plain, number.start + offset, number.end + offset)
        last = concluding(list(_numbers(text, regions[0][0] if regions else 0, len(text))), text)
        return None if last is None else Answer(last.plain, last.start + offset, last.end + offset)

    def key(self, value: str) -> str:
        """Equal numbers have equal keys."""
        return canonical(value)


@dataclass(frozen=True, slots=True)
class TextReading:
    """The rest of the line after the last marker, without quotes, markdown and a final full stop.

    Without a marker: ``line`` takes a reply of a single line as the answer itself, ``word`` the last word of any
    reply, ``none`` nothing.
    """

    markers: tuple[str, ...] = DEFAULT_MARKERS
    fallback: Literal["line", "word", "none"] = "line"

    def extract(self, reply: str) -> Answer | None:
        """The answer's text with its place in ``reply``."""
        text, offset = _tail(reply)
        for start, end in reversed(list(_regions(text, self.markers))):
            if (found := _trimmed(text, start, end)) is not None:
                return Answer(text[slice(*found)], found[0] + offset, found[1] + offset)
        found = None
        if any(m.strip() for m in self.markers) and _marker_pattern(self.markers).search(text):
            return None  # it was asked for after a marker and is not there
        if self.fallback == "line" and "\n" not in text.strip():
            found = _trimmed(text, 0, len(text))
        elif self.fallback == "word" and (words := text.split()):
            at = text.rindex(words[-1])
            found = _trimmed(text, at, at + len(words[-1]))
        return None if found is None else Answer(text[slice(*found)], found[0] + offset, found[1] + offset)

    def key(self, value: str) -> str:
        """Equal numbers, or texts equal up to case, blanks, quotes and punctuation around them."""
        return canonical(value)


@dataclass(frozen=True, slots=True)
class AutoReading:
    """For questions of unknown kind: after the last marker a number if there is one, else the rest of the line;
    without a marker the last number, else nothing."""

    markers: tuple[str, ...] = DEFAULT_MARKERS

    def extract(self, reply: str) -> Answer | None:
        """The answer with its place in ``reply``."""
        return NumericReading(self.markers).extract(reply) or TextReading(self.markers, "none").extract(reply)

    def key(self, value: str) -> str:
        """Equal numbers, or texts equal up to case, blanks, quotes and punctuation around them."""
        return canonical(value)


@lru_cache(maxsize=65_536)
def canonical(value: str) -> str:
    """The key of an answer: ``0.5``, ``1/2``, ``.50`` and ``50/100`` have the same one.

    A value that is a number as a whole becomes its reduced fraction. Anything else becomes NFKC case-folded text with
    single blanks, plain quotes and dashes, and without punctuation around it.
    """
    number = parse_number(value)
    if number is not None and number.value is not None:
        return str(number.value)
    text = value
    for _ in range(4):  # case folding and NFKC can each undo the other's fixed point
        before = text
        text = unicodedata.normalize("NFKC", text).casefold().translate(_PLAIN)
        text = " ".join(text.split()).strip(" .,;:!?\"'*_`")
        if text == before:
            break
    return text


_PLAIN = str.maketrans("“”„‟‘’‚‛‐‑‒–—−", "\"\"\"\"''''------")


def text_after_marker(text: str, markers: tuple[str, ...]) -> str | None:
    """What stands on the rest of the line after the last marker; None without a marker or when it is blank."""
    answer = TextReading(markers, "none").extract(text)
    return None if answer is None else answer.value


@cache
def _marker_pattern(markers: tuple[str, ...]) -> re.Pattern[str]:
    words = sorted(markers, key=len, reverse=True)
    return re.compile("|".join(r"\s++".join(map(re.escape, m.split())) for m in words if m.strip()), re.IGNORECASE)


def _tail(reply: str) -> tuple[str, int]:
    """The last MAX_CHARS characters, begun after a blank so that no number is cut, and where they start."""
    cut = len(reply) - MAX_CHARS
    if cut <= 0:
        return reply, 0
    blank = re.compile(r"\s").search(reply, cut)
    cut = blank.end() if blank else cut
    return reply[cut:], cut


def _regions(text: str, markers: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Where an answer may stand after each marker: up to the end of the line (a line that says nothing counts as
    part of the marker), the closing brace of a box, and never beyond the next marker."""
    if not any(m.strip() for m in markers):
        return
    found = [m.span() for m in _marker_pattern(markers).finditer(text)]
    for i, (at, after) in enumerate(found):
        limit = found[i + 1][0] if i + 1 < len(found) else len(text)
        if text[after - 1] == "{":
            yield after, _closing_brace(text, after, limit)
            continue
        lead = _LEAD.match(text, after, limit)
        start = lead.end() if lead else after
        if at == after or start >= limit:
            continue
        line = text.find("\n", start, limit)
        yield start, limit if line < 0 else line


def _closing_brace(text: str, start: int, limit: int) -> int:
    depth = 1
    for brace in re.compile(r"[{}\n]").finditer(text, start, limit):
        if brace.group() == "\n":
            return brace.start()
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.start()
    return limit


def _numbers(text: str, start: int, end: int) -> Iterator[Number]:
    """The numbers outside calculator annotations."""
    for note in _ANNOTATION.finditer(text, start, end):
        yield from find_numbers(text, start, note.start())
        start = note.end()
    yield from find_numbers(text, start, end)


def _after_marker(text: str, start: int, end: int) -> Number | None:
    first = next(_numbers(text, start, end), None)
    if first is None:
        return None
    stop = _SENTENCE_END.search(text, first.end, end)
    end = stop.start() if stop else end
    notes = [n.span() for n in _ANNOTATION.finditer(text, start, end)]
    equals = text.rfind("=", first.end, end)
    while equals >= 0 and any(a <= equals < b for a, b in notes):
        equals = text.rfind("=", first.end, equals)
    after = next(_numbers(text, equals + 1, end), None) if equals >= 0 else None
    return after or first


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The span without what stands around an answer (blanks, quotes, ``$…$``, one full stop); None if it is blank."""
    while start < end:
        before = start, end
        while start < end and (text[start] in _EDGES or text[start].isspace()):
            start += 1
        while start < end and (text[end - 1] in _EDGES or text[end - 1].isspace()):
            end -= 1
        if end - start > 1 and text[end - 1] == "." and text[end - 2] != ".":
            end -= 1
        if end - start > 2 and text[start] == "$" == text[end - 1]:
            start, end = start + 1, end - 1
        if (start, end) == before:
            return start, end
    return None


def default_reading() -> AutoReading:
    """How answers to a bare question are read."""
    return AutoReading()
