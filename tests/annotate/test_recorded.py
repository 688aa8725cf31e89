"""Solutions taken out of run files: whole ones, each once, with the question of its task and the run's outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from label_worlds import HOT

from thence.annotate.by_hand import Session
from thence.annotate.label import label
from thence.annotate.math_shepherd import MathShepherd
from thence.annotate.recorded import is_run, labels_in, solutions_in
from thence.core.errors import DataError, StoreError
from thence.core.label_files import FORMATS, read_labels, write_labels
from thence.core.labels import Labelled
from thence.core.search import Strategy
from thence.core.segmenter import Segmenter
from thence.evals.evaluate import Arm, chosen_problems, evaluate
from thence.generators.scripted import ScriptedGenerator
from thence.prompts.styles import Bare
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.strategies.beam import Beam
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.tasks.jsonl import Jsonl
from thence.verifiers.basic import LogProb
from thence.worlds import Chain

LINE = Segmenter()
WORLD = Chain(steps=3, size=8)


async def solve(path: Path, strategy: Strategy, world: Chain = WORLD, cells: Sequence[Cell] = (Cell(),)) -> None:
    task = world.task()
    with RunFile.open(path, {"kind": "eval", "task": task.spec}) as store:
        for cell in cells:
            arm = Arm(cell.arm or "s", strategy, Bare(), sampling=HOT)
            await evaluate(task, world.generator(pace=0), arm, seed=cell.seed, store=store, cell=cell)


def taken(path: Path, world: Chain = WORLD, limit: int | None = None) -> list[Labelled]:
    task = world.task()
    with RunView(path) as run:
        return solutions_in(run, task, chosen_problems(task, limit), LINE)


async def test_every_whole_sample_is_one_record_with_its_question_and_the_truth(tmp_path: Path) -> None:
    await solve(tmp_path / "run", RepeatedSampling(n=6))
    records, task = taken(tmp_path / "run"), WORLD.task()
    questions = {p.id: p for p in task.problems()}
    assert len({(r.problem, r.text) for r in records}) == len(records)
    assert sum(r.extra["draws"] for r in records) == 6 * WORLD.size
    assert list(dict.fromkeys(r.problem for r in records)) == [p.id for p in chosen_problems(task, None)]
    for record in records:
        problem = questions[record.problem]
        assert record.extra["question"] == problem.text
        assert record.extra["finish"] == "eos"
        assert len(record.ends) == WORLD.steps
        assert record.ends[-1] == len(record.text)
        assert record.labels == ((),) * WORLD.steps
        assert record.correct is task.grade(problem, record.text, record.extra.get("answer")).correct
    assert {r.correct for r in records} == {True, False}
    assert [r.problem for r in taken(tmp_path / "run", limit=2)] == [
        r.problem for r in records if r.problem in {p.id for p in chosen_problems(task, 2)}
    ]


async def test_a_search_by_steps_gives_its_ended_paths_and_no_begun_ones(tmp_path: Path) -> None:
    await solve(tmp_path / "run", Beam(LogProb(), n=4, width=2))
    records = taken(tmp_path / "run")
    assert records
    assert all(len(r.ends) == WORLD.steps and "answer" in r.extra for r in records)
    with RunView(tmp_path / "run") as run:
        chosen = {problem: result["answer"] for problem, result in run.results(Cell()).items()}
        right = {problem: result["verdict"] == "correct" for problem, result in run.results(Cell()).items()}
    for problem, answer in chosen.items():
        [same, *_] = [r for r in records if r.problem == problem and r.extra["answer"] == answer]
        assert same.correct is right[problem]


async def test_cells_are_put_together_and_a_shared_sample_counts_once(tmp_path: Path) -> None:
    arms = (Cell("a", 0), Cell("b", 0), Cell("a", 1))
    await solve(tmp_path / "three", RepeatedSampling(n=4), cells=arms)
    await solve(tmp_path / "one", RepeatedSampling(n=4), cells=arms[:1])
    three, one = taken(tmp_path / "three"), taken(tmp_path / "one")
    assert sum(r.extra["draws"] for r in three) == 2 * sum(r.extra["draws"] for r in one) == 2 * 4 * WORLD.size
    texts = {(r.problem, r.text) for r in three}
    assert {(r.problem, r.text) for r in one} < texts
    assert len(texts) == len(three)


async def test_the_runs_own_verdict_counts_and_without_references_there_is_none(tmp_path: Path) -> None:
    rows = tmp_path / "q.jsonl"
    rows.write_text('{"id": "a", "question": "What is 7 + 8?", "answer": "15"}\n')
    texts = ["7 + 8 = 15\n#### 15", "#### 14", "no idea", "cut " * 30]
    generator = ScriptedGenerator(lambda cue: texts[cue.draw or 0], pace=0)
    task = Jsonl(str(rows), id="id")
    arm = Arm("s", RepeatedSampling(n=4), Bare(), sampling=replace(HOT, max_tokens=12))
    with RunFile.open(tmp_path / "run", {"kind": "eval", "task": task.spec}) as store:
        await evaluate(task, generator, arm, store=store)
        record = store.results(Cell())["a"]
        with RunView(tmp_path / "run") as run:
            made = solutions_in(run, task, task.problems(), LINE)
        assert {r.text: r.correct for r in made} == {texts[0]: True, texts[1]: False, texts[2]: False}
        node = store.tree(Cell(), "a")[record["node"] - 1]["text"]
        tree = store.tree(Cell(), "a")
        store.put_result(Cell(), "a", {**record, "verdict": "timeout"}, tree)
        store.flush()
        with RunView(tmp_path / "run") as run:
            said = {r.text: r.correct for r in solutions_in(run, task, task.problems(), LINE)}
        assert said == {texts[0]: True, texts[1]: False, texts[2]: False} | {node: None}
    rows.write_text('{"id": "a", "question": "What is 7 + 8?"}\n')
    with RunView(tmp_path / "run") as run:
        bare = Jsonl(str(rows), id="id")
        assert {r.correct for r in solutions_in(run, bare, bare.problems(), LINE)} == {None}
        rows.write_text('{"id": "a", "question": "What is 9 + 8?", "answer": "17"}\n')
        other = Jsonl(str(rows), id="id")
        with pytest.raises(DataError, match="problem a is another question there"):
            solutions_in(run, other, other.problems(), LINE)


async def test_they_can_be_rated_and_written_in_every_format(tmp_path: Path) -> None:
    await solve(tmp_path / "run", RepeatedSampling(n=2))
    records = taken(tmp_path / "run")
    for name in FORMATS:
        write_labels(tmp_path / name, records, name)
        back = read_labels(tmp_path / name, name)
        assert not any(x.number is not None for r in back for row in r.labels for x in row), name
        if name != "math-shepherd":  # where it says "Step 1:" is part of that format
            assert {r.extra["question"] for r in back} == {r.extra["question"] for r in records}, name
    assert read_labels(tmp_path / "thence") == records
    keys = iter("++-q")
    count = Session(records, tmp_path / "rated", lambda: next(keys), lambda text: None).run()
    assert count == 1
    assert [r.correct for r in read_labels(tmp_path / "rated", "prm800k")] == [None]


async def test_a_labelling_run_gives_its_records_as_they_are(tmp_path: Path) -> None:
    task = WORLD.task()
    with RunFile.open(tmp_path / "run", {"kind": "label"}) as store:
        _, records = await label(task, WORLD.generator(pace=0), MathShepherd(2, 2), Bare(), HOT, task.problems(), store)
    with RunView(tmp_path / "run") as run:
        assert sorted(map(repr, labels_in(run))) == sorted(map(repr, records))


async def test_run_files_are_known_by_content_and_ones_without_solutions_are_clear_errors(tmp_path: Path) -> None:
    with RunFile.open(tmp_path / "labels.jsonl", {"kind": "eval", "task": WORLD.task().spec}) as store:
        store.flush()
    (tmp_path / "run.db").write_text('{"problem": "p", "text": "x", "ends": [1], "labels": [[]]}\n')
    assert is_run(tmp_path / "labels.jsonl")
    assert not is_run(tmp_path / "run.db")
    assert not is_run(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no whole solution of the 8 problems of chain"):
        taken(tmp_path / "labels.jsonl")
    with RunView(tmp_path / "labels.jsonl") as run, pytest.raises(DataError, match="nothing was labelled yet"):
        labels_in(run)
    (tmp_path / "short").write_bytes(b"SQLite format 3\0")
    assert is_run(tmp_path / "short")
    with pytest.raises(StoreError):
        RunView(tmp_path / "short")
