"""How well numbers put right ones above wrong ones: the area under the ROC curve, ties counting half."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def placements(these: Sequence[float], others: Sequence[float]) -> list[float]:
    """For each of ``these`` the share of ``others`` below it, ties counting half. ``others`` must not be empty.

    Their mean is the AUROC (Mann and Whitney's U by the number of pairs); their spread is what its error is made of.
    """
    ordered = sorted(others)
    return [(bisect_left(ordered, x) + bisect_right(ordered, x)) / (2 * len(ordered)) for x in these]


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """The chance that a right one scores above a wrong one, ties counting half; None if one kind is missing."""
    good = [s for s, r in zip(scores, right, strict=True) if r]
    bad = [s for s, r in zip(scores, right, strict=True) if not r]
    if not good or not bad:
        return None
    return math.fsum(placements(good, bad)) / len(good)
