"""Self-consistency (Wang et al. 2022, arXiv:2203.11171): sample n solutions, answer with the most frequent answer.

Greedy decoding finds the most likely *text*; what is wanted is the most likely *answer*,
argmax_a sum over texts y that end in a of P(y). Samples arrive in proportion to P(y), so counting them estimates that
sum without bias. The paper's other weights are here to be compared: ``prob`` multiplies each vote by the text's
probability exp(sum log p) (which estimates sum of p squared and favours short texts), ``prob-norm`` by
exp(mean log p); ``aggregate=avg`` takes the mean weight of a class instead of its sum, which ignores counts and lets
one lucky rare answer win (22.1 % against 74.4 % in the paper's table for PaLM-540B on GSM8K).
``confidence`` weighs a vote by exp(mean log p) over the answer's own tokens (0 for an answer without tokens).

``skill`` weighs a vote of a pool (``pool:M1,M2``) by how good its model was in an earlier run on other problems
(``--skill RUN.db``; the formula is in core/skill.py).

``inner`` is another strategy that makes each of the samples; weights are then those of the text that it chose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.nested import samples
from thence.core.protocols import Deals
from thence.core.search import POLICY, AnswerClass, Result, Search, Strategy
from thence.core.tree import Node
from thence.core.votes import elect

Weight = Literal["count", "prob", "prob-norm", "confidence", "skill"]


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """A vote of ``n`` samples; samples without an answer do not vote but count in the confidence's denominator."""

    n: int = 16
    weight: Weight = "count"
    aggregate: Literal["sum", "avg"] = "sum"
    inner: Strategy | None = None

    def __post_init__(self) -> None:
        check_counts("self-consistency", n=self.n)

    @property
    def width(self) -> int:
        """Samples per problem."""
        return self.n

    @property
    def needs(self) -> frozenset[Ability]:
        """Log-probabilities, unless votes are counted, and what ``inner`` needs."""
        own = frozenset() if self.weight in ("count", "skill") else frozenset({Ability.LOGPROBS})
        return own | (self.inner.needs if self.inner is not None else frozenset())

    async def solve(self, search: Search) -> Result:
        """Sample, group by answer, elect."""
        skills = measured(search) if self.weight == "skill" else {}  # refused before anything is drawn
        nodes, drawn = await samples(search, self.n, self.inner)
        classes = await search.classes(nodes)
        if self.weight == "count" and self.aggregate == "sum":
            return elect(search, classes, drawn)
        voters = {node.index: node for group in classes for node in group.nodes}
        if self.weight == "skill":
            weights = {node.index: skills[node.role] for node in voters.values()}
            if not any(weights.values()):
                notes = ("no model that answered is better than chance by its measured skill; votes are counted",)
                return elect(search, classes, drawn, notes=notes)
        else:
            weights = weigh(search, list(voters.values()), self.weight)

        def together(group: AnswerClass) -> float:
            total = sum(weights[node.index] for node in group.nodes)
            return total / len(group.nodes) if self.aggregate == "avg" else total

        return elect(search, classes, drawn, together)


def measured(search: Search) -> Mapping[str, float]:
    """What a vote of each of the pool's models counts, by role; UsageError for a single model."""
    policy = search.generator(POLICY)
    if not isinstance(policy, Deals):
        raise UsageError(
            "self-consistency: weight=skill weighs the models of a pool; use --model pool:M1,M2 and --skill RUN.db"
        )
    return policy.weights(search.problem.hash)


def weigh(search: Search, nodes: Sequence[Node], weight: Weight) -> dict[int, float]:
    """The weight of each node's vote. ``prob`` is relative to the likeliest text, so that long texts do not all round
    to zero; a vote does not depend on the scale."""
    if weight == "count":
        return {n.index: 1.0 for n in nodes}
    if weight == "prob":
        sums = {n.index: sum(n.completion.logprobs or ()) for n in nodes}
        best = max(sums.values(), default=0.0)
        return {i: math.exp(total - best) for i, total in sums.items()}
    if weight == "prob-norm":
        return {n.index: _mean_probability(n.completion.logprobs) for n in nodes}
    return {n.index: _answer_probability(search, n) for n in nodes}


def _answer_probability(search: Search, node: Node) -> float:
    span = search.tree.answer_span(node.found) if node.found is not None else None
    return 0.0 if span is None else _mean_probability((span[0].logprobs or ())[span[1]])


def _mean_probability(logprobs: Sequence[float] | None) -> float:
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else 0.0
