"""One visit to a server: all checks in an order in which each can use what earlier ones found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from thence.core.clean import one_line
from thence.core.completion import Ability
from thence.core.errors import ServerError, UsageError

from ..answer import on_cpu
from ..openai import PATHS, Endpoint
from ..server import JSON, CallRejected, Patience, Server, find_key
from . import load, schemas, scoring, texts, thoughts
from .findings import Check, Finding, Shortfall, Use
from .visit import Visit

NEUTRAL: JSON = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}  # vLLM would take the model's own
PATIENCE = Patience(timeout=120.0, connect=5.0, retries=2, total=240.0)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found out. ``shortfalls`` says what happens where a method asks for more than the server gives.

    ``endpoint`` is None where no text can be had. ``latency`` has the median seconds of a call by calls at once.
    ``advice`` are options that make thence fit this server.
    """

    url: str
    model: str
    models: tuple[str, ...]
    server: str
    endpoint: Endpoint | None
    max_context: int | None
    checks: tuple[Check, ...]
    abilities: frozenset[Ability]
    shortfalls: Mapping[Use, Shortfall]
    latency: tuple[load.Latency, ...]
    advice: tuple[str, ...]
    calls: int
    tokens: int | None

    def found(self, name: str) -> Finding | None:
        """The outcome of one check."""
        return next((check.finding for check in self.checks if check.name == name), None)

    def record(self) -> JSON:
        """Plain values for JSON."""
        return {**asdict(self), "abilities": sorted(self.abilities)}


async def probe(
    url: str,
    model: str = "",
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    extra_body: Mapping[str, Any] | None = None,
    quick: bool = False,
    patience: Patience = PATIENCE,
) -> Report:
    """Visit the server at ``url`` and try ``model`` (by default the first that it lists).

    ``quick`` leaves out how latency grows with the calls at once, which takes most of the calls. Raises ServerError
    where the server cannot be reached, refuses the key, or gives neither texts nor numbers; UsageError where it lists
    no models and none is named.
    """
    key = find_key(url) if key is None else key
    server = Server(url, key=key, headers=headers, patience=patience)
    try:
        listed = await _listed(server)
        names = tuple(str(m.get("id")) for m in listed)
        if not model and not names:
            await _reach(server)
            raise UsageError(f"{server.shown} lists no models; name one: openai:NAME@{server.shown}")
        model = model or names[0]
        own: JSON = next((m for m in listed if m.get("id") == model), {})
        neutral = NEUTRAL if own.get("owned_by") == "vllm" else {}
        visit = Visit(server=server, model=model, own=own, extra={**neutral, **(extra_body or {})})
        seen = ", ".join(names[:8])
        visit.note("lists its models", bool(names), seen if model in names else f"{seen}; {model} is not among them")
        dead = await texts.endpoints(visit)
        numbers = await scoring.numbers(visit)
        if dead is not None and not numbers:
            raise dead
        context, latency = await _completes(visit, quick) if dead is None else (None, ())
    finally:
        await server.close()
    return Report(
        server.shown,
        visit.model,
        names,
        one_line(str(own.get("owned_by") or "unknown"), 40),
        visit.endpoint if dead is None else None,
        context,
        tuple(visit.checks),
        frozenset(visit.abilities),
        visit.shortfalls,
        latency,
        tuple(visit.advice),
        visit.calls,
        visit.tokens,
    )


async def _completes(visit: Visit, quick: bool) -> tuple[int | None, tuple[load.Latency, ...]]:
    """Everything about texts; context length and latencies."""
    await texts.draws(visit)
    await texts.logprobs(visit)
    await texts.tokens(visit)
    await texts.stops(visit)
    await texts.continues(visit)
    await thoughts.thoughts(visit)
    await schemas.guided(visit)
    await scoring.chosen_tokens(visit)
    await load.prefix_cache(visit)
    context = await load.context(visit)
    await texts.at_once(visit)
    if visit.is_vllm and on_cpu(await visit.server.text("/metrics", above=True) or ""):
        visit.note("seeds are safe", False, "vLLM on a CPU can die on them, so thence sends it none")
        visit.advice.append("start vLLM with --no-enable-chunked-prefill and use seeds=True (Python), to send seeds")
    crowded = visit.found("several calls at once") is not Finding.YES
    return context, () if quick or crowded else await load.latency(visit)


async def _listed(server: Server) -> list[JSON]:
    data = await server.get("/models")
    models = data.get("data") if data else None
    return [m for m in models if isinstance(m, dict)] if isinstance(models, list) else []


async def _reach(server: Server) -> None:
    """A call that only says why nobody answers."""
    try:
        await server.post(PATHS["chat"], {"model": "", "messages": []}, lambda: None)
    except CallRejected as rejected:
        if rejected.kind in texts.DEAD:
            raise ServerError(rejected.message) from None


__all__ = ["Report", "probe"]
