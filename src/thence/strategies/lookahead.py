"""Lookahead search (Snell et al. 2024, arXiv:2408.03314): a step beam that judges a step by where it leads.

Every candidate step is continued by ``k`` greedy steps, the verifier scores the end of these, and that number ranks the
candidate. Only the candidate itself stays on its path: the greedy steps are charged and then left. ``k`` = 0 is the
beam. It is tree search with rollouts and without their backup; a level of ``n`` candidates costs up to n (k + 1) steps.
Where a continuation ends before ``k`` steps its score is that of the ended path.

With exact values of the policy the ranking is that of the values of greedy play, k steps deeper. At equal tokens the
paper finds it below the beam.

Differs from public code on purpose: the continuation is scored (one widely used implementation generates it and scores
the step alone); a greedy step that is known from an earlier level is not drawn again, and nobody looks ahead where all
candidates are kept. If no path of the beam has given an answer, continuations that ended are chosen from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.beams import above, grow
from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import Select, best_first, select


@dataclass(frozen=True, slots=True)
class Lookahead:
    """A beam of ``n`` candidates per step, of which the best n / ``width`` are continued ``width`` times.

    They are judged ``k`` steps later. Paths have at most ``depth`` steps of at most ``step_tokens``.
    """

    verifier: Verifier
    n: int = 16
    width: int = 4
    k: int = 1
    depth: int = 40
    step_tokens: int = 256
    select: Select = "vote"

    def __post_init__(self) -> None:
        check_counts("lookahead", n=self.n, width=self.width, depth=self.depth, step_tokens=self.step_tokens)
        check_counts("lookahead", 0, k=self.k)
        if self.n % self.width:
            raise UsageError(f"lookahead: n={self.n} is no multiple of width={self.width}; change one")

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text, and what its verifier needs."""
        return self.verifier.needs | {Ability.CONTINUE}

    async def solve(self, search: Search) -> Result:
        """Draw, look ahead, score there, keep here."""
        follows: dict[int, Node] = {}  # of a node's index: its greedy next step

        async def choose(live: list[Node]) -> list[Node]:
            keep = self.n // self.width
            judged = await self.ahead(search, live, follows) if len(live) > keep else live
            values = [s.value for s in await search.score(judged, self.verifier)]
            return [live[i] for i in best_first(search, live, values)[:keep]]

        ended = await grow(search, self.n, self.width, self.depth, self.step_tokens, choose)
        if all([await search.answer(node) is None for node in ended]):
            ended += [node for node in follows.values() if search.ended(node)]
        return await select(search, ended, self.verifier, self.select, "lookahead")

    async def ahead(self, search: Search, live: Sequence[Node], follows: dict[int, Node]) -> list[Node]:
        """Where ``k`` greedy steps lead from each node, or as far as the budget lets them."""
        at = list(live)
        for _ in range(self.k):
            known = {n.index: n for n in at if n.index not in follows and not search.ended(n)}
            greedy = search.sampling.greedy()
            for node in await search.steps(list(known.values()), cap=self.step_tokens, sampling=greedy):
                follows[above(search, node, known)] = node
            at = [follows.get(node.index, node) for node in at]
        return at
