"""Two books for every problem: what a strategy is charged, and what the machine spent.

*Charged* is what the strategy would cost alone: prompt tokens once per distinct token prefix of the problem's tree,
every consumed sample as generated, verifier tokens by the same rule. It does not depend on caches, concurrency,
kills or resumes; it binds the budget. *Spent* is what the machine did, and equals the engine's own counters.
A count that is not known is None and makes the sums it enters None: it is never taken for 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import TypeVar

from .errors import UsageError

POLICY, VERIFIER = "policy", "verifier"  # roles: who generates, who judges
POOL = "pool:"  # how the roles of a pool's models begin
SPENT_OUT = "budget"  # why a search stopped


def add(a: int | None, b: int | None) -> int | None:
    """Sum in which an unknown stays unknown."""
    return None if a is None or b is None else a + b


@dataclass(slots=True)
class Charged:
    """Tokens a strategy is charged for one problem (or, summed, for many)."""

    prompt: int | None = 0
    generated: int | None = 0
    verifier: int | None = 0

    @property
    def total(self) -> int | None:
        """All charged tokens."""
        return add(add(self.prompt, self.generated), self.verifier)

    def __iadd__(self, other: Charged) -> Charged:
        self.prompt = add(self.prompt, other.prompt)
        self.generated = add(self.generated, other.generated)
        self.verifier = add(self.verifier, other.verifier)
        return self


@dataclass(slots=True)
class Spent:
    """What the machine did: tokens prefilled, taken from a cache, generated and used, generated for nothing.

    A generator adds to the book it is handed while it works. ``generated`` counts every generated token once,
    ``wasted`` those among them that nobody consumed. ``untold`` counts calls to a server that were cut off (cancelled,
    timed out, broken) and whose cost it did not tell: with any, the other counts are lower bounds.
    """

    prefilled: int | None = 0
    reused: int | None = 0
    generated: int | None = 0
    wasted: int | None = 0
    verifier: int | None = 0
    untold: int | None = 0

    def __iadd__(self, other: Spent) -> Spent:
        for f in fields(self):
            setattr(self, f.name, add(getattr(self, f.name), getattr(other, f.name)))
        return self


class PrefixSet:
    """A set of token sequences that knows how many tokens of a new one are not yet covered by a shared prefix."""

    def __init__(self) -> None:
        self._root: dict[int, dict] = {}  # type: ignore[type-arg]
        self._whole: set[tuple[int, ...]] = set()

    def __contains__(self, ids: object) -> bool:
        return ids in self._whole

    def missing(self, ids: Sequence[int]) -> int:
        """How many tokens of ``ids`` no shared prefix covers."""
        whole = tuple(ids)
        if whole in self:
            return 0
        node, covered = self._root, 0
        for token in whole:
            child = node.get(token)
            if child is None:
                break
            node, covered = child, covered + 1
        return len(whole) - covered

    def add(self, ids: Sequence[int]) -> int:
        """Insert ``ids``; returns how many of its tokens were new."""
        whole = tuple(ids)
        if whole in self:
            return 0
        self._whole.add(whole)
        node, new = self._root, 0
        for token in whole:
            child = node.get(token)
            if child is None:
                child = node[token] = {}
                new += 1
            node = child
        return new


@dataclass(slots=True)
class Ledger:
    """Both books of one problem, per role (``policy`` is the generator itself).

    ``budget`` is in charged tokens; None is unlimited.
    """

    budget: int | None = None
    charged: dict[str, Charged] = field(default_factory=dict)
    spent: dict[str, Spent] = field(default_factory=dict)
    _prefixes: dict[str, PrefixSet] = field(default_factory=dict)
    _texts: dict[str, dict[tuple[object, ...], int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise UsageError(f"the budget is {self.budget} tokens; it must be at least 1")

    def book(self, role: str) -> Spent:
        """The spent book of ``role``, to be handed to its generator."""
        return self.spent.setdefault(role, Spent())

    def charge(self, role: str, *, prompt: int | None = 0, generated: int | None = 0, verifier: int | None = 0) -> None:
        """Add to the charged book of ``role``."""
        book = self.charged.setdefault(role, Charged())
        book += Charged(prompt, generated, verifier)

    def new_prompt_tokens(self, role: str, ids: Sequence[int]) -> int:
        """Insert a rendered context; how many of its tokens no earlier context or path of ``role`` has covered."""
        return self._prefixes.setdefault(role, PrefixSet()).add(ids)

    def new_text_prompt(self, role: str, key: tuple[object, ...], tokens: int | None) -> int | None:
        """The same for a server that shows no ids: a context already asked costs nothing, another one its tokens."""
        seen = self._texts.setdefault(role, {})
        if key in seen:
            return 0
        seen[key] = tokens or 0
        return tokens

    def unseen(self, role: str, ids: Sequence[int]) -> int:
        """What ``new_prompt_tokens`` would return; nothing is inserted."""
        return self._prefixes[role].missing(ids) if role in self._prefixes else len(ids)

    def has_text_prompt(self, role: str, key: tuple[object, ...]) -> bool:
        """The same for a server that shows no ids."""
        return key in self._texts.get(role, {})

    @property
    def total_charged(self) -> Charged:
        """Charged tokens over all roles."""
        return _sum(Charged(), self.charged.values())

    @property
    def total_spent(self) -> Spent:
        """Spent tokens over all roles; all that verifiers' models did is verifier tokens."""
        books = (_as_verifier(b) if role.startswith("verifier") else b for role, b in self.spent.items())
        return _sum(Spent(), books)

    @property
    def left(self) -> int | None:
        """Charged tokens left; None without a budget."""
        if self.budget is None:
            return None
        total = self.total_charged.total
        if total is None:
            raise UsageError("a token budget needs token counts, and these samples have none; drop --budget")
        return self.budget - total


def _as_verifier(book: Spent) -> Spent:
    return Spent(verifier=add(add(book.prefilled, book.generated), book.verifier))


B = TypeVar("B", Charged, Spent)


def _sum(total: B, books: Iterable[B]) -> B:
    for book in books:
        total += book
    return total
