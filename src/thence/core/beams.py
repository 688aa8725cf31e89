"""What searches by steps share: the loop of a beam, chains of single steps, and the reward of a step.

A step is what ``Search.steps`` draws. Where a stop was met inside it, it is several nodes of the tree, which are one
step here, too.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Sequence

from .completion import Sampling
from .errors import UsageError
from .search import Search, Verifier
from .tree import SOLUTION, Node

Choose = Callable[[list[Node]], Awaitable[Sequence[Node]]]


async def grow(search: Search, n: int, width: int, depth: int, cap: int, choose: Choose) -> list[Node]:
    """All paths of a beam that ended, each once per draw, in the order in which they ended.

    ``n`` first steps, then ``width`` next steps of each open candidate that ``choose`` returns (one that it returns
    twice gets twice as many), until nothing is open or paths are ``depth`` steps long. Steps have at most ``cap``
    tokens.
    """
    ended: list[Node] = []
    live = await search.steps(n=n, cap=cap)
    for level in range(1, depth + 1):
        ended += [node for node in live if search.ended(node)]
        live = [node for node in live if not search.ended(node)]
        if not live or level == depth:
            break
        live = await search.steps(await choose(live), width, cap=cap)
    return ended


async def chains(search: Search, starts: Sequence[tuple[Node, int]], cap: int, sampling: Sampling) -> list[Node]:
    """Where single steps lead from each start, all of them together: to an end, or as far as they may go.

    A start is a node and the most steps that it may still have; a node that is listed twice is continued twice. When
    the budget ends, the starts that it stopped are missing or come last.
    """
    at = [node for node, _ in starts]
    for level in range(max((left for _, left in starts), default=0)):
        going = [i for i, (_, left) in enumerate(starts) if left > level and not search.ended(at[i])]
        drawn = await search.steps([at[i] for i in going], 1, cap=cap, sampling=sampling)
        if len(drawn) < len(going):
            return [node for i, node in enumerate(at) if i not in going] + drawn
        for i, node in zip(going, drawn, strict=True):
            at[i] = node
    return at


def above(search: Search, node: Node, among: Collection[int]) -> int:
    """The index of ``node`` or of its nearest ancestor that is in ``among``: what a step was drawn for."""
    while node.index not in among and node.parent is not None:
        node = search.tree.nodes[node.parent]
    return node.index


def path_steps(search: Search, node: Node) -> list[list[Node]]:
    """The steps on the path to ``node``, each with all of its nodes."""
    steps: list[list[Node]] = [[]]
    for part in search.tree.path(node):
        if part.kind in SOLUTION:
            steps[-1].append(part)
            if not search._open(part):
                steps.append([])
    return [step for step in steps if step]


def probability(step: Sequence[Node]) -> float:
    """The policy's probability per token of one step, exp(mean log p); a step without tokens has 1."""
    logprobs = [p for node in step for p in node.completion.logprobs or ()]
    return math.exp(math.fsum(logprobs) / len(logprobs)) if logprobs else 1.0


async def step_rewards(
    search: Search, nodes: Sequence[Node], verifier: Verifier, share: float
) -> list[tuple[float, ...]]:
    """For each path its steps' rewards P^share C^(1 - share): the policy's probability per token of the step, and the
    verifier's number for the path up to there, which must not be negative."""
    paths = [path_steps(search, node) for node in nodes]
    ends = list({step[-1].index: step[-1] for path in paths for step in path}.values())
    scores = await search.score(ends, verifier) if ends else []
    likes = {end.index: score.value for end, score in zip(ends, scores, strict=True)}
    if any(value < 0 for value in likes.values()):
        raise UsageError(f"{verifier.name} gives negative scores, of which there is no power; use another verifier")
    return [tuple(probability(step) ** share * likes[step[-1].index] ** (1 - share) for step in path) for path in paths]


__all__ = ["Choose", "above", "chains", "grow", "path_steps", "probability", "step_rewards"]
