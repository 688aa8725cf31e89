"""Tiny random checkpoints of every supported family, with a small word-level tokenizer, for everybody's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = [
    *["<pad>", "[UNK]", "<eos>", "Q", ":", "A", "\n", ".", ",", "?", "+", "-", "*", "/", "=", "<<", ">>", "(", ")"],
    *["<think>", "</think>", "I", "you", "we", "they", "have", "has", "had", "give", "gives", "apples", "pears"],
    *["books", "coins", "more", "less", "than", "how", "many", "in", "total", "Tom", "Ann", "Sam", "Eve", "the"],
    *["a", "of", "and", "then", "so", "is", "are", "was", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
]

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


def word_tokenizer(words: list[str] = WORDS) -> Any:
    """Word-level, text = token strings in a row; blanks belong to the word that follows them."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab: dict[str, int] = {}
    for word in words:
        vocab.setdefault(word, len(vocab))
    for word in words:
        if not word.startswith(("<pad", "[", "<eos", "<think", "</think", "\n")):
            vocab.setdefault(" " + word, len(vocab))
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    special = r"</?think>|<eos>|<pad>|\n"
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(rf"{special}| ?<<| ?>>| ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]"), behavior="isolated"
    )
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="<eos>", pad_token="<pad>", model_max_length=10**6
    )


def byte_tokenizer(merges: tuple[tuple[str, str], ...] = ()) -> Any:
    """Byte-level BPE without (or with the given) merges: every byte is a token, so characters span tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: i for i, letter in enumerate(letters)}
    for a, b in merges:
        vocab.setdefault(a + b, len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<eos>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", model_max_length=10**6)


def save_tiny(
    path: Path | str,
    family: str = "qwen3",
    *,
    tokenizer: Any = None,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    hidden: int = 96,
    context: int = 256,
    tied: bool = True,
    seed: int = 0,
    scale: float = 0.35,
    generation: dict[str, Any] | None = None,
    **config: Any,
) -> str:
    """Write a random checkpoint of ``family`` with tokenizer to ``path``; returns the path.

    ``scale`` is the standard deviation of the weights: large enough for peaked, prompt-dependent distributions.
    """
    import torch
    import transformers

    tokenizer = tokenizer or word_tokenizer()
    names = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
    options: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "intermediate_size": hidden,
        "max_position_embeddings": context,
        "tie_word_embeddings": tied,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": scale,
    }
    if family == "mistral":
        options["sliding_window"] = None
    options |= config
    kind = getattr(transformers, names[family] + "Config")(**options)
    torch.manual_seed(seed)
    model = getattr(transformers, names[family] + "ForCausalLM")(kind)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter) * 0.1)
            else:
                parameter.copy_(torch.randn_like(parameter) * scale * (64 / width) ** 0.5 * 0.5)
    for key, value in (generation or {}).items():
        setattr(model.generation_config, key, value)
    model.save_pretrained(str(path))
    tokenizer.save_pretrained(str(path))
    return str(path)
