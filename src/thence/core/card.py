"""The card of a trained verifier: ``verifier.json`` in its directory, beside its weights.

The directory holds one of: a whole model (``config.json``, tokenizer, ``*.safetensors``), or what is added to a model
that lies elsewhere, its *trunk*: an adapter (``adapter_config.json`` and ``adapter_model.safetensors``, as peft writes
them), a head (``head.safetensors``), or both. ``trunk_hash`` is of the trunk's weights: a head or adapter on any other
trunk gives numbers without meaning, so loading one there is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from .errors import DataError
from .scores import Aggregate, Meaning

CARD = "verifier.json"
HEAD = "head.safetensors"
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ACORN = Path(__file__).parents[1] / "acorn"  # the embedded model
HERE = "."  # the trunk's weights are in the verifier's own directory


class VerifierKind(StrEnum):
    """What a trained verifier is; the name it has in specs such as ``prm:PATH``."""

    PRM = "prm"  # a number per step
    ORM = "orm"  # a number per solution (trained on every token, read at the last)
    VALUE = "value"  # P(right in the end) per step, by a regression or classification head
    HEAD = "head"  # the same on the generator's own hidden states, read while it generates
    DPO = "dpo"  # beta * (log p - log p of the trunk) of the solution
    SIMPO = "simpo"  # mean log p of the solution
    GENRM = "genrm"  # p(Yes) after a question, perhaps after a critique
    MINOS = "minos"  # trained on critiques first, then a head; one pass at use


@dataclass(frozen=True, slots=True)
class VerifierCard:
    """How to use a trained verifier and where it comes from.

    ``format`` is a row of the input formats (`thence.verifiers.formats`); ``instruction`` is written below the question
    by formats that ask as a chat does. ``aggregate`` None means the exact one for ``meaning``. ``beta`` scales implicit
    rewards. ``labels`` says in words where the labels came from, ``trained`` keeps command, seed, counts and measures.
    """

    kind: VerifierKind
    meaning: Meaning
    format: str
    trunk: str = HERE
    trunk_hash: str = ""
    aggregate: Aggregate | None = None
    instruction: str = ""
    beta: float = 1.0
    labels: str = ""
    trained: Mapping[str, Any] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write ``verifier.json`` into ``directory``, whole or not at all."""
        row: dict[str, Any] = {
            "kind": str(self.kind),
            "meaning": str(self.meaning),
            "format": self.format,
            "aggregate": None if self.aggregate is None else str(self.aggregate),
            "trunk": self.trunk,
            "trunk_hash": self.trunk_hash,
            "instruction": self.instruction,
            "beta": self.beta,
            "labels": self.labels,
            "trained": dict(self.trained),
        }
        directory.mkdir(parents=True, exist_ok=True)
        part = directory / (CARD + ".part")
        part.write_text(json.dumps(row, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(directory / CARD)

    @staticmethod
    def read(directory: Path) -> VerifierCard:
        """The card in ``directory``; DataError says what is wrong with it."""
        path = directory / CARD
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            aggregate = row.get("aggregate")
            return VerifierCard(
                VerifierKind(row["kind"]),
                Meaning(row["meaning"]),
                str(row["format"]),
                str(row.get("trunk", HERE)),
                str(row.get("trunk_hash", "")),
                None if aggregate is None else Aggregate(aggregate),
                str(row.get("instruction", "")),
                float(row.get("beta", 1.0)),
                str(row.get("labels", "")),
                dict(row.get("trained", {})),
            )
        except FileNotFoundError:
            raise DataError(f"{directory} has no {CARD}; name its input format: prm:{directory}(format=…)") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is no card of a verifier ({type(error).__name__}: {error})") from error
