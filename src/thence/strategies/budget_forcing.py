"""Budget forcing (s1, Muennighoff et al. 2025, arXiv:2501.19393): decide from outside how long a model thinks.

*Maximum*: after ``limit`` tokens the thought is closed and the answer asked for. *Minimum*: when the model would end,
its end is dropped and ``wait`` written instead, up to ``waits`` times; what is left of the limit goes on counting. A
model that marks its thought by ``<think>`` is held within it; for others the whole reply counts as the thought.

If a second thought mends a wrong answer with probability u and spoils a right one with d, accuracy follows
p' = p (1 - d) + (1 - p) u: another "Wait" helps as long as p < u / (u + d), and the same law says when it is
overthinking. Forced text is on the prompt's side of the books and has no log-probability.

``server=true`` hands the maximum to the server's own switch: one call instead of two or three. vLLM has one
(``thinking_token_budget``) if it was started with ``--reasoning-parser`` or ``--reasoning-config``; that of another
server is stated with the generator (``thought_field``). Such a server closes marked thoughts only, with the text it
was started with instead of ``end``; a reply without a thought has no limit but the run's token cap. A minimum is not
handed over: no server is known to have a switch for it.

Differs from the paper: decoding is as the run says (the paper's is greedy: ``--temperature 0``), forced texts stand on
lines of their own, and a thought that is cut by the run's own token cap is closed like one cut by ``limit``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from thence.core.completion import THINK_CLOSE, THOUGHT_END, Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import POLICY, Result, Search
from thence.core.tree import Kind, Node


@dataclass(frozen=True, slots=True)
class BudgetForcing:
    """A thought of at most ``limit`` tokens (None: no maximum) that is taken up again ``waits`` times.

    ``end`` is what asks for the answer, which has at most ``answer_tokens`` tokens. The model may loop after a "Wait":
    then only ``limit`` and the run's token cap, which holds for each stretch of thought, end it. ``server``: the server
    closes the thought by itself, and ``wait``, ``end`` and ``answer_tokens`` have no part in it.
    """

    limit: int | None = None
    waits: int = 0
    wait: str = "\nWait"
    end: str = "\nFinal Answer: The final answer is"
    answer_tokens: int = 64
    server: bool = False

    def __post_init__(self) -> None:
        check_counts("budget-forcing", limit=1 if self.limit is None else self.limit, answer_tokens=self.answer_tokens)
        check_counts("budget-forcing", 0, waits=self.waits)
        if not self.wait or not self.end:
            raise UsageError("budget-forcing: wait or end is empty; give the text that is forced")
        if self.server and self.limit is None:
            raise UsageError("budget-forcing: server=true closes a thought after limit tokens; give limit=N")
        if self.server and self.waits:
            raise UsageError(
                f"budget-forcing: a server that closes thoughts by itself cannot be made to wait (waits={self.waits}); "
                "leave out server=true or waits"
            )

    @property
    def needs(self) -> frozenset[Ability]:
        """The server's switch; or continuing a text, and counts of tokens where a limit holds over several stretches of
        thought."""
        if self.server:
            return frozenset({Ability.THOUGHT_LIMIT})
        counted = {Ability.TOKEN_IDS} if self.limit is not None and self.waits else set()
        return frozenset({Ability.CONTINUE} | counted)

    async def solve(self, search: Search) -> Result:
        """Think, think again, answer."""
        if self.server:
            return await self._handed_over(search)
        if search.sampling.thought_limit is not None:
            raise UsageError("budget-forcing limits thoughts by itself; write its limit=N or --think N, not both")
        left = self.limit
        ends: list[Node] = []
        for _ in range(self.waits + 1):
            start = search.force(ends[-1], self.wait) if ends else search.root
            drawn = await self._think(search, start, left)
            ends += drawn
            if drawn and not drawn[0].truncated and not search.tree.thinking(drawn[0]):
                await search.answer(drawn[0])  # at once: where a budget ends it, the last one read is the answer
            if left is not None and drawn:
                left -= min(left, drawn[0].completion.generated or 0)
            if not drawn or drawn[0].truncated or left == 0:
                break
        if ends and not search.stopped and (ends[-1].truncated or search.tree.thinking(ends[-1])):
            replies = await self._answered(search, ends[-1])
            ends += [node for node in replies if await search.answer(node) is not None or not search.stopped]
        best = [node for node in ends if node.found is not None] or ends
        return search.result(best[-1] if best else None)

    async def _handed_over(self, search: Search) -> Result:
        """One sample whose thought the server closes."""
        drawn = await search.expand(sampling=replace(search.sampling, thought_limit=self.limit))
        if drawn:
            await search.answer(drawn[0])
        return search.result(drawn[0] if drawn else None)

    async def _think(self, search: Search, node: Node, left: int | None) -> list[Node]:
        """One stretch of thought of at most ``left`` tokens; nothing when the budget holds none."""
        whole = search.cap(search.sampling, None, POLICY, Kind.FINISH)
        caps = [c for c in (left, whole) if c is not None]
        stop = tuple(dict.fromkeys((*search.sampling.stop, THINK_CLOSE)))
        sampling = replace(search.sampling, stop=stop, max_tokens=min(caps, default=None))
        return await search.expand(node, sampling=sampling, kind=Kind.STEP)

    async def _answered(self, search: Search, node: Node) -> list[Node]:
        """The reply after a thought that ended, or the answer that is asked for after one that was cut."""
        text = THOUGHT_END if search.tree.thinking(node) else ""
        sampling = search.sampling
        if node.truncated:
            text += self.end
            cap = min(c for c in (self.answer_tokens, sampling.max_tokens) if c is not None)
            sampling = replace(sampling, max_tokens=cap)
        return await search.expand(search.force(node, text), sampling=sampling, kind=Kind.STEP)


__all__ = ["BudgetForcing"]
