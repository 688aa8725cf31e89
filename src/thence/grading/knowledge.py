"""Numbers that everybody knows: seven days in a week, twelve months in a year, and the factors between units."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

KNOWLEDGE: tuple[tuple[str, str], ...] = (
    ("1", ""),
    ("2", ""),  # people and things are counted
    ("3", ""),
    ("4", ""),
    ("5", "nickel|weekday|work|school"),
    ("7", "week|daily|day"),
    ("8", "pint|ounce|cup|gallon"),
    ("10", "dime|decade|ten|percent|%"),
    ("12", "month|year|annual|dozen|inch|foot|feet|clock|noon|midnight|pm|am"),
    ("16", "ounce|pound|cup|gallon"),
    ("20", "score"),
    ("24", "hour|day"),
    ("25", "quarter"),
    ("28", "month|week"),
    ("30", "month|day|half"),
    ("31", "month|january|march|may|july|august|october|december"),
    ("36", "yard|inch"),
    ("52", "week|year|annual"),
    ("60", "minute|hour|second"),
    ("100", "%|percent|cent|dollar|meter|century|[$]"),
    ("180", "angle|degree|triangle"),
    ("360", "angle|degree|circle"),
    ("365", "year|annual|day"),
    ("366", "leap"),
    ("1000", "kilo|km|kg|gram|meter|liter|thousand|ton"),
    ("2000", "ton"),
    ("3600", "hour"),
    ("5280", "mile"),
)
"""Numbers that need no source: value, and the words (beginnings) of which one must stand in the question or step."""

CONVERSIONS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("day|daily", "week", (7, 5, 6)),
    ("week", "year", (52,)),
    ("week", "month", (4,)),
    ("day|daily", "month", (30, 31, 28)),
    ("day|daily", "year", (365, 366, 52)),
    ("month", "year|annual", (12,)),
    ("minute", "hour", (60,)),
    ("second", "minute", (60,)),
    ("hour", "day|daily", (24,)),
    ("inch", "foot|feet", (12,)),
    ("ounce", "pound", (16,)),
    ("foot|feet", "yard", (3,)),
)
"""Two units (beginnings of words) and the factors between them."""


@lru_cache(maxsize=256)
def _beginnings(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{words})|[%$]" if "%" in words or "$" in words else rf"\b(?:{words})")


@lru_cache(maxsize=512)
def has(words: str, text: str) -> bool:
    """Whether one of the words (beginnings, separated by ``|``) stands in ``text`` (lower case)."""
    return _beginnings(words).search(text) is not None


_COMMON = {Fraction(value): words for value, words in KNOWLEDGE}
_COMMON |= {1 / value: words for value, words in _COMMON.items()}


def is_common(value: Fraction, *texts: str) -> bool:
    """Whether ``value`` (or the part 1 of it) is in the table, and one of its words in the texts (lower case)."""
    words = _COMMON.get(abs(value))
    return words is not None and (not words or any(has(words, text) for text in texts))
