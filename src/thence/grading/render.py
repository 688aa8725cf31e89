"""Trees back to LaTeX, in one plain style; for showing what was read, and to check reading against itself."""

from __future__ import annotations

from fractions import Fraction

from .terms import Add, Call, Digits, Grid, Group, Mul, Node, Num, Pow, Rel, Sym, Unit, Words
from .tokens import GREEK

_OPS = {"<=": "\\le", ">=": "\\ge", "!=": "\\ne", "in": "\\in", "~": "\\approx", "≡": "\\equiv", "->": "\\to"}
_BRACKETS = {"tuple": ("(", ")"), "set": ("\\{", "\\}"), "bracket": ("[", "]"), "list": ("", "")}
_JOINS = {"union": " \\cup ", "meet": " \\cap ", "without": " \\setminus "}
_UNITS = {"%": "\\%", "$": "\\text{ dollars}", "°": "^\\circ", "¢": "\\text{ cents}", "€": "\\text{ euros}"}


def latex(node: Node) -> str:
    """LaTeX that reads as ``node`` again."""
    if isinstance(node, Num):
        return _number(node)
    if isinstance(node, Sym):
        return _symbol(node.name)
    if isinstance(node, Add):
        made = " + ".join(f"({latex(i)})" if isinstance(i, Add) else latex(i) for i in node.items)
        return made.replace("+ -", "- ").replace("+ \\pm", "\\pm")
    if isinstance(node, Mul):
        return " \\cdot ".join(_factor(item) for item in node.items)
    if isinstance(node, Pow):
        if node.exponent == Num(Fraction(-1)):
            return f"\\frac{{1}}{{{latex(node.base)}}}"
        return f"{_bracketed(node.base)}^{{{latex(node.exponent)}}}"
    if isinstance(node, Call):
        return _call(node)
    if isinstance(node, Group):
        return _group(node)
    if isinstance(node, Rel):
        parts = [latex(node.items[0])]
        for op, item in zip(node.ops, node.items[1:], strict=True):
            parts += [_OPS.get(op, op), latex(item)]
        return " ".join(parts)
    if isinstance(node, Grid):
        rows = " \\\\ ".join(" & ".join(latex(cell) for cell in row) for row in node.rows)
        return f"\\begin{{pmatrix}} {rows} \\end{{pmatrix}}"
    if isinstance(node, Digits):
        return f"{node.digits}_{{{node.base}}}"
    if isinstance(node, Words):
        return f"\\text{{{node.text}}}"
    return _unit(node)


def _unit(node: Unit) -> str:
    stem, power = (node.unit[:-1], node.unit[-1]) if node.unit[-1:].isdigit() else (node.unit, "")
    name = _UNITS.get(stem) or f"\\text{{ {stem}}}"
    return f"{latex(node.item)}{name}" + (f"^{power}" if power else "")


def _number(node: Num) -> str:
    value = node.value
    if node.places is not None and value * 10**node.places == int(value * 10**node.places):
        digits = str(abs(int(value * 10**node.places))).rjust(node.places + 1, "0")
        sign = "-" if value < 0 else ""
        return f"{sign}{digits[: len(digits) - node.places]}.{digits[len(digits) - node.places :]}"
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return f"{sign}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def _symbol(name: str) -> str:
    if name.startswith("set "):
        return f"\\mathbb{{{name[4:]}}}"
    stem, _, index = name.partition("_")
    stem = {"oo": "\\infty", "pi": "\\pi", "…": "\\dots"}.get(stem, f"\\{stem}" if stem in GREEK else stem)
    return f"{stem}_{{{index}}}" if index else stem


def _factor(node: Node) -> str:
    if isinstance(node, Add | Rel) or (isinstance(node, Num) and node.value < 0):
        return f"({latex(node)})"
    return latex(node)


def _bracketed(node: Node) -> str:
    simple = isinstance(node, Sym) or (isinstance(node, Num) and node.value >= 0 and node.value.denominator == 1)
    return latex(node) if simple else f"({latex(node)})"


def _call(node: Call) -> str:
    name, items = node.name, [latex(item) for item in node.items]
    if name == "root":
        return f"\\sqrt{{{items[0]}}}" if items[1] == "2" else f"\\sqrt[{items[1]}]{{{items[0]}}}"
    if name == "abs":
        return f"|{items[0]}|"
    if name == "deg":
        return f"{_bracketed(node.items[0])}^{{\\circ}}"
    if name == "factorial":
        return f"{_bracketed(node.items[0])}!"
    if name == "pm":
        return f"\\pm {_factor(node.items[0])}"
    if name == "binom":
        return f"\\binom{{{items[0]}}}{{{items[1]}}}"
    if name == "ratio":
        return " : ".join(items)
    if name in ("floor", "ceil"):
        return f"\\l{name} {items[0]} \\r{name}"
    if name in ("log", "ln") and len(items) == 2:
        return f"\\log_{{{items[1]}}} ({items[0]})"
    if name == "log10":
        return f"\\log_{{10}} ({items[0]})"
    if name.startswith("of "):
        return f"{_symbol(name[3:])}({items[0]})"
    return f"\\{name} ({', '.join(items)})"


def _group(node: Group) -> str:
    items = [latex(item) for item in node.items]
    if node.kind in _JOINS:
        return _JOINS[node.kind].join(items)
    if node.kind == "interval":
        return f"{'(['[node.closed[0]]}{items[0]}, {items[1]}{')]'[node.closed[1]]}"
    left, right = _BRACKETS[node.kind]
    return f"{left}{', '.join(items)}{right}"
