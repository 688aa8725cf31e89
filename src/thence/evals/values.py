r"""Values of a finite tree of steps: what a process verifier would say if it were trained to perfection.

The tree is the explored part of a Markov decision process (Jun Wang's tutorial on LLM reasoning; OpenR, Wang et al.
2024, arXiv:2410.09671): a state s is the question and some steps, an action is the next step, the transition appends
it. r(s) is the reward of *reaching* s, gamma the discount. A tree is plain arrays: ``parents[i] < i`` is the parent of
node i (-1 for the root), ``rewards[i]`` its r, ``shares[i]`` the chance that the policy goes to i from its parent.

    V*(s)       = r(s) + gamma max_a V*(s a)                         ``value_iteration``
    V^pi(s)     = r(s) + gamma sum_a pi(a|s) V^pi(s a)               ``policy_values``
    V^max,w(s)  = r(s) + gamma E max over w actions of V^max,w(s a)  ``sampled_max_values``

V^pi <= V^max,w <= V*, increasing in w. A leaf has V = r. With r = 1 at right leaves, 0 elsewhere and gamma = 1, V* says
whether a right answer can be reached and V^pi with what chance.

What a value head is trained towards: the one-step target of value iteration (``max_targets``: with a target network's
values on the right-hand side), and lambda-returns of the policy (``lambda_targets``, TS-LLM, Feng et al. 2023,
arXiv:2309.17179): lambda = 0 is TD(0), lambda = 1 the Monte-Carlo return. The same for one trace are ``td_targets``.

Two formulas are misprinted in the tutorial and right here (both are negative tests). Its TD loss lacks brackets; taken
literally its fixed point is V = r - gamma max V. The loss is (V - [r + gamma max V])^2: ``td_loss``. Its cross-entropy
swaps prediction and label and lacks the sign, which is log 0 for a label of 0 or 1: ``step_bce``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from thence.core.errors import UsageError, check_counts, check_shares
from thence.core.tree import SOLUTION, Kind, Node, Tree

Array = npt.NDArray[np.float64]
Draws = Literal["subset", "samples"]


@dataclass(frozen=True, slots=True)
class Arrays:
    """A tree as plain arrays, all of one length N, parents before children; ``nodes[i]`` is where row i comes from."""

    nodes: tuple[Node, ...]
    parents: tuple[int, ...]
    rewards: Array
    shares: Array


def arrays(tree: Tree, reward: Callable[[Node], float]) -> Arrays:
    """The question and the solution text below it; critiques, probes and what hangs on them are left out.

    A child's share is the share of its parent's draws that came out as it. Forced text has the share of its draws.
    """
    kept = (*SOLUTION, Kind.FORCED)
    row: dict[int, int] = {tree.root.index: 0}
    nodes, parents = [tree.root], [-1]
    for node in tree.nodes[1:]:
        if node.kind in kept and node.parent in row:
            row[node.index] = len(nodes)
            parents.append(row[node.parent])
            nodes.append(node)
    drawn = np.zeros(len(nodes))
    for i in range(1, len(nodes)):
        drawn[parents[i]] += nodes[i].multiplicity
    shares = [1.0] + [nodes[i].multiplicity / float(drawn[parents[i]]) for i in range(1, len(nodes))]
    return Arrays(tuple(nodes), tuple(parents), np.array([reward(node) for node in nodes]), np.array(shares))


# --- values -----------------------------------------------------------------------------------------------------------


def value_iteration(
    parents: Sequence[int], rewards: Sequence[float] | Array, gamma: float = 1.0, *, sweeps: int | None = None
) -> Array:
    """V* of every node [N]. One pass from the leaves up is exact; ``sweeps`` instead counts synchronous sweeps from
    V = 0, of which as many as the tree has levels are exact, too."""
    r = _checked(parents, rewards, gamma)
    if sweeps is not None:
        values = np.zeros(len(r))
        for _ in range(sweeps):
            values = max_targets(parents, rewards, values, gamma)
        return values
    return _upwards(parents, r, lambda below, _: gamma * float(below.max()))


def policy_values(
    parents: Sequence[int],
    rewards: Sequence[float] | Array,
    shares: Sequence[float] | Array | None = None,
    gamma: float = 1.0,
) -> Array:
    """V^pi of every node [N]; without ``shares`` all children of a node are equally likely."""
    r = _checked(parents, rewards, gamma)
    pi = _policy(parents, shares)
    return _upwards(parents, r, lambda below, kids: gamma * float(pi[kids] @ below))


def sampled_max_values(
    parents: Sequence[int],
    rewards: Sequence[float] | Array,
    width: int,
    gamma: float = 1.0,
    *,
    draws: Draws = "subset",
    shares: Sequence[float] | Array | None = None,
) -> Array:
    """V^max,w of every node [N]: at each level the best of ``width`` actions is taken.

    They are a uniformly random ``subset`` of different children (all of them where there are fewer), or independent
    ``samples`` of the policy, with repetition. Width 1 of samples is V^pi; all children are V*.
    """
    check_counts("values", width=width)
    r = _checked(parents, rewards, gamma)
    pi = _policy(parents, shares)

    def best(below: Array, kids: npt.NDArray[np.intp]) -> float:
        order = np.argsort(below, kind="stable")
        return gamma * float(below[order] @ _largest(pi[kids][order], width, draws))

    return _upwards(parents, r, best)


def _largest(shares: Array, width: int, draws: Draws) -> Array:
    """For children sorted by value, the chance of each to be the largest of ``width`` drawn ones [K]."""
    if draws == "samples":
        below = np.concatenate([[0.0], np.cumsum(shares)])
        return np.diff(np.minimum(below, 1.0) ** width)
    k, w = len(shares), min(width, len(shares))
    chances = np.zeros(k)
    chances[k - 1] = w / k
    for i in range(k - 2, w - 2, -1):  # C(i, w-1) / C(k, w), without large numbers
        chances[i] = chances[i + 1] * (i + 2 - w) / (i + 1)
    return chances


# --- training targets -------------------------------------------------------------------------------------------------


def max_targets(
    parents: Sequence[int],
    rewards: Sequence[float] | Array,
    values: Sequence[float] | Array,
    gamma: float = 1.0,
) -> Array:
    """One step of value iteration [N]: r + gamma max over children of ``values`` (a target network's), r at leaves.

    The maximum of noisy values is too large on average, by more the more children there are.
    """
    r, v = _checked(parents, rewards, gamma), _same(values, rewards)
    targets = r.copy()
    for node, kids in _children(parents):
        targets[node] += gamma * v[kids].max()
    return targets


def lambda_targets(
    parents: Sequence[int],
    rewards: Sequence[float] | Array,
    values: Sequence[float] | Array,
    lam: float,
    gamma: float = 1.0,
    shares: Sequence[float] | Array | None = None,
) -> Array:
    """lambda-returns of the policy in a tree [N]: G = r + gamma sum_a pi(a) [(1 - lambda) V(s a) + lambda G(s a)].

    lambda = 0 is the expected TD(0) target, lambda = 1 the mean of the Monte-Carlo returns below a node.
    """
    check_shares("values", lam=lam)
    r, v, pi = _checked(parents, rewards, gamma), _same(values, rewards), _policy(parents, shares)

    def mixed(below: Array, kids: npt.NDArray[np.intp]) -> float:
        return gamma * float(pi[kids] @ ((1.0 - lam) * v[kids] + lam * below))

    return _upwards(parents, r, mixed)


def td_targets(
    rewards: Sequence[float] | Array, values: Sequence[float] | Array, lam: float = 0.0, gamma: float = 1.0
) -> Array:
    """lambda-returns of one trace [T]: ``rewards[t]`` and ``values[t]`` are those of the state after its t-th step."""
    return lambda_targets(range(-1, len(rewards) - 1), rewards, values, lam, gamma)


def td_loss(values: Sequence[float] | Array, targets: Sequence[float] | Array) -> float:
    """Mean over nodes of (V - target)^2; the target is a constant for whoever differentiates."""
    return float(np.mean((_same(values, targets) - np.asarray(targets, float)) ** 2))


def step_bce(predictions: Sequence[float] | Array, labels: Sequence[float] | Array) -> float:
    """Mean over steps of -[y log p + (1 - y) log(1 - p)], predictions p in (0, 1), labels y in [0, 1]."""
    p, y = _same(predictions, labels), np.asarray(labels, float)
    if np.any((p <= 0) | (p >= 1)) or np.any((y < 0) | (y > 1)):
        raise UsageError("values: predictions must be inside (0, 1) and labels in [0, 1]; are they swapped?")
    return float(np.mean(-(y * np.log(p) + (1 - y) * np.log1p(-p))))


# --- the tree ---------------------------------------------------------------------------------------------------------


def _upwards(parents: Sequence[int], rewards: Array, of: Callable[[Array, npt.NDArray[np.intp]], float]) -> Array:
    """r plus what ``of`` makes of the children's values, from the leaves up."""
    values = rewards.copy()
    for node, kids in _children(parents):
        values[node] += of(values[kids], kids)
    return values


def _children(parents: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """Every inner node with its children, the last node first, so that children come before their parents."""
    below: dict[int, list[int]] = {}
    for child, parent in enumerate(parents):
        if parent >= 0:
            below.setdefault(parent, []).append(child)
    for node in sorted(below, reverse=True):
        yield node, np.array(below[node])


def _checked(parents: Sequence[int], rewards: Sequence[float] | Array, gamma: float) -> Array:
    check_shares("values", gamma=gamma)
    if len(parents) != len(rewards):
        raise UsageError(f"values: {len(parents)} parents and {len(rewards)} rewards; there is one of each per node")
    for child, parent in enumerate(parents):
        if not -1 <= parent < child:
            raise UsageError(
                f"values: the parent of node {child} is {parent}; parents come before children, -1 is none"
            )
    return np.array(rewards, float)


def _same(values: Sequence[float] | Array, other: Sequence[float] | Array) -> Array:
    if len(values) != len(other):
        raise UsageError(f"values: {len(values)} values for {len(other)} nodes; there is one per node")
    return np.asarray(values, float)


def _policy(parents: Sequence[int], shares: Sequence[float] | Array | None) -> Array:
    """The chance of each node given its parent [N]; UsageError unless the children of every node have 1 together."""
    if shares is not None:
        pi = _same(shares, parents)
        for node, kids in _children(parents):
            if not np.isclose(pi[kids].sum(), 1.0) or pi[kids].min() < 0:
                raise UsageError(f"values: the shares of node {node}'s children are {pi[kids].tolist()}; they sum to 1")
        return pi
    pi = np.ones(len(parents))
    for _, kids in _children(parents):
        pi[kids] = 1.0 / len(kids)
    return pi


__all__ = [
    "Arrays",
    "Draws",
    "arrays",
    "lambda_targets",
    "max_targets",
    "policy_values",
    "sampled_max_values",
    "step_bce",
    "td_loss",
    "td_targets",
    "value_iteration",
]
