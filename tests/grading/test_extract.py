import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.core.answers import Reading
from thence.grading.extract import MAX_CHARS, AutoReading, NumericReading, TextReading, canonical, default_reading

settings.register_profile("calm", deadline=None)  # a busy machine may pause
settings.load_profile("calm")

NUMBER, TEXT, AUTO = NumericReading(), TextReading(), AutoReading()


@pytest.mark.parametrize(
    ("reply", "value", "read_from"),
    [
        ("He has 3.\n#### 18", "18", "18"),
        ("#### $1,234.50 dollars", "1234.50", "1,234.50"),
        ("#### -5", "-5", "-5"),
        ("5 + 3 = <<5+3=8>>8\n#### 8", "8", "8"),
        ("The answer is 18.", "18", "18"),
        ("the  answer\nis: **18**", "18", "18"),
        ("The answer is:\n\n18 eggs", "18", "18"),
        ("The answer is 5 + 3 = 8 apples. Check 2 = 2", "8", "8"),
        ("The answer is 8. It was 5 + 3 = 9", "8", "8"),
        ("The answer is 3 apples out of 5", "3", "3"),
        ("So $\\boxed{42}$ of 100", "42", "42"),
        ("\\boxed{\\frac{3}{4}}", "3/4", "\\frac{3}{4}"),
        ("\\boxed{x = \\text{about } 7} 9", "7", "7"),
        ("first \\boxed{1}, then \\boxed{2}.", "2", "2"),
        ("Therefore, the answer (arabic numerals) is 7 and 9", "7", "7"),
        ("#### 18\nThe answer is correct.", "18", "18"),
        ("He has 3 and then 1,000 eggs.", "1000", "1,000"),
        ("It is 60%", "60", "60"),
        ("Ann 3 more <<5+3=8>>", "3", "3"),
        ("cut: $<<41.472+8.", None, None),
        ("The answer is unknown", None, None),
        ("5 eggs. The answer is unknown", None, None),
        ("no digits", None, None),
        ("", None, None),
    ],
)
def test_numbers_are_found_with_their_place(reply: str, value: str | None, read_from: str | None) -> None:
    answer = NUMBER.extract(reply)
    if value is None:
        assert answer is None
        return
    assert answer is not None
    assert answer.value == value
    assert reply[answer.start : answer.end] == read_from


def test_markers_are_the_callers() -> None:
    reply = "#### 1\nAnswer: 2\nand 3"
    assert NumericReading(("Answer:",)).extract(reply).value == "2"  # type: ignore[union-attr]
    assert NumericReading(()).extract(reply).value == "3"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("reading", "reply", "value"),
    [
        (TEXT, "Elon: n\nMusk: k\n#### nk", "nk"),
        (TEXT, 'The answer is "nk".', "nk"),
        (TEXT, "The answer is: **Paris**", "Paris"),
        (TEXT, "#### $x+1$", "x+1"),
        (TEXT, "Paris.", "Paris"),
        (TEXT, "I think.\nIt is Paris", None),
        (TextReading(fallback="word"), "I think.\nIt is Paris.", "Paris"),
        (TextReading(fallback="none"), "Paris", None),
        (TEXT, "####   \n", None),
        (AUTO, "#### nk", "nk"),
        (AUTO, "#### 18 eggs", "18"),
        (AUTO, "so 18 eggs", "18"),
        (AUTO, "so eggs", None),
    ],
)
def test_text_answers(reading: Reading, reply: str, value: str | None) -> None:
    answer = reading.extract(reply)
    assert (None if answer is None else answer.value) == value
    if answer is not None:
        assert reply[answer.start : answer.end] == value


@pytest.mark.parametrize(
    "same", [("0.5", "1/2", ".50", "50/100", "½", "$0.50"), ("18", "18.0", " 18. ", "+18", "1.8e1")]
)
def test_equal_numbers_have_one_key(same: tuple[str, ...]) -> None:
    assert len({canonical(value) for value in same}) == 1


@pytest.mark.parametrize(
    ("a", "b"), [("Paris", " paris. "), ("“New  York”", "new york"), ("ﬁne", "FINE"), ("a–b", "a-b")]
)
def test_equal_texts_have_one_key(a: str, b: str) -> None:
    assert canonical(a) == canonical(b)


@pytest.mark.parametrize(
    ("a", "b"), [("60", "0.6"), ("1/3", "0.33"), ("3 am", "3 pm"), ("a-b", "ab"), ("5", "500"), ("1,23", "123")]
)
def test_different_answers_have_different_keys(a: str, b: str) -> None:
    assert canonical(a) != canonical(b)


@given(st.text())
def test_a_key_is_its_own_key(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)


@given(st.text(alphabet="The answer is#$\\boxed{} 0123.,=<>\n-"))
def test_offsets_stay_inside_the_reply(reply: str) -> None:
    for reading in (NUMBER, TEXT, AUTO):
        answer = reading.extract(reply)
        if answer is not None:
            assert 0 <= answer.start < answer.end <= len(reply)
            assert reading.key(answer.value) == reading.key(answer.value)


def test_only_the_end_of_a_long_reply_is_read() -> None:
    reply = "#### 5 " + "x " * MAX_CHARS + "7"
    answer = NUMBER.extract(reply)
    assert answer is not None
    assert (answer.value, reply[answer.start : answer.end]) == ("7", "7")


@pytest.mark.parametrize(
    "piece",
    ["1", "the answer is ", "\\boxed{", "####", "#### \n", "<<", "=", "1=", "{", "}", ". ", "\n", " ", "$", "*", "a"],
)
def test_hostile_replies_take_bounded_time(piece: str) -> None:
    reply = piece * (1_000_000 // len(piece))
    for reading in (NUMBER, TEXT, AUTO):
        reading.extract(reply)
    canonical(reply)


def test_the_default_reading_reads_numbers_and_marked_text() -> None:
    assert default_reading() == AUTO
