"""The report of one evaluation, made of its records alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any

from thence.core.answers import Verdict
from thence.core.budget import Charged, Spent, add

from .records import Draws, Record, all_draws

UNKNOWN = "accuracy is unknown: these questions have no reference answers"


@dataclass(slots=True)
class ModelShare:
    """What one of a pool's models did: samples and how many of them are right (None without references), both books
    (charged prompt and generated tokens, spent generated ones; None where unknown), and draws that are missing because
    it is gone."""

    name: str
    draws: int = 0
    right: int | None = 0
    charged: Charged = field(default_factory=Charged)
    spent: Spent = field(default_factory=Spent)
    lost: int = 0


@dataclass(frozen=True, slots=True)
class FormatShare:
    """Replies that were asked for in a format, and why how many of them are not in it: those have no answer."""

    replies: int
    unparsed: Mapping[str, int]

    @property
    def rate(self) -> float:
        """The share that is not in the format."""
        return sum(self.unparsed.values()) / self.replies

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"replies": self.replies, "unparsed": dict(self.unparsed), "rate": self.rate}


@dataclass(slots=True)
class Report:
    """The result of one evaluation; ``document()`` is what ``thence eval --json`` prints.

    ``n`` counts the problems that enter the accuracy. ``accuracy`` and ``interval`` (Wilson, 95 %) are None without
    references. ``pass_at`` and ``maj_at`` are means over problems for k = 1, 2, 4, … up to the smallest number of
    whole-solution samples that any problem has (``metrics.usual_ks``). ``seconds`` is wall time over all sessions,
    ``charged`` and ``spent`` are sums over problems, None where a count is unknown. ``agreement`` is the mean share of
    the most frequent answer. ``models`` are those of a pool. ``format`` counts replies, where a format was asked for;
    ``unparsed`` counts problems.
    """

    task: str
    model: str
    strategy: str
    prompt: str
    seed: int
    budget: int | None
    n: int = 0
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    pass_at: dict[int, float] = field(default_factory=dict)
    maj_at: dict[int, float] = field(default_factory=dict)
    maj_at_by: str = "enumeration"
    charged: Charged = field(default_factory=Charged)
    spent: Spent = field(default_factory=Spent)
    tokens_per_problem: float | None = None
    seconds: float = 0.0
    seconds_per_problem: float | None = None
    unparsed: int = 0
    truncated: int = 0
    timeouts: int = 0
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    ungradable: list[tuple[str, str]] = field(default_factory=list)
    finishes: dict[str, int] = field(default_factory=dict)
    agreement: float | None = None
    median_confidence: float | None = None
    exact: bool | None = None
    segmenter: str | None = None
    incomplete: bool = False
    statement: str = ""
    run: str | None = None
    models: list[ModelShare] = field(default_factory=list)
    format: FormatShare | None = None
    records: list[Record] = field(default_factory=list, repr=False)

    def document(self) -> dict[str, Any]:
        """The report as plain JSON data, without the records; k of pass@k and maj@k become text."""
        doc: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "records":
                continue
            if isinstance(value, Charged | Spent):
                value = asdict(value)
            elif f.name in ("pass_at", "maj_at"):
                value = {str(k): v for k, v in value.items()}
            elif isinstance(value, FormatShare):
                value = value.document()
            elif f.name == "models":
                value = [asdict(each) for each in value]
            elif f.name == "interval" and value is not None:
                value = list(value)
            elif f.name in ("failures", "ungradable"):
                value = [{"problem": p, "reason": why} for p, why in value]
            doc[f.name] = value
        return doc


def summarise(report: Report, records: Sequence[Record], failures: Mapping[str, str]) -> Report:
    """Fill ``report`` from the records of finished problems and the messages of failed ones."""
    report.records = list(records)
    counted = [r for r in records if r["verdict"] not in (None, Verdict.UNGRADABLE)]
    silent = [r for r in counted if r["verdict"] == Verdict.NO_ANSWER]
    finishes: Counter[str] = Counter()
    for r in records:
        report.charged += Charged(**r["charged"])
        report.spent += Spent(**r["spent"])
        finishes.update(r["finishes"])
    report.finishes = dict(finishes)
    report.n = len(counted)
    report.truncated = sum(bool(r["truncated"]) for r in silent)
    report.unparsed = len(silent) - report.truncated
    report.timeouts = sum(r["verdict"] == Verdict.TIMEOUT for r in counted)
    report.ungradable = [(r["problem"], r["reason"]) for r in records if r["verdict"] == Verdict.UNGRADABLE]
    report.failures, report.failed = list(failures.items()), len(failures)
    report.incomplete = bool(failures)
    report.seconds = round(_wall_seconds(records), 3)
    if records:
        report.seconds_per_problem = report.seconds / len(records)
        total = report.charged.total
        report.tokens_per_problem = None if total is None else total / len(records)
    confidences = [r["confidence"] for r in records if r["confidence"] is not None]
    report.median_confidence = median(confidences) if confidences else None
    report.agreement = agreement(records)
    report.models = model_shares(records)
    report.format = format_share(r["format"] for r in records if "format" in r)
    if counted:
        _accuracy(report, counted)
    elif records and not report.ungradable:
        report.n, report.statement = len(records), UNKNOWN
        report.unparsed = sum(r["answer"] is None and not r["truncated"] for r in records)
        report.truncated = sum(r["answer"] is None and bool(r["truncated"]) for r in records)
    return report


def format_share(told: Iterable[Mapping[str, Any]]) -> FormatShare | None:
    """Replies and what is wrong with them over all problems; None where no format was asked for."""
    replies, unparsed = 0, Counter[str]()
    for each in told:
        replies += each["replies"]
        unparsed.update(each["unparsed"])
    return FormatShare(replies, dict(unparsed.most_common())) if replies else None


def model_shares(records: Sequence[Record]) -> list[ModelShare]:
    """What each of a pool's models did over all problems; empty for a single model."""
    made: dict[str, ModelShare] = {}
    for r in records:
        for name, told in r.get("models", {}).items():
            share = made.setdefault(name, ModelShare(name))
            share.draws += sum(count for _, count, _ in told["draws"])
            right = None if r["verdict"] is None else sum(right for _, _, right in told["draws"])
            share.right = add(share.right, right)
            share.charged += Charged(**told["charged"])
            share.spent += Spent(**told["spent"])
            share.lost += told["lost"]
    return [made[name] for name in sorted(made)]


def _accuracy(report: Report, counted: Sequence[Record]) -> None:
    from .statistics import metrics  # numpy and scipy

    right = sum(r["verdict"] == Verdict.CORRECT for r in counted)
    report.accuracy = right / len(counted)
    report.interval = metrics.wilson(right, len(counted))
    all_draws = [[Draws(*d) for d in r["draws"]] for r in counted]
    sizes = [sum(d.count for d in draws) for draws in all_draws]
    ks = metrics.usual_ks(min(sizes))
    if not ks:
        return
    passes = [
        [metrics.pass_at_k(n, sum(d.right for d in ds), k) for k in ks] for n, ds in zip(sizes, all_draws, strict=True)
    ]
    report.pass_at = dict(zip(ks, column_means(passes), strict=True))
    if max(sizes) > metrics.EXACT_UP_TO:
        report.maj_at_by = f"resampling ({metrics.RESAMPLES} draws per problem, seed 0)"
    report.maj_at = dict(zip(ks, column_means([vote_of(ds, ks, max(sizes)) for ds in all_draws]), strict=True))


def vote_of(draws: Sequence[Draws], ks: Sequence[int], largest: int) -> list[float]:
    """maj@k of one problem; an answer class is right when most of its samples are (a grader may read the text)."""
    from .statistics import metrics

    voting = [d for d in draws if d.key is not None]
    counts, right = [d.count for d in voting], [2 * d.right > d.count for d in voting]
    silent = sum(d.count for d in draws if d.key is None)
    if largest <= metrics.EXACT_UP_TO:
        return metrics.maj_at_k(counts, right, ks, silent=silent)
    return [metrics.resampled_maj_at_k(counts, right, k, silent=silent) for k in ks]


def column_means(rows: Sequence[Sequence[float]]) -> list[float]:
    """The mean of every column."""
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def agreement(records: Sequence[Record]) -> float | None:
    """Mean over problems of the share of the most frequent answer among all samples, of a pool those of all its models;
    None with one sample each."""
    shares = []
    for r in records:
        drawn = all_draws(r)
        total = sum(d.count for d in drawn)
        if total > 1:
            shares.append(max((d.count for d in drawn if d.key is not None), default=0) / total)
    return sum(shares) / len(shares) if shares else None


def _wall_seconds(records: Sequence[Record]) -> float:
    """Wall time over all sessions: in each, until its last finished problem (a killed session has no other end)."""
    last: dict[int, float] = {}
    for r in records:
        last[r["session"]] = max(last.get(r["session"], 0.0), r["elapsed"])
    return sum(last.values())


def known_total(values: Sequence[int | None]) -> int | None:
    """Their sum; None when one is unknown."""
    total: int | None = 0
    for value in values:
        total = add(total, value)
    return total
