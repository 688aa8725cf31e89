"""Critic-guided search: where no next step is good, ask what is wrong and try once more.

Best-first search by steps. A state whose new steps all score below ``threshold`` gets one critique of the best of them,
by the role ``critic``, and ``retries`` more steps, drawn by the policy with that step and the critique below the
question. They join the others as siblings: scored, expanded and chosen by the same rules, so a critique can only add.

There is no paper: the idea is an open proposal for OpenR ("self-refining during tree search"), the definition our own.
What a critique is worth shows against its controls, which draw as many steps: ``critic=random`` gives a remark that was
written for no step, ``critic=off`` draws the retries plainly. A critique that finds nothing, or is empty, also leads to
plain ones. ``threshold=0`` never retries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from thence.core.completion import Ability
from thence.core.errors import check_counts
from thence.core.problem import Message
from thence.core.review import REVIEW_STEP, asked, found_nothing, hinted, said
from thence.core.search import Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import Select, ranked, select

CRITIC = "critic"
HINT = "A first try at the next step was:\n{step}\nA reviewer says about it:\n{remark}\nWrite a better one."
REMARKS = (
    "The numbers in this step do not belong together.",
    "This step leaves something out that the question asks for.",
    "The operation in this step is not the one that is needed.",
    "This step repeats what is known already.",
    "The result of this step is too large to be right.",
)


@dataclass(frozen=True, slots=True)
class CriticGuided:
    """``expansions`` states with ``actions`` draws each, the most valued first, and ``retries`` more after a critique.

    Paths are at most ``depth`` steps of at most ``step_tokens`` long; a critique has at most ``critique_tokens``. If no
    path has given an answer by then, the best open state is continued by single draws.
    """

    verifier: Verifier
    expansions: int = 32
    actions: int = 4
    threshold: float = 0.5
    retries: int = 1
    critic: Literal["model", "random", "off"] = "model"
    depth: int = 40
    select: Select = "vote"
    step_tokens: int = 256
    critique_tokens: int = 256

    def __post_init__(self) -> None:
        check_counts(
            "critic-guided",
            expansions=self.expansions,
            actions=self.actions,
            retries=self.retries,
            depth=self.depth,
            step_tokens=self.step_tokens,
            critique_tokens=self.critique_tokens,
        )

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text, and what its verifier needs."""
        return self.verifier.needs | {Ability.CONTINUE}

    async def solve(self, search: Search) -> Result:
        """Expand the best open state; retry where nothing good came."""
        ended: list[Node] = []
        worth: dict[int, float] = {}
        level = {search.root.index: 0}
        front = [search.root]
        for _ in range(self.expansions):
            if search.stopped or not front:
                break
            state, front = front[0], front[1:]
            drawn = await self._drawn(search, state, worth)
            ended += [node for node in drawn if search.ended(node)]
            fresh = [n for n in {n.index: n for n in drawn}.values() if n.index not in level]
            level.update((n.index, level[state.index] + 1) for n in fresh)
            front = ranked(search, [*front, *(n for n in fresh if self._open(search, n, level))], worth)
        if front and all([await search.answer(node) is None for node in ended]):
            ended += await search.finish(front[0], self.depth - level[front[0].index], cap=self.step_tokens)
        return await select(search, ended, self.verifier, self.select, "critic-guided")

    async def _drawn(self, search: Search, state: Node, worth: dict[int, float]) -> list[Node]:
        """The next steps of one state, retries included, their values noted in ``worth``."""
        drawn = await search.steps([state], self.actions, cap=self.step_tokens)
        await self._score(search, drawn, worth)
        if not drawn or max(worth[n.index] for n in drawn) >= self.threshold:
            return drawn
        messages = await self._hint(search, ranked(search, drawn, worth)[0])
        if search.stopped:
            return drawn
        again = await search.steps([state], self.retries, cap=self.step_tokens, messages=messages)
        await self._score(search, again, worth)
        return [*drawn, *again]

    async def _score(self, search: Search, nodes: Sequence[Node], worth: dict[int, float]) -> None:
        scores = await search.score(nodes, self.verifier) if nodes else []
        worth.update((node.index, score.value) for node, score in zip(nodes, scores, strict=True))

    async def _hint(self, search: Search, step: Node) -> tuple[Message, ...] | None:
        """The question with the step and what was said about it; None where there is nothing to say."""
        if self.critic == "off" or search.stopped:
            return None
        if self.critic == "random":
            remark = REMARKS[search.chance("remark", step.draws[0]) % len(REMARKS)]
        else:
            chat = [*asked(search), said(search, step), Message("user", REVIEW_STEP)]
            sampling = replace(search.sampling, max_tokens=self.critique_tokens)
            critiques = await search.ask([chat], about=[step], role=CRITIC, sampling=sampling)
            if not critiques or found_nothing(critiques[0]):
                return None
            remark = critiques[0].completion.reply
        return hinted(asked(search), HINT.replace("{step}", step.text.strip()).replace("{remark}", remark.strip()))

    def _open(self, search: Search, node: Node, level: dict[int, int]) -> bool:
        return not search.ended(node) and level[node.index] < self.depth


__all__ = ["CriticGuided"]
