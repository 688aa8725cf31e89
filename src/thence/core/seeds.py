"""Seeds and sample identity: who a sample is does not depend on when or beside whom it was drawn."""

from __future__ import annotations

from hashlib import blake2b


def digest(*parts: object) -> str:
    """A stable hexadecimal digest of plain values (strings, numbers, tuples, None)."""
    return blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def derive(*parts: object) -> int:
    """A seed in [0, 2**63) derived from plain values."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1
