"""What a begun solution is worth: the share of its completions that end in a right answer.

The estimate of V(prefix) from n rollouts has mean V and variance V (1 - V) / n. "At least one of n is right" is another
quantity, 1 - (1 - V)^n: it says whether the completer can still get there, and grows with n for every V above 0.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from thence.core.completion import Finish
from thence.core.labels import Label, Source
from thence.core.scores import Meaning
from thence.core.search import POLICY, Search
from thence.core.tree import Node

IsCorrect = Callable[[Node], Awaitable[bool]]  # the task's verdict on a path that ended


@dataclass(frozen=True, slots=True)
class Estimate:
    """Right answers among the rollouts of a prefix; ``wrong`` are the paths that ended wrong."""

    successes: int
    rollouts: int
    wrong: tuple[Node, ...] = ()

    @property
    def value(self) -> float:
        """Share of right answers."""
        return self.successes / self.rollouts


@dataclass(slots=True)
class Rollouts:
    """Estimates for the prefixes of one problem, each made once: equal prefixes of different solutions share theirs.

    Completions are drawn by the search's policy; ``correct`` grades them. ``drawn`` counts all rollouts.
    """

    search: Search
    correct: IsCorrect
    drawn: int = 0
    _places: dict[str, Node] = field(default_factory=dict)
    _known: dict[str, Estimate] = field(default_factory=dict)

    async def estimate(self, prefixes: Sequence[str], n: int) -> list[Estimate]:
        """One estimate per prefix from ``n`` rollouts each, all in flight together."""
        fresh = [p for p in dict.fromkeys(prefixes) if p not in self._known]
        if fresh:
            nodes = await self.search.expand([self.place(p) for p in fresh], n)
            self.drawn += len(nodes)
            for i, prefix in enumerate(fresh):
                paths = nodes[i * n : (i + 1) * n]
                verdicts = [node.completion.finish is not Finish.BUDGET and await self.correct(node) for node in paths]
                wrong = tuple(node for node, right in zip(paths, verdicts, strict=True) if not right)
                if paths:
                    self._known[prefix] = Estimate(sum(verdicts), len(paths), wrong)
        return [self._known[p] for p in prefixes if p in self._known]

    def place(self, prefix: str) -> Node:
        """The node from which ``prefix`` is completed."""
        if not prefix:
            return self.search.root
        if prefix not in self._places:
            self._places[prefix] = self.search.given(prefix)
        return self._places[prefix]

    def label(self, estimate: Estimate) -> Label:
        """An estimate as a label of VALUE."""
        completer = self.search.generator(POLICY).identity
        return Label(
            Meaning.VALUE, estimate.value, Source.ROLLOUTS, estimate.successes, estimate.rollouts, completer=completer
        )


def outcome(correct: bool) -> Label:
    """The label of a solution's last step: its own verdict, no rollouts needed."""
    return Label(Meaning.VALUE, float(correct), Source.EXACT)
