"""Strategies on the yard, beside the optimum.

Each strategy is its own code, run by ``core.solve.solve`` under a token budget, with the yard's generator and
verifier, on the same draws as every other strategy. Nothing is simulated beside it. An outcome is not counted as right
or wrong but as the exact chance, given its stratum and everything that was drawn, that the chosen answer is the right
one: the mean is the same and its error much smaller. Of the same draws three means are known exactly, that of a vote,
that of the best answer, and that of the best policy, which is played on them; regression on these takes most of what is
left, in accuracy and in cost.

A strategy with a budget in samples (``n``) gets the budget's number; one that says how many samples it wants *on
average* (``mean``) gets the budget as its mean, and at most ``cap`` for one problem. Either is compared with the best
policy that has the mean cost it had in fact. A strategy with a method ``fit`` is first shown ``TRAINING`` other
problems of all strata with their references, 64 scored samples of each, and nothing is charged for that; one that makes
an ``Optimum`` of its own is an oracle, and called so.

Where the yard is too large to be solved (``bounds``) the optimum is an interval, and so are distance and share of the
gap; both are then taken over the prior, trap included, since a bound on the whole bounds no stratum.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from thence.core.completion import Ability, Sampling
from thence.core.errors import CallFailed, UsageError
from thence.core.search import POLICY, Result, Strategy, Verifier
from thence.core.solve import check_needs, solve
from thence.core.tree import SOLUTION
from thence.prompts.styles import Bare
from thence.strategies.best_of_n import BestOfN
from thence.strategies.self_consistency import SelfConsistency
from thence.worlds import Stratum, Urn

from .bounds import Bounds, arrangements
from .optimum import MOST_ANSWERS, Floats, Optimum, solvable, solver_calls
from .yard import BUDGETS, CAP, QUALITIES, STRATA, TOKENS, Quality, Yard, YardGenerator, YardVerifier

TRAINING, TRAINING_SAMPLES = 200, 64
SMALL = 0.01  # gaps below a point are not divided
APART = "trap"  # the stratum that the average leaves out


@runtime_checkable
class Learns(Protocol):
    """A strategy that adapts itself to problems of known answers; ``fit`` returns the strategy that it becomes."""

    def fit(self, results: Sequence[Result], references: Sequence[str]) -> Strategy: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A strategy to be measured: ``make(samples, cap, verifier)`` builds it for a budget.

    ``uses_verifier``: without one it is measured once for all verifiers. ``by_mean``: the budget is a mean.
    """

    name: str
    make: Callable[[int, int, Verifier], Strategy]
    uses_verifier: bool = True
    by_mean: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """Accuracy and mean samples per stratum, with the standard errors of both (none: the costs are exact)."""

    accuracy: tuple[float, ...]
    cost: tuple[float, ...]
    errors: tuple[float, ...]
    oracle: bool = False
    cost_errors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """One strategy at one budget under one verifier, beside the optimum at the same mean cost.

    Numbers named ``strata`` are in the order of the yard's strata. ``distance`` is the optimum's accuracy minus the
    strategy's over the prior, ``error`` the standard error of it; ``majority`` is the vote at the same mean cost.
    In a yard that is only bounded ``optimum`` is the lower bound and ``above`` the upper one; else both are equal.
    """

    quality: str
    budget: int
    cost: float
    accuracy: float
    optimum: float
    distance: float
    error: float
    capped: float  # the optimum's accuracy when every problem has exactly the budget
    accuracy_strata: tuple[float, ...]
    optimum_strata: tuple[float, ...]
    distance_strata: tuple[float, ...]
    majority: float
    gap: float  # optimum minus majority, mean of the strata without the trap
    won: float  # strategy minus majority, the same mean
    above: float
    won_error: float = 0.0

    @property
    def slack(self) -> float:
        """How much larger the gap may be."""
        return self.above - self.optimum

    @property
    def closed(self) -> float | None:
        """The share of the gap from majority to the optimum that the strategy closes, on the mean of all strata but
        the trap (where the optimum is an interval: at most, and over the prior); None where the gap is under a point.
        """
        return self.won / self.gap if self.gap >= SMALL else None

    @property
    def closed_least(self) -> float | None:
        """The same beside the upper bound of the optimum."""
        return self.won / (self.gap + self.slack) if self.gap >= SMALL else None


@dataclass(slots=True)
class Row:
    """A strategy with its cells; ``refused`` says at which budgets it cannot run, and why."""

    name: str
    cells: list[Cell] = field(default_factory=list)
    oracle: bool = False
    refused: dict[int, str] = field(default_factory=dict)

    def closed(self, quality: str | None = None) -> float | None:
        """The share of the gap closed over all cells (of one verifier): the sum of what was won by the sum of the
        gaps, so that a small gap counts little; None where there is no gap of a point."""
        cells = self._counted(quality)
        return sum(c.won for c in cells) / sum(c.gap for c in cells) if cells else None

    def closed_least(self, quality: str | None = None) -> float | None:
        """The same beside the upper bounds of the optimum."""
        cells = self._counted(quality)
        return sum(c.won for c in cells) / sum(c.gap + c.slack for c in cells) if cells else None

    def closed_error(self, quality: str | None = None) -> float | None:
        """A standard error of ``closed``, as if all cells erred together: they share their draws."""
        cells = self._counted(quality)
        return sum(c.won_error for c in cells) / sum(c.gap for c in cells) if cells else None

    def _counted(self, quality: str | None) -> list[Cell]:
        return [c for c in self.cells if c.gap >= SMALL and quality in (None, c.quality)]


@dataclass(slots=True)
class Report:
    """All rows, and what they were measured on."""

    strata: tuple[Stratum, ...]
    qualities: tuple[Quality, ...]
    budgets: tuple[int, ...]
    cap: int
    problems: int
    seed: int
    rows: list[Row]
    bounded: bool = False

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [
            {"name": r.name, "oracle": r.oracle, "refused": r.refused}
            | {"closed": r.closed(), "closed_least": r.closed_least(), "closed_error": r.closed_error()}
            | {"cells": [asdict(c) | {"closed": c.closed, "closed_least": c.closed_least} for c in r.cells]}
            for r in self.rows
        ]
        return {
            "strata": [asdict(s) for s in self.strata],
            "qualities": [asdict(q) | {"auroc": q.auroc} for q in self.qualities],
            "budgets": list(self.budgets),
            "cap": self.cap,
            "problems_per_stratum": self.problems,
            "seed": self.seed,
            "bounded": self.bounded,
            "rows": rows,
        }


async def measure(
    entries: Sequence[Entry],
    *,
    strata: tuple[Stratum, ...] = STRATA,
    qualities: Sequence[Quality] = QUALITIES,
    budgets: Sequence[int] = BUDGETS,
    cap: int = CAP,
    problems: int = 32,
    seed: int = 0,
    bounded: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run every entry at every budget under every verifier; ``problems`` of each stratum. A yard that cannot be solved
    exactly, or any with ``bounded``, is bounded. A budget above ``cap`` is a UsageError.
    """
    if max(budgets) > cap or min(budgets) < 1:
        raise UsageError(f"yardstick: the budgets {list(budgets)} must lie between 1 and the cap of {cap} samples")
    if problems < 2:
        raise UsageError(f"yardstick: {problems} problems per stratum tell nothing; at least 2")
    yards = [Yard(strata, quality) for quality in qualities]
    bounded = bounded or not solvable(len(yards[0].laws[0]), cap)
    told("the optimum")
    optima: list[Optimum | Bounds] = [Bounds(yard, cap) if bounded else Optimum(yard, cap) for yard in yards]
    rows = [Row(e.name) for e in entries]
    report = Report(strata, tuple(qualities), tuple(budgets), cap, problems, seed, rows, bounded)
    training = [await _training(yard, seed) for yard in yards]
    exact: dict[tuple[str, int], Controls] = {}
    for yard, optimum in zip(yards, optima, strict=True):
        draws = await drawn(yard, cap, problems, seed)
        for budget in budgets:
            exact[yard.quality.name, budget] = await controls(yard, optimum, budget, problems, seed, draws)
    for entry, row in zip(entries, report.rows, strict=True):
        told(entry.name)
        once: dict[int, Measured] = {}
        for yard, optimum, examples in zip(yards, optima, training, strict=True):
            for budget in budgets:
                try:
                    if entry.uses_verifier or budget not in once:
                        known = exact[yard.quality.name, budget]
                        once[budget] = await run_entry(entry, yard, budget, cap, known, seed, examples)
                except (UsageError, CallFailed) as error:
                    row.refused[budget] = str(error)
                    continue
                row.oracle |= once[budget].oracle
                row.cells.append(compared(once[budget], yard, optimum, budget))
    return report


async def _training(yard: Yard, seed: int) -> tuple[list[Result], list[str]]:
    """Sampled and scored problems of all strata, other ones than those measured, and their right answers."""
    world = yard.world(TRAINING, data_seed=1)
    strategy = BestOfN(YardVerifier(world, yard.quality), n=TRAINING_SAMPLES)
    generator = YardGenerator(world)
    results = [await _solved(world, generator, strategy, i, None, seed) for i in range(TRAINING)]
    return results, [world.right(i) for i in range(TRAINING)]


@dataclass(frozen=True, slots=True)
class Controls:
    """What is known exactly of a budget's draws, to make errors smaller.

    ``values`` [stratum, problem, control]: the chance that the vote of the first so many samples is right, and, where
    the yard is solved, the same of the best answer to them, and of the best policy of that mean; ``means`` [stratum,
    control]: their exact expectations. ``draws`` [stratum, problem] and ``costs`` [stratum]: what that policy draws.
    """

    values: Floats
    means: Floats
    draws: Floats
    costs: Floats

    def corrected(self, z: int, rights: Floats) -> tuple[float, float]:
        """The mean of ``rights`` in stratum ``z`` and its standard error, by regression on what is known."""
        away, here = self.values[z] - self.values[z].mean(axis=0), rights - rights.mean()
        missed, n = self.means[z] - self.values[z].mean(axis=0), len(rights)
        best, shift = float(here @ here) / max(1, n - 1), 0.0
        most = min(away.shape[1], max(1, n // 10))
        for used in (u for size in range(most, 0, -1) for u in itertools.combinations(range(away.shape[1]), size)):
            # chances move together, at most one for one: other slopes are fits to one or two odd problems
            slopes = np.clip(np.linalg.lstsq(away[:, used], here, rcond=1e-9)[0], 0.0, 1.0)
            rest = here - away[:, used] @ slopes
            left = float(rest @ rest) / max(1, n - 1 - len(used))
            if left < best:
                best, shift = left, float(missed[list(used)] @ slopes)
        return float(rights.mean()) + shift, math.sqrt(best / n)

    def paid(self, z: int, draws: Floats) -> tuple[float, float]:
        """The mean of ``draws`` in stratum ``z`` and its standard error, by regression on the best policy's."""
        away, here, n = self.draws[z] - self.draws[z].mean(), draws - draws.mean(), len(draws)
        slope = float(away @ here) / max(float(away @ away), 1e-12)
        slope = slope if 0.0 <= slope <= 2.0 else 0.0
        rest = here - slope * away
        mean = float(draws.mean()) + slope * float(self.costs[z] - self.draws[z].mean())
        return mean, math.sqrt(float(rest @ rest) / max(1, n - 2) / n)


Draws = list[list[list[tuple[str, int]]]]  # [stratum][problem][draw]: an answer and its score


async def drawn(yard: Yard, most: int, problems: int, seed: int) -> Draws:
    """The first ``most`` draws of every problem, the same ones that every strategy gets."""
    strategy, made = SelfConsistency(most), Draws()
    for z in range(len(yard.strata)):
        world = yard.world(problems, z)
        verifier, generator = YardVerifier(world, yard.quality), YardGenerator(world)
        made.append([])
        for i in range(problems):
            result = await _solved(world, generator, strategy, i, None, seed)
            order = {d[-1]: n.found.value for n in result.tree if n.found is not None for d in n.draws}
            made[-1].append([(order[k], verifier.level(i, order[k])) for k in sorted(order)])
    return made


async def controls(
    yard: Yard, optimum: Optimum | Bounds, budget: int, problems: int, seed: int, draws: Draws | None = None
) -> Controls:
    """Judge the vote of the first ``budget`` draws, the best answer to these, and the best policy of that mean."""
    draws = draws or await drawn(yard, optimum.cap, problems, seed)
    values = np.zeros((len(yard.strata), problems, 3))
    spent = np.zeros((len(yard.strata), problems))
    for z, of_stratum in enumerate(draws):
        plays = optimum.played(budget, of_stratum) if isinstance(optimum, Optimum) else [[(1.0, budget)]] * problems
        for i, (seen, play) in enumerate(zip(of_stratum, plays, strict=True)):
            values[z, i, 0] = _vote_right(yard, z, seen[:budget])
            values[z, i, 1] = _best_right(yard, z, seen[:budget])
            values[z, i, 2] = sum(p * _best_right(yard, z, seen[:k]) for p, k in play)
            spent[z, i] = sum(p * k for p, k in play)
    vote = optimum.majority(budget).strata
    if isinstance(optimum, Bounds):
        costs = np.full(len(vote), float(budget))
        return Controls(values[:, :, :1], np.array([vote]).T, spent, costs)
    best = optimum.at(budget)
    means = np.array([vote, optimum.capped(budget).strata, best.strata]).T
    return Controls(values, means, spent, np.array(best.costs))


def _vote_right(yard: Yard, z: int, seen: Sequence[tuple[str, int]]) -> float:
    """The chance that the vote of these draws of stratum ``z`` is right, ties shared; scores are not looked at."""
    counts = Counter(a for a, _ in seen)
    chances = joint_chances(yard.laws[z], yard.quality, tuple((n, None) for n in counts.values()))
    votes = [c for n, c in zip(counts.values(), chances, strict=False) if n == max(counts.values())]
    return sum(votes) / len(votes) / sum(chances)


def _best_right(yard: Yard, z: int, seen: Sequence[tuple[str, int]]) -> float:
    """The same of the answer that is most probably right for who knows the prior over strata."""
    counts, levels = Counter(a for a, _ in seen), dict(seen)
    pairs = tuple((n, levels[a]) for a, n in counts.items())
    every = [joint_chances(law, yard.quality, pairs) for law in yard.laws]
    total = [_over([e[k] for e in every], yard.prior) for k in range(len(pairs))]
    return every[z][total.index(max(total))] / sum(every[z])


async def run_entry(
    entry: Entry,
    yard: Yard,
    budget: int,
    cap: int,
    known: Controls,
    seed: int = 0,
    training: tuple[Sequence[Result], Sequence[str]] = ((), ()),
) -> Measured:
    """One entry on as many problems of each stratum as ``known`` has. Raises what the strategy raises."""
    before, problems = solver_calls(), known.values.shape[1]
    most = cap if entry.by_mean else budget
    accuracy, cost, errors, cost_errors = [], [], [], []
    fitted: Strategy | None = None
    for z in range(len(yard.strata)):
        world = yard.world(problems, z)
        verifier = YardVerifier(world, yard.quality)
        strategy = entry.make(budget, cap, verifier)
        if isinstance(strategy, Learns):
            fitted = fitted or strategy.fit(*training)
            strategy = _with_verifier(fitted, verifier)
        generator = YardGenerator(world)
        if Ability.CONTINUE in strategy.needs:
            raise UsageError(f"{entry.name}: the yardstick's samples have no steps to search")
        check_needs(entry.name, strategy.needs, generator, POLICY)
        rights, draws = np.zeros(problems), np.zeros(problems)
        for i in range(problems):
            result = await _solved(world, generator, strategy, i, most, seed)
            rights[i] = _chance_right(result, yard, z, world, i, verifier if entry.uses_verifier else None)
            draws[i] = (result.ledger.total_charged.generated or 0) / TOKENS
            await asyncio.sleep(0)  # whoever wants to stop this may
        mean, error = known.corrected(z, rights)
        accuracy.append(mean)
        errors.append(error)
        mean, error = known.paid(z, draws)
        cost.append(mean)
        cost_errors.append(error)
    oracle = solver_calls() > before
    return Measured(tuple(accuracy), tuple(cost), tuple(errors), oracle, tuple(cost_errors))


def _with_verifier(strategy: Strategy, verifier: Verifier) -> Strategy:
    """The verifier knows which world it is in, so each stratum's world has its own."""
    return (
        cast(Strategy, replace(cast(Any, strategy), verifier=verifier)) if hasattr(strategy, "verifier") else strategy
    )


async def _solved(
    world: Urn, generator: YardGenerator, strategy: Strategy, number: int, samples: int | None, seed: int
) -> Result:
    problem, style = world.problem(number), Bare()
    budget = None
    if samples is not None:
        budget = len(generator.tokens(style.context(problem))) + TOKENS * samples
    return await solve(
        problem,
        generator=generator,
        strategy=strategy,
        style=style,
        reading=world.task().reading,
        sampling=Sampling(temperature=1.0, max_tokens=TOKENS),
        seed=seed,
        budget=budget,
    )


def _chance_right(result: Result, yard: Yard, z: int, world: Urn, number: int, verifier: YardVerifier | None) -> float:
    """The chance that the answer is right, given the stratum and all that was drawn; without answer 0."""
    if result.answer is None:
        return 0.0
    seen = _seen(result)
    if result.answer not in seen:  # a guess: nothing is known about it
        return float(result.answer == world.right(number))
    pairs = tuple((n, verifier.level(number, a) if verifier else None) for a, n in seen.items())
    joint = joint_chances(yard.laws[z], yard.quality, pairs)
    return joint[list(seen).index(result.answer)] / sum(joint)


def _seen(result: Result) -> dict[str, int]:
    """How often each answer was drawn."""
    seen: dict[str, int] = {}
    for node in result.tree:
        if node.kind in SOLUTION and node.found is not None:
            seen[node.found.value] = seen.get(node.found.value, 0) + node.multiplicity
    return seen


@lru_cache(maxsize=200_000)
def joint_chances(law: tuple[float, ...], quality: Quality, seen: tuple[tuple[int, int | None], ...]) -> list[float]:
    """Up to one factor: the chance of drawing these (count, score) pairs with each of the answers being the right one,
    the seen ones in order and then the unseen ones together. A score of None was not looked at."""
    m = len(law)
    counts = [n for n, _ in seen] + [0] * (m - len(seen))
    shares = [0.0] * m
    if m > MOST_ANSWERS:
        shares = [float(p) for p in arrangements(law, np.array([counts]))[0]]
    else:
        for pi in itertools.permutations(range(m)):
            shares[pi.index(0)] += math.prod(law[j] ** n for j, n in zip(pi, counts, strict=True))
    for r in range(m):
        for a, (_, score) in enumerate(seen):
            if score is not None:
                shares[r] *= (quality.right if a == r else quality.wrong)[score]
    return [*shares[: len(seen)], sum(shares[len(seen) :])]


def compared(made: Measured, yard: Yard, optimum: Optimum | Bounds, budget: int) -> Cell:
    """A measured strategy beside the optimum and the majority vote at its own mean cost."""
    prior, solved = yard.prior, isinstance(optimum, Optimum)
    cost = max(1.0, _over(made.cost, prior))
    best, vote = optimum.at(cost), optimum.majority_at(cost)
    plain = [i for i, s in enumerate(yard.strata) if s.name != APART or not solved]
    weights = [1.0 / len(plain)] * len(plain) if solved else list(prior)
    accuracy = _over(made.accuracy, prior)
    majority = _over([vote.strata[i] for i in plain], weights)
    # an error of the cost is one of the optimum that the strategy is compared with
    unsure = best.price * math.hypot(*(p * e for p, e in zip(prior, made.cost_errors, strict=False)))
    return Cell(
        quality=yard.quality.name,
        budget=budget,
        cost=cost,
        accuracy=accuracy,
        optimum=best.accuracy,
        distance=best.accuracy - accuracy,
        error=math.hypot(unsure, *(p * e for p, e in zip(prior, made.errors, strict=True))),
        capped=optimum.capped(budget).accuracy,
        accuracy_strata=made.accuracy,
        optimum_strata=best.strata,
        distance_strata=tuple(b - a for a, b in zip(made.accuracy, best.strata, strict=True)),
        majority=_over(vote.strata, prior),
        gap=(_over([best.strata[i] for i in plain], weights) if solved else best.accuracy) - majority,
        won=_over([made.accuracy[i] for i in plain], weights) - majority,
        above=best.accuracy if solved else best.above,
        won_error=math.hypot(unsure, *(w * made.errors[i] for w, i in zip(weights, plain, strict=True))),
    )


def _over(values: Sequence[float], prior: Sequence[float]) -> float:
    return sum(p * v for p, v in zip(prior, values, strict=True))


__all__ = [
    "Cell",
    "Controls",
    "Draws",
    "Entry",
    "Learns",
    "Measured",
    "Report",
    "Row",
    "compared",
    "controls",
    "drawn",
    "joint_chances",
    "measure",
    "run_entry",
]
