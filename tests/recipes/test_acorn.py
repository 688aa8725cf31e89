"""The recipe of the embedded model, and the checkpoint in the package."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast  # noqa: E402

import thence  # noqa: E402
from thence.core.review import AGAIN, IMPROVE, REVIEW, REVIEW_STEP  # noqa: E402
from thence.recipes import acorn as recipe  # noqa: E402
from thence.tasks.wordproblems import (  # noqa: E402
    FAMILIES,
    STYLES,
    StepTruth,
    WordProblem,
    WordProblems,
    check_steps,
    question_split,
    render_solution,
)

EMBEDDED = Path(thence.__file__).parent / "acorn"
APPLES = "I have 3 apples, my dad has 2 more than me. How many do we have in total?"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return recipe.build_tokenizer()


def thousand_problems() -> list[WordProblem]:
    problems: list[WordProblem] = []
    levels: dict[str, Sequence[int]] = {"graph": range(1, 9), "apples": [2], "letters": range(2, 6)}
    for family, chosen in levels.items():
        problems += [p for level in chosen for p in WordProblems(level, "train", 0, 80, family).items()]
    return problems


def test_every_rendering_round_trips_without_an_unknown_token(tokenizer: PreTrainedTokenizerFast) -> None:
    problems = thousand_problems()
    assert len(problems) >= 1000
    for problem in problems:
        for style in STYLES:
            text = recipe.ask(problem.question, recipe.DRAFT_INSTRUCTION) + render_solution(problem, style)
            ids = tokenizer.encode(text)
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text
            assert "".join(tokenizer.convert_ids_to_tokens(ids)) == text


def test_every_format_of_the_mixture_round_trips(tokenizer: PreTrainedTokenizerFast) -> None:
    rng = Random(3)
    for _ in range(1000):
        example = recipe.draw_example(rng)
        ids, prompt_length = recipe.encode_example(tokenizer, example)
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == example.prompt + example.solution + "<eos>"
        # Tokenising prompt and solution apart is the same as tokenising them together.
        assert ids[:-1] == tokenizer.encode(example.prompt + example.solution)
        assert ids[:prompt_length] == tokenizer.encode(example.prompt)


def test_mixture_shares_sum_to_one() -> None:
    for shares in (recipe.FAMILY_SHARES, recipe.FORMAT_SHARES, *recipe.LEVEL_SHARES.values()):
        assert sum(shares.values()) == pytest.approx(1)
    assert set(recipe.FAMILY_SHARES) == {*FAMILIES, "rules"}


REQUESTS = (AGAIN, IMPROVE, REVIEW, REVIEW_STEP)


def test_reviews_say_where_the_first_planted_error_is() -> None:
    rng, seen = Random(1), set[str]()
    for problem in WordProblems(level=3, split="train", size=60).items():
        for style in ("verdict", "critique", "revision"):
            row = recipe.draw_review(rng, problem, style)
            solution = row.prompt.split("A:")[1].split("\n\nQ:")[0].split("\nCheck:")[0].split("\nIs the")[0]
            truths = [check.truth is StepTruth.CORRECT for check in check_steps(problem, solution)]
            right, bad = all(truths), str(truths.index(False) + 1) if False in truths else ""
            if style == "revision":
                assert row.solution == render_solution(problem, "cot")
            elif row.solution in (" ok", " Yes"):
                assert right
            elif row.solution != " No" and "found" not in row.solution:
                assert row.solution.startswith(f" bad at {bad}") or f"Step {bad}: bad" in row.solution
            else:
                assert right == ("found" in row.solution)
            seen.add(row.prompt.rpartition("\n\nQ: ")[2].split("\n")[0])
    assert set(REQUESTS) <= seen


def test_training_rows_come_from_the_training_split_only() -> None:
    rng = Random(5)
    for _ in range(500):
        turns = [text.partition("\nA:")[0] for text in recipe.draw_example(rng).prompt.split("Q: ")[1:]]
        asked = [text.rpartition("\n\n")[2].split("\n")[0] for text in turns]
        questions = [text for text in asked if text not in REQUESTS]
        assert questions
        assert all(question_split(question) == "train" for question in questions)


def test_the_first_token_tells_a_direct_answer_from_a_chain_of_thought(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    for problem in WordProblems(size=50).items():
        direct, cot = (tokenizer.tokenize(render_solution(problem, style))[0] for style in ("direct", "cot"))
        assert direct == " "
        assert cot.strip().isalpha()


def test_digits_are_single_tokens_and_a_number_is_never_one_piece_with_its_space(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert tokenizer.tokenize(" 207*3=621") == [" ", *"207*3=621"]


def test_joined_letters_are_split_and_unknown_words_are_named_by_their_offsets(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert tokenizer.tokenize(" ya") == [" ", "y", "a"]
    text = "Ann has 2 elephants and a zeppelin."
    encoded = tokenizer(text, return_offsets_mapping=True)
    unknown = [
        text[start:end].strip()
        for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        if token == tokenizer.unk_token_id
    ]
    assert unknown == ["elephants", "zeppelin"]


def test_the_loss_covers_the_solution_and_its_end_only(tokenizer: PreTrainedTokenizerFast) -> None:
    examples = [recipe.Example("Q: Ann has 2 pens.\nA:", " 12"), recipe.Example("Q: Tom\nA:", " 3")]
    batch = recipe.collate([recipe.encode_example(tokenizer, example) for example in examples])
    for row, example in zip(batch.targets_BT, examples, strict=True):
        assert tokenizer.decode(row[row != -100]) == example.solution + "<eos>"
    # The target at a position is the token that follows it.
    both = (batch.targets_BT[:, :-1] != -100) & (batch.inputs_BT[:, 1:] != recipe.PAD_ID)
    assert torch.equal(batch.targets_BT[:, :-1][both], batch.inputs_BT[:, 1:][both])
    assert batch.tokens == sum(len(recipe.encode_example(tokenizer, example)[0]) - 1 for example in examples)


def test_muon_updates_are_orthogonal_up_to_their_scale() -> None:
    torch.manual_seed(0)
    ortho = recipe.orthogonalise(torch.randn(2, 16, 48))
    singular = torch.linalg.svdvals(ortho)
    assert singular.min() > 0.5
    assert singular.max() < 1.4


TINY = recipe.AcornConfig(
    steps=6,
    batch_size=2,
    warmup=2,
    shape=recipe.Shape(layers=2, width=32, heads=2, hidden=48),
    compile=False,
    save_every=3,
    measure=0,
)


def test_a_run_stopped_and_started_again_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = recipe.train_acorn(dataclasses.replace(TINY, out=tmp_path / "whole"))
    parts = dataclasses.replace(TINY, out=tmp_path / "parts")

    class Killed(Exception):
        pass

    def kill_at_five(step: int) -> None:
        if step == 5:  # after the checkpoint of step 3, before that of step 6
            raise Killed

    with pytest.raises(Killed):
        recipe.train_acorn(parts, on_step=kill_at_five)
    resumed = recipe.train_acorn(parts)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name

    def digest(folder: Path) -> str:
        return next(line for line in (folder / "README.md").read_text().splitlines() if "data hash" in line)

    assert digest(whole) == digest(resumed)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    recipe.train_acorn(dataclasses.replace(TINY, out=tmp_path))
    with pytest.raises(ValueError, match="seed"):
        recipe.train_acorn(dataclasses.replace(TINY, out=tmp_path, seed=2))


def test_the_export_computes_what_was_trained(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = recipe.Acorn(TINY.shape, len(recipe.vocabulary()))
    for parameter in model.parameters():  # the zero-initialised matrices too
        torch.nn.init.normal_(parameter, std=0.2)
    recipe.export(model, tmp_path / "model", 1.0, "card")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    ids = torch.randint(len(recipe.SPECIAL), 400, (3, 20))
    with torch.inference_mode():
        ours = torch.nn.functional.linear(model.hidden(ids), model.head)
        torch.testing.assert_close(ours, loaded(ids).logits, rtol=1e-4, atol=1e-4)


def test_sampling_with_a_cache_and_padding_equals_the_plain_forward_pass(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    torch.manual_seed(1)
    model = recipe.Acorn(TINY.shape, len(tokenizer))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    prompts = ["Q: Ann has 2 pens.\nA:", "Q: Tom\nA:"]
    together = recipe.sample(model, tokenizer, prompts, 1, 0.0, max_new=8)
    for prompt, [text] in zip(prompts, together, strict=True):
        ids = tokenizer.encode(prompt)
        for _ in range(8):
            logits = torch.nn.functional.linear(model.hidden(torch.tensor([ids]))[0, -1], model.head)
            if int(logits.argmax()) == recipe.EOS_ID:
                break
            ids.append(int(logits.argmax()))
        assert tokenizer.decode(ids) == prompt + text


def test_votes_share_ties() -> None:
    assert recipe.vote_share(["1", "1", "2", None], "1") == 1
    assert recipe.vote_share(["1", "2"], "1") == 0.5
    assert recipe.vote_share([None, None], "1") == 0


# --- the checkpoint in the package -----------------------------------------------------------------------------------


def test_the_embedded_model_loads_and_is_small() -> None:
    assert sum(file.stat().st_size for file in EMBEDDED.iterdir()) <= 8_000_000
    loaded = AutoTokenizer.from_pretrained(EMBEDDED)
    text = recipe.ask(APPLES, recipe.COT_INSTRUCTION)
    assert loaded.encode(text) == recipe.build_tokenizer().encode(text)
    message = {"role": "user", "content": f"{APPLES}\n{recipe.COT_INSTRUCTION}"}
    assert loaded.apply_chat_template([message], tokenize=False, add_generation_prompt=True) == text
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED)
    assert model.config.model_type == "qwen3"
    assert model.config.vocab_size == len(loaded)
    assert len(loaded) % 64 == 0
    ids = loaded(text, return_tensors="pt")
    written = loaded.decode(model.generate(**ids, do_sample=False, max_new_tokens=80)[0, ids["input_ids"].shape[1] :])
    assert written.endswith("#### 8<eos>")


def test_the_chat_template_is_the_plain_format() -> None:
    tokenizer = recipe.build_tokenizer()
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "v"},
    ]
    plain = "S\nQ: u\nA: a\n\nQ: v\n"
    assert tokenizer.apply_chat_template(messages, tokenize=False) == plain
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == plain + "A:"
    messages.append({"role": "assistant", "content": "b"})
    assert tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True) == plain + "A: b"
