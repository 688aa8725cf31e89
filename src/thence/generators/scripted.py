"""The public test double: texts known beforehand, deterministic, with honest books.

A real implementation of the generator protocol, with every ability, for testing strategies without a model:

    ScriptedGenerator(answers={"What is 7 + 8?": [("15", 0.6), ("14", 0.4)]})     # text ending in "#### 15"
    ScriptedGenerator(texts={"What is 7 + 8?": [("7 + 8 = 15\\n#### 15", 1.0)]})  # whole texts
    ScriptedGenerator(write=lambda cue: f"#### {cue.seed % 3}")                   # any rule

With ``answers`` and ``texts`` it is a small language model in the full sense: a distribution over texts,
taken token by token. Log-probabilities are the exact conditional ones and sum to the log of the text's
weight; temperature, top-p, top-k and the rank of the first token do what they say; a begun reply is
continued among the texts that start with it. With ``write`` the rule decides the text, and
log-probabilities are made up unless the rule returns a ``Line`` that has them.

Tokens are pieces of text between blanks; a completion that ends by itself has an end-of-text token. A
request takes ``pace`` turns of the event loop per token, so short answers finish first; cancelled work is
counted as wasted.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b

from thence.core.budget import PrefixSet, Spent
from thence.core.completion import (
    THOUGHT_END,
    Ability,
    Completion,
    Context,
    Failure,
    Finish,
    Request,
    Sampling,
    Think,
    TokenLogprobs,
)
from thence.core.errors import UsageError
from thence.core.problem import Message
from thence.core.seeds import digest

from .arrivals import arrivals
from .thinking import Forcing, closed_in_time

EOS = ""  # the piece that ends a text
IMPOSSIBLE = -100.0  # stands for the log of zero, which JSON cannot write
PIECE = re.compile(r"\s*\S+|\s+$")
DEFAULT_TEMPLATE = "{answer}, by my count.\n#### {answer}"

Choices = Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Cue:
    """What a rule sees of a request; ``reply`` is the reply so far, ``rank`` that of a forced first token."""

    messages: tuple[Message, ...]
    reply: str
    seed: int
    rank: int | None
    sampling: Sampling
    draw: int | None
    problem: str
    thinking: bool | None = None  # whether it was told to think

    @property
    def question(self) -> str:
        """The last turn of the user."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Line:
    """A text with the log-probabilities (and the top two) of its tokens, the end-of-text token included."""

    text: str
    logprobs: tuple[float, ...] | None = None
    top2: tuple[tuple[float, float], ...] | None = None


Rule = Callable[[Cue], str | Line | Failure]


@dataclass(slots=True)
class _Work:
    """What one running request has generated so far, and whether somebody received it."""

    tokens: int = 0
    ended: bool = False
    delivered: bool = False


class ScriptedGenerator:
    """A generator that follows a script (exactly one of ``write``, ``answers``, ``texts``).

    ``answers`` and ``texts`` map a question to weighted alternatives; a question is found when a user's
    turn contains it. ``template`` makes a text of an answer. ``fail`` may turn a request into a failure.
    ``pace`` is event-loop turns per token, ``wait`` gives turns before the first one, ``seconds`` is real
    time per token. ``requests`` lists all that was asked, ``peak`` is the largest number of requests at
    once, ``spent`` the machine's own count: the sum of the books that were handed in. ``thinks``: it can be told
    whether to think (the rule then decides what comes of it), and its thoughts are closed after a limit.
    """

    def __init__(
        self,
        write: Rule | None = None,
        *,
        answers: Mapping[str, Choices] | None = None,
        texts: Mapping[str, Choices] | None = None,
        template: str = DEFAULT_TEMPLATE,
        fail: Callable[[Cue], Failure | None] | None = None,
        name: str = "scripted",
        abilities: frozenset[Ability] = frozenset(Ability) - {Ability.VALUES, Ability.THOUGHT_LIMIT},
        defaults: Sampling | None = None,
        capacity: int = 64,
        max_context: int | None = None,
        pace: int = 1,
        wait: Callable[[Cue], int] | None = None,
        seconds: float = 0.0,
        thinks: bool = False,
    ) -> None:
        if sum(given is not None for given in (write, answers, texts)) != 1:
            raise UsageError("a scripted generator needs exactly one of write, answers and texts")
        self._write = write
        self._answers = answers
        self._texts: dict[str, list[tuple[str, float]]] = {}
        for question, choices in (answers or texts or {}).items():
            if not choices or any(weight <= 0 for _, weight in choices):
                raise UsageError(f"the script for {question!r} needs alternatives, each with a weight above 0")
            form = "{answer}" if answers is None else template
            self._texts[question] = [(form.replace("{answer}", a), weight) for a, weight in choices]
        self._fail = fail
        self._name = name
        self._abilities = abilities
        self._defaults = defaults or Sampling()
        self._capacity = capacity
        self._max_context = max_context
        self._pace, self._wait, self._seconds = pace, wait, seconds
        self._thinks = thinks
        self._pieces: dict[int, str] = {_token(EOS): EOS}
        for text, _ in (choice for choices in self._texts.values() for choice in choices):
            self._encode(text)  # its tokens can be decoded before they are first drawn
        self._cache = PrefixSet()
        self._pending = 0
        self.peak = 0
        self.requests: list[Request] = []
        self.spent = Spent()
        self.closed = False

    @property
    def identity(self) -> str:
        """The name, and the script where it is data."""
        script = f":{digest(sorted(self._texts.items()))[:12]}" if self._texts else ""
        return f"scripted:{self._name}{script}"

    @property
    def abilities(self) -> frozenset[Ability]:
        """All of them, unless a test takes some away."""
        return self._abilities

    @property
    def capacity(self) -> int:
        """How many requests are said to fill it (it does not refuse more)."""
        return self._capacity

    @property
    def pending(self) -> int:
        """Requests that run now; ``peak`` is the most that ever did."""
        return self._pending

    @property
    def defaults(self) -> Sampling:
        """Sampling used where the user gives none."""
        return self._defaults

    @property
    def max_context(self) -> int | None:
        """Tokens of prompt and completion together."""
        return self._max_context

    def tokens(self, context: Context) -> tuple[int, ...]:
        """Ids of the rendered messages and of the reply so far (its own ids where it has them)."""
        ids: list[int] = []
        for message in context.messages:
            ids += self._encode(f"<{message.role}> {message.content} ")
        if context.thinking is not None:
            ids += self._encode("<thinking>" if context.thinking else "<no-thinking>")
        ids += self._encode("<assistant>")
        for segment in context.reply:
            ids += self._encode(segment.text) if segment.ids is None else segment.ids
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids that this generator has made."""
        unknown = [i for i in ids if i not in self._pieces]
        if unknown:
            raise UsageError(f"the scripted generator never made token {unknown[0]}; decode only its own ids")
        return "".join(self._pieces[i] for i in ids)

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        """Yield (index, outcome) in order of arrival; closing cancels what runs and counts it as wasted."""
        run = self._run(requests, book)
        if any(r.sampling.thought_limit is not None for r in requests):
            end = tuple(self._encode(THOUGHT_END))
            run = closed_in_time(requests, book, Forcing(self._run, end, lambda context: False, self._waste))
        async with aclosing(run) as outcomes:
            async for each in outcomes:
                yield each

    async def learn_thinking(self, think: Think, limit: int | None = None) -> bool:
        """Nothing is to be found out; UsageError unless it ``thinks``."""
        if not self._thinks:
            raise UsageError(f"--think: the scripted model {self._name} has no thinking; make it with thinks=True")
        return limit is not None

    def _waste(self, tokens: int | None, book: Spent) -> None:
        for each in (book, self.spent):
            each += Spent(wasted=tokens)

    async def _run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        self.requests += requests
        work = [_Work() for _ in requests]
        self._pending += len(requests)
        self.peak = max(self.peak, self._pending)
        stream = arrivals(self._one(i, request, book, work[i]) for i, request in enumerate(requests))
        try:
            async for i, outcome in stream:
                work[i].delivered = True
                yield i, outcome
        finally:
            await stream.aclose()
            self._pending -= sum(not w.ended for w in work)
            wasted = sum(w.tokens for w in work if not w.delivered)
            for each in (book, self.spent):
                each += Spent(wasted=wasted)

    async def logprobs(
        self, contexts: Sequence[Context], continuations: Sequence[str], book: Spent
    ) -> list[TokenLogprobs]:
        """Exact conditional log-probabilities of given continuations."""
        results = []
        for context, text in zip(contexts, continuations, strict=True):
            cue = self._cue(Request(context, Sampling(temperature=1.0), 0))
            pieces = PIECE.findall(text)
            ids = tuple(self._encode(text))
            self._prefill(self.tokens(context) + ids, book)
            if self._write is not None:
                results.append(TokenLogprobs(ids, tuple(_made_up(p)[0] for p in pieces)))
                continue
            live = self._live(cue)
            odds = _Walk(live if isinstance(live, list) else [])
            results.append(TokenLogprobs(ids, tuple(odds.take(piece) for piece in pieces)))
        return results

    def describe(self) -> Mapping[str, object]:
        """Header fields."""
        return {"generator": "scripted", "name": self._name, "exact": True}

    async def close(self) -> None:
        """Nothing to free; remembers that it was asked."""
        self.closed = True

    def _encode(self, text: str) -> list[int]:
        ids = []
        for piece in PIECE.findall(text):
            token = _token(piece)
            self._pieces[token] = piece
            ids.append(token)
        return ids

    def _prefill(self, ids: tuple[int, ...], book: Spent) -> None:
        new = self._cache.add(ids)
        for each in (book, self.spent):
            each += Spent(prefilled=new, reused=len(ids) - new)

    def _cue(self, request: Request) -> Cue:
        context, sampling = request.context, request.sampling
        reply = "".join(s.text for s in context.reply)
        rank = sampling.first_rank
        who = (request.draw, request.problem, context.thinking)
        return Cue(context.messages, reply, request.seed, rank, sampling, *who)

    async def _one(self, index: int, request: Request, book: Spent, work: _Work) -> tuple[int, Completion | Failure]:
        try:
            cue = self._cue(request)
            for _ in range(self._wait(cue) if self._wait else 0):
                await asyncio.sleep(0)
            failure = self._fail(cue) if self._fail else None
            line = failure or (self._write(cue) if self._write else self._speak(cue))
            if isinstance(line, Failure):
                return index, line
            prompt = self.tokens(request.context)
            room = None if self._max_context is None else self._max_context - len(prompt)
            if room is not None and room < 1:
                said = f"the prompt has {len(prompt)} tokens, the context {self._max_context}; shorten it"
                return index, Failure("context_length", said)
            self._prefill(prompt, book)
            line = Line(line) if isinstance(line, str) else line
            completion = self._clip(line, request.sampling, room, len(prompt))
            for _ in range(completion.generated or 0):
                for _ in range(self._pace):
                    await asyncio.sleep(0)
                if self._seconds:
                    await asyncio.sleep(self._seconds)
                work.tokens += 1
                for each in (book, self.spent):
                    each += Spent(generated=1)
            self._cache.add(prompt + (completion.ids or ()))
            return index, completion
        finally:
            work.ended = True
            self._pending -= 1

    def _clip(self, line: Line, sampling: Sampling, room: int | None, prompt: int) -> Completion:
        """Apply stop strings, the token cap and the context's room to a scripted text."""
        pieces = [*PIECE.findall(line.text), EOS]
        cap = min(c for c in (sampling.max_tokens, room, len(pieces)) if c is not None)
        finish = Finish.EOS if cap == len(pieces) else Finish.LENGTH
        text = "".join(pieces[:cap])
        for k in range(1, cap + 1) if sampling.stops else ():
            so_far = "".join(pieces[:k])
            starts = [at for stop in sampling.stop if (at := so_far.find(stop)) >= 0]
            if starts:
                text, cap, finish = so_far[: min(starts)], k, Finish.STOP
                break
            if any(end in so_far for end in sampling.step_ends):
                text, cap, finish = so_far, k, Finish.STEP
                break
        ends, at = [], 0
        for piece in pieces[:cap]:
            at = min(at + len(piece), len(text))
            ends.append(at)
        given = line.logprobs or tuple(_made_up(piece)[0] for piece in pieces)
        rivals = [_made_up(piece)[1] for piece in pieces]
        top2 = line.top2 or tuple((max(a, b), min(a, b)) for a, b in zip(given, rivals, strict=False))
        if len(given) != len(pieces) or len(top2) != len(pieces):
            counts = f"{len(pieces)} tokens with its end, {len(given)} log-probs and {len(top2)} top2"
            raise UsageError(f"a scripted line has {counts}; the three must be equal")
        ids = (*self._encode("".join(pieces[:cap])), *([_token(EOS)] if pieces[:cap][-1] == EOS else []))
        return Completion.of(
            text,
            finish,
            ids=ids,
            logprobs=given[:cap],
            top2=top2[:cap] if sampling.top2 else None,
            ends=tuple(ends),
            generated=cap,
            prompt_tokens=prompt,
        )

    def _speak(self, cue: Cue) -> Line | Failure:
        """Draw a text token by token from the scripted distribution."""
        live = self._live(cue)
        if isinstance(live, Failure):
            return live
        noise = random.Random(cue.seed)
        walk = _Walk(live)
        pieces: list[str] = []
        logprobs: list[float] = []
        top2: list[tuple[float, float]] = []
        while not pieces or pieces[-1] != EOS:
            odds = walk.odds()
            best = [*sorted(odds.values(), reverse=True)[:2], 0.0]
            if not pieces and cue.rank is not None:
                ranked = sorted(odds, key=lambda p: -odds[p])
                if cue.rank >= len(ranked):
                    said = f"only {len(ranked)} first tokens are scripted, and rank {cue.rank} was asked for"
                    return Failure("first-token", said)
                piece = ranked[cue.rank]
            else:
                piece = _draw(odds, cue.sampling, noise)
            pieces.append(piece)
            logprobs.append(walk.take(piece))
            top2.append((_log(best[0]), _log(best[1])))
        return Line("".join(pieces), tuple(logprobs), tuple(top2))

    def _live(self, cue: Cue) -> list[tuple[str, float]] | Failure:
        """What may follow the reply so far: (rest of text, weight)."""
        question = _find(list(self._texts), cue.messages)
        if question is None:
            return Failure("unscripted", f"the script has no text for {cue.question[:60]!r}; add the question")
        texts = self._texts[question]
        live = [(text[len(cue.reply) :], weight) for text, weight in texts if text.startswith(cue.reply)]
        if live:
            return live
        if self._answers is None:
            return Failure("unscripted", f"no scripted text starts with {cue.reply[-60:]!r}; add one")
        # Forced text that no alternative starts with (a follow-up turn): the model names the answer of the
        # text that it had written, or any answer by its weight.
        begun = [
            (f" {answer}", weight)
            for (answer, weight), (text, _) in zip(self._answers[question], texts, strict=True)
            if cue.reply.startswith(text)
        ]
        return begun or [(f" {answer}", weight) for answer, weight in self._answers[question]]


class _Walk:
    """A walk through a distribution over texts, token by token, with exact conditional probabilities."""

    def __init__(self, texts: Choices) -> None:
        self._texts = [([*PIECE.findall(text), EOS], weight) for text, weight in texts if weight > 0]
        self._depth = 0

    def odds(self) -> dict[str, float]:
        """Probability of every possible next piece, in script order."""
        total = sum(weight for _, weight in self._texts)
        odds: dict[str, float] = {}
        for pieces, weight in self._texts:
            if self._depth < len(pieces):
                odds[pieces[self._depth]] = odds.get(pieces[self._depth], 0.0) + weight / total
        return odds

    def take(self, piece: str) -> float:
        """Go on with ``piece``; its log-probability."""
        logprob = _log(self.odds().get(piece, 0.0))
        at = self._depth
        self._texts = [(pieces, w) for pieces, w in self._texts if at < len(pieces) and pieces[at] == piece]
        self._depth += 1
        return logprob


def _draw(odds: Mapping[str, float], sampling: Sampling, noise: random.Random) -> str:
    """One piece under temperature, top-k and top-p, applied in this order."""
    ranked = sorted(odds, key=lambda p: -odds[p])
    if sampling.temperature == 0:
        return ranked[0]
    weights = {p: math.exp(math.log(odds[p] / odds[ranked[0]]) / sampling.temperature) for p in ranked}
    ranked = ranked[: sampling.top_k or None]
    total, mass, kept = sum(weights[p] for p in ranked), 0.0, []
    for piece in ranked:
        kept.append(piece)
        mass += weights[piece] / total
        if mass >= sampling.top_p:
            break
    return noise.choices(kept, [weights[p] for p in kept])[0]


def _find(questions: Sequence[str], messages: Sequence[Message]) -> str | None:
    """The scripted question that ends last in the user's turns (after exemplars), the longest of those."""
    asked = "\n".join(m.content for m in messages if m.role == "user")
    found = [q for q in questions if q in asked]
    return max(found, key=lambda q: (asked.rfind(q) + len(q), len(q)), default=None)


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else IMPOSSIBLE


def _made_up(piece: str) -> tuple[float, float]:
    """A log-probability for a piece of a ruled text, and that of its rival: fixed by the piece."""
    share = 0.55 + 0.4 * (_token(piece) % 1000) / 1000
    return math.log(share), math.log((1 - share) * 0.9)


def _token(piece: str) -> int:
    """A made-up id that depends on the piece alone; 0 ends a text."""
    return 0 if piece == EOS else 1 + int.from_bytes(blake2b(piece.encode(), digest_size=6).digest(), "big")


__all__ = ["Cue", "Line", "ScriptedGenerator"]
