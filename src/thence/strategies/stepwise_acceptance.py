"""Stepwise acceptance: a step goes on only if the verifier accepts it (the loop of SpecReason, Pan et al. 2025,
arXiv:2504.07891; there the retries are written by a larger model).

Draw a step. If its score reaches ``threshold`` it is kept and the next one follows. Otherwise it is drawn again, up to
``retries`` times, and when all of these are rejected the search goes back one step and draws there anew. A path is
done when a step that ends it is accepted.

A step that is accepted with chance a passes a state's 1 + r draws with chance A = 1 - (1 - a)^(r + 1), and what passes
is distributed as the policy's steps given acceptance. A state costs A / a draws per visit. Where a is the same
everywhere the length of the path is a random walk, up with A and down with 1 - A, that stays at the question.

Differs from SpecReason: that one keeps the larger model's step unjudged and never goes back. ``retry_role`` lets
another model (``--role critic=MODEL``) write the retries; by default the policy does. A path that ends without an
answer is rejected whatever its score. A step that was accepted may be drawn and accepted again after the search went
back over it. At most ``draws`` draws: after them the rejected ended path with the best score answers, or the accepted
steps so far are continued unjudged.
"""

from __future__ import annotations

from dataclasses import dataclass

from thence.core.completion import Ability
from thence.core.errors import UsageError, check_counts
from thence.core.search import POLICY, Result, Search, Verifier
from thence.core.tree import Node
from thence.core.votes import pick


@dataclass(frozen=True, slots=True)
class StepwiseAcceptance:
    """Steps of at most ``step_tokens`` with a score of at least ``threshold``, at most ``depth`` of them."""

    verifier: Verifier
    threshold: float = 0.5
    retries: int = 3
    draws: int = 64
    depth: int = 40
    step_tokens: int = 256
    retry_role: str = POLICY

    def __post_init__(self) -> None:
        check_counts("stepwise-acceptance", draws=self.draws, depth=self.depth, step_tokens=self.step_tokens)
        check_counts("stepwise-acceptance", 0, retries=self.retries)
        if getattr(self.verifier, "relative", False):
            raise UsageError(
                f"stepwise-acceptance: {self.verifier.name} compares samples with each other and is shown one at a "
                "time here; use another verifier"
            )

    @property
    def needs(self) -> frozenset[Ability]:
        """Continuing a text, and what its verifier needs."""
        return self.verifier.needs | {Ability.CONTINUE}

    async def solve(self, search: Search) -> Result:
        """Go on with what is accepted, back where nothing is."""
        path = [search.root]
        rejected: dict[int, tuple[Node, float]] = {}  # ended paths
        left = self.draws
        while left > 0 and not search.stopped:
            step = None
            for attempt in range(min(1 + self.retries, left) if len(path) <= self.depth else 0):
                left -= 1
                role = self.retry_role if attempt else POLICY
                drawn = await search.steps(path[-1], cap=self.step_tokens, role=role)
                if not drawn:
                    break
                [score] = await search.score(drawn, self.verifier)
                over = search.ended(drawn[0])
                silent = over and await search.answer(drawn[0]) is None
                if score.value >= self.threshold and not silent:
                    step = drawn[0]
                    break
                if over:
                    rejected[drawn[0].index] = (drawn[0], score.value)
            if step is None:
                path = path[:-1] or path
                continue
            if search.ended(step):
                return search.result(step)
            path.append(step)
        return await self.fallback(search, path, list(rejected.values()))

    async def fallback(self, search: Search, path: list[Node], rejected: list[tuple[Node, float]]) -> Result:
        """The best rejected end, or where the accepted steps lead."""
        notes = () if search.stopped else (f"no path was accepted within {self.draws} draws",)
        if all([await search.answer(node) is None for node, _ in rejected]):
            ends = await search.finish(path[-1], self.depth - len(path) + 1, cap=self.step_tokens)
            rejected = [(node, 0.0) for node in ends] or rejected
            for node in ends:
                await search.answer(node)
        return await pick(search, [n for n, _ in rejected], [v for _, v in rejected], notes)
