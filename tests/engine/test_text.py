"""Decoding, token ends and stop strings."""

from __future__ import annotations

import pytest

from thence.engine.text import Text
from tiny_models import byte_tokenizer, word_tokenizer

TRICKY = "naïve café 🙂👍 日本語\nQ: ok"


def test_byte_level_text_and_ends_count_whole_characters() -> None:
    tokenizer = byte_tokenizer()
    text = Text(tokenizer, len(tokenizer))
    ids = tokenizer(TRICKY)["input_ids"]
    assert text.decode(ids) == TRICKY == tokenizer.decode(ids)
    ends = text.ends(ids, TRICKY)
    assert ends[-1] == len(TRICKY)
    assert list(ends) == sorted(ends)
    raw = TRICKY.encode()
    for i, end in enumerate(ends):
        try:
            assert len(raw[: i + 1].decode()) == end, i
        except UnicodeDecodeError:
            assert end == ends[i - 1]  # within a character nothing new has ended


def test_ends_of_whole_characters_are_what_decoding_token_by_token_gives() -> None:
    tokenizer = byte_tokenizer()
    text = Text(tokenizer, len(tokenizer))
    plain = "Q: ok, 3 < 4\nA: 7"
    ids = tokenizer(plain)["input_ids"]
    assert list(text.ends(ids, plain)) == [len(text.decode(ids[: i + 1])) for i in range(len(ids))]
    assert max(text.ends(ids, plain[:5])) == 5, "what was cut off ends where the text does"


def test_an_unfinished_character_at_the_end_is_a_replacement_character() -> None:
    tokenizer = byte_tokenizer()
    text = Text(tokenizer, len(tokenizer))
    ids = tokenizer("a🙂")["input_ids"][:-1]
    assert text.decode(ids) == tokenizer.decode(ids)
    assert len(text.ends(ids, text.decode(ids))) == len(ids)


def test_word_level_text_is_the_tokens_in_a_row() -> None:
    tokenizer = word_tokenizer()
    text = Text(tokenizer, len(tokenizer))
    ids = tokenizer(" Tom has 3 apples .\n <<1+2=3>>")["input_ids"]
    assert text.pieces is not None
    assert text.decode(ids) == tokenizer.decode(ids) == " Tom has 3 apples .\n <<1+2=3>>"
    assert text.ends(ids, text.decode(ids))[:3] == (4, 8, 10)


def stop_of(text: Text, ids: list[int], stops: tuple[str, ...]) -> int | None:
    """Index of the token at which the engine would stop."""
    table = text.triggers(stops)
    for i in range(len(ids)):
        if table[ids[i]] and text.stopped_at(ids[: i + 1], stops):
            return i
    return None


@pytest.mark.parametrize("make", [word_tokenizer, byte_tokenizer])
def test_stop_strings_across_tokens(make: object) -> None:
    tokenizer = make()  # type: ignore[operator]
    text = Text(tokenizer, len(tokenizer))
    whole = " Tom has 3 apples .\n\nQ : Ann has 4"
    ids = tokenizer(whole)["input_ids"]
    for stops in [("\n\n",), (" :",), ("apples .\n",), ("nothing", " Ann has"), (".", "Tom has 3 a")]:
        at = stop_of(text, ids, stops)
        assert at is not None, stops
        assert not any(s in text.decode(ids[:at]) for s in stops)
        assert any(s in text.decode(ids[: at + 1]) for s in stops)
        cut = text.cut(text.decode(ids[: at + 1]), stops)
        assert whole.startswith(cut)
        assert not any(s in cut for s in stops)
    assert stop_of(text, ids, ("apples Ann",)) is None
    assert text.triggers((" Ann has",)).sum() < len(tokenizer) / 2  # the check of every step is selective


def test_other_tokenizers_decode_through_windows() -> None:
    tokenizer = byte_tokenizer()
    text = Text(tokenizer, len(tokenizer))
    ids = tokenizer(TRICKY)["input_ids"]
    expected = text.ends(ids, TRICKY)
    text.pieces = None
    assert text.decode(ids) == TRICKY
    assert text.ends(ids, TRICKY)[-1] == len(TRICKY)
    assert [a for a, b in zip(text.ends(ids, TRICKY), expected, strict=True) if a != b] == []
    assert stop_of(text, ids, ("👍",)) == TRICKY.encode().index("👍".encode()) + 3
