"""Pools: whose turn it is, whose books, whose identity, whose votes; and what happens when a model is gone."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from thence import api, methods
from thence.cli import run
from thence.core.answers import Verdict
from thence.core.budget import POLICY, Spent
from thence.core.completion import Ability, Completion, Failure, Request, Sampling
from thence.core.errors import CallFailed, ModelError, ServerError, UsageError
from thence.core.problem import Problem
from thence.core.protocols import Deals, Generator
from thence.core.result import Result
from thence.core.search import Search, Strategy
from thence.core.skill import STRENGTH, Skill
from thence.core.solve import solve
from thence.evals.allocate import SharedVote, allocate
from thence.evals.compare import MemoryPool, short_model
from thence.generators.pool import PoolGenerator, names_of, parse_pool, short_pool
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.methods import ModelOptions
from thence.prompts.styles import Bare
from thence.stores.header import scrub
from thence.stores.skill import read_skill
from thence.stores.sqlite import Cell, RunView
from thence.strategies.adaptive_consistency import AdaptiveConsistency
from thence.strategies.beam import Beam
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.strategies.self_check import SelfCheck
from thence.strategies.self_consistency import SelfConsistency
from thence.verifiers.basic import LogProb
from thence.worlds import Chain

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
RECORDED = DATA / "gsm8k" / "multi_model_solutions_8.jsonl.gz"
needs_data = pytest.mark.skipif(not RECORDED.is_file(), reason="recorded data is not here (set THENCE_DATA)")
PROBLEM = Problem("p", "What is 7 + 8?")


def model(name: str, *texts: str, fail: Failure | None = None, context: int | None = None) -> ScriptedGenerator:
    """Draw i is texts[i], over and over."""
    return ScriptedGenerator(
        lambda cue: texts[(cue.draw or 0) % len(texts)],
        name=name,
        pace=0,
        fail=None if fail is None else lambda cue: fail,
        max_context=context,
    )


class Gone(ScriptedGenerator):
    """A server that refuses every call after the first ``alive`` ones."""

    def __init__(self, alive: int = 0, error: type[Exception] = ServerError) -> None:
        super().__init__(lambda cue: "#### 99", name="gone", pace=0)
        self.alive, self.error, self.calls = alive, error, 0

    async def run(
        self, requests: Sequence[Request], book: Spent
    ) -> AsyncGenerator[tuple[int, Completion | Failure], None]:
        self.calls += 1
        left = self.alive
        async for i, outcome in super().run(requests, book):
            if left == 0:
                raise self.error("the server refuses the connection")
            left -= 1
            yield i, outcome
        if not requests:
            raise self.error("the server refuses the connection")


def pool(*models: Generator, shares: Sequence[int] | None = None, skill: Skill | None = None) -> PoolGenerator:
    return PoolGenerator({"abcdef"[i]: m for i, m in enumerate(models)}, shares, skill=skill)


async def solved(
    strategy: Strategy,
    generator: Generator,
    problem: Problem = PROBLEM,
    *,
    budget: int | None = None,
    store: MemoryPool | None = None,
    seed: int = 0,
    sampling: Sampling | None = None,
) -> Result:
    return await solve(
        problem,
        generator=generator,
        strategy=strategy,
        style=Bare(),
        reading=NumericReading(),
        sampling=sampling,
        seed=seed,
        budget=budget,
        pool=store,
    )


def drawn(result: Result) -> list[tuple[str, int]]:
    """(role, own ordinal) of every sample."""
    return [(n.role, draw[-1]) for n in result.tree.nodes[1:] for draw in n.draws]


# ------------------------------------------------------------------------------------------------------- whose turn


@pytest.mark.parametrize("shares", [(1, 1), (1, 1, 1), (3, 1), (1, 4, 2), (7, 5, 3)])
def test_turns_follow_the_shares_and_every_model_makes_its_own_draws_without_gaps(shares: tuple[int, ...]) -> None:
    dealer: Deals = pool(*(model(c, "x") for c in "abcdef"[: len(shares)]), shares=shares)
    own: dict[str, list[int]] = {role: [] for role in dealer.members}
    for k in range(1, 3 * sum(shares) + 1):
        role, j = dealer.deal(k - 1)
        own[role].append(j)
        for share, (name, made) in zip(shares, own.items(), strict=True):
            assert made == list(range(len(made))), name
            assert abs(len(made) - k * share / sum(shares)) < 1
    assert [len(made) for made in own.values()] == [3 * share for share in shares]


async def test_draws_are_dealt_in_seed_order_and_each_has_noise_of_its_own() -> None:
    a, b = model("a", "#### 1", "#### 2"), model("b", "#### 3", "#### 4")
    result = await solved(RepeatedSampling(n=4), pool(a, b))
    assert drawn(result) == [("pool:a", 0), ("pool:b", 0), ("pool:a", 1), ("pool:b", 1)]
    assert [n.text for n in result.tree.nodes[1:]] == ["#### 1", "#### 3", "#### 2", "#### 4"]
    assert [r.draw for r in (*a.requests, *b.requests)] == [0, 1, 0, 1]
    assert len({r.seed for r in (*a.requests, *b.requests)}) == 4


async def test_equal_texts_of_two_models_stay_two_samples() -> None:
    result = await solved(SelfConsistency(n=4), pool(model("a", "#### 1"), model("b", "#### 1")))
    assert [(n.role, n.multiplicity) for n in result.tree.nodes[1:]] == [("pool:a", 2), ("pool:b", 2)]
    assert (result.answer, result.confidence) == ("1", 1.0)


async def test_a_stream_that_stops_early_has_asked_in_the_same_order() -> None:
    strategy = AdaptiveConsistency(n=20)
    result = await solved(strategy, pool(model("a", "#### 1"), model("b", "#### 1"), shares=(2, 1)))
    who = [role for role, _ in drawn(result)]
    assert 3 < len(who) < 20
    assert who.count("pool:a") in (2 * who.count("pool:b"), 2 * who.count("pool:b") + 1, 2 * who.count("pool:b") - 1)


# ------------------------------------------------------------------------------------------------- books, identities


async def test_every_model_has_the_books_that_it_would_have_alone() -> None:
    texts = {"a": ("one two #### 1", "#### 2"), "b": ("three four five six #### 3",)}
    both = pool(*(model(name, *said) for name, said in texts.items()))
    result = await solved(RepeatedSampling(n=4), both)
    for name, said in texts.items():
        alone = await solved(RepeatedSampling(n=2), model(name, *said))
        assert result.ledger.charged[f"pool:{name}"] == alone.ledger.charged[POLICY]
        assert result.ledger.spent[f"pool:{name}"] == alone.ledger.spent[POLICY]
    total = result.ledger.total_charged
    assert total.prompt == sum(b.prompt or 0 for b in result.ledger.charged.values()) > 0


@pytest.mark.parametrize("budget", [20, 45, 70, 200])
async def test_a_budget_binds_all_models_together(budget: int) -> None:
    both = pool(model("a", "word " * 9 + "#### 1"), model("b", "word " * 4 + "#### 1"))
    result = await solved(SelfConsistency(n=12), both, budget=budget, sampling=Sampling(max_tokens=15))
    assert 0 < (result.ledger.total_charged.total or 0) <= budget
    assert (result.stopped == "budget") == (budget < 200)


async def test_a_finished_sample_is_known_by_its_model_in_whatever_pool_that_is() -> None:
    store = MemoryPool()
    a, b, c = model("a", "#### 1", "#### 2"), model("b", "#### 3"), model("c", "#### 4")
    first = await solved(RepeatedSampling(n=4), pool(a, b), store=store)
    again = await solved(RepeatedSampling(n=4), pool(a, b), store=store)
    assert (len(a.requests), len(b.requests)) == (2, 2)
    assert again.record()["tree"] == first.record()["tree"]
    longer = await solved(RepeatedSampling(n=6), PoolGenerator({"a": a, "c": c}), store=store)
    assert (len(a.requests), len(c.requests)) == (3, 3)
    assert sorted(drawn(longer)) == [(f"pool:{name}", i) for name in "ac" for i in range(3)]
    await solved(RepeatedSampling(n=2), PoolGenerator({"a": model("another", "#### 1"), "b": b}), store=store)
    assert len(b.requests) == 2


def test_a_pool_is_another_one_with_other_models_shares_or_skill() -> None:
    a, b, c = (model(name, "x") for name in "abc")
    skill = Skill({}, "run.db")
    ids = [pool(a, b), pool(b, a), pool(a, c), pool(a, b, shares=(2, 1)), pool(a, b, skill=skill)]
    assert len({p.identity for p in ids}) == 5
    assert pool(a, b).identity == pool(a, b).identity


# ----------------------------------------------------------------------------------------------------------- votes


async def test_two_answer_formats_vote_for_the_same_answer() -> None:
    both = pool(model("a", "so it is\n#### 15"), model("b", "thus $\\boxed{15}$"), model("c", "The answer is 14."))
    result = await solved(SelfConsistency(n=3), both)
    assert (result.answer, [(v.answer, v.count) for v in result.votes]) == ("15", [("15", 2), ("14", 1)])


def measured(right: dict[str, int], n: int, wrongs: Sequence[str] = ("w",)) -> Skill:
    """Models (by scripted name) right on the first so many of ``n`` problems, their wrong answers taken in turn."""
    answers = {
        model(who, "x").identity: {
            f"h{i}": [("yes", 1, 1) if i < k else (wrongs[(i + at) % len(wrongs)], 1, 0)] for i in range(n)
        }
        for at, (who, k) in enumerate(right.items())
    }
    return Skill(answers, "run.db")


async def test_one_good_model_outvotes_two_poor_ones_by_skill_but_not_by_count() -> None:
    skill = measured({"a": 95, "b": 40, "c": 40}, 100)
    models = [model("a", "#### 1"), model("b", "#### 2"), model("c", "#### 2")]
    counted = await solved(SelfConsistency(n=3), pool(*models, skill=skill))
    weighed = await solved(SelfConsistency(n=3, weight="skill"), pool(*models, skill=skill))
    assert (counted.answer, weighed.answer) == ("2", "1")


def test_weights_are_the_formula_by_hand() -> None:
    # a: right on 9 of 10 problems, b: on 4; wrong answers of both on one problem (the last), and they agree.
    skill = measured({"a": 9, "b": 4}, 10)
    who = [model(name, "x").identity for name in "ab"]
    mean = (9 + 4 + 1) / (20 + 2)
    c = (1 + 1) / (1 + 2)
    shrunk = [(r + STRENGTH * mean) / (10 + STRENGTH) for r in (9, 4)]
    expected = [math.log(p / (1 - p)) + math.log(1 / c) for p in shrunk]
    assert skill.coincidence(who) == pytest.approx(c)
    assert skill.weights(who, ["a", "b"]) == pytest.approx(expected)


def test_shrinkage_draws_a_model_seen_on_few_problems_towards_the_others() -> None:
    few, many = measured({"a": 2, "b": 1}, 2), measured({"a": 200, "b": 100}, 200)
    who = [model(name, "x").identity for name in "ab"]
    gaps = [a - b for a, b in (few.weights(who, "ab"), many.weights(who, "ab"))]
    assert 0 < gaps[0] < gaps[1]
    assert all(math.isfinite(w) for w in many.weights(who, "ab"))


def test_weights_choose_the_answer_of_largest_posterior_in_the_model_they_are_made_for() -> None:
    # Wrong answers one of 4, equally likely; every possible triple of answers, by the law itself.
    rights, others = (0.8, 0.55, 0.35), 4
    weights = [math.log(p / (1 - p)) + math.log(others) for p in rights]
    for said in itertools.product(range(others + 1), repeat=3):
        likelihood = [
            math.prod(p if s == truth else (1 - p) / others for p, s in zip(rights, said, strict=True))
            for truth in range(others + 1)
        ]
        votes = [sum(w for w, s in zip(weights, said, strict=True) if s == a) for a in range(others + 1)]
        assert likelihood[votes.index(max(votes))] == pytest.approx(max(likelihood))


def test_scattered_wrong_answers_let_a_poor_model_count() -> None:
    who = [model(name, "x").identity for name in "ab"]
    agreeing = measured({"a": 30, "b": 25}, 100).weights(who, "ab")
    scattered = measured({"a": 30, "b": 25}, 100, [str(i) for i in range(20)]).weights(who, "ab")
    assert agreeing == [0.0, 0.0]
    assert min(scattered) > 1


async def test_a_vote_without_any_weight_is_counted_and_says_so() -> None:
    skill = measured({"a": 10, "b": 10}, 100)
    models = [model("a", "#### 1"), model("b", "#### 2", "#### 1")]
    result = await solved(SelfConsistency(n=4, weight="skill"), pool(*models, skill=skill))
    assert result.answer == "1"
    assert "votes are counted" in result.notes[0]


async def test_skill_is_refused_without_a_run_for_a_single_model_and_on_the_same_problems() -> None:
    a, b = model("a", "#### 1"), model("b", "#### 2")
    by_skill = SelfConsistency(n=2, weight="skill")
    with pytest.raises(UsageError, match=r"--skill RUN\.db"):
        await solved(by_skill, pool(a, b))
    with pytest.raises(UsageError, match="pool:M1,M2"):
        await solved(by_skill, a)
    same = Skill({m.identity: {PROBLEM.hash: [("15", 1, 1)]} for m in (a, b)}, "old.db")
    with pytest.raises(UsageError, match=r"old\.db measured the skill on problems of this task"):
        await solved(by_skill, pool(a, b, skill=same))
    half = Skill({a.identity: {"other": [("15", 1, 1)]}}, "old.db")
    with pytest.raises(UsageError, match=r"no graded samples of b"):
        await solved(by_skill, pool(a, b, skill=half))
    assert not a.requests
    assert not b.requests


# --------------------------------------------------------------------------------------------------- a model is gone


@pytest.mark.parametrize("error", [ServerError, ModelError])
async def test_a_pool_goes_on_without_a_model_that_is_gone_and_says_so(error: type[Exception]) -> None:
    gone = Gone(error=error)
    both = pool(model("a", "#### 1"), gone)
    first = await solved(SelfConsistency(n=6), both)
    assert (first.answer, first.confidence, first.lost) == ("1", 1.0, {"pool:b": 3})
    assert first.notes == ("b is lost: 3 of its draws are missing (the server refuses the connection)",)
    second = await solved(SelfConsistency(n=6), both, Problem("q", "And 8 + 8?"))
    assert second.lost == {"pool:b": 3}
    assert gone.calls == 1  # it is not asked again
    assert both.lost == {"b": "the server refuses the connection"}


async def test_draws_made_before_a_model_was_gone_count() -> None:
    result = await solved(SelfConsistency(n=6), pool(model("a", "#### 1"), Gone(alive=2)))
    assert result.lost == {"pool:b": 1}
    assert {(v.answer, v.count) for v in result.votes} == {("1", 3), ("99", 2)}


async def test_a_problem_fails_when_no_model_is_left_and_when_a_single_call_fails() -> None:
    class GoneToo(Gone):
        @property
        def identity(self) -> str:
            return "too"

    with pytest.raises(CallFailed, match="no model of the pool is left"):
        await solved(SelfConsistency(n=4), pool(Gone(), GoneToo()))
    broken = model("b", "x", fail=Failure("bad_answer", "half a line"))
    with pytest.raises(CallFailed, match="half a line"):
        await solved(SelfConsistency(n=4), pool(model("a", "#### 1"), broken))


async def test_connecting_loses_what_cannot_be_reached_unless_that_is_all() -> None:
    class Unreachable(Gone):
        async def connect(self, needs: frozenset[Ability]) -> None:
            raise ServerError("nobody listens")

    both = pool(model("a", "#### 1"), Unreachable())
    await both.connect(frozenset())
    assert (await solved(SelfConsistency(n=2), both)).lost == {"pool:b": 1}

    class Other(Unreachable):
        @property
        def identity(self) -> str:
            return "other"

    with pytest.raises(ServerError, match="no model can be reached"):
        await pool(Unreachable(), Other()).connect(frozenset())


# ------------------------------------------------------------------------------------------------ what it cannot do


class GoesOn:
    """Continues what it drew."""

    needs: frozenset[Ability] = frozenset()

    async def solve(self, search: Search) -> Result:
        (node,) = await search.expand()
        await search.expand(node)
        return search.result(node)


async def test_searches_by_steps_and_weights_by_probability_are_refused_before_any_draw() -> None:
    a, b = model("a", "#### 1"), model("b", "#### 2")
    for strategy in (Beam(n=4, width=2, verifier=LogProb()), SelfConsistency(n=4, weight="prob")):
        with pytest.raises(UsageError, match="different tokens"):
            await pool(a, b).connect(strategy.needs)
    with pytest.raises(UsageError, match="--role"):
        await solved(SelfCheck(n=2), pool(a, b))
    assert not any(r.sampling.temperature == 0 for r in (*a.requests, *b.requests))
    with pytest.raises(UsageError, match="what another began"):  # whoever does not say what it needs
        await solved(GoesOn(), pool(a, b))
    with pytest.raises(UsageError, match="--total-budget"):
        await allocate(Chain().task(), pool(a, b), SharedVote(4), Bare(), total=1000)
    with pytest.raises(ModelError):
        pool(a, b).decode([1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pool:acorn", "no pool"),
        ("pool:acorn,acorn", "listed twice"),
        ("pool:acorn,replay:x,shares=1", "shares are 1 for 2 models"),
        ("pool:acorn,pool:acorn,acorn", "pool within a pool"),
        ("pool:acorn,replay:x,shares=1:a", "whole numbers"),
        ("pool:acorn,replay:x,shares=1:1,shares=1:1", "twice"),
        ('pool:acorn,"replay:x', "not closed"),
        ("pool:", "not complete"),
    ],
)
def test_pools_that_are_written_wrongly_are_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        methods.model(text)


@pytest.mark.parametrize("shares", [(1,), (1, 0), (1, 2, 3), (9_999, 2)])
def test_shares_that_do_not_fit_are_refused(shares: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="shares"):
        pool(model("a", "x"), model("b", "x"), shares=shares)


def test_one_model_under_two_names_is_refused() -> None:
    with pytest.raises(UsageError, match="a and b are the same model"):
        pool(model("same", "x"), model("same", "y"))


def test_commas_in_a_models_text_are_quoted_and_names_are_short_and_distinct() -> None:
    texts, shares = parse_pool('pool:hf:org/Name-1B,"replay:a,b.jsonl#source=x/y", acorn ,shares=2:1:1')
    assert (texts, shares) == (["hf:org/Name-1B", "replay:a,b.jsonl#source=x/y", "acorn"], [2, 1, 1])
    assert names_of(texts) == ["Name-1B", "x-y", "acorn"]
    assert names_of(["openai:q@http://u:pw@h/v1", "openai:q@http://g/v1", "replay:/a/f.jsonl.gz"]) == ["q", "q-2", "f"]
    assert short_model("pool:hf:/a/b/c,acorn") == "pool:c,acorn"
    many = [f"replay:f#source=model-number-{i}" for i in range(12)]
    shown = {short_pool("pool:" + ",".join(order)) for order in (many, [many[0], *many[2:0:-1], *many[3:]])}
    assert len(shown) == 2
    assert all(len(s) < 90 and "10 more" in s for s in shown)


def test_credentials_of_every_server_in_a_pool_stay_out_of_files() -> None:
    kept = scrub("pool:openai:a@http://u:secret@h/v1,openai:b@https://v:geheim@g:80/v1,shares=1:2")
    assert kept == "pool:openai:a@http://h/v1,openai:b@https://g:80/v1,shares=1:2"


# --------------------------------------------------------------------------------------------------------- run files


def recording(path: Path, name: str, answers: Sequence[str]) -> str:
    rows = [{"question": f"Question {i}?", "samples": [f"#### {a}"]} for i, a in enumerate(answers)]
    (path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return f"replay:{path}/{name}.jsonl"


def questions(path: Path, name: str, numbers: range) -> str:
    rows = [{"question": f"Question {i}?", "answer": str(i)} for i in numbers]
    (path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return f"jsonl(file={path}/{name}.jsonl)"


def test_skill_goes_from_one_run_file_into_the_next_vote(tmp_path: Path) -> None:
    good = recording(tmp_path, "good", [str(i if i % 10 else -1) for i in range(40)])
    poor = recording(tmp_path, "poor", [str(i if i % 4 == 0 else 7) for i in range(40)])
    bad = recording(tmp_path, "bad", [str(i if i % 5 == 0 else 7) for i in range(40)])
    three = f"pool:{good},{poor},{bad}"
    early, late = questions(tmp_path, "early", range(20)), questions(tmp_path, "late", range(20, 40))
    first = api.evaluate(early, three, "self-consistency(n=3)", run=tmp_path / "early.db")
    assert {m.name: (m.draws, m.right) for m in first.models} == {"good": (20, 18), "poor": (20, 6), "bad": (20, 5)}
    assert all(m.spent == Spent() and m.charged.generated is None and m.lost == 0 for m in first.models)
    options = ModelOptions(skill=str(tmp_path / "early.db"))
    counted = api.evaluate(late, three, "self-consistency(n=3)")
    weighed = api.evaluate(late, three, "self-consistency(n=3, weight=skill)", options=options)
    assert counted.accuracy is not None
    assert weighed.accuracy is not None
    assert counted.accuracy < 0.5
    assert weighed.accuracy == 0.9
    with pytest.raises(UsageError, match=r"early\.db measured the skill on problems of this task"):
        api.evaluate(early, three, "self-consistency(n=3, weight=skill)", options=options)

    api.compare(early, [f"greedy on {m}" for m in (good, poor, bad)], run=tmp_path / "alone.db")
    together, alone = (read_skill(tmp_path / f"{name}.db") for name in ("early", "alone"))
    assert together.problems == alone.problems
    assert len(alone.problems) == 20
    who = list(alone.answers)
    assert alone.weights(who, who) == pytest.approx(together.weights(who, who))
    api.unload()


def test_a_run_without_graded_samples_has_no_skill(tmp_path: Path) -> None:
    api.evaluate(
        f"jsonl(file={recording(tmp_path, 'r', ['1', '2'])[7:]}, answer=none)",
        recording(tmp_path, "s", ["1", "2"]),
        "greedy",
        run=tmp_path / "none.db",
    )
    with pytest.raises(UsageError, match=r"none\.db holds no graded sample"):
        read_skill(tmp_path / "none.db")
    api.unload()


def test_a_run_with_a_lost_model_is_finished_and_marked(tmp_path: Path) -> None:
    task = questions(tmp_path, "task", range(1, 6))
    right = ScriptedGenerator(lambda cue: f"#### {cue.question.split()[1].rstrip('?')}", name="right", pace=0)
    both = PoolGenerator({"right": right, "gone": Gone()})
    report = api.evaluate(task, both, "self-consistency(n=4)", run=tmp_path / "lost.db")
    assert (report.accuracy, report.failed, report.incomplete) == (1.0, 0, False)
    assert {m.name: (m.draws, m.lost) for m in report.models} == {"right": (10, 0), "gone": (0, 10)}
    with RunView(tmp_path / "lost.db") as view:
        records = view.results(Cell("", 0, None)).values()
        assert all(r["verdict"] == Verdict.CORRECT and "gone is lost: 2" in r["notes"][0] for r in records)
        assert view.header["model"]["models"]["gone"] == {"identity": "scripted:gone", "share": 1}


async def test_a_model_that_is_in_a_pool_and_alone_is_loaded_once(tmp_path: Path) -> None:
    a, b = recording(tmp_path, "a", ["1"]), recording(tmp_path, "b", ["2"])
    made = api.load(f"pool:{a},{b}", ModelOptions(skill=None))
    assert isinstance(made, PoolGenerator)
    inside = [m.model for m in made._members.values()]
    assert inside == [api.load(a), api.load(b)]
    await api.close_loaded()


@needs_data
def test_an_equal_vote_of_the_recorded_models_loses_to_the_best_of_them(tmp_path: Path) -> None:
    best = f"replay:{RECORDED}#source=routellm-gpt-4-1106-preview"
    poor = [f"replay:{RECORDED}#source=openai-gpt3-{name}" for name in ("6b_finetuning", "6b_verification")]
    task = f"gsm8k(file={DATA / 'gsm8k' / 'test.jsonl.gz'})"
    three = ",".join([*poor, best])
    made = api.compare(task, ["self-consistency(n=3) on pool:" + three, f"greedy on {best}"], limit=120)
    paired = made.differences[0].paired
    assert paired is not None
    assert paired.interval[0] > 0.1
    api.unload()


def test_the_command_line_shows_every_model_and_which_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = recording(tmp_path, "good", [str(i) for i in range(40)])
    poor = recording(tmp_path, "poor", ["7"] * 40)
    early, late = questions(tmp_path, "early", range(10)), questions(tmp_path, "late", range(20, 30))
    both, skilled = f"pool:{good},{poor}", tmp_path / "early.db"
    assert run(["eval", early, "-s", "self-consistency(n=2)", "-m", both, "--run", str(skilled), "-q"]) == 0
    shown = capsys.readouterr().out
    assert "pool:good,poor" in shown
    assert re.search(r"good\s+10\s+100\.0 %.*\n\s*poor\s+10\s+10\.0 %", shown)
    arms = [f"self-consistency(n=2{w}) on {both}" for w in ("", ", weight=skill")]
    command = ["compare", late, *arms, f"greedy on {good}", "--skill", str(skilled), "--run", str(tmp_path / "c.db")]
    assert run([*command, "-q"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("models of") == 1  # both votes are over the same samples
    assert run([*command, "-q", "--json"]) == 0
    equal, weighed, alone = json.loads(capsys.readouterr().out)["arms"]
    assert equal["accuracy"] < weighed["accuracy"] == alone["accuracy"] == 1.0
    assert [m["draws"] for m in weighed["reports"][0]["models"]] == [10, 10]

    dead = f"{good},openai:nobody@http://user:geheim@127.0.0.1:9/v1"
    lost = tmp_path / "lost.db"
    assert run(["eval", late, "-s", "self-consistency(n=2)", "-m", f"pool:{dead}", "--run", str(lost), "-q"]) == 0
    shown = capsys.readouterr().out
    assert "nobody was lost: 10 of its draws are missing, on 10 of 10 problems" in " ".join(shown.split())
    assert b"geheim" not in lost.read_bytes()
    assert run(["eval", late, "-s", "beam(n=2, width=2, verifier=data-flow)", "-m", both]) == 2
    assert "different tokens" in capsys.readouterr().err
