"""What a begun solution is worth: the share of its completions that end in a right answer.

The estimate of V(prefix) from n rollouts has mean V and variance V (1 - V) / n. "At least one of n is right" is another
quantity, 1 - (1 - V)^n: it says whether the completer can still get there, and grows with n for every V above 0.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from thence.core.completion import Finish
from thence.core.errors import CallFailed
from thence.core.labels import Label, Source
from thence.core.problem import Problem
from thence.core.scores import Meaning
from thence.core.search import POLICY, Search
from thence.core.tree import Node

IsCorrect = Callable[[Node], Awaitable[bool]]  # the task's verdict on a path that ended
# What a task knows of the steps of a text that end at these offsets: is each true (None: it cannot say)?
Judged = Callable[[Problem, str, Sequence[int]], list[bool | None]]
# And where it knows that: the exact chance of a right answer after each of them.
Valued = Callable[[Problem, str, Sequence[int]], list[float]]
COMPLETER = "completer"  # the role of a model that completes what another one has begun
NORMAL = 1.959964  # 97.5 % of a normal law lie below


@dataclass(frozen=True, slots=True)
class Truth:
    """What a task knows of written steps."""

    judged: Judged
    valued: Valued | None = None


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

    @property
    def interval(self) -> tuple[float, float]:
        """The value's 95 % interval (Wilson)."""
        n, z2 = self.rollouts, NORMAL**2
        middle = (self.value + z2 / (2 * n)) / (1 + z2 / n)
        half = NORMAL / (1 + z2 / n) * (self.value * (1 - self.value) / n + z2 / (4 * n * n)) ** 0.5
        return max(0.0, middle - half), min(1.0, middle + half)

    def __add__(self, other: Estimate) -> Estimate:
        """Both together."""
        return Estimate(self.successes + other.successes, self.rollouts + other.rollouts, self.wrong + other.wrong)


@dataclass(slots=True)
class Rollouts:
    """Estimates for the prefixes of one problem; equal prefixes of different solutions share theirs.

    Completions are drawn by the search's ``completer`` role (the policy, unless another model plays it); ``correct``
    grades them; ``truth``, where the task has it, says what is exactly known of written steps. ``drawn`` counts all
    rollouts. A rollout that the budget cut tells nothing and is left out.
    """

    search: Search
    correct: IsCorrect
    completer: str = POLICY
    truth: Truth | None = None
    drawn: int = 0
    _places: dict[str, Node] = field(default_factory=dict)
    _known: dict[str, Estimate] = field(default_factory=dict)

    async def estimate(self, prefixes: Sequence[str], n: int) -> list[Estimate]:
        """One estimate per prefix from ``n`` rollouts each, all in flight together; a known one is not made again."""
        fresh = [p for p in dict.fromkeys(prefixes) if p not in self._known]
        await self.more(fresh, [n] * len(fresh))
        return [self._known[p] for p in prefixes if p in self._known]

    async def more(self, prefixes: Sequence[str], counts: Sequence[int]) -> list[Node]:
        """``counts`` more rollouts of each of these different prefixes, added to their estimates. Returns the ended
        paths, of which there are fewer when the budget ends."""
        if not prefixes:
            return []
        places = [self.place(p) for p in prefixes]
        self._check_context(places)
        nodes = await self.search.expand(places, counts, role=self.completer)
        self.drawn += len(nodes)
        at = 0
        for prefix, count in zip(prefixes, counts, strict=True):
            await self.count(prefix, nodes[at : at + count])
            at += count
        return nodes

    async def count(self, prefix: str, paths: Sequence[Node]) -> None:
        """Add finished completions of ``prefix`` to its estimate."""
        paths = [node for node in paths if node.completion.finish is not Finish.BUDGET]
        verdicts = [await self.correct(node) for node in paths]
        if paths:
            wrong = tuple(node for node, right in zip(paths, verdicts, strict=True) if not right)
            made = Estimate(sum(verdicts), len(paths), wrong)
            self._known[prefix] = self._known[prefix] + made if prefix in self._known else made

    def known(self, prefix: str) -> Estimate | None:
        """What is known of a prefix so far."""
        return self._known.get(prefix)

    def place(self, prefix: str) -> Node:
        """The node from which ``prefix`` is completed."""
        if not prefix:
            return self.search.root
        if prefix not in self._places:
            self._places[prefix] = self.search.given(prefix)
        return self._places[prefix]

    def label(self, estimate: Estimate) -> Label:
        """An estimate as a label of VALUE."""
        who = self.search.generator(self.completer).identity
        return Label(Meaning.VALUE, estimate.value, Source.ROLLOUTS, estimate.successes, estimate.rollouts, who)

    def _check_context(self, places: Sequence[Node]) -> None:
        """CallFailed for a begun solution that leaves no room in the completer's context."""
        generator = self.search.generator(self.completer)
        if generator.max_context is None:
            return
        longest = max(places, key=lambda node: len(node.text))
        ids = generator.tokens(self.search.context(longest))
        if ids is not None and len(ids) >= generator.max_context:
            raise CallFailed(
                f"a begun solution has {len(ids)} tokens with its prompt, and the context {generator.max_context}; "
                "complete it by a model with a longer context, or leave this solution out",
                "context_length",
            )


def outcome(correct: bool) -> Label:
    """The label of a solution's last step: its own verdict, no rollouts needed."""
    return Label(Meaning.VALUE, float(correct), Source.EXACT)
