"""Mutual reasoning (Qi et al. 2024, rStar, arXiv:2408.06195): a tree of five human-like actions, grown without any
trained reward, and a second model that must come to the same answers.

    A1  one further step                          at every state
    A2  all remaining steps                       at every state; ends the path
    A3  the next sub-question and its answer      everywhere but after an A1 step
    A4  the last sub-question answered again      after A3; the new answer takes the old one's place
    A5  the question in other words               at the question only

One rollout goes from the question down by UCT, Q / N + c sqrt(ln N_parent / N), where a state has children that were
never visited to one of these at random; that state is expanded, and random children are taken (and expanded) until a
path has ended. Its reward goes to all states above. A2 draws ``votes`` solutions and stands for their majority answer,
whose share is the reward; a path that a step has ended is rewarded by the share of its answer among the votes drawn at
the state before. At ``depth`` - 1 there is only A2, so every rollout ends.

Then the discriminator, in the role ``critic`` (``--role critic=MODEL``): it sees the beginning of each trajectory, a
random 20 to 50 % of its steps, and completes it, ``masks`` times with other cuts. A trajectory is consistent if at
least half of the completions agree with its answer. The consistent one with the largest reward answers; if there is
none, the one with the largest reward.

Of right answers P(critic right | beginning) survive, of wrong ones the chance that the critic makes the same error. So
the filter raises precision exactly where the second is smaller, and a critic that errs as the policy does adds nothing.
Without another model the policy is its own critic.

Differs from the paper: instructions are added to the question instead of few-shot examples; the discriminator is left
out when all trajectories give one answer (the paper: confidence above .999); a state is drawn once, so a rollout that
ends where an earlier one did draws nothing. A sub-question or another wording that ends the text is dropped.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from thence.core.completion import Ability, Finish
from thence.core.errors import UsageError, check_counts
from thence.core.problem import Message
from thence.core.search import Result, Search
from thence.core.tree import Kind, Node
from thence.core.votes import pick

CRITIC = "critic"
LEAST, MOST = 0.2, 0.5  # the share of a trajectory that the discriminator sees
ASK = "Before you go on, write down in one line the next smaller question that helps to answer this one."
REPLY = "Answer the smaller question that was asked last, in one line, with the calculation."
AGAIN = "Answer the smaller question that was asked last, in one line. Check every number against the problem first."
REPHRASE = "Begin by writing down in one line, in other words, what is given and what is asked."
ACTIONS = {  # what may follow: whether a thought (A1), a sub-question (A3), another answer to it (A4), a wording (A5)
    "question": ("thought", "subquestion", "rephrase"),
    "rephrase": ("thought", "subquestion"),
    "subquestion": ("thought", "subquestion", "reanswer"),
    "reanswer": ("thought", "subquestion"),
    "thought": ("thought",),
}


@dataclass(slots=True, eq=False)
class State:
    """A node of the search: the action that led to it, the node its text ends in, and its statistics.

    ``asked`` is the node of the sub-question that its last step answers. Ended ones have an ``answer`` (the key of its
    class, None without one) and a ``reward``.
    """

    action: str
    node: Node
    depth: int = 0
    asked: Node | None = None
    ended: bool = False
    answer: str | None = None
    reward: float = 0.0
    luck: int = 0
    visits: int = 0
    total: float = 0.0
    children: list[State] = field(default_factory=list)

    def walk(self) -> Iterator[State]:
        """This state and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def uct(state: State, c: float) -> State:
    """The visited child that the next rollout goes through; ties by seed."""
    spread = math.log(state.visits)
    return max(state.children, key=lambda s: (s.total / s.visits + c * math.sqrt(spread / s.visits), s.luck))


@dataclass(frozen=True, slots=True)
class RStar:
    """``rollouts`` through a tree of at most ``depth`` actions, of which each state has ``thoughts`` one-step thoughts,
    ``questions`` sub-questions and ``votes`` finished solutions; then ``masks`` completions per trajectory."""

    rollouts: int = 16
    depth: int = 5
    thoughts: int = 2
    questions: int = 2
    votes: int = 4
    masks: int = 4
    c: float = 2.0
    step_tokens: int = 256

    def __post_init__(self) -> None:
        check_counts("rstar", rollouts=self.rollouts, depth=self.depth, votes=self.votes, step_tokens=self.step_tokens)
        check_counts("rstar", 0, thoughts=self.thoughts, questions=self.questions, masks=self.masks)
        if not (math.isfinite(self.c) and self.c >= 0):
            raise UsageError(f"rstar: c is {self.c}; it must be 0 or more")

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text."""
        return frozenset({Ability.CONTINUE})

    async def solve(self, search: Search) -> Result:
        """Grow trajectories, keep the consistent ones, take the one with the largest reward."""
        root = State("question", search.root)
        for rollout in range(self.rollouts):
            if search.stopped:
                break
            await self.roll(search, root, rollout)
        found = [s for s in root.walk() if s.answer is not None]
        kept = found
        notes: tuple[str, ...] = ()
        if self.masks and len({s.answer for s in found}) > 1:
            kept = await self.consistent(search, found)
            notes = (f"{len(kept)} of {len(found)} trajectories are consistent",)
        chosen = kept or found
        return await pick(search, [s.node for s in chosen], [s.reward for s in chosen], notes)

    # --- the tree --------------------------------------------------------------------------------------------------

    async def roll(self, search: Search, root: State, rollout: int) -> None:
        """Down to a state that was not visited, on by chance to an end, and the reward back up."""
        path = [root]
        while path[-1].children:
            fresh = [child for child in path[-1].children if not child.visits]
            path.append(min(fresh, key=lambda s: s.luck) if fresh else uct(path[-1], self.c))
            if fresh:
                break
        while not path[-1].ended and not search.stopped:
            if not path[-1].children:
                await self.expand(search, path[-1])
            if not (options := path[-1].children):
                break
            path.append(options[search.chance("rstar", rollout, len(path)) % len(options)])
        for state in path:
            state.visits += 1
            state.total += path[-1].reward

    async def expand(self, search: Search, state: State) -> None:
        """All children that the actions allowed here make."""
        shares = await self.finish(search, state)
        allowed = ACTIONS[state.action] if state.depth + 1 < self.depth else ()
        if "thought" in allowed and self.thoughts:
            steps = await search.steps(state.node, self.thoughts, cap=self.step_tokens)
            await self.join(search, state, "thought", steps, shares)
        if "subquestion" in allowed and self.questions:
            for asked in await self.line(search, state.node, self.questions, Kind.SUBQUESTION, ASK):
                await self.reply(search, state, "subquestion", asked, REPLY, shares)
        if "reanswer" in allowed and state.asked is not None:
            await self.reply(search, state, "reanswer", state.asked, AGAIN, shares)
        if "rephrase" in allowed:
            worded = await self.line(search, state.node, 1, Kind.REPHRASE, REPHRASE)
            await self.join(search, state, "rephrase", worded, shares)

    async def finish(self, search: Search, state: State) -> dict[str, float]:
        """A2: each answer's share of the votes drawn at ``state``, which gets a child for their majority."""
        votes = await search.expand(state.node, self.votes)
        classes = await search.classes(votes)
        shares = {c.key: len(c.nodes) / len(votes) for c in classes}
        if classes:
            most = search.tie([k for k, share in shares.items() if share == max(shares.values())], "rstar")
            best = next(c for c in classes if c.key == most)
            luck = search.chance("rstar", "finish", best.nodes[0].draws[0])
            child = State("finish", best.nodes[0], state.depth + 1, None, True, most, shares[most], luck)
            state.children.append(child)
        return shares

    async def line(self, search: Search, node: Node, n: int, kind: Kind, instruction: str) -> list[Node]:
        """``n`` lines that are no steps of a solution, drawn under an instruction."""
        caps = [c for c in (self.step_tokens, search.sampling.max_tokens) if c is not None]
        sampling = replace(search.sampling, step_ends=search.segmenter.stop, max_tokens=min(caps))
        told = self.told(search, instruction)
        drawn = await search.expand(node, n, sampling=sampling, kind=kind, messages=told)
        return [line for line in drawn if line.completion.finish is Finish.STEP]

    async def reply(
        self, search: Search, state: State, action: str, asked: Node, instruction: str, shares: dict[str, float]
    ) -> None:
        """An answer to a sub-question, as a child of ``state``."""
        steps = await search.steps(asked, cap=self.step_tokens, messages=self.told(search, instruction))
        await self.join(search, state, action, steps, shares, asked)

    async def join(
        self,
        search: Search,
        state: State,
        action: str,
        nodes: Sequence[Node],
        shares: dict[str, float],
        asked: Node | None = None,
    ) -> None:
        """Children of ``state`` that end in ``nodes``, one per text."""
        for node in {n.index: n for n in nodes}.values():
            ended = node.kind is not Kind.REPHRASE and search.ended(node)
            found = await search.answer(node) if ended else None
            key = None if found is None else search.reading.key(found.value)
            luck = search.chance("rstar", action, node.draws[0])
            child = State(action, node, state.depth + 1, asked, ended, key, shares.get(key or "", 0.0), luck)
            state.children.append(child)

    def told(self, search: Search, instruction: str) -> list[Message]:
        """The question with an instruction after it."""
        *before, last = search.context(search.root).messages
        return [*before, replace(last, content=f"{last.content}\n\n{instruction}")]

    # --- the discriminator -----------------------------------------------------------------------------------------

    async def consistent(self, search: Search, found: Sequence[State]) -> list[State]:
        """Those trajectories whose beginnings the critic completes to the same answer, at least every second time."""
        asked = [(state, self.beginning(search, state.node, mask)) for state in found for mask in range(self.masks)]
        times = Counter(text for _, text in asked)
        begun = [search.given(text) if text else search.root for text in times]
        drawn = iter(await search.expand(begun, list(times.values()), role=CRITIC))
        ends = {text: list(islice(drawn, count)) for text, count in times.items()}
        agreed: Counter[int] = Counter()
        for i, (state, text) in enumerate(asked):
            probe = ends[text].pop(0) if ends[text] else None
            answer = await search.answer(probe) if probe is not None else None
            if answer is not None and search.reading.key(answer.value) == state.answer:
                agreed[i // self.masks] += 1
        return [state for i, state in enumerate(found) if 2 * agreed[i] >= self.masks]

    def beginning(self, search: Search, node: Node, mask: int) -> str:
        """A random 20 to 50 % of a trajectory's steps, at least one of several; nothing of a single one."""
        path = search.tree.path(node)
        pieces = [n.text for n in path[:-1]] + search.segmenter.split(path[-1].text)
        luck = search.chance("rstar", "mask", mask, node.draws[0]) / 2**63
        keep = max(1, round((LEAST + (MOST - LEAST) * luck) * len(pieces)))
        return "".join(pieces[: min(keep, len(pieces) - 1)])


__all__ = ["ACTIONS", "RStar", "State", "uct"]
