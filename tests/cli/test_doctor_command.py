"""``thence doctor`` as a user runs it: three states of every method, one line for what goes wrong."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from thence import methods
from thence.cli import run
from thence.cli.doctor import server_fits
from thence.cli.doctor_fits import APPLES, Fit, Found, State, all_fits, fit, prompts, rehearse, strategies
from thence.core.completion import Ability
from thence.generators.doctor import Check, Finding, Report, Shortfall, Use
from thence.generators.openai import Endpoint

sys.path.insert(0, str(Path(__file__).parents[1] / "generators"))
from stub import Call, Reply, Stub, chat, error

EVERYTHING = frozenset(Ability)
VLLM = frozenset({Ability.LOGPROBS, Ability.TOP2, Ability.CONTINUE, Ability.JSON_SCHEMA})


def by_name(fits: list[Fit]) -> dict[str, Fit]:
    assert len({(fit.kind, fit.name) for fit in fits}) == len(fits)
    return {fit.name: fit for fit in fits}


async def fits_of(abilities: frozenset[Ability], *names: str, **short: Shortfall) -> dict[str, Fit]:
    """All methods, or the strategies and prompts of these names."""
    found = Found(abilities, "openai", {Use(name): each for name, each in short.items()})
    if not names:
        return by_name(await all_fits(found))
    greedy, cot, fits = methods.strategy("greedy"), methods.prompt("cot"), []
    for name in names:
        if name in prompts():
            fits.append(await fit(found, "prompt", name, greedy, methods.prompt(name)))
        else:
            fits.append(await fit(found, "strategy", name, methods.strategy(name), cot))
    return by_name(fits)


async def test_every_method_works_where_everything_does() -> None:
    fits = await fits_of(EVERYTHING)
    assert {name for name, fit in fits.items() if fit.state is not State.WORKS} == set()
    named = {text.partition("(")[0] for text in fits}
    assert named >= set(methods.named("strategy")) | (set(methods.named("prompt")) - {"retrieve"})


async def test_what_a_server_cannot_do_and_why() -> None:
    fits = await fits_of(VLLM)
    assert fits["cot-decoding"] == Fit(
        "strategy", "cot-decoding", State.CANNOT, "cannot branch on the first token; use a local model"
    )
    assert fits["head:PATH"].state is State.CANNOT
    assert fits["p-true(exact=yes)"].state is State.CANNOT
    assert fits["p-true"].state is State.DEGRADED
    assert "verdicts are sampled" in fits["p-true"].why
    assert fits["beam(verifier=data-flow)"].state is State.WORKS
    assert fits["steps"].state is State.WORKS
    assert (await fits_of(VLLM - {Ability.JSON_SCHEMA}, "steps"))["steps"].state is State.DEGRADED
    beam = "beam(verifier=data-flow)"
    assert (await fits_of(VLLM - {Ability.CONTINUE}, beam))[beam].state is State.CANNOT


async def test_a_way_around_degrades_what_asks_for_it_and_nothing_else() -> None:
    for use, touched, untouched in (
        ("samples", "self-consistency", "greedy"),
        ("steps", "beam(verifier=data-flow)", "self-consistency"),
        ("begun", "zero-shot-cot", "cot"),
        ("logprobs", "self-consistency(weight=prob)", "self-consistency"),
        ("stops", "budget-forcing(limit=64)", "self-refine"),
    ):
        fits = await fits_of(VLLM, touched, untouched, **{use: Shortfall("costs more")})
        assert (fits[touched].state, fits[touched].why) == (State.DEGRADED, "costs more"), use
        assert fits[untouched].state is State.WORKS, use
        fatal = await fits_of(VLLM, touched, **{use: Shortfall("is refused", fatal=True)})
        assert (fatal[touched].state, fatal[touched].why) == (State.CANNOT, "is refused"), use


async def test_a_rehearsal_sees_what_a_method_asks_for() -> None:
    style = methods.prompt("bare")
    votes = await rehearse(methods.strategy("self-consistency(n=3)"), style)
    assert votes.uses == {Use.SAMPLES}
    one = await rehearse(methods.strategy("self-consistency(n=1)"), style)
    assert one.uses == frozenset()
    assert one.contexts[0].messages[0].content == APPLES
    judged = await rehearse(methods.strategy("best-of-n(n=1, verifier=p-true)"), style)
    assert judged.took == {Ability.SCORE_TEXT}


def test_the_lists_are_those_of_the_map() -> None:
    for text in strategies():
        methods.strategy(text)
    for text in prompts():
        methods.prompt(text)


def report_of(*checks: Check, endpoint: Endpoint | None = "chat", **short: Shortfall) -> Report:
    uses = {Use(name): each for name, each in short.items()}
    return Report("u", "m", ("m",), "us", endpoint, None, checks, VLLM, uses, (), (), 1, 1)


async def test_served_verifiers_and_options_follow_the_checks() -> None:
    good = report_of(
        Check("chat endpoint", Finding.YES),
        Check("pooling endpoint", Finding.YES),
        Check("log-probabilities of chosen tokens", Finding.YES),
        Check("--think N", Finding.YES, "by a field"),
    )
    names = ("judge:NAME@URL", "prm:NAME@URL of a format with two tokens", "prm:NAME@URL of a format with a head")
    fits = by_name(await server_fits(good))
    assert {fits[name].state for name in (*names, "--think N", "--budget")} == {State.WORKS}
    bad = report_of(Check("--think N", Finding.NO, "ignored"), budget=Shortfall("counts nothing", fatal=True))
    fits = by_name(await server_fits(bad))
    assert {fits[name].state for name in (*names, "--think N", "--budget")} == {State.CANNOT}
    assert (fits["--think N"].why, fits["--budget"].why) == ("ignored", "counts nothing")


async def test_a_server_of_numbers_runs_no_strategy() -> None:
    fits = by_name(await server_fits(report_of(Check("pooling endpoint", Finding.YES), endpoint=None)))
    assert (fits["greedy"].state, fits["greedy"].why) == (State.CANNOT, "the server completes no text")
    assert fits["prm:NAME@URL of a format with a head"].state is State.WORKS
    assert fits["data-flow"].state is State.WORKS


@contextmanager
def serving(stub: Stub) -> Iterator[str]:
    """The URL of a stub that runs in a thread of its own, as the command has its own event loop."""
    ready, end = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with stub:
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        yield stub.url
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


async def ignores_n(call: Call) -> Reply:
    """A server with log-probabilities that returns one choice whatever n says."""
    if call.path != "/v1/chat/completions":
        return error(404, "no such path")
    hot = call.body.get("temperature", 0) > 0
    text = f"one two {call.body.get('seed') if hot else ''}"
    row = {"token": text, "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -2.5}]}
    extra = {"logprobs": {"content": [row]}} if call.body.get("logprobs") else {}
    stop = call.body.get("stop")
    return chat(text.split(stop[0])[0] if stop else text, **extra)


def test_a_server_that_ignores_n_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Stub(ignores_n)) as url:
        assert run(["doctor", url, "--quick"]) == 0
        shown = capsys.readouterr().out
        assert run(["doctor", f"openai:m@{url}", "--quick", "--json"]) == 0
    assert "1 of 8 choices; the rest takes more calls" in shown
    report = json.loads(capsys.readouterr().out)
    fits = {(fit["kind"], fit["name"]): fit for fit in report["methods"]}
    votes = fits["strategy", "self-consistency"]
    assert votes["state"] == "degraded"
    assert votes["why"].startswith("n is not honoured: more calls")
    assert fits["strategy", "greedy"]["state"] == "works"
    assert fits["strategy", "beam(verifier=data-flow)"]["state"] == "cannot"
    counts = [sum(fit["state"] == state for fit in report["methods"]) for state in ("works", "degraded", "cannot")]
    for count, head in zip(counts, ("work", "work degraded", "cannot work here"), strict=True):
        assert f"{count} {head}\n" in shown.replace(" \n", "\n")


def test_one_line_for_what_goes_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    async def locked(call: Call) -> Reply:
        return error(401, "who are you")

    async def pages(call: Call) -> Reply:
        return Reply(b"<html>hello</html>", 200, {"Content-Type": "text/html"})

    cases = [(Stub(locked), "refuses the key (401"), (Stub(pages), "a web page instead of JSON")]
    cases += [(Stub(ignores_n, ()), "lists no models; name one")]
    for stub, said in cases:
        with serving(stub) as url:
            assert run(["doctor", url]) in (1, 2)
        captured = capsys.readouterr()
        assert (said in captured.err, captured.err.count("\n"), captured.out) == (True, 1, "")
    assert run(["doctor", url]) == 1
    assert "refuses the connection; check that the server runs" in capsys.readouterr().err


def test_an_address_without_a_scheme_is_completed_in_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "localhost:8000"]) == 2
    assert "localhost:8000 is no URL; write http://localhost:8000/v1" in capsys.readouterr().err
    assert run(["doctor", "localhost"]) == 2
    assert "unknown model 'localhost'" in capsys.readouterr().err


def test_the_embedded_model_is_examined(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert run(["doctor", "acorn", "--quick", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check["finding"] for check in report["checks"]}
    assert checks["log-probabilities of given text"] == "yes"
    assert checks["JSON schema"] == "no"
    fits = {fit["name"]: fit for fit in report["methods"]}
    assert fits["cot-decoding"]["state"] == "works"
    assert fits["budget-forcing(limit=64,server=true)"]["state"] == "cannot"
    assert (fits["--budget"]["state"], fits["--think"]["state"]) == ("works", "cannot")
    assert fits["step-back"]["why"].startswith("its closed vocabulary lacks words of the prompt: '")
    assert fits["few-shot-cot"]["state"] == "degraded"
    assert fits["few-shot-cot"]["why"].startswith("only on problems of the kinds graph, apples, letters: else its")


def test_a_recording_is_taken_at_its_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": APPLES, "completion": f"#### {answer}"} for answer in (8, 5)]
    path = tmp_path / "recorded.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert run(["doctor", f"replay:{path}", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    fits = {fit["name"]: fit["state"] for fit in report["methods"]}
    assert (fits["self-consistency"], fits["confidence(by=mean)"]) == ("works", "cannot")
