"""What a server can do, found out by asking it: about twenty small calls, a few hundred tokens.

``probe`` returns a report of plain data. Every check says yes, no or unknown, and what was seen. Which methods work is
a comparison of what they need with what the openai generator can do there; the caller brings the needs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from thence.core.clean import one_line
from thence.core.completion import Ability
from thence.core.errors import ServerError, UsageError
from thence.core.protocols import missing

from .answer import count, on_cpu, read_logprobs, token_ends
from .openai import PATHS, Endpoint
from .server import JSON, CallRejected, Patience, Server, find_key

QUESTION = "Count from one to ten in words."
BEGUN = "One, two, three,"
AT_ONCE = 8
MANY = 8  # choices in one call
NEUTRAL: JSON = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}  # vLLM would take the model's own


class Finding(StrEnum):
    """The outcome of one check."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing a server may be able to do, and what was seen."""

    name: str
    finding: Finding
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found out. ``lacking`` names, per method, the abilities that it would need and the server does not have.

    ``advice`` are options that make thence fit this server.
    """

    url: str
    model: str
    models: tuple[str, ...]
    server: str
    endpoint: Endpoint
    max_context: int | None
    checks: tuple[Check, ...]
    abilities: frozenset[Ability]
    lacking: Mapping[str, tuple[str, ...]]
    advice: tuple[str, ...]
    calls: int
    tokens: int | None

    def record(self) -> JSON:
        """Plain values for JSON."""
        return {
            **asdict(self),
            "abilities": sorted(self.abilities),
            "lacking": {k: list(v) for k, v in self.lacking.items()},
        }


@dataclass(slots=True)
class _Probe:
    """The state of one visit."""

    server: Server
    model: str
    extra: JSON
    endpoint: Endpoint = "chat"
    checks: list[Check] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    abilities: set[Ability] = field(default_factory=set)
    calls: int = 0
    tokens: int | None = 0

    def note(self, name: str, finding: bool | Finding, seen: str = "") -> bool:
        """Add a check; returns whether it is a yes."""
        state = finding if isinstance(finding, Finding) else Finding.YES if finding else Finding.NO
        self.checks.append(Check(name, state, one_line(seen, 200)))
        return state is Finding.YES

    async def ask(self, endpoint: Endpoint | None = None, **fields: Any) -> JSON:
        """One call; raises CallRejected where the server refuses it."""
        endpoint = endpoint or self.endpoint
        body: JSON = {"model": self.model, "temperature": 0.0, "max_tokens": 12}
        if endpoint == "chat":
            body["messages"] = [{"role": "user", "content": QUESTION}]
        else:
            body["prompt"] = f"Q: {QUESTION}\nA:"
        self.calls += 1
        data = await self.server.post(PATHS[endpoint], body | self.extra | fields, lambda: None)
        usage = data.get("usage")
        total = count(usage.get("total_tokens")) if isinstance(usage, dict) else None
        self.tokens = None if self.tokens is None or total is None else self.tokens + total
        return data

    async def attempt(self, name: str, **fields: Any) -> JSON | None:
        """One call for one check; a refusal is a no, in the server's words."""
        try:
            return await self.ask(**fields)
        except CallRejected as rejected:
            self.note(name, False, rejected.said or rejected.message)
            return None


async def probe(
    url: str,
    model: str = "",
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    extra_body: Mapping[str, Any] | None = None,
    needs: Mapping[str, frozenset[Ability]] | None = None,
    patience: Patience | None = None,
) -> Report:
    """Visit the server at ``url`` and try ``model`` (by default the first that it lists).

    ``needs`` maps the names of strategies and prompt styles to the abilities they need. Raises ServerError where the
    server cannot be reached, refuses the key, or completes no text at all.
    """
    patience = patience or Patience(timeout=120.0, retries=2, total=240.0)
    key = find_key(url) if key is None else key
    server = Server(url, key=key, headers=headers, patience=patience)
    try:
        listed = await _listed(server)
        names = tuple(str(m.get("id")) for m in listed)
        if not model and not names:
            await _reach(server)
            raise UsageError(f"{server.shown} lists no models; name one: openai:NAME@{server.shown}")
        model = model or names[0]
        own = next((m for m in listed if m.get("id") == model), {})
        neutral = NEUTRAL if own.get("owned_by") == "vllm" else {}
        visit = _Probe(server, model, {**neutral, **(extra_body or {})})
        seen = ", ".join(names[:8])
        visit.note(
            "lists its models",
            bool(names),
            seen if visit.model in names else f"{seen}; {visit.model} is not among them",
        )
        await _endpoints(visit)
        await _draws(visit)
        await _logprobs(visit)
        await _tokens(visit)
        await _stops(visit)
        await _continues(visit)
        await _at_once(visit)
        if neutral and on_cpu(await server.text("/metrics", above=True) or ""):
            visit.note("seeds are safe", False, "vLLM on a CPU can die on them, so thence sends it none")
            visit.advice.append(
                "start vLLM with --no-enable-chunked-prefill and use seeds=True (Python), to send seeds"
            )
        context = count(own.get("max_model_len"))
        visit.note("tells its context length", context is not None, f"{context} tokens" if context else "")
    finally:
        await server.close()
    abilities = frozenset(visit.abilities)
    lacking = {name: tuple(missing(need, abilities)) for name, need in (needs or {}).items()}
    return Report(
        server.shown,
        visit.model,
        names,
        one_line(str(own.get("owned_by") or "unknown"), 40),
        visit.endpoint,
        context,
        tuple(visit.checks),
        abilities,
        lacking,
        tuple(visit.advice),
        visit.calls,
        visit.tokens,
    )


async def _listed(server: Server) -> list[JSON]:
    data = await server.get("/models")
    models = data.get("data") if data else None
    return [m for m in models if isinstance(m, dict)] if isinstance(models, list) else []


async def _reach(server: Server) -> None:
    """A call that only says why nobody answers."""
    try:
        await server.post(PATHS["chat"], {"model": "", "messages": []}, lambda: None)
    except CallRejected as rejected:
        if rejected.kind in ("connection", "timeout", "broken", "bad_answer"):
            raise ServerError(rejected.message) from None


async def _endpoints(visit: _Probe) -> None:
    """Which endpoint completes text; without any there is nothing more to find out."""
    errors: list[CallRejected] = []
    works: dict[str, bool] = {}
    for endpoint in ("chat", "completions"):
        try:
            data = await visit.ask(endpoint=endpoint)
            text, thought = _text(data)
            seen = repr(text[:60]) + ("; thoughts come in a field of their own" if thought else "")
            works[endpoint] = visit.note(f"{endpoint} endpoint", bool(_choices(data)), seen)
        except CallRejected as rejected:
            errors.append(rejected)
            works[endpoint] = visit.note(f"{endpoint} endpoint", False, rejected.said or rejected.message)
    if not any(works.values()):
        known = "; check the model's name" if errors and errors[0].status == 404 else ""
        reason = errors[0].message if errors else f"{visit.server.shown} returned no choices"
        raise ServerError(f"{reason}{known}")
    if not works["chat"]:
        visit.endpoint = "completions"
        visit.advice.append("--endpoint completions")


async def _draws(visit: _Probe) -> None:
    """Greedy repeats, several choices in one call, and seeds."""
    hot = {"temperature": 1.5, "top_p": 1.0, "max_tokens": 16}
    greedy = [await visit.attempt("greedy text repeats", seed=s) for s in (1, 2)]
    if None not in greedy:
        visit.note("greedy text repeats", _text(greedy[0])[0] == _text(greedy[1])[0])
    singles = [await visit.attempt("a seed repeats its text", seed=s, **hot) for s in (11, 11, 12, 13, 14)]
    first, again, *others = [_text(data)[0] for data in singles]
    varies = any(text != first for text in others)
    if None not in singles:
        repeats = first == again
        seen = "this time; no server promises it" if repeats else ""
        visit.note("a seed repeats its text", varies and repeats, seen if varies else "every seed gives the same text")
    got, texts = 0, set[str]()
    for seed in (7, 8):  # twice, as a model may be very sure of itself
        data = await visit.attempt("n choices in one call", n=MANY, seed=seed, **hot)
        if data is None:
            return
        got = len(_choices(data))
        texts = {_text(data, i)[0] for i in range(got)}
        if got < MANY or len(texts) > 1:
            break
    if got < MANY:
        visit.note("n choices in one call", False, f"{got} of {MANY} choices; the rest takes more calls")
    elif len(texts) > 1:
        visit.note("n choices in one call", True, f"{len(texts)} different texts of {MANY}")
    elif varies:
        visit.note("n choices in one call", False, "all choices are equal: one seed for all of them")
        visit.advice.append("max_n=1 (Python), since the choices of one call are equal")
    else:
        visit.note("n choices in one call", Finding.UNKNOWN, "the model writes the same text every time")


async def _logprobs(visit: _Probe) -> None:
    """Log-probabilities of sampled tokens, the top two, and whether temperature leaves them alone."""
    wanted: JSON = {"logprobs": True, "top_logprobs": 3} if visit.endpoint == "chat" else {"logprobs": 3}
    data = await visit.attempt("log-probabilities", **wanted)
    if data is None:
        return
    pieces, logprobs, tops = _scored(data)
    if visit.note("log-probabilities", logprobs is not None):
        visit.abilities.add(Ability.LOGPROBS)
    if visit.note("the two best per token", tops is not None):
        visit.abilities.add(Ability.TOP2)
    text = _text(data)[0]
    visit.note("tokens spell the text", bool(pieces) and token_ends(pieces, text) is not None)
    if tops is not None:
        warm = await visit.attempt(
            "log-probabilities are untempered", **{**wanted, "temperature": 2.0, "max_tokens": 1}
        )
        others = _scored(warm)[2] if warm is not None else None
        if others:
            untempered = abs(others[0][0] - tops[0][0]) < 0.02
            seen = "" if untempered else "they change with the temperature; compare them only within one temperature"
            visit.note("log-probabilities are untempered", untempered, seen)


async def _tokens(visit: _Probe) -> None:
    """Token counts and ids, and log-probabilities of a given text."""
    data = await visit.attempt("token ids", return_token_ids=True)
    usage: Any = None
    if data is not None:
        choice = (_choices(data) or [{}])[0]
        visit.note(
            "token ids",
            bool(choice.get("token_ids")),
            "every sample counts its own tokens" if choice.get("token_ids") else "",
        )
        usage = data.get("usage")
    told = usage if isinstance(usage, dict) else {}
    both = count(told.get("prompt_tokens")) is not None and count(told.get("completion_tokens")) is not None
    visit.note("counts tokens", both, ", ".join(sorted(k for k in told if count(told[k]) is not None)))
    details = told.get("prompt_tokens_details")
    cached = isinstance(details, dict) and count(details.get("cached_tokens")) is not None
    visit.note("counts cached tokens", cached or count(told.get("prompt_cache_hit_tokens")) is not None)
    scored = await visit.attempt("scores a given text", endpoint="completions", echo=True, logprobs=1, max_tokens=1)
    if scored is not None:
        given = (_choices(scored) or [{}])[0].get("logprobs")
        rows = given.get("token_logprobs") if isinstance(given, dict) else None
        visit.note("scores a given text", isinstance(rows, list) and len(rows) > 2)


async def _stops(visit: _Probe) -> None:
    """A stop string taken from the model's own greedy text must end it there."""
    plain = await visit.attempt("stop strings", max_tokens=24)
    text = _text(plain)[0] if plain is not None else ""
    stop = next((c for c in text[1:] if c.strip() and c != text[0]), "")
    if not stop:
        visit.note("stop strings", Finding.UNKNOWN, "the model wrote too little to try one")
        return
    data = await visit.attempt("stop strings", max_tokens=24, stop=[stop])
    if data is not None:
        cut = _text(data)[0]
        told = "stop_reason" in (_choices(data) or [{}])[0]
        seen = "it says which one was met" if told else "it does not say whether one was met"
        visit.note("stop strings", cut == text.split(stop)[0], seen)


async def _continues(visit: _Probe) -> None:
    """A begun reply is continued if the prompt is then shorter than with a finished turn and a new one."""
    if visit.endpoint == "completions":
        visit.abilities.add(Ability.CONTINUE)
        visit.note("continues a begun reply", True, "as plain text")
        return
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": BEGUN}]
    finished = await visit.attempt("continues a begun reply", messages=turns, max_tokens=1)
    flags = {"continue_final_message": True, "add_generation_prompt": False}
    begun = await visit.attempt("continues a begun reply", messages=turns, max_tokens=4, **flags) if finished else None
    if finished is None or begun is None:
        return
    sizes = [
        count(d["usage"].get("prompt_tokens")) if isinstance(d.get("usage"), dict) else None for d in (finished, begun)
    ]
    if sizes[0] is None or sizes[1] is None:
        visit.note("continues a begun reply", Finding.UNKNOWN, "it does not count prompt tokens")
    elif visit.note("continues a begun reply", sizes[1] < sizes[0], repr(_text(begun)[0])):
        visit.abilities.add(Ability.CONTINUE)


async def _at_once(visit: _Probe) -> None:
    """Eight small calls together: do all get through, and how much longer do they take than one?"""
    start = time.monotonic()
    await visit.attempt("several calls at once")
    alone = time.monotonic() - start
    start, before = time.monotonic(), visit.server.retried
    outcomes = await asyncio.gather(*(visit.ask(seed=i) for i in range(AT_ONCE)), return_exceptions=True)
    failed = sum(isinstance(o, BaseException) for o in outcomes)
    slower = (time.monotonic() - start) / max(alone, 1e-3)
    again = visit.server.retried - before
    seen = f"{AT_ONCE} take {slower:.1f} times as long as one"
    if failed or again:
        seen = f"{failed} of {AT_ONCE} failed, {again} were tried again"
        visit.advice.append("--max-connections 4")
    visit.note("several calls at once", not failed, seen)


def _choices(data: JSON | None) -> list[JSON]:
    choices = data.get("choices") if data else None
    return [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []


def _text(data: JSON | None, index: int = 0) -> tuple[str, str]:
    """Reply and thought of one choice, empty where there is none."""
    choices = _choices(data)
    choice = choices[index] if index < len(choices) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        return str(choice.get("text") or ""), ""
    return str(message.get("content") or ""), str(message.get("reasoning_content") or message.get("reasoning") or "")


def _scored(data: JSON) -> tuple[list[str | bytes], tuple[float, ...] | None, tuple[tuple[float, float], ...] | None]:
    try:
        return read_logprobs((_choices(data) or [{}])[0].get("logprobs"))
    except (AttributeError, KeyError, TypeError, ValueError):
        return [], None, None


__all__ = ["Check", "Finding", "Report", "probe"]
