"""Equations are read from prose, annotations and LaTeX, judged exactly, and hostile text stays cheap."""

from __future__ import annotations

import string
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thence.grading.equations import MAX_POWER, Equation, Truth, find_equations


def only(text: str) -> Equation:
    found = [e for e in find_equations(text) if len(e.sides) > 1]
    assert len(found) == 1, found
    return found[0]


TRUE = [
    "48/2 = 24",
    "<<48/2=24>>",
    "<<40*.01*300=120.0>>",
    "48 / 2 = $24",
    "9 * $2 = $18.",
    "$275 x 2/10 = $55",
    "3x4=12",
    "5 × 3 = 15",
    "15 ÷ 3 = 5",
    "10 − 4 = 6",
    "5 · 3 = 15",
    "140 - 300 = -160",
    "-5 + 8 = 3",
    "5 - -3 = 8",
    "- 5 + 3 = 8",  # a bullet
    "* 5 + 3 = 8",
    "**5 + 3 = 8**",
    "1. 5 + 3 = 8",
    "Step 2: 5 + 3 = 8",
    "(5 + 3 = 8)",
    "7 * (5 + 3 = 8)",
    "(0.4 * 20) = 8",
    "2 * (3 + 4) = 14",
    "2(3+4) = 14",
    "2 + 3 * 4 = 14",
    "20 - 3 - 4 = 13",
    "100 / 10 / 5 = 2",
    "2^3 = 8",
    "2**3^2 = 512",
    "-2^2 = -4",
    "1,234 + 1 = 1,235",
    "10{,}000 / 10 = 1000",
    "16 eggs - 3 eggs for breakfast = 13 eggs",
    "$25/month * 11 months = $275",
    "4 hours * 60 minutes per hour = 240 minutes",
    "11 (XS) + 22 (S) + 18 (M) = 51 shirts",
    "20 (warming up) + 28 (heating to 400 degrees) + 23 (cooking) = 71 minutes",
    "5 times 4 equals 20",
    "8 divided by 2 is equal to 4",
    "5 multiplied by 3 = 15",
    "5 plus 3 minus 1 = 7",
    "20% of 50 = 10",
    "20% * 50 = 10",
    "100% - 20% = 80%",
    "100% - 20% = 80",
    "45/300 = 15% of the price",
    "(45 / 300) * 100 = 15%",
    "1/4 of 20 = 5",
    "½ of 8 = 4",
    "1 1/2 * 4 = 6",
    "1 ½ * 4 = 6",
    "1/2 + 1/4 = 3/4",
    r"\frac{3}{4} \times 20 = 15",
    r"\[ 5 \times 3 = 15 \]",
    r"\(\frac{1}{2} \cdot \frac{2}{3} = \frac{1}{3}\)",
    r"20 \div 5 = 4 \text{ apples}",
    r"\$20 + \$5 = \$25",
    "2 + 3 = 5 = 10/2",
    "2*60 = 120 = 100 + 20",
    "16 - 7 = 9 * 2 = 18",  # runs on
    "x = 5 + 3 = 8",
    "Cost of 3 nights = 3 * 50 = $150",
    "560//10 = 56",
    "10/3 = 3.33",
    "2/3 = .67",
    "2/3 = 0.6667",
    "1/8 = 0.12",  # a tie may go either way
    "1/8 = 0.13",
    "0.1*3=0.30000000000000004",
    "10/3 ≈ 3",
    "2/3 ≈ .66",
    r"22/7 \approx 3.14",
    "$0.25 * 10 = 250 cents",
]
FALSE = [
    "4 * 5 = 21",
    "<<4*5=21>>",
    "7/2 = 3",
    "10/3 = 3.34",
    "2/3 = .66",
    "10/3 ≈ 4.5",
    "2 + 3 = 5 = 10/3",
    "16 - 7 = 8 * 2 = 16",
    "20% of 50 = 100",
    "100% - 20% = 70%",
    "33.33 * 3 = 100",
    "1 1/2 * 4 = 2.5",
    r"\frac{3}{4} \times 20 = 16",
    "1,234 + 1 = 1,236",
    "5 - -3 = 2",
    "2 + 3 * 4 = 20",
    "$0.25 * 10 = 25 cents",
    "13 marbles + 4 marbles + 16 marbles = 45 marbles",
]
UNKNOWN = ["2 hours = 120 minutes", "1 yard = 3 feet", "<<36=36>>", "5 / 0 = 3", f"2^{MAX_POWER + 1} = 3", "4^0.5 = 2"]
NONE = [
    "",
    "no numbers",
    "a 50-pound bag and 3 cats",
    "2x + 3 = 7",
    "6+2b=16",
    "J + 2J = 36",
    "x * 2 - 40 = 250",
    "5 < 6, 5 != 6, 5 >= 4 and 5 => 6",
    ".4(Number of Minutes) = .25(Number of Minutes) + .6",
]


@pytest.mark.parametrize("text", TRUE)
def test_true_equations(text: str) -> None:
    assert only(text).truth is Truth.TRUE


@pytest.mark.parametrize("text", FALSE)
def test_false_equations(text: str) -> None:
    assert only(text).truth is Truth.FALSE


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_is_not_judged(text: str) -> None:
    assert only(text).truth is Truth.UNKNOWN


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_equation(text: str) -> None:
    assert all(e.truth is Truth.UNKNOWN and not e.operands for e in find_equations(text))


def test_prose_and_its_annotation_are_two_equations_in_place() -> None:
    text = "so she has 16 - 3 = <<16-3=13>>13 eggs"
    prose, note = find_equations(text)
    assert (text[prose.start : prose.end], prose.noted) == ("16 - 3 = <<16-3=13>>13", False)
    assert (text[note.start : note.end], note.noted) == ("16-3=13", True)
    assert [text[o.start : o.end] for o in note.operands] == ["16", "3"]
    assert prose.result == note.result == 13


def test_several_in_one_line_and_an_expression_without_a_claim() -> None:
    found = find_equations("They pay 3 * 4 = 12 and 5 + 6, so 12 + 11 = 23.")
    assert [(e.result, e.truth) for e in found] == [(12, Truth.TRUE), (11, Truth.UNKNOWN), (23, Truth.TRUE)]


def test_operands_units_percentages_and_what_a_chain_adds() -> None:
    (equation,) = find_equations("20% of 50 apples + 3 pears = 13 fruits")
    assert [(o.value, o.percent, o.unit) for o in equation.operands] == [
        (20, True, ""),
        (50, False, "apples"),
        (3, False, "pears"),
    ]
    assert [o.value for o in find_equations("16 - 7 = 9 * 2 = 18")[0].operands] == [16, 7, 2]
    assert [o.value for o in find_equations("42 / 60 = 7/10")[0].operands] == [42, 60]


def test_a_wrong_annotation_result_stays_as_written() -> None:
    assert [e.result for e in find_equations("5 - 8 = <<5-8=-3>>3")] == [3, -3]


HOSTILE = [
    "1+", "(", "9", "1 = ", "<<", "\\frac{", "1/1 ", "(a", "x", "1 a a a a ", "-", "}{", "( 1 ", "1 1/", "=", "$",
    "<<1", "\\text{", "2^9", "1,", "\x00", "½", "% of ",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_is_read_once(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted, not timed: tokens made for a text twice as long are at most about twice as many."""
    from thence.grading import equations

    def work(text: str) -> int:
        made = 0
        whole = equations._tokens

        def counted(text: str):  # type: ignore[no-untyped-def]
            nonlocal made
            for token in whole(text):
                made += 1
                yield token

        with monkeypatch.context() as patch:
            patch.setattr(equations, "_tokens", counted)
            found = find_equations(text)
        assert all(len(e.sides) >= 1 for e in found)
        return made + sum(len(e.sides) for e in found)

    small = unit * (4000 // len(unit))
    assert work(small * 2) <= 2.2 * work(small) + 20


def test_limits_give_no_value_and_no_error() -> None:
    for text in (
        "9" * 31 + " + 1 = 5",
        "9^20^20 = 1",
        "1 +" * 300 + " 1 = 301",
        "0^-1 = 5",
        "(" * 50 + "1+1" + ")" * 50 + " = 2",
    ):
        assert {e.truth for e in find_equations(text)} <= {Truth.UNKNOWN, Truth.TRUE}


@given(st.text(alphabet=string.digits + "+-*/=()x%$. <>\n\\{}frac½≈^,a", max_size=80))
def test_any_text_is_read_without_error_and_spans_are_in_it(text: str) -> None:
    for equation in find_equations(text):
        assert 0 <= equation.start < equation.end <= len(text)
        assert len(equation.loose) == len(equation.sides) - 1
        for side in equation.sides:
            assert all(text[o.start : o.end].strip() for o in side.operands)


@given(st.integers(0, 999), st.integers(1, 999), st.sampled_from("+-*/"), st.integers(-3, 3))
def test_exact_arithmetic_is_the_judge(a: int, b: int, sign: str, off: int) -> None:
    exact = {"+": Fraction(a + b), "-": Fraction(a - b), "*": Fraction(a * b), "/": Fraction(a, b)}[sign]
    told = exact + off
    written = str(told) if told.denominator == 1 else f"({told})"
    assert only(f"{a} {sign} {b} = {written}").truth is (Truth.FALSE if off else Truth.TRUE)
