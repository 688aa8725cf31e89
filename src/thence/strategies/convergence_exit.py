"""Convergence exit: stop thinking when the answer has settled.

After every ``every`` tokens the text so far is asked for its answer: a forced text and a few greedy tokens beside the
path, on the cached prefix, charged, and not read by what follows, so the text goes on as it would have. When the last
``patience`` probes gave the same answer, that is the answer and the rest is not written. A text that ends by itself is
read as it stands; one that meets the token cap has the answer of its last probe.

Reasoning models go on long after their answer is fixed (Chen et al. 2024, arXiv:2412.21187); probing by forced answers
is used to measure that, for instance by Fu et al. 2024 (arXiv:2412.20993). What is saved costs answers that a later
thought would have mended, and a probe of a model that guesses its likeliest answer early agrees with itself early:
compare at equal tokens with a sample, and with budget forcing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from thence.core.completion import THINK_CLOSE, Ability, Finish
from thence.core.errors import UsageError, check_counts
from thence.core.protocols import Followup
from thence.core.search import POLICY, Result, Search
from thence.core.tree import Found, Kind, Node


@dataclass(frozen=True, slots=True)
class ConvergenceExit:
    """One sample, probed every ``every`` tokens; ``patience`` equal answers in a row end it.

    ``ask`` is the forced text; the answer after it has at most ``probe_tokens`` tokens and one line.
    """

    every: int = 64
    patience: int = 3
    ask: str = "\nFinal Answer: The final answer is"
    probe_tokens: int = 16

    def __post_init__(self) -> None:
        check_counts("convergence-exit", every=self.every, patience=self.patience, probe_tokens=self.probe_tokens)
        if not self.ask:
            raise UsageError("convergence-exit: ask is empty; give the text that asks for the answer")

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text."""
        return frozenset({Ability.CONTINUE})

    async def solve(self, search: Search) -> Result:
        """Write a stretch, probe, until the answers agree or the text has ended."""
        whole = search.cap(search.sampling, None, POLICY, Kind.FINISH)
        node, written = search.root, 0
        probes: list[tuple[Node, Found | None]] = []
        while not self._settled(search, probes) and (whole is None or written < whole):
            cap = self.every if whole is None else min(self.every, whole - written)
            drawn = await search.expand(node, sampling=replace(search.sampling, max_tokens=cap), kind=Kind.STEP)
            if not drawn or drawn[0].completion.finish is Finish.BUDGET:
                break
            node, written = drawn[0], written + cap
            if not node.truncated:
                await search.answer(node)
                return search.result(node, notes=[f"ended by itself after {len(probes)} probes"])
            probes.append((node, await self._probe(search, node)))
            if search.stopped:
                break
        for place, found in reversed(probes):
            if found is not None:
                place.found, place.read = found, True
                return search.result(place, notes=[f"answered by probe {len(probes)}"])
        return search.result(node if node.parent is not None else None)

    async def _probe(self, search: Search, node: Node) -> Found | None:
        """The answer that the text so far gives when it is asked for."""
        close = f"\n{THINK_CLOSE}\n" if search.tree.thinking(node) else ""
        return await search.probe(node, Followup(close + self.ask, self.probe_tokens))

    def _settled(self, search: Search, probes: list[tuple[Node, Found | None]]) -> bool:
        keys = [None if found is None else search.reading.key(found.value) for _, found in probes[-self.patience :]]
        return len(keys) == self.patience and None not in keys and len(set(keys)) == 1


__all__ = ["ConvergenceExit"]
