"""OmegaPRM (Luo et al. 2024, arXiv:2406.06592): find the step where a wrong solution died by binary search, in a tree.

States are begun solutions. From each, k rollouts give MC(s), the share of right ones. The pool holds the wrong rollouts
of states with 0 < MC < 1; the next one searched is the largest Q + U,

    Q(s, r) = alpha^(1 - MC(s)) * beta^(len(r) / L)        likely right but wrong, and short, first
    U(s)    = c * sqrt(sum of N) / (1 + N(s))              N(s): how often s was selected

Binary search over its M steps asks about ceil(log2 M) prefixes instead of M: right answers from the middle mean that
the error comes later. Every prefix that is still alive becomes a state, and its wrong rollouts join the pool.

This finds the step after which no rollout succeeds any more; where a completer recovers from mistakes that is later
than the first invalid step. A living prefix looks dead with probability (1 - V)^k.

Public code differs, and loses by it: it counts N when it estimates and not when it selects, so one rollout can be
selected for ever; it refreshes only the selected state's entries; and it grades by substring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thence.core.errors import UsageError, check_counts
from thence.core.labels import Label, Labelled
from thence.core.tree import Node

from .math_shepherd import step_ends
from .rollouts import Estimate, Rollouts, outcome


@dataclass(slots=True)
class _State:
    """A begun solution with its rollouts; ``selected`` is N(s)."""

    prefix: str
    estimate: Estimate
    selected: int = 0


@dataclass(frozen=True, slots=True)
class OmegaPRM:
    """``k`` rollouts per state, at most ``searches`` binary searches per problem; the rest are the paper's constants.

    ``length`` is L, in words.
    """

    k: int = 8
    searches: int = 100
    alpha: float = 0.5
    beta: float = 0.9
    length: int = 500
    c: float = 0.125

    def __post_init__(self) -> None:
        check_counts("omegaprm", k=self.k, searches=self.searches, length=self.length)
        for name in ("alpha", "beta"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"omegaprm: {name} is {getattr(self, name)}; it must be above 0 and at most 1")

    async def annotate(self, rollouts: Rollouts) -> list[Labelled]:
        """One record per searched rollout, with labels where the search has looked."""
        found = await rollouts.estimate([""], self.k)
        if not found:
            return []
        states = {"": _State("", found[0])}
        pool = self._entries(states[""])
        records = []
        for _ in range(self.searches):
            if not pool:
                break
            state, node = max(pool, key=lambda entry: self._worth(entry[0], entry[1], states))
            pool.remove((state, node))
            state.selected += 1
            record, alive = await self._search(rollouts, state, node)
            records.append(record)
            for prefix, estimate in alive.items():
                if prefix not in states:
                    states[prefix] = _State(prefix, estimate)
                    pool += self._entries(states[prefix])
            if rollouts.search.stopped:
                break
        return records

    def _worth(self, state: _State, node: Node, states: dict[str, _State]) -> float:
        total = sum(s.selected for s in states.values())
        quality = self.alpha ** (1 - state.estimate.value) * self.beta ** (len(node.text.split()) / self.length)
        return float(quality + self.c * total**0.5 / (1 + state.selected))

    @staticmethod
    def _entries(state: _State) -> list[tuple[_State, Node]]:
        return [(state, node) for node in state.estimate.wrong] if state.estimate.successes else []

    async def _search(self, rollouts: Rollouts, state: _State, node: Node) -> tuple[Labelled, dict[str, Estimate]]:
        """Binary search for the first dead step of one wrong rollout."""
        text = state.prefix + node.text
        ends = step_ends(rollouts, text)
        begun = sum(e <= len(state.prefix) for e in ends)  # steps that the state has already
        labels: dict[int, Label] = {begun - 1: rollouts.label(state.estimate)} if begun else {}
        alive: dict[str, Estimate] = {}
        low, high = begun, len(ends)  # after ``low`` steps it lives, after ``high`` it is dead: the answer is wrong
        labels[len(ends) - 1] = outcome(correct=False)
        while high - low > 1:
            middle = (low + high) // 2
            got = await rollouts.estimate([text[: ends[middle - 1]]], self.k)
            if not got:
                break
            labels[middle - 1] = rollouts.label(got[0])
            if got[0].successes:
                low = middle
                alive[text[: ends[middle - 1]]] = got[0]
            else:
                high = middle
        rows = tuple((labels[i],) if i in labels else () for i in range(len(ends)))
        record = Labelled(rollouts.search.problem.id, text, ends, rows, correct=False, extra={"first_dead": high - 1})
        return record, alive


def first_dead(records: Sequence[Labelled]) -> list[int]:
    """Index (from 0) of the step where each searched rollout died."""
    return [int(r.extra["first_dead"]) for r in records]
