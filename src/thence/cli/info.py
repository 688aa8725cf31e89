"""``thence methods | prompts | env``: what there is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Annotated, Literal

from cyclopts import Parameter

from thence import __version__, methods
from thence.cli.present import out, plain, print_json, table
from thence.core.completion import Context
from thence.core.problem import Problem
from thence.core.protocols import AsksFirst

PLURAL = {
    "strategy": "strategies",
    "prompt": "prompt styles",
    "verifier": "verifiers",
    "annotator": "labelling methods",
    "task": "tasks",
    "model": "models",
}
APPLES = "I have 3 apples, my dad has 2 more than me. How many do we have in total?"


def show_methods(
    kind: Literal["strategy", "prompt", "verifier", "annotator", "task", "model"] | None = None,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List everything that can be named.

    Parameters
    ----------
    kind
        Only this kind.
    json
        Print one JSON object.
    """
    rows = [r for r in methods.table() if kind in (None, r["kind"])]
    if json:
        print_json({"methods": rows})
        return
    for each, title in PLURAL.items():
        chosen = [r for r in rows if r["kind"] == each]
        if chosen:
            cells = [[_signature(r), str(r["what"]), _paper(r)] for r in chosen]
            out.print(table(title, ["name", "what it is", "paper"], cells))


def _signature(row: object) -> str:
    assert isinstance(row, dict)
    shown = ", ".join(f"{k}={'…' if v is None else v}" for k, v in row["parameters"].items() if v != "")
    return f"{row['name']}({shown})" if shown else str(row["name"])


def _paper(row: object) -> str:
    assert isinstance(row, dict)
    return f"arXiv:{row['paper']}" if row["paper"] else ""


def prompts(
    action: Literal["list", "show"] = "list",
    name: str = "cot",
    question: str = APPLES,
    *,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List prompt styles, or show what one makes of a question, for pasting elsewhere.

    Parameters
    ----------
    action
        list, or show one.
    name
        A prompt style or a prompt file.
    question
        The question to put.
    json
        Print one JSON object.
    """
    if action == "list":
        show_methods("prompt", json=json)
        return
    style = methods.prompt(name)
    problem, first = Problem("question", question), None
    context = style.context(problem)
    if isinstance(style, AsksFirst):
        first, context = Context(style.first(problem)), style.informed(problem, "…")
    if json:
        turns = [{"role": m.role, "content": m.content} for m in context.messages]
        followup = style.followup.text if style.followup else None
        reply = "".join(s.text for s in context.reply)
        asked = [{"role": m.role, "content": m.content} for m in first.messages] if first else None
        print_json({"prompt": name, "first": asked, "messages": turns, "reply": reply, "followup": followup})
        return
    if first is not None:
        _show_context(first)
        out.print(plain("then, with the reply to it:", "dim"))
    _show_context(context)
    if style.followup is not None:
        out.print(plain("then, after the reply:", "dim"))
        out.print(plain(style.followup.text.strip("\n")))


def _show_context(context: Context) -> None:
    for message in context.messages:
        out.print(plain(f"[{message.role}]", "dim"))
        out.print(plain(message.content))
    if context.reply:
        out.print(plain("[assistant, begun]", "dim"))
        out.print(plain("".join(s.text for s in context.reply)))


PACKAGES = {
    "local": ("torch", "transformers", "tokenizers", "safetensors"),
    "plot": ("matplotlib",),
    "parquet": ("pyarrow",),
    "hub": ("datasets",),
    "retrieve": ("bm25s",),
}


def env(*, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Print versions, extras and what the processor is fast at; no names of hosts or users.

    Parameters
    ----------
    json
        Print one JSON object.
    """
    facts: dict[str, object] = {
        "thence": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags set": sorted(k for k in os.environ if k.startswith("THENCE_")),
    }
    for extra, names in PACKAGES.items():
        versions = {n: _version(n) for n in names}
        missing = [n for n, v in versions.items() if v is None]
        facts[f"extra [{extra}]"] = (
            f'missing {", ".join(missing)}: pip install "thence[{extra}]"'
            if missing
            else ", ".join(f"{n} {v}" for n, v in versions.items())
        )
    if _version("torch") is not None:
        facts["local dtype"] = _local_dtype()
    if json:
        print_json(facts)
        return
    for key, value in facts.items():
        out.print(plain(f"{key:<17} {', '.join(value) if isinstance(value, list) else value}"))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _local_dtype() -> str:
    import torch

    from thence.engine.setup import default_dtype

    narrow, wide = (str(default_dtype(torch.device("cpu"), width)).removeprefix("torch.") for width in (128, 4096))
    return narrow if narrow == wide else f"{narrow} for narrow models, {wide} for wide ones"
