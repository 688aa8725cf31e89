"""Files that commands write beside their run: never over something that was paid for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thence.core.errors import StoreError, UsageError

_RUN = b"SQLite format 3\0"  # how every run file begins


def spared(target: Path | None, *inputs: str | Path | None) -> None:
    """UsageError if writing ``target`` would destroy a run file, or an input of the command itself.

    Called before any work is done. Other files are replaced, as a second call of a command expects.
    """
    if target is None or not target.is_file():
        return
    if any(given is not None and Path(given).exists() and target.samefile(given) for given in inputs):
        raise UsageError(f"{target} is what is read; write the result to another file")
    if _begins(target) == _RUN:
        raise UsageError(f"{target} is a run file, and its results would be lost; write to another file")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, with the folders above it; StoreError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error


def _begins(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_RUN))
    except OSError:
        return b""  # whoever writes it says why it cannot be written


@contextmanager
def needs_matplotlib() -> Iterator[None]:
    """Around the import of a drawing module: UsageError that names the extra where matplotlib is missing."""
    try:
        yield
    except ImportError:
        raise UsageError('the plot needs matplotlib: pip install "thence[plot]"') from None


__all__ = ["needs_matplotlib", "spared", "write_text"]
