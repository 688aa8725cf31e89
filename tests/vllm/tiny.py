"""Tiny random models that vLLM serves, in a few hundred kB each.

A Llama with a character tokenizer and a chat template: characters are tokens, so a begun reply has the same tokens
however it is split, and greedy texts can be compared. And reward models of the published classes.
"""

from __future__ import annotations

import json
import string
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "verifiers"))

TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'assistant' %}A: {{ m.content }}{% if not loop.last or add_generation_prompt %}<eos>{% endif %}"
    "{% else %}Q: {{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A: {% endif %}"
)


def make(folder: Path, *, context: int = 512, seed: int = 0, thinks: bool = False) -> Path:
    """Write the model into ``folder`` (fp32, random weights fixed by ``seed``) and return it.

    ``thinks``: it has the tags of a thought as tokens, and its template opens a thought, as thinking models' do.
    """
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    transformers: Any = import_module("transformers")
    tags = ["<think>", "</think>"] if thinks else []
    pieces = ["<eos>", "<unk>", *string.printable[:97], *tags]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")
    fast.add_tokens(tags)
    fast.chat_template = TEMPLATE.replace("%}A: {%", "%}A: <think>{%") if thinks else TEMPLATE
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


def make_reward(folder: Path, fmt: str, *, seed: int = 0) -> Path:
    """Write a tiny random reward model of the published class of the format called ``fmt`` into ``folder``.

    Heads are 32 wide, the least that vLLM's attention takes on a CPU.
    """
    import torch
    from prm_checkpoints import FAMILY, extend, random_head, tagged_tokenizer

    from tiny_models import save_tiny

    tokenizer = tagged_tokenizer()
    save_tiny(folder, FAMILY[fmt], tokenizer=tokenizer, width=128, head_dim=32, context=1024, seed=seed)
    head = random_head(fmt, 128)
    if fmt == "qwen-prm":  # a class that only its own remote code and vLLM know
        extend(folder, head)
        config = folder / "config.json"
        config.write_text(
            json.dumps({**json.loads(config.read_text()), "architectures": ["Qwen2ForProcessRewardModel"]})
        )
    elif fmt == "token-classification":
        transformers: Any = import_module("transformers")
        model = transformers.Qwen2ForTokenClassification.from_pretrained(folder, num_labels=2, dtype=torch.float32)
        model.score.load_state_dict({name.removeprefix("score."): weight for name, weight in head.items()})
        model.save_pretrained(folder)
    return folder
