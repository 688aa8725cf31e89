"""One writer per run file: a lock of the operating system that dies with its process.

POSIX record locks (not ``flock``) are used because a forked worker does not inherit them: a lock never outlives the
process that took it. They do not exclude a second opening within one process, and closing any handle of the file
drops them; a process-wide table of held locks covers both. The lock lies on a side file, since SQLite holds record
locks of its own on the database.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from thence.core.errors import StoreError

_held: set[str] = set()


class RunLock:
    """The lock of the run file at ``path``; StoreError naming the other process when it is taken."""

    def __init__(self, path: Path) -> None:
        self._target = path
        self._file = path.with_name(path.name + ".lock")
        self._name = os.path.realpath(self._file)
        if self._name in _held:
            raise StoreError(f"{path}: this process already writes it; close it first, or use another --run file")
        self._fd = self._acquire()
        _held.add(self._name)

    def _acquire(self) -> int:
        while True:
            try:
                fd = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise StoreError(f"{self._target}: cannot create its lock file: {error.strerror}") from error
            try:
                _lock(fd)
            except OSError as error:
                owner = os.pread(fd, 32, 0) if hasattr(os, "pread") else os.read(fd, 32)
                os.close(fd)
                pid = owner.decode("ascii", "replace").strip() or "unknown"
                raise StoreError(
                    f"{self._target}: process {pid} is writing it; wait for it, or use another --run file"
                ) from error
            if self._still_there(fd):
                os.ftruncate(fd, 0)
                os.write(fd, f"{os.getpid()}\n".encode())
                return fd
            os.close(fd)  # its last owner removed the file between our open and our lock

    def _still_there(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._file))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._name in _held:
            try:
                os.unlink(self._file)
            except OSError:
                pass  # Windows does not remove open files; an unlocked side file does no harm
            os.close(self._fd)
            _held.discard(self._name)


if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        # Far behind the text, so that others can still read the process id.
        os.lseek(fd, 1 << 20, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        os.lseek(fd, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
