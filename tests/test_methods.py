"""The map: every row leads somewhere, and texts become objects or errors that say what to do."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thence import methods
from thence.core.errors import UsageError
from thence.methods import METHODS, Method, Spec, build, canonical, convert, one, parse
from thence.strategies.best_of_n import BestOfN
from thence.strategies.self_consistency import SelfConsistency
from thence.verifiers.basic import Agreement, LogProb


def landed(row: Method) -> object:
    module, _, name = row.where.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("thence."):
            pytest.skip(f"{module} is not there yet")
        pytest.skip(f"{error.name} is not installed")


@pytest.mark.parametrize("row", METHODS, ids=lambda row: f"{row.kind}-{row.name}")
def test_every_row_imports_and_is_documented(row: Method) -> None:
    found = landed(row)
    assert callable(found)
    assert (found.__doc__ or "").strip()
    assert (importlib.import_module(row.where.partition(":")[0]).__doc__ or "").strip()
    assert row.what
    if row.paper and row.kind == "strategy":
        assert row.paper in (importlib.import_module(row.where.partition(":")[0]).__doc__ or "")


def test_names_are_unique_within_their_kind() -> None:
    assert len({(m.kind, m.name) for m in METHODS}) == len(METHODS)


@pytest.mark.parametrize("row", methods.named("strategy").values(), ids=lambda row: row.name)
def test_every_strategy_is_a_frozen_dataclass_that_has_needs(row: Method) -> None:
    parameters = inspect.signature(landed(row)).parameters  # type: ignore[arg-type]
    needed = "verifier" in parameters and parameters["verifier"].default is inspect.Parameter.empty
    made = methods.strategy(f"{row.name}(verifier=logprob)" if needed else row.name)
    assert dataclasses.is_dataclass(made)
    assert isinstance(made.needs, frozenset)
    name = dataclasses.fields(made)[0].name if dataclasses.fields(made) else "n"
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        setattr(made, name, 3)


# --- grammar -------------------------------------------------------------------------------------------------------


def test_names_and_arguments() -> None:
    assert parse("greedy") == [Spec("greedy")]
    assert parse(" greedy() ") == [Spec("greedy")]
    assert parse("f(n=4, weight = prob)") == [Spec("f", (("n", "4"), ("weight", "prob")))]
    assert parse("best-of-n(n=8, verifier=judge:NAME@http://h:1/v1)")[0].arguments[1][1] == "judge:NAME@http://h:1/v1"
    assert parse("f(verifier=g(x=1,y=2),n=3)")[0].arguments == (("verifier", "g(x=1,y=2)"), ("n", "3"))


def test_quotes_keep_everything() -> None:
    assert parse('f(a="x, (y)={z}", b=\'it "is"\')')[0].arguments == (("a", "x, (y)={z}"), ("b", 'it "is"'))
    assert parse(r'f(a="say \"no\" \\ yes")')[0].arguments == (("a", r'say "no" \ yes'),)
    assert parse(r'f(a="ends in \\", b=2)')[0].arguments == (("a", "ends in \\"), ("b", "2"))
    assert parse(r"f(a=\d{1,2}\.)")[0].arguments == (("a", r"\d{1,2}\."),)
    assert parse('f(a="")')[0].arguments == (("a", ""),)


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z][a-z_]{0,5}", fullmatch=True),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text("\\\"'{}(),= \n", max_size=8),
        ),
        max_size=4,
        unique_by=lambda pair: pair[0],
    )
)
def test_a_spec_is_read_back_from_its_text(arguments: list[tuple[str, str]]) -> None:
    spec = Spec("some-name", tuple(arguments))
    assert parse(str(spec)) == [spec]
    assert canonical(str(spec)) == str(spec)


def test_a_grid_is_the_product_in_order() -> None:
    made = [str(s) for s in parse("sc(n={4,16}, weight={count, prob}, x=1)")]
    assert made == [
        "sc(n=4, weight=count, x=1)",
        "sc(n=4, weight=prob, x=1)",
        "sc(n=16, weight=count, x=1)",
        "sc(n=16, weight=prob, x=1)",
    ]
    names = [name for name, _ in methods.strategies("self-consistency(n={4,16,64})")]
    assert names == ["self-consistency(n=4)", "self-consistency(n=16)", "self-consistency(n=64)"]
    assert parse('f(v={"a,b",c})') == [Spec("f", (("v", "a,b"),)), Spec("f", (("v", "c"),))]
    with pytest.raises(UsageError, match="grid of 2; a single strategy"):
        one("f(n={1,2})", "strategy")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "(n=4)",
        "f(n=4",
        "f(n=4))",
        "f(n=4)x",
        "f(n)",
        "f(=4)",
        "f(n=4,n=5)",
        "f(n={})",
        "f(n={1,2)",
        'f(a="x)',
    ],
)
def test_what_is_no_spec_is_quoted_back(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert repr(text.strip()) in str(caught.value)


def test_one_way_to_write_a_spec() -> None:
    assert canonical(' self-consistency( n = 4 ,weight="prob" ) ') == "self-consistency(n=4, weight=prob)"
    assert canonical("greedy()") == "greedy"


# --- objects -------------------------------------------------------------------------------------------------------


def test_strategies_get_their_parameters_with_their_types() -> None:
    assert methods.strategy("self-consistency(n=4, weight=prob)") == SelfConsistency(4, "prob")
    assert methods.strategy("best-of-n(n=8, verifier=logprob)") == BestOfN(LogProb(), 8)
    assert methods.strategy("best-of-n(verifier=agreement)") == BestOfN(Agreement())
    assert methods.strategy("adaptive-consistency(confidence=.9)") == build(
        type(methods.strategy("adaptive-consistency")), Spec("x", (("confidence", "0.9"),))
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("self-consistncy(n=4)", "did you mean self-consistency"),
        ("zzz", "known are adaptive-consistency, bayes-adaptive, beam"),
        ("self-consistency(m=4)", "unknown parameter 'm'; "),
        ("self-consistency(wieght=prob)", "did you mean weight"),
        ("self-consistency(n=-1)", "n is -1; it must be at least 1"),
        ("self-consistency(n=four)", "n is 'four'; it must be a whole number"),
        ("self-consistency(n=4.0)", "must be a whole number"),
        ("self-consistency(n=)", "n is ''"),
        ("self-consistency(weight=heavy)", "must be one of count, prob, prob-norm, confidence"),
        ("best-of-n(n=4)", "best-of-n needs verifier=…"),
        ("best-of-n(verifier=prm:some/path)", "some/path (there is no such directory) has no verifier.json"),
        ("best-of-n(verifier=orm:x)", "x (there is no such directory) has no verifier.json"),
        ("best-of-n(verifier=agrement)", "did you mean agreement"),
        ("best-of-n(verifier=judge)", "is not complete"),
        ("best-of-n(verifier=judge:NAME)", "is not NAME@URL"),
        ("greedy(n=1)", "unknown parameter 'n'"),
    ],
)
def test_a_wrong_strategy_says_what_to_do(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        methods.strategy(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Typed:
    """One parameter of every type that can be written."""

    a: bool = False
    b: int | None = 3
    c: float = 0.5
    d: Literal["x", "y"] = "x"
    e: Literal[1, 2] = 1
    f: Path = Path()
    g: str = ""
    top_k: int = 0


def test_texts_become_values_of_the_parameters_types() -> None:
    text = "t(a=yes, b=none, c=1e-3, d=y, e=2, f=a/b, g=12, top-k=5)"
    assert build(Typed, one(text, "thing")) == Typed(True, None, 0.001, "y", 2, Path("a/b"), "12", 5)
    assert build(Typed, one("t(b=7, a=off)", "thing")) == Typed(a=False, b=7)
    for wrong, said in (("a=maybe", "true or false"), ("e=3", "one of 1, 2"), ("c=x", "must be a number")):
        with pytest.raises(UsageError, match=said):
            build(Typed, one(f"t({wrong})", "thing"))
    with pytest.raises(UsageError, match="cannot be given as text"):
        convert("x", list[int], "t: v")


def test_a_users_own_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from thence.strategies.greedy import Greedy\n"
        "class Mine(Greedy):\n"
        "    '''Mine.'''\n"
        "class Plain:\n"
        "    needs = frozenset()\n"
        "    def __init__(self, n: int, width=4, name=None):\n"
        "        self.n, self.width, self.name = n, width, name\n"
        "    async def solve(self, search): ...\n"
        "class Child(Plain): ...\n"
        "number = 3\n",
        encoding="utf-8",
    )
    assert type(methods.strategy(f"{file}:Mine")).__name__ == "Mine"
    for name in ("Plain", "Child"):
        made = methods.strategy(f"{file}:{name}(n=2, width=7, name=x)")
        assert (made.n, made.width, made.name) == (2, 7, "x")  # type: ignore[attr-defined]
        with pytest.raises(UsageError, match="needs n="):
            methods.strategy(f"{file}:{name}")
    with pytest.raises(UsageError, match="did you mean width"):
        methods.strategy(f"{file}:Plain(n=1, widht=3)")
    with pytest.raises(UsageError, match="no class"):
        methods.strategy(f"{file}:number")
    with pytest.raises(UsageError, match="cannot be loaded: AttributeError"):
        methods.strategy(f"{file}:Absent")
    with pytest.raises(UsageError, match="does not exist"):
        methods.strategy(f"{tmp_path}/none.py:Mine")
    file.write_text("1 / 0", encoding="utf-8")
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        methods.strategy(f"{file}:Mine")


def test_prompts_by_name_and_by_file(tmp_path: Path) -> None:
    assert methods.prompt("cot").name == "cot"
    assert methods.prompt("chain-of-draft(limit=20)").cap == 20
    file = tmp_path / "mine.txt"
    file.write_text("{question}", encoding="utf-8")
    assert methods.prompt(str(file)).name == "mine.txt"
    with pytest.raises(UsageError, match=r"did you mean .*cot.*given by its path"):
        methods.prompt("ctt")
    with pytest.raises(UsageError):
        methods.prompt("x" * 5000)  # longer than any file name may be


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpt", "unknown model 'gpt'"),
        ("Qwen/Qwen3-0.6B", "write hf:Qwen/Qwen3-0.6B"),
        ("hf:", "is not complete"),
        ("openai:", "is not complete"),
        ("openai:x", "is not NAME@URL"),
        ("openai:x@localhost:8000", "is not NAME@URL"),
        ("openai:@http://h", "is not NAME@URL"),
    ],
)
def test_a_wrong_model_says_how_one_is_written(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        methods.model(text)
    assert said in str(caught.value)


def test_an_unset_key_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(UsageError, match="MY_KEY, which is not set"):
        methods.model("openai:x@http://127.0.0.1:1/v1", methods.ModelOptions(key_var="MY_KEY"))


def test_the_table_is_plain_json() -> None:
    try:
        rows = json.loads(json.dumps(methods.table()))
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not there yet")
    assert [(r["kind"], r["name"]) for r in rows] == [(m.kind, m.name) for m in METHODS]
    by_name = {r["name"]: r["parameters"] for r in rows if r["kind"] == "strategy"}
    assert by_name["self-consistency"] == {"n": 16, "weight": "count", "aggregate": "sum", "inner": None}
    assert by_name["best-of-n"]["verifier"] is None


def test_a_verifier_that_does_not_ship_with_the_embedded_model_is_a_clear_error() -> None:
    with pytest.raises(UsageError, match=r"acorn has no minos of its own; train one: thence train minos"):
        methods.verifier("minos:acorn")
