"""Laws that every strategy keeps, to be run on your own: no model, no network, a few seconds.

    from thence import conformance

    conformance.check(lambda: MyStrategy(n=8))                      # raises LawBroken with everything that is wrong

    @pytest.mark.parametrize("law", conformance.LAWS, ids=lambda law: law.__name__)
    def test_my_strategy(law):
        law(MyStrategy)

A law takes a function that makes the strategy (the class itself will do) and runs it in small scripted worlds. What it
demands is in its docstring. The worlds' samples are short texts ending in ``#### answer``; equal texts are common,
lengths differ, some texts have no answer.

Not covered: whether a method is the one its paper describes, and strategies that read a clock or another process.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast

from .core.answers import Answer
from .core.budget import Charged, Spent
from .core.completion import Ability, Completion, Context, Failure, Finish, Origin, Request, Sampling
from .core.errors import CallFailed, UsageError
from .core.problem import Problem
from .core.protocols import Followup, Generator, SamplePool
from .core.search import SPENT_OUT, VERIFIER, Result, Strategy
from .core.solve import solve
from .core.tree import SOLUTION, Kind, Node
from .generators.scripted import Cue, Line, ScriptedGenerator

Factory = Callable[[], Strategy]
Law = Callable[[Factory], None]

PATIENCE = 120.0  # seconds after which a strategy counts as one that never ends
SEEDS = (0, 1, 2)


class LawBroken(AssertionError):
    """A strategy breaks a law; the text says which, where, and how."""


@dataclass
class AnswerSheet:
    """References that lie about in the process, as a task's do: a strategy that finds and reads them is caught."""

    references: dict[str, str] = field(default_factory=dict)


SHEET = AnswerSheet()
LAWS: list[Law] = []


def check(strategy: Factory) -> None:
    """Run all laws; LawBroken lists every one that is broken."""
    broken: list[str] = []
    for law in LAWS:
        try:
            law(strategy)
        except LawBroken as error:
            broken.append(str(error))
    if broken:
        raise LawBroken("\n".join(broken))


def _law(body: Callable[[Factory], Awaitable[None]]) -> Law:
    @functools.wraps(body)
    def run(strategy: Factory) -> None:
        async def within() -> None:
            await asyncio.wait_for(body(strategy), PATIENCE)

        try:
            with ThreadPoolExecutor(1) as thread:  # works inside a running event loop, too
                thread.submit(asyncio.run, within()).result()
        except LawBroken as error:
            raise LawBroken(f"{run.__name__}: {error}") from None
        except TimeoutError:
            raise LawBroken(f"{run.__name__}: it does not end") from None
        except Exception as error:
            raise LawBroken(f"{run.__name__}: it raises {type(error).__name__}: {error}") from error

    LAWS.append(run)
    return run


def _demand(holds: bool, text: str) -> None:
    if not holds:
        raise LawBroken(text)


# --- the worlds ----------------------------------------------------------------------------------------------------

TEXTS: dict[str, list[tuple[str, float]]] = {
    "What is 7 + 8?": [
        ("7 plus 8 is 15\n#### 15", 0.30),
        ("15\n#### 15", 0.20),
        ("One short: 14\n#### 14", 0.20),
        ("Let me count: 8 9 10 11 12 13 14 15 and one more is 16\nso it is 16\n#### 16", 0.15),
        ("No idea.", 0.15),
    ],
    "What is 20 - 6?": [
        ("14\n#### 14", 0.40),
        ("20 minus 6 is 14\nand that is all\n#### 14", 0.25),
        ("Perhaps 16\n#### 16", 0.20),
        ("20 less 5 is 15\n#### 15", 0.15),
    ],
    "What is 4 * 4?": [
        ("Four fours: 4 8 12 16\n#### 16", 0.45),
        ("4 * 4 = 14\n#### 14", 0.30),
        ("15?\n#### 15", 0.25),
    ],
}
REFERENCES = ("15", "14", "16")
PROBLEMS = tuple(Problem(f"p{i}", question) for i, question in enumerate(TEXTS))
SAMPLING = Sampling(temperature=1.0, max_tokens=40)


@dataclass(frozen=True, slots=True)
class _Marked:
    """Reads what follows the last ``####``."""

    def extract(self, reply: str) -> Answer | None:
        at = reply.rfind("####")
        value = reply[at + 4 :].split("\n")[0].strip() if at >= 0 else ""
        start = reply.find(value, at + 4)
        return Answer(value, start, start + len(value)) if value else None

    def key(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class _Whole(_Marked):
    """Takes a short text as the answer: for second turns."""

    def extract(self, reply: str) -> Answer | None:
        value = reply.strip()
        start = reply.find(value)
        return Answer(value, start, start + len(value)) if value.isdigit() else None


@dataclass(frozen=True, slots=True)
class _Style:
    """The bare question; with ``ask`` a second turn reads the answer."""

    name = "conformance"
    needs: frozenset[Ability] = frozenset()
    stop: tuple[str, ...] = ()
    cap: int | None = None
    followup: Followup | None = None

    def context(self, problem: Problem) -> Context:
        return Context(problem.messages)


@dataclass(frozen=True, slots=True)
class _World:
    """A generator for every run, with a style and a reading."""

    name: str
    make: Callable[..., ScriptedGenerator]
    style: _Style = _Style()
    reading: _Marked = _Marked()


def _texts(**options: Any) -> ScriptedGenerator:
    return ScriptedGenerator(texts=TEXTS, name="conformance", **options)


def _answers(**options: Any) -> ScriptedGenerator:
    choices = {
        question: [(text.rpartition(" ")[2], weight) for text, weight in texts if "####" in text]
        for question, texts in TEXTS.items()
    }
    merged = {
        q: [(a, sum(w for b, w in c if b == a)) for a in dict.fromkeys(a for a, _ in c)] for q, c in choices.items()
    }
    return ScriptedGenerator(answers=merged, name="conformance", template="{answer} I think.", **options)


ONE_CALL = _World("one call", _texts)
TWO_CALLS = _World("two calls", _answers, _Style(followup=Followup(" So the answer is", max_tokens=4)), _Whole())
WORLDS = (ONE_CALL, TWO_CALLS)


class _Memory:
    """A sample pool in memory; ``limit`` puts in all may be followed by a signal."""

    def __init__(self, known: Mapping[str, Completion] | None = None) -> None:
        self.samples = dict(known or {})
        self.puts = 0
        self.limit: int | None = None
        self.reached = asyncio.Event()

    def get(self, key: str) -> Completion | None:
        return self.samples.get(key)

    def put(self, key: str, problem: str, completion: Completion) -> None:
        self.samples[key] = completion
        self.puts += 1
        if self.limit is not None and self.puts >= self.limit:
            self.reached.set()


class _Wrapped:
    """A generator around the scripted one: ``seen`` changes requests (or fails them), ``shown`` what comes back."""

    def __init__(
        self,
        inner: ScriptedGenerator,
        *,
        abilities: frozenset[Ability] = frozenset(Ability) - {Ability.THOUGHT_LIMIT},
        refuse: Callable[[Request], Failure | None] = lambda request: None,
        shown: Callable[[Request, Completion], Completion] = lambda request, completion: completion,
        ids: bool = True,
        serial: bool = False,
    ) -> None:
        self._inner, self._abilities, self._refuse = inner, abilities, refuse
        self._shown, self._ids, self._serial = shown, ids, serial
        self.identity, self.capacity, self.defaults = inner.identity, inner.capacity, inner.defaults
        self.max_context: int | None = inner.max_context

    @property
    def abilities(self) -> frozenset[Ability]:
        return self._abilities

    @property
    def pending(self) -> int:
        return self._inner.pending

    def tokens(self, context: Context) -> tuple[int, ...] | None:
        return self._inner.tokens(context) if self._ids else None

    def decode(self, ids: Sequence[int]) -> str:
        return self._inner.decode(ids)

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        groups = [[i] for i in range(len(requests))] if self._serial else [list(range(len(requests)))]
        for group in groups:
            async with aclosing(self._inner.run([requests[i] for i in group], book)) as outcomes:
                async for k, outcome in outcomes:
                    request = requests[group[k]]
                    refused = self._refuse(request)
                    if refused is None and isinstance(outcome, Completion):
                        outcome = self._shown(request, outcome)
                    yield group[k], refused or outcome

    def describe(self) -> Mapping[str, object]:
        return self._inner.describe()

    async def close(self) -> None:
        await self._inner.close()


async def _solve(
    strategy: Strategy,
    generator: Generator,
    problem: Problem,
    world: _World = ONE_CALL,
    *,
    seed: int = 0,
    budget: int | None = None,
    pool: SamplePool | None = None,
) -> Result:
    return await solve(
        problem,
        generator=generator,
        strategy=strategy,
        style=world.style,
        reading=world.reading,
        sampling=SAMPLING,
        seed=seed,
        budget=budget,
        pool=pool,
    )


def _bytes(result: Result, *, spent: bool = False) -> str:
    """The whole record as text; without the spent book, which is the machine's and not the strategy's."""
    record = result.record()
    if not spent:
        del record["spent"]
    return json.dumps(record, sort_keys=True)


def _cases(worlds: Sequence[_World] = WORLDS) -> Iterator[tuple[_World, Problem, int, str]]:
    for world in worlds:
        for problem, seed in zip(PROBLEMS, SEEDS, strict=True):
            yield world, problem, seed, f"({world.name}, {problem.text!r}, seed {seed})"


def _sampled(result: Result) -> list[Node]:
    return [n for n in result.tree if n.origin is Origin.SAMPLED]


def _solutions(result: Result) -> list[Node]:
    return [n for n in _sampled(result) if n.kind in SOLUTION]


def _draws(result: Result) -> int:
    return sum(n.multiplicity for n in _sampled(result))


# --- the laws ------------------------------------------------------------------------------------------------------


@_law
async def budget_is_never_exceeded(strategy: Factory) -> None:
    """Charged tokens stay within the budget, whatever it is, and nothing is generated outside the books."""
    for world, problem, seed, where in _cases():
        free = await _solve(strategy(), world.make(), problem, world, seed=seed)
        whole = free.ledger.total_charged.total or 0
        for budget in sorted({*range(1, 30), *range(30, whole + 8, max(1, whole // 25)), whole}):
            generator = world.make()
            result = await _solve(strategy(), generator, problem, world, seed=seed, budget=budget)
            total = result.ledger.total_charged.total
            _demand(total is not None and total <= budget, f"{total} tokens charged of a budget of {budget} {where}")
            _check_books(result, generator, f"with a budget of {budget} {where}")


@_law
async def every_token_is_in_the_books(strategy: Factory) -> None:
    """Without a budget, too: what the generator made is spent, and what was not wasted is charged, duplicates too."""
    for world, problem, seed, where in _cases():
        generator = world.make()
        result = await _solve(strategy(), generator, problem, world, seed=seed)
        _check_books(result, generator, where)


def _check_books(result: Result, generator: ScriptedGenerator, where: str) -> None:
    ledger = result.ledger
    booked = sum(book.generated or 0 for book in ledger.spent.values())
    made = generator.spent.generated or 0
    _demand(made <= booked, f"{made} tokens were generated and {booked} are in the books {where}")
    in_tree: dict[str, int] = {}
    for node in _sampled(result):
        in_tree[node.role] = in_tree.get(node.role, 0) + node.multiplicity * (node.completion.generated or 0)
    for role, book in ledger.spent.items():
        if not role.startswith(VERIFIER):
            charged = ledger.charged.get(role, Charged()).generated
            used = (book.generated or 0) - (book.wasted or 0)
            tree = in_tree.get(role, 0)
            counts = f"role {role}: {used} tokens were used, {charged} charged, and the tree holds {tree} {where}"
            _demand(used == charged == tree, counts)


@_law
async def what_the_budget_cuts_is_marked(strategy: Factory) -> None:
    """Where the budget cut or refused a sample the result says ``budget``, a cut sample gives no answer, and an answer
    that was found is given."""
    for world, problem, seed, where in _cases():
        free = await _solve(strategy(), world.make(), problem, world, seed=seed)
        whole = free.ledger.total_charged.total or 0
        for budget in range(1, whole + 2, max(1, whole // 40)):
            result = await _solve(strategy(), world.make(), problem, world, seed=seed, budget=budget)
            at = f"with a budget of {budget} of {whole} {where}"
            cut = [n for n in _solutions(result) if n.completion.finish is Finish.BUDGET]
            if cut or _draws(result) < _draws(free):
                _demand(result.stopped == SPENT_OUT, f"the budget ended it and stopped is {result.stopped!r} {at}")
            _demand(all(n.found is None for n in cut), f"a sample cut by the budget has an answer {at}")
            _check_answer(result, world, at)
            if any(n.found is not None for n in _solutions(result)):
                _demand(result.answer is not None, f"an answer was found and none is given {at}")


def _check_answer(result: Result, world: _World, where: str) -> None:
    found = {world.reading.key(n.found.value) for n in result.tree if n.found is not None}
    if result.answer is not None:
        key = world.reading.key(result.answer)
        _demand(key in found, f"the answer {result.answer!r} was read from no sample {where}")


@_law
async def same_seed_same_record(strategy: Factory) -> None:
    """The same seed gives the same record to the byte, the spent book included, whatever was solved before."""
    for world, problem, seed, where in _cases():
        one = strategy()
        first = _bytes(await _solve(one, world.make(), problem, world, seed=seed), spent=True)
        for other in PROBLEMS:
            if other is not problem:
                await _solve(one, world.make(), other, world, seed=seed)
        again = _bytes(await _solve(one, world.make(), problem, world, seed=seed), spent=True)
        _demand(first == again, f"a strategy object that solved other problems gives another record {where}")
        for _ in range(3):
            fresh = _bytes(await _solve(strategy(), world.make(), problem, world, seed=seed), spent=True)
            _demand(first == fresh, f"the same seed gives another record {where}")


@_law
async def timing_changes_nothing(strategy: Factory) -> None:
    """Whoever arrives first, and however many run at once: answer, tree and charged tokens are the same."""
    waits: dict[str, Callable[[Cue], int]] = {
        "late draws last": lambda cue: 9 * (cue.draw or 0),
        "late draws first": lambda cue: max(0, 200 - 9 * (cue.draw or 0)),
        "any order": lambda cue: cue.seed % 97,
    }
    for budget in (None, 90):
        for world, problem, seed, where in _cases():
            plain = _bytes(await _solve(strategy(), world.make(), problem, world, seed=seed, budget=budget))
            others: dict[str, Generator] = {name: world.make(wait=wait) for name, wait in waits.items()}
            others["one at a time"] = _Wrapped(world.make(), serial=True)
            for name, generator in others.items():
                other = _bytes(await _solve(strategy(), generator, problem, world, seed=seed, budget=budget))
                _demand(plain == other, f"the record depends on timing: {name}, budget {budget} {where}")


@_law
async def pool_changes_nothing(strategy: Factory) -> None:
    """With samples from an earlier, a half-finished or a killed run: the same record, and nothing paid twice."""
    for budget in (None, 60):
        for world, problem, seed, where in _cases():
            at = f"with a budget of {budget} {where}"
            plain = _bytes(await _solve(strategy(), world.make(), problem, world, seed=seed, budget=budget))
            rich = _Memory()
            await _solve(strategy(), world.make(), problem, world, seed=seed, pool=rich)
            half = _Memory(dict(list(rich.samples.items())[::2]))
            killed = await _killed(strategy, world, problem, seed, budget)
            for name, pool in (("empty", _Memory()), ("full", rich), ("half-full", half), ("a killed run's", killed)):
                generator = world.make()
                result = await _solve(strategy(), generator, problem, world, seed=seed, budget=budget, pool=pool)
                _demand(plain == _bytes(result), f"the record depends on the sample pool ({name}) {at}")
                _demand(name != "full" or generator.spent.generated == 0, f"pooled samples are drawn again {at}")


async def _killed(strategy: Factory, world: _World, problem: Problem, seed: int, budget: int | None) -> _Memory:
    """The pool of a run that was cancelled after its third sample."""
    pool = _Memory()
    pool.limit = 3
    work = asyncio.ensure_future(_solve(strategy(), world.make(), problem, world, seed=seed, budget=budget, pool=pool))
    signal = asyncio.ensure_future(pool.reached.wait())
    await asyncio.wait({work, signal}, return_when=asyncio.FIRST_COMPLETED)
    signal.cancel()
    work.cancel()
    await asyncio.gather(work, signal, return_exceptions=True)
    return pool


@_law
async def nothing_is_left_running(strategy: Factory) -> None:
    """When a result is there, or the run was cancelled, no task and no request is left."""
    before = asyncio.all_tasks()
    for world, problem, seed, where in _cases():
        generator = world.make(wait=lambda cue: cue.seed % 11)
        await _solve(strategy(), generator, problem, world, seed=seed)
        left = len(asyncio.all_tasks() - before) + generator.pending
        _demand(left == 0, f"{left} tasks or requests are left after the result {where}")
        for turns in (1, 3, 8, 20):
            generator = world.make()
            work = asyncio.ensure_future(_solve(strategy(), generator, problem, world, seed=seed))
            for _ in range(turns):
                await asyncio.sleep(0)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            left = len(asyncio.all_tasks() - before) + generator.pending
            _demand(left == 0, f"{left} tasks or requests are left after a cancellation {where}")


@_law
async def unknown_counts_stay_unknown(strategy: Factory) -> None:
    """Where a server counts no tokens, the charged book says null, never 0."""
    if Ability.TOKEN_IDS in strategy().needs:
        return
    for world, problem, seed, where in _cases():
        generator = _Wrapped(
            world.make(),
            abilities=frozenset(Ability) - {Ability.TOKEN_IDS, Ability.THOUGHT_LIMIT},
            shown=lambda request, c: replace(c, ids=None, generated=None, prompt_tokens=None),
            ids=False,
        )
        charged = (await _solve(strategy(), generator, problem, world, seed=seed)).record()["charged"]
        _demand(
            charged["generated"] is None, f"generated tokens are unknown and {charged['generated']} charged {where}"
        )
        _demand(charged["prompt"] is None, f"prompt tokens are unknown and {charged['prompt']} charged {where}")


@_law
async def references_change_nothing(strategy: Factory) -> None:
    """Permuting all reference answers, or taking them away, changes no byte of any record."""
    sheets = [REFERENCES[k:] + REFERENCES[:k] for k in range(len(REFERENCES))]
    seen: list[list[str]] = []
    try:
        for references in (*sheets, ("", "", "")):
            SHEET.references = {p.id: r for p, r in zip(PROBLEMS, references, strict=True)}
            seen.append(
                [
                    _bytes(await _solve(strategy(), ONE_CALL.make(), problem, seed=seed), spent=True)
                    for problem in PROBLEMS
                    for seed in range(6)
                ]
            )
    finally:
        SHEET.references = {}
    _demand(all(records == seen[0] for records in seen), "other reference answers give other records: it reads them")


@_law
async def failed_calls_are_never_answers(strategy: Factory) -> None:
    """A failed call raises CallFailed, or is made up for by other samples; its text never is an answer."""
    said = Failure("refused", "the server says #### 31337")
    for world, problem, seed, where in _cases():
        try:
            await _solve(strategy(), world.make(fail=lambda cue: said), problem, world, seed=seed)
        except CallFailed:
            pass
        else:
            raise LawBroken(f"every call failed and there is a result instead of CallFailed {where}")
        for unlucky in (0, 1, 2):
            generator = world.make(fail=lambda cue, k=unlucky: said if cue.draw == k else None)
            try:
                result = await _solve(strategy(), generator, problem, world, seed=seed)
            except CallFailed:
                continue
            _demand("31337" not in _bytes(result), f"the text of a failed call is in the record {where}")


@_law
async def natural_end_ends_a_path(strategy: Factory) -> None:
    """A text that the model ended is not continued as solution text, unless a method forced more text first."""
    for world, problem, seed, where in _cases():
        result = await _solve(strategy(), world.make(), problem, world, seed=seed)
        for node in _solutions(result):
            path = result.tree.path(node)
            following = itertools.pairwise(path)
            ended = any(n.completion.finish is Finish.EOS and m.origin is not Origin.FORCED for n, m in following)
            _demand(not ended, f"a text that had ended was continued {where}")


@_law
async def one_sample_is_one_sample(strategy: Factory) -> None:
    """With n = 1 a strategy draws one sample, the one that plain sampling (or greedy decoding) draws first."""
    made = strategy()
    single = _with_one(made)
    if single is None:
        return
    for world, problem, seed, where in _cases():
        result = await _solve(single, world.make(), problem, world, seed=seed)
        solutions = _solutions(result)
        parents = [n.parent for n in solutions]
        _demand(
            bool(solutions) and len(set(parents)) == len(parents) and all(n.multiplicity == 1 for n in solutions),
            f"n = 1 draws {_draws(result)} samples {where}",
        )
        if len(solutions) == 1 and solutions[0].kind is Kind.FINISH:
            plain = {(await _solve(_Plain(greedy), world.make(), problem, world, seed=seed)).trace for greedy in (0, 1)}
            _demand(result.trace in plain, f"n = 1 draws {result.trace!r} and plain sampling {plain} {where}")


@dataclass(frozen=True, slots=True)
class _Plain:
    """One sample, or the greedy one."""

    greedy: int
    needs: frozenset[Ability] = frozenset()

    async def solve(self, search: Any) -> Result:
        """Draw it."""
        nodes = await search.expand(sampling=search.sampling.greedy() if self.greedy else None)
        return cast(Result, search.result(nodes[0]))


def _with_one(made: Strategy) -> Strategy | None:
    """The strategy with n = 1 (and its window or width, where they must not be larger); None if it has no n, or if one
    of its n is a whole inner strategy."""
    if "n" not in getattr(made, "__dataclass_fields__", ()) or getattr(made, "inner", None) is not None:
        return None
    for more in ({}, {"window": 1}, {"width": 1}):
        try:
            return cast(Strategy, replace(cast(Any, made), n=1, **more))
        except (UsageError, TypeError, ValueError):
            continue
    return None


@_law
async def only_declared_abilities_are_used(strategy: Factory) -> None:
    """With a generator that has no ability beyond ``needs``, and gives log-probabilities only when they are asked for,
    the answer and the charged tokens are the same."""
    needs = strategy().needs
    probabilities = bool(needs & {Ability.LOGPROBS, Ability.TOP2})

    def refuse(request: Request) -> Failure | None:
        asked = {Ability.FIRST_TOKEN: request.sampling.first_rank is not None, Ability.TOP2: request.sampling.top2}
        lacking = [a for a, wanted in asked.items() if wanted and a not in needs]
        return Failure("ability", f"{lacking[0]} is used and not declared in needs") if lacking else None

    def shown(request: Request, c: Completion) -> Completion:
        asked = probabilities and (request.sampling.logprobs or request.sampling.top2)
        return replace(c, logprobs=c.logprobs if asked else None, top2=c.top2 if Ability.TOP2 in needs else None)

    for world, problem, seed, where in _cases():
        plain = await _solve(strategy(), world.make(), problem, world, seed=seed)
        limited = _Wrapped(world.make(), abilities=needs, refuse=refuse, shown=shown)
        other = await _solve(strategy(), limited, problem, world, seed=seed)
        same = (plain.answer, plain.record()["charged"]) == (other.answer, other.record()["charged"])
        _demand(same, f"without abilities that it does not declare it answers {other.answer!r} {where}")


@_law
async def answers_come_from_replies(strategy: Factory) -> None:
    """What stands in a thought is no answer, and neither is anything that was not read from a sample."""

    def write(cue: Cue) -> Line:
        if cue.seed % 5 == 0:
            return Line("<think>It may be\n#### 666")  # cut before its end: no reply
        return Line(f"<think>First I thought\n#### 666\n</think>\nNow I say\n#### {14 + cue.seed % 3}")

    for problem in PROBLEMS:
        for seed in range(5):
            result = await _solve(strategy(), ScriptedGenerator(write), problem, seed=seed)
            where = f"({problem.text!r}, seed {seed})"
            _demand(result.answer != "666", f"the answer was read from a thought {where}")
            _check_answer(result, ONE_CALL, where)


__all__ = ["LAWS", "SHEET", "AnswerSheet", "Factory", "Law", "LawBroken", "check"]
