"""acorn: the small language model inside thence, trained from nothing on the package's own word problems.

This file is the whole recipe, top to bottom: vocabulary, data mixture, network, optimiser, loop, export, measurement.
One CPU thread is enough; a GPU is used when ``device="cuda"`` is given.

Why it is built this way (pilots in docs/acorn.md):

* a closed vocabulary of whole words and single digits: a BPE of 200 pieces learnt next to nothing in the same time;
* small batches and a loss on the solution only, never on the question;
* bfloat16 products (weights in float32) and attention written out: together twice the tokens per second of float32
  with the library's fused attention, at this size;
* Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; scaled to AdamW's update size as in Liu et
  al. 2025, arXiv:2502.16982) on the matrices, AdamW on embeddings and norms; linear warm-down to zero.

The network is Qwen3's (RMSNorm also on queries and keys, RoPE, SwiGLU), written out so that all of it can be read here
and its products stacked; ``export`` renames the weights, so any Qwen3 loader reads them.

It is imperfect on purpose: good enough that sampling finds the right answer, not good enough that greedy does.

Not covered: several devices, packing of several problems into one row.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import ClassVar

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config

from thence.core.review import AGAIN, IMPROVE, REVIEW, REVIEW_STEP
from thence.prompts.retrieval import above
from thence.tasks.rule_table import beside, draw_rule, draw_visit
from thence.tasks.wordproblems import (
    ITEMS,
    NAMES,
    RELATIVES,
    WORDS,
    Mix,
    WordProblem,
    WordProblems,
    draw_problem,
    extract_answer,
    render_solution,
    words,
)
from thence.tasks.wordproblems_errors import spoil

# --- vocabulary ------------------------------------------------------------------------------------------------------

MARKERS = ["<think>", "</think>", "<pause>", "<step>"]  # reserved
SPECIAL = ["[UNK]", "<pad>", "<eos>", *MARKERS]
SYMBOLS = [*'0123456789+-*/=:;,.?"()[]{}!%$&#@', "\n", " ", "####", " ####", "<<", " <<", ">>", ' "', " ("]
# Words inside a sentence: with a leading space only.
INNER = words(
    "has have had as many much than more fewer less times twice half of all each every and or in total together now "
    "how does do did get gets gives loses buys sells for dollars to the we I me my is are was it its he she they them "
    "not only answer think step steps by but keep a short draft words most at write after person turn name equation "
    "between word last letter letters joined join take them from this that what first then so with on if be can "
    "arabic numerals same new left right number numbers both other one two three four five"
)
# Words that open a sentence or a line: with and without a leading space.
OPENING = words(
    "How Then Think Give For Write Take Therefore Let's Total Difference There Each What If So Now Q A I We My The You "
    "It Who And"
)
# What a reviewer is asked and says (`thence.core.review`), and the question of generative verifiers.
REVIEWING = words(
    "your previous find problems you none found improve may mistake question again beginning finished why"
)
REVIEWING_OPENING = words("Review Based Solve Say Is nothing")
# Reserved for later work (units, templates, verdicts, critiques, programs), so that the vocabulary need not change.
RESERVED_INNER = words(
    "ok bad correct wrong yes no true false check error because step left costs cents minutes hours days kilograms "
    "metres boxes per eats finds sum difference price return print def int answer= plan solve problem solution"
)
RESERVED_OPENING = words(
    "Check Backtrack Wait Alternative Step Yes No Answer Question Plan Verify Correct Wrong Error Hint Hmm Program "
    "System User True False def return print"
)
# fmt: off
RESERVED_TOKENS = [
    "arabic", " =", " +", " -", " *", " /", "\n    ", "    ", "==", "!=", "k:", "_", "'", " ?", "->", " ->", "|",
]
# fmt: on
VISITING = [" These", " passages", " help", " visits", " takes"]  # retrieved rules (`thence.tasks.rule_table`)


def vocabulary() -> list[str]:
    """All token strings, ids in order, padded to a multiple of 64. Decoding is their plain concatenation."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = [*SPECIAL, *SYMBOLS, *letters, *(f" {letter}" for letter in letters)]
    names = [*NAMES, *WORDS, *(relative.capitalize() for relative in RELATIVES)]
    for word in [*names, *OPENING, *RESERVED_OPENING, *REVIEWING_OPENING]:
        tokens += [word, f" {word}"]
    tokens += [f" {word}" for word in [*ITEMS, *RELATIVES, *INNER, *RESERVED_INNER, *REVIEWING]]
    tokens += [*RESERVED_TOKENS, *VISITING]
    tokens = list(dict.fromkeys(tokens))
    unused = -len(tokens) % 64
    return tokens + [f"<reserved_{index}>" for index in range(unused)]


CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{ message['content'] + '\\n' }}"
    "{%- elif message['role'] == 'user' -%}{{ 'Q: ' + message['content'] + '\\n' }}"
    "{%- elif loop.last and continue_final_message is defined and continue_final_message -%}"
    "{{ ('A:' if message['content'].startswith(' ') else 'A: ') + message['content'] }}"
    "{%- else -%}{{ ('A:' if message['content'].startswith(' ') else 'A: ') + message['content'] + '\\n\\n' }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'A:' }}{%- endif -%}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words with their leading space, single digits, and ``[UNK]`` for everything else.

    A number is never one piece with the space before it: after a bare question a direct answer therefore begins with
    the lone space and a chain of thought with a word, and branching on the first token tells them apart. The joined
    letters of last-letter concatenation (`` ya``) are split into letters, recognised as up to nine lower-case letters
    at the end of a line that are no known word; any other unknown word stays one piece, so that its offsets name it.
    """
    tokens = vocabulary()
    short = sorted({t.strip() for t in tokens if t.strip().isalpha() and t.strip().islower()}, key=len, reverse=True)
    known = rf"(?: |(?<![A-Za-z]))(?:{'|'.join(short)})(?![A-Za-z'])"
    run_ends = r"(?=[a-z]{%d,%d}(?:\n|$))"
    joined = "[a-z]" + run_ends % (0, 8) + "| " + run_ends % (2, 9)
    symbols = r" ?####| ?<<|>>|\n {4}| {4}|==|!=| ?->| [=+*/?(\"-](?= |$)| \(| \"|k:|answer="
    pattern = rf"{symbols}|{known}|{joined}| ?[A-Za-z]+(?:'[a-z]+)?|\n|."
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=MARKERS,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
        chat_template=CHAT_TEMPLATE,
    )


# --- data ------------------------------------------------------------------------------------------------------------

COT_INSTRUCTION = "Think step by step."
DIRECT_INSTRUCTION = "Give only the answer."
DRAFT_INSTRUCTION = (
    "Think step by step, but keep only a short draft of each step, five words at most. Write the answer after ####."
)
SUPERVISED_INSTRUCTION = (
    "For each person in turn, write the name and the equation between << and >>. Write the answer after ####."
)
SUPERVISED_LETTERS = "For each word in turn, write its last letter. Write the joined letters after ####."
TRIGGER = " Let's think step by step."
CHECK = "\nCheck:"  # the input formats of verifiers that are called check and genrm
GENRM = "\nIs the answer correct (Yes/No)?"
TRIGGER_ANSWER = "\nTherefore, the answer (arabic numerals) is"

FAMILY_SHARES = {"graph": 0.83, "apples": 0.05, "letters": 0.06, "rules": 0.06}
LEVEL_SHARES: dict[str, dict[int, float]] = {
    "graph": {1: 0.10, 2: 0.20, 3: 0.27, 4: 0.21, 5: 0.15, 6: 0.07},
    "apples": {2: 1.0},
    "letters": {1: 0.35, 2: 0.3, 3: 0.25, 4: 0.1},
    "rules": {1: 0.3, 2: 0.35, 3: 0.25, 4: 0.1},
}
TRAINING_MIX = Mix(largest=60, shuffled=0.3, distracted=0.2)
# Share of training problems per format; see ``render_example``.
FORMAT_SHARES = {
    "cot": 0.41,
    "supervised": 0.08,
    "draft": 0.11,
    "direct": 0.07,
    "bare": 0.10,  # 90 % direct, 10 % CoT
    "exemplars": 0.07,  # 1 to 3 short solved problems first; the format follows theirs
    "trigger": 0.02,  # "Let's think step by step.", and its second call
    "verdict": 0.05,  # a solution, right or with a planted error, and whether it is right
    "critique": 0.05,  # the same as a chat: a review of each step
    "revision": 0.04,  # a wrong solution, its review, and a right one
}


@dataclass(frozen=True, slots=True)
class Example:
    """One training row: the model reads ``prompt`` and learns ``solution`` (text without ``<eos>``)."""

    prompt: str
    solution: str


def ask(question: str, instruction: str = "") -> str:
    """The plain prompt: ``Q: …``, the instruction on its own line, ``A:``."""
    return f"Q: {question}\n{instruction}\nA:" if instruction else f"Q: {question}\nA:"


def _choose(rng: Random, shares: Mapping[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def _draw(rng: Random, family: str, most: int | None = None) -> WordProblem:
    """A training problem of the family, its level by ``LEVEL_SHARES``, at most ``most``."""
    shares = {level: share for level, share in LEVEL_SHARES[family].items() if most is None or level <= most}
    level = rng.choices(list(shares), list(shares.values()))[0]
    if family != "rules":
        return draw_problem(rng, family, level, "train", "", TRAINING_MIX)
    problem, rule = draw_visit(rng, level, "train", "", TRAINING_MIX, lambda host, item: draw_rule(rng, host, item))
    shown = [told.text for told in beside(rng, rule)]
    return replace(problem, question=above(shown, problem.question))


def draw_example(rng: Random) -> Example:
    """One row of the mixture: a family, a level, a format."""
    family, style = _choose(rng, FAMILY_SHARES), _choose(rng, FORMAT_SHARES)
    if style == "exemplars":
        shown = rng.choices(("cot", "direct", "draft"), (5, 4, 1))[0]
        shots = [_draw(rng, family, 2) for _ in range(rng.randint(1, 3))]
        head = "".join(f"{ask(shot.question)}{render_solution(shot, shown)}\n\n" for shot in shots)
        problem = _draw(rng, family, 3)
        return Example(head + ask(problem.question), render_solution(problem, shown))
    problem = _draw(rng, family)
    if style in ("verdict", "critique", "revision"):
        return draw_review(rng, problem, style)
    if style == "bare":
        written = "direct" if rng.random() < 0.9 else "cot"
        return Example(ask(problem.question), render_solution(problem, written))
    cot = render_solution(problem, "cot")
    if style == "trigger":
        # After the trigger the solution starts on a new line, so without the leading space.
        prompt, solution = ask(problem.question) + TRIGGER, "\n" + cot[1:]
        if rng.random() < 0.5:
            return Example(prompt, solution)
        return Example(prompt + solution + TRIGGER_ANSWER, render_solution(problem, "direct"))
    supervised = SUPERVISED_LETTERS if family == "letters" else SUPERVISED_INSTRUCTION
    instruction = {
        "cot": COT_INSTRUCTION,
        "supervised": supervised,
        "draft": DRAFT_INSTRUCTION,
        "direct": DIRECT_INSTRUCTION,
    }[style]
    return Example(
        ask(problem.question, instruction), render_solution(problem, style if style in ("draft", "direct") else "cot")
    )


def draw_review(rng: Random, problem: WordProblem, style: str) -> Example:
    """A row about a solution that is right or has a planted error, each half of the time."""
    wrong, at = spoil(problem, rng) if rng.random() < 0.5 else (problem, None)
    begun = ask(problem.question, COT_INSTRUCTION)
    solution = render_solution(wrong, "cot")
    if style == "verdict":
        if rng.random() < 0.3:
            return Example(f"{begun}{solution}{GENRM}", " Yes" if at is None else " No")
        return Example(f"{begun}{solution}{CHECK}", " ok" if at is None else f" bad at {at + 1}")
    if style == "critique" and rng.random() < 0.25:  # a begun solution: only its last step is judged
        written = rng.randint(1, len(wrong.steps)) if at is None else at + 1
        shown = "\n".join(solution.split("\n")[:written]) + "\n"
        return Example(turn(begun + shown, REVIEW_STEP), review(problem, wrong, at, first=written - 1))
    if style == "critique":
        return Example(turn(begun + solution, REVIEW), review(problem, wrong, at))
    if rng.random() < 0.5:
        return Example(turn(begun + solution, AGAIN), render_solution(problem, "cot"))
    if at is None:
        wrong, at = spoil(problem, rng)
        solution = render_solution(wrong, "cot")
    reviewed = turn(begun + solution, REVIEW) + review(problem, wrong, at)
    return Example(turn(reviewed, IMPROVE), render_solution(problem, "cot"))


def turn(before: str, request: str) -> str:
    """The chat so far and the user's next turn."""
    return f"{before}\n\n{ask(request)}"


def review(problem: WordProblem, written: WordProblem, at: int | None, first: int = 0) -> str:
    """A verdict on each step from ``first`` on up to the wrong one, with what it should have been."""
    last = len(written.steps) if at is None else at
    lines = [f"Step {k + 1}: ok" for k in range(first, last if first == 0 else min(last, first + 1))]
    if at is None:
        return " " + "\n".join([*lines, "No problems found."])
    return " " + "\n".join([*lines, f"Step {at + 1}: bad, <<{problem.steps[at].equation}>>"])


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right. ``targets_BT`` is the next token inside the solution, -100 elsewhere."""

    inputs_BT: Tensor
    targets_BT: Tensor

    @property
    def tokens(self) -> int:
        """Positions that hold text, the question included."""
        return int((self.inputs_BT != PAD_ID).sum())


PAD_ID, EOS_ID = SPECIAL.index("<pad>"), SPECIAL.index("<eos>")
POOL = 8  # batches drawn together and sorted by length, so that rows of a batch need little padding


def encode_example(tokenizer: PreTrainedTokenizerFast, example: Example) -> tuple[list[int], int]:
    """(ids with ``<eos>``, length of the prompt). Prompt and solution are tokenised apart, as at generation time."""
    prompt = tokenizer.encode(example.prompt)
    return [*prompt, *tokenizer.encode(example.solution), EOS_ID], len(prompt)


def collate(rows: Sequence[tuple[list[int], int]]) -> Batch:
    """Shifts by one, pads to the longest row, and masks everything but the solution."""
    width = max(len(ids) for ids, _ in rows) - 1
    inputs_BT = torch.full((len(rows), width), PAD_ID)
    targets_BT = torch.full((len(rows), width), -100)
    for index, (ids, prompt_length) in enumerate(rows):
        inputs_BT[index, : len(ids) - 1] = torch.tensor(ids[:-1])
        targets_BT[index, prompt_length - 1 : len(ids) - 1] = torch.tensor(ids[prompt_length:])
    return Batch(inputs_BT, targets_BT)


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, batch_size: int, start: int) -> Iterator[Batch]:
    """The stream from step ``start`` on. Pool p depends on (seed, p) only, so a resumed run reads the same rows."""
    pool, skip = divmod(start, POOL)
    while True:
        rng = Random(f"acorn-{seed}-{pool}")
        rows = [encode_example(tokenizer, draw_example(rng)) for _ in range(POOL * batch_size)]
        rows.sort(key=lambda row: len(row[0]))
        order = [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
        rng.shuffle(order)
        for chunk in order[skip:]:
            yield collate(chunk)
        pool, skip = pool + 1, 0


# --- network ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network; the defaults give 1.3 M parameters outside the embeddings."""

    layers: int = 6
    width: int = 128
    heads: int = 4
    hidden: int = 384
    rope_theta: float = 10_000.0
    max_positions: int = 1024

    @property
    def head_width(self) -> int:
        return self.width // self.heads


EPSILON = 1e-6
Cache = list[tuple[Tensor, Tensor]]


class Layer(nn.Module):
    """One Qwen3 block. Matrices of equal shape are stacked: one product in the forward pass, one step in Muon."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d, h = shape.width, shape.hidden
        self.heads = shape.heads
        self.attention_norm = nn.Parameter(torch.ones(d))
        self.mlp_norm = nn.Parameter(torch.ones(d))
        self.q_norm = nn.Parameter(torch.ones(shape.head_width))
        self.k_norm = nn.Parameter(torch.ones(shape.head_width))
        self.qkv = nn.Parameter(torch.empty(3, d, d).uniform_(-1, 1) * (3 / d) ** 0.5)
        self.out = nn.Parameter(torch.zeros(1, d, d))
        self.gate_up = nn.Parameter(torch.empty(2, h, d).uniform_(-1, 1) * (3 / d) ** 0.5)
        self.down = nn.Parameter(torch.zeros(1, d, h))

    def forward(
        self, x_BTD: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, length, width = x_BTD.shape
        low = cos.dtype
        normed = F.rms_norm(x_BTD, (width,), self.attention_norm, EPSILON).to(low)
        qkv = F.linear(normed, self.qkv.view(3 * width, width).to(low)).view(batch, length, 3, self.heads, -1)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        q = rotate(F.rms_norm(q, (q.shape[-1],), self.q_norm.to(low), EPSILON), cos, sin)
        k = rotate(F.rms_norm(k, (k.shape[-1],), self.k_norm.to(low), EPSILON), cos, sin)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        # Written out: at rows this short the library's fused attention is several times slower to train on a CPU.
        scores = (q @ k.mT) * q.shape[-1] ** -0.5 + mask
        mixed = scores.softmax(-1, dtype=torch.float32).to(low) @ v
        x_BTD = x_BTD + F.linear(mixed.transpose(1, 2).reshape(batch, length, width), self.out[0].to(low))
        normed = F.rms_norm(x_BTD, (width,), self.mlp_norm, EPSILON).to(low)
        gate, up = F.linear(normed, self.gate_up.view(-1, width).to(low)).chunk(2, -1)
        return x_BTD + F.linear(F.silu(gate) * up, self.down[0].to(low)), (k, v)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding on the two halves of a head (Su et al. 2021, arXiv:2104.09864)."""
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class Acorn(nn.Module):
    """Qwen3 in its plainest form; ``export`` writes the same weights under the library's names."""

    def __init__(self, shape: Shape, vocab: int) -> None:
        super().__init__()
        self.shape = shape
        self.low = torch.float32  # dtype of the products while training; weights and residual stream stay float32
        self.embed = nn.Parameter(torch.randn(vocab, shape.width) * 0.1)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.final_norm = nn.Parameter(torch.ones(shape.width))
        self.head = nn.Parameter(torch.zeros(vocab, shape.width))
        half = shape.head_width // 2
        angle = torch.outer(
            torch.arange(shape.max_positions).float(), shape.rope_theta ** -(torch.arange(half).float() / half)
        )
        self.cos = nn.Buffer(angle.cos(), persistent=False)
        self.sin = nn.Buffer(angle.sin(), persistent=False)

    def hidden(self, ids_BT: Tensor) -> Tensor:
        """Hidden states of right-padded rows, for training."""
        length = ids_BT.shape[1]
        cos, sin = self.cos[:length].to(self.low), self.sin[:length].to(self.low)
        mask = torch.full((length, length), -torch.inf, device=ids_BT.device, dtype=self.low).triu(1)
        x = F.embedding(ids_BT, self.embed)
        for layer in self.layers:
            x, _ = layer(x, cos, sin, mask, None)
        return F.rms_norm(x, (self.shape.width,), self.final_norm, EPSILON)

    def step(self, ids_BT: Tensor, positions_BT: Tensor, mask_BTS: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Logits of the last position and the extended cache, for sampling.

        ``mask_BTS`` is added to the attention scores: 0 where attended, very negative elsewhere.
        """
        cos = self.cos[positions_BT][:, None]
        sin = self.sin[positions_BT][:, None]
        x, extended = F.embedding(ids_BT, self.embed), []
        for index, layer in enumerate(self.layers):
            x, pair = layer(x, cos, sin, mask_BTS[:, None], cache[index] if cache else None)
            extended.append(pair)
        return F.linear(F.rms_norm(x[:, -1], (self.shape.width,), self.final_norm, EPSILON), self.head), extended


def solution_loss(model: Acorn, hidden: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
    """Mean cross-entropy over the solution tokens; the head runs on those positions only."""
    targets = batch.targets_BT.flatten()
    chosen = (targets != -100).nonzero().squeeze(1)
    states = hidden(batch.inputs_BT).flatten(0, 1)
    return F.cross_entropy(F.linear(states[chosen], model.head), targets[chosen])


# --- optimiser -------------------------------------------------------------------------------------------------------


class Muon:
    """Momentum, orthogonalised by five Newton-Schulz steps, on the stacked matrices (..., rows, columns).

    All matrices of one shape (up to transposition) go through one batched product. The update is scaled by
    0.2 sqrt(max(rows, columns)), so that learning rates are those of AdamW (arXiv:2502.16982, eq. 4).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], momentum: float = 0.95) -> None:
        self.parameters, self.momentum = list(parameters), momentum
        self.velocity = [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        groups: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
        for parameter, velocity in zip(self.parameters, self.velocity, strict=True):
            assert parameter.grad is not None
            velocity.lerp_(parameter.grad, 1 - self.momentum)
            update = parameter.grad.lerp(velocity, self.momentum)
            rows, columns = sorted(parameter.shape[-2:])
            groups.setdefault((rows, columns), []).append((parameter, update))
        for (_, columns), members in groups.items():
            flat = [u if u.shape[-2] <= u.shape[-1] else u.mT for _, u in members]
            parts = torch.split(orthogonalise(torch.cat(flat)), [len(u) for u in flat])
            for (parameter, update), part in zip(members, parts, strict=True):
                part = part if update.shape[-2] <= update.shape[-1] else part.mT
                parameter.add_(part, alpha=-learning_rate * 0.2 * columns**0.5)

    def state_dict(self) -> list[Tensor]:
        return self.velocity

    def load_state_dict(self, state: Sequence[Tensor]) -> None:
        for velocity, saved in zip(self.velocity, state, strict=True):
            velocity.copy_(saved)


def orthogonalise(x: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix to each x (rows <= columns), roughly: quintic Newton-Schulz, five steps."""
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.float()


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AcornConfig:
    """One training run; the defaults made the checkpoint in the package.

    Everything down to ``shape`` decides the weights: a checkpoint of other values is refused.
    """

    steps: int = 8_200  # also fixes the learning-rate schedule
    batch_size: int = 16
    learning_rate: float = 3e-3
    warmup: int = 100  # steps
    warm_down: float = 0.5  # share of the steps, at the end, over which the learning rate falls to zero
    seed: int = 1
    bfloat16: bool = True  # dtype of the products; slower than float32 on a CPU without AVX-512
    shape: Shape = field(default_factory=Shape)
    out: Path = Path("out/acorn")
    device: str = "cpu"
    threads: int = 1
    compile: bool = True  # torch.compile where there is a C++ compiler: 1.25 times as fast after a minute
    save_every: int = 500  # steps
    measure: int = 300  # dev and test problems measured at the end; 0: none, and temperature 1

    def identity(self) -> dict[str, object]:
        """The settings that decide the weights."""
        decide = ("steps", "batch_size", "learning_rate", "warmup", "warm_down", "seed", "bfloat16", "shape")
        return {name: value for name, value in asdict(self).items() if name in decide}


def scheduled_rate(config: AcornConfig, step: int) -> float:
    """Linear warm-up, constant, linear warm-down to zero."""
    up = (step + 1) / config.warmup
    down = (config.steps - step) / (config.warm_down * config.steps)
    return config.learning_rate * min(1.0, up, down)


@dataclass(slots=True)
class Progress:
    """What a run has read so far."""

    step: int = 0
    tokens: int = 0  # positions that hold text, questions included
    seconds: float = 0.0
    digest: str = ""  # a chain of hashes over the rows: equal digests have read the same data


def train_acorn(config: AcornConfig, on_step: Callable[[int], None] | None = None) -> Path:
    """Trains, or continues a run, and returns the directory with the exported model, ``config.out / "model"``.

    ``config.out / "checkpoint.pt"`` is replaced every ``save_every`` steps. A killed run continues from there and, on
    the same machine, ends in the same weights as an uninterrupted one. ``on_step`` is called after every step.

    Raises ValueError when the checkpoint was made with settings that lead to other weights.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    tokenizer = build_tokenizer()
    model = Acorn(config.shape, len(tokenizer)).to(config.device)
    model.low = torch.bfloat16 if config.bfloat16 else torch.float32
    compiled = config.compile and shutil.which("g++") is not None
    hidden = torch.compile(model.hidden, dynamic=True) if compiled else model.hidden
    muon = Muon([parameter for parameter in model.parameters() if parameter.ndim == 3])
    adam = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.ndim < 3], betas=(0.9, 0.95), weight_decay=0.0
    )
    progress, checkpoint = Progress(), config.out / "checkpoint.pt"
    config.out.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=config.device, weights_only=True)
        for name, value in config.identity().items():
            if saved["config"][name] != value:
                raise ValueError(
                    f"{checkpoint} was trained with {name}={saved['config'][name]}, this run asks for {value}: "
                    "use another directory or delete it"
                )
        model.load_state_dict(saved["model"])
        muon.load_state_dict(saved["muon"])
        adam.load_state_dict(saved["adam"])
        progress = Progress(**saved["progress"])
        print(f"continuing from step {progress.step} of {config.steps}", flush=True)

    stream = batches(tokenizer, config.seed, config.batch_size, progress.step)
    clock, recent = time.monotonic() - progress.seconds, 0.0
    for step in range(progress.step, config.steps):
        batch = next(stream)
        progress.digest = hashlib.sha256(progress.digest.encode() + batch.inputs_BT.numpy().tobytes()).hexdigest()
        progress.tokens += batch.tokens
        batch = Batch(batch.inputs_BT.to(config.device), batch.targets_BT.to(config.device))

        loss = solution_loss(model, hidden, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        rate = scheduled_rate(config, step)
        for group in adam.param_groups:
            group["lr"] = rate
        adam.step()
        muon.step(rate)
        model.zero_grad()

        progress.step, progress.seconds = step + 1, time.monotonic() - clock
        recent += float(loss.detach()) / 100
        if progress.step % 100 == 0:
            print(
                f"step {progress.step}/{config.steps}  loss {recent:.4f}  tokens {progress.tokens:,}  "
                f"seconds {progress.seconds:.0f}",
                flush=True,
            )
            recent = 0.0
        if progress.step % config.save_every == 0 or progress.step == config.steps:
            state = {
                "model": model.state_dict(),
                "muon": muon.state_dict(),
                "adam": adam.state_dict(),
                "progress": asdict(progress),
                "config": config.identity(),
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
        if on_step:
            on_step(progress.step)

    model = model.cpu()
    model.low = torch.float32
    return finish(model, config, progress)


def finish(model: Acorn, config: AcornConfig, progress: Progress) -> Path:
    """Chooses the default temperature on dev problems, measures it on test problems, and exports."""
    temperature, tables = 1.0, "not measured"
    if config.measure:
        dev = WordProblems(split="dev", size=config.measure).items()
        temperature = max(TEMPERATURES, key=lambda t: evaluate_band(model, dev, t).merit)
        levels = {
            level: evaluate_band(model, WordProblems(level=level, size=config.measure).items(), temperature)
            for level in range(1, 7)
        }
        tables = band_tables(levels)
        print(f"temperature {temperature}\n{tables}", flush=True)
    card = CARD.format(
        **config.identity() | asdict(progress),
        minutes=progress.seconds / 60,
        threads=config.threads,
        device=config.device,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        torch=torch.__version__,
        temperature=temperature,
        measure=config.measure,
        tables=tables,
    )
    return export(model, config.out / "model", temperature, card)


def band_tables(levels: Mapping[int, Band]) -> str:
    """Accuracies per level, and the paired differences that say what the model is for."""
    lines = ["| level | " + " | ".join(Band.COLUMNS) + " |", "|---" * (1 + len(Band.COLUMNS)) + "|"]
    lines += [f"| {level} | {band.row()} |" for level, band in levels.items()]
    pairs = (("vote", "one"), ("vote", "greedy"), ("coverage", "control"), ("greedy", "direct"))
    lines += ["", "| level | " + " | ".join(f"{a} - {b}" for a, b in pairs) + " |", "|---" * (1 + len(pairs)) + "|"]
    for level, band in levels.items():
        cells = ("{:+.3f} ± {:.3f}".format(*band.mean(a, minus=b)) for a, b in pairs)
        lines.append(f"| {level} | {' | '.join(cells)} |")
    return "\n".join(lines)


CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# acorn

The small language model inside thence: {parameters:,} parameters, Qwen3 architecture, a closed vocabulary, trained from
nothing on the package's own word problems (`thence.tasks.wordproblems`, training split) by
`src/thence/recipes/acorn.py`. It is imperfect on purpose, so that voting, search, verifiers and training have
something to show. It knows nothing outside those problems.

* seed {seed}, {steps} steps of {batch_size} rows, {tokens:,} tokens (questions included)
* learning rate {learning_rate}, {warmup} steps of warm-up, linear warm-down over the last {warm_down:.0%}
* products in bfloat16: {bfloat16}; weights in float32; torch {torch}
* data hash {digest}
* {minutes:.0f} minutes on {device} with {threads} thread(s)
* default temperature {temperature}, chosen on the dev split (level 3)

Measured on {measure} test problems per level with that temperature, prompt "Think step by step." (`one`: mean of 16
samples; `vote`: their majority; `coverage`: any of them right; `control`: coverage by the answers to another problem;
`direct`: greedy after "Give only the answer."), means with 95 % intervals; below them paired differences:

{tables}
"""


# --- export ----------------------------------------------------------------------------------------------------------


def hugging_face_weights(model: Acorn) -> dict[str, Tensor]:
    """The weights in float32 under the names of transformers' ``Qwen3ForCausalLM``."""
    named: dict[str, Tensor] = {
        "model.embed_tokens.weight": model.embed,
        "model.norm.weight": model.final_norm,
        "lm_head.weight": model.head,
    }
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, Layer)
        at = f"model.layers.{index}."
        for name, weight in zip("qkv", layer.qkv, strict=True):
            named[f"{at}self_attn.{name}_proj.weight"] = weight
        named |= {
            f"{at}self_attn.o_proj.weight": layer.out[0],
            f"{at}self_attn.q_norm.weight": layer.q_norm,
            f"{at}self_attn.k_norm.weight": layer.k_norm,
            f"{at}mlp.gate_proj.weight": layer.gate_up[0],
            f"{at}mlp.up_proj.weight": layer.gate_up[1],
            f"{at}mlp.down_proj.weight": layer.down[0],
            f"{at}input_layernorm.weight": layer.attention_norm,
            f"{at}post_attention_layernorm.weight": layer.mlp_norm,
        }
    return {name: weight.detach().float().cpu().clone() for name, weight in named.items()}


def qwen3_config(shape: Shape, vocab: int) -> Qwen3Config:
    return Qwen3Config(
        architectures=["Qwen3ForCausalLM"],
        vocab_size=vocab,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.head_width,
        max_position_embeddings=shape.max_positions,
        rms_norm_eps=EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=False,
        attention_bias=False,
        bos_token_id=None,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
        dtype="float32",
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, target: Path) -> None:
    """As the library does, but under the class name and keys that its older versions and vLLM know too."""
    tokenizer.save_pretrained(target, save_jinja_files=False)
    file = target / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["additional_special_tokens"] = settings.pop("extra_special_tokens", MARKERS)
    file.write_text(json.dumps(settings, indent=2) + "\n")


def export(model: Acorn, target: Path, temperature: float, card: str) -> Path:
    """Writes the model as transformers reads it into ``target``; files there are replaced one by one, each at once."""
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    tokenizer = build_tokenizer()
    save_file(hugging_face_weights(model), fresh / "model.safetensors", metadata={"format": "pt"})
    qwen3_config(model.shape, len(tokenizer)).save_pretrained(fresh)
    save_tokenizer(tokenizer, fresh)
    generation = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True, temperature=temperature, top_p=1.0, top_k=0, eos_token_id=EOS_ID, pad_token_id=PAD_ID
    )
    generation.save_pretrained(fresh)
    (fresh / "README.md").write_text(card)
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(fresh.iterdir()):
        file.chmod(0o644)
        os.replace(file, target / file.name)
    fresh.rmdir()
    return target


# --- measurement -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def sample(
    model: Acorn,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    n: int,
    temperature: float,
    seed: int = 0,
    max_new: int = 160,
) -> list[list[str]]:
    """``n`` continuations of each prompt, until ``<eos>``; ``temperature`` 0 is greedy. For measurement only."""
    generator = torch.Generator().manual_seed(seed)
    ids = [tokenizer.encode(prompt) for prompt in prompts]
    width = max(len(row) for row in ids)
    inputs = torch.tensor([[PAD_ID] * (width - len(row)) + row for row in ids])
    pads_B = torch.tensor([width - len(row) for row in ids])
    blocked_BS = torch.zeros(len(ids), width).masked_fill(torch.arange(width) < pads_B[:, None], -1e9)
    mask = torch.full((width, width), -1e9).triu(1) + blocked_BS[:, None]
    positions = (torch.arange(width) - pads_B[:, None]).clamp(min=0)
    logits, cache = model.step(inputs, positions, mask, None)
    rows = torch.arange(len(ids)).repeat_interleave(n)
    logits, cache = logits[rows], [(k[rows], v[rows]) for k, v in cache]
    mask_BS, position_B = blocked_BS[rows], (width - pads_B)[rows]
    written: list[list[int]] = [[] for _ in rows]
    alive = list(range(len(rows)))  # which continuation each row of the batch is
    for _ in range(max_new):
        if temperature == 0:
            chosen_B = logits.argmax(-1)
        else:
            chosen_B = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).squeeze(1)
        keep = (chosen_B != EOS_ID).nonzero().squeeze(1)
        alive = [alive[index] for index in keep.tolist()]
        if not alive:
            break
        for owner, token in zip(alive, chosen_B[keep].tolist(), strict=True):
            written[owner].append(token)
        if len(keep) < len(chosen_B):
            cache = [(k[keep], v[keep]) for k, v in cache]
        mask_BS = torch.cat((mask_BS[keep], torch.zeros(len(keep), 1)), 1)
        position_B = position_B[keep]
        logits, cache = model.step(chosen_B[keep, None], position_B[:, None], mask_BS[:, None], cache)
        position_B = position_B + 1
    texts = [str(tokenizer.decode(tokens)) for tokens in written]
    return [texts[first : first + n] for first in range(0, len(texts), n)]


TEMPERATURES = (0.6, 0.8, 1.0, 1.2)


@dataclass(frozen=True, slots=True)
class Band:
    """How deliberately imperfect the model is: per quantity one number between 0 and 1 for each problem.

    All with the CoT instruction except ``direct``. ``one``: share of right samples; ``vote``: the majority of n, ties
    shared by expectation; ``coverage``: any of n is right; ``control``: coverage by the answers given to another
    problem; ``direct``: greedy after "Give only the answer."
    """

    values: Mapping[str, Sequence[float]]

    COLUMNS: ClassVar[tuple[str, ...]] = ("greedy", "one", "vote", "coverage", "control", "direct")

    def mean(self, column: str, minus: str | None = None) -> tuple[float, float]:
        """The mean over problems, or the mean paired difference, and half its 95 % interval (normal approximation)."""
        subtracted = self.values[minus] if minus else [0.0] * len(self.values[column])
        differences = [a - b for a, b in zip(self.values[column], subtracted, strict=True)]
        return fmean(differences), 1.96 * stdev(differences) / len(differences) ** 0.5

    def row(self) -> str:
        """Means and half intervals as cells of a Markdown table."""
        return " | ".join("{:.3f} ± {:.3f}".format(*self.mean(column)) for column in self.COLUMNS)

    @property
    def merit(self) -> float:
        """The smallest distance to what the default level should show: the larger, the safer the band.

        A vote at least .08 above one sample and not below greedy, and coverage of at least .85.
        """
        gain, loss = self.mean("vote", minus="one")[0], self.mean("vote", minus="greedy")[0]
        return min(gain - 0.08, loss, self.mean("coverage")[0] - 0.85)


def answers(
    model: Acorn,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[WordProblem],
    instruction: str,
    n: int,
    temperature: float,
    seed: int = 0,
) -> list[list[str | None]]:
    """The extracted answers of ``n`` continuations for each problem."""
    chunk = max(1, 256 // n)
    found: list[list[str | None]] = []
    for first in range(0, len(problems), chunk):
        prompts = [ask(problem.question, instruction) for problem in problems[first : first + chunk]]
        texts = sample(model, tokenizer, prompts, n, temperature, seed + first)
        found += [[extract_answer(text) for text in row] for row in texts]
    return found


def vote_share(votes: Sequence[str | None], truth: str) -> float:
    """The probability that a majority vote, ties broken at random, gives ``truth``; no answer is no vote."""
    counts = Counter(vote for vote in votes if vote is not None)
    best = max(counts.values(), default=0)
    winners = [vote for vote, count in counts.items() if count == best]
    return (truth in winners) / max(1, len(winners))


def evaluate_band(model: Acorn, problems: Sequence[WordProblem], temperature: float, n: int = 16) -> Band:
    """Measures the model on ``problems`` with ``n`` samples each."""
    tokenizer = build_tokenizer()
    truths = [problem.answer for problem in problems]
    greedy = answers(model, tokenizer, problems, COT_INSTRUCTION, 1, 0.0)
    direct = answers(model, tokenizer, problems, DIRECT_INSTRUCTION, 1, 0.0)
    sampled = answers(model, tokenizer, problems, COT_INSTRUCTION, n, temperature)
    others = [*sampled[1:], sampled[0]]
    return Band(
        {
            "greedy": [float(truth == row[0]) for truth, row in zip(truths, greedy, strict=True)],
            "one": [row.count(truth) / n for truth, row in zip(truths, sampled, strict=True)],
            "vote": [vote_share(row, truth) for truth, row in zip(truths, sampled, strict=True)],
            "coverage": [float(truth in row) for truth, row in zip(truths, sampled, strict=True)],
            "control": [float(truth in row) for truth, row in zip(truths, others, strict=True)],
            "direct": [float(truth == row[0]) for truth, row in zip(truths, direct, strict=True)],
        }
    )


if __name__ == "__main__":
    train_acorn(AcornConfig())
