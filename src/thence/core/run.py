"""Many coroutines, bounded: the runner that evaluation, annotation and recipes share.

Work starts in the order given, as much at once as the generator says fills it, and every outcome is handed on as soon
as it is there. The first Ctrl-C lets what is in flight finish; the second stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .errors import Interrupted, ModelError
from .protocols import Generator

Item = TypeVar("Item")
Out = TypeVar("Out")


@dataclass(slots=True)
class Stopper:
    """Set by the first Ctrl-C: nothing new starts. A second one cancels what runs."""

    stopping: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def stop(self) -> None:
        """Called by the signal handler."""
        if self.stopping:
            for task in self._tasks:
                task.cancel()
        self.stopping = True


def wants_more(generators: Iterable[Generator]) -> Callable[[], bool]:
    """Whether some generator has room: new problems start while fewer requests wait than would fill it again."""
    models = list(generators)

    def hungry() -> bool:
        return any(g.pending < g.capacity + max(1, g.capacity // 4) for g in models)

    return hungry


class Runner(Generic[Item, Out]):
    """Run ``work(item)`` for many items.

    ``hungry`` says whether to start another one; ``done(item, outcome)`` gets each result, ``failed(item, error)`` each
    exception of the kinds in ``survive`` (all others end the run). At least one item always runs.
    """

    def __init__(
        self,
        work: Callable[[Item], Awaitable[Out]],
        done: Callable[[Item, Out], None],
        failed: Callable[[Item, Exception], None],
        *,
        hungry: Callable[[], bool] = lambda: True,
        survive: tuple[type[Exception], ...] = (),
        most: int = 4096,
        stopper: Stopper | None = None,
    ) -> None:
        self._work, self._done, self._failed = work, done, failed
        self._hungry, self._survive, self._most = hungry, survive, most
        self._stopper = stopper or Stopper()

    async def run(self, items: Iterable[Item]) -> None:
        """Returns when all items are done. Raises Interrupted after a stop, once what was in flight is saved."""
        running = self._stopper._tasks
        fatal: list[Exception] = []
        waiting, exhausted = iter(items), False

        closing = False

        async def one(item: Item) -> None:
            try:
                try:
                    out = await self._work(item)
                except self._survive as error:
                    self._failed(item, error)
                else:
                    self._done(item, out)
            except asyncio.CancelledError:
                if not closing and not self._stopper.stopping:  # nobody here asked for it: the item must not get lost
                    fatal.append(ModelError(f"work on {item!r:.80} was cancelled from within; run the command again"))
                raise
            except Exception as error:
                fatal.append(error)

        try:
            while not fatal:
                while not fatal and not exhausted and not self._stopper.stopping and len(running) < self._most:
                    if running and not self._hungry():
                        break
                    try:
                        item = next(waiting)
                    except StopIteration:
                        exhausted = True
                        break
                    task = asyncio.get_running_loop().create_task(one(item))
                    running.add(task)
                    task.add_done_callback(running.discard)
                    for _ in range(3):  # let it hand in its first requests before asking again
                        await asyncio.sleep(0)
                if not running:
                    break
                patience = None if exhausted or self._stopper.stopping else 0.02
                await asyncio.wait(set(running), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing = True
            for task in set(running):
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if fatal:
            raise fatal[0]
        if self._stopper.stopping:
            raise Interrupted("interrupted; what had finished is saved, and the same command resumes")
