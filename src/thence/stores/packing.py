"""Completions as database rows, and back, without losing a bit.

Text, finish and counts are columns of their own, readable with any SQLite tool; token ids, log-probabilities and
offsets go into one blob of packed arrays. Integers take the narrowest width that holds them; floats take four bytes
where that is exact (log-probabilities computed in fp32 are) and eight otherwise, so that a vote weighted by stored
log-probabilities equals the first one.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise

from thence.core.completion import Completion, Finish
from thence.core.errors import StoreError

# (text or its bytes, finish, generated, prompt tokens, packed rest)
Row = tuple[str | bytes, str, int | None, int | None, bytes]


def pack(completion: Completion) -> Row:
    """The row of ``completion``."""
    c = completion
    head: dict[str, object] = {}
    if c.reply_at:
        head["reply_at"] = c.reply_at
    if c.reply != c.text[c.reply_at :]:
        head["reply"] = c.reply
    if c.thought:
        start = c.text.find(c.thought)
        head["thought"] = [start, start + len(c.thought)] if start >= 0 else c.thought
    blobs: list[bytes] = []
    for name, values in (("ids", c.ids), ("ends", None if c.ends is None else _deltas(c.ends))):
        if values is not None:
            head[name] = _integers(values, blobs)
    if c.logprobs is not None:
        head["logprobs"] = _floats(c.logprobs, blobs)
    if c.values is not None:
        head["values"] = _floats(c.values, blobs)
    if c.top2 is not None:
        head["top2"] = _floats(tuple(chain.from_iterable(c.top2)), blobs)
    head_bytes = json.dumps(head, separators=(",", ":")).encode()
    rest = b"".join((struct.pack("<I", len(head_bytes)), head_bytes, *blobs))
    return _storable(c.text), str(c.finish), c.generated, c.prompt_tokens, rest


def unpack(row: Row) -> Completion:
    """The completion of ``row``; StoreError when the row is damaged."""
    try:
        return _unpack(row)
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise StoreError(f"a stored sample is damaged ({error}); delete the run file or restore a copy") from error


def _unpack(row: Row) -> Completion:
    stored, finish, generated, prompt_tokens, rest = row
    text = stored if isinstance(stored, str) else bytes(stored).decode("utf-8", "surrogatepass")
    (size,) = struct.unpack_from("<I", rest)
    head = json.loads(rest[4 : 4 + size])
    at = 4 + size
    arrays: dict[str, tuple[float, ...]] = {}
    for name in ("ids", "ends", "logprobs", "values", "top2"):
        if name in head:
            code, count = head[name]
            values = array(str(code))
            stop = at + int(count) * values.itemsize
            values.frombytes(rest[at:stop])
            if sys.byteorder == "big":
                values.byteswap()
            if len(values) != count:
                raise ValueError(f"{name} is cut")
            arrays[name], at = tuple(values), stop
    reply_at = int(head.get("reply_at", 0))
    thought = head.get("thought", "")
    flat = arrays.get("top2")
    return Completion(
        text,
        Finish(finish),
        thought if isinstance(thought, str) else text[thought[0] : thought[1]],
        head.get("reply", text[reply_at:]),
        reply_at,
        ids=_whole(arrays.get("ids")),
        logprobs=arrays.get("logprobs"),
        values=arrays.get("values"),
        top2=None if flat is None else tuple(zip(flat[::2], flat[1::2], strict=True)),
        ends=_whole(arrays.get("ends"), running=True),
        generated=generated,
        prompt_tokens=prompt_tokens,
    )


def _storable(text: str) -> str | bytes:
    """Text as it is, or as bytes where it holds lone surrogates (which a server may send)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _deltas(ends: Sequence[int]) -> list[int]:
    """Differences of neighbouring offsets: one byte each, nearly always."""
    return [b - a for a, b in pairwise((0, *ends))]


def _integers(values: Sequence[int], blobs: list[bytes]) -> tuple[str, int]:
    """Append ``values`` in the narrowest width; returns (array type code, count)."""
    low, high = min(values, default=0), max(values, default=0)
    code = "q" if low < 0 else next((c for c, top in _WIDTHS if high <= top), "q")
    return _append(array(code, values), blobs)


_WIDTHS = (("B", 0xFF), ("H", 0xFFFF), ("I", 0xFFFFFFFF))


def _floats(values: Sequence[float], blobs: list[bytes]) -> tuple[str, int]:
    """Append ``values`` in four bytes each where that is exact, else in eight."""
    try:
        short = array("f", values)
        exact = all(a == b for a, b in zip(short, values, strict=True))
    except OverflowError:
        exact = False
    return _append(short if exact else array("d", values), blobs)


def _append(values: array[int] | array[float], blobs: list[bytes]) -> tuple[str, int]:
    if sys.byteorder == "big":
        values.byteswap()
    blobs.append(values.tobytes())
    return values.typecode, len(values)


def _whole(values: Iterable[float] | None, *, running: bool = False) -> tuple[int, ...] | None:
    if values is None:
        return None
    whole = (int(v) for v in values)
    return tuple(accumulate(whole)) if running else tuple(whole)
