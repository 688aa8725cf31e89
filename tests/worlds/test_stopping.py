"""The laws of stopping rules against brute force through the strategies' own code."""

from __future__ import annotations

import itertools
from math import prod

import pytest

from thence.strategies.adaptive_consistency import lead_probability
from thence.strategies.certified import Certificate
from thence.worlds import laws
from thence.worlds.stopping import Stops, beta_stops, certified_stops

approx = pytest.approx


def enumerated(law: tuple[float, ...], n: int, alpha: float) -> Stops:
    """All sequences of answers, each through a certificate."""
    on, drawn = [0.0] * len(law), 0.0
    for draws in itertools.product(range(len(law)), repeat=n):
        chance, certificate, used = prod(law[a] for a in draws), Certificate(alpha), n
        for k, answer in enumerate(draws, 1):
            if certificate.see(str(answer)):
                on[int(certificate.leader or 0)] += chance
                used = k
                break
        drawn += chance * used
    return Stops(tuple(on), drawn)


@pytest.mark.parametrize(("law", "n", "alpha"), [((0.6, 0.4), 11, 0.2), ((0.45, 0.3, 0.25), 8, 0.3)])
def test_where_a_certified_vote_stops_is_what_all_sequences_give(law: tuple[float, ...], n: int, alpha: float) -> None:
    exact, brute = certified_stops(law, n, alpha), enumerated(law, n, alpha)
    assert exact.on == approx(brute.on, abs=1e-12)
    assert exact.draws == approx(brute.draws, abs=1e-12)
    assert min(exact.on) > 0


def test_the_beta_rules_stops_and_the_whole_votes_are_one_law() -> None:
    for law in ((0.7, 0.2, 0.1), (0.5, 0.3)):
        short = beta_stops(law, 15)
        assert short.draws == approx(laws.adaptive_vote(law, 15).draws)
    assert lead_probability(4, 0) >= 0.95 > lead_probability(3, 0)
    assert beta_stops((0.6, 0.4), 4).on == approx((0.6**4, 0.4**4))


def test_the_beta_rule_at_95_stops_on_the_wrong_one_of_two_close_answers_in_16_percent_and_a_certificate_in_1() -> None:
    close = (0.52, 0.48)
    assert beta_stops(close).off_mode(close) == approx(0.163, abs=5e-4)
    assert certified_stops(close).off_mode(close) == approx(0.0122, abs=5e-5)


@pytest.mark.parametrize("alpha", [0.05, 0.3])
@pytest.mark.parametrize("law", [(0.5, 0.5), (0.5001, 0.4999), (0.3001, 0.2999)])
def test_the_exact_error_is_at_most_alpha(law: tuple[float, ...], alpha: float) -> None:
    stops = certified_stops(law, 24, alpha)
    assert stops.off_mode(law) <= alpha
    assert stops.off_mode((1.0, 0.0)) <= alpha  # and so is each of two tied answers' share
    assert 0 < sum(stops.on) <= 2 * alpha


def test_silence_is_drawn_and_no_vote() -> None:
    whole, half = certified_stops((1.0,), 20, 0.05), certified_stops((0.5,), 20, 0.05)
    assert (whole.on, whole.draws) == ((1.0,), 8.0)
    assert half.on[0] == approx(sum(laws.binomial(20, 0.5)[8:]))
