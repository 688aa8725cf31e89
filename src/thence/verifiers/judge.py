"""A language model as judge: it is shown the question and a solution and asked for a number from 0 to 10.

Its tokens are verifier tokens. The question it is asked names no reference answer. A reply without a number scores 0,
as does one that is cut, and a solution that the budget left unjudged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from thence.core.completion import Ability
from thence.core.problem import Message
from thence.core.protocols import Generator
from thence.core.scores import Score
from thence.core.search import VERIFIER, Search
from thence.core.tree import Kind, Node

INSTRUCTION = (
    "Below are a problem and a proposed solution. Check the solution step by step. Then write, on the last line, "
    "'Score:' and a whole number from 0 (certainly wrong) to 10 (certainly right)."
)
NUMBER = re.compile(r"score\s*:\s*\**\s*(\d{1,2})(?!\d)(?:\s*/\s*10)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Judge:
    """Scores each trace by asking ``generator`` once, greedily, with at most ``max_tokens`` tokens."""

    generator: Generator
    label: str
    max_tokens: int = 512

    @property
    def name(self) -> str:
        """``judge:`` and the model it asks."""
        return f"judge:{self.label}"

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing of the policy."""
        return frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """A number in [0, 1] per node."""
        sampling = replace(self.generator.defaults.greedy(), max_tokens=self.max_tokens)
        prompts = [
            [Message("user", f"{INSTRUCTION}\n\nProblem:\n{search.problem.text}\n\nSolution:\n{solution}")]
            for solution in map(search.tree.solution, nodes)
        ]
        verdicts = await search.ask(
            prompts,
            about=nodes,
            role=f"{VERIFIER}:{self.name}",
            kind=Kind.CRITIQUE,
            sampling=sampling,
            generator=self.generator,
        )
        values = [0.0 if v.truncated else _value(v.completion.reply) for v in verdicts]
        return [Score(v) for v in values + [0.0] * (len(nodes) - len(values))]


def _value(reply: str) -> float:
    found = NUMBER.findall(reply)
    return int(found[-1]) / 10 if found and int(found[-1]) <= 10 else 0.0
