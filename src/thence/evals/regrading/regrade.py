"""Grading saved outputs again: counts with intervals, stored labels against the new verdicts, two graders side by side.

A text without a readable reference (``ungradable``) leaves every denominator. With several texts per problem shares are
means over problems and their intervals allow for texts of one problem being alike (``metrics.clustered_accuracy``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from thence.core.answers import Grade, Verdict

from .graders import Grader
from .saved import Saved


@dataclass(frozen=True, slots=True)
class Share:
    """``count`` of ``n`` texts; ``share`` is their mean over problems, with its 95 % interval."""

    count: int
    n: int
    share: float
    interval: tuple[float, float]


def share(hits: Iterable[tuple[str, bool]]) -> Share:
    """The share of hits among (problem, hit) pairs."""
    from thence.evals.statistics.metrics import clustered_accuracy  # numpy and scipy

    by_problem: dict[Hashable, list[float]] = {}
    for problem, hit in hits:
        by_problem.setdefault(problem, []).append(float(hit))
    count, n = int(sum(map(sum, by_problem.values()))), sum(map(len, by_problem.values()))
    mean, interval = clustered_accuracy(by_problem)
    return Share(count, n, mean if n else 0.0, interval)


@dataclass(frozen=True, slots=True)
class TwoByTwo:
    """How often two judges agree. ``first_only``: right by the first, not by the second."""

    both: int = 0
    first_only: int = 0
    second_only: int = 0
    neither: int = 0

    @property
    def n(self) -> int:
        """All texts that both judged."""
        return self.both + self.first_only + self.second_only + self.neither


def two_by_two(pairs: Iterable[tuple[bool, bool]]) -> TwoByTwo:
    """Count (right by the first, right by the second)."""
    n = Counter(pairs)
    return TwoByTwo(n[True, True], n[True, False], n[False, True], n[False, False])


@dataclass(slots=True)
class Regraded:
    """Saved texts with their grades, and with those of a second grader where one was asked."""

    items: list[Saved]
    grades: list[Grade]
    grader: str
    second: list[Grade] | None = None
    against: str = ""
    notes: list[str] = field(default_factory=list)

    def counts(self) -> dict[Verdict, Share]:
        """Every verdict among all texts, and how sure its share is."""
        pairs = list(zip(self.items, self.grades, strict=True))
        return {v: share((i.id, g.verdict is v) for i, g in pairs) for v in Verdict}

    def accuracy(self, source: str | None = None) -> Share:
        """Correct ones among those that can be graded, of one source or of all."""
        return share(
            (item.id, g.correct)
            for item, g in zip(self.items, self.grades, strict=True)
            if g.verdict is not Verdict.UNGRADABLE and source in (None, item.source)
        )

    def sources(self) -> list[str]:
        """The sources in the order of their first texts."""
        return list(dict.fromkeys(item.source for item in self.items))

    def labels(self, source: str | None = None) -> TwoByTwo:
        """Stored label (first) against new verdict (second), over what has a label and can be graded."""
        return two_by_two((bool(self.items[i].label), self.grades[i].correct) for i in self._labelled(source))

    def mislabelled(self) -> list[int]:
        """Places of texts whose label the grader does not share."""
        return [i for i in self._labelled() if self.items[i].label is not self.grades[i].correct]

    def _labelled(self, source: str | None = None) -> list[int]:
        return [
            i
            for i, (item, g) in enumerate(zip(self.items, self.grades, strict=True))
            if item.label is not None and g.verdict is not Verdict.UNGRADABLE and source in (None, item.source)
        ]

    def opinions(self) -> TwoByTwo:
        """Right by the grader (first) and by the second one."""
        return two_by_two((a.correct, b.correct) for a, b in zip(self.grades, self.second or [], strict=True))

    def disputed(self) -> list[int]:
        """Places of texts that one grader accepts and the other does not."""
        second = self.second or []
        return [i for i, b in enumerate(second) if self.grades[i].correct is not b.correct]

    def row(self, i: int) -> dict[str, Any]:
        """One text with everything known of it, as plain JSON data."""
        item, g = self.items[i], self.grades[i]
        row: dict[str, Any] = {
            "id": item.id,
            "where": item.where,
            "source": item.source,
            "gold": item.gold,
            "text": item.text,
            "verdict": str(g.verdict),
            "answer": g.answer,
            "reason": g.reason,
            "label": item.label,
        }
        if self.second is not None:
            b = self.second[i]
            row["against"] = {"verdict": str(b.verdict), "answer": b.answer, "reason": b.reason}
        return row

    def document(self) -> dict[str, Any]:
        """What ``thence grade FILE --json`` prints."""
        doc: dict[str, Any] = {
            "grader": self.grader,
            "problems": len({item.id for item in self.items}),
            "texts": len(self.items),
            "accuracy": _plain(self.accuracy()),
            "verdicts": {str(v): _plain(s) for v, s in self.counts().items()},
            "notes": self.notes,
        }
        if len(self.sources()) > 1:
            doc["sources"] = {name: _plain(self.accuracy(name)) for name in self.sources()}
        if self._labelled():
            doc["labels"] = {
                **_cells(self.labels(), "label", "grader"),
                "sources": {s: _cells(self.labels(s), "label", "grader") for s in self.sources() if s},
                "disagreements": [self.row(i) for i in self.mislabelled()],
            }
        if self.second is not None:
            doc["against"] = {
                "grader": self.against,
                **_cells(self.opinions(), "first", "second"),
                "disagreements": [self.row(i) for i in self.disputed()],
            }
        return doc


def regrade(items: Sequence[Saved], by: Grader, against: Grader | None = None) -> Regraded:
    """Grade all items, and again with ``against``."""
    made = Regraded(list(items), by.grades(items), by.name)
    if against is not None:
        made.second, made.against = against.grades(items), against.name
    return made


def _plain(s: Share) -> dict[str, Any]:
    return {"count": s.count, "n": s.n, "share": s.share, "interval": list(s.interval)}


def _cells(t: TwoByTwo, first: str, second: str) -> dict[str, int]:
    return {
        "both_right": t.both,
        f"only_{first}_right": t.first_only,
        f"only_{second}_right": t.second_only,
        "both_wrong": t.neither,
    }
