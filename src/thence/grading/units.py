"""Units that may follow a value, each with one spelling. Only what is listed is dropped from an answer.

A noun phrase in words after a number (``12 students``) is a count of things and is dropped too; it says nothing that
the question has not said. Words that change the meaning (``or``, ``mod``, ``remainder``, ``million``) never are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .terms import words

_LISTED = {
    "mm": "mm millimeter millimeters millimetre millimetres",
    "cm": "cm cms centimeter centimeters centimetre centimetres",
    "m": "m meter meters metre metres",
    "km": "km kilometer kilometers kilometre kilometres",
    "in": "in inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard yards",
    "mi": "mi mile miles",
    "mg": "mg milligram milligrams",
    "g": "g gm gms gram grams",
    "kg": "kg kilogram kilograms",
    "lb": "lb lbs pound pounds",
    "oz": "oz ounce ounces",
    "ml": "ml mL milliliter milliliters",
    "l": "l L liter liters litre litres",
    "gal": "gal gallon gallons",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "year years yr yrs",
    "°": "degree degrees deg °",
    "rad": "rad radian radians",
    "$": "dollar dollars USD usd bucks",
    "¢": "cent cents",
    "€": "euro euros EUR",
    "%": "percent pct percentage",
    "mph": "mph",
    "kph": "kph km/h kmh",
    "N": "N newton newtons",
    "J": "J joule joules",
    "W": "W watt watts",
    "V": "V volt volts",
    "K": "K kelvin",
    "nm": "nm nanometer nanometers",
    "dm": "dm decimeter decimeters",
    "Hz": "Hz hertz",
    "kHz": "kHz",
    "eV": "eV",
    "mol": "mol mole moles",
    "Pa": "Pa pascal pascals",
    "kPa": "kPa",
    "atm": "atm",
    "cal": "cal calorie calories",
    "kcal": "kcal",
    "ohm": "ohm ohms Omega",
    "ha": "ha hectare hectares",
    "acre": "acre acres",
    "kW": "kW",
    "kJ": "kJ",
    "kN": "kN",
    "ton": "ton tons tonne tonnes",
    "t": "t",
    "rpm": "rpm",
    "ms": "ms millisecond milliseconds",
    "": "unit units",
}
_NAMES = {name: unit for unit, names in _LISTED.items() for name in names.split()}
_SQUARES = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cu": "3", "cubed": "3"}
_MEANING = frozenset(
    words(
        "or and mod modulo remainder million billion thousand hundred trillion dozen if where when "
        "for to not is are from "
        "times plus minus over then but than less more no none half only by with pm am infinity sin "
        "cos tan log ln sqrt "
        "pi base even odd through between except yes true false otherwise real all any integer rational x y z"
    )
)


def unit_name(words: Sequence[str]) -> str | None:
    """The spelling of a unit from the words after a value: ``""`` for a count of things; None if it is no unit."""
    text = " ".join(words).strip(" .,")
    if not text or len(text) > 60:
        return None
    text = re.sub(r"\s*([/^*])\s*", r"\1", text)
    parts = text.split()
    power, names = "", []
    for part in parts:
        if part.casefold() in _SQUARES:
            power = _SQUARES[part.casefold()]
            continue
        stem, _, exponent = part.partition("^")
        power = exponent or power
        names.append(stem)
    joined = " ".join(names)
    known = _NAMES.get(joined) if joined in _NAMES else _NAMES.get(joined.casefold() if len(joined) > 1 else joined)
    if known is not None:
        return (known or "unit") + power if power else known
    if "/" in joined or "*" in joined or " per " in joined:
        sides = [unit_name([side]) for side in re.split(r"/|\*| per ", joined)]
        return "/".join(s or "unit" for s in sides) + power if None not in sides else None
    if power or not _phrase(parts):
        return None
    return ""


def _phrase(parts: Sequence[str]) -> bool:
    """A noun phrase of at most four words, none of which changes the meaning."""
    return len(parts) <= 4 and all(
        re.fullmatch(r"[A-Za-z]{3,20}|of|in|a", part) is not None and part.casefold() not in _MEANING for part in parts
    )


_COUNTED = frozenset({"", "%", "°", "rad"})


def conflict(left: str, right: str) -> bool:
    """Whether two answers have units of which one must be wrong."""
    return left != right and not _COUNTED & {left, right}
