"""Numbers in text, read exactly: text -> Fraction, never through ``eval`` or a computer algebra system.

Read: integers and decimals with any sign, thousands separators (``1,234``, ``10{,}000``, a thin space; ``1,23`` is two
numbers), fractions ``3/4``, mixed numbers ``1 1/2``, ``½``, ``\\frac{3}{4}``, scientific notation ``1.5e3`` and
``1.5 \\times 10^3``. A currency sign before a number is not part of it.

Judgements:

* A percent sign is not part of the number: ``60%`` is 60. Whoever asks for a percentage has 60 as reference, and
  nobody's 60 should equal 0.6.
* A label (``horse #12``) is a number, but not what a text ends on; the hour is what ``2:00`` ends on.
* Scale words are not read: ``5 million`` is 5.
* Digits that follow a letter (``H2O``), ``^`` (``15 cm^2``) or ``_`` are no numbers.
* ``1.234,56`` is not read as a European decimal.

Hostile text: every pattern is linear in the text, and a number of more than 200 digits or with an exponent beyond
±300 has no value, only a reason.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 200
MAX_EXPONENT = 300


@dataclass(frozen=True, slots=True)
class Number:
    """A number found at characters [start, end) of a text.

    ``plain`` is how it would be typed (``1,234`` -> ``1234``); ``value`` is None where it is too long to be read, and
    ``reason`` says so.
    """

    start: int
    end: int
    plain: str
    value: Fraction | None
    reason: str = ""


_SEPARATOR = r"(?:,\\!|\{,\}|\\,|\\!,|[,\u00a0\u2009\u202f])"
_DIGITS = rf"\d++(?:{_SEPARATOR}\d++)*+"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d++)?+|(?<![\w.])\.\d++)"
_POWER = (
    r"(?:[eE][+\-−]?\d{1,6}(?!\w)"
    r"|\ ?(?:\\times|\\cdot|×|·|\*|x)\ ?10\ ?(?:\^|\*\*)\ ?(?:\{[+\-−]?\d{1,6}\}|[+\-−]?\d{1,6}(?!\d)))"
)
_VULGAR = "".join(c for c in map(chr, range(0xBC, 0x218A)) if unicodedata.normalize("NFKC", c)[1:2] == "\u2044")
_NUMBER = re.compile(
    rf"""(?<![A-Za-z^_\d]) (?<!\^\{{) (?<!_\{{)
    (?P<sign> (?<![\w)\]}}.]) [-+−–] (?:\\?[$€£¥₹])?+ )?+
    (?:
        (?P<whole> \d{{1,9}} )? \ ?+ \\[dt]?frac (?: \{{(?P<n>\d++)\}}\{{(?P<d>\d++)\}} | (?P<n1>\d)(?P<d1>\d) )
      | (?P<vwhole> \d{{1,9}} )? \ ?+ (?P<vulgar> [{_VULGAR}] )
      | (?P<mixed> \d{{1,9}} ) \  (?P<mn> \d{{1,9}} ) / (?P<md> \d{{1,9}} ) (?! [\d./] )
      | (?P<chain> {_DECIMAL} (?P<power> {_POWER} )?+ (?: (?: \ /\  | / ) {_DECIMAL} )*+ )
    )""",
    re.VERBOSE,
)
_GROUP = re.compile(_SEPARATOR)
_LABEL = re.compile(r"(?<!#)#$")
_HOUR = re.compile(r"\d|1\d|2[0-4]")
_MINUS = "-−–"


def find_numbers(text: str, start: int = 0, end: int | None = None) -> Iterator[Number]:
    """The numbers in ``text[start:end]``, left to right; takes time linear in the text."""
    for match in _NUMBER.finditer(text, start, len(text) if end is None else end):
        yield from _read(match)


def concluding(numbers: Sequence[Number], text: str) -> Number | None:
    """The last of ``numbers``, which stand in ``text``, that is a quantity; None if there are none.

    ``horse #12`` is a label and gives way to a number before it that is none; ``2:00`` is 2.
    """
    kept = [n for n in numbers if not _LABEL.search(text, max(0, n.start - 2), n.start)] or list(numbers)
    if len(kept) > 1 and kept[-1].plain == "00" and text[kept[-1].start - 1] == ":":
        hour = kept[-2]
        if hour.end == kept[-1].start - 1 and _HOUR.fullmatch(hour.plain):
            return hour
    return kept[-1] if kept else None


def parse_number(value: str) -> Number | None:
    """The number that all of ``value`` is; None if it is anything else.

    Allowed around it: blanks, a currency sign, a percent sign, quotes, markdown stars, ``$…$``, ``\\boxed{…}``, one
    final full stop, comma, semicolon or colon.
    """
    inner = unwrap(value)
    found = list(find_numbers(inner)) if len(inner) <= 10 * MAX_DIGITS else []
    if len(found) == 1 and found[0].start == 0 and found[0].end == len(inner):
        return found[0]
    return None


_WRAPPERS = (("\\boxed{", "}"), ("\\text{", "}"), ("\\(", "\\)"), ("\\[", "\\]"), ("{", "}"), ("(", ")"), ("[", "]"))
_STOPS = (".", ",", ";", ":")
_EDGE = " \t\r\n\f\v\u00a0*`'\"“”‘’$€£¥₹"


def unwrap(value: str) -> str:
    """``value`` without what may stand around an answer: quotes, currency, percent, ``$…$``, ``\\boxed{…}``."""
    for _ in range(16):
        before = value
        value = value.removesuffix("\\%").removesuffix("%").strip(_EDGE).removesuffix("\\")
        value = value.removeprefix("\\$")
        if value[-1:] in _STOPS:
            value = value[:-1]
        for left, right in _WRAPPERS:
            if value.startswith(left) and value.endswith(right):
                value = value[len(left) : -len(right)]
        if value == before:
            break
    return value


def _read(match: re.Match[str]) -> Iterator[Number]:
    sign = match["sign"] or ""
    minus = sign[:1] in _MINUS if sign else False
    start, end = match.span()
    if match["chain"] is not None:
        yield from _read_chain(match, minus, start, end)
        return
    if match["vulgar"] is not None:
        numerator, denominator = unicodedata.normalize("NFKC", match["vulgar"]).split("\u2044")
        whole = match["vwhole"]
    elif match["mixed"] is not None:
        whole, numerator, denominator = match["mixed"], match["mn"], match["md"]
        if int(numerator) >= int(denominator):  # "2020 3/4" is mixed, "12 7/3" is two numbers
            yield _number(start, match.end("mixed"), minus, whole)
            yield _ratio(match.start("mn"), end, False, None, numerator, denominator)
            return
    else:
        whole = match["whole"]
        numerator, denominator = match["n"] or match["n1"], match["d"] or match["d1"]
    yield _ratio(start, end, minus, whole, numerator, denominator)


def _read_chain(match: re.Match[str], minus: bool, start: int, end: int) -> Iterator[Number]:
    """A decimal, one with a power of ten, a fraction ``a/b``, or more parts (``3/4/2020``), which are separate."""
    first = match.start("chain")
    power = match["power"] or ""
    parts = [(first + m.start(), m.group()) for m in re.finditer(r"[^/]+", match["chain"])]
    if power:
        mantissa = parts[0][1].rstrip()[: match.start("power") - first]
        stop = match.end("power")
        yield from _grouped(start, stop, minus, first, mantissa, power)
        parts, minus = parts[1:], False
    elif len(parts) == 2:
        left, right = (_plain(part.strip()) for _, part in parts)
        if left is not None and right is not None and set(right) - set("0."):
            yield _ratio(start, end, minus, None, left, right)
            return
    for at, part in parts:
        body = part.strip()
        at += len(part) - len(part.lstrip())
        yield from _grouped(start if at == first else at, at + len(body), minus and at == first, at, body, "")


def _grouped(start: int, end: int, minus: bool, at: int, body: str, power: str) -> Iterator[Number]:
    """One number if its separators stand at thousands, else one number per group."""
    plain = _plain(body)
    if plain is not None:
        yield _number(start, end, minus, plain, power)
        return
    last, pieces = 0, []
    for gap in _GROUP.finditer(body):
        pieces.append((last, gap.start()))
        last = gap.end()
    pieces.append((last, len(body)))
    for i, (a, b) in enumerate(pieces):
        final = i == len(pieces) - 1
        yield _number(
            start if i == 0 else at + a, end if final else at + b, minus and i == 0, body[a:b], power if final else ""
        )


def _plain(body: str) -> str | None:
    """``body`` without thousands separators; None if they do not stand at thousands."""
    whole, dot, decimals = body.partition(".")
    groups = _GROUP.split(whole)
    if len(groups) > 1 and (not 1 <= len(groups[0]) <= 3 or any(len(g) != 3 for g in groups[1:])):
        return None
    return "".join(groups) + dot + decimals


def _number(start: int, end: int, minus: bool, digits: str, power: str = "") -> Number:
    exponent = ""
    if power:
        tail = power[1:] if power[0] in "eE" else re.split(r"\^|\*\*", power, maxsplit=1)[1]
        exponent = tail.strip(" {}").replace("−", "-").removeprefix("+")
    plain = ("-" if minus else "") + digits + (f"e{exponent}" if exponent else "")
    whole, _, decimals = digits.partition(".")
    count = len(whole) + len(decimals)
    if count > MAX_DIGITS:
        return Number(start, end, plain, None, f"it has {count:,} digits; at most {MAX_DIGITS} are read")
    if exponent and abs(int(exponent)) > MAX_EXPONENT:
        return Number(start, end, plain, None, f"its exponent is beyond ±{MAX_EXPONENT}")
    value = Fraction(int(whole + decimals or "0"), 10 ** len(decimals))
    if exponent:
        value *= Fraction(10) ** int(exponent)
    return Number(start, end, plain, -value if minus else value)


def _ratio(start: int, end: int, minus: bool, whole: str | None, numerator: str, denominator: str) -> Number:
    plain = ("-" if minus else "") + (f"{whole} " if whole else "") + f"{numerator}/{denominator}"
    if max(len(numerator), len(denominator)) > MAX_DIGITS:
        return Number(start, end, plain, None, f"a part has more than {MAX_DIGITS} digits")
    below = _number(0, 0, False, denominator).value
    above = _number(0, 0, False, numerator).value
    if not below or above is None:
        return Number(start, end, plain, None, "it divides by zero")
    value = above / below + int(whole or 0)
    return Number(start, end, plain, -value if minus else value)
