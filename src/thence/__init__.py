"""thence makes language models reason better and shows where the gain came from.

>>> import thence
>>> result = thence.solve("I have 3 apples, my dad has 2 more than me. How many do we have in total?")
>>> result.answer, result.confidence
('8', 1.0)

Names are loaded when they are first used: ``import thence`` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "solve": "api",
    "asolve": "api",
    "evaluate": "api",
    "compare": "api",
    "load": "api",
    "unload": "api",
    "task": "api",
    "grade": "grading.grade",
    "ModelOptions": "methods",
    "Problem": "core.problem",
    "Message": "core.problem",
    "Sampling": "core.completion",
    "Completion": "core.completion",
    "Request": "core.completion",
    "Context": "core.completion",
    "Ability": "core.completion",
    "Search": "core.search",
    "Result": "core.search",
    "Tree": "core.tree",
    "Node": "core.tree",
    "Kind": "core.tree",
    "Score": "core.scores",
    "Meaning": "core.scores",
    "Verdict": "core.answers",
    "Grade": "core.answers",
    "ThenceError": "core.errors",
    "UsageError": "core.errors",
}

__all__ = [
    "Ability",
    "Completion",
    "Context",
    "Grade",
    "Kind",
    "Meaning",
    "Message",
    "ModelOptions",
    "Node",
    "Problem",
    "Request",
    "Result",
    "Sampling",
    "Score",
    "Search",
    "ThenceError",
    "Tree",
    "UsageError",
    "Verdict",
    "__version__",
    "asolve",
    "compare",
    "evaluate",
    "grade",
    "load",
    "solve",
    "task",
    "unload",
]

if TYPE_CHECKING:
    from .api import asolve, compare, evaluate, load, solve, task, unload
    from .core.answers import Grade, Verdict
    from .core.completion import Ability, Completion, Context, Request, Sampling
    from .core.errors import ThenceError, UsageError
    from .core.problem import Message, Problem
    from .core.scores import Meaning, Score
    from .core.search import Result, Search
    from .core.tree import Kind, Node, Tree
    from .grading.grade import grade
    from .methods import ModelOptions


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'thence' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{where}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
