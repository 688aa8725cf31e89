"""Self-check (Luo et al. 2023, arXiv:2310.04815): where the vote is not sure, ask the model to confirm the answer.

``n`` samples vote. A winner whose certainty (its share of the samples) is at least ``c`` stands. Otherwise the model is
asked about the answers in the order of their votes, "Is the answer A correct (Yes/No)?", and the first one that it
confirms is given; if it confirms none, the vote's winner is.

Below c, with the answers in the order a_1 … a_m and y_i the chance that a_i is confirmed, the answer is

    a_i with chance y_i (1 - y_1) … (1 - y_(i-1)), and a_1 with what is left.

A model that confirms right and wrong answers alike only moves votes away from the winner, and each question costs a
call that a vote could have had. One that confirms nothing but right answers finds the right one wherever it was
sampled: that arm needs the reference.

The confirming model is the role ``critic``: another one where one is given. A reply that is neither yes nor no
confirms nothing; the result's notes count them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from thence.core.completion import Ability, Finish
from thence.core.errors import check_counts, check_shares
from thence.core.problem import Message
from thence.core.review import asked, said
from thence.core.search import AnswerClass, Result, Search
from thence.core.verdicts import CONFIRM_NAMED, said_yes
from thence.core.votes import elect

CRITIC = "critic"


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """A vote of ``n`` samples, checked below the certainty ``c``; a verdict has at most ``verdict_tokens`` tokens."""

    n: int = 8
    c: float = 0.8
    verdict_tokens: int = 16

    def __post_init__(self) -> None:
        check_counts("self-check", n=self.n, verdict_tokens=self.verdict_tokens)
        check_shares("self-check", c=self.c)

    @property
    def width(self) -> int:
        """Samples per problem."""
        return self.n

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing beyond answering in a chat."""
        return frozenset()

    async def solve(self, search: Search) -> Result:
        """Sample, vote, and ask."""
        nodes = await search.expand(n=self.n)
        classes = await search.classes(nodes)
        vote = elect(search, classes, len(nodes))
        if search.stopped or not classes or (vote.confidence or 0.0) >= self.c:
            return vote
        verdicts: list[bool | None] = []
        for group in by_votes(search, classes):
            if not await self.ask(search, group, verdicts):
                break
            if verdicts[-1]:
                return self.close(search, group, vote, len(nodes), verdicts)
        return self.close(search, None, vote, len(nodes), verdicts)

    async def ask(self, search: Search, group: AnswerClass, verdicts: list[bool | None]) -> bool:
        """Add the model's verdict on one answer; False when the budget left none."""
        node = group.nodes[0]
        request = Message("user", CONFIRM_NAMED.format(answer=group.answer))
        cap = min(c for c in (self.verdict_tokens, search.sampling.max_tokens) if c is not None)
        replies = await search.ask(
            [[*asked(search), said(search, node), request]],
            about=[node],
            role=CRITIC,
            sampling=replace(search.sampling.greedy(), max_tokens=cap),
        )
        if not replies or replies[0].completion.finish is Finish.BUDGET:
            return False
        verdicts.append(said_yes(replies[0].completion.reply))
        return True

    def close(
        self, search: Search, group: AnswerClass | None, vote: Result, drawn: int, verdicts: Sequence[bool | None]
    ) -> Result:
        """The confirmed answer, or the vote's, with what was asked."""
        note = f"{len(verdicts)} of {len(vote.votes)} answers asked about, {'one' if group else 'none'} confirmed"
        silent = sum(v is None for v in verdicts)
        notes = [note + (f"; {silent} replies were neither yes nor no" if silent else "")]
        if group is None:
            return search.result(
                vote.node, confidence=vote.confidence, votes=vote.votes, notes=notes, answer=vote.answer
            )
        share = len(group.nodes) / drawn
        return search.result(group.nodes[0], confidence=share, votes=vote.votes, notes=notes, answer=group.answer)


def by_votes(search: Search, classes: Sequence[AnswerClass]) -> list[AnswerClass]:
    """The classes in the order of their votes, equal ones by seed: the first is the one that a vote elects."""
    return sorted(classes, key=lambda c: (-len(c.nodes), search.chance(c.key), c.key))
