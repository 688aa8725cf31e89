"""Strategies on the yard, beside the optimum.

Each strategy is its own code, run by ``core.solve.solve`` under a token budget, with the yard's generator and
verifier, on the same draws as every other strategy. Nothing is simulated beside it. An outcome is not counted as right
or wrong but as the exact chance, given its stratum and everything that was drawn, that the chosen answer is the right
one: the mean is the same and its error much smaller. Of the same draws two means are known exactly, that of a vote and
that of the best answer; regression on both takes most of what is left.

A strategy with a budget in samples (``n``) gets the budget's number; one that says how many samples it wants *on
average* (``mean``) gets the budget as its mean, and at most ``cap`` for one problem. Either is compared with the best
policy that has the mean cost it had in fact. A strategy with a method ``fit`` is first shown ``TRAINING`` other
problems of all strata with their references, 64 scored samples of each, and nothing is charged for that; one that makes
an ``Optimum`` of its own is an oracle, and called so.
"""

from __future__ import annotations

import asyncio
import itertools
import math
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

from .optimum import Floats, Optimum, solver_calls
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
    """Accuracy and mean samples per stratum, with the standard errors of both."""

    accuracy: tuple[float, ...]
    cost: tuple[float, ...]
    errors: tuple[float, ...]
    oracle: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One strategy at one budget under one verifier, beside the optimum at the same mean cost.

    Numbers named ``strata`` are in the order of the yard's strata. ``distance`` is the optimum's accuracy minus the
    strategy's over the prior, ``error`` the standard error of it; ``majority`` is the vote at the same mean cost.
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

    @property
    def closed(self) -> float | None:
        """The share of the gap from majority to the optimum that the strategy closes, on the mean of all strata but
        the trap; None where the gap is under a point."""
        return self.won / self.gap if self.gap >= SMALL else None


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
        cells = [c for c in self.cells if c.gap >= SMALL and quality in (None, c.quality)]
        return sum(c.won for c in cells) / sum(c.gap for c in cells) if cells else None


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

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [
            {"name": r.name, "oracle": r.oracle, "refused": r.refused, "closed": r.closed()}
            | {"cells": [asdict(c) | {"closed": c.closed} for c in r.cells]}
            for r in self.rows
        ]
        return {
            "strata": [asdict(s) for s in self.strata],
            "qualities": [asdict(q) | {"auroc": q.auroc} for q in self.qualities],
            "budgets": list(self.budgets),
            "cap": self.cap,
            "problems_per_stratum": self.problems,
            "seed": self.seed,
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
    told: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run every entry at every budget under every verifier; ``problems`` of each stratum.

    A budget above ``cap`` is a UsageError; so is a yard that cannot be solved exactly.
    """
    if max(budgets) > cap or min(budgets) < 1:
        raise UsageError(f"yardstick: the budgets {list(budgets)} must lie between 1 and the cap of {cap} samples")
    if problems < 2:
        raise UsageError(f"yardstick: {problems} problems per stratum tell nothing; at least 2")
    yards = [Yard(strata, quality) for quality in qualities]
    optima = [Optimum(yard, cap) for yard in yards]
    report = Report(strata, tuple(qualities), tuple(budgets), cap, problems, seed, [Row(e.name) for e in entries])
    training = [await _training(yard, seed) for yard in yards]
    exact = {
        (yard.quality.name, budget): await controls(yard, optimum, budget, problems, seed)
        for yard, optimum in zip(yards, optima, strict=True)
        for budget in budgets
    }
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

    ``values`` [stratum, problem, 2]: the chance that the vote of the first so many samples is right, and the same of
    the best answer to them; ``means`` [stratum, 2]: the exact expectations of both.
    """

    values: Floats
    means: Floats

    def corrected(self, z: int, rights: Floats) -> tuple[float, float]:
        """The mean of ``rights`` in stratum ``z`` and its standard error, by regression on what is known."""
        away, here = self.values[z] - self.values[z].mean(axis=0), rights - rights.mean()
        missed, best = self.means[z] - self.values[z].mean(axis=0), (float(here @ here), 0.0)
        for used in ([0, 1], [0], [1]):
            slopes = np.linalg.lstsq(away[:, used], here, rcond=1e-9)[0]
            rest = here - away[:, used] @ slopes
            # chances move together, at most one for one: other slopes are fits to one or two odd problems
            if slopes.min() >= 0.0 and slopes.max() <= 1.0 + 1e-6 and rest @ rest < best[0]:
                best = float(rest @ rest), float(missed[used] @ slopes)
        error = math.sqrt(best[0] / max(1, len(rights) - 3) / len(rights))
        return float(rights.mean()) + best[1], error


async def controls(yard: Yard, optimum: Optimum, budget: int, problems: int, seed: int) -> Controls:
    """Run the vote of ``budget`` samples, and judge it and the best answer to the same samples."""
    strategy, values = SelfConsistency(budget), np.zeros((len(yard.strata), problems, 2))
    for z in range(len(yard.strata)):
        world = yard.world(problems, z)
        verifier, generator = YardVerifier(world, yard.quality), YardGenerator(world)
        for i in range(problems):
            result = await _solved(world, generator, strategy, i, budget, seed)
            seen = _seen(result)
            votes = [a for a, n in seen.items() if n == max(seen.values())]
            pairs = tuple((n, verifier.level(i, a)) for a, n in seen.items())
            every = [joint_chances(law, yard.quality, pairs) for law in yard.laws]
            total = [_over([e[k] for e in every], yard.prior) for k in range(len(seen))]
            mine, plain = every[z], joint_chances(yard.laws[z], yard.quality, tuple((n, None) for n in seen.values()))
            shared = sum(plain[list(seen).index(a)] for a in votes) / len(votes)
            values[z, i] = shared / sum(plain), mine[total.index(max(total))] / sum(mine)
    exact = np.array([optimum.majority(budget).strata, optimum.capped(budget).strata]).T
    return Controls(values, exact)


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
    accuracy, cost, errors = [], [], []
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
        cost.append(float(draws.mean()))
    return Measured(tuple(accuracy), tuple(cost), tuple(errors), oracle=solver_calls() > before)


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
    for pi in itertools.permutations(range(m)):
        shares[pi.index(0)] += math.prod(law[j] ** n for j, n in zip(pi, counts, strict=True))
    for r in range(m):
        for a, (_, score) in enumerate(seen):
            if score is not None:
                shares[r] *= (quality.right if a == r else quality.wrong)[score]
    return [*shares[: len(seen)], sum(shares[len(seen) :])]


def compared(made: Measured, yard: Yard, optimum: Optimum, budget: int) -> Cell:
    """A measured strategy beside the optimum and the majority vote at its own mean cost."""
    prior = yard.prior
    cost = max(1.0, _over(made.cost, prior))
    best, vote = optimum.at(cost), optimum.majority_at(cost)
    plain = [i for i, s in enumerate(yard.strata) if s.name != APART]
    accuracy = _over(made.accuracy, prior)
    gap = sum(best.strata[i] - vote.strata[i] for i in plain) / len(plain)
    won = sum(made.accuracy[i] - vote.strata[i] for i in plain) / len(plain)
    return Cell(
        quality=yard.quality.name,
        budget=budget,
        cost=cost,
        accuracy=accuracy,
        optimum=best.accuracy,
        distance=best.accuracy - accuracy,
        error=math.sqrt(sum((p * e) ** 2 for p, e in zip(prior, made.errors, strict=True))),
        capped=optimum.capped(budget).accuracy,
        accuracy_strata=made.accuracy,
        optimum_strata=best.strata,
        distance_strata=tuple(b - a for a, b in zip(made.accuracy, best.strata, strict=True)),
        majority=_over(vote.strata, prior),
        gap=gap,
        won=won,
    )


def _over(values: Sequence[float], prior: Sequence[float]) -> float:
    return sum(p * v for p, v in zip(prior, values, strict=True))


__all__ = [
    "Cell",
    "Controls",
    "Entry",
    "Learns",
    "Measured",
    "Report",
    "Row",
    "compared",
    "controls",
    "joint_chances",
    "measure",
    "run_entry",
]
