"""Answers read by a user's own rule: a regular expression, a path into JSON, or a function, run in a worker."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from thence.core.answers import Answer

from .extract import canonical
from .worker import DEADLINE, Extraction, check, extract_many

_KEPT = 4096


class CustomReading:
    """``REGEX``, ``json:path.to.field`` or ``module:fn`` (also ``path.py:fn``).

    A regex gives its last match: the group named ``answer``, else the first group, else all of it. A JSON path is
    looked up in the last JSON object of the reply that has it. A function gets the reply and returns the answer or
    None. What was found is kept, so that a reply that runs into the deadline costs it once.
    """

    def __init__(self, how: str, deadline: float = DEADLINE) -> None:
        check(how, "extract")
        self.how, self.deadline = how, deadline
        self._found: OrderedDict[str, Extraction] = OrderedDict()
        self._lock = threading.Lock()

    def extract(self, reply: str) -> Answer | None:
        """The answer in ``reply``; blocks for at most the deadline."""
        return self.look(reply).answer

    def look(self, reply: str) -> Extraction:
        """The answer in ``reply`` or why there is none."""
        return self.look_many([reply])[0]

    def look_many(self, replies: Sequence[str]) -> list[Extraction]:
        """``look`` for many replies, much faster than one by one."""
        with self._lock:
            known = {reply: self._found[reply] for reply in replies if reply in self._found}
        new = [reply for reply in dict.fromkeys(replies) if reply not in known]
        known.update(zip(new, extract_many(self.how, new, self.deadline), strict=True))
        with self._lock:
            self._found.update((reply, known[reply]) for reply in new)
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)
        return [known[reply] for reply in replies]

    def key(self, value: str) -> str:
        """Equal numbers, or texts equal up to case, blanks, quotes and punctuation around them."""
        return canonical(value)

    def __repr__(self) -> str:
        return f"CustomReading({self.how!r})"


class RegexReading(CustomReading):
    """The last match of a regular expression; see CustomReading."""

    def __init__(self, pattern: str, deadline: float = DEADLINE) -> None:
        super().__init__(f"regex:{pattern}", deadline)
