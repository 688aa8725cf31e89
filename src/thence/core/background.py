"""Run a coroutine from synchronous code: in the package's own event loop, in a daemon thread.

So ``thence.solve`` works in a notebook (where a loop already runs), in any thread, and keeps models and connections
alive between calls.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The package's loop, started on first use."""
    global _loop
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="thence-loop", daemon=True).start()
        return _loop


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Wait for ``work`` in the background loop; Ctrl-C cancels it and waits until it has stopped."""
    future = asyncio.run_coroutine_threadsafe(work, background_loop())
    try:
        return future.result()
    except KeyboardInterrupt:
        ended = threading.Event()
        asyncio.run_coroutine_threadsafe(_cancelled(future, ended), background_loop())
        ended.wait(timeout=10.0)
        raise


async def _cancelled(future: Future[Any], ended: threading.Event) -> None:
    """Cancel the work behind ``future`` and give it the turns it needs to let go of what it holds."""
    future.cancel()
    for _ in range(100):
        await asyncio.sleep(0)
    ended.set()
