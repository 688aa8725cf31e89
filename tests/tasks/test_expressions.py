"""Expressions of templates: a grammar of our own, exact arithmetic, and nothing that can act."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from thence.tasks.templates.expressions import ExpressionError, Worded, evaluate, names, parse


def value(text: str, functions: dict | None = None, **variables: object) -> object:
    return evaluate(parse(text), variables, functions)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("12 / 4 / 3", 1),
        ("7 // 2", 3),
        ("-7 // 2", -4),
        ("-7 % 3", 2),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("2 ** -1", Fraction(1, 2)),
        ("0.1 * 3", Fraction(3, 10)),
        (".5 + 1", Fraction(3, 2)),
        ("7 if 2 > 1 else 8", 7),
        ("1 if 2 > 3 else 2 if 3 > 4 else 3", 3),
    ],
)
def test_numbers_follow_the_usual_precedence_exactly(text: str, wanted: object) -> None:
    assert value(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1 < 2 <= 2 < 3", True),
        ("1 < 2 > 3", False),
        ("not 1 == 2 and 3 != 4", True),
        ("1 == 2 or 2 == 2", True),
        ("3 in [1, 2, 3]", True),
        ("unit == 'feet'", True),
        ('unit != "feet" or 0.1 + 0.2 == 0.3', True),
    ],
)
def test_comparisons_chain_and_fractions_have_no_rounding(text: str, wanted: bool) -> None:
    assert value(text, unit="feet") is wanted


def test_a_deferred_branch_is_not_evaluated() -> None:
    assert value("x != 0 and 1 / x > 0", x=Fraction(0)) is False
    assert value("0 if x == 0 else 1 / x", x=Fraction(0)) == 0


def test_random_trees_have_the_value_of_their_construction() -> None:
    rng = random.Random(1)

    def tree(depth: int) -> tuple[str, Fraction]:
        if depth == 0 or rng.random() < 0.2:
            n = rng.randint(0, 9)
            return str(n), Fraction(n)
        (left, a), (right, b) = tree(depth - 1), tree(depth - 1)
        sign = rng.choice([s for s in "+-*/" if s != "/" or b != 0])
        made = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else a}[sign]
        return f"({left} {sign} {right})", made

    for _ in range(300):
        text, wanted = tree(5)
        assert value(text) == wanted


def test_worded_numbers_count_and_keep_their_wording() -> None:
    half = Worded("half", Fraction(1, 2))
    assert value("frac * 8", frac=half) == 4
    assert value("frac[1] + 1", frac=half) == Fraction(3, 2)
    assert value("frac == 0.5 and frac != 'third'", frac=half) is True


def test_lists_have_parts_and_can_be_joined() -> None:
    words = ["a", "b", "c"]
    assert value("words[:2]", words=words) == ["a", "b"]
    assert value("(words + ['d'])[-1]", words=words) == "d"
    assert value("['x'] * 3") == ["x", "x", "x"]


def test_names_are_the_variables_and_not_the_functions() -> None:
    assert names(parse("int(x * (y + 1)) if z[a:b] == 'w' else [c][0]")) == set("xyzabc")


@pytest.mark.parametrize(
    "attack",
    [
        "__import__('os').system('touch stolen')",
        "().__class__.__bases__[0]",
        "open('/etc/passwd')",
        "eval('1')",
        "9 ** 9 ** 9",
        "10 ** 64 * 10 ** 64 * 10 ** 64 * 10 ** 64",
        "(" * 5000 + "1" + ")" * 5000,
        "(" * 45 + "1" + ")" * 45,
        "1" + " + 1" * 200,
        "-" * 3000,
        "[0] * 10 ** 9",
        "1 / 0",
        "5 % 0",
        "0 ** -1",
        "x",
        "1 +",
        "1 2",
        "lambda: 1",
        "'a' + 1",
        "f'{1}'",
        "x := 1",
        "",
        "1 if 2",
        "'a' < 'b'",
        "[1][5]",
        "1 and 2",
    ],
)
def test_what_is_no_expression_or_too_large_is_refused_and_nothing_happens(
    attack: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    with pytest.raises(ExpressionError):
        value(attack)


def test_an_error_says_where() -> None:
    with pytest.raises(ExpressionError, match=r"character 5"):
        parse("1 + ) 2")
