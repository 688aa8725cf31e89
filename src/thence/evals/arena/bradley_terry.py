r"""Bradley-Terry strengths by maximum likelihood, with ties, a position term, style control and sandwich intervals.

    logit P(a beats b) = eta = beta_a - beta_b + beta_0,    beta_0 = sum_k gamma_k z_k    (Bradley and Terry 1952)

beta_0 is everything in a battle that is not ability: who was shown first (z = 1 or -1), and how the texts differ in
length, headings, lists, … (``style``). Chiang et al. 2024 (arXiv:2403.04132) rank models so. Strengths add up to 0;
a score is 400 / ln 10 * beta + 1000, the scale of Elo.

Ties, by choice: ``half`` counts a tie as half a win of each side (Chatbot Arena's way, a quasi-likelihood);
``davidson`` has P(tie) proportional to nu * sqrt(pi_a pi_b) (Davidson 1970), here with exp(eta / 2), exp(-eta / 2) and
nu; ``rao-kupper`` has P(a) = sigma(eta - delta), P(b) = sigma(-eta - delta) and a tie between (Rao and Kupper 1967).
Each is concave, and Newton's method with step halving finds its one maximum.

Intervals come from the sandwich H^-1 S H^-1, with H the Hessian and S the summed outer products of scores, battles of
one cluster added up first: it stays right when strengths do not explain everything. It is multiplied by n / (n - p)
(p free parameters, or G / (G - 1) for G clusters where that is more), without which it is too narrow in small files.

Differs from FastChat's: no ridge unless asked for (theirs shrinks strengths and style alike), a position term, and
features are scaled but not centred, so that swapping the sides of a battle changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import special

from thence.core.errors import DataError, UsageError

from .battles import Array, Battles, Ints, check_comparable, check_finite

Ties = Literal["half", "davidson", "rao-kupper"]
SCALE, INITIAL = 400.0 / math.log(10.0), 1000.0  # points per unit of log-odds, points of the average model
STEPS = 200
DECREMENT = 1e-13  # of the log-likelihood: what one more Newton step would gain
FLAT = 1e-7  # curvature below which a direction has no maximum
Outcomes = tuple[Array, Array, Array]


@dataclass(frozen=True, slots=True)
class Terms:
    """What beta_0 is made of: ``values`` is [n, terms], ``units`` what one unit of each column is in words."""

    names: tuple[str, ...]
    values: Array
    units: tuple[str, ...]

    @staticmethod
    def none(n: int) -> Terms:
        """No terms: beta_0 is 0."""
        return Terms((), np.zeros((n, 0)), ())


@dataclass(frozen=True, slots=True)
class Fit:
    """The maximum: ``strengths`` [models] (log-odds, sum 0), ``effects`` [terms], ``tie`` log nu or delta.

    ``covariance`` is the sandwich over strengths, effects and tie, in this order; ``model_based`` the inverse Hessian,
    which is right only where the model is. ``without_ties`` says that the file had none, so that no tie parameter is
    there to be found.
    """

    models: tuple[str, ...]
    terms: tuple[str, ...]
    strengths: Array
    effects: Array
    tie: float | None
    covariance: Array
    model_based: Array
    loglik: float
    n: int
    ridge: float
    ties: Ties

    @property
    def scores(self) -> Array:
        """[models] points, 1000 for the average model."""
        return np.asarray(INITIAL + SCALE * self.strengths)

    def errors(self) -> Array:
        """Standard errors of strengths, effects and tie."""
        return np.sqrt(np.clip(np.diag(self.covariance), 0.0, None))

    def parameters(self) -> Array:
        """Strengths, effects and tie in one array."""
        return np.concatenate([self.strengths, self.effects, [] if self.tie is None else [self.tie]])

    def chance(self, a: int, b: int, beta_0: float = 0.0) -> float:
        """The expected result of model ``a`` against ``b`` (a tie counted as one half)."""
        eta = np.array([self.strengths[a] - self.strengths[b] + beta_0])
        win, _, tie = probabilities(eta, self.tie, self.ties)
        return float(win[0] + tie[0] / 2)


def fit(
    battles: Battles,
    terms: Terms | None = None,
    *,
    ties: Ties = "half",
    ridge: float = 0.0,
    weights: Array | None = None,
) -> Fit:
    """Fit strengths to ``battles``. ``ridge`` adds ridge / 2 * (sum beta^2 + sum gamma^2) to the loss.

    ``weights`` [n] multiply the battles (inverse sampling weights). DataError for battles that have no finite
    or no unique maximum, each with what to do.
    """
    if ties not in get_args(Ties):
        raise UsageError(f"ties {ties!r} is not known; write one of {', '.join(get_args(Ties))}")
    if not (math.isfinite(ridge) and ridge >= 0):
        raise UsageError(f"ridge is {ridge}; it must be 0 or more")
    check_comparable(battles)
    terms = terms or Terms.none(battles.n)
    if ridge == 0:
        check_finite(battles)
    ties = ties if battles.ties else "half"
    likelihood = Likelihood(battles.a, battles.b, battles.outcome, terms.values, len(battles.models), ties, ridge)
    free = likelihood.size - 1
    if battles.n <= free and ridge == 0:
        raise DataError(f"{battles.n} battles cannot fix {free} numbers (strengths and terms); add battles")
    if ridge == 0:
        _check_identified(likelihood, terms)
    w = np.ones(battles.n) if weights is None else np.asarray(weights, dtype=float)
    at = likelihood.maximum(w)
    if at is None:
        raise _no_maximum(terms, ties)
    covariance, model_based = _covariances(likelihood, at, w, battles.clusters)
    m, k = likelihood.m, likelihood.k
    tie = float(at[-1]) if ties != "half" else None
    loglik = likelihood.value(at, w, penalised=False)
    return Fit(
        battles.models,
        terms.names,
        at[:m],
        at[m : m + k],
        tie,
        covariance,
        model_based,
        loglik,
        battles.n,
        ridge,
        ties,
    )


def probabilities(eta: Array, tie: float | None, ties: Ties) -> Outcomes:
    """[n] each: the chance that a wins, that b wins, and of a tie, at log-odds ``eta``."""
    if ties == "half" or tie is None:
        return special.expit(eta), special.expit(-eta), np.zeros_like(eta)
    if ties == "davidson":
        top = np.maximum(np.abs(eta) / 2, tie)
        a, b, t = np.exp(eta / 2 - top), np.exp(-eta / 2 - top), np.exp(tie - top)
        norm = a + b + t
        return a / norm, b / norm, t / norm
    a, b = special.expit(eta - tie), special.expit(-eta - tie)
    return a, b, 1 - a - b


class Likelihood:
    """The log-likelihood of one list of battles, its gradient and its curvature, without ever forming a design matrix.

    A parameter vector is strengths [m], effects [k] and, for the tie models, one number more.
    """

    def __init__(self, a: Ints, b: Ints, outcome: Array, z: Array, m: int, ties: Ties, ridge: float) -> None:
        self.a, self.b, self.z, self.ties, self.ridge = a, b, z, ties, ridge
        self.m, self.k = m, z.shape[1]
        self.size = m + self.k + (ties != "half")
        self.won = (outcome == 1).astype(float)
        self.lost = (outcome == 0).astype(float)
        self.tied = (outcome == 0.5).astype(float)
        self.outcome = outcome

    def eta(self, at: Array) -> Array:
        """[n] log-odds that a wins."""
        return np.asarray(at[self.a] - at[self.b] + self.z @ at[self.m : self.m + self.k])

    def value(self, at: Array, w: Array, *, penalised: bool = True) -> float:
        """The log-likelihood (for ``half`` a quasi-likelihood), minus the ridge's penalty."""
        eta = self.eta(at)
        if self.ties == "half":
            each = special.log_expit(eta) * self.outcome + special.log_expit(-eta) * (1 - self.outcome)
        elif self.ties == "davidson":
            norm = np.logaddexp(np.logaddexp(eta / 2, -eta / 2), at[-1])
            each = (self.won - self.lost) * eta / 2 + self.tied * at[-1] - norm
        elif at[-1] <= 0:
            return -math.inf
        else:
            wins, losses = self.won + self.tied, self.lost + self.tied
            each = wins * special.log_expit(eta - at[-1]) + losses * special.log_expit(-eta - at[-1])
            each = each + self.tied * (2 * at[-1] + np.log1p(-np.exp(-2 * at[-1])))
        penalty = self.ridge / 2 * float(at[: self.m + self.k] @ at[: self.m + self.k]) if penalised else 0.0
        return float(w @ each) - penalty

    def derivatives(self, at: Array) -> tuple[Array, Array, Array, Array, Array]:
        """[n] each: first derivatives by eta and by the tie number, and minus the second ones (11, 12, 22)."""
        eta = self.eta(at)
        none = np.zeros_like(eta)
        if self.ties == "half":
            p = special.expit(eta)
            return self.outcome - p, none, p * (1 - p), none, none
        if self.ties == "davidson":
            pa, pb, pt = probabilities(eta, float(at[-1]), "davidson")
            lead = pa - pb
            first = (self.won - self.lost - lead) / 2
            return first, self.tied - pt, (pa + pb - lead**2) / 4, -lead * pt / 2, pt * (1 - pt)
        delta = float(at[-1])
        pa, pb = special.expit(eta - delta), special.expit(-eta - delta)
        wins, losses = self.won + self.tied, self.lost + self.tied
        left, right = wins * (1 - pa), losses * (1 - pb)
        bend_left, bend_right = left * pa, right * pb
        edge = -math.expm1(-2 * delta)  # d/d delta of log(exp(2 delta) - 1) is 2 / edge
        by_tie = -left - right + self.tied * 2 / edge
        bend = bend_left + bend_right
        return left - right, by_tie, bend, bend_right - bend_left, bend + self.tied * 4 * (1 - edge) / edge**2

    def gradient(self, first: Array, by_tie: Array, at: Array) -> Array:
        """[size] from weighted first derivatives."""
        strengths = np.bincount(self.a, first, self.m) - np.bincount(self.b, first, self.m)
        made = np.concatenate([strengths, first @ self.z, [by_tie.sum()] if self.ties != "half" else []])
        made[: self.m + self.k] -= self.ridge * at[: self.m + self.k]
        return np.asarray(made)

    def assembled(self, p11: Array, p12: Array, p22: Array) -> Array:
        """[size, size] sum over battles of the outer products that ``p11`` (eta, eta), ``p12`` and ``p22`` weigh."""
        m, k = self.m, self.k
        out = np.zeros((self.size, self.size))
        pairs = np.bincount(self.a * m + self.b, p11, m * m).reshape(m, m)
        pairs = pairs + pairs.T
        out[:m, :m] = np.diag(pairs.sum(axis=1)) - pairs
        for j in range(k):
            cross = p11 * self.z[:, j]
            out[:m, m + j] = np.bincount(self.a, cross, m) - np.bincount(self.b, cross, m)
        out[m : m + k, :m] = out[:m, m : m + k].T
        out[m : m + k, m : m + k] = (self.z * p11[:, None]).T @ self.z
        if self.ties != "half":
            out[:m, -1] = np.bincount(self.a, p12, m) - np.bincount(self.b, p12, m)
            out[m : m + k, -1] = p12 @ self.z
            out[-1, :-1] = out[:-1, -1]
            out[-1, -1] = p22.sum()
        return out

    def curvature(self, at: Array, w: Array) -> Array:
        """[size, size] minus the second derivatives, the ridge's included."""
        _, _, h11, h12, h22 = self.derivatives(at)
        made = self.assembled(w * h11, w * h12, w * h22)
        made[: self.m + self.k, : self.m + self.k] += self.ridge * np.eye(self.m + self.k)
        return made

    def fixed(self, curvature: Array) -> Array:
        """The curvature with the direction that no battle sees (all strengths moved alike) made steep."""
        made = curvature.copy()
        made[: self.m, : self.m] += max(1.0, float(np.trace(curvature)) / self.m) / self.m
        return made

    def start(self) -> Array:
        """Equal strengths, no effects, and a tie number near the share of ties."""
        at = np.zeros(self.size)
        if self.ties != "half":
            share = min(0.95, max(0.01, float(self.tied.mean())))
            odds = 2 * share / (1 - share)
            at[-1] = math.log(odds) if self.ties == "davidson" else math.log((1 + share) / (1 - share))
        return at

    def maximum(self, w: Array, start: Array | None = None) -> Array | None:
        """The best parameters; None where the likelihood rises for ever in some direction."""
        at = self.start() if start is None else start.copy()
        value = self.value(at, w)
        for _ in range(STEPS):
            first, by_tie, h11, h12, h22 = self.derivatives(at)
            gradient = self.gradient(w * first, w * by_tie, at)
            bend = self.assembled(w * h11, w * h12, w * h22)
            if self.ridge:
                bend[: self.m + self.k, : self.m + self.k] += self.ridge * np.eye(self.m + self.k)
            try:
                step: Array = np.asarray(np.linalg.solve(self.fixed(bend), gradient), dtype=np.float64)
            except np.linalg.LinAlgError:
                return None
            gain = float(gradient @ step) / 2
            if not math.isfinite(gain):
                return None
            if gain < DECREMENT * max(1.0, abs(value)):
                return self._settled(at + step, bend)
            at, value = self._uphill(at, step, value, w)
        return None

    def _uphill(self, at: Array, step: Array, value: float, w: Array) -> tuple[Array, float]:
        """The point after the longest halving of ``step`` that does not lead down."""
        for halvings in range(40):
            there = at + step / 2**halvings
            found = self.value(there, w)
            if found >= value - 1e-12 * abs(value):
                there[: self.m] -= there[: self.m].mean()
                return there, found
        return at, value

    def _settled(self, at: Array, bend: Array) -> Array | None:
        """``at`` if the likelihood bends down in every direction there."""
        if float(np.linalg.eigvalsh(self.fixed(bend))[0]) < FLAT:
            return None
        at[: self.m] -= at[: self.m].mean()
        return at

    def scores(self, at: Array, w: Array, clusters: Sequence[str] | None) -> Array:
        """[size, size] summed outer products of scores, those of one cluster added up first."""
        first, by_tie, *_ = self.derivatives(at)
        first, by_tie = w * first, w * by_tie
        if clusters is None:
            return self.assembled(first * first, first * by_tie, by_tie * by_tie)
        _, group = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
        each = np.zeros((int(group.max()) + 1, self.size))
        np.add.at(each, (group, self.a), first)
        np.add.at(each, (group, self.b), -first)
        for j in range(self.k):
            each[:, self.m + j] = np.bincount(group, first * self.z[:, j], len(each))
        if self.ties != "half":
            each[:, -1] = np.bincount(group, by_tie, len(each))
        return np.asarray(each.T @ each)


def _covariances(likelihood: Likelihood, at: Array, w: Array, clusters: Sequence[str] | None) -> tuple[Array, Array]:
    """The sandwich, corrected for size, and the inverse curvature; both for strengths that add up to 0."""
    inverse = np.linalg.inv(likelihood.fixed(likelihood.curvature(at, w)))
    m, free, n = likelihood.m, likelihood.size - 1, len(w)
    groups = n if clusters is None else len(set(clusters))
    if groups < 2:
        raise DataError("all battles are of one cluster, so their spread cannot be seen; leave the cluster out")
    wider = max(n / max(1, n - free), groups / (groups - 1))
    centre = np.eye(likelihood.size)
    centre[:m, :m] -= 1 / m
    sandwich = inverse @ likelihood.scores(at, w, clusters) @ inverse * wider
    return centre @ sandwich @ centre.T, centre @ inverse @ centre.T


def _check_identified(likelihood: Likelihood, terms: Terms) -> None:
    """DataError when some term says the same as the strengths or another term (or is 0 everywhere)."""
    if not terms.names:
        return
    n = len(likelihood.outcome)
    ones, zeros = np.full(n, 1.0), np.zeros(n)
    m = likelihood.m
    for k in range(1, len(terms.names) + 1):
        part = Likelihood(likelihood.a, likelihood.b, likelihood.outcome, terms.values[:, :k], m, "half", 0.0)
        gram = part.fixed(part.assembled(ones, zeros, zeros))
        scale = 1 / np.sqrt(np.maximum(np.diag(gram), 1e-300))
        if float(np.linalg.eigvalsh(gram * scale[:, None] * scale)[0]) < 1e-10:
            raise DataError(
                f"the term {terms.names[k - 1]!r} cannot be told from the strengths or the other terms (it is constant "
                "within every pair of models, or 0 everywhere): leave it out, or show each pair in both orders"
            )


def _no_maximum(terms: Terms, ties: Ties) -> DataError:
    what = f"strengths and {', '.join(terms.names)}" if terms.names else "strengths"
    return DataError(
        f"the battles are perfectly separated by {what} (ties: {ties}): the best fit is infinite; add battles, leave a "
        "term out, or shrink with a ridge (--ridge 0.5)"
    )
