"""The doctor runs a model of this process and believes nothing that it does not see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from thence.core.budget import Spent
from thence.core.completion import Ability, Completion, Context, TokenLogprobs
from thence.core.errors import UsageError
from thence.engine.jobs import Outcome
from thence.generators.doctor import Finding, LocalReport, examine
from thence.generators.doctor.local import known_question
from thence.generators.local import LocalGenerator, Rendered, load_local
from tiny_models import byte_tokenizer, save_tiny, word_tokenizer

ALL = {
    Ability.SEEDED,
    Ability.LOGPROBS,
    Ability.TOP2,
    Ability.FIRST_TOKEN,
    Ability.CONTINUE,
    Ability.TOKEN_IDS,
    Ability.SCORE_TEXT,
    Ability.VALUES,
}
TEMPLATE = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{% if enable_thinking is defined and enable_thinking %}<think>{% endif %}"
)


def seen(report: LocalReport, name: str) -> tuple[Finding, str]:
    (check,) = [c for c in report.checks if c.name == name]
    return check.finding, check.seen


async def examined(model: LocalGenerator, *, quick: bool = True) -> LocalReport:
    try:
        return await examine(model, quick=quick)
    finally:
        await model.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(tmp_path_factory.mktemp("tiny"), context=256)


async def test_everything_is_tried_and_found(folder: str) -> None:
    report = await examined(load_local(folder, exact=True, slots=8), quick=False)
    assert report.abilities == ALL
    assert {c.name for c in report.checks if c.finding is Finding.NO} == {"JSON schema", "switch of thinking"}
    assert report.max_context == 256
    assert seen(report, "context length")[1].startswith("256 tokens; a prompt of ")
    assert [step.at_once for step in report.latency][:2] == [1, 2]
    assert report.latency[-1].at_once <= 8
    assert seen(report, "a step's time doubles")[0] is Finding.MEASURED
    assert json.loads(json.dumps(report.record()))["abilities"] == sorted(ALL)


async def test_a_template_with_a_switch(folder: str, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    report = await examined(load_local(save_tiny(tmp_path, tokenizer=tokenizer)))
    assert Ability.SCORE_TEXT in report.abilities, "random bytes cut within a character say nothing against it"
    finding, text = seen(report, "switch of thinking")
    assert finding is Finding.YES
    off, on = (int(word) for word in text.replace(",", "").split() if word.isdigit())
    assert on - off == len("<think>")
    assert "no thinking and no switch" in seen(await examined(load_local(folder)), "switch of thinking")[1]


async def test_the_question_is_one_that_a_closed_vocabulary_knows(tmp_path: Path) -> None:
    report = await examined(load_local(save_tiny(tmp_path / "words", tokenizer=word_tokenizer())))
    assert report.question == "I have 3 apples, has 2 more than many we have in total?"
    assert report.abilities == ALL
    strange = load_local(
        save_tiny(tmp_path / "none", tokenizer=word_tokenizer(["[UNK]", "<eos>", "<pad>", ":", "Q", "A"]))
    )
    with pytest.raises(UsageError, match="knows no word"):
        known_question(strange)
    await strange.close()


class Broken(LocalGenerator):
    """A generator that states every ability, and numbers that do not fit its texts."""

    def _completion(self, outcome: Outcome, rendered: Rendered, prompt_tokens: int) -> Completion:
        made = super()._completion(outcome, rendered, prompt_tokens)
        assert isinstance(made, Completion)
        return replace(made, top2=None if made.top2 is None else tuple((b, a - 1) for a, b in made.top2))

    async def logprobs(
        self, contexts: Sequence[Context], continuations: Sequence[str], book: Spent
    ) -> list[TokenLogprobs]:
        given = await super().logprobs(contexts, continuations, book)
        return [replace(each, logprobs=tuple(x - 0.5 for x in each.logprobs)) for each in given]


async def test_stated_abilities_that_fail_are_not_believed(folder: str) -> None:
    model = load_local(folder)
    model.__class__ = Broken
    report = await examined(model)
    assert ALL - report.abilities == {Ability.TOP2, Ability.FIRST_TOKEN, Ability.SCORE_TEXT}
    finding, text = seen(report, "log-probabilities of given text")
    assert (finding, text) == (Finding.NO, "not those of the same text when it was drawn")
