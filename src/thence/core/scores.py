"""Scores: a verifier's numbers, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .errors import UsageError


class Meaning(StrEnum):
    """What a step score means; it decides which aggregation is exact (product, last, last)."""

    STEP_CORRECT = "step_correct"  # P(step ok | all earlier ok)
    PREFIX_VALID = "prefix_valid"  # P(all steps up to here ok)
    VALUE = "value"  # P(final answer right | prefix)
    OUTCOME = "outcome"  # a number for the whole trace; no step scores


class Aggregate(StrEnum):
    """How step scores become one number of a trace."""

    PROD = "prod"
    MIN = "min"
    LAST = "last"
    MEAN = "mean"
    MAX = "max"
    SUM_LOGIT = "sum-logit"  # sum of log(p / (1 - p)): MiPS (2402.02658) finds that it trusts high scores


EXACT = {
    Meaning.STEP_CORRECT: Aggregate.PROD,  # the chain rule of P(all steps ok)
    Meaning.PREFIX_VALID: Aggregate.LAST,  # P(all steps ok) itself
    Meaning.VALUE: Aggregate.LAST,  # P(final answer right | all steps)
}
_LEAST = 1e-12  # logits of 0 and 1 are taken here


def aggregate(steps: Sequence[float], meaning: Meaning, how: Aggregate | None = None) -> float:
    """One number from step scores in [0, 1]; without ``how`` the exact one for their ``meaning``.

    Another one is a heuristic and has to be asked for by name: a product of values counts the same doubt many times,
    the last of conditional correctnesses forgets all earlier ones. Without steps the product is 1 (nothing is wrong so
    far) and anything else an error.
    """
    if how is None:
        if meaning not in EXACT:
            raise UsageError(f"step scores that mean {meaning} have no exact aggregation; name one of {_NAMES}")
        how = EXACT[meaning]
    if any(not 0.0 <= s <= 1.0 for s in steps):
        raise UsageError(f"a step score of {next(s for s in steps if not 0.0 <= s <= 1.0)} is outside [0, 1]")
    if not steps and how is not Aggregate.PROD:
        raise UsageError(f"there are no step scores to take the {how} of")
    match how:
        case Aggregate.PROD:
            return math.prod(steps)
        case Aggregate.MIN:
            return min(steps)
        case Aggregate.LAST:
            return steps[-1]
        case Aggregate.MEAN:
            return sum(steps) / len(steps)
        case Aggregate.MAX:
            return max(steps)
        case Aggregate.SUM_LOGIT:
            kept = [min(max(s, _LEAST), 1 - _LEAST) for s in steps]
            return sum(math.log(s / (1 - s)) for s in kept)


_NAMES = ", ".join(Aggregate)


@dataclass(frozen=True, slots=True)
class Score:
    """A verifier's number for one trace; larger is better. ``tokens`` is what it cost."""

    value: float
    steps: tuple[float, ...] = ()
    meaning: Meaning = Meaning.OUTCOME
    tokens: int | None = 0
