"""The verifiers that ship with the embedded model: on its weights, small, better than chance on problems never seen."""

from __future__ import annotations

import pytest
from prm_checkpoints import engine_of

from thence.core.card import ACORN, VerifierCard, VerifierKind
from thence.core.completion import Sampling
from thence.core.scores import Aggregate
from thence.core.solve import solve
from thence.methods import model, strategy
from thence.nets.checkpoint import weights_hash
from thence.prompts.styles import ChainOfThought
from thence.tasks.wordproblems import extract_answer
from thence.tasks.wordproblems_task import WordProblemsTask
from thence.verifiers.learned import load

KINDS = ("prm", "orm", "head", "dpo", "simpo")
PAIRED = ("dpo", "simpo")  # trained on pairs: their numbers are no probabilities, and cannot weigh votes


@pytest.mark.parametrize("kind", KINDS)
def test_it_stands_on_the_shipped_weights_and_is_small(kind: str) -> None:
    card = VerifierCard.read(ACORN / kind)
    assert (str(card.kind), card.trunk, card.trunk_hash) == (kind, "acorn", weights_hash(str(ACORN)))
    assert sum(file.stat().st_size for file in (ACORN / kind).iterdir()) <= 1_000_000
    measured = card.trained["dev"]
    assert measured["solution auroc within problems"] > (0.7 if kind in PAIRED else 0.6)
    if kind not in PAIRED:
        assert measured["calibration error"] < 0.1
    if kind == "prm":
        assert measured["first error F1"] > 0.5


@pytest.mark.parametrize("kind", KINDS)
async def test_it_tells_right_samples_from_wrong_ones(kind: str) -> None:
    """Pairs of a right and a wrong sample of one test problem, which nothing here was trained on."""
    task, generator = WordProblemsTask(size=80, data_seed=4), model("acorn")
    how = strategy(f"best-of-n(n=8, select={'max' if kind in PAIRED else 'vote'}, verifier={kind}:acorn)")
    shares: list[float] = []
    try:
        for problem in task.problems():
            result = await solve(
                problem,
                generator=generator,
                strategy=how,
                style=ChainOfThought(),
                reading=task.reading,
                sampling=Sampling(1.0, max_tokens=160),
            )
            assert (kind == "head") == (not result.ledger.total_charged.verifier)  # a head reads while the model writes
            groups: tuple[list[float], list[float]] = ([], [])
            for node in result.tree.nodes[1:]:
                [score] = node.scores.values()
                assert kind in PAIRED or 0 <= score.value <= 1
                groups[task.grade(problem, node.text, extract_answer(node.text)).correct].append(score.value)
            wins = [(b > a) + 0.5 * (a == b) for a in groups[False] for b in groups[True]]
            if wins:
                shares.append(sum(wins) / len(wins))
    finally:
        await generator.close()
    assert len(shares) > 30
    assert sum(shares) / len(shares) > (0.68 if kind in PAIRED else 0.55)  # chance .5; in training about .78 and .67


def test_equal_verifiers_share_their_weights_and_prefix_memory() -> None:
    first, second = load(VerifierKind.PRM, "acorn"), load(VerifierKind.PRM, "acorn", aggregate=Aggregate.MIN)
    other = load(VerifierKind.ORM, "acorn")
    assert engine_of(first) is engine_of(second) is not engine_of(other)
    engine_of(first).close()
    assert engine_of(load(VerifierKind.PRM, "acorn")) is not engine_of(first)
