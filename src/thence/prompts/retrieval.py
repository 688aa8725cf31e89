"""Retrieval: solved problems or passages of a collection, put before the question.

A collection of *solved problems* is searched by structure: numbers, names and counted things are masked, and runs of
one to three of the words are matched by BM25 (Robertson & Zaragoza 2009, in the variant of the library bm25s). Two
questions of the same story with other operations then lie further apart than two of the same operations in other
stories.
*Passages* are searched by their words, names included, without numbers of one to three digits: the counts of a
question say nothing about what it needs, and being rare they would weigh most. Longer ones (years, numbers of articles)
are kept.

    score(q, d) = sum over terms t of q: idf(t) tf(t, d) / (tf(t, d) + k1 (1 - b + b |d| / mean |d|)), k1 = 1.5, b = .75

Near-duplicates of the question are left out and counted, because they may hold its very answer. One is what has

* at least 8 of 10 of the question's runs of three words, as they stand (also inside a longer text), or
* the same numbers, and at least 8 of 10 of those runs once names and things are masked: the same problem retold.

``control=random`` shows as many others from the same collection, drawn by the question's hash. What relevance gives is
the difference to that arm, and what any exemplar gives the difference from there to the plain prompt.

Text from a collection is data that the model reads: a collection that somebody else wrote can steer it.
"""

from __future__ import annotations

import importlib.util
import inspect
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, Literal, Protocol

from thence.core.clean import one_line
from thence.core.completion import Ability, Context
from thence.core.errors import UsageError, check_counts
from thence.core.forms import Form
from thence.core.problem import Message, Problem
from thence.core.protocols import AsksFirst, Followup, Formats, PromptStyle
from thence.core.seeds import derive, digest

from .styles import choices

RUN = 3  # words
NEAR = 0.8
_FEW = "zero two three four five six seven eight nine ten eleven twelve"  # "one" is mostly a pronoun
_OPENERS = (
    "a after all an and as at before but by each every find for from he her his how i if in is it its let my of on "
    "she some suppose that the their then there these they this to today was we what when where which who why with you"
)
_NO_THING = "are does do has have is of or percent than times was were will"
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?|[^\w\s]")
_COUNT = re.compile(r"\d{1,3}(?:[.,]\d{1,2})?")
NUMBER, NAME, THING = MASKS = ("<n>", "<name>", "<thing>")
FEW, OPENERS = frozenset(_FEW.split()), frozenset(_OPENERS.split())
COUNTED = frozenset(("more", "fewer", "less", "many"))
NO_THING = COUNTED | frozenset(_NO_THING.split())
_ENDS = frozenset(".!?:")
PUNCTUATION = frozenset(".,;:!?()[]{}\"'’“”`$")


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with its source; with a ``solution`` it is the question of a solved problem."""

    source: str
    text: str
    solution: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage and how well it matches; None where nobody measured it."""

    passage: Passage
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What was found for a question, the best first, and the sources of its near-duplicates, which were left out."""

    hits: tuple[Hit, ...] = ()
    duplicates: tuple[str, ...] = ()


class Retriever(Protocol):
    """Finds passages. ``data_hash`` stands in the run's header; ``skipped`` says what of the source was not read."""

    @property
    def label(self) -> str: ...
    @property
    def data_hash(self) -> str: ...
    @property
    def skipped(self) -> Sequence[str]: ...
    def find(self, question: str, k: int) -> Retrieved: ...
    def others(self, question: str, k: int, seed: int) -> Retrieved:
        """As many as ``find`` gives, drawn at random."""
        ...


# --- words and structure ----------------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """Words, numbers and signs as they stand, without punctuation."""
    return [w for w in _WORD.findall(text) if w not in PUNCTUATION]


def numbers(text: str) -> list[str]:
    """The numbers of a text, sorted."""
    return sorted(w.replace(",", "").rstrip(".") for w in _WORD.findall(text) if w[0].isdigit())


def masked(text: str, known: Collection[str] = OPENERS, *, counts: bool = True) -> list[str]:
    """The structure of a problem: lower-case words with names as ``<name>``, counted things as ``<thing>`` and, with
    ``counts``, numbers as ``<n>``.

    A name is a capitalised word that is not at the beginning of a sentence, or that is there and whose lower-case form
    is not among the ``known`` words. A thing is a word that stands after a number, or after more, fewer, less or many;
    it is masked wherever it stands.
    """
    found = [w for w in _WORD.findall(text) if w not in PUNCTUATION or w in _ENDS]
    low = [w.lower() for w in found]
    things = {w for before, w in pairwise(low) if (before in COUNTED or _is_number(before)) and _is_thing(w)}
    made: list[str] = []
    for before, word, small in zip((".", *found), found, low, strict=False):
        if word in _ENDS:
            continue
        if _is_number(small):
            made.append(NUMBER if counts else small)
        elif word[0].isupper() and small != "i" and (before not in _ENDS or small not in known):
            made.append(NAME)
        else:
            made.append(THING if small in things else small)
    return made


def _is_number(word: str) -> bool:
    return word[0].isdigit() or word in FEW


def _is_thing(word: str) -> bool:
    return word.isalpha() and word not in OPENERS and word not in NO_THING and not _is_number(word)


def runs(tokens: Sequence[str], longest: int = RUN, shortest: int = 1) -> list[str]:
    """All runs of ``shortest`` to ``longest`` tokens, joined by blanks."""
    return [" ".join(tokens[i : i + n]) for n in range(shortest, longest + 1) for i in range(len(tokens) - n + 1)]


def covered(question: Sequence[str], text: Sequence[str]) -> float:
    """The share of the question's runs of three tokens that ``text`` has; of single tokens in a shorter question."""
    n = RUN if len(question) >= RUN else 1
    wanted = set(runs(question, n, n))
    return len(wanted & set(runs(text, n, n))) / len(wanted) if wanted else 0.0


def near_duplicate(question: str, text: str, known: Collection[str] = OPENERS) -> bool:
    """Whether ``text`` is, or holds, the question or the same problem retold (see the module's text)."""
    mine, theirs = ([w.lower() for w in words(t)] for t in (question, text))
    if covered(mine, theirs) >= NEAR:
        return True
    if not (own := numbers(question)) or own != numbers(text):
        return False
    mine, theirs = (masked(t, known, counts=False) for t in (question, text))
    return covered(mine, theirs) >= NEAR


# --- collections ------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Shelf:
    """Passages in memory with their BM25 index; UsageError without the library bm25s."""

    label: str
    passages: Sequence[Passage]
    skipped: Sequence[str] = ()
    _found: dict[tuple[str, int], Retrieved] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if importlib.util.find_spec("bm25s") is None:
            raise UsageError('retrieval needs the library bm25s: pip install "thence[retrieve]"')
        if not self.passages:
            raise UsageError(f"retrieval: {self.label} holds nothing; give solved problems or passages")

    @cached_property
    def solved(self) -> bool:
        """Whether all of it is solved problems, which are matched by structure."""
        return all(p.solution for p in self.passages)

    @cached_property
    def data_hash(self) -> str:
        """Of all texts and solutions in order; where they lie does not matter."""
        return digest([(p.text, p.solution) for p in self.passages])

    @cached_property
    def _known(self) -> frozenset[str]:
        """Words that the collection has in lower case: at the beginning of a sentence they are no names."""
        seen = (w for p in self.passages for w in _WORD.findall(p.text))
        return OPENERS | {w for w in seen if w[0].islower()}

    def terms(self, text: str) -> list[str]:
        """What is matched: runs of masked words (no mask alone) for solved problems, else the words."""
        if not self.solved:
            return [w.lower() for w in words(text) if not _COUNT.fullmatch(w)]
        return [run for run in runs(masked(text, self._known)) if run not in MASKS]

    @cached_property
    def _index(self) -> Any:
        import bm25s

        index = bm25s.BM25(k1=1.5, b=0.75)
        index.index([self.terms(p.text) for p in self.passages], show_progress=False)
        return index

    def _scores(self, question: str) -> list[float]:
        vocabulary = self._index.vocab_dict
        terms = [t for t in self.terms(question) if t in vocabulary]
        return [float(s) for s in self._index.get_scores(terms)] if terms else [0.0] * len(self.passages)

    def _duplicate(self, question: str, passage: Passage) -> bool:
        return near_duplicate(question, passage.text, self._known)

    def find(self, question: str, k: int) -> Retrieved:
        """The ``k`` best that share a term with the question, ties in the collection's order; no near-duplicates."""
        if (question, k) not in self._found:
            scores = self._scores(question)
            hits: list[Hit] = []
            left_out: list[str] = []
            for at in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
                if scores[at] <= 0 or len(hits) == k:
                    break
                passage = self.passages[at]
                if self._duplicate(question, passage):
                    left_out.append(passage.source)
                else:
                    hits.append(Hit(passage, scores[at]))
            self._found[question, k] = Retrieved(tuple(hits), tuple(left_out))
        return self._found[question, k]

    def others(self, question: str, k: int, seed: int) -> Retrieved:
        """The control: as many as ``find`` gives for ``k``, at random from the rest of the collection."""
        wanted, left_out = len(self.find(question, k).hits), []
        shown = {hit.passage.source for hit in self.find(question, k).hits}
        hits: list[Hit] = []
        order = list(range(len(self.passages)))
        random.Random(seed).shuffle(order)
        for passage in (self.passages[i] for i in order):
            if len(hits) == wanted:
                break
            if passage.source in shown:
                continue
            if self._duplicate(question, passage):
                left_out.append(passage.source)
            else:
                hits.append(Hit(passage))
        return Retrieved(tuple(hits), tuple(left_out))


@dataclass(eq=False)
class Asked:
    """A user's own retriever ``function(question, k)``: it returns texts, or mappings with ``text`` (or ``question``),
    and optionally ``solution``, ``source`` and ``score``, the best first. It runs in this process, once per question.

    The hash is that of the function's module: what lies behind it, an index or a server, is not seen.
    """

    label: str
    function: Callable[[str, int], Any]
    skipped: Sequence[str] = ()
    _found: dict[tuple[str, int], Retrieved] = field(default_factory=dict, repr=False)

    @cached_property
    def data_hash(self) -> str:
        """Of the source text of the function's module, or of its name where there is none."""
        try:
            return digest(inspect.getsource(inspect.getmodule(self.function) or self.function))
        except (OSError, TypeError):
            return digest(self.label)

    def find(self, question: str, k: int) -> Retrieved:
        """What the function returns, at most ``k`` that are no near-duplicates; UsageError if it fails."""
        if (question, k) not in self._found:
            try:
                given = [self._hit(i, row) for i, row in enumerate(self.function(question, k), 1)]
            except Exception as error:
                said = one_line(f"{type(error).__name__}: {error}", 200)
                raise UsageError(
                    f"the retriever {self.label} failed ({said}); it takes (question, k) and returns a list of texts "
                    'or of {"text": …, "solution": …, "source": …}'
                ) from error
            near = [near_duplicate(question, hit.passage.text) for hit in given]
            kept = tuple(hit for hit, same in zip(given, near, strict=True) if not same)[:k]
            left_out = tuple(hit.passage.source for hit, same in zip(given, near, strict=True) if same)
            self._found[question, k] = Retrieved(kept, left_out)
        return self._found[question, k]

    def _hit(self, number: int, row: Any) -> Hit:
        source = f"{self.label} no. {number}"
        if isinstance(row, str):
            return Hit(Passage(source, row))
        if not isinstance(row, Mapping):
            raise TypeError(f"entry {number} is {type(row).__name__}")
        text = row["question"] if "question" in row else row["text"]
        score = row.get("score")
        passage = Passage(str(row.get("source", source)), str(text), str(row.get("solution") or ""))
        return Hit(passage, None if score is None else float(score))

    def others(self, question: str, k: int, seed: int) -> Retrieved:
        """A function holds no collection to draw from."""
        raise UsageError(f"control=random needs a file or a folder; {self.label} is a function")


# --- the style --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Retrieve:
    """What was found goes before the question, which ``style`` then puts as it always does.

    Solved problems become earlier turns of the chat, the best one last; passages stand above the question. Where
    nothing is found the prompt is the plain one. The notes of a result cite the sources.
    """

    collection: Retriever
    style: PromptStyle
    k: int = 3
    control: Literal["none", "random"] = "none"

    name = "retrieve"

    def __post_init__(self) -> None:
        check_counts("retrieve", k=self.k)
        if isinstance(self.style, AsksFirst):
            raise UsageError(f"retrieve: {self.style.name} asks the model twice; take another style")
        if self.control == "random" and isinstance(self.collection, Asked):
            self.collection.others("", self.k, 0)

    @property
    def data_hash(self) -> str:
        """Of the collection: the run's header holds it."""
        return self.collection.data_hash

    @property
    def needs(self) -> frozenset[Ability]:
        """What the inner style needs."""
        return self.style.needs

    @property
    def stop(self) -> tuple[str, ...]:
        """The inner style's stop strings."""
        return self.style.stop

    @property
    def cap(self) -> int | None:
        """The inner style's cap."""
        return self.style.cap

    @property
    def followup(self) -> Followup | None:
        """The inner style's second call."""
        return self.style.followup

    @property
    def form(self) -> Form | None:
        """The inner style's format, in which solved problems are shown, too."""
        return self.style.form if isinstance(self.style, Formats) else None

    @property
    def wishes(self) -> frozenset[Ability]:
        """What decides the inner style's format."""
        return self.style.wishes if isinstance(self.style, Formats) else frozenset()

    def decided(self, abilities: frozenset[Ability]) -> Retrieve:
        """With the inner style's format decided."""
        if not isinstance(self.style, Formats):
            return self
        return replace(self, style=self.style.decided(abilities))

    def found(self, problem: Problem) -> Retrieved:
        """What is shown for a problem: the same in every run and for every strategy."""
        if self.control == "random":
            return self.collection.others(problem.text, self.k, derive("retrieve", problem.hash))
        return self.collection.find(problem.text, self.k)

    def context(self, problem: Problem) -> Context:
        """What was found, then the inner style's prompt."""
        inner = self.style.context(problem)
        return Context(_before(inner.messages, self._shown(problem)), inner.reply)

    def _shown(self, problem: Problem) -> list[Hit]:
        """What was found, the best last; solutions in the format that is asked for."""
        hits, form = list(self.found(problem).hits[::-1]), self.form
        if form is None:
            return hits
        return [replace(h, passage=replace(h.passage, solution=form.write(h.passage.solution))) for h in hits]

    def variants(self, problem: Problem, m: int) -> list[tuple[Message, ...]]:
        """At most ``m`` prompts with what was found in different orders, the style's own first."""
        inner, hits = self.style.context(problem), self._shown(problem)
        return [_before(inner.messages, order) for order in choices(hits, len(hits), m)]

    def notes(self, problem: Problem) -> tuple[str, ...]:
        """Sources with their scores, and how many near-duplicates were left out."""
        found = self.found(problem)
        drawn = "drawn at random" if self.control == "random" else "retrieved"
        cited = [one_line(h.passage.source, 200) + ("" if h.score is None else f" ({h.score:.1f})") for h in found.hits]
        said = (
            f"{drawn}: {'; '.join(cited)}" if cited else f"{drawn}: nothing found in {one_line(self.collection.label)}"
        )
        if not found.duplicates:
            return (said,)
        count = len(found.duplicates)
        return (said, f"left out as near-duplicate{'s' * (count > 1)} of the question: {count}")


def above(texts: Sequence[str], question: str) -> str:
    """Numbered passages above the question."""
    shown = "\n\n".join(f"[{i}] {text}" for i, text in enumerate(texts, 1))
    return f"These passages may help:\n{shown}\n\n{question}"


def _before(messages: Sequence[Message], hits: Sequence[Hit]) -> tuple[Message, ...]:
    """``messages`` with solved problems as turns after the system text, and passages above the last question."""
    solved = [h.passage for h in hits if h.passage.solution]
    texts = [h.passage.text.strip() for h in hits if not h.passage.solution]
    turns = chain.from_iterable((Message("user", p.text), Message("assistant", p.solution)) for p in solved)
    head = [m for m in messages if m.role == "system"]
    rest = [m for m in messages if m.role != "system"]
    if texts:
        last = max(i for i, m in enumerate(rest) if m.role == "user")
        rest[last] = Message("user", above(texts, rest[last].content))
    return (*head, *turns, *rest)
