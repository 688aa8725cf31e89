"""Live progress on stderr: done of total, running accuracy with a confidence sequence, tokens per second, time left.

The running accuracy is that of the longest finished prefix of the shuffle: whatever finishes first (short, easy
problems) does not lift it. Its interval is a confidence sequence, which stays valid while one watches and stops at
will. Without a terminal there is a plain line now and then.
"""

from __future__ import annotations

import os
import sys
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from thence.core.answers import Verdict
from thence.evals.statistics.metrics import RunningAccuracy

from .present import err

PLAIN_EVERY = 10.0  # seconds between lines without a terminal


class LiveProgress:
    """Implements ``evals.evaluate.Progress``."""

    def __init__(self, console: Console = err, *, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._live: Live | None = None
        self._plain = not console.is_terminal or bool(os.environ.get("CI"))
        self._reset(0, "")

    def _reset(self, total: int, label: str) -> None:
        self._total, self._label = total, label
        self._done = 0
        self._running = RunningAccuracy()
        self._tokens, self._fresh = 0, 0
        self._unknown_tokens = False
        self._begun = self._shown = time.monotonic()

    def on_start(self, total: int, label: str) -> None:
        """A new line for a new evaluation."""
        self._reset(total, label)
        if not self._plain and not self._quiet:
            self._live = Live(self._line(), console=self._console, refresh_per_second=8, transient=True)
            self._live.start()

    def on_result(self, index: int, verdict: Verdict | None, tokens: int | None, *, fresh: bool) -> None:
        """Count one problem."""
        self._done += 1
        self._running.add(index, None if verdict in (None, Verdict.UNGRADABLE) else verdict is Verdict.CORRECT)
        if fresh:
            self._fresh += 1
            self._unknown_tokens = self._unknown_tokens or tokens is None
            self._tokens += tokens or 0
        now = time.monotonic()
        if self._live is not None:
            if now - self._shown > 0.1:
                self._shown = now
                self._live.update(self._line())
        elif self._plain and not self._quiet and now - self._shown > PLAIN_EVERY:
            self._shown = now
            self._console.print(self._line())

    def on_finish(self) -> None:
        """Take the line away."""
        if self._live is not None:
            self._live.update(self._line())
            self._live.stop()
            self._live = None

    def _line(self) -> Text:
        done, seconds, running = self._done, time.monotonic() - self._begun, self._running
        parts = [f"{self._label}  {done}/{self._total}"]
        if running.accuracy is not None:
            low, high = running.interval
            shown = f"{100 * running.accuracy:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"
            parts.append(f"accuracy {shown} over the first {running.n}")
        if self._fresh and seconds > 0:
            if not self._unknown_tokens:
                parts.append(f"{self._tokens / seconds:,.0f} tokens/s")
            left = (self._total - done) * seconds / self._fresh
            parts.append(f"{left:,.0f} s left" if left < 120 else f"{left / 60:,.0f} min left")
        return Text("  ·  ".join(parts))


def make(quiet: bool) -> LiveProgress:
    """Progress for this terminal."""
    return LiveProgress(quiet=quiet or not sys.stderr)
