"""Tree search by PUCT with a verifier as value, AlphaZero at test time (TS-LLM, Feng et al. 2023, arXiv:2309.17179;
OpenR, arXiv:2410.09671).

A state is the question and some steps. One simulation goes from the root to a state that has not been expanded, each
time to the child with the largest

    Q(s,a) + c(s) P(s,a) sqrt(sum_b N(s,b)) / (1 + N(s,a)),    c(s) = ln((sum_b N(s,b) + 19653) / 19652) + c

draws ``actions`` next steps there, scores them, and adds the state's own value to Q (a mean) and one to N all the way
up. There is one player, so no sign changes.

* Equal draws are one child. ``prior=policy`` gives it its share of the draws, the Monte-Carlo estimate of pi(a|s).
  Samples arrive in proportion to pi already; multiplying by their probability again would count it twice.
* A child is scored when it is drawn, all children of a wave together. That number is its Q until its first visit, and
  what this visit backs up. As it is known before, a visit always expands (TS-LLM waits for the second).
* Ended paths are valued by the verifier, never by a reference, and back up the same value on every visit.
* A wave is up to ``wave`` simulations that are selected one after another, expanded in one call, and backed up in
  order. A visit under way counts in N and not in Q (Liu et al. 2020, arXiv:1810.11755): that pushes the others
  elsewhere and needs no scale for a loss. A wave ends early where the next simulation would come to a state that is
  being expanded, since it would learn nothing there. So the tree depends on the seed and the width alone, every visit
  is worth its draws, and width 1 is the textbook's algorithm.

Differs from the papers: no noise at the root and no temperature over visits (they serve self-play); the root is
expanded before the first simulation, so its children's visits sum to the simulations. Values should lie in [0, 1]: c is
on their scale. Where all of them are small (right answers are rare) 1.25 explores almost evenly; try 0.1 there. A
verifier that compares samples with each other compares the children of one wave.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import Select, select

C_BASE = 19652


@dataclass(slots=True, eq=False)
class State:
    """A node of the search with its statistics. ``draws`` is how many of its parent's draws came out as it."""

    node: Node
    depth: int = 0
    ended: bool = False
    value: float = 0.0  # the verifier's
    prior: float = 1.0
    draws: int = 1
    luck: int = 0  # decides between equals, by seed
    visits: int = 0  # those under way included
    returned: int = 0  # visits that have been backed up
    total: float = 0.0
    children: list[State] = field(default_factory=list)

    @property
    def q(self) -> float:
        """The mean of what was backed up; before that the verifier's value."""
        return self.total / self.returned if self.returned else self.value

    def walk(self) -> Iterator[State]:
        """This state and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def puct(state: State, c: float) -> State:
    """The child that the next simulation goes to; of equals the one with the larger prior, then by seed."""
    visits = sum(child.visits for child in state.children)
    rate = (math.log((visits + C_BASE + 1) / C_BASE) + c) * math.sqrt(visits)
    return max(state.children, key=lambda s: (s.q + rate * s.prior / (1 + s.visits), s.prior, s.luck))


def most_visited(states: Sequence[State]) -> State:
    """The state with the most visits; ties by seed."""
    return max(states, key=lambda s: (s.visits, s.luck))


@dataclass(frozen=True, slots=True)
class Mcts:
    """``simulations`` visits of a tree whose states have up to ``actions`` next steps of at most ``step_tokens``.

    ``mode=rollouts``: all simulations start at the question, then one of all ended paths is chosen as in best-of-N:
    every draw of it counts with its value, visits do not, since they come from the same values. ``mode=moves`` (the
    paper's MCTS-alpha): after ``simulations`` from the present state go to its most visited child, keep what is known
    below it, and go on; the answer is where this ends, or chosen as above when that gives none. If no path has given an
    answer, the most visited one is continued by single draws. Paths are at most ``depth`` steps long.
    """

    verifier: Verifier
    simulations: int = 16
    actions: int = 4
    depth: int = 40
    c: float = 1.25
    wave: int = 1
    mode: Literal["rollouts", "moves"] = "rollouts"
    prior: Literal["policy", "uniform"] = "policy"
    select: Select = "vote"
    step_tokens: int = 256

    def __post_init__(self) -> None:
        check_counts(
            "mcts",
            simulations=self.simulations,
            actions=self.actions,
            depth=self.depth,
            wave=self.wave,
            step_tokens=self.step_tokens,
        )
        if not (math.isfinite(self.c) and self.c >= 0):
            raise UsageError(f"mcts: c is {self.c}; it must be 0 or more")

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text, and what its verifier needs."""
        return self.verifier.needs | {Ability.CONTINUE}

    async def solve(self, search: Search) -> Result:
        """Grow the tree, then choose."""
        root = State(search.root)
        if self.mode == "moves":
            last = await self.move(search, root)
            if last.ended and await search.answer(last.node) is not None:
                return search.result(last.node)
        else:
            await self.simulate(search, root)
        ended = [s.node for s in root.walk() if s.ended for _ in range(s.draws)]
        if all([await search.answer(node) is None for node in ended]):
            ended += await self._completed(search, root)
        return await select(search, ended, self.verifier, self.select, "mcts")

    async def move(self, search: Search, state: State) -> State:
        """The state where most visited children lead, with ``simulations`` before each move."""
        while self._open(state):
            await self.simulate(search, state)
            if search.stopped or not state.children:
                break
            state = most_visited(state.children)
        return state

    async def simulate(self, search: Search, root: State) -> None:
        """``simulations`` simulations from ``root``, in waves; fewer when the budget ends."""
        if not root.children:
            await self.expand(search, [root])
        left = self.simulations if root.children else 0
        while left > 0 and not search.stopped:
            paths = self._wave(root, min(self.wave, left))
            await self.expand(search, [path[-1] for path in paths])
            for path in paths:
                for state in path:
                    state.total += path[-1].value
                    state.returned += 1
            left -= len(paths)

    def _wave(self, root: State, width: int) -> list[list[State]]:
        """The ways of up to ``width`` simulations from ``root`` (included) down, their visits counted."""
        paths: list[list[State]] = []
        while len(paths) < width:
            path = [root]
            while path[-1].children:
                path.append(puct(path[-1], self.c))
            if self._open(path[-1]) and any(path[-1] is other[-1] for other in paths):
                break
            for state in path:
                state.visits += 1
            paths.append(path)
        return paths

    async def expand(self, search: Search, leaves: Sequence[State]) -> None:
        """Draw, merge and score the children of those leaves that can go on, all in one call."""
        at = {leaf.node.index: leaf for leaf in leaves if self._open(leaf)}
        if not at:
            return
        drawn = await search.steps([leaf.node for leaf in at.values()], self.actions, cap=self.step_tokens)
        values = [s.value for s in await search.score(drawn, self.verifier)] if drawn else []
        worth = {node.index: value for node, value in zip(drawn, values, strict=True)}
        for leaf in at.values():
            times = Counter(n.index for n in drawn if _above(search, n, at) is leaf)
            for index, count in times.items():
                share = count / times.total() if self.prior == "policy" else 1 / len(times)
                node = search.tree.nodes[index]
                luck = search.chance("mcts", node.draws[0])
                state = State(node, leaf.depth + 1, search.ended(node), worth[index], share, count, luck)
                leaf.children.append(state)

    def _open(self, state: State) -> bool:
        return not state.ended and state.depth < self.depth

    async def _completed(self, search: Search, state: State) -> list[Node]:
        """The end of the most visited path, continued by single draws; nothing if it does not end."""
        while below := [child for child in state.children if self._open(child)]:
            state = most_visited(below)
        return await search.finish(state.node, self.depth - state.depth, cap=self.step_tokens)


def _above(search: Search, node: Node, states: Mapping[int, State]) -> State:
    """The state that ``node`` was drawn for: not always its parent's, as a step with a stop inside is several nodes."""
    at = node
    while at.index not in states and at.parent is not None:
        at = search.tree.nodes[at.parent]
    return states[at.index]
