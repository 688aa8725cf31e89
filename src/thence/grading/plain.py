"""Answers that are no formulas: choices, yes and no, times, dates, number words; and what stands around an answer."""

from __future__ import annotations

import re
from typing import Literal

from .terms import words
from .tokens import FUNCTIONS, GREEK

_CHOICE = re.compile(r"(?:option |choice |answer )?(?:\(([A-Ja-j])\)|([A-J])[.):]?|([a-j])\))", re.IGNORECASE)
_TRUTH = {"yes": "yes", "true": "yes", "correct": "yes", "no": "no", "false": "no", "incorrect": "no"}
_TIME = re.compile(r"(\d{1,2}):([0-5]\d)\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,2})\s*([ap])\.?\s?m\.?", re.IGNORECASE)
_MONTHS = words("january february march april may june july august september october november december")
_MONTH = "|".join(f"{m}|{m[:3]}" for m in _MONTHS)
_DATE = re.compile(
    rf"(?:(?P<month>{_MONTH})\.?\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?|(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?"
    rf"(?P<month2>{_MONTH})\.?)(?:,?\s+(?P<year>\d{{4}}))?",
    re.IGNORECASE,
)
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_DIGITS = re.compile(
    r"(-?)(?=[0-9A-Z,.]*\d)([0-9A-Z][0-9A-Z,]*(?:\.[0-9A-Z]+)?)\s*_\s*(?:\{\s*(\d{1,2})\s*\}|(\d{1,2}))"
)
_ONES = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = words("twenty thirty forty fifty sixty seventy eighty ninety")
_WORDS = {word: i for i, word in enumerate(_ONES)} | {word: 20 + 10 * i for i, word in enumerate(_TENS)}
ENGLISH = frozenset(
    words(
        "it is the yes no odd to of on at by an as be we if all any for not one two six ten so do "
        "he she his her day sun "
        "mon tue wed thu fri sat are was has had can may but out who how why when its our you they "
        "us my me go up new old "
        "red max min none cat dog boy man men joe tom bob sue ann amy jan feb mar apr jun jul aug sep oct nov dec"
    )
)
_PLAIN_WORDS = re.compile(r"[^\W\d_]+(?:[ '-]+[^\W\d_]+){0,5}")
_BRACKETED = re.compile(r"\([^\W\d_]{4,}\)")
_CONSTANTS = frozenset({"pi", "infinity", "inf", "oo"})
_NONE = frozenset(
    ("no solution", "no solutions", "none", "no real solution", "no real solutions", "does not exist", "undefined")
)
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|mathit|hbox)\s*\{([^{}]*)\}")
_INDEX = re.compile(  # a condition on an index, in brackets after a formula
    r"(?<=[\w})])(?:\\[ ,;]|\\quad|\\qquad|\s)*(?:\\left)?"
    r"\(\s*[a-z]\s*\\in\s*(?:\\mathbb|\\mathbf)?\s*\\?\{?\s*[ZN]\}?\s*(?:\\right)?\)$"
)
_QUALIFIER = re.compile(  # for which letters a formula holds, after it: it says nothing that the letters have not said
    r"(?<=[\w})])(?:\\[ ,;]|\\q?quad|[\s,])*+"
    r"(?:\\text\s*\{\s*,?\s*(?:for\s+(?:all|every|any)|where)\s*[A-Za-z]?\s*\}|\\forall(?![A-Za-z]))"
    r"(?:\\[ ,;]|\\(?:in|mathbb|mathbf|mathrm)(?![A-Za-z])|(?<![A-Za-z])[A-Za-z](?![A-Za-z])|[\s,{}^+])*+$"
)
_MATH = re.compile(r"(?<!\\)\$([^$\n]{1,500}?)(?<!\\)\$(?!\d)|\\\((.{1,500}?)\\\)", re.DOTALL)
_PAIRS = (
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("**", "**"),
    ("__", "__"),
    ("`", "`"),
    ('"', '"'),
    ("“", "”"),
)
_BOX = ("\\boxed{", "\\fbox{", "\\text{", "\\textbf{", "\\mathbf{", "\\mbox{", "\\mathrm{", "\\textrm{", "{")


def unwrapped(answer: str) -> str:
    """``answer`` without ``$…$``, a box around all of it, markdown, quotes, a final full stop."""
    value = answer
    for _ in range(16):
        before = value
        value = value.strip(" \t\r\n\f\v\u00a0")
        if value[-1:] in (".", ",", ";", ":") and not value.endswith("\\,") and not value.endswith(".."):
            value = value[:-1]
        value = re.sub(r"(?:\\[,;:! ]|~|\\quad|\\qquad|\\)+$", "", value)
        value = re.sub(r"^(?:\\[,;:! ]|~|\\quad|\\qquad|\\displaystyle)+", "", value)
        for left, right in _PAIRS:
            inside = value[len(left) : -len(right)]
            around = len(value) > len(left) + len(right) and value.startswith(left) and value.endswith(right)
            if around and left not in inside and right not in inside and not inside.endswith("\\"):
                value = inside
        value = re.sub(r"\$\s*(and|or)\s*\$", r" \1 ", value)
        if value.count("$") == 1 and value.endswith("$"):
            value = value[:-1]
        value = _MATH.sub(_without_dollars, value)
        value = _QUALIFIER.sub("", _INDEX.sub("", value))
        for box in _BOX:
            if value.startswith(box) and value.endswith("}") and _whole(value, len(box) - 1):
                value = value[len(box) : -1]
        if value == before:
            break
    return value


def _without_dollars(match: re.Match[str]) -> str:
    """A formula among words without its dollars; ``$5 and $6`` is money."""
    inside = match[1] or match[2]
    return match[0] if re.search(r"\s(?:and|or|to)\s*$|^\s*$|\s$", inside) and match[1] else f" {inside} "


def _whole(value: str, at: int) -> bool:
    """Whether the brace at ``at`` is closed by the last character."""
    depth = 0
    for i in range(at, len(value)):
        depth += {"{": 1, "}": -1}.get(value[i], 0)
        if depth == 0:
            return i == len(value) - 1
    return False


def plain_value(
    inner: str,
) -> tuple[Literal["choice", "truth", "time", "date", "digits", "words"], str] | None:
    """The kind and canonical spelling of an answer that is no formula; None for all others."""
    if len(inner) > 200:
        return None
    text = " ".join(_TEXT.sub(r"\1", inner).replace("\\ ", " ").split()).strip(" .")
    if _BRACKETED.fullmatch(text):
        text = text[1:-1]
    low = text.casefold()
    if low in _TRUTH:
        return "truth", _TRUTH[low]
    if low in _NONE:
        return "words", "no solution" if low != "undefined" else low
    if match := _CHOICE.fullmatch(text):
        return "choice", next(g for g in match.groups() if g).upper()
    if made := _time(text):
        return "time", made
    if made := _date(text):
        return "date", made
    if (match := _DIGITS.fullmatch(text)) and 2 <= (base := int(match[3] or match[4])) <= 36:
        digits = match[2].replace(",", "")
        if all(int(c, 36) < base for c in digits.replace(".", "")):
            return "digits", f"{match[1]}{digits.lstrip('0') or '0'}_{base}"
    if low in ENGLISH and not text.isupper():
        return "words", low
    parts = set(re.split(r"[ '-]+", text))
    formula = parts & FUNCTIONS or parts & GREEK or {part.casefold() for part in parts} & _CONSTANTS
    plain = _PLAIN_WORDS.fullmatch(text) and not formula and max(map(len, parts)) >= 4
    return ("words", low) if plain else None


def number_word(text: str) -> int | None:
    """The number that a word such as ``twenty-one`` is."""
    if len(text) > 40:
        return None
    parts = text.casefold().replace("-", " ").split()
    values = [_WORDS.get(part) for part in parts]
    if len(values) == 1:
        return values[0]
    if len(values) == 2 and values[0] in range(20, 100) and values[1] in range(1, 10):
        return int(values[0] or 0) + int(values[1] or 0)
    return None


def _time(text: str) -> str | None:
    match = _TIME.fullmatch(text)
    if match and int(match[1]) <= 24:
        return f"{int(match[1])}:{match[2]}" + (f" {match[3].lower()}m" if match[3] else "")
    match = _CLOCK.fullmatch(text)
    return f"{int(match[1])}:00 {match[2].lower()}m" if match else None


def _date(text: str) -> str | None:
    if match := _ISO.fullmatch(text):
        return f"{match[1]}-{match[2]}-{match[3]}"
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    month = _MONTHS.index(next(m for m in _MONTHS if m.startswith((match["month"] or match["month2"]).lower()[:3]))) + 1
    return f"{match['year'] or ''}-{month:02d}-{int(match['day'] or match['day2']):02d}".lstrip("-")
