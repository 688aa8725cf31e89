"""The arena: ranking models by battles between two of them.

Read ``battles`` (the data), ``bradley_terry`` (the fit), ``style`` (what is controlled for), ``uncertainty`` (intervals
and ranks), ``elo``, ``active`` (whom to let fight next), ``voters`` (who votes oddly), ``contests`` (battles out of
stored runs), ``judging`` (by a model), ``simulate`` (an arena whose truth is known); ``board`` puts them together.
"""

from .battle_files import battles_of, read_battles
from .battles import Battles, make_battles
from .board import Board, Options, leaderboard
from .bradley_terry import Fit, Terms, fit

__all__ = [
    "Battles",
    "Board",
    "Fit",
    "Options",
    "Terms",
    "battles_of",
    "fit",
    "leaderboard",
    "make_battles",
    "read_battles",
]
