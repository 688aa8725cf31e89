r"""Closed forms that need no world: what strategies, labels and filters must do when their assumptions hold exactly.

Not here: the law of a vote of independent samples is ``evals.statistics.metrics.maj_at_k_population``, the rule
that stops Adaptive-Consistency is ``thence.strategies.adaptive_consistency.lead_probability`` (used below).

All arguments are probabilities and counts; all results are exact up to rounding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.errors import UsageError
from thence.strategies.adaptive_consistency import lead_probability

# --- coverage -------------------------------------------------------------------------------------------------------


def coverage(p: float, n: int) -> float:
    """1 - (1-p)^n: one of ``n`` samples is right (Chen et al. 2021, arXiv:2107.03374).

    It is also the law of a hard Monte-Carlo label, P(HE = 1) for a prefix of value p and n rollouts (Wang et al. 2023,
    arXiv:2312.08935): any value above 0 becomes 1 in the end. A soft label is the mean of n outcomes, with mean p and
    variance p (1-p) / n.
    """
    return -math.expm1(n * math.log1p(-p)) if p < 1 else float(n > 0)


def beta_coverage(alpha: float, beta: float, n: int) -> float:
    """E coverage(p, n) for p ~ Beta(alpha, beta): 1 - B(alpha, beta+n) / B(alpha, beta), about 1 - C n^-alpha.

    Heavy tails of hard problems make the power law of Brown et al. 2024 (arXiv:2407.21787).
    """
    lgamma = math.lgamma
    return -math.expm1(lgamma(beta + n) + lgamma(alpha + beta) - lgamma(beta) - lgamma(alpha + beta + n))


# --- best of n ------------------------------------------------------------------------------------------------------


def adversarial_best_of_n(p: float, a: float, n: int) -> float:
    """P(the best of ``n`` is right) when a sample is right with ``p`` and with ``a`` wrong and scored above all.

    acc(n) = (1-a)^n - (1-p-a)^n: the adversarial false positives of Cobbe et al. 2021 (arXiv:2110.14168), which make
    accuracy fall again.
    """
    return (1.0 - a) ** n - (1.0 - p - a) ** n


def adversarial_peak(p: float, a: float) -> float:
    """The (real) n at which ``adversarial_best_of_n`` is largest."""
    if not 0 < a < a + p < 1:
        raise UsageError(f"p is {p} and a is {a}; a peak needs both above 0 and their sum below 1")
    kept, failed = math.log1p(-a), math.log1p(-p - a)
    return math.log(failed / kept) / (kept - failed)


# --- early stopping -------------------------------------------------------------------------------------------------


def esc_draws(law: Sequence[float], window: int, n: int) -> float:
    """The expected number of samples of early-stopping self-consistency (Li et al. 2024, arXiv:2401.10480).

    w (1 - (1-q)^K) / q with q = sum_a p_a^w and K = n / w whole windows; n must be a multiple of the window.
    """
    if window < 1 or n % window:
        raise UsageError(f"n is {n} and the window {window}; the closed form needs whole windows")
    q = math.fsum(p**window for p in law)
    return window * coverage(q, n // window) / q


@dataclass(frozen=True, slots=True)
class StoppedVote:
    """What a vote that stops early does, exactly: accuracy and mean number of samples."""

    accuracy: float
    draws: float


def adaptive_vote(law: Sequence[float], n: int = 40, confidence: float = 0.95) -> StoppedVote:
    """Adaptive-Consistency (Aggarwal et al. 2023, arXiv:2305.11860) on an answer law, the right answer first.

    Dynamic programming over all counts of answers that have not stopped yet; ties at the end are shared. Mass that the
    law leaves out is that of samples without an answer: drawn, but no votes.
    """
    alive: dict[tuple[int, ...], float] = {(0,) * len(law): 1.0}
    right, drawn = 0.0, 0.0
    for k in range(1, n + 1):
        reached: dict[tuple[int, ...], float] = {}
        for counts, chance in alive.items():
            for i, p in enumerate(law):
                after = (*counts[:i], counts[i] + 1, *counts[i + 1 :])
                reached[after] = reached.get(after, 0.0) + chance * p
            reached[counts] = reached.get(counts, 0.0) + chance * max(0.0, 1.0 - sum(law))
        alive = {}
        for counts, chance in reached.items():
            first, second = (*sorted(counts, reverse=True), 0)[:2]
            if k < n and lead_probability(first, second) < confidence:
                alive[counts] = chance
                continue
            right += chance * (counts[0] == first > 0) / counts.count(first)
            drawn += chance * k
    return StoppedVote(right, drawn)


def first_stops(confidence: float, most: int) -> list[tuple[int, int]]:
    """For each count of the runner-up the smallest count of the leader that stops Adaptive-Consistency.

    At .95: (4, 0), (6, 1), (8, 2), (9, 3), (11, 4), ...; ``most`` bounds their sum.
    """
    pairs = []
    for second in range(most // 2 + 1):
        enough = (v for v in range(second, most - second + 1) if lead_probability(v, second) >= confidence)
        if (first := next(enough, None)) is not None:
            pairs.append((first, second))
    return pairs


# --- labels of steps ------------------------------------------------------------------------------------------------


def binomial(n: int, p: float) -> list[float]:
    """P(k of n) for k = 0..n."""
    return [math.comb(n, k) * p**k * (1.0 - p) ** (n - k) for k in range(n + 1)]


def max_soft_label(v: float, rollouts: int, m: int) -> float:
    """E of the largest of ``m`` soft labels of equal value ``v``: the winner's curse of choosing among estimates.

    For v = .5 and 8 rollouts: .679 of 4, .802 of 16.
    """
    below, mean = 0.0, 0.0
    for k, p in enumerate(binomial(rollouts, v)):
        mean += k / rollouts * ((below + p) ** m - below**m)
        below += p
    return mean


def min_soft_label(values: Sequence[float], rollouts: int) -> float:
    """E of the smallest soft label over the steps of a solution, each from its own rollouts: below min(values).

    Why ``min`` suits Monte-Carlo labels less than human ones (Wang et al. 2024, arXiv:2402.02658).
    """
    laws = [binomial(rollouts, v) for v in values]
    above = [math.prod(math.fsum(law[k:]) for law in laws) for k in range(1, rollouts + 1)]  # P(all labels >= k/n)
    return math.fsum(above) / rollouts


def found_first_error(values: Sequence[float], rollouts: int) -> dict[int, float]:
    """The law of the step that OmegaPRM's binary search calls the first error (Luo et al. 2024, arXiv:2406.06592).

    ``values[t-1]`` is the value of the first t of M steps of a wrong solution, so values[-1] is not looked at. A probe
    of t takes that prefix for live when one of ``rollouts`` continuations is right. Steps are counted from 1.
    """

    def search(low: int, high: int, chance: float) -> dict[int, float]:
        if high - low == 1:
            return {high: chance}
        middle = (low + high) // 2
        live = coverage(values[middle - 1], rollouts)
        return search(low, middle, chance * (1.0 - live)) | search(middle, high, chance * live)

    law = search(0, len(values), 1.0)
    return {step: p for step, p in law.items() if p > 0}


def consensus_kept(label_error: float, judge_error: float) -> float:
    """The share of labels that a judge with independent errors agrees with: eta e + (1-eta)(1-e)."""
    return label_error * judge_error + (1.0 - label_error) * (1.0 - judge_error)


def consensus_error(label_error: float, judge_error: float) -> float:
    """The error of labels that a judge with independent errors agrees with: eta e / (eta e + (1-eta)(1-e)).

    The consensus filter of arXiv:2501.07301.
    """
    return label_error * judge_error / consensus_kept(label_error, judge_error)


# --- filters, critics and revisions ---------------------------------------------------------------------------------


def filter_precision(p: float, kept_right: float, kept_wrong: float) -> float:
    """The share of right ones among the kept: better than ``p`` only if right ones are kept more often than wrong ones.

    CoTnPoT (Liang et al. 2024, arXiv:2410.05318): p = .6, .9 and .4 give .771.
    """
    return p * kept_right / (p * kept_right + (1.0 - p) * kept_wrong)


def no_survivor(p: float, kept_right: float, kept_wrong: float, n: int) -> float:
    """P(a filter drops all ``n`` candidates)."""
    return (1.0 - p * kept_right - (1.0 - p) * kept_wrong) ** n


def self_corrected(p: float, *, flag_wrong: float, flag_right: float, fix: float, keep: float) -> float:
    """Accuracy after one round of self-correction: p [1 - f (1-rho)] + (1-p) t s.

    ``flag_wrong`` (t) and ``flag_right`` (f) are the chances to find fault with a wrong and with a right answer,
    ``fix`` (s) that a faulted wrong answer becomes right, ``keep`` (rho) that a faulted right one stays right. An
    uninformative critic makes a strong solver worse (Huang et al. 2023, arXiv:2310.01798); ``flag_right=0`` is the
    oracle that only revises wrong answers, which can never lose.
    """
    return p * (1.0 - flag_right * (1.0 - keep)) + (1.0 - p) * flag_wrong * fix


def revised(p: float, n: int, *, mend: float, spoil: float) -> float:
    """Accuracy after ``n`` revisions when each mends a wrong answer with ``mend`` (u) and spoils a right one with
    ``spoil`` (d): p_{n+1} = p_n (1-d) + (1-p_n) u.

    It rises if and only if p is below u / (u+d), the limit (Snell et al. 2024, arXiv:2408.03314; the same law for each
    "Wait" of budget forcing, arXiv:2501.19393).
    """
    rate = mend + spoil
    if rate == 0:
        return p
    limit = mend / rate
    return float(limit + (p - limit) * (1.0 - rate) ** n)


def chains_fail(first: float, mend: float, *, chains: int, length: int, stuck: float = 0.0) -> float:
    """P(no answer is right in ``chains`` chains of ``length`` attempts), where a first attempt is right with ``first``.

    A chain is stuck for ever with ``stuck`` (s), else each further attempt is right with ``mend`` (u):
    [(1-p0) (s + (1-s) (1-u)^(L-1))]^C. Without stuck chains one long chain or many of length one is best; only
    heterogeneity puts the optimum between them.
    """
    return float(((1.0 - first) * (stuck + (1.0 - stuck) * (1.0 - mend) ** (length - 1))) ** chains)


def self_checked(
    law: Sequence[float], n: int, certainty: float, confirmed: float, wrongly: float
) -> tuple[float, float]:
    """P(the answer given is right), and the mean number of questions, of ``self-check``: a vote of ``n`` samples that,
    where the winner's share is below ``certainty``, asks about the answers in the order of their votes.

    The first answer of ``law`` is right; the model confirms it with the chance ``confirmed``, every other one with
    ``wrongly``. Goes through all counts of votes, and through all orders of equal ones (Luo et al. 2023,
    arXiv:2310.04815).
    """
    accuracy = questions = 0.0
    for counts in itertools.product(range(n + 1), repeat=len(law)):
        if sum(counts) != n:
            continue
        chance = math.factorial(n) * math.prod(p**k / math.factorial(k) for p, k in zip(law, counts, strict=True))
        drawn = [a for a, k in enumerate(counts) if k]
        orders = [
            order
            for order in itertools.permutations(drawn)
            if all(counts[a] >= counts[b] for a, b in itertools.pairwise(order))
        ]
        for order in orders:
            share = chance / len(orders)
            left = 1.0
            for answer in order if counts[order[0]] / n < certainty else ():
                rate = confirmed if answer == 0 else wrongly
                questions += share * left
                accuracy += share * left * rate * (answer == 0)
                left *= 1.0 - rate
            accuracy += share * left * (order[0] == 0)
    return accuracy, questions


def critics_majority(accuracy: float, n: int) -> float:
    """P(the majority of ``n`` independent verdicts is right), n odd; it falls with n where ``accuracy`` is below 1/2.

    For critiques in the style of GenRM (Zhang et al. 2024, arXiv:2408.15240).
    """
    if n % 2 == 0:
        raise UsageError(f"n is {n}; a majority of two verdicts needs an odd number")
    return math.fsum(binomial(n, accuracy)[n // 2 + 1 :])


__all__ = [
    "StoppedVote",
    "adaptive_vote",
    "adversarial_best_of_n",
    "adversarial_peak",
    "beta_coverage",
    "binomial",
    "chains_fail",
    "consensus_error",
    "consensus_kept",
    "coverage",
    "critics_majority",
    "esc_draws",
    "filter_precision",
    "first_stops",
    "found_first_error",
    "max_soft_label",
    "min_soft_label",
    "no_survivor",
    "revised",
    "self_checked",
    "self_corrected",
]
