"""From labels to a verifier directory that the package's own loaders read, with the numbers that training saw."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled import record

from thence.core.card import HEAD, HERE, VerifierCard, VerifierKind
from thence.core.errors import DataError, ModelError, UsageError
from thence.core.labels import Label, Labelled
from thence.core.ranks import auroc
from thence.core.scores import Aggregate, Meaning
from thence.nets.checkpoint import weights_hash
from thence.nets.verifier import load_verifier
from thence.train import examples as ex
from thence.train.config import VerifierConfig
from thence.train.fit import FitConfig
from thence.train.measures import auroc_within, best_threshold, calibration_error, first_error_scores
from thence.train.verifiers import Report, train_verifier
from thence.verifiers.formats import FORMATS
from tiny_models import WORDS, save_tiny, word_tokenizer

Kind = VerifierKind
FIT = FitConfig(epochs=6, batch_size=16, lr=1e-2, patience=0, seed=2)


def marked(n: int = 40) -> list[Labelled]:
    """Solutions that are wrong from the step on that speaks of pears: easy to see, so a few updates are enough."""
    made = []
    for i in range(n):
        question = f"Tom has {i % 10} apples and Ann has {i // 10} . how many in total ?"
        for k in range(3):
            right = k == 0
            middle = f" then {i % 7} apples\n" if right or k == 2 else " then pears\n"
            last = f" so {k + i % 5}" if right else f" so pears {k}"
            numbers = (1.0, float(right or k == 2), float(right))
            made.append(record((" Tom has apples\n", middle, last), numbers, right, problem=f"q{i}", question=question))
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = word_tokenizer([*WORDS, "Yes", "No"])
    return save_tiny(tmp_path_factory.mktemp("base"), tokenizer=tokenizer, width=32, hidden=48, scale=0.2)


def trained(kind: Kind, base: str, out: Path, records: list[Labelled] | None = None, **more: Any) -> Report:
    config = VerifierConfig(kind, base, out, **{"rank": 4, "dev": 0.3, "fit": FIT, **more})
    return train_verifier(config, marked() if records is None else records, source="made by hand")


def loaded_states(out: Path, ids: tuple[int, ...]) -> tuple[torch.Tensor, Any]:
    """The final states of ``ids`` by the weights as the package's own loader puts them together."""
    from transformers import AutoModelForCausalLM

    loaded = load_verifier(str(out), dtype=lambda shape: torch.float32)
    card, where = loaded.card, str(out)
    model = AutoModelForCausalLM.from_pretrained(where if card.trunk == HERE else card.trunk, dtype=torch.float32)
    model.load_state_dict(loaded.checkpoint.weights, strict=False)
    with torch.no_grad():
        return model.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0], loaded.head


@pytest.mark.parametrize(
    ("kind", "update"),
    [(Kind.PRM, "lora"), (Kind.PRM, "full"), (Kind.PRM, "head"), (Kind.VALUE, "lora"), (Kind.HEAD, "head")],
)
def test_a_step_verifier_learns_and_is_loaded_with_the_numbers_training_saw(
    kind: Kind, update: Any, base: str, tmp_path: Path
) -> None:
    fit = replace(FIT, epochs=40) if update == "head" else FIT
    report = trained(kind, base, tmp_path, update=update, fit=fit)
    card = VerifierCard.read(tmp_path)
    assert card == report.card
    assert (card.kind, card.meaning, card.aggregate) == (kind, Meaning.VALUE, Aggregate.LAST)
    assert card.format == ("shared" if kind is Kind.HEAD else "plain")
    assert card.trunk == (HERE if update == "full" else base)
    assert card.labels == "made by hand"
    assert report.measures["step auroc"] is not None
    assert report.measures["step auroc"] > 0.9
    assert card.trained["counts"]["examples"] == report.counts["training solutions"]
    if update != "full":
        assert card.trunk_hash == weights_hash(base)

    writer = ex.Writer(FORMATS[card.format], word_tokenizer([*WORDS, "Yes", "No"]))
    [example] = ex.step_examples(marked()[1:2], writer, Meaning.VALUE)
    states, head = loaded_states(tmp_path, example.ids)
    numbers = head(states[list(example.reads)])[:, 0].sigmoid().tolist()
    assert numbers[0] > max(numbers[1:])  # the first step is fine, the others are not
    assert all(0 <= x <= 1 for x in numbers)


async def test_the_packages_verifier_gives_the_numbers_of_the_directory(base: str, tmp_path: Path) -> None:
    from thence.core.completion import Sampling
    from thence.core.problem import Problem
    from thence.core.search import POLICY, Search
    from thence.generators.scripted import ScriptedGenerator
    from thence.prompts.styles import Bare
    from thence.tasks.wordproblems_task import WordProblemsTask
    from thence.verifiers.learned import load

    trained(Kind.PRM, base, tmp_path, mask_after_error=True)
    solution = marked()[1]
    search = Search(
        Problem("p", str(solution.extra["question"])),
        {POLICY: ScriptedGenerator(answers={})},
        Bare(),
        WordProblemsTask().reading,
        Sampling(temperature=1.0),
    )
    verifier = load(Kind.PRM, str(tmp_path), dtype="float32")
    try:
        [score] = await search.score([search.given(solution.text)], verifier)
    finally:
        verifier.reader.engine.close()  # type: ignore[attr-defined]
    writer = ex.Writer(FORMATS["plain"], word_tokenizer([*WORDS, "Yes", "No"]))
    [example] = ex.step_examples([solution], writer, Meaning.VALUE)
    states, head = loaded_states(tmp_path, example.ids)
    assert score.steps == pytest.approx(head(states[list(example.reads)])[:, 0].sigmoid().tolist(), abs=1e-5)
    assert score.value == score.steps[-1]


@pytest.mark.parametrize("loss", ["bce", "ce"])
def test_an_orm_learns_the_verdict(loss: Any, base: str, tmp_path: Path) -> None:
    report = trained(Kind.ORM, base, tmp_path, loss=loss, words_weight=0.1, fit=replace(FIT, epochs=15))
    assert (report.card.meaning, report.card.aggregate) == (Meaning.OUTCOME, None)
    assert report.measures["solution auroc"] is not None
    assert report.measures["solution auroc"] > 0.9
    loaded = load_verifier(str(tmp_path), dtype=lambda shape: torch.float32)
    assert loaded.head is not None
    assert loaded.head.classes == (2 if loss == "ce" else 1)


def test_pqm_ranks_the_steps_of_a_solution(base: str, tmp_path: Path) -> None:
    report = trained(Kind.PRM, base, tmp_path, loss="pqm")
    assert report.card.trained["settings"]["labels"] == "hard"
    assert report.measures["step auroc"] is not None
    assert report.measures["step auroc"] > 0.9


@pytest.mark.parametrize("kind", [Kind.DPO, Kind.SIMPO, Kind.GENRM])
def test_a_verifier_without_a_head_learns_and_has_none(kind: Kind, base: str, tmp_path: Path) -> None:
    report = trained(kind, base, tmp_path)
    assert report.measures["solution auroc"] is not None
    assert report.measures["solution auroc"] > 0.9
    assert not (tmp_path / HEAD).exists()
    if kind is not Kind.GENRM:
        assert report.measures["pair accuracy"] is not None
        assert report.measures["pair accuracy"] > 0.9
        assert report.counts["pairs"] > 0
    load_verifier(str(tmp_path), dtype=lambda shape: torch.float32)


def test_simpo_may_also_change_all_weights(base: str, tmp_path: Path) -> None:
    report = trained(Kind.SIMPO, base, tmp_path, update="full", fit=replace(FIT, lr=1e-3))
    assert report.card.trunk == HERE
    assert (tmp_path / "model.safetensors").is_file()


def test_minos_learns_critiques_first_and_then_a_head(base: str, tmp_path: Path) -> None:
    records = [
        replace(r, extra={**r.extra, "critique": " total is 7" if r.correct else " pears in total"}) for r in marked()
    ]
    stages: list[str] = []
    config = VerifierConfig(Kind.MINOS, base, tmp_path, rank=4, dev=0.3, fit=FIT)
    report = train_verifier(config, records, told=lambda stage, _: stages.append(stage))
    assert list(dict.fromkeys(stages)) == ["critiques", "labels"]
    assert report.counts["critiques"] == report.counts["examples"]
    assert report.measures["solution auroc"] is not None
    assert report.measures["solution auroc"] > 0.9
    with pytest.raises(DataError, match="minos learns critiques first"):
        trained(Kind.MINOS, base, tmp_path / "without")


def test_a_format_that_compares_two_tokens_is_trained_without_a_head(tmp_path: Path) -> None:
    tokenizer = word_tokenizer()
    tokenizer.add_tokens([" ки"])
    base = save_tiny(tmp_path / "base", tokenizer=tokenizer, width=32, hidden=48, scale=0.2)
    report = trained(Kind.PRM, base, tmp_path / "prm", format="math-shepherd")
    assert report.measures["step auroc"] is not None
    assert report.measures["step auroc"] > 0.9
    assert not (tmp_path / "prm" / HEAD).exists()


def test_a_head_on_another_trunk_is_refused(base: str, tmp_path: Path) -> None:
    trained(Kind.PRM, base, tmp_path / "prm", fit=replace(FIT, epochs=1))
    path = tmp_path / "prm" / "verifier.json"
    other = save_tiny(tmp_path / "other", width=32, hidden=48, seed=9)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trunk": other}))
    with pytest.raises(ModelError, match="trained on other weights"):
        load_verifier(str(tmp_path / "prm"), dtype=lambda shape: torch.float32)


def test_the_same_seed_gives_the_same_verifier_and_a_stopped_run_resumes_to_it(base: str, tmp_path: Path) -> None:
    fit = replace(FIT, epochs=2, save_every=1)

    class Killed(Exception):
        pass

    def told(stage: str, progress: Any) -> None:
        if progress.step == 5:
            raise Killed

    config = VerifierConfig(Kind.ORM, base, tmp_path / "a", rank=4, dev=0.3, fit=fit)
    whole = train_verifier(config, marked())
    stopped = replace(config, out=tmp_path / "b")
    with pytest.raises(Killed):
        train_verifier(stopped, marked(), told=told)
    assert not (tmp_path / "b" / "verifier.json").exists()
    with pytest.raises(DataError, match="other data or settings"):
        train_verifier(stopped, marked(30), resume=True)
    resumed = train_verifier(stopped, marked(), resume=True)
    assert resumed.measures == whole.measures
    assert not (tmp_path / "b" / "state").exists()
    train_verifier(replace(config, out=tmp_path / "c", fit=replace(fit, seed=3)), marked())
    a, b, c = ((tmp_path / name / HEAD).read_bytes() for name in "abc")
    assert a == b != c

    again = train_verifier(stopped, marked(), resume=True, told=told)  # at its end: nothing is trained any more
    assert (again.counts, again.card) == (resumed.counts, resumed.card)
    with pytest.raises(DataError, match="other data or settings"):
        train_verifier(stopped, marked(30), resume=True)


@pytest.mark.parametrize("update", ["lora", "full", "head"])
def test_the_directory_names_its_trunk_and_never_where_it_lay(update: Any, base: str, tmp_path: Path) -> None:
    trained(Kind.PRM, base, tmp_path, update=update, trunk="acorn", fit=replace(FIT, epochs=1))
    written = "".join(p.read_text() for p in tmp_path.glob("*.json"))
    assert base not in written
    assert str(tmp_path) not in written
    assert "acorn" in written
    assert all(p.stat().st_mode & 0o044 == 0o044 for p in tmp_path.glob("*.safetensors"))  # others may read them


def test_a_new_verifier_replaces_an_old_one_whole_and_nothing_else(base: str, tmp_path: Path) -> None:
    out, fit = tmp_path / "out", replace(FIT, epochs=1)
    trained(Kind.PRM, base, out, update="lora", fit=fit)
    trained(Kind.PRM, base, out, update="full", fit=fit)
    assert not (out / "adapter_model.safetensors").exists()
    trained(Kind.SIMPO, base, out, update="lora", fit=fit)
    assert sorted(p.name for p in out.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "verifier.json",
    ]
    model = Path(save_tiny(tmp_path / "model", width=32, hidden=48))
    with pytest.raises(UsageError, match=r"holds weights and no verifier\.json"):
        trained(Kind.PRM, base, model, fit=fit)
    with pytest.raises(UsageError, match="is the trunk itself"):
        trained(Kind.PRM, str(model), model, fit=fit)
    with pytest.raises(UsageError, match="is a file"):
        trained(Kind.PRM, base, model / "config.json", fit=fit)


def test_records_that_cannot_teach_are_clear_errors(base: str, tmp_path: Path) -> None:
    right = [r for r in marked() if r.correct]
    with pytest.raises(DataError, match=r"all labels of the training set are 1\.0"):
        trained(Kind.PRM, base, tmp_path, right)
    with pytest.raises(DataError, match="a verifier needs right and wrong"):
        trained(Kind.GENRM, base, tmp_path, right)
    with pytest.raises(DataError, match="no pairs"):
        trained(Kind.DPO, base, tmp_path, right)
    with pytest.raises(DataError, match="label of step_correct"):
        trained(Kind.PRM, base, tmp_path, meaning=Meaning.STEP_CORRECT)
    with pytest.raises(DataError, match="label more problems"):
        trained(Kind.PRM, base, tmp_path, marked(1))
    assert not (tmp_path / "verifier.json").exists()


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        (Kind.HEAD, {"update": "lora"}, "its trunk stays as it is"),
        (Kind.HEAD, {"format": "plain"}, "its format is shared"),
        (Kind.GENRM, {"format": "plain"}, "use genrm"),
        (Kind.DPO, {"format": "plain"}, "use reply"),
        (Kind.PRM, {"format": "genrm"}, "use plain"),
        (Kind.DPO, {"update": "full"}, "use --lora"),
        (Kind.SIMPO, {"update": "head"}, "no head to train alone"),
        (Kind.MINOS, {"update": "head"}, "its trunk must change"),
        (Kind.ORM, {"format": "math-shepherd"}, "use plain"),
        (Kind.ORM, {"loss": "pqm"}, "pqm ranks the steps"),
        (Kind.ORM, {"update": "head", "words_weight": 1.0}, "frozen trunk"),
        (Kind.PRM, {"format": "nonsense"}, "unknown format 'nonsense'"),
        (Kind.PRM, {"format": "math-shepherd", "update": "head"}, "reads the model's own words"),
        (Kind.PRM, {"hidden": -1}, "0 is none"),
        (Kind.PRM, {"dev": 1.0}, "hold out a share"),
        (Kind.PRM, {"dev": math.nan}, "dev is nan"),
        (Kind.PRM, {"words_weight": -1.0}, "0 or more"),
    ],
)
def test_settings_that_do_not_go_together_are_usage_errors(
    kind: Kind, settings: dict[str, Any], said: str, base: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        trained(kind, base, tmp_path, **settings)


def quartered(label: Label) -> Label:
    return replace(label, number=None if label.number is None else label.number / 4)


def test_a_soft_label_file_can_be_learnt_hard(base: str, tmp_path: Path) -> None:
    soft = [replace(r, labels=tuple(tuple(map(quartered, row)) for row in r.labels)) for r in marked()]
    report = trained(Kind.PRM, base, tmp_path, soft, labels="hard")
    assert report.measures["step auroc"] is not None
    assert report.measures["step auroc"] > 0.9
    assert report.measures["calibration error"] is not None
    assert report.measures["calibration error"] < 0.2


# ---------------------------------------------------------------------------------------------------------- measures


def test_auroc_counts_ties_half_and_needs_both_classes() -> None:
    assert auroc([0.9, 0.8, 0.3, 0.1], [True, False, True, False]) == 0.75
    assert auroc([0.5, 0.5, 0.5], [True, False, False]) == 0.5
    assert auroc([1.0], [True]) is None
    # Between problems everything is right, within each nothing is.
    scores, right, groups = [0.9, 0.95, 0.1, 0.2], [True, False, True, False], [1, 1, 2, 2]
    assert auroc_within(scores, right, groups) == 0.0
    assert auroc_within([0.5], [True], [1]) is None


def test_calibration_error_by_hand() -> None:
    assert calibration_error([0.05, 0.95], [0.0, 1.0]) == pytest.approx(0.05)
    assert calibration_error([0.8] * 10, [1.0] * 8 + [0.0] * 2) == pytest.approx(0.0)
    assert calibration_error([1.0, 1.0], [0.0, 1.0]) == pytest.approx(0.5)
    assert calibration_error([], []) is None


def test_first_error_figures_by_hand() -> None:
    scores = [(0.9, 0.2, 0.1), (0.9, 0.9, 0.1), (0.8, 0.9), (0.3, 0.9)]
    errors = [1, 1, None, None]
    found = first_error_scores(scores, errors, 0.5)
    assert found == {"wrong": 0.5, "clean": 0.5, "f1": 0.5}
    assert first_error_scores(scores[:1], errors[:1], 0.5) == {"wrong": 1.0, "clean": None, "f1": None}
    assert first_error_scores(scores, errors, 2.0)["f1"] == 0.0
    low = [tuple(x / 10 for x in each) for each in scores]
    assert best_threshold(low, errors) < 0.1
    assert first_error_scores(low, errors, best_threshold(low, errors))["f1"] == pytest.approx(2 / 3)  # .5 and 1
    assert best_threshold([], []) == 0.5
