"""The leaderboard: scores with intervals and ranks, what beta_0 is worth, Elo beside it, and all that should be known.

``leaderboard(battles, Options(...))`` does everything once; the command line only prints it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from thence.core.errors import UsageError
from thence.evals.statistics.metrics import Interval, wilson

from .active import Rule, next_pairs
from .battles import Array, Battles, named
from .bradley_terry import INITIAL, SCALE, Fit, Terms, Ties, fit
from .elo import Elo, K, elo
from .style import terms
from .uncertainty import bootstrap, gauge, quantile, ranks, simultaneous
from .voters import Voter, check_voters

By = Literal["sandwich", "bootstrap"]
FEW_CLUSTERS = 30  # below, cluster-robust errors are known to be too small


@dataclass(frozen=True, slots=True)
class Options:
    """How to rank. ``anchor`` is a model and its score; ``balance`` gives every pair of models the same weight."""

    ties: Ties = "half"
    controls: tuple[str, ...] = ()
    ridge: float = 0.0
    anchor: tuple[str, float] | None = None
    interval: By = "sandwich"
    rounds: int = 1000
    balance: bool = False
    shuffles: int = 100
    k: float = K
    next: int = 0
    rule: Rule = "scores"
    alpha: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.interval not in get_args(By):
            raise UsageError(f"interval {self.interval!r} is not known; write sandwich or bootstrap")


@dataclass(frozen=True, slots=True)
class Entry:
    """One model. ``rank`` counts the models that are surely better, ``worst`` leaves out those surely worse.

    ``plain`` is the score without any control (None: there is none), ``elo`` the median over shuffles.
    """

    model: str
    rank: int
    worst: int
    score: float
    interval: Interval
    battles: int
    win_rate: float
    elo: float
    elo_range: Interval
    plain: float | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """One term of beta_0: ``weight`` in log-odds per ``unit``, with its interval; ``points`` the same in points."""

    name: str
    unit: str
    weight: float
    interval: Interval
    points: float


@dataclass(frozen=True, slots=True)
class Board:
    """The whole result. ``outweighed`` is the share of battles in which beta_0 favours the weaker model by more than
    strength favours the stronger; ``first_won`` the share of decided battles won by the answer shown first."""

    entries: tuple[Entry, ...]
    effects: tuple[Effect, ...]
    fit: Fit
    elo: Elo
    battles: int
    ties: int
    both_bad: int
    interval: By
    outweighed: float | None = None
    first_won: tuple[float, Interval] | None = None
    voters: tuple[Voter, ...] | None = None
    next_pairs: tuple[tuple[str, str, int], ...] = ()
    notes: tuple[str, ...] = field(default=())

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        flagged = None if self.voters is None else [asdict(v) for v in self.voters if v.flagged]
        return {
            "battles": self.battles,
            "ties": self.ties,
            "both_bad": self.both_bad,
            "tie_model": self.fit.ties,
            "tie_parameter": self.fit.tie,
            "ridge": self.fit.ridge,
            "interval": self.interval,
            "log_likelihood": self.fit.loglik,
            "models": [asdict(e) for e in self.entries],
            "beta_0": [asdict(e) for e in self.effects],
            "beta_0_outweighs": self.outweighed,
            "first_won": None if self.first_won is None else [self.first_won[0], list(self.first_won[1])],
            "elo": {"k": self.elo.k, "shuffles": self.elo.shuffles, "spread": self.elo.spread}
            | {"leaders": self.elo.leaders, "in_order": dict(zip(self.elo.models, self.elo.in_order, strict=True))},
            "voters": None if self.voters is None else len(self.voters),
            "flagged_voters": flagged,
            "next_pairs": [list(pair) for pair in self.next_pairs],
            "notes": list(self.notes),
        }


def leaderboard(battles: Battles, options: Options | None = None) -> Board:
    """Rank the models of ``battles``. DataError where they allow no ranking, with what to do."""
    o = options or Options()
    found = terms(battles, o.controls)
    weights = pair_weights(battles) if o.balance else None
    fitted = fit(battles, found, ties=o.ties, ridge=o.ridge, weights=weights)
    ends, lost = _ends(battles, found, fitted, o, weights)
    rated = elo(battles, k=o.k, shuffles=o.shuffles, seed=o.seed)
    entries = _entries(battles, fitted, ends, rated, o, weights)
    m = len(fitted.models)
    effects = tuple(
        Effect(name, unit, float(weight), (float(low), float(high)), SCALE * float(weight))
        for name, unit, weight, low, high in zip(
            found.names, found.units, fitted.effects, ends[0][m:], ends[1][m:], strict=False
        )
    )
    return Board(
        entries,
        effects,
        fitted,
        rated,
        battles.n,
        battles.ties,
        battles.both_bad,
        o.interval,
        _outweighed(battles, found, fitted),
        _first_won(battles),
        None if battles.judges is None else tuple(check_voters(battles, alpha=o.alpha, seed=o.seed)),
        tuple(next_pairs(fitted, battles.met(), o.next, rule=o.rule, seed=o.seed)) if o.next else (),
        tuple(_notes(battles, fitted, o, lost)),
    )


def pair_weights(battles: Battles) -> Array:
    """[n] inverse sampling weights: every pair of models weighs the same, all together ``n``."""
    met = battles.met()
    each = met[battles.a, battles.b]
    pairs = np.count_nonzero(np.triu(met))
    return np.asarray(battles.n / pairs / each)


def _ends(
    battles: Battles, found: Terms, fitted: Fit, o: Options, weights: Array | None
) -> tuple[tuple[Array, Array], int]:
    """((lower, upper) ends of every parameter in log-odds, resamples without a fit)."""
    moved = gauge(fitted, None if o.anchor is None else named(battles, o.anchor[0]))
    if o.interval == "bootstrap":
        drawn = bootstrap(battles, found, fitted, rounds=o.rounds, seed=o.seed, weights=weights)
        return drawn.interval(moved), drawn.lost
    centre = moved @ fitted.parameters()
    half = quantile() * np.sqrt(np.clip(np.diag(moved @ fitted.covariance @ moved.T), 0.0, None))
    return (centre - half, centre + half), 0


def _entries(
    battles: Battles, fitted: Fit, ends: tuple[Array, Array], rated: Elo, o: Options, weights: Array | None
) -> tuple[Entry, ...]:
    m = len(fitted.models)
    at = None if o.anchor is None else named(battles, o.anchor[0])
    base = INITIAL if o.anchor is None else o.anchor[1]
    moved = gauge(fitted, at)[:m, :m]
    strengths = moved @ fitted.strengths
    plain = None
    if o.controls:
        plain = moved @ fit(battles, ties=o.ties, ridge=o.ridge, weights=weights).strengths
    half = simultaneous(fitted.covariance[:m, :m], seed=o.seed) * fitted.errors()[:m]
    places = ranks(fitted.strengths - half, fitted.strengths + half)
    counts, rates = battles.counts(), battles.win_rates()
    return tuple(
        Entry(
            fitted.models[i],
            places[i][0],
            places[i][1],
            float(base + SCALE * strengths[i]),
            (float(base + SCALE * ends[0][i]), float(base + SCALE * ends[1][i])),
            int(counts[i]),
            float(rates[i]),
            float(rated.median[i]),
            (float(rated.low[i]), float(rated.high[i])),
            None if plain is None else float(base + SCALE * plain[i]),
        )
        for i in np.argsort(-np.round(strengths, 9), kind="stable")  # equal models in the order of their names
    )


def _outweighed(battles: Battles, found: Terms, fitted: Fit) -> float | None:
    if not found.names:
        return None
    ability = fitted.strengths[battles.a] - fitted.strengths[battles.b]
    beta_0 = found.values @ fitted.effects
    return float(np.mean((ability * beta_0 < 0) & (np.abs(beta_0) > np.abs(ability))))


def _first_won(battles: Battles) -> tuple[float, Interval] | None:
    """The share of decided battles that the answer shown first won, with Wilson's interval for independent battles."""
    decided = (battles.outcome != 0.5) & (battles.first != 0)
    n = int(decided.sum())
    if not n:
        return None
    won = int(((battles.outcome == 1) == (battles.first > 0))[decided].sum())
    return won / n, wilson(won, n)


def _notes(battles: Battles, fitted: Fit, o: Options, lost: int) -> list[str]:
    notes = list(battles.notes)
    if len(battles.models) == 2:
        notes.append("two models only: the scores say no more than their win rate does")
    if not battles.ties and o.ties != "half":
        notes.append(f"there are no ties, so ties={o.ties} is the plain model")
    if o.ridge:
        notes.append(
            f"scores are shrunk towards each other by a ridge of {o.ridge:g}; intervals do not cover what that costs"
        )
    if lost:
        notes.append(f"{lost} of {o.rounds} bootstrap resamples had no finite fit and are left out")
    if o.balance:
        notes.append("every pair of models has the same weight, however often it met")
    problems = None if battles.clusters is None else len(set(battles.clusters))
    if problems is not None and problems < FEW_CLUSTERS:
        notes.append(f"the battles are about {problems} problems only: intervals of so few are too narrow")
    few = [fitted.models[i] for i in np.flatnonzero(battles.counts() < 10)]
    if few:
        notes.append(f"{len(few)} models have fewer than 10 battles: intervals of so few are rough")
    return notes


__all__ = ["Board", "Effect", "Entry", "Options", "leaderboard", "pair_weights"]
