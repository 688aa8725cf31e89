"""Self-evaluation guided beam search (Xie et al. 2023, arXiv:2305.00633): a stochastic step beam.

A path is worth the product over its steps of the model's own probability and its evaluation of the step,

    E(s_1..t) = prod_i P(s_i)^alpha C(s_i)^(1 - alpha)

and the candidates that go on are drawn without replacement, the first with chances in proportion to exp(E / tau), the
next among the others, and so on. tau begins at ``temperature`` and is multiplied by ``decay`` every step: paths differ
at first and are judged hard later. ``temperature`` 0 is a plain beam by E. At the end the largest E answers, or a vote
weighted by E.

C is any verifier's number; the paper's is the model's own P(True) for the step, asked by a prompt. Drawing without
replacement is done by adding Gumbel noise to E / tau and taking the largest (Kool et al. 2019, arXiv:1903.06059).

Differs from the paper: P is per token, so that long steps are not punished for their length; candidates that ended take
no place from the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.beams import grow, step_rewards
from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts, check_shares
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import Select, best_first, decide


@dataclass(frozen=True, slots=True)
class SelfEvalBeam:
    """``n`` candidates per step, of which n / ``width`` go on; at most ``depth`` steps of at most ``step_tokens``."""

    verifier: Verifier
    n: int = 16
    width: int = 4
    alpha: float = 0.5
    temperature: float = 0.5
    decay: float = 0.5
    depth: int = 40
    step_tokens: int = 256
    select: Select = "max"

    def __post_init__(self) -> None:
        check_counts("self-eval-beam", n=self.n, width=self.width, depth=self.depth, step_tokens=self.step_tokens)
        check_shares("self-eval-beam", alpha=self.alpha, decay=self.decay)
        if self.n % self.width:
            raise UsageError(f"self-eval-beam: n={self.n} is no multiple of width={self.width}; change one")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"self-eval-beam: temperature is {self.temperature}; it must be 0 or more")

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text, its log-probabilities unless alpha is 0, and what its verifier needs."""
        own = {Ability.CONTINUE, Ability.LOGPROBS} if self.alpha else {Ability.CONTINUE}
        return self.verifier.needs | own

    async def solve(self, search: Search) -> Result:
        """Draw, evaluate, draw who goes on."""
        tau = self.temperature

        async def choose(live: list[Node]) -> list[Node]:
            nonlocal tau
            worth = self.noisy(search, live, await self.worth(search, live), tau)
            tau *= self.decay
            return [live[i] for i in best_first(search, live, worth)[: self.n // self.width]]

        ended = await grow(search, self.n, self.width, self.depth, self.step_tokens, choose)
        return await decide(search, ended, await self.worth(search, ended), self.select)

    async def worth(self, search: Search, nodes: Sequence[Node]) -> list[float]:
        """E of each path."""
        return [math.prod(rewards) for rewards in await step_rewards(search, nodes, self.verifier, self.alpha)]

    def noisy(self, search: Search, nodes: Sequence[Node], worth: Sequence[float], tau: float) -> list[float]:
        """E / tau with Gumbel noise: the k largest of these are k draws without replacement."""
        if not tau:
            return list(worth)
        times: Counter[int] = Counter()
        out = []
        for node, value in zip(nodes, worth, strict=True):
            luck = (search.chance("self-eval-beam", node.draws[0], times[node.index]) + 0.5) / 2**63
            times[node.index] += 1
            out.append(value / tau - math.log(-math.log(luck)))
        return out
