"""Graders of saved texts: thence's own, a task's, a user's function, math-verify; chosen by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from thence.core.answers import Answer, Grade, Reading, Verdict
from thence.core.completion import split_thought
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.grading.extract import NumericReading, TextReading, canonical
from thence.grading.grade import grade, grade_answer, read_reference
from thence.grading.mathematics import MathReading, grade_math, reference_answer
from thence.grading.worker import ToGrade, check, grade_many

from .saved import Saved

Kind = Literal["completion", "answer"]
NAMES = ("auto", "numeric", "text", "math", "math-verify")
NO_REFERENCE = "there is no reference"


class Grader(Protocol):
    """Something that grades saved texts against their references."""

    @property
    def name(self) -> str: ...

    def grades(self, items: Sequence[Saved]) -> list[Grade]:
        """One grade per item, in order."""
        ...


@runtime_checkable
class GradesMany(Protocol):
    """A task that grades many replies at once much faster than one by one."""

    def grade_all(self, items: Sequence[tuple[Problem, str, str | None]]) -> list[Grade]: ...


@dataclass(frozen=True, slots=True)
class ByReference:
    """thence's own graders. ``auto``: the kind of comparison follows each reference (``grading.grade``)."""

    name: str = "auto"
    kind: Kind = "completion"

    def grades(self, items: Sequence[Saved]) -> list[Grade]:
        """One after another, in this process."""
        return [self._grade(item) for item in items]

    def _grade(self, item: Saved) -> Grade:
        if item.gold is None:
            return Grade(Verdict.UNGRADABLE, None, NO_REFERENCE)
        if self.name == "auto":
            return grade(item.gold, item.text, self.kind)
        answer: Answer | str | None = item.text
        if self.kind == "completion":
            answer = _READINGS[self.name].extract(item.text[split_thought(item.text)[1] :])
        if self.name == "math":
            return grade_math(reference_answer(item.gold), answer)
        return _grade_text(item.gold, answer) if self.name == "text" else _grade_number(item.gold, answer)


_READINGS: dict[str, Reading] = {"numeric": NumericReading(), "text": TextReading(), "math": MathReading()}


def _grade_number(gold: str, answer: Answer | str | None) -> Grade:
    """As numbers; a reference that is a whole solution counts as the number that it ends in."""
    if read_reference(gold).text is not None:
        found = _READINGS["numeric"].extract(gold)
        if found is None:
            return Grade(Verdict.UNGRADABLE, None, "the reference holds no number")
        gold = found.value
    return grade_answer(gold, answer)


def _grade_text(gold: str, answer: Answer | str | None) -> Grade:
    value = answer.value if isinstance(answer, Answer) else answer
    if not canonical(gold):
        return Grade(Verdict.UNGRADABLE, value, "the reference is empty")
    if value is None or not value.strip():
        return Grade(Verdict.NO_ANSWER, None, "no answer was found")
    same = canonical(value) == canonical(gold)
    reason = f"expected {canonical(gold)[:80]!r}, found {canonical(value)[:80]!r}"
    return Grade(Verdict.CORRECT if same else Verdict.INCORRECT, value, reason)


@dataclass(frozen=True, slots=True)
class ByFunction:
    """A function in the killable worker: a user's own, or math-verify. It also sees the answer that thence finds."""

    name: str
    how: str
    kind: Kind = "completion"
    needs_reference: bool = False

    def grades(self, items: Sequence[Saved]) -> list[Grade]:
        """All at once, pipelined."""
        if not self.needs_reference:
            return grade_many(self.how, [self._seen(item) for item in items])
        known = [item for item in items if item.gold is not None and item.gold.strip()]
        made = iter(grade_many(self.how, [self._seen(item) for item in known]))
        missing = Grade(Verdict.UNGRADABLE, None, NO_REFERENCE)
        return [next(made) if item.gold is not None and item.gold.strip() else missing for item in items]

    def _seen(self, item: Saved) -> ToGrade:
        reply = item.text[split_thought(item.text)[1] :]
        answer = item.text if self.kind == "answer" else item.answer
        if answer is None:
            numeric = item.gold is None or read_reference(item.gold).text is None
            found = _READINGS["numeric" if numeric else "text"].extract(reply)
            answer = found.value if found is not None else None
        return ToGrade(item.gold, answer, reply, item.question)


@dataclass(frozen=True, slots=True)
class ByTask:
    """The grader of the task that the texts belong to; each item names its problem."""

    task: Task
    kind: Kind = "completion"

    @property
    def name(self) -> str:
        """The task's name."""
        return f"task {self.task.name}"

    def grades(self, items: Sequence[Saved]) -> list[Grade]:
        """The answer that the record holds, else the one that the task's reading finds in the reply."""
        asked = [self._asked(item) for item in items]
        if isinstance(self.task, GradesMany):
            return self.task.grade_all(asked)
        return [self.task.grade(*each) for each in asked]

    def _asked(self, item: Saved) -> tuple[Problem, str, str | None]:
        assert item.problem is not None
        reply = item.text[split_thought(item.text)[1] :]
        if self.kind == "answer":
            return item.problem, reply, item.text or None
        if item.answer is not None:
            return item.problem, reply, item.answer
        found = self.task.reading.extract(reply)
        return item.problem, reply, None if found is None else found.value


def grader(name: str, kind: Kind = "completion") -> Grader:
    """A grader by its name on the command line; UsageError for one that is not there."""
    if name == "math-verify":
        from . import second_opinion

        second_opinion.check_installed()
        how = second_opinion.GRADER if kind == "completion" else second_opinion.GRADER_OF_ANSWERS
        return ByFunction(name, how, kind, needs_reference=True)
    if name in NAMES:
        return ByReference(name, kind)
    if ":" not in name:
        raise UsageError(f"unknown grader {name!r}; it is {', '.join(NAMES)}, FILE.py:FUNCTION or MODULE:FUNCTION")
    check(name, "grade")
    return ByFunction(name, name, kind)
