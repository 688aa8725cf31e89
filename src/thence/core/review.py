"""What is said to a model that reviews, improves or repeats its own solution, and how its verdict is read.

One chat: the question, the solution as the assistant's turn, the request. The wording of the first two requests is that
of Huang et al. 2023 (arXiv:2310.01798), with a way to say that nothing is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .problem import Message
from .search import Search
from .tree import Node

REVIEW = (
    "Review your previous answer and find problems with your answer. If you find none, write only: No problems found."
)
IMPROVE = "Based on the problems you found, improve your answer."
AGAIN = "There may be a mistake in your answer. Solve the question again, from the beginning."
REVIEW_STEP = (
    "The solution is not finished, and its last step may be wrong. Say what is wrong with that step and why. If nothing"
    " is, write only: No problems found."
)
_NOTHING = re.compile(r"\bno (?:problem|mistake|error|issue)s?\b[^.\n]{0,40}\bfound\b|\bfound no\b", re.IGNORECASE)


def asked(search: Search) -> tuple[Message, ...]:
    """The question as the prompt style puts it."""
    return search.context(search.root).messages


def said(search: Search, node: Node) -> Message:
    """The reply of a path as the assistant's turn: what the style forced before it, and no thought."""
    read = "".join(s.text for s in search.context(node).reply)
    begun = read[: len(read) - sum(len(n.text) for n in search.tree.path(node))]
    return Message("assistant", begun + search.tree.solution(node)[search.tree.reply_at(node) :])


def found_nothing(critique: Node) -> bool:
    """Whether a critique names no problem: it says so, or is empty."""
    reply = critique.completion.reply.strip()
    return not reply or _NOTHING.search(reply) is not None


def hinted(messages: Sequence[Message], hint: str) -> tuple[Message, ...]:
    """The same chat with ``hint`` below the last question."""
    last = max(i for i, m in enumerate(messages) if m.role == "user")
    below = Message("user", f"{messages[last].content}\n\n{hint}")
    return (*messages[:last], below, *messages[last + 1 :])


__all__ = ["AGAIN", "IMPROVE", "REVIEW", "REVIEW_STEP", "asked", "found_nothing", "hinted", "said"]
