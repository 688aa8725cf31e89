"""SVAMP, GSM-Hard, MATH, MATH-500 and AIME: what is read from a row, from the hub, and what counts as right."""

from __future__ import annotations

import builtins
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, written
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.tasks.answered import AnsweredTask
from thence.tasks.gsm_variants import GsmHard, Svamp
from thence.tasks.mathematics import SUBJECTS, Aime, Math, Math500
from thence.tasks.prm800k import Prm800k
from thence.tasks.rounding import grade_number, rightly_rounded, shown

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")
FIGS: dict[str, Any] = {
    "Body": "Jo has 9 figs and eats 2",
    "Question": "How many are left?",
    "Answer": 7.0,
    "ID": "chal-1",
}
HALF = {"problem": "Half of 1?", "solution": "It is $\\boxed{\\frac{1}{2}}$.", "level": "Level 1", "type": "Algebra"}


# --- decimals against a reference ------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["0.333", "0.3333", ".333", "0.3333333333333333", "1/3", "2/6", "0.333 pounds"])
def test_a_third_is_met_by_three_right_digits(answer: str) -> None:
    assert grade_number(Fraction(1, 3), answer).correct


@pytest.mark.parametrize("answer", ["0.33", "0.334", "0.3", "0", "33.3", "-0.333", "0.3332", "3.33e-2", "1/30", "x"])
def test_fewer_digits_wrong_digits_and_other_scales_are_wrong(answer: str) -> None:
    assert grade_number(Fraction(1, 3), answer).verdict is Verdict.INCORRECT


@pytest.mark.parametrize("answer", ["12.4", "12.0001", "11.96", "12.5", "13", "1.2e0"])
def test_a_whole_reference_is_met_by_itself_alone(answer: str) -> None:
    assert not grade_number(Fraction(12), answer).correct
    assert grade_number(Fraction(12), "12.00").correct


def test_a_machine_s_decimal_is_met_by_the_fraction_it_stands_for() -> None:
    gold = Fraction("1.3333333333333333")
    assert grade_number(gold, "4/3", places=16).correct
    assert not grade_number(gold, "4/3", places=3).correct
    assert not grade_number(gold, "1.34", places=16).correct
    assert grade_number(Fraction(1, 3), "1 and 2").verdict is Verdict.INCORRECT
    assert grade_number(Fraction(1, 3), " ").verdict is Verdict.NO_ANSWER


@settings(max_examples=60)
@given(st.fractions(Fraction(1, 900), 1000, max_denominator=997), st.integers(0, 6))
def test_rounding_by_python_is_right_and_a_neighbour_is_not(value: Fraction, places: int) -> None:
    unit = Fraction(1, 10**places)
    plain = fixed(round(value / unit), places)
    shows = len(plain.replace(".", "").lstrip("0")) >= 3 and places > 0
    assert rightly_rounded(value, plain) == shows
    assert not rightly_rounded(value, fixed(round(value / unit) + 1 + (value > round(value / unit) * unit), places))


def fixed(units: int, places: int) -> str:
    """A whole number of last places as a decimal: 1250 with 3 places is 1.250."""
    digits = f"{units:0{places + 1}d}"
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


@pytest.mark.parametrize(("value", "text"), [("1/3", "1/3"), ("5/2", "2.5"), ("-7/4", "-1.75"), ("12", "12")])
def test_fractions_are_shown_as_people_type_them(value: str, text: str) -> None:
    assert shown(Fraction(value)) == text


# --- SVAMP and GSM-Hard ----------------------------------------------------------------------------------------------


def test_svamp_joins_body_and_question(tmp_path: Path) -> None:
    task = Svamp(file=written(tmp_path / "s.json", [FIGS, FIGS | {"ID": "b", "Body": "Jo eats 2."}], array=True))
    assert task.problems()[0] == Problem("chal-1", "Jo has 9 figs and eats 2. How many are left?", "word-problems")
    assert task.problems()[1].text == "Jo eats 2. How many are left?"
    assert task.grade(task.problems()[0], "", "7").correct
    assert not task.grade(task.problems()[0], "", "9").correct


def test_gsm_hard_keeps_its_floats(tmp_path: Path) -> None:
    rows = [{"input": "How many?", "target": -9867630.0}, {"input": "And?", "target": 35488.333333333336}]
    task = GsmHard(file=written(tmp_path / "h.jsonl", rows))
    first, second = task.problems()
    assert task.reference(first) == "-9867630"
    assert task.grade(first, "", "-9,867,630").correct
    assert not task.grade(first, "", "9867630").correct
    assert task.grade(second, "", "35488.33").correct
    assert task.grade(second, "", "106465/3").correct
    assert not task.grade(second, "", "35488").correct
    assert task.check_references() == []


def test_the_hub_is_asked_for_the_split(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = FakeHub(
        monkeypatch,
        tmp_path,
        SVAMP=[FIGS],
        gsm_hard=[{"input": "q", "target": 1}],
        hendrycks_math=[HALF],
        MATH_500=[{"problem": "q", "answer": "1", "unique_id": "a"}],
        aime_2024=[{"problem": "q", "answer": "204"}],
        aime_2025=[{"problem": "q", "answer": 70}],
    )
    for task in (Svamp(), Svamp(split="train"), GsmHard(), Math500(), Aime(), Aime(year=2024)):
        assert len(task.problems()) == 1
    assert hub.asked == [
        ("ChilleD/SVAMP", "test"),
        ("ChilleD/SVAMP", "train"),
        ("reasoning-machines/gsm-hard", "train"),
        ("HuggingFaceH4/MATH-500", "test"),
        ("MathArena/aime_2025", "train"),
        ("HuggingFaceH4/aime_2024", "train"),
    ]
    hub.asked.clear()
    assert len(Math().problems()) == len(SUBJECTS) == 7
    assert hub.asked == [("EleutherAI/hendrycks_math", subject, "test") for subject in SUBJECTS]


@pytest.mark.parametrize(("make", "name"), [(Svamp, "svamp"), (Math, "math"), (Prm800k, "prm800k")])
def test_without_a_network_or_the_library_it_says_what_to_do(
    make: Any, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    FakeHub(monkeypatch, tmp_path)
    with pytest.raises(DataError, match=rf"no route.*go online, or download .* {name}\(file=PATH\)") as caught:
        make()
    assert "\n" not in str(caught.value)
    real = builtins.__import__

    def fake(module: str, *args: Any, **kwargs: Any) -> Any:
        if module in ("datasets", "huggingface_hub"):
            raise ImportError(module)
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(UsageError, match=r"thence\[hub\]"):
        make()


def test_ids_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="svamp: two problems have the id 'chal-1'"):
        Svamp(file=written(tmp_path / "s.jsonl", [FIGS, FIGS]))
    with pytest.raises(DataError, match="line 1: the reference 'many' is no number"):
        Svamp(file=written(tmp_path / "s.jsonl", [FIGS | {"Answer": "many"}]))
    with pytest.raises(UsageError, match="not both"):
        Svamp(file="x", split="test")


def test_references_that_fail_their_own_grader_are_listed() -> None:
    class Odd(AnsweredTask):
        name = "odd"

    task = Odd({}, [(Problem("a", "q"), ""), (Problem("b", "q"), "5")])
    assert task.check_references() == [("a", "the reference is empty")]


# --- MATH and AIME ---------------------------------------------------------------------------------------------------


def test_math_takes_what_the_solution_boxes(tmp_path: Path) -> None:
    roots = HALF | {"solution": "So $x = \\boxed{-2}$ and $x = \\boxed{1}$."}
    nested = HALF | {"solution": "First \\boxed{7}. In the end it is \\boxed{\\sqrt{\\frac{2}{3}}}."}
    task = Math(file=written(tmp_path / "m.jsonl", [HALF, roots, nested]))
    half, both, root = task.problems()
    assert task.reference(half) == "\\frac{1}{2}"
    for right in ("1/2", "0.5", "\\dfrac12"):
        assert task.grade(half, "", right).correct
    assert not task.grade(half, "", "2").correct
    assert task.grade(both, "", "1, -2").correct
    assert not task.grade(both, "", "1").correct
    assert task.reference(root) == "\\sqrt{\\frac{2}{3}}"
    assert task.check_references() == []


def test_math_is_chosen_by_subject_and_level(tmp_path: Path) -> None:
    other = HALF | {"type": "Counting & Probability", "level": "Level 5"}
    file = written(tmp_path / "m.jsonl", [HALF, other])
    assert [p.id for p in Math(file=file, subject="counting_and_probability").problems()] == ["math-00002"]
    assert [p.id for p in Math(file=file, level=1).problems()] == ["math-00001"]
    with pytest.raises(UsageError, match=r"no problem has subject=algebra, level=5"):
        Math(file=file, subject="algebra", level=5)
    with pytest.raises(UsageError, match="level is 6"):
        Math(file=file, level=6)
    with pytest.raises(UsageError, match="subject is 'chemistry'"):
        Math(file=file, subject="chemistry")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"line 1: the solution has no \\boxed"):
        Math(file=written(tmp_path / "n.jsonl", [HALF | {"solution": "It is 5."}]))


def test_aime_is_a_whole_number_up_to_999(tmp_path: Path) -> None:
    task = Aime(file=written(tmp_path / "a.jsonl", [{"problem": "q", "answer": "025"}, {"problem": "r", "answer": 7}]))
    assert task.reference(task.problems()[0]) == "25"
    assert task.grade(task.problems()[0], "", "25").correct
    assert not task.grade(task.problems()[0], "", "25.4").correct
    for bad in (1000, -1, "1/2", "x"):
        with pytest.raises(DataError, match="whole number from 0 to 999"):
            Aime(file=written(tmp_path / "b.jsonl", [{"problem": "q", "answer": bad}]))
    with pytest.raises(UsageError, match="year is 1999"):
        Aime(year=1999)


# --- the published files ---------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(
    ("make", "file", "count"),
    [
        (Svamp, "gsm_variants/svamp.jsonl.gz", 1000),
        (GsmHard, "gsm_variants/gsm_hard.jsonl.gz", 1319),
        (Math500, "math/math500.jsonl.gz", 500),
    ],
)
def test_all_references_of_the_published_files_grade_themselves(make: Any, file: str, count: int) -> None:
    task = make(file=str(DATA / file))
    assert len(task.problems()) == count
    assert task.check_references() == []
