"""Whether a served model shows thoughts, and which of the known switches of thinking its server honours.

A switch is judged by what it does: thought tokens with it on and off. A server that takes a field and does nothing
with it is found out, and one that refuses it is quoted. The known spellings are those that ``--think`` tries.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from thence.core.completion import (
    THINK_OPEN,
    Ability,
    Completion,
    Context,
    Sampling,
    Think,
    too_long,
)
from thence.core.errors import UsageError
from thence.core.problem import Message

from ..answer import count, read_choice, thought_tokens
from ..openai import THOUGHT_FIELD
from ..server import CallRejected
from ..thinking import FORCED, LIMITS, PROBED, SWITCHES, Asked, Seen, Ways, learn, merged, nested
from .findings import Finding
from .visit import Visit, choices, refusal, text, told

CAP = 160  # tokens of a reply: a slow server with a thinking model needs seconds for each of the calls
AT_ONCE = 4  # calls: what a server takes at once is found out later
LIMIT = 8  # tokens of a thought, as the budget
FIELDS = (THOUGHT_FIELD, *LIMITS)
HIDDEN = "counted, but not shown"
OFF, BUDGET = "--think on, off and auto", "--think N"


@dataclass(frozen=True, slots=True)
class Thought:
    """What one reply thought: at least ``tokens`` tokens, found in ``where``; ``prompt`` counts the tokens it read."""

    tokens: int
    where: str
    prompt: int | None


@dataclass(slots=True)
class _Asker:
    """Asks the question under a way of telling; each way once."""

    visit: Visit
    asked: list[tuple[tuple[Ways, bool | None, int | None], asyncio.Future[Thought | str]]] = field(
        default_factory=list
    )

    few: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def thought(self, ways: Ways, thinking: bool | None, limit: int | None = None) -> Thought | str:
        """One greedy reply's thought, or why there is none to be had."""
        asked = (replace(ways, plain=None), thinking, limit)
        known = next((reply for key, reply in self.asked if key == asked), None)
        if known is None:
            known = asyncio.ensure_future(self._reply(*asked))
            self.asked.append((asked, known))
        return await known

    async def seen(self, ways: Ways, thinking: bool | None, limit: int | None) -> Seen | None:
        """The same for the rules of ``--think``."""
        found = await self.thought(ways, thinking, limit)
        return None if isinstance(found, str) else Seen(found.tokens, bool(found.tokens) and found.where != HIDDEN)

    async def _reply(self, ways: Ways, thinking: bool | None, limit: int | None) -> Thought | str:
        context = ways.applied(Context((Message("user", PROBED),), thinking=thinking))
        turns = [{"role": m.role, "content": m.content} for m in context.messages]
        more = {}
        if context.reply:
            turns.append({"role": "assistant", "content": "".join(s.text for s in context.reply)})
            more = {"continue_final_message": True, "add_generation_prompt": False}
        fields = ways.fields({"max_tokens": CAP, "messages": turns, **more}, context)
        if limit is not None and ways.limit not in ("", FORCED):
            fields = merged(fields, nested(ways.limit, limit))
        try:
            async with self.few:
                data = await self.visit.ask(**fields)
            done = read_choice(choices(data)[0], Sampling(max_tokens=CAP), closed=bool(context.reply))
        except CallRejected as rejected:
            return refusal(rejected)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return "an answer of an unknown shape"
        usage = told(data)
        details = usage.get("completion_tokens_details")
        counted = (count(details.get("reasoning_tokens")) if isinstance(details, dict) else None) or 0
        if context.reply:  # a closed thought: the server cannot know that what follows is none
            counted = 0
        prompt = count(usage.get("prompt_tokens"))
        if not isinstance(done, Completion) or not done.thought:
            return Thought(counted, HIDDEN, prompt)
        done = replace(done, generated=done.generated or count(usage.get("completion_tokens")))
        where = f"in {THINK_OPEN} tags of the text"
        if text(data)[1]:
            own = (choices(data)[0].get("message") or {}).get("reasoning_content")
            where = f"in the field {'reasoning_content' if own else 'reasoning'}"
        return Thought(max(1, counted, thought_tokens(done, usage)), where, prompt)


async def thoughts(visit: Visit) -> None:
    """Where thoughts are, what each known switch does, and so what ``--think`` can do here."""
    if visit.endpoint != "chat":
        visit.note("thoughts", Finding.UNKNOWN, "only the chat endpoint has switches of thinking")
        return
    asker = _Asker(visit)
    plain = await asker.thought(Ways(), None)
    if isinstance(plain, str):
        visit.note("thoughts", False, plain)
        return
    target = not plain.tokens  # a switch matters where it changes what the model does by itself
    ways = [Ways(switch=switch) for switch in SWITCHES]
    changed = await asyncio.gather(*(asker.thought(each, target) for each in ways))
    others = await asyncio.gather(*(asker.thought(each, not target) for each in ways))
    longest = max((t for t in (plain, *changed, *others) if isinstance(t, Thought)), key=lambda t: t.tokens)
    seen = f"{longest.where}, {longest.tokens} tokens or more" if longest.tokens else f"none in {CAP} tokens"
    visit.note("thoughts", longest.tokens > 0, seen)
    for each, one, other in zip(ways, changed, others, strict=True):
        if each.switch is not None:
            off, on = (other, one) if target else (one, other)
            spelled = each.switch.name
            if sum(switch.name == spelled for switch in SWITCHES) > 1:
                spelled += f" {each.switch.off[spelled]}"
            if visit.note(f"switch {spelled}", *_flag(off, on)) and not visit.quiet:
                visit.quiet = dict(each.switch.off)
    await _limits(visit, asker, plain)
    await _options(visit, asker)


def _flag(off: Thought | str, on: Thought | str) -> tuple[Finding, str]:
    """What a switch does, by thought tokens with it off and on."""
    if isinstance(off, str) or isinstance(on, str):
        return Finding.NO, off if isinstance(off, str) else str(on)
    sizes = f"{off.tokens} thought tokens off, {on.tokens} on"
    if on.tokens and not off.tokens:
        return Finding.YES, f"honoured: {sizes}"
    if on.tokens or off.tokens:
        return Finding.NO, f"ignored: {sizes}"
    if off.prompt != on.prompt:
        return Finding.UNKNOWN, f"no thought is seen, but the prompt changes ({off.prompt} tokens off, {on.prompt} on)"
    return Finding.NO, "ignored: no thought off or on, and the same prompt"


async def _limits(visit: Visit, asker: _Asker, plain: Thought) -> None:
    """Every field that may limit a thought, against the thought without; only one clearly longer can tell.

    The generator takes vLLM's word that it accepts its own field; the field of another server has to be stated.
    """
    ways, free = Ways(), plain
    for switch in SWITCHES if not plain.tokens else ():
        found = await asker.thought(Ways(switch=switch), True)
        if isinstance(found, Thought) and found.tokens > free.tokens:
            ways, free = Ways(switch=switch), found
    long = too_long(free.tokens, LIMIT)
    thinking = True if ways.switch else None
    limited = await asyncio.gather(*(asker.thought(replace(ways, limit=name), thinking, LIMIT) for name in FIELDS))
    for name, got in zip(FIELDS, limited, strict=True):
        own = name == THOUGHT_FIELD and visit.is_vllm
        if isinstance(got, str):
            visit.note(f"limit {name}", False, got)
            continue
        if not long:
            seen = "taken; the thought is too short to tell" if free.tokens else "taken; no thought is seen"
            honoured = Finding.UNKNOWN
        else:
            ignored = too_long(got.tokens, LIMIT)
            honoured = Finding.NO if ignored else Finding.YES
            sizes = f"{got.tokens} thought tokens under a limit of {LIMIT}, {free.tokens} without"
            seen = f"{'ignored' if ignored else 'honoured'}: {sizes}"
        visit.note(f"limit {name}", honoured, seen)
        if own and honoured is not Finding.NO:
            visit.abilities.add(Ability.THOUGHT_LIMIT)
        elif honoured is Finding.YES and "." not in name and not own:
            visit.advice.append(f"thought_field={name!r} (Python), for budget-forcing(limit=N, server=true)")


async def _options(visit: Visit, asker: _Asker) -> None:
    """What ``--think`` would do here, by its own rules."""
    known = THOUGHT_FIELD if Ability.THOUGHT_LIMIT in visit.abilities else ""
    continues = Ability.CONTINUE in visit.abilities
    server = Asked(visit.model, visit.server.shown, asker.seen, continues, known)
    try:
        ways = await learn(server, Ways(), Think.OFF, None)
    except UsageError as error:
        visit.note(OFF, False, _reason(error))
        visit.note(BUDGET, False, "no thought to limit")
        return
    visit.note(OFF, True, f"by {ways.off}")
    try:
        limit = (await learn(server, ways, Think.ON, LIMIT)).limit
    except UsageError as error:
        visit.note(BUDGET, False, _reason(error))
    else:
        visit.note(BUDGET, True, "thence closes the thought" if limit == FORCED else f"by {limit}")


def _reason(error: UsageError) -> str:
    """A refusal without the option's name and the list of what was tried, which stands above."""
    return str(error).partition(": ")[2].partition(" (")[0]


__all__ = ["thoughts"]
