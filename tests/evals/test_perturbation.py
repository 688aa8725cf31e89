"""Originals against perturbations: the null spread, exact tests, random effects, and verdicts on known solvers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from thence.core.errors import DataError
from thence.evals.perturbation import measure as pt
from thence.tasks.perturbed import template_of
from thence.tasks.templates.template import built_in, operations
from thence.tasks.templates.variants import applies

Outcomes = dict[str, float]


def simulated(p: np.ndarray, instances: int, rng: np.random.Generator) -> Outcomes:
    """A solver that is right on template t with probability p[t]."""
    right = rng.random((len(p), instances)) < p[:, None]
    return {f"t{t:02d}-{i:03d}": float(right[t, i]) for t in range(len(p)) for i in range(instances)}


def skills(rng: np.random.Generator, templates: int = 60) -> np.ndarray:
    return rng.beta(1.2, 0.8, size=templates)


# ---------------------------------------------------------------------------------------------------- spread over sets


def test_the_null_spread_is_the_formula_of_the_paper_s_numbers() -> None:
    """All templates alike: sqrt(p (1 - p) / T), 4.07 points for 79.1 % of 100 templates."""
    rng = np.random.default_rng(0)
    found = pt.spread(simulated(np.full(100, 0.791), 50, rng), template_of)
    assert found is not None
    assert len(found.sets) == 50
    assert found.bound == pytest.approx(math.sqrt(0.791 * 0.209 / 100), abs=0.001)
    assert found.null == pytest.approx(0.0407, abs=0.001)


def test_the_null_spread_is_unbiased_and_the_observed_one_agrees_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pt, "SHUFFLES", 1)
    rng = np.random.default_rng(1)
    p = skills(rng)
    true = math.sqrt(float((p * (1 - p)).sum())) / len(p)
    found = [pt.spread(simulated(p, 5, rng), template_of, seed) for seed in range(40)]
    null = np.array([f.null**2 for f in found if f is not None])
    seen = np.array([f.sd**2 for f in found if f is not None])
    for values in (null, seen):
        error = values.std(ddof=1) / math.sqrt(len(values))
        assert abs(values.mean() - true**2) < 4 * error


def test_p_of_the_spread_is_uniform_under_chance_and_small_when_sets_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pt, "SHUFFLES", 199)
    rng = np.random.default_rng(2)
    p = skills(rng)
    values = [pt.spread(simulated(p, 4, rng), template_of, seed) for seed in range(40)]
    low = sum(f.p < 0.25 for f in values if f is not None)
    assert 2 <= low <= 19  # binomial(40, .25) within four standard deviations
    hard = {i: (v if i.endswith(("0", "1")) else 0.0) for i, v in simulated(np.full(60, 0.7), 4, rng).items()}
    found = pt.spread(hard, template_of)
    assert found is not None
    assert found.p < 0.01
    assert found.sd > 3 * found.null


def test_one_set_has_no_spread() -> None:
    assert pt.spread({"a-000": 1.0, "b-000": 0.0}, template_of) is None
    assert pt.spread({}, template_of) is None


# ---------------------------------------------------------------------------------------------------- differences


def test_sign_flips_are_counted_like_by_hand() -> None:
    """1, 1, 1: one of eight sign patterns reaches 3, two reach |3|; zeros do not count."""
    assert pt.sign_flip(np.array([1.0, 1.0, 1.0, 0.0])) == (1 / 8, 2 / 8)
    assert pt.sign_flip(np.array([0.0, 0.0])) == (1.0, 1.0)
    d = np.array([0.4, -0.2, 0.6, 0.2, -0.6])
    sums = [sum(s * x for s, x in zip(signs, d, strict=True)) for signs in itertools.product((1, -1), repeat=5)]
    wanted = sum(s >= d.sum() - 1e-9 for s in sums) / 32
    assert pt.sign_flip(d)[0] == pytest.approx(wanted)


def test_drawn_sign_flips_agree_with_the_exact_ones() -> None:
    rng = np.random.default_rng(3)
    d = rng.normal(0.2, 1, size=pt.EXACT_FLIPS)
    exact = pt.sign_flip(d)
    drawn = pt.sign_flip(np.concatenate([d, np.full(1, 1e-6)]))
    assert drawn[0] == pytest.approx(exact[0], abs=0.02)
    assert drawn[1] == pytest.approx(exact[1], abs=0.02)


def test_differences_are_paired_by_instance_and_averaged_by_template() -> None:
    original = {"a-000": 1.0, "a-001": 1.0, "b-000": 0.0, "c-000": 1.0}
    variant = {"a-000": 0.0, "a-001": 1.0, "b-000": 1.0, "d-000": 1.0}
    assert pt.template_differences(original, variant, template_of) == {"a": 0.5, "b": -1.0}


def test_a_single_published_original_stands_against_all_instances() -> None:
    variant = {f"a-{i:03d}": float(i < 3) for i in range(10)}
    assert pt.template_differences({"a-000": 1.0}, variant, template_of)["a"] == pytest.approx(0.7)


def test_arms_without_a_common_template_are_an_error() -> None:
    with pytest.raises(DataError, match="share no template"):
        pt.gap({"a-000": 1.0}, {"b-000": 1.0}, template_of)


# ---------------------------------------------------------------------------------------------------- random effects


def drawn_effects(b1: float, s_u: float, s_v: float, rng: np.random.Generator, n: int) -> tuple[Outcomes, Outcomes]:
    u, v = rng.normal(0, s_u, 80), rng.normal(0, s_v, 80)
    first, second = (1 / (1 + np.exp(-x)) for x in (0.3 + u, 0.3 + u + b1 + v))
    return simulated(first, n, rng), simulated(second, n, rng)


def test_random_effects_find_what_was_planted() -> None:
    rng = np.random.default_rng(4)
    found = pt.random_effects(*drawn_effects(-1.0, 1.5, 0.0, rng, 10), template_of)
    assert found is not None
    assert found.interval[0] < -1.0 < found.interval[1]
    assert found.p_effect < 1e-6
    assert found.p_varies > 0.05
    assert found.templates_sd == pytest.approx(1.5, abs=0.45)
    varied = pt.random_effects(*drawn_effects(0.0, 1.0, 2.0, rng, 10), template_of)
    assert varied is not None
    assert varied.p_varies < 1e-4
    assert varied.effect_sd == pytest.approx(2.0, abs=0.7)


def test_the_likelihood_is_that_of_a_fine_grid() -> None:
    k, n = np.array([[2.0, 1.0], [3.0, 0.0]]), np.array([[3.0, 3.0], [3.0, 3.0]])
    b0, b1, s_u, s_v = 0.4, -0.8, 0.9, 0.6
    z = np.linspace(-8, 8, 401)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    first = 1 / (1 + np.exp(-(b0 + s_u * z)))[:, None]
    second = 1 / (1 + np.exp(-(b0 + b1 + s_u * z[:, None] + s_v * z[None, :])))
    wanted = sum(
        math.log(float((first**a * (1 - first) ** (3 - a) * second**b * (1 - second) ** (3 - b)
                        * density[:, None] * density[None, :]).sum()))
        for a, b in k
    )  # fmt: skip
    at = np.array([b0, b1, s_u, s_v])
    likelihood = pt._likelihood(k, n)
    assert likelihood(at)[0] == pytest.approx(wanted, abs=1e-5)
    for i, slope in enumerate(likelihood(at)[1]):
        move = np.eye(4)[i] * 1e-5
        assert (likelihood(at + move)[0] - likelihood(at - move)[0]) / 2e-5 == pytest.approx(slope, abs=1e-6)


def test_p_of_the_effect_is_honest_under_no_effect() -> None:
    rng = np.random.default_rng(5)
    values = [pt.random_effects(*drawn_effects(0.0, 1.2, 0.0, rng, 3), template_of) for _ in range(8)]
    assert sum(f is not None and f.p_effect < 0.05 for f in values) <= 3  # binomial(8, .05): beyond 3 in .0004


def test_an_arm_that_is_always_right_is_said_to_have_no_finite_estimate() -> None:
    ones = {f"t{i}-00{j}": 1.0 for i in range(20) for j in range(3)}
    mixed = {id: float(i % 2) for i, id in enumerate(ones)}
    found = pt.random_effects(mixed, ones, template_of)
    assert found is not None
    assert found.separated
    assert found.interval == (-math.inf, math.inf)
    assert found.p_effect < 1e-6
    assert pt.random_effects({"a-000": 1.0}, {"a-000": 1.0}, template_of) is None


def test_a_template_s_own_test_is_fisher_s_with_holm_s_correction() -> None:
    original = {f"a-{i:03d}": 1.0 for i in range(5)} | {f"b-{i:03d}": 1.0 for i in range(5)}
    variant = {f"a-{i:03d}": 0.0 for i in range(5)} | {f"b-{i:03d}": 1.0 for i in range(5)}
    first, second = pt.per_template(original, variant, template_of)
    assert (first.template, first.original, first.variant) == ("a", (5, 5), (0, 5))
    assert first.p == pytest.approx(2 / math.comb(10, 5))
    assert first.holm == pytest.approx(4 / math.comb(10, 5))
    assert (second.template, second.p) == ("b", 1.0)


# ---------------------------------------------------------------------------------------------------- verdicts


LAW = ("names", "numbers", "both")


def probed(arms: dict[str, Outcomes], same_law: tuple[str, ...] = LAW) -> pt.Probe:
    return pt.probe(arms, template_of, same_law=same_law)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts alone: fewer flips, no mixed model."""
    monkeypatch.setattr(pt, "FLIPS", 999)
    monkeypatch.setattr(pt, "SHUFFLES", 20)
    monkeypatch.setattr(pt, "random_effects", lambda *_: None)
    monkeypatch.setattr(pt, "per_template", lambda *_: [])


@pytest.mark.usefixtures("quick")
def test_a_solver_that_reasons_is_almost_never_flagged() -> None:
    """At alpha .01 over all variants together, 60 solvers: more than 4 flags have probability below .001."""
    rng = np.random.default_rng(6)
    flags = 0
    for _ in range(60):
        p = skills(rng)
        found = probed({name: simulated(p, 3, rng) for name in ("original", *LAW)})
        assert found.verdict.contaminated is not None
        flags += found.verdict.contaminated
    assert flags <= 4


@pytest.mark.usefixtures("quick")
def test_a_solver_that_looks_originals_up_is_flagged() -> None:
    rng = np.random.default_rng(7)
    for _ in range(10):
        arms = {name: simulated(skills(rng), 3, rng) for name in ("original", *LAW)}
        arms["original"] = {id: max(v, float(rng.random() < 0.6)) for id, v in arms["original"].items()}
        arms["names"] = dict(arms["original"])  # it knows the numbers, whoever owns them
        found = probed(arms)
        assert found.verdict.contaminated is True
        assert "Contaminated" in found.verdict.text


@pytest.mark.usefixtures("quick")
def test_a_harder_variant_is_no_evidence_of_memory() -> None:
    """Steps right with probability .9 each: P1 and P2 fall, faster and faster, without anything being memorised."""
    rng = np.random.default_rng(8)
    steps = np.array([operations(t) for t in built_in() if applies(t, "p2")])
    arms = {
        name: simulated(0.9 ** (steps + more), 20, rng)
        for name, more in (("original", 0), ("numbers", 0), ("p1", 1), ("p2", 2))
    }
    found = probed(arms, ("numbers",))
    rows = {row.variant: row for row in found.rows}
    for name, more in (("p1", 1), ("p2", 2)):
        gap = rows[name].gap
        assert gap is not None
        assert gap.p < 0.01
        assert gap.interval[0] - 0.02 < float((0.9**steps * (1 - 0.9**more)).mean()) < gap.interval[1] + 0.02
        assert rows[name].holm is None
    assert found.verdict.contaminated is False


@pytest.mark.usefixtures("quick")
def test_without_a_variant_of_the_same_law_there_is_no_verdict() -> None:
    rng = np.random.default_rng(9)
    found = probed({"original": simulated(np.full(20, 1.0), 2, rng), "p1": simulated(np.full(20, 0.1), 2, rng)}, ())
    assert found.verdict.contaminated is None
    assert "No verdict" in found.verdict.text


def test_a_large_gap_below_the_margin_or_by_chance_is_not_flagged() -> None:
    small = pt.Gap(60, 0.03, (0.01, 0.05), 1e-4, 2e-4, 0.03)
    chance = pt.Gap(4, 0.5, (-0.2, 1.0), 0.06, 0.12, 0.9)
    large = pt.Gap(60, 0.3, (0.2, 0.4), 1e-4, 2e-4, 0.1)
    judge: Callable[..., pt.Verdict] = pt.judge
    assert judge({"names": small}, {"names": 1e-4}, 0.01, 0.05).contaminated is False
    assert judge({"both": chance}, {"both": 0.06}, 0.01, 0.05).contaminated is False
    assert judge({"names": small, "both": large}, {"names": 1e-4, "both": 1e-4}, 0.01, 0.05).contaminated is True


def test_the_document_is_plain_and_complete() -> None:
    rng = np.random.default_rng(10)
    p = skills(rng, 12)
    document = probed({name: simulated(p, 2, rng) for name in ("original", *LAW)}).document()
    assert [row["variant"] for row in document["rows"]] == ["original", *LAW]
    assert document["rows"][1]["effects"]["p_effect"] <= 1
    assert document["verdict"]["contaminated"] in (False, True)


def test_the_picture_is_a_png_with_every_arm(tmp_path: object) -> None:
    pytest.importorskip("matplotlib")
    from pathlib import Path

    from thence.evals.perturbation.plot import draw

    rng = np.random.default_rng(11)
    found = probed({name: simulated(skills(rng, 12), 2, rng) for name in ("original", *LAW)})
    written = draw(found, Path(str(tmp_path)) / "plots" / "probe.png")
    assert written.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
