"""The benchmark against the peers: its counters, its arithmetic, and that every side asks the same of the server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from counting_server import LENGTH, CountingServer
from peer_stubs import ITS, SAL, install
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import peers  # noqa: E402
import peers_side  # noqa: E402
from peers_side import Job, Missing, Solved, Whole, asked  # noqa: E402

from thence.core.budget import Spent  # noqa: E402
from thence.core.card import ACORN, HEAD, VerifierCard, VerifierKind  # noqa: E402
from thence.core.scores import Meaning  # noqa: E402
from thence.nets.checkpoint import weights_hash  # noqa: E402
from thence.tasks.wordproblems_task import WordProblemsTask  # noqa: E402
from thence.verifiers.formats import write  # noqa: E402
from thence.verifiers.learned import load  # noqa: E402

TASK = WordProblemsTask(level=4, size=2)
JOB = Job(arm="thence", url="", verifier="", level=4, size=2, n=8, width=2, depth=5, step_tokens=64)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    import transformers

    return transformers.AutoTokenizer.from_pretrained(str(ACORN))


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A process reward model: random numbers on the embedded model's states."""
    path = tmp_path_factory.mktemp("verifier") / "prm"
    path.mkdir()
    noise = torch.Generator().manual_seed(1)
    save_file({"score.weight": torch.randn(1, 128, generator=noise), "score.bias": torch.zeros(1)}, path / HEAD)
    card = VerifierCard(
        VerifierKind.PRM, Meaning.VALUE, "plain", "acorn", weights_hash(ACORN), None, "Think step by step."
    )
    card.write(path)
    return f"prm:{path}"


@pytest.fixture
def contained() -> Iterator[None]:
    """Modules that stand in for others do not outlive a test."""
    path, modules = list(sys.path), dict(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        if name.split(".")[0] in ("vllm", "datasets", "sal", "its_hub"):
            del sys.modules[name]
    sys.modules |= {name: modules[name] for name in modules if name.split(".")[0] == "datasets"}


# ------------------------------------------------------------------------------------------------------------ counters

METRICS = """\
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
vllm:prompt_tokens_total{engine="0"} 100.0
vllm:prompt_tokens_cached_total{engine="0"} 40.0
vllm:prompt_tokens_cached_by_source_total{engine="0",source="device"} 9.0
vllm:generation_tokens_total{engine="0"} 30.0
vllm:request_success_total{engine="0",finished_reason="stop"} 5.0
vllm:request_success_total{engine="0",finished_reason="length"} 2.0
http_requests_total{handler="/v1/completions",method="POST",status="2xx"} 3.0
http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx"} 4.0
http_requests_total{handler="/metrics",method="GET",status="2xx"} 99.0
"""


def test_counters_are_sums_over_labels_and_calls_are_those_that_draw() -> None:
    told = {"prompt": 100.0, "cached": 40.0, "generated": 30.0, "sequences": 7.0, "calls": 7.0}
    assert peers_side.counters(METRICS) == told


def test_a_server_without_those_counters_is_refused_by_name() -> None:
    with pytest.raises(SystemExit, match="generation_tokens_total"):
        peers_side.counters(METRICS.replace("generation_tokens", "other_tokens"))


# ------------------------------------------------------------------------------------------------------------ verifier


async def test_the_peers_verifier_gives_the_numbers_of_ours_and_reads_the_whole_text_each_time(verifier: str) -> None:
    lines = (" Carl has 100 books.\n", " Anna has 400 books.\n", " #### 400")
    problem = TASK.problems()[0]
    whole, learned = Whole(verifier, TASK.problems()), load(VerifierKind.PRM, verifier.removeprefix("prm:"))
    steps = [lines[:1], (lines[0], lines[1] + lines[2])]  # a closing answer line belongs to the step before it
    written = [write(learned.fmt, learned.tokenizer, problem.text, s, learned.card.instruction) for s in steps]
    numbers = await learned.reader.numbers(written, Spent())
    found = whole.steps(asked(problem), [lines[0], "".join(lines)])
    assert [len(f) for f in found] == [1, 2]
    for ours, theirs in zip(numbers, found, strict=True):
        assert theirs == pytest.approx([learned._number(logits) for logits in ours], abs=1e-5)
    assert abs(found[1][1] - found[0][0]) > 0.001  # numbers that differ, so that equality says something
    assert whole.value(found[1]) == found[1][-1]
    once = sum(len(text.ids) for text in written)
    assert whole.tokens == once
    whole.steps(asked(problem), [lines[0], "".join(lines)])
    assert (whole.tokens, whole.texts) == (2 * once, 4)


def test_a_reply_without_text_has_no_steps_and_the_lowest_value(verifier: str) -> None:
    whole = Whole(verifier, TASK.problems())
    found = whole.steps(asked(TASK.problems()[0]), ["", " Carl has 100 books.\n"])
    assert found[0] == ()
    assert whole.value(()) == 0.0
    assert len(found[1]) == 1


# ------------------------------------------------------------------------------------------------------------ fairness


def tried(arm: str, job: Job, server: CountingServer) -> Solved:
    made = peers_side.prepare(replace(job, arm=arm, url=server.url), TASK)
    return made(TASK)


@pytest.mark.parametrize(
    "arm", ["thence", "its_hub", "its_hub gathered", "search-and-learn", "search-and-learn threaded"]
)
def test_every_side_asks_the_same_of_the_server(
    arm: str, contained: None, tmp_path: Path, verifier: str, tokenizer: Any
) -> None:
    install(ITS, tmp_path)
    install(SAL, tmp_path / "search-and-learn" / "src")
    first = 4 if arm.startswith("its_hub") else 8
    with CountingServer(tokenizer) as server:
        job = replace(JOB, verifier=verifier, peers=str(tmp_path), first=first)
        solved = tried(arm, job, server)
    bodies = [call.body for call in server.asked]
    assert {body["temperature"] for body in bodies} == {JOB.temperature}
    assert {body.get("max_tokens", body.get("max_completion_tokens")) for body in bodies} == {JOB.step_tokens}
    assert all(body["stop"] in ("\n", ["\n"]) for body in bodies)
    assert {body.get("top_p", 1.0) for body in bodies} == {1.0}
    assert not any("seed" in body for body in bodies)
    questions = [
        tuple(
            tokenizer(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": asked(problem)}], add_generation_prompt=True, tokenize=False
                )
            )["input_ids"]
        )
        for problem in TASK.problems()
    ]
    begun = dict.fromkeys(questions, 0)
    for call in server.asked:
        for ids in call.prompts:
            (question,) = (q for q in questions if ids[: len(q)] == q)  # what is continued begins with the question
            if ids == question:
                begun[question] += call.sequences // len(call.prompts)
    assert set(begun.values()) == {first}  # first steps of every question
    assert solved.failures == {}
    assert set(solved.answers.values()) <= {"440", "441", "442"}
    assert set(solved.answers) == {p.id for p in TASK.problems()}
    assert solved.verifier_texts > 0
    assert solved.verifier_tokens > 0
    assert sum(call.sequences for call in server.asked) == server.counts["sequences"]


def test_thence_reads_each_step_once_where_a_peer_reads_the_whole_text_at_every_level(
    contained: None, tmp_path: Path, verifier: str, tokenizer: Any
) -> None:
    install(SAL, tmp_path / "search-and-learn" / "src")
    job = replace(JOB, verifier=verifier, peers=str(tmp_path))
    with CountingServer(tokenizer) as server:
        ours, theirs = (tried(arm, job, server) for arm in ("thence", "search-and-learn"))
    assert theirs.verifier_texts == 2 * 8 * (LENGTH + 1)  # two questions, eight candidates, every level
    assert ours.verifier_texts < theirs.verifier_texts
    assert ours.verifier_tokens < theirs.verifier_tokens / 2


def test_a_run_counts_only_what_it_measures(tokenizer: Any, verifier: str) -> None:
    with CountingServer(tokenizer) as server:
        solved = peers_side.perform(replace(JOB, url=server.url, verifier=verifier))
    warmed = server.counts["generated"] - solved.server["generated"]
    assert warmed > 0
    assert server.forgotten == 1
    assert 0 < solved.server["calls"] < len(server.asked)
    drawn = sum(call.sequences for call in server.asked[-int(solved.server["calls"]) :])
    assert solved.server["sequences"] == drawn


def test_a_question_on_which_a_peer_breaks_is_a_failure_and_the_others_go_on(
    contained: None, tmp_path: Path, verifier: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(ITS, tmp_path)
    breaking = TASK.problems()[0].text
    mark = lambda p: ("[broken] " if p.text == breaking else "") + f"{p.text}\n{peers_side.INSTRUCTION}"  # noqa: E731
    monkeypatch.setattr(peers_side, "asked", mark)
    with CountingServer(tokenizer) as server:
        for arm in ("its_hub", "its_hub gathered"):
            solved = tried(arm, replace(JOB, verifier=verifier, peers=str(tmp_path)), server)
            (problem,) = solved.failures
            assert "a question that breaks" in solved.failures[problem]
            assert [answer is None for answer in solved.answers.values()] == [True, False]


@pytest.mark.parametrize("arm", ["its_hub", "search-and-learn"])
def test_a_peer_that_is_not_there_is_named(arm: str, contained: None, tmp_path: Path, verifier: str) -> None:
    with pytest.raises(Missing, match=arm):
        peers_side.prepare(replace(JOB, arm=arm, verifier=verifier, peers=str(tmp_path / "empty")), TASK)


# ---------------------------------------------------------------------------------------------------------- arithmetic


def run(seconds: float, generated: float, right: dict[str, float], verifier: int = 100) -> peers.Run:
    server = {"generated": generated, "prompt": 4 * generated, "cached": generated, "sequences": 10.0, "calls": 5.0}
    return {
        "seconds": seconds,
        "server": server,
        "right": right,
        "failures": {},
        "verifier_tokens": verifier,
        "verifier_texts": 8,
    }


BOTH, ONE = {"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 0.0}


def test_a_row_has_means_per_question_and_the_median_of_seconds() -> None:
    runs = [run(4.0, 40.0, ONE), run(2.0, 60.0, BOTH), run(9.0, 80.0, ONE)]
    row = peers.summary("arm", runs, runs)
    assert (row.seconds, row.generated, row.prompt, row.computed, row.calls) == (4.0, 30.0, 120.0, 90.0, 2.5)
    assert row.accuracy == pytest.approx(2 / 3)
    assert (row.verifier_tokens, row.verifier_texts) == (50.0, 4.0)


def test_ratios_are_peer_over_ours_run_by_run_and_a_difference_is_ours_minus_peer() -> None:
    timed = {
        "peer": [run(8.0, 80.0, ONE, 600), run(9.0, 80.0, ONE, 600)],
        "us": [run(2.0, 40.0, BOTH), run(3.0, 40.0, ONE)],
    }
    found = peers.against("peer", "us", timed, timed)
    assert (found.faster, found.per_token, found.tokens, found.verifier) == (3.5, 1.75, 2.0, 6.0)
    assert found.difference == pytest.approx(0.25)
    assert found.low < 0.25 < found.high
    assert found.problems == 2


def test_goals_are_judged_at_equal_tokens_against_the_better_peer_as_shipped() -> None:
    timed = {
        peers.THENCE: [run(1.0, 100.0, BOTH)],
        peers.THENCE_4: [run(1.0, 100.0, BOTH)],
        peers.SAL: [run(5.0, 100.0, BOTH)],
        peers.ITS: [run(4.0, 50.0, BOTH)],
        peers.GATHERED: [run(1.5, 100.0, BOTH)],
    }
    made = peers.document({"level": 4}, timed, {})
    assert [(g["ratio"], g["goal"], g["met"]) for g in made["goals"]] == [(5.0, 3.0, True), (1.5, 1.7, False)]
    assert [row["arm"] for row in made["rows"]] == list(peers.TIMED)
    assert len(made["table"].splitlines()) == 2 + len(peers.TIMED) + 1 + 2 + len(peers.PAIRS)
    assert json.loads(json.dumps(made)) == made


def test_without_both_peers_as_shipped_there_is_no_best_one() -> None:
    timed = {peers.THENCE: [run(1.0, 100.0, BOTH)], peers.SAL: [run(5.0, 100.0, BOTH)]}
    made = peers.document({}, timed, {})
    assert made["goals"] == []
    assert [each["peer"] for each in made["against"]] == [peers.SAL]


def test_accuracy_comes_from_the_answers_where_there_are_some() -> None:
    timed = {peers.THENCE: [run(1.0, 100.0, ONE)], peers.SAL: [run(5.0, 100.0, BOTH)]}
    answers = {peers.THENCE: [run(1.0, 100.0, BOTH)], peers.SAL: [run(5.0, 100.0, ONE)]}
    (found,) = peers.document({}, timed, answers)["against"]
    assert found["difference"] == pytest.approx(0.5)
    assert found["per_token"] == 5.0


def test_answers_are_graded_and_none_is_wrong() -> None:
    problems = TASK.problems()
    right = TASK.items[problems[0].id].answer
    made = peers.graded(JOB, {"answers": {problems[0].id: right, problems[1].id: None}})
    assert made["right"] == {problems[0].id: 1.0, problems[1].id: 0.0}


# ------------------------------------------------------------------------------------------------------------- the run


def test_the_arms_take_turns_and_differ_in_first_steps_only() -> None:
    assert peers.turns(["a", "b", "c"], 0) == ["a", "b", "c"]
    assert peers.turns(["a", "b", "c"], 4) == ["b", "c", "a"]
    assert {peers.turns(peers.TIMED, seed)[0] for seed in range(5)} == set(peers.TIMED)
    base = asdict(peers.job(JOB, peers.SAL, 1))
    for arm in peers.TIMED:
        made = asdict(peers.job(JOB, arm, 1))
        assert {key for key in made if made[key] != base[key]} <= {"arm", "first"}
    assert peers.job(JOB, peers.THENCE_4, 1).first == 4
    assert "beam(n=4, keep=4, width=2," in peers_side.spec(peers.job(JOB, peers.THENCE_4, 0))
    assert "beam(n=8, keep=4, width=2," in peers_side.spec(peers.job(JOB, peers.THENCE, 0))


def test_a_missing_peer_is_left_out_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def perform(what: Job, threads: int) -> peers.Run:
        calls.append(what.arm)
        if what.arm != "thence":
            return {"missing": f"{what.arm} is not in {what.peers}"}
        return run(2.0, 50.0, {}) | {"answers": {p.id: None for p in what.task.problems()}}

    monkeypatch.setattr(peers, "perform", perform)
    options = argparse.Namespace(
        seeds=2,
        threads=1,
        arms=list(peers.TIMED),
        answers=0,
        peers=str(tmp_path),
        output=tmp_path / "out" / "peers.json",
    )
    made = peers.measure(replace(JOB, peers=str(tmp_path)), options)
    assert calls.count("search-and-learn") == 1  # not tried again
    assert calls.count("thence") == 4
    assert made["against"] == []
    told = capsys.readouterr().err
    assert f"install it: git clone https://github.com/huggingface/search-and-learn {tmp_path}" in told
    assert "its-hub==1.2.0" in told
    assert set(json.loads(options.output.read_text())["settings"]["left out"]) == {peers.SAL, peers.ITS, peers.GATHERED}


def test_the_command_measures_every_arm_and_prints_what_it_found(
    tmp_path: Path, verifier: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    took = {"thence": 1.0, "search-and-learn": 6.0, "its_hub": 4.0, "its_hub gathered": 1.5}
    jobs: list[Job] = []

    def perform(what: Job, threads: int) -> peers.Run:
        jobs.append(what)
        answers = {p.id: what.task.items[p.id].answer for p in what.task.problems()}
        return run(took.get(what.arm, 99.0), 50.0, {}) | {"answers": answers}

    monkeypatch.setattr(peers, "perform", perform)
    out = tmp_path / "peers.json"
    where = ["--url", "http://127.0.0.1:1/v1", "--peers", str(tmp_path), "--output", str(out)]
    size = ["--problems", "3", "--answers", "5", "--seeds", "2", "--verifier", verifier.removeprefix("prm:")]
    monkeypatch.setattr(sys, "argv", ["peers.py", *where, *size])
    peers.main()
    told = capsys.readouterr().out
    assert "ok   4.00  goal 3.0" in told
    assert "MISS 1.50  goal 1.7" in told
    assert "open accuracy within 2 points of search-and-learn" in told  # five problems cannot tell
    assert [(j.arm, j.size) for j in jobs[-4:]] == [
        (arm, 5) for arm in ("thence", "thence", "search-and-learn threaded", "its_hub gathered")
    ]
    assert {j.size for j in jobs[:10]} == {3}
    assert {j.verifier for j in jobs} == {verifier}
    assert {row["accuracy"] for row in json.loads(out.read_text())["rows"]} == {1.0}


def test_an_arm_that_breaks_ends_the_benchmark_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="unknown arm 'nobody'"):
        peers.perform(replace(JOB, arm="nobody"), 1)


def test_the_peers_code_stays_outside_the_repository(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        peers.parse(["--peers", str(ROOT / "peers")])
    assert "inside the repository" in capsys.readouterr().err
