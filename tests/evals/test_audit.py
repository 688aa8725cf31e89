"""A grader's error rates from a hand-labelled, stratified sample: hand-computed cases, laws, coverage."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from thence.core.answers import Verdict
from thence.core.errors import DataError, UsageError
from thence.evals.regrading.audit import Audit, Stratum, audit, draw, strata

C, I, N, U, T = Verdict.CORRECT, Verdict.INCORRECT, Verdict.NO_ANSWER, Verdict.UNGRADABLE, Verdict.TIMEOUT  # noqa: E741
FIGURES = ("false_accepts", "false_rejects", "false_accept_rate", "false_reject_rate", "true_accuracy")


def test_a_hand_computed_case() -> None:
    """600 accepted, 3 of 100 labelled ones wrong (18 false); 300 and 100 rejected, 5 of 50 and 0 of 20 right (30)."""
    made = audit([Stratum(C, 600, 100, 97), Stratum(I, 300, 50, 5), Stratum(N, 100, 20, 0)])
    assert made.accuracy == pytest.approx(0.6)
    assert made.false_accepts.value == pytest.approx(0.03)
    assert made.false_rejects.value == pytest.approx(30 / 400)
    assert made.false_accept_rate.value == pytest.approx(18 / (18 + 270 + 100))
    assert made.false_reject_rate.value == pytest.approx(30 / (582 + 30))
    assert made.true_accuracy.value == pytest.approx(0.612)
    for name in FIGURES:
        low, high = getattr(made, name).interval
        assert low < getattr(made, name).value < high


def test_labelling_everything_leaves_no_uncertainty() -> None:
    made = audit([Stratum(C, 40, 40, 38), Stratum(I, 60, 60, 3)])
    for name in FIGURES:
        e = getattr(made, name)
        assert e.interval == pytest.approx((e.value, e.value))


def test_weights_undo_the_stratification() -> None:
    """Unweighted, 50 of 100 labelled texts are right; weighted by what they stand for, nine in ten are."""
    made = audit([Stratum(C, 900, 50, 50), Stratum(I, 100, 50, 0)])
    assert made.true_accuracy.value == pytest.approx(0.9)
    assert made.false_accepts.value == 0
    assert made.false_accepts.interval[0] == 0 < made.false_accepts.interval[1] < 0.1


def test_what_has_no_denominator_is_unknown() -> None:
    made = audit([Stratum(C, 10, 10, 10)])
    assert made.false_rejects.value is None
    assert made.false_accept_rate.value is None
    assert made.false_accepts.value == 0
    assert made.true_accuracy.value == 1


def test_a_draw_is_seeded_distinct_and_equal_by_verdict() -> None:
    verdicts = [C] * 500 + [I] * 300 + [N] * 7 + [U] * 50 + [T] * 2
    drawn = draw(verdicts, 109, seed=3)
    assert drawn == draw(verdicts, 109, seed=3)
    assert drawn != draw(verdicts, 109, seed=4)
    assert len(set(drawn)) == 109
    assert Counter(verdicts[i] for i in drawn) == {C: 50, I: 50, N: 7, T: 2}
    assert sorted(draw(verdicts, 10_000)) == [i for i, v in enumerate(verdicts) if v is not U]
    first = [verdicts[i] for i in drawn[:50]]
    assert first.count(C) < 45  # the order tells nothing


def test_bad_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="too small for 2 verdicts"):
        draw([C, I, I], 1)
    with pytest.raises(DataError, match="none of the 2 texts with the verdict incorrect has a label"):
        strata([C, I, I], {0: True})
    with pytest.raises(DataError, match="nothing to audit"):
        strata([U, U], {})
    assert strata([C, I, U, I], {0: False, 3: True}) == (Stratum(C, 1, 1, 0), Stratum(I, 2, 1, 1))


AUDITS = 500


@pytest.mark.parametrize(
    ("sizes", "shares", "sample"),
    [
        ((3000, 2000), (0.95, 0.08), (100, 100)),
        ((700, 250, 50), (0.9, 0.15, 0.3), (125, 125, 50)),
        ((8000, 2000), (0.985, 0.1), (200, 200)),
    ],
)
def test_intervals_cover_the_truth(sizes: tuple[int, ...], shares: tuple[float, ...], sample: tuple[int, ...]) -> None:
    """Seeded simulation: each of the five 95 % intervals covers its true value in 92 to 98 % of 500 audits."""
    hits = coverage(sizes, shares, sample)
    assert {name: 0.92 <= hits[name] <= 0.98 for name in FIGURES} == dict.fromkeys(FIGURES, True), hits


def coverage(sizes: tuple[int, ...], shares: tuple[float, ...], sample: tuple[int, ...]) -> dict[str, float]:
    """How often each interval holds the truth of a population that is drawn anew for each audit."""
    rng = np.random.default_rng(11)
    hits: Counter[str] = Counter()
    for run in range(AUDITS):
        right = [int(rng.binomial(size, share)) for size, share in zip(sizes, shares, strict=True)]
        seen = [int(rng.hypergeometric(r, n - r, k)) for r, n, k in zip(right, sizes, sample, strict=True)]
        found = [Stratum(v, n, k, x) for v, n, k, x in zip((C, I, N), sizes, sample, seen, strict=False)]
        made = audit(found, seed=run, draws=1000)
        accepted, refused, all_right = right[0], sum(right[1:]), sum(right)
        truth = {
            "false_accepts": 1 - accepted / sizes[0],
            "false_rejects": refused / sum(sizes[1:]),
            "false_accept_rate": (sizes[0] - accepted) / (sum(sizes) - all_right),
            "false_reject_rate": refused / all_right,
            "true_accuracy": all_right / sum(sizes),
        }
        for name, value in truth.items():
            low, high = getattr(made, name).interval
            hits[name] += low - 1e-9 <= value <= high + 1e-9
    return {name: hits[name] / AUDITS for name in FIGURES}


def test_an_audit_is_plain_data() -> None:
    made = audit([Stratum(C, 10, 5, 5), Stratum(I, 10, 5, 1)])
    assert isinstance(made, Audit)
    assert made.document()["strata"][1] == {"verdict": I, "size": 10, "labelled": 5, "right": 1}
