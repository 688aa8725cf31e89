"""``thence arena`` as a user runs it: battle files, run files, a judge on a server, and what is refused."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from thence.cli import run
from thence.evals.arena.simulate import Arena
from thence.methods import task as task_of
from thence.stores.sqlite import Cell, RunFile
from thence.tasks.files import write_rows

sys.path.insert(0, str(Path(__file__).parents[1] / "generators"))
from stub import Call, Reply, Stub, chat

WORDS = {1.0: "model_a", 0.0: "model_b", 0.5: "tie"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,500 battles of four models with voters, a position effect and lengths; the weakest model writes most."""
    import numpy as np

    strengths = np.array([-0.6, -0.2, 0.2, 0.6])
    arena = Arena(strengths, tie=-0.5, position=0.4, style={"length": 3.0}, verbosity=-1.5 * strengths, voters=30)
    battles = arena.draw(1500, 3)
    path = tmp_path_factory.mktemp("arena") / "battles.jsonl"
    rows = [
        {
            "model_a": battles.models[battles.a[i]],
            "model_b": battles.models[battles.b[i]],
            "winner": WORDS[float(battles.outcome[i])],
            "judge": (battles.judges or ())[i],
            "length_a": battles.features["length"][i, 0],
            "length_b": battles.features["length"][i, 1],
        }
        for i in range(battles.n)
    ]
    write_rows(path, rows)
    return path


def test_a_battle_file_becomes_a_leaderboard(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "board.png"
    arguments = ["arena", str(file), "--control", "length,position", "--ties", "davidson"]
    assert run([*arguments, "--next", "4", "--plot", str(picture), "--shuffles", "10"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("1,500 battles of 4 models", "davidson, nu", "uncontrolled", "beta_0: what is not ability"):
        assert words in shown
    for words in ("Elo depends on the order", "no voter out of 30", "battles to fight next", "shown first won"):
        assert words in shown
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert run([*arguments, "--json", "--shuffles", "10", "--interval", "bootstrap", "--rounds", "50"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [m["model"] for m in document["models"]] == ["m03", "m02", "m01", "m00"]
    assert {e["name"] for e in document["beta_0"]} == {"length", "position"}
    assert document["interval"] == "bootstrap"
    assert document["voters"] == 30


def test_a_voter_can_be_left_out_and_a_model_anchored(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["arena", str(file), "--without-judge", "v003", "--anchor", "m01=1114", "--shuffles", "2", "--json"]
    assert run(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["battles"] == 1450
    assert next(m["score"] for m in document["models"] if m["model"] == "m01") == pytest.approx(1114)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "which battles?"),
        (["no-such.jsonl"], 2, "no-such.jsonl"),
        (["FILE", "x.db"], 2, "not both"),
        (["FILE", "--judge", "acorn"], 2, "--judge goes with run files"),
        (["FILE", "-o", "x.jsonl"], 2, "--output goes with run files"),
        (["FILE", "--anchor", "m01"], 2, "is not MODEL=SCORE"),
        (["FILE", "--anchor", "m01=nan"], 2, "is not MODEL=SCORE"),
        (["FILE", "--anchor", "m99=1"], 2, "no model 'm99'"),
        (["FILE", "--without-judge", "nobody"], 2, "no battle was judged by 'nobody'"),
        (["FILE", "--control", "mood"], 2, "nothing to control 'mood' by"),
        (["FILE", "--control", "style"], 2, "nothing to control 'headers' by"),
        (["FILE", "--ridge", "-1"], 2, "ridge is -1"),
        (["FILE", "--k", "0"], 2, "K is 0"),
        (["FILE", "--shuffles", "0"], 2, "shuffles is 0"),
        (["FILE", "--alpha", "2"], 2, "alpha is 2"),
        (["FILE", "--next", "-3"], 2, "n is -3"),
        (["FILE", "--cluster", "room"], 2, "no column 'room'"),
        (["nowhere.db"], 1, "no such run file"),
        (["x.db", "-m", "other"], 2, "--judge other"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], code: int, said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["arena", *(str(file) if a == "FILE" else a for a in arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert said in captured.err


def test_separated_battles_name_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "b.jsonl", [{"model_a": "x", "model_b": "y", "winner": "model_a"}] * 3)
    assert run(["arena", str(tmp_path / "b.jsonl")]) == 1
    assert "--ridge 0.5" in capsys.readouterr().err
    assert run(["arena", str(tmp_path / "b.jsonl"), "--ridge", "0.5"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "shrunk towards each other" in shown
    assert "two models only" in shown


# --- run files --------------------------------------------------------------------------------------------------------


def two_runs(folder: Path) -> list[str]:
    """Two runs of ten questions of a file: one model right in eight, the other in three."""
    data = folder / "sums.jsonl"
    data.write_text("".join(json.dumps({"question": f"{i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(10)))
    task = task_of(f"jsonl(file={data}, question=question, answer=answer)")
    paths = []
    for name, right in (("strong", 8), ("weak", 3)):
        header = {"kind": "eval", "task": task.spec, "data": "d", "strategy": "greedy"}
        path = folder / f"{name}.db"
        with RunFile.open(path, header | {"notes": {"policy": {"model": name}}}) as store:
            for i, problem in enumerate(task.problems()):
                text = f"{name} says {i + 1 if i < right else 99}"
                tree = tree_of(text)
                verdict = "correct" if i < right else "incorrect"
                record = {"problem": problem.id, "verdict": verdict, "node": 1, "draws": [], "answer": text[-1]}
                store.put_result(Cell(), problem.id, record, tree)
        paths.append(str(path))
    return paths


def tree_of(text: str) -> list[dict[str, object]]:
    """A tree whose only solution is ``text``, as a run file stores it."""
    from thence.core.completion import Completion, Finish
    from thence.core.tree import Tree

    tree = Tree()
    tree.add(tree.nodes[0], Completion.of(text, Finish.EOS), (0,))
    return tree.record()


def test_runs_meet_by_their_verdicts_and_the_battles_can_be_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = two_runs(tmp_path)
    battles = tmp_path / "battles.jsonl"
    assert run(["arena", *runs, "-o", str(battles), "--shuffles", "2", "--json", "--ridge", "0.1"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert "the battles are about 10 problems only" in " ".join(first["notes"])
    assert (first["battles"], first["ties"], first["both_bad"]) == (10, 5, 2)
    assert [m["model"] for m in first["models"]] == ["strong", "weak"]
    assert run(["arena", str(battles), "--shuffles", "2", "--json", "--ridge", "0.1"]) == 0
    assert json.loads(capsys.readouterr().out) == first


async def judged(
    handler: Callable[[Call], Reply], runs: list[str], folder: Path, times: int = 1
) -> tuple[list[int], int]:
    """(exit codes, requests) of an arena that a server judges, so many times."""

    async def answer(call: Call) -> Reply:
        return handler(call)

    async with Stub(answer) as stub:
        arguments = ["arena", *runs, "--judge", f"openai:m@{stub.url}", "--run", str(folder / "judge.db")]
        arguments += ["-o", str(folder / "battles.jsonl"), "--shuffles", "2", "--ridge", "0.1", "--json"]
        codes = [await asyncio.to_thread(run, arguments) for _ in range(times)]
        return codes, len(stub.calls)


async def test_a_judge_on_a_server_is_asked_in_both_orders_and_never_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = two_runs(tmp_path)

    def prefers_strong(call: Call) -> Reply:
        prompt = call.body["messages"][-1]["content"]
        return chat(f"Better: {'A' if prompt.index('strong') < prompt.index('weak') else 'B'}")

    codes, calls = await judged(prefers_strong, runs, tmp_path, times=2)
    first, second = capsys.readouterr().out.splitlines()
    assert (codes, calls) == ([0, 0], 20)
    assert first == second
    document = json.loads(first)
    assert document["judging"]["same_in_both_orders"] == 10
    assert document["models"][0]["model"] == "strong"
    assert document["first_won"][0] == 0.5


async def test_a_judge_that_states_no_verdict_or_fails_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = two_runs(tmp_path)
    codes, _ = await judged(lambda call: chat("Both are nice."), runs, tmp_path)
    assert codes == [1]
    assert "none of 20 replies" in capsys.readouterr().err
