"""A small HTTP server that answers like a model server, or misbehaves, on an ephemeral port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

JSON = dict[str, Any]


@dataclass
class Call:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: JSON


@dataclass
class Reply:
    """What to send: JSON or raw bytes. ``claim`` is a Content-Length that is not the body's."""

    body: JSON | bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    claim: int | None = None


Handler = Callable[[Call], Awaitable[Reply]]


def chat(*texts: str, finish: str = "stop", usage: JSON | None = None, **extra: Any) -> Reply:
    """A chat answer with one choice per text; ``extra`` goes into every choice."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": finish, **extra}
        for i, t in enumerate(texts)
    ]
    told = {"prompt_tokens": 7, "completion_tokens": 3 * len(texts)} if usage is None else usage
    return Reply({"choices": choices, "usage": told})


def error(status: int, message: str, **headers: str) -> Reply:
    """An error in OpenAI's shape."""
    return Reply({"error": {"message": message}}, status, {k.replace("_", "-"): v for k, v in headers.items()})


class Stub:
    """``async with Stub(handler) as stub``: ``stub.url`` ends in /v1, ``stub.calls`` lists the completions
    asked for.

    GET /v1/models lists ``models``, /metrics gives ``metrics``; neither is passed to the handler. ``cut`` counts
    connections that the client closed while its request was in progress.
    """

    def __init__(
        self, handler: Handler, models: tuple[JSON, ...] = ({"id": "m", "owned_by": "stub"},), metrics: str = ""
    ) -> None:
        self.handler, self.models, self.metrics = handler, models, metrics
        self.calls: list[Call] = []
        self.cut = 0
        self.now = self.peak = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Stub:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        call = Call(method, path, headers, json.loads(content) if content else {})
        if path == "/metrics":
            reply = Reply(self.metrics.encode())
        elif method == "GET":
            reply = Reply({"object": "list", "data": list(self.models)}) if self.models else Reply(b"no", 404)
        else:
            self.calls.append(call)
            reply = await self._answer(call, reader)
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        sent = {
            "Content-Type": "application/json",
            "Content-Length": str(reply.claim or len(body)),
            **reply.headers,
        }
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{k}: {v}" for k, v in sent.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        return reply.claim is None

    async def _answer(self, call: Call, reader: asyncio.StreamReader) -> Reply:
        """Run the handler while watching for the client to hang up."""
        self.now += 1
        self.peak = max(self.peak, self.now)
        work = asyncio.ensure_future(self.handler(call))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.cut += 1
                raise ConnectionError("the client hung up")
            return work.result()
        finally:
            self.now -= 1
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
