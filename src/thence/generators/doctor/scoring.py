"""Endpoints that return numbers and no text, and log-probabilities of chosen tokens: what served verifiers read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..openai import PATHS
from ..server import JSON, CallRejected
from .visit import Visit, choices, refusal

TEXTS = ("two and two", "four")
TOKENS = (1, 2)  # any two ids that every vocabulary has


@dataclass(frozen=True, slots=True)
class Number:
    """An endpoint, what it is asked, and where its numbers are. ``above``: beside the version of the API."""

    name: str
    path: str
    body: JSON
    read: Callable[[JSON], Any]
    above: bool = True


NUMBERS = (
    Number("pooling", "/pooling", {"input": TEXTS[0]}, lambda d: d["data"][0]["data"]),
    Number("score", "/score", {"text_1": TEXTS[0], "text_2": TEXTS[1]}, lambda d: d["data"][0]["score"]),
    Number(
        "rerank",
        "/rerank",
        {"query": TEXTS[0], "documents": [TEXTS[1]]},
        lambda d: d["results"][0]["relevance_score"],
    ),
    Number("classify", "/classify", {"input": TEXTS[0]}, lambda d: d["data"][0]["probs"]),
    Number("embeddings", "/embeddings", {"input": TEXTS[0]}, lambda d: d["data"][0]["embedding"], above=False),
)


async def numbers(visit: Visit) -> bool:
    """Every endpoint once; whether any of them works."""
    return any([await _one(visit, each) for each in NUMBERS])


async def _one(visit: Visit, each: Number) -> bool:
    check = f"{each.name} endpoint"
    try:
        data = await visit.post(each.path, {"model": visit.model, **each.body}, above=each.above)
        got = each.read(data)
    except CallRejected as rejected:
        return visit.note(check, False, refusal(rejected) if rejected.status != 404 else "not there")
    except (AttributeError, IndexError, KeyError, TypeError):
        return visit.note(check, False, "an answer of another shape")
    flat = _flat(got)
    return visit.note(check, bool(flat), f"{len(flat)} numbers" if len(flat) > 1 else "one number" if flat else "empty")


def _flat(value: object) -> list[float]:
    if isinstance(value, list):
        return [number for each in value for number in _flat(each)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


async def chosen_tokens(visit: Visit) -> None:
    """Log-probabilities of a chosen token after given ids: how verifiers that compare two tokens are read.

    A server lists the token that it took beside the best ones, so the only one that is allowed must be listed.
    """
    check = "log-probabilities of chosen tokens"
    body: JSON = {
        "model": visit.model,
        "prompt": list(TOKENS),
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": 5,
        "allowed_token_ids": [TOKENS[0]],
        "return_tokens_as_token_ids": True,
    }
    try:
        data = await visit.post(PATHS["completions"], body)
    except CallRejected as rejected:
        visit.note(check, False, refusal(rejected) if rejected.status != 404 else "no completions endpoint")
        return
    try:
        top = set(choices(data)[0]["logprobs"]["top_logprobs"][0])
    except (IndexError, KeyError, TypeError):
        top = set()
    works = f"token_id:{TOKENS[0]}" in top
    visit.note(check, works, "a served prm that compares two tokens can be read" if works else "ignored")


__all__ = ["chosen_tokens", "numbers"]
