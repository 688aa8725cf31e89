"""What a judge prefers where truth is known: its audit, which comes before any use of it.

Every probe is a set of pairs of equal worth that differ in one thing, shown in both orders:

| bias | the pair | no bias |
|---|---|---|
| position | pairs of the other probes, and a right and a wrong answer; counted is the one shown *first* | one half |
| length | one right answer, and the same with sentences that add nothing | one half |
| style | one right answer in markdown (heading, list, bold), and as long with blanks for its marks | one half |
| self | the judge's own answer and another's, both right or both wrong | one half |

A bias is the share of the verdict for the marked answer minus one half, as a paired difference by question with its
interval; it is *found* where McNemar's exact test, after Holm's correction over all probes, is below ``ALPHA``. Holm
bounds the chance that a judge without any bias is accused of one by ALPHA, and the exact test keeps that for any number
of pairs (at the price of some power).

Beside them stands what the judge is good for: how often it prefers the right answer to the wrong one, how often the two
orders agree, how many replies have no verdict, and how often it still finds the right answer when the wrong one is the
longer, or the marked-up one.

The truth comes from the built-in word problems: the reference solution and one with a planted error. A judge that is
fair on arithmetic may be unfair on prose; the audit is necessary, not sufficient. The biases are those that Zheng et
al. 2023 (arXiv:2306.05685) and Panickssery et al. 2024 (arXiv:2404.13076, self-preference) report.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from thence.core.errors import UsageError, check_counts
from thence.core.preferences import Pair, in_both_orders
from thence.core.seeds import derive
from thence.evals.critics import Rate, clustered
from thence.evals.statistics.metrics import Paired, holm, paired
from thence.tasks.wordproblems import WordProblems, render_solution
from thence.tasks.wordproblems_errors import spoil

from .judges import PairJudge, Shares, both_orders

ALPHA = 0.05
BEFORE = "I will go through the question carefully and take one step after the other, so that nothing is missed."
AFTER = "This is the result that was asked for; every step that leads to it is written above, in its order."


@dataclass(frozen=True, slots=True)
class Truth:
    """A question with a right and a wrong answer."""

    question: str
    right: str
    wrong: str


@dataclass(frozen=True, slots=True)
class Equals:
    """Two answers of equal worth; ``marked`` is the one that a biased judge would prefer."""

    question: str
    marked: str
    plain: str


@dataclass(frozen=True, slots=True)
class Bias:
    """One probe: the marked answer's share minus one half (``paired.difference``), and whether that is a bias."""

    name: str
    paired: Paired
    found: bool
    unread: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What one judge is worth. ``right``: the right answer preferred; ``consistent``: both orders agree; ``unread``:
    replies without a verdict of all; ``against``: the right one preferred although the wrong one is longer, or marked
    up."""

    judge: str
    pairs: int
    right: Rate
    consistent: Rate
    unread: Rate
    against: Mapping[str, Rate]
    biases: tuple[Bias, ...]

    @property
    def faults(self) -> list[str]:
        """Names of the biases that were found."""
        return [bias.name for bias in self.biases if bias.found]

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self) | {"faults": self.faults}


# --- pairs of known truth ---------------------------------------------------------------------------------------------


def truths(n: int, *, level: int = 3, seed: int = 0) -> list[Truth]:
    """``n`` built-in word problems of the test split, each with its reference solution and one with a planted error."""
    check_counts("audit", pairs=n)
    made = []
    for problem in WordProblems(level=level, size=n, data_seed=seed).items():
        noise = random.Random(derive("audit", seed, problem.id))
        wrong = problem
        while wrong.answer == problem.answer:  # an error in a step that the answer does not need leaves it as it was
            wrong, _ = spoil(problem, noise)
        right = render_solution(problem, "cot").strip()
        made.append(Truth(problem.question, right, render_solution(wrong, "cot").strip()))
    return made


def padded(text: str) -> str:
    """The same answer, longer by two sentences that say nothing."""
    return f"{BEFORE}\n{text}\n{AFTER}"


def styled(text: str) -> str:
    """The same answer in markdown: a heading, a list, the last line in bold."""
    *steps, last = text.strip().split("\n")
    return "\n".join(["## Solution", *(f"- {step}" for step in steps), f"**{last}**"])


def unstyled(text: str) -> str:
    """The same answer, laid out like `styled` and as long, without marks: else a bias by length would look like one."""
    *steps, last = text.strip().split("\n")
    return "\n".join(["My solution", *(f"  {step}" for step in steps), f"  {last}  "])


def probes(known: Sequence[Truth]) -> dict[str, list[Equals]]:
    """The pairs of the length and style probes."""
    return {
        "length": [Equals(t.question, padded(t.right), t.right) for t in known],
        "style": [Equals(t.question, styled(t.right), unstyled(t.right)) for t in known],
    }


# --- measuring --------------------------------------------------------------------------------------------------------


async def audit(judge: PairJudge, known: Sequence[Truth], own: Sequence[Equals] = ()) -> Audit:
    """All probes of one judge; ``own`` are pairs of its own and another's answer, of equal truth."""
    if not known:
        raise UsageError("an audit needs questions with a right and a wrong answer; there are none")
    plain, swapped = await both_orders(judge, [Pair(t.question, t.right, t.wrong) for t in known])
    first = [_first_shown(plain, swapped)]
    marked: dict[str, tuple[Shares, Shares]] = {}
    for name, pairs in (probes(known) | ({"self": list(own)} if own else {})).items():
        here, there = await both_orders(judge, [Pair(p.question, p.marked, p.plain) for p in pairs])
        marked[name] = here, there
        if name != "self":  # of other questions
            first.append(_first_shown(here, there))
    shown_first = [_mean(of_question) for of_question in zip(*first, strict=True)]
    biases = [_bias("position", shown_first, plain, swapped)]
    biases += [_bias(name, in_both_orders(*said), *said) for name, said in marked.items()]
    against = {}
    for name, wrong, right in (("longer", padded, str), ("marked up", styled, unstyled)):
        said = await both_orders(judge, [Pair(t.question, right(t.right), wrong(t.wrong)) for t in known])
        against[name] = _rate(in_both_orders(*said))
    both = [(a, b) for a, b in zip(plain, swapped, strict=True) if a is not None and b is not None]
    return Audit(
        judge.name,
        len(known),
        _rate(in_both_orders(plain, swapped)),
        clustered([[float(math.isclose(a, 1.0 - b))] for a, b in both]),
        clustered([[float(s is None)] for s in (*plain, *swapped)]),
        against,
        _judged(biases),
    )


def _first_shown(plain: Shares, swapped: Shares) -> Shares:
    """By pair, the mean share of whichever answer was shown first; only where both orders have a verdict."""
    return [None if a is None or b is None else (a + b) / 2 for a, b in zip(plain, swapped, strict=True)]


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return math.fsum(known) / len(known) if known else None


def _bias(name: str, shares: Shares, plain: Shares, swapped: Shares) -> Bias:
    known = {str(i): share for i, share in enumerate(shares) if share is not None}
    unread = plain.count(None) + swapped.count(None)
    return Bias(name, paired(dict.fromkeys(known, 0.5), known), False, unread)


def _judged(biases: Sequence[Bias]) -> tuple[Bias, ...]:
    adjusted = holm([bias.paired.p for bias in biases])
    return tuple(
        replace(bias, paired=replace(bias.paired, holm=p), found=p < ALPHA)
        for bias, p in zip(biases, adjusted, strict=True)
    )


def _rate(shares: Shares) -> Rate:
    return clustered([[share] for share in shares if share is not None])


__all__ = ["ALPHA", "Audit", "Bias", "Equals", "Truth", "audit", "padded", "probes", "styled", "truths", "unstyled"]
