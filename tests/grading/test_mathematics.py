import builtins
import threading
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.core.answers import Verdict
from thence.grading import MathReading, algebra_pool, equal, extract_candidates, grade_math
from thence.grading.algebra_pool import Proof, prove
from thence.grading.mathematics import grade_solution
from thence.grading.parser import parse
from thence.grading.render import latex
from thence.grading.values import read

KEY = MathReading().key

SAME = [
    ("1/2", "0.5"),
    (r"\frac12", "50/100"),
    (r"1\frac{1}{2}", "1 1/2"),
    ("1,234", "1234"),
    ("1.234.567,5", "1234567.5"),
    (r"10{,}000", "10,000"),
    ("1e3", "1000"),
    (r"1.5\times10^3", "1500"),
    (r"\sqrt{12}", r"2\sqrt3"),
    (r"\frac{1}{1+\sqrt2}", r"\sqrt2-1"),
    (r"\sqrt{3+2\sqrt2}", r"1+\sqrt{2}"),
    (r"\sqrt[3]{-8}", "-2"),
    (r"\log_2 8", "3"),
    (r"\sin 30^\circ", "1/2"),
    (r"\tan\frac{\pi}{4}", "1"),
    (r"4^x", "2^{2x}"),
    ("x^2-1", "(x-1)(x+1)"),
    (r"\frac{x^2-1}{x-1}", "x+1"),
    ("2sqrt(3)", r"2\sqrt{3}"),
    ("2*pi", r"2\pi"),
    ("x**2", "x^2"),
    ("x = 5", "5"),
    ("3, 5", "5 and 3"),
    (r"\{1,2\}", r"\{2,1\}"),
    (r"1\pm\sqrt2", r"1+\sqrt2, 1-\sqrt2"),
    ("x>3", r"(3,\infty)"),
    (r"x \in [1,2)", r"1 \le x < 2"),
    (r"2x+1 \le 7", "x<=3"),
    (r"|x|<2", "(-2,0]\\cup(0,2)"),
    (r"\mathbb{R}\setminus\{0\}", r"x\ne0"),
    ("2x+4y=6", "x+2y=3"),
    (r"\frac12\begin{pmatrix}2\\4\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\text{(C)}", "C"),
    ("Yes", "true"),
    ("May 5, 2020", "5 May 2020"),
    ("5:30 p.m.", "5:30 PM"),
    ("2:4", "1:2"),
    ("12 cm", "12"),
    (r"\$5.50", "5.5"),
    ("74°", "74"),
    ("٣", "3"),
    ("−５", "-5"),
    ("½", "0.5"),
    ("x²", "x^2"),
    ("5 million", "5000000"),
    (r"\text{ Evelyn }", "evelyn"),
    (r"\sum_{k=1}^{4}k", "10"),
    (r"0.\overline{3}", "1/3"),
    ("five", "5"),
    (r"2^{100}", "1267650600228229401496703205376"),
]
OTHER = [
    ("1/3", "0.333"),
    ("5", "500"),
    ("5", "-5"),
    ("60%", "0.6"),
    ("(1,2)", "(2,1)"),
    ("(1,2]", "[1,2]"),
    ("(1,2)", r"\{1,2\}"),
    ("1/2004!", "1/2006!"),
    ("1/2^{99}", "1/2^{98}"),
    ("3^{2025}", "2^{2025}"),
    ("1-1/e", "1+1/e"),
    ("101_2", "5"),
    ("100000", "100009"),
    ("x<2", r"x\le2"),
    ("x+y", "x-y"),
    ("2x+y=3", "2x+y=4"),
    ("12:00", "1:00"),
    ("a+3z=0", "0"),
    (r"\pm 2021", "2021"),
    (r"\sqrt{x^2}", "x"),
    ("3,5", "3"),
    ("A", "B"),
    ("0.1", "0.10000000000000001"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_equal_answers_have_one_key_and_unequal_ones_two(left: str, right: str) -> None:
    assert KEY(left) == KEY(right)
    assert equal(left, right).correct
    assert equal(right, left).correct
    assert grade_math(left, right).correct


@pytest.mark.parametrize(("left", "right"), OTHER)
def test_different_answers_stay_different_both_ways(left: str, right: str) -> None:
    assert KEY(left) != KEY(right)
    assert equal(left, right).verdict is Verdict.INCORRECT
    assert equal(right, left).verdict is Verdict.INCORRECT


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        (r"\frac13", "0.333", True), (r"\frac13", "0.33", False), (r"\frac13", "0.334", False),
        (r"\frac23", "0.667", True),
        (r"\frac23", "0.666", False), (r"\pi", "3.14", True), (r"\pi", "3.15", False), ("1000/3", "333", False),
        (r"10\sqrt2", "14.14", True), (r"10\sqrt2", "14.15", False), (r"\sqrt2", "1.4142135623730951", True),
        ("1/8", "0.13", False), ("1/8", "0.125", True), ("12.50", "12.504", False), ("42", "42.4", False),
    ],
)  # fmt: skip
def test_a_decimal_counts_against_a_reference_only_if_it_is_rightly_rounded(
    gold: str, answer: str, right: bool
) -> None:
    assert grade_math(gold, answer).correct is right


def test_the_percent_policy_has_a_name_and_never_makes_a_factor_of_a_hundred() -> None:
    assert not grade_math("0.25", "25").correct
    assert grade_math("25", "25%").correct
    assert grade_math("0.25", "25%").correct
    assert not grade_math("0.25", "25%", percent="number").correct
    assert not grade_math("25", "25%", percent="hundredth").correct


def test_a_reference_allows_what_its_notation_leaves_open() -> None:
    assert grade_math("(1,2)", "1<x<2").correct
    assert grade_math("(3,5)", "3, 5").correct
    assert not grade_math("(3,5)", "5, 3").correct
    assert grade_math(r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)").correct
    assert grade_math("2516_8", "2516").correct
    assert not grade_math("5 cm", "5 m").correct
    assert not grade_math("x=2", "y=2").correct
    assert grade_math("1,22", "1.22").correct


def test_what_forms_cannot_decide_is_proven_in_a_worker() -> None:
    pytest.importorskip("sympy")
    assert grade_math(r"\sin 2x", r"2\sin x\cos x").reason == "equal by computer algebra"
    assert grade_math(r"\cos 36^\circ", r"\frac{1+\sqrt5}{4}").correct
    assert grade_math(r"\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}", "1").correct
    assert not grade_math(r"\sin 2x", r"\sin x\cos x").correct


def test_without_sympy_an_unproven_pair_gets_no_credit_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def run(self, *_: object) -> list[dict[str, str]]:
            return [{"error": "ModuleNotFoundError: No module named 'sympy'"}]

    monkeypatch.setattr(algebra_pool, "ALGEBRA", Missing())
    algebra_pool._proven.cache_clear()
    grade = grade_math(r"\sin 4x", r"2\sin 2x\cos 2x")
    algebra_pool._proven.cache_clear()
    assert grade.verdict is Verdict.INCORRECT
    assert grade.reason.startswith("unproven: ")
    assert "thence[math]" in grade.reason


def test_a_proof_that_takes_too_long_costs_its_deadline_and_the_next_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sympy")
    left, right = parse(r"\sin 6x"), parse(r"2\sin 3x\cos 3x")
    proof, reason = prove(left, right, 0.0)
    assert proof is Proof.STOPPED
    assert "longer" in reason
    assert prove(left, right, 10.0)[0] is Proof.EQUAL


def test_reasons_tell_unparsed_and_limit_apart() -> None:
    assert grade_math("9**9**9", "9**9**9").correct  # the same text
    assert grade_math("9**9**9", "5").verdict is Verdict.UNGRADABLE
    assert grade_math("5", "9**9**9").reason.startswith("limit: ")
    assert grade_math("5", r"\frac{1}{0}").reason.startswith("unparsed: it divides by zero")
    assert grade_math("5", "{" * 500 + "5" + "}" * 500).reason.startswith("limit: ")
    assert grade_math("5", "").verdict is Verdict.NO_ANSWER
    assert grade_math("", "5").verdict is Verdict.UNGRADABLE


HOSTILE = [
    "9**9**9",
    "9!!!!",
    r"\frac{1}{0}",
    "(" * 5000,
    "{" * 1999,
    "-" * 3000,
    "1+" * 1900 + "1",
    "(x+1)^{99999}",
    "(x+y+z+w)^{60}",
    "(" * 55 + "x" + ")^{9}" * 55,
    r"\binom{100000}{50000}",
    "2^{2^{2^{2^{2^2}}}}",
    "x^" * 900 + "2",
    r"\sqrt" * 900 + "2",
    "1" * 3_000,
    "1e999999",
    "٣" * 1500,
    r"\sum_{k=1}^{10^9} k^k",
    r"\sum_{k=1}^{400} \frac{1}{k^{99}+x}",
    "|" * 1500,
    r"\begin{pmatrix}" + "1&" * 900 + r"1\end{pmatrix}",
    r"\frac{" * 500,
    ",".join(map(str, range(900))),
    "$" * 3999,
    r"\sqrt{" + "1" * 300 + "}",
    r"(a+b+c+d+e+f)^{30}/(a-b+c-d)^{9}",
    "1 " * 1900,
    r"\boxed{" * 600,
    "x" * 3999,
    "\\" * 3999,
    "<x>" * 1300,
    "1,234" * 700,
    "{[(" * 600,
    "≤" * 3000,
    r"\left(" * 800,
    "5\u202e6",
    "a_" * 1500,
    "f(" * 1200,
    r"\text{" * 700,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_come_back_soon_without_an_error(text: str) -> None:
    done: list[Verdict] = []
    thread = threading.Thread(target=lambda: done.append(grade_math("5", text).verdict), daemon=True)
    thread.start()
    thread.join(3.0)
    assert done, "it took longer than three seconds"
    assert done[0] in (Verdict.INCORRECT, Verdict.NO_ANSWER, Verdict.TIMEOUT)


@pytest.mark.parametrize(
    "unit", ["5 ", "\\boxed{", "$x$ ", "the answer is ", "#### ", "\n", "<think>", "1,", "a=b ", "\\(", "\\[x"]
)
def test_ten_megabytes_are_read_from_their_end_only(unit: str) -> None:
    text = unit * (10_000_000 // len(unit)) + r" so \boxed{42}"
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(grade_solution("42", text).correct), daemon=True)
    thread.start()
    thread.join(3.0)
    assert done, "it took longer than three seconds"
    assert done[0] or unit == "<think>"


PAYLOADS = [
    "__import__('os').system('touch FLAG')",
    "exec(\"open('FLAG','w')\")",
    "().__class__.__bases__[0].__subclasses__()",
    r"\boxed{__import__('pathlib').Path('FLAG').touch()}",
    "lambda: open('FLAG','w')",
    "eval('1')",
    "6 if open('FLAG','w') else 6",
    r"\text{__import__}('os')",
    "sqrt(__import__('os').system('touch FLAG'))",
    "x.__class__",
    "[open('FLAG','w') for _ in '1']",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_is_executed(payload: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    called: list[str] = []
    texts = [payload, f"The answer is ${payload}$", rf"\boxed{{{payload}}}"]
    with monkeypatch.context() as patch:
        for name in ("eval", "exec"):
            patch.setattr(builtins, name, lambda *_, name=name: called.append(name))
        grades = [
            grade(*pair) for text in texts for grade, *pair in ((grade_solution, "5", text), (grade_math, text, "5"))
        ]
    assert not any(grade.correct for grade in grades)
    assert called == []
    assert list(tmp_path.iterdir()) == []


def test_eight_threads_agree_with_one() -> None:
    pairs = [*SAME, *OTHER, (r"\cos 2x", r"1-2\sin^2 x"), (r"\sqrt{5+2\sqrt6}", r"\sqrt2+\sqrt3")]
    alone = [grade_math(*pair).verdict for pair in pairs]
    results: list[list[Verdict]] = []
    threads = [
        threading.Thread(target=lambda: results.append([grade_math(*pair).verdict for pair in pairs])) for _ in range(8)
    ]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert time.monotonic() - started < 30.0, "the threads hang"
    assert results == [alone] * 8


numbers = st.integers(-30, 30).map(lambda n: f"{n}" if n >= 0 else f"({n})")
expressions = st.recursive(
    st.one_of(numbers, st.sampled_from(["x", "y", r"\sqrt{2}", r"\sqrt{3}", r"\pi"])),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        st.tuples(inner, st.integers(2, 9)).map(lambda t: rf"\frac{{{t[0]}}}{{{t[1]}}}"),
        st.tuples(inner, st.integers(2, 3)).map(lambda t: f"({t[0]})^{t[1]}"),
    ),
    max_leaves=6,
)


@given(expressions)
@settings(max_examples=60, deadline=None)
def test_an_expression_equals_its_rendering_and_nothing_next_to_it(text: str) -> None:
    key = read(text).key
    assert read(latex(parse(text))).key == key
    assert read(f"({text})+1-1").key == key
    assert read(f"3({text})/3").key == key
    assert read(f"({text})+1").key != key
    assert not equal(text, f"({text})+1").correct


@given(st.fractions(max_denominator=500))
@settings(max_examples=60, deadline=None)
def test_a_fraction_has_the_key_of_its_value(value: Fraction) -> None:
    written = rf"\frac{{{value.numerator * 6}}}{{{value.denominator * 6}}}"
    assert KEY(written) == KEY(f"{value.numerator}/{value.denominator}")
    assert KEY(written) != KEY(str(value + 1))


def test_keys_are_an_equivalence_that_equal_respects() -> None:
    texts = [text for pair in SAME[:40] for text in pair]
    for left in texts[::3]:
        for right in texts[::5]:
            if KEY(left) == KEY(right):
                assert equal(left, right).correct
                assert equal(right, left).correct


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        (r"first \boxed{10} and then \boxed{42}.", "42", "boxed"),
        (r"$\boxed{3}$ and $\boxed{\frac{1}{2}}$", r"3, \frac{1}{2}", "boxed"),
        (r"\boxed{\text{a } \{1\}}", r"\text{a } \{1\}", "boxed"),
        ("<think>\\boxed{1}</think>The answer is $7$.", "7", "marker"),
        ("6 * 7 = 42\n#### 42\n\nQuestion: next\n#### 5", "42", "marker"),
        ("The final answer is $\\frac12$. I hope it is correct.", r"\frac12", "marker"),
        ("We add them.\nSo $a = b + 5 = 12$", "a = b + 5 = 12", "formula"),
        ("Problem: again.\nThen \\boxed{3}", "3", "boxed"),
    ],
)
def test_the_first_candidate_is_what_the_reply_states(text: str, value: str, kind: str) -> None:
    first = extract_candidates(text)[0]
    assert (first.value, first.kind) == (value, kind)
    if kind != "boxed" or "," not in value:
        assert text[first.start : first.end] == value


def test_a_reply_that_states_nothing_has_no_candidate_and_an_empty_box_is_none() -> None:
    assert extract_candidates("") == []
    assert grade_solution("5", r"\boxed{}").verdict is Verdict.NO_ANSWER
    assert grade_solution("5", "<think>5").verdict is Verdict.NO_ANSWER
