"""The one door through which a strategy reaches a model, a verifier and its own tree.

A strategy is one coroutine for one problem. It asks for samples, scores and answers here; the search gives every draw
its seed, looks in the sample pool before it pays, merges duplicates, keeps both books, and never lets the charged
tokens exceed the budget.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from .answers import Reading
from .budget import POLICY, POOL, SPENT_OUT, VERIFIER, Ledger
from .completion import (
    Ability,
    Completion,
    Context,
    Failure,
    Finish,
    Origin,
    Sampling,
    Segment,
    Think,
    TokenLogprobs,
)
from .errors import UsageError
from .forms import Form, Formed
from .problem import Message, Problem
from .protocols import AsksFirst, Deals, Followup, Formats, Generator, KeepsStates, PromptStyle, SamplePool, Scorer
from .result import AnswerClass, Result, Vote
from .scores import Score
from .seeds import derive, digest
from .segmenter import Kind as Cut
from .segmenter import Segmenter
from .stream import Job, Order, Stream, clip
from .tree import SOLUTION, Found, Kind, Node, Tree, as_found, render

WHOLE_ONLY = (
    "a format is asked of whole solutions, and this strategy draws them piece by piece; use a vote or best-of-n, or "
    "leave the format out"
)
TEMPLATE_TOKENS = 256  # what a server's chat template may add to a prompt that we cannot count
PROMISED = ":promised"
UNPAID = -1


class Verifier(Protocol):
    """Gives numbers to traces; the reference is never visible.

    ``score`` gets all traces of one problem at once (agreement needs that) as tree nodes, and the search for verifiers
    that ask a model (``search.ask``); one Score per node, in order. A verifier whose numbers depend on the other nodes
    has an attribute ``relative = True``: its scores are made anew each time.
    """

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> frozenset[Ability]:
        """What the policy must be able to do for this verifier."""
        ...

    async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]: ...


@runtime_checkable
class Priced(Protocol):
    """A verifier that knows before it scores what it will read, so that a budget can keep tokens for it.

    ``reads`` are the token ids of a node's solution in the verifier's own format (of its prompt alone, for the root);
    ``times`` is how many models read them. A node that the budget leaves unscored gets ``lowest``.
    """

    @property
    def role(self) -> str: ...
    @property
    def times(self) -> int: ...
    @property
    def lowest(self) -> float: ...

    def reads(self, search: Search, node: Node) -> tuple[int, ...]: ...


class Strategy(Protocol):
    """Spends a budget on one problem and returns a Result. One coroutine for one problem; no locks, no retries."""

    @property
    def needs(self) -> frozenset[Ability]: ...

    async def solve(self, search: Search) -> Result: ...


@dataclass(slots=True)
class Search:
    """The state of one problem's search; strategies use the public coroutines, the rest is bookkeeping."""

    problem: Problem
    generators: Mapping[str, Generator]
    style: PromptStyle
    reading: Reading
    sampling: Sampling
    seed: int = 0
    segmenter: Segmenter = field(default_factory=Segmenter)
    ledger: Ledger = field(default_factory=Ledger)
    tree: Tree = field(default_factory=Tree)
    pool: SamplePool | None = None
    stopped: str | None = None
    reserved: int = 0
    lost: dict[str, list[Failure]] = field(default_factory=dict)  # draws of a pool's models that are gone, by role
    _ordinals: dict[tuple[object, ...], int] = field(default_factory=lambda: defaultdict(int))
    _aside: dict[int, int] = field(default_factory=dict)
    _extra: dict[str, Generator] = field(default_factory=dict)
    _asked: dict[int, Context] = field(default_factory=dict)  # by node: the fresh prompt that it replies to
    _hinted: set[int] = field(default_factory=set)  # nodes drawn under other messages than their path's
    _drawn: dict[str, Node] = field(default_factory=dict)  # every draw in the tree, by who it is
    _first: int = 0
    _stride: int = 1
    _base: Context | None = None
    thinking: bool | None = None  # whether the policy is told to think; None: nothing is said (core.think)
    checker: Priced | None = None  # the verifier that will score what is drawn: under a budget tokens are kept for it
    _unchecked: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.thinking is None and self.sampling.think is not None:
            self.thinking = self.sampling.think is Think.ON  # under auto it is off until core.think has decided

    def release(self) -> None:
        """The search is over: generators need not keep anything in order to continue its replies."""
        if len(self.tree.nodes) > 1:
            messages = self.context(self.root).messages
            for generator in (*self.generators.values(), *self._extra.values()):
                if isinstance(generator, KeepsStates):
                    generator.release(messages)

    # --- what a strategy uses --------------------------------------------------------------------------------------

    @property
    def root(self) -> Node:
        """The question."""
        return self.tree.root

    def stream(
        self,
        nodes: Node | Sequence[Node] | None = None,
        n: int | Sequence[int] = 1,
        *,
        sampling: Sampling | Sequence[Sampling] | None = None,
        role: str = POLICY,
        kind: Kind = Kind.FINISH,
        ahead: int | None = None,
        order: Order = "seed",
        messages: Sequence[Message] | None = None,
    ) -> Stream:
        """Draw ``n`` children of each node (default: of the question), one after another in seed order.

        ``n`` may be a list, one number per node. A list of samplings draws ``n`` children under each.
        ``order="arrival"`` hands out what finishes first: a vote stopped so is biased towards short answers.
        ``messages`` stand in for the style's own: the path is then continued by somebody who was told more (a hint).
        Such draws have the seeds that plain ones would have had, and their law says ``hinted``.
        """
        parents = [self.root] if nodes is None else [nodes] if isinstance(nodes, Node) else list(nodes)
        samplings = [self.sampling] if sampling is None else [sampling] if isinstance(sampling, Sampling) else sampling
        jobs: list[Job] = []
        player = self.generator(role)
        dealer = player if isinstance(player, Deals) else None
        counts = [n] * len(parents) if isinstance(n, int) else n
        samplings = [self._guided(self._sampling_for(role, each), kind) for each in samplings]
        for parent, count in zip(parents, counts, strict=True):
            context = self._context_for(role, self.context(parent))
            if messages is not None:
                context = replace(context, messages=tuple(messages))
            self._aside.pop(parent.index, None)  # what goes on is not read itself
            ids = self.generator(role).tokens(context)
            self.cover(role, parent, ids)
            for each in samplings:
                slot = (parent.index, role, kind, each.key())
                for _ in range(count):
                    ordinal = self._ordinal(slot)
                    job = Job(parent, ordinal, each, context, ids, role, hinted=messages is not None)
                    jobs.append(self._dealt(job, dealer))
        return Stream(self, jobs, kind, role, ahead, order)

    async def expand(
        self,
        nodes: Node | Sequence[Node] | None = None,
        n: int | Sequence[int] = 1,
        *,
        sampling: Sampling | Sequence[Sampling] | None = None,
        role: str = POLICY,
        kind: Kind = Kind.FINISH,
        messages: Sequence[Message] | None = None,
    ) -> list[Node]:
        """Draw all of them at once and wait: one entry per draw in seed order (equal draws are the same node).

        Shorter than asked when the budget ends; ``search.stopped`` then says so.
        """
        jobs = self.stream(nodes, n, sampling=sampling, role=role, kind=kind, ahead=1 << 30, messages=messages)
        async with jobs as samples:
            return [node async for node in samples]

    async def steps(
        self,
        nodes: Node | Sequence[Node] | None = None,
        n: int = 1,
        *,
        cap: int | None = None,
        sampling: Sampling | None = None,
        role: str = POLICY,
        messages: Sequence[Message] | None = None,
    ) -> list[Node]:
        """Draw ``n`` next steps of each node (a node listed twice gets twice as many): one entry per draw, as `expand`.

        A step ends where the segmenter says so; one that is longer than ``cap`` tokens is cut, and its path with it.
        Draws that ended the text are FINISH nodes.
        """
        if self.form is not None:
            raise UsageError(WHOLE_ONLY)
        if self.segmenter.kind is Cut.STEP:
            raise UsageError("search by steps cannot stop before a 'Step k:' line yet; use another segmenter")
        parents = [self.root] if nodes is None else [nodes] if isinstance(nodes, Node) else list(nodes)
        own = sampling or self.sampling
        caps = [c for c in (cap, self.segmenter.cap or None, own.max_tokens) if c is not None]
        sampling = replace(own, step_ends=self.segmenter.stop, max_tokens=min(caps, default=None))
        drawn = await self._draw_all(parents, n, sampling, role, messages)
        while unfinished := [i for i, node in enumerate(drawn) if self._open(node)]:
            more = await self._draw_all([drawn[i] for i in unfinished], 1, sampling, role, messages)
            for i, node in zip(unfinished, more, strict=False):
                drawn[i] = node
            if len(more) < len(unfinished):
                return [node for node in drawn if not self._open(node)]
        return drawn

    async def finish(self, node: Node, depth: int, *, cap: int | None = None) -> list[Node]:
        """``node`` continued by at most ``depth`` single steps: its end, or nothing if it has none by then."""
        for _ in range(depth):
            if self.stopped or not (drawn := await self.steps(node, 1, cap=cap)):
                break
            node = drawn[0]
            if self.ended(node):
                return [node]
        return []

    async def _draw_all(
        self,
        parents: Sequence[Node],
        n: int,
        sampling: Sampling,
        role: str,
        messages: Sequence[Message] | None = None,
    ) -> list[Node]:
        """``n`` steps of each parent as often as it is listed, each under the parent it was listed for."""
        unique = list({p.index: p for p in parents}.values())
        times = [n * sum(q is p for q in parents) for p in unique]
        drawn = await self.expand(unique, times, sampling=sampling, role=role, kind=Kind.STEP, messages=messages)
        if len(unique) == len(parents) or len(drawn) < sum(times):
            return drawn
        at = {p.index: sum(times[:i]) for i, p in enumerate(unique)}
        out: list[Node] = []
        for parent in parents:
            start = at[parent.index]
            out += drawn[start : start + n]
            at[parent.index] = start + n
        return out

    def _open(self, node: Node) -> bool:
        """Whether a stop was met where no step ends, such as the full stop of an abbreviation.

        The token that completed a separator may hold more than it: what counts is that a cut was made in this node.
        """
        if node.completion.finish is not Finish.STEP:
            return False
        whole = self.tree.solution(node)
        before = whole[: len(whole) - len(node.text)]
        return len(self.segmenter.split(whole + "x")) <= len(self.segmenter.split(before + "x"))

    def given(self, text: str, parent: Node | None = None) -> Node:
        """Put text that was not drawn here into the tree: the beginning of somebody's solution, to be completed.

        Its children's seeds depend on what it says, not on when it was put there. If a drawn text begins so, it is
        continued by the very tokens that were drawn.
        """
        at = parent or self.root
        draw = (*at.draws[0], derive("given", text))
        completion = Completion.of(text, Finish.STEP, ids=self.tree.drawn_ids(at, text))
        return self.tree.add(at, completion, draw, kind=Kind.STEP, origin=Origin.GIVEN)

    def force(self, node: Node, text: str) -> Node:
        """Write ``text`` after ``node`` as if the model had: a FORCED node, without tokens of its own until it is read.

        The same text at the same place is the same node.
        """
        for child in self.tree.children(node):
            if child.origin is Origin.FORCED and child.text == text:
                return child
        draw = (*node.draws[0], derive("forced", text))
        return self.tree.add(
            node, Completion(text, Finish.STEP, "", text), draw, kind=Kind.FORCED, origin=Origin.FORCED
        )

    async def nested(self, strategy: Strategy, first: int = 0, stride: int = 1) -> Result:
        """What another strategy finds for this problem: in the same tree, on the same books, within the same budget.

        Its k-th draw of a kind at a node is this search's draw ``first + k * stride`` there, whatever was drawn here
        before: so n runs (first = 0 … n - 1, stride = n) share no draw, and one that starts at 0 begins with the draws
        that are here already. A draw that is in the tree is handed out again and not paid twice. One after the other:
        runs at the same time would merge their equal steps in an order that depends on who is faster.
        """
        view = replace(
            self,
            _ordinals=defaultdict(int),
            _first=self._first + self._stride * first,
            _stride=self._stride * stride,
        )
        result = await strategy.solve(view)
        self.stopped = view.stopped
        return result

    @property
    def form(self) -> Form | None:
        """The format in which the prompt style asks for solutions."""
        return self.style.form if isinstance(self.style, Formats) else None

    def _guided(self, sampling: Sampling, kind: Kind) -> Sampling:
        """Solutions are decoded by the schema of their format, where it has one; nothing else is."""
        form = self.form if kind in SOLUTION else None
        return sampling if form is None or form.schema is None else replace(sampling, schema=form.schema)

    @staticmethod
    def _dealt(job: Job, dealer: Deals | None) -> Job:
        """The job as it is, or in the hands of the one of a pool's models whose turn it is."""
        if dealer is None:
            return job
        if job.node.parent is not None:
            raise UsageError(
                "pool: its models have different tokens, so none goes on with what another began; use one model"
            )
        job.role, job.ordinal = dealer.deal(job.ordinal)
        job.ids = dealer.members[job.role].tokens(job.context)
        return job

    def _ordinal(self, slot: tuple[object, ...]) -> int:
        """The number of the next draw of a slot."""
        self._ordinals[slot] += 1
        return self._first + self._stride * (self._ordinals[slot] - 1)

    def ended(self, node: Node) -> bool:
        """Whether nothing follows ``node``: its text ended, was cut, or holds the final answer."""
        if node.parent is None:
            return False
        if self.segmenter.kind is Cut.TOKENS and node.completion.finish is Finish.LENGTH:
            return False
        if node.completion.finish is not Finish.STEP:
            return True
        return self.segmenter.is_final(node.text, node.completion.finish)

    async def score(self, nodes: Sequence[Node], verifier: Verifier) -> list[Score]:
        """One score per node; equal nodes are scored once, verifier tokens are charged once.

        A node keeps its score, unless the verifier compares nodes with each other (``relative``).
        """
        unique = list({n.index: n for n in nodes}.values())
        relative = getattr(verifier, "relative", False)
        fresh = [n for n in unique if relative or verifier.name not in n.scores]
        prices = [self._pay(verifier, n) for n in fresh] if isinstance(verifier, Priced) else [None] * len(fresh)
        judged = [n for n, price in zip(fresh, prices, strict=True) if price != UNPAID]
        scores = iter(await verifier.score(self, judged) if judged else [])
        for node, price in zip(fresh, prices, strict=True):
            if price == UNPAID and isinstance(verifier, Priced):
                node.scores[verifier.name] = Score(verifier.lowest)
                continue
            score = next(scores)
            node.scores[verifier.name] = score if price is None else replace(score, tokens=price)
            if price is None and score.tokens != 0:
                self.charge(VERIFIER, generated=score.tokens)
        return [n.scores[verifier.name] for n in nodes]

    def _pay(self, verifier: Priced, node: Node) -> int:
        """Charge what ``verifier`` reads of ``node`` and nothing has covered yet, or UNPAID where the budget ends."""
        ids = verifier.reads(self, node)
        price = verifier.times * self.ledger.unseen(verifier.role, ids)
        path = [n.index for n in self.tree.path(node)]  # what was kept for its ancestors pays for parts of it
        kept = {i: self._unchecked.pop(i) for i in path if i in self._unchecked}
        room = self.room()
        if room is not None and price > room:
            self._unchecked |= kept
            self.stopped = SPENT_OUT
            return UNPAID
        self.ledger.new_prompt_tokens(verifier.role, ids)
        self.charge(VERIFIER, generated=price)
        return price

    async def ask(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        about: Sequence[Node] = (),
        role: str = POLICY,
        kind: Kind = Kind.CRITIQUE,
        sampling: Sampling | None = None,
        generator: Generator | None = None,
    ) -> list[Node]:
        """Fresh prompts beside the tree (a judge's questions, critiques), one reply each, asked at once.

        They are recorded as asides and charged to ``role``; ``about`` holds one node per prompt, or none. Asking the
        same prompt again is a new draw, and different prompts share no seed. A reply is continued in its own chat; of
        kind REVISION it is a solution. The list is shorter than ``prompts`` when the budget ends.
        """
        if generator is not None:
            self._extra[role] = generator
        jobs: list[Job] = []
        for messages in prompts:
            context = self._context_for(role, Context(tuple(messages), thinking=self.thinking))
            slot = ("ask", context, role, kind)
            ids = self.generator(role).tokens(context)
            via = (derive("ask", *((m.role, m.content) for m in messages)),)
            chosen = self._guided(self._sampling_for(role, sampling or self.sampling.greedy()), kind)
            jobs.append(Job(self.root, self._ordinal(slot), chosen, context, ids, role, via=via))
        async with Stream(self, jobs, kind, role, 1 << 30, "seed") as answers:
            nodes = [node async for node in answers]
        self._asked.update((node.index, job.context) for node, job in zip(nodes, jobs, strict=False))
        for node, subject in zip(nodes, about, strict=False):
            node.about = (subject.index,)
        return nodes

    async def prepare(self) -> tuple[str, ...]:
        """Ask what a style of two calls wants to know before the problem is put: once, greedy, charged, an aside.

        Notes for the result: where the budget ends in that call, the problem is put without what it would have said.
        """
        if not isinstance(self.style, AsksFirst) or self._base is not None:
            return ()
        first = replace(self.sampling.greedy(), max_tokens=self.style.first_tokens)
        asked = await self.ask([self.style.first(self.problem)], kind=Kind.SUBQUESTION, sampling=first)
        whole = [node.completion.reply for node in asked if node.completion.finish is not Finish.BUDGET]
        self._base = self.style.informed(self.problem, whole[0] if whole else "")
        return () if whole else (f"the first call of {self.style.name} did not fit the budget: asked without it",)

    async def likelihood(
        self,
        contexts: Sequence[Context],
        texts: Sequence[str],
        *,
        role: str = POLICY,
        generator: Generator | None = None,
    ) -> list[TokenLogprobs]:
        """The log-probabilities of ``texts[i]`` after ``contexts[i]``, one entry each; nothing is drawn.

        What has to be read, all but a text's last token, is charged to ``role`` as a prompt: each distinct prefix once.
        Shorter than asked when the budget ends. UsageError for a generator that does not score text.
        """
        if generator is not None:
            self._extra[role] = generator
        scorer = self.generator(role)
        if not isinstance(scorer, Scorer) or Ability.SCORE_TEXT not in scorer.abilities:
            raise UsageError(f"{scorer.identity} gives no log-probabilities of given text; use a local model")
        paid = 0
        for context, text in zip(contexts, texts, strict=True):
            whole = context.then(Segment(text))
            ids = scorer.tokens(whole)
            read = None if ids is None else ids[:-1]
            left = self.room()
            if left is not None and self.unseen_prompt(role, whole, read) > left:
                self.stopped = SPENT_OUT
                break
            self.charge_prompt(role, whole, read, None)
            paid += 1
        return await scorer.logprobs(contexts[:paid], texts[:paid], self.ledger.book(role)) if paid else []

    async def answer(self, node: Node) -> Found | None:
        """The answer of a path that ends in ``node``: read from its reply, or asked for by the prompt style's second
        turn. A sample cut by the budget has none, and one cut by its cap only what a second turn reads out of it."""
        if node.read:
            return node.found
        node.read = True
        followup = self.style.followup
        cut = node.truncated and (followup is None or node.completion.finish is Finish.BUDGET)
        if cut or followup is None or (followup.only_cut and not node.truncated):
            self._aside.pop(node.index, None)
            node.found = None if cut else self._read_answer(node)
            return node.found
        return await self._asked_answer(node, followup)

    async def classes(self, nodes: Sequence[Node]) -> list[AnswerClass]:
        """Nodes grouped by equal answer, largest class first; ties in the order of first appearance."""
        groups: dict[str, list[Node]] = {}
        for node in nodes:
            found = await self.answer(node)
            if found is not None:
                groups.setdefault(self.reading.key(found.value), []).append(node)
        made = [AnswerClass(k, _value(g[0]), tuple(g)) for k, g in groups.items()]
        return sorted(made, key=lambda c: -len(c.nodes))

    def chance(self, *what: object) -> int:
        """A seeded number in [0, 2**63) for ties and shuffles: the same for the same run seed and problem."""
        return derive(self.seed, self.problem.hash, "chance", *what)

    def tie(self, candidates: Sequence[str], *what: object) -> str:
        """One of several equally good keys, by seed and not by order."""
        return min(candidates, key=lambda key: (self.chance(*what, key), key))

    def result(
        self,
        node: Node | None,
        *,
        confidence: float | None = None,
        votes: Sequence[Vote] = (),
        notes: Sequence[str] = (),
        answer: str | None = None,
    ) -> Result:
        """Close the search with ``node`` as the chosen solution (None: nothing was found)."""
        for role, failures in sorted(self.lost.items()):
            said = f"{role.removeprefix(POOL)} is lost: {len(failures)} of its draws are missing"
            notes = (*notes, f"{said} ({failures[0].message})")
        if answer is None and node is not None and node.found is not None:
            answer = node.found.value
        return Result(
            self.problem,
            answer,
            confidence,
            node,
            self.tree,
            self.ledger,
            self.stopped,
            tuple(votes),
            tuple(notes),
            {role: len(failures) for role, failures in self.lost.items()},
        )

    # --- bookkeeping -----------------------------------------------------------------------------------------------

    def generator(self, role: str) -> Generator:
        """The generator that plays ``role``; the policy plays every role that nobody else was given."""
        found = self._extra.get(role) or self.generators.get(role) or self.generators[POLICY]
        return found.members[role] if role.startswith(POOL) and isinstance(found, Deals) else found

    def context(self, node: Node) -> Context:
        """What the model reads when it continues ``node``."""
        if self._base is None:
            self._base = self.style.context(self.problem)
        path = self.tree.path(node)
        base = self._asked.get(path[0].index, self._base) if path else self._base
        return render(base if self.thinking is None else replace(base, thinking=self.thinking), path)

    def _context_for(self, role: str, context: Context) -> Context:
        """The context as ``role`` gets it: only the policy is told whether to think."""
        own = context.thinking is None or self.generator(role) is self.generators[POLICY]
        return context if own else replace(context, thinking=None)

    def _sampling_for(self, role: str, sampling: Sampling) -> Sampling:
        """The sampling as ``role`` gets it: only the policy's thoughts are limited by the run."""
        if sampling.think is None or self.generator(role) is self.generators[POLICY]:
            return sampling
        return replace(sampling, think=None, thought_limit=None)

    def cap(self, sampling: Sampling, ids: tuple[int, ...] | None, role: str, kind: Kind) -> int | None:
        """The most tokens one draw may have: its own cap, the style's if it is solution text, what the context
        leaves."""
        context = self.generator(role).max_context
        caps = [sampling.max_tokens, self.style.cap if kind in SOLUTION else None]
        if context is not None and ids is not None:
            caps.append(max(1, context - len(ids)))
        return min((c for c in caps if c is not None), default=None)

    def charge(self, role: str, *, prompt: int | None = 0, generated: int | None = 0) -> None:
        """Charge tokens; everything a verifier's role costs is verifier tokens."""
        if role.startswith(VERIFIER):
            total = None if prompt is None or generated is None else prompt + generated
            self.ledger.charge(role, verifier=total)
        else:
            self.ledger.charge(role, prompt=prompt, generated=generated)

    def charge_prompt(self, role: str, context: Context, ids: tuple[int, ...] | None, tokens: int | None) -> None:
        """Charge the part of a context that no earlier context or path of this role has covered."""
        if ids is not None:
            self.charge(role, prompt=self.ledger.new_prompt_tokens(role, ids))
        else:
            self.charge(role, prompt=self.ledger.new_text_prompt(role, (context,), tokens))

    def unseen_prompt(self, role: str, context: Context, ids: tuple[int, ...] | None) -> int:
        """What ``charge_prompt`` will charge; where only the server can count tokens an upper bound, the number of
        bytes and some for its template."""
        if ids is not None:
            return self.ledger.unseen(role, ids)
        if self.ledger.has_text_prompt(role, (context,)):
            return 0
        texts = (*(m.content for m in context.messages), *(s.text for s in context.reply))
        return sum(len(t.encode("utf-8", "surrogatepass")) for t in texts) + TEMPLATE_TOKENS

    def cover(self, role: str, node: Node, ids: tuple[int, ...] | None) -> None:
        """Note that ``role`` has paid for the path up to its own last sample: continuing it charges no token of that
        part again. What others wrote, a method forced, or was drawn under a hint is read for the first time.
        ``ids`` are those of the whole path."""
        end = node
        while node.parent is not None and (
            node.role != role or node.origin is not Origin.SAMPLED or node.index in self._hinted
        ):
            node = self.tree.nodes[node.parent]
        if node is not end:
            ids = self.generator(role).tokens(self._context_for(role, self.context(node)))
        if node.parent is not None and ids is not None:
            self.ledger.new_prompt_tokens(role, ids)

    def room(self) -> int | None:
        """Charged tokens that nothing has a claim on yet; None without a budget."""
        left = self.ledger.left
        if left is None:
            return None
        return left - self.reserved - sum(self._aside.values()) - sum(self._unchecked.values())

    def followup_cost(self) -> int:
        """Upper bound of what reading one answer by a second turn costs."""
        followup = self.style.followup
        if followup is None:
            return 0
        return followup.max_tokens + len(followup.text.encode())

    def set_aside(self, node: Node) -> None:
        """Keep tokens for reading the answer of ``node`` later."""
        followup = self.style.followup
        if self.ledger.budget is None or followup is None or node.read:
            return
        if node.completion.finish is not Finish.BUDGET and (node.truncated or not followup.only_cut):
            self._aside[node.index] = self.followup_cost()

    def unseen_by(self, checker: Priced, node: Node) -> int:
        """Tokens of a path that ``checker`` will read and that nothing is kept for yet."""
        return checker.times * self.ledger.unseen(checker.role + PROMISED, checker.reads(self, node))

    def set_aside_for_checker(self, node: Node) -> None:
        """Keep the tokens that scoring ``node`` will cost."""
        if self.ledger.budget is not None and self.checker is not None and node.index not in self._unchecked:
            checker = self.checker
            new = self.ledger.new_prompt_tokens(checker.role + PROMISED, checker.reads(self, node))
            self._unchecked[node.index] = checker.times * new

    def sample_key(
        self,
        context: Context,
        ids: tuple[int, ...] | None,
        sampling: Sampling,
        path: tuple[int, ...],
        role: str,
        kind: Kind,
        cap: int | None,
    ) -> str:
        """Who a sample is (see docs/design.md). A server's samples cannot be clipped, so their cap is part of it."""
        generator = self.generator(role)
        read: object = ids if ids is not None else (context, cap)
        if ids is None and context.thinking is not None:
            read = (read, "thinking", context.thinking)
        return digest(generator.identity, read, sampling.key(), self.seed, self.problem.hash, path, role, str(kind))

    def note(self, key: str, node: Node, hint: Context | None) -> None:
        """Remember a draw that is now in the tree, and whether it was made under a hint."""
        self._drawn[key] = node
        if hint is not None and node.multiplicity == 1:
            self._hinted.add(node.index)

    def note_format(self, node: Node, formed: Formed) -> None:
        """The answer of a solution that was asked for in a format, read where that says it stands; a reply in no
        format has none."""
        node.malformed, node.read = formed.malformed, True
        if not formed.malformed and not node.truncated:
            found = self.reading.extract(node.text[formed.answer_at :])
            if found is not None:
                node.found = as_found(found, node, formed.answer_at)

    def taken(self, key: str, cap: int | None) -> Node | None:
        """The node of a draw that is in the tree already and as long as it would be under ``cap``."""
        node = self._drawn.get(key)
        if node is None or node.completion.finish is Finish.BUDGET:
            return None
        if cap is None or node.completion.generated is None:
            return node
        short = node.completion.finish is Finish.LENGTH and node.completion.generated < cap
        return None if short or node.completion.generated > cap else node

    def from_pool(self, job: Job, cap: int | None, role: str) -> Completion | None:
        """A finished sample that fits the cap (whole, or clipped to it) and has the log-probabilities asked for."""
        known = self.pool.get(job.key) if self.pool is not None else None
        if known is None or (job.sampling.logprobs and known.logprobs is None):
            return None
        if cap is None or known.generated is None or job.ids is None:  # without ids the cap is part of the key
            return known
        if known.generated > cap:
            return clip(known, cap, self.generator(role))
        if known.generated < cap and known.finish is Finish.LENGTH:
            return None  # it was clipped earlier than it would be now
        return known

    def to_pool(self, key: str, completion: Completion) -> None:
        """Record a finished sample."""
        if self.pool is not None:
            self.pool.put(key, self.problem.hash, completion)

    def _read_answer(self, node: Node) -> Found | None:
        """The answer in the reply of a path, wherever in its steps it stands."""
        at = self.tree.reply_at(node)
        read = self.reading.extract(self.tree.solution(node)[at:])
        if read is None:
            return None
        read = replace(read, start=read.start + at, end=read.end + at)
        for part in self.tree.parts(node)[:-1]:
            if read.start < len(part.text):
                return as_found(read, part, reply_at=0)
            read = replace(read, start=read.start - len(part.text), end=read.end - len(part.text))
        return as_found(read, node, reply_at=0)

    async def _asked_answer(self, node: Node, followup: Followup) -> Found | None:
        node.found = await self.probe(node, followup)
        return node.found

    async def probe(self, node: Node, followup: Followup) -> Found | None:
        """The answer that a path gives when it is asked for now: forced text, then a few greedy tokens, beside the
        path and never part of it. Charged; the path goes on as if it had not been asked."""
        found: Found | None = None
        self._aside.pop(node.index, None)
        context = self.context(node)
        self.cover(POLICY, node, self.generator(POLICY).tokens(context))
        context = context.then(Segment(followup.text))
        sampling = replace(
            self.sampling.greedy(),
            max_tokens=followup.max_tokens,
            stop=followup.stop,
            top2=node.completion.top2 is not None,
            logprobs=node.completion.logprobs is not None,
        )
        ids = self.generator(POLICY).tokens(context)
        job = Job(node, 0, sampling, context, ids, POLICY)
        async with Stream(self, [job], Kind.PROBE, POLICY, 1, "seed") as turns:
            async for probe in turns:
                probe.read = True
                if probe.completion.finish is Finish.BUDGET:
                    continue
                first_line = probe.completion.reply.lstrip("\n").split("\n", 1)[0]
                shift = len(probe.completion.reply) - len(probe.completion.reply.lstrip("\n"))
                read = self.reading.extract(first_line)
                if read is None:  # a reading that wants its marker finds it in the forced text
                    read, shift = self.reading.extract(followup.text + first_line), shift - len(followup.text)
                if read is not None and read.start + shift >= 0:
                    found = as_found(replace(read, start=read.start + shift, end=read.end + shift), probe)
        return found


def _value(node: Node) -> str:
    assert node.found is not None
    return node.found.value


__all__ = [
    "POLICY",
    "SPENT_OUT",
    "VERIFIER",
    "AnswerClass",
    "Order",
    "Origin",
    "Priced",
    "Result",
    "Search",
    "Strategy",
    "Stream",
    "Verifier",
    "Vote",
    "clip",
]
