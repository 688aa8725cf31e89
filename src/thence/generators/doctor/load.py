"""How much a server takes: context length, reuse of a prefix, and the calls at once that double the time of one."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from uuid import uuid4

from ..answer import context_told, count
from ..server import JSON, CallRejected
from .findings import Finding, Notes
from .visit import Visit, text, told

STATED = ("max_model_len", "context_length", "max_context_length", "context_window")  # fields of a listing
WORDS = 400  # of the long prefix
HITS = re.compile(r"^vllm:prefix_cache_hits(?:_total)?(?:\{[^}]*\})? (\S+)$", re.MULTILINE)

LEVELS = (1, 2, 4, 8, 16, 32, 64)
ROUNDS = 3  # rounds of each level; more for one call alone, whose single latency is all there is of a round
CAP = 16  # tokens of each call
SECONDS = 20.0  # no new level after so long


@dataclass(frozen=True, slots=True)
class Latency:
    """Median seconds of one call with ``at_once`` of them in progress."""

    at_once: int
    seconds: float


async def context(visit: Visit) -> int | None:
    """The context length as the listing says it, else as the refusal of an impossible cap does; never assumed."""
    check = "tells its context length"
    for name in STATED:
        if (stated := count(visit.own.get(name))) is not None:
            visit.note(check, True, f"{stated} tokens, {name} of its listing")
            return stated
    if visit.found("stop strings") is not Finding.YES:  # an accepted cap would then be written full
        visit.note(check, False, "not in its listing")
        return None
    try:
        first = text(await visit.ask(max_tokens=4))[0].strip()[:1]
        await visit.ask(max_tokens=10**7, stop=[first or "."])
    except CallRejected as rejected:
        found = context_told(rejected.said)
        seen = (
            f"{found} tokens, by its refusal of a longer text" if found else f"not in its listing; {refused(rejected)}"
        )
        visit.note(check, found is not None, seen)
        return found
    visit.note(check, False, "not in its listing, and it takes any cap")
    return None


def refused(rejected: CallRejected) -> str:
    """A refusal that says no length."""
    return f"its refusal names none: {rejected.said or rejected.message}"


async def prefix_cache(visit: Visit) -> None:
    """The same new, long prefix twice: how much of the second one comes from the cache."""
    check, words = "reuses a prefix", WORDS
    mark = uuid4().hex  # no earlier visit has left this prefix behind
    for _ in range(3):  # shorter where the context is too small
        long = f"{mark} " + " ".join(f"Line {i} says {i * 7 % 100}." for i in range(words // 4))
        try:
            await visit.ask(max_tokens=1, **visit.put(f"{long}\nWhat does the first line say?"))
            before = await _hits(visit)
            data = await visit.ask(max_tokens=1, **visit.put(f"{long}\nWhat does the last line say?"))
            break
        except CallRejected as rejected:
            if rejected.kind != "context_length":
                visit.note(check, Finding.UNKNOWN, rejected.message)
                return
            words //= 4
    else:
        visit.note(check, Finding.UNKNOWN, "even a short prefix is too long for its context")
        return
    prompt, hits, by = count(told(data).get("prompt_tokens")), _cached(data), "as its answer says"
    if hits is None and before is not None and (after := await _hits(visit)) is not None:
        hits, by = round(after - before), "as its metrics say"
    if hits is None:
        visit.note(check, Finding.UNKNOWN, "not reported")
        return
    whole = "an unknown number of" if prompt is None else str(prompt)
    visit.note(check, hits > 0, f"{hits} of {whole} prompt tokens the second time, {by}")


def _cached(data: JSON) -> int | None:
    """Cached prompt tokens as OpenAI and vLLM, DeepSeek, or llama.cpp report them."""
    usage, timings = told(data), data.get("timings")
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict) and (cached := count(details.get("cached_tokens"))) is not None:
        return cached
    if (cached := count(usage.get("prompt_cache_hit_tokens"))) is not None:
        return cached
    return count(timings.get("cache_n")) if isinstance(timings, dict) else None


async def _hits(visit: Visit) -> float | None:
    """vLLM's counter of tokens found in its prefix cache."""
    found = HITS.findall(await visit.server.text("/metrics", above=True) or "") if visit.is_vllm else []
    return sum(map(float, found)) if found else None


async def latency(visit: Visit) -> tuple[Latency, ...]:
    """Short equal calls, more and more at once, until one of them takes twice as long as alone."""

    async def one() -> bool:
        try:
            await visit.ask(max_tokens=CAP)
        except CallRejected:
            return False
        return True

    async def level(at_once: int) -> list[float] | None:
        async def timed() -> float | None:
            start = time.monotonic()
            return time.monotonic() - start if await one() else None

        found = await asyncio.gather(*(timed() for _ in range(at_once)))
        return [each for each in found if each is not None] if None not in found else None

    return await doubling(visit, level, [n for n in LEVELS if n <= visit.server.limit], "latency doubles")


Level = Callable[[int], Awaitable[list[float] | None]]


async def doubling(notes: Notes, level: Level, levels: Sequence[int], check: str) -> tuple[Latency, ...]:
    """Measure rising levels until the median is twice that of the first, and note where.

    A level that seems to double is measured again together with a single one, because a busy machine can slow down any
    measurement. ``level`` gives the seconds of each call, or None where one failed.
    """
    begun = time.monotonic()
    await level(1)  # the first one pays for what is set up once
    samples: dict[int, list[float]] = {}

    async def measure(at_once: int, rounds: int) -> bool:
        for _ in range(rounds):
            seconds = await level(at_once)
            if seconds is None:
                return False
            samples.setdefault(at_once, []).extend(seconds)
        return True

    def ratio(at_once: int) -> float:
        return median(samples[at_once]) / max(median(samples[1]), 1e-6)

    failed: int | None = None
    doubled: int | None = None
    for at_once in levels:
        rounds = max(2, 3 * ROUNDS // at_once) if at_once < 4 else 2
        if not await measure(at_once, rounds):
            failed = at_once
            break
        if at_once > 1 and ratio(at_once) >= 2:
            if not (await measure(1, ROUNDS) and await measure(at_once, 1)):
                failed = at_once
                break
            if ratio(at_once) >= 2:
                doubled = at_once
                break
        if time.monotonic() - begun > SECONDS:
            break
    steps = tuple(Latency(n, median(s)) for n, s in samples.items())
    if not steps:
        notes.note(check, Finding.UNKNOWN, "a single call failed")
        return steps
    shown = ", ".join(f"{s.at_once}: {_seconds(s.seconds)}" for s in steps)
    where = f"at {doubled} at once" if doubled else f"not by {steps[-1].at_once} at once"
    if failed is not None:
        where = f"calls fail at {failed} at once"
    notes.note(check, Finding.MEASURED, f"{where} (median by calls at once: {shown})")
    return steps


def _seconds(seconds: float) -> str:
    """Two significant digits."""
    digits = max(0, 1 - math.floor(math.log10(max(seconds, 1e-9)))) if seconds < 1 else 1
    return f"{seconds:.{min(digits, 5)}f} s"


__all__ = ["Latency", "context", "doubling", "latency", "prefix_cache"]
