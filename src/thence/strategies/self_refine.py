"""Self-refinement without a reference (the loop of Huang et al. 2023, arXiv:2310.01798): answer, "review your previous
answer", "improve it", and so on in one chat.

Let p be the chance that the first answer is right, t and f the chances that a review flags a wrong and a right answer,
s and 1 - rho those that the improvement mends a wrong and spoils a right one. One round gives

    p' = p [1 - f (1 - rho)] + (1 - p) t s,

a gain only if (1 - p) t s > p f (1 - rho): with a review that knows nothing (t = f) a strong solver loses for any
rho < 1. A loop that is stopped by the reference (revise only what is wrong) has p' = p + (1 - p) t s and cannot lose,
which fakes a gain; a strategy has no reference, so that arm cannot be built here. What it costs, reviews included, is
charged: compare at equal tokens with self-consistency.

``critic=off`` asks to solve the question again without a review, the control for what the reviews say. The reviewer is
the role ``critic``: another model where one is given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from thence.core.completion import Ability
from thence.core.errors import check_counts
from thence.core.problem import Message
from thence.core.review import AGAIN, IMPROVE, REVIEW, asked, found_nothing, said
from thence.core.search import Result, Search
from thence.core.tree import Kind, Node

CRITIC = "critic"


@dataclass(frozen=True, slots=True)
class SelfRefine:
    """At most ``rounds`` reviews and improvements of one solution; the last one that has an answer is given.

    ``stop=critic`` ends at the first review that finds nothing (or says nothing), ``stop=never`` improves in every
    round. A review has at most ``critique_tokens`` tokens.
    """

    rounds: int = 2
    stop: Literal["critic", "never"] = "critic"
    critic: Literal["on", "off"] = "on"
    critique_tokens: int = 512

    def __post_init__(self) -> None:
        check_counts("self-refine", 0, rounds=self.rounds)
        check_counts("self-refine", critique_tokens=self.critique_tokens)

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond answering in a chat."""
        return frozenset()

    async def solve(self, search: Search) -> Result:
        """Answer, then review and improve."""
        nodes = await search.expand()
        if not nodes:
            return search.result(None)
        best = now = nodes[0]
        await search.answer(best)
        chat = [*asked(search), said(search, now)]
        for _ in range(0 if search.stopped else self.rounds):
            request = Message("user", AGAIN)
            if self.critic == "on":
                critique = await self._review(search, chat, now)
                if critique is None or (self.stop == "critic" and found_nothing(critique)):
                    break
                if critique.completion.reply.strip():
                    chat += [Message("user", REVIEW), Message("assistant", critique.completion.reply)]
                    request = Message("user", IMPROVE)
            chat.append(request)
            improved = await search.ask([chat], about=[now], kind=Kind.REVISION, sampling=search.sampling)
            if not improved:
                break
            now = improved[0]
            if await search.answer(now) is not None or await search.answer(best) is None:
                best = now
            if search.stopped:
                break
            chat.append(said(search, now))
        return search.result(best)

    async def _review(self, search: Search, chat: list[Message], now: Node) -> Node | None:
        """One review of the last answer; None when the budget left no whole one."""
        cap = min(c for c in (self.critique_tokens, search.sampling.max_tokens) if c is not None)
        notes = await search.ask(
            [[*chat, Message("user", REVIEW)]],
            about=[now],
            role=CRITIC,
            sampling=replace(search.sampling, max_tokens=cap),
        )
        return notes[0] if notes and not search.stopped else None
