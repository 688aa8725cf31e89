"""Recursive descent from tokens to the tree of ``terms``; sizes and depth are bounded, nothing is evaluated.

    list     := relation (separator relation)*          separator: , ; and or
    relation := union (relop union)*
    union    := sum ((cup | cap | setminus) sum)*
    sum      := [sign] product (sign product)*           sign: + - ±
    product  := power ((* | / | nothing) power)*
    power    := postfix [^ power]
    postfix  := primary (! | % | ° | ' | _index)*

Juxtaposition is a product and binds like ``*``: ``1/2x`` is (1/2)x. A whole number before a proper fraction is a mixed
number. A function without brackets takes the following factors up to the next function or sign.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

from .plain import ENGLISH
from .terms import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_ITEMS,
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
    negative,
    quotient,
    symbols,
    words,
)
from .tokens import FUNCTIONS, GREEK, Token, tokenize
from .units import unit_name

_SIGNS = ("+", "-", "±", "∓")
_RELATIONS = frozenset({"=", "!=", "<", "<=", ">", ">=", "~", "≡", "->"})
_WORD_SYMBOLS = {"pi": "pi", "infinity": "oo", "inf": "oo", "oo": "oo", "infty": "oo"}
_TRIG = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "lg": "log10",
    "tg": "tan",
    "ctg": "cot",
    "arctg": "arctan",
}
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SET_OPERATIONS: dict[str, Literal["union", "meet", "without"]] = {
    "cup": "union",
    "cap": "meet",
    "setminus": "without",
}
_SETS = {"mathbbR": "R", "mathbbZ": "Z", "mathbbN": "N", "mathbbQ": "Q", "mathbbC": "C"}
_CLOSERS = {"(": ")]", "[": ")]", "\\{": ("\\}",), "{": "}"}
_START_CMDS = frozenset(
    words("sum prod frac sqrt binom pi infty begin overline lfloor lceil cbrt varnothing circ angle triangle")
)
_EXTREMES = frozenset(words("min max"))
_NUMERAL = re.compile(r"\d{1,50}(?:\.\d{1,50})?")
_END = Token("end", "")


def parse(text: str, thousands: bool = True) -> Node:
    """The tree of ``text``; raises Unreadable (or Beyond, its kind for limits)."""
    return Parser(tokenize(text, thousands)).whole()


class Parser:
    """One pass over the tokens of one answer."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.bars = 0
        self.condition = False  # inside braces, where a colon begins a condition

    @property
    def next(self) -> Token:
        """The token to be read."""
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def peek(self, ahead: int = 1) -> Token:
        """A later token."""
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else _END

    def take(self) -> Token:
        """Read a token."""
        token = self.next
        self.at += 1
        return token

    def op(self, *texts: str) -> bool:
        """Whether the next token is one of these signs."""
        return self.next.kind == "op" and self.next.text in texts

    def skip(self, *texts: str) -> bool:
        """Read the next token if it is one of these signs."""
        if self.op(*texts):
            self.at += 1
            return True
        return False

    def need(self, text: str) -> None:
        """Read this sign or fail."""
        if not self.skip(text):
            raise Unreadable(f"it has {self.next.text or 'its end'!r} where {text!r} belongs")

    def whole(self) -> Node:
        """All tokens."""
        if not self.tokens:
            raise Unreadable("it is empty")
        self.skip("=", "~")
        node = self.sequence()
        if self.next.kind != "end":
            raise Unreadable(f"it goes on with {self.next.text!r}")
        return node

    def sequence(self) -> Node:
        """Values with separators between them; one value is itself."""
        rows: list[list[Node]] = [[self.relation()]]
        while sign := self.separator():
            if self.next.kind == "end" or self.op(")", "]", "}", "\\}"):
                break
            if sign == ";":
                rows.append([])
            rows[-1].append(self.relation())
            if sum(map(len, rows)) > MAX_ITEMS:
                raise Beyond(f"it lists more than {MAX_ITEMS} values")
        if max(map(len, rows)) == 1:  # one separator: semicolons are commas
            rows = [[item for row in rows for item in row]]
        items = [row[0] if len(row) == 1 else Group("list", tuple(row)) for row in rows]
        return items[0] if len(items) == 1 else Group("list", tuple(items))

    def separator(self) -> str:
        """Read what stands between two values: its first sign, nothing where there is none."""
        found = ""
        while self.op(",", ";", "&") or (
            self.next.kind in ("text", "word") and self.next.text.strip(" ,").casefold() in ("and", "or")
        ):
            found = found or self.next.text
            self.at += 1
        return found

    def relation(self) -> Node:
        """A chain of relations, or a value."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Beyond(f"its brackets are more than {MAX_DEPTH} deep")
        items, ops = [self.union()], []
        while True:
            if (self.next.kind == "op" and self.next.text in _RELATIONS) or (
                self.next.kind == "cmd" and self.next.text in ("in", "notin")
            ):
                ops.append(self.take().text)
            else:
                break
            items.append(self.union())
        self.depth -= 1
        return items[0] if not ops else Rel(tuple(ops), tuple(items))

    def ratio(self) -> Node:
        """A value, or ``3:4:5``."""
        items = [self.sum()]
        while not self.condition and not isinstance(items[-1], Words) and self.skip(":"):
            items.append(self.sum())
        return items[0] if len(items) == 1 else Call("ratio", tuple(items))

    def union(self) -> Node:
        """Sets joined by set operations."""
        node = self.ratio()
        while self.next.kind == "cmd" and self.next.text in ("cup", "cap", "setminus"):
            kind = _SET_OPERATIONS[self.take().text]
            node = Group(kind, (_members(node), _members(self.sum())))
        return node

    def sum(self) -> Node:
        """Signs and products; a currency sign may stand before and a unit after the first product."""
        items: list[Node] = []
        first = True
        while first or self.op(*_SIGNS):
            sign = self.take().text if self.op(*_SIGNS) else "+"
            while self.op(*_SIGNS):
                if sign in "±∓" or self.op("±", "∓"):
                    raise Unreadable("it has two signs in a row")
                sign = "+" if sign == self.take().text else "-"
            money = self.take().text if self.op("$", "€", "£", "¥") else ""
            node = self.product()
            if money:
                node = Unit(node, money)
            if sign != "+":
                node = _negated(node) if sign == "-" else Call("pm", (node if sign == "±" else _negated(node),))
            items.append(node)
            first = False
        made = items[0] if len(items) == 1 else Add(tuple(items))
        return self.with_unit(made)

    def with_unit(self, node: Node) -> Node:
        """``node`` with the unit that follows it, if one does."""
        words: list[str] = []
        start = self.at
        while self.next.kind in ("text", "word", "sym") or self.op("/", "^", ".", "*"):
            if self.next.kind == "op" and not words:
                break
            token = self.take()
            words.append(token.text)
            if token.text == "^":
                closing = self.skip("{")
                if self.next.kind != "num":
                    break
                words.append(self.take().text)
                if closing:
                    self.need("}")
        if words and words[0].strip(" ,.").casefold() in _SCALES and not isinstance(node, Words):
            self.at = start + 1
            scale = Num(Fraction(10 ** _SCALES[words[0].strip(" ,.").casefold()]))
            return self.with_unit(Mul((node, scale)))
        unit = unit_name(words)
        if unit is None or isinstance(node, Words):
            self.at = start
            return node
        return Unit(node, unit) if unit else node

    def product(self) -> Node:
        """Factors; ``/`` takes one factor."""
        node = self.power()
        factors = [node]
        while True:
            if self.skip("*"):
                factors.append(self.signed_power())
            elif self.skip("/"):
                factors.append(Pow(self.signed_power(), Num(Fraction(-1))))
            elif self.starts_factor():
                if self.scale_follows() or (self.unit_follows() and not any(map(symbols, factors))):
                    break
                factors.append(self.power())
            else:
                break
            if len(factors) > MAX_ITEMS:
                raise Beyond(f"it has more than {MAX_ITEMS} factors")
        return factors[0] if len(factors) == 1 else Mul(tuple(factors))

    def signed_power(self) -> Node:
        """A factor after ``*`` or ``/``, which may have a sign."""
        if self.skip("-"):
            return negative(self.signed_power())
        self.skip("+")
        return self.power()

    def starts_factor(self) -> bool:
        """Whether a factor follows without a sign."""
        token = self.next
        if token.kind == "num":
            before = self.tokens[self.at - 1]
            return before.kind == "op" and before.text in (")", "}", "]", "!", "\\}")
        if token.kind == "cmd":
            return token.text in _START_CMDS or token.text in FUNCTIONS or token.text in _SETS
        if token.kind == "begin":
            return True
        if token.kind in ("sym", "word"):
            return token.text.casefold() not in ("and", "or")
        if token.kind == "op" and token.text == "|":
            return not self.bars
        return token.kind == "op" and token.text in ("(", "[", "{")

    def scale_follows(self) -> bool:
        """Whether ``million`` and the like follow."""
        return self.next.kind == "word" and self.next.text.casefold() in _SCALES

    def unit_follows(self) -> bool:
        """Whether the letters that follow a number are a unit (``5 cm``) and all that is left, or what a list ends."""
        if self.next.kind not in ("sym", "word") or self.depth > 2:
            return False
        if self.next.kind == "sym" and not (self.next.gap and self.next.text in "mgLsKVNJWh"):
            return False
        start = self.at
        words: list[str] = []
        while self.next.kind in ("sym", "word") or (words and self.op("/")):
            words.append(self.take().text)
        ended = self.next.kind in ("end", "text") or self.op(",", ";", ".", "^")
        self.at = start
        short = self.next.kind == "sym"
        return ended and unit_name(words) is not None and (not short or len(words) == 1 or "/" in words)

    def power(self) -> Node:
        """A postfix expression, perhaps to a power."""
        return self.power_of(self.postfix())

    def power_of(self, base: Node) -> Node:
        """``base``, perhaps to a power; its index may stand after the power (``v^2_0``)."""
        if self.skip("^"):
            if self.degree():
                return Call("deg", (base,))
            if isinstance(base, Sym) and self.prime():
                return self.power_of(Sym(base.name + "'"))
            exponents = [self.argument(whole_number=True, signed=True)]
            while self.skip("^"):
                exponents.append(self.argument(whole_number=True, signed=True))
            if isinstance(base, Sym) and "_" not in base.name and self.skip("_"):
                base = self.indexed(base)
            exponent = exponents.pop()
            while exponents:
                exponent = Pow(exponents.pop(), exponent)
            return Pow(base, exponent)
        return base

    def degree(self) -> bool:
        """Read a degree sign after ``^``."""
        return self.superscript("circ")

    def prime(self) -> bool:
        """Read a prime after ``^``."""
        return self.superscript("'")

    def superscript(self, sign: str) -> bool:
        """Read a sign, perhaps in braces."""
        for tokens in ([sign], ["{", sign, "}"]):
            if [self.peek(i).text for i in range(len(tokens))] == tokens:
                self.at += len(tokens)
                return True
        return False

    def postfix(self) -> Node:
        """A primary with ``!``, ``%``, degrees, primes or an index."""
        node = self.primary()
        while True:
            if self.skip("!"):
                node = Call("factorial", (node,))
            elif self.skip("%"):
                node = Unit(node, "%")
            elif self.next.kind == "cmd" and self.next.text == "circ":
                self.at += 1
                node = Call("deg", (node,))
            elif isinstance(node, Sym) and self.skip("'"):
                node = Sym(node.name + "'")
            elif self.op("_") and isinstance(node, Sym | Num):
                self.at += 1
                node = self.indexed(node)
            elif isinstance(node, Sym) and _is_function(node.name) and self.op("(") and self.called():
                node = Call("of " + node.name, (self.bracket(),))
            else:
                return node

    def called(self) -> bool:
        """Whether ``(`` after a function's letter holds its argument: ``f(x)``, ``g(3)``."""
        close = self.peek(2)
        return close.kind == "op" and close.text == ")" and self.peek().kind in ("sym", "num")

    def indexed(self, node: Sym | Num) -> Node:
        """A variable with an index, or digits in a base."""
        braces = self.skip("{")
        index = ""
        while (
            self.next.kind in ("num", "sym", "text", "word")
            or (braces and self.op("-", "+", ","))
            or (self.next.kind == "cmd" and self.next.text in _EXTREMES)
        ):
            index += self.take().text
            if not braces:
                break
        if braces:
            self.need("}")
        if isinstance(node, Sym):
            return Sym(f"{node.name}_{index}")
        if not index.isdigit() or not 2 <= int(index[:3]) <= 36 or node.value.denominator != 1:
            raise Unreadable(f"it has the base {index!r}")
        return Digits(str(node.value), int(index))

    def argument(self, whole_number: bool = False, signed: bool = False) -> Node:
        """What a command or ``^`` applies to: braces, or one sign. ``whole_number``: all digits, not just the first."""
        if self.op("{"):
            return self.braces()
        if signed and self.skip("-"):
            return negative(self.argument(whole_number, signed))
        if self.next.kind == "num":
            token = self.take()
            if whole_number or len(token.text) == 1:
                return _number(token.text)
            self.at -= 1
            self.tokens[self.at] = Token("num", token.text[1:])
            return _number(token.text[0])
        return self.postfix() if whole_number else self.primary()

    def braces(self) -> Node:
        """``{…}``."""
        self.need("{")
        bars, self.bars = self.bars, 0
        node = self.sequence()
        self.bars = bars
        self.need("}")
        return node

    def primary(self) -> Node:
        """A number, a letter, a bracket, a command."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Beyond(f"its brackets are more than {MAX_DEPTH} deep")
        token = self.next
        if token.kind == "num":
            node = self.number()
        elif token.kind == "sym":
            node = Sym(self.take().text)
        elif token.kind == "word":
            node = self.word()
        elif token.kind == "text":
            node = self.text()
        elif token.kind == "cmd":
            node = self.command()
        elif token.kind == "begin":
            node = self.grid()
        else:
            node = self.enclosed()
        self.depth -= 1
        return node

    def number(self) -> Node:
        """A number, a mixed number or a repeating decimal."""
        text = self.take().text
        if "e" in text:
            return _scientific(text)
        if self.next.kind == "cmd" and self.next.text == "overline" and "." in text + self.peek(2).text:
            return self.repeating(text)
        node = _number(text)
        if "." in text:
            return node
        start = self.at
        if self.next.kind == "cmd" and self.next.text == "frac":
            below = self.frac()
            if _proper(below):
                return Add((node, below))
        elif self.next.kind == "num" and self.next.gap and self.peek().text == "/" and self.peek(2).kind == "num":
            above, _, under = self.take(), self.take(), self.take()
            below = quotient(_number(above.text), _number(under.text))
            if _proper(below):
                return Add((node, below))
        self.at = start
        return node

    def repeating(self, text: str) -> Node:
        """``0.1\\overline{6}``."""
        self.at += 1
        self.need("{")
        period = self.take().text.removeprefix(".")
        self.need("}")
        places = len(text.partition(".")[2])
        if not period.isdigit() or len(period) > 50:
            raise Unreadable("it repeats something that is no digits")
        tail = Fraction(int(period), (10 ** len(period) - 1) * 10**places)
        head = _number(text.rstrip("."))
        assert isinstance(head, Num)
        return Num(head.value + tail)

    def word(self) -> Node:
        """Letters in a row: a function, a constant or a product of letters."""
        word = self.next.text
        low = word.casefold()
        if low in FUNCTIONS:
            self.at += 1
            return self.function(low)
        if low in _WORD_SYMBOLS or word in GREEK:
            self.at += 1
            return Sym(_WORD_SYMBOLS.get(low, word))
        for name in ("sqrt", "sin", "cos", "tan", "log", "ln", "pi"):
            if word.startswith(name) and 1 <= len(word) - len(name) <= 2:
                rest = word[len(name) :]
                self.tokens[self.at : self.at + 1] = [Token("word", name), *(Token("sym", c) for c in rest)]
                return self.word()
        if len(word) > 3 or (low in ENGLISH and not word.isupper()):
            raise Unreadable(f"it has the word {word!r}")
        self.at += 1
        return Mul(tuple(Sym(c) for c in word))

    def text(self) -> Node:
        """``\\text{…}`` as a value: one letter is a variable, anything else text."""
        text = self.take().text.strip()
        if len(text) == 1 and text.isalpha():
            return Sym(text)
        if not text:
            return self.primary()
        return _number(text) if _NUMERAL.fullmatch(text) else Words(text)

    def command(self) -> Node:
        """A LaTeX command."""
        name = self.next.text
        if name == "frac":
            return self.frac()
        self.at += 1
        if name in ("pi", "infty"):
            return Sym({"pi": "pi", "infty": "oo"}[name])
        if name == "circ" or name in ("angle", "triangle"):
            return self.primary()
        if name == "binom":
            return Call("binom", (self.argument(), self.argument()))
        if name == "overline":
            return self.argument()
        if name in ("lfloor", "lceil"):
            node = self.sum()
            if self.take().text != name.replace("l", "r", 1):
                raise Unreadable(f"it does not close \\{name}")
            return Call(name[1:], (node,))
        if name == "varnothing":
            return Group("set", ())
        if name in _SETS:
            return Sym("set " + _SETS[name])
        if name in ("sum", "prod"):
            return self.sigma(name)
        if name == "dots":
            return Sym("…")
        if name in FUNCTIONS:
            return self.function(name)
        raise Unreadable(f"it has \\{name}")

    def sigma(self, name: str) -> Node:
        """``\\sum_{k=1}^{n} …``: index, first, last, term."""
        self.need("_")
        self.need("{")
        start = self.relation()
        self.need("}")
        self.need("^")
        last = self.argument()
        if not isinstance(start, Rel) or start.ops != ("=",):
            raise Unreadable(f"\\{name} does not say where it starts")
        return Call(name, (*start.items, last, self.product()))

    def frac(self) -> Node:
        """``\\frac``, also ``\\frac12``."""
        self.at += 1
        above = self.argument()
        return quotient(above, self.argument())

    def function(self, name: str) -> Node:
        """A function with its index, power and argument."""
        name = _TRIG.get(name, name)
        index = exponent = None
        if name == "sqrt" and self.skip("["):
            index = self.sum()
            self.need("]")
        if self.skip("_"):
            index = self.argument(whole_number=True)
        if self.skip("^"):
            exponent = self.argument(whole_number=True, signed=True)
        if name in ("sqrt", "cbrt"):
            index = Num(Fraction(3)) if name == "cbrt" else index or Num(Fraction(2))
            inside = self.bracket() if self.op("(") else self.argument(whole_number=True)
            node: Node = Call("root", (inside, index))
        else:
            inside = self.bracket() if self.op("(") else self.loose_argument()
            items = inside.items if isinstance(inside, Group) and inside.kind in ("list", "tuple") else (inside,)
            node = Call(name, items if index is None else (*items, index))
        if exponent is None:
            return node
        if isinstance(exponent, Num) and exponent.value == -1 and name in ("sin", "cos", "tan"):
            return Call("arc" + name, (inside,))
        return Pow(node, exponent)

    def bracket(self) -> Node:
        """``(…)``, without making a tuple of one value."""
        self.need("(")
        bars, self.bars = self.bars, 0
        node = self.sequence()
        self.bars = bars
        self.need(")")
        return node

    def loose_argument(self) -> Node:
        """The factors after a function without brackets."""
        if self.skip("-"):
            return negative(self.loose_argument())
        factors = [self.power()]
        while self.starts_factor() and not self.op("(", "[", "|"):
            if self.next.text in FUNCTIONS and self.next.text not in ("sqrt", "cbrt"):
                break
            factors.append(self.power())
        return factors[0] if len(factors) == 1 else Mul(tuple(factors))

    def enclosed(self) -> Node:
        """Brackets of all kinds."""
        token = self.take()
        if token.kind != "op":
            raise Unreadable(f"it has {token.text or 'its end'!r} where a value belongs")
        if token.text == "{":
            self.at -= 1
            return self.braces()
        if token.text == "|":
            self.bars += 1
            node = self.sum()
            self.bars -= 1
            self.need("|")
            return Call("abs", (node,))
        if token.text in ("(", "[", "\\{", "]"):
            return self.group(token.text)
        raise Unreadable(f"it has {token.text!r} where a value belongs")

    def group(self, left: str) -> Node:
        """A tuple, an interval, a set, or a value in brackets."""
        bars, self.bars = self.bars, 0
        if left == "\\{" and self.skip("\\}"):
            return Group("set", ())
        if left == "\\{" and self.next.kind == "begin":
            node = self.lines(self.take().text)
            self.skip("invisible", "\\}")
            return node
        condition, self.condition = self.condition, left == "\\{"
        if self.condition:
            self.bars += 1  # a bar closes nothing here, and opens no absolute value after a factor
        node = self.sequence()
        self.condition, self.bars = condition, 0
        if left == "\\{" and self.op("|", ":"):
            self.at += 1
            node = self.sequence()
        right = self.take().text
        self.bars = bars
        allowed = {"(": ")]", "[": ")][", "]": "[]", "\\{": "\\}"}[left]
        if right not in allowed or not right:
            raise Unreadable(f"{left} is closed by {right or 'nothing'!r}")
        items = node.items if isinstance(node, Group) and node.kind == "list" else (node,)
        if left == "\\{":
            return Group("set", items) if not isinstance(node, Rel) else node
        closed = (left == "[", right == "]")
        if len(items) == 2 and (closed[0] != closed[1] or left == "]" or right == "["):
            return Group("interval", items, closed)
        if left == "[":
            return Group("bracket", items, closed) if len(items) > 1 else node
        return Group("tuple", items) if len(items) > 1 else node

    def grid(self) -> Node:
        """``\\begin{pmatrix}…\\end{pmatrix}`` and its relatives."""
        name = self.take().text
        if name in ("align", "aligned", "equation", "cases", "gathered", "split"):
            return self.lines(name)
        if name not in ("pmatrix", "bmatrix", "vmatrix", "matrix", "array", "smallmatrix", "Bmatrix", "Vmatrix"):
            raise Unreadable(f"it has the environment {name!r}")
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        while not (self.next.kind == "end" and self.next.text == name):
            if self.skip("\\\\"):
                rows.append(tuple(row))
                row = []
            elif not self.skip("&"):
                row.append(self.relation())
            if self.next is _END:
                raise Unreadable(f"\\begin{{{name}}} does not end")
        self.at += 1
        if row:
            rows.append(tuple(row))
        if not rows or len({len(r) for r in rows}) != 1 or not rows[0]:
            raise Unreadable("its matrix has rows of different length")
        grid = Grid(tuple(rows))
        return Call("det", (grid,)) if name == "vmatrix" else grid

    def lines(self, name: str) -> Node:
        """Lines of equations: a list."""
        items: list[Node] = []
        while not (self.next.kind == "end" and self.next.text == name):
            if self.next is _END:
                raise Unreadable(f"\\begin{{{name}}} does not end")
            if not self.skip("\\\\", "&", ","):
                items.append(self.relation())
        self.at += 1
        return Group("list", tuple(items)) if len(items) != 1 else items[0]


def _is_function(name: str) -> bool:
    """Whether a bracket after the letter holds an argument: ``f``, ``k_max``."""
    return name[:1] in "fghFGHP" or name.partition("_")[2] in _EXTREMES


def _members(node: Node) -> Node:
    """What a set operation is applied to: braces without backslashes hold the members of a set."""
    if isinstance(node, Group):
        return Group("set", node.items) if node.kind == "list" else node
    return Group("set", (node,)) if isinstance(node, Num) else node


def _negated(node: Node) -> Node:
    return Unit(negative(node.item), node.unit) if isinstance(node, Unit) else negative(node)


def _scientific(text: str) -> Node:
    mantissa, _, power = text.partition("e")
    if abs(int(power)) > MAX_DIGITS:
        raise Beyond(f"its exponent is beyond {MAX_DIGITS:,}")
    return Mul((_number(mantissa), Pow(Num(Fraction(10)), Num(Fraction(int(power))))))


def _number(text: str) -> Node:
    whole, point, decimals = text.partition(".")
    if not (whole + decimals).isdigit():
        raise Unreadable(f"it has {text!r} where a number belongs")
    if len(whole) + len(decimals) > MAX_DIGITS:
        raise Beyond(f"a number has {len(whole) + len(decimals):,} digits; at most {MAX_DIGITS:,} are read")
    return Num(Fraction(int(whole + decimals), 10 ** len(decimals)), len(decimals) if point else None)


def _proper(node: Node) -> bool:
    """Whether ``node`` is a quotient of whole numbers below one."""
    if not isinstance(node, Mul) or len(node.items) != 2 or not isinstance(node.items[1], Pow):
        return False
    above, below = node.items[0], node.items[1].base
    if not isinstance(above, Num) or not isinstance(below, Num) or above.places or below.places:
        return False
    return 0 < above.value < below.value
