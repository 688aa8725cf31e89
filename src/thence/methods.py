"""THE MAP: every name a user can write, what it is, its paper, and where it lives.

``thence methods``, the index in the docs and the parser below are made of these tables. This is the only place where
strings become objects: ``self-consistency(n=16)``, ``best-of-n(n=8, verifier=judge:NAME@URL)``, ``hf:PATH``.

Grammar: ``name`` or ``name(key=value, …)``. Values with ``,()=`` or blanks are quoted ("…" or '…'). ``n={4,16,64}`` is
a grid: the product of all grids in one text.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from .core.errors import UsageError
from .core.protocols import Generator, PromptStyle, Task
from .core.search import Strategy, Verifier
from .core.specs import split, unquoted


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the map."""

    name: str
    kind: Literal["strategy", "prompt", "verifier", "annotator", "task", "model"]
    where: str  # "module:Class"
    what: str
    paper: str = ""


def _row(kind: str, name: str, where: str, what: str, paper: str = "") -> Method:
    return Method(name, cast(Any, kind), f"thence.{where}", what, paper)


METHODS: tuple[Method, ...] = (
    _row("strategy", "greedy", "strategies.greedy:Greedy", "the most likely token at every step"),
    _row(
        "strategy",
        "repeated-sampling",
        "strategies.repeated_sampling:RepeatedSampling",
        "n samples; coverage (pass@k), the first one answers",
        "2407.21787",
    ),
    _row(
        "strategy",
        "self-consistency",
        "strategies.self_consistency:SelfConsistency",
        "vote of n samples: counted, or weighted by probability or confidence",
        "2203.11171",
    ),
    _row(
        "strategy",
        "adaptive-consistency",
        "strategies.adaptive_consistency:AdaptiveConsistency",
        "vote that stops when the leader is safe (Beta posterior)",
        "2305.11860",
    ),
    _row(
        "strategy",
        "esc",
        "strategies.esc:EarlyStoppingConsistency",
        "vote that stops after a unanimous window",
        "2401.10480",
    ),
    _row(
        "strategy",
        "certified",
        "strategies.certified:Certified",
        "vote that stops when its winner is the mode with error at most alpha, at any time",
        "2510.17472",
    ),
    _row(
        "strategy",
        "universal-self-consistency",
        "strategies.universal:UniversalSelfConsistency",
        "a model (--role judge) names the sample that most others agree with",
        "2311.17311",
    ),
    _row(
        "strategy",
        "cot-decoding",
        "strategies.cot_decoding:CoTDecoding",
        "branch on the first token, keep the path sure of its answer",
        "2402.10200",
    ),
    _row(
        "strategy",
        "confidence",
        "strategies.confidence:ConfidenceSelection",
        "the sample the model itself is surest of",
    ),
    _row(
        "strategy",
        "best-of-n",
        "strategies.best_of_n:BestOfN",
        "the sample a verifier likes most, or a vote weighted by it",
        "2110.14168",
    ),
    _row(
        "strategy",
        "beam",
        "strategies.beam:Beam",
        "step beam: the steps a verifier likes most go on",
        "2408.03314",
    ),
    _row(
        "strategy",
        "dvts",
        "strategies.dvts:DiverseTreeSearch",
        "n/width independent trees, each keeping its best step",
    ),
    _row(
        "strategy",
        "mcts",
        "strategies.mcts:Mcts",
        "tree search by PUCT with a verifier as value",
        "2309.17179",
    ),
    _row(
        "strategy",
        "best-first",
        "strategies.best_first:BestFirst",
        "tree of thoughts: the most valued open state is expanded next",
        "2305.10601",
    ),
    _row(
        "strategy",
        "lookahead",
        "strategies.lookahead:Lookahead",
        "step beam that judges a step by where k greedy steps lead",
        "2408.03314",
    ),
    _row(
        "strategy",
        "particle-filtering",
        "strategies.particle_filtering:ParticleFiltering",
        "particles redrawn in proportion to a verifier's odds at every step",
        "2502.01618",
    ),
    _row(
        "strategy",
        "stepwise-acceptance",
        "strategies.stepwise_acceptance:StepwiseAcceptance",
        "a step goes on only if accepted, else again, else back",
        "2504.07891",
    ),
    _row(
        "strategy",
        "entropy-branching",
        "strategies.entropy_branching:EntropyBranching",
        "further paths start where one chain was least certain",
        "2506.01939",
    ),
    _row(
        "strategy",
        "self-eval-beam",
        "strategies.self_eval_beam:SelfEvalBeam",
        "stochastic beam by the model's probability times an evaluation",
        "2305.00633",
    ),
    _row("strategy", "rap", "strategies.rap:Rap", "UCT over steps by usefulness times confidence", "2305.14992"),
    _row(
        "strategy",
        "rstar",
        "strategies.rstar:RStar",
        "five actions without a reward model, then agreement with a second model",
        "2408.06195",
    ),
    _row(
        "strategy",
        "self-refine",
        "strategies.self_refine:SelfRefine",
        "review and improve its own answer",
        "2310.01798",
    ),
    _row(
        "strategy",
        "knockout",
        "strategies.knockout:Knockout",
        "samples compared two at a time by --role judge until one is left",
        "2306.05685",
    ),
    _row(
        "strategy",
        "swiss",
        "strategies.swiss:Swiss",
        "samples compared by --role judge in rounds of equal points",
    ),
    _row(
        "strategy",
        "revisions",
        "strategies.revisions:Revisions",
        "chains of revised solutions; the best of each chain, then of all",
        "2408.03314",
    ),
    _row(
        "strategy",
        "critic-guided",
        "strategies.critic_guided:CriticGuided",
        "where no next step is good, a critique and one more try",
    ),
    _row(
        "strategy",
        "budget-forcing",
        "strategies.budget_forcing:BudgetForcing",
        "at most, or at least, so much thinking",
        "2501.19393",
    ),
    _row(
        "strategy",
        "convergence-exit",
        "strategies.convergence_exit:ConvergenceExit",
        "stop when a forced answer has settled",
        "2412.20993",
    ),
    _row(
        "strategy",
        "compute-optimal",
        "strategies.compute_optimal:ComputeOptimal",
        "probe the difficulty, then choose the strategy",
        "2408.03314",
    ),
    _row(
        "strategy",
        "bayes-adaptive",
        "strategies.bayes:BayesAdaptive",
        "vote that samples while one more is worth its price (Bayes)",
    ),
    _row(
        "strategy",
        "self-check",
        "strategies.self_check:SelfCheck",
        "a vote; below certainty c the model is asked to confirm, else the next answer",
        "2310.04815",
    ),
    _row(
        "strategy",
        "diverse",
        "strategies.diverse:Diverse",
        "samples under several prompts, a vote weighted by a verifier",
        "2206.02336",
    ),
    _row("prompt", "bare", "prompts.styles:Bare", "the question alone"),
    _row("prompt", "direct", "prompts.styles:Direct", "only the answer"),
    _row("prompt", "cot", "prompts.styles:ChainOfThought", "think step by step, one call", "2205.11916"),
    _row(
        "prompt",
        "zero-shot-cot",
        "prompts.styles:ZeroShotCoT",
        "the trigger begins the reply, a second call reads the answer",
        "2205.11916",
    ),
    _row("prompt", "few-shot-cot", "prompts.styles:FewShotCoT", "worked exemplars first", "2201.11903"),
    _row(
        "prompt",
        "supervised-cot",
        "prompts.styles:SupervisedCoT",
        "what to write at each step, by family of problem",
        "2410.14198",
    ),
    _row(
        "prompt",
        "chain-of-draft",
        "prompts.styles:ChainOfDraft",
        "a short draft of each step; limit=N cuts it",
        "2502.18600",
    ),
    _row(
        "prompt",
        "analogical",
        "prompts.recall:Analogical",
        "k related problems of the model's own making first; kind=unrelated is the control",
        "2310.01714",
    ),
    _row(
        "prompt",
        "step-back",
        "prompts.recall:StepBack",
        "first call: the general question behind it; then the problem",
        "2310.06117",
    ),
    _row(
        "prompt",
        "self-verify",
        "prompts.recall:SelfVerify",
        "in words, then as a program traced by hand, then compared; nothing is run",
    ),
    _row(
        "prompt",
        "retrieve",
        "prompts.retrieval:Retrieve",
        "retrieve(collection=FILE), solved problems or passages found by BM25; or --retrieve FILE",
    ),
    _row(
        "prompt",
        "steps",
        "prompts.structured:Steps",
        "any prompt, its steps and its answer asked for apart: by JSON schema or tags; or --format steps",
    ),
    _row("verifier", "logprob", "verifiers.basic:LogProb", "probability per token of the text"),
    _row("verifier", "agreement", "verifiers.basic:Agreement", "share of samples with the same answer", "2203.11171"),
    _row("verifier", "data-flow", "verifiers.data_flow:DataFlow", "every number traced to the question; no tokens"),
    _row(
        "verifier",
        "mixed",
        "verifiers.mixed:Mixed",
        "another verifier mixed with the policy's probability of each step",
        "2305.00633",
    ),
    _row("verifier", "rubric", "verifiers.rubric:load", "rubric(file=PATH), weighted criteria judged by --role judge"),
    _row("verifier", "judge", "verifiers.judge:Judge", "judge:NAME@URL, a model asked for a number"),
    _row(
        "verifier", "p-true", "verifiers.asking:PTrue", "P(Yes), asked of the policy or p-true:NAME@URL", "2207.05221"
    ),
    _row(
        "verifier",
        "critique",
        "verifiers.asking:Critique",
        "share of k critiques that find nothing wrong; or critique:NAME@URL",
        "2408.15240",
    ),
    _row("verifier", "prm", "verifiers.learned:load", "prm:PATH, a number per step by a trained model", "2305.20050"),
    _row("verifier", "orm", "verifiers.learned:load", "orm:PATH, a number per solution", "2110.14168"),
    _row("verifier", "value", "verifiers.learned:load", "value:PATH, P(right in the end) per step", "2309.17179"),
    _row(
        "verifier", "head", "verifiers.shared_head:load_shared", "head:PATH, on the generator's own states; no tokens"
    ),
    _row("verifier", "dpo", "verifiers.implicit:load_implicit", "dpo:PATH, a reward hidden in a model", "2305.18290"),
    _row("verifier", "simpo", "verifiers.implicit:load_implicit", "simpo:PATH, mean log-probability", "2405.14734"),
    _row("verifier", "genrm", "verifiers.learned:load", "genrm:PATH, p(Yes) after a question", "2408.15240"),
    _row("verifier", "minos", "verifiers.learned:load", "minos:PATH, a head trained after critiques", "2406.14024"),
    _row(
        "annotator",
        "math-shepherd",
        "annotate.math_shepherd:MathShepherd",
        "values every step of sampled solutions by completing it",
        "2312.08935",
    ),
    _row(
        "annotator",
        "mips",
        "annotate.mips:Mips",
        "values steps by completions, also by another model's; read by any aggregate",
        "2402.02658",
    ),
    _row("annotator", "exact", "annotate.exact:Exact", "the truth of every step, where the task knows it"),
    _row(
        "annotator",
        "tree-values",
        "annotate.tree_values:TreeValues",
        "grades of an MCTS tree's leaves, backed up",
        "2309.17179",
    ),
    _row(
        "annotator",
        "diverse",
        "annotate.diverse:Diverse",
        "compares steps with those of right solutions in a pool",
        "2206.02336",
    ),
    _row(
        "annotator", "why", "annotate.why:Why", "the fatal step of each wrong solution, by rollouts where they decide"
    ),
    _row(
        "annotator",
        "omegaprm",
        "annotate.omegaprm:OmegaPRM",
        "finds the step where a wrong solution died, by binary search in a tree",
        "2406.06592",
    ),
    _row("task", "wordproblems", "tasks.wordproblems_task:WordProblemsTask", "built-in word problems of known truth"),
    _row(
        "task",
        "perturbed",
        "tasks.perturbed:Perturbed",
        "templates with names, numbers, sentences changed, paired with originals; file=PATH for published ones",
        "2410.05229",
    ),
    _row("task", "gsm8k", "tasks.gsm8k:Gsm8k", "grade-school mathematics; file=PATH or the hub", "2110.14168"),
    _row(
        "task",
        "big-bench-mistake",
        "tasks.big_bench_mistake:BigBenchMistake",
        "given solutions with their first mistake marked; file=PATH or a folder, subset=NAME",
        "2311.08516",
    ),
    _row(
        "task",
        "mr-gsm8k",
        "tasks.mr_gsm8k:MrGsm8k",
        "given GSM8K solutions with their first wrong step; file=PATH",
        "2312.17080",
    ),
    _row(
        "task", "labels", "tasks.labelled:LabelledSteps", "given solutions with labelled steps: a label file; file=PATH"
    ),
    _row(
        "task",
        "svamp",
        "tasks.gsm_variants:Svamp",
        "small changes of one-step problems; file=PATH or the hub",
        "2103.07191",
    ),
    _row(
        "task", "gsm-hard", "tasks.gsm_variants:GsmHard", "GSM8K with large numbers; file=PATH or the hub", "2211.10435"
    ),
    _row(
        "task", "game24", "tasks.number_games:Game24", "24 of four numbers, exact; file=PATH or the hub", "2305.10601"
    ),
    _row(
        "task",
        "countdown",
        "tasks.number_games:Countdown",
        "a target of given numbers, exact; drawn, file= or hub=",
        "2404.03683",
    ),
    _row(
        "task", "last-letters", "tasks.word_families:LastLetters", "last letters of names=N names, joined", "2201.11903"
    ),
    _row("task", "apples", "tasks.word_families:Apples", "built-in one- and two-step problems in MultiArith's style"),
    _row("task", "rule-table", "tasks.word_families:RuleTableTask", "problems that need a rule from a document"),
    _row("task", "choice", "tasks.choice:Choice", "multiple choice from file= or hub=; shuffle=SEED"),
    _row(
        "task",
        "processbench",
        "tasks.processbench:ProcessBench",
        "given solutions, first wrong step by experts; file=PATH or the hub",
        "2412.06559",
    ),
    _row(
        "task",
        "prm800k",
        "tasks.prm800k:Prm800k",
        "given MATH solutions, PRM800K's test split; file=PATH or the hub",
        "2305.20050",
    ),
    _row(
        "task",
        "arc",
        "tasks.arc.task:Arc",
        "ARC-AGI: find the rule, draw the grid; file=PATH or a folder, version=1|2",
        "1911.01547",
    ),
    _row("task", "math", "tasks.mathematics:Math", "competition problems; file=PATH or the hub", "2103.03874"),
    _row("task", "math500", "tasks.mathematics:Math500", "500 of MATH's test; file=PATH or the hub", "2305.20050"),
    _row("task", "aime", "tasks.mathematics:Aime", "30 problems a year, whole numbers; file=PATH or the hub"),
    _row("task", "finqa", "tasks.finqa:FinQA", "arithmetic on tables of financial reports; file=PATH", "2109.00122"),
    _row("task", "tat-qa", "tasks.tat_qa:TatQA", "arithmetic on tables and text; file=PATH or the hub", "2105.07624"),
    _row(
        "task",
        "reasoning-gym",
        "tasks.reasoning_gym:ReasoningGym",
        "104 procedural tasks, full scores only; name=",
        "2505.24760",
    ),
    _row("task", "jsonl", "tasks.jsonl:Jsonl", "your own file; columns named by question=, answer=, id="),
    _row("model", "acorn", "generators.local:load_local", "the embedded model"),
    _row("model", "hf", "generators.local:load_local", "hf:NAME_OR_PATH, any causal model in process"),
    _row("model", "openai", "generators.openai:OpenAIGenerator", "openai:NAME@URL, any OpenAI-compatible server"),
    _row("model", "replay", "generators.replay:ReplayGenerator", "replay:FILE, recorded samples"),
    _row("model", "pool", "generators.pool:PoolGenerator", "pool:M1,M2, samples of several models in turn"),
    _row("model", "arc-dsl", "tasks.arc.models:dsl", "no language model: a search of short programs for arc"),
    _row(
        "model",
        "arc-memoriser",
        "tasks.arc.models:memoriser",
        "no language model: recalls the pairs of file=PATH for arc",
    ),
)
ACORN = Path(__file__).parent / "acorn"
TABLES = (".jsonl", ".json", ".csv", ".gz")
PROGRAMS = ("arc-dsl", "arc-memoriser")  # models without weights or servers: name(key=value, …)
LEARNED = ("prm", "orm", "value", "head", "dpo", "simpo", "genrm", "minos")


def named(kind: str) -> dict[str, Method]:
    """All rows of one kind by name."""
    return {m.name: m for m in METHODS if m.kind == kind}


@dataclass(frozen=True, slots=True)
class Spec:
    """A parsed ``name(key=value, …)``."""

    name: str
    arguments: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        return f"{self.name}({', '.join(f'{k}={_quoted(v)}' for k, v in self.arguments)})"


def _quoted(value: str) -> str:
    if value and not any(c in ",()={}\"'" or c.isspace() for c in value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse(text: str) -> list[Spec]:
    """Read one text; a grid gives several specs, in order. UsageError says where it went wrong."""
    text = text.strip()
    name, paren, rest = text.partition("(")
    name = name.strip()
    if not paren or not name:
        if paren or not name or any(c in name for c in ",)={}\"' "):
            raise UsageError(f"{text!r} is no method; write a name or name(key=value, …)")
        return [Spec(name)]
    if not rest.endswith(")"):
        raise UsageError(f"{text!r} does not end with ')'; write name(key=value, …), with shell quotes around it")
    keys: list[str] = []
    choices: list[list[str]] = []
    for part in split(rest[:-1], text):
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{text!r}: {part.strip()!r} is no key=value")
        if key in keys:
            raise UsageError(f"{text!r}: {key} is given twice")
        keys.append(key)
        choices.append(_values(value.strip(), text))
    return [Spec(name, tuple(zip(keys, row, strict=True))) for row in itertools.product(*choices)]


def _values(value: str, text: str) -> list[str]:
    if value.startswith("{") and value.endswith("}"):
        options = [unquoted(v.strip()) for v in split(value[1:-1], text)]
        if not options:
            raise UsageError(f"{text!r}: an empty grid {{}}")
        return options
    return [unquoted(value)]


def one(text: str, kind: str) -> Spec:
    """The single spec in ``text``; a grid is an error here."""
    specs = parse(text)
    if len(specs) != 1:
        raise UsageError(f"{text!r} is a grid of {len(specs)}; a single {kind} is needed here (grids: thence compare)")
    return specs[0]


def near(name: str, known: Sequence[str], what: str) -> str:
    """Text that lists what a mistyped name may have meant."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"unknown {what} {name!r}; did you mean {' or '.join(close)}?"
    return f"unknown {what} {name!r}; known are {', '.join(sorted(known))}"


def _import(where: str) -> Any:
    module, _, attribute = where.partition(":")
    return getattr(importlib.import_module(module), attribute)


def build(cls: Callable[..., Any], spec: Spec) -> Any:
    """Call ``cls`` with the spec's arguments, each converted to the type of the parameter it names."""
    parameters = _parameters(cls)
    values: dict[str, Any] = {}
    for key, value in spec.arguments:
        field = key.replace("-", "_")
        if field not in parameters:
            raise UsageError(f"{spec.name}: {near(key, list(parameters), 'parameter')}")
        values[field] = convert(value, parameters[field], f"{spec.name}: {key}")
    absent = [p for p in _required(cls) if p not in values]
    if absent:
        raise UsageError(f"{spec.name} needs {', '.join(f'{p}=…' for p in absent)}")
    return cls(**values)


def _parameters(cls: Callable[..., Any]) -> dict[str, Any]:
    """Parameters and their types; one without an annotation has the type of its default, else it is text."""
    owner: Any = cls
    hints = get_type_hints(owner.__init__ if isinstance(cls, type) and not is_dataclass(cls) else owner)
    found: dict[str, Any] = {}
    for p in _named(cls):
        guess = str if p.default in (p.empty, None) else type(p.default)
        found[p.name] = hints.get(p.name, guess)
    return found


def _required(cls: Callable[..., Any]) -> list[str]:
    return [p.name for p in _named(cls) if p.default is p.empty]


def _named(cls: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = inspect.signature(cls).parameters.values()
    return [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def convert(value: str, hint: Any, what: str) -> Any:
    """A string as the type ``hint``; UsageError names the parameter, the value and what would do."""
    origin = get_origin(hint)
    if origin is Literal:
        for option in get_args(hint):
            if str(option) == value:
                return option
        raise UsageError(f"{what} is {value!r}; it must be one of {', '.join(map(str, get_args(hint)))}")
    if origin in (Union, UnionType):
        inner = [h for h in get_args(hint) if h is not NoneType]
        return None if value.lower() == "none" and NoneType in get_args(hint) else convert(value, inner[0], what)
    if hint is bool:
        if value.lower() in ("true", "yes", "1", "on", "false", "no", "0", "off"):
            return value.lower() in ("true", "yes", "1", "on")
        raise UsageError(f"{what} is {value!r}; it must be true or false")
    if hint in (int, float):
        try:
            return hint(value)
        except ValueError:
            raise UsageError(f"{what} is {value!r}; it must be {'a whole' if hint is int else 'a'} number") from None
    if hint is Verifier:
        return verifier(value)
    if hint is Strategy:
        return strategy(value)
    if hint is str or hint is Any:
        return value
    if hint is PromptStyle:
        return prompt(value)
    if hint is Path:
        return Path(value)
    raise UsageError(f"{what} cannot be given as text; build it in Python")


def strategy(text: str) -> Strategy:
    """``self-consistency(n=16)``, ``path.py:Class(…)``, or the name of an installed entry point."""
    spec = one(text, "strategy")
    return cast(Strategy, build(_strategy_class(spec.name), spec))


def strategies(text: str) -> list[tuple[str, Strategy]]:
    """All strategies of a grid, each with its canonical text."""
    return [(str(s), cast(Strategy, build(_strategy_class(s.name), s))) for s in parse(text)]


def canonical(text: str) -> str:
    """The one way to write this spec: no needless blanks or quotes, arguments in the order given."""
    return ";".join(str(s) for s in parse(text))


def _strategy_class(name: str) -> Callable[..., Any]:
    rows = named("strategy")
    if name in rows:
        return cast(Callable[..., Any], _import(rows[name].where))
    if ".py:" in name:
        found = from_file(name)
        if not callable(found):
            raise UsageError(f"{name} is no class; name the strategy's class")
        return cast(Callable[..., Any], found)
    from importlib.metadata import entry_points

    for point in entry_points(group="thence.strategies"):
        if point.name == name:
            return cast(Callable[..., Any], point.load())
    raise UsageError(near(name, list(rows), "strategy"))


def from_file(where: str) -> Any:
    """The object ``path.py:name`` of a user's own file, or ``module:name`` importable from here."""
    path, _, attribute = where.rpartition(":")
    try:
        if path.endswith(".py"):
            file = Path(path).resolve()
            loader = importlib.util.spec_from_file_location(f"thence_user_{file.stem}", file)
            if loader is None or loader.loader is None or not file.exists():
                raise UsageError(f"{path} does not exist; give the path of a Python file")
            module = importlib.util.module_from_spec(loader)
            sys.modules[loader.name] = module
            loader.loader.exec_module(module)
        else:
            if "" not in sys.path:
                sys.path.insert(0, "")
            module = importlib.import_module(path)
        return getattr(module, attribute)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error


def prompt(text: str) -> PromptStyle:
    """A style by name with arguments, or a prompt file."""
    if Path(text).suffix in (".txt", ".json", ".md") or os.path.isfile(text):
        from .prompts.styles import FromFile

        return FromFile.read(text)
    spec = one(text, "prompt")
    rows = named("prompt")
    if spec.name not in rows:
        raise UsageError(near(spec.name, list(rows), "prompt style") + "; a file is given by its path")
    if spec.name == "retrieve":
        return _retrieve(spec, _import(rows[spec.name].where))
    return cast(PromptStyle, build(_import(rows[spec.name].where), spec))


def _retrieve(spec: Spec, cls: Callable[..., Any]) -> PromptStyle:
    """Retrieval around another style: the collection is read here, the rest are the style's own parameters."""
    from .tasks.passages import read_collection

    given = dict(spec.arguments)
    if not given.get("collection"):
        raise UsageError("retrieve needs collection=FILE, a folder or module:function; e.g. --retrieve solved.jsonl")
    known = ("collection", "style", "k", "control", "question", "solution")
    if wrong := next((key for key in given if key not in known), None):
        raise UsageError(f"retrieve: {near(wrong, known, 'parameter')}")
    hints = _parameters(cls)
    more = {key: convert(given[key], hints[key], f"retrieve: {key}") for key in ("k", "control") if key in given}
    style = prompt(given.get("style", "cot"))
    collection = read_collection(given["collection"], from_file, given.get("question"), given.get("solution"))
    return cast(PromptStyle, cls(collection, style, **more))


def retrieving(style: str, collection: str) -> str:
    """The text of ``style`` with retrieval: ``FILE``, or ``FILE(k=2, control=random, question=COLUMN)``."""
    spec = Spec(collection) if "(" not in collection or os.path.exists(collection) else one(collection, "collection")
    return str(Spec("retrieve", (("collection", spec.name), *spec.arguments, ("style", style))))


def formatting(style: str, format: Literal["steps"]) -> str:
    """The text of ``style`` asked for in a format; within retrieval, so that what is found has it, too."""
    if style.partition("(")[0].strip() == "retrieve":
        spec = one(style, "prompt")
        given = dict(spec.arguments)
        return str(Spec(spec.name, tuple((given | {"style": formatting(given.get("style", "cot"), format)}).items())))
    return str(Spec(format, (("style", style),)))


def verifier(text: str) -> Verifier:
    """``data-flow``, ``logprob``, ``agreement``, ``judge:NAME@URL``, or a trained one: ``prm:PATH(format=…)``."""
    kind, colon, rest = text.partition(":")
    rows = named("verifier")
    if kind.strip() in LEARNED:
        if not colon or not rest:
            raise UsageError(
                f"verifier {text!r} needs its weights: {kind}:PATH, or {kind}:acorn for the embedded model"
            )
        return _learned(kind.strip(), one(rest, "verifier"))
    if kind in ("p-true", "critique") and colon:
        asked = one(rest, "verifier")
        own = asked.name.partition(":")[0] in ("hf", "openai", "acorn", "replay")
        made = build(_import(rows[kind].where), Spec(kind, asked.arguments))
        generator = model(asked.name if own else f"openai:{asked.name}")
        return cast(Verifier, replace(made, generator=generator, label=asked.name))
    if kind == "judge":
        from .verifiers.judge import Judge

        spec = rest if rest.partition(":")[0] in ("hf", "openai", "acorn", "replay") else f"openai:{rest}"
        return Judge(model(spec), rest)
    spec_ = one(text, "verifier")
    if spec_.name not in rows:
        raise UsageError(near(spec_.name, list(rows), "verifier"))
    return cast(Verifier, build(_import(rows[spec_.name].where), spec_))


def _learned(kind: str, spec: Spec) -> Verifier:
    """A trained verifier: ``spec`` is its path with arguments."""
    from .core.card import VerifierKind
    from .core.scores import Aggregate

    name, at, url = spec.name.partition("@")
    served = bool(at) and url.startswith(("http://", "https://"))
    if served and (kind in ("head", "dpo", "simpo")):
        raise UsageError(f"{kind}:{spec.name}: this kind of verifier runs only here; write {kind}:PATH")
    load = _import("thence.verifiers.served:connect" if served else named("verifier")[kind].where)
    parameters = _parameters(load)
    options = [k for k in ("format", "aggregate", "tokenizer", "dtype", "device") if k in parameters]
    values: dict[str, Any] = {}
    for key, value in spec.arguments:
        if key not in options:
            raise UsageError(f"{kind}: {near(key, options, 'parameter')}")
        if key == "aggregate" and value not in set(Aggregate):
            raise UsageError(f"{kind}: aggregate is {value!r}; it must be one of {', '.join(Aggregate)}")
        values[key] = Aggregate(value) if key == "aggregate" else value
    if served:
        from .generators.server import Server, find_key

        return cast(Verifier, load(VerifierKind(kind), name, Server(url, key=find_key(url)), **values))
    first = (VerifierKind(kind),) if "kind" in parameters else ()
    return cast(Verifier, load(*first, spec.name, **values))


def annotator(text: str) -> Any:
    """A labelling method: ``math-shepherd(n=8, solutions=4)``, ``omegaprm(k=8, searches=10)``, ``exact``, …"""
    spec = one(text, "method")
    rows = named("annotator")
    if spec.name not in rows:
        raise UsageError(near(spec.name, list(rows), "labelling method"))
    return build(_import(rows[spec.name].where), spec)


def task(text: str) -> Task:
    """``wordproblems(level=3)``, ``gsm8k(file=PATH)``, ``jsonl(file=PATH, …)``, or a path to such a file."""
    if "(" not in text and Path(text).suffix in TABLES:
        return cast(Task, build(_import(named("task")["jsonl"].where), Spec("jsonl", (("file", text),))))
    spec = one(text, "task")
    rows = named("task")
    if spec.name not in rows:
        raise UsageError(near(spec.name, list(rows), "task"))
    return cast(Task, build(_import(rows[spec.name].where), spec))


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How to load a model or reach a server; each model reads the options that concern it.

    ``key_var`` names the environment variable that holds a server's key; ``headers`` and ``extra_body`` are sent with
    every request. Keys are never stored. ``skill`` is the run file that weighs the votes of a pool's models.
    """

    dtype: str | None = None
    device: str | None = None
    exact: bool | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    max_connections: int | None = None
    endpoint: Literal["chat", "completions"] = "chat"
    key_var: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    extra_body: tuple[tuple[str, Any], ...] = ()
    timeout: float | None = None
    skill: str | None = None
    seed: int = 0


Load = Callable[[str, ModelOptions | None], Generator]


def model(text: str, options: ModelOptions | None = None, load: Load | None = None) -> Generator:
    """``acorn``, ``hf:NAME_OR_PATH``, ``openai:NAME@URL``, ``replay:FILE#source=NAME``, ``pool:M1,M2``.

    ``load`` gives a pool its models and keeps them; without it they are made here, and closed with the pool.
    """
    o = options or ModelOptions()
    rows = named("model")
    if text.partition("(")[0].strip() in PROGRAMS:
        program = one(text, "model")
        return cast(Generator, build(_import(rows[program.name].where), program))
    kind, _, rest = text.partition(":")
    if kind not in rows:
        hint = f"; for a local checkpoint write hf:{text}" if "/" in text or Path(text).exists() else ""
        raise UsageError(near(kind, list(rows), "model") + hint)
    if kind != "acorn" and not rest:
        raise UsageError(f"model {text!r} is not complete; write {rows[kind].what.split(',')[0]}")
    if kind == "openai":
        return _server(rest, o)
    if kind == "pool":
        return _pool(rest, o, load)
    where = _import(rows[kind].where)
    if kind == "replay":
        return cast(Generator, where.open(rest, seed=o.seed))
    path = str(ACORN) if kind == "acorn" else rest
    return cast(
        Generator,
        where(
            path,
            dtype=o.dtype,
            device=o.device,
            exact=o.exact,
            trust_remote_code=o.trust_remote_code,
            allow_pickle=o.allow_pickle,
        ),
    )


def is_pool(text: str) -> bool:
    """Whether a model is several."""
    return text.partition(":")[0] == "pool"


def _pool(rest: str, o: ModelOptions, load: Load | None) -> Generator:
    from .generators.pool import PoolGenerator, names_of, parse_pool

    texts, shares = parse_pool(f"pool:{rest}")
    skill = None
    if o.skill is not None:
        from .stores.skill import read_skill

        skill = read_skill(o.skill)
    own = replace(o, skill=None)
    models = {name: (load or model)(text, own) for name, text in zip(names_of(texts), texts, strict=True)}
    return PoolGenerator(models, shares, skill=skill, owned=load is None)


def _server(rest: str, o: ModelOptions) -> Generator:
    name, at, url = rest.partition("@")
    if not at or not name or not url.startswith(("http://", "https://")):
        raise UsageError(f"model 'openai:{rest}' is not NAME@URL; write e.g. openai:qwen@http://127.0.0.1:8000/v1")
    more: dict[str, Any] = {}
    if o.max_connections is not None:
        more["max_connections"] = o.max_connections
    if o.timeout is not None:
        more["timeout"] = o.timeout
    key = None
    if o.key_var is not None:
        key = os.environ.get(o.key_var)
        if key is None:
            raise UsageError(f"--key-var names {o.key_var}, which is not set; export it with the server's key")
    return cast(
        Generator,
        _import(named("model")["openai"].where)(
            name, url, key=key, headers=dict(o.headers), extra_body=dict(o.extra_body), endpoint=o.endpoint, **more
        ),
    )


def with_arguments(task_text: str, arguments: Mapping[str, str]) -> str:
    """A task's text with more arguments; a file's path becomes ``jsonl(file=PATH, …)``."""
    plain_file = "(" not in task_text and Path(task_text).suffix in TABLES
    spec = Spec("jsonl", (("file", task_text),)) if plain_file else one(task_text, "task")
    twice = [k for k, _ in spec.arguments if k in arguments]
    if twice:
        raise UsageError(f"{task_text!r} already has {twice[0]}; give it once")
    return str(Spec(spec.name, (*spec.arguments, *arguments.items())))


def table() -> list[Mapping[str, object]]:
    """The whole map as plain rows, parameters included, for ``thence methods --json``."""
    rows: list[Mapping[str, object]] = []
    for m in METHODS:
        shown: dict[str, object] = {}
        if m.kind in ("strategy", "prompt"):
            shown = _shown_parameters(_import(m.where))
        rows.append({"name": m.name, "kind": m.kind, "what": m.what, "paper": m.paper, "parameters": shown})
    return rows


def _shown_parameters(cls: Any) -> dict[str, object]:
    return {
        f.name: None if f.default is MISSING else f.default
        for f in fields(cls)
        if f.init and f.name not in ("instruction", "trigger", "ask", "beliefs", "second")
    }
