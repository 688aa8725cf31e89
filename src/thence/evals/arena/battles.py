"""Battles: who met whom, who won, and what else could have decided it.

A battle has two sides a and b. Its outcome is 1 when a won, 0 when b won, one half for a tie. Beside it may stand who
was shown first, who judged, what the battle was about, and measured features of both texts (their lengths, …). All of
it is kept as arrays with one entry per battle, in the order in which the battles were fought.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from thence.core.clean import one_line
from thence.core.errors import DataError, UsageError

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SHOWN = 6  # names listed in a message


@dataclass(frozen=True, slots=True)
class Battles:
    """``n`` battles between ``models``; ``a`` and ``b`` are indexes into them.

    ``first`` is 1 where a was shown first, -1 where b was, 0 where nobody knows. ``features[name]`` is [n, 2]: the
    feature of a's text and of b's, not yet compared. ``judges`` and ``clusters`` are one label per battle; battles of
    one cluster (one question judged many times) are not independent. ``notes`` are lines for the user.
    """

    models: tuple[str, ...]
    a: Ints
    b: Ints
    outcome: Array
    first: Array
    features: dict[str, Array] = field(default_factory=dict)
    judges: tuple[str, ...] | None = None
    clusters: tuple[str, ...] | None = None
    both_bad: int = 0
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """How many battles."""
        return len(self.outcome)

    @property
    def ties(self) -> int:
        """How many of them are ties."""
        return int(np.count_nonzero(self.outcome == 0.5))

    def taken(self, chosen: npt.NDArray[np.bool_] | Ints) -> Battles:
        """The battles of a mask or of indexes, in that order; the models stay."""
        at = np.arange(self.n)[chosen]
        return replace(
            self,
            a=self.a[at],
            b=self.b[at],
            outcome=self.outcome[at],
            first=self.first[at],
            features={name: values[at] for name, values in self.features.items()},
            judges=None if self.judges is None else tuple(self.judges[i] for i in at),
            clusters=None if self.clusters is None else tuple(self.clusters[i] for i in at),
        )

    def compact(self) -> Battles:
        """The same battles without models that fought none."""
        met = np.flatnonzero(self.counts())
        if len(met) == len(self.models):
            return self
        at = np.full(len(self.models), -1)
        at[met] = np.arange(len(met))
        return replace(self, models=tuple(self.models[i] for i in met), a=at[self.a], b=at[self.b])

    def counts(self) -> Array:
        """[models] battles of each model."""
        return self._by_model(np.ones(self.n), np.ones(self.n))

    def win_rates(self) -> Array:
        """[models] share of battles won, a tie counted as one half."""
        return self._by_model(self.outcome, 1 - self.outcome) / np.maximum(1, self.counts())

    def met(self) -> Array:
        """[models, models] how often each two met."""
        m = len(self.models)
        pairs = np.bincount(self.a * m + self.b, minlength=m * m).reshape(m, m).astype(float)
        return np.asarray(pairs + pairs.T)

    def _by_model(self, of_a: Array, of_b: Array) -> Array:
        m = len(self.models)
        return np.asarray(np.bincount(self.a, of_a, m) + np.bincount(self.b, of_b, m))


def make_battles(
    pairs: Sequence[tuple[str, str]],
    outcomes: Sequence[float],
    *,
    models: Sequence[str] = (),
    first: Sequence[float] | None = None,
    judges: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
    features: dict[str, Array] | None = None,
    both_bad: int = 0,
    notes: Sequence[str] = (),
) -> Battles:
    """Battles from names and outcomes; without ``models`` they are numbered in alphabetical order.

    Without ``first`` side a was shown first, as in Chatbot Arena's data.
    """
    names = tuple(models) or tuple(sorted({name for pair in pairs for name in pair}))
    at = {name: i for i, name in enumerate(names)}
    return Battles(
        names,
        np.array([at[a] for a, _ in pairs], dtype=np.int64),
        np.array([at[b] for _, b in pairs], dtype=np.int64),
        np.array(outcomes, dtype=float),
        np.ones(len(pairs)) if first is None else np.array(first, dtype=float),
        features or {},
        None if judges is None else tuple(judges),
        None if clusters is None else tuple(clusters),
        both_bad,
        tuple(notes),
    )


def joined(parts: Sequence[Battles]) -> Battles:
    """The battles of several files, in their order. Judges and clusters stay where all files have them."""
    if len(parts) == 1:
        return parts[0]
    names = tuple(sorted({name for part in parts for name in part.models}))
    at = {name: i for i, name in enumerate(names)}
    judges = [part.judges for part in parts if part.judges is not None]
    clusters = [part.clusters for part in parts if part.clusters is not None]
    return Battles(
        names,
        np.concatenate([np.array([at[part.models[i]] for i in part.a], dtype=np.int64) for part in parts]),
        np.concatenate([np.array([at[part.models[i]] for i in part.b], dtype=np.int64) for part in parts]),
        np.concatenate([part.outcome for part in parts]),
        np.concatenate([part.first for part in parts]),
        {name: np.concatenate([part.features[name] for part in parts]) for name in parts[0].features},
        tuple(itertools.chain.from_iterable(judges)) if len(judges) == len(parts) else None,
        tuple(itertools.chain.from_iterable(clusters)) if len(clusters) == len(parts) else None,
        sum(part.both_bad for part in parts),
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def check_comparable(battles: Battles) -> None:
    """DataError unless the battles can put all models on one scale: two models, one graph, not all ties."""
    if len(battles.models) < 2 or battles.n == 0:
        raise DataError(f"{battles.n} battles of {len(battles.models)} models rank nobody; two models must have met")
    if battles.ties == battles.n:
        raise DataError(
            f"every one of the {battles.n} battles is a tie, which ranks nobody; some battle must have been won"
        )
    groups = components(battles, directed=False)
    if len(groups) > 1:
        shown = " | ".join(_names(battles, group) for group in groups[:3])
        more = f" | and {len(groups) - 3} more groups" if len(groups) > 3 else ""
        raise DataError(
            f"the models fall into {len(groups)} groups that never met: {shown}{more}; "
            "their scores have no common scale: add battles between the groups, or rank each group by itself"
        )


def check_finite(battles: Battles) -> None:
    """DataError when some group of models won every battle against the others: no finite strengths fit best.

    A maximum of the likelihood exists exactly when every model can be reached from every other by a chain of battles
    won or tied (Ford 1957).
    """
    groups = components(battles, directed=True)
    if len(groups) == 1:
        return
    score = {k: float(battles.win_rates()[group].mean()) if len(group) else 0.0 for k, group in enumerate(groups)}
    best = max(score, key=lambda k: score[k])
    worst = min(score, key=lambda k: score[k])
    raise DataError(
        "the battles are perfectly separated: "
        f"{_names(battles, groups[best])} never lost to or tied with the others, or {_names(battles, groups[worst])} "
        "never won or tied; the best fitting strengths are infinite: add battles, or shrink the strengths with a "
        "ridge (--ridge 0.5)"
    )


def components(battles: Battles, *, directed: bool) -> list[Ints]:
    """Groups of models that are connected: by battles, or (directed) by chains of wins and ties both ways."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    won = np.concatenate([battles.outcome > 0, battles.outcome < 1])
    winner = np.concatenate([battles.a, battles.b])[won]
    loser = np.concatenate([battles.b, battles.a])[won]
    m = len(battles.models)
    graph = coo_matrix((np.ones(len(winner)), (winner, loser)), shape=(m, m))
    count, label = connected_components(graph, directed=directed, connection="strong" if directed else "weak")
    return [np.flatnonzero(label == k) for k in range(count)]


def named(battles: Battles, name: str) -> int:
    """The index of a model; UsageError listing the models where there is none."""
    if name not in battles.models:
        there = _names(battles, np.arange(len(battles.models)))
        raise UsageError(f"there is no model {one_line(name, 60)!r} in the battles; there are {there}")
    return battles.models.index(name)


def _names(battles: Battles, group: Ints) -> str:
    shown = ", ".join(one_line(battles.models[i], 40) for i in group[:SHOWN])
    return shown + (f" and {len(group) - SHOWN} more" if len(group) > SHOWN else "")
