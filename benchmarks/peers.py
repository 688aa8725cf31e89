"""Step beam search against search-and-learn's and its_hub's: the same server, the same verifier, the same numbers.

    python benchmarks/peers.py [--problems 64] [--seeds 3] [--answers 1000] [--verifier PATH] [--peers DIR]

One vLLM CPU server with the embedded model serves all sides. Each run of an arm is a process of its own
(`peers_side.py`): it loads, warms up on two other questions, empties the server's prefix cache, and then solves all
questions; loading is left out. The arms take turns, in another order for every seed.

Arms
    thence                    an evaluation as shipped, run file included, with 16 first steps
    thence, 4 first           the same with 4 first steps
    search-and-learn          as shipped: question by question (its beam search takes no more than one)
    its_hub                   as shipped: ``infer``, question by question
    its_hub gathered          ``ainfer`` of all questions in one ``asyncio.gather``

What is the same for all: the questions (word problems of one level), the prompt ("Think step by step." under the
question, checked by its tokens), temperature, line breaks as the ends of steps, at most 256 tokens a step and 40 steps,
16 candidates a level of which 4 go on, 4 times each, the verifier's checkpoint, its input format and the aggregation of
its numbers, one thread for each process, and the reading and grading of answers. Nobody sends seeds, because vLLM's CPU
build dies on them: a seed here is one more independent run.

How the generated tokens are made equal: search-and-learn draws 16 first steps and its_hub 4, and 16 at every later
level; thence is told to draw as many first steps as the peer it is compared with, and 16 later. What is left of a
difference (a peer refills ended paths with duplicates; its_hub does not see that a text has ended) is shown, and speed
is compared in seconds per generated token, too.

How the peers get their parts: they are imported, unchanged, from a folder outside the repository. search-and-learn
wants vLLM in its own process and gets a module that sends every ``LLM.generate`` to the server in one request; its stop
string "\\n\\n" is sent as the line break. its_hub uses its own client. its_hub is told that "####" begins the last
step, since it cannot see the end of a text. Their verifiers read the whole text at every level, as the ones that they
ship do: a plain transformers forward, one padded batch per call. Where one is better off than as shipped (one HTTP
request for 16 prompts, verifier calls of one batch where it ships 16 of one text), it stays so.

Columns: seconds (median of the seeds); per question: generated tokens, prompt tokens sent and those that the server
computed, sequences and HTTP calls, all from the server's own counters, verifier tokens that went through the model and
solutions it was asked about. Accuracy is the mean over problems and seeds; a difference is thence minus peer over the
same problems, paired (`evals.statistics.metrics.paired`), 95 % interval. A question on which a side fails counts as
wrong, and failures are shown. ``--answers N`` measures accuracy on N problems in runs whose time is not taken, 64
questions of a peer at a time (search-and-learn in threads); an interval of 2 points needs about a thousand.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from peers_side import Job

HERE = Path(__file__).resolve().parent
THENCE, THENCE_4, SAL, ITS, GATHERED = ("thence", "thence, 4 first", "search-and-learn", "its_hub", "its_hub gathered")
THREADED = "search-and-learn threaded"
TIMED = (THENCE, THENCE_4, SAL, ITS, GATHERED)
UNTIMED = {THENCE: THENCE, THENCE_4: THENCE_4, THREADED: SAL, GATHERED: GATHERED}  # whose answers they are
PAIRS = ((SAL, THENCE), (ITS, THENCE_4), (GATHERED, THENCE_4))
AS_SHIPPED, ALL_GATHERED = 3.0, 1.7  # the goals
WITHIN = 0.02
AT_ONCE = 64  # questions of a peer in the untimed runs; all of them at once would need thousands of connections
INSTALL = {
    SAL: "git clone https://github.com/huggingface/search-and-learn {peers}/search-and-learn"
    " && git -C {peers}/search-and-learn checkout 6f81cac",
    ITS: "{python} -m pip install --target {peers} --no-deps its-hub==1.2.0 aiohttp aiosignal aiohappyeyeballs"
    " frozenlist multidict propcache yarl attrs idna backoff certifi",
}

Run = dict[str, Any]


def job(base: Job, arm: str, seed: int) -> Job:
    """What ``arm`` does: the same numbers for all, but for the first steps of thence."""
    if arm == THENCE_4:
        return replace(base, arm=THENCE, seed=seed, first=base.n // base.width)
    return replace(base, arm=arm, seed=seed)


def turns(arms: Sequence[str], seed: int) -> list[str]:
    """The order of the arms in a round: every round begins with another one."""
    at = seed % max(1, len(arms))
    return [*arms[at:], *arms[:at]]


def perform(what: Job, threads: int) -> Run:
    """One arm in its own process. SystemExit with the end of its output if it breaks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(asdict(what)), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(HERE / "peers_side.py"), str(path)],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
    try:
        if done.returncode:
            raise ValueError
        made: Run = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise SystemExit(f"the arm {what.arm!r} broke (exit status {done.returncode}):\n{tail}") from None
    return made


def graded(what: Job, made: Run) -> Run:
    """A run with the verdicts on its answers, by thence's grader for every side; no answer is a wrong one."""
    task = what.task
    right = {p.id: task.grade(p, "", made["answers"].get(p.id)).correct for p in task.problems()}
    return made | {"right": {i: float(value) for i, value in right.items()}}


# ---------------------------------------------------------------------------------------------------------- statistics


@dataclass(frozen=True)
class Row:
    """An arm over all its runs; counts are means per question, ``seconds`` the median of the runs."""

    arm: str
    seconds: float
    accuracy: float
    failed: int
    generated: float
    prompt: float
    computed: float
    sequences: float
    calls: float
    verifier_tokens: float
    verifier_texts: float


@dataclass(frozen=True)
class Against:
    """thence against a peer. ``faster`` is the peer's seconds over thence's, ``per_token`` the same per generated
    token; ``tokens`` and ``verifier`` are the peer's tokens over thence's. ``difference`` is thence minus peer."""

    peer: str
    ours: str
    faster: float
    per_token: float
    tokens: float
    verifier: float
    difference: float
    low: float
    high: float
    problems: int


def summary(arm: str, runs: Sequence[Run], answers: Sequence[Run]) -> Row:
    """One row of the table; ``answers`` are the runs that accuracy is taken from."""
    size = [len(run["right"]) for run in runs]

    def mean(numbers: Sequence[float]) -> float:
        return sum(numbers) / sum(size)

    server = {key: mean([run["server"][key] for run in runs]) for key in runs[0]["server"]}
    return Row(
        arm,
        statistics.median(run["seconds"] for run in runs),
        statistics.mean(statistics.mean(run["right"].values()) for run in answers),
        sum(len(run["failures"]) for run in [*runs, *(each for each in answers if each not in runs)]),
        server["generated"],
        server["prompt"],
        server["prompt"] - server["cached"],
        server["sequences"],
        server["calls"],
        mean([run["verifier_tokens"] for run in runs]),
        mean([run["verifier_texts"] for run in runs]),
    )


def per_problem(runs: Sequence[Run]) -> dict[str, float]:
    """The mean over runs of every problem."""
    return {i: statistics.mean(run["right"][i] for run in runs) for i in runs[0]["right"]}


def against(peer: str, ours: str, timed: Mapping[str, Sequence[Run]], answers: Mapping[str, Sequence[Run]]) -> Against:
    """The comparison of two arms, run by run where it is about time."""
    from thence.evals.statistics.metrics import paired

    both = list(zip(timed[peer], timed[ours], strict=True))

    def ratio(of: Any) -> float:
        return statistics.median(of(theirs) / of(mine) for theirs, mine in both)

    found = paired(per_problem(answers[peer]), per_problem(answers[ours]))
    return Against(
        peer,
        ours,
        ratio(lambda run: run["seconds"]),
        ratio(lambda run: run["seconds"] / run["server"]["generated"]),
        ratio(lambda run: run["server"]["generated"]),
        ratio(lambda run: run["verifier_tokens"]),
        found.difference,
        *found.interval,
        found.n,
    )


def verdicts(found: Sequence[Against]) -> list[tuple[str, float, float, bool]]:
    """(what, ratio, goal, met) of each goal that could be measured, at equal generated tokens."""
    shipped = [each.per_token for each in found if each.peer in (SAL, ITS)]
    rows = []
    if len(shipped) == 2:
        rows.append(("seconds per generated token, the better peer as shipped over thence", min(shipped), AS_SHIPPED))
    rows += [
        ("the same, its_hub with all questions gathered", each.per_token, ALL_GATHERED)
        for each in found
        if each.peer == GATHERED
    ]
    return [(what, ratio, goal, ratio >= goal) for what, ratio, goal in rows]


# --------------------------------------------------------------------------------------------------------------- table


def table(rows: Sequence[Row], found: Sequence[Against]) -> str:
    """Both tables, as Markdown."""
    heads = ("arm", "seconds", "accuracy", "failed", "generated", "prompt", "computed", "sequences", "calls")
    lines = [_line((*heads, "verifier tokens", "verifier texts")), "|---" * 11 + "|"]
    for row in rows:
        counts = (row.generated, row.prompt, row.computed, row.sequences, row.calls)
        cells = [row.arm, f"{row.seconds:.1f}", f"{row.accuracy:.3f}", str(row.failed)]
        lines.append(_line((*cells, *(f"{x:,.1f}" for x in (*counts, row.verifier_tokens, row.verifier_texts)))))
    heads = ("peer", "ours", "faster", "per generated token", "generated tokens", "verifier tokens")
    lines += ["", _line((*heads, "accuracy, ours minus peer")), "|---" * 7 + "|"]
    for each in found:
        ratios = (each.faster, each.per_token, each.tokens, each.verifier)
        difference = f"{100 * each.difference:+.1f} ({100 * each.low:+.1f} to {100 * each.high:+.1f}) points"
        difference += f", {each.problems} problems"
        lines.append(_line((each.peer, each.ours, *(f"{x:.2f}" for x in ratios), difference)))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def document(
    settings: Mapping[str, Any], timed: Mapping[str, Sequence[Run]], answers: Mapping[str, Sequence[Run]]
) -> dict[str, Any]:
    """Everything that was measured, with the rows and comparisons made of it."""
    arms = [arm for arm in TIMED if timed.get(arm)]
    read = {arm: answers.get(arm) or timed[arm] for arm in arms}
    if answers.get(GATHERED) and ITS in read:
        read[ITS] = answers[GATHERED]  # the same algorithm; only the schedule differs
    rows = [summary(arm, timed[arm], read[arm]) for arm in arms]
    pairs = [(peer, ours) for peer, ours in PAIRS if peer in read and ours in read]
    found = [against(peer, ours, timed, read) for peer, ours in pairs if len(timed[peer]) == len(timed[ours])]
    return {
        "settings": dict(settings),
        "rows": [asdict(row) for row in rows],
        "against": [asdict(each) for each in found],
        "goals": [dict(zip(("what", "ratio", "goal", "met"), each, strict=True)) for each in verdicts(found)],
        "table": table(rows, found),
        "runs": {arm: list(runs) for arm, runs in timed.items()},
        "answers": {arm: list(runs) for arm, runs in answers.items()},
    }


# ---------------------------------------------------------------------------------------------------------------- main


def measure(base: Job, options: argparse.Namespace) -> dict[str, Any]:
    """All runs, against a server that is up. A peer that is not installed is left out, and the reason is told."""
    timed: dict[str, list[Run]] = {}
    answers: dict[str, list[Run]] = {}
    left_out: dict[str, str] = {}
    settings = asdict(base) | {"seeds": options.seeds, "left out": left_out, "machine": platform.machine()}
    settings |= {"cores": os.cpu_count(), "answers": options.answers}

    def one(arm: str, what: Job, into: dict[str, list[Run]], name: str) -> None:
        made = perform(what, options.threads)
        if "missing" in made:
            peer = SAL if arm in (SAL, THREADED) else ITS
            command = INSTALL[peer].format(peers=options.peers, python=sys.executable)
            left_out[name] = f"{made['missing']}; install it: {command}"
            print(f"{name} is left out: {left_out[name]}", file=sys.stderr, flush=True)
            return
        into.setdefault(name, []).append(graded(what, made))
        rate = made["server"]["generated"] / made["seconds"]
        print(
            f"seed {what.seed}, {name}: {made['seconds']:.1f} s, {rate:,.0f} generated tokens/s, "
            f"{len(made['failures'])} failed",
            file=sys.stderr,
            flush=True,
        )
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(document(settings, timed, answers), indent=1) + "\n", encoding="utf-8")

    for seed in range(options.seeds):
        for arm in turns([arm for arm in options.arms if arm not in left_out], seed):
            one(arm, job(base, arm, seed), timed, arm)
    wanted = [arm for arm, of in UNTIMED.items() if of in timed] if options.answers else []
    for seed in range(options.seeds):
        for arm in wanted:
            name = UNTIMED[arm]
            one(arm, job(replace(base, size=options.answers, at_once=AT_ONCE), arm, seed), answers, name)
    return document(settings, timed, answers)


def verifier_spec(given: str | None, folder: Path) -> str:
    """KIND:PATH of the verifier: as given, acorn's own if it ships, else a random head (its cost is real)."""
    from thence.core.card import ACORN, VerifierCard

    if given is None and (ACORN / "prm").is_dir():
        given = str(ACORN / "prm")
    if given is None:
        from search import random_verifier

        from thence.core.card import VerifierKind

        made = random_verifier(folder / "prm", VerifierKind.PRM, "plain")
        print("no verifier was given: a random head, of which only the cost is real", file=sys.stderr)
        given = str(made)
    path = Path(given.removeprefix("prm:")).resolve()
    return f"{VerifierCard.read(path).kind}:{path}"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=64, help="of the timed runs")
    parser.add_argument("--answers", type=int, default=0, help="problems of the untimed runs that give accuracy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--level", type=int, default=4)
    parser.add_argument("--temperature", type=float, default=1.2, help="of all sides; the embedded model's own")
    parser.add_argument("--select", choices=("vote", "max"), default="vote", help="how thence chooses at the end")
    parser.add_argument("--verifier", help="a verifier's directory; by default acorn's own, or a random head")
    parser.add_argument("--arms", nargs="+", choices=TIMED, default=list(TIMED))
    parser.add_argument("--threads", type=int, default=1, help="of the server and of each side")
    default = HERE.parent / ".venv-vllm" / "bin" / "python"
    parser.add_argument("--vllm-python", default=str(default))
    parser.add_argument("--block", type=int, default=None, help="tokens of the server's cache blocks (vLLM's own: 128)")
    parser.add_argument("--url", help="of a vLLM server that runs already, with VLLM_SERVER_DEV_MODE=1 (…/v1)")
    parser.add_argument("--peers", default=os.environ.get("THENCE_PEERS", str(HERE.parent.parent / "thence-peers")))
    parser.add_argument("--output", type=Path, default=HERE.parent / "out" / "peers.json")
    options = parser.parse_args(arguments)
    for name in ("problems", "seeds", "level", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}; it must be at least 1")
    options.peers = str(Path(options.peers).resolve())
    if Path(options.peers).is_relative_to(HERE.parent):
        parser.error(f"--peers is {options.peers}, inside the repository; the peers' code stays outside it")
    return options


def main() -> None:
    """Measure, print, write."""
    options = parse()
    if not options.url and not Path(options.vllm_python).exists():
        raise SystemExit(f"{options.vllm_python} is not there; `make test-vllm` sets up vLLM, or give --vllm-python")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"  # the prefix cache can be emptied between runs
    from vllm_server import served

    with tempfile.TemporaryDirectory() as folder:
        verifier = verifier_spec(options.verifier, Path(folder))
        base = Job(
            arm="",
            url="",
            verifier=verifier,
            level=options.level,
            size=options.problems,
            temperature=options.temperature,
            select=options.select,
            threads=options.threads,
            peers=options.peers,
        )
        started = served(options.vllm_python, threads=options.threads, block=options.block)
        running = nullcontext(options.url) if options.url else started
        with running as url:
            made = measure(replace(base, url=url), options)
    print(made["table"])
    for goal in made["goals"]:
        print(f"{'ok  ' if goal['met'] else 'MISS'} {goal['ratio']:.2f}  goal {goal['goal']}  {goal['what']}")
    for each in made["against"]:
        within = "ok  " if each["low"] >= -WITHIN else "MISS" if each["high"] < -WITHIN else "open"
        print(f"{within} accuracy within 2 points of {each['peer']}: {each['low']:+.3f} to {each['high']:+.3f}")
    print(f"written {options.output}")
    if not made["against"]:
        raise SystemExit("no peer was measured; the reasons are above")


if __name__ == "__main__":
    main()
