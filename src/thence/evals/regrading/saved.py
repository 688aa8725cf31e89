"""Saved model outputs, read for grading: of a run, of an exported run, of lm-eval, or of any file with columns.

Every text becomes one ``Saved``. A row of a file may hold several texts: a column's name with dots leads into objects,
and where it meets a list it goes on in every entry (``solutions.text``), so do label and source beside it. A run file
holds no references: they come from its task, which is built anew from the run's header.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from thence.core.answers import Verdict
from thence.core.clean import one_line
from thence.core.errors import DataError, UsageError
from thence.core.problem import Problem
from thence.core.protocols import Task
from thence.core.seeds import digest
from thence.stores.export import asked_in, chosen_text, reference_of
from thence.stores.lm_eval import INVALID, is_lm_eval, read_sample
from thence.stores.sqlite import Cell, RunView
from thence.tasks.files import MISSING, Row, as_text

GOLD = ("gold", "reference", "target", "ground_truth", "answer", "solution")
TEXT = ("text", "completion", "response", "output", "generation", "prediction")
ID = ("id", "idx", "problem_id", "question_id", "task_id", "unique_id")
_YES = frozenset(("true", "1", "1.0", "yes", "right", "correct", str(Verdict.CORRECT)))
_NO = frozenset(("false", "0", "0.0", "no", "wrong", *(str(v) for v in Verdict if v is not Verdict.CORRECT)))


@dataclass(frozen=True, slots=True)
class Saved:
    """One saved text.

    ``gold`` is its reference (None: there is none here). ``answer`` is the answer where the record holds it apart from
    the text, ``label`` whether the record calls it right (None: it does not say). ``problem`` is set where a task
    grades.
    """

    id: str
    where: str
    text: str
    gold: str | None = None
    answer: str | None = None
    label: bool | None = None
    source: str = ""
    question: str = ""
    problem: Problem | None = None

    def key(self, copy: int = 0) -> str:
        """Who this text is, whatever any grader says of it; ``copy`` counts equal ones."""
        return digest(self.id, self.source, self.gold, self.text, copy)[:16]


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns; None for one that is found by its usual names (gold, text, id) or not read (the others)."""

    gold: str | None = None
    text: str | None = None
    label: str | None = None
    id: str | None = None
    source: str | None = None
    question: str | None = None


def saved_in_rows(rows: Sequence[Row], columns: Columns, what: str, *, needs_gold: bool = True) -> list[Saved]:
    """The texts of a file with columns; ``what`` begins the text of errors.

    ``needs_gold`` False: a file without a reference column is no error (a task or the user's own grader knows more).
    """
    first = rows[0].fields
    gold = columns.gold or next((name for name in GOLD if name in first), None)
    text = columns.text or next((name for name in TEXT if name in first), None)
    named = replace(columns, gold=gold, text=text, id=columns.id or next((name for name in ID if name in first), None))
    if text is None:
        raise UsageError(_no_column(first, "a text to grade", "--text", what))
    if gold is None and needs_gold:
        raise UsageError(_no_column(first, "a reference", "--gold", what))
    for option in ("gold", "text", "label", "id", "source", "question"):
        column = getattr(named, option)
        if column is not None and spread(first, column) is None:
            raise UsageError(_no_column(first, f"no column {column!r}", f"--{option}", what, column))
    return [item for number, row in enumerate(rows, 1) for item in _texts_of(row, named, number, what)]


def _texts_of(row: Row, columns: Columns, number: int, what: str) -> Iterator[Saved]:
    where = f"{what}, {row.where}"
    assert columns.text is not None
    texts = spread(row.fields, columns.text)
    if texts is None:
        raise DataError(f"{where}: there is no column {columns.text!r} in this row; the first row has it")

    def beside(column: str | None, *, entries: bool = True) -> list[Any]:
        """One value per text: a column of its own entries, or one for the whole row."""
        if column is None:
            return [None] * len(texts)
        found = spread(row.fields, column, entries=entries)
        if found is None or len(found) not in (1, len(texts)):
            have = "no value" if found is None else f"{len(found)} values"
            raise DataError(f"{where}: column {column!r} has {have} for {len(texts)} texts")
        return found * len(texts) if len(found) == 1 else found

    ids, sources, questions = beside(columns.id), beside(columns.source), beside(columns.question, entries=False)
    golds, labels = beside(columns.gold, entries=False), beside(columns.label)
    for i, text in enumerate(texts):
        yield Saved(
            id=as_text(ids[i]) or f"{number:04d}",
            where=row.where,
            text=as_text(text),
            gold=None if columns.gold is None else as_text(golds[i]),
            label=read_label(labels[i], f"{where}, column {columns.label!r}"),
            source=as_text(sources[i]),
            question=as_text(questions[i]),
        )


def saved_by_lm_eval(rows: Sequence[Row], columns: Columns, what: str) -> list[Saved]:
    """The texts of an lm-eval samples file. ``columns.text`` may be ``resps`` (default) or ``filtered_resps``;
    ``columns.label`` names the metric. The filter is the source. A metric labels a line with one text only: with
    repeats it is about all of them together."""
    made = []
    for row in rows:
        where = f"{what}, {row.where}"
        if not is_lm_eval(row.fields):
            raise DataError(f"{where}: this is no line of an lm-eval samples file, and the first line is one")
        sample = read_sample(row.fields, where, "filtered_resps" if columns.text == "filtered_resps" else "resps")
        metric = sample.metric(columns.label) if len(sample.texts) == 1 else None
        if metric is not None and metric not in (0.0, 1.0):
            if columns.label is not None:
                raise DataError(f"{where}: the metric {columns.label!r} is {metric}; a label is 0 or 1")
            metric = None
        made += [
            Saved(
                id=sample.doc_id,
                where=row.where,
                text="" if text == INVALID else text,
                gold=sample.target,
                label=None if metric is None else metric == 1.0,
                source=sample.filter,
                question=sample.prompt,
            )
            for text in sample.texts
        ]
    return made


def saved_in_run(run: RunView, task: Task) -> list[Saved]:
    """What a run chose for every problem, with its stored verdict; ``task`` is the run's own."""
    found = ((c, p, {**r, "tree": run.tree(c, p)}) for c in run.cells() for p, r in run.results(c).items())
    return _of_results(found, task, str(run.path))


def saved_in_export(rows: Sequence[Row], task: Task, what: str) -> list[Saved]:
    """The same of a run that ``thence export`` wrote as JSONL; without ``--trees`` only answers are graded."""
    found = (
        (Cell(str(r["arm"]), int(r["seed"]), r["budget"]), str(r["problem"]), r)
        for r in (row.fields for row in rows)
        if r.get("kind") == "result"
    )
    return _of_results(found, task, what)


def _of_results(found: Iterable[tuple[Cell, str, Mapping[str, Any]]], task: Task, what: str) -> list[Saved]:
    problems = {problem.id: problem for problem in task.problems()}
    made = []
    for cell, name, record in found:
        problem = asked_in({"problem": name, **record}, problems.get(name), what)
        answer, verdict = record.get("answer"), record.get("verdict")
        made.append(
            Saved(
                id=name,
                where=f"seed {cell.seed}" + (f", budget {cell.budget}" if cell.budget else ""),
                text=chosen_text(record) or record.get("text") or answer or "",
                gold=reference_of(task, problem),
                answer=answer,
                label=None if verdict in (None, Verdict.UNGRADABLE) else verdict == Verdict.CORRECT,
                source=cell.arm,
                question=problem.text,
                problem=problem,
            )
        )
    return made


def joined(items: Sequence[Saved], task: Task, what: str) -> list[Saved]:
    """``items`` with the problems of ``task``: by id, else by question, else, for whole-number ids, by the position
    in the task (from 0). One way for the whole file; UsageError when none fits every text."""
    problems = list(task.problems())
    by_id = {p.id: p for p in problems}
    by_question = {_squeezed(p.text): p for p in problems}
    ways: list[list[Problem | None]] = [
        [by_id.get(item.id) for item in items],
        [by_question.get(_squeezed(item.question)) for item in items],
        [problems[int(i.id)] if i.id.isdecimal() and int(i.id) < len(problems) else None for i in items],
    ]
    for found in ways:
        if all(problem is not None for problem in found):
            return [
                replace(
                    item, problem=p, question=p.text, gold=reference_of(task, p) if item.gold is None else item.gold
                )
                for item, p in zip(items, found, strict=True)
                if p is not None
            ]
    best = max(ways, key=lambda found: sum(p is not None for p in found))
    lost = next(item for item, problem in zip(items, best, strict=True) if problem is None)
    raise UsageError(
        f"{what}: {one_line(lost.id, 80)!r} ({lost.where}) is no problem of {one_line(task.spec, 200)}, neither by id, "
        "question nor row; say where they stand: --id COLUMN or --question COLUMN"
    )


def _of_problem(item: Saved, problem: Problem, task: Task) -> Saved:
    gold = reference_of(task, problem) if item.gold is None else item.gold
    return replace(item, problem=problem, question=problem.text, gold=gold)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def read_label(value: Any, where: str) -> bool | None:
    """Whether a label says right: a truth value, 0 or 1, a word or a verdict; None when it is empty."""
    if value is None or value == "":
        return None
    said = str(value).strip().lower()
    if said in _YES:
        return True
    if said in _NO:
        return False
    raise DataError(f"{where}: {one_line(str(value), 60)!r} is no label; write true or false (1, 0, right, wrong)")


def spread(fields: Mapping[str, Any], column: str, *, entries: bool = True) -> list[Any] | None:
    """The values of a column: one, or one for each entry of the lists on the way (and, with ``entries``, of a list at
    its end). None when the row, or one of the entries, has no such column."""
    values: list[Any] = [fields[column]] if column in fields else list(_walk(fields, column.split(".")))
    if any(value is MISSING for value in values):
        return None
    if entries and len(values) == 1 and isinstance(values[0], list):
        return list(values[0])
    return values


def _walk(value: Any, parts: Sequence[str]) -> Iterator[Any]:
    if not parts:
        yield value
    elif isinstance(value, Mapping) and parts[0] in value:
        yield from _walk(value[parts[0]], parts[1:])
    elif isinstance(value, list) and parts[0].isdecimal() and int(parts[0]) < len(value):
        yield from _walk(value[int(parts[0])], parts[1:])
    elif isinstance(value, list):
        for entry in value:
            yield from _walk(entry, parts)
    else:
        yield MISSING


def _names(value: Any, prefix: str = "", depth: int = 0) -> Iterator[str]:
    if isinstance(value, list) and value and depth < 3:
        value = value[0]
    if isinstance(value, Mapping) and depth < 3:
        for name, inner in value.items():
            yield f"{prefix}{name}"
            yield from _names(inner, f"{prefix}{name}.", depth + 1)


def _no_column(fields: Mapping[str, Any], missing: str, option: str, what: str, column: str = "") -> str:
    there = list(_names(fields))
    close = difflib.get_close_matches(column, there, n=1, cutoff=0.5) if column else []
    said = f"there is {missing}" if column else f"which column is {missing}? Say so with {option}"
    hint = f"did you mean {option} {close[0]}? " if close else ""
    listed = ", ".join(there[:20]) + (", …" if len(there) > 20 else "")
    return one_line(f"{what}: {said}; {hint}the columns are {listed}", 1000)
