"""Wrong answers next to a right one, to measure what a grader accepts: sign, one more, other order, other end."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .parser import parse
from .plain import plain_value, unwrapped
from .render import latex
from .terms import Add, Call, Grid, Group, Mul, Node, Num, Pow, Rel, Sym, Unit, Unreadable, negative
from .values import read

_LAST_DIGIT = re.compile(r"\d(?=\D*$|_)")
_OTHER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}


def perturbed(gold: str) -> Iterator[tuple[str, str]]:
    """Kinds and texts of wrong answers made from a reference; those that mean the same by chance (-0) are left out."""
    own = read(gold)
    seen = {own.key}
    for kind, text in _made(unwrapped(gold)):
        key = read(text).key
        if key not in seen:
            seen.add(key)
            yield kind, text


def _made(inner: str) -> Iterator[tuple[str, str]]:
    if plain_value(inner) is not None:
        if re.search(r"\d", inner):
            yield "digit", _LAST_DIGIT.sub(lambda m: str((int(m[0]) + 1) % 10), inner, count=1)
        return
    try:
        node = parse(inner)
    except Unreadable:
        return
    if isinstance(node, Num | Mul | Add | Pow | Call | Sym):
        yield "sign", latex(negative(node)) if isinstance(node, Num) else f"-({latex(node)})"
    if isinstance(node, Unit):
        yield "sign", f"-{latex(node)}"
    for step in (1, -1):
        yield ("plus one" if step > 0 else "minus one"), latex(_Stepped(step).of(node))
    if isinstance(node, Group) and node.kind == "tuple":
        yield "order", latex(Group("tuple", tuple(reversed(node.items))))
    yield from (("end", latex(other)) for other in _other_ends(node))


class _Stepped:
    """A tree with its first number changed by one."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.done = False

    def of(self, node: Node) -> Node:
        """The changed tree."""
        if self.done:
            return node
        if isinstance(node, Num):
            self.done = True
            return Num(node.value + self.step, node.places)
        if isinstance(node, Mul) and node.items[-1] == Sym("oo"):
            return node
        if isinstance(node, Pow):
            return Pow(self.of(node.base), self.of(node.exponent))
        if isinstance(node, Add | Mul):
            return type(node)(self.all(node.items))
        if isinstance(node, Call):
            return Call(node.name, self.all(node.items))
        if isinstance(node, Group):
            return Group(node.kind, self.all(node.items), node.closed)
        if isinstance(node, Rel):
            return Rel(node.ops, self.all(node.items))
        if isinstance(node, Grid):
            return Grid(tuple(self.all(row) for row in node.rows))
        return Unit(self.of(node.item), node.unit) if isinstance(node, Unit) else node

    def all(self, items: tuple[Node, ...]) -> tuple[Node, ...]:
        """The changed trees."""
        return tuple(self.of(item) for item in items)


def _other_ends(node: Node) -> Iterator[Node]:
    """Intervals and inequalities with one end open that was closed, or closed that was open."""
    if isinstance(node, Group) and node.kind in ("interval", "bracket") and len(node.items) == 2:
        for i in (0, 1):
            closed = (node.closed[0] != (i == 0), node.closed[1] != (i == 1))
            yield Group("interval", node.items, closed)
    if isinstance(node, Group) and node.kind == "union":
        for i, item in enumerate(node.items):
            for other in _other_ends(item):
                yield Group("union", tuple(other if j == i else kept for j, kept in enumerate(node.items)))
    if isinstance(node, Rel):
        for i, op in enumerate(node.ops):
            if op in _OTHER:
                yield Rel((*node.ops[:i], _OTHER[op], *node.ops[i + 1 :]), node.items)
