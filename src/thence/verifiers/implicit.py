"""Implicit rewards: a language model's own probability of the solution as its score.

DPO (Rafailov et al. 2023, arXiv:2305.18290): beta * (log p(y|x) - log p_trunk(y|x)), the reward that training by pairs
has written into the weights; V-STaR (arXiv:2402.06457) and Math-Rev (arXiv:2410.05318) use it as a verifier.
SimPO (Meng et al. 2024, arXiv:2405.14734): the mean log p(y|x) of a token; no second model is asked.
Both are logarithms, so they can rank samples but not weigh votes. The end-of-text token counts where the sample had
one. A solution without any text gets the lowest score of those judged with it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thence.core.card import VerifierCard, VerifierKind
from thence.core.completion import Ability, Finish
from thence.core.errors import ModelError
from thence.core.scores import Score
from thence.core.search import VERIFIER, Search
from thence.core.tree import Node

from .formats import row, write
from .learned import Cached, check_length, shipped, steps_of

if TYPE_CHECKING:
    from thence.engine.engine import Engine


@dataclass(slots=True)
class Implicit:
    """A DPO or SimPO verifier; ``reference`` is the trunk's own engine (DPO only)."""

    name: str
    card: VerifierCard
    engine: Engine
    reference: Engine | None
    tokenizer: Any
    context: int
    end: int | None
    lowest = -1e9

    @property
    def role(self) -> str:
        """Under what name its tokens are booked."""
        return f"{VERIFIER}:{self.name}"

    @property
    def times(self) -> int:
        """How many models read a solution."""
        return 1 if self.reference is None else 2

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing of the policy."""
        return frozenset()

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """One log-scale number per node."""
        from thence.engine.given import Given, run

        written = [self._written(search, node) for node in nodes]
        texts = [Given(prompt, text) for prompt, text in written if text]
        book = search.ledger.book(self.role)

        def told(outcome: Any) -> None:
            book.verifier = (book.verifier or 0) + outcome.prefilled
            book.reused = (book.reused or 0) + outcome.reused

        engines = [self.engine] if self.reference is None else [self.engine, self.reference]
        answers = await asyncio.gather(*(run(engine, texts, told) for engine in engines))
        values = iter([self._value(*each) for each in zip(*(map(_logprobs, a) for a in answers), strict=True)])
        found = [next(values) if text else None for _, text in written]
        lowest = min((x for x in found if x is not None), default=0.0)
        return [Score(lowest if x is None else x) for x in found]

    def reads(self, search: Search, node: Node) -> tuple[int, ...]:
        """The tokens of a node's solution, the question's before them."""
        prompt, text = self._written(search, node)
        return prompt + text

    def _value(self, own: tuple[float, ...], trunk: tuple[float, ...] | None = None) -> float:
        if any(math.isnan(x) for x in own):
            raise ModelError(f"{self.name} gives no number (NaN); its weights or its number format are broken")
        if trunk is None:
            return sum(own) / len(own)
        return self.card.beta * (sum(own) - sum(trunk))

    def _written(self, search: Search, node: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
        steps = steps_of(search.segmenter, search.tree.solution(node))
        w = write(row(self.card.format), self.tokenizer, search.problem.text, steps, self.card.instruction)
        end = (self.end,) if steps and node.completion.finish is Finish.EOS and self.end is not None else ()
        check_length(self.name, len(w.ids) + len(end), self.context)
        return w.ids[: w.prompt], w.ids[w.prompt :] + end


def _logprobs(outcome: Any) -> tuple[float, ...]:
    logprobs: tuple[float, ...] = outcome.logprobs
    return logprobs


def load_implicit(kind: VerifierKind, path: str, *, dtype: str | None = None, device: str | None = None) -> Implicit:
    """The DPO or SimPO verifier in a directory; ``acorn`` is the shipped one."""
    try:
        from thence.engine.setup import dtype_for, end_tokens, pick_device, start, verifier_memory_mb
        from thence.nets.checkpoint import load_checkpoint
        from thence.nets.verifier import load_verifier, trunk_path
    except ImportError as error:
        raise ModelError('a trained verifier needs torch: pip install "thence[local]"') from error
    from pathlib import Path

    where, chosen = shipped(str(kind), path), pick_device(device)
    loaded = load_verifier(where, dtype=dtype_for(dtype, chosen))
    checkpoint = loaded.checkpoint
    tokenizer, context, ends = Cached(checkpoint.tokenizer), checkpoint.shape.context, end_tokens(checkpoint)
    engine, _ = start(checkpoint, chosen, memory_mb=verifier_memory_mb(chosen))
    reference = None
    if kind is VerifierKind.DPO:
        trunk = load_checkpoint(trunk_path(loaded.card, Path(where)), dtype=dtype_for(dtype, chosen))
        reference, _ = start(trunk, chosen, memory_mb=verifier_memory_mb(chosen))
    return Implicit(f"{kind}:{path}", loaded.card, engine, reference, tokenizer, context, min(ends, default=None))
