"""Samples of one search as entrants of a tournament: drawn once, compared by the role ``judge``, charged to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .completion import Finish
from .errors import UsageError
from .preferences import Pair, in_both_orders, question, said_better
from .problem import Message
from .search import Result, Search, Vote
from .tournaments import Standing
from .tree import Kind, Node

JUDGE = "judge"


@dataclass(slots=True)
class Contest:
    """The different answers of one search, and how they are compared. ``unread`` counts replies without a verdict.

    As everywhere, a text in which no answer can be read is chosen only if there is none in any. For open questions the
    whole text is the answer: ``--extract "(?s)(.+)"``.
    """

    search: Search
    entrants: list[Node]
    orders: int
    criteria: str
    max_tokens: int
    asked: int = 0
    unread: int = field(default=0)

    @classmethod
    async def drawn(cls, search: Search, n: int, orders: int, criteria: str, max_tokens: int) -> Contest:
        """``n`` samples; equal ones are one entrant, and those with text come before those without."""
        if orders not in (1, 2):
            raise UsageError(f"a judge is asked in 1 or 2 orders, not {orders}")
        nodes = await search.expand(n=n)
        for node in nodes:
            await search.answer(node)
        unique = list({node.index: node for node in nodes}.values())
        whole = [n for n in unique if n.completion.finish is not Finish.BUDGET and n.completion.reply.strip()]
        answered = [n for n in unique if n.found is not None]
        return cls(search, answered or whole or unique[:1], orders, criteria, max_tokens)

    @property
    def seed(self) -> int:
        """Who meets whom first: the same for the same run seed and problem."""
        return self.search.chance("tournament")

    async def judge(self, places: Sequence[tuple[int, int]]) -> list[float | None]:
        """One share per pair of places; None where the judge said nothing readable, or the budget ended."""
        pairs = [Pair(self.search.problem.text, self._text(a), self._text(b)) for a, b in places]
        about = [self.entrants[a] for a, _ in places]
        if self.orders == 1:
            return await self._said(pairs, about)
        said = await self._said([*pairs, *(p.swapped for p in pairs)], [*about, *about])
        return in_both_orders(said[: len(pairs)], said[len(pairs) :])

    async def _said(self, pairs: Sequence[Pair], about: Sequence[Node]) -> list[float | None]:
        cap = min(c for c in (self.max_tokens, self.search.sampling.max_tokens) if c is not None)
        replies = await self.search.ask(
            [[Message("user", question(pair, self.criteria))] for pair in pairs],
            about=about,
            role=JUDGE,
            kind=Kind.CRITIQUE,
            sampling=replace(self.search.sampling.greedy(), max_tokens=cap),
        )
        shares = [None if r.truncated else said_better(r.completion.reply) for r in replies]
        self.asked += len(shares)
        self.unread += shares.count(None)
        return [*shares, *[None] * (len(pairs) - len(shares))]

    def _text(self, place: int) -> str:
        return self.entrants[place].completion.reply

    def alone(self) -> Result:
        """The result of a contest that has at most one entrant."""
        return self.search.result(self.entrants[0] if self.entrants else None, notes=["nothing to compare"])

    def won(self, standing: Standing) -> Result:
        """The result: the winner, its share of points among all, and how every entrant did."""
        won = self.entrants[standing.winner]
        votes = [
            Vote(_shown(self.entrants[e]), self.entrants[e].multiplicity, standing.points[e]) for e in standing.order
        ]
        notes = [f"{len(standing.matches)} matches, {self.asked} verdicts asked for, {self.unread} of them unreadable"]
        total = sum(standing.points)
        share = standing.points[standing.winner] / total if total else None
        return self.search.result(won, confidence=share, votes=votes, notes=notes)


def _shown(node: Node) -> str:
    """An entrant in a list: its answer, else how its text begins."""
    return node.found.value if node.found is not None else node.completion.reply.strip()[:60]


__all__ = ["JUDGE", "Contest"]
