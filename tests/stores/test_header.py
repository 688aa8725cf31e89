"""Headers: what may differ on resume, and what never reaches a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from thence.core.errors import StoreError
from thence.stores.header import clean, default_path, differences, merge, scrub

PATH = Path("runs/x.db")
STORED = {
    "model": {"identity": "acorn", "dtype": "float32"},
    "seed": 0,
    "limit": 10,
    "notes": {"threads": 2},
    "arguments": {"task": "t"},
}


def test_a_refusal_names_exactly_the_differing_fields_with_both_values() -> None:
    wanted = {**STORED, "model": {"identity": "acorn", "dtype": "bfloat16"}, "seed": 3}
    with pytest.raises(StoreError) as said:
        merge(STORED, wanted, ("limit",), PATH)
    text = str(said.value)
    assert 'model.dtype is "float32" in the file and "bfloat16" now' in text
    assert "seed is 0 in the file and 3 now" in text
    assert "identity" not in text
    assert "limit" not in text
    assert "\n" not in text


def test_a_missing_field_is_a_difference() -> None:
    assert differences({"a": 1}, {"a": 1, "b": {"c": 2}}) == [("b.c", None, 2)]


@pytest.mark.parametrize(("old", "new", "kept"), [(10, 20, 20), (20, 10, 20), (10, None, None), (None, 10, None)])
def test_a_limit_only_grows(old: int | None, new: int | None, kept: int | None) -> None:
    assert merge({**STORED, "limit": old}, {**STORED, "limit": new}, ("limit",), PATH)["limit"] == kept


def test_a_grid_grows_by_what_is_new_and_keeps_its_order() -> None:
    merged = merge({"arms": ["b", "a"], "seeds": [0]}, {"arms": ["a", "c"], "seeds": [0]}, ("arms", "seeds"), PATH)
    assert merged == {"arms": ["b", "a", "c"], "seeds": [0]}


def test_notes_and_arguments_are_taken_from_now_and_never_refuse() -> None:
    merged = merge(STORED, {**STORED, "notes": {"threads": 1}, "arguments": {"task": "./t"}}, (), PATH)
    assert merged["notes"] == {"threads": 1}
    assert merged["arguments"] == {"task": "./t"}


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("openai:m@https://user:hunter2@host:80/v1", "openai:m@https://host:80/v1"),
        ("https://hunter2@host/v1", "https://host/v1"),
        ("see http://h/v1?api-key=hunter2&a=1.", "see http://h/v1?api-key=***&a=1."),
        ("http://h/v1?api-version=2", "http://h/v1?api-version=2"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: Bearer ***"),
        ("wrong key sk-abcdefghijklmnop1234", "wrong key ***"),
        ("http://[broken:hunter2@x", "http://x"),
        ("an ordinary sentence, 3 + 4 = 7: a@b", "an ordinary sentence, 3 + 4 = 7: a@b"),
    ],
)
def test_secrets_are_taken_out_of_texts(text: str, safe: str) -> None:
    assert scrub(text) == safe


def test_secret_fields_and_given_secrets_never_survive_cleaning() -> None:
    document = {"headers": {"X": "hunter2"}, "API-Key": "hunter2", "max_tokens": 5, "list": ("hunter2!", {"key": 1})}
    safe = {"headers": "***", "API-Key": "***", "max_tokens": 5, "list": ["***!", {"key": "***"}]}
    assert clean(document, ["hunter2"]) == safe
    assert clean({"judge:m@http://u:pw@h": {"key": None}}) == {"judge:m@http://h": {"key": None}}


def test_a_default_path_is_harmless_and_depends_on_what_the_samples_are() -> None:
    header = {"seed": 0, "limit": 5, "notes": {"a": 1}}
    path = default_path("../gsm8k(file=/etc/x)", "openai:m@http://u:hunter2@h/v1", "self-consistency(n=16)", header)
    assert path.parent == Path("runs")
    assert path.suffix == ".db"
    assert "hunter2" not in path.name
    assert ".." not in path.name
    assert " " not in path.name
    again = default_path("a", "b", "c", {**header, "limit": 9, "notes": {}})
    assert again == default_path("a", "b", "c", header)
    assert again != default_path("a", "b", "c", {**header, "seed": 1})
