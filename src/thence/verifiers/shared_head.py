"""A value head on the generator's own hidden states: scoring costs no forward pass of its own.

The head reads the state that each token is drawn from, so its number for a step is there the moment the step's last
token is drawn (the token that completes the separator, or the end of the text). The same head can judge text that was
not drawn with it, as a verifier with a pass of its own: ``value:PATH``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thence.core.card import HEAD, VerifierCard
from thence.core.completion import Ability, Finish
from thence.core.errors import ModelError, UsageError
from thence.core.scores import Aggregate, Score
from thence.core.search import Search
from thence.core.tree import SOLUTION, Node

from .learned import made_of, shipped, steps_of


@dataclass(frozen=True, slots=True)
class SharedHead:
    """The numbers that samples carry. ``values`` tells the generator which head to run."""

    name: str
    card: VerifierCard
    how: Aggregate
    values: str

    @property
    def needs(self) -> frozenset[Ability]:
        """A generator that runs a head beside its own output."""
        return frozenset({Ability.VALUES})

    def describe(self) -> dict[str, object]:
        """What a header should say: format, meaning of a score, aggregation."""
        return {"format": self.card.format, "meaning": str(self.card.meaning), "aggregate": str(self.how)}

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """One score per node; no tokens."""
        return [made_of(self._numbers(search, node), self.name, self.card, self.how) for node in nodes]

    def _numbers(self, search: Search, node: Node) -> tuple[float, ...]:
        """The number of each step of a path: what the head said where the step's last token was drawn."""
        drawn = [n for n in search.tree.path(node) if n.kind in SOLUTION]
        text = search.tree.solution(node)
        ends: list[int] = []
        for step in steps_of(search.segmenter, text):
            ends.append((ends[-1] if ends else 0) + len(step))
        numbers: list[float] = []
        start = 0
        for part in drawn:
            stop = start + len(part.text)
            here = [end - start for end in ends if start < end <= stop]
            numbers += [self._at(part, end) for end in here]
            start = stop
        return tuple(numbers)

    def _at(self, part: Node, end: int) -> float:
        c = part.completion
        if c.values is None or c.ends is None:
            raise ModelError(
                f"{self.name}: this text was not drawn with the head, so it carries no numbers; "
                f"score it with a pass of its own: value:{self.name.partition(':')[2]}"
            )
        if end == len(part.text) and c.finish in (Finish.EOS, Finish.STEP):
            token = len(c.values) - 1  # the end-of-text token has no characters
        else:
            token = next((i for i, at in enumerate(c.ends) if at >= end), len(c.values) - 1)
        return 1 / (1 + math.exp(-c.values[token]))


def load_shared(path: str, *, aggregate: Aggregate | None = None) -> SharedHead:
    """The head in a verifier directory; ``acorn`` is the shipped one."""
    try:
        from thence.nets.checkpoint import weights_hash
    except ImportError as error:
        raise ModelError('a trained head needs torch: pip install "thence[local]"') from error
    where = shipped("head", path)
    card = VerifierCard.read(Path(where))
    if card.format != "shared":
        raise UsageError(f"{path} reads as {card.format} does, with a pass of its own; use it as {card.kind}:{path}")
    if not (Path(where) / HEAD).is_file():
        raise ModelError(f"{path} has no {HEAD}")
    how = aggregate or card.aggregate or Aggregate.LAST
    name = f"head:{path}" + (f"(aggregate={how})" if aggregate else "")
    return SharedHead(name, card, how, f"{where}#{weights_hash(where, HEAD)}")
