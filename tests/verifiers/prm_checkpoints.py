"""Tiny random checkpoints of public reward models' classes, and what transformers says of the same tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from thence.engine.engine import Engine
from thence.verifiers.implicit import Implicit
from thence.verifiers.learned import Learned, LocalReader
from tiny_models import byte_tokenizer, save_tiny

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TAGS = ("ки", "<extra_0>", "\n\n\n\n\n", "<|im_start|>", "<|im_end|>")
FAMILY = {
    "math-shepherd": "mistral",
    "math-psa": "qwen2",
    "rlhflow-mistral": "llama",
    "rlhflow-deepseek": "llama",
    "qwen-prm": "qwen2",
    "skywork": "qwen2",
    "token-classification": "qwen2",
}


def tagged_tokenizer() -> Any:
    """Bytes, and every tag as one token."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(TAGS)})
    tokenizer.chat_template = CHATML
    return tokenizer


def sentencepiece_tokenizer(merges: tuple[tuple[str, str], ...] = ()) -> Any:
    """Characters with ``▁`` for blanks, one of which goes before every text; other characters as bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    letters = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127)), "к", "и", "ки"]
    vocab = {token: i for i, token in enumerate(letters)}
    for a, b in merges:
        vocab.setdefault(a + b, len(vocab))
    model = models.BPE(vocab, [("к", "и"), *merges], unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", model_max_length=10**6)


def extend(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Put more tensors into the checkpoint's file."""
    file = path / "model.safetensors"
    save_file(load_file(file) | tensors, file, metadata={"format": "pt"})


def engine_of(verifier: object) -> Engine:
    """The engine a local verifier runs on."""
    if isinstance(verifier, Implicit):
        return verifier.engine
    assert isinstance(verifier, Learned)
    assert isinstance(verifier.reader, LocalReader)
    return verifier.reader.engine


def random_head(fmt: str, width: int) -> dict[str, torch.Tensor]:
    """The published head of a format, at random; nothing for causal ones."""
    torch.manual_seed(1)
    match fmt:
        case "qwen-prm":
            return {
                "score.0.weight": torch.randn(width, width) * 0.3,
                "score.0.bias": torch.randn(width) * 0.1,
                "score.2.weight": torch.randn(2, width) * 0.03,
                "score.2.bias": torch.zeros(2),
            }
        case "skywork":
            return {"v_head.summary.weight": torch.randn(1, width) * 0.1, "v_head.summary.bias": torch.randn(1)}
        case "token-classification":
            return {"score.weight": torch.randn(2, width) * 0.03, "score.bias": torch.randn(2)}
        case _:
            return {}


def save_prm(path: Path, fmt: str, *, tokenizer: Any = None, width: int = 64) -> str:
    """A tiny checkpoint of the family and with the head of the format called ``fmt``."""
    save_tiny(path, FAMILY[fmt], tokenizer=tokenizer or tagged_tokenizer(), context=600, width=width)
    if head := random_head(fmt, width):
        extend(path, head)
    return str(path)


def direct(path: str, ids: list[int], reads: list[int], fmt: str, candidates: tuple[int, int] | None) -> list[float]:
    """The scores of one row of token ids by transformers' own forward pass."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.inference_mode():
        out = model(torch.tensor([ids]), output_hidden_states=True)
    if candidates is not None:
        return out.logits[0, reads][:, list(candidates)].softmax(-1)[:, 0].tolist()  # type: ignore[no-any-return]
    h, states = random_head(fmt, out.hidden_states[-1].shape[-1]), out.hidden_states[-1][0, reads]
    if fmt == "qwen-prm":
        states = (states @ h["score.0.weight"].T + h["score.0.bias"]).relu()
        return (states @ h["score.2.weight"].T + h["score.2.bias"]).softmax(-1)[:, 1].tolist()  # type: ignore[no-any-return]
    if fmt == "skywork":
        logits = states @ h["v_head.summary.weight"].T + h["v_head.summary.bias"]
        return logits.sigmoid()[:, 0].tolist()  # type: ignore[no-any-return]
    return (states @ h["score.weight"].T + h["score.bias"]).softmax(-1)[:, 1].tolist()  # type: ignore[no-any-return]
