"""Guided decoding: a reply must conform to a JSON schema, or be one of a few texts, under a prompt that asks for
something else."""

from __future__ import annotations

import json

from thence.core.completion import Ability

from ..server import JSON, CallRejected
from .findings import Finding
from .visit import QUESTION, Visit, choices, refusal, text

CAP = 96  # tokens: the shortest reply that conforms has about 15
SCHEMA: JSON = {
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": ["red", "green"]},
        "size": {"type": "string", "enum": ["small", "large"]},
    },
    "required": ["colour", "size"],
    "additionalProperties": False,
}
WAYS: dict[str, JSON] = {
    "response_format": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "report", "schema": SCHEMA, "strict": True},
        }
    },
    "structured_outputs": {"structured_outputs": {"json": SCHEMA, "disable_any_whitespace": True}},  # vLLM's own
}


CHOICE = ("17", "23")


def conforms(reply: str) -> bool:
    """Whether ``reply`` is an object of the schema and nothing else."""
    try:
        value = json.loads(reply)
    except (ValueError, RecursionError):
        return False
    properties = SCHEMA["properties"]
    return (
        isinstance(value, dict)
        and set(value) == set(properties)
        and all(value[name] in properties[name]["enum"] for name in properties)
    )


async def guided(visit: Visit) -> None:
    """Both ways to send a schema, and a choice. A thought before the reply is switched off where that can be done."""
    for name, fields in WAYS.items():
        await _one(visit, f"JSON schema by {name}", fields)
    await _one(visit, "choice by structured_outputs", {"structured_outputs": {"choice": list(CHOICE)}})
    if visit.found("JSON schema by response_format") is Finding.YES:
        visit.abilities.add(Ability.JSON_SCHEMA)


async def _one(visit: Visit, check: str, fields: JSON) -> None:
    try:
        data = await visit.ask(**{**visit.put(QUESTION), "max_tokens": CAP, **visit.quiet, **fields})
    except CallRejected as rejected:
        visit.note(check, False, refusal(rejected))
        return
    reply, thought = text(data)
    cut = (choices(data) or [{}])[0].get("finish_reason") == "length"
    if conforms(reply) or ("choice" in check and reply.strip() in CHOICE):
        visit.note(check, True, f"honoured: {reply}")
    elif cut and (thought or reply.lstrip()[:1] in ("{", "")):
        begun = (reply or thought).strip()[:60]
        blank = "; only blanks follow, so its vocabulary may not spell the schema" if len(begun) < 2 else ""
        visit.note(check, Finding.UNKNOWN, f"not finished within {CAP} tokens: {begun!r}{blank}")
    else:
        visit.note(check, False, f"ignored: {reply[:60]!r}")


__all__ = ["SCHEMA", "conforms", "guided"]
