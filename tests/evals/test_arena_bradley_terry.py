"""Bradley-Terry: closed forms, laws, every tie model, what cannot be ranked, and coverage where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize
from scipy.special import expit, logit

from thence.core.errors import DataError, UsageError
from thence.evals.arena.battles import Battles, joined, make_battles
from thence.evals.arena.board import pair_weights
from thence.evals.arena.bradley_terry import SCALE, Likelihood, Terms, Ties, fit, probabilities
from thence.evals.arena.simulate import Arena
from thence.evals.arena.style import terms
from thence.evals.arena.uncertainty import bootstrap, gauge, quantile, ranks, separation, simultaneous

STRENGTHS = np.array([-0.9, -0.3, 0.1, 0.4, 0.7])
TIE_MODELS: list[tuple[Ties, float | None]] = [("half", None), ("davidson", 0.3), ("rao-kupper", 0.5)]


def met(*results: tuple[str, str, float, int]) -> Battles:
    """Battles from (a, b, outcome, how often)."""
    rows = [((a, b), outcome) for a, b, outcome, n in results for _ in range(n)]
    return make_battles([pair for pair, _ in rows], [outcome for _, outcome in rows])


def test_two_models_have_the_log_odds_of_their_win_rate() -> None:
    found = fit(met(("x", "y", 1, 30), ("x", "y", 0, 10), ("y", "x", 0.5, 8)))
    assert found.strengths[0] - found.strengths[1] == pytest.approx(logit((30 + 4) / 48), abs=1e-9)
    assert found.strengths.sum() == pytest.approx(0)
    assert found.scores[0] - found.scores[1] == pytest.approx(400 * math.log10(34 / 14), abs=1e-6)
    assert found.chance(0, 1) == pytest.approx(34 / 48)


def test_the_standard_error_of_two_models_is_the_binomial_one() -> None:
    found = fit(met(("x", "y", 1, 300), ("x", "y", 0, 100)))
    _, error = separation(found, 0, 1)
    assert error == pytest.approx(math.sqrt(1 / 300 + 1 / 100) * math.sqrt(400 / 399), rel=1e-6)
    d = np.array([1.0, -1.0])
    assert d @ found.model_based @ d == pytest.approx(1 / 300 + 1 / 100, rel=1e-6)


def test_a_balanced_order_separates_position_from_strength_in_closed_form() -> None:
    left = (("x", "y", 1.0, 80), ("x", "y", 0.0, 20))  # x first
    right = (("y", "x", 1.0, 55), ("y", "x", 0.0, 45))  # y first: x wins 45 of 100
    battles = met(*left, *right)
    found = fit(battles, terms(battles, ["position"]))
    one, two = logit(0.8), logit(0.45)
    assert found.strengths[0] - found.strengths[1] == pytest.approx((one + two) / 2, abs=1e-9)
    assert found.effects[0] == pytest.approx((one - two) / 2, abs=1e-9)
    plain = fit(battles).strengths
    assert abs(plain[0] - plain[1]) < (one + two) / 2, "ignoring the position attenuates"


def test_an_unbalanced_order_biases_strengths_that_ignore_it() -> None:
    arena = Arena(np.array([0.2, -0.2]), position=0.3)
    a = np.where(np.arange(40_000) % 10 < 8, 0, 1)  # model 0 is first in 8 of 10
    battles = arena.fight(a, 1 - a, np.random.default_rng(0))
    plain, whole = fit(battles), fit(battles, terms(battles, ["position"]))
    assert plain.strengths[0] - plain.strengths[1] - 0.4 == pytest.approx(0.3 * 0.6, abs=0.06)
    assert whole.strengths[0] - whole.strengths[1] == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize(("ties", "tie"), TIE_MODELS)
def test_the_gradient_and_the_curvature_are_those_of_the_likelihood(ties: Ties, tie: float | None) -> None:
    made = Arena(STRENGTHS, tie=0.1, position=0.3, style={"length": 1.0}).draw(200, 5)
    found = terms(made, ["position", "length"])
    likelihood = Likelihood(made.a, made.b, made.outcome, found.values, 5, ties, 0.7)
    chance = np.random.default_rng(1)
    at, w = chance.normal(size=likelihood.size), chance.random(made.n)
    if tie is not None:
        at[-1] = tie

    def gradient(x: np.ndarray) -> np.ndarray:
        first, by_tie, *_ = likelihood.derivatives(x)
        return likelihood.gradient(w * first, w * by_tie, x)

    eye, h = np.eye(likelihood.size), 1e-5
    slopes = [(likelihood.value(at + h * v, w) - likelihood.value(at - h * v, w)) / (2 * h) for v in eye]
    assert gradient(at) == pytest.approx(np.array(slopes), abs=1e-5)
    bends = np.array([(gradient(at - h * v) - gradient(at + h * v)) / (2 * h) for v in eye])
    assert likelihood.curvature(at, w) == pytest.approx(bends, abs=1e-5)


@pytest.mark.parametrize(("ties", "tie"), TIE_MODELS)
def test_probabilities_are_those_of_the_papers(ties: Ties, tie: float | None) -> None:
    pi_a, pi_b, eta = 3.0, 1.5, np.array([math.log(2.0)])
    win, loss, tied = (float(p[0]) for p in probabilities(eta, tie, ties))
    assert win + loss + tied == pytest.approx(1)
    if ties == "half":
        assert (win, tied) == (pytest.approx(2 / 3), 0)
    elif ties == "davidson":
        nu = math.exp(tie or 0)
        assert tied == pytest.approx(nu * math.sqrt(pi_a * pi_b) / (pi_a + pi_b + nu * math.sqrt(pi_a * pi_b)))
    else:
        theta = math.exp(tie or 0)
        assert win == pytest.approx(pi_a / (pi_a + theta * pi_b))
        both = (pi_a + theta * pi_b) * (theta * pi_a + pi_b)
        assert tied == pytest.approx((theta**2 - 1) * pi_a * pi_b / both)


@pytest.mark.parametrize(("ties", "tie"), TIE_MODELS[1:])
def test_a_tie_model_finds_its_own_parameters(ties: Ties, tie: float | None) -> None:
    found = fit(Arena(STRENGTHS, tie=tie, ties=ties).draw(30_000, 2), ties=ties)
    error = found.errors()
    assert np.all(np.abs(found.strengths - STRENGTHS + STRENGTHS.mean()) < 4 * error[:5])
    assert found.tie == pytest.approx(tie, abs=4 * error[-1])


def test_the_sandwich_is_the_inverse_information_where_the_model_is_right() -> None:
    found = fit(Arena(STRENGTHS, tie=0.2).draw(30_000, 3), ties="davidson")
    assert np.diag(found.covariance) == pytest.approx(np.diag(found.model_based), rel=0.05)


@pytest.mark.parametrize(("ties", "tie"), TIE_MODELS)
def test_the_fit_and_its_sandwich_are_those_of_a_brute_force_with_a_design_matrix(
    ties: Ties, tie: float | None
) -> None:
    battles = Arena(STRENGTHS, tie=tie, ties=ties if tie else "davidson", position=0.3).draw(300, 7)
    found = fit(battles, terms(battles, ["position"]), ties=ties)
    design = np.zeros((battles.n, 6))
    design[np.arange(battles.n), battles.a] += 1
    design[np.arange(battles.n), battles.b] -= 1
    design[:, 5] = battles.first
    basis = np.linalg.svd(np.ones((1, 5)))[2][1:].T  # strengths that add up to 0
    basis = np.block([[basis, np.zeros((5, 1))], [np.zeros((1, 4)), np.ones((1, 1))]])
    extra = int(ties != "half")

    def losses(x: np.ndarray) -> np.ndarray:
        win, loss, tied = probabilities(design @ basis @ x[:5], float(x[-1]) if extra else None, ties)
        if not extra:
            tied = np.sqrt(win * loss)  # half a win each
        chosen = np.where(battles.outcome == 1, win, np.where(battles.outcome == 0, loss, tied))
        return np.asarray(-np.log(chosen))

    start = np.concatenate([np.zeros(5), [0.3] * extra])
    bounds = [(None, None)] * 5 + [(0.01 if ties == "rao-kupper" else None, None)] * extra
    best = optimize.minimize(lambda x: losses(x).sum(), start, method="L-BFGS-B", bounds=bounds, tol=1e-13).x
    assert found.parameters()[:6] == pytest.approx(basis @ best[:5], abs=2e-4)
    if extra:
        assert found.tie == pytest.approx(best[-1], abs=2e-4)
    h, eye = 1e-4, np.eye(5 + extra)
    scores = np.stack([(losses(best + h * v) - losses(best - h * v)) / (2 * h) for v in eye], axis=1)
    bends = np.array(
        [
            [sum(i * j * losses(best + h * (i * u + j * v)).sum() for i in (1, -1) for j in (1, -1)) for v in eye]
            for u in eye
        ]
    ) / (4 * h * h)
    inverse = np.linalg.inv(bends)
    lifted = np.zeros((6 + extra, 5 + extra))
    lifted[:6, :5] = basis
    lifted[6:, 5:] = 1
    wider = battles.n / (battles.n - 5 - extra)
    sandwich = lifted @ inverse @ scores.T @ scores @ inverse @ lifted.T * wider
    assert found.covariance == pytest.approx(sandwich, abs=2e-4)


def test_order_sides_and_names_change_nothing() -> None:
    battles = Arena(STRENGTHS, tie=0.0, style={"length": 1.0}, position=0.2).draw(800, 4)
    found = fit(battles, terms(battles, ["length", "position"]), ties="davidson")
    shuffled = battles.taken(np.random.default_rng(0).permutation(battles.n))
    again = fit(shuffled, terms(shuffled, ["length", "position"]), ties="davidson")
    assert again.parameters() == pytest.approx(found.parameters(), abs=1e-6)
    assert again.covariance == pytest.approx(found.covariance, abs=1e-6)
    mirrored = Battles(
        battles.models,
        battles.b,
        battles.a,
        1 - battles.outcome,
        -battles.first,
        {k: v[:, ::-1] for k, v in battles.features.items()},
    )
    same = fit(mirrored, terms(mirrored, ["length", "position"]), ties="davidson")
    assert same.parameters() == pytest.approx(found.parameters(), abs=1e-6)


def test_a_style_effect_that_goes_with_ability_is_removed_by_its_term() -> None:
    strengths = np.array([-0.6, -0.3, 0.0, 0.3, 0.6])
    battles = Arena(strengths, style={"length": 3.0}, verbosity=-1.2 * strengths).draw(4000, 1)
    plain, whole = fit(battles), fit(battles, terms(battles, ["length"]))
    assert int(plain.strengths.argmax()) != 4
    assert np.abs(plain.strengths - strengths).max() > 0.3
    assert int(whole.strengths.argmax()) == 4
    assert np.all(np.abs(whole.strengths - strengths) < 3 * whole.errors()[:5])


def test_wider_samples_of_one_pair_do_not_count_more_when_balanced() -> None:
    battles = met(
        ("x", "y", 1, 3), ("y", "x", 1, 1), ("y", "z", 1, 40), ("z", "y", 1, 40), ("x", "z", 1, 2), ("z", "x", 1, 2)
    )
    weights = pair_weights(battles)
    assert weights.sum() == pytest.approx(battles.n)
    totals = {
        pair: weights[[{a, b} == set(pair) for a, b in zip(battles.a, battles.b, strict=True)]].sum()
        for pair in ((0, 1), (1, 2), (0, 2))
    }
    assert len({round(total, 9) for total in totals.values()}) == 1
    whole = fit(
        met(("x", "y", 1, 3), ("y", "x", 1, 1), ("y", "z", 1, 2), ("z", "y", 1, 2), ("x", "z", 1, 2), ("z", "x", 1, 2))
    )
    assert fit(battles, weights=weights).strengths == pytest.approx(whole.strengths, abs=1e-8)


def test_repeating_battles_of_one_problem_narrows_nothing() -> None:
    base = Arena(STRENGTHS).draw(300, 6)
    problems = tuple(f"p{i}" for i in range(base.n))
    once = Battles(base.models, base.a, base.b, base.outcome, base.first, clusters=problems)
    twice = joined([once, once])
    honest = fit(twice).errors()
    assert honest == pytest.approx(fit(once).errors(), rel=0.02)
    blind = fit(Battles(twice.models, twice.a, twice.b, twice.outcome, twice.first)).errors()
    assert np.all(blind < 0.8 * honest)
    drawn = bootstrap(twice, Terms.none(twice.n), fit(twice), rounds=200, seed=0)
    assert drawn.draws.std(axis=0) == pytest.approx(honest, rel=0.25)


@pytest.mark.parametrize(
    ("battles", "said"),
    [
        (met(("x", "y", 1, 9)), "perfectly separated: x never lost"),
        (met(("x", "y", 1, 3), ("y", "x", 1, 2), ("z", "x", 1, 4)), "z never lost"),
        (
            met(("x", "y", 1, 3), ("y", "x", 1, 2), ("p", "q", 1, 4), ("q", "p", 1, 4)),
            "2 groups that never met: p, q | x, y",
        ),
        (met(("x", "y", 0.5, 9)), "is a tie"),
        (met(("x", "y", 1, 1), ("y", "z", 1, 1), ("z", "x", 0, 1), ("z", "x", 1, 0)), "perfectly separated"),
        (make_battles([], [], models=("x",)), "0 battles of 1 models"),
    ],
)
def test_battles_that_rank_nobody_are_refused_with_the_reason(battles: Battles, said: str) -> None:
    with pytest.raises(DataError, match=said.replace("|", r"\|")):
        fit(battles)


def test_a_ridge_ranks_separated_battles_and_says_where() -> None:
    found = fit(met(("x", "y", 1, 9)), ridge=0.5)
    gap = found.strengths[0] - found.strengths[1]
    assert 0 < gap < 10
    assert 9 * (1 - expit(gap)) == pytest.approx(0.5 * gap / 2, abs=1e-8), "the score equation with the penalty"
    assert found.ridge == 0.5


def test_a_term_that_separates_the_battles_is_refused() -> None:
    battles = met(("x", "y", 1, 5), ("y", "x", 1, 5))  # who is first always wins
    with pytest.raises(DataError, match="perfectly separated by strengths and position"):
        fit(battles, terms(battles, ["position"]))


def test_a_term_that_says_the_same_as_the_strengths_is_refused() -> None:
    battles = met(("x", "y", 1, 5), ("x", "y", 0, 4))  # always in the same order
    with pytest.raises(DataError, match="'position' cannot be told from the strengths"):
        fit(battles, terms(battles, ["position"]))


def test_wrong_arguments_are_usage_errors() -> None:
    battles = met(("x", "y", 1, 5), ("y", "x", 1, 4))
    with pytest.raises(UsageError, match="ridge is -1"):
        fit(battles, ridge=-1)
    with pytest.raises(UsageError, match="ridge is nan"):
        fit(battles, ridge=math.nan)
    with pytest.raises(UsageError, match="davidson"):
        fit(battles, ties="maybe")  # type: ignore[arg-type]


def test_a_bootstrap_of_nearly_separated_battles_gives_no_interval() -> None:
    battles = met(("x", "y", 1, 9), ("y", "x", 1, 1))
    with pytest.raises(DataError, match="bootstrap resamples"):
        bootstrap(battles, Terms.none(battles.n), fit(battles), rounds=200)


def test_intervals_hold_the_truth_in_92_to_98_percent() -> None:
    arena = Arena(STRENGTHS, tie=-0.2, position=0.4)
    target = np.concatenate([STRENGTHS - STRENGTHS.mean(), [0.4, -0.2]])
    inside, drawn = [], []
    for seed in range(200):
        battles = arena.draw(500, seed)
        found = terms(battles, ["position"])
        fitted = fit(battles, found, ties="davidson")
        inside.append(np.abs(fitted.parameters() - target) <= quantile() * fitted.errors())
        if seed < 20:
            low, high = bootstrap(battles, found, fitted, rounds=100, seed=seed).interval(gauge(fitted))
            drawn.append((low <= target) & (target <= high))
    assert 0.92 <= np.mean(inside) <= 0.98
    assert np.mean(drawn) >= 0.86, "20 simulations of 100 rounds; tools/arena_coverage.py has the whole"


def test_the_simultaneous_factor_lies_between_one_interval_and_bonferroni() -> None:
    independent = simultaneous(np.eye(6))
    assert independent == pytest.approx(quantile(0.95 ** (1 / 6)), abs=0.03)
    assert simultaneous(np.ones((6, 6))) == pytest.approx(1.96, abs=0.03)
    assert simultaneous(np.zeros((2, 2))) == pytest.approx(1.96, abs=0.001)


def test_approximate_ranks_count_only_what_is_sure() -> None:
    low, high = np.array([5.0, 4.0, 1.0, 0.0]), np.array([6.0, 5.5, 2.0, 1.5])
    assert ranks(low, high) == [(1, 2), (1, 2), (3, 4), (3, 4)]
    assert ranks(np.array([0.0, 2.0]), np.array([1.0, 3.0])) == [(2, 2), (1, 1)]


def test_an_anchor_moves_every_score_alike_and_has_no_error() -> None:
    fitted = fit(Arena(STRENGTHS).draw(500, 1))
    moved = gauge(fitted, 2)
    assert (moved @ fitted.parameters())[2] == 0
    assert (moved @ fitted.covariance @ moved.T)[2, 2] == pytest.approx(0, abs=1e-12)
    gap, error = separation(fitted, 4, 2)
    assert (moved @ fitted.parameters())[4] == pytest.approx(gap)
    assert math.sqrt((moved @ fitted.covariance @ moved.T)[4, 4]) == pytest.approx(error)
    assert pytest.approx(173.7178, abs=1e-4) == SCALE
