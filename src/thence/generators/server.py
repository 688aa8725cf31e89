"""The HTTP side of a model server: one pooled client per event loop, retries, errors that say what to do.

A call returns the server's JSON, or raises ``CallRejected``, or a ``ServerError`` that is true of every
call (a wrong key). A rejected call says whether it failed ``alone``: because of what it asked for, or while
others got through.

Connection errors, timeouts, broken answers and the statuses 408, 409, 429 and 5xx are tried again, after a
wait drawn uniformly between 0 and a bound that doubles ("full jitter": clients that were refused together
do not come back together), or as long as the server asks. All waiting is bounded by ``Patience``.

Keys, headers, credentials and queries of the URL never appear in an error, a log line or an identity.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import httpx

from thence.core.clean import one_line
from thence.core.errors import CallFailed, ServerError, ThenceError, UsageError

JSON = dict[str, Any]

RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
LOCAL = re.compile(r"localhost|127(\.\d+){3}|\[::1\]|::1")
log = logging.getLogger("thence.server")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server, in seconds.

    ``timeout`` bounds one try from sending to the last byte, ``total`` all tries of a call with the waits
    between them, ``longest_wait`` one wait, also one that the server asks for. ``retries`` is the most
    tries after the first one; a server that never answered and refuses connections gets at most 2.
    """

    timeout: float = 600.0
    connect: float = 10.0
    retries: int = 12
    first_wait: float = 0.5
    longest_wait: float = 60.0
    total: float = 1200.0

    def __post_init__(self) -> None:
        if min(self.timeout, self.connect, self.total) <= 0 or self.retries < 0 or self.longest_wait < 0:
            raise UsageError("timeouts must be above 0 seconds, and retries and waits 0 or more")


class CallRejected(CallFailed):
    """A call that failed for good.

    ``kind`` is one word, ``said`` the server's own words, ``alone`` whether it is this call that failed and
    not the server.
    """

    def __init__(self, trouble: _Trouble, message: str, attempts: int, alone: bool) -> None:
        super().__init__(message, trouble.kind)
        self.status, self.said = trouble.status, trouble.said
        self.message, self.attempts, self.alone = message, attempts, alone


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why one try failed.

    ``again``: worth another try; ``fatal``: true of every call; ``untold``: cut off, so it may have cost
    something.
    """

    kind: str
    message: str
    again: bool = True
    fatal: ThenceError | None = None
    wait: float | None = None
    untold: bool = False
    status: int = 0
    said: str = ""


@dataclass(slots=True)
class _Loop:
    """What belongs to one event loop."""

    client: httpx.AsyncClient
    slots: asyncio.Semaphore
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Secrets:
    """Strings that must not be shown."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        _SECRETS.add(self)

    def add(self, *values: str | None) -> None:
        """Remember secrets; very short values are left out, since hiding them would garble every text."""
        self._known.update(v for v in values if v is not None and len(v) >= 4)

    def hide(self, text: str) -> str:
        """``text`` with every secret replaced."""
        for value in sorted(self._known, key=len, reverse=True):
            text = text.replace(value, "***")
        return text


def find_key(url: str, variable: str = "") -> str | None:
    """The API key for ``url``: from ``variable`` if one is named, else THENCE_API_KEY.

    OPENAI_API_KEY is used for hosts of openai.com only; another server gets it when it is named.
    """
    if variable:
        if not os.environ.get(variable):
            raise UsageError(f"the key variable {variable} is not set; export it or name another one")
        return os.environ[variable]
    key = os.environ.get("THENCE_API_KEY")
    if not key and re.match(r"https://([\w-]+\.)*openai\.com[:/]", url):
        key = os.environ.get("OPENAI_API_KEY")
    return key or None


class Server:
    """One server: its address, what it is told with every call, and how patiently."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        max_connections: int = 64,
        patience: Patience | None = None,
    ) -> None:
        if max_connections < 1:
            raise UsageError(f"max-connections is {max_connections}; it must be at least 1")
        self.secrets = Secrets()
        self._url, self._auth, self._query = self._taken_apart(url)
        self.shown = str(self._url)
        self._headers = self._checked({"User-Agent": "thence", **(headers or {})})
        if key and not any(name.lower() == "authorization" for name in headers or ()):
            self._headers |= self._checked({"Authorization": f"Bearer {key}"})
        for value in (key or "", *(headers or {}).values()):
            self.secrets.add(value, *value.split())
        self._limit = max_connections
        self._patience = patience or Patience()
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()
        self._answered = float("-inf")  # when a call last got through
        self._down = False  # patience was used up and nothing has got through since: one try per call
        self._broken: ThenceError | None = None  # true of every call: no use in sending another one
        self.retried = 0

    def _taken_apart(self, url: str) -> tuple[httpx.URL, httpx.BasicAuth | None, httpx.QueryParams]:
        """The bare URL, its credentials and its query: only the first may be shown."""
        try:
            parsed = httpx.URL(url.strip())
        except (httpx.InvalidURL, UnicodeError):
            parsed = httpx.URL()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise UsageError("the server's URL is not a URL; write openai:NAME@http://HOST:PORT/v1")
        self.secrets.add(parsed.password, parsed.username if parsed.password else None, *parsed.params.values())
        self.secrets.add(parsed.query.decode(errors="replace"), parsed.userinfo.decode(errors="replace"))
        path = re.sub(r"(/chat/completions|/completions)?/*$", "", parsed.path)
        auth = httpx.BasicAuth(parsed.username, parsed.password) if parsed.userinfo else None
        return (
            httpx.URL(scheme=parsed.scheme, host=parsed.host, port=parsed.port, path=path or ""),
            auth,
            parsed.params,
        )

    @staticmethod
    def _checked(headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not value.isascii() or not value.isprintable():
                raise UsageError(f"the header {name} holds characters that no header may have; check its value")
        return headers

    @property
    def limit(self) -> int:
        """The most calls at once."""
        return self._limit

    def here(self) -> _Loop:
        """Client and locks of the running event loop."""
        loop = asyncio.get_running_loop()
        mine = self._loops.get(loop)
        if mine is None:
            local = LOCAL.fullmatch(self._url.host) is not None  # a proxy for the outside does not know this machine
            client = httpx.AsyncClient(
                headers=self._headers,
                auth=self._auth,
                params=self._query or None,
                timeout=httpx.Timeout(None, connect=self._patience.connect),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._limit),
                trust_env=not local,
                verify=self._url.scheme == "https",
            )
            mine = self._loops[loop] = _Loop(client, asyncio.Semaphore(self._limit))
        return mine

    async def close(self) -> None:
        """Close the connections of this event loop."""
        mine = self._loops.pop(asyncio.get_running_loop(), None)
        if mine is not None:
            await mine.client.aclose()

    async def post(self, path: str, body: JSON, cut: Callable[[], None], *, above: bool = False) -> JSON:
        """POST ``body``, again as ``Patience`` allows; ``cut`` is called for every try that was cut off.

        ``above``: the path is beside the version of the API and not in it (``/tokenize`` beside ``/v1``).
        """
        url = self._at(path, above)
        content = json.dumps(body).encode()
        begun, attempts = time.monotonic(), 0
        while True:
            if self._broken is not None:
                raise self._broken
            attempts += 1
            async with self.here().slots:
                try:
                    outcome = await self._try(url, content, time.monotonic() - begun)
                except asyncio.CancelledError:
                    cut()
                    raise
            if not isinstance(outcome, _Trouble):
                self._answered, self._down = time.monotonic(), False
                return outcome
            if outcome.untold:
                cut()
            if outcome.fatal is not None:
                raise self.broken(outcome.fatal)
            wait = self._wait(outcome, attempts, begun)
            if wait is None:
                raise self._rejected(outcome, attempts, begun)
            self.retried += 1
            log.info("%s %s; try %d in %.1f s", self.shown, outcome.message, attempts + 1, wait)
            await asyncio.sleep(wait)

    async def get(self, path: str) -> JSON | None:
        """GET an object that is nice to know; None when it cannot be had."""
        try:
            data = json.loads(await self.text(path) or "")
        except (ValueError, RecursionError):
            return None
        return data if isinstance(data, dict) else None

    async def text(self, path: str, *, above: bool = False) -> str | None:
        """GET a page, twice at most; None when it cannot be had. ``above`` as in ``post``."""
        for _ in range(2):
            try:
                async with asyncio.timeout(min(10.0, self._patience.timeout)):
                    response = await self.here().client.get(self._at(path, above))
                return response.text if response.status_code == 200 else None
            except (httpx.HTTPError, TimeoutError):
                continue
        return None

    def _at(self, path: str, above: bool) -> str:
        return f"{str(self._url).removesuffix('/v1') if above else self._url}{path}"

    def _wait(self, trouble: _Trouble, attempts: int, begun: float) -> float | None:
        """Seconds until the next try; None to give up."""
        patience, never = self._patience, self._answered == float("-inf")
        tries = 2 if never and trouble.kind == "connection" else patience.retries
        if not trouble.again or self._down or attempts > tries:
            return None
        bound = min(patience.longest_wait, patience.first_wait * 2 ** (attempts - 1))
        wait = random.uniform(0, bound)
        if trouble.wait is not None:
            wait = min(trouble.wait, patience.longest_wait) + random.uniform(0, patience.first_wait)
        return wait if time.monotonic() - begun + wait <= patience.total else None

    def _rejected(self, trouble: _Trouble, attempts: int, begun: float) -> CallRejected:
        """This call failed alone if it is at fault itself or if others got through meanwhile."""
        tried = f" ({attempts} tries in {time.monotonic() - begun:.0f} s)" if attempts > 1 else ""
        its_own = trouble.kind == "context_length"
        alone = its_own or self._answered > begun
        alone = alone or (trouble.kind == "bad_request" and self._answered > float("-inf"))
        if its_own:
            self._answered, self._down = time.monotonic(), False
        elif not alone:
            self._down = True
        return CallRejected(trouble, f"{self.shown} {trouble.message}{tried}", attempts, alone)

    def broken(self, error: ThenceError) -> ThenceError:
        """Note that every further call would fail with ``error``, and return it."""
        self._broken = error
        return error

    async def _try(self, url: str, content: bytes, elapsed: float) -> JSON | _Trouble:
        """Send once. Never raises but for cancellation."""
        limit = max(1.0, min(self._patience.timeout, self._patience.total - elapsed))
        limit = min(limit, self._patience.timeout)
        try:
            async with asyncio.timeout(limit):
                headers = {"Content-Type": "application/json"}
                response = await self.here().client.post(url, content=content, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return _Trouble("connection", self._unreachable(error))
        except (TimeoutError, httpx.TimeoutException):
            hint = "raise --timeout or lower --max-connections"
            return _Trouble("timeout", f"did not answer within {limit:g} s; {hint}", untold=True)
        except httpx.HTTPError:
            hint = "look at the server's log"
            return _Trouble("broken", f"closed the connection in the middle of an answer; {hint}", untold=True)
        if response.status_code == 200:
            return self._read(response)
        return await self._refused(response)

    @staticmethod
    def _unreachable(error: httpx.HTTPError) -> str:
        text = str(error)
        if isinstance(error, httpx.ConnectTimeout):
            return "cannot be reached; check the host and the network"
        if "CERTIFICATE" in text or "SSL" in text:
            return "makes no secure connection; check the certificate, or whether it is http and not https"
        if "name" in text.lower() or "getaddrinfo" in text:
            return "has a host name that cannot be found; check the URL"
        return "refuses the connection; check that the server runs and that the port is right"

    def _read(self, response: httpx.Response) -> JSON | _Trouble:
        """The JSON of a 200, which may be none or hold an error."""
        if "html" in response.headers.get("content-type", "") or response.content.lstrip()[:1] == b"<":
            hint = "check the path of the URL, which usually ends in /v1"
            never = self._answered == float("-inf")
            return _Trouble("bad_answer", f"returned a web page instead of JSON; {hint}", again=not never)
        try:
            data = response.json()
        except (ValueError, RecursionError):
            size = len(response.content)
            text = f"returned broken JSON ({size} bytes); look at the server's log or a proxy in between"
            return _Trouble("bad_answer", text, untold=True)
        if not isinstance(data, dict):
            return _Trouble("bad_answer", "returned JSON that is no object; is this an OpenAI-compatible server?")
        if isinstance(data.get("error"), dict | str) and not data.get("choices"):
            return _Trouble("server", f"reports an error: {self._said(response)}; look at the server's log")
        return data

    async def _refused(self, response: httpx.Response) -> _Trouble:
        """What another status than 200 means."""
        status, said = response.status_code, self._said(response)
        if status in (401, 403):
            hint = "set THENCE_API_KEY, or name the key's variable with --key-var"
            return self._fatal(ServerError, f"refuses the key ({status}: {said}); {hint}", status)
        if 300 <= status < 400:
            return self._fatal(ServerError, f"redirects elsewhere ({status}); give the URL it leads to", status)
        if status == 404:
            return _Trouble("not_found", f"says not found (404: {said})", again=False, status=404, said=said)
        if status in (400, 413, 422):
            long = is_context_error(said)
            kind = "context_length" if long else "bad_request"
            hint = "shorten the prompt or lower --max-tokens" if long else "change the request, or see thence doctor"
            text = f"refuses the request ({status}: {said}); {hint}"
            return _Trouble(kind, text, again=False, status=status, said=said)
        if status == 429:
            hint = "lower --max-connections or try later"
            out_of_money = "insufficient_quota" in response.text
            text = f"has no quota left ({said})" if out_of_money else f"says too many requests (429: {said}); {hint}"
            return _Trouble("rate_limit", text, not out_of_money, None, retry_after(response.headers), status=429)
        again = status in RETRIED or status >= 500
        again = again and response.headers.get("x-should-retry", "") != "false"
        text = f"fails ({status}: {said}); look at the server's log"
        return _Trouble("server", text, again, None, retry_after(response.headers), status >= 500, status)

    def _fatal(self, kind: type[ThenceError], text: str, status: int) -> _Trouble:
        return _Trouble("fatal", text, again=False, fatal=kind(f"{self.shown} {text}"), status=status)

    def _said(self, response: httpx.Response) -> str:
        """The server's own words: one short line without secrets and without control characters."""
        try:
            data = response.json()
            error = data.get("error", data) if isinstance(data, dict) else data
            said = error if isinstance(error, str) else error.get("message") or error.get("detail") or ""
            said = said if isinstance(said, str) else json.dumps(said)
        except (ValueError, AttributeError, RecursionError):
            html = response.content.lstrip()[:1] == b"<"
            said = "a web page" if html else response.text
        return one_line(self.secrets.hide(said.strip()), 300) or response.reason_phrase or "no reason given"


class _Hide(logging.Filter):
    """Keeps secrets out of httpx's own log lines, which show the whole URL."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        for secrets in _SECRETS:
            text = secrets.hide(text)
        record.msg, record.args = text, ()
        return True


_SECRETS: WeakSet[Secrets] = WeakSet()
logging.getLogger("httpx").addFilter(_Hide())


def is_context_error(said: str) -> bool:
    """Whether a refusal is about the length of prompt and completion."""
    pattern = r"context (length|window|size)|max_model_len|maximum (model|input) length|too many tokens|too long"
    return re.search(pattern, said, re.IGNORECASE) is not None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that the server asks to wait: milliseconds, seconds or an HTTP date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
            except (ValueError, OverflowError):
                continue
        return max(0.0, seconds) if seconds == seconds else None
    return None


__all__ = ["JSON", "CallRejected", "Patience", "Secrets", "Server", "find_key", "retry_after"]
