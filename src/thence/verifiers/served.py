"""Process reward models behind a server (vLLM): their steps are scored where its prefix cache already has the rest.

Causal models (formats that compare two tokens) are asked for one token after each step tag, with log-probabilities;
both tokens are allowed and nothing else, so that the answer holds them whatever the model would rather say. Models with
a head go through ``/pooling``, which returns what the head says.

The text is tokenised here, with the model's own tokenizer (``tokenizer=PATH``), and sent as token ids: the same ones as
in this process, whatever a server's template does. The one token that a server must generate per question is not
charged: it is a way of asking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from thence.core.budget import Spent, add
from thence.core.card import VerifierCard, VerifierKind
from thence.core.errors import CallFailed, ModelError, ServerError, UsageError
from thence.core.scores import Aggregate, Meaning

from .formats import Format, Read, Written, row
from .learned import OUTCOME, Cached, Learned

TOP = 20  # log-probabilities asked for; vLLM gives no more
JSON = dict[str, Any]


class Poster(Protocol):
    """A server's address and how patiently it is asked."""

    @property
    def shown(self) -> str: ...

    async def post(self, path: str, body: JSON, cut: Callable[[], None], *, above: bool = False) -> JSON: ...


@dataclass(frozen=True, slots=True)
class TokenReader:
    """Asks for one of two tokens after each place."""

    server: Poster
    model: str
    pair: tuple[int, int]
    texts: tuple[str, str]  # how a server that does not name tokens by id shows the two

    async def numbers(self, texts: Sequence[Written], book: Spent) -> list[tuple[tuple[float, ...], ...]]:
        """Log-probabilities of the good and the bad token per text and place."""
        asked = [text.ids[: at + 1] for text in texts for at in text.reads]
        found = iter(await asyncio.gather(*(self._both(ids, book) for ids in asked)))
        return [tuple(next(found) for _ in text.reads) for text in texts]

    async def _both(self, ids: tuple[int, ...], book: Spent) -> tuple[float, float]:
        known = await self._ask(ids, self.pair, book)
        for token in self.pair:  # the other one may be too unlikely to be among the best
            if token not in known:
                known |= await self._ask(ids, (token,), book)
        if any(token not in known for token in self.pair):
            raise ServerError(
                f"{self.server.shown} gives no log-probabilities of {self.texts[0]!r} and {self.texts[1]!r}, which "
                "this verifier compares; serve it with vLLM, or run it here: prm:PATH"
            )
        return known[self.pair[0]], known[self.pair[1]]

    async def _ask(self, ids: tuple[int, ...], allowed: tuple[int, ...], book: Spent) -> dict[int, float]:
        body: JSON = {
            "model": self.model,
            "prompt": list(ids),
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": TOP,
            "allowed_token_ids": list(allowed),
            "return_tokens_as_token_ids": True,
        }
        hint = "a model with a head (--runner pooling) needs a format that reads one"
        data = await _asked(self.server, "/completions", body, book, hint)
        _bill(book, data, len(ids))
        try:
            top: dict[str, float] = data["choices"][0]["logprobs"]["top_logprobs"][0] or {}
        except (KeyError, IndexError, TypeError):
            return {}
        names = {f"token_id:{token}": token for token in self.pair} | dict(zip(self.texts, self.pair, strict=True))
        return {names[name]: float(value) for name, value in top.items() if name in names}


@dataclass(frozen=True, slots=True)
class PoolingReader:
    """Asks what a head says at every token, or at every step tag where the model's own pooler picks those."""

    server: Poster
    model: str

    async def numbers(self, texts: Sequence[Written], book: Spent) -> list[tuple[tuple[float, ...], ...]]:
        """What the head says per text and place."""
        return list(await asyncio.gather(*(self._one(text, book) for text in texts)))

    async def _one(self, text: Written, book: Spent) -> tuple[tuple[float, ...], ...]:
        ids = list(text.ids[: text.reads[-1] + 1])
        body: JSON = {"model": self.model, "input": ids, "use_activation": False}  # logits, as here
        hint = "a head is served with vLLM's --runner pooling"
        data = await _asked(self.server, "/pooling", body, book, hint, above=True)
        _bill(book, data, len(text.ids))
        try:
            rows = [
                [float(x) for x in (each if isinstance(each, list) else [each])] for each in data["data"][0]["data"]
            ]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ServerError(
                f"{self.server.shown} returned no numbers per token from /pooling; serve it with --runner pooling"
            ) from None
        if len(rows) == text.reads[-1] + 1:
            return tuple(tuple(rows[at]) for at in text.reads)
        if len(rows) >= len(text.reads):  # one per tag, those of known steps first
            return tuple(tuple(each) for each in rows[-len(text.reads) :])
        raise ServerError(
            f"{self.server.shown} returned {len(rows)} numbers for {len(text.reads)} steps; its tokenizer may not have "
            "the step tag, or another format was meant"
        )


async def _asked(server: Poster, path: str, body: JSON, book: Spent, hint: str, *, above: bool = False) -> JSON:
    """The server's answer; ServerError where it has no such endpoint or model, which is true of every call."""
    try:
        return await server.post(path, body, lambda: _untold(book), above=above)
    except CallFailed as failed:
        if failed.kind != "not_found":
            raise
        raise ServerError(f"{failed} when asked for {body['model']!r} at {path}; check the name, and {hint}") from None


def _untold(book: Spent) -> None:
    book.untold = add(book.untold, 1)


def _bill(book: Spent, data: JSON, tokens: int) -> None:
    usage = data.get("usage")
    told = usage if isinstance(usage, dict) else {}
    details = told.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    read = told.get("prompt_tokens")
    book.verifier = add(book.verifier, (read if isinstance(read, int) else tokens) - (cached or 0))
    book.reused = add(book.reused, cached or 0)


def connect(
    kind: VerifierKind,
    name: str,
    server: Poster,
    *,
    format: str | None = None,
    tokenizer: str | None = None,
    aggregate: Aggregate | None = None,
) -> Learned:
    """The verifier called ``name`` on ``server``; ``tokenizer`` is a directory or hub name with the model's own."""
    if format is None or tokenizer is None:
        raise UsageError(
            f"{kind}:{name} is on a server: say how it reads and how it tokenises: "
            f"{kind}:{name}@URL(format=NAME, tokenizer=PATH)"
        )
    fmt: Format = row(format)
    if fmt.read is Read.LOGPROBS or fmt.early:
        raise UsageError(f"format {format} is not read over a server; run the verifier here: {kind}:PATH")
    own = Cached(_tokenizer(tokenizer))
    fmt.check_tag(own, name)
    if fmt.read is Read.TOKENS:
        pair = fmt.candidates(own, name)
        texts = (own.decode([pair[0]]), own.decode([pair[1]]))
        reader: TokenReader | PoolingReader = TokenReader(server, name, pair, texts)
    else:
        reader = PoolingReader(server, name)
    card = VerifierCard(kind, Meaning.OUTCOME if kind in OUTCOME else fmt.meaning, format)
    shown = f"{kind}:{name}@{server.shown}" + (f"(aggregate={aggregate})" if aggregate else "")
    return Learned(shown, card, fmt, aggregate or fmt.aggregate, reader, own, None, None)


def _tokenizer(path: str) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ModelError('a verifier on a server needs its tokenizer: pip install "thence[local]"') from error
    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: its tokenizer cannot be loaded ({str(error).splitlines()[0][:200]})") from error
