"""Answers as typed values: text -> tree -> value with a canonical key.

Equal keys are equal answers; this is what votes are counted by, so there is no tolerance in it. A value keeps its
kind: a tuple is no set, an interval no pair, text no number. Exceptions, by what the notations mean: ``x = 5`` is the
value 5, a list without brackets is a set of values, ``1 ± 2`` is the set of both, ``x > 3`` is an interval, ``[1,
2]`` with rising numbers is a closed interval. Units from a list, currency signs and degree signs are dropped; a
percent sign follows ``Percent``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from .extract import canonical
from .forms import Form, form, mul, plus, rational
from .parser import parse
from .plain import number_word, plain_value, unwrapped
from .poly import begin_work, common, content, leading, scaled, shifted, text
from .ranges import Range, infinite_sign, ranges_of
from .terms import (
    Add,
    Beyond,
    Call,
    Digits,
    Grid,
    Group,
    Mul,
    Node,
    Num,
    Pow,
    Rel,
    Sym,
    Unit,
    Unreadable,
    Words,
    symbols,
)
from .tokens import GREEK, tokenize

Percent = Literal["number", "hundredth"]
Kind = Literal[
    "expression", "tuple", "set", "range", "equation", "inequality", "matrix", "digits", "ratio", "choice", "time",
    "date", "truth", "words", "unread",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Value:
    """A typed answer. ``node`` is set for expressions, ``parts`` for what has parts, ``name`` for ``name = value``."""

    kind: Kind
    key: str
    node: Node | None = None
    parts: tuple[Value, ...] = ()
    name: str = ""
    unit: str = ""
    range: Range | None = None
    reason: str = ""

    @property
    def typed(self) -> bool:
        """Whether it was read as more than text."""
        return self.kind != "unread"


@lru_cache(maxsize=16_384)
def read(answer: str, percent: Percent = "number", thousands: bool = True) -> Value:
    """The value of an answer as written; never raises. ``thousands``: ``1,234`` is one number."""
    if len(answer) > 100_000:
        return Value("unread", "raw:" + answer[:200], reason=f"limit: it has {len(answer):,} characters")
    inner = unwrapped(answer)
    if (word := number_word(inner)) is not None:
        return Value("expression", rational(word).key, Num(Fraction(word)))
    special = plain_value(inner)
    if special is not None:
        kind, key = special
        return Value(kind, f"{kind}:{canonical(key) if kind == 'words' else key}", node=Words(key))
    try:
        begin_work()
        return value_of(parse(inner, thousands), percent)
    except Beyond as error:
        return Value("unread", "raw:" + "".join(inner.split()), reason=f"limit: {error}")
    except Unreadable as error:
        key = _spelling(inner)
        return Value("unread", "words:" + key, node=Words(inner), reason=f"unparsed: {error}")


def _spelling(inner: str) -> str:
    """Text as it is, a formula without its layout."""
    if "\\" in inner:
        try:
            return " ".join(token.text for token in tokenize(inner))
        except Unreadable:
            pass
    return canonical(inner)


def value_of(node: Node, percent: Percent = "number") -> Value:
    """The value of a tree.

    Raises:
        Unreadable: it has no value.
    """
    if (both := _both_signs(node)) is not None:
        return _set([value_of(item, percent) for item in both])
    if isinstance(node, Unit):
        return _with_unit(node, percent)
    if isinstance(node, Rel):
        return _relation(node, percent)
    if isinstance(node, Group):
        return _group(node, percent)
    if isinstance(node, Digits):
        return Value("digits", f"digits:{node.digits.lstrip('0') or '0'}_{node.base}", node)
    if isinstance(node, Words):
        return Value("words", "words:" + canonical(node.text), node)
    if isinstance(node, Call) and node.name == "ratio":
        return _ratio(node)
    if (grid := _matrix(node)) is not None:
        key = ";".join(",".join(cell.key for cell in row) for row in grid)
        return Value("matrix", f"matrix:{key}", node, tuple(_cell(c, n) for c, n in _cells(node, grid)))
    if isinstance(node, Sym) and (node.name == "oo" or node.name.startswith("set ")):
        if node.name == "set R":
            return _of_range(Range.everything())
        return Value("expression", node.name, node)
    if isinstance(node, Mul) and node.items[-1] == Sym("oo"):
        return Value("expression", "oo" if infinite_sign(node) > 0 else "-oo", node)
    return Value("expression", form(node).key, node)


def _cells(node: Node, grid: list[list[Form]]) -> list[tuple[Form, Node | None]]:
    written = [cell for row in node.rows for cell in row] if isinstance(node, Grid) else []
    flat = [cell for row in grid for cell in row]
    return [(cell, written[i] if written else None) for i, cell in enumerate(flat)]


def _cell(cell: Form, node: Node | None) -> Value:
    return Value("expression", cell.key, node)


def _matrix(node: Node) -> list[list[Form]] | None:
    """The entries of a matrix, of a number times one, of a sum of them."""
    if isinstance(node, Grid):
        return [[form(cell) for cell in row] for row in node.rows]
    if isinstance(node, Mul):
        grids = [item for item in node.items if _matrix(item) is not None]
        if len(grids) > 1:
            return _product([_matrix(item) or [] for item in grids])
        if not grids:
            return None
        factor = form(Mul(tuple(item for item in node.items if item is not grids[0])))
        return [[mul(factor, cell) for cell in row] for row in _matrix(grids[0]) or []]
    if isinstance(node, Add):
        made = [_matrix(item) for item in node.items]
        if any(m is None for m in made):
            return None
        total = made[0] or []
        for other in made[1:]:
            if other is None or [len(r) for r in other] != [len(r) for r in total]:
                raise Unreadable("it adds matrices of different size")
            total = [[plus(a, b) for a, b in zip(x, y, strict=True)] for x, y in zip(total, other, strict=True)]
        return total
    return None


def _product(grids: list[list[list[Form]]]) -> list[list[Form]]:
    """A product of matrices."""
    total = grids[0]
    for other in grids[1:]:
        if len(total[0]) != len(other):
            raise Unreadable("it multiplies matrices that do not fit")
        columns = list(zip(*other, strict=True))
        total = [[_dot(row, column) for column in columns] for row in total]
    return total


def _dot(row: Sequence[Form], column: Sequence[Form]) -> Form:
    result = rational(0)
    for a, b in zip(row, column, strict=True):
        result = plus(result, mul(a, b))
    return result


def _both_signs(node: Node) -> list[Node] | None:
    """The two readings of an expression with plus-minus signs."""
    if isinstance(node, Rel | Group):
        return None
    upper = _with_sign(node, True)
    return None if upper == node else [upper, _with_sign(node, False)]


def _with_sign(node: Node, upper: bool) -> Node:
    if isinstance(node, Call) and node.name == "pm":
        inner = _with_sign(node.items[0], upper)
        return inner if upper else Mul((Num(Fraction(-1)), inner))
    if isinstance(node, Add | Mul):
        return type(node)(tuple(_with_sign(item, upper) for item in node.items))
    if isinstance(node, Pow):
        return Pow(_with_sign(node.base, upper), _with_sign(node.exponent, upper))
    if isinstance(node, Call):
        return Call(node.name, tuple(_with_sign(item, upper) for item in node.items))
    if isinstance(node, Unit):
        return Unit(_with_sign(node.item, upper), node.unit)
    return node


def _with_unit(node: Unit, percent: Percent) -> Value:
    inner = node.item
    if isinstance(inner, Unit):
        return _with_unit(Unit(inner.item, inner.unit if inner.unit != "%" else node.unit), percent)
    if node.unit == "%" and percent == "hundredth":
        places = inner.places if isinstance(inner, Num) else None
        hundredth = (
            Num(inner.value / 100, (places or 0) + 2) if isinstance(inner, Num) else Mul((inner, Num(Fraction(1, 100))))
        )
        return value_of(hundredth, percent)
    value = value_of(inner, percent)
    return Value(value.kind, value.key, value.node, value.parts, value.name, node.unit, value.range, value.reason)


def _ratio(node: Call) -> Value:
    parts = [form(item) for item in node.items]
    first = parts[-1]
    if not first.above:
        raise Unreadable("its ratio ends in zero")
    from .forms import inverse

    key = ":".join(mul(part, inverse(first)).key for part in parts)
    quotient = Mul((node.items[0], Pow(node.items[1], Num(Fraction(-1))))) if len(parts) == 2 else None
    return Value("ratio", f"ratio:{key}", quotient)


def _set(values: list[Value]) -> Value:
    """An unordered collection; sets inside it (``1 ± 2``) are taken apart."""
    flat: dict[str, Value] = {}
    for value in values:
        for part in value.parts if value.kind == "set" else (value,):
            flat.setdefault(part.key, part)
    ordered = tuple(flat[key] for key in sorted(flat))
    return Value("set", "{" + ", ".join(v.key for v in ordered) + "}", parts=ordered)


def _group(node: Group, percent: Percent) -> Value:
    if node.kind in ("interval", "union", "meet", "without"):
        return _of_range(ranges_of(node))
    if node.kind == "tuple" and len(node.items) == 2 and any(_infinite(item) for item in node.items):
        return _of_range(ranges_of(node))
    if node.kind == "bracket" and len(node.items) == 2:
        try:
            made = ranges_of(Group("interval", node.items, (True, True)))
            if made.rising:
                return Value("range", made.key, node, tuple(value_of(i, percent) for i in node.items), range=made)
        except Unreadable:
            pass
    if node.kind == "list":  # a condition on an index says nothing that its letter has not said
        kept = tuple(item for item in node.items if not _condition(item))
        if len(kept) == 1:
            return value_of(kept[0], percent)
        node = Group("list", kept) if kept else node
    values = [value_of(item, percent) for item in node.items]
    if node.kind == "set":
        return _set(values)
    if node.kind == "list":
        return _listed(values, node)
    key = "(" + ", ".join(v.key for v in values) + ")"
    return Value("tuple", key, node, tuple(values))


def _infinite(node: Node) -> bool:
    return node == Sym("oo") or (isinstance(node, Mul) and node.items[-1] == Sym("oo"))


def _condition(node: Node) -> bool:
    return (
        isinstance(node, Rel)
        and node.ops == ("in",)
        and isinstance(node.items[1], Sym)
        and node.items[1].name in ("set Z", "set N", "set R")
    )


def _listed(values: list[Value], node: Group) -> Value:
    """Values with commas, ``and`` or ``or`` between them."""
    named = {v.name for v in values if v.kind == "range"}
    if len(named) < 2 and any(
        v.kind in ("range", "inequality") and isinstance(i, Rel) for v, i in zip(values, node.items, strict=True)
    ):
        known = [v.range for v in values if v.range is not None]
        if len(known) == len(values):
            union, meet = known[0], known[0]
            for other in known[1:]:
                union, meet = union.union(other), meet.meet(other)
            return _of_range(meet if union.key == Range.everything().key else union)
    names = [v.name for v in values]
    if all(names) and len(set(names)) == len(names) and len(names) > 1:
        ordered = tuple(sorted(values, key=lambda v: v.name))
        return Value("tuple", "(" + ", ".join(v.key for v in ordered) + ")", node, ordered, reason="named")
    width = len(set(names))
    if all(names) and 1 < width < len(names) and names == names[:width] * (len(names) // width):
        rows = [Group("list", node.items[i : i + width]) for i in range(0, len(names), width)]
        return _set([_listed([value_of(item) for item in row.items], row) for row in rows])
    made = _set(values)
    return Value("set", made.key, node, made.parts, unit=values[-1].unit, reason="list")


def _of_range(found: Range) -> Value:
    return Value("range", found.key, range=found)


def _relation(node: Rel, percent: Percent) -> Value:
    ops, items = node.ops, node.items
    if set(ops) <= {"=", "~"}:
        exact = ops.index("~") + 1 if "~" in ops[1:] else len(items)
        return _equation(items[:exact], percent)
    if ops == ("in",):
        return value_of(items[1], percent)
    if any(op in ("≡", "->", "notin", "in") for op in ops):
        raise Unreadable(f"it has the relation {ops[0]}")
    names = {s for item in items for s in symbols(item)}
    if len(names) == 1:
        try:
            return Value("range", (found := ranges_of(node)).key, node, name=names.pop(), range=found)
        except Unreadable:
            pass
    keys = []
    for op, left, right in zip(ops, items, items[1:], strict=False):
        low, high = (left, right) if op in ("<", "<=") else (right, left)
        difference = plus(form(high), form(low), -1)
        strict = {"<": ">", ">": ">", "<=": ">=", ">=": ">=", "!=": "!=", "=": "=", "~": "="}[op]
        if strict in ("=", "!="):
            keys.append(_up_to_factor(difference) + strict + "0")
        else:
            factor = content(difference.above) if difference.above else Fraction(1)
            keys.append(mul(difference, rational(1 / factor)).key + strict + "0")
    return Value("inequality", "relation:" + "&".join(sorted(keys)), node)


def _up_to_factor(difference: Form) -> str:
    above = difference.above
    if not above:
        return "0"
    above = shifted(above, tuple((a, e) for a, e in common(above) if e < 0))
    factor = content(above)
    return text(scaled(above, 1 / factor if above[leading(above)] > 0 else -1 / factor))


def _equation(items: tuple[Node, ...], percent: Percent) -> Value:
    """An assignment is its value; a chain is its last member; anything else is an equation up to a factor."""
    first, last = items[0], items[-1]
    for left, right in ((first, last), (last, first)):
        name = _assigned(left)
        if name and name not in symbols(right):
            value = value_of(right, percent)
            return Value(value.kind, value.key, value.node, value.parts, name, value.unit, value.range, value.reason)
        if len(items) > 2:
            break
    if len(items) > 2 or not (symbols(first) | symbols(last)):
        if isinstance(last, Num) and last.places and not isinstance(items[-2], Num) and not symbols(items[-2]):
            last = items[-2]  # 1/3 = 0.33: what was rounded is the answer
        return value_of(last, percent)
    difference = Add((first, Mul((Num(Fraction(-1)), last))))
    results = () if symbols(last) else (value_of(last, percent),)
    return Value("equation", "equation:" + _up_to_factor(form(difference)), difference, results)


def _assigned(node: Node) -> str:
    """The name on one side of an assignment: ``x``, ``f(x)``, ``x^2`` has none."""
    if isinstance(node, Sym) and node.name not in ("pi", "e", "i", "oo", "…"):
        return node.name
    if isinstance(node, Call) and node.name.startswith("of "):
        return node.name[3:]
    if isinstance(node, Mul) and len(node.items) == 2 and isinstance(node.items[0], Sym):
        inside = node.items[1]
        if isinstance(inside, Group) and all(isinstance(i, Sym) for i in inside.items):
            return node.items[0].name
    if isinstance(node, Group) and node.kind == "tuple" and all(isinstance(i, Sym) for i in node.items):
        return ",".join(i.name for i in node.items if isinstance(i, Sym))
    if isinstance(node, Words):
        return node.text.strip()
    if isinstance(node, Mul) and node.items[0] == Sym("Delta") and len(node.items) == 2:  # a change of something
        return f"Delta {node.items[1].name}" if isinstance(node.items[1], Sym) else ""
    if (
        isinstance(node, Mul)
        and len(node.items) == 2
        and isinstance(node.items[0], Pow)
        and isinstance(node.items[1], Sym)
    ):
        inverse = node.items[0]
        if isinstance(inverse.base, Sym) and inverse.base.name in ("f", "g", "h"):
            return inverse.base.name
    if (
        isinstance(node, Mul | Call)
        and (names := symbols(node))
        and all(name[:1].isupper() or name in GREEK for name in names)
    ):
        return f"{node}" if isinstance(node, Call) or _letters(node) else ""
    return ""


def _letters(node: Node) -> bool:
    """Whether an expression is made of names only: ``AB``, ``AB/CD``."""
    if isinstance(node, Sym):
        return True
    if isinstance(node, Pow):
        return _letters(node.base) and node.exponent == Num(Fraction(-1))
    return isinstance(node, Mul) and all(_letters(item) for item in node.items)
