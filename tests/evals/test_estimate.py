"""The dry run: counts by hand, honest ranges, and measured lengths where there are some."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sums import Sums, noisy

from thence.core.budget import Charged
from thence.core.completion import Context, Sampling, Think
from thence.core.errors import UsageError
from thence.evals.estimate import Measured, Price, draws_of, estimate, measure
from thence.evals.evaluate import Arm, eval_header, evaluate
from thence.prompts.styles import Bare, ZeroShotCoT
from thence.stores.sqlite import RunFile
from thence.strategies.best_of_n import BestOfN
from thence.strategies.esc import EarlyStoppingConsistency
from thence.strategies.greedy import Greedy
from thence.strategies.self_consistency import SelfConsistency
from thence.verifiers.judge import Judge

PROMPT = 8  # tokens of every question of Sums with the scripted generator
VOTE = Arm("self-consistency(n=6)", SelfConsistency(n=6), Bare(), sampling=Sampling(max_tokens=100))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_requests_tokens_and_money_by_hand() -> None:
    problems = Sums(10).problems()
    made = estimate(problems, noisy(), VOTE, seeds=2, price=Price(1.0, 10.0, 0.1))
    assert (made.requests, made.prompt_tokens) == (10 * 6 * 2, 10 * PROMPT * 2)
    assert made.generated == (10 * 6 * 2 * 8, 10 * 6 * 2 * 100)
    assert made.seconds is None
    read = 10 * PROMPT * 2
    assert made.money == pytest.approx(((read * 1 + 960 * 10) / 1e6, (6 * read * 1 + 12_000 * 10) / 1e6))
    assert json.loads(json.dumps(made.document()))["generated"] == [960, 12_000]
    assert estimate(problems, noisy(), VOTE, budget=50).generated == (10 * 42, 10 * 42)


@pytest.mark.parametrize(
    ("arm", "draws"),
    [
        (Arm("greedy", Greedy(), Bare()), (1, 1)),
        (VOTE, (6, 6)),
        (Arm("esc", EarlyStoppingConsistency(n=40, window=5), Bare()), (5, 40)),
    ],
)
def test_the_fewest_and_most_samples_of_a_strategy(arm: Arm, draws: tuple[int, int]) -> None:
    assert draws_of(arm) == draws


def test_the_short_replies_of_think_auto_are_counted() -> None:
    auto = replace(VOTE, sampling=Sampling(max_tokens=100, think=Think.AUTO))
    made = estimate(Sums(10).problems(), noisy(), auto)
    assert (made.requests, made.prompt_tokens) == (10 * (6 + 4), 10 * PROMPT * 2)
    assert made.generated == (10 * 10 * 8, 10 * 10 * 100)
    assert "the 4 short replies of --think auto are included" in made.notes
    on = replace(VOTE, sampling=Sampling(max_tokens=100, think=Think.ON))
    assert estimate(Sums(10).problems(), noisy(), on).requests == 10 * 6


def test_second_turns_and_judges_are_requests_too() -> None:
    problems = Sums(3).problems()
    judged = Arm("best-of-n", BestOfN(Judge(noisy(), "j"), n=4), Bare())
    made = estimate(problems, noisy(), judged)
    assert made.requests == 3 * 4 * 2
    assert "not included" in made.notes[0]
    assert estimate(problems, noisy(), Arm("greedy", Greedy(), ZeroShotCoT())).requests == 3 * 2


def test_a_server_that_counts_alone_makes_the_prompt_a_guess_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = noisy()

    def unknown(context: Context) -> None:
        return None

    monkeypatch.setattr(generator, "tokens", unknown)
    made = estimate(Sums(4).problems(), generator, VOTE)
    assert made.prompt_tokens == 4 * (len("What is 1 + 2?") // 4 + 16)
    assert "guessed" in made.notes[0]


async def test_earlier_runs_of_the_model_narrow_the_range_and_give_seconds(tmp_path: Path) -> None:
    generator = noisy(seconds=0.001)
    path = tmp_path / "runs" / "a.db"
    with RunFile.open(path, eval_header(Sums(9), generator, VOTE)) as store:
        report = await evaluate(Sums(9), generator, VOTE, store=store)
    (tmp_path / "runs" / "broken.db").write_text("no database")
    seen = measure(generator.identity, tmp_path / "runs")
    assert seen is not None
    mean = (report.charged.generated or 0) / (9 * 6)
    assert seen.length == pytest.approx((0.8 * mean, 1.25 * mean))
    speed = (report.spent.generated or 0) / report.seconds
    assert seen.speed == pytest.approx((0.8 * speed, 1.25 * speed), rel=0.01)
    assert seen.runs == 1
    made = estimate(Sums(9).problems(), generator, VOTE)
    assert made.generated == pytest.approx((0.8 * mean * 54, 1.25 * mean * 54))
    assert made.seconds is not None
    assert made.seconds[0] < report.seconds < made.seconds[1]
    assert measure("another model", tmp_path / "runs") is None
    assert measure(generator.identity, tmp_path / "nowhere") is None


def test_seconds_follow_the_given_speed() -> None:
    made = estimate(Sums(1).problems(), noisy(), VOTE, measured=Measured((10, 20), (5, 10), 1))
    assert made.generated == (60, 120)
    assert made.seconds == (6, 24)


def test_prices() -> None:
    assert Price.parse("0.5, 1.5") == Price(0.5, 1.5)
    assert Price.parse("1,2,0.1") == Price(1, 2, 0.1)
    for text in ("1", "a,b", "1,2,3,4", "-1,2", "nan,1", "inf,1"):
        with pytest.raises(UsageError, match="is not INPUT,OUTPUT"):
            Price.parse(text)
    assert Price(1, 10).of(Charged(1_000_000, 100_000, 100_000)) == pytest.approx(3.0)
    assert Price(1, 10).of(Charged(None, 1, 1)) is None
