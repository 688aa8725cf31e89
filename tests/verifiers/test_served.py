"""Reward models behind a server: what is asked, what is read, and the same numbers as here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "generators"))

from prm_checkpoints import engine_of, save_prm
from stub import Call, Reply, Stub
from test_learned import QUESTION, STEPS, search_of

from thence.core.card import VerifierKind
from thence.core.errors import CallFailed, ServerError, UsageError
from thence.core.search import VERIFIER
from thence.methods import verifier
from thence.verifiers import formats
from thence.verifiers.learned import Learned, LocalReader, load


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {fmt: save_prm(tmp_path_factory.mktemp(fmt), fmt) for fmt in ("math-shepherd", "skywork")}


class Model:
    """Answers as vLLM does, with the numbers of the checkpoint itself; ``top`` hides the less likely token."""

    def __init__(self, path: str, fmt: str, *, best_only: bool = False, logprobs: bool = True) -> None:
        self.local = load(VerifierKind.PRM, path, format=fmt, dtype="float32")
        self.best_only, self.logprobs = best_only, logprobs

    async def __call__(self, call: Call) -> Reply:
        assert isinstance(self.local.reader, LocalReader)
        from thence.core.budget import Spent

        if call.path.endswith("/pooling"):
            ids = tuple(call.body["input"])
            written = formats.Written(ids, 1, tuple(range(1, len(ids))))
            [rows] = await self.local.reader.numbers([written], Spent())
            return Reply({"data": [{"data": [[0.0], *map(list, rows)]}], "usage": {"prompt_tokens": len(ids)}})
        ids = tuple(call.body["prompt"])
        assert call.body["max_tokens"] == 1
        [[pair]] = await self.local.reader.numbers([formats.Written(ids, 1, (len(ids) - 1,))], Spent())
        named = dict(zip(formats.FORMATS["math-shepherd"].candidates(self.local.tokenizer, ""), pair, strict=True))
        allowed = call.body["allowed_token_ids"]
        if self.best_only:
            allowed = [max(allowed, key=lambda token: named[token])]
        shown = {f"token_id:{token}": named[token] for token in allowed} | {"token_id:7": -0.5}
        logprobs = {"top_logprobs": [shown]} if self.logprobs else None
        usage = {"prompt_tokens": len(ids), "prompt_tokens_details": {"cached_tokens": len(ids) // 2}}
        return Reply({"choices": [{"text": "+", "logprobs": logprobs}], "usage": usage})


async def scored(stub: Stub, path: str, fmt: str) -> tuple[float, ...]:
    own = verifier(f"prm:m@{stub.url}(format={fmt}, tokenizer={path})")
    search = search_of()
    [score] = await search.score([search.given("".join(STEPS))], own)
    assert isinstance(own, Learned)
    assert search.ledger.total_charged.verifier == len(formats.write(own.fmt, own.tokenizer, QUESTION, STEPS).ids)
    spent = search.ledger.book(f"{VERIFIER}:{own.name}")
    assert spent.verifier is not None
    assert spent.verifier > 0
    return score.steps


@pytest.mark.parametrize("best_only", [False, True])
@pytest.mark.parametrize("fmt", ["math-shepherd", "skywork"])
async def test_the_numbers_are_those_of_the_model_run_here(fmt: str, best_only: bool, paths: dict[str, str]) -> None:
    model = Model(paths[fmt], fmt, best_only=best_only)
    async with Stub(model) as stub:
        steps = await scored(stub, paths[fmt], fmt)
    search = search_of()
    [right] = await search.score([search.given("".join(STEPS))], model.local)
    assert steps == pytest.approx(right.steps, abs=1e-6)
    asked = [call for call in stub.calls if call.path.endswith(("/completions", "/pooling"))]
    assert len(asked) == (1 if fmt == "skywork" else 6 if best_only else 3)
    engine_of(model.local).close()


async def test_a_server_without_log_probabilities_is_an_error(paths: dict[str, str]) -> None:
    model = Model(paths["math-shepherd"], "math-shepherd", logprobs=False)
    async with Stub(model) as stub:
        with pytest.raises(ServerError, match=r"gives no log-probabilities of '\+' and '-'|of ' \+' and ' -'"):
            await scored(stub, paths["math-shepherd"], "math-shepherd")
    engine_of(model.local).close()


async def test_an_answer_of_another_shape_is_an_error(paths: dict[str, str]) -> None:
    async def odd(call: Call) -> Reply:
        return Reply({"data": [{"data": [[0.5]]}]})

    async with Stub(odd) as stub:
        with pytest.raises(ServerError, match="returned 1 numbers for 3 steps"):
            await scored(stub, paths["skywork"], "skywork")


async def test_a_call_that_fails_for_good_fails_its_problem_and_not_the_run(paths: dict[str, str]) -> None:
    async def refuse(call: Call) -> Reply:
        return Reply({"error": {"message": "this model cannot do that"}}, 400)

    async with Stub(refuse) as stub:
        with pytest.raises(CallFailed, match="this model cannot do that"):
            await scored(stub, paths["skywork"], "skywork")


@pytest.mark.parametrize(
    ("fmt", "said"),
    [
        ("skywork", "'m' at /pooling; check the name, and a head is served with"),
        ("math-shepherd", "'m' at /completions"),
    ],
)
async def test_a_server_without_the_endpoint_ends_the_run(fmt: str, said: str, paths: dict[str, str]) -> None:
    async def missing(call: Call) -> Reply:
        return Reply({"detail": "Not Found"}, 404)

    async with Stub(missing) as stub:
        with pytest.raises(ServerError, match=rf"says not found \(404: Not Found\) when asked for {said}"):
            await scored(stub, paths[fmt], fmt)


def test_what_a_served_verifier_needs_is_said(paths: dict[str, str]) -> None:
    url = "http://127.0.0.1:1/v1"
    for text, said in [
        (f"prm:m@{url}", "say how it reads and how it tokenises"),
        (f"prm:m@{url}(format=math-shepherd)", "tokenizer=PATH"),
        (f"prm:m@{url}(format=reply, tokenizer=x)", "not read over a server"),
        (f"head:m@{url}", "runs only here"),
        (f"prm:m@{url}(device=cuda)", "known are"),
    ]:
        with pytest.raises(UsageError, match=said):
            verifier(text)
