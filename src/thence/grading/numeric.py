"""Numbers for expressions: 50 digits for real constants, complex doubles at fixed points for the rest.

Numbers refute equality and decide order and rounding; they never prove that two expressions are equal.
"""

from __future__ import annotations

import cmath
import decimal
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zlib import crc32

from . import poly as p
from .forms import Form
from .terms import Add, Call, Mul, Node, Num, Pow, Sym, Unit

DIGITS = 50
_CONTEXT = decimal.Context(prec=DIGITS + 15, Emax=10**6, Emin=-(10**6), traps=[
    decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow])  # fmt: skip
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534")
_FAILED = (ArithmeticError, ValueError, OverflowError, RecursionError, TypeError)


class _NoNumber(ValueError):
    """It has a variable, or a function that has no number here."""


def decimal_of(node: Node) -> Decimal | None:
    """A real constant to 50 digits; None for anything else."""
    with decimal.localcontext(_CONTEXT):
        try:
            value = _real(node, False)
        except _FAILED:
            return None
        return value if value.is_finite() else None


def close(left: Decimal, right: Decimal, digits: int = DIGITS - 5) -> bool:
    """Whether two numbers agree to ``digits`` digits."""
    with decimal.localcontext(_CONTEXT):
        return abs(left - right) <= max(abs(left), abs(right), Decimal(10) ** -digits) * Decimal(10) ** -digits


def _dec(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _real(node: Node, angle: bool) -> Decimal:
    if isinstance(node, Num):
        return _dec(node.value)
    if isinstance(node, Sym):
        if node.name == "pi":
            return +_PI
        if node.name == "e":
            return Decimal(1).exp()
        raise _NoNumber
    if isinstance(node, Unit):
        return _real(node.item, angle)
    if isinstance(node, Add):
        return sum((_real(item, angle) for item in node.items), Decimal(0))
    if isinstance(node, Mul):
        total = Decimal(1)
        for item in node.items:
            total *= _real(item, angle)
        return total
    if isinstance(node, Pow):
        return _real_power(_real(node.base, angle), _real(node.exponent, False))
    if isinstance(node, Call):
        return _real_call(node, angle)
    raise _NoNumber


def _real_power(base: Decimal, exponent: Decimal) -> Decimal:
    if exponent == exponent.to_integral_value():
        if abs(exponent) > 10**6:
            raise OverflowError
        return base ** int(exponent)
    if base < 0:
        odd = (1 / exponent).to_integral_value()
        if abs(1 / exponent - odd) < Decimal("1e-40") and odd % 2:
            return -((-base) ** exponent)
        raise _NoNumber
    if base == 0:
        return Decimal(0)
    return _exp(base.ln() * exponent)


def _exp(value: Decimal) -> Decimal:
    if abs(value) > 10**5:
        raise OverflowError
    return value.exp()


def _real_call(node: Call, angle: bool) -> Decimal:
    name, items = node.name, node.items
    if name == "deg":
        inner = _real(items[0], angle)
        return inner * _PI / 180 if angle else inner
    if name == "root":
        return _real_power(_real(items[0], angle), 1 / _real(items[1], False))
    trig = name in ("sin", "cos", "tan", "cot", "sec", "csc")
    values = [_real(item, trig) for item in items]
    if name in ("log", "ln") and len(values) == 2:
        return values[0].ln() / values[1].ln()
    function = _REALS.get(name)
    if function is None or len(values) != 1:
        raise _NoNumber
    return function(values[0])


def _sin(value: Decimal) -> Decimal:
    if abs(value) > 10**12:
        raise OverflowError
    value %= 2 * _PI
    total, term, n = value, value, 1
    while abs(term) > Decimal("1e-64"):
        n += 2
        term *= -value * value / (n * (n - 1))
        total += term
    return total


def _cos(value: Decimal) -> Decimal:
    return _sin(value + _PI / 2)


def _arctan(value: Decimal) -> Decimal:
    for _ in range(4):
        value = value / (1 + (1 + value * value).sqrt())
    total, term, n = value, value, 1
    while abs(term) > Decimal("1e-64"):
        n += 2
        term *= -value * value
        total += term / n
    return 16 * total


def _arcsin(value: Decimal) -> Decimal:
    if abs(value) == 1:
        return value * _PI / 2
    return _arctan(value / (1 - value * value).sqrt())


def _factorial(value: Decimal) -> Decimal:
    if value != value.to_integral_value() or not 0 <= value <= 5000:
        raise _NoNumber
    return Decimal(math.factorial(int(value)))


_REALS: Mapping[str, Callable[[Decimal], Decimal]] = {
    "sin": _sin,
    "cos": _cos,
    "tan": lambda v: _sin(v) / _cos(v),
    "cot": lambda v: _cos(v) / _sin(v),
    "sec": lambda v: 1 / _cos(v),
    "csc": lambda v: 1 / _sin(v),
    "arctan": _arctan,
    "arcsin": _arcsin,
    "arccos": lambda v: _PI / 2 - _arcsin(v),
    "ln": lambda v: v.ln(),
    "log": lambda v: v.ln(),
    "log10": lambda v: v.log10(),
    "exp": _exp,
    "abs": abs,
    "factorial": _factorial,
    "sinh": lambda v: (_exp(v) - _exp(-v)) / 2,
    "cosh": lambda v: (_exp(v) + _exp(-v)) / 2,
    "tanh": lambda v: (_exp(2 * v) - 1) / (_exp(2 * v) + 1),
}


def value_of(form: Form) -> Decimal | None:
    """The number that a form of real constants is."""
    with decimal.localcontext(_CONTEXT):
        try:
            return _poly_value(form.above) / _poly_value(form.below)
        except _FAILED:
            return None


def _poly_value(poly: p.Poly) -> Decimal:
    total = Decimal(0)
    for mono, value in poly.items():
        term = _dec(value)
        for (name, inner), exponent in mono:
            term *= _real_power(_atom_value(name, inner), _dec(exponent))
        total += term
    return total


def _atom_value(name: str, inner: tuple[Any, ...]) -> Decimal:
    if name.startswith("#"):
        return Decimal(int(name[1:]))
    if name.startswith("ln#"):
        return Decimal(int(name[3:])).ln()
    if name in ("pi", "e"):
        return _real(Sym(name), False)
    if inner:
        return _poly_value(dict(inner))
    raise _NoNumber


def sign(form: Form) -> int | None:
    """-1, 0 or 1 for a real constant."""
    value = value_of(form) if form.above else Decimal(0)
    if value is None:
        return None
    return 0 if not form.above else (1 if value > 0 else -1)


POINTS = 4


def differ(left: Node, right: Node) -> bool | None:
    """Whether two expressions differ at fixed points; None if no point could be computed for both."""
    seen = None
    for point in range(POINTS):
        x, y = _at(left, point), _at(right, point)
        if x is None or y is None:
            continue
        if abs(x - y) > 1e-8 * max(abs(x), abs(y), 1e-30):
            if max(abs(x), abs(y)) < 1e-9:
                continue  # nothing but rounding may be left
            return True
        seen = False
    return seen


def _at(node: Node, point: int) -> complex | None:
    try:
        value = _complex(node, point, False)
    except (*_FAILED, _NoNumber):
        return None
    return value if cmath.isfinite(value) else None


def _variable(name: str, point: int) -> complex:
    if name == "pi":
        return math.pi
    if name == "e":
        return math.e
    if name == "i":
        return 1j
    if name in ("oo", "…") or name.startswith("set "):
        raise _NoNumber
    return 0.35 + 1.7 * (crc32(f"{name}/{point}".encode()) / 2**32)


def _complex(node: Node, point: int, angle: bool) -> complex:
    if isinstance(node, Num):
        return complex(node.value)
    if isinstance(node, Sym):
        return _variable(node.name, point)
    if isinstance(node, Add):
        return sum(_complex(item, point, angle) for item in node.items)
    if isinstance(node, Mul):
        total: complex = 1
        for item in node.items:
            total *= _complex(item, point, angle)
        return total
    if isinstance(node, Pow):
        return _complex_power(_complex(node.base, point, angle), _complex(node.exponent, point, False))
    if isinstance(node, Call):
        return _complex_call(node, point, angle)
    raise _NoNumber


def _complex_power(base: complex, exponent: complex) -> complex:
    if base.imag == 0 and base.real < 0 and exponent.imag == 0 and exponent.real:
        odd = 1 / exponent.real
        if abs(odd - round(odd)) < 1e-12 and round(odd) % 2:
            return complex(-((-base.real) ** exponent.real))
    return base**exponent


def _complex_call(node: Call, point: int, angle: bool) -> complex:
    name = node.name
    if name == "deg":
        inner = _complex(node.items[0], point, angle)
        return inner * math.pi / 180 if angle else inner
    if name == "root":
        return _complex_power(_complex(node.items[0], point, angle), 1 / _complex(node.items[1], point, False))
    trig = name in ("sin", "cos", "tan", "cot", "sec", "csc")
    values = [_complex(item, point, trig) for item in node.items]
    if name in ("log", "ln") and len(values) == 2:
        return cmath.log(values[0]) / cmath.log(values[1])
    if name.startswith("of ") and len(values) == 1:
        return _variable(f"{name}:{values[0]:.9g}", point)
    function = _COMPLEX.get(name)
    if function is None or len(values) != 1:
        raise _NoNumber
    return function(values[0])


_COMPLEX: Mapping[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan,
    "cot": lambda v: 1 / cmath.tan(v), "sec": lambda v: 1 / cmath.cos(v), "csc": lambda v: 1 / cmath.sin(v),
    "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "ln": cmath.log, "log": cmath.log,
    "log10": cmath.log10, "exp": cmath.exp, "abs": abs, "sinh": cmath.sinh, "cosh": cmath.cosh, "tanh": cmath.tanh,
    "factorial": lambda v: math.gamma(v.real + 1),
}  # fmt: skip


def ratio_is_constant(left: Node, right: Node) -> Fraction | None:
    """The rational ``c`` with ``left = c right`` at all points that can be computed; None if there is none."""
    found: Fraction | None = None
    for point in range(POINTS):
        x, y = _at(left, point), _at(right, point)
        if x is None or y is None or abs(y) < 1e-12:
            continue
        ratio = x / y
        guess = Fraction(ratio.real).limit_denominator(1000)
        if not guess or abs(ratio - complex(guess)) > 1e-9 * abs(ratio) or found not in (None, guess):
            return None
        found = guess
    return found
