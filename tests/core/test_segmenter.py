import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.core.completion import Finish
from thence.core.errors import UsageError
from thence.core.segmenter import Kind, Segmenter, answer_start, detect

settings.register_profile("calm", deadline=None)  # a busy machine may pause
settings.load_profile("calm")

DATA = Path(os.environ.get("THENCE_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not here (set THENCE_DATA)")

LINE, STEP, SENTENCE = Segmenter(Kind.LINE), Segmenter(Kind.STEP), Segmenter(Kind.SENTENCE)
PARAGRAPH, TAG = Segmenter(Kind.SEPARATOR, "\n\n"), Segmenter(Kind.TAG, "ки")
EQUATION, CODE, TOKENS = Segmenter(Kind.EQUATION), Segmenter(Kind.CODE), Segmenter(Kind.TOKENS, cap=3)
ALL = (LINE, STEP, SENTENCE, PARAGRAPH, TAG, EQUATION, CODE, TOKENS)

PIECES = (
    "\n",
    "\n\n",
    ". ",
    "Step 1: ",
    "Step 2:",
    "ки",
    "=",
    ";",
    "3",
    "####",
    "a",
    " ",
    "(",
    ")",
    '"',
    "'''",
    "Mr",
    "\\",
)
lively = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3))).map("".join)


def rows(name: str) -> list[dict]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("rule", ALL, ids=str)
@given(text=lively)
def test_the_parts_joined_are_the_text(rule: Segmenter, text: str) -> None:
    parts = rule.split(text)
    assert "".join(parts) == text
    assert all(parts)
    read = rule.steps(text)
    assert "".join(read.steps) + read.answer == text
    assert all(step.strip() for step in read.steps)


@pytest.mark.parametrize("rule", ALL, ids=str)
@given(text=lively, cut=st.integers(0, 40))
def test_a_growing_text_never_moves_a_cut(rule: Segmenter, text: str, cut: int) -> None:
    early = rule.split(text[:cut])[:-1]
    assert rule.split(text)[: len(early)] == early


@given(text=lively, ends=st.lists(st.integers(0, 60)).map(sorted))
def test_token_ends_only_move_the_cuts(text: str, ends: list[int]) -> None:
    assert "".join(TOKENS.split(text, ends)) == text


def test_tokens_cuts_after_every_cap_tokens() -> None:
    assert Segmenter(Kind.TOKENS, cap=2).split("abcdef", [1, 2, 3, 4, 5, 6]) == ["ab", "cd", "ef"]
    assert Segmenter(Kind.TOKENS, cap=2).split("one two three") == ["one two", " three"]


def test_a_separator_belongs_to_the_step_before_it() -> None:
    assert PARAGRAPH.split("a\n\nb\nc\n\nd") == ["a\n\n", "b\nc\n\n", "d"]
    assert TAG.split("x ки\ny ки") == ["x ки", "\ny ки"]
    assert LINE.split("a\n\nb") == ["a\n", "\n", "b"]
    assert LINE.steps("\n\na\n\nb").steps == ("\n\na\n\n", "b")


def test_step_lines() -> None:
    text = "Intro\nStep 1: a\nmore of a\n**Step 2:** b. As in Step 1: fine\n### Step 3. c\n#### 4"
    assert STEP.split(text)[1:] == [
        "Step 1: a\nmore of a\n",
        "**Step 2:** b. As in Step 1: fine\n",
        "### Step 3. c\n#### 4",
    ]
    assert STEP.steps(text).answer == "#### 4"


def test_sentences_end_at_full_stops_but_not_after_abbreviations_numbers_or_decimals() -> None:
    text = 'Mr. Smith has 3.5 kg. He eats "two." Then J. Doe left! Why?\n1. First. e.g. this.'
    assert SENTENCE.split(text) == [
        "Mr. Smith has 3.5 kg. ",
        'He eats "two." ',
        "Then J. Doe left! ",
        "Why?\n",
        "1. First. ",
        "e.g. this.",
    ]
    assert SENTENCE.split("甲。乙") == ["甲。", "乙"]


def test_equations_of_a_draft() -> None:
    read = EQUATION.steps(" 5+3=8;8*2=16 #### 16")
    assert read.steps == (" 5+3=8;", "8*2=16 ")
    assert read.answer == "#### 16"
    assert read.ends == (7, 14)
    assert EQUATION.split("Tom; who has 3; eats\n5+3=8; then") == ["Tom; who has 3; eats\n", "5+3=8;", " then"]


def test_code_is_cut_at_statements() -> None:
    text = 'x = f(1,\n  2)\ny = """a\nb"""\ns = "(" # (\ndon\'t = (\n\nz'
    assert CODE.split(text) == ["x = f(1,\n  2)\n", 'y = """a\nb"""\n', 's = "(" # (\n', "don't = (\n\n", "z"]


def test_only_a_closing_hash_line_is_the_answer() -> None:
    assert LINE.steps("a\n#### 18\n").answer == "#### 18\n"
    assert answer_start("#### 1. Add\nx = 2\n") == len("#### 1. Add\nx = 2\n")
    assert answer_start("x#### 5") == len("x#### 5")


def test_closed_tells_a_stop_from_an_end_of_a_step() -> None:
    assert SENTENCE.closed("He ate. ")
    assert not SENTENCE.closed("He met Mr. ")
    assert CODE.closed("f(1)\n")
    assert not CODE.closed("f(1,\n")
    assert not LINE.closed("")
    assert not LINE.closed("a")


def test_a_natural_end_of_text_ends_a_path() -> None:
    assert LINE.is_final("so he has 5", Finish.EOS)
    assert LINE.is_final("#### 5\n", Finish.STOP)
    assert not LINE.is_final("he has 5\n", Finish.STOP)
    assert not LINE.is_final("#### 5", Finish.LENGTH)
    assert not LINE.is_final("#### 5", Finish.BUDGET)
    assert TAG.is_final("The answer is: 5 ки", Finish.STOP)
    assert not TAG.is_final("so 5 ки", Finish.STOP)


@pytest.mark.parametrize("rule", [*ALL, Segmenter(Kind.SEPARATOR, 'a"(\\')], ids=str)
def test_a_rule_survives_its_text(rule: Segmenter) -> None:
    assert Segmenter.from_spec(rule.to_spec()) == rule


@pytest.mark.parametrize(
    "bad", ["", "lines", "tag", "tokens", "tokens(0)", "tokens(true)", "line(3)", "tag(x)", "tag([1])"]
)
def test_a_wrong_rule_is_refused(bad: str) -> None:
    with pytest.raises(UsageError):
        Segmenter.from_spec(bad)


def test_resume_divides_the_stop_string() -> None:
    assert STEP.resume(STEP.stop[0]) == ("\n", "Step ")
    assert PARAGRAPH.resume("\n\n") == ("\n\n", "")


@pytest.mark.parametrize(
    ("texts", "spec"),
    [
        (["a ки b ки"], 'tag("ки")'),
        (["Step 1: a\nStep 2: b", "x"], "step"),
        (["```python\nx = 1\n```\nSo 1."], "code"),
        ([" 5+3=8;8*2=16 #### 16"], "equation"),
        (["a\nb\n\nc\n\nd"], 'separator("\\n\\n")'),
        ([" Tom: 3 more <<5+3=8>>\nSam <<8*2=16>>\n#### 16"], "line"),
        (["One. Two. Three."], "sentence"),
        (["18"], "line"),
        ([], "line"),
    ],
)
def test_the_rule_is_detected(texts: list[str], spec: str) -> None:
    assert detect(texts).to_spec() == spec
    assert detect(texts[::-1]) == detect(texts)


@needs_data
def test_gsm8k_references_have_one_step_per_line() -> None:
    texts = [row["answer"] for row in rows("gsm8k/test.jsonl.gz")]
    assert detect(texts) == LINE
    lines = Counter(len(LINE.split(text[: answer_start(text)])) for text in texts)
    assert lines[3] == 370
    assert sum(lines.values()) == 1319
    blank = [i for i, t in enumerate(texts) if len(LINE.steps(t).steps) != len(LINE.split(t[: answer_start(t)]))]
    assert blank == [1042, 1284]  # a blank line is a line, but no step: the second of these has 4 lines and 3 steps
    assert sum(len(LINE.steps(text).steps) == 3 for text in texts) == 371
    assert all(LINE.steps(text).answer.startswith("#### ") for text in texts)


@needs_data
def test_math_shepherd_has_one_label_per_tag() -> None:
    samples = rows("prm_samples/samples_math-shepherd.jsonl.gz")
    rule = detect([row["input"] for row in samples])
    assert rule == TAG
    for row in samples:
        labels = [line.rstrip()[-1] for line in row["label"].split("\n")]
        assert set(labels) <= {"+", "-"}
        assert len(rule.steps(row["input"]).steps) == len(labels)


@needs_data
def test_mr_gsm8k_steps_are_found_again() -> None:
    for row in rows("mr_gsm8k/mr_gsm8k_wrong_590.jsonl.gz"):
        text = "\n".join(row["model_output_steps"])
        assert [part.removesuffix("\n") for part in STEP.split(text)] == row["model_output_steps"]


def recorded_texts() -> Iterator[str]:
    for name in ("gsm8k/test.jsonl.gz", "gsm8k/test_socratic.jsonl.gz"):
        yield from (row["answer"] for row in rows(name))
    for row in rows("gsm8k/example_model_solutions.jsonl.gz"):
        yield from (v["solution"] for v in row.values() if isinstance(v, dict))
    for row in rows("gsm8k/multi_model_solutions_8.jsonl.gz"):
        yield from (s["text"] for s in row["solutions"])
    for path in sorted((DATA / "big_bench_mistake").glob("*.gz")):
        yield from ("\n".join(row["steps"]) for row in rows(f"big_bench_mistake/{path.name}"))
    for path in sorted((DATA / "prm_samples").glob("*.gz")):
        yield from strings(rows(f"prm_samples/{path.name}"))
    for row in rows("mr_gsm8k/mr_gsm8k_wrong_590.jsonl.gz"):
        yield from row["model_output_steps"]
    for row in rows("math/math500.jsonl.gz"):
        yield row["solution"]


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


@needs_data
def test_every_recorded_text_survives_every_rule() -> None:
    count = 0
    for text in recorded_texts():
        count += 1
        for rule in ALL:
            assert "".join(rule.split(text)) == text
    assert count > 20_000


@pytest.mark.parametrize("rule", ALL, ids=str)
def test_hostile_texts_take_linear_time(rule: Segmenter) -> None:
    """Quadratic work on these would take minutes to hours."""
    for piece in ("1", ". ", ".", "=;", "1;", "(", "Step 1:", "\n", " ", "'", "\\'", "#", "#### ", "*"):
        text = piece * (300_000 // len(piece))
        read = rule.steps(text)
        assert len("".join(read.steps) + read.answer) == len(text)
