"""A world as a generator: real token ids, exact log-probabilities, honest books, every ability.

The vocabulary is small and closed: the end of text, 256 bytes (prompts and forced text are bytes), three marks of
speakers, then the world's own pieces. Sampled tokens are always the world's own; they are continued by their ids, and
text without ids is cut into the longest own pieces, else bytes.

The token at position i of a reply is drawn with noise of (request seed, i): a sample cut after i tokens and continued
with its own seed is the sample that was not cut, and a longer cap never changes the tokens before it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from thence.core.budget import PrefixSet, Spent, add
from thence.core.completion import (
    Ability,
    Completion,
    Context,
    Failure,
    Finish,
    Request,
    TokenLogprobs,
)
from thence.core.errors import UsageError
from thence.core.problem import Message
from thence.core.seeds import derive
from thence.generators.arrivals import arrivals
from thence.generators.scripted import IMPOSSIBLE

from .world import EOS, PLAIN, Odds, Place, World

SPEAKERS = {"system": 257, "user": 258, "assistant": 259}
FIRST = 260  # the id of the world's first own piece after the end of text


@dataclass(slots=True)
class _Work:
    """What one running request has generated so far, and whether somebody received it."""

    tokens: int = 0
    ended: bool = False
    delivered: bool = False


class WorldGenerator:
    """Continues text by a world's law; made by ``World.generator``.

    ``pace`` is event-loop turns per token: with 1 short answers arrive first and a running request can be cancelled,
    with 0 each request is answered at once. ``spent`` is the machine's own count: the sum of the books handed in.
    """

    abilities = frozenset(Ability) - {Ability.VALUES, Ability.THOUGHT_LIMIT}
    defaults = PLAIN
    max_context: int | None = None

    def __init__(self, world: World, *, pace: int = 1, capacity: int = 64) -> None:
        if pace < 0 or capacity < 1:
            raise UsageError(f"{world.name}: pace is {pace} and capacity {capacity}; at least 0 and 1 are needed")
        self.world, self.capacity = world, capacity
        self._pace = pace
        self._ids = {piece: FIRST + i for i, piece in enumerate(world.vocabulary[1:])} | {EOS: 0}
        self._own = {i: piece for piece, i in self._ids.items()}
        self._prompts: dict[tuple[Message, ...], tuple[int, ...]] = {}
        self._cache = PrefixSet()
        self._pending = 0
        self.spent = Spent()

    @property
    def identity(self) -> str:
        """The world with all its parameters."""
        return f"world:{self.world.spec}"

    @property
    def pending(self) -> int:
        """Requests that run now."""
        return self._pending

    def describe(self) -> Mapping[str, object]:
        """Header fields."""
        return {"generator": "world", "world": self.world.spec, "exact": True}

    async def close(self) -> None:
        """Nothing to free."""

    # --- tokens -----------------------------------------------------------------------------------------------------

    def tokens(self, context: Context) -> tuple[int, ...]:
        """Ids of the chat and of the reply so far (its own ids where it has them)."""
        if context.messages not in self._prompts:
            ids: list[int] = []
            for message in context.messages:
                ids += [SPEAKERS[message.role], *self.encode(message.content)]
            self._prompts[context.messages] = (*ids, SPEAKERS["assistant"])
        return self._prompts[context.messages] + self._reply(context)

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of ``text``: own pieces where it has them, bytes elsewhere."""
        ids: list[int] = []
        for piece, own in self.world.pieces(text):
            ids += [self._ids[piece]] if own else [1 + b for b in piece.encode("utf-8", "surrogatepass")]
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; marks of speakers and the end of text have none."""
        parts = []
        for i in ids:
            if 1 <= i <= 256:
                parts.append(bytes([i - 1]))
            elif i in self._own:
                parts.append(self._own[i].encode())
            elif i not in SPEAKERS.values():
                raise UsageError(f"{self.world.name}: there is no token {i}; decode only ids of this world")
        return b"".join(parts).decode("utf-8", "replace")

    def _reply(self, context: Context) -> tuple[int, ...]:
        ids: list[int] = []
        for segment in context.reply:
            ids += self.encode(segment.text) if segment.ids is None else segment.ids
        return tuple(ids)

    def _place(self, ids: Sequence[int]) -> Place:
        place = Place()
        for i in ids:
            if i in self._own:
                place = self.world.then(place, self._own[i])
        return place

    # --- generating -------------------------------------------------------------------------------------------------

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        """Yield (index, outcome) in order of arrival; closing cancels what runs and counts it as wasted."""
        work = [_Work() for _ in requests]
        self._pending += len(requests)
        stream = arrivals(self._one(i, request, book, work[i]) for i, request in enumerate(requests))
        try:
            async for i, outcome in stream:
                work[i].delivered = True
                yield i, outcome
        finally:
            await stream.aclose()
            self._pending -= sum(not w.ended for w in work)
            self._spend(book, wasted=sum(w.tokens for w in work if not w.delivered))

    async def _one(self, index: int, request: Request, book: Spent, work: _Work) -> tuple[int, Completion | Failure]:
        try:
            outcome = self._write(request)
            if isinstance(outcome, Failure):
                return index, outcome
            prompt = self.tokens(request.context)
            self._prefill(prompt, book)
            burst = 1 if self._pace else outcome.generated or 0
            while work.tokens < (outcome.generated or 0):
                for _ in range(self._pace):
                    await asyncio.sleep(0)
                work.tokens += burst
                self._spend(book, generated=burst)
            self._cache.add(prompt + (outcome.ids or ()))
            return index, outcome
        finally:
            work.ended = True
            self._pending -= 1

    def _write(self, request: Request) -> Completion | Failure:
        """The whole completion, token by token, and its exact log-probabilities."""
        try:
            number = self.world.number(request.context.messages)
        except UsageError as error:
            return Failure("unknown-question", str(error))
        sampling, before = request.sampling, self._reply(request.context)
        place, text, finish = self._place(before), "", Finish.LENGTH
        pieces: list[str] = []
        logprobs: list[float] = []
        top2: list[tuple[float, float]] = []
        while sampling.max_tokens is None or len(pieces) < sampling.max_tokens:
            odds = self.world.law(number, place)
            ranked = self.world.ranked(odds) if not pieces or sampling.top2 else []
            if not pieces and sampling.first_rank is not None:
                if sampling.first_rank >= len(ranked):
                    said = f"only {len(ranked)} first tokens are possible, and rank {sampling.first_rank} was asked for"
                    return Failure("first-token", said)
                piece = ranked[sampling.first_rank]
            else:
                noise = derive(request.seed, len(before) + len(pieces)) / 2**63
                piece = _pick(self.world.tempered(odds, sampling), noise)
            pieces.append(piece)
            logprobs.append(math.log(odds[piece]))
            if sampling.top2:
                top2.append((_log(odds, ranked, 0), _log(odds, ranked, 1)))
            text += piece
            place = self.world.then(place, piece)
            if piece == EOS:
                finish = Finish.EOS
                break
            starts = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
            if starts:
                text, finish = text[: min(starts)], Finish.STOP
                break
            if any(end in text for end in sampling.step_ends):
                finish = Finish.STEP
                break
        prompt = len(self.tokens(request.context))
        return self._completion(text, finish, pieces, logprobs, top2 if sampling.top2 else None, prompt)

    def _completion(
        self,
        text: str,
        finish: Finish,
        pieces: Sequence[str],
        logprobs: Sequence[float],
        top2: Sequence[tuple[float, float]] | None,
        prompt: int,
    ) -> Completion:
        ends, at = [], 0
        for piece in pieces:
            at = min(at + len(piece), len(text))
            ends.append(at)
        return Completion.of(
            text,
            finish,
            ids=tuple(self._ids[piece] for piece in pieces),
            logprobs=tuple(logprobs),
            top2=None if top2 is None else tuple(top2),
            ends=tuple(ends),
            generated=len(pieces),
            prompt_tokens=prompt,
        )

    async def logprobs(
        self, contexts: Sequence[Context], continuations: Sequence[str], book: Spent
    ) -> list[TokenLogprobs]:
        """Exact log-probabilities of given continuations; -100 stands for the log of zero."""
        results = []
        for context, text in zip(contexts, continuations, strict=True):
            number, ids = self.world.number(context.messages), self.encode(text)
            self._prefill(self.tokens(context) + ids, book)
            place, values = self._place(self._reply(context)), []
            for i in ids:
                piece = self._own.get(i, "")
                odds: Odds = self.world.law(number, place) if piece else {}
                values.append(math.log(odds[piece]) if piece in odds else IMPOSSIBLE)
                place = self.world.then(place, piece) if piece else place
            results.append(TokenLogprobs(ids, tuple(values)))
        return results

    def _prefill(self, ids: tuple[int, ...], book: Spent) -> None:
        new = self._cache.add(ids)
        self._spend(book, prefilled=new, reused=len(ids) - new)

    def _spend(self, book: Spent, **tokens: int) -> None:
        for each in (book, self.spent):
            for name, count in tokens.items():
                setattr(each, name, add(getattr(each, name), count))


def _pick(odds: Odds, noise: float) -> str:
    """The piece at ``noise`` of the way through ``odds``."""
    for piece, p in odds.items():
        noise -= p
        if noise < 0:
            return piece
    return next(reversed(list(odds)))  # the sum of the odds was a rounding error below 1


def _log(odds: Odds, ranked: Sequence[str], rank: int) -> float:
    return math.log(odds[ranked[rank]]) if rank < len(ranked) else IMPOSSIBLE


__all__ = ["WorldGenerator"]
