"""Templates in the published GSM-Symbolic format: read, drawn, refused by name."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest

from thence.core.errors import DataError, UsageError
from thence.tasks.perturbed import Perturbed
from thence.tasks.templates.words import in_words, number_of

BAKER = {
    "question": "Ida bakes 12 rolls and eats half of them. How many rolls does Ida have left?",
    "answer": "She eats 12*1/2 = <<12*1/2=6>>6. She has 12-6 = <<12-6=6>>6 left.\n#### 6",
    "id_shuffled": 7,
    "question_annotated": "{name,Ida} bakes {n,12} {food,rolls} and eats {part,half} of them. How many {food,rolls} "
    "does {name,Ida} have left?\n\n#init:\n- name = sample(names_female)\n- food = sample(['rolls', 'loaves'])\n"
    "- $n = range(10, 40)\n- $part = sample(fraction_alnum)\n\n#conditions:\n- is_int(n * part)\n- n * part > 1\n\n"
    "#answer: int(n - n * part)",
    "answer_annotated": "She eats {n}*{part} = {int(n*part)}. She has {n}-{int(n*part)} left.\n#### {n-int(n*part)}",
}


def write(path: Path, **changes: str) -> str:
    path.write_text(json.dumps(BAKER | changes), encoding="utf-8")
    return str(path)


def changed(old: str, new: str) -> str:
    assert old in BAKER["question_annotated"]
    return BAKER["question_annotated"].replace(old, new)


def test_originals_are_the_texts_as_they_stand(tmp_path: Path) -> None:
    task = Perturbed(file=write(tmp_path / "0007.json"), instances=4)
    (item,) = task.items.values()
    assert (item.id, item.question, item.answer) == ("0007-000", BAKER["question"], "6")
    assert task.check_references() == []


def test_both_draws_everything_anew_and_the_answer_is_that_of_the_drawn_numbers(tmp_path: Path) -> None:
    task = Perturbed("both", instances=40, file=write(tmp_path / "0007.json"))
    assert len({item.question for item in task.items.values()}) > 25
    for item in task.items.values():
        match = re.fullmatch(
            r"(\w+) bakes (\d+) (\w+) and eats (.+) of them\. How many \3 does \1 have left\?", item.question
        )
        assert match is not None, item.question
        n, part = int(match[2]), number_of(match[4])
        assert part is not None
        assert (n * part).denominator == 1
        assert 10 <= n < 40
        assert Fraction(item.answer) == n - n * part
        assert item.solution.endswith(f"#### {item.answer}")


@pytest.mark.parametrize(
    ("variant", "pattern"),
    [
        ("names", r"(?!Ida)\w+ bakes 12 rolls and eats half of them\. .*"),
        ("items", r"Ida bakes 12 loaves and eats half of them\. .*"),
        ("numbers", r"Ida bakes \d+ rolls and eats .+ of them\. .*"),
    ],
)
def test_a_variant_changes_its_own_kind_of_variable_only(tmp_path: Path, variant: str, pattern: str) -> None:
    task = Perturbed(variant, instances=12, file=write(tmp_path / "a.json"))
    for item in task.items.values():
        assert re.fullmatch(pattern, item.question), item.question
        assert item.question != BAKER["question"]
        assert variant == "numbers" or item.answer == "6"


def test_a_folder_and_rows_of_a_file_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "0007.json")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join([json.dumps(BAKER), json.dumps(BAKER | {"id_shuffled": 8})]))
    folder = Perturbed("both", file=str(tmp_path / "set")).items
    assert [item.question for item in folder.values()] == [
        item.question for id, item in Perturbed("both", file=str(rows)).items.items() if id.startswith("0007")
    ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"question_annotated": "{n,12} rolls?"}, "no sections"),
        ({"question_annotated": changed("#answer: int(n - n * part)", "")}, "no section #answer"),
        ({"question_annotated": changed("is_int(n * part)", "is_prime(n)")}, "'is_prime' is not known"),
        ({"question_annotated": changed("sample(names_female)", "sample(pets)")}, "called 'pets'"),
        ({"question_annotated": changed("- $n = range(10, 40)\n", "")}, "called 'n'"),
        ({"question_annotated": changed("{food,rolls} and", "{cake,rolls} and")}, "slot 'cake'"),
        ({"question_annotated": changed("int(n - n * part)", "__import__('os').getcwd()")}, "no part of|not belong"),
        ({"question_annotated": changed("range(10, 40)", "open('x').read()")}, "'.' is no part"),
        ({"question_annotated": changed("- $part", "- $part is")}, "no line NAME = VALUES"),
        ({"question_annotated": changed("n * part > 1", "n * part > 100")}, "no draw of"),
        ({"question_annotated": changed("range(10, 40)", "range(10, 10 ** 9)")}, "range"),
        ({"question_annotated": changed("range(10, 40)", "range(10, 40, 0)")}, "range"),
        ({"question_annotated": changed("range(10, 40)", "[]")}, "none"),
        ({"answer_annotated": "#### {n + 1}"}, "worked solution"),
        ({"answer_annotated": ""}, "no text in answer_annotated"),
    ],
)
def test_what_is_not_understood_is_refused_by_name_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], why: str
) -> None:
    monkeypatch.setattr("thence.tasks.templates.annotated.TRIES", 500)
    write(tmp_path / "bad.json", **changes)
    write(tmp_path / "good.json")
    with pytest.raises(DataError, match=f"bad .*{why}.*skip=bad"):
        _ = Perturbed("both", file=str(tmp_path)).items
    left = Perturbed("both", file=str(tmp_path), skip="bad").items
    assert {item.template for item in left.values()} == {"good"}


def test_a_template_whose_defaults_are_not_its_original_offers_both_only(tmp_path: Path) -> None:
    path = write(tmp_path / "p1.json", answer="Another question's answer.\n#### 99")
    assert len(Perturbed("both", file=path).items) == 5
    with pytest.raises(DataError, match=r"p1 \(.*only variant=both"):
        _ = Perturbed("numbers", file=path).items


def test_variants_that_need_sentences_are_refused_for_published_templates(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="noop"):
        _ = Perturbed("noop", file=write(tmp_path / "a.json")).items


def test_files_and_skips_that_are_not_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        _ = Perturbed(file=str(tmp_path / "none.jsonl")).items
    with pytest.raises(DataError, match=r"no \.json files"):
        _ = Perturbed(file=str(tmp_path)).items
    with pytest.raises(UsageError, match="skip names 'b'"):
        _ = Perturbed(file=write(tmp_path / "a.json"), skip="b").items


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1,250", 1250), ("2.50", Fraction(5, 2)), ("3/4", Fraction(3, 4)), ("half", Fraction(1, 2)),
        ("a third", Fraction(1, 3)), ("two-thirds", Fraction(2, 3)), ("three quarters", Fraction(3, 4)),
        ("twice", 2), ("Triple", 3), ("four times", 4), ("forty-two", 42), ("shark", None), ("$", None), ("", None),
    ],
)  # fmt: skip
def test_numbers_in_words_are_read(text: str, wanted: object) -> None:
    assert number_of(text) == wanted


def test_numbers_written_in_words_are_read_back() -> None:
    assert all(number_of(in_words(n)) == n for n in range(120))
