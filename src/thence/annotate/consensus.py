"""Consensus filter (Zhang et al. 2025, arXiv:2501.07301): keep a step's label only where another source agrees.

Rollouts say whether a step can still come right, a judge whether it is right; each errs for reasons of its own. Where
both say the same, the label is kept (its number and counts stay, its source becomes CONSENSUS); where they differ, or
one of them says nothing, it is null. If the labels are wrong with probability e and the judge, independently, with
eta, the labels that are kept are wrong with probability

    eta e / (eta e + (1 - eta) (1 - e))

and a share eta e + (1 - eta) (1 - e) is kept. A judge that errs where the rollouts do filters nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from thence.core.errors import DataError, UsageError, check_shares
from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Meaning
from thence.core.search import Verifier

from .label import Annotator
from .rollouts import Rollouts


@dataclass(frozen=True, slots=True)
class Consensus:
    """The labels of another method that a verifier with step scores agrees with.

    A label above ``alive`` says yes (0 is Math-Shepherd's hard label, use guess + .05 where guesses are often right),
    a score of at least ``yes`` does.
    """

    inner: Annotator
    judge: Verifier
    alive: float = 0.0
    yes: float = 0.5

    def __post_init__(self) -> None:
        check_shares("consensus", alive=self.alive, yes=self.yes)

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]:
        """The records of the inner method, filtered; one step score per step is needed."""
        records = await self.inner.annotate(rollouts)
        search = rollouts.search
        made = []
        for record in records:
            [score] = await search.score([search.given(record.text)], self.judge)
            if len(score.steps) != len(record.ends):
                raise UsageError(
                    f"consensus: {self.judge.name} scored {len(score.steps)} steps of problem {record.problem}, which "
                    f"has {len(record.ends)}; use a verifier with step scores that cuts steps as --segmenter does"
                )
            made.append(agreed(record, [s >= self.yes for s in score.steps], self.alive))
        return made


def agreed(record: Labelled, other: Sequence[bool | None], alive: float = 0.0) -> Labelled:
    """The record with those values by rollouts that ``other`` agrees with, one opinion per step; the rest is null.

    Labels of other meanings and sources stay: the last step's verdict needs no second opinion.
    """
    if len(other) != len(record.ends):
        raise DataError(f"problem {record.problem}: {len(other)} opinions for {len(record.ends)} steps")

    def kept(label: Label, opinion: bool | None) -> Label:
        if label.meaning is not Meaning.VALUE or label.source is not Source.ROLLOUTS or label.number is None:
            return label
        if opinion is not None and (label.number > alive) == opinion:
            return replace(label, source=Source.CONSENSUS)
        return Label(label.meaning, None, Source.CONSENSUS)

    rows = zip(record.labels, other, strict=True)
    return replace(record, labels=tuple(tuple(kept(x, opinion) for x in row) for row, opinion in rows))


def filtered_error(label_error: float, judge_error: float) -> float:
    """P(a kept label is wrong) for independent errors."""
    both = label_error * judge_error
    return both / (both + (1 - label_error) * (1 - judge_error))


__all__ = ["Consensus", "agreed", "filtered_error"]
