"""Flags that several commands share, as the dataclasses from which the command line is generated."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from thence import api
from thence.core.errors import UsageError
from thence.core.protocols import Generator
from thence.methods import ModelOptions, with_arguments


@Parameter(name="*", group="Model")
@dataclass(frozen=True, slots=True)
class ModelFlags:
    """Which model, and how to load or reach it."""

    model: Annotated[str, Parameter(alias="-m")] = "acorn"
    """acorn, hf:NAME_OR_PATH, openai:NAME@URL, replay:FILE#source=NAME, or several: pool:M1,M2."""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Number format of a local model; default: what the processor is fast at."""
    device: str | None = None
    """cpu, cuda or mps; default: the best there is."""
    exact: bool | None = None
    """Local model: a sample never depends on what runs beside it."""
    trust_remote_code: Annotated[bool, Parameter(negative="")] = False
    """Let a checkpoint run its own Python code."""
    allow_pickle: Annotated[bool, Parameter(negative="")] = False
    """Load weights that are not safetensors (unpickling runs code)."""
    max_connections: int | None = None
    """Most requests that a server gets at once."""
    endpoint: Literal["chat", "completions"] = "chat"
    """Which of a server's endpoints to use."""
    key_var: str | None = None
    """Environment variable that holds the server's key (default THENCE_API_KEY; OPENAI_API_KEY for openai.com)."""
    header: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Extra request header NAME=VALUE; may be repeated."""
    extra_body: str | None = None
    """JSON object merged into every request to a server."""
    timeout: float | None = None
    """Seconds to wait for one answer of a server."""
    skill: str | None = None
    """Of a pool: the run file by which its models' votes are weighted under weight=skill; of other problems."""
    role: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Another model for a part, ROLE=MODEL, such as critic=openai:NAME@URL; may be repeated."""

    def options(self, seed: int = 0) -> ModelOptions:
        """The same as the library's own options."""
        return ModelOptions(
            dtype=self.dtype,
            device=self.device,
            exact=self.exact,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
            max_connections=self.max_connections,
            endpoint=self.endpoint,
            key_var=self.key_var,
            headers=tuple(_pair(h) for h in self.header),
            extra_body=_body(self.extra_body),
            timeout=self.timeout,
            skill=self.skill,
            seed=seed,
        )

    def roles(self, seed: int = 0) -> dict[str, Generator]:
        """The models of ``--role``, loaded."""
        pairs = [text.partition("=") for text in self.role]
        wrong = next(
            (text for text, (name, _, model) in zip(self.role, pairs, strict=True) if not (name and model)), None
        )
        if wrong is not None:
            raise UsageError(f"--role {wrong!r} is not ROLE=MODEL; write e.g. --role critic=hf:PATH")
        return {name: api.load(model, self.options(seed)) for name, _, model in pairs}

    def public(self) -> dict[str, Any]:
        """The flags that may be stored: no headers, no request bodies."""
        kept = asdict(self)
        if kept.pop("header") or kept.pop("extra_body"):
            kept["secret"] = "headers or extra body were given and are not stored"
        kept.pop("extra_body", None)
        return kept


@Parameter(name="*", group="Sampling")
@dataclass(frozen=True, slots=True)
class SamplingFlags:
    """How to draw tokens; what is not given is the model's own default."""

    temperature: float | None = None
    """0 is greedy; default 0.7, or the model's own."""
    top_p: float | None = None
    """Keep the most likely tokens of this total probability; 1 is off."""
    top_k: int | None = None
    """Keep the k most likely tokens; 0 is off."""
    max_tokens: int | None = None
    """Most tokens per sample; default 2048 or what the context leaves."""
    think: str | None = None
    """Whether the model thinks before it replies: on, off, auto (where short replies disagree), or at most N tokens."""

    def given(self) -> dict[str, Any]:
        """The fields that were given."""
        fields = ("temperature", "top_p", "top_k", "max_tokens", "think")
        return {f: getattr(self, f) for f in fields if getattr(self, f) is not None}


@Parameter(name="*", group="Your own file")
@dataclass(frozen=True, slots=True)
class TaskFlags:
    """How to read a file of questions; the same can be written into the task, jsonl(file=…, question=…)."""

    question: str | None = None
    """Column of the question; dots lead into objects."""
    answer: str | None = None
    """Column of the reference answer; "none" for questions without references."""
    id: str | None = None
    """Column of the problem's id."""
    system: str | None = None
    """System message put before every question."""
    extract: str | None = None
    """How answers are found: a regular expression, json:PATH or module:function (or path.py:function)."""
    grader: str | None = None
    """Your own grader, module:function or path.py:function; it runs in a process of its own under a deadline."""
    bad_references: Annotated[bool, Parameter(negative="")] = False
    """Run although some references do not grade themselves as right; they are listed."""

    def applied(self, task: str) -> str:
        """The task's text with these flags written into it."""
        given = {k: v for k in ("question", "answer", "id", "system", "extract", "grader") if (v := getattr(self, k))}
        return with_arguments(task, given) if given else task


def _pair(header: str) -> tuple[str, str]:
    name, equals, value = header.partition("=")
    if not equals or not name:
        raise UsageError(f"--header {header.split('=')[0]!r} is not NAME=VALUE")
    return name, value


def _body(text: str | None) -> tuple[tuple[str, Any], ...]:
    if text is None:
        return ()
    try:
        body = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--extra-body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise UsageError("--extra-body must be a JSON object, e.g. '{\"top_k\": 20}'")
    return tuple(body.items())
