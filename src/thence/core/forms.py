"""Formats in which a solution is asked for: its steps and its answer, apart.

| form | what a reply has to be |
|---|---|
| json | one object ``{"steps": ["…", …], "answer": "…"}`` and nothing else; a code fence around it is allowed |
| tags | ``<step>…</step>`` once or more, then ``<answer>…</answer>``; text outside the tags is ignored |

What is in its format becomes a plain solution, one line for each step and ``#### answer`` at the end, so that readings,
verifiers, judges and labels see the steps that were meant and need to know no format. Anything else is left as it was
written, has no answer, and says why: the steps before a missing answer, a field that is there twice, nesting, a number
of steps that is 0, and a reply that was cut. A reply is data: JSON is read by ``json.loads``, tags are searched for.

Not covered: the text of a step keeps its words and loses its line breaks, which would begin another step.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NoReturn

from .completion import Completion, Finish
from .segmenter import Segmenter

MOST = 200_000  # characters of a reply that is read
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": {"type": "string"}}, "answer": {"type": "string"}},
        "required": ["steps", "answer"],
        "additionalProperties": False,
    }
)
CUT = "cut before its end"
NO_OBJECT = "no JSON object"
FIELDS = "not the fields steps and answer, once each and in this order"
NO_STEP = "no step"
NO_ANSWER = "no answer"
TAGS_WRONG = "tags that do not pair"
TOO_LONG = "too long"
MARK = "####"

_FENCE = re.compile(r"```(?:json)?[ \t]*\n", re.IGNORECASE)
_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*', re.DOTALL)  # of a JSON text that is valid
_TAG = re.compile(r"<(/?)(step|answer)>")


def begins_in_schema(reply: str) -> bool:
    """Whether a reply, however early it was cut, begins as ``SCHEMA`` demands."""
    return re.match(r'\s*\{\s*"steps"\s*:\s*\[', reply) is not None


class Form(StrEnum):
    """How steps and answer are told apart."""

    JSON = "json"
    TAGS = "tags"

    @property
    def instruction(self) -> str:
        """What asks for it; it stands after every other instruction."""
        if self is Form.JSON:
            return (
                'Reply with one JSON object and nothing else: {"steps": ["…", "…"], "answer": "…"}. Put each reasoning '
                "step into an entry of steps, in order, and the final answer alone into answer. This replaces any "
                "other format asked for above."
            )
        return (
            "Write each reasoning step between <step> and </step>, in order, and then the final answer alone between "
            "<answer> and </answer>. This replaces any other format asked for above."
        )

    @property
    def schema(self) -> str | None:
        """The JSON schema by which a server guides decoding."""
        return SCHEMA if self is Form.JSON else None

    def write(self, solution: str) -> str:
        """A plain solution in this format, for exemplars; as it is where it has no step or no ``####`` answer."""
        cut = Segmenter().steps(solution)
        steps = [step.strip() for step in cut.steps if step.strip()]
        answer = cut.answer.strip().lstrip("#").strip()
        if not steps or not answer:
            return solution
        if self is Form.JSON:
            return json.dumps({"steps": steps, "answer": answer}, ensure_ascii=False)
        return "\n".join([*(f"<step>{step}</step>" for step in steps), f"<answer>{answer}</answer>"])

    def read(self, made: Completion) -> Formed:
        """``made`` as a plain solution; its thought stays before it."""
        if made.finish in (Finish.LENGTH, Finish.BUDGET):
            return Formed(made, CUT)
        if len(made.reply) > MOST:
            return Formed(made, TOO_LONG)
        try:
            parts = _json_parts(made.reply) if self is Form.JSON else _tag_parts(made.reply)
        except _Malformed as error:
            return Formed(made, str(error))
        return _plain(made, parts)


@dataclass(frozen=True, slots=True)
class Formed:
    """A completion that was asked for in a format, and why it is not in it (``malformed``, empty where it is).

    ``answer_at`` is where the answer's line begins in the completion's text.
    """

    completion: Completion
    malformed: str = ""
    answer_at: int = 0


class _Malformed(ValueError):
    """Why a reply is not in its format."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The text of a step or of the answer, and the characters of the reply that it was written in."""

    text: str
    start: int
    end: int


class _Fields(list[tuple[str, object]]):
    """The fields of a JSON object, with those that are there twice."""


def _json_parts(reply: str) -> list[_Part]:
    """The steps and, last, the answer of a JSON reply."""
    at, text = _unfenced(reply)
    try:
        found = json.loads(text, object_pairs_hook=_Fields, parse_int=str, parse_float=str, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _Malformed(NO_OBJECT) from None
    if not isinstance(found, _Fields):
        raise _Malformed(NO_OBJECT)
    if [name for name, _ in found] != ["steps", "answer"]:
        raise _Malformed(FIELDS)
    (_, steps), (_, answer) = found
    if not isinstance(answer, str) or not isinstance(steps, list) or not all(isinstance(s, str) for s in steps):
        raise _Malformed(FIELDS)
    spans = [m.span() for m in _SCALAR.finditer(text)]  # "steps", its entries, "answer", its value
    values = [*steps, answer]
    placed = [*spans[1:-2], spans[-1]]
    quoted = [(a + 1, b - 1) if text[a] == '"' else (a, b) for a, b in placed]
    return _checked([_trimmed(v, at + a, at + b) for v, (a, b) in zip(values, quoted, strict=True)])


def _unfenced(reply: str) -> tuple[int, str]:
    """Where the JSON begins in a reply, and its text: without a code fence around it."""
    at, text = len(reply) - len(reply.lstrip()), reply.strip()
    opened = _FENCE.match(text)
    if opened is None or not text.endswith("```"):
        return at, text
    return at + opened.end(), text[opened.end() : -3]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _tag_parts(reply: str) -> list[_Part]:
    """The steps and, last, the answer of a reply in tags."""
    tags = list(_TAG.finditer(reply))
    if not tags:
        raise _Malformed("no tags")
    pairs = list(zip(tags[::2], tags[1::2], strict=False))
    names = [opened[2] for opened, _ in pairs]
    if len(tags) % 2 or any(a[1] or not b[1] or a[2] != b[2] for a, b in pairs):
        raise _Malformed(TAGS_WRONG)
    if "answer" not in names:
        raise _Malformed(NO_ANSWER)
    if names.index("answer") != len(names) - 1:
        raise _Malformed("something after the answer")
    return _checked([_trimmed(reply[a.end() : b.start()], a.end(), b.start()) for a, b in pairs])


def _trimmed(text: str, start: int, end: int) -> _Part:
    """A part without the blanks around it; where it was written with escapes, they count as one character each."""
    head, tail = len(text) - len(text.lstrip()), len(text) - len(text.rstrip())
    return _Part(text.strip(), start + head, max(start + head, end - tail))


def _checked(parts: Sequence[_Part]) -> list[_Part]:
    steps = [part for part in parts[:-1] if part.text]
    if not steps:
        raise _Malformed(NO_STEP)
    if not parts[-1].text.strip("# "):
        raise _Malformed(NO_ANSWER)
    return [*steps, parts[-1]]


def _plain(made: Completion, parts: Sequence[_Part]) -> Formed:
    """The solution as plain text. Tokens keep their places: one that ends within a step or the answer ends at the same
    character of it, one between two of them at the beginning of the second."""
    text = made.text[: made.reply_at]
    from_, to, sizes = list[int](), list[int](), list[tuple[int, int]]()
    answer_at = 0
    for part in parts:
        is_answer = part is parts[-1]
        said = part.text if is_answer else " ".join(line.strip() for line in part.text.splitlines())
        answer_at = len(text)
        if is_answer and not said.startswith(MARK):
            text += MARK + ("\n" if "\n" in said else " ")
        from_.append(made.reply_at + part.start)
        to.append(len(text))
        sizes.append((part.end - part.start, len(said)))
        text += said if is_answer else said + "\n"
    moved: tuple[int, ...] | None = None
    if made.ends is not None:
        moved = tuple(_moved(end, from_, to, sizes, made.reply_at, len(text)) for end in made.ends)
    reply = text[made.reply_at :]
    return Formed(replace(made, text=text, reply=reply, ends=moved), "", answer_at)


def _moved(
    end: int, from_: Sequence[int], to: Sequence[int], sizes: Sequence[tuple[int, int]], reply_at: int, whole: int
) -> int:
    if end <= reply_at:
        return end
    at = bisect_right(from_, end) - 1
    if at < 0:
        return to[0]
    written, said = sizes[at]
    inside = end - from_[at]
    if inside < written:
        return to[at] + (inside if written == said else inside * said // written)
    if at + 1 == len(from_):
        return whole
    return to[at] + said if inside == written else to[at + 1]


__all__ = ["CUT", "SCHEMA", "Form", "Formed", "begins_in_schema"]
