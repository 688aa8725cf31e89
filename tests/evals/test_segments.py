"""Segments: exact on scripted traces and the revision world, a measured heuristic on public texts."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thence.evals.overthinking.segments import Tag, by_grammar, by_phrases, counted
from thence.evals.statistics.metrics import wilson
from thence.worlds.revision import FLAG, PASS, WAIT

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
LABELS = Path(__file__).with_name("segment_labels.jsonl")
LINES = {
    "Plan: first the plums of Ann": Tag.PLAN,
    "3 + 4 = 7": Tag.STEP,
    "Planes: 3 + 4 = 7": Tag.STEP,
    "Check: 7 - 4 = 3, ok": Tag.VERIFY,
    FLAG: Tag.VERIFY,
    PASS: Tag.VERIFY,
    "Alternative: 4 + 3 = 7": Tag.EXPLORE,
    "Backtrack to 1": Tag.BACKTRACK,
    WAIT: Tag.BACKTRACK,
    "Waiters: 4": Tag.STEP,
    "#### 7": Tag.ANSWER,
}


@given(st.lists(st.sampled_from(list(LINES)), min_size=1), st.sampled_from(["\n", "\n\n", "\n  \n"]))
def test_a_scripted_trace_is_read_back_exactly(lines: list[str], between: str) -> None:
    text = between.join(lines)
    found = by_grammar(text)
    assert [s.tag for s in found] == [LINES[line] for line in lines]
    assert "".join(text[s.start : s.end] for s in found) == text
    assert counted(found) == {str(t): n for t, n in Counter(LINES[line] for line in lines).items()}


@given(st.text(alphabet=" \n.!?abWait#Let's check=5", max_size=120))
def test_segments_add_up_to_the_text(text: str) -> None:
    for reader in (by_grammar, by_phrases):
        found = reader(text)
        assert "".join(text[s.start : s.end] for s in found) == (text if text.strip() else "")


@pytest.mark.parametrize(
    ("sentence", "tag"),
    [
        ("Wait, that is 9.", Tag.BACKTRACK),
        ("They wait for the bus.", Tag.STEP),
        ("Wait for 5 minutes and then count.", Tag.STEP),
        ("Hmm, wait.", Tag.BACKTRACK),
        ("That's not right.", Tag.BACKTRACK),
        ("Let me double-check the sum.", Tag.VERIFY),
        ("She paid by check.", Tag.STEP),
        ("Alternatively, count by tens.", Tag.EXPLORE),
        ("Bill is trying to save money.", Tag.STEP),
        ("We need to find the price first.", Tag.PLAN),
        ("We need to find 3 + 4 = 7.", Tag.STEP),
        ("The answer is 5.", Tag.ANSWER),
    ],
)
def test_phrases_count_where_they_mean_it(sentence: str, tag: Tag) -> None:
    assert [s.tag for s in by_phrases(sentence)] == [tag]


def test_the_readers_are_fast_on_long_and_hostile_texts() -> None:
    for text in (
        "a" * 200_000,
        "wait " * 40_000,
        "to find " * 20_000,
        "((((" * 50_000,
        "\n" * 100_000 + "x",
        "=" * 99_999,
    ):
        assert sum(s.end - s.start for s in by_phrases(text)) == len(text)


@cache
def _rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _text(file: str, row: str) -> str:
    """The text that a label's row names: its line in the file, and its place in a list."""
    at = [int(part) for part in row.split(".")]
    entry = _rows(file)[at[0]]
    if file.startswith("gsm8k"):
        return str(entry["solutions"][at[1]]["text"])
    if file.startswith("mr_gsm8k"):
        return "\n".join(entry["model_output_steps"])
    return str(entry["reflections"][at[1]] if file.startswith("reflexion") else entry["solution"])


PRECISION = {Tag.VERIFY: (8, 12), Tag.EXPLORE: (10, 12), Tag.PLAN: (27, 30), Tag.BACKTRACK: (2, 3)}


@pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")
def test_the_phrase_bank_has_the_precision_that_its_page_states() -> None:
    pairs = []
    for line in LABELS.read_text(encoding="utf-8").splitlines():
        label = json.loads(line)
        tags = [s.tag for s in by_phrases(_text(label["file"], label["row"])) if s.start == label["start"]]
        assert len(tags) == 1, f"the segment of {label} is cut elsewhere now: label it again"
        pairs.append((tags[0], Tag(label["label"])))
    assert len(pairs) == 97
    for tag, (right, of) in PRECISION.items():
        mine = [label is tag for found, label in pairs if found is tag]
        assert (sum(mine), len(mine)) == (right, of)
    missed = [label for found, label in pairs if found is Tag.STEP and label is not Tag.STEP]
    assert Counter(missed) == {Tag.BACKTRACK: 6, Tag.PLAN: 2}
    assert wilson(27, 30)[0] > 0.7 > wilson(8, 12)[0]
    shuffled = [label for _, label in pairs]
    random.Random(0).shuffle(shuffled)
    chance = sum(a is b for (a, _), b in zip(pairs, shuffled, strict=True))
    assert sum(a is b for a, b in pairs) > 1.5 * chance, "labels that belong to other sentences agree less"
