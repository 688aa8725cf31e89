"""The library as a user meets it: on the embedded model, from scripts, threads and running event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import thence
from thence.core.errors import UsageError

pytest.importorskip("torch")
APPLES = "I have 3 apples, my dad has 2 more than me. How many do we have in total?"


@pytest.fixture(scope="module", autouse=True)
def _unload():
    yield
    thence.unload()


def test_all_names_exist_and_are_what_is_visible():
    assert [n for n in thence.__all__ if not hasattr(thence, n)] == []
    assert set(thence._WHERE) | {"__version__"} == set(thence.__all__)
    assert dir(thence) == sorted(thence.__all__)


def test_import_loads_no_torch():
    code = "import sys, thence, thence.methods, thence.evals.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_solve_says_how_and_at_what_cost():
    result = thence.solve(APPLES, strategy="self-consistency(n=8)")
    assert result.answer == "8"
    assert result.confidence == max(v.count for v in result.votes) / 8
    assert "####" in result.trace
    charged, spent = result.ledger.total_charged, result.ledger.total_spent
    assert charged.prompt == spent.prefilled
    assert (
        charged.generated == spent.generated == sum((n.completion.generated or 0) * n.multiplicity for n in result.tree)
    )


def test_same_seed_same_record_another_seed_another():
    question = (
        "Ann has 5 apples. Tom has 3 more apples than Ann. Sam has twice as many apples as Tom. "
        "How many apples does Sam have?"
    )
    records = [thence.solve(question, seed=s, temperature=1.5).record() for s in (1, 1, 2)]
    for r in records:
        r.pop("spent")
    assert records[0] == records[1]
    assert records[0]["tree"] != records[2]["tree"]


def test_in_a_running_loop_and_in_threads():
    async def notebook():
        sync = thence.solve(APPLES, strategy="greedy")
        twin = await thence.asolve(APPLES, strategy="greedy")
        return sync.answer, twin.answer

    assert asyncio.run(notebook()) == ("8", "8")
    answers: list[str | None] = []
    threads = [
        threading.Thread(target=lambda s=s: answers.append(thence.solve(APPLES, seed=s).answer)) for s in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers == ["8"] * 4


def test_cot_decoding_finds_the_path_that_greedy_misses():
    bare = thence.solve(APPLES, strategy="greedy", prompt="bare")
    found = thence.solve(APPLES, strategy="cot-decoding(k=5)")
    assert "####" not in bare.trace, "greedy on the bare question answers directly"
    assert found.answer == "8"
    assert "first token" in found.notes[0]


def test_budget_is_kept_and_named():
    whole = thence.solve(APPLES, strategy="self-consistency(n=16)").ledger.total_charged.total
    assert whole is not None
    for budget in (60, 120, 300, whole):
        result = thence.solve(APPLES, strategy="self-consistency(n=16)", budget=budget)
        total = result.ledger.total_charged.total
        assert total is not None
        assert total <= budget
        assert (result.stopped == "budget") == (budget < whole)


def test_unknown_words_are_named_with_questions_that_work():
    with pytest.raises(UsageError, match=r"'capital'.*(?s:.)*questions|Questions that work"):
        thence.solve("What is the capital of France?")


def test_evaluate_and_compare(tmp_path: Path):
    report = thence.evaluate("wordproblems(size=20)", strategy="greedy", run=tmp_path / "a.db")
    assert report.n == 20
    again = thence.evaluate("wordproblems(size=20)", strategy="greedy", run=tmp_path / "a.db")
    assert again.document() == report.document()
    made = thence.compare("wordproblems(size=20)", ["greedy @ direct", "greedy @ cot", "self-consistency(n=4) @ cot"])
    assert [r.n for r in made.rows] == [20, 20, 20]
    assert {d.arm for d in made.differences} == {"greedy @ cot", "self-consistency(n=4) @ cot"}


def test_grade():
    assert thence.grade("18", "so 9 + 9 = 18.\n#### 18").verdict == thence.Verdict.CORRECT
    assert thence.grade("18", "17", kind="answer").verdict == thence.Verdict.INCORRECT
    assert thence.grade("18", "I do not know").verdict == thence.Verdict.NO_ANSWER


def test_the_books_equal_the_engines_own_counters_waste_included():
    generator = thence.load("acorn")
    before = {k: getattr(generator.engine.counters, k) for k in ("prefilled", "reused", "generated", "wasted")}
    specs = ("self-consistency(n=8)", "adaptive-consistency(n=16, ahead=7)", "cot-decoding(k=4)", "greedy")
    reports = [thence.evaluate("wordproblems(size=12, data_seed=5)", generator, s, seed=11) for s in specs]
    for name, value in before.items():
        booked = sum(getattr(r.spent, name) for r in reports)
        assert booked == getattr(generator.engine.counters, name) - value, name
    assert reports[1].spent.wasted > 0, "a vote that stops early wastes what ran ahead"


def test_a_text_is_the_same_step_by_step_and_in_one_go():
    """Each step goes on from the tokens of the one before it, so greedy steps make the greedy text, to the token."""
    problems = thence.task("wordproblems").problems()[:12]
    steps = 0
    for problem in problems:
        whole = thence.solve(problem, strategy="greedy")
        beam = "beam(n=1, width=1, verifier=logprob, select=max)"
        by_steps = thence.solve(problem, strategy=beam, prompt="cot", temperature=0)
        assert by_steps.trace == whole.trace
        path = by_steps.tree.path(by_steps.node)
        assert sum((n.completion.ids for n in path), ()) == whole.node.completion.ids
        assert sum((n.completion.logprobs for n in path), ()) == whole.node.completion.logprobs
        assert by_steps.ledger.total_charged == whole.ledger.total_charged
        steps += len(path)
    assert steps > 2 * len(problems)
