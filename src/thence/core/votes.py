"""Votes over answer classes: what self-consistency and its relatives share.

Ties are broken by seed: taking the first seen favours earlier samples, and with two samples it would turn a majority
vote into the first sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from .errors import UsageError
from .search import AnswerClass, Result, Search, Verifier, Vote
from .tree import Node

CLOSE = 1e-12


def tied_best(search: Search, weights: dict[str, float]) -> str:
    """The key with the largest weight; among equals (to a relative 1e-12) one chosen by seed."""
    top = max(weights.values())
    return search.tie([k for k, w in weights.items() if _close(w, top)])


def _close(value: float, top: float) -> bool:
    """Whether ``value`` equals the largest one, up to rounding."""
    return value >= top - CLOSE * abs(top)


def elect(
    search: Search,
    classes: Sequence[AnswerClass],
    drawn: int,
    weigh: Callable[[AnswerClass], float] = lambda c: float(len(c.nodes)),
    notes: Sequence[str] = (),
) -> Result:
    """The result of a vote: the heaviest class, represented by its first sample.

    ``drawn`` counts all samples, also those without an answer: they cast no vote but stay in the denominator of the
    confidence, which is the winner's share of samples for a plain count and its share of the weight otherwise.
    """
    if not classes:
        return search.result(None, confidence=0.0, notes=notes)
    weights = {c.key: weigh(c) for c in classes}
    winner = next(c for c in classes if c.key == tied_best(search, weights))
    total = sum(weights.values())
    plain = all(weights[c.key] == len(c.nodes) for c in classes)
    share = len(winner.nodes) / drawn if plain else (weights[winner.key] / total if total > 0 else 0.0)
    votes = [Vote(c.answer, len(c.nodes), weights[c.key]) for c in classes]
    votes.sort(key=lambda v: -v.weight)
    return search.result(winner.nodes[0], confidence=share, votes=votes, notes=notes, answer=winner.answer)


async def pick(search: Search, nodes: Sequence[Node], values: Sequence[float], notes: Sequence[str] = ()) -> Result:
    """The node with the largest value; of equal ones, an answer that more of them give, then by seed and seed order.

    So a verifier that cannot tell samples apart leaves a majority vote, not a draw between distinct answers (papers do
    not say how they break ties). Nodes without an answer are chosen only if no node has one.
    """
    if not nodes:
        return search.result(None, confidence=None, notes=notes)
    keyed: dict[str, list[tuple[float, Node]]] = {}
    for node, value in zip(nodes, values, strict=True):
        found = await search.answer(node)
        if found is not None:
            keyed.setdefault(search.reading.key(found.value), []).append((value, node))
    if not keyed:
        return search.result(nodes[0], notes=notes)
    best = {key: max(value for value, _ in group) for key, group in keyed.items()}
    top = max(best.values())
    winner = tied_best(search, {key: float(sum(_close(value, top) for value, _ in keyed[key])) for key in keyed})
    node = next(node for value, node in keyed[winner] if value == best[winner])
    votes = [Vote(_first_answer(group), len(group), best[key]) for key, group in keyed.items()]
    votes.sort(key=lambda v: -v.weight)
    return search.result(node, votes=votes, notes=notes)


def best_first(search: Search, nodes: Sequence[Node], values: Sequence[float]) -> list[int]:
    """Positions sorted by value, largest first; equal values in an order that depends on the seed and on what the nodes
    are, not on who was drawn first. A node that is listed twice keeps its places beside each other."""
    return sorted(range(len(nodes)), key=lambda i: (-values[i], search.chance("rank", nodes[i].draws[0]), i))


def ranked(search: Search, nodes: Sequence[Node], worth: Mapping[int, float]) -> list[Node]:
    """``nodes`` by their ``worth`` (by index), largest first, equal ones as in ``best_first``."""
    return [nodes[i] for i in best_first(search, nodes, [worth[n.index] for n in nodes])]


Select = Literal["max", "vote"]


async def select(
    search: Search, nodes: Sequence[Node], verifier: Verifier, how: Select, name: str, notes: Sequence[str] = ()
) -> Result:
    """The result of solutions that ``verifier`` scores: the one it likes most (``max``, best-of-N), or a vote in which
    its values are weights (``vote``), answered by the best solution of the winning class (Uesato et al. 2022,
    arXiv:2211.14275). ``name`` is the strategy, for the error when a weight is negative."""
    values = [s.value for s in await search.score(nodes, verifier)] if nodes else []
    if how == "vote" and any(v < 0 for v in values):
        raise UsageError(f"{name}: {verifier.name} gives negative scores, which cannot weigh votes; use select=max")
    return await decide(search, nodes, values, how, notes)


async def decide(
    search: Search, nodes: Sequence[Node], values: Sequence[float], how: Select, notes: Sequence[str] = ()
) -> Result:
    """The same for values that are known; equal nodes have equal ones, and those of a vote are not negative."""
    if how == "max":
        return await pick(search, nodes, values, notes)
    worth = {n.index: v for n, v in zip(nodes, values, strict=True)}
    classes = await search.classes(nodes)
    result = elect(search, classes, len(nodes), lambda c: sum(worth[n.index] for n in c.nodes), notes)
    for group in classes:
        if result.node in group.nodes:
            best = max(group.nodes, key=lambda n: worth[n.index])
            result.node, result.answer = best, best.found.value if best.found is not None else result.answer
    return result


def _first_answer(group: Sequence[tuple[float, Node]]) -> str:
    found = group[0][1].found
    assert found is not None
    return found.value
