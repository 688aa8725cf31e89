"""What is asked: a question without its reference answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Literal

from .errors import UsageError

Speaker = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Speaker
    content: str


@dataclass(frozen=True)
class Problem:
    """One question. It never holds its reference answer, so a strategy cannot leak what it does not have.

    ``family`` names the kind of question for prompts that depend on it (supervised CoT); it must not depend on
    the answer.
    """

    id: str
    question: str | tuple[Message, ...]
    family: str = ""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise UsageError(f"problem {self.id!r}: the question is empty; write a question")

    @property
    def messages(self) -> tuple[Message, ...]:
        """The question as chat messages."""
        if isinstance(self.question, str):
            return (Message("user", self.question),)
        return self.question

    @property
    def text(self) -> str:
        """The question as one text (the user's turns)."""
        if isinstance(self.question, str):
            return self.question
        return "\n".join(m.content for m in self.question if m.role == "user")

    @cached_property
    def hash(self) -> str:
        """Hash of the content alone: equal questions have equal hashes in every task and run."""
        parts = "\x00".join(f"{m.role}\x01{m.content}" for m in self.messages)
        return blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
