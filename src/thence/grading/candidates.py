"""Where a reply states its answer: candidates with their place and kind, best first.

Order: what the last box holds (boxes that follow each other with nothing but ``and``, commas or signs of a list
between them count together), what stands after the last marker (``####`` the first one, as its format has one), the
last formula in dollars, the last line if it is short. A thought in ``<think>`` tags does not count. Text after the
start of a next question (``Question:``, ``<|im_start|>``) is not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from thence.core.answers import Answer
from thence.core.completion import split_thought

from .numbers import concluding, find_numbers
from .plain import unwrapped
from .terms import words

MAX_REPLY = 200_000  # characters from the end of a reply
MAX_BOX = 4_000

_RUN_ON = re.compile(r"<\|im_start\|>|<\|endoftext\|>|<\|eot_id\|>|^(?:Question|Problem|Q|Human|User):", re.MULTILINE)
_BOX = re.compile(r"\\(?:begin)?f?boxed\s*(?:\{|(?=[\w.\-+]))")
_BETWEEN = re.compile(
    r"(?:[\s,;$]|\\q?quad|\\[ ,;:!()]|\\(?:text|mbox)\s*\{[,\s]*(?:and|or)\s*\}|\band\b|\bor\b|\\cup|"
    r"[A-Za-z](?:_\{?\w+\}?)?\s*=)*+"
)
_SIGNAL = re.compile(r"\b(?:is|are|was|equals|be|by|of|to)\s+(?=[^\s]+\s*$)|=", re.IGNORECASE)
_FILLER = frozenset(words("so thus therefore hence then is the answer we get have and final are value result it"))
_MARKER = re.compile(
    r"####|(?:the\s+|my\s+)?(?:final\s+answers?|answers?)\s*(?:to\s+the\s+(?:question|problem)\s*)?(?:is|are|would\s+be|will\s+be|must\s+be|:|=|\*\*:|:\*\*)+(?!\w)",
    re.IGNORECASE,
)
_FORMULA = re.compile(
    r"\$\$(?P<a>[^$]{1,2000})\$\$|\\\[(?P<b>(?:(?!\\\[).){1,2000}?)\\\]|\\\((?P<c>(?:(?!\\\().){1,2000}?)\\\)"
    r"|(?<!\\)\$(?P<d>[^$\n]{1,2000}?)(?<!\\)\$",
    re.DOTALL,
)
_SENTENCE = re.compile(r"\.(?=\s|$|\*)|[!?](?=\s+[A-Z])|\n|<\|")
_STOP = re.compile(r"[.!?]\s+(?=[A-Z$\\])")
_END = re.compile(r"\\end\{")
_DECIDED = re.compile(  # "No explicit result" decides nothing
    r"\s*(yes\b|true\b|false\b|no\b(?=\s*(?:[,.;:!]|$|(?:it|he|she|they|we|you|because|since)\b)))", re.IGNORECASE
)
_CASES = re.compile(r"[<>=]|\\(?:[gl](?:eq?q?|t)|neq?|in)(?![A-Za-z])|\b(?:if|when|otherwise)\b", re.IGNORECASE)
_WHEN = re.compile(r"\\text\s*\{\s*,?\s*(?:for|if|when|where|otherwise)\b|\\forall(?![A-Za-z])")
_SAID = re.compile(r"[A-Za-z][A-Za-z\s,']*+[-$]?\d[\d,.]*+\s*%?[A-Za-z\s,']*+\.?")
_HOPE = re.compile(r"\.?\s*I hope it is correct", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer as written, the characters [start, end) of the text it was read from, and how it was found."""

    value: str
    start: int
    end: int
    kind: Literal["boxed", "marker", "formula", "line", "number"]


def extract_candidates(text: str) -> list[Candidate]:
    """The candidates for the answer of ``text``, best first; none if it states nothing.

    Reads at most the last 200,000 characters; takes time linear in them.
    """
    offset = split_thought(text)[1]
    if len(text) - offset > MAX_REPLY:
        offset = len(text) - MAX_REPLY
    reply = text[offset:]
    for run_on in _RUN_ON.finditer(reply, 1):
        before = reply[: run_on.start()]
        if run_on.group().startswith("<|") or _BOX.search(before) or _MARKER.search(before):
            reply = before if before.strip() else reply
            break
    found = [*_boxes(reply), *_markers(reply), *_short(reply), *_formulas(reply), *_line(reply)]
    seen: set[tuple[str, str]] = set()
    kept = []
    for value, start, end, kind in found:
        if unwrapped(value).strip(" .,*$:") and (kind, value) not in seen:
            seen.add((kind, value))
            kept.append(Candidate(value, start + offset, end + offset, kind))
    return kept


_Found = tuple[str, int, int, Literal["boxed", "marker", "formula", "line", "number"]]


def _boxes(reply: str) -> list[_Found]:
    """The last box, with the ones right before it that belong to the same list."""
    spans: list[tuple[int, int, int]] = []
    for match in list(_BOX.finditer(reply))[-50:]:
        if spans and match.start() < spans[-1][2]:
            continue
        if match.group().endswith("{"):
            end = closing(reply, match.end())
            if end is not None and reply[match.end() : end].strip():
                spans.append((match.end(), end, end + 1))
        else:
            stop = re.compile(r"[^\s$,;]+").match(reply, match.end())
            if stop is not None:
                spans.append((stop.start(), stop.end(), stop.end()))
    if not spans:
        return []
    first = len(spans) - 1
    starts = [m.start() for m in _BOX.finditer(reply)]
    while first > 0:
        before = spans[first - 1][2]
        opening = max(s for s in starts if s < spans[first][0])
        if not _BETWEEN.fullmatch(reply, before, opening):
            break
        first -= 1
    values = [reply[a:b] for a, b, _ in spans[first:]]
    if len(set(values)) == 1:
        values = values[:1]
    joined = [(", ".join(values), spans[first][0], spans[-1][1])] if len(values) > 1 else []
    single = [(reply[a:b], a, b) for a, b, _ in reversed(spans[first:])]
    return [(value, a, b, "boxed") for value, a, b in (*joined, *single[:1])]


def closing(text: str, start: int) -> int | None:
    """Where the brace before ``start`` is closed; None if it is not within MAX_BOX characters."""
    depth, at = 1, start
    limit = min(len(text), start + MAX_BOX)
    while at < limit:
        char = text[at]
        if char == "\\":
            at += 1
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if not depth:
                return at
        at += 1
    return None


def _markers(reply: str) -> list[_Found]:
    matches = list(_MARKER.finditer(reply))
    hashes = [m for m in matches if m.group() == "####"]
    ordered = [*reversed([m for m in matches if m.group() != "####"]), *hashes[:1]]
    if hashes:
        ordered = [hashes[0], *ordered[:-1]]
    found: list[_Found] = []
    for match in ordered[:5]:
        value = _after(reply, match.end())
        if value is not None:
            found.append((*value, "marker"))
    return found


def _after(reply: str, at: int) -> tuple[str, int, int] | None:
    """What follows a marker: a formula right there, else the rest of the sentence."""
    start = at + len(reply[at:]) - len(reply[at:].lstrip(" \t\r\n:*_"))
    formula = _FORMULA.match(reply, start)
    sentence = _SENTENCE.search(reply, start)
    end = sentence.start() if sentence else len(reply)
    if formula is not None:
        if formula.end() >= end - 1 or not reply[formula.end() : end].strip(" .*"):
            inner = formula.lastgroup or "a"
            return formula[inner], formula.start(inner), formula.end(inner)
        end = max(end, formula.end())
    end = min(end, start + MAX_BOX)
    hope = _HOPE.search(reply, start, end)
    end = hope.start() if hope else end
    value = reply[start:end].rstrip(" *_\t\r")
    return (value, start, start + len(value)) if value else None


def _short(reply: str) -> list[_Found]:
    """A reply of one short line that is an answer by itself, formulas and a few words."""
    value = reply.strip()
    words = re.findall(r"[A-Za-z]{2,}", _FORMULA.sub(" ", value))
    if not value or "\n" in value or len(value) > 200 or len(words) > 3 or _FILLER & {w.casefold() for w in words}:
        return []
    start = reply.index(value)
    return [(value, start, start + len(value), "line")]


def _formulas(reply: str) -> list[_Found]:
    found = list(_FORMULA.finditer(reply))[-1:]
    made: list[_Found] = []
    if found and (last := _last_number(reply, found[-1].end())):
        made.append(last)
    for match in found:
        inner = match.lastgroup or "a"
        made.append((match[inner], match.start(inner), match.end(inner), "formula"))
        value, start = match[inner], match.start(inner)
        at = value.rfind("=")
        if at >= 0 and value[at - 1 : at] not in ("<", ">", "!", "\\"):
            tail = _END.split(value[at + 1 :], maxsplit=1)[0]
            made.append((tail, start + at + 1, start + at + 1 + len(tail), "formula"))
    return made


def _line(reply: str) -> list[_Found]:
    """The last line with anything on it."""
    end = len(reply.rstrip())
    start = reply.rfind("\n", 0, end) + 1
    value = reply[start:end]
    if len(value) > 200:  # the last sentence of a paragraph
        breaks = list(_STOP.finditer(reply, start, end - 1))
        start = breaks[-1].end() if breaks else start
        value = reply[start:end]
    if not value or len(value) > 500:
        return []
    found: list[_Found] = [(value, start, end, "line")]
    if last := _last_number(reply, start):
        found.append(last)
    return found


def _last_number(reply: str, start: int) -> _Found | None:
    """The last number from ``start`` on, with a percent sign that follows it."""
    last = concluding(list(find_numbers(reply, start)), reply)
    if last is None:
        return None
    begin = last.start
    if comma := re.search(r"\d+,$", reply[max(start, begin - 20) : begin]):  # a decimal comma
        begin -= len(comma.group())
    end = last.end + (1 if reply[last.end : last.end + 1] == "%" else 0)
    return reply[begin:end], begin, end, "number"


def first_answer(text: str) -> Answer | None:
    """The best candidate that can be an answer: what a line holds must be short or typed."""
    from .values import read

    for candidate in extract_candidates(text):
        value, start = candidate.value, candidate.start
        typed = read(value).typed
        if candidate.kind == "formula" and not typed:
            later = [c for c in extract_candidates(text) if c.kind in ("formula", "number") and read(c.value).typed]
            if later:
                return Answer(later[0].value, later[0].start, later[0].end)
        wordy = len(value.split()) > 3 or len(re.findall(r"[A-Za-z]{2,}", value)) > 2
        wordy = wordy or (candidate.kind == "line" and _SAID.fullmatch(value) is not None)
        if wordy and candidate.kind != "formula" and not typed:
            inner = _inside(value)
            if inner is None and candidate.kind != "boxed":
                continue
            value, start = (inner[0], start + inner[1]) if inner is not None else (value, start)
        return Answer(value, start, start + len(value) if value != candidate.value else candidate.end)
    return None


def _inside(value: str) -> tuple[str, int] | None:
    """The answer in a sentence: yes or no at its start, what follows its last ``is`` or ``=``, its only number."""
    from .values import read

    if decided := _DECIDED.match(value):
        return decided[1], decided.start(1)
    if _WHEN.search(value):  # a value under a condition, or several of them
        return None
    signals = list(_SIGNAL.finditer(value))
    if signals:
        tail = value[signals[-1].end() :].strip()
        if tail and read(tail).typed:
            return tail, value.rindex(tail)
    formulas = list(_FORMULA.finditer(value))
    if len(formulas) == 1:
        inner = formulas[0].lastgroup or "a"
        return formulas[0][inner], formulas[0].start(inner)
    numbers = list(find_numbers(value))
    if numbers and (len(numbers) == 1 or (numbers[0].start == 0 and not _CASES.search(value))):
        return value[numbers[0].start : numbers[0].end], numbers[0].start
    return None
