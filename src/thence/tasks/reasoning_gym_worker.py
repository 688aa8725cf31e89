"""The library's own scorers, called in the killable worker of ``grading.worker`` and nowhere else.

The entry comes pickled from ``reasoning_gym``, which drew it: drawing it again would take up to seconds, and JSON would
turn its tuples into lists. Nothing but the answer is model text. Only tasks of kind SCORER come here: their scorers
parse the answer and never run it.
"""

from __future__ import annotations

import base64
import pickle
from functools import lru_cache
from typing import Any

import reasoning_gym

from .reasoning_gym_checks import How, how


@lru_cache(maxsize=8)
def _dataset(name: str, size: int, seed: int) -> Any:
    return reasoning_gym.create_dataset(name, size=size, seed=seed)


def packed(name: str, size: int, seed: int, entry: object) -> str:
    """The first argument of ``grade``."""
    return base64.b64encode(pickle.dumps((name, size, seed, entry))).decode()


def grade(gold: str, answer: str) -> dict[str, object]:
    """The verdict: right at full score only. ``gold`` is what ``packed`` gives."""
    name, size, seed, entry = pickle.loads(base64.b64decode(gold))
    if how(name) is not How.SCORER:
        raise ValueError(f"{name} is not judged by its own scorer")
    score = float(_dataset(name, size, seed).score_answer(answer, entry))
    return {"correct": score == 1.0, "answer": answer, "reason": "" if score == 1.0 else f"its score is {score:.3g}"}
