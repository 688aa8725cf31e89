"""Verifiers that need no training: the model's own log-probability, and agreement between samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.completion import Ability
from thence.core.scores import Score
from thence.core.search import Search
from thence.core.tree import Node


@dataclass(frozen=True, slots=True)
class LogProb:
    """The probability per token of the whole text, exp(mean log p): what the model finds most natural.

    Expected to lose against a vote: likely texts are not likelier to be right (Wang & Zhou 2024, arXiv:2402.10200,
    rank by log-probability: 37 of 100 on GSM8K where greedy has 44).
    """

    name = "logprob"

    @property
    def needs(self) -> frozenset[Ability]:
        """Log-probabilities of sampled tokens."""
        return frozenset({Ability.LOGPROBS})

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """One number in [0, 1] per node."""
        values = (n.completion.logprobs or () for n in nodes)
        return [Score(math.exp(sum(v) / len(v)) if v else 0.0) for v in values]


@dataclass(frozen=True, slots=True)
class Agreement:
    """The share of all samples that give the same answer: best-of-N by agreement is the majority vote."""

    name = "agreement"
    relative = True

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond continuing a text."""
        return frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """One share in [0, 1] per node; multiplicity counts."""
        drawn = sum(n.multiplicity for n in nodes)
        counts: dict[str, int] = {}
        keys: list[str | None] = []
        for node in nodes:
            found = await search.answer(node)
            key = None if found is None else search.reading.key(found.value)
            keys.append(key)
            if key is not None:
                counts[key] = counts.get(key, 0) + node.multiplicity
        return [Score(0.0 if k is None else counts[k] / drawn) for k in keys]
