"""What a mathematical answer is once it is read: a small typed tree, and the limits of reading.

``parser`` makes these nodes, ``forms`` and ``values`` give them a meaning, ``algebra`` turns them into sympy objects
inside a worker. Nothing here computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

MAX_LENGTH = 4_000  # characters of one answer
MAX_TOKENS = 2_000
MAX_DEPTH = 60  # nested brackets
MAX_DIGITS = 2_000  # of one written number
MAX_BITS = 100_000  # of one computed integer
MAX_POWER = 2_000  # exponent of a polynomial
MAX_TERMS = 400  # of a polynomial
MAX_ITEMS = 400  # of a list or matrix


def words(text: str) -> tuple[str, ...]:
    """The words of a table."""
    return tuple(text.split())


class Unreadable(ValueError):
    """The text is no mathematics that this grader reads; the text says why."""


class Beyond(Unreadable):
    """Reading or computing it would go beyond a limit."""


@dataclass(frozen=True, slots=True)
class Num:
    """A number. ``places``: decimals as written, None for what was written without a point."""

    value: Fraction
    places: int | None = None


@dataclass(frozen=True, slots=True)
class Sym:
    """A variable or constant: ``x``, ``x_1``, ``theta``, ``pi``, ``e``, ``i``, ``oo``."""

    name: str


@dataclass(frozen=True, slots=True)
class Add:
    """A sum."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Mul:
    """A product. ``mixed``: a mixed number such as 1 1/2 was kept as a sum and never gets here."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Pow:
    """A power; a quotient is a product with a power of -1."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function of arguments: ``sin``, ``log`` (argument, base), ``root`` (argument, index), ``abs``, ``pm``."""

    name: str
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Several values. ``list``: without brackets; an interval knows which ends are closed."""

    kind: Literal[
        "list",
        "tuple",
        "set",
        "bracket",
        "interval",
        "union",
        "without",
        "meet",
    ]
    items: tuple[Node, ...]
    closed: tuple[bool, bool] = (False, False)


@dataclass(frozen=True, slots=True)
class Rel:
    """A chain of relations: ``items[0] ops[0] items[1] …``; operators are = != < <= > >= in ~ ≡ ->."""

    ops: tuple[str, ...]
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A matrix or a column of numbers, in rows."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Digits:
    """A number in a base, digits as written: 1A2_16."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Words:
    """Text."""

    text: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A value with what follows it: a unit, a currency sign or a percent sign."""

    item: Node
    unit: str


Node = Num | Sym | Add | Mul | Pow | Call | Group | Rel | Grid | Digits | Words | Unit

MINUS_ONE = Num(Fraction(-1))


def symbols(node: Node) -> set[str]:
    """The variables of a tree."""
    if isinstance(node, Sym):
        return {node.name} if node.name not in ("oo", "pi", "e") else set()
    if isinstance(node, Add | Mul | Call | Group | Rel):
        return {s for item in node.items for s in symbols(item)}
    if isinstance(node, Pow):
        return symbols(node.base) | symbols(node.exponent)
    return symbols(node.item) if isinstance(node, Unit) else set()


def negative(node: Node) -> Node:
    """``-node``."""
    if isinstance(node, Num):
        return Num(-node.value, node.places)
    return Mul((MINUS_ONE, node))


def quotient(above: Node, below: Node) -> Node:
    """``above / below``."""
    return Mul((above, Pow(below, MINUS_ONE)))


def packed(node: Node) -> list[object]:
    """An expression as nested lists of strings, for JSON.

    Raises:
        Unreadable: it is no expression.
    """
    if isinstance(node, Num):
        return ["num", str(node.value)]
    if isinstance(node, Sym):
        return ["sym", node.name]
    if isinstance(node, Add | Mul):
        return [type(node).__name__.lower(), *(packed(item) for item in node.items)]
    if isinstance(node, Pow):
        return ["pow", packed(node.base), packed(node.exponent)]
    if isinstance(node, Call):
        return ["call", node.name, *(packed(item) for item in node.items)]
    raise Unreadable(f"a {type(node).__name__.lower()} is no expression")


def unpacked(data: list[Any]) -> Node:
    """The expression that ``packed`` made lists of."""
    kind, *rest = data
    if kind == "num":
        above, _, below = rest[0].partition("/")
        return Num(Fraction(int(above), int(below or 1)))
    if kind == "sym":
        return Sym(rest[0])
    if kind == "pow":
        return Pow(unpacked(rest[0]), unpacked(rest[1]))
    if kind == "call":
        return Call(rest[0], tuple(unpacked(item) for item in rest[1:]))
    items = tuple(unpacked(item) for item in rest)
    return Add(items) if kind == "add" else Mul(items)
