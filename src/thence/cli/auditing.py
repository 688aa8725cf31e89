"""``thence grade FILE --audit-sample N`` and ``--audit LABELS``: a sample to label by hand, and what the labels say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from thence.core.clean import one_line
from thence.core.errors import DataError, ThenceError, UsageError, check_counts
from thence.evals.regrading.audit import Audit, Estimate, audit, draw, strata
from thence.evals.regrading.regrade import Regraded
from thence.evals.regrading.saved import read_label
from thence.tasks.files import read_rows, write_rows

from .present import accuracy_text, out, plain, print_json, table

HEADER = "audit sample"
LABEL = "right"


def write_sample(graded: Regraded, n: int, seed: int, output: Path) -> int:
    """Write the texts to label: with reference and question, without verdict, answer, source or stored label."""
    check_counts("audit", 0, seed=seed)
    if done := _labels_in(output):
        raise UsageError(
            f"{output} holds {done} labels, which would be lost; read them with --audit {output}, or write the sample "
            "to another file"
        )
    keys = _keys(graded)
    chosen = draw([g.verdict for g in graded.grades], n, seed)
    header = {"kind": HEADER, "n": n, "seed": seed, "grader": graded.grader, "texts": len(graded.items)}
    rows: list[dict[str, Any]] = [header]
    for i in chosen:
        item = graded.items[i]
        rows.append({"key": keys[i], "question": item.question, "gold": item.gold, "text": item.text, LABEL: None})
    write_rows(output, rows)
    out.print(plain(f"{output}: {len(chosen):,} texts of {len(graded.items):,}; write true or false into {LABEL!r}"))
    return 0


def _labels_in(path: Path) -> int:
    """How many texts of a sample that is there have a label; 0 for a file that is no sample."""
    if not path.is_file():
        return 0
    try:
        rows = read_rows(path, "grade")
    except ThenceError:
        return 0
    return sum(row.fields.get(LABEL) is not None for row in rows if "key" in row.fields)


def show_audit(graded: Regraded, labels: Path, seed: int, json: bool) -> int:
    """Read the labels and print the grader's error rates."""
    made = audit(strata([g.verdict for g in graded.grades], _labelled(graded, labels, seed)))
    if json:
        print_json({"grader": graded.grader, "labels": str(labels), **made.document()})
        return 0
    _show(made, graded.grader)
    return 0


def _keys(graded: Regraded) -> list[str]:
    """One key per text: of who it is, with a number where several are equal."""
    seen: Counter[str] = Counter()
    keys = []
    for item in graded.items:
        first = item.key()
        keys.append(item.key(seen[first]))
        seen[first] += 1
    return keys


def _labelled(graded: Regraded, labels: Path, seed: int) -> dict[int, bool]:
    """Place -> truly right. DataError unless the labels are of exactly the sample that this grading gives."""
    what = f"grade: {labels}"
    rows = read_rows(labels, "grade")
    header = rows.pop(0).fields if rows[0].fields.get("kind") == HEADER else {}
    found: dict[str, bool | None] = {}
    for row in rows:
        where = f"{what}, {row.where}"
        if "key" not in row.fields or LABEL not in row.fields:
            raise DataError(f"{where}: a row needs key and {LABEL}; label a file that --audit-sample wrote")
        key = str(row.fields["key"])
        if key in found:
            raise DataError(f"{where}: the key {one_line(key, 40)!r} is there twice; label each text once")
        found[key] = read_label(row.fields[LABEL], f"{where}, {LABEL}")
    keys = _keys(graded)
    drawn = draw([g.verdict for g in graded.grades], int(header.get("n", len(found))), int(header.get("seed", seed)))
    if {keys[i] for i in drawn} != set(found):
        was = f", grader {header['grader']}" if "grader" in header else ""
        raise DataError(
            f"{what}: these are not the texts that this grading draws (grader {graded.grader}{was}): the verdicts, or "
            "the file, have changed since, and with them every text's chance to be drawn. Give the arguments of the "
            "draw again, or draw a new sample"
        )
    return {i: right for i in drawn if (right := found[keys[i]]) is not None}


def _show(made: Audit, name: str) -> None:
    rows = [[str(s.verdict).replace("_", " "), f"{s.size:,}", str(s.labelled), str(s.right)] for s in made.strata]
    out.print(plain(f"audit of the grader {name}", "bold"))
    out.print(table("", ["verdict", "texts", "labelled", "truly right"], rows, right=(1, 2, 3)))
    figures = [
        ("false accepts", made.false_accepts, "of accepted texts: truly wrong"),
        ("false rejects", made.false_rejects, "of rejected texts: truly right"),
        ("false accept rate", made.false_accept_rate, "of truly wrong texts: accepted"),
        ("false reject rate", made.false_reject_rate, "of truly right texts: rejected"),
        ("true accuracy", made.true_accuracy, f"the grader says {100 * made.accuracy:.1f} %"),
    ]
    out.print(table("", ["", "estimate [95 %]", ""], [[n, _text(e), what] for n, e, what in figures], right=(1,)))


def _text(e: Estimate) -> str:
    if e.value is None:
        return "unknown"
    return accuracy_text({"accuracy": e.value, "interval": e.interval})
