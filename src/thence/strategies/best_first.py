"""Search by value over a tree of steps (Tree of Thoughts, Yao et al. 2023, arXiv:2305.10601).

A state is the question and some steps; expanding it draws ``actions`` next steps and scores them. Which states are
expanded:

* ``best``: always the open state that the verifier likes most, wherever it is;
* ``depth``: the best new child first, and back to the last open state when a path has ended or its value is below
  ``threshold`` (the paper's depth-first search);
* ``breadth``: level by level the ``keep`` best of all children (the paper's breadth-first search, its b).

Every ended path that was met is chosen from as in best-of-N.

Differs from the paper: values come from a verifier, and any can be used; steps are sampled, never listed by a prompt;
the search goes on after the first ended path as long as expansions are left. ``threshold`` is an absolute value as in
the paper: a share of the parent's value (the pruning of TS-LLM, arXiv:2309.17179) would let a path sink step by step.
Equal draws are one state, expanded once, and ties go by seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import Select, ranked, select


@dataclass(frozen=True, slots=True)
class BestFirst:
    """``expansions`` times ``actions`` draws of at most ``step_tokens``, in the given ``order``, the question's first.

    Paths are at most ``depth`` steps long. If no path has given an answer when all expansions are used up, or all
    others are pruned, the best state that was not expanded is continued by single draws.
    """

    verifier: Verifier
    expansions: int = 32
    actions: int = 4
    order: Literal["best", "depth", "breadth"] = "best"
    threshold: float = 0.0
    keep: int = 5
    depth: int = 40
    select: Select = "vote"
    step_tokens: int = 256

    def __post_init__(self) -> None:
        check_counts(
            "best-first",
            expansions=self.expansions,
            actions=self.actions,
            keep=self.keep,
            depth=self.depth,
            step_tokens=self.step_tokens,
        )
        if self.threshold and self.order != "depth":
            raise UsageError(f"best-first: threshold is for order=depth, and order is {self.order}; leave one out")

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text, and what its verifier needs."""
        return self.verifier.needs | {Ability.CONTINUE}

    async def solve(self, search: Search) -> Result:
        """Expand what is next in the given order, until nothing is open or all expansions are used up."""
        ended: list[Node] = []
        worth: dict[int, float] = {}
        level = {search.root.index: 0}
        unexpanded: list[Node] = []  # pruned ones included
        front: list[Node] = []  # the next one first
        chosen, left = [search.root], self.expansions
        while chosen and not search.stopped:
            left -= len(chosen)
            drawn = await search.steps(chosen, self.actions, cap=self.step_tokens)
            scores = await search.score(drawn, self.verifier) if drawn else []
            fresh = [n for n in {n.index: n for n in drawn}.values() if n.index not in worth]
            worth.update((node.index, score.value) for node, score in zip(drawn, scores, strict=True))
            level.update((node.index, level[chosen[0].index] + 1) for node in fresh)
            ended += [node for node in drawn if search.ended(node)]
            fresh = [n for n in fresh if not search.ended(n) and level[n.index] < self.depth]
            unexpanded += fresh
            front = self._front(search, front, fresh, worth)
            width = self.keep if self.order == "breadth" else 1
            chosen, front = front[: min(width, left)], front[min(width, left) :]
            unexpanded = [n for n in unexpanded if n not in chosen]
        if unexpanded and all([await search.answer(node) is None for node in ended]):
            best = ranked(search, unexpanded, worth)[0]
            ended += await search.finish(best, self.depth - level[best.index], cap=self.step_tokens)
        return await select(search, ended, self.verifier, self.select, "best-first")

    def _front(self, search: Search, front: list[Node], fresh: list[Node], worth: Mapping[int, float]) -> list[Node]:
        """The open states after an expansion, the next one first."""
        if self.order == "breadth":
            return ranked(search, fresh, worth)  # what is left of the level above is given up
        if self.order == "depth":
            return ranked(search, [n for n in fresh if worth[n.index] >= self.threshold], worth) + front
        return ranked(search, front + fresh, worth)
