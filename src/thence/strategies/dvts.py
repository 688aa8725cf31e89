"""Diverse verifier tree search (Beeching, Tunstall and Rush 2024, "Scaling test-time compute with open models").

n / width independent trees: in each, draw ``width`` next steps, keep the one best, and go on. A beam puts all places
under the paths that the verifier likes most; here every tree keeps one, so a verifier's error cannot empty the rest. In
its last round each tree hands in all of its ``width`` candidates, chosen from as in best-of-N. A tree is done when its
best candidate has ended; candidates that ended in earlier rounds are handed in, too (public code drops them).
"""

from __future__ import annotations

from dataclasses import dataclass

from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import Select, best_first, select


@dataclass(frozen=True, slots=True)
class DiverseTreeSearch:
    """``n`` candidates in n / ``width`` trees; at most ``depth`` steps of at most ``step_tokens``."""

    verifier: Verifier
    n: int = 16
    width: int = 4
    depth: int = 40
    step_tokens: int = 256
    select: Select = "vote"

    def __post_init__(self) -> None:
        check_counts("dvts", n=self.n, width=self.width, depth=self.depth, step_tokens=self.step_tokens)
        if self.n % self.width:
            raise UsageError(f"dvts: n={self.n} is no multiple of width={self.width}; change one")

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text, and what its verifier needs."""
        return self.verifier.needs | {Ability.CONTINUE}

    async def solve(self, search: Search) -> Result:
        """All trees take their step together; each keeps its best candidate."""
        first = await search.steps(n=self.n, cap=self.step_tokens)
        trees = [first[i : i + self.width] for i in range(0, len(first), self.width)]
        ended: list[Node] = []
        for level in range(1, self.depth + 1):
            await search.score([node for tree in trees for node in tree], self.verifier)
            best: list[Node] = []
            for tree in trees:
                ended += [node for node in tree if search.ended(node)]
                top = tree[best_first(search, tree, [s.value for s in await search.score(tree, self.verifier)])[0]]
                if not search.ended(top):
                    best.append(top)
            if not best or level == self.depth:
                break
            drawn = await search.steps(best, self.width, cap=self.step_tokens)
            trees = [drawn[i : i + self.width] for i in range(0, len(drawn), self.width)]
        return await select(search, ended, self.verifier, self.select, "dvts")
