"""Are longer answers better? Lengths against accuracy within questions, and the confounded view beside it.

After Zeng et al. 2025 (arXiv:2502.12215). Several samples of one question are sorted by length and cut into groups from
the shortest to the longest; the accuracy of a group is the mean over questions. Within a question everything but the
sample is equal, so this says what length does. Over all questions together hard ones are answered at greater length and
wrongly, so longer samples are worse there even if length means nothing: that view is shown beside the first one, and is
no evidence. (The lecture that names the effect groups by the length of the question; by all accounts a slip for this.)

One number for each view: of a right and a wrong sample, how often is the right one longer (ties one half)? It is an
AUROC, one half where length says nothing. Within questions it is averaged over those that have both kinds; across them
its error is that for clustered data (Obuchowski 1997, doi:10.2307/2533958).

Shortest majority vote, of the same paper: weight(a) = count(a) / ln(mean length of the samples that answer a). Lengths
below 3 count as 3, where the logarithm is about 1. It is compared with the plain vote of the very same samples.

A sample that was cut by a cap is among the longest and is wrong for that reason: all figures are made with and without
such samples.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scipy import special

from thence.core.errors import UsageError, check_counts
from thence.core.ranks import placements
from thence.core.votes import CLOSE
from thence.evals.critics import Rate, clustered
from thence.evals.statistics.intervals import t_interval
from thence.evals.statistics.metrics import Interval, Paired, paired

LEAST_LENGTH = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One whole answer to one question: its length (tokens, or characters where nobody counted tokens), whether it is
    right, whether a cap cut it, and the key of its answer (None: it has none, and casts no vote)."""

    problem: str
    length: float
    right: bool
    key: str | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """The ``number``-th group from the shortest: mean length, and accuracy with its interval over questions."""

    number: int
    length: float
    accuracy: Rate


@dataclass(frozen=True, slots=True)
class View:
    """One way to sort: its groups, and how often the right one of two samples is the longer one.

    ``gap`` is the longest group's accuracy minus the shortest's, paired by question (None where groups have different
    questions).
    """

    groups: tuple[Group, ...]
    right_longer: Rate
    gap: Paired | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """Geometric mean over ``n`` questions of mean length when right / mean length when wrong; below 1: right ones are
    shorter. None where no question has both."""

    value: float | None
    interval: Interval | None
    n: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """All that the lengths of some samples say. ``votes`` is the shortest majority vote minus the plain one."""

    questions: int
    samples: int
    within: View
    across: View
    ratio: Ratio
    majority: float
    shortest: float
    votes: Paired


def measure(samples: Sequence[Sample], groups: int = 5) -> Lengths:
    """Both views of ``samples``. UsageError unless some question has at least two."""
    check_counts("overthinking", 2, groups=groups)
    by_problem = grouped(samples)
    several = {q: s for q, s in by_problem.items() if len(s) > 1}
    if not several:
        raise UsageError(
            "every question has one sample; ranks of length within a question need several: draw them with "
            "thence eval TASK --strategy 'repeated-sampling(n=8)'"
        )
    count = min(groups, *(len(s) for s in several.values()))
    plain = {q: vote(s) for q, s in several.items()}
    short = {q: vote(s, shortness) for q, s in several.items()}
    return Lengths(
        len(several),
        sum(map(len, several.values())),
        _within(several, count),
        _across(several, count),
        length_ratio(several),
        math.fsum(plain.values()) / len(plain),
        math.fsum(short.values()) / len(short),
        paired(plain, short),
    )


def grouped(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Samples by question, in order of first appearance."""
    found: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[sample.problem].append(sample)
    return dict(found)


# --- the two views ----------------------------------------------------------------------------------------------------


def rank_shares(lengths: Sequence[float], groups: int) -> list[list[float]]:
    """For each sample how much of it is in each group, the shortest group first.

    Sorted samples lie end to end on [0, n] and the groups cut it into equal parts, so any number of samples makes any
    number of groups. Samples of equal length share the places they hold together.
    """
    n = len(lengths)
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for place, length in enumerate(sorted(lengths)):
        first.setdefault(length, place)
        last[length] = place + 1
    width = n / groups
    shares = []
    for length in lengths:
        low, high = first[length], last[length]
        overlap = [max(0.0, min(high, (g + 1) * width) - max(low, g * width)) for g in range(groups)]
        shares.append([o / (high - low) for o in overlap])
    return shares


def _within(several: Mapping[str, Sequence[Sample]], groups: int) -> View:
    accuracy: list[dict[str, float]] = [{} for _ in range(groups)]
    length = [0.0] * groups
    for q, samples in several.items():
        shares = rank_shares([s.length for s in samples], groups)
        for g in range(groups):
            weight = math.fsum(share[g] for share in shares)
            right = math.fsum(share[g] for share, s in zip(shares, samples, strict=True) if s.right)
            accuracy[g][q] = right / weight
            mean = math.fsum(share[g] * s.length for share, s in zip(shares, samples, strict=True)) / weight
            length[g] += mean / len(several)
    made = [Group(g, length[g], clustered([[v] for v in accuracy[g].values()])) for g in range(groups)]
    longer = {q: longer_right(s) for q, s in several.items() if 0 < sum(x.right for x in s) < len(s)}
    value = paired(dict.fromkeys(longer, 0.5), longer)
    low, high = value.interval
    share = Rate(0.5 + value.difference, (max(0.0, 0.5 + low), min(1.0, 0.5 + high)), value.n) if longer else NOTHING
    return View(tuple(made), share, paired(accuracy[0], accuracy[-1]))


NOTHING = Rate(None, None, 0)


def longer_right(samples: Sequence[Sample]) -> float:
    """Of all pairs of a right and a wrong sample, the share in which the right one is longer; ties count half."""
    right, wrong = [s.length for s in samples if s.right], [s.length for s in samples if not s.right]
    return math.fsum(placements(right, wrong)) / len(right)


def _across(several: Mapping[str, Sequence[Sample]], groups: int) -> View:
    pooled = [s for samples in several.values() for s in samples]
    order = sorted(s.length for s in pooled)
    sets: list[defaultdict[str, list[float]]] = [defaultdict(list) for _ in range(groups)]
    lengths: list[list[float]] = [[] for _ in range(groups)]
    for s, place in zip(pooled, placements([s.length for s in pooled], order), strict=True):
        g = min(int(place * groups), groups - 1)
        sets[g][s.problem].append(float(s.right))
        lengths[g].append(s.length)
    made = [
        Group(g, math.fsum(lengths[g]) / len(lengths[g]), clustered(list(sets[g].values())))
        for g in range(groups)
        if lengths[g]
    ]
    return View(tuple(made), _longer_across(pooled))


def _longer_across(pooled: Sequence[Sample]) -> Rate:
    """The share over all pairs whatever their questions, with Obuchowski's error: samples of a question move together.

    Var = sum over questions of (sum of its right ones' placements - A, / m, and of its wrong ones', / n) squared.
    """
    right, wrong = [s for s in pooled if s.right], [s for s in pooled if not s.right]
    if not right or not wrong:
        return NOTHING
    above = placements([s.length for s in right], [s.length for s in wrong])
    value = math.fsum(above) / len(above)
    below = [1.0 - p for p in placements([s.length for s in wrong], [s.length for s in right])]
    parts: defaultdict[str, float] = defaultdict(float)
    for members, places in ((right, above), (wrong, below)):
        for s, p in zip(members, places, strict=True):
            parts[s.problem] += (p - value) / len(members)
    n = len(parts)
    if n < 2:
        return Rate(value, (0.0, 1.0), n)
    error = math.sqrt(math.fsum(p * p for p in parts.values()) * n / (n - 1))
    half = float(special.stdtrit(n - 1, 0.975)) * error
    return Rate(value, (max(0.0, value - half), min(1.0, value + half)), n)


def length_ratio(several: Mapping[str, Sequence[Sample]]) -> Ratio:
    """How long right samples are beside wrong ones of the same question; a t interval on the logarithm."""
    logs = []
    for samples in several.values():
        right = [max(s.length, 1.0) for s in samples if s.right]
        wrong = [max(s.length, 1.0) for s in samples if not s.right]
        if right and wrong:
            logs.append(math.log(math.fsum(right) / len(right)) - math.log(math.fsum(wrong) / len(wrong)))
    n = len(logs)
    if n < 2:
        return Ratio(math.exp(logs[0]) if logs else None, None, n)
    mean, (low, high) = t_interval(logs)
    return Ratio(math.exp(mean), (math.exp(low), math.exp(high)), n)


# --- votes ------------------------------------------------------------------------------------------------------------


def shortness(lengths: Sequence[float]) -> float:
    """count / ln(mean length): the weight of an answer in the shortest majority vote."""
    return len(lengths) / math.log(max(math.fsum(lengths) / len(lengths), LEAST_LENGTH))


def vote(samples: Sequence[Sample], weigh: Callable[[Sequence[float]], float] = len) -> float:
    """The chance that the heaviest answer is right, ties shared; ``weigh`` sees the lengths of an answer's samples.

    An answer is right when most of its samples are. Without any answer the vote is wrong.
    """
    classes: defaultdict[str, list[Sample]] = defaultdict(list)
    for s in samples:
        if s.key is not None:
            classes[s.key].append(s)
    weights = {key: float(weigh([s.length for s in members])) for key, members in classes.items()}
    top = max(weights.values(), default=0.0)
    tied = [key for key, w in weights.items() if w >= top - CLOSE * top]
    right = [key for key in tied if 2 * sum(s.right for s in classes[key]) > len(classes[key])]
    return len(right) / len(tied) if tied else 0.0


__all__ = ["Group", "Lengths", "Ratio", "Sample", "View", "grouped", "measure", "rank_shares", "vote"]
