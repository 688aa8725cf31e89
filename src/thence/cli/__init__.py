"""The command line: ``thence VERB …``.

stdout is for results (one JSON object with ``--json``), stderr for progress and errors. Exit codes: 0 done, 1 failed,
2 wrong usage, 130 interrupted. Every flag can be set by an environment variable ``THENCE_<FLAG>``; there is no
configuration file. Commands are imported when they are used, so that ``thence --help`` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from thence import __version__
from thence.core.errors import Interrupted, ThenceError

if TYPE_CHECKING:
    from cyclopts import App
    from rich.console import Console

    from thence.cli.texts import Language

GROUPS = {
    "Answer and compare": {
        "solve": ("solve:solve", "Answer a question, or every question of a file."),
        "eval": ("evaluate:evaluate", "Measure a strategy on a task."),
        "compare": ("compare:compare", "Say which of several strategies is better at equal cost."),
        "doctor": ("doctor:doctor", "Say what a server or a model can do, and which strategies work on it."),
        "tour": ("tour.command:tour", "Show in measured steps why sampling and voting work, and when they do not."),
        "methods": ("info:show_methods", "List strategies, prompt styles, verifiers, tasks and models."),
        "prompts": ("info:prompts", "Print what a prompt style makes of a question."),
        "env": ("info:env", "Print what this installation has: versions, extras, processor."),
    },
    "Look at runs": {
        "runs": ("runs:runs", "List the run files of a folder."),
        "show": ("runs:show", "Show a run, or one problem's tree."),
        "report": ("report:report", "Write runs as one offline page: tables, plots, flipped problems, trees."),
        "curves": ("curves:curves", "What k of a run's samples give and cost: coverage, votes, best-of-k, the knee."),
        "confidence": ("confidence:confidence", "Check whether a run's confidence means what it says."),
        "overthinking": ("overthinking:overthinking", "Measure overthinking: lengths, revisions, wasted tokens."),
        "arc": ("arc:arc", "Score ARC attempts task by task, and draw their grids."),
        "export": ("runs:export", "Write a run as JSONL, Parquet or an inspect log."),
    },
    "Check graders, benchmarks and judges": {
        "grade": ("grade:grade", "Grade one text or a file of saved outputs, and audit a grader."),
        "probe": ("probe:probe", "Say whether a model has memorised a benchmark: originals against perturbations."),
        "arena": ("arena:arena", "Rank models by battles: scores with intervals, style control, Elo's order."),
        "prefer": ("prefer:prefer", "Audit a judge where truth is known, then compare two sets of answers by it."),
        "prompting": ("prompting:prompting", "Say whether prompts move probability or add what was not there."),
    },
    "Make and test verifiers": {
        "label": ("label:label", "Label reasoning steps by completing them and grading the answers."),
        "train": ("train:train", "Train a verifier from step labels, or the embedded model anew."),
        "why": ("why:why", "Find the step that loses one wrong answer."),
        "critics": ("critics:critics", "Measure critics: how well each one judges each policy's solutions."),
        "break": ("break_:break_verifier", "Attack a verifier: which tricks raise its scores, where best-of-N turns."),
    },
    "Know the truth": {
        "laws": ("laws:laws", "Compare the worlds' closed forms with what the real strategies do."),
        "yardstick": ("yardstick:yardstick", "Measure strategies against the best possible policy."),
    },
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: run a command and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. Errors that thence raises on purpose are one line on stderr."""
    from cyclopts import CycloptsError
    from rich.console import Console

    from thence.cli.languages import help_language, language_first
    from thence.core.clean import printable

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        words = language_first(sys.argv[1:] if arguments is None else arguments)
        code = _app(errors, help_language(words))(words)
    except CycloptsError:
        return 2
    except ThenceError as error:
        if os.environ.get("THENCE_TRACEBACK"):
            raise
        errors.print("thence: ", end="", style="bold red")
        errors.print(printable(str(error)), markup=False)
        return error.exit_code
    except (KeyboardInterrupt, Interrupted):
        errors.print("thence: interrupted", style="bold red")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _app(errors: Console, language: Language = "en") -> App:
    from cyclopts import App, Group, Parameter
    from cyclopts.config import Env

    from thence.cli.languages import help_options

    app = App(
        name="thence",
        help="Make a language model reason better, and show where the gain came from.",
        version=__version__,
        help_format="plaintext",
        config=Env("THENCE_", command=False),
        error_console=errors,
        print_error=True,
        exit_on_error=False,
        result_action="return_value",
        default_parameter=Parameter(show_env_var=False),
        help_epilogue=(
            "New to the field: thence tour. First steps: thence solve, then thence eval wordproblems, then "
            "thence compare wordproblems …"
        ),
    )
    for order, (title, commands) in enumerate(GROUPS.items()):
        group = Group(title, sort_key=order)
        for name, (where, what) in commands.items():
            shown = {"help": what, **help_options(name, language)}
            app.command(f"thence.cli.{where}", name=name, group=group, **shown)
    app["--help"].group = app["--version"].group = Group("Options", sort_key=len(GROUPS))
    return app
