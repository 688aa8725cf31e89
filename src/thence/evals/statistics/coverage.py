r"""Coverage with its guess curve, and best-of-k, for every k, from the samples of one run.

* **coverage(k)** = mean over problems of pass@k (Brown et al. 2024, arXiv:2407.21787): k samples hold a right answer.
* **guess curve**: what coverage would be if answers knew nothing of their question. Where answers come from a small
  space, k samples hit the right one by luck, so coverage alone says little. With A possible answers it is
  1 - (1 - 1/A)^k; in general problem p is given the samples of the *other* problems, and with the share q_p of those
  that would be right for it, the curve is the mean of 1 - (1 - q_p)^k.
* **best-of-k**: the chance that the sample with the highest score is right among k drawn without replacement from the
  n that are there. Exact: the best of k lies in the group of equal scores g with probability
  [C(N_g, k) - C(N_{g-1}, k)] / C(n, k), N_g the samples up to and including that group, and within a group every sample
  is equally likely to be taken.

A problem with fewer than k samples has no value at k: it is an error, never a wrong answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import groupby

from thence.core.errors import DataError, UsageError, check_counts
from thence.core.seeds import digest

from .intervals import Clustered, cluster_interval, finite
from .metrics import pass_at_k


def coverage(counts: Mapping[str, tuple[int, int]], ks: Sequence[int]) -> dict[int, Clustered]:
    """Mean pass@k with its interval, for each k. ``counts[problem]`` is (samples, right ones).

    UsageError when a problem has fewer than k samples, or where there are fewer than two problems.
    """
    found = {}
    for k in ks:
        values = {problem: pass_at_k(n, c, k) for problem, (n, c) in counts.items()}
        found[k] = cluster_interval(values, {problem: problem for problem in values})
    return found


def guess_of_space(size: int, k: int) -> float:
    """Coverage of ``k`` uniform guesses among ``size`` answers, with replacement."""
    check_counts("guess curve", size=size, k=k)
    return -math.expm1(k * math.log1p(-1 / size)) if size > 1 else 1.0


Answers = Mapping[Hashable | None, int]  # answer class -> samples that gave it; None: no answer


def guess_shares(
    answers: Mapping[str, Answers], is_right: Callable[[str, Hashable], bool], *, others: int | None = None
) -> dict[str, float]:
    """For each problem the share of other problems' samples that would be right for it.

    ``answers[problem]`` counts samples by answer class; None is the class of those without an answer, never right.
    ``others`` asks only so many other problems, the next ones in the order of their hashes (None: all). UsageError with
    fewer than two problems: there is nobody to take answers from.
    """
    if len(answers) < 2:
        raise UsageError(f"{len(answers)} problem has no others whose answers could be guesses; take more")
    ring = sorted(answers, key=digest)
    reach = len(ring) - 1 if others is None else min(others, len(ring) - 1)
    check_counts("guess curve", others=reach)
    shares = {}
    for i, problem in enumerate(ring):
        pooled: Counter[Hashable] = Counter()
        for step in range(1, reach + 1):
            pooled.update(answers[ring[(i + step) % len(ring)]])
        hits = sum(n for key, n in pooled.items() if key is not None and is_right(problem, key))
        shares[problem] = hits / pooled.total() if pooled else 0.0
    return shares


def guess_curve(shares: Mapping[str, float], k: int) -> float:
    """Mean over problems of 1 - (1 - q)^k."""
    check_counts("guess curve", k=k)
    if not shares:
        raise DataError("there is no problem to guess for")
    return math.fsum(1 - (1 - q) ** k for q in shares.values()) / len(shares)


def best_of_k(scores: Sequence[float], right: Sequence[bool], ks: Sequence[int]) -> list[float]:
    """For each k the chance that the best-scored of ``k`` samples, drawn without replacement, is right.

    Equal scores are shared by expectation. Exact. DataError for a score that is no number, UsageError for k > n.
    """
    n = len(scores)
    if len(right) != n:
        raise DataError(f"{n} scores for {len(right)} samples; give one of each")
    finite(scores, "score")
    for k in ks:
        if not 1 <= k <= n:
            raise UsageError(f"best-of-{k} needs at least {k} samples per problem, and there are {n}; draw more")
    groups: list[tuple[int, float]] = []  # samples up to here, share of right ones in the group
    ordered = sorted(zip(scores, right, strict=True), key=lambda pair: pair[0])
    seen = 0
    for _, tied in groupby(ordered, key=lambda pair: pair[0]):
        hits = [hit for _, hit in tied]
        seen += len(hits)
        groups.append((seen, sum(hits) / len(hits)))
    return [_best(groups, n, k) for k in ks]


def _best(groups: Sequence[tuple[int, float]], n: int, k: int) -> float:
    total, before, value = math.comb(n, k), 0, 0.0
    for upto, share in groups:
        ways = math.comb(upto, k)
        value += share * ((ways - before) / total)
        before = ways
    return value
