"""The state of one visit to a server, and how its answers are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thence.core.budget import add
from thence.core.completion import Ability

from ..answer import count, read_logprobs
from ..openai import PATHS, Endpoint
from ..server import JSON, CallRejected, Server
from .findings import Finding, Notes

QUESTION = "Count from one to ten in words."
BEGUN = "One, two, three,"


@dataclass(slots=True)
class Visit(Notes):
    """``own`` is the model's row in the server's listing, ``extra`` what goes with every call, ``quiet`` what turns
    thoughts off, once a switch was found."""

    server: Server = field(kw_only=True)
    model: str = field(kw_only=True)
    own: JSON = field(default_factory=dict)
    extra: JSON = field(default_factory=dict)
    quiet: JSON = field(default_factory=dict)
    endpoint: Endpoint = "chat"
    abilities: set[Ability] = field(default_factory=set)
    calls: int = 0
    tokens: int | None = 0

    @property
    def is_vllm(self) -> bool:
        """As the generator decides it."""
        return self.own.get("owned_by") == "vllm"

    async def ask(self, endpoint: Endpoint | None = None, **fields: Any) -> JSON:
        """One call; raises CallRejected where the server refuses it. Fields that are None are not sent."""
        endpoint = endpoint or self.endpoint
        body: JSON = {"model": self.model, "temperature": 0.0, "max_tokens": 12}
        if endpoint == "chat":
            body["messages"] = [{"role": "user", "content": QUESTION}]
        else:
            body["prompt"] = f"Q: {QUESTION}\nA:"
        body |= self.extra | fields
        return await self.post(PATHS[endpoint], {k: v for k, v in body.items() if v is not None})

    async def post(self, path: str, body: JSON, *, above: bool = False) -> JSON:
        """Any call, counted."""
        self.calls += 1
        data = await self.server.post(path, body, lambda: None, above=above)
        usage = told(data)
        total = add(count(usage.get("prompt_tokens")), count(usage.get("completion_tokens")))
        if path in PATHS.values() or usage:  # the tokenizer costs nothing and says nothing
            self.tokens = add(self.tokens, count(usage.get("total_tokens")) or total)
        return data

    async def attempt(self, name: str, **fields: Any) -> JSON | None:
        """One call for one check; a refusal is a no, in the server's words."""
        try:
            return await self.ask(**fields)
        except CallRejected as rejected:
            self.note(name, Finding.NO, refusal(rejected))
            return None

    def put(self, question: str) -> JSON:
        """The fields that ask ``question`` on the endpoint in use."""
        if self.endpoint == "chat":
            return {"messages": [{"role": "user", "content": question}]}
        return {"prompt": f"Q: {question}\nA:"}


def refusal(rejected: CallRejected) -> str:
    """What a server said when it refused a call, or why there was no answer."""
    return f"refused: {rejected.said}" if rejected.said else rejected.message


def choices(data: JSON | None) -> list[JSON]:
    """The choices of an answer."""
    found = data.get("choices") if data else None
    return [c for c in found if isinstance(c, dict)] if isinstance(found, list) else []


def text(data: JSON | None, index: int = 0) -> tuple[str, str]:
    """Reply and thought of one choice, empty where there is none."""
    found = choices(data)
    choice = found[index] if index < len(found) else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        return str(choice.get("text") or ""), ""
    return str(message.get("content") or ""), str(message.get("reasoning_content") or message.get("reasoning") or "")


def written(data: JSON | None, index: int = 0) -> str:
    """All that one choice wrote: in a few tokens a thinking model writes nothing but a thought."""
    reply, thought = text(data, index)
    return thought + reply


def told(data: JSON | None) -> JSON:
    """The usage of an answer; empty where it has none."""
    usage = data.get("usage") if data else None
    return usage if isinstance(usage, dict) else {}


def scored(data: JSON) -> tuple[list[str | bytes], tuple[float, ...] | None, tuple[tuple[float, float], ...] | None]:
    """Tokens, log-probabilities and the two best of the first choice."""
    try:
        return read_logprobs((choices(data) or [{}])[0].get("logprobs"))
    except (AttributeError, KeyError, TypeError, ValueError):
        return [], None, None


__all__ = ["BEGUN", "QUESTION", "Visit", "choices", "refusal", "scored", "text", "told", "written"]
