"""Answers, grades and verdicts: one vocabulary for the whole project."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Verdict(StrEnum):
    """What a grader says of one text. The only verdict enum there is."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    NO_ANSWER = "no_answer"  # nothing could be extracted
    UNGRADABLE = "ungradable"  # the reference itself cannot be read: leaves the denominator
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Answer:
    """A value extracted from a text, with the characters [start, end) of that text it was read from."""

    value: str
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Grade:
    """A verdict, the answer it is about, and why."""

    verdict: Verdict
    answer: str | None = None
    reason: str = ""

    @property
    def correct(self) -> bool:
        """Whether the verdict is CORRECT."""
        return self.verdict is Verdict.CORRECT


class Reading(Protocol):
    """How answers are read from a reply and when two are the same. Free of references: votes are cast on it."""

    def extract(self, reply: str) -> Answer | None:
        """The answer in ``reply``, with offsets into it; None when there is none."""
        ...

    def key(self, value: str) -> str:
        """Equal keys mean the same answer (an equivalence)."""
        ...
