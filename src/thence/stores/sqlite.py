"""One run, one SQLite file in WAL mode.

``RunFile`` writes: it is the run's sample pool and its record of results. A caller's ``put`` only appends to a queue;
a thread packs and commits what has gathered, at least twice a second, so that a killed process loses less than a
second of finished work. ``RunView`` reads the same file, also while another process writes it.

Opening a run file runs nothing from it: it holds JSON, text and packed arrays, and triggers or views that somebody
may have planted are refused.
"""

from __future__ import annotations

import atexit
import json
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from thence.core.completion import Completion, Failure, Finish
from thence.core.errors import StoreError

from .header import Document, clean, differences, environment_secrets, merge, provenance, scrub
from .lock import RunLock
from .packing import Row, pack, unpack

SCHEMA = 1
APPLICATION = 0x74686E63  # "thnc": tells a run file from any other database
COMMIT_EVERY = 0.4  # seconds

_TABLES = {
    "header": "name TEXT PRIMARY KEY, value TEXT NOT NULL",
    "samples": "key TEXT PRIMARY KEY, problem TEXT NOT NULL, text NOT NULL, finish TEXT NOT NULL, "
    "generated INTEGER, prompt_tokens INTEGER, packed BLOB NOT NULL",
    "results": "arm TEXT NOT NULL, seed INTEGER NOT NULL, budget INTEGER NOT NULL, problem TEXT NOT NULL, "
    "record TEXT NOT NULL, tree BLOB, PRIMARY KEY (arm, seed, budget, problem)",
    "failures": "arm TEXT NOT NULL, seed INTEGER NOT NULL, budget INTEGER NOT NULL, problem TEXT NOT NULL, "
    "kind TEXT NOT NULL, message TEXT NOT NULL, attempts INTEGER NOT NULL, "
    "PRIMARY KEY (arm, seed, budget, problem)",
    "sessions": "id INTEGER PRIMARY KEY, started REAL NOT NULL, stopped REAL, provenance TEXT NOT NULL, notes TEXT",
}

Record = dict[str, Any]
Write = Callable[[sqlite3.Connection], object]  # one piece of the writer's next transaction


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a run's grid: who solved, with which seed, under which budget (charged tokens; None: no limit).

    A run that is no comparison has one cell, and its arm is empty.
    """

    arm: str = ""
    seed: int = 0
    budget: int | None = None

    @property
    def row(self) -> tuple[str, int, int]:
        """The cell as key columns, without URL credentials; no budget is 0, since NULLs are never equal in a key."""
        return scrub(self.arm), self.seed, self.budget or 0


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """A connection that trusts nothing in the file's schema."""
    uri = f"file:{quote(str(path.absolute()))}?mode={'rwc' if write else 'ro'}"
    db = sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False, isolation_level=None)
    db.execute("PRAGMA trusted_schema=OFF")
    return db


def _check(db: sqlite3.Connection, path: Path) -> None:
    """StoreError unless the open database is a run file of a schema that this version knows."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION:
        raise StoreError(f"{path} is a database, but no thence run; choose another --run file")
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if schema > SCHEMA:
        raise StoreError(
            f"{path} was written by a newer thence (schema {schema}; this one reads up to {SCHEMA}); "
            "upgrade with: pip install -U thence"
        )
    found = {(kind, name) for kind, name in db.execute("SELECT type, name FROM sqlite_schema WHERE type != 'index'")}
    if found != {("table", name) for name in _TABLES}:
        raise StoreError(f"{path} is a damaged or altered run file (its tables are not thence's); restore a copy")


def _said(error: sqlite3.Error, path: Path) -> StoreError:
    """A database error in one line that says what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"{path}: the disk is full; what was saved before is intact: free space and run again")
    if code == sqlite3.SQLITE_NOTADB:
        return StoreError(f"{path} is no thence run file (not a database); choose another --run file")
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreError(f"{path} is damaged ({error}); restore a copy, or delete it and start again")
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreError(f"{path}: cannot be opened; check that the folder exists and that you may write there")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreError(f"{path}: may not be written (read-only); choose another --run file")
    return StoreError(f"{path}: {error}; what was saved before is intact: see to the disk and run again")


class _Samples:
    """Samples by key, as objects or as packed rows; unpacked when asked for."""

    def __init__(self) -> None:
        self.rows: dict[str, Completion | Row] = {}

    def get(self, key: str) -> Completion | None:
        found = self.rows.get(key)
        return unpack(found) if isinstance(found, tuple) else found

    def load(self, db: sqlite3.Connection) -> None:
        """Read all rows of ``db``."""
        for key, *row in db.execute("SELECT key, text, finish, generated, prompt_tokens, packed FROM samples"):
            self.rows[key] = tuple(row)


class _Reading:
    """What readers and the writer of a run file share: questions that go to the database."""

    path: Path
    header: Document

    def _select(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def results(self, cell: Cell) -> dict[str, Record]:
        """Records of all finished problems of ``cell`` by problem id, without their trees."""
        rows = self._select("SELECT problem, record FROM results WHERE (arm, seed, budget) = (?, ?, ?)", cell.row)
        return {problem: json.loads(record) for problem, record in rows}

    def failures(self, cell: Cell) -> dict[str, Failure]:
        """Problems of ``cell`` whose calls failed for good and that no later session has finished."""
        query = "SELECT problem, kind, message, attempts FROM failures WHERE (arm, seed, budget) = (?, ?, ?)"
        return {problem: Failure(*rest) for problem, *rest in self._select(query, cell.row)}

    def cells(self) -> list[Cell]:
        """All cells that hold a result or a failure, sorted."""
        query = "SELECT arm, seed, budget FROM results UNION SELECT arm, seed, budget FROM failures"
        return [Cell(arm, seed, budget or None) for arm, seed, budget in sorted(self._select(query))]

    def tree(self, cell: Cell, problem: str) -> Any:
        """The stored tree of one problem as plain JSON data; None when there is none."""
        rows = self._select(
            "SELECT tree FROM results WHERE (arm, seed, budget, problem) = (?, ?, ?, ?)", (*cell.row, problem)
        )
        if not rows or rows[0][0] is None:
            return None
        try:
            return json.loads(zlib.decompress(rows[0][0]))
        except (zlib.error, ValueError) as error:
            raise StoreError(f"{self.path}: the tree of problem {problem!r} is damaged ({error})") from error

    def remembered(self, name: str) -> str | None:
        """A fact about the run that was found out while it ran (``remember``)."""
        rows = self._select("SELECT value FROM header WHERE name = ?", (f"fact:{name}",))
        return rows[0][0] if rows else None

    def sessions(self) -> list[Record]:
        """When this file was written: start and stop (seconds since 1970; no stop: killed), versions, commit."""
        rows = self._select("SELECT started, stopped, provenance, notes FROM sessions ORDER BY id")
        return [
            {"started": a, "stopped": b, **json.loads(made_by), "changed": json.loads(notes or "[]")}
            for a, b, made_by, notes in rows
        ]


class RunView(_Reading):
    """A run file opened for reading; it may be written by another process meanwhile."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise StoreError(f"{self.path}: there is no such run file; `thence runs` lists those there are")
        self._samples: _Samples | None = None
        try:
            self._db = self._open()
            _check(self._db, self.path)
            (document,) = self._db.execute("SELECT value FROM header WHERE name = 'document'").fetchone()
            self.header = json.loads(document)
        except sqlite3.Error as error:
            raise _said(error, self.path) from error
        except (TypeError, ValueError) as error:
            raise StoreError(f"{self.path}: the header is damaged ({error}); restore a copy") from error

    def _open(self) -> sqlite3.Connection:
        try:
            db = _connect(self.path, write=False)
            db.execute("PRAGMA user_version").fetchone()
            return db
        except sqlite3.OperationalError:
            # A folder that cannot be written: without a log beside it the file is complete and can be read as it is.
            if self.path.with_name(self.path.name + "-wal").exists():
                raise
            uri = f"file:{quote(str(self.path.absolute()))}?mode=ro&immutable=1"
            return sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)

    def _select(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise _said(error, self.path) from error

    def get(self, key: str) -> Completion | None:
        """The sample of ``key``."""
        query = "SELECT text, finish, generated, prompt_tokens, packed FROM samples WHERE key = ?"
        rows = self._select(query, (key,))
        return unpack(rows[0]) if rows else None

    def problem_of(self, key: str) -> str | None:
        """The problem that the sample of ``key`` was drawn for."""
        rows = self._select("SELECT problem FROM samples WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def samples(self) -> Iterator[tuple[str, str, Completion]]:
        """All samples as (key, problem, completion), in the order in which they were stored."""
        query = "SELECT key, problem, text, finish, generated, prompt_tokens, packed FROM samples ORDER BY rowid"
        for key, problem, *row in self._select(query):
            yield key, problem, unpack(tuple(row))

    def sample_count(self) -> int:
        """How many samples the file holds."""
        return int(self._select("SELECT count(*) FROM samples")[0][0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RunFile(_Reading):
    """A run file opened for writing by this process alone; also a ``SamplePool``.

    ``warnings`` are lines for the user about what changed since the last session. Thread-safe: samples may be put from
    an engine's thread while results come from the event loop's.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, lock: RunLock, header: Document) -> None:
        self.path = path
        self.header = header
        self.warnings: list[str] = []
        self._db = db
        self._lock = lock
        self._samples = _Samples()
        self._secrets = environment_secrets()
        self._queue: deque[Write] = deque()
        self._pending: list[Write] = []  # taken from the queue, not yet committed
        self._some = threading.Event()  # the queue is not empty
        self._hurry = threading.Event()  # somebody waits for a commit
        self._error: StoreError | None = None
        self._closing = False
        self._closed = False
        self._session = 0
        self._writer = threading.Thread(target=self._write, name="thence-store", daemon=True)

    @classmethod
    def open(cls, path: str | Path, header: Mapping[str, object], *, extendable: Sequence[str] = ("limit",)) -> RunFile:
        """Open or create the run file at ``path`` for the run that ``header`` describes.

        An existing file is resumed when its header agrees in everything but ``extendable``, ``arguments`` and
        ``notes``; otherwise StoreError names the fields that differ.
        """
        path = Path(path)
        if path.exists() and not path.is_file():
            raise StoreError(f"{path} is not a file; give --run a file name")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent}: cannot be created ({error.strerror}); choose another --run") from error
        lock = RunLock(path)
        try:
            db = _connect(path, write=True)
            try:
                run = cls._resume(path, db, lock, header, extendable)
            except BaseException:
                db.close()
                raise
        except sqlite3.Error as error:
            lock.release()
            raise _said(error, path) from error
        except BaseException:
            lock.release()
            raise
        run._writer.start()
        atexit.register(run.close)
        return run

    @classmethod
    def _resume(
        cls, path: Path, db: sqlite3.Connection, lock: RunLock, header: Mapping[str, object], extendable: Sequence[str]
    ) -> RunFile:
        wanted: Document = clean(header, environment_secrets())
        db.execute("PRAGMA schema_version").fetchone()  # the first read: fails here when this is no database
        fresh = db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
        if not fresh:
            _check(db, path)
        (mode,) = db.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"{path}: this file system does not support write-ahead logs; choose a local folder")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("BEGIN IMMEDIATE")
        if fresh:
            for name, columns in _TABLES.items():
                db.execute(f"CREATE TABLE {name} ({columns})")
            db.execute(f"PRAGMA application_id={APPLICATION}")
            db.execute(f"PRAGMA user_version={SCHEMA}")
            db.execute("INSERT INTO header VALUES ('schema', ?)", (str(SCHEMA),))
            merged = wanted
        else:
            stored = db.execute("SELECT value FROM header WHERE name = 'document'").fetchone()
            merged = merge(json.loads(stored[0]), wanted, extendable, path) if stored else wanted
        db.execute("INSERT OR REPLACE INTO header VALUES ('document', ?)", (json.dumps(merged),))
        run = cls(path, db, lock, merged)
        run._begin_session()
        db.execute("COMMIT")
        run._samples.load(db)
        return run

    def _begin_session(self) -> None:
        """Record this session; warn of versions, commit or circumstances that differ from the last one's."""
        now = clean({**provenance(), "notes": self.header.get("notes", {})}, self._secrets)
        last = self._db.execute("SELECT provenance FROM sessions ORDER BY id DESC LIMIT 1").fetchone()
        changed = differences(json.loads(last[0]), now, ()) if last else []
        self.warnings = [
            f"{self.path}: {name} was {old} in the last session and is {new} now; samples of both are in this run"
            for name, old, new in changed
        ]
        cursor = self._db.execute(
            "INSERT INTO sessions (started, provenance, notes) VALUES (?, ?, ?)",
            (time.time(), json.dumps(now), json.dumps(changed)),
        )
        self._session = cursor.lastrowid or 0

    # ------------------------------------------------------------------------------------------------ samples

    def get(self, key: str) -> Completion | None:
        """The sample of ``key``, if there is one."""
        return self._samples.get(key)

    def put(self, key: str, problem: str, completion: Completion) -> None:
        """Keep a sample. Of two with one key the longer stays: a cut sample is the beginning of the whole one."""
        rows = self._samples.rows
        if key in rows and not _grows(rows[key], completion):
            return
        rows[key] = completion

        def write(db: sqlite3.Connection) -> None:
            row = pack(completion)
            db.execute("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?)", (key, problem, *row))
            if rows.get(key) is completion:
                rows[key] = row  # a packed row takes a tenth of the memory of its objects

        self._enqueue(write)

    def sample_count(self) -> int:
        """How many samples the file holds, those still being written included."""
        return len(self._samples.rows)

    # ------------------------------------------------------------------------------------------------ results

    def put_result(self, cell: Cell, problem: str, record: Mapping[str, object], tree: object = None) -> None:
        """Keep the record (and the tree, plain JSON data) of a finished problem; an earlier failure of it is gone."""
        text = json.dumps(record)

        def write(db: sqlite3.Connection) -> None:
            packed = None if tree is None else zlib.compress(json.dumps(tree).encode(), 1)
            db.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)", (*cell.row, problem, text, packed))
            db.execute("DELETE FROM failures WHERE (arm, seed, budget, problem) = (?, ?, ?, ?)", (*cell.row, problem))

        self._enqueue(write)

    def put_failure(self, cell: Cell, problem: str, failure: Failure) -> None:
        """Keep that the calls for a problem failed; it is tried again at the next start."""
        values = (*cell.row, problem, failure.kind, scrub(failure.message, self._secrets), failure.attempts)
        self._enqueue(lambda db: db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?, ?)", values))

    def remember(self, name: str, value: str) -> None:
        """Keep a fact about the run, such as how its model's texts are divided into steps."""
        row = (f"fact:{name}", value)
        self._enqueue(lambda db: db.execute("INSERT OR REPLACE INTO header VALUES (?, ?)", row))

    def _select(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        self.flush()
        try:
            with closing(_connect(self.path, write=False)) as db:
                return db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise _said(error, self.path) from error

    # ------------------------------------------------------------------------------------------------ the writer

    def _enqueue(self, write: Write) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise StoreError(f"{self.path}: this run file is closed")
        self._queue.append(write)
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Return when everything put so far is on disk; StoreError when it cannot be written."""
        if self._closed:
            return
        done = threading.Event()
        self._queue.append(_Barrier(done))
        self._hurry.set()
        self._some.set()
        done.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Write what is left, close the file and give up the lock; a second call does nothing."""
        if self._closed:
            return
        atexit.unregister(self.close)
        stop = "UPDATE sessions SET stopped = ? WHERE id = ?"
        self._queue.append(lambda db: db.execute(stop, (time.time(), self._session)))
        try:
            self.flush()
        finally:
            self._closing = self._closed = True
            self._hurry.set()
            self._some.set()
            self._writer.join()
            try:
                self._db.close()
            finally:
                self._lock.release()

    def _write(self) -> None:
        """The writer thread: gather for a moment, then commit all of it."""
        while not self._closing:
            self._some.wait()
            self._hurry.wait(COMMIT_EVERY)
            self._hurry.clear()
            self._some.clear()
            while self._queue:
                self._pending.append(self._queue.popleft())
            try:
                self._commit()
                self._error = None
            except sqlite3.Error as error:
                self._error = _said(error, self.path)
            except Exception as error:
                self._error = StoreError(f"{self.path}: {type(error).__name__}: {error}")
            barriers = [p for p in self._pending if isinstance(p, _Barrier)]
            self._pending = [] if self._error is None else [p for p in self._pending if not isinstance(p, _Barrier)]
            for barrier in barriers:
                barrier.done.set()

    def _commit(self) -> None:
        """All pending writes in one transaction; they stay pending when it fails, for a later try."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for write in self._pending:
                write(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Barrier:
    """Stands in the queue for somebody who waits until everything before it is committed."""

    done: threading.Event

    def __call__(self, db: sqlite3.Connection) -> None:
        """Writes nothing."""


def _grows(old: Completion | Row, new: Completion) -> bool:
    """Whether ``new`` is a longer piece of the same sample than ``old``."""
    finish, length = (old[1], old[2]) if isinstance(old, tuple) else (old.finish, old.generated)
    if finish not in (Finish.LENGTH, Finish.BUDGET):
        return False
    return new.finish not in (Finish.LENGTH, Finish.BUDGET) or (new.generated or 0) > (length or 0)
