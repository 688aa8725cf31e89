"""Polynomials with rational coefficients in any letters, read from text and compared exactly.

Read: numbers, single letters, ``+ - * / ^ **``, brackets, and factors side by side (``3x^2``); letters side by side are
a word and refused (write ``x*y``). A division is by a number; an exponent is a whole number up to 40. No computer
algebra and no ``eval``: a recursive descent over at most 400 tokens, with at most 400 terms at any time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_TOKENS = 400
MAX_TERMS = 400
MAX_POWER = 40
MAX_DEPTH = 40
MAX_BITS = 2000

Monomial = tuple[tuple[str, int], ...]
_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?|\.\d+)|([^\W\d_](?![^\W\d_]))|(\*\*|[-+*/^()·×−])|(\S))")


@dataclass(frozen=True, slots=True)
class Polynomial:
    """Coefficients by monomial (letters in order, each with its exponent); zero coefficients are left out."""

    terms: frozenset[tuple[Monomial, Fraction]]

    def derivative(self, variable: str) -> Polynomial:
        """The derivative by ``variable``; other letters are constants."""
        made: dict[Monomial, Fraction] = {}
        for monomial, factor in self.terms:
            powers = dict(monomial)
            if exponent := powers.get(variable, 0):
                powers[variable] = exponent - 1
                key = _monomial(powers)
                made[key] = made.get(key, Fraction(0)) + factor * exponent
        return _polynomial(made)


def read_polynomial(text: str) -> Polynomial:
    """The polynomial that ``text`` is; ValueError, with the reason, for anything else."""
    tokens: list[str] = []
    for number, letter, sign, other in _TOKEN.findall(text):
        if other:
            raise ValueError(f"{other!r} does not belong to a polynomial")
        tokens.append(number or letter or {"**": "^", "·": "*", "×": "*", "−": "-"}.get(sign, sign))
    if not tokens or len(tokens) > MAX_TOKENS:
        raise ValueError(f"it has {len(tokens)} tokens; a polynomial here has 1 to {MAX_TOKENS}")
    reader = _Reader(tokens)
    made = reader.sum(0)
    if reader.at < len(tokens):
        raise ValueError(f"{tokens[reader.at]!r} is not expected there")
    return _polynomial(made)


_Terms = dict[Monomial, Fraction]


class _Reader:
    """sum = product (± product)*; product = power ([*/] power | power)*; power = atom (^ whole)?"""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    def take(self, *wanted: str) -> str:
        if self.at < len(self.tokens) and self.tokens[self.at] in wanted:
            self.at += 1
            return self.tokens[self.at - 1]
        return ""

    def sum(self, depth: int) -> _Terms:
        total = self.product(depth)
        while sign := self.take("+", "-"):
            total = _added(total, self.product(depth), 1 if sign == "+" else -1)
        return total

    def product(self, depth: int) -> _Terms:
        if sign := self.take("+", "-"):
            return _added({}, self.product(depth), 1 if sign == "+" else -1)
        total = self.power(depth)
        while self.at < len(self.tokens) and self.tokens[self.at] not in ("+", "-", ")"):
            if self.take("/"):
                below = self.power(depth)
                if set(below) != {()}:
                    raise ValueError("a polynomial is divided by numbers only, and not by zero")
                total = {key: factor / below[()] for key, factor in total.items()}
            else:
                self.take("*")
                negative = self.take("-")
                total = _multiplied(total, self.power(depth))
                total = _added({}, total, -1) if negative else total
        return total

    def power(self, depth: int) -> _Terms:
        base = self.atom(depth + 1)
        if not self.take("^"):
            return base
        bracket = self.take("(")
        exponent = self.tokens[self.at] if self.at < len(self.tokens) else ""
        if not exponent.isdecimal() or int(exponent[:9]) > MAX_POWER:
            raise ValueError(f"an exponent must be a whole number up to {MAX_POWER}")
        self.at += 1
        if bracket and not self.take(")"):
            raise ValueError("a bracket is not closed")
        made: _Terms = {(): Fraction(1)}
        for _ in range(int(exponent)):
            made = _multiplied(made, base)
        return made

    def atom(self, depth: int) -> _Terms:
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if self.take("("):
            inside = self.sum(depth)
            if not self.take(")"):
                raise ValueError("a bracket is not closed")
            return inside
        token = self.tokens[self.at] if self.at < len(self.tokens) else ""
        if not token or token in "+-*/^)":
            raise ValueError("a number or a letter is missing")
        self.at += 1
        if token.isalpha():
            return {((token, 1),): Fraction(1)}
        if len(token) > 100:
            raise ValueError("a number has more than 100 digits")
        return {(): Fraction(token)} if Fraction(token) else {}


def _added(left: _Terms, right: _Terms, sign: int) -> _Terms:
    total = dict(left)
    for key, factor in right.items():
        total[key] = total.get(key, Fraction(0)) + sign * factor
    return {key: factor for key, factor in total.items() if factor}


def _multiplied(left: _Terms, right: _Terms) -> _Terms:
    total: _Terms = {}
    for a, x in left.items():
        for b, y in right.items():
            powers = dict(a)
            for letter, exponent in b:
                powers[letter] = powers.get(letter, 0) + exponent
            key = _monomial(powers)
            total[key] = total.get(key, Fraction(0)) + x * y
        if len(total) > MAX_TERMS:
            raise ValueError(f"it has more than {MAX_TERMS} terms")
    if any(max(x.numerator.bit_length(), x.denominator.bit_length()) > MAX_BITS for x in total.values()):
        raise ValueError("its numbers are too large")
    return {key: factor for key, factor in total.items() if factor}


def _monomial(powers: dict[str, int]) -> Monomial:
    return tuple(sorted((letter, exponent) for letter, exponent in powers.items() if exponent))


def _polynomial(terms: _Terms) -> Polynomial:
    return Polynomial(frozenset((key, factor) for key, factor in terms.items() if factor))


__all__ = ["Polynomial", "read_polynomial"]
