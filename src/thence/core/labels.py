"""Labels of reasoning steps: what is known of each step, from whom, and how sure.

One record holds one solution. Each step has a list of labels, because several sources may speak about it; a number of
None means that nobody knows, and is never a 0 (Lightman et al. 2023, arXiv:2305.20050, stop labelling at the first
wrong step: what follows is unlabelled, not wrong).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .errors import DataError
from .scores import Meaning


class Source(StrEnum):
    """Who labelled."""

    EXACT = "exact"  # the task knows
    ROLLOUTS = "rollouts"  # completions from the step, graded
    JUDGE = "judge"  # a model was asked
    HUMAN = "human"
    CONSENSUS = "consensus"  # several sources agree
    POOL = "pool"  # compared with other graded solutions of the same problem
    GIVEN = "given"  # a file says so, and not from whom


@dataclass(frozen=True, slots=True)
class Label:
    """One source's number in [0, 1] for one step (None: unlabelled) and what it means.

    Rollouts keep their counts; ``completer`` is who completed, because another one has other values.
    """

    meaning: Meaning
    number: float | None
    source: Source
    successes: int | None = None
    rollouts: int | None = None
    completer: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.number is not None and not 0.0 <= self.number <= 1.0:
            raise DataError(f"a step label is {self.number}; it must be in [0, 1], or null for unlabelled")
        if (self.successes is None) != (self.rollouts is None):
            raise DataError("a step label has successes without rollouts, or rollouts without successes")
        if self.successes is not None and self.rollouts is not None and not 0 <= self.successes <= self.rollouts:
            raise DataError(f"a step label has {self.successes} successes of {self.rollouts} rollouts")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise DataError(f"a step label has a weight of {self.weight}; it must be 0 or more")


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another text for one step, after the same earlier steps, with labels of its own (PRM800K rates several)."""

    text: str
    labels: tuple[Label, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise DataError("an alternative step is empty")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One solution: ``ends`` are the character offsets at which its steps end, ``labels`` has one list per step.

    ``correct`` is the verdict on the final answer where it is known; ``extra`` keeps whatever else a file said, by
    custom the question under ``question``. ``alternatives`` is empty or has one list per step: what else was rated
    there.
    """

    problem: str
    text: str
    ends: tuple[int, ...]
    labels: tuple[tuple[Label, ...], ...]
    correct: bool | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    alternatives: tuple[tuple[Alternative, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.alternatives and len(self.alternatives) != len(self.ends):
            raise DataError(
                f"problem {self.problem}: {len(self.alternatives)} lists of alternatives for {len(self.ends)} steps"
            )
        if len(self.labels) != len(self.ends):
            raise DataError(f"problem {self.problem}: {len(self.labels)} lists of labels for {len(self.ends)} steps")
        if list(self.ends) != sorted(set(self.ends)) or (self.ends and not 0 < self.ends[0] <= self.ends[-1]):
            raise DataError(f"problem {self.problem}: step ends {list(self.ends)} do not rise")
        if self.ends and self.ends[-1] > len(self.text):
            raise DataError(f"problem {self.problem}: a step ends at {self.ends[-1]} of {len(self.text)} characters")

    @property
    def steps(self) -> tuple[str, ...]:
        """The texts of the steps."""
        return tuple(self.text[a:b] for a, b in zip((0, *self.ends), self.ends, strict=False))

    def numbers(self, meaning: Meaning, source: Source | None = None) -> tuple[float | None, ...]:
        """For each step the number of its first label of this meaning (and source), None where there is none."""
        return tuple(
            next((x.number for x in row if x.meaning is meaning and source in (None, x.source)), None)
            for row in self.labels
        )

    def first_error(self, meaning: Meaning, below: float = 0.5) -> int | None:
        """Index (from 0) of the first step whose number is at most ``below``; None if there is none."""
        return next((i for i, x in enumerate(self.numbers(meaning)) if x is not None and x <= below), None)

    def record(self) -> dict[str, Any]:
        """As plain JSON values; fields with their default value are left out of the labels."""
        row = {
            **self.extra,
            "problem": self.problem,
            "text": self.text,
            "ends": list(self.ends),
            "correct": self.correct,
            "labels": [[_plain(label) for label in row] for row in self.labels],
        }
        if self.alternatives:
            row["alternatives"] = [
                [{"text": a.text, "labels": [_plain(label) for label in a.labels]} for a in each]
                for each in self.alternatives
            ]
        return row

    @staticmethod
    def read(row: Mapping[str, Any]) -> Labelled:
        """The record written by ``record``; unknown fields are kept. DataError says what is wrong."""
        try:
            labels = tuple(tuple(_label(x) for x in each) for each in row["labels"])
            known = {"problem", "text", "ends", "labels", "correct", "alternatives"}
            alternatives = tuple(
                tuple(Alternative(str(a["text"]), tuple(_label(x) for x in a["labels"])) for a in each)
                for each in row.get("alternatives", ())
            )
            return Labelled(
                str(row["problem"]),
                str(row["text"]),
                tuple(int(e) for e in row["ends"]),
                labels,
                row.get("correct"),
                {k: v for k, v in row.items() if k not in known},
                alternatives,
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            shown = json.dumps(dict(row), ensure_ascii=False, default=str)[:200]
            raise DataError(f"this is no label record ({error}): {shown}") from error


def _plain(label: Label) -> dict[str, Any]:
    row: dict[str, Any] = {"meaning": str(label.meaning), "number": label.number, "source": str(label.source)}
    if label.rollouts is not None:
        row |= {"successes": label.successes, "rollouts": label.rollouts}
    if label.completer:
        row["completer"] = label.completer
    if label.weight != 1.0:
        row["weight"] = label.weight
    return row


def _label(row: Mapping[str, Any]) -> Label:
    return Label(
        Meaning(row["meaning"]),
        None if row["number"] is None else float(row["number"]),
        Source(row["source"]),
        row.get("successes"),
        row.get("rollouts"),
        str(row.get("completer", "")),
        float(row.get("weight", 1.0)),
    )
