"""``thence arena FILE``: a leaderboard from battles, or from stored runs that verdicts or a judge let meet."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from cyclopts import Parameter

from thence import api
from thence.core.background import run_sync
from thence.core.clean import one_line
from thence.core.errors import ModelError, UsageError, check_counts, check_shares
from thence.core.run import Stopper
from thence.evals.arena import Battles, Board, Options, battles_of, leaderboard, read_battles
from thence.evals.arena.battles import joined
from thence.evals.arena.contests import by_verdict, contestants
from thence.evals.arena.judging import Judging, questions
from thence.evals.arena.judging import judge as ask_judge
from thence.evals.evaluate import shared_header
from thence.stores.header import default_path
from thence.stores.sqlite import RunFile, RunView
from thence.tasks.files import Row, write_rows

from .options import ModelFlags
from .outputs import needs_matplotlib, spared
from .present import err, out, percent, plain, print_json, table
from .running import run_path, with_signals

LISTED = 10  # voters and pairs in a table
NAME = 80  # characters of a model's name


def arena(
    *files: Path,
    ties: Literal["half", "davidson", "rao-kupper"] = "half",
    control: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    interval: Literal["sandwich", "bootstrap"] = "sandwich",
    rounds: int = 1000,
    anchor: str | None = None,
    ridge: float = 0.0,
    balance: Annotated[bool, Parameter(negative="")] = False,
    cluster: str | None = None,
    shuffles: int = 100,
    k: float = 4.0,
    next: int = 0,
    rule: Literal["scores", "votes"] = "scores",
    alpha: float = 0.05,
    without_judge: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    judge: str | None = None,
    limit: int | None = None,
    run: Path | None = None,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    plot: Path | None = None,
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
    models: ModelFlags = ModelFlags(),
) -> int:
    """Rank models by battles: Bradley-Terry scores with intervals and ranks, style control, and Elo beside them.

    Parameters
    ----------
    files
        Battle files (.jsonl, .json, .csv: model_a, model_b, winner), or run files (.db) of one task.
    ties
        half a win each, or a model of ties.
    control
        What is not ability: position, style (length, headers, lists, bold), emoji, or features of the file.
    interval
        How intervals are made.
    rounds
        Resamples of the bootstrap.
    anchor
        MODEL=SCORE: the model whose score is fixed; default: the average is 1000.
    ridge
        Shrink all scores; makes perfectly separated battles rankable.
    balance
        Every pair of models weighs the same, however often it met.
    cluster
        Column whose equal values mark battles that hang together; default: problem, if there is one.
    shuffles
        Orders of the battles that Elo is computed in.
    k
        Elo's K.
    next
        Suggest the pairs of so many next battles.
    rule
        What they should narrow: all scores, or (as in the paper) each pair's own win rate.
    alpha
        Chance of flagging any voter of an honest crowd.
    without_judge
        Leave out a voter's battles; may be repeated.
    judge
        With run files: a model that compares the answers, in both orders; default: the stored verdicts decide.
    limit
        With --judge: only the first so many problems of a fixed shuffle.
    run
        With --judge: run file that keeps its replies.
    output
        With run files: write the battles, to be read again as a battle file.
    plot
        Write the leaderboard as a picture (.png).
    seed
        Seed of shuffles, resamples and the judge.
    json
        Print one JSON object.
    quiet
        No progress.
    """
    control = tuple(name.strip() for names in control for name in names.split(","))
    options = Options(
        ties=ties,
        controls=control,
        ridge=ridge,
        anchor=_anchor(anchor),
        interval=interval,
        rounds=rounds,
        balance=balance,
        shuffles=shuffles,
        k=k,
        next=next,
        rule=rule,
        alpha=alpha,
        seed=seed,
    )
    check_counts("arena", 0, seed=seed)
    check_shares("arena", alpha=alpha)
    spared(output, *files)
    from_runs = [file.suffix == ".db" for file in files]
    if not files or any(from_runs) != all(from_runs):
        raise UsageError("which battles? give battle files (.jsonl, .json, .csv), or run files (.db), not both")
    if any(from_runs):
        asking = _Asking(judge, limit, run, seed, quiet, models)
        battles, judged, code = _of_runs(files, control, cluster, asking, output)
    else:
        for flag, given in (("--judge", judge), ("--output", output), ("--limit", limit), ("--run", run)):
            if given is not None:
                raise UsageError(f"{flag} goes with run files; {files[0]} is a battle file")
        battles, judged, code = joined([read_battles(f, control, cluster=cluster) for f in files]), None, 0
    board = leaderboard(_without(battles, without_judge), options)
    if json:
        print_json(board.document() | ({} if judged is None else {"judging": _judging(judged)}))
    else:
        _show(board, judged)
    if plot is not None:
        _draw(board, plot)
    return code


def _anchor(text: str | None) -> tuple[str, float] | None:
    if text is None:
        return None
    name, equals, value = text.rpartition("=")
    try:
        score = float(value)
    except ValueError:
        score = math.nan
    if not equals or not name or not math.isfinite(score):
        raise UsageError(f"--anchor {one_line(text, 60)!r} is not MODEL=SCORE; write e.g. --anchor gpt-4=1160")
    return name, score


def _without(battles: Battles, judges: Sequence[str]) -> Battles:
    """The battles that none of ``judges`` decided; UsageError for a judge who is not there."""
    if not judges:
        return battles
    there = set(battles.judges or ())
    unknown = next((name for name in judges if name not in there), None)
    if unknown is not None:
        raise UsageError(f"no battle was judged by {one_line(unknown, 60)!r}; there are {len(there)} judges")
    return battles.taken(np.array([name not in judges for name in battles.judges or ()])).compact()


# --- battles out of runs ----------------------------------------------------------------------------------------------


class _Asking:
    """Who judges, and how: the flags of ``--judge``."""

    def __init__(
        self, judge: str | None, limit: int | None, run: Path | None, seed: int, quiet: bool, models: ModelFlags
    ) -> None:
        if models.model != ModelFlags().model:
            raise UsageError(f"--model {models.model} has no part here; name the judge with --judge {models.model}")
        self.judge, self.limit, self.run = judge, limit, run
        self.seed, self.quiet, self.models = seed, quiet, models


def _of_runs(
    files: Sequence[Path], control: Sequence[str], cluster: str | None, asking: _Asking, output: Path | None
) -> tuple[Battles, Judging | None, int]:
    """(battles, what the judge said, exit code)."""
    with contextlib.ExitStack() as stack:
        views = [stack.enter_context(RunView(file)) for file in files]
        judged = None
        if asking.judge is None:
            rows = by_verdict(contestants(views))
        else:
            judged = _judge(views, asking, asking.judge)
            rows = judged.rows
    if judged is not None and not rows:
        raise ModelError(_no_battles(judged))
    if output is not None:
        write_rows(output, rows)
        err.print(plain(f"battles {output}", "dim"))
    source = ", ".join(str(file) for file in files)
    read = battles_of([Row(f"battle {i}", row) for i, row in enumerate(rows, 1)], source, control, cluster=cluster)
    for failure in (judged.failed if judged else [])[:3]:
        err.print(plain(one_line(failure, 300), "yellow"))
    return read, judged, 1 if judged and judged.failed else 0


def _no_battles(judged: Judging) -> str:
    if judged.failed:
        return f"every request to the judge failed, e.g. {judged.failed[0]}"
    return f"none of {judged.unread} replies of the judge has a verdict; take a judge that follows instructions"


def _judge(views: Sequence[RunView], asking: _Asking, name: str) -> Judging:
    task = api.task(str(views[0].header.get("task")))
    asked, ties = questions(contestants(views), task.problems(), asking.limit)
    if not asked and not ties:
        raise UsageError("the runs have no problem in common; run them on the same problems")
    generator = api.load(name, asking.models.options(asking.seed))
    run_sync(api.connect(generator, frozenset()))
    header = shared_header(task, generator) | {"kind": "arena", "runs": [str(view.path) for view in views]}
    header["seed"] = asking.seed

    def told(done: int) -> None:
        if not asking.quiet and err.is_terminal:
            err.print(f"judged {done}/{len(asked)}", end="\r")

    path = run_path(asking.run, default_path(task.name, name, "arena", header))
    with RunFile.open(path, header) as store:
        for warning in store.warnings:
            err.print(plain(warning, "yellow"))

        async def work(stopper: Stopper) -> Judging:
            return await ask_judge(
                asked,
                ties,
                generator,
                task.reading,
                name=name,
                seed=asking.seed,
                pool=store,
                told=told,
                stopper=stopper,
            )

        return with_signals(work)


def _judging(judged: Judging) -> dict[str, object]:
    position = judged.position
    return {
        "pairs": judged.pairs,
        "same_in_both_orders": judged.same,
        "first_both_times": judged.to_first,
        "second_both_times": judged.to_second,
        "first_share": None if position is None else [position[0], list(position[1])],
        "equal_answers": judged.equal,
        "unread": judged.unread,
        "failed": len(judged.failed),
    }


# --- what is printed --------------------------------------------------------------------------------------------------


def _show(board: Board, judged: Judging | None) -> None:
    kinds = f"{board.battles:,} battles of {len(board.entries)} models, {board.ties:,} ties"
    bad = f" ({board.both_bad:,} both bad)" if board.both_bad else ""
    out.print(plain(f"{kinds}{bad}; ties: {_ties(board)}; intervals: {board.interval}", "bold"))
    controlled = bool(board.effects)
    columns = ["rank", "model", "score [95 %]", "uncontrolled", "battles", "win rate", "Elo [90 % of orders]"]
    rows = [
        [
            f"{e.rank}" if e.rank == e.worst else f"{e.rank} to {e.worst}",
            one_line(e.model, NAME),
            f"{e.score:,.0f} [{e.interval[0]:,.0f}, {e.interval[1]:,.0f}]",
            "" if e.plain is None else f"{e.plain:,.0f}",
            f"{e.battles:,}",
            percent(e.win_rate),
            f"{e.elo:,.0f} [{e.elo_range[0]:,.0f}, {e.elo_range[1]:,.0f}]",
        ]
        for e in board.entries
    ]
    if not controlled:
        columns.pop(3)
        rows = [row[:3] + row[4:] for row in rows]
    out.print(table("", columns, rows, right=range(2, len(columns))))
    if controlled:
        _show_effects(board)
    _show_facts(board)
    if judged is not None:
        _show_judging(judged)
    _show_voters(board)
    if board.next_pairs:
        cells = [[one_line(a, 40), one_line(b, 40), str(n)] for a, b, n in board.next_pairs[:LISTED]]
        out.print(table("battles to fight next", ["model", "model", "battles"], cells, right=(2,)))
        if len(board.next_pairs) > LISTED:
            out.print(plain(f"and {len(board.next_pairs) - LISTED} more pairs; --json lists them", "dim"))
    for note in board.notes:
        out.print(plain(one_line(note, 400), "yellow"))


def _ties(board: Board) -> str:
    if board.fit.tie is None:
        return "half a win each"
    name = "nu" if board.fit.ties == "davidson" else "theta"
    return f"{board.fit.ties}, {name} {math.exp(board.fit.tie):.3f}"


def _show_effects(board: Board) -> None:
    rows = [
        [
            one_line(e.name, 40),
            e.unit,
            f"{e.weight:+.3f} [{e.interval[0]:+.3f}, {e.interval[1]:+.3f}]",
            f"{e.points:+.0f}",
        ]
        for e in board.effects
    ]
    out.print(
        table("beta_0: what is not ability", ["term", "one unit is", "log-odds [95 %]", "points"], rows, right=(2, 3))
    )
    if board.outweighed is not None:
        said = f"in {percent(board.outweighed)} of the battles beta_0 outweighs ability and favours the weaker model"
        out.print(plain(said))


def _show_facts(board: Board) -> None:
    if board.first_won is not None:
        share, (low, high) = board.first_won
        out.print(
            plain(f"the answer shown first won {percent(share)} [{100 * low:.1f}, {100 * high:.1f}] of decided battles")
        )
    rated = board.elo
    leaders = ", ".join(f"{one_line(name, NAME)} in {count}" for name, count in list(rated.leaders.items())[:3])
    out.print(
        plain(
            f"Elo depends on the order of the battles: over {rated.shuffles} orders a rating moves by up to "
            f"{rated.spread:.0f} points; in the lead: {leaders}. Scores do not depend on it."
        )
    )


def _show_judging(judged: Judging) -> None:
    same = judged.same / judged.pairs if judged.pairs else None
    out.print(plain(f"judge: {judged.pairs} pairs read in both orders, the same winner in {percent(same)}"))
    if judged.position is not None:
        share, (low, high) = judged.position
        n = judged.to_first + judged.to_second
        said = f"where only the order decided ({n}), the answer shown first won {percent(share)}"
        biased = low > 0.5 or high < 0.5
        out.print(plain(f"{said} [{100 * low:.1f}, {100 * high:.1f}]", "yellow" if biased else ""))
    if judged.equal:
        out.print(plain(f"{judged.equal} pairs of equal answers are ties without being asked"))
    if judged.unread or judged.failed:
        out.print(plain(f"{judged.unread} replies without a verdict, {len(judged.failed)} failed requests", "yellow"))


def _show_voters(board: Board) -> None:
    if board.voters is None:
        return
    flagged = [voter for voter in board.voters if voter.flagged]
    if not flagged:
        out.print(plain(f"no voter out of {len(board.voters)} with enough votes votes unlike the others", "dim"))
        return
    rows = [
        [one_line(v.name, 40), f"{v.votes:,}", f"{v.peak:.3g}", f"{v.limit:.3g}", str(v.at)] for v in flagged[:LISTED]
    ]
    columns = ["voter", "votes", "evidence", "limit", "flagged at vote"]
    out.print(
        table("voters who vote unlike the others (--without-judge leaves one out)", columns, rows, right=range(1, 5))
    )


def _draw(board: Board, path: Path) -> None:
    with needs_matplotlib():
        from thence.evals.arena.picture import draw
    err.print(plain(f"plot {draw(board, path)}", "dim"))
