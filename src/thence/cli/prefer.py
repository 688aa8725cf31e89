"""``thence prefer``: what a judge prefers where truth is known, then which of two sets of answers it prefers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from thence import api, methods
from thence.core.errors import UsageError
from thence.core.preferences import CRITERIA
from thence.evals.critics import Rate
from thence.evals.open_ended.audit import Audit, Equals, Truth, audit, truths
from thence.evals.open_ended.judges import ModelJudge, PairJudge, PanelJudge, PlantedJudge
from thence.evals.open_ended.sides import answered, check_same_questions, of_equal_truth, side
from thence.evals.open_ended.win_rate import WinRate, win_rate
from thence.evals.regrading.saved import Columns
from thence.grading.extract import default_reading

from .options import ModelFlags
from .present import number, out, percent, plain, print_json, table
from .running import with_signals

PLANTED = "planted"


def prefer(
    first: Path | None = None,
    second: Path | None = None,
    /,
    *,
    judge: Annotated[tuple[str, ...], Parameter(alias="-j", negative="")] = (),
    criteria: str = CRITERIA,
    pairs: int = 60,
    level: int = 3,
    own: Path | None = None,
    others: Path | None = None,
    task: str | None = None,
    question: str | None = None,
    text: str | None = None,
    id: str | None = None,
    max_tokens: int = 512,
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
    models: ModelFlags = ModelFlags(),
) -> int:
    """Audit a judge where truth is known; then, with two files of answers, the win rate of the first over the second.

    Parameters
    ----------
    first
        A run file, or a table with the columns question, id and text. Without it only the judge is audited.
    second
        The same from the other side.
    judge
        Who compares: openai:NAME@URL, hf:PATH, replay:FILE; several make a panel. planted(length=1) is a scripted one
        with known faults (position, length, style, own, sharpness, mute), to see what an audit shows.
    criteria
        What the judge is told to look at.
    pairs
        Questions of the audit: built-in word problems, a right and a wrong answer each.
    level
        Their level.
    own
        For the self-preference probe: a run of the judge's own model on a task with references.
    others
        For the self-preference probe: a run of another model on the same task.
    task
        The runs' task, where its file has moved.
    question
        Column of the question in a table.
    text
        Column of the answer's text in a table.
    id
        Column of the question's id in a table.
    max_tokens
        Most tokens of one verdict.
    seed
        Seed of the audit's questions.
    json
        Print one JSON object.
    """
    if not judge:
        raise UsageError("who judges? e.g. thence prefer --judge openai:NAME@URL, or --judge 'planted(length=1)'")
    if (first is None) != (second is None):
        raise UsageError("a win rate needs two files of answers: thence prefer FIRST SECOND --judge …")
    if (own is None) != (others is None):
        raise UsageError("the self-preference probe needs both --own and --others")
    known = truths(pairs, level=level, seed=seed)
    columns = Columns(text=text, id=id, question=question or "question")
    both = [side(path, api.task, task, columns) for path in (first, second) if path is not None]
    alike: list[Equals] = []
    if own is not None and others is not None:
        alike = of_equal_truth(side(own, api.task, task, columns), side(others, api.task, task, columns))
        if not alike:
            raise UsageError(f"{own} and {others} have no different answers of equal truth to the same question")
    if both:
        check_same_questions(*both)
    made = [_judge(spec, known, alike, criteria, max_tokens, models, seed) for spec in judge]
    chosen: PairJudge = made[0] if len(made) == 1 else PanelJudge(tuple(made))

    async def judged() -> tuple[list[Audit], WinRate | None]:
        audits = [await audit(each, known, alike) for each in (made if len(made) == 1 else [*made, chosen])]
        if not both:
            return audits, None
        (one, questions), (other, _) = (answered(str(p), s) for p, s in zip((first, second), both, strict=True))
        return audits, await win_rate(chosen, one, other, questions, audits[-1])

    audits, won = with_signals(lambda _: judged())
    charged = sum(j.charged.total or 0 for j in made if isinstance(j, ModelJudge))
    if json:
        document = {"audits": [a.document() for a in audits], "win_rate": None if won is None else won.document()}
        print_json(document | {"judge_tokens": charged})
        return 0
    for each in audits:
        show_audit(each)
    if won is not None:
        show_win_rate(won)
    if charged:
        out.print(plain(f"judges read and wrote {number(charged)} tokens", "dim"))
    return 0


def _judge(
    spec: str,
    known: Sequence[Truth],
    alike: Sequence[Equals],
    criteria: str,
    max_tokens: int,
    models: ModelFlags,
    seed: int,
) -> PairJudge:
    """A judge by its text."""
    if spec.partition("(")[0].strip() != PLANTED:
        return ModelJudge(api.load(spec, models.options(seed)), spec, criteria, max_tokens)
    reading = default_reading()

    def answer(text: str) -> str | None:
        found = reading.extract(text)
        return None if found is None else reading.key(found.value)

    right = {t.question: answer(t.right) for t in known}
    mine = {pair.marked for pair in alike}
    parsed = methods.one(spec, "judge")
    allowed = {f.name for f in fields(PlantedJudge)} - {"quality", "mine", "name"}
    unknown = [key for key, _ in parsed.arguments if key not in allowed]
    if unknown:
        raise UsageError(f"planted has no fault {unknown[0]!r}; it has {', '.join(sorted(allowed))}")
    given = {
        key: methods.convert(value, int if key == "seed" else float, f"planted: {key}")
        for key, value in parsed.arguments
    }
    return PlantedJudge(
        lambda question, text: float(answer(text) == right.get(question)),
        mine=lambda text: text in mine,
        name=str(parsed),
        **given,
    )


def show_audit(found: Audit) -> None:
    """What the judge is good for, and what it prefers among equals."""
    out.print(plain(f"audit of {found.judge}: {found.pairs} questions, every pair in both orders", "bold"))
    rows = [
        ["right answer preferred to a wrong one", _rate(found.right)],
        *([f"the same, the wrong one {name}", _rate(rate)] for name, rate in found.against.items()),
        ["both orders agree", _rate(found.consistent)],
        ["replies without a verdict", _rate(found.unread)],
    ]
    out.print(table("", ["", "% [95 %]"], rows, right=(1,)))
    cells = []
    for bias in found.biases:
        p = bias.paired
        low, high = p.interval
        share = f"{100 * p.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]" if p.n else "-"
        holm = "-" if p.holm is None else f"{p.holm:.3g}"
        cells.append([bias.name, str(p.n), share, holm, "BIASED" if bias.found else "none found"])
    title = "among equals: share of the marked answer minus one half"
    out.print(table(title, ["bias", "pairs", "points [95 %]", "p (Holm)", ""], cells, right=(1, 2, 3)))


def show_win_rate(found: WinRate) -> None:
    """The win rate, and what speaks against reading much into it."""
    out.print(plain(f"{found.first} against {found.second}, as {found.judge} sees it", "bold"))
    shown = "-"
    if found.rate is not None and found.interval is not None:
        low, high = found.interval
        shown = f"{100 * found.rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}], p {found.p:.3g}"
    out.print(plain(f"win rate    {shown} (a preference of this judge, no accuracy)"))
    counts = f"{found.won} won, {found.lost} lost, {found.tied} tied ({found.split} by opposite verdicts)"
    out.print(plain(f"questions   {found.n}: {counts}, {found.unread} without a verdict"))
    out.print(plain(f"length      the first answer is the longer one on {percent(found.longer)} of questions"))
    if found.caution:
        out.print(plain(f"caution     {found.caution}", "yellow"))


def _rate(rate: Rate) -> str:
    if rate.value is None or rate.interval is None:
        return "-"
    return f"{100 * rate.value:.1f} [{100 * rate.interval[0]:.1f}, {100 * rate.interval[1]:.1f}]"
