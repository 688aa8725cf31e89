"""``thence train KIND``: from a label file to a directory, and every mistake as one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from labelled import record

from thence.cli import run
from thence.core.card import VerifierCard
from thence.core.label_files import write_labels
from thence.core.labels import Labelled
from tiny_models import WORDS, save_tiny, word_tokenizer

FAST = ["--epochs", "4", "--lr", "0.01", "--lora", "4", "--dev", "0.3", "--quiet"]


def records(n: int = 20, *, questions: bool = True) -> list[Labelled]:
    made = []
    for i in range(n):
        question = f"Tom has {i % 10} apples and Ann has {i // 10} . how many in total ?"
        for right in (True, False):
            steps = (" Tom has apples\n", " so total" if right else " so pears")
            more = {"question": question if questions else None}
            made.append(record(steps, (1.0, float(right)), right, problem=f"q{i}", **more))
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    tokenizer = word_tokenizer([*WORDS, "Yes", "No"])
    return "hf:" + save_tiny(tmp_path_factory.mktemp("base"), tokenizer=tokenizer, width=32, hidden=48, scale=0.2)


@pytest.fixture
def labels(tmp_path: Path) -> str:
    write_labels(tmp_path / "labels.jsonl", records())
    return str(tmp_path / "labels.jsonl")


@pytest.mark.parametrize("kind", ["orm", "prm", "value", "dpo-verifier", "simpo-verifier", "genrm"])
def test_a_kind_is_trained_and_its_card_and_table_agree(
    kind: str, base: str, labels: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["train", kind, "--data", labels, "--base", base, "--out", str(out), *FAST, "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    card = VerifierCard.read(out)
    assert facts["kind"] == card.kind == kind.removesuffix("-verifier")
    assert facts["dev"]["solution auroc"] == pytest.approx(card.trained["dev"]["solution auroc"], abs=1e-4)
    assert card.labels == "labels.jsonl: 80 by exact"
    assert card.trunk == str(Path(base.removeprefix("hf:")).resolve())


def test_a_head_on_the_frozen_trunk_and_the_table(
    base: str, labels: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(["train", "head", "--data", labels, "--base", base, "--out", str(tmp_path / "out"), "--epochs", "3"]) == 0
    )
    shown = capfd.readouterr()
    assert "dev step auroc" in shown.out
    assert "verifier=head:" in shown.out
    assert "update" in shown.err


def test_all_weights_or_a_head_only_by_flag(base: str, labels: str, tmp_path: Path) -> None:
    more = ["--data", labels, "--base", base, "--epochs", "1", "--dev", "0.3", "--quiet"]
    assert run(["train", "prm", *more, "--out", str(tmp_path / "full"), "--full"]) == 0
    assert (tmp_path / "full" / "model.safetensors").is_file()
    assert run(["train", "orm", *more, "--out", str(tmp_path / "only"), "--head-only"]) == 0
    assert not (tmp_path / "only" / "adapter_config.json").exists()


def test_resume_goes_on_and_refuses_other_settings(
    base: str, labels: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "prm", "--data", labels, "--base", base, "--out", str(tmp_path / "out"), *FAST]
    assert run(command) == 0
    first = (tmp_path / "out" / "head.safetensors").read_bytes()
    assert run([*command, "--resume"]) == 0
    assert (tmp_path / "out" / "head.safetensors").read_bytes() == first
    assert run([*command, "--resume", "--seed", "4"]) == 1
    assert "other data or settings" in capfd.readouterr().err


def test_questions_come_from_the_task_where_files_have_none(
    base: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_labels(tmp_path / "bare.jsonl", [Labelled.read({**r.record(), "question": None}) for r in records()])
    rows = [{"id": f"q{i}", "question": f"how many apples has Tom , {i} ?", "answer": str(i)} for i in range(20)]
    (tmp_path / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["train", "prm", "--data", str(tmp_path / "bare.jsonl"), "--base", base, *FAST]
    assert run([*command, "--out", str(tmp_path / "none")]) == 1
    assert "has no question" in capfd.readouterr().err
    task = ["--task", f"jsonl(file={tmp_path / 'task.jsonl'}, id=id)", "--prompt", "cot"]
    assert run([*command, "--out", str(tmp_path / "out"), *task]) == 0
    assert VerifierCard.read(tmp_path / "out").instruction == "Think step by step."


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--lora", "4", "--full"], "exclude each other", 2),
        (["--base", "openai:x@http://y"], "write acorn or hf:", 2),
        (["--base", "hf:/nowhere/at/all"], "does not exist", 1),
        (["--lora", "0"], "rank is at least 1", 2),
        (["--epochs", "0"], "epochs", 2),
        (["--lr", "-1"], "lr is -1", 2),
        (["--dev", "0"], "hold out a share", 2),
        (["--meaning", "step_correct"], "label of step_correct", 1),
        (["--prompt", "few-shot-cot"], "more than an instruction", 2),
        (["--format", "nonsense"], "unknown format", 2),
    ],
)
def test_mistakes_are_one_clear_line(
    arguments: list[str],
    said: str,
    code: int,
    base: str,
    labels: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = ["train", "prm", "--data", labels, "--out", str(tmp_path / "out"), "--quiet"]
    if "--base" not in arguments:
        command += ["--base", base]
    assert run([*command, *arguments]) == code
    error = capfd.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "out" / "verifier.json").exists()


def test_missing_or_empty_label_files_are_clear_errors(
    base: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert run(["train", "prm", "--data", str(tmp_path / "none.jsonl"), "--base", base]) == 1
    assert "cannot be read" in capfd.readouterr().err
    assert run(["train", "prm", "--data", str(tmp_path / "empty.jsonl"), "--base", base]) == 1
    assert "no labels in" in capfd.readouterr().err


def test_help_lists_every_kind_and_acorn_is_still_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert not run(["train", "--help"])
    shown = capfd.readouterr().out
    for kind in ("acorn", "orm", "prm", "value", "head", "dpo-verifier", "simpo-verifier", "genrm", "minos"):
        assert kind in shown
    assert not run(["train", "acorn", "--help"])
    assert "--out-dir" in capfd.readouterr().out
