"""Overthinking in runs: revisions of the exact world, hand-made trajectories, the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thence.cli import run
from thence.core.completion import Sampling
from thence.core.errors import DataError
from thence.core.protocols import Generator, Task
from thence.core.search import Strategy
from thence.evals.evaluate import Arm, eval_header, evaluate
from thence.evals.overthinking.lengths import Sample
from thence.evals.overthinking.measure import (
    READERS,
    Overthinking,
    Said,
    Trajectory,
    overthinking,
    read,
    revised,
    wasted,
)
from thence.evals.overthinking.segments import Tag
from thence.generators.scripted import ScriptedGenerator
from thence.prompts.styles import Bare
from thence.stores.sqlite import RunFile, RunView
from thence.strategies.budget_forcing import BudgetForcing
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.strategies.revisions import Revisions
from thence.tasks.jsonl import Jsonl
from thence.worlds.revision import Revision

HOT = Sampling(temperature=1.0, max_tokens=40)
WORLD = Revision(chance=0.4, mend=0.3, spoil=0.1, wrong=2, size=90)


async def stored(path: Path, task: Task, generator: Generator, strategy: Strategy, name: str) -> None:
    arm = Arm(name, strategy, Bare(), sampling=HOT)
    with RunFile.open(path, eval_header(task, generator, arm)) as store:
        await evaluate(task, generator, arm, store=store)


def found(path: Path, task: Task, reader: str = "grammar") -> tuple[list[Trajectory], Overthinking]:
    with RunView(path) as view:
        samples, lines, unit = read(task, view, view.cells(), READERS[reader])
    return lines, overthinking(samples, lines, unit)


def inside(value: float, interval: tuple[float, float] | None) -> bool:
    return interval is not None and interval[0] - 0.03 <= value <= interval[1] + 0.03


@pytest.mark.parametrize("reader", ["grammar", "phrases"])
@pytest.mark.parametrize(
    ("strategy", "each"), [(BudgetForcing(waits=3), 3), (Revisions(chains=2, length=3), 2)], ids=["wait", "chat"]
)
async def test_a_run_gives_the_worlds_own_rates_back(
    tmp_path: Path, strategy: Strategy, each: int, reader: str
) -> None:
    path = tmp_path / "run.db"
    await stored(path, WORLD.task(), WORLD.generator(pace=0), strategy, "x")
    lines, all_of_it = found(path, WORLD.task(), reader)
    u = all_of_it.revised
    assert all(len(line.revisions) == each for line in lines)
    assert u.revisions == each * len(lines)
    assert u.per_trajectory == each
    assert inside(WORLD.mend, u.repaired.interval)
    assert inside(WORLD.spoil, u.broken.interval)
    assert inside(WORLD.chance, u.first.interval)
    assert inside(WORLD.after(each), u.last.interval)
    assert u.limit is not None
    assert abs(u.limit - WORLD.stationary) < 0.1
    assert all(line.length == 3 * (each + 1) for line in lines)
    again = [line for line in lines if line.said[0].right]
    assert {line.wasted for line in again} == {3.0 * each}


async def test_a_chain_without_second_thoughts_has_no_revision_and_wastes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    await stored(path, WORLD.task(), WORLD.generator(pace=0), RepeatedSampling(4), "x")
    _, all_of_it = found(path, WORLD.task())
    assert all_of_it.revised.revisions == 0
    assert all_of_it.revised.limit is None
    assert all_of_it.wasted.mean == 0.0
    assert all_of_it.wasted.lost.value == 0.0
    assert all_of_it.trajectories == 360
    assert all_of_it.lengths is not None
    assert all_of_it.lengths.samples == 360
    assert all_of_it.lengths.within.right_longer.value == 0.5  # all answers are equally long


def line(*said: tuple[str, bool, float, bool], length: float = 100.0) -> Trajectory:
    return Trajectory("p", tuple(Said(*s) for s in said), length, {Tag.STEP: 1})


def test_what_counts_as_a_revision_and_what_it_did() -> None:
    twice = line(("7", True, 10, False), ("7", True, 20, False))
    looked = line(("7", True, 10, False), ("7", True, 20, True))
    lost = line(("7", True, 25, False), ("8", False, 50, False), ("9", False, 100, True))
    mended = line(("8", False, 10, False), ("7", True, 90, True))
    assert [len(x.revisions) for x in (twice, looked, lost, mended)] == [0, 1, 2, 1]
    u = revised([twice, looked, lost, mended])
    assert u.outcomes == {"right kept": 1, "broken": 1, "wrong to other wrong": 1, "repaired": 1}
    assert (u.repaired.value, u.broken.value, u.limit) == (0.5, 0.5, 0.5)
    assert (u.first.value, u.last.value) == (0.75, 0.75)


def test_what_comes_after_the_first_right_answer() -> None:
    lost = line(("7", True, 25, False), ("8", False, 100, True))
    kept = line(("8", False, 10, False), ("7", True, 100, True))
    never = line(("8", False, 10, False))
    w = wasted([lost, kept, never])
    assert (w.trajectories, w.mean, w.share.value, w.lost.value) == (2, 37.5, 0.375, 0.5)
    assert w.of_all == 0.25
    assert wasted([never]).mean is None
    assert wasted([]).of_all == 0.0


def test_samples_that_a_cap_cut_are_also_left_out() -> None:
    cut = [Sample(str(q), 99, False, None, True) for q in range(9)]
    plain = [Sample(str(q), 10 + i, i > 0, "a") for q in range(9) for i in range(3)]
    made = overthinking([*cut, *plain], [], "tokens")
    assert made.lengths is not None
    assert made.uncut is not None
    assert made.lengths.within.right_longer.value != 1.0 == made.uncut.within.right_longer.value
    assert overthinking(plain, [], "tokens").uncut is None


TEXT = (
    "3 + 4 = 8\nThe answer is 8.\nWait, that is wrong.\n3 + 4 = 7\nThe answer is 7.\nLet me check it.\nThe answer is 7."
)


async def test_answers_inside_one_text_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text(json.dumps({"question": "3 and 4?", "answer": "7"}) + "\n")
    task = Jsonl(file=str(data))
    path = tmp_path / "run.db"
    texts = {"3 and 4?": [(TEXT, 0.5), ("The answer is 7.", 0.5)]}
    await stored(path, task, ScriptedGenerator(texts=texts), RepeatedSampling(8), "x")
    lines, _ = found(path, task, "phrases")
    long = next(x for x in lines if len(x.said) > 1)
    assert [(s.key, s.right) for s in long.said] == [("8", False), ("7", True), ("7", True)]
    assert [b.looked_again for _, b in long.revisions] == [True, True]
    assert long.tags == {Tag.STEP: 2, Tag.ANSWER: 3, Tag.BACKTRACK: 1, Tag.VERIFY: 1}
    assert long.wasted is not None
    assert 0 < long.wasted < long.length / 2
    assert run(["overthinking", str(path), "--plot", str(tmp_path / "o.png")]) == 0
    printed = capsys.readouterr().out
    assert "repaired" in printed
    assert "shortest majority" in printed
    assert "within questions" in printed
    assert (tmp_path / "o.png").read_bytes().startswith(b"\x89PNG")
    assert run(["overthinking", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["unit"] == "tokens"
    assert document["revised"]["outcomes"]["repaired"] >= 1
    assert run(["overthinking", str(path), "--arm", "nobody"]) == 2
    assert "has no results of the arm" in capsys.readouterr().err


async def test_another_task_than_the_runs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    await stored(path, WORLD.task(), WORLD.generator(pace=0), RepeatedSampling(1), "x")
    with RunView(path) as view, pytest.raises(DataError, match="another question"):
        read(Revision(size=3, data_seed=9).task(), view, view.cells())
