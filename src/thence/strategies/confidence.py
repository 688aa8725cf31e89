"""Confidence selection: sample n solutions, keep the one the model itself is surest of.

``by`` chooses the confidence: ``mean`` log-probability over the whole text (the sum would prefer short texts),
``answer`` over the answer's tokens, ``min`` the least likely token, ``delta`` the gap between the two best
probabilities over the answer's tokens (as in CoT-decoding). The accuracy of a selection lies below the mean selected
confidence even when the confidence is calibrated: choosing the largest of noisy numbers favours noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from thence.core.completion import Ability
from thence.core.errors import check_counts
from thence.core.search import Result, Search
from thence.core.tree import Node
from thence.core.votes import pick

By = Literal["mean", "answer", "min", "delta"]


@dataclass(frozen=True, slots=True)
class ConfidenceSelection:
    """The surest of ``n`` samples."""

    n: int = 16
    by: By = "mean"

    def __post_init__(self) -> None:
        check_counts("confidence", n=self.n)

    @property
    def width(self) -> int:
        """Samples per problem."""
        return self.n

    @property
    def needs(self) -> frozenset[Ability]:
        """Log-probabilities; the two best at each position for ``delta``."""
        return frozenset({Ability.TOP2} if self.by == "delta" else {Ability.LOGPROBS})

    async def solve(self, search: Search) -> Result:
        """Sample, measure, keep the surest."""
        sampling = replace(search.sampling, top2=True) if self.by == "delta" else None
        nodes = await search.expand(n=self.n, sampling=sampling)
        for node in nodes:
            await search.answer(node)
        values = [confidence(search, node, self.by) for node in nodes]
        result = await pick(search, nodes, values)
        if result.node is not None:
            result.confidence = next(v for n, v in zip(nodes, values, strict=True) if n is result.node)
        return result


def confidence(search: Search, node: Node, by: By) -> float:
    """A number in [0, 1]: a probability (per token) or a gap of two."""
    c, found = node.completion, node.found
    if by == "mean":
        return math.exp(sum(c.logprobs) / len(c.logprobs)) if c.logprobs else 0.0
    if by == "min":
        return math.exp(min(c.logprobs)) if c.logprobs else 0.0
    span = search.tree.answer_span(found) if found is not None else None
    if span is None:  # no answer, or one without tokens of its own
        return 0.0
    holder, tokens = span
    if by == "delta":
        gaps = [math.exp(a) - math.exp(b) for a, b in (holder.top2 or ())[tokens]]
        return sum(gaps) / len(gaps) if gaps else 0.0
    chosen = (holder.logprobs or ())[tokens]
    return math.exp(sum(chosen) / len(chosen)) if chosen else 0.0
