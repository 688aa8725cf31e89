"""Prompts that ask for steps and answer apart: what is asked, what a run makes of the replies, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from thence import api, methods
from thence.cli import run
from thence.core.completion import Ability, Sampling
from thence.core.errors import UsageError
from thence.core.forms import Form
from thence.core.problem import Message, Problem
from thence.core.result import Result
from thence.core.search import Strategy
from thence.core.solve import check_no_form, solve
from thence.core.tree import Tree
from thence.evals.allocate import SharedVote, allocate
from thence.evals.evaluate import Arm, evaluate, prompt_document
from thence.evals.pages.report_page import report_page
from thence.evals.pages.stored import open_runs, sections
from thence.generators.pool import PoolGenerator
from thence.generators.scripted import ScriptedGenerator
from thence.grading.extract import NumericReading
from thence.grading.mathematics import MathReading
from thence.prompts.recall import StepBack
from thence.prompts.retrieval import Passage, Retrieve, Shelf
from thence.prompts.structured import Steps
from thence.prompts.styles import Bare, ChainOfDraft, ChainOfThought, FewShotCoT, ZeroShotCoT
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.strategies.best_of_n import BestOfN
from thence.strategies.greedy import Greedy
from thence.strategies.self_consistency import SelfConsistency
from thence.verifiers.data_flow import DataFlow

PROBLEM = Problem("p", "Ann has 5 apples. Tom has 3 more apples than Ann. How many apples does Tom have?")
TAGGED = "<step>Tom: 5 + 3 = {0}</step><answer>{0}</answer>"


def in_tags(answer: int) -> str:
    return TAGGED.format(answer)


def in_json(answer: int) -> str:
    return json.dumps({"steps": [f"Tom: 5 + 3 = {answer}"], "answer": str(answer)})


def model(*texts: str, name: str = "scripted") -> ScriptedGenerator:
    return ScriptedGenerator(lambda cue: texts[(cue.draw or 0) % len(texts)], pace=0, name=name)


async def solved(strategy: Strategy, drawn: ScriptedGenerator, style: Steps, budget: int | None = None) -> Result:
    return await solve(
        PROBLEM,
        generator=drawn,
        strategy=strategy,
        style=style,
        reading=NumericReading(),
        sampling=Sampling(temperature=1.0, max_tokens=80),
        budget=budget,
    )


def test_the_format_is_asked_for_last_and_exemplars_have_it() -> None:
    for by, form in (("tags", Form.TAGS), ("json", Form.JSON)):
        style = methods.prompt(f"steps(style=few-shot-cot(shots=1), by={by})")
        assert isinstance(style, Steps)
        *turns, question = style.context(PROBLEM).messages
        assert question.content == f"{PROBLEM.text}\n{form.instruction}"
        plain = FewShotCoT(shots=1).context(PROBLEM).messages[1].content
        assert [m.content for m in turns if m.role == "assistant"] == [form.write(plain)] != [plain]
        assert len(style.variants(PROBLEM, 2)) == 2
    assert len(Steps(Bare()).variants(PROBLEM, 2)) == 1
    chat = Problem("c", (Message("system", "Be brief."), *PROBLEM.messages))
    assert Steps(ChainOfThought(), "tags").context(chat).messages[0].content == "Be brief."


def test_what_is_open_is_decided_by_what_the_model_can_do() -> None:
    style = Steps()
    assert (style.form, style.wishes, style.needs) == (Form.TAGS, frozenset({Ability.JSON_SCHEMA}), frozenset())
    guided = style.decided(frozenset({Ability.JSON_SCHEMA}))
    assert (guided.by, guided.form, guided.needs) == ("json", Form.JSON, frozenset({Ability.JSON_SCHEMA}))
    assert style.decided(frozenset()).by == "tags"
    assert Steps(by="json").decided(frozenset()).by == "json"


@pytest.mark.parametrize(("by", "write"), [("tags", in_tags), ("json", in_json)])
async def test_votes_are_cast_on_parsed_answers_and_the_rest_is_counted(by: str, write: Callable[[int], str]) -> None:
    style = methods.prompt(f"steps(by={by})")
    assert isinstance(style, Steps)
    drawn = model(write(8), "#### 9", write(8), "The answer is 9", "it is 9.", write(7))
    result = await solved(SelfConsistency(n=6), drawn, style)
    assert (result.answer, result.reply) == ("8", "Tom: 5 + 3 = 8\n#### 8")
    assert [(v.answer, v.count) for v in result.votes] == [("8", 2), ("7", 1)]
    assert result.confidence == pytest.approx(2 / 6)
    why = "no tags" if by == "tags" else "no JSON object"
    assert result.notes[-1] == f"3 of 6 replies are not in the format asked for and have no answer: 3 {why}"
    schemas = {r.sampling.schema for r in drawn.requests}
    assert schemas == {Form.JSON.schema if by == "json" else None}


async def test_equal_draws_in_no_format_are_all_counted_and_a_stored_tree_keeps_why() -> None:
    result = await solved(SelfConsistency(n=4), model("#### 9", "#### 9", in_tags(8), "#### 9"), Steps())
    assert result.notes[-1].startswith("3 of 4 replies")
    back = Tree.from_record(result.tree.record())
    bad, good = back.nodes[1:]
    assert (bad.malformed, bad.read, bad.found) == ("no tags", True, None)
    assert good.malformed == ""
    assert good.found is not None
    assert good.text[good.found.start : good.found.end] == "8"


async def test_all_in_no_format_is_no_answer_and_no_crash() -> None:
    for texts in (["#### 9"], [""], ['{"steps": ' + "[" * 5000], ["</step> <b> \x1b[31m"]):
        for style in (Steps(by="tags"), Steps(by="json")):
            result = await solved(SelfConsistency(n=2), model(*texts), style)
            assert (result.answer, result.votes) == (None, ())
            assert result.notes[-1].startswith("2 of 2 replies")


async def test_a_reply_that_was_cut_says_so_and_one_cut_by_the_budget_is_no_reply() -> None:
    long = TAGGED.format("word " * 100)
    result = await solved(SelfConsistency(n=2), model(long), Steps())
    assert result.notes[-1].endswith("2 cut before its end")
    result = await solved(Greedy(), model(long), Steps(), budget=100)
    assert result.stopped == "budget"
    assert not any("format" in note for note in result.notes)


async def test_verifiers_see_the_parsed_steps() -> None:
    right = in_json(8)
    wrong = json.dumps({"steps": ["Tom: 5 + 3 = 9", "So 9 + 5 = 14"], "answer": "14"})
    result = await solved(BestOfN(DataFlow(), n=2), model(wrong, right), Steps(by="json"))
    scores = {n.text: n.scores["data-flow"] for n in result.tree.nodes[1:]}
    assert result.answer == "8"
    two = scores["Tom: 5 + 3 = 9\nSo 9 + 5 = 14\n#### 14"]
    assert len(two.steps) == 2
    assert two.steps[0] < scores["Tom: 5 + 3 = 8\n#### 8"].steps[0] == 1.0


async def test_the_answer_is_read_by_the_tasks_own_reading() -> None:
    drawn = model("<step>half</step><answer>\\boxed{\\frac{1}{2}}</answer>", "<step>#### 3</step><answer>none</answer>")
    for n, wanted in ((1, "\\frac{1}{2}"), (2, "none")):
        result = await solve(
            PROBLEM,
            generator=drawn,
            strategy=SelfConsistency(n=n),
            style=Steps(),
            reading=MathReading(),
        )
        assert wanted in {v.answer for v in result.votes}


async def test_strategies_that_begin_or_continue_replies_and_styles_of_two_calls_are_refused() -> None:
    for strategy in ("beam(n=2, width=2, verifier=data-flow)", "cot-decoding(k=2)", "mcts(verifier=data-flow)"):
        with pytest.raises(UsageError, match="a format is asked of whole solutions"):
            await solved(methods.strategy(strategy), model("x"), Steps())
    for style in (ZeroShotCoT(), StepBack(), ChainOfDraft(limit=8)):
        with pytest.raises(UsageError, match="begins the reply or asks twice"):
            Steps(style)
    with pytest.raises(UsageError, match="asked for twice"):
        Steps(Steps())
    with pytest.raises(UsageError, match="labels: the prompt steps asks for a format"):
        check_no_form(Steps(), "labels")
    with pytest.raises(UsageError, match="by is 'xml'"):
        methods.prompt("steps(by=xml)")


def test_format_and_retrieval_go_together_and_what_is_found_has_the_format() -> None:
    pytest.importorskip("bm25s")
    text = methods.retrieving(methods.formatting("bare", "steps"), "mine.jsonl(k=2)")
    assert text == 'retrieve(collection=mine.jsonl, k=2, style="steps(style=bare)")'
    assert methods.formatting(methods.retrieving("bare", "mine.jsonl(k=2)"), "steps") == text
    shelf = Shelf("mine", [Passage("line 1", "Eva has 4 pens. Omar has 2 more pens than Eva.", "4+2=6\n#### 6")])
    style = Retrieve(shelf, Steps(Bare(), "tags"))
    messages = style.context(PROBLEM).messages
    assert messages[1].content == "<step>4+2=6</step>\n<answer>6</answer>"
    assert messages[-1].content.endswith(Form.TAGS.instruction)
    assert style.form is Form.TAGS
    guided = Retrieve(shelf, Steps(Bare())).decided(frozenset({Ability.JSON_SCHEMA}))
    assert guided.form is Form.JSON
    assert json.loads(guided.context(PROBLEM).messages[1].content) == {"steps": ["4+2=6"], "answer": "6"}
    with pytest.raises(UsageError, match=r"write retrieve\(collection=…, style=steps\)"):
        Steps(style)


# ------------------------------------------------------------------------------------------------------------- runs


def questions(path: Path, n: int) -> str:
    rows = [{"question": f"What is 5 + 3, written {i} times?", "answer": "8"} for i in range(n)]
    (path / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return f"jsonl(file={path}/q.jsonl)"


async def test_the_unparsed_rate_stands_beside_the_accuracy_in_records_and_reports(tmp_path: Path) -> None:
    task = api.task(questions(tmp_path, 4))
    drawn = model(in_tags(8), "#### 8")
    arm = Arm("self-consistency(n=4)", SelfConsistency(n=4), Steps(by="tags"), "steps")
    document = prompt_document(task, arm)
    assert document["format"] == "tags"
    assert document["hash"] != prompt_document(task, Arm("x", Greedy(), Steps(by="json"), "steps"))["hash"]
    with RunFile.open(tmp_path / "r.db", {"kind": "test"}) as store:
        report = await evaluate(task, drawn, arm, store=store)
        assert report.accuracy == 1.0
        assert report.document()["format"] == {"replies": 16, "unparsed": {"no tags": 8}, "rate": 0.5}
        assert report.pass_at[1] == 0.5
        again = await evaluate(task, model("never asked"), arm, store=store)
        assert again.format == report.format
    with RunView(tmp_path / "r.db") as view:
        (record, *_) = view.results(Cell("", 0, None)).values()
        assert record["format"] == {"replies": 4, "unparsed": {"no tags": 2}}
    plain = await evaluate(task, drawn, Arm("greedy", Greedy(), Bare(), "bare"))
    assert plain.document()["format"] is None


async def test_under_a_total_budget_replies_are_read_the_same_way(tmp_path: Path) -> None:
    task = api.task(questions(tmp_path, 2))
    report = await allocate(
        task, model(in_tags(8), "#### 9"), SharedVote(n=4), Steps(), total=4_000, sampling=Sampling(max_tokens=40)
    )
    assert report.accuracy == 1.0
    assert report.format is not None
    assert report.format.rate == 0.5


async def test_a_pool_is_asked_by_tags_and_each_models_replies_are_read() -> None:
    both = PoolGenerator({"a": model(in_tags(8), name="a"), "b": model("#### 9", name="b")})
    style = await api.decided(Steps(), both)
    assert isinstance(style, Steps)
    assert style.by == "tags"
    result = await solve(PROBLEM, generator=both, strategy=SelfConsistency(n=4), style=style, reading=NumericReading())
    assert (result.answer, [(v.answer, v.count) for v in result.votes]) == ("8", [("8", 2)])


def recorded(path: Path, *texts: str) -> str:
    rows = [{"question": f"What is 5 + 3, written {i} times?", "samples": [t]} for i, t in enumerate(texts)]
    (path / "told.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return f"replay:{path}/told.jsonl"


def test_the_commands_show_the_rate_and_repeat_the_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = recorded(tmp_path, in_tags(8), "#### 8", in_tags(7), "<step>5+3</step>")
    task, run_file = questions(tmp_path, 4), str(tmp_path / "r.db")
    told = ["eval", task, "-s", "greedy", "-m", said, "--format", "steps", "--run", run_file, "-q"]
    assert run(told) == 0
    seen = capsys.readouterr()
    assert "format: steps by tags (no guided decoding)" in seen.err
    assert "50.0 % of 4 (1 no tags, 1 no answer)" in " ".join(seen.out.split())
    assert run([*told, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["prompt"], document["accuracy"], document["unparsed"]) == ("steps(style=cot)", 0.25, 2)
    assert document["format"] == {"replies": 4, "unparsed": {"no tags": 1, "no answer": 1}, "rate": 0.5}
    assert run(["eval", "--again", run_file, "-q", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == document["format"]
    arms, compared = ["greedy @ cot", "greedy @ steps(style=cot)"], str(tmp_path / "c.db")
    assert run(["compare", task, *arms, "-m", said, "--run", compared, "-q", "--json"]) == 0
    plain, formatted = json.loads(capsys.readouterr().out)["arms"]
    assert (plain["format"], formatted["format"]["rate"], formatted["reports"][0]["format"]["rate"]) == (None, 0.5, 0.5)
    assert run(["compare", task, *arms, "-m", said, "--run", compared, "-q"]) == 0
    assert re.search(r"greedy @ steps\(style=cot\) +25\.0 % \[.*\] +50\.0 %", capsys.readouterr().out)
    page = report_page(sections(open_runs([Path(compared)])))
    assert "not in the format" in page
    assert "50.0 %" in page
    question = "What is 5 + 3, written 1 times?"
    assert run(["solve", question, "-s", "greedy", "-m", said, "--format", "steps"]) == 0
    assert "1 of 1 replies are not in the format asked for" in " ".join(capsys.readouterr().out.split())
    asked = ["solve", f"{tmp_path}/q.jsonl", "-s", "greedy", "-m", said, "--format", "steps"]
    with pytest.MonkeyPatch.context() as moved:
        moved.chdir(tmp_path)
        assert run([*asked, "-o", str(tmp_path / "out.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == ["8", None, "7", None]
    api.unload()


def test_what_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = recorded(tmp_path, in_tags(8))
    task = questions(tmp_path, 1)
    for more, wanted in (
        (["-p", "steps(by=json)"], "guides no decoding by a JSON schema; ask by tags: steps(by=tags)"),
        (["-p", "step-back", "--format", "steps"], "begins the reply or asks twice"),
        (["-p", "steps", "--format", "steps"], "asked for twice"),
        (["--format", "xml"], "steps"),
    ):
        assert run(["eval", task, "-m", said, *more, "-q"]) == 2
        assert wanted in " ".join(capsys.readouterr().err.split())
    api.unload()


def test_acorn_whose_vocabulary_is_closed_refuses_the_format(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    question = "Ann has 5 apples. Tom has 3 more apples than Ann. How many apples does Tom have?"
    assert run(["solve", question, "-s", "greedy", "--format", "steps"]) == 2
    assert "closed vocabulary" in capsys.readouterr().err
