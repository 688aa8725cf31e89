"""Samples files of lm-evaluation-harness (``--log_samples``), read.

One line per document and filter. Of its fields (lm_eval 0.4.x, ``evaluator.py``; the writer is
``loggers/evaluation_tracker.py``) these are used:

* ``doc_id``, ``doc`` (the document as the task's data set has it), ``target`` (the reference, always as text),
* ``arguments``: ``{"gen_args_0": {"arg_0": prompt, "arg_1": options}}``, in older files a list of pairs,
* ``resps``: per request the list of its repeats, whole texts; for multiple choice [log-likelihood, is greedy] pairs,
* ``filtered_resps``: per request what the filter ``filter`` made of them: the extracted answer,
* ``metrics``: the names of further fields that hold this line's metrics.

Texts that were graded by a log-likelihood hold no answer, and a file of them is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from thence.core.errors import DataError, UsageError

NEEDED = ("doc_id", "doc", "target", "resps", "filtered_resps")
INVALID = "[invalid]"  # what the harness's filters write where they find no answer
_OTHER = frozenset(
    (*NEEDED, "arguments", "filter", "metrics", "doc_hash", "prompt_hash", "target_hash", "task_name", "schema")
)


@dataclass(frozen=True, slots=True)
class LmEvalSample:
    """One line: the texts of its repeats, and its metrics by name (those that are numbers).

    ``filter`` is empty in files of versions that did not name it. ``prompt`` is what the model was given.
    """

    doc_id: str
    filter: str
    target: str
    prompt: str
    texts: tuple[str, ...]
    metrics: dict[str, float]

    def metric(self, name: str | None) -> float | None:
        """The metric ``name``, by default the first; None where there is none, UsageError for an unknown name."""
        if name is None:
            return next(iter(self.metrics.values()), None)
        if name not in self.metrics:
            raise UsageError(f"the lm-eval sample has no metric {name!r}; it has {', '.join(self.metrics) or 'none'}")
        return self.metrics[name]


def is_lm_eval(fields: Mapping[str, Any]) -> bool:
    """Whether a row is a line of such a file."""
    return all(name in fields for name in NEEDED)


def read_sample(
    fields: Mapping[str, Any], where: str, read: Literal["resps", "filtered_resps"] = "resps"
) -> LmEvalSample:
    """One line; ``where`` begins the text of errors. ``read`` says which texts: what the model wrote, or the filter's
    answers."""
    return LmEvalSample(
        str(fields["doc_id"]),
        str(fields.get("filter") or ""),
        _target(fields["target"]),
        _prompt(fields.get("arguments")),
        _texts(fields[read], where, read),
        _metrics(fields),
    )


def _target(value: Any) -> str:
    return "" if value is None else str(value)


def _texts(value: Any, where: str, name: str) -> tuple[str, ...]:
    requests = value if isinstance(value, list) else [value]
    if len(requests) != 1:
        raise DataError(
            f"{where}: {name} holds the answers to {len(requests)} requests (multiple choice by log-likelihood?); "
            "only lines with one generated text each can be graded"
        )
    (repeats,) = requests
    texts = repeats if isinstance(repeats, list) else [repeats]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: {name} holds no text (a log-likelihood?); only generated texts can be graded")
    return tuple(texts)


def _prompt(arguments: Any) -> str:
    if isinstance(arguments, Mapping):
        first = next(iter(arguments.values()), None)
        given = first.get("arg_0") if isinstance(first, Mapping) else None
    else:
        first = arguments[0] if isinstance(arguments, list) and arguments else None
        given = first[0] if isinstance(first, list) and first else None
    return given if isinstance(given, str) else ""


def _metrics(fields: Mapping[str, Any]) -> dict[str, float]:
    named = fields.get("metrics")
    names = named if isinstance(named, list) else [name for name in fields if name not in _OTHER]
    return {
        str(name): float(value)
        for name in names
        if isinstance(value := fields.get(str(name)), int | float) and (named or value in (0, 1))
    }
