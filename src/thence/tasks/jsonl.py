"""A user's own questions from a file, with or without references.

``jsonl(file=my.jsonl, question=prompt, answer=target)``. The columns are named; dots lead into nested objects. A
question is a text or a list of chat messages. With ``grader`` the user's function decides, with or without an answer
column; with ``extract`` the user's rule finds the answer in a reply.

Without ``extract`` the answer is what follows a marker (``####``, ``The answer is``, ``\\boxed{}``). Whether numbers
or text are looked for is a property of the whole file, so that no single reference decides how a reply is read: all
references numbers, none, or mixed (also: no references), where a number after the marker goes before text. A file in
which a reference that is no number holds LaTeX commands, and any with ``answers=math``, is read and compared by
``grading.mathematics``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from thence.core.answers import Grade, Reading, Verdict
from thence.core.errors import DataError, UsageError
from thence.core.problem import Message, Problem, Speaker
from thence.core.seeds import digest
from thence.grading.custom import CustomReading
from thence.grading.extract import AutoReading, NumericReading, TextReading
from thence.grading.grade import grade_answer, is_mathematical, is_numeric, read_reference
from thence.grading.mathematics import MathReading, grade_math, reference_answer
from thence.grading.worker import ToGrade, check, grade_many

from .files import MISSING, Row, as_text, field, need_column, read_rows
from .spec import write_spec


class Jsonl:
    """Problems of a .jsonl, .json or .csv file (gzipped or not), in the file's order.

    ``question``, ``answer`` and ``id`` name columns. ``answer=none`` means no references; left out, a column named
    ``answer`` is taken if there is one. ``id`` left out numbers the rows. ``system`` is a system message put before
    each question. ``extract`` is a regex, ``json:path`` or ``module:fn``; ``grader`` is ``module:fn``. ``answers`` is
    ``auto`` (numbers, text or mathematics, by the references), ``math`` or ``plain`` (numbers or text).
    """

    name = "jsonl"
    default_prompt = "cot"

    def __init__(
        self,
        file: str | None = None,
        question: str = "question",
        answer: str | None = "",
        id: str | None = None,
        system: str | None = None,
        extract: str | None = None,
        grader: str | None = None,
        answers: Literal["auto", "math", "plain"] = "auto",
    ) -> None:
        if answers not in ("auto", "math", "plain"):
            raise UsageError(f"jsonl: answers is {answers!r}; it must be auto, math or plain")
        if answers == "math" and grader is not None:
            raise UsageError("jsonl: give answers=math or grader=, not both; a grader compares answers itself")
        if not file:
            raise UsageError("jsonl needs file=PATH; e.g. jsonl(file=questions.jsonl, question=prompt, answer=target)")
        self._arguments = {
            "file": file,
            "question": question if question != "question" else None,
            "answer": "none" if answer is None else answer or None,
            "id": id,
            "system": system,
            "extract": extract,
            "grader": grader,
            "answers": None if answers == "auto" else answers,
        }
        if grader is not None:
            check(grader, "grade")
        rows = read_rows(file, self.name)
        need_column(rows, question, "question", f"jsonl: {file}")
        if answer == "":
            answer = "answer" if field(rows[0], "answer") is not MISSING else None
        elif answer is not None:
            need_column(rows, answer, "answer", f"jsonl: {file}")
        if id is not None:
            need_column(rows, id, "id", f"jsonl: {file}")
        self.file, self.grader = file, grader
        self._references: dict[str, str] = {}
        self._problems = self._read(rows, question, answer, id, system)
        self._with_answers = answer is not None
        found = answers == "auto" and grader is None and any(map(is_mathematical, self._references.values()))
        self.math = answers == "math" or found
        self._reading: Reading = CustomReading(extract) if extract else self._natural_reading()

    def _read(
        self, rows: Sequence[Row], question: str, answer: str | None, id: str | None, system: str | None
    ) -> tuple[Problem, ...]:
        problems: list[Problem] = []
        first: dict[str, str] = {}
        for number, row in enumerate(rows, 1):
            where = f"jsonl: {self.file}, {row.where}"
            asked = _question(_need(row, question, where), where, question)
            name = f"{number:04d}" if id is None else as_text(_need(row, id, where)).strip()
            if not name:
                raise DataError(f"{where}: column {id!r} is empty; every problem needs an id (or leave id= out)")
            if name in first:
                raise DataError(f"{where}: id {name!r} is also that of {first[name]}; ids must differ")
            first[name] = row.where
            if system is not None:
                turns = asked if isinstance(asked, tuple) else (Message("user", asked),)
                asked = (Message("system", system), *turns)
            problems.append(Problem(_valid(name, where, str(id)), asked))
            if answer is not None:
                self._references[name] = _valid(as_text(_need(row, answer, where)), where, answer)
        return tuple(problems)

    def _natural_reading(self) -> Reading:
        if self.math:
            return MathReading()
        numeric = {is_numeric(gold) for gold in self._references.values() if gold.strip()}
        if numeric == {True}:
            return NumericReading()
        return TextReading() if numeric == {False} else AutoReading()

    @property
    def spec(self) -> str:
        """The task as it is written on the command line."""
        return write_spec(self.name, self._arguments)

    @property
    def reading(self) -> Reading:
        """How answers are found in replies."""
        return self._reading

    @property
    def has_references(self) -> bool:
        """Whether replies can be graded: there is an answer column or a grader."""
        return self._with_answers or self.grader is not None

    @property
    def data_hash(self) -> str:
        """Hash of all questions with their references: other data is another run."""
        return digest([(p.id, p.hash, self._references.get(p.id)) for p in self._problems])

    def problems(self) -> Sequence[Problem]:
        """The questions in the file's order."""
        return self._problems

    def reference(self, problem: Problem) -> str | None:
        """The answer column's text; None without one."""
        return self._references.get(problem.id)

    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """The user's grader, or exact equality with the reference."""
        return self.grade_all([(problem, reply, answer)])[0]

    def grade_all(self, items: Sequence[tuple[Problem, str, str | None]]) -> list[Grade]:
        """``grade`` for many (problem, reply, answer), much faster than one by one where there is a grader."""
        if self.grader is not None:
            asked = [
                ToGrade(self._references.get(problem.id), answer, reply, problem.text)
                for problem, reply, answer in items
            ]
            return grade_many(self.grader, asked)
        return [self._grade(*item) for item in items]

    def _grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        gold = self._references.get(problem.id)
        if gold is None:
            return Grade(Verdict.UNGRADABLE, answer, "there is no reference")
        given = self._compare(gold, answer)
        if given.verdict is Verdict.NO_ANSWER and isinstance(self._reading, CustomReading):
            found = self._reading.look(reply)
            verdict = Verdict.TIMEOUT if found.timeout else Verdict.NO_ANSWER
            return Grade(verdict, None, found.reason or given.reason)
        return given

    def _compare(self, gold: str, answer: str | None) -> Grade:
        return grade_math(reference_answer(gold), answer) if self.math else grade_answer(gold, answer)

    def _as_answered(self, gold: str) -> str:
        """A reference as a model would answer it: without the solution or the unit around it."""
        if self.math:
            return reference_answer(gold)
        number = read_reference(gold).number
        return gold if number is None else str(number)

    def check_references(self) -> list[tuple[str, str]]:
        """References that are empty, cannot be read, or that the user's grader does not accept."""
        if not self._with_answers:
            return []
        if self.grader is None:
            grades = [self._compare(gold, self._as_answered(gold)) for gold in self._references.values()]
        else:
            items = [(p, self._references[p.id], self._as_answered(self._references[p.id])) for p in self._problems]
            grades = self.grade_all(items)
        return [
            (p.id, g.reason or str(g.verdict)) for p, g in zip(self._problems, grades, strict=True) if not g.correct
        ]


def _need(row: Row, column: str, where: str) -> Any:
    value = field(row, column)
    if value is MISSING:
        raise DataError(f"{where}: there is no column {column!r} in this row; the first row has it")
    return value


def _question(value: Any, where: str, column: str) -> str | tuple[Message, ...]:
    if not isinstance(value, list):
        text = as_text(value)
        if not text.strip():
            raise DataError(f"{where}: the question (column {column!r}) is empty; write a question or drop the row")
        return _valid(text, where, column)
    turns = []
    for turn in value:
        role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise DataError(
                f"{where}: column {column!r} holds a list that is no chat; "
                'each message is {"role": "system" | "user" | "assistant", "content": "…"}'
            )
        turns.append(Message(cast(Speaker, role), _valid(content, where, column)))
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise DataError(f"{where}: the chat in column {column!r} must end with a user message that is not empty")
    return tuple(turns)


def _valid(text: str, where: str, column: str) -> str:
    """``text``, if it is Unicode text; JSON can spell half a character (``"\\ud800"``), which no model can read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: column {column!r} has half a surrogate pair at character {error.start}") from None
    return text
