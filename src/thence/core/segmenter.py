"""Where one reasoning step ends and the next begins: one rule for search, labels, verifiers and the page.

``split`` cuts a text where stepwise generation would have stopped: after every separator, so that a separator (and the
token that completes it) belongs to the step before it. It looks only backwards, so a text that grows never moves a
cut that was made. ``"".join(split(text)) == text`` for every text.

``steps`` reads the same cuts as reasoning: blank parts join the step before them, and a closing ``####`` line is the
answer, not a step. GSM8K's references (Cobbe et al. 2021, arXiv:2110.14168) have one line per step; two of the 1,319
test references hold a blank line, which is a part for ``split`` and none for ``steps``.

Not covered: brackets inside string prefixes or heredocs when code is cut by statements; sentences of languages that
neither put a blank after a full stop nor use ``。！？``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from .completion import Finish
from .errors import UsageError


class Kind(StrEnum):
    """What ends a step."""

    LINE = "line"  # a line break
    SEPARATOR = "separator"  # a given string, such as "\n\n"
    STEP = "step"  # the next line that begins with "Step k:"
    TAG = "tag"  # a given mark inside the text, such as Math-Shepherd's "ки"
    EQUATION = "equation"  # a line break, or the ";" after an equation (drafts: "5+3=8;8*2=16")
    SENTENCE = "sentence"  # a full stop and one blank
    TOKENS = "tokens"  # a number of tokens
    CODE = "code"  # the end of a statement: a line break outside brackets and triple quotes


TAGS = ("ки", "<step>", "</step>", "<|step|>", "[STEP]", "<extra_0>", "<end_of_step>")

_STEP_LINE = re.compile(
    r"^[ \t]*+(?:[#>*-]{1,6}[ \t]*+)?(?:\*\*|__)?Step[ \t]+\d{1,3}+(?:\*\*|__)?[ \t]?(?:[:.)–—-]|\n)",
    re.IGNORECASE | re.MULTILINE,
)
_EQUATION_END = re.compile(r"\n|(?<=[\d>)]);")
_SENTENCE_END = re.compile(r"\n|[。！？]|(?<![.!?…])[.!?…]++[\"'”’)\]*_]*+[ \t\r\f\v\u00a0]")
_NO_SENTENCE_END = re.compile(  # titles, abbreviations and initials; the number of a list's entry
    r"(?:(?:^|[\s(\"'“‘])(?:[A-Z]|(?i:mr|mrs|ms|dr|prof|st|vs|jr|sr|fig|eq|approx|e\.g|i\.e|cf))"
    r"|(?:^|\n)[ \t]*\d{1,3})\Z"
)
_WORD = re.compile(r"\S++")
_ANSWER_LINE = re.compile(r"####[^\n]*\s*")
_THE_ANSWER_IS = re.compile(r"the answer is:[ \t]*\S", re.IGNORECASE)
_CODE_FENCE = "```"


@dataclass(frozen=True, slots=True)
class Steps:
    """A text as reasoning: ``"".join(steps) + answer`` is the text; ``answer`` is its ``####`` line or empty."""

    steps: tuple[str, ...]
    answer: str

    @property
    def ends(self) -> tuple[int, ...]:
        """Character offset at which each step ends."""
        ends, at = [], 0
        for step in self.steps:
            at += len(step)
            ends.append(at)
        return tuple(ends)


@dataclass(frozen=True, slots=True)
class Segmenter:
    """A rule that cuts a text into steps. ``mark`` is the string of SEPARATOR and TAG, ``cap`` the size of TOKENS."""

    kind: Kind = Kind.LINE
    mark: str = ""
    cap: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind(self.kind))
        marked = self.kind in (Kind.SEPARATOR, Kind.TAG)
        if marked and not self.mark:
            raise UsageError(f'segmenter: {self.kind} needs its string; write {self.kind}("…")')
        if self.kind is Kind.TOKENS and self.cap < 1:
            raise UsageError("segmenter: tokens needs a number of at least 1; write tokens(32)")
        if (self.mark and not marked) or (self.cap and self.kind is not Kind.TOKENS):
            raise UsageError(f"segmenter: {self.kind} takes no argument")

    def split(self, text: str, ends: Sequence[int] | None = None) -> list[str]:
        """The parts of ``text``; joined they are the text. No part is empty.

        ``ends`` are the character offsets at which tokens end (``Completion.ends``); only TOKENS reads them, and
        without them it counts words.
        """
        cuts = _token_cuts(text, self.cap, ends) if self.kind is Kind.TOKENS else _CUTS[self.kind](text, self.mark)
        inner = dict.fromkeys(c for c in cuts if 0 < c < len(text))
        return [text[a:b] for a, b in pairwise([0, *inner, len(text)]) if a < b]

    def steps(self, text: str, ends: Sequence[int] | None = None) -> Steps:
        """The reasoning steps of ``text`` and its final answer line."""
        body = text[: answer_start(text)]
        parts = self.split(body, ends)
        first = [i for i, part in enumerate(parts) if part.strip()]
        if not first:
            return Steps((), text)
        bounds = [0, *first[1:], len(parts)]  # blank parts before the first step belong to it, too
        return Steps(tuple("".join(parts[i:j]) for i, j in pairwise(bounds)), text[len(body) :])

    def closed(self, text: str) -> bool:
        """Whether ``text`` ends exactly where a step does, so that what follows begins a new one."""
        return bool(text) and len(self.split(text + "x")) > len(self.split(text))

    def is_final(self, text: str, finish: Finish) -> bool:
        """Whether nothing follows this step: its text ended by itself, or it holds the final answer.

        The answer is a complete ``####`` line, or ``The answer is: …`` in the formats that close so (STEP, TAG).
        """
        if finish is Finish.EOS:
            return True
        if finish not in (Finish.STOP, Finish.STEP):
            return False
        if answer_start(text) < len(text):
            return True
        return self.kind in (Kind.STEP, Kind.TAG) and _THE_ANSWER_IS.search(text) is not None

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings for generating one step. A stop is where a step may end; ``closed`` says whether it does."""
        match self.kind:
            case Kind.SEPARATOR | Kind.TAG:
                return (self.mark,)
            case Kind.STEP:
                return ("\nStep ",)
            case Kind.EQUATION:
                return ("\n", ";")
            case Kind.SENTENCE:
                return ("\n", ". ", "! ", "? ")
            case Kind.TOKENS:
                return ()
            case _:
                return ("\n",)

    def resume(self, stop: str) -> tuple[str, str]:
        """What of a stop string that was met ends this step, and what begins the next one."""
        if self.kind is Kind.STEP:
            return stop[:1], stop[1:]
        return stop, ""

    def to_spec(self) -> str:
        """The rule as text, for headers and for people: ``line``, ``separator("\\n\\n")``, ``tokens(32)``."""
        if self.kind is Kind.TOKENS:
            return f"{self.kind}({self.cap})"
        return f"{self.kind}({json.dumps(self.mark, ensure_ascii=False)})" if self.mark else str(self.kind)

    @staticmethod
    def from_spec(spec: str) -> Segmenter:
        """The rule written by ``to_spec``; UsageError on anything else."""
        name, _, rest = spec.strip().partition("(")
        problem = f'segmenter {spec!r} is not known; write one of {", ".join(Kind)}, such as separator("\\n\\n")'
        if name not in set(Kind) or bool(rest) != rest.endswith(")"):
            raise UsageError(problem)
        try:
            value = json.loads(rest[:-1]) if rest else None
        except ValueError:
            raise UsageError(problem) from None
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            raise UsageError(problem)
        return Segmenter(Kind(name), value if isinstance(value, str) else "", value if isinstance(value, int) else 0)


def answer_start(text: str) -> int:
    """Where the final ``####`` line begins; the length of the text when its last line is none.

    In the middle of a text ``####`` is a heading.
    """
    at = text.rfind("####")
    while at > 0 and text[at - 1] == "#":
        at -= 1
    if at < 0 or (at > 0 and not text[at - 1].isspace()):
        return len(text)
    return at if _ANSWER_LINE.fullmatch(text, at) else len(text)


def detect(texts: Sequence[str]) -> Segmenter:
    """The rule that fits a model's texts; the same texts give the same rule, in any order.

    The first rule that applies to at least half of the texts: a known tag, ``Step k:`` lines, code, drafts of
    equations, paragraphs, lines, sentences. Without any, LINE.
    """
    shown = [text for text in texts if text.strip()]
    for tag in TAGS:
        if _most(shown, lambda text, tag=tag: tag in text):  # type: ignore[misc]
            return Segmenter(Kind.TAG, tag)
    if _most(shown, lambda text: len(_STEP_LINE.findall(text)) > 1):
        return Segmenter(Kind.STEP)
    if _most(shown, _is_code):
        return Segmenter(Kind.CODE)
    if _most(shown, _is_draft):
        return Segmenter(Kind.EQUATION)
    for rule in (Segmenter(Kind.SEPARATOR, "\n\n"), Segmenter(Kind.LINE), Segmenter(Kind.SENTENCE)):
        if _most(shown, lambda text, rule=rule: len(rule.steps(text).steps) > 1):  # type: ignore[misc]
            return rule
    return Segmenter(Kind.LINE)


def _most(texts: Sequence[str], holds: Callable[[str], bool]) -> bool:
    return bool(texts) and 2 * sum(map(holds, texts)) >= len(texts)


def _is_draft(text: str) -> bool:
    return any(left.rstrip()[-1:].isdigit() and "=" in left for left in text.split(";")[:-1])


def _is_code(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    inside, fenced = False, 0
    for line in lines:
        if line.lstrip().startswith(_CODE_FENCE):
            inside = not inside
            fenced += 1
        else:
            fenced += inside
    if 2 * fenced > len(lines):
        return True
    return bool(lines) and re.match(r"(?:def|class|import|from|#include|function)\b", lines[0]) is not None


# --- cuts: for each kind the offsets at which a step ends, left to right ---------------------------------------------


def _after(mark: str, text: str) -> Iterator[int]:
    at = text.find(mark)
    while at >= 0:
        at += len(mark)
        yield at
        at = text.find(mark, at)


def _sentence_cuts(text: str, _mark: str) -> Iterator[int]:
    for match in _SENTENCE_END.finditer(text):
        is_stop = match.group().startswith(".") and not match.group().startswith("..")
        if not (is_stop and _NO_SENTENCE_END.search(text[max(0, match.start() - 12) : match.start()])):
            yield match.end()


def _equation_cuts(text: str, _mark: str) -> Iterator[int]:
    equals = text.find("=")
    for match in _EQUATION_END.finditer(text):
        if match.group() == "\n" or 0 <= equals < match.start():
            yield match.end()
            if 0 <= equals < match.end():
                equals = text.find("=", match.end())


def _code_cuts(text: str, _mark: str) -> Iterator[int]:
    """Ends of statements. A blank line or a code fence closes open brackets, so that prose cannot hide all the rest."""
    depth, triple = 0, ""
    at = 0
    for line in text.splitlines(keepends=True):
        at += len(line)
        if line.lstrip().startswith(_CODE_FENCE) or (not line.strip() and not triple):
            depth, triple = 0, ""
        else:
            depth, triple = _scan(line, depth, triple)
        if not triple and depth == 0 and line.endswith("\n") and not line.endswith("\\\n"):
            yield at


_TOKEN = re.compile(r"\"\"\"|'''|[\"'#()\[\]{}]")
_STRING_END = {quote: re.compile(rf"\\.|{quote}") for quote in "\"'"}


def _scan(line: str, depth: int, triple: str) -> tuple[int, str]:
    """Bracket depth and open triple quote after one line; a string that does not end on its line is an apostrophe."""
    at, open_strings = 0, set("\"'")
    while at < len(line):
        if triple:
            close = line.find(triple, at)
            if close < 0:
                return depth, triple
            at, triple = close + 3, ""
            continue
        match = _TOKEN.search(line, at)
        if match is None or match.group() == "#":
            break
        token, at = match.group(), match.end()
        if len(token) == 3:
            triple = token
        elif token in open_strings:
            end = next((m.end() for m in _STRING_END[token].finditer(line, at) if m.group() == token), None)
            if end is None:
                open_strings.remove(token)
            at = end or at
        elif token in "([{":
            depth += 1
        elif token in ")]}":
            depth = max(0, depth - 1)
    return depth, triple


def _token_cuts(text: str, cap: int, ends: Sequence[int] | None) -> list[int]:
    tokens = ends if ends is not None else [match.end() for match in _WORD.finditer(text)]
    return sorted(min(end, len(text)) for end in tokens[cap - 1 :: cap])


_CUTS: dict[Kind, Callable[[str, str], Iterator[int]]] = {
    Kind.LINE: lambda text, _: _after("\n", text),
    Kind.SEPARATOR: lambda text, mark: _after(mark, text),
    Kind.TAG: lambda text, mark: _after(mark, text),
    Kind.STEP: lambda text, _: (match.start() for match in _STEP_LINE.finditer(text)),
    Kind.EQUATION: _equation_cuts,
    Kind.SENTENCE: _sentence_cuts,
    Kind.CODE: _code_cuts,
}
