r"""Memorisation or reasoning: originals against their perturbations, with the spread that chance alone makes.

After GSM-Symbolic (Mirzadeh et al. 2024, arXiv:2410.05229), plus the statistics that the paper lacks.

* **Spread over sets.** Set j is instance j of every template. With T templates of success p_t, accuracies of sets
  spread by chance alone with standard deviation \sqrt{\sum_t p_t (1 - p_t)} / T <= \sqrt{p (1 - p) / T}; p_t (1 - p_t)
  is estimated without bias by n/(n-1) times its plug-in value. Is there more? Under chance the instances of a template
  are exchangeable, so shuffling each template's outcomes over the sets gives the exact null of the observed spread.
* **Paired difference** of a variant and the originals: the mean over templates of each template's difference, with
  Student's t over templates (clusters), and an exact sign-flip test. Where original and variant are draws of one law
  (``tasks.templates.variants.SAME_LAW``), they are exchangeable for whoever has seen neither, so flipping the signs of
  whole templates leaves the null law of the differences as it is.
* **Random effects.** k_ta right of n_ta, logit p_ta = b_0 + b_1 a + u_t + a v_t, u_t ~ N(0, s_u^2), v_t ~ N(0, s_v^2),
  by maximum likelihood with Gauss-Hermite nodes. Tested by likelihood ratio: b_1 = 0 (does the variant matter?) and
  s_v = 0 (does it matter more in some templates? on the border of its range, so half of chi^2_1).
* **Per template**: Fisher's exact test of its counts, Holm's correction over templates.
* **Contamination**: the originals are solved more often than variants of the same law; one-sided sign-flip tests,
  Holm's correction over the variants, and a margin in points. See ``Verdict``.

Not covered: probes that need probabilities of given text (perplexity, canaries).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from thence.core.errors import DataError
from thence.core.seeds import derive
from thence.evals.statistics.metrics import Interval, clustered_accuracy, holm

Array = npt.NDArray[np.float64]
Outcomes = Mapping[str, float]  # problem id -> 1 right, 0 wrong (or a mean over samples)
TemplateOf = Callable[[str], str]

FLIPS = 20_000  # draws of a sign-flip test; its p-values are at least 1 / (FLIPS + 1)
SHUFFLES = 2_000  # draws of the test of the spread
EXACT_FLIPS = 14  # templates up to which all sign flips are counted
ALPHA, MARGIN = 0.01, 0.05


# ---------------------------------------------------------------------------------------------------- spread over sets


@dataclass(frozen=True, slots=True)
class Spread:
    """Accuracies of the sets and their standard deviation; ``null`` is what chance makes, ``bound`` the most it can.

    ``p``: the share of shuffles whose spread is at least as large. None with a single set.
    """

    sets: tuple[float, ...]
    sd: float
    null: float
    bound: float
    p: float


def spread(outcomes: Outcomes, template_of: TemplateOf, seed: int = 0) -> Spread | None:
    """The spread over sets; templates without all instances are left out. None with fewer than two sets."""
    rows = _by_template(outcomes, template_of)
    most = max((len(r) for r in rows.values()), default=0)
    table = np.array([row for row in rows.values() if len(row) == most])  # [templates, sets]
    if most < 2 or len(table) == 0:
        return None
    templates = len(table)
    p_t, mean = table.mean(axis=1), float(table.mean())
    variance = float((p_t * (1 - p_t)).sum()) * most / (most - 1)
    sd = float(table.mean(axis=0).std(ddof=1))
    rng = np.random.default_rng(derive("spread", seed))
    shuffled = (float(rng.permuted(table, axis=1).mean(axis=0).std(ddof=1)) for _ in range(SHUFFLES))
    as_large = sum(s >= sd - 1e-12 for s in shuffled)
    return Spread(
        tuple(float(x) for x in table.mean(axis=0)),
        sd,
        math.sqrt(variance) / templates,
        math.sqrt(mean * (1 - mean) / templates),
        (as_large + 1) / (SHUFFLES + 1),
    )


def _by_template(outcomes: Outcomes, template_of: TemplateOf) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = defaultdict(list)
    for id in sorted(outcomes):
        rows[template_of(id)].append(float(outcomes[id]))
    return dict(rows)


# ---------------------------------------------------------------------------------------------------- differences


@dataclass(frozen=True, slots=True)
class Gap:
    """Originals minus variant: points as a share, over the templates that both have.

    ``p`` is the one-sided sign-flip test that the originals are solved more often, ``p_two`` the two-sided one;
    ``detectable`` is the smallest true gap that has an 80 % chance of p < .01.
    """

    templates: int
    gap: float
    interval: Interval
    p: float
    p_two: float
    detectable: float


def gap(original: Outcomes, variant: Outcomes, template_of: TemplateOf, seed: int = 0) -> Gap:
    """Paired by id where both have it, else by template (one published original against many instances).

    DataError when no template is in both.
    """
    d = np.array(list(template_differences(original, variant, template_of).values()))
    if len(d) == 0:
        raise DataError("original and variant share no template; give variants of the same task")
    mean, n = float(d.mean()), len(d)
    if n == 1:
        return Gap(1, mean, (-1.0, 1.0), 1.0, 1.0, math.inf)
    from scipy import special

    error = float(d.std(ddof=1)) / math.sqrt(n)
    t = float(special.stdtrit(n - 1, 0.975))
    need = float(special.ndtri(1 - ALPHA) + special.ndtri(0.8))
    interval = max(-1.0, mean - t * error), min(1.0, mean + t * error)
    one, two = sign_flip(d, seed)
    return Gap(n, mean, interval, one, two, need * error)


def template_differences(original: Outcomes, variant: Outcomes, template_of: TemplateOf) -> dict[str, float]:
    """Original minus variant for every template that both have: over the shared instances, else over all."""
    shared = original.keys() & variant.keys()
    paired = {template_of(id) for id in shared}
    first = _by_template(
        {i: v for i, v in original.items() if i in shared or template_of(i) not in paired}, template_of
    )
    singles = {t for t in paired if len(first[t]) == 1}
    second = _by_template(
        {i: v for i, v in variant.items() if i in shared or template_of(i) in singles or template_of(i) not in paired},
        template_of,
    )
    return {t: float(np.mean(first[t]) - np.mean(second[t])) for t in first if t in second}


def sign_flip(differences: Array, seed: int = 0) -> tuple[float, float]:
    """(one-sided, two-sided) p of a mean this large when every sign is a fair coin; exact for few, else drawn."""
    d = differences[np.abs(differences) > 1e-12]
    if len(d) == 0:
        return 1.0, 1.0
    total = float(d.sum())
    if len(d) <= EXACT_FLIPS:
        signs = 1 - 2 * ((np.arange(1 << len(d))[:, None] >> np.arange(len(d))) & 1)
        sums, added = signs @ d, 0
    else:
        rng = np.random.default_rng(derive("sign flip", seed))
        sums, added = (1 - 2 * rng.integers(0, 2, size=(FLIPS, len(d)))) @ d, 1
    one = float((sums >= total - 1e-9).sum() + added) / (len(sums) + added)
    two = float((np.abs(sums) >= abs(total) - 1e-9).sum() + added) / (len(sums) + added)
    return one, two


# ---------------------------------------------------------------------------------------------------- random effects


@dataclass(frozen=True, slots=True)
class RandomEffects:
    """The logistic model with random templates: ``effect`` is the variant's log odds ratio, with its interval.

    ``p_effect`` tests that it is 0, ``p_varies`` that it is the same in all templates. ``templates_sd`` and
    ``effect_sd`` are s_u and s_v, at most 6 (a template is then all right or all wrong). ``separated``: the data have
    no finite maximum (an arm all right or all wrong).
    """

    effect: float
    interval: Interval
    p_effect: float
    templates_sd: float
    effect_sd: float
    p_varies: float
    separated: bool = False


NODES = (41, 15)  # of u and v: templates may be nearly all right or all wrong, so u needs a fine grid
LIMIT = 12.0  # log odds beyond which an estimate means "no finite maximum"
BOUNDS = ((-LIMIT, LIMIT), (-LIMIT, LIMIT), (0.0, 6.0), (0.0, 6.0))  # of b0, b1, s_u, s_v


def random_effects(original: Outcomes, variant: Outcomes, template_of: TemplateOf) -> RandomEffects | None:
    """Fit to the counts of both arms; outcomes between 0 and 1 count in parts. None for fewer than three templates."""
    from scipy import special

    first, second = _by_template(original, template_of), _by_template(variant, template_of)
    shared = sorted(first.keys() & second.keys())
    if len(shared) < 3:
        return None
    k = np.array([[sum(first[t]), sum(second[t])] for t in shared])
    n = np.array([[len(first[t]), len(second[t])] for t in shared], dtype=float)
    likelihood = _likelihood(k, n)
    plain, _ = _maximum(likelihood, (0, 2), np.array([0.0, 0.0, 1.5, 0.0]))
    same, without_v = _maximum(likelihood, (0, 1, 2), plain)
    _, without_b = max(
        (_maximum(likelihood, (0, 2, 3), plain + np.array([0, 0, 0, s])) for s in (0.0, 0.5)), key=lambda m: m[1]
    )
    full, top = max(
        (_maximum(likelihood, (0, 1, 2, 3), same + np.array([0, 0, 0, s])) for s in (0.0, 0.5)), key=lambda m: m[1]
    )
    separated = bool(np.abs(full[:2]).max() > LIMIT - 0.01)
    half = math.inf if separated else 1.96 * _error(likelihood, full)
    effect, gain = float(full[1]), max(0.0, 2 * (top - without_v))
    return RandomEffects(
        effect,
        (effect - half, effect + half),
        float(special.chdtrc(1, max(0.0, 2 * (top - without_b)))),
        float(same[2]),
        float(full[3]),
        0.5 * float(special.chdtrc(1, gain)) if gain > 1e-6 else 1.0,
        separated,
    )


Likelihood = Callable[[Array], tuple[float, Array]]


def _maximum(likelihood: Likelihood, free: Sequence[int], start: Array) -> tuple[Array, float]:
    """The best (b0, b1, s_u, s_v) with those not in ``free`` as they are in ``start``, and its log likelihood."""
    from scipy import optimize

    at = list(free)

    def loss(x: Array) -> tuple[float, Array]:
        theta = start.copy()
        theta[at] = x
        value, slope = likelihood(theta)
        return -value, -slope[at]

    found = optimize.minimize(loss, start[at], jac=True, method="L-BFGS-B", bounds=[BOUNDS[i] for i in at])
    theta = start.copy()
    theta[at] = found.x
    return theta, -float(found.fun)


def _likelihood(k: Array, n: Array) -> Likelihood:
    """log L(b0, b1, s_u, s_v) of counts [templates, 2] and its gradient, by quadrature over both random effects."""
    (u, w_u), (v, w_v) = (np.polynomial.hermite_e.hermegauss(size) for size in NODES)
    log_weight = np.log(w_u / w_u.sum())[:, None] + np.log(w_v / w_v.sum())[None, :]  # [u, v]
    k0, k1, n0, n1 = (x[:, None, None] for x in (k[:, 0], k[:, 1], n[:, 0], n[:, 1]))

    def log_likelihood(theta: Array) -> tuple[float, Array]:
        b0, b1, s_u, s_v = theta
        eta0 = (b0 + s_u * u)[:, None]  # [u, 1]
        eta1 = eta0 + b1 + s_v * v[None, :]  # [u, v]
        each = k0 * eta0 - n0 * np.logaddexp(0, eta0) + k1 * eta1 - n1 * np.logaddexp(0, eta1) + log_weight
        top = each.max(axis=(1, 2), keepdims=True)
        share = np.exp(each - top)  # [templates, u, v], after division the posterior of (u, v)
        total = share.sum(axis=(1, 2), keepdims=True)
        share /= total
        left0 = share.sum(axis=2, keepdims=True) * (k0 - n0 / (1 + np.exp(-eta0)))  # [templates, u, 1]
        left1 = share * (k1 - n1 / (1 + np.exp(-eta1)))
        by_u = left0[:, :, 0].sum(axis=0) + left1.sum(axis=(0, 2))
        slope = np.array([by_u.sum(), left1.sum(), by_u @ u, left1.sum(axis=(0, 1)) @ v])
        return float((top + np.log(total)).sum()), slope

    return log_likelihood


def _error(likelihood: Likelihood, at: Array, step: float = 1e-4) -> float:
    """Standard error of b1 by the observed information of the parameters that are inside their range."""
    free = [i for i in range(4) if i < 2 or at[i] > 0.01]
    rows = []
    for i in free:
        move = np.zeros(4)
        move[i] = step
        rows.append((likelihood(at - move)[1][free] - likelihood(at + move)[1][free]) / (2 * step))
    try:
        variance = float(np.linalg.inv(np.array(rows))[1, 1])
    except np.linalg.LinAlgError:
        return math.inf
    return math.sqrt(variance) if variance > 0 else math.inf


# ---------------------------------------------------------------------------------------------------- per template


@dataclass(frozen=True, slots=True)
class TemplateTest:
    """One template: right of how many in either arm, Fisher's exact two-sided p, Holm's over all templates."""

    template: str
    original: tuple[int, int]
    variant: tuple[int, int]
    p: float
    holm: float


def per_template(original: Outcomes, variant: Outcomes, template_of: TemplateOf) -> list[TemplateTest]:
    """Every template that both have, the smallest p first. Outcomes count as right from 0.5 on."""
    from scipy import stats

    first, second = _by_template(original, template_of), _by_template(variant, template_of)
    shared = sorted(first.keys() & second.keys())
    counts = [tuple((sum(x >= 0.5 for x in arm[t]), len(arm[t])) for arm in (first, second)) for t in shared]
    p_values = [float(stats.fisher_exact([[a, m - a], [b, n - b]])[1]) for (a, m), (b, n) in counts]
    adjusted = holm(p_values)
    rows = [TemplateTest(t, c[0], c[1], p, h) for t, c, p, h in zip(shared, counts, p_values, adjusted, strict=True)]
    return sorted(rows, key=lambda row: (row.p, row.template))


# ---------------------------------------------------------------------------------------------------- the whole probe


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One arm of the probe. ``gap`` (and what follows) is None for the originals themselves."""

    variant: str
    same_law: bool
    n: int
    accuracy: float
    interval: Interval
    spread: Spread | None
    gap: Gap | None = None
    holm: float | None = None
    effects: RandomEffects | None = None
    templates: tuple[TemplateTest, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """``contaminated`` is None where nothing can be said (no variant is of the originals' law)."""

    contaminated: bool | None
    text: str


@dataclass(slots=True)
class Probe:
    """All rows, the originals first, and the verdict; ``document()`` is what ``--json`` prints."""

    model: str
    strategy: str
    rows: list[VariantRow] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict(None, ""))

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"model": self.model, "strategy": self.strategy, "rows": [asdict(row) for row in self.rows]} | {
            "verdict": asdict(self.verdict)
        }


def probe(
    arms: Mapping[str, Outcomes],
    template_of: TemplateOf,
    *,
    same_law: Sequence[str],
    model: str = "",
    strategy: str = "",
    alpha: float = ALPHA,
    margin: float = MARGIN,
) -> Probe:
    """Compare all arms with the first, the originals; ``same_law`` names the arms that can show contamination."""
    names = list(arms)
    originals = arms[names[0]]
    gaps = {name: gap(originals, arms[name], template_of) for name in names[1:]}
    tested = [name for name in names[1:] if name in same_law]
    adjusted = dict(zip(tested, holm([gaps[name].p for name in tested]), strict=True))
    made = Probe(model, strategy)
    for name in names:
        rows: dict[Hashable, Sequence[float]] = dict(_by_template(arms[name], template_of).items())
        accuracy, interval = clustered_accuracy(rows)
        row = VariantRow(name, name in same_law, len(arms[name]), accuracy, interval, spread(arms[name], template_of))
        if name in gaps:
            row = VariantRow(
                row.variant,
                row.same_law,
                row.n,
                row.accuracy,
                row.interval,
                row.spread,
                gaps[name],
                adjusted.get(name),
                random_effects(originals, arms[name], template_of),
                tuple(per_template(originals, arms[name], template_of)),
            )
        made.rows.append(row)
    made.verdict = judge({name: gaps[name] for name in tested}, adjusted, alpha, margin)
    return made


def judge(gaps: Mapping[str, Gap], adjusted: Mapping[str, float], alpha: float, margin: float) -> Verdict:
    """Contaminated: a variant of the same law is solved less often than the originals, by ``margin`` and p < alpha."""
    if not gaps:
        return Verdict(
            None,
            "No verdict: no variant here is a draw of the originals' own law, so a gap may come from other numbers "
            "or harder sentences as well as from memory.",
        )
    flagged = [name for name in gaps if adjusted[name] < alpha and gaps[name].gap >= margin]
    if flagged:
        worst = max(flagged, key=lambda name: gaps[name].gap)
        found = gaps[worst]
        return Verdict(
            True,
            f"Contaminated: the originals are solved {100 * found.gap:.1f} points more often than the same problems "
            f"with changed {_changed(worst)} (Holm p = {adjusted[worst]:.2g}), which are no harder. "
            f"That is memory of these very texts.",
        )
    largest = max(gaps, key=lambda name: gaps[name].gap)
    weakest = max(g.detectable for g in gaps.values())
    return Verdict(
        False,
        f"No sign of contamination: the largest gap is {100 * gaps[largest].gap:+.1f} points (changed "
        f"{_changed(largest)}, Holm p = {adjusted[largest]:.2g}). A gap of {100 * max(weakest, margin):.0f} points "
        f"would have been found with a chance of about 80 % before Holm's correction.",
    )


def _changed(variant: str) -> str:
    return "names and numbers" if variant == "both" else variant
