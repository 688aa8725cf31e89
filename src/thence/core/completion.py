"""What a model reads and writes: contexts, requests, completions.

Token-in, token-out: a context keeps the token ids of what was sampled, so that continuing a text never depends on
re-tokenising it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from .errors import UsageError
from .problem import Message


class Finish(StrEnum):
    """Why a completion ended."""

    EOS = "eos"  # the model ended its text
    STOP = "stop"  # a stop string was met
    STEP = "step"  # the end of a step was met, and is part of the text: more may follow
    LENGTH = "length"  # the token cap or the context was full
    BUDGET = "budget"  # the problem's budget was; a completion cut so casts no vote


class Origin(StrEnum):
    """Where a piece of text comes from."""

    SAMPLED = "sampled"
    FORCED = "forced"  # put there by a method: on the ledger, without log-probability, masked in training
    GIVEN = "given"  # part of the question


class Ability(StrEnum):
    """What a generator may be able to do beyond continuing a text."""

    SEEDED = "seeded"  # the same request gives the same tokens
    LOGPROBS = "logprobs"  # log-probabilities of sampled tokens, untempered
    TOP2 = "top2"  # the two best log-probabilities at every position
    FIRST_TOKEN = "first-token"  # force the first token to be the r-th most likely
    CONTINUE = "continue"  # continue a begun reply
    TOKEN_IDS = "token-ids"  # ids of prompt and completion
    SCORE_TEXT = "score-text"  # log-probabilities of given text
    VALUES = "values"  # a number per sampled token, by a head on the model's own states
    THOUGHT_LIMIT = "thought-limit"  # close a thought after so many tokens by a switch of the server's own
    JSON_SCHEMA = "json-schema"  # guide decoding by a JSON schema


class Think(StrEnum):
    """Whether a model that can think before it replies shall do so."""

    ON = "on"
    OFF = "off"
    AUTO = "auto"  # per question, by the agreement of a few short replies without a thought (core.think)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the reply so far; ``ids`` are its tokens when they are known (sampled text keeps its own)."""

    text: str
    ids: tuple[int, ...] | None = None
    origin: Origin = Origin.FORCED


@dataclass(frozen=True, slots=True)
class Context:
    """What the model reads: the chat, then the beginning of its own reply.

    ``thinking`` says how the chat is put to a model whose thinking can be turned on and off (``protocols.Thinks``);
    None leaves that to the model, and other generators do not look at it.
    """

    messages: tuple[Message, ...]
    reply: tuple[Segment, ...] = ()
    thinking: bool | None = field(default=None, repr=False)  # no part of what a prompt style makes, nor of its hash

    def then(self, *segments: Segment) -> Context:
        """The same context with more of the reply written."""
        return replace(self, reply=self.reply + segments)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens. ``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 are off.

    ``max_tokens`` None means what the context leaves. ``first_rank`` r forces the first token to be the r-th most
    likely one (0 is the best); the rest follows the other fields. Stop strings end a completion and are not part of
    its text. ``step_ends`` end it, too, but stay in its text, with all of the token that completed them, so that the
    next step goes on token by token. ``logprobs`` asks a server for the log-probabilities of the sampled tokens, which
    it does not give by itself (the local engine always does); ``top2`` asks for the two best at every position as well.
    ``values`` names a head (``PATH#hash``) that gives a number to the state each token is drawn from.
    ``thought_limit`` asks a generator to close a marked thought after so many tokens: one that can by itself
    (Ability.THOUGHT_LIMIT), or one that ``think`` made ready for it. ``think`` turns thinking on and off: a run reads
    it (core.think) and says so in the contexts; generators do not look at it.
    ``schema`` is a JSON schema (its text) by which a server that can (Ability.JSON_SCHEMA) guides decoding.
    """

    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = 2048
    stop: tuple[str, ...] = ()
    top2: bool = False
    first_rank: int | None = None
    logprobs: bool = False
    step_ends: tuple[str, ...] = ()
    values: str = ""
    thought_limit: int | None = None
    schema: str | None = None
    think: Think | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 100.0:
            raise UsageError(f"temperature is {self.temperature}; it must be between 0 and 100")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(f"top-p is {self.top_p}; it must be above 0 and at most 1")
        if self.top_k < 0:
            raise UsageError(f"top-k is {self.top_k}; it must be 0 (off) or more")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UsageError(f"max-tokens is {self.max_tokens}; it must be at least 1")
        if self.thought_limit is not None and self.thought_limit < 1:
            raise UsageError(f"the thought's limit is {self.thought_limit}; it must be at least 1")
        if any(not s for s in self.stops):
            raise UsageError("a stop string is empty; remove it")

    @property
    def stops(self) -> tuple[str, ...]:
        """Everything that ends a completion before its natural end."""
        return self.stop + self.step_ends

    def greedy(self) -> Sampling:
        """The same without chance."""
        return replace(self, temperature=0.0, top_p=1.0, top_k=0)

    def key(self) -> tuple[object, ...]:
        """All fields that decide a sample's tokens, and the numbers it carries.

        The cap is not one (a clipped sample is a prefix), and ``logprobs`` neither.
        """
        steps = (self.step_ends,) if self.step_ends else ()
        values = (("values", self.values),) if self.values else ()
        limit = (("thought_limit", self.thought_limit),) if self.thought_limit is not None else ()
        schema = (("schema", self.schema),) if self.schema is not None else ()
        own = (self.temperature, self.top_p, self.top_k, self.stop, self.top2, self.first_rank)
        return (*own, *steps, *values, *limit, *schema)

    def law(self, own: Sampling) -> str:
        """How this distribution differs from a run's ``own`` sampling, in words; empty where it does not.

        Only draws of one law are exchangeable, so only they may enter pass@k and maj@k together.
        """
        if self.temperature == 0 == own.temperature:
            same = self.first_rank == own.first_rank
        else:
            fields = ("temperature", "top_p", "top_k", "first_rank")
            same = all(getattr(self, f) == getattr(own, f) for f in fields)
        if same:
            return ""
        first = "" if self.first_rank is None else f" first token {self.first_rank}"
        rest = "greedy" if self.temperature == 0 else f"T={self.temperature:g} p={self.top_p:g} k={self.top_k}"
        return rest + first


@dataclass(frozen=True, slots=True)
class Request:
    """One draw: continue ``context`` under ``sampling`` with the noise of ``seed`` (0 <= seed < 2**63).

    ``draw`` is its ordinal among its siblings and ``problem`` the problem's id, where the search knows them: recorded
    samples are drawn by them, other generators do not look at them.
    """

    context: Context
    sampling: Sampling
    seed: int
    draw: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote.

    ``text`` is all of it; ``thought`` and ``reply`` are its two parts, ``reply_at`` the character offset of the reply
    in ``text``. Votes and grades see the reply; budgets count both. ``generated`` counts tokens (the end-of-text or
    stop-completing token included), None where unknown. ``logprobs`` are natural logs under the untempered model,
    one per token; ``top2`` the two largest per token; ``ends`` the character offset in ``text`` at which each token
    ends (a token past the end of the text has its length). ``values`` has a head's number for the state that each
    token was drawn from, if it was asked for. ``prompt_tokens`` is the length of the rendered context.
    ``thought_tokens`` are those of the thought by a server's own count, which may keep the thought itself to itself.
    """

    text: str
    finish: Finish
    thought: str = ""
    reply: str = ""
    reply_at: int = 0
    ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    top2: tuple[tuple[float, float], ...] | None = None
    ends: tuple[int, ...] | None = None
    values: tuple[float, ...] | None = None
    generated: int | None = None
    prompt_tokens: int | None = None
    thought_tokens: int | None = None

    @staticmethod
    def of(text: str, finish: Finish, *, opened: bool = False, **fields: object) -> Completion:
        """A completion with thought and reply read from ``<think>`` tags in ``text``."""
        thought, reply_at = split_thought(text, opened=opened)
        return Completion(text, finish, thought, text[reply_at:], reply_at, **fields)  # type: ignore[arg-type]

    @property
    def continuable_ids(self) -> tuple[int, ...] | None:
        """The tokens that spell exactly ``text``: what a continuation starts from.

        None after a stop string, whose last token may hold more than the text: the text is then tokenised anew.
        """
        if self.ids is None or self.finish is Finish.STOP:
            return None
        return self.ids[:-1] if self.finish is Finish.EOS else self.ids

    def tokens_of(self, start: int, end: int) -> tuple[int, int]:
        """The token range [first, last) that covers characters [start, end) of ``text``."""
        if self.ends is None:
            raise UsageError("this completion has no token offsets; use a generator that returns token ids")
        first = next((i for i, e in enumerate(self.ends) if e > start), len(self.ends))
        if end <= start:
            return first, first
        last = next((i + 1 for i, e in enumerate(self.ends) if e >= end), len(self.ends))
        return first, max(first, last)

    @property
    def least_thought(self) -> int:
        """The least number of tokens that the thought can have, its tags and forced words included; exact where there
        are token offsets."""
        if self.thought and self.ends is not None:
            first, last = self.tokens_of(0, self.reply_at)
            return last - first
        if self.thought_tokens or not self.thought:
            return self.thought_tokens or 0
        shortest = len(self.reply.encode("utf-8", "replace")) + 1  # a token is a byte at least; one ends the text
        return max(0, (self.generated or 0) - shortest)


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed for good: a record, never a text that could win a vote."""

    kind: str
    message: str
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-probabilities (natural, untempered) of the tokens of a given continuation."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
THOUGHT_END = f"\n{THINK_CLOSE}\n"  # forced after a thought that is long enough
NO_THOUGHT = f"{THINK_OPEN}\n\n{THINK_CLOSE}\n\n"  # forced before a reply that shall have none
THOUGHT_SLACK = 32  # tokens: tags, and the words with which a server may end a thought that is too long


def too_long(thought: int, limit: int) -> bool:
    """Whether a thought of that many tokens shows that its limit was ignored."""
    return thought > 1.1 * limit + THOUGHT_SLACK


def split_thought(text: str, *, opened: bool = False) -> tuple[str, int]:
    """The thought in ``text`` and the offset at which the reply starts.

    ``opened``: the prompt's template already wrote ``<think>``, so only the closing tag appears. A thought that is cut
    before its closing tag leaves an empty reply.
    """
    head = len(text) - len(text.lstrip())
    tagged = text.startswith(THINK_OPEN, head)
    if not tagged and not opened and THINK_CLOSE not in text:
        return "", 0
    start = head + len(THINK_OPEN) if tagged else 0
    close = text.find(THINK_CLOSE, start)
    if close < 0:
        return (text[start:].strip(), len(text)) if tagged or opened else ("", 0)
    reply_at = close + len(THINK_CLOSE)
    while reply_at < len(text) and text[reply_at] == "\n":
        reply_at += 1
    return text[start:close].strip(), reply_at
