"""A tiny random Llama with a character tokenizer and a chat template: what vLLM needs to serve, in 200 kB.

Characters are tokens, so a begun reply has the same tokens however it is split, and greedy texts can be compared.
"""

from __future__ import annotations

import string
from importlib import import_module
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'assistant' %}A: {{ m.content }}{% if not loop.last or add_generation_prompt %}<eos>{% endif %}"
    "{% else %}Q: {{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A: {% endif %}"
)


def make(folder: Path, *, context: int = 512, seed: int = 0) -> Path:
    """Write the model into ``folder`` (fp32, random weights fixed by ``seed``) and return it."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    transformers: Any = import_module("transformers")
    pieces = ["<eos>", "<unk>", *string.printable[:97]]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")
    fast.chat_template = TEMPLATE
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(pieces),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=None,
        eos_token_id=0,
        tie_word_embeddings=False,
        initializer_range=0.4,
    )
    model = transformers.LlamaForCausalLM(config).float()
    model.generation_config = transformers.GenerationConfig(eos_token_id=0)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
