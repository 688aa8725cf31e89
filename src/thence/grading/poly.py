"""Exact polynomials over the rationals in atoms with rational exponents.

An atom is a variable, a constant such as pi, a prime number (for its roots: the cube root of 12 is 2^(2/3) 3^(1/3)),
the imaginary unit, a function of something, or a sum under a root. Products of proper fractional powers of different
primes are linearly independent over the rationals (Besicovitch 1940), so that equal sums of real radicals of
rationals have equal forms.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm
from typing import Any

from .terms import MAX_BITS, MAX_POWER, MAX_TERMS, Beyond

Atom = tuple[str, tuple[Any, ...]]  # its name and, for a sum under a root, the sum's terms
Mono = tuple[tuple[Atom, Fraction], ...]
Poly = dict[Mono, Fraction]

ONE: Poly = {(): Fraction(1)}
IMAGINARY: Atom = ("I", ())
_TRIAL = 100_000
_WORK = 60_000  # products of terms in one answer
_SEARCH = 10_000  # of them for one common divisor
_left = threading.local()


def begin_work() -> None:
    """A new answer: the work allowed for it starts again."""
    _left.work = _WORK


def _spend(left: Poly, right: Poly) -> None:
    """Count the work of a product; raises Beyond when an answer takes too much."""
    size = sum(v.numerator.bit_length() + v.denominator.bit_length() for v in left.values())
    size += sum(v.numerator.bit_length() + v.denominator.bit_length() for v in right.values())
    _left.work = getattr(_left, "work", _WORK) - len(left) * len(right) - size * min(len(left), len(right)) // 200
    if _left.work < 0:
        raise Beyond("it takes too long to compute")


def constant(value: Fraction | int) -> Poly:
    """The polynomial ``value``."""
    return {(): Fraction(value)} if value else {}


def variable(atom: Atom, exponent: Fraction = Fraction(1)) -> Poly:
    """``atom ** exponent`` (no prime with a whole exponent)."""
    return {((atom, exponent),): Fraction(1)}


def as_constant(poly: Poly) -> Fraction | None:
    """The rational that ``poly`` is; None if it is something else."""
    if not poly:
        return Fraction(0)
    return poly.get(()) if len(poly) == 1 else None


def add(left: Poly, right: Poly, factor: int = 1) -> Poly:
    """``left + factor * right``."""
    total = dict(left)
    for mono, value in right.items():
        total[mono] = total.get(mono, Fraction(0)) + factor * value
        if not total[mono]:
            del total[mono]
    return _bounded(total)


def scaled(poly: Poly, factor: Fraction) -> Poly:
    """``factor * poly``."""
    return {mono: value * factor for mono, value in poly.items()} if factor else {}


def times(left: Poly, right: Poly) -> Poly:
    """``left * right``, with whole powers of primes, of the imaginary unit and of sums multiplied out."""
    if len(left) * len(right) > 20 * MAX_TERMS:
        raise Beyond(f"a product has more than {MAX_TERMS} terms")
    _spend(left, right)
    total: Poly = {}
    wild: list[Poly] = []
    for a, x in left.items():
        for b, y in right.items():
            mono, value, rest = _joined(a, b, x * y)
            if rest is not None:
                wild.append(times({mono: value}, rest))
                continue
            total[mono] = total.get(mono, Fraction(0)) + value
    made = _bounded({m: v for m, v in total.items() if v})
    for extra in wild:
        made = add(made, extra)
    return made


def _joined(left: Mono, right: Mono, value: Fraction) -> tuple[Mono, Fraction, Poly | None]:
    """The product of two monomials; a factor that is a polynomial comes back by itself."""
    if not left or not right:
        return left or right, value, None
    exponents = dict(left)
    for atom, exponent in right:
        exponents[atom] = exponents.get(atom, Fraction(0)) + exponent
    rest: Poly | None = None
    for atom, exponent in list(exponents.items()):
        name, inner = atom
        if not exponent:
            del exponents[atom]
        elif name.startswith("#") or atom == IMAGINARY:
            exponents[atom], factor = _fold(atom, exponent)
            value *= factor
            if not exponents[atom]:
                del exponents[atom]
        elif inner and exponent >= 1 and rest is None:
            whole = exponent.numerator // exponent.denominator
            exponents[atom] = exponent - whole
            if not exponents[atom]:
                del exponents[atom]
            rest = power(dict(inner), whole)
        elif name.startswith("sin(") and exponent >= 2 and rest is None:
            exponents[atom] = exponent - 2
            if not exponents[atom]:
                del exponents[atom]
            rest = add(ONE, variable(("cos" + name[3:], ()), Fraction(2)), -1)
    return tuple(sorted(exponents.items())), value, rest


def _fold(atom: Atom, exponent: Fraction) -> tuple[Fraction, Fraction]:
    """The exponent in [0, 1) that is left, and the rational factor."""
    if atom == IMAGINARY:
        whole = exponent.numerator // exponent.denominator // 2
        return exponent - 2 * whole, Fraction(-1) ** (whole % 2)
    whole = exponent.numerator // exponent.denominator
    return exponent - whole, rational_power(Fraction(int(atom[0][1:])), whole)


def rational_power(base: Fraction, exponent: int) -> Fraction:
    """``base ** exponent``, bounded."""
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits > 1 and bits * abs(exponent) > MAX_BITS:
        raise Beyond(f"a power has more than {MAX_BITS:,} bits")
    if not base and exponent < 0:
        raise ZeroDivisionError
    return base**exponent


def power(base: Poly, exponent: int) -> Poly:
    """``base ** exponent`` for a whole exponent of at least 0."""
    if len(base) == 1:
        ((mono, value),) = base.items()
        return times(constant(rational_power(value, exponent)), _monomial((a, e * exponent) for a, e in mono))
    if exponent > MAX_POWER:
        raise Beyond(f"the exponent of a sum is beyond {MAX_POWER}")
    result = ONE
    while exponent:
        if exponent & 1:
            result = times(result, base)
        exponent >>= 1
        if exponent:
            base = times(base, base)
    return result


def _monomial(items: Iterable[tuple[Atom, Fraction]]) -> Poly:
    result = ONE
    for atom, exponent in items:
        if atom[0].startswith("#") or atom == IMAGINARY:
            left, factor = _fold(atom, exponent)
            result = scaled(times(result, variable(atom, left)) if left else result, factor)
        elif (atom[1] or atom[0].startswith("sin(")) and exponent >= 1:
            half = variable(atom, exponent / 2)
            result = times(result, times(half, half))
        else:
            result = times(result, variable(atom, exponent))
    return result


def monomial_power(poly: Poly, exponent: Fraction) -> Poly:
    """A single term with coefficient 1 to any rational power."""
    ((mono, _),) = poly.items()
    return _monomial((a, e * exponent) for a, e in mono)


def _bounded(poly: Poly) -> Poly:
    if len(poly) > MAX_TERMS:
        raise Beyond(f"it has more than {MAX_TERMS} terms")
    return poly


@lru_cache(maxsize=4096)
def factors(number: int) -> tuple[tuple[int, int], ...]:
    """The prime factors of a positive number; what trial division leaves counts as a prime."""
    if number.bit_length() > 4096:
        raise Beyond("a number under a root is too large")
    found: list[tuple[int, int]] = []
    divisor = 2
    while divisor * divisor <= number and divisor < _TRIAL:
        count = 0
        while number % divisor == 0:
            number //= divisor
            count += 1
        if count:
            found.append((divisor, count))
        divisor += 1 if divisor == 2 else 2
    if number > 1:
        found.append(_root(number))
    return tuple(found)


def _root(number: int) -> tuple[int, int]:
    """A number without small factors as a square where it is one."""
    from math import isqrt

    root = isqrt(number)
    return (root, 2) if root * root == number else (number, 1)


def content(poly: Poly) -> Fraction:
    """The positive rational that leaves whole coefficients without a common factor."""
    return Fraction(gcd(*(v.numerator for v in poly.values())), lcm(*(v.denominator for v in poly.values())))


def leading(poly: Poly) -> Mono:
    """The first term in the fixed order."""
    return max(poly)


def common(poly: Poly) -> Mono:
    """The monomial that divides all terms."""
    monos = [dict(mono) for mono in poly]
    least = {}
    for atom in {atom for mono in monos for atom in mono}:
        exponent = min(mono.get(atom, Fraction(0)) for mono in monos)
        if exponent:
            least[atom] = exponent
    return tuple(sorted(least.items()))


def shifted(poly: Poly, by: Mono, sign: int = -1) -> Poly:
    """``poly`` times ``by ** sign``."""
    return times(poly, _monomial((a, sign * e) for a, e in by)) if by else poly


def text(poly: Poly) -> str:
    """A canonical spelling."""
    terms = []
    for mono in sorted(poly):
        value = poly[mono]
        head = f"{value.numerator:x}" if value.denominator == 1 else f"{value.numerator:x}/{value.denominator:x}"
        terms.append(head + "".join(f"*{atom[0]}^{e}" if e != 1 else f"*{atom[0]}" for atom, e in mono))
    return "+".join(terms) or "0"


def atoms(poly: Poly) -> set[Atom]:
    """All atoms."""
    return {atom for mono in poly for atom, _ in mono}


# Division and greatest common divisors of polynomials with whole exponents of at least 0.


def divided(above: Poly, below: Poly) -> Poly | None:
    """The exact quotient; None where there is a remainder."""
    result: Poly = {}
    rest, order = dict(above), sorted(atoms(above) | atoms(below))
    lead = max(below, key=lambda m: _degrees(m, order))
    for _ in range(4 * MAX_TERMS):
        if not rest:
            return result
        top = max(rest, key=lambda m: _degrees(m, order))
        exponents = dict(top)
        for atom, e in lead:
            exponents[atom] = exponents.get(atom, Fraction(0)) - e
        if any(e < 0 for e in exponents.values()):
            return None
        mono = tuple(sorted((a, e) for a, e in exponents.items() if e))
        step = {mono: rest[top] / below[lead]}
        result = add(result, step)
        rest = add(rest, _free_times(step, below), -1)
    raise Beyond("a division takes too long")


def _degrees(mono: Mono, order: list[Atom]) -> tuple[Fraction, ...]:
    exponents = dict(mono)
    return tuple(exponents.get(atom, Fraction(0)) for atom in order)


def _free_times(left: Poly, right: Poly) -> Poly:
    """The product with every atom taken as a free variable."""
    _spend(left, right)
    total: Poly = {}
    for a, x in left.items():
        for b, y in right.items():
            exponents = dict(a)
            for atom, e in b:
                exponents[atom] = exponents.get(atom, Fraction(0)) + e
            mono = tuple(sorted(exponents.items()))
            total[mono] = total.get(mono, Fraction(0)) + x * y
    return _bounded({m: v for m, v in total.items() if v})


def _in(poly: Poly, atom: Atom) -> dict[int, Poly]:
    """Coefficients of the powers of ``atom``."""
    parts: dict[int, Poly] = {}
    for mono, value in poly.items():
        degree = int(dict(mono).get(atom, 0))
        parts.setdefault(degree, {})[tuple((a, e) for a, e in mono if a != atom)] = value
    return parts


def _common_factor(polys: Iterable[Poly]) -> Poly:
    result: Poly = {}
    for poly in polys:
        result = common_divisor(result, poly)
    return result


@contextmanager
def search() -> Iterator[None]:
    """Inside, little work is allowed; what was not spent remains."""
    before = getattr(_left, "work", _WORK)
    _left.work = min(_SEARCH, before)
    try:
        yield
    finally:
        _left.work = before - min(_SEARCH, before) + max(_left.work, 0)


def common_divisor(left: Poly, right: Poly) -> Poly:
    """The greatest common divisor with whole coefficients (primitive remainder sequence)."""
    if not left or not right:
        return _primitive(left or right)
    shared = sorted(atoms(left) | atoms(right))
    if not shared:
        return ONE
    main = shared[0]
    a, b = _in(left, main), _in(right, main)
    content_a, content_b = _common_factor(a.values()), _common_factor(b.values())
    outer = common_divisor(content_a, content_b)
    if max(a) == 0 or max(b) == 0:
        return outer
    x, y = _exact(left, content_a), _exact(right, content_b)
    if max(_in(x, main)) < max(_in(y, main)):
        x, y = y, x
    while True:
        rest = _pseudo_remainder(x, y, main)
        if not rest:
            return _primitive(_free_times(outer, y))
        parts = _in(rest, main)
        if max(parts) == 0:
            return outer
        x, y = y, _exact(rest, _common_factor(parts.values()))


def _exact(poly: Poly, by: Poly) -> Poly:
    quotient = divided(poly, by)
    if quotient is None:
        raise Beyond("a division is not exact")
    return _primitive(quotient)


def _primitive(poly: Poly) -> Poly:
    if not poly:
        return {}
    factor = content(poly)
    return scaled(poly, 1 / factor if poly[leading(poly)] > 0 else -1 / factor)


def _pseudo_remainder(left: Poly, right: Poly, main: Atom) -> Poly:
    parts = _in(right, main)
    degree = max(parts)
    lead = parts[degree]
    while left:
        own = _in(left, main)
        top = max(own)
        if top < degree:
            break
        shift: Poly = {((main, Fraction(top - degree)),) if top > degree else (): Fraction(1)}
        left = add(_free_times(left, lead), _free_times(_free_times(own[top], shift), right), -1)
    return left
