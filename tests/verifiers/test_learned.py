"""Trained verifiers: input formats, numbers equal to transformers', incremental scoring, errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prm_checkpoints import FAMILY, direct, engine_of, save_prm, sentencepiece_tokenizer, tagged_tokenizer

from thence.core.card import VerifierCard, VerifierKind
from thence.core.completion import Completion, Finish, Sampling
from thence.core.errors import DataError, ModelError, ThenceError, UsageError
from thence.core.problem import Problem
from thence.core.scores import Aggregate, Meaning
from thence.core.search import POLICY, VERIFIER, Search
from thence.core.tree import Kind, Node
from thence.generators.scripted import ScriptedGenerator
from thence.prompts.styles import Bare
from thence.tasks.wordproblems_task import WordProblemsTask
from thence.verifiers import formats, learned
from thence.verifiers.learned import Learned, load
from tiny_models import save_tiny

QUESTION = "Tom has 3 pens and Ann has 4. How many in all?"
STEPS = ("Tom: 3\n", "Ann: 4 <<3+4=7>>\n", "In all 7\n#### 7")


def search_of(question: str = QUESTION) -> Search:
    generator = ScriptedGenerator(answers={})
    return Search(
        Problem("p", question), {POLICY: generator}, Bare(), WordProblemsTask().reading, Sampling(temperature=1.0)
    )


def grow(search: Search, parent: Node, text: str, draw: int = 0, finish: Finish = Finish.STEP) -> Node:
    kind = Kind.STEP if finish is Finish.STEP else Kind.FINISH
    return search.tree.add(parent, Completion.of(text, finish), (*parent.draws[0], draw), kind=kind)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {fmt: save_prm(tmp_path_factory.mktemp(fmt), fmt) for fmt in FAMILY}


@pytest.fixture(scope="module")
def shepherd(paths: dict[str, str]) -> Iterator[Learned]:
    verifier = load(VerifierKind.PRM, paths["math-shepherd"], format="math-shepherd", dtype="float32")
    yield verifier
    engine_of(verifier).close()


@pytest.mark.parametrize("fmt", FAMILY)
async def test_scores_are_those_of_a_direct_forward_pass(fmt: str, paths: dict[str, str]) -> None:
    verifier = load(VerifierKind.PRM, paths[fmt], format=fmt, dtype="float32")
    search = search_of()
    node = search.given("".join(STEPS))
    [score] = await search.score([node], verifier)
    row = formats.FORMATS[fmt]
    written = formats.write(row, verifier.tokenizer, QUESTION, STEPS)
    pair = row.candidates(verifier.tokenizer, "") if row.read is formats.Read.TOKENS else None
    right = direct(paths[fmt], list(written.ids), list(written.reads), fmt, pair)
    assert score.steps == pytest.approx(right, abs=2e-5)
    assert max(right) - min(right) > 1e-3  # the steps differ, so an off-by-one would show
    assert score.meaning is row.meaning
    engine_of(verifier).close()


PUBLISHED = {
    "math-shepherd": f"{QUESTION} Step 1: Tom: 3 ки\nStep 2: Ann: 4 <<3+4=7>> ки\nStep 3: In all 7\n#### 7 ки\n",
    "math-psa": (
        f"{QUESTION} Step 1: Tom: 3 \n\n\n\n\n Step 2: Ann: 4 <<3+4=7>> \n\n\n\n\n Step 3: In all 7\n#### 7 \n\n\n\n\n"
    ),
    "qwen-prm": (
        "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
        "Tom: 3<extra_0>Ann: 4 <<3+4=7>><extra_0>In all 7\n#### 7<extra_0>"
    ),
    "rlhflow-mistral": (
        f"<|im_start|>user\n{QUESTION} Tom: 3<|im_end|>\n<|im_start|>assistant\n+<|im_end|>\n"
        "<|im_start|>user\nAnn: 4 <<3+4=7>><|im_end|>\n<|im_start|>assistant\n+<|im_end|>\n"
        "<|im_start|>user\nIn all 7\n#### 7<|im_end|>\n<|im_start|>assistant\n+<|im_end|>\n"
    ),
    "skywork": f"{QUESTION}\nTom: 3\nAnn: 4 <<3+4=7>>\nIn all 7\n#### 7\n",
}


@pytest.mark.parametrize("fmt", PUBLISHED)
def test_the_text_is_the_published_one(fmt: str) -> None:
    """Skywork's own script cuts at every line break; here the closing answer line belongs to the last step."""
    tokenizer = tagged_tokenizer()
    written = formats.write(formats.FORMATS[fmt], tokenizer, QUESTION, STEPS)
    assert tokenizer.decode(written.ids) == PUBLISHED[fmt]


def test_a_tokenizer_that_puts_a_blank_before_every_text_gets_the_tokens_of_the_whole_text() -> None:
    """As Mistral's, on which Math-Shepherd runs: a piece by itself would begin with one blank too many."""
    tokenizer = sentencepiece_tokenizer()
    written = formats.write(formats.FORMATS["math-shepherd"], tokenizer, QUESTION, STEPS)
    whole = tokenizer(PUBLISHED["math-shepherd"], add_special_tokens=False)["input_ids"]
    assert list(written.ids) == whole


def test_where_seams_of_steps_differ_from_tokens_of_the_whole_text() -> None:
    """Where a token spans a seam: here the question's last character and the blank before the first step."""
    tokenizer = sentencepiece_tokenizer((("?", "▁"),))
    written = formats.write(formats.FORMATS["math-shepherd"], tokenizer, QUESTION, STEPS)
    whole = tokenizer(PUBLISHED["math-shepherd"], add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(written.ids) == tokenizer.decode(whole)
    assert len(written.ids) == len(whole) + 1


@pytest.mark.parametrize("fmt", FAMILY)
def test_tokens_of_a_prefix_begin_those_of_the_whole(fmt: str) -> None:
    row, tokenizer = formats.FORMATS[fmt], tagged_tokenizer()
    short = formats.write(row, tokenizer, QUESTION, STEPS[:2])
    long = formats.write(row, tokenizer, QUESTION, STEPS)
    assert long.ids[: len(short.ids)] == short.ids
    assert long.reads[:2] == short.reads


async def test_a_new_step_costs_its_own_tokens(shepherd: Learned) -> None:
    search = search_of()
    first = grow(search, search.root, STEPS[0])
    await search.score([first], shepherd)
    before = engine_of(shepherd).counters.prefilled
    children = [grow(search, first, f"Ann: {k} pens\n", k) for k in range(3)]
    scores = await search.score(children, shepherd)
    own = len(shepherd.tokenizer("Step 2: Ann: 0 pens ки")["input_ids"])
    # What comes after a tag (a line break here) is read with the next step.
    assert engine_of(shepherd).counters.prefilled - before <= 3 * (own + 2)
    [known] = {s.steps[0] for s in scores}
    assert known == first.scores[shepherd.name].steps[0]


async def test_numbers_do_not_depend_on_the_way_they_are_asked_for(shepherd: Learned) -> None:
    step_by_step, at_once = search_of(), search_of()
    node = step_by_step.root
    for k, step in enumerate(STEPS):
        node = grow(step_by_step, node, step, 0, Finish.EOS if k == 2 else Finish.STEP)
        [slow] = await step_by_step.score([node], shepherd)
    [fast] = await at_once.score([grow(at_once, at_once.root, "".join(STEPS), 0, Finish.EOS)], shepherd)
    assert slow.steps == fast.steps
    role = f"{VERIFIER}:{shepherd.name}"
    whole = formats.write(shepherd.fmt, shepherd.tokenizer, QUESTION, STEPS).ids
    assert fast.tokens == len(whole)
    # Step by step, the answer line came after the step's own tag had been read: that tag is paid for, and the last
    # step is written once more with its answer line.
    assert step_by_step.ledger.new_prompt_tokens(role, whole) == 0


async def test_equal_nodes_are_scored_once_and_charged_once(shepherd: Learned) -> None:
    search = search_of()
    node = grow(search, search.root, STEPS[0])
    scores = await search.score([node, node], shepherd)
    assert scores[0] is scores[1]
    assert search.ledger.total_charged.verifier == scores[0].tokens
    await search.score([node], shepherd)
    assert search.ledger.total_charged.verifier == scores[0].tokens


async def test_aggregation_is_the_rows_own_or_the_one_asked_for(paths: dict[str, str]) -> None:
    values = {}
    for how in (None, Aggregate.LAST, Aggregate.PROD):
        verifier = load(VerifierKind.PRM, paths["math-shepherd"], format="math-shepherd", aggregate=how)
        search = search_of()
        [values[how]] = await search.score([search.given("".join(STEPS))], verifier)
        engine_of(verifier).close()
    assert values[None].value == min(values[None].steps)
    assert values[Aggregate.LAST].value == values[None].steps[-1]
    product = 1.0
    for x in values[None].steps:
        product *= x
    assert values[Aggregate.PROD].value == pytest.approx(product)


async def test_a_solution_without_text_gets_the_lowest_score(shepherd: Learned) -> None:
    search = search_of()
    [score] = await search.score([grow(search, search.root, " \n", 0, Finish.EOS)], shepherd)
    assert (score.value, score.steps) == (0.0, ())


def test_bad_input_is_one_clear_error(paths: dict[str, str], tmp_path: Path) -> None:
    prm = VerifierKind.PRM
    plain = save_tiny(tmp_path / "plain", "qwen2")
    headless = save_tiny(tmp_path / "headless", "qwen2", tokenizer=tagged_tokenizer())
    cases: list[tuple[type[ThenceError], str, object]] = [
        (UsageError, r"no verifier.json.*math-shepherd.*qwen-prm", lambda: load(prm, plain)),
        (UsageError, "unknown format 'shepherd'", lambda: load(prm, plain, format="shepherd")),
        (ModelError, "no step tag ' ки'", lambda: load(prm, plain, format="math-shepherd")),
        (ModelError, "has no head", lambda: load(prm, headless, format="qwen-prm")),
        (ModelError, "does not exist", lambda: load(prm, str(tmp_path / "nowhere"), format="skywork")),
        (UsageError, "acorn has no minos", lambda: load(VerifierKind.MINOS, "acorn")),
    ]
    for kind, text, call in cases:
        with pytest.raises(kind, match=text):
            call()  # type: ignore[operator]


async def test_a_trace_longer_than_the_context_is_an_error(shepherd: Learned) -> None:
    search = search_of()
    with pytest.raises(ModelError, match="reads at most 600 tokens"):
        await search.score([search.given("many more words\n" * 60)], shepherd)


async def test_a_broken_model_is_an_error_and_no_score(paths: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = load(VerifierKind.PRM, paths["skywork"], format="skywork")
    monkeypatch.setattr(Learned, "_number", lambda self, logits: float("nan"))
    search = search_of()
    with pytest.raises(ModelError, match="NaN"):
        await search.score([search.given("".join(STEPS))], verifier)
    engine_of(verifier).close()


def test_an_empty_step_is_an_error() -> None:
    with pytest.raises(UsageError, match="step 1 of 2 is empty"):
        formats.write(formats.FORMATS["plain"], tagged_tokenizer(), QUESTION, ("Tom: 3\n", " \n"))


def test_reading_early_is_reading_where_the_last_token_is_drawn() -> None:
    tokenizer = tagged_tokenizer()
    plain = formats.write(formats.FORMATS["plain"], tokenizer, QUESTION, STEPS)
    early = formats.write(formats.FORMATS["shared"], tokenizer, QUESTION, STEPS)
    assert early.ids == plain.ids
    assert early.reads == tuple(at - 1 for at in plain.reads)
    ended = formats.with_end(formats.FORMATS["shared"], early, 99)
    assert ended.ids == (*early.ids, 99)
    assert ended.reads == (*early.reads[:-1], early.reads[-1] + 1)


def test_a_card_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    card = VerifierCard(
        VerifierKind.PRM, Meaning.VALUE, "plain", "acorn", "abc", Aggregate.LAST, "Think.", 0.1, "rollouts", {"seed": 1}
    )
    card.write(tmp_path)
    assert VerifierCard.read(tmp_path) == card
    (tmp_path / "verifier.json").write_text('{"kind": "magic"}')
    with pytest.raises(DataError, match="no card of a verifier"):
        VerifierCard.read(tmp_path)


def test_steps_of_a_text_keep_all_of_it() -> None:
    from thence.core.segmenter import Segmenter

    for text in ("".join(STEPS), "one line", "#### 7", "a\n\nb\n#### 7\n"):
        assert "".join(learned.steps_of(Segmenter(), text)) == text
    assert learned.steps_of(Segmenter(), " \n") == ()
