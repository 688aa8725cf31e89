"""Branching where the model hesitates: new paths start only at the steps of one sampled chain that were least certain.

Sample a chain step by step. Rank its steps, take the ``points`` first, and start n - 1 further paths just before them,
in turn; they are sampled to their ends, and all n vote. Everything before a branch is shared, so a path costs only what
follows its branch. How steps are ranked:

    entropy   largest entropy of a token in the step, of three outcomes: its two likeliest tokens, and all others
    margin    smallest gap between the probabilities of the two likeliest tokens at a token of the step
    uniform   evenly spaced over the chain (a control)
    random    by seed (a control)

High-entropy tokens are the forks of a solution (Wang et al. 2025, arXiv:2506.01939; ARPO, Dong et al. 2025,
arXiv:2507.19849, branches rollouts there), while chain-of-thought decoding finds that branching late rarely rescues a
chain (arXiv:2402.10200): the controls at equal numbers of branches show which of it holds for a model. Drawing again
before or at the only fork of a solution gives all its chances anew, drawing after it none.

Differs from these: branches are independent draws of the same policy, not forced to other tokens, so a branch may
repeat the chain, and its vote counts all the same. The entropy is a lower bound of the true one, which nobody gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from thence.core.beams import chains, path_steps
from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import Result, Search
from thence.core.tree import Node
from thence.core.votes import best_first, elect


@dataclass(frozen=True, slots=True)
class EntropyBranching:
    """``n`` paths of at most ``depth`` steps, all but the first from ``points`` places of the first."""

    n: int = 8
    points: int = 2
    where: Literal["entropy", "margin", "uniform", "random"] = "entropy"
    depth: int = 40
    step_tokens: int = 256

    def __post_init__(self) -> None:
        check_counts("entropy-branching", n=self.n, points=self.points, depth=self.depth, step_tokens=self.step_tokens)

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text and, unless this is a control, the two best probabilities at each position."""
        return frozenset({Ability.CONTINUE} | ({Ability.TOP2} if self.where in ("entropy", "margin") else set()))

    async def solve(self, search: Search) -> Result:
        """One chain, its branches, a vote."""
        sampling = replace(search.sampling, top2=search.sampling.top2 or Ability.TOP2 in self.needs)
        paths = await chains(search, [(search.root, self.depth)], self.step_tokens, sampling)
        if self.n > 1 and paths and not search.stopped:
            chain = path_steps(search, paths[0])
            places = self.places(search, chain)
            starts = [places[i % len(places)] for i in range(self.n - 1)]
            begun = [search.tree.nodes[chain[at][0].parent or 0] for at in starts]
            lengths = [self.depth - at for at in starts]
            paths += await chains(search, list(zip(begun, lengths, strict=True)), self.step_tokens, sampling)
        ended = [node for node in paths if search.ended(node)]
        return elect(search, await search.classes(ended), len(ended))

    def places(self, search: Search, chain: Sequence[Sequence[Node]]) -> list[int]:
        """The steps before which paths branch, the first choice first."""
        count = min(self.points, len(chain))
        if self.where == "uniform":
            return [(2 * i + 1) * len(chain) // (2 * count) for i in range(count)]
        if self.where == "random":
            return sorted(range(len(chain)), key=lambda i: search.chance("entropy-branching", i))[:count]
        doubts = [self.doubt(step) for step in chain]
        return best_first(search, [step[0] for step in chain], doubts)[:count]

    def doubt(self, step: Sequence[Node]) -> float:
        """How uncertain the least certain token of a step was; more is more."""
        pairs = [pair for node in step for pair in node.completion.top2 or ()]
        if not pairs:
            raise UsageError("entropy-branching: a step has no top-2 log-probabilities; use where=uniform or random")
        if self.where == "margin":
            return max(1.0 - (math.exp(best) - math.exp(second)) for best, second in pairs)
        return max(entropy(math.exp(best), math.exp(second)) for best, second in pairs)


def entropy(best: float, second: float) -> float:
    """In nats, of the two likeliest tokens and all others as a third outcome."""
    return -math.fsum(p * math.log(p) for p in (best, second, 1.0 - best - second) if p > 0)


__all__ = ["EntropyBranching", "entropy"]
