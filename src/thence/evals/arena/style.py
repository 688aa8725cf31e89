r"""What may decide a battle without being ability: the terms of beta_0.

    z = (x_a - x_b) / (x_a + x_b),    then divided by its root mean square over the battles    (0 / 0 is 0)

for a feature x of both texts: characters, headings, list items, bold passages, emoji. So the term's weight gamma is
the log-odds that one typical difference is worth. ``position`` is 1 where a was shown first and -1 where b was.

FastChat's style control (the source of the formula) subtracts the mean of z, too, and counts tokens. Not so here:
without centring, swapping the sides of a battle swaps nothing but signs, and equal texts have z = 0.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from thence.core.clean import one_line
from thence.core.errors import DataError, UsageError

from .battles import Array, Battles
from .bradley_terry import Terms

POSITION = "position"
STYLE = ("length", "headers", "lists", "bold")  # what the word "style" stands for
OF_TEXT = (*STYLE, "emoji")  # features that can be measured on a text
HEADER = re.compile(r"^ {0,3}#{1,6} ", re.MULTILINE)
ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d{1,3}[.)]) ", re.MULTILINE)
BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


def measure(text: str, feature: str) -> float:
    """One feature of a text: ``length`` in characters, the others as counts outside code blocks."""
    if feature == "length":
        return float(len(text))
    prose = "\n".join(text.split("```")[::2])
    if feature == "emoji":
        return float(sum(unicodedata.category(c) == "So" for c in prose))
    pattern = {"headers": HEADER, "lists": ITEM, "bold": BOLD}[feature]
    return float(sum(1 for _ in pattern.finditer(prose)))


def expand(controls: Sequence[str]) -> tuple[str, ...]:
    """The controls with ``style`` spelled out, each once."""
    spelled = [name for control in controls for name in (STYLE if control == "style" else (control,))]
    return tuple(dict.fromkeys(spelled))


def terms(battles: Battles, controls: Sequence[str]) -> Terms:
    """The columns of beta_0 for ``controls``: ``position``, ``style`` or names of features.

    UsageError for a feature that the battles do not have, DataError for one that is not finite or not positive.
    """
    names = expand(controls)
    columns, units = [], []
    for name in names:
        if name == POSITION:
            if not np.all(battles.first):
                raise DataError("the position term needs to know which answer was shown first in every battle")
            columns.append(battles.first)
            units.append("first against second")
            continue
        if name not in battles.features:
            known = ", ".join(battles.features) or "none"
            raise UsageError(f"the battles have no feature {one_line(name, 60)!r}; there are: {POSITION}, {known}")
        z, spread = difference(battles.features[name], name)
        columns.append(z)
        units.append(f"(a - b) / (a + b) of {spread:.3g}")
    values = np.stack(columns, axis=1) if columns else np.zeros((battles.n, 0))
    return Terms(names, values, tuple(units))


def difference(pairs: Array, name: str) -> tuple[Array, float]:
    """([n] scaled normalised differences of [n, 2] features, the root mean square that they were divided by)."""
    if not np.isfinite(pairs).all() or (pairs < 0).any():
        at = int(np.flatnonzero(~np.isfinite(pairs).all(axis=1) | (pairs < 0).any(axis=1))[0])
        raise DataError(
            f"the feature {one_line(name, 60)!r} of battle {at + 1} is {pairs[at, 0]:g} against {pairs[at, 1]:g}; "
            "features are numbers from 0 up, in every battle"
        )
    total = pairs.sum(axis=1)
    raw = np.divide(pairs[:, 0] - pairs[:, 1], total, out=np.zeros(len(pairs)), where=total > 0)
    spread = float(np.sqrt(np.mean(raw**2)))
    return (raw / spread if spread > 0 else raw), spread


__all__ = ["OF_TEXT", "POSITION", "STYLE", "difference", "expand", "measure", "terms"]
