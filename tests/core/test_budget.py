"""Books: unknown is never zero, and a prefix is paid once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thence.core.budget import Charged, Ledger, PrefixSet, Spent, add
from thence.core.errors import UsageError

IDS = st.lists(st.integers(0, 2), max_size=6)


def test_an_unknown_makes_its_sums_unknown_and_no_others() -> None:
    assert add(1, 2) == 3
    assert add(None, 2) is None
    assert add(0, None) is None
    ledger = Ledger()
    ledger.charge("policy", prompt=3, generated=4)
    ledger.charge("policy", prompt=3, generated=None)
    assert (ledger.total_charged.prompt, ledger.total_charged.generated) == (6, None)
    assert ledger.total_charged.total is None
    assert ledger.total_charged.verifier == 0


@given(st.lists(IDS, max_size=8))
def test_a_prefix_set_counts_the_distinct_prefixes(sequences: list[list[int]]) -> None:
    known, prefixes = PrefixSet(), set[tuple[int, ...]]()
    for ids in sequences:
        mine = {tuple(ids[: k + 1]) for k in range(len(ids))}
        expected = len(mine - prefixes)
        assert known.missing(ids) == expected
        assert known.add(ids) == expected
        assert known.missing(ids) == 0
        assert tuple(ids) in known
        prefixes |= mine


def test_looking_does_not_insert() -> None:
    ledger = Ledger()
    assert ledger.unseen("policy", (1, 2)) == 2 == ledger.unseen("policy", (1, 2))
    assert ledger.new_prompt_tokens("policy", (1, 2)) == 2
    assert ledger.unseen("policy", (1, 2, 3)) == 1
    assert ledger.unseen("critic", (1, 2, 3)) == 3  # every role reads for itself


def test_a_server_that_shows_no_ids_charges_a_context_once() -> None:
    ledger = Ledger()
    assert ledger.new_text_prompt("policy", ("a",), 7) == 7
    assert ledger.new_text_prompt("policy", ("a",), 7) == 0
    assert ledger.new_text_prompt("policy", ("b",), None) is None
    assert ledger.has_text_prompt("policy", ("b",))


def test_roles_have_their_own_books_and_verifiers_their_own_column() -> None:
    ledger = Ledger(budget=100)
    ledger.charge("policy", prompt=10, generated=20)
    ledger.charge("critic", prompt=1, generated=2)
    ledger.charge("verifier:judge", verifier=30)
    assert ledger.total_charged == Charged(11, 22, 30)
    assert ledger.left == 37
    book = ledger.book("verifier:judge")
    book += Spent(prefilled=5, reused=50, generated=7)
    assert ledger.book("verifier:judge") is book
    assert ledger.total_spent == Spent(verifier=12)


def test_a_budget_needs_counts_and_says_so() -> None:
    ledger = Ledger(budget=10)
    ledger.charge("policy", generated=None)
    with pytest.raises(UsageError, match="drop --budget"):
        _ = ledger.left
    assert Ledger().left is None
    with pytest.raises(UsageError, match="at least 1"):
        Ledger(budget=0)
