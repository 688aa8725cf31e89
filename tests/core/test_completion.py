"""Thought and reply, token spans, and what makes a sample's tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from thence.core.completion import Completion, Context, Finish, Origin, Sampling, Segment, split_thought
from thence.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "opened", "thought", "reply"),
    [
        ("#### 4", False, "", "#### 4"),
        ("<think>two and two</think>\n\n#### 4", False, "two and two", "#### 4"),
        ("  <think>\na\n</think>#### 4", False, "a", "#### 4"),
        ("two and two\n</think>\n#### 4", True, "two and two", "#### 4"),  # the template wrote the opening tag
        ("two and two</think>#### 4", False, "two and two", "#### 4"),  # nobody said so, and the closing tag shows it
        ("<think>two and", False, "two and", ""),  # cut
        ("two and", True, "two and", ""),  # cut behind a template's tag
        ("<think></think>#### 4", False, "", "#### 4"),
        ("<think>", False, "", ""),
        ("", False, "", ""),
        ("", True, "", ""),
        ("#### 4 <think>no</think> 5", False, "#### 4 <think>no", " 5"),  # a tag that opens late is part of the text
    ],
)
def test_thought_and_reply(text: str, opened: bool, thought: str, reply: str) -> None:
    completion = Completion.of(text, Finish.EOS, opened=opened)
    assert (completion.thought, completion.reply) == (thought, reply)
    assert completion.text == text
    assert completion.text[completion.reply_at :] == reply
    assert split_thought(text, opened=opened) == (thought, completion.reply_at)


def test_a_continuation_starts_from_the_tokens_that_spell_the_text() -> None:
    made = Completion.of("ab", Finish.EOS, ids=(1, 2, 0))
    assert made.continuable_ids == (1, 2)
    assert replace(made, finish=Finish.LENGTH).continuable_ids == (1, 2, 0)
    assert replace(made, finish=Finish.BUDGET).continuable_ids == (1, 2, 0)
    assert replace(made, finish=Finish.STOP).continuable_ids is None  # its last token may hold more than the text
    assert replace(made, ids=None).continuable_ids is None


def test_the_tokens_of_a_span_cover_it_and_no_more() -> None:
    made = Completion.of("so 12 it is", Finish.EOS, ends=(2, 4, 5, 8, 11, 11))
    assert made.tokens_of(3, 5) == (1, 3)  # " 1" and "2"
    assert made.tokens_of(4, 5) == (2, 3)
    assert made.tokens_of(0, 2) == (0, 1)
    assert made.tokens_of(9, 11) == (4, 5)  # not the end-of-text token
    assert made.tokens_of(5, 5) == (3, 3)  # nothing has no tokens
    assert made.tokens_of(0, 0) == (0, 0)
    with pytest.raises(UsageError, match="no token offsets"):
        replace(made, ends=None).tokens_of(0, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("max_tokens", 0),
        ("stop", ("",)),
    ],
)
def test_impossible_sampling_is_refused(field: str, value: object) -> None:
    with pytest.raises(UsageError):
        replace(Sampling(), **{field: value})  # type: ignore[arg-type]


def test_the_cap_does_not_make_another_sample_and_every_other_choice_does() -> None:
    plain = Sampling()
    assert plain.key() == replace(plain, max_tokens=7).key() == replace(plain, logprobs=True).key()
    others = [
        replace(plain, temperature=0.1),
        replace(plain, top_p=0.5),
        replace(plain, top_k=3),
        replace(plain, stop=("\n",)),
        replace(plain, top2=True),
        replace(plain, first_rank=0),
    ]
    assert len({s.key() for s in [plain, *others]}) == 7


def test_greedy_leaves_nothing_to_chance_and_keeps_the_rest() -> None:
    hot = Sampling(1.3, 0.9, 40, 17, ("\n",), top2=True)
    assert hot.greedy() == Sampling(0.0, 1.0, 0, 17, ("\n",), top2=True)


def test_a_context_grows_and_leaves_the_old_one_alone() -> None:
    begun = Context((), (Segment("a"),))
    longer = begun.then(Segment("b", (1,), Origin.SAMPLED))
    assert [s.text for s in longer.reply] == ["a", "b"]
    assert len(begun.reply) == 1
