"""Strategies inside strategies: each of the n samples of a method may itself be what another method finds.

``best-of-n(n=4, inner="self-refine(rounds=2)", verifier=…)``: the i-th run of ``inner`` makes the draws i, i + n,
i + 2n, … of every node that it continues, so that the runs share none, and each begins with the draw that plain
sampling makes i-th. Everything is in one tree, on one pair of books and under one budget.
"""

from __future__ import annotations

from .search import Search, Strategy
from .tree import Node


async def samples(search: Search, n: int, inner: Strategy | None = None) -> tuple[list[Node], int]:
    """``n`` solutions of the question, plain draws or what ``inner`` chooses, and how many were begun.

    A run of ``inner`` that finds nothing has no node, but counts. Fewer than ``n`` when the budget ends.
    """
    if inner is None:
        nodes = await search.expand(n=n)
        return nodes, len(nodes)
    found: list[Node] = []
    begun = 0
    while begun < n and not search.stopped:
        result = await search.nested(inner, begun, n)
        begun += 1
        if result.node is not None:
            found.append(result.node)
    return found, begun


__all__ = ["samples"]
