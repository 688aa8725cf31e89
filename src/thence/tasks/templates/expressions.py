"""Expressions of templates: a parser of our own and exact arithmetic. Text is never handed to Python's evaluator.

Grammar, loosest first: ``a if test else b``, ``or``, ``and``, ``not``, comparisons (chained, ``in``), ``+ -``,
``* / // %``, unary ``- +``, ``**``, then numbers, quoted texts, names (dotted ones such as ``np.arange`` are one name),
``f(x, …)``, ``x[i]``, ``x[i:j]``, ``(x)`` and ``[x, …]``.

Numbers are fractions, so ``0.1 * 3 == 0.3`` and ``int(100 * 0.29) == 29``; with floats neither holds. ``//`` and ``%``
round down, ``**`` takes a small whole exponent. A :class:`Worded` number is one that is written as a word: "half".

Limits: 4,000 characters, 40 levels of brackets, 150 operators, 200 digits in any number, lists of 20,000.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn, TypeAlias

from thence.core.clean import one_line
from thence.core.errors import DataError

MAX_LENGTH, MAX_DEPTH, MAX_DIGITS, MAX_ITEMS, MAX_EXPONENT = 4_000, 40, 200, 20_000, 64
MAX_OPERATORS = 150  # of one expression: a long sum is as deep as it is long
_LARGEST = 10**MAX_DIGITS


class ExpressionError(DataError):
    """An expression that is not of the grammar, or has no value."""


@dataclass(frozen=True, slots=True)
class Worded:
    """A number and how it is written: ("half", 1/2)."""

    text: str
    value: Fraction


Value: TypeAlias = "Fraction | str | bool | Worded | Sequence[Value]"
Function: TypeAlias = Callable[[Sequence[Value]], Value]


@dataclass(frozen=True, slots=True)
class Constant:
    """A number or a quoted text."""

    value: Fraction | str | bool


@dataclass(frozen=True, slots=True)
class Name:
    """A variable or a word list."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator with its operands: two, one for ``neg`` and ``not``, three for ``if``."""

    sign: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``a < b <= c``: all of the neighbours compare so."""

    signs: tuple[str, ...]
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the caller's table."""

    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """``[a, b]``, or a tuple in parentheses."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """``x[i]``, or ``x[i:j]`` where ``slice``."""

    whole: Expression
    start: Expression | None
    stop: Expression | None
    slice: bool


Expression: TypeAlias = Constant | Name | Operation | Comparison | Call | Listing | Part

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)|(?P<text>\"[^\"\\\n]*\"|'[^'\\\n]*')"
    r"|(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)|(?P<sign>//|\*\*|==|!=|<=|>=|[-+*/%<>()\[\],:]))"
)
_COMPARES = ("==", "!=", "<", "<=", ">", ">=", "in")
_WORDS = {"and", "or", "not", "in", "if", "else"}


def parse(text: str) -> Expression:
    """The expression that ``text`` is; ExpressionError where it is none, saying at which character."""
    return _Parser(text).whole()


class _Parser:
    """Recursive descent, one method per level of the grammar."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth, self.operators = text, 0, 0, 0
        if len(text) > MAX_LENGTH:
            raise ExpressionError(f"an expression of {len(text)} characters is longer than {MAX_LENGTH}; shorten it")
        self.tokens: list[tuple[str, str, int]] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                self._fail(f"{text[place:].lstrip()[:1]!r} is no part of an expression", place)
            kind = str(match.lastgroup)
            word = match.group(kind)
            self.tokens.append(("sign" if word in _WORDS else kind, word, match.start(kind)))
            place = match.end()
        self.tokens.append(("end", "", len(text)))

    def _fail(self, what: str, place: int | None = None) -> NoReturn:
        where = self.tokens[self.at][2] if place is None else place
        raise ExpressionError(f"{one_line(self.text.strip(), 80)!r}: {what} (character {where + 1})")

    def _take(self, *signs: str) -> str | None:
        """The next token if it is one of these signs; it is then read."""
        kind, word, _ = self.tokens[self.at]
        if kind != "sign" or word not in signs:
            return None
        self.at += 1
        return word

    def _count(self) -> None:
        self.operators += 1
        if self.operators > MAX_OPERATORS:
            self._fail(f"more than {MAX_OPERATORS} operators")

    def _need(self, sign: str) -> None:
        if self._take(sign) is None:
            self._fail(f"{sign!r} is missing")

    def whole(self) -> Expression:
        made = self._choice()
        if self.tokens[self.at][0] != "end":
            self._fail(f"{self.tokens[self.at][1]!r} does not belong here")
        return made

    def _choice(self) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH} levels")
        made = self._joined(("or",), lambda: self._joined(("and",), self._negated))
        if self._take("if"):
            test = self._joined(("or",), lambda: self._joined(("and",), self._negated))
            self._need("else")
            made = Operation("if", (test, made, self._choice()))
        self.depth -= 1
        return made

    def _joined(self, signs: tuple[str, ...], operand: Callable[[], Expression]) -> Expression:
        """Operators of one level, left to right."""
        made = operand()
        while sign := self._take(*signs):
            self._count()
            made = Operation(sign, (made, operand()))
        return made

    def _negated(self) -> Expression:
        count = 0
        while self._take("not"):
            count += 1
        made = self._compared()
        return Operation("not", (made,)) if count % 2 else made

    def _compared(self) -> Expression:
        signs, operands = [], [self._sum()]
        while sign := self._take(*_COMPARES):
            signs.append(sign)
            operands.append(self._sum())
        return Comparison(tuple(signs), tuple(operands)) if signs else operands[0]

    def _sum(self) -> Expression:
        return self._joined(("+", "-"), lambda: self._joined(("*", "/", "//", "%"), self._signed))

    def _signed(self) -> Expression:
        minus = 0
        while sign := self._take("-", "+"):
            minus += sign == "-"
        base = self._atom()
        if self._take("**"):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                self._fail(f"nested deeper than {MAX_DEPTH} levels")
            base = Operation("**", (base, self._signed()))
            self.depth -= 1
        return Operation("neg", (base,)) if minus % 2 else base

    def _atom(self) -> Expression:
        kind, word, _ = self.tokens[self.at]
        made: Expression
        if kind == "number":
            self.at += 1
            if len(word) > MAX_DIGITS:
                self._fail(f"a number of more than {MAX_DIGITS} digits", self.tokens[self.at - 1][2])
            made = Constant(Fraction(word))
        elif kind == "text":
            self.at += 1
            made = Constant(word[1:-1])
        elif kind == "name":
            self.at += 1
            made = Constant(word == "True") if word in ("True", "False") else Name(word)
            if isinstance(made, Name) and self._take("("):
                made = Call(word, self._list(")"))
        elif self._take("("):
            items = self._list(")")
            if not items:
                self._fail("nothing between the brackets")
            made = items[0] if len(items) == 1 else Listing(items)
        elif self._take("["):
            made = Listing(self._list("]"))
        else:
            self._fail("a value is missing" if kind == "end" else f"{word!r} where a value should be")
        while self._take("["):
            self._count()
            made = self._part(made)
        return made

    def _list(self, end: str) -> tuple[Expression, ...]:
        items: list[Expression] = []
        while not self._take(end):
            items.append(self._choice())
            if self._take(end):
                break
            self._need(",")
        return tuple(items)

    def _part(self, whole: Expression) -> Expression:
        start = None if self.tokens[self.at][1] == ":" else self._choice()
        if self._take("]"):
            return Part(whole, start, None, False)
        self._need(":")
        if self._take("]"):
            return Part(whole, start, None, True)
        stop = self._choice()
        self._need("]")
        return Part(whole, start, stop, True)


def names(expression: Expression) -> frozenset[str]:
    """The variables that an expression's value may depend on (names of functions are none)."""
    if isinstance(expression, Name):
        return frozenset((expression.name,))
    below: tuple[Expression, ...] = ()
    if isinstance(expression, Operation | Comparison):
        below = expression.operands
    elif isinstance(expression, Call):
        below = expression.arguments
    elif isinstance(expression, Listing):
        below = expression.items
    elif isinstance(expression, Part):
        below = tuple(e for e in (expression.whole, expression.start, expression.stop) if e is not None)
    return frozenset().union(*map(names, below))


_ARITHMETIC: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": lambda a, b: Fraction(a // b),
    "%": operator.mod,
}
_ORDER: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def number(value: Value, what: str = "a value") -> Fraction:
    """The number that a value is; ExpressionError for texts and lists."""
    if isinstance(value, bool):
        return Fraction(int(value))
    if isinstance(value, Worded):
        return value.value
    if isinstance(value, Fraction):
        return value
    raise ExpressionError(f"{what} is {one_line(repr(value), 60)} where a number is needed")


def bounded(value: Fraction) -> Fraction:
    """The number itself; ExpressionError when it is too long to be one of a word problem."""
    if abs(value.numerator) >= _LARGEST or value.denominator >= _LARGEST:
        raise ExpressionError(f"a result has more than {MAX_DIGITS} digits")
    return value


def evaluate(
    expression: Expression, variables: Mapping[str, Value], functions: Mapping[str, Function] | None = None
) -> Value:
    """The exact value; ExpressionError for an unknown name or function, a division by zero, a wrong kind of value."""
    known = functions or {}

    def of(e: Expression) -> Value:
        return evaluate(e, variables, known)

    if isinstance(expression, Constant):
        return expression.value
    if isinstance(expression, Name):
        if expression.name not in variables:
            raise ExpressionError(f"nothing is called {one_line(expression.name, 40)!r}")
        return variables[expression.name]
    if isinstance(expression, Call):
        if expression.function not in known:
            raise ExpressionError(f"the function {one_line(expression.function, 40)!r} is not known")
        return known[expression.function]([of(e) for e in expression.arguments])
    if isinstance(expression, Listing):
        return [of(e) for e in expression.items]
    if isinstance(expression, Part):
        start, stop = (None if e is None else of(e) for e in (expression.start, expression.stop))
        return _part(of(expression.whole), start, stop, slice=expression.slice)
    if isinstance(expression, Comparison):
        values = [of(e) for e in expression.operands]
        return all(map(_compare, expression.signs, values, values[1:]))
    return _operate(expression, of)


def _operate(expression: Operation, of: Callable[[Expression], Value]) -> Value:
    sign, first, rest = expression.sign, expression.operands[0], expression.operands[1:]
    if sign == "if":
        return of(rest[0] if _truth(of(first)) else rest[1])
    if sign == "not":
        return not _truth(of(first))
    if sign in ("and", "or"):
        return _truth(of(rest[0])) if _truth(of(first)) == (sign == "and") else sign == "or"
    left = of(first)
    if sign == "neg":
        return -number(left)
    right = of(rest[0])
    if isinstance(left, list | tuple):
        return _joined_lists(left, sign, right)
    a, b = number(left, f"the left of {sign}"), number(right, f"the right of {sign}")
    if sign == "**":
        if b.denominator != 1 or abs(b) > MAX_EXPONENT or (a == 0 and b < 0):
            raise ExpressionError(f"the power {a} ** {b} is outside what is computed here")
        return bounded(Fraction(a ** int(b)))
    if b == 0 and sign in ("/", "//", "%"):
        raise ExpressionError(f"division of {a} by zero")
    return bounded(_ARITHMETIC[sign](a, b))


def _joined_lists(left: Sequence[Value], sign: str, right: Value) -> Value:
    if sign == "+" and isinstance(right, list):
        made = [*left, *right]
    elif sign == "*" and isinstance(right, Fraction) and right.denominator == 1 and 0 <= right * len(left) <= MAX_ITEMS:
        made = [*left] * int(right)
    else:
        raise ExpressionError(f"a list cannot be combined with {one_line(repr(right), 40)} by {sign}")
    return made


def _truth(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    raise ExpressionError(f"{one_line(repr(value), 60)} is neither true nor false")


def _compare(sign: str, left: Value, right: Value) -> bool:
    if sign == "in":
        if not isinstance(right, list | tuple):
            raise ExpressionError("what stands after 'in' must be a list")
        return any(_same(left, item) for item in right)
    if sign in ("==", "!="):
        return _same(left, right) == (sign == "==")
    return _ORDER[sign](number(left), number(right))


def _same(left: Value, right: Value) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        texts = [v.text if isinstance(v, Worded) else v for v in (left, right)]
        return texts[0] == texts[1]
    return number(left) == number(right)


def _part(whole: Value, start: Value | None, stop: Value | None, *, slice: bool) -> Value:
    if isinstance(whole, Worded):
        whole = [whole.text, whole.value]
    if not isinstance(whole, list | tuple):
        raise ExpressionError("only lists have parts")
    items: list[Value] = list(whole)
    first, last = (None if v is None else int(number(v)) for v in (start, stop))
    if slice:
        return items[first:last]
    if first is None or not -len(items) <= first < len(items):
        raise ExpressionError(f"a list of {len(items)} has no item {first}")
    return items[first]
