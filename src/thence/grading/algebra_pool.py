"""Proofs that two expressions are equal, by sympy in worker processes that can be killed.

Only pairs get here that no form decides and that agree in value at all points tried. The tree of ``terms`` travels as
nested lists; ``algebra`` builds sympy objects from it, node by node. No text is ever given to sympy.
"""

from __future__ import annotations

import atexit
import os
from enum import Enum
from functools import lru_cache

from .terms import Node, packed
from .worker import Pool

DEADLINE = 2.0  # seconds for one proof
MEMORY = 2 << 30  # bytes of address space of one worker
HOW = "algebra:equal"


class Proof(Enum):
    """What came of a proof."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN = "unknown"
    STOPPED = "stopped"


class _Stopped(Exception):
    """The worker was stopped; what it was asked may be asked again."""


def prove(left: Node, right: Node, deadline: float = DEADLINE) -> tuple[Proof, str]:
    """Whether two expressions are equal, and why it is not known; from any thread. Answers are kept, stops are not."""
    try:
        return _proven(left, right, deadline)
    except _Stopped as stop:
        return Proof.STOPPED, str(stop)


@lru_cache(maxsize=4096)
def _proven(left: Node, right: Node, deadline: float) -> tuple[Proof, str]:
    job = {"text": "", "left": packed(left), "right": packed(right)}
    (result,) = ALGEBRA.run("grade", HOW, [job], deadline)
    if "stopped" in result:
        raise _Stopped(f"the proof was stopped: {result['stopped']}")
    if "error" in result:
        if "No module named 'sympy'" in result["error"]:
            return Proof.UNKNOWN, "unproven: the numbers agree, a proof needs sympy (pip install 'thence[math]')"
        return Proof.UNKNOWN, f"error: {result['error'][:200]}"
    proof = Proof(result["proof"])
    return proof, "unproven: the numbers agree, sympy finds no proof" if proof is Proof.UNKNOWN else ""


ALGEBRA = Pool(memory=MEMORY)
atexit.register(ALGEBRA.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=ALGEBRA.forget)
