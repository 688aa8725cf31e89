"""``thence tour`` and ``--lang``: every step on few questions, its commands, its wording, both languages."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import sqlite3
import string
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from thence.cli import _app, run
from thence.cli.texts import LANGUAGES, read_texts
from thence.cli.tour.bench import sided
from thence.cli.tour.steps import STEPS
from thence.cli.tour.steps.confidence import measure as measure_confidence
from thence.cli.tour.steps.greedy import measure as measure_greedy
from thence.cli.tour.steps.trap import measure as measure_trap
from thence.cli.tour.steps.voting import measure as measure_voting
from thence.cli.wrapping import CLOSING, wrapped
from thence.core.tree import Tree
from thence.evals.compare import Comparison, Named, conclude
from thence.evals.report import Report, summarise
from thence.stores.sqlite import RunView

PNG = b"\x89PNG\r\n"
FEW = ("--problems", "6", "--samples", "4", "-q")


# ------------------------------------------------------------------------------------------------ texts and help


def flat(texts: Any, at: str = "") -> dict[str, str]:
    if isinstance(texts, str):
        return {at: texts}
    return {key: text for name, each in texts.items() for key, text in flat(each, f"{at}.{name}").items()}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_keys_and_placeholders() -> None:
    english, *others = [flat(read_texts("tour", language)) for language in LANGUAGES]
    assert others
    for other in others:
        assert other.keys() == english.keys()
        assert {k: placeholders(v) for k, v in other.items()} == {k: placeholders(v) for k, v in english.items()}
        same = [k for k, v in other.items() if v == english[k] and re.search("[a-z]{4} [a-z]{3}", v)]
        assert not same, "a sentence that was never translated"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_that_a_step_may_say_has_words(language: Any) -> None:
    steps = read_texts("tour", language)["steps"]
    assert list(steps) == [step.name for step in STEPS]
    for step in STEPS:
        assert set(steps[step.name]["says"]) == set(step.outcomes), step.name


def test_the_page_of_the_tour_has_every_step_with_its_question() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tour.md").read_text(encoding="utf-8")
    said = " ".join(page.split())
    for number, step in enumerate(STEPS, 1):
        own = read_texts("tour", "en")["steps"][step.name]
        assert f"### {number}. {own['title']} " in said
        assert f"*{own['question']}*" in said


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(arguments) == 0
    return capsys.readouterr().out


def flags_of(text: str) -> list[str]:
    return re.findall(r"^│ \*? *(--[a-z-]+|[A-Z]{4,})", text, flags=re.M)


def test_the_chinese_help_of_solve_lists_and_translates_every_flag(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    english, chinese = help_of(capsys, "solve", "--help"), help_of(capsys, "solve", "--help", "--lang", "zh")
    assert len(flags_of(english)) > 20
    assert flags_of(chinese) == flags_of(english)
    assert set(read_texts("solve", "zh")["flags"]) == set(flags_of(english)), (
        "a flag without a translation, or too many"
    )
    for line in chinese.splitlines():
        if line.startswith("│ --") and "choices" not in line:
            assert re.search(r"[\u4e00-\u9fff]", line), line
    for kept in ("self-consistency(n=16)", "float32, bfloat16, float16", "--strategy -s STR"):
        assert kept in english
        assert kept in chinese
    assert help_of(capsys, "--lang", "zh", "solve", "--help") == chinese
    assert help_of(capsys, "--lang=en", "solve", "--help") == english
    monkeypatch.setenv("THENCE_LANG", "zh")
    assert help_of(capsys, "solve", "--help") == chinese


def test_a_language_is_refused_where_nothing_is_translated(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--lang", "zh", "eval", "wordproblems"]) == 2
    assert "only tour and solve" in capsys.readouterr().err
    assert run(["--lang", "fr", "solve", "--help"]) == 2
    assert "there are en, zh" in capsys.readouterr().err
    assert run(["solve", "--help", "--lang"]) == 2
    assert run(["--lang", "en", "tour", "list"]) == 0


def test_lines_keep_their_width_and_closing_signs() -> None:
    for language in LANGUAGES:
        for text in flat(read_texts("tour", language)).values():
            lines = wrapped(text, 40)
            assert all(cell_len(line) <= 40 for line in lines if " " in line)
            assert "".join("".join(lines).split()) == "".join(text.split())
            assert not any(line[0] in CLOSING for line in lines[1:] if line)
    assert wrapped("one two\nthree", 5) == ["one", "two", "three"]
    assert wrapped("投票，很好。", 6) == ["投票，", "很好。"]
    assert wrapped("投票，很好。", 4) == ["投", "票，", "很", "好。"]


# ------------------------------------------------------------------------------------------------ a whole tour


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("tour") / "out folder"
    return folder, toured_again(folder)


def toured_again(folder: Path, *more: str) -> dict[str, Any]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run(["tour", *more, *FEW, "--out", str(folder), "--json"]) == 0
    found: dict[str, Any] = json.loads(said.getvalue())
    return found


def test_every_step_has_a_table_a_picture_and_true_sentences(toured: tuple[Path, dict[str, Any]]) -> None:
    _, found = toured
    assert [step["step"] for step in found["steps"]] == [step.name for step in STEPS]
    for shown, step in zip(found["steps"], STEPS, strict=True):
        assert shown["outcomes"]
        assert set(shown["outcomes"]) <= set(step.outcomes)
        assert all(sentence and "{" not in sentence for sentence in shown["says"])
        assert {len(row) for row in shown["table"]["rows"]} == {len(shown["table"]["columns"])}
        assert Path(shown["picture"]).read_bytes().startswith(PNG)
        assert shown["holds"] in (True, False, None)
        assert shown["question"].endswith("?")
        for language in LANGUAGES:
            says = read_texts("tour", language)["steps"][step.name]["says"]
            for key in step.outcomes:
                assert placeholders(says[key]) <= set(shown["values"]), f"{step.name}: {key}"
            words = read_texts("tour", language)["columns"]
            assert set(shown["table"]["columns"]) <= set(words)


def test_a_repeat_draws_nothing_and_says_the_same(toured: tuple[Path, dict[str, Any]]) -> None:
    folder, found = toured
    with RunView(folder / "tour.db") as view:
        before = view.sample_count()
    assert toured_again(folder, "confidence")["steps"] == [found["steps"][5]]
    with RunView(folder / "tour.db") as view:
        assert view.sample_count() == before > 0


def test_every_command_shown_runs_on_the_same_samples(
    toured: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, found = toured
    with RunView(folder / "tour.db") as view:
        before = view.sample_count()
    lines = dict.fromkeys(line for step in found["steps"] for line in step["commands"])
    app = _app(Console(quiet=True))
    for line in lines:
        first, *words = shlex.split(line)
        assert first == "thence"
        app.parse_args(words, exit_on_error=False, print_error=False)
        if words != ["laws"]:  # the worlds' own command takes half a minute; its tests run it
            assert run(words) == 0, line
    capsys.readouterr()
    with RunView(folder / "tour.db") as view:
        assert view.sample_count() == before
    page = (Path(__file__).parents[2] / "docs" / "tour.md").read_text(encoding="utf-8")
    arms = {line.partition("--limit")[0] for line in lines if "compare" in line and "--baseline" not in line}
    shown = " ".join(page.replace("\\\n", " ").split())
    for each in arms:  # the page's sizes: 16 samples, a quarter of them 4
        larger = each.replace("n=4", "n=16").replace("n=2", "n=4").strip()
        assert larger in shown or larger.count("@") == 1, each
    chains = found["steps"][3]
    (command,) = chains["commands"]
    assert run([*shlex.split(command)[1:], "--json"]) == 0
    arms = json.loads(capsys.readouterr().out)["arms"]
    shown = [row[1].split(" %")[0] for row in chains["table"]["rows"]]
    assert [f"{100 * arm['accuracy']:.1f}" for arm in arms] == shown


def test_the_tour_in_chinese_has_the_same_numbers(
    toured: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, found = toured
    capsys.readouterr()
    assert run(["--lang", "zh", "tour", "voting", *FEW, "--out", str(folder)]) == 0
    text = capsys.readouterr().out
    voting = found["steps"][2]
    for row in voting["table"]["rows"]:
        assert row[1] in text
    assert voting["commands"][0] in text
    for word in ("投票", "想一想", "论断"):
        assert word in text
    assert "think about it" not in text


def test_curves_draw_one_arm_only(toured: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = toured
    assert run(["curves", str(folder / "tour.db"), "--plot", str(folder / "x.png")]) == 2
    assert "say with --arm" in capsys.readouterr().err
    assert not (folder / "x.png").exists()


def test_samples_of_other_weights_are_refused(
    toured: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = toured
    shutil.copy(folder / "tour.db", tmp_path / "tour.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "tour.db")) as db:
        (text,) = db.execute("SELECT value FROM header WHERE name = 'document'").fetchone()
        header = json.loads(text)
        header["model"]["identity"] += "-other"
        db.execute("UPDATE header SET value = ? WHERE name = 'document'", (json.dumps(header),))
        db.commit()
    assert run(["tour", "3", *FEW, "--out", str(tmp_path)]) == 1
    assert "another model" in capsys.readouterr().err


def test_list_and_wrong_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tour", "list", "--lang", "zh"]) == 0
    listed = capsys.readouterr().out
    for step in STEPS:
        assert step.name in listed
        assert read_texts("tour", "zh")["steps"][step.name]["title"] in listed
    for wrong in ("0", "9", "greed"):
        assert run(["tour", wrong, "--out", str(tmp_path)]) == 2
        assert "1 greedy, 2 coverage" in capsys.readouterr().err
    (tmp_path / "file").write_text("x")
    assert run(["tour", "1", "--out", str(tmp_path / "file")]) == 2
    assert run(["tour", "1", "--problems", "3", "--out", str(tmp_path)]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["file"], "nothing is written by a command that is refused"


# ------------------------------------------------------------------------------------------------ what a run may say

Scripted = dict[str, list[tuple[str, list[tuple[str, int]]]]]  # arm -> per problem (answer, [(answer, draws)])


class ScriptedBench:
    """The bench of a run whose outcomes are given; the right answer of every problem is 1."""

    one, vote = "self-consistency(n=1) @ cot", "self-consistency(n=4) @ cot"
    samples, problems, seed, progress = 4, 4, 0, None

    def __init__(self, folder: Path, arms: Scripted) -> None:
        self.folder, self.run, self._arms = folder, folder / "tour.db", arms

    def compare(self, arms: Any, baseline: str | None = None) -> Comparison:
        named = [Named(a, *a.split(" @ ")) for a in arms]
        reports: dict[tuple[int | None, int], list[Report]] = {}
        for i, arm in enumerate(arms):
            report = Report("t", "m", named[i].strategy, "cot", 0, None)
            reports[None, i] = [summarise(report, [self._record(p, *r) for p, r in enumerate(self._arms[arm])], {})]
        base = 0 if baseline is None else list(arms).index(baseline)
        return conclude(named, reports, base, seeds=(0,), budgets=(None,))

    def _record(self, problem: int, answer: str, draws: list[tuple[str, int]]) -> dict[str, Any]:
        return {
            "problem": f"p{problem}",
            "hash": f"{problem:02x}",
            "answer": answer,
            "key": answer,
            "verdict": "correct" if answer == "1" else "incorrect",
            "reason": "",
            "draws": [[key, n, n if key == "1" else 0] for key, n in draws],
            "charged": {"prompt": 10, "generated": 10, "verifier": 0},
            "spent": {"prefilled": 0, "reused": 0, "generated": 0, "wasted": 0},
            "finishes": {},
            "truncated": False,
            "confidence": None,
            "seconds": 0.0,
            "session": 1,
            "elapsed": 0.0,
        }

    def tree(self, arm: str, problem: str) -> Tree:
        return Tree()

    def questions(self) -> dict[str, str]:
        return {f"p{i}": f"question {i}" for i in range(99)}

    def comparing(self, arms: Any, picture: str | None = None, baseline: str | None = None) -> str:
        return "thence compare"

    def reading(self, verb: str, picture: str | None = None) -> str:
        return f"thence {verb}"

    def showing(self, arm: str, problem: str) -> str:
        return f"thence show --problem {problem}"


VOTED = ("1", [("1", 3), ("2", 1)])
MISLED = ("2", [("2", 4)])
SPLIT = ("2", [("2", 2), ("1", 2)])


@pytest.mark.parametrize(
    ("greedy", "votes", "said", "shown"),
    [
        ("1211", [VOTED, VOTED, VOTED, VOTED], "voted", "p1"),
        ("1212", [VOTED, MISLED, VOTED, VOTED], "voted", "p3"),
        ("2212", [VOTED, VOTED, VOTED, ("1", [("1", 4)])], "voted", "p3"),
        ("1121", [VOTED, VOTED, MISLED, VOTED], "both_wrong", "p2"),
        ("1111", [VOTED, VOTED, VOTED, VOTED], "never_wrong", "p0"),
    ],
)
def test_the_greedy_step_says_what_the_run_holds(
    tmp_path: Path, greedy: str, votes: list[Any], said: str, shown: str
) -> None:
    bench: Any = ScriptedBench(tmp_path, {"greedy @ cot": [(g, [(g, 1)]) for g in greedy], ScriptedBench.vote: votes})
    found = measure_greedy(bench)
    assert found.says == (said,)
    assert found.holds is (said == "voted")
    assert found.commands[1].endswith(shown)
    assert sum(int(row[1]) for row in found.rows) == 4
    assert [row[4] for row in found.rows].count("✓") == 1


def test_the_vote_may_be_better_worse_or_unclear(tmp_path: Path) -> None:
    right, wrong = [("1", [("1", 1)])] * 40, [("2", [("2", 1)])] * 40
    arms = {"self-consistency(n=2) @ cot": right}
    for one, greedy, vote, says, holds in (
        (wrong, right, right, ("better", "greedy_unclear"), True),
        (right, wrong, wrong, ("worse", "greedy_unclear"), False),
        (right, wrong, right, ("unclear", "greedy_better"), None),
        (wrong, right, wrong, ("unclear", "greedy_worse"), None),
    ):
        given = {ScriptedBench.one: one, "greedy @ cot": greedy, ScriptedBench.vote: vote}
        bench: Any = ScriptedBench(tmp_path, arms | given)
        found = measure_voting(bench)
        assert (found.says, found.holds) == (says, holds)
    assert [sided(i) for i in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1))] == [True, False, None]


def test_agreement_may_rank_mislead_or_say_nothing(tmp_path: Path) -> None:
    sure_wrong, unsure_right = MISLED, ("1", [("1", 2), ("2", 1), ("3", 1)])
    for votes, says, holds in (
        ([("1", [("1", 4)])] * 80 + [SPLIT] * 20, ("ranks", "near_certain"), True),
        ([sure_wrong] * 20 + [unsure_right] * 20, ("misleads", "not_certain"), False),
        ([("1", [("1", 4)])] * 20, ("one_kind", "not_certain"), None),
        ([SPLIT] * 10 + [("1", SPLIT[1])] * 10, ("unclear", "none_sure"), None),
    ):
        bench: Any = ScriptedBench(tmp_path, {ScriptedBench.vote: votes})
        found = measure_confidence(bench)
        assert (found.says, found.holds) == (says, holds)


def test_the_trap_is_the_question_with_the_surest_wrong_vote(tmp_path: Path) -> None:
    almost = ("2", [("2", 5), ("1", 1)])
    bench: Any = ScriptedBench(tmp_path, {ScriptedBench.vote: [VOTED, almost, MISLED, SPLIT]})
    found = measure_trap(bench)
    assert found.holds is True
    assert found.says == ("found", "often_wrong", "world")
    assert "question 2" in found.exhibit
    assert found.values["wrong"] == "2"
    trap = next(row for row in found.rows if row[0] == "trap")
    assert float(trap[3].split()[0]) < float(trap[2].split()[0]), "a vote in the trap is worse than one sample"
