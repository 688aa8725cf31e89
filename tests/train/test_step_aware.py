"""DiVeRSe's step-aware verifier: its loss by hand, its labels, and what is left of it when alpha is 0."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled import record
from torch import nn

from thence.annotate.diverse import pseudo_labels
from thence.cli import run
from thence.core.card import HEAD, VerifierCard, VerifierKind
from thence.core.completion import Sampling
from thence.core.errors import DataError, UsageError
from thence.core.label_files import write_labels
from thence.core.labels import Labelled
from thence.core.problem import Problem
from thence.core.scores import Meaning
from thence.core.search import POLICY, Search
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.nets.verifier import load_verifier
from thence.prompts.styles import Bare
from thence.strategies.diverse import Diverse
from thence.train import examples as ex
from thence.train.config import VerifierConfig
from thence.train.examples import Example
from thence.train.fit import FitConfig, evaluate
from thence.train.learner import Learner, Setup, TokenObjective, load_learner
from thence.train.verifiers import Report, train_verifier
from thence.verifiers.formats import FORMATS
from thence.verifiers.learned import load
from tiny_models import WORDS, save_tiny, word_tokenizer

FIT = FitConfig(epochs=20, batch_size=16, lr=1e-2, patience=0, seed=2)
VALID = Meaning.PREFIX_VALID
STEPS = (" Tom has 3\n", " Ann has 4\n", " so 7")


def writer() -> ex.Writer:
    return ex.Writer(FORMATS["plain"], word_tokenizer())


class Known(Learner):
    """A learner whose state at a token is the number of that token over 10, and whose heads are given factors."""

    def __init__(self, verdict: float, step: float) -> None:
        heads = []
        for factor in (verdict, step):
            head = nn.Linear(1, 1, bias=False)
            nn.init.constant_(head.weight, factor)
            heads.append(head)
        super().__init__(nn.Linear(1, 1), heads[0], step_head=heads[1])

    def states(self, sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, tuple[int, ...]]:
        flat = [i / 10 for ids in sequences for i in ids]
        starts = [sum(len(ids) for ids in sequences[:k]) for k in range(len(sequences))]
        return torch.tensor(flat)[:, None], tuple(starts)


def bce(logit: float, y: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -(y * math.log(p) + (1 - y) * math.log(1 - p))


def test_the_loss_is_the_verdicts_plus_alpha_times_the_sum_over_steps_by_hand() -> None:
    # Two solutions: the first drawn once, wrong, of tokens 1 2 3 after a prompt token, its steps right and wrong; the
    # second drawn twice, right, with one step.
    zeros4, zeros3 = (0.0,) * 4, (0.0,) * 3
    wrong = Example(
        "p", (9, 1, 2, 3), zeros4, (0.0, 1 / 3, 1 / 3, 1 / 3), zeros4, False, ((2, 1.0, 1.0), (3, 0.0, 1.0))
    )
    right = Example("p", (9, 4, 5), (0.0, 1.0, 1.0), (0.0, 1.0, 1.0), zeros3, True, ((2, 1.0, 2.0),))
    verdict, step, alpha = 2.0, -3.0, 0.1
    expected = (
        (bce(0.2, 0) + bce(0.4, 0) + bce(0.6, 0)) / 3
        + alpha * (bce(-0.6, 1) + bce(-0.9, 0))
        + 2 * (bce(0.8, 1) + bce(1.0, 1)) / 2
        + alpha * 2 * bce(-1.5, 1)
    ) / 3
    learner = Known(verdict, step)
    aware = TokenObjective(learner, step_weight=alpha)
    assert evaluate(learner, aware, [wrong, right], 1000) == pytest.approx(expected, abs=1e-6)
    assert evaluate(learner, aware, [wrong, right], 4) == pytest.approx(expected, abs=1e-6)  # one after the other
    plain = TokenObjective(learner)
    without = (sum(bce(x, 0) for x in (0.2, 0.4, 0.6)) / 3 + bce(0.8, 1) + bce(1.0, 1)) / 3
    assert evaluate(learner, plain, [wrong, right], 1000) == pytest.approx(without, abs=1e-6)


def test_steps_are_asked_at_their_ends_and_the_verdict_everywhere_as_before() -> None:
    made = record(STEPS, (1.0, None, 0.0), False, meaning=VALID, draws=3)
    [aware], [plain] = ex.step_aware_examples([made], writer(), VALID), ex.outcome_examples([made], writer())
    assert replace(aware, steps=()) == plain
    ends = ex.step_examples([made], writer(), VALID)[0]
    assert aware.steps == tuple((t, ends.targets[t], 3.0) for t in ends.reads)
    alone = aware.of_steps()
    assert (alone.reads, alone.targets, alone.weights) == (ends.reads, ends.targets, ends.weights)


def test_solutions_without_step_labels_keep_their_verdict_and_none_at_all_is_an_error() -> None:
    bare = record(STEPS, (None,) * 3, True, meaning=VALID)
    known = record((" Tom has 5\n", " so 9"), (1.0, 0.0), False, meaning=VALID)
    w = writer()
    made = ex.step_aware_examples([bare, known, record(STEPS, (None,) * 3, None), bare], w, VALID)
    assert [len(e.steps) for e in made] == [0, 2, 0]
    assert w.counts == {"without a verdict": 1}
    with pytest.raises(DataError, match=r"label of value .*labels there: prefix_valid.*--step-meaning"):
        ex.step_aware_examples([known], writer(), Meaning.VALUE)


def test_what_the_annotator_writes_is_what_is_learnt() -> None:
    right, wrong = "3 + 4 = 7\n7 + 1 = 8\n#### 8", "3 + 4 = 7\n7 + 1 = 9\n9 + 1 = 10\n#### 10"
    ends = [(10, len(right)), (10, 20, len(wrong))]
    pool = [(right, ends[0], True), (wrong, ends[1], False)]
    records = [replace(r, extra={"question": "how many ?"}) for r in pseudo_labels("p", pool)]
    a, b = ex.step_aware_examples(records, writer(), VALID)
    assert [y for _, y, _ in a.steps] == [1.0, 1.0]
    assert [y for _, y, _ in b.steps] == [1.0, 0.0, 0.0]


# ------------------------------------------------------------------------------------------------------------ training


def marked(n: int = 40) -> list[Labelled]:
    """Wrong solutions speak of pears, from their second or their third step on."""
    made = []
    for i in range(n):
        question = f"Tom has {i % 10} apples and Ann has {i // 10} . how many in total ?"
        for k in range(3):
            right = k == 0
            middle = " then pears\n" if k == 1 else f" then {i % 7} apples\n"
            last = f" so {k + i % 5}" if right else f" so pears {k}"
            labels = (1.0, float(k != 1), float(right))
            steps = (" Tom has apples\n", middle, last)
            made.append(record(steps, labels, right, problem=f"q{i}", meaning=VALID, question=question))
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = word_tokenizer([*WORDS, "Yes", "No"])
    return save_tiny(tmp_path_factory.mktemp("base"), tokenizer=tokenizer, width=32, hidden=48, scale=0.2)


def trained(base: str, out: Path, **more: Any) -> Report:
    config = VerifierConfig(VerifierKind.ORM, base, out, **{"rank": 4, "dev": 0.3, "fit": FIT, **more})
    return train_verifier(config, marked())


def test_alpha_zero_is_the_orm_bit_for_bit_and_another_alpha_is_not(base: str, tmp_path: Path) -> None:
    fit = replace(FIT, epochs=2)
    reports = {
        name: trained(base, tmp_path / name, fit=fit, **more)
        for name, more in {"orm": {}, "zero": {"step_weight": 0.0}, "aware": {"step_weight": 0.1}}.items()
    }
    weights = {n: [(tmp_path / n / f).read_bytes() for f in (HEAD, "adapter_model.safetensors")] for n in reports}
    assert weights["orm"] == weights["zero"]
    assert reports["orm"].measures == reports["zero"].measures
    assert all(a != b for a, b in zip(weights["orm"], weights["aware"], strict=True))
    card = reports["aware"].card
    assert card.trained["settings"]["step_weight"] == 0.1
    assert card.trained["counts"]["step labels"] == 3 * card.trained["counts"]["examples"]


def test_a_second_head_changes_neither_the_first_ones_start_nor_the_adapters(base: str) -> None:
    one, other = (load_learner(base, Setup(rank=4, seed=1, hidden=8, steps=steps))[0] for steps in (False, True))
    before, after = one.state_dict(), other.state_dict()
    assert set(after) - set(before) == {f"step_head.{name}" for name in one.head.state_dict()}  # type: ignore[union-attr]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_killed_run_resumes_to_the_same_bits(base: str, tmp_path: Path) -> None:
    fit = replace(FIT, epochs=1, save_every=1)
    whole = trained(base, tmp_path / "whole", step_weight=0.1, fit=fit)

    class Killed(Exception):
        pass

    def told(stage: str, progress: Any) -> None:
        if progress.step == 3:
            raise Killed

    config = VerifierConfig(VerifierKind.ORM, base, tmp_path / "b", rank=4, dev=0.3, fit=fit, step_weight=0.1)
    with pytest.raises(Killed):
        train_verifier(config, marked(), told=told)
    with pytest.raises(DataError, match="other data or settings"):
        train_verifier(replace(config, step_weight=0.2), marked(), resume=True)
    again = train_verifier(config, marked(), resume=True)
    assert again.measures == whole.measures
    assert (tmp_path / "b" / HEAD).read_bytes() == (tmp_path / "whole" / HEAD).read_bytes()


async def test_it_learns_both_and_is_an_orm_whose_numbers_weigh_diverses_votes(base: str, tmp_path: Path) -> None:
    report = trained(base, tmp_path, step_weight=0.1)
    for name in ("solution auroc", "step auroc"):
        assert (report.measures[name] or 0) > 0.9, name
    found = load_verifier(str(tmp_path), dtype=lambda shape: torch.float32)
    assert found.head is not None
    assert found.head.classes == 1  # the head for steps is not kept: only the verdict's number is read
    texts = [" Tom has apples\n then 3 apples\n so 2", " Tom has apples\n then pears\n so pears 1"]
    texts.append(" Tom has apples\n then pears\n so pears 1 .")
    verifier = load(VerifierKind.ORM, str(tmp_path), dtype="float32")
    search = Search(
        Problem("p", str(marked()[0].extra["question"])),
        {POLICY: ScriptedGenerator(lambda cue: texts[cue.draw or 0])},
        Bare(),
        NumericReading(),
        Sampling(temperature=1.0),
    )
    try:
        result = await Diverse(verifier, n=3, prompts=1).solve(search)
    finally:
        verifier.reader.engine.close()  # type: ignore[attr-defined]
    scores = [node.scores[verifier.name].value for node in search.tree.nodes[1:]]
    weights = {vote.answer: vote.weight for vote in result.votes}
    assert weights == pytest.approx({"2": scores[0], "1": scores[1] + scores[2]})
    assert result.answer == "2"  # one against two, and right


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        (VerifierKind.PRM, {"step_weight": 0.1}, "no verdict to which step labels are added"),
        (VerifierKind.MINOS, {"step_weight": 0.1}, "no verdict to which step labels are added"),
        (VerifierKind.ORM, {"step_weight": 0.1, "update": "head"}, "trunk, which is frozen"),
        (VerifierKind.ORM, {"step_weight": -0.1}, "is -0.1; it is 0 or more"),
        (VerifierKind.ORM, {"step_weight": math.nan}, "is nan; it is 0 or more"),
    ],
)
def test_settings_that_do_not_go_together(kind: VerifierKind, more: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        VerifierConfig(kind, "base", tmp_path, **more).resolved()


def test_the_command(base: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_labels(tmp_path / "labels.jsonl", marked(20))
    command = ["train", "orm", "--data", str(tmp_path / "labels.jsonl"), "--base", f"hf:{base}", "--epochs", "2"]
    command += ["--lora", "4", "--dev", "0.3", "--quiet", "--json", "--step-weight", "0.1"]
    assert run([*command, "--out", str(tmp_path / "out")]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["counts"]["step labels"] == 3 * facts["counts"]["examples"]
    assert "step auroc" in facts["dev"]
    assert VerifierCard.read(tmp_path / "out").kind is VerifierKind.ORM
    assert run([*command, "--out", str(tmp_path / "other"), "--step-meaning", "value"]) == 1
    assert "name another --step-meaning" in capfd.readouterr().err
