"""Battles between stored runs: by verdicts, and by a judge whose biases are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from thence.core.answers import Answer
from thence.core.completion import Failure
from thence.core.errors import UsageError
from thence.core.problem import Problem
from thence.core.solve import solve
from thence.evals.arena import Battles, battles_of, leaderboard
from thence.evals.arena.board import Options
from thence.evals.arena.contests import Contestant, by_verdict, contestants
from thence.evals.arena.judging import Judging, judge, questions
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.prompts.styles import Bare
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.strategies.greedy import Greedy
from thence.tasks.files import Row

PROBLEMS = [Problem(f"p{i:02d}", f"What is {i} + {i}?") for i in range(12)]
Verdicts = Callable[[int], str | None]


class Hash:
    """A reading that finds what stands behind ####."""

    def extract(self, reply: str) -> Answer | None:
        value = reply.partition("####")[2].strip()
        return Answer(value) if value else None

    def key(self, value: str) -> str:
        return value


async def stored(
    path: Path,
    model: str,
    text: Callable[[int], str],
    verdict: Verdicts,
    cells: Sequence[Cell] = (Cell(),),
    data: str = "d",
) -> RunView:
    """A run file with one greedy solution per problem, as an evaluation stores it."""
    header = {"kind": "eval", "task": "sums", "data": data, "strategy": "greedy", "notes": {"policy": {"model": model}}}
    with RunFile.open(path, header) as store:
        for cell in cells:
            for i, problem in enumerate(PROBLEMS):
                said = text(i)
                generator = ScriptedGenerator(write=lambda _, said=said: said, pace=0)  # type: ignore[misc]
                result = await solve(problem, generator=generator, strategy=Greedy(), style=Bare(), reading=Hash())
                record = result.record()
                tree = record.pop("tree")
                store.put_result(cell, problem.id, record | {"verdict": verdict(i)}, tree)
    return RunView(path)


@pytest.fixture
def views() -> Iterator[list[RunView]]:
    opened: list[RunView] = []
    yield opened
    for view in opened:
        view.close()


def right_up_to(n: int) -> Verdicts:
    return lambda i: "correct" if i < n else "incorrect"


def as_battles(rows: Sequence[dict[str, object]], controls: Sequence[str] = ()) -> Battles:
    return battles_of([Row(f"battle {i}", row) for i, row in enumerate(rows, 1)], "rows", controls)


async def test_verdicts_make_battles_with_problems_as_clusters(tmp_path: Path, views: list[RunView]) -> None:
    views.append(await stored(tmp_path / "a.db", "big", lambda i: f"#### {i}", right_up_to(8)))
    views.append(
        await stored(
            tmp_path / "b.db", "small", lambda i: f"#### {i}", lambda i: right_up_to(5)(i) if i != 11 else "ungradable"
        )
    )
    rows = by_verdict(contestants(views))
    assert [r["winner"] for r in rows] == ["tie"] * 5 + ["model_a"] * 3 + ["tie (bothbad)"] * 3
    assert {(r["model_a"], r["model_b"]) for r in rows} == {("big", "small")}
    battles = as_battles(rows)
    assert battles.clusters == tuple(p.id for p in PROBLEMS[:11])
    assert not battles.first.any(), "verdicts know no order"
    board = leaderboard(battles, Options(ridge=0.1, shuffles=2))
    assert board.entries[0].model == "big"
    assert board.first_won is None
    assert board.both_bad == 3


async def test_contestants_have_the_shortest_names_that_tell_them_apart(tmp_path: Path, views: list[RunView]) -> None:
    arms = [Cell("greedy", 0, 100), Cell("greedy", 1, 100), Cell("greedy", 0, 200), Cell("vote", 0, 100)]
    views.append(await stored(tmp_path / "a.db", "m", lambda i: "#### 1", right_up_to(3), arms))
    players = contestants(views)
    assert [p.name for p in players] == [
        "greedy within 100 tokens",
        "greedy within 200 tokens",
        "vote within 100 tokens",
    ]
    assert [len(p.cells) for p in players] == [2, 1, 1]
    assert len(by_verdict(players)) == 3 * len(PROBLEMS), "seeds meet only where both have them"
    views.append(await stored(tmp_path / "b.db", "m", lambda i: "#### 1", right_up_to(3), arms[:1]))
    assert len({p.name for p in contestants(views)}) == 4


async def test_runs_that_cannot_meet_are_refused(tmp_path: Path, views: list[RunView]) -> None:
    views.append(await stored(tmp_path / "a.db", "m", lambda i: "#### 1", lambda i: None))
    with pytest.raises(UsageError, match="1 contestants in 1 run files"):
        contestants(views)
    views.append(await stored(tmp_path / "b.db", "n", lambda i: "#### 1", lambda i: None))
    with pytest.raises(UsageError, match="no verdicts on the same problems; let a model judge"):
        by_verdict(contestants(views))
    views.append(await stored(tmp_path / "c.db", "o", lambda i: "#### 1", right_up_to(1), data="other"))
    with pytest.raises(UsageError, match="of different problems"):
        contestants(views)


# --- a model as judge -------------------------------------------------------------------------------------------------


async def players_of(tmp_path: Path, views: list[RunView]) -> list[Contestant]:
    """x writes long right answers, y short wrong ones; the last two answers are equal."""
    views.append(
        await stored(
            tmp_path / "x.db",
            "x",
            lambda i: f"**well**, {i} it is\n#### {2 * i}" if i < 10 else "#### 7",
            right_up_to(10),
        )
    )
    views.append(
        await stored(tmp_path / "y.db", "y", lambda i: f"#### {2 * i + 1}" if i < 10 else "#### 7", right_up_to(0))
    )
    return contestants(views)


async def asked(
    players: Sequence[Contestant], rule: Callable[[Cue], str | Failure], limit: int | None = None
) -> Judging:
    what, ties = questions(players, PROBLEMS, limit)
    return await judge(what, ties, ScriptedGenerator(write=rule, pace=0), Hash(), name="judge")


def solutions(cue: Cue) -> tuple[str, str]:
    """Both solutions in the order in which the judge sees them."""
    one, two = cue.question.split("Answer A:\n")[1].split("\n\nAnswer B:\n")
    return one, two


async def test_a_judge_without_bias_finds_the_better_one_in_both_orders(tmp_path: Path, views: list[RunView]) -> None:
    players = await players_of(tmp_path, views)
    made = await asked(players, lambda cue: f"Hm.\nBetter: {'A' if '**' in solutions(cue)[0] else 'B'}")
    assert (made.pairs, made.same, made.to_first, made.to_second, made.equal, made.unread) == (10, 10, 0, 0, 2, 0)
    assert made.position is None
    assert len(made.rows) == 2 * 12
    won = [row for row in made.rows if row["winner"] != "tie"]
    assert all(row["winner"] == "model_a" for row in won)
    assert {row["first"] for row in won} == {"model_a", "model_b"}
    row = next(r for r in won if r["problem"] == "p03")
    assert row["length_a"] == len("**well**, 3 it is\n#### 6")
    assert (row["bold_a"], row["bold_b"]) == (1, 0)
    battles = as_battles(made.rows, ["length"])
    assert battles.features["length"].shape == (24, 2)
    assert len(set(battles.clusters or ())) == 12


async def test_a_judge_who_likes_what_comes_first_is_shown_and_cancels_out(
    tmp_path: Path, views: list[RunView]
) -> None:
    made = await asked(await players_of(tmp_path, views), lambda cue: "Better: A")
    assert (made.same, made.to_first, made.to_second) == (0, 10, 0)
    assert made.position is not None
    assert made.position[0] == 1
    assert made.position[1][0] > 0.5
    board = leaderboard(as_battles(made.rows), Options(shuffles=2))
    assert board.entries[0].score == pytest.approx(board.entries[1].score, abs=1e-6)
    assert board.first_won is not None
    assert board.first_won[0] == 1


async def test_replies_without_a_verdict_and_failures_are_counted_and_are_no_battles(
    tmp_path: Path, views: list[RunView]
) -> None:
    def rule(cue: Cue) -> str | Failure:
        if "What is 3 + 3?" in cue.question:
            return Failure("http", "the server said no", 1)
        return "I like both" if "What is 4 + 4?" in cue.question else "Better: tie"

    made = await asked(await players_of(tmp_path, views), rule)
    assert (made.unread, len(made.failed), made.pairs) == (2, 2, 8)
    assert "p03" in made.failed[0]
    assert len(made.rows) == 24 - 4


async def test_a_limit_asks_about_so_many_problems_in_both_orders(tmp_path: Path, views: list[RunView]) -> None:
    players = await players_of(tmp_path, views)
    what, ties = questions(players, PROBLEMS, 4)
    assert len(what) + len(ties) == 8
    first = next(q for q in what if not q.swapped)
    second = next(q for q in what if q.swapped and q.problem == first.problem)
    assert (first.pair.first, first.pair.second) == (first.text_a, first.text_b)
    assert second.pair == first.pair.swapped


async def test_rows_are_plain_json(tmp_path: Path, views: list[RunView]) -> None:
    made = await asked(await players_of(tmp_path, views), lambda cue: "Better: B", 2)
    assert json.loads(json.dumps(made.rows)) == made.rows
