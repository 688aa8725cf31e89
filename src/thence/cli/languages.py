"""``--lang``: the tour's texts and the help of ``solve`` in another language.

The help's flags, metavars, choices and defaults are cyclopts' own, so a translation cannot hide one; a flag without a
translation is shown in English.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from thence.core.errors import UsageError

from .texts import LANGUAGES, Language, read_texts
from .wrapping import wrapped

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

HELP = ("solve",)  # commands whose help is translated
OWN = ("tour", *HELP)  # commands that take --lang
FLAG = "--lang"


def language_first(arguments: Sequence[str]) -> list[str]:
    """``thence --lang zh solve …`` as ``thence solve --lang zh …``; UsageError where nothing is translated."""
    words = list(arguments)
    if not words or not (words[0] == FLAG or words[0].startswith(f"{FLAG}=")):
        return words
    given = words.pop(0).partition("=")[2] or (words.pop(0) if words else "")
    language = _known(given)
    if words and words[0] in OWN:
        return [words[0], FLAG, language, *words[1:]]
    if language == "en":
        return words
    raise UsageError(f"{FLAG} {language}: only {' and '.join(OWN)} take a language (thence {OWN[0]} {FLAG} {language})")


def help_language(arguments: Sequence[str]) -> Language:
    """The language of a command's help: its --lang, else THENCE_LANG, else English."""
    if not arguments or arguments[0] not in HELP:
        return "en"
    words = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    if "--help" not in words and "-h" not in words:
        return "en"
    given = os.environ.get("THENCE_LANG", "en")
    for i, word in enumerate(words):
        if word == FLAG:
            given = words[i + 1] if i + 1 < len(words) else ""
        elif word.startswith(f"{FLAG}="):
            given = word.partition("=")[2]
    return _known(given)


def _known(given: str) -> Language:
    found = next((language for language in LANGUAGES if language == given), None)
    if found is None:
        raise UsageError(f"{FLAG} {given!r} is unknown; there are {', '.join(LANGUAGES)}")
    return found


def help_options(name: str, language: Language) -> dict[str, Any]:
    """How a command's help is shown in a language: the keywords for ``App.command``; none for English."""
    if language == "en" or name not in HELP:
        return {}
    texts = read_texts(name, language)
    words = texts["words"]
    return {"help": words["about"], "help_epilogue": words["epilogue"], "help_formatter": TranslatedHelp(texts)}


class TranslatedHelp:
    """A cyclopts help formatter: the same entries with descriptions, titles and remarks in another language."""

    def __init__(self, texts: Mapping[str, Any]) -> None:
        self._flags, self._groups, self._words = texts["flags"], texts["groups"], texts["words"]

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one group of flags."""
        if not panel.entries:
            return
        names = {i: " ".join(entry.display_labels_with_metavar) for i, entry in enumerate(panel.entries)}
        widest = min(max(map(cell_len, names.values())), math.ceil(options.max_width * 0.35))
        left = max(20, options.max_width - widest - 6)  # borders, padding and the gap between the columns
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=widest, style="cyan", overflow="fold")
        table.add_column(width=left)
        for i, entry in enumerate(panel.entries):
            table.add_row(Text(names[i]), Text("\n".join(wrapped(self._about(entry), left))))
        title = str(panel.title)
        console.print(Panel(table, title=self._groups.get(title, title), title_align="left", box=box.ROUNDED))

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print how the command is called."""
        said = str(usage).replace("Usage:", "").strip()
        console.print(Text(f"{self._words['usage']} {said}\n", style="bold"))

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print what the command does."""
        console.print(Text(self._words["about"] + "\n"))

    def _about(self, entry: HelpEntry) -> str:
        """What a flag does, with its choices and its default."""
        about = self._flags.get(key_of(entry)) or str(entry.description)
        words = self._words
        remarks = [f"[{words['choices']}{', '.join(entry.choices)}]"] if entry.choices else []
        remarks += [f"[{words['default']}{entry.default}]"] if entry.default is not None else []
        remarks += [f"[{words['required']}]"] if entry.required else []
        return " ".join([about, *remarks])


def key_of(entry: HelpEntry) -> str:
    """What a flag is called in the texts: its first long name, or its label where it is positional."""
    return entry.positive_names[0] if entry.positive_names else entry.positional_label or ""


__all__ = ["HELP", "TranslatedHelp", "help_language", "help_options", "key_of", "language_first"]
