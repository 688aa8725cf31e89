"""Several models as one policy: their samples are drawn in turn, kept apart, and vote together.

    pool:M1,M2                     draw 0 by M1, draw 1 by M2, draw 2 by M1, …
    pool:M1,M2,shares=3:1          three of four draws by M1, spread evenly
    pool:hf:A,"replay:a,b.jsonl"   a model whose text has a comma, a quote or brackets is quoted

Aggregating several models is advice for when quality matters more than speed; it helps where their errors differ and
their skills do not, and loses to the best of them where one is far ahead (docs/pool.md has both). So the control is
part of it: the same number of samples from the best model alone is one more arm of ``thence compare``.

**Whose turn it is** depends on the draw's number alone, so a run can be resumed. Draw k of the pool is somebody's own
j-th draw: the first samples of every model, without gaps, which is what a recording needs. A model plays a role of its
own (``pool:NAME``): its identity and its role are part of who its samples are, and it has both books to itself.

**What a pool can do** is draw whole solutions. The models share no tokens, so none goes on with another's beginning,
and their log-probabilities do not compare: strategies that want either are refused. Where a strategy asks the policy
itself (a critique, a pairwise judgement), ``--role`` names the model that is asked.

**A model that is gone for good** (its server refuses or breaks, its memory is used up) is out of the pool until the
command is run again. Its draws are missing, not given to the others, since the vote of fewer samples is still the vote
that was asked for; every result says how many. A single call that fails fails its problem, as with one model.

Samplers' settings are the pool's: what is not given is the first model's own default.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from thence.core.budget import POOL, Spent
from thence.core.clean import one_line
from thence.core.completion import Ability, Completion, Context, Failure, Request, Sampling
from thence.core.errors import ModelError, ServerError, UsageError
from thence.core.problem import Message
from thence.core.protocols import LOST, Connects, CountsWaste, Generator, KeepsStates
from thence.core.seeds import digest
from thence.core.skill import Skill
from thence.core.specs import split, unquoted

MOST_SHARES = 10_000  # of all models together: the length of the round
NAMED_UP_TO = 80  # characters of names that a table's cell shows in full


class Member:
    """One model of a pool: itself, until it is gone for good; from then on every draw of it is a failure ``LOST``."""

    def __init__(self, model: Generator) -> None:
        self.model = model
        self.died = ""

    @property
    def identity(self) -> str:
        return self.model.identity

    @property
    def abilities(self) -> frozenset[Ability]:
        return self.model.abilities

    @property
    def capacity(self) -> int:
        return self.model.capacity

    @property
    def pending(self) -> int:
        return self.model.pending

    @property
    def defaults(self) -> Sampling:
        return self.model.defaults

    @property
    def max_context(self) -> int | None:
        return self.model.max_context

    def tokens(self, context: Context) -> tuple[int, ...] | None:
        return self.model.tokens(context)

    def decode(self, ids: Sequence[int]) -> str:
        return self.model.decode(ids)

    def describe(self) -> Mapping[str, object]:
        return self.model.describe()

    async def close(self) -> None:
        await self.model.close()

    def waste(self, tokens: int) -> None:
        """Tell a model with counters of its own."""
        if isinstance(self.model, CountsWaste):
            self.model.waste(tokens)

    def release(self, messages: tuple[Message, ...]) -> None:
        """Tell a model that keeps what it computed."""
        if isinstance(self.model, KeepsStates):
            self.model.release(messages)

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        """As the model's own; an error that is true of every call becomes a failure of each draw, now and later."""
        left = set(range(len(requests)))
        if not self.died:
            try:
                async with aclosing(self.model.run(requests, book)) as outcomes:
                    async for i, outcome in outcomes:
                        left.discard(i)
                        yield i, outcome
                return
            except (ServerError, ModelError) as error:
                self.died = one_line(str(error), 300)
        for i in sorted(left):
            yield i, Failure(LOST, self.died)


class PoolGenerator:
    """``models`` by name, in the order in which they are asked; ``shares`` are their draws in one round (1 each).

    ``skill`` is what an earlier run says of them, for votes weighted by it. ``owned``: closing the pool closes them.
    Implements ``Deals``.
    """

    def __init__(
        self,
        models: Mapping[str, Generator],
        shares: Sequence[int] | None = None,
        *,
        skill: Skill | None = None,
        owned: bool = True,
    ) -> None:
        counts = list(shares) if shares is not None else [1] * len(models)
        check_pool(len(models), counts)
        identities: dict[str, str] = {}
        for name, model in models.items():
            if model.identity in identities:
                raise UsageError(
                    f"pool: {identities[model.identity]} and {name} are the same model; list it once, with shares="
                )
            identities[model.identity] = name
        self._members: dict[str, Member] = {POOL + name: Member(model) for name, model in models.items()}
        self._shares = dict(zip(self._members, counts, strict=True))
        self._round = _round(self._shares)
        self._skill, self._owned = skill, owned
        self._weights: dict[str, float] | None = None

    # --- Deals -----------------------------------------------------------------------------------------------------

    @property
    def members(self) -> Mapping[str, Generator]:
        """The models by role."""
        return self._members

    def deal(self, ordinal: int) -> tuple[str, int]:
        """Who makes draw ``ordinal`` (from 0), and which of its own draws that is."""
        rounds, at = divmod(ordinal, len(self._round))
        role = self._round[at]
        return role, rounds * self._shares[role] + self._round[:at].count(role)

    def weights(self, problem: str) -> Mapping[str, float]:
        """What one sample of each model counts; UsageError without a skill, or where it was measured on this very
        problem (its hash)."""
        if self._skill is None:
            raise UsageError(
                "pool: weight=skill needs an earlier run of these models on other problems; name it with --skill RUN.db"
            )
        if problem in self._skill.problems:
            raise UsageError(
                f"pool: {self._skill.source} measured the skill on problems of this task; the weights would know the "
                "answers. Measure it on other problems (another file or split)"
            )
        if self._weights is None:
            worth = self._skill.weights([m.identity for m in self._members.values()], list(self.names))
            self._weights = dict(zip(self._members, worth, strict=True))
        return self._weights

    @property
    def names(self) -> tuple[str, ...]:
        """The models as they are called in tables."""
        return tuple(role.removeprefix(POOL) for role in self._members)

    # --- Generator -------------------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """The models, how often each is asked, and what weighs their votes."""
        parts = [(role, self._shares[role], m.identity) for role, m in self._members.items()]
        skill = self._skill.content if self._skill is not None else ""
        return f"{POOL}{','.join(self.names)}:{digest(parts, skill)[:16]}"

    @property
    def abilities(self) -> frozenset[Ability]:
        """Seeded where all models are. Anything that looks at tokens is one model's matter."""
        seeded = all(Ability.SEEDED in m.abilities for m in self._members.values())
        return frozenset({Ability.SEEDED}) if seeded else frozenset()

    @property
    def capacity(self) -> int:
        """Of all models together."""
        return sum(m.capacity for m in self._members.values())

    @property
    def pending(self) -> int:
        """Of all models together."""
        return sum(m.pending for m in self._members.values())

    @property
    def defaults(self) -> Sampling:
        """The first model's."""
        return next(iter(self._members.values())).defaults

    @property
    def max_context(self) -> int | None:
        """Each model has its own."""
        return None

    def tokens(self, context: Context) -> tuple[int, ...] | None:
        """None: the models have different tokens."""
        return None

    def decode(self, ids: Sequence[int]) -> str:
        """There are no ids that all models understand."""
        raise ModelError("a pool's models have different tokens; decode with the one that drew them")

    def run(self, requests: Sequence[Request], book: Spent) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        """UsageError: only draws of whole solutions can be dealt, and those go to the models themselves."""
        raise UsageError(
            "pool: this asks the policy itself, beside the solutions that it draws, and a pool is no single model; "
            "give that part to one model with --role ROLE=MODEL where the strategy has one, or use one model"
        )

    async def connect(self, needs: frozenset[Ability]) -> None:
        """Let the models learn what they can do; UsageError for a need that no pool can meet.

        A model that cannot be reached is lost from the start, and the others go on; if none can, that is an error.
        """
        lacking = sorted(str(need) for need in needs - {Ability.SEEDED})
        if lacking:
            raise UsageError(
                "pool: its models have different tokens, so it draws whole solutions only, and no text is continued or "
                f"weighed by its probability ({', '.join(lacking)}); use a vote, best-of-n, or one model"
            )
        for member in self._members.values():
            if isinstance(member.model, Connects):
                try:
                    await member.model.connect(needs)
                except (ServerError, ModelError) as error:
                    member.died = one_line(str(error), 300)
        died = [m.died for m in self._members.values()]
        if all(died):
            raise ServerError(f"pool: no model can be reached; the first: {died[0]}")

    @property
    def lost(self) -> Mapping[str, str]:
        """Names of the models that are gone, with what they said."""
        return {role.removeprefix(POOL): m.died for role, m in self._members.items() if m.died}

    def describe(self) -> Mapping[str, object]:
        """Header fields: every model by name with its share and identity, and what it says of itself."""
        told = {role: dict(m.describe()) for role, m in self._members.items()}
        models = {
            role.removeprefix(POOL): {"identity": m.identity, "share": self._shares[role]}
            for role, m in self._members.items()
        }
        flags = [t.get("exact") for t in told.values()]
        made: dict[str, object] = {"generator": "pool", "models": models, "told": told}
        if all(isinstance(flag, bool) for flag in flags):
            made["exact"] = all(flags)
        if self._skill is not None:
            made["skill"] = {"run": self._skill.source, "problems": len(self._skill.problems)}
        return made

    def release(self, messages: tuple[Message, ...]) -> None:
        """Nobody will continue the replies to this prompt."""
        for member in self._members.values():
            member.release(messages)

    async def close(self) -> None:
        """Close the models, if they are the pool's own."""
        for member in self._members.values() if self._owned else ():
            await member.close()


def _round(shares: Mapping[str, int]) -> list[str]:
    """One round: every role as often as its share says, spread evenly; the one furthest behind its share is next, the
    first of equals."""
    total, order = sum(shares.values()), list(shares)
    made = dict.fromkeys(order, 0)
    dealt: list[str] = []
    for k in range(1, total + 1):
        behind = max(order, key=lambda role: (k * shares[role] - total * made[role], -order.index(role)))
        made[behind] += 1
        dealt.append(behind)
    return dealt


def check_pool(models: int, shares: Sequence[int]) -> None:
    """UsageError unless there are several models with a share each."""
    if models < 2:
        raise UsageError(f"pool: {models} model is no pool; name two or more: pool:M1,M2")
    if len(shares) != models or min(shares) < 1 or sum(shares) > MOST_SHARES:
        shown = ":".join(map(str, shares))
        raise UsageError(
            f"pool: shares are {shown} for {models} models; give one whole number from 1 up to each, "
            f"{MOST_SHARES:,} together at most"
        )


def parse_pool(text: str) -> tuple[list[str], list[int] | None]:
    """The models and the shares of ``pool:M1,M2,shares=3:1``; UsageError where it is written otherwise."""
    texts = [unquoted(part.strip()) for part in split(text.removeprefix(POOL), text)]
    shares: list[int] | None = None
    for part in [t for t in texts if t.startswith("shares=")]:
        if shares is not None:
            raise UsageError(f"{text!r}: shares is given twice")
        texts.remove(part)
        counts = part.removeprefix("shares=").split(":")
        if not all(re.fullmatch(r"[0-9]{1,9}", count) for count in counts):
            raise UsageError(f"pool: {part!r} is no list of whole numbers; write e.g. shares=3:1 for two models")
        shares = [int(count) for count in counts]
    inner = next((t for t in texts if t.startswith(POOL)), None)
    if inner is not None:
        raise UsageError(f"{inner!r} is a pool within a pool; list its models in the outer one")
    twice = next((t for i, t in enumerate(texts) if t in texts[:i]), None)
    if twice is not None:
        raise UsageError(f"pool: {twice} is listed twice; list it once, with shares=")
    check_pool(len(texts), shares or [1] * len(texts))
    return texts, shares


def short_pool(text: str) -> str:
    """A pool as tables call it: the names of its models, of a large one the first, the last and a mark of the rest."""
    texts, shares = parse_pool(text)
    told = "" if shares is None else f",shares={':'.join(map(str, shares))}"
    names = names_of(texts)
    if sum(map(len, names)) <= NAMED_UP_TO:
        return f"{POOL}{','.join(names)}{told}"
    return f"{POOL}{names[0]},…{len(names) - 2} more…,{names[-1]}{told} #{digest(texts)[:4]}"


def names_of(models: Sequence[str]) -> list[str]:
    """Short names for models as they are written on the command line, without folders, hosts or credentials; those
    that would be equal are numbered."""
    named: list[str] = []
    for text in models:
        name = short = _short(text)
        twin = 1
        while name in named:
            twin += 1
            name = f"{short}-{twin}"
        named.append(name)
    return named


def _short(text: str) -> str:
    kind, _, rest = text.partition(":")
    if kind == "openai":
        name = rest.partition("@")[0]
    elif kind == "replay":
        path, _, fields = rest.partition("#")
        source = next((f.partition("=")[2] for f in fields.split("&") if f.startswith("source=")), "")
        name = source or path.rsplit("/", 1)[-1].partition(".")[0]
    else:
        name = rest.rstrip("/").rsplit("/", 1)[-1] or kind
    return re.sub(r"[^\w.+-]+", "-", name).strip("-")[:60] or kind


__all__ = ["Member", "PoolGenerator", "names_of", "parse_pool", "short_pool"]
