"""A stored completion is the same completion."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thence.core.completion import Completion, Finish
from thence.core.errors import StoreError
from thence.stores.packing import pack, unpack

texts = st.text(st.characters(), max_size=40)  # lone surrogates and NUL included
reals = st.floats(allow_nan=False, allow_infinity=False)
counts = st.none() | st.integers(0, 1 << 40)


@st.composite
def completions(draw: st.DrawFn) -> Completion:
    n = draw(st.integers(0, 6))
    text = draw(texts)
    return Completion(
        text,
        draw(st.sampled_from(Finish)),
        draw(st.sampled_from(["", text[1:3], "elsewhere"])),
        draw(st.sampled_from([text, text[2:], "another"])),
        draw(st.integers(0, 4)),
        ids=draw(st.none() | st.tuples(*[st.integers(0, 1 << 33)] * n)),
        logprobs=draw(st.none() | st.tuples(*[reals] * n)),
        top2=draw(st.none() | st.tuples(*[st.tuples(reals, reals)] * n)),
        ends=draw(st.none() | st.tuples(*[st.integers(0, 1 << 20)] * n)),
        generated=draw(counts),
        prompt_tokens=draw(counts),
    )


@settings(max_examples=150, deadline=None)
@given(completions())
def test_unpacking_what_was_packed_gives_every_bit_back(completion: Completion) -> None:
    assert unpack(pack(completion)) == completion


def test_minus_infinity_and_single_precision_survive() -> None:
    third = math.ldexp(11184811, -25)  # 1/3 in single precision
    for values in [(-math.inf, third), (1 / 3, third)]:
        packed = pack(Completion("x", Finish.EOS, reply="x", logprobs=values))
        assert unpack(packed).logprobs == values
    wide = pack(Completion("x", Finish.EOS, reply="x", logprobs=(1 / 3,) * 8))
    narrow = pack(Completion("x", Finish.EOS, reply="x", logprobs=(third,) * 8))
    assert len(wide[4]) - len(narrow[4]) == 32


def test_a_damaged_row_is_said_to_be_damaged() -> None:
    row = pack(Completion("x", Finish.EOS, reply="x", ids=(1, 2, 3)))
    for broken in [(*row[:4], row[4][:-1]), (*row[:4], b"\xff" * 9), ("x", "no-such-finish", *row[2:])]:
        with pytest.raises(StoreError, match="damaged"):
            unpack(broken)
