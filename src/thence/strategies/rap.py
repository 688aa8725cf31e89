"""Reasoning via planning (Hao et al. 2023, RAP, arXiv:2305.14992): tree search by UCT whose reward is the model's own.

Every step has a reward r = C^alpha P^(1 - alpha): C is how useful the step is found (any verifier's number; the paper's
is the model's own P(Yes)), P how confident the model was of it. One iteration goes down from the question to a state
without children, each time to the child with the largest

    Q(s,a) + w sqrt(ln N(s) / N(s,a)),    Q(s,a) = the largest mean reward of the steps from a to an end found below it

then on to an end: the state is expanded by ``actions`` draws, the child with the largest reward is expanded next, and
so on. A child that was never visited has its reward for Q and counts as one visit. The answer is the end with the
largest mean reward of its whole path (``select=max``), or a vote weighted by it (RAP's aggregation).

It is no setting of ``mcts``: that one stops at the state it expands, backs up the verifier's value of that state by a
mean, and weighs exploration by a prior. Here rewards belong to steps, every iteration reaches an end, and a state is as
good as the best path through it, so one lucky reward is never averaged away.

Differs from the paper: P is the policy's probability per token of the step, where the paper takes the share of sampled
sub-answers that agree; steps are lines of a solution, not sub-questions; the vote weighs each end by its path's mean
reward, not by the rewards of the edges above it. Equal draws are one child. An iteration that comes to a known end
draws nothing. If no end has given an answer, the best state so far is continued by single draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from thence.core.beams import step_rewards
from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts, check_shares
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import Select, decide


@dataclass(slots=True, eq=False)
class State:
    """A node of the search; ``rewards`` are those of all steps of its path, ``best`` the largest mean from here on."""

    node: Node
    rewards: tuple[float, ...] = ()
    ended: bool = False
    luck: int = 0
    visits: int = 0
    best: float = -math.inf
    children: list[State] = field(default_factory=list)

    @property
    def reward(self) -> float:
        """That of its own step."""
        return self.rewards[-1] if self.rewards else 0.0

    @property
    def q(self) -> float:
        """The largest mean reward of the steps from this one to an end; before a visit its own reward."""
        return self.best if self.visits else self.reward

    @property
    def mean(self) -> float:
        """The mean reward of the whole path."""
        return math.fsum(self.rewards) / len(self.rewards) if self.rewards else 0.0

    def walk(self) -> Iterator[State]:
        """This state and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def uct(state: State, w: float) -> State:
    """The child that the next iteration goes to; ties by seed."""
    spread = math.log(max(1, state.visits))
    return max(state.children, key=lambda s: (s.q + w * math.sqrt(spread / max(1, s.visits)), s.luck))


@dataclass(frozen=True, slots=True)
class Rap:
    """``iterations`` of a search with ``actions`` next steps of at most ``step_tokens``, ``depth`` steps deep."""

    verifier: Verifier
    iterations: int = 10
    actions: int = 4
    alpha: float = 0.5
    w: float = 1.0
    depth: int = 40
    step_tokens: int = 256
    select: Select = "max"

    def __post_init__(self) -> None:
        check_counts(
            "rap", iterations=self.iterations, actions=self.actions, depth=self.depth, step_tokens=self.step_tokens
        )
        check_shares("rap", alpha=self.alpha)
        if not (math.isfinite(self.w) and self.w >= 0):
            raise UsageError(f"rap: w is {self.w}; it must be 0 or more")

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text, its log-probabilities unless alpha is 1, and what its verifier needs."""
        own = {Ability.CONTINUE, Ability.LOGPROBS} if self.alpha < 1 else {Ability.CONTINUE}
        return self.verifier.needs | own

    async def solve(self, search: Search) -> Result:
        """Grow the tree, then choose among its ends."""
        root = State(search.root)
        await self.grow(search, root)
        ends = [s for s in root.walk() if s.ended for _ in s.node.draws]
        nodes, worth = [s.node for s in ends], [s.mean for s in ends]
        if all([await search.answer(node) is None for node in nodes]):
            last = max((s for s in root.walk() if not s.ended), key=lambda s: (s.mean, s.luck))
            more = await search.finish(last.node, self.depth - len(last.rewards), cap=self.step_tokens)
            nodes, worth = nodes + more, worth + [last.mean] * len(more)
        return await decide(search, nodes, worth, self.select)

    async def grow(self, search: Search, root: State) -> None:
        """``iterations`` times down by UCT, on to an end by reward, and back up; fewer when the budget ends."""
        for _ in range(self.iterations):
            if search.stopped:
                break
            path = [root]
            while path[-1].children:
                path.append(uct(path[-1], self.w))
            while not path[-1].ended and len(path[-1].rewards) < self.depth and not search.stopped:
                await self.expand(search, path[-1])
                if not path[-1].children:
                    break
                path.append(max(path[-1].children, key=lambda s: (s.reward, s.luck)))
            later: list[float] = []
            for state in reversed(path):
                later.append(state.reward)
                state.visits += 1
                state.best = max(state.best, math.fsum(later) / len(later))

    async def expand(self, search: Search, state: State) -> None:
        """Draw, merge and reward the children of one state."""
        drawn = await search.steps(state.node, self.actions, cap=self.step_tokens)
        nodes = list({n.index: n for n in drawn}.values())
        rewards = await step_rewards(search, nodes, self.verifier, 1 - self.alpha)
        for node, each in zip(nodes, rewards, strict=True):
            luck = search.chance("rap", node.draws[0])
            state.children.append(State(node, each, search.ended(node), luck))
