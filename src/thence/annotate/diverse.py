"""DiVeRSe's pseudo-labels (Li et al. 2022, arXiv:2206.02336): steps of wrong solutions, by comparison with right ones.

In a pool of graded solutions of one problem, every step of a right solution is right. Step k of a wrong one is right if
the results of steps 1 to k, with how often each stands there, are all among the results of some right solution. The
result of a step is the number after its last equals sign. No rollouts: the price is that a value met by chance counts
as right and another correct way as wrong (Math-Shepherd, arXiv:2312.08935, measures 75 % agreement with people).

Differs from the paper's code: before the first equation there is nothing to compare, so a step is unlabelled (0 there);
labels belong to a step of a solution, not to its text, which may stand in several; the last step of a wrong solution is
wrong, since its answer is. Without any right solution nothing is known of the steps before it. The paper's second rule,
entailment between sentences for tasks without numbers, is not covered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from thence.core.errors import check_counts
from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Meaning
from thence.grading.numbers import parse_number

from .math_shepherd import step_ends
from .rollouts import Rollouts

_RESULT = re.compile(r"=\s*(?:<<[^<>]*>>)?\s*[$€£]?\s*([-+]?\d[\d,]*(?:\.\d+)?(?:/\d+)?)(?=[^=]*\Z)")


@dataclass(frozen=True, slots=True)
class Diverse:
    """Labels from a pool of ``solutions`` graded solutions per problem."""

    solutions: int = 16

    def __post_init__(self) -> None:
        check_counts("diverse", 2, solutions=self.solutions)

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]:
        """Sample the pool and label each of its different solutions; ones that were cut are left out."""
        nodes = await rollouts.search.expand(n=self.solutions)
        whole = list({n.index: n for n in nodes if not n.truncated}.values())
        pool = [(n.completion.reply, await rollouts.correct(n)) for n in whole]
        texts = [(text, step_ends(rollouts, text), correct) for text, correct in pool]
        return pseudo_labels(rollouts.search.problem.id, texts)


def pseudo_labels(problem: str, pool: Sequence[tuple[str, tuple[int, ...], bool]]) -> list[Labelled]:
    """Labels of PREFIX_VALID for a pool of (solution, its step ends, whether its answer is right)."""
    found = [_results(text, ends) for text, ends, _ in pool]
    right = [Counter(_known(r)) for r, (_, _, correct) in zip(found, pool, strict=True) if correct]
    return [
        Labelled(problem, text, ends, _labels(results, right, correct), correct)
        for (text, ends, correct), results in zip(pool, found, strict=True)
    ]


def _labels(
    results: Sequence[Fraction | None], right: Sequence[Counter[Fraction]], correct: bool
) -> tuple[tuple[Label, ...], ...]:
    rows: list[tuple[Label, ...]] = []
    for k in range(1, len(results) + 1):
        so_far = Counter(_known(results[:k]))
        if correct:
            number: float | None = 1.0
        elif k == len(results):
            number = 0.0
        else:
            number = float(any(so_far <= other for other in right)) if so_far and right else None
        rows.append((Label(Meaning.PREFIX_VALID, number, Source.POOL),))
    return tuple(rows)


def _results(text: str, ends: Sequence[int]) -> list[Fraction | None]:
    """The result of each step, None for a step without an equation."""
    return [result(text[a:b]) for a, b in zip((0, *ends), ends, strict=False)]


def result(step: str) -> Fraction | None:
    """The number after the last equals sign of a step."""
    match = _RESULT.search(step)
    number = parse_number(match.group(1)) if match is not None else None
    return number.value if number is not None else None


def _known(results: Sequence[Fraction | None]) -> list[Fraction]:
    return [r for r in results if r is not None]


__all__ = ["Diverse", "pseudo_labels", "result"]
