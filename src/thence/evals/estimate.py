"""``--dry-run``: what a run would cost, before any model runs.

Requests and prompt tokens follow from the problems and the strategy. How long answers will be and how fast the model
is nobody knows before: lengths range from short answers to every cap reached, or, when earlier runs of the same model
lie in ``runs/``, around what was measured there, and only then there are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from thence.core.budget import Charged
from thence.core.completion import Think
from thence.core.errors import StoreError, UsageError
from thence.core.problem import Problem
from thence.core.protocols import AsksFirst, Generator
from thence.core.think import SHORT_REPLIES, SHORT_TOKENS
from thence.stores.sqlite import RunView

from .evaluate import Arm

Range = tuple[float, float]

SHORT = 8  # tokens of the shortest answers worth a guess
UNBOUNDED = 2048  # taken for the cap where there is none
TEMPLATE = 16  # tokens of a chat template that only the server knows
NEWEST = 20  # run files looked at for measured lengths and speeds


@dataclass(frozen=True, slots=True)
class Price:
    """Money per million tokens: read, written, and read from the server's cache."""

    input: float
    output: float
    cached: float | None = None

    @staticmethod
    def parse(text: str) -> Price:
        """``"0.5,1.5"`` or ``"0.5,1.5,0.05"``."""
        try:
            values = [float(part) for part in text.split(",")]
        except ValueError:
            values = []
        if len(values) not in (2, 3) or not all(0 <= v < float("inf") for v in values):
            raise UsageError(f"price {text!r} is not INPUT,OUTPUT or INPUT,OUTPUT,CACHED per million tokens")
        return Price(*values)

    def of(self, charged: Charged) -> float | None:
        """What charged tokens cost (verifier tokens as written ones); None when a count is unknown."""
        if charged.prompt is None or charged.generated is None or charged.verifier is None:
            return None
        return self.money(charged.prompt, charged.generated + charged.verifier)

    def money(self, read: float, written: float, again: float = 0.0) -> float:
        """``again`` are prompt tokens that the server has read before."""
        repeated = self.input if self.cached is None else self.cached
        return (read * self.input + written * self.output + again * repeated) / 1e6


@dataclass(frozen=True, slots=True)
class Measured:
    """Earlier runs of a model: the smallest and largest mean tokens per sample and tokens per second."""

    length: Range
    speed: Range
    runs: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one arm would cost. ``requests`` is the most; ``prompt_tokens`` counts each problem's prompt once.

    ``seconds`` is None without a measured speed, ``money`` without a price. ``notes`` say what the numbers rest on.
    """

    arm: str
    problems: int
    requests: int
    prompt_tokens: int
    generated: Range
    seconds: Range | None
    money: Range | None
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def estimate(
    problems: Sequence[Problem],
    generator: Generator,
    arm: Arm,
    *,
    seeds: int = 1,
    budget: int | None = None,
    price: Price | None = None,
    measured: Measured | None = None,
) -> Estimate:
    """The cost of solving ``problems`` with every one of ``seeds`` seeds.

    ``measured`` None looks for earlier runs of the same model in ``runs/``.
    """
    notes: list[str] = []
    measured = measured or measure(generator.identity, Path("runs"))
    fewest, most = draws_of(arm)
    prompts = [_prompt_tokens(p, generator, arm) for p in problems]
    if any(not counted for _, counted in prompts):
        notes.append("prompt tokens are guessed from the length of the text: only the server can count them")
    judged = 2 if _asks_a_model(arm) else 1
    if judged == 2:
        notes.append("the verifier's own tokens are not included, its requests are")
    turns = 2 if arm.style.followup is not None else 1
    first = arm.style.first_tokens if isinstance(arm.style, AsksFirst) else 0
    short_replies = SHORT_REPLIES if (arm.sampling or generator.defaults).think is Think.AUTO else 0
    if short_replies:
        notes.append(f"the {short_replies} short replies of --think auto are included")
    lows, highs = 0.0, 0.0
    for tokens, _ in prompts:
        cap = _cap(generator, arm, tokens)
        extra = 0 if arm.style.followup is None else arm.style.followup.max_tokens
        short, long = (min(SHORT, cap), cap) if measured is None else (min(v, cap) for v in measured.length)
        low, high = fewest * (short + min(1, extra)), most * (long + extra)
        low, high = low + short_replies * min(SHORT, cap), high + short_replies * min(SHORT_TOKENS, cap)
        if budget is not None:
            low, high = (min(v, max(0, budget - tokens)) for v in (low, high))
        lows, highs = lows + low + min(1, first), highs + high + first
    generated = (lows * seeds, highs * seeds)
    prompt_tokens = sum(tokens for tokens, _ in prompts) * seeds * (1 + bool(first) + bool(short_replies))
    requests = len(problems) * seeds * (most * turns * judged + min(1, first) + short_replies)
    if measured is None:
        notes.append("lengths are not measured: from short answers to every cap reached")
    else:
        notes.append(f"lengths and speed as in {measured.runs} earlier run(s) of this model")
    return Estimate(
        arm.name,
        len(problems),
        requests,
        prompt_tokens,
        generated,
        None if measured is None else (generated[0] / measured.speed[1], generated[1] / measured.speed[0]),
        None if price is None else _money(price, prompt_tokens, most * turns, generated),
        tuple(notes),
    )


def draws_of(arm: Arm) -> tuple[int, int]:
    """The fewest and the most samples that a strategy draws for one problem."""
    most = max((getattr(arm.strategy, name, 1) for name in ("n", "k", "width")), default=1)
    fewest = getattr(arm.strategy, "width", most)
    return min(fewest, most), most


def measure(identity: str, folder: Path) -> Measured | None:
    """Mean lengths and speeds in the newest run files of the model ``identity``, a quarter wider on either side."""
    lengths: list[float] = []
    speeds: list[float] = []
    files = sorted(folder.glob("*.db"), key=lambda p: p.stat().st_mtime, reverse=True) if folder.is_dir() else []
    for path in files[:NEWEST]:
        try:
            with RunView(path) as run:
                if run.header.get("model", {}).get("identity") == identity:
                    _add_means(run, lengths, speeds)
        except StoreError:
            continue  # no run file, or not a whole one: nothing to learn from it
    if not lengths or not speeds:
        return None
    return Measured(_widened(lengths), _widened(speeds), len(lengths))


def _add_means(run: RunView, lengths: list[float], speeds: list[float]) -> None:
    records = [r for cell in run.cells() for r in run.results(cell).values()]
    written = [r for r in records if r["charged"]["generated"] is not None and r["draws"]]
    samples = sum(count for r in written for _, count, _ in r["draws"])
    ends: dict[int, float] = {}
    for r in records:
        ends[r["session"]] = max(ends.get(r["session"], 0.0), r["elapsed"])
    spent = sum(r["spent"]["generated"] or 0 for r in records)
    if samples and spent and sum(ends.values()) > 0:
        lengths.append(sum(r["charged"]["generated"] for r in written) / samples)
        speeds.append(spent / sum(ends.values()))


def _widened(values: Iterable[float]) -> Range:
    seen = list(values)
    return 0.8 * min(seen), 1.25 * max(seen)


def _prompt_tokens(problem: Problem, generator: Generator, arm: Arm) -> tuple[int, bool]:
    """The tokens of a problem's prompt, and whether they are counted (else guessed, four bytes to a token)."""
    context = arm.style.context(problem)
    ids = generator.tokens(context)
    if ids is not None:
        return len(ids), True
    texts = (*(m.content for m in context.messages), *(s.text for s in context.reply))
    return sum(len(t.encode("utf-8", "surrogatepass")) for t in texts) // 4 + TEMPLATE, False


def _cap(generator: Generator, arm: Arm, prompt: int) -> int:
    sampling = arm.sampling or generator.defaults
    room = None if generator.max_context is None else max(1, generator.max_context - prompt)
    return min((c for c in (sampling.max_tokens, arm.style.cap, room) if c is not None), default=UNBOUNDED)


def _asks_a_model(arm: Arm) -> bool:
    """Whether the strategy's verifier is a model that is asked once per sample."""
    return getattr(getattr(arm.strategy, "verifier", None), "generator", None) is not None


def _money(price: Price, prompts: int, requests_per_problem: int, generated: Range) -> Range:
    """From one reading of each prompt and short answers to a reading per request and long ones."""
    low = price.money(prompts, generated[0])
    dear = replace(price, cached=None)
    return low, dear.money(prompts, generated[1], again=prompts * (requests_per_problem - 1))
