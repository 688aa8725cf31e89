"""Running an evaluation from the command line: signals, the run file, and what is printed around it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from thence import api
from thence.core.clean import one_line
from thence.core.errors import DataError
from thence.core.forms import Form
from thence.core.problem import Problem
from thence.core.protocols import Formats, Generator, PromptStyle, Task
from thence.core.run import Stopper
from thence.core.scores import Meaning
from thence.core.search import Strategy
from thence.core.solve import parts
from thence.core.think import summary

from .present import err, plain

T = TypeVar("T")
LISTED = 10  # wrong references that are named; the self-check names all


@runtime_checkable
class Describes(Protocol):
    """A verifier that can say how its numbers come about."""

    @property
    def name(self) -> str: ...
    def describe(self) -> dict[str, object]: ...


def with_signals(make: Callable[[Stopper], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in this thread: the first Ctrl-C lets what is in flight finish and saves, the second stops."""

    async def main() -> T:
        stopper = Stopper()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            if stopper.stopping:
                err.print("stopping now")
            else:
                err.print("finishing what is in flight; Ctrl-C again stops at once")
            stopper.stop()

        caught = []
        for name in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(name, on_signal)
                caught.append(name)
            except (NotImplementedError, RuntimeError, ValueError):  # no such signals here, or not the main thread
                pass
        try:
            return await make(stopper)
        finally:
            for name in caught:
                loop.remove_signal_handler(name)
            await api.close_loaded()

    return asyncio.run(main())


def checked_task(text: str, *, bad_references: bool = False) -> Task:
    """The task, after its references have graded themselves, before any model runs.

    DataError where some do not, unless they are allowed by ``bad_references``: then they are listed on stderr.
    """
    task = api.task(text)
    if task.has_references:
        wrong = task.check_references()
        if wrong:
            shown = "; ".join(f"{i}: {why}" for i, why in wrong[:LISTED]) + ("; …" if len(wrong) > LISTED else "")
            said = f"{task.spec}: references that do not grade themselves as correct: {len(wrong):,} ({shown})"
            if not bad_references:
                raise DataError(f"{said}. Mend them (thence grade --self-check lists all), or add --bad-references")
            err.print(plain(said, "yellow"))
    return task


def tell_verifiers(strategies: Iterable[Strategy]) -> None:
    """Say on stderr how the trained verifiers of these strategies are read: what was not asked for by name, too."""
    lines = []
    for strategy in strategies:
        for part in parts(strategy):
            if isinstance(part, Describes) and (told := part.describe()).get("format"):
                how = "its last number" if told["meaning"] == Meaning.OUTCOME else f"{told['aggregate']} of its steps"
                lines.append(f"{part.name}: format {told['format']}, scores mean {told['meaning']}, {how}")
    for line in dict.fromkeys(lines):
        err.print(plain(line, "dim"))


def tell_thinking(records: Iterable[Mapping[str, Any]]) -> None:
    """Say on stderr what became of --think over all problems: how ``auto`` decided, and where it was ignored."""
    for line in summary([tuple(r.get("notes", ())) for r in records]):
        err.print(plain(line, "yellow" if "ignored" in line else "dim"))


def run_path(given: Path | None, default: Path) -> Path:
    """Where the run goes, said on stderr."""
    path = given or default
    verb = "resuming" if path.exists() else "writing"
    err.print(plain(f"{verb} {path}", "dim"))
    return path


def tell_format(styles: Iterable[tuple[PromptStyle, Generator]]) -> None:
    """How steps and answer are asked for, and why not by a schema."""
    lines = []
    for style, generator in styles:
        if isinstance(style, Formats) and style.form is not None:
            said = str(getattr(generator, "schema_said", ""))
            why = "decoding is guided by a JSON schema" if style.form is Form.JSON else said or "no guided decoding"
            lines.append(f"format: steps by {style.form} ({one_line(why, 300)})")
    for line in dict.fromkeys(lines):
        err.print(plain(line, "dim"))


def tell_retrieval(styles: Iterable[PromptStyle], problems: Iterable[Problem]) -> None:
    """What retrieval has for these problems: how many find something, near-duplicates left out, files not read."""
    from thence.prompts.retrieval import Retrieve

    asked = list(problems)
    for style in dict.fromkeys(s for s in styles if isinstance(s, Retrieve)):
        found = [style.found(p) for p in asked]
        some, left_out = sum(bool(f.hits) for f in found), sum(len(f.duplicates) for f in found)
        text = f"retrieval from {style.collection.label} (hash {style.data_hash[:12]}): "
        text += f"something for {some:,} of {len(asked):,} questions; {left_out:,} near-duplicates left out"
        err.print(plain(text + ("; control: drawn at random" if style.control == "random" else ""), "dim"))
        if asked and not some:
            err.print(plain("nothing is found for any question: every prompt is the plain one", "yellow"))
        for line in style.collection.skipped[:3]:
            err.print(plain(f"not used: {line}", "yellow"))
        if len(style.collection.skipped) > 3:
            err.print(plain(f"not used: {len(style.collection.skipped) - 3:,} more files", "yellow"))
