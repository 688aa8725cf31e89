"""The table: a language model small enough to be enumerated, with the law of every next step written down.

A row says what follows the steps so far: letters are further steps, numbers end the solution with that answer. The
default is a model whose greedy answer is not its likeliest answer (Wang et al. 2022, arXiv:2203.11171): the likeliest
single text says 1, but most texts together say 2. ``Table.drawn`` makes a random one of at most four letters and six
pieces.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from thence.core.completion import Sampling
from thence.core.errors import UsageError, check_counts
from thence.core.problem import Problem

from .world import Moves, World

Rows = tuple[tuple[str, tuple[tuple[str, float], ...]], ...]

MISLED: Rows = (
    ("", (("a", 0.4), ("b", 0.35), ("c", 0.25))),
    ("a", (("1", 0.9), ("2", 0.1))),
    ("b", (("c", 0.5), ("d", 0.5))),
    ("bc", (("2", 0.9), ("1", 0.1))),
    ("bd", (("2", 0.9), ("1", 0.1))),
    ("c", (("d", 0.5), ("2", 0.5))),
    ("cd", (("2", 0.8), ("1", 0.2))),
)
LETTERS, LONGEST = "abcd", 6


@dataclass(frozen=True)
class Table(World):
    """A model by its rows (steps so far, law of what follows); all its problems are alike, and ``answer`` is right."""

    rows: Rows = MISLED
    answer: str = "2"
    size: int = 1
    data_seed: int = 0

    name: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        check_counts(self.name, 1, size=self.size)
        for before, law in self.rows:
            if abs(sum(p for _, p in law) - 1.0) > 1e-9 or min(p for _, p in law) < 0:
                raise UsageError(f"table: the row {before!r} is no law; its numbers must sum to 1")
            for piece, _ in law:
                if not piece.isdigit() and (len(piece) != 1 or before + piece not in self._law):
                    raise UsageError(f"table: {piece!r} in row {before!r} is no number and has no row {before + piece}")
        if "" not in self._law:
            raise UsageError("table: there is no row '', which says how a solution begins")

    @staticmethod
    def of(rows: Mapping[str, Mapping[str, float]], answer: str, size: int = 1) -> Table:
        """A table given as mappings."""
        return Table(tuple((before, tuple(law.items())) for before, law in rows.items()), answer, size)

    @staticmethod
    def drawn(seed: int, letters: int = 4, longest: int = LONGEST, answers: int = 3) -> Table:
        """A random table: every row ends with some chance, and surely at ``longest`` pieces; answer 1 is right."""
        noise = random.Random(seed)
        rows: dict[str, dict[str, float]] = {}

        def grow(before: str) -> None:
            ends = [str(a + 1) for a in range(answers)]
            going = [c for c in LETTERS[:letters] if noise.random() < 0.5] if len(before) < longest - 1 else []
            weights = {piece: noise.expovariate(1.0) for piece in (*going, *ends)}
            total = sum(weights.values())
            rows[before] = {piece: weight / total for piece, weight in weights.items()}
            for letter in going:
                grow(before + letter)

        grow("")
        return Table.of(rows, "1")

    @cached_property
    def _law(self) -> dict[str, dict[str, float]]:
        return {before: dict(law) for before, law in self.rows}

    @property
    def step_pieces(self) -> Sequence[str]:
        """One piece per letter."""
        return [f"say {c}" for c in sorted({p for _, law in self.rows for p, _ in law if not p.isdigit()})]

    @property
    def answer_pieces(self) -> Sequence[str]:
        """The numbers in the rows."""
        return sorted({p for _, law in self.rows for p, _ in law if p.isdigit()} | {self.answer})

    def right(self, number: int) -> str:
        """The same for all problems."""
        return self.answer

    def moves(self, number: int, steps: tuple[str, ...]) -> Moves:
        """The row of the steps so far; steps that no row has end without an answer."""
        law = self._law.get("".join(s[-1] for s in steps), {})
        return Moves(
            steps={f"say {p}": q for p, q in law.items() if not p.isdigit()},
            answers={p: q for p, q in law.items() if p.isdigit()},
        )

    # --- closed forms -----------------------------------------------------------------------------------------------

    def greedy(self, problem: Problem) -> str | None:
        """The answer of greedy decoding."""
        return next(iter(self.answers(problem, sampling=Sampling(temperature=0.0))))

    def mode(self, problem: Problem) -> str | None:
        """The likeliest answer: what a vote of many samples elects."""
        law = self.answers(problem)
        return max(law, key=lambda answer: law[answer])

    def squares(self, problem: Problem) -> dict[str | None, float]:
        """For each answer the sum of squared probabilities of its texts, normalised: what votes weighted by the
        probability of the text estimate."""
        sums: defaultdict[str | None, float] = defaultdict(float)
        for text, p in self.solutions(problem):
            sums[self.read(text).answer] += p * p
        return {answer: s / sum(sums.values()) for answer, s in sums.items()}


__all__ = ["MISLED", "Table"]
