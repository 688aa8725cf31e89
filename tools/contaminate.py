"""A copy of acorn that has seen a benchmark: fine-tuned on the exact texts of the original perturbed problems.

``python tools/contaminate.py OUT [--seed 0] [--data-seed 0] [--instances 3] [--epochs 6]``

The rows are the originals' questions with their worked solutions, in the prompt that ``thence eval`` uses, and as many
fresh rows of acorn's own training mixture, so that the copy keeps what it could do. With another ``--data-seed`` than
the one that is probed it is the control: a copy that has seen other instances of the same templates, trained alike.

The probe must flag the first and must not flag the second: ``thence probe perturbed --model hf:OUT``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from random import Random

import torch
from safetensors.torch import save_file

from thence.methods import ACORN
from thence.recipes.acorn import COT_INSTRUCTION, EOS_ID, ask, draw_example
from thence.recipes.acorn import Example as Row
from thence.tasks.perturbed import Perturbed
from thence.train.examples import Example
from thence.train.fit import FitConfig, Told, fit
from thence.train.learner import Setup, TokenObjective, load_learner


def main() -> int:
    """Train the copy and write it as a model directory; returns the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("out", type=Path, help="directory of the copy")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--data-seed", type=int, default=0, help="data_seed of the problems that are seen")
    parser.add_argument("--instances", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=1e-3)
    given = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    learner, tokenizer = load_learner(str(ACORN), Setup(update="full", classes=0, low=True, seed=given.seed))
    seen = Perturbed(instances=given.instances, data_seed=given.data_seed).items.values()
    rng = Random(f"contaminate-{given.seed}")
    texts = [Row(ask(item.question, COT_INSTRUCTION), item.solution) for item in seen]
    rows = [_example(tokenizer, row) for row in [*texts, *(draw_example(rng) for _ in texts)]]
    config = FitConfig(epochs=given.epochs, batch_size=16, lr=given.lr, weight_decay=0.0, patience=0, seed=given.seed)

    def told(progress: Told) -> None:
        if progress.dev is not None:
            print(f"step {progress.step}/{progress.steps}  loss on the seen texts {progress.dev:.4f}", flush=True)

    objective = TokenObjective(learner, words_weight=1.0)
    fit(learner, objective, rows, rows[: min(64, len(texts))], config, told=told)  # kept where the seen are known best
    shutil.copytree(ACORN, given.out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md"))
    weights = {name: w.detach().float().cpu().contiguous() for name, w in learner.causal.state_dict().items()}
    save_file(weights, given.out / "model.safetensors", metadata={"format": "pt"})
    print(f"wrote {given.out}: {len(texts)} texts of data_seed {given.data_seed}")
    return 0


def _example(tokenizer: object, row: Row) -> Example:
    """Loss on the solution and its end only, as acorn was trained; prompt and solution are tokenised apart."""
    encode = tokenizer.encode  # type: ignore[attr-defined]
    prompt, solution = encode(row.prompt), [*encode(row.solution), EOS_ID]
    ids = (*prompt, *solution)
    nothing = (0.0,) * len(ids)
    return Example("", ids, nothing, nothing, (*(0.0,) * len(prompt), *(1.0,) * len(solution)))


if __name__ == "__main__":
    sys.exit(main())
