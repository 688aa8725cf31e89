"""The run file: nothing saved is lost, nothing wrong is resumed, nobody else writes."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from thence.core.completion import Completion, Failure, Finish
from thence.core.errors import StoreError
from thence.stores import header as headers
from thence.stores.export import export
from thence.stores.reuse import ReusePool
from thence.stores.sqlite import APPLICATION, Cell, RunFile, RunView

HEADER = {"model": "m", "seed": 0, "limit": 4}


def sample(text: str, finish: Finish = Finish.EOS, generated: int | None = None) -> Completion:
    return Completion.of(text, finish, ids=tuple(range(len(text))), generated=generated or len(text))


def fill(run: RunFile) -> None:
    for i in range(100_000):
        run.put(str(i), "p", sample("x" * 500))
        if i % 50 == 0:
            run.flush()


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ------------------------------------------------------------------------------------------------------ keeping


def test_samples_results_trees_and_failures_come_back(tmp_path: Path) -> None:
    path, cell = tmp_path / "deep" / "run.db", Cell("a", 1, 1000)
    with RunFile.open(path, HEADER) as run:
        run.put("k", "p", sample("hello"))
        assert run.get("k") == sample("hello")
        run.put_result(cell, "p1", {"answer": "7"}, [{"text": "x"}])
        run.put_failure(cell, "p2", Failure("timeout", "no reply", 3))
    with RunFile.open(path, HEADER) as run:
        assert run.get("k") == sample("hello")
        assert run.get("other") is None
        assert run.results(cell) == {"p1": {"answer": "7"}}
        assert run.results(Cell()) == {}
        assert run.tree(cell, "p1") == [{"text": "x"}]
        assert run.tree(cell, "p2") is None
        assert run.failures(cell) == {"p2": Failure("timeout", "no reply", 3)}
        assert run.cells() == [cell]
        run.put_result(cell, "p2", {"answer": None})
        assert run.failures(cell) == {}
        assert set(run.results(cell)) == {"p1", "p2"}


def test_a_longer_piece_of_a_sample_replaces_a_cut_one_and_never_the_reverse(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with RunFile.open(path, HEADER) as run:
        for text, finish in [("ab", Finish.LENGTH), ("abcd", Finish.EOS), ("abc", Finish.LENGTH)]:
            run.put("k", "p", sample(text, finish))
            run.flush()
    with RunFile.open(path, HEADER) as run:
        assert run.get("k") == sample("abcd")


def test_a_put_is_on_disk_within_a_second_without_flush(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with RunFile.open(path, HEADER) as run:
        run.put("k", "p", sample("x"))
        deadline = time.monotonic() + 10  # generous: the machine may be busy
        with RunView(path) as view:
            while view.get("k") is None and time.monotonic() < deadline:
                time.sleep(0.02)
            assert view.get("k") == sample("x")


KILLED = """
    import sys, time
    from thence.core.completion import Completion, Finish
    from thence.stores.sqlite import Cell, RunFile
    run = RunFile.open(sys.argv[1], {"model": "m"})
    i = run.sample_count()
    while True:
        run.put(f"k{i}", "p", Completion.of("text " * 20 + str(i), Finish.EOS, ids=tuple(range(40)), generated=40))
        run.put_result(Cell(), str(i), {"i": i}, ["tree"])
        print(i, time.time(), flush=True)
        i += 1
        time.sleep(0.001)
"""


def test_kill_9_at_random_moments_loses_nothing_older_than_a_second(tmp_path: Path) -> None:
    path, rng = tmp_path / "run.db", random.Random(0)
    for _ in range(3):
        process = child(KILLED, path)
        assert process.stdout is not None
        reported = [process.stdout.readline().split()]
        until = time.time() + 1.2 + rng.random()
        while time.time() < until:
            reported.append(process.stdout.readline().split())
        killed_at = time.time()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        old = [int(i) for i, at in reported if float(at) < killed_at - 1]
        assert old, "the child reported nothing early enough; the test would prove nothing"
        with RunView(path) as view:
            results = view.results(Cell())
            for i in old:
                assert view.get(f"k{i}") is not None
                assert results[str(i)] == {"i": i}
        with RunFile.open(path, {"model": "m"}) as run:  # the dead process's lock is gone
            assert run.sample_count() >= len(old)
    with RunView(path) as view:
        assert sum(s["stopped"] is None for s in view.sessions()) == 3


def test_put_costs_its_caller_microseconds_not_commits(tmp_path: Path) -> None:
    one = sample("x" * 50)
    with RunFile.open(tmp_path / "run.db", HEADER) as run:
        start = time.thread_time()
        for i in range(2000):
            run.put(str(i), "p", one)
        cost = (time.thread_time() - start) / 2000
    assert cost < 200e-6  # CPU time of this thread; about 3e-6 when nothing else runs


# ------------------------------------------------------------------------------------------------------ resuming


def test_another_run_is_refused_by_name_and_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    RunFile.open(path, HEADER).close()
    with pytest.raises(StoreError, match=r'model is "m" in the file and "n" now; use another'):
        RunFile.open(path, {**HEADER, "model": "n"})
    with RunFile.open(path, {**HEADER, "limit": 9}) as run:  # refused openings hold no lock
        assert run.header == {**HEADER, "limit": 9}


def test_a_changed_version_or_commit_is_recorded_and_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.db"
    with RunFile.open(path, HEADER) as run:
        assert run.warnings == []
    with RunFile.open(path, HEADER) as run:
        assert run.warnings == []
    now = {**headers.provenance(), "thence": "99.0", "commit": "abc"}
    monkeypatch.setattr("thence.stores.sqlite.provenance", lambda: now)
    with RunFile.open(path, HEADER) as run:
        assert len(run.warnings) == 2
        assert "99.0" in run.warnings[0]
        assert "abc" in run.warnings[1]
        sessions = run.sessions()
    assert [s["changed"] != [] for s in sessions] == [False, False, True]
    assert sessions[2]["thence"] == "99.0"
    assert sessions[0]["stopped"] >= sessions[0]["started"]


def test_a_reused_sample_is_copied_and_counted(tmp_path: Path) -> None:
    with RunFile.open(tmp_path / "old.db", HEADER) as old:
        old.put("k", "p", sample("old"))
    with RunView(tmp_path / "old.db") as view, RunFile.open(tmp_path / "new.db", {"model": "m", "seed": 1}) as new:
        pool = ReusePool(new, [view])
        assert pool.get("k") == sample("old")
        assert pool.get("k") == sample("old")
        assert pool.get("z") is None
        pool.put("z", "p", sample("new"))
        assert pool.reused == 1
        assert new.get("z") == sample("new")
    with RunView(tmp_path / "new.db") as view:
        assert view.get("k") == sample("old")
        assert view.problem_of("k") == "p"


# ------------------------------------------------------------------------------------------------------ refusing

LOCKED = """
    import sys
    from thence.stores.sqlite import RunFile
    run = RunFile.open(sys.argv[1], {"model": "m", "seed": 0, "limit": 4})
    run.put("k", "p", __import__("thence.core.completion").core.completion.Completion("x", "eos"))
    run.flush()
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_two_processes_on_one_run_are_one_too_many_but_readers_are_welcome(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    other = child(LOCKED, path)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with pytest.raises(StoreError, match=f"process {other.pid} is writing it"):
        RunFile.open(path, HEADER)
    with RunView(path) as view:
        assert view.sample_count() == 1
    other.kill()
    other.communicate()
    with RunFile.open(path, HEADER) as run:
        assert run.sample_count() == 1
        with pytest.raises(StoreError, match="this process already writes it"):
            RunFile.open(path, HEADER)
        with pytest.raises(StoreError, match="this process already writes it"):  # the lock survives the refusal
            RunFile.open(path, HEADER)
        second = child(LOCKED, path)
        _, said = second.communicate()
        assert f"process {os.getpid()} is writing it" in said
    assert not path.with_name("run.db.lock").exists()


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    code = """
        import os, sys, time
        from thence.stores.sqlite import RunFile
        run = RunFile.open(sys.argv[1], {"model": "m", "seed": 0, "limit": 4})
        if os.fork() == 0:
            os.close(1)
            sys.stdin.readline()
            os._exit(0)
        print("forked", flush=True)
        os.kill(os.getpid(), 9)
    """
    parent = child(code, path)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "forked\n"
    parent.wait()
    RunFile.open(path, HEADER).close()  # while the grandchild still lives
    parent.communicate()


def test_a_newer_schema_says_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    RunFile.open(path, HEADER).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=7")
    db.close()
    for opening in (lambda: RunFile.open(path, HEADER), lambda: RunView(path)):
        with pytest.raises(StoreError, match=r"written by a newer thence \(schema 7.*upgrade"):
            opening()


def test_files_that_are_no_runs_are_refused_and_kept(tmp_path: Path) -> None:
    text, foreign, folder = tmp_path / "a.db", tmp_path / "b.db", tmp_path / "c.db"
    text.write_text("these are my notes, please keep them\n" * 100)
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    folder.mkdir()
    for path, said in [(text, "not a database"), (foreign, "no thence run"), (folder, "not a file")]:
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(StoreError, match=said):
            RunFile.open(path, HEADER)
        assert (path.read_bytes() if path.is_file() else b"") == before
    with pytest.raises(StoreError, match="no such run file"):
        RunView(tmp_path / "missing.db")
    assert not (tmp_path / "missing.db").exists()


def test_a_damaged_file_is_an_error_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with RunFile.open(path, HEADER) as run:
        for i in range(300):
            run.put(str(i), "p", sample("x" * 200))
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError) as said:
        RunFile.open(path, HEADER)
    assert "\n" not in str(said.value)
    assert "restore a copy" in str(said.value)


def test_planted_triggers_and_views_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    RunFile.open(path, HEADER).close()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TRIGGER t AFTER INSERT ON samples BEGIN DELETE FROM results; END")
    db.close()
    with pytest.raises(StoreError, match="altered"):
        RunFile.open(path, HEADER)


# ------------------------------------------------------------------------------------------------------ full disks


def test_a_full_disk_is_one_clear_line_at_the_next_call_and_loses_nothing_saved(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    run = RunFile.open(path, HEADER)
    run.put("first", "p", sample("kept"))
    run.flush()
    (pages,) = run._db.execute("PRAGMA page_count").fetchone()
    run._db.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(StoreError, match="the disk is full; what was saved before is intact"):
        fill(run)
    with pytest.raises(StoreError, match="the disk is full"):
        run.put("again", "p", sample("x"))
    run._db.execute("PRAGMA max_page_count=1000000")  # space was freed
    run.flush()
    run.put("after", "p", sample("x"))
    run.close()
    with RunView(path) as view:
        assert view.get("first") == sample("kept")
        assert view.get("0") is not None
        assert view.get("after") is not None


def test_a_write_error_of_the_system_is_one_line_and_the_file_stays_good(tmp_path: Path) -> None:
    code = """
        import resource, sys
        from thence.core.completion import Completion, Finish
        from thence.stores.sqlite import RunFile
        run = RunFile.open(sys.argv[1], {"model": "m", "seed": 0, "limit": 4})
        run.put("first", "p", Completion.of("kept", Finish.EOS))
        run.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            for i in range(100_000):
                run.put(str(i), "p", Completion.of("x" * 500, Finish.EOS))
                if i % 50 == 0:
                    run.flush()
        except Exception as error:
            print(type(error).__name__, str(error).count(chr(10)), error)
        import os
        os._exit(3)
    """
    assert resource.RLIMIT_FSIZE >= 0
    process = child(code, tmp_path / "run.db")
    out, _ = process.communicate()
    assert process.returncode == 3
    assert out.startswith("StoreError 0 ")
    assert "saved before is intact" in out
    with RunView(tmp_path / "run.db") as view:
        assert view.get("first") is not None


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be created"):
        RunFile.open(tmp_path / "file" / "run.db", HEADER)


# ------------------------------------------------------------------------------------------------------ secrets


def test_no_secret_reaches_any_byte_of_the_file_or_its_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hunter2-hunter2-hunter2"
    monkeypatch.setenv("MY_SERVER_API_KEY", secret)
    path = tmp_path / "run.db"
    header = {
        "model": {"identity": f"openai:m@http://u:{secret}@host/v1", "headers": {"X-Key": secret}},
        "arguments": {"model": f"openai:m@http://{secret}@host/v1?key={secret}", "extra": [f"Bearer {secret}"]},
        "notes": {"echo": f"it is {secret}"},
    }
    run = RunFile.open(path, header)
    run.put_failure(Cell(), "p", Failure("http 401", f"wrong key {secret}"))
    judged = Cell(f"best-of-n(verifier=judge:m@http://u:{secret}@host/v1)")
    run.put_result(judged, "q", {"answer": "1"})
    assert run.results(judged) == {"q": {"answer": "1"}}
    with RunView(path) as view:
        export(view, tmp_path / "out.jsonl", samples=True, trees=True)
        export(view, tmp_path / "out.parquet", samples=True)
    files = [p for p in tmp_path.iterdir() if p.is_file()]
    assert {"run.db", "run.db-wal", "out.jsonl", "out.parquet"} <= {p.name for p in files}
    assert all(b"hunter2" not in p.read_bytes() for p in files)
    run.close()
    assert b"hunter2" not in path.read_bytes()
    assert b"openai:m@http://host/v1" in path.read_bytes()
    assert "hunter2" not in json.dumps(run.header)


def test_the_file_tells_itself_from_other_databases(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    RunFile.open(path, HEADER).close()
    assert int.from_bytes(path.read_bytes()[68:72], "big") == APPLICATION
