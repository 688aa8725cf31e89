"""Collections for retrieval from files, folders and functions; bad input; the prompt's text and the commands."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import cast

import pytest

from thence import api, methods
from thence.cli import run
from thence.core.completion import Sampling
from thence.core.errors import DataError, StoreError, UsageError
from thence.core.problem import Problem
from thence.evals.allocate import SharedVote, allocate
from thence.evals.evaluate import Arm, again, prompt_document
from thence.generators.scripted import ScriptedGenerator
from thence.prompts.retrieval import Asked, Retrieve, Shelf
from thence.stores.header import merge
from thence.stores.sqlite import Cell, RunFile, RunView
from thence.strategies.greedy import Greedy
from thence.tasks import passages as files
from thence.tasks.passages import LONGEST, pieces, read_collection

pytest.importorskip("bm25s")

QUESTION = "Ivan has 58 plums. Emil has 26 fewer plums than Ivan. How many plums does Emil have?"
ROWS = [
    {"question": QUESTION, "solution": "Emil: 26 fewer than Ivan <<58-26=32>>\n#### 32"},
    {"question": "Carl has 25 cups. Eva has 18 more cups than Carl.", "solution": "25+18=43", "answer": "43"},
    {"question": "Ann has 7 pens. Tom has 2 pens.", "solution": "7+2", "answer": "9"},
]


def write(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def shelf(where: str | Path, question: str | None = None, solution: str | None = None) -> Shelf:
    return cast(Shelf, read_collection(str(where), methods.from_file, question, solution))


def test_rows_become_solved_problems_and_a_missing_answer_is_added(tmp_path: Path) -> None:
    made = shelf(write(tmp_path / "a.jsonl", ROWS)).passages
    assert [p.source for p in made] == ["a.jsonl line 1", "a.jsonl line 2", "a.jsonl line 3"]
    assert made[0].solution.endswith("#### 32")
    assert made[1].solution == "25+18=43"
    assert made[2].solution == "7+2\n#### 9"


def test_other_columns_are_named_and_rows_of_text_are_passages(tmp_path: Path) -> None:
    own = write(tmp_path / "b.jsonl", [{"q": "Why?", "how": "So."}, {"q": "", "how": "x"}])
    assert [(p.text, p.solution) for p in shelf(own, "q", "how").passages] == [("Why?", "So.")]
    with pytest.raises(UsageError, match=r"which columns.*the columns are q, how"):
        shelf(own)
    with pytest.raises(UsageError, match="no column 'hou'; did you mean solution=how"):
        shelf(own, "q", "hou")
    texts = shelf(write(tmp_path / "c.jsonl", [{"text": "The Danube."}]))
    assert (texts.passages[0].text, texts.solved) == ("The Danube.", False)


def test_text_is_divided_at_empty_lines_and_never_longer_than_the_limit() -> None:
    text = "Title\n\n" + "word " * 700 + "\n\nlast one\nsecond line\n"
    made = list(pieces(text))
    assert all(0 < len(part) <= LONGEST for _, part in made)
    assert "".join("".join(part for _, part in made).split()) == "".join(text.split())
    assert made[0][0] == 1
    assert next(pieces("x" * 3000))[1] == "x" * LONGEST
    assert list(pieces(" \n\n")) == []


def test_a_folder_leaves_out_what_it_cannot_use_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 5_000)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "good.md").write_text("The Danube flows through Vienna.")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (tmp_path / "zeros.txt").write_bytes(b"\0" * 100)
    (tmp_path / "huge.txt").write_text("word " * 2_000)
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "broken.jsonl").write_text('{"question": ')
    (tmp_path / ".hidden").write_text("secret")
    (tmp_path / "notes.txt.gz").write_bytes(gzip.compress(b"Packed text."))
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(b"word " * 100_000))  # small here, large when unpacked
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(b'{"text": "word"}\n' * 10_000))
    made = shelf(tmp_path)
    assert [p.source for p in made.passages] == ["deep/good.md line 1", "notes.txt.gz line 1"]
    assert len(made.skipped) == 7
    assert sum("more than 5,000 bytes when unpacked" in line for line in made.skipped) == 2
    for part in ("picture.png is not UTF-8", "null characters", "more than 5,000", "empty.txt is empty", "is not JSON"):
        assert any(part in line for line in made.skipped)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"\xff\xfe\x00", "not UTF-8"), (b"a\0b", "null characters"), (b"x" * 6000, "more than 5,000")],
)
def test_a_single_file_that_cannot_be_used_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 5_000)
    (tmp_path / "one.txt").write_bytes(content)
    with pytest.raises(DataError, match=said):
        shelf(tmp_path / "one.txt")
    with pytest.raises(DataError, match="none of the 1 files"):
        shelf(tmp_path)


def test_no_file_no_function_and_a_module_that_fails(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*gone\.jsonl"):
        shelf(tmp_path / "gone.jsonl")
    code = tmp_path / "mine.py"
    code.write_text("TABLE = 3\ndef find(question, k):\n    return ['A fact.']\n")
    asked = read_collection(f"{code}:find", methods.from_file)
    assert isinstance(asked, Asked)
    assert asked.find("Why?", 1).hits[0].passage.text == "A fact."
    before = asked.data_hash
    with pytest.raises(UsageError, match="is no function"):
        shelf(f"{code}:TABLE")
    with pytest.raises(UsageError, match="cannot be loaded"):
        shelf(f"{code}:gone")
    code.write_text("def find(question, k):\n    return ['Another fact, of another file.']\n")
    assert read_collection(f"{code}:find", methods.from_file).data_hash != before


def test_the_text_of_the_prompt(tmp_path: Path) -> None:
    where = write(tmp_path / "with blank.jsonl", ROWS)
    style = methods.prompt(methods.retrieving("few-shot-cot(shots=1)", f"{where}(k=2, control=random)"))
    assert isinstance(style, Retrieve)
    assert (style.k, style.control, style.style.name) == (2, "random", "few-shot-cot")
    assert methods.retrieving("cot", where) == f'retrieve(collection="{where}", style=cot)'
    for text, said in (
        ("retrieve", "needs collection"),
        ("retrieve(collection=x, kk=3)", "unknown parameter 'kk'; did you mean k"),
        (f'retrieve(collection="{where}", k=none)', "k is 'none'"),
        (f'retrieve(collection="{where}", style=cott)', "did you mean cot"),
    ):
        with pytest.raises(UsageError, match=said):
            methods.prompt(text)


def test_a_header_holds_the_hash_of_the_collection_and_another_one_is_another_run(tmp_path: Path) -> None:
    where = tmp_path / "a.jsonl"
    write(where, ROWS)
    task = api.task("wordproblems(size=3)")
    text = methods.retrieving("bare", str(where))
    documents = []
    for rows in (ROWS, [*ROWS, {"question": "Omar has 3.", "solution": "3"}]):
        write(where, rows)
        style = methods.prompt(text)
        documents.append(prompt_document(task, Arm("greedy", Greedy(), style, text)))
        assert documents[-1]["collection"] == cast(Retrieve, style).data_hash
    assert documents[0]["collection"] != documents[1]["collection"]
    with pytest.raises(StoreError, match=r"holds another run.*collection"):
        merge({"prompt": documents[0]}, {"prompt": documents[1]}, (), tmp_path / "run.db")
    assert "collection" not in prompt_document(task, Arm("greedy", Greedy(), methods.prompt("cot"), "cot"))


def test_eval_with_retrieval_cites_sources_and_can_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    first, _ = api.task("wordproblems(size=2)").problems()
    where = write(tmp_path / "a.jsonl", [*ROWS, {"question": first.text, "solution": "#### 1"}])
    told = ["--retrieve", f"{where}(k=2)", "-p", "bare", "-s", "greedy", "--run", str(tmp_path / "r.db")]
    assert run(["eval", "wordproblems(size=2)", *told, "-q", "--json"]) == 0
    seen = capsys.readouterr()
    assert "something for 2 of 2 questions; 1 near-duplicates left out" in seen.err
    report = json.loads(seen.out)
    assert report["prompt"].startswith("retrieve(collection=")
    with RunView(tmp_path / "r.db") as view:
        notes = dict(view.results(Cell("", 0)))[first.id]["notes"]
        assert notes[0].startswith("retrieved: a.jsonl line ")
        assert notes[1] == "left out as near-duplicate of the question: 1"
        assert again(view.header)["prompt"] == report["prompt"]  # so --again retrieves, too
        assert view.header["prompt"]["collection"] == cast(Retrieve, methods.prompt(report["prompt"])).data_hash


def test_a_problem_that_finds_nothing_is_asked_plainly(tmp_path: Path) -> None:
    style = methods.prompt(methods.retrieving("bare", write(tmp_path / "a.jsonl", ROWS)))
    problem = Problem("p", "Zora?")
    assert style.context(problem).messages == problem.messages


def test_a_collection_in_which_no_question_finds_anything_is_said_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.md").write_text("Zebras graze.")
    (tmp_path / "q.jsonl").write_text('{"question": "What is 1 + 1?", "answer": "2"}\n')
    (tmp_path / "told.jsonl").write_text('{"question": "What is 1 + 1?", "samples": ["#### 2"]}\n')
    run_file = str(tmp_path / "r.db")
    told = ["-m", f"replay:{tmp_path}/told.jsonl", "-s", "greedy", "--run", run_file, "-q"]
    assert run(["eval", f"jsonl(file={tmp_path}/q.jsonl)", "--retrieve", str(tmp_path / "notes.md"), *told]) == 0
    assert "nothing is found for any question: every prompt is the plain one" in capsys.readouterr().err
    with RunView(run_file) as view:
        (record,) = view.results(Cell("", 0)).values()
    assert record["notes"] == [f"retrieved: nothing found in {tmp_path}/notes.md"]
    api.unload()


async def test_under_a_total_budget_sources_are_cited_too_and_two_calls_are_refused(tmp_path: Path) -> None:
    task = api.task("wordproblems(size=2)")
    model = ScriptedGenerator(write=lambda cue: "#### 7")
    style = methods.prompt(methods.retrieving("bare", write(tmp_path / "a.jsonl", ROWS)))
    header: dict[str, object] = {"kind": "test"}
    with RunFile.open(tmp_path / "t.db", header) as store:
        await allocate(task, model, SharedVote(n=4), style, total=5_000, sampling=Sampling(max_tokens=20), store=store)
        assert all(r["notes"][0].startswith("retrieved: a.jsonl") for r in store.results(Cell("", 0)).values())
        assert len(store.results(Cell("", 0))) == 2
    with pytest.raises(UsageError, match="asks the model twice"):
        await allocate(task, model, SharedVote(n=4), methods.prompt("step-back"), total=900)
