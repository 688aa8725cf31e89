"""The one door: order, budget, books, duplicates, pools, failures, second turns."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.core.budget import Ledger, Spent
from thence.core.completion import Ability, Completion, Context, Failure, Finish, Origin, Request, Sampling
from thence.core.errors import CallFailed, UsageError
from thence.core.problem import Message, Problem
from thence.core.protocols import Generator, PromptStyle
from thence.core.scores import Score
from thence.core.search import SPENT_OUT, Search, clip
from thence.core.solve import check_needs, solve
from thence.core.tree import Kind, Node
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare, ChainOfDraft, ZeroShotCoT
from thence.strategies.greedy import Greedy
from thence.strategies.self_consistency import SelfConsistency

PROBLEM = Problem("p", "What is 7 + 8?")
PROMPT = 8  # tokens: <user> What is 7 + 8? <assistant>, and the blank between


def search_with(
    generator: Generator,
    *,
    style: PromptStyle = Bare(),
    budget: int | None = None,
    seed: int = 0,
    max_tokens: int = 50,
    pool: Pool | None = None,
    roles: Mapping[str, Generator] | None = None,
) -> Search:
    return Search(
        PROBLEM,
        {"policy": generator, **(roles or {})},
        style,
        NumericReading(),
        Sampling(temperature=1.0, max_tokens=max_tokens),
        seed=seed,
        ledger=Ledger(budget),
        pool=pool,
    )


def words(*counts: int, **options: object) -> ScriptedGenerator:
    """Draw i has counts[i] tokens, its end included."""

    def write(cue: Cue) -> str:
        return " ".join(["x"] * (counts[cue.draw or 0] - 1))

    return ScriptedGenerator(write, **options)  # type: ignore[arg-type]


@dataclass
class Pool:
    """Samples in memory."""

    samples: dict[str, Completion] = field(default_factory=dict)

    def get(self, key: str) -> Completion | None:
        return self.samples.get(key)

    def put(self, key: str, problem: str, completion: Completion) -> None:
        assert problem == PROBLEM.hash
        self.samples[key] = completion


def total(search: Search) -> int:
    charged = search.ledger.total_charged.total
    assert charged is not None
    return charged


# --- order ---------------------------------------------------------------------------------------------------------


async def test_a_stream_hands_out_in_seed_order_whoever_arrives_first() -> None:
    search = search_with(words(9, 2, 7, 3, 5))
    async with search.stream(n=5) as samples:
        drawn = [node.completion.generated async for node in samples]
    assert drawn == [9, 2, 7, 3, 5]


async def test_arrival_order_exists_by_name_only() -> None:
    search = search_with(words(9, 2, 7, 3, 5))
    async with search.stream(n=5, order="arrival") as samples:
        drawn = [node.completion.generated async for node in samples]
    assert drawn == [2, 3, 5, 7, 9]


async def test_a_vote_stopped_in_arrival_order_is_biased_and_in_seed_order_it_is_not() -> None:
    """Right answers are longer. Of 16 samples that start together the first 5 are looked at."""
    right = 0.6

    def write(cue: Cue) -> str:
        return f"{'x ' * 6}#### 15" if random.Random(cue.seed).random() < right else "#### 14"

    shares = {}
    for order in ("seed", "arrival"):
        count = 0
        for seed in range(150):
            search = search_with(ScriptedGenerator(write), seed=seed)
            async with search.stream(n=16, order=order) as samples:  # type: ignore[arg-type]
                for _ in range(5):
                    count += "15" in (await anext(samples)).text
        shares[order] = count / 750
    error = (right * (1 - right) / 750) ** 0.5
    assert abs(shares["seed"] - right) < 4 * error
    assert shares["arrival"] < right - 8 * error


async def test_leaving_a_stream_cancels_awaits_and_books_what_was_wasted() -> None:
    generator = words(3, 3, 3, 40)
    search = search_with(generator)
    async with search.stream(n=4) as samples:
        await anext(samples)
        await asyncio.sleep(0)
    assert generator.pending == 0
    assert len(asyncio.all_tasks()) == 1
    spent = search.ledger.total_spent
    assert (spent.prefilled, spent.reused, spent.generated) == (
        generator.spent.prefilled,
        generator.spent.reused,
        generator.spent.generated,
    )
    assert spent.generated is not None
    assert spent.generated < 49
    assert spent.wasted == spent.generated - 3  # finished but not looked at, and begun but not finished
    assert search.ledger.total_charged.generated == 3


async def test_waste_of_unknown_size_is_unknown() -> None:
    search = search_with(Blind(words(3, 3)))
    async with search.stream(n=2) as samples:
        await anext(samples)
        for _ in range(30):
            await asyncio.sleep(0)
    assert search.ledger.total_spent.wasted is None


async def test_only_so_many_run_ahead() -> None:
    generator = words(*[4] * 9)
    search = search_with(generator)
    async with search.stream(n=9, ahead=2) as samples:
        async for _ in samples:
            pass
    assert generator.peak == 3


# --- seeds and draw paths ------------------------------------------------------------------------------------------


async def test_the_ith_child_is_the_same_however_it_was_asked_for() -> None:
    texts = []
    for parts in ([6], [1, 2, 3], [3, 3]):
        search = search_with(ScriptedGenerator(lambda cue: f"#### {cue.seed}"))
        await search.expand(sampling=search.sampling.greedy())  # other sampling, other ordinals
        await search.ask([[Message("user", "Is that so?")]])
        drawn = []
        for n in parts:
            drawn += await search.expand(n=n)
        texts.append([node.text for node in drawn])
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0])) == 6


async def test_seeds_differ_by_run_problem_kind_role_and_path() -> None:
    seen = set()
    for seed in range(2):
        search = search_with(ScriptedGenerator(lambda cue: f"{cue.seed}"), seed=seed)
        first = (await search.expand())[0]
        seen |= {n.text for n in [first, *await search.expand(first), *await search.expand(role="critic")]}
        seen |= {n.text for n in await search.expand(kind=Kind.STEP)}
    assert len(seen) == 8


async def test_duplicates_are_one_node_and_every_draw_is_charged() -> None:
    search = search_with(ScriptedGenerator(lambda cue: "#### 15"))
    nodes = await search.expand(n=5)
    assert len({n.index for n in nodes}) == 1
    assert nodes[0].multiplicity == 5
    assert search.ledger.total_charged.generated == 5 * 3
    classes = await search.classes(nodes)
    assert [len(c.nodes) for c in classes] == [5]
    assert await search.expand(nodes[0]) != []
    assert search.tree.nodes[-1].draws == [(0, 0)]  # continued from its first path


async def test_classes_group_equal_answers_largest_first_then_by_appearance() -> None:
    said = ["#### 1/2", "none", "#### 3", "#### 0.5", "#### 4", "#### 4"]
    search = search_with(ScriptedGenerator(lambda cue: said[cue.draw or 0]))
    classes = await search.classes(await search.expand(n=6))
    assert [(c.answer, len(c.nodes)) for c in classes] == [("1/2", 2), ("4", 2), ("3", 1)]


# --- the charged book ----------------------------------------------------------------------------------------------


async def test_a_prompt_is_charged_once_and_a_path_never_again() -> None:
    search = search_with(words(4, 4))
    nodes = await search.expand(n=2)
    assert search.ledger.total_charged.prompt == PROMPT
    child = (await search.expand(nodes[0]))[0]
    await search.expand(child)
    assert search.ledger.total_charged.prompt == PROMPT


async def test_a_stop_string_path_is_not_charged_again_either() -> None:
    search = search_with(ScriptedGenerator(lambda cue: f"one\ntwo {cue.seed}"))
    sampling = replace(search.sampling, stop=("\n",))
    step = (await search.expand(sampling=sampling, kind=Kind.STEP))[0]
    assert step.completion.finish is Finish.STOP
    await search.expand(step)
    assert search.ledger.total_charged.prompt == PROMPT


async def test_forced_text_is_charged_as_prompt() -> None:
    search = search_with(words(4, 4))
    node = (await search.expand())[0]
    forced = Completion.of(" Wait, let me see", Finish.STOP)
    wait = search.tree.add(node, forced, (0, 0), kind=Kind.FORCED, origin=Origin.FORCED)
    await search.expand(wait, n=2)
    assert search.ledger.total_charged.prompt == PROMPT + 4


async def test_a_given_beginning_is_charged_as_prompt() -> None:
    search = search_with(words(4))
    start = search.tree.add(search.root, Completion.of("7 and 8", Finish.STOP), (0,), origin=Origin.GIVEN)
    await search.expand(start)
    assert search.ledger.total_charged.prompt == PROMPT + 3


async def test_a_fresh_prompt_is_charged_beyond_what_it_shares() -> None:
    search = search_with(words(4, 4))
    await search.expand()
    (aside,) = await search.ask([[Message("user", "What is 7 + 8? Hint: count.")]])
    assert aside.kind is Kind.CRITIQUE
    assert search.ledger.total_charged.prompt == PROMPT + 4  # Hint: count. <assistant>; the rest is shared
    await search.ask([[Message("user", "What is 7 + 8? Hint: count.")]])
    assert search.ledger.total_charged.prompt == PROMPT + 4


async def test_another_role_reads_the_path_for_the_first_time() -> None:
    critic = words(3, 3, name="critic")
    search = search_with(words(4, 4), roles={"critic": critic})
    node = (await search.expand())[0]
    said = (await search.expand(node, role="critic", kind=Kind.CRITIQUE))[0]
    assert search.ledger.charged["critic"].prompt == PROMPT + 3  # the sample's end is no part of what is read
    assert search.ledger.charged["critic"].generated == 3
    await search.expand(said)
    assert search.ledger.charged["policy"].prompt == PROMPT + 2  # what the critic wrote


async def test_asides_are_charged_to_their_role_and_a_verifiers_to_its_column() -> None:
    search = search_with(words(4), roles={"critic": words(5, name="critic")})
    await search.ask([[Message("user", "Well?")]], role="critic")
    judge = words(6, name="judge")
    nodes = await search.expand()
    verdicts = await search.ask([[Message("user", "Good?")]], about=nodes, role="verifier:judge", generator=judge)
    charged = search.ledger.total_charged
    assert (charged.generated, charged.verifier) == (4 + 5, 4 + 6)
    assert search.ledger.charged["critic"].prompt == 4
    assert verdicts[0].about == (nodes[0].index,)
    assert search.ledger.total_spent.verifier == 4 + 6


async def test_equal_nodes_are_scored_once_and_unknown_costs_stay_unknown() -> None:
    @dataclass
    class Costly:
        seen: list[int] = field(default_factory=list)
        price: int | None = 7
        name: str = "costly"
        needs: frozenset[Ability] = frozenset()

        async def score(self, search: Search, nodes: Sequence[Node]) -> list[Score]:
            self.seen.append(len(nodes))
            return [Score(float(len(n.text)), tokens=self.price) for n in nodes]

    search = search_with(words(2, 3, 2, 3))
    nodes = await search.expand(n=4)
    verifier = Costly()
    scores = await search.score(nodes, verifier)
    assert [s.value for s in scores] == [1.0, 3.0, 1.0, 3.0]
    await search.score(nodes, verifier)
    assert verifier.seen == [2]
    assert search.ledger.total_charged.verifier == 14
    await search.score(nodes, Costly(price=None, name="server"))
    assert search.ledger.total_charged.verifier is None


# --- budget --------------------------------------------------------------------------------------------------------


def expected_draws(lengths: Sequence[int], cap: int, budget: int) -> list[tuple[int, Finish]]:
    """The rule, by hand: draw i gets min(cap, budget - what all earlier ones cost)."""
    left, drawn = budget - PROMPT, []
    for length in lengths:
        if left < 1:
            break
        mine = min(cap, left)
        if length <= mine:
            drawn.append((length, Finish.EOS))
        else:
            drawn.append((mine, Finish.LENGTH if mine == cap else Finish.BUDGET))
        left -= drawn[-1][0]
    return drawn


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 12), min_size=1, max_size=6),
    cap=st.integers(1, 14),
    budget=st.integers(1, 70),
    ahead=st.sampled_from([None, 0, 1, 2, 100]),
    waits=st.lists(st.integers(0, 30), min_size=6, max_size=6),
    pooled=st.booleans(),
)
def test_caps_follow_the_rule_in_seed_order_whatever_runs_ahead(
    lengths: list[int], cap: int, budget: int, ahead: int | None, waits: list[int], pooled: bool
) -> None:
    async def run() -> None:
        pool = Pool() if pooled else None
        if pool is not None:
            await search_with(words(*lengths), max_tokens=14, pool=pool).expand(n=len(lengths))
        generator = words(*lengths, wait=lambda cue: waits[cue.draw or 0])
        if pool is not None:
            await drain(search_with(generator, max_tokens=14), None, len(lengths))  # it has to know its own tokens
        search = search_with(generator, budget=budget, max_tokens=cap, pool=pool)
        nodes = await drain(search, ahead, len(lengths))
        drawn = [(n.completion.generated, n.completion.finish) for n in nodes]
        rule = expected_draws(lengths, cap, budget)
        assert drawn == rule
        assert total(search) == (PROMPT if rule else 0) + sum(n for n, _ in rule) <= budget
        cut = len(rule) < len(lengths) or any(finish is Finish.BUDGET for _, finish in rule)
        assert search.stopped == (SPENT_OUT if cut else None)
        assert search.reserved == 0

    asyncio.run(run())


async def drain(search: Search, ahead: int | None, n: int) -> list[Node]:
    async with search.stream(n=n, ahead=ahead) as samples:
        return [node async for node in samples]


async def test_under_a_budget_nothing_runs_ahead_unless_asked_for() -> None:
    for ahead, peak in ((None, 1), (2, 3)):
        generator = words(*[4] * 6)
        await drain(search_with(generator, budget=1000), ahead, 6)
        assert generator.peak == peak
    generator = words(*[4] * 6)
    await search_with(generator, budget=1000).expand(n=6)
    assert generator.peak == 6


async def test_a_shared_prompt_is_reserved_once() -> None:
    """6 samples of at most 4 tokens fit beside one prompt, and so may run at once."""
    generator = words(*[4] * 6)
    await search_with(generator, budget=PROMPT + 24, max_tokens=4).expand(n=6)
    assert generator.peak == 6


async def test_a_sample_cut_by_the_budget_casts_no_vote_and_marks_the_result() -> None:
    generator = ScriptedGenerator(lambda cue: "7 + 8 is 15 of course")
    result = await solve(
        PROBLEM, generator=generator, strategy=Greedy(), style=Bare(), reading=NumericReading(), budget=PROMPT + 5
    )
    assert result.node is not None
    assert (result.node.text, result.node.completion.finish) == ("7 + 8 is 15", Finish.BUDGET)
    assert (result.answer, result.stopped, result.truncated) == (None, SPENT_OUT, True)


async def test_a_sample_cut_by_its_own_cap_has_no_answer_but_the_budget_is_not_blamed() -> None:
    search = search_with(ScriptedGenerator(lambda cue: "7 + 8 is 15 of course"), max_tokens=5, budget=500)
    node = (await search.expand())[0]
    assert await search.answer(node) is None
    assert node.completion.finish is Finish.LENGTH
    assert search.stopped is None


async def test_a_budget_below_the_prompt_buys_nothing() -> None:
    generator = words(3)
    search = search_with(generator, budget=PROMPT)
    assert await search.expand(n=3) == []
    assert search.stopped == SPENT_OUT
    assert total(search) == 0
    assert generator.requests == []


async def test_continuing_a_path_reserves_only_what_it_will_be_charged() -> None:
    search = search_with(words(20, 20), budget=PROMPT + 40)
    node = (await search.expand())[0]
    assert len(await search.expand(node)) == 1
    assert total(search) == PROMPT + 40
    assert search.stopped is None


async def test_asides_stay_within_the_budget() -> None:
    for budget in range(1, 60):
        search = search_with(words(9, 9, 9), budget=budget)
        nodes = await search.expand(n=2)
        await search.ask([[Message("user", f"Is draft {i} good?")] for i in range(3)], about=nodes, role="verifier:j")
        assert total(search) <= budget


async def test_a_budget_needs_caps_and_counts() -> None:
    search = search_with(words(3), budget=50)
    with pytest.raises(UsageError, match="--max-tokens"):
        await search.expand(sampling=replace(search.sampling, max_tokens=None))
    with pytest.raises(UsageError, match="drop --budget"):
        await search_with(Blind(words(3, 3)), budget=1000).expand(n=2)


async def test_the_context_of_whoever_plays_the_role_is_the_cap() -> None:
    narrow = words(50, name="narrow", max_context=6)
    search = search_with(words(50), roles={"critic": narrow})
    await search.ask([[Message("user", "Well?")]], role="critic")
    assert narrow.requests[0].sampling.max_tokens == 2
    assert (await search.expand())[0].completion.generated == 50


# --- second turns --------------------------------------------------------------------------------------------------


def two_calls() -> ScriptedGenerator:
    return ScriptedGenerator(answers={PROBLEM.text: [("15", 0.5), ("14", 0.5)]}, template="{answer} it is, or 3.")


ZERO_SHOT = ZeroShotCoT(trigger="")


async def test_the_second_turn_reads_the_answer_and_costs_its_own_tokens_only() -> None:
    search = search_with(two_calls(), style=ZERO_SHOT)
    node = (await search.expand())[0]
    before = total(search)
    found = await search.answer(node)
    assert found is not None
    assert found.value == node.text[:2]  # and not 3, the last number of the text
    probe = search.tree.nodes[found.node]
    assert (probe.kind, probe.parent, probe.text) == (Kind.PROBE, node.index, f" {found.value}")
    assert probe.text[found.start : found.end] == found.value
    assert (
        total(search) - before == 6 + 2
    )  # "\nTherefore, the answer (arabic numerals) is", then the number and its end
    assert await search.answer(node) is found
    assert total(search) - before == 8


async def test_the_second_turn_is_within_the_budget_and_paid_for_beforehand() -> None:
    """A first turn starts only if there is room to read its answer."""
    for budget in range(1, 220):
        result = await solve(
            PROBLEM,
            generator=two_calls(),
            strategy=SelfConsistency(n=3),
            style=ZERO_SHOT,
            reading=NumericReading(),
            sampling=Sampling(temperature=1.0, max_tokens=40),
            budget=budget,
        )
        assert (result.ledger.total_charged.total or 0) <= budget
        whole = [n for n in result.tree if n.kind is Kind.FINISH and n.completion.finish is Finish.EOS]
        assert all(n.found is not None for n in whole)
    assert result.stopped is None
    assert len(whole) + sum(n.multiplicity - 1 for n in whole) == 3


async def test_a_first_turn_cut_by_its_cap_is_still_asked_and_one_cut_by_the_budget_is_not() -> None:
    search = search_with(two_calls(), style=ZERO_SHOT, max_tokens=3)
    node = (await search.expand())[0]
    assert node.completion.finish is Finish.LENGTH
    assert await search.answer(node) is not None
    search = search_with(two_calls(), style=ZERO_SHOT, budget=PROMPT + 80)
    node = (await search.expand())[0]
    assert node.completion.finish is Finish.BUDGET
    assert await search.answer(node) is None
    assert [n.kind for n in search.tree] == [Kind.ROOT, Kind.FINISH]


async def test_an_answer_that_the_budget_cut_is_none() -> None:
    search = search_with(two_calls(), style=ZERO_SHOT)
    node = (await search.expand())[0]
    search.ledger.budget = total(search) + 6 + 1  # one token is left for the second turn
    assert await search.answer(node) is None
    assert search.tree.nodes[-1].completion.finish is Finish.BUDGET
    assert search.stopped == SPENT_OUT


async def test_a_capped_draft_is_asked_only_where_it_was_cut() -> None:
    generator = ScriptedGenerator(
        lambda cue: " 15" if cue.reply else "7 + 8 #### 15" if cue.draw else "7 + 8 and so on"
    )
    search = search_with(generator, style=ChainOfDraft(limit=6))
    cut, whole = await search.expand(n=2)
    assert (cut.completion.finish, whole.completion.finish) == (Finish.LENGTH, Finish.EOS)
    assert [f.value for f in (await search.answer(cut), await search.answer(whole)) if f] == ["15", "15"]
    assert [n.kind for n in search.tree] == [Kind.ROOT, Kind.FINISH, Kind.FINISH, Kind.PROBE]


async def test_a_styles_cap_is_for_solutions_not_for_asides_or_second_turns() -> None:
    generator = words(30, 30)
    search = search_with(generator, style=ChainOfDraft(limit=4))
    node = (await search.expand())[0]
    await search.answer(node)
    await search.ask([[Message("user", "Good?")]])
    assert [r.sampling.max_tokens for r in generator.requests] == [4, 16, 50]


async def test_the_second_turn_has_the_top2_that_the_first_was_asked_for() -> None:
    for top2 in (False, True):
        search = search_with(two_calls(), style=ZERO_SHOT)
        node = (await search.expand(sampling=replace(search.sampling, top2=top2)))[0]
        found = await search.answer(node)
        assert found is not None
        assert (search.tree.nodes[found.node].completion.top2 is not None) is top2


async def test_votes_see_the_reply_and_budgets_count_both() -> None:
    search = search_with(ScriptedGenerator(lambda cue: "<think>maybe 14\n</think>\n#### 15"))
    node = (await search.expand())[0]
    found = await search.answer(node)
    assert found is not None
    assert node.text[found.start : found.end] == found.value == "15"
    assert found.tokens == (4, 5)
    assert search.ledger.total_charged.generated == 6
    result = search.result(node)
    assert result.reply == "#### 15"
    assert result.trace == node.text


# --- pools ---------------------------------------------------------------------------------------------------------


async def test_a_pooled_sample_is_not_drawn_again_and_charged_all_the_same() -> None:
    pool, generator = Pool(), words(4, 5, 6)
    first = search_with(generator, pool=pool)
    await first.expand(n=2)
    asked = len(generator.requests)
    second = search_with(generator, pool=pool)
    await second.expand(n=3)
    assert len(generator.requests) == asked + 1
    assert second.ledger.total_charged.generated == 15
    assert second.ledger.total_spent.generated == 6


async def test_who_a_sample_is_names_everything_that_makes_another_one() -> None:
    pool = Pool()

    async def draw(search: Search, **options: object) -> None:
        await search.expand(**options)  # type: ignore[arg-type]

    def fresh(**options: object) -> Search:
        return search_with(words(3, 3), pool=pool, **options)  # type: ignore[arg-type]

    await draw(fresh())
    await draw(fresh(max_tokens=7))  # the cap does not
    assert len(pool.samples) == 1
    await draw(fresh(seed=1))
    await draw(fresh(), n=2)
    await draw(fresh(), role="critic")
    await draw(fresh(), kind=Kind.STEP)
    await draw(fresh(), sampling=Sampling(temperature=0.5, max_tokens=50))
    await draw(fresh(style=ZeroShotCoT()))
    await draw(search_with(words(3, name="other"), pool=pool))
    assert len(pool.samples) == 8


async def test_a_whole_sample_is_clipped_to_a_smaller_cap_and_a_clipped_one_is_drawn_again() -> None:
    def thinks() -> ScriptedGenerator:
        return ScriptedGenerator(lambda cue: "<think>well then</think> 7 + 8 #### 15")

    generator, pool = thinks(), Pool()
    for cap in (20, 6, 3, 1):
        pooled = (await search_with(generator, pool=pool, max_tokens=cap).expand())[0].completion
        plain = (await search_with(thinks(), max_tokens=cap).expand())[0].completion
        assert pooled == plain
    assert len(generator.requests) == 1
    small = Pool()
    for cap, requests in ((3, 1), (6, 2), (20, 3), (4, 3)):
        generator = thinks() if cap == 3 else generator
        pooled = (await search_with(generator, pool=small, max_tokens=cap).expand())[0].completion
        assert pooled == (await search_with(thinks(), max_tokens=cap).expand())[0].completion
        assert len(generator.requests) == requests


async def test_a_servers_sample_is_kept_under_its_cap() -> None:
    pool, server = Pool(), Blind(words(9), ids=False)
    for cap, requests in ((5, 1), (5, 1), (7, 2)):
        await search_with(server, pool=pool, max_tokens=cap).expand()
        assert len(server.inner.requests) == requests


async def test_a_sample_without_log_probabilities_does_not_serve_who_needs_them() -> None:
    pool = Pool()
    server = Blind(words(4), asked_only=True)
    await search_with(server, pool=pool).expand()
    search = search_with(server, pool=pool)
    node = (await search.expand(sampling=replace(search.sampling, logprobs=True)))[0]
    assert node.completion.logprobs is not None
    await search_with(server, pool=pool).expand()
    assert len(server.inner.requests) == 2


async def test_a_sample_without_ids_cannot_be_clipped_and_says_so() -> None:
    with pytest.raises(UsageError, match="raise --budget"):
        clip(Completion("a b", Finish.EOS, generated=3), 1, words(3))


async def test_a_strategy_that_needs_log_probabilities_asks_for_them() -> None:
    server = Blind(words(4, 4), asked_only=True)
    made = SelfConsistency(n=2, weight="prob")
    result = await solve(PROBLEM, generator=server, strategy=made, style=Bare(), reading=NumericReading())
    assert all(n.completion.logprobs is not None for n in result.tree.nodes[1:])


# --- failures ------------------------------------------------------------------------------------------------------


async def test_a_failed_call_is_an_error_that_names_its_kind_and_no_text() -> None:
    generator = ScriptedGenerator(lambda cue: Failure("timeout", "no answer in 60 s: #### 5", attempts=3))
    search = search_with(generator)
    with pytest.raises(CallFailed, match=r"timeout after 3 attempt\(s\)") as caught:
        await search.expand(n=3)
    assert caught.value.kind == "timeout"
    assert len(search.tree) == 1
    assert search.ledger.total_charged.total == 0


async def test_a_failure_that_was_not_reached_does_not_count() -> None:
    generator = words(3, 3, 3, fail=lambda cue: Failure("timeout", "late") if cue.draw == 2 else None)
    search = search_with(generator)
    async with search.stream(n=3) as samples:
        drawn = [await anext(samples), await anext(samples)]
    assert len(drawn) == 2


@dataclass
class Broken:
    """A generator that misbehaves after its first outcome."""

    how: Callable[[], None]
    inner: ScriptedGenerator = field(default_factory=lambda: words(3, 3, 3))

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        async for k, outcome in self.inner.run(requests[:1], book):
            yield k, outcome
        self.how()


@pytest.mark.parametrize("how", ["raises", "ends", "is cancelled"])
async def test_a_broken_generator_fails_its_calls_and_nobody_waits_for_ever(how: str) -> None:
    def end() -> None:
        if how == "raises":
            raise ZeroDivisionError("inside the engine")
        if how == "is cancelled":
            raise asyncio.CancelledError

    said = {"raises": "ZeroDivisionError.*inside the engine", "ends": "lost", "is cancelled": "cancelled"}[how]
    search = search_with(Broken(end))  # type: ignore[arg-type]
    with pytest.raises(CallFailed, match=said):
        await asyncio.wait_for(search.expand(n=3), 5)
    assert len(search.tree) == 2  # the first one was there


def test_what_a_generator_lacks_is_said_before_any_call() -> None:
    plain = words(3, abilities=frozenset({Ability.SEEDED}))
    check_needs("greedy", frozenset(), plain, "openai")
    with pytest.raises(UsageError) as caught:
        check_needs("cot-decoding", frozenset({Ability.FIRST_TOKEN}), plain, "openai")
    assert str(caught.value) == (
        "cot-decoding: the openai generator cannot branch on the first token; use a local model"
    )


# --- results -------------------------------------------------------------------------------------------------------


async def test_a_result_says_what_was_chosen_and_what_it_cost() -> None:
    search = search_with(ScriptedGenerator(lambda cue: "#### 15"))
    node = (await search.expand())[0]
    await search.answer(node)
    record = search.result(node, confidence=0.5, notes=["one"]).record()
    assert (record["answer"], record["node"], record["stopped"], record["truncated"]) == ("15", 1, None, False)
    assert record["charged"] == {"prompt": PROMPT, "generated": 3, "verifier": 0}
    assert record["spent"] == {"prefilled": PROMPT, "reused": 0, "generated": 3, "wasted": 0, "verifier": 0}
    assert record["hash"] == PROBLEM.hash


async def test_unknown_counts_are_null_in_the_record() -> None:
    search = search_with(Blind(words(3), ids=False))
    nodes = await search.expand()
    record = search.result(nodes[0]).record()
    assert (record["charged"]["prompt"], record["charged"]["generated"]) == (None, None)
    assert record["tree"][0]["tokens"] is None


def test_ties_and_chances_are_seeded() -> None:
    picks = []
    for seed in range(400):
        search = search_with(words(3), seed=seed)
        picks.append(search.tie(["a", "b"]))
        assert picks[-1] == search.tie(["b", "a"])  # order does not matter
        assert search.tie(["a"]) == "a"
    assert abs(picks.count("a") - 200) < 4 * 10


@dataclass
class Blind:
    """A server: no counts; without ``ids`` no token ids; with ``asked_only`` log-probabilities where asked for."""

    inner: ScriptedGenerator
    ids: bool = True
    asked_only: bool = False

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def tokens(self, context: Context) -> tuple[int, ...] | None:
        return self.inner.tokens(context) if self.ids else None

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        async for k, outcome in self.inner.run(requests, book):
            assert isinstance(outcome, Completion)
            shown = replace(outcome, generated=None, prompt_tokens=None)
            if not self.ids:
                shown = replace(shown, ids=None)
            if self.asked_only and not requests[k].sampling.logprobs:
                shown = replace(shown, logprobs=None)
            yield k, shown
