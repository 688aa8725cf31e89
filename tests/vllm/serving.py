"""vLLM servers of our own: models on a free port, in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tiny import make

PYTHON = os.environ.get("THENCE_VLLM_PYTHON", "")
ACORN = Path(__file__).resolve().parents[2] / "src" / "thence" / "acorn"
INTRUSIVE = {"temperature": 0.2, "top_k": 3, "repetition_penalty": 1.7}  # would change every text, if they got in
START = 600  # seconds; about 30 on two idle cores, minutes on busy ones
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # the server shares the machine with the client
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


@dataclass(frozen=True)
class Served:
    """A running server and the model it serves."""

    url: str
    root: str
    name: str
    folder: Path

    def metric(self, name: str) -> float:
        """The sum of a counter or gauge from the server's own metrics."""
        lines = httpx.get(f"{self.root}/metrics", trust_env=False).text.splitlines()
        rows = [line for line in lines if line.startswith((f"vllm:{name}{{", f"vllm:{name} "))]
        assert rows, f"the server has no metric {name}"
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


def start(temporary: Callable[[str], Path]) -> Iterator[Served]:
    """The embedded model's server (a tiny random one's where there is none yet), as ``serve`` starts it."""
    skip_without_vllm()
    folder, name = temporary("model"), "tiny"
    if (ACORN / "config.json").exists():  # a copy: the model may be trained again meanwhile
        folder, name = Path(shutil.copytree(ACORN, folder / "acorn")), "acorn"
    else:
        make(folder)
    config = folder / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **INTRUSIVE}))
    with serve(folder, name, temporary("log") / "vllm.log") as served:
        yield served


def skip_without_vllm() -> None:
    """Skip the test where nobody has set vLLM up."""
    if not PYTHON:
        pytest.skip("THENCE_VLLM_PYTHON is not set: make test-vllm sets up vLLM and runs these tests")


@contextmanager
def serve(folder: Path, name: str, log: Path, *flags: str) -> Iterator[Served]:
    """Serve the model in ``folder`` as ``name``, wait until it is healthy, and end it with all its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [os.path.abspath(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", name, "--dtype", "float32", "--enforce-eager", "--enable-prompt-tokens-details"]
    command += ["--host", "127.0.0.1", "--port", str(port), *flags]
    with log.open("wb") as out:
        server = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
            cwd=log.parent,
            start_new_session=True,  # its engine is a process of its own: the whole group ends together
        )
    root = f"http://127.0.0.1:{port}"
    try:
        _wait(server, root, log)
        yield Served(f"{root}/v1", root, name, folder)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait(server: subprocess.Popen[bytes], root: str, log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            if httpx.get(f"{root}/health", timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
    pytest.fail(f"the vLLM server did not start (exit status {server.poll()}):\n{tail}")
