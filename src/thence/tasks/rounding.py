"""Decimals against an exact reference number: when is a rounded answer right?

Two answers are the same only if they are exactly equal; tolerance exists against a reference, and only here:

* a whole reference is met by itself alone;
* any other is met by an answer with a decimal point that is the reference rightly rounded to the answer's own places
  (a tie may go either way) and shows at least three significant digits: 0.33 is too little for 1/3, 0.333 is enough;
* a reference with ten or more decimal places is a machine's: equal to a relative 1e-9.

No factor of 100 or 1000 is ever forgiven, and no sign.
"""

from __future__ import annotations

import re
from fractions import Fraction

from thence.core.answers import Grade, Verdict
from thence.core.clean import one_line
from thence.grading.numbers import find_numbers, parse_number

MIN_DIGITS = 3
MACHINE_PLACES = 10
_DECIMAL = re.compile(r"-?(\d*)\.(\d+)(?:e(-?\d+))?")


def rightly_rounded(value: Fraction, plain: str, least: int = MIN_DIGITS) -> bool:
    """Whether the decimal ``plain`` (``0.333``, ``1.25e-3``) is ``value`` rounded to its own last place and shows at
    least ``least`` significant digits. Whole numbers and fractions are no decimals: False."""
    match = _DECIMAL.fullmatch(plain)
    if match is None:
        return False
    whole, decimals, exponent = match.groups()
    number = parse_number(plain)
    if number is None or number.value is None or len((whole + decimals).lstrip("0")) < least:
        return False
    last = Fraction(10) ** (int(exponent or 0) - len(decimals))
    return last < 1 and abs(value - number.value) <= last / 2


def grade_number(gold: Fraction, answer: str | None, *, places: int = 0, least: int = MIN_DIGITS) -> Grade:
    """The verdict on ``answer``, which counts as its number, or as the only number in it (``18 eggs``).

    ``places`` is the number of decimals the reference was written with: ten or more are a machine's.
    """
    if answer is None or not answer.strip():
        return Grade(Verdict.NO_ANSWER, None, "no answer was found")
    number = parse_number(answer)
    if number is None:
        found = list(find_numbers(answer[-20_000:]))
        number = found[0] if len(found) == 1 else None
    expected = shown(gold)
    if number is None:
        return Grade(Verdict.INCORRECT, answer, f"expected {expected}, found no single number")
    if number.value is None:
        return Grade(Verdict.INCORRECT, answer, f"expected {expected}, found a number that is not read")
    value, said = number.value, one_line(number.plain, 80)
    if value == gold:
        return Grade(Verdict.CORRECT, answer, f"{said} equals {expected}")
    if gold.denominator != 1:
        if places >= MACHINE_PLACES and abs(value - gold) <= abs(gold) * Fraction(1, 10**9):
            return Grade(Verdict.CORRECT, answer, f"{said} equals {expected} to a relative 1e-9")
        if rightly_rounded(gold, number.plain, least):
            return Grade(Verdict.CORRECT, answer, f"{said} is {expected} rightly rounded")
    return Grade(Verdict.INCORRECT, answer, f"expected {expected}, found {said}")


def shown(value: Fraction) -> str:
    """A fraction as a person would type it: a decimal where that is exact, else ``1/3``."""
    digits = value.denominator
    for prime in (2, 5):
        while digits % prime == 0:
            digits //= prime
    if digits != 1 or value.denominator.bit_length() > 200:
        return str(value)
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    plain = f"{abs(value * 10**places).numerator:0{places + 1}d}"
    plain = f"{plain[:-places]}.{plain[-places:]}" if places else plain
    return f"-{plain}" if value < 0 else plain


def written_places(plain: str) -> int:
    """How many decimals a number was written with: 2 of ``1.25``."""
    return len(plain.partition("e")[0].partition(".")[2])


__all__ = ["MIN_DIGITS", "grade_number", "rightly_rounded", "shown", "written_places"]
