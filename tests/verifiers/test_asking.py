"""P(True) and votes of critiques: exact numbers by hand, their two laws, their costs, and models that say nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from thence.conformance import check
from thence.core.budget import Ledger
from thence.core.completion import Ability, Context, Sampling, Segment
from thence.core.errors import UsageError
from thence.core.problem import Message, Problem
from thence.core.protocols import Generator
from thence.core.review import REVIEW
from thence.core.search import Priced, Result, Search, Strategy
from thence.core.solve import check_needs, solve
from thence.core.tree import Kind, Node
from thence.core.verdicts import CONFIRM, said_yes
from thence.core.votes import Select
from thence.generators.scripted import Cue, ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.prompts.styles import Bare
from thence.strategies.best_of_n import BestOfN
from thence.verifiers.asking import NEITHER, NO, YES, Critique, PTrue, answered
from thence.verifiers.formats import FORMATS, GENRM
from thence.worlds.laws import binomial, critics_majority
from thence.worlds.revision import Revision

QUESTION = "What is 7 + 8?"
ASKED = f"\n{CONFIRM}"
# After "#### 15" the model says Yes with 3 : 1, with and without a blank; after "#### 14" No with 9 : 1.
OPINIONS = {
    QUESTION: [
        (f"#### 15{ASKED} Yes", 2.0),
        (f"#### 15{ASKED}Yes", 1.0),
        (f"#### 15{ASKED} No", 1.0),
        (f"#### 14{ASKED} Yes", 1.0),
        (f"#### 14{ASKED} No", 9.0),
        (f"#### 13{ASKED} Perhaps", 1.0),
    ]
}
NO_SCORES = frozenset(Ability) - {Ability.SCORE_TEXT, Ability.VALUES, Ability.THOUGHT_LIMIT}


def searching(generator: Generator, budget: int | None = None, temperature: float = 0.0) -> Search:
    sampling = Sampling(temperature=temperature, max_tokens=20)
    problem = Problem("p", QUESTION)
    return Search(problem, {"policy": generator}, Bare(), NumericReading(), sampling, ledger=Ledger(budget))


def given(search: Search, *texts: str) -> list[Node]:
    return [search.given(text) for text in texts]


def values(scores: Sequence[object]) -> list[float]:
    return [s.value for s in scores]  # type: ignore[attr-defined]


def replying(rule: object, **options: object) -> ScriptedGenerator:
    """A model that scores no text and replies to a request for a verdict or a review by ``rule``."""

    def write(cue: Cue) -> str:
        return rule(cue) if cue.question in (CONFIRM, REVIEW) else "#### 15"  # type: ignore[operator]

    return ScriptedGenerator(write, pace=0, abilities=NO_SCORES, **options)  # type: ignore[arg-type]


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Yes", True),
        (" **Yes.**", True),
        ("no, it is 15", False),
        ("I have checked it. Answer: No.", False),
        ("Yes, it is right: yes", True),
        ("No, wait: yes", None),
        ("There is no doubt about it", None),
        ("Not sure", None),
        ("Nobody knows", None),
        ("", None),
        ("是", None),
    ],
)
def test_only_a_plain_yes_or_no_is_read(reply: str, verdict: bool | None) -> None:
    assert said_yes(reply) is verdict


# --- exact ------------------------------------------------------------------------------------------------------------


async def test_the_exact_number_sums_both_spellings() -> None:
    search = searching(ScriptedGenerator(texts=OPINIONS, pace=0))
    nodes = given(search, "#### 15", "#### 14", "#### 13")
    verifier = PTrue()
    assert values(await search.score(nodes, verifier)) == [pytest.approx(0.75), pytest.approx(0.1), NEITHER]
    mass = [node.scores[answered(verifier.name)].value for node in nodes]
    assert mass == [pytest.approx(1.0), pytest.approx(1.0), pytest.approx(0.0)]  # the third said neither


async def test_words_that_are_the_same_tokens_count_once() -> None:
    """A tokenizer that drops the blank makes one word of two: its mass must not be doubled."""

    class Blankless(ScriptedGenerator):
        def tokens(self, context: Context) -> tuple[int, ...]:
            reply = tuple(Segment(s.text.strip()) for s in context.reply)
            return super().tokens(Context(context.messages, reply))

    texts = {QUESTION: [(f"#### 15{ASKED} Yes", 1.0), (f"#### 15{ASKED} No", 1.0), (f"#### 15{ASKED} Hm", 2.0)]}
    search = searching(Blankless(texts=texts, pace=0))
    (node,) = given(search, "#### 15")
    assert values(await search.score([node], PTrue())) == [pytest.approx(0.5)]
    assert node.scores[answered(PTrue().name)].value == pytest.approx(0.5)


async def test_what_is_read_is_charged_once_and_as_verifier_tokens() -> None:
    generator = ScriptedGenerator(texts=OPINIONS, pace=0)
    search, verifier = searching(generator), PTrue()
    assert isinstance(verifier, Priced)
    nodes = given(search, "#### 15", "#### 14")
    await search.score(nodes, verifier)
    read = {generator.tokens(search.context(n).then(Segment(ASKED)))[:k] for n in nodes for k in range(1, 99)}
    charged = search.ledger.total_charged
    assert (charged.prompt, charged.generated, charged.verifier) == (0, 0, len(read))  # distinct prefixes
    assert sum(n.scores[verifier.name].tokens or 0 for n in nodes) == len(read)
    await search.score(nodes, verifier)
    assert search.ledger.total_charged.verifier == len(read)


async def test_likelihoods_are_charged_to_their_role_without_the_last_token() -> None:
    generator = ScriptedGenerator(texts={QUESTION: [("one two three", 3.0), ("one four", 1.0)]}, pace=0)
    search = searching(generator)
    context = search.context(search.root)
    prompt = len(generator.tokens(context))
    (both,) = await search.likelihood([context], ["one two"])
    assert math.exp(sum(both.logprobs)) == pytest.approx(0.75)
    assert search.ledger.total_charged.prompt == prompt + 1
    await search.likelihood([context, context], ["one four", "one"])
    assert search.ledger.total_charged.prompt == prompt + 1  # nothing new was read
    await search.likelihood([context], ["one two three"], role="verifier:x")
    assert search.ledger.total_charged.verifier == prompt + 2
    assert (
        generator.spent.prefilled == search.ledger.book("policy").prefilled + search.ledger.book("verifier:x").prefilled
    )  # type: ignore[operator]


async def test_the_exact_number_of_a_real_model_is_that_of_a_direct_forward(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from thence.generators.local import load_local
    from tiny_models import WORDS, save_tiny, word_tokenizer

    words = [*WORDS, "Is", "answer", "correct", "Yes", "No"]
    path = save_tiny(tmp_path / "tiny", "qwen3", tokenizer=word_tokenizer(words))
    generator = load_local(path, dtype="float32", slots=2)
    search = Search(Problem("p", "how many apples ?"), {"policy": generator}, Bare(), NumericReading(), Sampling())
    nodes = given(search, " 3 + 4 = 7", " 2 apples")
    scores = values(await search.score(nodes, PTrue(exact="yes")))
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    for node, score in zip(nodes, scores, strict=True):
        begun = search.context(node).then(Segment(ASKED))
        ids = generator.tokens(begun)
        with torch.no_grad():
            chances = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
        mass = {w: float(chances[generator.tokens(begun.then(Segment(w)))[-1]]) for w in (*YES, *NO)}
        both = sum(mass.values())
        assert score == pytest.approx((mass[YES[0]] + mass[YES[1]]) / both, rel=1e-4)
        assert node.scores[answered("p-true(exact)")].value == pytest.approx(both, rel=1e-4)
    assert abs(scores[0] - scores[1]) > 1e-3
    await generator.close()


def test_the_exact_number_asks_what_generative_verifiers_are_trained_on() -> None:
    assert ASKED == GENRM
    assert {FORMATS["genrm"].good, FORMATS["genrm"].bad} == {YES[0], NO[0]}


@pytest.mark.parametrize("exact", ["yes", "no"])
async def test_a_budget_is_never_exceeded(exact: str) -> None:
    def write(cue: Cue) -> str:
        return "Yes" if cue.question == CONFIRM else "#### 15"

    seen = set()
    for budget in range(1, 140, 3):
        search = searching(ScriptedGenerator(write, pace=0), budget)
        nodes = given(search, "#### 15", "#### 14 or so")
        scores = values(await search.score(nodes, PTrue(exact=exact, n=3)))  # type: ignore[arg-type]
        assert len(scores) == 2
        assert (search.ledger.total_charged.total or 0) <= budget
        assert 0.0 not in scores or search.stopped == "budget"  # some of the verdicts are enough for a share
        seen.add(sum(s > 0 for s in scores))
    assert seen == {0, 1, 2}


async def test_a_budget_keeps_tokens_for_the_exact_number() -> None:
    """The samples leave room for what reads them: with any samples at all, the chosen one has been judged."""
    judged = 0
    for budget in range(10, 200, 5):
        generator = ScriptedGenerator(texts=OPINIONS, pace=0, defaults=Sampling(temperature=1.0, max_tokens=20))
        strategy = BestOfN(PTrue(exact="yes"), n=4)
        result = await solved(strategy, generator, Sampling(temperature=1.0, max_tokens=8), budget=budget)
        assert (result.ledger.total_charged.total or 0) <= budget
        judged += sum(PTrue(exact="yes").name in n.scores for n in result.tree) > 0
    assert judged > 10


async def solved(
    strategy: Strategy, generator: Generator, sampling: Sampling, *, budget: int | None = None, seed: int = 0
) -> Result:
    return await solve(
        Problem("p", QUESTION),
        generator=generator,
        strategy=strategy,
        style=Bare(),
        reading=NumericReading(),
        sampling=sampling,
        seed=seed,
        budget=budget,
    )


def test_the_name_says_how_the_number_is_made() -> None:
    sees, blind = ScriptedGenerator(texts=OPINIONS), ScriptedGenerator(texts=OPINIONS, abilities=NO_SCORES)
    assert PTrue(sees, "big").name == "p-true:big(exact)"
    assert PTrue(blind, "big", n=4).name == "p-true:big(n=4)"
    assert PTrue(sees, "big", exact="no").name == "p-true:big(n=8)"
    assert (PTrue().name, PTrue(exact="yes").name) == ("p-true(auto, n=8)", "p-true(exact)")
    assert "verdicts" in str(PTrue(exact="no").describe()["by"])
    assert Critique(blind, "big", k=3).name == "critique:big(k=3)"


async def test_a_model_that_scores_no_text_is_refused_where_it_must() -> None:
    blind = ScriptedGenerator(texts=OPINIONS, abilities=NO_SCORES)
    with pytest.raises(UsageError, match="leave exact=yes out"):
        PTrue(blind, "big", exact="yes")
    assert PTrue(exact="auto").needs == PTrue(exact="no").needs == frozenset()
    with pytest.raises(UsageError, match="no log-probabilities of given text"):
        check_needs("p-true", PTrue(exact="yes").needs, blind, "scripted")
    search = searching(blind)
    with pytest.raises(UsageError, match="no log-probabilities of given text"):
        await search.likelihood([search.context(search.root)], YES[:1])


# --- sampled ----------------------------------------------------------------------------------------------------------


async def test_the_share_of_yes_is_over_the_replies_that_can_be_read() -> None:
    said = ["Yes", "no", "Hm", "Yes.", "", "YES"]
    generator = replying(lambda cue: said[cue.draw])
    search = searching(generator)
    (node,) = given(search, "so\n#### 15")
    verifier = PTrue(n=6)
    assert values(await search.score([node], verifier)) == [0.75]
    assert node.scores[answered(verifier.name)].value == pytest.approx(4 / 6)
    chat = generator.requests[0].context.messages
    assert [m.role for m in chat] == ["user", "assistant", "user"]
    assert [m.content for m in chat[1:]] == ["so\n#### 15", CONFIRM]
    assert all(r.sampling.temperature == 1.0 for r in generator.requests)  # whatever the policy's own is
    asides = [n for n in search.tree if n.kind is Kind.CRITIQUE]
    assert [n.about for n in asides] == [(node.index,)] * 6
    assert search.ledger.total_charged.generated == 0
    assert (search.ledger.total_charged.verifier or 0) > 6


@pytest.mark.parametrize("verifier", [PTrue(n=3), Critique(k=3)])
@pytest.mark.parametrize("reply", ["", "<think>Yes</think>", "<think>No problems found. Yes"])
async def test_a_model_that_says_nothing_has_no_opinion(verifier: PTrue | Critique, reply: str) -> None:
    search = searching(replying(lambda cue: reply))
    (node,) = given(search, "#### 15")
    assert values(await search.score([node], verifier)) == [NEITHER]
    assert node.scores[answered(verifier.name)].value == 0.0


@pytest.mark.parametrize("verifier", [PTrue(n=2), Critique(k=2)])
async def test_a_solution_without_text_is_not_asked_about(verifier: PTrue | Critique) -> None:
    search = searching(replying(lambda cue: "Yes" if cue.question == CONFIRM else "No problems found."))
    nodes = given(search, " \n", "#### 15")
    assert values(await search.score(nodes, verifier)) == [0.0, 1.0]
    assert len([n for n in search.tree if n.kind is Kind.CRITIQUE]) == 2
    assert await verifier.score(search, []) == []


async def test_the_sampled_share_estimates_the_exact_number() -> None:
    """The same opinion, said with its chance or measured: the mean of the shares is the number itself."""
    n, problems = 10, 60
    total = 0.0
    for seed in range(problems):
        search = searching(replying(lambda cue: "Yes" if cue.seed % 100 < 75 else "No"))
        search.seed = seed
        total += values(await search.score(given(search, "#### 15"), PTrue(n=n)))[0]
    assert abs(total / problems - 0.75) <= 4 * (0.75 * 0.25 / (n * problems)) ** 0.5


@pytest.mark.parametrize("verifier", [PTrue(exact="no", n=2), Critique(k=2)], ids=["p-true", "critique"])
@pytest.mark.parametrize("select", ["max", "vote"])
def test_best_of_n_with_them_keeps_all_laws(verifier: PTrue | Critique, select: Select) -> None:
    check(lambda: BestOfN(verifier, n=4, select=select))


async def test_where_no_ids_are_known_the_charge_is_unknown() -> None:
    class Unknown(ScriptedGenerator):
        def tokens(self, context: Context) -> tuple[int, ...]:
            return None  # type: ignore[return-value]

    search = searching(Unknown(texts=OPINIONS, pace=0))
    context = search.context(search.root)
    with pytest.raises(TypeError):  # the script itself needs its tokens; what counts is the book
        await search.likelihood([context], ["#### 15"])
    assert search.ledger.total_charged.prompt is None
    budgeted = searching(Unknown(texts=OPINIONS, pace=0), budget=900)
    with pytest.raises(UsageError, match="needs token counts"):
        await budgeted.likelihood([context, context], ["#### 15", "#### 14"])


async def test_another_model_may_be_asked() -> None:
    policy, other = replying(lambda cue: "No"), replying(lambda cue: "Yes", name="other")
    search = searching(policy)
    assert values(await search.score(given(search, "#### 15"), PTrue(other, "other", n=2))) == [1.0]
    assert policy.requests == []
    assert len(other.requests) == 2


# --- the two laws of critiques ----------------------------------------------------------------------------------------


async def shares(world: Revision, k: int) -> list[tuple[float, float]]:
    """Per problem the score of a right and of a wrong solution by ``k`` critiques."""
    generator, found = world.generator(pace=0), []
    for i, problem in enumerate(world.problems()):
        search = Search(problem, {"policy": generator}, Bare(), NumericReading(), Sampling(temperature=1.0))
        right, wrong = (search.given(f"#### {a}") for a in world.choices(i, 2))
        good, bad = values(await search.score([right, wrong], Critique(k=k)))
        found.append((good, bad))
    return found


def ranked(tpr: float, fpr: float, k: int) -> float:
    """P(the right one of two solutions has the larger share of k approvals), a tie being one half."""
    right, wrong = binomial(k, tpr), binomial(k, fpr)
    ahead = sum(right[i] * sum(wrong[:i]) for i in range(k + 1))
    return ahead + 0.5 * sum(a * b for a, b in zip(right, wrong, strict=True))


@pytest.mark.parametrize(("accuracy", "helps"), [(0.45, False), (0.65, True)])
async def test_a_majority_of_critiques_helps_only_above_one_half(accuracy: float, helps: bool) -> None:
    size = 160
    world = Revision(flag_wrong=accuracy, flag_right=1.0 - accuracy, size=size)
    measured = {}
    for k in (1, 9):
        expected = critics_majority(accuracy, k)
        right = sum((good > 0.5) + (bad < 0.5) for good, bad in await shares(world, k))
        assert abs(right / (2 * size) - expected) <= 4 * (expected * (1 - expected) / (2 * size)) ** 0.5
        measured[k] = expected
    assert (measured[9] > measured[1]) is helps
    assert critics_majority(0.45, 9) == pytest.approx(0.3786, abs=1e-4)


@pytest.mark.parametrize(("tpr", "fpr"), [(0.4, 0.2), (0.9, 0.7)])
async def test_ranking_gets_better_with_k_on_either_side_of_one_half(tpr: float, fpr: float) -> None:
    size = 160
    world = Revision(flag_right=1.0 - tpr, flag_wrong=1.0 - fpr, size=size)
    by_k = [ranked(tpr, fpr, k) for k in (1, 3, 9, 27)]
    assert by_k == sorted(by_k)
    assert by_k[0] == pytest.approx(0.5 + (tpr - fpr) / 2)
    for k in (1, 9):
        expected = ranked(tpr, fpr, k)
        got = [1.0 if good > bad else 0.5 if good == bad else 0.0 for good, bad in await shares(world, k)]
        assert abs(sum(got) / size - expected) <= 4 * (expected * (1 - expected) / size) ** 0.5


async def test_the_chat_of_a_critique_is_a_review() -> None:
    generator = replying(lambda cue: "No problems found." if cue.draw else "7 + 8 is not 14.")
    search = searching(generator)
    assert values(await search.score(given(search, "#### 14"), Critique(k=4))) == [0.75]
    assert generator.requests[0].context.messages[-1] == Message("user", REVIEW)


def test_what_asks_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="n is 0"):
        PTrue(n=0)
    with pytest.raises(UsageError, match="k is -1"):
        Critique(k=-1)
    with pytest.raises(UsageError, match="max_tokens is 0"):
        Critique(max_tokens=0)
