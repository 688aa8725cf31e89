"""A problem is its content and nothing else."""

from __future__ import annotations

from dataclasses import fields

import pytest

from thence.core.errors import UsageError
from thence.core.problem import Message, Problem


def test_equal_content_has_equal_hashes_whatever_its_id_family_and_form() -> None:
    text = Problem("a", "What is 7 + 8?")
    turns = Problem("b", (Message("user", "What is 7 + 8?"),), family="sums")
    assert text.hash == turns.hash
    assert text.messages == turns.messages
    assert Problem("a", "What is 7 + 9?").hash != text.hash


def test_a_system_turn_changes_the_hash_but_not_the_question() -> None:
    told = Problem("a", (Message("system", "Be brief."), Message("user", "What is 7 + 8?")))
    assert told.text == "What is 7 + 8?"
    assert told.hash != Problem("a", "What is 7 + 8?").hash


@pytest.mark.parametrize("question", ["", " \n", (), (Message("system", "Be brief."),)])
def test_an_empty_question_is_refused(question: str | tuple[Message, ...]) -> None:
    with pytest.raises(UsageError, match=r"problem 'a'.*empty"):
        Problem("a", question)


def test_a_lone_surrogate_is_hashed() -> None:
    assert Problem("a", "What is \ud800?").hash != Problem("a", "What is \ud801?").hash


def test_no_field_can_hold_a_reference() -> None:
    assert {f.name for f in fields(Problem)} == {"id", "question", "family"}
