"""A model in this process, run by the engine.

Token-in, token-out: a context is rendered once (chat template where the tokenizer has one, else plain ``Q:
… A:`` text), and sampled text is continued from its own token ids, never from re-tokenised text.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from thence.core.budget import Spent
from thence.core.completion import (
    NO_THOUGHT,
    THINK_CLOSE,
    THINK_OPEN,
    THOUGHT_END,
    Ability,
    Completion,
    Context,
    Failure,
    Finish,
    Request,
    Sampling,
    Think,
    TokenLogprobs,
)
from thence.core.errors import ModelError, UsageError
from thence.core.problem import Message

from .thinking import FORCED, Forcing, closed_in_time

if TYPE_CHECKING:
    from thence.engine.engine import Engine
    from thence.engine.jobs import Outcome
    from thence.nets.checkpoint import Checkpoint
    from thence.nets.heads import Head

RENDERED = 4096  # rendered contexts kept


@dataclass(frozen=True, slots=True)
class Rendered:
    """Ids of the prompt; ``opened`` when it ends with an opening think tag."""

    ids: tuple[int, ...]
    opened: bool


class LocalGenerator:
    """Generator and Scorer over a checkpoint in this process; make one with `load_local`."""

    abilities = frozenset(
        {
            Ability.SEEDED,
            Ability.LOGPROBS,
            Ability.TOP2,
            Ability.FIRST_TOKEN,
            Ability.CONTINUE,
            Ability.TOKEN_IDS,
            Ability.SCORE_TEXT,
            Ability.VALUES,
        }
    )

    def __init__(self, checkpoint: Checkpoint, engine: Engine, facts: Mapping[str, object]) -> None:
        self.engine = engine
        self._name = checkpoint.name
        self._tokenizer = checkpoint.tokenizer
        self._context = checkpoint.shape.context
        self._facts = dict(facts)
        self._defaults = default_sampling(checkpoint.generation)
        self._rendered: OrderedDict[tuple[tuple[Message, ...], bool | None], Rendered] = OrderedDict()
        self._thinks: Literal["", "template", "forced"] | None = None  # how it is told to think; None: not looked
        self._latest: tuple[Context, tuple[Rendered, tuple[int, ...]]] | None = None
        self._pieces: dict[str, tuple[int, ...]] = {}
        self._heads: dict[str, Head] = {}

    # ---- Generator
    # -----------------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """Weights, tokenizer, dtype, device kind, engine version, exactness."""
        f = self._facts
        exact = "exact" if f["exact"] else "loose"
        return f"local:{f['weights']}:{f['dtype']}:{f['device']}:engine{f['engine']}:{exact}"

    @property
    def capacity(self) -> int:
        """Rows of the largest batch."""
        return self.engine.slots

    @property
    def pending(self) -> int:
        """Requests waiting or at work."""
        return self.engine.pending

    @property
    def defaults(self) -> Sampling:
        """The checkpoint's own sampling defaults."""
        return self._defaults

    @property
    def max_context(self) -> int:
        """Prompt and completion together, in tokens."""
        return self._context

    def tokens(self, context: Context) -> tuple[int, ...]:
        """The rendered token ids; UsageError naming the words that a closed vocabulary does not have."""
        rendered, reply = self._render(context)
        return rendered.ids + reply

    def decode(self, ids: Sequence[int]) -> str:
        """The text of completion ids, without the end token."""
        return self.engine.text.decode(self._without_end(ids))

    async def learn_thinking(self, think: Think, limit: int | None = None) -> bool:
        """By the chat template's own switch if it has one, else by opened and closed thoughts if it speaks of them.
        Thoughts are limited by closing them; UsageError for a model whose template knows no thought."""
        if not self._way():
            raise UsageError(
                f"--think: {Path(self._name).name} has no thinking and no switch for it (its chat template speaks of "
                "none); use a model that thinks, or leave --think out"
            )
        return limit is not None

    def _way(self) -> Literal["", "template", "forced"]:
        """How this checkpoint is told to think: its template's own switch shows in what it makes of a chat."""
        if self._thinks is None:
            template = str(getattr(self._tokenizer, "chat_template", None) or "")
            probe = (Message("user", "?"),)
            if template and self._templated(probe, True) != self._templated(probe, False):
                self._thinks = "template"
            else:
                self._thinks = "forced" if THINK_OPEN in template or THINK_CLOSE in template else ""
        return self._thinks

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        """Yield (index, outcome) in order of arrival; closing cancels the rest, whose cost ``book`` still gets."""
        run = self._run(requests, book)
        if any(r.sampling.thought_limit is not None for r in requests):
            end = self._tokenise(THOUGHT_END)
            run = closed_in_time(requests, book, Forcing(self._run, end, self._opened, self._waste))
        async with aclosing(run) as outcomes:
            async for each in outcomes:
                yield each

    def _opened(self, context: Context) -> bool:
        return self._render(context)[0].opened

    def _waste(self, tokens: int | None, book: Spent) -> None:
        book.wasted = (book.wasted or 0) + (tokens or 0)
        self.engine.waste(tokens or 0)

    async def _run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        from thence.engine.jobs import Job

        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[tuple[int, Outcome]] = asyncio.Queue()
        contexts: list[tuple[Rendered, tuple[int, ...]]] = []
        jobs: list[Job] = []
        too_long: list[tuple[int, Failure]] = []

        def receiver(index: int):  # type: ignore[no-untyped-def]
            def receive(outcome: Outcome) -> None:
                _enter(book, outcome)
                inbox.put_nowait((index, outcome))

            return receive

        for index, request in enumerate(requests):
            rendered, reply = self._render(request.context)
            contexts.append((rendered, reply))
            room = self._context - len(rendered.ids) - len(reply)
            if room < 1:
                too_long.append((index, self._context_failure(len(rendered.ids) + len(reply))))
                continue
            cap = request.sampling.max_tokens
            limit = room if cap is None else min(cap, room)
            head = self._head(request.sampling.values) if request.sampling.values else None
            jobs.append(
                Job(rendered.ids, reply, request.sampling, request.seed, limit, loop, receiver(index), head=head)
            )
        waiting = len(jobs)
        if jobs:
            self.engine.submit(jobs)
        try:
            for index, failure in too_long:
                yield index, failure
            while waiting:
                index, outcome = await inbox.get()
                waiting -= 1
                rendered, reply = contexts[index]
                yield index, self._completion(outcome, rendered, len(rendered.ids) + len(reply))
        finally:
            if waiting:
                self.engine.cancel(jobs)
            while waiting:
                _, outcome = await inbox.get()
                waiting -= 1
                if outcome.finish is not None:
                    book.wasted = (book.wasted or 0) + outcome.generated
                    self.engine.waste(outcome.generated)

    def describe(self) -> Mapping[str, object]:
        """Facts for a run file's header."""
        way = {"thinking": {"off": self._thinks, "limit": FORCED}} if self._thinks else {}
        return {"generator": "local", "model": Path(self._name).name, **self._facts, **way}

    def waste(self, tokens: int) -> None:
        """Count finished tokens that nobody consumed, so that the engine's counters equal the books."""
        self.engine.waste(tokens)

    def release(self, messages: tuple[Message, ...]) -> None:
        """Let the engine drop its caches of the replies to this prompt when it needs room."""
        for thinking in (None, True, False):
            if (rendered := self._rendered.get((messages, thinking))) is not None:
                self.engine.release(rendered.ids)

    async def close(self) -> None:
        """Stop the engine; a second call does nothing."""
        await asyncio.get_running_loop().run_in_executor(None, self.engine.close)

    # ---- Scorer
    # --------------------------------------------------------------------------------------------------

    async def logprobs(
        self, contexts: Sequence[Context], continuations: Sequence[str], book: Spent
    ) -> list[TokenLogprobs]:
        """Log-probabilities of each continuation after its context."""
        from thence.engine.given import Given, run

        texts = []
        for context, text in zip(contexts, continuations, strict=True):
            rendered, reply = self._render(context)
            forced = self._tokenise(text)
            total = len(rendered.ids) + len(reply) + len(forced)
            if total > self._context:
                raise ModelError(self._context_failure(total).message)
            texts.append(Given(rendered.ids, forced, reply))
        outcomes = await run(self.engine, texts, partial(_enter, book))
        return [TokenLogprobs(outcome.ids, outcome.logprobs) for outcome in outcomes]

    def _head(self, name: str) -> Head:
        """The head ``PATH#hash`` of this model, loaded once; ModelError if it was trained on another one."""
        if name not in self._heads:
            from thence.nets.checkpoint import weights_hash
            from thence.nets.verifier import load_head

            path = name.rpartition("#")[0]
            _, head = load_head(Path(path), weights_hash(self._name))
            self._heads[name] = self.engine.trunk.reader(head)
            self.engine.heads.append(self._heads[name])
        return self._heads[name]

    # ---- rendering
    # -----------------------------------------------------------------------------------------------

    def unknown_words(self, text: str) -> list[str]:
        """Words of ``text`` that a closed vocabulary does not have, each once, in order; empty for open ones."""
        unknown = getattr(self._tokenizer, "unk_token_id", None)
        if unknown is None:
            return []
        ids, offsets = self._encode(text, special=False)
        found = [text[a:b] for i, (a, b) in zip(ids, offsets, strict=True) if i == unknown and b > a]
        return list(dict.fromkeys(found))

    def _encode(self, text: str, *, special: bool) -> tuple[list[int], list[tuple[int, int]]]:
        fast = bool(getattr(self._tokenizer, "is_fast", False))
        encoded = self._tokenizer(text, add_special_tokens=special, return_offsets_mapping=fast, verbose=False)
        ids = list(encoded["input_ids"])
        return ids, [tuple(o) for o in encoded["offset_mapping"]] if fast else [(0, 0)] * len(ids)

    def _known(self, text: str, ids: Sequence[int]) -> None:
        unknown = getattr(self._tokenizer, "unk_token_id", None)
        if unknown is None or unknown not in ids:
            return
        words = self.unknown_words(text)
        shown = ", ".join(repr(w) for w in words[:8]) + (" …" if len(words) > 8 else "")
        raise UsageError(
            f"{self._name} has a closed vocabulary and does not know {shown}; rephrase, or use a model with an open one"
        )

    def _tokenise(self, text: str) -> tuple[int, ...]:
        """Ids of a piece of reply on its own."""
        ids = self._pieces.get(text)
        if ids is None:
            ids = tuple(self._encode(text, special=False)[0])
            self._known(text, ids)
            if len(self._pieces) >= RENDERED:
                self._pieces.clear()
            self._pieces[text] = ids
        return ids

    def _render(self, context: Context) -> tuple[Rendered, tuple[int, ...]]:
        if self._latest is not None and self._latest[0] is context:  # siblings are asked for one after another
            return self._latest[1]
        key = (context.messages, context.thinking)
        rendered = self._rendered.get(key)
        if rendered is None:
            rendered = self._rendered[key] = self._render_messages(*key)
            if len(self._rendered) > RENDERED:
                self._rendered.popitem(last=False)
        reply: tuple[int, ...] = ()
        for segment in context.reply:
            reply += segment.ids if segment.ids is not None else self._tokenise(segment.text)
        self._latest = (context, (rendered, reply))
        return rendered, reply

    def _templated(self, messages: tuple[Message, ...], thinking: bool | None = None) -> str:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        told = {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}  # names differ
        text = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False, **told)
        return str(text)

    def _render_messages(self, messages: tuple[Message, ...], thinking: bool | None = None) -> Rendered:
        template = getattr(self._tokenizer, "chat_template", None)
        if template:
            way = self._way() if thinking is not None else ""
            text = self._templated(messages, thinking if way == "template" else None)
            if way == "forced":
                opened = text.rstrip().endswith(THINK_OPEN)
                if thinking:
                    text += "" if opened else f"{THINK_OPEN}\n"
                else:
                    text += f"{THOUGHT_END}\n" if opened else NO_THOUGHT
        else:
            text = plain_text(messages)
        ids, _ = self._encode(text, special=not template)
        self._known(text, ids)
        if not ids:
            raise UsageError("the rendered prompt is empty; write a question")
        return Rendered(tuple(ids), text.rstrip().endswith(THINK_OPEN))

    # ---- outcomes
    # ------------------------------------------------------------------------------------------------

    def _without_end(self, ids: Sequence[int]) -> Sequence[int]:
        return ids[:-1] if ids and ids[-1] in self.engine.ends else ids

    def _completion(self, outcome: Outcome, rendered: Rendered, prompt_tokens: int) -> Completion | Failure:
        if outcome.error is not None or outcome.finish is None:
            return Failure("engine", f"the local engine failed: {outcome.error}")
        text = self.decode(outcome.ids) if outcome.finish is Finish.EOS else self.engine.text.decode(outcome.ids)
        finish, sampling = outcome.finish, outcome.job.sampling
        if finish is Finish.STOP:
            whole, text = text, self.engine.text.cut(text, sampling.stop)
            if text == whole and sampling.step_ends:
                finish = Finish.STEP
        return Completion.of(
            text,
            finish,
            opened=rendered.opened,
            ids=outcome.ids,
            logprobs=outcome.logprobs,
            top2=outcome.top2,
            values=outcome.values,
            ends=self.engine.text.ends(outcome.ids, text),
            generated=len(outcome.ids),
            prompt_tokens=prompt_tokens,
        )

    def _context_failure(self, tokens: int) -> Failure:
        return Failure(
            "context_length",
            f"the prompt has {tokens} tokens and {self._name} reads at most {self._context}, the reply included; "
            "shorten the question or use a model with a longer context",
        )


def plain_text(messages: Sequence[Message]) -> str:
    """The prompt of a model without a chat template."""
    parts = {"system": "{}\n", "user": "Q: {}\n", "assistant": "A: {}\n\n"}
    return "".join(parts[m.role].format(m.content) for m in messages) + "A:"


def default_sampling(generation: Mapping[str, object]) -> Sampling:
    """Sampling defaults of a generation config; its temperature and filters count only where it samples."""
    cap = generation.get("max_new_tokens")
    max_tokens = cap if isinstance(cap, int) and cap > 0 else 2048
    if not generation.get("do_sample"):
        return Sampling(max_tokens=max_tokens)

    def number(key: str, default: float) -> float:
        value = generation.get(key)
        return float(value) if isinstance(value, (int, float)) else default

    return Sampling(number("temperature", 1.0), number("top_p", 1.0), int(number("top_k", 0)), max_tokens)


def _enter(book: Spent, outcome: Outcome) -> None:
    """Add what a job spent to the book of its request. Runs in the caller's loop, so no lock is needed."""
    book.prefilled = (book.prefilled or 0) + outcome.prefilled
    book.reused = (book.reused or 0) + outcome.reused
    book.generated = (book.generated or 0) + outcome.generated
    book.wasted = (book.wasted or 0) + outcome.wasted


def load_local(
    path_or_name: str,
    *,
    dtype: str | None = None,
    device: str | None = None,
    exact: bool | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    slots: int | None = None,
    memory_mb: int | None = None,
    threads: int | None = None,
) -> LocalGenerator:
    """Load a checkpoint (a directory or a Hugging Face name) into this process.

    ``slots`` is the largest batch, ``memory_mb`` what the key/value caches may take, ``threads`` the
    processor threads of the engine; each has a default that depends on the model and the machine. Raises
    ModelError when torch is missing or the model cannot be loaded.
    """
    try:
        from thence.engine.setup import build
    except ImportError as error:
        raise ModelError('the local model needs torch: pip install "thence[local]"') from error
    checkpoint, engine, facts = build(
        path_or_name,
        dtype=dtype,
        device=device,
        exact=exact,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        slots=slots,
        memory_mb=memory_mb,
        threads=threads,
    )
    return LocalGenerator(checkpoint, engine, facts)
