"""Every error that thence raises on purpose: what happened, the value, what to do.

``exit_code`` is what the command line returns. Each class is also a standard-library error, so that code which
knows nothing of thence can catch it.
"""

from __future__ import annotations


class ThenceError(Exception):
    """Base of all errors raised on purpose; its text is one line that a user can act on."""

    exit_code = 1


class UsageError(ThenceError, ValueError):
    """The call itself is wrong: an unknown name, a value out of range, a missing column."""

    exit_code = 2


class ModelError(ThenceError, RuntimeError):
    """A model cannot be loaded or cannot do what was asked."""


class ServerError(ThenceError, ConnectionError):
    """A server refused, hung, or answered with something that is no completion."""


class StoreError(ThenceError, OSError):
    """A run file cannot be opened, written or resumed."""


class DataError(ThenceError, ValueError):
    """A data file is not what it should be."""


class Interrupted(ThenceError, RuntimeError):
    """The user asked to stop; what had finished is saved.

    No KeyboardInterrupt: raised in a task, that would end the event loop itself instead of reaching who waits.
    """

    exit_code = 130


class CallFailed(ThenceError, RuntimeError):
    """A call to a model failed for good: the problem stays unsolved and is retried at the next start.

    ``kind`` is the failure's own word (``context_length``, ``first-token``, …).
    """

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


def check_counts(what: str, least: int = 1, /, **counts: int) -> None:
    """UsageError unless every one of the ``counts`` of ``what`` is at least ``least``."""
    for name, count in counts.items():
        if count < least:
            raise UsageError(f"{what}: {name} is {count}; it must be at least {least}")


def check_shares(what: str, /, **shares: float) -> None:
    """UsageError unless every one of the ``shares`` of ``what`` is in [0, 1]."""
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise UsageError(f"{what}: {name} is {share}; it must be between 0 and 1")
