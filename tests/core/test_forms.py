"""Formats of steps and answer: what is read, what is not and why, and where tokens and steps end afterwards."""

from __future__ import annotations

import json

import pytest

from thence.core.completion import Completion, Finish
from thence.core.forms import CUT, MOST, SCHEMA, Form, begins_in_schema
from thence.core.segmenter import Segmenter
from thence.grading.extract import NumericReading

STEPS = ("5+3=8", "2*8=16")


def told(steps: object = STEPS, answer: object = "16", **more: object) -> str:
    return json.dumps({"steps": steps, "answer": answer, **more})


def read(form: Form, text: str, finish: Finish = Finish.EOS) -> tuple[str, str]:
    formed = form.read(Completion.of(text, finish))
    return formed.completion.reply, formed.malformed


@pytest.mark.parametrize(
    "text",
    [
        told(),
        told(answer=16),
        json.dumps({"steps": STEPS, "answer": "16"}, indent=2),
        f"```json\n{told()}\n```",
        f"\n```\n{told()}\n```\n",
        told(answer="#### 16"),
        told(steps=["5+3=8", "  ", "2*8\n =16"]).replace("2*8\\n =16", "2*8=16"),
    ],
)
def test_a_json_reply_becomes_a_line_for_each_step_and_the_answer(text: str) -> None:
    assert read(Form.JSON, text) == ("5+3=8\n2*8=16\n#### 16", "")


@pytest.mark.parametrize(
    "text",
    [
        "<step>5+3=8</step><step>2*8=16</step><answer>16</answer>",
        "Let me see.\n<step> 5+3=8 </step>\nand\n<step>\n2*8=16\n</step>\n<answer> 16\n</answer> Done, it is not 17.",
        "<step></step><step>5+3=8</step><step>2*8=16</step><answer>#### 16</answer>",
    ],
)
def test_a_reply_in_tags_becomes_the_same(text: str) -> None:
    assert read(Form.TAGS, text) == ("5+3=8\n2*8=16\n#### 16", "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON object"),
        ("The answer is 16.", "no JSON object"),
        (f"Sure: {told()}", "no JSON object"),
        (told()[:-4], "no JSON object"),
        (f"{told()} {told()}", "no JSON object"),
        ("[1, 2]", "no JSON object"),
        ('{"steps": ["a"], "answer": NaN}', "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ('{"steps": ' + "[" * 50_000 + "]" * 50_000 + ', "answer": "1"}', "no JSON object"),
        ('{"steps": ["a"], "answer": "1", "answer": "2"}', "not the fields"),
        ('{"steps": ["a"], "steps": ["b"], "answer": "2"}', "not the fields"),
        ('{"answer": "1", "steps": ["a"]}', "not the fields"),
        (told(why="so"), "not the fields"),
        ('{"steps": ["a"]}', "not the fields"),
        (told(steps="5+3=8"), "not the fields"),
        (told(steps=[["5+3=8"]]), "not the fields"),
        (told(steps=[{"text": "5+3=8"}]), "not the fields"),
        (told(answer=None), "not the fields"),
        (told(answer=True), "not the fields"),
        (told(steps=[]), "no step"),
        (told(steps=[" ", ""]), "no step"),
        (told(answer="  "), "no answer"),
        (told(steps=["x" * MOST]), "too long"),
    ],
)
def test_json_that_is_not_in_the_format_has_no_answer_and_says_why(text: str, why: str) -> None:
    reply, said = read(Form.JSON, text)
    assert said.startswith(why)
    assert reply == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("16", "no tags"),
        ("<step>5+3=8</step>", "no answer"),
        ("<step>5+3=8<answer>16</answer>", "tags that do not pair"),
        ("<step>5+3=8</step><answer>16", "tags that do not pair"),
        ("<step><step>5</step></step><answer>16</answer>", "tags that do not pair"),
        ("</step>5<step><answer>16</answer>", "tags that do not pair"),
        ("<answer>16</answer><step>5+3=8</step>", "something after the answer"),
        ("<step>a</step><answer>16</answer><answer>17</answer>", "something after the answer"),
        ("<answer>16</answer>", "no step"),
        ("<step> </step><answer>16</answer>", "no step"),
        ("<step>5+3=8</step><answer> </answer>", "no answer"),
        ("<step>" * 20_000, "tags that do not pair"),
    ],
)
def test_tags_that_are_not_in_the_format_have_no_answer_and_say_why(text: str, why: str) -> None:
    assert read(Form.TAGS, text) == (text, why)


def test_a_reply_that_was_cut_says_so_even_if_it_looks_whole() -> None:
    for finish in (Finish.LENGTH, Finish.BUDGET):
        assert read(Form.JSON, told()[:-4], finish)[1] == CUT
        assert read(Form.JSON, told(), finish)[1] == CUT


@pytest.mark.parametrize(
    "text", [" " * 150_000 + "x", "\n" * 150_000, "```" + "\n" * 150_000, "<step>" + " " * 150_000]
)
def test_long_replies_of_blanks_are_read_in_one_pass(text: str) -> None:
    for form in Form:
        assert read(form, text)[1]


def test_the_thought_stays_before_the_reply() -> None:
    formed = Form.JSON.read(Completion.of(f"<think>5 or 6?</think>\n{told()}", Finish.EOS))
    made = formed.completion
    assert (made.thought, made.reply) == ("5 or 6?", "5+3=8\n2*8=16\n#### 16")
    assert made.text[made.reply_at :] == made.reply
    assert made.text[formed.answer_at :] == "#### 16"


def test_steps_of_the_plain_text_are_the_steps_that_were_written() -> None:
    lines = ["First, 5 + 3 = 8.\nThat is eight.", "Then #### is a heading: 2 * 8 = 16"]
    for form, text in (
        (Form.JSON, told(steps=lines)),
        (Form.TAGS, "".join(f"<step>{x}</step>" for x in lines) + "<answer>16</answer>"),
    ):
        made = form.read(Completion.of(text, Finish.EOS)).completion
        cut = Segmenter().steps(made.reply)
        assert cut.steps == ("First, 5 + 3 = 8. That is eight.\n", "Then #### is a heading: 2 * 8 = 16\n")
        assert cut.answer == "#### 16"
        found = NumericReading().extract(made.reply)
        assert found is not None
        assert found.value == "16"


def test_tokens_keep_their_places_in_steps_and_answer() -> None:
    pieces = ['{"', 'steps": ["5+3', '=8", "2*', "8=16", '"], "ans', 'wer": "1', '6"', "}"]
    ends = tuple(sum(len(p) for p in pieces[: i + 1]) for i in range(len(pieces)))
    made = Form.JSON.read(Completion.of("".join(pieces), Finish.EOS, ends=ends)).completion
    assert made.reply == "5+3=8\n2*8=16\n#### 16"
    assert made.ends is not None
    assert list(made.ends) == sorted(made.ends)
    assert made.ends[-1] == len(made.reply)
    at = made.reply.index("16", made.reply.index("####"))
    assert [pieces[i] for i in range(*made.tokens_of(at, at + 2))] == ['wer": "1', '6"']
    assert [pieces[i] for i in range(*made.tokens_of(6, 12))] == ['=8", "2*', "8=16"]


def test_escapes_and_unicode_are_the_text_that_was_meant() -> None:
    text = '{"steps": ["\\u4e94 \\"plus\\" \\\\boxed{3}", "caf\\u00e9"], "answer": "\\\\frac{1}{2}"}'
    ends = tuple(range(1, len(text) + 1))
    made = Form.JSON.read(Completion.of(text, Finish.EOS, ends=ends)).completion
    assert made.reply == '五 "plus" \\boxed{3}\ncafé\n#### \\frac{1}{2}'
    assert made.ends is not None
    assert list(made.ends) == sorted(made.ends)
    assert made.ends[-1] == len(made.reply)


def test_an_answer_of_several_lines_keeps_them() -> None:
    assert read(Form.TAGS, "<step>turn</step><answer>1 2\n3 4</answer>") == ("turn\n####\n1 2\n3 4", "")


def test_exemplars_are_written_so_that_they_are_read_back() -> None:
    solution = "Tom: 5+3=8\nSam: 2*8=16\n#### 16"
    for form in Form:
        assert read(form, form.write(solution)) == (solution, "")
        assert form.write("just words") == "just words"
        assert form.write("#### 16") == "#### 16"


def test_the_schema_is_the_format_that_is_read() -> None:
    schema = json.loads(SCHEMA)
    assert schema["required"] == list(schema["properties"]) == ["steps", "answer"]
    assert schema["additionalProperties"] is False
    assert begins_in_schema('{"steps": ["One')
    assert begins_in_schema(' {\n "steps":[')
    assert not begins_in_schema('{"count": [1')
    assert not begins_in_schema("One, two")
