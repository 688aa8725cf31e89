"""Sets of real numbers as unions of intervals: ``(1, 2] ∪ {5}``, ``x > 3``, ``2x + 1 <= 7``, ``R \\ {0}``."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from . import poly as p
from .forms import Form, form, inverse, mul, plus, rational, rational_power
from .numeric import sign, value_of
from .terms import Call, Group, Mul, Node, Rel, Sym, Unreadable, negative

_INFINITE = 10**9


@dataclass(frozen=True, slots=True)
class End:
    """An end of an interval: a form, or infinity (``side`` -1 or 1)."""

    form: Form | None
    side: int = 0
    node: Node | None = field(default=None, compare=False)  # as it was written

    @property
    def key(self) -> str:
        """Its canonical spelling."""
        return self.form.key if self.form is not None else ("-oo" if self.side < 0 else "oo")

    @property
    def place(self) -> tuple[int, Fraction]:
        """Where it lies; raises Unreadable if it has no place on the line."""
        if self.form is None:
            return self.side, Fraction(0)
        exact = self.form.rational
        if exact is not None:
            return 0, exact
        value = value_of(self.form)
        if value is None:
            raise Unreadable("an end of an interval is no number")
        return 0, Fraction(value)


@dataclass(frozen=True, slots=True)
class Piece:
    """One interval; a point has the same closed end twice."""

    low: End
    high: End
    closed: tuple[bool, bool]

    @property
    def key(self) -> str:
        """``[1,2)``."""
        left, right = "(["[self.closed[0]], ")]"[self.closed[1]]
        return f"{left}{self.low.key};{self.high.key}{right}"

    @property
    def start(self) -> tuple[tuple[int, Fraction], int]:
        """For order: where it starts, a closed end before an open one."""
        return self.low.place, 0 if self.closed[0] else 1


@dataclass(frozen=True, slots=True)
class Range:
    """Disjoint pieces from left to right."""

    pieces: tuple[Piece, ...]

    @staticmethod
    def everything() -> Range:
        """All real numbers."""
        return Range((Piece(End(None, -1), End(None, 1), (False, False)),))

    @property
    def key(self) -> str:
        """Equal keys are equal sets."""
        return "range:" + "U".join(piece.key for piece in self.pieces)

    @property
    def rising(self) -> bool:
        """Whether the first piece is no point and does not end before it starts."""
        return bool(self.pieces) and self.pieces[0].low.place < self.pieces[0].high.place

    def union(self, other: Range) -> Range:
        """All numbers of both."""
        made: list[Piece] = []
        for piece in sorted((*self.pieces, *other.pieces), key=lambda x: x.start):
            last = made[-1] if made else None
            if last is None or not _touch(last, piece):
                made.append(piece)
                continue
            low_closed = last.closed[0] or (piece.low.place == last.low.place and piece.closed[0])
            if last.high.place < piece.high.place:
                made[-1] = Piece(last.low, piece.high, (low_closed, piece.closed[1]))
            elif last.high.place == piece.high.place:
                made[-1] = Piece(last.low, last.high, (low_closed, last.closed[1] or piece.closed[1]))
        return Range(tuple(made))

    def complement(self) -> Range:
        """All other numbers."""
        made: list[Piece] = []
        low, closed = End(None, -1), False
        for piece in self.pieces:
            if piece.low.place > low.place or (piece.low.place == low.place and closed and not piece.closed[0]):
                made.append(Piece(low, piece.low, (closed, not piece.closed[0] and piece.low.form is not None)))
            low, closed = piece.high, not piece.closed[1]
        if low.form is not None or low.side < 0:
            made.append(Piece(low, End(None, 1), (closed, False)))
        return Range(tuple(made))

    def meet(self, other: Range) -> Range:
        """The numbers in both."""
        return self.complement().union(other.complement()).complement()


def _touch(left: Piece, right: Piece) -> bool:
    if right.low.place == left.high.place:
        return left.closed[1] or right.closed[0]
    return right.low.place < left.high.place


def _end(node: Node) -> End:
    if node == Sym("oo"):
        return End(None, 1)
    if isinstance(node, Mul) and node.items[-1] == Sym("oo"):
        return End(None, infinite_sign(node))
    return End(form(node), 0, node)


def infinite_sign(node: Mul) -> int:
    """The sign of a number times infinity; raises Unreadable where it has none."""
    factor = form(Mul(node.items[:-1])).rational
    if not factor:
        raise Unreadable("it computes with infinity")
    return 1 if factor > 0 else -1


def ranges_of(node: Node) -> Range:
    """The set of real numbers that a tree means.

    Raises:
        Unreadable: it is no such set.
    """
    if node == Sym("set R"):
        return Range.everything()
    if isinstance(node, Rel):
        return _relation(node)
    if not isinstance(node, Group):
        raise Unreadable("it is no set of numbers")
    if node.kind in ("interval", "tuple", "bracket") and len(node.items) == 2:
        closed = node.closed if node.kind == "interval" else (node.kind == "bracket",) * 2
        low, high = _end(node.items[0]), _end(node.items[1])
        closed = (closed[0] and low.form is not None, closed[1] and high.form is not None)
        piece = Piece(low, high, closed)
        try:
            if low.place > high.place:
                raise Unreadable("its interval ends before it starts")
            if low.place == high.place and not all(closed):
                return Range(())
        except Unreadable:
            if low.form is None or high.form is None or low.form.rational is None or high.form.rational is None:
                return Range((piece,))
            raise
        return Range((piece,))
    if node.kind == "set":
        made = Range(())
        for item in node.items:
            end = _end(item)
            made = made.union(Range((Piece(end, end, (True, True)),)))
        return made
    if node.kind in ("union", "meet", "without"):
        left, right = (ranges_of(item) for item in node.items)
        if node.kind == "union":
            return left.union(right)
        return left.meet(right if node.kind == "meet" else right.complement())
    raise Unreadable("it is no set of numbers")


def _relation(node: Rel) -> Range:
    made = Range.everything()
    for op, left, right in zip(node.ops, node.items, node.items[1:], strict=False):
        made = made.meet(_inequality(op, left, right))
    return made


def _inequality(op: str, left: Node, right: Node) -> Range:
    """Solve an inequality that is linear in its one variable."""
    if op not in ("<", "<=", ">", ">=", "!="):
        raise Unreadable(f"it has the relation {op}")
    for infinite, other in ((left, right), (right, left)):
        if _is_infinite(infinite):
            if isinstance(other, Sym):
                return Range.everything()
            raise Unreadable("it compares with infinity")
    for one, other in ((left, right), (right, left)):
        if isinstance(one, Call) and one.name == "abs":
            return _absolute(op if one is left else _TURNED[op], one.items[0], other)
    difference = plus(form(left), form(right), -1)
    names = {a for a in p.atoms(difference.above) if not a[0].startswith("#") and a[0] not in ("pi", "e")}
    if len(names) != 1 or difference.below != p.ONE:
        raise Unreadable("it is no linear inequality in one variable")
    (name,) = names
    parts: list[p.Poly] = [{}, {}, {}]
    for mono, value in difference.above.items():
        exponents = dict(mono)
        degree = exponents.pop(name, Fraction(0))
        if degree not in (0, 1, 2):
            raise Unreadable("it is no linear or quadratic inequality")
        parts[int(degree)][tuple(sorted(exponents.items()))] = value
    rest, steep, square = (Form(part, p.ONE) for part in parts)
    if square.above:
        return _quadratic(op, square, steep, rest)
    end = End(mul(mul(rest, rational(-1)), inverse(steep)))
    if op == "!=":
        return Range((Piece(end, end, (True, True)),)).complement()
    size = value_of(steep)
    if size is None:
        raise Unreadable("it is no linear inequality")
    upward = (op in (">", ">=")) == (size > 0)
    closed = op in (">=", "<=")
    if upward:
        return Range((Piece(end, End(None, 1), (closed, False)),))
    return Range((Piece(End(None, -1), end, (False, closed)),))


def _quadratic(op: str, a: Form, b: Form, c: Form) -> Range:
    """``a x^2 + b x + c op 0``."""
    under = plus(mul(b, b), mul(rational(4), mul(a, c)), -1)
    known, opens = sign(under), sign(a)
    if known is None or not opens or op == "!=":
        raise Unreadable("it is no quadratic inequality in numbers")
    above = (op in (">", ">=")) == (opens > 0)  # whether it holds far out
    closed = op in (">=", "<=")
    if known < 0:
        return Range.everything() if above else Range(())
    root, half = rational_power(under, Fraction(1, 2)), inverse(mul(rational(2), a))
    ends = [End(mul(plus(root, b, -1), half)), End(mul(plus(mul(root, rational(-1)), b, -1), half))]
    low, high = sorted(ends, key=lambda end: end.place)
    if known == 0:
        point = Range((Piece(low, low, (True, True)),))
        inside = point if closed != above else Range(())
    else:
        inside = Range((Piece(low, high, (closed != above,) * 2),))
    return inside.complement() if above else inside


_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}


def _absolute(op: str, inner: Node, bound: Node) -> Range:
    """``|inner| op bound``."""
    low, high = _inequality(_TURNED[op], inner, negative(bound)), _inequality(op, inner, bound)
    return low.meet(high) if op in ("<", "<=", "!=") else low.union(high)


def _is_infinite(node: Node) -> bool:
    return node == Sym("oo") or (isinstance(node, Mul) and Sym("oo") in node.items)
