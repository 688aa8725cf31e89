"""Labels by people: a session of single keys, written in the format of PRM800K (arXiv:2305.20050).

One solution after the other is shown step by step, and each step is rated ``+`` (right), ``0`` (neutral: unclear, or
right and useless) or ``-`` (wrong). As there, a solution ends at its first wrong step: what follows is unlabelled, not
wrong. ``u`` takes the last rating back (at the first step, that of the solution before), ``g`` gives a solution up,
``q`` stops. Every finished solution is on disk before the next one is shown, and those that the file has already are
not shown again. Of a solution that ``q`` interrupts nothing is kept.

Two people agree as Cohen's kappa (1960) says: (p - e) / (1 - e) with p the share of steps that both rated and rated
equally, and e the same by chance, from how often each of them gave each rating.

Nothing here touches a terminal: keys come from a function and texts go to one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thence.core.errors import DataError
from thence.core.label_files import question, rating, read_labels, write_labels
from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Meaning
from thence.core.seeds import digest

KEYS = {"+": 1.0, "1": 1.0, "0": 0.5, "-": 0.0}
HELP = "+ right   0 neutral   - wrong   u undo   g give up   q quit"


@dataclass(slots=True)
class Session:
    """Rates the steps of ``solutions`` (their questions in ``extra``) into ``path``.

    ``read`` returns the next key, ``say`` shows a text (which holds model text: printed inert by whoever shows it),
    ``now`` is a clock in seconds. ``labeler`` names who rates.
    """

    solutions: Sequence[Labelled]
    path: Path
    read: Callable[[], str]
    say: Callable[[str], None]
    labeler: str = ""
    now: Callable[[], float] = time.time
    made: list[Labelled] = field(default_factory=list)

    def run(self) -> int:
        """Rate until the end or ``q``; returns how many solutions the file holds now."""
        self.made = read_labels(self.path, "prm800k") if self.path.exists() else []
        before = len(self.made)
        for record in self.solutions:
            if any(not step.strip() for step in record.steps):
                raise DataError(f"problem {record.problem}: a step is empty; cut the solution into steps again")
        known = {identity(record) for record in self.made}
        todo = [s for s in self.solutions if s.ends and solution_id(s) not in known]
        at = 0
        while at < len(todo):
            self.say(f"solution {at + 1} of {len(todo)}   {HELP}")
            outcome = self._rate(todo[at], undo=len(self.made) > before)
            if outcome is None:
                break
            if isinstance(outcome, Labelled):
                self.made.append(outcome)
                at += 1
            else:  # the one before again
                self.made.pop()
                at -= 1
            write_labels(self.path, self.made, "prm800k")
        return len(self.made)

    def _rate(self, record: Labelled, *, undo: bool) -> Labelled | str | None:
        """The rated solution, "back" for the one before, None to stop."""
        started, ratings, steps = self.now(), list[float](), record.steps
        self.say(f"\n{question(record)}\n")
        while True:
            self.say(f"step {len(ratings) + 1} of {len(steps)}: {_shown(record, len(ratings))}")
            key = self.read()
            if key in ("q", ""):
                if ratings:
                    self.say(f"the {len(ratings)} ratings of this solution are not kept")
                return None
            if key == "g":
                return self._row(record, ratings, "give_up", started)
            if key == "u" and ratings:
                ratings.pop()
            elif key == "u" and undo:
                return "back"
            elif key in KEYS:
                ratings.append(KEYS[key])
                if ratings[-1] == 0:
                    return self._row(record, ratings, "found_error", started)
                if len(ratings) == len(steps):
                    return self._row(record, ratings, "solution", started)
            else:
                self.say(f"there is nothing to undo   {HELP}" if key == "u" else HELP)

    def _row(self, record: Labelled, ratings: Sequence[float], reason: str, started: float) -> Labelled:
        """What was rated, as a record that is written as a row of PRM800K."""
        steps = [step.removesuffix("\n") for step in (*record.steps[:-1], record.text[(0, *record.ends)[-2] :])]
        shown = [*(s + "\n" for s in steps[: len(ratings)])]
        shown[-1:] = [s.removesuffix("\n") for s in shown[-1:]]
        ends = [sum(map(len, shown[: i + 1])) for i in range(len(shown))]
        notes = [
            {"at": 0, "chosen_completion": 0 if r else None, "fields": [{"flagged": False}], "listed": True}
            for r in ratings
        ]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(started))
        kept: dict[str, Any] = {
            "row": {
                "labeler": self.labeler,
                "timestamp": stamp,
                "generation": None,
                "is_quality_control_question": False,
                "is_initial_screening_question": False,
                "thence": {"problem": record.problem, "solution": solution_id(record)},
            },
            "question": {"pre_generated_steps": steps},
            "label": {"total_time": round(1000 * (self.now() - started)), "finish_reason": reason},
            "steps": notes,
        }
        labels = tuple((Label(Meaning.STEP_CORRECT, r, Source.HUMAN),) for r in ratings)
        extra = {"question": question(record), "prm800k": kept}
        return Labelled(record.problem, "".join(shown), tuple(ends), labels, None, extra)


def _shown(record: Labelled, i: int) -> str:
    """Step ``i``; a closing answer line belongs to the last one."""
    start, end = (0, *record.ends)[i], record.ends[i]
    return record.text[start : len(record.text) if i + 1 == len(record.ends) else end].strip("\n")


def solution_id(record: Labelled) -> str:
    """Names one solution of one question, whoever labels it."""
    return digest(question(record), record.text)


def identity(record: Labelled) -> str:
    """The solution that a rated record is about; for files of others, its question and what was rated."""
    kept = record.extra.get("prm800k")
    own = kept["row"].get("thence") if isinstance(kept, dict) else None
    if isinstance(own, dict) and isinstance(own.get("solution"), str):
        return str(own["solution"])
    return solution_id(record)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two people agree: on ``steps`` that both rated in ``solutions`` that both saw.

    ``raw`` is the share of equal ratings, ``kappa`` corrects it for chance (None where both always said the same one
    thing), ``first_error`` is the share of solutions in which both name the same first wrong step, or none.
    """

    solutions: int
    steps: int
    raw: float
    kappa: float | None
    first_error: float


def agreement(one: Sequence[Labelled], other: Sequence[Labelled]) -> Agreement:
    """Agreement of two files of ratings. DataError if no step was rated in both."""
    theirs = {identity(record): record for record in other}
    shared = [(record, theirs[identity(record)]) for record in one if identity(record) in theirs]
    pairs = [
        (a, b)
        for mine, yours in shared
        for a, b in zip(_ratings(mine), _ratings(yours), strict=False)
        if a is not None and b is not None
    ]
    if not pairs:
        raise DataError("the two files have rated no step in common; nothing can be compared")
    n = len(pairs)
    raw = sum(a == b for a, b in pairs) / n
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(first[r] * second[r] for r in first) / n**2
    same = sum(_first_error(mine) == _first_error(yours) for mine, yours in shared) / len(shared)
    return Agreement(len(shared), n, raw, (raw - chance) / (1 - chance) if chance < 1 else None, same)


def _ratings(record: Labelled) -> list[int | None]:
    return [rating(row) for row in record.labels]


def _first_error(record: Labelled) -> int | None:
    ratings = _ratings(record)
    return ratings.index(-1) if -1 in ratings else None


__all__ = ["HELP", "KEYS", "Agreement", "Session", "agreement", "identity", "solution_id"]
