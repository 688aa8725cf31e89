"""Trained verifiers: process and outcome reward models, value heads, generative verifiers.

A solution is cut into steps, written in the model's own input format (`formats`), and read at each step's end. Steps
that an ancestor in the tree has numbers for are not read again, and what the engine has in its prefix cache is not
computed again, so that a new step costs its own tokens. What is charged does not depend on any cache: every distinct
token prefix of the problem's tree, once.

The model runs in this process (`LocalReader`) or on a server (`thence.verifiers.served`). A solution without any text
has nothing to judge and gets the lowest score, 0.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from thence.core.budget import Spent, add
from thence.core.card import ACORN, VerifierCard, VerifierKind
from thence.core.completion import Ability, Finish
from thence.core.errors import ModelError, UsageError
from thence.core.scores import Aggregate, Meaning, Score, aggregate
from thence.core.search import VERIFIER, Search
from thence.core.segmenter import Segmenter
from thence.core.tree import Node

from .formats import FORMATS, Format, Read, Written, row, with_end, write

if TYPE_CHECKING:
    from thence.engine.engine import Engine
    from thence.nets.heads import Head

OUTCOME = (VerifierKind.ORM, VerifierKind.GENRM, VerifierKind.MINOS)


def steps_of(segmenter: Segmenter, text: str) -> tuple[str, ...]:
    """The steps of a solution as a verifier reads them: a closing answer line belongs to the last one."""
    cut = segmenter.steps(text)
    if not cut.steps:
        return (text,) if text.strip() else ()
    return (*cut.steps[:-1], cut.steps[-1] + cut.answer)


def made_of(numbers: tuple[float, ...], name: str, card: VerifierCard, how: Aggregate) -> Score:
    """The score that step numbers in [0, 1] make, as the card of the verifier called ``name`` says."""
    if not numbers:
        return Score(0.0, (), card.meaning)
    if any(math.isnan(x) for x in numbers):
        raise ModelError(f"{name} gives no number (NaN); its weights or its number format are broken")
    if card.meaning is Meaning.OUTCOME:
        return Score(numbers[-1], (), Meaning.OUTCOME)
    return Score(aggregate(numbers, card.meaning, how), numbers, card.meaning)


def check_length(name: str, tokens: int, context: int | None) -> None:
    """ModelError if the verifier called ``name`` cannot read so many tokens."""
    if context is not None and tokens > context:
        raise ModelError(
            f"{name} reads at most {context} tokens; this solution has {tokens} with its question; "
            "use a verifier with a longer context, or cap the samples with --max-tokens"
        )


class Cached:
    """A tokenizer that remembers the pieces it has seen."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[str, bool], list[int]] = {}

    def __call__(self, text: str, *, add_special_tokens: bool = False, verbose: bool = False) -> dict[str, list[int]]:
        key = (text, add_special_tokens)
        if key not in self._known:
            if len(self._known) > 1 << 16:
                self._known.clear()
            encoded = self._tokenizer(text, add_special_tokens=add_special_tokens, verbose=verbose)
            self._known[key] = list(encoded["input_ids"])
        return {"input_ids": self._known[key]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class Reader(Protocol):
    """What runs the model: logits (or their difference, one number) at every place of ``reads`` in a solution."""

    async def numbers(self, texts: Sequence[Written], book: Spent) -> list[tuple[tuple[float, ...], ...]]: ...


@dataclass(frozen=True, slots=True)
class LocalReader:
    """The engine with a head; what its prefix cache holds is not computed again."""

    engine: Engine
    head: Head

    async def numbers(self, texts: Sequence[Written], book: Spent) -> list[tuple[tuple[float, ...], ...]]:
        """Logits per text and place."""
        from thence.engine.given import Given, run

        def told(outcome: Any) -> None:
            book.verifier = add(book.verifier, outcome.prefilled)
            book.reused = add(book.reused, outcome.reused)

        given = [
            Given(t.ids[: t.prompt], t.ids[t.prompt :], reads=tuple(at - t.prompt for at in t.reads), head=self.head)
            for t in texts
        ]
        return [outcome.numbers for outcome in await run(self.engine, given, told)]


@dataclass(slots=True)
class Learned:
    """A verifier on a model of its own. Make one with `load`, or `thence.verifiers.served.connect`."""

    name: str
    card: VerifierCard
    fmt: Format
    how: Aggregate
    reader: Reader
    tokenizer: Any
    context: int | None
    end: int | None
    times = 1
    lowest = 0.0

    @property
    def role(self) -> str:
        """Under what name its tokens are booked."""
        return f"{VERIFIER}:{self.name}"

    @property
    def needs(self) -> frozenset[Ability]:
        """Nothing of the policy."""
        return frozenset()

    def describe(self) -> dict[str, object]:
        """What a header should say: format, meaning of a score, aggregation."""
        return {"format": self.fmt.name, "meaning": str(self.card.meaning), "aggregate": str(self.how)}

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
        """One score per node: its steps' numbers in [0, 1] and their aggregate."""
        plans = [self._plan(search, node) for node in nodes]
        texts = [replace(written, reads=written.reads[len(known) :]) for written, known in plans]
        asked = [i for i, text in enumerate(texts) if text.reads]
        numbers = await self.reader.numbers([texts[i] for i in asked], search.ledger.book(self.role))
        fresh = dict(zip(asked, numbers, strict=True))
        scores = []
        for i, (_, known) in enumerate(plans):
            steps = (*known, *(self._number(logits) for logits in fresh.get(i, ())))
            scores.append(made_of(steps, self.name, self.card, self.how))
        return scores

    def reads(self, search: Search, node: Node) -> tuple[int, ...]:
        """The tokens of a node's solution, the question's before them."""
        steps = steps_of(search.segmenter, search.tree.solution(node))
        return write(self.fmt, self.tokenizer, search.problem.text, steps, self.card.instruction).ids

    def _plan(self, search: Search, node: Node) -> tuple[Written, tuple[float, ...]]:
        """The tokens of a node's solution, and the numbers of its first steps that are known from its ancestors."""
        steps = steps_of(search.segmenter, search.tree.solution(node))
        if not steps:
            return Written((), 0, ()), ()
        written = write(self.fmt, self.tokenizer, search.problem.text, steps, self.card.instruction)
        if self.fmt.early and node.completion.finish is Finish.EOS:
            written = with_end(self.fmt, written, self.end)
        check_length(self.name, len(written.ids), self.context)
        if self.card.meaning is Meaning.OUTCOME:
            return Written(written.ids, written.prompt, written.reads[-1:]), ()
        for above in reversed(search.tree.path(node)[:-1]):
            score = above.scores.get(self.name)
            if score is not None:
                before = steps_of(search.segmenter, search.tree.solution(above))
                same = next((k for k, (a, b) in enumerate(zip(before, steps, strict=False)) if a != b), len(before))
                return written, score.steps[: min(same, len(steps))]
        return written, ()

    def _number(self, logits: tuple[float, ...]) -> float:
        """The probability a head's logits stand for: one class is a sigmoid, of several the first (for the tokens
        good and bad) or the second (for classes wrong and right) of a softmax."""
        if len(logits) == 1:
            return 1 / (1 + math.exp(-min(max(logits[0], -500.0), 500.0)))
        top = max(logits)
        weights = [math.exp(x - top) for x in logits]
        return weights[0 if self.fmt.read is Read.TOKENS else 1] / sum(weights)


# Engines in use, by weights, number format and device: ten arms with one verifier share its weights and prefix memory.
_engines: weakref.WeakValueDictionary[tuple[str, str, str], Engine] = weakref.WeakValueDictionary()


def shipped(kind: str, path: str) -> str:
    """The directory of a verifier; ``acorn`` is the one that comes with the embedded model."""
    if path != "acorn":
        return path
    if not (ACORN / kind).is_dir():
        raise UsageError(f"acorn has no {kind} of its own; train one: thence train {kind}, and use {kind}:DIRECTORY")
    return str(ACORN / kind)


def load(
    kind: VerifierKind,
    path: str,
    *,
    format: str | None = None,
    aggregate: Aggregate | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> Learned:
    """The verifier in a directory or under a hub name; ``acorn`` is the shipped one of its kind.

    A model without ``verifier.json`` needs ``format``. UsageError where format and kind do not go together.
    """
    try:
        from thence.engine.setup import dtype_for, end_tokens, pick_device, start, verifier_memory_mb
        from thence.nets.heads import Head
        from thence.nets.verifier import load_verifier
    except ImportError as error:
        raise ModelError('a trained verifier needs torch: pip install "thence[local]"') from error
    where = shipped(str(kind), path)
    given = None
    if format is not None:
        named = row(format)
        given = VerifierCard(kind, Meaning.OUTCOME if kind in OUTCOME else named.meaning, format)
    elif not (Path(where) / "verifier.json").is_file():
        known, here = ", ".join(FORMATS), "" if Path(where).exists() else " (there is no such directory)"
        raise UsageError(
            f"{path}{here} has no verifier.json; say how it reads: {kind}:{path}(format=NAME), one of {known}"
        )
    chosen = pick_device(device)
    loaded = load_verifier(where, given, dtype=dtype_for(dtype, chosen))
    fmt = row(format or loaded.card.format)
    checkpoint = loaded.checkpoint
    tokenizer = Cached(checkpoint.tokenizer)
    fmt.check_tag(tokenizer, path)
    if fmt.read is Read.TOKENS:
        output = checkpoint.weights.get("lm_head.weight", checkpoint.weights["model.embed_tokens.weight"])
        head: Head | None = Head.tokens(output, fmt.candidates(tokenizer, path))
    else:
        head = loaded.head
    if head is None:
        raise ModelError(f"{path} has no head (score.weight, v_head.summary.weight), which format {fmt.name} reads")
    context, end = checkpoint.shape.context, min(end_tokens(checkpoint), default=None)
    key = (loaded.digest, str(checkpoint.dtype), str(chosen))
    engine = _engines.get(key)
    if engine is None or engine.closed:
        engine, _ = start(checkpoint, chosen, memory_mb=verifier_memory_mb(chosen))
        _engines[key] = engine
    how = aggregate or loaded.card.aggregate or fmt.aggregate
    name = f"{kind}:{path}" + (f"(aggregate={how})" if aggregate else "")
    return Learned(name, loaded.card, fmt, how, LocalReader(engine, engine.trunk.reader(head)), tokenizer, context, end)
