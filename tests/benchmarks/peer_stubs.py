"""The peers' interfaces with as little behind them as a test needs: two levels, the best reply wins."""

from __future__ import annotations

from pathlib import Path

SAL = {
    "sal/__init__.py": "",
    "sal/config.py": """
from dataclasses import dataclass
from sal.utils.hub import get_dataset_revisions

@dataclass
class Config:
    approach: str
    n: int
    beam_width: int
    num_iterations: int
    temperature: float
    max_tokens: int
    agg_strategy: str
    system_prompt: str
    custom_chat_template: str | None
    search_batch_size: int
    seed: int
    top_p: float = 1.0
""",
    "sal/models/__init__.py": "",
    "sal/utils/__init__.py": "",
    "sal/search/__init__.py": "",
    "sal/search/beam_search.py": """
from vllm import LLM, SamplingParams
from datasets import Dataset
from sal.models.reward_models import PRM
from sal.utils.math import compute_maj_pred

def beam_search(examples, config, llm, prm):
    (prompt,) = examples["problem"]
    texts, done = [""] * config.n, []
    for level in range(config.num_iterations):
        turns = [[{"role": "system", "content": config.system_prompt}, {"role": "user", "content": prompt}]
                 + ([{"role": "assistant", "content": text}] if text else []) for text in texts]
        asked = llm.get_tokenizer().apply_chat_template(
            turns, add_generation_prompt=level == 0, continue_final_message=level > 0, tokenize=False)
        params = SamplingParams(temperature=config.temperature, max_tokens=config.max_tokens, top_p=config.top_p,
                                stop=["\\n\\n"], include_stop_str_in_output=True, n=1)
        made = [out.outputs[0] for out in llm.generate(asked, params, use_tqdm=False)]
        texts = [text + each.text for text, each in zip(texts, made, strict=True)]
        scores = prm.score([prompt] * len(texts), [[text] for text in texts])
        done += [(s[0][-1], text) for s, text, each in zip(scores, texts, made, strict=True) if not each.stop_reason]
        texts = [text for text, each in zip(texts, made, strict=True) if each.stop_reason]
        if not texts:
            break
    return {"pred": [max(done)[1]]}
""",
}

ITS = {
    "its_hub/__init__.py": "",
    "its_hub/api/__init__.py": "class AbstractProcessRewardModel:\n    pass\n",
    "its_hub/core/__init__.py": "",
    "its_hub/core/lms/__init__.py": "",
    "its_hub/core/algorithms/__init__.py": "",
    "its_hub/core/lms/openai_lm.py": """
import httpx

class OpenAICompatibleLanguageModel:
    def __init__(self, endpoint, api_key, model_name, max_completion_tokens=None, temperature=None):
        self.endpoint, self.model, self.cap = endpoint, model_name, max_completion_tokens

    async def ask(self, messages, stop, temperature, keep):
        body = {"model": self.model, "messages": messages, "stop": stop, "temperature": temperature,
                "max_completion_tokens": self.cap, "include_stop_str_in_output": keep}
        if messages[-1]["role"] == "assistant":
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            reply = await client.post(self.endpoint + "/chat/completions", json=body)
        return reply.json()["choices"][0]["message"]["content"]

    async def close(self):
        pass
""",
    "its_hub/core/lms/step_generation.py": """
class StepGeneration:
    def __init__(self, max_steps, step_token, stop_token, temperature, include_stop_str_in_output=False):
        self.max_steps, self.step, self.stop = max_steps, step_token, stop_token
        self.temperature, self.keep = temperature, include_stop_str_in_output
""",
    "its_hub/core/algorithms/beam_search.py": """
import asyncio

class BeamSearch:
    def __init__(self, sg, prm, beam_width):
        self.sg, self.prm, self.width = sg, prm, beam_width

    async def ainfer(self, lm, prompt, budget):
        if "[broken]" in prompt:
            raise ValueError("a question that breaks")
        paths = [""] * (budget // self.width)
        for _ in range(self.sg.max_steps + 1):
            turns = [[{"role": "user", "content": prompt}] + ([{"role": "assistant", "content": p}] if p else [])
                     for p in paths]
            steps = await asyncio.gather(
                *(lm.ask(turn, self.sg.step, self.sg.temperature, self.sg.keep) for turn in turns))
            paths = [path + step for path, step in zip(paths, steps, strict=True)]
            scores = await self.prm.ascore(prompt, paths)
            if all(self.sg.stop in step for step in steps):
                break
        return {"role": "assistant", "content": max(zip(scores, paths, strict=True))[1]}

    def infer(self, lm, prompt, budget):
        return asyncio.run(self.ainfer(lm, prompt, budget))
""",
}


def install(files: dict[str, str], folder: Path) -> None:
    """Write the files of a package."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
