"""The checks of a server's texts: endpoints, draws, log-probabilities, tokens, stop strings, begun replies."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from thence.core.completion import Ability, Completion, Sampling
from thence.core.errors import ServerError

from ..answer import count, read_choice
from ..openai import Endpoint
from ..server import JSON, CallRejected
from .findings import Finding, Use
from .visit import BEGUN, QUESTION, Visit, choices, refusal, scored, text, told, written

MANY = 8  # choices in one call
AT_ONCE = 8
DEAD = frozenset({"connection", "timeout", "broken", "bad_answer"})
ENDPOINTS: tuple[Endpoint, ...] = ("chat", "completions")


async def endpoints(visit: Visit) -> ServerError | None:
    """Which endpoint completes text; the error to raise where none does and nothing else is found.

    A server that nobody can talk to ends the visit at once.
    """
    errors: list[CallRejected] = []
    works: dict[str, bool] = {}
    for endpoint in ENDPOINTS:
        try:
            data = await visit.ask(endpoint=endpoint)
            reply, thought = text(data)
            seen = repr((reply or thought)[:60]) + ("; thoughts come in a field of their own" if thought else "")
            works[endpoint] = visit.note(f"{endpoint} endpoint", bool(choices(data)), seen)
        except CallRejected as rejected:
            if rejected.kind in DEAD and not any(works.values()):
                raise ServerError(rejected.message) from None
            errors.append(rejected)
            works[endpoint] = visit.note(f"{endpoint} endpoint", False, refusal(rejected))
    if not any(works.values()):
        known = "; check the model's name" if errors and errors[0].status == 404 else ""
        reason = errors[0].message if errors else f"{visit.server.shown} returned no choices"
        return ServerError(f"{reason}{known}")
    if not works["chat"]:
        visit.endpoint = "completions"
        visit.advice.append("--endpoint completions (prompts are then plain Q: … A: text, without a chat template)")
    return None


async def draws(visit: Visit) -> None:
    """Greedy repeats, several choices in one call, and seeds."""
    hot = {"temperature": 1.5, "top_p": 1.0, "max_tokens": 16}
    greedy = [await visit.attempt("greedy text repeats", seed=s) for s in (1, 2)]
    if None not in greedy:
        visit.note("greedy text repeats", written(greedy[0]) == written(greedy[1]))
    singles = [await visit.attempt("a seed repeats its text", seed=s, **hot) for s in (11, 11, 12, 13, 14)]
    first, again, *others = [written(data) for data in singles]
    varies = any(other != first for other in others)
    if None not in singles:
        repeats = first == again
        seen = "this time; no server promises it" if repeats else ""
        visit.note("a seed repeats its text", varies and repeats, seen if varies else "every seed gives the same text")
    await _many(visit, hot, varies)


async def _many(visit: Visit, hot: JSON, varies: bool) -> None:
    """``n`` choices of one call. The generator asks again for those that a server leaves out."""
    name, got, texts = "n choices in one call", 0, set[str]()
    for seed in (7, 8):  # twice, as a model may be very sure of itself
        data = await visit.attempt(name, n=MANY, seed=seed, **hot)
        if data is None:
            visit.falls_short(Use.SAMPLES, "the server refuses n; set max_n=1 (Python)", fatal=True)
            visit.advice.append("max_n=1 (Python), since the server refuses n")
            return
        got = len(choices(data))
        texts = {written(data, i) for i in range(got)}
        if got < MANY or len(texts) > 1:
            break
    if got < MANY:
        visit.note(name, False, f"{got} of {MANY} choices; the rest takes more calls")
        visit.falls_short(Use.SAMPLES, "n is not honoured: more calls, each of which reads the prompt again")
    elif len(texts) > 1:
        visit.note(name, True, f"{len(texts)} different texts of {MANY}")
    elif varies:
        visit.note(name, False, "all choices are equal: one seed for all of them")
        visit.falls_short(Use.SAMPLES, "the choices of a call are copies of one; set max_n=1 (Python)", fatal=True)
        visit.advice.append("max_n=1 (Python), since the choices of one call are equal")
    else:
        visit.note(name, Finding.UNKNOWN, "the model writes the same text every time")


async def logprobs(visit: Visit) -> None:
    """Log-probabilities of sampled tokens, the top two, and whether temperature leaves them alone."""
    wanted: JSON = {"logprobs": True, "top_logprobs": 3} if visit.endpoint == "chat" else {"logprobs": 3}
    data = await visit.attempt("log-probabilities", **wanted)
    if data is None:
        return
    pieces, values, tops = scored(data)
    if visit.note("log-probabilities", values is not None, "" if values is not None else "ignored: none came"):
        visit.abilities.add(Ability.LOGPROBS)
    if visit.note("the two best per token", tops is not None):
        visit.abilities.add(Ability.TOP2)
    if values is None:
        return
    if not visit.note("tokens spell the text", bool(pieces) and _spelled(data)):
        why = "the tokens do not spell the text: no confidence in an answer's own tokens"
        visit.falls_short(Use.LOGPROBS, why)
    if tops is not None:
        warm = await visit.attempt(
            "log-probabilities are untempered", **{**wanted, "temperature": 2.0, "max_tokens": 1}
        )
        others = scored(warm)[2] if warm is not None else None
        if others:
            untempered = abs(others[0][0] - tops[0][0]) < 0.02
            seen = "" if untempered else "they change with the temperature; compare them only within one temperature"
            if not visit.note("log-probabilities are untempered", untempered, seen):
                visit.falls_short(Use.LOGPROBS, "log-probabilities are those after the temperature")


def _spelled(data: JSON) -> bool:
    """Whether the generator finds out where each token ends."""
    try:
        done = read_choice(choices(data)[0], Sampling(logprobs=True))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False
    return isinstance(done, Completion) and done.ends is not None


async def tokens(visit: Visit) -> None:
    """Token counts and ids, and log-probabilities of a given text."""
    data = await visit.attempt("token ids", return_token_ids=True)
    ids = bool((choices(data) or [{}])[0].get("token_ids"))
    if data is not None:
        visit.note("token ids", ids, "every sample counts its own tokens" if ids else "")
    usage = told(data or await visit.attempt("counts tokens"))
    both = count(usage.get("prompt_tokens")) is not None and count(usage.get("completion_tokens")) is not None
    visit.note("counts tokens", both, ", ".join(sorted(k for k in usage if count(usage[k]) is not None)))
    if not both:
        visit.falls_short(Use.BUDGET, "the server counts no tokens", fatal=True)
    elif not (ids and visit.is_vllm) and visit.found("n choices in one call") is Finding.YES:
        why = "of several samples of a call only the sum is known; a method that draws them cannot have a budget"
        visit.falls_short(Use.BUDGET, f"{why}; max_n=1 (Python) counts each")
    details = usage.get("prompt_tokens_details")
    cached = isinstance(details, dict) and count(details.get("cached_tokens")) is not None
    visit.note("counts cached tokens", cached or count(usage.get("prompt_cache_hit_tokens")) is not None)
    given = await visit.attempt("scores a given text", endpoint="completions", echo=True, logprobs=1, max_tokens=1)
    if given is not None:
        found = (choices(given) or [{}])[0].get("logprobs")
        rows = found.get("token_logprobs") if isinstance(found, dict) else None
        scores = isinstance(rows, list) and len(rows) > 2
        seen = "thence reads it from local models only" if scores else ""
        visit.note("scores a given text", scores, seen)


async def stops(visit: Visit) -> None:
    """A stop string taken from the model's own greedy text must end it there."""
    plain = await visit.attempt("stop strings", max_tokens=24)
    reply = text(plain)[0]
    stop = next((c for c in reply[1:] if c.strip() and c != reply[0]), "")
    if not stop:
        visit.note("stop strings", Finding.UNKNOWN, "the model wrote too little to try one")
        return
    data = await visit.attempt("stop strings", max_tokens=24, stop=[stop])
    if data is None:
        visit.falls_short(Use.STOPS, "the server refuses stop strings", fatal=True)
        visit.falls_short(Use.STEPS, "the server refuses stop strings", fatal=True)
        return
    says = "stop_reason" in (choices(data) or [{}])[0]
    seen = "it says which one was met" if says else "it does not say whether one was met"
    if not visit.note("stop strings", text(data)[0] == reply.split(stop)[0], seen):
        visit.falls_short(Use.STOPS, "stop strings are ignored: texts are cut here, and what follows is paid for")
        visit.falls_short(Use.STEPS, "stop strings are ignored: a step is the whole rest of a solution")
    elif not says:
        visit.falls_short(Use.STEPS, "not told whether a step or the text ended: one more call for every path")


async def continues(visit: Visit) -> None:
    """A begun reply is continued if the prompt is then shorter than with a finished turn and a new one."""
    name = "continues a begun reply"
    if visit.endpoint == "completions":
        visit.abilities.add(Ability.CONTINUE)
        visit.note(name, True, "as plain text")
        visit.falls_short(Use.BEGUN, "continued as text: its tokens may be others than those that were sampled")
        return
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": BEGUN}]
    finished = await visit.attempt(name, messages=turns, max_tokens=1)
    flags = {"continue_final_message": True, "add_generation_prompt": False}
    begun = await visit.attempt(name, messages=turns, max_tokens=4, **flags) if finished else None
    if finished is None or begun is None:
        return
    sizes = [count(told(d).get("prompt_tokens")) for d in (finished, begun)]
    if sizes[0] is None or sizes[1] is None:
        visit.note(name, Finding.UNKNOWN, "it does not count prompt tokens")
        return
    works = sizes[1] < sizes[0]
    how = "as a begun turn"
    if works and visit.is_vllm and await _tokenizes(visit):
        how = "token by token"
    elif works:
        visit.falls_short(Use.BEGUN, "continued as text: its tokens may be others than those that were sampled")
    if visit.note(name, works, f"{how}: {text(begun)[0]!r}" if works else "ignored: it starts a new turn"):
        visit.abilities.add(Ability.CONTINUE)


async def _tokenizes(visit: Visit) -> bool:
    """Whether vLLM shows its tokenizer, which is what continues a reply that was not all sampled token by token."""
    try:
        data = await visit.post("/tokenize", {"model": visit.model, "prompt": QUESTION}, above=True)
    except CallRejected:
        return False
    return isinstance(data.get("tokens"), list)


async def at_once(visit: Visit) -> None:
    """Eight small calls together: do all get through, and how much longer do they take than one?"""
    name, start = "several calls at once", time.monotonic()
    if await visit.attempt(name) is None:
        return
    alone = time.monotonic() - start
    start, before = time.monotonic(), visit.server.retried
    outcomes: list[Any] = await asyncio.gather(*(visit.ask(seed=i) for i in range(AT_ONCE)), return_exceptions=True)
    failed = sum(isinstance(o, BaseException) for o in outcomes)
    slower = (time.monotonic() - start) / max(alone, 1e-3)
    again = visit.server.retried - before
    seen = f"{AT_ONCE} take {slower:.1f} times as long as one"
    if failed or again:
        seen = f"{failed} of {AT_ONCE} failed, {again} were tried again"
        visit.advice.append("--max-connections 4")
    visit.note(name, not failed, seen)


__all__ = ["at_once", "continues", "draws", "endpoints", "logprobs", "stops", "tokens"]
