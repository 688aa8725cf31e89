"""One arm of `benchmarks/peers.py`, in a process of its own: loads, warms up, solves all questions, prints one JSON.

    python benchmarks/peers_side.py JOB.json

The arms are thence as it ships, and the peers' own search code, called as their documentation says. What stands
between a peer and the server or the verifier is here; the peers themselves are imported from a folder outside the
repository (``Job.peers``).

- ``its_hub``: its OpenAI client, ``StepGeneration`` and ``BeamSearch``; one ``infer`` per question, or one
  ``asyncio.gather`` over ``ainfer`` of all.
- ``search-and-learn``: its ``beam_search``, one question per call, which is the only batch size it accepts. It wants
  vLLM in its own process; a module of that name sends ``LLM.generate`` to the server, one HTTP request per call.

The verifier is the same checkpoint on all sides. thence reads it with its own engine. The peers' verifiers are plain
transformers forwards over the whole text at every level, and so is the one they are given here (`Whole`): one padded
batch per call, in the same number format. Both write the same tokens for the same solution.

What the language model did is taken from the server's own counters, before and after (`counters`).
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from thence.core.problem import Problem
from thence.tasks.wordproblems_task import WordProblemsTask

INSTRUCTION = "Think step by step."  # of the prompt style `cot`, which every side asks with
STEP, ANSWER = "\n", "####"  # what ends a step of the embedded model, and what begins its last one
MODEL = "acorn"
PATIENCE = 600  # seconds for a server to become idle
ARMS = ("thence", "search-and-learn", "its_hub", "its_hub gathered", "search-and-learn threaded")


class Missing(Exception):
    """A peer is not installed; the text says what is missing."""


@dataclass(frozen=True)
class Job:
    """What one arm does. ``n`` candidates a level of which n / ``width`` go on, steps of at most ``step_tokens``.

    ``first`` is how many first steps thence draws (the peers have their own rule); ``verifier`` is KIND:PATH;
    ``at_once`` bounds the questions of a peer that run at a time, where it is run for its answers and not for its time.
    """

    arm: str
    url: str
    verifier: str
    level: int
    size: int
    seed: int = 0
    split: str = "test"
    n: int = 16
    width: int = 4
    first: int | None = None
    depth: int = 40
    step_tokens: int = 256
    temperature: float = 1.2
    select: str = "vote"
    threads: int = 1
    peers: str = ""
    at_once: int | None = None

    @property
    def task(self) -> WordProblemsTask:
        """The problems to solve."""
        return WordProblemsTask(level=self.level, size=self.size, split=self.split)


@dataclass
class Solved:
    """What an arm made of all questions: the answer of each (None: none was found), and what failed.

    Verifier tokens are those that went through the model, texts the solutions it was asked about; ``version`` is the
    peer's.
    """

    answers: dict[str, str | None] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    verifier_tokens: int = 0
    verifier_texts: int = 0
    version: str = ""
    server: dict[str, float] = field(default_factory=dict)


Work = Callable[[WordProblemsTask], Solved]


def asked(problem: Problem) -> str:
    """The question as the prompt style writes it, for sides that take a text."""
    return f"{problem.text}\n{INSTRUCTION}"


# ---------------------------------------------------------------------------------------------- the server's counters

COUNTERS = {
    "prompt": "vllm:prompt_tokens_total",
    "generated": "vllm:generation_tokens_total",
    "cached": "vllm:prompt_tokens_cached_total",
    "sequences": "vllm:request_success_total",
}
RUNNING = ("vllm:num_requests_running", "vllm:num_requests_waiting")


def total(text: str, name: str, having: str = "") -> float:
    """The sum of all rows of one metric whose labels contain ``having``."""
    rows = (line for line in text.splitlines() if line.startswith((name + "{", name + " ")) and having in line)
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


def counters(text: str) -> dict[str, float]:
    """Tokens, sequences and calls that a server has counted since it started, from the text of its metrics."""
    missing = [name for name in COUNTERS.values() if name not in text]
    if missing:
        raise SystemExit(f"the server's /metrics has no {', '.join(missing)}; this benchmark reads vLLM's own counters")
    found = {name: total(text, metric) for name, metric in COUNTERS.items()}
    calls = ("/v1/completions", "/v1/chat/completions")
    found["calls"] = sum(total(text, "http_requests_total", f'handler="{path}"') for path in calls)
    return found


def read(url: str) -> dict[str, float]:
    """The counters of an idle server."""
    root, deadline = url.removesuffix("/v1"), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(0.3)  # they lag a little behind the answers
        text = httpx.get(f"{root}/metrics", timeout=30, trust_env=False).text
        if not sum(total(text, name) for name in RUNNING):
            return counters(text)
    raise SystemExit(f"the server still had requests to work on after {PATIENCE} seconds")


def forget(url: str) -> None:
    """Empty the server's prefix cache: every arm begins with the same server."""
    reply = httpx.post(f"{url.removesuffix('/v1')}/reset_prefix_cache", timeout=30, trust_env=False)
    if reply.status_code != 200:
        raise SystemExit("the server cannot empty its prefix cache; start vLLM with VLLM_SERVER_DEV_MODE=1")


# ------------------------------------------------------------------------------------------- the verifier of the peers


class Whole:
    """A checkpoint as the peers' verifiers read theirs: the whole text each time, one padded batch per call."""

    def __init__(self, verifier: str, problems: Sequence[Problem], dtype: str = "float32") -> None:
        import torch
        import transformers

        from thence.core.segmenter import Segmenter
        from thence.nets.heads import Head
        from thence.nets.verifier import load_verifier, trunk_path
        from thence.verifiers.formats import Read, row
        from thence.verifiers.learned import Cached

        path = verifier.partition(":")[2]
        loaded = load_verifier(path, dtype=lambda shape: getattr(torch, dtype))
        checkpoint, self.card, self.fmt = loaded.checkpoint, loaded.card, row(loaded.card.format)
        if self.fmt.read is Read.LOGPROBS or self.fmt.early:
            raise SystemExit(f"format {self.fmt.name} cannot be read by a peer; take a verifier with steps: prm:PATH")
        self.how = self.card.aggregate or self.fmt.aggregate
        self.tokenizer, self.segmenter = Cached(checkpoint.tokenizer), Segmenter()
        config = transformers.AutoConfig.from_pretrained(trunk_path(loaded.card, Path(path)))
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        model.load_state_dict(checkpoint.weights)
        self.model = model.model.eval()
        self.head, self.good = loaded.head, 1
        if self.fmt.read is Read.TOKENS:
            output = checkpoint.weights.get("lm_head.weight", checkpoint.weights["model.embed_tokens.weight"])
            self.head, self.good = Head.tokens(output, self.fmt.candidates(self.tokenizer, path)), 0
        self.questions = {asked(p): p.text for p in problems}
        self.tokens = self.texts = 0

    def steps(self, prompt: str, replies: Sequence[str]) -> list[tuple[float, ...]]:
        """Each reply's step numbers in [0, 1]."""
        import torch

        from thence.verifiers.formats import write
        from thence.verifiers.learned import steps_of

        question = self.questions[prompt]
        cut = [steps_of(self.segmenter, reply) for reply in replies]
        texts = [write(self.fmt, self.tokenizer, question, c, self.card.instruction) if c else None for c in cut]
        rows = [torch.tensor(text.ids) for text in texts if text is not None]
        if not rows:
            return [() for _ in replies]
        self.texts += len(rows)
        self.tokens += sum(len(row) for row in rows)
        with torch.inference_mode():
            states = self.model(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), use_cache=False)[0]
            numbers = [
                self._numbers(self.head(states[i, list(text.reads)]))
                for i, text in enumerate(text for text in texts if text is not None)
            ]
        found = iter(numbers)
        return [() if text is None else next(found) for text in texts]

    def value(self, steps: tuple[float, ...]) -> float:
        """One number of a reply, as thence makes it."""
        from thence.verifiers.learned import made_of

        return made_of(steps, "the verifier", self.card, self.how).value

    def _numbers(self, logits: Any) -> tuple[float, ...]:
        shares = logits.sigmoid()[:, 0] if logits.shape[1] == 1 else logits.softmax(-1)[:, self.good]
        return tuple(float(x) for x in shares)


# ------------------------------------------------------------------------------------------------------------- thence


class Counted:
    """A verifier's reader that counts the texts it is asked about."""

    def __init__(self, reader: Any) -> None:
        self.reader, self.texts = reader, 0

    async def numbers(self, texts: Sequence[Any], book: Any) -> Any:
        """What the reader says."""
        self.texts += len(texts)
        return await self.reader.numbers(texts, book)


def spec(job: Job) -> str:
    """The strategy with the job's numbers, as a user writes it."""
    rest = f"depth={job.depth}, step_tokens={job.step_tokens}, select={job.select}, verifier={job.verifier}"
    first = job.n if job.first is None else job.first
    return f"beam(n={first}, keep={job.n // job.width}, width={job.width}, {rest})"


def thence_arm(job: Job) -> Work:
    """An evaluation as a user runs it, run file included."""
    from thence import api, methods
    from thence.core.solve import parts
    from thence.evals.evaluate import Arm, eval_header, evaluate
    from thence.stores.sqlite import Cell, RunFile
    from thence.verifiers.learned import Learned

    how = methods.strategy(spec(job))
    verifier = next(part for part in parts(how) if isinstance(part, Learned))
    engine: Any = verifier.reader.engine  # type: ignore[union-attr]
    verifier.reader = Counted(verifier.reader)
    generator = api.load(f"openai:{MODEL}@{job.url}")
    sampling = api.sampled(generator, temperature=job.temperature, max_tokens=job.step_tokens)
    arm = Arm(spec(job), how, methods.prompt("cot"), "cot", sampling)

    async def work(task: WordProblemsTask, folder: str) -> tuple[dict[str, Any], dict[str, str]]:
        header = eval_header(task, generator, arm, seed=job.seed)
        with RunFile.open(Path(folder) / "run.db", header) as store:
            report = await evaluate(task, generator, arm, seed=job.seed, store=store)
            records = store.results(Cell("", job.seed))
        await generator.close()
        return records, dict(report.failures)

    def run(task: WordProblemsTask) -> Solved:
        read_before, texts_before = engine.counters.prefilled, verifier.reader.texts
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            records, failures = asyncio.run(work(task, folder))
            seconds = time.perf_counter() - begun
        return Solved(
            {i: record["answer"] for i, record in records.items()},
            failures,
            seconds,
            engine.counters.prefilled - read_before,
            verifier.reader.texts - texts_before,
        )

    return run


# ------------------------------------------------------------------------------------------------------------ its_hub


def its_hub_arm(job: Job, whole: Whole) -> Work:
    """its_hub's beam search over its own client."""
    sys.path.append(job.peers)  # last, so that nothing of ours is shadowed
    try:
        from its_hub.api import AbstractProcessRewardModel  # type: ignore[import-not-found]
        from its_hub.core.algorithms.beam_search import BeamSearch  # type: ignore[import-not-found]
        from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel  # type: ignore[import-not-found]
        from its_hub.core.lms.step_generation import StepGeneration  # type: ignore[import-not-found]
    except ImportError as error:
        raise Missing(f"its_hub is not in {job.peers} ({error})") from error
    warnings.simplefilter("ignore", DeprecationWarning)  # its beam search calls its own deprecated method
    reader = ThreadPoolExecutor(1, "verifier")

    class Prm(AbstractProcessRewardModel):  # type: ignore[misc]
        def score(self, prompt: Any, replies: Any) -> Any:
            many = [replies] if isinstance(replies, str) else list(replies)
            values = [whole.value(steps) for steps in whole.steps(str(prompt), many)]
            return values[0] if isinstance(replies, str) else values

        async def ascore(self, prompt: Any, replies: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(reader, self.score, prompt, replies)

    def make() -> tuple[Any, Any]:
        lm = OpenAICompatibleLanguageModel(
            job.url, "none", MODEL, max_completion_tokens=job.step_tokens, temperature=job.temperature
        )
        last = job.depth - 1  # it makes one step more
        steps = StepGeneration(last, STEP, ANSWER, job.temperature, include_stop_str_in_output=True)
        return lm, BeamSearch(steps, Prm(), job.width)

    async def all_at_once(problems: Sequence[Problem]) -> list[Any]:
        lm, search = make()
        try:
            return await asyncio.gather(*(search.ainfer(lm, asked(p), job.n) for p in problems), return_exceptions=True)
        finally:
            await lm.close()

    def one_by_one(problems: Sequence[Problem]) -> list[Any]:
        lm, search = make()
        return [_caught(lambda p=p: search.infer(lm, asked(p), job.n)) for p in problems]

    def run(task: WordProblemsTask) -> Solved:
        problems, begun = task.problems(), time.perf_counter()
        gathered = job.arm == "its_hub gathered"
        replies = asyncio.run(all_at_once(problems)) if gathered else one_by_one(problems)
        seconds = time.perf_counter() - begun
        texts = [reply if isinstance(reply, BaseException) else reply["content"] for reply in replies]
        return _read_replies(task, texts, seconds)

    return _counting(run, whole, _version("its_hub"))


# --------------------------------------------------------------------------------------------------- search-and-learn


class ServedLLM:
    """What search-and-learn wants of vLLM in its own process, over HTTP: one request per ``generate``.

    Its stop string is written into its code; ``separator`` is the one that is sent instead.
    """

    def __init__(self, url: str, tokenizer: Any, separator: str, timeout: float = 600.0) -> None:
        self._client = httpx.Client(base_url=url, timeout=timeout, trust_env=False)
        self._tokenizer, self._separator = Template(tokenizer), separator

    def get_tokenizer(self) -> Template:
        """What writes the prompts."""
        return self._tokenizer

    def generate(self, prompts: list[str], params: Any, use_tqdm: bool = False) -> list[Any]:
        """One completion per prompt, in order; ``stop_reason`` is None at a natural end, as vLLM has it."""
        body = {
            "model": MODEL,
            "prompt": prompts,
            "add_special_tokens": False,  # the template has written them
            "n": params.n,
            "max_tokens": params.max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "stop": [self._separator] if params.stop else [],
            "include_stop_str_in_output": params.include_stop_str_in_output,
        }
        reply = self._client.post("/completions", json=body)
        reply.raise_for_status()
        choices = sorted(reply.json()["choices"], key=lambda choice: choice["index"])
        made = [types.SimpleNamespace(text=c["text"], stop_reason=c.get("stop_reason"), token_ids=()) for c in choices]
        return [types.SimpleNamespace(outputs=[each]) for each in made]


class Template:
    """A tokenizer's chat template that leaves out an empty system message: every side sends the same prompt."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.chat_template = tokenizer.chat_template

    def apply_chat_template(self, conversations: list[list[dict[str, str]]], **options: Any) -> Any:
        """The texts."""
        kept = [[turn for turn in turns if turn["role"] != "system" or turn["content"]] for turns in conversations]
        return self._tokenizer.apply_chat_template(kept, **options)


@dataclass
class Params:
    """vLLM's ``SamplingParams``, as far as search-and-learn sets them."""

    temperature: float = 1.0
    max_tokens: int = 16
    top_p: float = 1.0
    stop: list[str] | None = None
    include_stop_str_in_output: bool = False
    n: int = 1


def stand_in(name: str, **contents: Any) -> None:
    """A module of that name with these contents, for an import that is not needed here."""
    module = types.ModuleType(name)
    for key, value in contents.items():
        setattr(module, key, value)
    sys.modules[name] = module


def sal_arm(job: Job, whole: Whole) -> Work:
    """search-and-learn's beam search; vLLM, its own verifiers and its graders are stood in for."""
    import transformers

    sys.path.append(str(Path(job.peers) / "search-and-learn" / "src"))
    unused = dict.fromkeys(
        (
            "compute_maj_pred",
            "compute_naive_pred",
            "compute_weighted_pred",
            "extract_completion_answers",
            "subsample_completions",
        )
    )
    stand_in("vllm", LLM=ServedLLM, SamplingParams=Params)
    stand_in("datasets", Dataset=object)
    stand_in("sal.models.reward_models", PRM=object)
    stand_in("sal.utils.hub", get_dataset_revisions=None)
    stand_in("sal.utils.math", **unused)
    try:
        from sal.config import Config  # type: ignore[import-not-found]
        from sal.search.beam_search import beam_search  # type: ignore[import-not-found]
    except ImportError as error:
        raise Missing(f"search-and-learn is not in {job.peers} ({error})") from error

    class Prm:
        def score(self, questions: list[str], outputs: list[list[str]]) -> list[list[list[float]]]:
            """Step numbers per question and reply. All replies to one question are one batch."""
            groups: dict[str, list[str]] = {}
            for question, replies in zip(questions, outputs, strict=True):
                groups.setdefault(question, []).extend(replies)
            read = {question: iter(whole.steps(question, replies)) for question, replies in groups.items()}
            return [[list(next(read[q])) or [0.0] for _ in out] for q, out in zip(questions, outputs, strict=True)]

    config = Config(
        approach="beam_search",
        n=job.n,
        beam_width=job.width,
        num_iterations=job.depth,
        temperature=job.temperature,
        max_tokens=job.step_tokens,
        agg_strategy=str(whole.how),
        system_prompt="",
        custom_chat_template=None,
        search_batch_size=1,
        seed=job.seed,
    )
    llm = ServedLLM(job.url, transformers.AutoTokenizer.from_pretrained(str(model_path())), STEP)

    def one(problem: Problem) -> str:
        reply: str = beam_search({"problem": [asked(problem)]}, config, llm, Prm())["pred"][0]
        return reply

    def run(task: WordProblemsTask) -> Solved:
        problems, begun = task.problems(), time.perf_counter()
        if job.arm == "search-and-learn":
            texts = [_caught(lambda p=p: one(p)) for p in problems]
        else:
            with ThreadPoolExecutor(job.at_once) as pool:
                texts = list(pool.map(lambda p: _caught(lambda: one(p)), problems))
        return _read_replies(task, texts, time.perf_counter() - begun)

    return _counting(run, whole, _commit(Path(job.peers) / "search-and-learn"))


def model_path() -> Path:
    """The embedded model."""
    from thence.core.card import ACORN

    return ACORN


# ------------------------------------------------------------------------------------------------------- what is shared


def _caught(work: Callable[[], Any]) -> Any:
    """What ``work`` returns, or the exception it ends with: one question that fails ends no run."""
    try:
        return work()
    except Exception as error:
        return error


def _read_replies(task: WordProblemsTask, replies: Sequence[Any], seconds: float) -> Solved:
    """The answers in replies, by thence's own reading; a question that failed has none."""
    solved, reading = Solved(seconds=seconds), task.reading
    for problem, reply in zip(task.problems(), replies, strict=True):
        if isinstance(reply, BaseException):
            solved.failures[problem.id] = f"{type(reply).__name__}: {reply}"[:300]
            solved.answers[problem.id] = None
        else:
            answer = reading.extract(str(reply))
            solved.answers[problem.id] = None if answer is None else answer.value
    return solved


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _commit(folder: Path) -> str:
    found = subprocess.run(["git", "-C", str(folder), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def _counting(run: Work, whole: Whole, version: str) -> Work:
    """``run`` with what the verifier read meanwhile."""

    def counted(task: WordProblemsTask) -> Solved:
        before = whole.tokens, whole.texts
        solved = run(task)
        solved.verifier_tokens, solved.verifier_texts = whole.tokens - before[0], whole.texts - before[1]
        solved.version = version
        return solved

    return counted


def prepare(job: Job, warming: WordProblemsTask) -> Work:
    """The arm of a job, loaded."""
    if job.arm not in ARMS:
        raise SystemExit(f"unknown arm {job.arm!r}; known are {', '.join(ARMS)}")
    if job.arm == "thence":
        return thence_arm(job)
    whole = Whole(job.verifier, [*job.task.problems(), *warming.problems()])
    return (its_hub_arm if job.arm.startswith("its_hub") else sal_arm)(job, whole)


def perform(job: Job) -> Solved:
    """Load, warm up on two other questions, empty the server's cache, solve all, count."""
    import torch

    torch.set_num_threads(job.threads)
    warming = WordProblemsTask(level=job.level, size=2, split="dev")
    arm = prepare(job, warming)
    arm(warming)
    before = read(job.url)
    forget(job.url)
    solved = arm(job.task)
    after = read(job.url)
    solved.server = {name: after[name] - before[name] for name in before}
    return solved


def told(outcome: Solved | Missing) -> Mapping[str, Any]:
    """An outcome as JSON."""
    return {"missing": str(outcome)} if isinstance(outcome, Missing) else asdict(outcome)


def main() -> None:
    """Read a job, print what came of it as the last line."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    try:
        outcome: Solved | Missing = perform(job)
    except Missing as error:
        outcome = error
    print(json.dumps(told(outcome)), flush=True)
    os._exit(0)  # engines and executors have threads that nobody needs any more


if __name__ == "__main__":
    main()
