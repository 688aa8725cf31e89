"""Many coroutines, their outcomes in order of arrival; closing the stream cancels and awaits the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def arrivals(jobs: Iterable[Coroutine[Any, Any, T]]) -> AsyncGenerator[T, None]:
    """Run ``jobs`` concurrently and yield each result when it arrives.

    An exception in a job ends the stream with that exception. However the stream ends (exhausted, closed,
    cancelled, failed), all jobs have ended when it has.
    """
    done: asyncio.Queue[asyncio.Task[T]] = asyncio.Queue()
    tasks = [asyncio.ensure_future(job) for job in jobs]
    for task in tasks:
        task.add_done_callback(done.put_nowait)
    try:
        for _ in tasks:
            yield (await done.get()).result()
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
