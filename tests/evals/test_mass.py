"""Prompts and mass: exact probabilities of a scripted model, ranks, equivalence, bad input, acorn by the command."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from thence.cli import run
from thence.core.completion import Ability, Context, Sampling
from thence.core.errors import UsageError
from thence.core.problem import Message, Problem
from thence.core.protocols import Generator
from thence.evals.compare import compare_header
from thence.evals.mass import Mass, Plan, Shift, prompting, score_paths
from thence.evals.statistics.metrics import Paired, paired
from thence.generators.scripted import ScriptedGenerator
from thence.prompts.styles import Bare, ChainOfThought, Plain
from thence.stores.sqlite import RunFile
from thence.strategies.cot_decoding import CoTDecoding
from thence.strategies.greedy import Greedy
from thence.strategies.repeated_sampling import RepeatedSampling
from thence.tasks.jsonl import Jsonl

CHAIN, GUESS, OTHER = " Three plus four\n#### 7", " 8", " Take four\n#### 7"


def model() -> ScriptedGenerator:
    """Bare: a wrong guess, and right chains of little mass. Asked to think: the chains on top."""
    return ScriptedGenerator(
        texts={
            "3 and 4?\nThink step by step.": [(CHAIN, 0.5), (OTHER, 0.3), (GUESS, 0.2)],
            "3 and 4?": [(CHAIN, 0.1), (OTHER, 0.1), (GUESS, 0.8)],
        }
    )


@dataclass(frozen=True, slots=True)
class Swapped(Plain):
    """A prompt that asks something else."""

    name = "swapped"

    def context(self, problem: Problem) -> Context:
        """Another question's."""
        return Context((Message("user", "3 and 4?\nThink step by step."),))


def plan(samples: int = 30, *, sampling: Sampling | None = None) -> Plan:
    return Plan(
        (("bare", Bare()), ("cot", ChainOfThought())),
        Greedy(),
        RepeatedSampling(samples),
        CoTDecoding(3),
        samples,
        3,
        sampling or Sampling(temperature=1.0, max_tokens=20),
    )


async def test_the_probability_of_a_stored_path_and_the_rank_of_its_first_token_are_exact() -> None:
    problem = Problem("p", "3 and 4?")
    for style, mass, rank in ((Bare(), 0.1, 1), (ChainOfThought(), 0.5, 0)):
        found = (await score_paths(model(), style, [problem], {"p": CHAIN.strip()}, 3))["p"]
        assert math.exp(found.logprob) == pytest.approx(mass)
        assert found.begins == pytest.approx(mass)  # no other text begins so
        assert found.rank in (rank, 2 if rank else 0)  # bare: both chains have the same mass
    unlikely = (await score_paths(model(), Bare(), [problem], {"p": "Never said"}, 3))["p"]
    assert unlikely.rank == 3
    assert math.exp(unlikely.logprob) < 1e-12


async def measured(tmp_path: Path, made: Plan, path: str | None = CHAIN) -> Mass:
    file = tmp_path / "d.jsonl"
    rows = [{"id": f"p{i}", "question": f"{i}) 3 and 4?", "answer": "7"} for i in range(30)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task, generator = Jsonl(file=str(file)), model()
    with RunFile.open(tmp_path / "run.db", compare_header(task, generator, made.grid_for(0))) as store:
        return await prompting(task, generator, made, store, paths=None if path is None else lambda problem: path)


async def test_a_prompt_that_moves_mass_raises_greedy_and_leaves_what_can_be_reached(tmp_path: Path) -> None:
    found = await measured(tmp_path, plan())
    bare, cot = found.prompts
    assert (bare.greedy, cot.greedy) == (0.0, 1.0)
    assert (bare.branches, cot.branches) == (1.0, 1.0)
    assert (bare.coverage, cot.coverage) == (1.0, 1.0)  # 1 - .8^30 is .999
    assert bare.begins == pytest.approx(0.1)
    assert cot.begins == pytest.approx(0.5)
    (shift,) = found.shifts
    assert shift.logprob == pytest.approx(math.log10(5))
    assert shift.moved
    assert shift.unchanged(shift.coverage)
    strict = Shift("x", 1.0, (0.9, 1.1), shift.greedy, shift.coverage, shift.branches, 0.05)
    assert not strict.unchanged(shift.coverage)  # 30 problems are too few to say so within 5 points


async def test_too_few_draws_hide_what_is_there_and_the_branches_show_it(tmp_path: Path) -> None:
    found = await measured(tmp_path, plan(1))
    (shift,) = found.shifts
    assert shift.coverage.interval[0] > 0
    assert shift.branches.difference == 0.0


async def test_without_references_in_words_a_right_sample_is_the_path(tmp_path: Path) -> None:
    found = await measured(tmp_path, plan(), None)
    assert "sample" in found.source
    assert found.prompts[0].paths == 30
    document = found.document()
    assert json.loads(json.dumps(document))["shifts"][0]["moved"] is True


def test_unchanged_wants_the_whole_interval_within_the_margin() -> None:
    def shift(wins: int, n: int) -> tuple[Shift, Paired]:
        d = paired(dict.fromkeys(map(str, range(n)), 0.0), {str(i): float(i < wins) for i in range(n)})
        return Shift("x", None, None, d, d, d, 0.1), d

    for wins, n, same in ((0, 400, True), (8, 400, True), (40, 400, False), (0, 10, False)):
        made, difference = shift(wins, n)
        assert made.unchanged(difference) is same
        assert not made.moved


class Mute(ScriptedGenerator):
    """A generator that scores no text, like most servers."""

    @property
    def abilities(self) -> frozenset[Ability]:
        return super().abilities - {Ability.SCORE_TEXT}


async def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text('{"question": "3 and 4?", "answer": "7"}\n')
    task = Jsonl(file=str(file))
    texts: Mapping[str, list[tuple[str, float]]] = {"3 and 4?": [("#### 7", 1.0)]}
    mute: Generator = Mute(texts=texts)
    with (
        RunFile.open(tmp_path / "run.db", compare_header(task, mute, plan().grid_for(0))) as store,
        pytest.raises(UsageError, match="no log-probabilities of given text"),
    ):
        await prompting(task, mute, plan(), store)
    with pytest.raises(UsageError, match="two different prompts"):
        Plan((("bare", Bare()), ("bare", Swapped())), Greedy(), Greedy(), Greedy())


def test_acorn_through_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prompting", "wordproblems(level=1)", "--limit", "6", "--samples", "2", "--k", "2", "-q"]
    words += ["-p", "bare", "-p", "cot", "--run", str(tmp_path / "r.db"), "--max-tokens", "40"]
    assert run(words) == 0
    printed = capsys.readouterr().out
    assert "minus bare" in printed
    assert "reference solutions" in printed
    assert run([*words, "--json"]) == 0  # resumed: nothing is drawn again
    bare, cot = json.loads(capsys.readouterr().out)["prompts"]
    assert bare["begins"] < 0.2 < 0.5 < cot["begins"]
    assert cot["greedy"] > bare["greedy"]
    assert run(["prompting", "-p", "bare"]) == 2
    assert "two different prompts" in capsys.readouterr().err
    assert run(["prompting", "--margin", "2"]) == 2
