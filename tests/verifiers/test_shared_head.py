"""A head on the generator's own states, implicit rewards, adapters, and budgets that bind verifiers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from prm_checkpoints import engine_of
from safetensors.torch import load_file, save_file

from thence.core.budget import Ledger
from thence.core.card import ADAPTER, ADAPTER_CONFIG, HEAD, VerifierCard, VerifierKind
from thence.core.completion import Ability, Finish, Sampling
from thence.core.errors import DataError, ModelError, ThenceError, UsageError
from thence.core.problem import Problem
from thence.core.scores import Aggregate, Meaning
from thence.core.search import POLICY, Result, Search, Strategy
from thence.core.solve import head_of, solve
from thence.generators.local import LocalGenerator, load_local
from thence.methods import ACORN, strategy, verifier
from thence.nets.adapters import merge_adapter
from thence.nets.checkpoint import weights_hash
from thence.prompts.styles import ChainOfThought
from thence.strategies.beam import Beam
from thence.strategies.best_of_n import BestOfN
from thence.tasks.wordproblems_task import WordProblemsTask
from thence.verifiers.implicit import Implicit
from thence.verifiers.learned import Learned
from thence.verifiers.shared_head import SharedHead

PROBLEMS = WordProblemsTask(size=4).problems()
WIDTH = 128


def save_head(path: Path, fmt: str = "shared", kind: VerifierKind = VerifierKind.HEAD) -> Path:
    """A random head on the embedded model."""
    torch.manual_seed(0)
    path.mkdir(exist_ok=True)
    save_file({"score.weight": torch.randn(1, WIDTH), "score.bias": torch.randn(1)}, path / HEAD)
    card = VerifierCard(kind, Meaning.VALUE, fmt, "acorn", weights_hash(ACORN), None, "Think step by step.")
    card.write(path)
    return path


def save_adapter(path: Path, kind: VerifierKind) -> Path:
    """A random adapter of the embedded model, as peft names its weights."""
    path.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(3)
    weights = {}
    for layer in range(6):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(4, WIDTH, generator=generator) * 0.1
        weights[f"{name}.lora_B.weight"] = torch.randn(WIDTH, 4, generator=generator) * 0.1
    save_file(weights, path / ADAPTER)
    (path / ADAPTER_CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    hashed, how = weights_hash(ACORN), "Think step by step."
    VerifierCard(kind, Meaning.OUTCOME, "reply", "acorn", hashed, None, how, beta=0.5).write(path)
    return path


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_head(tmp_path_factory.mktemp("head"))


@pytest.fixture(scope="module")
def acorn() -> Iterator[LocalGenerator]:
    generator = load_local(str(ACORN))
    yield generator
    generator.engine.close()


async def run(generator: LocalGenerator, how: Strategy, problem: Problem, budget: int | None = None) -> Result:
    task = WordProblemsTask()
    return await solve(
        problem,
        generator=generator,
        strategy=how,
        style=ChainOfThought(),
        reading=task.reading,
        sampling=Sampling(1.4, max_tokens=80),
        budget=budget,
    )


def search_for(generator: LocalGenerator, problem: Problem) -> Search:
    style, reading = ChainOfThought(), WordProblemsTask().reading
    return Search(problem, {POLICY: generator}, style, reading, Sampling(1.0), ledger=Ledger())


@pytest.mark.parametrize("spec", ["best-of-n(n=4, verifier={})", "beam(n=4, width=2, verifier={})"])
async def test_values_drawn_with_the_text_are_those_of_a_pass_of_its_own(
    spec: str, head: Path, acorn: LocalGenerator
) -> None:
    """To the last bit: the head reads the same states, whether they come from drawing or from reading."""
    own = verifier(f"value:{head}")
    assert isinstance(own, Learned)
    for problem in PROBLEMS:
        how = strategy(spec.format(f"head:{head}"))
        result = await run(acorn, how, problem)
        name = f"head:{head}"
        scored = [n for n in result.tree if name in n.scores]
        assert scored
        again = await own.score(Search(problem, {POLICY: acorn}, ChainOfThought(), WordProblemsTask().reading,
                                       Sampling(1.0), tree=result.tree), scored)  # fmt: skip
        for node, score in zip(scored, again, strict=True):
            assert node.scores[name].steps == score.steps
            assert len(score.steps) >= 1
        assert result.ledger.total_charged.verifier == 0
    engine_of(own).close()


async def test_the_head_reads_the_state_that_the_last_token_of_a_step_is_drawn_from(
    head: Path, acorn: LocalGenerator
) -> None:
    import transformers

    how = BestOfN(verifier(f"head:{head}"), n=2)
    result = await run(acorn, how, PROBLEMS[0])
    node = result.tree.nodes[1]
    assert node.completion.finish is Finish.EOS
    search = search_for(acorn, PROBLEMS[0])
    prompt, ids = acorn.tokens(search.context(search.root)), node.completion.ids
    assert ids is not None
    model = transformers.AutoModelForCausalLM.from_pretrained(ACORN, dtype=torch.float32)
    weights = load_file(head / HEAD)
    with torch.inference_mode():
        states = model(torch.tensor([[*prompt, *ids]]), output_hidden_states=True).hidden_states[-1][0]
    # The state at position i - 1 is what token i is drawn from.
    logits = states[len(prompt) - 1 : -1] @ weights["score.weight"][0] + weights["score.bias"]
    assert node.completion.values == pytest.approx(logits.tolist(), abs=2e-3)
    ends = [i for i, token in enumerate(ids) if acorn.decode([token]) == "\n"]
    steps = [float(torch.sigmoid(logits[i])) for i in [*ends[:-1], len(ids) - 1]]
    assert node.scores[f"head:{head}"].steps == pytest.approx(steps, abs=2e-3)


async def test_tokens_are_the_same_with_and_without_a_head(head: Path, acorn: LocalGenerator) -> None:
    with_head = await run(acorn, BestOfN(verifier(f"head:{head}"), n=4), PROBLEMS[1])
    without = await run(acorn, BestOfN(verifier("logprob"), n=4), PROBLEMS[1])
    assert [n.completion.ids for n in with_head.tree] == [n.completion.ids for n in without.tree]
    assert all(n.completion.values is None for n in without.tree)


async def test_a_head_on_another_trunk_is_an_error(head: Path, tmp_path: Path, acorn: LocalGenerator) -> None:
    other = save_head(tmp_path / "other")
    card = json.loads((other / "verifier.json").read_text()) | {"trunk_hash": "0" * 24}
    (other / "verifier.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="trained on other weights"):
        await run(acorn, BestOfN(verifier(f"head:{other}"), n=2), PROBLEMS[0])
    with pytest.raises(ModelError, match="trained on other weights"):
        verifier(f"value:{other}")


def test_text_that_was_not_drawn_with_the_head_is_an_error(head: Path, acorn: LocalGenerator) -> None:
    import asyncio

    search = search_for(acorn, PROBLEMS[0])
    with pytest.raises(ModelError, match="carries no numbers"):
        asyncio.run(verifier(f"head:{head}").score(search, [search.given(" Tom: 3\n")]))


def test_what_a_head_cannot_be_is_said(tmp_path: Path) -> None:
    plain = save_head(tmp_path / "plain", "plain", VerifierKind.PRM)
    cases: list[tuple[type[ThenceError], str, str]] = [
        (UsageError, f"head:{plain}", "with a pass of its own"),
        (DataError, f"head:{tmp_path}", "no verifier.json"),
        (UsageError, "head", "needs its weights"),
        (UsageError, f"prm:{plain}(agregate=last)", "did you mean aggregate"),
        (UsageError, f"prm:{plain}(aggregate=sum)", "must be one of prod, min"),
    ]
    for kind, text, said in cases:
        with pytest.raises(kind, match=said):
            verifier(text)


def test_samples_carry_the_numbers_of_one_head_only(head: Path) -> None:
    assert head_of(BestOfN(verifier("logprob"))) == ""
    how = BestOfN(verifier(f"head:{head}"))
    assert head_of(how).startswith(str(head))
    assert Ability.VALUES in how.needs


async def test_a_head_needs_a_local_model(head: Path) -> None:
    from thence.core.solve import check_needs
    from thence.generators.scripted import ScriptedGenerator

    with pytest.raises(UsageError, match="cannot run a head on its own states; use a local model"):
        check_needs("best-of-n", BestOfN(verifier(f"head:{head}")).needs, ScriptedGenerator(answers={}), "scripted")


# --- implicit rewards ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [VerifierKind.DPO, VerifierKind.SIMPO])
async def test_implicit_rewards_are_those_of_a_direct_forward_pass(
    kind: VerifierKind, tmp_path: Path, acorn: LocalGenerator
) -> None:
    import transformers

    path = save_adapter(tmp_path / "adapter", kind)
    own = verifier(f"{kind}:{path}")
    assert isinstance(own, Implicit)
    result = await run(acorn, BestOfN(own, n=3), PROBLEMS[0])
    search = search_for(acorn, PROBLEMS[0])
    prompt = acorn.tokens(search.context(search.root))
    models = []
    for adapted in (True, False):
        model = transformers.AutoModelForCausalLM.from_pretrained(ACORN, dtype=torch.float32)
        if adapted:
            weights = dict(model.state_dict())
            assert merge_adapter(weights, path) == {}
            model.load_state_dict(weights)
        models.append(model)
    for node in result.tree.nodes[1:]:
        assert node.completion.ids is not None
        ids = torch.tensor([[*prompt, *node.completion.ids]])
        with torch.inference_mode():
            sums = [
                m(ids)
                .logits[0, len(prompt) - 1 : -1]
                .log_softmax(-1)
                .gather(1, ids[0, len(prompt) :, None])
                .sum()
                .item()
                for m in models
            ]
        right = 0.5 * (sums[0] - sums[1]) if kind is VerifierKind.DPO else sums[0] / len(node.completion.ids)
        assert node.scores[own.name].value == pytest.approx(right, abs=2e-3)
    with pytest.raises(UsageError, match="cannot weigh votes"):
        await run(acorn, BestOfN(own, n=3, select="vote"), PROBLEMS[0])


def test_an_adapter_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    path = save_adapter(tmp_path / "adapter", VerifierKind.SIMPO)
    with pytest.raises(ModelError, match="which its trunk does not have"):
        merge_adapter({"other": torch.zeros(2, 2)}, path)
    (path / ADAPTER_CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_dora": True}))
    with pytest.raises(ModelError, match="use_dora"):
        merge_adapter({}, path)


# --- budgets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [90, 150, 300, 600, 1500])
@pytest.mark.parametrize("how", ["best-of-n", "beam"])
async def test_a_budget_binds_policy_and_verifier_together(
    how: str, budget: int, tmp_path: Path, acorn: LocalGenerator
) -> None:
    own = verifier(f"prm:{save_head(tmp_path / 'prm', 'plain', VerifierKind.PRM)}(aggregate=min)")
    assert isinstance(own, Learned)
    assert own.how is Aggregate.MIN
    made: Strategy = BestOfN(own, n=8) if how == "best-of-n" else Beam(own, n=4, width=2)
    for problem in PROBLEMS:
        result = await run(acorn, made, problem, budget)
        charged = result.ledger.total_charged
        assert charged.prompt is not None
        assert charged.generated is not None
        assert charged.verifier is not None
        assert charged.prompt + charged.generated + charged.verifier <= budget
        if budget >= 300 and how == "best-of-n":
            # Tokens were kept for the verifier: what was drawn whole has been judged.
            assert all(n.scores[own.name].steps for n in result.tree.nodes[1:] if n.completion.finish is Finish.EOS)
        if budget == 1500 and how == "best-of-n":
            assert charged.verifier > 100
    engine_of(own).close()


def test_a_shared_head_is_no_separate_model(head: Path) -> None:
    assert isinstance(verifier(f"head:{head}"), SharedHead)
    assert verifier(f"head:{head}(aggregate=min)").name == f"head:{head}(aggregate=min)"
