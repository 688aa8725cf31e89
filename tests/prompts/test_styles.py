"""What each style makes the model read, and prompt files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thence.core.completion import Ability
from thence.core.errors import DataError, UsageError
from thence.core.problem import Message, Problem
from thence.core.protocols import PromptStyle
from thence.prompts.exemplars import EXEMPLARS, GENERAL
from thence.prompts.styles import (
    SUPERVISION,
    Bare,
    ChainOfDraft,
    ChainOfThought,
    Direct,
    FewShotCoT,
    FromFile,
    SupervisedCoT,
    ZeroShotCoT,
)

PROBLEM = Problem("p", "What is 7 + 8?", family="letters")
TURNS = (Message("system", "Be brief."), Message("user", "Hello"), Message("assistant", "Yes?"), *PROBLEM.messages)
CHAT = Problem("c", TURNS, family="letters")
STYLES = [Bare(), Direct(), ChainOfThought(), ZeroShotCoT(), FewShotCoT(), SupervisedCoT(), ChainOfDraft()]


@pytest.mark.parametrize("style", STYLES, ids=lambda s: s.name)
def test_every_style_keeps_the_question_and_the_turns_before_it(style: PromptStyle) -> None:
    asked = style.context(PROBLEM).messages
    assert asked[-1].role == "user"
    assert asked[-1].content.startswith(PROBLEM.text)
    told = style.context(CHAT).messages
    assert told[0] == Message("system", "Be brief.")
    assert told[-1].content == asked[-1].content
    assert Message("assistant", "Yes?") in told
    assert style.context(PROBLEM) == style.context(PROBLEM)


def test_an_instruction_stands_on_a_line_of_its_own_after_the_last_question() -> None:
    assert Bare().context(PROBLEM).messages == PROBLEM.messages
    for style in (Direct(), ChainOfThought(), ChainOfDraft()):
        assert style.context(PROBLEM).messages[0].content == f"{PROBLEM.text}\n{style.instruction}"


def test_zero_shot_cot_begins_the_reply_and_asks_again() -> None:
    style = ZeroShotCoT()
    context = style.context(PROBLEM)
    assert context.messages == PROBLEM.messages
    assert [s.text for s in context.reply] == [" Let's think step by step."]
    assert style.needs == {Ability.CONTINUE}
    assert style.followup is not None
    assert style.followup.text == "\nTherefore, the answer (arabic numerals) is"
    assert not style.followup.only_cut


def test_few_shot_exemplars_are_earlier_turns() -> None:
    plain, chat = Problem("q", PROBLEM.text), Problem("d", TURNS)
    context = FewShotCoT(shots=3).context(chat)
    assert [m.role for m in context.messages] == ["system", *["user", "assistant"] * 4, "user"]
    assert context.messages[2].content == GENERAL[0].reasoning
    answers = FewShotCoT(shots=2, style="direct").context(plain).messages
    assert [m.content for m in answers if m.role == "assistant"] == [GENERAL[0].answer, GENERAL[1].answer]
    with pytest.raises(UsageError, match=f"there are {len(GENERAL)}"):
        FewShotCoT(shots=len(GENERAL) + 1).context(plain)
    with pytest.raises(UsageError, match="shots is 0"):
        FewShotCoT(shots=0)


@pytest.mark.parametrize("family", EXEMPLARS)
def test_every_family_has_its_own_exemplars_that_end_in_their_answer(family: str) -> None:
    for exemplar in EXEMPLARS[family]:
        assert exemplar.reasoning.rpartition("####")[2].strip() == exemplar.answer
    first = FewShotCoT(shots=1).context(Problem("q", "Why?", family)).messages[0].content
    assert first == EXEMPLARS[family][0].question


@pytest.mark.parametrize("exemplar", GENERAL, ids=lambda e: e.answer)
def test_exemplars_are_right(exemplar: object) -> None:
    """Every <<a*b=c>> holds, and the last one is the answer after ####."""
    import re

    text = exemplar.reasoning  # type: ignore[attr-defined]
    steps = re.findall(r"<<(\d+)([-+*/])(\d+)=(\d+)>>(\d+)", text)
    for a, op, b, c, shown in steps:
        value = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b), "/": int(a) / int(b)}[op]
        assert value == int(c) == int(shown)
        assert f"{a} {op} {b}" in text
    assert steps[-1][4] == text.rpartition("#### ")[2] == exemplar.answer  # type: ignore[attr-defined]


def test_supervised_cot_has_its_three_arms() -> None:
    def instruction(style: SupervisedCoT) -> str:
        return style.context(PROBLEM).messages[0].content.partition("\n")[2]

    own, general, other = SupervisedCoT(), SupervisedCoT(task="general"), SupervisedCoT(task="graph")
    assert [instruction(s) for s in (own, general, other)] == [
        SUPERVISION["letters"],
        SUPERVISION[""],
        SUPERVISION["graph"],
    ]
    assert instruction(SupervisedCoT()) != instruction(general)
    assert SupervisedCoT().context(Problem("q", "Why?", "unheard-of")).messages[0].content.endswith(SUPERVISION[""])
    with pytest.raises(UsageError, match="known are general"):
        SupervisedCoT(task="lettres")


def test_the_hard_capped_draft_has_a_cap_and_asks_where_it_cut() -> None:
    asked, capped = ChainOfDraft(), ChainOfDraft(limit=20)
    assert (asked.cap, asked.followup, asked.needs) == (None, None, frozenset())
    assert capped.cap == 20
    assert capped.needs == {Ability.CONTINUE}
    assert capped.followup is not None
    assert capped.followup.only_cut
    assert asked.context(PROBLEM) == capped.context(PROBLEM)
    with pytest.raises(UsageError, match="limit is -1"):
        ChainOfDraft(limit=-1)


def test_a_text_file_is_a_template(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("Answer in Latin: {question}\n{question} {x}\n", encoding="utf-8")
    style = FromFile.read(str(file))
    assert style.context(PROBLEM).messages[0].content == "Answer in Latin: What is 7 + 8?\nWhat is 7 + 8? {x}"
    assert style.name == "mine.txt"
    assert style.needs == frozenset()


def test_a_json_file_has_everything(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    fields = {
        "template": "Q: {question}",
        "system": "Be brief.",
        "exemplars": [{"question": "1 + 1?", "answer": 2}],
        "prefix": "A:",
        "stop": ["\nQ:"],
    }
    file.write_text(json.dumps(fields), encoding="utf-8")
    style = FromFile.read(str(file))
    context = style.context(PROBLEM)
    assert [m.content for m in context.messages] == ["Be brief.", "Q: 1 + 1?", "2", "Q: What is 7 + 8?"]
    assert context.reply[0].text == "A:"
    assert style.stop == ("\nQ:",)
    assert style.needs == {Ability.CONTINUE}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "no place for it", r"no \{question\}"),
        ("a.json", "{", "is not a prompt"),
        ("a.json", "[]", "is not a prompt"),
        ("a.json", '{"exemplars": [{"question": "x"}]}', "is not a prompt"),
        ("a.json", '{"exemplars": 3}', "is not a prompt"),
        ("a.json", '{"stop": "\\n"}', "list of strings"),
        ("a.json", '{"stop": [""]}', "list of strings"),
        ("a.json", '{"templte": "{question}"}', "unknown fields: templte"),
        ("a.json", '{"template": "x"}', r"no \{question\}"),
    ],
)
def test_a_wrong_prompt_file_is_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said) as caught:
        FromFile.read(str(file))
    assert str(file) in str(caught.value)


def test_an_unreadable_prompt_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"\xe9{question}")
    for name in ("none.txt", "latin.txt", "."):
        with pytest.raises(DataError, match="cannot be read"):
            FromFile.read(str(tmp_path / name))


def test_a_chat_without_a_user_turn_cannot_be_instructed() -> None:
    with pytest.raises(UsageError, match="empty"):
        Problem("p", (Message("assistant", "Hello"),))
