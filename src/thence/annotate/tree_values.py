r"""Step values from a finished search tree: the grades of its leaves, backed up (TS-LLM, arXiv:2309.17179).

A search has already completed its prefixes many times over, so its tree holds labels for nothing:

    V(s) = sum_a d(s,a) V(a) / sum_a d(s,a)        d(s,a): how many of the draws at s came out as child a

from the leaves, whose V is their grade (1 or 0), to the question. A mean over leaves would be another number: a search
opens good children more often than bad ones, and every leaf below them would count, so it values what was searched, not
the policy. Draws at a state are samples of the policy, and with all of them opened V(s) is an unbiased estimate of its
value, whatever the search preferred below.

Where a search has not opened all children of a state, only those with leaves enter. That mean is biased towards what
was preferred, so the label's weight says how much of the state was seen,

    w(s) = sum over children with leaves of d(s,a) w(a) / sum_a d(s,a),    w(leaf) = 1

divided by the number of paths through it, since a record holds one path and a state counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thence.core.errors import check_counts
from thence.core.labels import Label, Labelled, Source
from thence.core.scores import Meaning
from thence.core.search import Verifier
from thence.core.segmenter import Segmenter
from thence.core.tree import SOLUTION, Kind, Node, Tree
from thence.strategies.mcts import Mcts, State

from .rollouts import Rollouts


@dataclass(frozen=True, slots=True)
class TreeValues:
    """Grow a tree by ``mcts`` with ``verifier`` in waves of ``wave``, grade its ended paths and back the grades up."""

    verifier: Verifier
    simulations: int = 32
    actions: int = 4
    wave: int = 4
    step_tokens: int = 256

    def __post_init__(self) -> None:
        check_counts("tree-values", simulations=self.simulations, actions=self.actions, wave=self.wave)

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]:
        """One record per different ended path."""
        search = rollouts.search
        grown = Mcts(
            self.verifier,
            self.simulations,
            self.actions,
            wave=self.wave,
            step_tokens=self.step_tokens,
        )
        root = State(search.root)
        await grown.simulate(search, root)
        ended = [state.node for state in root.walk() if state.ended and not state.node.truncated]
        return tree_values(search.problem.id, search.tree, {n.index: await rollouts.correct(n) for n in ended})


def tree_values(problem: str, tree: Tree, grades: Mapping[int, bool]) -> list[Labelled]:
    """One record per graded leaf (node index -> is it right); its steps are the nodes of its path."""
    below: dict[int, list[Node]] = {}
    for node in tree.nodes[1:]:
        if node.kind in (*SOLUTION, Kind.FORCED) and node.parent is not None:
            below.setdefault(node.parent, []).append(node)
    values: dict[int, tuple[float, float, int]] = {}  # value, weight, paths through it
    for node in reversed(tree.nodes):  # children stand after their parents
        if node.index in grades:
            values[node.index] = (float(grades[node.index]), 1.0, 1)
            continue
        children = below.get(node.index, [])
        seen = [(child.multiplicity, *values[child.index]) for child in children if child.index in values]
        if seen:
            drawn = sum(d for d, *_ in seen)
            value = sum(d * v for d, v, _, _ in seen) / drawn
            weight = sum(d * w for d, _, w, _ in seen) / sum(child.multiplicity for child in children)
            values[node.index] = (value, weight, sum(paths for *_, paths in seen))
    return [_record(problem, tree, tree.nodes[leaf], right, values) for leaf, right in grades.items()]


def _record(
    problem: str, tree: Tree, leaf: Node, right: bool, values: Mapping[int, tuple[float, float, int]]
) -> Labelled:
    text, ends, labels = "", list[int](), list[tuple[Label, ...]]()
    for node in tree.path(leaf):
        if node.index not in values:
            continue
        text += node.text
        value, weight, paths = values[node.index]
        if ends and not Segmenter().steps(node.text).steps:  # a closing answer line belongs to the last step
            ends.pop()
            labels.pop()
        source = Source.EXACT if node is leaf else Source.ROLLOUTS
        ends.append(len(text))
        labels.append((Label(Meaning.VALUE, value, source, weight=weight / paths),))
    return Labelled(problem, text, tuple(ends), tuple(labels), right)


__all__ = ["TreeValues", "tree_values"]
