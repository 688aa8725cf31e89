"""What a strategy found for one problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .budget import Ledger
from .problem import Problem
from .tree import Node, Tree


@dataclass(frozen=True, slots=True)
class Vote:
    """One class of equal answers: how many samples gave it and the weight they had together."""

    answer: str
    count: int
    weight: float


@dataclass(frozen=True, slots=True)
class AnswerClass:
    """Nodes with the same answer, each listed once per draw, in seed order."""

    key: str
    answer: str
    nodes: tuple[Node, ...]


@dataclass(slots=True)
class Result:
    """What a strategy found for one problem.

    ``confidence`` is the strategy's own number in [0, 1] (agreement for votes) or None. ``stopped`` says why it ended
    early (``budget``), None when it ran its course. ``node`` is the chosen trace's last node. ``lost`` counts the draws
    of a pool's models that are gone, by role.
    """

    problem: Problem
    answer: str | None
    confidence: float | None
    node: Node | None
    tree: Tree
    ledger: Ledger
    stopped: str | None = None
    votes: tuple[Vote, ...] = ()
    notes: tuple[str, ...] = ()
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def trace(self) -> str:
        """The chosen solution, from its first step to its end."""
        return self.tree.solution(self.node) if self.node is not None else ""

    @property
    def reply(self) -> str:
        """The chosen solution without its thought: what is graded."""
        return "" if self.node is None else self.trace[self.tree.reply_at(self.node) :]

    @property
    def truncated(self) -> bool:
        """Whether the chosen solution was cut."""
        return self.node is not None and self.node.truncated

    def record(self) -> dict[str, Any]:
        """The result as plain JSON values (no reference, no verdict: those are the task's)."""
        charged, spent = self.ledger.total_charged, self.ledger.total_spent
        return {
            "problem": self.problem.id,
            "hash": self.problem.hash,
            "answer": self.answer,
            "confidence": self.confidence,
            "node": self.node.index if self.node is not None else None,
            "stopped": self.stopped,
            "truncated": self.truncated,
            "votes": [[v.answer, v.count, v.weight] for v in self.votes],
            "notes": list(self.notes),
            "charged": {k: getattr(charged, k) for k in ("prompt", "generated", "verifier")},
            "spent": {k: getattr(spent, k) for k in ("prefilled", "reused", "generated", "wasted", "verifier")},
            "tree": self.tree.record(),
        }
