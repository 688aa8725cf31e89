import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.core.clean import markup_safe, one_line, printable

settings.register_profile("calm", deadline=None)  # a busy machine may pause
settings.load_profile("calm")


def test_ordinary_text_is_untouched() -> None:
    text = "Tom's 3 × 5 = 15 ½ €\n\tнаука 数学 🙂 👨‍👩‍👧 \\boxed{15}"
    assert printable(text) == text


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[31mred\x1b[0m",
        "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
        "\x1b]52;c;ZXZpbA==\x07",
        "\x9b2J",
        "a\rb",
        "a\x08b",
        "\u202eevil\u202c",
        "\u2066x\u2069",
        "zero\u200bwidth\ufeff",
        "tag\U000e0041",
        "line\u2028break\u0085",
        "\x00\x7f",
    ],
)
def test_nothing_that_acts_remains(hostile: str) -> None:
    shown = printable(hostile)
    assert all(c.isprintable() or c in "\n\t" for c in shown), shown
    assert "evil" not in hostile or "evil" in shown  # visible, not dropped


def test_escapes_are_shown_by_name() -> None:
    assert printable("\x1b[2J") == "␛[2J"
    assert printable("\u202e5") == "<U+202E>5"


def test_lone_surrogates_can_be_encoded() -> None:
    assert printable("\ud800").encode() == b"<U+D800>"


def test_the_limit_counts_what_it_hides() -> None:
    assert printable("abcdef", 3) == "abc… (3 more characters)"
    assert printable("abc", 3) == "abc"
    assert one_line("a\nb\tc") == "a⏎b c"


@given(st.text(alphabet=st.characters(codec=None)))
def test_every_text_becomes_inert_and_stays_so(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not any(ord(c) < 0x20 and c not in "\n\t" for c in shown)
    assert printable(shown) == shown


@given(st.text(alphabet="ab[]/\\=#@: "))
def test_rich_markup_is_inert_wherever_it_stands(text: str) -> None:
    rich_text = pytest.importorskip("rich.text")
    rendered = rich_text.Text.from_markup(f"[bold]{markup_safe(text)}[/bold]", emoji=False)
    assert rendered.plain.replace("\\", "") == text.replace("\\", "")  # rich itself may drop a backslash
    assert [span.style for span in rendered.spans] in ([], ["bold"])


def test_a_link_tag_is_printed_not_followed() -> None:
    rich_text = pytest.importorskip("rich.text")
    rendered = rich_text.Text.from_markup(markup_safe("[link=http://evil.example]x[/link] [bold]y"))
    assert rendered.plain == "[link=http://evil.example]x[/link] [bold]y"
    assert not rendered.spans
