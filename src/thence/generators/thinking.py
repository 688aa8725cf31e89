"""How thinking is turned on and off and limited: the switches of servers, and a forced end where there is none.

Servers spell their switch in several ways, and many take a field that they do not know without a word. So no spelling
is believed: each is tried on a small question, and counts where a thought is there, or not there, as it was told.

    switch of               on / off                                              limit
    vLLM, SGLang, llama.cpp chat_template_kwargs: enable_thinking, thinking       thinking_token_budget (vLLM),
                            (the variable's name differs between templates)       thinking_budget_tokens (llama.cpp)
    DeepSeek, GLM, Kimi     thinking: {type: enabled / disabled}                  thinking: {budget_tokens}
    OpenRouter              reasoning: {enabled}                                  reasoning: {max_tokens}
    Qwen's and others'      enable_thinking                                       thinking_budget
    OpenAI, Ollama          reasoning_effort: medium / none or minimal            none

Where no field works, Qwen3 models are told in the question (``/no_think``), and a model whose thoughts can be seen gets
a thought that is closed before it begins. Its thoughts are limited by closing them, too: a draw of at most N tokens,
the closing tag, and a draw of the rest. The forced tag counts as generated, as it does where a server forces it, and
has no log-probability; so a sample whose thought was closed so has none at all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from thence.core.budget import Spent
from thence.core.completion import (
    NO_THOUGHT,
    THINK_CLOSE,
    THOUGHT_END,
    Completion,
    Context,
    Failure,
    Finish,
    Origin,
    Request,
    Segment,
    Think,
    too_long,
)
from thence.core.errors import UsageError
from thence.core.problem import Message
from thence.core.seeds import derive

JSON = dict[str, Any]
Outcome = Completion | Failure
PROBED = "A farmer has 17 sheep and buys 3 times as many. All but 9 are sold. How many are left? Check your result."
PROBE_TOKENS = 256
PROBE_LIMIT = 16


@dataclass(frozen=True, slots=True)
class Switch:
    """Fields of a request that turn thinking on, and off."""

    name: str
    on: Mapping[str, Any]
    off: Mapping[str, Any]


SWITCHES = (
    Switch(
        "chat_template_kwargs",
        {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}},
        {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
    ),
    Switch("thinking.type", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}),
    Switch("reasoning.enabled", {"reasoning": {"enabled": True}}, {"reasoning": {"enabled": False}}),
    Switch("enable_thinking", {"enable_thinking": True}, {"enable_thinking": False}),
    Switch("reasoning_effort", {"reasoning_effort": "medium"}, {"reasoning_effort": "none"}),
    Switch("reasoning_effort", {"reasoning_effort": "medium"}, {"reasoning_effort": "minimal"}),
)
LIMITS = ("thinking_budget_tokens", "thinking.budget_tokens", "reasoning.max_tokens", "thinking_budget")
FORCED = "forced"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model wrote when it was asked a small question: its thought's least number of tokens, and whether the
    thought could be read."""

    thought: int
    shown: bool = False

    @staticmethod
    def of(outcome: Outcome) -> Seen | None:
        """What one choice of an answer shows; None where it is no completion."""
        if isinstance(outcome, Failure):
            return None
        return Seen(max(outcome.least_thought, 1 if outcome.thought else 0), bool(outcome.thought))


@dataclass(frozen=True, slots=True)
class Ways:
    """How a server's model is told: by a ``switch``, by a word in the question (``soft``), or by ``closed`` thoughts.

    ``limit`` is the field of the most tokens (dots lead into objects) or ``FORCED``; empty where none was looked for.
    ``plain`` is what the model wrote when nothing was said, once it was asked.
    """

    switch: Switch | None = None
    soft: bool = False
    closed: bool = False
    limit: str = ""
    plain: Seen | None = None

    @property
    def off(self) -> str:
        """How thinking is turned off, in words; empty where it cannot be, or nobody has asked."""
        if self.switch is not None:
            return self.switch.name
        return "/no_think" if self.soft else "closed thoughts" if self.closed else ""

    def describe(self) -> JSON:
        """Header fields: how thinking is turned off, and limited, as far as it was found out."""
        return {} if self.plain is None else {"thinking": {"off": self.off, "limit": self.limit}}

    def applied(self, context: Context) -> Context:
        """The context with what is said in the chat itself."""
        if context.thinking is None:
            return context
        if self.soft and (at := _last_user(context.messages)) is not None:
            said = Message("user", f"{context.messages[at].content} /{'think' if context.thinking else 'no_think'}")
            messages = (*context.messages[:at], said, *context.messages[at + 1 :])
            return replace(context, messages=messages)
        if self.closed and not context.thinking:
            return replace(context, reply=(Segment(NO_THOUGHT), *context.reply))
        return context

    def fields(self, extra: JSON, context: Context) -> JSON:
        """``extra`` with the fields that say it to the server."""
        if context.thinking is not None and self.switch is not None:
            extra = merged(extra, self.switch.on if context.thinking else self.switch.off)
        return extra


Ask = Callable[[Ways, bool | None, int | None], Awaitable[Seen | None]]  # None: the server refused it


@dataclass(frozen=True, slots=True)
class Asked:
    """A server that is asked how its model is told to think: who it is, a question put in one of the ways, whether it
    continues a begun reply, and a field for limits that needs no trial."""

    name: str
    shown: str
    ask: Ask
    continues: bool
    known_limit: str = ""


async def learn(server: Asked, ways: Ways, think: Think, limit: int | None) -> Ways:
    """``ways`` and what else is needed for ``think`` and ``limit``; UsageError where none of the ways works."""
    if ways.plain is None or (think is not Think.ON and not ways.off):
        ways = replace(await _find_switch(server, think), limit=ways.limit)
    return ways if limit is None or ways.limit else replace(ways, limit=await _find_limit(server, ways))


async def _find_switch(server: Asked, think: Think) -> Ways:
    """The first way that turns thinking off where the model thinks by itself, and on where it does not."""
    plain = await server.ask(Ways(), None, None)
    if plain is None:
        raise UsageError(f"--think: {server.shown} refuses a plain question of this model; see thence doctor")
    if think is Think.ON and plain.thought:
        return Ways(plain=plain)
    target, closes = not plain.thought, server.continues and plain.shown
    tried = [Ways(switch=switch) for switch in SWITCHES]
    tried += [Ways(soft=True)] if re.search(r"qwen-?3", server.name, flags=re.I) else []
    tried += [Ways(closed=True)] if closes else []
    for ways in tried:
        seen = await server.ask(ways, target, None)
        if seen is not None and bool(seen.thought) is target:
            return replace(ways, plain=plain)
    names = ", ".join(dict.fromkeys(switch.name for switch in SWITCHES))
    who = f"--think {think}: {server.name} on {server.shown}"
    if target:
        raise UsageError(
            f"{who} writes no thought, and no known switch makes it ({names}); use a model that thinks, or leave "
            "--think out"
        )
    closed = "so is a closed thought" if closes else "no thought can be closed for it"
    raise UsageError(f"{who} thinks whatever it is told: {names} are ignored or refused, and {closed}; use --think on")


async def _find_limit(server: Asked, ways: Ways) -> str:
    """The field in which a thought's most tokens are told, or FORCED; UsageError where neither works.

    Fields are believed if they shorten a thought that is long without them.
    """
    if server.known_limit:
        return server.known_limit
    free = ways.plain if ways.plain is not None and ways.plain.thought else await server.ask(ways, True, None)
    if free is not None and too_long(free.thought, PROBE_LIMIT):
        for field in LIMITS:
            seen = await server.ask(replace(ways, limit=field), True, PROBE_LIMIT)
            if seen is not None and seen.thought > 0 and not too_long(seen.thought, PROBE_LIMIT):
                return field
    if server.continues and free is not None and free.shown:
        return FORCED
    why = "that is not shown cannot be closed" if server.continues else "cannot be closed: it continues no begun reply"
    raise UsageError(
        f"--think N: {server.shown} takes no limit of thoughts ({', '.join(LIMITS)} are ignored or refused), and a "
        f"thought {why}; use --think on"
    )


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> JSON:
    """Two request bodies as one; objects are joined, and ``more`` wins."""
    made = dict(base)
    for key, value in more.items():
        old = made.get(key)
        made[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return made


def nested(path: str, value: object) -> JSON:
    """``a.b`` and 3 as {"a": {"b": 3}}."""
    first, dot, rest = path.partition(".")
    return {first: nested(rest, value) if dot else value}


def _last_user(messages: Sequence[Message]) -> int | None:
    return next((i for i in reversed(range(len(messages))) if messages[i].role == "user"), None)


# --- a forced end -----------------------------------------------------------------------------------------------------

Run = Callable[[Sequence[Request], Spent], AsyncGenerator[tuple[int, Outcome], None]]


@dataclass(frozen=True, slots=True)
class Forcing:
    """What a generator lends for closing thoughts: its draws, the tokens of ``THOUGHT_END`` (None where only a server
    knows them), whether a context ends within a thought, and where it counts tokens that nobody will read."""

    run: Run
    end: tuple[int, ...] | None
    opened: Callable[[Context], bool]
    waste: Callable[[int | None, Spent], None]


async def closed_in_time(
    requests: Sequence[Request], book: Spent, by: Forcing
) -> AsyncGenerator[tuple[int, Outcome], None]:
    """As ``by.run``, and no marked thought goes on for more than its request's ``thought_limit`` tokens.

    A draw is made of two where it is longer than that: its first tokens, the closing tag if it is still thinking, and
    the rest. A first part whose second is cancelled is counted as wasted.
    """
    news: asyncio.Queue[tuple[int, Outcome] | Exception | None] = asyncio.Queue()
    tasks: set[asyncio.Task[None]] = set()
    going_on: set[int] = set()
    unread: dict[int, int | None] = {}  # tokens that have come and were not handed on

    async def first() -> None:
        try:
            async with aclosing(by.run([_first(r) for r in requests], book)) as outcomes:
                async for i, outcome in outcomes:
                    unread[i] = outcome.generated if isinstance(outcome, Completion) else 0
                    if isinstance(outcome, Completion) and _goes_on(requests[i], outcome, by.end):
                        going_on.add(i)
                        tasks.add(asyncio.ensure_future(second(i, outcome)))
                    else:
                        news.put_nowait((i, outcome))
        except Exception as error:
            news.put_nowait(error)
        else:
            news.put_nowait(None)

    async def second(i: int, part: Completion) -> None:
        try:
            outcome = await _finished(requests[i], part, book, by)
            if isinstance(outcome, Completion):
                unread[i] = outcome.generated
            news.put_nowait((i, outcome))
        except Exception as error:
            news.put_nowait(error)

    tasks.add(asyncio.ensure_future(first()))
    ended = False
    try:
        while not (ended and not going_on and news.empty()):
            new = await news.get()
            if new is None:
                ended = True
            elif isinstance(new, Exception):
                raise new
            else:
                going_on.discard(new[0])
                del unread[new[0]]
                yield new
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for tokens in unread.values():
            by.waste(tokens, book)


def _first(request: Request) -> Request:
    """A draw of at most as many tokens as the thought may have."""
    sampling = request.sampling
    limit, cap = sampling.thought_limit, sampling.max_tokens
    if limit is None:
        return request
    sampling = replace(sampling, thought_limit=None, max_tokens=limit if cap is None else min(limit, cap))
    return replace(request, sampling=sampling)


def _inside(part: Completion) -> bool:
    """Whether a first part ends within a thought."""
    return bool(part.text) and part.reply_at == len(part.text) and THINK_CLOSE not in part.text


def _room(request: Request, part: Completion, end: tuple[int, ...] | None) -> int | None:
    """Tokens left for the rest of a draw, after the closing tag if one is forced; None without a cap. A tag whose
    tokens are not known has at most as many as bytes."""
    cap = request.sampling.max_tokens
    if cap is None:
        return None
    drawn = part.generated or request.sampling.thought_limit or 0
    closing = len(THOUGHT_END) if end is None else len(end)
    return cap - drawn - (closing if _inside(part) else 0)


def _goes_on(request: Request, part: Completion, end: tuple[int, ...] | None) -> bool:
    """Whether it was the thought's limit that ended the first part, and not the cap or the context."""
    limit, room = request.sampling.thought_limit, _room(request, part, end)
    if limit is None or part.finish is not Finish.LENGTH or (room is not None and room < 1):
        return False
    return part.generated is None or part.generated >= limit


async def _finished(request: Request, part: Completion, book: Spent, by: Forcing) -> Outcome:
    """The whole draw of which ``part`` is the beginning."""
    opened = by.opened(request.context)
    inside = _inside(part)
    segments = [Segment(part.text, part.continuable_ids, Origin.SAMPLED)]
    if inside:
        segments.append(Segment(THOUGHT_END, by.end))
    sampling = replace(request.sampling, thought_limit=None, first_rank=None, max_tokens=_room(request, part, by.end))
    seed = derive(request.seed, "after the thought")
    rest = replace(request, context=request.context.then(*segments), sampling=sampling, seed=seed)
    async with aclosing(by.run([rest], book)) as outcomes:
        async for _, outcome in outcomes:
            if isinstance(outcome, Failure):
                return part if outcome.kind == "context_length" else outcome
            return joined(part, outcome, inside=inside, end=by.end, opened=opened)
    return Failure("lost", "the generator ended without an outcome for the rest of this request")


def joined(
    part: Completion, rest: Completion, *, inside: bool, end: tuple[int, ...] | None, opened: bool
) -> Completion:
    """Two parts of a draw as one, with the closing tag between them if the first ended ``inside`` a thought."""
    forced = THOUGHT_END if inside else ""
    between = 0 if not inside else len(end) if end is not None else _between(part, rest)
    tokens = end if inside and end is not None else ()
    known = part.ids is not None and rest.ids is not None and (not inside or end is not None)
    whole = Completion.of(part.text + forced + rest.text, rest.finish, opened=opened)
    shift = len(part.text) + len(forced)
    ends = None
    if part.ends is not None and rest.ends is not None and (not inside or end is not None):
        ends = (*part.ends, *(shift for _ in tokens), *(shift + e for e in rest.ends))
    counts = (part.generated, between, rest.generated)
    numbers: dict[str, Any] = {}
    if not inside:  # forced tokens have no log-probability, and a sample has one for each token or none
        for field in ("logprobs", "top2", "values"):
            a, b = getattr(part, field), getattr(rest, field)
            numbers[field] = None if a is None or b is None else (*a, *b)
    return replace(
        whole,
        ids=(*(part.ids or ()), *tokens, *(rest.ids or ())) if known else None,
        ends=ends,
        generated=None if None in counts else sum(c for c in counts if c is not None),
        prompt_tokens=part.prompt_tokens,
        **numbers,
    )


def _between(part: Completion, rest: Completion) -> int | None:
    """Tokens that the server counted between the end of the first part and the beginning of the second."""
    if part.prompt_tokens is None or rest.prompt_tokens is None or part.generated is None:
        return None
    return max(0, rest.prompt_tokens - part.prompt_tokens - part.generated)


__all__ = ["FORCED", "Asked", "Forcing", "Seen", "Switch", "Ways", "closed_in_time", "learn", "merged", "nested"]
