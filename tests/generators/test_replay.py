"""Recorded samples: their shapes, how problems are recognised, and drawing without replacement."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Context, Request, Sampling, Segment
from thence.core.errors import DataError, ModelError, ThenceError, UsageError
from thence.core.problem import Message, Problem
from thence.core.protocols import Generator
from thence.generators.replay import ReplayGenerator, dig, parse_recording

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
GSM8K, GAME24 = DATA / "gsm8k", DATA / "game24"
recorded_data = pytest.mark.skipif(not GSM8K.exists(), reason="needs the recorded data (THENCE_DATA)")


def request(problem: str = "", text: str = "?", draw: int | None = None, **more: Any) -> Request:
    return Request(Context((Message("user", text),), **more), Sampling(), 0, draw, problem)


async def ask(generator: ReplayGenerator, requests: Sequence[Request], book: Spent | None = None) -> list[Completion]:
    run = generator.run(requests, Spent() if book is None else book)
    outcomes = [outcome async for _, outcome in run]
    assert all(isinstance(o, Completion) for o in outcomes)
    return [o for o in outcomes if isinstance(o, Completion)]


async def texts(generator: ReplayGenerator, problem: str, n: int, text: str = "?") -> list[str]:
    return [c.text for c in await ask(generator, [request(problem, text, i) for i in range(n)])]


def write(path: Path, rows: object) -> Path:
    """JSONL or JSON by the name, gzipped if the name says so."""
    lines = ".jsonl" in path.name
    content = "\n".join(json.dumps(r) for r in rows) if lines and isinstance(rows, list) else json.dumps(rows)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


ROWS = [
    {"id": "a", "question": "One?", "samples": ["1", "uno", "eins"]},
    {"id": "b", "question": "Two?", "samples": ["2", "dos"]},
]


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.json", "r.json.gz"])
async def test_lines_and_arrays_gzipped_or_not(tmp_path: Path, name: str) -> None:
    generator = ReplayGenerator(write(tmp_path / name, ROWS))
    assert isinstance(generator, Generator)
    assert sorted(await texts(generator, "a", 3, "One?")) == ["1", "eins", "uno"]
    assert generator.available(Problem("b", "Two?")) == 2
    assert generator.available(Problem("z", "Ten?")) == 0


@pytest.mark.parametrize(
    "rows",
    [
        {"a": ["1", "uno"], "b": ["2"]},
        {"a": {"samples": ["1", "uno"]}, "b": {"samples": ["2"]}},
        {"a": [{"text": "1"}, {"text": "uno"}], "b": [{"text": "2"}]},
    ],
)
async def test_a_mapping_of_ids(tmp_path: Path, rows: object) -> None:
    generator = ReplayGenerator(write(tmp_path / "r.json", rows))
    assert sorted(await texts(generator, "a", 2)) == ["1", "uno"]
    assert await texts(generator, "b", 1) == ["2"]


async def test_one_text_per_row_belongs_together(tmp_path: Path) -> None:
    rows = [{"task_id": "a", "completion": c} for c in "xyz"] + [{"task_id": "b", "completion": "w"}]
    generator = ReplayGenerator(write(tmp_path / "r.jsonl", rows))
    assert sorted(await texts(generator, "a", 3)) == ["x", "y", "z"]
    assert await texts(generator, "b", 1) == ["w"]


async def test_rows_without_names_go_by_their_number(tmp_path: Path) -> None:
    generator = ReplayGenerator(write(tmp_path / "r.json", [["x", "y"], ["z"]]))
    assert await texts(generator, "test-1", 1) == ["z"]
    assert generator.available(Problem("test-0", "?")) == 2


async def test_draws_are_a_permutation_fixed_by_the_seed(tmp_path: Path) -> None:
    samples = [str(i) for i in range(50)]
    path = write(tmp_path / "r.json", {"a": samples})
    first = await texts(ReplayGenerator(path, seed=1), "a", 50)
    assert sorted(first) == sorted(samples)
    assert first == await texts(ReplayGenerator(path, seed=1), "a", 50)
    assert first != await texts(ReplayGenerator(path, seed=2), "a", 50)
    assert first != samples
    (third,) = await ask(ReplayGenerator(path, seed=1), [request("a", draw=3)])
    assert third.text == first[3]


async def test_draws_that_nobody_counts_are_counted(tmp_path: Path) -> None:
    generator = ReplayGenerator(write(tmp_path / "r.json", {"a": ["1", "2", "3"]}))
    drawn = [c.text for c in await ask(generator, [request("a"), request("a")])]
    drawn += [c.text for c in await ask(generator, [request("a")])]
    assert sorted(drawn) == ["1", "2", "3"]


async def test_more_than_recorded_is_an_error(tmp_path: Path) -> None:
    generator = ReplayGenerator(write(tmp_path / "r.jsonl", ROWS))
    with pytest.raises(UsageError, match=r"r.jsonl holds 2 samples of problem 'b', and 3 were asked for; lower n"):
        await texts(generator, "b", 3, "Two?")


async def test_a_problem_that_is_not_recorded_is_an_error(tmp_path: Path) -> None:
    generator = ReplayGenerator(write(tmp_path / "r.jsonl", ROWS))
    with pytest.raises(UsageError, match="has no samples of problem 'c'"):
        await texts(generator, "c", 1, "Three?")


async def test_questions_are_found_in_prompts_that_say_more(tmp_path: Path) -> None:
    generator = ReplayGenerator(write(tmp_path / "r.jsonl", ROWS))
    prompt = "Q: One?\nA: 1\n\nQ:  Two?\nLet's think step by step."
    assert sorted(await texts(generator, "elsewhere", 2, prompt)) == ["2", "dos"]


async def test_an_id_does_not_override_another_question(tmp_path: Path) -> None:
    """The same ids in another order would give another problem's samples."""
    path = write(tmp_path / "r.jsonl", ROWS)
    with pytest.raises(UsageError, match="say how they match"):
        await texts(ReplayGenerator(path), "a", 1, "Eleven?")
    assert len(await texts(ReplayGenerator.open(f"{path}#match=id"), "a", 1, "Eleven?")) == 1
    assert await texts(ReplayGenerator.open(f"{path}#match=row"), "x1", 2, "Eleven?") != []


async def test_unknown_token_counts_are_none_and_nothing_is_spent(tmp_path: Path) -> None:
    rows = [{"id": "a", "samples": [{"text": "1", "used": {"n": 7}}, {"text": "1"}]}]
    path, book = write(tmp_path / "r.jsonl", rows), Spent()
    plain = await ask(ReplayGenerator(path), [request("a", draw=i) for i in range(2)], book)
    assert [c.generated for c in plain] == [None, None]
    assert book == Spent()
    counted = await ask(ReplayGenerator.open(f"{path}#tokens=used.n"), [request("a", draw=i) for i in range(2)])
    assert {c.generated for c in counted} == {7, None}


async def test_thoughts_are_kept_apart(tmp_path: Path) -> None:
    generator = ReplayGenerator(write(tmp_path / "r.json", {"a": ["<think>hm</think>\n4"]}))
    (done,) = await ask(generator, [request("a")])
    assert (done.thought, done.reply) == ("hm", "4")


async def test_what_a_recording_cannot_do_is_said(tmp_path: Path) -> None:
    generator = ReplayGenerator(write(tmp_path / "r.json", {"a": ["1"]}))
    assert generator.abilities == {Ability.SEEDED}
    with pytest.raises(ModelError, match="cannot continue"):
        await ask(generator, [request("a", reply=(Segment("So"),))])
    with pytest.raises(ModelError, match="no log-probabilities"):
        await ask(generator, [Request(Context((Message("user", "?"),)), Sampling(top2=True), 0, 0, "a")])


MIXED = [
    {"id": "a", "samples": [{"source": "x", "text": "1"}, {"source": "y", "text": "2"}, {"source": "x", "text": "3"}]}
]


async def test_samples_of_one_source(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", MIXED)
    assert sorted(await texts(ReplayGenerator.open(f"{path}#source=x"), "a", 2)) == ["1", "3"]
    with pytest.raises(DataError, match=r"no samples of source 'z'; it has x, y"):
        ReplayGenerator.open(f"{path}#source=z")


async def test_a_source_that_is_a_field(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", [{"id": "a", "big.v1": {"ok": True, "solution": "1"}, "small": ["2", "3"]}])
    assert await texts(ReplayGenerator.open(f"{path}#source=big.v1"), "a", 1) == ["1"]
    assert await texts(ReplayGenerator.open(f"{path}#text=big.v1.solution"), "a", 1) == ["1"]
    assert sorted(await texts(ReplayGenerator.open(f"{path}#samples=small"), "a", 2)) == ["2", "3"]
    with pytest.raises(DataError, match=r"rows have fields big.v1, id, small; name one"):
        ReplayGenerator(path)


def test_references_are_not_mistaken_for_samples(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples in the usual fields"):
        ReplayGenerator(write(tmp_path / "r.jsonl", [{"problem": "1+1?", "solution": "2", "answer": "2"}]))


def test_fields_within_fields() -> None:
    row = {"a": {"b": {"c": 1}}, "x.y": 2, "p.q": {"r": 3}}
    assert [dig(row, p) for p in ("a.b.c", "x.y", "p.q.r", "a.z", "nope")] == [1, 2, 3, None, None]


def test_identity_is_the_content_and_what_is_read_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", MIXED)
    first = ReplayGenerator(path).identity
    assert ReplayGenerator(path, seed=5).identity == first
    assert ReplayGenerator.open(f"{path}#source=x").identity != first
    write(path, [*MIXED, {"id": "b", "samples": ["1"]}])
    assert ReplayGenerator(path).identity != first


def test_parsing_what_stands_after_replay(tmp_path: Path) -> None:
    path, wanted = parse_recording("replay:a/b.jsonl#source=gpt%264&source-field=model")
    assert (path, wanted.source, wanted.source_field) == ("a/b.jsonl", "gpt&4", "model")
    odd = write(tmp_path / "odd#1.json", {"a": ["1"]})
    assert parse_recording(str(odd))[0] == str(odd)
    assert parse_recording(f"{odd}#source=x")[0] == str(odd)
    with pytest.raises(UsageError, match="'colour=red' is not one of id=, question="):
        parse_recording("f#colour=red")
    with pytest.raises(UsageError, match="match is 'guess'"):
        parse_recording("f#match=guess")


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("r.jsonl", b'{"id": "a", "samples": ["1"]}\n{"id"', DataError, "r.jsonl line 2 is not JSON"),
        ("r.json", b"hello", DataError, "r.json line 1 is not JSON"),
        ("r.json", b'"hello"', DataError, "another shape"),
        ("r.json", b"\xff\xfe", DataError, "not UTF-8"),
        ("r.json.gz", gzip.compress(b"[]", mtime=0)[:-9], DataError, "cannot be read"),
        ("r.jsonl", b"", DataError, "no fields"),
    ],
)
def test_bad_files_get_one_clear_line(
    tmp_path: Path, name: str, content: bytes, kind: type[ThenceError], said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=said) as caught:
        ReplayGenerator(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"there is no file nowhere\.jsonl"):
        ReplayGenerator.open("nowhere.jsonl#source=x")


# --- the recorded files ----------------------------------------------------------------------------------------------


def gsm8k() -> list[tuple[Problem, str]]:
    """The test set's questions and final answers."""
    content = gzip.decompress((GSM8K / "test.jsonl.gz").read_bytes()).decode()
    rows = [json.loads(line) for line in content.splitlines()]
    return [(Problem(f"gsm8k-{i}", r["question"]), r["answer"].rsplit("#### ", 1)[1]) for i, r in enumerate(rows)]


def last_number(text: str) -> str:
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
    return found[-1].replace(",", "") if found else ""


@recorded_data
@pytest.mark.parametrize(
    ("source", "percent"),
    [("6b_finetuning", 21.7), ("6b_verification", 39.0), ("175b_finetuning", 34.7), ("175b_verification", 56.3)],
)
async def test_example_model_solutions(source: str, percent: float) -> None:
    generator = ReplayGenerator.open(f"{GSM8K}/example_model_solutions.jsonl.gz#source={source}")
    problems = gsm8k()
    drawn = await ask(generator, [request(p.id, p.text, 0) for p, _ in problems])
    right = sum(last_number(c.reply) == a.replace(",", "") for c, (_, a) in zip(drawn, problems, strict=True))
    assert len(generator.recorded) == 1319
    assert abs(100 * right / 1319 - percent) < 0.3  # the exact share is the grader's business


@recorded_data
async def test_multi_model_solutions() -> None:
    path = GSM8K / "multi_model_solutions_8.jsonl.gz"
    generator = ReplayGenerator.open(str(path))
    problems = gsm8k()
    assert {generator.available(p) for p, _ in problems} == {8}
    one = ReplayGenerator.open(f"{path}#source=openai-gpt3-175b_verification")
    assert {one.available(p) for p, _ in problems} == {1}
    answers = ReplayGenerator.open(f"{path}#text=answer&source=openai-gpt3-6b_finetuning")
    assert await texts(answers, "?", 1, problems[0][0].text) == ["26"]


@recorded_data
async def test_game_of_24() -> None:
    generator = ReplayGenerator.open(str(GAME24 / "gpt4_cot_100samples_900_1000.json.gz"))
    assert [generator.available(Problem(str(row), "4 5 6 10")) for row in (899, 900, 999, 1000)] == [0, 100, 100, 0]
    drawn = await texts(generator, "900", 100, "4 5 6 10")
    assert drawn[0].startswith("Steps:")
    assert len(drawn) == 100


async def test_lm_eval_samples_are_read_once_though_each_filter_repeats_them(tmp_path: Path) -> None:
    lines = [
        {
            "doc_id": i,
            "doc": {"question": question, "answer": "#### 2", "solution": "not this"},
            "target": "#### 2",
            "resps": [[f"text {i}", f"more {i}"]],
            "filtered_resps": [["2"]],
            "filter": name,
        }
        for name in ("strict-match", "flexible-extract")
        for i, question in enumerate(("One?", "Two?"))
    ]
    generator = ReplayGenerator(write(tmp_path / "samples.jsonl", lines))
    assert generator.available(Problem("1", "Two?")) == 2
    assert sorted(await texts(generator, "x", 2, "Question: Two?")) == ["more 1", "text 1"]
