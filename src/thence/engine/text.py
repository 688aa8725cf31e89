"""Token ids to text: decoding, where each token ends, and stop strings, without decoding the whole text at each step.

Three kinds of tokenizer. *Fused*: the text is the token strings in a row (word-level with a Fuse decoder). *Bytes*:
tokens are byte strings (byte-level BPE), and a character may span several. *Other*: only the tokenizer itself can
say, so offsets come from decoding small windows.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from thence.nets.checkpoint import tokenizer_json

WINDOW = 8  # tokens before a token that may change how it decodes, for tokenizers of the third kind


def _byte_of_char() -> dict[str, int]:
    """The inverse of GPT-2's printable alphabet for bytes: printable bytes stand for themselves, others follow 255."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(b): b for b in printable}
    hidden = [b for b in range(256) if b not in set(printable)]
    return table | {chr(256 + i): b for i, b in enumerate(hidden)}


class Text:
    """Decoding for one tokenizer."""

    def __init__(self, tokenizer: Any, vocab: int) -> None:
        self._tokenizer = tokenizer
        self._vocab = vocab
        self.pieces = _pieces(tokenizer, vocab)
        self._characters = [_characters(piece) for piece in self.pieces or ()]
        self.triggers = lru_cache(maxsize=64)(self._triggers)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``, special tokens included."""
        if self.pieces is not None:
            return b"".join([self.pieces[i] for i in ids]).decode("utf-8", errors="replace")
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def ends(self, ids: Sequence[int], text: str) -> tuple[int, ...]:
        """Character offset in ``text`` at which each token ends; an unfinished character counts when it is finished."""
        if self.pieces is None:
            return self._window_ends(ids, text)
        whole = [n for n in map(self._characters.__getitem__, ids) if n is not None]
        if ids and len(whole) == len(ids):
            return (*(min(at, len(text)) for at in accumulate(whole[:-1])), len(text))
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        at = 0
        ends: list[int] = []
        for i in ids:
            at += len(decoder.decode(self.pieces[i]))
            ends.append(min(at, len(text)))
        if ends:
            ends[-1] = len(text)  # a character that never got finished
        return tuple(ends)

    def _window_ends(self, ids: Sequence[int], text: str) -> tuple[int, ...]:
        at = 0
        ends: list[int] = []
        for i in range(len(ids)):
            start = max(0, i - WINDOW)
            with_it, without = self.decode(ids[start : i + 1]), self.decode(ids[start:i])
            if not with_it.endswith("�"):
                at += len(with_it) - len(without.rstrip("�"))
            ends.append(min(max(at, ends[-1] if ends else 0), len(text)))
        if ends:
            ends[-1] = len(text)
        return tuple(ends)

    def _triggers(self, stops: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        """For each token, whether it can complete one of ``stops``: the cheap check of every step."""
        table = np.ones(self._vocab, dtype=np.bool_)
        if self.pieces is None:
            return table
        wanted = [s.encode() for s in stops]
        for i, piece in enumerate(self.pieces):
            table[i] = any(
                s in piece or any(piece.startswith(s[-n:]) for n in range(1, min(len(s), len(piece)) + 1))
                for s in wanted
            )
        return table

    def stopped_at(self, ids: Sequence[int], stops: tuple[str, ...]) -> bool:
        """Whether the last token completes a stop string."""
        longest = max(len(s.encode()) for s in stops)
        if self.pieces is None:
            window = self.decode(ids[-(longest + WINDOW) :])
            return any(s in window for s in stops)
        tail, at = b"", len(ids)
        last = len(self.pieces[ids[-1]])
        while at > 0 and len(tail) < longest + last:
            at -= 1
            tail = self.pieces[ids[at]] + tail
        return any(tail.find(s, max(0, len(tail) - last - len(s) + 1)) >= 0 for s in (s.encode() for s in stops))

    def cut(self, text: str, stops: tuple[str, ...]) -> str:
        """``text`` up to its first stop string."""
        found = [at for at in (text.find(s) for s in stops) if at >= 0]
        return text[: min(found)] if found else text


def _characters(piece: bytes) -> int | None:
    """How many characters a token adds to any text; None if it has a part of one."""
    try:
        return len(piece.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def _pieces(tokenizer: Any, vocab: int) -> list[bytes] | None:
    """The bytes of every token, where the text is their concatenation; None where it is not."""
    try:
        spec = json.loads(tokenizer_json(tokenizer))
        decoder = (spec.get("decoder") or {}).get("type")
    except (AttributeError, ValueError):
        return None
    if decoder not in ("Fuse", "ByteLevel"):
        return None
    added = {t["id"] for t in spec.get("added_tokens", ())}
    chars = _byte_of_char()
    pieces = []
    names = tokenizer.convert_ids_to_tokens(list(range(min(vocab, len(tokenizer)))))
    for i, name in enumerate(names):
        if name is None:
            pieces.append(b"")
        elif decoder == "Fuse" or i in added or any(c not in chars for c in name):
            pieces.append(name.encode())
        else:
            pieces.append(bytes(chars[c] for c in name))
    return pieces + [b""] * (vocab - len(pieces))
