"""The yardstick: the optimum against brute force and known forms, and strategies beside it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from thence.core.completion import Ability, Sampling
from thence.core.errors import UsageError
from thence.core.search import Result, Search, Strategy
from thence.core.solve import solve
from thence.evals.statistics.metrics import maj_at_k_population
from thence.evals.yardstick import Entry, Optimum, Quality, Row, Yard, YardGenerator, YardVerifier, measure
from thence.evals.yardstick.bounds import PRICES, Bounds, _Seen, arrangements
from thence.evals.yardstick.measure import Cell, Measured, compared, controls, joint_chances, run_entry
from thence.evals.yardstick.optimum import Floats, Point, States, solvable
from thence.evals.yardstick.yard import QUALITIES, STRATA, TOKENS, strata_of
from thence.prompts.styles import Bare
from thence.strategies.adaptive_consistency import AdaptiveConsistency
from thence.strategies.best_of_n import BestOfN
from thence.strategies.greedy import Greedy
from thence.strategies.self_consistency import SelfConsistency
from thence.worlds import Stratum, laws

approx = pytest.approx
USELESS, WEAK, GOOD, NEAR = QUALITIES
PERFECT = Quality("perfect", (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
PAIR = (Stratum("easy", (0.7, 0.2, 0.1), 2.0), Stratum("trap", (0.25, 0.6, 0.15)))


def one(law: tuple[float, ...], quality: Quality = USELESS) -> Yard:
    return Yard((Stratum("all", law),), quality)


# --- the optimum -----------------------------------------------------------------------------------------------------


@dataclass
class Brute:
    """The same optimum by going through every hypothesis (stratum, who is who, who is scored how) and every history."""

    yard: Yard
    cap: int
    hypotheses: list[tuple[float, tuple[float, ...], int, tuple[int, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        m, q = len(self.yard.laws[0]), self.yard.quality
        for share, law in zip(self.yard.prior, self.yard.laws, strict=True):
            for order in itertools.permutations(range(m)):
                for scores in itertools.product(range(3), repeat=m):
                    right = order.index(0)
                    looks = math.prod((q.right if a == right else q.wrong)[s] for a, s in enumerate(scores))
                    chance = share / math.factorial(m) * looks
                    if chance > 0:
                        self.hypotheses.append((chance, tuple(law[i] for i in order), right, scores))

    def best(self, price: float) -> float:
        """max of accuracy - price * samples, the first sample included."""
        return self.value(price, tuple(range(len(self.hypotheses))), [h[0] for h in self.hypotheses], 0, frozenset())

    def value(
        self, price: float, alive: tuple[int, ...], chances: list[float], drawn: int, seen: frozenset[int]
    ) -> float:
        """The value times the chance of the history; ``chances`` are those of each hypothesis with the history."""
        stop = 0.0
        for a in seen:
            stop = max(stop, sum(c for i, c in zip(alive, chances, strict=True) if self.hypotheses[i][2] == a))
        if drawn == self.cap:
            return stop
        go = -price * sum(chances)
        for a in range(len(self.yard.laws[0])):
            for s in range(3):
                kept = [
                    (i, c * self.hypotheses[i][1][a])
                    for i, c in zip(alive, chances, strict=True)
                    if self.hypotheses[i][3][a] == s
                ]
                if kept:
                    indices, left = zip(*kept, strict=True)
                    go += self.value(price, indices, list(left), drawn + 1, seen | {a})
        return go if drawn == 0 else max(stop, go)


@pytest.mark.parametrize("quality", [USELESS, WEAK, GOOD, PERFECT], ids=lambda q: q.name)
@pytest.mark.parametrize("price", [0.0, 0.01, 0.05, 0.3])
def test_the_optimum_is_that_of_brute_force(quality: Quality, price: float) -> None:
    yard = Yard(PAIR, quality)
    point = Optimum(yard, 4).priced(price)
    assert point.accuracy - price * point.cost == approx(Brute(yard, 4).best(price), abs=1e-9)
    prior = yard.prior
    assert sum(p * a for p, a in zip(prior, point.strata, strict=True)) == approx(point.accuracy)
    assert sum(p * c for p, c in zip(prior, point.costs, strict=True)) == approx(point.cost)


def test_a_budget_for_every_problem_is_brute_force_without_a_price() -> None:
    yard = Yard(PAIR, WEAK)
    optimum = Optimum(yard, 5)
    for n in (1, 2, 4):
        assert optimum.capped(n).accuracy == approx(Brute(yard, n).best(0.0), abs=1e-9)
    assert optimum.capped(5).accuracy == approx(optimum.priced(0.0).accuracy)  # drawing is free and never hurts
    assert optimum.capped(1).accuracy == approx(sum(p * law[0] for p, law in zip(yard.prior, yard.laws, strict=True)))


def test_states_of_ever_more_draws_have_chances_that_sum_to_one() -> None:
    optimum = Optimum(Yard(quality=GOOD), 9)
    for layer, weights in zip(optimum._space.layers, optimum._weights, strict=True):
        assert layer.paths @ weights.evidence.sum(axis=1) == approx(1.0)
        assert (np.diff(layer.codes, axis=1) <= 0).all()


def test_a_mean_budget_is_optimal_by_duality() -> None:
    """For every price, max(accuracy - price * cost) + price * mean bounds what any policy of that mean can do."""
    optimum = Optimum(Yard(quality=WEAK), 12)
    for mean in (1.0, 1.7, 3.0, 6.5, 11.0):
        point = optimum.at(mean)
        bound = min(
            (p := optimum.priced(10.0 ** -(k / 8))).accuracy + (mean - p.cost) * 10.0 ** -(k / 8) for k in range(60)
        )
        assert point.accuracy <= bound + 1e-9
        assert point.accuracy == approx(bound, abs=2e-3)
        assert point.above - point.accuracy < 1e-6
        assert sum(p * c for p, c in zip(optimum.yard.prior, point.costs, strict=True)) == approx(point.cost)
        assert point.cost == approx(min(mean, optimum.priced(0.0).cost))
    for n in (2, 4, 8):  # the same mean for every problem is one of its policies
        assert optimum.at(float(n)).accuracy >= optimum.capped(n).accuracy - 1e-9
    assert optimum.at(2.0).accuracy > optimum.capped(2).accuracy + 0.01


def test_a_perfect_verifier_makes_coverage_of_every_stratum() -> None:
    optimum = Optimum(Yard(quality=PERFECT), 10)
    for n in (1, 3, 10):
        assert optimum.capped(n).strata == approx([laws.coverage(law[0], n) for law in optimum.yard.laws])


def test_a_perfect_verifier_stops_at_the_first_right_answer() -> None:
    p, cap = 0.4, 20
    point = Optimum(one((p, 0.3, 0.3), PERFECT), cap).priced(1e-4)
    assert point.accuracy == approx(laws.coverage(p, cap))
    # after two wrong answers the third is known to be right, but has to be drawn before it can be said
    assert point.cost == approx(laws.coverage(p, cap) / p)


def test_without_a_verifier_the_most_frequent_answer_is_best_where_it_is_the_right_one() -> None:
    optimum = Optimum(one((0.5, 0.25, 0.25)), 9)
    for n in (1, 2, 5, 9):
        assert optimum.capped(n).accuracy == approx(maj_at_k_population((0.5, 0.25, 0.25), [True, False, False], n))
        assert optimum.capped(n).accuracy == approx(optimum.majority(n).accuracy)


def test_who_knows_that_a_trap_is_a_trap_does_not_fall_into_it() -> None:
    optimum = Optimum(one((0.3, 0.7)), 15)
    assert optimum.majority(15).accuracy < 0.1
    # the rarer answer, once there are two
    expected = sum(laws.binomial(15, 0.3)[k] for k in range(1, 8)) + laws.binomial(15, 0.3)[15]
    assert optimum.capped(15).accuracy == approx(expected)


def test_majority_is_the_exact_vote_of_every_stratum() -> None:
    optimum = Optimum(Yard(quality=GOOD), 12)
    for n in (1, 2, 3, 7, 12):
        exact = [maj_at_k_population(law, [True, False, False, False], n) for law in optimum.yard.laws]
        assert optimum.majority(n).strata == approx(exact)
    halfway = optimum.majority_at(4.5)
    assert halfway.accuracy == approx((optimum.majority(4).accuracy + optimum.majority(5).accuracy) / 2)


def test_better_verifiers_and_more_samples_never_hurt() -> None:
    values = [[Optimum(Yard(quality=q), 12).at(b).accuracy for b in (1.0, 2.0, 4.0, 8.0, 12.0)] for q in QUALITIES]
    for row in values:
        assert (np.diff(row) > -1e-9).all()
    for column in zip(*values, strict=True):
        assert (np.diff(column) > -1e-9).all()


def test_what_cannot_be_solved_is_refused() -> None:
    with pytest.raises(UsageError, match="too many"):
        Optimum(Yard((Stratum("five", (0.2,) * 5),)), 4)
    assert not solvable(5, 4)
    assert not solvable(4, 200)
    assert solvable(4, 64)
    with pytest.raises(UsageError, match="smaller cap"):
        States(4, 200)
    with pytest.raises(UsageError, match="sum to 1"):
        Yard((Stratum("silent", (0.5, 0.2)),))
    with pytest.raises(UsageError, match="between 1 and"):
        Optimum(Yard(), 4).capped(5)


async def test_the_best_policy_played_on_draws_costs_what_it_is_said_to_cost() -> None:
    """Draws made here, not by the world; a policy that stopped one draw later would be far off."""
    yard = Yard(quality=WEAK)
    optimum = Optimum(yard, 12)
    point, noise, n = optimum.at(4.3), np.random.default_rng(5), 1500
    for z, law in enumerate(yard.laws):
        streams = []
        for answers in noise.choice(4, size=(n, 12), p=law):
            levels = [noise.choice(3, p=WEAK.right if a == 0 else WEAK.wrong) for a in range(4)]
            streams.append([(str(a), int(levels[a])) for a in answers])
        draws = [sum(p * k for p, k in play) for play in optimum.played(4.3, streams)]
        assert all(sum(p for p, _ in play) == approx(1.0) for play in optimum.played(4.3, streams[:9]))
        assert abs(np.mean(draws) - point.costs[z]) <= 4 * np.std(draws) / math.sqrt(n)


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_arrangements_are_means_over_all_orders() -> None:
    counts = np.array([[3, 1, 0, 0, 0], [2, 2, 1, 1, 0], [0, 0, 0, 0, 0], [1, 4, 0, 2, 2]])
    for law in ((0.4, 0.3, 0.1, 0.1, 0.1), (0.2,) * 5, (0.1, 0.35, 0.3, 0.2, 0.05), (0.5, 0.3, 0.2, 0.0, 0.0)):
        got = arrangements(law, counts)
        for row, seen in zip(got, counts, strict=True):
            for r in range(5):
                orders = [o for o in itertools.permutations(range(5)) if o[r] == 0]
                mean = sum(math.prod(law[i] ** n for i, n in zip(o, seen, strict=True)) for o in orders) / 120
                assert row[r] == approx(mean * 5.0 ** seen.sum())
    with pytest.raises(UsageError, match="orders"):
        arrangements(tuple(range(1, 16)), counts)


@pytest.mark.parametrize("quality", [USELESS, WEAK, GOOD, PERFECT], ids=lambda q: q.name)
def test_bounds_hold_the_optimum_between_them(quality: Quality) -> None:
    yard = Yard(quality=quality)
    bounds, optimum = Bounds(yard, 10, paths=600, seed=3), Optimum(yard, 10)
    widths = []
    for mean in (1.0, 1.6, 2.0, 3.0, 4.5, 7.0, 10.0):
        point, exact = bounds.at(mean), optimum.at(mean).accuracy
        # three standard errors each; the solved one is exact
        assert point.accuracy <= exact + 1e-9
        assert exact <= point.above + 1e-9
        widths.append(point.above - point.accuracy)
        assert bounds.majority_at(mean).strata == approx(optimum.majority_at(mean).strata)
        assert abs(bounds.capped(round(mean)).accuracy - optimum.capped(round(mean)).accuracy) < 0.05
    assert max(widths) < 0.035  # far from trivial: the gap to the vote is .04 to .27 here
    assert sum(widths) / len(widths) < 0.01


def test_without_its_martingale_the_bound_is_the_prophets() -> None:
    """V = 0: still above, and so loose that the test before would fail."""

    class Prophet(Bounds):
        def _value(self, seen: _Seen, drawn: int) -> Floats:
            return np.zeros((len(seen.stop), len(PRICES)))

    yard = Yard(quality=WEAK)
    exact, prophet = Optimum(yard, 10).at(4.0).accuracy, Prophet(yard, 10, paths=300).at(4.0)
    assert prophet.accuracy <= exact < prophet.above - 0.05


def test_answers_that_never_come_change_nothing() -> None:
    """Five names of which two are never drawn: the solved world of three answers lies between the bounds."""
    five = tuple(Stratum(s.name, (*s.law, 0.0, 0.0), s.share) for s in PAIR if isinstance(s.law, tuple))
    bounds, optimum = Bounds(Yard(five, WEAK), 8, paths=500), Optimum(Yard(PAIR, WEAK), 8)
    for mean in (1.0, 2.0, 3.5, 6.0):
        point = bounds.at(mean)
        assert point.accuracy <= optimum.at(mean).accuracy + 1e-9 <= point.above + 2e-9
        assert point.above - point.accuracy < 0.03


def test_a_larger_world_is_bounded_closely_and_its_bounds_are_in_order() -> None:
    yard = Yard(strata_of(7), GOOD)
    assert [len(law) for law in yard.laws] == [7] * 4
    assert all(sum(law) == approx(1.0) for law in yard.laws)
    bounds = Bounds(yard, 12, paths=400)
    points: list[Point] = [bounds.at(b) for b in (1.0, 2.0, 4.0, 8.0, 12.0)]
    for before, after in itertools.pairwise(points):
        assert before.above <= after.above + 0.01
        assert before.accuracy <= after.accuracy + 0.01
    for point, b in zip(points[1:4], (2.0, 4.0, 8.0), strict=True):
        gap = point.accuracy - bounds.majority_at(b).accuracy
        assert gap > 0.05
        assert point.above - point.accuracy < 0.25 * gap
    for bad in ({"cap": 0}, {"cap": 500}, {"cap": 8, "paths": 5}):
        with pytest.raises(UsageError, match="yardstick"):
            Bounds(yard, **bad)
    with pytest.raises(UsageError, match="between 3 and 16"):
        strata_of(2)


async def test_beside_bounds_a_strategy_has_an_interval_that_holds_its_distance() -> None:
    entries = [Entry("weighted", lambda n, cap, v: BestOfN(v, n, "vote")), Entry("vote", vote, uses_verifier=False)]
    settings: dict[str, Any] = {"qualities": (GOOD,), "budgets": (2, 4), "cap": 8, "problems": 6}
    exact = await measure(entries, **settings)
    bounded = await measure(entries, bounded=True, **settings)
    assert (exact.bounded, bounded.bounded) == (False, True)
    for solved, held in zip(exact.rows[1].cells, bounded.rows[1].cells, strict=True):
        assert held.accuracy == approx(solved.accuracy)  # the vote is known exactly in both
        assert held.distance - 1e-9 <= solved.distance <= held.distance + held.slack + 1e-9
        assert solved.slack == 0.0
        assert held.closed == approx(0.0, abs=1e-9)
        assert held.closed_least == approx(0.0, abs=1e-9)
    cell = bounded.rows[0].cells[1]
    assert cell.closed is not None
    assert cell.closed_least is not None
    assert cell.closed_least < cell.closed
    large = await measure(entries, strata=strata_of(6), **settings)
    assert large.bounded
    assert all(0 < c.slack < 0.03 for row in large.rows for c in row.cells)


# --- the world -------------------------------------------------------------------------------------------------------


async def test_the_verifier_has_the_laws_it_states_and_is_the_same_for_the_same_text() -> None:
    world = Yard(quality=GOOD).world(3000, 1)
    verifier = YardVerifier(world, GOOD)
    for rank, law in ((0, GOOD.right), (1, GOOD.wrong)):
        levels = [verifier.level(i, world.choices(i, 4)[rank]) for i in range(3000)]
        for level, p in enumerate(law):
            assert abs(levels.count(level) / 3000 - p) < 4 * math.sqrt(p * (1 - p) / 3000)
    assert verifier.level(7, "42") == YardVerifier(world, GOOD).level(7, "42")
    assert [round(q.auroc, 2) for q in QUALITIES] == [0.5, 0.63, 0.86, 0.99]


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0.0), Sampling(top_k=1, temperature=1.0), Sampling(temperature=1.0, top_p=0.5)]
)
async def test_no_other_law_of_samples_can_be_had(sampling: Sampling) -> None:
    world = Yard().world(4)
    with pytest.raises(UsageError, match="one law"):
        await solve(
            world.problem(0),
            generator=YardGenerator(world),
            strategy=SelfConsistency(2),
            style=Bare(),
            reading=world.task().reading,
            sampling=sampling,
        )


# --- strategies ------------------------------------------------------------------------------------------------------


def vote(n: int, cap: int, verifier: object) -> Strategy:
    return SelfConsistency(n)


def row_of(name: str, rows: list[Row]) -> Row:
    return next(r for r in rows if r.name == name)


async def test_strategies_beside_the_optimum() -> None:
    entries = [
        Entry("vote", vote, uses_verifier=False),
        Entry("adaptive", lambda n, cap, v: AdaptiveConsistency(n, ahead=0), uses_verifier=False),
        Entry("best", lambda n, cap, v: BestOfN(v, n)),
        Entry("weighted", lambda n, cap, v: BestOfN(v, n, "vote")),
        Entry("greedy", lambda n, cap, v: Greedy(), uses_verifier=False),
        Entry("probable", lambda n, cap, v: SelfConsistency(n, "prob"), uses_verifier=False),
    ]
    report = await measure(entries, qualities=(USELESS, GOOD), budgets=(2, 8), cap=8, problems=25)
    for row in report.rows[:4]:
        assert not row.oracle
        assert not row.refused
        for cell in row.cells:
            assert cell.cost <= cell.budget + 1e-9
            assert cell.distance >= -4 * cell.error - 1e-6, (row.name, cell)
    plain = row_of("vote", report.rows)
    assert plain.closed() == approx(0.0, abs=1e-6)
    assert all(c.accuracy == approx(c.majority, abs=1e-6) for c in plain.cells)  # by the exact law of the vote
    assert all(c.cost == approx(c.budget) for c in plain.cells)
    assert [c.quality for c in plain.cells] == ["useless", "useless", "good", "good"]
    weighted = row_of("weighted", report.rows)
    assert (weighted.closed("good") or 0) > 0.4
    assert "one law" in row_of("greedy", report.rows).refused[2]
    assert "log-prob" in row_of("probable", report.rows).refused[8]
    document = report.document()
    assert set(document["rows"][0]["cells"][0]) >= {"closed", "distance", "error", "optimum_strata"}


async def test_an_adaptive_vote_has_the_accuracy_of_its_dynamic_programme() -> None:
    yard, optimum, n = Yard(quality=USELESS), Optimum(Yard(), 16), 16
    known = await controls(yard, optimum, n, 60, seed=3)
    entry = Entry("adaptive", lambda b, cap, v: AdaptiveConsistency(b, ahead=0), uses_verifier=False)
    made = await run_entry(entry, yard, n, n, known, seed=3)
    for z, law in enumerate(yard.laws):
        exact = laws.adaptive_vote(law, n)
        assert abs(made.accuracy[z] - exact.accuracy) <= 4 * made.errors[z] + 0.005
        assert made.errors[z] < 0.02
        assert abs(made.cost[z] - exact.draws) <= 4 * made.cost_errors[z] + 0.1
        assert made.cost_errors[z] < 0.6


async def test_the_chance_of_being_right_is_as_often_right_as_it_says() -> None:
    """The numbers that are averaged against plain counting, on the same runs of the real strategy."""
    yard = Yard(quality=WEAK)
    world = yard.world(500, 1)
    verifier, generator = YardVerifier(world, WEAK), YardGenerator(world)
    differences = []
    for i in range(500):
        result = await solve(
            world.problem(i),
            generator=generator,
            strategy=BestOfN(verifier, 6, "vote"),
            style=Bare(),
            reading=world.task().reading,
            sampling=Sampling(temperature=1.0, max_tokens=TOKENS),
        )
        seen = [(n.found.value, n.multiplicity) for n in result.tree if n.found is not None]
        pairs = tuple((k, verifier.level(i, a)) for a, k in seen)
        joint = joint_chances(yard.laws[1], WEAK, pairs)
        chance = joint[[a for a, _ in seen].index(result.answer or "")] / sum(joint)
        differences.append(float(result.answer == world.right(i)) - chance)
    error = np.std(differences) / math.sqrt(500)
    assert abs(np.mean(differences)) <= 4 * error
    assert 0.01 < error < 0.03


async def test_who_asks_the_solver_is_an_oracle() -> None:
    @dataclass(frozen=True)
    class Asks:
        needs: frozenset[Ability] = frozenset()

        async def solve(self, search: Search) -> Result:
            Optimum(Yard(), 2)
            return await SelfConsistency(2).solve(search)

    entries = [Entry("asks", lambda n, cap, v: Asks(), uses_verifier=False), Entry("vote", vote, uses_verifier=False)]
    report = await measure(entries, qualities=(USELESS,), budgets=(2,), cap=2, problems=2)
    assert [r.oracle for r in report.rows] == [True, False]


async def test_a_strategy_that_learns_sees_other_problems_with_their_references() -> None:
    shown: list[int] = []

    @dataclass(frozen=True)
    class Learner:
        n: int
        verifier: YardVerifier | None = None
        needs: frozenset[Ability] = frozenset()

        def fit(self, results: list[Result], references: list[str]) -> Learner:
            assert len(results) == len(references) == 200
            scored = [node for node in results[0].tree if node.scores]
            assert scored
            covered = sum(
                any(n.found and n.found.value == a for n in r.tree) for r, a in zip(results, references, strict=True)
            )
            shown.append(covered)
            return self

        async def solve(self, search: Search) -> Result:
            return await SelfConsistency(self.n).solve(search)

    entry = Entry("learner", lambda n, cap, v: Learner(n))
    report = await measure([entry], qualities=(GOOD,), budgets=(2,), cap=2, problems=2)
    assert shown
    assert 180 < shown[0] <= 200  # coverage of 16 samples
    assert not report.rows[0].refused


def test_small_gaps_are_not_divided() -> None:
    yard = Yard(STRATA, USELESS)
    optimum = Optimum(yard, 8)
    vote_of_4 = optimum.majority(4)
    cell = compared(Measured(vote_of_4.strata, (4.0,) * 4, (0.0,) * 4), yard, optimum, 4)
    assert cell.gap > 0.01
    assert cell.closed == approx(0.0)
    best = optimum.at(4.0)
    cell = compared(Measured(best.strata, best.costs, (0.0,) * 4), yard, optimum, 4)
    assert cell.closed == approx(1.0)
    assert cell.distance == approx(0.0)
    single = Optimum(one((0.9, 0.1)), 4)
    cell = compared(Measured(single.majority(3).strata, (3.0,), (0.0,)), single.yard, single, 4)
    assert cell.gap < 0.01
    assert cell.closed is None
    assert isinstance(cell, Cell)
