"""Reports of stored runs: the numbers of the runs, everything in the file, nothing live."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sums import Sums, noisy

from thence.core.errors import StoreError, UsageError
from thence.evals.compare import EXTENDABLE, Comparison, Grid, compare, compare_header
from thence.evals.evaluate import Arm
from thence.evals.pages import report_page as pages
from thence.evals.pages.report_page import report_page
from thence.evals.pages.stored import open_runs, sections
from thence.prompts.styles import Bare
from thence.stores.sqlite import RunFile
from thence.strategies.greedy import Greedy
from thence.strategies.self_consistency import SelfConsistency

GREEDY = Arm("greedy", Greedy(), Bare())
VOTE = Arm("self-consistency(n=5)", SelfConsistency(n=5), Bare())


async def run(path: Path, *arms: Arm, n: int = 24, seeds: tuple[int, ...] = (0,), hidden: bool = False) -> Comparison:
    """Arms compared and stored."""
    task, generator, grid = Sums(n, references=not hidden), noisy(), Grid(arms, seeds)
    with RunFile.open(path, compare_header(task, generator, grid), extendable=EXTENDABLE) as store:
        return await compare(task, generator, grid, store=store)


async def test_arms_of_two_files_are_compared_as_if_they_stood_in_one(tmp_path: Path) -> None:
    both = await run(tmp_path / "both.db", GREEDY, VOTE, seeds=(0, 1))
    await run(tmp_path / "a.db", GREEDY, seeds=(0, 1))
    await run(tmp_path / "b.db", VOTE, seeds=(0, 1))
    (section,) = sections(open_runs([tmp_path / "a.db", tmp_path / "b.db"]))
    made = section.compare()
    assert [d.paired for d in made.differences] == [d.paired for d in both.differences]
    assert [d.flips for d in made.differences] == [d.flips for d in both.differences]
    assert [(r.arm, r.n, r.accuracy, r.interval, r.tokens) for r in made.rows] == [
        (r.arm, r.n, r.accuracy, r.interval, r.tokens) for r in both.rows
    ]


async def test_arms_stand_in_the_order_they_were_typed_and_any_can_be_the_baseline(tmp_path: Path) -> None:
    await run(tmp_path / "run.db", VOTE, GREEDY)
    found = sections(open_runs([tmp_path / "run.db"]))
    assert found[0].labels == ["self-consistency(n=5)", "greedy"]
    assert "Paired differences to self-consistency(n=5)" in report_page(found)
    assert "Paired differences to greedy" in report_page(found, baseline="greedy")
    with pytest.raises(UsageError, match="they are self-consistency"):
        report_page(found, baseline="beam")


async def test_runs_over_other_problems_are_no_pair(tmp_path: Path) -> None:
    await run(tmp_path / "a.db", GREEDY)
    await run(tmp_path / "b.db", VOTE, n=12)
    found = sections(open_runs([tmp_path / "a.db", tmp_path / "b.db"]))
    assert [len(s.arms) for s in found] == [1, 1]
    assert not any(s.compare().differences for s in found)


async def test_equal_arms_of_two_files_are_told_apart(tmp_path: Path) -> None:
    for name in ("first", "second"):
        await run(tmp_path / f"{name}.db", GREEDY)
    (section,) = sections(open_runs([tmp_path / "first.db", tmp_path / "second.db"]))
    assert section.labels == ["greedy (first)", "greedy (second)"]
    (difference,) = section.compare().differences
    assert difference.paired is not None
    assert difference.paired.difference == 0


async def test_the_page_stands_alone_and_shows_hostile_text_as_text(tmp_path: Path) -> None:
    await run(tmp_path / "run.db", GREEDY, VOTE)
    found = sections(open_runs([tmp_path / "run.db"]))
    hostile = '<script>alert(1)</script><img src="http://x">\x1b[31m'
    page = report_page(found, questions={f"s{i}": hostile for i in range(24)}, title=hostile)
    assert "<script" not in page
    assert "\x1b" not in page
    assert page.count("&lt;script&gt;alert(1)") > 2
    links = re.findall(r'(?:href|src)="([^"]*)"', re.sub(r"&lt;.*?&gt;", "", page))
    assert links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    anchors = {link[1:] for link in links if link.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]+)"', page))  # every link leads somewhere


async def test_flipped_problems_lead_to_both_trees_as_far_as_there_is_room(tmp_path: Path) -> None:
    await run(tmp_path / "run.db", GREEDY, VOTE)
    (section,) = found = sections(open_runs([tmp_path / "run.db"]))
    (difference,) = section.compare().differences
    assert difference.flips
    page = report_page(found, trees=2)
    assert page.count('class="problem"') == 2
    assert page.count('<a href="#t0-') == 1 + page.count("<a href", page.index("Wrong, though"))
    assert report_page(found, trees=0).count('class="problem"') == 0
    whole = report_page(found, trees=1000)
    for problem, _, _ in difference.flips:
        assert whole.count(f"<b>{problem}: ") >= 2


async def test_runs_without_references_say_so(tmp_path: Path) -> None:
    await run(tmp_path / "run.db", GREEDY, VOTE, hidden=True)
    page = report_page(sections(open_runs([tmp_path / "run.db"])))
    assert "accuracy is unknown" in page
    assert "<h2>Confidence</h2>" not in page


async def test_without_matplotlib_the_page_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await run(tmp_path / "run.db", GREEDY, VOTE)
    monkeypatch.setattr(pages, "_plots_available", lambda: False)
    page = report_page(sections(open_runs([tmp_path / "run.db"])))
    assert "matplotlib is not installed" in page
    assert "<img" not in page
    assert "<h2>Confidence</h2>" in page


async def test_a_file_given_twice_and_a_run_of_another_kind_are_refused(tmp_path: Path) -> None:
    await run(tmp_path / "run.db", GREEDY)
    with pytest.raises(StoreError, match="given twice"):
        open_runs([tmp_path / "run.db", tmp_path / "." / "run.db"])
    with RunFile.open(tmp_path / "why.db", {"kind": "why", "task": "sums()"}):
        pass
    with pytest.raises(StoreError, match="thence why"):
        sections(open_runs([tmp_path / "why.db"]))
    with RunFile.open(tmp_path / "empty.db", compare_header(Sums(3), noisy(), Grid((GREEDY,)))):
        pass
    with pytest.raises(StoreError, match="no finished problem"):
        sections(open_runs([tmp_path / "empty.db"]))
