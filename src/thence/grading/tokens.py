"""LaTeX and ASCII mathematics to tokens: look-alike signs are made plain, layout is dropped, nothing is interpreted.

A token is ``num`` (digits, perhaps with a point), ``sym`` (one letter, or a LaTeX letter such as ``theta``), ``word``
(a run of letters), ``cmd`` (a LaTeX command that means something), ``text`` (the inside of ``\\text{…}``) or ``op``
(one sign).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .terms import MAX_LENGTH, MAX_TOKENS, Beyond, Unreadable, words

GREEK = frozenset(
    words(
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau "
        "upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar"
    )
)
FUNCTIONS = frozenset(
    words(
        "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp sqrt abs min max gcd lcm floor ceil "
        "det cbrt asin acos atan tg ctg arctg"
    )
)
_LAYOUT = frozenset(
    words(
        "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle limits quad "
        "qquad middle hspace phantom nonumber rm bf it mathstrut strut null hfill enspace thinspace "
        "bm boldsymbol vec hat "
        "bar underline tiny small large Large normalsize pmb overrightarrow overleftrightarrow widehat dot widetilde "
        "tilde mathring mathopen mathclose mathbin mathrel cr"
    )
)
_TEXTS = frozenset(
    words(
        "text mbox textbf textit textrm textnormal mathrm operatorname mathbf mathit mathsf hbox texttt mathcal emph "
        "textsf mathtt mathbb"
    )
)
# fmt: off
_SAME = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "le": "<=",
    "leq": "<=", "leqslant": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=", "lt": "<", "gt": ">", "ne": "!=",
    "neq": "!=", "times": "*", "cdot": "*", "div": "/", "ast": "*", "star": "*", "pm": "±", "mp": "∓",
    "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "infin": "infty", "emptyset": "varnothing",
    "degree": "circ", "vert": "|", "mid": "|", "lvert": "|", "rvert": "|", "to": "->", "rightarrow": "->",
    "Rightarrow": "->", "implies": "->", "approx": "~", "sim": "~", "equiv": "≡", "land": "and", "lor": "or",
    "wedge": "and", "vee": "or", "lfloor": "lfloor", "ldots": "dots", "cdots": "dots", "dotsc": "dots",
    "vdots": "dots", "langle": "(", "rangle": ")", "colon": ":", "lparen": "(", "leqq": "<=", "geqq": ">=",
    "cdotp": "*", "prime": "'", "rparen": ")", "backslash": "setminus", "smallsetminus": "setminus",
    "bigcup": "cup", "bigcap": "cap", "lim": "lim", "simeq": "~", "cong": "~", "triangle": "triangle", "iff": "->",
    "Leftrightarrow": "->",
}
# fmt: on
# fmt: off
_CHARS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "﹣": "-", "－": "-", "➖": "-", "×": " \\times ",
    "✕": " \\times ", "⋅": " \\cdot ", "·": " \\cdot ", "∙": " \\cdot ", "•": " \\cdot ", "∗": "*", "÷": " \\div ",
    "∕": "/", "⁄": "/", "√": " \\sqrt ", "∛": " \\cbrt ", "π": " \\pi ", "°": "^\\circ ", "º": "^\\circ ",
    "∞": " \\infty ", "≤": " \\le ", "≥": " \\ge ", "⩽": " \\le ", "⩾": " \\ge ", "≠": " \\ne ", "≈": " \\approx ",
    "±": " \\pm ", "∓": " \\mp ", "∪": " \\cup ", "∩": " \\cap ", "∈": " \\in ", "∅": " \\varnothing ",
    "ℝ": " \\mathbb{R} ", "ℤ": " \\mathbb{Z} ", "ℕ": " \\mathbb{N} ", "ℚ": " \\mathbb{Q} ", "ℂ": " \\mathbb{C} ",
    "→": " \\to ", "⇒": " \\to ", "∧": " \\land ", "∨": " \\lor ", "θ": " \\theta ", "α": " \\alpha ",
    "β": " \\beta ", "γ": " \\gamma ", "λ": " \\lambda ", "μ": " \\mu ", "φ": " \\phi ", "ϕ": " \\phi ",
    "ω": " \\omega ", "δ": " \\delta ", "σ": " \\sigma ", "ρ": " \\rho ", "τ": " \\tau ", "Δ": " \\Delta ",

    "“": "\"", "”": "\"", "‘": "'", "’": "'", "′": "'", "，": ",", "；": ";", "：": ":", "（": "(", "）": ")",
    "。": ".",
    "、": ",", "％": "%", "⟨": "(", "⟩": ")", "≡": " \\equiv ", "…": " \\dots ", "\u200b": "", "\u2060": "",
    "\ufeff": "", "∖": " \\setminus ", "ⁿ": "^{n}", "₹": "$", "€": "€", "£": "£", "¥": "¥", "\u061c": "",
    "\u200e": "", "\u200f": "", "⌊": " \\lfloor ", "⌋": " \\rfloor ", "⌈": " \\lceil ", "⌉": " \\rceil ", "∣": "|",
    "\u2009": "\\,", "\u202f": "\\,", "\u00a0": "\\,", "\u2007": "\\,",
}
# fmt: on
_SUPER = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾", "0123456789+-()", strict=True))
_SUB = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_THOUSAND = r"(?:\\,|\\!,|,\\!\ ?|\ ?\{\ ?,\ ?\}(?:\\!)?|\\;|\\ |')"
_TOKEN = re.compile(
    rf"""(?P<gap>\s+|~|\\[,;:!>\ ]|\\(?=\s)|&(?=\s*=))
    |(?P<num>\d{{1,3}}(?:{_THOUSAND}\d{{3}}(?!\d))+(?:\.\d+)?|\d+\.(?=\\overline)|\d+(?:\.\d+)?(?:[eE][-+]?\d{{1,4}}(?![\w^.(]))?|\.\d+)
    |(?P<cmd>\\[A-Za-z]+\*?)
    |(?P<row>\\\\(?:\[[^\]\n]{{0,20}}\])?)
    |(?P<esc>\\[{{}}$%\#&_|])
    |(?P<word>[^\W\d_]+)
    |(?P<op>\*\*|<=|>=|!=|==|=>|=<|->|≡|[-+*/^_!|=<>,;:()\[\]{{}}&%$€£¥.'"~?@\#`])""",
    re.VERBOSE,
)
_EUROPEAN = re.compile(r"-?\d{1,3}(?:\.\d{3})+,\d+|-?\d{1,3}(?:\.\d{3}){2,}")
_SPACED = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z]{2}|[{}%$])")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")


@dataclass(frozen=True, slots=True)
class Token:
    """One token. ``gap``: blanks stood before it. ``raw``: a number as written."""

    kind: str
    text: str
    gap: bool = False


def plain(text: str) -> str:
    """``text`` with foreign digits, superscripts, fractions and look-alike signs in their ASCII or LaTeX form."""
    if text.isascii():
        return text
    out: list[str] = []
    above: list[str] = []
    for char in text:
        if char in _SUPER:
            above.append(_SUPER[char])
            continue
        if above:
            out.append("^{" + "".join(above) + "}")
            above = []
        out.append(_plain_char(char))
    if above:
        out.append("^{" + "".join(above) + "}")
    return "".join(out)


def _plain_char(char: str) -> str:
    if char in _CHARS:
        return _CHARS[char]
    if char in _SUB:
        return "_" + _SUB[char]
    if char.isascii():
        return char
    if (digit := unicodedata.decimal(char, None)) is not None:
        return str(digit)
    wide = unicodedata.normalize("NFKC", char)
    if "\u2044" in wide:
        above, below = wide.split("\u2044")
        return f" \\frac{{{above}}}{{{below}}}"
    return wide if wide.isascii() else char


def tokenize(text: str, thousands: bool = True) -> list[Token]:
    """The tokens of ``text``. ``thousands``: ``1,234`` outside brackets is one number.

    Raises:
        Beyond: it is too long.
        Unreadable: it has a character that mathematics has no use for.
    """
    if len(text) > MAX_LENGTH:
        raise Beyond(f"it has {len(text):,} characters; at most {MAX_LENGTH:,} are read")
    text = plain(text)
    if "\\begin" not in text:
        text = _DOUBLED.sub("\\\\", text)  # escaped twice, as in a JSON file
    if thousands:
        text = _join_thousands(text)
    tokens: list[Token] = []
    at, gap = 0, False
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unreadable(f"it has the character {text[at]!r}")
        kind, value, at = match.lastgroup or "", match.group(), match.end()
        if kind == "gap":
            gap = True
            continue
        if kind == "cmd":
            at, made = _command(text, value[1:].rstrip("*"), at)
            tokens += [Token(k, v, gap or i > 0) for i, (k, v) in enumerate(made)]
            gap = gap or not made
            if made:
                gap = False
            continue
        tokens.append(_token(kind, value, gap))
        gap = False
        if len(tokens) > MAX_TOKENS:
            raise Beyond(f"it has more than {MAX_TOKENS:,} tokens")
    return tokens


def _join_thousands(text: str) -> str:
    """Number separators that are only safe to drop outside brackets."""
    if _SPACED.fullmatch(text.strip(" $€£¥")):
        return text.replace(" ", "")
    if _EUROPEAN.fullmatch(text.strip(" $€£¥")):
        return text.replace(".", "").replace(",", ".")
    if "," not in text:
        return text
    depth, spans = 0, []
    opened = [0] * (len(text) + 1)
    for i, char in enumerate(text):
        if char in "([" or text.startswith("\\{", i):
            depth += 1
        elif char in ")]" or text.startswith("\\}", i):
            depth -= 1
        opened[i] = depth
    for match in _THOUSANDS.finditer(text):
        if opened[match.start()] <= 0:
            spans.append(match.span())
    for start, end in reversed(spans):
        text = text[:start] + text[start:end].replace(",", "") + text[end:]
    return text


def _token(kind: str, value: str, gap: bool) -> Token:
    if kind == "num":
        mantissa, mark, power = value.lower().partition("e")
        return Token("num", re.sub(r"[^\d.]", "", mantissa) + mark + power, gap)
    if kind == "row":
        return Token("op", "\\\\", gap)
    if kind == "esc":
        return Token("op", {"\\%": "%", "\\$": "$", "\\|": "|", "\\_": "_"}.get(value, value), gap)
    if kind == "word":
        return Token("sym" if len(value) == 1 else "word", value, gap)
    return Token("op", {"**": "^", "==": "=", "=>": "->", "=<": "<="}.get(value, value), gap)


def _command(text: str, name: str, at: int) -> tuple[int, list[tuple[str, str]]]:
    """The tokens of a LaTeX command whose name ended at ``at``, and where reading goes on."""
    if name in _TEXTS:
        return _text_command(text, name, at)
    if name in ("left", "right") and text[at : at + 1] == ".":
        return at + 1, [("op", "invisible")]
    if name in ("hspace", "vspace", "phantom", "color", "textcolor", "label", "tag"):
        end = text.find("}", at)
        return (end + 1 if end >= 0 else len(text)), []
    if name in _LAYOUT:
        return at, []
    if name in ("begin", "end"):
        end = text.find("}", at)
        if text[at : at + 1] != "{" or end < 0:
            raise Unreadable(f"\\{name} has no environment")
        what, end = text[at + 1 : end].rstrip("*"), end + 1
        if name == "begin" and what == "array" and text[end : end + 1] == "{":
            end = text.find("}", end) + 1 or len(text)
        return end, [(name, what)]
    name = _SAME.get(name, name)
    if name in GREEK:
        return at, [("sym", {"varepsilon": "epsilon", "vartheta": "theta", "varphi": "phi"}.get(name, name))]
    if name.startswith("quad") and name != "quad" and len(name) <= 6:  # \quadx: a blank was lost
        return at - len(name) + 4, []
    if name in ("and", "or"):
        return at, [("text", name)]
    if name in ("R", "Z", "N", "Q", "C"):
        return at, [("cmd", "mathbb" + name)]
    if not name.isalpha():
        return at, [("op", name)]
    return at, [("cmd", name)]


def _text_command(text: str, name: str, at: int) -> tuple[int, list[tuple[str, str]]]:
    while text[at : at + 1] == " ":
        at += 1
    if text[at : at + 1] != "{":
        return at + 1, [("text", text[at : at + 1])] if at < len(text) else []
    depth, end = 1, at + 1
    while end < len(text) and depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    inside = text[at + 1 : end - 1 if not depth else end]
    inside = inside.replace("~", " ").replace("\\,", " ").replace("\\ ", " ")
    if name == "mathbb":
        return end, [("cmd", "mathbb" + inside.strip())]
    if inside.strip() in FUNCTIONS:
        return end, [("word", inside.strip())]
    return end, [("text", inside)]
