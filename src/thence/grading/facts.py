"""The numbers that a question gives: digits, number words, parts and multiples, percentages, money, units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from .numbers import find_numbers

MAX_CHARS = 20_000


@dataclass(frozen=True, slots=True)
class Fact:
    """A number that the question gives at characters [start, end).

    ``same`` are the values it may appear as (20%: 20, 1/5, 80, 4/5, 120, 6/5). ``word``: it is a number word or a cue
    such as "twice". ``unit`` is the noun after it, without a plural s; ``$`` for money.
    """

    start: int
    end: int
    value: Fraction
    same: frozenset[Fraction]
    word: bool = False
    percent: bool = False
    unit: str = ""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_WORD_VALUES: dict[str, int] = {word: i for i, word in enumerate(_ONES)}
_WORD_VALUES |= {word: 20 + 10 * i for i, word in enumerate(_TENS)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_CUES: dict[str, tuple[str, ...]] = {
    "half": ("1/2", "2"),
    "halves": ("1/2", "2"),
    "halved": ("1/2", "2"),
    "twice": ("2",),
    "double": ("2",),
    "doubled": ("2",),
    "doubles": ("2",),
    "thrice": ("3",),
    "triple": ("3",),
    "tripled": ("3",),
    "triples": ("3",),
    "quadruple": ("4",),
    "third": ("1/3", "3", "2/3"),
    "thirds": ("1/3", "3", "2/3"),
    "fourth": ("1/4", "4", "3/4"),
    "fourths": ("1/4", "4", "3/4"),
    "quarter": ("1/4", "4", "3/4", "25"),
    "quarters": ("1/4", "4", "3/4", "25"),
    "fifth": ("1/5", "5", "4/5"),
    "fifths": ("1/5", "5"),
    "sixth": ("1/6", "6"),
    "seventh": ("1/7", "7"),
    "eighth": ("1/8", "8"),
    "ninth": ("1/9", "9"),
    "tenth": ("1/10", "10", "9/10"),
    "dozen": ("12",),
    "dozens": ("12",),
    "pair": ("2",),
    "pairs": ("2",),
    "couple": ("2",),
    "both": ("2",),
}
SURE_CUES = frozenset(_words("half twice double doubled doubles thrice triple tripled triples quadruple dozen dozens"))
_NUMBER_WORD = "|".join([*_WORD_VALUES, *_SCALES])
_WORDS = re.compile(rf"\b(?:{_NUMBER_WORD})(?:[ -](?:and )?(?:{_NUMBER_WORD}))*+\b", re.IGNORECASE)
_CUE = re.compile(rf"\b(?:{'|'.join(_CUES)})\b", re.IGNORECASE)
_AFTER = re.compile(r"\s?(?P<percent>\\?%|percent\b)|[\s-](?P<scale>hundred|thousand|million|billion)\b", re.IGNORECASE)
_NOUN = re.compile(
    r"[\s-]{1,2}(?:(?:more|less|fewer|additional|extra|of|the|other|different|new|small|large|big)\s)?([a-z]{2,20})"
)
_NO_UNIT = frozenset(
    _words(
        "and or is are was were in on at to for from by with per each every times more less fewer than as if then he "
        "she they it his her their of the an a that which who will would has have had can how what when while after "
        "before years year old"
    )
)


@lru_cache(maxsize=1024)
def facts(question: str) -> tuple[Fact, ...]:
    """The numbers that ``question`` gives, left to right; at most its last 20,000 characters are read."""
    question = question[-MAX_CHARS:]
    found: list[Fact] = []
    for number in find_numbers(question):
        if number.value is not None:
            found.append(_digits_fact(question, number.start, number.end, number.value))
    scaled = {fact.end for fact in found}
    for match in _WORDS.finditer(question):
        value = _word_value(match.group().lower())
        if value is not None and match.end() not in scaled:  # the "million" of "5 million" is part of that fact
            found.append(_fact(question, match.start(), match.end(), Fraction(value), word=True))
    for match in _CUE.finditer(question):
        values = [Fraction(v) for v in _CUES[match.group().lower()]]
        found.append(Fact(match.start(), match.end(), values[0], frozenset(values), word=True))
    return tuple(sorted(found, key=lambda f: f.start))


def _digits_fact(question: str, start: int, end: int, value: Fraction) -> Fact:
    after = _AFTER.match(question, end)
    if after is not None and after["percent"]:
        part = value / 100
        same = {value, part, 100 - value, 1 - part, 100 + value, 1 + part}
        return Fact(start, after.end(), value, frozenset(same), percent=True)
    if after is not None:
        scaled = value * _SCALES[after["scale"].lower()]
        return Fact(start, after.end(), scaled, frozenset({value, scaled}))
    return _fact(question, start, end, value)


def _fact(question: str, start: int, end: int, value: Fraction, *, word: bool = False) -> Fact:
    same = {value, abs(value)}  # "the tiles on the ceiling--38"
    if value.denominator != 1:  # a fraction may be written out, or be what is left of the whole
        same |= {Fraction(value.numerator), Fraction(value.denominator), 1 - value, 1 + value, value * 100}
        same.add(Fraction(value.denominator - value.numerator))
        whole = value.numerator // value.denominator
        same |= {Fraction(whole), value - whole}
    money = question[max(0, start - 1) : start + 1].strip()[:1] in ("$", "€", "£")
    noun = _NOUN.match(question.lower(), end)
    unit = "$" if money else noun[1].removesuffix("s") if noun is not None and noun[1] not in _NO_UNIT else ""
    return Fact(start, end, value, frozenset(same), word=word, unit="$" if unit == "dollar" else unit)


def _word_value(words: str) -> int | None:
    """The value of ``two hundred and five``; None for what is no one number, such as ``two three``."""
    total, part, last = 0, 0, 0
    for word in re.findall(r"[a-z]+", words):
        if word == "and":
            continue
        if word in _SCALES:
            scale = _SCALES[word]
            if scale == 100:
                part = max(part, 1) * 100
            else:
                total, part = total + max(part, 1) * scale, 0
            last = scale
            continue
        value = _WORD_VALUES[word]
        if last and not (last >= 100 or (last >= 20 and value < 10)):
            return None
        part, last = part + value, max(value, 1)
    return total + part
