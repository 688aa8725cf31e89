"""The grader measured: public hard cases, the golds of MATH, throughput; beside math-verify where that is installed.

    python benchmarks/grader.py cases [--file CASES.jsonl --adjudicated TABLE.json] [--misses] [--peer PYTHON]
    python benchmarks/grader.py golds MATH.jsonl.gz
    python benchmarks/grader.py speed MATH.jsonl.gz --peer PYTHON

``PYTHON`` is the interpreter of an environment with math-verify (``pip install math-verify==0.9.0``); its arm is
``grader_side.py`` in that interpreter. Both arms get the same pairs, in two processes each, one after the other and
in turn (thence, peer, thence, peer); only the grading is timed, not the start and not the import.

``cases``: what share of the cases (those of tests/grading/hard_cases.jsonl unless said otherwise) each judges as
expected, per half if the cases have halves, with false accepts and those on plain numbers. A case of kind ``answer``
is graded without extraction. An adjudication has the time when it was decided; those before the run get their own row.
``golds``: how many of MATH's references are read as a typed value, equal their own re-rendering (no comparison of
strings is involved: keys are made from both texts), and refuse wrong answers next to them (``grading.perturb``).
``speed``: pairs are each reference with its re-rendering and with a wrong answer.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thence.grading import grade_math
from thence.grading.mathematics import reference_answer
from thence.grading.parser import parse
from thence.grading.perturb import perturbed
from thence.grading.plain import plain_value, unwrapped
from thence.grading.render import latex
from thence.grading.values import read

SIDE = Path(__file__).with_name("grader_side.py")
CASES = Path(__file__).parents[1] / "tests" / "grading"
ROUNDS = 3
Case = dict[str, Any]


def arm(python: str, name: str, mode: str, pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
    """What one arm says of ``pairs``: verdicts and seconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(list(pairs), file)
        file.flush()
        done = subprocess.run([python, str(SIDE), name, mode, file.name], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the arm {name} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def arms(peer: str | None) -> list[tuple[str, str]]:
    """Interpreter and name of each arm."""
    return [(sys.executable, "thence"), *([(peer, "math-verify")] if peer else [])]


def judged(python: str, name: str, rows: Sequence[Case]) -> list[bool | None]:
    """One arm's verdicts, each kind of case in its own mode; nothing where the grader raised."""
    verdicts: list[bool | None] = [None] * len(rows)
    for kind in sorted({str(row.get("kind", "solution")) for row in rows}):
        places = [i for i, row in enumerate(rows) if row.get("kind", "solution") == kind]
        found = arm(python, name, kind, [(str(rows[i]["gold"]), str(rows[i]["answer"])) for i in places])["verdicts"]
        assert isinstance(found, list)
        for i, verdict in zip(places, found, strict=True):
            verdicts[i] = None if verdict is None else bool(verdict)
    return verdicts


def is_plain(row: Case) -> bool:
    """Whether both texts are nothing but a number."""
    return all(re.fullmatch(r"\s*[-+]?(\d[\d,]*\.?\d*|\.\d+)\s*", str(row[side])) for side in ("gold", "answer"))


def cases(peer: str | None, file: Path, adjudicated: Path, misses: bool) -> None:
    """Print the share of cases judged as expected."""
    rows: list[Case] = [json.loads(line) for line in file.read_text().splitlines()]
    decided: list[Case] = json.loads(adjudicated.read_text())
    early = [a for a in decided if str(a.get("when", "")).startswith("before")]
    tables = [("as published", []), *([("decided before", early)] if early else []), ("adjudicated", decided)]
    for python, name in arms(peer):
        verdicts = judged(python, name, rows)
        for half in sorted({str(row.get("half", "all")) for row in rows}):
            for label, table in tables:
                says = {(a["gold"], a["answer"]): a["expected"] for a in table}
                found = [
                    (row, verdict, bool(says.get((row["gold"], row["answer"]), row["expected"])))
                    for row, verdict in zip(rows, verdicts, strict=True)
                    if row.get("half", "all") == half
                ]
                right = sum(verdict == expected for _, verdict, expected in found)
                accepts = [row for row, verdict, expected in found if verdict and not expected]
                print(f"{name:12} {half:4} {label:14} {right}/{len(found)} = {right / len(found):.3f}, "
                      f"{len(accepts)} false accepts, {sum(map(is_plain, accepts))} on plain numbers, "
                      f"{sum(verdict is None for _, verdict, _ in found)} raised")  # fmt: skip
                for row, verdict, expected in found if misses and label == tables[-1][0] else []:
                    if verdict != expected:
                        said = {True: "accepted", False: "refused ", None: "raised  "}[verdict]
                        where = ", ".join(map(str, row["sources"]))
                        print(f"    {said} {row['gold']!r} <- {row['answer']!r} ({where})")


def references(path: str) -> list[str]:
    """The references of a file of MATH problems with solutions."""
    with gzip.open(path, "rt") as lines:
        return [reference_answer(json.loads(line)["solution"]) for line in lines]


def golds(path: str) -> None:
    """Print parse rate, self-equality and what is refused."""
    found = references(path)
    kinds: Counter[str] = Counter()
    same = 0
    tried: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    for gold in found:
        value, inner = read(gold), unwrapped(gold)
        kinds[value.kind] += 1
        same += plain_value(inner) is not None or (value.typed and read(latex(parse(inner))).key == value.key)
        for kind, wrong in perturbed(gold):
            tried[kind] += 1
            if grade_math(gold, wrong).correct:
                accepted[kind] += 1
                print(f"  accepted, {kind}: {gold!r} and {wrong!r}")
    typed = len(found) - kinds["unread"]
    print(f"{len(found)} references, typed {typed} = {typed / len(found):.4f}: {dict(kinds.most_common())}")
    print(f"equal to their re-rendering {same} = {same / len(found):.4f}")
    total = tried.total()
    print(f"perturbed {total}, refused {total - accepted.total()} = {1 - accepted.total() / total:.4f}: {dict(tried)}")


def speed(path: str, peer: str) -> None:
    """Print pairs per second of both arms."""
    pairs: list[tuple[str, str]] = []
    for gold in references(path)[::2]:
        inner = unwrapped(gold)
        if plain_value(inner) is None:
            pairs.append((gold, latex(parse(inner))))
            pairs += [(gold, wrong) for _, wrong in list(perturbed(gold))[:1]]
    rates: dict[str, list[float]] = {}
    right: dict[str, int] = {}
    for _ in range(ROUNDS):
        for python, name in arms(peer):
            result = arm(python, name, "answer", pairs)
            rates.setdefault(name, []).append(len(pairs) / float(str(result["seconds"])))
            right[name] = sum(map(bool, result["verdicts"]))  # type: ignore[arg-type,call-overload]
    for name, values in rates.items():
        print(f"{name:12} {len(pairs)} pairs, {statistics.median(values):,.0f} pairs/s (median of {ROUNDS}: "
              f"{', '.join(f'{v:,.0f}' for v in values)}), {right[name]} accepted")  # fmt: skip
    print(f"ratio {statistics.median(rates['thence']) / statistics.median(rates['math-verify']):.2f}")


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["cases", "golds", "speed"])
    parser.add_argument("file", nargs="?")
    parser.add_argument("--peer")
    parser.add_argument("--file", dest="cases", type=Path, default=CASES / "hard_cases.jsonl")
    parser.add_argument("--adjudicated", type=Path, default=CASES / "adjudicated.json")
    parser.add_argument("--misses", action="store_true", help="list what was misjudged after the adjudications")
    given = parser.parse_args()
    if given.part == "cases":
        cases(given.peer, given.cases, given.adjudicated, given.misses)
    elif given.file is None or (given.part == "speed" and given.peer is None):
        parser.error(f"{given.part} needs a file{' and --peer' if given.part == 'speed' else ''}")
    elif given.part == "golds":
        golds(given.file)
    else:
        speed(given.file, given.peer)


if __name__ == "__main__":
    main()
