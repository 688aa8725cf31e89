"""Input formats of process reward models: how a question and its steps are written, and where scores are read.

A row is declared here for each published family; none is ever guessed from a model's name. The text is built from the
list of steps, never from whatever separator the generator happened to use, and each step is tokenised by itself: the
tokens of a prefix are then the beginning of the tokens of everything that continues it, so that a new step costs only
its own tokens. Where a published script tokenises the whole text at once, tokens can differ at the seams (tests state
where).

| row | layout | read |
|---|---|---|
| plain | question and instruction as a chat, steps as they are | a head at each step's last token |
| shared | the same | the same, one token earlier: where the generator draws a step's last token |
| math-shepherd | ``question Step 1: … ки`` (Wang et al. 2023, arXiv:2312.08935) | + against - at ки |
| math-psa | the same with five line breaks as tag (OpenR, arXiv:2410.09671) | `` +`` against `` -`` at the tag |
| rlhflow-mistral, rlhflow-deepseek | one user turn per step, answered + or - (Xiong et al. 2024) | + against - |
| qwen-prm | chat, ``<extra_0>`` after each step (Zhang et al. 2025, arXiv:2501.07301) | class 1 of 2 |
| skywork | question, line break, steps each with a line break (Skywork-o1) | a value head at the line break |
| token-classification | prompt and steps, each with a line break (TRL's stepwise data) | class 1 of 2 |
| genrm | as plain, then a question (Zhang et al. 2024, arXiv:2408.15240) | ``Yes`` against ``No`` after it |
| check | as plain, then ``Check:``, as the embedded model has learnt it | ``ok`` against ``bad`` |
| reply | as plain | the probability of the reply itself (DPO and SimPO verifiers) |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from thence.core.errors import ModelError, UsageError
from thence.core.scores import Aggregate, Meaning
from thence.core.verdicts import CONFIRM


class Read(StrEnum):
    """What gives the number."""

    HEAD = "head"  # a head on the hidden state
    TOKENS = "tokens"  # the model's own logits of a good and a bad token
    LOGPROBS = "logprobs"  # the log-probabilities of the solution's own tokens


Pieces = tuple[str, list[tuple[str, str]]]  # the prompt; per step the text up to the reading and the text after it


@dataclass(frozen=True, slots=True)
class Format:
    """One row. ``pieces`` writes the texts; ``tag`` is what its tokenizer must have as one token, or nothing.

    ``good`` and ``bad`` are the tokens compared (Read.TOKENS). ``early`` reads one token before a step's last one.
    """

    name: str
    read: Read
    pieces: Callable[[Any, str, Sequence[str], str], Pieces]
    meaning: Meaning
    aggregate: Aggregate
    tag: str = ""
    good: str = ""
    bad: str = ""
    early: bool = False

    def candidates(self, tokenizer: Any, name: str) -> tuple[int, int]:
        """The ids of the good and the bad token; ModelError for the model ``name`` if they are not two tokens."""
        ids = tuple(_ids(tokenizer, text)[-1:] for text in (self.good, self.bad))
        if not all(ids) or ids[0] == ids[1] or _unknown(tokenizer) in (ids[0][0], ids[1][0]):
            raise ModelError(f"{name}: its tokenizer does not tell {self.good!r} from {self.bad!r}; use another format")
        return ids[0][0], ids[1][0]

    def check_tag(self, tokenizer: Any, name: str) -> None:
        """ModelError unless the tokenizer of the model ``name`` has the tag that ends each step."""
        if not self.tag:
            return
        ids = _ids(tokenizer, self.tag)
        if not ids or ids[-1] == _unknown(tokenizer) or self.tag.strip(" ") not in tokenizer.decode(ids[-1:]):
            raise ModelError(f"{name}: its tokenizer has no step tag {self.tag!r}; this is no model of {self.name}")


@dataclass(frozen=True, slots=True)
class Written:
    """A solution in tokens: ``prompt`` of ``ids`` belong to the question; the state at ``reads[k]`` scores step k."""

    ids: tuple[int, ...]
    prompt: int
    reads: tuple[int, ...]


def write(fmt: Format, tokenizer: Any, question: str, steps: Sequence[str], instruction: str = "") -> Written:
    """The tokens of a solution and where its steps are read. UsageError for a step without text."""
    empty = next((i for i, step in enumerate(steps) if not step.strip()), None)
    if empty is not None:
        raise UsageError(f"step {empty} of {len(steps)} is empty; join it with another one before scoring")
    prompt, parts = fmt.pieces(tokenizer, question, steps, instruction)
    ids = list(_ids(tokenizer, prompt, special=not _templated(tokenizer, fmt)))
    length, reads = len(ids), []
    for before, after in parts:
        ids += _inner(tokenizer, before)
        reads.append(len(ids) - (2 if fmt.early else 1))
        ids += _inner(tokenizer, after)
    return Written(tuple(ids), length, tuple(reads))


def with_end(fmt: Format, written: Written, end: int | None) -> Written:
    """For formats that read early: a solution that ended, its last step ending with the end-of-text token ``end``."""
    if not fmt.early or end is None or not written.reads:
        return written
    return Written((*written.ids, end), written.prompt, (*written.reads[:-1], len(written.ids) - 1))


def _ids(tokenizer: Any, text: str, *, special: bool = False) -> list[int]:
    return list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]) if text or special else []


def _inner(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a piece inside a text. Sentencepiece puts a blank before every text; not here."""
    line = _ids(tokenizer, "\n")
    if not text or len(line) < 2 or tokenizer.convert_ids_to_tokens(line)[0] != "▁":
        return _ids(tokenizer, text)
    return _ids(tokenizer, "\n" + text)[len(line) :]


def _unknown(tokenizer: Any) -> int | None:
    unknown: int | None = getattr(tokenizer, "unk_token_id", None)
    return unknown


def _templated(tokenizer: Any, fmt: Format) -> bool:
    """Whether the prompt's special tokens came with a chat template."""
    if fmt.pieces in (_turns, _qwen):
        return True
    return fmt.pieces not in (_shepherd, _psa, _skywork, _lines) and bool(getattr(tokenizer, "chat_template", None))


def _chat(tokenizer: Any, turns: list[dict[str, str]], *, ask: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError("this format needs a chat template, and the model's tokenizer has none")
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=ask, tokenize=False))


def _plain(tokenizer: Any, question: str, steps: Sequence[str], instruction: str) -> Pieces:
    asked = f"{question}\n{instruction}" if instruction else question
    if getattr(tokenizer, "chat_template", None):
        prompt = _chat(tokenizer, [{"role": "user", "content": asked}], ask=True)
    else:
        prompt = f"Q: {asked}\nA:"
    return prompt, [(step, "") for step in steps]


def _asked(question_after: str) -> Callable[[Any, str, Sequence[str], str], Pieces]:
    def pieces(tokenizer: Any, question: str, steps: Sequence[str], instruction: str) -> Pieces:
        prompt, parts = _plain(tokenizer, question, steps, instruction)
        return prompt, [*parts[:-1], (parts[-1][0].rstrip("\n") + question_after, "")] if parts else []

    return pieces


def _numbered(steps: Sequence[str]) -> list[str]:
    """Steps that begin with ``Step k:``, as in Math-Shepherd's data."""
    texts = [step.strip() for step in steps]
    return [text if text.startswith("Step ") else f"Step {k}: {text}" for k, text in enumerate(texts, 1)]


def _shepherd(tokenizer: Any, question: str, steps: Sequence[str], instruction: str) -> Pieces:
    return question, [(f"{' ' if k == 0 else ''}{text} ки", "\n") for k, text in enumerate(_numbered(steps))]


def _psa(tokenizer: Any, question: str, steps: Sequence[str], instruction: str) -> Pieces:
    return question, [(f" {text} \n\n\n\n\n", "") for text in _numbered(steps)]


def _turns(tokenizer: Any, question: str, steps: Sequence[str], instruction: str) -> Pieces:
    """Each step is a user's turn; the score is what the model would answer. What was answered goes on as ``+``."""
    turns: list[dict[str, str]] = []
    parts: list[tuple[str, str]] = []
    done, prompt = "", ""
    for k, step in enumerate(step.strip() for step in steps):
        turns.append({"role": "user", "content": f"{question} {step}" if k == 0 else step})
        asked = _chat(tokenizer, turns, ask=True)
        turns.append({"role": "assistant", "content": "+"})
        answered = _chat(tokenizer, turns, ask=False)
        if not asked.startswith(done) or not answered.startswith(asked):
            raise ModelError(
                "this model's chat template rewrites earlier turns, so its steps cannot be scored one by one"
            )
        if k == 0:
            at = asked.find(question)
            if at < 0:
                raise ModelError("this model's chat template changes the question; it cannot be scored in this format")
            prompt = done = asked[: at + len(question)]
        parts.append((asked[len(done) :], answered[len(asked) :]))
        done = answered
    return prompt, parts


GENRM = f"\n{CONFIRM}"
QWEN_SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."


def _qwen(tokenizer: Any, question: str, steps: Sequence[str], instruction: str) -> Pieces:
    turns = [{"role": "system", "content": QWEN_SYSTEM}, {"role": "user", "content": question}]
    return _chat(tokenizer, turns, ask=True), [(f"{step.strip()}<extra_0>", "") for step in steps]


def _skywork(tokenizer: Any, question: str, steps: Sequence[str], instruction: str) -> Pieces:
    begin = getattr(tokenizer, "bos_token", None) or ""
    return f"{begin}{question}\n", [(f"{step.strip()}\n", "") for step in steps]


def _lines(tokenizer: Any, question: str, steps: Sequence[str], instruction: str) -> Pieces:
    return question, [(f"{step.strip()}\n", "") for step in steps]


FORMATS = {
    f.name: f
    for f in (
        Format("plain", Read.HEAD, _plain, Meaning.VALUE, Aggregate.LAST),
        Format("shared", Read.HEAD, _plain, Meaning.VALUE, Aggregate.LAST, early=True),
        Format("math-shepherd", Read.TOKENS, _shepherd, Meaning.VALUE, Aggregate.MIN, tag=" ки", good=" +", bad=" -"),
        Format("math-psa", Read.TOKENS, _psa, Meaning.VALUE, Aggregate.LAST, tag=" \n\n\n\n\n", good=" +", bad=" -"),
        Format("rlhflow-mistral", Read.TOKENS, _turns, Meaning.VALUE, Aggregate.LAST, good="+", bad="-"),
        Format("rlhflow-deepseek", Read.TOKENS, _turns, Meaning.VALUE, Aggregate.LAST, good="+", bad="-"),
        Format("qwen-prm", Read.HEAD, _qwen, Meaning.STEP_CORRECT, Aggregate.PROD, tag="<extra_0>"),
        Format("skywork", Read.HEAD, _skywork, Meaning.VALUE, Aggregate.LAST),
        Format("token-classification", Read.HEAD, _lines, Meaning.STEP_CORRECT, Aggregate.PROD),
        Format("genrm", Read.TOKENS, _asked(GENRM), Meaning.OUTCOME, Aggregate.LAST, good=" Yes", bad=" No"),
        Format("check", Read.TOKENS, _asked("\nCheck:"), Meaning.OUTCOME, Aggregate.LAST, good=" ok", bad=" bad"),
        Format("reply", Read.LOGPROBS, _plain, Meaning.OUTCOME, Aggregate.LAST),
    )
}


def row(name: str) -> Format:
    """The format called ``name``; UsageError lists them all."""
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}; known are {', '.join(FORMATS)}")
    return FORMATS[name]
