"""Any prompt, asked for its steps one by one: ``steps(style=cot)``, or ``--format steps``.

What is asked for and how a reply is read is in ``core.forms``. By JSON schema, if the server guides decoding by one
(``by=json``; such replies are in the format unless they are cut); by tags elsewhere (``by=tags``), where the model has
to follow an instruction. ``by=auto`` decides once, before the first draw, and the run's header holds what it became.

A reply that is in no format has no answer. So a model that does not follow instructions loses accuracy here that it has
without a format, and the share of such replies stands beside every accuracy.

Not covered: styles of two calls or with a begun reply, and strategies that begin replies or continue them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, runtime_checkable

from thence.core.completion import Ability, Context
from thence.core.errors import UsageError
from thence.core.forms import Form
from thence.core.problem import Message, Problem
from thence.core.protocols import AsksFirst, PromptStyle

from .retrieval import Retrieve
from .styles import NO_NEEDS, ChainOfThought, Plain, instructed


@runtime_checkable
class _Varied(Protocol):
    def variants(self, problem: Problem, m: int) -> Sequence[tuple[Message, ...]]: ...


@dataclass(frozen=True, slots=True)
class Steps(Plain):
    """``style`` asks, and its solutions have to be steps and an answer."""

    name = "steps"
    style: PromptStyle = field(default_factory=ChainOfThought)
    by: Literal["auto", "json", "tags"] = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.style, Retrieve):
            raise UsageError("steps: write retrieve(collection=…, style=steps), so that what is found has the format")
        if isinstance(self.style, Steps):
            raise UsageError("steps: the format is asked for twice; ask once")
        if isinstance(self.style, AsksFirst) or self.style.followup is not None or self.style.needs:
            raise UsageError(
                f"steps: {self.style.name} begins the reply or asks twice, which leaves no room for a format; take "
                "another style, such as cot"
            )

    @property
    def form(self) -> Form:
        """Tags, unless JSON is asked for or was decided on."""
        return Form.JSON if self.by == "json" else Form.TAGS

    @property
    def wishes(self) -> frozenset[Ability]:
        """What decides between JSON and tags, as long as that is open."""
        return frozenset({Ability.JSON_SCHEMA}) if self.by == "auto" else NO_NEEDS

    def decided(self, abilities: frozenset[Ability]) -> Steps:
        """By JSON for a model whose decoding is guided, else by tags."""
        if self.by != "auto":
            return self
        return replace(self, by="json" if Ability.JSON_SCHEMA in abilities else "tags")

    @property
    def needs(self) -> frozenset[Ability]:
        """JSON is asked for only where decoding is guided."""
        return frozenset({Ability.JSON_SCHEMA}) if self.by == "json" else NO_NEEDS

    @property
    def stop(self) -> tuple[str, ...]:
        """The inner style's stop strings."""
        return self.style.stop

    @property
    def cap(self) -> int | None:
        """The inner style's cap."""
        return self.style.cap

    def context(self, problem: Problem) -> Context:
        """The inner style's prompt; its exemplars are in the format, and what asks for it comes last."""
        return Context(self._asked(problem, self.style.context(problem).messages))

    def variants(self, problem: Problem, m: int) -> list[tuple[Message, ...]]:
        """At most ``m`` prompts for one problem, the style's own first; one where the inner style has no variants."""
        if not isinstance(self.style, _Varied):
            return [self.context(problem).messages]
        return [self._asked(problem, messages) for messages in self.style.variants(problem, m)]

    def _asked(self, problem: Problem, messages: Sequence[Message]) -> tuple[Message, ...]:
        shown = tuple(Message(m.role, self.form.write(m.content)) if m.role == "assistant" else m for m in messages)
        return instructed(replace(problem, question=shown), self.form.instruction).messages


__all__ = ["Steps"]
