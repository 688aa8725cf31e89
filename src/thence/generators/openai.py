"""Any OpenAI-compatible server as a generator: vLLM, llama.cpp, OpenAI and the many that speak like it.

Equal requests become one call with ``n=`` and one seed, because a server then reads the prompt once; where it
returns fewer choices than asked, the rest comes from more calls. Every sampling parameter is sent, because servers
fill gaps from the model's own generation config. A server's samples are records, not reproducible draws: a seed is
sent, and nothing is promised.

Token counts are the server's: of each choice where it shows token ids or log-probabilities, of the call
otherwise. A choice whose own count stays unknown (one of several in a call) says None; ``max_n=1`` makes
every call count itself. What a cancelled call has cost no server tells; the book counts such calls as
``untold``. Where a server does not say how much of a prompt it took from its cache, ``prefilled`` counts
all of it and ``reused`` is None.

A begun reply is continued token by token on vLLM (the tokens that were sampled, not the text tokenized again), on other
servers as a begun turn of the assistant where they can, and as plain text on the completions endpoint.

``Sampling.schema`` is sent as ``response_format``; whether a server heeds it is found out by one call.

A thought is closed after ``Sampling.thought_limit`` tokens by the server's own switch where it has one. Only vLLM
(0.32) is known here and asked (``thinking_token_budget``; it refuses it unless it was started with
``--reasoning-parser`` or ``--reasoning-config``); the field of another server is stated (``thought_field``,
``thinking_budget_tokens`` for llama.cpp). A server that takes the field and ignores it is found out by its first
thought that is longer. How thinking is turned on and off is in thinking.py.

A completion that ended at "stop" is a natural end unless the server says which stop string it met, or stop
strings were given and it does not say: then it counts as stopped, and as ended if it is empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

from thence.core.budget import Spent
from thence.core.completion import (
    THINK_CLOSE,
    THINK_OPEN,
    Ability,
    Completion,
    Context,
    Failure,
    Request,
    Sampling,
    Think,
    too_long,
)
from thence.core.errors import ModelError, ServerError, UsageError
from thence.core.forms import SCHEMA, begins_in_schema
from thence.core.problem import Message
from thence.core.seeds import digest

from .answer import Outcome, count, on_cpu, read_choice, reconcile, room_left, thought_tokens
from .arrivals import arrivals
from .server import JSON, CallRejected, Patience, Server, find_key
from .thinking import FORCED, PROBE_TOKENS, PROBED, Asked, Forcing, Seen, Ways, closed_in_time, learn, merged
from .thinking import nested as field_of

Endpoint = Literal["chat", "completions"]
Renderer = Callable[[Context], str]
Draw = tuple[int, Request]

PATHS: dict[str, str] = {"chat": "/chat/completions", "completions": "/completions"}
CONTINUES: dict[str, str] = {"chat": "assistant-prefix", "completions": "prompt-with-steps"}
OURS = frozenset(  # what thence sets itself
    {"model", "messages", "prompt", "n", "stream", "stop", "seed", "temperature", "top_p", "top_k", "max_tokens"}
) | {"max_completion_tokens", "logprobs", "top_logprobs", "echo", "continue_final_message", "add_generation_prompt"}
PLAIN_STOP = ("\nQ:",)  # ends a reply under the plain rendering, where nothing else would
SEEDS = 2**31  # the range that every server takes
MAX_N = 128
PROMPTS_KEPT = 4096
THOUGHT_FIELD = "thinking_token_budget"  # vLLM's
SCHEMA_TOKENS = 256  # of the call that finds out whether decoding is guided; the schema's first words are enough
TOP_ASKED = 3  # for the best two: vLLM counts the sampled token among those asked for, however unlikely it is


def parse_model(spec: str) -> tuple[str, str]:
    """``NAME@URL`` as (name, URL); names may hold slashes and at-signs.

    >>> parse_model("acorn@http://127.0.0.1:8000/v1")
    ('acorn', 'http://127.0.0.1:8000/v1')
    """
    match = re.fullmatch(r"(.+?)@(https?://.+)", spec.removeprefix("openai:").strip())
    if match is None:
        raise UsageError("this names no model on a server; write openai:NAME@http://HOST:PORT/v1")
    return match[1], match[2]


def plain(context: Context) -> str:
    """A chat as plain text for the completions endpoint: ``Q: …``, ``A:``, and the reply so far."""
    parts = []
    for message in context.messages:
        mark = {"user": "Q: ", "assistant": "A: ", "system": ""}[message.role]
        parts.append(f"{mark}{message.content}\n" + ("\n" if message.role == "system" else ""))
    reply = begun(context)
    return "".join(parts) + "A:" + (reply if reply[:1].isspace() or not reply else " " + reply)


def guided_by(schema: str) -> JSON:
    """The field in which OpenAI, vLLM, SGLang and llama.cpp take a JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": json.loads(schema)}}


def begun(context: Context) -> str:
    """The text of the reply so far."""
    return "".join(s.text for s in context.reply)


def thinking_in(context: Context) -> bool:
    """Whether the reply so far ends in the middle of a thought."""
    reply = begun(context)
    return reply.rfind(THINK_OPEN) > reply.rfind(THINK_CLOSE)


class OpenAIGenerator:
    """A model ``name`` on the server at ``url``.

    ``endpoint`` is "chat" (the server renders) or "completions" (``renderer`` does, by default ``plain``).
    ``headers`` and ``extra_body`` go with every call; ``extra_body`` cannot set what thence sets itself.
    ``max_connections`` bounds the calls at once, ``max_n`` the choices of one call, ``timeout`` the seconds of one
    try (``patience`` says the rest). Without a ``key`` that of ``find_key`` is used. ``abilities`` states what the
    server can do; by default that is found out at first use (``connect``), and before that a server is taken to
    give log-probabilities. ``seeds`` says whether seeds are sent; by default to all servers but vLLM on a CPU,
    which they can kill (``on_cpu``). ``thought_field`` is the field of a request in which the server takes the most
    tokens of a thought, where it has one.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        endpoint: Endpoint = "chat",
        max_connections: int = 64,
        max_n: int = MAX_N,
        timeout: float | None = None,
        patience: Patience | None = None,
        renderer: Renderer | None = None,
        abilities: frozenset[Ability] | None = None,
        max_context: int | None = None,
        seeds: bool | None = None,
        thought_field: str | None = None,
    ) -> None:
        if endpoint not in PATHS:
            raise UsageError(f"the endpoint is {endpoint!r}; it is chat or completions")
        if thought_field is not None and (thought_field in OURS or not thought_field):
            raise UsageError(f"thought-field is {thought_field!r}, which limits no thought; see the server's manual")
        clash = sorted(OURS & set(extra_body or ()))
        if clash:
            raise UsageError(f"the extra body cannot set {', '.join(clash)}; use the option of that name")
        if max_n < 1:
            raise UsageError(f"max-n is {max_n}; it must be at least 1")
        self._name, self._endpoint = name, endpoint
        patience = patience or Patience()
        if timeout is not None:
            patience = replace(patience, timeout=timeout, total=max(patience.total, 2 * timeout))
        key = find_key(url) if key is None else key
        self._server = Server(url, key=key, headers=headers, max_connections=max_connections, patience=patience)
        self._extra_body = dict(extra_body or {})
        self._renderer = renderer or plain
        self._plain_stop = PLAIN_STOP if endpoint == "completions" and renderer is None else ()
        self._stated = abilities is not None
        assumed = {Ability.LOGPROBS, Ability.TOP2} | ({Ability.CONTINUE} if endpoint == "completions" else set())
        self._abilities = frozenset(assumed) if abilities is None else abilities
        self._thought_field, self._tried_thought = thought_field or THOUGHT_FIELD, thought_field is not None
        if thought_field is not None:
            self._abilities |= {Ability.THOUGHT_LIMIT}
        self._max_n, self._max_context, self._seeds = max_n, max_context, seeds
        self._cap_name = "max_tokens"
        self._is_vllm = False
        self._connected = False
        self._tried_continue = False
        self._tried_schema = False
        self.schema_said = ""  # why decoding is not guided by a schema, once that was tried
        self._prompts: dict[tuple[tuple[Message, ...], bool | None], tuple[int, ...]] = {}
        self._ways = Ways()  # how the model is told to think
        self._pending = 0
        self.calls = 0
        self.spent = Spent()

    @property
    def identity(self) -> str:
        """Served name, URL without credentials and query, endpoint, and a digest of the extra body."""
        extra = f"+{digest(sorted(self._extra_body.items()))[:12]}" if self._extra_body else ""
        return f"openai:{self._name}@{self._server.shown}#{self._endpoint}{extra}"

    @property
    def abilities(self) -> frozenset[Ability]:
        """What the server can do, as stated or as found out by ``connect``."""
        return self._abilities

    @property
    def capacity(self) -> int:
        """Calls that may run at once."""
        return self._server.limit

    @property
    def pending(self) -> int:
        """Calls that run or wait now; one call may draw several samples."""
        return self._pending

    @property
    def defaults(self) -> Sampling:
        """thence's own defaults: what a server would fill in is not known."""
        return Sampling()

    @property
    def max_context(self) -> int | None:
        """As given, or as the server says once connected."""
        return self._max_context

    def tokens(self, context: Context) -> tuple[int, ...] | None:
        """None: only the server knows them."""
        return None

    def decode(self, ids: Sequence[int]) -> str:
        """Only the server could."""
        raise ModelError("the openai generator has no tokenizer and cannot decode token ids; use a local model")

    def describe(self) -> Mapping[str, object]:
        """Header fields: where the samples come from, and that a seed does not bring them back."""
        return {
            "generator": "openai",
            "served": self._name,
            "url": self._server.shown,
            "endpoint": self._endpoint,
            "server": "vllm" if self._is_vllm else "unknown",
            "seeds": "not sent" if self._seeds is False else "sent",
            "continues": "tokens" if self._is_vllm and self._endpoint == "chat" else CONTINUES[self._endpoint],
            "extra_body": sorted(self._extra_body),
            **self._ways.describe(),
            "exact": False,
        }

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self._server.close()

    async def connect(self, needs: frozenset[Ability] = frozenset(), book: Spent | None = None) -> None:
        """Learn what the server says of itself, and try out those ``needs`` that it does not speak of.

        Costs one listing of its models, once; two tiny calls if continuing is needed and nobody has said whether
        the server can; one if decoding is to be guided; and one if a vLLM server is to close thoughts. Never fails
        because a listing is not there.
        """
        async with self._server.here().lock:
            if not self._connected:
                await self._learn()
                self._connected = True
            if Ability.CONTINUE in needs - self._abilities and not self._stated and not self._tried_continue:
                self._tried_continue = True
                if await self._continues(Spent() if book is None else book):
                    self._abilities |= {Ability.CONTINUE}
            if Ability.JSON_SCHEMA in needs - self._abilities and not self._stated and not self._tried_schema:
                self._tried_schema = True
                if await self._guides(Spent() if book is None else book):
                    self._abilities |= {Ability.JSON_SCHEMA}
            if Ability.THOUGHT_LIMIT in needs - self._abilities and not self._stated and not self._tried_thought:
                self._tried_thought = True
                if self._is_vllm and await self._limits_thought(Spent() if book is None else book):
                    self._abilities |= {Ability.THOUGHT_LIMIT}

    async def learn_thinking(self, think: Think, limit: int | None = None) -> bool:
        """Find out how this model is told whether to think: two tiny calls and at most a dozen of 256 tokens, once."""
        needs = {Ability.CONTINUE} | ({Ability.THOUGHT_LIMIT} if limit is not None else set())
        await self.connect(frozenset(needs))
        known = self._thought_field if Ability.THOUGHT_LIMIT in self._abilities else ""
        known = known or ("reasoning.max_tokens" if "openrouter.ai" in self._server.shown else "")
        server = Asked(self._name, self._server.shown, self._seen, Ability.CONTINUE in self._abilities, known)
        async with self._server.here().lock:
            self._ways = await learn(server, self._ways, think, limit)
        return limit is not None and self._ways.limit == FORCED

    async def _seen(self, ways: Ways, thinking: bool | None, limit: int | None) -> Seen | None:
        """The thought before the answer to a small question, asked for in one of the ways; None if that is refused."""
        context = Context((Message("user", PROBED),), thinking=thinking)
        sampling = Sampling(temperature=1.0, max_tokens=PROBE_TOKENS, thought_limit=limit)
        before, self._ways, book = self._ways, ways, Spent()
        try:
            context = ways.applied(context)
            data = await self._ask(context, sampling, 0, 1, book)
        except CallRejected as rejected:
            if 400 <= rejected.status < 500 and rejected.alone:
                return None
            raise ServerError(rejected.message) from None
        finally:
            self._ways = before
        self._bill(data.get("usage"), book)
        outcomes = self._read(data, replace(sampling, thought_limit=None), context)
        return Seen.of(outcomes[0]) if outcomes else None

    async def run(self, requests: Sequence[Request], book: Spent) -> AsyncGenerator[tuple[int, Outcome], None]:
        """As ``_run``; thoughts that the server does not limit by itself are closed after their limit."""
        run = self._run(requests, book)
        if self._ways.limit == FORCED and any(r.sampling.thought_limit is not None for r in requests):
            run = closed_in_time(requests, book, Forcing(self._run, None, thinking_in, self._waste))
        async with aclosing(run) as outcomes:
            async for each in outcomes:
                yield each

    def _waste(self, tokens: int | None, book: Spent) -> None:
        self._note(book, Spent(wasted=tokens))

    async def _run(self, requests: Sequence[Request], book: Spent) -> AsyncGenerator[tuple[int, Outcome], None]:
        """Yield (index, outcome) in order of arrival; closing closes the HTTP requests that still run.

        Raises ServerError or ModelError for what is true of every call (a wrong key, a model that is not
        served, a server that lets nothing through); what concerns one request is its Failure.
        """
        if any(r.sampling.first_rank is not None for r in requests):
            raise ModelError("the openai generator cannot branch on the first token; use a local model")
        requests = [replace(r, context=self._ways.applied(r.context)) for r in requests]
        chunks = self._chunks(list(enumerate(requests)))
        left = len(chunks)
        self._pending += left
        made: dict[int, Outcome] = {}
        try:
            continues = any(r.context.reply for r in requests)
            await self.connect(frozenset({Ability.CONTINUE}) if continues else frozenset(), book)
            if continues and Ability.CONTINUE not in self._abilities:
                shown = self._server.shown
                raise ModelError(f"{shown} cannot continue a begun reply; use a local model or a vLLM server")
            async with aclosing(arrivals(self._draw(chunk, book, made) for chunk in chunks)) as parts:
                async for part in parts:
                    left -= 1
                    self._pending -= 1
                    for i in part:
                        yield i, made.pop(i)
        finally:
            self._pending -= left
            for outcome in made.values():
                if isinstance(outcome, Completion):
                    self._note(book, Spent(wasted=outcome.generated))

    def _chunks(self, draws: list[Draw]) -> list[list[Draw]]:
        """Equal requests together, at most ``max_n``; greedy ones alone (servers refuse n > 1 there)."""
        groups: dict[tuple[Context, Sampling], list[Draw]] = {}
        for i, request in draws:
            groups.setdefault((request.context, request.sampling), []).append((i, request))
        chunks = []
        for (_, sampling), group in groups.items():
            size = 1 if sampling.temperature == 0 else self._max_n
            chunks += [group[k : k + size] for k in range(0, len(group), size)]
        return chunks

    async def _draw(self, draws: list[Draw], book: Spent, made: dict[int, Outcome]) -> list[int]:
        """One call for ``draws``, equal but for their seeds, and more calls for what it left out."""
        context, sampling = draws[0][1].context, draws[0][1].sampling
        try:
            data = await self._ask(context, sampling, draws[0][1].seed, len(draws), book)
        except CallRejected as rejected:
            if not rejected.alone:
                raise ServerError(rejected.message) from None
            failure = Failure(rejected.kind, rejected.message, rejected.attempts)
            made |= {i: failure for i, _ in draws}
            return [i for i, _ in draws]
        self._bill(data.get("usage"), book)
        promised = context.thinking is None  # a run that is told to think is told what was ignored (core.think)
        asked = sampling if promised else replace(sampling, thought_limit=None)
        outcomes = self._read(data, asked, context)[: len(draws)]
        if not outcomes:
            text = f"{self._server.shown} returned an answer without choices; see thence doctor"
            outcomes = [Failure("bad_answer", text)] * len(draws)
        made |= {i: outcome for (i, _), outcome in zip(draws, outcomes, strict=False)}
        rest = draws[len(outcomes) :]
        if rest:
            self._max_n = len(outcomes)
            async with aclosing(arrivals(self._draw(chunk, book, made) for chunk in self._chunks(rest))) as parts:
                async for _ in parts:
                    pass
        return [i for i, _ in draws]

    async def _ask(self, context: Context, sampling: Sampling, seed: int, n: int, book: Spent) -> JSON:
        """One call, sent again with a smaller cap or another name for it where the server wants that."""
        cap = sampling.max_tokens
        if self._max_context is not None:
            cap = self._max_context if cap is None else min(cap, self._max_context)
        if cap is None and self._endpoint == "completions":
            raise UsageError("the completions endpoint needs a token cap; set --max-tokens")
        ids = await self._prompt_ids(context) if context.reply else None
        for last in (False, False, False, True):
            path, body = self._body(context, replace(sampling, max_tokens=cap), seed, n, ids)
            try:
                data = await self._post(path, body, book)
            except CallRejected as rejected:
                room = room_left(rejected.said) if rejected.kind == "context_length" else None
                if rejected.kind == "not_found":
                    raise self._server.broken(await self._missing(rejected)) from None
                if "max_completion_tokens" in rejected.said and "max_tokens" in body and not last:
                    self._cap_name = "max_completion_tokens"
                elif room is not None and room > 0 and (cap is None or room < cap) and not last:
                    cap = room
                else:
                    raise
            else:
                if not context.reply:
                    self._remember(context, data.get("prompt_token_ids"))
                return data
        raise AssertionError("unreachable: the last try returns or raises")

    async def _prompt_ids(self, context: Context) -> list[int] | None:
        """The tokens of chat and begun reply: what was sampled, as it was sampled. None where they cannot be had.

        A chat template may trim a begun reply or put a blank before it; tokens are continued as they are.
        """
        if not self._is_vllm or self._endpoint != "chat":
            return None
        if (context.messages, context.thinking) not in self._prompts:
            turns = [{"role": m.role, "content": m.content} for m in context.messages]
            extra = self._ways.fields(self._extra_body, context)
            extra = {k: v for k, v in extra.items() if k.startswith("chat_template")}
            told = await self._tokenize({"messages": turns, "add_generation_prompt": True, **extra})
            self._remember(context, told)
        ids = self._prompts.get((context.messages, context.thinking))
        if ids is None:
            return None
        whole = list(ids)
        for segment in context.reply:
            part: object = segment.ids
            if part is None:
                part = await self._tokenize({"prompt": segment.text, "add_special_tokens": False})
            if not isinstance(part, Sequence):
                return None
            whole += part
        return whole

    async def _tokenize(self, what: JSON) -> object:
        """vLLM's own tokenizer; None where the server keeps it to itself."""
        try:
            data = await self._server.post("/tokenize", {"model": self._name, **what}, lambda: None, above=True)
        except CallRejected:
            return None
        return data.get("tokens")

    def _remember(self, context: Context, ids: object) -> None:
        """Keep the tokens of a chat for continuing it; the oldest go first."""
        if isinstance(ids, list) and all(isinstance(i, int) for i in ids):
            self._prompts[context.messages, context.thinking] = tuple(ids)
            if len(self._prompts) > PROMPTS_KEPT:
                del self._prompts[next(iter(self._prompts))]

    async def _post(self, path: str, body: JSON, book: Spent) -> JSON:
        self.calls += 1
        return await self._server.post(path, body, lambda: self._note(book, Spent(untold=1)))

    def _body(
        self, context: Context, sampling: Sampling, seed: int, n: int, ids: list[int] | None = None
    ) -> tuple[str, JSON]:
        """Path and body of a call; with ``ids`` they are the prompt."""
        body: JSON = {"model": self._name, "temperature": sampling.temperature, "top_p": sampling.top_p}
        body["n"] = n
        if self._seeds is not False:
            body["seed"] = seed % SEEDS
        if sampling.max_tokens is not None:
            body[self._cap_name] = sampling.max_tokens
        if stop := [*sampling.stops, *self._plain_stop]:
            body["stop"] = stop
        if self._is_vllm:  # what its generation config could set otherwise
            body |= {"top_k": sampling.top_k, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True}
        elif sampling.top_k:
            body["top_k"] = sampling.top_k
        extra = self._ways.fields(self._extra_body, context)
        if sampling.schema is not None:
            body["response_format"] = guided_by(sampling.schema)
        if sampling.thought_limit is not None:
            extra = merged(extra, field_of(self._ways.limit or self._thought_field, sampling.thought_limit))
        wanted = sampling.top2 or sampling.logprobs
        if self._endpoint == "completions" or ids is not None:
            body["prompt"] = self._renderer(context) if ids is None else ids
            if wanted:
                body["logprobs"] = TOP_ASKED if sampling.top2 else 1
            return PATHS["completions"], body | extra
        body["messages"] = [{"role": m.role, "content": m.content} for m in context.messages]
        if context.reply:
            body["messages"].append({"role": "assistant", "content": begun(context)})
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if wanted:
            body["logprobs"] = True
        if sampling.top2:
            body["top_logprobs"] = TOP_ASKED
        return PATHS["chat"], body | extra

    def _read(self, data: JSON, sampling: Sampling, context: Context) -> list[Outcome]:
        """The choices of an answer as completions, with token counts that add up to the server's."""
        opened = thinking_in(context)
        closed = not opened and THINK_CLOSE in begun(context)
        choices = data.get("choices")
        choices = choices if isinstance(choices, list) else []
        usage = data.get("usage")
        told: JSON = usage if isinstance(usage, dict) else {}
        prompt, total = count(told.get("prompt_tokens")), count(told.get("completion_tokens"))
        outcomes: list[Outcome] = []
        for choice in choices:
            try:
                outcomes.append(read_choice(choice, sampling, self._plain_stop, opened, closed))
            except (AttributeError, KeyError, TypeError, ValueError):
                text = f"{self._server.shown} returned a choice of an unknown shape; see thence doctor"
                outcomes.append(Failure("bad_answer", text))
        done = [replace(o, prompt_tokens=prompt) for o in outcomes if isinstance(o, Completion)]
        counts = reconcile([o.generated for o in done], [o.finish for o in done], total)
        if len(done) < len(outcomes):  # what the others cost is not known
            counts = [o.generated for o in done]
        counted = iter([replace(o, generated=c) for o, c in zip(done, counts, strict=True)])
        final = [next(counted) if isinstance(o, Completion) else o for o in outcomes]
        details = told.get("completion_tokens_details")
        if len(final) == 1 and isinstance(final[0], Completion) and isinstance(details, dict) and not closed:
            final = [replace(final[0], thought_tokens=count(details.get("reasoning_tokens")))]
        for o in final:
            if isinstance(o, Completion) and o.text:
                self._check_logprobs(o, sampling)
                self._check_thought(o, sampling, told if len(final) == 1 else {})
        return final

    def _check_logprobs(self, completion: Completion, sampling: Sampling) -> None:
        for asked, got, what in (
            (sampling.top2, completion.top2, "top-2 log-probabilities"),
            (sampling.logprobs, completion.logprobs, "log-probabilities"),
        ):
            if asked and got is None:
                text = f"{self._server.shown} gives no {what}; use a method that needs none, or a local model"
                raise ModelError(text)

    def _check_thought(self, completion: Completion, sampling: Sampling, told: JSON) -> None:
        limit, length = sampling.thought_limit, thought_tokens(completion, told)
        if limit is not None and too_long(length, limit):
            raise ModelError(
                f"{self._server.shown} was told to close a thought after {limit} tokens ({self._thought_field}) and "
                f"let one go on for {length} or more: it ignores the field; leave out server=true, and thence closes it"
            )

    def _bill(self, usage: object, book: Spent) -> None:
        """Enter what the server says a call has cost."""
        told: JSON = usage if isinstance(usage, dict) else {}
        details = told.get("prompt_tokens_details")
        cached = count(details.get("cached_tokens")) if isinstance(details, dict) else None
        if cached is None:
            cached = count(told.get("prompt_cache_hit_tokens"))
        prompt = count(told.get("prompt_tokens"))
        fresh = prompt if prompt is None or cached is None else max(0, prompt - cached)
        self._note(book, Spent(prefilled=fresh, reused=cached, generated=count(told.get("completion_tokens"))))

    def _note(self, book: Spent, cost: Spent) -> None:
        for each in (book, self.spent):
            each += cost

    async def served(self) -> list[JSON]:
        """The server's list of models; empty where it has none."""
        data = await self._server.get("/models")
        models = data.get("data") if data else None
        return [m for m in models if isinstance(m, dict)] if isinstance(models, list) else []

    async def _learn(self) -> None:
        """What the listing of models says: context length, and whether this is a vLLM server."""
        for model in await self.served():
            if model.get("id") == self._name:
                self._is_vllm = model.get("owned_by") == "vllm"
                if self._max_context is None:
                    self._max_context = count(model.get("max_model_len"))
        if self._is_vllm and not self._stated:
            self._abilities |= {Ability.CONTINUE}
        if self._is_vllm and self._seeds is None:
            self._seeds = not on_cpu(await self._server.text("/metrics", above=True) or "")

    async def _continues(self, book: Spent) -> bool:
        """Whether the server continues a begun reply.

        It then reads fewer tokens than for a finished turn and the start of a new one.
        """
        sizes = []
        turns = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, two, three,"}]
        body: JSON = {"model": self._name, "messages": turns, self._cap_name: 1, "temperature": 0.0}
        for flags in ({}, {"continue_final_message": True, "add_generation_prompt": False}):
            try:
                data = await self._post(PATHS["chat"], body | flags | self._extra_body, book)
            except CallRejected:
                return False
            self._bill(data.get("usage"), book)
            usage = data.get("usage")
            sizes.append(count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None)
        return sizes[0] is not None and sizes[1] is not None and sizes[1] < sizes[0]

    async def _guides(self, book: Spent) -> bool:
        """Whether the server guides decoding by a JSON schema: asked for something else, it replies in JSON.

        A server that refuses the schema, ignores it, or thinks past the cap of this call does not.
        """
        context = Context((Message("user", "Count from one to three in words."),))
        sampling = Sampling(temperature=0.0, max_tokens=SCHEMA_TOKENS, schema=SCHEMA)
        path, body = self._body(context, sampling, 0, 1)
        try:
            data = await self._post(path, body, book)
        except CallRejected as rejected:
            self.schema_said = f"refuses a JSON schema ({rejected.status or rejected.kind}: {rejected.said})"
            return False
        self._bill(data.get("usage"), book)
        outcomes = self._read(data, sampling, context)
        heeded = any(isinstance(o, Completion) and begins_in_schema(o.reply) for o in outcomes)
        self.schema_said = "" if heeded else "takes a JSON schema and does not keep to it"
        return heeded

    async def _limits_thought(self, book: Spent) -> bool:
        """Whether a vLLM server takes a limit of thoughts; it refuses it where it does not know what a thought is."""
        context = Context((Message("user", "Count."),))
        path, body = self._body(context, Sampling(temperature=0.0, max_tokens=1, thought_limit=1), 0, 1)
        try:
            data = await self._post(path, body, book)
        except CallRejected:
            return False
        self._bill(data.get("usage"), book)
        return True

    async def _missing(self, rejected: CallRejected) -> ModelError:
        """Why a 404: the model is not served, or the path is not there."""
        shown, names = self._server.shown, [str(m.get("id")) for m in await self.served()]
        if not names:
            return ModelError(f"{rejected.message}; check the model's name and the URL, which usually ends in /v1")
        if self._name in names:
            other = "completions" if self._endpoint == "chat" else "chat"
            return ModelError(f"{shown} has no {self._endpoint} endpoint ({rejected.said}); try --endpoint {other}")
        listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        return ModelError(f"{shown} does not serve {self._name!r}; it serves {listed}")


__all__ = ["OpenAIGenerator", "parse_model", "plain"]
