"""Asking a model for yes or no, and reading what it says.

The question is that of Kadavath et al. 2022 (arXiv:2207.05221) in the words of the generative verifiers of Zhang et al.
2024 (arXiv:2408.15240). A reply is read only where it is plain: its first word, or its last one; a reply that says
both, or neither, is no verdict.
"""

from __future__ import annotations

import re

CONFIRM = "Is the answer correct (Yes/No)?"
CONFIRM_NAMED = "Is the answer {answer} correct (Yes/No)?"
_FIRST = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
_LAST = re.compile(r"\b(yes|no)\W*\Z", re.IGNORECASE)


def said_yes(reply: str) -> bool | None:
    """True for yes, False for no, None for a reply that is neither."""
    said = {m[1].lower() for m in (_FIRST.match(reply), _LAST.search(reply)) if m is not None}
    return said == {"yes"} if len(said) == 1 else None


__all__ = ["CONFIRM", "CONFIRM_NAMED", "said_yes"]
