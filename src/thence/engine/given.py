"""Given texts through the engine: log-probabilities of their tokens, or what a head says at some of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from thence.core.completion import Sampling
from thence.core.errors import ModelError
from thence.nets.heads import Head

from .engine import Engine
from .jobs import Job, Kind, Outcome


@dataclass(frozen=True, slots=True)
class Given:
    """Token ids: a ``prompt``, a ``reply`` so far, and the ``text`` after it. With a ``head`` it is asked at the
    indices ``reads`` of text (then there is no reply); else every token of text gets its log-probability."""

    prompt: tuple[int, ...]
    text: tuple[int, ...]
    reply: tuple[int, ...] = ()
    reads: tuple[int, ...] = ()
    head: Head | None = None


async def run(
    engine: Engine, texts: Sequence[Given], told: Callable[[Outcome], None] = lambda _: None
) -> list[Outcome]:
    """One outcome per text, in order; ``told`` hears of each as it comes, also after a cancellation."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Outcome]] = []
    jobs = []
    for text in texts:
        future: asyncio.Future[Outcome] = loop.create_future()
        futures.append(future)

        def receive(outcome: Outcome, future: asyncio.Future[Outcome] = future) -> None:
            told(outcome)
            if not future.done():
                future.set_result(outcome)

        kind = Kind.SCORE if text.head is None else Kind.READ
        jobs.append(
            Job(
                text.prompt,
                text.reply,
                Sampling(),
                0,
                0,
                loop,
                receive,
                kind,
                text.text,
                reads=text.reads,
                head=text.head,
            )
        )
    if jobs:
        engine.submit(jobs)
    try:
        outcomes = await asyncio.gather(*futures)
    except asyncio.CancelledError:
        engine.cancel(jobs)
        raise
    for outcome in outcomes:
        if outcome.error is not None:
            raise ModelError(f"the local engine failed: {outcome.error}") from outcome.error
    return outcomes
