from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.grading.numbers import MAX_DIGITS, find_numbers, parse_number

settings.register_profile("calm", deadline=None)  # a busy machine may pause
settings.load_profile("calm")


def values(text: str) -> list[str]:
    return [str(n.value) for n in find_numbers(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18", "18"),
        ("1,234", "1234"),
        ("12,345,678.90", "123456789/10"),
        ("10{,}000", "10000"),
        ("1\\,234", "1234"),
        ("1\u202f234", "1234"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("+5", "5"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("\\$20.00", "20"),
        ("€3.50", "7/2"),
        (".5", "1/2"),
        ("15.", "15"),
        ("60%", "60"),
        ("60\\%", "60"),
        ("3/4", "3/4"),
        ("3 / 4", "3/4"),
        ("1/1,000", "1/1000"),
        ("1 1/2", "3/2"),
        ("-1 1/2", "-3/2"),
        ("½", "1/2"),
        ("1½", "3/2"),
        ("\\frac{3}{4}", "3/4"),
        ("-\\dfrac12", "-1/2"),
        ("1\\frac{1}{2}", "3/2"),
        ("1.5e3", "1500"),
        ("2 \\times 10^{5}", "200000"),
        ("3 × 10^-2", "3/100"),
        ("\\boxed{42}", "42"),
        ("$42$", "42"),
        ("**42**", "42"),
        (" '42' ", "42"),
        ("٣٤", "34"),
    ],
)
def test_a_value_that_is_one_number(text: str, expected: str) -> None:
    number = parse_number(text)
    assert number is not None
    assert str(number.value) == expected


@pytest.mark.parametrize(
    "text", ["", "18 eggs", "x=5", "1,23", "16-3", "3/0", "1:30", "nan", "inf", "1e5a", "2^10", "1_000"]
)
def test_anything_else_is_none(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,23 and 1,234,56", ["1", "23", "1", "234", "56"]),
        ("16-3=13", ["16", "3", "13"]),
        ("3/4/2020", ["3", "4", "2020"]),
        ("3/0", ["3", "0"]),
        ("12 7/3", ["12", "7/3"]),
        ("15 cm^2 of H2O, x_1", ["15"]),
        ("$60/100 * $5 = $3.", ["3/5", "5", "3"]),
        ("1.2.3", ["6/5", "3"]),
        ("5 * 10", ["5", "10"]),
        ("Rs.500", ["500"]),
        ("(-9 - 5)", ["-9", "5"]),
    ],
)
def test_numbers_in_a_text(text: str, expected: list[str]) -> None:
    assert values(text) == expected


def test_too_long_a_number_has_a_reason_and_no_value() -> None:
    for text in ("1" * (MAX_DIGITS + 1), "0." + "3" * 500, "1e301", "1e999999", "1" * 300 + "/3"):
        (number,) = find_numbers(text)
        assert number.value is None
        assert number.reason
    assert next(find_numbers("1" * MAX_DIGITS)).value == int("1" * MAX_DIGITS)
    assert next(find_numbers("1e300")).value == 10**300


@given(st.text(alphabet="0123456789,./- $%e{}\\frac½x^10\n"))
def test_spans_are_ordered_and_inside(text: str) -> None:
    last = 0
    for number in find_numbers(text):
        assert last <= number.start < number.end <= len(text)
        last = number.end


@given(st.integers(-(10**30), 10**30), st.integers(0, 10))
def test_decimals_are_exact(units: int, places: int) -> None:
    digits = str(abs(units)).rjust(places + 1, "0")
    text = ("-" if units < 0 else "") + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)
    number = parse_number(text)
    assert number is not None
    assert number.value == Fraction(units, 10**places)


@given(st.integers(-(10**12), 10**12))
def test_thousands_separators_change_nothing(value: int) -> None:
    number = parse_number(f"{value:,}")
    assert number is not None
    assert number.value == value
    assert number.plain == str(value)


@pytest.mark.parametrize(
    "piece",
    ["1", "1,", "1,111", "1/", "-", "\\frac{", "1 ", "1 1/", "<<", ".", ".1", "1e", "1 x 10", " ", "1 \\", "½", "$"],
)
def test_hostile_texts_take_linear_time(piece: str) -> None:
    """One megabyte each: quadratic work would take hours."""
    sum(1 for _ in find_numbers(piece * (1_000_000 // len(piece))))
