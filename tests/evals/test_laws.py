"""Only draws of one law may enter pass@k and maj@k together."""

from __future__ import annotations

import pytest

from thence.core.completion import Sampling
from thence.evals.evaluate import Arm, evaluate
from thence.generators.scripted import ScriptedGenerator
from thence.methods import prompt, strategy
from thence.tasks.wordproblems_task import WordProblemsTask

TASK = WordProblemsTask(size=6)
OWN = Sampling(temperature=0.7)


@pytest.mark.parametrize(
    ("other", "law"),
    [
        (OWN, ""),
        (Sampling(temperature=0.7, max_tokens=7, stop=("\n",), top2=True), ""),
        (OWN.greedy(), "greedy"),
        (Sampling(temperature=1.0), "T=1 p=1 k=0"),
        (Sampling(temperature=0.0, first_rank=3), "greedy first token 3"),
    ],
)
def test_the_law_of_a_sampling(other, law):
    assert other.law(OWN) == law


def test_two_greedy_samplings_have_one_law():
    assert Sampling(temperature=0.0, top_p=0.9).law(Sampling(temperature=0.0)) == ""


async def report(text):
    answers = {p.question: [("1", 0.5), ("2", 0.5)] for p in TASK.items.values()}
    generator = ScriptedGenerator(answers=answers)
    return await evaluate(TASK, generator, Arm(text, strategy(text), prompt("bare"), sampling=OWN))


async def test_branches_on_the_first_token_have_no_pass_at_k():
    assert (await report("cot-decoding(k=4)")).pass_at == {}


async def test_greedy_alone_is_one_law():
    made = await report("greedy")
    assert set(made.pass_at) == {1}
    assert made.pass_at[1] == made.accuracy


async def test_samples_are_counted_with_their_multiplicity():
    assert set((await report("repeated-sampling(n=4)")).pass_at) == {1, 2, 4}
