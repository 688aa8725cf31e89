"""Texts that are shown in several languages: one TOML file per subject and language, ``tour.en.toml``.

Commands, flags, names of methods and labels in pictures are the same in every language.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any, Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


def read_texts(subject: str, language: Language) -> dict[str, Any]:
    """All texts of a subject by key."""
    file = resources.files(__package__ or "") / f"{subject}.{language}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


__all__ = ["LANGUAGES", "Language", "read_texts"]
