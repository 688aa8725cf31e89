"""The few interfaces everything is plugged together with."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .answers import Grade, Reading
from .budget import Spent
from .completion import Ability, Completion, Context, Failure, Request, Sampling, Think, TokenLogprobs
from .forms import Form
from .problem import Message, Problem


@runtime_checkable
class Generator(Protocol):
    """Continues text.

    ``identity`` names everything that makes its samples differ from another's (weights, dtype, device kind, engine;
    for a server its URL without credentials and the served name). ``capacity`` is how many requests fill it and
    ``pending`` how many it has now, so that the runner can keep it full. ``defaults`` are the model's own sampling
    defaults, used where the user gives none. ``max_context`` counts prompt and completion together.
    """

    @property
    def identity(self) -> str: ...
    @property
    def abilities(self) -> frozenset[Ability]: ...
    @property
    def capacity(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def defaults(self) -> Sampling: ...
    @property
    def max_context(self) -> int | None: ...

    def tokens(self, context: Context) -> tuple[int, ...] | None:
        """The rendered token ids of ``context``; None where only the server knows them."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of completion ids (needs TOKEN_IDS)."""
        ...

    def run(self, requests: Sequence[Request], book: Spent) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        """Yield (index, outcome) in order of arrival; closing the generator cancels what still runs.

        Adds what it spends to ``book`` while it works, cancelled work included. A request that fails ends alone.
        """
        ...

    def describe(self) -> Mapping[str, object]:
        """What a run file's header should say of this generator (dtype, device, exactness, versions)."""
        ...

    async def close(self) -> None:
        """Free connections, threads and memory."""
        ...


@runtime_checkable
class Connects(Protocol):
    """A generator that learns what it can do by asking."""

    async def connect(self, needs: frozenset[Ability]) -> None: ...


@runtime_checkable
class Thinks(Protocol):
    """A generator that can turn its model's thinking on and off, as ``Context.thinking`` says, and limit it
    (``Sampling.thought_limit``), once it has learned how."""

    async def learn_thinking(self, think: Think, limit: int | None = None) -> bool:
        """Find out how this is done here; whether the end of a long thought is forced by thence.

        Costs a few small calls where a server has to be asked, once. UsageError where none of the known ways works.
        """
        ...


@runtime_checkable
class Deals(Protocol):
    """A policy of several models: it draws nothing itself, it says whose turn it is.

    ``members`` are its models by role (each begins with ``POOL``); each has books of its own. Draw ``ordinal`` of the
    pool is made by the role that ``deal`` names; the number beside it counts that model's own draws. ``weights`` are
    what a sample of each counts on a problem (by its hash) in a vote weighted by skill; UsageError where none was
    measured. A model that is gone for good answers with failures of kind ``LOST``, and the search goes on without its
    draws.
    """

    @property
    def members(self) -> Mapping[str, Generator]: ...
    def deal(self, ordinal: int) -> tuple[str, int]: ...
    def weights(self, problem: str) -> Mapping[str, float]: ...


LOST = "model lost"


@runtime_checkable
class CountsWaste(Protocol):
    """A generator with counters of its own, which it keeps equal to the books: only the search knows that a finished
    sample was not consumed."""

    def waste(self, tokens: int) -> None: ...


@runtime_checkable
class KeepsStates(Protocol):
    """A generator that keeps what it computed for a text in case the text is continued: only the search knows when it
    will not be."""

    def release(self, messages: tuple[Message, ...]) -> None:
        """Nobody will go on with the replies to this prompt. If somebody does, that costs time and changes nothing."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Optional ability SCORE_TEXT: log-probabilities of given text."""

    async def logprobs(
        self, contexts: Sequence[Context], continuations: Sequence[str], book: Spent
    ) -> list[TokenLogprobs]: ...


@dataclass(frozen=True, slots=True)
class Followup:
    """A second turn that reads the answer out of a solution: forced text, then a few greedy tokens.

    ``only_cut``: only where the solution was cut by its token cap; otherwise its own text is read.
    """

    text: str
    max_tokens: int = 32
    stop: tuple[str, ...] = ("\n",)
    only_cut: bool = False


class PromptStyle(Protocol):
    """How a problem is put to a model; orthogonal to strategies.

    ``stop`` are stop strings of its own, ``cap`` an upper bound of tokens per sample (hard-capped drafts), ``followup``
    an extraction turn.
    """

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> frozenset[Ability]: ...
    @property
    def stop(self) -> tuple[str, ...]: ...
    @property
    def cap(self) -> int | None: ...
    @property
    def followup(self) -> Followup | None: ...

    def context(self, problem: Problem) -> Context: ...


@runtime_checkable
class AsksFirst(Protocol):
    """A prompt style of two calls: the model's greedy reply to ``first``, at most ``first_tokens`` long, goes into the
    prompt under which all samples of a problem are drawn."""

    @property
    def first_tokens(self) -> int: ...
    def first(self, problem: Problem) -> tuple[Message, ...]: ...
    def informed(self, problem: Problem, told: str) -> Context: ...


@runtime_checkable
class Cites(Protocol):
    """A prompt style that says in a result's notes what it put before a problem, and where that comes from."""

    def notes(self, problem: Problem) -> tuple[str, ...]: ...


@runtime_checkable
class Formats(Protocol):
    """A prompt style that may ask for whole solutions in a format: ``form`` is None where it asks for none.

    ``wishes`` are abilities that decide which format it is, and ``decided`` is the style for a model with these: a run
    decides once, before its first draw.
    """

    @property
    def form(self) -> Form | None: ...
    @property
    def wishes(self) -> frozenset[Ability]: ...
    def decided(self, abilities: frozenset[Ability]) -> PromptStyle: ...


class Task(Protocol):
    """A set of problems with default prompt, answer reading and references; the only home of references."""

    name: str

    @property
    def spec(self) -> str:
        """The task with all its arguments, as it is written on the command line."""
        ...

    @property
    def default_prompt(self) -> str: ...
    @property
    def reading(self) -> Reading: ...
    @property
    def has_references(self) -> bool: ...

    def problems(self) -> Sequence[Problem]: ...
    def grade(self, problem: Problem, reply: str, answer: str | None) -> Grade:
        """Grade the chosen answer (extracted from ``reply`` by the reading) against the problem's reference."""
        ...

    def check_references(self) -> list[tuple[str, str]]:
        """(problem id, reason) of references that do not grade themselves as correct."""
        ...


@runtime_checkable
class NamesReferences(Protocol):
    """A task that can show a problem's reference: for grading again with another grader, and for other tools' files.
    No strategy ever holds a task."""

    def reference(self, problem: Problem) -> str | None:
        """The reference as the task's file has it; None where a problem has none."""
        ...


class SamplePool(Protocol):
    """Finished samples by identity: what is in it is never paid for twice."""

    def get(self, key: str) -> Completion | None: ...
    def put(self, key: str, problem: str, completion: Completion) -> None: ...


def missing(needs: Iterable[Ability], abilities: frozenset[Ability]) -> list[str]:
    """Names of needed abilities that are not there, sorted."""
    return sorted(str(a) for a in set(needs) - abilities)
