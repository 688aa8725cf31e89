"""Sequential revisions (Snell et al. 2024, arXiv:2408.03314): solutions in chains, each written with the last in view.

``chains`` first solutions, each followed by ``length`` - 1 revisions in its own chat, which shows the last ``window``
attempts. A right answer may be revised into a wrong one (about 38 % of them in the paper), so the last attempt is never
simply taken: the choice goes over the whole chain. ``choose=hierarchical`` picks the best of each chain, then the best
of those; ``choose=flat`` the best of all attempts. Best is by ``verifier`` (as ``select`` says in best-of-N), or by
majority without one.

For a chain that mends a wrong answer with probability u and spoils a right one with d: the last attempt is right with
u / (u + d) in the end. Some attempt of C chains of length L is right with 1 - [(1 - p)(1 - u)^(L - 1)]^C: at equal
C L the best split is one chain if u > p and single samples if not. An optimum in between needs chains that differ, such
as a share s that is never mended: 1 - [(1 - p)(s + (1 - s)(1 - u)^(L - 1))]^C.

Differs from the paper: any chat model may revise, none is fine-tuned for it, and attempts are shown without a hint of
whether they are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thence.core.completion import Ability, Finish
from thence.core.errors import check_counts
from thence.core.problem import Message
from thence.core.review import AGAIN, asked, said
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Kind, Node
from thence.core.votes import Select, elect, select


@dataclass(frozen=True, slots=True)
class Revisions:
    """``chains`` chains of ``length`` attempts, the first included; a revision sees the last ``window`` of them."""

    chains: int = 4
    length: int = 4
    window: int = 4
    verifier: Verifier | None = None
    select: Select = "vote"
    choose: Literal["hierarchical", "flat"] = "hierarchical"

    def __post_init__(self) -> None:
        check_counts("revisions", chains=self.chains, length=self.length, window=self.window)

    @property
    def width(self) -> int:
        """Samples per problem that run at once."""
        return self.chains

    @property
    def needs(self) -> frozenset[Ability]:
        """Answering in a chat, and what its verifier needs."""
        return frozenset() if self.verifier is None else self.verifier.needs

    async def solve(self, search: Search) -> Result:
        """Draw the first attempts, revise all chains together, choose."""
        chains = [[node] for node in await search.expand(n=self.chains)]
        for _ in range(self.length - 1):
            going_on = [c for c in chains if c[-1].completion.finish is not Finish.BUDGET]
            if search.stopped or not going_on:
                break
            revised = await search.ask(
                [self._chat(search, chain) for chain in going_on],
                about=[chain[-1] for chain in going_on],
                kind=Kind.REVISION,
                sampling=search.sampling,
            )
            for chain, node in zip(going_on, revised, strict=False):
                chain.append(node)
        for node in (n for chain in chains for n in chain):
            await search.answer(node)
        if self.choose == "flat":
            return await self._best(search, [n for chain in chains for n in chain])
        winners = [(await self._best(search, chain)).node for chain in chains]
        return await self._best(search, [node for node in winners if node is not None], len(chains))

    def _chat(self, search: Search, chain: Sequence[Node]) -> list[Message]:
        """The question, and the last attempts as turns, each with the request to solve it again."""
        turns = [turn for node in chain[-self.window :] for turn in (said(search, node), Message("user", AGAIN))]
        return [*asked(search), *turns]

    async def _best(self, search: Search, nodes: Sequence[Node], drawn: int | None = None) -> Result:
        """The best of some attempts; of ``drawn`` ones some may have had no answer."""
        if self.verifier is not None:
            return await select(search, nodes, self.verifier, self.select, "revisions")
        return elect(search, await search.classes(nodes), len(nodes) if drawn is None else drawn)


__all__ = ["Revisions"]
