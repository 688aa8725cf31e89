"""Scores: a verifier's numbers, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Meaning(StrEnum):
    """What a step score means; it decides which aggregation is exact (product, last, last)."""

    STEP_CORRECT = "step_correct"  # P(step ok | all earlier ok)
    PREFIX_VALID = "prefix_valid"  # P(all steps up to here ok)
    VALUE = "value"  # P(final answer right | prefix)
    OUTCOME = "outcome"  # a number for the whole trace; no step scores


@dataclass(frozen=True, slots=True)
class Score:
    """A verifier's number for one trace; larger is better. ``tokens`` is what it cost."""

    value: float
    steps: tuple[float, ...] = ()
    meaning: Meaning = Meaning.OUTCOME
    tokens: int | None = 0
