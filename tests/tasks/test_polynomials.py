"""Polynomials are compared exactly; sympy, given texts of our own, is the oracle."""

from __future__ import annotations

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.tasks.polynomials import read_polynomial


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("(x + 1)*(x - 1)", "x^2 - 1"),
        ("3x**2 + 2", "2 + 3*x*x"),
        ("-x*(y - 1)", "x - x*y"),
        ("-(x)^2", "0 - x*x"),
        ("2(x+1)(x+2)", "2x^2 + 6x + 4"),
        ("x/2 + x/2", "x"),
        ("0.5x", "x/2"),
        ("x - x", "0"),
        ("2*-x", "-2x"),
        ("x^(2)", "x·x"),
    ],
)
def test_equal_polynomials(left: str, right: str) -> None:
    assert read_polynomial(left) == read_polynomial(right)


@pytest.mark.parametrize(("left", "right"), [("x^2", "x"), ("x", "X"), ("x*y", "x"), ("1/3", "0.333"), ("x+C", "x")])
def test_different_polynomials(left: str, right: str) -> None:
    assert read_polynomial(left) != read_polynomial(right)


NONE = ["", "x +", "x^x", "x^-1", "1/x", "x/0", "sin(x)*", "x^99", "(x", "x)", "x;y", "__import__", "x = 2", "x!"]


@pytest.mark.parametrize("text", [*NONE, "9" * 200, "(" * 500, "(x+y+z+w)^40", "2^40^40"])
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_polynomial(text)


def test_the_derivative_takes_other_letters_for_constants() -> None:
    assert read_polynomial("x^3/3 - 5x*y/4 + C").derivative("x") == read_polynomial("x^2 - 5y/4")
    assert read_polynomial("y").derivative("x") == read_polynomial("0")


EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "y", "2", "7", "3"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from("23")).map(lambda t: f"({t[0]})**{t[1]}"),
        st.tuples(inner, st.sampled_from("25")).map(lambda t: f"({t[0]})/{t[1]}"),
    ),
    max_leaves=6,
)


@settings(max_examples=40)
@given(EXPRESSIONS, EXPRESSIONS)
def test_equality_and_derivative_are_sympy_s(left: str, right: str) -> None:
    a, b = sympy.expand(sympy.sympify(left)), sympy.expand(sympy.sympify(right))
    mine, other = read_polynomial(left), read_polynomial(right)
    assert (mine == other) == (a == b)
    slope = str(sympy.expand(sympy.diff(a, sympy.Symbol("x"))))
    assert mine.derivative("x") == read_polynomial(slope)
