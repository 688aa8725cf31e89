"""Equations in text, read and checked exactly: text -> sides of Fractions, never through ``eval`` or computer algebra.

Read: calculator annotations (``<<48/2=24>>``, Cobbe et al. 2021, arXiv:2110.14168) and equations in prose, chained
ones too (``2 * 60 = 120 = 100 + 20``); ``+ - * /``, ``× ÷ − ·``, ``x`` between numbers, ``^`` with a small whole
exponent, parentheses, ``2(3+4)``, mixed numbers, ``½``, LaTeX ``\\times \\div \\cdot \\frac{a}{b}``, the words plus,
minus, times, multiplied by, divided by, equals, and ``20% of 50``. Currency signs, units (up to six words after a
number, ``$25/month``) and remarks in brackets may stand inside. An expression without ``=`` is read too; it claims
nothing.

When two sides are equal:

* exactly, as fractions; or
* one is a written decimal, which equals an exact value if it is that value rightly rounded to its own places (a tie may
  go either way). A whole number is no rounding: ``7/2 = 3`` is false, ``7/2 ≈ 3`` is not. After ``≈`` a number may be
  off by less than one unit of its last place. Ten places or more are a machine's: equal to a relative 1e-9;
* a percentage is the hundredth part (``20% * 50 = 10``) or, if that makes the sides differ, the number before its sign
  (``100% - 20% = 80``).
* A chain may run on: ``16 - 7 = 9 * 2 = 18`` says 16 - 7 = 9 and 9 * 2 = 18, as people write it.
* Dollars may become cents: ``$0.25 * 10 = 250 cents``.
* Two bare numbers with different units (``2 hours = 120 minutes``) are a conversion and are not judged, neither are
  bare numbers without any operation, divisions by zero and anything beyond the limits below: UNKNOWN.

Not covered: variables (``2x + 3 = 7`` is no equation here), inequalities, roots, ``is`` as an equals sign, errors that
come from an operand rounded before (``33.33 * 3 = 100`` is false).

Hostile text: one pass over the text, no recursion; an expression of more than 200 tokens, a number of more than 30
digits, an intermediate value of more than 400 bits or an exponent beyond ±20 has no value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from .numbers import parse_number

MAX_TOKENS = 200
MAX_NUMBER = 30
MAX_BITS = 400
MAX_POWER = 20
MAX_UNIT_WORDS = 6
MACHINE_PLACES = 10


class Truth(StrEnum):
    """What exact arithmetic says about an equation."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"  # one side only, no operation at all, or something that is not read


@dataclass(frozen=True, slots=True)
class Operand:
    """A number inside an expression, at characters [start, end); ``unit`` is the first word after it."""

    start: int
    end: int
    value: Fraction | None
    percent: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of an equation. ``places``: the decimals of a bare number, None for an expression with operations.

    ``value`` reads percentages as hundredths, ``plain`` as the number before the sign; both are None where the side
    has no value. ``operators`` are ``+ - * / ^`` in order.
    """

    operands: tuple[Operand, ...]
    operators: str
    value: Fraction | None
    plain: Fraction | None
    places: int | None

    @property
    def unit(self) -> str:
        """The unit of a bare number."""
        return self.operands[-1].unit if self.places is not None and self.operands else ""


@dataclass(frozen=True, slots=True)
class Equation:
    """Sides that are said to be equal; a single side is an expression without a claim.

    ``noted``: it was a calculator annotation. ``loose[i]``: the sign after side i was ``≈``.
    """

    start: int
    end: int
    sides: tuple[Side, ...]
    loose: tuple[bool, ...] = ()
    noted: bool = False

    @property
    def truth(self) -> Truth:
        """Whether every side equals the next one; see the module for the policy."""
        if len(self.sides) < 2 or not any(side.operators for side in self.sides):
            return Truth.UNKNOWN
        pairs = zip(pairwise(self.sides), self.loose, strict=True)
        verdicts = {_same(left, right, loose) for (left, right), loose in pairs}
        for verdict in (Truth.FALSE, Truth.UNKNOWN):
            if verdict in verdicts:
                return verdict
        return Truth.TRUE

    @property
    def result(self) -> Fraction | None:
        """What it comes to: the last side as written; for a single side, its value."""
        return self.sides[-1].value

    @property
    def operands(self) -> tuple[Operand, ...]:
        """The numbers it computes from: those of its first side with operations, and where a chain runs on
        (``5 + 3 = 8 * 2 = 16``) the new ones of the later sides; a side that only restates brings none."""
        computed = [side for side in self.sides if side.operators]
        found = list(computed[0].operands) if computed else []
        for left, right in pairwise(computed):
            if left.value != right.value:
                found += [o for o in right.operands if o.value != left.value]
        return tuple(found)


def find_equations(text: str) -> list[Equation]:
    """The equations and expressions in ``text``, by where they begin; takes time linear in the text.

    An annotation is an equation of its own; prose is read as if annotations were not there, so that
    ``16 - 3 = <<16-3=13>>13`` gives two equations.
    """
    found = []
    prose, at = [], 0
    for note in _NOTE.finditer(text):
        prose += [text[at : note.start()], "\x00" * (note.end() - note.start())]
        at = note.end()
        found += _read(note[1], note.start(1), noted=True)
    prose.append(text[at:])
    found += _read("".join(prose), 0, noted=False)
    return sorted(found, key=lambda e: (e.start, e.end))


_NOTE = re.compile(r"<<([^<>\n]*+)>>")


# --- tokens ----------------------------------------------------------------------------------------------------------


class _Kind(StrEnum):
    NUMBER = "number"
    OPERATOR = "operator"
    OPEN = "("
    CLOSE = ")"
    EQUALS = "="
    ABOUT = "≈"
    WORD = "word"
    PERCENT = "%"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    start: int
    end: int
    text: str = ""
    value: Fraction | None = None
    places: int = 0
    glued: bool = False  # nothing but itself between it and the token before


_VULGAR = "".join(c for c in map(chr, range(0xBC, 0x218A)) if unicodedata.normalize("NFKC", c)[1:2] == "\u2044")
_LEX = re.compile(
    rf"""
      (?P<skip> [\x00 \t\u00a0\u2009\u202f]++ | \\[,;:!\ ] | \\(?:left|right|displaystyle|,)(?![A-Za-z]) | \\?[$€£¥₹]
              | \\\( | \\\) )
    | (?P<number> \d++(?:(?:,|\{{,\}})\d{{3}}(?!\d))*+(?:\.\d++)?+ | \.\d++ )
    | (?P<vulgar> [{_VULGAR}] )
    | (?P<remark> \( (?=[^\W\d_]) [^()\n\x00=]{{0,80}}+ \) )
    | (?P<per> / (?=\s?[A-Za-z]) | \bper\b )
    | (?P<times> [xX](?=\s?\s?\\?[$€£¥₹]?[\d.(]) | \*(?!\*) | [×·∙⋅] | \\(?:times|cdot)(?![A-Za-z]) )
    | (?P<over> //? | ÷ | \\div(?![A-Za-z]) )
    | (?P<plus> \+ )
    | (?P<minus> [-−–](?!>) )
    | (?P<power> \^ | \*\* )
    | (?P<frac> \\[dt]?frac\s?\{{ )
    | (?P<text> \\(?:text|mathrm|textbf)\s?\{{ ([^{{}}\n]{{0,80}}+) \}} )
    | (?P<middle> \}}\s?\{{ )
    | (?P<close_brace> \}} )
    | (?P<open> [(\[] )
    | (?P<close> [)\]] )
    | (?P<about> [≈≃] | ~=? | \\approx(?![A-Za-z]) )
    | (?P<equals> (?<![<>!=])=(?![=>]) )
    | (?P<percent> \\?% )
    | (?P<word> [^\W\d_][\w'’]*+(?:-[^\W\d_][\w'’]*+)*+ )
    | (?P<stop> . | \n )
    """,
    re.VERBOSE,
)
_SIGNS = {"times": "*", "over": "/", "plus": "+", "minus": "-", "power": "^"}
_MARKS = {
    "open": _Kind.OPEN,
    "close": _Kind.CLOSE,
    "about": _Kind.ABOUT,
    "equals": _Kind.EQUALS,
    "percent": _Kind.PERCENT,
}
_SPOKEN = {"times": "*", "plus": "+", "minus": "-", "multiplied": "*", "divided": "/"}
_UNIT_LETTERS = frozenset("gmlhscd")  # 5g, 3 m: any other single letter after a number is a variable
_SAME = {"equals": _Kind.EQUALS, "equal": _Kind.EQUALS}


def _tokens(text: str) -> Iterator[_Token]:
    """The tokens of ``text``; a LaTeX fraction becomes brackets and a division."""
    fractions: list[bool] = []  # per open \frac: whether its lower half is open
    last = -1
    for match in _LEX.finditer(text):
        name, start, end = match.lastgroup or "stop", *match.span()
        if name == "skip":
            if match.group().startswith(("$", "\\$", "\x00")):
                last = end if last == start else last
            continue
        glued, last = last == start, end

        def token(kind: _Kind, sign: str = "", start: int = start, end: int = end, glued: bool = glued) -> _Token:
            return _Token(kind, start, end, sign, glued=glued)

        if name == "number":
            value, places = _number(match.group())
            yield _Token(_Kind.NUMBER, start, end, match.group(), value, places, glued)
        elif name == "vulgar":
            above, below = unicodedata.normalize("NFKC", match.group()).split("\u2044")
            value = Fraction(int(above), int(below)) if below else None
            yield _Token(_Kind.NUMBER, start, end, match.group(), value, 0, glued)
        elif name in _SIGNS:
            yield token(_Kind.OPERATOR, _SIGNS[name])
        elif name == "word":
            word = match.group().lower()
            kind = _SAME.get(word, _Kind.OPERATOR if word in _SPOKEN else _Kind.WORD)
            yield token(kind, match.group() if len(word) == 1 else _SPOKEN.get(word, word))
        elif name in ("remark", "per", "text"):
            yield token(_Kind.WORD, match.group().strip("/ "))
        elif name == "frac":
            fractions.append(False)
            yield token(_Kind.OPEN, "(")
            yield token(_Kind.OPEN, "(")
        elif name == "middle" and fractions and not fractions[-1]:
            fractions[-1] = True
            yield token(_Kind.CLOSE)
            yield token(_Kind.OPERATOR, "/")
            yield token(_Kind.OPEN, "(")
        elif name == "close_brace" and fractions and fractions.pop():
            yield token(_Kind.CLOSE)
            yield token(_Kind.CLOSE)
        elif name in _MARKS:
            yield token(_MARKS[name], match.group())
        else:
            fractions.clear()
            yield token(_Kind.STOP)


@lru_cache(maxsize=4096)
def _number(text: str) -> tuple[Fraction | None, int]:
    """The value and the decimal places of a plain decimal; the value is None beyond 30 digits."""
    places = len(text.partition(".")[2])
    if len(text) > 2 * MAX_NUMBER:
        return None, places
    number = parse_number(text)
    small = number is not None and sum(c.isdigit() for c in text) <= MAX_NUMBER
    return (number.value if number is not None and small else None), places


# --- expressions -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Expression:
    """An expression that grows token by token. ``open`` are the positions of brackets that are not closed yet."""

    tokens: list[_Token] = field(default_factory=list)
    units: dict[int, str] = field(default_factory=dict)  # position of a number -> the first word after it
    percents: set[int] = field(default_factory=set)
    open: list[int] = field(default_factory=list)
    words: int = 0  # since the last operand

    @property
    def complete(self) -> bool:
        """Whether an operand has just ended, so that an operator or an equals sign may follow."""
        return bool(self.tokens) and self.tokens[-1].kind in (_Kind.NUMBER, _Kind.CLOSE)

    def push(self, token: _Token) -> None:
        self.words = 0
        if token.kind is _Kind.OPEN:
            self.open.append(len(self.tokens))
        self.tokens.append(token)

    def close(self, token: _Token) -> bool:
        """Whether a closing bracket had a partner."""
        if self.open:
            self.open.pop()
            self.push(token)
            return True
        return False

    def mark(self, word: str) -> None:
        """A word after an operand."""
        self.words += 1
        if self.tokens[-1].kind is _Kind.NUMBER:
            self.units.setdefault(len(self.tokens) - 1, word)

    def side(self) -> tuple[Side, int, int] | None:
        """What was read, with its place: without operators at its end, and from its last open bracket on."""
        last = len(self.tokens)
        while last and self.tokens[last - 1].kind not in (_Kind.NUMBER, _Kind.CLOSE):
            last -= 1
        first = max((at + 1 for at in self.open if at < last), default=0)
        chosen = range(first, last)
        if not chosen:
            return None
        tokens = [self.tokens[i] for i in chosen]
        percents = [i in self.percents for i in chosen]
        operands = tuple(
            Operand(t.start, t.end, t.value, i in self.percents, self.units.get(i, ""))
            for i, t in zip(chosen, tokens, strict=True)
            if t.kind is _Kind.NUMBER
        )
        operators = "".join(t.text for t in tokens if t.kind is _Kind.OPERATOR and t.text not in ("neg", "mixed"))
        bare = len(operands) == 1 and not operators
        value = _evaluate(tokens, percents)
        plain = _evaluate(tokens, [False] * len(tokens)) if any(percents) else value
        places = next(t.places for t in tokens if t.kind is _Kind.NUMBER) if bare else None
        return Side(operands, operators, value, plain, places), tokens[0].start, tokens[-1].end


class _Unreadable(Exception):
    """An expression without a value."""


_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3, "^": 4, "mixed": 5}


def _evaluate(tokens: Sequence[_Token], percents: Sequence[bool]) -> Fraction | None:
    """The value of an expression by two stacks (Dijkstra's shunting yard); None where it has none."""
    if len(tokens) > MAX_TOKENS:
        return None
    values: list[Fraction] = []
    signs: list[str] = []
    try:
        for token, percent in zip(tokens, percents, strict=True):
            if token.kind is _Kind.NUMBER:
                if token.value is None:
                    return None
                values.append(token.value / 100 if percent else token.value)
            elif token.kind is _Kind.OPEN:
                signs.append("(")
            elif token.kind is _Kind.CLOSE:
                while signs[-1] != "(":
                    _apply(signs.pop(), values)
                signs.pop()
                if percent:
                    values[-1] /= 100
            else:
                right = token.text in ("^", "neg")
                while signs and signs[-1] != "(" and _BINDING[signs[-1]] >= _BINDING[token.text] + right:
                    _apply(signs.pop(), values)
                signs.append(token.text)
        while signs:
            _apply(signs.pop(), values)
    except (_Unreadable, IndexError, KeyError):
        return None
    return values[0] if len(values) == 1 else None


def _apply(sign: str, values: list[Fraction]) -> None:
    if sign == "neg":
        values.append(-values.pop())
        return
    right, left = values.pop(), values.pop()
    if (sign == "/" and not right) or (sign == "^" and (right.denominator != 1 or abs(right) > MAX_POWER)):
        raise _Unreadable
    if sign == "^" and ((not left and right < 0) or _bits(left) * abs(int(right)) > MAX_BITS):
        raise _Unreadable
    match sign:
        case "+" | "mixed":
            value = left + right
        case "-":
            value = left - right
        case "*":
            value = left * right
        case "/":
            value = left / right
        case _:
            value = Fraction(left ** int(right))
    if _bits(value) > MAX_BITS:
        raise _Unreadable
    values.append(value)


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


# --- equations -------------------------------------------------------------------------------------------------------


class _Reader:
    """Reads equations from left to right; never looks back further than the expression it is in."""

    def __init__(self, noted: bool) -> None:
        self._noted = noted
        self._fresh = True  # nothing has been read since the last full stop or line break
        self._spoiled = False  # an unknown takes part: nothing is read up to the next stop
        self._named = False  # but "x =" gives a name to what follows
        self.found: list[Equation] = []
        self._begin()

    def _begin(self) -> None:
        self._now = _Expression()
        self._sides: list[tuple[Side, int, int]] = []
        self._loose: list[bool] = []

    def finish(self) -> None:
        """End what is open, and keep it if it is more than a number."""
        side = self._now.side()
        sides = [*self._sides, side] if side is not None else self._sides
        if len(sides) > 2 and sides[0][0].unit and sides[1][0].operators:
            sides, self._loose = sides[1:], self._loose[1:]  # "Cost of 3 nights = 3 * 50 = 150" begins with a label
        if sides and (len(sides) > 1 or sides[0][0].operators):
            loose = tuple(self._loose[: len(sides) - 1])
            start, end = sides[0][1], sides[-1][2]
            self.found.append(Equation(start, end, tuple(s for s, _, _ in sides), loose, self._noted))
        self._begin()

    def _equals(self, about: bool) -> None:
        side = self._now.side()
        if side is None or not self._now.complete:  # "x = 5 + 3": what stands before is no expression
            self.finish()
            return
        self._sides.append(side)
        self._loose.append(about)
        self._now = _Expression()

    def _operand(self, token: _Token) -> None:
        """A number or an opening bracket."""
        now = self._now
        if now.complete:
            if token.kind is _Kind.OPEN and token.glued and not now.words:  # 2(3 + 4)
                now.push(_Token(_Kind.OPERATOR, token.start, token.start, "*"))
            elif token.kind is _Kind.NUMBER and not now.words and self._is_mixed(token):
                now.push(_Token(_Kind.OPERATOR, token.start, token.start, "mixed"))
            else:
                self.finish()
        self._now.push(token)

    def _is_mixed(self, token: _Token) -> bool:
        """Whether this is the ½ of ``1 ½``; ``1 1/2`` has become one token before."""
        before = self._now.tokens[-1]
        whole = before.kind is _Kind.NUMBER and before.value is not None and before.value.denominator == 1
        return whole and token.value is not None and 0 < token.value < 1 and token.text[:1] in (*_VULGAR, "(")

    def _operator(self, token: _Token) -> None:
        now = self._now
        if now.complete:
            now.push(token)
        elif token.text == "-" and (not now.tokens or now.tokens[-1].text != "neg"):
            if not now.tokens and not self._sides and not self._noted and token.glued:
                self.finish()  # the dash of a word
            else:
                now.push(_Token(_Kind.OPERATOR, token.start, token.end, "neg"))
        else:
            self._spoiled = not self._fresh and not now.tokens and token.text in "+*/"
            self.finish()

    def _word(self, token: _Token) -> None:
        now = self._now
        if self._is_variable(token):
            self._named = not now.tokens and not self._sides
            self._begin()
            self._spoiled = True
            return
        if not now.complete:
            by = now.tokens and now.tokens[-1].kind is _Kind.OPERATOR and token.text in ("by", "to")
            if not by:
                self.finish()
            return
        if token.text == "of" and not now.words and self._part():
            now.push(_Token(_Kind.OPERATOR, token.start, token.end, "*"))
            return
        if token.text == "to":  # "is equal to 5" has been taken by the equals sign
            self.finish()
            return
        now.mark(token.text)
        if now.words > MAX_UNIT_WORDS:
            self.finish()

    def _part(self) -> bool:
        """Whether ``of`` follows a percentage or a fraction, and so multiplies."""
        tokens, last = self._now.tokens, len(self._now.tokens) - 1
        if last == 0 and self._sides and self._sides[-1][0].operators:
            return False  # "45/300 = 15% of the price"
        if last in self._now.percents:
            return True
        value = tokens[last].value
        return (last >= 2 and tokens[last - 1].text == "/") or (value is not None and 0 < value < 1)

    def _is_variable(self, token: _Token) -> bool:
        """Whether a word stands for a number: ``x``, the ``J`` of ``2J``, ``.4(Number of Minutes)``."""
        after = self._now.complete and token.glued
        if len(token.text) == 1 and token.text.isalpha():
            return token.text not in _UNIT_LETTERS if after else token.text not in (*_UNIT_LETTERS, *"aiAI")
        return after and token.text.startswith("(")

    def take(self, token: _Token, blank_after: bool) -> None:
        """One token; ``blank_after`` tells a bullet from a sign."""
        if token.kind is _Kind.STOP:
            self.finish()
            self._fresh, self._spoiled = True, False
        elif self._spoiled:
            self._spoiled = not (self._named and token.kind is _Kind.EQUALS)
            self._named = False
        else:
            self._take(token, blank_after)
            self._fresh = False

    def _take(self, token: _Token, blank_after: bool) -> None:
        match token.kind:
            case _Kind.NUMBER | _Kind.OPEN:
                self._operand(token)
            case _Kind.CLOSE:
                if not (self._now.complete and self._now.close(token)):
                    self.finish()
            case _Kind.OPERATOR:
                if token.text == "-" and blank_after and not self._now.tokens and not self._sides:
                    self.finish()  # a bullet
                else:
                    self._operator(token)
            case _Kind.EQUALS | _Kind.ABOUT:
                self._equals(token.kind is _Kind.ABOUT)
            case _Kind.PERCENT:
                if self._now.complete:
                    self._now.percents.add(len(self._now.tokens) - 1)
                else:
                    self.finish()
            case _:
                self._word(token)


def _read(text: str, offset: int, *, noted: bool) -> list[Equation]:
    reader = _Reader(noted)
    for token in _joined(list(_tokens(text))):
        reader.take(token, text[token.end : token.end + 1] in ("", " ", "\t"))
    reader.finish()
    return [_moved(e, offset) for e in reader.found] if offset else reader.found


_MIXED = ("number", "number", "/", "number")


def _joined(tokens: list[_Token]) -> Iterator[_Token]:
    """``1 1/2`` as one bracketed sum, so that what follows multiplies all of it; "equal to" without its "to"."""
    at = 0
    while at < len(tokens):
        part = tokens[at : at + 4]
        shape = tuple(t.text if t.kind is _Kind.OPERATOR else str(t.kind) for t in part)
        if shape == _MIXED and _is_mixed_number(part):
            whole, above, over, below = part
            yield _Token(_Kind.OPEN, whole.start, whole.start, "(")
            yield whole
            yield _Token(_Kind.OPERATOR, above.start, above.start, "+")
            yield from (above, over, below)
            yield _Token(_Kind.CLOSE, below.end, below.end)
            at += 4
            continue
        yield tokens[at]
        said = tokens[at].kind is _Kind.EQUALS and at + 1 < len(tokens) and tokens[at + 1].text == "to"
        at += 1 + said


def _is_mixed_number(part: Sequence[_Token]) -> bool:
    whole, above, _, below = (t.value for t in part)
    if part[0].glued or part[1].glued or whole is None or above is None or below is None:
        return False
    return whole.denominator == above.denominator == below.denominator == 1 and 0 < above < below


def _moved(equation: Equation, offset: int) -> Equation:
    sides = tuple(
        Side(
            tuple(Operand(o.start + offset, o.end + offset, o.value, o.percent, o.unit) for o in s.operands),
            s.operators,
            s.value,
            s.plain,
            s.places,
        )
        for s in equation.sides
    )
    return Equation(equation.start + offset, equation.end + offset, sides, equation.loose, equation.noted)


# --- truth -----------------------------------------------------------------------------------------------------------


def _same(left: Side, right: Side, loose: bool) -> Truth:
    if left.places is not None and right.places is not None and left.unit != right.unit:
        return Truth.UNKNOWN  # a conversion
    readings = [(left.value, right.value), (left.plain, right.plain), (left.plain, right.value)]
    known = [(a, b) for a, b in readings if a is not None and b is not None]
    if not known:
        return Truth.UNKNOWN
    if right.operators and left.value is not None and right.operands[0].value == left.value:
        return Truth.TRUE  # a chain that runs on
    if right.unit in ("cent", "cents") and left.value is not None and left.value * 100 == right.value:
        return Truth.TRUE
    for a, b in known:
        if a == b or _rounds(a, b, right.places, loose) or _rounds(b, a, left.places, loose):
            return Truth.TRUE
    return Truth.FALSE


def _rounds(exact: Fraction, written: Fraction, places: int | None, loose: bool) -> bool:
    """Whether a number written with ``places`` decimals is ``exact`` rounded."""
    if places is None or (places == 0 and not loose):
        return False
    if places >= MACHINE_PLACES:
        return abs(exact - written) <= abs(exact) / 10**9
    unit = Fraction(1, 10**places)
    off = abs(exact - written)
    return off < unit if loose else 2 * off <= unit
