"""Functions of exact forms: their values where they are known exactly, else an atom named by function and argument."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from math import comb, factorial, gcd, lcm

from . import poly as p
from .forms import (
    MAX_FACTORIAL,
    UNIT,
    ZERO,
    Form,
    _form,
    atom,
    inverse,
    mul,
    plus,
    raised,
    rational,
    rational_power,
)
from .terms import Add, Beyond, Call, Grid, Mul, Node, Num, Pow, Sym, Unreadable

MAX_SUMMANDS = 500
_HALF = Fraction(1, 2)
_TRIG = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})


def call(node: Call, angle: bool) -> Form:
    """The form of a function of its arguments; raises Unreadable where it has no value."""
    name = node.name
    if name in _TRIG:
        return _trig(name, _form(node.items[0], True))
    if name == "deg":
        inner = _form(node.items[0], angle)
        return mul(inner, mul(atom("pi"), rational(Fraction(1, 180)))) if angle else inner
    if name == "det" and isinstance(node.items[0], Grid):
        return determinant([[_form(cell, False) for cell in row] for row in node.items[0].rows])
    if name == "root":
        index = _form(node.items[1], False).rational
        if index is None or index.denominator != 1 or not 1 <= index <= 1000:
            raise Unreadable("it has a root whose index is no small whole number")
        return rational_power(_form(node.items[0], angle), 1 / index)
    if name in ("sum", "prod"):
        return _sigma(node)
    arguments = [_form(item, False) for item in node.items]
    known = _KNOWN.get(name)
    if known is not None:
        return known(arguments)
    if name.startswith("arc"):
        return _inverse_trig(name, arguments[0])
    if name in ("pm", "ratio"):
        raise Unreadable("it is several values")
    return atom(f"{name}({','.join(a.key for a in arguments)})")


def _sigma(node: Call) -> Form:
    """A sum or product over an index: an atom, with the index under a fixed name."""
    index, first, last, term = node.items
    if not isinstance(index, Sym):
        raise Unreadable("its index is no variable")
    low, high = (_form(end, False).rational for end in (first, last))
    if low is not None and high is not None and low.denominator == high.denominator == 1 and high - low < MAX_SUMMANDS:
        total = ZERO if node.name == "sum" else UNIT
        for value in range(int(low), int(high) + 1):
            step = _form(replaced(term, index.name, Num(Fraction(value))), False)
            total = plus(total, step) if node.name == "sum" else mul(total, step)
        return total
    keys = [_form(first, False).key, _form(last, False).key, _form(renamed(term, index.name, "index"), False).key]
    return atom(f"{node.name}({','.join(keys)})")


def renamed(node: Node, name: str, new: str) -> Node:
    """``node`` with a variable under another name, in indices too."""
    if isinstance(node, Sym):
        stem, mark, index = node.name.partition("_")
        parts = [new if part == name else part for part in re.split(r"(\W)", index)]
        return Sym((new if stem == name else stem) + mark + "".join(parts))
    if isinstance(node, Add | Mul):
        return type(node)(tuple(renamed(item, name, new) for item in node.items))
    if isinstance(node, Pow):
        return Pow(renamed(node.base, name, new), renamed(node.exponent, name, new))
    if isinstance(node, Call):
        return Call(node.name, tuple(renamed(item, name, new) for item in node.items))
    return node


def replaced(node: Node, name: str, value: Node) -> Node:
    """``node`` with a value for a variable."""
    if isinstance(node, Sym):
        return value if node.name == name else node
    if isinstance(node, Add | Mul):
        return type(node)(tuple(replaced(item, name, value) for item in node.items))
    if isinstance(node, Pow):
        return Pow(replaced(node.base, name, value), replaced(node.exponent, name, value))
    if isinstance(node, Call):
        return Call(node.name, tuple(replaced(item, name, value) for item in node.items))
    return node


def _wholes(arguments: list[Form]) -> list[int] | None:
    values = [a.rational for a in arguments]
    if any(v is None or v.denominator != 1 for v in values):
        return None
    return [int(v) for v in values if v is not None]


def _factorial(arguments: list[Form]) -> Form:
    values = _wholes(arguments)
    if values is None or values[0] < 0:
        return atom(f"factorial({arguments[0].key})")
    if values[0] > MAX_FACTORIAL:
        raise Beyond(f"the factorial of {str(values[0])[:20]} is beyond {MAX_FACTORIAL:,}")
    return rational(factorial(values[0]))


def _binom(arguments: list[Form]) -> Form:
    values = _wholes(arguments)
    if values is None or min(values) < 0:
        return atom(f"binom({','.join(a.key for a in arguments)})")
    if values[0] > MAX_FACTORIAL:
        raise Beyond(f"a binomial coefficient of more than {MAX_FACTORIAL:,}")
    return rational(comb(*values))


def _abs(arguments: list[Form]) -> Form:
    (form,) = arguments
    if (value := form.rational) is not None:
        return rational(abs(value))
    from .numeric import sign

    if (known := sign(form)) is not None:
        return form if known >= 0 else mul(form, rational(-1))
    if p.IMAGINARY in p.atoms(form.above) and not form.symbols():
        real = Form({m: v for m, v in form.above.items() if p.IMAGINARY not in dict(m)}, p.ONE)
        imaginary = mul(plus(form, real, -1), inverse(Form(p.variable(p.IMAGINARY), p.ONE)))
        return rational_power(plus(mul(real, real), mul(imaginary, imaginary)), _HALF)
    factor, lead = p.content(form.above), form.above[p.leading(form.above)]
    bare = Form(p.scaled(form.above, 1 / factor if lead > 0 else -1 / factor), form.below)
    return mul(rational(factor), atom(f"abs({bare.key})"))


def _ln(arguments: list[Form]) -> Form:
    if len(arguments) == 2:
        return mul(_ln(arguments[:1]), inverse(_ln(arguments[1:])))
    (form,) = arguments
    if len(form.above) != 1 or form.below != p.ONE:
        return atom(f"ln({form.key})")
    ((mono, value),) = form.above.items()
    if value <= 0 or any(not (a[0] == "e" or a[0].startswith("#")) for a, _ in mono):
        return atom(f"ln({form.key})")
    total = ZERO
    for number, sign in ((value.numerator, 1), (value.denominator, -1)):
        for prime, count in p.factors(number):
            total = plus(total, mul(rational(count * sign), atom(f"ln#{prime}")))
    for a, e in mono:
        total = plus(total, mul(rational(e), UNIT if a[0] == "e" else atom("ln" + a[0])))
    return total


def _step(arguments: list[Form], up: bool) -> Form:
    (form,) = arguments
    value = form.rational
    if value is None:
        from .numeric import value_of

        number = value_of(form)
        if number is None or abs(number) > 10**12 or abs(number - round(number)) < Fraction(1, 10**12):
            return atom(f"{'ceil' if up else 'floor'}({form.key})")
        value = Fraction(number)
    return rational(-(-value.numerator // value.denominator) if up else value.numerator // value.denominator)


def _of_wholes(name: str, arguments: list[Form]) -> Form:
    values = [a.rational for a in arguments]
    if None in values:
        return atom(f"{name}({','.join(sorted(a.key for a in arguments))})")
    known = [v for v in values if v is not None]
    if name in ("min", "max"):
        return rational(min(known) if name == "min" else max(known))
    if any(v.denominator != 1 for v in known):
        raise Unreadable(f"it has the {name} of fractions")
    return rational((gcd if name == "gcd" else lcm)(*(int(v) for v in known)))


_KNOWN: Mapping[str, Callable[[list[Form]], Form]] = {
    "factorial": _factorial,
    "binom": _binom,
    "abs": _abs,
    "ln": _ln,
    "log": _ln,
    "log10": lambda a: _ln([a[0], rational(10)]),
    "exp": lambda a: raised(atom("e"), a[0]),
    "floor": lambda a: _step(a, False),
    "ceil": lambda a: _step(a, True),
    "gcd": lambda a: _of_wholes("gcd", a),
    "lcm": lambda a: _of_wholes("lcm", a),
    "min": lambda a: _of_wholes("min", a),
    "max": lambda a: _of_wholes("max", a),
}


@cache
def _sines() -> tuple[Form, ...]:
    """The sines of 0, 15, …, 90 degrees."""
    two, three, six = (rational_power(rational(n), _HALF) for n in (2, 3, 6))
    half, quarter = rational(_HALF), rational(Fraction(1, 4))
    return (
        ZERO,
        mul(plus(six, two, -1), quarter),
        half,
        mul(two, half),
        mul(three, half),
        mul(plus(six, two), quarter),
        UNIT,
    )


def _sine(steps: int) -> Form:
    """The sine of ``steps`` times 15 degrees."""
    steps %= 24
    if steps > 12:
        return mul(_sine(steps - 12), rational(-1))
    return _sines()[min(steps, 12 - steps)]


def _trig(name: str, argument: Form) -> Form:
    if name in ("sec", "csc", "cot"):
        return inverse(_trig({"sec": "cos", "csc": "sin", "cot": "tan"}[name], argument))
    if name == "tan":
        return mul(_trig("sin", argument), inverse(_trig("cos", argument)))
    turns = mul(argument, inverse(atom("pi"))).rational
    if turns is not None and (turns * 12).denominator == 1:
        return _sine(int(turns * 12) + (6 if name == "cos" else 0))
    if turns is not None:  # into the first quarter turn, so that equal angles have one name
        return _first_quarter(name, turns % 2)
    sign = 1
    if argument.above[p.leading(argument.above)] < 0:
        argument, sign = mul(argument, rational(-1)), -1 if name == "sin" else 1
    return mul(rational(sign), atom(f"{name}({argument.key})"))


def _first_quarter(name: str, turns: Fraction) -> Form:
    if name == "cos":
        turns = (turns + _HALF) % 2
    sign = 1
    if turns > 1:
        turns, sign = turns - 1, -1
    turns = min(turns, 1 - turns)
    if turns <= Fraction(1, 4):
        return mul(rational(sign), atom(f"sin({mul(rational(turns), atom('pi')).key})"))
    return mul(rational(sign), atom(f"cos({mul(rational(_HALF - turns), atom('pi')).key})"))


def _inverse_trig(name: str, argument: Form) -> Form:
    function = name.removeprefix("arc")
    first = {"sin": -6, "cos": 0, "tan": -5}.get(function)
    if first is not None:
        for steps in range(first, first + (11 if function == "tan" else 13)):
            if _trig(function, mul(rational(Fraction(steps, 12)), atom("pi"))) == argument:
                return mul(rational(Fraction(steps, 12)), atom("pi"))
    return atom(f"{name}({argument.key})")


def determinant(rows: list[list[Form]]) -> Form:
    """By the first row; at most 6 rows."""
    if len(rows) != len(rows[0]) or len(rows) > 6:
        raise Unreadable("its determinant is not of a small square matrix")
    if len(rows) == 1:
        return rows[0][0]
    total = ZERO
    for i, head in enumerate(rows[0]):
        minor = determinant([row[:i] + row[i + 1 :] for row in rows[1:]])
        total = plus(total, mul(head, minor), -1 if i % 2 else 1)
    return total
