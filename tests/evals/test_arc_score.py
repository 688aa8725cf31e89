"""The score of ARC by hand and against a second implementation; attempts of runs; two programs from end to end."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thence import methods
from thence.core.budget import Spent
from thence.core.completion import Context, Failure, Request, Sampling
from thence.core.errors import DataError, UsageError
from thence.core.problem import Message
from thence.evals.arc.score import (
    attempts_of,
    attempts_of_run,
    read_submission,
    score,
    solved,
    submission,
    task_score,
)
from thence.evals.evaluate import Arm, Report, evaluate
from thence.evals.statistics.metrics import wilson
from thence.grading.grids import Grid, GridReading
from thence.prompts.styles import Bare
from thence.strategies.self_consistency import SelfConsistency
from thence.tasks.arc.files import ArcTask
from thence.tasks.arc.models import alike, dsl, memoriser
from thence.tasks.arc.task import Arc

A: Grid = ((1, 2), (3, 4))
B: Grid = ((1, 2),)
C: Grid = ((5,),)


@pytest.mark.parametrize(
    ("outputs", "tries", "most", "strict", "mean"),
    [
        ([A], [[A]], 3, 1, 1),
        ([A], [[[[1, 2], [3, 4]]]], 3, 1, 1),  # a list is the tuple's equal
        ([A], [[B, C, A]], 3, 1, 1),
        ([A], [[B, C, A]], 2, 0, 0),  # right at the third attempt of two
        ([B], [[A]], 3, 0, 0),  # the first row is right, the shape is not
        ([A], [[((1, 2), (3,))]], 3, 0, 0),  # ragged
        ([((1,),)], [[((True,),)]], 3, 0, 0),
        ([A, B], [[A], [B]], 2, 1, 1),
        ([A, B], [[A], [C]], 2, 0, 0.5),
        ([A, B], [[A]], 2, 0, 0.5),  # no attempt on the second test input
        ([A, B], [], 2, 0, 0),
        ([A], [[]], 1, 0, 0),
        ([A, B], [[B], [A]], 2, 0, 0),  # attempts on the other test input
    ],
)
def test_one_task_by_hand(outputs: Any, tries: Any, most: int, strict: float, mean: float) -> None:
    assert task_score(outputs, tries, most, "strict") == strict
    assert task_score(outputs, tries, most, "mean") == mean


def test_attempts_on_too_many_inputs_and_no_attempts_at_all_are_errors() -> None:
    with pytest.raises(DataError, match="attempts on 2 test inputs, and only 1"):
        solved([A], [[A], [A]], 3)
    with pytest.raises(UsageError, match="attempts is 0"):
        solved([A], [[A]], 0)
    tasks = [ArcTask("x", ((A, B),), (A,), (B,))]
    with pytest.raises(DataError, match="does not have, the first is 'y'"):
        score(tasks, {"y": [[A]]}, 3)
    with pytest.raises(DataError, match="task x: there are attempts on 2"):
        score(tasks, {"x": [[A], [A]]}, 3)
    with pytest.raises(UsageError, match="no test outputs"):
        score([ArcTask("x", ((A, B),), (A,), None)], {}, 3)


def test_all_tasks_are_in_the_denominator() -> None:
    tasks = [ArcTask(str(i), ((A, B),), (A, A), (B, C)) for i in range(10)]
    found = score(tasks, {"0": [[B], [C]], "1": [[B], [A]], "2": [[], []]}, 2)
    assert (found.tasks, found.solved_tasks, found.strict) == (10, 1, 0.1)
    assert (found.inputs, found.solved_inputs, found.mean) == (20, 3, 0.15)
    assert found.strict_interval == wilson(1, 10)
    assert found.mean_interval[0] < 0.15 < found.mean_interval[1]
    assert found.missing == ("2", "3", "4", "5", "6", "7", "8", "9")
    assert found.by_task["1"] == 0.5
    assert json.loads(json.dumps(found.document()))["solved_tasks"] == 1


def test_the_score_equals_that_of_a_second_implementation() -> None:
    noise = random.Random(0)
    for _ in range(200):
        truth = {str(i): [noise.choice([A, B, C]) for _ in range(noise.randint(1, 3))] for i in range(6)}
        tasks = [ArcTask(name, ((A, A),), tuple([A] * len(rows)), tuple(rows)) for name, rows in truth.items()]
        given = {
            name: [[noise.choice([A, B, C]) for _ in range(noise.randint(0, 4))] for _ in rows]
            for name, rows in truth.items()
            if noise.random() < 0.8
        }
        most = noise.randint(1, 3)
        strict = mean = 0.0
        for name, rows in truth.items():
            right = 0
            for k, grid in enumerate(rows):
                for attempt in given.get(name, [[]] * len(rows))[k][:most]:
                    if attempt == grid:
                        right += 1
                        break
            strict += (right == len(rows)) / len(truth)
            mean += right / len(rows) / len(truth)
        found = score(tasks, given, most)
        assert (found.strict, found.mean) == (pytest.approx(strict), pytest.approx(mean))
        more = score(tasks, given, most + 1)
        assert (more.strict >= found.strict, more.mean >= found.mean, found.mean >= found.strict) == (True, True, True)


def test_attempts_are_the_answer_then_the_votes_then_the_samples_each_grid_once() -> None:
    record = {
        "answer": "1",
        "votes": [["2", 3, 0.9], ["1", 1, 0.1], ["3/33", 5, 0.05]],
        "draws": [["4", 1, 0], [None, 9, 0], ["5", 2, 0], ["2", 3, 1], ["6", 1, 0], ["12,", 7, 0]],
    }
    grids = attempts_of(record, GridReading())
    assert grids == [((1,),), ((2,),), ((5,),), ((4,),), ((6,),)]  # the ragged one and colour 12 are none
    assert attempts_of({"answer": None, "votes": [], "draws": [[None, 4, 0]]}, GridReading()) == []


def test_a_submission_is_written_and_read_back() -> None:
    tasks = [ArcTask("x", ((A, B),), (A, A), (B, C)), ArcTask("y", ((A, B),), (A,), (B,))]
    document = submission(tasks, {"x": [[B, A, C], [C]]}, 2)
    assert document["x"] == [{"attempt_1": B, "attempt_2": A}, {"attempt_1": C, "attempt_2": [[0]]}]
    assert document["y"] == [{"attempt_1": [[0]], "attempt_2": [[0]]}]
    read = read_submission(json.loads(json.dumps(document)), "s")
    assert score(tasks, read, 2).by_task == {"x": 1.0, "y": 0.0}
    odd = {"x": [{"attempt_10": [[9]], "attempt_2": None, "attempt_1": [[1]], "note": "x"}]}
    assert read_submission(odd, "s") == {"x": [[[[1]], [[9]]]]}
    for wrong in ([], {"x": {}}, {"x": ["1"]}, {"x": [{"attempt_1": {"answer": [[1]]}}]}):
        with pytest.raises(DataError):
            read_submission(wrong, "s")


# --- the two programs, from the prompt to the score


def composed(seed: int, names: tuple[str, str]) -> dict[str, Any]:
    """A task of 5 x 5 grids under two functions of the square, one after the other, with three examples."""
    square = {
        "flip": lambda g: [row[::-1] for row in g],
        "upside": lambda g: g[::-1],
        "transpose": lambda g: [list(row) for row in zip(*g, strict=True)],
        "recolour": lambda g: [[{1: 4, 2: 3}.get(c, c) for c in row] for row in g],
        "double": lambda g: [[c for c in row for _ in "12"] for row in g for _ in "12"],
    }
    noise = random.Random(seed)

    def pair() -> dict[str, Any]:
        grid = [[noise.choice((0, 0, 1, 2, 6)) for _ in range(5)] for _ in range(5)]
        return {"input": grid, "output": square[names[1]](square[names[0]](grid))}

    return {"train": [pair() for _ in range(3)], "test": [pair()]}


SEEN = [("flip", "double"), ("recolour", "transpose"), ("upside", "recolour"), ("transpose", "double")]
HELD_OUT = [("recolour", "flip"), ("double", "recolour"), ("flip", "transpose"), ("double", "upside")]


@pytest.fixture
def arcs(tmp_path: Path) -> tuple[Arc, Arc]:
    made = []
    for name, pairs in (("seen", SEEN), ("held", HELD_OUT)):
        tasks = {f"{name}{i}": composed(17 * i + len(name), pairs[i % 4]) for i in range(8)}
        (tmp_path / f"{name}.json").write_text(json.dumps(tasks))
        made.append(Arc(str(tmp_path / f"{name}.json")))
    return made[0], made[1]


def measured(task: Arc, generator: Any) -> Report:
    arm = Arm("self-consistency(n=12)", SelfConsistency(n=12), Bare())
    return asyncio.run(evaluate(task, generator, arm))


def scored(task: Arc, generator: Any) -> float:
    report = measured(task, generator)
    records = {record["problem"]: record for record in report.records}
    return score(task.tasks, attempts_of_run(task.tasks, records, task.reading), task.attempts).strict


def test_a_memoriser_solves_what_it_has_seen_and_nothing_held_out_the_search_solves_both(
    arcs: tuple[Arc, Arc], tmp_path: Path
) -> None:
    seen, held = arcs
    recall = memoriser(str(tmp_path / "seen.json"))
    assert (scored(seen, recall), scored(held, recall)) == (1.0, 0.0)
    assert scored(seen, memoriser()) == 0.0
    search = dsl(depth=2, nodes=400)
    assert scored(seen, search) > 0.9
    assert scored(held, search) > 0.9


def test_a_problem_that_failed_is_a_missing_attempt(arcs: tuple[Arc, Arc]) -> None:
    task = arcs[0]
    report = measured(task, dsl(seconds=1e-9))
    assert (report.failed, report.incomplete) == (8, True)
    assert "raise seconds or lower nodes" in report.failures[0][1]
    found = score(task.tasks, attempts_of_run(task.tasks, {}, task.reading), 3)
    assert (found.strict, len(found.missing)) == (0.0, 8)


def replies(generator: Any, text: str, seeds: int = 1, temperature: float = 1.0) -> list[Any]:
    context, sampling = Context((Message("user", text),)), Sampling(temperature=temperature)

    async def ask() -> list[Any]:
        requests = [Request(context, sampling, seed) for seed in range(seeds)]
        return [outcome async for _, outcome in generator.run(requests, Spent())]

    return asyncio.run(ask())


def test_guesses_are_drawn_with_fixed_odds_and_greedy_is_the_first(arcs: tuple[Arc, Arc]) -> None:
    text = arcs[0].problems()[0].text
    recall = memoriser()
    assert "This is guess 1 of 3." in replies(recall, text, temperature=0.0)[0].text
    drawn = [reply.text.split("This is guess ")[1][0] for reply in replies(recall, text, 300)]
    for rank, share in zip("123", (4 / 7, 2 / 7, 1 / 7), strict=True):
        assert abs(drawn.count(rank) / 300 - share) < 4 * (share * (1 - share) / 300) ** 0.5
    assert isinstance(replies(recall, "What is 7 + 8?")[0], Failure)


def test_likeness_is_one_only_for_equal_grids() -> None:
    a, b = np.array(A, np.int8), np.array(B, np.int8)
    assert alike(np.array([A, ((1, 2), (3, 5)), ((2, 1), (4, 3))], np.int8), a).tolist() == [1, 0.75, 0]
    assert (alike(b[None], a).tolist(), alike(a[None], b).tolist()) == ([0.5], [0.5])


def test_the_programs_are_models_by_name(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"x": composed(0, SEEN[0])}))
    assert methods.model("arc-dsl(depth=2, nodes=50)").identity == "scripted:arc-dsl(depth=2, nodes=50)"
    known = methods.model(f"arc-memoriser(file={tmp_path / 't.json'})").identity
    assert known.startswith("scripted:arc-memoriser(4 pairs, ")
    for wrong, said in {
        "arc-dsl(depth=0)": "depth is 0",
        "arc-dsl(seconds=0)": "seconds is 0",
        "arc-dsl(width=3)": "unknown parameter 'width'",
        "arc-memoriser(file=/nowhere/x.json)": "there is no file",
    }.items():
        with pytest.raises(UsageError, match=said):
            methods.model(wrong)
