"""What a server's answer says: choices as completions, token counts, refusals. Pure functions of JSON and text."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Sequence
from dataclasses import replace

from thence.core.completion import THINK_CLOSE, THINK_OPEN, Completion, Failure, Finish, Sampling

from .server import JSON

Outcome = Completion | Failure
ENDED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence", None})
CAPPED = frozenset({"length", "max_tokens"})
LENGTH = "context length (?:is|of)|max_model_len="  # what stands before a context length


def on_cpu(metrics: str) -> bool:
    """Whether these are the metrics of vLLM on a CPU: cache blocks of 128 tokens in a set amount of memory.

    There vLLM (0.32) dies with "CPU Generator does not use offset" when the prompt of a seeded request is split over
    two steps, as happens once more prompts wait than fit into one. Its option --no-enable-chunked-prefill helps, too.
    """
    info = next((line for line in metrics.splitlines() if line.startswith("vllm:cache_config_info{")), "")
    return 'block_size="128"' in info and re.search(r'kv_cache_memory_bytes="\d', info) is not None


def count(value: object) -> int | None:
    """A token count as servers give it; anything else is unknown."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def room_left(said: str) -> int | None:
    """Tokens left for a completion, read from a server's refusal of a request that is too long."""
    whole = re.search(rf"(?:{LENGTH})\D{{0,3}}(\d+)", said)
    used = re.search(r"(\d+) (?:tokens )?(?:in the (?:messages|prompt|input)|(?:input|prompt) tokens)", said)
    return None if whole is None else int(whole[1]) - (int(used[1]) if used else 0)


def context_told(said: str) -> int | None:
    """The context length that a server's refusal names; llama.cpp says so of prompts only."""
    found = re.search(rf"(?:{LENGTH}|context size)\D{{0,5}}(\d+)", said)
    return int(found[1]) if found else None


def thought_tokens(completion: Completion, told: JSON) -> int:
    """The least number of tokens that the thought of a completion can have, its tags and what a server wrote to end it
    included. ``told`` is the usage of a call with no other choice: some servers count the thought there."""
    if not completion.thought:
        return 0
    details = told.get("completion_tokens_details")
    exact = count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    return exact if exact and completion.ends is None else completion.least_thought


def reconcile(counts: Sequence[int | None], finishes: Sequence[Finish], total: int | None) -> list[int | None]:
    """Token counts of the choices of one call that add up to the server's ``total``; None where they do not.

    Servers that list log-probabilities without the end-of-text token still bill it.
    """
    if total is None:
        return list(counts)
    if len(counts) == 1:
        return [total]
    known = [c for c in counts if c is not None]
    if len(known) < len(counts):
        return [None] * len(counts)
    ended = [f is not Finish.LENGTH for f in finishes]
    if sum(known) == total:
        return list(known)
    if sum(known) + sum(ended) == total:
        return [c + e for c, e in zip(known, ended, strict=True)]
    return [None] * len(counts)


def read_choice(
    choice: JSON, sampling: Sampling, ends: Sequence[str] = (), opened: bool = False, closed: bool = False
) -> Outcome:
    """One choice of an answer, of either endpoint; TypeError and the like where it has no such shape.

    ``ends`` are stop strings that the rendering added: a natural end.
    ``opened``: the begun reply is in the middle of a thought; ``closed``: it has ended its thought. A server that
    reads only what it wrote itself, such as vLLM, still calls what follows a thought, as no tag has closed one.
    """
    message = choice.get("message")
    text: str = (message.get("content") if isinstance(message, dict) else choice.get("text")) or ""
    thought: str = (message.get("reasoning_content") or message.get("reasoning") or "") if message else ""
    if closed and thought:
        text, thought = f"{thought}{THINK_CLOSE if text else ''}{text}", ""
    reason = choice.get("finish_reason")
    if reason not in ENDED | CAPPED:
        return Failure(str(reason), f"the server ended an answer with {reason!r}; it is no completion")
    pieces, logprobs, tops = read_logprobs(choice.get("logprobs"))
    ids = choice.get("token_ids")
    finish, text = _finish(choice, text, sampling, ends)
    done = Completion.of(text, finish, opened=opened)
    if thought:
        spelled = "".join(spell(pieces))
        at = spelled.rfind(text) if text else -1
        # The tokens spell the tags as the model wrote them; without tokens they are put back.
        tags = ("" if opened else THINK_OPEN, THINK_CLOSE if text else "")
        head = spelled[:at] if at > 0 else thought.join(tags)
        done = Completion(head + text, finish, thought, text, len(head))
    return replace(
        done,
        ids=tuple(int(i) for i in ids) if ids else None,
        logprobs=logprobs,
        top2=tops,
        ends=token_ends(pieces, done.text) if pieces else None,
        generated=len(ids) if ids else len(pieces) if pieces else None,
    )


def _finish(choice: JSON, text: str, sampling: Sampling, ends: Sequence[str]) -> tuple[Finish, str]:
    """Why a choice ended, and its text without stop strings (some servers leave them in or ignore them), but with what
    ended a step. A server that does not say which string it met has met the end of a step, if one was asked for: when
    the text had ended by itself, the next step comes out empty."""
    found = [(at, stop in sampling.stop) for stop in (*sampling.stop, *ends) if (at := text.find(stop)) >= 0]
    if found:
        at, asked = min(found)
        return (Finish.STOP if asked else Finish.EOS), text[:at]
    reason, met = choice.get("finish_reason"), choice.get("stop_reason", "untold")
    if reason in CAPPED:
        return Finish.LENGTH, text
    unsure = met == "untold" and reason in ("stop", "stop_sequence") and bool(text)
    if sampling.step_ends and (unsure or met in sampling.step_ends):
        return Finish.STEP, text + (sampling.step_ends[0] if unsure else str(met))
    return (Finish.STOP if (unsure and sampling.stop) or met in sampling.stop else Finish.EOS), text


Tops = tuple[tuple[float, float], ...]


def read_logprobs(given: object) -> tuple[list[str | bytes], tuple[float, ...] | None, Tops | None]:
    """Tokens, their log-probabilities, and the two best of each, from the shape of either endpoint."""
    if not isinstance(given, dict):
        return [], None, None
    pieces: list[str | bytes]
    rows = given.get("content")
    if isinstance(rows, list):
        pieces = [bytes(r["bytes"]) if r.get("bytes") is not None else str(r["token"]) for r in rows]
        logprobs = [r["logprob"] for r in rows]
        best = [[t["logprob"] for t in r.get("top_logprobs") or ()] for r in rows]
    elif isinstance(given.get("tokens"), list) and isinstance(given.get("token_logprobs"), list):
        pieces = [str(t) for t in given["tokens"]]
        logprobs = given["token_logprobs"]
        best = [list((t or {}).values()) for t in given.get("top_logprobs") or ()]
    else:
        return [], None, None
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in logprobs):
        return pieces, None, None
    ranked = [sorted((float(x) for x in row), reverse=True) for row in best]
    tops = tuple((row[0], row[1]) for row in ranked if len(row) >= 2)
    return pieces, tuple(float(x) for x in logprobs), tops if len(tops) == len(pieces) else None


def spell(pieces: Sequence[str | bytes]) -> list[str]:
    """The text of each token; bytes of a character that is not whole yet go with the token that completes it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [piece if isinstance(piece, str) else decoder.decode(piece) for piece in pieces]


def token_ends(pieces: Sequence[str | bytes], text: str) -> tuple[int, ...] | None:
    """Character offset in ``text`` at which each token ends; None where the tokens do not spell the text.

    Special tokens are listed but not in the text, and have no width; what a stop string took away ends with the text.
    """
    ends, at = [], 0
    for piece in spell(pieces):
        rest = text[at:]
        if rest.startswith(piece) or (rest and piece.startswith(rest)):
            at = min(at + len(piece), len(text))
        ends.append(at)
    return tuple(ends) if at == len(text) else None
