"""A vLLM CPU server for the embedded model, for benchmarks and for trying things out.

    python benchmarks/vllm_server.py --vllm-python .venv-vllm/bin/python --port 8123

serves until it is interrupted; as a context manager it serves while the block runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ACORN = Path(__file__).resolve().parents[1] / "src" / "thence" / "acorn"
START = 300  # seconds


@contextmanager
def served(
    python: str, *, port: int | None = None, threads: int = 1, dtype: str = "float32", block: int | None = None
) -> Iterator[str]:
    """The URL of a running server; it ends with the ``with`` block, all its processes with it.

    ``block`` is the size of its cache blocks in tokens; vLLM's own choice is 128 on a CPU and 16 on a GPU.
    """
    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    command = [os.path.abspath(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(ACORN)]
    command += ["--served-model-name", "acorn", "--dtype", dtype, "--enforce-eager", "--enable-prompt-tokens-details"]
    if block is not None:
        command += ["--block-size", str(block)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment}, start_new_session=True
        )
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _wait(server: subprocess.Popen[bytes], health: str, log: object) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(health, timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    log.seek(0)  # type: ignore[attr-defined]
    tail = log.read().decode(errors="replace")[-3000:]  # type: ignore[attr-defined]
    raise SystemExit(f"the vLLM server did not start:\n{tail}")


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vllm-python", required=True)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    with served(options.vllm_python, port=options.port, threads=options.threads, dtype=options.dtype) as url:
        print(url, flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == "__main__":
    main()
