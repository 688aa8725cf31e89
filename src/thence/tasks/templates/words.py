"""Word lists for published templates, and numbers that are written as words.

The published templates draw from lists ("names", "fruits", "multi_times", …) that were not published with them; the
entries here are ours, the names of the lists and what they hold are theirs.
"""

from __future__ import annotations

import re
from fractions import Fraction

from thence.tasks.wordproblems import words

from .expressions import Value, Worded

_ONES = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = words("twenty thirty forty fifty sixty seventy eighty ninety")
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10,
}  # fmt: skip
_TIMES = {"once": 1, "twice": 2, "double": 2, "thrice": 3, "triple": 3, "quadruple": 4, "quintuple": 5}


def in_words(number: int) -> str:
    """A whole number from 0 to 99 in words, others in digits."""
    if 0 <= number < 20:
        return _ONES[number]
    if 20 <= number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    return str(number)


_WHOLE = {in_words(n): n for n in range(100)}


def number_of(text: str) -> Fraction | None:
    """The number that a text says: ``1,000``, ``2.5``, ``1/3``, ``half``, ``two-thirds``, ``twice``, ``four times``."""
    said = text.strip().lower()
    if re.fullmatch(r"-?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?|-?\.\d+", said):
        return Fraction(said.replace(",", ""))
    if match := re.fullmatch(r"(\d+)/([1-9]\d*)", said):
        return Fraction(int(match[1]), int(match[2]))
    if said in _TIMES:
        return Fraction(_TIMES[said])
    said = said.removesuffix(" times")
    if said in _WHOLE:
        return Fraction(_WHOLE[said])
    if said.isdecimal():
        return Fraction(int(said))
    first, _, second = said.replace("-", " ").rpartition(" ")
    part = _PARTS.get(second) or _PARTS.get(second.removesuffix("s"))
    many = {"": 1, "a": 1, "an": 1}.get(first, _WHOLE.get(first))
    return Fraction(many, part) if part and many else None


def _said(*texts: str) -> list[Value]:
    made: list[Value] = []
    for text in texts:
        value = number_of(text)
        assert value is not None, text
        made.append(Worded(text, value))
    return made


FEMALE = words(
    "Amara Brenda Chloe Daria Elif Fatima Greta Hanna Ines Julia Katya Lena Mina Noor Olga Priya Sofia Tessa"
)
MALE = words("Adam Boris Cyrus Diego Egon Farid Gavin Henri Igor Jonas Kofi Lukas Milan Nils Otto Pablo Rafael Stefan")
_FRACTION_WORDS = ("half", "a third", "a quarter", "a fifth")
_FRACTION_DIGITS = ("1/2", "1/3", "1/4", "1/5", "2/3", "3/4")

LISTS: dict[str, list[Value]] = {
    "names": [*FEMALE, *MALE],
    "names_female": [*FEMALE],
    "names_male": [*MALE],
    "fruits": [*words("bananas cherries figs grapes lemons limes mangoes peaches kiwis")],
    "colors": [*words("red blue green yellow purple orange white black")],
    "sports": [*words("football hockey tennis volleyball handball cricket")],
    "cities": [*words("Lisbon Oslo Vienna Lima Kyoto Nairobi Toronto Dublin")],
    "weekdays": [*words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")],
    "currencies_sym": ["$", "€", "£"],
    "length_lg": ["mile", "kilometer"],
    "length_sm": ["inch", "centimeter"],
    "weights_med": ["pound", "kilogram"],
    "weights_sm": ["ounce", "gram"],
    "fractions": _said(*_FRACTION_WORDS, "two-thirds", "three-quarters"),
    "fraction_alph": _said(*_FRACTION_WORDS, "two-thirds", "three-quarters"),
    "fraction_alnum": _said(*_FRACTION_WORDS, *_FRACTION_DIGITS, "1/8", "1/10"),
    "fraction_nums": _said(*_FRACTION_DIGITS),
    "fraction_decimals": [Fraction(n, 100) for n in (20, 25, 40, 50, 75)],
    "multi_times": _said("three times", "four times", "five times", "six times"),
    "multiple_ice": _said("twice", "thrice"),
    "multiple": _said("double", "triple", "quadruple"),
}
