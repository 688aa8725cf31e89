"""Recorded samples as a generator that costs nothing: for voting and scoring again over outputs that somebody saved.

    replay:gsm8k/example_model_solutions.jsonl.gz#source=175b_verification     one of the models of the file
    replay:gsm8k/multi_model_solutions_8.jsonl.gz                              eight samples of a problem
    replay:game24/gpt4_cot_100samples_900_1000.json.gz                         a hundred, problems by row number

A file is JSONL, a JSON array, or a JSON object id -> samples, gzipped or not. A row holds a list of samples (texts, or
objects with a text), or one text; rows of the same problem belong together. Fields are found by their usual names, or
named after ``#``, separated by ``&``: ``id``, ``question``, ``samples``, ``text``, ``tokens``, ``source_field``. Dots
lead into objects (``text=175b_verification.solution``). ``source=NAME`` keeps the samples whose source is NAME, or
takes those in the field NAME.

A samples file of lm-evaluation-harness needs no fields: the sample is ``resps``, the question that of ``doc``; of a
task with several filters only the lines of the first are read, as they repeat the same texts.

A problem is recognised by its question (exact up to white space; where a prompt says more than the question, the
recorded question in it), else by its id, else by the row number in its id; ``match=question|id|row`` allows one way
only. Draw i of a problem is the i-th sample of a permutation fixed by the run's seed: without replacement, and asking
for more than is recorded is an error. Counts of tokens are those of the ``tokens`` field, and unknown without one.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Context, Failure, Finish, Request, Sampling
from thence.core.errors import DataError, ModelError, UsageError
from thence.core.problem import Message, Problem
from thence.core.seeds import derive

ID = ("id", "idx", "problem_id", "question_id", "task_id", "unique_id")
QUESTION = ("question", "problem", "prompt", "query", "instruction", "input")
SAMPLES = ("samples", "solutions", "completions", "generations", "responses", "outputs", "candidates", "ys")
TEXT = ("text", "completion", "response", "output", "generation", "content", "solution")
ROW_TEXT = TEXT[:-1]  # the solution of a whole row is more likely the reference
SOURCE = ("source", "model", "model_name", "generator")
MATCHES = ("", "question", "id", "row")


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a recording to read; an empty one is found by its usual names. See the module's text."""

    id: str = ""
    question: str = ""
    samples: str = ""
    text: str = ""
    tokens: str = ""
    source: str = ""
    source_field: str = ""
    match: str = ""

    def __post_init__(self) -> None:
        if self.match not in MATCHES:
            raise UsageError(f"replay: match is {self.match!r}; it is question, id or row")


@dataclass(frozen=True, slots=True)
class Sample:
    """One recorded text, who wrote it, and how many tokens it had where that is recorded."""

    text: str
    source: str = ""
    tokens: int | None = None


@dataclass(slots=True)
class Recorded:
    """All samples of one problem; ``row`` is the number of its first row."""

    id: str
    question: str
    row: int
    samples: list[Sample] = field(default_factory=list)


class ReplayGenerator:
    """The samples recorded in ``path``, drawn in an order fixed by ``seed``."""

    def __init__(self, path: str | Path, wanted: Fields | None = None, *, seed: int = 0) -> None:
        self._path, self._fields, self._seed = Path(path), wanted or Fields(), seed
        content = _content(self._path)
        self._digest = blake2b(content, digest_size=8).hexdigest()
        self.recorded = _Reader(self._path, self._fields).read(content)
        self._by_question = _index((squeeze(r.question), r) for r in self.recorded if r.question)
        self._by_id = _index((r.id, r) for r in self.recorded if r.id)
        self._by_row = {r.row: r for r in self.recorded}
        self._found: dict[tuple[str, tuple[Message, ...]], Recorded | None] = {}
        self._undrawn: Counter[int] = Counter()
        self._pending = 0

    @classmethod
    def open(cls, spec: str, *, seed: int = 0) -> ReplayGenerator:
        """From ``FILE`` or ``FILE#field=value&…`` as on the command line."""
        path, wanted = parse_recording(spec)
        return cls(path, wanted, seed=seed)

    @property
    def identity(self) -> str:
        """The content of the file and what is read of it, wherever it lies."""
        chosen = "&".join(f"{f.name}={getattr(self._fields, f.name)}" for f in fields(Fields))
        return f"replay:{self._path.name}:{self._digest}#{chosen}"

    @property
    def abilities(self) -> frozenset[Ability]:
        """The same request gives the same sample; nothing else is recorded."""
        return frozenset({Ability.SEEDED})

    @property
    def capacity(self) -> int:
        """It is never full; the number bounds how many problems are open at once."""
        return 1024

    @property
    def pending(self) -> int:
        """Requests being answered."""
        return self._pending

    @property
    def defaults(self) -> Sampling:
        """Not used: the samples are drawn already."""
        return Sampling()

    @property
    def max_context(self) -> int | None:
        """Unknown."""
        return None

    def tokens(self, context: Context) -> tuple[int, ...] | None:
        """None: texts are recorded, not tokens."""
        return None

    def decode(self, ids: Sequence[int]) -> str:
        """There are no ids."""
        raise ModelError("a recording has no token ids to decode; use a local model")

    def describe(self) -> Mapping[str, object]:
        """Header fields."""
        chosen = {f.name: v for f in fields(Fields) if (v := getattr(self._fields, f.name))}
        return {
            "generator": "replay",
            "file": self._path.name,
            "content": self._digest,
            "fields": chosen,
            "exact": True,
        }

    async def close(self) -> None:
        """Nothing to free."""

    def available(self, problem: Problem) -> int:
        """How many samples of ``problem`` are recorded."""
        known = self._find(problem.id, problem.messages)
        return len(known.samples) if known else 0

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        """Yield the recorded samples in order; ``book`` stays as it is, since nothing is spent.

        Raises UsageError when more samples are asked for than are recorded, or a problem is not recorded at all, and
        ModelError for requests that a recording cannot answer.
        """
        self._pending += len(requests)
        try:
            for i, request in enumerate(requests):
                yield i, self._draw(request)
        finally:
            self._pending -= len(requests)

    def _draw(self, request: Request) -> Completion:
        if request.context.reply:
            raise ModelError("the replay generator cannot continue a begun reply; use a local model or a server")
        if request.sampling.first_rank is not None or request.sampling.top2 or request.sampling.logprobs:
            raise ModelError("a recording has no log-probabilities and no branches; use a local model or a server")
        known = self._find(request.problem, request.context.messages)
        if known is None:
            name = request.problem or request.context.messages[-1].content[:60]
            hint = "check that task and recording belong together, or say how they match (#match=, #id=, #question=)"
            raise UsageError(f"{self._path.name} has no samples of problem {name!r}; {hint}")
        draw = request.draw
        if draw is None:  # nobody counts the draws: count them here
            draw = self._undrawn[known.row]
            self._undrawn[known.row] += 1
        if draw >= len(known.samples):
            have = len(known.samples)
            asked = (
                f"{have} sample{'s' * (have != 1)} of problem {known.id or known.row!r}, and {draw + 1} were asked for"
            )
            raise UsageError(f"{self._path.name} holds {asked}; lower n")
        order = list(range(len(known.samples)))
        random.Random(derive(self._seed, "replay", known.id, known.question)).shuffle(order)
        sample = known.samples[order[draw]]
        return Completion.of(sample.text, Finish.EOS, generated=sample.tokens)

    def _find(self, problem_id: str, messages: tuple[Message, ...]) -> Recorded | None:
        key = (problem_id, messages)
        if key not in self._found:
            self._found[key] = self._look_up(problem_id, messages)
        return self._found[key]

    def _look_up(self, problem_id: str, messages: tuple[Message, ...]) -> Recorded | None:
        """By question, else by id, else by row. A recording with questions is not searched by id or row unless told
        to: an id of another order of the same problems would give another problem's samples."""
        match = self._fields.match
        if match == "question" or (match == "" and self._by_question):
            asked = squeeze("\n".join(m.content for m in messages if m.role == "user"))
            if asked in self._by_question:
                return self._by_question[asked]
            inside = [q for q in self._by_question if q in asked]
            return self._by_question[max(inside, key=lambda q: (asked.rfind(q) + len(q), len(q)))] if inside else None
        number = re.search(r"(\d+)$", problem_id)
        if match in ("", "id") and self._by_id:
            return self._by_id.get(problem_id) or (self._by_id.get(number[1]) if number else None)
        return self._by_row.get(int(number[1])) if number and match in ("", "row") else None


class _Reader:
    """Finds problems and samples in the rows of a file."""

    def __init__(self, path: Path, wanted: Fields) -> None:
        self._name, self._wanted = path.name, wanted
        self._lines = path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))
        self._sources: Counter[str] = Counter()

    def read(self, content: bytes) -> list[Recorded]:
        """All recorded problems in the order of the file."""
        problems: dict[str, Recorded] = {}
        seen: list[str] = []
        filters: set[Any] = set()
        for number, (name, row) in enumerate(self._rows(content)):
            if _by_lm_eval(row) and not (self._wanted.samples or self._wanted.text):
                filters = filters or {row.get("filter")}
                if row.get("filter") not in filters:
                    continue
                row = {**row["doc"], "id": str(row["doc_id"]), "samples": row["resps"][0]}
            seen = seen or (sorted(row) if isinstance(row, dict) else [])
            question = self._text_of(row, self._wanted.question, QUESTION)
            question = question if isinstance(question, str) else ""
            found = name or self._text_of(row, self._wanted.id, ID)
            key = found or squeeze(question) or f"row {number}"
            known = problems.setdefault(key, Recorded(found, question, number))
            known.samples += self._samples(row)
        whole = [p for p in problems.values() if p.samples]
        if not whole:
            raise DataError(self._nothing(seen))
        return whole

    def _nothing(self, columns: list[str]) -> str:
        if self._wanted.source and self._sources:
            near = get_close_matches(self._wanted.source, list(self._sources), 3, 0.4) or list(self._sources)[:8]
            return f"{self._name} has no samples of source {self._wanted.source!r}; it has {', '.join(near)}"
        there = f"fields {', '.join(columns[:12])}" if columns else "no fields"
        return (
            f"{self._name} has no samples in the usual fields; rows have {there}; name one: #samples=, #text=, #source="
        )

    def _rows(self, content: bytes) -> Iterator[tuple[str, Any]]:
        """(id if the file maps ids to samples, row)."""
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{self._name} is not UTF-8 text (byte {error.start}); convert it") from None
        data: Any = None
        if not self._lines:
            try:
                data = json.loads(text)
            except (ValueError, RecursionError):
                self._lines = True  # lines of JSON under another name, or not JSON at all: the lines will tell
        if self._lines:
            for number, line in enumerate(text.split("\n"), 1):
                if line.strip():
                    try:
                        yield "", json.loads(line)
                    except (ValueError, RecursionError):
                        raise DataError(
                            f"{self._name} line {number} is not JSON: {line[:60]!r}; mend the line"
                        ) from None
        elif isinstance(data, list):
            yield from (("", row) for row in data)
        elif isinstance(data, dict) and all(isinstance(v, list | dict) for v in data.values()):
            yield from ((str(name), row) for name, row in data.items())
        else:
            raise DataError(f"{self._name} is JSON of another shape; it must be a list of rows or map ids to samples")

    def _samples(self, row: Any) -> list[Sample]:
        """The samples of one row, of the wanted source."""
        wanted = self._wanted
        if isinstance(row, list):
            return self._list(row)
        if not isinstance(row, dict):
            return []
        holder = dig(row, wanted.source) if wanted.source and not wanted.source_field else None
        if wanted.samples:
            given = dig(row, wanted.samples)
            return self._list(given if isinstance(given, list) else [given])
        if holder is not None:
            return self._list(holder if isinstance(holder, list) else [holder], sourced=True)
        if not wanted.text or dig(row, wanted.text) is None:
            for name in SAMPLES:
                if isinstance(row.get(name), list):
                    return self._list(row[name])
        return self._list([row], ROW_TEXT)

    def _list(self, items: list[Any], names: Sequence[str] = TEXT, sourced: bool = False) -> list[Sample]:
        wanted, samples = self._wanted, []
        for item in items:
            text, source, tokens = item, "", None
            if isinstance(item, dict):
                text = self._text_of(item, wanted.text, names, None)
                if text is None and wanted.text and wanted.text.partition(".")[0] in item:
                    text = ""  # recorded as empty: a sample without an answer, not a missing sample
                source = str(self._text_of(item, wanted.source_field, SOURCE))
                count = dig(item, wanted.tokens) if wanted.tokens else None
                tokens = count if isinstance(count, int) and not isinstance(count, bool) else None
                self._sources[source] += bool(source)
            if isinstance(text, str) and (sourced or not wanted.source or source == wanted.source):
                samples.append(Sample(text, source, tokens))
        return samples

    @staticmethod
    def _text_of(row: Any, named: str, usual: Sequence[str], default: Any = "") -> Any:
        """The field ``named``, else the first of the ``usual`` ones that is there; numbers as text."""
        if not isinstance(row, dict):
            return default
        values = [dig(row, named)] if named else [row[name] for name in usual if name in row]
        value = next((v for v in values if v is not None), default)
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _by_lm_eval(row: Any) -> bool:
    """Whether a row is a line of an lm-eval samples file with generated texts."""
    if not isinstance(row, dict) or not {"doc_id", "doc", "resps", "filtered_resps"} <= row.keys():
        return False
    return isinstance(row["doc"], dict) and isinstance(row["resps"], list) and len(row["resps"]) == 1


def dig(row: Mapping[str, Any], path: str) -> Any:
    """The value at ``path``: a field of that name, else fields within fields, by dots; None where there is none."""
    if path in row:
        return row[path]
    head, dot, rest = path.partition(".")
    while dot:
        inner = row.get(head)
        if isinstance(inner, dict):
            return dig(inner, rest)
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


def squeeze(text: str) -> str:
    """``text`` with every run of white space as one blank."""
    return " ".join(text.split())


def parse_recording(spec: str) -> tuple[str, Fields]:
    """``FILE#field=value&…`` as a path and the fields to read."""
    if Path(spec).exists():
        return spec, Fields()
    path, _, options = spec.removeprefix("replay:").rpartition("#") if "#" in spec else (spec, "", "")
    known, chosen = [f.name for f in fields(Fields)], {}
    for part in filter(None, options.split("&")):
        name, equals, value = part.partition("=")
        name = name.replace("-", "_")
        if name not in known or not equals:
            raise UsageError(f"replay: {part!r} is not one of {', '.join(f'{k}=' for k in known)}")
        chosen[name] = unquote(value)
    return path.removeprefix("replay:"), Fields(**chosen)


def _content(path: Path) -> bytes:
    """The file's bytes, unpacked if they are gzipped (whatever the name says)."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}; check the path after replay:") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _index(pairs: Iterator[tuple[str, Recorded]] | Any) -> dict[str, Recorded]:
    """First come, first served: the same question under two ids stays the first one's."""
    index: dict[str, Recorded] = {}
    for key, recorded in pairs:
        index.setdefault(key, recorded)
    return index


__all__ = ["Fields", "ReplayGenerator", "parse_recording"]
