"""Trees to sympy objects and a proof of their equality; runs in a worker only (``algebra_pool``).

Objects are made by calling sympy's classes with objects. Text never reaches sympy: a variable's name becomes ``v0``,
``v1``, ….
"""

from __future__ import annotations

from typing import Any

from .terms import Add, Call, Mul, Node, Num, Pow, Sym, unpacked

_MAX_OPERATIONS = 400


def run(job: dict[str, Any]) -> dict[str, Any]:
    """The reply to a job of ``algebra_pool``."""
    import sympy

    made = _Maker(sympy)
    left, right = made.of(unpacked(job["left"])), made.of(unpacked(job["right"]))
    return {"proof": _compare(sympy, left - right)}


def _compare(sympy: Any, difference: Any) -> str:
    """Whether a sympy expression is zero: cheap steps first."""
    for step in (sympy.expand, sympy.together, sympy.trigsimp, sympy.radsimp, sympy.simplify):
        if difference == 0:
            return "equal"
        if sympy.count_ops(difference) > _MAX_OPERATIONS:
            return "unknown"
        difference = step(difference)
    if difference == 0:
        return "equal"
    if not difference.free_symbols and difference.is_algebraic:
        x = sympy.Dummy("x")
        return "equal" if sympy.minimal_polynomial(difference, x) == x else "different"
    found = difference.equals(0)
    return {True: "equal", False: "different"}.get(found, "unknown")


class _Maker:
    """Makes sympy objects; variables are positive reals, as both sides see them alike."""

    def __init__(self, sympy: Any) -> None:
        self.sympy = sympy
        self.names: dict[str, Any] = {}

    def variable(self, name: str) -> Any:
        """The object of a variable."""
        if name not in self.names:
            self.names[name] = self.sympy.Symbol(f"v{len(self.names)}", real=True)
        return self.names[name]

    def of(self, node: Node, angle: bool = False) -> Any:
        """The object of a tree; ``angle``: inside a trigonometric function."""
        sympy = self.sympy
        if isinstance(node, Num):
            return sympy.Rational(node.value.numerator, node.value.denominator)
        if isinstance(node, Sym):
            known = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}
            return known[node.name] if node.name in known else self.variable(node.name)
        if isinstance(node, Add):
            return sympy.Add(*(self.of(item, angle) for item in node.items))
        if isinstance(node, Mul):
            return sympy.Mul(*(self.of(item, angle) for item in node.items))
        if isinstance(node, Pow):
            return self.power(self.of(node.base, angle), self.of(node.exponent))
        if isinstance(node, Call):
            return self.call(node, angle)
        raise TypeError(f"a {type(node).__name__} is no expression")

    def power(self, base: Any, exponent: Any) -> Any:
        """A power; roots of odd index of negative numbers are real."""
        sympy = self.sympy
        if exponent.is_Rational and exponent.q % 2 and exponent.q > 1 and base.is_negative:
            return (-1) ** exponent.p * sympy.Pow(-base, exponent)
        if exponent.is_Integer and abs(exponent) > 2000 and not base.is_Integer:
            raise ValueError("a power is too large")
        return sympy.Pow(base, exponent)

    def call(self, node: Call, angle: bool) -> Any:
        """A function's value."""
        sympy, name = self.sympy, node.name
        if name == "deg":
            inner = self.of(node.items[0], angle)
            return inner * sympy.pi / 180 if angle else inner
        if name == "root":
            return self.power(self.of(node.items[0], angle), 1 / self.of(node.items[1]))
        trig = name in ("sin", "cos", "tan", "cot", "sec", "csc")
        items = [self.of(item, trig) for item in node.items]
        if name in ("log", "ln"):
            return sympy.log(*items)
        if name == "log10":
            return sympy.log(items[0], 10)
        if name.startswith("of "):
            return self.variable(f"{name}({items[0]})")
        functions = {
            "arcsin": "asin", "arccos": "acos", "arctan": "atan", "abs": "Abs", "factorial": "factorial", "exp": "exp",
            "binom": "binomial", "floor": "floor", "ceil": "ceiling", "min": "Min", "max": "Max", "sinh": "sinh",
            "cosh": "cosh", "tanh": "tanh", "gcd": "gcd", "lcm": "lcm",
        }  # fmt: skip
        if not trig and name not in functions:
            raise TypeError(f"the function {name} is not known")
        if name == "factorial" and items[0].is_Integer and items[0] > 5000:
            raise ValueError("a factorial is too large")
        return getattr(sympy, functions.get(name, name))(*items)
