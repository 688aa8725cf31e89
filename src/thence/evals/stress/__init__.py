"""Stress tests of verifiers: tricks that raise the scores of wrong solutions, and selection that goes too far.

``attacks`` rewrites solutions and compares scores, ``selection`` replays scored samples for best-of-N at large N.
"""

from .attacks import ATTACKS, Attack, Attacked, Solution, stress
from .selection import Pool, Selection, best_of_n_curve, select_hard

__all__ = [
    "ATTACKS",
    "Attack",
    "Attacked",
    "Pool",
    "Selection",
    "Solution",
    "best_of_n_curve",
    "select_hard",
    "stress",
]
