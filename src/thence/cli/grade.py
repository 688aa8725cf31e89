"""``thence grade``: one text, or a file of saved outputs; a second grader beside; references; a grader's error rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from thence import methods
from thence.core.clean import one_line
from thence.core.errors import StoreError, ThenceError, UsageError
from thence.core.protocols import Task
from thence.evals.regrading.graders import ByTask, Grader, Kind, grader
from thence.evals.regrading.regrade import Regraded, regrade
from thence.evals.regrading.saved import (
    Columns,
    Saved,
    joined,
    saved_by_lm_eval,
    saved_in_export,
    saved_in_rows,
    saved_in_run,
)
from thence.grading.grade import grade as grade_text
from thence.stores.lm_eval import is_lm_eval
from thence.stores.sqlite import RunView
from thence.tasks.files import Row, read_rows, write_rows

from .outputs import spared
from .present import accuracy_text, out, percent, plain, print_json, table

RUN_SUFFIXES = (".db", ".sqlite")


@Parameter(name="*", group="Columns of the file")
@dataclass(frozen=True, slots=True)
class ColumnFlags:
    """Where things stand in FILE; dots lead into objects, and through lists into each of their entries."""

    gold: str | None = None
    """The reference answer (default: gold, reference, target, ground_truth, answer or solution)."""
    text: str | None = None
    """The text to grade, one or a list (default: text, completion, response, output, generation or prediction)."""
    label: str | None = None
    """A stored verdict, compared with the new one; of lm-eval samples the metric."""
    id: str | None = None
    """The problem's id; texts with one id belong together."""
    source: str | None = None
    """Who wrote the text: a column with the model's name."""
    question: str | None = None
    """The question, for graders that read it."""

    def columns(self) -> Columns:
        """The same for the library."""
        return Columns(self.gold, self.text, self.label, self.id, self.source, self.question)


@Parameter(name="*", group="How good is the grader?")
@dataclass(frozen=True, slots=True)
class AuditFlags:
    """Draw a sample to be labelled by hand, then read the labels."""

    audit_sample: int | None = None
    """Write so many texts to --output for labelling, the same number of each verdict, without the verdicts."""
    audit: Path | None = None
    """The labelled sample: estimate false accepts and rejects. The other arguments must be those of the draw."""
    seed: int = 0
    """Seed of the draw."""


def grade(
    file: str | None = None,
    reply: str | None = None,
    /,
    *,
    kind: Literal["completion", "answer"] | None = None,
    grader: str | None = None,
    against: str | None = None,
    task: str | None = None,
    self_check: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    show: int = 20,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    columns: ColumnFlags = ColumnFlags(),
    audit: AuditFlags = AuditFlags(),
) -> int:
    """Grade one text (thence grade GOLD TEXT), or a file of saved outputs (thence grade FILE).

    Parameters
    ----------
    file
        A run (.db), its export (.jsonl), lm-eval samples (.jsonl) or any .jsonl, .json or .csv; with a second
        argument the reference answer.
    reply
        The text to grade against it.
    kind
        completion: a whole reply, the answer has to be found first (default). answer: the answer alone.
    grader
        auto (by the reference), numeric, text, math, math-verify, FILE.py:FUNCTION or MODULE:FUNCTION. Default: the
        task's own, else auto.
    against
        A second grader: list where the two disagree.
    task
        The task that the texts answer: its references and its grader. Default for a run: its own.
    self_check
        Grade a task's references against themselves; may be repeated. all: every bundled task that needs no file and
        no network.
    show
        How many disagreements to print; --json and --output have all.
    output
        Write every text with its verdict and the reason to this .jsonl file.
    json
        Print one JSON object.
    """
    if self_check:
        from .self_check import check_references

        return check_references(self_check, json)
    if file is None and columns.gold is not None and columns.text is not None:
        file, reply = columns.gold, columns.text  # thence grade --gold 18 --text "…"
    if file is None:
        raise UsageError("what is to be graded? thence grade GOLD TEXT, thence grade FILE, or --self-check TASK")
    if reply is not None:
        return _one_text(file, reply, kind or "completion", grader, json)
    if audit.audit_sample is not None and output is None:
        raise UsageError("--audit-sample needs a file for the sample: --output SAMPLE.jsonl")
    spared(output, file, audit.audit)
    graded = _graded(file, columns.columns(), kind, grader, against, task)
    if audit.audit_sample is not None:
        from .auditing import write_sample

        assert output is not None
        return write_sample(graded, audit.audit_sample, audit.seed, output)
    if audit.audit is not None:
        from .auditing import show_audit

        return show_audit(graded, audit.audit, audit.seed, json)
    if output is not None:
        write_rows(output, (graded.row(i) for i in range(len(graded.items))))
    if json:
        print_json({"file": file, **graded.document()})
    else:
        _show(graded, file, show)
        if output is not None:
            out.print(plain(f"verdicts {output}", "dim"))
    return 0


def _one_text(gold: str, text: str, kind: Kind, name: str | None, json: bool) -> int:
    if name in (None, "auto"):
        made = grade_text(gold, text, kind=kind)
    else:
        (made,) = grader(name or "auto", kind).grades([Saved("1", "", text, gold)])
    if json:
        print_json({"verdict": str(made.verdict), "answer": made.answer, "reason": made.reason})
    else:
        out.print(plain(f"{made.verdict}  answer {made.answer!r}  {made.reason}".rstrip()))
    return 0 if made.correct else 1


# ---------------------------------------------------------------------------------------------------- reading


def _graded(
    file: str, columns: Columns, kind: Kind | None, name: str | None, against: str | None, task_text: str | None
) -> Regraded:
    if columns.text == "filtered_resps" and kind is None:
        kind = "answer"
    kind = kind or "completion"
    own_grader = name is not None and ":" in name
    items, task = _read(file, columns, task_text, own_grader)
    by: Grader = ByTask(task, kind) if name is None and task is not None else grader(name or "auto", kind)
    return regrade(items, by, None if against is None else grader(against, kind))


def _read(file: str, columns: Columns, task_text: str | None, own_grader: bool) -> tuple[list[Saved], Task | None]:
    """The texts of a file of any of the four kinds, and the task that they answer, if it is known."""
    path, what = Path(file), "grade"
    if path.suffix in RUN_SUFFIXES:
        if columns != Columns():
            raise UsageError(f"{file} is a run, which has no columns; leave out --text, --gold, --label and the like")
        with RunView(path) as run:
            task = _task_of(run.header, task_text, file)
            return _some(saved_in_run(run, task), file), task
    if not path.suffix and not path.exists():
        raise UsageError(f"there is no file {file!r}; to grade one text write: thence grade GOLD TEXT")
    rows = read_rows(file, what)
    what = f"{what}: {file}"
    if rows[0].fields.get("kind") in ("header", "eval", "compare") and "task" in rows[0].fields:
        task = _task_of(rows[0].fields, task_text, file)
        return _some(saved_in_export(rows, task, what), file), task
    items = _of_rows(rows, columns, what, needs_gold=task_text is None and not own_grader)
    if task_text is None:
        return items, None
    task = methods.task(task_text)
    return joined(items, task, what), task


def _of_rows(rows: list[Row], columns: Columns, what: str, *, needs_gold: bool) -> list[Saved]:
    if is_lm_eval(rows[0].fields) and columns.text in (None, "resps", "filtered_resps"):
        return saved_by_lm_eval(rows, columns, what)
    return saved_in_rows(rows, columns, what, needs_gold=needs_gold)


def _task_of(header: dict[str, Any], task_text: str | None, file: str) -> Task:
    made_by = header.get("command", header.get("kind"))
    if made_by not in (None, "header", "eval", "compare"):
        raise UsageError(f"{file} comes from `thence {made_by}`; only runs of eval and compare hold answers to grade")
    spec = task_text or header.get("task")
    if not isinstance(spec, str):
        raise StoreError(f"{file} does not say which task it was made on; name it with --task")
    try:
        return methods.task(spec)
    except ThenceError as error:
        raise UsageError(f"{file}: its task cannot be built ({error}); name it with --task") from error


def _some(items: list[Saved], file: str) -> list[Saved]:
    if not items:
        raise StoreError(f"{file} holds no result yet, so there is nothing to grade")
    return items


# ---------------------------------------------------------------------------------------------------- printing


def _show(graded: Regraded, file: str, show: int) -> None:
    problems = len({item.id for item in graded.items})
    out.print(plain(f"{file}  grader {graded.grader}", "bold"))
    out.print(plain(f"{len(graded.items):,} texts of {problems:,} problems"))
    counts = graded.counts()
    rows = [
        [str(v).replace("_", " "), f"{s.count:,}", _interval(s.share, s.interval)] for v, s in counts.items()
    ]  # fmt: skip
    out.print(table("", ["verdict", "texts", "share [95 %]"], rows, right=(1, 2)))
    accuracy = graded.accuracy()
    out.print(
        plain(f"accuracy {_interval(accuracy.share, accuracy.interval)} of the {accuracy.n:,} that can be graded")
    )
    _show_sources(graded)
    if graded.labels().n:
        _show_labels(graded, show)
    if graded.second is not None:
        _show_opinions(graded, show)


def _show_sources(graded: Regraded) -> None:
    sources = graded.sources()
    if len(sources) < 2:
        return
    labelled = graded.labels().n > 0
    rows = []
    for name in sources:
        s, cells = graded.accuracy(name), graded.labels(name)
        by_label = [percent((cells.both + cells.first_only) / cells.n if cells.n else None)] if labelled else []
        wrong = [str(cells.second_only), str(cells.first_only)] if labelled else []
        rows.append([one_line(name, 60), f"{s.n:,}", _interval(s.share, s.interval), *by_label, *wrong])
    more = ["by label", "wrong → right", "right → wrong"] if labelled else []
    out.print(table("", ["source", "texts", "accuracy [95 %]", *more], rows, right=(1, 2, 3, 4, 5)))
    if labelled:
        out.print(plain("wrong → right: the label says wrong, the grader says right", "dim"))


def _show_labels(graded: Regraded, show: int) -> None:
    cells = graded.labels()
    rows = [
        ["label right", f"{cells.both:,}", f"{cells.first_only:,}"],
        ["label wrong", f"{cells.second_only:,}", f"{cells.neither:,}"],
    ]
    out.print(table("stored labels", ["", "grader right", "grader wrong"], rows, right=(1, 2)))
    places = graded.mislabelled()
    out.print(plain(f"{len(places):,} of {cells.n:,} labels disagree with the grader"))
    lines = [
        [
            *_where(graded, i),
            "right" if graded.items[i].label else "wrong",
            str(graded.grades[i].verdict),
            _why(graded, i),
        ]
        for i in places[:show]
    ]
    _show_list(["", "id", "source", "gold", "label", "grader", "reason"], lines, len(places))


def _show_opinions(graded: Regraded, show: int) -> None:
    cells = graded.opinions()
    first, second = graded.grader, graded.against
    rows = [
        [f"{first}: correct", f"{cells.both:,}", f"{cells.first_only:,}"],
        [f"{first}: not", f"{cells.second_only:,}", f"{cells.neither:,}"],
    ]
    out.print(table("two graders", ["", f"{second}: correct", f"{second}: not"], rows, right=(1, 2)))
    places = graded.disputed()
    out.print(plain(f"{len(places):,} of {cells.n:,} texts are disputed"))
    assert graded.second is not None
    lines = [
        [*_where(graded, i), f"{graded.grades[i].verdict}: {_why(graded, i)}",
         f"{graded.second[i].verdict}: {one_line(graded.second[i].reason, 120)}"]
        for i in places[:show]
    ]  # fmt: skip
    _show_list(["", "id", "source", "gold", first, second], lines, len(places))


def _show_list(columns: list[str], lines: list[list[str]], total: int) -> None:
    if not lines:
        return
    used = [i for i in range(len(columns)) if any(line[i] for line in lines)]
    out.print(table("", [columns[i] for i in used], [[line[i] for i in used] for line in lines]))
    if total > len(lines):
        out.print(plain(f"and {total - len(lines):,} more; --show, --json or --output has them", "dim"))


def _where(graded: Regraded, i: int) -> list[str]:
    item = graded.items[i]
    gold = (item.gold or "").rpartition("####")[2].strip()
    return [one_line(item.where, 40), one_line(item.id, 40), one_line(item.source, 40), one_line(gold, 60)]


def _why(graded: Regraded, i: int) -> str:
    return one_line(graded.grades[i].reason, 120)


def _interval(share: float, interval: tuple[float, float]) -> str:
    return accuracy_text({"accuracy": share, "interval": interval})
