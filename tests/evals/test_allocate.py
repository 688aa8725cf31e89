"""One budget for a set: never exceeded, the same whatever the timing, resumable, and better than equal shares."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from thence.cli import run
from thence.core.completion import Ability, Failure, Sampling
from thence.core.errors import Interrupted, UsageError
from thence.core.run import Stopper
from thence.core.search import Result, Search
from thence.evals.allocate import Bid, SharedVote, allocate, gain_per_vote, granted, leader_law
from thence.evals.evaluate import Arm, eval_header, evaluate
from thence.evals.report import Report
from thence.evals.statistics.metrics import maj_at_k_population, paired
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.prompts.styles import Bare
from thence.stores.sqlite import Cell, RunFile
from thence.strategies.greedy import Greedy
from thence.strategies.self_consistency import SelfConsistency
from thence.tasks.jsonl import Jsonl
from thence.worlds import Beta, Stratum, Urn
from thence.worlds.urn import EASY, HARD, MEDIUM, TRAP

HOT = Sampling(temperature=1.0, max_tokens=3)  # "####", the answer, the end
MIX = Urn((EASY, MEDIUM), size=60)


async def spread(world: Urn, total: int, *, seed: int = 0, pace: int = 0, vote: SharedVote = SharedVote()) -> Report:
    generator = world.generator(pace=pace)
    return await allocate(world.task(), generator, vote, Bare(), total=total, sampling=HOT, seed=seed)


async def equal(world: Urn, n: int, *, seed: int = 0) -> Report:
    arm = Arm("uniform", SelfConsistency(n), Bare(), sampling=HOT)
    return await evaluate(world.task(), world.generator(pace=0), arm, seed=seed)


def drawn(report: Report) -> dict[str, int]:
    return {r["problem"]: sum(count for _, count, _ in r["draws"]) for r in report.records}


def verdicts(report: Report) -> dict[str, float]:
    return {r["problem"]: float(r["verdict"] == "correct") for r in report.records}


def charged(report: Report) -> int:
    assert report.charged.total is not None
    return report.charged.total


# --- gains -----------------------------------------------------------------------------------------------------------


def test_the_law_of_the_leader_is_that_of_all_ways_to_draw() -> None:
    """A Dirichlet-multinomial written out: every way to draw m samples one after another from the posterior."""
    votes, silent, m = [3, 1, 0, 0], 1, 3
    law: Counter[int] = Counter()
    for way in itertools.product(range(5), repeat=m):
        weights, chance, now = [v + 1.0 for v in votes] + [silent + 0.5], 1.0, list(votes)
        for answer in way:
            chance *= weights[answer] / sum(weights)
            weights[answer] += 1
            if answer < 4:
                now[answer] += 1
        law[max(now)] += chance  # type: ignore[assignment]
    got = leader_law(votes, silent, m)
    assert got == pytest.approx(dict(law) | {t: law[t] for t in got})
    assert sum(got.values()) == pytest.approx(1.0)


def test_gains_by_hand() -> None:
    """Two votes each: one more makes 4/9.5 of 3/8.5 in 6 of 8.5 cases, and 3/9.5 in the others. Two to one: the next
    vote can at most tie, which is worth nothing, so looking further ahead is needed to see a gain at all."""
    one = 6 / 8.5 * 4 / 9.5 + 2.5 / 8.5 * 3 / 9.5 - 3 / 8.5
    assert gain_per_vote((2, 2)) == pytest.approx(one)
    law = leader_law([2, 1, 0, 0], 0, 1)
    assert law[3] * 4 / 8.5 + law[2] * 3 / 8.5 == pytest.approx(3 / 7.5)
    assert gain_per_vote((2, 1)) > 0


def test_close_votes_promise_more_than_clear_ones() -> None:
    order = [(2, 2), (3, 1), (4,), (8,)]
    gains = [gain_per_vote(counts) for counts in order]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 10 * gains[1]
    assert gains[3] < 1e-5
    assert gain_per_vote((5, 4)) > gain_per_vote((20, 19))  # the answer's chance is nearly known
    assert gain_per_vote((3, 3)) > gain_per_vote((3, 3), silent=6) > 0
    assert gain_per_vote(()) == max(gain_per_vote(c) for c in [(), (1,), (1, 1), (2, 1), (2, 2)])


def test_grants_are_greedy_by_gain_per_token_within_the_budget() -> None:
    bids = {0: Bid(10, 1.0, 10), 1: Bid(10, 3.0, 10), 2: Bid(40, 8.0, 20), 3: Bid(5, 0.1, 5), 4: Bid(1, 0.0, 1)}
    luck = dict.fromkeys(bids, 0)
    assert granted(bids, 100, 1000, luck) == [0, 1, 2, 3]  # nothing without a gain
    assert granted(bids, 100, 30, luck) == [1, 2]  # the part of this round is used up
    assert granted(bids, 100, 20, luck) == [2]
    assert granted(bids, 30, 1000, luck) == [0, 1, 3]  # 2 is best and does not fit
    assert granted(bids, 12, 1000, luck) == [1]
    assert granted(bids, 4, 1000, luck) == []
    alike = {i: Bid(10, 1.0, 10) for i in range(4)}
    assert granted(alike, 20, 1000, {0: 3, 1: 1, 2: 2, 3: 0}) == [1, 3]  # ties by seed


# --- the market ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [1, 50, 3000, 4000, 5001])
async def test_the_budget_is_never_exceeded(total: int) -> None:
    report = await spread(MIX, total)
    assert charged(report) <= total
    assert report.n == 60
    assert report.failed == 0
    prompt = charged(await equal(MIX, 1)) // 60 - 3
    if total in (4000, 5001):
        assert total - charged(report) < 12 + prompt  # what is left is less than any bid
    if total < prompt:
        assert report.unparsed == 60


async def test_nobody_gets_more_than_n_and_nothing_is_bought_that_promises_nothing() -> None:
    report = await spread(Urn((EASY, MEDIUM), size=10), 100_000)
    assert max(drawn(report).values()) == 64
    assert min(drawn(report).values()) >= 40


async def test_the_report_depends_on_the_seed_and_never_on_timing() -> None:
    fast, slow = await spread(MIX, 5000), await spread(MIX, 5000, pace=3)
    assert drawn(fast) == drawn(slow)
    assert verdicts(fast) == verdicts(slow)
    other = await spread(MIX, 5000, seed=1)
    assert drawn(other) != drawn(fast)


async def test_samples_are_those_of_self_consistency() -> None:
    """The i-th sample of a problem is the same sample: with all of a budget both are one vote."""
    world = Urn((MEDIUM,), size=20)
    report = await spread(world, 10_000_000, vote=SharedVote(n=16))
    assert verdicts(report) == verdicts(await equal(world, 16))
    assert [r["answer"] for r in report.records] == [r["answer"] for r in (await equal(world, 16)).records]


async def test_easy_problems_leave_their_samples_to_others() -> None:
    report = await spread(MIX, charged(await equal(MIX, 12)))
    counts = drawn(report)
    strata = {p.id: MIX.stratum(p).name for p in MIX.problems()}
    means = {s: sum(n for i, n in counts.items() if strata[i] == s) / 30 for s in ("easy", "medium")}
    assert means["easy"] < 9 < 14 < means["medium"]


@pytest.mark.parametrize(
    ("strata", "n", "better"),
    [
        ((EASY, MEDIUM), 8, True),
        ((Stratum("mixed", Beta(2.0, 1.5, wrong=3)),), 8, True),
        ((EASY, MEDIUM, HARD, TRAP), 8, False),
    ],
)
async def test_it_beats_equal_shares_at_equal_cost(strata: tuple[Stratum, ...], n: int, better: bool) -> None:
    """Paired on twice 400 problems: above equal shares by more than the interval, or, where half of the problems
    cannot be won by voting, no different. Who knows the strata and gives each its best fixed number wins less: what
    helps is to look at the votes."""
    a: dict[str, float] = {}
    b: dict[str, float] = {}
    for seed in (1, 2) if better else (1,):
        world = Urn(strata, size=400, data_seed=seed)
        uniform = await equal(world, n, seed=seed)
        shared = await spread(world, charged(uniform), seed=seed)
        assert charged(shared) <= charged(uniform)
        a |= {f"{seed} {problem}": right for problem, right in verdicts(uniform).items()}
        b |= {f"{seed} {problem}": right for problem, right in verdicts(shared).items()}
    result = paired(a, b)
    if not better:
        assert abs(result.difference) < 0.02, result
        return
    assert result.interval[0] > 0, result
    if strata == (EASY, MEDIUM):  # and equal shares get what they must get
        exact = split(n, n)
        assert abs(sum(a.values()) / 800 - exact) <= 4 * (exact * (1 - exact) / 800) ** 0.5
        assert max(split(k, 2 * n - k) for k in range(1, 2 * n)) - exact < result.difference


def split(easy: int, medium: int) -> float:
    """The exact accuracy of a fixed number of votes for each easy and each medium problem, half of each."""
    laws = {(0.7, 0.2, 0.1): easy, (0.4, 0.3, 0.3): medium}
    return sum(maj_at_k_population(law, [True, False, False], k) for law, k in laws.items()) / 2


@dataclass(slots=True)
class Careful:
    """Asks for one sample at a time, says that it gains what the script says, and notes what it was told."""

    gains: dict[str, float]
    told: list[tuple[str, bool]] = field(default_factory=list)
    name: str = "careful"
    needs: frozenset[Ability] = frozenset()

    async def bids(self, search: Search) -> AsyncGenerator[Bid | Result, bool]:
        node = None
        for _ in range(3):
            yes = yield Bid(50, self.gains[search.problem.id], 50)
            self.told.append((search.problem.id, yes))
            if not yes:
                break
            (node,) = await search.expand(n=1)
        yield search.result(node)


async def test_one_round_after_another_the_best_bid_is_granted() -> None:
    """With rounds of one grant: all of the best problem's work first; who gets nothing is told so at the end."""
    world = Urn((EASY,), size=3)
    a, b, c = (p.id for p in world.problems())
    bidder = Careful({a: 0.1, b: 0.9, c: 0.5})
    report = await allocate(world.task(), world.generator(), bidder, Bare(), total=120, rounds=120, sampling=HOT)
    assert bidder.told[:4] == [(b, True)] * 3 + [(c, True)]
    assert sorted(bidder.told[4:]) == [(a, False), (c, False)]  # 120 - 43 - 6 - 43 are less than a bid
    assert charged(report) <= 120


async def test_a_grant_is_a_cap(tmp_path: Path) -> None:
    """A bidder that draws more than it asked for gets no more."""

    @dataclass(slots=True)
    class Greedy:
        name: str = "greedy"
        needs: frozenset[Ability] = frozenset()

        async def bids(self, search: Search) -> AsyncGenerator[Bid | Result, bool]:
            yield Bid(60, 1.0, 60)
            nodes = await search.expand(n=100)
            assert search.stopped == "budget"
            yield search.result(nodes[0], notes=(str(len(nodes)),))

    world = Urn((EASY,), size=5)
    report = await allocate(world.task(), world.generator(), Greedy(), Bare(), total=1000, sampling=HOT)
    assert charged(report) <= 5 * 60


# --- runs ------------------------------------------------------------------------------------------------------------


async def test_a_killed_run_resumes_with_the_same_grants_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    whole = await spread(MIX, 5000)
    header = eval_header(MIX.task(), MIX.generator(), Arm("shared", Greedy(), Bare()))
    stopper, generator = Stopper(), MIX.generator(pace=1)

    @dataclass(frozen=True, slots=True)
    class Stops:
        name: str = "shared"
        needs: frozenset[Ability] = frozenset()

        async def bids(self, search: Search) -> AsyncGenerator[Bid | Result, bool]:
            inner = SharedVote().bids(search)
            said = await anext(inner)
            while isinstance(said, Bid):
                if (generator.spent.generated or 0) > 900 and not stopper.stopping:
                    stopper.stop()
                said = await inner.asend((yield said))
            yield said

    with RunFile.open(tmp_path / "run.db", header) as store, pytest.raises(Interrupted):
        await allocate(MIX.task(), generator, Stops(), Bare(), total=5000, sampling=HOT, store=store, stopper=stopper)
    assert store.sample_count() > 250
    rest = MIX.generator(pace=0)
    with RunFile.open(tmp_path / "run.db", header) as store:
        report = await allocate(MIX.task(), rest, SharedVote(), Bare(), total=5000, sampling=HOT, store=store)
    assert (drawn(report), verdicts(report)) == (drawn(whole), verdicts(whole))
    assert charged(report) == charged(whole)
    assert (generator.spent.generated or 0) + (rest.spent.generated or 0) == whole.charged.generated
    with RunFile.open(tmp_path / "run.db", header) as store:  # finished: nothing is even looked at
        again = await allocate(
            MIX.task(), ScriptedGenerator(_never), SharedVote(), Bare(), total=5000, sampling=HOT, store=store
        )
        assert len(store.results(Cell())) == 60
    assert verdicts(again) == verdicts(whole)


def _never(cue: Cue) -> str:
    raise AssertionError("nothing is left to be drawn")


async def test_a_failed_problem_is_reported_and_the_others_are_answered(tmp_path: Path) -> None:
    rows = [{"question": f"what is {i} + 1?", "answer": i + 1} for i in range(6)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    task = Jsonl(str(tmp_path / "q.jsonl"))
    broken = True

    def write(cue: Cue) -> str | Failure:
        if broken and " 3 +" in cue.question:
            return Failure("timeout", "nobody answered")
        return f"#### {int(cue.question.split()[2]) + 1}"

    generator = ScriptedGenerator(write, pace=0, defaults=Sampling(max_tokens=8))
    header = eval_header(task, generator, Arm("shared", Greedy(), Bare()))
    with RunFile.open(tmp_path / "run.db", header) as store:
        report = await allocate(task, generator, SharedVote(), Bare(), total=2000, store=store)
        assert report.incomplete
        assert report.failures == [("0004", "timeout after 1 attempt(s): nobody answered")]
        assert (report.n, report.accuracy) == (5, 1.0)
        assert store.results(Cell()) == {}  # what the others get may change when this one is back
        broken = False
        report = await allocate(task, generator, SharedVote(), Bare(), total=2000, store=store)
        assert (report.n, report.accuracy, report.failed) == (6, 1.0, 0)
        assert len(store.results(Cell())) == 6


async def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(UsageError, match="total is 0"):
        await spread(MIX, 0)
    with pytest.raises(UsageError, match="needs a token cap per sample; set --max-tokens"):
        await allocate(
            MIX.task(),
            MIX.generator(),
            SharedVote(),
            Bare(),
            total=1000,
            sampling=Sampling(temperature=1.0, max_tokens=None),
        )
    with pytest.raises(UsageError, match="batch is 0"):
        SharedVote(batch=0)
    assert SharedVote.of(SelfConsistency(n=9)) == SharedVote(n=9)
    for strategy in (Greedy(), SelfConsistency(weight="prob")):
        with pytest.raises(UsageError, match="spread over votes only"):
            SharedVote.of(strategy)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded samples: 8 of each question, 3 tokens each."""
    monkeypatch.chdir(tmp_path)
    answers = {"easy": ["7"] * 16, "close": ["1", "2"] * 8}
    rows = [{"question": q, "answer": a[0]} for q, a in answers.items()]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    generator = ScriptedGenerator(
        answers={"easy": [("7", 1.0)], "close": [("1", 0.5), ("2", 0.5)]}, pace=0, defaults=Sampling(1.0, max_tokens=12)
    )
    monkeypatch.setattr("thence.api.load", lambda *_: generator)
    command = ["eval", "q.jsonl", "-p", "bare", "-s", "self-consistency(n=64)", "--total-budget", "500", "-q", "--json"]
    assert run(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["strategy"] == "shared-vote(n=64, first=4, batch=4)"
    spent = sum(first["charged"][k] for k in ("prompt", "generated", "verifier"))
    assert 0 < spent <= 500
    made = len(generator.requests)
    assert run(["show", first["run"]]) == 0
    assert "0001" in capsys.readouterr().out
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == first["accuracy"]
    assert len(generator.requests) == made
    assert run(["eval", "--again", first["run"], "-q", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["charged"] == first["charged"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--budget", "1k"], "leave --budget and --dry-run out"),
        (["-s", "greedy"], "spread over votes only"),
        (["--total-budget", "x"], "no number of tokens"),
    ],
)
def test_flags_that_do_not_go_together(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str], said: str
) -> None:
    monkeypatch.setattr("thence.api.load", lambda *_: ScriptedGenerator(_never))
    assert (
        run(["eval", "wordproblems", *(["--total-budget", "1k"] if "--total-budget" not in more else []), *more]) == 2
    )
    assert said in capsys.readouterr().err.replace("\n", " ")
