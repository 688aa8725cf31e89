"""A verifier mixed with the policy's own probability: each step is worth P^alpha C^(1 - alpha).

P is the policy's probability per token of the step, C another verifier's number for the path up to its end. The product
over the steps is what self-evaluation guided beam search maximises (Xie et al. 2023, arXiv:2305.00633), so
``beam(verifier=mixed(verifier=V))`` is that method without its chance; their mean is the return of RAP (Hao et al.
2023, arXiv:2305.14992, with 1 - alpha for its alpha). ``alpha`` 1 is the probability alone, 0 the verifier's numbers,
one for each step; where these were made for whole prefixes their product counts the same doubt many times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thence.core.beams import step_rewards
from thence.core.completion import Ability
from thence.core.errors import check_shares
from thence.core.scores import Aggregate, Meaning, Score, aggregate
from thence.core.search import Search, Verifier
from thence.core.tree import Node


@dataclass(frozen=True, slots=True)
class Mixed:
    """``verifier`` and the policy, the policy with weight ``alpha``; steps become one number by ``how``."""

    verifier: Verifier
    alpha: float = 0.5
    how: Literal["prod", "mean", "last", "min"] = "prod"

    def __post_init__(self) -> None:
        check_shares("mixed", alpha=self.alpha)

    @property
    def name(self) -> str:
        """All that its numbers depend on."""
        return f"mixed({self.verifier.name}, alpha={self.alpha}, how={self.how})"

    @property
    def relative(self) -> bool:
        """Whether its verifier compares samples with each other."""
        return bool(getattr(self.verifier, "relative", False))

    @property
    def needs(self) -> frozenset[Ability]:
        """Log-probabilities unless alpha is 0, and what its verifier needs."""
        return self.verifier.needs | ({Ability.LOGPROBS} if self.alpha else set())

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """One number per node; its verifier's tokens are charged as its own, and its scores stay on the nodes."""
        rewards = await step_rewards(search, nodes, self.verifier, self.alpha)
        return [Score(aggregate(steps, Meaning.OUTCOME, Aggregate(self.how))) for steps in rewards]
