"""Compute-optimal test-time scaling (Snell et al. 2024, arXiv:2408.03314): how hard a question is decides how it is
answered.

A few samples show how easy the question is: ``by=agreement`` takes 1 - H / ln(probes), H the entropy of their answers
(a sample without one agrees with none); ``by=verifier`` the mean of a verifier's numbers; ``by=both`` the mean of both.
Easy questions (from ``easy_from`` on) are answered by the probes' majority, hard ones (below ``hard_below``) by the
verifier's choice among ``samples`` samples (by their vote without a verifier), the others by a vote of ``samples``.
``easy``, ``medium`` and ``hard`` name other strategies instead. Probes are charged, and they are no waste: what is
chosen starts with the same draws and gets them free.

It gains where strata differ in what they need: samples saved on easy questions pay for the verifier on hard ones. It
does not where all questions are alike (the probes then only misjudge them), nor where the model agrees with itself on a
wrong answer: such a trap looks easy.

Differs from the paper: difficulty is judged per question from its own few samples, all of which are paid for (the
paper's bins come from 2048 samples a question that are not), and the table is given, not fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts, check_shares
from thence.core.search import Result, Search, Strategy, Verifier
from thence.core.tree import Node
from thence.core.votes import elect, select


@dataclass(frozen=True, slots=True)
class ComputeOptimal:
    """``probes`` samples, then what the table says for a question of that ease."""

    verifier: Verifier | None = None
    probes: int = 4
    by: Literal["agreement", "verifier", "both"] = "agreement"
    easy_from: float = 0.9
    hard_below: float = 0.4
    samples: int = 16
    easy: Strategy | None = None
    medium: Strategy | None = None
    hard: Strategy | None = None

    def __post_init__(self) -> None:
        check_counts("compute-optimal", 2, probes=self.probes)
        check_counts("compute-optimal", self.probes, samples=self.samples)
        check_shares("compute-optimal", easy_from=self.easy_from, hard_below=self.hard_below)
        if self.hard_below > self.easy_from:
            raise UsageError(
                f"compute-optimal: hard_below is {self.hard_below}, above easy_from = {self.easy_from}; lower it"
            )
        if self.by != "agreement" and self.verifier is None:
            raise UsageError(f"compute-optimal: by is {self.by}, which needs verifier=…; give one")

    @property
    def width(self) -> int:
        """Samples per problem that run at once, before the ease is known."""
        return self.probes

    @property
    def needs(self) -> frozenset[Ability]:
        """What its verifier and its strategies need."""
        parts = (self.verifier, self.easy, self.medium, self.hard)
        return frozenset().union(*(part.needs for part in parts if part is not None))

    async def solve(self, search: Search) -> Result:
        """Probe, judge, hand over."""
        nodes = await search.expand(n=self.probes)
        ease = await self._ease(search, nodes)
        kind = "easy" if ease >= self.easy_from else "hard" if ease < self.hard_below else "medium"
        note = f"ease {ease:.3f}: {kind}"
        chosen: Strategy | None = getattr(self, kind)
        if search.stopped or (chosen is None and kind == "easy"):
            return elect(search, await search.classes(nodes), len(nodes), notes=[note])
        if chosen is not None:
            result = await search.nested(chosen)
            result.notes = (note, *result.notes)
            return result
        nodes = [*nodes, *await search.expand(n=self.samples - self.probes)]
        if kind == "hard" and self.verifier is not None:
            return await select(search, nodes, self.verifier, "vote", "compute-optimal", [note])
        return elect(search, await search.classes(nodes), len(nodes), notes=[note])

    async def _ease(self, search: Search, nodes: Sequence[Node]) -> float:
        """How easy the question looks, from 0 to 1."""
        parts: list[float] = []
        if self.by != "verifier":
            parts.append(agreement([len(c.nodes) for c in await search.classes(nodes)], len(nodes)))
        if self.by != "agreement" and self.verifier is not None:
            scores = await search.score(nodes, self.verifier) if nodes else []
            parts.append(sum(s.value for s in scores) / len(scores) if scores else 0.0)
        return sum(parts) / len(parts)


def agreement(counts: Sequence[int], drawn: int) -> float:
    """1 - H / ln(drawn) for answers with these counts; what is missing to ``drawn`` agrees with nothing."""
    if drawn < 2:
        return 0.0
    shares = [c / drawn for c in counts] + [1 / drawn] * (drawn - sum(counts))
    return 1.0 + sum(p * math.log(p) for p in shares) / math.log(drawn)


__all__ = ["ComputeOptimal", "agreement"]
