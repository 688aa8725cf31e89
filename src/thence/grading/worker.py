"""A user's regex, extractor or grader in processes that can be killed.

Two worker processes are started on first use and shared by all threads. Every job has a wall deadline; a job that
misses it costs that time and its worker, which is replaced; all others get their results. Jobs are pipelined: several
are on their way to a worker while it works, so that ten thousand small ones take about a second.

This protects against patterns and graders that never end, eat memory or crash. It is no sandbox: a grader is the
user's own code and may do what the user may.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thence.core.answers import Answer, Grade, Verdict
from thence.core.clean import one_line
from thence.core.errors import ModelError, UsageError

DEADLINE = 5.0  # seconds for one job
MEMORY = 4 << 30  # bytes of address space of one worker
WORKERS = 2
START = 60.0  # seconds for a worker to start
MAX_TEXT = 200_000  # only the last characters of a reply are sent
_WINDOW = 32_000  # bytes on their way to a worker: less than a pipe holds, so that sending never waits for a job

Role = Literal["extract", "grade"]
Job = Mapping[str, Any]

_FUNCTION = re.compile(r"(?:[A-Za-z_][\w.]*|.*\.py):[A-Za-z_]\w*")
_BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from thence.grading.child import main; main()"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What an extractor found; without an answer ``reason`` may say why. ``timeout``: it was stopped."""

    answer: Answer | None
    reason: str = ""
    timeout: bool = False


@dataclass(frozen=True, slots=True)
class ToGrade:
    """What a user's grader may see of one reply."""

    gold: str | None
    answer: str | None
    text: str
    question: str = ""


def method(how: str, role: Role) -> str:
    """``how`` as a user writes it, with its kind in front: ``regex:…``, ``json:a.b`` or ``call:module:fn``.

    Without a prefix, ``module:fn`` and ``path.py:fn`` are functions and anything else is a regular expression.
    """
    kind, _, rest = how.partition(":")
    if kind in ("regex", "json", "call") and rest:
        made = how
    else:
        made = f"call:{how}" if _FUNCTION.fullmatch(how) else f"regex:{how}"
    if role == "grade" and not made.startswith("call:"):
        raise UsageError(f"grader {how!r} is no module:function; write module:fn or path.py:fn")
    return made


def check(how: str, role: Role) -> None:
    """Raise UsageError, one line, if ``how`` cannot be used: a regex that does not compile, a module not found."""
    flag = "--extract" if role == "extract" else "--grader"
    (result,) = POOL.run(role, method(how, role), [{}], DEADLINE)
    if problem := result.get("error") or result.get("stopped"):
        raise UsageError(f"{flag} {one_line(how, 200)}: {one_line(problem, 500)}")


def extract_many(how: str, texts: Sequence[str], deadline: float = DEADLINE) -> list[Extraction]:
    """The answers in ``texts``, in order; offsets are into each text."""
    made = method(how, "extract")
    cuts = [max(0, len(text) - MAX_TEXT) for text in texts]
    jobs = [{"text": text[cut:]} for text, cut in zip(texts, cuts, strict=True)]
    results = POOL.run("extract", made, jobs, deadline)
    return [_extraction(result, cut) for result, cut in zip(results, cuts, strict=True)]


def grade_many(how: str, items: Sequence[ToGrade], deadline: float = DEADLINE) -> list[Grade]:
    """Grades by the user's function, in order.

    A grader that is stopped gives TIMEOUT. One that raises counts as incorrect, with the reason: leaving the
    denominator would flatter the model, and ``check_references`` finds a grader that is broken.
    """
    made = method(how, "grade")
    jobs = [
        {
            "gold": item.gold,
            "answer": item.answer,
            "text": item.text[-MAX_TEXT:],
            "question": item.question,
        }
        for item in items
    ]
    results = POOL.run("grade", made, jobs, deadline)
    return [_grade(result, item.answer) for result, item in zip(results, items, strict=True)]


async def agrade_many(how: str, items: Sequence[ToGrade], deadline: float = DEADLINE) -> list[Grade]:
    """``grade_many`` without blocking the event loop."""
    return await asyncio.to_thread(grade_many, how, items, deadline)


def _extraction(result: Job, cut: int) -> Extraction:
    if "stopped" in result:
        return Extraction(None, f"the extractor was stopped: {result['stopped']}", timeout=True)
    if "error" in result:
        return Extraction(None, f"the extractor raised {result['error']}")
    if result["value"] is None or not result["value"].strip():
        return Extraction(None, "the extractor found no answer")
    return Extraction(Answer(result["value"], result["start"] + cut, result["end"] + cut))


def _grade(result: Job, answer: str | None) -> Grade:
    if "stopped" in result:
        return Grade(Verdict.TIMEOUT, answer, f"the grader was stopped: {result['stopped']}")
    if "error" in result:
        return Grade(Verdict.INCORRECT, answer, f"the grader raised {result['error']}")
    if result["verdict"] not in set(Verdict):
        said = one_line(result["verdict"], 80)
        return Grade(Verdict.INCORRECT, answer, f"the grader said {said!r}, which is none of {', '.join(Verdict)}")
    return Grade(Verdict(result["verdict"]), answer if result["answer"] is None else result["answer"], result["reason"])


def _line(job: Job) -> bytes:
    return json.dumps(job).encode() + b"\n"


class _Worker:
    """One process and the thread that reads what it says."""

    def __init__(self, memory: int) -> None:
        root = str(Path(__file__).resolve().parents[2])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, root, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is the parent's business
            bufsize=0,
        )
        self._prepared: set[tuple[Role, str]] = set()
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="thence-grading", daemon=True).start()
        try:
            first = self.receive(START)
        except queue.Empty:
            first = None
        if first is None:
            self.kill()
            raise ModelError("the grading worker did not start; is this Python able to start processes?")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError), self._process.stdout as stdout:
            rest = b""
            while chunk := stdout.read(65_536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._lines.put(line)
        self._lines.put(b"")

    def send(self, line: bytes) -> None:
        """Write one job; a worker that died shows in ``receive``."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            view = memoryview(line)
            while view:
                view = view[self._process.stdin.write(view) :]

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None when the process has ended; queue.Empty when the time is up."""
        line = self._lines.get(timeout=max(0.0, seconds))
        return json.loads(line) if line else None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def prepare(self, role: Role, how: str) -> Job | None:
        """Load a function or compile a pattern, which may take its time; what went wrong, if anything."""
        if (role, how) in self._prepared:
            return None
        self.send(_line({"role": role, "how": how, "seconds": START + 1.0}))
        try:
            reply = self.receive(START)
        except queue.Empty:
            self.kill()
            return {"stopped": f"it took longer than {START:g} seconds to load"}
        if reply is None:
            return {"stopped": f"its process ended with code {self.kill()} while it was loaded"}
        if "error" in reply:
            return reply
        self._prepared.add((role, how))
        return None

    def kill(self) -> int:
        """End the process and what it started; its exit code."""
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        return self._process.wait()


class Pool:
    """A few workers, started when needed, replaced when they die; safe from any thread."""

    def __init__(self, workers: int = WORKERS, memory: int = MEMORY) -> None:
        self._memory = memory
        self._slots: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._slots.put(None)

    def run(self, role: Role, how: str, jobs: Sequence[Job], deadline: float) -> list[Job]:
        """The results of ``jobs``, in order; each has ``deadline`` seconds. A job without fields only prepares.

        A result has what the job gave, or ``error`` (it raised), or ``stopped`` (it was killed, or died).
        """
        results: list[Job] = []
        job: dict[str, Any] = {"role": role, "how": how, "seconds": deadline + 1.0}
        lines = [_line({**job, **fields}) for fields in jobs]
        worker = self._slots.get()
        try:
            while len(results) < len(lines):
                if worker is None or not worker.alive:  # one that died while it was idle is no job's fault
                    worker = _Worker(self._memory)
                problem = worker.prepare(role, how)
                if problem is not None:
                    results += [problem] * (len(lines) - len(results))
                    break
                stopped = self._feed(worker, lines, results, deadline)
                if stopped is not None:
                    worker = None
                    results.append({"stopped": stopped})
        except BaseException:
            if worker is not None:
                worker.kill()  # replies to jobs that nobody waits for would answer the next ones
                worker = None
            raise
        finally:
            self._slots.put(worker if worker is not None and worker.alive else None)
        return results

    def _feed(self, worker: _Worker, lines: Sequence[bytes], results: list[Job], deadline: float) -> str | None:
        """Run what is left of ``lines``; why it ended early, if it did."""
        sent, travelling = len(results), 0
        while len(results) < len(lines):
            while sent < len(lines) and (sent == len(results) or travelling + len(lines[sent]) <= _WINDOW):
                worker.send(lines[sent])
                travelling += len(lines[sent])
                sent += 1
            started = time.monotonic()
            try:
                reply = worker.receive(deadline)
            except queue.Empty:
                worker.kill()
                return f"it took longer than {deadline:g} seconds"
            if reply is None:
                code = worker.kill()
                late = time.monotonic() - started >= deadline
                return f"it took longer than {deadline:g} seconds" if late else f"its process ended with code {code}"
            travelling -= len(lines[len(results)])
            results.append(reply)
        return None

    def close(self) -> None:
        """End all workers that are not at work; the pool can be used again."""
        idle: list[_Worker | None] = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._slots.get_nowait())
        for worker in idle:
            if worker is not None:
                worker.kill()
            self._slots.put(None)

    def forget(self) -> None:
        """In a forked child: the workers are the parent's."""
        self.__init__(WORKERS, self._memory)  # type: ignore[misc]


POOL = Pool()
atexit.register(POOL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forget)
