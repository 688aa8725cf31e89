"""A server that speaks as much of vLLM's API as the benchmark against the peers uses, and counts like vLLM.

It answers every prompt with one of a few lines, and with a ``####`` line after two of them; what was asked is kept.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

JSON = dict[str, Any]
LINES = (" Carl has 100 books.\n", " Anna has 400 books.\n", " Jane has 440 books.\n")
LENGTH = 2  # lines before the answer


@dataclass(frozen=True)
class Asked:
    """One call: where it went, its body, and the tokens of each of its prompts."""

    path: str
    body: JSON
    prompts: tuple[tuple[int, ...], ...]

    @property
    def sequences(self) -> int:
        """How many completions it wanted."""
        return len(self.prompts) * int(self.body.get("n", 1))


class CountingServer:
    """``with CountingServer(tokenizer) as server``: ``server.url`` ends in /v1, ``server.asked`` lists the calls."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.asked: list[Asked] = []
        self.forgotten = 0
        self.counts = dict.fromkeys(("prompt", "generated", "sequences"), 0)
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                models = {"data": [{"id": "acorn", "owned_by": "vllm", "max_model_len": 1024}]}
                self._send(server.metrics().encode() if self.path == "/metrics" else json.dumps(models).encode())

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length") or 0))
                with server._lock:
                    reply = server.answer(self.path, json.loads(content) if content else {})
                self._send(json.dumps(reply).encode())

            def _send(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # clients hang up when they are done

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> CountingServer:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def metrics(self) -> str:
        """The counters, as vLLM on a processor writes them."""
        paths = [call.path for call in self.asked]
        calls = [f'http_requests_total{{handler="{p}",method="POST"}} {paths.count(p)}.0' for p in sorted(set(paths))]
        names = {"prompt": "prompt_tokens", "generated": "generation_tokens", "sequences": "request_success"}
        rows = [f'vllm:{names[key]}_total{{engine="0"}} {n}.0' for key, n in self.counts.items()]
        rows += ['vllm:prompt_tokens_cached_total{engine="0"} 0.0', 'vllm:num_requests_running{engine="0"} 0.0']
        return "\n".join([*rows, *calls, 'vllm:cache_config_info{block_size="128",kv_cache_memory_bytes="1"} 1.0'])

    def answer(self, path: str, body: JSON) -> JSON:
        """What vLLM would send back."""
        if path == "/reset_prefix_cache":
            self.forgotten += 1
            return {}
        if path == "/tokenize":
            text = self._chat(body) if "messages" in body else body["prompt"]
            return {"tokens": self._ids(text)}
        prompts = self._prompts(body)
        self.asked.append(Asked(path, body, tuple(map(tuple, prompts))))
        choices: list[JSON] = []
        for ids in prompts:
            for _ in range(int(body.get("n", 1))):
                choices.append(self._choice(ids, body, len(choices), "messages" in body))
        told = sum(len(choice["token_ids"]) for choice in choices)
        self.counts["prompt"] += sum(map(len, prompts)) * int(body.get("n", 1))
        self.counts["generated"] += told
        self.counts["sequences"] += len(choices)
        usage = {"prompt_tokens": len(prompts[0]), "completion_tokens": told}
        return {"choices": choices, "usage": usage, "prompt_token_ids": prompts[0]}

    def _choice(self, ids: list[int], body: JSON, index: int, chat: bool) -> JSON:
        reply = self.tokenizer.decode(ids).rpartition("A:")[2]
        drawn = self.counts["sequences"] + index
        last = reply.count("\n") >= LENGTH
        text = f" #### {440 + drawn % 3}" if last else LINES[drawn % len(LINES)]
        shown = text if body.get("include_stop_str_in_output") else text.rstrip("\n")
        made: JSON = {"index": index, "finish_reason": "stop", "stop_reason": None if last else "\n"}
        made["token_ids"] = self._ids(text) + ([self.tokenizer.eos_token_id] if last else [])
        return made | ({"message": {"role": "assistant", "content": shown}} if chat else {"text": shown})

    def _prompts(self, body: JSON) -> list[list[int]]:
        given = [self._chat(body)] if "messages" in body else body["prompt"]
        if isinstance(given, str):
            given = [given]
        return [given] if isinstance(given[0], int) else [self._ids(text) for text in given]

    def _chat(self, body: JSON) -> str:
        options = {key: body[key] for key in ("add_generation_prompt", "continue_final_message") if key in body}
        options.setdefault("add_generation_prompt", True)
        return str(self.tokenizer.apply_chat_template(body["messages"], tokenize=False, **options))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
