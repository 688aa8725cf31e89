"""Particle filtering over steps (Puri et al. 2025, arXiv:2502.01618).

n particles are begun solutions. In each round every open one takes one step, the verifier scores all of them, and n are
drawn from them with chances in proportion to weights: good ones are doubled, bad ones may die, and none is lost for
sure because its score is second. A beam keeps the best by a score that may be wrong; a filter trusts it only as odds.
When all have ended, the one with the largest score answers (``select=max``, the paper), or a vote by weights.

With s_t the score of a particle after t steps, ``weight`` is

    odds     s_t / (1 - s_t)     softmax of the score's logit; what the authors' code does
    score    s_t                 the paper's model: every step is accepted with chance s_t
    ratio    s_t / s_(t-1)       what is right when scores are values

The first two multiply doubts about the same thing once a round, so they target solutions that were liked early, too.
The ratios of a value telescope: with exact V^pi the particles are draws from the policy's right solutions, and the
product over rounds of mean weights is an unbiased estimate of the chance that one sample is right, s_0 being 1 (a note
of the result has it as ``evidence``). ``systematic`` resampling takes places (u + i) / n with one random u, so a
particle of weight w has floor(n w) or more copies; ``multinomial`` draws n times.

Differs from the paper: a particle whose path ended stays and keeps its score, and its weight under ``ratio`` is 1; when
all weights are 0 nobody is redrawn; scores of 0 and 1 have logits of +-14. If no particle has given an answer, paths
that ended and were not redrawn are chosen from.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from thence.core.beams import above
from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import Select, decide

EDGE = 1e-6


@dataclass(slots=True)
class Cloud:
    """Particles with their scores and weights, all paths that have ended, and the product of mean weights so far."""

    particles: list[Node]
    scores: list[float]
    weights: list[float]
    met: dict[int, tuple[Node, float]]
    evidence: float = 1.0


@dataclass(frozen=True, slots=True)
class ParticleFiltering:
    """``n`` particles of at most ``depth`` steps of at most ``step_tokens``."""

    verifier: Verifier
    n: int = 16
    weight: Literal["odds", "score", "ratio"] = "odds"
    resample: Literal["systematic", "multinomial"] = "systematic"
    select: Select = "max"
    depth: int = 40
    step_tokens: int = 256

    def __post_init__(self) -> None:
        check_counts("particle-filtering", n=self.n, depth=self.depth, step_tokens=self.step_tokens)

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text, and what its verifier needs."""
        return self.verifier.needs | {Ability.CONTINUE}

    async def solve(self, search: Search) -> Result:
        """Filter, then choose among the particles that ended."""
        cloud = await self.filter(search)
        notes = (f"evidence: {cloud.evidence:.6g}",)
        ended = [i for i, node in enumerate(cloud.particles) if search.ended(node)]
        nodes = [cloud.particles[i] for i in ended]
        worth = [(cloud.scores if self.select == "max" else cloud.weights)[i] for i in ended]
        if all([await search.answer(node) is None for node in nodes]):
            nodes = [node for node, _ in cloud.met.values()]
            worth = [score for _, score in cloud.met.values()]
        return await decide(search, nodes, worth, self.select, notes)

    async def filter(self, search: Search) -> Cloud:
        """Step, weigh and redraw until every particle has ended; weights are those of the last round."""
        cloud = Cloud([search.root] * self.n, [1.0] * self.n, [1.0] * self.n, {})
        for level in range(self.depth):
            parents = {node.index: s for node, s in zip(cloud.particles, cloud.scores, strict=True)}
            done = [node for node in cloud.particles if search.ended(node)]
            drawn = await search.steps([n for n in cloud.particles if not search.ended(n)], cap=self.step_tokens)
            cloud.particles = done + drawn
            if not cloud.particles:
                break
            cloud.scores = [s.value for s in await search.score(cloud.particles, self.verifier)]
            before = [None] * len(done) + [parents[above(search, n, parents)] for n in drawn]
            cloud.weights = [self.weigh(s, b) for s, b in zip(cloud.scores, before, strict=True)]
            cloud.evidence *= sum(cloud.weights) / len(cloud.weights)
            for node, score in zip(cloud.particles, cloud.scores, strict=True):
                if search.ended(node):
                    cloud.met[node.index] = (node, score)
            if search.stopped or all(search.ended(node) for node in cloud.particles):
                break
            if sum(cloud.weights) > 0:
                kept = self.redrawn(search, cloud.weights, level)
                cloud.particles = [cloud.particles[i] for i in kept]
                cloud.scores = [cloud.scores[i] for i in kept]
                cloud.weights = [1.0] * len(kept)
        return cloud

    def weigh(self, score: float, before: float | None) -> float:
        """The weight of a particle whose score was ``before`` a step ago; None is one that takes no step any more."""
        if score < 0 or (score > 1 + EDGE and self.weight == "odds"):  # a sum of chances may be 1 and a rounding
            raise UsageError(f"particle-filtering: a score of {score} has no {self.weight}; use a verifier in [0, 1]")
        if self.weight == "odds":
            inside = min(max(score, EDGE), 1 - EDGE)
            return inside / (1 - inside) if score > 0 else 0.0
        if self.weight == "score":
            return score
        if before is None:
            return 1.0
        return score / before if before > 0 else score

    def redrawn(self, search: Search, weights: Sequence[float], level: int) -> list[int]:
        """Positions of the particles that go on, as often as they do; expected copies are n w / sum w."""
        n, ends = len(weights), list(accumulate(weights))
        draws = 1 if self.resample == "systematic" else n
        luck = [search.chance("particle-filtering", level, i) / 2**63 for i in range(draws)]
        places = [(luck[0] + i) / n for i in range(n)] if self.resample == "systematic" else luck
        last = max(i for i, w in enumerate(weights) if w > 0)
        return [min(bisect(ends, place * ends[-1]), last) for place in places]


__all__ = ["Cloud", "ParticleFiltering"]
