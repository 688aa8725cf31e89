"""How good each of several models is, by an earlier run, and what one vote of each should count.

If models answer independently, model i is right with probability p_i, and each wrong answer is one of 1/c that are
equally likely, then the answer a with the largest posterior is the one with the most weight, every sample that says a
adding (Nitzan and Paroush 1982; for two possible answers c = 1)

    w_i = max(0, ln(p_i / (1 - p_i)) + ln(1 / c))

so a model that is right in a quarter of its answers still counts where wrong answers rarely agree. Both are estimated:

    p_i = (r_i + s * m) / (n_i + s)      c = (agreeing + 1) / (both wrong + 2)

``n_i`` are the problems on which model i gave an answer, ``r_i`` the sum over them of the share of right ones among its
answers, ``m`` = (sum r + 1) / (sum n + 2) over the pool's models, and s = 10 pretended problems draw a model that was
seen on few towards the others. c counts pairs of wrong answers of two models to one problem.

Differs from the theory: several samples of one model count as independent votes, and models that make the same errors
count as if they did not (c is their mean agreement, not that of each pair). No vote counts against an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from .errors import UsageError
from .seeds import digest

STRENGTH = 10.0

Answers = Sequence[tuple[str | None, int, int]]  # (answer's key or None, how many samples, how many of them right)


@dataclass(frozen=True, slots=True)
class Skill:
    """What a run says of models: ``answers`` by identity and problem hash; ``source`` is what the run is called."""

    answers: Mapping[str, Mapping[str, Answers]]
    source: str

    @property
    def problems(self) -> frozenset[str]:
        """Hashes of all problems that the skill was measured on."""
        return frozenset(problem for each in self.answers.values() for problem in each)

    @property
    def content(self) -> str:
        """A hash of all that the weights are made of."""
        rows = [
            (who, problem, [tuple(a) for a in answers])
            for who, each in sorted(self.answers.items())
            for problem, answers in sorted(each.items())
        ]
        return digest(rows)

    def weights(self, identities: Sequence[str], names: Sequence[str]) -> list[float]:
        """The weight of one vote of each of these models (their ``names`` are for the error)."""
        absent = [name for who, name in zip(identities, names, strict=True) if not self.answers.get(who)]
        if absent:
            raise UsageError(
                f"{self.source} has no graded samples of {', '.join(absent)}; measure every model of the pool, e.g. by "
                "a vote of the same pool on other problems"
            )
        counts = [shares(self.answers[who].values()) for who in identities]
        mean = (sum(r for r, _ in counts) + 1) / (sum(n for _, n in counts) + 2)
        scattered = math.log(1 / self.coincidence(identities))
        right = [(r + STRENGTH * mean) / (n + STRENGTH) for r, n in counts]
        return [max(0.0, math.log(p / (1 - p)) + scattered) for p in right]

    def coincidence(self, identities: Sequence[str]) -> float:
        """c: how likely two wrong answers of two of these models to one problem are the same one."""
        agreeing = both = 0.0
        for first, second in combinations(identities, 2):
            for problem in self.answers[first].keys() & self.answers[second].keys():
                a, b = wrong(self.answers[first][problem]), wrong(self.answers[second][problem])
                both += sum(a.values()) * sum(b.values())
                agreeing += sum(share * b.get(key, 0.0) for key, share in a.items())
        return (agreeing + 1) / (both + 2)


def shares(answers: Iterable[Answers]) -> tuple[float, int]:
    """(sum over problems of the share of right answers, problems with an answer)."""
    total, problems = 0.0, 0
    for given in answers:
        voting = [(count, right) for key, count, right in given if key is not None]
        if voting:
            total += sum(right for _, right in voting) / sum(count for count, _ in voting)
            problems += 1
    return total, problems


def wrong(answers: Answers) -> dict[str, float]:
    """The share of each wrong answer among the answers to one problem (wrong: most of its samples are)."""
    given = sum(count for key, count, _ in answers if key is not None)
    return {key: count / given for key, count, right in answers if key is not None and 2 * right <= count}


__all__ = ["STRENGTH", "Answers", "Skill"]
