"""How often one set of answers is preferred to another: a win rate, which is no accuracy.

Every question that both sides answered is compared in both orders. A question's value is the first side's share (1
where it wins in both orders, one half where the orders disagree or it is a tie); the win rate is their mean, with the
interval of a paired difference from one half. A question without a verdict is left out and counted.

What a win rate measures is the judge as much as the answers: it is shown beside the judge's audit, and where the audit
found a bias, the text says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from thence.core.errors import DataError
from thence.core.preferences import Pair, in_both_orders
from thence.evals.statistics.metrics import Interval, Paired, paired

from .audit import Audit
from .judges import PairJudge, both_orders


@dataclass(frozen=True, slots=True)
class Answered:
    """One side: its name, and by question its answer."""

    name: str
    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WinRate:
    """The first side against the second, as ``judge`` sees it.

    ``won`` and ``lost`` count questions whose mean share is above and below one half, ``tied`` the others; ``split``
    are those of them where the two orders gave opposite verdicts. ``longer`` is the share of questions on which the
    first side's answer is the longer one: with a judge that likes length it explains a win.
    """

    judge: str
    first: str
    second: str
    n: int
    rate: float | None
    interval: Interval | None
    won: int
    lost: int
    tied: int
    split: int
    unread: int
    longer: float | None
    p: float
    caution: str = ""

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


async def win_rate(
    judge: PairJudge, first: Answered, second: Answered, questions: Mapping[str, str], audited: Audit | None = None
) -> WinRate:
    """Compare both sides on the questions that both have. DataError where there is none."""
    shared = [q for q in questions if q in first.answers and q in second.answers]
    if not shared:
        raise DataError(f"{first.name} and {second.name} answer no question in common; there is nothing to compare")
    pairs = [Pair(questions[q], first.answers[q], second.answers[q]) for q in shared]
    shown, swapped = await both_orders(judge, pairs)
    shares = in_both_orders(shown, swapped)
    known = {q: share for q, share in zip(shared, shares, strict=True) if share is not None}
    against: Paired = paired(dict.fromkeys(known, 0.5), known)
    split = sum(a is not None and b is not None and a == b != 0.5 for a, b in zip(shown, swapped, strict=True))
    low, high = against.interval
    return WinRate(
        judge.name,
        first.name,
        second.name,
        len(known),
        0.5 + against.difference if known else None,
        (max(0.0, 0.5 + low), min(1.0, 0.5 + high)) if known else None,
        against.won,
        against.lost,
        against.n - against.won - against.lost,
        split,
        len(shared) - len(known),
        _longer(pairs),
        against.p,
        caution(audited),
    )


def _longer(pairs: Sequence[Pair]) -> float | None:
    unequal = [len(p.first) > len(p.second) for p in pairs if len(p.first) != len(p.second)]
    return sum(unequal) / len(unequal) if unequal else None


def caution(audited: Audit | None) -> str:
    """What the audit says against trusting this judge; empty where it found nothing."""
    if audited is None:
        return "the judge was not audited: what it prefers where truth is known is unknown"
    said = [f"it is biased by {', '.join(audited.faults)}"] if audited.faults else []
    if audited.right.interval is not None and audited.right.interval[0] <= 0.5:
        said.append("it does not tell right from wrong answers better than a coin")
    if audited.right.value is None:
        said.append("it gave no verdict in its audit")
    return "; ".join(said)


__all__ = ["Answered", "WinRate", "caution", "win_rate"]
