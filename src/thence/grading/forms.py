"""Expressions to exact normal forms: quotients of the polynomials of ``poly``.

Rational functions, real radicals of rationals, square roots of sums, powers, logarithms of rationals, trigonometric
functions at multiples of 15 degrees and powers of sines get one form each, so that equal forms are equal values.
Different forms may still be equal (other trigonometric identities, nested roots beyond sqrt(a + b sqrt c)):
``compare`` asks numbers first, then sympy.

Judgements: roots of odd index of negative numbers are real; sqrt(xy) is sqrt(x) sqrt(y); sqrt(x^2) is abs(x); ``log``
without a base is the natural one; a degree sign counts only inside a trigonometric function.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt, lcm

from . import poly as p
from .poly import Poly
from .terms import Add, Beyond, Call, Mul, Node, Num, Pow, Sym, Unreadable

MAX_FACTORIAL = 5_000
_EXPONENT = 10**6


@dataclass(frozen=True, slots=True)
class Form:
    """``above / below``, reduced."""

    above: Poly
    below: Poly

    @property
    def key(self) -> str:
        """Equal keys are equal values."""
        above = p.text(self.above)
        return above if self.below == p.ONE else f"({above})/({p.text(self.below)})"

    @property
    def rational(self) -> Fraction | None:
        """The rational number it is; None if it is something else."""
        return p.as_constant(self.above) if self.below == p.ONE else None

    def symbols(self) -> set[str]:
        """The names of all atoms that are no numbers."""
        return {
            a[0] for a in p.atoms(self.above) | p.atoms(self.below) if not a[0].startswith("#") and a != p.IMAGINARY
        }


ZERO = Form({}, p.ONE)
UNIT = Form(p.ONE, p.ONE)


def rational(value: Fraction | int) -> Form:
    """The form of a rational number."""
    return Form(p.constant(value), p.ONE)


def atom(name: str) -> Form:
    """The form of a variable, a constant or a function of something."""
    return Form(p.variable((name, ())), p.ONE)


def plus(left: Form, right: Form, factor: int = 1) -> Form:
    """``left + factor * right``."""
    if left.below == right.below:
        return reduced(p.add(left.above, right.above, factor), left.below)
    above = p.add(p.times(left.above, right.below), p.times(right.above, left.below), factor)
    return reduced(above, p.times(left.below, right.below))


def mul(left: Form, right: Form) -> Form:
    """``left * right``."""
    return reduced(p.times(left.above, right.above), p.times(left.below, right.below))


def inverse(form: Form) -> Form:
    """``1 / form``; raises ZeroDivisionError."""
    if not form.above:
        raise ZeroDivisionError
    return reduced(form.below, form.above)


def reduced(above: Poly, below: Poly) -> Form:
    """The normal form of a quotient."""
    if below == p.ONE or not above:
        return Form(above, p.ONE)
    for _ in range(6):
        conjugate = _conjugate(below)
        if conjugate is None:
            break
        above, below = p.times(above, conjugate), p.times(below, conjugate)
        if not below:
            raise ZeroDivisionError
    if len(below) > 1:
        above, below = _without_divisor(above, below)
    shift = p.common(below)
    above, below = p.shifted(above, shift), p.shifted(below, shift)
    factor = p.content(below)
    if below[p.leading(below)] < 0:
        factor = -factor
    return Form(p.scaled(above, 1 / factor), p.scaled(below, 1 / factor))


def _conjugate(below: Poly) -> Poly | None:
    """What clears a square root or the imaginary unit from a denominator of several numbers."""
    if len(below) < 2 or any(not (a[0].startswith("#") or a == p.IMAGINARY) for a in p.atoms(below)):
        return None
    for found in sorted(p.atoms(below)):
        exponents = {dict(mono).get(found, Fraction(0)) for mono in below}
        wanted = Fraction(1) if found == p.IMAGINARY else Fraction(1, 2)
        if exponents == {Fraction(0), wanted}:
            return {mono: -v if found in dict(mono) else v for mono, v in below.items()}
    return None


def _without_divisor(above: Poly, below: Poly) -> tuple[Poly, Poly]:
    """Both without their greatest common divisor, as far as it can be found."""
    names = p.atoms(above) & p.atoms(below)
    if not names or len(above) + len(below) > 80:
        return above, below
    shift_above, shift_below = p.common(above), p.common(below)
    above, below = p.shifted(above, shift_above), p.shifted(below, shift_below)
    try:
        with p.search():
            x, y, scale = _whole(above, below)
            shared = p.common_divisor(x, y)
            left, right = (p.divided(x, shared), p.divided(y, shared)) if len(shared) > 1 else (None, None)
        if left is not None and right is not None:
            above, below = _rescaled(left, scale), _rescaled(right, scale)
    except Beyond:
        pass
    above = p.shifted(above, shift_above, 1)
    return p.shifted(above, shift_below), below


def _whole(*polys: Poly) -> tuple[Poly, Poly, int]:
    scale = lcm(*(e.denominator for poly in polys for mono in poly for _, e in mono))
    if any(e < 0 or e * scale > 200 for poly in polys for mono in poly for _, e in mono):
        raise Beyond("its degree is too high")
    one, two = ({tuple((a, e * scale) for a, e in m): v for m, v in poly.items()} for poly in polys)
    return one, two, scale


def _rescaled(poly: Poly, scale: int) -> Poly:
    result: Poly = {}
    for mono, value in poly.items():
        term = p.scaled(p.ONE, value)
        for a, e in mono:
            term = p.times(term, p.variable(a, e / scale))
        result = p.add(result, term)
    return result


def raised(base: Form, exponent: Form) -> Form:
    """``base ** exponent``."""
    value = exponent.rational
    if value is not None:
        return rational_power(base, value)
    if exponent.below != p.ONE:
        return atom(f"pow({base.key};{exponent.key})")
    if base.key == "e^1" or base == atom("e"):
        logs = _exp_of_logs(exponent)
        if logs is not None:
            return logs
    result = UNIT
    for mono, coefficient in exponent.above.items():
        step = (
            rational_power(base, coefficient)
            if not mono
            else _symbolic_power(base, p.text({mono: Fraction(1)}), coefficient)
        )
        result = mul(result, step)
    return result


def _exp_of_logs(exponent: Form) -> Form | None:
    """``e ** (c ln a)`` is ``a ** c``."""
    if len(exponent.above) != 1:
        return None
    ((mono, coefficient),) = exponent.above.items()
    if len(mono) == 1 and mono[0][1] == 1 and mono[0][0][0].startswith("ln#"):
        return rational_power(rational(int(mono[0][0][0][3:])), coefficient)
    return None


def _symbolic_power(base: Form, what: str, coefficient: Fraction) -> Form:
    """``base ** (coefficient * what)``; whole bases are split into primes, products into factors."""
    if len(base.above) == 1 and base.below == p.ONE:
        ((mono, value),) = base.above.items()
        if value > 0:
            parts: Poly = p.ONE
            for number, sign in ((value.numerator, 1), (value.denominator, -1)):
                for prime, count in p.factors(number):
                    parts = p.times(parts, p.variable((f"pow({prime};{what})", ()), coefficient * count * sign))
            for a, e in mono:
                parts = p.times(parts, p.variable((f"pow({a[0]};{what})", ()), coefficient * e))
            return Form(parts, p.ONE)
    return Form(p.variable((f"pow({base.key};{what})", ()), coefficient), p.ONE)


def rational_power(base: Form, exponent: Fraction) -> Form:
    """``base ** exponent`` for a rational exponent; raises ZeroDivisionError."""
    if not base.above:
        if exponent <= 0:
            raise ZeroDivisionError
        return ZERO
    if abs(exponent.numerator) > _EXPONENT or exponent.denominator > 1000:
        raise Beyond("an exponent is too large")  # without its digits: they may be too many to print
    if exponent < 0:
        return inverse(rational_power(base, -exponent))
    if exponent.denominator == 1:
        whole = int(exponent)
        return Form(p.power(base.above, whole), p.power(base.below, whole)) if whole else UNIT
    above = _root_of(base.above, exponent)
    return above if base.below == p.ONE else mul(above, inverse(_root_of(base.below, exponent)))


def _root_of(poly: Poly, exponent: Fraction) -> Form:
    """A polynomial to a proper fraction."""
    factor, shift = p.content(poly), p.common(poly)
    rest = p.scaled(p.shifted(poly, shift), 1 / factor)
    odd = exponent.denominator % 2 == 1
    sign = 1
    if rest[p.leading(rest)] < 0 and (len(rest) == 1 or odd):
        rest, sign = p.scaled(rest, Fraction(-1)), -1
    result = _radical(factor, exponent)
    if sign < 0:
        if odd:
            result = p.scaled(result, Fraction((-1) ** (exponent.numerator % 2)))
        elif exponent.denominator == 2:
            result = p.times(result, p.power(p.variable(p.IMAGINARY), exponent.numerator % 4))
        else:
            raise Unreadable("it has an even root of a negative number")
    for a, e in shift:
        made = p.monomial_power(p.variable(a, e), exponent)
        if not odd and (e * exponent.numerator) % 2 == 0 and not _positive(a):
            made = p.variable((f"abs({a[0]})", ()), e * exponent)
        result = p.times(result, made)
    if rest == p.ONE:
        return Form(result, p.ONE)
    simple = _denested(rest) if exponent.denominator == 2 else None
    if simple is not None:
        return Form(p.times(result, p.power(simple, exponent.numerator)), p.ONE)
    name = ("(" + p.text(rest) + ")", tuple(sorted(rest.items())))
    whole = exponent.numerator // exponent.denominator
    made = p.times(p.power(rest, whole), p.variable(name, exponent - whole))
    return Form(p.times(result, made), p.ONE)


def _positive(a: p.Atom) -> bool:
    return a[0].startswith("#") or a[0] in ("pi", "e") or a[0].startswith(("pow(", "abs("))


def _radical(value: Fraction, exponent: Fraction) -> Poly:
    """A positive rational to a fractional power, with primes under the roots."""
    result = p.ONE
    for number, sign in ((value.numerator, 1), (value.denominator, -1)):
        for prime, count in p.factors(number):
            total = exponent * count * sign
            whole = total.numerator // total.denominator
            step = p.constant(p.rational_power(Fraction(prime), whole))
            if total != whole:
                step = p.times(step, p.variable((f"#{prime}", ()), total - whole))
            result = p.times(result, step)
    return result


def _denested(poly: Poly) -> Poly | None:
    """``sqrt(a + b sqrt c)`` without nesting where a^2 - b^2 c is a square."""
    a = poly.get((), Fraction(0))
    others = [(m, v) for m, v in poly.items() if m]
    if len(others) != 1 or a <= 0 or any(not x[0].startswith("#") or e != Fraction(1, 2) for x, e in others[0][0]):
        return None
    under = Fraction(1)
    for x, _ in others[0][0]:
        under *= int(x[0][1:])
    square = a * a - others[0][1] ** 2 * under
    root = _exact_root(square)
    if root is None:
        return None
    sign = 1 if others[0][1] > 0 else -1
    large, small = (_radical(v, Fraction(1, 2)) if v else {} for v in ((a + root) / 2, (a - root) / 2))
    return p.add(large, small, sign)


def _exact_root(value: Fraction) -> Fraction | None:
    if value < 0:
        return None
    above, below = isqrt(value.numerator), isqrt(value.denominator)
    return Fraction(above, below) if above**2 == value.numerator and below**2 == value.denominator else None


def form(node: Node, angle: bool = False) -> Form:
    """The normal form of an expression. ``angle``: inside a trigonometric function, where degrees count.

    Raises:
        Unreadable: it is no expression (a list, a relation, text), or it divides by zero.
        Beyond: a limit.
    """
    try:
        return _form(node, angle)
    except ZeroDivisionError:
        raise Unreadable("it divides by zero") from None
    except RecursionError:
        raise Beyond("it is nested too deeply") from None


def _form(node: Node, angle: bool) -> Form:
    if isinstance(node, Num):
        return rational(node.value)
    if isinstance(node, Sym):
        if node.name == "i":
            return Form(p.variable(p.IMAGINARY), p.ONE)
        if node.name in ("oo", "…") or node.name.startswith("set "):
            raise Unreadable(f"it computes with {node.name}")
        return atom(node.name)
    if isinstance(node, Add):
        result = ZERO
        for item in node.items:
            result = plus(result, _form(item, angle))
        return result
    if isinstance(node, Mul):
        result = UNIT
        for item in node.items:
            result = mul(result, _form(item, angle))
        return result
    if isinstance(node, Pow):
        return raised(_form(node.base, angle), _form(node.exponent, False))
    if isinstance(node, Call):
        from .functions import call

        return call(node, angle)
    raise Unreadable(f"it computes with a {type(node).__name__.lower()}")
