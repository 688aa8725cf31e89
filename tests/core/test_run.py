"""The runner: bounded, in order, complete, and stopped twice by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from thence.core.errors import CallFailed, Interrupted, ModelError, StoreError
from thence.core.run import Runner, Stopper, wants_more


@dataclass
class Log:
    """What a run did."""

    started: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    running: int = 0
    peak: int = 0

    def work(self, turns: Callable[[int], int] = lambda i: 3) -> Callable[[int], Awaitable[int]]:
        async def one(item: int) -> int:
            self.started.append(item)
            self.running += 1
            self.peak = max(self.peak, self.running)
            try:
                for _ in range(turns(item)):
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.cancelled.append(item)
                raise
            finally:
                self.running -= 1
            return 10 * item

        return one

    def runner(self, work: Callable[[int], Awaitable[int]] | None = None, **options: object) -> Runner[int, int]:
        return Runner(
            work or self.work(),
            lambda item, out: self.done.append(out),
            lambda item, error: self.failed.append(item),
            **options,  # type: ignore[arg-type]
        )


async def test_work_starts_in_order_within_its_bound_and_is_handed_on_when_it_is_there() -> None:
    log = Log()
    await log.runner(log.work(lambda i: 40 - 4 * i), most=3).run(range(10))
    assert log.started == list(range(10))
    assert sorted(log.done) == [10 * i for i in range(10)]
    assert log.done != sorted(log.done)  # later ones are shorter
    assert log.peak == 3


async def test_nothing_new_starts_while_nobody_is_hungry_but_one_always_runs() -> None:
    log = Log()
    await log.runner(hungry=lambda: False).run(range(5))
    assert log.peak == 1
    assert len(log.done) == 5


async def test_a_generator_with_room_is_hungry() -> None:
    @dataclass
    class Engine:
        capacity: int
        pending: int

    engines = [Engine(8, 10), Engine(4, 5)]
    hungry = wants_more(engines)  # type: ignore[arg-type]
    assert not hungry()
    engines[0].pending = 9
    assert hungry()


async def test_survivable_failures_are_handed_on_and_the_rest_goes_on() -> None:
    log = Log()

    async def work(item: int) -> int:
        await asyncio.sleep(0)
        if item % 2:
            raise CallFailed("the server is gone")
        return item

    await log.runner(work, survive=(CallFailed,)).run(range(6))
    assert (sorted(log.done), sorted(log.failed)) == ([0, 2, 4], [1, 3, 5])


async def test_any_other_failure_ends_the_run_and_what_runs() -> None:
    log = Log()

    async def work(item: int) -> int:
        if item == 2:
            raise ValueError("a bug")
        return await log.work(lambda i: 10_000)(item)

    with pytest.raises(ValueError, match="a bug"):
        await log.runner(work, survive=(CallFailed,)).run(range(500))
    assert log.cancelled == log.started
    assert len(log.started) < 10  # nothing starts after a fatal error
    assert log.running == 0


@pytest.mark.parametrize("where", ["done", "failed"])
async def test_a_result_that_cannot_be_saved_ends_the_run(where: str) -> None:
    async def work(item: int) -> int:
        if where == "failed":
            raise CallFailed("no")
        return item

    def full(item: int, _: object) -> None:
        raise StoreError("the disk is full")

    runner: Runner[int, int] = Runner(work, full, full, survive=(CallFailed, StoreError))
    with pytest.raises(StoreError, match="disk is full"):
        await asyncio.wait_for(runner.run(range(3)), 5)


async def test_the_first_stop_lets_what_is_in_flight_finish() -> None:
    log, stopper = Log(), Stopper()

    async def work(item: int) -> int:
        if item == 3:
            stopper.stop()
        return await log.work(lambda i: 50)(item)

    with pytest.raises(Interrupted, match="resumes"):
        await log.runner(work, stopper=stopper).run(range(100))
    assert log.done == [10 * i for i in log.started]
    assert log.started == [0, 1, 2, 3]
    assert log.cancelled == []


async def test_the_second_stop_cancels_what_is_in_flight() -> None:
    log, stopper = Log(), Stopper()
    running = asyncio.ensure_future(log.runner(log.work(lambda i: 10**9), stopper=stopper, most=4).run(range(100)))
    await asyncio.sleep(0.01)
    stopper.stop()
    await asyncio.sleep(0.01)
    assert log.running == 4
    stopper.stop()
    with pytest.raises(Interrupted):
        await asyncio.wait_for(running, 5)
    assert log.cancelled == [0, 1, 2, 3]
    assert log.done == []


async def test_work_that_is_cancelled_from_within_is_not_lost_in_silence() -> None:
    async def work(item: int) -> int:
        raise asyncio.CancelledError

    log = Log()
    with pytest.raises(ModelError, match="cancelled from within"):
        await asyncio.wait_for(log.runner(work).run([7]), 5)


async def test_cancelling_the_run_awaits_its_work() -> None:
    log = Log()
    running = asyncio.ensure_future(log.runner(log.work(lambda i: 10**9), most=2).run(range(9)))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert log.running == 0
    assert log.cancelled == [0, 1]


async def test_nothing_to_do_is_done() -> None:
    await Log().runner().run([])
