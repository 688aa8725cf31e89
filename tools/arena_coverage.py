"""Are the arena's numbers right? Simulated arenas whose truth is known, against thresholds set beforehand.

``python tools/arena_coverage.py [--simulations 200] [--rounds 200] [--json]``; the exit code is 1 when a threshold is
missed. Thresholds, written before the first run:

1. Over 200 simulations the 95 % intervals of all Bradley-Terry parameters (strengths, and in a line of their own the
   terms of beta_0 and the tie number) hold the truth in 92 to 98 % of cases, for the sandwich and for the bootstrap,
   in every one of the arenas below. ``half`` under true ties is a quasi-likelihood; its truth is what it converges
   to, computed from the exact law of the battles.
2. The simultaneous intervals hold for all strengths of a simulation at once in at least 92 % of simulations, and in
   at least 92 % no model's rank interval misses its true rank.
3. A planted style effect is removed: the mean error of the strengths is above .2 without the term and below .05 with
   it; the true first is not first in more than half of the simulations without it, and is first in at least 95 %
   with it.
4. Elo depends on the order (over 200 shuffles some rating moves by more than 20 points) and its standard deviation
   grows like the square root of K (K = 16 against 4: between 1.6 and 2.4 times); Bradley-Terry under the same shuffles
   moves by less than 1e-6.
5. Honest crowds: over 200 simulations at most 5 % have a flagged voter (a share of at most 8 % is accepted: 5 % plus
   two standard errors). Careless voters (a fair coin) among them are flagged in at least 80 % of cases at 300 votes.
6. Active selection by ``scores`` ends with a smaller widest interval of the strengths than uniform pairs, at equal
   numbers of battles, by more than two standard errors over 40 simulations; ``votes`` does so for the widest interval
   of the pairs' win rates.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thence.evals.arena.active import next_pairs, vote_variance
from thence.evals.arena.battles import Battles, joined
from thence.evals.arena.bradley_terry import Fit, Likelihood, Terms, Ties, fit, probabilities
from thence.evals.arena.elo import elo
from thence.evals.arena.simulate import Arena
from thence.evals.arena.style import terms
from thence.evals.arena.uncertainty import bootstrap, gauge, quantile, ranks, simultaneous
from thence.evals.arena.voters import check_voters

STRENGTHS = np.array([-1.2, -0.8, -0.4, -0.1, 0.2, 0.5, 0.7, 1.1])
VERBOSE = np.array([0.8, -0.2, 0.5, -0.6, 0.4, -0.5, 0.3, -0.7])  # weak models write more
RARE = np.where(np.add.outer(np.arange(8), np.arange(8)) % 3 == 0, 5.0, 1.0)  # some pairs meet five times as often


@dataclass(frozen=True, slots=True)
class Case:
    """One arena and how it is fitted."""

    name: str
    arena: Arena
    n: int
    ties: Ties = "half"
    controls: tuple[str, ...] = ()


CASES = (
    Case("no ties", Arena(STRENGTHS), 600),
    Case("no ties, uneven pairs", Arena(STRENGTHS, pairs=RARE), 600),
    Case("davidson", Arena(STRENGTHS, tie=-0.2), 600, "davidson"),
    Case("rao-kupper", Arena(STRENGTHS, tie=0.4, ties="rao-kupper"), 600, "rao-kupper"),
    Case("half under davidson ties", Arena(STRENGTHS, tie=-0.2, pairs=RARE), 600),
    Case("position", Arena(STRENGTHS, position=0.4), 600, controls=("position",)),
    Case(
        "position, style, ties",
        Arena(STRENGTHS, tie=-0.2, position=0.3, style={"length": 1.5}, verbosity=VERBOSE),
        1200,
        "davidson",
        ("position", "length"),
    ),
)


def truth(case: Case, battles: Battles, found: Terms) -> np.ndarray:
    """[parameters] what the fit should find, for strengths that add up to 0."""
    arena = case.arena
    effects = [
        arena.position if name == "position" else arena.style[name] * spread(battles, name) for name in found.names
    ]
    tie = [] if case.ties == "half" else [arena.tie]
    strengths = arena.strengths - arena.strengths.mean()
    if case.ties == "half" and arena.tie is not None:
        strengths = converged(arena)
    return np.concatenate([strengths, effects, tie])


def spread(battles: Battles, name: str) -> float:
    """What the normalised differences were divided by."""
    pair = battles.features[name]
    return float(np.sqrt(np.mean(((pair[:, 0] - pair[:, 1]) / pair.sum(axis=1)) ** 2)))


def converged(arena: Arena) -> np.ndarray:
    """The strengths to which counting ties as half wins converges, from the exact law of battles."""
    a, b, law = arena.law()
    win, _, tie = probabilities(arena.strengths[a] - arena.strengths[b], arena.tie, arena.ties)
    likelihood = Likelihood(a, b, win + tie / 2, np.zeros((len(a), 0)), len(arena.strengths), "half", 0.0)
    found = likelihood.maximum(law * len(a))
    assert found is not None
    return found


def coverage(case: Case, simulations: int, rounds: int) -> dict[str, Any]:
    """Shares of true parameters in their intervals, and of simulations in which all statements hold together."""
    m = len(case.arena.strengths)
    held: dict[str, list[np.ndarray]] = {"sandwich": [], "bootstrap": []}
    together, placed = [], []
    for seed in range(simulations):
        battles = case.arena.draw(case.n, seed)
        found = terms(battles, case.controls)
        fitted = fit(battles, found, ties=case.ties)
        target = truth(case, battles, found)
        half = quantile() * fitted.errors()
        held["sandwich"].append(np.abs(fitted.parameters() - target) <= half)
        drawn = bootstrap(battles, found, fitted, rounds=rounds, seed=seed)
        low, high = drawn.interval(gauge(fitted))
        held["bootstrap"].append((low <= target) & (target <= high))
        wide = simultaneous(fitted.covariance[:m, :m]) * fitted.errors()[:m]
        together.append(bool(np.all(np.abs(fitted.strengths - target[:m]) <= wide)))
        placed.append(ranks_hold(fitted, wide, target[:m]))
    row: dict[str, Any] = {"arena": case.name, "battles": case.n}
    for kind, inside in held.items():
        shares = np.array(inside)
        row[kind] = float(shares[:, :m].mean())
        row[f"{kind}, terms"] = float(shares[:, m:].mean()) if shares.shape[1] > m else None
    return row | {"simultaneous": float(np.mean(together)), "ranks": float(np.mean(placed))}


def ranks_hold(fitted: Fit, half: np.ndarray, target: np.ndarray) -> bool:
    """Whether every true rank lies in its model's rank interval."""
    places = ranks(fitted.strengths - half, fitted.strengths + half)
    true = [1 + int((target > t).sum()) for t in target]
    return all(best <= rank <= worst for (best, worst), rank in zip(places, true, strict=True))


def style_removed(simulations: int) -> dict[str, float]:
    """A style effect that reverses the order of ability, with and without its term."""
    strengths = np.array([-0.6, -0.3, 0.0, 0.3, 0.6])
    arena = Arena(strengths, style={"length": 3.0}, verbosity=-1.2 * strengths)
    errors: dict[str, list[float]] = {"without": [], "with": []}
    first: dict[str, list[bool]] = {"without": [], "with": []}
    made: dict[str, list[np.ndarray]] = {"without": [], "with": []}
    for seed in range(simulations):
        battles = arena.draw(4000, seed)
        for name, controls in (("without", ()), ("with", ("length",))):
            found = fit(battles, terms(battles, controls)).strengths
            made[name].append(found)
            first[name].append(int(found.argmax()) == int(strengths.argmax()))
    for name, rows in made.items():
        errors[name].append(float(np.abs(np.mean(rows, axis=0) - strengths).max()))
    return {f"bias {k}": v[0] for k, v in errors.items()} | {f"first {k}": float(np.mean(v)) for k, v in first.items()}


def order_dependence() -> dict[str, float]:
    """How far Elo and Bradley-Terry move when the same battles come in another order."""
    battles = Arena(np.array([-0.5, -0.1, 0.2, 0.4])).draw(20_000, 0)
    small, large = elo(battles, k=4, shuffles=200), elo(battles, k=16, shuffles=200, seed=1)
    base = fit(battles).strengths
    chance = np.random.default_rng(0)
    moved = max(
        float(np.abs(fit(battles.taken(chance.permutation(battles.n))).strengths - base).max()) for _ in range(20)
    )

    def width(rated: object) -> float:
        return float(np.mean(rated.high - rated.low))  # type: ignore[attr-defined]

    return {"elo moves": small.spread, "K 16 to 4": width(large) / width(small), "bradley-terry moves": moved}


def voters(simulations: int) -> dict[str, float]:
    """How often an honest crowd has a flagged voter, and how often careless voters are caught."""
    strengths = np.linspace(-2.0, 2.0, 6)
    honest = Arena(strengths, tie=-0.5, voters=30)
    false = [any(v.flagged for v in check_voters(honest.draw(3000, seed), seed=seed)) for seed in range(simulations)]
    mixed = replace(honest, careless=frozenset({3, 17}))
    caught = [
        sum(v.flagged and v.name in ("v003", "v017") for v in check_voters(mixed.draw(9000, seed), seed=seed)) / 2
        for seed in range(max(1, simulations // 5))
    ]
    return {"honest crowds flagged": float(np.mean(false)), "careless caught": float(np.mean(caught))}


def active(simulations: int) -> dict[str, float]:
    """Widest interval (standard error) under a rule minus that under uniform pairs: mean and standard error."""
    strengths = np.array([-2.0, -0.7, -0.2, 0.1, 0.4, 0.9, 2.2])
    out: dict[str, float] = {}
    measures: dict[str, Callable[[Fit, np.ndarray], float]] = {"scores": widest_score, "votes": widest_vote}
    for rule, measure in measures.items():
        gains = [
            fought(strengths, rule, seed, measure) - fought(strengths, "", seed, measure) for seed in range(simulations)
        ]
        out[rule] = float(np.mean(gains))
        out[f"{rule}, s.e."] = float(np.std(gains, ddof=1) / np.sqrt(simulations))
    return out


def widest_score(fitted: Fit, met: np.ndarray) -> float:
    return float(fitted.errors()[: len(fitted.models)].max())


def widest_vote(fitted: Fit, met: np.ndarray) -> float:
    pairs = np.triu_indices(len(met), 1)
    return float(np.sqrt(vote_variance(fitted)[pairs] / met[pairs]).max())


def fought(strengths: np.ndarray, rule: str, seed: int, measure: Callable[[Fit, np.ndarray], float]) -> float:
    """20 rounds of 42 battles after 10 of every pair, by ``rule`` or (empty) by two more of every pair."""
    chance = np.random.default_rng(seed)
    arena = Arena(strengths)
    left, right = np.triu_indices(len(strengths), 1)
    battles = arena.fight(np.tile(left, 10), np.tile(right, 10), chance)
    at = {name: i for i, name in enumerate(battles.models)}
    for step in range(20):
        if rule:
            chosen = next_pairs(fit(battles, ridge=0.1), battles.met(), 42, rule=rule, seed=step)  # type: ignore[arg-type]
            a = np.repeat([at[x] for x, _, _ in chosen], [n for *_, n in chosen])
            b = np.repeat([at[y] for _, y, _ in chosen], [n for *_, n in chosen])
        else:
            a, b = np.tile(left, 2), np.tile(right, 2)
        battles = joined([battles, arena.fight(a, b, chance)])
    return measure(fit(battles, ridge=0.1), battles.met())


def verdicts(document: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Every threshold by name, and whether it holds."""
    figures = ("sandwich", "bootstrap", "sandwich, terms", "bootstrap, terms")
    shares = [row[f] for row in rows for f in figures if row[f] is not None]
    whole = [row[f] for row in rows for f in ("simultaneous", "ranks")]
    style, order, votes, rule = (document[k] for k in ("style", "order", "voters", "active"))
    return {
        "1 coverage within 92 to 98 %": all(0.92 <= s <= 0.98 for s in shares),
        "2 simultaneous and ranks at least 92 %": min(whole) >= 0.92,
        "3 style effect removed": style["bias without"] > 0.2
        and style["bias with"] < 0.05
        and style["first without"] < 0.5
        and style["first with"] >= 0.95,
        "4 order": order["elo moves"] > 20 and 1.6 < order["K 16 to 4"] < 2.4 and order["bradley-terry moves"] < 1e-6,
        "5 voters": votes["honest crowds flagged"] <= 0.08 and votes["careless caught"] >= 0.8,
        "6 active": all(rule[r] < -2 * rule[f"{r}, s.e."] for r in ("scores", "votes")),
    }


def main() -> int:
    """Print everything; returns the exit code."""
    parser = argparse.ArgumentParser(description="Coverage of the arena's intervals, by simulation.")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [coverage(case, given.simulations, given.rounds) for case in CASES]
    document: dict[str, Any] = {
        "coverage": rows,
        "style": style_removed(min(100, given.simulations)),
        "order": order_dependence(),
        "voters": voters(given.simulations),
        "active": active(min(40, given.simulations)),
    }
    held = verdicts(document, rows)
    if given.json:
        print(json.dumps(document | {"held": held}))
    else:
        show(document, rows, held)
    return 0 if all(held.values()) else 1


def show(document: dict[str, Any], rows: list[dict[str, Any]], held: dict[str, bool]) -> None:
    """The table of coverage, then the rest line by line."""
    columns = [key for key in rows[0] if key != "arena"]
    print(f"{'arena':<26}" + "".join(f"{c:>18}" for c in columns))
    for row in rows:
        cells = [row[c] for c in columns]
        shown = ["-" if c is None else f"{100 * c:.1f} %" if isinstance(c, float) else str(c) for c in cells]
        print(f"{row['arena']:<26}" + "".join(f"{c:>18}" for c in shown))
    for name in ("style", "order", "voters", "active"):
        part = document[name]
        print(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in part.items()))
    for threshold, holds in held.items():
        print(f"{'holds ' if holds else 'MISSED'}  {threshold}")


if __name__ == "__main__":
    sys.exit(main())
