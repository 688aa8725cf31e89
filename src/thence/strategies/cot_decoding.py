"""CoT-decoding (Wang & Zhou 2024, arXiv:2402.10200): branch on the first token, keep the path sure of its answer.

After a bare question the k most likely *first* tokens are each continued greedily. A path's confidence is
Delta = mean over the answer's tokens of p(best token) - p(second best), at temperature 1: paths that reason before
they answer are surer of the answer's tokens than paths that guess. ``select=max`` keeps the path with the largest
Delta, ``select=aggregate`` the answer with the largest sum of Delta.

Equal texts are one path (two first tokens can lead to the same text); a path without an answer, or whose answer has
no tokens, is dropped. A vocabulary of fewer than k tokens has fewer than k paths.
Differs from the paper: k = 0 there names the greedy path; here k counts the paths, the greedy one included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from thence.core.completion import Ability, Sampling
from thence.core.errors import CallFailed, check_counts
from thence.core.search import Result, Search
from thence.core.tree import Found, Node, Tree
from thence.core.votes import elect, pick


@dataclass(frozen=True, slots=True)
class CoTDecoding:
    """``k`` first tokens, each continued greedily."""

    k: int = 10
    select: Literal["max", "aggregate"] = "max"

    default_prompt = "bare"

    def __post_init__(self) -> None:
        check_counts("cot-decoding", k=self.k)

    @property
    def width(self) -> int:
        """Paths per problem."""
        return self.k

    @property
    def needs(self) -> frozenset[Ability]:
        """Branching on the first token, and the two best probabilities at each position."""
        return frozenset({Ability.FIRST_TOKEN, Ability.TOP2})

    async def solve(self, search: Search) -> Result:
        """Branch, continue, compare how sure each path is of its answer."""
        greedy = replace(search.sampling.greedy(), top2=True)
        branches = [replace(greedy, first_rank=rank) for rank in range(self.k)]
        paths: dict[str, tuple[int, Node]] = {}
        for rank, node in enumerate(await branch(search, branches)):
            paths.setdefault(node.text, (rank, node))
        sure: dict[int, float] = {}
        for _, node in paths.values():
            gap = delta(search.tree, await search.answer(node))
            if gap is not None:
                sure[node.index] = gap
        kept = [n for _, n in paths.values() if n.index in sure]
        notes = [branch_line(rank, n, sure.get(n.index)) for rank, n in paths.values()]
        if self.select == "max" or not kept:
            result = await pick(search, kept, [sure[n.index] for n in kept], notes)
            result.confidence = sure[result.node.index] if result.node is not None else None
            return result
        classes = await search.classes(kept)
        return elect(search, classes, len(kept), lambda c: sum(sure[n.index] for n in c.nodes), notes)


async def branch(search: Search, branches: Sequence[Sampling]) -> list[Node]:
    """One path per first token, the likeliest first; ends where the vocabulary does."""
    paths: list[Node] = []
    async with search.stream(sampling=branches, ahead=len(branches)) as samples:
        try:
            async for node in samples:
                paths.append(node)
        except CallFailed as error:
            if error.kind != "first-token" or not paths:
                raise
    return paths


def delta(tree: Tree, found: Found | None) -> float | None:
    """Mean gap between the two best probabilities over the tokens of an answer; None for an answer without tokens."""
    span = tree.answer_span(found) if found is not None else None
    if span is None:
        return None
    gaps = [math.exp(best) - math.exp(second) for best, second in (span[0].top2 or ())[span[1]]]
    return sum(gaps) / len(gaps) if gaps else None


def branch_line(rank: int, node: Node, sure: float | None) -> str:
    """One line about a branch: first token, Delta, answer."""
    answer = node.found.value if node.found is not None else "no answer"
    shown = "-" if sure is None else f"{sure:.3f}"
    return f"branch {rank}: first token {first_token(node)!r}, delta {shown}, answer {answer}"


def first_token(node: Node) -> str:
    """The text of a path's first token."""
    return node.text[: node.completion.ends[0]] if node.completion.ends else ""
