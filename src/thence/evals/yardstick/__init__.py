"""The yardstick: how far a strategy is from the best possible one, on worlds where that one can be computed.

``yard`` says what the worlds are, ``optimum`` solves them, ``bounds`` bounds those that are too large, ``measure`` runs
strategies through the real search and puts them beside the optimum. ``docs/yardstick.md`` explains how to read the
table.
"""

from .bounds import Bounds
from .measure import Cell, Entry, Learns, Report, Row, measure
from .optimum import Optimum, Point, States, solver_calls
from .yard import BUDGETS, CAP, QUALITIES, STRATA, Quality, Yard, YardGenerator, YardVerifier, strata_of

__all__ = [
    "BUDGETS",
    "CAP",
    "QUALITIES",
    "STRATA",
    "Bounds",
    "Cell",
    "Entry",
    "Learns",
    "Optimum",
    "Point",
    "Quality",
    "Report",
    "Row",
    "States",
    "Yard",
    "YardGenerator",
    "YardVerifier",
    "measure",
    "solver_calls",
    "strata_of",
]
