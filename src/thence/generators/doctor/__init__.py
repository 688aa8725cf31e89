"""What a server or a local model can do, found out by trying it.

``probe`` visits a server, ``examine`` runs a model of this process. Both return plain data: every check says yes, no,
unknown or measured, and what was seen. Where something is missing for which the generator has a way around, the report
says what happens instead (``shortfalls``), by what a method would ask for (``Use``).
"""

from .findings import Check, Finding, Shortfall, Use
from .local import LocalReport, examine
from .probe import Report, probe

__all__ = ["Check", "Finding", "LocalReport", "Report", "Shortfall", "Use", "examine", "probe"]
