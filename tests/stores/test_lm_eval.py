"""Lines of lm-evaluation-harness samples files, as its version 0.4.13 writes them."""

from __future__ import annotations

from typing import Any

import pytest

from thence.core.errors import DataError, UsageError
from thence.stores.lm_eval import is_lm_eval, read_sample

LINE: dict[str, Any] = {
    "doc_id": 3,
    "doc": {"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"},
    "target": "1 + 1 = 2\n#### 2",
    "arguments": {"gen_args_0": {"arg_0": "Question: 1 + 1?\nAnswer:", "arg_1": {"until": ["Question:"]}}},
    "resps": [["It is 2."]],
    "filtered_resps": ["2"],
    "filter": "flexible-extract",
    "metrics": ["exact_match"],
    "doc_hash": "a",
    "prompt_hash": "b",
    "target_hash": "c",
    "exact_match": 1.0,
}


def test_a_line_is_read() -> None:
    assert is_lm_eval(LINE)
    made = read_sample(LINE, "line 1")
    assert (made.doc_id, made.filter, made.target) == ("3", "flexible-extract", "1 + 1 = 2\n#### 2")
    assert made.prompt == "Question: 1 + 1?\nAnswer:"
    assert made.texts == ("It is 2.",)
    assert read_sample(LINE, "line 1", "filtered_resps").texts == ("2",)
    assert made.metric(None) == made.metric("exact_match") == 1.0
    with pytest.raises(UsageError, match="no metric 'acc'; it has exact_match"):
        made.metric("acc")


def test_older_files_name_neither_filter_nor_metrics_and_list_their_arguments() -> None:
    old = {k: v for k, v in LINE.items() if k not in ("filter", "metrics", "doc_hash")}
    old |= {"arguments": [["Q: 1 + 1?", {"until": []}]], "bleu": 37.5, "note": "x"}
    made = read_sample(old, "line 1")
    assert made.prompt == "Q: 1 + 1?"
    assert made.filter == ""
    assert made.metrics == {"exact_match": 1.0}  # a number that is no label is not taken for one
    assert read_sample({**LINE, "metrics": ["bleu"], "bleu": 37.5}, "line 1").metrics == {"bleu": 37.5}


def test_repeats_are_texts_of_one_request() -> None:
    assert read_sample({**LINE, "resps": [["2", "3", "2"]]}, "line 1").texts == ("2", "3", "2")


@pytest.mark.parametrize(
    ("resps", "said"),
    [
        ([[[-1.5, True]], [[-2.0, False]]], "the answers to 2 requests"),
        ([[["-1.5", "True"]]], "holds no text"),
        ([[]], "holds no text"),
        ([], "the answers to 0 requests"),
    ],
)
def test_log_likelihoods_are_refused(resps: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_sample({**LINE, "resps": resps}, "samples.jsonl, line 1")


def test_other_rows_are_none() -> None:
    assert not is_lm_eval({"doc": {}, "target": "2", "resps": [["2"]]})
