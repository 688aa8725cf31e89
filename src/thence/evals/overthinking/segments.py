"""What a reasoning text does, piece by piece: steps, checks, other ways, plans, and going back.

Two readers with one result, a list of segments whose texts add up to the whole (a blank text has none):

* `by_grammar` is exact. It knows the lines that our own scripted traces are written in (``Plan: …``, ``Check: …``,
  ``Alternative: …``, ``Backtrack …``, the world's ``Wait`` and the verdicts of its reviewer, ``#### answer``); every
  other line is a step. Nothing is guessed, so its counts can be compared with closed forms.
* `by_phrases` is a bank of phrases for texts that keep no grammar, read sentence by sentence. It is a heuristic, and
  its precision is measured: docs/overthinking.md has the table, made of sentences of public traces labelled by hand
  before its tags were looked at.

The four kinds are those of Zeng et al. 2025 (arXiv:2502.12215) and of the lecture the project starts from: a long chain
of thought checks (VERIFY), tries another way (EXPLORE), says what it will do (PLAN) and takes something back
(BACKTRACK). The papers count marker words ("wait", "alternatively"); a marker inside a story ("they wait for the bus")
is no revision, which is why the bank wants it where a sentence begins, or beside a word that says so.

Not covered: languages other than English.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from thence.core.segmenter import Kind, Segmenter
from thence.worlds.revision import FLAG, PASS, WAIT


class Tag(StrEnum):
    """What a segment does."""

    STEP = "step"
    VERIFY = "verify"
    EXPLORE = "explore"
    PLAN = "plan"
    BACKTRACK = "backtrack"
    ANSWER = "answer"


REVISING = (Tag.VERIFY, Tag.EXPLORE, Tag.BACKTRACK)  # what a second look is made of


@dataclass(frozen=True, slots=True)
class Segment:
    """The characters [start, end) of a text and what they do."""

    start: int
    end: int
    tag: Tag


_VERDICTS = "|".join(map(re.escape, (FLAG, PASS)))
GRAMMAR: tuple[tuple[Tag, re.Pattern[str]], ...] = (
    (Tag.ANSWER, re.compile(r"####")),
    (Tag.VERIFY, re.compile(rf"Check:|(?:{_VERDICTS})\s*\Z")),
    (Tag.EXPLORE, re.compile(r"Alternative:")),
    (Tag.PLAN, re.compile(r"Plan:")),
    (Tag.BACKTRACK, re.compile(rf"Backtrack\b|{WAIT}\s*\Z")),
)

_WE = r"(?:let['’]?s|let us|let me|i['’]ll|i (?:will|need to)|we['’]ll|we (?:will|can|could|should|must|need to))"
_OPENING = r"\A\W*(?:(?:and|but|so|oh|ok|okay|no|hmm|now|well|then)\b\W*){0,3}"
_NO_RESULT = r"\A(?![^\n]*=)(?s:.*?)"  # what computes is a step, whatever it says it will do


def _any(*patterns: str, before: str = "") -> re.Pattern[str]:
    return re.compile(before + "(?:" + "|".join(f"(?:{p})" for p in patterns) + ")", re.IGNORECASE)


_FIND = r"(?:find|calculate|determine|compute|figure out|know|solve|work out|count)"
PHRASES: tuple[tuple[Tag, re.Pattern[str]], ...] = (
    (
        Tag.BACKTRACK,
        _any(
            _OPENING + r"wait\b(?!\s+(?:for|until|till|in|on|at|\d|times?\b))",
            _OPENING + r"(?:actually|oops|whoops|hold on|correction|scratch that|on second thought)\b",
            r"\b(?:that|this|it)(?:(?:['’]s| is| was) not| isn['’]t| wasn['’]t| can['’]?t be) (?:right|correct)\b",
            r"\b(?:that|this|it)(?:['’]s| is| was| must be) (?:wrong|incorrect|a mistake|an error)\b",
            r"\b(?:i|we) (?:made|have made|must have made) (?:a|an|some) (?:mistake|error)",
            r"\b(?:let me|let['’]?s|we|i) (?:will |should |must |can )?(?:go|step) back (?:to|and)\b",
            r"\blet(?: me|['’]?s) (?:redo|correct|fix|start over|start again|try again|reconsider|rethink)\b",
            r"\bstart(?:ing)? over\b",
            r"\bi (?:was wrong|misread|misunderstood|forgot|apologi[sz]e)",
        ),
    ),
    (
        Tag.VERIFY,
        _any(
            rf"\b{_WE} (?:also )?(?:double[- ]?check|check|verify|confirm|make sure)\b(?!-)",
            r"\A\W*(?:checking|verification|to (?:(?:double[- ]?)?check|verify|confirm))\b",
            r"\A\W*check(?:(?= (?:that|this|the|our)\b)|:)",
            r"\b(?:double|sanity)[- ]check",
            r"\b(?:does|do) (?:this|that|it|these) make sense\b",
            r"\bis (?:this|that|it) (?:right|correct|reasonable)\?",
            r"\b(?:indeed|we see that|which) (?:satisf(?:y|ies)|works)\b",
        ),
    ),
    (
        Tag.EXPLORE,
        _any(
            r"\balternatively\b",
            r"\b(?:another|a different|an alternative|a second) (?:way|approach|method|possibility|idea|solution)\b",
            rf"\b{_WE} (?:also |just |start by )?try\b|\bstart by trying\b|\Wtrying (?!to\b)",
            r"\A\W*(?:what if|maybe we|maybe i|perhaps we|perhaps i)\b",
            r"\binstead,? (?:let|we could|i could|consider|suppose)\b",
        ),
    ),
    (
        Tag.PLAN,
        _any(
            rf"\b(?:we|i) (?:first |now |also |then )?(?:need|want|wish|have|must|should) (?:first )?(?:to )?{_FIND}\b",
            rf"\blet(?:['’]?s| us| me) (?:now |first )?(?:start|begin|break|think|work|{_FIND})\b",
            r"\b(?:the|my|our) (?:plan|strategy|idea|goal|approach|first step|next step) (?:is|will be)\b",
            rf"\A(?:\W|Step \d+)*(?:in order )?to {_FIND}\b.{{3,120}}?,? \b(?:we|i|let)\b",
            r"\bwe (?:will|can|['’]ll) (?:first|start|begin)\b|\bfirst,? (?:we|i|let)\b",
            before=_NO_RESULT,
        ),
    ),
    (Tag.ANSWER, _any(r"####", r"\\boxed\b", r"\b(?:final )?answer(?: is\b|:| =)", r"\A\W*A: ")),
)


def by_grammar(text: str) -> list[Segment]:
    """The lines of a scripted trace, each with its exact tag; a blank line belongs to the one before it."""
    return _tagged(text, Segmenter(Kind.LINE).split(text), GRAMMAR, at_start=True)


def by_phrases(text: str) -> list[Segment]:
    """The sentences of any text, tagged by the first kind that has a phrase in them."""
    return _tagged(text, Segmenter(Kind.SENTENCE).split(text), PHRASES, at_start=False)


def _tagged(
    text: str, pieces: Sequence[str], rules: Sequence[tuple[Tag, re.Pattern[str]]], *, at_start: bool
) -> list[Segment]:
    made: list[Segment] = []
    start = at = 0
    for piece in pieces:
        at += len(piece)
        if piece.strip():
            read = piece.lstrip()
            hits = (tag for tag, rule in rules if (rule.match(read) if at_start else rule.search(read)))
            made.append(Segment(start, at, next(hits, Tag.STEP)))
        elif made:  # blank lines end the segment before them; the first ones begin the first segment
            made[-1] = Segment(made[-1].start, at, made[-1].tag)
        else:
            continue
        start = at
    return made


def counted(segments: Sequence[Segment]) -> dict[str, int]:
    """How many segments there are of each kind, those without any left out."""
    found = Counter(s.tag for s in segments)
    return {str(tag): found[tag] for tag in Tag if found[tag]}


__all__ = ["REVISING", "Segment", "Tag", "by_grammar", "by_phrases", "counted"]
